"""What is the derivative as a formula?"""

import backlit as bl


def f(x):
    return x**2 * bl.sin(x) + bl.exp(-x)


slope = bl.derive(f)
print(slope)
print(slope.latex())
print()
print(slope.source())
