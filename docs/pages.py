"""What the makers of pages share: running programs for what they print and draw, and writing it."""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def printed_by(codes: Sequence[str], file: str) -> list[str]:
    """What each of several programs prints, run one after the other as one: they share their names.

    file: what explanations call them; their lines are numbered through.
    """
    names: dict[str, Any] = {"__name__": "__main__", "__file__": file}
    whole = "".join(codes)
    linecache.cache[file] = (len(whole), None, whole.splitlines(keepends=True), file)
    outputs, line = [], 0
    try:
        for code in codes:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * line + code, file, "exec"), names)
            outputs.append("\n".join(each.rstrip() for each in printed.getvalue().splitlines()).strip("\n"))
            line += code.count("\n")
    finally:
        linecache.cache.pop(file, None)
    return outputs


def drawn_in(folder: Path) -> dict[str, str]:
    """The pictures that programs have saved in a folder: name and SVG."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.svg"))}


def block(code: str, printed: str, mark: str = "") -> str:
    """A program on a page, and under it what it prints, if anything. mark: what stands after the language."""
    shown = f"```python{mark}\n{code}```\n"
    return f"{shown}\n```text{mark}\n{printed}\n```\n" if printed else shown


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """A new folder to work in, removed afterwards."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def write(files: dict[Path, str], pictures: Path) -> None:
    """Write a page and its pictures, and remove pictures in their folder that are no longer drawn."""
    pictures.mkdir(parents=True, exist_ok=True)
    for path in pictures.glob("*.svg"):
        if path not in files:
            path.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
