"""Why is the gradient None?"""

import backlit as bl

w = bl.Value(3.0, name="w")
target = bl.stop_gradient(w * 2.0)
print(bl.why(w, of=target + 1.0))
print()

with bl.no_grad():
    h = w * w
print(bl.why(w, of=h + 1.0))
print()

scores = bl.Value([1.0, 5.0, 2.0], name="scores")
best = bl.argmax(scores)
print(bl.why(scores, of=best))
