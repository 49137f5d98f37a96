"""Points in the plane (and blobs in any dimension), in classes that are easy to look at.

In each set row i has class i modulo the number of classes, so every part of consecutive rows is balanced to within
one. A point depends on the seed and its own number alone: the set of 100 is the beginning of the set of 200. Points
are made in float64 and then rounded to the dtype. The last bit of a sine may differ between maths libraries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core import threefry
from backlit.core.dtypes import float64
from backlit.data.dataset import Dataset
from backlit.data.seeds import Floats, Ints, Seed, Words, amount, real_dtype, streams, whole


def moons(n: int = 200, noise: float = 0.1, seed: Seed = 0, dtype: Any = float64) -> Dataset:
    """Two half circles of radius 1, one hooked into the other; no straight line parts them.

    Class 0: (cos t, sin t), class 1: (1 - cos t, 1/2 - sin t), with t equally likely in 0 to pi; `noise` is the
    standard deviation of what is added to both coordinates. inputs (n, 2), targets (n,) int64.

    >>> moons(100)
    Dataset(100 rows: inputs (100, 2) float64 (x, y), targets (100,) int64 (moon) of 2 classes)
    """
    place, error = streams(seed, 2, "moons")
    rows = whole(n, "n", "moons", 2)
    t = np.pi * threefry.uniform(place, rows)
    second = _classes(rows, 2) == 1
    x = np.where(second, 1 - np.cos(t), np.cos(t))
    y = np.where(second, 0.5 - np.sin(t), np.sin(t))
    return _plane("moons", x, y, 2, "moon", noise, error, dtype)


def circles(n: int = 200, noise: float = 0.05, seed: Seed = 0, dtype: Any = float64, *, inner: float = 0.5) -> Dataset:
    """Two circles around the origin: class 0 of radius 1, class 1 of radius `inner`.

    Angles are equally likely; `noise` as in `moons`. inputs (n, 2), targets (n,) int64.

    >>> circles(100, noise=0).inputs[1].shape
    (2,)
    """
    place, error = streams(seed, 2, "circles")
    rows = whole(n, "n", "circles", 2)
    radius = amount(inner, "inner", "circles", above=0)
    t = 2 * np.pi * threefry.uniform(place, rows)
    r = np.where(_classes(rows, 2) == 1, radius, 1.0)
    return _plane("circles", r * np.cos(t), r * np.sin(t), 2, "circle", noise, error, dtype)


def spirals(
    n: int = 300, noise: float = 0.02, seed: Seed = 0, dtype: Any = float64, *, arms: int = 2, turns: float = 1.5
) -> Dataset:
    """Spirals that wind around each other, one class an arm, from radius 0.1 to 1.

    A point at share s of its arm has radius 0.1 + 0.9 s and angle 2 pi (turns * s + arm / arms); s is the square root
    of a uniform number, so that the points lie about equally dense along the arm. Neighbouring windings are
    0.9 / (turns * arms) apart: 0.3 for the defaults. `noise` as in `moons`. inputs (n, 2), targets (n,) int64.

    >>> spirals(90, arms=3).classes
    ('0', '1', '2')
    """
    place, error = streams(seed, 2, "spirals")
    count = whole(arms, "arms", "spirals", 2)
    rows = whole(n, "n", "spirals", count)
    winding = amount(turns, "turns", "spirals", above=0)
    s = np.sqrt(threefry.uniform(place, rows))
    angle = 2 * np.pi * (winding * s + _classes(rows, count) / count)
    r = 0.1 + 0.9 * s
    return _plane("spirals", r * np.cos(angle), r * np.sin(angle), count, "arm", noise, error, dtype)


def blobs(
    n: int = 300, noise: float = 0.3, seed: Seed = 0, dtype: Any = float64, *, classes: int = 3, features: int = 2
) -> Dataset:
    """Round clouds, one a class: normal with standard deviation `noise` around centres in the cube from -2 to 2.

    Centres are drawn so that they keep apart: each is, of 32 uniform points, the one farthest from the centres before
    it (Mitchell 1991, best candidate). inputs (n, features), targets (n,) int64.

    >>> blobs(60, classes=4, features=5).inputs.shape
    (60, 5)
    """
    place, error = streams(seed, 2, "blobs")
    count, dims = whole(classes, "classes", "blobs", 2), whole(features, "features", "blobs")
    rows = whole(n, "n", "blobs", count)
    candidates = 4 * threefry.uniform(place, count * 32 * dims).reshape(count, 32, dims) - 2
    centres = [candidates[0, 0]]
    for group in candidates[1:]:
        nearest = np.min([((group - c) ** 2).sum(axis=1) for c in centres], axis=0)
        centres.append(group[np.argmax(nearest)])
    label = _classes(rows, count)
    scatter = amount(noise, "noise", "blobs") * threefry.normal(error, rows * dims).reshape(rows, dims)
    points = (np.array(centres)[label] + scatter).astype(real_dtype(dtype, "blobs"))
    names = ("x", "y") if dims == 2 else tuple(f"x{i + 1}" for i in range(dims))
    return Dataset(points, label, names, "blob", tuple(map(str, range(count))))


def _classes(rows: int, count: int) -> Ints:
    return np.arange(rows, dtype=np.int64) % count


def _plane(name: str, x: Floats, y: Floats, count: int, target: str, noise: float, error: Words, dtype: Any) -> Dataset:
    rows = len(x)
    points = np.stack([x, y], axis=1)
    points += amount(noise, "noise", name) * threefry.normal(error, 2 * rows).reshape(rows, 2)
    labels = _classes(rows, count)
    return Dataset(points.astype(real_dtype(dtype, name)), labels, ("x", "y"), target, tuple(map(str, range(count))))
