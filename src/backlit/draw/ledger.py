"""The numbers of a backward pass, kept for a drawing: every node's gradient, and what passes along every edge.

`.grad` of the values is neither read nor changed. Nothing recurses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.autodiff.reverse import seed_for
from backlit.autodiff.rules import contribution
from backlit.core.numbers import Abstract, dtype_of, quietly, shape_of, strong
from backlit.core.op import Elementwise, Linear, Special
from backlit.core.value import INACTIVE, Value, inputs_of, leaf
from backlit.explain.formula import Formula, partial_formula

Edge = tuple[Value, int]  # a node, and which of its inputs


@dataclass(frozen=True)
class Ledger:
    """gradients: of each node, by the output. passed: what each edge carries back; None where an input was not
    chosen, so that nothing flows to it."""

    gradients: Mapping[Value, Any] = field(default_factory=dict)
    passed: Mapping[Edge, Any] = field(default_factory=dict)


def ledger(output: Value, order: Sequence[Value]) -> Ledger:
    """The backward pass of one output over its graph, which stands in topological order.

    It starts from the gradient that the output holds (the seed of its `backward()`, or the gradient of a later
    output), or from one. Raises ShapeError for an array that holds none, DtypeError if it is no real number.
    """
    held = output._grad
    seed = held if held is not None and held is not INACTIVE else seed_for(output, None, "draw(backward=True)")
    return quietly(_swept, output, order, seed)  # type: ignore[no-any-return]


def _swept(output: Value, order: Sequence[Value], seed: Any) -> Ledger:
    gradients: dict[Value, Any] = {output: seed}
    masks: dict[Value, Any] = {}
    passed: dict[Edge, Any] = {}
    for node in reversed(order):
        if node not in gradients or node._op is None:
            continue
        inputs = inputs_of(node)
        ct, mask = strong(gradients[node]), masks.get(node)
        y, xs = strong(node._data), [strong(x._data) for x in inputs]
        for index, x in enumerate(inputs):
            if x._grad is INACTIVE:
                continue
            found = contribution(node._op, index, ct, mask, y, xs, node._extra.attrs)
            if found is None:
                passed[node, index] = None
                continue
            term, present = found
            if present is not None and shape_of(present) == () and not present:
                passed[node, index] = None
                continue
            term = float(term) if type(x._data) is float else term
            passed[node, index] = term
            if x not in gradients:
                gradients[x] = term
                if present is not None:
                    masks[x] = present
                continue
            gradients[x] = gradients[x] + term
            if x in masks:
                if present is None:
                    del masks[x]
                else:
                    masks[x] = masks[x] | present
    for node in order:  # reached only by what was not chosen: nothing flows, so the gradient is zero
        if node not in gradients and node._grad is not INACTIVE:
            gradients[node] = np.zeros(shape_of(node._data), dtype_of(node._data)) if shape_of(node._data) else 0.0
    return Ledger(gradients, passed)


def can_have_gradients(output: Value, order: Sequence[Value]) -> bool:
    """Whether there is a backward pass to show: the output can be differentiated, and all numbers are known."""
    return output._grad is not INACTIVE and not any(type(node._data) is Abstract for node in order)


def wants_gradients(output: Value) -> bool:
    """Whether a backward pass has been run through the output."""
    return output._grad is not None and output._grad is not INACTIVE


# -- local partials -------------------------------------------------------------------------------------------


def partial_value(node: Value, index: int) -> Any:
    """The local partial of a node by one input, as a number or, elementwise, an array; None where it is neither."""
    op, inputs, attrs = node._op, inputs_of(node), node._extra.attrs
    y, xs = strong(node._data), [strong(x._data) for x in inputs]
    if isinstance(op, Elementwise):
        rule = op.partials[index]
        if rule is None:
            return None
        value = quietly(rule, y, *xs, **attrs)
        if dtype_of(value).kind == "b":
            value = np.asarray(value, node.dtype)[()]
        return float(value) if shape_of(value) == () else value
    if isinstance(op, (Linear, Special)) and shape_of(node._data) == () == shape_of(inputs[index]._data):
        unit = quietly(contribution, op, index, np.ones((), dtype_of(y))[()], None, y, xs, attrs)
        return None if unit is None else float(unit[0])
    return None


def partial_symbols(node: Value, index: int, names: Mapping[Value, str]) -> Formula | None:
    """The local partial of an elementwise op as a formula of the names; None for other ops."""
    op, inputs = node._op, inputs_of(node)
    rule = op.partials[index] if isinstance(op, Elementwise) else None
    if rule is None:
        return None
    stand_ins = {x: _stand_in(x) for x in (*inputs, node)}
    written = rule(stand_ins[node], *(stand_ins[x] for x in inputs), **node._extra.attrs)
    return partial_formula(written, {stand_ins[x]: names[x] for x in stand_ins if x in names})


def carried_back(node: Value, index: int, names: Mapping[Value, str], cotangent: str) -> str:
    """What a node that is not elementwise hands back to one input, as a formula in its gradient."""
    op, inputs = node._op, inputs_of(node)
    if not isinstance(op, (Linear, Special)):
        return ""
    stand_ins = {x: _stand_in(x) for x in (*inputs, node)}
    ct = leaf(np.zeros(shape_of(node._data), dtype_of(node._data)) if shape_of(node._data) else 0.0)
    found = contribution(op, index, ct, None, stand_ins[node], [stand_ins[x] for x in inputs], node._extra.attrs)
    if found is None or not isinstance(found[0], Value):
        return ""
    return partial_formula(found[0], {ct: cotangent, **{stand_ins[x]: names[x] for x in stand_ins if x in names}}).text


def _stand_in(x: Value) -> Value:
    """A leaf with the same numbers, for a formula; a constant stays one, since rules look at it."""
    return x if x._op is None and x._grad is INACTIVE else leaf(x._data)
