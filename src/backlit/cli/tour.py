"""The stations of `backlit demo`: worked examples and trainings that check themselves as they are shown.

Nothing with a check mark is taken on trust: it is computed here and compared with what it should be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.text import Text

from backlit.cli import display
from backlit.cli.plot import curve
from backlit.cli.reports import accuracies, misread_grid_of, truth_table

if TYPE_CHECKING:
    from backlit.core.value import Value
    from backlit.training.xor import XorRun

KNOWN_LOSSES = {1: 1.501733, 1_000: 0.361001, 10_000: 0.008588, 100_000: 0.000590}
"""The loss of the XOR net of seed 0 before these updates, as plain NumPy gives it."""


class Stage:
    """Where the demonstration plays: it prints, it checks, and it counts what did not hold."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = display.room(console)
        self.checked = self.failed = self.sections = 0

    def section(self, text: str) -> None:
        """A new heading."""
        self.sections += 1
        line = Text(f"{self.sections}  {text} ", style="bold")
        line.append("─" * max(0, self.width - line.cell_len), style=f"not bold {display.QUIET}")
        self.console.print("", line, "", sep="\n")

    def say(self, text: str, style: str = "") -> None:
        """Sentences, broken to fit."""
        self.console.print(display.prose(text, self.width, style))

    def show(self, *parts: Any) -> None:
        """Tables, curves and the like, with an empty line before and after."""
        for part in parts:
            self.console.print("", part, sep="\n")
        self.console.print()

    def code(self, text: str) -> None:
        """Lines of Python, as one would type them."""
        for line in text.strip("\n").split("\n"):
            self.console.print(Text(f"    {line}", style=display.CURVE))

    def claim(self, text: str, holds: bool) -> None:
        """A sentence with a check mark if it holds, and a cross if not."""
        self.checked += 1
        self.failed += not holds
        line = Text("  ").append_text(display.mark(holds)).append(" ")
        body = display.prose(text, self.width - 4, indent=0)
        for i, part in enumerate(body.split("\n")):
            self.console.print(line + part if i == 0 else Text("    ") + part)


# -- one expression --------------------------------------------------------------------------------


def expression(stage: Stage) -> None:
    """`(a*b + c)*d`, forward and backward with every step."""
    import backlit as bl
    from backlit.explain.derivation import derivation

    stage.section("An expression and its gradient: (a·b + c)·d")
    stage.code(
        """
a, b, c, d = backlit.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
out = (a * b + c) * d
out.backward()
"""
    )
    a, b, c, d = inputs = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
    out = (a * b + c) * d
    out.backward()
    stage.show(Text(derivation(out).text(stage.width)))
    slopes = _nudged(lambda a, b, c, d: (a * b + c) * d, [x.data for x in inputs])
    gradients = [x.grad for x in inputs]
    stage.claim("the value is -8, and the gradient (6, -4, -2, 4)", _near([out.data, *gradients], [-8, 6, -4, -2, 4]))
    stage.claim("nudging each input says the same", _near(gradients, slopes, 1e-6))


def _nudged(f: Callable[..., float], at: Sequence[float]) -> list[float]:
    """The slope of a function of numbers in each of them, by moving it a little both ways."""
    slopes = []
    for i, x in enumerate(at):
        h = 1e-5 * max(1.0, abs(x))
        above, below = ([*at[:i], x + move, *at[i + 1 :]] for move in (h, -h))
        slopes.append((f(*above) - f(*below)) / (above[i] - below[i]))
    return slopes


def _near(found: Any, wanted: Any, tolerance: float = 1e-12) -> bool:
    """Whether all numbers agree, relative to those above one and absolutely below."""
    a, b = np.asarray(found, float), np.asarray(wanted, float)
    return bool(a.shape == b.shape and (np.abs(a - b) <= tolerance * np.maximum(1.0, np.abs(b))).all())


# -- one neuron ------------------------------------------------------------------------------------


def neuron(stage: Stage) -> None:
    """The tanh neuron with two inputs."""
    import backlit as bl

    stage.section("A neuron: o = tanh(x1·w1 + x2·w2 + b)")
    stage.code("o = backlit.tanh(x1 * w1 + x2 * w2 + b)\no.backward()")
    stage.console.print()
    named = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}
    values = bl.values(**named)

    def out_of(x1: Any, x2: Any, w1: Any, w2: Any, b: Any) -> Value:
        return bl.tanh(x1 * w1 + x2 * w2 + b)  # type: ignore[no-any-return]

    o = out_of(*values)
    o.backward()
    slopes = _nudged(lambda *at: float(out_of(*bl.values(**dict(zip(named, at, strict=True))))), list(named.values()))
    rows = [
        (v.name or "", f"{v.data:.4f}", f"{v.grad:.4f}", f"{slope:.4f}")
        for v, slope in zip(values, slopes, strict=True)
    ]
    (n,) = o.inputs
    stage.say(f"o = tanh({n.data:.4f}) = {o.data:.4f}; its slope there, 1 - o² = {n.grad:.4f}, is passed back.")
    stage.show(display.table(["input", "value", "gradient", "by nudging"], rows, 1))
    gradients = [v.grad for v in values]
    stage.claim("o = 0.7071 = √½", _near(o.data, math.sqrt(0.5)))
    stage.claim("gradients: x1 -1.5, w1 1.0, x2 0.5, w2 0.0", _near(gradients[:4], [-1.5, 0.5, 1.0, 0.0]))
    stage.claim("nudging each input says the same", _near(gradients, slopes, 1e-6))


# -- one weight ------------------------------------------------------------------------------------


def one_weight(stage: Stage) -> None:
    """One weight learns one step."""
    import backlit as bl

    stage.section("One weight learns: W from 0.5 to 0.4")
    x, target, rate = 2.0, 0.75, 0.1
    stage.say(f"The net is y = W·x, with x = {x:g}, and {target:g} is wanted. The loss is (y - {target:g})².")
    stage.console.print()
    stage.code(f"loss.backward()\nW.data = W.data - {rate:g} * W.grad")
    W = bl.Parameter(0.5, name="W")
    rows, losses = [], []
    for _ in range(4):
        y = W * x
        loss = (y - target) * (y - target)
        W.zero_grad()
        loss.backward()
        before, slope = W.data, W.grad
        W.data = before - rate * slope  # gradient descent
        losses.append(loss.data)
        rows.append((f"{before:.4f}", f"{y.data:.4f}", f"{loss.data:.6f}", f"{slope:.4f}", f"{W.data:.4f}"))
        if len(rows) == 1:
            first = slope, W.data
    stage.show(display.table(["W", "y", "loss", "dloss/dW", f"W - {rate:g}·dloss/dW"], rows))
    stage.claim(
        f"dloss/dW = 2·(y - {target:g})·x = 2·0.25·2 = 1 takes W from 0.5 to 0.4",
        _near(first, [2 * 0.25 * 2, 0.4]),
    )
    stage.claim(
        f"each step lowers the loss: {losses[0]:g} → {losses[1]:g} → …",
        all(b < a for a, b in pairwise(losses)),
    )


# -- XOR, both ways --------------------------------------------------------------------------------


def xor(stage: Stage, steps: int) -> None:
    """The XOR net by both methods."""
    from backlit.training.xor import COUNT, nudged_gradient, train_xor

    stage.section(f"XOR, learned twice: by the chain rule and by nudging, {steps:,} steps each")
    stage.say(
        f"Two inputs, two hidden ReLU units, one sigmoid output: {COUNT} parameters. The chain rule needs "
        "one forward and one backward pass a step; nudging each parameter up and down needs "
        f"{2 * COUNT + 1} forward passes. Both are compiled to machine code."
    )
    runs = []
    for method, text in (("chain", "chain rule"), ("nudge", "nudging   ")):
        with display.progress(stage.console, text) as on_progress:
            run = train_xor(method, steps, on_progress=on_progress)  # type: ignore[arg-type]
        if run.interrupted:
            raise KeyboardInterrupt
        runs.append(run)
    chain, nudge = runs
    drawn = curve(range(1, steps + 1), chain.losses, width=stage.width - 4, height=8, x_label="step", y_label="loss")
    stage.show(display.framed(drawn), side_by_side(chain, nudge), truth_table(chain))
    apart = [np.abs(g - nudged_gradient(chain.points[k])[1]).max() for k, g in chain.gradients.items()]
    for run, by in ((chain, "the chain rule"), (nudge, "nudging")):
        known = {k: loss for k, loss in KNOWN_LOSSES.items() if k <= steps}
        stage.claim(
            f"by {by} the loss is the known one: " + ", ".join(f"{x:.6f} at {k:,}" for k, x in known.items()),
            all(f"{run.loss_at(k):.6f}" == f"{x:.6f}" for k, x in known.items()),
        )
    stage.claim(
        f"the two gradients agree at {len(apart)} steps compared: no partial derivative differs by more than "
        f"{max(apart):.0e}",
        max(apart) < 1e-6,
    )
    same = bool(((chain.answers > 0.5) == (nudge.answers > 0.5)).all())
    if steps < 2000:  # too few to learn it
        stage.claim("both answer the same", same)
    else:
        stage.claim("both learned the truth table of XOR", same and chain.learned and nudge.learned)
    stage.console.print()
    stage.say(
        f"With {COUNT} parameters nudging took {nudge.seconds / chain.seconds:.1f} times as long as the "
        "chain rule. But its passes grow with the parameters, and the next net has a thousand times more."
    )


def side_by_side(chain: XorRun, nudge: XorRun) -> Text:
    """Two trainings in two columns."""
    known = [k for k in KNOWN_LOSSES if k <= chain.done]
    rows = [
        *((f"loss before step {k:,}", f"{chain.loss_at(k):.6f}", f"{nudge.loss_at(k):.6f}") for k in known),
        ("loss at the end", f"{chain.final_loss:.6f}", f"{nudge.final_loss:.6f}"),
        ("forward passes", f"{chain.forward_passes:,}", f"{nudge.forward_passes:,}"),
        ("backward passes", f"{chain.backward_passes:,}", f"{nudge.backward_passes:,}"),
        ("time", display.spent(chain.seconds), display.spent(nudge.seconds)),
    ]
    return display.table(["", "chain rule", "nudging"], rows, 1)


# -- digits ----------------------------------------------------------------------------------------


def digits(stage: Stage, epochs: int) -> None:
    """The digits net, and what nudging would cost there."""
    from backlit.training.digits import both_ways, train_digits

    stage.section("Handwritten digits: 64 pixels, 128 tanh units, 10 scores")
    with display.progress(stage.console, "learning") as on_progress:
        run = train_digits(epochs, on_progress=on_progress)
    if run.interrupted:
        raise KeyboardInterrupt
    stage.say(f"{run.done:,} steps of Adam in {display.spent(run.seconds)}.")
    stage.show(accuracies(run))
    if run.misread:
        grid, text = misread_grid_of(run, stage.console, stage.width)
        stage.say(text)
        stage.show(grid)
    right = run.held_out - len(run.misread)
    stage.claim(
        f"it reads {right} of {run.held_out} images it never saw, {100 * run.accuracy:.1f} %: more than 95 %",
        run.accuracy > 0.95,
    )
    with display.progress(stage.console, "nudging", "weights") as on_progress:
        both = both_ways(run, on_progress)
    if both.interrupted:
        raise KeyboardInterrupt
    factor = both.nudge_seconds / both.chain_seconds
    stage.console.print()
    stage.say(
        f"One gradient of this net, by all of its {both.parameters:,} parameters: by the chain rule in "
        f"{display.spent(both.chain_seconds)} (1 forward and 1 backward pass), by nudging in "
        f"{display.spent(both.nudge_seconds)} ({both.forward_passes:,} forward passes). "
        "That is why there is backpropagation."
    )
    stage.claim(
        f"the chain rule is {factor:,.0f} times faster here, and no partial derivative differs by more than "
        f"{both.difference:.0e} (the largest is {both.largest:.2g})",
        factor > 10 and both.difference < 1e-6 * max(both.largest, 1e-3),
    )
