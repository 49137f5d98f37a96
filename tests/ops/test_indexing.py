"""What `x[i]` gives and what flows back through it, against NumPy."""

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import IndexingError, ShapeError, TracedValueError
from backlit.core.numbers import Abstract
from backlit.core.value import leaf
from backlit.ops import index as index_module
from backlit.ops import indexing
from backlit.ops.index import ALL, ARRAY, Slice, indexed_shape, normal_slice
from backlit.ops.indexing import getitem, nonzero, normal_index, take, take_along_axis

CUBE = np.arange(2 * 3 * 4).reshape(2, 3, 4) / 8.0
ROWS, GRID = np.array([0, -1, 1, 1]), np.array([[2], [-3]])
MASK = CUBE[0] % 0.25 == 0

INDICES = [
    0,
    -1,
    np.int64(1),
    np.array(1),
    slice(None),
    slice(1, None),
    slice(None, None, -1),
    slice(None, None, 2),
    slice(5, 1),
    slice(-1, -10, -2),
    ...,
    None,
    (),
    (0, 1, 2),
    (..., 0),
    (0, ...),
    (slice(None), 1),
    (slice(None), slice(None), slice(3, 0, -1)),
    (None, 0, None, slice(1, 3), ..., None),
    (1, slice(None), -1),
    ROWS,
    [0, 1, 1],
    [],
    (slice(None), [2, 0]),
    (ROWS, ROWS),
    (ROWS[:, None], [0, 2]),
    (0, slice(None), [1, 1, 3]),
    ([1, 0], slice(None), [1, 3]),
    (slice(None), [1, 0], 2),
    (slice(None), 1, [1, 0]),
    (..., [1, 0], None),
    ([0, 1], None, [1, 2]),
    (GRID % 2, slice(1, 3), ROWS),
    (None, [1, 0], slice(None), 1),
    (0, MASK),
    (slice(None), MASK),
    (..., CUBE[0, 0] > 0.1),
    (CUBE[:, 0, 0] > 0, 1),
    CUBE > 1,
    CUBE > 100,
    (CUBE[:, :, 0] > 0.5, [0]),
    True,
    False,
    np.True_,
    (True, 1),
    (..., False),
    (True, [0, 1]),
    ([0, 1], True, slice(None), [2, 3]),
    np.array(True),
    (slice(None), np.zeros((3, 0), dtype=int)),
    np.array([1, 0], dtype=np.uint8),
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_an_index_gives_what_numpy_gives(index):
    x = bl.Value(CUBE)
    found = getitem(x, index)
    np.testing.assert_array_equal(np.asarray(found.data), CUBE[index])
    assert found.shape == CUBE[index].shape
    assert found.dtype == CUBE.dtype


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_the_shape_is_known_without_the_numbers(index):
    x, items, arrays = normal_index(bl.Value(CUBE), index)
    assert indexed_shape(x.shape, items, [np.shape(a) for a in arrays]) == CUBE[index].shape
    hash(items)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_the_gradient_flows_to_where_the_elements_came_from(index):
    weights = np.random.default_rng(0).normal(size=CUBE[index].shape)
    expected = np.zeros_like(CUBE)
    np.add.at(expected, index, weights)
    x = bl.Value(CUBE)
    (getitem(x, index) * weights).sum().backward()
    np.testing.assert_allclose(x.grad, expected, rtol=1e-14)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_the_transpose_as_a_graph_agrees_with_the_buffer(index):
    weights = np.random.default_rng(0).normal(size=CUBE[index].shape)
    (gradient,) = bl.vjp(lambda x: getitem(x, index), bl.Value(CUBE))[1](bl.Value(weights))
    expected = np.zeros_like(CUBE)
    np.add.at(expected, index, weights)
    np.testing.assert_allclose(np.asarray(gradient.data), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "bool", "complex128", "uint64"])
def test_the_dtype_is_kept(dtype):
    x = bl.asarray(np.ones((2, 2), dtype))
    assert x[0].dtype == x[0, 0].dtype == x[[0, 1]].dtype == dtype


def test_a_slice_has_only_one_form():
    for length in range(6):
        forms = {}
        ends = [None, *range(-7, 8)]
        for start in ends:
            for stop in ends:
                for step in (None, 1, 2, 3, -1, -2, 7, -7):
                    taken = tuple(range(length)[start:stop:step])
                    item = normal_slice(slice(start, stop, step), length)
                    assert tuple(range(length)[item.start : item.stop : item.step]) == taken
                    assert forms.setdefault(taken, item) == item


def test_values_are_indices_too():
    x = bl.Value(CUBE)
    i = bl.asarray([0, 1, 1])
    np.testing.assert_array_equal(x[i].data, CUBE[[0, 1, 1]])
    np.testing.assert_array_equal(x[i[1]].data, CUBE[1])
    np.testing.assert_array_equal(x[:, i[1] :].data, CUBE[:, 1:])
    np.testing.assert_array_equal(x[[i[1], 0]].data, CUBE[[1, 0]])
    np.testing.assert_array_equal(x[x > 1].data, CUBE[CUBE > 1])
    np.testing.assert_array_equal(x[x[:, 0, 0] > 1, 2].data, CUBE[CUBE[:, 0, 0] > 1, 2])


def test_the_graph_holds_index_arrays_as_inputs_and_the_rest_as_a_hashable_attribute():
    x, i = bl.Value(CUBE), bl.asarray([2, 0])
    y = x[-1, 1:, None, i]
    assert y.attrs["index"] == (1, Slice(1), None, ARRAY)
    assert y.inputs[1] is i
    assert x[...].attrs["index"] == x[:, :, :].attrs["index"] == ()
    mask = x > 1
    assert x[mask].inputs[1].inputs == (mask,)


def test_an_index_array_that_is_changed_later_does_not_change_the_graph():
    i = np.array([0, 1])
    x = bl.Value([1.0, 2.0])
    y = x[i]
    i[:] = 0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1])


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (3, "index 3 is outside axis 0, which has length 2 (-2 to 1 are inside)"),
        ((0, -4), "index -4 is outside axis 1, which has length 3"),
        ((slice(None), [0, 3]), "index 3 is outside axis 1, which has length 3 (-3 to 2 are inside)"),
        ((0, 0, 0, 0), "the index is for 4 axes, and the array has 3 axes"),
        ((..., ...), "more than one"),
        (1.5, "float64 cannot be an index"),
        ([0.5], "astype"),
        ("a", "cannot be an index"),
        (np.ones((3, 3), bool), "a mask of shape (3, 3) does not fit: its axis 0 has length 3, and axis 0"),
        (([0, 1], [0, 1, 2]), "do not broadcast"),
        (slice(None, None, 0), "step"),
        (slice(0.5, None), "whole numbers"),
    ],
)  # fmt: skip
def test_a_wrong_index_is_named(index, words):
    x = bl.Value(CUBE, name="cube")
    with pytest.raises(IndexingError) as raised:
        x[index]
    assert words in str(raised.value)


def test_a_wrong_index_names_the_array():
    x = bl.Value(CUBE, name="cube")
    for index in (3, ([5],)):
        with pytest.raises(IndexingError, match=r"`cube`, a variable at test_indexing.py:\d+ in .*shape \(2, 3, 4\)"):
            x[index]


def test_an_empty_axis_has_no_positions():
    with pytest.raises(IndexingError, match="axis 0, which is empty"):
        bl.Value(np.zeros((0, 2)))[0]


def test_a_mask_of_which_only_the_shape_is_known_is_refused():
    mask = leaf(Abstract((3,), np.dtype(bool)))
    with pytest.raises(TracedValueError, match="where"):
        getitem(bl.Value([1.0, 2.0, 3.0]), mask)
    with pytest.raises(TracedValueError, match="where"):
        nonzero(mask)


def test_a_mask_that_picks_another_number_later_is_refused():
    with pytest.raises(IndexingError, match=r"picked 1 elements .* now picks 2"):
        indexing.NONZERO.compute([np.array([True, True])], {"axis": 0, "count": 1})


def test_iteration_and_unpacking():
    a, b = bl.Value([1.0, 2.0])
    (a * b).backward()
    assert [row.data.tolist() for row in bl.Value(CUBE[0])] == CUBE[0].tolist()


def test_elements_taken_one_by_one_cost_no_array_each():
    import time

    def seconds(n):
        x = bl.Value(np.ones(n))
        total = 0.0
        for i in range(n):
            total = total + x[i]
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            total.backward()
            best = min(best, time.perf_counter() - start)
        np.testing.assert_array_equal(x.grad, np.ones(n))
        return best

    assert seconds(16_000) < 40 * seconds(2_000)  # eight times the elements; an array each would be 64 times


def test_it_is_written_as_it_was_meant():
    x, i = bl.Value(CUBE, name="x"), bl.Value(np.array([1, 0]), name="i")
    node = x[0, ::2, None, i]
    text, latex = node.op.notation.text, node.op.notation.latex
    assert text(["x", "i"], node.attrs) == "x[0, ::2, None, i]"
    assert latex(["x", "i"], node.attrs) == "{x}_{[0, ::2, None, i]}"
    assert text(["<i>"], {"index": (1,)}) == "<i>[1]"  # an operand that looks like a template
    assert indexing.SCATTER.notation.text(["v"], {"index": (1,), "shape": (3,)}) == "zeros((3,)).at[1].add(v)"


# -- take ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("positions", [1, [1, 0], [[1, 1], [0, -1]], np.array([], dtype=int)], ids=repr)
def test_take_gives_what_numpy_gives(axis, positions):
    np.testing.assert_array_equal(
        np.asarray(take(bl.Value(CUBE), positions, axis=axis).data), np.take(CUBE, positions, axis=axis)
    )


def test_take_needs_an_axis_but_for_vectors():
    assert take(bl.Value([1.0, 2.0]), bl.asarray([1, 1])).data.tolist() == [2, 2]
    with pytest.raises(ShapeError, match="needs axis="):
        take(CUBE, [0])
    with pytest.raises(ShapeError, match="there is no axis 3"):
        take(CUBE, [0], axis=3)
    with pytest.raises(IndexingError, match="index 7 is outside axis 1"):
        take(CUBE, [0, 7], axis=1)
    with pytest.raises(IndexingError, match=r"write x\[mask\]"):
        take([1.0, 2.0], [True, False])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_take_along_axis_gives_what_numpy_gives(axis):
    order = np.argsort(np.sin(CUBE * 50), axis=axis)
    x = bl.Value(CUBE)
    np.testing.assert_array_equal(take_along_axis(x, order, axis=axis).data, np.take_along_axis(CUBE, order, axis))
    best = np.expand_dims(np.argmax(CUBE, axis=axis), axis)
    y = take_along_axis(x, bl.asarray(best), axis=axis)
    np.testing.assert_array_equal(y.data, np.take_along_axis(CUBE, best, axis))
    y.sum().backward()
    assert x.grad.sum() == best.size


def test_take_along_axis_broadcasts():
    x = bl.Value(CUBE[:1])
    np.testing.assert_array_equal(
        take_along_axis(x, np.array([[[0, 2]], [[3, 1]]])).data,
        np.take_along_axis(CUBE[:1], np.array([[[0, 2]], [[3, 1]]]), -1),
    )
    with pytest.raises(ShapeError, match="same number of axes"):
        take_along_axis(x, [0])
    with pytest.raises(ShapeError, match="differ at axis 1"):
        take_along_axis(x, np.zeros((1, 2, 4), int))


def test_nonzero_gives_positions():
    x = np.array([[0.0, 2.0, np.nan], [-0.0, 0.0, 1.0]])
    for found, expected in zip(nonzero(x), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(found.data, expected)
    with pytest.raises(ShapeError, match="without axes"):
        nonzero(1.0)


def test_the_items_of_an_index_are_hashable_and_compare_by_what_they_mean():
    assert Slice(1, 3) == Slice(1, 3) != Slice(1, 3, 2)
    assert hash((0, Slice(1), None, ARRAY)) == hash((0, Slice(1), None, ARRAY))
    assert repr((ALL, ARRAY, Slice(None, 2, 3))) == "(:, ARRAY, :2:3)"
    assert index_module.not_in(3, 0, 0) == "index 3 is outside axis 0, which is empty"
