"""Repairs of one path of several: missing, of the wrong sign, counted twice, or wrong by a factor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from backlit.explain.hand_around import Around, Candidate, gap, kind_of
from backlit.explain.hand_factors import Factor
from backlit.explain.hand_flow import Edge
from backlit.explain.hand_margin import Margin
from backlit.explain.hand_words import listed

_PATHS = 24
"""How many paths through several nodes are tried."""


def by_paths(around: Around, given: Any, margin: Margin) -> Iterator[Candidate]:
    """One path of several: missing, of the wrong sign, twice, or by a factor; or several missing."""
    right = around.right
    for edge, effect in around.effects.items():
        if margin.close(effect, right) or float(np.max(np.abs(effect), initial=0.0)) <= 2 * margin.floor:
            continue
        cost = 0.5 * around.region[edge]
        if margin.close(given, right - effect):
            yield _missing(around, [edge], 0.4 + cost, gap(given, right - effect))
            continue
        for c, factor in around.proportion(np.asarray(given) - (right - effect), effect, margin):
            value = c if factor is None else factor.value
            left = gap(given, right + (value - 1.0) * effect)
            yield _path_factor(around, edge, c, factor, cost, left)
    direct = [e for e, depth in around.region.items() if not depth and e in around.effects]
    if 2 < len(direct) <= 8:
        for count in range(2, len(direct)):
            for missing in combinations(direct, count):
                kept = right - sum(around.effects[e] for e in missing)
                if margin.close(given, kept):
                    yield _missing(around, missing, 0.4 + 0.2 * count, gap(given, kept))


def by_whole_paths(around: Around, given: Any, margin: Margin) -> Iterator[Candidate]:
    """Whole paths through several nodes: one that is missing or of the wrong sign, or two missing."""
    effects = []
    for path in _all_paths(around):
        term = around.swept.used[path[-1].node]
        for edge in reversed(path):
            if (term := around.flow.term(edge, term)) is None:
                break
        if term is not None and float(np.max(np.abs(term), initial=0.0)) > 2 * margin.floor:
            effects.append((path, np.asarray(term)))
    for path, effect in effects:
        said = f"what comes along {_route(around, path)}"
        for c, kind, text, cost in (
            (0.0, "missing path", f"add {said}", 1.0),
            (-1.0, "sign of one path", f"change the sign of {said}", 1.2),
        ):
            made = around.right + (c - 1.0) * effect
            if margin.close(given, made) and not margin.close(given, (c - 1.0) * effect):
                yield Candidate((kind,), text, f"{around.d} += ...", said, cost, gap(given, made))
    for (one, first), (two, second) in combinations(effects, 2):
        made = around.right - first - second
        if margin.close(given, made) and made.any():
            said = f"what comes along {_route(around, one)}, and along {_route(around, two)}"
            yield Candidate(("missing path",), f"add {said}", f"{around.d} += ...", said, 2.0, gap(given, made))


def _all_paths(around: Around) -> list[list[Edge]]:
    """The paths from the value up to known cotangents, edge by edge; none if there are too many."""
    found: list[list[Edge]] = []
    stack: list[list[Edge]] = [[edge] for edge, depth in around.region.items() if not depth]
    while stack:
        path = stack.pop()
        onward = [e for e in around.flow.uses[path[-1].node] if e in around.region]
        if path[-1].node in around.stops or not onward:
            found.append(path)
        stack += [[*path, edge] for edge in onward if path[-1].node not in around.stops]
        if len(found) + len(stack) > _PATHS:
            return []
    return found


def _route(around: Around, path: Sequence[Edge]) -> str:
    names = [around.speaker.known[e.node] for e in path if e.node in around.speaker.known]
    return "`" + " → ".join([around.speaker.name(around.x), *names]) + "`"


def _missing(around: Around, edges: Sequence[Edge], cost: float, left: float) -> Candidate:
    through = listed([around.speaker.called(edge.node) for edge in edges])
    direct = [e for e in around.region if e.source is edges[0].source and e not in edges]
    source = around.d if edges[0].source is around.x else around.speaker.gradient(edges[0].source)
    text = f"add what comes through {through}"
    if direct:
        kept = listed([around.speaker.called(edge.node) for edge in direct])
        text += f": `{source} += ...` where you have `=`, which keeps only what comes through {kept}"
    return Candidate(("missing path",), text, f"{source} += ...", through, cost, left)


def _path_factor(around: Around, edge: Edge, c: float, factor: Factor | None, cost: float, left: float) -> Candidate:
    through = around.speaker.called(edge.node)
    if factor is None:
        text = f"divide what comes through {through} by {c:.7g}, a number without a name here"
        return Candidate(("factor of one path",), text, "", through, 6.5 + cost, left)
    if factor.value == -1.0:
        text = f"change the sign of what comes through {through}; the other paths are right"
        return Candidate(("sign of one path",), text, "", through, 0.5 + cost, left)
    if factor.value == 2.0:
        text = f"add what comes through {through} once; you have it twice"
        return Candidate(("path counted twice",), text, "", through, 0.6 + cost, left)
    kind = kind_of(factor, "factor of one path")
    because = f": {factor.reason}" if factor.reason else ""
    text = f"{factor.repair} in what comes through {through}{because}; the other paths are right"
    return Candidate((kind,), text, "", through, 1.2 + factor.cost + cost, left)
