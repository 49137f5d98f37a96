"""The backward pass of a graph, edge by edge, on plain numbers, with some cotangents taken from elsewhere.

Three questions are asked of it: what the gradients are; what they would be if the gradients that a person
gave were used further on; and what a change of one term, somewhere above a value, does to the gradient of
that value. The graph and the `.grad` of its values stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.rules import contribution
from backlit.core.numbers import dtype_of, quietly, shape_of, strong
from backlit.core.op import Elementwise, Linear
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import by_serial, descendants, toposort


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """One use of a value: `node` was computed from it, as its input number `index`."""

    node: Value
    index: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edge) and self.node is other.node and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self.node), self.index))

    @property
    def source(self) -> Value:
        """The value that is used."""
        return inputs_of(self.node)[self.index]


@dataclass(frozen=True, slots=True)
class Swept:
    """One backward pass.

    computed: the cotangent of each node as it follows from those of the nodes computed from it. used: the
    same, but what was given in its place where something was. masks: where a cotangent is present at all.
    terms: what each edge contributes.
    """

    computed: dict[Value, Any]
    used: dict[Value, Any]
    masks: dict[Value, Any]
    terms: dict[Edge, Any]


class Flow:
    """The active part of the graph of a scalar, ready for backward passes. Cost of making: linear."""

    def __init__(self, loss: Value) -> None:
        self.loss = loss
        self.order = [node for node in toposort([loss]) if node._grad is not INACTIVE]
        self.datas = {node: strong(node._data) for node in toposort([loss])}
        self.uses: dict[Value, list[Edge]] = {node: [] for node in self.order}
        for node in self.order:
            for index, x in enumerate(inputs_of(node)):
                if x in self.uses:
                    self.uses[x].append(Edge(node, index))

    def moment(self, node: Value) -> tuple[float, float]:
        """When a backward pass has the whole gradient of a node: the greater, the earlier."""
        uses = self.uses[node]
        return min((float(edge.node._serial) for edge in uses), default=math.inf), float(node._serial)

    def sweep(self, given: Mapping[Value, Any] | None = None, noise: Noise | None = None) -> Swept:
        """One backward pass. given: cotangents to go on with in place of the computed ones.

        Cost: one to three times that of computing the loss.
        """
        return quietly(self._sweep, given or {}, noise)  # type: ignore[no-any-return]

    def _sweep(self, given: Mapping[Value, Any], noise: Noise | None) -> Swept:
        seed = np.ones((), dtype_of(self.loss._data))[()]
        swept = Swept({self.loss: seed}, {}, {}, {})
        for node in reversed(self.order):
            ct = swept.computed.get(node)
            if ct is None:
                ct = swept.computed[node] = np.zeros(shape_of(node._data), dtype_of(node._data))[()]
            mask = swept.masks.get(node)
            if node in given:
                ct, mask = given[node], None
            if noise is not None:
                ct = noise.on(ct)
            swept.used[node] = ct
            if mask is None:
                swept.masks.pop(node, None)
            for index, x in enumerate(inputs_of(node)):
                if x in self.uses:
                    self._add(swept, Edge(node, index), x, ct, mask, noise)
        return swept

    def _add(self, swept: Swept, edge: Edge, x: Value, ct: Any, mask: Any, noise: Noise | None) -> None:
        y, xs = self.operands(edge.node)
        if noise is not None and isinstance(edge.node._op, Elementwise | Linear):
            y, xs = noise.on_operands(edge.node, y, xs)
        found = self._contribution(edge, ct, mask, y, xs)
        if found is None:
            return
        term, present = found
        swept.terms[edge] = term
        old = swept.computed.get(x)
        if old is None:
            swept.computed[x] = term
            if present is not None:
                swept.masks[x] = present
            return
        swept.computed[x] = old + term
        if x in swept.masks:
            if present is None:
                del swept.masks[x]
            else:
                swept.masks[x] = swept.masks[x] | present

    def operands(self, node: Value) -> tuple[Any, list[Any]]:
        """The data of a node and of its inputs."""
        return self.datas[node], [self.datas[x] for x in inputs_of(node)]

    def _contribution(self, edge: Edge, ct: Any, mask: Any, y: Any, xs: Sequence[Any]) -> tuple[Any, Any] | None:
        assert edge.node._op is not None
        return contribution(edge.node._op, edge.index, ct, mask, y, xs, edge.node._extra.attrs)

    def term(self, edge: Edge, ct: Any, mask: Any = None, y: Any = None, xs: Sequence[Any] | None = None) -> Any:
        """What an edge contributes, for a cotangent and operands that may be others than the graph's."""
        own_y, own_xs = self.operands(edge.node)
        found = quietly(self._contribution, edge, ct, mask, own_y if y is None else y, own_xs if xs is None else xs)
        return None if found is None else found[0]

    def sensitivity(self, swept: Swept, given: Mapping[Value, Any], names: Sequence[Value]) -> dict[Value, float]:
        """How much rounding there is in the gradients, as a multiple of one rounding error.

        Everything is disturbed at random by a relative step, three times over. Where large terms cancel (the
        bias in front of a batch norm), this is far more than the size of the gradient itself.
        """
        found = dict.fromkeys(names, 0.0)
        for draw in range(3):
            noise = Noise(draw, dtype_of(self.loss._data))
            other = self.sweep(given, noise)
            for node in names:
                change = np.abs(np.asarray(other.computed[node], float) - swept.computed[node])
                change = change[np.isfinite(change)]
                found[node] = max(found[node], float(np.max(change, initial=0.0)) / noise.step)
        return found

    # -- the surroundings of one value ---------------------------------------------------------------------

    def region(self, x: Value, stops: Container[Value], limit: int) -> dict[Edge, int]:
        """The edges between a value and the nearest nodes whose cotangents are known, with their distances.

        Nearest first; not more than `limit`.
        """
        found: dict[Edge, int] = {}
        front, depth, seen = [x], 0, {x}
        while front and len(found) < limit:
            behind = []
            for z in front:
                for edge in self.uses[z]:
                    found[edge] = depth
                    if edge.node not in seen and edge.node not in stops:
                        seen.add(edge.node)
                        behind.append(edge.node)
            front, depth = behind, depth + 1
        return dict(list(found.items())[:limit])

    def above(self, node: Value) -> set[Value]:
        """All nodes that were computed from this one, itself included."""
        return descendants([node], self.order)

    def carry(self, start: Value, delta: Any, x: Value, region: Mapping[Edge, int]) -> Any:
        """What a change of the cotangent of `start` does to that of `x`, along the edges of a region."""
        if start is x:
            return delta
        changes: dict[Value, Any] = {start: delta}
        inner = sorted((edge for edge in region if edge.source is not start), key=_serial, reverse=True)
        for edge in inner:
            if edge.node in changes:
                term = self.term(edge, changes[edge.node])
                if term is not None:
                    z = edge.source
                    changes[z] = changes[z] + term if z in changes else term
        return changes.get(x)


def _serial(edge: Edge) -> Any:
    return by_serial(edge.node)


class Noise:
    """Small relative disturbances, the same ones each time for the same number."""

    def __init__(self, draw: int, dtype: np.dtype[Any]) -> None:
        self.rng = np.random.default_rng(draw)
        self.step = float(np.sqrt(np.finfo(dtype).eps))
        self.known: dict[Value, Any] = {}

    def on(self, data: Any) -> Any:
        """The numbers, each a little larger or smaller."""
        signs = self.rng.integers(0, 2, shape_of(data)) * 2 - 1
        return (data * (1.0 + self.step * signs)).astype(dtype_of(data))

    def on_operands(self, node: Value, y: Any, xs: Sequence[Any]) -> tuple[Any, list[Any]]:
        """The same for what was computed; constants and whole numbers stay what they are."""
        return self._of(node, y), [self._of(x, data) for x, data in zip(inputs_of(node), xs, strict=True)]

    def _of(self, node: Value, data: Any) -> Any:
        if node._grad is INACTIVE:
            return data
        if node not in self.known:
            self.known[node] = self.on(data)
        return self.known[node]
