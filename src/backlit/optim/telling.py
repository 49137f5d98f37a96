"""How an update is told: small sums, products and quotients of named numbers, which are their text and their value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from backlit.core.numbers import quietly, shape_of, strong

_SUM, _PRODUCT, _ATOM = range(3)


def short(x: Any, digits: int = 6) -> str:
    """A number as people write it, to six significant digits unless it is whole.

    >>> short(-3.0), short(0.1 + 0.2), short(1e-8)
    ('-3', '0.3', '1e-8')
    """
    number = float(x)
    if not math.isfinite(number):
        return "nan" if number != number else "inf" if number > 0 else "-inf"
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    mantissa, _, exponent = f"{number:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


class Term:
    """An expression of named numbers, held as its text and its value, which is computed in the dtype of the numbers.

    >>> term = -(named("lr", 0.1) * named("g", 4.0)) / (named("root", 1.5) + named("eps", 0.5))
    >>> print(term)
    -lr 0.1 × g 4 / (root 1.5 + eps 0.5)
    >>> term.value
    -0.2
    """

    __slots__ = ("level", "text", "value")

    def __init__(self, text: str, value: Any, level: int = _ATOM) -> None:
        self.text = text
        self.value = value
        self.level = level

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{short(self.value)} = {self.text}"

    def at(self, level: int) -> str:
        """Its text, in brackets where it binds less than the place needs."""
        return self.text if self.level >= level else f"({self.text})"

    def __add__(self, other: Term) -> Term:
        return Term(f"{self.text} + {other.at(_SUM)}", quietly(lambda: self.value + other.value), _SUM)

    def __sub__(self, other: Term) -> Term:
        return Term(f"{self.text} - {other.at(_PRODUCT)}", quietly(lambda: self.value - other.value), _SUM)

    def __mul__(self, other: Term) -> Term:
        text = f"{self.at(_PRODUCT)} × {other.at(_ATOM)}"
        return Term(text, quietly(lambda: self.value * other.value), _PRODUCT)

    def __truediv__(self, other: Term) -> Term:
        value = quietly(lambda: _plain(strong(self.value) / other.value))  # 0/0 is a number that an update may be
        return Term(f"{self.at(_PRODUCT)} / {other.at(_ATOM)}", value, _PRODUCT)

    def __neg__(self) -> Term:
        return Term(f"-{self.at(_PRODUCT)}", -self.value, _PRODUCT)


def _plain(x: Any) -> Any:
    return float(x) if type(x) is np.float64 else x


def named(name: str, value: Any) -> Term:
    """A number with its name. A float64 is held as a Python float, which takes on the dtype of what it meets."""
    value = _plain(value)
    return Term(f"{name} {short(value)}", value)


def number(value: Any) -> Term:
    """A number without a name."""
    value = _plain(value)
    return Term(short(value), value)


class Line(NamedTuple):
    """One number on the way to an update. equals: how it came about; words: what that means."""

    name: str
    value: Any
    equals: Term | None = None
    words: str = ""

    def __str__(self) -> str:
        text = f"{self.name} {short(self.value)}"
        if self.equals is not None:
            text += f" = {self.equals}"
        return f"{text}   ({self.words})" if self.words else text


class Told(NamedTuple):
    """What a rule says of one element of its update: an expression that is equal to it, and the numbers it is made of.

    An expression of None: the rule hands on what it was given. words: what the rule did.
    """

    update: Term | None
    lines: tuple[Line, ...] = ()
    words: str = ""


def element(x: Any, index: tuple[int, ...]) -> Any:
    """One element of an array, or the number that it is; in its own dtype."""
    return _plain(x[index] if shape_of(x) else x)


class Seen(NamedTuple):
    """What a rule was given and what it made of it in one step, and the element that is asked about.

    All but `place`, the number of the parameter, and `spot`, within it, are what `Rule.update` takes and gives, for a
    list of parameters. name: what to call the incoming number, "g" for a gradient and "u" for another rule's update.
    """

    grads: Sequence[Any]
    before: Any
    params: Sequence[Any]
    updates: Sequence[Any]
    after: Any
    place: int
    spot: tuple[int, ...]
    name: str = "g"

    @property
    def g(self) -> Any:
        """The incoming number: the gradient, or what the rules before made of it."""
        return element(self.grads[self.place], self.spot)

    @property
    def incoming(self) -> Term:
        return named(self.name, self.g)

    @property
    def p(self) -> Any:
        """The parameter before the step."""
        return element(self.params[self.place], self.spot)

    @property
    def u(self) -> Any:
        return element(self.updates[self.place], self.spot)

    def old(self, key: str) -> Any:
        """The element's memory before the step."""
        return element(self.before[key][self.place], self.spot)

    def new(self, key: str) -> Any:
        """The element's memory after the step."""
        return element(self.after[key][self.place], self.spot)

    @property
    def step(self) -> int:
        """The number of this step, 1 at the first."""
        return int(self.after["step"])


def mean_line(seen: Seen, key: str, weight: float, of: Term, words: str) -> Line:
    """The line of a decaying mean: m = decay × m + (1 - decay) × what came in."""
    equals = number(1 - weight) * named(f"old {key}", seen.old(key)) + number(weight) * of
    return Line(key, seen.new(key), equals, words)
