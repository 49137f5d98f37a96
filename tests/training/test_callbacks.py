"""Callbacks are called at their moments, may stop a training, and early stopping puts the best model back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.training.callbacks import Callbacks, EarlyStopping, StopTraining
from backlit.training.fit import fit
from backlit.training.run import Run

nn = bl.nn


def data(rows: int = 30) -> tuple[Any, Any]:
    x = np.asarray(bl.random.normal(bl.random.key(4), (rows, 3)).data)
    return x, (x[:, 0] > 0).astype(np.int64)


def train(*callbacks: Any, **settings: Any) -> Run:
    chosen = {"epochs": 3, "batch_size": 10, "progress": False, **settings}
    return fit(nn.MLP(3, [4, 2], key=0), data(), callbacks=list(callbacks), **chosen)


class Diary:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_start(self, run: Run) -> None:
        self.told.append(("start", run.position.step, len(run.history.epochs)))

    def on_step(self, run: Run) -> None:
        self.told.append(("step", run.position.step, run.last_loss))

    def on_epoch(self, run: Run) -> None:
        self.told.append(("epoch", run.position, run.final["loss"]))

    def on_end(self, run: Run) -> None:
        self.told.append(("end", run.position.step, run.seconds))


def test_each_moment_is_told_in_order() -> None:
    diary = Diary()
    run = train(diary, epochs=2)
    assert [each[0] for each in diary.told] == ["start", *["step"] * 3, "epoch", *["step"] * 3, "epoch", "end"]
    assert [each[1] for each in diary.told if each[0] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [each[2] for each in diary.told if each[0] == "step"] == run.losses.tolist()
    assert diary.told[4][1] == (1, 0, 3)
    assert diary.told[-1][2] > 0


def test_gradients_are_there_within_on_step_and_gone_after() -> None:
    norms: list[float] = []
    watch = SimpleNamespace(on_step=lambda run: norms.append(float(np.abs(run.model.parameters()[0].grad).sum())))
    run = train(watch)
    assert len(norms) == 9
    assert min(norms) > 0
    assert all(p.grad is None for p in run.model.parameters())


@pytest.mark.parametrize("hook", ["on_start", "on_step", "on_epoch"])
def test_a_callback_may_stop_it_and_all_others_still_hear_of_that_moment(hook: str) -> None:
    def stop(run: Run) -> None:
        raise StopTraining("it is late")

    heard: list[str] = []
    other = SimpleNamespace(**{hook: lambda run: heard.append(hook)})
    run = train(SimpleNamespace(**{hook: stop}), other)
    assert run.stopped == "it is late"
    assert not run.interrupted
    assert run.position.step == {"on_start": 0, "on_step": 1, "on_epoch": 3}[hook]
    assert heard == [hook]


def test_an_error_of_a_callback_is_not_hidden() -> None:
    def fails(run: Run) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        train(SimpleNamespace(on_step=fails))


def test_at_the_end_the_first_has_the_last_word() -> None:
    said: list[int] = []
    several = [SimpleNamespace(on_end=lambda run, i=i: said.append(i)) for i in range(3)]
    train(*several)
    assert said == [2, 1, 0]


def test_a_class_in_place_of_an_object_is_refused() -> None:
    with pytest.raises(bl.DomainError, match="make one of it"):
        train(EarlyStopping)


def test_a_plateau_is_shown_the_validation_loss() -> None:
    model = nn.MLP(3, [4, 2], key=0)
    optimizer = bl.optim.SGD(model.parameters(), lr=0.1)
    plateau = bl.optim.ReduceOnPlateau(optimizer, factor=0.5, patience=0, threshold=0.9)
    run = fit(model, data(), optimizer=optimizer, callbacks=[plateau], epochs=4, validation=0.3)
    assert plateau.best == run.history.epochs[0]["validation loss"]
    assert optimizer.lr == pytest.approx(0.1 * 0.5**3)


# -- early stopping -------------------------------------------------------------------------------------------------


def played(stopping: EarlyStopping, numbers: list[float], column: str = "loss") -> tuple[int, str | None]:
    """The epoch (from 0) after which it stops, and what it says, for a column of numbers."""
    model = nn.Linear(1, 1, key=0)
    run = Run(model, bl.optim.SGD(model.parameters()), nn.mse)
    stopping.on_start(run)
    for epoch, number in enumerate(numbers):
        model.weight.data = np.full((1, 1), float(epoch), "float32")
        run.history.epochs.append({"epoch": float(epoch), column: number})
        try:
            stopping.on_epoch(run)
        except StopTraining as stop:
            stopping.on_end(run)
            return epoch, str(stop)
    stopping.on_end(run)
    return len(numbers), None


def test_patience_counts_epochs_that_are_not_better() -> None:
    assert played(EarlyStopping(2), [3.0, 2.0, 2.5, 1.9, 2.0, 1.9, 0.1])[0] == 5
    assert played(EarlyStopping(2), [3.0, 2.0, 1.0])[1] is None
    stopping = EarlyStopping(2)
    epoch, text = played(stopping, [3.0, 2.0, 2.0, 2.0])
    assert (epoch, stopping.best, stopping.best_epoch) == (3, 2.0, 1)
    assert text == "early stopping: loss has not got better for 2 epochs; it was best, 2, after epoch 2"


def test_better_by_no_more_than_min_delta_does_not_count() -> None:
    assert played(EarlyStopping(1, 0.5), [3.0, 2.6])[0] == 1
    assert played(EarlyStopping(1, 0.5), [3.0, 2.4])[1] is None


def test_accuracy_is_better_when_it_rises_and_a_mode_may_say_so() -> None:
    rising = [0.1, 0.2, 0.3]
    assert played(EarlyStopping(1, monitor="validation accuracy"), rising, "validation accuracy")[1] is None
    assert played(EarlyStopping(1, monitor="gain", mode="max"), rising, "gain")[1] is None
    assert played(EarlyStopping(1, monitor="gain"), rising, "gain")[0] == 1
    with pytest.raises(bl.DataError, match="gain"):
        played(EarlyStopping(1, monitor="gian"), rising, "gain")


def test_a_nan_is_never_better() -> None:
    assert played(EarlyStopping(2), [float("nan"), 1.0, float("nan"), float("nan")])[0] == 3


@pytest.mark.parametrize("settings", [{"patience": 0}, {"patience": 1.5}, {"min_delta": -1.0}, {"mode": "up"}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(bl.DomainError, match="EarlyStopping"):
        EarlyStopping(**settings)


def spirals() -> tuple[Any, Any]:
    """Few points and a large net: it learns them by heart, and gets worse on others."""
    x = np.asarray(bl.random.normal(bl.random.key(1), (60, 5)).data)
    noise = np.asarray(bl.random.normal(bl.random.key(2), (60,)).data)
    return x, (x[:, 0] + noise > 0).astype(np.int64)


def test_the_best_model_is_put_back() -> None:
    model = nn.MLP(5, [32, 2], key=0)
    run = fit(model, spirals(), lr=0.03, epochs=200, validation=0.4, early_stopping=5, compile=True)
    assert run.stopped is not None
    assert run.stopped.startswith("early stopping: validation loss")
    curve = run.history.column("validation loss")
    best = int(np.argmin(curve))
    assert len(curve) == best + 6
    again = nn.MLP(5, [32, 2], key=0)
    fit(again, spirals(), lr=0.03, epochs=best + 1, validation=0.4, compile=True)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_after_ctrl_c_the_model_stays_where_it_is_so_that_it_can_go_on() -> None:
    class Interrupts:
        def on_epoch(self, run: Run) -> None:
            if len(run.history.epochs) == 40:
                raise KeyboardInterrupt

    model, again = nn.MLP(5, [32, 2], key=0), nn.MLP(5, [32, 2], key=0)
    stopping = EarlyStopping(1000)
    fit(model, spirals(), lr=0.03, epochs=200, validation=0.4, early_stopping=stopping, callbacks=[Interrupts()])
    fit(again, spirals(), lr=0.03, epochs=40, validation=0.4, compile=True)
    assert stopping.best_epoch is not None
    assert stopping.best_epoch < 30
    np.testing.assert_array_equal(model.parameters()[0].data, again.parameters()[0].data)


def test_what_it_remembers_survives_a_trip_through_arrays() -> None:
    one, other = EarlyStopping(3), EarlyStopping(3)
    played(one, [3.0, 1.0, 2.0])
    both = Callbacks([one]).state_arrays()
    Callbacks([other]).restore(both)
    assert (other.best, other.best_epoch, other.waited) == (1.0, 1, 1)
    assert other.state_arrays().keys() == one.state_arrays().keys()
    with pytest.raises(bl.DataError, match="without early stopping"):
        other.restore({})


def test_a_training_that_had_stopped_early_is_not_gone_on_with() -> None:
    model = nn.MLP(5, [32, 2], key=0)
    first, second = EarlyStopping(5), EarlyStopping(5)
    run = fit(model, spirals(), lr=0.03, epochs=200, validation=0.4, early_stopping=first)
    arrays = run.arrays()
    again = Run(model, run.optimizer, run.loss, callbacks=Callbacks([second]))
    again.take(arrays)
    assert (again.position, again.seconds) == (run.position, run.seconds)
    with pytest.raises(StopTraining, match="has not got better for 5 epochs"):
        again.callbacks.call("on_start", again)
    with pytest.raises(bl.DataError, match="losses are stored"):
        again.take({**arrays, "history.losses": np.ones(3)})


def test_it_begins_anew_with_each_training() -> None:
    stopping = EarlyStopping(1)
    assert played(stopping, [1.0, 2.0])[0] == 1
    assert played(stopping, [5.0, 4.0])[1] is None


class Remembers:
    """A callback that has something to lose."""

    def __init__(self, number: float) -> None:
        self.number = number

    def on_epoch(self, run: Any) -> None: ...

    def state_arrays(self) -> dict[str, Any]:
        return {"number": np.asarray(self.number)}

    def restore(self, arrays: Any) -> None:
        self.number = float(arrays["number"])


def test_callbacks_remember_by_their_class_and_not_by_their_place() -> None:
    stopping = EarlyStopping(3)
    played(stopping, [3.0, 1.0, 2.0])
    kept = Callbacks([Remembers(1.0), stopping, Remembers(2.0)]).state_arrays()
    first, again, second = Remembers(0.0), EarlyStopping(3), Remembers(0.0)
    Callbacks([again, first, Quiet(2), second]).restore(kept)
    assert (first.number, second.number, again.best, again.waited) == (1.0, 2.0, 1.0, 1)


def test_a_callback_that_is_missing_or_new_when_a_training_is_resumed_is_named() -> None:
    kept = Callbacks([Remembers(1.0), Remembers(2.0)]).state_arrays()
    with pytest.raises(bl.DataError, match=r"was made with Remembers, which is not among .* now\. Pass it again"):
        Callbacks([Remembers(0.0)]).restore(kept)
    with pytest.raises(bl.DataError, match=r"was made without EarlyStopping, .* Leave it out"):
        Callbacks([Remembers(0.0), Remembers(0.0), EarlyStopping(3)]).restore(kept)


class Quiet:
    """Need not see each step, nor each epoch."""

    def __init__(self, every: int) -> None:
        self.every, self.seen = every, list[int]()

    def on_epoch(self, run: Any) -> None:
        self.seen.append(len(run.history.epochs))

    def rests_epochs(self, run: Any) -> int:
        return self.every - len(run.history.epochs) % self.every


def test_a_callback_that_rests_is_called_when_epochs_have_gone_by_as_it_asked() -> None:
    one, other = Quiet(50), Quiet(75)
    x = np.linspace(-1, 1, 8).reshape(8, 1)
    run = fit(nn.MLP(1, [2, 1], key=0), (x, x), batch_size=None, epochs=1000, callbacks=[one, other], compile=True)
    assert len(run.history.epochs) == 1000
    assert {*range(50, 1001, 50)} <= set(one.seen)
    assert one.seen == other.seen
    assert len(one.seen) < 200
