"""The rows of a look at the backward pass: what each layer computed and what gradient came back to it.

A row is one array node; or, in a net made of scalars, all nodes that one place in the program made at one depth, which
are the units of a layer for all examples of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core.numbers import dtype_of, quietly
from backlit.core.op import ONE, Elementwise, Linear, Op
from backlit.core.standing import standing
from backlit.core.value import INACTIVE, Parameter, Value, as_user_sees, inputs_of
from backlit.explain.naming import Spot, spot_of

Floats = np.ndarray[Any, np.dtype[np.float64]]

GATE, SQUASH, MIX = "gate", "squash", "mix"
_FLAT = 1e-3  # of its steepest slope: a function that far out is flat
_RANGE = np.linspace(-8.0, 8.0, 65)
_FAR = np.array([-1e3, 1e3])


@dataclass(slots=True)
class Row:
    """The nodes of a row, in the order in which they were made, and their depth: how many layers lie below them."""

    nodes: list[Value]
    depth: int
    kind: str
    data: Any = None
    ct: Any = None
    activation: float = 0.0
    gradient: float = 0.0

    @property
    def first(self) -> Value:
        return self.nodes[0]

    @property
    def is_leaf(self) -> bool:
        return self.first._op is None

    @property
    def label(self) -> str:
        return label_of(self.first)

    @property
    def spot(self) -> Spot | None:
        return spot_of(self.first)


def label_of(node: Value) -> str:
    """What to call a node: its name or variable, else the source that made it, else its op."""
    shown = as_user_sees(node)
    if (label := shown.label or standing(node)) is not None:
        return label
    if node._op is None:
        return "a variable"
    site = shown.site
    return site.source if site is not None and site.source and len(site.source) <= 28 else node._op.name


@dataclass(slots=True)
class Rows:
    """All rows of a graph, inputs first. spine: the longest way from the output down through its layers."""

    rows: list[Row]
    spine: list[Value]
    _groups: dict[Any, Row]
    _reach: dict[Value, int]

    def of(self, node: Value) -> Row:
        """The row that a node belongs to."""
        row = self._groups.get(node)
        if row is None:
            row = self._groups[node._code, node._lasti, node._op, self._reach[node] // _LAYER]
        return row


_LAYER = 1 << 40
"""How far a node reaches down to the leaves is counted in nodes, and each layer on the way counts for so many."""


def gather(order: Sequence[Value], cts: dict[Value, Any]) -> Rows:
    """The rows of a graph, measured. order: its nodes, inputs first. Cost: a fraction of a backward pass."""
    found: list[Row] = []
    groups: dict[Any, Row] = {}
    reach: dict[Value, int] = {}
    kinds: dict[Any, str] = {}
    get, known = reach.get, groups.get
    for node in order:
        if node._grad is INACTIVE:
            continue
        op, a = node._op, node._a
        if op is None or a is None:
            row = groups[node] = Row([node], 0, "")
            found.append(row)
            reach[node] = 0
            continue
        kind = kinds.get(op)
        if kind is None:
            kind = kinds[op] = kind_of(op)
        far = get(a, 0)
        b = node._b
        if b is not None:
            other = get(b, 0)
            if other > far:
                far = other
            for x in node._extra.rest:
                far = max(far, get(x, 0))
        is_array = type(node._data) is np.ndarray
        far += _LAYER + 1 if kind and (is_array or kind != MIX) else 1
        reach[node] = far
        if is_array:
            row = groups[node] = Row([node], far // _LAYER, kind)
            found.append(row)
            continue
        key = (node._code, node._lasti, op, far // _LAYER)
        group = known(key)
        if group is None:
            group = groups[key] = Row([node], far // _LAYER, kind)
            found.append(group)
        else:
            group.nodes.append(node)
    for row in found:
        _measure(row, cts)
    return Rows(found, _spine(order[-1], reach), groups, reach)


def _spine(output: Value, reach: dict[Value, int]) -> list[Value]:
    spine: list[Value] = []
    at = output if output in reach else None
    while at is not None:
        spine.append(at)
        at = max((x for x in inputs_of(at) if x in reach), key=reach.__getitem__, default=None)
    return spine


def _measure(row: Row, cts: dict[Value, Any]) -> None:
    nodes = row.nodes
    if len(nodes) == 1:
        row.data, row.ct = nodes[0]._data, cts.get(nodes[0])
    else:
        get = cts.get
        row.data = np.array([node._data for node in nodes])
        row.ct = np.array([get(node, 0.0) for node in nodes])
    row.activation, row.gradient = rms(row.data), 0.0 if row.ct is None else rms(row.ct)


def rms(x: Any) -> float:
    """The root of the mean square.

    >>> rms(np.array([3.0, 4.0, 0.0, 0.0]))
    2.5
    """
    if not isinstance(x, np.ndarray):
        return abs(float(x))
    if not x.size:
        return 0.0
    flat = x.ravel()
    if flat.dtype != np.float64 and flat.dtype != np.float32:
        flat = flat.astype(np.float64)
    return math.sqrt(float(np.dot(flat, flat)) / flat.size)


def is_learned(node: Value) -> bool:
    """Whether a leaf is a parameter, or the present value of one."""
    return isinstance(node if node._extra.owner is None else node._extra.owner, Parameter)


# -- what kind of op it is -----------------------------------------------------------------------------------

_KINDS: dict[Op, str] = {}


def kind_of(op: Op) -> str:
    """What part an op plays in a net: a gate (`relu`), a squashing function (`tanh`), a mix (`matmul`), or none."""
    kind = _KINDS.get(op)
    if kind is None:
        kind = _KINDS[op] = _kind(op)
    return kind


def _kind(op: Op) -> str:
    if isinstance(op, Linear):
        return MIX if not op.jointly and sum(rule is not None for rule in op.transposes) > 1 else ""
    if not isinstance(op, Elementwise):
        return ""
    if op.selects:
        return GATE if op.name != "where" else ""
    if len(op.partials) == 1 and op.partials[0] not in (None, ONE) and steepest(op) is not None:
        return SQUASH
    return ""


@lru_cache(maxsize=256)
def steepest(op: Elementwise) -> float | None:
    """The steepest slope of a function that is flat far out on both sides, such as 1 for tanh; None for any other."""
    try:
        return quietly(_steepest, op)  # type: ignore[no-any-return]
    except (ArithmeticError, TypeError, ValueError):
        return None


def _steepest(op: Elementwise) -> float | None:
    rule = op.partials[0]
    assert rule is not None
    y, far = op.evaluate(_RANGE), op.evaluate(_FAR)
    if not (np.all(np.isfinite(y)) and np.all(np.isfinite(far))) or dtype_of(y).kind != "f":
        return None
    slope = np.max(np.abs(np.broadcast_to(np.asarray(rule(y, _RANGE), np.float64), y.shape)))
    ends = np.max(np.abs(np.asarray(rule(far, _FAR), np.float64)))
    return float(slope) if slope > 0 and ends <= _FLAT * slope and np.ptp(far) > 0 else None
