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

    order: all nodes of the graph, inputs first, the output last. Cost: the nodes that depend on the moved one.
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
    """The derivative of a scalar output by one number: an estimate, its error bar, and both slopes at a kink.

    value is None where nudging finds no finite number.
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
        slope = nudged.slope_at(nudged.element(0, i), scale_of(x), noise)
        found.append(_sides(slope))
    return found


def _sides(slope: Slope) -> Sides:
    value, error, kink = float(slope.value[0]), float(slope.error[0]), float(slope.kink[0])
    if not (np.isfinite(value) and np.isfinite(error)):
        value_or_none = error_or_none = None
    else:
        value_or_none, error_or_none = value, error
    if kink > 0:
        row = min(slope.rows, key=lambda row: abs(row.step - float(slope.step[0])))
        above, below = float(row.forward[0]) / row.step, -float(row.backward[0]) / row.step
        return Sides(value_or_none, error_or_none, below, above)
    return Sides(value_or_none, error_or_none)
