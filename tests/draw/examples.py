"""The examples of the golden files of drawings, which name the lines here, so add at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import backlit as bl
from backlit.draw import Drawing, NetworkDrawing, draw, draw_network


def named(value: Any, name: str) -> Any:
    value.name = name
    return value


def expression() -> bl.Value:
    """(a * b + c) * d, the first example of the sources."""
    a, b, c, d = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
    e = named(a * b, "e")
    f = named(e + c, "f")
    out = named(f * d, "out")
    out.backward()
    return out  # type: ignore[no-any-return]


def neuron() -> bl.Value:
    """A neuron with two inputs and tanh, the second example of the sources."""
    x1, x2, w1, w2 = bl.values(x1=2.0, x2=0.0, w1=-3.0, w2=1.0)
    (b,) = bl.values(b=6.8813735870195432)
    n = named(named(x1 * w1, "x1w1") + named(x2 * w2, "x2w2") + b, "n")
    o = named(n.tanh(), "o")
    o.backward()
    return o  # type: ignore[no-any-return]


def classifier() -> bl.Value:
    """Three examples, two features, softmax and cross entropy written out in a scope: one fold."""
    X = np.array([[1.0, 0.5], [-1.0, 2.0], [0.0, -1.5]])
    W, b = bl.Value([[0.5, -0.25], [0.75, 1.0]], name="W"), bl.Value([0.0, 0.125], name="b")
    z = named(bl.asarray(X) @ W + b, "z")
    with bl.scope("softmax"):
        e = bl.exp(z - z.max(axis=1, keepdims=True))
        p = named(e / e.sum(axis=1, keepdims=True), "p")
    loss = named(-bl.log(p[:, 0]).mean(), "loss")
    loss.backward()
    return loss  # type: ignore[no-any-return]


def dead_relu() -> bl.Value:
    """A unit to which nothing flows back."""
    x, w = bl.values(x=2.0, w=-1.5)
    h = named(bl.relu(named(x * w, "z")), "h")
    y = named(h * 3.0 + 1.0, "y")
    y.backward()
    return y  # type: ignore[no-any-return]


def small_network() -> NetworkDrawing:
    layers = [([[0.5, -1.0, 0.25], [2.0, 0.25, -0.75]], [0.0, 0.5, -0.25]), ([[1.0], [-1.0], [0.5]], [0.1])]
    return draw_network(layers, x=[1.0, -0.5], inputs=["x1", "x2"], outputs=["y"])


DRAWINGS: dict[str, Callable[[], Drawing | NetworkDrawing]] = {
    "expression": lambda: draw(expression(), partials=True),
    "neuron": lambda: draw(neuron(), partials=True),
    "neuron_forward": lambda: draw(neuron(), backward=False),
    "classifier": lambda: draw(classifier()),
    "dead_relu": lambda: draw(dead_relu(), partials=True),
    "network": small_network,
}
