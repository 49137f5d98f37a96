"""Products of vectors, matrices and stacks of them, each linear in either argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import ShapeError
from backlit.core.notation import ATOM, POWER, PRODUCT, infix, templates
from backlit.core.numbers import Shape, shape_of
from backlit.core.op import Linear, Reals, Sample, broadcast_shapes
from backlit.core.record import operands, record
from backlit.core.value import Value
from backlit.ops.axes import one_axis
from backlit.ops.einsum import EINSUM
from backlit.ops.einsum import einsum as einsum
from backlit.ops.functions import apply
from backlit.ops.lowering import product
from backlit.ops.summation import RESHAPE

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

_TWO = (Reals(), Reals())

# -- matrix transpose ----------------------------------------------------------------------------------------


def _transposed_shape(x: Any) -> Shape:
    if len(x.shape) < 2:
        raise ShapeError(
            f"an array of shape {x.shape} has no two axes to exchange. A vector becomes a column, of "
            "shape (n, 1), when indexed x[:, None]."
        )
    return (*x.shape[:-2], x.shape[-1], x.shape[-2])


def _lower_transpose(g: Graph[N], result: Abstract, x: N) -> N:
    n = len(x.shape)
    return g.transpose(x, (*range(n - 2), n - 1, n - 2))


MATRIX_TRANSPOSE: Linear = Linear(
    "matrix_transpose",
    lambda x: np.swapaxes(x, -1, -2),
    transposes=(lambda ct, x: MATRIX_TRANSPOSE(ct),),
    moves=True,
    shape=_transposed_shape,
    notation=templates("<0>.mT", r"{<0>}^{\top}", ATOM, (ATOM,), POWER, (ATOM,)),
    samples=(Sample(((2, 3),)), Sample(((2, 3, 4),)), Sample(((1, 2),)), Sample(((0, 2),))),
    lower=_lower_transpose,
    doc="The last two axes exchanged. x: (…, n, m) -> (…, m, n).",
)

# -- matrix product ------------------------------------------------------------------------------------------


def _matmul_shape(a: Any, b: Any) -> Shape:
    left, right = a.shape, b.shape
    if not left or not right:
        which = "left" if not left else "right"
        raise ShapeError(f"matmul: the {which} operand is a single number. To scale an array, write * instead of @.")
    inner = right[0] if len(right) == 1 else right[-2]
    if left[-1] != inner:
        place = "only axis" if len(right) == 1 else "second to last axis" if len(right) > 2 else "first axis"
        raise ShapeError(
            f"matmul: shapes {left} and {right} do not fit: the last axis on the left has length {left[-1]}, "
            f"and the {place} on the right {inner}.{_matmul_remedy(left, right, inner)}"
        )
    batch = broadcast_shapes("matmul", [left[:-2], right[:-2]])
    return (*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))


def _matmul_remedy(left: Shape, right: Shape, inner: int) -> str:
    """What would fit, where exchanging two axes or the operands does."""
    if len(right) > 1 and left[-1] == right[-1]:
        return f"\n  The right one transposed fits: its .mT has shape {(*right[:-2], right[-1], right[-2])}."
    if len(left) > 1 and left[-2] == inner:
        return f"\n  The left one transposed fits: its .mT has shape {(*left[:-2], left[-1], left[-2])}."
    if left[0 if len(left) == 1 else -2] == right[-1]:
        return "\n  In the other order they fit: the right one @ the left one."
    return ""


def _by_left(ct: Any, a: Any, b: Any) -> Any:
    """ct @ bᵀ, with care where an operand is a vector. Along stacked axes the engine sums."""
    left, right, have = shape_of(a), shape_of(b), shape_of(ct)
    if len(right) == 1:
        return (RESHAPE(ct, shape=(*have, 1)) if have else ct) * b
    if len(left) > 1:
        return ct @ b.mT
    if len(right) == 2:
        return b @ ct
    return RESHAPE(b @ RESHAPE(ct, shape=(*have, 1)), shape=right[:-1])


def _by_right(ct: Any, a: Any, b: Any) -> Any:
    """aᵀ @ ct, with care where an operand is a vector. Rows that met one matrix are one tall matrix."""
    left, right, have = shape_of(a), shape_of(b), shape_of(ct)
    if len(left) == 1:
        if len(right) == 1:
            return ct * a
        return RESHAPE(a, shape=(*left, 1)) * RESHAPE(ct, shape=(*have[:-1], 1, have[-1]))
    if len(left) > 2 and len(right) <= 2:
        rows = math.prod(left[:-1])
        a, ct = RESHAPE(a, shape=(rows, left[-1])), RESHAPE(ct, shape=(rows, *right[1:]))
    return ct @ a if len(right) == 1 else a.mT @ ct


def _lower_matmul(g: Graph[N], result: Abstract, a: N, b: N) -> N:
    a, b = g.cast(a, result.dtype), g.cast(b, result.dtype)
    if len(a.shape) == 1:
        a = g.reshape(a, (1, *a.shape))
    if len(b.shape) == 1:
        b = g.reshape(b, (*b.shape, 1))
    return g.reshape(product(g, a, b), result.shape)


MATMUL: Linear = Linear(
    "matmul",
    np.matmul,
    transposes=(_by_left, _by_right),
    shape=_matmul_shape,
    notation=infix("@", PRODUCT, r"\,"),
    domains=_TWO,
    samples=(
        Sample(((2, 3), (3, 4))),
        Sample(((3,), (3,))),
        Sample(((2, 3), (3,))),
        Sample(((3,), (3, 2))),
        Sample(((2, 3, 4), (4, 2))),
        Sample(((2, 3, 4), (4,))),
        Sample(((3,), (2, 3, 4))),
        Sample(((2, 3), (4, 3, 2))),
        Sample(((2, 1, 2, 3), (4, 3, 2))),
        Sample(((1, 2, 3), (5, 3, 1))),
        Sample(((2, 0), (0, 3))),
        Sample(((0, 2), (2, 3))),
        Sample(((0, 2, 3), (3, 2))),
        Sample(((1, 1), (1, 1))),
    ),
    lower=_lower_matmul,
    doc="Matrix product. x1: (…, n, k), x2: (…, k, m) -> (…, n, m); stacked axes broadcast.",
)

# -- dot product of vectors ----------------------------------------------------------------------------------


def _vecdot_shape(a: Any, b: Any, axis: int = -1) -> Shape:
    for side, shape in (("left", a.shape), ("right", b.shape)):
        if len(shape) < -axis:
            raise ShapeError(f"vecdot: the {side} operand, of shape {shape}, has no axis {axis}.")
    if a.shape[axis] != b.shape[axis]:
        raise ShapeError(
            f"vecdot: the vectors differ in length: axis {axis} is {a.shape[axis]} on the left (shape "
            f"{a.shape}) and {b.shape[axis]} on the right (shape {b.shape})."
        )
    return broadcast_shapes("vecdot", [_without(a.shape, axis), _without(b.shape, axis)])


def _without(shape: Shape, axis: int) -> Shape:
    at = len(shape) + axis
    return (*shape[:at], *shape[at + 1 :])


def _along(ct: Any, other: Any, axis: int) -> Any:
    have = shape_of(ct)
    at = len(have) + 1 + axis
    return RESHAPE(ct, shape=(*have[:at], 1, *have[at:])) * other


def _lower_vecdot(g: Graph[N], result: Abstract, a: N, b: N, axis: int = -1) -> N:
    def last(x: N) -> N:
        n = len(x.shape)
        return g.transpose(g.cast(x, result.dtype), (*(d for d in range(n) if d != n + axis), n + axis))

    both = g.map("multiply", last(a), last(b))
    return g.reduce("add", both, (len(both.shape) - 1,))


_vecdot: Any = np.vecdot
VECDOT: Linear = Linear(
    "vecdot",
    lambda a, b, axis=-1: _vecdot(a, b, axis=axis),
    transposes=(lambda ct, a, b, axis=-1: _along(ct, b, axis), lambda ct, a, b, axis=-1: _along(ct, a, axis)),
    shape=_vecdot_shape,
    notation=templates("vecdot(<0>, <1>)", r"<0> \cdot <1>", ATOM, (), PRODUCT, (PRODUCT + 1, PRODUCT + 1)),
    domains=_TWO,
    samples=(
        Sample(((3,), (3,)), {"axis": -1}),
        Sample(((2, 3), (2, 3)), {"axis": -1}),
        Sample(((2, 3), (3,)), {"axis": -1}),
        Sample(((3, 2), (3, 2)), {"axis": -2}),
        Sample(((4, 3, 1), (3, 2)), {"axis": -2}),
        Sample(((2, 1, 3), (4, 3)), {"axis": -1}),
        Sample(((2, 0), (2, 0)), {"axis": -1}),
    ),
    lower=_lower_vecdot,
    doc="Dot products of the vectors along an axis, counted from the end; the other axes broadcast.",
)

# -- outer product -------------------------------------------------------------------------------------------


def _outer_shape(a: Any, b: Any) -> Shape:
    for side, shape in (("left", a.shape), ("right", b.shape)):
        if len(shape) != 1:
            raise ShapeError(
                f"outer: the {side} operand has shape {shape}, and it takes vectors (one axis). "
                "For other shapes write x1[..., :, None] * x2[..., None, :], or tensordot(x1, x2, axes=0)."
            )
    return (a.shape[0], b.shape[0])


def _outer(a: Any, b: Any) -> Any:
    if np.ndim(a) != 1 or np.ndim(b) != 1:
        raise ValueError("outer: takes operands of shape (n,) and (m,)")
    return np.multiply.outer(a, b)


def _lower_outer(g: Graph[N], result: Abstract, a: N, b: N) -> N:
    a, b = g.cast(a, result.dtype), g.cast(b, result.dtype)
    return g.map("multiply", g.reshape(a, (*a.shape, 1)), g.reshape(b, (1, *b.shape)))


OUTER: Linear = Linear(
    "outer",
    _outer,
    transposes=(lambda ct, a, b: ct @ b, lambda ct, a, b: a @ ct),
    shape=_outer_shape,
    notation=templates("outer(<0>, <1>)", r"<0> \otimes <1>", ATOM, (), PRODUCT, (PRODUCT, PRODUCT + 1)),
    domains=_TWO,
    samples=(Sample(((2,), (3,))), Sample(((1,), (1,))), Sample(((0,), (2,)))),
    lower=_lower_outer,
    doc="Products of every element of one vector with every one of another. x1: (n,), x2: (m,) -> (n, m).",
)

# -- public functions ----------------------------------------------------------------------------------------


def matrix_transpose(x: Any, /) -> Value:
    """The last two axes exchanged; also written `x.mT`. x: (…, n, m) -> (…, m, n).

    >>> matrix_transpose([[1.0, 2.0, 3.0]]).shape
    (3, 1)
    """
    return apply(MATRIX_TRANSPOSE, x)


def matmul(x1: Any, x2: Any, /) -> Value:
    """The matrix product; also written `x1 @ x2`.

    x1: (…, n, k), x2: (…, k, m) -> (…, n, m), where the stacked axes … broadcast. A vector (k,) counts as a
    row on the left, as a column on the right, and that axis is left out of the result. Raises ShapeError
    where the k differ, and for single numbers.

    >>> matmul([[1.0, 2.0], [3.0, 4.0]], [10.0, 1.0]).data
    array([12., 34.])
    """
    return record(MATMUL, operands((x1, x2)))


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Value:
    """Dot products of the vectors that lie along one axis of each; the other axes broadcast.

    x1, x2: (…, n) -> (…). axis: counted from the end, so that it means the same in both; one counted from
    the front is understood when the ranks are equal. Complex vectors: the left one is conjugated. Raises
    ShapeError.

    >>> vecdot([[1.0, 2.0], [3.0, 4.0]], [10.0, 1.0]).data
    array([12., 34.])
    """
    left, right = nodes = operands((x1, x2))
    shapes = shape_of(left._data), shape_of(right._data)
    if operator.index(axis) >= 0 and len(shapes[0]) != len(shapes[1]):
        raise ShapeError(
            f"vecdot: axis {axis} counts from the front, where shapes {shapes[0]} and {shapes[1]} do "
            "not line up. Count from the end: -1 is the last axis of both."
        )
    short = min(shapes, key=len)
    return record(VECDOT, nodes, {"axis": one_axis(axis, short, "vecdot") - len(short)})


def outer(x1: Any, x2: Any, /) -> Value:
    """The product of every element of one vector with every element of another. x1: (n,), x2: (m,) -> (n, m).

    >>> outer([1.0, 2.0], [3.0, 4.0, 5.0]).data
    array([[ 3.,  4.,  5.],
           [ 6.,  8., 10.]])
    """
    return record(OUTER, operands((x1, x2)))


_LETTERS = "ijklmnopqrstuvwxyzabcdefghIJKLMNOPQRSTUVWXYZABCDEFGH"


def tensordot(x1: Any, x2: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Value:
    """The sum of products over chosen axes of both; what remains of x1, then of x2, is the result's.

    axes: a number N, for the last N axes of x1 and the first N of x2; or two sequences, whose axes are
    paired in order. Raises ShapeError where paired axes differ in length (they do not broadcast) or are not
    there.

    >>> a, b = np.ones((2, 3, 4)), np.ones((4, 3, 5))
    >>> tensordot(a, b, axes=((1, 2), (1, 0))).shape
    (2, 5)
    """
    left, right = nodes = operands((x1, x2))
    shape1, shape2 = shape_of(left._data), shape_of(right._data)
    first, second = _paired(shape1, shape2, axes)
    for a, b in zip(first, second, strict=True):
        if shape1[a] != shape2[b]:
            raise ShapeError(
                f"tensordot: axis {a} of shape {shape1} has length {shape1[a]}, and axis {b} of "
                f"shape {shape2}, which is to be summed with it, {shape2[b]}."
            )
    letters = iter(_LETTERS)
    names1 = [next(letters) for _ in shape1]
    names2 = [names1[first[second.index(b)]] if b in second else next(letters) for b in range(len(shape2))]
    rest1 = [name for i, name in enumerate(names1) if i not in first]
    rest2 = [name for i, name in enumerate(names2) if i not in second]
    spec = f"{''.join(names1)},{''.join(names2)}->{''.join(rest1 + rest2)}"
    return record(EINSUM, nodes, {"spec": spec})


def _paired(shape1: Shape, shape2: Shape, axes: Any) -> tuple[list[int], list[int]]:
    """The axes of the one and of the other that are summed, pair by pair."""
    if len(shape1) + len(shape2) > len(_LETTERS):
        raise ShapeError(f"tensordot: {len(shape1)} and {len(shape2)} axes are more than it can name.")
    if isinstance(axes, (int, np.integer)):
        n = int(axes)
        if not 0 <= n <= min(len(shape1), len(shape2)):
            raise ShapeError(
                f"tensordot: axes={n} asks to sum over {n} axes of each, "
                f"and shapes {shape1} and {shape2} have {len(shape1)} and {len(shape2)}."
            )
        return list(range(len(shape1) - n, len(shape1))), list(range(n))
    try:
        one, two = ([a] if isinstance(a, (int, np.integer)) else list(a) for a in axes)
    except (TypeError, ValueError):
        raise ShapeError(f"tensordot: axes is a number or a pair of sequences, and not {axes!r}.") from None
    if len(one) != len(two):
        raise ShapeError(f"tensordot: axes={axes!r} pairs {len(one)} axes of x1 with {len(two)} of x2.")
    first = [one_axis(a, shape1, "tensordot") for a in one]
    second = [one_axis(b, shape2, "tensordot") for b in two]
    if len({*first}) < len(first) or len({*second}) < len(second):
        raise ShapeError(f"tensordot: an axis is named twice in axes={axes!r}.")
    return first, second
