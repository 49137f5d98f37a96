"""Two recorded runs side by side: the first step, and in it the first operation, where they are no longer the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DataError
from backlit.core.value import Value, current
from backlit.core.walk import toposort
from backlit.training.replay import RecordedRun
from backlit.training.specs import differences
from backlit.training.stepping import StepView

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """Where two runs part. Made by `compare`.

    step: the first step in which anything differs; None if nothing does in the steps that both have. what: "nothing",
    "initial state", "batch", "graph" (another operation stands there), "forward" (an operation gives another value),
    "gradient", "update" (the gradients are the same, and the optimizer makes another update of them), "rounding" (the
    same step by other machine code, or with and without any), or "recorded loss" (the replays agree, and the recorded
    losses do not). names: the parameters or variables that differ.
    op, site: the first operation, in the order of the graph, whose value differs, and the line that made it. a, b: the
    nodes in question, one of each run, if there are such. largest: by how much they differ at most. settings: what
    differs in the settings, one sentence each. losses: the first step whose recorded loss differs.
    """

    what: str
    step: int | None = None
    names: tuple[str, ...] = ()
    op: str | None = None
    site: str | None = None
    a: Value | None = field(default=None, repr=False)
    b: Value | None = field(default=None, repr=False)
    largest: float | None = None
    settings: tuple[str, ...] = ()
    losses: int | None = None
    steps: int = 0

    @property
    def same(self) -> bool:
        """Whether all that both have recorded is the same to the last bit."""
        return self.what == "nothing"

    def __str__(self) -> str:
        lines = [self._headline()]
        if self.largest is not None:
            lines.append(f"  they differ by at most {self.largest:.3g}")
        if self.losses is not None and self.losses != self.step:
            lines.append(f"  the recorded losses differ from step {self.losses:,} on")
        lines += [f"  settings: {line}" for line in self.settings]
        return "\n".join(lines)

    def _headline(self) -> str:
        names = ", ".join(self.names[:4]) + (f" and {len(self.names) - 4} more" if len(self.names) > 4 else "")
        at = f"step {self.step:,}" if self.step is not None else ""
        where = f"{self.op}{f' ({names})' if names else ''}" + (f", {self.site}" if self.site else "")
        match self.what:
            case "nothing":
                return f"The runs are the same to the last bit in all {self.steps:,} steps that both have."
            case "initial state":
                return f"The runs differ from the beginning, {at}: {names} differ{'s' if len(self.names) == 1 else ''}."
            case "batch":
                return f"The runs part at {at}: they are shown different examples ({names})."
            case "graph":
                return f"The runs part at {at}: the graphs differ, first at {where}."
            case "forward":
                return f"The runs part at {at}: the first value that differs is that of {where}."
            case "gradient":
                return f"The runs part at {at}: all values are the same, and the gradients of {names} differ."
            case "update":
                return (
                    f"The runs part at {at}: the gradients are the same, and the optimizer moves {names} differently."
                )
            case "rounding":
                return (
                    f"The runs part at {at}: evaluated with its graph it is the same in both, and {names} differ by "
                    "rounding alone, since one run was compiled and the other was not, or otherwise."
                )
            case _:
                return (
                    f"The recorded losses part at {at}, though the replays of both agree: they ran on other machines."
                )


def compare(a: RecordedRun, b: RecordedRun) -> Comparison:
    """The first step at which two recorded runs differ, in a loss or a parameter, and the first operation that does.

    The snapshots that both have are searched by bisection (numbers that have parted do not meet again, to the last
    bit), then both are replayed from the last that agrees. Raises DataError for runs without a common step. Cost: about
    log2(snapshots) readings, and the replay of the steps between two snapshots.
    """
    for run in (a, b):
        if not isinstance(run, RecordedRun):
            raise DataError(f"compare takes two recorded runs, from load_run(path), and {type(run).__name__} is none.")
    first, end = max(a.first_step, b.first_step), min(a.end, b.end)
    if first >= end:
        raise DataError(f"compare: {a.path} has steps {a.first_step} to {a.end}, {b.path} {b.first_step} to {b.end}.")
    changed = tuple(differences(a.settings, b.settings))
    part = slice(first - a.first_step, end - a.first_step), slice(first - b.first_step, end - b.first_step)
    one, two = a.losses[part[0]], b.losses[part[1]]
    unequal = ~((one == two) | (np.isnan(one) & np.isnan(two)))
    losses = first + int(np.argmax(unequal)) if unequal.any() else None
    bound = end if losses is None else losses
    common: dict[str, Any] = {"settings": changed, "losses": losses, "steps": end - first}
    names = unlike(a.state(first), b.state(first))
    if names:
        return Comparison("initial state", first, names, largest=_gap(a.state(first), b.state(first), names), **common)
    low, high = _between(a, b, first, bound)
    for left, right in zip(a.replay(low, high), b.replay(low, high), strict=True):
        step = left.step
        a.advance(left)
        b.advance(right)
        if unlike(left.arrays(), right.arrays()):
            return _within(a.at(step), b.at(step), common)
    if losses is None:
        return Comparison("nothing", **common)
    return _within(a.at(losses), b.at(losses), common)


def unlike(a: dict[str, Array], b: dict[str, Array]) -> tuple[str, ...]:
    """The names of the model's numbers that differ in any bit, or that only one has."""
    names = [name for name in {**a, **b} if name.startswith("model.")]
    return tuple(
        name[len("model.") :] for name in names if name not in a or name not in b or not identical(a[name], b[name])
    )


def identical(a: Any, b: Any) -> bool:
    """Whether two arrays are the same in dtype, shape and every number; a NaN is the same as a NaN."""
    x, y = np.asarray(a), np.asarray(b)
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    if x.dtype.kind not in "fc":
        return bool(np.array_equal(x, y))
    return bool(np.array_equal(x, y, equal_nan=True) and np.array_equal(np.signbit(x.real), np.signbit(y.real)))


def _between(a: RecordedRun, b: RecordedRun, first: int, bound: int) -> tuple[int, int]:
    """A step where the states agree, and a later one by which they differ, or up to which all is to be looked at."""
    shared = sorted(set(a.snapshots) & set(b.snapshots))
    steps = [first, *(step for step in shared if first < step <= bound)]
    low, high = 0, len(steps)  # steps[low] agrees; steps[high] does not, or is beyond
    while high - low > 1:
        middle = (low + high) // 2
        if unlike(a.state(steps[middle]), b.state(steps[middle])):
            high = middle
        else:
            low = middle
    return steps[low], steps[high] if high < len(steps) else bound


def _within(a: StepView, b: StepView, common: dict[str, Any]) -> Comparison:
    """What differs first in a step that both begin with the same numbers."""
    step = a.step
    if not (identical(a.inputs, b.inputs) and identical(a.targets, b.targets)):
        said = "other rows" if not identical(a.rows, b.rows) else "other numbers in the same rows"
        return Comparison("batch", step, (said,), **common)
    for x, y in zip(toposort([current(a.loss)]), toposort([current(b.loss)]), strict=False):
        names = tuple(dict.fromkeys(n for n in (x.label, y.label) if n))
        if x.op is not y.op or x.shape != y.shape:
            said = " / ".join(dict.fromkeys(_told(node) for node in (x, y)))
            return Comparison("graph", step, names, said, _line(x, y), x, y, **common)
        if x.op is not None and not identical(x.data, y.data):  # an unequal constant shows in what is made of it
            gap = _largest(x.data, y.data)
            return Comparison("forward", step, names, x.op.name, _line(x, y), x, y, gap, **common)
    others = {name: p.grad for name, p in b.model.named_parameters()}
    names = tuple(
        name for name, p in a.model.named_parameters() if not identical(_none(p.grad), _none(others.get(name)))
    )
    if names:
        return Comparison("gradient", step, names, **common)
    names = tuple(
        name for name, _ in a.model.named_parameters() if not identical(a.update(name).new, b.update(name).new)
    )
    if names:
        gap = max(_largest(a.update(name).new, b.update(name).new) for name in names)
        alike = all(identical(a.evaluated(name), b.evaluated(name)) for name in names)
        return Comparison("rounding" if alike else "update", step, names, largest=gap, **common)
    return Comparison("recorded loss", step, **common)


def _none(grad: Any) -> Any:
    return np.empty(0) if grad is None else grad


def _told(node: Value) -> str:
    return f"{node.op.name if node.op is not None else 'a leaf'} of shape {node.shape}"


def _line(x: Value, y: Value) -> str | None:
    """Where the two were made: one line if it is the same."""
    lines = dict.fromkeys(str(node.site) for node in (x, y) if node.site is not None)
    return " / ".join(lines) or None


def _largest(a: Any, b: Any) -> float:
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or not x.size:
        return float("nan")
    with np.errstate(all="ignore"):
        return float(np.max(np.abs(x.astype(np.complex128) - y.astype(np.complex128))))


def _gap(a: dict[str, Array], b: dict[str, Array], names: tuple[str, ...]) -> float | None:
    gaps = [
        _largest(a[f"model.{name}"], b[f"model.{name}"])
        for name in names
        if f"model.{name}" in a and f"model.{name}" in b
    ]
    return max(gaps) if gaps else None
