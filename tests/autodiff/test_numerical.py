"""Nudging: the steps it takes, how good its numbers are, and that its error bars are honest."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.autodiff.numerical import numerical_grad, numerical_jvp
from backlit.autodiff.slopes import length_of, rounding_of, shift

# (function, argument, its true derivative)
CASES: list[tuple[str, Any, Any, float]] = [
    ("a cube", lambda x: x * x * x, 2.0, 12.0),
    ("a sine", bl.sin, 1.0, float(np.cos(1.0))),
    ("a sine in float32", bl.sin, np.float32(1.0), float(np.cos(np.float32(1.0)))),
    ("a sine in float16", bl.sin, np.float16(1.0), float(np.cos(1.0))),
    ("a sine at 0", bl.sin, 0.0, 1.0),
    ("a cosine at 0", bl.cos, 0.0, 0.0),
    ("a cosine near 0, whose own size is too short a step", bl.cos, 1e-8, -1e-8),
    ("a logarithm of a tiny number", bl.log, 1e-300, 1e300),
    ("a square of a tiny number, which underflows", lambda x: x * x, 1e-300, 2e-300),
    ("a quotient of a huge number", lambda x: x / 1e10, 1e300, 1e-10),
    ("a sine of a huge number", lambda x: bl.sin(x * 1e-300), 1e300, float(np.cos(1.0)) * 1e-300),
    ("a product with a subnormal number", lambda x: x * 1e308, 5e-324, 1e308),
    ("an exponential of a subnormal number", bl.exp, 1e-310, 1.0),
    ("a large exponential", bl.exp, 50.0, float(np.exp(50.0))),
    ("something steep at 0", lambda x: x / (x + 1e-10), 0.0, 1e10),
    ("something with a kink a billionth away", lambda x: bl.relu(x - 1), 1 + 1e-9, 1.0),
    ("a wave of which the longest step is a whole period", lambda x: bl.sin(16 * np.pi * x), 0.0, 16 * np.pi),
    ("a fast wave", lambda x: bl.sin(1e6 * x), 1.0, 1e6 * float(np.cos(1e6))),
    ("a constant", lambda x: 0 * x + 3, 1.0, 0.0),
    ("a straight line", lambda x: 3 * x, 1.7, 3.0),
    ("a difference of large numbers", lambda x: (1e8 + x) - 1e8, 1.7, 1.0),
    (
        "float32 within float64",
        lambda x: bl.astype(bl.sin(bl.astype(x, bl.float32)), bl.float64),
        1.0,
        float(np.cos(1.0)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("f", "x", "true"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_error_bar_holds_the_true_derivative_of(f: Any, x: Any, true: float) -> None:
    found, error = numerical_grad(f, return_error=True)(x)
    assert abs(float(found.data) - true) <= 3 * float(error.data) + 1e-15 * abs(true)
    assert np.isfinite(error.data)


@pytest.mark.parametrize(("x", "relative"), [(1.0, 1e-12), (np.float32(1.0), 1e-5), (np.float16(1.0), 0.03)])
def test_extrapolation_is_nearly_as_good_as_the_dtype(x: Any, relative: float) -> None:
    found, error = numerical_grad(lambda x: bl.exp(x) * bl.sin(x), return_error=True)(x)
    true = np.exp(1.0) * (np.sin(1.0) + np.cos(1.0))
    assert abs(float(found.data) - true) <= relative * true
    assert float(error.data) <= 10 * relative * true


@pytest.mark.parametrize(("method", "relative"), [("forward", 1e-7), ("central", 1e-9)])
@pytest.mark.parametrize("x", [1.0, 1e-8, 1e-100, 1e100, -40.0])
def test_the_simple_methods_fit_their_step_to_the_size_of_the_number(method: str, relative: float, x: float) -> None:
    found, error = numerical_grad(lambda x: x * x / 3, method=method, return_error=True)(x)
    assert found.data == pytest.approx(2 * x / 3, rel=relative)
    assert abs(found.data - 2 * x / 3) <= 3 * error.data


def test_a_step_of_ones_own_is_taken() -> None:
    found = numerical_grad(lambda x: x * x, method="forward", step=0.25)(1.0)
    assert found.data == 2.25


def test_every_step_is_one_that_the_number_can_take() -> None:
    seen: list[float] = []

    def f(x: Any) -> Any:
        seen.append(x.data)
        return bl.sin(x)

    x = 1.9999999999999998
    numerical_grad(f, method="central")(x)
    for up, down in zip(seen[2::2], seen[3::2], strict=True):
        assert Fraction(up) - Fraction(x) == Fraction(x) - Fraction(down)


@given(
    st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300),
    st.floats(1e-12, 0.9),
    st.sampled_from([np.float64, np.float32, np.float16]),
)
def test_a_shift_is_exact_and_the_same_both_ways(x: float, part: float, kind: Any) -> None:
    with np.errstate(over="ignore", under="ignore"):
        x = kind(x)
    if not np.isfinite(x) or abs(x) < np.finfo(kind).smallest_normal * 1e4 or abs(x) > np.finfo(kind).max / 4:
        return
    up, forward = shift(x, part * abs(float(x)))
    down, backward = shift(x, -part * abs(float(x)))
    assert Fraction(float(up)) - Fraction(float(x)) == Fraction(forward)
    assert forward == -backward
    assert Fraction(float(x)) - Fraction(float(down)) == Fraction(forward)


def test_elements_of_all_sizes_stand_in_one_array() -> None:
    x = np.array([1.0, 0.0, 1e-20, 5.0, -1e12])
    found, error = numerical_grad(lambda x: (x * x).sum(), return_error=True)(x)
    assert np.all(np.abs(found.data - 2 * x) <= 3 * error.data + 1e-15 * abs(x))
    assert found.data[-1] == pytest.approx(-2e12, rel=1e-9)


def test_the_gradient_has_the_structure_and_dtype_of_the_argument() -> None:
    @dataclass
    class Point:
        x: Any
        y: Any

    point = Point(np.float32(2.0), [np.ones((2, 2)), 3.0])
    found, error = numerical_grad(lambda p, k: (p.x * p.y[0]).sum() * p.y[1] * k, return_error=True)(point, 2.0)
    assert isinstance(found, Point)
    assert found.x.dtype == bl.float32
    assert found.y[0].shape == (2, 2)
    assert found.y[1].data == pytest.approx(16.0)
    assert error.x.dtype == bl.float64
    several = numerical_grad(lambda a, b: a * b, argnums=(1, 0))(2.0, 5.0)
    assert [g.data for g in several] == pytest.approx([2.0, 5.0])


def test_a_function_that_takes_derivatives_itself_can_be_nudged() -> None:
    found = numerical_grad(lambda x: bl.grad(lambda z: z * z * z)(x))(2.0)
    assert found.data == pytest.approx(12.0)


def test_the_values_given_stay_as_they_are() -> None:
    x = bl.Value([1.0, 2.0])
    numerical_grad(lambda x: (x * x).sum())(x)
    assert x.grad is None
    assert x.data.tolist() == [1.0, 2.0]


def test_where_the_function_ends_there_is_no_number_but_an_infinite_error() -> None:
    found, error = numerical_grad(bl.sqrt, return_error=True)(0.0)
    assert np.isnan(found.data)
    assert error.data == np.inf


def test_an_empty_array_has_an_empty_gradient() -> None:
    assert numerical_grad(lambda x: x.sum())(np.ones((0, 3))).shape == (0, 3)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="method='simple' is not known; choose one of forward"):
        numerical_grad(bl.sin, method="simple")
    with pytest.raises(ValueError, match=r"step=-1\.0 must be a finite number above 0"):
        numerical_grad(bl.sin, step=-1.0)
    with pytest.raises(bl.DtypeError, match="argument 0 has dtype int64"):
        numerical_grad(lambda x: x.sum())(np.arange(3))
    with pytest.raises(bl.ShapeError, match="numerical_grad needs a scalar"):
        numerical_grad(lambda x: 2 * x)(np.ones(3))
    with pytest.raises(bl.GraphError, match="argnums=1 names argument 1, but the function was called with 1"):
        numerical_grad(bl.sin, argnums=1)(1.0)
    with pytest.raises(bl.GraphError, match="must return one value"):
        numerical_grad(lambda x: "text")(1.0)


def test_a_directional_derivative_costs_the_same_for_any_number_of_elements() -> None:
    calls = [0]

    def f(x: Any, y: Any) -> Any:
        calls[0] += 1
        return {"product": x @ y, "sum": x.sum()}

    rng = np.random.default_rng(0)
    x, y, u, v = (rng.normal(size=(20, 20)) for _ in range(4))
    tangent, error = numerical_jvp(f, (x, y), (u, v))
    assert np.abs(tangent["product"].data - (u @ y + x @ v)).max() <= 3 * error["product"].data.max() + 1e-12
    assert tangent["sum"].data == pytest.approx(u.sum())
    assert calls[0] < 60


def test_rounding_is_told_from_what_varies_smoothly() -> None:
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1e-6, 9)
    smooth = (np.exp(3 * t) - 1)[:, None]
    noise = 1e-9 * rng.standard_normal((9, 50))
    assert np.all(rounding_of(smooth) < 1e-14)
    found = rounding_of(smooth + noise)
    assert 0.5e-9 < np.median(found) < 2e-9


def test_the_length_of_a_vector_does_not_overflow() -> None:
    assert length_of(np.array([3e300, 4e300])) == pytest.approx(5e300)
    assert length_of(np.zeros(3)) == 0


@settings(max_examples=40, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(-12, 12))
def test_the_scale_of_the_argument_does_not_matter(a: float, b: float, power: int) -> None:
    scale = 10.0**power

    def f(x: Any) -> Any:
        return bl.sin(a * x / scale) + bl.tanh(b * x / scale)

    x = 0.7 * scale
    true = (a * np.cos(a * 0.7) + b / np.cosh(b * 0.7) ** 2) / scale
    found, error = numerical_grad(f, return_error=True)(x)
    assert abs(found.data - true) <= 3 * error.data + 1e-15 / scale
    assert error.data <= 1e-8 / scale
