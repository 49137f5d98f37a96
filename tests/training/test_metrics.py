"""Metrics give the numbers that their definitions give, and refuse shapes that say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.training import metrics
from backlit.training.fit import fit

SCORES = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0], [0.5, 0.2, 0.1]])
LABELS = np.array([0, 1, 1, 2])


def test_of_classes_the_largest_score_counts() -> None:
    assert metrics.accuracy(SCORES, LABELS) == 0.5
    assert metrics.accuracy(SCORES, np.eye(3)[LABELS]) == 0.5
    assert metrics.accuracy(SCORES[None], LABELS[None]) == 0.5  # sequences: (1, 4, 3) and (1, 4)


def test_of_yes_and_no_the_threshold_decides() -> None:
    answers, true = np.array([[0.2], [0.7], [0.9], [0.4]]), np.array([0, 1, 0, 1])
    assert metrics.accuracy(answers, true) == 0.5
    assert metrics.accuracy(answers[:, 0], true) == 0.5
    assert metrics.accuracy(answers, true[:, None] * 1.0) == 0.5
    assert metrics.accuracy(answers - 0.5, true * 2 - 1, threshold=0.0) == 0.5
    assert metrics.precision(answers, true) == 0.5
    assert metrics.recall(answers, true) == 0.5
    assert metrics.recall(answers, true, threshold=0.3) == 1.0


def test_precision_recall_and_f1_are_means_over_classes() -> None:
    # class 0: found 2, hits 1, there 1; class 1: found 1, hits 1, there 2; class 2: found 1, hits 0, there 1
    assert metrics.precision(SCORES, LABELS) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert metrics.recall(SCORES, LABELS) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics.f1(SCORES, LABELS) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_errors_of_numbers() -> None:
    p, t = np.array([1.0, 2.0, 5.0]), np.array([[1.0], [4.0], [4.0]])
    assert metrics.mae(p, t) == pytest.approx(1.0)
    assert metrics.mse(p, t) == pytest.approx(5 / 3)
    assert metrics.rmse(p, t) == pytest.approx(np.sqrt(5 / 3))
    assert metrics.r2(p, t) == pytest.approx(1 - 5 / 6)
    assert metrics.r2(np.full(3, 3.0), t) == pytest.approx(0.0)


def test_r2_of_targets_that_do_not_vary() -> None:
    assert metrics.r2(np.ones(3), np.ones(3)) == 1.0
    assert metrics.r2(np.zeros(3), np.ones(3)) == 0.0


@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1", "mae", "mse", "rmse", "r2"])
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(bl.ShapeError, match=r"\(3, 2\)"):
        metrics.METRICS[name](np.ones((3, 2)), np.ones((4, 5)))


@pytest.mark.peers
@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1", "r2"])
def test_they_agree_with_scikit_learn(name: str) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    if name == "r2":
        x, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
        assert metrics.r2(x, y) == pytest.approx(sklearn.r2_score(y, x))
        return
    found = metrics.METRICS[name](scores, labels)
    predicted = scores.argmax(1)
    if name == "accuracy":
        assert found == sklearn.accuracy_score(labels, predicted)
    else:
        assert found == pytest.approx(getattr(sklearn, f"{name}_score")(labels, predicted, average="macro"))
        answers, true = rng.random(200), rng.integers(0, 2, 200)
        expected = getattr(sklearn, f"{name}_score")(true, answers > 0.5)
        assert metrics.METRICS[name](answers, true) == pytest.approx(expected)


def test_they_are_chosen_by_name_by_function_and_in_dicts() -> None:
    found = metrics.chosen(["mae", np.maximum], "mse")
    assert list(found) == ["mae", "maximum"]
    assert list(metrics.chosen({"worst": lambda p, t: np.abs(p - t).max()}, "mse")) == ["worst"]
    assert list(metrics.chosen("r2", "mse")) == ["r2"]
    for wrong, says in ((["mae", "mae"], "twice"), ([3], "neither"), (["auc"], "not known")):
        with pytest.raises(bl.DomainError, match=says):
            metrics.chosen(wrong, "mse")


@pytest.mark.parametrize(
    ("loss", "out"), [("binary_cross_entropy_with_logits", None), ("binary_cross_entropy", "sigmoid")]
)
def test_yes_is_above_one_half_for_probabilities_and_above_zero_for_logits(loss: str, out: Any) -> None:
    x = np.asarray(bl.random.normal(bl.random.key(0), (60, 2)).data)
    y = (x[:, :1] > 0).astype(np.float64)
    run = fit(bl.nn.MLP(2, [1], out_activation=out, key=0), (x, y), loss=loss, lr=0.1, epochs=30, metrics="accuracy")
    limit = 0.0 if out is None else 0.5
    assert run.final["accuracy"] == np.mean((run.predict(x) > limit) == (y > 0))
    assert run.final["accuracy"] > 0.9
