"""Arrays and what is known of them, in one safetensors file that cannot be half written nor read wrongly.

A file holds named arrays in the safetensors layout, and beside them, under `__metadata__`, one JSON text and a SHA-256
of all of it. Any program that reads safetensors reads the arrays. Nothing in it is code: no pickle is written or read.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DataError
from backlit.core.files import write_whole

FORMAT = 1
"""Of the metadata. A reader refuses what a newer Backlit wrote, and says so."""

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Json = Any

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "C64": np.dtype(np.complex64),
}
_TAGS = {dtype: tag for tag, dtype in _DTYPES.items()}
_LARGEST_HEADER = 100_000_000  # what the safetensors format allows


class Stored(NamedTuple):
    """What a file holds: its arrays, read-only, by name, its metadata, and what kind of file it is."""

    arrays: dict[str, Array]
    about: dict[str, Json]
    kind: str


# -- writing ----------------------------------------------------------------------------------------------------------


def packed(kind: str, arrays: Arrays, about: Mapping[str, Json]) -> bytes:
    """The bytes of a file. kind: what it is, such as "checkpoint"; about: plain JSON, without NaN or infinity.

    Raises DataError for metadata that JSON cannot say, and for a dtype that safetensors does not know.

    >>> unpacked(packed("checkpoint", {"w": np.ones(2)}, {"step": 3}), "it", "checkpoint").about
    {'step': 3}
    """
    from safetensors.numpy import save

    plain = {}
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.newbyteorder("=") not in _TAGS:
            raise DataError(f"{name} has dtype {array.dtype}, which the safetensors format cannot hold; convert it.")
        little = array.astype(array.dtype.newbyteorder("="), copy=False)
        plain[name] = np.ascontiguousarray(little).reshape(array.shape)
    orders = {name: order for name in plain if (order := axis_order(np.asarray(arrays[name]))) is not None}
    said = {"format": FORMAT, "kind": kind, "about": dict(about), "orders": orders}
    try:
        text = json.dumps(said, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise DataError(f"the metadata of a {kind} cannot be written as JSON: {error}.") from error
    return save(plain, {"backlit": text, "sha256": _digest(text, plain)})


def write(path: Path, kind: str, arrays: Arrays, about: Mapping[str, Json]) -> None:
    """Write a file as a whole: whatever happens, there is the old file or the new one, and no other is left behind.

    Raises DataError if the folder is not there, the disk is full or the place may not be written to.
    """
    replace(path, packed(kind, arrays, about), kind)


def replace(path: Path, content: bytes, kind: str) -> None:
    """Give a file new content as a whole, and see to it that the disk has it. Raises DataError where it cannot."""
    try:
        write_whole(path, content)
        _settle(path.parent)
    except OSError as error:
        cannot_write(path, kind, error)


def tidy(path: Path) -> None:
    """Remove what a kill in the middle of `write` left beside a file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        left.unlink(missing_ok=True)


def cannot_write(path: Path, kind: str, error: OSError) -> NoReturn:
    """Raise DataError that says what stands in the way of writing, and what stands at the place now."""
    reason = error.strerror or str(error)
    kept = "The file that was there is as it was." if path.exists() else "Nothing was written."
    cure = "Free some space, or choose another place." if error.errno == 28 else "Choose a place that can be written."
    if not path.parent.exists():
        cure = f"Make the folder {path.parent} first."
    raise DataError(f"the {kind} {path} could not be written: {reason}. {kept} {cure}") from error


def _settle(folder: Path) -> None:
    """Let the disk know the new name too; where folders cannot be opened (Windows), the system does that itself."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:  # a file system that does not know it
        pass
    finally:
        os.close(handle)


def _digest(text: str, arrays: Arrays) -> str:
    """SHA-256 of the metadata and of every array with its name, dtype and shape."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"\n{name}\n{array.dtype.name}{list(array.shape)}\n".encode())
        found.update(_little(array).data.cast("B") if array.size else b"")
    return found.hexdigest()


def _little(array: Array) -> Array:
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).reshape(-1)


# -- reading ----------------------------------------------------------------------------------------------------------


def read(path: Path, kind: str) -> Stored:
    """What a file holds, checked to the last bit. The file is only read.

    Raises DataError, which names the file and the fault, if it is not there, damaged, of another kind, or from a newer
    Backlit.
    """
    return unpacked(content_of(path, kind), str(path), kind)


def content_of(path: Path, kind: str) -> bytes:
    """The bytes of a file. Raises DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no {kind} {path}; look whether the name and the folder are right.") from error
    except OSError as error:
        raise DataError(f"the {kind} {path} cannot be read: {error.strerror or error}.") from error


def unpacked(content: bytes, name: str, *kinds: str) -> Stored:
    """The inverse of `packed`. name: what messages call it; kinds: what it may be. Raises DataError as `read` does."""
    wanted = kinds[0] if len(kinds) == 1 else "record"

    def damaged(what: str) -> NoReturn:
        raise DataError(f"{name} is no {wanted} that can be read: {what}. Use an older copy, or make it anew.")

    if not content:
        damaged("it is empty")
    header = _header(content, damaged)
    arrays = _arrays(content, header, damaged)
    about = _about(header.get("__metadata__"), arrays, damaged)
    if type(about.get("format")) is not int:
        damaged("it does not say which format it has")
    if about["format"] != FORMAT:
        raise DataError(f"{name} has format {about['format']}, and this Backlit reads {FORMAT}; use a newer Backlit.")
    if about.get("kind") not in kinds:
        raise DataError(f"{name} is a {about.get('kind')!s:.40}, and a {wanted} is needed.")
    for key, order in expect(about, "orders", dict, name, wanted).items():
        if key not in arrays or type(order) is not list or sorted(map(repr, order)) != _axes(arrays[key]):
            damaged(f"the order of the axes of {key!r:.60} cannot be {order!r:.60}")
        arrays[key] = in_order(arrays[key], order)
    return Stored(arrays, expect(about, "about", dict, name, wanted), about["kind"])


# The numbers of a matrix product depend, in their last bit, on how its factors lie in memory. So that is kept, too.


def axis_order(array: Array) -> list[int] | None:
    """The axes from the one with the longest strides to the shortest; None if that is their own order.

    >>> axis_order(np.ones((2, 3)).T), axis_order(np.ones((2, 3)))
    ([1, 0], None)
    """
    if array.flags.c_contiguous:
        return None
    order = sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis))
    return None if order == list(range(array.ndim)) else order


def in_order(array: Array, order: list[int] | None) -> Array:
    """The same array with its axes lying in memory in this order (see `axis_order`), without gaps.

    >>> in_order(np.ones((2, 3)), [1, 0]).strides
    (8, 16)
    """
    if order is None:
        order = list(range(array.ndim))
    return np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order)) if order else array


def _axes(array: Array) -> list[str]:
    return sorted(map(repr, range(array.ndim)))


Damaged = Callable[[str], NoReturn]


def _header(content: bytes, damaged: Damaged) -> dict[str, Json]:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= size <= min(_LARGEST_HEADER, len(content) - 8):
        damaged(f"its {len(content)} bytes do not begin with the length of a header that they hold")
    try:
        header = strict_json(content[8 : 8 + size].decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        damaged(f"its header is no JSON ({error})")
    if type(header) is not dict:
        damaged(f"its header is a {type(header).__name__} and no object")
    return header


def _arrays(content: bytes, header: Mapping[str, Json], damaged: Damaged) -> dict[str, Array]:
    """The arrays, as the safetensors library finds them, each of the very size that its dtype and shape ask for."""
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        damaged(f"{error}")
    arrays = {}
    for name, tensor in found:
        dtype = _DTYPES.get(tensor["dtype"])
        if dtype is None:
            damaged(f"{name} has dtype {tensor['dtype']}, which Backlit does not store")
        shape, data = tuple(tensor["shape"]), bytes(tensor["data"])
        if math.prod(shape) * dtype.itemsize != len(data):
            damaged(f"{name} has shape {shape} and {len(data)} bytes")
        arrays[name] = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    if arrays.keys() != header.keys() - {"__metadata__"}:
        damaged("its header and its arrays do not fit together")
    return arrays


def _about(metadata: Json, arrays: Arrays, damaged: Damaged) -> dict[str, Json]:
    if type(metadata) is not dict or type(metadata.get("backlit")) is not str or "sha256" not in metadata:
        damaged("it was not written by Backlit: its metadata lack `backlit` and `sha256`")
    if _digest(metadata["backlit"], arrays) != metadata["sha256"]:
        damaged("its contents do not have the checksum that was written with them")
    try:
        about = strict_json(metadata["backlit"])
    except (ValueError, RecursionError) as error:
        damaged(f"its metadata are no JSON ({error})")
    if type(about) is not dict:
        damaged("its metadata are no object")
    return about


def strict_json(text: str) -> Json:
    """What a JSON text says. Raises ValueError for NaN, infinities, numbers beyond float64 and names given twice.

    >>> strict_json('{"step": NaN}')
    Traceback (most recent call last):
    ValueError: NaN is not a number that JSON knows
    """

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number that JSON knows")

    def finite(word: str) -> float:
        number = float(word)
        return number if math.isfinite(number) else refuse(word)

    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name is given twice")
        return found

    return json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=once)


def expect(about: Mapping[str, Json], key: str, kind: type | tuple[type, ...], name: str, what: str) -> Any:
    """An entry of metadata that must be there and of a type. Raises DataError, which names the file, if it is not.

    >>> expect({"step": 3}, "step", int, "run.backlit", "recording")
    3
    """
    found = about.get(key)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if key not in about or type(found) not in kinds:
        wanted = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
        said = f"{found!r:.40}" if key in about else "nothing"
        raise DataError(f"{name} is no {what} that can be read: for {key} it says {said}, and {wanted} is needed.")
    return found


def array_of(stored: Stored, key: str, dtype: str, axes: int, name: str, what: str) -> Array:
    """An array that must be there, of a dtype and a number of axes. Raises DataError if it is not."""
    found = stored.arrays.get(key)
    if found is None or found.dtype != dtype or found.ndim != axes:
        said = "is missing" if found is None else f"is {found.dtype.name} of shape {found.shape}"
        raise DataError(f"{name} is no {what} that can be read: {key} {said}, and {dtype} of {axes} axes is needed.")
    return found
