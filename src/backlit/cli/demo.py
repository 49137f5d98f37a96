"""`backlit demo`: the tour through the worked examples, which `backlit.cli.tour` holds.

What draws and what computes is loaded when it runs, so that the other commands start quickly.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells know it: 128 + SIGINT."""


def register(app: typer.Typer) -> None:
    """Give the app its `demo` command."""
    app.command("demo")(demo)


def demo(
    steps: Annotated[int, typer.Option(min=1, help="Steps of the XOR net, by each of the two methods.")] = 20_000,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the digits net.")] = 30,
) -> None:
    """The tour: four worked examples and two trainings, each number checked. Under two minutes.

    Ends with exit code 1 if a check fails, and with 130 after Ctrl-C.
    """
    from backlit.cli import display, tour

    stage = tour.Stage(display.make_console())
    start = time.perf_counter()
    try:
        tour.expression(stage)
        tour.neuron(stage)
        tour.one_weight(stage)
        tour.xor(stage, steps)
        tour.digits(stage, epochs)
    except KeyboardInterrupt:
        stage.console.print()
        stage.say(f"Stopped by Ctrl-C (exit code {INTERRUPTED}).", display.BAD)
        raise typer.Exit(INTERRUPTED) from None
    stage.console.print()
    took = display.spent(time.perf_counter() - start)
    if stage.failed:
        stage.say(f"{stage.failed} of {display.counted(stage.checked, 'check')} failed ({took}).", "bold red")
        raise typer.Exit(1)
    stage.say(f"All {display.counted(stage.checked, 'check')} held ({took}).", f"bold {display.GOOD}")
