"""What holds for the moment in the running thread: the name scope, whether operations are recorded, and who watches.

Nearly always nothing special holds, and the fast paths need to know just that; so `SPECIAL` is empty then,
and only when it is not is the thread's own `Mode` looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from backlit.core.value import Value


class Scope:
    """One call of a composite function, such as one `softmax`: its nodes can be shown folded under this name."""

    __slots__ = ("name", "parent")

    def __init__(self, name: str, parent: Scope | None = None) -> None:
        self.name = name
        self.parent = parent

    def __str__(self) -> str:
        return f"{self.parent}/{self.name}" if self.parent else self.name

    def __repr__(self) -> str:
        return f"Scope({str(self)!r})"


class Because(NamedTuple):
    """Why a backward or forward-mode node exists: the forward node and the argument that it serves.

    `argument` is None where the node adds up what several uses of `node` contribute.
    """

    node: Value
    argument: int | None
    mode: str  # "reverse" or "forward"


class Mode(NamedTuple):
    """All that may hold for the moment; the defaults are what nearly always does."""

    scope: Scope | None = None
    recording: bool = True
    because: Because | None = None
    watch: Callable[[Value], None] | None = None  # called with every new node
    trace: Tracing | None = None  # a function is run on shapes, to be compiled


class Tracing(Protocol):
    """What the floors of the engine ask of a running trace; `compiler/trace.py` answers."""

    def lift(self, node: Value) -> Value: ...
    def read(self, variable: Value) -> Value: ...
    def assign(self, variable: Value, new: Any) -> None: ...
    def gradient(self, holder: Value) -> Any: ...
    def set_gradient(self, holder: Value, new: Any) -> None: ...
    def backward(self, output: Value, seed: Any) -> None: ...
    def saw(self, thing: Any, name: str) -> None: ...


SPECIAL: list[None] = []
"""Holds one entry for each `mode` block that some thread is in; appending and popping need no lock."""

_DEFAULT = Mode()


_MODE: ContextVar[Mode] = ContextVar("backlit_mode", default=_DEFAULT)

current_mode = _MODE.get
"""The mode of the running thread (or task)."""


class mode:  # noqa: N801  (used like a function: `with mode(...)`)
    """Change the mode of the running thread for the length of a `with` block."""

    __slots__ = ("_changes", "_token")

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __enter__(self) -> Mode:
        before = _MODE.get()
        get = self._changes.get
        after = Mode(
            get("scope", before.scope),
            get("recording", before.recording),
            get("because", before.because),
            get("watch", before.watch),
            get("trace", before.trace),
        )
        self._token = _MODE.set(after)
        SPECIAL.append(None)
        return after

    def __exit__(self, *_: object) -> None:
        _MODE.reset(self._token)
        SPECIAL.pop()


def because(base: Mode, reason: Because) -> None:
    """Within a `mode` block: the nodes made from now on serve this purpose."""
    _MODE.set(Mode(base.scope, base.recording, reason, base.watch, base.trace))


def tracing() -> Tracing | None:
    """The trace that runs in this thread, if one does."""
    return _MODE.get().trace if SPECIAL else None


def scope(name: str) -> mode:
    """Put the nodes made inside the `with` block under a name, so that they can be shown folded.

    >>> import backlit as bl
    >>> with bl.scope("energy"):
    ...     e = bl.Value(3.0) * 2
    >>> str(e.scope)
    'energy'
    """
    return mode(scope=Scope(name, _MODE.get().scope))


def no_grad() -> mode:
    """Compute without recording: what is made inside the `with` block has no inputs, so no gradient flows through it.

    >>> import backlit as bl
    >>> x = bl.Value(3.0)
    >>> with bl.no_grad():
    ...     y = x * x
    >>> y.inputs
    ()
    """
    return mode(recording=False)
