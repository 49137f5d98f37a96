"""The words of an explanation: the names of rules, and what an op's documentation says of kinks and edges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.numbers import quietly, strong
from backlit.core.op import Elementwise, Linear, Op
from backlit.explain.formula import number_text

_RULES = {
    "add": "sum rule",
    "subtract": "difference rule",
    "divide": "quotient rule",
    "square": "power rule",
    "reciprocal": "reciprocal rule",
    "negative": "sign rule",
    "positive": "the value itself",
    "sum": "sum rule",
    "where": "choice rule: to the branch chosen",
    "maximum": "choice rule: to the larger one",
    "minimum": "choice rule: to the smaller one",
    "clip": "choice rule: to what was let through",
}


def rule_name(op: Op, varies: Sequence[bool]) -> str:
    """What calculus calls the rule by which an op is differentiated, given which of its inputs can vary.

    >>> from backlit.ops.arithmetic import MULTIPLY
    >>> rule_name(MULTIPLY, [True, True]), rule_name(MULTIPLY, [False, True])
    ('product rule', 'constant factor rule')
    """
    name = op.name
    if name == "multiply":
        return "product rule" if all(varies) else "constant factor rule"
    if name == "divide" and not varies[1]:
        return "constant factor rule"
    if name == "pow":
        rules = ("power rule", "exponential rule")
        return " and ".join(rule for rule, used in zip(rules, varies, strict=True) if used)
    if name in _RULES:
        return _RULES[name]
    return f"{name} is linear" if isinstance(op, Linear) else f"chain rule through {name}"


_SENTENCES = re.compile(r"(?<=[.;]) +(?=[A-Z\-])")
_OF_EDGES = re.compile(r"convention|\bkink|\btie\b|taken as|derivative at|partial by|jump", re.IGNORECASE)
_OF_INFINITIES = re.compile(r"\binf|NaN|by zero", re.IGNORECASE)


def _sentences(op: Op, about: re.Pattern[str]) -> str:
    """The sentences of an op's documentation that are about something."""
    found = [sentence.rstrip(".;") + "." for sentence in _SENTENCES.split(op.doc) if about.search(sentence)]
    return " ".join(found)


def notes_of(op: Op, y: Any, xs: Sequence[Any], attrs: Any, index: int, partial: Any, formula: str) -> list[str]:
    """What must be said of a scalar op here: a kink and its convention, or a partial that is not finite."""
    if not isinstance(op, Elementwise) or not np.isfinite(xs[index]):
        return []
    if not np.isfinite(y) or not np.isfinite(partial):
        what = f"{formula} is {number_text(y)}" if not np.isfinite(y) else f"the partial is {number_text(partial)}"
        said = _sentences(op, _OF_INFINITIES).rstrip(".")
        return [f"{what} here{f' ({op.name}: {said})' if said else ''}."]
    said = _sentences(op, _OF_EDGES)
    if not said:
        return []
    below, above = _sides(op, y, xs, attrs, index)
    if np.isfinite(below) and np.isfinite(above):
        if abs(above - below) <= 1e-3 * max(abs(below), abs(above), 1.0):
            return []
        steep = max(abs(below), abs(above)) > 1e6
        sides = "jumps" if steep else f"has slope {number_text(below)} below and {number_text(above)} above"
        kind = "" if steep else ", a kink"
        return [f"{formula} {sides} here{kind}. {said}"]
    if np.isfinite(below) or np.isfinite(above):
        side = "below" if np.isfinite(above) else "above"
        return [f"{formula} has no finite slope from {side} here, the edge of its domain. {said}"]
    return []


def _sides(op: Op, y: Any, xs: Sequence[Any], attrs: Any, index: int) -> tuple[float, float]:
    """The slopes of an op below and above this point, by one short step to each side."""
    x = float(xs[index])
    h = abs(x) * 1e-9 or 1e-9

    def at(moved: float) -> float:
        moved_xs = [np.float64(moved) if i == index else strong(data) for i, data in enumerate(xs)]
        return float(quietly(op.evaluate, *moved_xs, **attrs))

    return (float(y) - at(x - h)) / h, (at(x + h) - float(y)) / h
