"""The ledger of a weight: every step and every example in it, and a sum that is the whole change."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DataError, DomainError, IndexingError
from backlit.training.replay import load_run
from tests.training.small_runs import net, train

SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "momentum": {"optimizer": lambda p: bl.optim.SGD(p, lr=0.1, momentum=0.9), "lr": None},
    "clipped": {"clip": 0.3},
    "decay": {"optimizer": lambda p: bl.optim.AdamW(p, lr=0.01, weight_decay=0.1), "lr": None},
}


def recorded(path: Path, model: Any = None, **settings: Any) -> Any:
    optimizer = settings.get("optimizer")
    train(model, record=path, epochs=2, **settings)
    return load_run(path, optimizer=optimizer if callable(optimizer) else None)


def tolerance(ledger: Any) -> float:
    """A few roundings of numbers as large as those that are added."""
    size = math.fsum(abs(entry.change) + np.abs(entry.shares).sum() for entry in ledger)
    return 1e-15 * (size + abs(ledger.old) + abs(ledger.new))


@pytest.mark.parametrize("kind", SETTINGS)
def test_steps_and_examples_sum_to_the_change_of_any_weight(tmp_path: Path, kind: str) -> None:
    run = recorded(tmp_path / "run.backlit", **SETTINGS[kind])
    first, last = run.state(0), run.state(run.end)
    rng = random.Random(2)
    names = [name for name, _ in run.model.named_parameters()]
    for _ in range(10 if kind == "adam" else 3):
        name = rng.choice(names)
        index = tuple(rng.randrange(n) for n in first[f"model.{name}"].shape)
        ledger = run.why_changed(name, index)
        assert (ledger.old, ledger.new) == (first[f"model.{name}"][index], last[f"model.{name}"][index])
        assert abs(ledger.total - (ledger.new - ledger.old)) <= tolerance(ledger)
        parts = math.fsum([*ledger.by_example().values(), ledger.memory])
        assert abs(parts - ledger.total) <= tolerance(ledger)
        for entry in ledger:
            assert abs(math.fsum([*entry.shares.tolist(), entry.memory]) - entry.change) <= tolerance(ledger)


def test_for_plain_sgd_a_share_is_the_gradient_of_that_examples_own_loss(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit", net(drops=False), optimizer="sgd", lr=0.1)
    name, index = "layers.0.weight", (1, 3)
    ledger = run.why_changed(name, index)
    view = run.at(4)
    model = view.model
    wanted = []
    for row in range(len(view.rows)):
        alone = bl.nn.cross_entropy(model(view.inputs[row : row + 1]), view.targets[row : row + 1])
        model.zero_grad()
        alone.backward()
        wanted.append(-0.1 * np.asarray(view.parameter(name).grad)[index] / len(view.rows))
    entry = ledger.at(4)
    assert entry.rows.tolist() == view.rows.tolist()
    np.testing.assert_allclose(entry.shares, wanted, rtol=1e-9, atol=1e-16)
    assert all(abs(e.memory) <= 1e-15 * (np.abs(e.shares).sum() + abs(ledger.old)) for e in ledger)


def test_with_dropout_and_batchnorm_the_shares_still_sum_to_the_gradient(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit", optimizer="sgd", lr=0.1)
    ledger = run.why_changed("layers.0.weight", (0, 0))
    for step in (0, 7, 11):
        grad = float(np.asarray(run.at(step).parameter("layers.0.weight").grad)[0, 0])
        assert math.isclose(math.fsum(ledger.at(step).shares.tolist()), -0.1 * grad, rel_tol=1e-9)
        assert abs(ledger.at(step).memory) < 1e-14


def test_the_memory_of_momentum_is_what_it_would_have_moved_without_this_gradient(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit", **SETTINGS["momentum"])
    ledger = run.why_changed("layers.4.bias", 1)
    assert abs(ledger.at(0).memory) < 1e-15  # there is none yet
    for step in (1, 5):
        (velocity,) = (a for name, a in run.state(step).items() if "velocity" in name and a.shape == (2,))
        assert math.isclose(ledger.at(step).memory, -0.1 * 0.9 * velocity[1], rel_tol=1e-9)


def test_weight_decay_is_not_laid_at_an_examples_door(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit", **SETTINGS["decay"])
    ledger = run.why_changed("layers.0.weight", (0, 0))
    assert math.isclose(ledger.at(0).memory, -0.01 * 0.1 * ledger.old, rel_tol=1e-6)


def test_a_part_of_the_run_can_be_asked_for(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit")
    whole = run.why_changed("layers.0.bias", 2)
    part = run.why_changed("layers.0.bias", 2, 4, 9)
    assert part.changes.tolist() == whole.changes[4:9].tolist()
    assert part.old == run.state(4)["model.layers.0.bias"][2]
    assert part.new == run.state(9)["model.layers.0.bias"][2]
    none = run.why_changed("layers.0.bias", 2, 5, 5)
    assert (len(none), none.total, none.old) == (0, 0.0, none.new)
    assert "went from" in str(none)


def test_without_examples_only_the_steps_are_told(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit")
    one, two = run.why_changed("layers.0.bias", 2), run.why_changed("layers.0.bias", 2, examples=False)
    assert one.changes.tolist() == two.changes.tolist()
    assert two.by_example() == {}


def test_a_prediction_without_rows_is_said_and_the_steps_are_told(tmp_path: Path) -> None:
    class Total(bl.nn.Module):
        def __init__(self) -> None:
            self.line = bl.nn.Linear(5, 1, key=0, dtype="float64")

        def forward(self, x: Any) -> Any:
            return self.line(x).sum()

    def loss(prediction: Any, target: Any) -> Any:
        return (prediction - target.sum()) ** 2

    path = tmp_path / "run.backlit"
    train(Total(), record=path, loss=loss, lr=0.001)
    ledger = load_run(path, model=Total(), loss=loss).why_changed("line.bias", 0)
    assert "cannot be told apart" in ledger.note
    assert ledger.by_example() == {}
    assert abs(ledger.total - (ledger.new - ledger.old)) <= tolerance(ledger)


def test_the_text_names_the_largest_steps_and_examples(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit")
    ledger = run.why_changed("layers.0.weight", (2, 1))
    text = str(ledger)
    largest = max(ledger, key=lambda entry: abs(entry.change))
    assert f"{largest.step}  {largest.change:+.6g}" in text
    row, share = next(iter(ledger.by_example().items()))
    assert f"{row}  {share:+.6g}" in text
    assert f"layers.0.weight[2, 1] went from {ledger.old:.6g} to {ledger.new:.6g}" in text


@pytest.mark.parametrize("index", [(), (0,), (0, 12), (5, 0), (0, 0, 0), (-6, 0)])
def test_an_index_that_is_not_there_is_refused(tmp_path: Path, index: Any) -> None:
    run = recorded(tmp_path / "run.backlit")
    with pytest.raises(IndexingError, match="why_changed"):
        run.why_changed("layers.0.weight", index)


def test_a_backward_range_and_a_step_outside_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run.backlit")
    with pytest.raises(DomainError, match="before from_step"):
        run.why_changed("layers.0.bias", 0, 5, 3)
    with pytest.raises(DataError, match="not in this ledger"):
        run.why_changed("layers.0.bias", 0, 5, 8).at(8)
