"""A run on disk: what an exact replay of any of its steps needs, written while the training goes on.

A recording grows by whole records (see `frames`):

* `opening`, once: the settings, how model, optimizer and loss were made, and the data, or their fingerprint; and
  whether the steps were machine code, and for which CPU, since on another it may round differently;
* `snapshot`: all numbers of model and optimizer before a step. There are at most about fifty: when there are more,
  every other one is given up and the distance doubles, so any step is near one, however long the run;
* `losses`: the losses of the steps since the last such record, and the learning rates they were made with, or the one
  rate of them all;
* `epochs`: the rows of the run's table of epochs since the last such record (`epoch` in older files: one row);
* `ending`: how many steps there were, and why it ended. After a kill it is missing, and all before it is there.
"""

from __future__ import annotations

import platform
import time
import zlib
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import backlit
from backlit.core.dtypes import STORED
from backlit.core.errors import DataError
from backlit.core.value import Value, numbers_of
from backlit.training.callbacks import NEVER
from backlit.training.frames import MAGIC, Grows, framed, is_recording
from backlit.training.recorded import LARGEST_RAW, Recording, read
from backlit.training.specs import differences, fingerprint, spec_of
from backlit.training.state import state_arrays
from backlit.training.store import Arrays, Json, axis_order, packed, tidy

EMBEDDED = 2_000_000
"""Data of at most so many bytes, compressed, are kept in the recording itself."""


class Recorder:
    """Records a run: a callback of `fit`, which makes one for `record=path`.

    path: the file. A recording that is there is replaced, or, where a training is resumed, continued; any other file is
    left alone, with DataError. snapshots: how many are kept at most. seconds: how often the file is brought up to date;
    a kill loses at most so much. largest: how many bytes all snapshots together may have; a big model gets fewer.
    share: how much of the time may go into snapshots; where it would be more, they get rarer.

    Cost: a number kept in memory per step. A snapshot costs about 2 ms per megabyte. A compiled training comes up
    for air where a snapshot is due, and nowhere else.
    """

    only_looks = True

    def __init__(
        self,
        path: str | Path,
        *,
        snapshots: int = 50,
        seconds: float = 1.0,
        largest: int = 256_000_000,
        share: float = 1 / 30,
    ) -> None:
        self.path = Path(path)
        self.snapshots = max(2, snapshots)
        self.seconds = seconds
        self.largest = largest
        self.share = share
        self._file: Grows | None = None

    def on_start(self, run: Any) -> None:
        """Begin the file, or continue it."""
        self._began = self._flushed = time.perf_counter()
        self._spent = 0.0
        self._losses: list[npt.NDArray[np.float64]] = []
        self._rates: list[tuple[float, int]] = []  # a rate, and how many steps were made with it
        self._rows = len(run.history.epochs)  # so many are taken care of
        self._waiting: list[bytes] = []
        self._kept: dict[int, bytes] = {}  # snapshots that count, as they stand in the file
        self._steady: list[bytes] = []  # the other records
        self._dead = 0
        self._every = 16
        self._step = run.position.step
        self._first = self._step
        about, arrays = _opening(run)
        _only_recordings(self.path)
        tidy(self.path)
        if self._step and self.path.exists():
            self._continue(read(self.path, partial=True), about, self._rows)
        else:
            self._steady.append(_record("opening", arrays, {**about, "first": self._first}))
        if self._step not in self._kept:
            self._keep(run)
        self._waiting.clear()
        self._file = Grows(self.path, self._all())
        self._lr: Value | None = run.optimizer.variables().get("lr")
        self._rate = self._rate_now()

    def on_step(self, run: Any) -> None:
        """Keep the loss of the step made just now, and a snapshot where one is due."""
        self._catch_up(run)
        now = time.perf_counter()
        if not self._step % self._every:
            self._due(run, now)
        if now - self._flushed >= self.seconds:
            self._flush(run)

    def on_epoch(self, run: Any) -> None:
        """See whether a callback before this one has set the learning rate."""
        self._catch_up(run)

    def rests(self, run: Any) -> int:
        """How many steps it is to the next snapshot."""
        return self._every - int(run.position.step) % self._every

    def rests_epochs(self, run: Any) -> int:
        """The rows of epochs are there to be read at any time."""
        return NEVER

    def settle(self, run: Any) -> None:
        """Bring the file up to date, so that a checkpoint of this moment can continue it."""
        if self._file is not None:
            self._catch_up(run)
            self._flush(run)

    def on_end(self, run: Any) -> None:
        """Write what is still in memory, and that this is the end."""
        if self._file is None:
            return
        self._catch_up(run)
        if self._step not in self._kept:
            self._keep(run)
        self._gather(run)
        self._waiting.append(
            _record("ending", {}, {"steps": self._step, "reason": _reason(run), "seconds": float(run.seconds)})
        )
        ending = self._waiting[-1]
        if self._dead > len(MAGIC):
            self._file.rewrite([*self._all(), ending])
        else:
            self._file.add(self._waiting, settled=True)
        self._file = None

    def _catch_up(self, run: Any) -> None:
        """Take the losses of steps made since; where another callback ended the run, there is one not yet seen."""
        new = run.position.step - self._step
        if new:
            self._losses.append(np.array(run.losses[-new:]))
            self._rates.append((self._rate, new))
            self._step += new
        self._rate = self._rate_now()

    def _rate_now(self) -> float:
        """The learning rate of the next step, as a hand or a callback may have set it; where a schedule has it, 0."""
        return 0.0 if self._lr is None else float(numbers_of(self._lr))

    # -- what is in the file ------------------------------------------------------------------------------------

    def _all(self) -> list[bytes]:
        """All records that count, each snapshot after the opening and before the rest: their order says nothing."""
        return [self._steady[0], *self._kept.values(), *self._steady[1:]]

    def _gather(self, run: Any) -> None:
        """Make records of the losses and the rows of epochs that are not in one yet."""
        if self._losses:
            losses = np.concatenate(self._losses)
            records = [_losses_record(losses, self._rates, self._step - len(losses))]
            self._losses, self._rates = [], []
        else:
            records = []
        records += _rows_records(run.history.epochs[self._rows :])
        self._rows = len(run.history.epochs)
        self._steady += records
        self._waiting += records

    def _flush(self, run: Any) -> None:
        self._gather(run)
        assert self._file is not None
        live = sum(map(len, self._kept.values())) + sum(map(len, self._steady))
        if self._dead > live + 1_000_000:
            self._file.rewrite(self._all())
            self._dead = 0
        else:
            self._file.add(self._waiting)
        self._waiting = []
        self._flushed = time.perf_counter()

    def _due(self, run: Any, now: float) -> None:
        """Keep a snapshot; where too many are there or too much time goes into them, only every other one."""
        allowed = self.snapshots
        if self._kept:
            allowed = min(allowed, max(2, self.largest // len(next(iter(self._kept.values())))))
        if len(self._kept) >= allowed or self._spent > 0.02 + (now - self._began) * self.share:
            self._every *= 2
            for step in [step for step in self._kept if step % self._every and step != self._first]:
                self._dead += len(self._kept.pop(step))
            if self._step % self._every:
                return
        self._keep(run)
        self._spent += time.perf_counter() - now

    def _keep(self, run: Any) -> None:
        record = _record("snapshot", state_arrays(run.model, run.optimizer), {"position": list(run.position)})
        self._kept[self._step] = record
        self._waiting.append(record)

    def _continue(self, old: Recording, about: Mapping[str, Json], epochs: int) -> None:
        """Take over what an older recording has of the steps before this one, and of as many epochs."""
        changed = differences(_sameness(old.about), _sameness(about))
        if changed:
            raise DataError(
                f"the recording {self.path} is of another training: {'; '.join(changed)}. Record to another file."
            )
        self._first = old.first
        if not old.first <= self._step <= old.first + len(old.losses):
            raise DataError(
                f"the recording {self.path} has steps {old.first:,} to {old.first + len(old.losses):,}, and training "
                f"resumes at step {self._step:,}, which does not continue it. Record to another file."
            )
        self._steady.append(old.opening.raw)
        past = self._step - old.first
        if past:
            rates = [(rate, 1) for rate in old.rates[:past].tolist()]
            self._steady.append(_losses_record(old.losses[:past], rates, old.first))
        self._steady += _rows_records([row for row in old.epochs if row["epoch"] < epochs])
        self._kept = {step: record.raw for step, record in old.snapshots.items() if step <= self._step}
        steps = sorted(self._kept)
        self._every = max([16, *(b - a for a, b in pairwise(steps[:-1]))])
        self._every = 1 << (self._every - 1).bit_length()


def _record(kind: str, arrays: Arrays, about: Mapping[str, Json]) -> bytes:
    return framed(packed(kind, arrays, about))


def _losses_record(losses: npt.NDArray[np.float64], rates: list[tuple[float, int]], first: int) -> bytes:
    """The losses from step `first` on; rates: (rate, for how many steps) in turn."""
    alike = len({rate for rate, _ in rates}) == 1
    each = np.array([rate for rate, _ in rates[: 1 if alike else None]])
    steps = 1 if alike else [count for _, count in rates]
    return _record("losses", {"losses": losses, "rates": np.repeat(each, steps)}, {"first": first})


def _rows_records(rows: Sequence[Mapping[str, float]]) -> list[bytes]:
    """Rows of the table of epochs, as one record for each stretch of them with the same columns."""
    return [
        _record("epochs", {name: np.array([row[name] for row in group], np.float64) for name in names}, {})
        for names, stretch in groupby(rows, key=tuple)
        for group in [list(stretch)]
    ]


def _only_recordings(path: Path) -> None:
    """Raise DataError if something else than a recording stands at a place: it is not overwritten."""
    if not path.exists():
        return
    try:
        is_one = is_recording(path)
    except OSError as error:
        raise DataError(f"the recording {path} cannot be read: {error.strerror or error}.") from error
    if not is_one:
        raise DataError(f"{path} is there and is no recording, so it is left as it is. Record to another file.")


def _sameness(about: Mapping[str, Json]) -> dict[str, Json]:
    """What must be equal for one recording to continue another; there may be more epochs."""
    settings = {key: setting for key, setting in about["settings"].items() if key != "epochs"}
    compiled = about.get("compiled") or {"stepwise": None, "target": None}
    return (
        settings
        | {key: about[key] for key in ("fingerprint", "seed", "batch_size", "clip", "method")}
        | {"compiled for": compiled["target"], "whether a callback sees each step": compiled["stepwise"]}
    )


# -- what is kept of a run --------------------------------------------------------------------------------------------


def _opening(run: Any) -> tuple[dict[str, Json], dict[str, npt.NDArray[Any]]]:
    """What a replay must know, and the data where they are small."""
    inputs, targets = np.asarray(run.inputs), np.asarray(run.targets)
    arrays = _zipped({"inputs": inputs, "targets": targets})
    about: dict[str, Json] = {
        "settings": run.settings,
        "model": spec_of(run.model),
        "optimizer": spec_of(run.optimizer),
        "loss": run.loss_name if _named_loss(run) else None,
        "seed": run.seed,
        "batch_size": run.batch_size,
        "rows": len(inputs),
        "method": run.method,
        "compiled": _compiled(run),
        "clip": None if run.clip is None else list(run.clip),
        "fingerprint": fingerprint(inputs, targets),
        "embedded": bool(arrays),
        "inputs": _described(inputs),
        "targets": _described(targets),
        "made": {
            "backlit": backlit.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        },
    }
    return about, arrays


def _described(array: npt.NDArray[Any]) -> dict[str, Json]:
    return {"dtype": array.dtype.name, "shape": list(array.shape), "order": axis_order(array)}


def _named_loss(run: Any) -> bool:
    from backlit.nn import losses

    return getattr(losses, str(run.loss_name), None) is run.loss


def _compiled(run: Any) -> dict[str, Json] | None:
    """What the bits of compiled steps depend on beside all else: the CPU and how they are called; None if they are not.

    One step in a call leaves its gradients for whoever looks at each, so it is another program than many in a call.
    """
    if not run.settings.get("compile"):
        return None
    from backlit.training.compiled import made_for

    return {"target": made_for(), "stepwise": run.callbacks.see_each_step}


def _reason(run: Any) -> str:
    return "interrupted" if run.interrupted else str(run.stopped or "all epochs were made")


def _zipped(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Arrays compressed; none where they are large, or cannot be kept."""
    if sum(array.nbytes for array in arrays.values()) > LARGEST_RAW:
        return {}
    found, size = {}, 0
    for name, array in arrays.items():
        if array.dtype.char not in STORED:
            return {}
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        zipped = zlib.compress(np.ascontiguousarray(little).tobytes(), 1)
        size += len(zipped)
        if size > EMBEDDED:
            return {}
        found[name] = np.frombuffer(zipped, np.uint8)
    return found
