"""What a recording holds (see `recording`), checked to the last bit."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backlit.core.dtypes import STORED
from backlit.core.errors import DataError
from backlit.training.frames import Record, records
from backlit.training.state import Position
from backlit.training.store import Json, Stored, array_of, content_of, expect

KINDS = ("opening", "snapshot", "losses", "epochs", "epoch", "ending")
LARGEST_RAW = 64_000_000
"""Data of more bytes are never kept in a recording, and so never unpacked from one."""
Floats = npt.NDArray[np.float64]


class Snap(NamedTuple):
    """All numbers before a step, and where the training stood."""

    position: Position
    arrays: dict[str, npt.NDArray[Any]]


@dataclass
class Recording:
    """What a file holds, checked. losses, rates: one number a step, from step `first` on; epochs: rows of numbers."""

    name: str
    about: dict[str, Json]
    opening: Record
    first: int
    losses: Floats
    rates: Floats
    snapshots: dict[int, Record]
    epochs: list[dict[str, float]] = field(default_factory=list)
    ending: dict[str, Json] | None = None

    def snapshot(self, step: int) -> Snap:
        """The snapshot of a step that has one."""
        stored = self.snapshots[step].stored
        return Snap(Position(*stored.about["position"]), stored.arrays)

    def data(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Inputs and targets, if they are in the file."""
        if not self.about["embedded"]:
            return None
        one, two = (_unzipped(self.opening.stored, part, self.name) for part in ("inputs", "targets"))
        return one, two


def read(path: str | Path, partial: bool = False) -> Recording:
    """A recording, checked to the last bit; the file is only read. With partial, what stands before the first damage.

    Raises DataError, which names the file, what is wrong with it, and what to do.
    """
    path = Path(path)
    name, what = str(path), "recording"
    found = list(records(content_of(path, what), name, KINDS, partial))
    if not found or found[0].stored.kind != "opening":
        raise DataError(f"{name} is no recording that can be read: it has no beginning. Record again.")
    opening = found[0]
    about = opening.stored.about
    _check_opening(about, name)
    recording = Recording(name, about, opening, about["first"], np.empty(0), np.empty(0), {})
    losses: list[Floats] = []
    rates: list[Floats] = []
    end = recording.first
    for record in found[1:]:
        stored = record.stored
        if stored.kind == "opening" or recording.ending is not None:
            raise DataError(f"{name} is no recording that can be read: its records are out of order.")
        if stored.kind == "losses":
            if expect(stored.about, "first", int, name, what) != end:
                raise DataError(f"{name} is no recording that can be read: the losses of step {end:,} are missing.")
            losses.append(array_of(stored, "losses", "float64", 1, name, what))
            found_rates = array_of(stored, "rates", "float64", 1, name, what)
            if len(found_rates) not in (1, len(losses[-1])):
                raise DataError(f"{name} is no recording that can be read: losses and learning rates differ in number.")
            rates.append(np.broadcast_to(found_rates, losses[-1].shape))
            end += len(losses[-1])
        elif stored.kind == "snapshot":
            recording.snapshots[_position(stored, name).step] = record
        elif stored.kind in ("epochs", "epoch"):
            recording.epochs += _rows(stored, name)
        else:
            expect(stored.about, "reason", str, name, what)
            if expect(stored.about, "steps", int, name, what) != end:
                raise DataError(f"{name} is no recording that can be read: it lacks losses of its {end:,} steps.")
            recording.ending = stored.about
    recording.losses = np.concatenate([np.empty(0), *losses])
    recording.rates = np.concatenate([np.empty(0), *rates])
    recording.snapshots = {s: recording.snapshots[s] for s in sorted(recording.snapshots) if s <= end}
    if recording.first not in recording.snapshots:
        raise DataError(f"{name} is no recording that can be read: the state it began with is missing.")
    return recording


def _rows(stored: Stored, name: str) -> list[dict[str, float]]:
    """The rows that a record has of the table of epochs; one record is one row in older files."""
    axes = 1 if stored.kind == "epochs" else 0
    columns = {
        column: np.atleast_1d(array_of(stored, column, "float64", axes, name, "recording"))
        for column in ("epoch", *stored.arrays)
    }
    if len({len(column) for column in columns.values()}) != 1:
        raise DataError(f"{name} is no recording that can be read: the columns of its epochs differ in length.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def _position(stored: Stored, name: str) -> Position:
    found = expect(stored.about, "position", list, name, "recording")
    if len(found) != 3 or any(type(number) is not int or number < 0 for number in found):
        raise DataError(f"{name} is no recording that can be read: {found!r:.60} is no position in a training.")
    return Position(*found)


def _check_opening(about: Mapping[str, Json], name: str) -> None:
    what = "recording"
    nothing = type(None)
    for key in ("settings", "inputs", "targets", "made"):
        expect(about, key, dict, name, what)
    for key in ("seed", "rows", "first"):
        expect(about, key, int, name, what)
    expect(about, "fingerprint", str, name, what)
    expect(about, "embedded", bool, name, what)
    expect(about, "method", str, name, what)
    expect(about, "loss", (str, nothing), name, what)
    for key in ("model", "optimizer"):
        expect(about, key, (dict, nothing), name, what)
    if about.get("compiled") is not None:  # older files do not say it: their steps were not
        expect(about, "compiled", dict, name, what)
        expect(about["compiled"], "target", str, name, what)
        expect(about["compiled"], "stepwise", bool, name, what)
    size = expect(about, "batch_size", (int, nothing), name, what)
    clip = expect(about, "clip", (list, nothing), name, what)
    sound = about["rows"] > 0 and about["first"] >= 0 and (size is None or size > 0)
    sound = sound and -(2**63) <= about["seed"] < 2**64
    if not sound or (clip is not None and len(clip) != 2):
        raise DataError(f"{name} is no {what} that can be read: its settings are impossible.")
    for key in ("inputs", "targets"):
        shape = expect(about[key], "shape", list, name, what)
        dtype = expect(about[key], "dtype", str, name, what)
        order = expect(about[key], "order", (list, nothing), name, what)
        if order is not None and (any(type(n) is not int for n in order) or sorted(order) != [*range(len(shape))]):
            raise DataError(f"{name} is no {what} that can be read: its {key} lie in the order {order!r:.60}.")
        if any(type(n) is not int or n < 0 for n in shape) or dtype not in _DTYPE_NAMES or shape[:1] != [about["rows"]]:
            raise DataError(
                f"{name} is no {what} that can be read: its {key} are {dtype!s:.20} of shape {shape!r:.60}."
            )


_DTYPE_NAMES = {np.dtype(code).name for code in STORED}


class Overview(NamedTuple):
    """What a recording is of, without its data: a line of a table of runs. Losses are NaN where there are none."""

    path: Path
    made: str
    model: str
    optimizer: str
    steps: int
    first_loss: float
    last_loss: float
    ended: str | None
    size: int
    settings: dict[str, Json]


def overview(path: str | Path) -> Overview:
    """A recording in a line; what stands before a damage, if there is one. Raises DataError if it is none at all.

    Cost: the whole file is read and checked, about 2 ms per megabyte. Neither data nor model are needed.
    """
    found = read(path, partial=True)
    settings = found.about["settings"]
    losses = found.losses
    return Overview(
        Path(path),
        str(found.about["made"].get("time", "")),
        str(settings.get("model_class", "")),
        str(settings.get("optimizer_class", "")),
        len(losses),
        float(losses[0]) if len(losses) else math.nan,
        float(losses[-1]) if len(losses) else math.nan,
        None if found.ending is None else str(found.ending["reason"]),
        Path(path).stat().st_size,
        settings,
    )


def _unzipped(stored: Stored, part: str, name: str) -> npt.NDArray[Any]:
    about = stored.about[part]
    dtype, shape = np.dtype(about["dtype"]), tuple(about["shape"])
    size = math.prod(shape) * dtype.itemsize
    if size > LARGEST_RAW:
        raise DataError(f"{name} is no recording that can be read: its {part} would have {size:,} bytes.")
    unzip = zlib.decompressobj()
    try:
        raw = unzip.decompress(array_of(stored, part, "uint8", 1, name, "recording").tobytes(), size + 1)
    except zlib.error as error:
        raise DataError(f"{name} is no recording that can be read: its {part} are damaged ({error}).") from error
    if len(raw) != size:
        raise DataError(f"{name} is no recording that can be read: its {part} have {len(raw):,} bytes, not {size:,}.")
    return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
