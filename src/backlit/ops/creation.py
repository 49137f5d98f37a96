"""Making arrays, converting them to another dtype, and what there is to know about dtypes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backlit.core import dtypes
from backlit.core.dtypes import as_dtype
from backlit.core.errors import DomainError, DtypeError, IndexingError, ShapeError
from backlit.core.notation import Notation
from backlit.core.numbers import as_data, shape_of, stored
from backlit.core.op import Constant, Integers, Sample
from backlit.core.record import constant_here, operands
from backlit.core.value import Value, describe
from backlit.ops.casting import ASTYPE
from backlit.ops.functions import apply, composite
from backlit.ops.indexing import as_value
from backlit.ops.joining import stack
from backlit.ops.lowering import BOOL, INT64
from backlit.ops.movement import as_shape
from backlit.ops.summation import BROADCAST_TO, RESHAPE

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

Dtype = np.dtype[Any]

# -- another dtype -------------------------------------------------------------------------------------------


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Value:
    """The same numbers in another dtype.

    A gradient flows from one floating-point dtype to another; through whole numbers and booleans none does.
    copy=False gives `x` itself if it has the dtype already. Raises DtypeError from complex to real numbers.

    >>> astype([1.5, 2.5], "int64").data
    array([1, 2])
    """
    _on_cpu(device, "astype")
    x = as_value(x)
    to = as_dtype(dtype)
    return x if not copy and x.dtype == to else apply(ASTYPE, x, dtype=to)


# -- from what the user has ----------------------------------------------------------------------------------


def _made(data: Any) -> Value:
    """A constant with a site, from data of our own. What is to be differentiated is a `Value`."""
    return constant_here(stored(data))


def _on_cpu(device: Any, name: str) -> None:
    if device is not None and device != "cpu":
        raise DomainError(f'{name}: there is no device {device!r}; the only one is "cpu".')


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Value:
    """A value for a number, a nested list, or an array of any library that NumPy understands.

    A value is given back as it is (with copy=True as a new node); a list that holds values is stacked, and
    gradients flow to them. Python's whole numbers become int64 and its floats float64. copy=False raises
    DomainError where the numbers would have to be copied.

    >>> asarray([1, 2]).dtype, asarray(1.0).dtype, asarray([Value(1.0), 2.0]).data
    (dtype('int64'), dtype('float64'), array([1., 2.]))
    """
    _on_cpu(device, "asarray")
    to = None if dtype is None else as_dtype(dtype)
    if isinstance(obj, Value):
        if (to is None or obj.dtype == to) and not copy:
            return obj
        if copy is False:
            raise DomainError(f"asarray: {obj.dtype.name} cannot become {to} without a copy; leave out copy=False.")
        return apply(ASTYPE, obj, dtype=to or obj.dtype)
    if holds_values(obj):
        found = stacked(obj)
        return found if to is None or found.dtype == to else apply(ASTYPE, found, dtype=to)
    if copy is False:
        if not isinstance(obj, np.ndarray) or (to is not None and obj.dtype != to) or obj.flags.writeable:
            raise DomainError(
                "asarray: only a read-only NumPy array of the same dtype can be used without a copy, because "
                "nobody may write into the numbers of a graph. Leave out copy=False."
            )
        return _made(obj)
    if type(obj) is int and to is None:
        to = dtypes.int64
    return _made(as_data(obj, to))


def holds_values(obj: Any) -> bool:
    """Whether a nested list or tuple, or an array of objects, holds a `Value`."""
    if isinstance(obj, (list, tuple)):
        return any(map(holds_values, obj))
    if isinstance(obj, np.ndarray):
        return obj.dtype == object and any(isinstance(each, Value) for each in obj.flat)
    return isinstance(obj, Value)


def stacked(obj: Any) -> Value:
    """The array for a nested list that holds values. Raises ShapeError where its rows differ in shape.

    Plain numbers take on the dtype of the values among them.
    """
    kinds = {value.dtype for value in _values_in(obj)}
    found: Value = _stacked(obj, np.result_type(*kinds))
    return found


def _values_in(obj: Any) -> Iterator[Value]:
    if isinstance(obj, Value):
        yield obj
    elif isinstance(obj, (list, tuple)):
        for each in obj:
            yield from _values_in(each)
    elif isinstance(obj, np.ndarray) and obj.dtype == object:
        yield from (each for each in obj.flat if isinstance(each, Value))


def _stacked(obj: Any, kind: Dtype) -> Any:
    if isinstance(obj, np.ndarray) and obj.dtype == object:
        obj = obj.tolist()
    if isinstance(obj, Value):
        return obj
    if not isinstance(obj, (list, tuple)):
        return obj if isinstance(obj, (np.ndarray, np.generic)) else np.result_type(kind, obj).type(obj)
    if not obj:
        return np.empty((0,), kind)
    rows = [_stacked(each, kind) for each in obj]
    shapes = {shape_of(row) for row in rows}
    if len(shapes) > 1:
        where = next(i for i, row in enumerate(rows) if shape_of(row) != shape_of(rows[0]))
        raise ShapeError(
            f"asarray: the entries of a list must all have one shape to make an array: entry 0 has shape "
            f"{shape_of(rows[0])}, entry {where} has shape {shape_of(rows[where])}."
        )
    if any(isinstance(row, Value) for row in rows):
        return stack(rows)
    return np.stack(rows)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Value:
    """A value for an array of any library that speaks DLPack.

    The numbers are copied, since nobody may write into those of a graph. Raises DomainError for copy=False.

    >>> from_dlpack(np.asarray([1.0, 2.0])).data
    array([1., 2.])
    """
    _on_cpu(device, "from_dlpack")
    if isinstance(x, Value):
        return asarray(x, copy=copy)
    if copy is False:
        raise DomainError("from_dlpack: a graph needs numbers into which nobody writes; leave out copy=False.")
    return _made(as_data(np.from_dlpack(x)))


# -- from nothing --------------------------------------------------------------------------------------------


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Value:
    """Numbers from `start` up to, but without, `stop`; from 0 if only one end is given.

    int64 if all three are whole numbers, else float64, unless `dtype` says otherwise.

    >>> arange(3).data, arange(1, 2, 0.25).data
    (array([0, 1, 2]), array([1.  , 1.25, 1.5 , 1.75]))
    """
    _on_cpu(device, "arange")
    if stop is None:
        start, stop = 0, start
    start, stop, step = (_number(x, "arange") for x in (start, stop, step))
    if step == 0:
        raise DomainError(f"arange: from {start} to {stop} with step 0 has no end.")
    kind: Any = None if dtype is None else as_dtype(dtype)
    return _made(np.arange(start, stop, step, dtype=kind))


def _number(x: Any, name: str) -> Any:
    """A plain number. Raises DtypeError for a value through which a gradient would be lost."""
    if not isinstance(x, Value):
        return x
    if x.dtype.kind == "f" and x.op is not None:
        raise DtypeError(
            f"{name}: the result would not remember {describe(x)}. Write {name}(x.data) to do without its "
            "gradient, or compute them as start + step * arange(n)."
        )
    return x.data


def _shape_like(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, Value) else np.shape(x)


def _dtype_like(x: Any, dtype: Any) -> Dtype:
    return as_dtype(dtype) if dtype is not None else x.dtype if isinstance(x, Value) else np.asarray(x).dtype


def _filled(shape: tuple[int, ...], number: Any, dtype: Any, device: Any, name: str) -> Value:
    _on_cpu(device, name)
    if any(length < 0 for length in shape):
        raise ShapeError(f"{name}: no array has shape {shape}, with a length below 0.")
    kind = dtypes.float64 if dtype is None else as_dtype(dtype)
    return _made(np.full(shape, as_data(number, kind), kind))


def zeros(shape: int | Sequence[int], *, dtype: Any = None, device: Any = None) -> Value:
    """Zeros, of dtype float64 unless another is named.

    >>> zeros((2, 2)).data
    array([[0., 0.],
           [0., 0.]])
    """
    return _filled(as_shape(shape, "zeros"), 0, dtype, device, "zeros")


def ones(shape: int | Sequence[int], *, dtype: Any = None, device: Any = None) -> Value:
    """Ones, of dtype float64 unless another is named.

    >>> ones(3, dtype="int8").data
    array([1, 1, 1], dtype=int8)
    """
    return _filled(as_shape(shape, "ones"), 1, dtype, device, "ones")


def empty(shape: int | Sequence[int], *, dtype: Any = None, device: Any = None) -> Value:
    """An array whose numbers are still to be written, for instance by `x[i] = v`; it holds zeros until then.

    >>> empty((2, 3)).shape
    (2, 3)
    """
    return _filled(as_shape(shape, "empty"), 0, dtype, device, "empty")


def full(shape: int | Sequence[int], fill_value: Any, *, dtype: Any = None, device: Any = None) -> Value:
    """An array filled with one number, in its dtype. If that is a value, gradients flow to it.

    >>> full((2,), 7).data
    array([7, 7])
    """
    lengths = as_shape(shape, "full")
    if isinstance(fill_value, Value):
        _on_cpu(device, "full")
        number = fill_value if dtype is None else astype(fill_value, dtype, copy=False)
        return apply(BROADCAST_TO, number, shape=lengths)
    return _filled(lengths, fill_value, np.asarray(fill_value).dtype if dtype is None else dtype, device, "full")


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Value:
    """Zeros in the shape and dtype of `x`.

    >>> zeros_like([1.0, 2.0]).data
    array([0., 0.])
    """
    return _filled(_shape_like(x), 0, _dtype_like(x, dtype), device, "zeros_like")


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Value:
    """Ones in the shape and dtype of `x`.

    >>> ones_like([1.0, 2.0]).data
    array([1., 1.])
    """
    return _filled(_shape_like(x), 1, _dtype_like(x, dtype), device, "ones_like")


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Value:
    """An array in the shape and dtype of `x`, still to be written; it holds zeros until then.

    >>> empty_like([1.0, 2.0]).shape
    (2,)
    """
    return _filled(_shape_like(x), 0, _dtype_like(x, dtype), device, "empty_like")


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Value:
    """An array in the shape and dtype of `x`, filled with one number. To a value, gradients flow.

    >>> full_like([1.0, 2.0], 7).data
    array([7., 7.])
    """
    return full(_shape_like(x), fill_value, dtype=_dtype_like(x, dtype), device=device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Value:
    """A matrix with ones on diagonal `k` (0: the main one, 1: above it) and zeros elsewhere.

    >>> eye(2).data
    array([[1., 0.],
           [0., 1.]])
    """
    _on_cpu(device, "eye")
    shape = as_shape((n_rows, n_rows if n_cols is None else n_cols), "eye")
    if min(shape) < 0:
        raise ShapeError(f"eye: no matrix has shape {shape}, with a length below 0.")
    return _made(np.eye(shape[0], shape[1], k, dtypes.float64 if dtype is None else as_dtype(dtype)))


@composite("linspace")
def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Value:
    """`num` numbers at equal distances from `start` to `stop`, which is the last one unless endpoint=False.

    If an end is a value, gradients flow to it; arrays of ends give the numbers along a new axis in front.

    >>> linspace(0.0, 1.0, 5).data
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    _on_cpu(device, "linspace")
    if num < 0:
        raise DomainError(f"linspace: {num} numbers cannot be had; num is 0 or more.")
    to = None if dtype is None else as_dtype(dtype)
    if not isinstance(start, Value) and not isinstance(stop, Value):
        return _made(np.linspace(start, stop, num, endpoint=endpoint, dtype=to))
    a, b = operands((start, stop))
    rank = max(a.ndim, b.ndim)
    kind = np.result_type(a.dtype, b.dtype, 0.0)
    steps = num - 1 if endpoint else num
    share = (np.arange(num) / max(steps, 1)).astype(kind.char.lower() if kind.kind == "c" else kind)
    share = share.reshape((num,) + (1,) * rank)
    found = a * (1.0 - share) + b * share  # both ends are met exactly
    return found if to is None else astype(found, to, copy=False)


@composite("meshgrid")
def meshgrid(*arrays: Any, indexing: Literal["xy", "ij"] = "xy") -> list[Value]:
    """The coordinates of all points of the grid that vectors of coordinates span: one array for each vector.

    indexing: with "ij" axis i of the results belongs to vector i; with "xy" the first two are exchanged, as
    in a picture. Raises ShapeError for more than one axis.

    >>> [x.shape for x in meshgrid([1.0, 2.0], [3.0, 4.0, 5.0])]
    [(3, 2), (3, 2)]
    """
    if indexing not in ("xy", "ij"):
        raise DomainError(f'meshgrid: indexing is "xy" or "ij", not {indexing!r}.')
    nodes = [as_value(x) for x in arrays]
    for i, x in enumerate(nodes):
        if x.ndim > 1:
            raise ShapeError(f"meshgrid: coordinates are vectors, and argument {i} has shape {x.shape}.")
    order = list(range(len(nodes)))
    if indexing == "xy" and len(nodes) > 1:
        order[:2] = [1, 0]
    shape = [1] * len(nodes)
    for i, x in enumerate(nodes):
        shape[order[i]] = x.size
    out = []
    for i, x in enumerate(nodes):
        own = tuple(x.size if axis == order[i] else 1 for axis in range(len(nodes)))
        out.append(apply(BROADCAST_TO, apply(RESHAPE, x, shape=own), shape=tuple(shape)))
    return out


def _one_hot(labels: Any, classes: int, dtype: Dtype) -> Any:
    labels = np.asarray(labels)
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        at = f" at {where[0] if len(where) == 1 else where}" if where else ""
        raise IndexingError(f"the label {int(labels[where])}{at} is none of the {classes} classes 0 to {classes - 1}.")
    return (labels[..., None] == np.arange(classes)).astype(dtype)


def _lower_one_hot(g: Graph[N], result: Abstract, labels: N, classes: int, dtype: Dtype) -> N:
    place = g.iota(result.shape, len(result.shape) - 1)
    own = g.reshape(g.cast(labels, INT64), (*labels.shape, 1))
    return g.cast(g.map("equal", own, place, dtype=BOOL), result.dtype)


ONE_HOT = Constant(
    "one_hot",
    _one_hot,
    shape=lambda labels, classes, dtype: (*labels.shape, classes),
    dtype=lambda labels, classes, dtype: dtype,
    notation=Notation(
        lambda x, attrs: f"one_hot({x[0]}, {attrs['classes']})",
        lambda x, attrs: rf"\operatorname{{one\,hot}}\left({x[0]}\right)",
    ),
    domains=(Integers(0, 3),),
    samples=(
        Sample(((5,),), {"classes": 4, "dtype": dtypes.float64}),
        Sample(((2, 3),), {"classes": 5, "dtype": dtypes.float32}),
        Sample(((),), {"classes": 4, "dtype": dtypes.int64}),
        Sample(((0,),), {"classes": 4, "dtype": dtypes.float64}),
    ),
    lower=_lower_one_hot,
    doc="A vector for each label, with 1 at the label and 0 elsewhere. labels: (*s) -> (*s, classes).",
)


def one_hot(labels: Any, /, num_classes: int, *, dtype: Any = None) -> Value:
    """A vector for each label with 1 at the label and 0 elsewhere; float64 unless another dtype is named.

    labels: (*s) of whole numbers -> (*s, num_classes). Raises IndexingError for a label that is no class.

    >>> one_hot([2, 0], 3).data
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    x = as_value(labels)
    if x.dtype.kind not in "iu" and x.size:
        raise DtypeError(f"one_hot: labels are whole numbers, not {x.dtype.name}; convert them with astype(x, int64).")
    return apply(ONE_HOT, x, classes=int(num_classes), dtype=dtypes.float64 if dtype is None else as_dtype(dtype))
