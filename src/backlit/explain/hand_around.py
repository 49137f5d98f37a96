"""A value whose gradient is wrong, and what is known around it: paths, factors, and the slips on the way."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.value import Value, inputs_of
from backlit.explain.hand_factors import Factor, Factors, constants_near, counts_near
from backlit.explain.hand_flow import Edge, Flow, Swept
from backlit.explain.hand_margin import Margin
from backlit.explain.hand_slips import Others
from backlit.explain.hand_variants import Slips
from backlit.explain.hand_words import Speaker

_EDGES = 48
"""Edges around a value that are looked at."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A repair that fits. difference: the largest one that is left, no more than rounding explains."""

    kinds: tuple[str, ...]
    text: str
    fix: str
    where: str
    cost: float
    difference: float


class Around:
    """What is around one value, given one set of gradients above it.

    stops: the nodes whose gradients were given and may be used. swept: the backward pass that they belong to.
    right: the gradient that follows. region: the edges up to the stops, with their distances. effects: what
    flows to the value through each.
    """

    def __init__(
        self, flow: Flow, swept: Swept, x: Value, stops: Container[Value], others: Others, speaker: Speaker
    ) -> None:
        self.flow, self.swept, self.x, self.speaker = flow, swept, x, speaker
        self.stops = {n for n in flow.order if n in stops and n is not x}
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

    def proportion(self, given: Any, right: Any, margin: Margin) -> list[tuple[float, Factor | None]]:
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


def kind_of(factor: Factor, otherwise: str) -> str:
    """The kind of mistake that a factor is."""
    if factor.reason.startswith("you have n where"):
        return "n for n - 1"
    return "n - 1 for n" if factor.reason.startswith("you have n - 1") else otherwise


def gap(a: Any, b: Any) -> float:
    """The largest difference."""
    return float(np.max(np.abs(np.asarray(a, float) - b), initial=0.0))
