"""Is the backward pass that I wrote myself right?"""

import numpy as np

import backlit as bl

rng = np.random.default_rng(0)
X = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
labels = np.array([0, 1, 1, 0])
W, b = bl.Parameter(rng.normal(size=(3, 2))), bl.Parameter(np.zeros(2))
logits = X @ W + b
p = bl.softmax(logits, axis=1)
loss = -bl.mean(bl.log(p[np.arange(4), labels]))


def my_backward():  # with two mistakes
    dlogits = p.data.copy()
    dlogits[np.arange(4), labels] -= 1
    dlogits /= 4
    db = dlogits
    dW = dlogits.T @ X
    return {"logits": dlogits, "W": dW, "b": db}


print(bl.by_hand(loss, **my_backward()))
