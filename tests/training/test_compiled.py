"""`fit` with compiled steps: the numbers of the eager one within rounding, and the same bits however it is cut up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler.compile import CompileWarning
from backlit.core.errors import NonFiniteWarning
from backlit.training.checkpoint import Checkpointer
from backlit.training.fit import WORTH, fit
from backlit.training.state import state_arrays
from tests.training.small_runs import Stop, net, points, same, train

nn = bl.nn


def labels(rows: int = 75, dtype: str = "float64") -> Any:
    x = np.asarray(bl.random.normal(bl.random.key(9), (rows, 4)).data)
    return x.astype(dtype), (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def text(rows: int = 40) -> Any:
    drawn = np.asarray(bl.random.randint(bl.random.key(3), (rows, 9), 0, 11).data)
    return drawn[:, :-1], drawn[:, 1:]


def dropping() -> Any:
    return nn.Sequential(nn.Linear(4, 16, key=1, dtype="float64"), nn.ReLU(), nn.Dropout(0.4, key=2),
                         nn.Linear(16, 2, key=3, dtype="float64"))  # fmt: skip


NETS = {
    "mlp64": (lambda: nn.MLP(4, [8, 2], key=0, dtype="float64"), labels, 1e-11),
    "mlp32": (lambda: nn.MLP(4, [8, 2], key=0), lambda: labels(dtype="float32"), 2e-5),
    "dropout": (dropping, labels, 1e-11),
    "batchnorm and dropout": (lambda: net(), points, 1e-9),
    "transformer": (lambda: nn.CharTransformer(11, context=8, d=8, heads=2, layers=1, key=0), text, 1e-4),
}


@pytest.mark.parametrize("name", NETS)
def test_compiled_and_eager_agree_within_rounding(name: str) -> None:
    make, data, slack = NETS[name]
    one, other = make(), make()
    a = fit(one, data(), lr=0.01, epochs=4, batch_size=16, compile=True, metrics="accuracy")
    b = fit(other, data(), lr=0.01, epochs=4, batch_size=16, compile=False, metrics="accuracy")
    assert (a.settings["compile"], b.settings["compile"]) == (True, False)
    np.testing.assert_allclose(a.losses, b.losses, rtol=slack)
    assert a.position == b.position
    left, right = state_arrays(one, a.optimizer), state_arrays(other, b.optimizer)
    for path, array in left.items():
        assert array.dtype == right[path].dtype
        np.testing.assert_allclose(array, right[path], rtol=10 * slack, atol=10 * slack, err_msg=path)
    assert a.history.columns == b.history.columns
    np.testing.assert_allclose(a.history.column("accuracy"), b.history.column("accuracy"), atol=0.03)
    assert all(p.grad is None for p in one.parameters())


@pytest.mark.parametrize("clip", [None, 0.05, ("value", 0.01)])
def test_compiled_it_is_the_loop_over_each_of_its_documentation(clip: Any) -> None:
    """To the last bit, with a last batch that is smaller."""
    from backlit.training.clipping import Clip, clip_gradients

    one, other = net(), net()
    run = train(one, epochs=4, compile=True, clip=clip)
    key = bl.random.key(3)
    nn.reseed(other, bl.random.fold_in(key, 1))
    optimizer = bl.optim.Adam(other.parameters(), lr=0.01)
    x, y = map(bl.asarray, points())

    @bl.compile
    def step(rows: Any) -> Any:
        loss = nn.cross_entropy(other(x[rows]), y[rows])
        loss.backward()
        if clip is not None:
            clip_gradients(other.parameters(), Clip.of(clip))
        optimizer.step()
        optimizer.zero_grad()
        return loss

    losses: list[float] = []
    for epoch in range(4):
        (order,) = bl.data.batches(np.arange(90), None, key=bl.random.fold_in(key, 2 + epoch))
        losses += step.each(order[:80].reshape(5, 16)).data.tolist()
        losses += step.each(order[80:].reshape(1, 10)).data.tolist()
    assert run.losses.tolist() == losses
    assert same(state_arrays(one, run.optimizer), state_arrays(other, optimizer))


@pytest.mark.parametrize("clip", [0.05, ("value", 0.01)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients_are_clipped_in_compiled_steps_too(clip: Any, dtype: str) -> None:
    runs = {}
    for limit, compiled in ((clip, True), (clip, False), (None, True)):
        model = nn.MLP(4, [8, 2], key=0, dtype=dtype)
        runs[limit is None, compiled] = fit(model, labels(dtype=dtype), optimizer="sgd", lr=1.0, epochs=6, clip=limit,
                                            compile=compiled)  # fmt: skip
    np.testing.assert_allclose(
        runs[False, True].losses, runs[False, False].losses, rtol=1e-11 if dtype == "float64" else 1e-4
    )
    assert np.abs(runs[True, True].losses - runs[False, True].losses).max() > 0.01


class Looks:
    """Wants to see each step, and its gradients."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_step(self, run: Any) -> None:
        assert all(np.any(p.grad) for p in run.optimizer.parameters[:1])
        assert len(run.losses) == run.position.step
        self.steps.append(run.position.step)


def test_a_callback_that_looks_at_each_step_finds_its_gradients_and_changes_nothing() -> None:
    one, other = net(), net()
    looks = Looks()
    a = train(one, compile=True, callbacks=[looks])
    b = train(other, compile=True)
    assert looks.steps == list(range(1, 37))
    assert a.losses.tolist() == b.losses.tolist()
    assert same(state_arrays(one, a.optimizer), state_arrays(other, b.optimizer))
    assert all(p.grad is None for p in one.parameters())


class Counts:
    """Wants to look every five steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_step(self, run: Any) -> None:
        if run.position.step % 5 == 0:
            self.steps.append(run.position.step)

    def rests(self, run: Any) -> int:
        return 5 - run.position.step % 5


def test_a_callback_that_rests_is_called_when_it_must_be_and_the_bits_are_the_same() -> None:
    counts = Counts()
    a, b = train(compile=True, callbacks=[counts]), train(compile=True)
    assert counts.steps == list(range(5, 36, 5))
    assert a.losses.tolist() == b.losses.tolist()
    assert same(state_arrays(a.model, a.optimizer), state_arrays(b.model, b.optimizer))


def test_validation_progress_and_early_stopping_look_and_change_nothing() -> None:
    seen: list[int] = []
    run = train(compile=True, epochs=8, validation=points(40), metrics=["accuracy"], early_stopping=3,
                progress=lambda run: seen.append(run.position.step))  # fmt: skip
    plain = train(compile=True, epochs=len(run.history.epochs))
    assert run.losses.tolist() == plain.losses.tolist()
    assert seen[-1] == run.position.step
    eager = train(compile=False, epochs=8, validation=points(40), metrics=["accuracy"], early_stopping=3)
    assert eager.stopped is None or eager.stopped.split(";")[0] == (run.stopped or "").split(";")[0]
    np.testing.assert_allclose(
        run.history.column("validation loss"), eager.history.column("validation loss"), rtol=1e-8
    )


def test_early_stopping_puts_the_best_model_back() -> None:
    run = train(compile=True, epochs=60, lr=0.3, validation=points(40), early_stopping=2)
    assert "early stopping" in run.stopped
    best = np.argmin(run.history.column("validation loss"))
    with bl.no_grad():
        run.model.eval()
        found = float(nn.cross_entropy(run.model(points(40)[0]), points(40)[1]))
    np.testing.assert_allclose(found, run.history.column("validation loss")[best], rtol=1e-10)


class Softens:
    """Changes what a trace takes for granted."""

    def on_epoch(self, run: Any) -> None:
        for module in run.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0


def test_what_a_callback_changes_in_the_model_is_compiled_anew() -> None:
    a, b = (train(compile=compiled, callbacks=[Softens()]) for compiled in (True, False))
    np.testing.assert_allclose(a.losses, b.losses, rtol=1e-9)
    assert not np.allclose(a.losses, train(compile=False).losses)


@pytest.mark.parametrize("size", [None, 90, 1000])
def test_all_examples_at_once(size: int | None) -> None:
    a, b = (train(compile=compiled, batch_size=size, epochs=5) for compiled in (True, False))
    assert a.position == b.position == (5, 0, 5)
    np.testing.assert_allclose(a.losses, b.losses, rtol=1e-10)


class OnEpoch:
    def on_epoch(self, run: Any) -> None:
        pass


@pytest.mark.parametrize("size", [None, 15])
def test_several_epochs_in_one_call_are_the_same_as_one_by_one(size: int | None) -> None:
    a = train(compile=True, batch_size=size, epochs=500)
    b = train(compile=True, batch_size=size, epochs=500, callbacks=[OnEpoch()])
    assert a.losses.tolist() == b.losses.tolist()
    assert a.position == b.position
    assert same(state_arrays(a.model, a.optimizer), state_arrays(b.model, b.optimizer))
    assert a.history.columns == b.history.columns
    assert len(a.history.epochs) == 500
    np.testing.assert_allclose(a.history.column("loss"), b.history.column("loss"), rtol=1e-14)
    np.testing.assert_array_equal(a.history.column("epoch"), np.arange(500))


def test_nudging_is_compiled_where_no_pass_changes_a_buffer() -> None:
    a, b = (fit(nn.MLP(4, [4, 2], key=0, dtype="float64"), labels(20), optimizer="sgd", lr=0.1, epochs=2, batch_size=8,
                method="nudge", compile=compiled) for compiled in (True, False))  # fmt: skip
    np.testing.assert_allclose(a.losses, b.losses, atol=1e-7)
    with pytest.raises(bl.GraphError, match="running_mean"):
        train(method="nudge", epochs=1, compile=True)


# -- what cannot be compiled ----------------------------------------------------------------------------------------


class Asks(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        self.inner = nn.Linear(5, 2, key=1, dtype="float64")

    def forward(self, x: Any) -> Any:
        y = self.inner(x)
        return y * 2.0 if float(y.sum()) > 0 else y


def test_a_model_that_asks_for_numbers_is_refused_with_its_line_or_trained_without_with_a_warning() -> None:
    with pytest.raises(bl.GraphError, match=r"compile=False") as caught:
        train(Asks(), compile=True, epochs=1)
    assert "test_compiled.py" in str(caught.value)
    with pytest.warns(CompileWarning, match="not compiled") as told:
        run = train(Asks(), epochs=WORTH // 6 + 1)
    assert len(told) == 1
    assert "test_compiled.py" in str(told[0].message)
    assert told[0].filename.endswith("small_runs.py")
    assert run.settings["compile"] is False
    eager = train(Asks(), epochs=WORTH // 6 + 1, compile=False)
    assert run.losses.tolist() == eager.losses.tolist()


def test_what_compile_means_when_it_is_left_to_fit(tmp_path: Path) -> None:
    assert train(epochs=1).settings["compile"] is False
    assert train(epochs=WORTH // 6 + 1).settings["compile"] is True
    assert train(epochs=WORTH // 6 + 1, record=tmp_path / "run").settings["compile"] is True
    model = nn.MLP(4, [2], key=0, dtype="float64")
    assert fit(model, labels(), optimizer="lbfgs", batch_size=None, epochs=WORTH).settings["compile"] is False
    with pytest.raises(bl.GraphError, match="LBFGS evaluates the loss"):
        fit(model, labels(), optimizer="lbfgs", batch_size=None, epochs=1, compile=True)
    assert train(epochs=1, record=tmp_path / "run").settings["compile"] is False
    with pytest.raises(bl.DomainError, match="compile='yes'"):
        train(compile="yes")


def test_trying_it_out_changes_nothing() -> None:
    model = net()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    train(model, epochs=0, compile=True)
    reseeded = net()
    nn.reseed(reseeded, bl.random.fold_in(bl.random.key(3), 1))
    before.update({k: v for k, v in reseeded.state_dict().items() if k.endswith(("key", "count"))})
    assert same(before, model.state_dict())


# -- ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [7, 12, 30])
def test_a_training_that_was_stopped_and_resumed_has_the_same_bits(tmp_path: Path, place: int) -> None:
    whole = train(compile=True)
    path = tmp_path / "c.safetensors"
    part = train(compile=True, checkpoint=path, callbacks=[StopsAt(place)])
    assert part.interrupted
    resumed = train(checkpoint=path, callbacks=[StopsAt(10**9)], resume=True)  # by itself: as it was
    assert resumed.settings["compile"] is True
    assert resumed.losses.tolist() == whole.losses.tolist()
    assert same(state_arrays(whole.model, whole.optimizer), state_arrays(resumed.model, resumed.optimizer))
    with pytest.raises(bl.DataError, match="compile"):
        train(checkpoint=path, resume=True, callbacks=[StopsAt(10**9)], compile=False)


class StopsAt:
    """Ctrl-C after a step, for a training that need not show it each."""

    def __init__(self, step: int) -> None:
        self.step = step

    def rests(self, run: Any) -> int:
        return max(1, self.step - run.position.step)

    def on_step(self, run: Any) -> None:
        if run.position.step == self.step:
            raise KeyboardInterrupt


def test_checkpoints_are_made_at_their_steps(tmp_path: Path) -> None:
    saved: list[int] = []

    class Tells(Checkpointer):
        def save(self, run: Any) -> None:
            saved.append(run.position.step)
            super().save(run)

    a = train(compile=True, callbacks=[Tells(tmp_path / "c.safetensors", 7, "steps")])
    assert saved == [7, 14, 21, 28, 35, 36]
    assert a.losses.tolist() == train(compile=True).losses.tolist()


def test_a_callback_may_stop_it() -> None:
    run = train(compile=True, callbacks=[Stop(8, bl.training.callbacks.StopTraining)])
    assert run.stopped == "enough"
    assert run.position == (1, 2, 8)


class Grows(nn.Module):  # type: ignore[misc]
    """A number that is multiplied until it is too large."""

    def __init__(self) -> None:
        self.w = bl.Parameter(np.float64(1.0))

    def forward(self, x: Any) -> Any:
        return self.w * x


def grown(compiled: bool, **more: Any) -> Any:
    model = Grows()
    with pytest.warns(NonFiniteWarning):
        return fit(model, (np.ones((8, 1)), np.zeros((8, 1))), optimizer="sgd", lr=1e6, epochs=60, batch_size=2,
                  compile=compiled, **more)  # fmt: skip


def test_a_loss_that_is_not_finite_ends_it_at_the_same_step_with_the_same_parameters_and_birth() -> None:
    a, b = grown(True), grown(False)
    assert a.position == b.position
    assert len(a.losses) == len(b.losses)
    np.testing.assert_allclose(a.losses, b.losses, rtol=1e-9)
    assert np.isfinite(a.losses).all()
    np.testing.assert_allclose(a.model.w.data, b.model.w.data, rtol=1e-9)
    assert type(a.nonfinite) is type(b.nonfinite)
    assert a.stopped.splitlines()[0] == b.stopped.splitlines()[0]
    seen = grown(True, callbacks=[Looks()])
    assert seen.position == a.position
    assert len(seen.losses) == len(a.losses)


def test_a_loss_that_is_not_finite_in_the_first_step_of_all_is_told() -> None:
    def loss(p: Any, y: Any) -> Any:
        return bl.log(-(p * p).sum())

    with pytest.warns(NonFiniteWarning, match="at step 0"):
        run = fit(Grows(), (np.ones((8, 1)), np.zeros((8, 1))), loss=loss, epochs=3, compile=True)
    assert run.position.step == 0
    assert run.model.w.data == 1.0
    assert not len(run.losses)


CTRL_C = """
import signal, sys, time
import numpy as np, backlit as bl
from backlit.training.state import state_arrays
rng = np.random.default_rng(0)
data = rng.normal(size=(4000, 32)).astype("float32"), rng.integers(0, 10, 4000)
class Tells:
    def on_start(self, run):
        print("on", flush=True)
make = lambda: bl.nn.MLP(32, [64, 10], key=0)
run = bl.fit(make(), data, epochs=10**6, compile=True, progress=False, callbacks=[Tells()])
print(time.time(), flush=True)
assert run.interrupted and run.stopped == "interrupted by Ctrl-C", run.stopped
steps = run.position.step
assert len(run.losses) == steps == run.optimizer.steps.data > 0
epochs, rest = divmod(steps, 125)
assert run.position in ((epochs, rest, steps), (epochs - 1, 125, steps)), run.position
if steps < 60_000:
    class Stop:
        def rests(self, run):
            return max(1, steps - run.position.step)
        def on_step(self, run):
            if run.position.step == steps:
                raise KeyboardInterrupt
    again = bl.fit(make(), data, epochs=epochs + 1, compile=True, progress=False, callbacks=[Stop()])
    one, other = state_arrays(run.model, run.optimizer), state_arrays(again.model, again.optimizer)
    assert again.losses.tolist() == run.losses.tolist()
    assert all(one[k].tobytes() == other[k].tobytes() for k in one)
print("whole")
"""


def test_ctrl_c_returns_the_run_so_far_at_once_and_whole() -> None:
    with subprocess.Popen([sys.executable, "-c", CTRL_C], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "on\n"
        time.sleep(0.4)
        pressed = time.time()
        child.send_signal(signal.SIGINT)
        returned = float(child.stdout.readline())
        assert child.stdout.read() == "whole\n"
        assert child.wait() == 0
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    assert returned - pressed < (1.0 if busy else 0.3)


class PressedWhenTraced(nn.Module):  # type: ignore[misc]
    """Ctrl-C comes while the step is compiled."""

    def __init__(self) -> None:
        self.w = bl.Parameter(np.zeros((5, 1)))
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        if self.calls == 2:  # the first is the trial of the loss
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)
        return x @ self.w


def test_ctrl_c_while_it_is_compiled_returns_a_run_without_steps() -> None:
    x = points()[0]
    run = fit(PressedWhenTraced(), (x, x[:, :1]), compile=True)
    assert run.interrupted
    assert run.position == (0, 0, 0)
    np.testing.assert_array_equal(run.model.w.data, np.zeros((5, 1)))


def test_in_another_thread_it_is_compiled_as_well() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(train(compile=True)))
    thread.start()
    thread.join()
    assert found[0].losses.tolist() == train(compile=True).losses.tolist()
