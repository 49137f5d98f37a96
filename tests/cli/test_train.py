"""`backlit train` and `backlit demo` from outside: what they print, refuse and end with."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from backlit.cli import demo, display, reports, tour, train
from backlit.training.digits import Misread, train_digits
from backlit.training.xor import train_xor


@pytest.fixture(scope="module")
def app():
    made = typer.Typer()
    train.register(made)
    demo.register(made)
    return made


@pytest.fixture
def invoke(app):
    return lambda *args: CliRunner().invoke(app, args)


def rendered(part, width=80, colour=False):
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
        highlight=False,
    )
    console.print(part)
    return console.file.getvalue()


def test_xor_shows_the_known_losses_the_curve_and_the_truth_table(invoke):
    result = invoke("train", "xor", "--steps", "1200")
    assert result.exit_code == 0
    assert "1.501733" in result.output
    assert "0.361001" in result.output
    assert re.search(r"[\u2801-\u28ff]{5}", result.output)
    assert re.search(r"1 +1 +0 +0\.\d{4} +0 +✓", result.output)
    assert "1,200 steps" in result.output
    assert "steps/s" not in result.output  # no progress line where nobody watches


def test_xor_by_nudging_counts_its_forward_passes(invoke):
    result = invoke("train", "xor", "--method", "nudge", "--steps", "100")
    assert "XOR by nudging" in result.output
    assert "1,900 forward" in result.output


def test_xor_says_why_it_did_not_learn(invoke):
    result = invoke("train", "xor", "--seed", "4", "--steps", "2000", "--lr", "0.1")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert "did not learn XOR. Dead: hidden unit 1 from the start" in text
    assert "stands at 0.693" in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["xor", "--steps", "-3"], "--steps"),
        (["xor", "--steps", "0"], "--steps"),
        (["xor", "--lr", "nan"], "nan is not a learning rate"),
        (["xor", "--lr", "inf"], "inf is not a learning rate"),
        (["xor", "--lr", "-1"], "-1.0 is not a learning rate"),
        (["xor", "--seed", "-1"], "--seed"),
        (["xor", "--seed", "4294967296"], "--seed"),
        (["xor", "--method", "magic"], "magic"),
        (["digits", "--epochs", "0"], "--epochs"),
        (["digits", "--lr", "0"], "0.0 is not a learning rate"),
        (["digits", "--seed", "18446744073709551616"], "--seed"),
    ],
)
def test_wrong_flags_give_an_error_and_no_traceback(invoke, args, words):
    result = invoke("train", *args)
    assert result.exit_code == 2
    text = " ".join(result.output.replace("│", " ").split())
    assert words in text
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def interrupted_after(count):
    calls = []

    def on_progress(done, total, loss):
        calls.append(done)
        if len(calls) == count:
            raise KeyboardInterrupt

    return on_progress


def test_ctrl_c_ends_xor_with_what_was_learned_and_130(invoke, monkeypatch):
    def briefly(method, steps, seed, lr, on_progress):
        return train_xor(method, steps, seed, lr, interrupted_after(1))

    monkeypatch.setattr("backlit.training.xor.train_xor", briefly)
    result = invoke("train", "xor")
    assert result.exit_code == 130
    assert re.search(r"Stopped by Ctrl-C after [\d,]+ of 100,000 steps \(exit code 130\)", result.output)
    assert "wanted" in result.output


def test_ctrl_c_ends_digits_with_what_was_learned_and_130(invoke, monkeypatch):
    def briefly(epochs, seed, lr, on_progress):
        return train_digits(epochs, seed, lr, interrupted_after(2))

    monkeypatch.setattr("backlit.training.digits.train_digits", briefly)
    result = invoke("train", "digits")
    assert result.exit_code == 130
    assert "of 1,350 steps" in result.output
    assert "images that it never saw" in result.output


def test_digits_shows_curve_accuracy_and_misread_digits(invoke):
    result = invoke("train", "digits", "--epochs", "8")
    assert result.exit_code == 0
    percent = re.search(r"images that it never saw: (\d+\.\d) %", result.output)
    assert float(percent[1]) > 95
    assert "mean of 15 batches" in result.output
    assert re.search(r"is \d, read \d", result.output)
    assert "% sure" in result.output
    assert max(map(len, result.output.split("\n"))) <= 80


MISREAD = [
    Misread(index=i, image=np.full((8, 8), i / 9), true=i, predicted=(i + 1) % 10, confidence=0.9 - i / 20)
    for i in range(10)
]


def test_digits_are_half_blocks_in_colour_and_shades_without():
    terminal = Console(color_system="truecolor", force_terminal=True)
    coloured = rendered(display.misread_grid(terminal, MISREAD, 78))
    plain = rendered(display.misread_grid(Console(color_system=None), MISREAD, 78))
    assert coloured.count("▀") == 10 * 32
    assert "▀" not in plain
    assert plain.count("█") > 100
    for text in (coloured, plain):
        assert [(int(a), int(b)) for a, b in re.findall(r"is (\d), read (\d)", text)] == [
            (m.true, m.predicted) for m in MISREAD
        ]
        assert max(map(len, text.split("\n"))) <= 80


@pytest.mark.parametrize("width", [40, 80, 120])
def test_reports_fit_the_terminal(width):
    runs = (train_xor("chain", 500), train_xor("chain", 200, seed=4))
    for run in runs:
        text = rendered(reports.xor_report(run, width - 2), width)
        assert max(map(len, text.split("\n"))) <= width


def test_one_step_can_be_reported():
    text = rendered(reports.xor_report(train_xor("chain", 1), 78))
    assert "1 step in" in text
    assert "in the last step" in text


def test_no_step_can_be_reported():
    def interrupt(*args):
        raise KeyboardInterrupt

    from backlit.training import xor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xor, "by_chain_rule", interrupt)
        run = train_xor("chain", 10)
    assert run.done == 0
    assert "No step was made" in rendered(reports.xor_report(run, 78))


def test_the_progress_line_is_silent_where_nobody_watches_and_gone_after():
    for watched in (False, True):
        console = Console(file=io.StringIO(), width=80, force_terminal=watched)
        with display.progress(console, "learning") as on_progress:
            on_progress(10, 100, 0.5)
            on_progress(100, 100, 0.25)
        text = console.file.getvalue()
        assert ("steps/s" in text) == watched
        assert ("0.250000" in text) == watched


# -- the demonstration -----------------------------------------------------------------------------


def stage():
    return tour.Stage(Console(file=io.StringIO(), width=80, highlight=False, color_system=None))


@pytest.mark.parametrize("part", [tour.expression, tour.neuron, tour.one_weight])
def test_the_worked_examples_hold(part):
    on = stage()
    part(on)
    assert on.checked >= 2
    assert on.failed == 0
    assert on.console.file.getvalue().count("✓") == on.checked


def test_xor_side_by_side_holds():
    on = stage()
    tour.xor(on, 1200)
    text = on.console.file.getvalue()
    assert on.failed == 0
    assert "22,800" in text  # 19 forward passes a step
    assert text.count("0.361001") == 4  # in the table and in the checks, twice each


def test_a_claim_that_does_not_hold_gets_a_cross():
    on = stage()
    on.claim("two and two are four", True)
    on.claim("two and two are five", False)
    assert (on.checked, on.failed) == (2, 1)
    assert on.console.file.getvalue().split("\n")[:2] == [
        "  ✓ two and two are four",
        "  ✗ two and two are five",
    ]


def quick(monkeypatch, *parts):
    for name in ("expression", "neuron", "one_weight", "xor", "digits"):
        monkeypatch.setattr(tour, name, parts[0] if name == "xor" else lambda *args: None)


def test_the_demonstration_ends_with_one_if_a_claim_fails(invoke, monkeypatch):
    quick(monkeypatch, lambda on, steps: on.claim("no", False))
    result = invoke("demo")
    assert result.exit_code == 1
    assert "1 of 1 check failed" in result.output


def test_the_demonstration_ends_with_zero_if_all_hold(invoke, monkeypatch):
    quick(monkeypatch, lambda on, steps: on.claim("yes", True))
    result = invoke("demo")
    assert result.exit_code == 0
    assert "All 1 check held" in result.output


def test_ctrl_c_ends_the_demonstration_with_130(invoke, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    quick(monkeypatch, interrupt)
    result = invoke("demo")
    assert result.exit_code == 130
    assert "Stopped by Ctrl-C" in result.output


@pytest.mark.slow
def test_the_whole_demonstration_holds(invoke):
    result = invoke("demo")
    assert result.exit_code == 0, result.output
    assert "✗" not in result.output
    assert "checks held" in result.output
