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
from itertools import islice
from types import CodeType, FrameType
from typing import NamedTuple

_ROOT = os.path.dirname(os.path.dirname(__file__))
_LIBRARY = tuple(os.path.join(_ROOT, floor, "") for floor in ("core", "ops", "autodiff", "compiler", "nn", "optim"))


class _IsLibrary(dict[CodeType, bool]):
    """Whether code belongs to the library's own floors and not to its user; found out once for each code object."""

    def __missing__(self, code: CodeType) -> bool:
        known = self[code] = code.co_filename.startswith(_LIBRARY)
        return known


IS_LIBRARY = _IsLibrary()


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
    while IS_LIBRARY[frame.f_code] and frame.f_back is not None:
        frame = frame.f_back
    return frame


def site_of(code: CodeType, instruction: int) -> Site:
    """The site of one instruction of a code object. Cost: microseconds; the file is parsed once."""
    line, end_line, column, end_column = next(
        islice(code.co_positions(), instruction // 2, None), (None, None, None, None)
    )
    file, function = code.co_filename, code.co_name
    if line is None:
        return Site(file, code.co_firstlineno, function)
    variable = source = None
    if end_line is not None and column is not None and end_column is not None:
        variable, source = _describe(file, line, end_line, column, end_column)
    return Site(file, line, function, variable, source)


@lru_cache(maxsize=256)
def _parsed(file: str, lines: tuple[str, ...]) -> ast.Module | None:
    try:
        return ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return None


@lru_cache(maxsize=4096)
def _describe(file: str, line: int, end_line: int, column: int, end_column: int) -> tuple[str | None, str | None]:
    """The variable that the expression at these positions is assigned to, and the text of the expression."""
    lines = tuple(linecache.getlines(file))
    tree = _parsed(file, lines)
    if tree is None:
        return None, None
    source = _text(lines, line, end_line, column, end_column)
    where = (line, column, end_line, end_column)
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                if (value.lineno, value.col_offset, value.end_lineno, value.end_col_offset) == where:
                    return name, source
            case ast.Assign(targets=[ast.Attribute() as target], value=value):
                if (value.lineno, value.col_offset, value.end_lineno, value.end_col_offset) == where:
                    return ast.unparse(target), source
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for each, value in zip(names, values, strict=False):
                    at = (value.lineno, value.col_offset, value.end_lineno, value.end_col_offset)
                    if at == where and isinstance(each, ast.Name):
                        return each.id, source
            case ast.AugAssign(target=ast.Name(id=name), lineno=first, col_offset=start):
                if (first, start, node.end_lineno, node.end_col_offset) == where:
                    return name, source
    return None, source


def _text(lines: tuple[str, ...], line: int, end_line: int, column: int, end_column: int) -> str | None:
    """The characters between two positions; columns count bytes of UTF-8, as the parser's do."""
    chosen = [text.encode() for text in lines[line - 1 : end_line]]
    if not chosen:
        return None
    chosen[-1] = chosen[-1][:end_column]
    chosen[0] = chosen[0][column:]
    return b" ".join(part.strip() for part in chosen).decode(errors="replace")
