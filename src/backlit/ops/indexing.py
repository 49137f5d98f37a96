"""Indexing: what `x[i]` records, its transpose, and the functions that take elements by their positions."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import dtypes
from backlit.core.complaints import as_shown, without_shape
from backlit.core.errors import IndexingError, ShapeError
from backlit.core.notation import Notation
from backlit.core.numbers import Abstract, Shape, dtype_of, shape_of
from backlit.core.op import Booleans, Constant, Integers, Linear, Reals, Sample
from backlit.core.record import as_constant
from backlit.core.value import Value, current, describe
from backlit.ops.axes import one_axis
from backlit.ops.functions import apply
from backlit.ops.index import (
    ALL,
    ARRAY,
    Index,
    Item,
    Slice,
    basic_index,
    index_notation,
    indexed_shape,
    normal_slice,
    not_in,
    numpy_index,
    out_of_range,
)
from backlit.ops.lowering import planned, put, refused
from backlit.ops.summation import RESHAPE

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N

_PLACES = Integers(-2, 1)


def check_range(shape: Shape, index: Index, arrays: Sequence[Any]) -> None:
    """Raise IndexingError if an index array reaches outside its axis, or the arrays do not broadcast."""
    if (wrong := out_of_range(shape, index, arrays)) is not None:
        raise IndexingError(wrong) from None
    indexed_shape(shape, index, [shape_of(a) for a in arrays])


def _getitem(x: Any, *arrays: Any, index: Index) -> Any:
    if type(x) is not np.ndarray:
        x = np.asarray(x)
    try:
        return x[numpy_index(index, arrays)]
    except IndexError:
        check_range(x.shape, index, arrays)
        raise


def add_into(buffer: Any, ct: Any, x: Any, *arrays: Any, index: Index) -> None:
    """Add `ct` into `buffer[index]`; a place that the index arrays name twice is served twice."""
    where = numpy_index(index, arrays)
    if arrays:
        np.add.at(buffer, where, ct)
    else:
        buffer[where] += ct


def _lower_getitem(g: Graph[N], result: Abstract, x: N, *arrays: N, index: Index) -> N:
    plan, shape, nodes = planned(g, x.shape, arrays, index)
    if not arrays:
        return g.view(x, shape, [entry[1] for entry in plan], [entry[2] for entry in plan])
    return g.gather(x, nodes, plan, shape)


GETITEM: Linear = Linear(
    "getitem",
    _getitem,
    transposes=(
        lambda ct, x, *arrays, index: SCATTER(ct, *arrays, index=index, shape=shape_of(x)),
        None,
    ),
    accumulate=add_into,
    moves=True,
    shape=lambda x, *arrays, index: indexed_shape(x.shape, index, [a.shape for a in arrays]),
    dtype=lambda x, *arrays, index: x.dtype,
    notation=index_notation("<0>[<i>]", "{<0>}_{[<i>]}", 1),
    domains=(Reals(), _PLACES),
    samples=(
        Sample(((3,),), {"index": (1,)}),
        Sample(((3, 4),), {"index": (2,)}),
        Sample(((3, 4),), {"index": (ALL, 1)}),
        Sample(((5, 4),), {"index": (Slice(1, 4, 2), None, Slice(None, None, -1))}),
        Sample(((5,),), {"index": (Slice(None, 1, -2),)}),
        Sample(((5,),), {"index": (Slice(0, 0),)}),
        Sample(((),), {"index": ()}),
        Sample(((),), {"index": (None,)}),
        Sample(((0, 3),), {"index": (ALL, 1)}),
        Sample(((4,), (6,)), {"index": (ARRAY,)}),
        Sample(((4,), ()), {"index": (ARRAY,)}),
        Sample(((4,), (0,)), {"index": (ARRAY,)}),
        Sample(((2, 3), (2, 2)), {"index": (ARRAY,)}),
        Sample(((2, 3, 4), (5,)), {"index": (0, ALL, ARRAY)}),
        Sample(((2, 3, 4), (5,), (2, 1)), {"index": (ALL, ARRAY, ARRAY)}, (Reals(), _PLACES, _PLACES)),
    ),
    lower=_lower_getitem,
    doc="Part of an array, as NumPy's indexing gives it. x: (*s); the index arrays hold whole numbers.",
)


def _scatter(v: Any, *arrays: Any, index: Index, shape: Shape) -> Any:
    out = np.zeros(shape, dtype_of(v))
    try:
        add_into(out, v, None, *arrays, index=index)
    except IndexError:
        check_range(shape, index, arrays)
        raise
    return out


def _lower_scatter(g: Graph[N], result: Abstract, v: N, *arrays: N, index: Index, shape: Shape) -> N:
    return put(g, g.broadcast(g.number(0, v.dtype), shape), v, arrays, index, "add")


SCATTER: Linear = Linear(
    "scatter",
    _scatter,
    transposes=(lambda ct, v, *arrays, index, shape: GETITEM(ct, *arrays, index=index), None),
    moves=True,
    shape=lambda v, *arrays, index, shape: shape,
    dtype=lambda v, *arrays, index, shape: v.dtype,
    notation=index_notation("zeros(<s>).at[<i>].add(<0>)", r"\operatorname{scatter}_{[<i>]}\left(<0>\right)", 1),
    domains=(Reals(), _PLACES),
    samples=(
        Sample(((),), {"index": (1,), "shape": (3,)}),
        Sample(((),), {"index": (), "shape": ()}),
        Sample(((2, 1, 4),), {"index": (Slice(1, 4, 2), None, Slice(None, None, -1)), "shape": (5, 4)}),
        Sample(((0,),), {"index": (Slice(0, 0),), "shape": (5,)}),
        Sample(((6,), (6,)), {"index": (ARRAY,), "shape": (4,)}),
        Sample(((5, 3), (5,)), {"index": (0, ALL, ARRAY), "shape": (2, 3, 4)}),
    ),
    lower=_lower_scatter,
    doc="Zeros with v added at an index; what falls on one place is added up. The transpose of getitem.",
)


def _nonzero(x: Any, axis: int, count: int) -> Any:
    found = np.nonzero(np.atleast_1d(x))[axis]
    if len(found) != count:
        raise IndexingError(
            f"a mask that picked {count} elements when it was recorded now picks {len(found)}, but the "
            "shapes that followed from it cannot change; write where(mask, x, 0) instead of x[mask]."
        )
    return found


NONZERO = Constant(
    "nonzero",
    _nonzero,
    shape=lambda x, axis, count: (count,),
    dtype=lambda x, axis, count: dtypes.int64,
    notation=Notation(
        lambda x, attrs: f"nonzero({x[0]})[{attrs['axis']}]",
        lambda x, attrs: rf"\operatorname{{nonzero}}_{{{attrs['axis']}}}\left({x[0]}\right)",
    ),
    domains=(Booleans(),),
    samples=(Sample(((0,),), {"axis": 0, "count": 0}), Sample(((3, 0),), {"axis": 1, "count": 0})),
    lower=refused,
    doc="Positions along one axis of the elements that are not zero, in row-major order.",
)


# -- from what the user wrote to an index --------------------------------------------------------------------


def normal_index(x: Value, index: Any) -> tuple[Value, Index, list[Any]]:
    """The index that a node keeps, and the index arrays, for what stands between the brackets of `x[...]`.

    Also gives `x` itself, to which a mask without axes (`x[True]`) gives a new axis. Raises IndexingError.
    """
    shape = x.shape
    entries = [_entry(entry, x) for entry in (index if isinstance(index, tuple) else (index,))]
    taken = sum(map(_axes_taken, entries))
    if taken > len(shape):
        have = "1 axis" if len(shape) == 1 else f"{len(shape)} axes"
        raise IndexingError(f"getitem: the index is for {taken} axes, and the array has {have}.{_about(x)}")
    dots = [i for i, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1:
        raise IndexingError("getitem: with more than one `...` it is not clear which axes are left out; keep one.")
    at = dots[0] if dots else len(entries)
    entries[at : at + 1] = [slice(None)] * (len(shape) - taken)
    if any(_is_mask(entry) and not shape_of(entry) for entry in entries):
        x = _with_axes_for_masks(x, entries)
        shape = x.shape
    items: list[Item] = []
    arrays: list[Any] = []
    axis = 0
    for entry in entries:
        if entry is None:
            items.append(None)
            continue
        if type(entry) is int:
            length = shape[axis]
            if not -length <= entry < length:
                raise IndexingError(f"getitem: {not_in(entry, axis, length)}.{_about(x)}")
            items.append(entry if entry >= 0 else entry + length)
        elif type(entry) is slice:
            items.append(normal_slice(entry, shape[axis]))
        elif _is_mask(entry):
            places = _places(entry, shape[axis:], axis, x)
            items.extend([ARRAY] * len(places))
            arrays.extend(places)
            axis += len(places) - 1
        else:
            items.append(ARRAY)
            arrays.append(entry)
        axis += 1
    while items and items[-1] == ALL:
        items.pop()
    return x, tuple(items), arrays


def _entry(entry: Any, x: Value) -> Any:
    """One entry of an index: an int, a slice, None, `...`, or an array of whole numbers or booleans."""
    kind = type(entry)
    if kind is int or entry is None or entry is Ellipsis:
        return entry
    if kind is slice:
        return slice(*(end.data if isinstance(end, Value) else end for end in (entry.start, entry.stop, entry.step)))
    if kind is bool:
        return np.bool_(entry)
    if isinstance(entry, Value):
        entry = current(entry)
    else:
        if not isinstance(entry, np.ndarray) or not entry.ndim:
            try:
                return operator.index(entry)
            except TypeError:
                pass
        found = np.asarray(_without_values(entry))
        entry = found.astype(np.int64) if isinstance(entry, (list, tuple)) and not found.size else found
    if entry.dtype.kind not in "iub":
        given = entry.dtype.name if entry.dtype.name in dtypes.ALL else f"{kind.__name__} {entry!r:.40}"
        cure = "Whole numbers, slices, `...`, None, masks and arrays of whole numbers can."
        if entry.dtype.kind == "f":
            cure = "Convert it with astype(i, int64), or divide with // where it was computed."
        raise IndexingError(f"getitem: {given} cannot be an index. {cure}{_about(x)}")
    return entry


def _without_values(entry: Any) -> Any:
    """A nested list in which values gave way to their numbers."""
    if isinstance(entry, (list, tuple)):
        return [_without_values(inner) for inner in entry]
    return entry.data if isinstance(entry, Value) else entry


def _is_mask(entry: Any) -> bool:
    return isinstance(entry, (Value, np.ndarray, np.bool_)) and entry.dtype == dtypes.bool


def _axes_taken(entry: Any) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    return len(shape_of(entry)) if _is_mask(entry) else 1


def _places(mask: Any, lengths: Shape, axis: int, x: Value) -> list[Any]:
    """The index arrays that pick where a mask is true. lengths: of the array, from the first such axis on."""
    own = shape_of(mask) or (1,)  # for `x[True]` an axis was made, to be kept or emptied
    for i, (length, theirs) in enumerate(zip(own, lengths, strict=False)):
        if length != theirs:
            raise IndexingError(
                f"getitem: a mask of shape {own} does not fit: its axis {i} has length {length}, "
                f"and axis {axis + i} of the array has length {theirs}.{_about(x)}"
            )
    data = mask._data if isinstance(mask, Value) else mask
    if type(data) is Abstract:
        raise without_shape("x[mask]", current(mask), "where(mask, x, 0), and its sum is the same")
    found = np.nonzero(np.atleast_1d(data))
    if not isinstance(mask, Value):
        return list(found)
    return [apply(NONZERO, mask, axis=i, count=len(found[0])) for i in range(len(own))]


def _with_axes_for_masks(x: Value, entries: Iterable[Any]) -> Value:
    """`x` with a new axis of length 1 for each mask without axes."""
    shape = list(x.shape)
    axis = 0
    for entry in entries:
        if _is_mask(entry) and not shape_of(entry):
            shape.insert(axis, 1)
            axis += 1
        else:
            axis += _axes_taken(entry)
    return apply(RESHAPE, x, shape=tuple(shape))


def _about(x: Value) -> str:
    """The line that says which array an error is about."""
    return f"\n    input: {describe(as_shown(current(x)))}, shape {x.shape}, {x.dtype.name}"


# -- functions -----------------------------------------------------------------------------------------------


def as_value(x: Any) -> Value:
    """The value itself; a constant for numbers, lists and arrays."""
    return x if isinstance(x, Value) else as_constant(x)


def getitem(x: Any, index: Any, /) -> Value:
    """`x[index]`, as NumPy means it: positions, slices, None, `...`, masks and arrays of whole numbers.

    The result is a value of its own: assigning into it leaves `x` as it is. A gradient flows back to the
    places that were taken, added up where one was taken twice. Raises IndexingError when a position is
    outside its axis.

    >>> getitem([10.0, 20.0, 30.0], -1).data
    30.0
    """
    x = as_value(x)
    basic = basic_index(index, x.shape)
    if basic is not None:
        return apply(GETITEM, x, index=basic)
    x, items, arrays = normal_index(x, index)
    return apply(GETITEM, x, *arrays, index=items)


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Value:
    """The elements of `x` at the given positions along an axis, which may be left out if `x` has only one.

    x: (*a, n, *b), indices: (*i) of whole numbers -> (*a, *i, *b). Negative positions count from the end;
    raises IndexingError where one is outside.

    >>> take([10.0, 20.0, 30.0], [2, 0]).data
    array([30., 10.])
    """
    x = as_value(x)
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(f"take: an array of shape {x.shape} needs axis=...; only a vector does without.")
        axis = 0
    entry = _positions("take", indices, x)
    return getitem(x, (*(slice(None),) * one_axis(axis, x.shape, "take"), entry))


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Value:
    """For each place of `indices`, the element of `x` whose position along `axis` stands there.

    x: (*a, n, *b), indices: (*a, m, *b) of whole numbers -> (*a, m, *b); the other axes broadcast. Positions
    that `argmax` or a sort found are given in this form.

    >>> take_along_axis([[1.0, 9.0], [7.0, 2.0]], [[1], [0]]).data
    array([[9.],
           [7.]])
    """
    x = as_value(x)
    entry = _positions("take_along_axis", indices, x)
    places = entry if isinstance(entry, Value) else np.asarray(entry)
    own = shape_of(places)
    if len(own) != x.ndim:
        raise ShapeError(
            f"take_along_axis: x has shape {x.shape} and indices has shape {own}: they need the same "
            "number of axes. To take whole rows or columns use take."
        )
    position = one_axis(axis, x.shape, "take_along_axis")
    for i, (length, theirs) in enumerate(zip(x.shape, own, strict=True)):
        if i != position and length != theirs and 1 not in (length, theirs):
            raise ShapeError(
                f"take_along_axis: x has shape {x.shape} and indices has shape {own}, which differ at axis "
                f"{i}: all axes but axis {position} must agree, or be of length 1."
            )
    open_mesh = [
        places if i == position else np.arange(length).reshape((1,) * i + (-1,) + (1,) * (x.ndim - 1 - i))
        for i, length in enumerate(x.shape)
    ]
    return getitem(x, tuple(open_mesh))


def _positions(name: str, indices: Any, x: Value) -> Any:
    entry = _entry(list(indices) if isinstance(indices, tuple) else indices, x)
    if _is_mask(entry) or not isinstance(entry, (int, Value, np.ndarray)):
        raise IndexingError(f"{name}: positions are whole numbers, not {indices!r:.60}; for a mask write x[mask].")
    return entry


def nonzero(x: Any, /) -> tuple[Value, ...]:
    """The positions of the elements that are not zero: a vector of whole numbers for each axis.

    In row-major order. Raises ShapeError for a number without axes.

    >>> [i.data for i in nonzero([[0.0, 2.0], [3.0, 0.0]])]
    [array([0, 1]), array([1, 0])]
    """
    x = as_value(x)
    if not x.ndim:
        raise ShapeError("nonzero: a number without axes has no positions; compare it with 0.")
    data = current(x)._data
    if type(data) is Abstract:
        raise without_shape("nonzero()", current(x), "where(x != 0, a, b), and count_nonzero(x) counts")
    count = int(np.count_nonzero(data))
    return tuple(apply(NONZERO, x, axis=axis, count=count) for axis in range(x.ndim))
