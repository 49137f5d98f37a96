"""Running sums and products, and the two ops that the derivative of a running product is made of.

The derivative of a product by one of its factors is the product of the others. Dividing the whole by the
factor fails at zeros; here it is made of the products before and behind the factor, which is right for any
number of zeros, and can be differentiated again. Every derivative of a running product is a linear
recurrence, and so is every derivative of a linear recurrence: two ops are enough for all orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DomainError, ShapeError
from backlit.core.numbers import Shape, dtype_of, shape_of
from backlit.core.op import Linear, Op, Reals, Sample, Special
from backlit.core.record import operands, record
from backlit.core.value import Value
from backlit.ops.axes import one_axis
from backlit.ops.functions import composite
from backlit.ops.indexing import getitem
from backlit.ops.joining import concat
from backlit.ops.lowering import part
from backlit.ops.summation import BROADCAST_TO, asked_dtype, widened

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract


def _part(axis: int, part: slice) -> tuple[slice, ...]:
    """An index that takes this part of one axis."""
    return (*(slice(None),) * axis, part)


def _backward(x: Any, axis: int) -> Any:
    """A view with the axis reversed."""
    return x[_part(axis, slice(None, None, -1))]


def _same_shape(x: Any, **attrs: Any) -> Shape:
    return x.shape  # type: ignore[no-any-return]


def _accumulated_dtype(x: Any, *, dtype: Any = None, **attrs: Any) -> Any:
    return widened(x.dtype) if dtype is None else dtype


def _lower_running(function: str) -> Any:
    """The lowering of a running sum or product."""

    def lower(
        g: Graph[N],
        result: Abstract,
        x: N,
        axis: int,
        reverse: bool = False,
        exclusive: bool = False,
        dtype: Any = None,
    ) -> N:
        return g.running(function, [g.cast(x, result.dtype)], axis, reverse, exclusive)

    return lower


# -- running sum ---------------------------------------------------------------------------------------------


def _cumulative_sum(x: Any, axis: int, reverse: bool = False, dtype: Any = None) -> Any:
    kind = widened(dtype_of(x)) if dtype is None else dtype
    if reverse:
        return _backward(np.add.accumulate(_backward(x, axis), axis, kind), axis)
    return np.add.accumulate(x, axis, kind)


CUMULATIVE_SUM: Linear = Linear(
    "cumulative_sum",
    _cumulative_sum,
    transposes=(lambda ct, x, axis, reverse=False, dtype=None: CUMULATIVE_SUM(ct, axis=axis, reverse=not reverse),),
    moves=True,
    shape=_same_shape,
    dtype=_accumulated_dtype,
    samples=(
        Sample(((4,),), {"axis": 0}),
        Sample(((4,),), {"axis": 0, "reverse": True}),
        Sample(((2, 3),), {"axis": 1}),
        Sample(((2, 3, 2),), {"axis": 1, "reverse": True}),
        Sample(((1, 3),), {"axis": 0}),
        Sample(((0, 3),), {"axis": 0}),
        Sample(((3, 0),), {"axis": 0, "reverse": True}),
        Sample(((3,),), {"axis": 0, "dtype": dtypes.float64}),
    ),
    lower=_lower_running("add"),
    doc="Sums of the first 1, 2, 3, … elements along an axis (of the last ones where `reverse`). Shape as x.",
)


# -- shift ---------------------------------------------------------------------------------------------------


def _shift(x: Any, axis: int, by: int) -> Any:
    result = np.zeros_like(x)
    if abs(by) < x.shape[axis]:
        kept, place = (slice(None, -by), slice(by, None)) if by > 0 else (slice(-by, None), slice(None, by))
        result[_part(axis, place)] = x[_part(axis, kept)]
    return result


def _lower_shift(g: Graph[N], result: Abstract, x: N, axis: int, by: int) -> N:
    length = x.shape[axis]
    zero = g.number(0, x.dtype)
    if abs(by) >= length:
        return g.broadcast(zero, x.shape)
    kept = part(g, x, axis, 0, length - by) if by > 0 else part(g, x, axis, -by, length)
    return g.pad(kept, zero, [max(by, 0) if d == axis else 0 for d in range(len(x.shape))], x.shape)


SHIFT: Linear = Linear(
    "shift",
    _shift,
    transposes=(lambda ct, x, axis, by: SHIFT(ct, axis=axis, by=-by),),
    moves=True,
    shape=_same_shape,
    samples=(
        Sample(((4,),), {"axis": 0, "by": 1}),
        Sample(((2, 3),), {"axis": 1, "by": -1}),
        Sample(((3, 2),), {"axis": 0, "by": 2}),
        Sample(((2,),), {"axis": 0, "by": -3}),
        Sample(((0, 2),), {"axis": 0, "by": 1}),
    ),
    lower=_lower_shift,
    doc="Elements moved `by` places (not 0) along an axis; zeros enter where they leave. Shape as x.",
)


# -- linear recurrence ---------------------------------------------------------------------------------------


def _recurrence(a: Any, b: Any, axis: int, reverse: bool = False) -> Any:
    result = np.array(b, dtype=np.result_type(dtype_of(a), dtype_of(b)))
    rows, factors = np.moveaxis(result, axis, 0), np.moveaxis(a, axis, 0)
    if reverse:
        rows, factors = rows[::-1], factors[::-1]
    for i in range(1, len(rows)):
        rows[i] += factors[i] * rows[i - 1]
    return result


def _recurrence_shape(a: Any, b: Any, axis: int, reverse: bool = False) -> Shape:
    if a.shape != b.shape:
        raise ShapeError(f"recurrence: the factors have shape {a.shape} and the terms {b.shape}; they must agree.")
    return a.shape  # type: ignore[no-any-return]


def _previous(y: Any, axis: int, reverse: bool) -> Any:
    return SHIFT(y, axis=axis, by=-1 if reverse else 1)


def _next(y: Any, axis: int, reverse: bool) -> Any:
    return SHIFT(y, axis=axis, by=1 if reverse else -1)


def _recurrence_by_term(ct: Any, y: Any, a: Any, b: Any, axis: int, reverse: bool = False) -> Any:
    return RECURRENCE(_next(a, axis, reverse), ct, axis=axis, reverse=not reverse)


def _recurrence_by_factor(ct: Any, y: Any, a: Any, b: Any, axis: int, reverse: bool = False) -> Any:
    return _recurrence_by_term(ct, y, a, b, axis, reverse) * _previous(y, axis, reverse)


def _recurrence_along_factor(t: Any, y: Any, a: Any, b: Any, axis: int, reverse: bool = False) -> Any:
    return RECURRENCE(a, t * _previous(y, axis, reverse), axis=axis, reverse=reverse)


def _recurrence_along_term(t: Any, y: Any, a: Any, b: Any, axis: int, reverse: bool = False) -> Any:
    return RECURRENCE(a, t, axis=axis, reverse=reverse)


def _lower_recurrence(g: Graph[N], result: Abstract, a: N, b: N, axis: int, reverse: bool = False) -> N:
    return g.running("recurrence", [g.cast(a, result.dtype), g.cast(b, result.dtype)], axis, reverse, False)


RECURRENCE: Special = Special(
    "recurrence",
    _recurrence,
    vjps=(_recurrence_by_factor, _recurrence_by_term),
    jvps=(_recurrence_along_factor, _recurrence_along_term),
    shape=_recurrence_shape,
    domains=(Reals(), Reals()),
    samples=(
        Sample(((4,), (4,)), {"axis": 0}),
        Sample(((4,), (4,)), {"axis": 0, "reverse": True}),
        Sample(((2, 3), (2, 3)), {"axis": 1}),
        Sample(((3, 2, 2), (3, 2, 2)), {"axis": 0, "reverse": True}),
        Sample(((1, 2), (1, 2)), {"axis": 0}),
        Sample(((0, 2), (0, 2)), {"axis": 0}),
    ),
    lower=_lower_recurrence,
    doc="y[i] = a[i]·y[i-1] + b[i] along an axis, from y[0] = b[0] (`reverse`: from the end). Shapes alike.",
)


# -- running product -----------------------------------------------------------------------------------------


def _cumulative_prod(x: Any, axis: int, reverse: bool = False, exclusive: bool = False, dtype: Any = None) -> Any:
    kind = widened(dtype_of(x)) if dtype is None else dtype
    if reverse:
        return _backward(_cumulative_prod(_backward(x, axis), axis, False, exclusive, kind), axis)
    if not exclusive:
        return np.multiply.accumulate(x, axis, kind)
    result = np.ones(shape_of(x), kind)
    if result.shape[axis] > 1:
        np.multiply.accumulate(x[_part(axis, slice(None, -1))], axis, kind, result[_part(axis, slice(1, None))])
    return result


def _cumulative_prod_vjp(
    ct: Any, y: Any, x: Any, axis: int, reverse: bool = False, exclusive: bool = False, dtype: Any = None
) -> Any:
    """The product of all before the factor, times a recurrence that sums what follows it."""
    before = CUMULATIVE_PROD(x, axis=axis, reverse=reverse, exclusive=True)
    following = _next(ct, axis, reverse) if exclusive else ct
    return before * RECURRENCE(_next(x, axis, reverse), following, axis=axis, reverse=not reverse)


def _cumulative_prod_jvp(
    t: Any, y: Any, x: Any, axis: int, reverse: bool = False, exclusive: bool = False, dtype: Any = None
) -> Any:
    before = CUMULATIVE_PROD(x, axis=axis, reverse=reverse, exclusive=True)
    through = RECURRENCE(x, t * before, axis=axis, reverse=reverse)
    return _previous(through, axis, reverse) if exclusive else through


CUMULATIVE_PROD: Special = Special(
    "cumulative_prod",
    _cumulative_prod,
    vjps=(_cumulative_prod_vjp,),
    jvps=(_cumulative_prod_jvp,),
    shape=_same_shape,
    dtype=_accumulated_dtype,
    samples=(
        Sample(((4,),), {"axis": 0}),
        Sample(((4,),), {"axis": 0, "reverse": True}),
        Sample(((4,),), {"axis": 0, "exclusive": True}),
        Sample(((4,),), {"axis": 0, "reverse": True, "exclusive": True}),
        Sample(((2, 3),), {"axis": 1}),
        Sample(((3, 2, 2),), {"axis": 0}),
        Sample(((1, 2),), {"axis": 0, "exclusive": True}),
        Sample(((0, 2),), {"axis": 0}),
        Sample(((3,),), {"axis": 0, "dtype": dtypes.float64}),
    ),
    lower=_lower_running("multiply"),
    doc="Products of the first 1, 2, 3, … elements along an axis (`exclusive`: 0, 1, 2, …). Shape as x.",
)


# -- public functions ----------------------------------------------------------------------------------------


def _running(op: Op, x: Any, axis: int | None, dtype: Any, include_initial: bool, initial: int) -> Value:
    (x,) = operands((x,))
    shape = shape_of(x._data)
    if axis is None:
        if len(shape) != 1:
            raise ShapeError(
                f"{op.name}: an array of shape {shape} has {len(shape)} axes, so say along which to run: "
                + ("axis=0." if len(shape) > 1 else "first give it one, with backlit.reshape(x, (1,)).")
            )
        axis = 0
    axis = one_axis(axis, shape, op.name)
    kind = asked_dtype(op.name, x, dtype)
    y = record(op, (x,), {"axis": axis} if kind is None else {"axis": axis, "dtype": kind})
    if not include_initial:
        return y
    start = np.full((*shape[:axis], 1, *shape[axis + 1 :]), initial, y.dtype)
    return concat((start, y), axis=axis)


def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Value:
    """Sums of the first 1, 2, 3, … elements along an axis; of 0, 1, 2, … with `include_initial`.

    x: (…, n, …) -> the same shape, or n + 1 with `include_initial`. axis: may be left out for a 1-d array.
    dtype: in which to add up; by default that of x, for whole numbers 64 bits. Raises ShapeError for an
    axis that is not there.

    >>> cumulative_sum([1.0, 2.0, 3.0]).data
    array([1., 3., 6.])
    """
    return _running(CUMULATIVE_SUM, x, axis, dtype, include_initial, 0)


def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Value:
    """Products of the first 1, 2, 3, … elements along an axis; of 0, 1, 2, … with `include_initial`.

    Shapes, axis and dtype as in `cumulative_sum`. The derivative is right with zeros among the elements.

    >>> cumulative_prod([1.0, 2.0, 3.0], include_initial=True).data
    array([1., 1., 2., 6.])
    """
    return _running(CUMULATIVE_PROD, x, axis, dtype, include_initial, 1)


@composite("diff")
def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Value:
    """Each element less the one before it along an axis, `n` times over: what `cumulative_sum` adds up.

    x: (…, m, …) -> (…, m - n, …), at least 0. prepend, append: arrays that first are put in front and behind along
    the axis, or single numbers. Raises ShapeError for an axis that is not there, DomainError for a negative `n`.

    >>> diff([1.0, 4.0, 9.0]).data, diff([1.0, 4.0, 9.0], n=2).data, diff([1.0, 4.0], prepend=0.0).data
    (array([3., 5.]), array([2.]), array([1., 3.]))
    """
    (x,) = operands((x,))
    axis = one_axis(axis, x.shape, "diff")
    if n < 0:
        raise DomainError(f"diff: the differences are taken n times, which cannot be {n}.")
    if n == 0:
        return x  # type: ignore[no-any-return]
    ends = [_end(end, x, axis) for end in (prepend, append)]
    joined = [part for part in (ends[0], x, ends[1]) if part is not None]
    y: Value = concat(joined, axis=axis) if len(joined) > 1 else x
    for _ in range(n):
        y = getitem(y, _part(axis, slice(1, None))) - getitem(y, _part(axis, slice(None, -1)))
    return y


def _end(end: Any, x: Value, axis: int) -> Any:
    """What is put before or behind `x`; a single number is repeated across the other axes."""
    if end is None:
        return None
    _, end = operands((x, end))
    shape = x.shape
    return end if end.ndim else BROADCAST_TO(end, shape=(*shape[:axis], 1, *shape[axis + 1 :]))
