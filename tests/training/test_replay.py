"""A recorded run rewound: any step as it was, to the last bit, and what can be asked of it."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DataError, DomainError
from backlit.training.replay import load_run
from backlit.training.state import state_arrays
from tests.training.small_runs import net, record, same, train

ROOT = Path(__file__).parents[2]
DIGITS = """
import json, sys, warnings
import numpy as np
import backlit as bl
from backlit.training.replay import load_run
warnings.simplefilter("error")
run = load_run(sys.argv[1])
for step in json.loads(sys.argv[2]):
    view = run.at(step)
    bits = [view.loss.data.hex() if isinstance(view.loss.data, float) else float(view.loss.data).hex()]
    for name, p in view.model.named_parameters():
        update = view.update(name)
        bits += [np.asarray(p.data).tobytes().hex(), np.asarray(p.grad).tobytes().hex(), update.new.tobytes().hex()]
    print(json.dumps([step, bits]))
"""


class Watch:
    """All numbers of a step as it happened: before it, its gradients, and after it."""

    def __init__(self, steps: Any = None) -> None:
        self.steps = steps
        self.before: dict[int, Any] = {}
        self.grads: dict[int, Any] = {}
        self.after: dict[int, Any] = {}

    def on_start(self, run: Any) -> None:
        self.now = dict(state_arrays(run.model, run.optimizer))

    def on_step(self, run: Any) -> None:
        step = run.position.step - 1
        new = dict(state_arrays(run.model, run.optimizer))
        if self.steps is None or step in self.steps:
            self.before[step], self.after[step] = self.now, new
            self.grads[step] = {name: np.array(p.grad) for name, p in run.model.named_parameters()}
        self.now = new


SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "clipped": {"clip": 0.3},
    "sgd with momentum": {"optimizer": lambda p: bl.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "lr": None},
    "all at once": {"batch_size": None, "epochs": 40},
    "nudged": {"method": "nudge", "epochs": 1, "model": lambda: bl.nn.MLP(5, [2, 2], key=1, dtype="float64")},
    "mean squares": {"loss": "mse", "data": (np.linspace(-1, 1, 300).reshape(60, 5), np.ones((60, 2)))},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_any_step_is_rebuilt_to_the_last_bit(tmp_path: Path, kind: str) -> None:
    watch = Watch()
    settings = dict(SETTINGS[kind])
    model = settings.pop("model", net)()
    run = train(model, record=tmp_path / "run.backlit", callbacks=[watch], **settings)
    found = load_run(tmp_path / "run.backlit")
    assert found.steps == run.position.step
    for step in random.Random(1).sample(range(found.steps), min(8, found.steps)):
        view = found.at(step)
        assert view.exact
        assert float(view.loss.data) == run.losses[step]
        if kind != "nudged":
            grads = {name: np.asarray(p.grad) for name, p in view.model.named_parameters()}
            assert same(grads, watch.grads[step])
        for name, p in view.model.named_parameters():
            old, new, change = view.update(name)
            assert old.tobytes() == watch.before[step][f"model.{name}"].tobytes() == np.asarray(p.data).tobytes()
            assert new.tobytes() == watch.after[step][f"model.{name}"].tobytes()
            assert np.array_equal(change, new - old)
        assert same(found.state(step), watch.before[step])


def test_how_numbers_lie_in_memory_is_replayed_too(tmp_path: Path) -> None:
    """BLAS rounds a product with a transposed factor otherwise."""
    model = bl.nn.MLP(64, [48, 10], activation="relu", key=0)
    for parameter in model.parameters():
        parameter.data = np.asfortranarray(parameter.data)
    x = np.asfortranarray(np.asarray(bl.random.normal(bl.random.key(1), (300, 64), dtype="float32").data))
    y = np.arange(300) % 10
    watch = Watch()
    train(model, data=(x, y), record=tmp_path / "run.backlit", callbacks=[watch], batch_size=64)
    run = load_run(tmp_path / "run.backlit")
    for step in (3, 17, 25):
        view = run.at(step)
        assert view.exact
        assert same({n: np.asarray(p.grad) for n, p in view.model.named_parameters()}, watch.grads[step])
    strides = [np.asarray(p.data).strides for p in run.at(16).model.parameters()]
    assert strides == [watch.before[16][f"model.{n}"].strides for n, _ in model.named_parameters()]


def digits(path: Path, epochs: int) -> tuple[Any, Watch, list[int]]:
    """A recorded digits run, and twenty of its steps as they happened."""
    from backlit.data import handwritten_digits
    from backlit.training.fit import fit

    found = handwritten_digits()
    model = bl.nn.MLP(found.inputs.shape[1], [32, 10], activation="relu", key=0)
    steps = random.Random(4).sample(range(epochs * -(-len(found) // 64)), 20)
    watch = Watch(set(steps))
    run = fit(
        model, found, epochs=epochs, batch_size=64, lr=0.003, seed=9, record=path, progress=False, callbacks=[watch]
    )
    return run, watch, steps


def test_twenty_steps_of_a_digits_run_are_the_same_bits_in_another_process(tmp_path: Path) -> None:
    import json

    path = tmp_path / "digits.backlit"
    run, watch, steps = digits(path, 6)
    command = [sys.executable, "-c", DIGITS, str(path), json.dumps(steps)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step for step, _ in lines] == steps
    for step, bits in lines:
        wanted = [float(run.losses[step]).hex()]
        for name, grad in watch.grads[step].items():
            before, after = (state[step][f"model.{name}"] for state in (watch.before, watch.after))
            wanted += [before.tobytes().hex(), grad.tobytes().hex(), after.tobytes().hex()]
        assert bits == wanted


def test_a_view_can_be_asked_why_looked_at_and_drawn(tmp_path: Path) -> None:
    record(tmp_path / "run.backlit")
    view = load_run(tmp_path / "run.backlit").at(9)
    name = "layers.0.weight"
    weight = view.parameter(name)
    told = view.why(name, (0, 1))
    assert told.headline.endswith(f"= {np.asarray(weight.grad)[0, 1]:.6g}")
    assert told.headline == bl.why(weight, of=view.loss, index=(0, 1)).headline
    assert name in str(bl.health(view.loss, optimizer=view.optimizer))
    assert "copy.py" not in str(bl.health(view.loss, optimizer=view.optimizer))
    assert bl.draw(view.loss).svg.startswith("<svg")
    assert view.prediction.shape == (16, 2)
    assert np.array_equal(view.inputs, load_run(tmp_path / "run.backlit").at(0).inputs) is False
    assert len(set(view.rows.tolist())) == 16


def test_two_views_do_not_disturb_each_other(tmp_path: Path) -> None:
    record(tmp_path / "run.backlit")
    run = load_run(tmp_path / "run.backlit")
    one = run.at(20)
    before = str(one.why("layers.0.weight", (0, 0)))
    two = run.at(21)
    two.update("layers.0.weight")
    one.update("layers.0.weight")
    assert str(one.why("layers.0.weight", (0, 0))) == before
    assert one.model is not two.model


def test_steps_are_walked_in_turn(tmp_path: Path) -> None:
    made = record(tmp_path / "run.backlit")
    run = load_run(tmp_path / "run.backlit")
    views = [(view.step, view.exact, float(view.loss.data)) for view in run.walk(3, 9)]
    assert views == [(step, True, made.losses[step]) for step in range(3, 9)]
    assert [view.step for view in run.walk(5, 5)] == []


def test_the_first_step_where_something_holds_is_found_by_scan_and_by_bisection(tmp_path: Path) -> None:
    made = record(tmp_path / "run.backlit", epochs=10)
    run = load_run(tmp_path / "run.backlit")
    low = float(np.median(made.losses))
    wanted = int(np.argmax(made.losses < low))
    assert run.first(lambda view: float(view.loss.data) < low) == wanted
    asked = []

    def later(view: Any) -> bool:
        asked.append(view.step)
        return float(view.optimizer.steps.data) >= 37

    assert run.first(later, monotone=True) == 37
    assert len(asked) <= 8
    assert run.first(lambda view: False) is None
    assert run.first(lambda view: False, monotone=True) is None
    assert run.first(lambda view: True, start=7) == 7
    assert run.first(lambda view: True, monotone=True, start=7, stop=20) == 7


def test_a_run_that_met_a_nan_leads_to_the_step(tmp_path: Path) -> None:
    path = tmp_path / "run.backlit"
    with pytest.warns(bl.NonFiniteWarning, match=r"backlit rewind .*run\.backlit --step"):
        train(net(drops=False), record=path, optimizer="sgd", lr=1e160, epochs=3)
    run = load_run(path)
    assert 0 < run.end < 18
    assert run.first_nonfinite() is None  # training stopped before such a loss became a step
    assert not np.isfinite(float(run.at(run.end).loss.data))
    assert run.at(run.end - 1).exact


def test_a_rise_of_the_loss_is_found_without_a_replay(tmp_path: Path) -> None:
    made = record(tmp_path / "run.backlit")
    run = load_run(tmp_path / "run.backlit")
    wanted = next(k for k in range(1, 36) if made.losses[k] > 1.05 * made.losses[:k].min())
    assert run.first_rise(1.05) == wanted
    assert run.first_rise(1e9) is None


@pytest.mark.parametrize("step", [-1, 37, 10**30, 1.0, True, "3"])
def test_steps_that_are_not_there_are_refused(tmp_path: Path, step: Any) -> None:
    record(tmp_path / "run.backlit")
    with pytest.raises(DomainError, match="step"):
        load_run(tmp_path / "run.backlit").at(step)


def test_a_parameter_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    record(tmp_path / "run.backlit")
    run = load_run(tmp_path / "run.backlit")
    with pytest.raises(DataError, match=r"layers\.4\.bias"):
        run.at(0).update("layer1.weight")
    with pytest.raises(DataError, match=r"layers\.4\.bias"):
        run.why_changed("layer1.weight", (0, 0))


def test_a_replay_that_differs_says_so_once(tmp_path: Path) -> None:
    class Meddles:
        def on_step(self, run: Any) -> None:
            if run.position.step == 18:
                weight = run.model.parameters()[0]
                weight.data = weight.data * 1.5

    record(tmp_path / "run.backlit", callbacks=[Meddles()])
    run = load_run(tmp_path / "run.backlit")
    assert run.at(17).exact
    with pytest.warns(bl.BacklitWarning, match=r"at step 18 .* was recorded.*callback") as warned:
        views = [run.at(20), run.at(21)]
    assert [view.exact for view in views] == [False, False]
    assert len(warned) == 1


def test_the_random_numbers_of_the_process_are_left_alone(tmp_path: Path) -> None:
    record(tmp_path / "run.backlit", epochs=1)
    bl.nn.seed(4)
    one = bl.nn.Linear(2, 2).state_dict()
    bl.nn.seed(4)
    load_run(tmp_path / "run.backlit").at(3)
    assert same(bl.nn.Linear(2, 2).state_dict(), one)
