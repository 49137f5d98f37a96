"""What a drawing shows, as data: the nodes that are visible, the edges between them, and every number on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backlit.core.value import Value
from backlit.draw.amounts import as_json
from backlit.draw.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Node:
    """One card of the drawing.

    id: `n0`, `n1`, … in the order of computing. kind: "variable", "constant", "op", or what was folded: "composite",
    "line", "variables", "constants", "loop", "earlier". name: what it is called; named: whether the user named
    it. op: the operation, or the name of the composite. formula: how it was computed, with names; numbers: with their
    numbers. value: what it came to (the last, for a group). gradient: of the output by it; None without a backward
    pass, or if none reaches it. members: the nodes of the graph that it stands for. hits: how many of them a search
    found. cut: its inputs are not shown. serves: for a node of a backward pass, which node's gradient it helps make.
    """

    id: str
    kind: str
    name: str
    named: bool
    op: str
    formula: str
    numbers: str
    value: Any
    gradient: Any
    shape: tuple[int, ...]
    dtype: str
    site: str
    source: str
    scope: str
    members: tuple[Value, ...] = field(repr=False)
    hits: int = 0
    cut: bool = False
    serves: str = ""
    is_output: bool = False

    @property
    def folded(self) -> bool:
        """Whether it stands for several nodes of the graph."""
        return len(self.members) > 1

    @property
    def heading(self) -> tuple[str, str]:
        """Its name, and what follows it in the same line. A line of source that begins with the name stands alone."""
        if not self.name or not self.formula:
            return self.name, self.formula
        if self.kind in ("op", "composite"):
            return self.name, f" = {self.formula}"
        begins = self.kind == "line" and self.formula.partition("=")[0].rstrip() == self.name
        return ("", self.formula) if begins else (self.name, f"  {self.formula}")

    @property
    def last(self) -> Value:
        """The node of the graph whose value is shown."""
        return self.members[-1]


@dataclass(frozen=True, slots=True)
class Edge:
    """From a node to one that was computed from it.

    source, target: ids. uses: as which inputs of which nodes (several, where groups are folded). partial: the local
    partial of the target by the source, a number or an array; None where it is neither, or not asked for.
    symbol: the same as a formula. passed: what flows back along it, None if nothing does or without a backward pass.
    flows: whether anything does, be it a zero (None without a backward pass).
    """

    source: str
    target: str
    uses: tuple[tuple[Value, int], ...] = field(repr=False)
    partial: Any = None
    symbol: str = ""
    passed: Any = None
    flows: bool | None = None


@dataclass(frozen=True)
class Picture:
    """All that a drawing shows. total: how many nodes the whole graph has; search: what was searched for."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    title: str
    backward: bool
    total: int
    search: str = ""
    names: dict[Value, str] = field(default_factory=dict, repr=False)
    ledger: Ledger = field(default_factory=Ledger, repr=False)

    @property
    def output(self) -> Node:
        return next(node for node in self.nodes if node.is_output)

    def to_dict(self) -> dict[str, Any]:
        """As dicts and lists that JSON can hold. Arrays are given by shape, least, greatest and norm."""
        return {
            "schema": "backlit.drawing/1",
            "title": self.title,
            "backward": self.backward,
            "total": self.total,
            "search": self.search,
            "nodes": [
                {
                    **{name: getattr(node, name) for name in _NODE},
                    "shape": list(node.shape),
                    "value": as_json(node.value),
                    "gradient": as_json(node.gradient),
                    "members": len(node.members),
                }
                for node in self.nodes
            ],
            "edges": [
                {
                    "source": edge.source,
                    "target": edge.target,
                    "inputs": [index for _, index in edge.uses],
                    "partial": as_json(edge.partial),
                    "symbol": edge.symbol,
                    "passed": as_json(edge.passed),
                    "flows": edge.flows,
                }
                for edge in self.edges
            ],
        }


_NODE = (
    *("id", "kind", "name", "named", "op", "formula", "numbers", "dtype"),
    *("site", "source", "scope", "hits", "cut", "serves", "is_output"),
)
