import math
from typing import Any

import mpmath
import numpy as np
import pytest

import backlit as bl
from backlit import Value
from backlit.core import dtypes
from backlit.core.errors import DomainError
from backlit.core.notation import ATOM, SUM, write_latex, write_text
from backlit.ops import powers
from backlit.ops.powers import expm1, hypot, log, log1p, logaddexp, reciprocal, sqrt, square
from backlit.ops.powers import pow as power

INF, NAN = math.inf, math.nan
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    INF,
    -INF,
    NAN,
    5e-324,
    1e308,
    -1e308,
    800.0,
    -800.0,
]


def same(a: float, b: float) -> bool:
    if math.isnan(b):
        return math.isnan(a)
    return math.isclose(a, b, rel_tol=4e-15, abs_tol=5e-324) and math.copysign(1, a) == math.copysign(1, b)


def gradients(function: Any, *xs: float) -> tuple[float, ...]:
    """By scalars and by arrays, which must agree."""
    scalars, arrays = [Value(x) for x in xs], [Value([x]) for x in xs]
    function(*scalars).backward()
    function(*arrays).backward([1.0])
    np.testing.assert_allclose([x.grad for x in scalars], [x.grad[0] for x in arrays], rtol=1e-14)
    return tuple(x.grad for x in scalars)


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "square", "reciprocal"])
def test_one_float_gives_what_numpy_gives(name: str) -> None:
    function, reference = getattr(powers, name), getattr(np, name)
    with np.errstate(all="ignore"):
        for x in EDGES:
            expected = float(reference(x))
            assert same(function(Value(x)).data, expected), x
            assert same(float(function(Value([x])).data[0]), expected), x


@pytest.mark.parametrize("name", ["pow", "hypot", "logaddexp"])
def test_two_floats_give_what_numpy_gives(name: str) -> None:
    function = getattr(powers, name)
    reference = getattr(np, name) if name != "pow" else lambda a, b: np.float64(a) ** np.float64(b)
    with np.errstate(all="ignore"):
        for a in EDGES:
            for b in EDGES:
                expected = float(reference(a, b))
                assert same(function(Value(a), Value(b)).data, expected), (a, b)
                assert same(float(function(Value([a]), Value([b])).data[0]), expected), (a, b)


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "square", "reciprocal"])
def test_the_dtype_of_floats_is_kept_and_whole_numbers_become_floats(name: str) -> None:
    function = getattr(powers, name)
    for dtype in (dtypes.float16, dtypes.float32, dtypes.complex64):
        assert function(Value(np.asarray([0.5, 1.0], dtype))).dtype == dtype
        assert function(Value(dtype.type(1.0))).dtype == dtype
    whole = dtypes.int64 if name == "square" else dtypes.float64
    assert function(Value(np.asarray([1, 2]))).dtype == whole


def test_exp_is_exact_as_micrograd_has_it() -> None:
    assert powers.exp(Value(2.0)).data == 7.38905609893065


# -- pow -----------------------------------------------------------------------------------------------------


def test_the_power_one_half_is_not_quite_the_square_root() -> None:
    x = Value(np.asarray([-0.0, -INF, 4.0, -4.0], np.float32))
    for found in (x**0.5, x ** Value(np.asarray([0.5], np.float32))):
        assert found.dtype == dtypes.float32
        np.testing.assert_array_equal(found.data, [0.0, INF, 2.0, NAN])
        assert not np.signbit(found.data[0])


def test_powers_of_whole_numbers() -> None:
    x = Value(np.asarray([2, 3]))
    assert (x**2).dtype == dtypes.int64
    with pytest.raises(DomainError, match="negative integer powers"):
        x**-1


@pytest.mark.parametrize(
    ("base", "exponent", "by_base", "by_exponent"),
    [
        (3.0, 2.0, 6.0, 9.0 * math.log(3.0)),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 2.0, 0.0, 0.0),
        (0.0, 0.5, INF, 0.0),
        (2.0, 0.0, 0.0, math.log(2.0)),
        (-2.0, 3.0, 12.0, NAN),
        (-2.0, 2.0, -4.0, NAN),
        (1.0, 5.0, 5.0, 0.0),
    ],
)
def test_derivatives_of_powers(base: float, exponent: float, by_base: float, by_exponent: float) -> None:
    np.testing.assert_allclose(gradients(power, base, exponent), [by_base, by_exponent], rtol=1e-15)
    x = Value(base)
    (x**exponent).backward()  # a constant exponent has short cuts of its own
    assert x.grad == pytest.approx(by_base, rel=1e-15)


def test_the_mixed_derivative_of_a_power_is_right_where_the_exponent_is_zero() -> None:
    by_base = bl.grad(power, argnums=0)
    assert float(bl.grad(by_base, argnums=1)(Value(4.0), Value(0.0))) == pytest.approx(0.25, rel=1e-14)
    by_exponent = bl.grad(power, argnums=1)
    assert float(bl.grad(by_exponent, argnums=0)(Value(4.0), Value(0.0))) == pytest.approx(0.25, rel=1e-14)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_second_derivatives_of_powers_at_zero(exponent: float) -> None:
    second = bl.grad(bl.grad(lambda x: x**exponent))
    assert float(second(Value(0.0))) == (2.0 if exponent == 2.0 else 0.0)
    second = bl.grad(bl.grad(lambda x: power(x, Value(exponent))))
    assert float(second(Value(0.0))) == (2.0 if exponent == 2.0 else 0.0)


# -- logaddexp -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "by_a", "by_b"),
    [
        (1.0, 1.0, 0.5, 0.5),
        (0.0, 800.0, 0.0, 1.0),
        (800.0, 0.0, 1.0, 0.0),
        (INF, INF, 0.5, 0.5),
        (-INF, -INF, 0.5, 0.5),
        (INF, -INF, 1.0, 0.0),
        (-INF, INF, 0.0, 1.0),
        (INF, 3.0, 1.0, 0.0),
        (-INF, 3.0, 0.0, 1.0),
        (3.0, INF, 0.0, 1.0),
        (NAN, 1.0, NAN, NAN),
    ],
)
def test_derivatives_of_logaddexp_hold_at_infinities(a: float, b: float, by_a: float, by_b: float) -> None:
    np.testing.assert_array_equal(gradients(logaddexp, a, b), [by_a, by_b])


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, -1.0), (1e3, 0.0), (0.0, 1e3)])
def test_second_derivatives_of_logaddexp_at_ties_and_far_from_them(a: float, b: float) -> None:
    with mpmath.workdps(50):
        share = 1 / (1 + mpmath.exp(mpmath.mpf(b) - a))
        expected = float(share * (1 - share))
    second = bl.grad(bl.grad(logaddexp, argnums=0), argnums=0)(Value(a), Value(b))
    mixed = bl.grad(bl.grad(logaddexp, argnums=0), argnums=1)(Value(a), Value(b))
    assert float(second) == pytest.approx(expected, rel=1e-14, abs=1e-300)
    assert float(mixed) == pytest.approx(-expected, rel=1e-14, abs=1e-300)


# -- the rest at the edges -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (sqrt, 0.0, INF),
        (sqrt, -1.0, NAN),
        (log, 0.0, INF),
        (log1p, -1.0, INF),
        (reciprocal, 0.0, -INF),
        (square, 0.0, 0.0),
        (expm1, -50.0, math.exp(-50.0)),  # expm1(x) + 1 would be 0
    ],
)
def test_derivatives_at_the_edge_of_the_domain(function: Any, x: float, expected: float) -> None:
    np.testing.assert_allclose(gradients(function, x), [expected], rtol=1e-14)


def test_the_derivative_of_hypot_at_the_origin_is_zero_by_convention() -> None:
    assert gradients(hypot, 0.0, 0.0) == (0.0, 0.0)
    assert gradients(hypot, 3e200, 4e200) == pytest.approx((0.6, 0.8), rel=1e-15)


def test_the_reciprocal_of_whole_numbers_is_a_float() -> None:
    assert reciprocal(Value(np.asarray([2, 4]))).data.tolist() == [0.5, 0.25]
    assert reciprocal(Value(np.asarray([0]))).data.tolist() == [INF]


@pytest.mark.parametrize(
    ("name", "text", "latex"),
    [
        ("LOG1P", "log1p(a + b)", r"\log\left(1 + a + b\right)"),
        ("EXPM1", "expm1(a + b)", r"e^{a + b} - 1"),
        ("SIGMOID", "sigmoid(a + b)", r"\sigma\left(a + b\right)"),
        ("SQRT", "sqrt(a + b)", r"\sqrt{a + b}"),
        ("RECIPROCAL", "1 / (a + b)", r"\frac{1}{a + b}"),
        ("SQUARE", "(a + b)**2", r"{\left(a + b\right)}^{2}"),
    ],
)
def test_notation(name: str, text: str, latex: str) -> None:
    notation = getattr(powers, name).notation
    assert write_text(notation, [("a + b", SUM)], {})[0] == text
    assert write_latex(notation, [("a + b", SUM)], {})[0] == latex


def test_notation_of_hypot_puts_parentheses_round_powers() -> None:
    notation = powers.HYPOT.notation
    assert notation is not None
    squared = write_latex(powers.SQUARE.notation, [("x", ATOM)], {})  # type: ignore[arg-type]
    assert write_latex(notation, [squared, ("y", ATOM)], {})[0] == r"\sqrt{{\left({x}^{2}\right)}^{2} + {y}^{2}}"
