"""`backlit train xor` and `backlit train digits`: a net learns, and shows what it learned.

What draws and what computes is loaded when a command runs, so that the others start quickly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells know it: 128 + SIGINT."""


def register(app: typer.Typer) -> None:
    """Give the app its `train` commands."""
    train = typer.Typer(no_args_is_help=True, help="Train a small net and see what it learned.")
    train.command("xor")(xor)
    train.command("digits")(digits)
    app.add_typer(train, name="train")


def _rate(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value} is not a learning rate: give a number above 0, such as 0.03.")
    return value


def _stopped(console: Console, done: int, asked: int) -> None:
    """Say that Ctrl-C ended it, and end with its exit code."""
    from backlit.cli import display

    console.print()
    text = f"Stopped by Ctrl-C after {done:,} of {asked:,} steps (exit code {INTERRUPTED})."
    console.print(display.prose(text, display.room(console), display.BAD))
    raise typer.Exit(INTERRUPTED)


# -- XOR ------------------------------------------------------------------------------------------


def xor(
    method: Annotated[
        Literal["chain", "nudge"],
        typer.Option(help="The chain rule, or nudging each of the nine parameters and looking at the loss."),
    ] = "chain",
    steps: Annotated[int, typer.Option(min=1, help="Updates to make.")] = 100_000,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, help="Of the first nine numbers, by NumPy's legacy generator."),
    ] = 0,
    lr: Annotated[float, typer.Option(callback=_rate, help="Learning rate: how far to go down the slope.")] = 0.03,
) -> None:
    """Learn XOR with 2 inputs, 2 hidden ReLU units and 1 sigmoid output.

    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    from backlit.cli import display, reports
    from backlit.training.xor import train_xor

    console = display.make_console()
    by = "by the chain rule" if method == "chain" else "by nudging"
    display.title(console, f"XOR {by}", f"seed {seed} · learning rate {lr:g}")
    with display.progress(console, "learning") as on_progress:
        run = train_xor(method, steps, seed, lr, on_progress)
    console.print(reports.xor_report(run, display.room(console)))
    if run.interrupted:
        _stopped(console, run.done, steps)


# -- digits ---------------------------------------------------------------------------------------


def digits(
    epochs: Annotated[int, typer.Option(min=1, help="Times to go through the 1,437 images.")] = 30,
    seed: Annotated[
        int,
        typer.Option(min=-(2**63), max=2**64 - 1, help="Of the held-out images, first weights and order."),
    ] = 0,
    lr: Annotated[float, typer.Option(callback=_rate, help="Learning rate of Adam.")] = 0.003,
) -> None:
    """Learn to read real handwritten digits: 64 pixels, 128 tanh units, 10 scores.

    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    from backlit.cli import display, reports
    from backlit.training.digits import steps_planned, train_digits

    console = display.make_console()
    display.title(console, "Handwritten digits", f"64-128-10, tanh · Adam, learning rate {lr:g} · seed {seed}")
    with display.progress(console, "learning") as on_progress:
        run = train_digits(epochs, seed, lr, on_progress)
    console.print(reports.digits_report(run, console))
    if run.interrupted:
        _stopped(console, run.done, steps_planned(epochs))
