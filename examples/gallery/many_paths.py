"""What if there are more paths than atoms in a human body?"""

import backlit as bl

x = bl.Value(0.7, name="x")
h = x
for _ in range(100):
    s = bl.sin(h)
    m = s + h
    h = 0.5 * m
print(bl.paths(h, x, top=3))
