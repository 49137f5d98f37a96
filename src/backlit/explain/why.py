"""`why(x)`: the answer for any gradient, whatever state it is in."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from backlit.autodiff import reverse
from backlit.core.errors import GraphError, IndexingError
from backlit.core.value import Value, as_user_sees, current, describe
from backlit.explain.answer import Finding
from backlit.explain.asked import Asked, nodes_of
from backlit.explain.blocks import Index
from backlit.explain.cuts import of_itself
from backlit.explain.explanation import Explanation
from backlit.explain.why_latex import element_latex


def why(
    x: Value,
    of: Value | None = None,
    index: int | Sequence[int] | None = None,
    top: int = 5,
    open: bool = False,
) -> Explanation:
    """Why the gradient of x is what it is: None, zero, NaN, huge, or the number it is and where that comes from.

    of: the scalar whose gradient is explained; by default the newest one that `backward()` was called on and that x
    leads to. index: of one element of an array; without it, the whole array. top: how many terms of a sum are listed.
    open: show what composites (softmax, mean, …) are made of instead of folding them.

    Raises GraphError for what is no value, IndexingError for an index that is not there, ShapeError if `of` is an array
    that no `backward(seed)` was called on. The graph and its gradients are not changed. Cost: one backward pass over
    the nodes between, and one evaluation of each op that uses x.

    >>> a, b = Value(2.0, name="a"), Value(-3.0, name="b")
    >>> print(why(a, of=a * b + a).headline)
    ∂output/∂a = -2
    """
    if not isinstance(x, Value):
        raise GraphError(f"why: {type(x).__name__} {x!r:.40} is no value of a graph, so it has no gradient to explain.")
    if of is not None and not isinstance(of, Value):
        raise GraphError(
            f"why: of must be a value of a graph, such as the loss, and is {type(of).__name__} {of!r:.40}."
        )
    place = None if index is None else _place(x, index)
    output = current(of) if of is not None else _newest(x)
    if output is None:
        return _without_output(x)
    return Asked(x, output, place, max(1, operator.index(top)), bool(open)).answer()


def _place(x: Value, index: int | Sequence[int]) -> Index:
    """The index of one element, normal and checked."""
    given = (index,) if isinstance(index, (int, np.integer)) else tuple(index)
    if len(given) != x.ndim:
        raise IndexingError(
            f"why: {describe(x)} has shape {x.shape}, so an element of it is named by {x.ndim} "
            f"number{'s' * (x.ndim != 1)}; index={index!r} gives {len(given)}."
        )
    found = []
    for axis, (i, length) in enumerate(zip(given, x.shape, strict=True)):
        i = operator.index(i)
        if not -length <= i < length:
            raise IndexingError(f"why: index {i} is not on axis {axis} of {describe(x)}, which has length {length}.")
        found.append(i % length)
    return tuple(found)


def _newest(x: Value) -> Value | None:
    """The newest output of a `backward()` to which x leads; else the newest of all."""
    alive = [output for output in (reference() for reference in reverse.last_outputs) if output is not None]
    for output in reversed(alive):
        if nodes_of(x, output):
            return output
    return alive[-1] if alive else None


def _without_output(x: Value) -> Explanation:
    node = current(x)
    label = as_user_sees(node).label or "x"
    finding = of_itself(node) or Finding(
        "no backward",
        "backward() has not run yet, or nothing holds its output any more, so that its graph is gone.",
        "Call backward() on an output that stays in a variable (loss = …; loss.backward()), or say why(x, of=loss).",
    )
    if x.grad is not None:
        headline = f"{label}.grad is set, but the graph that it came from is gone."
    else:
        headline = f"{label}.grad is None."
    return Explanation(label, "", "none", x.grad, headline, findings=(finding,), subject_latex=element_latex(label, ()))
