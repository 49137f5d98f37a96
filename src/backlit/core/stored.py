"""Stored numbers, and the variables that are to take them over: whether they fit, in the same words wherever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DataError
from backlit.core.value import Value


def fitting(
    who: str,
    own: Mapping[str, Value],
    state: Mapping[str, Any],
    *,
    holder: str,
    cure: str,
    partly: bool = False,
    cast: bool = False,
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a stored state that the variables `own` are to take, by name.

    partly: names may be missing or not known. cast: other real dtypes become those of the variables, whole numbers only
    from whole numbers; else dtypes must be the same. Raises DataError that says what does not fit: who was asked, what
    holds the variables, and what to do about names that differ.

    >>> fitting("load", {"w": Value(1.0)}, {"w": np.ones(2)}, holder="Line", cure="")
    Traceback (most recent call last):
    backlit.core.errors.DataError: load: w has shape () here, and (2,) in the state.
    """
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if (missing or unknown) and not partly:
        found = (("lacks", missing), ("also has", unknown))
        parts = [f"{what} {_few(names)}" for what, names in found if names]
        raise DataError(f"{who}: the state {' and '.join(parts)}, compared with this {holder}. {cure}")
    return {name: _fitted(who, name, state[name], value, cast) for name, value in own.items() if name in state}


def _fitted(who: str, name: str, numbers: Any, value: Value, cast: bool) -> npt.NDArray[Any]:
    array = np.asarray(numbers.data if isinstance(numbers, Value) else numbers)
    if array.shape != value.shape:
        raise DataError(f"{who}: {name} has shape {value.shape} here, and {array.shape} in the state.")
    castable = array.dtype.kind in ("iu" if value.dtype.kind in "iu" else "biuf")
    if not (castable if cast else array.dtype == value.dtype):
        raise DataError(f"{who}: {name} has dtype {value.dtype.name} here, and {array.dtype} in the state.")
    return array.astype(value.dtype, copy=False)


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
