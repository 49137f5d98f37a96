"""Means, spreads, sums of exponentials. Most are functions made of ops, whose nodes carry the name of the function;
`logsumexp` and `log_softmax` are single ops, because they stand in every classifier's loss.

The largest element is subtracted before `exp`, so that it cannot overflow. It cancels from the result, so
nothing flows through it (`finite_peak`).
"""

from __future__ import annotations

from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DtypeError
from backlit.core.numbers import Abstract, Shape, dtype_of, shape_of, stored
from backlit.core.op import Constant, Sample, Special
from backlit.core.record import operands, record
from backlit.core.value import Value, constant, describe
from backlit.ops.accidents import warn_of_square
from backlit.ops.arithmetic import DIVIDE, SUBTRACT
from backlit.ops.axes import some_axes, without_axes
from backlit.ops.casting import ASTYPE
from backlit.ops.functions import apply, composite
from backlit.ops.lowering import BOOL
from backlit.ops.powers import EXP, SQRT, SQUARE
from backlit.ops.selection import WHERE
from backlit.ops.summation import RESHAPE, SUM, axes_notation, spread

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N

Axis = int | tuple[int, ...] | None


_largest: Any = np.maximum.reduce
_add_up: Any = np.add.reduce


def _finite_peak(x: Any, axis: tuple[int, ...]) -> Any:
    if dtype_of(x).kind != "f":
        raise TypeError(f"takes real floating-point numbers, not {dtype_of(x).name}")
    peak = _largest(x, axis, None, None, True, -np.inf)
    if isfinite(_add_up(peak, None)):
        return peak
    return np.where(np.isfinite(peak), peak, np.zeros((), dtype_of(x)))


def _lower_finite_peak(g: Graph[N], result: Abstract, x: N, axis: tuple[int, ...]) -> N:
    if not x.size:
        return g.broadcast(g.number(0, x.dtype), result.shape)
    peak = g.reduce("maximum", x, axis, keepdims=True)
    finite = g.map("less", g.map("abs", peak), g.number(np.inf, x.dtype), dtype=BOOL)
    return g.map("where", finite, peak, g.number(0, x.dtype))


FINITE_PEAK = Constant(
    "finite_peak",
    _finite_peak,
    shape=lambda x, axis: without_axes(x.shape, axis, True),
    notation=axes_notation("finite_peak", r"\max"),
    samples=(
        Sample(((2, 3),), {"axis": (1,)}),
        Sample(((2, 3),), {"axis": (0, 1)}),
        Sample(((2, 0),), {"axis": (1,)}),
        Sample(((),), {"axis": ()}),
    ),
    lower=_lower_finite_peak,
    doc="The largest element along axes, kept with length 1; 0 where it is not finite. A constant.",
)


def _real_or_complex(name: str, x: Any, kinds: str = "f") -> Value:
    """The argument as a node. Raises DtypeError for whole numbers, whose mean is not one of them."""
    (node,) = operands((x,))
    if (kind := dtype_of(node._data).kind) not in kinds:
        what = "it is defined for real ones" if kind == "c" else "the result would not be a whole number"
        raise DtypeError(
            f"{name}: {describe(node)} has dtype {dtype_of(node._data).name}, and {name} takes "
            f"floating-point numbers: {what}. " + ("Use backlit.real, imag or abs." if kind == "c" else _CAST)
        )
    return node


_CAST = "Convert it first: backlit.astype(x, backlit.float64)."


def _count(shape: Shape, axis: tuple[int, ...]) -> int:
    return prod(shape[a] for a in axis)


def _mean(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    n, dtype = _count(x.shape, axis), x.dtype
    if len(axis) == 2:
        warn_of_square(x)
    if dtype == dtypes.float16:  # whose largest number, 65504, a sum soon exceeds
        total = record(SUM, (x,), {"axis": axis, "keepdims": keepdims, "dtype": dtypes.float32})
        return apply(ASTYPE, _divided(total, n), dtype=dtype)
    return _divided(record(SUM, (x,), {"axis": axis, "keepdims": keepdims}), n)


def _divided(total: Value, n: float) -> Value:
    """total / n, with the divisor in the dtype of the total from the start."""
    divisor = stored(total.dtype.type(n))
    return record(DIVIDE, (total, constant(divisor)))


@composite("mean")
def mean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """The mean of the elements along one axis, several, or all (None); NaN where there are none.

    x: (*s) -> (*s without the axes), or with length 1 in their place if `keepdims`. Raises DtypeError for
    whole numbers, ShapeError for an axis that is not there.

    >>> mean([[1.0, 2.0], [3.0, 6.0]], axis=0).data
    array([2., 4.])
    """
    x = _real_or_complex("mean", x, "fc")
    return _mean(x, some_axes(axis, x.shape, "mean"), bool(keepdims))


def _var(name: str, x: Any, axis: Axis, correction: float, keepdims: bool) -> Value:
    x = _real_or_complex(name, x)
    axes = some_axes(axis, x.shape, name)
    deviation = record(SUBTRACT, (x, _mean(x, axes, True)))
    wide = {"dtype": dtypes.float32} if x.dtype == dtypes.float16 else {}
    total = record(SUM, (record(SQUARE, (deviation,)),), {"axis": axes, "keepdims": bool(keepdims), **wide})
    freedom = _count(x.shape, axes) - correction
    result = _divided(total, freedom if freedom > 0 else 0.0)
    return apply(ASTYPE, result, dtype=x.dtype) if wide else result


@composite("var")
def var(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Value:
    """The mean square deviation from the mean, along one axis, several, or all (None).

    x: (*s) -> (*s without the axes). correction: taken off the number of elements n in the divisor n -
    correction; 1 gives the unbiased estimate from a sample. Where the divisor is not positive the result is
    NaN or infinite. Raises DtypeError for numbers that are not real floating-point ones.

    >>> var([1.0, 2.0, 6.0]).data, var([1.0, 2.0, 6.0], correction=1).data
    (4.666666666666667, 7.0)
    """
    return _var("var", x, axis, correction, keepdims)


@composite("std")
def std(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Value:
    """The root of the mean square deviation from the mean: that of `var`, whose shapes and errors it shares.

    Convention at the kink: where all elements are equal, the derivative is 0.

    >>> std([1.0, 3.0]).data
    1.0
    """
    v = _var("std", x, axis, correction, keepdims)
    return apply(WHERE, v == 0, 0.0, apply(SQRT, v))


def _sum_of_powers(x: Any, axis: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """The finite peak, x - peak and the sum of exp(x - peak), with length 1 for the axes; float16 in float32."""
    if dtype_of(x) == dtypes.float16:
        x = np.asarray(x, np.float32)
    peak = _finite_peak(x, axis)
    below = np.subtract(x, peak)
    return peak, below, _add_up(np.exp(below), axis, None, None, True)


def _logsumexp(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    peak, _, total = _sum_of_powers(x, axis)
    y = np.log(total) + peak
    y = y if keepdims else np.reshape(y, without_axes(shape_of(x), axis, False))
    return y.astype(dtype_of(x), copy=False)


def _shares(y: Any, x: Any, axis: tuple[int, ...]) -> Any:
    """exp(x - y), the share of each element in the sum: softmax. 0 where the sum is 0."""
    y = RESHAPE(y, shape=without_axes(shape_of(x), axis, True)) if shape_of(y) != shape_of(x) else y
    return EXP(x - WHERE(y == -np.inf, 0.0, y))


def _lower_powers(g: Graph[N], x: N, axis: tuple[int, ...]) -> tuple[N, N, N]:
    """As `_sum_of_powers`."""
    peak = _lower_finite_peak(g, Abstract(without_axes(x.shape, axis, True), x.dtype), x, axis)
    below = g.map("subtract", x, peak)
    return peak, below, g.reduce("add", g.map("exp", below), axis, keepdims=True)


def _lower_logsumexp(g: Graph[N], result: Abstract, x: N, axis: tuple[int, ...], keepdims: bool) -> N:
    peak, _, total = _lower_powers(g, x, axis)
    return g.reshape(g.map("add", g.map("log", total), peak), result.shape)


LOGSUMEXP = Special(
    "logsumexp",
    _logsumexp,
    shape=lambda x, axis, keepdims: without_axes(x.shape, axis, keepdims),
    vjps=(lambda ct, y, x, axis, keepdims: spread(ct, x, axis, keepdims) * _shares(y, x, axis),),
    jvps=(lambda t, y, x, axis, keepdims: SUM(t * _shares(y, x, axis), axis=axis, keepdims=keepdims),),
    notation=axes_notation("logsumexp", r"\operatorname{logsumexp}"),
    samples=(
        Sample(((3, 4),), {"axis": (1,), "keepdims": False}),
        Sample(((3, 4),), {"axis": (0,), "keepdims": True}),
        Sample(((2, 3, 4),), {"axis": (0, 2), "keepdims": False}),
        Sample(((2, 0),), {"axis": (0,), "keepdims": False}),
        Sample(((),), {"axis": (), "keepdims": False}),
    ),
    lower=_lower_logsumexp,
    doc="log(sum(exp(x))) along axes, without overflow. x: (*s) -> (*s without the axes). Its partials are softmax(x).",
)


def _log_softmax(x: Any, axis: tuple[int, ...]) -> Any:
    _, below, total = _sum_of_powers(x, axis)
    y = below - np.log(total)
    return y if y.dtype is dtype_of(x) else y.astype(dtype_of(x), copy=False)


def _lower_log_softmax(g: Graph[N], result: Abstract, x: N, axis: tuple[int, ...]) -> N:
    _, below, total = _lower_powers(g, x, axis)
    return g.map("subtract", below, g.map("log", total))


LOG_SOFTMAX = Special(
    "log_softmax",
    _log_softmax,
    shape=lambda x, axis: x.shape,
    vjps=(lambda ct, y, x, axis: ct - EXP(y) * SUM(ct, axis=axis, keepdims=True),),
    jvps=(lambda t, y, x, axis: t - SUM(EXP(y) * t, axis=axis, keepdims=True),),
    samples=(
        Sample(((3, 4),), {"axis": (1,)}),
        Sample(((3, 4),), {"axis": (0, 1)}),
        Sample(((0, 3),), {"axis": (1,)}),
        Sample(((2, 0),), {"axis": (0,)}),
        Sample(((4,),), {"axis": (0,)}),
    ),
    lower=_lower_log_softmax,
    doc="log(softmax(x)) along axes, without overflow. x: (*s) -> (*s).",
)


def logsumexp(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Value:
    """log(sum(exp(x))) along one axis, several, or all (None), without overflow.

    x: (*s) -> (*s without the axes). Infinities mean what they say: -inf adds nothing, and only -inf (or
    nothing) gives -inf; inf gives inf. Convention: where the result is -inf, the gradient is 0; by an inf, it
    is infinite. Raises DtypeError for numbers that are not real floating-point ones.

    >>> logsumexp([1000.0, 1000.0]).data - 1000.0
    0.69314718055...
    """
    x = _real_or_complex("logsumexp", x)
    return record(LOGSUMEXP, (x,), {"axis": some_axes(axis, x.shape, "logsumexp"), "keepdims": bool(keepdims)})


@composite("softmax")
def softmax(x: Any, /, *, axis: Axis = -1) -> Value:
    """exp(x) / sum(exp(x)) along an axis, without overflow: positive numbers whose sum is 1.

    x: (*s) -> (*s). axis: one, several, or all (None). -inf gives 0; NaN where all are -inf or one is inf.
    Raises DtypeError for numbers that are not real floating-point ones.

    >>> softmax([0.0, 0.0, -np.inf]).data
    array([0.5, 0.5, 0. ])
    """
    x = _real_or_complex("softmax", x)
    axes = some_axes(axis, x.shape, "softmax")
    peak = record(FINITE_PEAK, (x,), {"axis": axes})
    powers = record(EXP, (record(SUBTRACT, (x, peak)),))
    return record(DIVIDE, (powers, record(SUM, (powers,), {"axis": axes, "keepdims": True})))


def log_softmax(x: Any, /, *, axis: Axis = -1) -> Value:
    """log(softmax(x)) along an axis, exact where softmax is nearly 0. Shapes and errors as in `softmax`.

    >>> log_softmax([0.0, -1000.0]).data
    array([    0., -1000.])
    """
    x = _real_or_complex("log_softmax", x)
    return record(LOG_SOFTMAX, (x,), {"axis": some_axes(axis, x.shape, "log_softmax")})
