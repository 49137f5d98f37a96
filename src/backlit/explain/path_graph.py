"""A graph as a web of numbers: nodes in order, and on each edge the local partial by which a gradient is multiplied.

Scalars are nodes as they are. Arrays can be opened into their elements, each a node of its own, as long as that
stays small; the Jacobian of an op is found by applying its rule to one unit vector after the other, so that
every op can be opened, a user's own too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from backlit.autodiff.rules import contribution
from backlit.core.numbers import dtype_of, quietly, shape_of, strong
from backlit.core.op import ONE, Elementwise
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import descendants

Place = tuple[Value, int | None]
"""A node of the graph and, where it is an array, the number of the element in it."""

MAX_ELEMENTS = 20_000  # elements of all arrays together that are opened
MAX_EDGES = 200_000
MAX_VECTORS = 2_000  # unit vectors to which rules are applied


@dataclass(frozen=True, slots=True)
class Edge:
    """From a node to one of its inputs, nearer the variable.

    to: the number of the input. weight: the local partial. argument: which input of the op it is. closed: a choice
    (`relu`, `where`) did not fall on this input, so that nothing flows, not even 0 · infinity.
    """

    to: int
    weight: float
    argument: int
    closed: bool = False


@dataclass(slots=True)
class Web:
    """Nodes on paths from the variable, number 0, to the output, the last one; `edges[n]` lead from n to lower
    numbers."""

    places: list[Place] = field(default_factory=list)
    edges: list[list[Edge]] = field(default_factory=list)


def web_of(output: Value, x: Value, order: Sequence[Value], element: int | None = None) -> Web | None:
    """The web between a scalar output and one number: a scalar variable, or one element of an array.

    order: all nodes, inputs first. None if the arrays on the way are too large to be opened, or no path leads there.
    """
    relevant = descendants([x], order)
    if output not in relevant:
        return None
    nodes = [node for node in order if node in relevant and node._grad is not INACTIVE]
    if sum(prod(shape_of(node._data)) for node in nodes if shape_of(node._data)) > MAX_ELEMENTS:
        return None
    return quietly(_web, output, x, nodes, element)  # type: ignore[no-any-return]


def _web(output: Value, x: Value, nodes: Sequence[Value], element: int | None) -> Web | None:
    web = Web([(x, element)], [[]])
    numbers: dict[Value, Any] = {x: 0 if element is None else {element: 0}}
    room, vectors = MAX_EDGES, MAX_VECTORS
    for node in nodes:
        if node is x:
            continue
        inputs = inputs_of(node)
        if not any(source in numbers for source in inputs):
            continue
        if not shape_of(node._data) and not any(shape_of(source._data) for source in inputs):
            numbers[node] = len(web.places)
            web.places.append((node, None))
            web.edges.append(_scalar_edges(node, inputs, numbers))
            continue
        rows, used = _opened(node, inputs, numbers, vectors)
        vectors -= used
        room -= sum(map(len, rows.values()))
        if vectors < 0 or room < 0:
            return None
        if not rows:
            continue
        of_node: dict[int, int] = {}
        for place, edges in sorted(rows.items()):
            of_node[place] = len(web.places)
            web.places.append((node, place if shape_of(node._data) else None))
            web.edges.append(edges)
        numbers[node] = of_node if shape_of(node._data) else of_node[0]
    return _pruned(web, output)


def _pruned(web: Web, output: Value) -> Web | None:
    """Only what lies on a path to the output."""
    if web.places[-1][0] is not output:
        at = next((n for n, (node, _) in enumerate(web.places) if node is output), None)
        if at is None:
            return None
        web = Web(web.places[: at + 1], web.edges[: at + 1])
    on = bytearray(len(web.places))
    on[-1] = 1
    for n in range(len(web.places) - 1, -1, -1):
        if on[n]:
            for edge in web.edges[n]:
                on[edge.to] = 1
    if all(on):
        return web
    renumbered: dict[int, int] = {}
    kept: list[int] = []
    for n, is_on in enumerate(on):
        if is_on:
            renumbered[n] = len(kept)
            kept.append(n)
    return Web(
        [web.places[n] for n in kept],
        [[Edge(renumbered[e.to], e.weight, e.argument, e.closed) for e in web.edges[n]] for n in kept],
    )


# -- scalars -------------------------------------------------------------------------------------------------


def _scalar_edges(node: Value, inputs: Sequence[Value], numbers: dict[Value, Any]) -> list[Edge]:
    edges = []
    for argument, source in enumerate(inputs):
        number = numbers.get(source)
        if number is None or source._grad is INACTIVE:
            continue
        weight, closed = local_partial(node, inputs, argument)
        if weight is not None:
            edges.append(Edge(number, weight, argument, closed))
    return edges


def local_partial(node: Value, inputs: Sequence[Value], argument: int) -> tuple[float | None, bool]:
    """The partial of a scalar node by one of its inputs; whether it is closed; None where the op has no rule for it."""
    op, y = node._op, node._data
    xs = [source._data for source in inputs]
    if type(op) is Elementwise and not op.selects and type(y) is float:
        rule = op.partials[argument]
        if rule is ONE:
            return 1.0, False
        if rule is None:
            return None, False
        try:
            return float(rule(y, *xs, **node._extra.attrs)), False
        except (ArithmeticError, ValueError):  # IEEE 754 has an answer where Python's floats raise
            pass
    assert op is not None
    y = strong(y)
    found = contribution(op, argument, y.dtype.type(1), None, y, [strong(x) for x in xs], node._extra.attrs)
    if found is None:
        return None, False
    closed = found[1] is not None and not found[1]
    return float(found[0]), closed


# -- arrays, opened into their elements ----------------------------------------------------------------------


def _opened(
    node: Value, inputs: Sequence[Value], numbers: dict[Value, Any], vectors: int
) -> tuple[dict[int, list[Edge]], int]:
    """For each element of an array node its edges, and how many unit vectors it took to find them."""
    rows: dict[int, list[Edge]] = {}
    used = 0
    for argument, source in enumerate(inputs):
        known = numbers.get(source)
        if known is None or source._grad is INACTIVE:
            continue
        targets = known if isinstance(known, dict) else {0: known}
        found, cost = _jacobian(node, inputs, argument, vectors - used)
        used += cost
        if used > vectors:
            return rows, used
        for at, to, weight, closed in found:
            if to in targets:
                rows.setdefault(at, []).append(Edge(targets[to], weight, argument, closed))
    return rows, used


Entry = tuple[int, int, float, bool]  # element of the result, element of the input, partial, closed


def _jacobian(node: Value, inputs: Sequence[Value], argument: int, most: int) -> tuple[list[Entry], int]:
    """The partials of every element of a node by every element of one input, those that are not zero by structure."""
    op = node._op
    assert op is not None
    y, xs, attrs = strong(node._data), [strong(source._data) for source in inputs], node._extra.attrs
    if isinstance(op, Elementwise):
        rule = op.partials[argument]
        if rule is None:
            return [], 0
        shape = shape_of(y)
        partial = np.broadcast_to(np.asarray(rule(y, *xs, **attrs)), shape).ravel().tolist()
        size = prod(shape_of(xs[argument]))
        to = np.broadcast_to(np.arange(size).reshape(shape_of(xs[argument])), shape).ravel().tolist()
        return [
            (at, into, float(w), op.selects and not w) for at, (into, w) in enumerate(zip(to, partial, strict=True))
        ], 0
    size = prod(shape_of(y))
    if size > most:
        return [], size
    found: list[Entry] = []
    for at in range(size):
        unit = np.zeros(size, dtype_of(y))
        unit[at] = 1
        ct: Any = unit.reshape(shape_of(y)) if shape_of(y) else unit[0]
        got = contribution(op, argument, ct, None, y, xs, attrs)
        if got is None:
            return [], size
        flat = np.asarray(got[0]).ravel()
        found += [(at, int(into), float(flat[into]), False) for into in np.flatnonzero(flat)]
    return found, size
