"""Checkpoints: whole or not at all, and a training that goes on as if nothing had happened."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DataError, DomainError
from backlit.training import store
from backlit.training.checkpoint import Checkpointer, load_checkpoint
from backlit.training.state import state_arrays
from tests.training.small_runs import Stop, net, same, train


def final(run: Any) -> dict[str, Any]:
    return state_arrays(run.model, run.optimizer)


@pytest.mark.parametrize("step", [1, 6, 8, 17, 35])
def test_an_interrupted_and_resumed_training_ends_bit_for_bit_like_one_that_was_not(tmp_path: Path, step: int) -> None:
    whole = train()
    path = tmp_path / "net.safetensors"
    part = train(checkpoint=path, callbacks=[Stop(step)])
    assert part.position.step == step
    assert load_checkpoint(path).position.step == step
    rest = train(checkpoint=path, resume=True)
    assert same(final(rest), final(whole))
    assert rest.losses.tobytes() == whole.losses.tobytes()
    assert rest.position == whole.position
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in rest.history.epochs]
    assert kept == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history.epochs]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "lr": 0.1},
        {"optimizer": lambda parameters: bl.optim.SGD(parameters, lr=0.1, momentum=0.9), "lr": None},
        {"validation": 0.2, "early_stopping": 3},
        {"clip": 0.5, "batch_size": None, "epochs": 30},
    ],
    ids=["sgd", "momentum", "early stopping", "clipped"],
)
def test_other_settings_resume_bit_for_bit_too(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = train(**settings)
    path = tmp_path / "net.safetensors"
    train(checkpoint=path, callbacks=[Stop(9)], **settings)
    rest = train(checkpoint=path, resume=True, callbacks=[Stop(-1)], **settings)
    assert same(final(rest), final(whole))
    assert rest.losses.tobytes() == whole.losses.tobytes()


def test_a_training_can_be_resumed_for_more_epochs(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    train(checkpoint=path, epochs=2)
    assert same(final(train(checkpoint=path, epochs=4, resume=True)), final(train(epochs=4)))


def test_resuming_with_other_settings_is_an_error_that_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    train(checkpoint=path, epochs=1)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"batch_size was 16 and is 8.*seed was 3 and is 4"):
        train(checkpoint=path, epochs=1, resume=True, batch_size=8, seed=4)
    assert path.read_bytes() == before


def test_resuming_with_another_model_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    train(checkpoint=path, epochs=1)
    with pytest.raises(DataError, match=r"net\.safetensors"):
        train(net(drops=False), checkpoint=path, epochs=1, resume=True)


def test_resume_without_a_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    assert same(final(train(checkpoint=path, epochs=1, resume=True)), final(train(epochs=1)))
    assert path.exists()


@pytest.mark.parametrize(("every", "unit", "saves"), [(4, "steps", 3 + 1), (2, "epochs", 1 + 1), (1e-9, "seconds", 13)])
def test_a_checkpoint_is_saved_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float, unit: str, saves: int
) -> None:
    found = []
    real = Checkpointer.save
    monkeypatch.setattr(Checkpointer, "save", lambda self, run: (found.append(run.position), real(self, run))[1])
    train(epochs=2, callbacks=[Checkpointer(tmp_path / "net.safetensors", every, unit)])  # 12 steps
    assert len(found) == saves


def test_the_arrays_can_be_read_without_backlit(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "net.safetensors"
    run = train(checkpoint=path, epochs=1)
    assert (
        load_file(path)["model.layers.0.weight"].tobytes()
        == np.asarray(run.model.state_dict()["layers.0.weight"]).tobytes()
    )


def test_what_was_learned_goes_into_another_model(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    run = train(checkpoint=path, epochs=1)
    other = net()
    other.load_state_dict(load_checkpoint(path).model)
    assert same(other.state_dict(), run.model.state_dict())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "net.safetensors"
    run = train(checkpoint=path, epochs=1)
    before = path.read_bytes()

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match=r"could not be written.*file that was there is as it was"):
        Checkpointer(path).save(run)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make the folder"):
        train(checkpoint=tmp_path / "nowhere" / "net.safetensors")


@pytest.mark.parametrize("content", [b"", b"my thesis", b"\x10\0\0\0\0\0\0\0" + b"{" * 16])
def test_a_file_that_is_no_checkpoint_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thesis.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="left as it is"):
        train(checkpoint=path, epochs=1)
    assert path.read_bytes() == content


def test_a_run_that_met_a_nan_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    train(checkpoint=path, epochs=1)
    before = load_checkpoint(path).model
    with pytest.warns(bl.NonFiniteWarning):
        run = train(net(drops=False), checkpoint=path, optimizer="sgd", lr=1e200, epochs=3)
    assert run.nonfinite is not None
    assert same(load_checkpoint(path).model, before)


@pytest.mark.parametrize(("every", "unit"), [(0, "steps"), (-1, "seconds"), (1.5, "epochs"), (1, "hours")])
def test_impossible_intervals_are_refused(every: float, unit: str) -> None:
    with pytest.raises(DomainError, match="Checkpointer"):
        Checkpointer("net.safetensors", every, unit)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64", "complex64"])
def test_every_dtype_comes_back_as_it_was(dtype: str) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "none": np.zeros((0, 4), dtype), "one": np.array(1, dtype)}
    found = store.unpacked(store.packed("checkpoint", arrays, {}), "it", "checkpoint").arrays
    assert same(found, arrays)
    assert all(found[name].shape == arrays[name].shape for name in arrays)


def test_other_memory_orders_are_stored_as_the_same_numbers() -> None:
    base = np.arange(12.0).reshape(3, 4)
    for array in (base.T, base[::-1, ::2], np.asfortranarray(base), base.astype(">f8")):
        found = store.unpacked(store.packed("checkpoint", {"a": array}, {}), "it", "checkpoint").arrays["a"]
        assert np.array_equal(found, array)
        assert store.axis_order(found) == store.axis_order(array)
        assert found.dtype == np.float64


def test_what_json_or_the_format_cannot_say_is_refused() -> None:
    with pytest.raises(DataError, match="JSON"):
        store.packed("checkpoint", {}, {"loss": float("nan")})
    with pytest.raises(DataError, match="complex128"):
        store.packed("checkpoint", {"a": np.zeros(1, complex)}, {})
