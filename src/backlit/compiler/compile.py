"""`backlit.compile`: a function that traces itself once for each kind of arguments, and then runs as machine code."""

from __future__ import annotations

import functools
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.compiler import trace
from backlit.compiler.program import COUNTS, Program, of_trace, repeated
from backlit.compiler.trace import Traced
from backlit.core import dtypes
from backlit.core.errors import BacklitWarning, DtypeError, GraphError, ShapeError
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.record import as_constant
from backlit.core.state import tracing
from backlit.core.trees import children_of
from backlit.core.value import (
    INACTIVE,
    Buffer,
    Parameter,
    Value,
    assign,
    constant,
    current,
    describe,
    leaf,
    next_serial,
)
from backlit.ops.movement import repeat as repeat_elements

if TYPE_CHECKING:
    from backlit.compiler.compared import Comparison
    from backlit.compiler.explained import Explanation

PIECE_SECONDS = 0.08
"""About how long machine code runs before Python may stop it."""
RETRACES_TOLD = 8
"""A function traced so often is told of, as something in its arguments probably changes needlessly."""


ONCE, OFTEN, EACH = "once", "often", "each"
"""How a compiled function is called: `f(…)`, `f.repeat(n, …)`, `f.each(…)`."""


class CompileWarning(BacklitWarning):
    """Compiled code works, but not as well as it could."""


class Entry:
    """One traced signature: the program, and what must hold for it to be right."""

    def __init__(self, traced: Traced, how: str) -> None:
        self.traced = traced
        self.how, self.repeat = how, how != ONCE
        if self.repeat:
            _refuse_leftovers(traced)
        self.piece = 1  # how many turns of `each` to take before Ctrl-C is listened for
        self.program: Program = repeated(traced, how == EACH) if self.repeat else of_trace(traced)[0]
        self._captured = [(c.variable, c.node._data.shape, c.node._data.dtype) for c in traced.captured]
        self._assigned = [c.variable for c in traced.assigned]
        place = {c.variable: len(traced.arguments) + k for k, c in enumerate(traced.captured)}
        results = len(traced.results)
        self.program.follow([(results + k, place[variable]) for k, variable in enumerate(self._assigned)])

    def holds(self) -> bool:
        """Whether what was found when it was traced is still so."""
        if not self.repeat:
            for holder in self.traced.without:
                if holder._grad is not None:
                    return False
        return all(getattr(thing, name) == value for thing, name, value in self.traced.guards) and all(
            c.variable._grad is not None for c in self.traced.gradients
        )

    def timed(self) -> Program:
        """The same program with clocks around its kernels."""
        return repeated(self.traced, self.how == EACH, True) if self.repeat else of_trace(self.traced, True)[0]

    def turns(self, datas: Sequence[Any]) -> int:
        """How many turns to take on these data to see how long one takes."""
        return len(datas[0]) if self.how == EACH else 100 if self.repeat else 1

    def call(self, arrays: Sequence[Any], count: int) -> list[Any]:
        """Run with these arguments, give variables what was computed for them, and return the results as stored."""
        program = self.program
        with program.lock:
            last = program.last
            k = 0
            for data in arrays:
                if data is not last[k]:
                    program.put(k, data)
                k += 1
            for variable, shape, dtype in self._captured:
                node = variable._now
                data = variable._data if node is None else node._data
                if data is not last[k]:
                    if shape_of(data) != shape or dtype_of(data) != dtype:
                        raise ShapeError(
                            f"compile: {describe(variable)} was {Abstract(shape, dtype)!r} when the function was "
                            f"traced and is {Abstract(shape_of(data), dtype_of(data))!r} now."
                        )
                    program.put(k, data)
                k += 1
            if not self.repeat:
                for captured in self.traced.gradients:
                    program.put(k, captured.variable._grad)
                    k += 1
            outputs = program.go(count)
            self._commit(outputs)
        return outputs[: len(self.traced.results)]

    def _commit(self, outputs: list[Any]) -> None:
        """Give variables what the program computed for them."""
        k = len(self.traced.results)
        for variable in self._assigned:
            renew(variable, outputs[k])
            k += 1
        if self.repeat:
            return
        for holder, node in self.traced.left:
            if node is None:
                holder._grad = None
            else:
                holder._grad = outputs[k]
                k += 1
            extra = holder._own_extra()
            extra.stale, extra.resets = False, extra.resets + 1


def _refuse_leftovers(traced: Traced) -> None:
    """Raises GraphError for a step whose next turn would add to the gradients that it leaves: no turn hands them on."""
    left = {holder for holder, node in traced.left if node is not None}
    asked = [c.variable for c in traced.gradients] + [holder for holder in traced.without if holder in left]
    if asked:
        raise GraphError(
            f"repeat: each turn would add to the gradient of {describe(asked[0])} that the turn before left, and "
            "gradients are not handed on. Call zero_grad() in the step, before backward() or at the end."
        )


def _unseen() -> int:
    variable = constant(0.0)
    variable._now = constant(0.0)
    node = variable._now
    return sys.getrefcount(node) if COUNTS else 0


_UNSEEN = _unseen()
"""What `sys.getrefcount` tells of a node that only its variable and a name here hold."""


def renew(variable: Value, data: Any) -> None:
    """Give a variable new stored data. Its present node is used again where nobody else can see it: no graph was built
    with it.
    """
    node = variable._now
    if (
        COUNTS
        and node is not None
        and sys.getrefcount(node) == _UNSEEN
        and not weakref.getweakrefcount(node)
        and node._op is None
        and (variable._grad is None or variable._grad is INACTIVE)
    ):
        node._data = data
        node._grad = INACTIVE if variable._grad is INACTIVE else None
        node._serial = next_serial()
        if node._extra.deposits is not None:
            node._extra.deposits = None
    else:
        assign(variable, data)


class Compiled:
    """A function that runs as machine code; see `compile`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._entries: dict[Any, list[Entry]] = {}
        self._quick: dict[Any, list[Entry]] = {}  # the same lists, by what is found out sooner
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
        key = None if kwargs else _quick(args)
        if key is not None:
            for entry in self._quick.get(key, ()):
                if entry.holds():
                    plain = [_data(x) for x in args if type(x) is np.ndarray or type(x) is Value]
                    return self._finished(entry, entry.call(plain, 1))
        found: list[Any] = []
        signature = (_signature((args, kwargs), found), ONCE)
        entry = self._entry(signature, found, args, kwargs, ONCE)
        if key is not None:
            self._quick[key] = self._entries[signature]
        return self._finished(entry, entry.call([_data(x) for x in found], 1))

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
        entry = self._entry((_signature((args, kwargs), found), OFTEN), found, args, kwargs, OFTEN)
        arrays = [_data(x) for x in found]
        piece, result = 1, None
        while n > 0:
            start = time.perf_counter()
            result = self._finished(entry, entry.call(arrays, min(n, piece)))  # Ctrl-C is heard between two pieces
            n -= piece
            if time.perf_counter() - start < PIECE_SECONDS / 4:
                piece *= 4
        return result

    def each(self, *stacked: Any) -> Any:
        """A call for each slice of the arguments along their first axis, in one; gives the results stacked.

        stacked: trees of arrays that all have the same first length. What a call assigns, the next one finds, so an
        epoch of training is one such call, over batches or over the positions of their rows. Ctrl-C ends it between two
        calls, with all variables as the last one left them; the results so far are lost.

        >>> import backlit as bl
        >>> total = bl.Buffer(0.0)
        >>> @bl.compile
        ... def add(x):
        ...     total.data = total + x
        ...     return total * 1.0
        >>> add.each(np.array([1.0, 2.0, 3.0])).data
        array([1., 3., 6.])
        """
        arrays: list[Any] = []
        _signature(stacked, arrays)
        datas = [np.asarray(_data(x)) for x in arrays]
        lengths = {data.shape[0] if data.ndim else None for data in datas}
        if len(lengths) != 1 or None in lengths:
            shapes = ", ".join(str(data.shape) for data in datas) or "none at all"
            raise ShapeError(f"each: the arguments are arrays with the same first length, and not of shapes {shapes}.")
        (n,) = lengths
        rows = iter([np.zeros(data.shape[1:], data.dtype) for data in datas])
        args = _replaced(stacked, rows)
        if tracing() is not None or not n:
            raise GraphError("each: takes one turn at least, and inside another compiled function write a scan.")
        found: list[Any] = []
        entry = self._entry((_signature((args, {}), found), EACH), found, args, {}, EACH)
        pieces: list[list[Any]] = []
        done, piece = 0, entry.piece
        while done < n:
            start = time.perf_counter()
            part = [data[done : done + piece] for data in datas]
            pieces.append(entry.call(part, len(part[0])))
            done += len(part[0])
            took = time.perf_counter() - start
            if took > PIECE_SECONDS:
                piece = max(1, piece // 2)
            elif took < PIECE_SECONDS / 4 and len(part[0]) == piece:
                piece *= 4
        entry.piece = piece
        results = pieces[0] if len(pieces) == 1 else [np.concatenate(column) for column in zip(*pieces, strict=True)]
        return self._finished(entry, results)

    def _finished(self, entry: Entry, results: list[Any]) -> Any:
        given = iter([constant(data) for data in results])
        rebuilt = entry.traced.rebuild(given)
        for text, count in entry.traced.prints:
            write(text, [next(given).data for _ in range(count)], each=entry.how == EACH)
        return rebuilt

    def _entry(self, key: Any, found: list[Any], args: Any, kwargs: Any, how: str) -> Entry:
        for entry in self._entries.get(key, ()):
            if entry.holds():
                return entry
        with self._lock:
            for entry in self._entries.get(key, ()):  # another thread may just have made it
                if entry.holds():
                    return entry
            with trace.uncollected():
                entry = Entry(self._traced(found, args, kwargs), how)
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

    def explain(self, of: Any = None, *, line: int | None = None, profile: bool = False) -> Explanation:
        """What became of the function: which lines were fused into which kernels, what they keep, how much they do.

        of: a value, the name of a variable or of an op, or a line number (also `line=`), to see its nodes, its kernel
        in LLVM IR, and the assembly. profile: time each kernel, on the arguments of the last call; assigns nothing.
        Raises DataError before the first call, and where nothing comes from `of`.

        >>> import backlit as bl
        >>> f = compile(lambda x: bl.tanh(x * 2.0).sum())
        >>> _ = f(np.zeros((40, 50)))
        >>> "1 kernel." in f.explain().text
        True
        """
        from backlit.compiler.explained import explain

        return explain(self._name, self.entries, line if of is None else of, profile)

    def compare(self, *args: Any, **kwargs: Any) -> Comparison:
        """The compiled function against the eager one, node by node, with what each was off by; changes nothing.

        Every value of the trace becomes a result of a program of its own, and is computed eagerly and in float64 from
        the same inputs. Units in the last place are of the largest number of an array. Cost: a compilation, and each
        operation three times.

        >>> import backlit as bl
        >>> compile(lambda x: bl.tanh(x * 2.0).sum()).compare(np.linspace(-2, 2, 50)).verdict
        'rounding'
        """
        from backlit.compiler.compared import compare

        found: list[Any] = []
        _signature((args, kwargs), found)
        return compare(self._name, self._traced(found, args, kwargs), [_data(x) for x in found])

    @property
    def _name(self) -> str:
        return str(getattr(self.function, "__qualname__", "the function"))

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


def debug_print(text: str, *values: Any) -> None:
    """Print `text.format(*values)`, in a compiled function too: there when a call is done, with that call's numbers.

    Under `repeat` the numbers of the last turn are printed, under `each` those of every turn. Costs what handing the
    values out costs. Not inside the body of a scan.

    >>> f = compile(lambda x: (debug_print("x is {}", x), x * 2.0)[1])
    >>> f(np.float64(3.0)).data
    x is 3.0
    6.0
    """
    trace_now = tracing()
    if isinstance(trace_now, trace.Trace):
        nodes = [current(x) if isinstance(x, Value) else as_constant(x) for x in values]
        trace_now.debug_print(text, nodes)
    else:
        write(text, [x.data if isinstance(x, Value) else x for x in values])


def write(text: str, numbers: list[Any], each: bool = False) -> None:
    """A line, or, where the numbers are of many turns, a line for each."""
    rows = zip(*numbers, strict=True) if each and numbers else [numbers]
    sys.stdout.write("".join(text.format(*row) + "\n" for row in rows))


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
        if active and current(tree)._op is not None:
            _leaf(tree)  # says why not
        return (tuple(tree.shape), tree.dtype.name, active)
    if isinstance(tree, (bool, int, float, str, bytes, complex, type(None), np.dtype)):
        return (type(tree).__name__, repr(tree) if isinstance(tree, float) else tree)
    return (type(tree).__name__, id(tree))


def _quick(args: tuple[Any, ...]) -> Any:
    """The kind of the arguments where they are plain, found out in a microsecond; None where it takes `_signature`."""
    key: list[Any] = []
    for x in args:
        kind = type(x)
        if kind is np.ndarray:
            key += (x.shape, x.dtype)
        elif kind is Value:
            node = x if x._now is None else x._now
            if node._op is not None and node._grad is not INACTIVE:
                return None
            key += (kind, shape_of(node._data), dtype_of(node._data), node._grad is INACTIVE)
        elif kind is int or kind is str or kind is bool or x is None:
            key += (kind, x)
        elif hasattr(kind, "__backlit_flatten__"):
            key.append(id(x))  # what has been seen is kept alive
        else:
            return None
    return tuple(key)


def _replaced(tree: Any, leaves: Iterator[Any]) -> Any:
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
