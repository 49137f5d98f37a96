"""Choosing: `where`, the larger and the smaller of two, limits.

What was not chosen gets no gradient at all, not 0 · infinity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import DtypeError
from backlit.core.notation import call
from backlit.core.numbers import dtype_of
from backlit.core.op import Booleans, Elementwise, Reals
from backlit.core.record import operands, record
from backlit.core.value import Value, describe
from backlit.ops.functions import apply, binary
from backlit.ops.lowering import truth

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

_ANY = Reals(-3.0, 3.0)


def ZERO(y: Any, *xs: Any) -> Any:  # noqa: N802 (a rule, named like ONE)
    """The partial that is zero everywhere."""
    return 0.0


def _lower_where(g: Graph[N], result: Abstract, condition: N, a: N, b: N) -> N:
    chosen = truth(g, condition)
    return g.map("where", chosen, g.cast(a, result.dtype), g.cast(b, result.dtype), dtype=result.dtype)


WHERE = Elementwise(
    "where",
    np.where,
    scalar=lambda condition, a, b: a if condition else b,
    partials=(None, lambda y, c, a, b: c != 0, lambda y, c, a, b: c == 0),
    selects=True,
    notation=call("where"),
    dtype=lambda condition, a, b: np.result_type(a.dtype, b.dtype),
    domains=(Booleans(), _ANY, _ANY),
    lower=_lower_where,
    doc="x1 where the condition is true, x2 elsewhere. No gradient flows to the branch that was not chosen.",
)


def choose(condition: Any, a: float, b: float, *, like: Any) -> Any:
    """In a rule: one of two plain numbers, in the dtype of `like`, which two numbers alone would not know."""
    kind = dtype_of(like).type
    return WHERE(condition, kind(a), kind(b))


def _share(a: Any, b: Any, is_behind: Any, y: Any) -> Any:
    """1 where `a` was chosen, 0 where it was not, 1/2 at a tie."""
    return WHERE(a == b, 0.5, choose(is_behind, 0.0, 1.0, like=y))


MAXIMUM = Elementwise(
    "maximum",
    np.maximum,
    scalar=lambda a, b: a if a >= b or a != a else b,
    partials=(lambda y, a, b: _share(a, b, a < b, y), lambda y, a, b: _share(b, a, b < a, y)),
    selects=True,
    notation=call("maximum", r"\max"),
    domains=(_ANY, _ANY),
    doc="The larger of two, elementwise; NaN if either is. Conventions: at a tie each gets half of the "
    "gradient; at a NaN both get all of it.",
)
MINIMUM = Elementwise(
    "minimum",
    np.minimum,
    scalar=lambda a, b: a if a <= b or a != a else b,
    partials=(lambda y, a, b: _share(a, b, a > b, y), lambda y, a, b: _share(b, a, b > a, y)),
    selects=True,
    notation=call("minimum", r"\min"),
    domains=(_ANY, _ANY),
    doc="The smaller of two, elementwise; NaN if either is. Conventions: at a tie each gets half of the "
    "gradient; at a NaN both get all of it.",
)


def _clip(x: Any, low: Any, high: Any) -> Any:
    return np.asarray(np.minimum(np.maximum(x, low), high), dtype=dtype_of(x))


def _clip_floats(x: float, low: float, high: float) -> float:
    raised = x if x >= low or x != x else low
    return raised if raised <= high or raised != raised else high


def _lower_clip(g: Graph[N], result: Abstract, x: N, low: N, high: N) -> N:
    dtype = result.dtype if result.dtype.kind == "f" else np.result_type(x.dtype, low.dtype, high.dtype)
    raised = g.map("maximum", g.cast(x, dtype), g.cast(low, dtype))
    return g.cast(g.map("minimum", raised, g.cast(high, dtype)), result.dtype)


CLIP = Elementwise(
    "clip",
    _clip,
    scalar=_clip_floats,
    partials=(
        lambda y, x, low, high: (x >= low) & (x <= high),
        lambda y, x, low, high: (x < low) & (low <= high),
        lambda y, x, low, high: (x > high) | (low > high),
    ),
    selects=True,
    notation=call("clip"),
    dtype=lambda x, low, high: x.dtype,
    domains=(Reals(-3.0, 3.0, avoid=(-1.0, 1.0)), Reals(-1.0, -1.0), Reals(1.0, 1.0)),
    lower=_lower_clip,
    doc="x, but at least low and at most high, elementwise, in the dtype of x. Conventions: at a limit the "
    "gradient goes to x; beyond it, to the limit; if low is above high, to high.",
)

maximum = binary(MAXIMUM)
minimum = binary(MINIMUM)


def where(condition: Any, x1: Any, x2: Any, /) -> Value:
    """`x1` where the condition is true, `x2` elsewhere, elementwise; the three broadcast.

    No gradient flows to a branch that was not chosen, even where its derivative is infinite or NaN.

    >>> where(Value([True, False]), Value([1.0, 2.0]), -1.0).data
    array([ 1., -1.])
    """
    return apply(WHERE, condition, x1, x2)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Value:
    """`x` held between `min` and `max`, elementwise; the three broadcast, and the dtype stays that of `x`.

    None: no limit on that side. A limit may be a value that is learned: what is beyond it sends its gradient
    there, and what lies inside, the limits included, to `x`. NaN in any of them gives NaN; if `max` is below
    `min`, it wins. Raises DtypeError for booleans and complex numbers, and for a float as limit of integers.

    >>> clip(Value([-2.0, 0.5, 7.0]), 0.0, max=1.0).data
    array([0. , 0.5, 1. ])
    """
    (x,) = operands((x,))
    dtype = x.dtype
    if dtype.kind not in "fiu":
        raise DtypeError(f"clip: {describe(x)} is {dtype.name}, and only real numbers have a smaller and a larger one.")
    lowest: float = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
    highest: float = np.inf if dtype.kind == "f" else np.iinfo(dtype).max
    nodes = operands((x, lowest if min is None else min, highest if max is None else max))
    for name, limit in zip(("min", "max"), nodes[1:], strict=True):
        if limit.dtype.kind not in ("fiub" if dtype.kind == "f" else "iub"):
            raise DtypeError(
                f"clip: {name} is {limit.dtype.name} and {describe(x)} is {dtype.name}, which cannot hold "
                f"such a limit. Write a limit of the same kind, or clip x.astype({limit.dtype.name!r})."
            )
    return record(CLIP, nodes, {})
