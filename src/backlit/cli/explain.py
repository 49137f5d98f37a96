"""`backlit explain` and `backlit check`: the gradient of an expression, told and put to the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from backlit.cli import screen
from backlit.cli.reading import PASS_ON, Formula, Values, names_in, read

NOT_RIGHT, CANNOT_TELL = 1, 3
"""Exit codes of `check`: a gradient is wrong; it could not be told."""


def register(app: typer.Typer) -> None:
    """Give the app its `explain` and `check` commands."""
    app.command("explain", context_settings=PASS_ON)(explain)
    app.command("check", context_settings=PASS_ON)(check)


def explain(
    expression: Formula,
    values: Values = None,
    wrt: Annotated[str | None, typer.Option(metavar="A,B", help="Only the derivatives by these names.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the derivation as JSON.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Write the derivation as LaTeX.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the derivation as a page.")] = None,
) -> None:
    """Tell how a gradient comes about: forward, backward by the chain rule, and held against nudging.

    backlit explain "(a*b + c)*d" a=2 b=-3 c=10 d=-2
    """
    from backlit.explain import derivation

    screen.only_one(as_json, as_latex, html)
    found, given = read(expression, values or [], ("--wrt", "--json", "--latex", "--html"))
    told = derivation(found.evaluate(given), names_in(wrt), nudged=not as_latex)
    if as_json:
        print(json.dumps(told.to_dict(), indent=2, allow_nan=False))
    elif as_latex:
        screen.show(told.latex())
    elif html is not None:
        screen.write(html, told.html())
    else:
        screen.show(told.text(screen.width()))


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

    found, given = read(expression, values or [], ("--json",))
    found.evaluate(given)  # complains of what is missing, with a caret
    used = {name: data for name, data in given.items() if name in found.mentioned}
    report = checked(found.function(list(used)), *used.values())
    if as_json:
        print(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        screen.show("\n".join(screen.wrapped(line) for line in str(report).split("\n")))
    if report.verdict != "right":
        raise typer.Exit(NOT_RIGHT if report.verdict == "wrong" else CANNOT_TELL)
