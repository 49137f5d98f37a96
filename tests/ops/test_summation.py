"""The sum and `broadcast_to` have fast paths; here they are held to what NumPy says."""

from __future__ import annotations

import numpy as np
import pytest

from backlit.core.errors import ShapeError
from backlit.ops.axes import one_axis, some_axes
from backlit.ops.summation import BROADCAST_TO, RESHAPE, SUM

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ((), ()),
        ((), (2, 3)),
        ((), (0, 3)),
        ((3,), (2, 3)),
        ((3, 1), (2, 3, 4)),
        ((1, 1), (200, 300)),  # beyond the size that is copied
        ((300,), (200, 300)),
        ((1,), (0,)),
        ((0, 1), (0, 3)),
        ((2, 3), (2, 3)),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "bool", "complex64"])
def test_broadcast_to_gives_what_numpy_gives(have, want, dtype):
    x = RNG.standard_normal(have).astype(dtype)
    result = BROADCAST_TO(x, shape=want)
    assert np.shape(result) == want
    assert np.asarray(result).dtype == dtype
    np.testing.assert_array_equal(result, np.broadcast_to(x, want))


def test_broadcast_to_takes_numbers_of_every_kind():
    for number in (2.0, np.float64(2.0), np.float32(2.0), np.asarray(2.0)):
        np.testing.assert_array_equal(BROADCAST_TO(number, shape=(2, 2)), np.full((2, 2), 2.0))


def test_broadcasting_a_view_with_gaps_reads_the_right_elements():
    x = np.arange(12.0).reshape(3, 4)[::-1, ::2]
    np.testing.assert_array_equal(BROADCAST_TO(x, shape=(5, 3, 2)), np.broadcast_to(x, (5, 3, 2)))


@pytest.mark.parametrize("want", [(3,), (2, 4), (3, 1), (2, 3, 4)])
def test_broadcast_to_refuses_what_does_not_fit(want):
    with pytest.raises(ValueError):  # noqa: PT011  the shape rule gives this its words
        BROADCAST_TO(np.zeros((2, 3)), shape=want)


@pytest.mark.parametrize("axis", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 1), (0, 3, 2)])
def test_the_transpose_of_a_sum_repeats_the_cotangent(axis, keepdims, shape):
    x = RNG.standard_normal(shape)
    ct = RNG.standard_normal(np.sum(x, axis, keepdims=keepdims).shape)
    repeated = SUM.transposes[0](ct, x, axis=axis, keepdims=keepdims)
    put_back = ct if keepdims else np.expand_dims(ct, axis)
    np.testing.assert_array_equal(repeated, np.broadcast_to(put_back, shape))


def test_reshape_keeps_row_major_order():
    x = np.arange(6.0).reshape(2, 3).T
    np.testing.assert_array_equal(RESHAPE(x, shape=(6,)), [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(RESHAPE(2.0, shape=(1, 1)), [[2.0]])


def test_axes_are_counted_from_the_front_and_sorted():
    assert some_axes((-1, 0), (2, 3, 4), "sum") == (0, 2)
    assert some_axes(np.int64(1), (2, 3), "sum") == (1,)
    assert some_axes([], (2, 3), "sum") == ()
    assert one_axis(True, (2, 3), "sum") == 1


def test_a_wrong_axis_is_named_with_the_shape():
    with pytest.raises(ShapeError, match=r"no axis 2 in an array of shape \(2, 3\)"):
        some_axes(2, (2, 3), "sum")
    with pytest.raises(ShapeError, match="it has no axes"):
        one_axis(0, (), "sum")
    with pytest.raises(ShapeError, match=r"axis 1 of shape .* is named twice"):
        some_axes((1, -1), (2, 3), "sum")
    with pytest.raises(ShapeError, match=r"whole number, and 1\.5 is a float"):
        one_axis(1.5, (2, 3), "sum")
