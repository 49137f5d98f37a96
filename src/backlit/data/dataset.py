"""What a network learns from: inputs and targets, row by row, and what they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.dtypes import as_dtype
from backlit.core.errors import DataError, DtypeError, IndexingError
from backlit.core.value import Value
from backlit.data.seeds import real_dtype

Array = npt.NDArray[Any]


class Dataset:
    """Inputs and targets, of which row i belongs to row i, with the names of their columns.

    inputs: (n, ...); targets: (n, ...). Numbers to predict are real, with one column for each, (n, 1) for a single
    one, as a network with one output answers; classes are (n,) int64, places in `classes`, the names of what the
    target may be (empty for numbers). `feature_names` has one name for each column of inputs (n, k), or is empty.

    It unpacks as `x, y = data`, and its length is the number of rows. It never changes: `take` and the others give a
    new one. Raises DataError for arrays that are not numbers, not finite, empty or of unequal length, and for labels
    that are not places in `classes`. Cost: one look at each number; arrays are not copied.

    >>> data = Dataset([[0.0, 1.0], [2.0, 3.0]], [1, 0], classes=("no", "yes"))
    >>> data
    Dataset(2 rows: inputs (2, 2) float64, targets (2,) int64 of 2 classes)
    >>> x, y = data
    >>> len(data), data.take([1]).inputs
    (2, array([[2., 3.]]))
    """

    __slots__ = ("classes", "feature_names", "inputs", "target_name", "targets")
    inputs: Array
    targets: Array
    feature_names: tuple[str, ...]
    target_name: str
    classes: tuple[str, ...]

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        feature_names: Sequence[str] = (),
        target_name: str = "",
        classes: Sequence[str] = (),
    ) -> None:
        x, y = numbers_in(inputs, "inputs"), numbers_in(targets, "targets")
        if len(x) != len(y):
            raise DataError(
                f"the inputs have {_rows(len(x))} and the targets {_rows(len(y))} (shapes {x.shape} and {y.shape}); "
                "row i of one belongs to row i of the other, so they need equally many."
            )
        self._fill(x, y, tuple(map(str, feature_names)), str(target_name), tuple(map(str, classes)))
        self._check_names()

    def _fill(self, x: Any, y: Any, features: tuple[str, ...], target: str, classes: tuple[str, ...]) -> None:
        for name, value in zip(
            ("inputs", "targets", "feature_names", "target_name", "classes"),
            (x, y, features, target, classes),
            strict=True,
        ):
            object.__setattr__(self, name, value)

    def _check_names(self) -> None:
        x, y, features = self.inputs, self.targets, self.feature_names
        if features and (x.ndim != 2 or x.shape[1] != len(features)):
            raise DataError(
                f"there are {len(features)} feature names ({listed(features)}), and the inputs have shape {x.shape}; "
                "give one name for each of the columns of a table (n, k), or none."
            )
        if self.classes:
            if y.dtype.kind not in "iu":
                raise DataError(
                    f"the targets are {y.dtype.name}, and with `classes` they are whole numbers, places in "
                    f"{listed(self.classes)}."
                )
            if y.size and not 0 <= int(y.min()) <= int(y.max()) < len(self.classes):
                raise DataError(
                    f"the targets run from {y.min()} to {y.max()}, and the {len(self.classes)} classes are numbered "
                    f"0 to {len(self.classes) - 1}."
                )

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a data set never changes; make another, such as Dataset(x, y) or data.take(rows).")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a data set never changes; make another, such as Dataset(x, y) or data.take(rows).")

    def __reduce__(self) -> tuple[Any, ...]:
        return Dataset, (self.inputs, self.targets, self.feature_names, self.target_name, self.classes)

    def __iter__(self) -> Iterator[Array]:
        """Inputs, then targets."""
        yield self.inputs
        yield self.targets

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.inputs)

    def __backlit_flatten__(self) -> tuple[list[tuple[str, Any]], Callable[[list[Any]], Dataset]]:
        def build(children: list[Any]) -> Dataset:
            new = object.__new__(Dataset)
            x, y = children
            new._fill(x, y, self.feature_names, self.target_name, self.classes)
            return new

        return [(".inputs", self.inputs), (".targets", self.targets)], build

    def _with(self, x: Array, y: Array, classes: tuple[str, ...] | None = None) -> Dataset:
        new = object.__new__(Dataset)
        new._fill(x, y, self.feature_names, self.target_name, self.classes if classes is None else classes)
        return new

    def take(self, rows: Any) -> Dataset:
        """The rows at these places, in this order: whole numbers, a slice, or one truth value a row.

        >>> Dataset([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]).take(slice(1, None)).targets
        array([1., 2.])
        """
        where = np.arange(len(self))[rows] if isinstance(rows, slice) else np.atleast_1d(np.asarray(rows))
        if not isinstance(rows, slice):
            if not where.size:
                raise DataError("take: no rows are asked for, and a data set has at least one.")
            if where.ndim != 1 or where.dtype.kind not in "iub" or (where.dtype == bool and len(where) != len(self)):
                raise IndexingError(
                    f"take: rows of shape {where.shape} and dtype {where.dtype.name}; give a vector of whole numbers, "
                    f"or of {len(self)} truth values."
                )
        try:
            x, y = self.inputs[where], self.targets[where]
        except IndexError:
            outside = where[(where < -len(self)) | (where >= len(self))][0]
            raise IndexingError(
                f"take: there is no row {outside}; the {len(self)} rows are numbered from 0 to {len(self) - 1}."
            ) from None
        if not len(x):
            raise DataError(f"take: {rows!r:.60} holds none of the {len(self)} rows, and a data set has at least one.")
        return self._with(x, y)

    def with_inputs(self, inputs: Any) -> Dataset:
        """The same with other inputs, row by row; feature names are kept if there are as many columns.

        >>> Dataset([[1.0], [2.0]], [0.0, 1.0]).with_inputs([[5.0], [6.0]]).inputs[1]
        array([6.])
        """
        x = numbers_in(inputs, "inputs")
        names = self.feature_names if x.shape[1:] == (len(self.feature_names),) else ()
        return Dataset(x, self.targets, names, self.target_name, self.classes)

    def one_hot(self, dtype: Any = None) -> Dataset:
        """The same with targets (n, classes): 1 in the column of the row's class, 0 elsewhere.

        dtype: that of the inputs if they are real, otherwise float64, unless another is named.

        >>> Dataset([[0.0], [1.0]], [1, 0], classes=("no", "yes")).one_hot().targets
        array([[0., 1.],
               [1., 0.]])
        """
        self._needs_classes("one_hot")
        rows = np.eye(len(self.classes), dtype=self._dtype(dtype, "one_hot"))
        return self._with(self.inputs, rows[self.targets], classes=())

    def column(self, dtype: Any = None) -> Dataset:
        """The same with targets (n, 1) of real numbers, as a network with one output answers.

        For two classes these are 0.0 and 1.0, as a sigmoid and the binary cross entropy need them. dtype: as in
        `one_hot`.

        >>> Dataset([[0.0], [1.0]], [1, 0], classes=("no", "yes")).column().targets
        array([[1.],
               [0.]])
        """
        if self.targets.ndim != 1 and self.targets.shape[1:] != (1,):
            raise DataError(f"column: the targets have shape {self.targets.shape}, which is more than one column.")
        if len(self.classes) > 2:
            raise DataError(
                f"column: there are {len(self.classes)} classes ({listed(self.classes)}), and their numbers have no "
                "order. For one column each call one_hot()."
            )
        return self._with(self.inputs, self.targets.reshape(-1, 1).astype(self._dtype(dtype, "column")), classes=())

    def _dtype(self, dtype: Any, name: str) -> np.dtype[Any]:
        if dtype is not None:
            return real_dtype(dtype, name)
        return self.inputs.dtype if self.inputs.dtype.kind == "f" else np.dtype(np.float64)

    def _needs_classes(self, name: str) -> None:
        if not self.classes or self.targets.ndim != 1:
            raise DataError(
                f"{name}: the targets are {self.targets.dtype.name} of shape {self.targets.shape} and not classes. "
                "Give the names of the classes: Dataset(inputs, targets, classes=(...))."
            )

    def __repr__(self) -> str:
        parts = []
        for word, array, names in (
            ("inputs", self.inputs, self.feature_names),
            ("targets", self.targets, (self.target_name,) if self.target_name else ()),
        ):
            called = f" ({listed(names)})" if names else ""
            parts.append(f"{word} {tuple(array.shape)} {array.dtype.name}{called}")
        classes = f" of {len(self.classes)} classes" if self.classes else ""
        return f"Dataset({_rows(len(self))}: {', '.join(parts)}{classes})"


def _rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")


def called(thing: Any) -> str:
    """What a thing is, for an error: "a list", "a pandas's DataFrame"."""
    kind = type(thing)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"
    return f"a{'n' if name[0] in 'aeiou' else ''} {name}"


def listed(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(name if len(name) <= 24 else f"{name[:23]}…" for name in names[:most])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")


def numbers_in(given: Any, which: str) -> Array:
    """An array of finite real numbers with at least one row."""
    if isinstance(given, Value):
        given = given.data
    try:
        array = np.asarray(given)
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"the {which} cannot be made an array: {reason}. Rows must be equally long.") from error
    if array.dtype == object:
        array = _of_objects(array, which)
    if array.dtype.kind not in "biuf":
        hint = (
            "Text columns become numbers in load_csv and from_frame." if array.dtype.kind in "UST"
            else "Give their real and imaginary parts as columns." if array.dtype.kind == "c"
            else "Turn them into numbers first, such as days since a date." if array.dtype.kind in "mM"
            else "Give numbers."
        )  # fmt: skip
        raise DataError(f"the {which} are {array.dtype} and not real numbers. {hint}")
    if array.dtype.kind == "f":
        array = _stored_float(array, which)
    else:
        as_dtype(array.dtype)
    if array.ndim == 0:
        raise DataError(f"the {which} are a single number, {array}; rows are needed: an array of shape (n, ...).")
    if not len(array):
        raise DataError(f"the {which} have no rows (shape {array.shape}); there is nothing to learn from.")
    if not array.size:
        raise DataError(f"the {which} have rows without numbers (shape {array.shape}).")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        wrong = np.argwhere(~np.isfinite(array))
        place = tuple(int(i) for i in wrong[0])
        where = f"row {place[0]}" + "".join(f", column {i}" for i in place[1:2])
        raise DataError(
            f"the {which} hold {array[place]} in {where}"
            + (f", and {len(wrong) - 1:,} more like it" if len(wrong) > 1 else "")
            + ". Leave such rows out, or put numbers there: load_csv and from_frame do it with missing=."
        )
    return array


def _stored_float(array: Array, which: str) -> Array:
    if array.dtype.itemsize > 8:
        return array.astype(np.float64)  # extended precision is not stored
    try:
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        as_dtype(native.dtype)
    except DtypeError as error:
        raise DataError(f"the {which} are {array.dtype}, which is not stored: {error}") from None
    return native


def _of_objects(array: Array, which: str) -> Array:
    """Numbers that came as Python objects. None, text and ragged rows are refused with their place."""
    flat = array.reshape(-1)
    for i, cell in enumerate(flat):
        if not isinstance(cell, (bool, int, float, np.number, np.bool_)):
            row = i // max(1, flat.size // max(1, len(array))) if array.ndim else 0
            raise DataError(
                f"the {which} hold {cell!r:.60} in row {row}, which is no number."
                + (" Text columns become numbers in load_csv and from_frame." if isinstance(cell, str) else "")
            )
    try:
        return array.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"the {which} hold a number that float64 cannot: {error}.") from None
