"""The search for a good length along a direction: far enough down, and flat enough there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from backlit.core.errors import DomainError


class Point(NamedTuple):
    """A length tried: the function there, its slope along the direction, and what the caller wants back for it."""

    length: float
    value: float
    slope: float
    found: Any = None


def strong_wolfe(
    at: Callable[[float], Point],
    start: Point,
    length: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tries: int = 25,
    least: float = 0.0,
) -> tuple[Point, int]:
    r"""A length t with f(t) <= f(0) + c1 t f'(0) and |f'(t)| <= c2 |f'(0)|, and the number of evaluations.

    at: evaluates a length above 0. start: length 0. length: what to try first. tries: evaluations at most; if no length
    meets both conditions by then, or the interval left is shorter than `least`, the best one found that meets the first
    (or `start` itself). A value or slope that is not finite counts as too far. Raises DomainError if the slope at the
    start is not below 0. Source: Nocedal and Wright 2006, algorithms 3.5 and 3.6, with cubic interpolation (eq. 3.59)
    kept a tenth of the interval away from its ends. PyTorch's `_strong_wolfe` keeps its trial points by other rules, so
    its lengths differ; both conditions are the same.

    >>> def at(t):
    ...     return Point(t, (t - 3.0) ** 2, 2 * (t - 3.0))
    >>> found, evaluations = strong_wolfe(at, Point(0.0, 9.0, -6.0), 100.0)
    >>> round(found.length, 9), evaluations
    (3.0, 3)
    """
    if not start.slope < 0:
        raise DomainError(f"strong_wolfe: the slope along the direction is {start.slope}; it must point down.")
    count = 0

    def tried(t: float) -> Point:
        nonlocal count
        count += 1
        return at(t)

    def is_low(point: Point) -> bool:
        return point.value <= start.value + c1 * point.length * start.slope and math.isfinite(point.slope)

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -c2 * start.slope

    low, high = start, None
    while high is None:
        here = tried(length)
        if not is_low(here) or (low is not start and here.value >= low.value):
            high = here
        elif is_flat(here):
            return here, count
        elif here.slope >= 0:
            low, high = here, low
        elif count >= tries:
            return here, count
        else:  # still going down: farther
            ahead = here.length - low.length
            guess = (_cubic_minimum(low, here) - here.length) / ahead
            share = min(max(guess, 0.1), 9.0) if math.isfinite(guess) else 9.0
            low, length = here, here.length + share * ahead
    while count < tries and abs(high.length - low.length) > least:
        width = high.length - low.length
        guess = _cubic_minimum(low, high)
        share = min(max((guess - low.length) / width, 0.1), 0.9) if math.isfinite(guess) else 0.5
        here = tried(low.length + share * width)
        if not is_low(here) or here.value >= low.value:
            high = here
            continue
        if is_flat(here):
            return here, count
        if here.slope * width >= 0:
            high = low
        low = here
    return low, count


def _cubic_minimum(a: Point, b: Point) -> float:
    """Where the cubic through two values and slopes is least; NaN if nowhere, or if one is not finite."""
    if not all(math.isfinite(x) for x in (*a[:3], *b[:3])):
        return math.nan
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.length - b.length)
    inside = d1 * d1 - a.slope * b.slope
    if inside < 0:
        return math.nan
    d2 = math.copysign(math.sqrt(inside), b.length - a.length)
    below = b.slope - a.slope + 2 * d2
    return b.length - (b.length - a.length) * (b.slope + d2 - d1) / below if below else math.nan
