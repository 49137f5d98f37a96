"""Every loss: its value and gradient, compiled, are what they are eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.compiler import straight
from tests.compiler.comparing import assert_near, numbers

RNG = np.random.default_rng(3)
P = RNG.normal(size=(5, 4))
Q = RNG.normal(size=(5, 4))
SHARES = np.abs(Q) / np.abs(Q).sum(1, keepdims=True)
SIGNS = np.where(Q > 0, 1.0, -1.0)
LABELS = np.array([0, 3, 1, 1, 2])
PADDED = np.array([0, 3, -1, 1, -1])
WEIGHTS = np.array([1.0, 2.0, 0.5, 1.5])

# What takes predictions to a loss, and predictions and targets.
LOSSES: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "mse": (nn.mse, P, Q),
    "mae": (nn.mae, P, Q),
    "huber": (lambda p, t: nn.huber(p, t, delta=0.5), P, Q),
    "binary_cross_entropy": (lambda p, t: nn.binary_cross_entropy(bl.sigmoid(p), t), P, (Q > 0) * 1.0),
    "binary_cross_entropy_with_logits": (nn.binary_cross_entropy_with_logits, P, (Q > 0) * 1.0),
    "cross_entropy": (nn.cross_entropy, P, LABELS),
    "cross_entropy of shares": (nn.cross_entropy, P, SHARES),
    "cross_entropy with weights": (lambda p, t: nn.cross_entropy(p, t, weight=WEIGHTS.astype(p.dtype)), P, LABELS),
    "cross_entropy, padded": (lambda p, t: nn.cross_entropy(p, t, ignore_index=-1), P, PADDED),
    "cross_entropy, smoothed": (lambda p, t: nn.cross_entropy(p, t, label_smoothing=0.1), P, LABELS),
    "hinge": (nn.hinge, P, SIGNS),
    "max_margin": (nn.max_margin, P, LABELS),
    "kl_divergence": (lambda p, t: nn.kl_divergence(bl.log_softmax(p), t), P, SHARES),
    "nll": (lambda p, t: nn.nll(bl.log_softmax(p), t), P, LABELS),
}


@pytest.mark.parametrize(
    ("dtype", "how"), [("float32", "loops"), pytest.param("float64", "straight", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_same_compiled(name: str, dtype: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "loops":
        monkeypatch.setattr(straight, "LIMIT", -1)
    loss, p, t = LOSSES[name]
    p, t = p.astype(dtype), t if t.dtype.kind == "i" else t.astype(dtype)

    def both(p: Any, t: Any) -> list[Any]:
        value, slope = bl.value_and_grad(lambda p: loss(p, t))(p)
        return [value, slope]

    for rows in (5, 1):
        assert_near(numbers(both(p[:rows], t[:rows])), numbers(bl.compile(both)(p[:rows], t[:rows])))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_reduction_is_the_same_compiled(reduction: str) -> None:
    def losses(p: Any, q: Any, signs: Any) -> list[Any]:
        return [
            nn.mse(p, q, reduction=reduction),
            nn.hinge(p, signs, reduction=reduction),
            nn.cross_entropy(p, LABELS, reduction=reduction),
        ]

    assert_near(numbers(losses(P, Q, SIGNS)), numbers(bl.compile(losses)(P, Q, SIGNS)))


def test_every_loss_is_among_them() -> None:
    from backlit.nn import _PLACES

    assert set(_PLACES["losses"].split()) <= {name.split(",")[0].split(" ")[0] for name in LOSSES}
