"""Bring docs/learn.md up to date: run its programs, and put under each what it prints.

    python docs/make_learn.py

The page is its own source. Its words are written by hand; its programs are run one after the other, as one; the block
of text after a program is what it printed, and is written anew; the pictures that it saves go to docs/pictures/learn.
A test does the same and compares, so what the page shows is what Backlit says.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGE, PICTURES = DOCS / "learn.md", DOCS / "pictures" / "learn"
FILE = "learn.py"  # what explanations call the programs, put one after the other

_PROGRAM = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)


def made() -> dict[Path, str]:
    """The page and its pictures, made anew: path and text."""
    page = PAGE.read_text(encoding="utf-8")
    codes = [match["code"] for match in _PROGRAM.finditer(page)]
    whole = "".join(codes)
    linecache.cache[FILE] = (len(whole), None, whole.splitlines(keepends=True), FILE)
    try:
        with _empty_folder() as folder:
            outputs = iter(_run(codes))
            pictures = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.svg"))}
    finally:
        linecache.cache.pop(FILE, None)
    text = _PROGRAM.sub(lambda match: _shown(match["code"], next(outputs)), page)
    return {PAGE: text, **{PICTURES / name: svg for name, svg in pictures.items()}}


def _run(codes: list[str]) -> list[str]:
    """What each program prints. They share their names; their lines are numbered through."""
    names: dict[str, Any] = {"__name__": "__main__", "__file__": FILE}
    outputs, line = [], 0
    for code in codes:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + code, FILE, "exec"), names)
        outputs.append("\n".join(each.rstrip() for each in printed.getvalue().splitlines()).strip("\n"))
        line += code.count("\n")
    return outputs


def _shown(code: str, printed: str) -> str:
    block = f"```python\n{code}```\n"
    return f"{block}\n```text\n{printed}\n```\n" if printed else block


@contextlib.contextmanager
def _empty_folder() -> Iterator[Path]:
    """A new folder to work in, removed afterwards."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def main() -> None:
    """Write the page and its pictures."""
    files = made()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for path in PICTURES.glob("*.svg"):
        if path not in files:
            path.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
