"""The steps of a training as machine code: many of them in one call, with the batches gathered inside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backlit.compiler.compile import Compiled, compile
from backlit.compiler.target import host
from backlit.core.errors import BacklitError, GraphError
from backlit.core.state import no_grad
from backlit.core.value import Value, current, numbers_of
from backlit.nn.module import Module
from backlit.ops.creation import asarray
from backlit.ops.random import key as key_of
from backlit.training.clipping import Clip
from backlit.training.run import predict
from backlit.training.state import (
    Loss,
    Order,
    Rows,
    Snapshot,
    forget,
    gradients,
    restore,
    takes_closure,
    variables,
)
from backlit.training.stepping import Array, Recipe

Floats = npt.NDArray[np.float64]

EPOCHS_AT_ONCE = 4096
"""At most so many epochs are replayed in one call."""

AIR = 0.05
"""About how many seconds of machine code run before Python comes up for air: for Ctrl-C and progress."""


class Examples(Protocol):
    """What is learned from: a data set, or the recipe of a recorded run."""

    @property
    def inputs(self) -> Array: ...
    @property
    def targets(self) -> Array: ...


class MachineSteps:
    """The steps of one training, compiled: `many(rows)`, one for each row of row numbers, and `one(rows)`.

    What `many` computes is, to the last bit, `compile(step).each(rows)`, with

        def step(rows):
            value = loss(model(inputs[rows]), targets[rows])
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
            return value

    however the rows are shared out among calls; `one` is a call `compile(step)(rows)` without `zero_grad()`, so the
    gradients stay in place. Of the model and the optimizer, parameters and buffers are read anew at each call. What
    else they hold in Python (a rate of Dropout, a list) is part of the program: `renew()` after it has been changed.
    Cost: one copy of the data.
    """

    def __init__(
        self, model: Module, optimizer: Any, loss: Loss, data: Examples, *, clip: Clip | None, method: str
    ) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.inputs, self.targets = asarray(data.inputs), asarray(data.targets)
        self.clip, self.method = clip, method
        self.pace = 0.0  # seconds a step, as last measured
        self.renew()

    def renew(self) -> None:
        """Forget what was compiled; it is traced anew when it is next needed."""
        self._step: Compiled = compile(self._one_step)
        self._turn: Compiled = compile(self._one_turn)
        self._answer: Compiled = compile(self._answered)
        self._modules = list(self.model.modules())
        self._plain = plain_attributes(self._modules)

    def renew_if_changed(self, parts: bool = True) -> None:
        """`renew()` if something that a trace takes for granted was changed: a callback may do so. parts: see also
        whether modules were exchanged, which takes longer.
        """
        if (parts and list(self.model.modules()) != self._modules) or plain_attributes(self._modules) != self._plain:
            self.renew()

    def _one_step(self, rows: Any) -> Value:
        x, y = self.inputs[rows], self.targets[rows]
        x.name, y.name = "inputs", "targets"
        value = gradients(self.model, self.loss, x, y, clip=self.clip, method=self.method)
        self.optimizer.step()
        return value

    def _one_turn(self, rows: Any) -> Value:
        value = self._one_step(rows)
        forget(self.model, self.optimizer)
        return value

    def _answered(self, x: Any) -> Any:
        with no_grad():
            return self.model(x)

    def many(self, rows: Rows) -> Floats:
        """A step for each row of row numbers, (steps, batch): their losses, (steps,)."""
        start = time.perf_counter()
        found = self._turn.each(rows)
        self.pace = (time.perf_counter() - start) / len(rows)
        return np.array(current(found)._data, np.float64)

    def one(self, rows: Rows) -> Floats:
        """One step on the examples of these row numbers, (batch,): its loss, (1,). The gradients are left in place."""
        return np.array([current(self._step(rows))._data], np.float64)

    def predict(self, x: Any, batch_size: int) -> Any:
        """As `backlit.training.run.predict`, compiled."""
        return predict(self.model, x, batch_size, self._answer)

    @property
    def room(self) -> int:
        """How many steps to take in one call."""
        return max(1, int(AIR / self.pace)) if self.pace else 1

    def try_out(self, *, stepwise: bool, shapes: list[int], seen: Any, at_once: int) -> None:
        """Compile what will be needed, now; nothing is changed. Raises what keeps it from being compiled.

        shapes: sizes of batches. seen: what predictions will be asked for, or None.
        """
        snapshot = Snapshot(list(variables(self.model, self.optimizer).values()))
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.train()
        try:
            for size in shapes:
                rows = np.arange(size)
                if stepwise:
                    self.one(rows)
                else:
                    self.many(rows[None])
            self.pace = 0.0
            if seen is not None:
                self.predict(seen[:at_once], at_once)
        finally:
            snapshot.restore()
            for module, mode in modes:
                module.training = mode
            forget(self.model, self.optimizer)


class MachineReplay:
    """The steps of a recorded run that was compiled, made again by the same machine code.

    stepwise: whether the run made one step in a call, for a callback that saw each: that is another program. rates: the
    learning rates of the steps from `first` on. Cost: tracing, once; most often the machine code is found on disk.
    """

    def __init__(
        self, recipe: Recipe, model: Module, optimizer: Any, rates: Floats, first: int, *, stepwise: bool
    ) -> None:
        self.recipe, self.rates, self.first, self.stepwise = recipe, rates, first, stepwise
        self.machine = MachineSteps(model, optimizer, recipe.loss, recipe, clip=recipe.clip, method=recipe.method)
        self.order = Order(len(recipe.inputs), recipe.batch_size, key_of(recipe.seed))
        self._rate: Value | None = optimizer.variables().get("lr")
        self._own = variables(model.train(), optimizer)
        self._now: Mapping[str, Array] | None = None  # what they are

    def make(self, arrays: Mapping[str, Array], start: int, stop: int) -> tuple[Floats, dict[str, Array]]:
        """From all numbers before step `start` to the losses of the steps up to `stop`, and the numbers after them."""
        if arrays is not self._now:
            restore(self.machine.model, self.machine.optimizer, arrays)
        self._now = None
        rates = self.rates[start - self.first : stop - self.first]
        changes = start + 1 + np.flatnonzero(np.diff(rates))
        losses = []
        for low, high in pairwise([start, *changes.tolist(), stop]):
            if self._rate is not None and low - start < len(rates) and self._rate.data != rates[low - start]:
                self._rate.data = float(rates[low - start])
            losses += [self._called(rows) for rows in self._calls(low, high)]
        self._now = after = {name: np.asarray(numbers_of(value)) for name, value in self._own.items()}
        return np.concatenate([np.empty(0), *losses]), after

    def _called(self, rows: Rows) -> Floats:
        if not self.stepwise:
            return self.machine.many(rows)
        losses = []
        for batch in rows:
            losses.append(self.machine.one(batch))
            forget(self.machine.model, self.machine.optimizer)
        return np.concatenate(losses)

    def _calls(self, start: int, stop: int) -> Iterator[Rows]:
        """The rows of steps, as many together as one call can make, which are those with batches of one size."""
        waiting: list[Rows] = []
        for rows in self._epochs(start, stop):
            if waiting and (len(waiting) == EPOCHS_AT_ONCE or waiting[0].shape[1] != rows.shape[1]):
                yield np.concatenate(waiting)
                waiting = []
            waiting.append(rows)
        if waiting:
            yield np.concatenate(waiting)

    def _epochs(self, start: int, stop: int) -> Iterator[Rows]:
        """The same, of one epoch at most."""
        while start < stop:
            epoch, batch, _ = self.recipe.position(start)
            full, rest = self.order.of(epoch)
            rows = (full[batch:] if batch < len(full) else rest[None])[: stop - start]
            yield rows
            start += len(rows)


def made_for() -> str:
    """What compiled steps are machine code for: where it is the same, so are their bits."""
    import llvmlite

    cpu = host()
    return (
        f"{cpu.name} with vectors of {cpu.lanes_bytes} bytes and caches of {cpu.l1_bytes >> 10} and "
        f"{cpu.l2_bytes >> 10} KiB, {cpu.triple}, llvmlite {llvmlite.__version__}"
    )


_PLAIN = {bool, int, float, str, type(None)}


def plain_attributes(modules: list[Module]) -> list[Any]:
    """What a trace takes for granted: the plain numbers and words that modules hold."""
    return [
        (name, held)
        for module in modules
        for name, held in vars(module).items()
        if type(held) in _PLAIN and name != "training"
    ]


def why_not(error: BaseException) -> str:
    """Why a training cannot be compiled, for an error or a warning."""
    return str(error) if isinstance(error, BacklitError) else f"{type(error).__name__}: {error}"


def prepared(make: Callable[[], MachineSteps], *, must: bool, optimizer: Any, **needs: Any) -> MachineSteps | str:
    """The compiled steps of a training, or why there are none.

    Raises GraphError, which says so, if there must be some.
    """
    if takes_closure(optimizer):
        reason = f"{type(optimizer).__name__} evaluates the loss as often as it likes, by numbers that only a run has."
        if must:
            raise GraphError(f"fit: compile=True, but {reason} Pass compile=False.")
        return reason
    try:
        machine = make()
        machine.try_out(**needs)
    except Exception as error:
        if must:
            raise GraphError(
                f"fit: compile=True, but the step cannot be compiled. {why_not(error)}\n"
                "  Write that line otherwise, or pass compile=False to train without the compiler, more slowly."
            ) from error
        return why_not(error)
    return machine
