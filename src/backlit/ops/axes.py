"""Axes as users write them, and as nodes keep them: tuples of positions that are not negative."""

from __future__ import annotations

import operator
from functools import lru_cache
from itertools import pairwise
from typing import Any

from backlit.core.errors import ShapeError
from backlit.core.numbers import Shape


def one_axis(axis: Any, shape: Shape, name: str) -> int:
    """The position of one axis, counted from the front. Raises ShapeError when the shape has no such axis.

    >>> one_axis(-1, (2, 3), "flip")
    1
    """
    try:
        found = operator.index(axis)
    except TypeError:
        raise ShapeError(f"{name}: an axis is a whole number, and {axis!r} is a {type(axis).__name__}.") from None
    rank = len(shape)
    if not -rank <= found < rank:
        has = f"its axes are {', '.join(map(str, range(rank)))} (or -1 for the last)" if rank else "it has no axes"
        raise ShapeError(f"{name}: there is no axis {found} in an array of shape {shape}: {has}.")
    return found % rank


def some_axes(axis: Any, shape: Shape, name: str) -> tuple[int, ...]:
    """The positions of one axis, of several, or (for None) of all, in ascending order.

    Raises ShapeError when the shape has no such axis, or one is named twice.

    >>> some_axes(None, (2, 3), "sum"), some_axes(-1, (2, 3), "sum"), some_axes((1, 0), (2, 3), "sum")
    ((0, 1), (1,), (0, 1))
    """
    if axis is None or type(axis) is int:
        return _usual_axes(axis, shape, name)
    if not isinstance(axis, (tuple, list)):
        return (one_axis(axis, shape, name),)
    found = sorted(one_axis(a, shape, name) for a in axis)
    for a, b in pairwise(found):
        if a == b:
            raise ShapeError(f"{name}: axis {a} of shape {shape} is named twice in axis={axis!r}.")
    return tuple(found)


@lru_cache(maxsize=4096)
def _usual_axes(axis: int | None, shape: Shape, name: str) -> tuple[int, ...]:
    return tuple(range(len(shape))) if axis is None else (one_axis(axis, shape, name),)


def without_axes(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """The shape that is left when these axes are reduced.

    >>> without_axes((2, 3, 4), (1,), False), without_axes((2, 3, 4), (1,), True)
    ((2, 4), (2, 1, 4))
    """
    if keepdims:
        return tuple(1 if i in axes else length for i, length in enumerate(shape))
    return tuple(length for i, length in enumerate(shape) if i not in axes)
