"""Which paths does a gradient come by?"""

import backlit as bl

x = bl.Value(0.7, name="x")
s = bl.sin(x)
y = s * x + s
print(bl.paths(y, x))
