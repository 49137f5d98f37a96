"""Why is the gradient NaN?"""

import backlit as bl

p = bl.Value([0.5, 0.0, 0.5], name="p")
target = bl.asarray([0.5, 0.0, 0.5])
loss = -bl.sum(target * bl.log(p))
print(bl.why(p, of=loss))
