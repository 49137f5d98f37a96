"""Indexing: what `x[i]` records, its transpose, and the functions that take elements by their positions."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import IndexingError, ShapeError, TracedValueError
from backlit.core.notation import Notation
from backlit.core.numbers import Abstract, Shape, dtype_of, shape_of
from backlit.core.op import Booleans, Constant, Integers, Linear, Reals, Sample, as_constant, as_shown
from backlit.core.value import Value, current, describe
from backlit.ops.axes import one_axis
from backlit.ops.functions import apply
from backlit.ops.index import ALL, ARRAY, Index, Item, Slice
from backlit.ops.selection import WHERE
from backlit.ops.summation import BROADCAST_TO, RESHAPE

# -- reading -----------------------------------------------------------------------------------------------------


def _getitem(x: Any, *arrays: Any, index: Index) -> Any:
    if type(x) is not np.ndarray:
        x = np.asarray(x)
    try:
        return x[numpy_index(index, arrays)]
    except IndexError:
        if (wrong := _out_of_range(x.shape, index, arrays)) is not None:
            raise IndexingError(wrong) from None
        indexed_shape(x.shape, index, [shape_of(a) for a in arrays])
        raise


def _add_into(buffer: Any, ct: Any, x: Any, *arrays: Any, index: Index) -> None:
    """Add `ct` into `buffer[index]`, in which a place that the arrays name twice is served twice."""
    where = numpy_index(index, arrays)
    if arrays:
        np.add.at(buffer, where, ct)
    else:
        buffer[where] += ct


GETITEM: Linear = Linear(
    "getitem",
    _getitem,
    transposes=(
        lambda ct, x, *arrays, index: SCATTER(ct, *arrays, index=index, shape=shape_of(x)),
        *_NO_MORE,
    ),
    accumulate=_add_into,
    moves=True,
    shape=lambda x, *arrays, index: indexed_shape(x.shape, index, [a.shape for a in arrays]),
    dtype=lambda x, *arrays, index: x.dtype,
    notation=_notation("<0>[<i>]", "{<0>}_{[<i>]}", 1),
    domains=(Reals(), Integers(-2, 1)),
    samples=(
        Sample(((3,),), {"index": (1,)}),
        Sample(((3, 4),), {"index": (2,)}),
        Sample(((3, 4),), {"index": (ALL, 1)}),
        Sample(((5, 4),), {"index": (Slice(1, 4, 2), None, Slice(None, None, -1))}),
        Sample(((5,),), {"index": (Slice(4, 1, -2),)}),
        Sample(((5,),), {"index": (Slice(0, 0),)}),
        Sample(((),), {"index": ()}),
        Sample(((),), {"index": (None,)}),
        Sample(((0, 3),), {"index": (ALL, 1)}),
        Sample(((4,), (6,)), {"index": (ARRAY,)}),
        Sample(((4,), ()), {"index": (ARRAY,)}),
        Sample(((4,), (0,)), {"index": (ARRAY,)}),
        Sample(((2, 3), (2, 2)), {"index": (ARRAY,)}),
        Sample(((2, 3, 4), (5,)), {"index": (0, ALL, ARRAY)}),
        Sample(((2, 3, 4), (5,), (2, 1)), {"index": (ALL, ARRAY, ARRAY)}, (Reals(), *(Integers(-2, 1),) * 2)),
    ),
    doc="Part of an array, as NumPy's indexing gives it. x: (*s); index arrays of integers.",
)


def _scatter(v: Any, *arrays: Any, index: Index, shape: Shape) -> Any:
    out = np.zeros(shape, dtype_of(v))
    try:
        _add_into(out, v, None, *arrays, index=index)
    except IndexError:
        if (wrong := _out_of_range(shape, index, arrays)) is not None:
            raise IndexingError(wrong) from None
        raise
    return out


SCATTER: Linear = Linear(
    "scatter",
    _scatter,
    transposes=(lambda ct, v, *arrays, index, shape: GETITEM(ct, *arrays, index=index), *_NO_MORE),
    moves=True,
    shape=lambda v, *arrays, index, shape: shape,
    dtype=lambda v, *arrays, index, shape: v.dtype,
    notation=_notation("zeros(<s>).at[<i>].add(<0>)", r"\operatorname{scatter}_{[<i>]}\left(<0>\right)", 1),
    domains=(Reals(), Integers(-2, 1)),
    samples=(
        Sample(((),), {"index": (1,), "shape": (3,)}),
        Sample(((2, 1, 4),), {"index": (Slice(1, 4, 2), None, Slice(None, None, -1)), "shape": (5, 4)}),
        Sample(((0,),), {"index": (Slice(0, 0),), "shape": (5,)}),
        Sample(((6,), (6,)), {"index": (ARRAY,), "shape": (4,)}),
        Sample(((5, 3), (5,)), {"index": (0, ALL, ARRAY), "shape": (2, 3, 4)}),
    ),
    doc="Zeros of a shape, with v added at an index; what falls on one place is added up. The transpose of getitem.",
)


# -- writing -----------------------------------------------------------------------------------------------------


def _setitem(x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    out = np.array(x)
    try:
        out[numpy_index(index, arrays)] = v
    except IndexError:
        if (wrong := _out_of_range(out.shape, index, arrays)) is not None:
            raise IndexingError(wrong) from None
        indexed_shape(out.shape, index, [shape_of(a) for a in arrays])
        raise
    except ValueError:
        _updated_shape(out, np.asarray(v), *map(np.asarray, arrays), index=index)
        raise
    return out


def _updated_shape(x: Any, v: Any, *arrays: Any, index: Index) -> Shape:
    region = indexed_shape(x.shape, index, [a.shape for a in arrays])
    extra = len(v.shape) - len(region)
    if any(length != 1 for length in v.shape[: max(extra, 0)]) or any(
        have not in (want, 1)
        for have, want in zip(v.shape[max(extra, 0) :], region[max(-extra, 0) :], strict=True)
    ):
        raise ShapeError(
            f"an array of shape {v.shape} does not fit the region [{written_index(index, ['array'] * len(arrays))}]"
            f" of an array of shape {x.shape}: the region has shape {region}."
        )
    return tuple(x.shape)


def _last_writers(*arrays: Any, index: Index, shape: Shape) -> Any:
    """For each place of `x[index]`, whether what is assigned there stays: where a place is named twice, the last."""
    region = indexed_shape(shape, index, [shape_of(a) for a in arrays])
    order = np.arange(math.prod(region)).reshape(region)
    writer = np.zeros(shape, np.int64)
    where = numpy_index(index, arrays)
    writer[where] = order
    return writer[where] == order


LAST_WRITERS = Constant(
    "last_writers",
    _last_writers,
    shape=lambda *arrays, index, shape: indexed_shape(shape, index, [a.shape for a in arrays]),
    dtype=lambda *arrays, index, shape: dtypes.bool,
    notation=_notation("last_writers[<i>]", r"\operatorname{last}_{[<i>]}", 0),
    domains=(Integers(-2, 1),),
    samples=(
        Sample(((6,),), {"index": (ARRAY,), "shape": (4,)}),
        Sample(((3,),), {"index": (0, ALL, ARRAY), "shape": (2, 3, 4)}),
    ),
    doc="Which elements of v stay when v is assigned to x[index]: all, but where a place is named twice the last.",
)


def _fitted(ct: Any, v: Any) -> Any:
    """What flows to `v`, which was broadcast to the shape of `ct`."""
    own, region = shape_of(v), shape_of(ct)
    if own == region:
        return ct
    if len(own) > len(region):  # NumPy lets `v` have axes of length 1 in front
        return RESHAPE(_fitted(ct, Abstract(own[len(own) - len(region) :], dtype_of(v))), shape=own)
    transpose = BROADCAST_TO.transposes[0]
    assert transpose is not None
    return transpose(ct, Abstract(own, dtype_of(v)), shape=region)


def _zero(like: Any) -> Any:
    return np.zeros((), dtype_of(like))[()]


def _setitem_transpose(ct: Any, which: int, x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    if which == 0:
        return SETITEM(ct, _zero(ct), *arrays, index=index)
    if which > 1:
        return None
    part = GETITEM(ct, *arrays, index=index)
    if arrays:
        stays = LAST_WRITERS(*arrays, index=index, shape=shape_of(x))
        part = WHERE(stays, part, _zero(ct))
    return _fitted(part, v)


SETITEM: Linear = Linear(
    "setitem",
    _setitem,
    transposes=(_setitem_transpose,),
    jointly=True,
    moves=True,
    shape=_updated_shape,
    dtype=lambda x, v, *arrays, index: x.dtype,
    notation=_notation("<0>.at[<i>].set(<1>)", r"\left.{<0>}\right|_{[<i>] = <1>}", 2),
    domains=(Reals(), Reals(), Integers(-2, 1)),
    samples=(
        Sample(((3,), ()), {"index": (1,)}),
        Sample(((3, 4), (4,)), {"index": (2,)}),
        Sample(((3, 4), (3, 1)), {"index": (ALL, Slice(1, 3))}),
        Sample(((5,), (2,)), {"index": (Slice(4, 1, -2),)}),
        Sample(((5,), (1,)), {"index": (Slice(0, 0),)}),
        Sample(((5,), (1, 5)), {"index": ()}),
        Sample(((0, 3), (3,)), {"index": (ALL,)}),
        Sample(((4,), (6,), (6,)), {"index": (ARRAY,)}),
        Sample(((2, 3, 4), (5, 1), (5,)), {"index": (0, ALL, ARRAY)}),
    ),
    doc="x with the part at an index replaced by v, which is broadcast to it; the dtype is that of x.",
)


def _scatter_add(x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    out = np.array(x)
    try:
        _add_into(out, v, None, *arrays, index=index)
    except IndexError:
        if (wrong := _out_of_range(out.shape, index, arrays)) is not None:
            raise IndexingError(wrong) from None
        indexed_shape(out.shape, index, [shape_of(a) for a in arrays])
        raise
    except ValueError:
        _updated_shape(out, np.asarray(v), *map(np.asarray, arrays), index=index)
        raise
    return out


def _scatter_add_transpose(ct: Any, which: int, x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    if which == 0:
        return ct
    return None if which > 1 else _fitted(GETITEM(ct, *arrays, index=index), v)


SCATTER_ADD: Linear = Linear(
    "scatter_add",
    _scatter_add,
    transposes=(_scatter_add_transpose,),
    jointly=True,
    moves=True,
    shape=_updated_shape,
    dtype=lambda x, v, *arrays, index: x.dtype,
    notation=_notation("<0>.at[<i>].add(<1>)", r"{<0>} + \operatorname{scatter}_{[<i>]}\left(<1>\right)", 2),
    domains=(Reals(), Reals(), Integers(-2, 1)),
    samples=SETITEM.samples,
    doc="x with v, which is broadcast, added at an index; what falls on one place is added up. The dtype is that of x.",
)


def _nonzero(x: Any, axis: int, count: int) -> Any:
    found = np.nonzero(np.atleast_1d(x))[axis]
    if len(found) != count:
        raise IndexingError(
            f"a mask that picked {count} elements when it was recorded now picks {len(found)}, and the shapes "
            "that follow from it cannot change; use where(mask, x, 0) instead of x[mask]."
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
    doc="Positions along one axis of the elements that are not zero, in row-major order.",
)


# -- from what the user wrote to an index ------------------------------------------------------------------------


def normal_index(x: Any, index: Any) -> tuple[Any, Index, list[Any]]:
    """The index that a node keeps, and the index arrays, for what stands between the brackets of `x[...]`.

    Also gives `x` itself, which a mask without axes (`x[True]`) gives a new axis. Raises IndexingError.
    """
    entries = list(index) if isinstance(index, tuple) else [index]
    shape = shape_of(current(x)._data if isinstance(x, Value) else x)
    converted = [_entry(entry, x) for entry in entries]
    lone = [i for i, entry in enumerate(converted) if _is_mask(entry) and not shape_of(entry)]
    taken = sum(_axes_taken(entry) for i, entry in enumerate(converted) if i not in lone)
    if taken > len(shape):
        raise IndexingError(
            f"getitem: {taken} indices for an array of shape {shape}, which has "
            f"{len(shape)} {'axis' if len(shape) == 1 else 'axes'}.{_spoken_of(x)}"
        )
    dots = [i for i, entry in enumerate(converted) if entry is Ellipsis]
    if len(dots) > 1:
        raise IndexingError(
            "getitem: an index can hold `...` only once, or it is not clear which axes are meant."
        )
    missing: list[Any] = [slice(None)] * (len(shape) - taken)
    at = dots[0] if dots else len(converted)
    converted[at : at + 1] = missing
    if lone:
        x, shape = _with_axes_for_masks(x, converted)
    items: list[Item] = []
    arrays: list[Any] = []
    axis = 0
    for entry in converted:
        if entry is None:
            items.append(None)
            continue
        if type(entry) is int:
            length = shape[axis]
            if not -length <= entry < length:
                raise IndexingError(f"getitem: {_not_in(entry, axis, length)}.{_spoken_of(x)}")
            items.append(entry if entry >= 0 else entry + length)
        elif type(entry) is slice:
            items.append(normal_slice(entry, shape[axis]))
        elif _is_mask(entry):
            places = _places(entry, shape, axis, x)
            items.extend([ARRAY] * len(places))
            arrays.extend(places)
            axis += len(places)
            continue
        else:
            items.append(ARRAY)
            arrays.append(entry)
        axis += 1
    while items and items[-1] == ALL:
        items.pop()
    return x, tuple(items), arrays


def _entry(entry: Any, x: Any) -> Any:
    """One entry of an index: an int, a slice, None, Ellipsis, or an array or value of integers or booleans."""
    kind = type(entry)
    if kind is int or entry is None or entry is Ellipsis:
        return entry
    if kind is slice:
        return slice(*(_end(end) for end in (entry.start, entry.stop, entry.step)))
    if isinstance(entry, Value):
        entry = current(entry)
        dtype = entry.dtype
    elif kind is bool:
        return np.bool_(entry)
    else:
        if not isinstance(entry, np.ndarray):
            try:
                return operator.index(entry)
            except TypeError:
                pass
            entry = np.asarray(_plain(entry))
            if entry.size == 0 and entry.dtype == np.float64 and kind is not np.ndarray:
                entry = entry.astype(np.int64)  # an empty list
        dtype = entry.dtype
    if dtype.kind not in "iub":
        if dtype.kind == "f":
            cure = "Convert it: astype(i, int64), or use // where it was computed with /."
        else:
            cure = "An index is made of whole numbers, slices, None, ..., masks and arrays of whole numbers."
        what = dtype.name if dtype.name in dtypes.ALL else f"{kind.__name__} {entry!r:.40}"
        raise IndexingError(f"getitem: {what} cannot be an index. {cure}{_spoken_of(x)}")
    return entry


def _plain(entry: Any) -> Any:
    """A nested list in which values gave way to their numbers."""
    if isinstance(entry, (list, tuple)):
        return [_plain(inner) for inner in entry]
    return entry.data if isinstance(entry, Value) else entry


def _end(end: Any) -> Any:
    return end.data if isinstance(end, Value) else end


def _is_mask(entry: Any) -> bool:
    return isinstance(entry, (Value, np.ndarray, np.bool_)) and entry.dtype == dtypes.bool


def _axes_taken(entry: Any) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    return len(shape_of(entry)) if _is_mask(entry) else 1


def _places(mask: Any, shape: Shape, axis: int, x: Any) -> list[Any]:
    """The index arrays that pick where a mask is true."""
    lengths = shape_of(mask)
    if not lengths:  # `x[True]`: the axis made for it is kept or emptied
        lengths = (1,)
    for i, length in enumerate(lengths):
        if length != shape[axis + i]:
            raise IndexingError(
                f"getitem: a mask of shape {lengths} does not fit: its axis {i} has length {length}, and axis "
                f"{axis + i} of the array has length {shape[axis + i]}.{_spoken_of(x)}"
            )
    data = mask._data if isinstance(mask, Value) else mask
    if type(data) is Abstract:
        raise TracedValueError(
            "getitem: while a function is traced, x[mask] has no shape, as it depends on the numbers in the mask; "
            "use where(mask, x, 0)."
        )
    found = np.nonzero(np.atleast_1d(data))
    if not isinstance(mask, Value):
        return list(found)
    return [apply(NONZERO, mask, axis=i, count=len(found[0])) for i in range(len(lengths))]


def _with_axes_for_masks(x: Any, converted: Iterable[Any]) -> tuple[Any, Shape]:
    """`x` with a new axis of length 1 for each mask without axes."""
    shape = list(shape_of(current(x)._data if isinstance(x, Value) else x))
    axis = 0
    for entry in converted:
        if _is_mask(entry) and not shape_of(entry):
            shape.insert(axis, 1)
            axis += 1
        else:
            axis += _axes_taken(entry)
    return apply(RESHAPE, x, shape=tuple(shape)), tuple(shape)


def _spoken_of(x: Any) -> str:
    """Which array an error is about."""
    if not isinstance(x, Value):
        return ""
    node = current(x)
    return (
        f"\n    input: {describe(as_shown(node))}, shape {shape_of(node._data)}, {dtype_of(node._data).name}"
    )


# -- functions ---------------------------------------------------------------------------------------------------


def getitem(x: Any, index: Any, /) -> Value:
    """`x[index]`, as NumPy means it: positions, slices, None, `...`, masks and arrays of whole numbers.

    The result is a value of its own: assigning into it leaves `x` as it is. Raises IndexingError when a
    position is outside its axis. A gradient flows back to the places that were taken, added up where one was
    taken twice.

    >>> getitem(Value([10.0, 20.0, 30.0]), -1).data
    30.0
    """
    if type(index) is int and isinstance(x, Value):  # the quick way for `x[3]`
        shape = shape_of(current(x)._data)
        if shape and -shape[0] <= index < shape[0]:
            return apply(GETITEM, x, index=(index if index >= 0 else index + shape[0],))
    x, items, arrays = normal_index(x, index)
    return apply(GETITEM, x, *arrays, index=items)


def setitem(value: Value, index: Any, new: Any) -> None:
    """`value[index] = new`: from here on `value` stands for a new node; graphs built before keep the old one.

    `new` is broadcast to the part it replaces and converted to the dtype of `value`. Gradients of `value` are
    from then on those of the new node; they flow on to `new` and to what was not replaced. Under `no_grad`, a
    variable stays one. Where an index names a place twice, the last stays. Cost: a copy of the array.
    """
    node = current(value)
    updated = _updated(SETITEM, node, index, new)
    if updated._op is None and node._op is None:  # not recorded: like assigning to `.data`
        value._assign(updated._data)
        return
    name = value.name
    value._now = updated
    if name is not None:
        updated._own_extra().name = name


def _updated(op: Linear, x: Any, index: Any, new: Any) -> Value:
    """`op(x, new, index)` when `new` can be kept in the dtype of `x`."""
    target, items, arrays = normal_index(x, index)
    if target is not x and shape_of(target) != shape_of(x):  # `x[True]`
        result = _updated_at(op, target, new, arrays, items)
        return apply(RESHAPE, result, shape=shape_of(x))
    return _updated_at(op, x, new, arrays, items)


def _updated_at(op: Linear, x: Any, new: Any, arrays: Sequence[Any], items: Index) -> Value:
    to = dtype_of(current(x)._data if isinstance(x, Value) else np.asarray(x))
    if isinstance(new, Value):
        came = new.dtype
        if to.kind in "iub" and came.kind == "f" and is_active(new):
            raise DtypeError(
                f"{op.name}: a {came.name} with a gradient cannot be kept in an array of {to.name}, where the gradient "
                f"would be lost: {describe(new)}. Make the array a float one with astype, or assign new.data."
            )
    else:
        came = dtypes.bool if new is None else np.asarray(new).dtype
    if came.kind == "c" and to.kind != "c":
        raise DtypeError(
            f"{op.name}: a complex number cannot be kept in an array of {to.name}; take its real part, or "
            "convert the array with astype."
        )
    return apply(op, x, new, *arrays, index=items)


def scatter_add(x: Any, index: Any, updates: Any, /) -> Value:
    """`x` with `updates` added at `x[index]`, as a new value; what falls on one place is added up.

    >>> scatter_add(Value([0.0, 0.0]), ([0, 0, 1],), [1.0, 2.0, 3.0]).data
    array([3., 3.])
    """
    return _updated(SCATTER_ADD, _as_value(x), index, updates)


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Value:
    """The elements of `x` at the given positions along an axis; `axis` may be left out only if `x` has just one.

    x: (*a, n, *b), indices: (*i) of integers -> (*a, *i, *b). Negative positions count from the end; IndexingError
    where one is outside.

    >>> take(Value([10.0, 20.0, 30.0]), [2, 0]).data
    array([30., 10.])
    """
    x = _as_value(x)
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(
                f"take: which axis? An array of shape {x.shape} needs axis=..., only a vector does not."
            )
        axis = 0
    position = one_axis(axis, x.shape, "take")
    entry = _entry(np.asarray(indices) if isinstance(indices, (int, list, tuple)) and not _holds_values(indices)
                   else indices, x)  # fmt: skip
    if _is_mask(entry) or not isinstance(entry, (int, Value, np.ndarray)):
        raise IndexingError(
            f"take: positions are whole numbers, not {indices!r:.60}; for a mask write x[mask]."
        )
    return getitem(x, (*(slice(None),) * position, entry))


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Value:
    """For each place of `indices`, the element of `x` whose position along `axis` stands there.

    x: (*a, n, *b), indices: (*a, m, *b) of integers -> (*a, m, *b); the other axes broadcast. It is what takes
    values from where `argmax` or a sort found them.

    >>> take_along_axis(Value([[1.0, 9.0], [7.0, 2.0]]), [[1], [0]]).data
    array([[9.],
           [7.]])
    """
    x = _as_value(x)
    entry = _entry(indices, x)
    places = entry if isinstance(entry, Value) else np.asarray(entry)
    if len(shape_of(places)) != x.ndim:
        raise ShapeError(
            f"take_along_axis: x has shape {x.shape} and indices {shape_of(places)}: both need the same number of axes."
        )
    position = one_axis(axis, x.shape, "take_along_axis")
    others = [
        np.arange(length).reshape((1,) * i + (-1,) + (1,) * (x.ndim - 1 - i))
        for i, length in enumerate(x.shape)
    ]
    return getitem(x, tuple(places if i == position else other for i, other in enumerate(others)))


def nonzero(x: Any, /) -> tuple[Value, ...]:
    """The positions of the elements that are not zero: one vector of integers for each axis, in row-major order.

    Raises ShapeError for a number without axes.

    >>> [i.data for i in nonzero(Value([[0.0, 2.0], [3.0, 0.0]]))]
    [array([0, 1]), array([1, 0])]
    """
    x = _as_value(x)
    if not x.ndim:
        raise ShapeError("nonzero: a number without axes has no positions; compare it with 0.")
    data = current(x)._data
    if type(data) is Abstract:
        raise TracedValueError(
            "nonzero: while a function is traced, how many elements are not zero is not known."
        )
    count = int(np.count_nonzero(data))
    return tuple(apply(NONZERO, x, axis=axis, count=count) for axis in range(x.ndim))


def _as_value(x: Any) -> Value:
    if isinstance(x, Value):
        return x
    from_numbers = Value(np.asarray(x))
    return from_numbers


def _holds_values(entry: Any) -> bool:
    if isinstance(entry, (list, tuple)):
        return any(_holds_values(inner) for inner in entry)
    return isinstance(entry, Value)


