"""Killed at any moment, a training leaves a file that can be read, and that is exact."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backlit.training.checkpoint import Checkpointer, load_checkpoint
from backlit.training.recording import Recorder
from backlit.training.replay import load_run
from backlit.training.state import state_arrays
from tests.training.small_runs import same, train

ROOT = Path(__file__).parents[2]
EPOCHS = 100_000
CHECKPOINTING = """
import sys
from backlit.training.checkpoint import Checkpointer
from tests.training.small_runs import train
path = sys.argv[1]
class Marks:
    def on_start(self, run): print("started", flush=True)
train(checkpoint=path, resume=True, epochs=100_000, callbacks=[Marks(), Checkpointer(path, 1, "steps")])
"""
RECORDING = """
import sys
from backlit.training.recording import Recorder
from tests.training.small_runs import train
class Marks:
    def on_start(self, run): print("started", flush=True)
train(epochs=100_000, compile={compiled}, callbacks=[Recorder(sys.argv[1], seconds=0.01), Marks()])
"""


def kill_while(script: str, path: Path, seconds: float) -> None:
    """Run a script and kill it, without warning, so long after it has begun to train."""
    with subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)  # the moment is what is tested
        process.send_signal(signal.SIGKILL)
        process.wait()


class Keeps:
    """The state after each step of a training that nobody kills."""

    def __init__(self, steps: set[int]) -> None:
        self.steps, self.states, self.last = steps, {}, max(steps)

    def on_step(self, run: Any) -> None:
        if run.position.step in self.steps:
            self.states[run.position.step] = dict(state_arrays(run.model, run.optimizer))
        if run.position.step >= self.last:
            raise KeyboardInterrupt


def killed_checkpoints(tmp_path: Path, kills: int, seed: int) -> None:
    """Kill a training that saves after every step, again and again, each time going on where it was."""
    path = tmp_path / "net.safetensors"
    moments = random.Random(seed)
    found: dict[int, Any] = {}
    for _ in range(kills):
        kill_while(CHECKPOINTING, path, moments.uniform(0.0, 0.15))
        if path.exists():
            checkpoint = load_checkpoint(path)
            found[checkpoint.position.step] = checkpoint
    assert found
    steps = sorted(found)
    keeps = Keeps(set(steps))
    run = train(epochs=EPOCHS, callbacks=[keeps])
    for step in steps:
        own = {k: a for k, a in found[step].arrays.items() if k.startswith(("model.", "optimizer."))}
        assert same(own, keeps.states[step]), f"the checkpoint of step {step} is not what an unkilled training had"
        assert found[step].arrays["history.losses"].tobytes() == run.losses[:step].tobytes()


def test_a_checkpointing_training_killed_five_times_goes_on_exactly(tmp_path: Path) -> None:
    killed_checkpoints(tmp_path, 5, seed=1)


@pytest.mark.slow
def test_a_checkpointing_training_killed_fifty_times_goes_on_exactly(tmp_path: Path) -> None:
    killed_checkpoints(tmp_path, 50, seed=2)


def killed_recordings(tmp_path: Path, kills: int, seed: int, compiled: bool) -> None:
    """Kill a training that is recorded; what is there replays bit for bit."""
    moments = random.Random(seed)
    for kill in range(kills):
        path = tmp_path / f"run{kill}.backlit"
        kill_while(RECORDING.format(compiled=compiled), path, moments.uniform(0.1, 0.6))
        run = load_run(path, partial=True)
        assert run.ended is None
        assert bool(run.compiled_for) == compiled
        whole = train(epochs=-(-run.end // 6) + 1, compile=compiled)
        assert np.array_equal(whole.losses[: run.end], run.losses)
        for step in {run.first_step, moments.randint(0, run.end), run.end}:
            view = run.at(step)  # a loss that is not the recorded one would warn
            assert view.exact in (True, None)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_recording_that_was_killed_can_be_replayed(tmp_path: Path, compiled: bool) -> None:
    killed_recordings(tmp_path, 1, seed=1, compiled=compiled)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_recordings_killed_twenty_times_can_be_replayed(tmp_path: Path, compiled: bool) -> None:
    killed_recordings(tmp_path, 20, seed=2, compiled=compiled)


@pytest.mark.parametrize("kind", [Checkpointer, Recorder])
def test_a_write_cut_off_at_any_byte_leaves_a_good_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """What a kill in the middle of a write does, without chance: the write stops, and nothing after it runs."""
    import backlit.training.store as store

    class Killed(BaseException):
        pass

    path = tmp_path / "file"
    train(epochs=1, callbacks=[kind(path)])
    before = path.read_bytes()

    def dies(place: Path, content: bytes) -> None:
        (place.parent / f".{place.name}.abcd1234.part").write_bytes(content[: len(content) // 3])
        raise Killed

    monkeypatch.setattr(store, "write_whole", dies)
    with pytest.raises(Killed):
        train(epochs=1, callbacks=[kind(path)])
    assert path.read_bytes() == before
    monkeypatch.undo()
    train(epochs=1, callbacks=[kind(path)])
    assert list(tmp_path.iterdir()) == [path]  # the next training clears away what was left
