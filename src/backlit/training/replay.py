"""A recorded run, rewound: any of its steps is computed again, bit for bit, and can be asked why.

A step is named by the number of updates before it: step 0 begins at the initial state, `losses[k]` is the loss that
step k finds, and its update leads from the state before step k to that before step k + 1.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import BacklitWarning, DataError, DomainError
from backlit.nn.init import keys_kept
from backlit.nn.module import Module
from backlit.optim.rule import Optimizer
from backlit.training.clipping import Clip
from backlit.training.ledger import Ledger, keep_ledger
from backlit.training.recorded import Recording, read
from backlit.training.specs import fingerprint, made
from backlit.training.state import (
    Snapshot,
    forget,
    restore,
)
from backlit.training.stepping import Array, Loss, Recipe, Stepper, StepView, same_number
from backlit.training.store import Json, in_order

if TYPE_CHECKING:
    from backlit.training.compiled import MachineReplay

MakeOptimizer = Callable[[list[Any]], Optimizer]


class RecordedRun:
    """A run that was recorded: its losses, its settings, and any of its steps again. Made by `load_run`.

    losses: (steps,) float64, the loss before each update. steps: how many were recorded. first_step: the step that the
    recording begins with, 0 unless a training was resumed into it. settings: as `fit` was called. epochs: the rows of
    the run's table. ended: why it ended; None after a kill. compiled_for: the CPU for which the steps were machine
    code; None for a run that was not compiled.

    A compiled run is replayed compiled, by the same machine code, so each state is that of the run to the last bit, on
    a CPU of the same kind with the same versions; elsewhere a warning says where the bits first differ. What machine
    code does not have, a graph and its gradients, is evaluated without the compiler at these states.
    """

    def __init__(self, recording: Recording, recipe: Recipe, make: Callable[[], tuple[Any, Optimizer]]) -> None:
        self._recording, self._recipe, self._make = recording, recipe, make
        self.path = recording.name
        self.losses = recording.losses
        self.losses.flags.writeable = False
        self.first_step = recording.first
        self.settings: dict[str, Json] = recording.about["settings"]
        self.made: dict[str, Json] = recording.about["made"]
        self.epochs = recording.epochs
        ending = recording.ending
        self.ended: str | None = None if ending is None else str(ending["reason"])
        self._compiled: dict[str, Json] | None = recording.about.get("compiled")
        self.compiled_for: str | None = self._compiled and self._compiled["target"]
        self._machine: MachineReplay | None = None
        self._near: tuple[int, dict[str, Array]] | None = None
        self._twin: Stepper | None = None
        self._warned = False

    @property
    def steps(self) -> int:
        """How many steps were recorded."""
        return len(self.losses)

    @property
    def end(self) -> int:
        """The step after the last recorded one."""
        return self.first_step + self.steps

    @property
    def model(self) -> Any:
        """A model like the one that was trained, as it was when the recording ended."""
        model, optimizer = self._make()
        restore(model, optimizer, self.state(self.end))
        return model.eval()

    def loss_at(self, step: int) -> float:
        """The loss that a step found. Raises DomainError for a step that was not recorded."""
        return float(self.losses[self._checked(step, self.end - 1) - self.first_step])

    def __repr__(self) -> str:
        last = f", loss {self.losses[0]:.6g} to {self.losses[-1]:.6g}" if self.steps else ""
        ended = "not ended (killed, or still running)" if self.ended is None else self.ended
        return f"RecordedRun({self.path!r}: {self.steps:,} steps{last}; {ended})"

    # -- going there --------------------------------------------------------------------------------------------

    def at(self, step: int) -> StepView:
        """A step as it was, to the last bit: model, optimizer, batch, loss and gradients, before its update.

        step: from `first_step` to `end`; that last one is the step that would have come next. Raises DomainError for
        another. Warns (BacklitWarning) if losses on the way are not the recorded ones, as with another build of NumPy.
        Cost: the steps from the nearest snapshot on, at most about a fiftieth of the run.
        """
        step = self._checked(step, self.end)
        stepper = self._stepper()
        self._bring(stepper, step)
        return self._view(stepper)

    def walk(self, start: int | None = None, stop: int | None = None) -> Iterator[StepView]:
        """The steps from `start` up to `stop`, not included, one after the other, as views.

        They share one model, which moves on with them: use a view before asking for the next, or take `at(step)`.
        Cost: that of the training.
        """
        for stepper in self.replay(start, stop):
            view = self._view(stepper)
            grads = [p.grad for p in stepper.optimizer.parameters]
            yield view
            for p, grad in zip(stepper.optimizer.parameters, grads, strict=True):
                p.grad = grad
            stepper.passed.restore()
            stepper.advance()

    def replay(self, start: int | None = None, stop: int | None = None) -> Iterator[Stepper]:
        """Stand before each step in turn; whoever does not `advance()` is advanced."""
        first = self.first_step if start is None else self._checked(start, self.end)
        last = self.end if stop is None else self._checked(stop, self.end)
        if first >= last:
            return
        stepper = self._stepper()
        self._bring(stepper, first)
        for step in range(first, last):
            yield stepper
            if stepper.step == step:
                self.advance(stepper)

    def state(self, step: int) -> dict[str, Array]:
        """All numbers of model and optimizer before a step, by name: `model.<path>`, `optimizer.<path>`."""
        step = self._checked(step, self.end)
        if step in self._recording.snapshots:
            return self._recording.snapshot(step).arrays
        stepper = self._stepper()
        self._bring(stepper, step)
        return stepper.arrays()

    @property
    def snapshots(self) -> list[int]:
        """The steps whose states are in the file."""
        return list(self._recording.snapshots)

    def states(self, start: int, stop: int) -> Iterator[tuple[int, Mapping[str, Array]]]:
        """Each step with all numbers after it, as the run made them, and nothing else of it.

        Cost: that of the training; of a compiled run a call for each step.
        """
        machine, numbers = self._the_machine(), self.state(start)
        if machine is None:
            for stepper in self.replay(start, stop):
                self.advance(stepper)
                yield stepper.step - 1, stepper.arrays()
            return
        for step in range(start, stop):
            losses, numbers = machine.make(numbers, step, step + 1)
            self._compare_losses(step, losses.tolist())
            yield step, numbers

    def _checked(self, step: int, last: int) -> int:
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)):
            raise DomainError(f"a step is a whole number, unlike {step!r:.60}.")
        if not self.first_step <= step <= last:
            raise DomainError(f"step {step:,} was not recorded; {self.path} has steps {self.first_step:,} to {last:,}.")
        return int(step)

    def _stepper(self) -> Stepper:
        return Stepper(self._recipe, *self._make(), self._recording.rates, self.first_step, self._the_machine())

    def _the_machine(self) -> MachineReplay | None:
        """The machine code of the steps, if they were compiled; made when it is first needed."""
        if self._compiled is None or self._machine is not None:
            return self._machine
        if find_spec("llvmlite") is None:
            self._compiled = None
            self._warn(
                "its steps were compiled, and there is no llvmlite here: replayed without, they round otherwise."
            )
            return None
        from backlit.training.compiled import MachineReplay

        self._machine = MachineReplay(
            self._recipe, *self._make(), self._recording.rates, self.first_step, stepwise=self._compiled["stepwise"]
        )
        return self._machine

    def _bring(self, stepper: Stepper, step: int) -> None:
        near = max(s for s in self._recording.snapshots if s <= step)
        arrays = self._recording.snapshot(near).arrays
        if self._near is not None and near < self._near[0] <= step:
            near, arrays = self._near
        if stepper.machine is not None:
            losses, arrays = stepper.machine.make(arrays, near, step)
            self._compare_losses(near, losses.tolist())
            near = step
        stepper.go(near, arrays)
        while stepper.step < step:
            self.advance(stepper)
        self._near = step, stepper.arrays()

    def advance(self, stepper: Stepper) -> None:
        """Make the step that a stepper stands before, and compare its loss with the recorded one."""
        forget(stepper.model, stepper.optimizer)
        if stepper.machine is None:
            stepper.compute()
        self.compare_loss(stepper)
        stepper.advance()

    def compare_loss(self, stepper: Stepper) -> None:
        """Say once if the loss of the step that a stepper stands before is not the recorded one."""
        self._compare_losses(stepper.step, [stepper.loss])

    def _compare_losses(self, first: int, found: Iterable[float]) -> None:
        if self._warned:
            return
        for step, loss in enumerate(found, first):
            recorded = self._recorded(step)
            if recorded is not None and not same_number(loss, recorded):
                made = ", ".join(f"{key} {version}" for key, version in self.made.items() if key != "time")
                self._warn(
                    f"at step {step:,} the loss is {loss!r}, and {recorded!r} was recorded. The run was made with "
                    f"{made}; here is NumPy {np.__version__}. {self._may_differ()}; else a callback changed the model, "
                    "or the loss or the model that was passed is another."
                )
                return

    def _may_differ(self) -> str:
        """Why a replay may round otherwise than the run did."""
        if self._machine is None:
            return "Another build of NumPy, or another number of threads, rounds differently"
        from backlit.training.compiled import made_for

        return (
            f"Its steps were compiled for {self.compiled_for}, and are compiled for {made_for()} here: for another "
            "CPU, or by another version, they round differently"
        )

    def _warn(self, text: str) -> None:
        self._warned = True
        warnings.warn(f"{self.path}: {text}", BacklitWarning, stacklevel=2)

    def _recorded(self, step: int) -> float | None:
        return float(self.losses[step - self.first_step]) if step < self.end else None

    def _view(self, stepper: Stepper) -> StepView:
        forget(stepper.model, stepper.optimizer)
        before = stepper.arrays()
        buffers = [buffer for _, buffer in stepper.model.named_buffers()]
        still = Snapshot(buffers)
        value, prediction = stepper.compute()
        for node, name in ((value, "loss"), (prediction, "prediction")):  # by what explanations call them
            if node is not None and node.name is None:
                node.name = name
        stepper.passed = Snapshot(buffers)
        still.restore()
        self.compare_loss(stepper)
        step, params = stepper.step, stepper.optimizer.parameters
        grads = stepper.nudged if self._recipe.method == "nudge" else [p.grad for p in params]

        def evaluate() -> Mapping[str, Array]:
            if self._twin is None:
                self._twin = Stepper(self._recipe, *self._make(), self._recording.rates, self.first_step)
            twin = self._twin
            twin.go(step, before)
            twin._set_rate()
            for p, grad in zip(twin.optimizer.parameters, grads, strict=True):
                p.grad = grad
            twin.optimizer.step()
            return twin.arrays()

        x, y, rows = stepper.batch()
        at = self._recipe.position(step)
        return StepView(
            step, at.epoch, at.batch, rows, x, y, stepper.model, stepper.optimizer, value, prediction,
            self._recorded(step), stepper.loss, stepper.machine is not None, stepper.after, evaluate,
        )  # fmt: skip

    # -- finding ------------------------------------------------------------------------------------------------

    def first(
        self,
        holds: Callable[[StepView], Any],
        *,
        monotone: bool = False,
        start: int | None = None,
        stop: int | None = None,
    ) -> int | None:
        """The first step where something holds, or None.

        holds: is given the view of a step (see `at`), and says True or False. monotone: once it holds it goes on
        holding, as "the unit is dead" mostly does; then it is found by bisection, with about log2(steps) replays, else
        by looking at every step in turn.
        """
        low = self.first_step if start is None else self._checked(start, self.end)
        high = self.end if stop is None else self._checked(stop, self.end)
        if not monotone:
            return next((view.step for view in self.walk(low, high) if holds(view)), None)
        if low >= high or not holds(self.at(high - 1)):
            return None
        high -= 1  # where it holds
        while low < high:
            middle = (low + high) // 2
            if holds(self.at(middle)):
                high = middle
            else:
                low = middle + 1
        return high

    def first_nonfinite(self) -> int | None:
        """The first step whose loss is NaN or infinite. Cost: no replay."""
        return self._first_of(~np.isfinite(self.losses))

    def first_rise(self, factor: float = 1.0) -> int | None:
        """The first step whose loss is above `factor` times the lowest before it. Cost: no replay."""
        if self.steps < 2:
            return None
        lowest = np.fmin.accumulate(self.losses)[:-1]
        return self._first_of(np.concatenate([[False], self.losses[1:] > factor * lowest]))

    def _first_of(self, mask: npt.NDArray[np.bool_]) -> int | None:
        return self.first_step + int(np.argmax(mask)) if mask.any() else None

    def why_changed(
        self,
        weight: str,
        index: int | tuple[int, ...] = (),
        from_step: int | None = None,
        to_step: int | None = None,
        *,
        examples: bool = True,
    ) -> Ledger:
        """Which steps, and which examples, moved one number of a parameter; see `Ledger` for what a share means.

        weight: the path of the parameter; index: of the number in it; from_step, to_step: from the state before one
        step to that before another (by default, the whole run). examples=False: only the steps, at a third of the cost.
        Cost: that of the training between the two; with examples, about three times as much.
        """
        start = self.first_step if from_step is None else self._checked(from_step, self.end)
        stop = self.end if to_step is None else self._checked(to_step, self.end)
        if stop < start:
            raise DomainError(f"why_changed: to_step={stop} is before from_step={start}.")
        return keep_ledger(self, weight, index, start, stop, examples)


def load_run(
    path: str | Path,
    *,
    model: Any = None,
    data: Any = None,
    loss: Any = None,
    optimizer: MakeOptimizer | None = None,
    partial: bool = False,
) -> RecordedRun:
    """A recorded run, to be looked at and replayed. The file is only read, and no code in it is run.

    model: needed if its class is not Backlit's own; its numbers do not count, and it is not changed. data: `(inputs,
    targets)`, needed if they were too large to be recorded; they are compared with the run's. loss: needed if it is a
    function of yours. optimizer: `parameters -> Optimizer`, needed if it cannot be made again from its arguments.
    partial: if the file is damaged, or was cut off by a kill, take what stands before that place.

    Raises DataError, which names the file, what is wrong with it, and what to do.

    >>> import tempfile
    >>> from backlit.nn.mlp import MLP
    >>> from backlit.training.fit import fit
    >>> path, x = tempfile.mkdtemp() + "/run.backlit", np.linspace(-1, 1, 20).reshape(10, 2)
    >>> made = fit(MLP(2, [3, 1], key=0), (x, x[:, :1]), epochs=5, batch_size=5, record=path, progress=False)
    >>> run = load_run(path)
    >>> view = run.at(step=7)
    >>> view.epoch, view.batch, view.exact, bool(view.loss.data == made.losses[7])
    (3, 1, True, True)
    >>> ledger = run.why_changed("layers.0.bias", 2)
    >>> abs(ledger.total - (ledger.new - ledger.old)) < 1e-15
    True
    """
    recording = read(path, partial)
    about, name = recording.about, recording.name
    inputs, targets = _data(recording, data)
    if loss is None or isinstance(loss, str):
        loss = _loss_named(about["loss"] if loss is None else loss, name)
    clip = None if about["clip"] is None else _clip(about["clip"], name)
    recipe = Recipe(inputs, targets, loss, about["seed"], about["batch_size"], clip, about["method"])
    if about["method"] not in ("chain", "nudge"):
        raise DataError(f"{name} is no recording that can be read: {about['method']!r:.40} is no method.")
    if model is None and about["model"] is None:
        raise DataError(f"{name}: the model is of a class of yours; pass load_run(path, model=...), made as it was.")
    if optimizer is None and about["optimizer"] is None:
        raise DataError(
            f"{name}: the optimizer cannot be made again from its arguments; pass it as it was, such as "
            "load_run(path, optimizer=lambda parameters: bl.optim.SGD(parameters, lr=my_schedule))."
        )
    with keys_kept():
        original = copy.deepcopy(model) if model is not None else _rebuilt(about["model"], Module, name)

    def make() -> tuple[Any, Optimizer]:
        again = copy.deepcopy(original)
        parameters = again.parameters()
        if optimizer is not None:
            return again, optimizer(parameters)
        return again, _rebuilt(about["optimizer"], Optimizer, name, parameters)

    one, two = make()
    for step in recording.snapshots:
        try:
            restore(one, two, recording.snapshot(step).arrays)
        except DataError as error:
            raise DataError(f"{name}: the state before step {step:,} does not fit. {error}") from error
        break
    return RecordedRun(recording, recipe, make)


def _rebuilt(spec: Json, kind: type, name: str, *first: Any) -> Any:
    try:
        return made(spec, kind, *first)
    except DataError as error:
        raise DataError(f"{name}: its {kind.__name__.lower()} cannot be made again: {error}") from error


def _data(recording: Recording, data: Any) -> tuple[Array, Array]:
    about = recording.about
    found = recording.data() if data is None else _pair(data)
    if found is None:
        raise DataError(
            f"{recording.name}: the data were too large to be recorded; pass them, load_run(path, data=(inputs, "
            f"targets)), with inputs of shape {tuple(about['inputs']['shape'])}."
        )
    if fingerprint(*found) != about["fingerprint"]:
        raise DataError(
            f"{recording.name}: the data are not those of the run, which had inputs {about['inputs']['dtype']} of "
            f"shape {tuple(about['inputs']['shape'])} and targets {about['targets']['dtype']} of shape "
            f"{tuple(about['targets']['shape'])}; these are {found[0].dtype} {found[0].shape} and {found[1].dtype} "
            f"{found[1].shape}, or hold other numbers. Pass the same rows in the same order."
        )
    return in_order(found[0], about["inputs"]["order"]), in_order(found[1], about["targets"]["order"])


def _pair(data: Any) -> tuple[Array, Array]:
    if hasattr(data, "inputs") and hasattr(data, "targets"):
        data = data.inputs, data.targets
    one, two = data
    return np.asarray(one), np.asarray(two)


def _clip(given: Json, name: str) -> Clip:
    try:
        found = Clip.of(tuple(reversed(given)))
    except DomainError as error:
        raise DataError(f"{name} is no recording that can be read: {error}") from error
    assert found is not None
    return found


def _loss_named(named: str | None, name: str) -> Loss:
    from backlit import nn
    from backlit.nn import losses

    if named is None:
        raise DataError(f"{name}: the loss is a function of yours; pass it, load_run(path, loss=...).")
    if named not in nn._PLACES["losses"].split():
        raise DataError(f"{name}: {named!r:.40} is no loss of this Backlit; pass it, load_run(path, loss=...).")
    found: Loss = getattr(losses, named)
    return found
