"""Forward mode: from varied inputs to the tangents of what was computed from them, as more graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.autodiff.rules import fit, tangent
from backlit.core.op import Several
from backlit.core.record import as_constant
from backlit.core.state import Because, because, mode
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import descendants, toposort
from backlit.ops.summation import BROADCAST_TO


def push_forward(outputs: Sequence[Value], sources: Sequence[Value], tangents: Sequence[Any]) -> list[Value | None]:
    """Tangents of the outputs as new values, from those of the sources; None for one that no source reaches.

    Cost: a small multiple of the nodes between sources and outputs.
    """
    order = toposort(outputs)
    relevant = descendants(sources, order)
    found: dict[Value, Value] = {}
    for source, t in zip(sources, tangents, strict=True):
        found[source] = t if isinstance(t, Value) else as_constant(t, source.dtype)
    with mode(scope=None, because=None) as before:
        for node in order:
            if node in found or node not in relevant or node._grad is INACTIVE or node._op is None:
                continue
            because(before, Because(node, None, "forward"))
            if type(node._op) is Several:
                nodes = node._op.siblings(node)
                given = [found.get(x) for x in inputs_of(node)]
                pairs = zip(nodes, node._op.push_forward(nodes, given), strict=True)
                found.update((other, t) for other, t in pairs if t is not None)
                continue
            inputs = inputs_of(node)
            t = tangent(node._op, [found.get(x) for x in inputs], node, inputs, node._extra.attrs)
            if t is not None:
                t = _spread(t, node)
                found[node] = t if isinstance(t, Value) else as_constant(t, node.dtype)
    return [found.get(output) for output in outputs]


def _spread(t: Any, node: Value) -> Any:
    """A tangent in the shape and dtype of its node: an input that was broadcast has a tangent that must be, too."""
    if getattr(t, "shape", ()) != node.shape:
        t = BROADCAST_TO(t, shape=node.shape)
    return fit(t, node)
