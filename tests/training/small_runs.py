"""Small trainings that the tests of checkpoints and recordings share: everything that has a memory takes part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import backlit as bl
from backlit.training.fit import fit
from backlit.training.run import Run

ROWS, BATCH = 90, 16  # six batches an epoch, the last of them smaller


def points(rows: int = ROWS) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Points in five dimensions, of two classes."""
    x = np.asarray(bl.random.normal(bl.random.key(5), (rows, 5)).data)
    return np.array(x), (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def net(drops: bool = True) -> Any:
    """Layers with running statistics and random masks, which are state beside the weights."""
    nn = bl.nn
    middle = [nn.BatchNorm(12, dtype="float64"), nn.ReLU(), nn.Dropout(0.25)] if drops else [nn.ReLU()]
    ends = nn.Linear(5, 12, key=1, dtype="float64"), nn.Linear(12, 2, key=2, dtype="float64")
    return nn.Sequential(ends[0], *middle, ends[1])


def train(model: Any = None, **settings: Any) -> Run:
    """A training of a second at most; settings as for `fit`."""
    chosen = {"epochs": 6, "batch_size": BATCH, "lr": 0.01, "progress": False, "seed": 3, **settings}
    return fit(net() if model is None else model, chosen.pop("data", points()), **chosen)


def record(path: Path, **settings: Any) -> Run:
    """The same, recorded."""
    return train(record=path, **settings)


class Stop:
    """Ends a training after a step, by an error or as a callback may."""

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.after, self.error = after, error

    def on_step(self, run: Run) -> None:
        if run.position.step == self.after:
            raise self.error("enough")


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two states are the same to the last bit."""
    return a.keys() == b.keys() and all(
        np.asarray(a[name]).dtype == np.asarray(b[name]).dtype
        and np.asarray(a[name]).tobytes() == np.asarray(b[name]).tobytes()
        for name in a
    )
