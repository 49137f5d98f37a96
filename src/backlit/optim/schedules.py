"""Learning rates that change with the steps: functions from the number of updates made so far to a rate.

They are written in ops, without a Python `if` on the step, so that the step may be a number or a value that is traced.
Any function of that kind can stand where a learning rate is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from backlit.core.errors import DataError, DomainError
from backlit.ops.arithmetic import FLOOR
from backlit.ops.powers import LOG
from backlit.ops.selection import MAXIMUM, MINIMUM, WHERE
from backlit.ops.trigonometry import COS
from backlit.optim.rule import Optimizer, Schedule, as_rate


def constant(rate: Any) -> Schedule:
    """The same rate always.

    >>> constant(0.1)(1000)
    0.1
    """
    return lambda step: rate


def step(rate: Any, every: int, factor: Any = 0.1) -> Schedule:
    """The rate times `factor` after each `every` steps: rate * factor ** (step // every). PyTorch's `StepLR`.

    >>> drops = step(1.0, every=10, factor=0.5)
    >>> drops(9), drops(10), drops(25)
    (1.0, 0.5, 0.25)
    """
    _at_least_one("step", every=every)
    return lambda step: rate * factor ** (step // every)


def exponential(rate: Any, factor: Any, every: int = 1) -> Schedule:
    """The rate times `factor` over each `every` steps, without jumps: rate * factor ** (step / every).

    With every=1 PyTorch's `ExponentialLR`.

    >>> exponential(1.0, 0.5, every=10)(20)
    0.25
    """
    _at_least_one("exponential", every=every)
    return lambda step: rate * factor ** (step / every)


def cosine(rate: Any, steps: int, least: Any = 0.0, restarts: bool = False, longer: int = 1) -> Schedule:
    r"""Down from `rate` to `least` along half a cosine, in `steps` steps; then it stays, or begins again.

    least + (rate - least) * (1 + cos(π * step / steps)) / 2

    restarts: at step `steps` the rate is `rate` again; longer: each round is so many times as long as the one before.
    Source: Loshchilov and Hutter 2017, SGDR, eq. 5, arXiv:1608.03983. PyTorch's `CosineAnnealingLR` rises again after
    `steps`, its `CosineAnnealingWarmRestarts` restarts as here.

    >>> fall = cosine(1.0, 100)
    >>> fall(0), round(fall(50), 12), fall(100), fall(500)
    (1.0, 0.5, 0.0, 0.0)
    >>> again = cosine(1.0, 100, restarts=True, longer=2)
    >>> again(100), round(again(200), 12), again(300)
    (1.0, 0.5, 1.0)
    """
    _at_least_one("cosine", steps=steps, longer=longer)

    def at(step: Any) -> Any:
        if not restarts:
            done = MINIMUM(step / steps, 1.0)
        elif longer == 1:
            done = (step % steps) / steps
        else:
            # Round n begins at steps * (longer**n - 1) / (longer - 1); the logarithm may be off by one at its start.
            rounds = FLOOR(LOG(1.0 + (longer - 1) * step / steps) / math.log(longer) + 1e-9)
            length = steps * longer**rounds
            start = (length - steps) / (longer - 1)
            done = MAXIMUM((step - start) / length, 0.0)
        return least + (rate - least) * ((1.0 + COS(math.pi * done)) / 2.0)

    return at


def one_cycle(
    rate: Any, steps: int, rise: float = 0.3, start_factor: float = 1 / 25, end_factor: float = 1e-4 / 25
) -> Schedule:
    r"""Up from `rate * start_factor` to `rate`, then down to `rate * end_factor`, each along half a cosine.

    rise: the share of the steps that goes up. The last of the `steps` has the least rate, and so have all after it.
    Raises DomainError unless 0 < rise < 1 and both ways have a step. Source: Smith and Topin 2018, arXiv:1708.07120;
    the numbers are those of PyTorch's `OneCycleLR` (div_factor 25, final_div_factor 1e4), which also turns
    the momentum.

    >>> cycle = one_cycle(1.0, 101)
    >>> round(cycle(0), 9), round(cycle(100), 9), cycle(5) < cycle(10) < 1
    (0.04, 4e-06, True)
    """
    _at_least_one("one_cycle", steps=steps)
    top, end = rise * steps - 1.0, steps - 1.0
    if not 0 < top < end:
        raise DomainError(
            f"one_cycle: with steps={steps} and rise={rise}, the peak is at step {top:g} of 0..{end:g}; "
            "take more steps, or another share for the rise."
        )

    def at(step: Any) -> Any:
        up, down = step / top, MINIMUM((step - top) / (end - top), 1.0)
        first = _half_cosine(rate * start_factor, rate, MINIMUM(up, 1.0))
        return WHERE(step <= top, first, _half_cosine(rate, rate * end_factor, MAXIMUM(down, 0.0)))

    return at


def _half_cosine(start: Any, end: Any, done: Any) -> Any:
    return end + (start - end) * ((1.0 + COS(math.pi * done)) / 2.0)


def warm_up(steps: int, then: Any, start: Any = 0.0) -> Schedule:
    r"""A straight rise over the first `steps` steps, and after them another schedule, which begins at its own step 0.

    start + (then(0) - start) * (step + 1) / (steps + 1) for step < steps;    then(step - steps) from there

    then: a schedule or a number. No step is wasted on a rate of `start` itself: optax's `warmup_*` schedules begin with
    one, whereas here the first update already has its share. Source: Goyal et al. 2017, section 2.2, arXiv:1706.02677.

    >>> rates = warm_up(4, then=1.0)
    >>> [round(rates(t), 6) for t in range(6)]
    [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    """
    _at_least_one("warm_up", steps=steps)
    after = as_rate(then)
    peak = after(0)

    def at(step: Any) -> Any:
        rising = start + (peak - start) * ((step + 1) / (steps + 1))
        return WHERE(step < steps, rising, 1.0 * after(_since(step, steps)))

    return at


def piecewise(pieces: Sequence[tuple[int, Any]]) -> Schedule:
    """One rate or schedule after another: `[(0, a), (1000, b)]` is a before step 1000 and b from there on.

    A schedule sees the steps since its piece began. Raises DomainError unless the first piece begins at 0 and each
    other after the one before.

    >>> rates = piecewise([(0, 0.1), (100, exponential(0.05, 0.5, every=10))])
    >>> rates(99), rates(100), rates(110)
    (0.1, 0.05, 0.025)
    """
    starts = [begin for begin, _ in pieces]
    if not starts or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
        raise DomainError(
            f"piecewise: the pieces begin at {starts}; begin at 0 and go up, as in [(0, 0.1), (100, 0.01)]."
        )
    parts = [(begin, as_rate(rate)) for begin, rate in pieces]

    def at(step: Any) -> Any:
        rate = 1.0 * parts[0][1](step)
        for begin, rate_at in parts[1:]:
            rate = WHERE(step < begin, rate, 1.0 * rate_at(_since(step, begin)))
        return rate

    return at


def _since(step: Any, begin: int) -> Any:
    """Steps since a step, and 0 before it; a Python number for a Python number."""
    since = MAXIMUM(step - begin, 0)
    return int(since) if type(since) is np.int64 else since


def _at_least_one(caller: str, **numbers: Any) -> None:
    for name, x in numbers.items():
        if not x >= 1:
            raise DomainError(f"{caller}: {name}={x}; it must be a number of at least 1.")


class ReduceOnPlateau:
    """Lowers an optimizer's learning rate when the loss it is shown stops falling.

    optimizer.lr *= factor, but not below `least`, after more than `patience` losses in a row that were not below the
    best one by the share `threshold` of its size; then `pause` losses do not count. A loss of NaN is not better.

    Raises GraphError (at the first lowering) for an optimizer whose rate cannot be set, DomainError for a factor not
    between 0 and 1. PyTorch's `ReduceLROnPlateau` (mode "min"), but a share of |best|, which is right below 0, too.

    >>> from backlit.core.value import Value
    >>> from backlit.optim.optimizers.sgd import SGD
    >>> optimizer = SGD([Value(1.0)], lr=1.0)
    >>> plateau = ReduceOnPlateau(optimizer, factor=0.5, patience=1)
    >>> [plateau.observe(loss) for loss in (3.0, 2.0, 2.0, 2.0)], optimizer.lr
    ([False, False, False, True], 0.5)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        pause: int = 0,
        least: float = 0.0,
    ) -> None:
        if not 0 < factor < 1:
            raise DomainError(f"ReduceOnPlateau: factor={factor}; it must lie between 0 and 1, such as 0.1.")
        self.optimizer = optimizer
        self.factor, self.patience, self.threshold, self.pause, self.least = factor, patience, threshold, pause, least
        self.best = math.inf
        self.waited = 0  # losses in a row that were not better
        self.paused = 0  # losses still to come that do not count

    def observe(self, loss: Any) -> bool:
        """Take note of a loss, usually that of the validation data after an epoch; whether the rate was lowered."""
        loss = float(loss)
        limit = self.best - self.threshold * abs(self.best) if self.best < math.inf else math.inf
        if loss < limit:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        if self.paused:
            self.paused -= 1
            self.waited = 0
        if self.waited <= self.patience:
            return False
        self.waited, self.paused = 0, self.pause
        before = self.optimizer.lr
        lower = max(before * self.factor, self.least)
        if lower >= before:
            return False
        self.optimizer.lr = lower
        return True

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """What the next observations depend on, besides the optimizer's own state."""
        return {name: np.array(getattr(self, name)) for name in ("best", "waited", "paused")}

    def load_state_dict(self, arrays: Any) -> None:
        """Take up the state that `state_dict` gave. Raises DataError if it is not of this kind."""
        if set(arrays) != {"best", "waited", "paused"}:
            raise DataError(f"ReduceOnPlateau.load_state_dict: found {sorted(arrays)}, needs best, paused and waited.")
        self.best = float(arrays["best"])
        self.waited, self.paused = int(arrays["waited"]), int(arrays["paused"])
