"""Walks over graphs. None recurses, so a chain of a million nodes is fine; all go by identity, never by `==`."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from backlit.core.value import Value, inputs_of

by_serial = attrgetter("_serial")


def reachable(outputs: Iterable[Value]) -> set[Value]:
    """All nodes from which these were computed, themselves included. Cost: linear in nodes and edges."""
    stack = list(outputs)
    seen = set(stack)
    add, push, pop = seen.add, stack.append, stack.pop
    while stack:
        node = pop()
        a = node._a
        if a is None:
            continue
        if a not in seen:
            add(a)
            push(a)
        b = node._b
        if b is None:
            continue
        if b not in seen:
            add(b)
            push(b)
        for x in node._extra.rest:
            if x not in seen:
                add(x)
                push(x)
    return seen


def toposort(outputs: Iterable[Value]) -> list[Value]:
    """All nodes from which these were computed, each after its inputs, in the order they were made.

    >>> x = Value(2.0)
    >>> [node.op.name if node.op else "x" for node in toposort([(x * x).tanh()])]
    ['x', 'multiply', 'tanh']
    """
    return sorted(reachable(outputs), key=by_serial)


def descendants(sources: Iterable[Value], order: Iterable[Value]) -> set[Value]:
    """Those nodes of a topological order that were computed from the sources, the sources included."""
    found = set(sources)
    for node in order:
        if node not in found and any(x in found for x in inputs_of(node)):
            found.add(node)
    return found
