"""From named columns, of a file or a frame, to a data set: what is missing, what is text, what is the target."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from backlit.core.dtypes import float64
from backlit.core.errors import DataError, DomainError, DtypeError
from backlit.data.dataset import Dataset
from backlit.data.seeds import real_dtype, whole

Kind = Literal["number", "boolean", "category"]
KINDS = ("number", "category")
_SHOWN = 5  # rows that an error names


@dataclass(frozen=True)
class Column:
    """One column as it was read, (n,).

    kind: "number", "boolean" (numbers 0 and 1) or "category" (words). What is missing is NaN or "".
    """

    name: str
    kind: Kind
    numbers: npt.NDArray[np.float64] | None
    words: list[str] | None
    missing: npt.NDArray[np.bool_]


class Faults:
    """What is wrong with which rows, said once for all of them."""

    def __init__(self, source: str, place: Callable[[int], str]) -> None:
        self.source = source
        self._place = place
        self._of_row: dict[int, list[str]] = {}
        self._hints: dict[str, None] = {}

    def add(self, row: int, what: str, hint: str = "") -> None:
        self._of_row.setdefault(row, []).append(what)
        if hint:
            self._hints.setdefault(hint)

    def __bool__(self) -> bool:
        return bool(self._of_row)

    def stop(self) -> None:
        """Raise DataError if there is any."""
        if not self._of_row:
            return
        rows = sorted(self._of_row)
        lines = []
        for row in rows[:_SHOWN]:
            said = self._of_row[row]
            more = f" (and {len(said) - 1} more in this row)" if len(said) > 1 else ""
            lines.append(f"{self._place(row)}: {said[0]}{more}")
        hints = "".join(f"\n  {hint}" for hint in self._hints)
        if len(rows) == 1:
            raise DataError(f"{self.source}, {lines[0]}.{hints}")
        if len(rows) > _SHOWN:
            lines.append(f"... and {len(rows) - _SHOWN:,} more rows")
        listed = "".join(f"\n    {line}" for line in lines)
        raise DataError(f"{self.source}: {len(rows):,} rows cannot be used.{listed}{hints}")


@dataclass(frozen=True)
class Wishes:
    """How a table becomes numbers: the keyword arguments that `load_csv` and `from_frame` share."""

    missing: Any = "error"
    categorical: Any = "one_hot"
    types: Mapping[Any, str] | None = None
    drop: Any = ()
    most_categories: int = 100
    dtype: Any = float64

    def checked(self, name: str) -> Wishes:
        """Itself, if everything is what it must be."""
        if not (isinstance(self.missing, Mapping) or self.missing in ("error", "drop", "mean")):
            value = self.missing
            if isinstance(value, (bool, str)) or not _is_finite(value):
                raise DomainError(
                    f'{name}: missing={value!r:.60}; give "error", "drop", "mean", a number to put there, or a mapping '
                    "of column names to what to put there."
                )
        if self.categorical not in ("one_hot", "codes"):
            raise DomainError(f'{name}: categorical={self.categorical!r:.60} is neither "one_hot" nor "codes".')
        for column, kind in (self.types or {}).items():
            if kind not in KINDS:
                raise DomainError(f'{name}: types[{column!r:.40}]={kind!r:.40} is neither "number" nor "category".')
        whole(self.most_categories, "most_categories", name)
        real_dtype(self.dtype, name)
        return self


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


# Names of columns


def find(asked: Any, names: Sequence[str], what: str, source: str, labels: Sequence[Any] | None = None) -> int:
    """The place of a column that is asked for by name or place. Raises DataError with names that are near."""
    if labels is not None and not isinstance(asked, str):
        for i, label in enumerate(labels):
            if type(label) is type(asked) and label == asked:
                return i
    if isinstance(asked, (int, np.integer)) and not isinstance(asked, bool):
        if -len(names) <= asked < len(names):
            return int(asked) % len(names)
        raise DataError(f"{source}: {what} {asked}: there are {len(names)} columns, numbered from 0: {_all(names)}.")
    if not isinstance(asked, str):
        raise DtypeError(f"{source}: {what} {asked!r:.60} is neither the name of a column nor its place.")
    if names.count(asked) == 1:
        return names.index(asked)
    if asked in names:
        raise DataError(
            f"{source}: {what} {asked!r}: more than one column has this name; give a place, 0 for the first."
        )
    folded = {name.casefold().strip(): name for name in names}
    near = difflib.get_close_matches(asked.casefold().strip(), list(folded), n=3, cutoff=0.6)
    meant = f" Did you mean {' or '.join(repr(folded[name]) for name in near)}?" if near else ""
    raise DataError(f"{source}: {what} {asked!r:.60}: there is no such column.{meant} The columns are {_all(names)}.")


def _all(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) if len(name) <= 30 else f"'{name[:29]}…'" for name in names[:most])
    return shown + (f", … ({len(names)} in all)" if len(names) > most else "")


def kept_columns(names: Sequence[str], drop: Any, source: str, labels: Sequence[Any] | None = None) -> list[int]:
    """The places of the columns that are not left out. Raises DataError for names that are empty or stand twice."""
    asked = [drop] if isinstance(drop, (str, int)) else list(drop)
    left_out = {find(one, names, "drop", source, labels) for one in asked}
    kept = [i for i in range(len(names)) if i not in left_out]
    seen: dict[str, int] = {}
    for i in kept:
        name = names[i]
        if not name.strip():
            raise DataError(
                f"{source}: column {i + 1} of {len(names)} has no name. Name it, or leave it out with drop=[{i}] (it "
                "may be the numbers of the rows, which say nothing)."
            )
        if name in seen:
            raise DataError(
                f"{source}: columns {seen[name] + 1} and {i + 1} are both called {name!r:.60}. Give each a name of its "
                f"own, or leave one out with drop=[{i}]."
            )
        seen[name] = i
    return kept


# Columns put together


def assembled(columns: Sequence[Column], targets: Sequence[int], wishes: Wishes, faults: Faults) -> Dataset:
    """The data set of some columns, of which those at `targets` are to be predicted."""
    filled = _without_gaps(columns, set(targets), wishes, faults)
    dtype = real_dtype(wishes.dtype, "table")
    source = faults.source
    inputs = [column for i, column in enumerate(filled) if i not in targets]
    if not inputs:
        raise DataError(f"{source}: there is no column besides the target, so nothing to learn from.")
    features, names = as_features(inputs, wishes, source)
    y, classes = _targets([filled[i] for i in targets], wishes, source)
    _check_range([columns[i].name for i in targets] if not classes else [], y, dtype, source)
    _check_range(names, features, dtype, source)
    return Dataset(
        features.astype(dtype),
        y if classes else y.astype(dtype),
        names,
        ", ".join(filled[i].name for i in targets),
        classes,
    )


def _check_range(names: Sequence[str], table: npt.NDArray[Any], dtype: np.dtype[Any], source: str) -> None:
    if not names or dtype == np.float64:
        return
    largest = np.abs(table).max(axis=0)
    for name, number in zip(names, largest.tolist(), strict=True):
        if number > float(np.finfo(dtype).max):
            raise DataError(
                f"{source}: column {name!r:.60} holds {number:.6g}, more than {dtype.name} can; load it as float64."
            )


def as_features(
    columns: Sequence[Column], wishes: Wishes, source: str
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Columns without gaps as a table (n, k), with the names of the k columns."""
    parts: list[npt.NDArray[np.float64]] = []
    names: list[str] = []
    for column in columns:
        if column.words is None:
            assert column.numbers is not None
            parts.append(column.numbers[:, None])
            names.append(column.name)
            continue
        levels, codes = _levels(column, wishes, source)
        if wishes.categorical == "codes":
            parts.append(codes.astype(np.float64)[:, None])
            names.append(column.name)
        else:
            parts.append(np.eye(len(levels))[codes])
            names.extend(f"{column.name}={level}" for level in levels)
    return np.concatenate(parts, axis=1), tuple(names)


def _levels(column: Column, wishes: Wishes, source: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    words = column.words
    assert words is not None
    levels = sorted(set(words))
    if len(levels) > wishes.most_categories:
        raise DataError(
            f"{source}: column {column.name!r:.60} is text with {len(levels):,} different words in {len(words):,} rows "
            f"({_all(levels, 3)}). That many are names more than categories: leave the column out with "
            f"drop=[{column.name!r:.60}], or raise most_categories={wishes.most_categories}."
        )
    place = {level: i for i, level in enumerate(levels)}
    return levels, np.array([place[word] for word in words], np.int64)


def _targets(columns: Sequence[Column], wishes: Wishes, source: str) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    first = columns[0]
    if len(columns) == 1 and first.words is not None:
        levels, codes = _levels(first, wishes, source)
        return codes, tuple(levels)
    if len(columns) == 1 and first.kind == "boolean":
        assert first.numbers is not None
        return first.numbers.astype(np.int64), ("false", "true")
    for column in columns:
        if column.words is not None:
            raise DataError(
                f"{source}: of several targets each is a number, and {column.name!r:.60} is text. Predict it alone."
            )
    return np.stack([np.asarray(column.numbers) for column in columns], axis=1), ()


# What is missing


def _without_gaps(columns: Sequence[Column], targets: set[int], wishes: Wishes, faults: Faults) -> list[Column]:
    policy = wishes.missing
    if isinstance(policy, Mapping):
        names = [column.name for column in columns]
        policy = {find(name, names, "missing", faults.source): value for name, value in policy.items()}
    if policy == "drop":
        whole_rows = ~np.logical_or.reduce([column.missing for column in columns])
        if not whole_rows.any():
            raise DataError(
                f'{faults.source}: each of the {len(whole_rows):,} rows has something missing, and missing="drop" '
                "leaves none."
            )
        return [_rows_of(column, whole_rows) for column in columns]
    found = []
    for i, column in enumerate(columns):
        if not column.missing.any():
            found.append(column)
            continue
        wish = policy.get(i, "error") if isinstance(policy, dict) else policy
        if i in targets or wish == "error":
            _report_gaps(column, i in targets, faults)
            found.append(column)
        else:
            found.append(_filled(column, wish, faults.source))
    faults.stop()
    return found


def _report_gaps(column: Column, is_target: bool, faults: Faults) -> None:
    hint = (
        'A target is never made up: leave such rows out with missing="drop".'
        if is_target
        else 'Say what to do: missing="drop" leaves such rows out, "mean" puts the mean of the column there.'
    )
    for row in np.flatnonzero(column.missing).tolist():
        faults.add(row, f"{'the target' if is_target else 'column'} {column.name!r:.60} is missing", hint)


def _rows_of(column: Column, rows: npt.NDArray[np.bool_]) -> Column:
    numbers = None if column.numbers is None else column.numbers[rows]
    words = None if column.words is None else [word for word, keep in zip(column.words, rows, strict=True) if keep]
    return Column(column.name, column.kind, numbers, words, column.missing[rows])


def _filled(column: Column, wish: Any, source: str) -> Column:
    """The column with something where it had nothing: the mean, or the most frequent word, or what was wished."""
    gaps = column.missing
    none = np.zeros_like(gaps)
    if wish == "mean" and gaps.all():
        raise DataError(f"{source}: column {column.name!r:.60} is missing in every row and has no mean; drop it.")
    if column.words is not None:
        if wish == "mean":
            times = Counter(word for word, gap in zip(column.words, gaps, strict=True) if not gap)
            wish = max(sorted(times), key=times.__getitem__)  # the first in the alphabet of equally frequent ones
        if not isinstance(wish, str):
            raise DataError(
                f"{source}: column {column.name!r:.60} is text, and {wish!r:.40} is to be put where it is missing. "
                f'Say it for this column: missing={{{column.name!r:.60}: "unknown"}}.'
            )
        words = [wish if gap else word for word, gap in zip(column.words, gaps, strict=True)]
        return Column(column.name, column.kind, None, words, none)
    assert column.numbers is not None
    if wish == "mean":
        known_numbers = column.numbers[~gaps]
        unit = float(np.abs(known_numbers).max()) or 1.0  # so that a sum of huge numbers cannot overflow
        wish = float((known_numbers / unit).mean() * unit)
        if column.kind == "boolean":
            wish = float(wish > 0.5)
    if isinstance(wish, str) or not _is_finite(wish):
        raise DataError(
            f"{source}: column {column.name!r:.60} holds numbers, and {wish!r:.40} cannot stand where it is missing."
        )
    return Column(column.name, column.kind, np.where(gaps, float(wish), column.numbers), None, none)
