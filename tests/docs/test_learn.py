"""The tutorial shows what its programs print and draw today."""

import re

import make_learn as maker
import pytest

from tests.docs.test_explain_gallery import assert_same


@pytest.fixture(scope="module")
def files():
    return maker.made()


def test_the_tutorial_is_what_its_programs_print(files):
    assert_same(files[maker.PAGE], maker.PAGE.read_text(encoding="utf-8"), "learn.md: run docs/make_learn.py")


def test_its_pictures_are_what_its_programs_draw(files):
    pictures = {path.name: text for path, text in files.items() if path.suffix == ".svg"}
    committed = {path.name: path.read_text(encoding="utf-8") for path in maker.PICTURES.glob("*.svg")}
    assert pictures.keys() == committed.keys()
    for name, text in pictures.items():
        assert_same(text, committed[name], f"{name}: run docs/make_learn.py")


def test_what_a_program_prints_replaces_what_stood_there(tmp_path, monkeypatch):
    page = tmp_path / "learn.md"
    page.write_text(
        "One.\n\n```python\nx = 2\n```\n\nTwo.\n\n```python\nprint(x + 1)\n```\n\n```text\n99\n```\n\n"
        "```python\nprint(x * 5)\n```\n\nEnd.\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(maker, "PAGE", page)
    assert maker.made()[page] == (
        "One.\n\n```python\nx = 2\n```\n\nTwo.\n\n```python\nprint(x + 1)\n```\n\n```text\n3\n```\n\n"
        "```python\nprint(x * 5)\n```\n\n```text\n10\n```\n\nEnd.\n"
    )


def test_every_picture_and_file_that_the_tutorial_names_is_there():
    words = re.sub(r"```.*?```", "", maker.PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)]+)\)", words)
    assert sum(target.startswith("pictures/") for target in targets) == 2
    for target in targets:
        assert (maker.PAGE.parent / target).exists(), target
