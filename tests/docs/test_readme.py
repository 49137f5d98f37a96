"""What the README shows runs, and shows what it says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs():
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    first = [round(float(number), 4) for number in done.stdout.splitlines()[0].split()]
    assert first == [0.7071, -1.5, 1.0, 0.5, 0.0]


def test_the_transcript_of_the_readme_is_what_the_command_prints():
    transcript = re.findall(r"\$ backlit .*?\n\n(.*?)```", README, re.DOTALL)[0]
    command = [sys.executable, "-m", "backlit", "explain", "(a*b + c)*d", "a=2", "b=-3", "c=10", "d=-2"]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    for line in transcript.splitlines():
        assert line.rstrip() in [each.rstrip() for each in printed.splitlines()]
