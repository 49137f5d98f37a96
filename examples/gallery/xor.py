"""Why does this network not learn?"""

import numpy as np

import backlit as bl

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([[0.0], [1.0], [1.0], [0.0]])  # XOR: one or the other, not both
rng = np.random.default_rng(4)
W1, b1 = bl.Parameter(rng.normal(size=(2, 2))), bl.Parameter(rng.normal(size=2))
W2, b2 = bl.Parameter(rng.normal(size=(2, 1))), bl.Parameter(rng.normal(size=1))


def loss_now():
    h = bl.relu(X @ W1 + b1)
    z = h @ W2 + b2
    return bl.mean(bl.softplus(z) - y * z)  # binary cross entropy


for _ in range(500):
    for p in (W1, b1, W2, b2):
        p.grad = None
    loss = loss_now()
    loss.backward()
    for p in (W1, b1, W2, b2):
        p.data = p.data - 1.0 * p.grad

print(bl.health(loss_now()))
