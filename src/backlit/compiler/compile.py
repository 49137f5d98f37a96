"""`backlit.compile`: a function that traces itself once for each kind of arguments, and then runs as machine code."""

from __future__ import annotations

import functools
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from backlit.compiler import trace
from backlit.compiler.program import Program, of_trace, repeated
from backlit.compiler.trace import Traced
from backlit.core import dtypes
from backlit.core.errors import BacklitWarning, DtypeError, GraphError, ShapeError
from backlit.core.numbers import Abstract, dtype_of, shape_of, stored
from backlit.core.state import tracing
from backlit.core.trees import children_of
from backlit.core.value import INACTIVE, Buffer, Parameter, Value, assign, constant, current, describe, leaf
from backlit.ops.movement import repeat as repeat_elements

PIECE_SECONDS = 0.08
"""About how long machine code runs before Python may stop it."""
RETRACES_TOLD = 8
"""A function traced so often is told of, as something in its arguments probably changes needlessly."""


class CompileWarning(BacklitWarning):
    """Compiled code works, but not as well as it could."""


class Entry:
    """One traced signature: the program, and what must hold for it to be right."""

    def __init__(self, traced: Traced, repeat: bool) -> None:
        self.traced = traced
        self.repeat = repeat
        self.program: Program = repeated(traced) if repeat else of_trace(traced)[0]
        self.specs = [(c.node._data.shape, c.node._data.dtype) for c in traced.captured]

    def holds(self) -> bool:
        """Whether what was found when it was traced is still so."""
        return all(getattr(thing, name) == value for thing, name, value in self.traced.guards) and all(
            c.variable._grad is not None for c in self.traced.gradients
        )

    def run(self, arrays: list[Any], count: int) -> list[Any]:
        datas = list(arrays)
        for captured, (shape, dtype) in zip(self.traced.captured, self.specs, strict=True):
            data = current(captured.variable)._data
            if shape_of(data) != shape or dtype_of(data) != dtype:
                raise ShapeError(
                    f"compile: {describe(captured.variable)} was {Abstract(shape, dtype)!r} when the function was "
                    f"traced and is {Abstract(shape_of(data), dtype_of(data))!r} now."
                )
            datas.append(data)
        if not self.repeat:
            datas += [c.variable._grad for c in self.traced.gradients]
        return self.program.run(datas, count)

    def commit(self, outputs: list[Any]) -> None:
        """Give variables what the program computed for them."""
        for captured, new in zip(self.traced.assigned, outputs, strict=False):
            assign(captured.variable, stored(new))
        given = iter(outputs[len(self.traced.assigned) :])
        for holder, node in [] if self.repeat else self.traced.left:
            holder._grad = None if node is None else stored(next(given))
            extra = holder._own_extra()
            extra.stale, extra.resets = False, extra.resets + 1


class Compiled:
    """A function that runs as machine code; see `compile`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._entries: dict[Any, list[Entry]] = {}
        self._kept_alive: list[Any] = []
        self._lock = threading.Lock()
        self.traces = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if tracing() is not None:
            return self.function(*args, **kwargs)
        return self._called(args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method is compiled for each object on which it is called."""
        if instance is None:
            return self
        bound = Compiled(self.function.__get__(instance, owner))
        with suppress(TypeError):  # an object without attributes of its own
            vars(instance)[self.function.__name__] = bound
        return bound

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found: list[Any] = []
        entry = self._entry((_signature((args, kwargs), found), False), found, args, kwargs, False)
        outputs = entry.run([_data(x) for x in found], 1)
        return self._finished(entry, outputs)

    def repeat(self, n: int, *args: Any, **kwargs: Any) -> Any:
        """`n` calls in one, with the same arguments; see `backlit.repeat`. Gives the result of the last."""
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise GraphError(f"repeat: how often is a whole number, 0 or more, and not {n!r}.")
        if tracing() is not None:
            result = None
            for _ in range(int(n)):
                result = self.function(*args, **kwargs)
            return result
        found: list[Any] = []
        entry = self._entry((_signature((args, kwargs), found), True), found, args, kwargs, True)
        arrays = [_data(x) for x in found]
        piece, result = 1, None
        while n > 0:
            start = time.perf_counter()
            outputs = entry.run(arrays, min(n, piece))
            result = self._finished(entry, outputs)  # Ctrl-C is heard between two pieces
            n -= piece
            if time.perf_counter() - start < PIECE_SECONDS / 4:
                piece *= 4
        return result

    def _finished(self, entry: Entry, outputs: list[Any]) -> Any:
        results = len(entry.traced.results)
        entry.commit(outputs[results:])
        return entry.traced.rebuild(iter([constant(stored(array)) for array in outputs[:results]]))

    def _entry(self, key: Any, found: list[Any], args: Any, kwargs: Any, repeat: bool) -> Entry:
        for entry in self._entries.get(key, ()):
            if entry.holds():
                return entry
        with self._lock:
            entry = Entry(self._traced(found, args, kwargs), repeat)
            self._entries.setdefault(key, []).append(entry)
            self._kept_alive.append((args, kwargs))  # what the key knows by identity
            self.traces += 1
        if self.traces == RETRACES_TOLD:
            warnings.warn(self._why_so_often(), CompileWarning, stacklevel=4)
        return entry

    def _traced(self, found: list[Any], args: Any, kwargs: Any) -> Traced:
        leaves = [_leaf(x) for x in found]
        return trace.run(self.function, lambda it: _replaced((args, kwargs), it), leaves)

    def _why_so_often(self) -> str:
        name = getattr(self.function, "__qualname__", "the function")
        seen = [key[0] for key in self._entries]
        return (
            f"compile: {name} was traced {self.traces} times, and each time costs some 0.1 s. Its last two kinds of "
            f"arguments were\n    {seen[-2] if len(seen) > 1 else seen[-1]}\n    {seen[-1]}\n  Numbers written in "
            "Python are part of the kind: pass what changes as an array or a Value, and keep shapes the same."
        )

    # -- what became of it --------------------------------------------------------------------------------------

    @property
    def entries(self) -> list[Entry]:
        """All that was traced so far, in order."""
        return [entry for entries in self._entries.values() for entry in entries]

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return f"<compiled {name}: traced {self.traces} times>"


def compile(function: Callable[..., Any]) -> Compiled:
    """The function as machine code. Also a decorator.

    It is run once for each kind of arguments, on shapes instead of numbers, and what it computes is compiled. Arrays
    and values vary by number, and are given by shape and dtype; other arguments (Python numbers, strings, modules) are
    part of the kind. Parameters and buffers that it reads or assigns, wherever they are held, are read and assigned at
    each call, so an ordinary step of learning compiles as it stands. Results are values, to which no gradient flows:
    differentiate inside, with `grad` or `backward()`.

    Raises TracedValueError where the function asks for a number that only a run can know (`if x > 0`, `float(x)`,
    NumPy on a value), and GraphError for what cannot be compiled, both naming the line. Cost: tracing and compiling
    once, some 0.1 s; a call some 10 microseconds and what it computes.

    >>> import backlit as bl
    >>> @compile
    ... def f(x):
    ...     return (x * x).sum()
    >>> f(np.arange(4.0)).data
    14.0
    """
    if isinstance(function, Compiled):
        return function
    if not callable(function):
        raise GraphError(f"compile: {function!r:.60} is not a function.")
    return Compiled(function)


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
    """Run a step many times inside machine code: `repeat(step, n)` calls `step()` n times, and gives its last result.

    What the step assigns (parameters, the memory of an optimizer), it finds at its next turn; a gradient that it leaves
    is not kept. Ctrl-C ends it between two turns, with all variables as that turn left them. For a step with arguments
    write `compile(step).repeat(n, *arguments)`. Cost: as `compile`, and no Python between turns.

    With an array for `x` this is the function of the Array API: each element, or each row along an axis, repeated.

    >>> from backlit.core.value import Parameter
    >>> w = Parameter(1.0)
    >>> def halve():
    ...     w.data = w.data * 0.5
    >>> repeat(halve, 3)
    >>> w.data
    0.125
    """
    if not callable(x):
        return repeat_elements(x, repeats, axis=axis)
    if axis is not None:
        raise GraphError("repeat: axis is for arrays; a step is repeated in time only.")
    return _of(x).repeat(repeats)


def _of(step: Callable[..., Any]) -> Compiled:
    """The compiled form of a function, the same one each time."""
    if isinstance(step, Compiled):
        return step
    found = getattr(step, "__backlit_compiled__", None)
    if found is None:
        found = Compiled(step)
        with suppress(AttributeError):  # a method or a builtin
            step.__backlit_compiled__ = found  # type: ignore[attr-defined]
    return found


# -- arguments ---------------------------------------------------------------------------------------------------


def _children(tree: Any) -> Any:
    if tree is None or hasattr(type(tree), "__backlit_flatten__") or isinstance(tree, type):
        return None
    return children_of(tree)


def _varies(x: Any) -> bool:
    """Whether an argument is known by shape and dtype only."""
    if isinstance(x, (Parameter, Buffer)):
        return False
    return isinstance(x, (Value, np.ndarray, np.generic))


def _signature(tree: Any, found: list[Any]) -> Any:
    """The kind of the arguments; what varies is appended to `found`."""
    opened = _children(tree)
    if opened is not None:
        return (type(tree).__name__, *((name, _signature(child, found)) for name, child in opened[0]))
    if _varies(tree):
        found.append(tree)
        active = isinstance(tree, Value) and current(tree)._grad is not INACTIVE
        return (tuple(tree.shape), tree.dtype.name, active)
    if isinstance(tree, (bool, int, float, str, bytes, complex, type(None), np.dtype)):
        return (type(tree).__name__, repr(tree) if isinstance(tree, float) else tree)
    return (type(tree).__name__, id(tree))


def _replaced(tree: Any, leaves: Iterator[Value]) -> Any:
    opened = _children(tree)
    if opened is not None:
        return opened[1]([_replaced(child, leaves) for _, child in opened[0]])
    return next(leaves) if _varies(tree) else tree


def _leaf(x: Any) -> Value:
    if isinstance(x, Value):
        node = current(x)
        if node._op is not None and node._grad is not INACTIVE:
            raise GraphError(
                f"compile: {describe(x)} is part of a graph, and no gradient flows through a compiled function. "
                "Differentiate inside it: compile(grad(f)), or call backward() in it."
            )
        data = node._data
        return leaf(Abstract(shape_of(data), dtype_of(data)), active=node._grad is not INACTIVE)
    if x.dtype.char not in dtypes.STORED:
        raise DtypeError(f"compile: an argument has dtype {x.dtype}, which is not a number.")
    return leaf(Abstract(x.shape, x.dtype), active=False)


def _data(x: Any) -> Any:
    return current(x)._data if isinstance(x, Value) else x
