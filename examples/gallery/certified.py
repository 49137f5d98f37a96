"""Can I trust these numbers without trusting Backlit?"""

import json
from pathlib import Path

import backlit as bl
from backlit.explain.checker import judge

x1, x2, w1, w2, b = bl.values(x1=2.0, x2=0.0, w1=-3.0, w2=1.0, b=6.8813735870195432)
o = bl.tanh(x1 * w1 + x2 * w2 + b)
certificate = bl.certificate(o)
print(certificate)
print(certificate.verify())

file = certificate.save("neuron.json")
forged = json.loads(Path(file).read_text(encoding="utf-8"))
forged["backward"][1]["gradient"] = (0.51).hex()
print()
print(judge(forged))
