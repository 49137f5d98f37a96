"""Data types: NumPy's dtype objects under the names of the Array API standard, and what kind of number each holds."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from backlit.core.errors import DtypeError

bool = np.dtype("bool")
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")

ALL: dict[str, np.dtype[Any]] = {
    d.name: d
    for d in (
        *(bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64),
        *(float16, float32, float64, complex64, complex128),
    )
}  # fmt: skip


STORED = "?bhilqBHILQefdFD"
"""NumPy's one-letter codes of the dtypes that a value may have."""


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype object that a name, a Python type, a NumPy type or a dtype stands for.

    Raises DtypeError when it is none of those that Backlit stores.

    >>> as_dtype("float32"), as_dtype(float), as_dtype(np.int8)
    (dtype('float32'), dtype('float64'), dtype('int8'))
    """
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.name not in ALL:
        raise DtypeError(f"dtype {dtype!r} is not one that Backlit stores; choose one of {', '.join(ALL)}.")
    return found


def is_real(dtype: np.dtype[Any]) -> builtins.bool:
    """Whether numbers of this dtype can be differentiated: the real floating-point types.

    >>> is_real(float32), is_real(int64)
    (True, False)
    """
    return dtype.kind == "f"
