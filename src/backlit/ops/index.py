"""Indices as nodes keep them: tuples that can be hashed, with one item for each axis that is indexed.

An item is a position (never negative), a `Slice`, None for a new axis, or `ARRAY` where the index is an
array. The index arrays are inputs of the node, in their order.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core.errors import IndexingError, ShapeError
from backlit.core.notation import ATOM, Notation
from backlit.core.numbers import Shape
from backlit.core.op import broadcast_shapes


class Marker(enum.Enum):
    """`ARRAY` stands in an index where the next of the node's index arrays belongs."""

    ARRAY = "array"

    def __repr__(self) -> str:
        return self.name


ARRAY = Marker.ARRAY


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice in its only form: no end is negative, and None where it is the end of the axis.

    >>> Slice(1, None, 2)
    1::2
    """

    start: int | None = None
    stop: int | None = None
    step: int = 1

    def __repr__(self) -> str:
        start, stop = ("" if end is None else str(end) for end in (self.start, self.stop))
        return f"{start}:{stop}" if self.step == 1 else f"{start}:{stop}:{self.step}"


ALL = Slice()
Item = int | Slice | None | Marker
Index = tuple[Item, ...]


def normal_slice(entry: slice, length: int) -> Slice:
    """The one way to write a slice of an axis of this length.

    >>> normal_slice(slice(-3, None), 5), normal_slice(slice(None, None, -1), 5), normal_slice(slice(4, 1), 5)
    (2:, ::-1, 0:0)
    """
    start, stop, step = entry.start, entry.stop, entry.step
    if start is None and stop is None and step is None:
        return ALL
    if type(start) in _PLAIN and type(stop) in _PLAIN and type(step) in _PLAIN:
        return _normal_slice(start, stop, step, length)
    try:
        taken = range(length)[entry]
    except TypeError:
        raise IndexingError(
            "getitem: the ends and the step of a slice are whole numbers or left out, unlike those of "
            f"{start}:{stop}:{step}."
        ) from None
    return _written(taken, length)


_PLAIN = (int, type(None))


@lru_cache(maxsize=1024)
def _normal_slice(start: int | None, stop: int | None, step: int | None, length: int) -> Slice:
    if step == 0:
        raise IndexingError("getitem: the step of a slice cannot be 0; leave it out, or write how far to go each time.")
    return _written(range(length)[start:stop:step], length)


def _written(taken: range, length: int) -> Slice:
    if not length or (len(taken) == length and taken.step > 0):
        return ALL
    if not taken:
        return Slice(0, 0)
    first, last, step = taken[0], taken[-1], 1 if len(taken) == 1 else taken.step
    if step > 0:
        return Slice(first or None, None if last + step >= length else last + 1, step)
    return Slice(None if first == length - 1 else first, None if last + step < 0 else last - 1, step)


def basic_index(index: Any, shape: Shape) -> Index | None:
    """The index for positions inside the shape and slices: the quick way. None for any other."""
    entries = index if type(index) is tuple else (index,)
    if len(entries) > len(shape):
        return None
    items: list[Item] = []
    for entry, length in zip(entries, shape, strict=False):
        if type(entry) is int:
            if not -length <= entry < length:
                return None
            items.append(entry if entry >= 0 else entry + length)
        elif type(entry) is slice:
            items.append(normal_slice(entry, length))
        else:
            return None
    while items and items[-1] is ALL:
        items.pop()
    return tuple(items)


def slice_length(item: Slice, length: int) -> int:
    """How many of `length` elements a slice takes."""
    return len(range(length)[item.start : item.stop : item.step])


def numpy_index(index: Index, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """The index as NumPy takes it."""
    if len(index) == 1 and type(index[0]) is int:
        return index
    rest = iter(arrays)
    return tuple(
        [
            slice(item.start, item.stop, item.step) if type(item) is Slice else next(rest) if item is ARRAY else item
            for item in index
        ]
    )


def indexed_shape(shape: Shape, index: Index, arrays: Sequence[Shape]) -> Shape:
    """The shape of `x[index]`, for index arrays of these shapes.

    The arrays and, if there are any, the positions are broadcast together; the axes that they make stand
    where the first of them does, or in front if a slice or a new axis comes between them.

    >>> indexed_shape((2, 3, 4), (0, ALL, ARRAY), [(5,)])
    (5, 3)
    """
    result: list[int] = []
    places: list[int] = []  # of the arrays and positions, within the index
    first = 0  # where their axes begin, in the result
    rest = iter(shape)
    for i, item in enumerate(index):
        if item is None:
            result.append(1)
            continue
        length = next(rest)
        if type(item) is Slice:
            result.append(slice_length(item, length))
        elif arrays:
            first = first if places else len(result)
            places.append(i)
    result.extend(rest)
    if not arrays:
        return tuple(result)
    try:
        common = broadcast_shapes("getitem", arrays)
    except ShapeError:
        raise IndexingError(
            f"the index arrays have shapes {' and '.join(map(str, arrays))}, which do not broadcast. "
            "For each combination of rows and columns write x[rows[:, None], columns]."
        ) from None
    if places[-1] - places[0] >= len(places):
        first = 0
    return (*result[:first], *common, *result[first:])


def out_of_range(shape: Shape, index: Index, arrays: Sequence[Any]) -> str | None:
    """What is wrong with the first index array that reaches outside its axis; None if there is none."""
    rest, axis = iter(arrays), 0
    for item in index:
        if item is ARRAY:
            entries, length = np.asarray(next(rest)), shape[axis]
            outside = (entries < -length) | (entries >= length)
            if outside.any():
                where = tuple(int(i) for i in np.argwhere(outside)[0])
                place = where[0] if len(where) == 1 else where
                at = f"\n  It stands at {place} in the index array." if where else ""
                return f"{not_in(int(entries[where]), axis, length)}.{at}"
        if item is not None:
            axis += 1
    return None


def not_in(position: int, axis: int, length: int) -> str:
    """That a position is outside its axis, without a full stop.

    >>> not_in(7, 0, 3)
    'index 7 is outside axis 0, which has length 3 (-3 to 2 are inside)'
    """
    inside = f"has length {length} ({-length} to {length - 1} are inside)" if length else "is empty"
    return f"index {position} is outside axis {axis}, which {inside}"


def written_index(index: Index, arrays: Sequence[str]) -> str:
    """The index as one writes it between brackets.

    >>> written_index((0, Slice(1, 3), None, ARRAY), ["i"])
    '0, 1:3, None, i'
    """
    rest = iter(arrays)
    return ", ".join(next(rest) if item is ARRAY else repr(item) for item in index) or "..."


def index_notation(text: str, latex: str, values: int) -> Notation:
    """A notation from templates with `<0>`, `<1>` for operands, `<i>` for the index and `<s>` for a shape.

    The operands after the first `values` are the index arrays.
    """

    def fill(template: str, operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
        written = written_index(attrs["index"], operands[values:])
        parts = {"<i>": written, "<s>": str(attrs.get("shape"))}
        parts |= {f"<{i}>": operands[i] for i in range(values)}
        out, start = [], 0
        for place in range(len(template)):  # one pass, since operands may hold anything
            if place >= start and template[place : place + 3] in parts:
                out += [template[start:place], parts[template[place : place + 3]]]
                start = place + 3
        return "".join([*out, template[start:]])

    return Notation(
        lambda x, attrs: fill(text, x, attrs),
        lambda x, attrs: fill(latex, x, attrs),
        ATOM,
        (ATOM,),
        ATOM,
        (ATOM,),
    )
