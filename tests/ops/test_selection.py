import math
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import Value
from backlit.core import dtypes
from backlit.core.errors import DtypeError, ShapeError
from backlit.ops.selection import clip, maximum, minimum, where

INF, NAN = math.inf, math.nan


def gradients(function: Any, *xs: float) -> tuple[float, ...]:
    """By scalars and by arrays, which must agree."""
    scalars, arrays = [Value(x) for x in xs], [Value([x]) for x in xs]
    function(*scalars).backward()
    function(*arrays).backward([1.0])
    np.testing.assert_array_equal([x.grad for x in scalars], [x.grad[0] for x in arrays])
    return tuple(x.grad for x in scalars)


# -- maximum, minimum ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [maximum, minimum], ids=lambda f: f.__name__)
def test_the_larger_and_the_smaller_of_two(function: Any) -> None:
    edges = [0.0, 1.0, -1.0, INF, -INF, NAN]
    for a in edges:
        for b in edges:
            expected = float(getattr(np, function.__name__)(a, b))
            for found in (function(Value(a), Value(b)).data, function(Value([a]), b).data[0]):
                assert found == expected or (math.isnan(found) and math.isnan(expected)), (a, b)


def test_the_gradient_goes_to_the_one_chosen_and_half_to_each_at_a_tie() -> None:
    assert gradients(maximum, 2.0, 1.0) == gradients(minimum, 1.0, 2.0) == (1.0, 0.0)
    assert gradients(maximum, 1.0, 2.0) == gradients(minimum, 2.0, 1.0) == (0.0, 1.0)
    assert gradients(maximum, 1.0, 1.0) == gradients(minimum, 1.0, 1.0) == (0.5, 0.5)
    assert gradients(maximum, 0.0, -0.0) == gradients(minimum, INF, INF) == (0.5, 0.5)


def test_at_a_nan_both_get_all_of_the_gradient() -> None:
    for function in (maximum, minimum):
        assert gradients(function, NAN, 1.0) == gradients(function, 1.0, NAN) == (1.0, 1.0)


def test_what_was_not_chosen_gets_no_nan() -> None:
    x = Value([0.0, 4.0])
    bl.sqrt(maximum(x, 1.0)).backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad, [0.0, 0.25])
    x = Value([0.0, 4.0])
    maximum(bl.sqrt(x), 1.0).backward([1.0, 1.0])  # the derivative of sqrt at 0 is infinite, times nothing
    np.testing.assert_array_equal(x.grad, [0.0, 0.25])


def test_gradients_keep_the_dtype() -> None:
    x = Value(np.asarray([1, 2, 3], np.float32))
    ((y,),) = [bl.vjp(lambda v: maximum(v, 2.0), x)[1](np.ones(3, np.float32))]
    assert np.asarray(y.data).dtype == np.float32
    assert y.data.tolist() == [0.0, 0.5, 1.0]


# -- where ---------------------------------------------------------------------------------------------------


def test_where_takes_numbers_arrays_and_values() -> None:
    assert where(True, 1.0, 2.0).data == 1.0
    assert where(Value([True, False]), np.asarray([1, 2]), 0).data.tolist() == [1, 0]
    assert where(Value([[True], [False]]), Value([1.0, 2.0]), Value(0.0)).shape == (2, 2)
    assert where(Value([True]), Value(np.asarray([1], np.float32)), 2.0).dtype == dtypes.float32
    assert where(Value(np.zeros((0,), bool)), Value(1.0), Value(2.0)).shape == (0,)
    with pytest.raises(ShapeError, match="do not broadcast"):
        where(Value([True, False]), Value([1.0, 2.0, 3.0]), 0.0)


def test_no_gradient_flows_to_a_branch_that_was_not_chosen() -> None:
    x = Value([0.0, 4.0])
    where(x > 0, bl.sqrt(x), 0.0).backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad, [0.0, 0.25])


# -- clip ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1.0, 1.0), (None, 1.0), (-1.0, None), (None, None), (-INF, INF), (NAN, 1.0), (0.0, NAN)],
)
def test_clip_of_floats(low: float | None, high: float | None) -> None:
    x = np.asarray([-3.0, -1.0, 0.5, 1.0, 7.0, INF, -INF, NAN])
    expected = np.clip(x, -INF if low is None else low, INF if high is None else high)
    np.testing.assert_array_equal(clip(Value(x), low, high).data, expected)
    np.testing.assert_array_equal([clip(Value(float(v)), min=low, max=high).data for v in x], expected)


def test_limits_broadcast_and_the_dtype_stays() -> None:
    x = Value(np.asarray([[1, 5, 9]], np.float32))
    found = clip(x, np.asarray([[2.0], [6.0]]), Value(8.0))
    assert found.dtype == dtypes.float32
    assert found.data.tolist() == [[2, 5, 8], [6, 6, 8]]
    assert clip(Value(np.zeros((0, 3))), 0, 1).shape == (0, 3)
    assert clip(np.asarray([-5.0, 0.25]), -1, 1).data.tolist() == [-1.0, 0.25]
    assert clip(5, 1, 3).data == 3


def test_clip_of_whole_numbers() -> None:
    x = Value(np.asarray([-100, 3, 100], np.int8))
    assert clip(x, -5, 5).data.tolist() == [-5, 3, 5]
    assert clip(x, max=5).data.tolist() == [-100, 3, 5]
    assert clip(x, np.asarray([0, 5, 0])).dtype == dtypes.int8
    assert clip(Value(np.asarray([2**63 + 5], np.uint64)), 1).data.tolist() == [2**63 + 5]


def test_limits_that_the_dtype_cannot_hold_are_refused() -> None:
    with pytest.raises(DtypeError, match=r"clip: min is float64 and .*int64, which cannot hold such a limit"):
        clip(Value(np.asarray([1, 2])), 0.5)
    with pytest.raises(DtypeError, match="the number 300 does not fit int8"):
        clip(Value(np.asarray([1, 2], np.int8)), 300)


@pytest.mark.parametrize("x", [np.asarray([True]), np.asarray([1j])])
def test_numbers_without_an_order_cannot_be_clipped(x: Any) -> None:
    with pytest.raises(DtypeError, match=f"is {x.dtype}, and only real numbers"):
        clip(Value(x), 0, 1)


@pytest.mark.parametrize(
    ("x", "low", "high", "expected"),
    [
        (0.5, 0.0, 1.0, (1.0, 0.0, 0.0)),
        (0.0, 0.0, 1.0, (1.0, 0.0, 0.0)),
        (1.0, 0.0, 1.0, (1.0, 0.0, 0.0)),
        (-2.0, 0.0, 1.0, (0.0, 1.0, 0.0)),
        (2.0, 0.0, 1.0, (0.0, 0.0, 1.0)),
        (0.5, 1.0, 0.0, (0.0, 0.0, 1.0)),
        (-2.0, 1.0, 0.0, (0.0, 0.0, 1.0)),
        (3.0, 1.0, 1.0, (0.0, 0.0, 1.0)),
        (1.0, 1.0, 1.0, (1.0, 0.0, 0.0)),
    ],
)
def test_the_gradient_of_clip_goes_to_x_up_to_the_limits_and_beyond_to_them(
    x: float, low: float, high: float, expected: tuple[float, ...]
) -> None:
    assert gradients(clip, x, low, high) == expected


def test_an_open_side_passes_infinities_on() -> None:
    assert gradients(lambda x: clip(x, min=0.0), INF) == (1.0,)
    assert gradients(lambda x: clip(x), -INF) == (1.0,)


@pytest.mark.peers
def test_gradients_at_the_kinks_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    a, b = np.asarray([1.0, 2.0, 2.0, NAN, 1.0]), np.asarray([2.0, 1.0, 2.0, 1.0, NAN])
    for ours, theirs in ((maximum, torch.maximum), (minimum, torch.minimum)):
        mine, other = (
            (Value(a), Value(b)),
            (torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)),
        )
        ours(*mine).backward(np.ones(5))
        theirs(*other).sum().backward()
        for x, y in zip(mine, other, strict=True):
            np.testing.assert_array_equal(x.grad, y.grad.numpy())
    x, y = Value([-1.0, 0.0, 0.5, 1.0, 2.0]), torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    clip(x, 0.0, 1.0).backward(np.ones(5))
    torch.clamp(y, 0.0, 1.0).sum().backward()
    np.testing.assert_array_equal(x.grad, y.grad.numpy())
