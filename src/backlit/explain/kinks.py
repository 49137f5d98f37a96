"""Conventions: where an op bends or jumps, its record states which derivative it takes, and an explanation says so."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.autodiff.blame import convention
from backlit.core.numbers import dtype_of, quietly, shape_of
from backlit.core.op import Elementwise, Special
from backlit.core.value import inputs_of
from backlit.explain.blocks import Hop
from backlit.explain.formula import number_text
from backlit.explain.naming import Names, at
from backlit.explain.sums import broadcast_index
from backlit.explain.wording import notes_of

MOST = 10_000  # elements of an input that is nudged
_STEP = 1e-7


def conventions(hop: Hop, k: int, names: Names) -> list[str]:
    """What must be said of one element's way through an op: a kink, a tie, the edge of a domain; mostly nothing."""
    op = hop.result._op
    if hop.argument is None or not np.isfinite(hop.local[k]):
        return []
    if isinstance(op, Elementwise):
        return quietly(_elementwise, hop, k, names)  # type: ignore[no-any-return]
    if isinstance(op, Special) and "onvention" in op.doc and np.size(hop.source._data) <= MOST:
        return quietly(_by_sides, hop, k, names)  # type: ignore[no-any-return]
    return []


def _elementwise(hop: Hop, k: int, names: Names) -> list[str]:
    node, where = hop.result, hop.index(k)
    op, shape = node._op, shape_of(node._data)
    assert isinstance(op, Elementwise)
    assert hop.argument is not None
    inputs = inputs_of(node)
    if "onvention" not in op.doc or any(dtype_of(x._data).kind not in "fiub" for x in inputs):
        return []
    xs = [np.broadcast_to(np.asarray(x._data), shape)[where] for x in inputs]
    y = np.asarray(node._data)[where]
    written = ", ".join(at(names[x], broadcast_index(shape_of(x._data), where)) for x in inputs)
    return notes_of(op, y, xs, node._extra.attrs, hop.argument, float(hop.local[k]), f"{op.name}({written})")


def _by_sides(hop: Hop, k: int, names: Names) -> list[str]:
    """The slopes below and above, by moving the element by a little."""
    node, where = hop.result, hop.index(k)
    op, inputs = node._op, inputs_of(node)
    assert op is not None
    assert hop.argument is not None
    datas: list[Any] = [x._data for x in inputs]
    x = np.array(datas[hop.argument], np.float64)
    h = max(abs(float(x[hop.element])), 1.0) * _STEP

    def moved(by: float) -> float:
        near = x.copy()
        near[hop.element] += by
        datas[hop.argument or 0] = near[()]
        return float(np.asarray(op.evaluate(*datas, **node._extra.attrs))[where])

    here = moved(0.0)
    below, above = (here - moved(-h)) / h, (moved(h) - here) / h
    if not np.isfinite([below, above]).all() or abs(above - below) <= 1e-3 * max(abs(below), abs(above), 1.0):
        return []
    result, element = at(names[node], where), at(names[hop.source], hop.element)
    slopes = f"slope {number_text(below, 3)} below and {number_text(above, 3)} above by {element}, a kink"
    return [f"{result} = {op.name}(…) has {slopes}. {convention(op)}"]
