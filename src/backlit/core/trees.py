"""Nested containers of values: dicts, lists, tuples, named tuples and dataclasses, taken apart and put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

Rebuild = Callable[[Iterator[Any]], Any]


def flatten(tree: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of a tree, from left to right, and a function that builds the same tree from other leaves.

    A dict is taken in its own order of keys. None has no leaves. Whatever is not a container is a leaf; an
    object that defines `__backlit_flatten__() -> (children, build)` is a container too.

    >>> leaves, rebuild = flatten({"w": [1, 2], "b": (3,)})
    >>> leaves, rebuild(iter([10, 20, 30]))
    ([1, 2, 3], {'w': [10, 20], 'b': (30,)})
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Rebuild:
    opened = children_of(tree)
    if opened is None:
        leaves.append(tree)
        return next
    children, build = opened
    rebuilders = [_flatten(child, leaves) for _, child in children]
    return lambda values: build([rebuild(values) for rebuild in rebuilders])


def children_of(tree: Any) -> tuple[list[tuple[str, Any]], Callable[[list[Any]], Any]] | None:
    """The named children of a container and a function that builds it anew; None for a leaf."""
    if tree is None:
        return [], lambda _: None
    kind: Any = type(tree)
    if not _may_hold(kind):
        return None
    if isinstance(tree, dict):
        keys = list(tree)
        return [(f"[{key!r}]", tree[key]) for key in keys], lambda new: kind(zip(keys, new, strict=True))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [(f".{name}", getattr(tree, name)) for name in tree._fields], lambda new: kind(*new)
    if isinstance(tree, (list, tuple)):
        return [(f"[{i}]", child) for i, child in enumerate(tree)], kind
    if hasattr(kind, "__backlit_flatten__"):
        opened: tuple[list[tuple[str, Any]], Callable[[list[Any]], Any]] = tree.__backlit_flatten__()
        return opened
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [field.name for field in dataclasses.fields(tree) if field.init]
        return (
            [(f".{name}", getattr(tree, name)) for name in names],
            lambda new: dataclasses.replace(tree, **dict(zip(names, new, strict=True))),
        )
    return None


@lru_cache(maxsize=1024)
def _may_hold(kind: type) -> bool:
    """Whether things of this type are containers; most that are asked about are not."""
    known = issubclass(kind, (dict, list, tuple)) or hasattr(kind, "__backlit_flatten__")
    return known or dataclasses.is_dataclass(kind)


def mapped(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The tree with `f(leaf, *leaves of the others)` for each leaf. Where another holds None, `f` is given None.

    >>> mapped(lambda p, g: p if g is None else p - g, {"w": 3.0, "b": 1.0}, {"w": 1.0, "b": None})
    {'w': 2.0, 'b': 1.0}
    """
    opened = children_of(tree)
    if opened is None:
        return f(tree, *others)
    children, build = opened
    apart = [_children_like(other, len(children)) for other in others]
    return build([mapped(f, child, *rest) for (_, child), *rest in zip(children, *apart, strict=True)])


def _children_like(tree: Any, count: int) -> list[Any]:
    opened = None if tree is None else children_of(tree)
    return [None] * count if opened is None else [child for _, child in opened[0]]


def paths(tree: Any, root: str = "") -> list[str]:
    """How each leaf is reached from the root, in the order of `flatten`.

    >>> paths({"w": [1, 2]}, "params")
    ["params['w'][0]", "params['w'][1]"]
    """
    opened = children_of(tree)
    if opened is None:
        return [root]
    return [path for step, child in opened[0] for path in paths(child, root + step)]
