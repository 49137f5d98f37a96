"""What the README shows runs, and shows what it says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def printed(program, folder):
    """What a program of the README prints, run as a file in a folder."""
    file = folder / "readme.py"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, encoding="utf-8", cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_of_the_readme_runs(tmp_path):
    program, *_ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    first = [round(float(number), 4) for number in printed(program, tmp_path).splitlines()[0].split()]
    assert first == [0.7071, -1.5, 1.0, 0.5, 0.0]


def test_the_network_of_the_readme_learns_the_digits_and_is_rewound(tmp_path):
    _, program, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in program.splitlines() if line and not line.startswith("import")]) == 9
    text = printed(program, tmp_path)
    assert float(re.search(r"validation accuracy (\S+)", text)[1]) >= 0.965
    assert "layers.1.weight[3, 7] = " in text
    assert "layers.1.bias[7] went from" in text


def test_the_compiled_step_of_the_readme_learns_and_is_explained(tmp_path):
    *_, program = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    text = printed(program, tmp_path)
    assert float(re.search(r"Value\((\S+?)[,)]", text)[1]) < 1e-3
    assert "kernel" in text


def test_every_file_that_the_readme_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_transcript_of_the_readme_is_what_the_command_prints():
    transcript = re.findall(r"\$ backlit .*?\n\n(.*?)```", README, re.DOTALL)[0]
    command = [sys.executable, "-m", "backlit", "explain", "(a*b + c)*d", "a=2", "b=-3", "c=10", "d=-2"]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    for line in transcript.splitlines():
        assert line.rstrip() in [each.rstrip() for each in printed.splitlines()]
