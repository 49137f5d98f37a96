"""What the lowerings of several ops share. `g` is a `core.lowering.Graph`; a rule is `(g, result, *xs, **attrs)`.

Rules speak of real numbers; what an op is of complex ones stands in the compiler (`compiler/complexes.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import GraphError
from backlit.core.value import describe
from backlit.ops.index import ARRAY, Slice, indexed_shape

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N, Plan
    from backlit.core.numbers import Abstract, Shape

BOOL, INT64, HALF, SINGLE = dtypes.bool, dtypes.int64, dtypes.float16, dtypes.float32

# -- what cannot be ------------------------------------------------------------------------------------------


def refused(g: Graph[N], result: Abstract, *xs: N, **attrs: Any) -> NoReturn:
    """The rule of an op that cannot be compiled: the error that says so, with the user's line."""
    raise GraphError(
        f"compile: {g.origin._op.name} cannot be compiled yet: {describe(g.origin)}. "
        "Keep it outside the compiled function, write it in other functions, or, if it is an op of your own, give it a "
        "`lower`, which says how it is computed."
    )


# -- element by element --------------------------------------------------------------------------------------


def same(name: str) -> Callable[..., Any]:
    """The rule for a map whose arguments have the dtype of its result. An elementwise op has it if it names none."""

    def lower(g: Graph[N], result: Abstract, *xs: N) -> N:
        dtype = result.dtype
        for x in xs:
            if x.dtype is not dtype:
                return g.map(name, *[g.cast(x, dtype) for x in xs], dtype=dtype)
        return g.map(name, *xs, dtype=dtype)

    return lower


def itself(g: Graph[N], result: Abstract, x: N, **attrs: Any) -> N:
    """The rule for what changes no number, or its dtype only."""
    return g.cast(x, result.dtype)


def comparison(name: str) -> Callable[..., Any]:
    """The rule for a map of two arguments of one dtype to a truth."""

    def lower(g: Graph[N], result: Abstract, a: N, b: N) -> N:
        dtype = np.result_type(a.dtype, b.dtype)
        if dtype.kind == "f" and a.dtype.kind != "f" and b.dtype.kind != "f":  # which would round them
            return _of_either_sign(g, name, a, b)
        return g.map(name, g.cast(a, dtype), g.cast(b, dtype), dtype=BOOL)

    return lower


def _of_either_sign(g: Graph[N], name: str, a: N, b: N) -> N:
    """A comparison of a whole number that has a sign with one that has none, in 64 bits: both exact."""
    signed = a if a.dtype.kind == "i" else b
    below = g.map("less", signed, g.number(0, signed.dtype), dtype=BOOL)
    if_below = name == "not_equal" or name.startswith("less" if signed is a else "greater")
    compared = g.map(name, g.cast(a, dtypes.uint64), g.cast(b, dtypes.uint64), dtype=BOOL)
    return g.map("where", below, g.number(if_below, BOOL), compared, dtype=BOOL)


def truth(g: Graph[N], x: N) -> N:
    """Whether each element is not 0."""
    return x if x.dtype == BOOL else g.map("not_equal", x, g.number(0, x.dtype), dtype=BOOL)


# -- movement ------------------------------------------------------------------------------------------------


def reshaped(g: Graph[N], result: Abstract, x: N, **attrs: Any) -> N:
    """The rule for what only changes the shape."""
    return g.reshape(x, result.shape)


def part(g: Graph[N], x: N, axis: int, start: int, stop: int) -> N:
    """x[start:stop] along an axis."""
    n = len(x.shape)
    shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
    return g.view(
        x, shape, [start * (d == axis) for d in range(n)], [[int(d == j) for j in range(n)] for d in range(n)]
    )


# -- products ------------------------------------------------------------------------------------------------


def product(g: Graph[N], a: N, b: N) -> N:
    """Of matrices or stacks of them, whose leading axes broadcast.

    float16 is multiplied and added in float32 and rounded once, whole numbers by plain loops, which wrap around.
    """
    if a.dtype == HALF:
        return g.cast(product(g, g.cast(a, SINGLE), g.cast(b, SINGLE)), HALF)
    if a.dtype.kind != "f":
        return _product_of_whole(g, a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if lead and math.prod(b.shape[:-2]) == 1 and math.prod(a.shape[:-2]) == math.prod(lead):  # one tall matrix
        rows = math.prod(a.shape[:-1])
        tall = g.matmul(g.reshape(a, (rows, a.shape[-1])), g.reshape(b, b.shape[-2:]))
        return g.reshape(tall, (*lead, a.shape[-2], b.shape[-1]))
    return g.matmul(g.broadcast(a, (*lead, *a.shape[-2:])), g.broadcast(b, (*lead, *b.shape[-2:])))


def _product_of_whole(g: Graph[N], a: N, b: N) -> N:
    """Each row times each column, summed; of truths, whether both hold anywhere."""
    n, k, m = *a.shape[-2:], b.shape[-1]
    rows = g.reshape(a, (*a.shape[:-2], n, 1, k))
    turned = g.transpose(b, (*range(len(b.shape) - 2), len(b.shape) - 1, len(b.shape) - 2))
    columns = g.reshape(turned, (*b.shape[:-2], 1, m, k))
    both = g.map("multiply", rows, columns)
    return g.reduce("or" if a.dtype == BOOL else "add", both, (len(both.shape) - 1,))


# -- by position ---------------------------------------------------------------------------------------------


def planned(g: Graph[N], shape: Shape, arrays: Sequence[N], index: Sequence[Any]) -> tuple[Plan, Shape, list[N]]:
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
        own = g.cast(g.broadcast(a, spread), INT64)
        rows = [[int(j == start + d) for j in range(n)] for d in range(len(spread))]
        nodes.append(g.view(own, part_shape, [0] * len(spread), rows) if own.shape != part_shape else own)
    return tuple(plan), part_shape, nodes


def put(g: Graph[N], base: N, updates: N, arrays: Sequence[N], index: Any, function: str) -> N:
    """`base` with updates, which broadcast, set or added at an index."""
    plan, shape, nodes = planned(g, base.shape, arrays, index)
    return g.scatter(base, g.broadcast(g.cast(updates, base.dtype), shape), nodes, plan, function)
