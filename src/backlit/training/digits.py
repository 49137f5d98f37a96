"""Handwritten digits read by a small net: 64 pixels, 128 tanh units, 10 scores; minibatches and Adam.

    h = tanh(X @ W1 + b1);   scores = h @ W2 + b2
    loss = mean over the batch of -log softmax(scores)[true digit]

Everything random (which images are held out, the first weights, the order in each epoch) is a pure
function of the seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import backlit.autodiff.reverse  # gives values their backward()
import backlit.ops.operators  # noqa: F401  gives values their operators
from backlit.core import threefry
from backlit.core.errors import DomainError
from backlit.core.state import no_grad
from backlit.core.value import Parameter, Value
from backlit.data import load_digits
from backlit.ops.reductions import sum as sum_of
from backlit.ops.statistics import log_softmax, softmax
from backlit.ops.trigonometry import tanh
from backlit.optim import Adam

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
OnProgress = Callable[[int, int, float], None]
"""Called now and then with the steps done, the steps asked for, and the loss of the last batch."""

PIXELS, HIDDEN, CLASSES = 64, 128, 10
LEARNT, HELD_OUT = 1437, 360  # of 1,797 images, a fifth is held out
BATCH = 32


@dataclass(frozen=True)
class Misread:
    """A held-out image that the net read wrongly.

    index: its place in `load_digits()`. image: (8, 8), 0 paper to 1 ink. confidence: the probability that
    the net gave to what it read.
    """

    index: int
    image: Floats
    true: int
    predicted: int
    confidence: float


@dataclass
class DigitsRun:
    """What happened in one training.

    losses: (steps done,) the loss of each batch before its update. accuracies: (epochs finished,) the
    share of held-out images read right after each epoch; accuracy: at the end. misread: the others, most
    confident mistake first. parameters: by name. epochs: asked for; done: steps made; interrupted:
    Ctrl-C.
    """

    epochs: int
    seed: int
    losses: npt.NDArray[np.float64]
    accuracies: npt.NDArray[np.float64]
    accuracy: float
    held_out: int
    misread: list[Misread]
    parameters: dict[str, Floats]
    seconds: float
    interrupted: bool = False

    @property
    def done(self) -> int:
        """How many updates were made."""
        return len(self.losses)

    @property
    def diverged(self) -> bool:
        """Whether the loss ended as an infinity or NaN."""
        return bool(self.losses.size) and not math.isfinite(self.losses[-1])

    @property
    def window(self) -> int:
        """Over how many batches `smoothed` takes the mean: a third of an epoch, where there are enough."""
        return max(1, min(steps_planned(1) // 3, self.done // 20))

    def smoothed(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Means of the losses of some batches, and when they were, in epochs: (n,), (n,)."""
        size, count = self.window, self.done // self.window
        means = self.losses[: count * size].reshape(count, size).mean(axis=1)
        return (np.arange(count) + 0.5) * size / steps_planned(1), means


@dataclass(frozen=True)
class Split:
    """A part of the images. images: (n, 64) float32, 0 to 1; labels: (n,); where: (n,) places in the data."""

    images: npt.NDArray[np.float32]
    labels: Ints
    where: Ints


def split_digits(seed: int = 0) -> tuple[Split, Split]:
    """1,437 images to learn from and 360 held out, drawn by the seed.

    >>> learn, held_out = split_digits()
    >>> learn.images.shape, held_out.images.shape
    ((1437, 64), (360, 64))
    """
    images, labels = load_digits()
    order = threefry.permutation(_keys(seed)[0], len(labels))
    pixels = (images / images.max()).astype(np.float32)

    def part(where: Ints) -> Split:
        return Split(pixels[where], labels[where], where)

    return part(order[HELD_OUT:]), part(order[:HELD_OUT])


def _keys(seed: int) -> Any:
    """One key each for the split, the two layers and the order of the images."""
    return threefry.split(threefry.key_from_seed(seed), 4)


def first_parameters(seed: int = 0) -> dict[str, Parameter]:
    """The net before it learned: weights normal with variance 1/inputs, biases zero; float32."""
    _, first, second, _ = _keys(seed)
    arrays = {
        "W1": _scaled(first, PIXELS, HIDDEN),
        "b1": np.zeros(HIDDEN, np.float32),
        "W2": _scaled(second, HIDDEN, CLASSES),
        "b2": np.zeros(CLASSES, np.float32),
    }
    return {name: Parameter(array, name=name) for name, array in arrays.items()}


def _scaled(key: Any, n_in: int, n_out: int) -> npt.NDArray[np.float32]:
    drawn = threefry.normal(key, n_in * n_out).reshape(n_in, n_out)
    return (drawn / math.sqrt(n_in)).astype(np.float32)


def scores(net: Mapping[str, Any], images: Any) -> Value:
    """What speaks for each digit.  images: (n, 64) -> (n, 10)."""
    hidden: Value = tanh(Value(images) @ net["W1"] + net["b1"])
    found: Value = hidden @ net["W2"] + net["b2"]
    return found


def cross_entropy(found: Value, one_hot: Any) -> Value:
    """The mean of -log softmax at the true digits.  found, one_hot: (n, 10)."""
    return -sum_of(log_softmax(found, axis=1) * one_hot) / len(one_hot)


def train_digits(
    epochs: int = 30, seed: int = 0, learning_rate: float = 0.003, on_progress: OnProgress | None = None
) -> DigitsRun:
    """Train the net on 1,437 images in batches of 32 and measure it on the 360 held out.

    Ctrl-C ends it, and what was learned so far is measured and returned. Raises DomainError for epochs
    below 1, a learning rate that is not above 0 and finite, a seed outside -2**63 to 2**64 - 1, and
    DataError if the data are damaged. Cost: about 25 ms an epoch.

    >>> train_digits(epochs=2).accuracy > 0.8
    True
    """
    check_settings(epochs, seed, learning_rate)
    learn, held_out = split_digits(seed)
    net = first_parameters(seed)
    adam = Adam(list(net.values()), lr=learning_rate)
    order_key = _keys(seed)[3]
    wanted = np.eye(CLASSES, dtype=np.float32)[learn.labels]
    steps = steps_planned(epochs)
    losses: list[float] = []
    accuracies: list[float] = []
    interrupted = False
    start = report = time.perf_counter()
    try:
        for epoch in range(epochs):
            order = threefry.permutation(threefry.fold_in(order_key, epoch), len(learn.labels))
            for first in range(0, len(order), BATCH):
                batch = order[first : first + BATCH]
                loss = cross_entropy(scores(net, learn.images[batch]), wanted[batch])
                loss.backward()
                adam.step()
                adam.zero_grad()
                losses.append(float(loss.data))
                if not math.isfinite(losses[-1]):
                    break
                if on_progress is not None and (now := time.perf_counter()) > report:
                    on_progress(len(losses), steps, losses[-1])
                    report = now + 0.05
            if not math.isfinite(losses[-1]):
                break
            accuracies.append(accuracy(read(net, held_out.images), held_out.labels))
    except KeyboardInterrupt:
        interrupted = True
    seconds = time.perf_counter() - start
    chances = read(net, held_out.images)
    if on_progress is not None and losses:
        on_progress(len(losses), steps, losses[-1])
    return DigitsRun(
        epochs=epochs,
        seed=seed,
        losses=np.array(losses),
        accuracies=np.array(accuracies),
        accuracy=accuracy(chances, held_out.labels),
        held_out=len(held_out.labels),
        misread=_misread(chances, held_out),
        parameters={name: np.array(p.data) for name, p in net.items()},
        seconds=seconds,
        interrupted=interrupted,
    )


def check_settings(epochs: int, seed: int, learning_rate: float) -> None:
    """Raises DomainError, which says what to give instead, for settings that `train_digits` cannot use."""
    if epochs < 1:
        raise DomainError(f"train_digits: epochs={epochs}, and at least 1 is needed.")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise DomainError(f"train_digits: learning_rate={learning_rate}; it must be a number above 0, such as 0.003.")
    threefry.key_from_seed(seed)


def steps_planned(epochs: int) -> int:
    """How many batches there are in so many epochs; the last one of each epoch may be smaller."""
    return epochs * -(-LEARNT // BATCH)


def read(net: Mapping[str, Any], images: npt.NDArray[np.float32]) -> Floats:
    """The probability of each digit.  images: (n, 64) -> (n, 10)."""
    with no_grad():
        return np.array(softmax(scores(net, images), axis=1).data)


def accuracy(chances: Floats, labels: Ints) -> float:
    """The share of images whose most probable digit is the true one.  chances: (n, 10); labels: (n,)."""
    return float((chances.argmax(axis=1) == labels).mean())


def _misread(chances: Floats, held_out: Split) -> list[Misread]:
    guesses = chances.argmax(axis=1)
    found = [
        Misread(
            index=int(held_out.where[i]),
            image=held_out.images[i].reshape(8, 8).astype(np.float64),
            true=int(held_out.labels[i]),
            predicted=int(guesses[i]),
            confidence=float(chances[i, guesses[i]]),
        )
        for i in np.flatnonzero(guesses != held_out.labels)
    ]
    return sorted(found, key=lambda m: (-m.confidence, m.index))


# -- the price of nudging --------------------------------------------------------------------------


@dataclass
class BothWays:
    """The gradient of one batch's loss by all parameters, by the chain rule and by nudging each of them.

    difference: the largest between the two, over all parameters; largest: the largest partial derivative
    itself.
    """

    parameters: int
    difference: float
    largest: float
    chain_seconds: float
    nudge_seconds: float
    forward_passes: int  # of nudging; the chain rule makes one, and one backward
    interrupted: bool = False


def both_ways(run: DigitsRun, on_progress: OnProgress | None = None) -> BothWays:
    """The gradient for the first batch at the parameters of a run, by backward() and by central differences.

    Nudging moves one parameter after the other up and down by 2**-20 and runs the net forward: two passes
    for each of 9,610. Ctrl-C ends it with those compared so far. on_progress: gets the loss as its third
    argument. Cost: seconds.
    """
    learn, _ = split_digits(run.seed)
    images = learn.images[:BATCH].astype(np.float64)
    wanted = np.eye(CLASSES)[learn.labels[:BATCH]]
    arrays = {name: p.astype(np.float64) for name, p in run.parameters.items()}

    times = []
    for _ in range(5):  # the first run warms up; the middle one counts
        start = time.perf_counter()
        net = {name: Parameter(array) for name, array in arrays.items()}
        loss = cross_entropy(scores(net, images), wanted)
        loss.backward()
        times.append(time.perf_counter() - start)
    by_chain = np.concatenate([np.ravel(p.grad) for p in net.values()])

    nudged = np.full(by_chain.size, np.nan)
    done, interrupted, step = 0, False, 2.0**-20
    start = report = time.perf_counter()
    try:
        with no_grad():
            for array in arrays.values():
                flat = array.reshape(-1)
                for i, before in enumerate(flat.tolist()):
                    flat[i] = before + step
                    above = cross_entropy(scores(arrays, images), wanted).data
                    flat[i] = before - step
                    below = cross_entropy(scores(arrays, images), wanted).data
                    flat[i] = before
                    nudged[done] = (above - below) / ((before + step) - (before - step))
                    done += 1
                    if on_progress is not None and (now := time.perf_counter()) > report:
                        on_progress(done, by_chain.size, loss.data)
                        report = now + 0.05
    except KeyboardInterrupt:
        interrupted = True
    return BothWays(
        parameters=by_chain.size,
        difference=float(np.abs(by_chain - nudged)[:done].max(initial=0.0)),
        largest=float(np.abs(by_chain).max()),
        chain_seconds=sorted(times)[2],
        nudge_seconds=time.perf_counter() - start,
        forward_passes=2 * done,
        interrupted=interrupted,
    )
