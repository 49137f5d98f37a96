"""Batches, splits and scales: every row once, in an order that is a pure function of a key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backlit as bl
from backlit.core.errors import DataError, DomainError, IndexingError, ShapeError
from backlit.data import Dataset, batch_indices, batches, moons, names, next_character, split, standardise

sizes = st.integers(1, 60)


def rows_of(n: int) -> Dataset:
    return Dataset(np.arange(2.0 * n).reshape(n, 2), np.arange(n))


@given(n=sizes, size=sizes, seed=st.integers(0, 2**63))
def test_every_row_comes_exactly_once(n, size, seed):
    seen = []
    for x, y in batches(rows_of(n), size, key=bl.random.key(seed)):
        assert 1 <= len(x) == len(y) <= size
        np.testing.assert_array_equal(x[:, 0], 2 * y)
        seen.extend(y.tolist())
    assert sorted(seen) == list(range(n))


@given(n=sizes, size=sizes, seed=st.integers(0, 2**63))
def test_the_order_is_a_pure_function_of_the_key(n, size, seed):
    first = [y.tolist() for _, y in batches(rows_of(n), size, key=seed)]
    assert first == [y.tolist() for _, y in batches(rows_of(n), size, key=bl.random.key(seed))]
    count = -(-n // size)
    last_first = [batch_indices(n, size, seed, i).tolist() for i in reversed(range(count))]
    assert last_first[::-1] == first


@given(n=sizes, size=sizes)
def test_drop_last_leaves_only_whole_batches(n, size):
    if size > n:
        with pytest.raises(DomainError, match="leaves no batch"):
            batches(rows_of(n), size, key=0, drop_last=True)
        return
    found = batches(rows_of(n), size, key=0, drop_last=True)
    assert len(found) == n // size
    assert all(len(y) == size for _, y in found)


def test_the_order_is_that_of_the_permutation_of_the_key():
    key = bl.random.fold_in(bl.random.key(3), 5)
    order = bl.random.permutation(key, 100).data
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches(rows_of(100), 7, key=key)]), order)
    assert batch_indices(100, 7, None, 2).tolist() == list(range(14, 21))
    assert batch_indices(100, None, key, 0).tolist() == order.tolist()


def test_batches_are_a_sequence_that_can_be_gone_through_again():
    found = batches(rows_of(10), 4, key=1)
    assert len(found) == 3
    assert [y.tolist() for _, y in found] == [y.tolist() for _, y in found]
    np.testing.assert_array_equal(found[-1][1], found[2][1])
    assert len(found[:2]) == 2
    with pytest.raises(IndexError):
        found[3]
    assert repr(found) == "Batches(3 of 4, 10 rows shuffled)"


def test_a_batch_taken_is_a_copy_and_the_order_cannot_be_spoilt():
    data = rows_of(10)
    x, _ = batches(data, 10, key=1)[0]
    x[:] = -1
    batch_indices(10, 10, 1, 0)[:] = 0
    assert data.inputs.min() == 0
    assert sorted(batch_indices(10, 10, 1, 0).tolist()) == list(range(10))


def test_batches_of_arrays_come_as_arrays():
    a, b, c = np.arange(6), np.arange(6) * 10, np.arange(6) * 100
    for x, y, z in batches((a, b, c), 4, key=0):
        np.testing.assert_array_equal(x * 100, y * 10)
        np.testing.assert_array_equal(x * 100, z)
    assert [part.tolist() for part in batches(a, 4, shuffle=False)] == [[0, 1, 2, 3], [4, 5]]
    assert [len(x) for x, _ in batches(rows_of(5), None, shuffle=False)] == [5]


@pytest.mark.parametrize(
    ("wrong", "kind", "part"),
    [
        (lambda: batches(rows_of(4), 2), DomainError, "shuffle=True needs a key"),
        (lambda: batches(rows_of(4), 0, key=0), DomainError, "size=0"),
        (lambda: batches(rows_of(4), 2.0, key=0), TypeError, "whole number"),
        (lambda: batches((np.ones(3), np.ones(4), np.ones(3)), 2, key=0), DataError, r"shapes \(3,\), \(4,\)"),
        (lambda: batches((np.ones(3), np.ones(())), 2, key=0), DataError, "at least one row"),
        (lambda: batches(np.ones((0, 2)), 2, key=0), DataError, "at least one row"),
        (lambda: batches(rows_of(4), 2, key="k"), TypeError, "neither a key nor a whole number"),
        (lambda: batch_indices(10, 4, 0, 3), IndexingError, "no batch 3; 10 rows in batches of 4 make 3"),
        (lambda: batch_indices(10, 4, 0, -1), IndexingError, "no batch -1"),
    ],
)
def test_batches_that_cannot_be_are_refused_at_once(wrong, kind, part):
    with pytest.raises(kind, match=part):
        wrong()


# Splits


@given(n=st.integers(2, 80), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_a_split_gives_each_row_to_one_side(n, fraction, seed):
    train, test = split(rows_of(n), fraction, seed)
    assert len(train) >= 1
    assert len(test) >= 1
    assert abs(len(test) - n * fraction) <= 1
    assert sorted([*train.targets.tolist(), *test.targets.tolist()]) == list(range(n))


@given(counts=st.lists(st.integers(2, 30), min_size=1, max_size=5), fraction=st.floats(0.1, 0.6))
def test_a_stratified_split_keeps_the_shares_of_classes(counts, fraction):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, test = split((np.arange(len(labels)), labels), fraction, 4, stratify=True)
    held = np.bincount(test.targets, minlength=len(counts))
    share = len(test) / len(labels)
    assert (abs(held - np.array(counts) * share) <= 1).all()
    assert (np.bincount(train.targets, minlength=len(counts)) >= 1).all()
    assert len(train) + len(test) == len(labels)


def test_a_class_of_one_row_stays_with_those_to_learn_from():
    train, test = split((np.arange(9), [0] * 8 + [1]), 0.5, 0, stratify=True)
    assert 1 in train.targets
    assert 1 not in test.targets


def test_however_much_is_held_out_each_class_can_be_learned():
    labels = np.repeat([0, 1, 2], [2, 3, 40])
    train, test = split((np.arange(45), labels), 0.9, 0, stratify=True)
    assert np.bincount(train.targets).tolist() == [1, 1, 3]
    assert np.bincount(test.targets).tolist() == [1, 2, 37]


def test_split_keeps_names_and_takes_a_key_alone():
    train, test = split(moons(50), 0.2, bl.random.key(1), stratify=True)
    assert train.classes == test.classes == ("0", "1")
    assert test.feature_names == ("x", "y")
    assert np.bincount(test.targets).tolist() == [5, 5]
    again = split(moons(50), 0.2, bl.random.key(1), stratify=True)
    np.testing.assert_array_equal(again[0].inputs, train.inputs)


@pytest.mark.parametrize(
    ("wrong", "kind", "part"),
    [
        (lambda: split(rows_of(5), 0.2), DomainError, "give key="),
        (lambda: split(rows_of(5), 0.0, 1), DomainError, "fraction=0"),
        (lambda: split(rows_of(5), 2, 1), DomainError, "fraction=2"),
        (lambda: split(rows_of(1), 0.5, 1), DataError, "one row cannot be on two sides"),
        (lambda: split((np.ones(4), np.ones((4, 1))), 0.5, 1, stratify=True), DataError, "whole numbers"),
        (lambda: split(rows_of(5), 0.4, 1, stratify=True), DataError, "only one row"),
        (lambda: split(np.ones((4, 2)), 0.5, 1), DataError, "targets are missing"),
    ],
)
def test_splits_that_cannot_be_are_refused(wrong, kind, part):
    with pytest.raises(kind, match=part):
        wrong()


# Scales


def test_standardised_columns_have_mean_0_and_deviation_1():
    train, test = split(moons(200), 0.25, 0)
    scale = standardise(train)
    done = scale.transform(train)
    np.testing.assert_allclose(done.inputs.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(done.inputs.std(axis=0), 1)
    assert done.feature_names == ("x", "y")
    assert done.classes == ("0", "1")
    np.testing.assert_allclose(scale.transform(test.inputs), scale.transform(test).inputs)
    np.testing.assert_allclose(scale.inverse(scale.transform(test)).inputs, test.inputs)


def test_a_constant_column_becomes_zero():
    x = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    scale = standardise(x)
    assert scale.constant.tolist() == [True, False]
    assert scale.transform(x)[:, 0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(scale.inverse(scale.transform(x)), x)
    assert standardise(np.zeros((3, 1))).transform(np.zeros((2, 1))).tolist() == [[0], [0]]


def test_huge_and_tiny_columns_are_scaled_too():
    x = np.array([[1e308, 1e-308, 1e16], [-1e308, 3e-308, 1e16 + 2], [5e307, 2e-308, 1e16 + 4]])
    done = standardise(x).transform(x)
    np.testing.assert_allclose(done.std(axis=0), 1)


def test_dtypes_rows_and_values_are_kept():
    scale = standardise(np.array([[1.0, 2.0], [3.0, 6.0]], np.float32))
    assert scale.transform(np.ones((4, 2), np.float32)).dtype == np.float32
    assert scale.transform(np.ones((4, 2), np.int64)).dtype == np.float64
    assert scale.transform([1.0, 2.0]).tolist() == [-1, -1]
    v = bl.Value(np.array([[5.0, 4.0]]))
    out = scale.transform(v).sum()
    out.backward()
    np.testing.assert_allclose(v.grad, [[1.0, 0.5]])
    images = np.arange(24.0).reshape(2, 3, 4)
    assert standardise(images).transform(images).shape == (2, 3, 4)


def test_scales_that_cannot_be_are_refused():
    scale = standardise(np.array([[1.0, 2.0], [3.0, 6.0]]))
    with pytest.raises(ShapeError, match=r"rows of shape \(2,\)"):
        scale.transform(np.ones((4, 3)))
    with pytest.raises(DataError, match=r"not real numbers|no number"):
        standardise([["a"], ["b"]])
    with pytest.raises(DataError, match="nan in row 1, column 0"):
        standardise([[1.0], [float("nan")]])
    with pytest.raises(DataError, match="range of float16"):
        standardise(np.array([[0.0], [0.001]])).transform(np.array([[60000.0]], np.float16))


def test_whole_numbers_pass_through_batches_unchanged():
    data = next_character(names(50))
    x, y = batches(data, 16, key=0)[0]
    assert x.dtype == y.dtype == np.int64
