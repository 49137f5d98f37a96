"""Where a training stands, all the numbers it has then, and one step of it: what fit, checkpoints and replay share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DomainError, DtypeError
from backlit.core.state import tracing
from backlit.core.stored import fitting
from backlit.core.value import Value, assign, numbers_of
from backlit.data.batching import batch_indices as batch_of_key
from backlit.nn.module import Module
from backlit.ops.random import Key, fold_in
from backlit.training.clipping import Clip, clip_gradients
from backlit.training.nudge import nudged_loss, nudged_loss_in_trace

Loss = Callable[[Any, Any], Value]
"""From the prediction and the target of a batch to a scalar value."""
Rows = npt.NDArray[np.int64]
"""Row numbers of examples."""


class Position(NamedTuple):
    """Where a training stands between two steps: `batch` of `epoch` is the next one, and `step` updates have been made.

    After the last batch of an epoch and before its end (validation, `on_epoch`), `batch` is the number of batches.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0


# -- all the numbers ------------------------------------------------------------------------------------------------


def variables(model: Module, optimizer: Any) -> dict[str, Value]:
    """Everything that one step may change, by flat name: `model.<path>` and `optimizer.<path>`.

    Of the model, parameters and buffers; of the optimizer its learning rate, the number of steps and its memory, such
    as `optimizer.state.velocity.0`. A variable that stands in both is listed once.

    >>> from backlit.core.value import Parameter
    >>> from backlit.optim.optimizers.sgd import SGD
    >>> model = Module(); model.w = Parameter(2.0)
    >>> list(variables(model, SGD(model.parameters(), momentum=0.9)))[:3]
    ['model.w', 'optimizer.lr', 'optimizer.steps']
    """
    found = {f"model.{path}": value for path, value in (*model.named_parameters(), *model.named_buffers())}
    found.update((f"optimizer.{path}", value) for path, value in optimizer.variables().items())
    return found


def state_arrays(model: Module, optimizer: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The numbers of all `variables`, as arrays that nobody writes into. Nothing is copied."""
    return {name: np.asarray(numbers_of(value)) for name, value in variables(model, optimizer).items()}


def restore(model: Module, optimizer: Any, arrays: Mapping[str, Any]) -> None:
    """Give all `variables` the numbers that `state_arrays` had.

    Raises DataError, and changes nothing, if a name is missing or not known, or a shape or dtype differs.
    """
    own = variables(model, optimizer)
    taken = fitting(
        "restore", own, arrays, holder=f"{type(model).__name__} and {type(optimizer).__name__}",
        cure="Build model and optimizer as they were when it was stored.",
    )  # fmt: skip
    for name, array in taken.items():
        own[name].data = array


class Snapshot:
    """The numbers of some variables at one moment, held and not copied, and the way back to them.

    Cost: a pointer for each variable; the arrays live on until the snapshot is forgotten.
    """

    __slots__ = ("_pairs",)

    def __init__(self, values: list[Value]) -> None:
        self._pairs = [(value, numbers_of(value)) for value in values]

    def restore(self) -> None:
        """Put everything back that has changed since."""
        for value, numbers in self._pairs:
            if numbers_of(value) is not numbers:
                assign(value, numbers)


# -- one step -------------------------------------------------------------------------------------------------------

METHODS = ("chain", "nudge")


def gradients(model: Module, loss: Loss, x: Any, y: Any, *, clip: Clip | None = None, method: str = "chain") -> Value:
    """The loss of one batch, whose gradients are then in `.grad` of the parameters; the graph hangs from it.

    method: "chain" (`backward()`) or "nudge" (see `nudge.nudged_loss`). clip: a limit on the gradients, see `Clip`.
    Raises DomainError for another method, DtypeError or ShapeError for a loss that is not a scalar value.
    """
    if method == "chain":
        value = loss(model(x), y)
        if not isinstance(value, Value):
            raise DtypeError(f"the loss is {type(value).__name__} {value!r:.60}; it must be a value.")
        value.backward()
    elif method == "nudge" and tracing() is not None:
        value = nudged_loss_in_trace(model, lambda moved: loss(moved(x), y))
    elif method == "nudge":
        value = nudged_loss(model, lambda: loss(model(x), y))
    else:
        raise DomainError(f"method={method!r} is not known; choose one of {', '.join(METHODS)}.")
    if clip is not None:
        clip_gradients(model.parameters(), clip)
    return value


def one_step(
    model: Module,
    optimizer: Any,
    loss: Loss,
    x: Any,
    y: Any,
    *,
    clip: Clip | None = None,
    method: str = "chain",
    before_update: Callable[[Value], None] | None = None,
) -> Value:
    """One update by one batch: forward, gradients, clipping, `optimizer.step()`. The loss before the update.

    before_update: called with the loss when the gradients are there; what it raises keeps the update from being made.
    The gradients are left in place, for whoever wants to see them; `forget(model, optimizer)` before the next step.

    An optimizer whose step takes a function of the loss, such as LBFGS, is given one, and evaluates it as often as it
    likes; `before_update` is then called after the step. Raises DomainError if its gradients are to be clipped or
    nudged.
    """
    if takes_closure(optimizer):
        if clip is not None or method != "chain":
            raise DomainError(f"{type(optimizer).__name__} finds its gradients itself: leave out clip and method.")
        value: Value = optimizer.step(lambda: loss(model(x), y))
        if before_update is not None:
            before_update(value)
        return value
    value = gradients(model, loss, x, y, clip=clip, method=method)
    if before_update is not None:
        before_update(value)
    optimizer.step()
    return value


def takes_closure(optimizer: Any) -> bool:
    """Whether the step of an optimizer takes a function that computes the loss."""
    kind: Any = type(optimizer)
    return _takes_closure(kind)


@cache
def _takes_closure(kind: Any) -> bool:
    return "closure" in signature(kind.step).parameters


def forget(model: Module, optimizer: Any) -> None:
    """Zero all gradients: of what the optimizer steps, and of parameters of the model that it leaves alone."""
    optimizer.zero_grad()
    model.zero_grad()


# -- which examples a step sees -------------------------------------------------------------------------------------


def epoch_key(key: Key, epoch: int) -> Key:
    """The key by which `fit` shuffles an epoch, from the key of its seed: `fold_in(key, 2 + epoch)`."""
    return fold_in(key, 2 + epoch)


def batch_count(n: int, size: int | None) -> int:
    """How many batches an epoch has; the last may be smaller. None: all examples at once."""
    return 1 if size is None else -(-n // size)


def batch_indices(n: int, size: int | None, key: Key, epoch: int, batch: int) -> npt.NDArray[np.int64]:
    """Which of n examples a step of `fit` sees, from the key of its seed: a pure function, so any step can be redone.

    It is batch number `batch` of `backlit.data.batches(data, size, key=epoch_key(key, epoch))`.

    >>> batch_indices(5, 2, Key(0, 7), epoch=3, batch=2).shape
    (1,)
    """
    return batch_of_key(n, size, epoch_key(key, epoch), batch)


class Order:
    """Which examples the batches of an epoch have: full ones as a matrix of row numbers, and what is left."""

    def __init__(self, n: int, size: int | None, key: Key) -> None:
        self.n, self.size, self.key = n, n if size is None else min(n, size), key

    def of(self, epoch: int) -> tuple[Rows, Rows]:
        """(full batches, size) and (rest,)."""
        order = batch_of_key(self.n, None, epoch_key(self.key, epoch), 0)
        whole = self.n - self.n % self.size
        return order[:whole].reshape(-1, self.size), order[whole:]

    @property
    def is_even(self) -> bool:
        """Whether all batches have the same size."""
        return self.n % self.size == 0

    @property
    def shapes(self) -> list[int]:
        """The sizes that batches have."""
        return [self.size, self.n % self.size] if self.n % self.size else [self.size]
