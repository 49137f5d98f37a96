"""Which number a wrong constant factor is: n, 1/n, n - 1, 2, a constant of the program, and how to say so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backlit.core.numbers import Shape, shape_of
from backlit.core.value import INACTIVE, Value
from backlit.explain.formula import number_text

KNOWN_TO = 1e-6
"""How closely a factor found by division must agree with a number that has a name, at least."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor by which a gradient is wrong. repair: what to do about it. cost: how far-fetched it is."""

    value: float
    repair: str
    code: str
    reason: str
    cost: float
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """A length in the program: how many, and of what."""

    n: int
    what: str


def counts_near(x: Value, name: str, nodes: Iterable[tuple[Value, str]]) -> list[Count]:
    """The lengths of the axes of a value and of those around it; each with the nearest name for it."""
    found: dict[int, str] = {}
    for node, called in ((x, name), *nodes):
        shape: Shape = shape_of(node._data)
        for axis, length in enumerate(shape):
            if length > 1:
                found.setdefault(length, f"the length of axis {axis} of `{called}`")
        if len(shape) > 1 and (size := math.prod(shape)) > 1:
            found.setdefault(size, f"the number of elements of `{called}`")
    return [Count(n, what) for n, what in found.items()]


def constants_near(nodes: Iterable[Value]) -> list[float]:
    """The plain numbers that stand in the program near these nodes."""
    found = {
        float(node._data)
        for node in nodes
        if node._op is None and node._grad is INACTIVE and shape_of(node._data) == ()
    }
    return sorted(c for c in found if math.isfinite(c) and c not in (0.0, 1.0, -1.0))


class Factors:
    """The factors that have a name in one neighbourhood."""

    def __init__(self, counts: list[Count], constants: list[float]) -> None:
        self.known = sorted(self._all(counts, constants), key=lambda f: f.cost)

    def named(self, c: float, tolerance: float) -> Factor | None:
        """The likeliest name for the factor by which something is too large; None if it has none."""
        margin = max(KNOWN_TO, 4 * tolerance)
        for factor in self.known:
            if abs(c - factor.value) <= margin * abs(factor.value):
                return factor
        return None

    def all_named(self, c: float, tolerance: float) -> list[Factor]:
        """All names for a factor, the likeliest first."""
        margin = max(KNOWN_TO, 4 * tolerance)
        return [f for f in self.known if abs(c - f.value) <= margin * abs(f.value)]

    def _all(self, counts: list[Count], constants: list[float]) -> Iterator[Factor]:
        yield Factor(-1.0, "change the sign", "-{}", "", 0.0)
        for sign, prefix, cost in ((1.0, "", 0.0), (-1.0, "change the sign and ", 1.0)):
            minus = "-" if sign < 0 else ""
            for k in (2, 3, 4):
                extra = cost + 0.5 + 0.2 * (k - 2)
                yield Factor(sign * k, f"{prefix}divide by {k}", f"{minus}{{}} / {k}", "", extra)
                yield Factor(sign / k, f"{prefix}multiply by {k}", f"{minus}{{}} * {k}", "", extra)
            for order, (n, what) in enumerate((count.n, count.what) for count in counts):
                extra = cost + 0.4 + min(order, 20) * 0.02
                for value, verb, back, why, more in _about(n, what):
                    yield Factor(sign * value, f"{prefix}{verb}", f"{minus}{{}} {back}", why, extra + more, (n,))
            for c in constants:
                shown = number_text(c)
                wrapped = f"({shown})" if c < 0 else shown
                why = f"{shown} is a constant of the formula"
                yield Factor(sign * c, f"{prefix}divide by {shown}", f"{minus}{{}} / {wrapped}", why, cost + 0.9)
                yield Factor(sign / c, f"{prefix}multiply by {shown}", f"{minus}{{}} * {wrapped}", why, cost + 0.9)


def _about(n: int, what: str) -> Iterator[tuple[float, str, str, str, float]]:
    """Factors made of a length: the value, what to do, how to write it, why, and how far-fetched it is."""
    why = f"{n} is {what}"
    yield float(n), f"divide by {n}", f"/ {n}", why, 0.0
    yield 1.0 / n, f"multiply by {n}", f"* {n}", why, 0.0
    if n > 2:
        yield (
            (n - 1.0) / n,
            f"divide by {n - 1} where you divide by {n}",
            f"* {n} / {n - 1}",
            f"you have n where n - 1 is due, and {why}",
            0.3,
        )
        yield (
            n / (n - 1.0),
            f"divide by {n} where you divide by {n - 1}",
            f"* {n - 1} / {n}",
            f"you have n - 1 where n is due, and {why}",
            0.3,
        )
        yield n - 1.0, f"divide by {n - 1}", f"/ {n - 1}", f"{n - 1} is n - 1, and {why}", 0.35
        yield 1.0 / (n - 1.0), f"multiply by {n - 1}", f"* {n - 1}", f"{n - 1} is n - 1, and {why}", 0.35
        yield float(n) ** 2, f"divide by {n}²", f"/ {n}**2", why, 0.5
        yield 1.0 / float(n) ** 2, f"multiply by {n}²", f"* {n}**2", why, 0.5
        yield math.sqrt(n), f"divide by the square root of {n}", f"/ {n}**0.5", why, 0.5
        yield 1.0 / math.sqrt(n), f"multiply by the square root of {n}", f"* {n}**0.5", why, 0.5
