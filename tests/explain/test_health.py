from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import backlit as bl
from backlit.explain.health import health
from backlit.training.xor import INPUTS, WANTED, loss_of

FINAL = np.load(Path(__file__).parent / "data" / "xor_final.npz")["theta"]
"""(100, 9): the parameters of the XOR net of seeds 0 to 99 after 100,000 steps of learning rate 0.03."""
X, Y = np.array(INPUTS, float), np.array(WANTED, float)


def told(theta):
    """What is true of a trained net, in plain NumPy: dead units, groups of like answers, whether it learned."""
    before = X @ theta[:4].reshape(2, 2) + theta[4:6]
    p = 1 / (1 + np.exp(-(np.maximum(before, 0) @ theta[6:8] + theta[8])))
    dead = tuple(np.flatnonzero((before <= 0).all(0)).tolist())
    alike = {}
    for row in range(4):
        alike.setdefault(next((k for k in alike if abs(p[k] - p[row]) < 0.02), row), []).append(row)
    stuck = sorted(r for rows in alike.values() if len(set(Y[rows])) > 1 for r in rows)
    return dead, tuple(stuck), bool(((p > 0.5) == (Y > 0.5)).all())


def as_arrays(theta):
    w1, b1 = bl.Parameter(theta[:4].reshape(2, 2), name="W1"), bl.Parameter(theta[4:6], name="b1")
    w2, b2 = bl.Parameter(theta[6:8].reshape(2, 1), name="W2"), bl.Parameter(theta[8:], name="b2")
    h = bl.relu(bl.asarray(X) @ w1 + b1)
    z = h @ w2 + b2
    return (bl.softplus(z) - bl.asarray(Y.reshape(4, 1)) * z).mean()


def as_sigmoid_and_logs(theta):
    """The formula as the sources have it: p = sigmoid(z), and the logarithms of p."""
    w1, b1 = bl.Parameter(theta[:4].reshape(2, 2), name="W1"), bl.Parameter(theta[4:6], name="b1")
    w2, b2 = bl.Parameter(theta[6:8], name="W2"), bl.Parameter(theta[8], name="b2")
    p = bl.sigmoid(bl.relu(bl.asarray(X) @ w1 + b1) @ w2 + b2)
    y = bl.asarray(Y)
    return -(y * bl.log(p) + (1 - y) * bl.log(1 - p)).mean()


def as_scalars(theta):
    """One line for all units, as nets made of single neurons have it; every number a plain value."""
    w, b = [[bl.Value(t) for t in theta[k:4:2]] for k in (0, 1)], [bl.Value(t) for t in theta[4:6]]
    v, c = [bl.Value(t) for t in theta[6:8]], bl.Value(theta[8])
    total = 0.0
    for inputs, wanted in zip(INPUTS, WANTED, strict=True):
        hidden = []
        for weights, bias in zip(w, b, strict=True):
            act = sum((wi * float(xi) for wi, xi in zip(weights, inputs, strict=True)), bias)
            hidden.append(act.relu())
        z = sum((vi * hi for vi, hi in zip(v, hidden, strict=True)), c)
        total = total + bl.softplus(-z if wanted else z)
    return total * 0.25


def kinds(found):
    return [finding.kind for finding in found.findings]


def of_kind(found, kind):
    return [finding for finding in found.findings if finding.kind == kind]


def test_79_of_the_100_nets_have_not_learned():
    assert sum(not told(theta)[2] for theta in FINAL) == 79
    assert sum(bool(told(theta)[0]) for theta in FINAL) == 66


@pytest.mark.parametrize("net", [as_arrays, as_sigmoid_and_logs, as_scalars])
def test_of_every_net_that_did_not_learn_the_dead_unit_and_the_plateau_are_named(net):
    for seed, theta in enumerate(FINAL):
        dead, stuck, learned = told(theta)
        found = health(net(theta))
        named = tuple(unit for finding in of_kind(found, "dead") for unit in finding.units)
        assert named == dead, (seed, str(found))
        plateaus = of_kind(found, "plateau")
        assert (not plateaus) == learned, (seed, str(found))
        if not learned:
            assert tuple(sorted(plateaus[0].rows)) == stuck, (seed, str(found))


def test_the_net_of_the_demo_says_the_same():
    for theta in FINAL[:20]:
        dead, _, learned = told(theta)
        found = health(loss_of([bl.Parameter(t) for t in theta])[0])
        assert len(of_kind(found, "dead")) == len(dead)
        assert ("plateau" in kinds(found)) == (not learned)
        for finding in of_kind(found, "dead"):
            assert "is off for all 4 rows of this batch: what comes into relu is never above" in finding.text
            assert "If these are all the rows there are, it is dead." in finding.text


@pytest.mark.slow
def test_the_stored_nets_are_those_of_the_seeds():
    draws = np.array([np.random.RandomState(seed).randn(9) for seed in range(100)])
    w1, b1 = draws[:, :4].reshape(-1, 2, 2), draws[:, None, 4:6]
    w2, b2 = draws[:, 6:8], draws[:, 8:]
    for _ in range(100_000):
        before = X @ w1 + b1
        hidden = np.maximum(before, 0)
        error = (1 / (1 + np.exp(-((hidden @ w2[:, :, None])[:, :, 0] + b2))) - Y) * 0.25
        back = error[:, :, None] * w2[:, None, :] * (before > 0)
        w1 = w1 - 0.03 * (X.T @ back)
        b1 = b1 - 0.03 * back.sum(1, keepdims=True)
        w2 = w2 - 0.03 * (error[:, None, :] @ hidden)[:, 0, :]
        b2 = b2 - 0.03 * error.sum(1, keepdims=True)
    found = np.concatenate([w1.reshape(-1, 4), b1[:, 0], w2, b2], axis=1)
    np.testing.assert_allclose(found, FINAL, atol=1e-6)


def net(rng, sizes, act, scale, batch=32):
    h = bl.asarray(rng.normal(size=(batch, sizes[0])))
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        w = bl.Parameter(rng.normal(size=(n_in, n_out)) * scale / np.sqrt(n_in), name=f"W{k}")
        h = act(h @ w)
    return h


def test_a_healthy_net_is_called_so():
    rng = np.random.default_rng(0)
    h = net(rng, [16, 32, 32], bl.tanh, 1.0)
    out = h @ bl.Parameter(rng.normal(size=(32, 1)) / 6, name="V")
    found = health(((out - bl.asarray(rng.normal(size=(32, 1)))) ** 2).mean(), learning_rate=0.01)
    assert found.is_well, str(found)
    assert "Nothing wrong" in str(found)


def test_a_vanishing_gradient_is_told_with_its_factor():
    h = net(np.random.default_rng(0), [8] * 13, bl.sigmoid, 0.5)
    found = health((h * h).mean(), learning_rate=0.1)
    (finding,) = of_kind(found, "vanishing")
    assert finding.factor < 1e-8
    assert "shrinks" in finding.text
    assert "step" not in kinds(found)  # a consequence


def test_an_exploding_gradient_is_told():
    h = net(np.random.default_rng(0), [8] * 13, lambda x: x * 1.0, 6.0)
    (finding,) = of_kind(health((h * h).mean()), "exploding")
    assert finding.factor > 1e6


def test_the_one_step_that_does_it_is_named():
    x = bl.Value(np.linspace(-1, 1, 8).reshape(4, 2), name="x")
    crushed = x * 1e-9
    loss = ((crushed + 1.0) * 2.0).sum()
    (finding,) = of_kind(health(loss), "vanishing")
    assert finding.label == "crushed"
    assert finding.spot.text == "crushed = x * 1e-9"


def test_saturated_units_are_told():
    rng = np.random.default_rng(0)
    h = net(rng, [8, 16], bl.tanh, 30.0)
    (finding,) = of_kind(health(((h - 0.5) ** 2).mean()), "saturated")
    assert "tanh is flat there" in finding.text


def test_a_confident_classifier_is_not_called_saturated():
    z = bl.Parameter(np.array([9.0, -9.0, 12.0, -12.0]), name="z")
    p = bl.sigmoid(z * 1.0)
    y = np.array([1.0, 0.0, 1.0, 0.0])
    assert "saturated" not in kinds(health(-(y * bl.log(p) + (1 - y) * bl.log(1 - p)).mean()))


def test_units_that_are_the_same_are_told():
    w, v = bl.Parameter(np.full((2, 4), 0.3), name="w"), bl.Parameter(np.full(4, 0.5), name="v")
    x = np.random.default_rng(0).normal(size=(5, 2))
    assert "symmetric" in kinds(health((((bl.asarray(x) @ w).tanh() @ v - 1.0) ** 2).mean()))


def test_steps_too_large_and_too_small_are_told():
    w = bl.Parameter(np.array([1.0, 2.0]), name="w")
    loss = ((w - 3.0) ** 2).sum()
    (large,) = of_kind(health(loss, learning_rate=10.0), "step")
    assert "thrown about" in large.text
    (small,) = of_kind(health(loss, learning_rate=1e-9), "step")
    assert "hardly move" in small.text
    assert not of_kind(health(loss, learning_rate=1e-3), "step")

    class Optimizer:
        lr = 10.0

    assert of_kind(health(loss, Optimizer()), "step")


def test_nan_comes_first_and_alone():
    x = bl.Value(np.array([1.0, -1.0]), name="x")
    (finding,) = health(bl.log(x).sum()).findings
    assert finding.kind == "nonfinite"
    assert "trace_nonfinite" in finding.remedy


def test_an_infinite_gradient_of_finite_numbers_is_found_on_the_way_back():
    x = bl.Value(np.array([0.0, 1.0]), name="x")
    (finding,) = health(bl.sqrt(x).sum()).findings
    assert "on the way back" in finding.text


def test_a_parameter_that_stands_still_is_named():
    w, v = bl.Parameter([1.0, 2.0], name="w"), bl.Parameter([3.0, 1.0], name="v")
    found = health((w * 0.0 * v).sum() + v.sum())
    assert of_kind(found, "zero")[0].label == "w"


def test_a_minimum_is_not_called_a_plateau():
    w = bl.Parameter([0.5], name="w")
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.1, 1.9, 3.05])
    for _ in range(200):
        loss = ((bl.asarray(x) * w - y) ** 2).mean()
        (g,) = bl.grad(lambda w: ((bl.asarray(x) * w - y) ** 2).mean())(w.data).data
        w.data = w.data - 0.05 * g
    assert kinds(health(loss)) == ["flat"]


def test_gradients_that_are_held_stay_as_they_are():
    w = bl.Parameter([1.0, 2.0])
    h = w * w
    h.sum().backward()
    health((h * 3.0).sum())
    np.testing.assert_array_equal(w.grad, [2.0, 4.0])
    np.testing.assert_array_equal(h.grad, [1.0, 1.0])


def test_what_cannot_be_looked_at_is_refused():
    with pytest.raises(bl.ShapeError, match="scalar"):
        health(bl.Value([1.0, 2.0]) * 2.0)
    with pytest.raises(bl.GraphError, match="does not depend"):
        health(bl.asarray(1.0) * 1.0)


def test_it_is_plain_data():
    data = json.loads(json.dumps(health(as_arrays(FINAL[0]), learning_rate=0.1).to_dict()))
    assert data["schema"] == "backlit.health/1"
    assert {"label", "activation", "gradient", "dead", "update"} <= set(data["layers"][0])


@pytest.mark.slow
def test_a_look_costs_less_than_two_backward_passes():
    rng = np.random.default_rng(0)
    h = net(rng, [784, 512, 512, 10], bl.tanh, 1.0, batch=128)
    loss = (h * h).mean()

    def best(f):
        times = []
        for _ in range(15):
            start = time.perf_counter()
            f()
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(lambda: health(loss)) < 2 * best(loss.backward)


@pytest.mark.parametrize("rows", [32, 99, 100, 400])
def test_a_unit_that_is_off_on_few_rows_is_not_called_dead(rows):
    x = np.random.default_rng(0).uniform(-1, 1, size=(rows, 2))
    h = bl.relu(x @ bl.Parameter([[1.0, 1.0], [-1.0, 1.0]], name="w") + np.array([0.0, -3.0]))
    found = health(bl.mean(h * h))
    (finding,) = of_kind(found, "dead")
    assert finding.units == (1,)
    assert ("is dead: on all" in finding.text) == (rows >= 100)
    assert (f"is off for all {rows} rows of this batch" in finding.text) == (rows < 100)
    assert ("1 of 2 dead" in str(found)) == (rows >= 100)
    assert ("1 of 2 off" in str(found)) == (rows < 100)
