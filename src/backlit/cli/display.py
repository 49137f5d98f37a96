"""What the commands show while and after they train: a progress line, curves in colour, tables, digits."""

from __future__ import annotations

import math
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from backlit.cli.plot import half_blocks, shaded

if TYPE_CHECKING:
    from backlit.training.digits import Misread

OnProgress = Callable[[int, int, float], None]

WIDEST = 100
"""Curves and tables do not grow beyond this many columns: the eye loses the line."""

GOOD, BAD, QUIET, CURVE = "green", "yellow", "dim", "cyan"


def make_console() -> Console:
    """The console for standard output. Where its encoding lacks a character, a `?` stands in its place."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(highlight=False)


def room(console: Console) -> int:
    """How many columns to fill."""
    return max(24, min(console.width - 2, WIDEST))


@contextmanager
def progress(console: Console, what: str, unit: str = "steps") -> Iterator[OnProgress]:
    """A line with a bar, the rate, the loss and the time left, while the block runs; then it is gone.

    Gives the function to call with the steps done, the steps in all and the loss. Silent where the output
    is no terminal.
    """
    if not console.is_terminal:
        yield lambda done, total, loss: None
        return
    # Short of the edge: the ^C that a terminal writes must not wrap the line, or it could not be erased.
    bar_width = max(8, min(40, console.width - len(what) - len(unit) - 56))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width, complete_style=CURVE, finished_style=CURVE),
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[rate]}", style=QUIET),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[left]}", style=QUIET),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, done="", rate="", loss="", left="")
        start = time.perf_counter()

        def show(done: int, total: int, loss: float) -> None:
            rate = max(done, 1) / max(time.perf_counter() - start, 1e-9)
            bar.update(
                task,
                completed=done,
                total=total,
                done=f"{done:,}/{total:,}",
                rate=f"{rate:,.0f} {unit}/s",
                loss=f"loss {loss:.6f}",
                left=f"{spent(math.ceil((total - done) / rate))} left",
            )

        yield show


def title(console: Console, text: str, beside: str = "") -> None:
    """A heading, with what it is about beside it."""
    line = Text(text, style="bold")
    if beside:
        line.append(f"  {beside}", style="not bold dim")
    console.print(line)


def framed(text: str, indent: int = 2) -> Text:
    """A curve made of text, with its line coloured and its axes left quiet."""
    shown = Text()
    for line in text.split("\n"):
        shown.append(" " * indent)
        for character in line:
            shown.append(character, style=CURVE if "\u2801" <= character <= "\u28ff" else QUIET)
        shown.append("\n")
    shown.right_crop(1)
    return shown


def table(headings: Sequence[str], rows: Sequence[Sequence[str | Text]], left: int = 0, indent: int = 2) -> Text:
    """A table without lines; the first `left` columns are words, the others numbers.

    >>> print(table(["a", "b"], [["1", "200"]]))
      a    b
      1  200
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    heads = [Text(heading, style=QUIET) for heading in headings]
    widths = [max(cell.cell_len for cell in column) for column in zip(heads, *cells, strict=True)]
    shown = Text()
    for row in [heads, *cells]:
        line = Text(" " * indent)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cell.cell_len)
            line.append("  " if i else "")
            line.append_text(cell + space if i < left else Text(space) + cell)
        line.rstrip()
        shown.append_text(line).append("\n")
    shown.right_crop(1)
    return shown


def rows(cells: Sequence[Sequence[str | Text]], left: int = 0, indent: int = 2) -> Text:
    """A table without headings.

    >>> print(rows([["a", "b"], ["1", "200"]]))
      a    b
      1  200
    """
    whole = table([""] * len(cells[0]), cells, left, indent)
    return Text("\n").join(whole.split("\n")[1:])


def prose(text: str, width: int, style: str = "", indent: int = 2) -> Text:
    """Sentences broken into lines of at most `width` characters, set in by `indent`.

    >>> print(prose("one two three", width=9))
      one two
      three
    """
    space = " " * indent
    return Text(textwrap.fill(text, width, initial_indent=space, subsequent_indent=space), style=style)


def commands(console: Console, lines: Sequence[str]) -> None:
    """What can be called next, a line each, whole, so that it can be copied."""
    if lines:
        console.print()
        console.print(Text("  next", style=QUIET))
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def printable(text: object, most: int = 1000) -> str:
    """A text of at most so many characters, without any that would do something to the terminal.

    >>> printable(f"a{chr(27)}[31mb"), printable("abcdef", 4)
    ('a?[31mb', 'abc…')
    """
    shown = "".join(c if c.isprintable() else "?" for c in str(text))
    return shown if len(shown) <= most else shown[: max(1, most - 1)] + "…"


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "step"), counted(20_000, "step")
    ('1 step', '20,000 steps')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def mark(right: bool) -> Text:
    """A check mark, or a cross."""
    return Text("✓", style=GOOD) if right else Text("✗", style=BAD)


def spent(seconds: float) -> str:
    """A length of time with three digits at most.

    >>> [spent(s) for s in (0.0004, 0.25, 14.23, 75.0)]
    ['0.4 ms', '250 ms', '14.2 s', '1 min 15 s']
    """
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60)} min {seconds % 60:.0f} s"


# -- digits ----------------------------------------------------------------------------------------

_COLOURED, _SHADED, _GAP = 12, 16, 2  # columns


def _in_full_colour(console: Console) -> bool:
    return console.color_system is not None and not console.no_color


def digits_in_a_row(console: Console, width: int) -> int:
    """How many digits fit beside each other."""
    each = _COLOURED if _in_full_colour(console) else _SHADED
    return max(1, width // (each + _GAP))


def misread_grid(console: Console, misread: Sequence[Misread], width: int) -> Text:
    """The misread digits beside each other, each with what it is and what was read under it.

    In colour each character shows two pixels, one above the other; without colour each pixel is two
    shaded characters.
    """
    draw = _coloured if _in_full_colour(console) else _shaded
    blocks = [draw(m) for m in misread]
    count = digits_in_a_row(console, width)
    shown = Text()
    for start in range(0, len(blocks), count):
        if start:
            shown.append("\n\n")
        lines = zip(*blocks[start : start + count], strict=True)
        for i, line in enumerate(lines):
            joined = Text(" " * _GAP).join([Text(), *line])
            joined.rstrip()
            shown.append("\n" if i else "").append_text(joined)
    return shown


def _captions(m: Misread, width: int) -> list[Text]:
    first = Text(f"is {m.true}, read {m.predicted}")
    second = Text(f"{100 * m.confidence:.0f} % sure", style=QUIET)
    for line in (first, second):
        line.align("left", width)
    return [first, second]


def _shaded(m: Misread) -> list[Text]:
    return [Text(line) for line in shaded(m.image)] + _captions(m, _SHADED)


def _coloured(m: Misread) -> list[Text]:
    lines = []
    for row in half_blocks(m.image):
        line = Text()
        for upper, lower in row:
            line.append("▀", style=f"{_grey(upper)} on {_grey(lower)}")
        line.append(" " * (_COLOURED - len(row)))
        lines.append(line)
    return lines + _captions(m, _COLOURED)


def _grey(ink: float) -> str:
    level = round(28 + 227 * min(1.0, max(0.0, ink)))
    return f"rgb({level},{level},{level})"
