"""Why is the gradient zero?"""

import backlit as bl

w, x, b = bl.values(w=-1.5, x=2.0, b=1.0)
z = w * x + b
h = bl.relu(z)
loss = (h - 1.0) ** 2
print(bl.why(w, of=loss))
