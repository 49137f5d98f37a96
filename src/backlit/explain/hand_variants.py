"""All slips of an edge, and those that can happen anywhere: another operand, another gradient, a shift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backlit.core.numbers import dtype_of, shape_of
from backlit.core.op import Elementwise, Linear
from backlit.core.value import INACTIVE, Value
from backlit.explain.hand_elementwise import elementwise
from backlit.explain.hand_flow import Edge, Flow, Swept
from backlit.explain.hand_linear import linear, special
from backlit.explain.hand_slips import Local, Others, Slip
from backlit.explain.hand_words import Speaker


class Slips:
    """The slips of every edge of one graph, given the cotangents of one backward pass."""

    def __init__(self, flow: Flow, swept: Swept, speaker: Speaker, others: Others) -> None:
        self.flow, self.swept, self.speaker, self.others = flow, swept, speaker, others

    def at(self, edge: Edge) -> Iterator[Slip]:
        """All slips at an edge."""
        op = edge.node._op
        local = Local(self.flow, self.swept, self.speaker, self.others, edge)
        if isinstance(op, Elementwise):
            yield from elementwise(local)
        elif isinstance(op, Linear):
            yield from linear(local)
        else:
            yield from special(local)
        yield from _other_operands(local)
        yield from _other_cotangents(local)
        yield from _shifted(local)


def _other_operands(at: Local) -> Iterator[Slip]:
    """The rule run on other operands: the input for the output, or another value of the same shape."""
    if isinstance(at.op, Linear) and (at.op.jointly or len(at.inputs) < 2):
        return
    if isinstance(at.op, Linear) and at.op.name == "getitem":
        return
    slots: list[tuple[int, Value]] = [(-1, at.node)] if not isinstance(at.op, Linear) else []
    slots += [(j, x) for j, x in enumerate(at.inputs) if not (isinstance(at.op, Linear) and j == at.index)]
    due = at.speaker.derivative(at.node, at.index)
    near = {at.node, *at.inputs}
    for slot, there in slots:
        if there._op is None and there._grad is INACTIVE and shape_of(there._data) == ():
            continue
        shape = shape_of(there._data)
        own_name = at.y_name if slot < 0 else at.names[slot]
        candidates = {x: at.speaker.name(x) for x in near} | dict(at.others.values)
        for other, name in candidates.items():
            if (
                other is there
                or name == own_name
                or shape_of(other._data) != shape
                or dtype_of(other._data).kind != "f"
            ):
                continue
            y = at.flow.datas[other] if slot < 0 else None
            xs = None if slot < 0 else [at.flow.datas[other] if j == slot else x for j, x in enumerate(at.xs)]
            wrong = None
            if due is not None:
                wrong_xs = [name if j == slot else n for j, n in enumerate(at.names)] if slot >= 0 else None
                wrong = at.speaker.derivative(at.node, at.index, y=name if slot < 0 else None, xs=wrong_xs)
            if wrong is not None and wrong != due:
                text = f"multiply by `{due}`, the derivative of {at.where}; you have `{wrong}`"
                if wrong != name:
                    text += f", with `{name}` in place of `{own_name}`"
                fix = at.product(f"`{due}`")
            else:
                text = f"use `{own_name}` to go back through {at.where}; you used `{name}`"
                fix = own_name
            cost = 0.7 if other in near else 1.2
            kind = "wrong residual"
            yield Slip(kind, text, fix, cost, lambda y=y, xs=xs: at.with_operands(y, xs))  # type: ignore[misc]


def _other_cotangents(at: Local) -> Iterator[Slip]:
    """The gradient of another value, of the same shape, used as what arrives from above."""
    for other, ct in at.others.gradients.items():
        if other is not at.node and shape_of(ct) == shape_of(at.ct):
            name = at.speaker.gradient(other)
            yield Slip(
                "wrong upstream gradient",
                f"go on from `{at.ct_name}`, the gradient of {at.speaker.called(at.node)}; you used `{name}`",
                at.ct_name,
                1.6,
                lambda ct=ct: at.with_cotangent(ct),  # type: ignore[misc]
            )


def _shifted(at: Local) -> Iterator[Slip]:
    """All numbers one place further on, along some axis."""
    if at.right is None or not isinstance(at.right, np.ndarray):
        return
    for axis, n in enumerate(at.right.shape):
        if n < 3:
            continue
        for step in (1, -1):
            what = "row" if at.right.ndim == 2 and axis == 0 else "place"
            text = (
                f"move it by one {what} along axis {axis}: what belongs at [{listed_places(axis, 'i')}] stands "
                f"at [{listed_places(axis, 'i + 1' if step > 0 else 'i - 1')}]"
            )
            yield Slip(
                "shifted row",
                text,
                f"np.roll(..., {-step}, axis={axis})",
                1.4,
                lambda axis=axis, step=step: np.roll(at.right, step, axis),  # type: ignore[misc]
            )
            yield Slip(
                "shifted row",
                text,
                f"np.roll(..., {-step}, axis={axis})",
                1.5,
                lambda axis=axis, step=step: _shift(at.right, step, axis),  # type: ignore[misc]
            )


def listed_places(axis: int, entry: str) -> str:
    """An index that names one axis.

    >>> listed_places(1, "i + 1")
    ':, i + 1'
    """
    return ", ".join([":"] * axis + [entry])


def _shift(x: Any, step: int, axis: int) -> Any:
    moved = np.roll(x, step, axis)
    edge = [slice(None)] * x.ndim
    edge[axis] = slice(0, 1) if step > 0 else slice(-1, None)
    moved[tuple(edge)] = 0.0
    return moved
