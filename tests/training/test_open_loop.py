"""`fit` does nothing that ten lines could not do: the numbers are the same to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.nn.dropout import reseed
from backlit.training.callbacks import EarlyStopping
from backlit.training.clipping import Clip, clip_gradients
from backlit.training.fit import fit
from backlit.training.nudge import nudged_loss

nn = bl.nn


def points(rows: int = 75) -> tuple[Any, Any]:
    x = np.asarray(bl.random.normal(bl.random.key(9), (rows, 4)).data)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def plain() -> Any:
    return nn.MLP(4, [8, 2], key=0)


def with_state() -> Any:
    """Running statistics and random masks."""
    first, last = nn.Linear(4, 8, key=1, dtype="float64"), nn.Linear(8, 2, key=2, dtype="float64")
    return nn.Sequential(first, nn.BatchNorm(8, dtype="float64"), nn.ReLU(), nn.Dropout(0.3), last)


def by_hand(
    model: Any,
    data: Any,
    epochs: int,
    size: int | None,
    make: Any,
    seed: int = 0,
    clip: Any = None,
    nudge: bool = False,
) -> list[float]:
    """The open loop, as the documentation of `fit` has it."""
    losses = []
    key = bl.random.key(seed)
    reseed(model, bl.random.fold_in(key, 1))
    optimizer = make(model.parameters())
    for epoch in range(epochs):
        for x, y in bl.data.batches(data, size, key=bl.random.fold_in(key, 2 + epoch)):
            if nudge:
                value = nudged_loss(model, lambda x=x, y=y: nn.cross_entropy(model(x), y))
            else:
                value = nn.cross_entropy(model(x), y)
                value.backward()
            if clip is not None:
                clip_gradients(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(value))
    return losses


def assert_same(one: Any, other: Any) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert list(a) == list(b)
    assert [name for name in a if a[name].tobytes() != b[name].tobytes()] == []


@pytest.mark.parametrize("make", [plain, with_state])
@pytest.mark.parametrize("clip", [None, 0.05, ("value", 0.01)])
@pytest.mark.parametrize("size", [16, 1000, None])
def test_fit_gives_the_numbers_of_the_open_loop_to_the_last_bit(make: Any, clip: Any, size: int | None) -> None:
    one, other = make(), make()
    run = fit(one, points(), lr=0.01, epochs=4, batch_size=size, clip=clip, seed=5)
    losses = by_hand(other, points(), 4, size, lambda p: bl.optim.Adam(p, lr=0.01), 5, Clip.of(clip))
    assert_same(one, other)
    assert run.losses.tolist() == losses
    assert run.position == (4, 0, len(losses))


def test_looking_at_validation_data_metrics_and_progress_changes_nothing() -> None:
    one, other = with_state(), with_state()
    seen: list[int] = []
    fit(
        one,
        points(),
        lr=0.01,
        epochs=3,
        batch_size=16,
        validation=0.2,
        metrics=["accuracy", "f1"],
        early_stopping=EarlyStopping(50, restore_best=False),
        progress=lambda run: seen.append(run.position.step),
    )
    train, _ = bl.data.split(points(), 0.2, bl.random.fold_in(bl.random.key(0), 0))
    by_hand(other, train, 3, 16, lambda p: bl.optim.Adam(p, lr=0.01))
    assert seen[-1] == 12
    assert_same(one, other)


class Reads:
    """A callback that looks at gradients and predictions, as one for a plot would."""

    def on_step(self, run: Any) -> None:
        assert all(p.grad is not None for p in run.model.parameters())
        run.predict(run.inputs[:3])


def test_a_callback_that_looks_changes_nothing() -> None:
    one, other = with_state(), with_state()
    fit(
        one,
        points(),
        lr=0.01,
        epochs=2,
        batch_size=16,
        callbacks=[Reads()],
        validation=points(20),
        metrics=["accuracy"],
    )
    by_hand(other, points(), 2, 16, lambda p: bl.optim.Adam(p, lr=0.01))
    assert_same(one, other)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw", "lion", "adagrad"])
def test_other_optimizers_are_stepped_as_by_hand(name: str) -> None:
    kinds = (bl.optim.SGD, bl.optim.RMSprop, bl.optim.AdamW, bl.optim.Lion, bl.optim.Adagrad)
    kind = next(each for each in kinds if each.__name__.lower() == name)
    one, other = plain(), plain()
    fit(one, points(), optimizer=name, epochs=2)
    by_hand(other, points(), 2, 32, kind)
    assert_same(one, other)


def test_a_schedule_and_an_optimizer_made_before_are_used_as_they_are() -> None:
    one, other = plain(), plain()
    rate = bl.optim.cosine(0.1, 10)
    fit(one, points(), optimizer=bl.optim.SGD(one.parameters(), lr=rate, momentum=0.9), epochs=3)
    by_hand(other, points(), 3, 32, lambda p: bl.optim.SGD(p, lr=rate, momentum=0.9))
    assert_same(one, other)


def test_nudging_is_the_open_loop_with_another_gradient() -> None:
    one, other = with_state(), with_state()
    fit(one, points(10), lr=0.01, epochs=1, batch_size=4, method="nudge")
    by_hand(other, points(10), 1, 4, lambda p: bl.optim.Adam(p, lr=0.01), nudge=True)
    assert_same(one, other)


def test_nudging_and_the_chain_rule_learn_the_same_also_with_dropout_and_batch_norm() -> None:
    one, other = with_state(), with_state()
    a = fit(one, points(10), optimizer="sgd", lr=0.1, epochs=2, batch_size=6)
    b = fit(other, points(10), optimizer="sgd", lr=0.1, epochs=2, batch_size=6, method="nudge")
    np.testing.assert_allclose(a.losses, b.losses, atol=1e-6)
    buffers = [[buffer.data for _, buffer in m.named_buffers()] for m in (one, other)]
    for x, y in zip(*buffers, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)  # each kept as after one pass a step


def test_an_optimizer_that_evaluates_the_loss_itself_is_given_it() -> None:
    one, other = nn.MLP(4, [4, 2], key=0, dtype="float64"), nn.MLP(4, [4, 2], key=0, dtype="float64")
    fit(one, points(), optimizer="lbfgs", batch_size=None, epochs=3)
    optimizer = bl.optim.LBFGS(other.parameters())
    key = bl.random.key(0)
    for epoch in range(3):
        for x, y in bl.data.batches(points(), None, key=bl.random.fold_in(key, 2 + epoch)):
            optimizer.step(lambda x=x, y=y: nn.cross_entropy(other(x), y))
    assert_same(one, other)
    with pytest.raises(bl.DomainError, match="finds its gradients itself"):
        fit(one, points(), optimizer="lbfgs", batch_size=None, clip=1.0)


def test_another_seed_gives_another_order() -> None:
    one, other, third = plain(), plain(), plain()
    for model, seed in ((one, 0), (other, 1), (third, 0)):
        fit(model, points(), epochs=1, seed=seed)
    assert_same(one, third)
    assert not np.array_equal(one.parameters()[0].data, other.parameters()[0].data)
