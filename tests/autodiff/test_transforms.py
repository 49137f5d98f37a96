"""Derivatives of functions: nesting, trees, structure and errors."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backlit as bl
from backlit.core.errors import BacklitError, DtypeError, GraphError, ShapeError


def test_derivatives_nest_to_any_order():
    f = bl.sin
    expected = [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]
    for derivative in expected:
        f = bl.grad(f)
        assert f(0.7).data == pytest.approx(float(derivative(0.7)), rel=1e-12)


def test_forward_over_reverse_and_reverse_over_forward_agree():
    def f(x):
        return bl.exp(x[0]) * bl.tanh(x[1] * x[0])

    x, v = np.array([0.3, -0.8]), np.array([1.0, 2.0])
    forward_over_reverse = bl.hvp(f, x, v).data
    reverse_over_forward = bl.grad(lambda p: bl.jvp(f, (p,), (v,))[1])(x).data
    np.testing.assert_allclose(forward_over_reverse, reverse_over_forward, rtol=1e-12)
    np.testing.assert_allclose(bl.hessian(f)(x).data @ v, forward_over_reverse, rtol=1e-12)


def test_perturbations_of_nested_derivatives_are_not_confused():
    # d/dx [x · d/dy (x + y)] at x = 1 is 1, and not 2. (Siskind and Pearlmutter 2005)
    found = bl.grad(lambda x: x * bl.grad(lambda y: x + y)(1.0))(1.0)
    assert found.data == 1.0
    found = bl.jvp(lambda x: x * bl.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))[1]
    assert found.data == 1.0


def test_a_closed_over_value_is_reached_by_the_outer_derivative():
    assert bl.grad(lambda x: bl.grad(lambda y: x * x * y * y)(3.0))(2.0).data == 2 * 2.0 * 2 * 3.0


@dataclass
class Layer:
    weight: object
    bias: object


def test_gradients_have_the_structure_of_the_argument():
    def f(model, x):
        return (model["layers"][0].weight * x + model["layers"][0].bias).sum() * model["scale"][0]

    model = {"layers": [Layer(np.array([1.0, 2.0]), 0.5)], "scale": (3.0,)}
    gradient = bl.grad(f)(model, np.array([10.0, 20.0]))
    assert gradient["layers"][0].weight.data.tolist() == [30.0, 60.0]
    assert gradient["layers"][0].bias.data == 6.0
    assert gradient["scale"][0].data == 51.0


def test_several_arguments_and_auxiliary_results():
    def f(a, b):
        return a * b, {"sum": a + b}

    (value, aux), (da, db) = bl.value_and_grad(f, argnums=(0, 1), has_aux=True)(2.0, 5.0)
    assert (value.data, aux["sum"].data, da.data, db.data) == (10.0, 7.0, 5.0, 2.0)
    gradient, aux = bl.grad(f, argnums=-1, has_aux=True)(2.0, 5.0)
    assert (gradient.data, aux["sum"].data) == (2.0, 7.0)


@pytest.mark.parametrize("mode", ["forward", "reverse", None])
def test_jacobians_by_either_mode(mode):
    def f(x):
        return {"p": x * x, "s": x.sum()}

    found = bl.jacobian(f, mode=mode)(np.array([1.0, 2.0, 3.0]))
    assert found["p"].data.tolist() == np.diag([2.0, 4.0, 6.0]).tolist()
    assert found["s"].data.tolist() == [1.0, 1.0, 1.0]


def test_a_jacobian_of_matrices_has_the_shape_of_output_then_input():
    w = np.arange(6.0).reshape(2, 3)
    x = np.ones((3, 2))
    for mode in ("forward", "reverse"):
        found = bl.jacobian(lambda x: bl.asarray(w) @ x, mode=mode)(x)
        assert found.shape == (2, 2, 3, 2)
        np.testing.assert_allclose(found.data, np.einsum("ik,jl->ijkl", w, np.eye(2)))


def test_linearize_runs_the_function_once():
    calls = []

    def f(x):
        calls.append(1)
        return x * x

    _, push = bl.linearize(f, 3.0)
    assert [push(t).data for t in (1.0, 2.0, -1.0)] == [6.0, 12.0, -6.0]
    assert len(calls) == 1


def test_what_does_not_depend_has_a_zero_gradient_of_its_shape():
    gradient = bl.grad(lambda a, b: (a * a).sum(), argnums=1)(np.ones(2), np.ones((2, 3), np.float32))
    assert gradient.shape == (2, 3)
    assert gradient.dtype == bl.float32
    assert not gradient.data.any()


@given(st.lists(st.sampled_from(["+", "*", "-", "tanh", "sin"]), min_size=1, max_size=12), st.floats(-1, 1))
def test_reverse_forward_and_backward_agree_on_random_programs(program, start):
    def f(x):
        y = x
        for step in program:
            y = (
                y + x if step == "+" else y * x if step == "*" else x - y if step == "-"
                else bl.tanh(y) if step == "tanh" else bl.sin(y)
            )  # fmt: skip
        return y

    reverse = bl.grad(f)(start).data
    forward = bl.jvp(f, (start,), (1.0,))[1].data
    x = bl.Value(start)
    f(x).backward()
    assert reverse == pytest.approx(forward, rel=1e-10, abs=1e-12)
    assert x.grad == pytest.approx(reverse, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: bl.grad(lambda x: x * 2)(np.ones(3)), ShapeError, "scalar"),
        (lambda: bl.grad(lambda x: x, argnums=2)(1.0), GraphError, "argnums=2"),
        (lambda: bl.grad(lambda x: "text")(1.0), GraphError, "returned str"),
        (lambda: bl.grad(lambda x: x)(np.array([1j])), DtypeError, "complex"),
        (lambda: bl.grad(lambda x: x)({"a": "b"}), DtypeError, r"\['a'\]"),
        (lambda: bl.jvp(lambda x: x, (np.ones(2),), (np.ones(3),)), ShapeError, "tangent"),
        (lambda: bl.vjp(lambda x: x, 1.0)[1](np.ones(2)), ShapeError, "cotangent"),
        (lambda: bl.jacobian(lambda x: x, mode="sideways"), GraphError, "sideways"),
        (lambda: bl.grad(lambda x: (x, 1, 2), has_aux=True)(1.0), GraphError, "has_aux"),
    ],
)
def test_wrong_use_is_named(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert isinstance(caught.value, BacklitError)
