"""Tables that other libraries hold: pandas, Polars, Arrow, the DataFrame interchange protocol, mappings, arrays.

None of those libraries is imported. A table is asked for the names of its columns and each column for `to_numpy`; one
that has only `__dataframe__` is read by way of its buffers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.dtypes import float64
from backlit.core.errors import DataError, DomainError
from backlit.data.columns import Column, Faults, Wishes, as_features, assembled, find, kept_columns
from backlit.data.dataset import Dataset, called


def from_frame(
    frame: Any,
    target: Any,
    *,
    missing: Any = "error",
    categorical: str = "one_hot",
    types: Mapping[Any, str] | None = None,
    drop: Any = (),
    most_categories: int = 100,
    dtype: Any = float64,
) -> Dataset:
    """The data set in a table: inputs (n, k) of `dtype`, and the column `target`, or a list of columns of numbers.

    frame: a frame of pandas or Polars, a table of Arrow, anything with `__dataframe__` (the DataFrame interchange
    protocol) or `to_numpy`, a mapping of names to columns, or an array (n, k), where columns are named by their
    places. Text, categories, true and false become classes or inputs as in `load_csv`, where the other arguments are
    explained; here the table says which columns are text: "12" is not read as a number. Missing are None, NaN and NA.

    Raises: DataError with the numbers of the rows, counted from 0; DomainError for arguments that mean nothing.

    >>> data = from_frame({"age": [31, 44, 27], "town": ["Ulm", "Bonn", "Ulm"], "won": [True, False, True]}, "won")
    >>> data.feature_names, data.classes, data.targets
    (('age', 'town=Bonn', 'town=Ulm'), ('false', 'true'), array([1, 0, 1]))
    """
    wishes = Wishes(missing, categorical, types, drop, most_categories, dtype).checked("from_frame")
    source = "from_frame"
    labels, arrays = columns_of(frame)
    names = [str(label) for label in labels]
    kept = kept_columns(names, drop, source, labels)
    asked = _asked(target, labels, names)
    for one in asked:
        if one not in kept:
            raise DataError(f"{source}: the target {names[one]!r:.60} is among the columns to drop.")
    told = {find(name, names, "types", source, labels): kind for name, kind in (types or {}).items()}
    faults = Faults(source, lambda row: f"row {row}")
    columns = [_column(names[i], arrays[i], told.get(i), faults) for i in kept]
    _check_lengths(columns)
    faults.stop()
    return assembled(columns, [kept.index(i) for i in asked], wishes, faults)


def _asked(target: Any, labels: Sequence[Any], names: Sequence[str]) -> list[int]:
    several = target if isinstance(target, list) else [target]
    if target is None or not several:
        raise DomainError(f"from_frame: name the target, one of {', '.join(names[:12])}.")
    found = [find(one, names, "target", "from_frame", labels) for one in several]
    if len(set(found)) < len(found):
        raise DomainError(f"from_frame: a column stands twice among the targets {target!r:.80}.")
    return found


def _check_lengths(columns: Sequence[Column]) -> None:
    lengths = {len(column.missing) for column in columns}
    if len(lengths) > 1:
        told = ", ".join(f"{column.name!r:.30} {len(column.missing):,}" for column in columns[:6])
        raise DataError(f"from_frame: the columns have unequal numbers of rows: {told}.")
    if lengths == {0}:
        raise DataError("from_frame: the table has no rows.")


def features_of(table: Any) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """All columns of a table as inputs (n, k), with their names. Raises DataError if anything is missing."""
    labels, arrays = columns_of(table)
    names = [str(label) for label in labels]
    faults = Faults("table", lambda row: f"row {row}")
    kept = kept_columns(names, (), "table")
    columns = [_column(names[i], arrays[i], None, faults) for i in kept]
    _check_lengths(columns)
    for column in columns:
        for row in np.flatnonzero(column.missing).tolist():
            hint = 'from_frame(table, target, missing="drop" or "mean") says what to do.'
            faults.add(row, f"column {column.name!r:.60} is missing", hint)
    faults.stop()
    return as_features(columns, Wishes(), "table")


# From the table to arrays, one a column


def columns_of(frame: Any) -> tuple[list[Any], list[Any]]:
    """The labels of the columns, and each as an array with its dtype, or as a list."""
    try:
        found = _columns_of(frame)
    except DataError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"from_frame: {called(frame)} cannot be read: {type(error).__name__}: {reason}.") from error
    if not found[0]:
        raise DataError(f"from_frame: {called(frame)} without columns.")
    return found


def _columns_of(frame: Any) -> tuple[list[Any], list[Any]]:
    if isinstance(frame, Mapping):
        return list(frame), [frame[label] for label in frame]
    if isinstance(frame, np.ndarray) and frame.dtype.names:
        return list(frame.dtype.names), [frame[name] for name in frame.dtype.names]
    labels = getattr(frame, "column_names", None)
    if labels is None or callable(labels):
        labels = getattr(frame, "columns", None)
    if labels is not None and not callable(labels) and hasattr(frame, "__getitem__"):
        names = list(labels)
        _check_labels(names)
        return names, [frame[label] for label in names]
    if hasattr(frame, "__dataframe__") or hasattr(frame, "get_column_by_name"):
        from backlit.data.interchange import read_columns

        return read_columns(frame)
    if isinstance(frame, (str, bytes)) or not (
        hasattr(frame, "to_numpy") or hasattr(frame, "__array__") or isinstance(frame, (list, tuple))
    ):
        raise DataError(
            f"from_frame: {called(frame)} is no table; give a frame of pandas or Polars, anything with __dataframe__ "
            "or to_numpy, a mapping of names to columns, or an array (n, k)."
        )
    table = np.asarray(frame.to_numpy() if hasattr(frame, "to_numpy") else frame)
    if table.ndim != 2:
        raise DataError(f"from_frame: an array of shape {table.shape} is no table; one has rows and columns, (n, k).")
    return list(range(table.shape[1])), list(table.T)


def _check_labels(labels: Sequence[Any]) -> None:
    """A frame asked for a label that stands twice gives two columns at once."""
    for label, times in Counter(labels).items():
        if times > 1:
            raise DataError(f"from_frame: more than one column is called {label!r:.60}; give each a name of its own.")


# From arrays to columns


def _column(name: str, given: Any, told: str | None, faults: Faults) -> Column:
    is_category = str(getattr(given, "dtype", "")).lower().startswith(("categor", "enum", "dictionary"))
    if hasattr(given, "to_numpy") and not isinstance(given, np.ndarray):
        array = np.asarray(given.to_numpy())
    else:
        array = np.asarray(_listed(given) if not isinstance(given, np.ndarray) else given)
    if array.ndim != 1:
        raise DataError(f"from_frame: column {name!r:.60} has shape {array.shape}, and a column is (n,).")
    kind = array.dtype.kind
    if kind in "biuf" and told != "category" and not is_category:
        numbers = array.astype(np.float64)
        gaps = np.isnan(numbers)
        _report_infinite(name, numbers, faults)
        return Column(name, "boolean" if kind == "b" else "number", numbers, None, gaps)
    if kind in "Mm":
        raise DataError(
            f"from_frame: column {name!r:.60} holds {'times' if kind == 'M' else 'durations'} ({array.dtype}). Turn "
            f"it into numbers, such as days since a date, or leave it out with drop=[{name!r:.60}]."
        )
    if kind == "c":
        raise DataError(f"from_frame: column {name!r:.60} holds complex numbers; give their parts as two columns.")
    cells = array.tolist() if kind != "f" else [None if cell != cell else cell for cell in array.tolist()]
    return _of_cells(name, cells, "category" if is_category else told, faults)


def _listed(given: Any) -> Any:
    """A list as an array of objects, so that NumPy does not turn numbers beside text into text."""
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        return given
    if hasattr(given, "__array__"):
        return given
    cells = list(given)
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


def _is_missing(cell: Any) -> bool:
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, (float, np.floating)) and bool(cell != cell)


def _report_infinite(name: str, numbers: npt.NDArray[np.float64], faults: Faults) -> None:
    for row in np.flatnonzero(np.isinf(numbers)).tolist():
        faults.add(row, f"column {name!r:.60} holds {numbers[row]}, and a network cannot learn from infinities")


def _of_cells(name: str, cells: Sequence[Any], told: str | None, faults: Faults) -> Column:
    """A column of Python objects: text, truth values or numbers, and what is missing."""
    gaps = np.array([_is_missing(cell) for cell in cells], bool)
    known = [cell for cell, gap in zip(cells, gaps, strict=True) if not gap]
    if told == "category" or (told is None and known and isinstance(known[0], str)):
        words = []
        for row, (cell, gap) in enumerate(zip(cells, gaps, strict=True)):
            if not gap and told is None and not isinstance(cell, str):
                faults.add(row, f"column {name!r:.60} holds {cell!r:.40} among text")
            words.append("" if gap else str(cell))
        return Column(name, "category", None, words, gaps)
    truths = bool(known) and all(isinstance(cell, (bool, np.bool_)) for cell in known)
    numbers = np.full(len(cells), np.nan)
    for row, (cell, gap) in enumerate(zip(cells, gaps, strict=True)):
        if gap:
            continue
        try:
            if isinstance(cell, (str, bytes)) and told != "number":
                raise TypeError
            numbers[row] = float(cell)
        except (TypeError, ValueError, OverflowError):
            faults.add(
                row,
                f"column {name!r:.60} holds {cell!r:.40} ({type(cell).__name__}), which is no number",
                f'If the column is meant as text, say types={{{name!r:.60}: "category"}}; or leave it out with drop=.',
            )
    _report_infinite(name, numbers, faults)
    return Column(name, "boolean" if truths else "number", numbers, None, gaps | np.isnan(numbers))
