"""`backlit train` and `backlit demo` from outside: what they print, refuse and end with."""

from __future__ import annotations

import io
import math
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from backlit import nn
from backlit.cli import boundary, display, main, reports, tour
from backlit.cli.learning import in_flags, place
from backlit.core.errors import DataError
from backlit.training import replay, specs, store
from backlit.training.checkpoint import load_checkpoint
from backlit.training.digits import Misread
from backlit.training.xor import train_xor


@pytest.fixture
def invoke():
    return lambda *args: CliRunner().invoke(main.app, [str(arg) for arg in args])


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


@pytest.fixture
def interrupt_after(monkeypatch):
    """Let Ctrl-C come after a step of `fit`."""
    from backlit.training.fit import fit

    class CtrlC:
        def __init__(self, count):
            self.count = count

        def on_step(self, run):
            if run.position.step == self.count:
                raise KeyboardInterrupt

    def at(count):
        def interrupted(*args, callbacks, **kwargs):
            return fit(*args, callbacks=[*callbacks, CtrlC(count)], **kwargs)

        monkeypatch.setattr("backlit.training.fit.fit", interrupted)

    return at


def test_ctrl_c_ends_digits_with_what_was_learned_and_130(invoke, interrupt_after, tmp_path):
    interrupt_after(70)
    result = invoke("train", "digits", "--record", tmp_path / "digits.backlit")
    assert result.exit_code == 130
    assert "Stopped by Ctrl-C after 70 of 1,350 steps" in result.output
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
        run = train_xor("chain", 10, compile=False)
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


# -- moons, spirals, names -------------------------------------------------------------------------


def test_moons_show_the_boundary_and_every_point(invoke):
    result = invoke("train", "moons", "--epochs", "12", "--points", "200")
    assert result.exit_code == 0
    picture = [line for line in result.output.split("\n") if line.startswith("  │") and line.endswith("│")]
    inside = "".join(line.strip(" │") for line in picture)
    assert len(picture) >= 8
    assert inside.count("o") > 50
    assert inside.count("x") > 50
    assert inside.count("░") > 100
    right = float(re.search(r"points that it never saw: (\d+\.\d) %", result.output)[1])
    assert right >= 85
    assert max(map(len, result.output.split("\n"))) <= 80
    assert "\x1b" not in result.output


def test_a_straight_line_cannot_part_the_spirals(invoke):
    result = invoke("train", "spirals", "--epochs", "10", "--points", "200", "--hidden", "0")
    assert "2-2 ·" in result.output
    assert float(re.search(r"never saw: (\d+\.\d) %", result.output)[1]) < 75


def test_the_boundary_is_painted_in_colour_with_as_many_classes_as_there_are():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [1.9, 0.1]])

    def scores(x):
        return np.stack([-((x[:, 0] - k) ** 2) * 20 for k in range(3)], axis=1)

    labels = np.array([0, 1, 2, 0])
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80)
    painted = boundary.boundary(scores, points, labels, ["a", "b", "c"], console, 40)
    assert painted.plain.count("▀") >= 40 * 8
    assert "answered wrongly" in painted.plain  # the last point lies where c is said, and is a
    assert any("rgb(255,255,255)" in str(span.style) for span in painted.spans)
    plain = boundary.boundary(scores, points, labels, ["a", "b", "c"], Console(file=io.StringIO()), 40)
    assert "▀" not in plain.plain
    assert {"o", "x", "!", "░", "▒"} <= set(plain.plain)


def test_no_color_is_heeded_by_pictures(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor")
    assert not boundary.paints(console)
    assert "▀" not in rendered(display.misread_grid(console, MISREAD, 78))


def test_names_get_likelier_than_guessing_and_new_ones_are_made(invoke):
    result = invoke("train", "names", "--count", "300", "--epochs", "3", "--samples", "12", "--hidden", "40")
    assert result.exit_code == 0
    guess = float(re.search(r"guessing, all letters alike +(\d\.\d+)", result.output)[1])
    now = float(re.search(r"now, on names it never saw +(\d\.\d+)", result.output)[1])
    assert abs(guess - math.log(round(math.exp(guess)))) < 1e-3
    assert now < guess - 0.3
    made = re.search(r"Names it makes \(\d+ of 12 are new\):\n((?:    .+\n)+)", result.output)[1].split()
    assert len(made) <= 12
    assert all(re.fullmatch(r"[a-z]*…?", name) for name in made)


# -- files -----------------------------------------------------------------------------------------


def sorted_fruit(rows=90):
    """Fruits that weight and colour tell apart; the shelf says nothing."""
    lines = ["weight,colour,shelf,fruit"]
    for i in range(rows):
        kind = i % 3
        weight = (150, 120, 150)[kind] + (i * 7) % 11
        colour = ("red", "yellow", "green")[kind]
        lines.append(f"{weight},{colour},{(i * 13) % 17},{('apple', 'banana', 'pear')[kind]}")
    return "\n".join(lines) + "\n"


def houses(rows=80):
    lines = ["rooms;size;price"]
    for i in range(rows):
        rooms, size = 1 + i % 5, 40 + (i * 37) % 100
        lines.append(f"{rooms};{size};{1000 * (20 * rooms + 3 * size)}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    (path / "fruit.csv").write_text(sorted_fruit())
    (path / "houses.csv").write_text(houses())
    return path


def test_a_file_is_read_learned_from_and_told_about(invoke, folder):
    result = invoke("train", folder / "fruit.csv", "--target", "fruit", "--epochs", "25", "--hidden", "8")
    assert result.exit_code == 0, result.output
    text = result.output
    assert "fruit from fruit.csv  3 kinds" in text
    assert re.search(r"colour +3 words +green 30, red 30, yellow 30", text)
    assert "90 rows: 72 to learn from, 18 held out" in text
    assert "Model: 5 → 8 → 3 with tanh, 75 parameters" in text
    assert "18 of 18 rows that it never saw: 100.0 %" in text
    assert re.search(r"banana +· +6 +·", text)
    lost = dict(re.findall(r"^  (weight|colour|shelf) +[█▏▎▍▌▋▊▉]* +(-?\d+\.\d) %$", text, re.MULTILINE))
    assert float(lost["colour"]) > 20
    assert float(lost["shelf"]) < 5
    assert max(map(len, text.split("\n"))) <= 80


def test_an_amount_is_answered_in_its_own_unit(invoke, folder):
    result = invoke("train", folder / "houses.csv", "--epochs", "120", "--hidden", "16", "--lr", "0.02")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    error = float(re.search(r"root mean square error is ([\d.e+]+)", said)[1])
    alone = float(re.search(r"always saying the mean gives ([\d.e+]+)", said)[1])
    assert 5e4 < alone < 2e5  # the prices' own deviation
    assert error < alone / 5
    assert float(re.search(r"R² (\d\.\d+)", said)[1]) > 0.95


def test_the_same_seed_gives_the_same_report(invoke, folder):
    def told(seed):
        output = invoke("train", folder / "fruit.csv", "--epochs", "3", "--seed", seed).output
        return re.sub(r"in [\d.]+ m?s \(.*\)", "", output)

    assert told(3) == told(3)
    assert told(3) != told(4)


def test_noughts_and_ones_are_kinds_unless_asked_otherwise(invoke, tmp_path):
    file = tmp_path / "yes.csv"
    file.write_text("x,y\n" + "".join(f"{i % 7},{int(i % 7 > 3)}\n" for i in range(40)))
    kinds = invoke("train", file, "--epochs", "2").output
    assert "2 kinds" in kinds
    assert "taken as two kinds" in " ".join(kinds.split())
    assert "an amount" in invoke("train", file, "--epochs", "2", "--task", "regress").output
    few = tmp_path / "few.csv"
    few.write_text("x,y\n" + "".join(f"{i},{i % 3}\n" for i in range(40)))
    assert "add --task classify" in " ".join(invoke("train", few, "--epochs", "2").output.split())
    assert "3 kinds" in invoke("train", few, "--epochs", "2", "--task", "classify").output


def test_learning_by_heart_is_said(invoke, tmp_path):
    file = tmp_path / "noise.csv"
    numbers = np.random.default_rng(0).integers(0, 1000, (40, 4))
    file.write_text("a,b,c,y\n" + "".join(",".join(map(str, row)) + "\n" for row in numbers))
    text = " ".join(invoke("train", file, "--epochs", "80", "--hidden", "32,32", "--lr", "0.02").output.split())
    assert "by heart" in text
    assert "--patience" in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fruti.csv"], "there is no file fruti.csv. Did you mean fruit.csv?"),
        (["mons"], "Did you mean moons? Data that come along: xor, moons"),
        (["."], "is a folder"),
        (["fruit.csv", "--target", "friut"], "Did you mean 'fruit'?"),
        (["fruit.csv", "--target", "fruit", "--drop", "fruit"], "among the columns to drop"),
        (["fruit.csv", "--task", "regress"], "3 kinds (apple, banana, pear), which are no amounts"),
        (["houses.csv", "--target", "price", "--missing", "lots"], "say error, drop, mean, or a number"),
        (["fruit.csv", "--hidden", "3,x"], "is no list of layers"),
        (["fruit.csv", "--optimizer", "adm"], "Did you mean adam?"),
        (["fruit.csv", "--optimizer", "lbfgs"], "use it in Python"),
        (["fruit.csv", "--lr", "nan"], "nan is not a learning rate"),
        (["fruit.csv", "--validation", "1"], "1.0 is not a share"),
        (["fruit.csv", "--epochs", "0"], "--epochs"),
        (["fruit.csv", "--seed", str(2**64)], "is no seed"),
        (["fruit.csv", "--epoch", "3"], "--epochs"),
        (["fruit.csv", "--resume"], "--resume needs --checkpoint"),
        (["fruit.csv", "--plot", "a.txt"], "is no name of a picture"),
        (["fruit.csv", "--save", "no/such.safetensors"], "no folder no"),
        (["fruit.csv", "--record", "fruit.csv"], "would replace it"),
        (["fruit.csv", "--record", "fruit.csv", "--force"], "no recorded run, so it is left as it is"),
        (["fruit.csv", "--checkpoint", "houses.csv", "--force"], "left as it is"),
        (["fruit.csv", "--save", "fruit.csv", "--force"], "is the file to learn from"),
        (["fruit.csv", "--record", "a", "--save", "a"], "name the same file"),
        (["--target", "fruit"], "Missing argument"),
    ],
)
def test_what_the_user_can_mend_is_one_message(invoke, folder, monkeypatch, args, words):
    monkeypatch.chdir(folder)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    result = invoke("train", *args)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"a,b\n1,2\n3,zz\n5,6\n7,8\n", "line 3: column 'b' holds 'zz' among numbers"),
        (b"a,b\n1,2\n3,zz\n5,6\n7,8\n", "--words 'b'"),
        (b"a,b\n1,2\n,4\n5,6\n", "--missing drop"),
        (b"a,b\n1,2\n3\n5,6\n", "line 3"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00", "a picture"),
        (b"a,b\n1,x\n2,x\n3,x\n", "nothing to tell apart"),
        (b"a,b\n", "no rows follow"),
        (b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le"), "--encoding"),
    ],
)
def test_a_bad_file_is_one_message_in_the_words_of_the_terminal(invoke, tmp_path, content, words):
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    result = invoke("train", file)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "load_csv" not in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_options_may_stand_before_the_file(invoke, folder):
    assert invoke("train", "--epochs", "2", folder / "fruit.csv").exit_code == 0


def test_a_file_called_like_a_data_set_is_reached_by_its_path(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moons").write_text(sorted_fruit(30))
    assert "fruit from moons" in invoke("train", "./moons", "--epochs", "1").output
    assert invoke("train", "moons", "--epochs", "1", "--points", "40").output.startswith("Moons")


@pytest.mark.parametrize("word", ["DATA.csv", "xor", "moons", "spirals", "digits", "names"])
def test_help_teaches_by_examples(invoke, word):
    result = invoke("train", word, "--help")
    assert result.exit_code == 0
    assert re.search(rf"^    backlit train {word if word != 'DATA.csv' else '[a-z]+.csv'}", result.output, re.MULTILINE)
    assert word in invoke("train", "--help").output


# -- what is written -------------------------------------------------------------------------------


def test_all_files_are_written_and_none_replaced_without_force(invoke, folder, tmp_path):
    files = {"--record": "r.backlit", "--checkpoint": "c", "--save": "m.safetensors"}
    args = [part for flag, name in files.items() for part in (flag, tmp_path / name)]
    first = invoke("train", folder / "fruit.csv", "--epochs", "2", *args)
    assert first.exit_code == 0, first.output
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c", "m.safetensors", "r.backlit"]
    assert "backlit rewind" in first.output
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    for flag, name in files.items():
        again = invoke("train", folder / "fruit.csv", "--epochs", "2", flag, tmp_path / name)
        assert again.exit_code == 2
        assert "--force" in again.stderr
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before
    assert invoke("train", folder / "fruit.csv", "--epochs", "2", "--force", *args).exit_code == 0


def test_a_saved_model_answers_as_it_did(invoke, folder, tmp_path):
    file = tmp_path / "m.safetensors"
    invoke("train", folder / "fruit.csv", "--epochs", "20", "--hidden", "8", "--save", file)
    stored = store.read(file, "model")
    about = stored.about["data"]
    model = specs.made(stored.about["model"], nn.Module)
    model.load_state_dict(stored.arrays)
    assert about["classes"] == ["apple", "banana", "pear"]
    assert about["features"] == ["weight", "colour=green", "colour=red", "colour=yellow", "shelf"]
    yellow = (np.array([121.0, 0, 0, 1, 5]) - about["mean"]) / about["deviation"]
    assert about["classes"][int(model(yellow[None]).data.argmax())] == "banana"


def test_a_training_that_was_stopped_goes_on_to_the_same_numbers(invoke, tmp_path, interrupt_after, monkeypatch):
    moons = ("train", "moons", "--points", "100", "--epochs", "6", "--batch", "20")
    whole, parts, kept = (tmp_path / name for name in ("whole.backlit", "parts.backlit", "c"))
    assert invoke(*moons, "--record", whole).exit_code == 0
    with monkeypatch.context():
        interrupt_after(9)
        stopped = invoke(*moons, "--record", parts, "--checkpoint", kept)
    assert stopped.exit_code == 130
    assert "--resume goes on from there" in " ".join(stopped.output.split())
    monkeypatch.undo()
    assert invoke(*moons, "--record", parts, "--checkpoint", kept, "--resume").exit_code == 0
    one, two = replay.load_run(whole), replay.load_run(parts)
    assert one.steps == two.steps == 24
    assert one.losses.tolist() == two.losses.tolist()
    other = invoke(*moons[:-1], "10", "--checkpoint", kept, "--resume")
    assert other.exit_code == 2
    assert "batch_size was 20 and is 10" in other.stderr
    lr = invoke(*moons, "--checkpoint", kept, "--resume", "--lr", "0.5")
    assert "optimizer was Adam(lr=0.02) and is Adam(lr=0.5)" in lr.stderr


def test_a_compiled_training_is_gone_on_with_as_a_recorded_one(invoke, tmp_path):
    moons = ("train", "moons", "--points", "100", "--batch", "10", "--checkpoint", tmp_path / "c")
    first = invoke(*moons, "--epochs", "26")
    assert first.exit_code == 0, first.output
    assert invoke(*moons, "--epochs", "28", "--resume", "--record", tmp_path / "r.backlit").exit_code == 0
    run = replay.load_run(tmp_path / "r.backlit")
    assert (run.first_step, run.end) == (208, 224)
    assert bool(run.compiled_for) == ("compiled" in first.output)
    assert run.at(220).exact


def test_resuming_what_is_not_there_begins_and_says_so(invoke, tmp_path):
    result = invoke("train", "moons", "--points", "40", "--epochs", "1", "--checkpoint", tmp_path / "c", "--resume")
    assert result.exit_code == 0
    assert "starts from the beginning" in result.stderr


def test_a_loss_that_is_no_number_ends_with_1_and_says_where_it_arose(invoke, folder, tmp_path):
    run = tmp_path / "nan.backlit"
    args = ("--optimizer", "sgd", "--lr", "1e6", "--activation", "relu", "--record", run)
    result = invoke("train", folder / "fruit.csv", *args)
    assert result.exit_code == 1
    text = " ".join(result.output.split())
    step = re.search(r"The loss is \S+ at step (\d+), so training stopped", text)[1]
    assert int(step) <= 3
    assert f"--step {step}" in text
    assert "learning.py" not in text
    assert "smaller --lr" in text
    looked = invoke("rewind", run)
    assert "no longer a number" in " ".join(looked.output.split())


@pytest.mark.slow
def test_a_plot_is_painted(invoke, tmp_path):
    pytest.importorskip("matplotlib")
    for name, words in (("moons", ("--points", "40")), ("names", ("--count", "50"))):
        out = tmp_path / f"{name}.png"
        result = invoke("train", name, *words, "--epochs", "1", "--plot", out)
        assert result.exit_code == 0, result.output
        assert out.read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_painted_is_told_before_the_training(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke("train", "moons", "--plot", tmp_path / "moons.png")
    assert result.exit_code == 2
    assert 'pip install "backlit[plot]"' in result.stderr
    assert result.stdout == ""
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_ctrl_c_in_a_real_process_leaves_whole_files_and_no_traceback(tmp_path):
    args = ["moons", "--epochs", "100000", "--record", "r.backlit", "--checkpoint", "c"]
    process = subprocess.Popen(
        [sys.executable, "-m", "backlit", "train", *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for _ in range(200):
        time.sleep(0.1)
        if (tmp_path / "r.backlit").exists():
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped by Ctrl-C after" in out.decode()
    assert err == b""
    run = replay.load_run(tmp_path / "r.backlit")
    assert run.at(run.end - 1).exact
    assert load_checkpoint(tmp_path / "c").position.step == run.end
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c", "r.backlit"]


@pytest.mark.slow
def test_digits_are_read_by_default_to_97_percent_in_20_seconds(invoke):
    began = time.perf_counter()
    result = invoke("train", "digits")
    assert float(re.search(r"images that it never saw: (\d+\.\d) %", result.output)[1]) >= 97
    assert time.perf_counter() - began < 20


def test_nothing_in_a_file_does_something_to_the_terminal(invoke, tmp_path):
    file, run = tmp_path / "esc.csv", tmp_path / "esc.backlit"
    file.write_text("a\x1b[31m,b\x1b[2J\n" + "".join(f"{i},k\x1b[1m{i % 2}\n" for i in range(30)))
    for result in (
        invoke("train", file, "--epochs", "1", "--record", run),
        invoke("rewind", run, "--step", "0"),
        invoke("runs", tmp_path),
        invoke("train", file, "--target", "c"),
    ):
        assert result.exit_code in (0, 2)
        assert "\x1b" not in result.output


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("layers.0.weight[3,5]", ("layers.0.weight", (3, 5))),
        ("layers[0].weight[-1, 5]", ("layers.0.weight", (-1, 5))),
        (" bias[2,] ", ("bias", (2,))),
        ("a.b", ("a.b", None)),
    ],
)
def test_a_weight_is_named_as_in_python(text, found):
    assert place(text) == found


@pytest.mark.parametrize("text", ["", "[3]", "w[", "w[]", "w[a]", "w[1.5]", "w[1][2]", "w]", "w x"])
def test_what_names_no_weight_is_refused(text):
    with pytest.raises(DataError, match=r"layers\.0\.weight|no index"):
        place(text)


def test_messages_are_said_in_flags():
    assert in_flags('load_csv: a.csv: leave it out with drop=["id"].') == "a.csv: leave it out with --drop 'id'."
    said = in_flags("optimizer was {'class': 'backlit.optim:SGD', 'args': [], 'kwargs': {'lr': 1}} and is none; x")
    assert said == "optimizer was SGD(lr=1) and is none; x"
    assert in_flags("model was {'class': 'a and is {'b.") == "model was {'class': 'a and is {'b."  # cut off


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
