import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special

import backlit as bl
from backlit import Value
from backlit.core import dtypes
from backlit.core.errors import DtypeError
from backlit.core.notation import ATOM, write_latex, write_text
from backlit.ops import activations
from backlit.ops.activations import elu, erf, gelu, leaky_relu, relu, sigmoid, silu, softplus

INF, NAN = math.inf, math.nan
GRID = np.concatenate([np.linspace(-40, 40, 641), [-800.0, 800.0, 1e-300, -1e-9, 5e-324]])


def gelu_by_tanh(x: Any) -> Any:
    return gelu(x, approximate=True)


def derivative(function: Callable[[Value], Value], x: float) -> float:
    """By a scalar and by an array, which must agree."""
    scalar, array = Value(x), Value([x])
    function(scalar).backward()
    function(array).backward([1.0])
    np.testing.assert_allclose(array.grad, [scalar.grad], rtol=1e-14)
    found: float = scalar.grad
    return found


def exact(function: Callable[[Any], Any], digits: int = 30) -> Callable[[Any], Any]:
    def at(x: Any) -> Any:
        with mpmath.workdps(digits):
            return np.asarray([float(function(mpmath.mpf(float(v)))) for v in np.ravel(x)])

    return at


EXACT = {
    sigmoid: exact(lambda x: 1 / (1 + mpmath.exp(-x))),
    silu: exact(lambda x: x / (1 + mpmath.exp(-x))),
    softplus: exact(lambda x: mpmath.log(1 + mpmath.exp(x)), digits=400),  # 1 + exp(-800) is not 1
    gelu: exact(lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2),
    gelu_by_tanh: exact(
        lambda x: x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))),
        digits=400,
    ),
    elu: exact(lambda x: x if x > 0 else mpmath.expm1(x)),
    erf: exact(mpmath.erf),
}


@pytest.mark.parametrize("function", EXACT, ids=lambda f: f.__name__)
def test_numbers_agree_with_mpmath_out_into_the_tails(function: Any) -> None:
    expected = EXACT[function](GRID)
    # x / sqrt(2), or x + 0.04x³, is rounded before the exponential: the relative error grows with x²
    rtol = 1e-12 if "gelu" in function.__name__ else 2e-15
    np.testing.assert_allclose(function(Value(GRID)).data, expected, rtol=rtol, atol=1e-307)
    scalars = [function(Value(float(x))).data for x in GRID]
    np.testing.assert_allclose(scalars, expected, rtol=rtol, atol=1e-307)


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.float32], ids=str)
@pytest.mark.parametrize("function", EXACT, ids=lambda f: f.__name__)
def test_small_floats_are_right_to_the_last_place_or_two(function: Any, dtype: Any) -> None:
    x = np.linspace(-12, 12, 301).astype(dtype)
    found = function(Value(x))
    assert found.dtype == dtype
    info = np.finfo(dtype)
    np.testing.assert_allclose(
        found.data.astype(np.float64), EXACT[function](x), rtol=6 * float(info.eps), atol=float(info.tiny)
    )


@pytest.mark.parametrize(
    ("function", "at_minus_infinity", "at_infinity"),
    [
        (sigmoid, 0.0, 1.0),
        (relu, 0.0, INF),
        (leaky_relu, -INF, INF),
        (elu, -1.0, INF),
        (gelu, 0.0, INF),
        (gelu_by_tanh, 0.0, INF),
        (silu, 0.0, INF),
        (softplus, 0.0, INF),
        (erf, -1.0, 1.0),
    ],
)
def test_infinities_give_the_limit_and_nan_gives_nan(
    function: Any, at_minus_infinity: float, at_infinity: float
) -> None:
    expected = [at_minus_infinity, at_infinity, NAN]
    np.testing.assert_array_equal(function(Value([-INF, INF, NAN])).data, expected)
    np.testing.assert_array_equal([function(Value(x)).data for x in (-INF, INF, NAN)], expected)


@pytest.mark.parametrize(
    "function", [sigmoid, relu, leaky_relu, elu, gelu, silu, softplus, erf], ids=lambda f: f.__name__
)
def test_shapes_and_dtypes(function: Any) -> None:
    assert function(2.0).data == pytest.approx(function(Value([[2.0]])).data[0, 0], rel=1e-15)
    assert function(Value(np.zeros((0, 3)))).shape == (0, 3)
    assert function(Value(np.zeros((2, 1, 3), np.float32))).shape == (2, 1, 3)
    assert function(Value(np.float32(1.0))).dtype == dtypes.float32
    whole = dtypes.int64 if function is relu else dtypes.float64
    assert function(Value(np.asarray([-1, 0, 2]))).dtype == whole
    with pytest.raises(DtypeError, match="real numbers only"):
        function(Value([1j]))


# -- erf -----------------------------------------------------------------------------------------------------


def ulps(found: Any, x: Any) -> Any:
    """How far from mpmath's erf, in units in the last place."""
    exact = [mpmath.erf(mpmath.mpf(v)) for v in x.tolist()]
    return [
        float(abs(mpmath.mpf(y) - e) / mpmath.mpf(float(np.spacing(abs(float(e))))))
        for y, e in zip(found.tolist(), exact, strict=True)
    ]


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.9, 1.5), (-6.5, -1.0), (1e-320, 1e-305)])
def test_erf_is_within_two_units_in_the_last_place(low: float, high: float) -> None:
    x = np.random.default_rng(1).uniform(low, high, 1500)
    assert max(ulps(erf(Value(x)).data, x)) < 1.5


def test_erf_keeps_zeros_signs_and_saturation() -> None:
    x = np.asarray([0.0, -0.0, 5e-324, 6.0, -6.0, 1e300, 1.0, np.nextafter(1.0, 2.0)])
    y = erf(Value(x)).data
    np.testing.assert_array_equal(np.signbit(y), np.signbit(x))
    np.testing.assert_allclose(y, scipy.special.erf(x), rtol=4e-16)
    assert y[6] <= y[7]  # the two pieces meet


def test_erf_in_float32_is_rounded_once() -> None:
    x = np.linspace(-5, 5, 2001, dtype=np.float32)
    np.testing.assert_array_equal(erf(Value(x)).data, scipy.special.erf(x.astype(np.float64)).astype(np.float32))


def interpolant(function: Callable[[Any], Any], degree: int, low: Any, high: Any) -> list[float]:
    """Coefficients of the polynomial through the Chebyshev points of an interval, constant term first."""
    middle, half = (low + high) / 2, (high - low) / 2
    points = [middle + half * mpmath.cos(mpmath.pi * (2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)]
    system = mpmath.matrix([[point**j for j in range(degree + 1)] for point in points])
    return [float(c) for c in mpmath.lu_solve(system, mpmath.matrix([function(point) for point in points]))]


def test_the_coefficients_of_erf_can_be_derived_again() -> None:
    with mpmath.workdps(60):
        near = interpolant(lambda z: mpmath.erf(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1, 12, mpmath.mpf(0), mpmath.mpf(1))

        def tail(s: Any) -> Any:
            x = (4 + 3 * s) / (1 - s)
            return (x + 3) * mpmath.exp(x * x) * mpmath.erfc(x)

        far = interpolant(tail, 19, mpmath.mpf(-3) / 4, mpmath.mpf(24) / 31)
    assert tuple(near) == activations._SERIES
    assert tuple(far) == activations._TAIL


# -- derivatives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", EXACT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("x", [-30.0, -6.0, -1.3, -0.4, 0.7, 2.0, 9.0])
def test_first_and_second_derivatives_agree_with_mpmath(function: Any, x: float) -> None:
    smooth = {
        sigmoid: lambda x: 1 / (1 + mpmath.exp(-x)),
        silu: lambda x: x / (1 + mpmath.exp(-x)),
        softplus: lambda x: mpmath.log(1 + mpmath.exp(x)),
        gelu: lambda x: x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2,
        gelu_by_tanh: lambda x: (
            x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))
        ),
        elu: lambda x: x if x > 0 else mpmath.expm1(x),
        erf: mpmath.erf,
    }[function]
    with mpmath.workdps(60):
        first, second = (float(mpmath.diff(smooth, mpmath.mpf(x), order)) for order in (1, 2))
    assert derivative(function, x) == pytest.approx(first, rel=1e-13, abs=1e-15)
    found = bl.grad(bl.grad(function))(Value(x))
    assert float(found) == pytest.approx(second, rel=1e-12, abs=1e-14)


def test_second_derivatives_at_zero_are_not_cut_off() -> None:
    assert float(bl.grad(bl.grad(gelu))(Value(0.0))) == pytest.approx(2 / math.sqrt(2 * math.pi), rel=1e-14)
    assert float(bl.grad(bl.grad(gelu_by_tanh))(Value(0.0))) == pytest.approx(2 / math.sqrt(2 * math.pi), rel=1e-14)
    assert float(bl.grad(bl.grad(silu))(Value(0.0))) == pytest.approx(0.5, rel=1e-14)


def test_conventions_at_the_kink() -> None:
    assert derivative(relu, 0.0) == derivative(relu, -0.0) == 0.0
    assert derivative(leaky_relu, 0.0) == 0.01
    assert derivative(lambda x: leaky_relu(x, 0.3), -0.0) == 0.3
    assert derivative(lambda x: elu(x, 0.5), 0.0) == 0.5
    assert derivative(elu, 0.0) == 1.0


def test_nothing_flows_to_a_unit_that_is_off_not_even_nan() -> None:
    x = Value([0.0, 4.0])
    bl.sqrt(relu(x)).backward([1.0, 1.0])  # the derivative of sqrt at 0 is infinite
    np.testing.assert_array_equal(x.grad, [0.0, 0.25])


@pytest.mark.parametrize("function", [gelu, gelu_by_tanh, silu, sigmoid, softplus, elu], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_derivatives_of_large_inputs_are_finite(function: Any, dtype: Any) -> None:
    largest = np.finfo(dtype).max
    x = Value(np.asarray([-largest, -800, 800, largest], dtype))
    function(x).backward(np.ones(4, dtype))
    saturated = [0, 0, 0, 0] if function is sigmoid else [0, 0, 1, 1]
    np.testing.assert_array_equal(x.grad, np.asarray(saturated, dtype))
    assert x.grad.dtype == dtype


# -- notation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "text", "latex"),
    [
        (sigmoid(Value(1.0)), "sigmoid(x)", r"\sigma\left(x\right)"),
        (relu(Value(1.0)), "relu(x)", r"\operatorname{ReLU}\left(x\right)"),
        (
            leaky_relu(Value(1.0)),
            "leaky_relu(x, negative_slope=0.01)",
            r"\operatorname{LeakyReLU}_{0.01}\left(x\right)",
        ),
        (elu(Value(1.0), 0.5), "elu(x, alpha=0.5)", r"\operatorname{ELU}_{0.5}\left(x\right)"),
        (gelu(Value(1.0)), "gelu(x)", r"\operatorname{GELU}\left(x\right)"),
        (
            gelu(Value(1.0), approximate=True),
            "gelu(x, approximate=True)",
            r"\operatorname{GELU}\left(x\right)",
        ),
        (erf(Value(1.0)), "erf(x)", r"\operatorname{erf}\left(x\right)"),
    ],
)
def test_notation(node: Value, text: str, latex: str) -> None:
    assert node.op is not None
    assert node.op.notation is not None
    assert write_text(node.op.notation, [("x", ATOM)], node.attrs)[0] == text
    assert write_latex(node.op.notation, [("x", ATOM)], node.attrs)[0] == latex


@pytest.mark.peers
def test_values_and_gradients_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = np.asarray([-INF, -30.0, -2.0, -0.5, -0.0, 0.0, 0.5, 2.0, 30.0])
    pairs = [
        (sigmoid, torch.sigmoid),
        (relu, F.relu),
        (leaky_relu, F.leaky_relu),
        (lambda v: elu(v, 0.5), lambda v: F.elu(v, 0.5)),
        (gelu, F.gelu),
        (gelu_by_tanh, lambda v: F.gelu(v, approximate="tanh")),
        (silu, F.silu),
        (softplus, F.softplus),
        (erf, torch.erf),
    ]
    for ours, theirs in pairs:
        mine, other = Value(x[1:]), torch.tensor(x[1:], requires_grad=True)
        y = ours(mine)
        y.backward(np.ones(len(x) - 1))
        z = theirs(other)
        z.sum().backward()
        np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=1e-9, atol=1e-15)
