"""What holds for the moment in the running thread: the name scope, whether operations are recorded, and who watches.

Nearly always nothing special holds, and the fast paths need to know just that; so `SPECIAL` is empty then,
and only when it is not is the thread's own `Mode` looked up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from backlit.core.site import IS_LIBRARY, IS_TRAINING

if TYPE_CHECKING:
    from backlit.core.value import Value


class Scope:
    """One call of a composite function, such as one `softmax`: its nodes can be shown folded under this name.

    path: of a module, where it stands in the one that it is a part of, such as `layers.0`. has_steps: whether an
    explanation shows the steps inside, as for a module made of modules, and not the whole as one. code, lasti: the
    user's instruction that the library opened it for; None if the user did. is_aside: whether that gives back something
    else than what is computed here, as `fit` does. newest: whether a gradient flows to the
    node that was made last in it, and the number of that node; is_open: whether more may come.
    """

    __slots__ = ("code", "has_steps", "is_aside", "is_open", "lasti", "name", "newest", "parent", "path")

    def __init__(self, name: str, parent: Scope | None = None, path: str = "", has_steps: bool = False) -> None:
        self.name, self.parent, self.path, self.has_steps = name, parent, path, has_steps
        self.code: CodeType | None = None
        self.lasti = 0
        self.is_aside = False
        self.newest = False, -1
        self.is_open = True

    def close(self) -> None:
        """Note that no more is made in it; what was, was made in the one around it, too."""
        self.is_open = False
        if self.parent is not None and self.newest > self.parent.newest:
            self.parent.newest = self.newest

    def __str__(self) -> str:
        own = f"{self.path} ({self.name})" if self.path else self.name
        return f"{self.parent}/{own}" if self.parent else own

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

    def lifted(self, nodes: tuple[Value, ...]) -> tuple[Value, ...]: ...
    def lift(self, node: Value) -> Value: ...
    def current(self, variable: Value) -> Value: ...
    def rebind(self, variable: Value, node: Value) -> None: ...
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
        opened = self._changes.get("scope")
        if opened is not None:
            opened.close()


def because(base: Mode, reason: Because) -> None:
    """Within a `mode` block: the nodes made from now on serve this purpose."""
    _MODE.set(Mode(base.scope, base.recording, reason, base.watch, base.trace))


def tracing() -> Tracing | None:
    """The trace that runs in this thread, if one does."""
    return _MODE.get().trace if SPECIAL else None


def call_scope(name: str, path: str = "", has_steps: bool = False) -> mode:
    """Put what the library makes inside the `with` block, for the line of the user's that runs, under a name."""
    opened = Scope(name, _MODE.get().scope, path, has_steps)
    frame = sys._getframe(1)
    if IS_LIBRARY[frame.f_code.co_filename]:
        while IS_LIBRARY[frame.f_code.co_filename] and frame.f_back is not None:
            opened.is_aside |= IS_TRAINING[frame.f_code.co_filename]
            frame = frame.f_back
        opened.code, opened.lasti = frame.f_code, frame.f_lasti
    return mode(scope=opened)


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
