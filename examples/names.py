"""Names that nobody had: a net that says which letter comes after three others, and then writes by itself.

The net is that of Bengio et al. 2003: the letters are looked up in a table (Embedding), and go through Linear,
BatchNorm, tanh and Linear to a softmax over the next letter. The names it learns from are made up by a rule.

Run it: python examples/names.py [epochs]
"""

import sys

import numpy as np

import backlit as bl

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
CONTEXT, HIDDEN, VECTOR = 3, 100, 10

known, unseen = np.split(np.array(bl.data.names(2000)), [1800])
letters = bl.data.alphabet_of(known, end=".")
train, test = (bl.data.next_character(names, CONTEXT, alphabet=letters) for names in (known, unseen))

model = bl.nn.Sequential(
    bl.nn.Embedding(len(letters), VECTOR, key=1),
    bl.nn.Flatten(),
    bl.nn.Linear(CONTEXT * VECTOR, HIDDEN, bias=False, key=2),  # BatchNorm takes the mean out, and a bias with it
    bl.nn.BatchNorm(HIDDEN),
    "tanh",
    bl.nn.Linear(HIDDEN, len(letters), key=3),
)
run = bl.fit(model, train, lr=0.005, epochs=EPOCHS, batch_size=64, validation=test, progress=False)
print(run)

# What would counting pairs of letters reach, without a net?
pairs = np.ones((len(letters), len(letters)))
np.add.at(pairs, (train.inputs[:, -1], train.targets), 1)
shares = pairs / pairs.sum(axis=1, keepdims=True)
counted = -np.log(shares[test.inputs[:, -1], test.targets]).mean()
print(f"\nloss on unseen names: guessing {np.log(len(letters)):.3f}, counting pairs of letters {counted:.3f}, "
      f"the net {run.final['validation loss']:.3f}\n")  # fmt: skip


def sample(key):
    """A name, letter by letter, each drawn with the probability that the net gives it."""
    context, name = [0] * CONTEXT, ""
    while not name.endswith(".") and len(name) < 20:
        p = bl.softmax(run.predict(np.array([context]))[0]).data
        drawn = bl.random.uniform(bl.random.fold_in(key, len(name)))
        letter = min(int(np.searchsorted(np.cumsum(p), drawn)), len(p) - 1)
        context, name = [*context[1:], letter], name + letters.decode([letter])
    return name.rstrip(".")


made = [sample(key) for key in bl.random.split(bl.random.key(7), 12)]
print("it learned from:", *known[:8])
print("it wrote:       ", *made)
