"""Powers, roots, exponentials and logarithms."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DtypeError
from backlit.core.notation import ATOM, POWER, PRODUCT, SUM, call, templates
from backlit.core.numbers import dtype_of, shape_of
from backlit.core.op import Elementwise, Reals
from backlit.core.value import INACTIVE, Value
from backlit.ops.functions import binary, unary
from backlit.ops.logic import ISINF
from backlit.ops.lowering import BOOL
from backlit.ops.selection import WHERE

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

_ANY = Reals(-3.0, 3.0)
_AWAY_FROM_ZERO = Reals(-3.0, 3.0, avoid=(0.0,))
_POSITIVE = Reals(0.3, 3.0)


def known_number(x: Any) -> float | None:
    """The number that a constant scalar holds; None for anything that may vary."""
    if isinstance(x, Value):
        if x._op is not None or x._grad is not INACTIVE or type(x._data) is not float:
            return None
        return float(x._data)
    return float(x) if shape_of(x) == () else None


def _power(x1: Any, x2: Any) -> Any:
    """NumPy takes the square root for the power 1/2, which differs from it at -0.0 and -infinity."""
    y = operator.pow(x1, x2)
    if np.size(x2) == 1 and np.all(x2 == 0.5) and dtype_of(y).kind == "f":
        return np.where(x1 == -math.inf, math.inf, y) + 0.0
    return y


def _power_by_base(y: Any, a: Any, b: Any) -> Any:
    """b·a^(b-1); zero where b = 0, at a = 0 too."""
    n = known_number(b)
    if n is None:
        return WHERE((a == 0) & (b == 0), 0.0, b * POW(a, b - 1.0))
    if n == 0.0:
        return 0.0
    return 1.0 if n == 1.0 else 2.0 * a if n == 2.0 else n * POW(a, n - 1.0)


def _power_by_exponent(y: Any, a: Any, b: Any) -> Any:
    """a^b·log a; zero at a = 0 for b ≥ 0, which is the limit from a > 0."""
    return WHERE((a == 0) & (b >= 0), 0.0, y * LOG(a))


def _lower_power(g: Graph[N], result: Abstract, x: N, y: N) -> N:
    x, y = g.cast(x, result.dtype), g.cast(y, result.dtype)
    if result.dtype.kind == "f":
        return g.map("pow", x, y)
    power = g.value_of(y)
    if power is not None and power >= 0:
        return g.broadcast(_multiplied(g, x, int(power)), result.shape)
    if result.dtype.kind == "u":
        return g.map("pow", x, y)
    zero, one = g.number(0, result.dtype), g.number(1, result.dtype)
    is_fraction = g.map("less", y, zero, dtype=BOOL)
    is_nil = g.map("bitwise_and", is_fraction, g.map("not_equal", g.map("abs", x), one, dtype=BOOL))
    return g.map("where", is_nil, zero, g.map("pow", x, g.map("abs", y)))


def _multiplied(g: Graph[N], x: N, power: int) -> N:
    """x to a known power, by squaring."""
    total = g.number(1, x.dtype)
    while power:
        if power % 2:
            total = g.map("multiply", total, x)
        power //= 2
        if power:
            x = g.map("multiply", x, x)
    return total


def _lower_reciprocal(g: Graph[N], result: Abstract, x: N) -> N:
    return g.map("divide", g.number(1, result.dtype), g.cast(x, result.dtype))


LOG = Elementwise(
    "log",
    np.log,
    scalar=math.log,
    partials=(lambda y, x: 1.0 / x,),
    notation=call("log", r"\log"),
    domains=(_POSITIVE,),
    doc="Natural logarithm, elementwise. -inf at 0, NaN below.",
)
POW = Elementwise(
    "pow",
    _power,
    scalar=math.pow,
    partials=(_power_by_base, _power_by_exponent),
    notation=templates("<0>**<1>", "{<0>}^{<1>}", POWER, (POWER + 1, POWER), POWER, (POWER + 1, 0)),
    domains=(_POSITIVE, _ANY),
    lower=_lower_power,
    doc="x1 to the power x2, elementwise. NaN for a negative number to a power that is not whole. "
    "Whole numbers to a negative power are an error, and, compiled, the fraction rounded towards 0. "
    "The partial by x2 at x1 = 0 is taken as 0.",
)
SQUARE = Elementwise(
    "square",
    np.square,
    scalar=lambda x: x * x,
    partials=(lambda y, x: 2.0 * x,),
    notation=templates("<0>**2", "{<0>}^{2}", POWER, (POWER + 1,)),
    doc="x·x, elementwise.",
)
RECIPROCAL = Elementwise(
    "reciprocal",
    lambda x: np.true_divide(1, x),
    scalar=lambda x: 1.0 / x,
    partials=(lambda y, x: -(y * y),),
    notation=templates("1 / <0>", r"\frac{1}{<0>}", PRODUCT, (PRODUCT + 1,), ATOM, ()),
    domains=(_AWAY_FROM_ZERO,),
    lower=_lower_reciprocal,
    doc="1/x, elementwise; the infinity of the same sign at 0.",
)
SQRT = Elementwise(
    "sqrt",
    np.sqrt,
    scalar=math.sqrt,
    partials=(lambda y, x: 0.5 / y,),
    notation=templates("sqrt(<0>)", r"\sqrt{<0>}"),
    domains=(_POSITIVE,),
    doc="Square root, elementwise. NaN below 0; the derivative at 0 is infinite.",
)
HYPOT = Elementwise(
    "hypot",
    np.hypot,
    scalar=math.hypot,
    partials=(lambda y, a, b: WHERE(y == 0, 0.0, a / y), lambda y, a, b: WHERE(y == 0, 0.0, b / y)),
    notation=templates("hypot(<0>, <1>)", r"\sqrt{{<0>}^{2} + {<1>}^{2}}", latex_needs=(POWER + 1, POWER + 1)),
    domains=(_AWAY_FROM_ZERO, _AWAY_FROM_ZERO),
    doc="sqrt(x1² + x2²) without overflow. Convention: the derivative at the origin is 0.",
)
EXP = Elementwise(
    "exp",
    np.exp,
    scalar=math.exp,
    partials=(lambda y, x: y,),
    notation=templates("exp(<0>)", "e^{<0>}", latex_level=POWER),
    doc="e to the power x, elementwise.",
)
EXPM1 = Elementwise(
    "expm1",
    np.expm1,
    scalar=math.expm1,
    partials=(lambda y, x: EXP(x),),
    notation=templates("expm1(<0>)", "e^{<0>} - 1", latex_level=SUM),
    doc="exp(x) - 1, elementwise, exact near 0.",
)
LOG1P = Elementwise(
    "log1p",
    np.log1p,
    scalar=math.log1p,
    partials=(lambda y, x: 1.0 / (1.0 + x),),
    notation=templates("log1p(<0>)", r"\log\left(1 + <0>\right)", latex_needs=(SUM,)),
    domains=(Reals(-0.7, 3.0),),
    doc="log(1 + x), elementwise, exact near 0.",
)
LOG2 = Elementwise(
    "log2",
    np.log2,
    scalar=math.log2,
    partials=(lambda y, x: 1.0 / (x * math.log(2.0)),),
    notation=call("log2", r"\log_{2}"),
    domains=(_POSITIVE,),
    doc="Logarithm to base 2, elementwise.",
)
LOG10 = Elementwise(
    "log10",
    np.log10,
    scalar=math.log10,
    partials=(lambda y, x: 1.0 / (x * math.log(10.0)),),
    notation=call("log10", r"\log_{10}"),
    domains=(_POSITIVE,),
    doc="Logarithm to base 10, elementwise.",
)


# The logistic function stands here because it is the share of one exponential in the sum of two.


def real_floats(function: Callable[..., Any], least: np.dtype[Any] = dtypes.float32) -> Callable[..., Any]:
    """A forward rule for real numbers from one for float arrays, which is run in `least` or better.

    The result has the dtype of x; float64 for integers and booleans. Raises DtypeError for complex numbers.
    """

    @wraps(function)
    def evaluate(x: Any, **attrs: Any) -> Any:
        dtype = dtype_of(x)
        if dtype.kind == "c":
            raise DtypeError(f"is defined for real numbers only, and its input is {dtype.name}.")
        if dtype.kind != "f":
            return function(np.asarray(x, dtypes.float64), **attrs)
        working = np.promote_types(dtype, least)
        if working == dtype:
            return function(np.asarray(x), **attrs)
        return function(np.asarray(x, working), **attrs).astype(dtype)

    return evaluate


def logistic(x: Any) -> Any:
    """1 / (1 + exp(-x)) of an array; of negative numbers only is exp taken, so it cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def logistic_of_float(x: float) -> float:
    """1 / (1 + exp(-x)) of a float, likewise."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


SIGMOID = Elementwise(
    "sigmoid",
    real_floats(logistic),
    scalar=logistic_of_float,
    partials=(lambda y, x: y * (1.0 - y),),  # reuses y; relative error grows with saturation above 0
    notation=call("sigmoid", r"\sigma"),
    doc="1 / (1 + exp(-x)), elementwise, without overflow. Between 0 and 1.",
)


def _logaddexp_of_floats(a: float, b: float) -> float:
    high, low = (a, b) if a > b else (b, a)
    return high if high in (math.inf, -math.inf) and low == low else high + math.log1p(math.exp(low - high))


def _logaddexp_share(a: Any, b: Any) -> Any:
    """e^a / (e^a + e^b), right where both are the same infinity too."""
    return WHERE((a == b) & ISINF(a), 0.5, SIGMOID(a - b))


LOGADDEXP = Elementwise(
    "logaddexp",
    np.logaddexp,
    scalar=_logaddexp_of_floats,
    partials=(lambda y, a, b: _logaddexp_share(a, b), lambda y, a, b: _logaddexp_share(b, a)),
    notation=templates("logaddexp(<0>, <1>)", r"\log\left(e^{<0>} + e^{<1>}\right)"),
    domains=(_ANY, _ANY),
    doc="log(exp(x1) + exp(x2)), elementwise, without overflow. Convention where both are the same infinity: "
    "each gets half of the gradient.",
)

pow = binary(POW)
square = unary(SQUARE)
reciprocal = unary(RECIPROCAL)
sqrt = unary(SQRT)
hypot = binary(HYPOT)
exp = unary(EXP)
expm1 = unary(EXPM1)
log = unary(LOG)
log1p = unary(LOG1P)
log2 = unary(LOG2)
log10 = unary(LOG10)
logaddexp = binary(LOGADDEXP)
