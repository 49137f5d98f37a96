"""`backlit why`: runs a script, and answers why the gradient of one of its values is what it is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backlit.cli import screen, script
from backlit.core.errors import DataError

if TYPE_CHECKING:
    from backlit.explain.explanation import Explanation


def register(app: typer.Typer) -> None:
    """Give the app its `why` command."""
    app.command("why")(why)


def why(
    target: Annotated[
        str,
        typer.Argument(metavar="FILE.py:NAME", help="A script and a value in it: net.py:W, net.py:layers[0].W."),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARG...]", help="What the script is given in sys.argv.")
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(metavar="LOSS", help="The name of the output. By default what backward() was called on last."),
    ] = None,
    index: Annotated[
        str | None, typer.Option(metavar="3,5", help="One element of an array. By default the whole of it.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many terms of a sum to list.")] = 5,
    follow: Annotated[
        list[int] | None, typer.Option(metavar="TERM", help="Follow this term further; may be given again.")
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open composites, such as softmax.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the explanation as JSON.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Write the explanation as LaTeX.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the explanation as a page.")] = None,
) -> None:
    """Run a script, then say why the gradient of one of its values is None, zero, NaN, or the number it is.

    What the script prints goes to standard error. Exit code 1 if it fails by itself.

    backlit why net.py:W1 --index 3,5
    """
    from backlit.explain.why import why as explained

    screen.only_one(as_json, as_latex, html)
    place = None if index is None else _place(index)
    path, name = script.split(target)
    names = script.run(path, arguments or ())
    x = _value(name, names, path)
    if x.name is None:
        x.name = name  # it is spoken of as it was asked for: `layers[0].W`, and not `self.W`
    output = None if of is None else _value(of, names, path)
    answer = explained(x, output, place, top, opened)
    if any(finding.kind == "no backward" for finding in answer.findings):
        raise DataError(_no_backward(name, names, path))
    for term in follow or ():
        answer = answer.follow(term)
    if as_json:
        print(json.dumps(answer.to_dict(), indent=2, allow_nan=False))
    elif as_latex:
        screen.show(answer.latex())
    elif html is not None:
        screen.write(html, answer.html())
    else:
        screen.show(_for_the_terminal(answer, target).text(screen.width()))


def _place(text: str) -> tuple[int, ...]:
    """The numbers of `--index 3,5`."""
    words = text.strip().strip("()[]").split(",")
    if words[-1].strip() == "":
        words = words[:-1]
    if not words or not all(re.fullmatch(r"\s*-?\d+\s*", word) for word in words):
        raise DataError(f"--index {text!r} is no index. Give whole numbers, one for each axis: --index 3,5.")
    return tuple(map(int, words))


def _value(name: str, names: Mapping[str, Any], path: Path) -> Any:
    from backlit.core.value import Value

    found = script.resolve(name, names, str(path))
    if isinstance(found, Value):
        return found
    has = [each for each, value in names.items() if isinstance(value, Value)]
    known = f" Values there: {', '.join(has[:10])}{', …' if len(has) > 10 else ''}." if has else ""
    raise DataError(
        f"`{name}` is of type {type(found).__name__}, not a value of a graph, so it has no gradient to explain.{known}"
    )


def _for_the_terminal(answer: Explanation, target: str) -> Explanation:
    """The same, where it says what to call next, with the command in place of the Python."""

    def command(call: re.Match[str]) -> str:
        return f"`backlit why {shlex.quote(target)} --index {call[1].replace(' ', '').rstrip(',')}`"

    story = tuple(re.sub(r"\bwhy\(.+?, index=\(?(\d[\d, ]*)\)?\)(?= says)", command, said) for said in answer.story)
    return replace(answer, story=story)


def _no_backward(name: str, names: Mapping[str, Any], path: Path) -> str:
    """What to do where nothing says of what the gradient is asked."""
    from backlit.core.value import Value

    said = f"no backward() ran in {path}, or its output is gone, so it is not known of what to take the gradient."
    outputs = [
        each
        for each, value in names.items()
        if isinstance(value, Value) and value._op is not None and not value.shape and each != name
    ]
    if outputs:
        return f"{said} Name the output: --of {outputs[-1]}."
    return f"{said} Keep the output in a name at the top level of the script (loss = …), and give --of loss."
