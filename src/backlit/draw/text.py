"""A picture as a tree of text, for a terminal."""

from __future__ import annotations

from backlit.draw.amounts import amount
from backlit.draw.picture import Edge, Node, Picture


def tree(picture: Picture) -> str:
    """The output first, below each node what it was computed from; a node that is used again is opened once."""
    inputs: dict[str, list[Edge]] = {node.id: [] for node in picture.nodes}
    uses: dict[str, int] = dict.fromkeys(inputs, 0)
    for edge in picture.edges:
        inputs[edge.target].append(edge)
        if edge.flows:
            uses[edge.source] += 1
    nodes = {node.id: node for node in picture.nodes}
    rows: list[tuple[str, str, str, str]] = []
    seen: set[str] = set()
    stack = [(picture.output.id, "", "")]
    while stack:
        id, first, rest = stack.pop()
        node = nodes[id]
        if id in seen and node.kind != "constant":
            rows.append((f"{first}{node.name or node.formula}", "see above", "", ""))
            continue
        seen.add(id)
        rows.append((first + _head(node), *_numbers(node, picture.backward, uses[id])))
        below = inputs[id]
        for i, each in enumerate(reversed(below)):
            last = i == 0
            stack.append((each.source, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))
    return "\n".join(_aligned(rows))


def _head(node: Node) -> str:
    if node.kind == "constant" and not node.shape and not node.named:
        return amount(node.value)
    return "".join(node.heading)


def _numbers(node: Node, backward: bool, uses: int) -> tuple[str, str, str]:
    value = "" if node.value is None else f"→ {amount(node.value)}"
    if node.kind == "constant" and not node.shape and not node.named:
        value = ""
    gradient = f"← {amount(node.gradient)}" if backward and node.gradient is not None else ""
    notes = [f"the sum of {uses} paths"] if gradient and uses > 1 and not node.folded else []
    if gradient and not uses and not node.is_output:
        notes.append("nothing flows to it")
    if node.shape and node.value is node.last._data:
        notes.append(f"shape {node.shape}")
    if node.folded:
        notes.append(f"{len(node.members):,} nodes")
    if node.hits:
        notes.append("found")
    return value, gradient, f"({', '.join(notes)})" if notes else ""


def _aligned(rows: list[tuple[str, str, str, str]]) -> list[str]:
    columns = [max(len(row[i]) for row in rows) for i in range(3)]
    return [
        "   ".join(f"{cell:{width}}" for cell, width in zip(row, [*columns, 0], strict=True) if width or cell).rstrip()
        for row in rows
    ]
