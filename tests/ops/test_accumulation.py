"""Running sums and products: values, the initial element, dtypes, and derivatives at zeros."""

from __future__ import annotations

import numpy as np
import pytest

from backlit.core.errors import ShapeError
from backlit.core.value import Value
from backlit.ops.accumulation import (
    CUMULATIVE_PROD,
    CUMULATIVE_SUM,
    RECURRENCE,
    SHIFT,
    cumulative_prod,
    cumulative_sum,
)
from backlit.ops.reductions import sum

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("include_initial", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (1, 3), (0, 2)])
def test_running_sums_and_products_are_those_of_numpy(axis, include_initial, shape):
    x = RNG.standard_normal(shape)
    for ours, theirs, initial in ((cumulative_sum, np.cumsum, 0.0), (cumulative_prod, np.cumprod, 1.0)):
        result = ours(x, axis=axis, include_initial=include_initial).data
        expected = theirs(x, axis)
        if include_initial:
            expected = np.insert(expected, 0, initial, axis)
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-14)


def test_whole_numbers_run_in_64_bits_unless_told_otherwise():
    x = np.full(3, 100, "int8")
    assert cumulative_sum(x).dtype == "int64"
    np.testing.assert_array_equal(cumulative_sum(x).data, [100, 200, 300])
    assert cumulative_prod(np.ones(3, "uint8"), include_initial=True).dtype == "uint64"
    assert cumulative_sum(x, dtype="float32").dtype == "float32"
    assert cumulative_sum(np.ones(2, "float32"), include_initial=True).dtype == "float32"


def test_the_axis_may_be_left_out_for_one_axis_only():
    np.testing.assert_array_equal(cumulative_sum([1.0, 2.0]).data, [1.0, 3.0])
    with pytest.raises(ShapeError, match="say along which to run: axis=0"):
        cumulative_sum(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="first give it one"):
        cumulative_prod(2.0)
    with pytest.raises(ShapeError, match="no axis 1"):
        cumulative_sum([1.0, 2.0], axis=1)


@pytest.mark.parametrize("zeros", [[], [1], [1, 3], [0, 1, 4]])
@pytest.mark.parametrize("include_initial", [False, True])
def test_the_derivative_of_a_running_product_is_right_at_zeros(zeros, include_initial):
    x = RNG.standard_normal(5)
    x[zeros] = 0.0
    weights = RNG.standard_normal(5 + include_initial)
    variable = Value(x)
    sum(cumulative_prod(variable, include_initial=include_initial) * weights).backward()
    expected = np.empty(5)
    for i in range(5):
        others = x.copy()
        others[i] = 1.0
        products = np.cumprod(others)
        expected[i] = np.sum(products[i:] * weights[include_initial:][i:])
    np.testing.assert_allclose(variable.grad, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_ops_mean_what_their_documentation_says(reverse):
    a, b = RNG.standard_normal((2, 6))
    order = slice(None, None, -1 if reverse else 1)
    y = [b[order][0]]
    for factor, term in zip(a[order][1:], b[order][1:], strict=True):
        y.append(factor * y[-1] + term)
    np.testing.assert_allclose(RECURRENCE(a, b, axis=0, reverse=reverse), np.array(y)[order], rtol=1e-14)
    before = np.concatenate(([1.0], np.cumprod(a[order])[:-1]))[order]
    np.testing.assert_allclose(CUMULATIVE_PROD(a, axis=0, reverse=reverse, exclusive=True), before)
    np.testing.assert_allclose(CUMULATIVE_SUM(a, axis=0, reverse=reverse), np.cumsum(a[order])[order])


def test_shift_lets_zeros_in():
    x = np.arange(1.0, 5.0)
    np.testing.assert_array_equal(SHIFT(x, axis=0, by=1), [0, 1, 2, 3])
    np.testing.assert_array_equal(SHIFT(x, axis=0, by=-3), [4, 0, 0, 0])
    np.testing.assert_array_equal(SHIFT(x, axis=0, by=4), np.zeros(4))


def test_the_first_factor_of_a_recurrence_is_never_used():
    assert RECURRENCE(np.array([np.inf, 2.0]), np.array([1.0, 1.0]), axis=0).tolist() == [1.0, 3.0]
