"""1,797 handwritten digits of 8x8 pixels, shipped with the package.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998, doi:10.24432/C50P49, CC BY 4.0 (see DIGITS-LICENSE.txt beside this file).
"""

from __future__ import annotations

from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DataError

__all__ = ["Digits", "load_digits"]

_FILE = "digits.npz"  # `images` (1797, 64) uint8 in 0..16 and `labels` (1797,) uint8 in 0..9
_COUNT, _PIXELS, _BRIGHTEST = 1797, 64, 16


class Digits(NamedTuple):
    """Images and what they show, read-only and in the order of the source.

    `images` (1797, 64) float64: 8 rows of 8 pixels, each the number of inked points among 16, so whole
    numbers from 0 (paper) to 16 (ink). `labels` (1797,) int64: the digits 0 to 9.
    """

    images: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def load_digits() -> Digits:
    """The digits as `Digits(images, labels)`; see there. Divide the images by 16 to bring them to [0, 1].

    The arrays cannot be written to; make a `.copy()` to change one. 13 people wrote these digits, so a
    random split has the same hands on both sides: it measures new images, not new writers.
    Raises: DataError if the package's file is missing or damaged. Cost: about 6 ms, 0.9 MB.

    >>> images, labels = load_digits()
    >>> images.shape, float(images.max())
    ((1797, 64), 16.0)
    >>> labels[:10]
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    images, labels = _read()
    digits = Digits(images.astype(np.float64), labels.astype(np.int64))
    for array in digits:
        array.flags.writeable = False
    return digits


def _read() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The two arrays of the file, checked."""
    source = resources.files("backlit.data").joinpath(_FILE)
    try:
        with source.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
    except FileNotFoundError:
        raise _damaged(source, "it is missing") from None
    except Exception as error:  # a damaged archive raises nearly anything, from zlib.error to NotImplementedError
        raise _damaged(source, f"it cannot be read ({type(error).__name__}: {error})") from error
    for name, array, shape, largest in (
        ("images", images, (_COUNT, _PIXELS), _BRIGHTEST),
        ("labels", labels, (_COUNT,), 9),
    ):
        if array.dtype != np.uint8 or array.shape != shape:
            found = f"{array.dtype} of shape {array.shape}"
            raise _damaged(source, f"`{name}` is {found}, not uint8 of shape {shape}")
        if array.max() > largest:
            raise _damaged(source, f"`{name}` holds {array.max()}, above {largest}")
    return images, labels


def _damaged(source: Any, what: str) -> DataError:
    return DataError(f"load_digits: the data file {source} is damaged: {what}. Install the package again.")
