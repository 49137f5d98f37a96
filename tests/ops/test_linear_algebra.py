"""Products of vectors and matrices: all pairs of ranks, transposes, errors that say what would fit."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from backlit.core.errors import ShapeError
from backlit.core.value import Value
from backlit.ops import linear_algebra as la
from backlit.ops.reductions import sum

RNG = np.random.default_rng(0)
PAIRS = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 5)),
    ((2, 3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((4,), (2, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((1, 3, 4), (6, 4, 5)),
    ((3, 0), (0, 2)),
    ((0, 4), (4, 2)),
]


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "complex128"])
def test_matmul_is_that_of_numpy(left, right, dtype):
    a, b = (RNG.integers(-4, 5, shape).astype(dtype) for shape in (left, right))
    result = la.matmul(a, b)
    assert result.dtype == dtype
    assert result.shape == np.shape(a @ b)
    np.testing.assert_array_equal(result.data, a @ b)


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_the_transposes_of_matmul_are_adjoint_to_it(left, right):
    a, b = RNG.standard_normal(left), RNG.standard_normal(right)
    ct = RNG.standard_normal(np.shape(a @ b))
    x, y = Value(a), Value(b)
    la.matmul(x, y).backward(ct)
    assert x.grad.shape == left
    assert y.grad.shape == right
    da, db = RNG.standard_normal(left), RNG.standard_normal(right)
    np.testing.assert_allclose(np.sum(ct * (da @ b)), np.sum(x.grad * da), atol=1e-12)
    np.testing.assert_allclose(np.sum(ct * (a @ db)), np.sum(y.grad * db), atol=1e-12)


def test_the_gradient_of_a_stack_by_one_matrix_is_one_tall_product():
    a, w = Value(np.ones((2, 3, 4))), Value(np.ones((4, 5)))
    rule = la.MATMUL.transposes[1]
    found = rule(np.ones((2, 3, 5)), a.data.view(np.ndarray), w.data.view(np.ndarray))
    assert found.shape == (4, 5)  # no stack of gradients that would have to be added up
    np.testing.assert_array_equal(found, np.full((4, 5), 6.0))


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        (
            (3, 4),
            (5, 4),
            r"last axis on the left has length 4, and the first axis on the right 5\.\n.*\n.*\n.*\(4, 5\)",
        ),
        ((4, 3), (4, 5), r"The left one transposed fits: its \.mT has shape \(3, 4\)"),
        ((2, 3), (5, 2), "In the other order"),
        ((3,), (4,), "only axis on the right 4"),
        ((3, 4), (2, 7, 6), "second to last axis on the right 7"),
        ((), (3,), r"left operand is a single number.*\* instead of @"),
        ((3,), (), "right operand is a single number"),
        ((2, 3, 4), (5, 4, 2), "axis -1|last axis is 2 on the left, 5 on the right"),
    ],
)
def test_a_product_that_does_not_fit_says_what_would(left, right, words):
    with pytest.raises(ShapeError, match=words):
        la.matmul(np.ones(left), np.ones(right))


@pytest.mark.parametrize(
    ("left", "right", "axes"),
    [
        ((3, 4), (4, 5), 1),
        ((3, 4), (3, 4), 2),
        ((3, 4), (5,), 0),
        ((), (3,), 0),
        ((2, 3, 4), (4, 3, 5), ((1, 2), (1, 0))),
        ((2, 3, 4), (4, 3, 5), ([-1, -2], [0, 1])),
        ((2, 3), (3, 2), (1, 0)),
        ((0, 3), (3, 0), 1),
    ],
)
def test_tensordot_is_that_of_numpy(left, right, axes):
    a, b = RNG.standard_normal(left), RNG.standard_normal(right)
    result, expected = la.tensordot(a, b, axes=axes), np.tensordot(a, b, axes)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.data, expected, rtol=1e-13)
    x, y = Value(a), Value(b)
    ct = RNG.standard_normal(expected.shape)
    la.tensordot(x, y, axes=axes).backward(ct)
    np.testing.assert_allclose(np.sum(ct * expected), np.sum(x.grad * a), rtol=1e-12)
    np.testing.assert_allclose(np.sum(ct * expected), np.sum(y.grad * b), rtol=1e-12)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (1, "axis 1 of shape .* has length 4, and axis 0 of shape"),
        (3, "axes=3 asks to sum over 3 axes"),
        (((0, 1), (0,)), "pairs 2 axes of x1 with 1"),
        (((0, 0), (0, 1)), "named twice"),
        (((0,), (5,)), "no axis 5"),
        ("ij", "whole number|pair of sequences"),
        (-1, "axes=-1"),
    ],
)
def test_wrong_axes_of_tensordot_are_named(axes, words):
    with pytest.raises(ShapeError, match=words):
        la.tensordot(np.ones((3, 4)), np.ones((3, 4)), axes=axes)


@pytest.mark.parametrize(
    ("left", "right", "axis"),
    [
        ((3,), (3,), -1),
        ((2, 3), (3,), -1),
        ((3, 4), (3, 1), -2),
        ((2, 3, 4), (3, 4), -2),
        ((3, 2), (3, 2), 0),
    ],
)
def test_vecdot_is_a_sum_of_products_along_an_axis(left, right, axis):
    a, b = RNG.standard_normal(left), RNG.standard_normal(right)
    result = la.vecdot(a, b, axis=axis)
    expected = np.sum(a * b, axis)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result.data, expected, rtol=1e-13)
    x, y = Value(a), Value(b)
    sum(la.vecdot(x, y, axis=axis)).backward()
    np.testing.assert_allclose(np.sum(x.grad * a), np.sum(expected), rtol=1e-12)
    np.testing.assert_allclose(np.sum(y.grad * b), np.sum(expected), rtol=1e-12)


def test_vecdot_conjugates_the_left():
    assert la.vecdot(np.array([1j]), np.array([1j])).data == 1


def test_vecdot_says_which_lengths_differ():
    with pytest.raises(ShapeError, match=r"axis -1 is 4 on the left .* and 5 on the right"):
        la.vecdot(np.ones((3, 4)), np.ones((3, 5)))
    with pytest.raises(ShapeError, match="Count from the end"):
        la.vecdot(np.ones((3, 4)), np.ones(3), axis=0)
    with pytest.raises(ShapeError, match="no axis -2"):
        la.vecdot(np.ones((3, 4)), np.ones(3), axis=-2)
    with pytest.raises(ShapeError, match="differ in length"):  # the axis itself does not broadcast
        la.vecdot(np.ones(3), np.ones(1))


def test_outer_takes_two_vectors():
    a, b = Value([1.0, 2.0]), Value([3.0, 4.0, 5.0])
    y = la.outer(a, b)
    np.testing.assert_array_equal(y.data, np.outer([1, 2], [3, 4, 5]))
    sum(y).backward()
    np.testing.assert_array_equal(a.grad, [12, 12])
    np.testing.assert_array_equal(b.grad, [3, 3, 3])
    with pytest.raises(ShapeError, match=r"left operand has shape \(1, 2\)"):
        la.outer(np.ones((1, 2)), np.ones(2))


def test_matrix_transpose_exchanges_the_last_two_axes():
    x = Value(RNG.standard_normal((2, 3, 4)))
    np.testing.assert_array_equal(la.matrix_transpose(x).data, x.data.mT)
    with pytest.raises(ShapeError, match="no two axes"):
        la.matrix_transpose([1.0, 2.0])


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("matmul", "x1, x2, /"),
        ("tensordot", "x1, x2, /, *, axes=2"),
        ("vecdot", "x1, x2, /, *, axis=-1"),
        ("matrix_transpose", "x, /"),
        ("outer", "x1, x2, /"),
    ],
)
def test_signatures_are_those_of_the_standard(name, signature):
    found = inspect.signature(getattr(la, name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    assert str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty)) == f"({signature})"
