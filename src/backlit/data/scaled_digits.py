"""The shipped digits as a data set that a network can take as it is."""

from __future__ import annotations

from typing import Any

from backlit.core.dtypes import float64
from backlit.data.dataset import Dataset
from backlit.data.digits import load_digits
from backlit.data.seeds import real_dtype


def handwritten_digits(dtype: Any = float64) -> Dataset:
    """The 1,797 digits with pixels from 0 (paper) to 1 (ink): inputs (1797, 64), targets (1797,) int64.

    Feature "r2c5" is the pixel in row 2, column 5, counted from 0. Source and licence: see `load_digits`, which gives
    the whole numbers as they were published. Every 16th is exact in all three real dtypes.

    >>> handwritten_digits("float32")
    Dataset(1,797 rows: inputs (1797, 64) float32 (r0c0, r0c1, r0c2, r0c3, … (64 in all)), targets ... of 10 classes)
    """
    images, labels = load_digits()
    pixels = (images / 16).astype(real_dtype(dtype, "handwritten_digits"))
    names = tuple(f"r{row}c{column}" for row in range(8) for column in range(8))
    return Dataset(pixels, labels, names, "digit", tuple(map(str, range(10))))
