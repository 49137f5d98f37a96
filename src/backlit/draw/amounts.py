"""How numbers and arrays are written where room is short: on a card of a drawing, or in a line of a tree."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.explain.formula import number_text

DIGITS = 4
FEW = 3  # an array of no more numbers than this is written out


@lru_cache(maxsize=4096)
def _float_text(x: float) -> str:
    return number_text(x, DIGITS)


def amount(x: Any) -> str:
    """A number to four digits; of an array its numbers, if they are few, or else the least and the greatest.

    >>> amount(0.70710678), amount(np.array([1.0, 2.5])), amount(np.arange(6.0).reshape(2, 3))
    ('0.7071', '[1, 2.5]', '0 … 5')
    """
    if type(x) is float:
        return _float_text(x)
    if isinstance(x, Abstract):
        return "not computed"
    shape = shape_of(x)
    if not shape:
        return number_text(x, DIGITS)
    if np.size(x) == 0:
        return "empty"
    if len(shape) == 1 and shape[0] <= FEW:
        return f"[{', '.join(number_text(item, DIGITS) for item in x)}]"
    if dtype_of(x).kind == "b":
        return f"{int(np.count_nonzero(x))} of {np.size(x)} true"
    if dtype_of(x).kind == "c":
        return f"|…| up to {number_text(float(np.abs(x).max()), DIGITS)}"
    bad = np.size(x) - int(np.count_nonzero(np.isfinite(x)))
    if bad:
        return f"{bad} of {np.size(x)} not finite"
    low, high = number_text(np.min(x), DIGITS), number_text(np.max(x), DIGITS)
    return f"all {low}" if low == high else f"{low} … {high}"


def exact(x: Any) -> str:
    """The same with six digits, as derivations write numbers."""
    return amount(x) if shape_of(x) else number_text(x)


def shape_text(x: Any) -> str:
    """The shape of an array as `32×10`; nothing for a number.

    >>> shape_text(np.zeros((32, 10))), shape_text(np.zeros(3)), shape_text(1.0)
    ('32×10', '3', '')
    """
    return "×".join(map(str, shape_of(x)))


_POWER = re.compile(r"\*\*([23])(?![\d.*])")


def raised(formula: str) -> str:
    """A formula with squares and cubes as one writes them by hand.

    >>> raised("1 - o**2"), raised("x**2.5")
    ('1 - o²', 'x**2.5')
    """
    return _POWER.sub(lambda found: "²" if found[1] == "2" else "³", formula)


def is_finite(x: Any) -> bool:
    """Whether no number of it is NaN or infinite."""
    if type(x) is float:
        return math.isfinite(x)
    return isinstance(x, Abstract) or dtype_of(x).kind not in "fc" or bool(np.all(np.isfinite(x)))


def as_json(x: Any) -> Any:
    """A number, or an array in short: what JSON can hold. What it cannot are the strings "nan", "inf", "-inf"."""
    if x is None:
        return None
    if isinstance(x, Abstract):
        return {"shape": list(x.shape), "dtype": x.dtype.name}
    shape = shape_of(x)
    if not shape:
        kind = dtype_of(x).kind
        if kind == "b":
            return bool(x)
        if kind in "iu":
            return int(x)
        if kind == "c":
            return [as_json(complex(x).real), as_json(complex(x).imag)]
        return float(x) if np.isfinite(x) else number_text(x)
    record: dict[str, Any] = {"shape": list(shape), "dtype": dtype_of(x).name}
    if np.size(x) and dtype_of(x).kind in "fiu":
        record |= {"min": as_json(np.min(x)), "max": as_json(np.max(x)), "norm": as_json(np.linalg.norm(np.ravel(x)))}
    return record
