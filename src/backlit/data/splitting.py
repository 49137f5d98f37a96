"""Some rows to learn from, the others to see what was learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core import threefry
from backlit.core.errors import DataError, DomainError
from backlit.data.accepting import as_dataset
from backlit.data.dataset import Dataset
from backlit.data.seeds import Ints, Seed, amount, words_of


def split(
    data: Any, fraction: float = 0.2, key: Seed | None = None, *, stratify: bool = False
) -> tuple[Dataset, Dataset]:
    """Two data sets, to learn from and held out, which share no row: `train, test = split(data, 0.2, key)`.

    fraction: the share that is held out, above 0 and below 1; as many rows as come nearest to it (a half rounds up),
    and at least one on each side. key: a key or a whole number; both sides are in random order. With `stratify` each
    class is held out in its share, to within one row, and a class of one row stays with those to learn from; without,
    a rare class may be missing on one side.

    Raises: DomainError for a fraction outside, or no key; DataError for fewer than two rows, or for `stratify` with
    targets that are not classes.

    >>> train, test = split((np.arange(10.0)[:, None], np.arange(10.0)), 0.3, key=0)
    >>> len(train), len(test)
    (7, 3)
    """
    found = as_dataset(data)
    share = amount(fraction, "fraction", "split")
    if not 0 < share < 1:
        raise DomainError(
            f"split: fraction={share:g}; it is the share that is held out, above 0 and below 1, such as 0.2."
        )
    if key is None:
        raise DomainError("split: which rows are held out is drawn with a key; give key=bl.random.key(0).")
    rows = len(found)
    if rows < 2:
        raise DataError("split: one row cannot be on two sides; at least two are needed.")
    order = threefry.permutation(words_of(key, "split"), rows)
    held = min(rows - 1, max(1, math.floor(rows * share + 0.5)))
    if stratify:
        is_held = _stratified(_classes_of(found), order, held)
    else:
        is_held = np.arange(rows) < held
    return found.take(order[~is_held]), found.take(order[is_held])


def _classes_of(data: Dataset) -> Ints:
    y = data.targets
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "biu":
        raise DataError(
            f"split: stratify=True keeps the shares of classes, and the targets are {data.targets.dtype.name} of shape "
            f"{data.targets.shape}; it needs whole numbers (n,)."
        )
    return np.unique(y, return_inverse=True)[1].astype(np.int64)


def _stratified(classes: Ints, order: Ints, held: int) -> Any:
    """Which places of `order` are held out: of each class its share of `held`, by largest remainders."""
    counts = np.bincount(classes)
    exact = counts * (held / len(classes))
    most = np.where(counts > 1, np.minimum(np.ceil(exact), counts - 1), 0).astype(np.int64)
    quota = np.minimum(np.floor(exact).astype(np.int64), most)
    for k in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if quota.sum() >= held:
            break
        quota[k] = min(most[k], quota[k] + 1)
    if not quota.sum():
        raise DataError(
            f"split: each of the {len(counts)} classes has only one row, which stays with those to learn from; "
            "leave stratify out."
        )
    ordered = classes[order]
    is_held = np.zeros(len(order), bool)
    for k, number in enumerate(quota.tolist()):
        is_held[np.flatnonzero(ordered == k)[:number]] = True
    return is_held
