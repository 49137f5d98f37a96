"""What the makers of data ask of their arguments: a seed or key, a number of rows, an amount of noise, a dtype."""

from __future__ import annotations

import math
import operator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from backlit.core import threefry
from backlit.core.dtypes import as_dtype, is_real
from backlit.core.errors import DomainError, DtypeError
from backlit.ops.random import Key

Seed: TypeAlias = int | Key
"""A whole number, or a key made with `bl.random.key`, `split` or `fold_in`. A number stands for `key(number)`."""

Words: TypeAlias = tuple[int, int]
Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Ints: TypeAlias = npt.NDArray[np.int64]


def words_of(seed: Any, name: str) -> Words:
    """The two words of a key, or of the key of a seed."""
    if isinstance(seed, Key):
        return seed.words
    try:
        high, low = threefry.key_from_seed(seed).tolist()
    except DtypeError:
        raise DtypeError(
            f"{name}: {seed!r:.60} is neither a key nor a whole number; give seed=0, or a key made with "
            "bl.random.key(0)."
        ) from None
    return high, low


def streams(seed: Any, count: int, name: str) -> list[Words]:
    """So many independent keys made from one seed."""
    children: list[list[int]] = threefry.split(words_of(seed, name), count).tolist()
    return [(high, low) for high, low in children]


def whole(number: Any, argument: str, name: str, least: int = 1) -> int:
    """A whole number that is not too small, as an int."""
    try:
        found = operator.index(number)
    except TypeError:
        raise DtypeError(f"{name}: {argument}={number!r:.60} must be a whole number.") from None
    if found < least:
        raise DomainError(f"{name}: {argument}={found}, and at least {least} is needed.")
    return found


def amount(number: Any, argument: str, name: str, above: float | None = None) -> float:
    """A finite number that is not negative (or, if asked, above another), as a float."""
    try:
        found = float(number)
    except (TypeError, ValueError, OverflowError):
        raise DtypeError(f"{name}: {argument}={number!r:.60} must be a number.") from None
    if above is not None and not (math.isfinite(found) and found > above):
        raise DomainError(f"{name}: {argument}={found}; it must be a number above {above:g}.")
    if not (math.isfinite(found) and found >= 0):
        raise DomainError(f"{name}: {argument}={found}; it must be 0 or a number above it.")
    return found


def real_dtype(dtype: Any, name: str) -> np.dtype[Any]:
    """float64, float32 or float16."""
    found = as_dtype(dtype)
    if not is_real(found):
        raise DtypeError(f"{name}: dtype={found.name} does not hold real numbers; choose float64 or float32.")
    return found
