"""Bring docs/compiler.md up to date: run its programs, and put under each what it prints.

    python docs/make_compiler.py

The page is its own source: its words are written by hand, its programs are run one after the other, as one, and the
block of text after a program is what it printed. What depends on the processor (vector widths, assembly, times) is
printed by programs that are marked, ```` ```python machine ````; it stands in a block ```` ```text machine ````, and
shows one machine. A test makes the page anew and compares all but those blocks.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pages import block, printed_by

PAGE = Path(__file__).resolve().parent / "compiler.md"
FILE = "xor.py"  # what explanations call the programs, put one after the other

_PROGRAM = re.compile(r"```python(?P<mark>[^\n]*)\n(?P<code>.*?)```\n(?:\n```text[^\n]*\n.*?```\n)?", re.DOTALL)
_OF_ONE_MACHINE = re.compile(r"```text machine\n.*?```\n", re.DOTALL)


def made() -> str:
    """The page, made anew."""
    page = PAGE.read_text(encoding="utf-8")
    codes = [match["code"] for match in _PROGRAM.finditer(page)]
    with _own_cache():
        outputs = iter(printed_by(codes, FILE))
    return _PROGRAM.sub(lambda match: block(match["code"], next(outputs), match["mark"]), page)


def of_any_machine(page: str) -> str:
    """The page without what depends on the processor."""
    return _OF_ONE_MACHINE.sub("", page)


@contextlib.contextmanager
def _own_cache() -> Iterator[None]:
    """An empty cache of machine code, so that what is compiled is compiled, and found the second time."""
    before = os.environ.get("BACKLIT_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BACKLIT_CACHE_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["BACKLIT_CACHE_DIR"]
            else:
                os.environ["BACKLIT_CACHE_DIR"] = before


def main() -> None:
    """Write the page."""
    PAGE.write_text(made(), encoding="utf-8")


if __name__ == "__main__":
    main()
