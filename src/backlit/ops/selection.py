"""Choosing: `where`, the larger and the smaller of two, limits. What was not chosen gets no gradient, not 0 · infinity."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.notation import call
from backlit.core.op import Booleans, Elementwise, Reals
from backlit.ops.functions import apply, binary

_ANY = Reals(-3.0, 3.0)


def ZERO(y: Any, *xs: Any) -> Any:
    """The partial that is zero everywhere."""
    return 0.0


WHERE = Elementwise(
    "where",
    np.where,
    scalar=lambda condition, a, b: a if condition else b,
    partials=(None, lambda y, c, a, b: c != 0, lambda y, c, a, b: c == 0),
    selects=True,
    notation=call("where"),
    dtype=lambda condition, a, b: np.result_type(a.dtype, b.dtype),
    domains=(Booleans(), _ANY, _ANY),
    doc="x1 where the condition is true, x2 elsewhere. No gradient flows to the branch that was not chosen.",
)


def _share(y: Any, a: Any, b: Any) -> Any:
    """1 where `a` was chosen, 0 where it was not, 1/2 at a tie."""
    return WHERE(a == b, 0.5, WHERE(y == a, 1.0, 0.0))


MAXIMUM = Elementwise(
    "maximum",
    np.maximum,
    scalar=lambda a, b: a if a >= b or a != a else b,
    partials=(lambda y, a, b: _share(y, a, b), lambda y, a, b: _share(y, b, a)),
    selects=True,
    notation=call("maximum", r"\max"),
    domains=(_ANY, _ANY),
    doc="The larger of two, elementwise; NaN if either is. Convention at a tie: each gets half of the gradient.",
)
MINIMUM = Elementwise(
    "minimum",
    np.minimum,
    scalar=lambda a, b: a if a <= b or a != a else b,
    partials=(lambda y, a, b: _share(y, a, b), lambda y, a, b: _share(y, b, a)),
    selects=True,
    notation=call("minimum", r"\min"),
    domains=(_ANY, _ANY),
    doc="The smaller of two, elementwise; NaN if either is. Convention at a tie: each gets half of the gradient.",
)

maximum = binary(MAXIMUM)
minimum = binary(MINIMUM)


def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """`x1` where the condition is true, `x2` elsewhere, elementwise; the three broadcast.

    No gradient flows to a branch that was not chosen, even where its derivative is infinite or NaN.
    """
    return apply(WHERE, condition, x1, x2)

