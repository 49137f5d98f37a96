"""What does the graph look like?"""

import backlit as bl

a, b, c = bl.values(a=2.0, b=-3.0, c=7.0)
d = a * b
e = bl.tanh(d + c)
out = e * a
drawing = bl.draw(out, backward=True, partials=True)
print(drawing)
drawing.save("graph.svg")
