"""Plateaus: where the loss is not small, and yet no small change of the parameters lowers it.

The most frequent kind is found by looking at the answers of a net, the last numbers into which parameters
enter. If it answers several examples alike although they want different things, then each of them pulls, and
their pulls cancel: nothing moves. What is true of that place can be seen in one backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.op import Linear
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.explain.health_rows import MIX, Floats, Row, Rows, is_learned, kind_of

STANDS = 0.03  # share of the loss by which all parameters together could lower it, if the slope stayed
_ALIKE = 0.1  # share of the loss that answers may be apart and still count as the same
_CANCELS = 0.1


@dataclass(frozen=True, slots=True)
class Group:
    """Examples that are answered alike. rows: their numbers; answer: theirs, on average; pulls: their gradients."""

    rows: tuple[int, ...]
    answer: float
    pulls: tuple[float, ...]

    @property
    def cancels(self) -> bool:
        """Whether they pull in opposite ways, so that next to nothing is left."""
        sizes = sum(map(abs, self.pulls))
        return sizes > 0 and min(self.pulls) < 0 < max(self.pulls) and abs(sum(self.pulls)) <= _CANCELS * sizes


@dataclass(frozen=True, slots=True)
class Plateau:
    """node: where the answers stand. groups: all examples, grouped by what they are answered, lowest first."""

    node: Value
    groups: tuple[Group, ...]
    examples: int

    @property
    def stuck(self) -> tuple[Group, ...]:
        """The groups whose pulls cancel."""
        return tuple(group for group in self.groups if len(group.rows) > 1 and group.cancels)


def slope_left(loss: float, parameters: Sequence[Row]) -> float:
    """By what share of it the loss would change if all parameters changed by their own size, at the present slope.

    >>> slope_left(0.0, [])
    inf
    """
    if not loss or not math.isfinite(loss):
        return math.inf
    size = math.sqrt(sum(row.activation**2 * row.first.size for row in parameters))
    slope = math.sqrt(sum(row.gradient**2 * row.first.size for row in parameters))
    return slope * size / abs(loss)


def plateau_of(loss: float, rows: Rows, cts: dict[Value, Any], order: Sequence[Value]) -> Plateau | None:
    """The answers and how they are grouped, if some pull against each other and cancel; else None."""
    nodes = _answers(rows, order)
    if not nodes or not loss > 0 or not math.isfinite(loss):
        return None
    if len(nodes) == 1:
        ct = cts.get(nodes[0])
        if ct is None:
            return None
        answers, pulls = np.asarray(nodes[0]._data, np.float64), np.asarray(ct, np.float64)
    else:
        answers = np.array([float(node._data) for node in nodes])
        pulls = np.array([float(cts.get(node, 0.0)) for node in nodes])
    if answers.ndim == 0 or len(answers) < 2 or not np.all(np.isfinite(answers)):
        return None
    answers, pulls = answers.reshape(len(answers), -1), pulls.reshape(len(answers), -1)
    steepest = float(np.abs(pulls).max())
    if not steepest:
        return None
    apart = _ALIKE * loss / (len(answers) * steepest)
    found = Plateau(nodes[0], tuple(_grouped(answers, pulls, apart)), len(answers))
    return found if found.stuck else None


def _grouped(answers: Floats, pulls: Floats, apart: float) -> list[Group]:
    """Examples whose answers lie no farther apart than that, one after the other along each column."""
    together = [np.arange(len(answers))]
    for column in answers.T:
        split: list[np.ndarray[Any, Any]] = []
        for members in together:
            members = members[np.argsort(column[members], kind="stable")]
            split += np.split(members, np.flatnonzero(np.diff(column[members]) > apart) + 1)
        together = split
    strongest = int(np.argmax(np.abs(pulls).sum(0)))  # the column that pulls most tells the story
    return [
        Group(
            tuple(sorted(int(i) for i in members)),
            float(answers[members, strongest].mean()),
            tuple(float(pulls[i, strongest]) for i in sorted(members)),
        )
        for members in together
    ]


def _answers(rows: Rows, order: Sequence[Value]) -> list[Value]:
    """The nodes of the row into which parameters enter last: sums and products with a leaf, and sums of such.

    Of a sum in several steps only the last one is an answer.
    """
    has_learned = any(is_learned(node) for node in order if node._op is None)
    weights: set[Value] = set()
    mixed: set[Value] = set()
    inner: set[Value] = set()
    last: Value | None = None
    for node in order:
        op = node._op
        if node._grad is INACTIVE:
            continue
        if op is None:
            if not has_learned or is_learned(node):
                weights.add(node)
            continue
        inputs = inputs_of(node)
        if len(inputs) == 1:
            if isinstance(op, Linear) and op.moves and inputs[0] in weights and node.size == inputs[0].size:
                weights.add(node)
            continue
        if op.name not in ("add", "subtract", "multiply") and kind_of(op) != MIX:
            continue
        others = [x for x in inputs if x not in weights]
        if len(others) == 1 and (others[0]._op is not None or others[0]._grad is INACTIVE):
            is_mixed = True
        else:
            is_mixed = op.name == "add" and len(others) == 2 and any(x in mixed for x in others)
        if is_mixed and all(x._grad is not INACTIVE for x in inputs if op.name == "add"):
            mixed.add(node)
            last = node
            if op.name == "add":
                inner.update(inputs)
    return [] if last is None else [node for node in rows.of(last).nodes if node not in inner]
