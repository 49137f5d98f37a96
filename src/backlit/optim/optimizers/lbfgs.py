"""L-BFGS: Newton's method with a curvature guessed from the last few steps; for small problems without noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from backlit.core.errors import DomainError, GraphError
from backlit.core.numbers import dtype_of, quietly, shape_of
from backlit.core.trees import flatten
from backlit.core.value import Value, assign, gradient_of, numbers_of
from backlit.ops.arithmetic import ABS
from backlit.ops.casting import ASTYPE
from backlit.ops.joining import CONCAT
from backlit.ops.selection import MINIMUM, WHERE
from backlit.ops.summation import RESHAPE, SUM
from backlit.optim.line_search import Point, strong_wolfe
from backlit.optim.rule import Last, Optimizer, Rule, Schedule, Tree, along, as_rate, like, zeros
from backlit.optim.telling import Line, Seen, Told, element, named


def lbfgs(learning_rate: Any = 1.0, history: int = 10) -> Rule:
    r"""A step along -H g, where H, the inverse of the curvature, is rebuilt from the last pairs (s, y).

    s = step made;   y = change of the gradient over it;   kept if s·y > 1e-10
    H starts from (s·y)/(y·y) of the newest pair, and is corrected by each pair (two-loop recursion)
    u = learning_rate * direction,   at the first step learning_rate * min(1, 1/Σ|g|) * -g

    All parameters are one vector of n numbers. State: `step` () int64; `s`, `y` (history, n); `rho` (history,), 1/(s·y)
    or 0; `curvature` (); `direction`, `gradient` (n,); `length` (). Raises DomainError for a history below 1. Cost of a
    step: 4 * history * n. Source: Liu and Nocedal 1989; Nocedal and Wright 2006, algorithms 7.4 and 7.5. PyTorch's with
    max_iter=1 does the same (its history is 100). `LBFGS` adds the line search that makes it reliable.

    >>> rule = lbfgs()
    >>> w, state = [4.0], rule.init([4.0])
    >>> for _ in range(2):
    ...     updates, state = rule.update([3.0 * (w[0] - 1.0)], state, w)  # the slope of 1.5 * (w - 1)**2
    ...     w = [w[0] + updates[0]]
    >>> round(w[0], 9)
    1.0
    """
    if history < 1:
        raise DomainError(f"lbfgs: history={history}; it must be at least 1.")
    rate_at = as_rate(learning_rate)

    def init(params: Tree) -> Tree:
        flat = zeros(_flat(params, params))
        pairs = zeros(_rows(flat, history))
        one = SUM(flat, axis=(0,)) + 1.0
        return {
            "step": 0,
            "s": pairs,
            "y": pairs,
            "rho": SUM(pairs, axis=(1,)),
            "curvature": one,
            "direction": flat,
            "gradient": flat,
            "length": one,
        }

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        state = advanced(state, _flat(grads, params), rate_at(state["step"]))
        return _split(state["length"] * state["direction"], grads, params), state

    def tell(seen: Seen) -> Told:
        sizes = [int(np.prod(shape_of(p))) for p in seen.params]
        place = sum(sizes[: seen.place])
        if seen.spot:
            place += int(np.ravel_multi_index(seen.spot, shape_of(seen.params[seen.place])))
        pairs = int(np.count_nonzero(np.asarray(seen.after["rho"])))
        words = f"the slope, turned by the curvature of {pairs} steps" if pairs else "straight down the slope"
        direction = named("direction", element(seen.after["direction"], (place,)))
        length = named("length", element(seen.after["length"], ()))
        return Told(length * direction, (Line("direction", direction.value, None, words),))

    return Rule(init, update, tell, rate_at)


def advanced(state: Tree, gradient: Any, rate: Any) -> Tree:
    """The state with the newest pair taken up, and the direction and length of the next step."""
    step = state["step"]
    s, y = state["length"] * state["direction"], gradient - state["gradient"]
    sy = _dot(s, y)
    is_kept = sy > 1e-10
    divisor = WHERE(is_kept, sy, sy * 0.0 + 1.0)
    kept = {
        "s": WHERE(is_kept, _pushed(state["s"], s), state["s"]),
        "y": WHERE(is_kept, _pushed(state["y"], y), state["y"]),
        "rho": WHERE(is_kept, _pushed(state["rho"], 1.0 / divisor), state["rho"]),
        "curvature": WHERE(is_kept, sy / WHERE(is_kept, _dot(y, y), divisor), state["curvature"]),
    }
    total = SUM(ABS(gradient), axis=(0,))
    first = MINIMUM(1.0 / WHERE(total > 0, total, total * 0.0 + 1.0), 1.0)
    return {
        "step": step + 1,
        **kept,
        "direction": _direction(gradient, kept["s"], kept["y"], kept["rho"], kept["curvature"]),
        "gradient": gradient,
        "length": like(rate, gradient) * WHERE(step == 0, first, first * 0.0 + 1.0),
    }


def _direction(gradient: Any, s: Any, y: Any, rho: Any, curvature: Any) -> Any:
    """-H g by the two-loop recursion; a pair with rho = 0 is not there."""
    pairs = range(shape_of(rho)[0])
    if type(rho) is np.ndarray:  # their terms are 0 anyway
        pairs = [i for i in pairs if rho[i]]  # type: ignore[assignment]
    way, shares = -gradient, {}
    for i in reversed(pairs):
        shares[i] = rho[i] * _dot(s[i], way)
        way = way - shares[i] * y[i]
    way = curvature * way
    for i in pairs:
        way = way + (shares[i] - rho[i] * _dot(y[i], way)) * s[i]
    return way


def _dot(a: Any, b: Any) -> Any:
    return np.dot(a, b) if type(a) is type(b) is np.ndarray else SUM(a * b, axis=(0,))


def _rows(flat: Any, count: int) -> Any:
    return CONCAT(*[RESHAPE(flat, shape=(1, *flat.shape))] * count, axis=0)


def _pushed(rows: Any, new: Any) -> Any:
    """The rows without the oldest, and with a new one at the end."""
    return CONCAT(rows[1:], RESHAPE(new, shape=(1, *shape_of(new))), axis=0)


def _flat(tree: Tree, params: Tree) -> Any:
    """One vector of all numbers; zeros where the tree has none."""
    leaves = [(p * 0.0 if x is None else x) for x, p in zip(along(params, tree), flatten(params)[0], strict=True)]
    return CONCAT(*[RESHAPE(x, shape=(_size(x),)) for x in leaves], axis=0)


def _split(vector: Any, grads: Tree, params: Tree) -> Tree:
    leaves, rebuild = flatten(params)
    parts, start = [], 0
    for p, g in zip(leaves, along(params, grads), strict=True):
        part = vector[start : start + _size(p)]
        start += _size(p)
        shaped = RESHAPE(part, shape=shape_of(p))
        if dtype_of(shaped) != dtype_of(p):
            shaped = ASTYPE(shaped, dtype=dtype_of(p))
        parts.append(None if g is None else shaped)
    return rebuild(iter(parts))


def _size(x: Any) -> int:
    size = 1
    for length in shape_of(x):
        size *= length
    return size


class LBFGS(Optimizer):
    """L-BFGS on parameters, with a line search; `step` takes a function that computes the loss.

    Each `step(closure)` makes up to `max_iter` iterations, of up to `max_eval` evaluations (1.25 * max_iter), and stops
    when no gradient is larger than `tolerance_grad`, or neither loss nor parameters change by `tolerance_change`.
    line_search: lengths by `strong_wolfe`, starting from lr; else every length is lr, as PyTorch does unless told
    otherwise. history_size: pairs kept (PyTorch: 100). Parameters should be float64. State and source: `lbfgs`.

    >>> w = Value([-1.2, 1.0])
    >>> optimizer = LBFGS([w])
    >>> for _ in range(4):
    ...     loss = optimizer.step(lambda: (1.0 - w[0]) ** 2 + 100.0 * (w[1] - w[0] ** 2) ** 2)
    >>> w.data.round(4)
    array([1., 1.])
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 10,
        line_search: bool = True,
    ) -> None:
        super().__init__(parameters, lambda rate: lbfgs(rate, history_size), lr)
        self.max_iter, self.max_eval = max_iter, max_iter * 5 // 4 if max_eval is None else max_eval
        self.tolerance_grad, self.tolerance_change = tolerance_grad, tolerance_change
        self.line_search = line_search
        self.evaluations = 0

    def step(self, closure: Callable[[], Value] | None = None) -> Value:  # type: ignore[override]
        """Several iterations; gives the loss as it was before them.

        closure: computes the loss from the parameters as they are. It may call `backward()` itself, as PyTorch's must;
        gradients are forgotten before. Raises GraphError without a closure.
        """
        if closure is None:
            raise GraphError(
                "LBFGS.step: it evaluates the loss several times, so it needs a function for it: "
                "optimizer.step(lambda: loss_of(model(x), y))."
            )
        here = [numbers_of(p) for p in self.parameters]
        first, loss, gradient = self._evaluated(closure)
        used = 1
        for _ in range(self.max_iter):
            if used > self.max_eval or not _largest(gradient) > self.tolerance_grad:
                break
            before, grads = self._recalled(), [gradient_of(p) for p in self.parameters]
            after = quietly(advanced, before, gradient, self.lr)
            direction, length = after["direction"], float(after["length"])
            slope = float(np.dot(gradient, direction))
            if not slope < -self.tolerance_change:
                break
            reach = _largest(direction)
            if self.line_search:
                found, tried = strong_wolfe(
                    partial(self._at, closure, here, direction),
                    Point(0.0, loss, slope, gradient),
                    length,
                    tries=max(self.max_eval - used, 1),
                    least=self.tolerance_change / reach,
                )
            else:
                found, tried = self._at(closure, here, direction, length), 1
            used += tried
            after["length"] = after["length"] * 0.0 + found.length  # in its own dtype
            self._keep(after)
            self._last = Last(grads, before, here) if self.remembers else None
            self._after = after
            here = self._moved(here, direction, found.length)
            change, loss, gradient = abs(found.value - loss), found.value, found.found
            if reach * found.length <= self.tolerance_change or change < self.tolerance_change:
                break
        self.evaluations += used
        assign(self.steps, numbers_of(self.steps) + 1)
        return first

    def _evaluated(self, closure: Callable[[], Value]) -> tuple[Value, float, Any]:
        """The loss, as a value and as a number, and its gradient as one vector."""
        self.zero_grad()
        loss = closure()
        if not isinstance(loss, Value):
            raise GraphError(f"LBFGS.step: the closure must give the loss as a value, and gave {type(loss).__name__}.")
        grads = [gradient_of(p) for p in self.parameters]
        if all(g is None for g in grads):
            loss.backward()
            grads = [gradient_of(p) for p in self.parameters]
        return loss, float(loss), _flat(grads, [numbers_of(p) for p in self.parameters])

    def _at(self, closure: Callable[[], Value], here: list[Any], direction: Any, length: float) -> Point:
        self._moved(here, direction, length)
        _, value, gradient = self._evaluated(closure)
        return Point(length, value, float(np.dot(gradient, direction)), gradient)

    def _moved(self, here: list[Any], direction: Any, length: float) -> list[Any]:
        """Move the parameters this far from here; their numbers then."""
        updates = _split(length * direction, here, here)
        for p, old, update in zip(self.parameters, here, updates, strict=True):
            assign(p, old + update)
        return [numbers_of(p) for p in self.parameters]

    def _seen(self, last: Last, place: int) -> Seen:
        after = self._after  # the line search chose the length
        updates = _split(after["length"] * after["direction"], last.grads, last.params)
        return Seen(*last, updates, after, place, ())


def _largest(vector: Any) -> float:
    return float(np.abs(vector).max(initial=0.0))
