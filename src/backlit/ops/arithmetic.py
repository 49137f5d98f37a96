"""Arithmetic: sums, products, quotients, remainders, rounding."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from backlit.core.errors import DomainError
from backlit.core.notation import ATOM, PRODUCT, SUM, Notation, infix, prefix, templates
from backlit.core.numbers import dtype_of
from backlit.core.op import ONE, Elementwise, Reals
from backlit.ops.functions import binary, unary
from backlit.ops.lowering import itself
from backlit.ops.selection import ZERO

_ANY = Reals(-3.0, 3.0)
_AWAY_FROM_ZERO = Reals(-3.0, 3.0, avoid=(0.0,))
_BETWEEN_WHOLE = Reals(-3.4, 3.4, avoid=tuple(n / 2 for n in range(-7, 8)))

ADD = Elementwise(
    "add",
    np.add,
    scalar=operator.add,
    partials=(ONE, ONE),
    notation=infix("+", SUM),
    domains=(_ANY, _ANY),
    doc="Sum, elementwise. x1, x2: shapes that broadcast.",
)
SUBTRACT = Elementwise(
    "subtract",
    np.subtract,
    scalar=operator.sub,
    partials=(ONE, lambda y, a, b: -1.0),
    notation=infix("-", SUM),
    domains=(_ANY, _ANY),
    doc="Difference, elementwise. x1, x2: shapes that broadcast.",
)
MULTIPLY = Elementwise(
    "multiply",
    np.multiply,
    scalar=operator.mul,
    partials=(lambda y, a, b: b, lambda y, a, b: a),
    notation=infix("*", PRODUCT, r"\cdot"),
    domains=(_ANY, _ANY),
    doc="Product, elementwise. x1, x2: shapes that broadcast.",
)
DIVIDE = Elementwise(
    "divide",
    np.divide,
    scalar=operator.truediv,
    partials=(lambda y, a, b: 1.0 / b, lambda y, a, b: -y / b),
    notation=templates("<0> / <1>", r"\frac{<0>}{<1>}", PRODUCT, (PRODUCT, PRODUCT + 1), ATOM, ()),
    domains=(_ANY, _AWAY_FROM_ZERO),
    doc="Quotient, elementwise. x1, x2: shapes that broadcast. Division by zero gives an infinity or NaN, as "
    "IEEE 754 says.",
)
NEGATIVE = Elementwise(
    "negative",
    np.negative,
    scalar=operator.neg,
    partials=(lambda y, x: -1.0,),
    notation=prefix("-"),
    doc="The number with the other sign, elementwise.",
)
POSITIVE = Elementwise(
    "positive",
    np.positive,
    scalar=operator.pos,
    partials=(ONE,),
    notation=prefix("+"),
    lower=itself,
    doc="The number itself.",
)


ABS = Elementwise(
    "abs",
    np.abs,
    scalar=abs,
    partials=(lambda y, x: SIGN_OP(x),),
    notation=templates("abs(<0>)", r"\left|<0>\right|"),
    domains=(_AWAY_FROM_ZERO,),
    doc="Absolute value, elementwise. Convention at the kink: the derivative at 0 is 0.",
)
SIGN_OP: Elementwise = Elementwise(
    "sign",
    np.sign,
    scalar=lambda x: 1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0 if x == 0.0 else x,
    partials=(ZERO,),
    domains=(_AWAY_FROM_ZERO,),
    doc="-1, 0 or 1, elementwise; NaN for NaN. Its derivative is 0, at the jump too (convention).",
)


def _whole_division(divide: Any) -> Any:
    """Floats divided by zero give NaN or an infinity; integers have neither, so for them it is an error."""

    def evaluate(x1: Any, x2: Any) -> Any:
        if dtype_of(x2).kind in "iub" and dtype_of(x1).kind in "iub" and not np.all(x2):
            raise DomainError(
                "integer division by zero: x2 holds a 0, and integers have no infinity or NaN to answer "
                "with. Divide floats, or replace the zeros first."
            )
        return divide(x1, x2)

    return evaluate


def _floor_quotient(x1: Any, x2: Any) -> Any:
    """NumPy's, which follows Python, but with infinite operands floor(x1 / x2), as the standard prefers."""
    y = np.floor_divide(x1, x2)
    if dtype_of(y).kind == "f":
        infinite = np.isinf(x1) | np.isinf(x2)
        if infinite.any():
            return np.where(infinite, np.floor(np.divide(x1, x2)), y)
    return y


def _floor_quotient_of_floats(x1: float, x2: float) -> float:
    if math.isfinite(x1) and math.isfinite(x2):
        return x1 // x2
    return float(np.floor(x1 / x2))


REMAINDER = Elementwise(
    "remainder",
    _whole_division(np.remainder),
    scalar=operator.mod,
    partials=(ONE, lambda y, a, b: -FLOOR_DIVIDE(a, b)),
    notation=infix("%", PRODUCT, r"\bmod"),
    domains=(Reals(0.1, 0.9), Reals(1.0, 3.0)),
    doc="x1 - x2·floor(x1/x2), elementwise: has the sign of x2. At a jump the derivative is that of its "
    "right side. Raises DomainError for integers divided by 0.",
)
FLOOR_DIVIDE: Elementwise = Elementwise(
    "floor_divide",
    _whole_division(_floor_quotient),
    scalar=_floor_quotient_of_floats,
    partials=(ZERO, ZERO),
    notation=Notation(
        lambda x, _: f"{x[0]} // {x[1]}",
        lambda x, _: rf"\left\lfloor \frac{{{x[0]}}}{{{x[1]}}} \right\rfloor",
        PRODUCT,
        (PRODUCT, PRODUCT + 1),
        ATOM,
        (),
    ),
    domains=(Reals(0.1, 0.9), Reals(1.0, 3.0)),
    doc="floor(x1 / x2), elementwise, with infinite operands too. Its derivative is 0, at the jumps too "
    "(convention). Raises DomainError for integers divided by 0.",
)


def _rounding(name: str, rounded: Any, latex: str, doc: str) -> Elementwise:
    def evaluate(x: Any) -> Any:
        return x if dtype_of(x).kind in "iub" else rounded(x)  # whole already

    return Elementwise(
        name,
        evaluate,
        partials=(ZERO,),
        notation=templates(f"{name}(<0>)", latex),
        domains=(_BETWEEN_WHOLE,),
        doc=f"{doc}, elementwise. Its derivative is 0, at the jumps too (convention).",
    )


FLOOR = _rounding("floor", np.floor, r"\left\lfloor <0> \right\rfloor", "The largest whole number not above x")
CEIL = _rounding("ceil", np.ceil, r"\left\lceil <0> \right\rceil", "The smallest whole number not below x")
TRUNC = _rounding("trunc", np.trunc, r"\operatorname{trunc}\left(<0>\right)", "The whole part, towards 0")
ROUND = _rounding("round", np.round, r"\operatorname{round}\left(<0>\right)", "The nearest whole number, ties to even")
COPYSIGN: Elementwise = Elementwise(
    "copysign",
    np.copysign,
    scalar=math.copysign,
    partials=(lambda y, a, b: SIGN_OP(a) * COPYSIGN(1.0, b), ZERO),
    domains=(_AWAY_FROM_ZERO, _AWAY_FROM_ZERO),
    doc="|x1| with the sign of x2, elementwise. Convention at the kink: the derivative at x1 = 0 is 0. "
    "That by x2 is 0.",
)
NEXTAFTER = Elementwise(
    "nextafter",
    np.nextafter,
    partials=(ONE, ZERO),
    domains=(_ANY, _ANY),
    doc="The next floating-point number after x1 towards x2, elementwise. The derivative is that of x1 "
    "itself: 1, and 0 by x2.",
)

add = binary(ADD)
subtract = binary(SUBTRACT)
multiply = binary(MULTIPLY)
divide = binary(DIVIDE)
negative = unary(NEGATIVE)
positive = unary(POSITIVE)
abs_ = unary(ABS)
sign = unary(SIGN_OP)
remainder = binary(REMAINDER)
floor_divide = binary(FLOOR_DIVIDE)
floor = unary(FLOOR)
ceil = unary(CEIL)
trunc = unary(TRUNC)
round_ = unary(ROUND)
copysign = binary(COPYSIGN)
nextafter = binary(NEXTAFTER)
