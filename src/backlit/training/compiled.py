"""The steps of a training as machine code: many of them in one call, with the batches gathered inside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.compiler.compile import Compiled, compile
from backlit.core.errors import BacklitError, GraphError
from backlit.core.state import no_grad
from backlit.core.value import Value, current
from backlit.data.dataset import Dataset
from backlit.nn.module import Module
from backlit.ops.creation import asarray
from backlit.training.clipping import Clip
from backlit.training.run import predict
from backlit.training.state import Loss, Rows, Snapshot, forget, gradients, takes_closure, variables

Floats = npt.NDArray[np.float64]

AIR = 0.05
"""About how many seconds of machine code run before Python comes up for air: for Ctrl-C and progress."""


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
        self, model: Module, optimizer: Any, loss: Loss, data: Dataset, *, clip: Clip | None, method: str
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
