"""Text on the screen: as wide as it is, in colour on a terminal, and plain into a file or a pipe."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from backlit.core.errors import DataError

if TYPE_CHECKING:
    from rich.text import Text

NARROWEST, WIDEST = 40, 120


def width() -> int:
    """How many columns to fill."""
    return max(NARROWEST, min(shutil.get_terminal_size((80, 24)).columns, WIDEST))


def wrapped(line: str) -> str:
    """A line broken to the width of the screen."""
    room = width()
    return line if len(line) <= room else textwrap.fill(line, room, subsequent_indent="   ")


_PLAIN = str.maketrans({"∂": "d", "×": "*", "≈": "~", "—": "-", "…": "...", "±": "+-", "²": "^2", "·": "*"})


def show(text: str) -> None:
    """Write to standard output: in colour on a terminal, plain into a file or a pipe."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        from rich.console import Console

        Console(highlight=False).print(_coloured(text), soft_wrap=True)
    else:
        print(text)


_STYLES = (
    (r"(?m)^[A-Z][A-Z ,:]{5,}.*$", "bold"),
    (r"(?m)^  \S+ = .*?(?=   |$)", "bold"),
    (r"(?m)(?<=   )[a-z][\w ]*(rule|through)\b.*$", "italic magenta"),
    (r"∂[\w#]+/∂[\w#]+", "cyan"),
    (r"[\w#]+\.grad\b", "green"),
    (r"(?m)^ +Note: ", "yellow"),
    (r"(?m)^  input +value.*$", "dim"),
)


def _coloured(text: str) -> Text:
    from rich.text import Text

    shown = Text(text)
    for pattern, style in _STYLES:
        shown.highlight_regex(pattern, style)
    return shown


def say(message: str) -> None:
    """A message on standard error, with `?` for what its encoding lacks."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    print(message.encode(encoding, "replace").decode(encoding), file=sys.stderr)


def only_one(as_json: bool, as_latex: bool, html: Path | None) -> None:
    """Complain if two ways of writing are asked for at once, or if the page has no folder."""
    asked = [f"--{n}" for n, on in (("json", as_json), ("latex", as_latex), ("html", html is not None)) if on]
    if len(asked) > 1:
        raise DataError(f"{' and '.join(asked)} exclude each other.")
    if html is not None:
        check_folder(html)


def check_folder(path: Path) -> None:
    """Complain before any work is done if a file cannot be written there. Raises DataError."""
    if path.is_dir():
        raise DataError(f"{path} is a folder. Give the name of a file in it: {path / 'graph'}{path.suffix or '.html'}.")
    if not path.parent.is_dir():
        raise DataError(
            f"there is no folder {path.parent} to write {path.name} into. Make it first: mkdir {path.parent}"
        )


def write(path: Path, content: str) -> None:
    """Write a file as a whole or not at all, and say so. Raises DataError if it cannot be written."""
    from backlit.core.files import write_whole

    check_folder(path)
    try:
        write_whole(path, content)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from None
    show(f"Wrote {path}.")
