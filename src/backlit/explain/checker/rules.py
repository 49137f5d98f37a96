"""The ops: what each one's value is, and its partial by each input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .functions import (  # noqa: TID252
    acos,
    asin,
    asinh,
    atan,
    atan2,
    cos,
    cosh,
    erf,
    exp,
    expm1,
    log,
    log1p,
    pi,
    power,
    sigmoid,
    sin,
    sinh,
    softplus,
    sqrt,
    tanh,
    whole,
)
from .ranges import HALF, ONE, ZERO, Range, VagueError, between, order, rational, sign  # noqa: TID252

# -- the ops: the value, and the partial by each input as a function of the value and the inputs -------------
# None for a partial: nothing flows there. None in place of its rule: it has no derivative at all.

Rule = Callable[..., Range | None]


def above(x: Range) -> bool:
    return sign(x) > 0


def truth(x: Range) -> bool:
    return sign(x) != 0


def flag(x: bool) -> Range:
    return ONE if x else ZERO


def chosen(x: bool) -> Range | None:
    return ONE if x else None


def zero(*_: Range) -> Range:
    return ZERO


def one(*_: Range) -> Range:
    return ONE


def size(x: Range) -> Range:
    return x if sign(x) >= 0 else -x


def gelu(x: Range) -> Range:
    return x * (erf(x / sqrt(rational(2))) + 1) / 2


def gelu_slope(y: Range, x: Range) -> Range:
    return (erf(x / sqrt(rational(2))) + 1) / 2 + x * exp(-(x * x) / 2) / sqrt(pi() * 2)


CUBIC = rational(44715, 1_000_000)


def gelu_share(x: Range) -> Range:
    return sigmoid(sqrt(rational(2) / pi()) * (x + x * x * x * CUBIC) * 2)


def gelu_tanh_slope(y: Range, x: Range) -> Range:
    share = gelu_share(x)
    return share + x * share * (ONE - share) * sqrt(rational(2) / pi()) * (x * x * CUBIC * 3 + 1) * 2


def copysign(a: Range, b: Range) -> Range:
    if sign(b) == 0:
        raise VagueError("the sign of a zero is not kept")
    return size(a) * sign(b)


def by_base(y: Range, a: Range, b: Range) -> Range:
    return ZERO if b.exact == 0 else b * power(a, b - 1)


def by_exponent(y: Range, a: Range, b: Range) -> Range:
    return ZERO if a.exact == 0 and sign(b) >= 0 else y * log(a)


def tie(a: Range, b: Range, way: int) -> Range | None:
    return HALF if order(a, b) == 0 else chosen(order(a, b) == way)


def clip(x: Range, low: Range, high: Range) -> Range:
    raised = x if order(x, low) >= 0 else low
    return raised if order(raised, high) <= 0 else high


def inside(x: Range, low: Range, high: Range) -> bool:
    return order(x, low) >= 0 and order(x, high) <= 0


RULES: dict[str, tuple[Callable[..., Range], tuple[Rule | None, ...]]] = {
    "add": (lambda a, b: a + b, (one, one)),
    "subtract": (lambda a, b: a - b, (one, lambda y, a, b: -ONE)),
    "multiply": (lambda a, b: a * b, (lambda y, a, b: b, lambda y, a, b: a)),
    "divide": (lambda a, b: a / b, (lambda y, a, b: ONE / b, lambda y, a, b: -(y / b))),
    "negative": (lambda x: -x, (lambda y, x: -ONE,)),
    "identity": (lambda x: x, (one,)),
    "stop_gradient": (lambda x: x, (None,)),
    "square": (lambda x: x * x, (lambda y, x: x * 2,)),
    "reciprocal": (lambda x: ONE / x, (lambda y, x: -(y * y),)),
    "pow": (power, (by_base, by_exponent)),
    "sqrt": (sqrt, (lambda y, x: HALF / y,)),
    "hypot": (
        lambda a, b: sqrt(a * a + b * b),
        (lambda y, a, b: a / y if y.exact != 0 else ZERO, lambda y, a, b: b / y if y.exact != 0 else ZERO),
    ),
    "exp": (exp, (lambda y, x: y,)),
    "expm1": (expm1, (lambda y, x: exp(x),)),
    "log": (log, (lambda y, x: ONE / x,)),
    "log1p": (log1p, (lambda y, x: ONE / (x + 1),)),
    "log2": (lambda x: log(x) / log(rational(2)), (lambda y, x: ONE / (x * log(rational(2))),)),
    "log10": (lambda x: log(x) / log(rational(10)), (lambda y, x: ONE / (x * log(rational(10))),)),
    "logaddexp": (lambda a, b: a + softplus(b - a), (lambda y, a, b: sigmoid(a - b), lambda y, a, b: sigmoid(b - a))),
    "sin": (sin, (lambda y, x: cos(x),)),
    "cos": (cos, (lambda y, x: -sin(x),)),
    "tan": (lambda x: sin(x) / cos(x), (lambda y, x: y * y + 1,)),
    "asin": (asin, (lambda y, x: ONE / sqrt((ONE - x) * (x + 1)),)),
    "acos": (acos, (lambda y, x: -ONE / sqrt((ONE - x) * (x + 1)),)),
    "atan": (atan, (lambda y, x: ONE / (x * x + 1),)),
    "atan2": (atan2, (lambda y, a, b: b / (a * a + b * b), lambda y, a, b: -a / (a * a + b * b))),
    "sinh": (sinh, (lambda y, x: cosh(x),)),
    "cosh": (cosh, (lambda y, x: sinh(x),)),
    "tanh": (tanh, (lambda y, x: ONE - y * y,)),
    "asinh": (asinh, (lambda y, x: ONE / sqrt(x * x + 1),)),
    "acosh": (lambda x: log1p(x - 1 + sqrt((x - 1) * (x + 1))), (lambda y, x: ONE / sqrt((x - 1) * (x + 1)),)),
    "atanh": (lambda x: log1p(x * 2 / (ONE - x)) / 2, (lambda y, x: ONE / ((ONE - x) * (x + 1)),)),
    "sigmoid": (sigmoid, (lambda y, x: y * (ONE - y),)),
    "softplus": (softplus, (lambda y, x: sigmoid(x),)),
    "silu": (lambda x: x * sigmoid(x), (lambda y, x: sigmoid(x) + y * sigmoid(-x),)),
    "erf": (erf, (lambda y, x: exp(-(x * x)) * 2 / sqrt(pi()),)),
    "gelu": (gelu, (gelu_slope,)),
    "gelu_tanh": (lambda x: x * gelu_share(x), (gelu_tanh_slope,)),
    "relu": (lambda x: x if above(x) else ZERO, (lambda y, x: chosen(above(x)),)),
    "leaky_relu": (
        lambda x, slope: x if above(x) else slope * x,
        (lambda y, x, slope: ONE if above(x) else slope, lambda y, x, slope: ZERO if above(x) else x),
    ),
    "elu": (
        lambda x, alpha: x if above(x) else alpha * expm1(x),
        (lambda y, x, alpha: ONE if above(x) else alpha * exp(x), lambda y, x, alpha: ZERO if above(x) else expm1(x)),
    ),
    "abs": (size, (lambda y, x: rational(sign(x)),)),
    "maximum": (
        lambda a, b: a if order(a, b) >= 0 else b,
        (lambda y, a, b: tie(a, b, 1), lambda y, a, b: tie(a, b, -1)),
    ),
    "minimum": (
        lambda a, b: a if order(a, b) <= 0 else b,
        (lambda y, a, b: tie(a, b, -1), lambda y, a, b: tie(a, b, 1)),
    ),
    "where": (
        lambda c, a, b: a if truth(c) else b,
        (None, lambda y, c, a, b: chosen(truth(c)), lambda y, c, a, b: chosen(not truth(c))),
    ),
    "clip": (
        clip,
        (
            lambda y, x, low, high: chosen(inside(x, low, high)),
            lambda y, x, low, high: chosen(order(x, low) < 0 and order(low, high) <= 0),
            lambda y, x, low, high: chosen(order(x, high) > 0 or order(low, high) > 0),
        ),
    ),
    "copysign": (copysign, (lambda y, a, b: copysign(ONE, b) * sign(a), zero)),
    "sign": (lambda x: rational(sign(x)), (zero,)),
    "floor": (lambda x: whole(x, math.floor), (zero,)),
    "ceil": (lambda x: whole(x, math.ceil), (zero,)),
    "trunc": (lambda x: whole(x, math.trunc), (zero,)),
    "round": (lambda x: whole(x, round), (zero,)),
    "floor_divide": (lambda a, b: whole(a / b, math.floor), (zero, zero)),
    "remainder": (
        lambda a, b: a - b * whole(a / b, math.floor),
        (one, lambda y, a, b: -whole(a / b, math.floor)),
    ),
    "greater": (lambda a, b: flag(order(a, b) > 0), (None, None)),
    "greater_equal": (lambda a, b: flag(order(a, b) >= 0), (None, None)),
    "less": (lambda a, b: flag(order(a, b) < 0), (None, None)),
    "less_equal": (lambda a, b: flag(order(a, b) <= 0), (None, None)),
    "equal": (lambda a, b: flag(order(a, b) == 0), (None, None)),
    "not_equal": (lambda a, b: flag(order(a, b) != 0), (None, None)),
    "logical_and": (lambda a, b: flag(truth(a) and truth(b)), (None, None)),
    "logical_or": (lambda a, b: flag(truth(a) or truth(b)), (None, None)),
    "logical_xor": (lambda a, b: flag(truth(a) != truth(b)), (None, None)),
    "logical_not": (lambda x: flag(not truth(x)), (None,)),
}
LEAVES = {"variable", "constant", "given"}
OF_MANY = {"sum", "dot", "prod", "max", "min", "logsumexp"}  # dot: a1, b1, a2, b2, … -> a1·b1 + a2·b2 + …
MAGNIFY = {"sigmoid", "tanh", "silu", "gelu", "gelu_tanh", "erf", "softplus", "logaddexp", "pow"} | OF_MANY


def has_derivative(op: str, index: int) -> bool:
    """Whether anything can flow to an input of this op."""
    return op in OF_MANY or (op in RULES and RULES[op][1][index] is not None)


def takes(op: str, count: int) -> bool:
    """Whether the op can have so many inputs."""
    if op in OF_MANY:
        return count % 2 == 0 if op == "dot" else count > 0 or op in ("sum", "prod")
    return count == (len(RULES[op][1]) if op in RULES else 0)


def value_of(op: str, xs: Sequence[Range]) -> Range:
    """The value of an op, computed from those of its inputs."""
    if op in RULES:
        return RULES[op][0](*xs)
    if op == "sum":
        return total(xs)
    if op == "dot":
        return total([a * b for a, b in zip(xs[::2], xs[1::2], strict=True)])
    if op == "prod":
        return running_products(xs)[-1]
    if op == "logsumexp":
        peak = max((x.hi for x in xs), default=ZERO.hi)
        about = between(peak, peak)
        return about + log(total([exp(x - about) for x in xs]))
    way = 1 if op == "max" else -1
    best = xs[0]
    for x in xs[1:]:
        best = x if order(x, best) == way else best
    return best


def partials_of(op: str, y: Range, xs: Sequence[Range], wanted: Sequence[bool]) -> list[Range | None]:
    """The partial by each input that is wanted; None where nothing flows."""
    if op in RULES:
        return [rule(y, *xs) if rule and want else None for rule, want in zip(RULES[op][1], wanted, strict=True)]
    if op == "sum":
        return [ONE] * len(xs)
    if op == "dot":
        return [xs[i ^ 1] for i in range(len(xs))]
    if op == "prod":
        before, behind = running_products(xs), running_products(xs[::-1])[::-1]
        return [before[i] * behind[i + 1] for i in range(len(xs))]
    if op == "logsumexp":
        return [exp(x - y) for x in xs]
    ties = [order(x, y) == 0 for x in xs]
    return [rational(1, sum(ties)) if tied else None for tied in ties]


def total(xs: Sequence[Range]) -> Range:
    """The sum of these."""
    y = ZERO
    for x in xs:
        y = y + x
    return y


def running_products(xs: Sequence[Range]) -> list[Range]:
    """The products of the first 0, 1, 2, … of these."""
    found = [ONE]
    for x in xs:
        found.append(found[-1] * x)
    return found
