"""L-BFGS, its line search, Gauss-Newton and Levenberg-Marquardt."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

import backlit as bl
from backlit import optim
from backlit.optim.line_search import Point


def rosenbrock(x):
    return (100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1.0 - x[:-1]) ** 2.0).sum()


# -- the line search --------------------------------------------------------------------------------------------

LINES = {
    "a parabola": (lambda t: (t - 3.0) ** 2, lambda t: 2.0 * (t - 3.0)),
    "a wave": (lambda t: np.cos(3.0 * t) - 0.7 * t, lambda t: -3.0 * np.sin(3.0 * t) - 0.7),
    "flat at first": (lambda t: (t - 50.0) ** 4 / 1e4, lambda t: 4.0 * (t - 50.0) ** 3 / 1e4),
    "More and Thuente 1": (lambda t: -t / (t * t + 2.0), lambda t: (t * t - 2.0) / (t * t + 2.0) ** 2),
    "with a pole": (
        lambda t: -np.log(2.0 - t) - 3.0 * t if t < 2.0 else float("nan"),
        lambda t: 1.0 / (2.0 - t) - 3.0 if t < 2.0 else float("nan"),
    ),
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("name", LINES)
def test_the_length_found_meets_both_conditions_of_wolfe(name, first):
    f, slope = LINES[name]
    start = Point(0.0, f(0.0), slope(0.0))
    found, count = optim.strong_wolfe(lambda t: Point(t, f(t), slope(t)), start, first, tries=40)
    assert found.length > 0
    assert count <= 40
    assert found.value <= start.value + 1e-4 * found.length * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)


def test_a_line_without_end_is_left_after_some_tries():
    found, count = optim.strong_wolfe(lambda t: Point(t, -t, -1.0), Point(0.0, 0.0, -1.0), 1.0, tries=10)
    assert count == 10
    assert found.length > 1.0


def test_a_direction_must_point_down():
    with pytest.raises(bl.DomainError, match="must point down"):
        optim.strong_wolfe(lambda t: Point(t, t, 1.0), Point(0.0, 0.0, 1.0), 1.0)


# -- L-BFGS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 30])
def test_lbfgs_finds_the_bottom_of_a_curved_valley(n):
    w = bl.Parameter(np.full(n, -1.0) + 0.1 * np.arange(n) / n)
    optimizer = optim.LBFGS([w], tolerance_change=1e-14)
    for _ in range(15):
        optimizer.step(lambda: rosenbrock(w))
    np.testing.assert_allclose(w.data, np.ones(n), rtol=1e-6)
    assert optimizer.evaluations < 300


def test_lbfgs_uses_about_as_many_evaluations_as_scipy():
    start = np.full(10, -1.0)
    w = bl.Parameter(start)
    optimizer = optim.LBFGS([w], max_iter=400, max_eval=800, tolerance_change=1e-12)
    optimizer.step(lambda: rosenbrock(w))
    f = bl.value_and_grad(rosenbrock)
    theirs = scipy.optimize.minimize(
        lambda x: tuple(np.asarray(v.data) for v in f(x)), start, jac=True, method="L-BFGS-B", options={"maxcor": 10}
    )
    assert rosenbrock(np.asarray(w.data)) <= 1e-10
    assert optimizer.evaluations <= 1.5 * theirs.nfev + 10


def test_a_closure_may_call_backward_itself():
    ways = []
    for calls in (False, True):
        w, b = bl.Parameter([3.0, -2.0]), bl.Parameter(0.5)
        optimizer = optim.LBFGS([w, b], max_iter=3)

        def closure(w=w, b=b, calls=calls):
            loss = rosenbrock(w) + (b - w[0]) ** 2.0
            if calls:
                loss.backward()
            return loss

        first = optimizer.step(closure)
        assert float(first) == rosenbrock(np.array([3.0, -2.0])) + 2.5**2
        ways.append((*w.data, b.data))
    assert ways[0] == ways[1]


def test_lbfgs_goes_on_from_its_state_bit_by_bit():
    def fresh(data):
        w = bl.Parameter(data)
        return w, optim.LBFGS([w], max_iter=3, history_size=4)

    w, whole = fresh(np.full(5, -1.0))
    whole.step(lambda: rosenbrock(w))
    v, again = fresh(np.array(w.data))
    again.load_state_dict(whole.state_dict())
    for _ in range(3):
        whole.step(lambda: rosenbrock(w))
        again.step(lambda: rosenbrock(v))
    np.testing.assert_array_equal(w.data, v.data)


def test_lbfgs_tells_its_last_iteration():
    w = bl.Parameter([-1.0, 1.5], name="w")
    optimizer = optim.LBFGS([w], max_iter=4)
    optimizer.step(lambda: rosenbrock(w))
    move = optimizer.why(w, 0)
    assert move.formula.value == move.update
    assert move.after == w.data[0]
    assert "turned by the curvature of" in move.text


def test_lbfgs_without_a_closure_says_what_it_needs():
    with pytest.raises(bl.GraphError, match="needs a function"):
        optim.LBFGS([bl.Parameter(1.0)]).step()
    with pytest.raises(bl.GraphError, match="must give the loss as a value"):
        optim.LBFGS([bl.Parameter(1.0)]).step(lambda: 1.0)


# -- least squares ----------------------------------------------------------------------------------------------


def decay(x):
    t = np.linspace(0.0, 4.0, 20)
    return x["a"] * bl.exp(-x["k"] * t) + x["c"] - (2.5 * np.exp(-1.3 * t) + 0.5)


@pytest.mark.parametrize("search", [optim.gauss_newton, optim.levenberg_marquardt])
def test_a_curve_is_fitted(search):
    found = search(decay, {"a": 2.0, "k": 1.0, "c": 0.0})
    assert found.converged, found.reason
    assert [round(found.x[k], 8) for k in "akc"] == [2.5, 1.3, 0.5]
    assert found.cost < 1e-20
    assert list(found.costs) == sorted(found.costs, reverse=True)


def test_levenberg_marquardt_agrees_with_minpack_where_the_fit_is_not_perfect():
    rng = np.random.default_rng(2)
    t, y = np.linspace(0, 3, 25), rng.normal(size=25)

    def residual(x):
        return x[0] * bl.sin(x[1] * t) + x[2] * t - y

    def plain(x):
        return x[0] * np.sin(x[1] * t) + x[2] * t - y

    start = np.array([1.0, 2.0, 0.1])
    found = optim.levenberg_marquardt(residual, start)
    theirs = scipy.optimize.least_squares(plain, start, method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert found.converged
    assert found.cost == pytest.approx(theirs.cost, rel=1e-9)
    np.testing.assert_allclose(found.x, theirs.x, rtol=1e-5)


def test_gauss_newton_that_runs_away_says_so_and_the_damped_one_does_not():
    far = optim.gauss_newton(bl.log, 10.0)
    assert not far.converged
    assert "no longer finite" in far.reason
    assert far.x == 10.0
    near = optim.levenberg_marquardt(bl.log, 10.0)
    assert near.converged
    assert near.x == pytest.approx(1.0, rel=1e-8)
    with pytest.raises(bl.DomainError, match="at the start are not finite"):
        optim.levenberg_marquardt(bl.log, 0.0)


def test_more_numbers_than_residuals_take_the_shortest_step():
    found = optim.gauss_newton(lambda x: (x * np.array([1.0, 2.0])).sum() - 5.0, np.zeros(2))
    np.testing.assert_allclose(found.x, [1.0, 2.0], rtol=1e-12)


@pytest.mark.parametrize("rows", [2, 30])
def test_the_object_face_fits_a_model_by_either_mode(rows):
    rng = np.random.default_rng(4)
    x, w, b = rng.normal(size=(rows, 3)), bl.Parameter(np.zeros(3)), bl.Parameter(0.0)
    target = np.tanh(x @ [0.5, -0.3, 0.2] + 0.1)
    optimizer = optim.LevenbergMarquardt([w, b])
    costs = [optimizer.step(lambda: bl.tanh(x @ w + b) - target) for _ in range(12)]
    assert costs[-1] < 1e-20 < costs[0]
    assert w.grad is None
    if rows > 4:
        np.testing.assert_allclose(w.data, [0.5, -0.3, 0.2], rtol=1e-8)


def test_a_damping_of_nothing_is_refused():
    with pytest.raises(bl.DomainError, match="damping=0"):
        optim.levenberg_marquardt(decay, {"a": 1.0, "k": 1.0, "c": 0.0}, damping=0)
    with pytest.raises(bl.DomainError, match="damping=-1"):
        optim.LevenbergMarquardt([bl.Parameter(1.0)], damping=-1)
