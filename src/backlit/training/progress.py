"""Who is told how far a training is: what a progress display must be able to do, and where the usual one is found.

Nothing here prints. The display for terminals and notebooks stands on the top floor, and is named here as a plug-in,
`usual`, so that this floor need not know it; another can be put in its place.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from backlit.core.errors import DomainError

if TYPE_CHECKING:
    from backlit.training.run import Run

EVERY = 0.05
"""Seconds between two reports at the least."""

PATIENCE = 2.0
"""Seconds after which a training is long enough for the usual display to appear."""


class Progress(Protocol):
    """What is shown of a training. `total` is the number of steps planned."""

    def update(self, run: Run, total: int) -> None:
        """How far it is now; called at most every 50 ms."""

    def close(self, run: Run, total: int) -> None:
        """The training has ended."""


usual: str | Callable[[], Progress] = "backlit.cli.progress:Bar"
"""What makes the usual display: a function, or the module and name of one, imported when it is first needed."""


def _make_usual() -> Progress:
    if not isinstance(usual, str):
        return usual()
    module, name = usual.split(":")
    made: Progress = getattr(import_module(module), name)()
    return made


def someone_watches() -> bool:
    """Whether standard error is a terminal, or a notebook shows it."""
    try:
        return sys.stderr.isatty() or "ipykernel" in sys.modules
    except (AttributeError, ValueError):  # none, or closed
        return False


class Reporter:
    """Tells a display how far a training is, seldom enough to cost nothing.

    chosen: True (the usual display, if someone watches, from the second second on), False or None (nobody), a Progress,
    or a function that is called with the run. A check costs 0.1 µs a step. Raises DomainError for anything else.
    """

    def __init__(self, chosen: Any, total: int) -> None:
        self.total = total
        self._display: Any = None
        self._make: Callable[[], Progress] | None = None
        self._next = float("inf")
        now = time.perf_counter()
        if chosen is True:
            if someone_watches():
                self._make, self._next = _make_usual, now + PATIENCE
        elif hasattr(chosen, "update") and hasattr(chosen, "close"):
            self._display, self._next = chosen, now
        elif callable(chosen):
            self._display, self._next = _Told(chosen), now
        elif chosen is not None and chosen is not False:
            raise DomainError(f"progress={chosen!r:.60}: give True, False, or a function to be called with the run.")

    def step(self, run: Run) -> None:
        """A step was made."""
        if (now := time.perf_counter()) >= self._next:
            if self._display is None and self._make is not None:
                self._display = self._make()
            self._next = now + EVERY
            if self._display is not None:
                self._display.update(run, self.total)

    def close(self, run: Run) -> None:
        """Training has ended."""
        display, self._display, self._next = self._display, None, float("inf")
        if display is not None:
            display.close(run, self.total)


class _Told:
    """A function as a display."""

    def __init__(self, function: Callable[[Run], Any]) -> None:
        self._function = function

    def update(self, run: Run, total: int) -> None:
        self._function(run)

    def close(self, run: Run, total: int) -> None:
        self._function(run)
