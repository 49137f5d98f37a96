"""Comparisons, logic, bits and kinds of number. None of these has a derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import DomainError
from backlit.core.notation import ATOM, COMPARISON, SIGN, Notation, call, prefix, templates
from backlit.core.op import Booleans, Constant, Integers, Reals
from backlit.ops.functions import binary, unary
from backlit.ops.lowering import BOOL, comparison, same, truth

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

# How tightly these hold together: Python's order for its own operators (all looser than `+`), and that of
# mathematics for the words of logic (all looser than a comparison).
_BIT_OR, _BIT_XOR, _BIT_AND, _SHIFT = COMPARISON + 1, COMPARISON + 2, COMPARISON + 3, COMPARISON + 4
_OR, _AND, _NOT = COMPARISON - 3, COMPARISON - 2, COMPARISON - 1

_WHOLE = Integers(-4, 4)  # a few small numbers: ties happen
_BITS = Integers(-9, 9)
_TRUTH = Booleans()


def _operator(symbol: str, latex: str, level: int, chains: bool = True) -> Notation:
    """`a & b` and its like. Comparisons do not chain: in Python `a < b < c` is not `(a < b) < c`."""
    left = level if chains else level + 1
    return templates(f"<0> {symbol} <1>", f"<0> {latex} <1>", level, (left, level + 1))


def _comparison(name: str, evaluate: Any, symbol: str, latex: str, doc: str) -> Constant:
    return Constant(
        name,
        evaluate,
        notation=_operator(symbol, latex, COMPARISON, chains=False),
        domains=(_WHOLE, _WHOLE),
        lower=comparison(name),
        doc=f"Whether {doc}, elementwise. x1, x2: shapes that broadcast. A comparison with NaN is "
        + ("true." if name == "not_equal" else "false."),
    )


EQUAL = _comparison("equal", np.equal, "==", "=", "x1 and x2 are equal")
NOT_EQUAL = _comparison("not_equal", np.not_equal, "!=", r"\neq", "x1 and x2 differ")
LESS = _comparison("less", np.less, "<", "<", "x1 is less than x2")
LESS_EQUAL = _comparison("less_equal", np.less_equal, "<=", r"\leq", "x1 is at most x2")
GREATER = _comparison("greater", np.greater, ">", ">", "x1 is greater than x2")
GREATER_EQUAL = _comparison("greater_equal", np.greater_equal, ">=", r"\geq", "x1 is at least x2")


def _of_truths(name: str) -> Callable[..., Any]:
    """The lowering by a map of bits, which makes numbers truths first."""

    def lower(g: Graph[N], result: Abstract, *xs: N) -> N:
        return g.map(name, *(truth(g, x) for x in xs), dtype=BOOL)

    return lower


def _logical(name: str, evaluate: Any, latex: str, level: int, doc: str) -> Constant:
    return Constant(
        name,
        evaluate,
        notation=templates(
            f"{name}(<0>, <1>)",
            f"<0> {latex} <1>",
            ATOM,
            (),
            latex_level=level,
            latex_needs=(level, level + 1),
        ),
        domains=(_TRUTH, _TRUTH),
        lower=_of_truths(name.replace("logical", "bitwise")),
        doc=f"{doc}, elementwise. Numbers count as true unless they are 0.",
    )


LOGICAL_AND = _logical("logical_and", np.logical_and, r"\land", _AND, "Whether both are true")
LOGICAL_OR = _logical("logical_or", np.logical_or, r"\lor", _OR, "Whether one or both are true")
LOGICAL_XOR = _logical("logical_xor", np.logical_xor, r"\oplus", _OR, "Whether exactly one of the two is true")
LOGICAL_NOT = Constant(
    "logical_not",
    np.logical_not,
    notation=templates("logical_not(<0>)", r"\lnot <0>", ATOM, (), latex_level=_NOT, latex_needs=(ATOM,)),
    domains=(_TRUTH,),
    lower=_of_truths("bitwise_invert"),
    doc="Whether x is false, elementwise. Numbers count as true unless they are 0.",
)


def _shifted(shift: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(x1: Any, x2: Any) -> Any:
        if np.any(np.less(x2, 0)):
            raise DomainError(f"a shift is by 0 bits or more, and x2 holds {np.min(x2)}. Shift the other way instead.")
        return shift(x1, x2)

    return evaluate


BITWISE_AND = Constant(
    "bitwise_and",
    np.bitwise_and,
    notation=_operator("&", r"\mathbin{\&}", _BIT_AND),
    domains=(_BITS, _BITS),
    lower=same("bitwise_and"),
    doc="The bits set in both, elementwise. Integers or booleans.",
)
BITWISE_OR = Constant(
    "bitwise_or",
    np.bitwise_or,
    notation=_operator("|", r"\mathbin{|}", _BIT_OR),
    domains=(_BITS, _BITS),
    lower=same("bitwise_or"),
    doc="The bits set in one or both, elementwise. Integers or booleans.",
)
BITWISE_XOR = Constant(
    "bitwise_xor",
    np.bitwise_xor,
    notation=_operator("^", r"\oplus", _BIT_XOR),
    domains=(_BITS, _BITS),
    lower=same("bitwise_xor"),
    doc="The bits set in exactly one of the two, elementwise. Integers or booleans.",
)
BITWISE_INVERT = Constant(
    "bitwise_invert",
    np.invert,
    notation=prefix("~", SIGN, r"{\sim}"),
    domains=(_BITS,),
    lower=same("bitwise_invert"),
    doc="Every bit the other way, elementwise: -x - 1 for a signed integer, logical_not for a boolean.",
)
BITWISE_LEFT_SHIFT = Constant(
    "bitwise_left_shift",
    _shifted(np.left_shift),
    notation=_operator("<<", r"\ll", _SHIFT),
    domains=(_BITS, Integers(0, 5)),
    lower=same("bitwise_left_shift"),
    doc="x1 · 2^x2, elementwise: the bits of x1 moved left by x2 places. Bits that leave the dtype are lost. "
    "Integers; x2 from 0 up.",
)
BITWISE_RIGHT_SHIFT = Constant(
    "bitwise_right_shift",
    _shifted(np.right_shift),
    notation=_operator(">>", r"\gg", _SHIFT),
    domains=(_BITS, Integers(0, 5)),
    lower=same("bitwise_right_shift"),
    doc="floor(x1 / 2^x2), elementwise: the bits of x1 moved right by x2 places. Integers; x2 from 0 up.",
)


def _isfinite(g: Graph[N], result: Abstract, x: N) -> N:
    if x.dtype.kind != "f":
        return g.broadcast(g.number(True, BOOL), x.shape)
    return g.map("less", g.map("abs", x), g.number(np.inf, x.dtype), dtype=BOOL)


def _isinf(g: Graph[N], result: Abstract, x: N) -> N:
    if x.dtype.kind != "f":
        return g.broadcast(g.number(False, BOOL), x.shape)
    return g.map("equal", g.map("abs", x), g.number(np.inf, x.dtype), dtype=BOOL)


def _isnan(g: Graph[N], result: Abstract, x: N) -> N:
    return g.map("not_equal", x, x, dtype=BOOL)


def _signbit(g: Graph[N], result: Abstract, x: N) -> N:
    if x.dtype.kind != "f":
        return g.map("less", x, g.number(0, x.dtype), dtype=BOOL)
    signed = g.map("copysign", g.number(1, x.dtype), x)
    return g.map("less", signed, g.number(0, x.dtype), dtype=BOOL)


ISFINITE = Constant(
    "isfinite",
    np.isfinite,
    notation=call("isfinite"),
    domains=(Reals(),),
    lower=_isfinite,
    doc="Whether x is neither infinite nor NaN, elementwise. A complex number is if both of its parts are.",
)
ISINF = Constant(
    "isinf",
    np.isinf,
    notation=call("isinf"),
    domains=(Reals(),),
    lower=_isinf,
    doc="Whether x is an infinity of either sign, elementwise. A complex number is if one of its parts is.",
)
ISNAN = Constant(
    "isnan",
    np.isnan,
    notation=call("isnan"),
    domains=(Reals(),),
    lower=_isnan,
    doc="Whether x is NaN, elementwise. A complex number is if one of its parts is.",
)
SIGNBIT = Constant(
    "signbit",
    np.signbit,
    notation=call("signbit"),
    domains=(Reals(),),
    lower=_signbit,
    doc="Whether the sign bit of x is set, elementwise: true for negative numbers and for -0.0.",
)

equal = binary(EQUAL)
not_equal = binary(NOT_EQUAL)
less = binary(LESS)
less_equal = binary(LESS_EQUAL)
greater = binary(GREATER)
greater_equal = binary(GREATER_EQUAL)
logical_and = binary(LOGICAL_AND)
logical_or = binary(LOGICAL_OR)
logical_xor = binary(LOGICAL_XOR)
logical_not = unary(LOGICAL_NOT)
bitwise_and = binary(BITWISE_AND)
bitwise_or = binary(BITWISE_OR)
bitwise_xor = binary(BITWISE_XOR)
bitwise_invert = unary(BITWISE_INVERT)
bitwise_left_shift = binary(BITWISE_LEFT_SHIFT)
bitwise_right_shift = binary(BITWISE_RIGHT_SHIFT)
isfinite = unary(ISFINITE)
isinf = unary(ISINF)
isnan = unary(ISNAN)
signbit = unary(SIGNBIT)
