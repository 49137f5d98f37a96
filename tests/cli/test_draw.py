"""`backlit draw`: the tree on the screen, and pictures in files."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import pytest
from typer.testing import CliRunner

from backlit.cli import main

WORKED = ["draw", "(a*b + c)*d", "a=2", "b=-3", "c=10", "d=-2"]
TREE = """\
t3 = t2 * d        → -8   ← 1
├─ t2 = t1 + c     → 4    ← -2
│  ├─ t1 = a * b   → -6   ← -2
│  │  ├─ a         → 2    ← 6
│  │  └─ b         → -3   ← -4
│  └─ c            → 10   ← -2
└─ d               → -2   ← 4
"""


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, output and messages of a command."""
    result = CliRunner().invoke(main.app, list(args), env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_worked_example_is_a_tree_with_values_and_gradients():
    assert run(*WORKED) == (0, TREE, "")


def test_partials_stand_below_the_tree():
    code, out, _ = run(*WORKED, "--partials")
    assert code == 0
    assert out.startswith(TREE)
    assert "  ∂t3/∂t2 = d = -2\n" in out
    assert "  ∂t2/∂c  = 1\n" in out


def test_wrt_leaves_out_what_is_on_no_path():
    _, whole, _ = run("draw", "a*b + c*d", "a=1", "b=2", "c=3", "d=4")
    code, out, _ = run("draw", "a*b + c*d", "a=1", "b=2", "c=3", "d=4", "--wrt", "a")
    assert code == 0
    assert "─ d " in whole
    assert "─ a " in out
    assert "─ d " not in out


def test_an_array_is_drawn_without_gradients_and_it_says_why():
    code, out, err = run("draw", "x*2", "x=[1,2,3]")
    assert code == 0
    assert "[2, 4, 6]" in out
    assert "←" not in out
    assert "sum(x*2)" in err


def test_constants_alone_are_drawn_without_gradients():
    code, out, err = run("draw", "2*3")
    assert (code, err) == (0, "")
    assert "→ 6" in out
    assert "←" not in out


def test_depth_opens_composites():
    folded = run("draw", "sum(softmax(x))", "x=[1,2]")[1]
    opened = run("draw", "sum(softmax(x))", "x=[1,2]", "--depth", "1")[1]
    assert "softmax" in folded
    assert "exp(" not in folded
    assert "exp(" in opened


@pytest.mark.parametrize(
    ("ending", "begins"), [("html", "<!doctype html>"), ("dot", "digraph"), ("mmd", ""), ("txt", "t1 = a * b")]
)
def test_out_saves_by_the_ending(tmp_path, ending, begins):
    path = tmp_path / f"graph.{ending}"
    code, out, err = run("draw", "a*b", "a=2", "b=3", "--out", str(path))
    assert (code, out, err) == (0, f"Wrote {path}.\n", "")
    text = path.read_text(encoding="utf-8")
    assert text.lower().startswith(begins)
    assert "a" in text
    assert list(tmp_path.iterdir()) == [path]


def test_out_saves_a_well_formed_svg(tmp_path):
    path = tmp_path / "graph.svg"
    assert run(*WORKED, "--out", str(path))[0] == 0
    assert ET.parse(path).getroot().tag.endswith("svg")


def test_a_png_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "graph.png"
    code, out, err = run("draw", "a*b", "a=2", "b=3", "--out", str(path))
    assert (code, out) == (2, "")
    assert "matplotlib" in err
    assert not path.exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["draw", "a*b", "a=1", "b=2", "--out", "graph.pdf"], "the ending .pdf"),
        (["draw", "a*b", "a=1", "b=2", "--out", "graph"], "no ending"),
        (["draw", "a*b", "a=1", "b=2", "--out", "nowhere/graph.svg"], "no folder nowhere"),
        (["draw", "a*b", "a=1", "b=2", "--out", "."], "is a folder"),
        (["draw", "a*b", "a=1", "b=2", "--wrt", "q"], "its variables are: a, b"),
        (["draw", "a*b", "a=1", "b=2", "--wrt", ","], "names no variable"),
        (["draw", "a*b", "a=1", "b=2", "--partal"], "Did you mean --partials"),
        (["draw", "a*b", "a=1"], "no value was given for `b`"),
        (["draw", "a*", "a=1"], "something is missing"),
    ],
    ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else None,
)
def test_mistakes_give_one_message_and_exit_code_2(args, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
