"""Updates of a part of an array: `x[i] = v`, and `x.at[i].set(v)` and its like, which leave `x` as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DtypeError, IndexingError, ShapeError, TracedValueError
from backlit.core.numbers import Abstract, Shape, dtype_of, shape_of
from backlit.core.op import Constant, Integers, Linear, Reals, Sample
from backlit.core.site import user_frame
from backlit.core.value import NO_EXTRA, Value, current, describe, is_active, rebind
from backlit.ops.creation import holds_values, stacked
from backlit.ops.functions import apply
from backlit.ops.index import (
    ALL,
    ARRAY,
    Index,
    Slice,
    index_notation,
    indexed_shape,
    numpy_index,
    written_index,
)
from backlit.ops.indexing import GETITEM, add_into, as_value, check_range, getitem, normal_index
from backlit.ops.lowering import BOOL, INT64, planned, put
from backlit.ops.selection import WHERE
from backlit.ops.summation import BROADCAST_TO, RESHAPE

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N

_PLACES = Integers(-2, 1)
_TWO = (Reals(), Reals())
_SAMPLES = (
    Sample(((3,), ()), {"index": (1,)}, _TWO),
    Sample(((3, 4), (4,)), {"index": (2,)}, _TWO),
    Sample(((3, 4), (3, 1)), {"index": (ALL, Slice(1, 3))}, _TWO),
    Sample(((5,), (2,)), {"index": (Slice(None, 1, -2),)}, _TWO),
    Sample(((5,), (1,)), {"index": (Slice(0, 0),)}, _TWO),
    Sample(((), ()), {"index": ()}, _TWO),
    Sample(((0, 3), (3,)), {"index": ()}, _TWO),
    Sample(((4,), (6,), (6,)), {"index": (ARRAY,)}),
    Sample(((4,), (), (6,)), {"index": (ARRAY,)}),
    Sample(((2, 3, 4), (5, 1), (5,)), {"index": (0, ALL, ARRAY)}),
    Sample(((3, 4), (2, 5), (5,), (2, 1)), {"index": (ARRAY, ARRAY)}, (*_TWO, _PLACES, _PLACES)),
)


def _updated_shape(x: Any, v: Any, *arrays: Any, index: Index) -> Shape:
    region = indexed_shape(x.shape, index, [a.shape for a in arrays])
    behind = len(region) - len(v.shape)
    if behind < 0 or any(have not in (want, 1) for have, want in zip(v.shape, region[behind:], strict=True)):
        written = written_index(index, ["array"] * len(arrays))
        raise ShapeError(f"an array of shape {v.shape} does not fit the part [{written}], which has shape {region}.")
    return tuple(x.shape)


def _checked(x: Any, v: Any, arrays: Sequence[Any], index: Index) -> None:
    """Raise the error that teaches, where NumPy has found one."""
    check_range(x.shape, index, arrays)
    _updated_shape(x, np.asarray(v), *map(np.asarray, arrays), index=index)


# -- set -----------------------------------------------------------------------------------------------------


def _setitem(x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    out = np.array(x)
    try:
        out[numpy_index(index, arrays)] = v
    except (IndexError, ValueError):
        _checked(out, v, arrays, index)
        raise
    return out


def _last_writers(*arrays: Any, index: Index, shape: Shape) -> Any:
    region = indexed_shape(shape, index, [shape_of(a) for a in arrays])
    order = np.arange(math.prod(region)).reshape(region)
    writer = np.zeros(shape, np.int64)
    where = numpy_index(index, arrays)
    writer[where] = order
    return writer[where] == order


def _lower_last_writers(g: Graph[N], result: Abstract, *arrays: N, index: Index, shape: Shape) -> N:
    plan, region, nodes = planned(g, shape, arrays, index)
    order = g.reshape(g.iota((math.prod(region),), 0), region)
    writer = g.scatter(g.broadcast(g.number(0, INT64), shape), order, nodes, plan, "set")
    return g.map("equal", g.gather(writer, nodes, plan, region), order, dtype=BOOL)


LAST_WRITERS = Constant(
    "last_writers",
    _last_writers,
    shape=lambda *arrays, index, shape: indexed_shape(shape, index, [a.shape for a in arrays]),
    dtype=lambda *arrays, index, shape: dtypes.bool,
    notation=index_notation("last_writers[<i>]", r"\operatorname{last}_{[<i>]}", 0),
    domains=(_PLACES,),
    samples=(
        Sample(((6,),), {"index": (ARRAY,), "shape": (4,)}),
        Sample(((3,),), {"index": (0, ALL, ARRAY), "shape": (2, 3, 4)}),
    ),
    lower=_lower_last_writers,
    doc="Which elements of v stay when v is assigned to x[index]: of those that meet at one place, the last.",
)


def _zero(like: Any) -> Any:
    return np.zeros((), dtype_of(like))[()]


def _summed_back(ct: Any, v: Any) -> Any:
    """What flows to `v`, which was broadcast to the shape of `ct`."""
    transpose = BROADCAST_TO.transposes[0]
    assert transpose is not None
    return ct if shape_of(v) == shape_of(ct) else transpose(ct, v, shape=shape_of(ct))


def _set_transpose(ct: Any, which: int, x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    if which == 0:
        return SETITEM(ct, _zero(ct), *arrays, index=index)
    part = GETITEM(ct, *arrays, index=index)
    if arrays:
        part = WHERE(LAST_WRITERS(*arrays, index=index, shape=shape_of(x)), part, _zero(ct))
    return _summed_back(part, v)


SETITEM: Linear = Linear(
    "setitem",
    _setitem,
    transposes=(_set_transpose, _set_transpose, None),
    jointly=True,
    moves=True,
    shape=_updated_shape,
    dtype=lambda x, v, *arrays, index: x.dtype,
    notation=index_notation("<0>.at[<i>].set(<1>)", r"\left.{<0>}\right|_{[<i>] = <1>}", 2),
    domains=(*_TWO, _PLACES),
    samples=_SAMPLES,
    lower=lambda g, result, x, v, *arrays, index: put(g, x, v, arrays, index, "set"),
    doc="x with the part at an index replaced by v, which is broadcast to it; the dtype is that of x.",
)

# -- add -----------------------------------------------------------------------------------------------------


def _scatter_add(x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    out = np.array(x)
    try:
        add_into(out, np.asarray(v).astype(out.dtype, copy=False), None, *arrays, index=index)
    except (IndexError, ValueError):
        _checked(out, v, arrays, index)
        raise
    return out


def _add_transpose(ct: Any, which: int, x: Any, v: Any, *arrays: Any, index: Index) -> Any:
    return ct if which == 0 else _summed_back(GETITEM(ct, *arrays, index=index), v)


SCATTER_ADD: Linear = Linear(
    "scatter_add",
    _scatter_add,
    transposes=(_add_transpose, _add_transpose, None),
    jointly=True,
    moves=True,
    shape=_updated_shape,
    dtype=lambda x, v, *arrays, index: x.dtype,
    notation=index_notation(
        "<0>.at[<i>].add(<1>)", r"\left({<0>} + \operatorname{scatter}_{[<i>]}\left(<1>\right)\right)", 2
    ),
    domains=(*_TWO, _PLACES),
    samples=_SAMPLES,
    lower=lambda g, result, x, v, *arrays, index: put(g, x, v, arrays, index, "add"),
    doc="x with v, which is broadcast, added at an index; what meets at one place is added up. dtype: x's.",
)

# -- functions -----------------------------------------------------------------------------------------------


def setitem(value: Value, index: Any, new: Any) -> None:
    """`value[index] = new`: from here on `value` stands for a new node; graphs built before keep the old one.

    `new` is broadcast to the part that it replaces and converted to the dtype of `value`. From then on the
    gradient of `value` is that of the new node; it flows on to `new`, and to the old node where it was not
    replaced. Where an index names a place twice, the last stays. Under `no_grad` a variable remains a
    variable. Cost: a copy of the array, which lives as long as the graph; of a constant only the last is kept.

    Raises IndexingError for `x[i][j] = new`, where `x[i]` is a value of its own: write `x[i, j] = new`.
    """
    _refuse_chain(value)
    node = current(value)
    updated = _updated(SETITEM, node, index, new)
    if updated._op is None and node._op is None:  # nothing is recorded: as if the whole were assigned to `.data`
        value._assign(updated._data)
        return
    name = value.name
    if not is_active(updated) and not is_active(node) and type(updated._data) is not Abstract:
        # Nobody will ask what a constant was before, and an array filled one by one would keep every state.
        updated._op = updated._a = updated._b = None
        updated._extra = NO_EXTRA
    rebind(value, updated)
    if name is not None:
        updated._own_extra().name = name


def _refuse_chain(value: Value) -> None:
    """Raise IndexingError if `value` is the `x[i]` of `x[i][j] = new`, which nobody would see again."""
    if value._op is not GETITEM or value._code is None:
        return
    frame = user_frame(2)
    if frame.f_code is not value._code:
        return
    made, assigned = _beginning(value._code, value._lasti), _beginning(value._code, frame.f_lasti)
    if made is not None and made == assigned:
        raise IndexingError(
            "setitem: x[i][j] = v would change nothing but the part x[i], which is a value of its own. "
            "Write x[i, j] = v, or give the part a name if it is the part that you want to change."
        )


def _beginning(code: CodeType, instruction: int) -> tuple[int, int] | None:
    """Line and column where the expression of an instruction begins."""
    line, _, column, _ = next(islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    return None if line is None or column is None else (line, column)


def _updated(op: Linear, x: Value, index: Any, new: Any) -> Value:
    """`op(x, new, index)`, for a `new` that can be kept in the dtype of `x`."""
    new = stacked(new) if holds_values(new) and not isinstance(new, Value) else new
    target, items, arrays = normal_index(x, index)
    _check_kinds(op, x.dtype, new)
    region = indexed_shape(target.shape, items, [shape_of(a) for a in arrays])
    own = new.shape if isinstance(new, Value) else np.shape(new)
    if len(own) > len(region) and set(own[: len(own) - len(region)]) == {1}:  # NumPy lets that pass
        new = apply(RESHAPE, new, shape=own[len(own) - len(region) :])
    updated = apply(op, target, new, *arrays, index=items)
    return updated if target.ndim == x.ndim else apply(RESHAPE, updated, shape=x.shape)


def _check_kinds(op: Linear, to: np.dtype[Any], new: Any) -> None:
    came = new.dtype if isinstance(new, Value) else np.asarray(new).dtype
    if came.kind == "c" and to.kind != "c":
        raise DtypeError(
            f"{op.name}: complex numbers cannot be kept in an array of dtype {to.name}; use real(x), or "
            "convert the array with astype."
        )
    if to.kind in "iub" and came.kind == "f" and isinstance(new, Value) and is_active(new):
        raise DtypeError(
            f"{op.name}: {describe(new)}, has a gradient that would be lost in an array of dtype {to.name}. "
            "Convert the array with astype(x, float64), or assign the .data of the value."
        )
    if op is SCATTER_ADD and to.kind in "iub" and came.kind in "fc":
        raise DtypeError(
            f"{op.name}: what is added has dtype {came.name}, and the sum would be cut to {to.name}, the "
            "dtype of the array. Convert one of them with astype."
        )


def scatter_add(x: Any, index: Any, updates: Any, /) -> Value:
    """`x` with `updates`, which are broadcast, added at `x[index]`; what meets at one place is added up.

    The same as `x.at[index].add(updates)`.

    >>> scatter_add([0.0, 0.0], [0, 0, 1], [1.0, 2.0, 3.0]).data
    array([3., 3.])
    """
    return _updated(SCATTER_ADD, as_value(x), index, updates)


class At:
    """What `x.at` gives: `x.at[index].set(v)` and its like are new values, and `x` stays as it is.

    >>> x = Value([1.0, 2.0, 3.0])
    >>> At(x)[0].set(9.0).data, At(x)[[0, 0]].add(5.0).data, x.data
    (array([9., 2., 3.]), array([11.,  2.,  3.]), array([1., 2., 3.]))
    """

    __slots__ = ("_x",)

    def __init__(self, x: Any) -> None:
        self._x = as_value(x)

    def __getitem__(self, index: Any) -> Place:
        return Place(self._x, index)

    def __repr__(self) -> str:
        return "<x.at: write x.at[index].set(v), .add(v) or .multiply(v)>"


class Place:
    """A part of an array, to be updated in a new value: what `x.at[index]` gives."""

    __slots__ = ("_index", "_x")

    def __init__(self, x: Value, index: Any) -> None:
        self._x = x
        self._index = index

    def __repr__(self) -> str:
        return "<x.at[index]: write .set(v), .add(v), .multiply(v) or .get()>"

    def get(self) -> Value:
        """The part itself."""
        return getitem(self._x, self._index)

    def set(self, new: Any, /) -> Value:
        """The array with the part replaced by `new`, which is broadcast; where several meet, by the last."""
        return _updated(SETITEM, self._x, self._index, new)

    def add(self, term: Any, /) -> Value:
        """The array with `term`, which is broadcast, added to the part; where several meet, all are added."""
        return _updated(SCATTER_ADD, self._x, self._index, term)

    def multiply(self, factor: Any, /) -> Value:
        """The array with the part multiplied by `factor`, which is broadcast; where several meet, by all."""
        x = self._x
        factor = stacked(factor) if holds_values(factor) else as_value(factor)
        if x.dtype.kind in "iub" and factor.dtype.kind in "fc":
            raise DtypeError(
                f"multiply: the factor has dtype {factor.dtype.name}, and the product would be cut to "
                f"{x.dtype.name}, the dtype of the array. Convert one of them with astype."
            )
        target, items, arrays = normal_index(x, self._index)
        rounds = _rounds(items, arrays, target.shape)
        if len(rounds) <= 1:
            return _updated(SETITEM, x, self._index, self.get() * factor)
        positions = np.arange(x.size).reshape(target.shape)[numpy_index(items, _numbers(arrays))]
        factors = apply(RESHAPE, apply(BROADCAST_TO, factor, shape=positions.shape), shape=(positions.size,))
        flat, positions = apply(RESHAPE, x, shape=(x.size,)), positions.reshape(-1)
        for chosen in rounds:
            product = getitem(flat, positions[chosen]) * getitem(factors, chosen)
            flat = _updated(SETITEM, flat, positions[chosen], product)
        return apply(RESHAPE, flat, shape=x.shape)


def at(x: Any, /) -> At:
    """What `x.at` gives, for arrays and lists, too: write `at(x)[index].set(v)`, `.add(v)` or `.multiply(v)`.

    >>> at([1.0, 2.0])[1].multiply(10.0).data
    array([ 1., 20.])
    """
    return At(x)


def _numbers(arrays: Sequence[Any]) -> list[Any]:
    datas = [current(a)._data if isinstance(a, Value) else a for a in arrays]
    if any(type(data) is Abstract for data in datas):
        raise TracedValueError(
            "x.at[i].multiply: while a function is traced it is not known whether the index names a place "
            "twice; write x.at[i].set(x[i] * factor), where the last counts."
        )
    return datas


def _rounds(items: Index, arrays: Sequence[Any], shape: Shape) -> list[Any]:
    """The elements of `x[index]` by how often their place was named before; one round if none is twice."""
    if not arrays:
        return []
    numbers = _numbers(arrays)
    check_range(shape, items, numbers)
    positions = np.arange(math.prod(shape)).reshape(shape)[numpy_index(items, numbers)].reshape(-1)
    order = np.argsort(positions, kind="stable")
    placed = positions[order]
    starts = np.flatnonzero(np.diff(placed, prepend=-1))  # where the next place begins
    before = np.empty_like(placed)
    before[order] = np.arange(placed.size) - np.repeat(starts, np.diff(starts, append=placed.size))
    return [np.flatnonzero(before == n) for n in range(int(before.max(initial=0)) + 1)]
