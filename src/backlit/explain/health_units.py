"""Units that pass nothing back: dead ones behind a gate such as `relu`, saturated ones behind `tanh` or `sigmoid`.

A unit is a column of an array (its last axis), seen over the whole batch. In a net of scalars it is all nodes
of a row that are made with the same parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.numbers import quietly, shape_of
from backlit.core.op import Elementwise
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.explain.health_rows import GATE, SQUASH, Row, is_learned, kind_of, label_of, steepest

SATURATED = 0.02  # of the steepest slope
ENOUGH = 100  # rows: a unit that is on for 1 in 20 stays off on all of so many with a probability of 0.6 %
_ADDITIVE = ("add", "subtract", "negative", "sum", "identity", "positive")


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one row. count: how many there are; examples: in how many cases each was seen.

    blocked: the numbers of those that pass nothing back in any case, counted from 0. share: of all elements, how many
    pass nothing back. extremes: for each blocked unit of a gate the largest number that came to it. names: what they
    are called, by a variable of theirs, if there is one.
    """

    count: int
    examples: int
    blocked: tuple[int, ...]
    share: float
    extremes: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def are_dead(self) -> bool:
        """Whether what is blocked was seen on so many examples that it is called dead, and not just off for them."""
        return self.examples >= ENOUGH


def units_of(row: Row) -> Units | None:
    """The units of a row of gates or squashing functions; None where it is neither."""
    node = row.first
    op = node._op
    if row.kind == "" or not isinstance(op, Elementwise):
        return None
    inputs = inputs_of(node)
    active = [i for i, x in enumerate(inputs) if x._grad is not INACTIVE]
    if len(active) != 1:
        return None
    if shape_of(node._data):
        return quietly(_of_array, op, node, inputs, active[0])  # type: ignore[no-any-return]
    return quietly(_of_scalars, op, row, active[0])  # type: ignore[no-any-return]


def _off(op: Elementwise, y: Any, xs: list[Any], argument: int, attrs: Any) -> Any:
    """Where nothing, or next to nothing, passes back through an op."""
    rule = op.partials[argument]
    assert rule is not None
    partial = rule(y, *xs, **attrs)
    if op.selects:
        return np.broadcast_to(np.asarray(partial) == 0, np.shape(y))
    limit = steepest(op)
    assert limit is not None
    return np.broadcast_to(np.abs(np.asarray(partial)) < SATURATED * limit, np.shape(y))


def _of_array(op: Elementwise, node: Value, inputs: tuple[Value, ...], argument: int) -> Units:
    y, xs = node._data, [x._data for x in inputs]
    off = _off(op, y, xs, argument, node._extra.attrs)
    x = np.broadcast_to(np.asarray(xs[argument]), y.shape)
    if y.ndim == 1:  # a batch of one unit, or one example of many: blocked is only what is off everywhere
        blocked = (0,) if y.size and off.all() else ()
        return Units(1, y.size, blocked, float(off.mean()) if y.size else 0.0, (float(x.max()),) if blocked else ())
    others = tuple(range(y.ndim - 1))
    every = np.flatnonzero(np.logical_and.reduce(off, axis=others)) if y.size else np.array([], int)
    extremes = tuple(float(x[..., k].max()) for k in every)
    examples = y.size // y.shape[-1] if y.shape[-1] else 0
    share = float(np.count_nonzero(off) / off.size) if off.size else 0.0
    return Units(y.shape[-1], examples, tuple(int(k) for k in every), share, extremes)


def _of_scalars(op: Elementwise, row: Row, argument: int) -> Units:
    nodes = row.nodes
    columns = [np.array([inputs_of(node)[i]._data for node in nodes]) for i in range(len(inputs_of(row.first)))]
    off = _off(op, np.asarray(row.data).reshape(-1), columns, argument, row.first._extra.attrs)
    if not off.any():
        return Units(len(nodes), 1, (), 0.0)
    members: dict[Any, list[int]] = {}
    for k, node in enumerate(nodes):
        members.setdefault(_signature(inputs_of(node)[argument]), []).append(k)
    blocked, extremes, names = [], [], []
    for number, (signature, own) in enumerate(members.items()):
        if off[own].all():
            blocked.append(number)
            extremes.append(float(columns[argument][own].max()))
            names.append(next((label_of(leaf) for leaf in signature if leaf._extra.name or leaf._code), ""))
    examples = len(nodes) // max(len(members), 1)
    return Units(len(members), examples, tuple(blocked), float(off.mean()), tuple(extremes), _distinct(names))


def _bias(node: Value) -> Value | None:
    """The one variable that is added to a sum, a + b + c, read from its end; None if there is not just one."""
    found: Value | None = None
    other: Value | None
    at: Value | None = node
    while at is not None:
        if at._op is None:
            other, at = at, None  # the far end
        elif at._op.name == "add":
            other, at = at._b, at._a
        else:
            break
        if other is not None and other._op is None and other._grad is not INACTIVE:
            if found is not None:
                return None
            found = other
    return found


def _distinct(names: list[str]) -> tuple[str, ...]:
    """The names, or none if they do not tell the units apart."""
    useless = len(set(names)) < len(names) or "" in names or "a variable" in names
    return () if useless else tuple(names)


def _signature(node: Value) -> tuple[Value, ...]:
    """The parameters that make a unit: those that flow into it without passing another unit on the way.

    Where no leaf is a `Parameter`, inputs and weights look alike; then those that are added, not multiplied: the bias.
    """
    bias = _bias(node)
    if bias is not None:
        return (bias,)
    learned: dict[Value, None] = {}
    added: dict[Value, None] = {}
    every: dict[Value, None] = {}
    stack, seen = [(node, True)], {node}
    while stack:
        at, is_added = stack.pop()
        if at._op is None:
            every[at] = None
            if is_learned(at):
                learned[at] = None
            elif is_added:
                added[at] = None
            continue
        if kind_of(at._op) in (GATE, SQUASH):
            continue
        passes = is_added and at._op.name in _ADDITIVE
        for x in inputs_of(at):
            if x not in seen and x._grad is not INACTIVE:
                seen.add(x)
                stack.append((x, passes))
    return tuple(sorted(learned or added or every, key=lambda leaf: leaf._serial))
