"""Where a NaN or an infinity in a gradient was born, in either pass, and how it spread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from backlit.autodiff.nonfinite import NonFinite, trace_nonfinite
from backlit.core.numbers import dtype_of
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import toposort
from backlit.explain.answer import Finding
from backlit.explain.flow import Flow
from backlit.explain.naming import Names, spot_of

_SHOWN = 3


def birth_findings(output: Value, seed: Any, sources: Iterable[Value]) -> list[Finding]:
    """The birth certificates: the first nodes, in either pass, at which finite numbers gave a NaN or an infinity.

    Cost: one look at every number of the graph, and one backward pass.
    """
    sources = list(sources)
    order = toposort([output])
    with trace_nonfinite("record") as tracer:
        for node in order:
            if node._op is not None and node._extra.because is None and dtype_of(node._data).kind == "f":
                tracer(node)  # a leaf is found by its first user
        flow = Flow(output, seed, sources, watch=tracer)
    names = Names(flow)
    found = sorted(tracer.found, key=lambda each: each.where == "leaf" and _is_mask(each.node))
    distinct = {each.message: each for each in reversed(found)}
    return [_told(each, flow, names) for each in reversed(distinct.values())][:_SHOWN]


def _is_mask(node: Value) -> bool:
    """Whether a node is a constant with infinities, which may be meant, and without a NaN."""
    return node._op is None and node._grad is INACTIVE and not np.any(np.isnan(node._data))


def _told(birth: NonFinite, flow: Flow, names: Names) -> Finding:
    *lines, last = birth.message.replace("in the backward pass", "In the backward pass", 1).split("\n")
    remedy = ""
    if lines and not last.startswith("    "):
        remedy = last.strip()
    else:
        lines.append(last)
    if birth.where == "backward":
        spread = _backward(birth, flow, names)
    else:
        spread = _forward(birth.node, flow, names)
    if spread:
        lines.append(f"    it spread: {spread}")
    kind = {
        "leaf": "in an input",
        "forward": "born in the forward pass",
        "backward": "born in the backward pass",
    }
    return Finding(kind.get(birth.where, birth.where), "\n".join(lines), remedy, spot_of(birth.node))


def _bad(x: Any) -> bool:
    return x is not None and not np.all(np.isfinite(np.asarray(x, np.float64)))


def _forward(node: Value, flow: Flow, names: Names) -> str:
    """From the node where it was born to the output, along nodes that hold a NaN or an infinity."""
    way = [node]
    for later in flow.order:
        if later._serial > node._serial and any(x is way[-1] for x in inputs_of(later)) and _is_real_and_bad(later):
            way.append(later)
    return _listed(way, names)


def _is_real_and_bad(node: Value) -> bool:
    return dtype_of(node._data).kind == "f" and _bad(node._data)


def _backward(birth: NonFinite, flow: Flow, names: Names) -> str:
    """From there back to a source, along cotangents that are not finite."""
    assert birth.node is not None
    node: Value | None = birth.node if birth.argument is None else inputs_of(birth.node)[birth.argument]
    way: list[Value] = []
    while node is not None and len(way) < 10_000:
        way.append(node)
        node = next((x for x in inputs_of(node) if x in flow.relevant and _bad(flow.cts.get(x))), None)
    return _listed(way, names)


def _listed(way: list[Value], names: Names) -> str:
    if len(way) < 2:
        return ""
    shown = [names[n] for n in (way if len(way) <= 8 else [*way[:4], *way[-3:]])]
    if len(way) > 8:
        shown.insert(4, f"… {len(way) - 7} more …")
    return " → ".join(shown)
