"""What people have at hand, as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backlit.core.errors import DataError
from backlit.core.value import Value
from backlit.data.dataset import Dataset, called
from backlit.data.frames import features_of, from_frame


def as_dataset(data: Any, target: Any = None) -> Dataset:
    """The data set that is meant by what people have at hand.

    data: a Dataset; a pair `(inputs, targets)` of arrays, values, lists, tables or anything NumPy takes; an object
    with `.inputs` and `.targets`, or with `.data` and `.target`; a table (a frame, or a mapping of names to columns)
    together with the name of its `target`. Targets that are text become classes, in alphabetical order.

    Raises: DataError that says what to give instead, where something is missing, not a number, not finite, empty,
    or of unequal length. Cost: one look at each number; a Dataset is given back as it is.

    >>> as_dataset(([[0.0], [1.0]], ["cat", "dog"]))
    Dataset(2 rows: inputs (2, 1) float64, targets (2,) int64 of 2 classes)
    """
    if target is not None and not isinstance(data, (Dataset, tuple, list)):
        return from_frame(data, target=target)
    if target is not None:
        raise DataError(f"target={target!r:.60} names a column of a table, and the data are {called(data)}.")
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (tuple, list)) and not hasattr(data, "inputs"):
        if len(data) != 2:
            raise DataError(
                f"the data are {called(data)} of {len(data)}, and a pair is needed: (inputs, targets)."
                + (" Several inputs can be joined into one array." if len(data) > 2 else "")
            )
        return _of_pair(*data)
    for first, second in (("inputs", "targets"), ("data", "target")):
        if not isinstance(data, (Mapping, np.ndarray, Value)) and hasattr(data, first) and hasattr(data, second):
            return _of_pair(getattr(data, first), getattr(data, second))
    if isinstance(data, Mapping) and {"inputs", "targets"} <= set(data):
        return _of_pair(data["inputs"], data["targets"])
    raise _refused(data)


def _refused(data: Any) -> DataError:
    if _is_table(data):
        return DataError(
            f"the data are {called(data)}, and it is not said which column is to be predicted. "
            "Write from_frame(table, target=...), with the name of that column."
        )
    if isinstance(data, (np.ndarray, Value)) or hasattr(data, "__array__"):
        shape = tuple(getattr(data, "shape", ()))
        return DataError(
            f"the data are one array of shape {shape}, and targets are missing: give a pair (inputs, targets). "
            "A network that is to give back its own inputs takes (x, x)."
        )
    if isinstance(data, (str, bytes)) or hasattr(data, "__fspath__"):
        return DataError(f"the data are {data!r:.80}, a text. To read a file call load_csv(path, target=...).")
    if data is None:
        return DataError("there are no data (None); give a pair (inputs, targets).")
    loader = " An iterable of batches is not a data set: give the arrays, and `batch_size`."
    return DataError(
        f"the data are {called(data)}, and a Dataset or a pair (inputs, targets) is needed."
        + (loader if hasattr(data, "__iter__") else "")
    )


def _is_table(thing: Any) -> bool:
    return hasattr(thing, "__dataframe__") or hasattr(thing, "columns") or isinstance(thing, Mapping)


def _of_pair(inputs: Any, targets: Any) -> Dataset:
    features: Sequence[str] = ()
    if _is_table(inputs):
        inputs, features = features_of(inputs)
    target_name = getattr(targets, "name", None)
    if _is_table(targets):
        targets, names = features_of(targets)
        target_name = names[0] if len(names) == 1 else None
    values, classes = _labels(targets)
    name = target_name if isinstance(target_name, str) else ""
    return Dataset(inputs, values, features, name, classes)


def _labels(targets: Any) -> tuple[Any, tuple[str, ...]]:
    """Targets as they are; or, where they are text, their codes and what the codes stand for."""
    if isinstance(targets, Value):
        return targets, ()
    try:
        array = np.asarray(targets)
    except Exception:  # noqa: BLE001  (what cannot be an array is refused below, in our words)
        return targets, ()
    cells = array.tolist() if array.dtype.kind in "OUT" and array.ndim == 1 else []
    if not cells or not all(isinstance(cell, str) for cell in cells):
        return targets, ()
    classes = sorted(set(cells))
    place = {name: i for i, name in enumerate(classes)}
    return np.array([place[cell] for cell in cells], np.int64), tuple(classes)
