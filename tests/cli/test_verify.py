"""`backlit verify`: exit codes, text and JSON."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import backlit as bl
from backlit.cli import main, verify
from backlit.explain.certificate import certificate

app = typer.Typer(cls=main.Commands)
app.callback()(lambda: None)
verify.register(app)


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["verify", *args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    a, b = bl.values(a=2.0, b=-3.0)
    return certificate((a * b).tanh() + a).save(tmp_path / "it.json")


def test_a_right_certificate_is_certified(file: Path):
    code, out, err = run(str(file))
    assert (code, err) == (0, "")
    assert out.startswith("certified to 1")
    assert "  by a: " in out


def test_a_wrong_step_is_named(file: Path):
    file.write_text(file.read_text(encoding="utf-8").replace('"multiply"', '"add"'), encoding="utf-8")
    code, out, err = run(str(file))
    assert (code, err) == (1, "")
    assert "The first wrong step:\n  node 2, `a * b` (add), test_verify.py:" in out
    assert "recorded  -6.0\n    must be   -1.0" in out


def test_json_is_the_documented_dictionary(file: Path):
    code, out, _ = run(str(file), "--json")
    data = json.loads(out)
    assert (code, data["schema"], data["verdict"]) == (0, "backlit.verdict/1", "certified")
    assert [each["name"] for each in data["gradients"]] == ["a", "b"]


def test_too_few_digits_are_not_enough(file: Path):
    code, out, _ = run(str(file), "--digits", "17")
    assert code == 3
    assert out.endswith("fewer than the 17 digits asked for.\n")
    assert run(str(file), "--digits", "10")[0] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory."),
        ("{", "not JSON, or only a part of it"),
        ("[]", "a list of 0"),
    ],
)
def test_what_is_no_certificate_is_told_in_a_sentence(tmp_path: Path, content: str | None, words: str):
    file = tmp_path / "x.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    code, out, err = run(str(file))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err
