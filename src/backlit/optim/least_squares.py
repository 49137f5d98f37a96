"""Gauss-Newton and Levenberg-Marquardt: sums of squares made small by solving them as if residuals were straight lines.

For small problems: each iteration computes the whole Jacobian matrix and solves a dense least-squares problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from backlit.autodiff.forward import push_forward
from backlit.autodiff.reverse import pull_back
from backlit.autodiff.transforms import jacobian
from backlit.core.errors import DomainError, GraphError
from backlit.core.numbers import quietly, shape_of
from backlit.core.state import no_grad
from backlit.core.trees import flatten
from backlit.core.value import Value, assign, current, numbers_of
from backlit.optim.rule import steppable

Tree = Any
Array = np.ndarray[Any, Any]
Residual = Callable[[Any], Any]


class Fitted(NamedTuple):
    """Where a least-squares search ended.

    x: the numbers found, in the structure of the start. cost: half the sum of squared residuals there. residual: as one
    vector. costs: of the start and after each iteration that was kept. iterations: tried in all. damping: the last one.
    reason: why it ended. converged: whether that is a reason to be content.
    """

    x: Tree
    cost: float
    residual: Array
    costs: tuple[float, ...]
    iterations: int
    damping: float
    reason: str
    converged: bool


def gauss_newton(residual: Residual, start: Tree, iterations: int = 50, tolerance: float = 1e-10) -> Fitted:
    r"""The least sum of squares of `residual(x)`, by full steps d that solve min ||J d + r||.

    residual: from a tree like `start` to an array of residuals, in ops. Converges quadratically near a solution with
    small residuals; far from one it may diverge, where `levenberg_marquardt` does not. Where J has not full rank, d is
    the shortest solution. Raises DomainError if the residuals at the start are not finite. Ends when the gradient's
    largest element is at most `tolerance` times (1 + cost), the step is at most `tolerance` times the size of x, the
    cost is not finite, or after `iterations`.
    Cost of an iteration: a Jacobian, and O(m n²) for m residuals of n numbers. Source: Nocedal and Wright 2006, 10.3.

    >>> found = gauss_newton(lambda x: x * x - 2.0, 1.0)
    >>> round(found.x, 9), found.converged
    (1.414213562, True)
    """
    return _search(residual, start, iterations, tolerance, None)


def levenberg_marquardt(
    residual: Residual, start: Tree, iterations: int = 100, tolerance: float = 1e-10, damping: float = 1e-3
) -> Fitted:
    r"""The least sum of squares of `residual(x)`, by steps that shorten themselves until they help.

    (JᵀJ + damping * diag(JᵀJ)) d = -Jᵀr;   kept if the cost falls, and damping / 10; else damping * 10

    Solved as a least-squares problem of [J; sqrt(damping) D], so JᵀJ is never formed. Other words as in `gauss_newton`;
    it also ends when the damping passes 1e12. Raises DomainError for a damping that is not above 0.
    Source: Levenberg 1944; Marquardt 1963; Moré 1978 (the stacked form; D is diag(JᵀJ) of this iteration, 1 where it is
    0, whereas MINPACK keeps the largest so far).

    >>> t = np.array([0.0, 1.0, 2.0])
    >>> y = np.array([2.0, 1.0, 0.5])
    >>> found = levenberg_marquardt(lambda x: x["a"] * (t * x["b"]).exp() - y, {"a": 1.0, "b": 0.0})
    >>> round(found.x["a"], 6), round(found.x["b"], 6)
    (2.0, -0.693147)
    """
    _check_damping(damping)
    return _search(residual, start, iterations, tolerance, damping)


@np.errstate(all="ignore")
def _search(residual: Residual, start: Tree, iterations: int, tolerance: float, damping: float | None) -> Fitted:
    leaves, rebuild = flatten(start)
    shapes = [shape_of(leaf) for leaf in leaves]

    def as_tree(x: Array) -> Tree:
        parts = np.split(x, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
        return rebuild(iter([p.reshape(s) if s else float(p[0]) for p, s in zip(parts, shapes, strict=True)]))

    def residuals(x: Array) -> Array:
        with no_grad():
            found = residual(_as_values(as_tree(x)))
        return np.ravel(np.asarray(numbers_of(found) if isinstance(found, Value) else found, np.float64))

    def derivative(x: Array) -> Array:
        blocks = flatten(jacobian(residual)(as_tree(x)))[0]
        columns = [np.reshape(numbers_of(b), (-1, int(np.prod(s)))) for b, s in zip(blocks, shapes, strict=True)]
        return np.concatenate(columns, axis=1, dtype=np.float64)

    x = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in leaves])
    r = residuals(x)
    cost = _cost(r)
    if not np.isfinite(cost):
        raise DomainError(f"the residuals at the start are not finite: half their sum of squares is {cost}.")
    costs, tried, reason, converged = [cost], 0, f"{iterations} iterations were made", False
    J = derivative(x)
    while tried < iterations:
        if np.abs(J.T @ r).max(initial=0.0) <= tolerance * (1.0 + cost):
            reason, converged = "the gradient is zero", True
            break
        tried += 1
        d = _step_of(J, r, damping)
        trial = x + d
        r_trial = residuals(trial)
        cost_trial = _cost(r_trial)
        is_small = float(np.linalg.norm(d)) <= tolerance * (tolerance + float(np.linalg.norm(x)))
        if damping is None and not np.isfinite(cost_trial):
            reason = "the residuals are no longer finite: start nearer, or use levenberg_marquardt"
            break
        if damping is None or cost_trial < cost:
            x, r, cost = trial, r_trial, cost_trial
            costs.append(cost)
            J = derivative(x)
            damping = None if damping is None else max(damping / 10.0, 1e-15)
        else:
            damping *= 10.0
            if damping > 1e12 and not is_small:
                reason = "no step makes the cost smaller"
                break
        if is_small:
            reason, converged = "the steps are too small to matter", True
            break
    return Fitted(as_tree(x), cost, r, tuple(costs), tried, damping or 0.0, reason, converged)


def _as_values(tree: Tree) -> Tree:
    leaves, rebuild = flatten(tree)
    return rebuild(iter([Value(leaf) for leaf in leaves]))


def _cost(r: Array) -> float:
    return 0.5 * float(quietly(np.dot, r, r))


def _step_of(J: Array, r: Array, damping: float | None) -> Array:
    if damping is not None:
        scale = np.sqrt(np.einsum("mn,mn->n", J, J))
        scale[scale == 0.0] = 1.0
        J = np.concatenate([J, np.sqrt(damping) * np.diag(scale)])
        r = np.concatenate([r, np.zeros(len(scale))])
    step: Array = np.linalg.lstsq(J, -r, rcond=None)[0]
    return step


def _check_damping(damping: float) -> None:
    if not 0 < damping < float("inf"):
        raise DomainError(f"levenberg_marquardt: damping={damping}; it must be a number above 0, such as 0.001.")


class GaussNewton:
    """Gauss-Newton on parameters: `step` takes a function that computes the residuals; see `gauss_newton`.

    >>> w = Value(1.0)
    >>> optimizer = GaussNewton([w])
    >>> costs = [optimizer.step(lambda: w * w - 2.0) for _ in range(5)]
    >>> round(w.data, 9)
    1.414213562
    """

    damping: float | None = None

    def __init__(self, parameters: Sequence[Value]) -> None:
        self.parameters = steppable(type(self).__name__, parameters)

    def step(self, residual: Callable[[], Value]) -> float:
        """One step; gives half the sum of squares as it was before. No gradients are needed or changed."""
        cost, J, r = self._lines(residual)
        self._move(_step_of(J, r, None))
        return cost

    def _lines(self, residual: Callable[[], Value]) -> tuple[float, Array, Array]:
        """Cost, Jacobian matrix and residuals where the parameters are."""
        y = residual()
        if not isinstance(y, Value):
            raise GraphError(f"{type(self).__name__}.step: the residuals must be a value, and are {type(y).__name__}.")
        r = np.ravel(np.asarray(numbers_of(y), np.float64))
        return _cost(r), _jacobian_of(current(y), [current(p) for p in self.parameters]), r

    def _move(self, d: Array) -> None:
        start = 0
        for p in self.parameters:
            step = d[start : start + p.size].reshape(p.shape)
            start += p.size
            p.data = np.asarray(p.data + step, p.dtype)


class LevenbergMarquardt(GaussNewton):
    """Levenberg-Marquardt on parameters: `step` takes a function that computes the residuals; see there.

    A step that would raise the cost is not made, but raises `damping` tenfold and is tried again, up to `tries` times.

    >>> w = Value(10.0)
    >>> optimizer = LevenbergMarquardt([w])
    >>> costs = [optimizer.step(lambda: w.tanh() - 0.5) for _ in range(60)]
    >>> round(w.data, 6)
    0.549306
    """

    damping: float

    def __init__(self, parameters: Sequence[Value], damping: float = 1e-3, tries: int = 20) -> None:
        super().__init__(parameters)
        _check_damping(damping)
        self.damping, self.tries = damping, tries

    def step(self, residual: Callable[[], Value]) -> float:
        """One step that lowers the cost, if one was found; gives half the sum of squares as it was before."""
        cost, J, r = self._lines(residual)
        before = [numbers_of(p) for p in self.parameters]
        for _ in range(self.tries):
            self._move(_step_of(J, r, self.damping))
            if _cost(np.ravel(np.asarray(numbers_of(residual()), np.float64))) < cost:
                self.damping = max(self.damping / 10.0, 1e-15)
                return cost
            for p, old in zip(self.parameters, before, strict=True):
                assign(p, old)
            self.damping = min(self.damping * 10.0, 1e12)
        return cost


def _jacobian_of(y: Value, params: Sequence[Value]) -> Array:
    """Matrix of derivatives of every element of y by every number of the parameters, by whichever mode is shorter."""
    rows, columns = y.size, sum(p.size for p in params)
    J = np.zeros((rows, columns))
    if rows <= columns:
        for i in range(rows):
            seed = np.zeros(rows, y.dtype)
            seed[i] = 1
            found = pull_back([y], [seed.reshape(y.shape) if y.shape else seed[0]], params)
            J[i] = np.concatenate([_numbers(ct, p) for ct, p in zip(found, params, strict=True)])
        return J
    at = 0
    for p in params:
        for i in range(p.size):
            seed = np.zeros(p.size, p.dtype)
            seed[i] = 1
            (t,) = push_forward([y], [p], [seed.reshape(p.shape) if p.shape else seed[0]])
            J[:, at] = _numbers(t, y)
            at += 1
    return J


def _numbers(found: Value | None, like: Value) -> Array:
    return np.zeros(like.size) if found is None else np.ravel(np.asarray(numbers_of(found), np.float64))
