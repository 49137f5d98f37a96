"""A character transformer: two blocks of attention learn the spelling, then the grammar, of small sentences.

Each place of a text sees all places before it. The verb must agree with its noun ("the old fox sleeps", "two foxes
sleep"), so looking back pays.

Run it: python examples/transformer.py [epochs]        (25 epochs, about a minute, write nearly faultless sentences)
"""

import sys

import numpy as np

import backlit as bl

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
CONTEXT = 32

text = bl.data.sentences(240)
data = bl.data.windows(text, CONTEXT, stride=CONTEXT)
letters = bl.data.Alphabet(data.classes)

model = bl.nn.CharTransformer(len(letters), CONTEXT, d=64, heads=4, layers=2, key=0)
print(f"{sum(p.size for p in model.parameters()):,} parameters, {len(data)} pieces of {CONTEXT} characters\n")


def write(count, key, start="the "):
    """Go on from `start`, one drawn character after the other."""
    written = letters.encode(start).tolist()
    for i in range(count):
        logits = model(np.array([written[-CONTEXT:]]))[0, -1]
        noise = bl.random.uniform(bl.random.fold_in(key, i), (len(letters),))
        written.append(int(np.argmax(logits.data / 0.7 - np.log(-np.log(noise)))))  # draws from softmax(logits / 0.7)
    return letters.decode(written)


run = bl.fit(model, data, lr=3e-3, epochs=EPOCHS, batch_size=8, clip=1.0, progress=False)
print(f"guessing would have a loss of {np.log(len(letters)):.2f}")
for step in np.linspace(0, len(run.losses) - 1, 6).astype(int):
    print(f"step {step:4}: loss {run.losses[step]:.3f}")
with bl.no_grad():
    print("\nit writes:", write(60, bl.random.key(1)).replace("\n", " / "))
