"""Bring docs/learn.md up to date: run its programs, and put under each what it prints.

    python docs/make_learn.py

The page is its own source. Its words are written by hand; its programs are run one after the other, as one; the block
of text after a program is what it printed, and is written anew; the pictures that it saves go to docs/pictures/learn.
A test does the same and compares, so what the page shows is what Backlit says.
"""

from __future__ import annotations

import re
from pathlib import Path

from pages import block, drawn_in, empty_folder, printed_by, write

DOCS = Path(__file__).resolve().parent
PAGE, PICTURES = DOCS / "learn.md", DOCS / "pictures" / "learn"
FILE = "learn.py"  # what explanations call the programs, put one after the other

_PROGRAM = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)


def made() -> dict[Path, str]:
    """The page and its pictures, made anew: path and text."""
    page = PAGE.read_text(encoding="utf-8")
    codes = [match["code"] for match in _PROGRAM.finditer(page)]
    with empty_folder() as folder:
        outputs = iter(printed_by(codes, FILE))
        pictures = drawn_in(folder)
    text = _PROGRAM.sub(lambda match: block(match["code"], next(outputs)), page)
    return {PAGE: text, **{PICTURES / name: svg for name, svg in pictures.items()}}


def main() -> None:
    """Write the page and its pictures."""
    write(made(), PICTURES)


if __name__ == "__main__":
    main()
