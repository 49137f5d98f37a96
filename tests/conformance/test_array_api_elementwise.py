"""Every elementwise function and operator of the standard: dtypes, promotion, scalars, and numbers at the edges."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import backlit as bl
from tests.conformance.oracle import (
    ALL,
    BOOLS,
    COMPLEX,
    FLOATING,
    FLOATS,
    INTEGERS,
    NUMERIC,
    REAL,
    agree,
    pairs,
    worth_trying,
)

UNARY = {
    "abs": NUMERIC, "acos": FLOATING, "acosh": FLOATING, "asin": FLOATING, "asinh": FLOATING, "atan": FLOATING,
    "atanh": FLOATING, "bitwise_invert": BOOLS + INTEGERS, "ceil": REAL, "conj": NUMERIC, "cos": FLOATING,
    "cosh": FLOATING, "exp": FLOATING, "expm1": FLOATING, "floor": REAL, "imag": COMPLEX, "isfinite": NUMERIC,
    "isinf": NUMERIC, "isnan": NUMERIC, "log": FLOATING, "log10": FLOATING, "log1p": FLOATING, "log2": FLOATING,
    "logical_not": BOOLS, "negative": NUMERIC, "positive": NUMERIC, "real": NUMERIC, "reciprocal": FLOATING,
    "round": NUMERIC, "sign": NUMERIC, "signbit": FLOATS, "sin": FLOATING, "sinh": FLOATING, "sqrt": FLOATING,
    "square": NUMERIC, "tan": FLOATING, "tanh": FLOATING, "trunc": REAL,
}  # fmt: skip
BINARY = {
    "add": NUMERIC, "atan2": FLOATS, "bitwise_and": BOOLS + INTEGERS, "bitwise_or": BOOLS + INTEGERS,
    "bitwise_xor": BOOLS + INTEGERS, "bitwise_left_shift": INTEGERS, "bitwise_right_shift": INTEGERS,
    "copysign": FLOATS, "divide": FLOATING, "equal": ALL, "floor_divide": REAL, "greater": REAL,
    "greater_equal": REAL, "hypot": FLOATS, "less": REAL, "less_equal": REAL, "logaddexp": FLOATS,
    "logical_and": BOOLS, "logical_or": BOOLS, "logical_xor": BOOLS, "maximum": REAL, "minimum": REAL,
    "multiply": NUMERIC, "nextafter": FLOATS, "not_equal": ALL, "pow": NUMERIC, "remainder": REAL, "subtract": NUMERIC,
}  # fmt: skip
OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "pow", "and_": "bitwise_and", "or_": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift", "eq": "equal", "ne": "not_equal",
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
ULPS = {"sign": 4, "reciprocal": 4}  # of complex numbers only; all others run the same code of NumPy


def second(name: str, dtype: str) -> Any:
    """Right operands for which the standard says what results: no integer divided by 0, no shift too far."""
    x = worth_trying(dtype)
    if np.dtype(dtype).kind in "iu":
        if name in ("floor_divide", "remainder"):
            return x[x != 0]
        if name == "pow" or "shift" in name:
            return x[(x >= 0) & (x < 8)]
    return x


def operands(name: str, left: str, right: str) -> tuple[Any, Any]:
    """All pairs of the numbers worth trying, but those that the standard leaves to the library."""
    a, b = np.broadcast_arrays(worth_trying(left)[:, None], second(name, right)[None, :])
    a, b = a.reshape(-1).copy(), b.reshape(-1).copy()
    keep = np.ones(a.shape, bool)
    if name == "floor_divide" and a.dtype.kind == "f":  # see test_floor_division_by_infinity
        keep = np.isfinite(a) & np.isfinite(b)
    if name in ("floor_divide", "remainder") and a.dtype.kind in "iu" and b.dtype.kind == "i":
        keep = ~((b == -1) & (a == np.iinfo(a.dtype).min))  # the quotient does not fit
    if name == "pow" and a.dtype.kind == "f":
        keep = ~(np.isin(a, (-np.inf, 0.0)) & (b == 0.5))  # NumPy takes a square root, see the special cases
    return a[keep], b[keep]


def samples(name: str) -> Iterator[tuple[Any, Any]]:
    """Operands of every pair of dtypes: vectors, empty ones, and numbers without axes."""
    for left, right in pairs(BINARY[name]):
        if name == "nextafter" and left != right:
            continue
        a, b = operands(name, left, right)
        first, last = np.asarray(a[0]), np.asarray(b[-1])
        yield from ((a, b), (a[:0], b[:0]), (first, b), (a, last), (first, last))


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array_agree_in_dtype_and_numbers(name: str) -> None:
    for dtype in UNARY[name]:
        x = worth_trying(dtype)
        ulps = ULPS.get(name, 0) if x.dtype.kind == "c" else 0
        if name == "reciprocal" and ulps:
            x = x[x != 0]
        for each in (x, x[:0], np.asarray(x[0]), np.asarray(x[-1]), x[: len(x) // 2 * 2].reshape(2, -1)):
            agree(name, each, ulps=ulps)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays_agree_in_dtype_and_numbers(name: str) -> None:
    for a, b in samples(name):
        agree(name, a, b)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_their_functions(name: str) -> None:
    operate, function = getattr(operator, name), OPERATORS[name]
    for a, b in samples(function):
        agree(lambda module: operate, a, b)


SCALARS: dict[str, tuple[Any, ...]] = {
    "b": (True, False), "i": (0, 1, 3), "u": (0, 1, 3), "f": (0, 2, 0.5, -1.5, float("inf")), "c": (1, 0.5, 2 - 1j),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_a_python_scalar_takes_the_dtype_of_the_array_beside_it(name: str) -> None:
    operate, function = getattr(operator, name), OPERATORS[name]
    for dtype in BINARY[function]:
        x = worth_trying(dtype)
        x = x[np.isfinite(x)]
        right = second(function, dtype)
        for scalar in SCALARS[x.dtype.kind]:
            kind = x.dtype.kind
            if function == "pow" and kind == "f":
                x, right = x[x > 0], right[right > 0]
            zero = function in ("floor_divide", "remainder") and kind in "iu"
            infinite = isinstance(scalar, float) and np.isinf(scalar) and function == "floor_divide"
            if not (zero and scalar == 0) and not infinite:
                agree(lambda module: operate, x, scalar)
                agree(OPERATORS[name], x, scalar)
                agree(lambda module: operate, np.asarray(x[0]), scalar)
            right = right[np.isfinite(right)]
            if not infinite:
                agree(lambda module: operate, scalar, right)
                agree(OPERATORS[name], scalar, right)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in COMPARISONS])
def test_in_place_operators_give_what_the_plain_ones_do(name: str) -> None:
    operate = getattr(operator, f"i{name.rstrip('_')}")
    plain_operate, function = getattr(operator, name), OPERATORS[name]
    for a, b in samples(function):
        if np.result_type(a, b) != a.dtype or np.broadcast_shapes(a.shape, b.shape) != a.shape:
            continue
        left = bl.asarray(a)
        kept = left
        result = operate(left, bl.asarray(b))
        want = plain_operate(bl.asarray(a), bl.asarray(b))
        assert result.dtype == a.dtype
        np.testing.assert_array_equal(result.data, want.data)
        np.testing.assert_array_equal(kept.data, a)  # who else holds the array sees no change


def test_in_place_operators_are_differentiated() -> None:
    x, w = bl.Value(3.0), bl.Value(2.0)
    y = x
    y += w
    y *= w
    y -= 1
    y /= 2
    y **= 2
    y.backward()
    assert y.data == 20.25
    assert (x.grad, w.grad) == (9.0, 31.5)


@pytest.mark.parametrize("dtype", FLOATS)
def test_floor_division_by_infinity_is_the_floor_of_the_quotient(dtype: str) -> None:
    # The standard prefers this to Python's answer; see floor_divide in the standard.
    inf = float("inf")
    cases = [
        (inf, 2.0, inf), (inf, -2.0, -inf), (-inf, 2.0, -inf), (-inf, -2.0, inf), (2.0, inf, 0.0),
        (2.0, -inf, -0.0), (-2.0, inf, -0.0), (-2.0, -inf, 0.0), (inf, inf, float("nan")), (inf, 0.0, inf),
        (-inf, 0.0, -inf), (inf, -0.0, -inf), (0.0, inf, 0.0), (-0.0, inf, -0.0), (0.0, -inf, -0.0),
    ]  # fmt: skip
    for a, b, want in cases:
        for shape in ((), (3,)):
            got = bl.full(shape, a, dtype=dtype) // bl.full(shape, b, dtype=dtype)
            np.testing.assert_array_equal(np.asarray(got.data), np.full(shape, want, dtype))
            assert bool(bl.all(bl.signbit(got) == bl.signbit(bl.asarray(want)))) or want != want


@pytest.mark.parametrize("name", ["isfinite", "isinf", "isnan"])
def test_whole_numbers_are_finite(name: str) -> None:
    for dtype in INTEGERS:
        assert bool(bl.all(getattr(bl, name)(bl.ones(3, dtype=dtype)))) is (name == "isfinite")


def test_clip_keeps_the_dtype_and_takes_limits_of_every_form() -> None:
    for dtype in REAL:
        x = worth_trying(dtype)
        agree("clip", x)
        agree("clip", x, 1, 3)
        agree("clip", x, min=2)
        agree("clip", x, max=np.asarray(3, dtype))
        agree("clip", x[:, None], np.asarray([1, 2], dtype), np.asarray([3, 7], dtype))
        agree("clip", x[:0], 1, 2)


@pytest.mark.parametrize("dtype", ALL)
def test_where_promotes_and_broadcasts(dtype: str) -> None:
    x = worth_trying(dtype)
    condition = np.arange(x.size) % 2 == 0
    for other in (name for left, name in pairs(ALL) if left == dtype):
        agree("where", condition, x, worth_trying(other)[:1])
    agree("where", condition[:, None], x, np.asarray(x[0]))
    agree("where", np.asarray(True), x, x[::-1].copy())
    agree("where", condition, x, {"b": True, "i": 1, "u": 1, "f": 0.5, "c": 1j}[x.dtype.kind])
    agree("where", condition, {"b": False, "i": 2, "u": 2, "f": 2, "c": 0.5}[x.dtype.kind], x)
