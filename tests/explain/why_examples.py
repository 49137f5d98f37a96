"""The examples of the golden files of `why`, which name the lines here, so add at the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import backlit as bl
from backlit.explain.explanation import Explanation
from backlit.explain.why import why

EXAMPLES: dict[str, Callable[[], Explanation]] = {}


def example(function: Callable[[], Explanation]) -> Callable[[], Explanation]:
    EXAMPLES[function.__name__] = function
    return function


@example
def neuron() -> Explanation:
    """The neuron with which backpropagation is often introduced."""
    x1, x2, w1, w2, b = bl.values(x1=2.0, x2=0.0, w1=-3.0, w2=1.0, b=6.8813735870195432)
    n = x1 * w1 + x2 * w2 + b
    o = n.tanh()
    o.backward()
    return why(w1)


@example
def expression() -> Explanation:
    """An input that is used twice."""
    a, b, c, d = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
    loss = (a * b + c).tanh() * d + a
    loss.backward()
    return why(a)


def net() -> tuple[bl.Value, bl.Parameter, bl.Parameter, bl.Value]:
    rng = np.random.default_rng(3)
    x, y = bl.asarray(rng.normal(size=(8, 4)).round(2)), rng.integers(0, 3, 8)
    W1 = bl.Parameter(rng.normal(size=(4, 5)).round(2))
    W2 = bl.Parameter(rng.normal(size=(5, 3)).round(2))
    h = (x @ W1).relu()
    logits = h @ W2
    loss = -bl.log_softmax(logits)[np.arange(8), y].mean()
    loss.backward()
    return loss, W1, W2, logits


@example
def weight_of_a_net() -> Explanation:
    _loss, W1, _W2, _logits = net()
    return why(W1, index=(2, 1), top=3)


@example
def weight_followed() -> Explanation:
    _loss, W1, _W2, _logits = net()
    return why(W1, index=(2, 1), top=3).follow(1)


@example
def logits_of_a_net() -> Explanation:
    _loss, _W1, _W2, logits = net()
    return why(logits, index=(0, 1))


@example
def weights_of_a_net() -> Explanation:
    _loss, W1, _W2, _logits = net()
    return why(W1)


@example
def dead_unit() -> Explanation:
    x = bl.asarray([[1.0, 2.0], [0.5, 1.5]])
    W = bl.Parameter([[1.0, -1.0], [0.5, -2.0]])
    h = (x @ W).relu()
    loss = h.mean()
    loss.backward()
    return why(W, index=(0, 1))


@example
def nan() -> Explanation:
    x = bl.Value([0.0, 3.0], name="x")
    norm = bl.sqrt(x * x)
    loss = norm.sum()
    loss.backward()
    return why(x)


@example
def vanishing() -> Explanation:
    x = bl.Value(0.5, name="x")
    h1 = (x * 8.0).tanh()
    h2 = (h1 * 8.0).tanh()
    loss = h2 * 2.0
    loss.backward()
    return why(x)


@example
def cut() -> Explanation:
    x = bl.Value(2.0, name="x")
    target = bl.stop_gradient(x * 3.0)
    loss = (target - bl.Value(1.0, name="y")) ** 2
    loss.backward()
    return why(x)


@example
def no_grad() -> Explanation:
    x = bl.Value(2.0, name="x")
    w = bl.Value(1.0, name="w")
    with bl.no_grad():
        h = x * 3.0
    loss = h * w
    loss.backward()
    return why(x)


@example
def squared_error() -> Explanation:
    w = bl.Parameter([0.5, -1.0], name="w")
    x, y = np.array([[1.0, 2.0], [3.0, 0.5]]), np.array([1.0, 0.0])
    prediction = x @ w
    loss = ((prediction - y) ** 2).mean()
    loss.backward()
    return why(w, index=0)


@example
def recurrent() -> Explanation:
    rng = np.random.default_rng(1)
    xs, W = rng.normal(size=(5, 3, 2)).round(2), bl.Parameter([[0.9, -0.4], [0.3, 0.8]])
    h = bl.zeros((3, 2))
    for t in range(5):
        h = bl.tanh(xs[t] + h @ W)
    loss = (h * h).mean()
    loss.backward()
    return why(W, index=(0, 1), top=3)
