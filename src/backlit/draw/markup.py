"""A picture in the languages of other tools: DOT of Graphviz, and Mermaid."""

from __future__ import annotations

from backlit.draw.amounts import amount
from backlit.draw.picture import Edge, Node, Picture
from backlit.draw.theme import DAY

_SHAPES = {"variable": "ellipse", "variables": "ellipse", "constant": "plaintext"}


def _lines(node: Node, backward: bool) -> list[str]:
    if node.kind == "constant" and not node.shape and not node.named:
        return [amount(node.value)]
    lines = ["".join(node.heading)]
    if node.value is not None:
        lines.append(f"→ {amount(node.value)}")
    if backward and node.gradient is not None:
        lines.append(f"← {amount(node.gradient)}")
    return lines


def _label(edge: Edge) -> str:
    if edge.partial is None:
        return ""
    return (
        f"{edge.symbol} = {amount(edge.partial)}"
        if edge.symbol not in ("", amount(edge.partial))
        else amount(edge.partial)
    )


def dot(picture: Picture) -> str:
    """The picture as a DOT file."""
    out = [
        "digraph backlit {",
        f"  label={_quoted(picture.title)};",
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="monospace"];',
        f'  edge [color="{DAY.forward}", fontcolor="{DAY.backward_ink}", fontname="monospace"];',
    ]
    for node in picture.nodes:
        label = "\\n".join(_quoted(line)[1:-1] for line in _lines(node, picture.backward))
        shape = f", shape={_SHAPES[node.kind]}" if node.kind in _SHAPES else ""
        extra = (
            ", peripheries=2"
            if node.is_output
            else ', style="rounded,filled", fillcolor="#f3f4f6"'
            if node.folded
            else ""
        )
        out.append(f'  {node.id} [label="{label}"{shape}{extra}];')
    for edge in picture.edges:
        label = _label(edge)
        out.append(f"  {edge.source} -> {edge.target}" + (f" [label={_quoted(label)}]" if label else "") + ";")
    return "\n".join([*out, "}", ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flowchart."""
    out = ["flowchart LR"]
    for node in picture.nodes:
        label = "<br/>".join(_entities(line) for line in _lines(node, picture.backward))
        left, right = (
            ("([", "])") if node.kind in ("variable", "variables") else ("[[", "]]") if node.folded else ("[", "]")
        )
        out.append(f'  {node.id}{left}"{label}"{right}')
    for edge in picture.edges:
        label = _label(edge)
        out.append(f"  {edge.source} -->" + (f'|"{_entities(label)}"| ' if label else " ") + edge.target)
    out.append(f"  style {picture.output.id} stroke-width:3px")
    return "\n".join([*out, ""])


def _entities(text: str) -> str:
    """Text in which Mermaid finds no syntax of its own."""
    return "".join(c if c.isalnum() or c in " .,→←…_" else f"#{ord(c)};" for c in text)
