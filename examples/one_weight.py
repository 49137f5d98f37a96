"""One weight: a loss, its gradient, and an update, by hand and by an optimizer.

The prediction for x = 3 is w·x, and 6 is wanted. The weight w starts at 0.5 and is to find the 2.

Run it: python examples/one_weight.py
"""

import backlit as bl

x, y = 3.0, 6.0
w = bl.Parameter(0.5, name="w")


def squared_error(w):
    """How far the prediction is from what is wanted: a number to make small."""
    return (w * x - y) ** 2


loss = squared_error(w)
loss.backward()
nudged = bl.numerical_grad(squared_error)(0.5)
print(f"w = {w.data}: the loss is {loss.data}, its gradient by w is {w.grad}; nudging w gives {nudged:.6f}")

print("\nWhy is that the gradient?\n")
print(bl.why(w, of=loss))

by_hand = w.data - 0.05 * w.grad  # downhill is against the gradient
optimizer = bl.optim.SGD([w], lr=0.05)
optimizer.step()
print("\nWhy is this the update?\n")
print(optimizer.why(w))
print(f"\nby hand w becomes {by_hand}, by the optimizer {w.data}\n")

for step in range(2, 9):
    optimizer.zero_grad()
    loss = squared_error(w)
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.data:.6f}, w becomes {w.data:.6f}")
