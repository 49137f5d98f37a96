"""`backlit draw`: the graph of an expression as a tree on the screen, or as a picture in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backlit.cli import screen
from backlit.cli.reading import PASS_ON, Formula, Values, names_in, read
from backlit.core.errors import DataError, ExpressionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backlit.core.value import Value
    from backlit.draw.picture import Picture
    from backlit.explain.expression import Evaluated


def register(app: typer.Typer) -> None:
    """Give the app its `draw` command."""
    app.command("draw", context_settings=PASS_ON)(draw)


def draw(
    expression: Formula,
    values: Values = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save it; the ending says how: .svg .png .html .dot .mmd .txt."),
    ] = None,
    partials: Annotated[bool, typer.Option("--partials", help="With the local partials along the edges.")] = False,
    wrt: Annotated[str | None, typer.Option(metavar="A,B", help="Only the paths from these names.")] = None,
    depth: Annotated[int, typer.Option(min=0, help="Levels of composites, such as softmax, to open.")] = 0,
) -> None:
    """Draw how an expression is computed: each value (→), and the gradient that reaches it (←).

    backlit draw "(a*b + c)*d" a=2 b=-3 c=10 d=-2

    backlit draw "tanh(w*x + b)" w=1 x=2 b=-1 --out graph.svg
    """
    from backlit.draw.drawing import draw as drawn

    if out is not None:
        screen.check_folder(out)
    found, given = read(expression, values or [], ("--out", "--partials", "--wrt", "--depth"))
    graph = found.evaluate(given)
    drawing = drawn(
        graph.output,
        backward=_has_gradient(graph.output, found.text),
        partials=partials,
        depth=depth,
        only=_wanted(graph, names_in(wrt)),
        names=graph.names,
    )
    if out is None:
        screen.show(str(drawing))
        if partials:
            screen.show("\n".join(["", "LOCAL PARTIALS", *_partials(drawing.picture)]))
        return
    try:
        saved = drawing.save(out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from None
    except ImportError as error:  # only a PNG needs a package that may not be there
        raise DataError(str(error)) from None
    screen.show(f"Wrote {saved}.")


def _has_gradient(output: Value, text: str) -> bool:
    """Whether there is a gradient to draw; a word on standard error if there is none."""
    from backlit.core.value import INACTIVE

    if output._grad is INACTIVE:
        return False
    if output.shape:
        screen.say(
            f"note: {text} has shape {output.shape}, and only a single number has a gradient, so values alone are "
            f"drawn. For gradients write sum({text}) or mean({text})."
        )
        return False
    return output.dtype.kind == "f"


def _wanted(graph: Evaluated, names: Sequence[str] | None) -> list[Value] | None:
    if names is None:
        return None
    for name in names:
        if name not in graph.inputs:
            known = ", ".join(graph.inputs) or "none"
            raise ExpressionError(f"`{name}` does not occur in {graph.source}; its variables are: {known}.")
    return [graph.inputs[name] for name in names]


def _partials(picture: Picture) -> list[str]:
    """A line for each edge that has a local partial, those of the output first."""
    from backlit.draw.amounts import amount

    labels = {node.id: node.name or node.formula for node in picture.nodes}
    rows = []
    for edge in reversed(picture.edges):
        if edge.partial is None:
            continue
        number = amount(edge.partial)
        symbol = f"= {edge.symbol} " if edge.symbol and edge.symbol != number else ""
        rows.append((f"∂{labels[edge.target]}/∂{labels[edge.source]}", f"{symbol}= {number}"))
    if not rows:
        return ["  None: no edge has a local partial that is a number or an array."]
    column = max(len(left) for left, _ in rows)
    return [f"  {left:{column}} {right}" for left, right in rows]
