"""A picture laid out: every node as a card with its name, formula, value and gradient, and the edges between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backlit.core.value import INACTIVE, inputs_of
from backlit.draw.amounts import FEW, amount, is_finite, shape_text
from backlit.draw.layout import Layout, layered
from backlit.draw.picture import Edge, Node, Picture
from backlit.draw.scene import Box, Curve, Figure, Point, Scene, Shape, Words
from backlit.draw.theme import text_width

TITLE, LINE = 13.0, 12.0  # sizes of type
LEADING = 18.0
PAD_X, PAD_Y = 11.0, 8.0
MARGIN = 18.0
BESIDE = 6.0  # between the forward line and the backward one
LONGEST = 37  # characters of a formula on a card
SMALL = 11.0
GAP = 58.0  # between layers
LEAN = 6.0
WIDEST = 1500.0  # a drawing that would be wider runs downward

Piece = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Card:
    """The lines of text on a node, and how much room they take."""

    lines: tuple[tuple[Piece, ...], ...]
    width: float
    height: float


def card(node: Node, backward: bool) -> Card:
    """What stands on a node: its name and formula, then its value, then its gradient."""
    name_style = "name" if node.named else "name unnamed"
    lines: list[tuple[Piece, ...]] = []
    if node.kind == "constant" and not node.shape and not node.named:
        lines.append(((amount(node.value), "value"),))
    else:
        name, rest = node.heading
        rest = rest if len(rest) <= LONGEST else f"{rest[: LONGEST - 1]}…"
        lines.append(((name, name_style), (rest, "formula")))
        if node.value is not None:
            size = f" ({shape_text(node.value)})" if node.shape else ""
            if node.folded and node.value is not node.last._data:
                size = f" ({len(node.value):,} numbers)" if len(node.value) > FEW else ""
            lines.append((("→ ", "value"), (amount(node.value), "value"), (size, "note")))
        if backward and node.gradient is not None:
            lines.append((("← ", "gradient"), (amount(node.gradient), "gradient")))
    if node.folded:
        lines.append(((_about(node), "note"),))
    elif node.serves:
        lines.append(((f"for the gradient of {node.serves}", "note"),))
    width = max(sum(text_width(text, TITLE if i == 0 else LINE) for text, _ in line) for i, line in enumerate(lines))
    return Card(tuple(lines), round(max(width, 22.0) + 2 * PAD_X, 1), len(lines) * LEADING + 2 * PAD_Y - 3)


def _about(node: Node) -> str:
    count = f"{len(node.members):,} nodes"
    where = node.site.rpartition(" in ")[0]
    if node.kind == "composite":
        text = count
    elif node.kind in ("line", "variables", "loop") and where:
        text = f"{where}, {count}" if node.kind != "variables" else where
    else:
        text = ""
    return f"{text}, {node.hits} found" if node.hits else text


def compose(picture: Picture, down: bool | None = None) -> tuple[Scene, Layout]:
    """The scene of a picture. down: whether it runs downward; by default long ones do, the others to the right."""
    number = {node.id: i for i, node in enumerate(picture.nodes)}
    ends = [(number[edge.source], number[edge.target]) for edge in picture.edges]
    cards = [card(node, picture.backward) for node in picture.nodes]
    labels = [_edge_label(edge) for edge in picture.edges]
    widest = max((text_width(label, SMALL) for label in labels if label), default=0.0)
    if down is None:
        down = _runs_far(cards, ends, GAP + widest)
    run_in = 0.0 if not widest else 20.0 if down else widest + 12  # where an edge runs straight, below its label
    gap = GAP + run_in
    port = (20.0 if picture.backward else 14.0) if not widest else widest + 16 if down else 26.0
    layout = layered(
        [(c.width, c.height) for c in cards], ends, down=down, gap=gap, port=port, spacing=24.0 if not down else 28.0
    )
    shapes: list[Shape] = []
    for edge, label, route in zip(picture.edges, labels, layout.routes, strict=True):
        moved = [(x + MARGIN, y + MARGIN) for x, y in route]
        shapes.append(_edge(edge, label, _with_run_in(moved, run_in, down), picture.backward, down))
    for node, each, (x, y) in zip(picture.nodes, cards, layout.centres, strict=True):
        shapes.append(_figure(node, each, x + MARGIN - each.width / 2, y + MARGIN - each.height / 2, picture))
    legend = _legend(picture, layout.height + 2 * MARGIN + 4)
    width = max(layout.width + 2 * MARGIN, max(text_width(text, SMALL) for text in _legend_texts(picture)) + 2 * MARGIN)
    height = layout.height + 2 * MARGIN + 15 * len(legend) + 6
    return Scene(round(width, 1), round(height, 1), (*shapes, *legend), picture.title, describe(picture)), layout


def _runs_far(cards: Sequence[Card], ends: Sequence[tuple[int, int]], gap: float) -> bool:
    """Whether the longest path would run over the edge of a page from left to right."""
    far = [0.0] * len(cards)  # the nodes stand in topological order
    for a, b in sorted(ends, key=lambda end: end[1]):
        far[b] = max(far[b], far[a] + cards[a].width + gap)
    return max((x + each.width for x, each in zip(far, cards, strict=True)), default=0.0) > WIDEST


def _with_run_in(route: list[Point], length: float, down: bool) -> list[Point]:
    """The route with its last part straight."""
    if not length or len(route) % 2:
        return route
    (x, y) = route[-1]
    bend = (x, y - length) if down else (x - length, y)
    return [*route[:-1], bend, bend, (x, y)]


def _figure(node: Node, each: Card, x: float, y: float, picture: Picture) -> Figure:
    styles = ["node", "variable" if node.kind in ("variable", "variables") else node.kind]
    if node.folded:
        styles.insert(1, "folded")
    if node.is_output:
        styles.append("output")
    if node.serves:
        styles.append("backward-pass")
    if picture.search:
        styles.append("hit" if node.hits else "missed")
    if not (node.value is None or is_finite(node.value)) or not (node.gradient is None or is_finite(node.gradient)):
        styles.append("bad")
    shapes: list[Shape] = []
    if node.folded:
        shapes.append(Box(x + 4, y + 4, each.width, each.height, "behind"))
    shapes.append(Box(x, y, each.width, each.height, "card", 4.0 if node.kind == "constant" else 8.0))
    for i, line in enumerate(each.lines):
        size = TITLE if i == 0 else LINE
        pieces = tuple(piece for piece in line if piece[0])
        if pieces:
            shapes.append(Words(round(x + PAD_X, 1), round(y + PAD_Y + 11 + i * LEADING, 1), pieces, size))
    return Figure(tuple(shapes), " ".join(styles), node.id, told(node))


def _edge_label(edge: Edge) -> str:
    if edge.partial is None:
        return ""
    number = amount(edge.partial)
    if edge.symbol and edge.symbol != number and len(edge.symbol) <= 12:
        return f"{edge.symbol} = {number}"
    return f"×{number}" if not number.startswith("-") else f"×({number})"


def _edge(edge: Edge, label: str, route: list[Point], backward: bool, down: bool) -> Figure:
    shapes: list[Shape] = []
    shift = BESIDE / 2 if backward and edge.flows is not None and _has_gradient(edge) else 0.0
    shapes.append(
        Curve(tuple(_shifted(route, -shift, down)), "forward", 1.6, arrow=True, down=down, lean=LEAN if shift else 0.0)
    )
    if shift:
        back = tuple(reversed(_shifted(route, shift, down)))
        style = "backward" if edge.flows else "nothing"
        shapes.append(Curve(back, style, 1.6, arrow=bool(edge.flows), down=down, lean=-LEAN))
    if label:
        (x, y) = route[-1]
        words = ((label, "partial"),)
        if down:
            shapes.append(Words(round(x + 8, 1), round(y - 10, 1), words, SMALL))
        else:
            shapes.append(Words(round(x - 10, 1), round(y - 7, 1), words, SMALL, "end"))
    return Figure(tuple(shapes), "edge", "", _edge_told(edge), (("source", edge.source), ("target", edge.target)))


def _has_gradient(edge: Edge) -> bool:
    """Whether a gradient could flow along it: neither end is a constant."""
    return any(inputs_of(node)[index]._grad is not INACTIVE and node._grad is not INACTIVE for node, index in edge.uses)


def _shifted(route: list[Point], by: float, down: bool) -> list[Point]:
    return [(x + by, y) for x, y in route] if down else [(x, y + by) for x, y in route]


# -- words ----------------------------------------------------------------------------------------------------


def told(node: Node) -> str:
    """A node in words, as a tool tip and for a screen reader."""
    lines = ["".join(node.heading)]
    if node.kind in ("variable", "constant"):
        lines = [f"{node.name}, a {node.kind}" if node.name else f"a {node.kind}"]
    if node.shape and node.kind != "variables":
        lines.append(f"shape {node.shape}, {node.dtype}")
    if node.value is not None:
        lines.append(f"value {amount(node.value)}")
    if node.gradient is not None:
        lines.append(f"gradient {amount(node.gradient)}")
    if node.scope:
        lines.append(f"in {node.scope}")
    if node.site:
        lines.append(node.site)
    return "\n".join(lines)


def _edge_told(edge: Edge) -> str:
    lines = []
    if edge.partial is not None:
        symbol = f" = {edge.symbol}" if edge.symbol else ""
        lines.append(f"local partial{symbol} = {amount(edge.partial)}")
    if edge.passed is not None:
        lines.append(f"carries back {amount(edge.passed)}")
    elif edge.flows is False:
        lines.append("nothing flows back")
    return "\n".join(lines)


def describe(picture: Picture) -> str:
    """The whole drawing in a sentence or two."""
    output, count = picture.output, len(picture.nodes)
    shown = f"{count} nodes" if count == picture.total else f"{count} nodes that stand for {picture.total}"
    text = f"Expression graph of {output.name} with {shown} and {len(picture.edges)} edges."
    if output.value is not None:
        text += f" {output.name} is {amount(output.value)}."
    if picture.backward:
        leaves = [node for node in picture.nodes if node.kind == "variable" and node.gradient is not None]
        told_of = ", ".join(f"{node.name}: {amount(node.gradient)}" for node in leaves[:8])
        text += f" Gradients: {told_of}{', …' if len(leaves) > 8 else ''}." if leaves else ""
    return text


def _legend_texts(picture: Picture) -> list[str]:
    texts = ["→ value"]
    if picture.backward:
        texts = [f"→ value   ← gradient ∂{picture.output.name}/∂(node)"]
    if any(edge.partial is not None for edge in picture.edges):
        texts.append("on an edge: the local partial by which the gradient is multiplied")
    return texts


def _legend(picture: Picture, y: float) -> list[Shape]:
    shapes: list[Shape] = []
    for i, text in enumerate(_legend_texts(picture)):
        pieces: tuple[Piece, ...] = ((text, "note"),)
        if i == 0:
            value, _, rest = text.partition("   ")
            pieces = ((value, "value"), ("   ", "note"), (rest, "gradient")) if rest else ((value, "value"),)
        shapes.append(Words(MARGIN, y + 15 * i, pieces, SMALL))
    return shapes
