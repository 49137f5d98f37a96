"""The XOR net: the numbers it must give, the two gradients against each other, and why it may fail."""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backlit.core.errors import DomainError
from backlit.core.value import Value
from backlit.training.xor import (
    COUNT,
    INPUTS,
    WANTED,
    by_chain_rule,
    by_nudging,
    forward,
    loss_of,
    nudged_gradient,
    plateau,
    train_xor,
)

LOSSES = {1: "1.501733", 1_000: "0.361001", 10_000: "0.008588", 100_000: "0.000590"}


def in_numpy(seed, steps, learning_rate=0.03):
    """The same training in plain NumPy, written from the formulas alone: losses before each update."""
    draw = np.random.RandomState(seed)
    W1, b1, W2, b2 = draw.randn(2, 2), draw.randn(2), draw.randn(2), draw.randn()
    X, y = np.array(INPUTS, float), np.array(WANTED, float)
    losses = []
    for _ in range(steps):
        pre = X @ W1 + b1
        h = np.maximum(pre, 0)
        p = 1 / (1 + np.exp(-(h @ W2 + b2)))
        losses.append(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
        dz = (p - y) / 4
        dpre = np.outer(dz, W2) * (pre > 0)
        W1, b1 = W1 - learning_rate * X.T @ dpre, b1 - learning_rate * dpre.sum(0)
        W2, b2 = W2 - learning_rate * h.T @ dz, b2 - learning_rate * dz.sum()
    return losses


@pytest.fixture(scope="module")
def long_run():
    return train_xor("chain", steps=10_000)


def test_the_loss_by_the_chain_rule_is_the_known_one(long_run):
    for step in (1, 1_000, 10_000):
        assert f"{long_run.loss_at(step):.6f}" == LOSSES[step]


def test_the_loss_by_nudging_is_the_known_one():
    run = train_xor("nudge", steps=1_000)
    assert [f"{run.loss_at(step):.6f}" for step in (1, 1_000)] == [LOSSES[1], LOSSES[1_000]]


@pytest.mark.parametrize("method", ["chain", "nudge"])
def test_the_loss_after_a_hundred_thousand_steps_is_the_known_one(method):
    run = train_xor(method, steps=100_000)
    assert {step: f"{run.loss_at(step):.6f}" for step in LOSSES} == LOSSES
    assert run.learned
    assert run.why is None


@pytest.mark.parametrize("method", ["chain", "nudge"])
@pytest.mark.parametrize(("seed", "steps"), [(0, 300), (3, 300), (4, 5), (6, 40), (2**32 - 1, 1)])
def test_machine_code_and_graphs_of_values_give_the_same_run(method, seed, steps):
    one, other = (train_xor(method, steps, seed, 0.1, compile=compiled) for compiled in (True, False))
    slack = {"rtol": 1e-12} if method == "chain" else {"rtol": 2e-6}
    np.testing.assert_allclose(one.losses, other.losses, **slack)
    for name, array in one.parameters.items():
        np.testing.assert_allclose(array, other.parameters[name], atol=1e-12 if method == "chain" else 1e-5)
    assert one.dead == other.dead
    assert sorted(one.points) == sorted(other.points)
    for step, gradient in one.gradients.items():
        np.testing.assert_allclose(gradient, other.gradients[step], atol=1e-12 if method == "chain" else 1e-5)
    assert (one.learned, one.forward_passes) == (other.learned, other.forward_passes)


@pytest.mark.parametrize("compiled", [True, False])
def test_both_ways_stop_before_the_step_whose_loss_is_not_finite(compiled):
    run = train_xor("chain", steps=50, learning_rate=1e200, compile=compiled)
    assert 0 < run.done < 50
    assert np.isfinite(run.losses).all()
    assert not math.isfinite(run.final_loss)


def test_however_the_steps_are_shared_out_among_calls_they_are_the_same():
    whole = train_xor("chain", steps=5_000)
    part = train_xor("chain", steps=1_700)
    assert whole.losses[:1_700].tolist() == part.losses.tolist()


def test_a_hundred_thousand_steps_return_at_once():
    train_xor("chain", steps=1)  # compiled once in a process
    start = time.process_time()
    train_xor("chain")
    assert time.process_time() - start < 0.5


def test_two_trainings_at_a_time_do_not_meet():
    alone = [train_xor("chain", 3_000, seed).losses.tolist() for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda seed: train_xor("chain", 3_000, seed).losses.tolist(), (0, 1)))
    assert both == alone


def test_a_long_run_learns_the_truth_table(long_run):
    assert long_run.learned
    assert [p > 0.5 for p in long_run.answers] == [False, True, True, False]
    assert long_run.why is None
    assert long_run.dead == {}


@pytest.mark.parametrize("method", ["chain", "nudge"])
@pytest.mark.parametrize("seed", [0, 1, 7, 2**32 - 1])
def test_both_methods_follow_plain_numpy(method, seed):
    run = train_xor(method, steps=60, seed=seed, learning_rate=0.1)
    np.testing.assert_allclose(run.losses, in_numpy(seed, 60, 0.1), rtol=1e-7 if method == "nudge" else 1e-12)


def test_the_two_gradients_agree_away_from_the_bends_of_relu():
    rng = np.random.default_rng(1)
    for theta in rng.normal(size=(50, COUNT)):
        loss, exact, alive = by_chain_rule(theta.tolist())
        also, nudged, awake = by_nudging(theta.tolist())
        assert math.isclose(loss, also, rel_tol=1e-14)
        assert alive == awake
        np.testing.assert_allclose(nudged, exact, atol=2e-7)


def test_the_divisor_of_nudging_is_what_was_really_moved():
    """With the nominal h the slope at a large parameter would be wrong by the rounding of t + h."""
    theta = np.array([0.3, -0.2, 0.1, 0.7, 0.4, 0.6, 1.1, -0.9, 1e-3])
    theta[8] = 3.3333333e-1
    _, exact, _ = by_chain_rule(theta.tolist())
    np.testing.assert_allclose(nudged_gradient(theta)[1], exact, atol=1e-7)


def test_the_batched_net_and_the_net_of_scalars_are_the_same():
    thetas = np.random.default_rng(2).normal(size=(20, COUNT))
    losses, pre, z = forward(thetas.copy())
    for i, theta in enumerate(thetas):
        loss, rows = loss_of([Value(t) for t in theta.tolist()])
        assert math.isclose(loss.data, losses[i], rel_tol=1e-13)
        np.testing.assert_allclose([[a.data for a in row] for row in rows], pre[i], rtol=1e-13, atol=1e-15)
    assert z.shape == (20, 4)


def test_the_loss_cannot_overflow():
    loss, gradient, _ = by_chain_rule([1e3] * 8 + [-1e6])
    assert math.isfinite(loss)
    assert all(map(math.isfinite, gradient))


def test_passes_are_counted():
    assert (train_xor("chain", steps=5).forward_passes, train_xor("chain", steps=5).backward_passes) == (5, 5)
    assert (train_xor("nudge", steps=5).forward_passes, train_xor("nudge", steps=5).backward_passes) == (
        95,
        0,
    )


def test_gradients_are_kept_at_chosen_steps_with_the_point_where_they_were_taken():
    run = train_xor("chain", steps=30, gradients_at=(3, 17))
    assert sorted(run.gradients) == sorted(run.points) == [3, 17]
    for step, theta in run.points.items():
        loss, gradient, _ = by_chain_rule(theta.tolist())
        assert math.isclose(loss, run.loss_at(step), rel_tol=1e-14)
        np.testing.assert_allclose(gradient, run.gradients[step], rtol=1e-12, atol=1e-15)
    assert sorted(train_xor("chain", steps=30).gradients) == [1, 2, 5, 10, 20]


def test_the_parameters_are_those_after_the_last_update():
    run = train_xor("chain", steps=10)
    longer = train_xor("chain", steps=11)
    assert run.final_loss == pytest.approx(longer.loss_at(11), rel=1e-13)
    assert {name: array.shape for name, array in run.parameters.items()} == {
        "W1": (2, 2),
        "b1": (2,),
        "W2": (2,),
        "b2": (),
    }
    draw = np.random.RandomState(0)
    np.testing.assert_array_equal(run.initial["W1"], draw.randn(2, 2))


def test_asking_for_the_loss_of_a_step_that_was_not_made_says_which_were():
    with pytest.raises(DomainError, match="step 0 is not among the steps made, 1 to 10"):
        train_xor(steps=10).loss_at(0)


# -- why not ---------------------------------------------------------------------------------------

THREE_ALIKE = 0.75 * math.log(3) - 0.5 * math.log(2)  # 3/4 of the entropy of 1/3


def first_dead_step(seed, unit, steps, learning_rate):
    """By plain NumPy: the first step before which the unit is off for all four inputs, for good."""
    run = train_xor("chain", steps, seed, learning_rate, gradients_at=range(1, steps + 1))
    off = [
        bool((np.array(INPUTS) @ theta[:4].reshape(2, 2) + theta[4:6] <= 0).all(0)[unit])
        for theta in run.points.values()
    ]
    return max((i for i, dead in enumerate(off) if not dead), default=-1) + 2


def test_a_unit_that_dies_is_named_with_its_step():
    run = train_xor("chain", steps=300, seed=3, learning_rate=0.1)
    assert list(run.dead) == [1]
    assert run.dead[1] == first_dead_step(3, 1, 300, 0.1) > 1
    assert f"Dead: hidden unit 2 since step {run.dead[1]}" in run.why
    assert train_xor("nudge", steps=300, seed=3, learning_rate=0.1).dead == run.dead


def test_a_unit_that_was_never_alive_is_dead_from_the_start():
    run = train_xor("chain", steps=3, seed=4)
    assert run.dead == {0: 1, 1: 1}
    assert "hidden unit 1 from the start" in run.why
    assert "unit 2 from the start" in run.why


def test_a_dead_unit_gets_no_gradient():
    theta = [1.0, -1.0, 1.0, -1.0, 0.5, -0.5, 0.7, 0.9, 0.1]  # unit 2: -x1 - x2 - 0.5 is never above 0
    _, gradient, alive = by_chain_rule(theta)
    assert alive == [True, False]
    assert [gradient[i] for i in (1, 3, 5, 7)] == [0.0, 0.0, 0.0, 0.0]


def test_a_unit_at_exactly_zero_counts_as_dead():
    assert by_chain_rule([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0])[2] == [False, True]


@pytest.mark.parametrize(
    ("answers", "floor", "words"),
    [
        ([0.5, 0.5, 0.5, 0.5], math.log(2), "1/2 to everything"),
        (
            [0.667, 0.66, 0.67, 0.001],
            THREE_ALIKE,
            r"2/3 to \(0,0\), \(0,1\) and \(1,0\)",
        ),
        (
            [0.33, 0.34, 0.999, 0.33],
            THREE_ALIKE,
            r"1/3 to \(0,0\), \(0,1\) and \(1,1\)",
        ),
        ([0.01, 0.5, 0.99, 0.5], math.log(2) / 2, r"1/2 to \(0,1\) and \(1,1\)"),
        ([0.01, 0.99, 0.98, 0.02], 0.0, "all apart"),
    ],
)
def test_a_plateau_is_explained_by_what_is_answered_alike(answers, floor, words):
    found, text = plateau(answers)
    assert math.isclose(found, floor, abs_tol=1e-12)
    assert re.search(words, text)
    if floor:
        assert f"{floor:.3f}" in text


def test_a_plateau_is_named_only_where_the_loss_stands_still():
    stands = train_xor("chain", steps=2_000, seed=4, learning_rate=0.1)
    assert "stands at 0.693: it answers 1/2 to everything" in stands.why
    falls = train_xor("chain", steps=20, seed=0)
    assert "stands" not in falls.why
    assert f"The loss went from {falls.loss_at(19):.4f} to {falls.final_loss:.4f}" in falls.why
    assert "more steps" in falls.why


def test_a_learning_rate_that_is_too_large_is_said_to_diverge():
    run = train_xor("chain", steps=50, learning_rate=1e200)
    assert run.done < 50
    assert not run.learned
    assert "diverged" in run.why
    assert "smaller learning rate" in run.why


# -- settings and Ctrl-C ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": -5}, "steps=-5"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": -0.1}, "learning_rate=-0.1"),
        ({"learning_rate": math.inf}, "learning_rate=inf"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**32}, "seed=4294967296"),
        ({"method": "magic"}, "'magic'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_their_value(settings, message):
    with pytest.raises(DomainError, match=message):
        train_xor(**{"steps": 1, **settings})


@pytest.mark.parametrize("method", ["chain", "nudge"])
def test_ctrl_c_returns_the_run_so_far(method):
    def interrupt(done, total, loss):
        if not calls:
            calls.append(done)
            raise KeyboardInterrupt

    calls = []
    run = train_xor(method, steps=100_000, on_progress=interrupt)
    assert run.interrupted
    assert 0 < run.done < 100_000
    assert run.done == calls[0]
    again = train_xor(method, steps=run.done)
    assert again.losses.tolist() == run.losses.tolist()
    assert again.final_loss == run.final_loss
    assert max(run.gradients) <= run.done


@pytest.mark.parametrize("compiled", [True, False])
def test_the_key_itself_returns_a_whole_number_of_steps(compiled):
    train_xor("chain", steps=1)
    threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT)).start()
    run = train_xor("chain", steps=1_000_000_000, compile=compiled)
    assert run.interrupted
    assert 0 < run.done == len(run.losses)
    if run.done < 500_000:
        again = train_xor("chain", steps=run.done, compile=compiled)
        assert again.losses.tolist() == run.losses.tolist()
        assert again.final_loss == run.final_loss


def test_progress_is_told_and_ends_with_the_last_step():
    told = []
    run = train_xor(steps=700, on_progress=lambda *args: told.append(args))
    assert told[-1] == (700, 700, run.final_loss)
    assert all(total == 700 and math.isfinite(loss) for _, total, loss in told)
