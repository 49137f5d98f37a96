"""What came of a training: the model, the losses, why it ended, and what the model predicts now."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DataError
from backlit.core.state import no_grad
from backlit.core.trees import flatten
from backlit.core.value import Value, current, numbers_of
from backlit.nn.module import Module
from backlit.training.callbacks import Callbacks
from backlit.training.clipping import Clip
from backlit.training.state import Position

Floats = npt.NDArray[np.float64]
Row = dict[str, float]
AT_ONCE = 1024
"""How many examples go through the model together where nothing is learned."""


class History:
    """The loss of every step, and a row of numbers for every epoch.

    epochs: rows with "epoch" (from 0), "loss" (mean over its examples, each before the update it took part in),
    "seconds", and where they apply "validation loss" and metrics ("validation accuracy", or "accuracy" where there is
    no validation).

    >>> history = History()
    >>> history.add_loss(0.5); history.losses
    array([0.5])
    """

    def __init__(self) -> None:
        self._losses = np.empty(64, np.float64)
        self._count = 0
        self.epochs: list[Row] = []

    @property
    def losses(self) -> Floats:
        """The loss before each update, (steps,), read-only."""
        view = self._losses[: self._count]
        view.flags.writeable = False
        return view

    def add_loss(self, loss: float) -> None:
        """The loss of one more step."""
        if self._count == len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty_like(self._losses)])
        self._losses[self._count] = loss
        self._count += 1

    def add_losses(self, losses: Floats) -> None:
        """The losses of several more steps, (n,)."""
        count = self._count + len(losses)
        if count > len(self._losses):
            self._losses = np.concatenate([self._losses[: self._count], np.empty(count)])
        self._losses[self._count : count] = losses
        self._count = count

    def cut(self, steps: int, epochs: int) -> None:
        """Forget what came after so many steps and epochs."""
        self._count = min(self._count, steps)
        del self.epochs[epochs:]

    def column(self, name: str) -> Floats:
        """A number of each epoch, NaN where there is none. Raises DataError for a name that no epoch has."""
        if not any(name in row for row in self.epochs):
            known = ", ".join(self.columns) or "there are no epochs yet"
            raise DataError(f"history: there is no column {name!r}: {known}.")
        return np.array([row.get(name, math.nan) for row in self.epochs])

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(dict.fromkeys(name for row in self.epochs for name in row))

    def __repr__(self) -> str:
        return f"History({self._count:,} steps, {len(self.epochs)} epochs: {', '.join(self.columns)})"

    def arrays(self) -> dict[str, Any]:
        """All of it as arrays by name."""
        columns = {f"epochs.{name}": self.column(name) for name in self.columns}
        return {"losses": np.array(self.losses), **columns}

    def take(self, arrays: Mapping[str, Any]) -> None:
        """Be what `arrays()` was. Raises DataError where they do not fit together."""
        losses = np.asarray(arrays.get("losses"), np.float64)
        columns = {name[len("epochs.") :]: np.asarray(a) for name, a in arrays.items() if name.startswith("epochs.")}
        shapes = {a.shape for a in columns.values()}
        if losses.ndim != 1 or len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise DataError("history: the stored losses and epochs do not fit together.")
        self._losses = np.concatenate([losses, np.empty(max(64, len(losses)))])
        self._count = len(losses)
        rows = zip(*columns.values(), strict=True)
        self.epochs = [dict(zip(columns, map(float, row), strict=True)) for row in rows]


class Run:
    """A training and what came of it; `fit` returns it, and callbacks are given it while it grows.

    model, optimizer; loss (the function) and loss_name; history (see there); position: where it stands (epoch, batch,
    step); seconds: how long it took, over all parts if it was resumed; seed; settings: all that was chosen, as plain
    JSON; interrupted: by Ctrl-C; stopped: why it ended before its last epoch, or None; nonfinite: where the first NaN
    or infinity arose, if that is why.

    What the steps were made of: inputs and targets (of the training, without what was held out), batch_size, clip (a
    `Clip` or None) and method; last_loss is the loss of the last step.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Any,
        loss: Callable[[Any, Any], Value],
        *,
        loss_name: str = "loss",
        seed: int = 0,
        settings: dict[str, Any] | None = None,
        callbacks: Callbacks | None = None,
        inputs: Any = (),
        targets: Any = (),
        batch_size: int | None = None,
        clip: Clip | None = None,
        method: str = "chain",
    ) -> None:
        self.model, self.optimizer, self.loss, self.loss_name = model, optimizer, loss, loss_name
        self.seed, self.settings = seed, {} if settings is None else settings
        self.callbacks = Callbacks(()) if callbacks is None else callbacks
        self.inputs, self.targets = inputs, targets
        self.batch_size, self.clip, self.method = batch_size, clip, method
        self.history = History()
        self.position = Position()
        self.seconds = 0.0
        self.interrupted = False
        self.stopped: str | None = None
        self.nonfinite: Any = None

    # -- what happened ----------------------------------------------------------------------------------------------

    @property
    def losses(self) -> Floats:
        """The loss before each update, (steps,); short for `history.losses`."""
        return self.history.losses

    @property
    def last_loss(self) -> float:
        """The loss of the last step, before its update; NaN if there was none."""
        losses = self.history.losses
        return float(losses[-1]) if len(losses) else math.nan

    @property
    def final(self) -> Row:
        """The row of the last epoch; empty before the first has ended."""
        return self.history.epochs[-1] if self.history.epochs else {}

    def plot(self, **options: Any) -> Any:
        """The losses by step, and the validation loss at the end of each epoch; options as for `plot_loss`.

        Needs matplotlib (the extra `plot`). Raises DomainError before the first step.
        """
        from backlit.draw.plots import plot_loss

        curves: dict[str, Any] = {"training" if "validation loss" in self.history.columns else "": self.losses}
        if "validation loss" in self.history.columns:
            ends = (self.history.column("epoch") + 1) * (self.settings.get("batches") or 1)
            curves["validation"] = (ends, self.history.column("validation loss"))
        return plot_loss(curves, **options)

    # -- what it learned --------------------------------------------------------------------------------------------

    def predict(self, x: Any, batch_size: int = AT_ONCE) -> Any:
        """What the model computes of x: (n, ...), as it does in use (`eval`), and without recording.

        It goes through in batches, so that memory does not grow with n. The result is an array, or, where the model
        gives several, a container of arrays. The model is left in the mode that it was in.
        """
        return predict(self.model, x, batch_size)

    # -- kept by checkpoints ----------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Any]:
        """All that a resumed run needs beside the numbers of model and optimizer, as arrays by flat name.

        `run.position` (3,) int64, `run.seconds`, `history.*`, and `callbacks.*` of those that remember something.
        """
        return {
            "run.position": np.array(self.position, np.int64),
            "run.seconds": np.array(self.seconds),
            **{f"history.{name}": a for name, a in self.history.arrays().items()},
            **{f"callbacks.{name}": np.asarray(a) for name, a in self.callbacks.state_arrays().items()},
        }

    def take(self, arrays: Mapping[str, Any]) -> None:
        """Stand where another run stood, from its `arrays()`; other names in them are left alone.

        Raises DataError where they do not fit together.
        """
        position = np.asarray(arrays.get("run.position"))
        if position.shape != (3,) or position.dtype.kind != "i" or (position < 0).any():
            raise DataError("run: the stored position is missing or damaged.")
        self.history.take(_under("history.", arrays))
        if len(self.losses) != position[2]:
            raise DataError(f"run: {len(self.losses)} losses are stored, and {position[2]} steps were made.")
        self.callbacks.restore(_under("callbacks.", arrays))
        self.position = Position(*(int(i) for i in position))
        self.seconds = float(arrays.get("run.seconds", 0.0))

    def model_arrays(self) -> dict[str, Any]:
        """The numbers of the model's parameters and buffers, held and not copied."""
        return {path: np.asarray(numbers_of(value)) for path, value in _variables(self.model)}

    def restore_model(self, arrays: Mapping[str, Any]) -> None:
        """Give the model's parameters and buffers these numbers. Raises DataError if one is missing."""
        for path, value in _variables(self.model):
            if path not in arrays:
                raise DataError(f"run: the stored model has no {path}.")
            if not (np.shape(arrays[path]) and arrays[path] is numbers_of(value)):
                value.data = arrays[path]

    # -- in words ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        epochs, steps = len(self.history.epochs), self.position.step
        head = (
            f"Run of {type(self.model).__name__} by {type(self.optimizer).__name__}: {_count(epochs, 'epoch')}, "
            f"{_count(steps, 'step')}, {self.seconds:.3g} s"
        )
        lines = [head]
        if steps:
            first = self.history.epochs[0]["loss"] if self.history.epochs else self.losses[0]
            last = self.final.get("loss", self.losses[-1])
            lines.append(f"  {self.loss_name}: {first:.4g} → {last:.4g}")
        shown = {name: number for name, number in self.final.items() if name not in ("epoch", "loss", "seconds")}
        if shown:
            lines.append("  " + " · ".join(f"{name} {number:.4g}" for name, number in shown.items()))
        if self.stopped:
            lines.append(f"  ended: {self.stopped.splitlines()[0]}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: the same, and a table of at most twelve epochs."""
        lines = [f"<pre>{escape(repr(self))}</pre>"]
        rows, columns = self.history.epochs, self.history.columns
        if rows:
            chosen = rows if len(rows) <= 12 else [*rows[:3], *rows[-9:]]
            heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
            body = "".join(
                "<tr>" + "".join(f"<td>{_cell(name, row.get(name))}</td>" for name in columns) + "</tr>"
                for row in chosen
            )
            lines.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>")
        return "\n".join(lines)


def predict(model: Module, x: Any, batch_size: int = AT_ONCE, call: Callable[[Any], Any] | None = None) -> Any:
    """What a model computes of x: (n, ...), in use and without recording; see `Run.predict`.

    call: what is called for a batch instead of the model: its compiled form.
    """
    call = model if call is None else call
    array = inputs_as_array(x)
    if array.ndim == 0 or len(array) == 0:
        raise DataError(f"predict: x has shape {array.shape}, and holds no examples; they stand on the first axis.")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            parts = [call(array[i : i + batch_size]) for i in range(0, len(array), batch_size)]
    finally:
        for module, mode in modes:
            module.training = mode
    rebuild = flatten(parts[0])[1]
    columns = zip(*(flatten(part)[0] for part in parts), strict=True)
    return rebuild(iter([_joined(column) for column in columns]))


def _joined(parts: tuple[Any, ...]) -> Any:
    arrays = [np.asarray(current(part)._data if isinstance(part, Value) else part) for part in parts]
    return np.array(arrays[0]) if len(arrays) == 1 or not arrays[0].ndim else np.concatenate(arrays)


def inputs_as_array(x: Any) -> npt.NDArray[Any]:
    """Inputs as a NumPy array that nobody writes into. Raises DataError for what is no array of numbers."""
    found = np.asarray(numbers_of(x) if isinstance(x, Value) else x)
    if found.dtype.kind not in "biufc":
        raise DataError(f"the inputs have dtype {found.dtype}, and numbers are needed; encode text first.")
    return found


def _variables(model: Module) -> list[tuple[str, Value]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _under(start: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)}


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _cell(name: str, number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.0f}" if name == "epoch" else f"{number:.4g}"
