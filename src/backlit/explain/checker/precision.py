"""Deciding with as many digits as it takes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

from .ranges import DOWN, NEAR, UP, OutsideError, Range, VagueError  # noqa: TID252

PRECISIONS = 40, 160, 640  # decimal digits; more are used only where fewer do not decide

T = TypeVar("T")


class StuckError(ArithmeticError):
    """A step that cannot be decided."""

    def __init__(self, node: int, reason: ArithmeticError) -> None:
        self.node = node
        self.reason = reason
        self.final = isinstance(reason, OutsideError)
        told = isinstance(reason, (VagueError, OutsideError))
        super().__init__(str(reason) if told else "its numbers are too large or too small to enclose")


def with_enough_digits(task: Callable[[], T]) -> T:
    """What a task gives, done with more and more digits until they decide. Raises StuckError if none do."""
    for precision in PRECISIONS:
        DOWN.prec = UP.prec = NEAR.prec = precision
        try:
            return task()
        except StuckError as stuck:
            if stuck.final or precision == PRECISIONS[-1]:
                raise
    raise AssertionError


def near(recorded: Fraction, right: Range, margin: Decimal) -> bool:
    """Whether a number lies in a range or not further from it than the margin."""
    number = Range(recorded)
    return DOWN.subtract(right.lo, margin) <= number.hi and number.lo <= UP.add(right.hi, margin)


def shown(x: Fraction | Range) -> str:
    """A number as text, to the digits of a float64."""
    exact = x if isinstance(x, Fraction) else x.exact
    if exact is not None and abs(exact) < 1 << 1023:
        return repr(float(exact))
    found = Range(exact) if exact is not None else x
    assert isinstance(found, Range)
    middle = NEAR.divide(NEAR.add(found.lo, found.hi), Decimal(2))
    return repr(float(middle)) if middle.copy_abs() < Decimal("1e308") else f"{middle:.17g}"
