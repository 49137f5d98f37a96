"""The XOR net, trained by the chain rule or by nudging: 2 inputs, 2 hidden ReLU units, 1 sigmoid output.

    pre = X @ W1 + b1;   z = relu(pre) @ W2 + b2;   p = sigmoid(z)
    loss = mean over the four inputs of -(y log p + (1 - y) log(1 - p))

As log sigmoid(z) = -softplus(-z), the loss of one input is softplus(-z) where 1 is wanted and softplus(z)
where 0 is: the same number, which cannot overflow. The update is plain gradient descent on the nine
numbers.

The nine are drawn by NumPy's legacy generator, W1 (2, 2), b1 (2,), W2 (2,), b2 () in this order, so that
a seed means the same net as in the many scripts that begin with `np.random.seed`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import backlit.autodiff.reverse  # gives values their backward()
import backlit.ops.operators  # noqa: F401  gives values their operators
from backlit.core.errors import DomainError, DtypeError
from backlit.core.state import no_grad
from backlit.core.value import Buffer, Parameter, Value, constant
from backlit.ops.activations import relu, sigmoid, softplus
from backlit.ops.reductions import sum as sum_of
from backlit.ops.selection import maximum
from backlit.training.interrupts import Interrupts

Floats = npt.NDArray[np.float64]
Method = Literal["chain", "nudge"]
OnProgress = Callable[[int, int, float], None]
"""Called now and then with the steps done, the steps asked for, and the loss."""

INPUTS = tuple(product((0, 1), repeat=2))
WANTED = tuple(a ^ b for a, b in INPUTS)
SHAPES = {"W1": (2, 2), "b1": (2,), "W2": (2,), "b2": ()}
NAMES = ("W1[0,0]", "W1[0,1]", "W1[1,0]", "W1[1,1]", "b1[0]", "b1[1]", "W2[0]", "W2[1]", "b2")
COUNT = len(NAMES)

_RELATIVE_NUDGE = 2.0**-26  # the root of the spacing of float64; see nudged_gradient
_TIE = 0.02  # answers nearer than this count as the same answer
_STANDS = 0.01  # a loss that falls by less than this share in the last tenth of the run stands still


@dataclass
class XorRun:
    """What happened in one training.

    losses: (steps done,) the loss before each update, so that `loss_at(k)` is that before the k-th;
    final_loss: after the last one. initial, parameters: the net before and after, by name. answers: (4,)
    its p for (0,0), (0,1), (1,0), (1,1). points, gradients: for chosen steps the nine parameters before
    the update and the nine partial derivatives there, in the order of `NAMES`. dead: hidden units (0, 1)
    whose pre-activation is at most 0 on all four inputs, with the step since when. forward_passes: each
    over all four inputs. seconds: of the steps, without what it took to compile them. why: if the net did
    not learn, the reason. interrupted: by Ctrl-C.
    """

    method: Method
    seed: int
    learning_rate: float
    steps: int
    losses: Floats
    final_loss: float
    initial: dict[str, Floats]
    parameters: dict[str, Floats]
    answers: Floats
    dead: dict[int, int]
    points: dict[int, Floats]
    gradients: dict[int, Floats]
    forward_passes: int
    backward_passes: int
    seconds: float
    interrupted: bool = False
    learned: bool = field(init=False)
    why: str | None = field(init=False)

    def __post_init__(self) -> None:
        right = (self.answers > 0.5) == (np.asarray(WANTED) == 1)
        self.learned = bool(right.all() and math.isfinite(self.final_loss))
        self.why = None if self.learned else _why(self)

    @property
    def done(self) -> int:
        """How many updates were made."""
        return len(self.losses)

    def loss_at(self, step: int) -> float:
        """The loss before update number `step`, counted from 1. Raises DomainError if it was not made."""
        if not 1 <= step <= self.done:
            raise DomainError(f"loss_at: step {step} is not among the steps made, 1 to {self.done}.")
        return float(self.losses[step - 1])


def train_xor(
    method: Method = "chain",
    steps: int = 100_000,
    seed: int = 0,
    learning_rate: float = 0.03,
    on_progress: OnProgress | None = None,
    gradients_at: Collection[int] | None = None,
    compile: bool = True,
) -> XorRun:
    """Train the XOR net, and say what happened.

    method: "chain" (forward with values, then `loss.backward()`: 1 forward and 1 backward pass a step) or
    "nudge" (every parameter moved a little up and down, and only the loss computed: 19 forward passes a
    step; see `nudged_gradient`). gradients_at: steps whose gradient is kept (1, 2, 5, 10, 20, … if not
    given). Ctrl-C ends it, and the run so far is returned. It ends early if the loss is no longer finite.
    compile: the steps are machine code; False, or where there is no LLVM: each is a graph of values of its
    own, with the same numbers within rounding.

    Raises DomainError for a number of steps below 1, a learning rate that is not above 0 and finite, a seed
    outside 0 to 2**32 - 1, or an unknown method. Cost: compiled, some 0.1 µs a step by the chain rule and
    0.4 µs by nudging, and up to half a second before the first; else about 0.15 ms a step. 8 bytes a step.

    >>> run = train_xor(steps=1000)
    >>> f"{run.loss_at(1):.6f} {run.loss_at(1000):.6f}"
    '1.501733 0.361001'
    """
    check_settings(method, steps, seed, learning_rate)
    initial = _drawn(seed)
    keep = _round_steps(steps) if gradients_at is None else set(gradients_at)
    path = _Path(initial, steps, keep, on_progress)
    machine: _Machine | None = None
    start = time.perf_counter()
    with Interrupts() as interrupts:
        try:
            if compile and find_spec("llvmlite") is not None:
                machine = _taken(method)
                start = time.perf_counter()
                _compiled(path, machine, learning_rate, interrupts)
            else:
                _one_by_one(path, method, learning_rate, interrupts)
        except KeyboardInterrupt:
            path.interrupted = True
        finally:
            if machine is not None:
                _idle[method].append(machine)
    seconds = time.perf_counter() - start
    final, pre, z = forward(np.array([path.theta]))
    path.saw_units((pre.max(axis=1) > 0), path.done)
    done = path.done
    if on_progress is not None:
        on_progress(done, steps, float(final[0]))
    return XorRun(
        method=method,
        seed=seed,
        learning_rate=learning_rate,
        steps=steps,
        losses=np.concatenate([np.empty(0), *path.losses]),
        final_loss=float(final[0]),
        initial=_named(initial),
        parameters=_named(path.theta),
        answers=np.asarray(sigmoid(z[0]).data),
        dead={unit: step for unit, step in enumerate(path.since) if step is not None},
        points=path.points,
        gradients=path.gradients,
        forward_passes=done * (1 if method == "chain" else 2 * COUNT + 1),
        backward_passes=done if method == "chain" else 0,
        seconds=seconds,
        interrupted=path.interrupted,
    )


class _Path:
    """What is known of a training while it goes on. theta: the nine numbers after so many steps as are `done`."""

    def __init__(self, theta: list[float], steps: int, keep: Collection[int], on_progress: OnProgress | None) -> None:
        self.theta, self.steps, self.keep, self.on_progress = theta, steps, keep, on_progress
        self.done = 0
        self.losses: list[Floats] = []
        self.since: list[int | None] = [None, None]
        self.points: dict[int, Floats] = {}
        self.gradients: dict[int, Floats] = {}
        self.interrupted = False
        self._told = time.perf_counter()

    def saw_units(self, alive: npt.NDArray[np.bool_], before: int) -> None:
        """Since when each unit is dead. alive: (steps, 2), in the steps after `before`. One that came to life again
        was not dead.
        """
        for unit, on in enumerate(alive.T):
            where = np.flatnonzero(on)
            if not len(where):
                old = self.since[unit]
                self.since[unit] = before + 1 if old is None else old
            else:
                last = int(where[-1])
                self.since[unit] = None if last == len(on) - 1 else before + last + 2

    def tell(self, loss: float) -> None:
        """How far it is, every 50 ms."""
        if self.on_progress is not None and (now := time.perf_counter()) > self._told:
            self.on_progress(self.done, self.steps, loss)
            self._told = now + 0.05


def _one_by_one(path: _Path, method: Method, rate: float, interrupts: Interrupts) -> None:
    """Each step by itself: the reference."""
    gradient_of = by_chain_rule if method == "chain" else by_nudging
    losses: list[float] = []
    told: list[list[bool]] = []
    try:
        for step in range(1, path.steps + 1):
            loss, gradient, alive = gradient_of(path.theta)
            if not math.isfinite(loss):
                break
            updated = [t - rate * g for t, g in zip(path.theta, gradient, strict=True)]
            interrupts.held = True  # so that Ctrl-C finds a whole number of steps
            losses.append(loss)
            told.append(alive)
            if step in path.keep:
                path.points[step], path.gradients[step] = np.array(path.theta), np.array(gradient)
            path.theta, path.done = updated, step
            interrupts.held = False
            interrupts.deliver()
            if not step % 64:
                path.tell(loss)
    finally:
        if told:
            path.saw_units(np.array(told), 0)
        path.losses.append(np.array(losses))


# -- as machine code -------------------------------------------------------------------------------

_FIRST, _MOST, _AIR = 1_000, 50_000, 0.05  # steps in one call: at first, at most; and seconds
_idle: dict[str, list[_Machine]] = {"chain": [], "nudge": []}
"""Compiled nets that nobody trains at the moment."""


class _Machine:
    """The net and one step of its training, compiled. A step gives its loss, for each hidden unit the largest
    pre-activation over the four inputs, the nine numbers before the step, and the nine of the gradient.
    """

    def __init__(self, method: str) -> None:
        from backlit.compiler.compile import compile

        self.nine = [Parameter(0.0, name=name) for name in NAMES]
        self.rate = Buffer(0.0)
        self.step = compile(self._by_chain_rule if method == "chain" else self._by_nudging)

    def _by_chain_rule(self, _: Any) -> tuple[Any, ...]:
        before = [t.data for t in self.nine]
        loss, pre = loss_of(self.nine)
        loss.backward()
        return self._moved(loss, pre, before, [t.grad for t in self.nine])

    def _by_nudging(self, _: Any) -> tuple[Any, ...]:
        before: list[Any] = [t.data for t in self.nine]
        with no_grad():
            loss, pre = loss_of(before)
            gradient = []
            for i, t in enumerate(before):
                h = _RELATIVE_NUDGE * maximum(1.0, abs(t))
                up, down = t + h, t - h
                above, below = (loss_of([*before[:i], moved, *before[i + 1 :]])[0] for moved in (up, down))
                gradient.append((above - below) / (up - down))
        return self._moved(loss, pre, before, gradient)

    def _moved(self, loss: Value, pre: Any, before: list[Any], gradient: list[Any]) -> tuple[Any, ...]:
        largest = [maximum(maximum(a, b), maximum(c, d)) for a, b, c, d in zip(*pre, strict=True)]
        for t, old, slope in zip(self.nine, before, gradient, strict=True):
            t.data = old - self.rate * slope
            t.zero_grad()
        return (loss, *largest, *before, *gradient)

    def place(self, theta: Sequence[float], rate: float) -> None:
        """Stand there."""
        for t, number in zip(self.nine, theta, strict=True):
            t.data = number
        self.rate.data = rate

    def go(self, steps: int) -> Floats:
        """So many steps: (21, steps)."""
        return np.array([column.data for column in self.step.each(np.arange(steps))])


def _taken(method: Method) -> _Machine:
    """A compiled net that nobody else trains; whoever takes it puts it back."""
    idle = _idle[method]
    if idle:
        return idle.pop()
    machine = _Machine(method)
    machine.go(1)
    return machine


def _compiled(path: _Path, machine: _Machine, rate: float, interrupts: Interrupts) -> None:
    """Thousands of steps in one call."""
    machine.place(path.theta, rate)
    count = _FIRST
    try:
        while path.done < path.steps:
            interrupts.held = True
            start = time.perf_counter()
            table = machine.go(min(count, path.steps - path.done))
            count = min(_MOST, 1 + int(table.shape[1] * _AIR / (time.perf_counter() - start)))
            finite = np.isfinite(table[0])
            n = table.shape[1] if finite.all() else int(np.argmin(finite))
            _take(path, table[:, :n])
            path.theta = table[3 : 3 + COUNT, n].tolist() if n < table.shape[1] else [t.data for t in machine.nine]
            interrupts.held = False
            interrupts.deliver()
            if n < table.shape[1]:
                break
            path.tell(float(table[0, -1]))
    finally:
        interrupts.held = False


def _take(path: _Path, table: Floats) -> None:
    """What some steps gave."""
    n = table.shape[1]
    if not n:
        return
    path.losses.append(table[0])
    path.saw_units((table[1:3] > 0).T, path.done)
    for step in path.keep:
        if path.done < step <= path.done + n:
            column = table[:, step - path.done - 1]
            path.points[step], path.gradients[step] = column[3 : 3 + COUNT].copy(), column[3 + COUNT :].copy()
    path.done += n


def check_settings(method: str, steps: int, seed: int, learning_rate: float) -> None:
    """Raises DomainError, which says what to give instead, for settings that `train_xor` cannot use."""
    if method not in ("chain", "nudge"):
        raise DomainError(f'train_xor: method={method!r} is neither "chain" nor "nudge".')
    if steps < 1:
        raise DomainError(f"train_xor: steps={steps}, and at least 1 is needed.")
    if not 0 <= seed < 2**32:
        raise DomainError(f"train_xor: seed={seed}; NumPy's legacy generator takes 0 to 2**32 - 1.")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise DomainError(f"train_xor: learning_rate={learning_rate}; it must be a number above 0, such as 0.03.")


def _drawn(seed: int) -> list[float]:
    """The nine numbers of a seed; drawn one array after the other or all at once, they are the same."""
    return np.random.RandomState(seed).randn(COUNT).tolist()  # type: ignore[no-any-return]


def _named(theta: Sequence[float]) -> dict[str, Floats]:
    """The nine numbers as the four arrays that they are."""
    arrays, start = {}, 0
    for name, shape in SHAPES.items():
        size = math.prod(shape)
        arrays[name] = np.array(theta[start : start + size]).reshape(shape)
        start += size
    return arrays


def _round_steps(steps: int) -> set[int]:
    return {m * 10**n for n in range(len(str(steps))) for m in (1, 2, 5) if m * 10**n <= steps}


# -- the gradient by the chain rule ----------------------------------------------------------------

# Scalars, each its own node: the engine makes and differentiates 61 small nodes in less time than the
# nine array nodes that say the same (140 against 280 us), as each array node pays for NumPy's calls.
_BITS = (constant(0.0), constant(1.0))


def by_chain_rule(theta: Sequence[float]) -> tuple[float, list[float], list[bool]]:
    """The loss, its nine partial derivatives, and which hidden units are on for some input."""
    nine = [Parameter(t) for t in theta]
    loss, pre = loss_of(nine)
    loss.backward()
    alive = [any(row[unit].data > 0.0 for row in pre) for unit in (0, 1)]
    return loss.data, [t.grad for t in nine], alive


def loss_of(nine: Sequence[Value]) -> tuple[Value, list[tuple[Value, Value]]]:
    """The loss of the net with these nine values (see `NAMES`), and the pre-activations for each input.

    >>> loss, _ = loss_of([Value(0.0)] * 9)
    >>> round(loss.data, 6)                      # answers 1/2 to everything: ln 2
    0.693147
    """
    *weights, b0, b1, v0, v1, c = nine
    products = [[bit * w for w in weights] for bit in _BITS]  # an input is 0 or 1: each product is made once
    total: Value | None = None
    pre = []
    for (x0, x1), wanted in zip(INPUTS, WANTED, strict=True):
        a0 = products[x0][0] + products[x1][2] + b0
        a1 = products[x0][1] + products[x1][3] + b1
        z = relu(a0) * v0 + relu(a1) * v1 + c
        loss = softplus(-z if wanted else z)
        total = loss if total is None else total + loss
        pre.append((a0, a1))
    assert total is not None
    return total * 0.25, pre


# -- the gradient by nudging -----------------------------------------------------------------------

_X = constant(np.array(INPUTS, np.float64))  # (4, 2)
_SIGNS = constant(1.0 - 2.0 * np.array(WANTED)[:, None])  # (4, 1): -1 where 1 is wanted
_UP_AND_DOWN = np.concatenate([np.eye(COUNT), -np.eye(COUNT), np.zeros((1, COUNT))])


def by_nudging(theta: Sequence[float]) -> tuple[float, list[float], list[bool]]:
    """The same three by forward passes alone."""
    loss, gradient, pre = nudged_gradient(np.array(theta))
    return loss, gradient.tolist(), np.logical_or.reduce(pre > 0, axis=0).tolist()


def nudged_gradient(theta: Floats) -> tuple[float, Floats, Floats]:
    """The loss at `theta` (9,), its gradient (9,) by central differences, and the pre-activations (4, 2).

    Each parameter t is moved up and down by h = 2**-26 · max(1, |t|), and the slope is (loss above - loss
    below) / (t above - t below), the divisor being what was really moved, after rounding. Eighteen nudged
    nets and the one in the middle go forward as one batch, without recording.

    The error is about 1e-8, from rounding. A larger h, 2**-17, would bring it to 1e-10 where the loss is
    smooth; but it has bends where a ReLU begins, a net in training comes near them, and within h of a
    bend nudging gives something between the slopes of its two sides. From seed 0, h = 2**-20 already
    leads to another net.
    """
    nudged = theta + _UP_AND_DOWN * (_RELATIVE_NUDGE * np.maximum(1.0, np.abs(theta)))  # (19, 9)
    losses, pre, _ = forward(nudged)
    up, down = nudged[:COUNT].diagonal(), nudged[COUNT : 2 * COUNT].diagonal()
    return float(losses[-1]), (losses[:COUNT] - losses[COUNT : 2 * COUNT]) / (up - down), pre[-1]


def forward(thetas: Floats) -> tuple[Floats, Floats, Floats]:
    """Losses (n,), pre-activations (n, 4, 2) and logits (n, 4) of n nets at once.  thetas: (n, 9)."""
    if thetas.ndim != 2 or thetas.shape[1] != COUNT:
        raise DtypeError(f"forward: thetas have shape {thetas.shape}; n nets of nine numbers have (n, 9).")
    n = len(thetas)
    thetas.flags.writeable = False  # so that the engine need not copy it
    with no_grad():
        pre = _X @ thetas[:, :4].reshape(n, 2, 2) + thetas[:, 4:6].reshape(n, 1, 2)
        z = relu(pre) @ thetas[:, 6:8].reshape(n, 2, 1) + thetas[:, 8:].reshape(n, 1, 1)
        losses = sum_of(softplus(_SIGNS * z), axis=(1, 2)) * 0.25
    return losses.data, pre.data, z.data[:, :, 0]


# -- why it did not learn --------------------------------------------------------------------------


def _why(run: XorRun) -> str:
    if not math.isfinite(run.final_loss):
        was = f"; it was {run.losses[-1]:.6g} before update {run.done:,}" if run.done else ""
        return f"It diverged: the loss is {run.final_loss}{was}. Try a smaller learning rate."
    if not run.done:
        return "No step was made."
    parts = [_of_the_dead(run)] if run.dead else []
    tenth = max(1, run.done // 10)
    before = float(run.losses[-tenth])
    fall = 1.0 - run.final_loss / before
    floor, text = plateau(run.answers)
    if tenth >= 10 and abs(fall) < _STANDS and abs(run.final_loss - floor) < 0.01:
        parts.append(f"The loss stands at {run.final_loss:.3f}: {text}.")
    else:
        advice = (
            "it does not fall, so try a smaller learning rate"
            if fall <= 0
            else "give it more steps, or a larger learning rate"
        )
        ago = "in the last step" if tenth == 1 else f"in the last {tenth:,} steps"
        parts.append(f"The loss went from {before:.4f} to {run.final_loss:.4f} {ago}: {advice}.")
    return " ".join(parts)


def _of_the_dead(run: XorRun) -> str:
    """Which units are dead, since when, and by how much."""
    weights, bias = run.parameters["W1"], run.parameters["b1"]
    largest = (np.array(INPUTS) @ weights + bias).max(axis=0)
    told = [
        f"unit {unit + 1} {'from the start' if step == 1 else f'since step {step:,}'} (at most {largest[unit]:.3g})"
        for unit, step in run.dead.items()
    ]
    which = f"Dead: hidden {' and '.join(told)}. " + ("Its" if len(told) == 1 else "Their")
    return f"{which} pre-activation is not above 0 on any input, so ReLU passes nothing on, and no gradient comes back."


def plateau(answers: npt.ArrayLike) -> tuple[float, str]:
    """The least loss of any net that answers the same inputs alike as this one does; and that in words.

    answers: (4,) the p of the net. Answers within 0.02 of each other count as the same. The best one
    answer to a group of inputs is the share of ones wanted in it, and its loss the entropy of that share.

    >>> floor, text = plateau([0.5, 0.5, 0.5, 0.5])
    >>> print(f"{floor:.4f}:", text)
    0.6931: it answers 1/2 to everything, and no net that answers these alike gets below 0.693 = ln 2
    """
    p = np.asarray(answers, np.float64)
    order = np.argsort(p, kind="stable").tolist()
    groups: list[list[int]] = [[order[0]]]
    for before, i in pairwise(order):
        if p[i] - p[before] < _TIE:
            groups[-1].append(i)
        else:
            groups.append([i])
    floor, told = 0.0, []
    for group in groups:
        share = Fraction(sum(WANTED[i] for i in group), len(group))
        floor -= len(group) / len(p) * sum(float(q) * math.log(q) for q in (share, 1 - share) if q)
        if 0 < share < 1:
            names = [str(INPUTS[i]).replace(" ", "") for i in sorted(group)]
            which = "everything" if len(group) == len(p) else f"{', '.join(names[:-1])} and {names[-1]}"
            told.append(f"{share} to {which}")
    if not told:
        return floor, "it tells all apart that must be told apart"
    also = " = ln 2" if math.isclose(floor, math.log(2.0)) else ""
    clause = f"no net that answers these alike gets below {floor:.3f}{also}"
    return floor, f"it answers {', '.join(told)}, and {clause}"
