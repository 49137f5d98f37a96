"""Updates of a part of an array: `x[i] = v`, and `x.at[i].set(v)` and its like, which leave `x` as it is."""

from __future__ import annotations

# -- updates that leave the array as it is -----------------------------------------------------------------------


class At:
    """What `x.at` gives: `x.at[index].set(v)` and its like are new values, and `x` stays as it is.

    >>> x = Value([1.0, 2.0, 3.0])
    >>> At(x)[0].set(9.0).data, At(x)[[0, 0]].add(5.0).data, x.data
    (array([9., 2., 3.]), array([11.,  2.,  3.]), array([1., 2., 3.]))
    """

    __slots__ = ("_x",)

    def __init__(self, x: Any) -> None:
        self._x = x

    def __getitem__(self, index: Any) -> Place:
        return Place(self._x, index)

    def __repr__(self) -> str:
        return "<x.at: write x.at[index].set(v), .add(v) or .multiply(v)>"


class Place:
    """A part of an array, to be updated in a copy."""

    __slots__ = ("_index", "_x")

    def __init__(self, x: Any, index: Any) -> None:
        self._x = _as_value(x)
        self._index = index

    def __repr__(self) -> str:
        return "<x.at[index]: write .set(v), .add(v), .multiply(v) or .get()>"

    def get(self) -> Value:
        """The part itself."""
        return getitem(self._x, self._index)

    def set(self, new: Any, /) -> Value:
        """The array with the part replaced by `new`, which is broadcast; where a place is named twice, the last stays."""
        return _updated(SETITEM, self._x, self._index, new)

    def add(self, term: Any, /) -> Value:
        """The array with `term`, which is broadcast, added to the part; as often as a place is named."""
        return _updated(SCATTER_ADD, self._x, self._index, term)

    def multiply(self, factor: Any, /) -> Value:
        """The array with the part multiplied by `factor`, which is broadcast; as often as a place is named."""
        x = self._x
        target, items, arrays = normal_index(x, self._index)
        rounds = _rounds(items, arrays, shape_of(current(target)._data))
        if len(rounds) <= 1:
            return _updated(SETITEM, x, self._index, self.get() * factor)
        positions = np.arange(x.size).reshape(shape_of(current(target)._data))[
            numpy_index(items, _numbers(arrays))
        ]
        factors = apply(RESHAPE, apply(BROADCAST_TO, factor, shape=positions.shape), shape=(positions.size,))
        flat, positions = apply(RESHAPE, x, shape=(x.size,)), positions.reshape(-1)
        for chosen in rounds:
            part = getitem(flat, positions[chosen]) * getitem(factors, chosen)
            flat = _updated(SETITEM, flat, positions[chosen], part)
        return apply(RESHAPE, flat, shape=x.shape)


def at(x: Any, /) -> At:
    """`at(x)[index].set(v)`, `.add(v)`, `.multiply(v)`: the same as `x.at[index]...`.

    >>> at([1.0, 2.0])[1].multiply(10.0).data
    array([ 1., 20.])
    """
    return At(x)


def _numbers(arrays: Sequence[Any]) -> list[Any]:
    datas = [current(a)._data if isinstance(a, Value) else a for a in arrays]
    if any(type(data) is Abstract for data in datas):
        raise TracedValueError(
            "x.at[i].multiply: while a function is traced it is not known whether the index names a place twice."
        )
    return datas


def _rounds(items: Index, arrays: Sequence[Any], shape: Shape) -> list[Any]:
    """The elements of `x[index]`, by how often their place was named before: one round if none is named twice."""
    if not arrays:
        return []
    try:
        positions = (
            np.arange(math.prod(shape)).reshape(shape)[numpy_index(items, _numbers(arrays))].reshape(-1)
        )
    except IndexError:
        return []  # reported when the part is read
    order = np.argsort(positions, kind="stable")
    placed = positions[order]
    starts = np.flatnonzero(np.r_[True, placed[1:] != placed[:-1]]) if placed.size else placed
    before = np.empty_like(placed)
    before[order] = np.arange(placed.size) - np.repeat(starts, np.diff(np.r_[starts, placed.size]))
    return [np.flatnonzero(before == n) for n in range(int(before.max(initial=0)) + 1)]
