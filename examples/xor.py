"""XOR, learned twice: once by the chain rule, once by nudging every weight. The two agree.

The net has two inputs, two hidden units and one output: nine numbers. Nudging moves each of them a little up and
down and looks at the loss: 19 forward passes for one gradient. The chain rule has the same gradient for about three.

Run it: python examples/xor.py [epochs]
"""

import sys

import numpy as np

import backlit as bl

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 120
xor = bl.data.xor().column()


def train(method):
    """The same net from the same numbers, by one of the two methods."""
    model = bl.nn.MLP(2, [2, 1], "tanh", key=0, dtype="float64")
    run = bl.fit(
        model,
        xor,
        loss="binary_cross_entropy_with_logits",
        optimizer="adam",
        lr=0.1,
        epochs=EPOCHS,
        batch_size=None,  # all four rows in every step
        method=method,
        progress=False,
    )
    return model, run


(by_chain, chain), (by_nudge, nudge) = train("chain"), train("nudge")
print("step   loss by the chain rule   by nudging")
for step in [0, 10, 50, EPOCHS - 1]:
    print(f"{step:4}   {chain.losses[step]:22.9f}   {nudge.losses[step]:.9f}")
print(f"\nThey never differ by more than {np.abs(chain.losses - nudge.losses).max():.0e}.")

print("\na b   wanted   answered")
for (a, b), wanted, answered in zip(*xor, bl.sigmoid(by_chain(xor.inputs)).data, strict=True):
    print(f"{a:.0f} {b:.0f}   {wanted.item():6.0f}   {answered.item():8.3f}")
