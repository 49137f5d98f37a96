"""What is trained: first numbers, data and the order of batches, the same for every contestant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.data import load_digits, moons, names

Array = npt.NDArray[Any]
Run = Callable[[int], "list[Array]"]
"""Trains from the start for so many steps; gives the last loss and the parameters, in the order of `Problem.start`."""
ROWS = 512
"""So many batches are drawn; then they come again."""
HIDDEN = 64
"""Of the net that makes names."""


@dataclass
class Problem:
    """start: the parameters by name. data: arrays that do not change. rows: (ROWS, batch) positions in them, or None
    where every step sees all. rate: the learning rate. steps: how many are one unit of `Run`, if more than one.
    """

    name: str
    start: dict[str, Array]
    data: tuple[Array, ...]
    rate: float
    rows: Array | None = None
    steps: int = 1
    extra: dict[str, float] = field(default_factory=dict)


def uniform(rng: np.random.Generator, n_in: int, n_out: int, dtype: str = "float32") -> Array:
    bound = (6 / (n_in + n_out)) ** 0.5
    return rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype)


def layers(rng: np.random.Generator, *widths: int, dtype: str = "float32") -> dict[str, Array]:
    """W1, b1, W2, b2, …"""
    found = {}
    for k, (n_in, n_out) in enumerate(pairwise(widths), 1):
        found[f"W{k}"], found[f"b{k}"] = uniform(rng, n_in, n_out, dtype), np.zeros(n_out, dtype)
    return found


X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
WANTED = np.array([0.0, 1.0, 1.0, 0.0])
SIGNS = 1 - 2 * WANTED


def xor() -> Problem:
    """relu(X @ W1 + b1) @ W2 + b2, binary cross entropy: the net of `backlit train xor`, from its seed 0."""
    theta = np.random.RandomState(0).randn(9)
    start = {"W1": theta[:4].reshape(2, 2), "b1": theta[4:6], "W2": theta[6:8], "b2": theta[8:].reshape(())}
    return Problem("xor", start, (X, SIGNS), 0.03)


def nudge() -> Problem:
    """The same net, its nine numbers as one array."""
    return Problem("nudge", {"theta": np.random.RandomState(0).randn(9)}, (X, SIGNS), 0.03)


def through() -> Problem:
    """d final loss / d learning rate of 10,000 steps of the XOR net with tanh units: there is nothing to learn."""
    found = xor()
    return Problem("through", found.start, found.data, 0.03, steps=10_000)


def two_moons() -> Problem:
    """2-16-16-1, relu; mean of max(0, 1 - y · score) + alpha · the sum of squares of all parameters."""
    drawn = moons(100, noise=0.1, seed=1)
    x, y = np.asarray(drawn.inputs), 2.0 * np.asarray(drawn.targets) - 1.0
    start = layers(np.random.default_rng(1), 2, 16, 16, 1, dtype="float64")
    return Problem("moons", start, (x, y), 0.05, extra={"alpha": 1e-4})


def _batches(rng: np.random.Generator, examples: int, size: int) -> Array:
    return rng.integers(0, examples, (ROWS, size))


def digits() -> Problem:
    """64-128-10, tanh, softmax cross entropy, Adam; batches of 32."""
    rng = np.random.default_rng(2)
    drawn = load_digits()
    images, labels = np.asarray(drawn.images, np.float32).reshape(-1, 64) / 16, np.asarray(drawn.labels, np.int64)
    return Problem("digits", layers(rng, 64, 128, 10), (images, labels), 1e-3, _batches(rng, len(labels), 32))


def names_net() -> Problem:
    """Embedding(27, 10) of three characters, Linear(30, 64) without bias, batch norm, tanh, Linear(64, 27); batches
    of 32.
    """
    rng = np.random.default_rng(3)
    contexts, following = [], []
    for name in names(2000, seed=0):
        codes = [0, 0, 0, *(ord(letter) - 96 for letter in name), 0]
        for k in range(len(codes) - 3):
            contexts.append(codes[k : k + 3])
            following.append(codes[k + 3])
    x, y = np.array(contexts, np.int64), np.array(following, np.int64)
    start = {
        "C": rng.normal(size=(27, 10)).astype(np.float32),
        "W1": uniform(rng, 30, HIDDEN),
        "scale": np.ones(HIDDEN, np.float32),
        "shift": np.zeros(HIDDEN, np.float32),
        "W2": uniform(rng, HIDDEN, 27),
        "b2": np.zeros(27, np.float32),
    }
    return Problem("names", start, (x, y), 0.1, _batches(rng, len(y), 32))


def wide() -> Problem:
    """784-512-512-10, relu, softmax cross entropy, momentum 0.9; batches of 128."""
    rng = np.random.default_rng(4)
    images = rng.random((2048, 784), np.float32) - np.float32(0.5)
    labels = rng.integers(0, 10, 2048)
    return Problem("wide", layers(rng, 784, 512, 512, 10), (images, labels), 0.01, _batches(rng, 2048, 128))


CONTEXT, HEADS, BLOCKS, WIDTH, VOCABULARY = 32, 4, 2, 64, 27


def transformer() -> Problem:
    """`nn.CharTransformer` with 2 layers of width 64 and 4 heads, AdamW; 16 windows of 32 characters."""
    from backlit import nn

    text = " ".join(names(5000, seed=1))
    codes = np.array([0 if letter == " " else ord(letter) - 96 for letter in text], np.int64)
    rng = np.random.default_rng(5)
    model = nn.CharTransformer(VOCABULARY, CONTEXT, WIDTH, HEADS, BLOCKS, key=0)
    start = {name: np.array(p.data) for name, p in model.named_parameters()}
    rows = _batches(rng, len(codes) - CONTEXT - 1, 16)
    return Problem("transformer", start, (codes,), 1e-3, rows)


PROBLEMS = {
    "xor": xor,
    "nudge": nudge,
    "moons": two_moons,
    "digits": digits,
    "names": names_net,
    "wide": wide,
    "transformer": transformer,
    "through": through,
}
