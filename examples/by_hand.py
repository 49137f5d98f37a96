"""A whole backward pass written by hand in NumPy, and checked at every intermediate value.

The net guesses the next letter of a word from the three before it: embedding, linear layer, batch norm, tanh,
linear layer, softmax cross entropy. The forward pass is written in small steps with Backlit, so that every
step has a name; the backward pass goes through them in the opposite order with NumPy alone. `by_hand` then
says for every gradient whether it is right. In the second half a few mistakes are made on purpose, to show
how it names them.

Run it: python examples/by_hand.py
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

import backlit as bl
from backlit.explain.by_hand import by_hand

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "kelp", "larch")
CONTEXT, BATCH, EMBEDDING, HIDDEN = 3, 32, 10, 64
LETTERS = 27  # 26, and 0 where a word begins or ends


def examples(rng: np.random.Generator) -> tuple[Any, Any]:
    """A batch: contexts of three letters (32, 3), and the letter that follows each (32,)."""
    contexts, nexts = [], []
    for word in WORDS:
        letters = [0] * CONTEXT + [ord(letter) - ord("a") + 1 for letter in word] + [0]
        for i in range(CONTEXT, len(letters)):
            contexts.append(letters[i - CONTEXT : i])
            nexts.append(letters[i])
    chosen = rng.choice(len(nexts), BATCH, replace=False)
    return np.array(contexts)[chosen], np.array(nexts)[chosen]


def forward(seed: int = 0) -> SimpleNamespace:
    """The forward pass with Backlit. Every value keeps the name of its variable."""
    rng = np.random.default_rng(seed)
    X, Y = examples(rng)
    n = BATCH
    C = bl.Value(rng.normal(size=(LETTERS, EMBEDDING)))
    W1 = bl.Value(rng.normal(size=(CONTEXT * EMBEDDING, HIDDEN)) * 0.3)
    b1 = bl.Value(rng.normal(size=HIDDEN) * 0.1)
    bngain = bl.Value(1 + rng.normal(size=(1, HIDDEN)) * 0.1)
    bnbias = bl.Value(rng.normal(size=(1, HIDDEN)) * 0.1)
    W2 = bl.Value(rng.normal(size=(HIDDEN, LETTERS)) * 0.1)
    b2 = bl.Value(rng.normal(size=LETTERS) * 0.1)

    emb = C[X]  # (32, 3, 10)
    embcat = emb.reshape((n, CONTEXT * EMBEDDING))  # (32, 30)
    hprebn = embcat @ W1 + b1  # (32, 64)
    # batch norm, whose variance is divided by n - 1
    bnmeani = hprebn.sum(axis=0, keepdims=True) / n  # (1, 64)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = bndiff2.sum(axis=0, keepdims=True) / (n - 1)  # (1, 64)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    h = bl.tanh(hpreact)
    logits = h @ W2 + b2  # (32, 27)
    # cross entropy in small steps
    logit_maxes = logits.max(axis=1, keepdims=True)  # (32, 1)
    norm_logits = logits - logit_maxes
    counts = bl.exp(norm_logits)
    counts_sum = counts.sum(axis=1, keepdims=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = bl.log(probs)
    loss = -logprobs[np.arange(n), Y].mean()
    return SimpleNamespace(**locals())


def backward(net: SimpleNamespace, d: Any) -> Any:
    """The backward pass in NumPy: `d.h` becomes the gradient of the loss by `h`, and so on for all."""
    v = SimpleNamespace(**{k: x.data for k, x in vars(net).items() if isinstance(x, bl.Value)})
    X, Y, n = net.X, net.Y, net.n

    is_next = np.zeros((n, LETTERS))
    is_next[np.arange(n), Y] = 1
    d.logprobs = -is_next / n
    d.probs = d.logprobs / v.probs
    d.counts_sum_inv = (d.probs * v.counts).sum(1, keepdims=True)
    d.counts_sum = -d.counts_sum_inv / v.counts_sum**2
    d.counts = d.probs * v.counts_sum_inv + d.counts_sum
    d.norm_logits = d.counts * v.counts
    d.logit_maxes = -d.norm_logits.sum(1, keepdims=True)
    is_largest = v.logits == v.logit_maxes
    d.logits = d.norm_logits + d.logit_maxes * is_largest / is_largest.sum(1, keepdims=True)

    d.h = d.logits @ v.W2.T
    d.W2 = v.h.T @ d.logits
    d.b2 = d.logits.sum(0)
    d.hpreact = d.h * (1 - v.h**2)

    d.bngain = (d.hpreact * v.bnraw).sum(0, keepdims=True)
    d.bnbias = d.hpreact.sum(0, keepdims=True)
    d.bnraw = d.hpreact * v.bngain
    d.bnvar_inv = (d.bnraw * v.bndiff).sum(0, keepdims=True)
    d.bnvar = d.bnvar_inv * -0.5 * (v.bnvar + 1e-5) ** -1.5
    d.bndiff2 = d.bnvar / (n - 1) * np.ones_like(v.bndiff2)
    d.bndiff = d.bnraw * v.bnvar_inv + d.bndiff2 * 2 * v.bndiff
    d.bnmeani = -d.bndiff.sum(0, keepdims=True)
    d.hprebn = d.bndiff + d.bnmeani / n

    d.embcat = d.hprebn @ v.W1.T
    d.W1 = v.embcat.T @ d.hprebn
    d.b1 = d.hprebn.sum(0)
    d.emb = d.embcat.reshape(v.emb.shape)
    letters = np.zeros_like(v.C)
    np.add.at(letters, X, d.emb)  # a letter that occurs again adds to its row
    d.C = letters
    return d


def main() -> None:
    """Checks the whole pass, and then one with mistakes."""
    net = forward()
    d = backward(net, SimpleNamespace())
    print(by_hand(net.loss, **vars(d)))

    d.h = d.logits @ net.W2.data.T
    d.hpreact = d.h * (1 - net.hpreact.data**2)  # the input of tanh in place of its output
    d.bnbias = d.hpreact.sum(0, keepdims=True)  # right, for a d.hpreact that is wrong
    d.b2 = d.logits  # not summed over the batch
    d.C = np.zeros_like(net.C.data)
    d.C[net.X] = d.emb  # `=`: a letter that occurs twice keeps its last gradient alone
    print("\nAnd with three mistakes, made on purpose:\n")
    print(by_hand(net.loss, hpreact=d.hpreact, bnbias=d.bnbias, b2=d.b2, C=d.C, emb=d.emb, h=d.h))


if __name__ == "__main__":
    main()
