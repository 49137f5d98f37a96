"""Why does a neuron's weight get this gradient?"""

import backlit as bl

x1, x2, w1, w2, b = bl.values(x1=2.0, x2=0.0, w1=-3.0, w2=1.0, b=6.8813735870195432)
n = x1 * w1 + x2 * w2 + b
o = bl.tanh(n)
o.backward()
print(bl.why(w1))
bl.draw(o).save("neuron.svg")
