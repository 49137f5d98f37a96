"""The gallery of explanations is what its programs print and draw today."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _maker():
    spec = importlib.util.spec_from_file_location("make_explain", ROOT / "docs" / "make_explain.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


maker = _maker()
STALE = "run `python docs/make_explain.py`, and look at what has changed"


@pytest.fixture(scope="module")
def files():
    return maker.made()


def test_the_page_is_what_the_programs_print(files):
    page = files[maker.PAGE]
    assert maker.PAGE.read_text(encoding="utf-8") == page, STALE


def test_the_pictures_are_what_the_programs_draw(files):
    pictures = {path.name: text for path, text in files.items() if path.suffix == ".svg"}
    committed = {path.name: path.read_text(encoding="utf-8") for path in maker.PICTURES.glob("*.svg")}
    assert pictures.keys() == committed.keys(), STALE
    for name, text in pictures.items():
        assert text == committed[name], f"{name}: {STALE}"


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
