"""The sum along axes and the two ops that its transpose is made of: `broadcast_to` and `reshape`.

They stand in one file because each is written in terms of the others. Their public functions are with their
families, in `reductions` and `movement`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DtypeError, ShapeError
from backlit.core.notation import ATOM, PRODUCT, Notation
from backlit.core.notation import SUM as SUM_LEVEL
from backlit.core.numbers import Shape, dtype_of, shape_of
from backlit.core.op import Linear, Sample
from backlit.ops.axes import without_axes
from backlit.ops.lowering import reshaped


def widened(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which numbers are added up or multiplied: 64 bits for whole numbers and booleans.

    >>> widened(dtypes.int8), widened(dtypes.uint16), widened(dtypes.float32)
    (dtype('int64'), dtype('uint64'), dtype('float32'))
    """
    kind = dtype.kind
    return dtype if kind in "fc" else dtypes.uint64 if kind == "u" else dtypes.int64


def asked_dtype(name: str, x: Any, dtype: Any) -> np.dtype[Any] | None:
    """The dtype asked for; None where it results anyway. Raises DtypeError where it cannot hold the numbers.

    >>> asked_dtype("sum", np.ones(3, "int8"), "int64"), asked_dtype("sum", np.ones(3), "float32")
    (None, dtype('float32'))
    """
    if dtype is None:
        return None
    found, have = dtypes.as_dtype(dtype), dtype_of(x)
    if have.kind == "c" and found.kind != "c":
        raise DtypeError(f"{name}: dtype {found.name} would drop the imaginary parts of {have.name} numbers.")
    return None if found == widened(have) else found


def axes_notation(name: str, symbol: str) -> Notation:
    r"""`sum(x, axis=0)`, and \sum_{0} x, whose subscript holds the axes."""

    def text(operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
        axis = attrs.get("axis")
        if isinstance(axis, tuple) and len(axis) == 1:
            axis = axis[0]
        shown = "" if axis is None or axis == () else f", axis={axis}"
        more = "".join(f", {key}={attrs[key]}" for key in ("keepdims", "include_initial") if attrs.get(key))
        return f"{name}({operands[0]}{shown}{more})"

    def latex(operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
        axis = attrs.get("axis")
        axes = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
        below = f"_{{{','.join(map(str, axes))}}}" if axes else ""
        return f"{symbol}{below} {operands[0]}"

    return Notation(text, latex, ATOM, (), SUM_LEVEL, (PRODUCT,))


# -- sum -----------------------------------------------------------------------------------------------------


_add_up: Any = np.add.reduce


def _sum(x: Any, axis: tuple[int, ...], keepdims: bool = False, dtype: Any = None) -> Any:
    if dtype is None and (kind := dtype_of(x).kind) != "f" and kind != "c":
        dtype = widened(dtype_of(x))
    return _add_up(x, axis[0] if len(axis) == 1 else axis, dtype, None, keepdims)


def spread(ct: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """What a reduction left, made to broadcast against `x`: with length 1 in place of the axes it took."""
    if not keepdims and axis != tuple(range(len(axis))):  # leading axes need not be put back
        return RESHAPE(ct, shape=without_axes(shape_of(x), axis, True))
    return ct


def _sum_transpose(ct: Any, x: Any, axis: tuple[int, ...], keepdims: bool = False, dtype: Any = None) -> Any:
    shape = shape_of(x)
    return BROADCAST_TO(spread(ct, x, axis, keepdims), shape=shape) if axis else ct


SUM: Linear = Linear(
    "sum",
    _sum,
    transposes=(_sum_transpose,),
    moves=True,
    shape=lambda x, axis, keepdims=False, dtype=None: without_axes(x.shape, axis, keepdims),
    dtype=lambda x, axis, keepdims=False, dtype=None: widened(x.dtype) if dtype is None else dtype,
    notation=axes_notation("sum", r"\sum"),
    samples=(
        Sample(((3, 4),), {"axis": (1,), "keepdims": False}),
        Sample(((3, 4),), {"axis": (0,), "keepdims": False}),
        Sample(((3, 4),), {"axis": (0, 1), "keepdims": True}),
        Sample(((2, 3, 4),), {"axis": (0, 2), "keepdims": False}),
        Sample(((2, 3, 4),), {"axis": (1,), "keepdims": True}),
        Sample(((1, 3),), {"axis": (0,), "keepdims": False}),
        Sample(((0, 3),), {"axis": (0,), "keepdims": False}),
        Sample(((0, 3),), {"axis": (1,), "keepdims": True}),
        Sample(((3,),), {"axis": (), "keepdims": False}),
        Sample(((),), {"axis": (), "keepdims": False}),
        Sample(((3, 4),), {"axis": (1,), "keepdims": False, "dtype": dtypes.float64}),
    ),
    lower=lambda g, result, x, axis, keepdims=False, dtype=None: g.reduce(
        "add", g.cast(x, result.dtype), axis, keepdims
    ),
    doc="Sum along axes. x: (*s) -> (*s without the axes); whole numbers are added up in 64 bits.",
)


# -- broadcast_to --------------------------------------------------------------------------------------------


def _broadcast_shape(x: Any, shape: Shape) -> Shape:
    extra = len(shape) - len(x.shape)
    if extra < 0:
        raise ShapeError(
            f"an array of shape {x.shape} cannot be broadcast to {shape}: it has {len(x.shape)} axes, "
            f"and the target {len(shape)}. Broadcasting adds axes in front and never takes any away."
        )
    for axis, (have, want) in enumerate(zip(x.shape, shape[extra:], strict=True)):
        if have not in (want, 1):
            raise ShapeError(
                f"an array of shape {x.shape} cannot be broadcast to {shape}: its axis {axis} has length "
                f"{have}, and the target {want} there. Only an axis of length 1 can be stretched."
            )
    return shape


_SMALL = 1 << 14


def _broadcast_to(x: Any, shape: Shape) -> Any:
    """As `np.broadcast_to`, but in half of its time for a scalar (a view) and for a small array (a copy)."""
    if type(x) is np.ndarray and x.ndim:
        if x.ndim > len(shape) or math.prod(shape) > _SMALL:
            return np.broadcast_to(x, shape)
        result = np.empty(shape, x.dtype)
        result[...] = x
        return result
    if 0 in shape:
        return np.broadcast_to(x, shape)
    data = np.float64(x) if type(x) is float else np.asarray(x)[()]
    return np.ndarray(shape, data.dtype, data, 0, (0,) * len(shape))


def _broadcast_transpose(ct: Any, x: Any, shape: Shape) -> Any:
    own = shape_of(x)
    extra = len(shape) - len(own)
    axis = (*range(extra), *(extra + i for i, length in enumerate(own) if length != shape[extra + i]))
    if axis:
        ct = SUM(ct, axis=axis, keepdims=False)
    return ct if shape_of(ct) == own else RESHAPE(ct, shape=own)


BROADCAST_TO: Linear = Linear(
    "broadcast_to",
    _broadcast_to,
    transposes=(_broadcast_transpose,),
    moves=True,
    shape=_broadcast_shape,
    samples=(
        Sample(((3,),), {"shape": (2, 3)}),
        Sample(((3, 1),), {"shape": (2, 3, 4)}),
        Sample(((1, 3),), {"shape": (2, 3)}),
        Sample(((1, 1),), {"shape": (2, 3)}),
        Sample(((),), {"shape": (2, 2)}),
        Sample(((),), {"shape": ()}),
        Sample(((1,),), {"shape": (0,)}),
        Sample(((2, 3),), {"shape": (2, 3)}),
    ),
    lower=lambda g, result, x, shape: g.broadcast(x, shape),
    doc="The array repeated to a shape, along axes of length 1 and new axes in front. x: (*s) -> (*shape).",
)


# -- reshape -------------------------------------------------------------------------------------------------


def _reshape_shape(x: Any, shape: Shape) -> Shape:
    have, want = math.prod(x.shape), math.prod(shape)
    if have != want:
        raise ShapeError(f"an array of shape {x.shape} has {have} elements, and shape {shape} takes {want}.")
    return shape


RESHAPE: Linear = Linear(
    "reshape",
    lambda x, shape: x.reshape(shape) if type(x) is np.ndarray else np.reshape(x, shape),
    transposes=(lambda ct, x, shape: RESHAPE(ct, shape=shape_of(x)),),
    moves=True,
    shape=_reshape_shape,
    samples=(
        Sample(((2, 6),), {"shape": (3, 4)}),
        Sample(((6,),), {"shape": (2, 1, 3)}),
        Sample(((2, 3),), {"shape": (6,)}),
        Sample(((1, 1),), {"shape": ()}),
        Sample(((),), {"shape": (1,)}),
        Sample(((0, 3),), {"shape": (3, 0, 2)}),
    ),
    lower=reshaped,
    doc="The same elements in row-major order under another shape. x: (*s) -> (*shape) of as many elements.",
)
