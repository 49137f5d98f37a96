"""A training that is compiled and recorded: many steps in one call, and any of them again, to the last bit."""

from __future__ import annotations

import hashlib
import json
import math
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DataError, NonFiniteWarning
from backlit.training.compare import compare
from backlit.training.fit import fit
from backlit.training.frames import MAGIC, framed, records
from backlit.training.recorded import KINDS
from backlit.training.replay import load_run
from backlit.training.state import state_arrays
from backlit.training.store import packed
from tests.training.small_runs import net, points, record, same, train

ROOT = Path(__file__).parents[2]


class Keeps:
    """The numbers before some steps, without asking to see each; the last of them may be a Ctrl-C."""

    def __init__(self, *steps: int, stops: bool = False) -> None:
        self.steps, self.stops, self.states = set(steps), stops, dict[int, Any]()

    def on_start(self, run: Any) -> None:
        self.on_step(run, stops=False)

    def on_step(self, run: Any, stops: bool = True) -> None:
        step = run.position.step
        if step in self.steps:
            self.states[step] = dict(state_arrays(run.model, run.optimizer))
        if stops and self.stops and step == max(self.steps):
            raise KeyboardInterrupt

    def rests(self, run: Any) -> int:
        return min((step - run.position.step for step in self.steps if step > run.position.step), default=10**9)


class Looks:
    """Wants to see each step."""

    def on_step(self, run: Any) -> None:
        assert run.losses[-1] == run.last_loss


def small() -> Any:
    return bl.nn.MLP(5, [32, 2], activation="tanh", key=1)


SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "clipped": {"clip": 0.3},
    "momentum": {"optimizer": lambda p: bl.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "lr": None},
    "a schedule": {"optimizer": lambda p: bl.optim.SGD(p, lr=lambda step: 0.1 / (step + 1.0)), "lr": None},
    "all at once": {"batch_size": None, "epochs": 40},
    "even batches": {"batch_size": 15},
    "nudged": {"method": "nudge", "epochs": 2, "model": lambda: bl.nn.MLP(5, [2, 2], key=1, dtype="float64")},
    "float32": {"model": small, "data": (points()[0].astype(np.float32), points()[1])},
    "mean squares": {"loss": "mse", "data": (np.linspace(-1, 1, 300).reshape(60, 5), np.ones((60, 2)))},
}


def compiled(path: Path, kind: str = "adam", **more: Any) -> tuple[Any, Any]:
    """A run that is compiled and recorded, and the recording."""
    settings = {**SETTINGS[kind], **more}
    model = settings.pop("model", net)()
    run = record(path, model=model, compile=True, **settings)
    optimizer = settings.get("optimizer")
    return run, load_run(path, optimizer=optimizer if callable(optimizer) else None)


@pytest.mark.parametrize(
    ("kind", "stepwise"),
    [*((kind, False) for kind in SETTINGS), ("adam", True), ("clipped", True), ("nudged", True), ("float32", True)],
)
def test_any_step_is_rebuilt_to_the_last_bit(tmp_path: Path, kind: str, stepwise: bool) -> None:
    count = train(SETTINGS[kind].get("model", net)(), epochs=0, **_without_epochs(kind)).settings["batches"]
    end = count * SETTINGS[kind].get("epochs", 6)
    steps = [*random.Random(1).sample(range(end), min(4, end)), end]
    keeps = Keeps(*steps, *(step + 1 for step in steps))
    run, found = compiled(tmp_path / "run.backlit", kind, callbacks=[keeps, *([Looks()] if stepwise else [])])
    assert found.compiled_for
    assert found.losses.tobytes() == run.losses.tobytes()
    for step in steps:
        view = found.at(step)
        assert view.exact in (True, None)
        assert view.compiled
        assert same(found.state(step), keeps.states[step])
        np.testing.assert_allclose(float(view.loss.data), view.replayed, rtol=1e-5, atol=1e-7)
        for name, parameter in view.model.named_parameters():
            assert np.asarray(parameter.data).tobytes() == keeps.states[step][f"model.{name}"].tobytes()
            if step < end:
                assert view.update(name).new.tobytes() == keeps.states[step + 1][f"model.{name}"].tobytes()
                np.testing.assert_allclose(view.evaluated(name), view.update(name).new, rtol=1e-3, atol=1e-5)
    assert [view.replayed for view in found.walk(1, 9)] == run.losses[1:9].tolist()


def _without_epochs(kind: str) -> dict[str, Any]:
    return {key: setting for key, setting in SETTINGS[kind].items() if key not in ("epochs", "model")}


@pytest.mark.parametrize("kind", ["adam", "all at once", "float32"])
def test_recording_changes_nothing_in_the_training(tmp_path: Path, kind: str) -> None:
    run, _ = compiled(tmp_path / "run.backlit", kind)
    plain = train(
        SETTINGS[kind].get("model", net)(), compile=True, **{k: v for k, v in SETTINGS[kind].items() if k != "model"}
    )
    assert plain.losses.tobytes() == run.losses.tobytes()
    assert same(state_arrays(plain.model, plain.optimizer), state_arrays(run.model, run.optimizer))


@pytest.mark.parametrize("kind", ["adam", "float32", "even batches"])
def test_steps_in_one_call_are_the_same_bits_however_they_are_shared_out(tmp_path: Path, kind: str) -> None:
    _, found = compiled(tmp_path / "run.backlit", kind)
    machine = found._the_machine()
    start, end = found.state(0), found.state(found.end)
    losses, whole = machine.make(start, 0, found.end)
    assert losses.tobytes() == found.losses.tobytes()
    assert same(dict(whole), end)
    for seed in range(4):
        cuts = sorted({0, found.end, *random.Random(seed).sample(range(found.end), 5)})
        now = start
        for low, high in pairwise(cuts):
            part, now = machine.make(dict(now), low, high)
            assert part.tobytes() == found.losses[low:high].tobytes()
        assert same(dict(now), end)


BITS = """
import hashlib, json, sys, warnings
from backlit.training.replay import load_run
warnings.simplefilter("error")
run = load_run(sys.argv[1])
for step in json.loads(sys.argv[2]):
    view = run.at(step)
    assert view.exact
    held = run.state(step)
    print(json.dumps([step, hashlib.sha256(b"".join(held[name].tobytes() for name in sorted(held))).hexdigest()]))
"""


def test_twenty_steps_of_a_digits_run_are_the_same_bits_in_another_process(tmp_path: Path) -> None:
    data = bl.data.handwritten_digits()
    steps = sorted(random.Random(4).sample(range(8 * 57), 20))
    keeps, path = Keeps(*steps), tmp_path / "digits.backlit"
    model = bl.nn.MLP(64, [64, 10], activation="tanh", key=0)
    run = fit(model, data, epochs=8, batch_size=32, lr=1e-3, seed=9, record=path, progress=False, callbacks=[keeps])
    assert run.settings["compile"] is True  # by itself: there are more than a few steps
    command = [sys.executable, "-c", BITS, str(path), json.dumps(steps)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    wanted = [
        [step, hashlib.sha256(b"".join(held[name].tobytes() for name in sorted(held))).hexdigest()]
        for step, held in sorted(keeps.states.items())
    ]
    assert [json.loads(line) for line in done.stdout.splitlines()] == wanted


def test_a_recorded_training_comes_up_for_air_only_where_a_snapshot_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backlit.training import compiled as machinery

    calls: list[int] = []
    many = machinery.MachineSteps.many
    monkeypatch.setattr(machinery.MachineSteps, "many", lambda self, rows: calls.append(len(rows)) or many(self, rows))
    x, y = points(4)
    path = tmp_path / "run.backlit"
    run = train(data=(x, y), model=net(drops=False), batch_size=None, epochs=5000, compile=True, record=path)
    assert run.position == (5000, 0, 5000)
    assert len(calls) < 400
    found = load_run(path)
    assert found.epochs == [{name: float(number) for name, number in row.items()} for row in run.history.epochs]
    assert found.losses.tobytes() == run.losses.tobytes()
    assert 2 <= len(found.snapshots) <= 52
    assert path.stat().st_size < 1_000_000
    assert found.at(4999).exact


def test_a_learning_rate_set_by_a_callback_is_replayed(tmp_path: Path) -> None:
    class Halves:
        def on_epoch(self, run: Any) -> None:
            run.optimizer.lr = run.optimizer.lr / 2

    run, found = compiled(tmp_path / "run.backlit", callbacks=[Halves()], epochs=8)
    assert found.at(31).optimizer.lr == 0.01 / 2**5
    assert same(found.model.state_dict(), run.model.state_dict())
    assert all(view.exact for view in found.walk())
    assert found.at(47).exact


@pytest.mark.parametrize("kind", ["adam", "clipped", "momentum", "float32"])
def test_a_ledger_sums_to_the_recorded_change_with_its_rounding_stated(tmp_path: Path, kind: str) -> None:
    _, found = compiled(tmp_path / "run.backlit", kind, epochs=6 if kind == "float32" else 2)
    first, last = found.state(0), found.state(found.end)
    name, index = ("layers.0.bias", (1,)) if kind == "float32" else ("layers.0.weight", (1, 1))
    ledger = found.why_changed(name, index)
    assert (ledger.old, ledger.new) == (first[f"model.{name}"][index], last[f"model.{name}"][index])
    size = math.fsum(abs(entry.change) + np.abs(entry.shares).sum() for entry in ledger) + abs(ledger.old)
    assert abs(ledger.total - (ledger.new - ledger.old)) <= 1e-15 * size
    for entry in ledger:
        parts = math.fsum([*entry.shares.tolist(), entry.memory, entry.rounding])
        assert abs(parts - entry.change) <= 1e-15 * size
        assert abs(entry.rounding) <= (1e-5 if kind == "float32" else 1e-12) * size
    if kind == "float32":
        assert ledger.rounding
        assert "rounding of compiled steps" in str(ledger)
    steps = found.why_changed(name, index, examples=False)
    assert steps.changes.tolist() == ledger.changes.tolist()
    part = found.why_changed(name, index, 3, 8)
    assert part.changes.tolist() == ledger.changes[3:8].tolist()


def test_the_first_step_where_something_holds_is_found(tmp_path: Path) -> None:
    run, found = compiled(tmp_path / "run.backlit")
    low = float(np.median(run.losses))
    assert found.first(lambda view: view.replayed < low) == int(np.argmax(run.losses < low))
    assert found.first(lambda view: float(view.optimizer.steps.data) >= 17, monotone=True) == 17


def test_a_view_can_be_asked_why(tmp_path: Path) -> None:
    _, found = compiled(tmp_path / "run.backlit")
    view = found.at(9)
    weight = view.parameter("layers.0.weight")
    told = view.why("layers.0.weight", (0, 1))
    assert told.headline.endswith(f"= {np.asarray(weight.grad)[0, 1]:.6g}")
    assert bl.draw(view.loss).svg.startswith("<svg")


# -- ends -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_a_recording_that_is_whole(tmp_path: Path) -> None:
    keeps = Keeps(20, stops=True)
    run, found = compiled(tmp_path / "run.backlit", callbacks=[keeps])
    assert (run.interrupted, found.steps, found.ended) == (True, 20, "interrupted")
    assert same(found.state(20), keeps.states[20])
    assert found.at(20).exact is None


def test_a_loss_that_is_not_finite_ends_it_with_its_birth_and_leads_to_the_step(tmp_path: Path) -> None:
    path = tmp_path / "run.backlit"
    with pytest.warns(NonFiniteWarning, match=r"backlit rewind .*run\.backlit --step") as told:
        run = train(net(drops=False), record=path, optimizer="sgd", lr=1e160, epochs=3, compile=True)
    assert len(told) == 1
    assert run.nonfinite is not None
    found = load_run(path)
    assert 0 < found.end < 18
    assert found.first_nonfinite() is None
    assert not np.isfinite(found.at(found.end).replayed)
    assert found.at(found.end - 1).exact


@pytest.mark.parametrize("place", [7, 12, 30])
def test_a_resumed_training_continues_its_recording(tmp_path: Path, place: int) -> None:
    path, saved = tmp_path / "run.backlit", tmp_path / "net.safetensors"
    whole = train(compile=True)
    record(path, checkpoint=saved, callbacks=[Keeps(place, stops=True)], compile=True)
    record(path, checkpoint=saved, resume=True)  # by itself: as it was
    found = load_run(path)
    assert found.losses.tobytes() == whole.losses.tobytes()
    assert found.ended == "all epochs were made"
    assert [row["epoch"] for row in found.epochs] == [0, 1, 2, 3, 4, 5]
    assert all(view.exact for view in found.walk())


def test_a_recording_is_not_continued_by_other_machine_code(tmp_path: Path) -> None:
    path, saved = tmp_path / "run.backlit", tmp_path / "net.safetensors"
    record(path, checkpoint=saved, callbacks=[Keeps(20, stops=True)], compile=True)
    before = path.read_bytes()
    with pytest.raises(DataError, match="whether a callback sees each step was False and is True"):
        record(path, checkpoint=saved, resume=True, callbacks=[Looks()])
    assert path.read_bytes() == before


# -- elsewhere ------------------------------------------------------------------------------------------------------


def test_where_the_bits_are_others_a_warning_names_both_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backlit.training import compiled as machinery

    monkeypatch.setattr(machinery, "made_for", lambda: "z80 with vectors of 1 byte")
    compiled(tmp_path / "run.backlit")
    monkeypatch.undo()
    found = load_run(tmp_path / "run.backlit")
    assert found.at(20).exact  # it is the same CPU, whatever it was called: nothing to say
    assert found.compiled_for == "z80 with vectors of 1 byte"
    found.losses.flags.writeable = True
    found.losses[3] = np.nextafter(found.losses[3], 2)  # as if it had rounded otherwise
    with pytest.warns(
        bl.BacklitWarning, match=r"at step 3 .* compiled for z80 .*, and are compiled for .* here"
    ) as told:
        assert not found.at(3).exact
    assert len(told) == 1


def test_without_llvm_it_is_replayed_without_the_compiler_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backlit.training import replay

    run, found = compiled(tmp_path / "run.backlit")
    monkeypatch.setattr(replay, "find_spec", lambda name: None)
    with pytest.warns(bl.BacklitWarning, match="no llvmlite here") as told:
        view = found.at(20)
    assert len(told) == 1
    assert not view.compiled
    np.testing.assert_allclose(view.replayed, run.losses[20], rtol=1e-10)
    assert found.at(21).step == 21


def test_a_compiled_run_and_one_that_is_not_differ_in_rounding_alone(tmp_path: Path) -> None:
    _, one = compiled(tmp_path / "one", "float32", epochs=2)
    record(tmp_path / "two", model=small(), epochs=2, compile=False, data=SETTINGS["float32"]["data"])
    two = load_run(tmp_path / "two")
    found = compare(one, two)
    assert found.what == "rounding"
    assert "compile was True and is False" in str(found)
    assert compare(one, compiled(tmp_path / "three", "float32", epochs=2)[1]).same


def test_two_compiled_runs_that_part_by_their_learning_rate_part_at_an_update(tmp_path: Path) -> None:
    class Nudges(Keeps):
        def on_step(self, run: Any, stops: bool = True) -> None:
            if run.position.step == 17:
                run.optimizer.lr = run.optimizer.lr * 1.5

    (_, one), (_, two) = (compiled(tmp_path / name, callbacks=[kind(17)])
                          for name, kind in (("one", Keeps), ("two", Nudges)))  # fmt: skip
    found = compare(one, two)
    assert (found.what, found.step) == ("update", 17)


def test_a_recording_of_an_older_backlit_is_read(tmp_path: Path) -> None:
    """It has a record for each row of epochs, a learning rate for each step, and does not say what was compiled."""
    run = record(tmp_path / "run.backlit", validation=0.2)
    content = (tmp_path / "run.backlit").read_bytes()
    older = [MAGIC]
    for one in records(content, "new", KINDS, partial=False):
        kind, about, arrays = one.stored.kind, dict(one.stored.about), dict(one.stored.arrays)
        if kind == "epochs":
            for i, epoch in enumerate(arrays["epoch"]):
                row = {name: np.array(column[i]) for name, column in arrays.items()}
                older.append(framed(packed("epoch", row, {"step": 5 * int(epoch + 1)})))
            continue
        if kind == "losses":
            arrays["rates"] = np.broadcast_to(arrays["rates"], arrays["losses"].shape)
        about.pop("compiled", None)
        older.append(framed(packed(kind, arrays, about)))
    (tmp_path / "old.backlit").write_bytes(b"".join(older))
    found = load_run(tmp_path / "old.backlit")
    assert found.compiled_for is None
    assert found.epochs == [{name: float(number) for name, number in row.items()} for row in run.history.epochs]
    assert all(view.exact for view in found.walk())
