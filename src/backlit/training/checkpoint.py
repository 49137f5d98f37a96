"""Checkpoints: everything a training needs to go on, in one file that is always whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import backlit
from backlit.core.errors import DataError, DomainError
from backlit.training.callbacks import NEVER
from backlit.training.specs import differences
from backlit.training.state import Position, restore, state_arrays
from backlit.training.store import Json, expect, read, tidy, write

KIND = "checkpoint"
_UNITS = ("steps", "epochs", "seconds")
_MAY_CHANGE = ("epochs",)  # a training may be resumed to go on for longer


class Checkpoint:
    """What a checkpoint holds, checked; made by `load_checkpoint`.

    arrays: all numbers by flat name: `model.<path>`, `optimizer.<path>`, and the run's own (its position, history, and
    what callbacks remember). settings: as `fit` was called. position: where the training stood. made: the versions
    that wrote it.
    """

    def __init__(self, name: str, arrays: dict[str, npt.NDArray[Any]], about: Mapping[str, Json]) -> None:
        self.name = name
        self.arrays = arrays
        self.settings: dict[str, Json] = expect(about, "settings", dict, name, KIND)
        self.made: dict[str, Json] = expect(about, "made", dict, name, KIND)
        found = expect(about, "position", list, name, KIND)
        if len(found) != 3 or any(type(number) is not int or number < 0 for number in found):
            raise DataError(f"{name} is no {KIND} that can be read: {found!r:.60} is no position in a training.")
        self.position = Position(*found)
        self.seed: int = expect(about, "seed", int, name, KIND)
        for key, array in arrays.items():
            if key.startswith(("run.", "history.")) and array.dtype not in (np.float64, np.int64):
                raise DataError(f"{name} is no {KIND} that can be read: {key} has dtype {array.dtype.name}.")

    @property
    def model(self) -> dict[str, npt.NDArray[Any]]:
        """The numbers of the model alone, as `model.load_state_dict` takes them."""
        return {name[len("model.") :]: a for name, a in self.arrays.items() if name.startswith("model.")}

    def check(self, settings: Mapping[str, Json]) -> None:
        """Raise DataError, which lists what differs, unless a training has the settings of this one.

        There may be more epochs: then it goes on for longer.
        """
        then, now = ({k: v for k, v in each.items() if k not in _MAY_CHANGE} for each in (self.settings, settings))
        changed = differences(then, now)
        if changed:
            raise DataError(
                f"{self.name} is of a training with other settings, so it cannot be resumed bit for bit: "
                f"{'; '.join(changed)}. Call fit as it was then, or start anew with resume=False and another path."
            )

    def restore(self, model: Any, optimizer: Any) -> Position:
        """Give model and optimizer the numbers they had, and say where the training stood.

        Raises DataError, and changes nothing, if names, shapes or dtypes differ.
        """
        own = {name: a for name, a in self.arrays.items() if name.startswith(("model.", "optimizer."))}
        try:
            restore(model, optimizer, own)
        except DataError as error:
            raise DataError(f"{self.name} does not fit. {error}") from error
        return self.position

    def __repr__(self) -> str:
        at = self.position
        return f"Checkpoint({self.name!r}: step {at.step:,}, epoch {at.epoch}, batch {at.batch})"


class Checkpointer:
    """Saves a training now and then, and at its end: a callback of `fit`, which makes one for `checkpoint=path`.

    every, unit: how often, in "seconds", "steps" or "epochs". The file is replaced as a whole: whatever happens, the
    last good one is there. At the end of a training that met a NaN it is left as it was. A file that is no checkpoint
    is never overwritten.

    Raises DataError where the place cannot be written to, at the start and not after an hour. Cost: of the state,
    about 3 ms per megabyte and save, and what the disk takes.
    """

    only_looks = True

    def __init__(self, path: str | Path, every: float = 30.0, unit: str = "seconds") -> None:
        if unit not in _UNITS:
            raise DomainError(f"Checkpointer: unit={unit!r} is not one of {', '.join(_UNITS)}.")
        if not every > 0 or (unit != "seconds" and every != int(every)):
            raise DomainError(f"Checkpointer: every={every}; it must be above 0, and for {unit} a whole number.")
        self.path = Path(path)
        self.every, self.unit = every, unit

    @staticmethod
    def load(path: str | Path) -> Checkpoint:
        """The same as `load_checkpoint`."""
        return load_checkpoint(path)

    def on_start(self, run: Any) -> None:
        """See that the place can be written to."""
        if not self.path.parent.is_dir():
            raise DataError(
                f"the checkpoint {self.path} could not be written: make the folder {self.path.parent} first."
            )
        if self.path.is_dir():
            raise DataError(f"the checkpoint {self.path} could not be written: it is a folder. Choose a file in it.")
        if self.path.exists():
            _only_checkpoints(self.path)
        tidy(self.path)
        self._last = time.monotonic()

    def on_step(self, run: Any) -> None:
        """Save, if it is time."""
        if self.unit == "steps":
            due = run.position.step % int(self.every) == 0
        else:
            due = self.unit == "seconds" and time.monotonic() - self._last >= self.every
        if due:
            self.save(run)

    def rests(self, run: Any) -> int:
        """How many steps may be made before `on_step` must look again: a compiled training makes them in one call."""
        return int(self.every) - run.position.step % int(self.every) if self.unit == "steps" else NEVER

    def on_epoch(self, run: Any) -> None:
        """Save, if it is time."""
        if self.unit == "epochs" and len(run.history.epochs) % int(self.every) == 0:
            self.save(run)

    def rests_epochs(self, run: Any) -> int:
        """How many epochs may end before `on_epoch` must look again."""
        return int(self.every) - len(run.history.epochs) % int(self.every) if self.unit == "epochs" else NEVER

    def on_end(self, run: Any) -> None:
        """Save the end, unless there is a NaN in it."""
        if run.nonfinite is None:
            self.save(run)

    def save(self, run: Any) -> None:
        """Save now, after recordings of the same run: they are never behind a checkpoint from which it is resumed."""
        for each in run.callbacks.all:
            if hasattr(each, "settle"):
                each.settle(run)
        save_checkpoint(self.path, run)
        self._last = time.monotonic()


def save_checkpoint(path: str | Path, run: Any) -> None:
    """Write all that `run` needs to go on from here. Raises DataError if it cannot; the old file is then as it was."""
    arrays = state_arrays(run.model, run.optimizer) | {name: np.asarray(a) for name, a in run.arrays().items()}
    about = {
        "settings": run.settings,
        "position": list(run.position),
        "seed": run.seed,
        "made": {"backlit": backlit.__version__, "numpy": np.__version__},
    }
    write(Path(path), KIND, arrays, about)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """What a checkpoint file holds. It is only read, and nothing in it is run.

    `.model` goes to `model.load_state_dict`, to use what was learned; `fit(..., checkpoint=path, resume=True)` goes on.
    Raises DataError, which names the file, what is wrong with it, and what to do. Cost: about 3 ms per megabyte.

    >>> import tempfile
    >>> from backlit.nn.mlp import MLP
    >>> from backlit.training.fit import fit
    >>> path, x = tempfile.mkdtemp() + "/net.safetensors", np.linspace(-1, 1, 20).reshape(10, 2)
    >>> made = fit(MLP(2, [3, 1], key=0), (x, x[:, :1]), epochs=5, batch_size=5, checkpoint=path, progress=False)
    >>> found = load_checkpoint(path)
    >>> found.position, found.model.keys() == made.model.state_dict().keys()
    (Position(epoch=5, batch=0, step=10), True)
    """
    stored = read(Path(path), KIND)
    return Checkpoint(str(path), stored.arrays, stored.about)


def _only_checkpoints(path: Path) -> None:
    """Raise DataError if something else than a checkpoint stands at a place: it is not overwritten."""
    try:
        load_checkpoint(path)
    except DataError as error:
        raise DataError(f"{path} is there and is left as it is. {error}") from error
