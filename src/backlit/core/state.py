"""What holds for the moment in the running thread: the name scope, whether operations are recorded, and who watches.

Nearly always nothing special holds, and the fast paths need to know just that; so `STATE.special` counts the
threads in which something does, and only when it is not zero is the thread's own `Mode` looked up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backlit.core.value import Value


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One call of a composite function, such as one `softmax`: its nodes can be shown folded under this name."""

    name: str
    parent: Scope | None = None

    def __str__(self) -> str:
        return f"{self.parent}/{self.name}" if self.parent else self.name


@dataclass(frozen=True, slots=True, eq=False)
class Because:
    """Why a backward or forward-mode node exists: the forward node and the argument that it serves.

    `index` is None where the node adds up what several uses of `node` contribute.
    """

    node: Value
    index: int | None
    mode: str  # "reverse" or "forward"


@dataclass(frozen=True, slots=True)
class Mode:
    scope: Scope | None = None
    recording: bool = True
    because: Because | None = None
    watch: Callable[[Value], None] | None = None  # called with every new node


class State:
    __slots__ = ("special",)

    def __init__(self) -> None:
        self.special = 0


STATE = State()
_LOCK = threading.Lock()
_DEFAULT = Mode()


class _Local(threading.local):
    mode: Mode = _DEFAULT


_LOCAL = _Local()


def current_mode() -> Mode:
    """The mode of the running thread."""
    return _LOCAL.mode


@contextmanager
def mode(**changes: Any) -> Iterator[Mode]:
    """Change the mode of the running thread for the length of a `with` block."""
    before = _LOCAL.mode
    with _LOCK:
        STATE.special += 1
    _LOCAL.mode = replace(before, **changes)
    try:
        yield _LOCAL.mode
    finally:
        _LOCAL.mode = before
        with _LOCK:
            STATE.special -= 1


def because(base: Mode, reason: Because) -> None:
    """Within a `mode` block: the nodes made from now on serve this purpose."""
    _LOCAL.mode = Mode(base.scope, base.recording, reason, base.watch)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Put the nodes made inside the block under a name, so that they can be shown folded.

    >>> import backlit as bl
    >>> with bl.scope("energy"):
    ...     e = bl.Value(3.0) * 2
    >>> str(e.scope)
    'energy'
    """
    with mode(scope=Scope(name, _LOCAL.mode.scope)):
        yield


@contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording: what is made inside the block has no inputs, so no gradient flows through it.

    >>> import backlit as bl
    >>> x = bl.Value(3.0)
    >>> with bl.no_grad():
    ...     y = x * x
    >>> y.inputs
    ()
    """
    with mode(recording=False):
        yield
