"""From the graph that a trace recorded to the compiler's own: each op in terms of a few kinds of node."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backlit.compiler.ir import BOOL, INT64, Body, Graph, Node
from backlit.compiler.schedule import topological
from backlit.core.errors import GraphError
from backlit.core.numbers import Abstract, Shape, dtype_of, shape_of
from backlit.core.value import Value, describe, inputs_of
from backlit.core.walk import toposort
from backlit.ops.index import ARRAY, Slice, indexed_shape

Rule = Callable[..., Node]
RULES: dict[str, Rule] = {}
"""For each op by name: `rule(graph, result, *arguments, **attrs)`, result being the shape and dtype that come out."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def lower(
    graph: Graph, outputs: Sequence[Value], known: dict[Value, Node], defined: Mapping[Value, Value]
) -> list[Node]:
    """The nodes for these values. known: those for the leaves; defined: leaves that stand for other values."""
    graph.defined = defined
    wanted = list(outputs)
    followed: set[Value] = set()
    while True:  # what an assigned leaf stands for belongs to the graph as well
        order = toposort(wanted)
        more = [defined[leaf] for leaf in order if leaf in defined and leaf not in followed]
        if not more:
            break
        followed.update(leaf for leaf in order if leaf in defined)
        wanted.extend(more)
    for value in order:
        _lower_with(graph, value, known, defined)
    return [known[value] for value in outputs]


def _lower_with(graph: Graph, value: Value, known: dict[Value, Node], defined: Mapping[Value, Value]) -> None:
    stack = [value]
    while stack:  # a definition may be younger than the leaf that stands for it
        node = stack[-1]
        if node in known:
            stack.pop()
            continue
        needed = [defined[node]] if node in defined else list(inputs_of(node))
        missing = [x for x in needed if x not in known]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        known[node] = known[defined[node]] if node in defined else _lowered(graph, node, known)


def _lowered(graph: Graph, value: Value, known: Mapping[Value, Node]) -> Node:
    op = value._op
    if op is None:
        if type(value._data) is Abstract:
            raise GraphError(f"compile: {describe(value)} belongs to another trace.")
        return graph.constant(value._data, dtype_of(value._data))
    args = [known[x] for x in inputs_of(value)]
    result = Abstract(shape_of(value._data), dtype_of(value._data))
    graph.origin = value
    try:
        found = RULES.get(op.name)
        if op.lower is not None:
            node = op.lower(graph, result, *args, **value._extra.attrs)
        elif found is not None:
            node = found(graph, result, *args, **value._extra.attrs)
        else:
            raise GraphError(
                f"compile: {op.name} cannot be compiled yet: {describe(value)}. "
                "Keep it outside the compiled function, or write it in other functions."
            )
    finally:
        graph.origin = None
    assert node.shape == result.shape, (op.name, node.shape, result.shape)
    return node if node.dtype == result.dtype else graph.cast(node, result.dtype)


# -- elementwise ------------------------------------------------------------------------------------------------


def _real(op: str, *dtypes: Any) -> None:
    for dtype in dtypes:
        if dtype.kind == "c":
            raise GraphError(f"compile: {op} of complex numbers cannot be compiled; compute it outside.")


def _same(name: str) -> Rule:
    """A map whose arguments have the dtype of its result."""

    def lower(graph: Graph, result: Abstract, *args: Node) -> Node:
        _real(name, result.dtype, *(a.dtype for a in args))
        return graph.map(name, *(graph.cast(a, result.dtype) for a in args), dtype=result.dtype)

    return lower


for _name in [
    "add",
    "subtract",
    "multiply",
    "divide",
    "negative",
    "maximum",
    "minimum",
    "abs",
    "sign",
    "floor",
    "ceil",
    "trunc",
    "round",
    "sqrt",
    "exp",
    "log",
    "expm1",
    "log1p",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "asin",
    "acos",
    "atan",
    "asinh",
    "acosh",
    "atanh",
    "atan2",
    "hypot",
    "sigmoid",
    "softplus",
    "silu",
    "erf",
    "logaddexp",
    "copysign",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "floor_divide",
    "remainder",
    "square",
]:
    RULES[_name] = _same(_name)


@rule("pow")
def _pow(graph: Graph, result: Abstract, x: Node, y: Node) -> Node:
    _real("pow", result.dtype)
    if result.dtype.kind != "f":
        power = graph.value_of(y)
        if power is None or not 0 <= power <= 64:
            raise GraphError("compile: whole numbers to a power that is not a constant from 0 to 64; use floats.")
        total = graph.broadcast(graph.number(1, result.dtype), result.shape)
        for _ in range(int(power)):
            total = graph.map("multiply", total, graph.cast(x, result.dtype))
        return total
    return graph.map("pow", graph.cast(x, result.dtype), graph.cast(y, result.dtype))


@rule("reciprocal")
def _reciprocal(graph: Graph, result: Abstract, x: Node) -> Node:
    return graph.map("divide", graph.number(1, result.dtype), graph.cast(x, result.dtype))


@rule("positive", "identity", "stop_gradient", "conj", "real")
def _itself(graph: Graph, result: Abstract, x: Node, **attrs: Any) -> Node:
    _real("it", x.dtype)
    return graph.cast(x, result.dtype)


@rule("imag")
def _imag(graph: Graph, result: Abstract, x: Node) -> Node:
    _real("imag", x.dtype)
    return graph.broadcast(graph.number(0, result.dtype), result.shape)


@rule("astype")
def _astype(graph: Graph, result: Abstract, x: Node, dtype: Any) -> Node:
    _real("astype", x.dtype, result.dtype)
    return graph.cast(x, result.dtype)


def _comparison(name: str) -> Rule:
    def lower(graph: Graph, result: Abstract, a: Node, b: Node) -> Node:
        dtype = np.result_type(a.dtype, b.dtype)
        _real(name, dtype)
        return graph.map(name, graph.cast(a, dtype), graph.cast(b, dtype), dtype=BOOL)

    return lower


for _name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    RULES[_name] = _comparison(_name)


def truth(graph: Graph, x: Node) -> Node:
    """Whether each element is not 0."""
    return x if x.dtype == BOOL else graph.map("not_equal", x, graph.number(0, x.dtype), dtype=BOOL)


def _logical(name: str, bitwise: str) -> Rule:
    def lower(graph: Graph, result: Abstract, *args: Node) -> Node:
        return graph.map(bitwise, *(truth(graph, a) for a in args), dtype=BOOL)

    return lower


for _name, _bitwise in (("and", "and"), ("or", "or"), ("xor", "xor"), ("not", "invert")):
    RULES[f"logical_{_name}"] = _logical(_name, f"bitwise_{_bitwise}")


@rule("isnan")
def _isnan(graph: Graph, result: Abstract, x: Node) -> Node:
    return graph.map("not_equal", x, x, dtype=BOOL)


@rule("isfinite")
def _isfinite(graph: Graph, result: Abstract, x: Node) -> Node:
    if x.dtype.kind != "f":
        return graph.broadcast(graph.number(True, BOOL), x.shape)
    return graph.map("less", graph.map("abs", x), graph.number(np.inf, x.dtype), dtype=BOOL)


@rule("isinf")
def _isinf(graph: Graph, result: Abstract, x: Node) -> Node:
    if x.dtype.kind != "f":
        return graph.broadcast(graph.number(False, BOOL), x.shape)
    return graph.map("equal", graph.map("abs", x), graph.number(np.inf, x.dtype), dtype=BOOL)


@rule("signbit")
def _signbit(graph: Graph, result: Abstract, x: Node) -> Node:
    one = graph.number(1, x.dtype)
    return graph.map("less", graph.map("copysign", one, x), graph.number(0, x.dtype), dtype=BOOL)


@rule("where")
def _where(graph: Graph, result: Abstract, condition: Node, a: Node, b: Node) -> Node:
    _real("where", result.dtype)
    return graph.map(
        "where", truth(graph, condition), graph.cast(a, result.dtype), graph.cast(b, result.dtype), dtype=result.dtype
    )


@rule("clip")
def _clip(graph: Graph, result: Abstract, x: Node, low: Node, high: Node) -> Node:
    low, high = graph.cast(low, result.dtype), graph.cast(high, result.dtype)
    return graph.map("minimum", graph.map("maximum", graph.cast(x, result.dtype), low), high)


@rule("relu")
def _relu(graph: Graph, result: Abstract, x: Node) -> Node:
    return graph.map("maximum", graph.cast(x, result.dtype), graph.number(0, result.dtype))


@rule("leaky_relu")
def _leaky_relu(graph: Graph, result: Abstract, x: Node, negative_slope: float = 0.01) -> Node:
    x = graph.cast(x, result.dtype)
    above = graph.map("greater", x, graph.number(0, x.dtype), dtype=BOOL)
    return graph.map("where", above, x, graph.map("multiply", graph.number(negative_slope, x.dtype), x))


@rule("elu")
def _elu(graph: Graph, result: Abstract, x: Node, alpha: float = 1.0) -> Node:
    x = graph.cast(x, result.dtype)
    zero = graph.number(0, x.dtype)
    below = graph.map("multiply", graph.number(alpha, x.dtype), graph.map("expm1", graph.map("minimum", x, zero)))
    return graph.map("where", graph.map("greater", x, zero, dtype=BOOL), x, below)


@rule("gelu")
def _gelu(graph: Graph, result: Abstract, x: Node, approximate: bool = False) -> Node:
    x = graph.cast(x, result.dtype)
    if not approximate:
        return graph.map("gelu", x)

    def number(n: float) -> Node:
        return graph.number(n, x.dtype)

    x = graph.map("maximum", x, number(np.finfo(x.dtype).min))
    linear, cubic = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)
    inner = graph.map("add", number(linear), graph.map("multiply", number(cubic), graph.map("multiply", x, x)))
    twice = graph.map("multiply", graph.map("multiply", number(2), x), inner)
    return graph.map("multiply", x, graph.map("sigmoid", twice))


# -- movement ---------------------------------------------------------------------------------------------------


@rule("broadcast_to")
def _broadcast_to(graph: Graph, result: Abstract, x: Node, shape: Shape) -> Node:
    return graph.broadcast(x, tuple(shape))


@rule("reshape", "expand_dims", "squeeze")
def _reshape(graph: Graph, result: Abstract, x: Node, **attrs: Any) -> Node:
    return graph.reshape(x, result.shape)


@rule("permute_dims")
def _permute_dims(graph: Graph, result: Abstract, x: Node, axes: Sequence[int]) -> Node:
    return graph.transpose(x, axes)


@rule("matrix_transpose")
def _matrix_transpose(graph: Graph, result: Abstract, x: Node) -> Node:
    return turned(graph, x)


def turned(graph: Graph, x: Node) -> Node:
    """The last two axes exchanged."""
    n = len(x.shape)
    return graph.transpose(x, (*range(n - 2), n - 1, n - 2))


@rule("flip")
def _flip(graph: Graph, result: Abstract, x: Node, axes: Sequence[int] | None = None, axis: Any = None) -> Node:
    chosen = axes if axes is not None else axis
    chosen = range(len(x.shape)) if chosen is None else (chosen,) if isinstance(chosen, int) else chosen
    n = len(x.shape)
    offsets = [x.shape[d] - 1 if d in chosen else 0 for d in range(n)]
    return graph.view(
        x, x.shape, offsets, [[(-1 if d in chosen else 1) * (d == j) for j in range(n)] for d in range(n)]
    )


@rule("diagonal")
def _diagonal(graph: Graph, result: Abstract, x: Node) -> Node:
    n = len(x.shape)
    rows = [[int(j == min(d, n - 2)) for j in range(n - 1)] for d in range(n)]
    return graph.view(x, result.shape, [0] * n, rows)


@rule("roll")
def _roll(graph: Graph, result: Abstract, x: Node, shift: Sequence[int], axes: Sequence[int]) -> Node:
    for by, axis in zip(shift, axes, strict=True):
        length = x.shape[axis]
        by = by % length if length else 0
        if by:
            x = graph.concat([part(graph, x, axis, length - by, length), part(graph, x, axis, 0, length - by)], axis)
    return x


def part(graph: Graph, x: Node, axis: int, start: int, stop: int, step: int = 1) -> Node:
    """x[start:stop:step] along an axis, for step > 0."""
    n = len(x.shape)
    count = max(0, -(-(stop - start) // step))
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    offsets = [start if d == axis else 0 for d in range(n)]
    return graph.view(x, shape, offsets, [[(step if d == axis else 1) * (d == j) for j in range(n)] for d in range(n)])


@rule("shift")
def _shift(graph: Graph, result: Abstract, x: Node, axis: int, by: int) -> Node:
    length = x.shape[axis]
    zero = graph.number(0, x.dtype)
    if abs(by) >= length:
        return graph.broadcast(zero, x.shape)
    kept = part(graph, x, axis, 0, length - by) if by > 0 else part(graph, x, axis, -by, length)
    return graph.pad(kept, zero, [max(by, 0) if d == axis else 0 for d in range(len(x.shape))], x.shape)


@rule("pad")
def _pad(graph: Graph, result: Abstract, x: Node, fill: Node, widths: Sequence[tuple[int, int]]) -> Node:
    return graph.pad(x, graph.cast(fill, x.dtype), [before for before, _ in widths], result.shape)


def _triangle(function: str) -> Rule:
    def lower(graph: Graph, result: Abstract, x: Node, k: int = 0) -> Node:
        n = len(x.shape)
        row, column = graph.iota(x.shape, n - 2), graph.iota(x.shape, n - 1)
        shifted = graph.map("subtract", column, row)
        kept = graph.map(function, shifted, graph.number(k, INT64), dtype=BOOL)
        return graph.map("where", kept, x, graph.number(0, x.dtype))

    return lower


RULES["tril"], RULES["triu"] = _triangle("less_equal"), _triangle("greater_equal")


@rule("concat")
def _concat(graph: Graph, result: Abstract, *parts: Node, axis: int) -> Node:
    return graph.concat([graph.cast(p, result.dtype) for p in parts], axis)


@rule("stack")
def _stack(graph: Graph, result: Abstract, *parts: Node, axis: int) -> Node:
    def raised(x: Node) -> Node:
        return graph.reshape(graph.cast(x, result.dtype), (*x.shape[:axis], 1, *x.shape[axis:]))

    return graph.concat([raised(p) for p in parts], axis)


# -- combining --------------------------------------------------------------------------------------------------


@rule("sum")
def _sum(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool = False, dtype: Any = None) -> Node:
    return graph.reduce("add", graph.cast(x, result.dtype), axis, keepdims)


@rule("prod")
def _prod(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool = False, dtype: Any = None) -> Node:
    return graph.reduce("multiply", graph.cast(x, result.dtype), axis, keepdims)


@rule("max")
def _max(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool = False) -> Node:
    return graph.reduce("maximum", x, axis, keepdims)


@rule("min")
def _min(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool = False) -> Node:
    return graph.reduce("minimum", x, axis, keepdims)


@rule("any")
def _any(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool = False) -> Node:
    return graph.reduce("or", truth(graph, x), axis, keepdims)


@rule("all")
def _all(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool = False) -> Node:
    return graph.reduce("and", truth(graph, x), axis, keepdims)


@rule("count_nonzero")
def _count(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool = False) -> Node:
    return graph.reduce("add", graph.cast(truth(graph, x), INT64), axis, keepdims)


def _position(function: str) -> Rule:
    def lower(graph: Graph, result: Abstract, x: Node, axis: int | None, keepdims: bool = False) -> Node:
        if axis is None:
            return graph.reshape(graph.pick(function, graph.reshape(x, (x.size,)), 0), result.shape)
        return graph.reshape(graph.pick(function, x, axis % len(x.shape)), result.shape)

    return lower


RULES["argmax"], RULES["argmin"] = _position("maximum"), _position("minimum")


@rule("finite_peak")
def _finite_peak(graph: Graph, result: Abstract, x: Node, axis: Any) -> Node:
    if not x.size:
        return graph.broadcast(graph.number(0, x.dtype), result.shape)
    peak = graph.reduce("maximum", x, axis, keepdims=True)
    finite = graph.map("less", graph.map("abs", peak), graph.number(np.inf, x.dtype), dtype=BOOL)
    return graph.map("where", finite, peak, graph.number(0, x.dtype))


def _powers(graph: Graph, x: Node, axis: Any) -> tuple[Node, Node, Node]:
    peak = _finite_peak(graph, Abstract(_kept(x.shape, axis), x.dtype), x, axis)
    below = graph.map("subtract", x, peak)
    return peak, below, graph.reduce("add", graph.map("exp", below), axis, keepdims=True)


def _kept(shape: Shape, axis: Any) -> Shape:
    return tuple(1 if d in axis else n for d, n in enumerate(shape))


@rule("logsumexp")
def _logsumexp(graph: Graph, result: Abstract, x: Node, axis: Any, keepdims: bool) -> Node:
    peak, _, total = _powers(graph, x, axis)
    return graph.reshape(graph.map("add", graph.map("log", total), peak), result.shape)


@rule("log_softmax")
def _log_softmax(graph: Graph, result: Abstract, x: Node, axis: Any) -> Node:
    _, below, total = _powers(graph, x, axis)
    return graph.map("subtract", below, graph.map("log", total))


def _running(function: str) -> Rule:
    def lower(
        graph: Graph,
        result: Abstract,
        x: Node,
        axis: int,
        reverse: bool = False,
        exclusive: bool = False,
        dtype: Any = None,
    ) -> Node:
        return graph.running(function, [graph.cast(x, result.dtype)], axis, reverse, exclusive)

    return lower


RULES["cumulative_sum"], RULES["cumulative_prod"] = _running("add"), _running("multiply")


@rule("recurrence")
def _recurrence(graph: Graph, result: Abstract, a: Node, b: Node, axis: int, reverse: bool = False) -> Node:
    args = [graph.cast(a, result.dtype), graph.cast(b, result.dtype)]
    return graph.running("recurrence", args, axis, reverse, False)


# -- products ---------------------------------------------------------------------------------------------------


@rule("matmul")
def _matmul(graph: Graph, result: Abstract, a: Node, b: Node) -> Node:
    _real("matmul", result.dtype)
    a, b = graph.cast(a, result.dtype), graph.cast(b, result.dtype)
    if result.dtype.kind != "f":
        raise GraphError("compile: a matrix product of whole numbers cannot be compiled; convert them to floats.")
    if len(a.shape) == 1:
        a = graph.reshape(a, (1, *a.shape))
    if len(b.shape) == 1:
        b = graph.reshape(b, (*b.shape, 1))
    return graph.reshape(product(graph, a, b), result.shape)


def product(graph: Graph, a: Node, b: Node) -> Node:
    """Of matrices or stacks of them, whose leading axes broadcast."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if lead and math.prod(b.shape[:-2]) == 1 and math.prod(a.shape[:-2]) == math.prod(lead):  # one tall matrix
        rows = math.prod(a.shape[:-1])
        tall = graph.matmul(graph.reshape(a, (rows, a.shape[-1])), graph.reshape(b, b.shape[-2:]))
        return graph.reshape(tall, (*lead, a.shape[-2], b.shape[-1]))
    return graph.matmul(graph.broadcast(a, (*lead, *a.shape[-2:])), graph.broadcast(b, (*lead, *b.shape[-2:])))


@rule("vecdot")
def _vecdot(graph: Graph, result: Abstract, a: Node, b: Node, axis: int = -1) -> Node:
    a, b = graph.cast(a, result.dtype), graph.cast(b, result.dtype)

    def last(x: Node) -> Node:
        n = len(x.shape)
        at = n + axis
        return graph.transpose(x, (*(d for d in range(n) if d != at), at))

    a, b = last(a), last(b)
    both = graph.map("multiply", a, b)
    return graph.reduce("add", both, (len(both.shape) - 1,))


@rule("outer")
def _outer(graph: Graph, result: Abstract, a: Node, b: Node) -> Node:
    a, b = graph.cast(a, result.dtype), graph.cast(b, result.dtype)
    return graph.map("multiply", graph.reshape(a, (*a.shape, 1)), graph.reshape(b, (1, *b.shape)))


@rule("einsum")
def _einsum(graph: Graph, result: Abstract, a: Node, b: Node, spec: str) -> Node:
    """Two operands, no letter twice in one of them: as a product of stacked matrices."""
    a, b = graph.cast(a, result.dtype), graph.cast(b, result.dtype)
    inputs, out = spec.split("->")
    left, right = inputs.split(",")
    size = {**dict(zip(left, a.shape, strict=True)), **dict(zip(right, b.shape, strict=True))}
    for letters, other in ((left, right), (right, left)):
        alone = [c for c in letters if c not in out and c not in other]
        if alone:  # summed in one operand only
            axes = [letters.index(c) for c in alone]
            if letters == left:
                a, left = graph.reduce("add", a, axes), "".join(c for c in left if c not in alone)
            else:
                b, right = graph.reduce("add", b, axes), "".join(c for c in right if c not in alone)
    stacked = [c for c in left if c in right and c in out]
    summed = [c for c in left if c in right and c not in out]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]

    def arranged(x: Node, letters: str, groups: Sequence[Sequence[str]]) -> Node:
        x = graph.transpose(x, [letters.index(c) for group in groups for c in group])
        lead = tuple(size[c] for c in groups[0])
        return graph.reshape(x, (*lead, *(math.prod(size[c] for c in group) for group in groups[1:])))

    found = product(graph, arranged(a, left, (stacked, rows, summed)), arranged(b, right, (stacked, summed, columns)))
    letters = "".join((*stacked, *rows, *columns))
    found = graph.reshape(found, tuple(size[c] for c in letters))
    return graph.transpose(found, [letters.index(c) for c in out])


# -- indexing ---------------------------------------------------------------------------------------------------


def _plan(
    graph: Graph, shape: Shape, arrays: Sequence[Node], index: Sequence[Any]
) -> tuple[tuple[Any, ...], Shape, list[Node]]:
    """How each axis of an array of this shape is reached from the indices of the part; the shape of the part; and the
    index arrays spread over that shape.
    """
    part_shape = indexed_shape(shape, tuple(index), [a.shape for a in arrays])
    items = [*index]
    items += [Slice()] * (len(shape) - sum(item is not None for item in items))
    among = [i for i, item in enumerate(items) if item is ARRAY or (arrays and isinstance(item, int))]
    together = bool(among) and among == list(range(among[0], among[-1] + 1))
    spread = np.broadcast_shapes(*(a.shape for a in arrays)) if arrays else ()
    plan: list[Any] = []
    place = 0 if together or not arrays else len(spread)
    start = 0  # where the axes of the index arrays stand
    which = 0
    n = len(part_shape)
    axis = 0
    for i, item in enumerate(items):
        if arrays and together and i == among[0]:
            start = place
            place += len(spread)
        if item is None:
            place += 1
            continue
        row = [0] * n
        if item is ARRAY:
            plan.append(("array", which))
            which += 1
        elif isinstance(item, int):
            plan.append(("affine", item, tuple(row)))
        else:
            taken = range(shape[axis])[slice(item.start, item.stop, item.step)]
            row[place] = taken.step if len(taken) > 1 else 0
            plan.append(("affine", taken.start if len(taken) else 0, tuple(row)))
            place += 1
        axis += 1
    nodes = []
    for a in arrays:
        own = graph.cast(graph.broadcast(a, spread), INT64)
        rows = [[int(j == start + d) for j in range(n)] for d in range(len(spread))]
        nodes.append(graph.view(own, part_shape, [0] * len(spread), rows) if own.shape != part_shape else own)
    return tuple(plan), part_shape, nodes


@rule("getitem")
def _getitem(graph: Graph, result: Abstract, x: Node, *arrays: Node, index: Any) -> Node:
    plan, shape, nodes = _plan(graph, x.shape, arrays, index)
    if not arrays:
        return graph.view(x, shape, [entry[1] for entry in plan], [entry[2] for entry in plan])
    return graph.gather(x, nodes, plan, shape)


def _put(graph: Graph, base: Node, updates: Node, arrays: Sequence[Node], index: Any, function: str) -> Node:
    plan, shape, nodes = _plan(graph, base.shape, arrays, index)
    updates = graph.broadcast(graph.cast(updates, base.dtype), shape)
    return graph.scatter(base, updates, nodes, plan, function)


@rule("scatter")
def _scatter(graph: Graph, result: Abstract, v: Node, *arrays: Node, index: Any, shape: Shape) -> Node:
    base = graph.broadcast(graph.number(0, v.dtype), tuple(shape))
    return _put(graph, base, v, arrays, index, "add")


@rule("scatter_add")
def _scatter_add(graph: Graph, result: Abstract, x: Node, v: Node, *arrays: Node, index: Any) -> Node:
    return _put(graph, x, v, arrays, index, "add")


@rule("setitem")
def _setitem(graph: Graph, result: Abstract, x: Node, v: Node, *arrays: Node, index: Any) -> Node:
    return _put(graph, x, v, arrays, index, "set")


@rule("last_writers")
def _last_writers(graph: Graph, result: Abstract, *arrays: Node, index: Any, shape: Shape) -> Node:
    plan, part_shape, nodes = _plan(graph, shape, arrays, index)
    size = math.prod(part_shape)
    order = graph.reshape(graph.iota((size,), 0), part_shape)
    blank = graph.broadcast(graph.number(0, INT64), tuple(shape))
    writer = graph.scatter(blank, order, nodes, plan, "set")
    return graph.map("equal", graph.gather(writer, nodes, plan, part_shape), order, dtype=BOOL)


@rule("one_hot")
def _one_hot(graph: Graph, result: Abstract, labels: Node, classes: int, dtype: Any) -> Node:
    place = graph.iota(result.shape, len(result.shape) - 1)
    own = graph.broadcast(graph.reshape(graph.cast(labels, INT64), (*labels.shape, 1)), result.shape)
    return graph.cast(graph.map("equal", own, place, dtype=BOOL), result.dtype)


@rule("scan")
def _scan(graph: Graph, result: Abstract, *args: Node, loop: Any, which: int) -> Node:
    """A loop, lowered once for all of its results."""
    parts = graph.loops.get((id(loop), tuple(map(id, args))))
    if parts is None:
        parts = graph.loops[(id(loop), tuple(map(id, args)))] = _lowered_loop(graph, loop, args)
    return parts[which]


def _lowered_loop(graph: Graph, loop: Any, args: Sequence[Node]) -> list[Node]:
    inner = Graph()
    inner.defined = graph.defined
    k, c = len(loop.carried), len(loop.constants)
    known: dict[Value, Node] = {}
    inputs: list[Node] = []
    outer: list[Node] = []
    leaves = [*loop.carried, *(stand_in for _, stand_in in loop.constants), *loop.slices]
    constants = 0
    for i, (node, arg) in enumerate(zip(leaves, args, strict=True)):
        number = graph.value_of(arg)
        if k <= i < k + c and number is not None:  # known here, so known there
            known[node] = inner.broadcast(inner.number(number, arg.dtype), arg.shape)
            continue
        constants += k <= i < k + c
        known[node] = inner.input(len(inputs), shape_of(node._data), dtype_of(node._data))
        inputs.append(known[node])
        outer.append(arg)
    counter = inner.input(len(inputs), (), INT64)
    known[loop.counter] = counter
    origin, graph.origin = graph.origin, None
    outputs = lower(inner, loop.outputs, known, graph.defined)
    graph.origin = origin
    used = counter in topological(outputs)
    body = Body([*inputs, counter] if used else inputs, outputs, k, len(loop.slices), len(outputs) - k, used)
    body.flag = loop.flag
    return graph.loop(body, outer, loop.count, loop.reverse)


def supported() -> set[str]:
    """The names of all ops that can be compiled."""
    return set(RULES)
