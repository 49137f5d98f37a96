"""What moved one weight: a ledger of steps and examples that sums to the whole change."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backlit.autodiff.forward import push_forward
from backlit.core.errors import DataError, IndexingError
from backlit.core.state import no_grad
from backlit.core.value import Value, current, numbers_of
from backlit.nn.module import Module
from backlit.training.clipping import clip_gradients
from backlit.training.state import Snapshot, variables

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Entry(NamedTuple):
    """What one step did to the weight: change = sum of the shares of its examples + memory + rounding.

    rows, shares: (batch,) which examples of the data, and what each did; both empty where examples were not told apart.
    rounding: of a compiled run, by how much its change is another than that of the step evaluated with its graph.
    """

    step: int
    change: float
    memory: float
    rows: Ints
    shares: Floats
    rounding: float = 0.0


@dataclass(frozen=True)
class Ledger:
    r"""Why a weight went from `old` to `new`: what each step did, and within a step each of its examples.

    Step: change = weight after the update - weight before it. These differences sum to new - old, to rounding.

    Example i of a step: share = (u(g) - u(0)) * g_i / g. u(g) is the optimizer's update of the weight as it was made,
    and u(0) the one it would have made, in the same state, had this weight's gradient been 0 at this step: so that part
    of the update is the memory of earlier steps (momentum, Adam's means) and weight decay. g = sum of g_i is the
    gradient before clipping, and g_i the part of it that flows through the prediction for example i:
    g_i = sum over k of dloss/dprediction[i, k] * dprediction[i, k]/dweight, the first by reverse and the second by
    forward mode. For a loss that is a mean over examples, g_i is 1/n of the gradient of that example's own loss. Where
    examples meet within the model, as in BatchNorm, dprediction[i]/dweight counts the way by the batch's statistics,
    so the share is what flowed through the answer for i, and not what i would have done alone.

    memory: the rest of the step's change: u(0), what part of the loss did not go through the prediction, and rounding.
    By this definition shares + memory = change for every step. For plain SGD memory is rounding alone.

    In a compiled run the change is that of the machine code. Its parts cannot be asked of machine code, so they are
    those of the same step, from the same numbers, evaluated with its graph: shares and memory sum to the change that
    this makes, and rounding, the last place or two of the weight, is what the machine's change has beside it. So shares
    + memory + rounding = change, and nothing is hidden.
    """

    weight: str
    index: tuple[int, ...]
    start: int
    stop: int
    old: float
    new: float
    entries: tuple[Entry, ...]
    note: str = ""

    @property
    def total(self) -> float:
        """The sum of the changes of all steps, rounded once."""
        return math.fsum(entry.change for entry in self.entries)

    @property
    def memory(self) -> float:
        """What came from the optimizer's memory and decay, over all steps; see above."""
        return math.fsum(entry.memory for entry in self.entries)

    @property
    def rounding(self) -> float:
        """What compiled steps rounded otherwise than the evaluation that tells examples apart; see above."""
        return math.fsum(entry.rounding for entry in self.entries)

    @property
    def changes(self) -> Floats:
        """(steps,) what each step did."""
        return np.array([entry.change for entry in self.entries])

    def largest(self, count: int = 5) -> list[Entry]:
        """The steps that did most, in either direction, the largest first."""
        return sorted(self.entries, key=lambda entry: -abs(entry.change))[:count]

    def by_example(self) -> dict[int, float]:
        """Row of the data to what that example did in all its steps; the largest first."""
        parts: dict[int, list[float]] = defaultdict(list)
        for entry in self.entries:
            for row, share in zip(entry.rows.tolist(), entry.shares.tolist(), strict=True):
                parts[row].append(share)
        sums = {row: math.fsum(shares) for row, shares in parts.items()}
        return dict(sorted(sums.items(), key=lambda item: -abs(item[1])))

    def at(self, step: int) -> Entry:
        """What one step did. Raises DataError for a step outside the ledger."""
        if not self.start <= step < self.stop:
            raise DataError(f"step {step} is not in this ledger, which has steps {self.start} to {self.stop - 1}.")
        return self.entries[step - self.start]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        place = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        went = f"{self.weight}{place} went from {self.old:.6g} to {self.new:.6g}"
        lines = [f"{went} in the {len(self):,} steps from {self.start:,} on: {self.new - self.old:+.6g}"]
        if self.entries:
            lines.append("  the steps that did most:")
            lines += [f"    step {entry.step:>8,}  {entry.change:+.6g}" for entry in self.largest()]
        examples = self.by_example()
        if examples:
            times: dict[int, int] = defaultdict(int)
            for entry in self.entries:
                for row in entry.rows.tolist():
                    times[row] += 1
            lines.append("  the examples that did most:")
            for row, share in list(examples.items())[:5]:
                lines.append(f"    row {row:>9,}  {share:+.6g}  in {times[row]:,} step{'s' if times[row] > 1 else ''}")
            rounding = f", rounding of compiled steps {self.rounding:+.2g}" if self.rounding else ""
            whole = math.fsum(examples.values())
            lines.append(f"  all examples {whole:+.6g}, memory and decay {self.memory:+.6g}{rounding}")
        lines.append(f"  sum {self.total:+.6g}" + (f". {self.note}" if self.note else ""))
        return "\n".join(lines)

    __repr__ = __str__


def parameter_of(model: Module, name: str) -> Any:
    """The parameter at a path. Raises DataError, which lists the paths, if there is none."""
    own = dict(model.named_parameters())
    if name not in own:
        raise DataError(f"{name!r} is no parameter of this {type(model).__name__}. It has {', '.join(own)}.")
    return own[name]


def keep_ledger(run: Any, weight: str, index: Any, start: int, stop: int, examples: bool) -> Ledger:
    """Replay a run from the state before step `start` to that before `stop`, and note what moves the weight."""
    state = run.state(start)
    if f"model.{weight}" not in state:
        own = ", ".join(name for name, _ in run.model.named_parameters())
        raise DataError(f"{weight!r} is no parameter of the recorded {type(run.model).__name__}. It has {own}.")
    place = _place(weight, state[f"model.{weight}"].shape, index)
    old = new = float(state[f"model.{weight}"][place])
    entries = []
    alone = ""
    if not examples:
        for step, after in run.states(start, stop):
            before, new = new, float(after[f"model.{weight}"][place])
            entries.append(Entry(step, new - before, new - before, np.zeros(0, np.int64), np.zeros(0)))
        return Ledger(weight, place, start, stop, old, new, tuple(entries))
    for stepper in run.replay(start, stop):
        step, machine = stepper.step, stepper.machine is not None
        parameter = parameter_of(stepper.model, weight)
        prediction = stepper.compute(clip=False)[1]
        run.compare_loss(stepper)
        rows = np.asarray(stepper.recipe.rows(step), np.int64)
        parts = _through_each(prediction, parameter, place, len(rows))
        raw = _element(parameter.grad, place)
        if stepper.recipe.clip is not None:
            clip_gradients(stepper.model.parameters(), stepper.recipe.clip)
        if parts is None:
            rows, parts = rows[:0], np.zeros(0)
            alone = "Examples cannot be told apart: the prediction has no axis with one row for each."
        idle = _updated(stepper, parameter, place, without=True) if len(rows) and raw else math.nan
        evaluated = _updated(stepper, parameter, place) if len(rows) and machine else None
        stepper.advance()
        before, new = new, float(np.asarray(numbers_of(parameter))[place])
        reached = new if evaluated is None else evaluated  # in the arithmetic of the shares
        shares = np.zeros(len(rows))
        if raw and math.isfinite(raw) and math.isfinite(reached - before):
            shares = (reached - idle) / raw * parts
        finite = bool(np.isfinite(shares).all())
        memory = math.fsum([reached - before, *(-shares).tolist()]) if finite else math.nan
        entries.append(Entry(step, new - before, memory, rows, shares, new - reached))
    return Ledger(weight, place, start, stop, old, new, tuple(entries), alone)


def _place(weight: str, shape: tuple[int, ...], index: Any) -> tuple[int, ...]:
    given = (index,) if isinstance(index, (int, np.integer)) else tuple(index)
    if len(given) != len(shape) or any(not -n <= i < n for i, n in zip(given, shape, strict=False)):
        raise IndexingError(
            f"why_changed: {weight} has shape {shape}, so a number of it is named by {len(shape)} whole numbers within "
            f"that shape, unlike {given}."
        )
    return tuple(int(i) % n for i, n in zip(given, shape, strict=True))


def _element(grad: Any, place: tuple[int, ...]) -> float:
    return 0.0 if grad is None else float(np.asarray(grad)[place])


def _through_each(prediction: Any, parameter: Value, place: tuple[int, ...], count: int) -> Floats | None:
    """The parts of one weight's gradient that flow through the prediction for each example; None without such rows."""
    if prediction is None or not prediction.ndim or prediction.shape[0] != count:
        return None
    ct = prediction.grad
    direction = np.zeros(parameter.shape, parameter.dtype)
    direction[place] = 1
    with no_grad():
        tangent = push_forward([current(prediction)], [current(parameter)], [direction])[0]
    if ct is None or tangent is None:
        return np.zeros(count)
    with np.errstate(all="ignore"):
        product = np.asarray(ct, np.float64) * np.asarray(tangent.data, np.float64)
        return product.reshape(count, -1).sum(axis=1)  # type: ignore[no-any-return]


def _updated(stepper: Any, parameter: Value, place: tuple[int, ...], without: bool = False) -> float:
    """The weight after the optimizer's step by the gradients in place; everything is put back.

    without: had its own gradient been 0.
    """
    before = Snapshot(list(variables(stepper.model, stepper.optimizer).values()))
    grads = [p.grad for p in stepper.optimizer.parameters]
    if stepper.recipe.method == "nudge":
        for p, grad in zip(stepper.optimizer.parameters, stepper.nudged, strict=True):
            p.grad = grad
    if without:
        grad = np.array(parameter.grad)
        grad[place] = 0
        parameter.grad = grad
    stepper.optimizer.step()
    found = float(np.asarray(numbers_of(parameter))[place])
    before.restore()
    for p, grad in zip(stepper.optimizer.parameters, grads, strict=True):
        p.grad = grad
    return found
