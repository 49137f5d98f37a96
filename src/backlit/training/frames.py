"""A file that grows by whole records, so that a kill loses at most the last of them.

After sixteen bytes that say what the file is, record follows record: four bytes of mark, eight of length, four of
CRC-32 of these twelve, and then the contents, a safetensors file of its own with its own checksum (see `store`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from backlit.core.errors import DataError
from backlit.training.store import Stored, cannot_write, replace, unpacked

MAGIC = b"backlit run 1\r\n\0"
_MARK = b"\x89REC"
_HEAD = 16


class Record(NamedTuple):
    """One record of a file: what it holds, and its bytes as they stand there."""

    stored: Stored
    raw: bytes


def is_recording(path: Path) -> bool:
    """Whether a file begins as a recorded run does. Raises OSError as `open` does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def framed(content: bytes) -> bytes:
    """The bytes of one record."""
    head = _MARK + len(content).to_bytes(8, "little")
    return head + zlib.crc32(head).to_bytes(4, "little") + content


class Grows:
    """A file to which records are added; what is added in one call is written in one call of the system."""

    def __init__(self, path: Path, records: list[bytes]) -> None:
        self.path = path
        self.rewrite(records)

    def rewrite(self, records: list[bytes]) -> None:
        """Have these records and no others; whatever happens, the old file or the new one is there."""
        content = b"".join((MAGIC, *records))
        replace(self.path, content, "recording")
        self.size = len(content)

    def add(self, records: list[bytes], settled: bool = False) -> None:
        """Add records at the end. settled: wait until the disk has them, as at the end of a run."""
        content = b"".join(records)
        try:
            with self.path.open("r+b") as file:
                file.seek(self.size)
                try:
                    file.write(content)
                    file.flush()
                except OSError:
                    file.truncate(self.size)  # a full disk: what stood there before stays whole
                    raise
                if settled:
                    os.fsync(file.fileno())
        except OSError as error:
            cannot_write(self.path, "recording", error)
        self.size += len(content)


def records(content: bytes, name: str, kinds: tuple[str, ...], partial: bool) -> Iterator[Record]:
    """The records of a file, checked. With partial, those before the first damaged one.

    Raises DataError, which names the file, the place and the fault.
    """
    if not content:
        raise DataError(f"{name} is empty, and no recording. Record again.")
    if content[: len(MAGIC)] != MAGIC:
        raise DataError(f"{name} is no recording: it does not begin as one does. Record with fit(..., record=path).")
    at = len(MAGIC)
    while at < len(content):
        try:
            record = _record(content, at, name, kinds)
        except DataError:
            if partial:
                return
            raise
        yield record
        at += len(record.raw)


def _record(content: bytes, at: int, name: str, kinds: tuple[str, ...]) -> Record:
    head, body = content[at : at + 12], at + _HEAD
    cure = "load_run(path, partial=True) reads the steps before it."
    if len(content) < body:
        raise DataError(f"{name} ends inside a record, at byte {at:,}, as after a kill. {cure}")
    if head[:4] != _MARK or zlib.crc32(head).to_bytes(4, "little") != content[at + 12 : body]:
        raise DataError(f"{name} is damaged at byte {at:,}: no record begins there. {cure}")
    size = int.from_bytes(head[4:], "little")
    if size > len(content) - body:
        raise DataError(
            f"{name} ends inside a record, as after a kill: the one at byte {at:,} has {size:,} bytes, and "
            f"{len(content) - body:,} are there. {cure}"
        )
    raw = content[at : body + size]
    return Record(unpacked(raw[_HEAD:], f"the record at byte {at:,} of {name}", *kinds), raw)
