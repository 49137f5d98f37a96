"""The digits net: that it learns, that the seed decides all, and that Ctrl-C keeps what was learned."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backlit.core.errors import DomainError
from backlit.core.value import Value
from backlit.data import load_digits
from backlit.training.digits import (
    BATCH,
    HELD_OUT,
    LEARNT,
    both_ways,
    cross_entropy,
    first_parameters,
    read,
    scores,
    split_digits,
    steps_planned,
    train_digits,
)


@pytest.fixture(scope="module")
def run():
    return train_digits(epochs=15)


def test_it_reads_more_than_95_percent_of_images_it_never_saw(run):
    assert run.accuracy > 0.95
    assert run.done == steps_planned(15) == 15 * 45
    assert len(run.accuracies) == 15
    assert run.accuracies[-1] == run.accuracy
    assert run.losses[-20:].mean() < run.losses[:20].mean() / 5


def test_the_misread_digits_are_those_that_make_the_accuracy(run):
    assert len(run.misread) == round((1 - run.accuracy) * HELD_OUT)
    images, labels = load_digits()
    for m in run.misread:
        assert m.predicted != m.true == labels[m.index]
        assert 0.1 <= m.confidence <= 1
        np.testing.assert_allclose(m.image.reshape(-1) * 16, images[m.index])
    assert [m.confidence for m in run.misread] == sorted((m.confidence for m in run.misread), reverse=True)


def test_no_image_is_on_both_sides_of_the_split():
    learn, held_out = split_digits(3)
    assert (len(learn.where), len(held_out.where)) == (LEARNT, HELD_OUT)
    assert sorted([*learn.where, *held_out.where]) == list(range(1797))
    assert learn.images.dtype == np.float32
    assert learn.images.min() == 0
    assert learn.images.max() == 1


def test_the_seed_decides_everything():
    one, same, other = (train_digits(epochs=1, seed=seed) for seed in (5, 5, 6))
    assert one.losses.tolist() == same.losses.tolist()
    assert one.losses.tolist() != other.losses.tolist()
    assert split_digits(5)[1].where.tolist() != split_digits(6)[1].where.tolist()


def test_the_net_is_float32_and_stays_so(run):
    assert {name: p.shape for name, p in run.parameters.items()} == {
        "W1": (64, 128),
        "b1": (128,),
        "W2": (128, 10),
        "b2": (10,),
    }
    assert {p.dtype for p in run.parameters.values()} == {np.dtype(np.float32)}


def test_probabilities_add_up_to_one():
    chances = read(first_parameters(0), split_digits(0)[1].images)
    assert chances.shape == (HELD_OUT, 10)
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-5)


def test_the_cross_entropy_of_even_scores_is_the_log_of_their_number():
    loss = cross_entropy(Value(np.zeros((3, 10))), np.eye(10)[[1, 4, 9]])
    assert math.isclose(loss.data, math.log(10))


def test_the_gradient_agrees_with_nudging(run):
    calls = []

    def stop(done, total, loss):
        calls.append((done, total))
        if len(calls) == 2:
            raise KeyboardInterrupt

    both = both_ways(run, stop)
    assert both.interrupted
    assert both.parameters == calls[0][1] == 64 * 128 + 128 + 128 * 10 + 10
    assert 0 < both.forward_passes < 2 * both.parameters
    assert both.difference < 1e-8
    assert both.largest > 1e-5


def test_the_scores_are_those_of_numpy():
    net = first_parameters(0)
    images = split_digits(0)[0].images[:5]
    arrays = {name: np.asarray(p.data) for name, p in net.items()}
    expected = np.tanh(images @ arrays["W1"] + arrays["b1"]) @ arrays["W2"] + arrays["b2"]
    np.testing.assert_allclose(scores(net, images).data, expected, rtol=1e-5, atol=1e-6)


def test_ctrl_c_returns_what_was_learned():
    def interrupt(done, total, loss):
        if done > BATCH and not calls:
            calls.append(done)
            raise KeyboardInterrupt

    calls = []
    run = train_digits(epochs=50, on_progress=interrupt)
    assert run.interrupted
    assert run.done == calls[0]
    assert 0.2 < run.accuracy < 1
    assert (run.done - 1) // steps_planned(1) <= len(run.accuracies) <= run.done // steps_planned(1)


def test_ctrl_c_before_the_first_step_still_gives_a_run(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("backlit.training.digits.cross_entropy", interrupt)
    run = train_digits(epochs=1)
    assert run.interrupted
    assert run.done == 0
    assert run.smoothed()[0].shape == (0,)


def test_it_ends_where_the_loss_is_no_longer_a_number():
    run = train_digits(epochs=3, learning_rate=1e38)
    assert run.diverged == (not math.isfinite(run.losses[-1]))
    assert run.done <= steps_planned(3)


def test_the_smoothed_losses_are_means_of_whole_windows(run):
    x, y = run.smoothed()
    assert len(x) == len(y) == run.done // run.window
    assert math.isclose(y[0], run.losses[: run.window].mean())
    assert 0 < x[0] < x[-1] < 15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"seed": 2**64}, "18446744073709551616"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_their_value(settings, message):
    with pytest.raises(DomainError, match=message):
        train_digits(**{"epochs": 1, **settings})
