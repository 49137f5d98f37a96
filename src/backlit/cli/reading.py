"""An expression and its values as words of a command: what `explain`, `check` and `draw` share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backlit.cli.screen import say
from backlit.core.errors import ExpressionError

if TYPE_CHECKING:
    from backlit.explain.expression import Expression

Formula = Annotated[str, typer.Argument(help='In Python\'s notation and in quotes: "(a*b + c)*d".', show_default=False)]
Values = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME=VALUE", help="A value for each name: a=2 b=-3.5e2 c=1/3 x=[1,2,3]."),
]
PASS_ON = {"ignore_unknown_options": True}
"""The settings of a command whose expression may begin with a minus sign: "-a*b" is no option."""


def read(text: str, assignments: Sequence[str], options: Sequence[str]) -> tuple[Expression, dict[str, Any]]:
    """The expression and its values; a word on standard error for values that are not used.

    options: those of the command, to suggest one for a word that looks like an option. Raises ExpressionError.
    """
    from backlit.explain import Expression, read_values

    for word in (text, *assignments):
        if re.fullmatch(r"--[a-z-]+", word):
            near = difflib.get_close_matches(word, (*options, "--help"), 1, 0.4)
            raise ExpressionError(f"there is no option {word}." + "".join(f" Did you mean {x}?" for x in near))
    found = Expression.read(text)
    given = read_values(list(assignments))
    for name in given:
        if name not in found.mentioned and not set(found.names) - given.keys():
            say(f"note: `{name}` does not occur in the expression.")
    return found, given


def names_in(wrt: str | None) -> list[str] | None:
    """The names that `--wrt a,b` lists; None if it is not there. Raises ExpressionError if it lists none."""
    if wrt is None:
        return None
    names = [name for name in re.split(r"[,\s]+", wrt) if name]
    if not names:
        raise ExpressionError(f"--wrt {wrt!r} names no variable. For example: --wrt a,b.")
    return names
