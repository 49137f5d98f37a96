"""Paths through a graph of arrays, each edge a linear map: what flows along one path is an array like the variable.

The cotangent is pulled back along one path alone, by the very rules that `backward()` uses, so that the contributions
of all paths add up to the gradient. Starts that paths share are pulled back once.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from backlit.autodiff.rules import fit
from backlit.core.numbers import shape_of, strong
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import descendants
from backlit.explain.flow import contributed, has_rule

MAX_PULLED = 4_000
"""Edges along which a cotangent is pulled back at most; beyond that not all paths have been seen."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


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
    """The paths found, largest first; how many there are; whether all have been seen, and then the sum of their sizes."""

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

    cts: the cotangents of all paths together, by which the search is led: it follows the start that has the largest
    share in what reaches its node. Where there are more than `MAX_PULLED` edges to follow, it stops with those found.
    """
    relevant = descendants([x], order)
    edges = {
        node: [
            (argument, source)
            for argument, source in enumerate(inputs_of(node))
            if source in relevant and source._grad is not INACTIVE and has_rule(node, argument)
        ]
        for node in order
        if node in relevant and node is not x and node._grad is not INACTIVE
    }
    paths = _count(x, order, edges, output)
    found: list[Block] = []
    if not paths:
        return Blocks([], 0, True, 0.0)
    ticket, pulled = count(), 0
    norms = {node: _norm(ct) for node, ct in cts.items() if node in relevant}
    start = _Start(output, strong(seed), None, None, 0, _norm(seed))
    heap: list[tuple[float, int, _Start]] = [(-1.0, next(ticket), start)]
    while heap and pulled < MAX_PULLED:
        _, _, start = heapq.heappop(heap)
        if start.node is x:
            found.append(_block(start, element))
            continue
        for argument, source in edges.get(start.node, ()):
            pulled += 1
            ct, mask = _pulled(start, argument, source)
            norm = _norm(ct)
            share = norm / norms[source] if norms.get(source) else norm
            entry = _Start(source, ct, mask, start, argument, norm)
            heapq.heappush(heap, (-share if share == share else -np.inf, -next(ticket), entry))
    all_seen = len(found) == paths
    found.sort(key=lambda block: -block.size if block.size == block.size else -np.inf)
    sizes = float(sum(block.size for block in found)) if all_seen else None
    return Blocks(found[:top], paths, all_seen, sizes)


def _count(x: Value, order: Sequence[Value], edges: dict[Value, list[tuple[int, Value]]], output: Value) -> int:
    paths = {x: 1}
    for node in order:
        if node in edges:
            paths[node] = sum(paths.get(source, 0) for _, source in edges[node])
    return paths.get(output, 0)


def _pulled(start: _Start, argument: int, source: Value) -> tuple[Any, Any]:
    found = contributed(start.node, argument, start.ct, start.mask)
    if found is None:
        return np.zeros(shape_of(source._data)), None
    return fit(found[0], strong(source._data)), found[1]


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
