"""What was not chosen gets nothing, not 0 · infinity; what is a kink has a stated convention."""

import numpy as np
import pytest

import backlit as bl

SAFE = {
    "square root": (lambda x: bl.where(x > 0, bl.sqrt(x), 0.0), [0.0, 1.0, 4.0], [0.0, 0.5, 0.25]),
    "logarithm": (lambda x: bl.where(x > 0, bl.log(x), 0.0), [0.0, 1.0, 4.0], [0.0, 1.0, 0.25]),
    "quotient": (lambda x: bl.where(x != 0, 1.0 / x, 0.0), [0.0, 1.0, 2.0], [0.0, -1.0, -0.25]),
    "overflow": (lambda x: bl.where(x < 1, bl.exp(1000 * x), 0.0), [0.0, 1.0, 2.0], [1000.0, 0.0, 0.0]),
    "through a reshape": (
        lambda x: bl.where(x > 0, bl.sqrt(x).reshape((3, 1)).reshape((3,)), 0.0), [0.0, 1.0, 4.0], [0.0, 0.5, 0.25],
    ),
    "through an index": (
        lambda x: bl.where(x[::-1] > 0, bl.sqrt(x)[::-1], 0.0), [0.0, 1.0, 4.0], [0.0, 0.5, 0.25],
    ),
    "relu": (lambda x: bl.relu(bl.log(x)), [0.0, 1.0, 4.0], [0.0, 0.0, 0.25]),
    "maximum": (lambda x: bl.maximum(bl.log(x), 0.1), [0.0, 1.0, 4.0], [0.0, 0.0, 0.25]),
}  # fmt: skip


@pytest.mark.parametrize("name", SAFE)
def test_a_branch_that_was_not_chosen_contributes_nothing(name):
    f, at, expected = SAFE[name]
    x = bl.Value(at)
    f(x).sum().backward()
    np.testing.assert_allclose(x.grad, expected)
    np.testing.assert_allclose(bl.grad(lambda x: f(x).sum())(np.array(at)).data, expected)
    tangent = bl.jvp(lambda x: f(x).sum(), (np.array(at),), (np.ones(3),))[1]
    np.testing.assert_allclose(tangent.data, np.sum(expected))
    for scalar, slope in zip(at, expected, strict=True):
        if "through" not in name:
            y = bl.Value(scalar)
            f(y).backward()
            assert y.grad == pytest.approx(slope)


def test_the_second_derivative_of_a_masked_branch_is_clean_too():
    f = bl.grad(bl.grad(lambda x: bl.where(x > 0, x**1.5, 0.0)))
    assert f(0.0).data == 0.0
    assert f(4.0).data == pytest.approx(0.375)


def test_a_true_zero_times_infinity_is_still_told():
    x = bl.Value(0.0)
    y = bl.sqrt(x)
    (y * y).backward()
    assert np.isnan(x.grad)


@pytest.mark.parametrize(
    ("f", "at", "slope"),
    [
        (bl.relu, 0.0, 0.0),
        (bl.abs, 0.0, 0.0),
        (lambda x: bl.maximum(x, 2.0), 2.0, 0.5),
        (lambda x: bl.minimum(x, x), 1.0, 1.0),
        (bl.floor, 1.0, 0.0),
        (bl.sign, 0.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: bl.hypot(x, 0.0), 0.0, 0.0),
    ],
)
def test_conventions_at_kinks(f, at, slope):
    x = bl.Value(at)
    f(x).backward()
    assert x.grad == slope
    assert bl.grad(f)(at).data == slope
    assert bl.jvp(f, (at,), (1.0,))[1].data == slope


def test_ties_in_max_share_the_gradient():
    x = bl.Value([1.0, 3.0, 3.0])
    x.max().backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.5]
