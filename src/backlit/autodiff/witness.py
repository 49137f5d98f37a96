"""What nudging along one line has to say of a claimed derivative: right, wrong, or why it cannot tell.

A right derivative must never be called wrong. So a claim is wrong only if two searches for the slope, with
steps of different lengths, contradict it, agree with each other, and the remainder of Taylor's formula does
not take its side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backlit.autodiff.numerical import Nudged
from backlit.autodiff.slopes import Floats, Line, Row, Slope, slope
from backlit.core.numbers import quietly

RIGHT, WRONG, KINK = "right", "wrong", "kink"
INFINITE, EDGE, CONSTANT, NOISE, UNSTEADY = "infinite", "edge", "constant", "noise", "unsteady"
_RESOLVED = 0.05  # an error bar up to this part of the slope tells enough


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of one claim.

    finding: "right" or "wrong"; or what stands in the way of telling: a "kink", an "infinite" claim, an
    "edge" beyond which the function is not finite, a "constant" function, "noise", or "unsteady" findings
    that differ among themselves. claimed, value: the two slopes; bar: by how much they may differ. order:
    the power of the step with which Taylor's remainder shrinks; infinite where only rounding is left of it,
    None where it cannot be seen.
    """

    finding: str
    claimed: float
    value: float
    error: float
    bar: float
    order: float | None
    sides: tuple[float, float]  # the slopes behind and ahead
    jump: float  # by how much the result changes however short the step; 0 if it does not

    @property
    def ratio(self) -> float:
        """How many times too large the claim is."""
        return self.claimed / self.value if self.value else math.inf


class Witness:
    """The slope of one number along one line, found when first asked, against which claims are held.

    scale: the natural length of the line. noise: the spread of the rounding error of the number.
    """

    def __init__(self, nudged: Nudged, line: Line, scale: float, noise: Floats | float) -> None:
        self.nudged, self.line, self.scale, self.noise = nudged, line, scale, noise
        self.evaluations = 0

    @cached_property
    def _both(self) -> tuple[Slope, Slope]:
        first, natural = self.nudged.slope_at(self.line, self.scale, self.noise)
        self.evaluations += natural.evaluations + (first.evaluations if first is not natural else 0)
        return first, natural

    @property
    def first(self) -> Slope:
        """The slope, by steps that suit the line."""
        return self._both[0]

    @property
    def natural(self) -> Slope:
        """The slope, by steps shorter than the natural length of the line."""
        return self._both[1]

    @cached_property
    def second(self) -> Slope:
        """The slope again, by steps of other lengths around those that served best."""
        start = min(self.nudged.first * max(self.scale, 1.0), float(self.first.step[0]) * 6.1)
        found = slope(self.line, start, self.noise)
        self.evaluations += found.evaluations
        return found

    def shorter(self, off: float) -> list[Row]:
        """Steps shorter than those tried, while a slope that is off by so much still shows above rounding."""
        rows: list[Row] = []
        last = self.first.rows[-1]
        while len(rows) < 12 and off * last.step > 100 * float(last.noise[0]):
            moved = quietly(self.line, last.step / 3)
            self.evaluations += 1
            if not 0 < moved.at < last.step:
                break
            last = Row(moved.at, moved.change, -moved.change, np.maximum(self.noise, moved.rounding))
            rows.append(last)
        return rows

    def _may_hide(self, claimed: float) -> bool:
        """Whether what looks like noise may be the function itself, so fast that all steps skip over it."""
        epsilon, noise = self.nudged.epsilon, float(np.max(self.noise))
        size = max(self.nudged.size, float(self.first.secant[0]) * self.scale)
        large = noise > 1e3 * epsilon * size
        return large and abs(claimed) * self.scale * 512 * epsilon > 0.1 * noise

    def judge(self, claimed: float, doubt: Callable[[], float] = float) -> Judgement:
        """Hold a claimed slope against the nudged one. doubt: its own rounding error, asked if it matters."""
        found = self.first
        value, error = float(found.value[0]), float(found.error[0])
        bar = 3 * error + self.nudged.tolerance * abs(claimed)
        own = 0.0
        if math.isfinite(claimed) and abs(claimed - value) > bar:
            own = doubt()
            bar += 3 * own
        rows = list(found.rows)
        if math.isfinite(claimed) and math.isfinite(error) and abs(claimed - value) > bar:
            rows += self.shorter(abs(claimed - value))
        order = remainder_order(rows, claimed, own) if math.isfinite(claimed) else None
        finding = self._finding(claimed, bar, order, own, rows)
        return Judgement(finding, claimed, value, error, bar, order, _sides(found), _jump(found))

    def _finding(self, claimed: float, bar: float, order: float | None, own: float, rows: list[Row]) -> str:
        found = self.first
        if not math.isfinite(claimed):
            return INFINITE
        value, error, secant = float(found.value[0]), float(found.error[0]), float(found.secant[0])
        if not math.isfinite(error):
            return EDGE
        if found.kink[0] > 0:
            return KINK
        if abs(claimed - value) > bar:
            return self._contradiction(claimed, own, rows)
        if bar <= _RESOLVED * max(abs(claimed), abs(value), secant):
            return RIGHT if order is None or order > 1.3 else UNSTEADY
        if claimed == 0 and all(
            max(abs(row.forward[0]), abs(row.backward[0])) <= 4 * row.noise[0] for row in found.rows
        ):
            return CONSTANT
        return NOISE

    def _contradiction(self, claimed: float, own: float, rows: list[Row]) -> str:
        first, again = self.first, self.second
        if again.kink[0] > 0:
            return KINK
        close = abs(claimed - float(self.natural.value[0])) <= 3 * float(self.natural.error[0])
        if close or self._may_hide(claimed):
            return UNSTEADY
        apart = abs(float(first.value[0] - again.value[0]))
        together = apart <= 3 * float(first.error[0] + again.error[0])
        slack = self.nudged.tolerance * abs(claimed) + 3 * own
        contradicted = all(abs(claimed - float(s.value[0])) > 10 * float(s.error[0]) + slack for s in (first, again))
        denied = _taylor_denies(rows, claimed, abs(claimed - float(first.value[0])), own)
        return WRONG if together and contradicted and not denied else UNSTEADY


def _remainders(rows: Sequence[Row], claimed: float, doubt: float) -> list[tuple[float, float, float]]:
    """(step, remainder of Taylor's formula, its rounding error), the shortest step first."""
    found = []
    for row in reversed(rows):
        change = float(row.forward[0])
        left = abs(change - row.step * claimed)
        if math.isfinite(left):
            size = abs(change) + abs(row.step * claimed)
            found.append((row.step, left, 4 * float(row.noise[0]) + 4e-16 * size + 3 * doubt * row.step))
    return found


def remainder_order(rows: Sequence[Row], claimed: float, doubt: float = 0.0) -> float | None:
    """The power of h with which |f(x + h) - f(x) - h·claimed| shrinks, at the shortest steps that show it.

    2 or more for a right derivative, 1 for a wrong one; infinite where only rounding is left at all steps;
    None where the function itself moves by no more than its rounding error.
    """
    remainders = _remainders(rows, claimed, doubt)
    if not any(abs(float(row.forward[0])) > 20 * float(row.noise[0]) for row in rows):
        return None
    seen = [(h, left) for h, left, floor in remainders if left > 10 * floor][:6]
    if not seen:
        return math.inf
    h, left = seen[0]  # at shorter steps less than a straight line from here would leave: it is smooth below a kink
    if any(step < h and rest <= 10 * floor and left * step / h > 30 * floor for step, rest, floor in remainders):
        return math.inf
    if len(seen) < 3:
        return None
    x, y = np.log([h for h, _ in seen]), np.log([left for _, left in seen])
    return float(np.polyfit(x - x.mean(), y, 1)[0])


def _taylor_denies(rows: Sequence[Row], claimed: float, off: float, doubt: float) -> bool:
    """Whether the remainder gets smaller than it could if the claim were `off` by as much as it seems."""
    seen = [(h, left) for h, left, floor in _remainders(rows, claimed, doubt) if off * h > 20 * floor]
    return bool(seen) and seen[0][1] < 0.3 * off * seen[0][0]


def _sides(found: Slope) -> tuple[float, float]:
    """The slopes behind and ahead: at a kink in the limit, else as they are at the best step."""
    for row in found.rows:
        if row.step == found.step[0]:
            behind, ahead = 0.0 - float(row.backward[0]) / row.step, float(row.forward[0]) / row.step
            if found.kink[0] > 0 and math.isfinite(found.kink[0]):
                middle, half = float(found.value[0]), math.copysign(float(found.kink[0]) / 2, ahead - behind)
                return middle - half, middle + half
            return behind, ahead
    return math.nan, math.nan


def _jump(found: Slope) -> float:
    """The change that is left at the shortest step, if it has not shrunk with the step."""
    rows = found.rows
    for side in ("backward", "forward"):
        changes = [float(getattr(row, side)[0]) for row in rows]
        if len(rows) > 8 and abs(changes[-1]) > 0.5 * abs(changes[len(rows) // 2]) > 50 * float(rows[-1].noise[0]):
            return changes[-1]
    return 0.0
