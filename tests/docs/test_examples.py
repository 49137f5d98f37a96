"""Every example runs by itself, offline and without a display, and finds what it says it finds."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
GUARD = """\
import runpy, socket, sys

def refused(*args, **kwargs):
    raise OSError("an example asked for the network")

socket.socket.connect = socket.getaddrinfo = refused
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def printed(folder, name, *arguments):
    """What an example prints, run in an empty folder in a process without network and display."""
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"PYTHONIOENCODING": "utf-8", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", GUARD, str(EXAMPLES / name), *arguments],
        capture_output=True, text=True, encoding="utf-8", cwd=folder, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == [], "an example leaves nothing behind"
    return done.stdout


def number(text, pattern):
    """The number that stands where a pattern has its brackets."""
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in what was printed:\n{text}"
    return float(found[1].replace(",", ""))


def one_weight(text):
    assert "its gradient by w is -27.0; nudging w gives -27.000000" in text
    assert "w moved by 1.35 = -lr 0.05 × g -27" in text
    assert "by hand w becomes 1.85, by the optimizer 1.85" in text
    assert text.rstrip().endswith("w becomes 2.000000")


def xor(text):
    assert number(text, r"never differ by more than (\S+)\.\n") < 1e-5
    answers = [[float(each) for each in line.split()] for line in text.splitlines()[-4:]]
    assert all(abs(wanted - answered) < 0.05 for _, _, wanted, answered in answers)


def moons(text):
    assert number(text, r"hidden units \[\]: (\S+)% right") < 95 < 99 <= number(text, r"16\]: (\S+)% right")


def table(text):
    assert "7 rows cannot be used" in text
    found = re.search(r"off by (\d+) on average; always saying the mean is off by (\d+)", text)
    assert 30 < int(found[1]) < 60 < 200 < int(found[2])  # the rents were made with a deviation of 40: 32 on average


def digits(text):
    assert number(text, r"validation accuracy (\S+)") >= 0.94  # tests/training/test_shows.py has the whole training
    assert re.search(r"a \d, taken for a \d", text)


def names(text):
    guess, pairs, net = re.search(r"guessing (\S+), counting pairs of letters (\S+), the net (\S+)\n", text).groups()
    assert float(net) < float(pairs) - 0.1 < float(guess) - 1
    written = re.search(r"it wrote: +(.+)", text)[1].split()
    assert len(written) == 12
    assert all(word.isalpha() and word.islower() for word in written)


def transformer(text):
    losses = [float(loss) for loss in re.findall(r"step +\d+: loss (\S+)", text)]
    assert losses[0] > 3
    assert losses[-1] < 1.9
    assert "it writes: the " in text


def rewind(text):
    assert "to the last bit the loss of then: True" in text
    assert "layers.1.weight[3, 1] = " in text
    assert number(text, r"sums to the change within (\S+)\n") < 1e-12
    assert number(text, r"for the first time at step (\d+)") < 140


def hunt(text):
    assert "are dead" in text
    assert number(text, r"The first to die was unit \d, in step (\d+) of 140") > 0
    assert "exp gave inf" in text
    assert "hunt.py" in text


def learning_rate(text):
    by_rule = number(text, r"by the chain rule, .*: (\S+)")
    assert number(text, r"by nudging .*: +(\S+)") == pytest.approx(by_rule, rel=1e-6)
    losses = [float(loss) for loss in re.findall(r"after 20 steps (\S+),", text)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.15


def your_own(text):
    assert text.startswith("check of loss_of: right")
    assert number(text, r"r2 (\S+)") > 0.99


def by_hand(text):
    assert "And with three mistakes, made on purpose" in text


QUICK = {"transformer": ["1"], "names": ["2"], "digits": ["8"], "xor": ["80"], "moons": ["25"]}
"""What an example is run with here, where it would take more than a second or two: fewer epochs."""

FINDS = (
    one_weight, xor, moons, table, digits, names, transformer, rewind, hunt, learning_rate, your_own, by_hand,
)  # fmt: skip


@pytest.mark.parametrize("finds", FINDS, ids=lambda finds: finds.__name__)
def test_an_example_runs_and_finds_what_it_says(finds, tmp_path):
    finds(printed(tmp_path, f"{finds.__name__}.py", *QUICK.get(finds.__name__, [])))


def test_every_example_is_run_here_and_named_on_the_list():
    examples = {path.stem for path in EXAMPLES.glob("*.py")}
    assert examples == {finds.__name__ for finds in FINDS}
    listed = set(re.findall(r"\]\((?:\.\./)?examples/(\w+)\.py\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert listed == examples


def test_an_example_says_how_it_is_run():
    for path in EXAMPLES.glob("*.py"):
        assert f"\nRun it: python examples/{path.name}" in path.read_text(encoding="utf-8")


def test_the_network_is_refused_to_examples(tmp_path):
    program = tmp_path / "asks.py"
    program.write_text("import socket; socket.create_connection(('localhost', 1))", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", GUARD, str(program)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert "an example asked for the network" in done.stderr
    assert socket.socket.connect is not None
