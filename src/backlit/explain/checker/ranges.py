"""Numbers of which it is known between what two they lie, or, where they are rational, exactly what they are."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, DivisionByZero, InvalidOperation
from fractions import Fraction
from typing import Any

MOST_BITS = 2048  # of a fraction; longer ones become intervals


class VagueError(ArithmeticError):
    """The interval is too wide to decide; with more digits it may be narrow enough."""


class OutsideError(ArithmeticError):
    """There is no such number."""


_WIDEST: dict[str, Any] = {"Emin": -(10**12), "Emax": 10**12, "traps": [InvalidOperation, DivisionByZero]}
DOWN, UP, NEAR = (
    Context(rounding=ROUND_FLOOR, **_WIDEST),
    Context(rounding=ROUND_CEILING, **_WIDEST),
    Context(**_WIDEST),
)


class Range:
    """A number that lies between `lo` and `hi`; or, where it is rational and not too long, is `exact`."""

    __slots__ = ("_hi", "_lo", "exact")

    def __init__(self, exact: Fraction | None, lo: Decimal | None = None, hi: Decimal | None = None) -> None:
        self.exact, self._lo, self._hi = exact, lo, hi
        if exact is not None and exact.numerator.bit_length() + exact.denominator.bit_length() > MOST_BITS:
            self._lo, self._hi, self.exact = self.lo, self.hi, None

    @property
    def lo(self) -> Decimal:
        if self._lo is None:
            assert self.exact is not None
            self._lo = DOWN.divide(Decimal(self.exact.numerator), Decimal(self.exact.denominator))
        return self._lo

    @property
    def hi(self) -> Decimal:
        if self._hi is None:
            assert self.exact is not None
            self._hi = UP.divide(Decimal(self.exact.numerator), Decimal(self.exact.denominator))
        return self._hi

    @property
    def most(self) -> Decimal:
        """The largest absolute value in it."""
        return max(self.lo.copy_abs(), self.hi.copy_abs())

    def __neg__(self) -> Range:
        return Range(-self.exact) if self.exact is not None else between(self.hi.copy_negate(), self.lo.copy_negate())

    def __add__(self, other: Range | int) -> Range:
        other = rational(other) if isinstance(other, int) else other
        if self.exact is not None and other.exact is not None:
            return Range(self.exact + other.exact)
        return between(DOWN.add(self.lo, other.lo), UP.add(self.hi, other.hi))

    def __sub__(self, other: Range | int) -> Range:
        return self + -other

    def __mul__(self, other: Range | int) -> Range:
        other = rational(other) if isinstance(other, int) else other
        if self.exact is not None and other.exact is not None:
            return Range(self.exact * other.exact)
        if self.exact == 0 or other.exact == 0:
            return ZERO
        pairs = [(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return between(min(DOWN.multiply(a, b) for a, b in pairs), max(UP.multiply(a, b) for a, b in pairs))

    def __truediv__(self, other: Range | int) -> Range:
        other = rational(other) if isinstance(other, int) else other
        if other.exact == 0:
            raise OutsideError("a division by zero")
        if self.exact is not None and other.exact is not None:
            return Range(self.exact / other.exact)
        if other.lo <= 0 <= other.hi:
            raise VagueError("the divisor cannot be told from zero")
        pairs = [(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return between(min(DOWN.divide(a, b) for a, b in pairs), max(UP.divide(a, b) for a, b in pairs))


def between(lo: Decimal, hi: Decimal) -> Range:
    return Range(None, lo, hi)


def rational(numerator: int, denominator: int = 1) -> Range:
    return Range(Fraction(numerator, denominator))


ZERO, ONE, HALF = rational(0), rational(1), rational(1, 2)


def order(a: Range, b: Range) -> int:
    """1, 0 or -1, as a is above b, equal to it, or below."""
    if a is b:
        return 0
    if a.exact is not None and b.exact is not None:
        return (a.exact > b.exact) - (a.exact < b.exact)
    if a.lo > b.hi or a.hi < b.lo:
        return 1 if a.lo > b.hi else -1
    raise VagueError("it stands at a kink or jump, and which side it is on cannot be told")


def sign(x: Range) -> int:
    return order(x, ZERO)
