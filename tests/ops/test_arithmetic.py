import math
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import Value
from backlit.core import dtypes
from backlit.core.errors import DomainError, DtypeError
from backlit.ops import arithmetic
from backlit.ops.arithmetic import (
    abs_,
    add,
    ceil,
    copysign,
    divide,
    floor,
    floor_divide,
    multiply,
    negative,
    nextafter,
    positive,
    remainder,
    round_,
    sign,
    subtract,
    trunc,
)

INF, NAN = math.inf, math.nan
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 7.0, -7.0, INF, -INF, NAN, 5e-324, 1e308]
ROUNDING = [floor, ceil, trunc, round_]


def same(a: float, b: float) -> bool:
    return math.isnan(a) if math.isnan(b) else a == b and math.copysign(1, a) == math.copysign(1, b)


def gradients(function: Any, *xs: float) -> tuple[float, ...]:
    """By scalars and by arrays, which must agree."""
    scalars, arrays = [Value(x) for x in xs], [Value([x]) for x in xs]
    function(*scalars).backward()
    function(*arrays).backward([1.0])
    np.testing.assert_array_equal([x.grad for x in scalars], [x.grad[0] for x in arrays])
    return tuple(x.grad for x in scalars)


@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "divide", "remainder", "floor_divide", "copysign", "nextafter"]
)
def test_two_floats_give_what_ieee_arithmetic_gives(name: str) -> None:
    function, reference = getattr(arithmetic, name), getattr(np, name)
    with np.errstate(all="ignore"):
        for a in EDGES:
            for b in EDGES:
                expected = float(reference(a, b))
                if name == "floor_divide" and (math.isinf(a) or math.isinf(b)):
                    expected = float(np.floor(np.divide(a, b)))  # the standard prefers it to Python's answer
                assert same(function(Value(a), Value(b)).data, expected), (a, b)
                assert same(float(function(Value([a]), Value([b])).data[0]), expected), (a, b)


@pytest.mark.parametrize(
    ("x1", "x2", "expected"),
    [
        *((5.0, 3.0, 2.0), (-5.0, 3.0, 1.0), (5.0, -3.0, -1.0), (0.0, -3.0, -0.0), (-0.0, 3.0, 0.0)),
        *((5.0, INF, 5.0), (-5.0, INF, INF), (5.0, -INF, -INF), (-5.0, -INF, -5.0), (5.0, 0.0, NAN)),
        *((INF, 3.0, NAN), (0.0, 0.0, NAN), (NAN, 1.0, NAN)),
    ],
)
def test_the_remainder_has_the_sign_of_the_divisor(x1: float, x2: float, expected: float) -> None:
    assert same(remainder(Value(x1), x2).data, expected)
    assert same((Value([x1]) % x2).data[0], expected)


@pytest.mark.parametrize("function", [remainder, floor_divide])
def test_whole_numbers_divided_by_zero_are_an_error(function: Any) -> None:
    with pytest.raises(DomainError, match="integer division by zero"):
        function(Value(np.asarray([4, 5])), Value(np.asarray([2, 0])))
    assert function(Value(np.asarray([-7, 7], np.int8)), 2).dtype == dtypes.int8
    assert function(Value(np.zeros((0,), np.int8)), Value(np.zeros((0,), np.int8))).shape == (0,)


def test_the_sign_of_nan_is_nan_and_that_of_a_zero_zero() -> None:
    for x, expected in ((NAN, NAN), (0.0, 0.0), (-0.0, 0.0), (-3.0, -1.0), (INF, 1.0)):
        assert same(sign(Value(x)).data, expected)
        assert same(sign(Value([x])).data[0], expected)
    np.testing.assert_allclose(sign(Value([3 + 4j, 0j])).data, [0.6 + 0.8j, 0])


def test_absolute_values() -> None:
    assert same(abs_(Value(-0.0)).data, 0.0)
    assert same(abs_(Value([-INF])).data[0], INF)
    assert abs_(Value(np.asarray([-3, 2], np.int8))).dtype == dtypes.int8
    assert abs_(Value(np.asarray([3 + 4j], np.complex64))).dtype == dtypes.float32
    assert abs_(Value([complex(NAN, INF)])).data[0] == INF
    assert abs_(Value(np.asarray([True]))).data.tolist() == [True]


@pytest.mark.parametrize("function", ROUNDING, ids=lambda f: f.__name__)
def test_rounding(function: Any) -> None:
    x = np.asarray([*EDGES, 1.5, 0.49999999999999994, -1.5, 3.5, 4503599627370497.5])
    expected = getattr(np, function.__name__)(x)
    found = function(Value(x)).data
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    assert all(same(function(Value(float(v))).data, float(e)) for v, e in zip(x, expected, strict=True))


@pytest.mark.parametrize("function", ROUNDING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64"])
def test_rounding_leaves_whole_numbers_and_their_dtype_alone(function: Any, dtype: str) -> None:
    x = np.asarray([0, 1, 100]).astype(dtype)
    found = function(Value(x))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.data, x)


def test_round_goes_to_even_and_takes_complex_numbers_part_by_part() -> None:
    assert round_(Value([0.5, 1.5, 2.5, -0.5])).data.tolist() == [0.0, 2.0, 2.0, 0.0]
    assert round_(Value([1.5 + 2.5j])).data.tolist() == [2 + 2j]
    with pytest.raises(DtypeError, match="floor: not defined for complex128"):
        floor(Value([1j]))


@pytest.mark.parametrize("function", [subtract, negative, positive])
def test_booleans_have_no_sign(function: Any) -> None:
    x = Value(np.asarray([True, False]))
    with pytest.raises(DtypeError):
        function(x, x) if function is subtract else function(x)


def test_division_of_whole_numbers_gives_floats() -> None:
    assert divide(Value(np.asarray([1, 2])), Value(np.asarray([2, 0]))).data.tolist() == [0.5, INF]
    assert add(Value(np.asarray([1], np.int8)), Value(np.asarray([1], np.int32))).dtype == dtypes.int32
    assert multiply(Value(np.asarray([1], np.float32)), 2).dtype == dtypes.float32


# -- derivatives at the edges --------------------------------------------------------------------------------


def test_conventions_at_kinks_and_jumps() -> None:
    assert gradients(abs_, 0.0) == gradients(abs_, -0.0) == (0.0,)
    assert gradients(sign, 0.0) == (0.0,)
    for function in ROUNDING:
        assert gradients(function, 2.0) == gradients(function, 2.5) == (0.0,)
    assert gradients(remainder, 6.0, 3.0) == (1.0, -2.0)
    assert gradients(remainder, -5.0, 3.0) == (1.0, 2.0)
    assert gradients(floor_divide, 6.0, 3.0) == (0.0, 0.0)
    assert gradients(copysign, 2.0, -1.0) == (-1.0, 0.0)
    assert gradients(copysign, -2.0, -0.0) == (1.0, 0.0)
    assert gradients(copysign, 0.0, -1.0) == (0.0, 0.0)
    assert gradients(nextafter, 1.0, 2.0) == (1.0, 0.0)


def test_the_derivative_of_a_quotient_at_zero_is_infinite_or_nan() -> None:
    assert gradients(divide, 1.0, 0.0) == (INF, -INF)
    assert gradients(divide, 1.0, INF) == (0.0, 0.0)
    by_dividend, by_divisor = gradients(divide, 0.0, 0.0)
    assert by_dividend == INF
    assert math.isnan(by_divisor)


def test_the_derivative_of_abs_at_nan_is_nan() -> None:
    assert math.isnan(gradients(abs_, NAN)[0])


def test_second_derivative_of_copysign_is_zero() -> None:
    assert float(bl.grad(bl.grad(lambda x: copysign(x, -1.0) * x))(Value(3.0))) == -2.0


def test_gradients_of_arrays_over_a_number_that_is_zero_are_those_of_ieee_754() -> None:
    for chosen in (None, np.array([True, False, True])):  # with a mask and without
        a, b = bl.Parameter([1.0, 0.0, -2.0]), bl.Parameter(0.0)
        y = a if chosen is None else bl.where(chosen, a, a * 2.0)
        (y / b).sum().backward()
        assert np.isinf(a.grad).all()
        assert np.isnan(b.grad)
    assert bl.grad(lambda x: bl.var(x, axis=1).sum())(np.zeros((3, 0, 2))).shape == (3, 0, 2)
