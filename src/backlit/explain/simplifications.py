"""The famous simplifications: softmax with cross entropy is p - y, sigmoid with its cross entropy too, a mean is 1/n.

Each is recognised by the shape of the graph and then held against the numbers; it is said only if they agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from backlit.core.numbers import quietly, shape_of, strong
from backlit.core.op import Linear
from backlit.core.value import Value, inputs_of
from backlit.explain.blocks import Hop, Index, members, scope_between
from backlit.explain.flow import Flow
from backlit.explain.formula import number_text
from backlit.explain.naming import Names, at, partial_by

_LINEAR = ("add", "subtract", "negative", "positive", "identity", "divide", "multiply", "where")


@dataclass(frozen=True, eq=False)
class Famous:
    """∂output/∂z = scale · (p - y), with arrays of the shape of z. kind: what is said of it."""

    kind: str
    function: str  # that makes p of z
    p: Any
    y: Any
    scale: Any


def simplification(flow: Flow, names: Names, node: Value, index: Index) -> str | None:
    """In words, if the derivative by this element is one of those that everybody knows; None otherwise."""
    known: dict[Value, Famous | None] = flow.__dict__.setdefault("_famous", {})
    if node not in known:
        known[node] = quietly(famous, flow, node)
    found = known[node]
    if found is None:
        return None
    p, y, scale = (float(np.asarray(a)[index]) for a in (found.p, found.y, found.scale))
    z, weight = at(names[node], index), fraction(scale)
    after = "" if weight == "1" else f" × {weight}"
    head = partial_by(names[flow.output], z)
    difference = f"{number_text(p)} - {number_text(y)}"
    numbers = f"({difference}){after}" if after or found.kind == "squared error" else difference
    if found.kind == "squared error":
        value = number_text(2 * scale * (p - y))
        return (
            f"the derivative of a squared error is twice the error: {head} = 2 × (prediction - target){after} "
            f"= 2 × {numbers} = {value}."
        )
    target = "" if y not in (0.0, 1.0) else " (the target)" if y else " (not the target)"
    of_z = at(f"{found.function}({names[node]})", index)
    p_less_y = "p - y" if not after else f"(p - y){after}"
    return (
        f"{found.kind} simplify to p - y: {head} = {p_less_y} with p = {of_z} = {number_text(p)} and "
        f"y = {number_text(y)}{target}: {numbers} = {number_text(scale * (p - y))}."
    )


def fraction(scale: float) -> str:
    """`1/32` for 0.03125, and a number that is no simple fraction as it is.

    >>> fraction(1 / 32), fraction(0.3), fraction(1.0)
    ('1/32', '0.3', '1')
    """
    if scale and np.isfinite(scale):
        near = round(1 / scale)
        if abs(near) > 1 and abs(scale * near - 1) < 1e-6:
            return str(Fraction(1, near)) if near > 0 else f"(-1/{-near})"
    return number_text(scale)


def famous(flow: Flow, z: Value) -> Famous | None:
    """The simplification that holds for a node, verified on all of its elements."""
    for finder in (_softmax, _sigmoid, _squared):
        found = finder(flow, z)
        if found is None:
            continue
        factor = 2.0 if found.kind == "squared error" else 1.0
        claimed = factor * found.scale * (found.p - found.y)
        real = np.asarray(flow.cotangent(z), np.float64)
        size = float(np.max(np.abs(found.scale), initial=0.0))
        epsilon = np.finfo(z.dtype).eps
        if size and np.all(np.abs(claimed - real) <= 64 * epsilon * size):
            return found
    return None


def _numbers(x: Any) -> Any:
    return np.asarray(strong(x), np.float64)


def _users(flow: Flow, node: Value) -> list[Value]:
    return [user for user, _ in flow.uses.get(node, [])]


def _named(node: Value, name: str) -> bool:
    return node._op is not None and node._op.name == name


def _linear_after(flow: Flow, node: Value) -> bool:
    """Whether the output depends on a node linearly: only sums, movements and constant factors follow."""
    later = {node}
    for each in flow.order:
        if each in later or each not in flow.relevant or each._op is None:
            continue
        varying = [i for i, x in enumerate(inputs_of(each)) if x in later]
        if not varying:
            continue
        later.add(each)
        if isinstance(each._op, Linear):
            if len(varying) > 1 and not each._op.jointly:
                return False
        elif (
            each._op.name not in _LINEAR
            or (each._op.name == "multiply" and len(varying) > 1)
            or (each._op.name == "divide" and 1 in varying)
        ):
            return False
    return True


# -- softmax and cross entropy -------------------------------------------------------------------------------


def _softmax(flow: Flow, z: Value) -> Famous | None:
    if not shape_of(z._data):
        return None
    users = _users(flow, z)
    found = None
    if len(users) == 1 and _named(users[0], "log_softmax") and _linear_after(flow, users[0]):
        (user,) = users
        axis, ct = user._extra.attrs["axis"], _numbers(flow.cotangent(user))
        p = np.exp(_numbers(user._data))
        found = p, -np.sum(ct, axis=axis, keepdims=True)
    elif any(_named(user, "logsumexp") for user in users):
        found = _by_logsumexp(flow, z, users)
    elif users:
        found = _by_softmax(flow, z, users)
    if found is None:
        return None
    p, scale = found
    if not np.all(scale):
        return None
    y = p - _numbers(flow.cotangent(z)) / scale
    y = np.where(np.abs(y - np.round(y)) < 1e-6, np.round(y), y)
    if np.min(y, initial=0.0) < 0 or not np.isclose(np.sum(y) * p.size, np.sum(p) * p.size, rtol=1e-5):
        return None
    return Famous("softmax and cross entropy", "softmax", p, y, np.broadcast_to(scale, p.shape))


def _by_logsumexp(flow: Flow, z: Value, users: list[Value]) -> tuple[Any, Any] | None:
    peaks = [user for user in users if _named(user, "logsumexp")]
    if len(peaks) != 1 or not _linear_after(flow, peaks[0]):
        return None
    (user,) = peaks
    axis = user._extra.attrs["axis"]
    kept = tuple(1 if a in axis else n for a, n in enumerate(z.shape))
    return (
        np.exp(_numbers(z._data) - _numbers(user._data).reshape(kept)),
        _numbers(flow.cotangent(user)).reshape(kept),
    )


def _by_softmax(flow: Flow, z: Value, users: list[Value]) -> tuple[Any, Any] | None:
    """softmax(z), of which the logarithm is taken later."""
    scope, every = scope_between(z, users[0]), set(users)
    while scope is not None and scope.name != "softmax":
        inner = [n for n in members(flow, scope) if n in every]
        scopes = [n._extra.scope for n in inner if n._extra.scope is not None]
        scope = next((s for s in scopes if s.name == "softmax" and s is not scope), None)
    if scope is None:
        return None
    inside = members(flow, scope)
    if not inside or not every <= set(inside):
        return None
    result = inside[-1]
    if not _named(result, "divide") or shape_of(result._data) != shape_of(z._data):
        return None
    axis = next((n._extra.attrs["axis"] for n in inside if _named(n, "sum")), None)
    logs = _logarithms(flow, result)
    if axis is None or not logs or not all(_linear_after(flow, log) for log in logs):
        return None
    p = _numbers(result._data)
    return p, -np.sum(p * _numbers(flow.cotangent(result)), axis=axis, keepdims=True)


def _logarithms(flow: Flow, node: Value) -> list[Value]:
    """The logarithms that are taken of a node, of all of it or of elements picked; none if it goes elsewhere too."""
    found: list[Value] = []
    stack = _users(flow, node)
    while stack:
        user = stack.pop()
        if _named(user, "log"):
            found.append(user)
        elif isinstance(user._op, Linear) and user._op.moves:
            stack += _users(flow, user)
        else:
            return []
    return found


# -- sigmoid and cross entropy -------------------------------------------------------------------------------


def _sigmoid(flow: Flow, z: Value) -> Famous | None:
    users = _users(flow, z)
    if len(users) == 1 and _named(users[0], "sigmoid"):
        return _by_logarithms(flow, users[0])
    peaks = [user for user in users if _named(user, "softplus")]
    if len(peaks) != 1 or not _linear_after(flow, peaks[0]):
        return None
    scale = _numbers(flow.cotangent(peaks[0]))
    p = 1 / (1 + np.exp(-_numbers(z._data)))
    y = p - _numbers(flow.cotangent(z)) / scale
    return _probable("sigmoid and cross entropy", p, y, scale)


def _by_logarithms(flow: Flow, p: Value) -> Famous | None:
    """-y · log(p) - (1 - y) · log(1 - p)."""
    of_p, of_rest = np.zeros(shape_of(p._data)), np.zeros(shape_of(p._data))
    for user in _users(flow, p):
        if _named(user, "log"):
            of_p = of_p + _numbers(flow.cotangent(user))
        elif _named(user, "subtract") and all(_named(log, "log") for log in _users(flow, user)):
            first = inputs_of(user)[0]
            if first in flow.relevant or not np.all(_numbers(first._data) == 1):
                return None
            for log in _users(flow, user):
                of_rest = of_rest + _numbers(flow.cotangent(log))
        elif _named(user, "negative") and all(_named(log, "log1p") for log in _users(flow, user)):
            for log in _users(flow, user):
                of_rest = of_rest + _numbers(flow.cotangent(log))
        else:
            return None
    scale = -(of_p + of_rest)
    return _probable("sigmoid and cross entropy", _numbers(p._data), -of_p / scale, scale)


def _probable(kind: str, p: Any, y: Any, scale: Any) -> Famous | None:
    if not np.all(scale) or not np.all(np.isfinite(y)):
        return None
    y = np.where(np.abs(y - np.round(y)) < 1e-6, np.round(y), y)
    if np.min(y, initial=0.0) < 0 or np.max(y, initial=1.0) > 1:
        return None
    return Famous(kind, "sigmoid", p, y, scale)


# -- squared error and means ---------------------------------------------------------------------------------


def _squared(flow: Flow, z: Value) -> Famous | None:
    users = _users(flow, z)
    if len(users) != 1 or not _named(users[0], "subtract"):
        return None
    error = users[0]
    a, b = inputs_of(error)
    if (a in flow.relevant) == (b in flow.relevant) or shape_of(error._data) != shape_of(z._data):
        return None
    after = _users(flow, error)
    twice = len(after) == 2 and after[0] is after[1] and _named(after[0], "multiply")
    squared = len(after) == 1 and (
        _named(after[0], "square") or (_named(after[0], "pow") and np.all(_numbers(inputs_of(after[0])[1]._data) == 2))
    )
    if not (twice or squared) or not _linear_after(flow, after[0]):
        return None
    scale = _numbers(flow.cotangent(after[0]))
    target = np.broadcast_to(_numbers((b if a is z else a)._data), shape_of(z._data))
    return Famous("squared error", "", _numbers(z._data), target, scale)


def mean_of(hop: Hop) -> int | None:
    """Over how many a mean is taken, if this hop passes through one: each gets 1/n of the cotangent."""
    if hop.scope is None or hop.scope.name != "mean" or hop.local.size != 1:
        return None
    n = round(1 / float(hop.local[0])) if hop.local[0] else 0
    return n if n > 1 and abs(float(hop.local[0]) * n - 1) < 1e-6 else None
