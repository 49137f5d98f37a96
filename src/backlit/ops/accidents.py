"""Accidents that are legal: vectors that were broadcast to a square inside a loss."""

from __future__ import annotations

import warnings
from types import CodeType

from backlit.core.errors import BroadcastWarning
from backlit.core.value import Value, describe, inputs_of

_told: set[tuple[CodeType | None, int]] = set()
_STEPS = 8  # how far above the reduction of a loss the accident usually is: square, where, multiply, …


def warn_of_square(x: Value) -> None:
    """Warn, once for each line, if a matrix that is now reduced to a loss came from a row against a column.

    Predictions of shape (n, 1) minus targets of shape (n,) are an (n, n) matrix, whose mean is a loss that trains
    to nothing useful. Told only where the column was not made on purpose, by `[:, None]`, `expand_dims` or `keepdims`.
    """
    shape = x.shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        return
    stack, seen = [x], 0
    while stack and seen < _STEPS:
        node = stack.pop()
        seen += 1
        found = node._extra.suspect
        if found is not None:
            _tell(node, *found)
            return
        stack += [i for i in inputs_of(node) if i.shape == shape]


def _tell(node: Value, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    place = (node._code, node._lasti)
    if place in _told:
        return
    _told.add(place)
    n = max(left)
    site = node.site
    sides = zip(("left: ", "right:"), inputs_of(node), strict=False)  # none without a graph, as in no_grad
    operands = "".join(f"    {side} {describe(x)}\n" for side, x in sides)
    column = "left" if len(left) == 2 else "right"
    warnings.warn_explicit(
        f"{node._op or 'broadcasting'}: shapes {left} and {right} were broadcast to ({n}, {n}), every element of "
        f"one against every element of the other, and reduced to a scalar. If that is a loss, it is not the one "
        f"you meant: index the {column} one [:, 0] (or .squeeze()), so that both are ({n},).\n"
        f"{operands}"
        "  If it is meant, write [:, None] where the column is made.",
        BroadcastWarning,
        site.file if site else "<unknown>",
        site.line if site else 0,
    )
