"""Drawings of the sources' examples, held in golden files.

`python -m tests.draw.test_golden` writes them anew. Look at every picture before keeping it.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from backlit.draw import Drawing
from backlit.draw.story import story
from tests.draw.examples import DRAWINGS

GOLDEN = Path(__file__).parent / "golden"


def _files() -> dict[str, str]:
    found = {}
    for name, make in DRAWINGS.items():
        drawing = make()
        found[f"{name}.svg"] = drawing.svg
        if isinstance(drawing, Drawing):
            found[f"{name}.txt"] = f"{drawing}\n"
    for name in ("expression", "neuron"):
        drawing = DRAWINGS[name]()
        assert isinstance(drawing, Drawing)
        found[f"{name}.dot"], found[f"{name}.mmd"] = drawing.dot(), drawing.mermaid()
        steps = [step.to_dict() for step in story(drawing.picture)]
        found[f"{name}.steps.json"] = json.dumps(steps, indent=1, ensure_ascii=False) + "\n"
    return found


FILES = _files()


@pytest.mark.parametrize("name", FILES)
def test_drawing_is_the_golden_one(name: str) -> None:
    assert FILES[name] == (GOLDEN / name).read_text("utf-8")


def test_there_is_no_golden_file_without_a_drawing() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".svg")])
def test_svg_is_well_formed_and_says_what_it_shows(name: str) -> None:
    root = ElementTree.fromstring(FILES[name])
    space = "{http://www.w3.org/2000/svg}"
    labels = root.attrib["aria-labelledby"].split()
    assert [child.attrib["id"] for child in root[:2]] == labels
    assert root.find(f"{space}title").text
    assert root.find(f"{space}desc").text


def test_the_same_graph_is_drawn_the_same_twice() -> None:
    again = _files()
    assert all(again[name] == FILES[name] for name in FILES)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.iterdir():
        path.unlink()
    for each, text in FILES.items():
        (GOLDEN / each).write_text(text, "utf-8")
