"""Counting paths without walking them, and finding the heaviest ones first.

A path is a chain of edges from the output to the variable; its product is what it adds to the gradient. There may be
10^30 of them, but a path's end does not care how it was reached, so everything about *all* paths follows node by
node: how many there are, their sum, the sum of their sizes, and the largest product from each node on.

The heaviest paths follow from the last: it is an exact bound. The very heaviest takes the best edge
everywhere. Any other leaves a heavier one at some node by another edge, and is the best from there on. So the
next heaviest is always among the ways to leave those already found, and each path found costs no more than its length.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from backlit.explain.path_graph import Edge, Web

_HUGE = 1e9  # in place of the logarithm of an infinity or NaN: heavier than anything finite


@dataclass(frozen=True, slots=True)
class Totals:
    """What all paths amount to: how many, how many of them carry anything, the sum of products and that of
    their sizes."""

    paths: int
    carrying: int
    total: float
    sizes: float


def totals(web: Web) -> Totals:
    """Of all paths from the last node to node 0. Cost: linear in the web (and in the digits of the count)."""
    last = len(web.places) - 1
    paths, carrying = [0] * (last + 1), [0] * (last + 1)
    total, sizes = [0.0] * (last + 1), [0.0] * (last + 1)
    paths[last] = carrying[last] = 1
    total[last] = sizes[last] = 1.0
    for n in range(last, 0, -1):
        p, c, t, s = paths[n], carrying[n], total[n], sizes[n]
        for edge in web.edges[n]:
            paths[edge.to] += p
            if edge.closed:
                continue
            w = edge.weight
            if w:
                carrying[edge.to] += c
            total[edge.to] += t * w
            sizes[edge.to] += s * abs(w)
        paths[n] = carrying[n] = 0  # long integers need not be kept
    return Totals(paths[0], carrying[0], total[0], sizes[0])


Route = list[tuple[int, Edge]]  # each node on the way and the edge taken from it


def heaviest(web: Web, top: int) -> list[Route]:
    """The `top` paths with the largest products, heaviest first; those with a zero on the way come last or not at all.

    Cost: linear in the web, and for each path found in its length and what branches off it.
    """
    if top < 1:
        return []
    best, choice = _bounds(web)
    last = len(web.places) - 1
    if best[last] == -math.inf:
        return []
    ticket = count()
    found: list[Route] = []
    # (minus the logarithm of the product, ticket, start of the path, its logarithm, the node that it leads to)
    heap: list[tuple[float, int, _Prefix | None, float, int]] = [(-best[last], next(ticket), None, 0.0, last)]
    while heap and len(found) < top:
        _, _, prefix, size, node = heapq.heappop(heap)
        leaving: list[tuple[float, int, _Prefix | None, float, int]] = []
        route = prefix
        while node:
            taken = choice[node]
            assert taken is not None
            for edge in web.edges[node]:
                if edge is taken or best[edge.to] == -math.inf or (w := _log(edge)) == -math.inf:
                    continue
                bound = size + w + best[edge.to]
                leaving.append((-bound, next(ticket), _Prefix(route, node, edge), size + w, edge.to))
            route = _Prefix(route, node, taken)
            size += _log(taken)
            node = taken.to
        found.append(_listed(route))
        for entry in heapq.nsmallest(top - len(found), leaving):
            heapq.heappush(heap, entry)
    return found


class _Prefix:
    """The start of a path, which many paths share."""

    __slots__ = ("before", "edge", "node")

    def __init__(self, before: _Prefix | None, node: int, edge: Edge) -> None:
        self.before, self.node, self.edge = before, node, edge


def _listed(end: _Prefix | None) -> Route:
    route: Route = []
    while end is not None:
        route.append((end.node, end.edge))
        end = end.before
    route.reverse()
    return route


def _bounds(web: Web) -> tuple[list[float], list[Edge | None]]:
    """For each node the logarithm of the largest product from it to node 0, and the edge that leads there."""
    best = [-math.inf] * len(web.places)
    choice: list[Edge | None] = [None] * len(web.places)
    best[0] = 0.0
    for n in range(1, len(web.places)):
        for edge in web.edges[n]:
            size = _log(edge) + best[edge.to]
            if size > best[n]:
                best[n], choice[n] = size, edge
    return best, choice


def _log(edge: Edge) -> float:
    """The logarithm of an edge's size. Products of many factors overflow, sums of their logarithms do not."""
    size = abs(edge.weight)
    if edge.closed or size == 0.0:
        return -math.inf
    return math.log(size) if math.isfinite(size) else _HUGE


def product(factors: Iterable[float]) -> float:
    """The product of factors, also where multiplying them one by one would overflow or underflow on the way.

    >>> product([1e-200, 1e-200, 1e300, 1e100])
    1.0
    """
    mantissa, exponent = 1.0, 0
    for factor in factors:
        mantissa, more = math.frexp(mantissa * factor)
        exponent += more
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)


def remainder(total: float, parts: Sequence[float]) -> float:
    """What is left of a total, rounded once."""
    try:
        return math.fsum([total, *(-part for part in parts)])
    except (OverflowError, ValueError):
        return total - sum(parts)
