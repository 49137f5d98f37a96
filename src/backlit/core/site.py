"""Where in the user's program a node was made: file, line, function, and the variable it was assigned to.

A node keeps only the caller's code object and the offset of the running instruction (about 0.1 microseconds);
the text is made when someone asks.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
from functools import lru_cache
from types import CodeType, FrameType
from typing import NamedTuple

_ROOT = os.path.dirname(os.path.dirname(__file__))
_FLOORS = ("core", "ops", "autodiff", "compiler", "nn", "optim", "explain", "draw")
# The others of that floor are programs, told line by line.
_OF_TRAINING = ("fit", "settings", "state", "compiled", "run", "nudge", "replay", "stepping", "specs")
_LIBRARY = (
    *(os.path.join(_ROOT, floor, "") for floor in _FLOORS),
    *(os.path.join(_ROOT, "training", f"{name}.py") for name in _OF_TRAINING),
)


class _IsOf(dict[str, bool]):
    """Whether a file, by the name that code has for it, is one of some or in one of some folders; found out once.

    Asked by name and not by code, since a text keeps its hash, and that of code is computed each time from all of it.
    """

    def __init__(self, places: tuple[str, ...]) -> None:
        super().__init__()
        self._places = places

    def __missing__(self, file: str) -> bool:
        if len(self) >= 4096:
            self.clear()  # the name of a cell that was made and dropped is not kept for ever
        known = self[file] = file.startswith(self._places)
        return known


IS_LIBRARY = _IsOf(_LIBRARY)
"""Whether the code of a file belongs to the library's own floors and not to its user."""

IS_TRAINING = _IsOf((os.path.join(_ROOT, "training", ""),))
"""Whether the code of a file trains: then it computes something else than it gives back: `run = fit(model, data)`."""


class Site(NamedTuple):
    """A place in the user's program. `variable` is the name that the result was assigned to, where one can be found."""

    file: str
    line: int
    function: str
    variable: str | None = None
    source: str | None = None  # the text of the expression

    def __str__(self) -> str:
        return f"{self.short_file}:{self.line} in {self.function}"

    @property
    def short_file(self) -> str:
        return os.path.basename(self.file) if not self.file.startswith("<") else self.file

    @property
    def text(self) -> str:
        """The line of source, stripped; empty if the source cannot be found."""
        return linecache.getline(self.file, self.line).strip()


def user_frame(depth: int = 1) -> FrameType:
    """The innermost frame that is not the library's own, looking outward from `depth` frames above the caller."""
    frame = sys._getframe(depth + 1)
    while IS_LIBRARY[frame.f_code.co_filename] and frame.f_back is not None:
        frame = frame.f_back
    return frame


Position = tuple[int | None, int | None, int | None, int | None]  # line, last line, column, last column
NOWHERE: Position = (None, None, None, None)
_KNOWN: dict[int, tuple[CodeType, list[Position]]] = {}


def _positions(code: CodeType) -> list[Position]:
    """The place of every instruction. Kept by identity: to hash a code object costs as much as to read it."""
    known = _KNOWN.get(id(code))
    if known is None:
        if len(_KNOWN) >= 256:
            _KNOWN.clear()
        known = _KNOWN[id(code)] = code, list(code.co_positions())
    return known[1]


def site_of(code: CodeType, instruction: int) -> Site:
    """The site of one instruction of a code object. Cost: microseconds; the file is parsed once."""
    positions = _positions(code)
    line, end_line, column, end_column = positions[instruction // 2] if instruction // 2 < len(positions) else NOWHERE
    file, function = code.co_filename, code.co_name
    if line is None:
        return Site(file, code.co_firstlineno, function)
    variable = source = None
    if end_line is not None and column is not None and end_column is not None:
        variable, source = _describe(file, line, end_line, column, end_column)
    return Site(file, line, function, variable, source)


Span = tuple[int, int, int | None, int | None]  # where an expression starts and ends: line, column, line, column


@lru_cache(maxsize=256)
def _assigned(file: str, lines: tuple[str, ...]) -> dict[Span, str] | None:
    """The variable that each expression of a file is assigned to; None if the file cannot be read. Parsed once."""
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return None
    names: dict[Span, str] = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                names.setdefault(_span(value), name)
            case ast.Assign(targets=[ast.Attribute() as target], value=value):
                names.setdefault(_span(value), ast.unparse(target))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                for each, value in zip(targets, values, strict=False):
                    if isinstance(each, ast.Name):
                        names.setdefault(_span(value), each.id)
            case ast.AugAssign(target=ast.Name(id=name)):
                names.setdefault(_span(node), name)
    return names


def _span(node: ast.expr | ast.stmt) -> Span:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


@lru_cache(maxsize=4096)
def _describe(file: str, line: int, end_line: int, column: int, end_column: int) -> tuple[str | None, str | None]:
    """The variable that the expression at these positions is assigned to, and the text of the expression."""
    lines = tuple(linecache.getlines(file))
    names = _assigned(file, lines)
    if names is None:
        return None, None
    return names.get((line, column, end_line, end_column)), _text(lines, line, end_line, column, end_column)


def _text(lines: tuple[str, ...], line: int, end_line: int, column: int, end_column: int) -> str | None:
    """The characters between two positions; columns count bytes of UTF-8, as the parser's do."""
    chosen = [text.encode() for text in lines[line - 1 : end_line]]
    if not chosen:
        return None
    chosen[-1] = chosen[-1][:end_column]
    chosen[0] = chosen[0][column:]
    return b" ".join(part.strip() for part in chosen).decode(errors="replace")
