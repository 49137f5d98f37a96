"""What an explanation costs, beside the backward pass of the same graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import backlit as bl
from benchmarks.timing import machine, readable

ROUNDS = 9


def timed(function: Callable[[], Any]) -> float:
    """Median seconds of one call."""
    function()
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return median(found)


def net() -> tuple[bl.Value, list[bl.Parameter]]:
    """The loss of a 784-512-512-10 net of relu on a batch of 128, float32, after its backward pass."""
    rng = np.random.default_rng(0)
    h: Any = bl.asarray(rng.normal(size=(128, 784)).astype(np.float32))
    target = bl.one_hot(rng.integers(0, 10, 128), 10, dtype=bl.float32)
    weights = []
    for i, (n, m) in enumerate(((784, 512), (512, 512), (512, 10))):
        w = bl.Parameter((rng.normal(size=(n, m)) * (2 / n) ** 0.5).astype(np.float32), name=f"W{i}")
        weights.append(w)
        h = h @ w
        if m > 10:
            h = bl.relu(h)
    loss = (bl.log_softmax(h) * target).sum() * (-1 / 128)
    loss.backward()
    return loss, weights


def doublings(steps: int) -> tuple[bl.Value, bl.Value]:
    """A chain in which the number of paths doubles at every step."""
    x = y = bl.Value(1.0, name="x")
    for _ in range(steps):
        y = y * 0.5 + y * 0.25
    return x, y


def tree(leaves: int) -> bl.Value:
    """A graph of about twice as many nodes as it has leaves."""
    level = [bl.Value(1.0 + i / leaves, name=f"x{i}") for i in range(leaves)]
    while len(level) > 1:
        level = [a * b for a, b in zip(level[::2], level[1::2], strict=True)]
    level[0].backward()
    return level[0]


def main() -> None:
    print(f"explain: {machine()}  (median of {ROUNDS})")
    loss, weights = net()
    backward = timed(lambda: loss.backward())
    x, y = doublings(100)
    picture = tree(128)
    rows = {
        "backward() of 784-512-512-10, batch 128": backward,
        "why of one element of W0's gradient": timed(lambda: str(bl.why(weights[0], index=(300, 100)))),
        "health of the same net": timed(lambda: bl.health(loss)),
        "paths: the 10 heaviest of 2^100": timed(lambda: bl.paths(y, x, top=10)),
        "draw a graph of 255 nodes": timed(lambda: bl.draw(picture).svg),
    }
    for name, seconds in rows.items():
        print(f"  {name:<44}{readable(seconds):>10}   {seconds / backward:8.2f} backward passes")


if __name__ == "__main__":
    main()
