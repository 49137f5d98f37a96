"""The bar of `fit`: what it says in a terminal, and that it is silent elsewhere."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import backlit as bl
from backlit.cli.progress import Bar, fields
from backlit.training import progress
from backlit.training.fit import fit
from backlit.training.run import Run


def trained(display: Any, **settings: Any) -> Run:
    x = np.asarray(bl.random.normal(bl.random.key(4), (40, 3)).data)
    chosen = {"epochs": 3, "batch_size": 10, "validation": 0.25, "metrics": "accuracy", **settings}
    return fit(bl.nn.MLP(3, [4, 2], key=0), (x, (x[:, 0] > 0).astype(np.int64)), progress=display, **chosen)


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=140, color_system=None, legacy_windows=False), text


def test_in_a_terminal_it_shows_epoch_steps_loss_and_validation_and_stays() -> None:
    place, text = console(True)
    run = trained(Bar(place))
    last = [line for line in text.getvalue().replace("\r", "\n").split("\n") if "epoch" in line][-1]
    assert "epoch 3/3" in last
    assert "9/9" in last
    assert f"loss {run.last_loss:.4g}" in last
    assert f"val loss {run.final['validation loss']:.4g}" in last
    assert f"val accuracy {run.final['validation accuracy']:.4g}" in last


def test_in_a_file_it_is_silent() -> None:
    place, text = console(False)
    trained(Bar(place))
    assert text.getvalue() == ""


def test_it_says_how_it_ended() -> None:
    class Stops:
        def on_epoch(self, run: Run) -> None:
            raise KeyboardInterrupt

    place, text = console(True)
    run = trained(Bar(place), callbacks=[Stops()])
    assert run.interrupted
    assert "interrupted by Ctrl-C" in text.getvalue()


def test_rate_and_time_left_are_of_the_steps_made() -> None:
    run = trained(False)
    assert fields(run, 90, False, 9.0, 140)["left"] == "9 s left"
    assert fields(run, 90, False, 9.0, 140)["rate"] == "9 steps/s"
    assert fields(run, 90, False, 0.25, 140)["rate"] == "4.0 s/step"
    assert fields(run, 90, False, 0.0, 140)["left"] == fields(run, 90, False, 0.0, 140)["rate"] == ""
    run.stopped = "why [not]: because"
    assert fields(run, 90, True, 1.0, 140)["left"] == r"[yellow]why \[not][/]"


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_line_leaves_out_what_matters_less(width: int) -> None:
    texts = fields(trained(False), 90, False, 9.0, width)
    assert sum(map(len, texts.values())) + 10 + len(texts) <= width
    assert texts["epoch"] == "epoch 3/3"
    assert texts["loss"].startswith("loss ")
    assert texts["rate"] == {60: "", 80: "9/s", 100: "9 steps/s", 120: "9 steps/s"}[width]
    assert ("val loss" in texts["loss"]) == (width >= 80)


def test_fit_finds_it_where_someone_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    place, text = console(True)
    monkeypatch.setattr(progress, "someone_watches", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr("backlit.cli.progress.Console", lambda stderr: place)
    trained(True)
    assert "epoch 3/3" in text.getvalue()
