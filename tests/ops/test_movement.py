"""Moving elements, against NumPy: the numbers and, through the transposes, the gradients."""

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DomainError, IndexingError, ShapeError
from backlit.ops import movement as m

CUBE = np.arange(2 * 3 * 4).reshape(2, 3, 4) / 8.0
FLAT = np.array([1.0, 2.0, 3.0])
EMPTY = np.zeros((0, 3))
CASES = {
    "reshape": (lambda x: m.reshape(x, (4, 6)), lambda x: x.reshape(4, 6), CUBE),
    "reshape -1": (lambda x: m.reshape(x, (-1, 2)), lambda x: x.reshape(-1, 2), CUBE),
    "reshape int": (lambda x: m.reshape(x, -1), lambda x: x.reshape(-1), CUBE),
    "reshape empty": (lambda x: m.reshape(x, (3, 0, 1)), lambda x: x.reshape(3, 0, 1), EMPTY),
    "permute": (lambda x: m.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), CUBE),
    "permute negative": (lambda x: m.permute_dims(x, (-1, 0, 1)), lambda x: x.transpose(2, 0, 1), CUBE),
    "moveaxis": (lambda x: m.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), CUBE),
    "moveaxis two": (lambda x: m.moveaxis(x, (2, 0), (0, 1)), lambda x: np.moveaxis(x, (2, 0), (0, 1)), CUBE),
    "moveaxis swap": (lambda x: m.moveaxis(x, (0, 2), (2, 0)), lambda x: np.swapaxes(x, 0, 2), CUBE),
    "broadcast_to": (lambda x: m.broadcast_to(x, (2, 3)), lambda x: np.broadcast_to(x, (2, 3)), FLAT),
    "broadcast_to empty": (lambda x: m.broadcast_to(x, (0, 3)), lambda x: np.broadcast_to(x, (0, 3)), FLAT),
    "expand_dims": (lambda x: m.expand_dims(x, 1), lambda x: np.expand_dims(x, 1), CUBE),
    "expand_dims last": (lambda x: m.expand_dims(x, axis=-1), lambda x: np.expand_dims(x, -1), CUBE),
    "expand_dims two": (lambda x: m.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1)), CUBE),
    "squeeze": (lambda x: m.squeeze(x, 0), lambda x: x.squeeze(0), CUBE[:1]),
    "squeeze all": (lambda x: m.squeeze(x), lambda x: x.squeeze(), CUBE[:1, :, :1]),
    "flip": (lambda x: m.flip(x), np.flip, CUBE),
    "flip axis": (lambda x: m.flip(x, axis=(0, -1)), lambda x: np.flip(x, (0, 2)), CUBE),
    "roll": (lambda x: m.roll(x, 5), lambda x: np.roll(x, 5), CUBE),
    "roll axis": (lambda x: m.roll(x, -1, axis=1), lambda x: np.roll(x, -1, 1), CUBE),
    "roll axes": (lambda x: m.roll(x, (1, -6), axis=(0, 2)), lambda x: np.roll(x, (1, -6), (0, 2)), CUBE),
    "roll one by all": (lambda x: m.roll(x, 1, axis=(0, 1)), lambda x: np.roll(x, 1, (0, 1)), CUBE),
    "roll axis twice": (lambda x: m.roll(x, (1, 1), axis=2), lambda x: np.roll(x, (1, 1), (2, 2)), CUBE),
    "roll empty": (lambda x: m.roll(x, 2, axis=0), lambda x: np.roll(x, 2, 0), EMPTY),
    "tile": (lambda x: m.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), CUBE),
    "tile less": (lambda x: m.tile(x, 2), lambda x: np.tile(x, 2), CUBE),
    "tile more": (lambda x: m.tile(x, (2, 2)), lambda x: np.tile(x, (2, 2)), FLAT),
    "tile none": (lambda x: m.tile(x, 0), lambda x: np.tile(x, 0), FLAT),
    "repeat": (lambda x: m.repeat(x, 2), lambda x: np.repeat(x, 2), CUBE),
    "repeat axis": (lambda x: m.repeat(x, 3, axis=1), lambda x: np.repeat(x, 3, 1), CUBE),
    "repeat each": (lambda x: m.repeat(x, [0, 2, 1], axis=1), lambda x: np.repeat(x, [0, 2, 1], 1), CUBE),
    "repeat by values": (
        lambda x: m.repeat(x, bl.asarray([0, 2, 1]), axis=1), lambda x: np.repeat(x, [0, 2, 1], 1), CUBE,
    ),
    "pad": (lambda x: m.pad(x, 1), lambda x: np.pad(x, 1), CUBE),
    "pad pair": (lambda x: m.pad(x, (1, 2)), lambda x: np.pad(x, (1, 2)), CUBE),
    "pad pairs": (
        lambda x: m.pad(x, ((1, 0), (0, 2), (3, 3)), constant_values=7.5),
        lambda x: np.pad(x, ((1, 0), (0, 2), (3, 3)), constant_values=7.5), CUBE,
    ),
    "pad with pairs": (
        lambda x: m.pad(x, 2, constant_values=((1, 2), (3, 4), (5, 6))),
        lambda x: np.pad(x, 2, constant_values=((1, 2), (3, 4), (5, 6))), CUBE,
    ),
    "pad with pair": (
        lambda x: m.pad(x, (1, 2), constant_values=(8, 9)),
        lambda x: np.pad(x, (1, 2), constant_values=(8, 9)), FLAT,
    ),
    "pad edge": (lambda x: m.pad(x, (2, 1), mode="edge"), lambda x: np.pad(x, (2, 1), "edge"), CUBE),
    "pad reflect": (lambda x: m.pad(x, (5, 1), mode="reflect"), lambda x: np.pad(x, (5, 1), "reflect"), CUBE),
    "pad symmetric": (
        lambda x: m.pad(x, (5, 1), mode="symmetric"), lambda x: np.pad(x, (5, 1), "symmetric"), CUBE,
    ),
    "pad wrap": (lambda x: m.pad(x, (5, 1), mode="wrap"), lambda x: np.pad(x, (5, 1), "wrap"), CUBE),
    "tril": (lambda x: m.tril(x), np.tril, CUBE),
    "tril k": (lambda x: m.tril(x, k=-1), lambda x: np.tril(x, -1), CUBE),
    "triu": (lambda x: m.triu(x, k=1), lambda x: np.triu(x, 1), CUBE),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_numpy_gives(name):
    ours, numpys, x = CASES[name]
    for array in (x, x.astype(np.float32), x.astype(np.int8), x > 1):
        found = ours(array)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found.data, numpys(array), strict=True)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_goes_back_where_the_elements_came_from(name):
    ours, numpys, x = CASES[name]
    rng = np.random.default_rng(0)
    weights, direction = rng.normal(size=numpys(x).shape), rng.normal(size=x.shape)
    value = bl.Value(x)
    (ours(value) * weights).sum().backward()
    expected = np.sum((numpys(x + direction) - numpys(x)) * weights)
    assert np.sum(value.grad * direction) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_joining_and_taking_apart(axis):
    parts = [CUBE, CUBE * 2, CUBE + 1]
    values = [bl.Value(x) for x in parts]
    np.testing.assert_array_equal(m.concat(values, axis=axis).data, np.concatenate(parts, axis))
    np.testing.assert_array_equal(m.stack(values, axis=axis).data, np.stack(parts, axis))
    for part, expected in zip(m.unstack(values[0], axis=axis), np.moveaxis(CUBE, axis, 0), strict=True):
        np.testing.assert_array_equal(part.data, expected)
    for cut in (1, [1], [0, 1], [1, 1, 9], [-1]):
        for part, expected in zip(m.split(values[0], cut, axis=axis), np.split(CUBE, cut, axis), strict=True):
            np.testing.assert_array_equal(part.data, expected, strict=True)
    weights = np.random.default_rng(0).normal(size=np.concatenate(parts, axis).shape)
    (m.concat(values, axis=axis) * weights).sum().backward()
    for value, expected in zip(values, np.split(weights, 3, axis), strict=True):
        np.testing.assert_array_equal(value.grad, expected)
    weights = np.random.default_rng(0).normal(size=np.stack(parts, axis).shape)
    for value in values:
        value.zero_grad()
    (m.stack(values, axis=axis) * weights).sum().backward()
    for i, value in enumerate(values):
        np.testing.assert_array_equal(value.grad, np.take(weights, i, axis))


def test_concat_flattens_when_there_is_no_axis():
    assert m.concat([CUBE, 1.0], axis=None).shape == (25,)


def test_joining_promotes():
    assert m.concat([np.ones(1, np.float32), np.ones(1)]).dtype == np.float64
    assert m.concat([np.ones(1, np.int8), np.ones(1, np.int16)]).dtype == np.int16
    assert m.stack([bl.Value(np.float32(1.0)), 2.0]).dtype == np.float32
    assert m.stack([bl.Value(1.0), bl.Value(np.float32(1.0))] * 20).dtype == np.float64


def test_many_numbers_can_be_stacked():
    numbers = [bl.Value(float(i)) for i in range(3000)]
    y = m.stack(numbers)
    np.testing.assert_array_equal(y.data, np.arange(3000.0))
    (y * np.arange(3000.0)).sum().backward()
    assert numbers[2999].grad == 2999.0


def test_broadcast_arrays():
    found = m.broadcast_arrays(FLAT, FLAT[:, None], 1.0)
    for value, expected in zip(found, np.broadcast_arrays(FLAT, FLAT[:, None], 1.0), strict=True):
        np.testing.assert_array_equal(value.data, expected)


def test_the_number_in_the_margin_gets_a_gradient():
    fill = bl.Value(2.0)
    y = m.pad(np.ones((2, 2)), ((1, 0), (0, 1)), constant_values=fill)
    y.sum().backward()
    assert fill.grad == 5.0


def test_the_margin_of_whole_numbers_holds_whole_numbers():
    np.testing.assert_array_equal(m.pad([1, 2], 1, constant_values=7).data, [7, 1, 2, 7])


ERRORS = {
    "reshape": (lambda: m.reshape(CUBE, (5, -1)), ShapeError, "24 elements.*multiple of 5"),
    "reshape count": (lambda: m.reshape(CUBE, (5, 5)), ShapeError, "24 elements"),
    "reshape two": (lambda: m.reshape(CUBE, (-1, -1)), ShapeError, "-1 once"),
    "reshape zero": (lambda: m.reshape(EMPTY, (0, -1)), ShapeError, "could be any"),
    "reshape kind": (lambda: m.reshape(CUBE, 2.5), ShapeError, "whole number"),
    "permute": (lambda: m.permute_dims(CUBE, (0, 1)), ShapeError, "each of the 3 axes"),
    "permute axis": (lambda: m.permute_dims(CUBE, (0, 1, 3)), ShapeError, "no axis 3"),
    "moveaxis": (lambda: m.moveaxis(CUBE, (0, 1), 0), ShapeError, "2 axes cannot move to 1"),
    "moveaxis twice": (lambda: m.moveaxis(CUBE, (0, 0), (0, 1)), ShapeError, "twice"),
    "broadcast_to": (lambda: m.broadcast_to(FLAT, (3, 2)), ShapeError, "length 3, and the target 2"),
    "broadcast_arrays": (lambda: m.broadcast_arrays(FLAT, CUBE), ShapeError, "broadcast_arrays: .*last axis"),
    "expand_dims": (lambda: m.expand_dims(FLAT, 3), IndexingError, "no place 3"),
    "expand_dims twice": (lambda: m.expand_dims(FLAT, (0, 0)), ShapeError, "at one place"),
    "squeeze": (lambda: m.squeeze(CUBE, 0), ShapeError, "axis 0 .* length 2"),
    "flip": (lambda: m.flip(CUBE, axis=3), ShapeError, "no axis 3"),
    "roll": (lambda: m.roll(CUBE, (1, 2, 3), axis=(0, 1)), ShapeError, "3 shifts for 2 axes"),
    "concat": (lambda: m.concat([CUBE, CUBE[:, :2]]), ShapeError, "differ at axis 1: 3 and 2"),
    "concat rank": (lambda: m.concat([CUBE, FLAT]), ShapeError, "same number of axes"),
    "concat scalars": (lambda: m.concat([1.0, 2.0]), ShapeError, "use stack"),
    "concat nothing": (lambda: m.concat([]), ShapeError, "nothing to join"),
    "stack": (lambda: m.stack([FLAT, FLAT[:2]]), ShapeError, r"array 1 has shape \(2,\)"),
    "stack axis": (lambda: m.stack([FLAT], axis=2), ShapeError, "no axis 2"),
    "split": (lambda: m.split(FLAT, 2), ShapeError, "does not divide into 2"),
    "repeat": (lambda: m.repeat(FLAT, [1, 2]), ShapeError, "each of the 3"),
    "repeat negative": (lambda: m.repeat(FLAT, -1), DomainError, "negative"),
    "repeat kind": (lambda: m.repeat(FLAT, 1.5), IndexingError, "whole number"),
    "tile": (lambda: m.tile(FLAT, -1), ShapeError, "negative"),
    "pad": (lambda: m.pad(CUBE, ((1, 1), (1, 1))), ShapeError, "each of 3 axes"),
    "pad negative": (lambda: m.pad(CUBE, -1), ShapeError, "slice"),
    "pad mode": (lambda: m.pad(CUBE, 1, mode="mirror"), DomainError, "no mode 'mirror'"),
    "pad empty": (lambda: m.pad(EMPTY, 1, mode="edge"), ShapeError, "empty"),
    "tril": (lambda: m.tril(FLAT), ShapeError, "part of a matrix"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_wrong(name):
    call, kind, words = ERRORS[name]
    with pytest.raises(kind, match=words):
        call()


def test_repeated_and_tiled_values_are_one_scope():
    assert str(m.repeat(bl.Value(FLAT), 2).scope) == "repeat"
    assert str(m.tile(bl.Value(FLAT), 2).scope) == "tile"


def test_many_arrays_join_as_few_do():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(2, i % 3)) for i in range(200)]
    weights = rng.normal(size=np.concatenate(parts, 1).shape)
    values = [bl.Value(x) for x in parts]
    y = m.concat(values, axis=1)
    np.testing.assert_array_equal(y.data, np.concatenate(parts, 1))
    (y * weights).sum().backward()
    np.testing.assert_array_equal(np.concatenate([v.grad for v in values], 1), weights)
    rows = [bl.Value(rng.normal(size=2)) for _ in range(4100)]
    y = m.stack(rows, axis=1)
    np.testing.assert_array_equal(y.data, np.stack([v.data for v in rows], 1))
    (y * np.arange(4100.0)).sum().backward()
    assert rows[4099].grad.tolist() == [4099.0, 4099.0]
    with pytest.raises(ShapeError, match="array 150 has shape"):
        m.stack([*rows[:150], 1.0, *rows[:9]])
    with pytest.raises(ShapeError, match="array 199 has shape"):
        m.concat([*values[:199], np.ones((3, 1))], axis=1)
