"""The recording: small, out of the way, whole after a kill, and never in place of something else."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DataError
from backlit.training.checkpoint import Checkpointer, load_checkpoint
from backlit.training.recorded import overview, read
from backlit.training.recording import Recorder
from backlit.training.replay import load_run
from backlit.training.state import state_arrays
from tests.training.small_runs import Stop, net, points, record, same, train


def test_recording_changes_nothing_in_the_training(tmp_path: Path) -> None:
    plain, recorded = train(), record(tmp_path / "run.backlit")
    assert same(state_arrays(plain.model, plain.optimizer), state_arrays(recorded.model, recorded.optimizer))
    assert plain.losses.tobytes() == recorded.losses.tobytes()


def test_a_recording_holds_losses_settings_epochs_and_how_it_ended(tmp_path: Path) -> None:
    run = record(tmp_path / "run.backlit", validation=0.2)
    found = load_run(tmp_path / "run.backlit")
    assert found.losses.tobytes() == run.losses.tobytes()
    assert found.settings == run.settings
    assert found.epochs == [{k: float(v) for k, v in row.items()} for row in run.history.epochs]
    assert found.ended == "all epochs were made"
    assert found.at(7).exact
    assert same(found.model.state_dict(), run.model.state_dict())


def test_a_recording_can_be_looked_at_without_its_data(tmp_path: Path) -> None:
    run = record(tmp_path / "run.backlit", callbacks=[Stop(20)])
    found = overview(tmp_path / "run.backlit")
    assert (found.model, found.optimizer, found.steps, found.ended) == ("Sequential", "Adam", 20, "interrupted")
    assert (found.first_loss, found.last_loss) == (run.losses[0], run.losses[-1])


def test_a_run_stopped_by_ctrl_c_is_whole(tmp_path: Path) -> None:
    record(tmp_path / "run.backlit", callbacks=[Stop(8)])
    found = load_run(tmp_path / "run.backlit")
    assert (found.steps, found.ended) == (8, "interrupted")
    assert found.at(8).exact is None


def test_there_are_never_more_snapshots_than_allowed_and_every_step_is_near_one(tmp_path: Path) -> None:
    path = tmp_path / "run.backlit"
    train(epochs=50, callbacks=[Recorder(path, snapshots=10, share=1.0)])
    run = load_run(path)
    assert run.steps == 300
    assert 5 <= len(run.snapshots) <= 12
    gaps = np.diff([*run.snapshots, run.end])
    assert gaps.max() <= 2 * 300 / 5
    assert run.at(299).exact


def test_what_was_given_up_takes_no_room_at_the_end(tmp_path: Path) -> None:
    one, two = tmp_path / "one.backlit", tmp_path / "two.backlit"
    train(epochs=1, batch_size=2, callbacks=[Recorder(one, snapshots=4)])  # 45 steps
    train(epochs=5, batch_size=2, callbacks=[Recorder(two, snapshots=4)])  # 225
    assert two.stat().st_size < one.stat().st_size + 20_000


def test_a_big_model_gets_fewer_snapshots(tmp_path: Path) -> None:
    path = tmp_path / "run.backlit"
    train(epochs=20, callbacks=[Recorder(path, largest=40_000)])
    assert len(load_run(path).snapshots) <= 8
    assert path.stat().st_size < 120_000


def test_a_step_costs_next_to_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.backlit", seconds=3600.0)
    spent = []

    class Timed:
        def on_start(self, run: Any) -> None:
            recorder.on_start(run)

        def on_step(self, run: Any) -> None:
            start = time.perf_counter()
            recorder.on_step(run)
            spent.append(time.perf_counter() - start)

    train(epochs=15, callbacks=[Timed()])
    assert float(np.median(spent)) < 50e-6  # in truth about 2; a busy machine gets some room


def test_a_learning_rate_set_by_a_callback_is_replayed(tmp_path: Path) -> None:
    class Halves:
        def on_epoch(self, run: Any) -> None:
            run.optimizer.lr = run.optimizer.lr / 2

    run = record(tmp_path / "run.backlit", callbacks=[Halves()], epochs=8)
    found = load_run(tmp_path / "run.backlit")
    assert found.at(31).optimizer.lr == 0.01 / 2**5
    assert same(found.at(found.end).model.state_dict(), run.model.state_dict())
    assert all(view.exact for view in found.walk())


def test_a_resumed_training_continues_its_recording(tmp_path: Path) -> None:
    path, saved = tmp_path / "run.backlit", tmp_path / "net.safetensors"
    whole = record(tmp_path / "whole.backlit")
    record(path, checkpoint=saved, callbacks=[Stop(20)])
    record(path, checkpoint=saved, resume=True)
    found = load_run(path)
    assert found.losses.tobytes() == whole.losses.tobytes()
    assert found.ended == "all epochs were made"
    assert len(found.epochs) == 6
    assert all(view.exact for view in found.walk())


def test_a_recording_is_never_behind_a_checkpoint(tmp_path: Path) -> None:
    path, saved = tmp_path / "run.backlit", tmp_path / "net.safetensors"

    def callbacks(*first: Any) -> list[Any]:
        return [*first, Recorder(path, seconds=3600.0), Checkpointer(saved, 1, "steps")]

    with pytest.raises(RuntimeError):  # like a kill, it lets nobody write the end
        train(callbacks=callbacks(Stop(20, RuntimeError)), epochs=6)
    assert load_checkpoint(saved).position.step == load_run(path).end == 19
    train(callbacks=callbacks(Stop(-1)), checkpoint=saved, resume=True)
    found = load_run(path)
    assert found.steps == 36
    assert all(view.exact for view in found.walk())


def test_a_run_without_a_step_is_a_run(tmp_path: Path) -> None:
    record(tmp_path / "run.backlit", epochs=0)
    run = load_run(tmp_path / "run.backlit")
    assert (run.steps, run.end, run.ended) == (0, 0, "all epochs were made")
    assert "0 steps" in repr(run)
    assert run.at(0).exact is None
    assert (run.first_nonfinite(), run.first_rise(), run.first(lambda view: True)) == (None, None, None)


def test_a_recording_may_begin_where_a_training_was_resumed(tmp_path: Path) -> None:
    saved = tmp_path / "net.safetensors"
    train(checkpoint=saved, callbacks=[Stop(20)])
    run = record(tmp_path / "run.backlit", checkpoint=saved, resume=True)
    found = load_run(tmp_path / "run.backlit")
    assert (found.first_step, found.end, found.steps) == (20, 36, 16)
    assert found.loss_at(30) == run.losses[30]
    assert found.at(30).exact
    with pytest.raises(bl.DomainError, match="step 19 was not recorded"):
        found.at(19)


def test_a_recording_of_another_training_is_not_continued(tmp_path: Path) -> None:
    path, saved = tmp_path / "run.backlit", tmp_path / "net.safetensors"
    record(path, seed=4)
    train(checkpoint=saved, callbacks=[Stop(20)])
    before = path.read_bytes()
    with pytest.raises(DataError, match="seed was 4 and is 3"):
        record(path, checkpoint=saved, resume=True)
    assert path.read_bytes() == before


def test_a_file_that_is_no_recording_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("chapter one")
    with pytest.raises(DataError, match="left as it is"):
        record(path)
    assert path.read_text() == "chapter one"


def test_large_data_are_not_recorded_but_recognised(tmp_path: Path) -> None:
    x = np.asarray(bl.random.normal(bl.random.key(0), (60_000, 5)).data)  # does not compress
    y = (x[:, 0] > 0).astype(np.int64)
    path = tmp_path / "run.backlit"
    record(path, data=(x, y), batch_size=6000, epochs=1)
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"pass them.*data=\(inputs, targets\)"):
        load_run(path)
    with pytest.raises(DataError, match="not those of the run"):
        load_run(path, data=(x + 1, y))
    with pytest.raises(DataError, match="not those of the run"):
        load_run(path, data=(x[:10], y[:10]))
    assert load_run(path, data=(x, y)).at(5).exact


def test_small_data_are_in_the_file_to_the_last_bit(tmp_path: Path) -> None:
    record(tmp_path / "run.backlit")
    x, y = read(tmp_path / "run.backlit").data()
    assert same({"x": x, "y": y}, dict(zip("xy", points(), strict=True)))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "run.backlit"
    recorder = Recorder(path, seconds=0.0)
    real = Path.open

    def full(self: Path, mode: str = "r", *more: Any) -> Any:
        if self == path and mode == "r+b":
            raise OSError(number, os.strerror(number))
        return real(self, mode, *more)

    class Fills:
        def on_step(self, run: Any) -> None:
            if run.position.step == 20:
                monkeypatch.setattr(Path, "open", full)

    with pytest.raises(DataError, match=r"recording .* could not be written"):
        train(callbacks=[Fills(), recorder])
    monkeypatch.undo()
    found = load_run(path)
    assert found.steps == 19
    assert found.at(18).exact
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_of_ones_own_is_passed_when_loading(tmp_path: Path) -> None:
    class Own(bl.nn.Module):
        def __init__(self) -> None:
            self.inner = net()

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    path = tmp_path / "run.backlit"
    train(Own(), record=path)
    with pytest.raises(DataError, match=r"load_run\(path, model="):
        load_run(path)
    mine = Own()
    before = mine.state_dict()
    run = load_run(path, model=mine)
    assert run.at(20).exact
    assert same(mine.state_dict(), before)
    with pytest.raises(DataError, match="does not fit"):
        load_run(path, model=net())


def test_a_loss_and_an_optimizer_of_ones_own_are_passed_when_loading(tmp_path: Path) -> None:
    def loss(prediction: Any, target: Any) -> Any:
        return bl.nn.cross_entropy(prediction, target) * 0.5

    def optimizer(parameters: Any) -> Any:
        return bl.optim.SGD(parameters, lr=lambda step: 0.1 / (step + 1.0))

    path = tmp_path / "run.backlit"
    record(path, loss=loss, optimizer=optimizer, lr=None)
    with pytest.raises(DataError, match="loss="):
        load_run(path)
    with pytest.raises(DataError, match="optimizer="):
        load_run(path, loss=loss)
    assert load_run(path, loss=loss, optimizer=optimizer).at(20).exact
    with pytest.warns(bl.BacklitWarning, match="was recorded"):
        assert not load_run(path, loss="cross_entropy", optimizer=optimizer).at(20).exact


def test_only_parts_of_backlit_are_imported_from_a_file(tmp_path: Path) -> None:
    from backlit.training.specs import made

    for place in ("os:system", "backlit.core.files:write_whole", "backlit.nn.module:import_module", "builtins:eval"):
        with pytest.raises(DataError):
            made({"class": place, "args": ["x"], "kwargs": {}}, bl.nn.Module)
        with pytest.raises(DataError):
            made({"class": "backlit.nn.mlp:MLP", "args": [2, [1], {"name": place}], "kwargs": {}}, bl.nn.Module)


@pytest.mark.parametrize(
    "make",
    [
        lambda: bl.nn.MLP(3, [4, 2], activation="relu", key=0),
        lambda: bl.nn.MLP(3, [4, 2], activation=bl.tanh, init=bl.nn.xavier_normal, key=bl.random.key(3)),
        lambda: bl.nn.Sequential(bl.nn.Linear(3, 4, bias=False, key=1), bl.nn.Tanh(), bl.nn.LayerNorm(4)),
        lambda: bl.nn.GRU(3, 4, key=1),
    ],
    ids=["mlp", "functions", "nested", "recurrent"],
)
def test_a_model_of_backlits_is_made_again_from_its_arguments(make: Any) -> None:
    import json

    from backlit.training.specs import made, spec_of

    model = make()
    spec = spec_of(model)
    again = made(json.loads(json.dumps(spec)), bl.nn.Module)
    assert type(again) is type(model)
    assert same(again.state_dict(), model.state_dict())
    assert spec_of(again) == spec
