import math
from typing import Any

import mpmath
import numpy as np
import pytest

from backlit import Value
from backlit.core import dtypes
from backlit.core.errors import DtypeError
from backlit.core.notation import ATOM, write_latex
from backlit.core.op import Elementwise
from backlit.ops import trigonometry
from backlit.ops.trigonometry import acosh, asin, asinh, atan, atan2, cosh, sin, sinh, tan, tanh

INF, NAN, PI = math.inf, math.nan, math.pi
UNARY = [op for op in vars(trigonometry).values() if isinstance(op, Elementwise) and op.name in trigonometry.__dict__]
UNARY = [op for op in UNARY if len(op.partials) == 1 and op.name not in ("sqrt", "hypot", "where")]


def same(a: Any, b: float, rel: float = 4e-16) -> bool:
    """Equal to the last digit or two, NaN to NaN, and zeros with their signs."""
    if math.isnan(b):
        return math.isnan(a)
    return math.isclose(a, b, rel_tol=rel) and math.copysign(1, a) == math.copysign(1, b)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        *(("sin", 0.0, 0.0), ("sin", -0.0, -0.0), ("sin", INF, NAN), ("sin", -INF, NAN), ("sin", NAN, NAN)),
        *(("cos", 0.0, 1.0), ("cos", -0.0, 1.0), ("cos", INF, NAN), ("cos", -INF, NAN), ("cos", NAN, NAN)),
        *(("tan", 0.0, 0.0), ("tan", -0.0, -0.0), ("tan", INF, NAN), ("tan", -INF, NAN), ("tan", NAN, NAN)),
        *(
            ("asin", 0.0, 0.0),
            ("asin", -0.0, -0.0),
            ("asin", 1.5, NAN),
            ("asin", -1.5, NAN),
            ("asin", 1.0, PI / 2),
        ),
        *(
            ("acos", 1.0, 0.0),
            ("acos", -1.0, PI),
            ("acos", 1.5, NAN),
            ("acos", -1.5, NAN),
            ("acos", NAN, NAN),
        ),
        *(("atan", 0.0, 0.0), ("atan", -0.0, -0.0), ("atan", INF, PI / 2), ("atan", -INF, -PI / 2)),
        *(
            ("sinh", 0.0, 0.0),
            ("sinh", -0.0, -0.0),
            ("sinh", INF, INF),
            ("sinh", -INF, -INF),
            ("sinh", 1e3, INF),
        ),
        *(
            ("cosh", 0.0, 1.0),
            ("cosh", -0.0, 1.0),
            ("cosh", INF, INF),
            ("cosh", -INF, INF),
            ("cosh", -1e3, INF),
        ),
        *(
            ("tanh", 0.0, 0.0),
            ("tanh", -0.0, -0.0),
            ("tanh", INF, 1.0),
            ("tanh", -INF, -1.0),
            ("tanh", NAN, NAN),
        ),
        *(("asinh", 0.0, 0.0), ("asinh", -0.0, -0.0), ("asinh", INF, INF), ("asinh", -INF, -INF)),
        *(("acosh", 1.0, 0.0), ("acosh", 0.5, NAN), ("acosh", INF, INF), ("acosh", -INF, NAN)),
        *(
            ("atanh", 0.0, 0.0),
            ("atanh", -0.0, -0.0),
            ("atanh", 1.0, INF),
            ("atanh", -1.0, -INF),
            ("atanh", 2.0, NAN),
        ),
    ],
)
def test_special_values_are_those_of_the_standard(name: str, x: float, expected: float) -> None:
    function = getattr(trigonometry, name)
    assert same(function(Value(x)).data, expected)
    assert same(function(Value([x])).data[0], expected)


@pytest.mark.parametrize(
    ("x1", "x2", "expected"),
    [
        *(
            (0.0, 0.0, 0.0),
            (0.0, -0.0, PI),
            (-0.0, 0.0, -0.0),
            (-0.0, -0.0, -PI),
            (NAN, 1.0, NAN),
            (1.0, NAN, NAN),
        ),
        *((2.0, 0.0, PI / 2), (2.0, -0.0, PI / 2), (-2.0, 0.0, -PI / 2), (0.0, 2.0, 0.0), (-0.0, 2.0, -0.0)),
        *((0.0, -2.0, PI), (-0.0, -2.0, -PI), (2.0, INF, 0.0), (-2.0, INF, -0.0), (2.0, -INF, PI)),
        *(
            (-2.0, -INF, -PI),
            (INF, 2.0, PI / 2),
            (-INF, 2.0, -PI / 2),
            (INF, INF, PI / 4),
            (INF, -INF, 3 * PI / 4),
        ),
    ],
)
def test_atan2_knows_its_quadrants(x1: float, x2: float, expected: float) -> None:
    assert same(atan2(Value(x1), Value(x2)).data, expected)
    assert same(atan2(Value([x1]), Value([x2])).data[0], expected)


@pytest.mark.parametrize("op", UNARY, ids=str)
def test_numbers_agree_with_mpmath_for_scalars_and_arrays(op: Elementwise) -> None:
    exact = getattr(mpmath, op.name)
    (domain,) = op.domains
    x = np.linspace(domain.low, domain.high, 41)  # type: ignore[union-attr]
    expected = [float(exact(mpmath.mpf(float(v)))) for v in x]
    function = getattr(trigonometry, op.name)
    np.testing.assert_allclose(function(Value(x)).data, expected, rtol=1e-15, atol=1e-17)
    np.testing.assert_allclose([function(Value(float(v))).data for v in x], expected, rtol=1e-15, atol=1e-17)


@pytest.mark.parametrize("op", UNARY, ids=str)
@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.float32, dtypes.complex64, dtypes.complex128], ids=str)
def test_the_dtype_is_kept(op: Elementwise, dtype: Any) -> None:
    x = np.asarray([0.5, 1.25], dtype)
    function = getattr(trigonometry, op.name)
    assert function(Value(x)).dtype == dtype
    assert function(Value(x[0])).dtype == dtype
    assert function(Value(x[:0])).shape == (0,)


def test_tanh_is_exact_as_micrograd_has_it() -> None:
    assert tanh(2.0).data == tanh(Value(2.0)).data == 0.9640275800758169


def test_whole_numbers_give_floats() -> None:
    assert sin(Value(np.asarray([0, 1]))).dtype == dtypes.float64


def test_atan2_of_complex_numbers_is_refused() -> None:
    with pytest.raises(DtypeError, match="atan2: not defined for complex128"):
        atan2(Value([1j]), Value([2j]))


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (asin, 1.0, INF),
        (asin, 1.0 - 2.0**-40, 2.0**19.5),  # 1 - x² alone would cancel
        (asinh, 1e200, 1e-200),  # x² alone would overflow
        (acosh, 1e200, 1e-200),
        (acosh, 1.0, INF),
        (atan, 1e200, 0.0),
        (tan, 0.0, 1.0),
        (sinh, 0.0, 1.0),
        (cosh, 0.0, 0.0),
        (tanh, 400.0, 0.0),
    ],
)
def test_derivatives_hold_at_the_edges(function: Any, x: float, expected: float) -> None:
    for node in (Value(x), Value([x])):
        function(node).backward(np.ones(node.shape))
        assert np.ravel(node.grad)[0] == pytest.approx(expected, rel=1e-12)


def test_the_derivative_of_atan2_at_the_origin_is_zero_by_convention() -> None:
    a, b = Value(0.0), Value(0.0)
    atan2(a, b).backward()
    assert (a.grad, b.grad) == (0.0, 0.0)


def test_the_derivative_of_atan2_neither_overflows_nor_underflows() -> None:
    for scale in (1e-200, 1e200):
        a, b = Value(3.0 * scale), Value(4.0 * scale)
        atan2(a, b).backward()
        assert a.grad * scale == pytest.approx(0.16, rel=1e-14)
        assert b.grad * scale == pytest.approx(-0.12, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("SIN", r"\sin\left(x\right)"),
        ("ASIN", r"\arcsin\left(x\right)"),
        ("TANH", r"\tanh\left(x\right)"),
        ("ASINH", r"\operatorname{arsinh}\left(x\right)"),
    ],
)
def test_latex_is_what_a_teacher_writes(name: str, latex: str) -> None:
    notation = getattr(trigonometry, name).notation
    assert write_latex(notation, [("x", ATOM)], {})[0] == latex
