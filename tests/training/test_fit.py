"""What `fit` takes and refuses, what a run tells, how it ends, and what Ctrl-C leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.training.fit import fit
from backlit.training.progress import EVERY, Reporter
from backlit.training.run import History, Run
from backlit.training.state import Snapshot, restore, state_arrays, variables

nn = bl.nn


def line(rows: int = 40) -> tuple[Any, Any]:
    x = np.asarray(bl.random.normal(bl.random.key(2), (rows, 3)).data)
    return x, x @ np.array([[1.0], [-2.0], [0.5]]) + 0.3


def labels(rows: int = 40) -> tuple[Any, Any]:
    x, y = line(rows)
    return x, (y[:, 0] > 0).astype(np.int64)


class Numbers(nn.Module):
    """A model of a few numbers, by a function."""

    def __init__(self, start: Any, f: Any) -> None:
        self.w = bl.Parameter(start)
        self.f = f

    def forward(self, x: Any) -> Any:
        return self.f(self.w, x)


# -- what it learns -------------------------------------------------------------------------------------------------


def test_a_line_is_found() -> None:
    model = nn.Linear(3, 1, key=0, dtype="float64")
    run = fit(model, line(), optimizer="sgd", lr=0.1, epochs=60, batch_size=8)
    np.testing.assert_allclose(model.weight.data.reshape(-1), [1.0, -2.0, 0.5], atol=1e-6)
    assert run.loss_name == "mse"
    assert run.losses[-1] < 1e-10


def test_targets_choose_the_loss() -> None:
    assert fit(nn.MLP(3, [2], key=0), labels(), epochs=1).loss_name == "cross_entropy"
    assert fit(nn.MLP(3, [1], key=0), line(), epochs=1).loss_name == "mse"
    assert fit(nn.MLP(3, [1], key=0), line(), loss="huber", epochs=1).loss_name == "huber"
    assert fit(nn.MLP(3, [1], key=0), line(), loss=nn.mae, epochs=1).loss_name == "mae"


@pytest.mark.parametrize(
    ("make", "data", "settings", "error", "says"),
    [
        (lambda: nn.MLP(3, [1]), labels(), {}, bl.ShapeError, "one output for each class"),
        (lambda: nn.MLP(3, [2]), (line()[0], labels()[1] + 1), {}, bl.DataError, "Subtract 1"),
        (lambda: nn.MLP(3, [2]), (line()[0], labels()[1] + 4), {}, bl.DataError, "Give the model 6 outputs"),
        (lambda: nn.MLP(3, [2]), (line()[0], labels()[1] - 1), {}, bl.DataError, "counted from 0"),
        (lambda: nn.MLP(3, [1]), (line()[0], line()[1][:, 0]), {}, bl.ShapeError, "drop its axis"),
        (lambda: nn.MLP(4, [1]), line(), {}, bl.ShapeError, "last axis has length 4"),
        (lambda: nn.MLP(3, [1]), line(), {"loss": "mee"}, bl.DomainError, "mse, mae"),
        (lambda: nn.MLP(3, [1]), line(), {"loss": lambda p, y: (p - y) ** 2}, bl.ShapeError, "mean"),
        (lambda: nn.MLP(3, [1]), line(), {"loss": 3}, bl.DomainError, "neither a name"),
        (lambda: nn.MLP(3, [1]), line(), {"optimizer": "adm"}, bl.DomainError, "Adam"),
        (lambda: nn.MLP(3, [1]), line(), {"optimizer": 3}, bl.DomainError, "neither a name"),
        (lambda: nn.MLP(3, [1]), line(), {"epochs": -1}, bl.DomainError, "at least 0"),
        (lambda: nn.MLP(3, [1]), line(), {"batch_size": 0}, bl.DomainError, "at least 1"),
        (lambda: nn.MLP(3, [1]), line(), {"validation": 1.5}, bl.DomainError, "such as 0.2"),
        (lambda: nn.MLP(3, [1]), line(), {"validation": labels()}, bl.ShapeError, "validation"),
        (lambda: nn.MLP(3, [1]), line(), {"clip": 0.0}, bl.DomainError, "above 0"),
        (lambda: nn.MLP(3, [1]), line(), {"clip": ("norm", "x")}, bl.DomainError, "above 0"),
        (lambda: nn.MLP(3, [1]), line(), {"method": "guess"}, bl.DomainError, "nudge"),
        (lambda: nn.MLP(3, [1]), line(), {"metrics": ["auc"]}, bl.DomainError, "accuracy"),
        (lambda: nn.MLP(3, [1]), line(), {"seed": 0.5}, bl.DtypeError, "whole number"),
        (lambda: nn.MLP(3, [1]), line(), {"progress": "yes"}, bl.DomainError, "progress"),
        (lambda: nn.MLP(3, [1]), line(), {"resume": True}, bl.DomainError, "checkpoint="),
        (lambda: nn.MLP(3, [1]), line(), {"early_stopping": 0}, bl.DomainError, "patience"),
        (lambda: nn.MLP(3, [1]), line(), {"callbacks": [object()]}, bl.DomainError, "on_step"),
        (lambda: nn.MLP(3, [1]), (line()[0], line()[1][:5]), {}, bl.DataError, "40"),
        (lambda: nn.ReLU(), (line()[0], line()[0]), {}, bl.GraphError, "no parameters"),
        (lambda: 3, line(), {}, bl.GraphError, "Module"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_with_the_reason_before_the_first_step(
    make: Any, data: Any, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    model = make()
    before = model.state_dict() if isinstance(model, nn.Module) else {}
    with pytest.raises(error, match=says):
        fit(model, data, **settings)
    for name, array in before.items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_an_optimizer_of_another_model_and_a_rate_given_twice_are_refused() -> None:
    one, other = nn.MLP(3, [1]), nn.MLP(3, [1])
    with pytest.raises(bl.GraphError, match="of this very model"):
        fit(one, line(), optimizer=bl.optim.SGD(other.parameters()))
    with pytest.raises(bl.DomainError, match="has its own"):
        fit(one, line(), optimizer=bl.optim.SGD(one.parameters()), lr=0.1)
    with pytest.raises(bl.DomainError, match="set the rate there"):
        fit(one, line(), optimizer=lambda p: bl.optim.SGD(p), lr=0.1)


def test_nudging_a_large_model_is_refused_with_its_cost() -> None:
    model = nn.MLP(100, [250, 2], key=0)
    with pytest.raises(bl.DomainError, match=r"25,752 parameters: 51,505 forward passes"):
        fit(model, (np.ones((4, 100)), np.array([0, 1, 0, 1])), method="nudge")


def test_trying_the_loss_first_leaves_buffers_and_modes_as_they_are() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            self.calls = bl.Buffer(0, dtype="int64")
            self.inner = nn.Linear(3, 1, key=0).eval()

        def forward(self, x: Any) -> Any:
            self.calls.data = self.calls.data + 1
            return self.inner(x)

    model = Counts()
    fit(model, line(), epochs=0)
    assert model.calls.data == 0
    assert [m.training for m in model.modules()] == [True, False]


def test_a_frozen_part_keeps_its_numbers_and_no_gradients_pile_up() -> None:
    model = nn.MLP(3, [4, 1], key=0)
    frozen = model.layers[0].weight.data.copy()
    fit(model, line(), optimizer=bl.optim.SGD(model.layers[1].parameters(), lr=0.1), epochs=2)
    np.testing.assert_array_equal(model.layers[0].weight.data, frozen)
    assert all(p.grad is None for p in model.parameters())


# -- what a run tells -----------------------------------------------------------------------------------------------


def test_the_history_has_every_step_and_a_row_for_every_epoch() -> None:
    run = fit(
        nn.MLP(3, [4, 2], key=0), labels(50), epochs=3, batch_size=16, validation=0.2, metrics={"hits": lambda p, y: 7}
    )
    assert run.losses.shape == (9,)  # 40 rows in batches of 16, 16 and 8
    assert run.history.columns == ["epoch", "loss", "validation loss", "validation hits", "seconds"]
    assert run.final["validation hits"] == 7.0
    a, b, c = run.losses[-3:]
    assert run.final["loss"] == pytest.approx((16 * a + 16 * b + 8 * c) / 40)
    assert run.last_loss == c
    with pytest.raises(bl.DataError, match="validation hits"):
        run.history.column("accuracy")
    with pytest.raises(ValueError, match="read-only"):
        run.losses[0] = 1.0


def test_without_validation_metrics_are_of_the_data_and_the_validation_loss_is_that_of_the_whole() -> None:
    data, other = labels(40), labels(30)
    run = fit(nn.MLP(3, [8, 2], key=0), data, epochs=2, metrics="accuracy")
    assert run.final["accuracy"] == np.mean(run.predict(data[0]).argmax(1) == data[1])
    run = fit(model := nn.MLP(3, [8, 2], key=0), data, epochs=2, validation=other)
    with bl.no_grad():
        assert run.final["validation loss"] == float(nn.cross_entropy(model(other[0]), other[1]))


def test_the_settings_are_plain_json_and_tell_how_all_was_made() -> None:
    run = fit(nn.MLP(3, [4, 2], key=0), labels(), lr=0.01, epochs=1, clip=1.0)
    told = json.loads(json.dumps(run.settings))
    assert told == run.settings
    assert told["model"]["class"] == "backlit.nn.mlp:MLP"
    assert told["optimizer"]["kwargs"] == {"lr": 0.01}
    assert (told["clip"], told["loss"], told["rows"], told["parameters"]) == ([1.0, "norm"], "cross_entropy", 40, 26)
    x, y = np.array(labels()[0]), labels()[1]
    x[0, 0] += 1e-12
    assert fit(nn.MLP(3, [4, 2], key=0), (x, y), epochs=0).settings["data"] != told["data"]


def test_predict_goes_in_batches_in_use_and_leaves_the_mode_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4, key=0), nn.Dropout(0.5), nn.Linear(4, 2, key=1))
    run = fit(model, labels(), epochs=1)
    x = labels(25)[0]
    found = run.predict(x, batch_size=10)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, run.predict(x, batch_size=10))  # nothing is dropped
    np.testing.assert_allclose(found, run.predict(x), rtol=1e-5)
    assert all(m.training for m in model.modules())
    with pytest.raises(bl.DataError, match="no examples"):
        run.predict(x[:0])
    with pytest.raises(bl.DataError, match="numbers are needed"):
        run.predict(np.array(["a"]))


def test_a_model_with_several_answers_predicts_a_container_of_arrays() -> None:
    model = Numbers([1.0, 2.0], lambda w, x: {"a": x * w, "b": (x + w, x)})
    run = fit(model, (np.ones((5, 2)), np.ones((5, 2))), loss=lambda p, y: ((p["a"] - y) ** 2).mean(), epochs=1)
    found = run.predict(np.ones((7, 2)), batch_size=3)
    assert found["a"].shape == found["b"][0].shape == (7, 2)


def test_a_run_says_what_happened() -> None:
    run = fit(nn.MLP(3, [4, 2], key=0), labels(), epochs=2, metrics="accuracy")
    assert "Run of MLP by Adam: 2 epochs, 4 steps" in repr(run)
    assert "cross_entropy: " in repr(run)
    html = run._repr_html_()
    assert html.count("<tr>") == 3
    assert "accuracy" in html
    assert "<b>" not in Run(nn.ReLU(), 3, len, loss_name="<b>")._repr_html_()


def test_a_run_is_plotted() -> None:
    pytest.importorskip("matplotlib")
    run = fit(nn.MLP(3, [4, 2], key=0), labels(), epochs=3, validation=0.2)
    axes = run.plot().axes
    assert [each.get_label() for each in axes.get_lines()] == ["training", "validation"]
    assert axes.get_lines()[1].get_xdata().tolist() == [1.0, 2.0, 3.0]


def test_a_history_is_the_same_after_a_trip_through_arrays() -> None:
    one, other = History(), History()
    for i in range(200):
        one.add_loss(1 / (i + 1))
    one.epochs = [{"epoch": 0.0, "loss": 0.5}, {"epoch": 1.0, "loss": 0.25}]
    other.take(one.arrays())
    assert other.losses.tolist() == one.losses.tolist()
    assert other.epochs == one.epochs
    other.add_loss(3.0)
    assert other.losses[-1] == 3.0
    with pytest.raises(bl.DataError, match="do not fit"):
        other.take({"losses": np.ones(2), "epochs.a": np.ones(1), "epochs.b": np.ones(2)})


# -- its state ------------------------------------------------------------------------------------------------------


def test_all_numbers_go_out_and_come_back() -> None:
    model = nn.Sequential(nn.Linear(3, 2, key=0), nn.BatchNorm(2))
    run = fit(model, labels(), epochs=1)
    kept = {name: array.copy() for name, array in state_arrays(model, run.optimizer).items()}
    assert {"model.layers.0.weight", "optimizer.lr", "optimizer.steps"} <= kept.keys()
    fit(model, labels(), optimizer=run.optimizer, epochs=1)
    assert any(a.tobytes() != kept[n].tobytes() for n, a in state_arrays(model, run.optimizer).items())
    restore(model, run.optimizer, kept)
    assert all(a.tobytes() == kept[n].tobytes() for n, a in state_arrays(model, run.optimizer).items())


@pytest.mark.parametrize("spoil", [
    lambda a: {n: x for n, x in a.items() if n != "model.weight"},
    lambda a: {**a, "model.extra": np.ones(1)},
    lambda a: {**a, "model.weight": np.ones((7, 7))},
    lambda a: {**a, "optimizer.steps": np.asarray(1.5)},
])  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_changed(spoil: Any) -> None:
    model = nn.Linear(3, 2, key=0)
    optimizer = bl.optim.Adam(model.parameters())
    before = state_arrays(model, optimizer)
    other = {name: array + 1 for name, array in before.items()}
    with pytest.raises(bl.DataError, match="restore: "):
        restore(model, optimizer, spoil(other))
    assert all(a.tobytes() == before[n].tobytes() for n, a in state_arrays(model, optimizer).items())


def test_a_snapshot_puts_back_what_has_changed() -> None:
    model = nn.Linear(3, 2, key=0)
    optimizer = bl.optim.Adam(model.parameters())
    before = state_arrays(model, optimizer)
    snapshot = Snapshot(list(variables(model, optimizer).values()))
    nn.mse(model(np.ones((1, 3))), np.ones((1, 2))).backward()
    optimizer.step()
    assert optimizer.steps.data == 1
    snapshot.restore()
    assert all(a.tobytes() == before[n].tobytes() for n, a in state_arrays(model, optimizer).items())


# -- Ctrl-C ---------------------------------------------------------------------------------------------------------


def presses() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)  # the handler runs here


class PressesAfter:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, run: Run) -> None:
        if run.position.step == self.step:
            presses()


def test_ctrl_c_returns_the_run_so_far_and_gives_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    run = fit(nn.MLP(3, [4, 2], key=0), labels(), epochs=50, batch_size=10, callbacks=[PressesAfter(7)])
    assert run.interrupted
    assert run.stopped == "interrupted by Ctrl-C"
    assert run.position == (1, 3, 7)
    assert len(run.losses) == 7
    assert signal.getsignal(signal.SIGINT) is before


class PressedWhileUpdating(bl.optim.SGD):
    """Ctrl-C comes while half of the parameters are updated."""

    def step(self) -> None:
        if self.steps.data == 3:
            half = self.parameters[0]
            old = half.data
            half.data = old * 0 + 100.0
            presses()
            half.data = old
        super().step()


def test_ctrl_c_within_an_update_waits_until_it_is_whole() -> None:
    one, other = nn.MLP(3, [4, 2], key=0), nn.MLP(3, [4, 2], key=0)
    run = fit(one, labels(), optimizer=PressedWhileUpdating(one.parameters(), lr=0.1), epochs=5, batch_size=10)
    assert run.interrupted
    assert run.position.step == len(run.losses) == 4  # the fourth update was finished
    fit(other, labels(), optimizer="sgd", lr=0.1, epochs=1, batch_size=10)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


class BreaksWhileUpdating(bl.optim.SGD):
    error: type[BaseException] = KeyboardInterrupt

    def step(self) -> None:
        if self.steps.data == 3:
            self.parameters[0].data = self.parameters[0].data * 0 + 100.0
            raise self.error("in the middle")
        super().step()


class BreaksWithAnError(BreaksWhileUpdating):
    error = ZeroDivisionError


def test_an_update_that_breaks_off_is_rolled_back() -> None:
    reference = nn.MLP(3, [4, 2], key=0)
    fit(reference, labels(30), optimizer="sgd", lr=0.1, epochs=1, batch_size=10)
    one, other = nn.MLP(3, [4, 2], key=0), nn.MLP(3, [4, 2], key=0)
    run = fit(one, labels(30), optimizer=BreaksWhileUpdating(one.parameters(), lr=0.1), epochs=2, batch_size=10)
    assert run.interrupted
    with pytest.raises(ZeroDivisionError):
        fit(other, labels(30), optimizer=BreaksWithAnError(other.parameters(), lr=0.1), epochs=2, batch_size=10)
    for model in (one, other):
        for a, b in zip(model.parameters(), reference.parameters(), strict=True):
            np.testing.assert_array_equal(a.data, b.data)
            assert a.grad is None


def test_ctrl_c_in_the_forward_pass_takes_buffers_back_too() -> None:
    class Pressed(nn.Module):
        def __init__(self) -> None:
            self.norm, self.line, self.calls = nn.BatchNorm(3), nn.Linear(3, 2, key=0), 0

        def forward(self, x: Any) -> Any:
            x = self.norm(x)
            self.calls += self.training
            if self.calls == 4:
                presses()
            return self.line(x)

    model = Pressed()
    run = fit(model, labels(), epochs=5, batch_size=10)
    model.calls = -100
    reference = Pressed()
    reference.calls = -100
    fit(reference, (run.inputs, run.targets), epochs=5, batch_size=10, callbacks=[PressesAfter(3)])
    assert run.interrupted
    assert run.position.step == 3
    a, b = model.state_dict(), reference.state_dict()
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_ctrl_c_while_a_parameter_is_nudged_leaves_it_where_it_was() -> None:
    calls = 0

    def loss(p: Any, y: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            presses()
        return nn.cross_entropy(p, y)

    model = nn.MLP(3, [4, 2], key=0)
    before = model.state_dict()
    run = fit(model, labels(), loss=loss, method="nudge")
    assert run.interrupted
    assert calls == 8
    assert run.position.step == 0
    assert all(array.tobytes() == before[name].tobytes() for name, array in model.state_dict().items())


def test_in_another_thread_it_trains_without_touching_the_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[Run] = []
    thread = threading.Thread(target=lambda: found.append(fit(nn.MLP(3, [2], key=0), labels(), epochs=2)))
    thread.start()
    thread.join()
    assert found[0].position.epoch == 2
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("method", ["chain", "nudge"])
def test_an_interrupted_run_can_be_told_from_a_finished_one(method: str) -> None:
    done = fit(nn.MLP(3, [2], key=0), labels(20), epochs=1, method=method)
    assert not done.interrupted
    assert done.stopped is None
    cut = fit(nn.MLP(3, [2], key=0), labels(20), epochs=9, method=method, callbacks=[PressesAfter(1)])
    assert cut.interrupted
    assert "Ctrl-C" in repr(cut)


# -- numbers that are not finite ------------------------------------------------------------------------------------


def test_a_nan_of_the_forward_pass_ends_it_with_step_and_origin() -> None:
    model = Numbers([[0.5], [0.5]], lambda w, x: bl.log(x @ w))
    data = np.ones((8, 2)), np.full((8, 1), -50.0)
    with pytest.warns(bl.NonFiniteWarning, match="The loss is nan at step 1") as warned:
        run = fit(model, data, optimizer="sgd", lr=0.01, epochs=3, batch_size=4)
    assert warned[0].filename == __file__
    assert "log gave nan" in str(warned[0].message)
    assert "test_fit.py" in run.nonfinite.message  # the line of the model
    assert run.nonfinite.op == "log"
    assert run.position.step == len(run.losses) == 1
    assert not run.interrupted
    assert np.isfinite(model.w.data).all()
    assert model.w.grad is None


def test_a_nan_of_the_backward_pass_is_traced_to_the_step_before_and_parameters_are_put_back() -> None:
    model = Numbers([[0.5], [0.5]], lambda w, x: bl.sqrt(abs(x @ w)))
    x = np.ones((8, 2))
    x[:, 1] = -1.0
    with pytest.warns(bl.NonFiniteWarning, match="After the update of step 0, the loss is nan at step 1"):
        run = fit(model, (x, np.ones((8, 1))), optimizer="sgd", lr=0.01, epochs=3, batch_size=4)
    assert run.nonfinite.where == "backward"
    assert run.nonfinite.op == "sqrt"
    assert run.position == (0, 0, 0)
    assert run.losses.size == 0
    np.testing.assert_array_equal(model.w.data, [[0.5], [0.5]])


def test_an_update_that_overflows_is_said_to_be_the_cause() -> None:
    model = Numbers([1.0], lambda w, x: x * w)
    data = np.ones((4, 1)), np.zeros((4, 1))
    rate = bl.optim.piecewise([(0, 1e200)]) if hasattr(bl.optim, "piecewise") else 1e200
    loss = lambda p, y: (p * 1e200).mean() - y.mean()  # noqa: E731
    with pytest.warns(bl.NonFiniteWarning, match="the learning rate is too large"):
        run = fit(model, data, loss=loss, optimizer=bl.optim.SGD(model.parameters(), lr=rate), epochs=3)
    assert model.w.data.tolist() == [1.0]
    assert run.stopped is not None


def test_where_the_run_is_recorded_the_command_to_go_there_is_told(tmp_path: Any) -> None:
    model = Numbers([[0.5], [0.5]], lambda w, x: bl.log(x @ w))
    path = tmp_path / "run.backlit"
    with pytest.warns(bl.NonFiniteWarning, match=r"backlit rewind .*run\.backlit --step 1"):
        fit(model, (np.ones((8, 2)), np.full((8, 1), -50.0)), optimizer="sgd", lr=0.01, batch_size=4, record=path)


# -- progress -------------------------------------------------------------------------------------------------------


class Display:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int, float]] = []
        self.closed = 0

    def update(self, run: Run, total: int) -> None:
        self.seen.append((run.position.step, total, time.perf_counter()))

    def close(self, run: Run, total: int) -> None:
        self.closed += 1


def test_a_display_is_told_now_and_then_and_once_at_the_end() -> None:
    display = Display()
    run = fit(nn.MLP(3, [4, 2], key=0), labels(), epochs=60, batch_size=4, progress=display)
    assert display.closed == 1
    assert display.seen[0][:2] == (1, 600)
    times = [at for _, _, at in display.seen]
    assert all(b - a >= EVERY * 0.9 for a, b in pairwise(times))
    assert len(times) <= run.seconds / EVERY + 2


def test_a_display_is_closed_when_a_step_fails() -> None:
    display = Display()
    model = nn.MLP(3, [4, 2], key=0)
    with pytest.raises(ZeroDivisionError):
        fit(model, labels(), optimizer=BreaksWithAnError(model.parameters()), batch_size=4, progress=display)
    assert display.closed == 1


def test_asking_whether_to_report_costs_microseconds_at_most() -> None:
    run = fit(nn.MLP(3, [2], key=0), labels(), epochs=0)
    reporter = Reporter(True, 1000)
    best = min(_timed(lambda: [reporter.step(run) for _ in range(1000)]) for _ in range(5))
    assert best / 1000 < 3e-6


def _timed(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def test_nothing_is_printed_and_rich_is_not_loaded_where_nobody_watches() -> None:
    code = (
        "import sys, numpy as np, backlit as bl\n"
        "from backlit.training.fit import fit\n"
        "from backlit.training import progress\n"
        "progress.PATIENCE = 0.0\n"
        "fit(bl.nn.MLP(2, [2], key=0), bl.data.moons(60), epochs=2)\n"
        "assert 'rich' not in sys.modules and 'backlit.cli' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_gradient_that_was_there_before_plays_no_part() -> None:
    from backlit import nn

    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(-1, 1)
    ends = []
    for dirty in (False, True):
        model = nn.MLP(1, [4, 1], key=0)
        if dirty:
            model(x).sum().backward()
        bl.fit(model, (x, x * x), epochs=2, progress=False)
        ends.append(model.state_dict())
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])
