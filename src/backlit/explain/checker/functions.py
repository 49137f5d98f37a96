"""Elementary functions of ranges: what they give holds every value that the function takes there.

They stand on decimal's exp, ln and sqrt, which round correctly, so that one unit outward encloses; the others are
made of these, or are power series whose rest is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from .ranges import DOWN, NEAR, ONE, UP, ZERO, OutsideError, Range, VagueError, between, rational, sign  # noqa: TID252


def exp(x: Range) -> Range:
    if x.exact == 0:
        return ONE  # below: decimal's exp and ln are correctly rounded, so one unit outward encloses
    return between(max(DOWN.next_minus(NEAR.exp(x.lo)), Decimal(0)), UP.next_plus(NEAR.exp(x.hi)))


def log(x: Range) -> Range:
    if sign(x) <= 0:
        raise OutsideError("the logarithm of a number that is not above zero")
    return ZERO if x.exact == 1 else between(DOWN.next_minus(NEAR.ln(x.lo)), UP.next_plus(NEAR.ln(x.hi)))


def sqrt(x: Range) -> Range:
    if x.exact == 0:
        return ZERO
    if sign(x) < 0:
        raise OutsideError("the square root of a negative number")
    if x.exact is not None:
        n, d = math.isqrt(x.exact.numerator), math.isqrt(x.exact.denominator)
        if n * n == x.exact.numerator and d * d == x.exact.denominator:
            return rational(n, d)
    return between(DOWN.next_minus(NEAR.sqrt(x.lo)), UP.next_plus(NEAR.sqrt(x.hi)))


def series(first: Range, ratio: Callable[[int], Range]) -> Range:
    """first + first·ratio(1) + first·ratio(1)·ratio(2) + …, where from some k on |ratio(k)| ≤ 1/2 for good.

    Once that is so, all that is left out is at most as large as the last term.
    """
    if first.exact == 0:
        return ZERO
    total = term = between(first.lo, first.hi)
    for k in range(1, 100_000):
        factor = ratio(k)
        term = term * factor
        total = total + term
        if factor.most <= Decimal("0.5") and term.most <= total.most.scaleb(-DOWN.prec - 1, UP):
            return total + between(term.most.copy_negate(), term.most)
    raise VagueError("a series converges too slowly")


def expm1(x: Range) -> Range:
    if x.most > Decimal("0.5"):
        return exp(x) - 1
    return series(x, lambda k: x / (k + 1))


def log1p(x: Range) -> Range:
    if x.most > Decimal("0.5"):
        return log(x + 1)
    z = x / (x + 2)  # log((1 + z) / (1 - z)) = 2 (z + z³/3 + …), |z| ≤ 1/3
    square = z * z
    return series(z, lambda k: square * rational(2 * k - 1, 2 * k + 1)) * 2


def small_atan(x: Range) -> Range:
    square = -(x * x)
    return series(x, lambda k: square * rational(2 * k - 1, 2 * k + 1))


def atan(x: Range) -> Range:
    times = 1
    while x.most > Decimal("0.5"):  # tan(t/2) = tan t / (1 + sqrt(1 + tan² t))
        x, times = x / (sqrt(x * x + 1) + 1), times * 2
    return small_atan(x) * times


_PI: dict[int, Range] = {}


def pi() -> Range:
    if DOWN.prec not in _PI:  # Machin's formula
        _PI[DOWN.prec] = small_atan(rational(1, 5)) * 16 - small_atan(rational(1, 239)) * 4
    return _PI[DOWN.prec]


def sin(x: Range, quarters: int = 0) -> Range:
    """The sine of x + quarters·π/2."""
    if x.exact == 0:
        return (ZERO, ONE, ZERO, -ONE)[quarters % 4]
    if x.most > Decimal("0.8"):
        turns = int((NEAR.divide(x.lo, (pi() / 2).lo)).to_integral_value())
        x, quarters = x - pi() / 2 * turns, quarters + turns
    if x.most > 1:
        raise VagueError("the angle is not known well enough")
    square = -(x * x)
    if quarters % 2:
        y = series(ONE, lambda k: square / (2 * k * (2 * k - 1)))
    else:
        y = series(x, lambda k: square / (2 * k * (2 * k + 1)))
    return -y if quarters % 4 >= 2 else y


def cos(x: Range) -> Range:
    return sin(x, 1)


def erf(x: Range) -> Range:
    if UP.multiply(x.most, x.most) < min(
        900, 2.4 * DOWN.prec + 10
    ):  # 2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!: all terms of one sign
        square = x * x
        return series(x, lambda k: square * 2 / (2 * k + 1)) * exp(-square) * 2 / sqrt(pi())
    if x.lo < 0 < x.hi:
        raise VagueError("the argument of erf is not known well enough")
    size = between(min(x.lo.copy_abs(), x.hi.copy_abs()), x.most)  # 0 < erfc(x) < exp(-x²)
    y = ONE - between(Decimal(0), exp(-(size * size)).hi)
    return y if x.lo > 0 else -y


def power(a: Range, b: Range) -> Range:
    if b.exact is not None and b.exact.denominator == 1:
        n = b.exact.numerator
        if n < 0:
            return ONE / power(a, -b)
        if a.exact in (0, 1, -1):
            return Range(a.exact ** (n % 2 or 2)) if a.exact is not None and n else ONE
        if n <= 64:
            y = ONE
            for _ in range(n):
                y = y * a
            return y
        return exp(log(a) * b) if sign(a) > 0 else exp(log(-a) * b) * (-1 if n % 2 else 1)
    if a.exact == 0 and sign(b) > 0:
        return ZERO
    if sign(a) < 0:
        raise OutsideError("a negative number to a power that is not whole")
    return exp(log(a) * b)


def whole(x: Range, rounded: Callable[[Any], int]) -> Range:
    """`floor` and its like, where all of the range is rounded to one number."""
    if x.exact is not None:
        return rational(rounded(x.exact))
    if x.most.adjusted() > 400 or rounded(x.lo) != rounded(x.hi):
        raise VagueError("it stands at a jump, and which side it is on cannot be told")
    return rational(rounded(x.lo))


def sigmoid(x: Range) -> Range:
    return ONE / (exp(-x) + 1)


def tanh(x: Range) -> Range:
    grown = expm1(x * 2 if x.lo < 1 else -(x * 2))
    return grown / (grown + 2) if x.lo < 1 else -(grown / (grown + 2))


def sinh(x: Range) -> Range:
    if x.hi < 0:
        return -sinh(-x)
    grown = expm1(x)
    return (grown + grown / (grown + 1)) / 2


def cosh(x: Range) -> Range:
    return (exp(x) + exp(-x)) / 2


def asinh(x: Range) -> Range:
    return -asinh(-x) if x.hi < 0 else log1p(x + x * x / (sqrt(x * x + 1) + 1))


def softplus(x: Range) -> Range:
    return log1p(exp(x)) if x.lo < 1 else x + log1p(exp(-x))


def asin(x: Range) -> Range:
    return pi() / 2 * sign(x) if x.exact in (1, -1) else atan(x / sqrt((ONE - x) * (x + 1)))


def acos(x: Range) -> Range:
    return pi() if x.exact == -1 else atan(sqrt((ONE - x) / (x + 1))) * 2


def atan2(a: Range, b: Range) -> Range:
    if sign(b) > 0:
        return atan(a / b)
    if sign(a) == 0:
        raise VagueError("the angle of a point at height 0 depends on the sign of that zero, which is not kept")
    return pi() / 2 * sign(a) - atan(b / a)
