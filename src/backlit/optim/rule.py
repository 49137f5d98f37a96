"""What an optimizer is: a pair of pure functions, and the object with `step()` that keeps their state for a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import backlit.autodiff.reverse  # gives values their backward()
import backlit.ops.face  # noqa: F401  gives values their operators
from backlit.core.errors import DomainError, GraphError
from backlit.core.state import no_grad
from backlit.core.trees import flatten
from backlit.core.value import Buffer, Value, assign, describe, numbers_of
from backlit.ops.casting import ASTYPE

Tree = Any
Schedule = Callable[[Any], Any]
"""From the number of updates made so far (0 at the first) to a learning rate; written in ops, so that it compiles."""


class Rule(NamedTuple):
    """An optimizer as two pure functions of trees.

    init: `init(params) -> state`. update: `update(grads, state, params) -> (updates, state)`; the updates are what is
    *added* to the parameters. Both run on plain numbers and arrays, and on values: then the step itself is graph, which
    can be differentiated, explained and compiled. A gradient of None leaves its parameter and its memory as they are.
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]


class Optimizer:
    """The object face of a rule: it reads `.grad` of the parameters it was given, and assigns their `.data`.

    What the rule remembers is kept in buffers (`optimizer.state`), so it can be stored, restored and compiled.
    `optimizer.lr` may be read and assigned at any time.
    """

    def __init__(self, parameters: Sequence[Value], lr: float | Schedule, make: Callable[[Schedule], Rule]) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise GraphError(f"{type(self).__name__}: there are no parameters to learn; pass model.parameters().")
        for p in self.parameters:
            if not isinstance(p, Value) or isinstance(p, Buffer) or p.op is not None:
                said = describe(p) if isinstance(p, Value) else repr(p)
                raise GraphError(
                    f"{type(self).__name__}: only variables (Parameter or Value) can be stepped, not {said}."
                )
        self.schedule = lr if callable(lr) else None
        self._lr = Buffer(0.0 if callable(lr) else _checked(lr), name="learning rate")
        self.steps = Buffer(0, name="steps", dtype="int64")
        self.rule = make(self._rate)
        leaves, self._rebuild = flatten(self.rule.init([numbers_of(p) for p in self.parameters]))
        self._buffers = [Buffer(leaf, dtype="int64" if type(leaf) is int else None) for leaf in leaves]

    def _rate(self, step: Any) -> Any:
        return numbers_of(self._lr) if self.schedule is None else self.schedule(step)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self._lr.data if self.schedule is None else self.schedule(self.steps.data))

    @lr.setter
    def lr(self, new: float) -> None:
        if self.schedule is not None:
            raise GraphError("this optimizer follows a schedule; make one with a number as lr to set it by hand.")
        self._lr.data = _checked(new)

    @property
    def state(self) -> Tree:
        """What the rule remembers, as a tree of buffers."""
        return self._rebuild(iter(self._buffers))

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        with no_grad():
            params = [numbers_of(p) for p in self.parameters]
            grads = [p._grad_holder()._grad for p in self.parameters]
            if all(g is None for g in grads):
                raise GraphError(f"{type(self).__name__}.step: no parameter has a gradient; first loss.backward().")
            state = self._rebuild(iter([numbers_of(b) for b in self._buffers]))
            updates, state = self.rule.update(grads, state, params)
            for buffer, new in zip(self._buffers, flatten(state)[0], strict=True):
                assign(buffer, new)
            for p, old, update in zip(self.parameters, params, updates, strict=True):
                if update is not None:
                    assign(p, old + update)
            assign(self.steps, numbers_of(self.steps) + 1)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.zero_grad()


def as_rate(learning_rate: Any) -> Schedule:
    """A learning rate as a function of the step, whether it was one or a number."""
    return learning_rate if callable(learning_rate) else lambda step: learning_rate


def like(number: Any, array: Any) -> Any:
    """A number computed in float64, in the dtype of the array that it multiplies."""
    return number if type(number) is float and type(array) is float else ASTYPE(number, dtype=array.dtype)


def _checked(lr: Any) -> float:
    if not 0 < float(lr) < float("inf"):
        raise DomainError(f"the learning rate is {lr}; it must be a number above 0, such as 0.01.")
    return float(lr)
