"""`backlit train xor` and `backlit train digits`: a net learns, and shows what it learned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console, Group
from rich.text import Text

from backlit.cli import display
from backlit.cli.plot import curve

if TYPE_CHECKING:
    from backlit.training.digits import DigitsRun
    from backlit.training.xor import XorRun

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


# -- XOR -------------------------------------------------------------------------------------------


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
    lr: Annotated[
        float, typer.Option(callback=_rate, help="Learning rate: how far to go down the slope.")
    ] = 0.03,
) -> None:
    """Learn XOR with 2 inputs, 2 hidden ReLU units and 1 sigmoid output.

    Ctrl-C ends it with what was learned so far (exit code 130).
    """
    from backlit.training.xor import train_xor

    console = display.make_console()
    by = "by the chain rule" if method == "chain" else "by nudging"
    display.title(console, f"XOR {by}", f"seed {seed} · learning rate {lr:g}")
    with display.progress(console, "learning") as on_progress:
        run = train_xor(method, steps, seed, lr, on_progress)
    console.print(report(run, display.room(console)))
    if run.interrupted:
        stopped(console, run.done, steps)


def report(run: XorRun, width: int) -> Group:
    """Everything worth saying about a training of the XOR net."""
    parts: list[Text | str] = []
    if run.done > 1:
        steps = range(1, run.done + 1)
        drawn = curve(steps, run.losses, width=width - 4, height=11, x_label="step", y_label="loss")
        parts += ["", display.framed(drawn)]
    if run.done:
        parts += ["", losses(run)]
    parts += ["", truth_table(run), "", verdict(run, width), effort(run, width)]
    return Group(*parts)


def losses(run: XorRun) -> Text:
    """The loss at steps 1, 10, 100, … and after the last update."""
    steps = [10**n for n in range(len(str(run.done))) if 10**n <= run.done]
    shown = [f"{run.loss_at(step):.6f}" for step in steps] + [f"{run.final_loss:.6f}"]
    return display.table(
        ["before step", *(f"{step:,}" for step in steps), "at the end"], [["loss", *shown]], 1
    )


def truth_table(run: XorRun) -> Text:
    """What the net answers to the four inputs."""
    from backlit.training.xor import INPUTS, WANTED

    rows = [
        (f"{a}", f"{b}", f"{wanted}", f"{p:.4f}", f"{p > 0.5:d}", display.mark((p > 0.5) == (wanted == 1)))
        for (a, b), wanted, p in zip(INPUTS, WANTED, run.answers, strict=True)
    ]
    return display.table(["x1", "x2", "wanted", "p", "so", ""], rows)


def verdict(run: XorRun, width: int) -> Text:
    """Whether it learned, and if not, why."""
    if run.learned:
        return display.prose(
            f"It learned XOR: all four right, loss {run.final_loss:.6f}.", width, display.GOOD
        )
    return display.prose(f"It did not learn XOR. {run.why}", width, display.BAD)


def effort(run: XorRun, width: int) -> Text:
    """What it cost."""
    passes = f"{run.forward_passes:,} forward"
    if run.backward_passes:
        passes += f" and {run.backward_passes:,} backward"
    rate = f" ({run.done / run.seconds:,.0f} a second)" if run.seconds else ""
    text = f"{display.counted(run.done, 'step')} in {display.spent(run.seconds)}{rate}; passes: {passes}."
    return display.prose(text, width, display.QUIET)


def stopped(console: Console, done: int, asked: int) -> None:
    """Say that Ctrl-C ended it, and end with its exit code."""
    console.print()
    text = f"Stopped by Ctrl-C after {done:,} of {asked:,} steps (exit code {INTERRUPTED})."
    console.print(display.prose(text, display.room(console), display.BAD))
    raise typer.Exit(INTERRUPTED)


# -- digits ----------------------------------------------------------------------------------------


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
    from backlit.training.digits import steps_planned, train_digits

    console = display.make_console()
    display.title(
        console, "Handwritten digits", f"64-128-10, tanh · Adam, learning rate {lr:g} · seed {seed}"
    )
    with display.progress(console, "learning") as on_progress:
        run = train_digits(epochs, seed, lr, on_progress)
    console.print(digits_report(run, console))
    if run.interrupted:
        stopped(console, run.done, steps_planned(epochs))


def digits_report(run: DigitsRun, console: Console) -> Group:
    """Everything worth saying about a training on the digits."""
    from backlit.training.digits import BATCH

    width = display.room(console)
    parts: list[Text | str] = []
    x, y = run.smoothed()
    if len(x) > 1:
        label = "loss" if run.window == 1 else f"loss, mean of {run.window} batches"
        drawn = curve(x, y, width=width - 4, height=9, x_label="epoch", y_label=label, log_x=False)
        parts += ["", display.framed(drawn)]
    if len(run.accuracies):
        parts += ["", accuracies(run)]
    right = run.held_out - len(run.misread)
    parts += [
        "",
        Text(
            f"  It reads {right} of {run.held_out} images that it never saw: {100 * run.accuracy:.1f} %.",
            style=display.GOOD if run.accuracy > 0.95 else display.BAD,
        ),
        Text(
            f"  {display.counted(run.done, 'step')} of {BATCH} images in {display.spent(run.seconds)}"
            f" ({run.done / max(run.seconds, 1e-9):,.0f} a second).",
            style=display.QUIET,
        ),
    ]
    if run.diverged:
        parts.append(
            Text(
                "  It diverged: the loss is no longer a number. Try a smaller learning rate.",
                style=display.BAD,
            )
        )
    elif run.misread:
        grid, text = misread_grid_of(run, console, width)
        parts += ["", display.prose(text, width), "", grid]
    return Group(*parts)


def misread_grid_of(run: DigitsRun, console: Console, width: int) -> tuple[Text, str]:
    """At most three rows of misread digits, and a heading that says how many there are."""
    shown = run.misread[: 3 * display.digits_in_a_row(console, width)]
    count, of = len(run.misread), len(shown)
    text = (
        "The one misread:"
        if count == 1
        else (
            f"The {count} misread, most confident first:"
            if of == count
            else f"{count} misread; the {of} most confident:"
        )
    )
    return display.misread_grid(console, shown, width), text


def accuracies(run: DigitsRun) -> Text:
    """The held-out accuracy after epochs 1, 2, 5, 10, …"""
    count = len(run.accuracies)
    after = sorted({m * 10**n for n in range(4) for m in (1, 2, 5) if m * 10**n <= count} | {count})
    shown = [f"{100 * run.accuracies[epoch - 1]:.1f} %" for epoch in after]
    return display.table(
        ["after epoch", *(f"{epoch:,}" for epoch in after)], [["held-out images read right", *shown]], 1
    )
