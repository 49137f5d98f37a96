"""What a data set is, and what `as_dataset` makes of what people have."""

from __future__ import annotations

import copy
import pickle
from typing import NamedTuple

import numpy as np
import pytest

import backlit as bl
from backlit.core import trees
from backlit.core.errors import BacklitError, DataError, IndexingError
from backlit.data import Dataset, as_dataset, load_digits, moons, xor

X = np.arange(6.0).reshape(3, 2)
Y = np.array([0, 1, 1])


def test_it_unpacks_as_inputs_and_targets():
    data = Dataset(X, Y, ("a", "b"), "t", ("no", "yes"))
    x, y = data
    assert x is data.inputs
    assert y is data.targets
    assert len(data) == 3
    assert repr(data) == "Dataset(3 rows: inputs (3, 2) float64 (a, b), targets (3,) int64 (t) of 2 classes)"


def test_it_never_changes():
    data = moons(10)
    with pytest.raises(AttributeError, match="never changes"):
        data.inputs = X
    with pytest.raises(AttributeError, match="never changes"):
        del data.inputs
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        np.testing.assert_array_equal(other.inputs, data.inputs)
        assert other.classes == data.classes


def test_rows_are_taken_by_place_slice_or_truth():
    data = Dataset(X, Y)
    for rows in ([0, 2], slice(None, None, 2), np.array([True, False, True]), [-3, -1]):
        taken = data.take(rows)
        np.testing.assert_array_equal(taken.inputs, X[[0, 2]])
        np.testing.assert_array_equal(taken.targets, Y[[0, 2]])
    assert len(data.take(1)) == 1
    for wrong in ([3], [-4], [0.5], [True], [[0]]):
        with pytest.raises(IndexingError, match=r"take: (there is no row|rows of)"):
            data.take(wrong)
    for wrong in ([], slice(5, 9), [False, False, False]):
        with pytest.raises(DataError, match="at least one"):
            data.take(wrong)


def test_targets_become_columns():
    assert xor("float32").column().targets.tolist() == [[0], [1], [1], [0]]
    assert xor("float32").column().targets.dtype == np.float32
    assert xor().one_hot().targets.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    with pytest.raises(DataError, match="no order"):
        Dataset(X, [0, 1, 2], classes=("a", "b", "c")).column()
    with pytest.raises(DataError, match="not classes"):
        Dataset(X, [0.5, 1, 2]).one_hot()


def test_it_is_a_tree_of_its_two_arrays():
    data = moons(4)
    leaves, rebuild = trees.flatten({"data": data})
    assert len(leaves) == 2
    again = rebuild(iter(["x", "y"]))["data"]
    assert (again.inputs, again.targets, again.classes) == ("x", "y", data.classes)


class Pair(NamedTuple):
    inputs: object
    targets: object


class Bunch:
    data = X
    target = Y

    def __repr__(self) -> str:  # a test's name is the same in every process
        return "Bunch"


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        [X, Y],
        (X.tolist(), Y.tolist()),
        (bl.Value(X), Y),
        Pair(X, Y),
        Bunch(),
        {"inputs": X, "targets": Y},
        (X, ["no", "yes", "yes"]),
        (X, np.array(["no", "yes", "yes"])),
        (X, np.array(["no", "yes", "yes"], object)),
        (X.astype(object), Y),
        ({"a": X[:, 0], "b": X[:, 1]}, Y),
        (X.astype(">f8"), Y),
        (X.astype(np.longdouble), Y),
    ],
    ids=str,
)
def test_what_people_have_becomes_a_data_set(given):
    data = as_dataset(given)
    np.testing.assert_array_equal(data.inputs, X)
    assert data.inputs.dtype == np.float64
    np.testing.assert_array_equal(data.targets, Y)


def test_a_data_set_is_given_back_and_dtypes_are_kept():
    data = moons(5)
    assert as_dataset(data) is data
    assert as_dataset((X.astype(np.float32), Y.astype(np.uint8))).inputs.dtype == np.float32
    assert as_dataset(load_digits()).inputs.shape == (1797, 64)
    named = as_dataset(({"a": [1, 2], "c": ["u", "v"]}, [0.5, 0.25]))
    assert named.feature_names == ("a", "c=u", "c=v")
    assert as_dataset((X, ["b", "a", "b"])).classes == ("a", "b")
    assert as_dataset({"a": [1, 2], "y": [3, 4]}, target="y").targets.tolist() == [[3], [4]]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (None, "no data"),
        (X, r"one array of shape \(3, 2\), and targets are missing"),
        (bl.Value(X), "targets are missing"),
        ("data.csv", "call load_csv"),
        (b"data.csv", "call load_csv"),
        ((X,), "of 1, and a pair is needed"),
        ((X, Y, Y), "of 3, and a pair is needed"),
        (3, "an int, and a Dataset or a pair"),
        (iter([(X, Y)]), "iterable of batches"),
        ({"a": [1], "b": [2]}, "which column is to be predicted"),
        ((X, Y[:2]), "3 rows and the targets 2 rows"),
        ((X[:0], Y[:0]), "no rows"),
        ((np.ones((3, 0)), Y), "rows without numbers"),
        ((5.0, 1.0), "a single number"),
        (([[1, 2], [3]], [0, 1]), "cannot be made an array"),
        ((X, Y * 1j), "complex"),
        ((X, np.array(["2020-01-01"] * 3, "M8[D]")), "days since a date"),
        ((np.array([["a"]] * 3), Y), "Text columns become numbers"),
        (([["a"], [1], [2]], Y), "Text columns become numbers"),
        ((np.array([[1], [None], [2]], object), Y), "None in row 1"),
        ((np.array([[1], [2], [10**400]], object), Y), "float64 cannot"),
        ((X, [0.0, np.nan, np.inf]), "targets hold nan in row 1, and 1 more like it"),
        ((np.where(X == 3, np.inf, X), Y), "inputs hold inf in row 1, column 1"),
        ((X, [["a"], ["b"], ["c"]]), "not real numbers|no number"),
        (({"a": [1, None]}, [1, 2]), "row 1: column 'a' is missing"),
        (({"a": [1, 2], "b": [1]}, [1, 2]), "unequal numbers of rows"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_to_give(given, part):
    with pytest.raises(DataError, match=part) as caught:
        as_dataset(given)
    assert isinstance(caught.value, BacklitError)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"feature_names": ("a",)}, "1 feature names"),
        ({"classes": ("a",)}, "numbered 0 to 0"),
        ({"classes": ("a", "b"), "targets": Y - 1}, "run from -1 to 0"),
        ({"classes": ("a", "b"), "targets": Y * 1.0}, "float64, and with `classes`"),
    ],
)
def test_names_that_do_not_fit_are_refused(arguments, part):
    with pytest.raises(DataError, match=part):
        Dataset(**{"inputs": X, "targets": Y, **arguments})


def test_a_target_beside_a_pair_is_refused():
    with pytest.raises(DataError, match="names a column of a table"):
        as_dataset((X, Y), target="y")
