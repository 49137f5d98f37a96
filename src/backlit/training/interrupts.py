"""Ctrl-C during a training: an update that has begun is finished first, so nobody finds half of one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

AGAIN = 1.0
"""Seconds after a first Ctrl-C within which another means the same."""


class Interrupts:
    """Within the `with` block, Ctrl-C raises KeyboardInterrupt, but not while `held` is set: then it waits.

    Setting and clearing `held` costs nothing that could be measured; after clearing it, `deliver()` raises what has
    waited. In threads other than the first, and where another handler than Python's own or a function stands, nothing
    is changed: there Ctrl-C does not arrive.
    """

    def __init__(self) -> None:
        self.held = False
        self._waits = False
        self._last = -float("inf")
        self._before: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._caught)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        before, self._before = self._before, None
        if before is not None:
            signal.signal(signal.SIGINT, before)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.held:
            self._waits = True
            return
        now = time.monotonic()
        if now - self._last > AGAIN and self._before is not None:
            self._last = now
            self._before(number, frame)

    def deliver(self) -> None:
        """Do now what Ctrl-C does, if it was pressed while it had to wait."""
        if self._waits:
            self._waits = False
            self._caught(signal.SIGINT, None)
