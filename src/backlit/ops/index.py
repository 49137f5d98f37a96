"""Indices as nodes keep them: tuples that can be hashed, with one item for each axis up to the last restricted one.

An item is a position (never negative), a `Slice`, None for a new axis, or `ARRAY` where the index is an array.
The index arrays are inputs of the node, in their order.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """A slice as it is kept in a node: only what differs from `:` is written, and nothing is negative but the step.

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
    if entry.start is None and entry.stop is None and entry.step is None:
        return ALL
    try:
        start, stop, step = entry.indices(length)
    except TypeError:
        raise IndexingError(
            f"getitem: the ends and the step of a slice are whole numbers or left out, not as in {entry}."
        ) from None
    except ValueError:
        raise IndexingError(f"getitem: the step of a slice cannot be zero, as it is in {entry}.") from None
    count = len(range(start, stop, step))
    if count == 0:
        return ALL if length == 0 else Slice(0, 0)
    if count == 1:
        step = 1
        stop = start + 1
    if step > 0:
        return Slice(start or None, None if stop + step > length and stop >= length else stop, step)
    return Slice(None if start == length - 1 else start, None if stop < 0 else stop, step)


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
            slice(item.start, item.stop, item.step)
            if type(item) is Slice
            else next(rest)
            if item is ARRAY
            else item
            for item in index
        ]
    )


def indexed_shape(shape: Shape, index: Index, arrays: Sequence[Shape]) -> Shape:
    """The shape of `x[index]`. Arrays and, beside them, positions are broadcast together; the axes that they
    make stand where the first of them does, or in front if a slice or a new axis separates them.

    >>> indexed_shape((2, 3, 4), (0, ALL, ARRAY), [(5,)])
    (5, 3)
    """
    result: list[int] = []
    places: list[int] = []  # of the arrays and positions, within the index
    first = 0  # in the result
    rest = iter(shape)
    for i, item in enumerate(index):
        if item is None:
            result.append(1)
            continue
        length = next(rest)
        if type(item) is Slice:
            result.append(length if item is ALL else slice_length(item, length))
        elif item is ARRAY or arrays:
            first = first if places else len(result)
            places.append(i)
    result.extend(rest)
    if not arrays:
        return tuple(result)
    try:
        common = broadcast_shapes("getitem", arrays)
    except ShapeError:
        raise IndexingError(
            f"the index arrays have shapes {', '.join(map(str, arrays))}, which do not broadcast together. "
            "Each combination of rows and columns is taken by x[rows[:, None], columns]."
        ) from None
    if places[-1] - places[0] >= len(places):
        first = 0
    return (*result[:first], *common, *result[first:])


def _out_of_range(shape: Shape, index: Index, arrays: Sequence[Any]) -> str | None:
    """What is wrong with the first index array that reaches outside its axis."""
    rest, axis = iter(arrays), 0
    for item in index:
        if item is ARRAY:
            entries = np.asarray(next(rest))
            length = shape[axis]
            outside = (entries < -length) | (entries >= length)
            if outside.any():
                where = tuple(int(i) for i in np.argwhere(outside)[0])
                at = f", at {where} of the index array" if where else ""
                return _not_in(int(entries[where]), axis, length) + at + "."
        if item is not None:
            axis += 1
    return None


def _not_in(position: int, axis: int, length: int) -> str:
    valid = f"there are {-length} to {length - 1}" if length else "it is empty"
    return f"index {position} is outside axis {axis}, which has length {length} ({valid})"


def written_index(index: Index, arrays: Sequence[str]) -> str:
    """The index as one writes it between brackets.

    >>> written_index((0, Slice(1, 3), None, ARRAY), ["i"])
    '0, 1:3, None, i'
    """
    rest = iter(arrays)
    items = [next(rest) if item is ARRAY else repr(item) for item in index]
    return ", ".join(items) or "..."


def _notation(text: str, latex: str, values: int) -> Notation:
    """A notation with `<0>`, `<1>` for the operands, of which the last are index arrays, and `<i>` for the index."""

    def fill(template: str, operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
        out = template.replace("<i>", written_index(attrs["index"], operands[values:]))
        out = out.replace("<s>", str(attrs.get("shape")))
        for i in range(values):
            out = out.replace(f"<{i}>", operands[i])
        return out

    return Notation(
        lambda x, attrs: fill(text, x, attrs),
        lambda x, attrs: fill(latex, x, attrs),
        ATOM,
        (ATOM,),
        ATOM,
        (ATOM,),
    )


