"""Why does one weight of a layer get this gradient?"""

import numpy as np

import backlit as bl

X = np.array([[1.0, 0.5], [0.5, -1.0], [3.0, 0.1]])
y = np.array([1.0, 0.0, 2.0])
W1 = bl.Parameter([[0.5, -0.3], [-0.25, 0.8]])
W2 = bl.Parameter([0.6, -0.4])
h = bl.tanh(X @ W1)
error = h @ W2 - y
loss = bl.mean(error**2)

answer = bl.why(W1, of=loss, index=(0, 0), top=2)
print(answer)
print("\n-- and the first term, one step further --\n")
print(answer.follow(1))
