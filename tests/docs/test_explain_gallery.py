"""The gallery of explanations is what its programs print and draw today."""

import re
import subprocess
import sys
from pathlib import Path

import make_explain as maker
import pytest

ROOT = Path(__file__).parents[2]


STALE = "run `python docs/make_explain.py`, and look at what has changed"


@pytest.fixture(scope="module")
def files():
    return maker.made()


NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


def words_of(line):
    """A line without its numbers, without the room they take, and without how exactly two of them agree."""
    line = re.sub(r"agrees? to (the last bit|[-.e\d]+)", "agree", line.replace("right, to the last bit", "right"))
    return " ".join(NUMBER.sub("0", line).split())


def assert_same(text, committed, name):
    """The words are the same, and the numbers but for their last digit, which another processor may round elsewhere."""
    told, known = ([(words_of(line), NUMBER.findall(line)) for line in each.splitlines()] for each in (text, committed))
    assert [words for words, _ in told] == [words for words, _ in known], f"{name}: {STALE}"
    for (words, found), (_, expected) in zip(told, known, strict=True):
        assert [float(n) for n in found] == pytest.approx([float(n) for n in expected], rel=2e-3, abs=1e-12), words


def test_words_that_differ_and_numbers_that_differ_are_found():
    assert_same("b is 0.5, off by 1e-17, right, to the last bit", "b is 0.5001,  off by 0, right", "x")
    for other in ("b is 0.6, off by 0, right", "c is 0.5, off by 0, right", "b is 0.5, off by 0, wrong"):
        with pytest.raises(AssertionError):
            assert_same("b is 0.5, off by 0, right", other, "x")


def test_the_page_is_what_the_programs_print(files):
    assert_same(files[maker.PAGE], maker.PAGE.read_text(encoding="utf-8"), maker.PAGE.name)


def test_the_pictures_are_what_the_programs_draw(files):
    pictures = {path.name: text for path, text in files.items() if path.suffix == ".svg"}
    committed = {path.name: path.read_text(encoding="utf-8") for path in maker.PICTURES.glob("*.svg")}
    assert pictures.keys() == committed.keys(), STALE
    for name, text in pictures.items():
        assert_same(text, committed[name], name)


def test_every_picture_and_file_that_the_page_names_is_there(files):
    page = files[maker.PAGE]
    targets = re.findall(r"\]\(([^)]+)\)", page)
    assert any(target.startswith("pictures/") for target in targets)
    for target in targets:
        assert (maker.PAGE.parent / target).exists() or (maker.PAGE.parent / target).resolve() in files, target


def test_every_program_of_the_gallery_is_on_the_page():
    assert {path.stem for path in maker.GALLERY.glob("*.py")} == set(maker.ENTRIES)


def test_a_program_of_the_gallery_prints_the_same_when_it_is_run_from_its_file(tmp_path):
    file = ROOT / "examples" / "gallery" / "nan.py"
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.rstrip() for line in done.stdout.splitlines()] == maker.run("nan").printed.splitlines()
