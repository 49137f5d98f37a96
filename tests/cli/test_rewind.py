"""`backlit rewind` from outside: what it shows of a recorded run, what it refuses, and that it only reads."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

import backlit as bl
from backlit.cli import main
from backlit.data.dataset import Dataset
from backlit.training import recording, replay
from backlit.training.fit import fit


def call(*args):
    return CliRunner().invoke(main.app, [str(arg) for arg in args])


def flat(result):
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "moons.backlit"
    assert call("train", "moons", "--points", 120, "--epochs", 10, "--batch", 24, "--record", path).exit_code == 0
    return path


@pytest.fixture(scope="module")
def recorded(moons):
    return replay.load_run(moons)


def test_an_overview_tells_what_was_recorded_and_what_to_ask(moons, recorded):
    result = call("rewind", moons)
    assert result.exit_code == 0
    text = flat(result)
    assert "40 steps, 0 to 40; all epochs were made" in text
    assert "moons: 96 rows, 24 held out" in text
    assert "10 epochs, 24 rows a step, cross_entropy, Adam at 0.02, seed 0" in text
    assert f"{recorded.losses[0]:.6g} at first" in text
    assert "layers.0.weight 2×16" in text
    commands = re.findall(r"^  backlit (rewind .*)$", result.output, re.MULTILINE)
    assert len(commands) == 4
    assert all(call(*shlex.split(command)).exit_code == 0 for command in commands)


def test_a_step_is_computed_again_to_the_last_bit(moons, recorded):
    result = call("rewind", moons, "--step", 17)
    view = recorded.at(17)
    text = flat(result)
    assert f"Step 17 of moons.backlit epoch {view.epoch + 1}, batch {view.batch + 1} of 4" in text
    assert f"Loss {float(view.loss.data):.9g}: the recorded one, to the last bit." in text
    row = re.search(r"layers\.1\.weight +16×16 +(\S+) +(\S+) +(\S+)", result.output)
    update, grad = view.update("layers.1.weight"), np.asarray(view.parameter("layers.1.weight").grad)
    for cell, array in zip(row.groups(), (update.old, grad, update.change), strict=True):
        assert cell == f"{np.sqrt(np.mean(np.square(array, dtype=np.float64))):.3g}"
    assert f"{recorded.loss_at(16):.4g}" in text
    assert max(map(len, result.output.split("\n"))) <= 80


def test_the_rows_of_a_step_are_called_as_in_the_data(moons, recorded):
    result = call("rewind", moons, "--step", 5, "--top", 3)
    data = bl.data.moons(120, 0.15, 0)
    told = re.findall(r"^  (\d+) +([01]) +([01]) +([\d.e-]+) %$", result.output, re.MULTILINE)
    assert len(told) == 3
    assert all(data.targets[int(row)] == int(label) for row, label, _, _ in told)
    chances = [float(chance) for *_, chance in told]
    assert chances == sorted(chances)


def test_a_gradient_and_its_move_are_explained(moons, recorded):
    result = call("rewind", moons, "--step", 17, "--why", "layers[0].weight[1,-2]")
    assert result.exit_code == 0, result.output
    view = recorded.at(17)
    assert f"∂loss/∂layers.0.weight[1, 14] = {np.asarray(view.parameter('layers.0.weight').grad)[1, 14]:.6g}" in flat(
        result
    )
    old, new, change = (part[1, 14] for part in view.update("layers.0.weight"))
    assert f"THE MOVE layers.0.weight[1, 14] went from {old:.6g} to {new:.6g}: {change:+.6g}" in flat(result)
    assert "mean of gradients: momentum" in flat(result)
    named = re.search(r"Rows of the batch, and which of moons they are: (.*?)\.", flat(result))[1]
    order = recorded.settings["about"]["order"]
    for inside, row in re.findall(r"(\d+) is (\d+)", named):
        assert order[int(view.rows[int(inside)])] == int(row)
    assert "<step" not in result.output  # no line of ours is said to have made it
    assert ".py" not in result.output


def test_letters_are_shown_where_the_data_are_letters(tmp_path):
    path = tmp_path / "names.backlit"
    options = ("--count", 60, "--epochs", 1, "--hidden", 8, "--samples", 0)
    assert call("train", "names", *options, "--record", path).exit_code == 0
    result = call("rewind", path, "--step", 2, "--top", 3)
    assert len(re.findall(r"^  [.a-z]{3} +[.a-z] +[.a-z] +\S+ %$", result.output, re.MULTILINE)) == 3
    assert "to the last bit" in result.output
    why = call("rewind", path, "--step", 2, "--why", "layers.2.weight[0,0]")
    assert why.exit_code == 0, why.output
    assert "#" not in re.sub(r"^  #  through.*$", "", why.output, flags=re.MULTILINE)


def test_the_whole_gradient_of_a_parameter_can_be_asked_about(moons):
    result = call("rewind", moons, "--step", 3, "--why", "layers.1.bias")
    assert result.exit_code == 0, result.output
    assert "layers.1.bias" in result.output
    assert "The step moved layers.1.bias by" in flat(result)


def test_health_is_told_without_lines_of_ours(moons):
    result = call("rewind", moons, "--step", "last", "--health")
    assert result.exit_code == 0
    assert re.search(r"layers\.2\.weight +variable", result.output)
    assert ".py" not in result.output
    assert "<step" not in result.output


def test_a_step_is_drawn_into_a_file_that_is_not_replaced(moons, tmp_path):
    out = tmp_path / "step.svg"
    assert call("rewind", moons, "--step", 3, "--draw", out).exit_code == 0
    assert "<svg" in out.read_text()
    before = out.read_bytes()
    again = call("rewind", moons, "--step", 4, "--draw", out)
    assert again.exit_code == 2
    assert out.read_bytes() == before
    assert call("rewind", moons, "--step", 4, "--draw", out, "--force").exit_code == 0
    assert out.read_bytes() != before


def test_a_ledger_sums_to_the_change(moons, recorded):
    result = call("rewind", moons, "--ledger", "layers.0.weight[0,3]", "--from", 4, "--step", 20, "--top", 16)
    assert result.exit_code == 0, result.output
    old, new = (float(recorded.state(step)["model.layers.0.weight"][0, 3]) for step in (4, 20))
    assert f"layers.0.weight[0,3] went from {old:.6g} to {new:.6g}" in result.output
    assert f"{new - old:+.6g} in the 16 steps from step 4 on" in result.output
    moved = [float(x) for x in re.findall(r"^ +\d+ +([+-]\S+) +\d\.\d+ ", result.output, re.MULTILINE)]
    assert len(moved) == 16
    assert sum(moved) == pytest.approx(new - old, abs=16 * 5e-5)
    rows, memory, total = (
        float(re.search(rf"^  {head} +([+-]\S+)$", result.output, re.MULTILINE)[1])
        for head in ("all rows", "memory and decay", "sum")
    )
    assert rows + memory == pytest.approx(total, abs=1e-5)
    assert total == pytest.approx(new - old, abs=1e-6)


def test_a_ledger_of_no_steps_says_so(moons):
    result = call("rewind", moons, "--ledger", "layers.0.bias[0]", "--from", 4, "--step", 4)
    assert result.exit_code == 0
    assert "nothing moved it" in result.output


@pytest.mark.parametrize(("asked", "step"), [("last", 39), ("-1", 39), ("-40", 0), ("40", 40), ("1_0", 10)])
def test_a_step_may_be_counted_from_the_end(moons, asked, step):
    result = call("rewind", moons, "--step", asked)
    assert f"Step {step} of" in result.output
    assert ("would have come next" in flat(result)) == (step == 40)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--step", "41"], "--step 41 was not recorded: moons.backlit has the steps 0 to 40"),
        (["--step", "-41"], "was not recorded"),
        (["--step", "x"], "is no step: give a whole number, or last"),
        (["--step", "1.5"], "is no step"),
        (["--why", "layers.0.weight"], "--why asks about one step"),
        (["--health"], "--health asks about one step"),
        (["--step", "3", "--why", "layers.0.wieght[0,0]"], "Did you mean layers.0.weight? It has layers.0.weight 2×16"),
        (["--step", "3", "--why", "layers.0.weight[0,16]"], "2 places (0 to 1, 0 to 15), unlike [0,16]"),
        (["--step", "3", "--why", "layers.0.weight[0]"], "2 places"),
        (["--step", "3", "--why", "layers.0.weight[a]"], "is no index"),
        (["--ledger", "layers.0.weight"], "Say which one: layers.0.weight[0,0]"),
        (["--ledger", "layers.0.bias[0]", "--from", "99"], "--from 99 is after"),
        (["--step", "3", "--draw", "out.xyz"], "is one of .svg"),
        (["--step", "3", "--draw", "no/out.svg"], "no folder no"),
        (["--data", "nothing.csv"], "there is no file nothing.csv"),
        (["--data", "moons.backlit"], "not learned from a file"),
        (["--step", "3", "--top", "0"], "--top"),
    ],
)
def test_what_the_user_can_mend_is_one_message(moons, monkeypatch, args, words):
    monkeypatch.chdir(moons.parent)
    before = moons.read_bytes()
    result = call("rewind", "moons.backlit", *args)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert isinstance(result.exception, SystemExit)
    assert moons.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["none.backlit", "text.backlit", "empty.backlit", "cut.backlit", "flipped.backlit", "."]
)
def test_a_missing_or_damaged_run_is_one_message(moons, tmp_path, monkeypatch, name):
    content = moons.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for file, data in {"text": b"hello", "empty": b"", "cut": content[:-700], "flipped": bytes(flipped)}.items():
        (tmp_path / f"{file}.backlit").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    result = call("rewind", name, "--step", 2)
    assert result.exit_code == 2
    assert name in result.stderr
    assert "load_run" not in result.stderr
    assert "fit(" not in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_of_a_file_that_was_cut_off_what_is_whole_can_be_had(moons, tmp_path):
    cut = tmp_path / "cut.backlit"
    cut.write_bytes(moons.read_bytes()[:-40])
    assert "--partial" in call("rewind", cut).stderr
    result = call("rewind", cut, "--partial")
    assert result.exit_code == 0, result.output
    assert "killed, or still running" in result.output


def test_a_run_of_another_making_can_be_rewound(tmp_path):
    """Recorded in Python, with another model and amounts for targets, and without what `train` notes."""
    path = tmp_path / "own.backlit"
    x = np.linspace(-1, 1, 30, dtype=np.float32)[:, None]
    fit(bl.nn.MLP(1, [4, 1], key=0), (x, x * x), epochs=3, batch_size=10, record=path, progress=False)
    assert "30 rows · MLP · Adam" in call("rewind", path).output
    step = call("rewind", path, "--step", 4)
    assert step.exit_code == 0, step.output
    assert "It saw 10 rows" in step.output
    assert call("rewind", path, "--ledger", "layers.0.weight[0,0]").exit_code == 0


def test_a_step_of_a_file_names_the_rows_of_the_file(tmp_path, monkeypatch):
    file, path = tmp_path / "d.csv", tmp_path / "d.backlit"
    file.write_text("a,b,kind\n" + "".join(f"{i},{(i * 7) % 5},{'xy'[i % 2]}\n" for i in range(40)))
    assert call("train", file, "--epochs", 2, "--record", path).exit_code == 0
    result = call("rewind", path, "--step", 1, "--top", 4)
    told = re.findall(r"^  (\d+) +([xy]) +[xy] ", result.output, re.MULTILINE)
    assert "row of d.csv" in result.output
    assert len(told) == 4
    assert all("xy"[(int(row) - 1) % 2] == kind for row, kind in told)


def test_data_too_large_for_the_run_are_read_from_the_file_again(tmp_path, monkeypatch):
    file, path = tmp_path / "d.csv", tmp_path / "d.backlit"
    file.write_text("a,b,y\n" + "".join(f"{i},{(i * 7) % 5},{i * i}\n" for i in range(40)))
    monkeypatch.setattr(recording, "EMBEDDED", 10)
    assert call("train", file, "--epochs", 2, "--record", path).exit_code == 0
    without = call("rewind", path, "--step", 1)
    assert without.exit_code == 2
    assert "--data" in without.stderr
    assert "to the last bit" in call("rewind", path, "--step", 1, "--data", file).output
    file.write_text(file.read_text().replace("3,1,9", "3,1,8"))
    other = call("rewind", path, "--step", 1, "--data", file)
    assert other.exit_code == 2
    assert "the data are not those of the run" in " ".join(other.stderr.split())


def test_nudged_steps_are_told_too(tmp_path):
    path = tmp_path / "n.backlit"
    data = Dataset(np.eye(4, 2, dtype=np.float64), np.array([0, 1, 1, 0]))
    model = bl.nn.MLP(2, [2], key=0, dtype="float64")
    fit(model, data, epochs=2, batch_size=2, method="nudge", lr=0.1, record=path, progress=False)
    result = call("rewind", path, "--step", 1, "--why", "layers.0.weight[0,0]")
    assert result.exit_code == 0, result.output
    assert "THE MOVE" in result.output


def test_help_teaches_by_examples():
    result = call("rewind", "--help")
    assert "    backlit rewind moons.backlit --step 42 --why 'layers.0.weight[0,3]'" in result.output
