"""Curves to fit: one number in, one number out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core import threefry
from backlit.core.dtypes import float64
from backlit.core.errors import DomainError
from backlit.data.dataset import Dataset
from backlit.data.seeds import Floats, Seed, amount, real_dtype, streams, whole

_CURVES: dict[str, tuple[Callable[[Floats], Floats], str]] = {
    "line": (lambda x: 0.5 * x + 0.25, "x/2 + 1/4"),
    "sine": (lambda x: np.sin(np.pi * x), "sin(pi x)"),
    "polynomial": (lambda x: x * x * x - 2 * x, "x^3 - 2x"),
    "step": (lambda x: np.where(x < 0, -1.0, 1.0), "-1 below 0, 1 from 0 on"),
    "noisy": (lambda x: np.sin(np.pi * x), "sin(pi x), noisier from left to right"),
}


def curves(kind: str = "sine", n: int = 100, noise: float = 0.1, seed: Seed = 0, dtype: Any = float64) -> Dataset:
    """Points on a curve, x equally likely in -2 to 2. inputs (n, 1), targets (n, 1).

    kind: "line" x/2 + 1/4; "sine" sin(pi x); "polynomial" x³ - 2x; "step" -1 below 0 and 1 from 0 on; "noisy" the
    sine with noise that grows from none at -2 to 4 * noise at 2. `noise` is the standard deviation of what is added
    to y. Points are in random order, and the set of 100 is the beginning of the set of 200.

    >>> x, y = curves("polynomial", 5, noise=0)
    >>> bool(np.allclose(y, x**3 - 2 * x))
    True
    """
    if kind not in _CURVES:
        raise DomainError(f"curves: there is no curve {kind!r:.60}; choose one of {', '.join(_CURVES)}.")
    place, error = streams(seed, 2, "curves")
    rows = whole(n, "n", "curves")
    x = 4 * threefry.uniform(place, rows) - 2
    spread = amount(noise, "noise", "curves") * (x + 2 if kind == "noisy" else 1.0)
    y = _CURVES[kind][0](x) + spread * threefry.normal(error, rows)
    exact = real_dtype(dtype, "curves")
    return Dataset(x.astype(exact)[:, None], y.astype(exact)[:, None], ("x",), "y")
