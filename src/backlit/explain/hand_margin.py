"""When two arrays of numbers are the same but for rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

RELATIVE = {"float64": 1e-9, "float32": 2e-5, "float16": 1e-2, "bfloat16": 5e-2}
"""How far an element may be off, relative to itself: far more than rounding in a few steps leaves, and far
less than n for n - 1 makes in any batch that one would compute by hand."""
EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_LARGE = 256
_ROUNDINGS = 64
"""How many rounding errors of the sensitive parts of a formula an element may be off, whatever its own
size."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What counts as the same, for one gradient. floor: an absolute difference that rounding may leave."""

    relative: float
    floor: float

    def close(self, a: Any, b: Any, scale: float = 1.0) -> bool:
        """Whether all elements agree, and the shapes too. scale: how much larger the numbers are than usual."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        if a.shape != b.shape:
            return False
        if a.size > _LARGE:  # most comparisons fail, and then a few elements show it
            step = a.size // _LARGE | 1
            if np.any(self.apart(a.reshape(-1)[::step], b.reshape(-1)[::step], scale)):
                return False
        return not np.any(self.apart(a, b, scale))

    def apart(self, a: Any, b: Any, scale: float = 1.0) -> Any:
        """Where elements differ."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        with np.errstate(all="ignore"):
            far = ~(np.abs(a - b) <= self.relative * np.abs(b) + self.floor * scale)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        return far & ~same


def margin_for(dtypes: tuple[str, str], size: float, sensitivity: float) -> Margin:
    """The margin for a gradient of this size, from the coarser of two dtypes.

    >>> margin_for(("float64", "float32"), 1.0, 0.5).relative
    2e-05
    """
    coarser = max((d if d in EPSILON else "float64" for d in dtypes), key=EPSILON.__getitem__)
    return Margin(RELATIVE[coarser], _ROUNDINGS * EPSILON[coarser] * max(size, sensitivity))
