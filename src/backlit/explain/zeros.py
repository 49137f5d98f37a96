"""Why a gradient is exactly zero: dead relu, saturated unit, a factor of zero, a mask, terms that cancel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.core.numbers import dtype_of, quietly, shape_of, strong
from backlit.core.op import Elementwise, Linear
from backlit.core.value import Value, inputs_of
from backlit.explain.answer import Finding
from backlit.explain.blocks import Hop, Index, effort, hops
from backlit.explain.flow import Flow
from backlit.explain.formula import number_text
from backlit.explain.naming import Names, at, operands_there, spot_of
from backlit.explain.sums import broadcast_index

MOST = 4_000  # elements looked at
MOST_WORK = 2_000_000  # numbers computed on the way
_RECTIFIERS = ("relu",)
_FLAT = ("floor", "ceil", "trunc", "round", "sign", "floor_divide")


@dataclass
class _Cause:
    kind: str
    node: Value
    count: int = 0
    example: str = ""
    operand: Value | None = None
    others: list[Index] = field(default_factory=list)


def zero_findings(flow: Flow, names: Names, starts: list[tuple[Value, Index]]) -> list[Finding]:
    """What makes the derivative of the output by these elements zero, the most frequent cause first."""
    return quietly(_findings, flow, names, starts)  # type: ignore[no-any-return]


def _findings(flow: Flow, names: Names, starts: list[tuple[Value, Index]]) -> list[Finding]:
    causes: dict[tuple[str, Value], _Cause] = {}
    stack, seen = list(starts), set(starts)
    spent = 0
    while stack and len(seen) < MOST and spent < MOST_WORK:
        node, index = stack.pop()
        if node is flow.output:
            continue
        spent += effort(flow, node)
        found = hops(flow, node, index, True)
        if not found:
            continue
        products = np.concatenate([hop.products for hop in found])
        if np.any(products != 0):
            _add(causes, "cancelled", node, _cancelled(names, node, index, products), None)
            continue
        for hop in found:
            if not hop.products.size:
                _unreached(causes, names, hop)
            for k in range(hop.products.size):
                if hop.local[k] == 0:
                    _flat(causes, names, hop, k)
                elif (hop.result, hop.index(k)) not in seen:
                    seen.add((hop.result, hop.index(k)))
                    stack.append((hop.result, hop.index(k)))
    ordered = sorted(causes.values(), key=lambda cause: -cause.count)
    return list(_told(ordered, names))


def _add(causes: dict[tuple[str, Value], _Cause], kind: str, node: Value, example: str, operand: Value | None) -> None:
    cause = causes.setdefault((kind, node), _Cause(kind, node, 0, example, operand))
    cause.count += 1


def _cancelled(names: Names, node: Value, index: Index, products: Any) -> str:
    shown = ", ".join(number_text(float(p)) for p in products[products != 0][:4])
    more = ", …" if np.sum(products != 0) > 4 else ""
    return f"the terms of {at(names[node], index)} are not zero, but cancel exactly: {shown}{more}"


def _unreached(causes: dict[tuple[str, Value], _Cause], names: Names, hop: Hop) -> None:
    """A use of which no element depends on this one: the element was not taken, or it met zeros only."""
    node, element = hop.result, at(names[hop.source], hop.element)
    op, inputs = node._op, inputs_of(node)
    others = [i for i, x in enumerate(inputs) if i != hop.argument and dtype_of(x._data).kind == "f"]
    if isinstance(op, Linear) and others and not op.jointly:
        met = _meets(hop)
        if met is not None:
            (other,) = others[:1]
            text = f"{element} is multiplied by zeros only, of {names[inputs[other]]}, in {names[node]}"
            _add(causes, "multiplied by zero", node, text, inputs[other])
            return
    assert op is not None
    _add(causes, "not used", node, f"{names[node]} ({op.name}) does not use {element}", None)


def _meets(hop: Hop) -> Any:
    """The elements of the result that would depend on this one if the other operands were ones."""
    node = hop.result
    op = node._op
    assert op is not None
    xs = [np.ones_like(strong(x._data)) if dtype_of(x._data).kind == "f" else strong(x._data) for x in inputs_of(node)]
    assert hop.argument is not None
    unit = np.zeros(shape_of(xs[hop.argument]))
    unit[hop.element] = 1
    xs[hop.argument] = unit[()]
    result = np.asarray(op(*xs, **node._extra.attrs))
    return np.nonzero(result) if np.any(result) else None


def _flat(causes: dict[tuple[str, Value], _Cause], names: Names, hop: Hop, k: int) -> None:
    """An elementwise partial that is zero, by what the op is."""
    node, where = hop.result, hop.index(k)
    op, inputs = node._op, inputs_of(node)
    assert op is not None
    if not isinstance(op, Elementwise) or hop.argument is None:
        _unreached(causes, names, hop)
        return
    there = operands_there(node, where)
    x = at(names[hop.source], hop.element)
    value = there[hop.argument]
    shown = "?" if value is None else number_text(value)
    if op.name in _RECTIFIERS:
        _add(causes, "dead relu", node, f"{x} = {shown} is not above 0, so {op.name} passes nothing back", None)
    elif op.name == "where":
        _add(causes, "masked", node, f"where() did not choose {x}, so nothing flows to it", None)
    elif op.selects:
        _add(
            causes,
            "not chosen",
            node,
            f"{op.name} did not choose {x} = {shown}, so nothing flows to it",
            None,
        )
    elif op.name == "multiply":
        other = inputs[1 - hop.argument]
        label = at(names[other], broadcast_index(shape_of(other._data), where))
        _add(causes, "multiplied by zero", node, f"{x} is multiplied by {label} = 0", other)
    elif op.name in _FLAT:
        _add(causes, "flat", node, f"{op.name} is flat between its jumps: its derivative is 0", None)
    else:
        y = number_text(float(np.asarray(node._data)[where]))
        if len(inputs) == 1 and _levels_off(op, node, there[0]):
            _add(
                causes,
                "saturated",
                node,
                f"{op.name}({x} = {shown}) = {y} has levelled off: its slope is 0 to rounding",
                None,
            )
        else:
            _add(causes, "zero derivative", node, f"the partial of {op.name} by {x} = {shown} is 0", None)


def _levels_off(op: Elementwise, node: Value, x: float | None) -> bool:
    """Whether a function stays the same when its argument moves by a tenth."""
    if x is None:
        return False
    near = [float(op.evaluate(np.float64(x + d), **node._extra.attrs)) for d in (-0.1, 0.0, 0.1)]
    return bool(np.ptp(near) <= 1e-6 * max(1.0, abs(near[1])))


_REMEDIES = {
    "dead relu": "A unit that is off for all of the data never learns. Try leaky_relu, a smaller learning rate, or "
    "weights drawn anew (He initialisation).",
    "saturated": "Keep its input small: smaller initial weights, normalised inputs, or batch norm.",
    "masked": "That is what a mask is for. If the element should count, look at the condition.",
    "not chosen": "Only the one that was chosen gets a gradient.",
    "flat": "Rounding lets no gradient through; compute with the unrounded value.",
    "not used": "Nothing depends on it, so it cannot learn from this output.",
    "cancelled": "Look at the terms: why(...).sum lists them.",
}


def _told(causes: list[_Cause], names: Names) -> Iterator[Finding]:
    for cause in causes:
        times = f" (the same in {cause.count - 1} more)" if cause.count > 1 else ""
        remedy = _REMEDIES.get(cause.kind, "")
        text = f"{cause.example}{times}."
        operand, kind = cause.operand, cause.kind
        if operand is not None and not np.any(operand._data):
            whole = "is 0" if not shape_of(operand._data) else "is zero everywhere"
            if operand._op is None and shape_of(operand._data):
                kind = "zero weights"
                remedy = (
                    f"{names[operand]} is zero everywhere. Weights that start at zero, or all equal, are symmetric: "
                    "they pass no gradient back, or the same to all. Start from small random numbers."
                )
            elif operand._op is not None or shape_of(operand._data):
                remedy = f"{names[operand]} {whole}."
        yield Finding(kind, f"{kind}: {text}", remedy, spot_of(cause.node))
