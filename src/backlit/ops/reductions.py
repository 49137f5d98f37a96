"""Reductions: many elements become one along axes. Sums, products, extremes, truth, positions, counts.

The names are those of the Array API, so in this file `sum`, `max`, `min`, `any` and `all` are not Python's
own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import ShapeError
from backlit.core.notation import call
from backlit.core.numbers import Shape, dtype_of, shape_of
from backlit.core.op import Constant, Op, Reals, Sample, Special
from backlit.core.record import operands, record
from backlit.core.value import Value
from backlit.ops.accidents import warn_of_square
from backlit.ops.accumulation import CUMULATIVE_PROD
from backlit.ops.accumulation import cumulative_prod as cumulative_prod
from backlit.ops.accumulation import cumulative_sum as cumulative_sum
from backlit.ops.axes import one_axis, some_axes, without_axes
from backlit.ops.lowering import INT64, truth
from backlit.ops.selection import WHERE
from backlit.ops.summation import SUM, asked_dtype, axes_notation, spread, widened

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

Axes = tuple[int, ...]
Axis = int | tuple[int, ...] | None
_multiply_up: Any = np.multiply.reduce


def _reduced(x: Any, axis: Axes, keepdims: bool = False, dtype: Any = None) -> Shape:
    return without_axes(x.shape, axis, keepdims)


def _combined(function: str, prepared: Any = None) -> Any:
    """The lowering that combines elements: in the dtype of the result, or as `prepared(g, x)` makes them."""

    def lower(g: Graph[N], result: Abstract, x: N, axis: Axes, keepdims: bool = False, dtype: Any = None) -> N:
        return g.reduce(function, prepared(g, x) if prepared else g.cast(x, result.dtype), axis, keepdims)

    return lower


_SAMPLES = (
    Sample(((3, 4),), {"axis": (1,), "keepdims": False}),
    Sample(((3, 4),), {"axis": (0,), "keepdims": False}),
    Sample(((2, 3),), {"axis": (0, 1), "keepdims": True}),
    Sample(((2, 3, 2),), {"axis": (0, 2), "keepdims": False}),
    Sample(((2, 3, 2),), {"axis": (1,), "keepdims": True}),
    Sample(((1, 3),), {"axis": (0,), "keepdims": False}),
    Sample(((0, 3),), {"axis": (1,), "keepdims": True}),
    Sample(((3,),), {"axis": (), "keepdims": False}),
    Sample(((),), {"axis": (), "keepdims": False}),
)
_EMPTY = (
    Sample(((0, 3),), {"axis": (0,), "keepdims": False}),
    Sample(((0,),), {"axis": (0,), "keepdims": True}),
)


# -- product -------------------------------------------------------------------------------------------------


def _prod(x: Any, axis: Axes, keepdims: bool = False, dtype: Any = None) -> Any:
    if dtype is None:
        dtype = widened(dtype_of(x))
    return _multiply_up(x, axis[0] if len(axis) == 1 else axis, dtype, None, keepdims)


def _others(x: Any, axis: Axes) -> Any:
    """For each element the product of all others along the axes, without a division: right at zeros too."""
    first, rest = axis[0], axis[1:]
    before = CUMULATIVE_PROD(x, axis=first, exclusive=True)
    behind = CUMULATIVE_PROD(x, axis=first, exclusive=True, reverse=True)
    here = before * behind
    return here * _others(PROD(x, axis=(first,), keepdims=True), rest) if rest else here


def _prod_vjp(ct: Any, y: Any, x: Any, axis: Axes, keepdims: bool = False, dtype: Any = None) -> Any:
    return spread(ct, x, axis, keepdims) * _others(x, axis) if axis else ct


def _prod_jvp(t: Any, y: Any, x: Any, axis: Axes, keepdims: bool = False, dtype: Any = None) -> Any:
    return SUM(t * _others(x, axis), axis=axis, keepdims=keepdims) if axis else t


PROD: Special = Special(
    "prod",
    _prod,
    vjps=(_prod_vjp,),
    jvps=(_prod_jvp,),
    shape=_reduced,
    dtype=lambda x, axis, keepdims=False, dtype=None: widened(x.dtype) if dtype is None else dtype,
    notation=axes_notation("prod", r"\prod"),
    samples=(*_SAMPLES, *_EMPTY, Sample(((3,),), {"axis": (0,), "keepdims": False, "dtype": dtypes.float64})),
    lower=_combined("multiply"),
    doc="Product along axes. x: (*s) -> (*s without the axes); whole numbers are multiplied in 64 bits.",
)


# -- extremes ------------------------------------------------------------------------------------------------


def _extreme_shape(name: str, x: Any, axis: Axes, keepdims: bool) -> Shape:
    for a in axis:
        if x.shape[a] == 0:
            raise ShapeError(
                f"{name} of no numbers: the shape is {x.shape}, so axis {a} is empty, and there is no "
                f"{name} of nothing. Leave empty arrays out, or put a number in front with backlit.concat."
            )
    return without_axes(x.shape, axis, keepdims)


def _share(y: Any, x: Any, axis: Axes, keepdims: bool, numbers: Any) -> tuple[Any, Any]:
    """Which elements are the extreme one (or NaN, where that is the result), and how many share it."""
    chosen = (x == spread(y, x, axis, keepdims)) | (x != x)  # NaN is not equal to itself
    return chosen, SUM(chosen, axis=axis, keepdims=True, dtype=dtype_of(numbers))


def _extreme_vjp(ct: Any, y: Any, x: Any, axis: Axes, keepdims: bool = False) -> Any:
    chosen, count = _share(y, x, axis, keepdims, ct)
    return WHERE(chosen, spread(ct, x, axis, keepdims) / count, 0.0)


def _extreme_jvp(t: Any, y: Any, x: Any, axis: Axes, keepdims: bool = False) -> Any:
    chosen, count = _share(y, x, axis, keepdims, t)
    return SUM(WHERE(chosen, t / count, 0.0), axis=axis, keepdims=keepdims)


def _extreme(name: str, reduce: Any, function: str, which: str) -> Special:
    return Special(
        name,
        lambda x, axis, keepdims=False: reduce(x, axis[0] if len(axis) == 1 else axis, None, None, keepdims),
        vjps=(_extreme_vjp,),
        jvps=(_extreme_jvp,),
        shape=lambda x, axis, keepdims=False: _extreme_shape(name, x, axis, keepdims),
        notation=axes_notation(name, rf"\{name}"),
        samples=_SAMPLES,
        lower=_combined(function),
        doc=f"The {which} along axes; NaN if any is. x: (*s) -> (*s without the axes). "
        "Convention at a tie: those that tie share the gradient equally.",
    )


MAX = _extreme("max", np.maximum.reduce, "maximum", "largest")
MIN = _extreme("min", np.minimum.reduce, "minimum", "smallest")


# -- truth, positions, counts --------------------------------------------------------------------------------


def _truth(name: str, reduce: Any, function: str, doc: str) -> Constant:
    return Constant(
        name,
        lambda x, axis, keepdims=False: reduce(x, axis, bool, None, keepdims),
        shape=_reduced,
        dtype=lambda x, axis, keepdims=False: dtypes.bool,
        notation=axes_notation(name, rf"\operatorname{{{name}}}"),
        samples=(*_SAMPLES, *_EMPTY),
        lower=_combined(function, truth),
        doc=doc,
    )


ANY = _truth("any", np.logical_or.reduce, "or", "Whether any element along the axes is not 0. False for none at all.")
ALL = _truth("all", np.logical_and.reduce, "and", "Whether no element along the axes is 0. True for none at all.")


def _position_shape(name: str, x: Any, axis: int | None, keepdims: bool) -> Shape:
    axes = tuple(range(len(x.shape))) if axis is None else (axis,)
    return _extreme_shape(name, x, axes, keepdims)


def _position(name: str, find: Any, function: str, which: str) -> Constant:
    def lower(g: Graph[N], result: Abstract, x: N, axis: int | None, keepdims: bool = False) -> N:
        flat = g.reshape(x, (x.size,)) if axis is None else x
        return g.reshape(g.pick(function, flat, axis or 0), result.shape)

    return Constant(
        name,
        lambda x, axis, keepdims=False: find(x, axis, keepdims=keepdims),
        shape=lambda x, axis, keepdims=False: _position_shape(name, x, axis, keepdims),
        dtype=lambda x, axis, keepdims=False: dtypes.int64,
        notation=call(name, rf"\operatorname{{{name}}}"),
        samples=(
            Sample(((3, 4),), {"axis": 1, "keepdims": False}),
            Sample(((3, 4),), {"axis": 0, "keepdims": True}),
            Sample(((3, 4),), {"axis": None, "keepdims": False}),
            Sample(((3, 4),), {"axis": None, "keepdims": True}),
            Sample(((0, 4),), {"axis": 1, "keepdims": False}),
            Sample(((),), {"axis": None, "keepdims": False}),
        ),
        lower=lower,
        doc=f"Where the {which} stands: the first such position along an axis, or in row-major order. "
        "The first NaN, if there is one.",
    )


ARGMAX = _position("argmax", np.argmax, "maximum", "largest element")
ARGMIN = _position("argmin", np.argmin, "minimum", "smallest element")
COUNT_NONZERO = Constant(
    "count_nonzero",
    lambda x, axis, keepdims=False: np.asarray(np.add.reduce(np.not_equal(x, 0), axis, np.int64, keepdims=keepdims)),
    shape=_reduced,
    dtype=lambda x, axis, keepdims=False: dtypes.int64,
    notation=axes_notation("count_nonzero", r"\operatorname{count nonzero}"),
    samples=(*_SAMPLES, *_EMPTY),
    domains=(Reals(),),
    lower=_combined("add", lambda g, x: g.cast(truth(g, x), INT64)),
    doc="How many elements along the axes are not 0. x: (*s) -> (*s without the axes), int64.",
)


# -- public functions ----------------------------------------------------------------------------------------


def _reduce(op: Op, x: Any, axis: Axis, keepdims: bool, dtype: Any = None) -> Value:
    (x,) = operands((x,))
    attrs: dict[str, Any] = {"axis": some_axes(axis, shape_of(x._data), op.name), "keepdims": bool(keepdims)}
    if dtype is not None and (kind := asked_dtype(op.name, x, dtype)) is not None:
        attrs["dtype"] = kind
    if len(attrs["axis"]) == 2:
        warn_of_square(x)
    return record(op, (x,), attrs)


def sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Value:
    """The sum of the elements along one axis, several, or all (None). 0 where there are none.

    x: (*s) -> (*s without the axes), or with length 1 in their place if `keepdims`. dtype: in which to add
    up; by default that of x, but 64 bits for whole numbers and booleans. Raises ShapeError for an axis that
    is not there.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0).data
    array([4., 6.])
    """
    return _reduce(SUM, x, axis, keepdims, dtype)


def prod(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Value:
    """The product of the elements along one axis, several, or all (None). 1 where there are none.

    Shapes and dtype as in `sum`. The derivative is right with any number of zeros among the elements.

    >>> prod([2.0, 3.0, 4.0]).data
    24.0
    """
    return _reduce(PROD, x, axis, keepdims, dtype)


def max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """The largest element along one axis, several, or all (None); NaN where one of them is NaN.

    Shapes as in `sum`. Convention at a tie: the gradient is shared equally by those that tie. Raises
    ShapeError where there are no elements. For the larger of two arrays see `maximum`.

    >>> max([[1.0, 5.0], [7.0, 2.0]], axis=1).data
    array([5., 7.])
    """
    return _reduce(MAX, x, axis, keepdims)


def min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """The smallest element along one axis, several, or all (None); NaN where one of them is NaN.

    As `max`: shapes, ties, errors. For the smaller of two arrays see `minimum`.

    >>> min([[1.0, 5.0], [7.0, 2.0]]).data
    1.0
    """
    return _reduce(MIN, x, axis, keepdims)


def any(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether any element along the axes is not 0; False where there are none. Shapes as in `sum`.

    >>> any([[False, True], [False, False]], axis=1).data
    array([ True, False])
    """
    return _reduce(ANY, x, axis, keepdims)


def all(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether no element along the axes is 0; True where there are none. Shapes as in `sum`.

    >>> all([[False, True], [True, True]], axis=1).data
    array([False,  True])
    """
    return _reduce(ALL, x, axis, keepdims)


def count_nonzero(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """How many elements along the axes are not 0. Shapes as in `sum`.

    >>> count_nonzero([0.0, 2.0, 3.0]).data
    2
    """
    return _reduce(COUNT_NONZERO, x, axis, keepdims)


def _find(op: Op, x: Any, axis: int | None, keepdims: bool) -> Value:
    (x,) = operands((x,))
    place = None if axis is None else one_axis(axis, shape_of(x._data), op.name)
    return record(op, (x,), {"axis": place, "keepdims": bool(keepdims)})


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Value:
    """The position of the largest element along an axis, or of all in row-major order; the first at a tie.

    x: (*s) -> (*s without the axis), int64. A NaN counts as larger than any number. No gradient flows
    through it. Raises ShapeError where there are no elements.

    >>> argmax([[1.0, 5.0], [7.0, 2.0]], axis=1).data
    array([1, 0])
    """
    return _find(ARGMAX, x, axis, keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Value:
    """The position of the smallest element along an axis, or of all in row-major order; the first at a tie.

    As `argmax`; a NaN counts as smaller than any number.

    >>> argmin([[1.0, 5.0], [7.0, 2.0]], axis=1).data
    array([0, 1])
    """
    return _find(ARGMIN, x, axis, keepdims)
