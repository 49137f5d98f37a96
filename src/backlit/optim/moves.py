"""The answer to "why did this number move so far?": one element of one update, told with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.errors import IndexingError
from backlit.core.numbers import quietly, shape_of
from backlit.optim.telling import Line, Seen, Term, Told, element, short


@dataclass(frozen=True, slots=True)
class Move:
    """One number of a parameter in one step of an optimizer; `print` tells it.

    name, index, label: which number. before, after: it, and what the step made of it. update: what was added, which is
    0 if there was no gradient. gradient: None if there was none. formula: an expression of named numbers, equal to the
    update to rounding (`formula.value`); lines: the numbers it is made of, each with where it came from.
    """

    name: str
    index: tuple[int, ...]
    step: int
    optimizer: str
    before: float
    after: float
    update: float
    gradient: float | None
    formula: Term | None
    lines: tuple[Line, ...]

    @property
    def label(self) -> str:
        """Such as `w[3,5]`."""
        return f"{self.name}[{','.join(map(str, self.index))}]" if self.index else self.name

    @property
    def headline(self) -> str:
        """The move in one line."""
        if self.gradient is None:
            return f"{self.label} did not move: no gradient reached it before step {self.step}"
        verb = f"{self.label} moved by {short(self.update)}"
        if self.before == self.after and self.update:
            verb = f"{self.label} did not move, since it lost {short(self.update)} to rounding,"
        return verb if self.formula is None else f"{verb} = {self.formula}"

    @property
    def text(self) -> str:
        """The whole story."""
        if self.gradient is None:
            return self.headline
        moved = f"from {short(self.before)} to {short(self.after)}, in step {self.step} of {self.optimizer}"
        return "\n  ".join([self.headline, moved, *map(str, self.lines)])

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "parameter": self.name,
            "index": list(self.index),
            "step": self.step,
            "optimizer": self.optimizer,
            "before": self.before,
            "after": self.after,
            "update": self.update,
            "gradient": self.gradient,
            "formula": None if self.formula is None else self.formula.text,
            "lines": [
                {
                    "name": line.name,
                    "value": float(line.value),
                    "equals": None if line.equals is None else line.equals.text,
                    "words": line.words,
                }
                for line in self.lines
            ],
        }


def told_move(
    tell: Callable[[Seen], Told], seen: Seen, *, name: str, index: int | Sequence[int] | None, step: int, optimizer: str
) -> Move:
    """The story of one element; the one that moved farthest where no index is given."""
    param, update = seen.params[seen.place], seen.updates[seen.place]
    spot = _spot(name, shape_of(param), index, update)
    seen = seen._replace(spot=spot)
    before = seen.p
    if update is None:
        return Move(name, spot, step, optimizer, float(before), float(before), 0.0, None, None, ())
    told = quietly(tell, seen)
    after = quietly(lambda: before + element(update, spot))
    lines = (Line("g", seen.g, None, "the gradient"), *told.lines)
    return Move(
        name, spot, step, optimizer, float(before), float(after), float(seen.u), float(seen.g), told.update, lines
    )


def _spot(name: str, shape: tuple[int, ...], index: int | Sequence[int] | None, update: Any) -> tuple[int, ...]:
    if index is None:
        if update is None or not shape:
            return (0,) * len(shape)
        return tuple(int(i) for i in np.unravel_index(int(np.argmax(np.abs(update))), shape))
    asked = (index,) if isinstance(index, (int, np.integer)) else tuple(index)
    if len(asked) != len(shape) or not all(-n <= i < n for i, n in zip(asked, shape, strict=True)):
        raise IndexingError(f"there is no {name}[{', '.join(map(str, asked))}]: {name} has shape {shape}.")
    return tuple(int(i) % n for i, n in zip(asked, shape, strict=True))
