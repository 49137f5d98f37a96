"""The slope of a function along a line, by nudging: an estimate, an error bar, and whether there is a kink.

A step that is too long sees the curve of the function, one that is too short sees only rounding. So the
step starts long and shrinks, the limit for a step of zero is extrapolated at each length, and the length is
kept at which the extrapolation and the rounding leave the least doubt. Nothing is assumed about the scale
on which the function varies.

Sources: extrapolation with an error bar, Ridders 1982, Advances in Engineering Software 4(2), 75; steps
that balance truncation against rounding, Curtis and Reid 1974, IMA J. Appl. Math. 13, 121; rounding
measured by a table of differences, Hamming 1971, and Moré and Wild 2011, SIAM J. Sci. Comput. 33, 1292.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.numbers import quietly

Floats = np.ndarray[Any, np.dtype[np.float64]]

RATIO, LATER_RATIO = 1.7, 4.0  # not 2: a period of the function would be met by all steps alike
SHORT, MANY, COLUMNS = 4, 40, 5  # rows at least, rows at most, orders of extrapolation
FIRST = 0.113  # of the scale of what is nudged


@dataclass(frozen=True, slots=True)
class Moved:
    """What a function does when its argument is moved along a line.

    at: how far the argument really moved. change: by how much the results changed. rounding: the spread of
    the rounding error that results of this size must have at least.
    """

    at: float
    change: Floats
    rounding: Floats


Line = Callable[[float], Moved]


@dataclass(frozen=True, slots=True)
class Row:
    """One length of the step: how the results changed forward and backward, and their rounding error."""

    step: float
    forward: Floats
    backward: Floats
    noise: Floats


@dataclass(frozen=True, slots=True)
class Slope:
    """The slopes of m results along a line.

    value, error: the estimate and a bar for its error (infinite where no step gave finite numbers). step:
    the length at which the doubt was least. kink: by how much the slopes of the two sides differ there; 0
    if they agree. secant: the steepest slope seen between the point and one at least that far away. rows:
    all lengths tried, the longest first.
    """

    value: Floats
    error: Floats
    step: Floats
    kink: Floats
    secant: Floats
    rows: tuple[Row, ...]

    @property
    def evaluations(self) -> int:
        """How many evaluations of the function it took."""
        return 2 * len(self.rows)


def slope(line: Line, first: float, noise: Floats | float = 0.0) -> Slope:
    """The slope at 0 of what `line` describes, by steps that shrink from `first`.

    noise: the spread of the rounding error of the results, where it is known to exceed that of one rounding.
    Cost: about 8 to 16 evaluations for a smooth function, at most 80.
    """
    return quietly(_slope, line, first, noise)  # type: ignore[no-any-return]


def _slope(line: Line, first: float, noise: Floats | float) -> Slope:
    rows: list[Row] = []
    table: list[Floats] = []  # the last row of the tableau
    bend: list[Floats] = []  # how much the one-sided slopes differ, row by row
    jumps: list[Floats] = []  # the same, extrapolated once to a step of zero
    best = _Best()
    previous: Floats | None = None
    kink: Floats | float = 0.0
    target = first
    for i in range(MANY):
        up, down = line(target), line(-target)
        target /= RATIO if i < 3 * SHORT else LATER_RATIO
        h = (up.at - down.at) / 2
        if not math.isfinite(h) or (rows and h >= rows[-1].step):
            continue  # too long for the dtype, or not to be told from the step before
        if h <= 0 or up.at <= 0 or down.at >= 0:
            break  # too short to move the argument at all
        doubt = np.maximum(noise, np.maximum(up.rounding, down.rounding))
        rows.append(Row(h, up.change, down.change, doubt))
        ahead, behind = up.change / up.at, down.change / down.at
        quotient = (up.change - down.change) / (up.at - down.at)
        best.saw(quotient, 2 * doubt / h)
        table = _extrapolated(table, quotient, rows)
        bend.append(ahead - behind)
        jumps.append(_to_zero(bend, rows, odd=False))
        jump = _to_zero(jumps, rows, odd=True) if len(rows) > 2 else np.full_like(ahead, np.inf)
        value, spread = _steadiest(table)
        if previous is not None:
            spread = np.maximum(spread, np.abs(value - previous))
            # a kink once seen is gone only when it would be seen again: where rounding hides it, it is
            # still there
            size, unseen = np.abs(jump), 12 * doubt / h
            kink = np.where(size > unseen, size, np.where(size + unseen < kink / 2, 0.0, kink))
            best.offer(value, spread + 2 * doubt / h + kink / 2, rows, kink)
        if len(table) > 1:
            previous = value
        if len(rows) >= SHORT and best.settled(2 * doubt / h):
            break
    return best.slope(tuple(rows))


class _Best:
    """The estimates at all lengths of the step, each with its error bar; the one with the smallest is the result."""

    def __init__(self) -> None:
        self.quotients: list[Floats] = []
        self.candidates: list[_Candidate] = []

    def saw(self, quotient: Floats, rounding: Floats) -> None:
        """A new difference quotient, at a shorter step.

        From an estimate it may differ by as much as those at longer steps did; if by more, the function
        varies on a scale that the estimate did not see.
        """
        for c in self.candidates:
            off = np.abs(quotient - c.value) - c.apart - 2 * rounding
            c.error = np.where(off > c.error, off, c.error)
        self.quotients.append(quotient)

    def offer(self, value: Floats, error: Floats, rows: list[Row], kink: Floats) -> None:
        row = rows[-1]
        error = np.where(np.isnan(error) | np.isnan(value), np.inf, error)
        kink = np.where(kink > 40 * row.noise / row.step, kink, 0.0)
        apart = np.fmax.reduce([np.abs(q - value) for q in self.quotients])  # ignores NaN
        secant = np.max([np.maximum(np.abs(r.forward), np.abs(r.backward)) / r.step for r in rows], axis=0)
        self.candidates.append(_Candidate(value, error, kink, secant, apart, row.step))

    def settled(self, rounding: Floats) -> bool:
        """Whether shorter steps cannot do better, since rounding alone is worse than what was found."""
        return bool(self.candidates) and bool(np.all(np.min([c.error for c in self.candidates], axis=0) <= rounding))

    def slope(self, rows: tuple[Row, ...]) -> Slope:
        if not self.candidates:
            nothing = np.full(rows[0].forward.shape if rows else (1,), np.nan)
            return Slope(nothing, np.full_like(nothing, np.inf), nothing, nothing * 0, nothing * 0, rows)
        which = np.argmin([c.error for c in self.candidates], axis=0)

        def chosen(parts: list[Floats]) -> Floats:
            picked: Floats = np.take_along_axis(np.stack(parts), which[None], axis=0)[0]
            return picked

        error = chosen([c.error for c in self.candidates])
        kink, secant = chosen([c.kink for c in self.candidates]), chosen([c.secant for c in self.candidates])
        # a bend that is a small part of the slope, or of the doubt, is what the error bar is for
        kink = np.where((kink > 0.3 * error) & (kink > 1e-4 * secant), kink, 0.0)
        value = chosen([c.value for c in self.candidates])
        step = chosen([np.full_like(value, c.step) for c in self.candidates])
        return Slope(value, error, step, kink, secant, rows)


@dataclass(slots=True)
class _Candidate:
    value: Floats
    error: Floats
    kink: Floats
    secant: Floats
    apart: Floats  # how far the difference quotients at this and longer steps were from the value
    step: float


def _extrapolated(table: list[Floats], quotient: Floats, rows: list[Row]) -> list[Floats]:
    """The next row of Neville's tableau in h², for steps that need not stand in one ratio."""
    row = [quotient]
    for j, above in enumerate(table[:COLUMNS]):
        factor = (rows[-2 - j].step / rows[-1].step) ** 2 - 1
        row.append(row[j] + (row[j] - above) / factor)
    return row


def _steadiest(row: list[Floats]) -> tuple[Floats, Floats]:
    """From a row of the tableau the value that differs least from its neighbours, and by how much it does."""
    value, spread = row[0], np.full_like(row[0], np.inf)
    for here, before in zip(row[1:], row, strict=False):
        difference = np.abs(here - before)
        better = difference < spread
        value, spread = np.where(better, here, value), np.where(better, difference, spread)
    return value, spread


def _to_zero(series: list[Floats], rows: list[Row], odd: bool) -> Floats:
    """The limit for a step of zero of what shrinks with the step (if `odd`, of the rest, with its cube)."""
    if len(series) < 2 or (odd and len(rows) < 3):
        return series[-1]
    a, b = rows[-2].step, rows[-1].step
    if not odd:
        return series[-1] + (series[-1] - series[-2]) / (a / b - 1)
    left, right = rows[-3].step / b * (a / b) * (rows[-3].step / b + a / b), (a / b) * (a / b + 1)
    return series[-1] + (series[-1] - series[-2]) / (left / right - 1)


def rounding_of(changes: Floats) -> Floats:
    """The spread of the rounding error of a function, from its changes at points evenly and closely spaced.

    changes: (points, m) → (m,). Differences of a smooth function fade with their order, those of rounding
    errors grow as the square roots of central binomial coefficients do; the first order at which they do so
    tells. NaN counts as no error.
    """
    changes = np.where(np.isfinite(changes), changes, 0.0)
    size = np.max(np.abs(changes), axis=0)
    changes = changes / np.where(size > 0, size, 1.0)  # squares would overflow, or vanish
    levels = []
    factor = 1.0
    for k in range(1, len(changes)):
        changes = np.diff(changes, axis=0)
        factor *= k / (2 * (2 * k - 1))  # (k!)² / (2k)!
        levels.append(np.sqrt(factor * np.mean(changes * changes, axis=0)))
    found: Floats = levels[-1]
    for k in range(len(levels) - 3, -1, -1):
        three = np.stack(levels[k : k + 3])
        steady = np.max(three, axis=0) <= 4 * np.min(three, axis=0)
        found = np.where(steady, levels[k], found)
    scaled: Floats = found * size
    return scaled


def length_of(x: Floats) -> float:
    """The Euclidean length of a vector, without overflow.

    >>> length_of(np.array([3e200, 4e200])) < 6e200
    True
    """
    largest = float(np.max(np.abs(x), initial=0.0))
    return largest * float(np.linalg.norm(x / largest)) if 0 < largest < math.inf else largest


def shift(x: Any, h: float) -> tuple[Any, float]:
    """A number moved by about h, as its dtype can hold it, and by how much it really moved.

    Away from zero the step is rounded so that x + h and x - h are both exact, for |h| up to |x|.

    >>> moved, h = shift(np.float32(1.0), 0.1)
    >>> moved - np.float32(1.0) == h
    np.True_
    """
    kind = type(x)
    length = kind(abs(h))
    if abs(x) >= length:
        length = (abs(x) + length) - abs(x)
    moved = x + length if h > 0 else x - length
    return moved, float(moved) - float(x)


def scale_of(x: Any) -> float:
    """The length on which a number may be nudged: its own size; 1 for zero.

    >>> scale_of(np.float64(-3.0)), scale_of(np.float32(0.0))
    (3.0, 1.0)
    """
    size = abs(float(x))
    if size == 0 or not math.isfinite(size):
        return 1.0
    return max(size, 16 * float(np.finfo(type(x)).smallest_normal))
