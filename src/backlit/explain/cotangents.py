"""Cotangents for those who only look: as `backward()` computes them, but nothing is left behind in the graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backlit.autodiff.reverse import sweep
from backlit.core.value import Value, current


def cotangents_of(output: Value, seed: Any, order: Iterable[Value]) -> dict[Value, Any]:
    """The cotangent of every node that something flows to; nodes that are missing have none.

    order: all nodes of the graph, whose `.grad` stays as it is. Cost: one backward pass.

    >>> x = Value(3.0)
    >>> y = x * x
    >>> cotangents_of(y, 1.0, [x, y])[x], x.grad
    (6.0, None)
    """
    kept = [(node, node._grad) for node in order if node._a is not None]
    try:
        cts, _, _ = sweep(output, seed)
    finally:
        for node, grad in kept:
            node._grad = grad
    return cts


def node_of(variable: Value, order: Iterable[Value]) -> Value | None:
    """The node of this graph that stands for a variable: its present node, or the one it had when the graph was made.

    >>> x = Value(3.0)
    >>> y = x * x
    >>> x.data = 4.0
    >>> node_of(x, [x, y]).inputs
    ()
    """
    now = current(variable)
    found = None
    for node in order:
        if node is now:
            return node
        if node is variable or node._extra.owner is variable:
            found = node
    return found
