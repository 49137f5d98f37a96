"""Handwritten digits: 97 of 100 that the net has never seen, after two seconds of learning.

Run it: python examples/digits.py [epochs]
"""

import sys

import numpy as np

import backlit as bl

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 25
train, test = bl.data.split(bl.data.handwritten_digits("float32"), 0.2, key=0, stratify=True)

model = bl.nn.MLP(64, [128, 10], "relu", key=0)
print(bl.nn.summary(model), "\n")

run = bl.fit(model, train, lr=0.002, epochs=EPOCHS, validation=test, metrics=["accuracy"], progress=False)
print(run, "\n")

answers = run.predict(test.inputs).argmax(axis=1)
wrong = np.flatnonzero(answers != test.targets)
print(f"{len(wrong)} of {len(test)} held-out digits are wrong. The first three of them:\n")
for place in wrong[:3]:
    for row in test.inputs[place].reshape(8, 8):
        print("   " + "".join(" ░▒▓█"[round(4 * float(ink))] * 2 for ink in row))
    print(f"   a {test.targets[place]}, taken for a {answers[place]}\n")
