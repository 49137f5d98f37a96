"""Why is this gradient 6?"""

import backlit as bl

a, b, c, d = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
out = (a * b + c) * d
print(bl.why(a, of=out))
