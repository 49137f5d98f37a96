"""What can be told of a training while it runs, and stop it: callbacks, and early stopping among them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from backlit.core.errors import DataError, DomainError

Run = Any
"""A `backlit.training.run.Run`, which knows its callbacks."""

HOOKS = ("on_start", "on_step", "on_epoch", "on_end")
NEVER = 1 << 62
"""What `rests` and `rests_epochs` say who need not be called again at all."""


class StopTraining(Exception):  # noqa: N818 -- a request, as StopIteration is
    """Raise it in a callback, and training ends after what it was called for; its text becomes `run.stopped`."""


class Callback(Protocol):
    """What `fit` calls. A callback is any object with one or more of these methods; this class need not be inherited.

    on_start(run): before the first step, after a checkpoint was restored. on_step(run): after each update, with the
    gradients still in `.grad` of the parameters. on_epoch(run): at the end of each epoch, its row being the last of
    `run.history.epochs`. on_end(run): at the end, whatever ended it but an error.

    One that remembers something which a resumed training needs also has `state_arrays() -> dict` of arrays by name,
    and `restore(arrays)`; checkpoints keep it. An object with `observe(loss)`, such as `backlit.optim.ReduceOnPlateau`,
    is shown the validation loss of each epoch, or the loss without validation.

    A compiled training takes many steps in one call, unless a callback wants to see each of them: one with `on_step`.
    One that need not see each, as it only counts them or looks at the clock, has also `rests(run) -> int`: how many
    steps may be made before `on_step` must be called again. It may be called sooner, and finds no gradients then. In
    the same way `rests_epochs(run) -> int` says how many epochs may end before `on_epoch` must be called again. And one
    that changes nothing in model and optimizer may say `only_looks = True`: then nobody searches for what it changed.
    """

    def on_start(self, run: Run) -> None: ...
    def on_step(self, run: Run) -> None: ...
    def on_epoch(self, run: Run) -> None: ...
    def on_end(self, run: Run) -> None: ...


class Callbacks:
    """Several callbacks called as one: in order; at the end in reverse order, so that the first has the last word."""

    def __init__(self, given: Iterable[Any]) -> None:
        all_ = tuple(_Shown(each) if callable(getattr(each, "observe", None)) else each for each in given)
        for each in all_:
            if isinstance(each, type) or not any(callable(getattr(each, hook, None)) for hook in HOOKS):
                what = f"the class {each.__name__}; make one of it" if isinstance(each, type) else repr(each)
                raise DomainError(f"callbacks: {what:.80} has none of the methods {', '.join(HOOKS)}.")
        self.all = all_
        self._hooks = {hook: [f for each in all_ if (f := getattr(each, hook, None)) is not None] for hook in HOOKS}
        self._hooks["on_end"].reverse()
        self.only_look = all(getattr(each, "only_looks", False) for each in all_)
        looking = [each for each in all_ if getattr(each, "on_step", None) is not None]
        self._resting = [f for each in looking if (f := getattr(each, "rests", None)) is not None]
        self.see_each_step = len(self._resting) < len(looking)
        waiting = [each for each in all_ if getattr(each, "on_epoch", None) is not None]
        self._resting_epochs = [f for each in waiting if (f := getattr(each, "rests_epochs", None)) is not None]
        self.see_each_epoch = len(self._resting_epochs) < len(waiting)

    def rests(self, run: Run) -> int:
        """How many steps may be made until `on_step` must be called."""
        return min((max(1, f(run)) for f in self._resting), default=NEVER) if not self.see_each_step else 1

    def rests_epochs(self, run: Run) -> int:
        """How many epochs may end until `on_epoch` must be called."""
        return min((max(1, f(run)) for f in self._resting_epochs), default=NEVER) if not self.see_each_epoch else 1

    def call(self, hook: str, run: Run) -> None:
        """Call one hook of all that have it. A wish to stop is raised after all were called."""
        wish: StopTraining | None = None
        for function in self._hooks[hook]:
            try:
                function(run)
            except StopTraining as stop:
                wish = stop if wish is None else wish
        if wish is not None and hook != "on_end":
            raise wish

    def state_arrays(self) -> dict[str, Any]:
        """What they remember, by `<class>.<which of that class>.<name>`, so that their order does not count."""
        return {
            f"{label}.{name}": array
            for label, each in self._remembering().items()
            for name, array in each.state_arrays().items()
        }

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Let them remember it again.

        Raises DataError, which names it, for a callback that was there then and is not now, or is now and was not.
        """
        own = self._remembering()
        then = {".".join(name.split(".")[:2]) for name in arrays}
        now = {label for label, each in own.items() if label in then or each.state_arrays()}
        for labels, what, cure in (
            (then - now, "was made with {}, which is not among the callbacks now", "Pass it again"),
            (now - then, "was made without {}, which is among the callbacks now", "Leave it out"),
        ):
            if labels:
                named = ", ".join(sorted(label.rpartition(".")[0] for label in labels))
                raise DataError(f"callbacks: the stored training {what.format(named)}. {cure}, to resume it as it was.")
        for label, each in own.items():
            start = f"{label}."
            each.restore({name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)})

    def _remembering(self) -> dict[str, Any]:
        """The callbacks that remember something, by class and number among those of the class."""
        found: dict[str, Any] = {}
        counts: Counter[str] = Counter()
        for each in self.all:
            if hasattr(each, "state_arrays"):
                kind = type(each.observer if isinstance(each, _Shown) else each).__name__
                found[f"{kind}.{counts[kind]}"] = each
                counts[kind] += 1
        return found


class _Shown:
    """Shows the loss of each epoch to something that observes it, such as `backlit.optim.ReduceOnPlateau`."""

    def __init__(self, observer: Any) -> None:
        self.observer = observer

    def on_epoch(self, run: Run) -> None:
        row = run.history.epochs[-1]
        self.observer.observe(row.get("validation loss", row["loss"]))

    def state_arrays(self) -> dict[str, Any]:
        found: dict[str, Any] = self.observer.state_dict() if hasattr(self.observer, "state_dict") else {}
        return found

    def restore(self, arrays: Mapping[str, Any]) -> None:
        if hasattr(self.observer, "load_state_dict"):
            self.observer.load_state_dict(arrays)


class EarlyStopping:
    """Ends training when a number of each epoch gets no better, and puts back the model as it was at its best.

    patience: how many epochs in a row may pass without getting better by more than `min_delta`. monitor: a column of
    `run.history`; by default the validation loss, or the loss without validation. mode: whether "min" or "max" is
    best; by default "max" for accuracy, r2, precision, recall and f1, else "min". restore_best: give the model the
    parameters and buffers of its best epoch at the end (not after Ctrl-C, so that it can be continued exactly).

    `best`, `best_epoch` (from 0) and `waited` tell where it stands. Cost: one more copy of the parameters.

    >>> EarlyStopping(patience=3)
    EarlyStopping(patience=3)
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        *,
        monitor: str | None = None,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, (int, np.integer)) or patience < 1:
            raise DomainError(f"EarlyStopping: patience={patience!r}; give a number of epochs, at least 1.")
        if not 0 <= min_delta < math.inf:
            raise DomainError(f"EarlyStopping: min_delta={min_delta!r}; it must be at least 0.")
        if mode not in (None, "min", "max"):
            raise DomainError(f'EarlyStopping: mode={mode!r}; choose "min" or "max".')
        self.patience, self.min_delta = int(patience), float(min_delta)
        self.monitor, self.mode, self.restore_best = monitor, mode, restore_best
        self._forget()

    def _forget(self) -> None:
        self.best: float = math.nan
        self.best_epoch: int | None = None
        self.waited = 0
        self._best_model: dict[str, np.ndarray[Any, Any]] = {}

    def __repr__(self) -> str:
        more = f", min_delta={self.min_delta}" if self.min_delta else ""
        return f"EarlyStopping(patience={self.patience}{more})"

    def on_start(self, run: Run) -> None:
        """Begin anew, unless what an earlier part of this run was like has been restored; raises StopTraining if that
        part had stopped for good.
        """
        if run.position.step == 0:
            self._forget()
        elif self.waited >= self.patience:
            raise StopTraining(self._verdict("the monitored number"))

    def on_epoch(self, run: Run) -> None:
        """Raises StopTraining when patience has run out, DataError if there is no such column."""
        row = run.history.epochs[-1]
        name = self.monitor or ("validation loss" if "validation loss" in row else "loss")
        if name not in row:
            raise DataError(f"EarlyStopping: monitor={name!r} is not a column of the history: {', '.join(row)}.")
        now = row[name]
        rises = self.mode == "max" or (
            self.mode is None and name.removeprefix("validation ") in ("accuracy", "r2", "precision", "recall", "f1")
        )
        gain = now - self.best if rises else self.best - now
        if self.best_epoch is None or gain > self.min_delta or (math.isnan(self.best) and not math.isnan(now)):
            self.best, self.best_epoch, self.waited = now, int(row["epoch"]), 0
            if self.restore_best:
                self._best_model = run.model_arrays()
            return
        self.waited += 1
        if self.waited >= self.patience:
            raise StopTraining(self._verdict(name))

    def _verdict(self, name: str) -> str:
        epoch = 0 if self.best_epoch is None else self.best_epoch + 1
        return (
            f"early stopping: {name} has not got better for {self.waited} epochs; it was best, {self.best:.6g}, after "
            f"epoch {epoch}"
        )

    def on_end(self, run: Run) -> None:
        """Put the best model back."""
        if self._best_model and not run.interrupted:
            run.restore_model(self._best_model)

    def state_arrays(self) -> dict[str, Any]:
        """Where it stands, and the model at its best."""
        epoch = -1 if self.best_epoch is None else self.best_epoch
        return {
            "best": np.asarray(self.best, np.float64),
            "counts": np.asarray([epoch, self.waited], np.int64),
            **{f"best.{name}": array for name, array in self._best_model.items()},
        }

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Stand there again. Raises DataError if the arrays are not its own."""
        if "best" not in arrays or np.shape(arrays.get("counts", ())) != (2,):
            raise DataError("EarlyStopping: the stored training was made without early stopping; resume it so, too.")
        epoch, self.waited = (int(i) for i in arrays["counts"])
        self.best, self.best_epoch = float(arrays["best"]), None if epoch < 0 else epoch
        self._best_model = {name[len("best.") :]: a for name, a in arrays.items() if name.startswith("best.")}
