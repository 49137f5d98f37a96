"""Joining arrays along an axis that they have (`concat`) or along a new one (`stack`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import ShapeError
from backlit.core.numbers import Shape, dtype_of, shape_of
from backlit.core.op import Linear, Reals, Sample
from backlit.core.record import operands, record
from backlit.core.value import Value
from backlit.ops.axes import one_axis
from backlit.ops.index import ALL, normal_slice
from backlit.ops.indexing import GETITEM
from backlit.ops.summation import RESHAPE

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract


def _promoted(*arrays: Any, axis: int) -> np.dtype[Any]:
    return np.result_type(*{x.dtype for x in arrays})  # a set: result_type takes only 64 arguments


def _concat_shape(*arrays: Any, axis: int) -> Shape:
    first = arrays[0].shape
    for i, x in enumerate(arrays):
        if len(x.shape) != len(first):
            raise ShapeError(
                f"array 0 has shape {first} and array {i} has shape {x.shape}; concat joins arrays with the "
                "same number of axes. Use expand_dims to give one a new axis, or stack to join all along one."
            )
        for other, (want, have) in enumerate(zip(first, x.shape, strict=True)):
            if want != have and other != axis:
                raise ShapeError(
                    f"array 0 has shape {first} and array {i} has shape {x.shape}; joined along axis {axis}, "
                    f"they must agree in all other axes, and differ at axis {other}: {want} and {have}."
                )
    return (*first[:axis], sum(x.shape[axis] for x in arrays), *first[axis + 1 :])


def _concat_transpose(ct: Any, which: int, *arrays: Any, axis: int) -> Any:
    start = sum(shape_of(x)[axis] for x in arrays[:which])
    own = slice(start, start + shape_of(arrays[which])[axis])
    item = normal_slice(own, shape_of(ct)[axis])
    return ct if item == ALL else GETITEM(ct, index=(*(ALL,) * axis, item))


def _lower_concat(g: Graph[N], result: Abstract, *xs: N, axis: int) -> N:
    return g.concat([g.cast(x, result.dtype) for x in xs], axis)


CONCAT: Linear = Linear(
    "concat",
    lambda *arrays, axis: np.concatenate(arrays, axis),
    shape=_concat_shape,
    dtype=_promoted,
    transposes=(_concat_transpose,),
    jointly=True,
    moves=True,
    domains=(Reals(), Reals(), Reals()),
    samples=(
        Sample(((2,), (3,)), {"axis": 0}, (Reals(), Reals())),
        Sample(((2, 3), (2, 1), (2, 2)), {"axis": 1}),
        Sample(((2, 3), (0, 3), (1, 3)), {"axis": 0}),
        Sample(((2, 3),), {"axis": 0}, (Reals(),)),
        Sample(((2, 0), (2, 0)), {"axis": 0}, (Reals(), Reals())),
    ),
    lower=_lower_concat,
    doc="Arrays one after the other along an axis. (*a, n, *b), (*a, m, *b), ... -> (*a, n + m + ..., *b).",
)


def _stack(*arrays: Any, axis: int) -> Any:
    if not shape_of(arrays[0]) and len(arrays) > 8:  # many numbers: `np.stack` would make an array of each
        for x in arrays:
            if shape_of(x):
                break
        else:
            return np.array(arrays, _promoted(*map(_Kind, arrays), axis=axis))
    return np.stack(arrays, axis)


class _Kind:
    """The dtype of stored data, as an attribute."""

    __slots__ = ("dtype",)

    def __init__(self, data: Any) -> None:
        self.dtype = dtype_of(data)


def _stack_shape(*arrays: Any, axis: int) -> Shape:
    first = arrays[0].shape
    for i, x in enumerate(arrays):
        if x.shape != first:
            raise ShapeError(
                f"array 0 has shape {first} and array {i} has shape {x.shape}; stack joins arrays of one "
                "shape. To join arrays along an axis that they have use concat."
            )
    return (*first[:axis], len(arrays), *first[axis:])


def _lower_stack(g: Graph[N], result: Abstract, *xs: N, axis: int) -> N:
    shape = (*result.shape[:axis], 1, *result.shape[axis + 1 :])
    return g.concat([g.reshape(g.cast(x, result.dtype), shape) for x in xs], axis)


STACK: Linear = Linear(
    "stack",
    _stack,
    shape=_stack_shape,
    dtype=_promoted,
    transposes=(lambda ct, which, *arrays, axis: GETITEM(ct, index=(*(ALL,) * axis, which)),),
    jointly=True,
    moves=True,
    domains=(Reals(), Reals(), Reals()),
    samples=(
        Sample(((2,), (2,), (2,)), {"axis": 0}),
        Sample(((2, 3), (2, 3), (2, 3)), {"axis": 2}),
        Sample(((), (), ()), {"axis": 0}),
        Sample(((),) * 10, {"axis": 0}, (Reals(),) * 10),
        Sample(((2, 0), (2, 0)), {"axis": 1}, (Reals(), Reals())),
        Sample(((3,),), {"axis": 1}, (Reals(),)),
    ),
    lower=_lower_stack,
    doc="Arrays of one shape side by side along a new axis. k of (*a, *b) -> (*a, k, *b).",
)


def _each(name: str, arrays: Sequence[Any]) -> tuple[Value, ...]:
    nodes = operands(tuple(arrays))
    if not nodes:
        raise ShapeError(f"{name}: there is nothing to join in an empty sequence; its shape cannot be known.")
    return nodes


_AT_ONCE = 64


def _in_groups(op: Linear, nodes: Sequence[Value], axis: int) -> Value:
    """All joined: at once, or if they are many in groups, and the groups in groups.

    The transpose is given all inputs for each of them, so one big join would cost the square of their number.
    """
    if len(nodes) <= _AT_ONCE or len({x.dtype for x in nodes}) > 1:
        return record(op, tuple(nodes), {"axis": axis})
    groups = [record(op, tuple(nodes[i : i + _AT_ONCE]), {"axis": axis}) for i in range(0, len(nodes), _AT_ONCE)]
    return _in_groups(CONCAT, groups, axis)


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Value:
    """The arrays joined one after the other along an axis that they have; flattened first if `axis` is None.

    Raises ShapeError where they differ in another axis.

    >>> concat([[1.0, 2.0], [3.0]]).data
    array([1., 2., 3.])
    """
    nodes = _each("concat", arrays)
    if axis is None:
        nodes = tuple(record(RESHAPE, (x,), {"shape": (x.size,)}) for x in nodes)
        axis = 0
    elif not nodes[0].shape:
        raise ShapeError("concat: numbers without axes cannot follow each other along one; use stack, or axis=None.")
    axis = one_axis(axis, nodes[0].shape, "concat")
    if len(nodes) > _AT_ONCE:
        _concat_shape(*nodes, axis=axis)
    return _in_groups(CONCAT, nodes, axis)


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Value:
    """The arrays, all of one shape, side by side along a new axis.

    axis: where it stands in the result. Raises ShapeError where the shapes differ.

    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1).data
    array([[1., 3.],
           [2., 4.]])
    """
    nodes = _each("stack", arrays)
    axis = one_axis(axis, (*nodes[0].shape, len(nodes)), "stack")
    if len(nodes) > _AT_ONCE:
        _stack_shape(*nodes, axis=axis)
    return _in_groups(STACK, nodes, axis)
