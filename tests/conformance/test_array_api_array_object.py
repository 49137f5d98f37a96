"""The array object of the standard: attributes, indexing and assignment, masks, conversions, hand-over."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.array_api import make_strategies_namespace

import backlit as bl
from backlit.core.value import is_active
from tests.conformance.oracle import ALL, COMPLEX, FLOATS, INTEGERS, NUMERIC, REAL, agree, plain, worth_trying

xps = make_strategies_namespace(bl, api_version="2024.12")
moderate = settings(max_examples=60, deadline=None)
SHAPES = xps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def arrays(dtypes: Any = None, shape: Any = SHAPES) -> Any:
    return xps.arrays(dtypes or xps.scalar_dtypes(), shape)


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b, equal_nan=np.asarray(b).dtype.kind in "fc"))


# -- what it is ----------------------------------------------------------------------------------------------


@moderate
@given(arrays())
def test_attributes_say_what_the_array_is(x: Any) -> None:
    assert isinstance(x, bl.Value)
    assert type(x.shape) is tuple
    assert x.ndim == len(x.shape)
    assert x.size == math.prod(x.shape)
    assert x.dtype == getattr(bl, x.dtype.name)
    assert x.device == "cpu"
    assert x.to_device("cpu") is x
    assert x.to_device(x.device, stream=None) is x
    assert x.__array_namespace__() is bl
    assert x.__array_namespace__(api_version="2024.12") is bl
    assert isinstance(repr(x), str)


def test_a_version_or_device_that_is_not_there_is_an_error() -> None:
    x = bl.ones(2)
    with pytest.raises(ValueError, match=r"2024\.12"):
        x.__array_namespace__(api_version="2199.01")
    with pytest.raises(ValueError, match="CPU"):
        x.to_device("gpu")
    with pytest.raises(ValueError, match="cpu"):
        bl.zeros(2, device="gpu")


def test_transposes() -> None:
    x = bl.reshape(bl.arange(6), (2, 3))
    assert same(x.T.data, [[0, 3], [1, 4], [2, 5]])
    stacked = bl.reshape(bl.arange(12), (2, 2, 3))
    assert stacked.mT.shape == (2, 3, 2)
    assert same(stacked.mT[1].data, stacked[1].T.data)
    with pytest.raises(ValueError, match="axes"):
        bl.ones(3).mT


def test_dtypes_compare_and_serve_as_keys() -> None:
    x = bl.ones(2, dtype=bl.float32)
    assert x.dtype == bl.float32
    assert x.dtype != bl.float64
    assert {bl.float32: "single"}[x.dtype] == "single"
    assert x.dtype in (bl.float32, bl.float64)
    assert len({bl.int8, bl.int8, bl.uint8}) == 2


# -- indexing ------------------------------------------------------------------------------------------------


@moderate
@given(arrays(), st.data())
def test_basic_indexing_takes_what_numpy_takes(x: Any, data: Any) -> None:
    index = data.draw(xps.indices(x.shape, allow_newaxis=True))
    want = plain(x)[index]
    got = x[index]
    assert isinstance(got, bl.Value)
    assert got.dtype == x.dtype
    assert got.shape == want.shape
    assert same(plain(got), want)


@moderate
@given(arrays(), st.data())
def test_masks_take_what_numpy_takes(x: Any, data: Any) -> None:
    axes = data.draw(st.integers(0, x.ndim))
    mask = data.draw(xps.arrays(bl.bool, x.shape[:axes]))
    want = plain(x)[plain(mask)]
    for key in (mask, plain(mask)):
        got = x[key]
        assert got.dtype == x.dtype
        assert got.shape == want.shape
        assert same(plain(got), want)


@moderate
@given(st.data())
def test_arrays_of_positions_take_what_numpy_takes(data: Any) -> None:
    x = data.draw(xps.arrays(xps.numeric_dtypes(), xps.array_shapes(min_dims=1, max_dims=3, min_side=1)))
    shape = data.draw(xps.array_shapes(min_dims=0, max_dims=2, min_side=0))
    key = tuple(
        data.draw(
            st.integers(-side, side - 1)
            | xps.arrays(bl.int64, shape, elements={"min_value": -side, "max_value": side - 1})
        )
        for side in x.shape[: data.draw(st.integers(1, x.ndim))]
    )
    assume(any(isinstance(entry, bl.Value) for entry in key))
    want = plain(x)[tuple(plain(entry) if isinstance(entry, bl.Value) else entry for entry in key)]
    got = x[key]
    assert got.dtype == x.dtype
    assert same(plain(got), want)
    assert got.shape == np.shape(want)


@pytest.mark.parametrize("index", [5, -4, (0, 0), (slice(None), 1), [7]])
def test_an_index_outside_is_an_index_error(index: Any) -> None:
    with pytest.raises(IndexError):
        bl.ones(3)[index]


def test_a_mask_that_does_not_fit_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="mask"):
        bl.ones(3)[bl.asarray([True, False])]


# -- assignment ----------------------------------------------------------------------------------------------


@moderate
@given(arrays(), st.data())
def test_assignment_writes_what_numpy_writes(x: Any, data: Any) -> None:
    index = data.draw(xps.indices(x.shape))
    region = plain(x)[index].shape
    new = data.draw(
        xps.from_dtype(x.dtype)
        | xps.arrays(x.dtype, ())
        | xps.arrays(x.dtype, st.just(region))
        | xps.arrays(x.dtype, (1,))
        if region
        else xps.from_dtype(x.dtype) | xps.arrays(x.dtype, ())
    )
    want = plain(x).copy()
    want[index] = plain(new) if isinstance(new, bl.Value) else new
    held = bl.asarray(x, copy=True)
    again = held
    held[index] = new
    assert again is held
    assert held.dtype == x.dtype
    assert held.shape == x.shape
    assert same(plain(held), want)


@moderate
@given(arrays(), st.data())
def test_assignment_by_a_mask_writes_what_numpy_writes(x: Any, data: Any) -> None:
    mask = data.draw(xps.arrays(bl.bool, x.shape))
    new = data.draw(xps.from_dtype(x.dtype) | xps.arrays(x.dtype, ()))
    want = plain(x).copy()
    want[plain(mask)] = plain(new) if isinstance(new, bl.Value) else new
    held = bl.asarray(x, copy=True)
    held[mask] = new
    assert held.dtype == x.dtype
    assert same(plain(held), want)
    if x.shape:
        vector = bl.asarray(plain(x)[plain(mask)])
        held = bl.zeros_like(x)
        held[mask] = vector
        assert same(plain(held), np.where(plain(mask), plain(x), np.zeros_like(plain(x))))


@pytest.mark.parametrize("dtype", ALL)
def test_arrays_of_every_dtype_can_be_written_into(dtype: str) -> None:
    one = {"b": True, "f": 1.5, "c": 1 + 2j}.get(np.dtype(dtype).kind, 7)
    for make in (bl.zeros, bl.ones, bl.empty):
        x = make((2, 3), dtype=dtype)
        x[0, 1] = one
        x[1, :] = bl.asarray([one] * 3, dtype=dtype)
        x[..., 0] = plain(x[..., 1])
        assert x.dtype == dtype
        assert x[0, 1] == one
        assert bool(bl.all(x[:, 0] == one))


def test_an_array_filled_one_by_one_keeps_no_history() -> None:
    x = bl.zeros(100)
    for i in range(100):
        x[i] = i
    assert x.op is None
    assert x.inputs == ()
    assert same(x.data, np.arange(100.0))
    assert not is_active(x)
    copied = bl.asarray(x, copy=True)
    copied[copied > 5] = -1
    assert copied.inputs == ()
    assert float(bl.sum(copied)) == 15 - 94


def test_a_copy_asked_for_stays_as_it_is() -> None:
    x = bl.asarray([1, 2, 3])
    copied, itself = bl.asarray(x, copy=True), bl.asarray(x, copy=False)
    by_default = bl.asarray(x)
    x[0] = 9
    assert same(copied.data, [1, 2, 3])
    assert same(itself.data, [9, 2, 3])
    assert by_default is x
    from_numpy = np.asarray([1, 2, 3])
    y = bl.asarray(from_numpy)
    from_numpy[0] = 9
    assert same(y.data, [1, 2, 3])


@pytest.mark.parametrize("value", [1.5, bl.asarray([1.0, 2.0])])
def test_a_part_of_an_array_is_an_array_of_its_own(value: Any) -> None:
    x = bl.zeros((3, 2))
    row = x[1]
    row[...] = value
    assert same(x.data, np.zeros((3, 2)))


# -- conversions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ALL)
def test_numbers_without_axes_become_python_numbers(dtype: str) -> None:
    for number in worth_trying(dtype):
        x = bl.asarray(number)
        assert x.shape == ()
        assert x.dtype == dtype
        assert type(bool(x)) is bool
        assert bool(x) == bool(number)
        assert type(complex(x)) is complex
        assert same(complex(x), complex(number))
        if dtype not in COMPLEX:
            assert type(float(x)) is float
            assert same(float(x), float(number))
            if np.isfinite(number):
                assert type(int(x)) is int
                assert int(x) == int(number)
        if dtype in INTEGERS:
            assert type(x.__index__()) is int
            assert range(200)[x] == int(number) if 0 <= number < 200 else True


def test_conversions_that_lose_something_are_refused() -> None:
    for convert in (float, int):
        with pytest.raises(TypeError, match="real"):
            convert(bl.asarray(1j))
    with pytest.raises(TypeError, match="only integers"):
        [1, 2][bl.asarray(1.0)]
    with pytest.raises(OverflowError):
        int(bl.asarray(math.inf))
    with pytest.raises(ValueError, match="NaN"):
        int(bl.asarray(math.nan))
    for convert in (bool, float, int, complex):
        with pytest.raises(TypeError, match="shape"):
            convert(bl.ones((2, 2)))


def test_arrays_have_a_length_and_are_iterated_over_along_their_first_axis() -> None:
    x = bl.reshape(bl.arange(6), (3, 2))
    assert len(x) == 3
    assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    assert all(isinstance(row, bl.Value) for row in x)
    assert list(bl.zeros((0, 2))) == []
    assert 4 in [int(each) for each in bl.arange(5)]
    first, second = bl.asarray([1.0, 2.0])
    assert (float(first), float(second)) == (1.0, 2.0)
    with pytest.raises(TypeError):
        len(bl.asarray(1.0))
    with pytest.raises(TypeError):
        iter(bl.asarray(1.0))


def test_comparison_with_what_is_no_array_falls_back_on_identity() -> None:
    x = bl.asarray(1.0)
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (x == "a") is False
    with pytest.raises(TypeError):
        x < "a"
    with pytest.raises(TypeError):
        x + None


# -- handing over --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ALL)
def test_numbers_are_handed_over_by_dlpack(dtype: str) -> None:
    numbers = worth_trying(dtype)
    for data in (numbers, numbers[:0], numbers[0:1].reshape(()), numbers[None, ::2]):
        x = bl.asarray(data)
        there = np.from_dlpack(x)
        assert there.dtype == x.dtype
        assert same(there, data)
        back = bl.from_dlpack(np.array(data))
        assert isinstance(back, bl.Value)
        assert back.dtype == x.dtype
        assert same(plain(back), data)
        assert same(plain(bl.from_dlpack(x)), data)
    assert bl.ones(1).__dlpack_device__() == (1, 0)


def test_numbers_handed_over_are_a_copy() -> None:
    x = bl.asarray([1.0, 2.0])
    there = np.from_dlpack(x)
    if there.flags.writeable:
        there[0] = 9.0
    assert same(x.data, [1.0, 2.0])
    for options in ({"copy": False}, {"dl_device": (2, 0)}, {"stream": 1}):
        with pytest.raises(BufferError):
            x.__dlpack__(**options)
    assert x.__dlpack__(stream=None, max_version=(1, 0), dl_device=(1, 0), copy=True) is not None


def test_a_variable_is_not_handed_over_without_its_gradient() -> None:
    w = bl.Value([1.0, 2.0])
    for x in (w, w * 2):
        with pytest.raises(TypeError, match=r"\.data"):
            np.from_dlpack(x)
    assert same(np.from_dlpack(w.data), [1.0, 2.0])


# -- what there is to know -----------------------------------------------------------------------------------


def test_inspection() -> None:
    info = bl.__array_namespace_info__()
    assert info.default_device() == "cpu"
    assert info.devices() == ["cpu"]
    assert set(info.dtypes()) == set(ALL)
    assert set(info.dtypes(kind="numeric")) == set(NUMERIC)
    assert set(info.dtypes(kind="real floating", device="cpu")) == set(FLOATS)
    assert set(info.dtypes(kind=("signed integer", "unsigned integer"))) == set(INTEGERS)
    assert all(info.dtypes()[name] == getattr(bl, name) for name in ALL)
    assert set(info.default_dtypes()) == {"real floating", "complex floating", "integral", "indexing"}
    assert info.default_dtypes(device=None)["real floating"] == bl.zeros(1).dtype
    capabilities = info.capabilities()
    assert capabilities["boolean indexing"] is True
    assert capabilities["data-dependent shapes"] is True
    assert capabilities["max dimensions"] >= 8


def test_limits_of_dtypes() -> None:
    for dtype in FLOATS:
        agree(lambda module: lambda x: _limits(module.finfo(x)), np.dtype(dtype))
        agree(lambda module: lambda x: _limits(module.finfo(x)), np.ones(2, dtype))
        assert type(bl.finfo(dtype).eps) is float
        assert bl.finfo(bl.ones(1, dtype=dtype)).dtype == dtype
    for dtype in COMPLEX:
        assert bl.finfo(dtype).dtype == {"complex64": bl.float32, "complex128": bl.float64}[dtype]
    for dtype in INTEGERS:
        found, want = bl.iinfo(dtype), np.iinfo(dtype)
        assert (found.bits, found.min, found.max, found.dtype) == (want.bits, want.min, want.max, dtype)


def _limits(info: Any) -> list[float]:
    return [info.bits, info.eps, info.max, info.min, info.smallest_normal]


def test_kinds_of_dtypes() -> None:
    kinds = ["bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric"]
    for dtype in ALL:
        for kind in kinds:
            want = np.isdtype(np.dtype(dtype), kind)
            assert bl.isdtype(getattr(bl, dtype), kind) == want
        assert bl.isdtype(getattr(bl, dtype), getattr(bl, dtype))
        assert bl.isdtype(getattr(bl, dtype), (bl.bool, "numeric"))
    with pytest.raises(ValueError, match="kind"):
        bl.isdtype(bl.int8, "whole")


def test_which_dtype_results() -> None:
    for a in ALL:
        for b in ALL:
            if {a, b} <= {*REAL, *COMPLEX} or a == b:
                want = np.result_type(a, b)
                left, right = getattr(bl, a), getattr(bl, b)
                assert bl.result_type(left, right) == want
                assert bl.result_type(bl.ones(2, dtype=a), right) == want
                assert bl.result_type(bl.ones((), dtype=a), bl.ones((3, 1), dtype=b)) == want
                assert bl.can_cast(left, right) == np.can_cast(a, b)
                assert bl.can_cast(bl.ones(2, dtype=a), right) == np.can_cast(a, b)
    assert bl.result_type(bl.ones(2, dtype="float32"), 1.0) == bl.float32
    assert bl.result_type(bl.int8, 1) == bl.int8
    assert bl.result_type(bl.float32, 1j) == bl.complex64
