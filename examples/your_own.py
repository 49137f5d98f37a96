"""Your own layer, loss and optimizer, each a few lines; all that the library has works with them.

Run it: python examples/your_own.py
"""

import numpy as np

import backlit as bl


class Wave(bl.nn.Module):
    """A layer of sines: sin(x @ frequency + phase).  x: (n, n_in) -> (n, n_out)."""

    def __init__(self, n_in, n_out, key):
        one, two = bl.random.split(bl.random.key(key))
        self.frequency = bl.Parameter(3.0 * bl.random.normal(one, (n_in, n_out)))
        self.phase = bl.Parameter(bl.random.uniform(two, (n_out,)))

    def forward(self, x):
        return bl.sin(x @ self.frequency + self.phase)


def log_cosh(prediction, target):
    """Like the squared error near 0, like the absolute error far away."""
    error = prediction - target
    return (bl.logaddexp(error, -error) - np.log(2.0)).mean()


def signs(rate):
    """An optimizer: steps of one size for all parameters, each down its slope. rate: learning rate at a step."""

    def update(grads, step, params):
        return [-rate(step) * bl.sign(g) for g in grads], step + 1

    return bl.optim.Rule(init=lambda params: 0, update=update)


class Signs(bl.optim.Optimizer):
    """The same as an object with step()."""

    def __init__(self, parameters, lr=0.01):
        super().__init__(parameters, signs, lr)


x = np.linspace(-2, 2, 200)[:, None]
y = np.sin(4 * x) * np.exp(-x * x)

model = bl.nn.Sequential(Wave(1, 20, key=0), bl.nn.Linear(20, 1, key=1, dtype="float64"))


def loss_of(model):
    return log_cosh(model(x), y)


print(bl.check(loss_of, model), "\n")  # is every derivative right?

lr = bl.optim.exponential(0.02, 0.99)  # times 0.99 at every step
run = bl.fit(model, (x, y), loss=log_cosh, optimizer=Signs, lr=lr, epochs=100, batch_size=50, metrics=["r2"],
             progress=False)  # fmt: skip
print(run)
