"""Why a gradient is None: where the graph between a value and the output is cut, edge by edge and line by line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from backlit.core import dtypes
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.op import Op
from backlit.core.standing import standing
from backlit.core.value import INACTIVE, Value, as_user_sees, describe, inputs_of
from backlit.core.walk import by_serial
from backlit.explain.answer import Finding
from backlit.explain.flow import has_rule
from backlit.explain.naming import LONGEST, spot_of

_COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
_CHOICES = ["argmax", "argmin"]
_SHOWN = 5


def of_itself(x: Value) -> Finding | None:
    """Why a value can have no gradient whatever is computed from it; None if it can."""
    if x._grad is not INACTIVE:
        return None
    name = _called(x)
    if x._extra.cut is not None:
        return _cut_by("no_grad", x, name)
    if x._op is not None:
        return _because_of(x, 0, name)
    dtype = dtype_of(x._data)
    if not dtypes.is_real(dtype):
        return Finding(
            "integer",
            f"{name} is {dtype.name}, and only real numbers vary by a little, so only they have a gradient.",
            "Make it a float: Value(numbers, dtype='float64').",
            spot_of(x),
        )
    return Finding(
        "constant",
        f"{name} is a constant: a plain number or array, or made by asarray, zeros or another creation function.",
        "Make it a variable: Value(...) or Parameter(...).",
        spot_of(x),
    )


def cuts(sources: Sequence[Value], output: Value) -> list[Finding]:
    """The edges at which the way from the sources to the output is cut, in the order of the program."""
    order = _all_behind(output)
    alive, reached = set(sources), set(sources)
    found: list[Finding] = []
    seen: set[tuple[object, ...]] = set()
    for node in order:
        for index, x in enumerate(_all_inputs(node)):
            if x not in reached:
                continue
            reached.add(node)
            if x not in alive:
                continue
            if node._op is not None and node._grad is not INACTIVE and has_rule(node, index):
                alive.add(node)
                continue
            finding = _edge(node, index, x)
            key = (finding.kind, finding.text)
            if key not in seen:
                seen.add(key)
                found.append(finding)
    if not found and output not in reached:
        found = list(_converted(sources, order)) or list(_no_path(sources, output))
    return found[:_SHOWN]


def _all_inputs(node: Value) -> tuple[Value, ...]:
    """What a node was computed from, also where `no_grad` kept it from being recorded."""
    if node._extra.cut is not None:
        return tuple(x for x in (reference() for reference in node._extra.cut[2]) if x is not None)
    return inputs_of(node)


def _all_behind(output: Value) -> list[Value]:
    stack, seen = [output], {output}
    while stack:
        for x in _all_inputs(stack.pop()):
            if x not in seen:
                seen.add(x)
                stack.append(x)
    return sorted(seen, key=by_serial)


def _edge(node: Value, index: int, x: Value) -> Finding:
    where = _called(node)
    if node._extra.cut is not None:
        return _cut_by("no_grad", node, where)
    return _because_of(node, index, where, x)


def _cut_by(kind: str, node: Value, where: str) -> Finding:
    op = node._extra.cut[1] if node._extra.cut is not None else node._op
    name = "" if op is None else f", by {op.name},"
    return Finding(
        kind,
        f"{where} was computed{name} inside no_grad(), where nothing is recorded.",
        "Compute it outside the `with no_grad():` block if a gradient is to flow through it.",
        spot_of(node),
    )


def _because_of(node: Value, index: int, where: str, x: Value | None = None) -> Finding:
    """Why nothing flows from a node to an input, by its op."""
    op = node._op
    assert op is not None
    spot, source = spot_of(node), "" if x is None else f" of {_called(x)}"
    if op.name == "stop_gradient":
        return Finding("stop_gradient", f"{where}: the gradient{source} is stopped here on purpose.",
                       "Leave stop_gradient out if it should flow.", spot)  # fmt: skip
    if op.name in _CHOICES:
        return Finding("argmax", f"{where}: {op.name} gives a position, which jumps and does not vary by a little.",
                       "A softmax, or max for the value itself, lets a gradient through.", spot)  # fmt: skip
    if op.name in _COMPARISONS:
        return Finding("comparison", f"{where}: a comparison{source} is true or false; that does not vary by a little.",
                       "For a soft decision use sigmoid(k * (a - b)); to choose, where(condition, a, b) lets the "
                       "gradient through to the one chosen.", spot)  # fmt: skip
    if not dtypes.is_real(dtype_of(node._data)):
        return Finding("integer", f"{where} gives {dtype_of(node._data).name}; a gradient passes real numbers only.",
                       "Keep it a float: astype(x, float64), or leave the conversion out.", spot)  # fmt: skip
    if isinstance(op, Op) and op.differentiable:
        return Finding("no derivative", f"{where}: {op.name} has no derivative by input {index + 1}{source}; that only "
                       "decides or says where.", "", spot)  # fmt: skip
    return Finding("no derivative", f"{where}: {op.name} has no derivative, so no gradient flows through it.", "", spot)


def _called(x: Value) -> str:
    """`h`, or the source text of what was computed, or its op and line."""
    shown = as_user_sees(x)
    site = shown.site
    if label := shown.label or standing(x):
        return f"`{label}`"
    if site is not None and site.source and len(site.source) <= LONGEST and x._op is not None:
        return f"`{site.source}`"
    return describe(shown)


# -- no recorded way at all ----------------------------------------------------------------------------------


def _converted(sources: Iterable[Value], order: Sequence[Value]) -> Iterator[Finding]:
    """Places where the numbers of a source went on as plain numbers: a constant that shares memory, or the words."""
    for x in sources:
        users = [n for n in order if any(_same_numbers(c, x) for c in inputs_of(n))]
        pattern = _conversion(as_user_sees(x).label)
        if not users and pattern is not None:
            users = [n for n in order if n._op is not None and _says(n, pattern)]
        for node in users[:1]:
            yield Finding(
                "converted",
                f"{_called(node)} was computed with the plain numbers of {_called(x)} (its .data, or a "
                "conversion to NumPy or float), which remember nothing.",
                "Use the value itself.",
                spot_of(node),
            )


def _same_numbers(c: Value, x: Value) -> bool:
    if c._op is not None or c is x or c._grad is not INACTIVE or type(x._data) is Abstract or not shape_of(x._data):
        return False
    return isinstance(c._data, np.ndarray) and isinstance(x._data, np.ndarray) and np.shares_memory(c._data, x._data)


def _conversion(label: str | None) -> re.Pattern[str] | None:
    if not label:
        return None
    name = re.escape(label)
    return re.compile(rf"\b{name}\.data\b|\b(float|int|asarray|array|item)\({name}\)|\b{name}\.(item|tolist|numpy)\(")


def _says(node: Value, pattern: re.Pattern[str]) -> bool:
    spot = spot_of(node)
    return spot is not None and bool(pattern.search(spot.text))


def _no_path(sources: Sequence[Value], output: Value) -> Iterator[Finding]:
    x = sources[0]
    yield Finding(
        "no path",
        f"There is no recorded path from {_called(x)} to {_called(output)}: nothing the output was computed from was "
        f"computed from {_called(x)}.",
        "See whether it is used at all, or whether a copy or another variable took its place.",
        spot_of(x),
    )
