"""Circular and hyperbolic functions and their inverses. Angles are in radians."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.notation import call
from backlit.core.op import Elementwise, Reals
from backlit.ops.functions import binary, unary
from backlit.ops.powers import HYPOT, RECIPROCAL, SQRT
from backlit.ops.selection import WHERE

_ANY = Reals(-3.0, 3.0)
_AWAY_FROM_ZERO = Reals(-3.0, 3.0, avoid=(0.0,))
_INSIDE_ONE = Reals(-0.9, 0.9)

SIN = Elementwise(
    "sin",
    np.sin,
    scalar=math.sin,
    partials=(lambda y, x: COS(x),),
    notation=call("sin", r"\sin"),
    domains=(_ANY,),
    doc="Sine, elementwise. x: radians. NaN at the infinities.",
)
COS: Elementwise = Elementwise(
    "cos",
    np.cos,
    scalar=math.cos,
    partials=(lambda y, x: -SIN(x),),
    notation=call("cos", r"\cos"),
    domains=(_ANY,),
    doc="Cosine, elementwise. x: radians. NaN at the infinities.",
)
TAN = Elementwise(
    "tan",
    np.tan,
    scalar=math.tan,
    partials=(lambda y, x: 1.0 + y * y,),
    notation=call("tan", r"\tan"),
    domains=(Reals(-1.2, 1.2),),
    doc="Tangent, elementwise. x: radians. NaN at the infinities.",
)
ASIN = Elementwise(
    "asin",
    np.arcsin,
    scalar=math.asin,
    partials=(lambda y, x: RECIPROCAL(SQRT((1.0 - x) * (1.0 + x))),),  # 1 - x², without its cancellation near 1
    notation=call("asin", r"\arcsin"),
    domains=(_INSIDE_ONE,),
    doc="The angle in [-π/2, π/2] whose sine is x, elementwise. NaN outside [-1, 1]; the derivative at ±1 is infinite.",
)
ACOS = Elementwise(
    "acos",
    np.arccos,
    scalar=math.acos,
    partials=(lambda y, x: -RECIPROCAL(SQRT((1.0 - x) * (1.0 + x))),),
    notation=call("acos", r"\arccos"),
    domains=(_INSIDE_ONE,),
    doc="The angle in [0, π] whose cosine is x, elementwise. NaN outside [-1, 1]; the derivative at ±1 is -infinite.",
)
ATAN = Elementwise(
    "atan",
    np.arctan,
    scalar=math.atan,
    partials=(lambda y, x: 1.0 / (1.0 + x * x),),
    notation=call("atan", r"\arctan"),
    domains=(_ANY,),
    doc="The angle in [-π/2, π/2] whose tangent is x, elementwise.",
)


def _turn(along: Any, across: Any) -> Any:
    """along / (along² + across²), without overflow; zero at the origin, which has no direction."""
    distance = HYPOT(along, across)
    return WHERE(distance == 0, 0.0, along / distance / distance)


ATAN2 = Elementwise(
    "atan2",
    np.arctan2,
    scalar=math.atan2,
    partials=(lambda y, a, b: _turn(b, a), lambda y, a, b: -_turn(a, b)),
    notation=call("atan2"),
    domains=(_AWAY_FROM_ZERO, _AWAY_FROM_ZERO),
    doc="The angle in [-π, π] of the point at height x1 and width x2, elementwise: atan(x1 / x2) in the "
    "right quadrant. Convention: the derivative at the origin is 0.",
)
SINH = Elementwise(
    "sinh",
    np.sinh,
    scalar=math.sinh,
    partials=(lambda y, x: COSH(x),),
    notation=call("sinh", r"\sinh"),
    domains=(_ANY,),
    doc="Hyperbolic sine, (exp(x) - exp(-x)) / 2, elementwise.",
)
COSH: Elementwise = Elementwise(
    "cosh",
    np.cosh,
    scalar=math.cosh,
    partials=(lambda y, x: SINH(x),),
    notation=call("cosh", r"\cosh"),
    domains=(_ANY,),
    doc="Hyperbolic cosine, (exp(x) + exp(-x)) / 2, elementwise.",
)
TANH = Elementwise(
    "tanh",
    np.tanh,
    scalar=math.tanh,
    partials=(lambda y, x: 1.0 - y * y,),  # reuses y; relative error grows with saturation (3e-9 near |x| = 9)
    notation=call("tanh", r"\tanh"),
    domains=(_ANY,),
    doc="Hyperbolic tangent, elementwise. Between -1 and 1.",
)
ASINH = Elementwise(
    "asinh",
    np.arcsinh,
    scalar=math.asinh,
    partials=(lambda y, x: 1.0 / HYPOT(x, 1.0),),  # sqrt(x² + 1), without overflow
    notation=call("asinh", r"\operatorname{arsinh}"),
    domains=(_ANY,),
    doc="The number whose hyperbolic sine is x, elementwise.",
)
ACOSH = Elementwise(
    "acosh",
    np.arccosh,
    scalar=math.acosh,
    partials=(lambda y, x: RECIPROCAL(SQRT(x - 1.0) * SQRT(x + 1.0)),),  # sqrt(x² - 1), without overflow
    notation=call("acosh", r"\operatorname{arcosh}"),
    domains=(Reals(1.3, 4.0),),
    doc="The number from 0 up whose hyperbolic cosine is x, elementwise. NaN below 1; the derivative at 1 is infinite.",
)
ATANH = Elementwise(
    "atanh",
    np.arctanh,
    scalar=math.atanh,
    partials=(lambda y, x: 1.0 / ((1.0 - x) * (1.0 + x)),),  # 1 - x², without its cancellation near 1
    notation=call("atanh", r"\operatorname{artanh}"),
    domains=(_INSIDE_ONE,),
    doc="The number whose hyperbolic tangent is x, elementwise. Infinite at ±1, NaN outside [-1, 1].",
)

sin = unary(SIN)
cos = unary(COS)
tan = unary(TAN)
asin = unary(ASIN)
acos = unary(ACOS)
atan = unary(ATAN)
atan2 = binary(ATAN2)
sinh = unary(SINH)
cosh = unary(COSH)
tanh = unary(TANH)
asinh = unary(ASINH)
acosh = unary(ACOSH)
atanh = unary(ATANH)
