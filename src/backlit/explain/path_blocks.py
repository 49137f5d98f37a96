"""Paths through a graph of arrays, each edge a linear map: what flows along one path is an array like the variable.

The cotangent is pulled back along one path alone, by the very rules that `backward()` uses, so that the contributions
of all paths add up to the gradient. Where they are few, each is walked, and starts that paths share are pulled back
once. Where they are many, each edge is weighed by how much it changes the norm of the whole cotangent of its node; the
paths heaviest by these weights are found as between scalars, and then pulled back one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.rules import fit
from backlit.core.numbers import shape_of, strong
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import descendants
from backlit.explain.flow import contributed, has_rule
from backlit.explain.path_graph import Edge, Web
from backlit.explain.path_search import Route, heaviest

MAX_PATHS = 400
"""More paths than this are not walked one by one."""
_SPARE = 4  # by how many times more paths are weighed than are asked for

Edges = dict[Value, list[tuple[int, Value]]]


@dataclass(frozen=True, slots=True)
class Block:
    """One path: each node on it with the argument by which it goes on, and its contribution.

    gains: for each step, by how much it lengthens or shortens the cotangent (the ratio of norms).
    """

    steps: tuple[tuple[Value, int], ...]
    gains: tuple[float, ...]
    contribution: Any
    size: float


@dataclass(frozen=True, slots=True)
class Blocks:
    """The paths found, largest first; how many there are; whether all have been seen, and then the sum of
    their sizes."""

    found: list[Block]
    paths: int
    all_seen: bool
    sizes: float | None


@dataclass(slots=True)
class _Start:
    """The start of a path: the node it has come to, and the cotangent that flows there along it."""

    node: Value
    ct: Any
    mask: Any
    before: _Start | None
    argument: int  # by which `before.node` was left
    norm: float


def blocks_of(
    output: Value,
    seed: Any,
    x: Value,
    order: Sequence[Value],
    cts: dict[Value, Any],
    top: int,
    element: int | None,
) -> Blocks:
    """The paths from an output to an array; sizes are norms, or those of one element.

    cts: the cotangents of all paths together.
    """
    relevant = descendants([x], order)
    edges: Edges = {
        node: [
            (argument, source)
            for argument, source in enumerate(inputs_of(node))
            if source in relevant and source._grad is not INACTIVE and has_rule(node, argument)
        ]
        for node in order
        if node in relevant and node is not x and node._grad is not INACTIVE
    }
    paths = _count(x, order, edges, output)
    start = _Start(output, strong(seed), None, None, 0, _norm(seed))
    if paths <= MAX_PATHS:
        found = _all(start, x, edges, element) if paths else []
    else:
        routes = heaviest(web := _weighed(output, x, order, edges, cts), _SPARE * top)
        found = [_block(_along(start, web, route), element) for route in routes]
    found.sort(key=lambda block: -block.size if block.size == block.size else -np.inf)
    sizes = float(sum(block.size for block in found)) if paths <= MAX_PATHS else None
    return Blocks(found[:top], paths, paths <= MAX_PATHS, sizes)


def _all(start: _Start, x: Value, edges: Edges, element: int | None) -> list[Block]:
    found: list[Block] = []
    stack = [start]
    while stack:
        start = stack.pop()
        if start.node is x:
            found.append(_block(start, element))
        else:
            stack += [_pulled(start, argument, source) for argument, source in edges.get(start.node, ())]
    return found


def _weighed(output: Value, x: Value, order: Sequence[Value], edges: Edges, cts: dict[Value, Any]) -> Web:
    """The graph as a web: on each edge, by how much it changes the norm of the cotangent that all paths bring."""
    web = Web([(x, None)], [[]])
    numbers = {x: 0}
    for node in order:
        if node not in edges:
            continue
        ct = cts.get(node)
        leading = []
        for argument, source in edges[node]:
            if source not in numbers:
                continue
            whole = None if ct is None else _pulled(_Start(node, ct, None, None, 0, _norm(ct)), argument, source)
            gain = 0.0 if whole is None or whole.before is None else whole.norm / (whole.before.norm or 1.0)
            leading.append(Edge(numbers[source], gain, argument))
        if leading:
            numbers[node] = len(web.places)
            web.places.append((node, None))
            web.edges.append(leading)
            if node is output:
                break
    return web


def _along(start: _Start, web: Web, route: Route) -> _Start:
    for _, edge in route:
        start = _pulled(start, edge.argument, web.places[edge.to][0])
    return start


def _count(x: Value, order: Sequence[Value], edges: Edges, output: Value) -> int:
    paths = {x: 1}
    for node in order:
        if node in edges:
            paths[node] = sum(paths.get(source, 0) for _, source in edges[node])
    return paths.get(output, 0)


def _pulled(start: _Start, argument: int, source: Value) -> _Start:
    """The start of a path, one edge longer."""
    found = contributed(start.node, argument, start.ct, start.mask)
    if found is None:
        return _Start(source, np.zeros(shape_of(source._data)), None, start, argument, 0.0)
    ct = fit(found[0], strong(source._data))
    return _Start(source, ct, found[1], start, argument, _norm(ct))


def _norm(ct: Any) -> float:
    flat = np.asarray(ct, np.float64).ravel()
    return float(np.sqrt(flat @ flat))


def _block(end: _Start, element: int | None) -> Block:
    steps: list[tuple[Value, int]] = []
    gains: list[float] = []
    at = end
    while at.before is not None:
        steps.append((at.before.node, at.argument))
        gains.append(at.norm / at.before.norm if at.before.norm else 0.0)
        at = at.before
    contribution = end.ct if element is None else np.asarray(end.ct).ravel()[element]
    return Block(tuple(reversed(steps)), tuple(reversed(gains)), contribution, _norm(contribution))
