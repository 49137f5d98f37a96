"""`backlit explain` and `backlit check`, and what all commands share: exit codes, messages, pipes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backlit import __version__
from backlit.cli import main

GOLDEN = Path(__file__).parents[1] / "explain" / "golden"
WORKED = ["explain", "(a*b + c)*d", "a=2", "b=-3", "c=10", "d=-2"]


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, output and messages of a command."""
    result = CliRunner().invoke(main.app, list(args), env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_worked_example_is_told():
    code, out, err = run(*WORKED)
    assert (code, err) == (0, "")
    assert out == (GOLDEN / "worked_example.txt").read_text(encoding="utf-8")


def test_the_width_is_that_of_the_terminal():
    result = CliRunner().invoke(
        main.app,
        ["explain", "tanh(x1*w1 + x2*w2 + b)", "x1=2", "x2=0", "w1=-3", "w2=1", "b=6.8813735870195432"],
        env={"COLUMNS": "120"},
    )
    assert result.stdout == (GOLDEN / "neuron.wide.txt").read_text(encoding="utf-8")


def test_json_is_the_documented_dictionary():
    code, out, _ = run(*WORKED, "--json")
    data = json.loads(out)
    assert code == 0
    assert (data["schema"], data["version"], data["value"]) == ("backlit.derivation", 1, -8.0)
    assert {row["label"]: row["gradient"] for row in data["table"]} == {
        "a": 6.0,
        "b": -4.0,
        "c": -2.0,
        "d": 4.0,
    }


def test_latex_is_one_aligned_environment():
    code, out, _ = run(*WORKED, "--latex")
    assert code == 0
    assert out == (GOLDEN / "worked_example.tex").read_text(encoding="utf-8")


def test_html_is_a_page_that_says_what_the_text_says(tmp_path):
    page = tmp_path / "page.html"
    code, out, _ = run(*WORKED, "--html", str(page))
    text = page.read_text(encoding="utf-8")
    assert (code, out) == (0, f"Wrote {page}.\n")
    assert text.startswith("<!doctype html>")
    assert "∂t3/∂t2 = d = -2" in text
    assert "It agrees with every gradient." in text


def test_wrt_names_what_is_asked_for():
    code, out, _ = run(*WORKED, "--wrt", "a, d")
    rows = out[out.index("gradient   nudging") :].split("\n\n")[0].split("\n")[1:]
    assert code == 0
    assert [row.split()[0] for row in rows] == ["a", "d"]


def test_an_expression_may_begin_with_a_minus_sign():
    code, out, _ = run("explain", "-a*b", "a=2", "b=3")
    assert code == 0
    assert "t1 = -a" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["explain", "tanhh(a)", "a=1"], "Did you mean tanh"),
        (["explain", "a.real", "a=1"], "    ^^^^^^"),
        (["explain", "a*b", "a=1"], "no value was given for `b`"),
        (["explain", "a*b", "a=1", "b"], "gives no value"),
        (["explain", "a*b", "a=1", "b=x"], "mentions `x`"),
        (["explain", "a*b", "a=1", "b=2", "--wrt", "q"], "`q` does not occur"),
        (["explain", "a*b", "a=1", "b=2", "--wrt", ","], "names no variable"),
        (["explain", "2*3"], "no variable"),
        (["explain", "x*2", "x=[1,2]"], "sum(x*2)"),
        (["explain", "x*y", "x=[1,2]", "y=[1,2,3]"], "do not broadcast"),
        (["explain", "a", "a=1", "--jsn"], "Did you mean --json"),
        (["explain", "a", "a=1", "--json", "--latex"], "exclude each other"),
        (["explain", "(" * 10_001, "a=1"], "characters"),
        (["explain", "(" * 2_000, "a=1"], "nested more than"),
        (["explain"], "Missing argument"),
        (["check", "a +", "a=1"], "something is missing"),
        (["nonsense"], "No such command"),
    ],
    ids=lambda x: " ".join(x)[:40] if isinstance(x, list) else None,
)
def test_mistakes_give_one_message_and_exit_code_2(args, said):
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_value_that_is_not_used_is_mentioned():
    code, _, err = run("explain", "a*a", "a=1", "q=3")
    assert code == 0
    assert "`q` does not occur" in err


def test_check_of_a_right_gradient():
    code, out, _ = run("check", "tanh(a*b)", "a=0.5", "b=-2")
    assert code == 0
    assert "right" in out
    assert re.search(r"^\W*a\b", out, re.MULTILINE)  # by the user's name


def test_check_where_it_cannot_be_told():
    code, out, _ = run("check", "relu(x)", "x=0")
    assert code == 3
    assert "cannot tell" in out


def test_check_as_json():
    code, out, _ = run("check", "a*b", "a=2", "b=3", "--json")
    data = json.loads(out)
    assert code == 0
    assert data["verdict"] == "right"
    assert [each["name"] for each in data["inputs"]] == ["a", "b"]


def test_version_and_help():
    assert run("--version") == (0, f"backlit {__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("explain", "check", "train", "demo"))


# -- as a process --------------------------------------------------------------------------------------------


def backlit(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backlit", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        encoding="utf-8",
        **options,
    )


def test_the_module_is_the_command_and_a_pipe_gets_no_colour():
    done = backlit(*WORKED, env={**os.environ, "COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (GOLDEN / "worked_example.txt").read_text(encoding="utf-8")


def test_a_reader_that_stops_reading_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "backlit", *WORKED],
            stdout=nowhere,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (main.PIPE_CLOSED, b"")


def test_an_encoding_without_the_signs_gets_plain_ones():
    done = backlit(*WORKED, env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"})
    assert done.returncode == 0
    assert "dt3/dt2 = d = -2   t2.grad = t3.grad * dt3/dt2" in done.stdout


def on_a_terminal(**variables: str) -> str:
    """What the worked example writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "backlit", *WORKED],
        stdout=slave,
        stderr=slave,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "80", **variables},
    ) as process:
        os.close(slave)
        chunks = []
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
        assert process.wait(60) == 0
    os.close(master)
    return b"".join(chunks).decode().replace("\r\n", "\n")


ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def test_a_terminal_gets_the_same_text_in_colour():
    shown = on_a_terminal()
    assert "\x1b[" in shown
    assert ESCAPES.sub("", shown) == (GOLDEN / "worked_example.txt").read_text(encoding="utf-8")


def test_no_color_is_respected():
    assert "\x1b[" not in on_a_terminal(NO_COLOR="1")


def test_ctrl_c_ends_with_130_and_no_traceback():
    slow = f"""
import sys, time
from backlit.cli import main
from backlit.explain import expression

def check_tree(*args):
    print("started", flush=True)
    time.sleep(30)

expression.check_tree = check_tree
sys.argv = ["backlit", *{WORKED!r}]
main.app_main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == main.INTERRUPTED
    assert "Traceback" not in err
