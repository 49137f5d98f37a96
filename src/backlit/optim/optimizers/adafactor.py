"""Adafactor: the running squares of a matrix kept as one number a row and one a column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.numbers import dtype_of, shape_of
from backlit.core.trees import flatten
from backlit.core.value import Value
from backlit.ops.powers import SQUARE
from backlit.ops.selection import MAXIMUM, MINIMUM
from backlit.ops.summation import SUM
from backlit.optim.rule import (
    Optimizer,
    Rule,
    Schedule,
    Tree,
    as_rate,
    blend,
    each,
    like,
    not_negative,
    root,
    zeros,
)
from backlit.optim.telling import Line, Seen, Told, element, named


def adafactor(
    learning_rate: Any = 0.01,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    clip: float = 1.0,
    decay: Any = 0.0,
) -> Rule:
    r"""Adam's scaling without momentum, in far less memory, with steps in proportion to the size of the parameter.

    w = step**beta2_decay;     R = (1 - w) * R + w * row means of g**2;     C likewise of column means
    V = R C / mean(R);         U = g / sqrt(V)                               (vectors: V = (1 - w) * V + w * g**2)
    u = -max(eps[1], RMS(parameter)) * min(learning_rate, 1/sqrt(step)) * U / max(1, RMS(U) / clip)
        - learning_rate * decay * parameter

    Matrices are the last two axes of an array. mean(R) is kept above eps[0], V above eps[0]**2; None means the machine
    precision of the parameter's dtype. RMS: root of the mean square over one whole parameter.
    State: `step` () int64; for an (n, k) matrix `rows` (n, 1) and `columns` (1, k), else `v` like the parameter.
    Raises DomainError for an eps, clip or decay below 0.

    Source: Shazeer and Stern 2018, algorithms 4-6, arXiv:1804.04235: there the rate is min(0.01, 1/sqrt(step)), which
    is the default here, and 1e-30 is added to g**2. As PyTorch, whose formulas and defaults these are. optax adds 1e-30
    to g**2, factors only from 128 rows and columns on, and offers momentum.

    >>> rule = adafactor()
    >>> state = rule.init([np.ones((2, 3))])
    >>> updates, state = rule.update([np.ones((2, 3))], state, [np.ones((2, 3))])
    >>> updates[0][0].round(6), state["memory"][0]["rows"].shape
    (array([-0.01, -0.01, -0.01]), (2, 1))
    """
    not_negative("adafactor", eps=eps[1], clip=clip, decay=decay)
    if eps[0] is not None:
        not_negative("adafactor", eps=eps[0])
    rate_at = as_rate(learning_rate)
    decays = isinstance(decay, Value) or decay > 0

    def least_of(p: Any) -> float:
        return float(np.finfo(dtype_of(p)).eps) if eps[0] is None else eps[0]

    def init(params: Tree) -> Tree:
        leaves, rebuild = flatten(params)
        return {"step": 0, "memory": rebuild(iter([_empty(p) for p in leaves]))}

    def size_of_step(p: Any, rate: Any, step: Any) -> Any:
        return MAXIMUM(_rms(p), eps[1]) * like(MINIMUM(rate, step**-0.5), p)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate, step = rate_at(state["step"]), state["step"] + 1
        weight = step**beta2_decay

        def move(p: Any, g: Any, memory: Any) -> tuple[Any, ...]:
            memory, v = _remembered(g, memory, weight, least_of(p))
            raw = g / root(v)
            u = raw * (-size_of_step(p, rate, step) / MAXIMUM(_rms(raw) / clip, 1.0))
            if decays:
                u = u - like(rate * decay, p) * p
            return u, memory

        updates, memory = each(move, params, grads, state["memory"])
        return updates, {"step": step, "memory": memory}

    def tell(seen: Seen) -> Told:
        g, p = seen.grads[seen.place], seen.params[seen.place]
        rate, step = rate_at(seen.before["step"]), seen.step
        memory, v = _remembered(g, seen.before["memory"][seen.place], step**beta2_decay, least_of(p))
        raw = g / root(v)
        length, rms = _rms(p), _rms(raw)
        size, sharp = named("√V", root(element(v, seen.spot))), named("clipping", MAXIMUM(rms / clip, 1.0))
        relative, scale = named("rate", float(MINIMUM(rate, step**-0.5))), named("size", MAXIMUM(length, eps[1]))
        lines = [
            Line("√V", size.value, None, "the usual size of the gradient" + _from_factors(memory, seen.spot)),
            Line("size", scale.value, None, f"of the whole parameter, RMS {float(length):.6g}, at least {eps[1]:.6g}"),
            Line("rate", relative.value, None, f"the smaller of lr {float(rate):.6g} and 1/√{step}"),
            Line("clipping", sharp.value, None, f"RMS of all g/√V is {float(rms):.6g}, of which {clip:.6g} is let by"),
        ]
        found = -scale * relative / sharp * seen.incoming / size
        if decays:
            found = found - named("lr", rate) * named("decay", decay) * named("parameter", seen.p)
        return Told(found, tuple(lines))

    return Rule(init, update, tell, rate_at)


def _empty(p: Any) -> dict[str, Any]:
    if len(shape_of(p)) < 2:
        return {"v": zeros(p)}
    return {"rows": zeros(_mean(p, -1)), "columns": zeros(_mean(p, -2))}


def _remembered(g: Any, memory: Any, weight: Any, least: float) -> tuple[Any, Any]:
    """The new memory, and the squares that it stands for."""
    if "v" in memory:
        v = blend(memory["v"], g * g, weight)
        return {"v": v}, MAXIMUM(v, least * least)
    square = g * g
    rows, columns = (blend(memory[key], _mean(square, axis), weight) for key, axis in (("rows", -1), ("columns", -2)))
    return {"rows": rows, "columns": columns}, MAXIMUM(rows * columns / MAXIMUM(_mean(rows, -2), least), least * least)


def _mean(x: Any, axis: int) -> Any:
    return SUM(x, axis=(axis % len(x.shape),), keepdims=True) / max(x.shape[axis], 1)


def _rms(x: Any) -> Any:
    shape = shape_of(x)
    if not shape:
        return root(SQUARE(x))
    return root(SUM(SQUARE(x), axis=tuple(range(len(shape)))) / max(math.prod(shape), 1))  # of nothing: 0


def _from_factors(memory: Any, index: tuple[int, ...]) -> str:
    if "v" in memory:
        return ""
    row, column = memory["rows"][(*index[:-1], 0)], memory["columns"][(*index[:-2], 0, index[-1])]
    return f", from row {float(row):.6g} and column {float(column):.6g}"


class Adafactor(Optimizer):
    """Adafactor on parameters; see `adafactor`. The weight decay is apart from the gradient, as in PyTorch.

    >>> w = Value([2.0, 2.0])
    >>> optimizer = Adafactor([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    array([1.98, 1.98])
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 0.01,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lambda rate: adafactor(rate, beta2_decay, eps, d, weight_decay), lr)
