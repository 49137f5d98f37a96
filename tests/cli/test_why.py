"""`backlit why FILE.py:NAME`: a script runs, and one of its values is explained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backlit.cli import main, script
from backlit.core.errors import DataError

NET = """\
import sys
import numpy as np
import backlit as bl
from beside import scale

print("training", *sys.argv[1:])


class Layer:
    def __init__(self):
        self.W = bl.Parameter(scale * np.arange(6.0).reshape(2, 3))
        self.b = bl.Parameter(np.zeros(3))


layers = [Layer()]
by_name = {"first": layers[0], ("a", 1): layers[0].W}
x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
y = x @ layers[0].W + layers[0].b
loss = (y * y).mean()
alone = bl.Value(2.0)
twice = alone * 2.0
loss.backward()
"""
NO_BACKWARD = """\
import backlit as bl
a, b = bl.values(a=2.0, b=-3.0)
L = a * b + a
"""


@pytest.fixture(autouse=True)
def scripts(tmp_path, monkeypatch):
    """A folder with scripts, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    files = {"net.py": NET, "beside.py": "scale = 0.1\n", "plain.py": NO_BACKWARD}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("beside", None)


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, output and messages of `backlit why`."""
    result = CliRunner().invoke(main.app, ["why", *args], env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def write(text: str) -> None:
    """A script of the test's own."""
    Path("own.py").write_text(text, encoding="utf-8")


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_value_is_explained_and_the_script_prints_beside():
    code, out, err = run("net.py:layers[0].W", "--index", "1,2", "--top", "2")
    assert (code, err) == (0, "training\n")
    assert out.startswith("∂loss/∂layers[0].W[1, 2] = ")
    assert "the other 1" in out


def test_the_gradient_is_the_one_of_the_script():
    data = json.loads(run("net.py:by_name['first'].W", "--index", "0,0", "--json")[1])
    # loss = mean(y²): 2/9 · Σ x[i, 0]·y[i, 0] with y[i, 0] = 0.3·x[i, 1]
    assert data["schema"] == "backlit.explanation/1"
    assert data["gradient"] == pytest.approx(2 / 9 * 0.3 * (1 * 2 + 3 * 4 + 5 * 7))


def test_without_an_index_it_says_what_to_ask_next():
    assert "`backlit why 'net.py:layers[0].W' --index 1,2` says" in " ".join(run("net.py:layers[0].W")[1].split())
    assert "--index 2` says" in " ".join(run("net.py:layers[0].b")[1].split())


def test_keys_may_be_tuples():
    assert run("net.py:by_name['a', 1]", "--index", "0,-1")[0] == 0


def test_a_term_can_be_followed():
    code, out, _ = run("net.py:layers[0].W", "--index", "0,0", "--follow", "1")
    assert code == 0
    assert "@" in out.split("\n")[0]
    code, _, err = run("net.py:layers[0].W", "--index", "0,0", "--follow", "9")
    assert code == 2
    assert "terms 1 to 3" in err


def test_of_names_another_output():
    assert run("net.py:alone", "--of", "twice")[1].startswith("∂twice/∂alone = 2\n")
    assert "does not lead to the output" in run("net.py:alone")[1]


def test_latex_and_html(tmp_path):
    assert run("net.py:alone", "--of", "twice", "--latex")[1].startswith("\\begin{aligned}")
    page = tmp_path / "why.html"
    assert run("net.py:alone", "--of", "twice", "--html", str(page))[1] == f"Wrote {page}.\n"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_arguments_reach_the_script_and_nothing_is_left_behind():
    before = sys.argv, sys.path[:], sys.modules["__main__"]
    assert run("net.py:loss", "--", "fast", "--twice")[2] == "training fast --twice\n"
    assert (sys.argv, sys.path, sys.modules["__main__"]) == before


def test_a_script_may_end_itself():
    write("import sys\n" + NO_BACKWARD + "L.backward()\nsys.exit()\n")
    assert run("own.py:a")[1].startswith("∂L/∂a = -2\n")


def test_output_stays_clean_as_a_process():
    done = subprocess.run(
        [sys.executable, "-m", "backlit", "why", "net.py:loss", "--json"],
        capture_output=True, text=True, check=False, timeout=60, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "training\n")
    assert json.loads(done.stdout)["gradient"] == 1.0


# -- what goes wrong in the script -------------------------------------------------------------------------------------


def test_an_error_of_the_script_is_shown_as_its_own():
    write("def f(x):\n    return 1 / x\n\n\nf(0)\n")
    code, out, err = run("own.py:x")
    assert (code, out) == (1, "")
    assert err.startswith('Traceback (most recent call last):\n  File "own.py", line 5, in <module>\n')
    assert "ZeroDivisionError: division by zero" in err
    assert "runpy" not in err
    assert "backlit" not in err


def test_an_error_of_the_engine_stands_at_the_line_of_the_script():
    write("import backlit as bl\nbl.Value([1.0, 2.0]) + bl.Value([1.0, 2.0, 3.0])\n")
    code, _, err = run("own.py:x")
    assert code == 1
    assert err.count("File ") == 1
    assert err.count("Traceback") == 1
    assert "ShapeError" in err


def test_the_causes_of_an_error_are_kept():
    write("try:\n    {}['k']\nexcept KeyError as error:\n    raise ValueError('no') from error\n")
    _, _, err = run("own.py:x")
    assert err.index("KeyError") < err.index("direct cause") < err.index("ValueError: no")


def test_a_script_that_is_no_python():
    write("x = = 2\n")
    code, _, err = run("own.py:x")
    assert code == 1
    assert "SyntaxError" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("ends", "said"), [("3", "exit code 3"), ("'out of data'", "out of data")])
def test_a_script_that_ends_itself_with_a_failure(ends, said):
    write(f"raise SystemExit({ends})\n")
    code, out, err = run("own.py:x")
    assert (code, out) == (1, "")
    assert said in err


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nett.py:loss"], "there is no file nett.py. Did you mean net.py"),
        (["net.py"], "Add a colon and a name"),
        (["net.py:"], "Add a colon and a name"),
        ([".:x"], "is a folder"),
        (["net.py:los"], "Did you mean loss?"),
        (["net.py:layers[0].w"], "Did you mean W"),
        (["net.py:layers[7].W"], "a list with 1 item;"),
        (["net.py:by_name['second']"], "keys 'first'"),
        (["net.py:layers[0].W[1, 2]"], "--index 1,2"),
        (["net.py:layers"], "is of type list"),
        (["net.py:x"], "is of type ndarray"),
        (["net.py:print('hello')"], "is no name of a value"),
        (["net.py:layers[len(layers)]"], "is no name of a value"),
        (["net.py:a b"], "is no name of a value"),
        (["net.py:loss", "--of", "lost"], "no name `lost`"),
        (["net.py:layers[0].W", "--index", "a"], "is no index"),
        (["net.py:layers[0].W", "--index", "1"], "named by 2 numbers"),
        (["net.py:layers[0].W", "--index", "5,5"], "index 5"),
        (["net.py:loss", "--json", "--latex"], "exclude each other"),
        (["net.py:loss", "--html", "nowhere/page.html"], "no folder nowhere"),
        (["plain.py:a"], "Name the output: --of L."),
    ],
    ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else None,
)
def test_mistakes_give_one_message_and_exit_code_2(args, said):
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert "hello" not in err.replace("'hello'", "")


def test_names_are_found_without_evaluating_anything():
    called = []
    with pytest.raises(DataError, match="no name of a value"):
        script.resolve("f()", {"f": lambda: called.append(1)}, "here")
    assert not called
    assert script.resolve(" a['k'][-1] ", {"a": {"k": [1, 2]}}, "here") == 2


def test_no_backward_and_no_output_left():
    write("import backlit as bl\na = bl.Value(2.0)\n")
    code, _, err = run("own.py:a")
    assert code == 2
    assert "at the top level" in err
