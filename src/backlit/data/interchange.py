"""Columns read from the buffers of the DataFrame interchange protocol, without the library that holds them.

Source: "Python dataframe interchange protocol", Consortium for Python Data API Standards, data-apis.org. Read are
whole and real numbers, truth values, text and categories; all is copied.
"""

from __future__ import annotations

import ctypes
import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DataError

_INT, _UINT, _FLOAT, _BOOL, _STRING, _DATETIME, _CATEGORICAL = 0, 1, 2, 20, 21, 22, 23
_NOT_NULLABLE, _NAN, _SENTINEL, _BITS, _BYTES = range(5)
_LETTER = {_INT: "i", _UINT: "u", _FLOAT: "f", _BOOL: "u"}


def read_columns(frame: Any) -> tuple[list[Any], list[Any]]:
    """The names of the columns, and each as an array, or as a list where something is missing or text."""
    table = frame.__dataframe__() if hasattr(frame, "__dataframe__") else frame
    names = [str(name) for name in table.column_names()]
    chunks = list(table.get_chunks())
    columns: list[Any] = []
    for i, name in enumerate(names):
        cells: list[Any] = []
        parts: list[Any] = []
        for chunk in chunks:
            column = chunk.get_column(i)
            parts.append(_values(column, name))
        if parts and all(isinstance(part, np.ndarray) for part in parts):
            columns.append(np.concatenate(parts))
            continue
        for part in parts:
            cells.extend(part.tolist() if isinstance(part, np.ndarray) else part)
        columns.append(cells)
    return names, columns


def _values(column: Any, name: str) -> Any:
    kind = int(column.dtype[0])
    buffers = column.get_buffers()
    size, offset = int(column.size() if callable(column.size) else column.size), int(column.offset)
    if kind == _STRING:
        values: Any = _texts(buffers, offset, size)
        codes = None
    elif kind == _CATEGORICAL:
        codes = _numbers(buffers["data"], offset, size)
        told = column.describe_categorical
        told = told() if callable(told) else told
        if not told["is_dictionary"]:
            raise DataError(f"from_frame: column {name!r:.60} holds categories without their names.")
        categories = _values(told["categories"], name)
        words = [str(word) for word in (categories.tolist() if isinstance(categories, np.ndarray) else categories)]
        values = [words[code] if 0 <= code < len(words) else None for code in codes.tolist()]
    elif kind in _LETTER:
        values = codes = _numbers(buffers["data"], offset, size)
        if kind == _BOOL:
            values = values.astype(bool)
    else:
        what = "times" if kind == _DATETIME else f"data of kind {kind}"
        raise DataError(
            f"from_frame: column {name!r:.60} holds {what}. Turn it into numbers, or leave it out of the table."
        )
    absent = _absent(column, buffers, codes, offset, size)
    if absent is None or not absent.any():
        return values
    cells = values.tolist() if isinstance(values, np.ndarray) else values
    return [None if gone else cell for cell, gone in zip(cells, absent.tolist(), strict=True)]


def _numbers(buffer: Any, offset: int, size: int) -> npt.NDArray[Any]:
    """`size` numbers from the place `offset` of a buffer that is given with its dtype."""
    store, (kind, bits, _, order) = buffer
    raw = _bytes(store)
    if bits == 1:
        return np.unpackbits(raw, bitorder="little")[offset : offset + size]
    letter = _LETTER.get(int(kind))
    if letter is None:
        raise DataError(f"from_frame: a buffer of kind {kind} holds no numbers.")
    dtype = np.dtype(f"{order if order in '<>' else '='}{letter}{bits // 8}")
    return np.frombuffer(raw.tobytes(), dtype, count=size, offset=offset * dtype.itemsize)


def _bytes(store: Any) -> npt.NDArray[np.uint8]:
    size = int(store.bufsize)
    if not size:
        return np.empty(0, np.uint8)
    return np.frombuffer(ctypes.string_at(int(store.ptr), size), np.uint8)


def _texts(buffers: Any, offset: int, size: int) -> list[str]:
    raw = _bytes(buffers["data"][0]).tobytes()
    ends = _numbers(buffers["offsets"], offset, size + 1).tolist()
    return [raw[start:end].decode("utf-8") for start, end in pairwise(ends)]


def _absent(column: Any, buffers: Any, codes: Any, offset: int, size: int) -> Any:
    """Which cells are missing, as the column tells it."""
    kind, value = column.describe_null
    if kind == _NOT_NULLABLE:
        return None
    if kind == _NAN:
        return np.isnan(codes) if codes is not None and codes.dtype.kind == "f" else None
    if kind == _SENTINEL:
        if codes is None:
            return None
        return np.isnan(codes) if isinstance(value, float) and math.isnan(value) else codes == value
    if buffers.get("validity") is None:
        return None
    return _numbers(buffers["validity"], offset, size) == value
