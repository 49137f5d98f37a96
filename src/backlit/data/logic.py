"""Truth tables: the smallest things that a network can learn, or, with one unit, cannot."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.dtypes import float64
from backlit.data.dataset import Dataset
from backlit.data.seeds import real_dtype


def xor(dtype: Any = float64) -> Dataset:
    """Exclusive or: true where the two inputs differ. No straight line parts the two classes.

    inputs (4, 2); targets (4,) int64, classes "0" and "1". For one sigmoid output take `xor().column()`.

    >>> x, y = xor()
    >>> x.tolist(), y.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    return _table("xor", (0, 1, 1, 0), dtype)


def and_(dtype: Any = float64) -> Dataset:
    """And: true where both inputs are. Arrays as in `xor`.

    >>> and_().targets.tolist()
    [0, 0, 0, 1]
    """
    return _table("and", (0, 0, 0, 1), dtype)


def or_(dtype: Any = float64) -> Dataset:
    """Or: true where at least one input is. Arrays as in `xor`.

    >>> or_().targets.tolist()
    [0, 1, 1, 1]
    """
    return _table("or", (0, 1, 1, 1), dtype)


def _table(name: str, answers: tuple[int, ...], dtype: Any) -> Dataset:
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], real_dtype(dtype, name))
    return Dataset(inputs, np.array(answers, np.int64), ("a", "b"), f"a {name} b", ("0", "1"))
