"""Two runs side by side: the first step, and the first operation, where they part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DataError
from backlit.training.compare import compare
from backlit.training.replay import load_run
from tests.training.small_runs import net, points, train


def recorded(path: Path, model: Any = None, **settings: Any) -> Any:
    optimizer, loss = settings.get("optimizer"), settings.get("loss")
    train(model, record=path, **settings)
    return load_run(path, model=model, optimizer=optimizer if callable(optimizer) else None, loss=loss)


class Nudges:
    """Changes the network in secret after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, run: Any) -> None:
        if run.position.step == self.step:
            run.optimizer.lr = run.optimizer.lr * 1.5


def test_two_equal_runs_are_the_same(tmp_path: Path) -> None:
    found = compare(recorded(tmp_path / "a"), recorded(tmp_path / "b"))
    assert found.same
    assert "same to the last bit in all 36 steps" in str(found)


@pytest.mark.parametrize("step", [1, 16, 17, 35])
def test_the_step_where_they_part_is_found(tmp_path: Path, step: int) -> None:
    a, b = recorded(tmp_path / "a"), recorded(tmp_path / "b", callbacks=[Nudges(step)])
    found = compare(a, b)
    assert (found.what, found.step) == ("update", step)  # the update of step k is the first with the new rate
    assert found.largest > 0
    assert found.losses == (step + 1 if step < 35 else None)
    assert "layers.0.weight" in found.names


def test_other_initial_numbers_are_named(tmp_path: Path) -> None:
    other = net()
    other.layers[0].bias.data = other.layers[0].bias.data + 1.0
    found = compare(recorded(tmp_path / "a"), recorded(tmp_path / "b", other))
    assert (found.what, found.step, found.names, found.largest) == ("initial state", 0, ("layers.0.bias",), 1.0)


def test_another_order_of_examples_is_named(tmp_path: Path) -> None:
    a, b = recorded(tmp_path / "a", net(drops=False)), recorded(tmp_path / "b", net(drops=False), seed=4)
    found = compare(a, b)
    assert (found.what, found.step, found.names) == ("batch", 0, ("other rows",))
    assert any("seed was 3 and is 4" in line for line in found.settings)


def test_other_data_in_one_row_are_found_when_it_is_seen(tmp_path: Path) -> None:
    x, y = points()
    changed = np.array(x)
    changed[40, 2] += 1.0
    a, b = recorded(tmp_path / "a"), recorded(tmp_path / "b", data=(changed, y))
    seen = next(step for step in range(36) if 40 in a.at(step).rows)
    found = compare(a, b)
    assert (found.what, found.step, found.names) == ("batch", seen, ("other numbers in the same rows",))


def test_the_first_operation_that_differs_is_found_with_its_line(tmp_path: Path) -> None:
    class Scaled(bl.nn.Module):
        def __init__(self, by: float) -> None:
            self.by = by
            self.first = bl.nn.Linear(5, 4, key=1, dtype="float64")
            self.second = bl.nn.Linear(4, 2, key=2, dtype="float64")

        def forward(self, x: Any) -> Any:
            hidden = self.first(x).tanh()
            scaled = hidden.exp() * self.by
            return self.second(scaled)

    found = compare(recorded(tmp_path / "a", Scaled(1.0)), recorded(tmp_path / "b", Scaled(1.0 + 1e-12)))
    assert (found.what, found.step, found.op) == ("forward", 0, "multiply")
    assert "test_compare.py" in found.site
    assert "scaled" in found.names
    assert 0 < found.largest < 1e-10


def test_another_operation_in_the_same_place_is_found(tmp_path: Path) -> None:
    def one(prediction: Any, target: Any) -> Any:
        return (prediction.sum(axis=1) - target).abs().mean()

    def two(prediction: Any, target: Any) -> Any:
        return ((prediction.sum(axis=1) - target) ** 2).mean()

    a, b = recorded(tmp_path / "a", net(), loss=one), recorded(tmp_path / "b", net(), loss=two)
    found = compare(a, b)
    assert (found.what, found.step) == ("graph", 0)
    assert "abs" in found.op


def test_another_optimizer_and_another_clip_are_told_apart(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a", optimizer="sgd", lr=0.1)
    found = compare(a, recorded(tmp_path / "b", optimizer="sgd", lr=0.2))
    assert (found.what, found.step) == ("update", 0)
    found = compare(a, recorded(tmp_path / "c", optimizer="sgd", lr=0.1, clip=0.01))
    assert (found.what, found.step) == ("gradient", 0)
    assert any("clip" in line for line in found.settings)


def test_what_is_no_recorded_run_is_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path / "a", epochs=1)
    with pytest.raises(DataError, match="load_run"):
        compare(run, str(tmp_path / "a"))
