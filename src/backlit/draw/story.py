"""The derivation that a picture holds, as steps to go through one by one: forward to the output, then back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from backlit.core.numbers import Abstract, shape_of
from backlit.core.value import INACTIVE, inputs_of
from backlit.draw.amounts import exact, is_finite, raised
from backlit.draw.ledger import carried_back, partial_symbols, partial_value
from backlit.draw.picture import Edge, Node, Picture
from backlit.explain.formula import equals
from backlit.explain.wording import rule_name


@dataclass(frozen=True, slots=True)
class Step:
    """One step. phase: "start", "forward" or "backward". node: the id of the one in focus; edges: the pairs of ids in
    focus. title: what it is about. lines: (kind, text), where kind is "formula", "rule", "sum" or "note"."""

    phase: str
    node: str
    title: str
    lines: tuple[tuple[str, str], ...]
    edges: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def story(picture: Picture) -> list[Step]:
    """All steps of a picture: what is given, each node computed, and each gradient with where it came from."""
    inputs: dict[str, list[Edge]] = {node.id: [] for node in picture.nodes}
    uses: dict[str, list[Edge]] = {node.id: [] for node in picture.nodes}
    nodes = {node.id: node for node in picture.nodes}
    for edge in picture.edges:
        inputs[edge.target].append(edge)
        uses[edge.source].append(edge)
    steps = [_start(picture)]
    steps += [_forward(node, inputs[node.id]) for node in picture.nodes if inputs[node.id]]
    if picture.backward:
        for node in reversed(picture.nodes):
            if node.gradient is not None:
                steps.append(_backward(node, uses[node.id], nodes, picture))
    return steps


def _start(picture: Picture) -> Step:
    given = [node for node in picture.nodes if node.kind == "variable"]
    shown = ", ".join(f"{node.name} = {exact(node.value)}" for node in given[:12])
    lines = [("formula", picture.title)]
    if given:
        lines.append(("note", f"Given: {shown}{', …' if len(given) > 12 else ''}."))
    lines.append(("note", "Step forward to compute the value of each node" + (
        ", and on to find its gradient on the way back." if picture.backward else "."
    )))  # fmt: skip
    return Step("start", "", picture.title, tuple(lines))


def _forward(node: Node, edges: list[Edge]) -> Step:
    lines: list[tuple[str, str]] = []
    if node.kind in ("op", "composite"):
        lines.append(("formula", f"{node.name} = {node.formula}"))
        pad = " " * len(node.name)
        if node.numbers and node.numbers not in (node.formula, exact(node.value)) and not node.shape:
            lines.append(("formula", f"{pad} = {node.numbers}"))
        lines.append(("formula", f"{pad} {_is(node.value)}"))
    else:
        lines.append(("formula", "".join(node.heading)))
        if node.value is not None:
            lines.append(("formula", _is(node.value)))
    if node.shape:
        lines.append(
            ("note", f"An array of shape {node.shape}, {node.dtype}; shown are its least and greatest number.")
        )
    if node.kind == "composite":
        lines.append(("note", f"{len(node.members)} nodes, folded; draw(…, depth=1) opens them."))
    elif node.folded:
        lines.append(("note", f"{len(node.members)} nodes, folded."))
    if node.value is not None and not is_finite(node.value):
        lines.append(("note", "This is not a finite number."))
    lines += _origin(node)
    title = f"Forward: {node.name or node.formula}"
    return Step("forward", node.id, title, tuple(lines), tuple((edge.source, edge.target) for edge in edges))


def _origin(node: Node) -> list[tuple[str, str]]:
    return [("note", f"{node.site}: {node.source}" if node.source else node.site)] if node.site else []


def _backward(node: Node, uses: list[Edge], nodes: dict[str, Node], picture: Picture) -> Step:
    output, grad = picture.output.name, _grad(node)
    lines: list[tuple[str, str]] = []
    if node.is_output:
        lines.append(("formula", f"{grad} = ∂{output}/∂{node.name} {_is(node.gradient)}"))
        if shape_of(node.gradient) == () and float(node.gradient) == 1.0:
            lines.append(("note", f"The way back starts here: by itself {output} changes one to one."))
        else:
            lines.append(("note", f"The way back starts here, from the gradient that {output} holds."))
    terms: list[str] = []
    for edge in uses:
        lines += _term(node, nodes[edge.target], edge, picture)
        if edge.flows:
            terms.append(exact(edge.passed) if edge.passed is not None else "…")
    if len(terms) > 1:
        scalar = not node.shape and "…" not in terms
        total = " + ".join([terms[0], *(f"({t})" if t.startswith("-") else t for t in terms[1:])]) if scalar else ""
        said = f"{grad} = {total} {_is(node.gradient)}" if scalar else f"{grad}: {exact(node.gradient)}"
        lines.append(("sum", said))
        lines.append(("note", f"{len(terms)} paths join in {node.name}, so their contributions are added."))
    elif not terms and not node.is_output:
        lines.append(("note", f"Nothing flows to {node.name}, so its gradient is zero."))
    if not is_finite(node.gradient):
        lines.append(("note", "This is not a finite number."))
    title = f"Backward: ∂{output}/∂{node.name}" if node.name else f"Backward: {node.formula}"
    return Step("backward", node.id, title, tuple(lines), tuple((edge.source, edge.target) for edge in uses))


def _is(x: Any) -> str:
    """`= 2`, or `≈ 0.333333` where a number is rounded."""
    return f"{'=' if isinstance(x, Abstract) else equals(x)} {exact(x)}"


def _grad(node: Node) -> str:
    return f"{node.name}.grad" if node.name else "gradient"


def _term(node: Node, target: Node, edge: Edge, picture: Picture) -> list[tuple[str, str]]:
    """What one use of a node contributes to its gradient."""
    if not edge.flows:
        if all(inputs_of(each)[index]._grad is INACTIVE or each._grad is INACTIVE for each, index in edge.uses):
            return [("note", f"No gradient passes {target.name} = {target.formula}.")]
        return [("rule", f"through {target.name} = {target.formula}: nothing flows, {node.name} was not chosen")]
    if len(edge.uses) > 1 or target.kind != "op" or edge.uses[0][0] is not target.last:
        passed = f": {exact(edge.passed)}" if edge.passed is not None else ""
        return [("rule", f"through {target.name or target.formula} ({target.op or target.kind}){passed}")]
    ((value, index),) = edge.uses
    assert value._op is not None
    rule = rule_name(value._op, [x._grad is not INACTIVE for x in inputs_of(value)])
    lines = [("rule", f"through {target.name} = {target.formula}   ({rule})")]
    partial = partial_value(value, index)
    symbols = partial_symbols(value, index, picture.names)
    whole = f"∂{target.name}/∂{node.name}"
    if partial is None:
        back = raised(carried_back(value, index, picture.names, _grad(target)))
        if back:
            lines.append(("formula", f"{back}: {exact(edge.passed)}"))
        return lines
    pieces = [whole]
    if symbols is not None:
        numbers = raised(symbols.numbers) if not target.shape else ""
        pieces += [each for each in (raised(symbols.text), numbers) if each and each not in (*pieces, exact(partial))]
    chain = f"{' = '.join(pieces)} {_is(partial)}"
    if symbols is not None and symbols.because:
        chain += f"   because {' and '.join(symbols.because)}"
    lines.append(("formula", chain))
    product = f"{_grad(target)} × {whole}"
    if node.shape != target.shape:
        product += ", summed over the axes of the broadcast,"
    if not target.shape and not node.shape:
        factor = exact(partial)
        factor = f"({factor})" if factor.startswith("-") else factor
        product += f" = {exact(target.gradient)} × {factor}"
    lines.append(("formula", f"{product} {_is(edge.passed)}"))
    return lines
