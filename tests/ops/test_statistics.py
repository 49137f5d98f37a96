"""Means, spreads and sums of exponentials: values, infinities, dtypes, conventions, scopes, errors."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy import special

from backlit.core.errors import DtypeError, ShapeError
from backlit.core.value import Value
from backlit.ops import statistics
from backlit.ops.reductions import sum

RNG = np.random.default_rng(0)
AXES = [None, 0, -1, (0, 2), ()]
INF = np.inf


def gradient(f, x):
    variable = Value(x)
    sum(f(variable)).backward()
    return variable.grad


@pytest.mark.parametrize("name", ["mean", "var", "std", "logsumexp"])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-13), ("float32", 1e-5), ("float16", 4e-3)])
def test_statistics_are_those_of_numpy_and_scipy(name, axis, keepdims, dtype, rtol):
    x = RNG.standard_normal((2, 3, 4)).astype(dtype)
    result = getattr(statistics, name)(x, axis=axis, keepdims=keepdims)
    exact = x.astype("float64")
    if name == "logsumexp":
        expected = exact if axis == () else special.logsumexp(exact, axis, keepdims=keepdims)
    else:
        expected = getattr(np, name)(exact, axis, keepdims=keepdims)
    assert result.shape == np.shape(expected)
    assert result.dtype == dtype
    np.testing.assert_allclose(result.data, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None])
def test_softmax_and_its_logarithm_are_those_of_scipy(axis):
    x = RNG.standard_normal((3, 4)) * 10
    np.testing.assert_allclose(statistics.softmax(x, axis=axis).data, special.softmax(x, axis), rtol=1e-13)
    np.testing.assert_allclose(statistics.log_softmax(x, axis=axis).data, special.log_softmax(x, axis), rtol=1e-13)
    assert statistics.softmax(np.float32(x), axis=axis).dtype == "float32"


def test_the_correction_is_taken_off_the_divisor():
    x = RNG.standard_normal((5, 3))
    np.testing.assert_allclose(statistics.var(x, axis=0, correction=1).data, np.var(x, 0, ddof=1))
    np.testing.assert_allclose(statistics.std(x, correction=2.5).data, np.std(x, ddof=2.5))
    assert np.isnan(statistics.var([1.0], correction=1).data)


def test_large_numbers_do_not_overflow():
    assert statistics.logsumexp([1e4, 1e4]).data == 1e4 + np.log(2)
    np.testing.assert_array_equal(statistics.softmax([1e308, -1e308]).data, [1.0, 0.0])
    np.testing.assert_array_equal(statistics.log_softmax([0.0, -1e5]).data, [0.0, -1e5])
    assert statistics.mean(np.full(4, 60000, "float16")).data == 60000
    assert statistics.var(np.array([-250.0, 250.0] * 4, "float16")).data == 62500


def test_infinities_mean_what_they_say():
    assert statistics.logsumexp([-INF, 1.0]).data == 1.0
    assert statistics.logsumexp([-INF, -INF]).data == -INF
    assert statistics.logsumexp([INF, 1.0]).data == INF
    assert statistics.logsumexp([INF, -INF]).data == INF
    assert np.isnan(statistics.logsumexp([np.nan, 1.0]).data)
    np.testing.assert_array_equal(statistics.softmax([-INF, 0.0]).data, [0.0, 1.0])
    np.testing.assert_array_equal(statistics.log_softmax([-INF, 0.0]).data, [-INF, 0.0])


def test_of_nothing_the_mean_is_nan_and_logsumexp_minus_infinity():
    empty = np.zeros((0, 2))
    assert np.isnan(statistics.mean(empty, axis=0).data).all()
    assert np.isnan(statistics.var(empty).data)
    np.testing.assert_array_equal(statistics.logsumexp(empty, axis=0).data, [-INF, -INF])
    assert statistics.softmax(empty, axis=0).shape == (0, 2)


def test_the_gradient_of_logsumexp_is_softmax_even_beside_minus_infinity():
    x = RNG.standard_normal((3, 4))
    np.testing.assert_allclose(
        gradient(lambda v: statistics.logsumexp(v, axis=1), x), special.softmax(x, 1), rtol=1e-13
    )
    np.testing.assert_array_equal(gradient(statistics.logsumexp, [-INF, 1.0]), [0.0, 1.0])


def test_where_logsumexp_is_minus_infinity_its_gradient_is_zero():
    np.testing.assert_array_equal(gradient(statistics.logsumexp, [-INF, -INF]), [0.0, 0.0])


def test_where_all_are_equal_the_gradient_of_std_is_zero():
    np.testing.assert_array_equal(gradient(statistics.std, [2.0, 2.0, 2.0]), [0.0, 0.0, 0.0])
    rows = gradient(lambda v: statistics.std(v, axis=1), [[1.0, 1.0], [0.0, 2.0]])
    np.testing.assert_allclose(rows, [[0.0, 0.0], [-0.5, 0.5]])


def test_the_gradient_of_a_mean_is_one_share_each():
    np.testing.assert_array_equal(gradient(statistics.mean, np.ones((2, 4), "float32")), np.full((2, 4), 0.125))


def test_a_scalar_is_its_own_mean():
    assert statistics.mean(Value(3.0)).data == 3.0
    assert statistics.logsumexp(Value(3.0)).data == 3.0
    assert statistics.std(Value(3.0)).data == 0.0


@pytest.mark.parametrize("name", ["mean", "var", "std", "logsumexp", "softmax", "log_softmax"])
def test_whole_numbers_are_refused_with_the_cure(name):
    with pytest.raises(DtypeError, match=rf"{name}: .*dtype int64.*astype\(x, backlit.float64\)"):
        getattr(statistics, name)(np.arange(3))
    with pytest.raises(DtypeError, match="bool"):
        getattr(statistics, name)(np.ones(2, "bool"))


def test_complex_numbers_have_a_mean_but_no_softmax():
    assert statistics.mean([1j, 3j]).data == 2j
    with pytest.raises(DtypeError, match="real"):
        statistics.softmax(np.array([1j]))


def test_a_wrong_axis_is_an_error_of_shape():
    with pytest.raises(ShapeError, match="softmax: there is no axis 1"):
        statistics.softmax([1.0, 2.0], axis=1)


@pytest.mark.parametrize("name", ["mean", "var", "std", "softmax"])
def test_the_nodes_of_a_composite_carry_its_name_and_the_users_line(name):
    x = Value([1.0, 2.0, 4.0])
    y = getattr(statistics, name)(x)
    assert str(y.scope) == name
    assert y.site.short_file == "test_statistics.py"


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("mean", "x, /, *, axis=None, keepdims=False"),
        ("var", "x, /, *, axis=None, correction=0.0, keepdims=False"),
        ("std", "x, /, *, axis=None, correction=0.0, keepdims=False"),
        ("logsumexp", "x, /, *, axis=None, keepdims=False"),
        ("softmax", "x, /, *, axis=-1"),
        ("log_softmax", "x, /, *, axis=-1"),
    ],
)
def test_signatures_are_those_of_the_standard(name, signature):
    found = inspect.signature(getattr(statistics, name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    assert str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty)) == f"({signature})"
