"""Can I trust these numbers without trusting Backlit?"""

import backlit as bl

x1, x2, w1, w2, b = bl.values(x1=2.0, x2=0.0, w1=-3.0, w2=1.0, b=6.8813735870195432)
o = bl.tanh(x1 * w1 + x2 * w2 + b)
certificate = bl.certificate(o)
certificate.save("neuron.json")
print(certificate)
print(certificate.verify())
