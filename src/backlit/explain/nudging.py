"""A graph computed again with one of its values moved: nudging done to a graph instead of a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.numerical import Nudged
from backlit.autodiff.slopes import Slope, scale_of
from backlit.core.numbers import dtype_of, shape_of, stored, strong
from backlit.core.value import Value, inputs_of
from backlit.core.walk import descendants


class Replay:
    """What the output of a graph would be if one node held other numbers. The graph is not changed.

    order: all nodes of the graph, inputs first, the output last. Cost: the nodes that depend on `moved`.
    """

    def __init__(self, order: Sequence[Value], moved: Value) -> None:
        self.output, self.moved = order[-1], moved
        later = descendants([moved], order)
        self.later = [node for node in order if node in later and node is not moved]

    def at(self, data: Any) -> Any:
        """The output's data when the moved node holds this."""
        new = {self.moved: data}
        for node in self.later:
            assert node._op is not None
            datas = [new.get(x, x._data) for x in inputs_of(node)]
            if any(type(x) is not float for x in datas):
                datas = [strong(x) for x in datas]
            new[node] = node._op.compute(datas, node._extra.attrs)
        return new.get(self.output, self.output._data)


@dataclass(frozen=True, slots=True)
class Sides:
    """The derivative of a scalar output by one number: an estimate, its error bar, both slopes at a kink.

    value is None where nudging finds nothing certain to a hundredth.
    On a side where the output jumps the slope is infinite.
    """

    value: float | None
    error: float | None
    below: float | None = None
    above: float | None = None


def nudge(replay: Replay) -> list[Sides]:
    """The derivative by every number of the moved node, in order. Cost: about 20 replays a number."""
    data = replay.moved._data
    nudged = Nudged(lambda datas: [replay.at(datas[0])], [data])
    flat = np.asarray(strong(data)).reshape(-1)
    size = np.where(np.isfinite(flat) & (flat != 0), np.abs(flat), 1.0).reshape(shape_of(data))
    noise = nudged.noise([stored(size.astype(dtype_of(data)))])
    found = []
    for i, x in enumerate(flat):
        slope, _ = nudged.slope_at(nudged.element(0, i), scale_of(x), noise)
        found.append(_sides(slope, abs(float(replay.output._data)) / scale_of(x)))
    return found


def _sides(slope: Slope, unit: float) -> Sides:
    """What is certain of a slope; `unit` is the one at which the output would double with the input."""
    value, error, kink = float(slope.value[0]), float(slope.error[0]), float(slope.kink[0])
    if not slope.rows:
        return Sides(None, None)
    steps = [row.step for row in slope.rows]
    below = _one_sided(steps, [-float(row.backward[0]) for row in slope.rows])
    above = _one_sided(steps, [float(row.forward[0]) for row in slope.rows])
    if np.isinf(below) or np.isinf(above):
        return Sides(None, None, below, above)
    if not (np.isfinite(value) and np.isfinite(error)):
        return Sides(None, None)
    if kink == 0:
        certain = error <= max(0.01 * abs(value), 0.01 * float(slope.secant[0]), 1e-8 * unit)
        return Sides(value, error) if certain else Sides(None, None)
    least = 1e-8 * max(abs(below), abs(above))  # what is smaller beside the other slope is rounding
    return Sides(value, error, *(0.0 if abs(side) < least else side for side in (below, above)))


def _one_sided(steps: Sequence[float], changes: Sequence[float]) -> float:
    """The slope of one side, extrapolated from short steps to a step of zero; infinite at a jump."""
    short = max(i for i, step in enumerate(steps) if step >= 1e-3 * steps[0]) + 1
    if len(steps) > short and abs(changes[-1]) > 0.9 * abs(changes[short - 1]) > 0:
        return float(np.inf)
    h = list(steps[max(short - 4, 0) : short])
    q = [change / step for step, change in zip(h, changes[max(short - 4, 0) : short], strict=True)]
    for n in range(1, len(h)):  # Neville's scheme
        q = [(h[i + n] * q[i] - h[i] * q[i + 1]) / (h[i + n] - h[i]) for i in range(len(q) - 1)]
    return q[0]
