"""`backlit explain` and `backlit check`: the gradient of an expression, told and put to the test."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backlit.core.errors import ExpressionError

if TYPE_CHECKING:
    from rich.text import Text

    from backlit.explain.expression import Expression

NARROWEST, WIDEST = 40, 120
NOT_RIGHT, CANNOT_TELL = 1, 3
"""Exit codes of `check`: a gradient is wrong; it could not be told."""

Formula = Annotated[
    str, typer.Argument(help='In Python\'s notation and in quotes: "(a*b + c)*d".', show_default=False)
]
Values = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME=VALUE", help="A value for each name: a=2 b=-3.5e2 c=1/3 x=[1,2,3]."),
]
_PASS_ON = {"ignore_unknown_options": True}  # so that "-a*b" is an expression, not an option


def register(app: typer.Typer) -> None:
    """Give the app its `explain` and `check` commands."""
    app.command("explain", context_settings=_PASS_ON)(explain)
    app.command("check", context_settings=_PASS_ON)(check)


def explain(
    expression: Formula,
    values: Values = None,
    wrt: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only the derivatives by these names.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the derivation as JSON.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Write the derivation as LaTeX.")] = False,
) -> None:
    """Tell how a gradient comes about: forward, backward by the chain rule, and held against nudging.

    backlit explain "(a*b + c)*d" a=2 b=-3 c=10 d=-2
    """
    from backlit.explain import derivation

    if as_json and as_latex:
        raise typer.BadParameter("--json and --latex exclude each other.")
    read, given = _read(expression, values or [])
    names = None if wrt is None else [name for name in re.split(r"[,\s]+", wrt) if name]
    if names == []:
        raise ExpressionError(f"--wrt {wrt!r} names no variable. For example: --wrt a,b.")
    told = derivation(read.evaluate(given), names, nudged=not as_latex)
    if as_json:
        print(json.dumps(told.to_dict(), indent=2, allow_nan=False))
    elif as_latex:
        _show(told.latex())
    else:
        _show(told.text(_width()))


def check(
    expression: Formula,
    values: Values = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False,
) -> None:
    """Put a gradient to the test: reverse mode against forward mode against nudging.

    Exit code 0 if every derivative is right, 1 if one is wrong, 3 if it cannot be told.

    backlit check "tanh(a*b)" a=0.5 b=-2
    """
    from backlit.autodiff.check import check as checked

    read, given = _read(expression, values or [])
    read.evaluate(given)  # complains of what is missing, with a caret
    used = {name: data for name, data in given.items() if name in read.mentioned}
    report = checked(read.function(list(used)), *used.values())
    if as_json:
        print(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        _show("\n".join(_wrapped(line) for line in str(report).split("\n")))
    if report.verdict != "right":
        raise typer.Exit(NOT_RIGHT if report.verdict == "wrong" else CANNOT_TELL)


def _read(text: str, assignments: list[str]) -> tuple[Expression, dict[str, Any]]:
    """The expression and its values; a word on standard error for values that are not used."""
    from backlit.explain import Expression, read_values

    for word in (text, *assignments):
        if re.fullmatch(r"--[a-z-]+", word):
            near = difflib.get_close_matches(word, ("--wrt", "--json", "--latex", "--help"), 1, 0.4)
            raise ExpressionError(
                f"there is no option {word}." + "".join(f" Did you mean {x}?" for x in near)
            )
    read = Expression.read(text)
    given = read_values(assignments)
    for name in given:
        if name not in read.mentioned and not set(read.names) - given.keys():
            print(f"note: `{name}` does not occur in the expression.", file=sys.stderr)
    return read, given


# -- on the screen -----------------------------------------------------------------------------------


def _width() -> int:
    return max(NARROWEST, min(shutil.get_terminal_size((80, 24)).columns, WIDEST))


def _wrapped(line: str) -> str:
    """A line broken to the width of the screen."""
    width = _width()
    return line if len(line) <= width else textwrap.fill(line, width, subsequent_indent="   ")


_PLAIN = str.maketrans({"∂": "d", "×": "*", "≈": "~", "—": "-", "…": "...", "±": "+-", "²": "^2", "·": "*"})


def _show(text: str) -> None:
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
