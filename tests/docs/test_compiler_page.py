"""The page about the compiler shows what the compiler does today, but for what depends on the processor."""

import re
from pathlib import Path

import make_compiler as maker
import pytest

from tests.docs.test_explain_gallery import assert_same

ROOT = Path(__file__).parents[2]


committed = maker.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made():
    return maker.made()


def test_the_page_is_what_its_programs_print(made):
    page, now = maker.of_any_machine(committed), maker.of_any_machine(made)
    assert_same(now, page, "compiler.md: run docs/make_compiler.py")


def test_what_depends_on_the_processor_is_printed_too_and_marked(made):
    blocks = re.findall(r"```text machine\n(.*?)```", made, flags=re.DOTALL)
    assert len(blocks) == made.count("```python machine\n") == 9
    assert all(block.strip() for block in blocks)
    assert "```text machine" not in maker.of_any_machine(made)


def test_its_prose_holds_what_its_programs_show(made):
    first, again = re.findall(r"first: (\w+)  again: (\w+)", made)[0]
    assert (first, again) == ("False", "True")
    assert re.search(r"verdict: (equal|rounding) ", made)
    slope, eager = re.findall(r"(\d+\.\d+), eager (\d+\.\d+)\n", made)[0]
    assert float(slope) == pytest.approx(float(eager), rel=1e-6)
    forwards, backwards = re.findall(r"1000 turns (\w+):", made)
    assert (forwards, backwards) == ("forwards", "backwards")
    assert float(re.findall(r"(\d\.\d+) after 2000 turns", made)[0]) < 0.01  # it has learned XOR


def test_a_program_of_one_machine_keeps_its_mark(tmp_path, monkeypatch):
    page = tmp_path / "compiler.md"
    page.write_text(
        "One.\n\n```python\nx = 2\n```\n\n```python machine\nprint(x + 1)\n```\n\n```text machine\n99\n```\n\n"
        "```python\nprint(x * 5)\n```\n\nEnd.\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(maker, "PAGE", page)
    now = maker.made()
    assert now == (
        "One.\n\n```python\nx = 2\n```\n\n```python machine\nprint(x + 1)\n```\n\n```text machine\n3\n```\n\n"
        "```python\nprint(x * 5)\n```\n\n```text\n10\n```\n\nEnd.\n"
    )
    assert "3\n" not in maker.of_any_machine(now)
    assert "10\n" in maker.of_any_machine(now)


def test_every_file_and_heading_that_the_page_names_is_there():
    words = re.sub(r"```.*?```", "", committed, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", words, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    targets = re.findall(r"\]\(([^)]+)\)", words)
    assert len(targets) >= 3
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (maker.PAGE.parent / target).exists(), target
    for name in re.findall(r"`((?:compiler|docs)/\w+\.py)`", words):
        assert (ROOT / "src" / "backlit" / name).exists() or (ROOT / name).exists(), name
