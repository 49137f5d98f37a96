"""The nonlinear functions of neural networks, and erf, which one of them is made of."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DtypeError
from backlit.core.notation import Notation, call
from backlit.core.numbers import dtype_of
from backlit.core.op import Elementwise, Reals, Sample
from backlit.core.value import Value
from backlit.ops.functions import apply, unary
from backlit.ops.lowering import BOOL
from backlit.ops.powers import EXP, SIGMOID, logistic, logistic_of_float, real_floats
from backlit.ops.selection import WHERE, choose

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

_ANY = Reals(-3.0, 3.0)
_AWAY_FROM_ZERO = Reals(-3.0, 3.0, avoid=(0.0,))
_LOWEST = -sys.float_info.max


def _named(name: str, symbol: str, subscript: str) -> Notation:
    r"""`elu(x, alpha=0.5)`, and \operatorname{ELU}_{0.5}\left(x\right)."""

    def latex(operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
        below = f"_{{{attrs[subscript]}}}" if subscript in attrs else ""
        return rf"\operatorname{{{symbol}}}{below}\left({operands[0]}\right)"

    return Notation(text=call(name).text, latex=latex)


# -- those that bend at zero ---------------------------------------------------------------------------------


def _relu(x: Any) -> Any:
    if dtype_of(x).kind == "c":
        raise DtypeError("is defined for real numbers only.")
    return np.maximum(x, 0)


def _lower_relu(g: Graph[N], result: Abstract, x: N) -> N:
    return g.map("maximum", g.cast(x, result.dtype), g.number(0, result.dtype))


RELU = Elementwise(
    "relu",
    _relu,
    scalar=lambda x: x if x > 0.0 or x != x else 0.0,
    partials=(lambda y, x: y > 0,),
    selects=True,
    notation=call("relu", r"\operatorname{ReLU}"),
    domains=(_AWAY_FROM_ZERO,),
    lower=_lower_relu,
    doc="max(x, 0), elementwise; NaN for NaN. Convention at the kink: the derivative at 0 is 0, "
    "and nothing flows to an x that is not above 0.",
)


def _leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    return np.where(x > 0, x, negative_slope * x)


def _lower_leaky_relu(g: Graph[N], result: Abstract, x: N, negative_slope: float = 0.01) -> N:
    x = g.cast(x, result.dtype)
    above = g.map("greater", x, g.number(0, x.dtype), dtype=BOOL)
    return g.map("where", above, x, g.map("multiply", g.number(negative_slope, x.dtype), x))


LEAKY_RELU = Elementwise(
    "leaky_relu",
    real_floats(_leaky_relu),
    scalar=lambda x, negative_slope=0.01: x if x > 0.0 else negative_slope * x,
    partials=(lambda y, x, negative_slope=0.01: choose(x > 0, 1.0, negative_slope, like=y),),
    notation=_named("leaky_relu", "LeakyReLU", "negative_slope"),
    domains=(_AWAY_FROM_ZERO,),
    samples=tuple(
        Sample((shape,), {"negative_slope": slope}) for shape, slope in (((3, 4), 0.01), ((), 0.2), ((0,), 0.01))
    ),
    lower=_lower_leaky_relu,
    doc="x above 0 and negative_slope · x below, elementwise. Convention at the kink: the derivative at 0 is "
    "negative_slope.",
)


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x)))


def _lower_elu(g: Graph[N], result: Abstract, x: N, alpha: float = 1.0) -> N:
    x = g.cast(x, result.dtype)
    zero = g.number(0, x.dtype)
    above = g.map("greater", x, zero, dtype=BOOL)
    below = g.map("multiply", g.number(alpha, x.dtype), g.map("expm1", g.map("where", above, zero, x)))
    return g.map("where", above, x, below)


ELU = Elementwise(
    "elu",
    real_floats(_elu),
    scalar=lambda x, alpha=1.0: x if x > 0.0 else alpha * math.expm1(x),
    partials=(lambda y, x, alpha=1.0: WHERE(x > 0, 1.0, alpha * EXP(x)),),
    notation=_named("elu", "ELU", "alpha"),
    domains=(_AWAY_FROM_ZERO,),
    samples=tuple(Sample((shape,), {"alpha": alpha}) for shape, alpha in (((3, 4), 1.0), ((), 0.5), ((0,), 1.0))),
    lower=_lower_elu,
    doc="x above 0 and alpha · (exp(x) - 1) below, elementwise. Convention at the kink: the derivative at 0 is alpha.",
)

# -- the smooth ones -----------------------------------------------------------------------------------------


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _softplus_of_float(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


SOFTPLUS = Elementwise(
    "softplus",
    real_floats(_softplus),
    scalar=_softplus_of_float,
    partials=(lambda y, x: SIGMOID(x),),
    domains=(_ANY,),
    doc="log(1 + exp(x)) = logaddexp(x, 0), elementwise, without overflow. A smooth relu.",
)


def _above_lowest(x: Any) -> Any:
    """x, with the lowest finite number for -infinity, where x · 0 is to be 0."""
    return np.maximum(x, np.finfo(x.dtype).min)


def _silu(x: Any) -> Any:
    return _above_lowest(x) * logistic(x)


def _silu_slope(y: Any, x: Any) -> Any:
    share = SIGMOID(x)
    return share + y * (1.0 - share)


SILU = Elementwise(
    "silu",
    real_floats(_silu),
    scalar=lambda x: max(x, _LOWEST) * logistic_of_float(x),
    partials=(_silu_slope,),
    notation=call("silu", r"\operatorname{SiLU}"),
    domains=(_ANY,),
    doc="x · sigmoid(x), elementwise; also called swish.",
)

# -- erf -----------------------------------------------------------------------------------------------------

# NumPy has no erf, so here it is, from two polynomials in float64:
#     erf(x) = x + x · p(x²)                           for |x| ≤ 1, p of degree 12 on [0, 1];
#     erf(x) = ±(1 - exp(-x²) · q(s) / (|x| + 3))      beyond, q of degree 19 in s = (|x| - 4) / (|x| + 3)
#                                                      for |x| in [1, 28], where exp(-x²) is 0.
# Each is the interpolant at the Chebyshev points of its interval, computed from mpmath's erf with 60 digits,
# then rounded; tests/ops/test_activations.py derives them again. From the constant term up:
_SERIES = (
    0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
    0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05,
    1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09,
    5.957176147748911e-11,
)  # fmt: skip
_TAIL = (
    0.9589962033754298, -0.6277955952806215, 0.34605620908994517, -0.1559665497802907,
    0.05413190824973971, -0.012338549339269601, 0.0005752798998934863, 0.0007631143547248034,
    -0.00023152723198899172, -2.528627984056823e-05, 2.7642555890643884e-05, -6.858884532812806e-07,
    -3.1781156489283724e-06, 2.7829387493140644e-07, 4.061219581660148e-07, -4.0460636670983665e-08,
    -5.58525470053159e-08, 4.114595035274458e-09, 6.0375954149756435e-09, -3.0379964729071116e-10,
)  # fmt: skip


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """By Horner's scheme, in place."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total


def _erf_near_zero(x: Any) -> Any:
    """erf for |x| ≤ 1: x + x · p(x²)."""
    x = np.clip(x, -1.0, 1.0)
    return x + x * _polynomial(_SERIES, x * x)


def _erfc_far_out(x: Any) -> Any:
    """1 - erf for x ≥ 1: exp(-x²) / (x + 3) · q((x - 4) / (x + 3)); it is zero before 28."""
    x = np.minimum(x, 28.0)
    above = x + 3.0
    return np.exp(-x * x) * _polynomial(_TAIL, (x - 4.0) / above) / above


def _pieces(near: Callable[[Any], Any], far: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function on float64 arrays that is `near` on [-1, 1] and `far` outside, which is run only there."""

    def function(x: Any) -> Any:
        x = np.asarray(x)
        flat = x.reshape(-1)
        out = near(flat)
        is_far = np.flatnonzero(~(np.abs(flat) <= 1.0))
        if is_far.size:
            out[is_far] = far(flat[is_far])
        return out.reshape(x.shape)

    return function


_erf = _pieces(_erf_near_zero, lambda x: np.copysign(1.0 - _erfc_far_out(np.abs(x)), x))
_erfc = _pieces(
    lambda x: 1.0 - _erf_near_zero(x),
    lambda x: np.where(x > 0, 1.0, -1.0) * _erfc_far_out(np.abs(x)) + np.where(x > 0, 0.0, 2.0),
)


ERF = Elementwise(
    "erf",
    real_floats(_erf, dtypes.float64),
    scalar=math.erf,
    partials=(lambda y, x: (2.0 / math.sqrt(math.pi)) * EXP(-(x * x)),),
    domains=(_ANY,),
    doc="The error function, 2/√π times the integral of exp(-t²) from 0 to x, elementwise. "
    "Within 2 units in the last place.",
)

_PER_ROOT_TWO = math.sqrt(0.5)
_BELL = 1.0 / math.sqrt(2.0 * math.pi)
_TANH_LINEAR, _TANH_CUBIC = math.sqrt(2.0 / math.pi), 0.044715 * math.sqrt(2.0 / math.pi)


def _gelu(x: Any, approximate: bool = False) -> Any:
    finite = _above_lowest(x)
    if approximate:  # 0.5 · (1 + tanh(u)) = sigmoid(2u), which does not cancel for negative x
        return finite * logistic(2.0 * finite * (_TANH_LINEAR + _TANH_CUBIC * (finite * finite)))
    return finite * (0.5 * _erfc(-_PER_ROOT_TWO * finite))


def _gelu_of_float(x: float, approximate: bool = False) -> float:
    x = max(x, _LOWEST)
    if approximate:
        return x * logistic_of_float(2.0 * x * (_TANH_LINEAR + _TANH_CUBIC * (x * x)))
    return x * (0.5 * math.erfc(-_PER_ROOT_TWO * x))


def _gelu_slope(y: Any, x: Any, approximate: bool = False) -> Any:
    if not approximate:
        return 0.5 * (1.0 + ERF(_PER_ROOT_TWO * x)) + x * (_BELL * EXP(-0.5 * (x * x)))
    share = SIGMOID(2.0 * x * (_TANH_LINEAR + _TANH_CUBIC * (x * x)))
    slope = share * (1.0 - share)
    rise = x * slope * (2.0 * _TANH_LINEAR + 6.0 * _TANH_CUBIC * (x * x))
    return share + WHERE(slope == 0, 0.0, rise)  # where sigmoid is flat, x² may have overflowed


def _lower_gelu(g: Graph[N], result: Abstract, x: N, approximate: bool = False) -> N:
    x = g.cast(x, result.dtype)
    if not approximate:
        return g.map("gelu", x)
    x = g.map("maximum", x, g.number(np.finfo(x.dtype).min, x.dtype))
    cubic = g.map("multiply", g.number(_TANH_CUBIC, x.dtype), g.map("multiply", x, x))
    inner = g.map("add", g.number(_TANH_LINEAR, x.dtype), cubic)
    twice = g.map("multiply", g.map("multiply", g.number(2, x.dtype), x), inner)
    return g.map("multiply", x, g.map("sigmoid", twice))


GELU = Elementwise(
    "gelu",
    real_floats(_gelu, dtypes.float64),
    scalar=_gelu_of_float,
    partials=(_gelu_slope,),
    notation=call("gelu", r"\operatorname{GELU}"),
    domains=(_ANY,),
    samples=tuple(
        Sample((shape,), {"approximate": approximate}) for approximate in (False, True) for shape in ((3, 4), (), (0,))
    ),
    lower=_lower_gelu,
    doc="x · Φ(x), elementwise, Φ being the normal distribution function; approximate: Φ by tanh.",
)

sigmoid = unary(SIGMOID)
relu = unary(RELU)
softplus = unary(SOFTPLUS)
silu = unary(SILU)
erf = unary(ERF)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Value:
    """`x` above 0 and `negative_slope * x` below, elementwise: a unit that is off still learns a little.

    Convention at the kink: the derivative at 0 is `negative_slope`, as in PyTorch.

    >>> leaky_relu(Value([-2.0, 3.0])).data
    array([-0.02,  3.  ])
    """
    return apply(LEAKY_RELU, x, negative_slope=float(negative_slope))


def elu(x: Any, alpha: float = 1.0) -> Value:
    """`x` above 0 and `alpha * (exp(x) - 1)` below, elementwise. Smooth for alpha = 1.

    Convention at the kink: the derivative at 0 is `alpha`. Source: Clevert et al. 2015, arXiv:1511.07289.

    >>> elu(Value(-1.0)).data
    -0.6321205588285577
    """
    return apply(ELU, x, alpha=float(alpha))


def gelu(x: Any, approximate: bool = False) -> Value:
    """`x` times the probability that a standard normal number is below `x`, elementwise.

    approximate: that probability as 0.5 * (1 + tanh(sqrt(2/π) * (x + 0.044715 * x**3))), wrong by at
    most 3e-4.
    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.

    >>> gelu(Value(1.0)).data
    0.841344746068543
    """
    return apply(GELU, x, approximate=bool(approximate))
