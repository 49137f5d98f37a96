"""What does softmax with cross entropy come down to?"""

import numpy as np

import backlit as bl

logits = bl.Value([[2.0, 1.0, 0.1], [0.5, 2.5, 0.0]], name="logits")
labels = np.array([0, 2])
p = bl.softmax(logits, axis=1)
loss = -bl.mean(bl.log(p[np.arange(2), labels]))
print(bl.why(logits, of=loss, index=(1, 2)))
