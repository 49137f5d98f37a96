"""Losses give what their formulas say, have the gradients of it, and survive extreme numbers and wrong targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.numbers import Abstract
from backlit.core.value import leaf
from backlit.nn import losses

RNG = np.random.default_rng(4)
P, T = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
PROBABILITIES = RNG.uniform(0.05, 0.95, size=(4, 3))
BITS = RNG.integers(0, 2, size=(4, 3))
SIGNS = 2 * BITS - 1
LOGITS = RNG.normal(size=(2, 4, 5))
LABELS = RNG.integers(0, 5, size=(2, 4))
LABELS[1, 2] = 3
SOFT = RNG.dirichlet(np.ones(5), size=(2, 4))
WEIGHT = RNG.uniform(0.5, 2.0, size=5)
LOG_P = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
ONE_HOT = np.eye(5)[LABELS]


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def margins(p: int) -> Any:
    right = np.take_along_axis(LOGITS, LABELS[..., None], -1)
    return (np.maximum(0.0, 0.7 - right + LOGITS) ** p * (1 - ONE_HOT)).sum(-1) / 5


def bce(p: Any, y: Any) -> Any:
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


Case = tuple[Callable[..., Any], Any, Any, dict[str, Any], Any]
CASES: dict[str, Case] = {
    "mse": (losses.mse, P, T, {}, (P - T) ** 2),
    "mse with one number": (losses.mse, P, 0.5, {}, (P - 0.5) ** 2),
    "mae": (losses.mae, P, T, {}, abs(P - T)),
    "huber": (
        losses.huber,
        P,
        T,
        {"delta": 0.8},
        np.where(abs(P - T) <= 0.8, 0.5 * (P - T) ** 2, 0.8 * (abs(P - T) - 0.4)),
    ),
    "binary cross entropy": (losses.binary_cross_entropy, PROBABILITIES, BITS, {}, bce(PROBABILITIES, BITS)),
    "binary cross entropy, soft": (losses.binary_cross_entropy, PROBABILITIES, 0.25, {}, bce(PROBABILITIES, 0.25)),
    "with logits": (losses.binary_cross_entropy_with_logits, P, BITS, {}, bce(sigmoid(P), BITS)),
    "with logits and weight": (
        losses.binary_cross_entropy_with_logits,
        P,
        BITS,
        {"pos_weight": [1.0, 2.0, 3.0]},
        -(np.array([1.0, 2.0, 3.0]) * BITS * np.log(sigmoid(P)) + (1 - BITS) * np.log(sigmoid(-P))),
    ),
    "hinge": (losses.hinge, P, SIGNS, {}, np.maximum(0, 1 - SIGNS * P)),
    "hinge with margin": (losses.hinge, P, SIGNS, {"margin": 0.2}, np.maximum(0, 0.2 - SIGNS * P)),
    "cross entropy": (losses.cross_entropy, LOGITS, LABELS, {}, -(ONE_HOT * LOG_P).sum(-1)),
    "cross entropy, soft": (losses.cross_entropy, LOGITS, SOFT, {}, -(SOFT * LOG_P).sum(-1)),
    "cross entropy, soft, weighted": (
        losses.cross_entropy,
        LOGITS,
        SOFT,
        {"weight": WEIGHT},
        -(WEIGHT * SOFT * LOG_P).sum(-1),
    ),
    "cross entropy, smooth": (
        losses.cross_entropy,
        LOGITS,
        LABELS,
        {"label_smoothing": 0.1},
        -((0.9 * ONE_HOT + 0.02) * LOG_P).sum(-1),
    ),
    "cross entropy, soft and smooth": (
        losses.cross_entropy,
        LOGITS,
        SOFT,
        {"label_smoothing": 0.1},
        -((0.9 * SOFT + 0.02) * LOG_P).sum(-1),
    ),
    "nll": (losses.nll, LOG_P, LABELS, {}, -(ONE_HOT * LOG_P).sum(-1)),
    "max margin": (losses.max_margin, LOGITS, LABELS, {"margin": 0.7}, margins(1)),
    "max margin, squared": (losses.max_margin, LOGITS, LABELS, {"margin": 0.7, "p": 2}, margins(2)),
    "max margin, weighted": (
        losses.max_margin,
        LOGITS,
        LABELS,
        {"margin": 0.7, "weight": WEIGHT},
        WEIGHT[LABELS] * margins(1),
    ),
    "kl": (losses.kl_divergence, LOG_P, SOFT, {}, (SOFT * (np.log(SOFT) - LOG_P)).sum(-1)),
    "kl from logs": (
        losses.kl_divergence,
        LOG_P,
        np.log(SOFT),
        {"log_target": True},
        (SOFT * (np.log(SOFT) - LOG_P)).sum(-1),
    ),
}
TABLE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@TABLE
def test_each_loss_is_its_formula_in_every_reduction(case: Case) -> None:
    loss, prediction, target, options, expected = case
    each = loss(bl.Value(prediction), target, reduction="none", **options)
    np.testing.assert_allclose(each.data, expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(loss(prediction, target, **options).data, expected.mean(), rtol=1e-13)
    total = loss(prediction, target, reduction="sum", **options)
    np.testing.assert_allclose(total.data, expected.sum(), rtol=1e-13)


@TABLE
def test_each_gradient_is_what_nudging_finds(case: Case) -> None:
    loss, prediction, target, options, _ = case
    report = bl.check(lambda x: loss(x, target, **options), prediction, elements=4, directions=1)
    assert report.ok, str(report)


@TABLE
def test_a_float32_prediction_has_a_float32_loss_whatever_the_target(case: Case) -> None:
    loss, prediction, target, options, expected = case
    x = bl.Value(prediction.astype(np.float32))
    result = loss(x, target, **options)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.data, expected.mean(), rtol=1e-5)
    result.backward()
    assert x.grad.dtype == np.float32


@TABLE
def test_targets_may_be_lists_values_and_buffers(case: Case) -> None:
    loss, prediction, target, options, _ = case
    expected = loss(prediction, target, **options).data
    array = np.asarray(target)
    for given in (array.tolist(), bl.Value(array), bl.Buffer(array), bl.asarray(array)):
        assert loss(prediction, given, **options).data == expected


@TABLE
def test_nodes_of_a_loss_are_under_its_name(case: Case) -> None:
    loss, prediction, target, options, _ = case
    scopes = str(loss(bl.Value(prediction), target, **options).scope).split("/")
    assert scopes[0] == loss.__name__


@TABLE
def test_losses_run_on_shapes_alone(case: Case) -> None:
    loss, prediction, target, options, _ = case
    array = np.asarray(target)
    with bl.scope("trace"):  # any mode: shapes are looked for then
        x, y = (leaf(Abstract(a.shape, a.dtype)) for a in (prediction, array))
        for reduction, shape in (("mean", ()), ("none", loss(prediction, target, reduction="none", **options).shape)):
            result = loss(x, y, reduction=reduction, **options)
            assert type(result._data) is Abstract
            assert result.shape == shape


def test_weights_make_the_mean_of_labels_a_weighted_one() -> None:
    each = -(ONE_HOT * LOG_P).sum(-1)
    w = WEIGHT[LABELS]
    expected = (w * each).sum() / w.sum()
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS, weight=WEIGHT).data, expected, rtol=1e-13)
    np.testing.assert_allclose(losses.nll(LOG_P, LABELS, weight=WEIGHT).data, expected, rtol=1e-13)
    apart = losses.cross_entropy(LOGITS, LABELS, weight=WEIGHT, reduction="none").data
    np.testing.assert_allclose(apart, w * each, rtol=1e-13)


@pytest.mark.parametrize("options", [{}, {"weight": WEIGHT}, {"label_smoothing": 0.2}], ids=str)
@pytest.mark.parametrize("skip", [-100, 3])
def test_an_ignored_label_counts_for_nothing(skip: int, options: dict[str, Any]) -> None:
    labels = LABELS.copy()
    labels[0, 0] = labels[1, 2] = skip
    kept = labels != skip
    x = bl.Value(LOGITS)
    loss = losses.cross_entropy(x, labels, ignore_index=skip, **options)
    expected = losses.cross_entropy(LOGITS[kept], labels[kept], **options)
    np.testing.assert_allclose(loss.data, expected.data, rtol=1e-13)
    loss.backward()
    assert not x.grad[~kept].any()
    assert x.grad[kept].all()
    each = losses.cross_entropy(LOGITS, labels, ignore_index=skip, reduction="none", **options).data
    assert not each[~kept].any()
    assert each[kept].all()


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll])
@pytest.mark.parametrize("options", [{}, {"weight": WEIGHT}], ids=str)
def test_where_everything_is_ignored_loss_and_gradient_are_zero(loss: Any, options: dict[str, Any]) -> None:
    x = bl.Value(LOG_P)
    result = loss(x, np.full((2, 4), -1), ignore_index=-1, **options)
    result.backward()
    assert result.data == 0.0
    assert not x.grad.any()


def test_logits_of_an_ignored_example_may_be_anything() -> None:
    x = bl.Value([[np.nan, np.inf], [0.0, 0.0]])
    loss = losses.cross_entropy(x, [9, 0], ignore_index=9)
    loss.backward()
    np.testing.assert_allclose(loss.data, np.log(2))
    np.testing.assert_allclose(x.grad, [[0.0, 0.0], [-0.5, 0.5]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_have_finite_losses_and_gradients(dtype: Any, size: float) -> None:
    z = np.array([[size, -size, 0.0], [-size, size, size]], dtype)
    for loss, target in (
        (losses.binary_cross_entropy_with_logits, [[0, 1, 1], [1, 1, 0]]),
        (losses.cross_entropy, [1, 0]),
        (losses.cross_entropy, [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]),
        (losses.max_margin, [1, 0]),
        (losses.hinge, [[-1, 1, 1], [1, 1, -1]]),
        (losses.huber, 0.0),
        (losses.mae, 0.0),
    ):
        x = bl.Value(z)
        result = loss(x, target)
        result.backward()
        assert np.isfinite(result.data), loss
        assert result.data > 0
        assert np.isfinite(x.grad).all(), loss
        assert abs(x.grad).max() <= 1, loss


def test_nearly_certain_logits_lose_no_digits() -> None:
    z = np.array([40.0, -40.0])
    each = losses.binary_cross_entropy_with_logits(z, [1, 0], reduction="none").data
    np.testing.assert_allclose(each, np.exp(-40.0), rtol=1e-15)
    np.testing.assert_allclose(losses.cross_entropy([[0.0, -30.0]], [0]).data, np.exp(-30.0), rtol=1e-2)


@pytest.mark.parametrize(("dtype", "most"), [(np.float64, 100.0), (np.float32, 87.33654), (np.float16, 9.704)])
def test_certain_and_wrong_probabilities_cost_the_limit_and_have_finite_gradients(dtype: Any, most: float) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    p = bl.Value(np.array([0.0, 1.0, 0.0, 1.0, tiny, 1e-3], dtype))
    losses.binary_cross_entropy(p, [1, 0, 0, 1, 1, 1], reduction="sum").backward()
    each = losses.binary_cross_entropy(p, [1, 0, 0, 1, 1, 1], reduction="none").data
    np.testing.assert_allclose(each[:4], [most, most, 0.0, 0.0], rtol=1e-3)
    assert (each <= most * 1.001).all()
    assert np.isfinite(p.grad).all()
    assert p.grad[0] == p.grad[1] == 0
    np.testing.assert_allclose(p.grad[2:4], [1.0, -1.0])
    np.testing.assert_allclose(p.grad[5], -1e3, rtol=1e-3)


def test_small_probabilities_keep_their_digits() -> None:
    np.testing.assert_allclose(losses.binary_cross_entropy([1e-20], [0]).data, 1e-20, rtol=1e-15)


def test_an_excluded_class_costs_nothing_where_nothing_is_wanted_of_it() -> None:
    x = bl.Value([[0.0, -np.inf, 0.0]])
    loss = losses.cross_entropy(x, [[0.5, 0.0, 0.5]])
    loss.backward()
    np.testing.assert_allclose(loss.data, np.log(2))
    np.testing.assert_allclose(x.grad, [[0.0, 0.0, 0.0]], atol=1e-16)
    log_q = bl.Value([[np.log(0.5), -np.inf, np.log(0.5)]])
    for target, logs in (([[0.25, 0.0, 0.75]], False), ([[np.log(0.25), -np.inf, np.log(0.75)]], True)):
        log_q.zero_grad()
        divergence = losses.kl_divergence(log_q, target, log_target=logs)
        divergence.backward()
        np.testing.assert_allclose(divergence.data, 0.25 * np.log(0.5) + 0.75 * np.log(1.5))
        np.testing.assert_allclose(log_q.grad, [[-0.25, 0.0, -0.75]])


def test_gradients_reach_soft_targets_and_weights_too() -> None:
    report = bl.check(
        lambda q, w: losses.cross_entropy(LOGITS, q, weight=w, label_smoothing=0.1), SOFT, WEIGHT, elements=3
    )
    assert report.ok, str(report)
    report = bl.check(lambda q: losses.kl_divergence(LOG_P, q), SOFT, elements=3)
    assert report.ok, str(report)


def test_a_list_of_values_is_a_prediction() -> None:
    a, b = bl.values(a=1.0, b=2.0)
    loss = losses.mse([a, b], [0.0, 4.0])
    loss.backward()
    assert (loss.data, a.grad, b.grad) == (2.5, 1.0, -2.0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_single_numbers_are_predictions_too(reduction: str) -> None:
    for loss, x, y, expected in (
        (losses.mse, 3.0, 1.0, 4.0),
        (losses.mae, 3.0, 1.0, 2.0),
        (losses.huber, 3.0, 1.0, 1.5),
        (losses.binary_cross_entropy, 0.25, 1, np.log(4)),
        (losses.binary_cross_entropy_with_logits, 0.0, 1, np.log(2)),
        (losses.hinge, 0.25, -1, 1.25),
        (losses.cross_entropy, [0.0, 0.0], 1, np.log(2)),
        (losses.cross_entropy, [0.0, 0.0], [0.5, 0.5], np.log(2)),
        (losses.nll, [-1.0, -2.0], 1, 2.0),
        (losses.max_margin, [0.5, 1.0], 0, 0.75),
        (losses.kl_divergence, [np.log(0.5), np.log(0.5)], [1.0, 0.0], np.log(2)),
    ):
        found = loss(bl.Value(x), y, reduction=reduction)
        assert found.shape == ()
        np.testing.assert_allclose(found.data, expected, rtol=1e-14)


def test_hinge_is_the_loss_of_micrograds_example() -> None:
    scores = bl.values(s0=0.3, s1=-2.0, s2=1.5)
    y = [1, -1, -1]
    by_hand = sum((1 + -yi * s).relu() for yi, s in zip(y, scores, strict=True)) * (1.0 / 3)
    assert losses.hinge(list(scores), y).data == pytest.approx(by_hand.data, rel=1e-15)


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [losses.mse, losses.mae, losses.huber, losses.hinge, losses.binary_cross_entropy_with_logits],
)
def test_a_column_against_a_row_is_refused_with_the_cure(loss: Any) -> None:
    prediction = bl.Value(np.ones((7, 1)), name="out")
    with pytest.raises(bl.ShapeError, match=r"(?s)\(7, 1\).*\(7,\).*\(7, 7\).*\[\.\.\., 0\].*`out`"):
        loss(prediction, np.ones(7))
    with pytest.raises(bl.ShapeError, match=r"target\[\.\.\., 0\]"):
        loss(bl.Value(np.ones(7)), np.ones((7, 1)))


@pytest.mark.parametrize(
    ("p", "t", "said"),
    [
        ((4, 3), (4,), "cross_entropy"),
        ((6,), (2, 3), r"reshape\(\(6,\)\)"),
        ((4, 3), (5, 3), "4 predictions and 5 targets"),
        ((), (4,), "A single number"),
        ((4, 3), (3,), "single number"),
    ],
)
def test_other_shapes_are_refused_with_a_cure(p: Any, t: Any, said: str) -> None:
    with pytest.raises(bl.ShapeError, match=said):
        losses.mse(np.ones(p), np.ones(t))


def raises(error: type[Exception], said: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=said):
        call()


def test_wrong_labels_are_named_with_their_place() -> None:
    ce = losses.cross_entropy
    raises(bl.IndexingError, r"holds 5 at \[2\].*from 0 to 4.*count from 0", lambda: ce(np.ones((3, 5)), [0, 1, 5]))
    raises(bl.IndexingError, r"holds -100 at \[0\].*ignore_index", lambda: ce(np.ones((3, 5)), [-100, 1, 2]))
    raises(bl.IndexingError, r"holds 7.*or -1, which", lambda: ce(np.ones((3, 5)), [-1, 7, 2], ignore_index=-1))
    raises(bl.DtypeError, r"float64.*whole\s+numbers.*int64", lambda: ce(np.ones((3, 5)), [0.0, 1.0, 2.0]))
    raises(bl.DtypeError, r"bool", lambda: ce(np.ones((3, 2)), [True, False, True]))
    raises(bl.ShapeError, r"target\[\.\.\., 0\]", lambda: ce(np.ones((3, 5)), [[0], [1], [2]]))
    raises(bl.ShapeError, r"argmax", lambda: ce(np.ones((2, 2)), [[0, 1], [1, 0]]))
    raises(bl.ShapeError, r"moveaxis", lambda: ce(np.ones((2, 5, 3)), np.zeros((2, 3), int)))
    raises(bl.ShapeError, r"\(3, 5\), so soft labels.*\(4, 5\)", lambda: ce(np.ones((3, 5)), np.ones((4, 5))))
    raises(bl.ShapeError, r"no classes", lambda: ce(1.0, 0))
    raises(bl.ShapeError, r"no classes", lambda: ce(np.ones((3, 0)), [0, 0, 0]))
    raises(bl.DomainError, r"holds -0.5 at \[0, 1\]", lambda: ce(np.ones((1, 2)), [[1.5, -0.5]]))
    raises(bl.DomainError, r"ignore_index", lambda: ce(np.ones((1, 2)), [[0.5, 0.5]], ignore_index=0))
    raises(bl.DomainError, r"label_smoothing=2", lambda: ce(np.ones((1, 2)), [0], label_smoothing=2))
    raises(bl.ShapeError, r"weight has shape \(3,\)", lambda: ce(np.ones((1, 2)), [0], weight=[1, 2, 3]))
    raises(bl.DomainError, r"weight holds -1", lambda: ce(np.ones((1, 2)), [0], weight=[1, -1]))


def test_numbers_outside_a_losss_domain_are_named() -> None:
    bce, logits = losses.binary_cross_entropy, losses.binary_cross_entropy_with_logits
    raises(bl.DomainError, r"probability holds 1.5 at \[1\].*with_logits", lambda: bce([0.5, 1.5], [0, 1]))
    raises(bl.DomainError, r"target holds -1.0 at \[0\].*hinge", lambda: bce([0.5, 0.5], [-1, 1]))
    raises(bl.DomainError, r"target holds 2.0", lambda: logits([0.5, 0.5], [0, 2]))
    raises(bl.ShapeError, r"pos_weight has shape \(3,\)", lambda: logits(np.ones((4, 2)), 1, pos_weight=[1, 2, 3]))
    raises(bl.DomainError, r"holds 0.0 at \[0\].*2 \* y - 1", lambda: losses.hinge([0.5, 0.5], [0, 1]))
    raises(bl.DomainError, r"log_target=True", lambda: losses.kl_divergence([[-1.0, -1.0]], [[-1.0, -1.0]]))
    raises(bl.DomainError, r"delta=0", lambda: losses.huber([1.0], [0.0], delta=0))
    raises(bl.DomainError, r"p=3", lambda: losses.max_margin([[1.0, 0.0]], [0], p=3))
    raises(bl.DomainError, r"reduction='average'", lambda: losses.mse([1.0], [0.0], reduction="average"))
    raises(bl.DomainError, r"reduction='average'", lambda: losses.nll([[1.0]], [0], reduction="average"))
    raises(bl.DtypeError, r"prediction is int64", lambda: losses.mse([1], [0]))
    raises(bl.DtypeError, r"complex", lambda: losses.mse([1.0], [1j]))


def test_losses_are_found_in_the_namespace() -> None:
    assert bl.nn.cross_entropy is losses.cross_entropy
    assert bl.nn.max_margin is losses.max_margin
