"""Creation, manipulation, statistics, searching and linear algebra of the standard, against array-api-strict."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import backlit as bl
from tests.conformance.oracle import (
    ALL,
    COMPLEX,
    FLOATING,
    FLOATS,
    INTEGERS,
    NUMERIC,
    REAL,
    agree,
    pairs,
    plain,
    worth_trying,
)

moderate = settings(max_examples=60, deadline=None)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
WITH_AXES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3)


@st.composite
def arrays(draw: Any, names: tuple[str, ...] = ALL, shapes: Any = SHAPES) -> Any:
    """Small whole numbers, so that sums and products are exact in every order."""
    shape = draw(shapes)
    numbers = draw(hnp.arrays("int64", shape, elements=st.integers(0, 5)))
    return numbers.astype(draw(st.sampled_from(names)))


def small(x: Any) -> Any:
    """The same with no number above 2, for products."""
    return np.asarray(np.minimum(x.real, 2)).astype(x.dtype)


@st.composite
def axes_of(draw: Any, rank: int, several: bool = True, none: bool = True) -> Any:
    """An axis, None for all, or a tuple of axes, some counted from the end."""
    one = st.integers(-rank, rank - 1) if rank else st.nothing()
    choices = [st.none()] if none else []
    if rank:
        choices.append(one)
    if several:
        choices.append(st.lists(one, unique_by=lambda a: a % max(rank, 1), max_size=rank).map(tuple))
    return draw(st.one_of(choices))


# -- creation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [None, *ALL])
def test_arrays_are_made_filled(dtype: str | None) -> None:
    options = {} if dtype is None else {"dtype": np.dtype(dtype)}
    for name in ("zeros", "ones"):
        for shape in ((), 3, (0,), (2, 3), (2, 0, 1)):
            agree(name, shape, **options)
            agree(f"{name}_like", np.ones((2, 1), dtype or "int8"), **options)
    for shape in ((), (2, 3), 4):
        assert bl.empty(shape, **options).dtype == (dtype or "float64")
        assert bl.empty_like(bl.ones(shape), **options).shape == bl.ones(shape).shape
    for k, columns in itertools.product((-3, -1, 0, 2, 9), (None, 0, 2, 4)):
        agree("eye", 3, columns, k=k, **options)
    fill = {"b": True, "i": 5, "u": 5, "f": 1.5, "c": 1 - 2j}[np.dtype(dtype or "float64").kind]
    agree("full", (2, 3), fill, **options)
    agree("full_like", np.ones((2, 1), dtype or "float32"), fill, **options)


def test_full_takes_the_dtype_of_its_number() -> None:
    for number in (True, 3, 2.5, 1j):
        agree("full", (2,), number)
        agree("full", 2, number)
        agree("asarray", number)
        agree("asarray", [[number, number]])
    assert bl.asarray([1, 2.0]).dtype == bl.float64
    assert bl.asarray([]).dtype == bl.float64


@pytest.mark.parametrize("dtype", ALL)
def test_asarray_takes_nested_lists_and_keeps_dtypes(dtype: str) -> None:
    x = worth_trying(dtype)
    for obj in (x, x.tolist(), [x.tolist()], (x[0].item(), x[-1].item()), x[0].item()):
        agree("asarray", obj, dtype=np.dtype(dtype))
    agree("asarray", x, copy=True)
    assert bl.asarray(bl.asarray(x)).dtype == dtype
    assert bl.asarray([bl.asarray(x), bl.asarray(x)]).shape == (2, x.size)


@pytest.mark.parametrize(
    "bounds",
    [(3,), (0,), (-2,), (2, 7), (2, 7, 2), (7, 2, -2), (1.0, 2.0, 0.25), (0, 1, 0.1), (5, 1), (-1.5, 3), (2, -5.5, -2)],
)  # fmt: skip
def test_arange(bounds: tuple[Any, ...]) -> None:
    agree("arange", *bounds)
    agree("arange", *bounds, dtype=np.dtype("float32"))
    if all(isinstance(bound, int) for bound in bounds):
        agree("arange", *bounds, dtype=np.dtype("int16"))
    if len(bounds) > 1:
        agree("arange", bounds[0], stop=bounds[1], step=(*bounds, 1)[2])


@pytest.mark.parametrize("num", [0, 1, 2, 5])
@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace(num: int, endpoint: bool) -> None:
    for start, stop in ((0, 1), (2.5, -1.0), (3, 3), (-4.0, 8.0)):
        agree("linspace", start, stop, num, endpoint=endpoint)
        agree("linspace", start, stop, num, endpoint=endpoint, dtype=np.dtype("float32"))
        agree("linspace", start, stop, num=num)
    assert bl.linspace(0j, 1j, num).dtype == bl.complex128


def test_meshgrid() -> None:
    vectors = [np.arange(3.0), np.arange(2.0), np.arange(4.0)]
    for count in range(4):
        for indexing in ("xy", "ij"):
            agree("meshgrid", *vectors[:count], indexing=indexing)
    agree("meshgrid", np.arange(2, dtype="int8"), np.arange(3, dtype="int8"))
    assert [x.dtype.name for x in bl.meshgrid(bl.arange(2), bl.ones(3))] == ["int64", "float64"]


@given(arrays(shapes=hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4)), st.integers(-5, 5))
@moderate
def test_triangles(x: Any, k: int) -> None:
    agree("tril", x, k=k)
    agree("triu", x, k=k)
    agree("tril", x)


@pytest.mark.parametrize("dtype", ALL)
def test_astype(dtype: str) -> None:
    x = np.asarray([0, 1, 3], dtype)
    for to in ALL:
        if np.dtype(dtype).kind == "c" and np.dtype(to).kind != "c":
            if to == "bool":
                assert bl.astype(bl.asarray(x), to).tolist() == [False, True, True]
                continue
            with pytest.raises(TypeError, match="imaginary"):
                bl.astype(bl.asarray(x), to)
        else:
            agree("astype", x, np.dtype(to))
            agree("astype", np.asarray(x[1]), np.dtype(to), copy=False)
    held = bl.asarray(x)
    assert bl.astype(held, dtype, copy=False) is held
    assert bl.astype(held, dtype) is not held


# -- manipulation --------------------------------------------------------------------------------------------


@given(st.data())
@moderate
def test_arrays_are_joined(data: Any) -> None:
    names = data.draw(st.sampled_from([NUMERIC[:4], INTEGERS[4:], FLOATING, ("bool",)]))
    x = data.draw(arrays(names, WITH_AXES))
    others = [data.draw(arrays(names, st.just(x.shape))) for _ in range(data.draw(st.integers(0, 2)))]
    agree("stack", [x, *others], axis=data.draw(st.integers(-x.ndim - 1, x.ndim)))
    agree("stack", (x, *others))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    longer = [np.repeat(each, data.draw(st.integers(0, 2)), axis=axis) for each in others]
    agree("concat", [x, *longer], axis=axis)
    agree("concat", (x, *longer), axis=None)
    agree("unstack", x, axis=axis)
    agree("unstack", x)


@given(arrays(), st.data())
@moderate
def test_shapes_are_changed(x: Any, data: Any) -> None:
    place = data.draw(st.integers(-x.ndim - 1, x.ndim))
    agree("expand_dims", x, place)
    agree("expand_dims", x, axis=place)
    wide = np.expand_dims(x, place)
    agree("squeeze", wide, place)
    agree("squeeze", wide, (place,))
    agree("flip", x, axis=data.draw(axes_of(x.ndim)))
    agree("permute_dims", x, tuple(data.draw(st.permutations(range(x.ndim)))))
    agree("reshape", x, data.draw(st.sampled_from([(x.size,), (1, x.size), x.shape, (*x.shape, 1)])))
    if x.size:
        agree("reshape", x, (-1,))
        agree("reshape", x, (1, -1), copy=True)
    agree("broadcast_to", x, (2, *x.shape))
    agree("broadcast_arrays", x, x[None])
    agree("broadcast_arrays", x)
    agree("tile", x, data.draw(st.lists(st.integers(0, 2), max_size=3).map(tuple)))
    if x.ndim:
        source, to = (data.draw(st.integers(-x.ndim, x.ndim - 1)) for _ in range(2))
        agree("moveaxis", x, source, to)
        agree("moveaxis", x, (source,), (to,))
        order = data.draw(st.permutations(range(x.ndim)))
        agree("moveaxis", x, tuple(range(x.ndim)), tuple(order))


@given(arrays(shapes=WITH_AXES), st.data())
@moderate
def test_elements_are_repeated_and_rolled(x: Any, data: Any) -> None:
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    length = x.size if axis is None else x.shape[axis]
    agree("repeat", x, data.draw(st.integers(0, 3)), axis=axis)
    counts = data.draw(hnp.arrays("int64", length, elements=st.integers(0, 3)))
    agree("repeat", x, counts, axis=axis)
    agree("roll", x, data.draw(st.integers(-5, 5)), axis=axis)
    axes = tuple(range(x.ndim))
    agree("roll", x, tuple(data.draw(st.integers(-5, 5)) for _ in axes), axis=axes)
    agree("roll", x, 2, axis=axes)


@given(st.data())
@moderate
def test_elements_are_taken(data: Any) -> None:
    x = data.draw(arrays(ALL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    side = x.shape[axis]
    positions = data.draw(hnp.arrays("int64", data.draw(st.integers(0, 4)), elements=st.integers(0, side - 1)))
    agree("take", x, positions, axis=axis)
    if x.ndim == 1:
        agree("take", x, positions)
    shape = list(x.shape)
    shape[axis] = data.draw(st.integers(0, 3))
    places = data.draw(hnp.arrays("int64", tuple(shape), elements=st.integers(-side, side - 1)))
    agree("take_along_axis", x, places, axis=axis)


def test_wrong_shapes_and_axes_are_value_errors() -> None:
    x = bl.ones((2, 3))
    for call in (
        lambda: bl.squeeze(x, 0),
        lambda: bl.reshape(x, (4,)),
        lambda: bl.reshape(x, (-1, -1)),
        lambda: bl.broadcast_to(x, (2, 4)),
        lambda: bl.concat([x, bl.ones((3, 3))], axis=1),
        lambda: bl.stack([x, bl.ones(3)]),
        lambda: bl.permute_dims(x, (0, 0)),
        lambda: bl.flip(x, axis=2),
        lambda: bl.sum(x, axis=-3),
        lambda: bl.argmax(bl.zeros((0,))),
        lambda: bl.max(bl.zeros((0, 2)), axis=0),
        lambda: bl.nonzero(bl.asarray(1)),
        lambda: bl.add(x, bl.ones(4)),
        lambda: bl.broadcast_arrays(x, bl.ones(4)),
        lambda: bl.matmul(x, x),
        lambda: bl.matmul(x, bl.asarray(1.0)),
        lambda: bl.vecdot(bl.ones(2), bl.ones(3)),
        lambda: bl.tensordot(x, x, axes=1),
        lambda: bl.cumulative_sum(x),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            call()
    for place in (-4, 3):
        with pytest.raises(IndexError):
            bl.expand_dims(x, axis=place)


# -- statistics ----------------------------------------------------------------------------------------------


@given(arrays(NUMERIC), st.data(), st.booleans())
@moderate
def test_sums_and_products(x: Any, data: Any, keepdims: bool) -> None:
    axis = data.draw(axes_of(x.ndim))
    agree("sum", x, axis=axis, keepdims=keepdims)
    agree("prod", small(x), axis=axis, keepdims=keepdims)
    agree("sum", x)
    agree("count_nonzero", x, axis=axis, keepdims=keepdims)
    to = data.draw(st.sampled_from([name for left, name in pairs(NUMERIC) if left == x.dtype.name]))
    if np.can_cast(x.dtype, to):
        agree("sum", x, axis=axis, dtype=np.dtype(to), keepdims=keepdims)
        agree("prod", small(x), axis=axis, dtype=np.dtype(to))


@given(arrays(FLOATING), st.data(), st.booleans())
@moderate
def test_means_and_spreads(x: Any, data: Any, keepdims: bool) -> None:
    axis = data.draw(axes_of(x.ndim))
    agree("mean", x, axis=axis, keepdims=keepdims, ulps=4)
    if x.dtype.kind == "f":
        count = x.size if axis is None else int(np.prod([x.shape[a] for a in np.atleast_1d(np.asarray(axis, int))]))
        for correction in (0, 1, 0.5):
            if count > correction:
                agree("var", x, axis=axis, correction=correction, keepdims=keepdims, ulps=8)
                agree("std", x, axis=axis, correction=correction, keepdims=keepdims, ulps=8)


@given(arrays(REAL), st.data(), st.booleans())
@moderate
def test_extremes_and_where_they_are(x: Any, data: Any, keepdims: bool) -> None:
    axis = data.draw(axes_of(x.ndim))
    reduced = range(x.ndim) if axis is None else np.atleast_1d(np.asarray(axis, int))
    if all(x.shape[a] for a in reduced):
        agree("max", x, axis=axis, keepdims=keepdims)
        agree("min", x, axis=axis, keepdims=keepdims)
    axis = data.draw(axes_of(x.ndim, several=False))
    if x.size and x.ndim:
        agree("argmax", x, axis=axis, keepdims=keepdims)
        agree("argmin", x, axis=axis, keepdims=keepdims)


@given(arrays(), st.data(), st.booleans())
@moderate
def test_truth(x: Any, data: Any, keepdims: bool) -> None:
    axis = data.draw(axes_of(x.ndim))
    agree("any", x, axis=axis, keepdims=keepdims)
    agree("all", x, axis=axis, keepdims=keepdims)
    if x.ndim:
        agree("nonzero", x)


@given(arrays(NUMERIC, WITH_AXES), st.data(), st.booleans())
@moderate
def test_running_sums_and_differences(x: Any, data: Any, initial: bool) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    agree("cumulative_sum", x, axis=axis, include_initial=initial)
    agree("cumulative_prod", small(x), axis=axis, include_initial=initial)
    if x.ndim == 1:
        agree("cumulative_sum", x)
    if np.can_cast(x.dtype, "complex128"):
        agree("cumulative_sum", x, axis=axis, dtype=np.dtype("complex128"))
    n = data.draw(st.integers(0, 3))
    agree("diff", x, axis=axis, n=n)
    ends = [data.draw(arrays((x.dtype.name,), st.just(x.shape))) for _ in range(2)]
    agree("diff", x, axis=axis, n=max(n, 1), prepend=ends[0], append=ends[1])
    agree("diff", x, append=x)


def test_nan_goes_through_statistics() -> None:
    for dtype in FLOATS:
        x = worth_trying(dtype)
        for name in ("max", "min", "argmax", "argmin", "sum", "prod", "mean", "any", "all", "count_nonzero"):
            agree(name, x)
            agree(name, x[:-1])


def test_differences_are_differentiated() -> None:
    x = bl.Value([1.0, 4.0, 9.0, 16.0])
    bl.sum(bl.diff(x, n=2) * bl.asarray([1.0, 10.0])).backward()
    assert x.grad.tolist() == [1.0, 8.0, -19.0, 10.0]
    assert bl.diff(x, prepend=0.0, append=x[0]).data.tolist() == [1.0, 3.0, 5.0, 7.0, -15.0]
    with pytest.raises(ValueError, match="n times"):
        bl.diff(x, n=-1)


# -- linear algebra ------------------------------------------------------------------------------------------

PAIRS = [(a, b) for a, b in pairs(NUMERIC) if a in ("int8", "uint16", "int64", *FLOATING)]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_products_promote(left: str, right: str) -> None:
    a, b = np.arange(6).reshape(2, 3).astype(left), np.arange(12).reshape(3, 4).astype(right)
    agree("matmul", a, b)
    agree(lambda module: lambda x, y: x @ y, a, b)
    agree("tensordot", a, b, axes=1)
    agree("tensordot", a, b, axes=((1,), (0,)))
    agree("vecdot", a, b[:, 0].copy())
    agree("tensordot", a, b, axes=0)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)),
        ((5, 1, 2, 3), (4, 3, 1)),
        ((3,), (4, 3, 2)), ((4, 2, 3), (3,)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0,), (0,)), ((0, 2, 3), (3, 1)),
    ],
)  # fmt: skip
def test_matrix_products_of_every_rank(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    for dtype in ("int32", "float64", "complex64"):
        a = np.arange(np.prod(left)).reshape(left).astype(dtype)
        b = np.arange(np.prod(right)).reshape(right).astype(dtype)
        agree("matmul", a, b)
        agree(lambda module: lambda x, y: x @ y, a, b)


def test_in_place_matrix_product() -> None:
    x = bl.asarray([[1, 2], [3, 4]])
    kept = x
    x @= bl.asarray([[0, 1], [1, 0]])
    assert x.tolist() == [[2, 1], [4, 3]]
    assert kept.tolist() == [[1, 2], [3, 4]]
    assert (np.eye(2) @ bl.ones((2, 1))).shape == (2, 1)
    assert isinstance(np.eye(2) @ bl.ones((2, 1)), bl.Value)


@pytest.mark.parametrize("dtype", ["int16", "float32", *COMPLEX])
def test_vecdot_along_every_axis(dtype: str) -> None:
    a = (np.arange(24).reshape(2, 3, 4) * (1 + 0j)).real.astype(dtype)
    if np.dtype(dtype).kind == "c":
        a = (a * (1 + 2j)).astype(dtype)
    b = a[::-1].copy()
    for axis in (-1, -2, -3):
        agree("vecdot", a, b, axis=axis)
    agree("vecdot", a, b[0], axis=-1)
    agree("vecdot", a, b)


def test_tensordot_over_chosen_axes() -> None:
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(24.0).reshape(4, 3, 2)
    for axes in (0, 1, ((2,), (0,)), ((1, 2), (1, 0)), ((0, 2), (2, 0)), ((-1, 0), (0, -1)), ((0, 1, 2), (2, 1, 0))):
        agree("tensordot", a, b, axes=axes)
    agree("tensordot", a, a, axes=((0, 1, 2), (0, 1, 2)))
    agree("tensordot", np.asarray(2.0), np.asarray(3.0), axes=0)


def test_matrix_transpose() -> None:
    for shape in ((2, 3), (4, 2, 3), (0, 2), (2, 0, 3)):
        x = np.arange(np.prod(shape)).reshape(shape)
        agree("matrix_transpose", x)
        assert plain(bl.asarray(x).mT).shape == (*shape[:-2], shape[-1], shape[-2])
