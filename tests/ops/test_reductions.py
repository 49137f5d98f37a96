"""Sums, products, extremes, truth, positions and counts: values, dtypes, empties, ties, errors."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from backlit.autodiff.transforms import grad, hessian
from backlit.core.errors import DtypeError, ShapeError
from backlit.core.value import Value
from backlit.ops import reductions

RNG = np.random.default_rng(0)
AXES = [None, 0, 1, -1, (0, 1), (0, -1), ()]


def gradient(f, x):
    variable = Value(x)
    f(variable).backward()
    return variable.grad


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "any", "all"])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_reduction_gives_what_numpy_gives(name, axis, keepdims):
    for x in (RNG.standard_normal((2, 3, 4)), RNG.integers(0, 2, (2, 3, 2)), RNG.random((1, 2)) > 0.5):
        result = getattr(reductions, name)(x, axis=axis, keepdims=keepdims)
        expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        assert result.shape == expected.shape
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result.data, expected, rtol=1e-14)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_positions_are_those_of_numpy(name, axis, keepdims):
    x = RNG.integers(0, 3, (4, 5)).astype("float32")
    result = getattr(reductions, name)(x, axis=axis, keepdims=keepdims)
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    assert result.dtype == "int64"
    assert result.shape == np.shape(expected)
    np.testing.assert_array_equal(result.data, expected)


def test_count_nonzero_counts_along_axes():
    x = np.array([[0.0, -0.0, 1.0], [np.nan, 2.0, 3.0]])
    assert reductions.count_nonzero(x).data == 4
    np.testing.assert_array_equal(reductions.count_nonzero(x, axis=1).data, [1, 3])
    assert reductions.count_nonzero(x, axis=1, keepdims=True).shape == (2, 1)
    assert reductions.count_nonzero([True, False]).data == 1


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        ("int8", "int64"),
        ("uint8", "uint64"),
        ("bool", "int64"),
        ("float16", "float16"),
        ("float32", "float32"),
    ],
)
def test_whole_numbers_are_added_and_multiplied_in_64_bits(dtype, wide):
    x = np.ones(200, dtype)
    assert reductions.sum(x).dtype == wide
    assert reductions.prod(x).dtype == wide
    assert reductions.sum(x).data == 200


def test_a_dtype_can_be_asked_for():
    x = np.full(3, 0.1, "float32")
    assert reductions.sum(x, dtype="float64").data == np.sum(x, dtype="float64")
    assert reductions.prod(np.ones(2, "int8"), dtype="int8").dtype == "int8"
    assert reductions.sum(np.ones(2, "int8"), dtype="int64").attrs == {"axis": (0,), "keepdims": False}
    variable = Value(x)
    reductions.sum(variable, dtype="float64").backward()
    assert variable.grad.dtype == "float32"
    with pytest.raises(DtypeError, match="imaginary"):
        reductions.sum(np.ones(2, "complex128"), dtype="float64")


def test_of_nothing_the_sum_is_zero_and_the_product_one():
    empty = np.zeros((0, 3))
    np.testing.assert_array_equal(reductions.sum(empty, axis=0).data, np.zeros(3))
    np.testing.assert_array_equal(reductions.prod(empty, axis=0).data, np.ones(3))
    assert reductions.sum(empty).data == 0.0
    assert not reductions.any(empty).data
    assert reductions.all(empty).data
    assert reductions.count_nonzero(empty).data == 0
    assert gradient(reductions.sum, empty).shape == (0, 3)
    assert gradient(reductions.prod, empty).shape == (0, 3)


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_of_nothing_there_is_no_extreme(name):
    with pytest.raises(ShapeError, match=rf"{name} of no numbers: the shape is \(0, 3\), so axis 0 is empty"):
        getattr(reductions, name)(np.zeros((0, 3)), axis=0)
    assert getattr(reductions, name)(np.zeros((0, 3)), axis=1).shape == (0,)


def test_a_scalar_reduces_to_itself():
    for function in (reductions.sum, reductions.prod, reductions.max, reductions.min):
        assert function(Value(3.0)).data == 3.0
        assert gradient(lambda x, f=function: f(x * x), 3.0) == 6.0
    assert reductions.argmax(3.0).data == 0
    assert reductions.any(3.0).data


def test_nan_and_infinities_go_through():
    x = [1.0, np.nan, np.inf]
    assert np.isnan(reductions.max(x).data)
    assert np.isnan(reductions.sum(x).data)
    assert reductions.argmax(x).data == 1
    assert reductions.min([-np.inf, 1.0]).data == -np.inf
    assert np.isnan(reductions.prod([0.0, np.inf]).data)


def test_numbers_that_tie_share_the_gradient_equally():
    np.testing.assert_array_equal(gradient(reductions.max, [1.0, 3.0, 3.0, 2.0]), [0.0, 0.5, 0.5, 0.0])
    x = [[1.0, 1.0], [1.0, 2.0]]
    np.testing.assert_array_equal(
        gradient(lambda v: reductions.sum(reductions.min(v, axis=1)), x), [[0.5, 0.5], [1.0, 0.0]]
    )
    np.testing.assert_array_equal(
        gradient(lambda v: reductions.max(v, axis=(0, 1)), np.ones((2, 3), "float32")),
        np.full((2, 3), 1 / 6, "f4"),
    )


def test_where_the_extreme_is_nan_the_gradient_goes_to_the_nan():
    np.testing.assert_array_equal(gradient(reductions.max, [1.0, np.nan, 5.0]), [0.0, 1.0, 0.0])


def test_what_is_not_the_extreme_gets_zero_even_of_an_infinite_cotangent():
    variable = Value([1.0, 2.0])
    reductions.max(variable).backward(np.inf)
    np.testing.assert_array_equal(variable.grad, [0.0, np.inf])


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", [(0,), (1,), (0, 1)])
def test_the_derivative_of_a_product_is_that_of_the_other_factors(zeros, axis):
    x = RNG.standard_normal((3, 3))
    x.flat[[4, 3, 1][:zeros]] = 0.0
    expected = np.empty_like(x)
    for i in np.ndindex(x.shape):
        others = x.copy()
        others[i] = 1.0
        expected[i] = np.prod(others, axis, keepdims=True)[tuple(0 if a in axis else i[a] for a in (0, 1))]
    found = gradient(lambda v: reductions.sum(reductions.prod(v, axis=axis)), x)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_the_second_derivative_of_a_product_is_right_at_zeros():
    np.testing.assert_allclose(hessian(reductions.prod)(Value([0.0, 0.0, 5.0])).data, [[0, 5, 0], [5, 0, 0], [0, 0, 0]])
    third = grad(lambda v: hessian(reductions.prod)(v)[0, 1])(Value([0.0, 0.0, 5.0]))
    np.testing.assert_allclose(third.data, [0, 0, 1])


def test_lists_of_axes_and_negative_ones_become_a_tuple_in_the_node():
    node = reductions.sum(Value(np.ones((2, 3, 4))), axis=[-1, 0])
    assert node.attrs == {"axis": (0, 2), "keepdims": False}
    assert hash(node.attrs["axis"]) is not None


def test_a_wrong_axis_is_an_error_of_shape():
    with pytest.raises(ShapeError, match=r"sum: there is no axis 2 in an array of shape \(2, 3\)"):
        reductions.sum(np.ones((2, 3)), axis=2)
    with pytest.raises(ShapeError, match="argmax: there is no axis 0"):
        reductions.argmax(1.0, axis=0)


def test_no_gradient_flows_through_positions_and_truth():
    x = Value([1.0, 2.0])
    assert reductions.argmax(x).grad is None
    with pytest.raises(Exception, match="argmax"):
        reductions.argmax(x).backward()


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("sum", "x, /, *, axis=None, dtype=None, keepdims=False"),
        ("prod", "x, /, *, axis=None, dtype=None, keepdims=False"),
        ("max", "x, /, *, axis=None, keepdims=False"),
        ("min", "x, /, *, axis=None, keepdims=False"),
        ("any", "x, /, *, axis=None, keepdims=False"),
        ("all", "x, /, *, axis=None, keepdims=False"),
        ("argmax", "x, /, *, axis=None, keepdims=False"),
        ("argmin", "x, /, *, axis=None, keepdims=False"),
        ("count_nonzero", "x, /, *, axis=None, keepdims=False"),
        ("cumulative_sum", "x, /, *, axis=None, dtype=None, include_initial=False"),
        ("cumulative_prod", "x, /, *, axis=None, dtype=None, include_initial=False"),
    ],
)
def test_signatures_are_those_of_the_standard(name, signature):
    found = inspect.signature(getattr(reductions, name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    assert str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty)) == f"({signature})"


def test_a_reduction_is_written_with_its_axes():
    notation = reductions.SUM.notation
    assert notation.text(["x"], {"axis": (0,), "keepdims": False}) == "sum(x, axis=0)"
    assert notation.text(["x"], {"axis": (0, 1), "keepdims": True}) == "sum(x, axis=(0, 1), keepdims=True)"
    assert notation.latex(["x"], {"axis": (0, 1), "keepdims": True}) == r"\sum_{0,1} x"
