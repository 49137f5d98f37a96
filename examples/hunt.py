"""A hunt in two parts: the step at which a unit died, and the line in which a NaN was born.

Run it: python examples/hunt.py
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np

import backlit as bl

# -- A unit that is off for every example passes nothing back, and so stays off. When did it die?

circles = bl.data.circles(200, noise=0.05, seed=0)
model = bl.nn.MLP(2, [6, 2], "relu", key=5)
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "run.backlit"
    bl.fit(model, circles, optimizer="sgd", lr=2.0, epochs=20, record=file, progress=False)
    run = bl.load_run(file)

    def dead(view):
        """Which hidden units are off for all examples, at one step of the run."""
        return np.flatnonzero((view.model.layers[0](circles.inputs).data <= 0).all(axis=0)).tolist()

    print(bl.health(run.at(run.end).loss))

    after = run.first(dead)
    (unit,) = dead(run.at(after))
    killer = run.at(after - 1)
    weights = killer.update("layers.0.weight")
    print(f"\nThe first to die was unit {unit}, in step {killer.step} of {run.steps}. The loss before it was "
          f"{killer.loss.data:.3f}, after it {run.loss_at(after):.3f}.")  # fmt: skip
    print(f"That step moved its weights from {weights.old[:, unit]} to {weights.new[:, unit]}: the learning rate of 2 "
          "is too large.")  # fmt: skip

# -- A NaN is seldom noticed where it is born.


def unsafe(prediction, target):
    """Cross entropy as the formula has it. (The library's own takes the logarithm and the softmax in one.)"""
    p = bl.exp(prediction) / bl.exp(prediction).sum(axis=-1, keepdims=True)
    return -bl.log(p[np.arange(len(target)), target]).mean()


print("\nThe same with a loss that is not safe:\n")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bl.NonFiniteWarning)  # it is printed here
    lost = bl.fit(bl.nn.MLP(2, [6, 2], "relu", key=3), (circles.inputs * 300, circles.targets), loss=unsafe, lr=0.1,
                  optimizer="sgd", progress=False)  # fmt: skip
print(lost.stopped)
