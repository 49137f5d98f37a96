"""Tables from text files: CSV and its relatives, read with the standard library, and everything wrong said at once."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.dtypes import float64
from backlit.core.errors import DataError, DomainError, DtypeError
from backlit.data.columns import Column, Faults, Wishes, assembled, find, kept_columns
from backlit.data.dataset import Dataset

MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "?"])
"""What a cell holds that is missing, in small or capital letters."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
_DELIMITERS = ",;\t|"
_TRUTHS = {"false": 0.0, "true": 1.0}
_MAGIC = {
    b"PK\x03\x04": "a zip archive or a spreadsheet; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet; save the sheet as CSV",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"PAR1": "a Parquet file; read it with pandas or Polars and call from_frame",
    b"ARROW1": "an Arrow file; read it with pandas or Polars and call from_frame",
    b"SQLite format 3": "a database",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\x93NUMPY": "an array of NumPy; read it with numpy.load",
}


def load_csv(
    path: str | os.PathLike[str],
    target: str | int | Sequence[str | int] | None = None,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    missing: Any = "error",
    categorical: str = "one_hot",
    types: Mapping[Any, str] | None = None,
    drop: Any = (),
    encoding: str = "utf-8",
    decimal: str = ".",
    most_categories: int = 100,
    dtype: Any = float64,
) -> Dataset:
    r"""The data set in a text file of rows and columns: inputs (n, k) of `dtype`, and the target.

    target: the name or place (0 is the first, -1 the last) of the column to be predicted, or a list of columns of
    numbers; None is the last column. Text, true and false become classes, (n,) int64; numbers become (n, 1). Classes
    that are written as numbers are asked for with types={"species": "category"}.

    The file:
    delimiter: one character; None finds which of , ; tab | divides the rows into equally many cells.
    header: whether the first row holds names; None looks whether it is unlike the rows below. Without, the columns
        are called column1, column2 and so on.
    encoding: of the text; a byte-order mark is passed over. decimal: "." or ",". Rows may hold quotes, as RFC 4180
        has them; lines without anything on them are passed over.
    drop: names or places of columns to leave out.

    The columns:
    types: {name: "number" or "category"} for columns where what was found is not what is meant. Found are numbers,
        where more than half of the cells are (others are then faults), true/false (0 and 1), otherwise text.
    categorical: "one_hot" gives a column of text one column for each word, called "colour=red"; "codes" numbers the
        words in alphabetical order. More than `most_categories` words in one column are an error.
    missing: "error"; "drop" leaves the row out; "mean" puts the mean of the column there, or the most frequent word
        (over all rows, also those that you hold out later); a number is put there; {name: value} says it by column.
        Missing is an empty cell, NA, N/A, NaN, null, None or ?. A target is never made up.

    Numbers are read as float64. Infinities, and numbers that the dtype cannot hold, are faults.

    Raises: DataError for whatever is wrong with the file, with line numbers, all faulty rows at once: the first five
    and how many there are; DomainError for arguments that mean nothing. Cost: about 1 us a cell, and some
    fifteen times the file in memory.

    >>> import tempfile; file = Path(tempfile.mkdtemp()) / "fruit.csv"
    >>> _ = file.write_text("weight,colour,fruit\n150,red,apple\n120,yellow,banana\n170,green,apple\n")
    >>> data = load_csv(file, target="fruit")
    >>> data.feature_names, data.classes, data.targets
    (('weight', 'colour=green', 'colour=red', 'colour=yellow'), ('apple', 'banana'), array([0, 1, 0]))
    >>> data.inputs[0]
    array([150.,   0.,   1.,   0.])
    """
    wishes = Wishes(missing, categorical, types, drop, most_categories, dtype).checked("load_csv")
    _check_form(delimiter, header, decimal)
    place = _as_path(path)
    source = f"load_csv: {place.name or place}"
    text = _decoded(_bytes_of(place, source), encoding, source)
    separator = _delimiter_of(text) if delimiter is None else delimiter
    rows, lines = _rows_of(text, separator, source)
    named = _has_header(rows, decimal, source) if header is None else bool(header)
    if named:
        names = [cell.strip() for cell in rows[0]]
        rows, lines = rows[1:], lines[1:]
        if not rows:
            raise DataError(f"{source}: line 1 is a header ({len(names)} columns), and no rows follow.")
    else:
        names = [f"column{i + 1}" for i in range(Counter(map(len, rows)).most_common(1)[0][0])]
    faults = Faults(source, lambda row: f"line {lines[row]}")
    kept = kept_columns(names, drop, source)
    asked = _targets_asked(target, names, source)
    for one in asked:
        if one not in kept:
            raise DataError(f"{source}: the target {names[one]!r:.60} is among the columns to drop.")
    _check_widths(rows, names, separator, named, faults)
    told = {find(name, names, "types", source): kind for name, kind in (types or {}).items()}
    cells = list(zip(*rows, strict=True))
    columns = [_column(names[i], cells[i], told.get(i), decimal, faults) for i in kept]
    faults.stop()
    return assembled(columns, [kept.index(i) for i in asked], wishes, faults)


def _check_form(delimiter: Any, header: Any, decimal: Any) -> None:
    if delimiter is not None and not (
        isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n\0 ' and not delimiter.isalnum()
    ):
        raise DomainError(
            f'load_csv: delimiter={delimiter!r:.40}; it is one character that divides cells, such as "," or ";" or '
            '"\\t", and no letter, digit, space, quote or line end.'
        )
    if header not in (None, True, False):
        raise DomainError(f"load_csv: header={header!r:.40}; it is True, False, or None to find out.")
    if decimal not in (".", ","):
        raise DomainError(f'load_csv: decimal={decimal!r:.40}; it is "." or ",".')
    if decimal == delimiter:
        raise DomainError(f"load_csv: {decimal!r} cannot both divide cells and mark the fraction of a number.")


# From the path to a text


def _as_path(path: Any) -> Path:
    try:
        found = os.fspath(path)
    except TypeError:
        found = None
    if not isinstance(found, str):
        raise DtypeError(f"load_csv: {path!r:.60} is not the path of a file.")
    if not found or "\0" in found:
        raise DataError(f"load_csv: {found!r:.60} cannot be the path of a file.")
    return Path(found)


def _bytes_of(path: Path, source: str) -> bytes:
    try:
        if path.is_dir():
            raise DataError(f"{source}: {path} is a folder; name a file in it.")
        if path.exists() and not path.is_file():
            raise DataError(f"{source}: {path} is a device or a pipe, not a file.")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{source}: there is no file {path}.{_near(path)}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{source}: {path} cannot be read: {reason}.") from error


def _near(path: Path) -> str:
    try:
        if not path.parent.is_dir():
            return f" There is no folder {path.parent} either."
        beside = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return ""
    found = difflib.get_close_matches(path.name, beside, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _decoded(raw: bytes, encoding: Any, source: str) -> str:
    if not raw.strip():
        raise DataError(f"{source}: the file is empty.")
    for start, what in _MAGIC.items():
        if raw.startswith(start):
            raise DataError(f"{source}: this is no text file but {what}.")
    if not isinstance(encoding, str):
        raise DtypeError(f'load_csv: encoding={encoding!r:.40} is not the name of an encoding, such as "utf-8".')
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(raw, error, encoding, source) from None
    except (LookupError, UnicodeError, ValueError) as error:
        raise DomainError(
            f'load_csv: encoding={encoding!r:.40}: {error}. Give one such as "utf-8", "cp1252" or "utf-16".'
        ) from None
    if not isinstance(text, str):
        raise DomainError(f"load_csv: encoding={encoding!r:.40} does not give text.")
    text = text.removeprefix("\ufeff")
    where = text.find("\0")
    if where >= 0:
        line = _line_at(text, where)
        hint = (
            'Every other byte is 0: it may be written in UTF-16; try encoding="utf-16-le" or "utf-16-be".'
            if text.count("\0") > len(text) // 3
            else "It is a binary file, or damaged."
        )
        raise DataError(f"{source}, line {line}: a byte that is 0, which no text holds. {hint}")
    if not text.strip():
        raise DataError(f"{source}: the file is empty.")
    return text


def _undecodable(raw: bytes, error: UnicodeDecodeError, encoding: str, source: str) -> DataError:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return DataError(f'{source}: the file begins like UTF-16, not {encoding}; give encoding="utf-16".')
    line = _line_at(raw[: error.start].decode("latin-1"), error.start)
    byte = f"byte 0x{raw[error.start]:02x} at place {error.start:,}" if error.start < len(raw) else "the end"
    other = '"cp1252" (Western Windows)' if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else '"utf-8"'
    return DataError(
        f"{source}, line {line}: {byte} is not {encoding} ({error.reason}). If the file was written in another "
        f"encoding name it, such as encoding={other}; otherwise it is a binary file, or damaged."
    )


def _line_at(text: str, where: int) -> int:
    before = text[:where]
    return before.count("\n") + before.count("\r") - before.count("\r\n") + 1


# From the text to rows


def _delimiter_of(text: str) -> str:
    """The one that divides most of the first hundred rows into equally many cells, and more than one."""
    best, found = (0.0, 0), ","
    for candidate in _DELIMITERS:
        widths: Counter[int] = Counter()
        try:
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=candidate):
                widths[len(row)] += bool(row)
                if widths.total() >= 100:
                    break
        except csv.Error:
            pass  # too large a cell, which is reported when the rows are read
        if not widths:
            continue
        width, times = max(widths.items(), key=lambda item: (item[1], item[0]))
        score = (times / max(1, widths.total()), width)
        if width > 1 and score > best:
            best, found = score, candidate
    return found


def _rows_of(text: str, delimiter: str, source: str) -> tuple[list[list[str]], list[int]]:
    """The rows that hold anything, and the line that each begins on, counted from 1."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise DataError(f"{source}, line {line}: {_csv_fault(str(error), delimiter)}") from None
        if row and (len(row) > 1 or row[0].strip()):
            rows.append(row)
            lines.append(line)
    if not rows:
        raise DataError(f"{source}: the file is empty.")
    return rows, lines


def _csv_fault(reason: str, delimiter: str) -> str:
    if "unexpected end" in reason:
        return "a quote is opened here and not closed before the end of the file."
    if "expected after" in reason:
        return (
            f"a closing quote is followed by something other than {delimiter!r} or the end of the line. A quote "
            'inside a quoted cell is written twice: "".'
        )
    if "field larger" in reason:
        return (
            f"a cell is longer than {csv.field_size_limit():,} characters. A quote may have been left open; if it is "
            "meant, call csv.field_size_limit first."
        )
    return f"the row cannot be read: {reason}."


def _has_header(rows: Sequence[Sequence[str]], decimal: str, source: str) -> bool:
    """Whether the first row is unlike the rows below.

    In a column that mostly holds numbers, a first cell that is none speaks for a header, a number against. Where no
    column holds numbers, it is one if no cell of it is empty or occurs again, be it below or beside.
    """
    first, below = rows[0], [row for row in rows[1:201] if len(row) == len(rows[0])]
    if not below:
        return not any(_is_number(cell, decimal) for cell in first)
    speaks_for = speaks_against = 0
    any_numbers = False
    for i, cell in enumerate(first):
        known = [row[i] for row in below if not _is_missing(row[i])]
        if 2 * sum(_is_number(other, decimal) for other in known) <= len(known):
            continue
        any_numbers = True
        if _is_number(cell, decimal):
            speaks_against += 1
        elif not _is_missing(cell):
            speaks_for += 1
    if speaks_for and speaks_against:
        raise DataError(
            f"{source}: whether line 1 is a header cannot be told: {speaks_for} of its cells are text above columns of "
            f"numbers, and {speaks_against} are numbers. Say header=True or header=False."
        )
    if any_numbers:
        return speaks_for > 0
    again = any(cell in {row[i] for row in below} for i, cell in enumerate(first))
    return not again and all(cell.strip() for cell in first) and len(set(first)) == len(first)


def _targets_asked(target: Any, names: Sequence[str], source: str) -> list[int]:
    if target is None:
        return [len(names) - 1]
    if isinstance(target, (list, tuple)):
        if not target:
            raise DomainError(f"{source}: the list of targets is empty; name a column.")
        found = [find(one, names, "target", source) for one in target]
        if len(set(found)) < len(found):
            raise DomainError(f"{source}: a column stands twice among the targets {target!r:.80}.")
        return found
    return [find(target, names, "target", source)]


def _check_widths(
    rows: Sequence[Sequence[str]], names: Sequence[str], delimiter: str, named: bool, faults: Faults
) -> None:
    for i, row in enumerate(rows):
        if len(row) != len(names):
            cells = f"{len(row)} cell" + ("" if len(row) == 1 else "s")
            faults.add(
                i,
                f"{cells} where the {'header' if named else 'other rows'} ha{'s' if named else 've'} {len(names)}",
                f"Cells are divided by {delimiter!r}; one that holds it is written in quotes.",
            )
    faults.stop()


# From cells to columns


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _is_number(cell: str, decimal: str) -> bool:
    return _NUMBER.fullmatch(_pointed(cell.strip(), decimal)) is not None


def _pointed(cell: str, decimal: str) -> str:
    """With a point where the decimal mark stands; a point is then no number's."""
    return cell if decimal == "." else cell.replace(".", "'").replace(",", ".")


def _column(name: str, cells: Sequence[str], told: str | None, decimal: str, faults: Faults) -> Column:
    if told != "category" and decimal == ".":
        quick = _all_numbers(cells)
        if quick is not None:
            return Column(name, "number", quick, None, np.zeros(len(cells), bool))
    words = [cell.strip() for cell in cells]
    gaps = np.array([word.lower() in MISSING for word in words])
    known = [word for word, gap in zip(words, gaps, strict=True) if not gap]
    if told != "category":
        if told != "number" and known and all(word.lower() in _TRUTHS for word in known):
            truths = [_TRUTHS.get(word.lower(), math.nan) for word in words]
            return Column(name, "boolean", np.array(truths), None, gaps)
        count = sum(_is_number(word, decimal) or _INFINITE.fullmatch(word) is not None for word in known)
        if told == "number" or not known or 2 * count > len(known):
            return Column(name, "number", _as_numbers(name, words, gaps, decimal, faults), None, gaps)
    return Column(name, "category", None, ["" if gap else word for word, gap in zip(words, gaps, strict=True)], gaps)


def _all_numbers(cells: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """The cells as numbers, if each is a finite one as `_NUMBER` has it; the quick way, a few times faster.

    `float` also takes 1_000, other scripts' digits, nan and inf; the first two are kept out here.
    """
    together = "".join(cells)
    if not together.isascii() or "_" in together:
        return None
    try:
        numbers = np.array(list(map(float, cells)), np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _as_numbers(
    name: str, words: Sequence[str], gaps: npt.NDArray[np.bool_], decimal: str, faults: Faults
) -> npt.NDArray[np.float64]:
    numbers = np.full(len(words), math.nan)
    for row, word in enumerate(words):
        if gaps[row]:
            continue
        if not _is_number(word, decimal):
            what, hint = _no_number(name, word, decimal)
            faults.add(row, what, hint)
            continue
        numbers[row] = float(_pointed(word, decimal))
        if math.isinf(numbers[row]):
            faults.add(row, f"column {name!r:.60} holds {word!r:.40}, beyond the largest float64, 1.8e308")
    return numbers


def _no_number(name: str, word: str, decimal: str) -> tuple[str, str]:
    column = f"column {name!r:.60}"
    if _INFINITE.fullmatch(word):
        return f"{column} holds {word!r}, and a network cannot learn from infinities", ""
    other = "," if decimal == "." else "."
    if _is_number(word, other):
        hint = f"If {other!r} marks the fraction, say decimal={other!r}."
    else:
        hint = f'If the column is meant as text, say types={{{name!r:.60}: "category"}}.'
    return f"{column} holds {word!r:.40} among numbers", hint
