"""The search for the mistake: small repairs are tried until one makes a wrong gradient right.

First what needs no look at the formula (a sign, a factor, a transpose, a missing sum), then slips at the
edges around the value, then paths that are missing or counted wrongly, then two of these together. Nothing is
reported that does not make every element right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.numbers import quietly, shape_of
from backlit.explain.hand_around import Around, Candidate, gap
from backlit.explain.hand_flow import Edge
from backlit.explain.hand_margin import Margin
from backlit.explain.hand_paths import by_paths, by_whole_paths
from backlit.explain.hand_shapes import reshaped
from backlit.explain.hand_slips import Slip
from backlit.explain.hand_whole import as_a_whole, integers
from backlit.explain.hand_words import listed

_SKETCH = 96
_WORK = 5e8
_FAR_FETCHED = 2.5
_FEW, _MANY = 3, 100_000
_TRIES = 40
"""Elements of an array that are compared before all are; how many numbers slips may change in one search; the cost
from which on more is tried; with fewer elements, only likely repairs are tried, and with more, none beside an obvious
one; how many pairs are computed in full."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A slip at an edge, and the change of the gradient that it would make, at some elements."""

    slip: Slip
    edge: Edge
    cost: float
    sketch: Any


class Search:
    """The search for the mistakes in the gradient of one value."""

    def __init__(self, around: Around) -> None:
        self.around = around
        self.picked: Any = None

    # -- the search ------------------------------------------------------------------------------------------

    def repairs(self, given: Any, margin: Margin) -> list[Candidate]:
        """All repairs that fit, the likeliest first. Cost: up to a second for some thousand elements."""
        return quietly(self._repairs, given, margin)  # type: ignore[no-any-return]

    def _repairs(self, given: Any, margin: Margin) -> list[Candidate]:
        if shape_of(given) != self.around.shape:
            found = self._of_another_shape(given, margin)
        else:
            found = list(self._of_this_shape(given, margin))
        return _ranked(found)

    def _of_another_shape(self, given: Any, margin: Margin) -> list[Candidate]:
        found = list(self._raw(given, margin))
        around = self.around
        turned = list(reshaped(given, around.x, around.right, around.d))
        found += [
            Candidate((way.kind,), way.text, way.fix, "", way.cost, gap(way.array, around.right))
            for way in turned
            if margin.close(way.array, around.right)
        ]
        if found:
            return found
        for way in turned[:6]:
            for inner in _ranked(list(self._of_this_shape(way.array, margin)))[:2]:
                text = f"{way.text}, and then {inner.text}"
                kinds = (way.kind, *inner.kinds)
                cost = way.cost + inner.cost + 0.5
                found.append(Candidate(kinds, text, inner.fix or way.fix, inner.where, cost, inner.difference))
        return found

    def _raw(self, given: Any, margin: Margin) -> Iterator[Candidate]:
        """Slips that give another shape, at the edges that lead straight to the value."""
        for edge, depth in self.around.region.items():
            if depth or edge not in self.around.effects:
                continue
            rest = self.around.right - self.around.effects[edge]
            for slip in self.around.slips.at(edge):
                made = _attempt(slip)
                if made is None or not slip.raw:
                    continue
                made = np.asarray(made)
                if made.shape != shape_of(given):
                    continue
                alone = len(self.around.flow.uses[self.around.x]) == 1
                whole = made if alone else made + rest
                if margin.close(given, whole):
                    yield self._candidate((slip,), (edge,), slip.cost, gap(given, whole))

    def _of_this_shape(self, given: Any, margin: Margin) -> Iterator[Candidate]:
        goal = np.asarray(given, float) - self.around.right
        if not np.all(np.isfinite(goal)):
            return
        if np.asarray(given).dtype.kind in "iu" and (cut := list(integers(self.around, given))):
            yield from cut
            return
        if self.around.right.any() and not np.asarray(given).any():
            yield Candidate(("zeros",), f"fill it: `{self.around.d}` is zero everywhere", "", "", 0.1, 0.0)
            return
        found = [*as_a_whole(self.around, given, margin), *by_paths(self.around, given, margin)]
        if goal.size > _MANY and min((c.cost for c in found), default=np.inf) < 1.0:
            yield from found
            return
        trials, fitting = self._trials(given, goal, margin)
        found += fitting
        if goal.size < _FEW:
            yield from (each for each in found if each.cost < _FAR_FETCHED)
            return
        if min((c.cost for c in found), default=np.inf) > _FAR_FETCHED:
            found += by_whole_paths(self.around, given, margin)
        if min((c.cost for c in found), default=np.inf) > _FAR_FETCHED:
            found += self._pairs(given, goal, trials, margin)
        yield from found

    # -- slips -----------------------------------------------------------------------------------------------

    def _trials(self, given: Any, goal: Any, margin: Margin) -> tuple[list[_Trial], list[Candidate]]:
        """All slips, as far as the budget goes: sketches for the search for pairs, and those that fit."""
        self.picked = _picked(goal)
        trials, found, work, right = [], [], 0.0, self.around.right
        for edge, depth in self.around.region.items():
            if edge not in self.around.effects:
                continue
            for slip in self.around.slips.at(edge):
                if (change := self._change(slip, edge)) is None:
                    continue
                cost = slip.cost + 0.3 * depth
                work += change.size
                made = right + change
                if margin.close(given, made) and not margin.close(right, made):
                    found.append(self._candidate((slip,), (edge,), cost, gap(given, made)))
                else:
                    trials.append(_Trial(slip, edge, cost, change.reshape(-1)[self.picked]))
                    found += self._slip_and_factor(slip, edge, change, cost, given, margin)
            if work > _WORK:
                break
        return trials, found

    def _change(self, slip: Slip, edge: Edge) -> Any:
        """What a slip does to the gradient of the value; None if it cannot be made here."""
        made = _attempt(slip)
        if made is None:
            return None
        made = np.asarray(made, float)
        term = self.around.swept.terms[edge]
        if made.shape != shape_of(term):
            if slip.kind == "missing broadcast" and np.broadcast_shapes(made.shape, shape_of(term)) == shape_of(term):
                made = np.broadcast_to(made, shape_of(term))
            else:
                return None
        with np.errstate(all="ignore"):
            difference = made - term
        if not np.all(np.isfinite(difference)) or not difference.any():
            return None
        change = self.around.flow.carry(edge.source, difference, self.around.x, self.around.region)
        return None if change is None else np.asarray(change, float)

    def _slip_and_factor(
        self, slip: Slip, edge: Edge, change: Any, cost: float, given: Any, margin: Margin
    ) -> list[Candidate]:
        """A slip at an edge whose contribution has a wrong factor as well, or the whole gradient has."""
        around, found = self.around, []
        effect, right = around.effects[edge], around.right
        for base, target in ((right - effect, effect), (np.zeros(right.shape), right)):
            few = target.reshape(-1)[self.picked] + change.reshape(-1)[self.picked]
            gone = given.reshape(-1)[self.picked] - base.reshape(-1)[self.picked]
            square = float(np.vdot(few, few))
            if not square or not margin.close(gone, few * (np.vdot(gone, few) / square), 1e3):
                continue
            target = target + change
            for _, factor in around.proportion(np.asarray(given, float) - base, target, margin):
                if factor is None:
                    continue
                kind = "sign" if factor.value == -1.0 else "factor"
                because = f" ({factor.reason})" if factor.reason else ""
                text = f"{slip.text}, and {factor.repair}{because}"
                left = gap(given, base + factor.value * target)
                where = around.speaker.operation(edge.node)
                found.append(Candidate((slip.kind, kind), text, slip.fix, where, cost + factor.cost + 1.2, left))
                break
        return found

    def _candidate(self, slips: Sequence[Slip], edges: Sequence[Edge], cost: float, left: float) -> Candidate:
        kinds = tuple(slip.kind for slip in slips)
        text = ", and ".join(slip.text for slip in slips)
        where = listed([self.around.speaker.operation(edge.node) for edge in edges])
        return Candidate(kinds, text, slips[0].fix, where, cost, left)

    # -- two mistakes ----------------------------------------------------------------------------------------

    def _pairs(self, given: Any, goal: Any, trials: list[_Trial], margin: Margin) -> Iterator[Candidate]:
        sketch = goal.reshape(-1)[self.picked]
        loose = (
            margin.relative * np.abs(sketch) * 4 + margin.relative * np.max(np.abs(sketch), initial=0.0) + margin.floor
        )
        trials = [*trials, *self._path_trials()]
        if not trials:
            return
        table = np.stack([trial.sketch for trial in trials])
        tried = 0
        for i, first in enumerate(trials[:-1]):
            near = np.all(np.abs(sketch - first.sketch - table[i + 1 :]) <= loose, axis=1)
            for j in np.nonzero(near)[0] + i + 1:
                second = trials[j]
                if tried > _TRIES or self._in_series(first.edge, second.edge):
                    continue
                tried += 1
                changes = [self._change(t.slip, t.edge) for t in (first, second)]
                both = self.around.right + changes[0] + changes[1]
                if margin.close(given, both):
                    cost = first.cost + second.cost + 1.0
                    slips, edges = (first.slip, second.slip), (first.edge, second.edge)
                    yield self._candidate(slips, edges, cost, gap(given, both))

    def _in_series(self, one: Edge, two: Edge) -> bool:
        """Whether what flows through one edge flows through the other: then their changes do not just add up."""
        if one == two:
            return True
        low, high = sorted((one, two), key=lambda edge: edge.node._serial)
        return high.source in self.around.flow.above(low.node)

    def _path_trials(self) -> Iterator[_Trial]:
        """Missing paths and paths of the wrong sign as slips, so that they can be one of two mistakes."""
        for edge, effect in self.around.effects.items():
            term, through = self.around.swept.terms[edge], self.around.speaker.called(edge.node)
            alone = np.array_equal(effect, self.around.right)
            cost = 0.5 * self.around.region[edge] + (0.8 if alone else 0.4)
            for c, kind, text in (
                (0.0, "missing path", f"add what comes through {through}"),
                (-1.0, "sign of one path", f"change the sign of what comes through {through}"),
                (2.0, "path counted twice", f"add what comes through {through} once"),
            ):
                slip = Slip(kind, text, "", cost, lambda c=c, term=term: c * term)  # type: ignore[misc]
                yield _Trial(slip, edge, cost, ((c - 1.0) * effect).reshape(-1)[self.picked])


def _attempt(slip: Slip) -> Any:
    """What a slip gives; None where shapes do not let one make it."""
    try:
        return quietly(slip.make)
    except (ValueError, TypeError, IndexError, ArithmeticError):
        return None


def _picked(goal: Any) -> Any:
    """Some elements at which to compare: those that differ most, and some at random."""
    flat = np.abs(goal.reshape(-1))
    if flat.size <= _SKETCH:
        return np.arange(flat.size)
    most = np.argpartition(flat, -_SKETCH // 2)[-_SKETCH // 2 :]
    return np.union1d(most, np.random.default_rng(0).choice(flat.size, _SKETCH // 2, replace=False))


def _ranked(found: list[Candidate]) -> list[Candidate]:
    """The likeliest first, each thing said once."""
    ranked, said = [], set()
    for each in sorted(found, key=lambda c: c.cost):
        if each.text not in said:
            said.add(each.text)
            ranked.append(each)
    return ranked
