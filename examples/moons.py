"""Two moons, and the line that a net draws between them, in the terminal.

No straight line parts the two classes; a net with hidden units bends one.

Run it: python examples/moons.py [epochs]
"""

import sys

import numpy as np

import backlit as bl

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 40
moons = bl.data.moons(300, noise=0.12, seed=0)


def picture(model, rows=22, columns=72):
    """What the model says of every point of the plane (dots and blanks), and the examples (o and x)."""
    low, high = moons.inputs.min(axis=0) - 0.2, moons.inputs.max(axis=0) + 0.2
    xs, ys = np.linspace(low[0], high[0], columns), np.linspace(high[1], low[1], rows)
    plane = np.stack(np.meshgrid(xs, ys), axis=-1)
    with bl.no_grad():
        says = model(plane).data.argmax(axis=-1)
    page = np.where(says == 1, "·", " ")
    for (x, y), label in zip(*moons, strict=True):
        page[np.abs(ys - y).argmin(), np.abs(xs - x).argmin()] = "ox"[label]
    return "\n".join("".join(line) for line in page)


for hidden in ([], [16, 16]):
    model = bl.nn.MLP(2, [*hidden, 2], "tanh", key=0)
    run = bl.fit(model, moons, lr=0.03, epochs=EPOCHS, metrics=["accuracy"], progress=False)
    print(f"hidden units {hidden}: {run.final['accuracy']:.1%} right\n\n{picture(model)}\n")
