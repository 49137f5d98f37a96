"""`backlit runs` from outside: the table of recorded runs, damaged ones among them, and two runs side by side."""

from __future__ import annotations

import os
import re

import pytest
from typer.testing import CliRunner

from backlit.cli import main
from backlit.training import replay


def call(*args):
    return CliRunner().invoke(main.app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    moons = ("train", "moons", "--points", 80, "--batch", 16)
    for name, options in {
        "a": ("--epochs", 4),
        "b": ("--epochs", 4, "--lr", 0.03),
        "same": ("--epochs", 6),
        "seed": ("--epochs", 2, "--seed", 3),
    }.items():
        assert call(*moons, *options, "--record", path / f"{name}.backlit").exit_code == 0
        os.utime(path / f"{name}.backlit", (1e9 + ord(name[0]), 1e9 + ord(name[0])))
    return path


def line(result, name):
    found = [each for each in result.output.split("\n") if each.startswith(f"{name}.backlit ")]
    assert len(found) == 1
    return found[0].split()


def test_the_table_tells_what_learned_what_and_how_far_it_got(folder):
    result = call("runs", folder)
    assert result.exit_code == 0
    loss = replay.load_run(folder / "a.backlit").losses[-1]
    cells = line(result, "a")
    assert cells[3:7] == ["moons", "MLP", "354", "4/4"]
    assert cells[7:9] == ["16", f"{loss:.4g}"]
    assert re.fullmatch(r"\d+\.\d", cells[9])
    assert cells[-1] == "done"
    names = re.findall(r"^(\w+)\.backlit", result.output, re.MULTILINE)
    assert names[-2:] == ["b", "a"]  # the latest first
    assert len(names) == 4


def test_damaged_files_are_named_as_such_and_the_others_still_told(folder, tmp_path):
    content = (folder / "a.backlit").read_bytes()
    (tmp_path / "good.backlit").write_bytes(content)
    (tmp_path / "cut.backlit").write_bytes(content[:-300])
    (tmp_path / "head.backlit").write_bytes(content[:500])
    (tmp_path / "text.backlit").write_text("hello")
    (tmp_path / "empty.backlit").write_bytes(b"")
    (tmp_path / "other.txt").write_text("no run")
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    result = call("runs", tmp_path)
    assert result.exit_code == 0
    assert line(result, "good")[-1] == "done"
    for name in ("cut", "head", "text", "empty"):
        assert line(result, name)[-1] == "damaged"
    assert "moons" in line(result, "cut")  # what stands before the damage
    assert "other" not in result.output
    assert " ".join(result.output.split()).count("text.backlit is no recording") == 1
    assert "load_run" not in result.output
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_folder_without_runs_says_how_to_make_one(tmp_path):
    result = call("runs", tmp_path)
    assert result.exit_code == 0
    assert "There are no recorded runs (*.backlit)" in " ".join(result.output.split())
    assert "--record" in result.output


def test_folders_within_are_looked_into_when_asked(folder, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.backlit").write_bytes((folder / "a.backlit").read_bytes())
    assert "x.backlit" not in call("runs", tmp_path).output
    assert "x.backlit" in call("runs", tmp_path, "--deep").output
    assert "x.backlit" in call("runs", tmp_path / "deep" / "x.backlit").output


def test_equal_runs_are_the_same_and_other_settings_are_told(folder):
    same = call("runs", "--compare", folder / "a.backlit", folder / "same.backlit")
    assert same.exit_code == 0
    assert "same to the last bit in all 16 steps" in " ".join(same.output.split())
    assert re.search(r"epochs +4 +6", same.output)


def test_the_first_step_at_which_two_runs_part_is_found(folder):
    result = call("runs", "--compare", folder / "a.backlit", folder / "b.backlit")
    text = " ".join(result.output.split())
    assert result.exit_code == 0
    assert "The runs part at step 0" in text
    assert re.search(r"optimizer +Adam\(lr=0\.02\) +Adam\(lr=0\.03\)", result.output)
    one, two = (replay.load_run(folder / f"{name}.backlit") for name in "ab")
    assert f"{one.loss_at(15):.6g}" in text
    assert f"{two.loss_at(15):.6g}" in text
    assert "sha" not in text
    assert not re.search(r"[0-9a-f]{32}", text)


def test_runs_of_other_seeds_differ_from_the_beginning(folder):
    result = call("runs", "--compare", folder / "a.backlit", folder / "seed.backlit")
    assert "from the beginning" in result.output
    assert re.search(r"seed +0 +3", result.output)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none"], "there is no folder none"),
        (["non.backlit"], "there is no file non.backlit"),
        (["--compare", "a.backlit"], "takes two recorded runs"),
        (["--compare", "a.backlit", "b.backlit", "same.backlit"], "takes two recorded runs"),
        (["--compare", "a.backlit", "bb.backlit"], "Did you mean b.backlit?"),
        (["--compare", "a.backlit", "."], "is a folder"),
    ],
)
def test_what_the_user_can_mend_is_one_message(folder, monkeypatch, args, words):
    monkeypatch.chdir(folder)
    result = call("runs", *args)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert isinstance(result.exception, SystemExit)


def test_a_damaged_run_cannot_be_compared(folder, tmp_path):
    bad = tmp_path / "bad.backlit"
    bad.write_bytes((folder / "a.backlit").read_bytes()[:-300])
    result = call("runs", "--compare", folder / "a.backlit", bad)
    assert result.exit_code == 2
    assert "bad.backlit" in result.stderr
