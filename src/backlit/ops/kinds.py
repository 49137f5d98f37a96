"""What there is to know about dtypes and about this array library, by the names of the Array API standard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.dtypes import as_dtype
from backlit.core.errors import DomainError, DtypeError
from backlit.core.value import Value

Dtype = np.dtype[Any]

_KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """The limits of a floating-point dtype; for a complex one, those of its two parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class IntegerInfo:
    """The limits of a dtype of whole numbers."""

    bits: int
    max: int
    min: int
    dtype: Dtype


def _dtype_of(x: Any) -> Dtype:
    return x.dtype if isinstance(x, (Value, np.ndarray, np.generic)) else as_dtype(x)


def finfo(type: Any, /) -> FloatInfo:
    """The limits of a floating-point dtype, or of the dtype of an array. Raises DtypeError for others.

    >>> finfo("float32").bits, finfo("float64").eps
    (32, 2.220446049250313e-16)
    """
    dtype = _dtype_of(type)
    if dtype.kind not in "fc":
        raise DtypeError(f"finfo: {dtype.name} is not a floating-point dtype; iinfo tells about whole numbers.")
    found = np.finfo(dtype)
    return FloatInfo(
        int(found.bits),
        float(found.eps),
        float(found.max),
        float(found.min),
        float(found.smallest_normal),
        np.dtype(found.dtype),
    )


def iinfo(type: Any, /) -> IntegerInfo:
    """The limits of a dtype of whole numbers, or of the dtype of an array. Raises DtypeError for others.

    >>> iinfo("int8").max, iinfo("uint16").bits
    (127, 16)
    """
    dtype = _dtype_of(type)
    if dtype.kind not in "iu":
        raise DtypeError(f"iinfo: {dtype.name} is not a dtype of whole numbers; finfo tells about floating-point ones.")
    found = np.iinfo(dtype)
    return IntegerInfo(int(found.bits), int(found.max), int(found.min), dtype)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind.

    kind: a dtype, "bool", "signed integer", "unsigned integer", "integral", "real floating",
    "complex floating", "numeric", or a tuple of those, of which one must hold. Raises DomainError for others.

    >>> isdtype(dtypes.float32, "real floating"), isdtype(dtypes.int8, ("bool", dtypes.int16))
    (True, False)
    """
    found = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(found, each) for each in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise DomainError(f"isdtype: there is no kind {kind!r}; choose a dtype or one of {', '.join(_KINDS)}.")
        return found.kind in _KINDS[kind]
    return bool(found == as_dtype(kind))


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether a dtype, or the dtype of an array, can become another without losing anything.

    >>> can_cast("int32", "int64"), can_cast("float64", "float32")
    (True, False)
    """
    return bool(np.can_cast(_dtype_of(from_), as_dtype(to)))


def result_type(*arrays_and_dtypes: Any) -> Dtype:
    """The dtype that results from computing with these arrays and dtypes; Python's numbers give way to them.

    >>> result_type(dtypes.int8, dtypes.int16), result_type(dtypes.float32, 1.0)
    (dtype('int16'), dtype('float32'))
    """
    if not arrays_and_dtypes:
        raise DtypeError("result_type: name at least one array or dtype.")
    numbers = [x for x in arrays_and_dtypes if type(x) in (bool, int, float, complex)]
    kinds = {_dtype_of(x) for x in arrays_and_dtypes if type(x) not in (bool, int, float, complex)}
    return np.result_type(*kinds, *numbers)


class __array_namespace_info__:  # noqa: N801 - the standard's name
    """What the Array API standard lets one ask of an array library.

    >>> __array_namespace_info__().default_device()
    'cpu'
    """

    __module__ = "backlit"

    def capabilities(self) -> dict[str, Any]:
        """Which optional parts of the standard are there."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Where arrays are made."""
        return "cpu"

    def devices(self) -> list[str]:
        """Where arrays can be made."""
        return ["cpu"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Dtype]:
        """The dtypes of numbers for which none is named."""
        _check(device)
        return {
            "real floating": dtypes.float64,
            "complex floating": dtypes.complex128,
            "integral": dtypes.int64,
            "indexing": dtypes.int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Dtype]:
        """The dtypes that the standard knows, or those of a kind as in `isdtype`, by their names."""
        _check(device)
        known = {name: d for name, d in dtypes.ALL.items() if name != "float16"}  # Backlit's own
        return {name: d for name, d in known.items() if kind is None or isdtype(d, kind)}


def _check(device: Any) -> None:
    if device not in (None, "cpu"):
        raise DomainError(f'there is no device {device!r}; the only one is "cpu".')
