"""Loops and branches: `scan`, `fori_loop`, `while_loop`, `cond`. In a compiled function they are loops of machine code.

Outside of one they are loops and branches of Python, with the same results. Source of the differentiation of loops with
stored or recomputed states: Griewank and Walther, "Evaluating Derivatives" (2008), chapter 12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

import backlit.ops.face  # noqa: F401  gives values their operators
from backlit.autodiff.forward import push_forward
from backlit.autodiff.reverse import pull_back
from backlit.compiler.lowering import lower_loop
from backlit.compiler.trace import Frame, Trace
from backlit.core import dtypes
from backlit.core.errors import DomainError, GraphError, ShapeError
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.op import Several
from backlit.core.record import as_constant, record
from backlit.core.state import tracing
from backlit.core.trees import Rebuild, flatten, paths
from backlit.core.value import INACTIVE, Value, current, leaf
from backlit.ops.creation import zeros
from backlit.ops.movement import concat, stack
from backlit.ops.selection import where

Tree = Any
Flat = Callable[[Value, list[Value], list[Value]], tuple[list[Value], list[Value]]]
"""A body in flat form: (number of the turn, carried, slices) -> (carried anew, what is stacked)."""
WHILE = -1
"""The count of a loop that a carried truth ends."""
CHECKPOINTS = {"none": 1, "sqrt": 2, "binomial": 3}
"""How many loops stand in each other; reverse mode runs each turn as often, and once more to differentiate it."""


class Loop:
    """A traced loop: a body, how often, and in which direction.

    carried, slices, counter: the leaves of the body. constants: nodes outside, each with the leaf that stands for it.
    outputs: carried values anew, then what is stacked. results: the nodes outside that take them.
    """

    def __init__(self, body: Flat, count: int, reverse: bool) -> None:
        self.body, self.count, self.reverse = body, count, reverse
        self.counter: Value
        self.carried: list[Value] = []
        self.slices: list[Value] = []
        self.constants: list[tuple[Value, Value]] = []
        self.outputs: list[Value] = []
        self.results: list[Value] = []
        self.history: list[Value] | None = None  # stacked: what was carried into each turn
        self.flag: int | None = None  # the carried truth that says whether there is another turn, instead of a count

    def shape(self, which: int) -> tuple[int, ...]:
        own = shape_of(self.outputs[which]._data)
        return own if which < len(self.carried) else (self.count, *own)


def _not_outside(*xs: Any, **attrs: Any) -> Any:
    raise GraphError("scan: a traced loop has no numbers.")


def _inputs(nodes: Sequence[Value]) -> tuple[Loop, list[Value], list[Value], list[Value]]:
    """The loop of these results, and what went in: carried values, constants, stacked arrays."""
    node = nodes[0]
    loop: Loop = node._extra.attrs["loop"]
    inputs = [node._a, node._b, *node._extra.rest]
    given = [x for x in inputs if x is not None]
    k, c = len(loop.carried), len(loop.constants)
    return loop, given[:k], given[k : k + c], given[k + c :]


def _is_real(x: Value) -> bool:
    return dtypes.is_real(dtype_of(x._data))


def _pull_back(nodes: Sequence[Value], cts: Sequence[Value | None]) -> list[Value | None]:
    """The loop backwards: each turn is run again from what was carried into it, and differentiated."""
    loop, carried, constants, stacked = _inputs(nodes)
    if loop.flag is not None:
        raise GraphError(
            "while_loop has no reverse mode, because how many turns there are is not known beforehand. "
            "Use fori_loop or scan with a fixed number, or forward mode (jvp)."
        )
    k = len(carried)
    history = _with_history(loop, carried, stacked)
    moving = [i for i in range(k) if _is_real(carried[i])]
    given = [i for i in range(k, len(nodes)) if cts[i] is not None]
    wanted = [i for i, x in enumerate(constants) if x._grad is not INACTIVE]
    sliced = [i for i, x in enumerate(stacked) if _is_real(x) and x._grad is not INACTIVE]
    outer = [constants[i] for i in wanted]

    def body(turn: Value, state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        now, own = slices[:k], slices[k : k + len(stacked)]
        seeds = [*state[: len(moving)], *slices[k + len(stacked) :]]
        after, piled = loop.body(turn, now, own)
        trace, frame = _frame()
        wrt = [*(now[i] for i in moving), *(frame.stand_ins.get(x, x) for x in outer), *(own[i] for i in sliced)]
        outputs = [*(after[i] for i in moving), *(piled[i - k] for i in given)]
        lifted = [trace.lift(current(y)) for y in outputs]
        found = pull_back(lifted, seeds, wrt)
        filled = [zeros(x.shape, dtype=x.dtype) if ct is None else ct for ct, x in zip(found, wrt, strict=True)]
        m, w = len(moving), len(wanted)
        sums = [old + new for old, new in zip(state[m:], filled[m : m + w], strict=True)]
        return [*filled[:m], *sums], filled[m + w :]

    start = [_or_zeros(cts[i], nodes[i]) for i in moving] + [zeros(x.shape, dtype=x.dtype) for x in outer]
    xs = [*history, *stacked, *(cts[i] for i in given)]
    ends, piled = run_loop(body, start, [x for x in xs if x is not None], loop.count, not loop.reverse)
    result: list[Value | None] = [None] * (k + len(constants) + len(stacked))
    for i, ct in zip(moving, ends, strict=False):
        result[i] = ct
    for i, ct in zip(wanted, ends[len(moving) :], strict=True):
        result[k + i] = ct
    for i, ct in zip(sliced, piled, strict=True):
        result[k + len(constants) + i] = ct
    return result


def _or_zeros(ct: Value | None, node: Value) -> Value:
    return zeros(node.shape, dtype=node.dtype) if ct is None else ct


def _with_history(loop: Loop, carried: Sequence[Value], stacked: Sequence[Value]) -> list[Value]:
    """What was carried into each turn, stacked. The loop itself is then no longer run without it."""
    if loop.history is None:

        def body(turn: Value, state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
            after, piled = loop.body(turn, state, slices)
            return after, [*piled, *state]

        ends, piled = run_loop(body, list(carried), list(stacked), loop.count, loop.reverse)
        trace = tracing()
        assert isinstance(trace, Trace)
        own = len(loop.outputs) - len(loop.carried)
        for old, new in zip(loop.results, [*ends, *piled[:own]], strict=True):
            trace.defined[old] = current(new)
        loop.history = piled[own:]
    return loop.history


def _push_forward(nodes: Sequence[Value], tangents: Sequence[Value | None]) -> list[Value | None]:
    """The loop with tangents carried beside the values."""
    loop, carried, constants, stacked = _inputs(nodes)
    k, c = len(carried), len(constants)
    moving = [i for i in range(k) if _is_real(carried[i])]
    varied = [i for i in range(c) if tangents[k + i] is not None]
    sliced = [i for i in range(len(stacked)) if tangents[k + c + i] is not None]
    outputs = [i for i in range(len(nodes)) if _is_real(nodes[i])]

    def body(turn: Value, state: list[Value], slices: list[Value]) -> tuple[list[Value], list[Value]]:
        now, own = state[:k], slices[: len(stacked)]
        after, piled = loop.body(turn, now, own)
        trace, frame = _frame()
        sources = [*(now[i] for i in moving), *(frame.stand_ins.get(constants[i], constants[i]) for i in varied)]
        sources += [own[i] for i in sliced]
        ts = [*state[k:], *(trace.lift(current(tangents[k + i])) for i in varied), *slices[len(stacked) :]]  # type: ignore[arg-type]
        every = [trace.lift(current(y)) for y in [*after, *piled]]
        found = push_forward([every[i] for i in outputs], sources, ts)
        filled = {i: _or_zeros(t, every[i]) for i, t in zip(outputs, found, strict=True)}
        return [*after, *(filled[i] for i in moving)], [*piled, *(filled[i] for i in outputs if i >= k)]

    start = [*carried, *(_or_zeros(tangents[i], carried[i]) for i in moving)]
    xs = [*stacked, *(t for i in sliced if (t := tangents[k + c + i]) is not None)]
    ends, piled = run_loop(body, start, xs, loop.count, loop.reverse, loop.flag)
    result: list[Value | None] = [None] * len(nodes)
    for i, t in zip(moving, ends[k:], strict=True):
        result[i] = t
    own = len(nodes) - k
    for i, t in zip([i for i in outputs if i >= k], piled[own:], strict=True):
        result[i] = t
    return result


SCAN = Several(
    "scan",
    _not_outside,
    siblings=lambda node: node._extra.attrs["loop"].results,
    pull_back=_pull_back,
    push_forward=_push_forward,
    shape=lambda *xs, loop, which: loop.shape(which),
    dtype=lambda *xs, loop, which: dtype_of(loop.outputs[which]._data),
    lower=lower_loop,
    doc="One result of a loop: of what is carried, the last; of what is stacked, all.",
)


def _frame() -> tuple[Trace, Frame]:
    trace = tracing()
    assert isinstance(trace, Trace)
    return trace, trace.frames[-1]


def run_loop(
    body: Flat,
    carried: Sequence[Value],
    stacked: Sequence[Value],
    count: int,
    reverse: bool,
    flag: int | None = None,
) -> tuple[list[Value], list[Value]]:
    """A loop in flat form, traced: the carried values at the end, and what was stacked."""
    trace = tracing()
    assert isinstance(trace, Trace)
    carried = [trace.lift(current(x)) for x in carried]
    stacked = [trace.lift(current(x)) for x in stacked]
    loop = Loop(body, count, reverse)
    loop.flag = flag
    frame = Frame()
    trace.frames.append(frame)
    try:
        level = len(trace.frames) - 1
        loop.carried = [_leaf(x, x.shape, level) for x in carried]
        loop.slices = [_leaf(x, x.shape[1:], level) for x in stacked]
        loop.counter = leaf(Abstract((), dtypes.int64), active=False)
        loop.counter._own_extra().attrs = {"frame": level}
        after, piled = body(loop.counter, list(loop.carried), list(loop.slices))
        loop.outputs = [trace.lift(current(y)) for y in [*after, *piled]]
        loop.constants = list(frame.stand_ins.items())
    finally:
        trace.frames.pop()
    inputs = (*carried, *(outer for outer, _ in loop.constants), *stacked)
    if not inputs:
        raise GraphError("scan: nothing is carried and nothing goes in, so there is nothing to loop over.")
    loop.results = [record(SCAN, inputs, {"loop": loop, "which": i}) for i in range(len(loop.outputs))]
    k = len(carried)
    return loop.results[:k], loop.results[k:]


def _leaf(x: Value, shape: tuple[int, ...], level: int) -> Value:
    node = leaf(Abstract(shape, x.dtype), active=True)
    node._own_extra().attrs = {"frame": level}
    return node


# -- what users call ---------------------------------------------------------------------------------------------


def scan(
    f: Callable[..., Any],
    init: Tree,
    xs: Tree = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    checkpoint: str = "none",
) -> tuple[Tree, Tree]:
    """A loop that carries something from turn to turn: `carry, y = f(carry, x)` for each slice x of `xs`.

    Gives the last carry, and the ys stacked along a new first axis. init, carry: a tree of numbers and arrays, of the
    same structure, shapes and dtypes at each turn; xs: a tree of arrays with the same first length (or None, with
    `length`); reverse: from the last slice to the first. Inside a compiled function this is one loop of machine code,
    differentiable in both modes and to any order.

    checkpoint says what reverse mode stores, in carries: "none": that of every turn, so `length` of them; "sqrt": that
    of each of about √length stretches, and of every turn of one stretch, so 2 √length; "binomial": of stretches of
    stretches, so 3 ∛length. For that each turn is run once, twice, or three times, and each time once more where it is
    differentiated. `checkpoint_memory` says how many bytes that is. (With "binomial" in the strict sense, where
    stretches differ in length, as few runs need 1.7 times fewer carries, but each stretch code of its own.)

    Raises ShapeError for a carry that changes its shape, and GraphError for one that changes its structure.

    >>> total, sums = scan(lambda total, x: (total + x, total + x), 0.0, np.array([1.0, 2.0, 3.0]))
    >>> total.data, sums.data
    (6.0, array([1., 3., 6.]))
    """
    if checkpoint not in CHECKPOINTS:
        raise DomainError(f"scan: checkpoint={checkpoint!r}; it is one of {', '.join(CHECKPOINTS)}.")
    leaves, rebuild_x = flatten(xs)
    slices = [_value(x) for x in leaves]
    count = _length(slices, length, paths(xs, "xs"))
    start, rebuild = flatten(init)
    state = [_value(x) for x in start]
    structure: list[Rebuild] = []

    def body(turn: Value, carried: list[Value], own: list[Value]) -> tuple[list[Value], list[Value]]:
        result = f(rebuild(iter(carried)), rebuild_x(iter(own)))
        if not (isinstance(result, tuple) and len(result) == 2):
            raise GraphError(f"scan: the body returned {type(result).__name__}; it returns a pair, (carry, y).")
        piled, rebuild_y = flatten(result[1])
        structure[:] = [rebuild_y]
        return _same_kind("scan", carried, result[0], paths(init, "carry")), [_value(y) for y in piled]

    ends, piled = _run(body, state, slices, count, reverse, checkpoint)
    y = structure[0](iter(piled)) if structure else None
    return rebuild(iter(ends)), y


def fori_loop(lower: int, upper: int, body: Callable[..., Any], init: Tree, *, checkpoint: str = "none") -> Tree:
    """`carry = body(i, carry)` for i from `lower` to `upper` - 1; gives the last carry. Otherwise as `scan`.

    >>> fori_loop(1, 5, lambda i, product: product * i, 1.0).data
    24.0
    """
    if checkpoint not in CHECKPOINTS:
        raise DomainError(f"fori_loop: checkpoint={checkpoint!r}; it is one of {', '.join(CHECKPOINTS)}.")
    start, rebuild = flatten(init)
    state = [_value(x) for x in start]

    def turn_of(turn: Value, carried: list[Value], own: list[Value]) -> tuple[list[Value], list[Value]]:
        result = body(turn + lower if lower else turn, rebuild(iter(carried)))
        return _same_kind("fori_loop", carried, result, paths(init, "carry")), []

    return rebuild(iter(_run(turn_of, state, [], max(0, int(upper) - int(lower)), False, checkpoint)[0]))


def while_loop(condition: Callable[..., Any], body: Callable[..., Any], init: Tree) -> Tree:
    """`carry = body(carry)` as long as `condition(carry)` holds; gives the last carry.

    init, carry: a tree of numbers and arrays, of the same structure, shapes and dtypes at each turn. Differentiable in
    forward mode (jvp); in a compiled function there is no reverse mode, as nobody knows how many turns there will be:
    GraphError. Ctrl-C cannot stop a compiled loop that never ends.

    >>> while_loop(lambda x: x < 100.0, lambda x: x * 2.0, 3.0).data
    192.0
    """
    start, rebuild = flatten(init)
    state = [_value(x) for x in start]
    names = paths(init, "carry")
    if not isinstance(tracing(), Trace):
        while bool(condition(rebuild(iter(state)))):
            state = _same_kind("while_loop", state, body(rebuild(iter(state))), names)
        return rebuild(iter(state))

    def holds(carried: list[Value]) -> Value:
        found = _value(condition(rebuild(iter(carried))))
        if found.shape != ():
            raise ShapeError(f"while_loop: the condition has shape {found.shape}; it is one truth.")
        return found if found.dtype == dtypes.bool else found != 0

    def turn_of(turn: Value, carried: list[Value], own: list[Value]) -> tuple[list[Value], list[Value]]:
        after = _same_kind("while_loop", carried[1:], body(rebuild(iter(carried[1:]))), names)
        return [holds(after), *after], []

    return rebuild(iter(run_loop(turn_of, [holds(state), *state], [], WHILE, False, 0)[0][1:]))


def cond(condition: Any, if_true: Callable[..., Any], if_false: Callable[..., Any], *operands: Any) -> Tree:
    """`if_true(*operands)` where the condition holds, else `if_false(*operands)`.

    In a compiled function both are computed, and each number of the result is chosen; no gradient flows to the other.
    Both must give the same structure, shapes and dtypes. Outside, only the one that is asked for runs.

    >>> cond(True, lambda x: x + 1.0, lambda x: x - 1.0, 5.0)
    6.0
    """
    node = current(condition) if isinstance(condition, Value) else None
    if node is None or type(node._data) is not Abstract:
        return (if_true if bool(condition) else if_false)(*operands)
    if node.shape != ():
        raise ShapeError(f"cond: the condition has shape {node.shape}; it is one truth. For each element: where.")
    (a, rebuild), (b, _) = flatten(if_true(*operands)), flatten(if_false(*operands))
    if len(a) != len(b):
        raise GraphError(f"cond: one branch gives {len(a)} values, and the other {len(b)}.")
    for x, y in zip(a, b, strict=True):
        if np.shape(x) != np.shape(y):
            raise ShapeError(f"cond: one branch gives shape {np.shape(x)}, and the other {np.shape(y)}.")
    return rebuild(iter([where(condition, x, y) for x, y in zip(a, b, strict=True)]))


def checkpoint_memory(init: Tree, count: int, checkpoint: str = "none") -> int:
    """How many bytes reverse mode through `count` turns stores for a carry like `init`.

    >>> checkpoint_memory(np.zeros(9), 10_000), checkpoint_memory(np.zeros(9), 10_000, "sqrt")
    (720000, 14400)
    """
    size = sum(x.size * x.dtype.itemsize for x in map(_value, flatten(init)[0]))
    return size * _kept(count, _stretches(count, checkpoint))


def _value(x: Any) -> Value:
    return x if isinstance(x, Value) else as_constant(x)


def _length(slices: Sequence[Value], length: int | None, names: Sequence[str]) -> int:
    for x, name in zip(slices, names, strict=True):
        if not x.shape:
            raise ShapeError(f"scan: {name} is a single number, and has no slices.")
    lengths = {x.shape[0] for x in slices} | ({int(length)} if length is not None else set())
    if not lengths:
        raise GraphError("scan: how many turns? Give xs, or length.")
    if len(lengths) > 1:
        told = ", ".join(f"{name} has {x.shape[0]}" for x, name in zip(slices, names, strict=True))
        raise ShapeError(f"scan: the first lengths differ: {told}{'' if length is None else f', length is {length}'}.")
    return lengths.pop()


def _same_kind(caller: str, before: Sequence[Value], result: Tree, names: Sequence[str]) -> list[Value]:
    """The carry that a turn gave, checked against the one that it took."""
    after = [_value(x) for x in flatten(result)[0]]
    if len(after) != len(before):
        raise GraphError(f"{caller}: the body was given a carry of {len(before)} leaves and returned {len(after)}.")
    for old, new, name in zip(before, after, names, strict=True):
        if old.shape != new.shape or old.dtype != new.dtype:
            have, want = Abstract(new.shape, new.dtype), Abstract(old.shape, old.dtype)
            raise ShapeError(f"{caller}: {name} was {want!r} before a turn and is {have!r} after it; keep it alike.")
    return after


def _run(
    body: Flat, state: list[Value], slices: list[Value], count: int, reverse: bool, checkpoint: str
) -> tuple[list[Value], list[Value]]:
    if not isinstance(tracing(), Trace):
        return _in_python(body, state, slices, count, reverse)
    if not count:
        raise GraphError("scan: a compiled loop of no turns; leave it out.")
    return _in_stretches(body, state, slices, count, reverse, _stretches(count, checkpoint))


def _stretches(count: int, checkpoint: str) -> tuple[int, ...]:
    """How many turns a stretch has, then a stretch of that: those for which the fewest carries are kept."""
    loops = CHECKPOINTS[checkpoint]
    root = round(count ** (1 / loops))
    sizes = range(max(2, root - _NEAR), root + _NEAR + 1)
    tried = [tuple(math.prod(inner[k:]) for k in range(loops - 1)) for inner in product(sizes, repeat=loops - 1)]
    return min([(), *tried], key=lambda stretches: _kept(count, stretches) * (1 + 0.05 * _codes(count, stretches)))


_NEAR = 8  # so far from the root lengths are tried


def _kept(count: int, stretches: tuple[int, ...]) -> int:
    """How many carries are kept at a time."""
    if not stretches:
        return count
    (whole, rest), shorter = divmod(count, stretches[0]), stretches[1:]
    return whole + max(_kept(stretches[0], shorter) if whole else 0, _kept(rest, shorter))


def _codes(count: int, stretches: tuple[int, ...]) -> int:
    """How many times the body stands in the code: a rest of turns has its own."""
    if not stretches:
        return int(count > 0)
    (whole, rest), shorter = divmod(count, stretches[0]), stretches[1:]
    return (_codes(stretches[0], shorter) if whole else 0) + _codes(rest, shorter)


def _in_stretches(
    body: Flat, state: list[Value], slices: list[Value], count: int, reverse: bool, stretches: tuple[int, ...]
) -> tuple[list[Value], list[Value]]:
    """A loop of loops: reverse mode stores what was carried into each, and runs it again when it comes there."""
    if not stretches:
        return run_loop(body, state, slices, count, reverse)
    stretch, shorter = stretches[0], stretches[1:]
    whole, rest = divmod(count, stretch)

    def after(first: Any) -> Flat:
        return lambda turn, carried, own: body(turn + first, carried, own)

    def outer(turn: Value, carried: list[Value], own: list[Value]) -> tuple[list[Value], list[Value]]:
        return _in_stretches(after(turn * stretch), carried, own, stretch, reverse, shorter)

    def leading(carried: list[Value]) -> tuple[list[Value], list[Value]]:
        packed = [x[: whole * stretch].reshape((whole, stretch, *x.shape[1:])) for x in slices]
        ends, piled = run_loop(outer, carried, packed, whole, reverse)
        return ends, [y.reshape((whole * stretch, *y.shape[2:])) for y in piled]

    def trailing(carried: list[Value]) -> tuple[list[Value], list[Value]]:
        own = [x[whole * stretch :] for x in slices]
        return _in_stretches(after(whole * stretch), carried, own, rest, reverse, shorter)

    if not whole or not rest:
        return leading(state) if whole else trailing(state)
    order = [trailing, leading] if reverse else [leading, trailing]
    ends, one = order[0](state)
    ends, two = order[1](ends)
    both = zip(two, one, strict=True) if reverse else zip(one, two, strict=True)
    return ends, [concat(list(pair)) for pair in both]


def _in_python(
    body: Flat, state: list[Value], slices: list[Value], count: int, reverse: bool
) -> tuple[list[Value], list[Value]]:
    rows: list[list[Value]] = []
    for turn in reversed(range(count)) if reverse else range(count):
        state, piled = body(as_constant(turn), state, [x[turn] for x in slices])
        rows.append(piled)
    if reverse:
        rows.reverse()
    return state, [stack(list(column)) for column in zip(*rows, strict=True)]
