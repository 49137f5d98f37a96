"""A training that is recorded can be rewound: any step of it is computed again, to the last bit, and asked why.

Run it: python examples/rewind.py
"""

import tempfile
from pathlib import Path

import backlit as bl

moons = bl.data.moons(200, noise=0.1, seed=1)
model = bl.nn.MLP(2, [8, 2], "tanh", key=0)

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "run.backlit"
    made = bl.fit(model, moons, optimizer="sgd", lr=0.5, epochs=20, record=file, progress=False)
    print(f"{made}\n\nrecorded in {file.stat().st_size:,} bytes\n")

    run = bl.load_run(file)
    view = run.at(step=100)
    print(f"{view}\nto the last bit the loss of then: {view.exact}\n")

    print("Why was the gradient of this weight what it was, at step 100?\n")
    print(view.why("layers.1.weight", (3, 1)))

    print("\nAnd what has moved the weight in the whole run?\n")
    ledger = run.why_changed("layers.1.weight", (3, 1))
    print(ledger)
    print(f"\nthe ledger sums to the change within {abs(ledger.total - (ledger.new - ledger.old)):.0e}\n")

    below = run.first(lambda view: float(view.loss.data) < 0.1)
    print(f"The loss was below 0.1 for the first time at step {below}.")
