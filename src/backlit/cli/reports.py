"""What `backlit train` says when a training is over."""

from __future__ import annotations

from rich.console import Console, Group
from rich.text import Text

from backlit.cli import display
from backlit.cli.plot import curve
from backlit.training.digits import BATCH, DigitsRun
from backlit.training.xor import INPUTS, WANTED, XorRun

# -- XOR ------------------------------------------------------------------------------------------


def xor_report(run: XorRun, width: int) -> Group:
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
    """The loss before the updates of steps 1, 10, 100, … and after the last one."""
    steps = [10**n for n in range(len(str(run.done))) if 10**n <= run.done]
    shown = [f"{run.loss_at(step):.6f}" for step in steps] + [f"{run.final_loss:.6f}"]
    return display.table(["at step", *(f"{step:,}" for step in steps), "end"], [["loss", *shown]], 1)


def truth_table(run: XorRun) -> Text:
    """What the net answers to the four inputs."""
    rows = [
        (f"{a}", f"{b}", f"{wanted}", f"{p:.4f}", f"{p > 0.5:d}", display.mark((p > 0.5) == (wanted == 1)))
        for (a, b), wanted, p in zip(INPUTS, WANTED, run.answers, strict=True)
    ]
    return display.table(["x1", "x2", "wanted", "p", "so", ""], rows)


def verdict(run: XorRun, width: int) -> Text:
    """Whether it learned, and if not, why."""
    if run.learned:
        return display.prose(f"It learned XOR: all four right, loss {run.final_loss:.6f}.", width, display.GOOD)
    return display.prose(f"It did not learn XOR. {run.why}", width, display.BAD)


def effort(run: XorRun, width: int) -> Text:
    """What it cost."""
    passes = f"{run.forward_passes:,} forward"
    if run.backward_passes:
        passes += f" and {run.backward_passes:,} backward"
    rate = f" ({run.done / run.seconds:,.0f} a second)" if run.seconds else ""
    text = f"{display.counted(run.done, 'step')} in {display.spent(run.seconds)}{rate}; passes: {passes}."
    return display.prose(text, width, display.QUIET)


# -- digits ---------------------------------------------------------------------------------------


def digits_report(run: DigitsRun, console: Console) -> Group:
    """Everything worth saying about a training on the digits."""
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
