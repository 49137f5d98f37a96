"""The search for the mistake: small repairs are tried until one makes a wrong gradient right.

First what needs no look at the formula (a sign, a factor, a transpose, a missing sum), then slips at the
edges around the value, then paths that are missing or counted wrongly, then two of these together. Nothing is
reported that does not make every element right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np

from backlit.core.numbers import quietly, shape_of
from backlit.core.value import Value, inputs_of
from backlit.explain.hand_factors import Factor, Factors, constants_near, counts_near
from backlit.explain.hand_flow import Edge, Flow, Swept
from backlit.explain.hand_margin import Margin
from backlit.explain.hand_shapes import reshaped
from backlit.explain.hand_slips import Others, Slip
from backlit.explain.hand_variants import Slips
from backlit.explain.hand_words import Speaker, listed

_EDGES = 48
_SKETCH = 96
_WORK = 3e8
_FAR_FETCHED = 2.5
_PATHS = 24
"""Edges around a value that are looked at; elements of an array that are compared before all are; and about
how many numbers may be computed in one search; the cost from which on more is tried; paths that are tried."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A repair that fits. difference: the largest one that is left, no more than rounding explains."""

    kinds: tuple[str, ...]
    text: str
    fix: str
    where: str
    cost: float
    difference: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """A slip at an edge, and the change of the gradient that it would make, at some elements."""

    slip: Slip
    edge: Edge
    cost: float
    sketch: Any


class Search:
    """The search for mistakes in the gradient of one value, given one set of gradients above it.

    stops: the gradients that were given and may be used, by node. swept: the backward pass that they belong
    to.
    """

    def __init__(
        self, flow: Flow, swept: Swept, x: Value, stops: Mapping[Value, Any], others: Others, speaker: Speaker
    ) -> None:
        self.flow, self.swept, self.x, self.speaker = flow, swept, x, speaker
        self.stops = {n for n in stops if n is not x}
        self.right = np.asarray(swept.computed[x])
        self.shape = shape_of(x._data)
        self.d = speaker.gradient(x)
        self.region = flow.region(x, self.stops, _EDGES)
        before = flow.moment(x)  # what was known when this gradient was worked out
        known = {n: ct for n, ct in others.gradients.items() if flow.moment(n) > before}
        self.slips = Slips(flow, swept, speaker, Others(others.values, known))
        self.effects = self._effects()
        self.factors = Factors(*self._neighbourhood())

    def _neighbourhood(self) -> tuple[Any, list[float]]:
        near = sorted({edge.node for edge in self.region}, key=lambda node: node._serial)
        named = [(n, self.speaker.name(n)) for n in near]
        rest = [(n, self.speaker.name(n)) for n in reversed(self.flow.order) if n in self.speaker.known]
        around = {x for node in near for x in (node, *inputs_of(node))}
        return counts_near(self.x, self.speaker.name(self.x), [*named, *rest]), constants_near(around)

    def _effects(self) -> dict[Edge, Any]:
        """What flows to the value through each edge around it."""
        found = {}
        for edge in self.region:
            if (term := self.swept.terms.get(edge)) is not None:
                effect = self.flow.carry(edge.source, term, self.x, self.region)
                if effect is not None:
                    found[edge] = np.asarray(effect)
        return found

    # -- the search ------------------------------------------------------------------------------------------

    def repairs(self, given: Any, margin: Margin) -> list[Candidate]:
        """All repairs that fit, the likeliest first. Cost: up to a second for some thousand elements."""
        return quietly(self._repairs, given, margin)  # type: ignore[no-any-return]

    def _repairs(self, given: Any, margin: Margin) -> list[Candidate]:
        if shape_of(given) != self.shape:
            found = self._of_another_shape(given, margin)
        else:
            found = list(self._of_this_shape(given, margin))
        return _ranked(found)

    def _of_another_shape(self, given: Any, margin: Margin) -> list[Candidate]:
        found = list(self._raw(given, margin))
        turned = list(reshaped(given, self.x, self.right, self.d))
        for way in turned:
            if margin.close(way.array, self.right):
                found.append(Candidate((way.kind,), way.text, way.fix, "", way.cost, _gap(way.array, self.right)))
        if not found:
            for way in turned[:6]:
                for inner in _ranked(list(self._of_this_shape(way.array, margin)))[:2]:
                    text = f"{way.text}, and then {inner.text}"
                    kinds = (way.kind, *inner.kinds)
                    cost = way.cost + inner.cost + 0.5
                    fix = inner.fix or way.fix
                    found.append(Candidate(kinds, text, fix, inner.where, cost, inner.difference))
        return found

    def _raw(self, given: Any, margin: Margin) -> Iterator[Candidate]:
        """Slips that give another shape, at the edges that lead straight to the value."""
        for edge, depth in self.region.items():
            if depth or edge not in self.effects:
                continue
            rest = self.right - self.effects[edge]
            for slip in self.slips.at(edge):
                made = _attempt(slip)
                if made is None or not slip.raw:
                    continue
                made = np.asarray(made)
                if made.shape != shape_of(given):
                    continue
                alone = len(self.flow.uses[self.x]) == 1
                whole = made if alone else made + rest
                if margin.close(given, whole):
                    yield self._candidate((slip,), (edge,), slip.cost, _gap(given, whole))

    def _of_this_shape(self, given: Any, margin: Margin) -> Iterator[Candidate]:
        goal = np.asarray(given, float) - self.right
        if not np.all(np.isfinite(goal)):
            return
        if np.asarray(given).dtype.kind in "iu" and (cut := list(self._integers(given))):
            yield from cut
            return
        if self.right.any() and not np.asarray(given).any():
            yield Candidate(("zeros",), f"fill it: `{self.d}` is zero everywhere", "", "", 0.1, 0.0)
            return
        trials, fitting = self._trials(given, goal, margin)
        found = [*self._as_a_whole(given, margin), *self._paths(given, margin), *fitting]
        if min((c.cost for c in found), default=np.inf) > _FAR_FETCHED:
            found += self._single_paths(given, margin)
        if min((c.cost for c in found), default=np.inf) > _FAR_FETCHED:
            found += self._pairs(given, goal, trials, margin)
        yield from found

    # -- the whole array -------------------------------------------------------------------------------------

    def _as_a_whole(self, given: Any, margin: Margin) -> Iterator[Candidate]:
        right = self.right
        for c, factor in self._proportion(given, right, margin):
            left = _gap(given, (c if factor is None else factor.value) * right)
            if factor is None:
                text = f"divide by {c:.7g}, by which every element is too large: a number without a name here"
                yield Candidate(("factor",), text, f"{self.d} / {c!r}", "", 6.0, left)
            elif factor.value == -1.0:
                yield Candidate(("sign",), f"change the sign: `-{self.d}`", f"-{self.d}", "", 0.1, left)
            else:
                kinds = ("sign", "factor") if factor.repair.startswith("change") else ("factor",)
                if factor.value > 0 and (summed := self._summed_over(factor, right)) is not None:
                    text = f"take the sum, not the mean: `.sum({summed})` for `.mean({summed})`; {factor.reason}"
                    yield Candidate(("mean for sum",), text, f".sum({summed})", "", 0.3, left)
                    continue
                if factor.value > 0:
                    kinds = (_kind_of(factor, "factor"),)
                because = f": {factor.reason}" if factor.reason else ": every element is twice as large" * (c == 2)
                said = self._said_of(factor)
                yield Candidate(
                    kinds,
                    f"{factor.repair}{because}{said}",
                    factor.code.format(self.d),
                    "",
                    0.5 + factor.cost,
                    left,
                )
        if len(self.shape) > 1:
            for axes in _turns(self.shape):
                if margin.close(given, right.transpose(axes)) and not margin.close(right, right.transpose(axes)):
                    code = ".T" if axes == tuple(range(len(self.shape)))[::-1] else f".transpose{_inverse(axes)}"
                    yield Candidate(
                        ("transpose",),
                        f"add `{code}`",
                        f"{self.d}{code}",
                        "",
                        0.3,
                        _gap(given, right.transpose(axes)),
                    )
        if len(self.shape) == 2 and margin.close(given, right.T.reshape(self.shape)):
            code = f"{self.d}.reshape({self.shape[::-1]}).T"
            text = "transpose it with `.T`: you gave the transposed array this shape with `reshape`"
            yield Candidate(("wrong reshape",), text, code, "", 0.6, _gap(given, right.T.reshape(self.shape)))
        for axis in range(len(self.shape)):
            if self.shape[axis] > 1 and margin.close(given, np.flip(right, axis)):
                text = f"turn the order along axis {axis} round"
                yield Candidate(
                    ("reversed",),
                    text,
                    f"np.flip({self.d}, {axis})",
                    "",
                    1.0,
                    _gap(given, np.flip(right, axis)),
                )

    def _integers(self, given: Any) -> Iterator[Candidate]:
        for cut, what in ((np.trunc, "cut off"), (np.round, "rounded away")):
            if np.array_equal(given, cut(self.right)):
                text = f"keep it in an array of floats: what stands behind the point was {what}, as integers do"
                fix = f"np.zeros({self.shape})"
                yield Candidate(("integers",), text, fix, "", 0.1, 0.0)
                return

    def _proportion(self, given: Any, right: Any, margin: Margin) -> list[tuple[float, Factor | None]]:
        """The factors by which all elements are wrong: with the names it may have, or without one."""
        right = np.asarray(right, float)
        square = float(np.vdot(right, right))
        if not square or float(np.max(np.abs(right), initial=0.0)) <= 2 * margin.floor:
            return []
        c = float(np.vdot(np.asarray(given, float), right)) / square
        if c == 0.0 or not margin.close(given, c * right, max(1.0, abs(c))):
            return []
        tolerance = max(margin.relative, margin.floor / float(np.max(np.abs(right))))
        if abs(c - 1.0) <= tolerance:
            return []
        names = self.factors.all_named(c, tolerance)
        if names:
            return [(c, factor) for factor in names[:3]]
        return [(c, None)] if np.count_nonzero(right) >= 3 else []

    def _summed_over(self, factor: Factor, right: Any) -> str | None:
        """The axes over which a sum is due whose length is the factor by which the result is too small."""
        if not factor.lengths or not np.isclose(factor.value, 1.0 / factor.lengths[0]):
            return None
        for edge, depth in self.region.items():
            full, shape = shape_of(edge.node._data), self.shape
            if depth or full == shape or len(full) < len(shape):
                continue
            extra = len(full) - len(shape)
            axes = tuple(range(extra)) + tuple(
                extra + i for i, n in enumerate(shape) if n == 1 and full[extra + i] != 1
            )
            if axes and int(np.prod([full[a] for a in axes])) == factor.lengths[0]:
                return ", ".join(map(str, axes)) if len(axes) == 1 else str(axes)
        return None

    def _said_of(self, factor: Factor) -> str:
        """Where in the program a division by the length stands, which may be what was forgotten."""
        if not factor.lengths:
            return ""
        for edge in self.region:
            node = edge.node
            if node._op is not None and node._op.name == "divide" and edge.index == 0:
                divisor = inputs_of(node)[1]
                if shape_of(divisor._data) == () and float(divisor._data) == factor.value:
                    return f", by which {self.speaker.called(node)} divides"
        return ""

    # -- paths -----------------------------------------------------------------------------------------------

    def _paths(self, given: Any, margin: Margin) -> Iterator[Candidate]:
        """One path of several: missing, of the wrong sign, twice, or by a factor; or several missing."""
        right = self.right
        for edge, effect in self.effects.items():
            if margin.close(effect, right) or float(np.max(np.abs(effect), initial=0.0)) <= 2 * margin.floor:
                continue
            cost = 0.5 * self.region[edge]
            if margin.close(given, right - effect):
                yield self._missing([edge], 0.4 + cost, _gap(given, right - effect))
                continue
            for c, factor in self._proportion(np.asarray(given) - (right - effect), effect, margin):
                value = c if factor is None else factor.value
                left = _gap(given, right + (value - 1.0) * effect)
                yield self._path_factor(edge, c, factor, cost, left)
        direct = [e for e, depth in self.region.items() if not depth and e in self.effects]
        if 2 < len(direct) <= 8:
            for count in range(2, len(direct)):
                for missing in combinations(direct, count):
                    kept = right - sum(self.effects[e] for e in missing)
                    if margin.close(given, kept):
                        yield self._missing(missing, 0.4 + 0.2 * count, _gap(given, kept))

    def _single_paths(self, given: Any, margin: Margin) -> Iterator[Candidate]:
        """Whole paths through several nodes: one that is missing or of the wrong sign, or two missing."""
        effects = []
        for path in self._all_paths():
            term = self.swept.used[path[-1].node]
            for edge in reversed(path):
                if (term := self.flow.term(edge, term)) is None:
                    break
            if term is not None and float(np.max(np.abs(term), initial=0.0)) > 2 * margin.floor:
                effects.append((path, np.asarray(term)))
        for path, effect in effects:
            said = f"what comes along {self._route(path)}"
            for c, kind, text, cost in (
                (0.0, "missing path", f"add {said}", 1.0),
                (-1.0, "sign of one path", f"change the sign of {said}", 1.2),
            ):
                made = self.right + (c - 1.0) * effect
                if margin.close(given, made) and not margin.close(given, (c - 1.0) * effect):
                    yield Candidate((kind,), text, f"{self.d} += ...", said, cost, _gap(given, made))
        for (one, first), (two, second) in combinations(effects, 2):
            made = self.right - first - second
            if margin.close(given, made) and made.any():
                said = f"what comes along {self._route(one)}, and along {self._route(two)}"
                yield Candidate(("missing path",), f"add {said}", f"{self.d} += ...", said, 2.0, _gap(given, made))

    def _all_paths(self) -> list[list[Edge]]:
        """The paths from the value up to known cotangents, edge by edge; none if there are too many."""
        found: list[list[Edge]] = []
        stack: list[list[Edge]] = [[edge] for edge, depth in self.region.items() if not depth]
        while stack:
            path = stack.pop()
            onward = [e for e in self.flow.uses[path[-1].node] if e in self.region]
            if path[-1].node in self.stops or not onward:
                found.append(path)
            stack += [[*path, edge] for edge in onward if path[-1].node not in self.stops]
            if len(found) + len(stack) > _PATHS:
                return []
        return found

    def _route(self, path: Sequence[Edge]) -> str:
        names = [self.speaker.known[e.node] for e in path if e.node in self.speaker.known]
        return "`" + " → ".join([self.speaker.name(self.x), *names]) + "`"

    def _missing(self, edges: Sequence[Edge], cost: float, left: float) -> Candidate:
        through = listed([self.speaker.called(edge.node) for edge in edges])
        direct = [e for e in self.region if e.source is edges[0].source and e not in edges]
        source = self.d if edges[0].source is self.x else self.speaker.gradient(edges[0].source)
        text = f"add what comes through {through}"
        if direct:
            kept = listed([self.speaker.called(edge.node) for edge in direct])
            text += f": `{source} += ...` where you have `=`, which keeps only what comes through {kept}"
        return Candidate(("missing path",), text, f"{source} += ...", through, cost, left)

    def _path_factor(self, edge: Edge, c: float, factor: Factor | None, cost: float, left: float) -> Candidate:
        through = self.speaker.called(edge.node)
        if factor is None:
            text = f"divide what comes through {through} by {c:.7g}, a number without a name here"
            return Candidate(("factor of one path",), text, "", through, 6.5 + cost, left)
        if factor.value == -1.0:
            text = f"change the sign of what comes through {through}; the other paths are right"
            return Candidate(("sign of one path",), text, "", through, 0.5 + cost, left)
        if factor.value == 2.0:
            text = f"add what comes through {through} once; you have it twice"
            return Candidate(("path counted twice",), text, "", through, 0.6 + cost, left)
        kind = _kind_of(factor, "factor of one path")
        because = f": {factor.reason}" if factor.reason else ""
        text = f"{factor.repair} in what comes through {through}{because}; the other paths are right"
        return Candidate((kind,), text, "", through, 1.2 + factor.cost + cost, left)

    # -- slips -----------------------------------------------------------------------------------------------

    def _trials(self, given: Any, goal: Any, margin: Margin) -> tuple[list[_Trial], list[Candidate]]:
        """All slips, as far as the budget goes: sketches for the search for pairs, and those that fit."""
        self.picked = _picked(goal)
        trials, found, work = [], [], 0.0
        for edge, depth in self.region.items():
            if edge not in self.effects:
                continue
            for slip in self.slips.at(edge):
                if (change := self._change(slip, edge)) is None:
                    continue
                cost = slip.cost + 0.3 * depth
                work += 20.0 * change.size
                if margin.close(given, self.right + change) and not margin.close(self.right, self.right + change):
                    found.append(self._candidate((slip,), (edge,), cost, _gap(given, self.right + change)))
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
        term = self.swept.terms[edge]
        if made.shape != shape_of(term):
            if slip.kind == "missing broadcast" and np.broadcast_shapes(made.shape, shape_of(term)) == shape_of(term):
                made = np.broadcast_to(made, shape_of(term))
            else:
                return None
        with np.errstate(all="ignore"):
            difference = made - term
        if not np.all(np.isfinite(difference)) or not difference.any():
            return None
        change = self.flow.carry(edge.source, difference, self.x, self.region)
        return None if change is None else np.asarray(change, float)

    def _slip_and_factor(
        self, slip: Slip, edge: Edge, change: Any, cost: float, given: Any, margin: Margin
    ) -> list[Candidate]:
        """A slip at an edge whose contribution has a wrong factor as well, or the whole gradient has."""
        found = []
        effect = self.effects[edge]
        rest = self.right - effect
        alone = margin.close(effect, self.right)
        for base, target in (
            (rest, effect + change),
            *(() if alone else ((np.zeros(()), self.right + change),)),
        ):
            for _, factor in self._proportion(np.asarray(given, float) - base, target, margin):
                if factor is None:
                    continue
                kind = "sign" if factor.value == -1.0 else "factor"
                because = f" ({factor.reason})" if factor.reason else ""
                text = f"{slip.text}, and {factor.repair}{because}"
                left = _gap(given, base + factor.value * target)
                where = self.speaker.operation(edge.node)
                found.append(Candidate((slip.kind, kind), text, slip.fix, where, cost + factor.cost + 1.2, left))
                break
        return found

    def _candidate(self, slips: Sequence[Slip], edges: Sequence[Edge], cost: float, left: float) -> Candidate:
        kinds = tuple(slip.kind for slip in slips)
        text = ", and ".join(slip.text for slip in slips)
        where = listed([self.speaker.operation(edge.node) for edge in edges])
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
                if second.edge == first.edge or tried > 40:
                    continue
                tried += 1
                changes = [self._change(t.slip, t.edge) for t in (first, second)]
                both = self.right + changes[0] + changes[1]
                if margin.close(given, both):
                    cost = first.cost + second.cost + 1.0
                    slips, edges = (first.slip, second.slip), (first.edge, second.edge)
                    yield self._candidate(slips, edges, cost, _gap(given, both))

    def _path_trials(self) -> Iterator[_Trial]:
        """Missing paths and paths of the wrong sign as slips, so that they can be one of two mistakes."""
        for edge, effect in self.effects.items():
            term, through = self.swept.terms[edge], self.speaker.called(edge.node)
            alone = np.array_equal(effect, self.right)
            cost = 0.5 * self.region[edge] + (0.8 if alone else 0.4)
            for c, kind, text in (
                (0.0, "missing path", f"add what comes through {through}"),
                (-1.0, "sign of one path", f"change the sign of what comes through {through}"),
                (2.0, "path counted twice", f"add what comes through {through} once"),
            ):
                slip = Slip(kind, text, "", cost, lambda c=c, term=term: c * term)  # type: ignore[misc]
                yield _Trial(slip, edge, cost, ((c - 1.0) * effect).reshape(-1)[self.picked])


def _kind_of(factor: Factor, otherwise: str) -> str:
    if factor.reason.startswith("you have n where"):
        return "n for n - 1"
    return "n - 1 for n" if factor.reason.startswith("you have n - 1") else otherwise


def _gap(a: Any, b: Any) -> float:
    return float(np.max(np.abs(np.asarray(a, float) - b), initial=0.0))


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


def _turns(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axes in permutations(range(len(shape))):
        if axes != tuple(range(len(shape))) and tuple(shape[a] for a in axes) == shape:
            yield axes


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(a) for a in np.argsort(axes))


def _ranked(found: list[Candidate]) -> list[Candidate]:
    """The likeliest first, each thing said once."""
    ranked, said = [], set()
    for each in sorted(found, key=lambda c: c.cost):
        if each.text not in said:
            said.add(each.text)
            ranked.append(each)
    return ranked
