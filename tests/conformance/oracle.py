"""What the conformance tests share: the dtypes of the standard, numbers worth trying, and the judge.

The judge is array-api-strict, a second reading of the Python Array API standard: for the same arguments both
libraries must give the same shape, the same dtype, and the same numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import array_api_strict as strict
import numpy as np

import backlit as bl

BOOLS = ("bool",)
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = (*SIGNED, *UNSIGNED)
FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
REAL = (*INTEGERS, *FLOATS)
NUMERIC = (*REAL, *COMPLEX)
ALL = (*BOOLS, *NUMERIC)
FLOATING = (*FLOATS, *COMPLEX)
KINDS = (BOOLS, SIGNED, UNSIGNED, FLOATS, COMPLEX)


def worth_trying(name: str) -> np.ndarray[Any, Any]:
    """A vector of this dtype with its edges: zeros of both signs, the largest, infinities, NaN."""
    dtype = np.dtype(name)
    if dtype.kind == "b":
        return np.asarray([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        few = [0, 1, 2, 3, 7, 100, info.max - 1, info.max]
        return np.asarray([*few, *((-1, -2, -5, info.min + 1, info.min) if info.min else ())], dtype)
    info = np.finfo(dtype)
    inf, nan = np.inf, np.nan
    few = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, -7.25, 1e-3, float(info.tiny), float(info.max)]
    reals = np.asarray([*few, float(info.min), inf, -inf, nan], np.float64)
    if dtype.kind == "f":
        return reals.astype(dtype)
    parts = np.asarray([0.0, 1.0, -0.5, 2.5, -3.0])
    return (parts[:, None] + 1j * parts[None, :]).reshape(-1).astype(dtype)


def plain(x: Any) -> Any:
    """A NumPy array of what either library, or a list or tuple of its arrays, holds."""
    if isinstance(x, bl.Value):
        return np.asarray(x.data, dtype=x.dtype)
    if isinstance(x, (list, tuple)):
        return [plain(each) for each in x]
    if hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray):
        return np.asarray(np.from_dlpack(x))
    return np.asarray(x)


def theirs(x: Any) -> Any:
    """An argument as array-api-strict takes it: its own arrays and dtypes for NumPy's."""
    if isinstance(x, np.ndarray):
        return strict.asarray(x.copy())
    if isinstance(x, np.dtype):
        return getattr(strict, x.name)
    if isinstance(x, (list, tuple)):
        return type(x)(map(theirs, x))
    return x


def ours(x: Any) -> Any:
    """An argument as Backlit takes it."""
    if isinstance(x, np.ndarray):
        return bl.asarray(x)
    if isinstance(x, (list, tuple)):
        return type(x)(map(ours, x))
    return x


def assert_same(got: Any, want: Any, ulps: int = 0) -> None:
    """Same structure, shapes and dtypes; same numbers, signs of zeros included, up to `ulps` of rounding."""
    if isinstance(want, (list, tuple)):
        assert isinstance(got, (list, tuple))
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b, ulps)
    elif isinstance(want, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert got.dtype == want.dtype, f"dtype {got.dtype}, should be {want.dtype}"
        assert got.shape == want.shape, f"shape {got.shape}, should be {want.shape}"
        if got.tobytes() == want.tobytes():
            return
        if ulps and want.dtype.kind in "fc":
            np.testing.assert_allclose(got, want, rtol=ulps * float(np.finfo(want.dtype).eps))
            return
        np.testing.assert_array_equal(got, want)
        if want.dtype.kind == "f":
            zeros = want == 0
            np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(want[zeros]))
    else:
        assert got == want


def agree(name: str | Callable[[Any], Any], *args: Any, ulps: int = 0, **kwargs: Any) -> None:
    """Assert that Backlit's function of this name does what that of the other library does.

    NumPy arrays among the arguments become arrays of each library. name: or a function that is given the module.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        want = _call(strict, name, theirs, args, kwargs)
    got = _call(bl, name, ours, args, kwargs)
    try:
        assert_same(plain(got), plain(want), ulps)
    except AssertionError as error:
        shown = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
        raise AssertionError(f"{name}({shown}): {error}") from None


def _call(module: Any, name: Any, convert: Any, args: Any, kwargs: Any) -> Any:
    function = getattr(module, name) if isinstance(name, str) else name(module)
    return function(*map(convert, args), **{key: convert(value) for key, value in kwargs.items()})


def pairs(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """All pairs of dtypes that the standard can promote, one of each kind of number at least."""
    for a in names:
        for b in names:
            if promotable(a, b):
                yield a, b


def promotable(a: str, b: str) -> bool:
    """Whether the standard says which dtype results: within one kind, and not for uint64 with signed integers."""
    if {a, b} <= {*INTEGERS}:
        return "uint64" not in (a, b) or {a, b} <= {*UNSIGNED}
    return {a, b} <= {*FLOATING} or {a, b} <= {*BOOLS}
