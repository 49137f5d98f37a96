"""Why is the gradient so small?"""

import backlit as bl

x = bl.Value(3.0, name="x")
h = x
for _ in range(12):
    h = bl.sigmoid(h)
print(bl.why(x, of=h))
