"""One step of a recorded run, computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backlit.core.value import Value, current, numbers_of
from backlit.core.walk import reachable
from backlit.ops.random import key as key_of
from backlit.optim.rule import Optimizer
from backlit.training.clipping import Clip
from backlit.training.ledger import parameter_of
from backlit.training.state import (
    Position,
    Snapshot,
    batch_count,
    batch_indices,
    forget,
    gradients,
    restore,
    state_arrays,
)

Array = npt.NDArray[Any]
Loss = Callable[[Any, Any], Value]


class Update(NamedTuple):
    """What one step does to a parameter: old + change = new, to rounding."""

    old: Array
    new: Array
    change: Array


class Machine(Protocol):
    """The steps of a run as machine code; see `compiled.MachineReplay`."""

    def make(self, arrays: Mapping[str, Array], start: int, stop: int) -> tuple[Array, dict[str, Array]]: ...


class Recipe(NamedTuple):
    """All that a step is computed from, beside the numbers of model and optimizer."""

    inputs: Array
    targets: Array
    loss: Loss
    seed: int
    batch_size: int | None
    clip: Clip | None
    method: str

    def position(self, step: int) -> Position:
        """The epoch and the batch of a step."""
        epoch, batch = divmod(step, batch_count(len(self.inputs), self.batch_size))
        return Position(epoch, batch, step)

    def rows(self, step: int) -> Array:
        """Which examples a step sees, in its order."""
        at = self.position(step)
        return batch_indices(len(self.inputs), self.batch_size, key_of(self.seed), at.epoch, at.batch)


@dataclass
class StepView:
    """One step of a recorded run, computed again: after `backward()` and before the update.

    loss: a value with its graph, so `why`, `paths`, `health` and `draw` work on it; model, optimizer: as they were
    before the step, with the gradients of the step (after clipping, if the run clipped); prediction: what the model
    answered, if it is a value; rows: (batch,) which examples of the data; inputs, targets: of these. recorded: the
    loss that was recorded, None for the step that was next when the recording ended; replayed: the loss that the step
    found when it was made again as it was made then.

    With method "nudge" the graph and `.grad` are by the chain rule, and `update` is by nudging, as in the run. Of a
    compiled run (`compiled`), the numbers before the step, `replayed` and `update` are those of the machine code, to
    the last bit; machine code has no graph, so `loss`, its graph and `.grad` are evaluated at the same numbers without
    the compiler, and agree with it within rounding.
    """

    step: int
    epoch: int
    batch: int
    rows: Array
    inputs: Array
    targets: Array
    model: Any
    optimizer: Any
    loss: Value
    prediction: Any
    recorded: float | None
    replayed: float
    compiled: bool
    _after: Mapping[str, Array] = field(repr=False)  # the numbers after the step, if machine code has made it
    _evaluate: Callable[[], Mapping[str, Array]] = field(repr=False)
    _evaluated: Mapping[str, Array] | None = field(default=None, repr=False)

    @property
    def exact(self) -> bool | None:
        """Whether the replayed loss is, to the last bit, the recorded one; None for the step that was not recorded."""
        return None if self.recorded is None else same_number(self.replayed, self.recorded)

    def parameter(self, name: str) -> Value:
        """The parameter at a path, such as `layers.0.weight`. Raises DataError if there is none."""
        found: Value = parameter_of(self.model, name)
        return found

    def why(self, name: str, index: int | tuple[int, ...] | None = None) -> Any:
        """Why the gradient of the parameter at a path is what it is, at this step; see `backlit.why`."""
        from backlit.explain.why import why

        return why(self.parameter(name), of=self.loss, index=index)

    def update(self, name: str) -> Update:
        """What this step does to the parameter at a path: the numbers before and after it, and their difference.

        Cost: at the first call for a view, one step of the optimizer.
        """
        old = np.asarray(numbers_of(self.parameter(name)))
        new = self._after[f"model.{name}"] if self.compiled else self.evaluated(name)
        return Update(old, new, new - old)

    def evaluated(self, name: str) -> Array:
        """What the optimizer makes of the parameter at a path by the gradients in place, without the compiler."""
        if self._evaluated is None:
            self._evaluated = self._evaluate()
        return self._evaluated[f"model.{name}"]

    def __repr__(self) -> str:
        return (
            f"StepView(step={self.step}, epoch={self.epoch}, batch={self.batch}, loss={float(self.loss.data):.6g}, "
            f"{len(self.rows)} examples)"
        )


def same_number(a: float, b: float) -> bool:
    """Whether two losses are the same to the last bit, or both NaN."""
    return a == b or (a != a and b != b)


class Stepper:
    """Model and optimizer on their way through the steps of a run.

    machine: the steps as machine code, where the run was compiled: then that makes the updates, and `compute()` is only
    for looking at what happens in a step.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Any,
        optimizer: Optimizer,
        rates: npt.NDArray[np.float64],
        first: int,
        machine: Machine | None = None,
    ) -> None:
        self.recipe, self.model, self.optimizer = recipe, model, optimizer
        self.rates, self.first = rates, first
        self.machine = machine
        self.step = -1
        self.loss = np.nan  # of this step, as the run found it; without a machine, once it is computed
        self.after: Mapping[str, Array] = {}  # the numbers after this step, as the machine makes them
        self.nudged: list[Any] = []
        self.passed = Snapshot([])  # the model's buffers after the forward pass of a view

    def go(self, step: int, arrays: Mapping[str, Array]) -> None:
        """Stand before a step, with these numbers."""
        forget(self.model, self.optimizer)
        restore(self.model, self.optimizer, arrays)
        self.model.train()
        self.step = step
        if self.machine is not None:
            (self.loss,), self.after = self.machine.make(self.arrays(), step, step + 1)

    def arrays(self) -> dict[str, Array]:
        """The numbers now."""
        return state_arrays(self.model, self.optimizer)

    def batch(self) -> tuple[Any, Any, Array]:
        """Inputs, targets and row numbers of this step."""
        rows = self.recipe.rows(self.step)
        return self.recipe.inputs[rows], self.recipe.targets[rows], rows

    def compute(self, clip: bool = True) -> tuple[Value, Any]:
        """Loss and prediction of this step; the gradients are then in place. Where the loss was made of several
        predictions, or of none, the prediction is None."""
        self._set_rate()
        x, y, _ = self.batch()
        seen: list[Any] = []

        def loss(prediction: Any, target: Any) -> Value:
            seen.append(prediction)
            return self.recipe.loss(prediction, target)

        limit = self.recipe.clip if clip else None
        if self.recipe.method == "chain":
            value = gradients(self.model, loss, x, y, clip=limit)
        else:
            value = self._nudged(loss, x, y, limit)
        prediction = seen[-1]
        if not (isinstance(prediction, Value) and current(prediction) in reachable([current(value)])):
            prediction = None
        for name, found in (("prediction", prediction), ("loss", value)):
            if found is not None and found.op is not None and found.name is None:
                found.name = name  # `view` in `view = run.at(5)` is not what they are called
        if self.machine is None:
            self.loss = float(value.data)
        return value, prediction

    def _nudged(self, loss: Loss, x: Any, y: Any, clip: Clip | None) -> Value:
        """Gradients by nudging, kept for the update, and then the graph of the same step by the chain rule."""
        before = Snapshot([buffer for _, buffer in self.model.named_buffers()])
        gradients(self.model, loss, x, y, clip=clip, method="nudge")
        self.nudged = [p.grad for p in self.optimizer.parameters]
        forget(self.model, self.optimizer)
        before.restore()
        return gradients(self.model, loss, x, y, clip=clip)

    def _set_rate(self) -> None:
        at = self.step - self.first
        lr = self.optimizer.variables().get("lr")
        if lr is not None and at < len(self.rates) and self.rates[at] != lr.data:
            lr.data = float(self.rates[at])

    def advance(self) -> None:
        """Make the update as the run did, by the gradients in place or the machine, and stand before the next step."""
        if self.machine is not None:
            self.go(self.step + 1, self.after)
            return
        self.update()
        forget(self.model, self.optimizer)
        self.step += 1

    def update(self) -> None:
        """Let the optimizer step by the gradients in place."""
        if self.recipe.method == "nudge":
            for p, grad in zip(self.optimizer.parameters, self.nudged, strict=True):
                p.grad = grad
        self.optimizer.step()
