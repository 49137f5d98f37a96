"""Learning the learning rate: how a loss *after* training depends on a number that training was done *with*.

An optimizer is a pair of pure functions, and its updates are graph like all else. So a gradient flows through twenty
steps of training, back to the learning rate (Maclaurin, Duvenaud and Adams 2015, arXiv:1502.03492).

Run it: python examples/learning_rate.py
"""

import backlit as bl

train, held = bl.data.split(bl.data.moons(120, noise=0.15, seed=0), 0.5, key=0)
one, two = bl.random.split(bl.random.key(0))
start = [bl.random.normal(one, (2, 8)).data, bl.zeros(8).data, 0.3 * bl.random.normal(two, (8, 2)).data]


def loss_of(parameters, data):
    """Of a net with one hidden layer."""
    W1, b1, W2 = parameters
    return bl.nn.cross_entropy(bl.tanh(data.inputs @ W1 + b1) @ W2, data.targets)


def loss_after(log_rate, steps=20):
    """The loss on held-out data after `steps` steps of training with the learning rate exp(log_rate)."""
    rule = bl.optim.sgd(bl.exp(log_rate), momentum=0.5)
    parameters, state = start, rule.init(start)
    for _ in range(steps):
        slopes = bl.grad(loss_of)(parameters, train)
        updates, state = rule.update(slopes, state, parameters)
        parameters = [p + u for p, u in zip(parameters, updates, strict=True)]
    return loss_of(parameters, held)


log_rate = -3.0
loss, slope = bl.value_and_grad(loss_after)(log_rate)
nudged = (loss_after(log_rate + 1e-5).data - loss_after(log_rate - 1e-5).data) / 2e-5
print(f"by the chain rule, through 20 steps of training: {float(slope):.8f}")
print(f"by nudging the learning rate:                    {nudged:.8f}\n")

for _ in range(8):
    loss, slope = bl.value_and_grad(loss_after)(log_rate)
    rate = bl.exp(log_rate).data
    print(f"learning rate {rate:.4f}: held-out loss after 20 steps {float(loss):.4f}, slope {float(slope):+.4f}")
    log_rate -= 3.0 * float(slope)
