"""The three-way check: reverse mode against forward mode against nudging, and a verdict for each input.

Reverse and forward mode share the rules of the ops, so that they agree judges the engine; nudging judges
the rules. The remainder of Taylor's formula is the second opinion on nudging: for a right gradient it
shrinks like h². Where a gradient is wrong, the op and the line are found by holding each node's own rule
against nudging that node alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backlit.autodiff.blame import Culprit, Findings, Kink, named, search, times
from backlit.autodiff.forward import push_forward
from backlit.autodiff.nonfinite import trace_nonfinite
from backlit.autodiff.numerical import Call, Nudged, precision_of, real_outputs, scales_of, shaken
from backlit.autodiff.reverse import pull_back
from backlit.autodiff.slopes import Floats, scale_of
from backlit.autodiff.witness import (
    CONSTANT,
    EDGE,
    INFINITE,
    KINK,
    NOISE,
    RIGHT,
    WRONG,
    Judgement,
    Witness,
)
from backlit.core import dtypes
from backlit.core.errors import BacklitError, GraphError
from backlit.core.numbers import Shape, as_data, dtype_of, quietly, shape_of, stored
from backlit.core.record import as_constant
from backlit.core.trees import flatten
from backlit.core.value import Value, current, leaf
from backlit.core.walk import reachable, toposort

CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class InputReport:
    """What was found for one input: a number or an array among the arguments.

    name, shape, dtype: which it is. verdict: "right", "wrong" or "cannot tell"; reason: why, in words.
    reverse, forward, numerical ± error: the derivative along one direction (for a single number, the
    gradient itself). order: the power of the step with which Taylor's remainder shrinks; infinite where
    only rounding is left of it, None where it cannot be seen. resolution: the relative error that would
    have been noticed. elements: how many were also nudged one by one.
    """

    name: str
    shape: Shape
    dtype: str
    verdict: str
    reason: str
    reverse: float
    forward: float
    numerical: float
    error: float
    order: float | None
    resolution: float
    elements: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and texts, for JSON; numbers that are not finite become texts."""
        return {name: _jsonable(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True)
class CheckReport:
    """What `check` found: `verdict` over all, one of `inputs` for each, and the nodes that are to blame.

    `print(report)` shows a table. `ok` is true if all inputs are right. evaluations: of the function.
    """

    function: str
    verdict: str
    inputs: tuple[InputReport, ...]
    culprits: tuple[Culprit, ...]
    kinks: tuple[Kink, ...]
    evaluations: int
    seed: int

    @property
    def ok(self) -> bool:
        """Whether all inputs are right."""
        return self.verdict == RIGHT

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, texts, lists and dicts, for JSON."""
        return {
            "function": self.function,
            "verdict": self.verdict,
            "ok": self.ok,
            "inputs": [each.to_dict() for each in self.inputs],
            "culprits": [each.to_dict() for each in self.culprits],
            "kinks": [str(each) for each in self.kinks],
            "evaluations": self.evaluations,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        head = ("input", "reverse", "forward", "nudging", "remainder", "verdict")
        lines = [
            (
                f"{each.name} {_shape_text(each)}".rstrip(),
                *(f"{number:.8g}" for number in (each.reverse, each.forward)),
                f"{each.numerical:.8g} ± {each.error:.1g}",
                _order_text(each.order),
                each.verdict,
            )
            for each in self.inputs
        ]
        widths = [max(len(row[i]) for row in (head, *lines)) for i in range(len(head))]
        table = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (head, *lines)
        ]
        reasons = [f"{each.name}: {each.reason}" for each in self.inputs]
        if self.culprits:
            reasons += ["", "to blame:", *(f"  {culprit}" for culprit in self.culprits)]
        return "\n".join(
            [
                f"check of {self.function}: {self.verdict} ({self.evaluations} evaluations)",
                "",
                *table,
                "",
                *reasons,
            ]
        )


def _shape_text(each: InputReport) -> str:
    return f"({', '.join(map(str, each.shape))}) {each.dtype}" if each.shape or each.dtype != "float64" else ""


def _order_text(order: float | None) -> str:
    return "" if order is None else "exact" if math.isinf(order) else f"h^{order:.2f}"


def _jsonable(x: Any) -> Any:
    return list(x) if isinstance(x, tuple) else repr(x) if isinstance(x, float) and not math.isfinite(x) else x


def check(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    seed: int = 0,
    directions: int = 2,
    elements: int = 16,
) -> CheckReport:
    """The verdict on the derivatives of `f` at these arguments: reverse against forward mode against nudging.

    argnums: which arguments vary; by default all that hold real numbers only. `f` may return an array or a
    tree: then its results are added up with random weights. seed: of these weights and of the directions.
    An array is nudged along `directions` random directions, and up to `elements` of its elements one by
    one.

    "right": all three agree within an error bar that would show an error; "wrong": two searches contradict
    the gradient, and the report names the nodes whose own rule is to blame; "cannot tell": a kink, an
    infinite number, noise, a function that does not move, each said in words. A right gradient is never
    called wrong.

    Cost: about 30 evaluations of `f` a direction and 20 an element, and some tens more where something is wrong.
    Raises GraphError if nothing can vary.
    Sources: the Taylor test as in Farrell et al. 2013, SIAM J. Sci. Comput. 35, C369; nudging as in
    `numerical_grad`.

    >>> from backlit.ops.powers import exp
    >>> report = check(lambda x, y: exp(x) * y, 1.0, 2.0)
    >>> report.verdict, [each.name for each in report.inputs]
    ('right', ['x', 'y'])
    """
    if argnums is None:
        argnums = [n for n, arg in enumerate(args) if _can_vary(arg)]
        if not argnums:
            raise GraphError(
                "check: none of the arguments holds real numbers only, so there is nothing to nudge. "
                "Give floats, float arrays or values, or say which arguments vary by argnums."
            )
    call = Call("check", f, args, {}, argnums)
    return quietly(_Check(call, seed, directions, elements).report)  # type: ignore[no-any-return]


def _can_vary(arg: Any) -> bool:
    """Whether an argument holds real numbers, and nothing else."""
    leaves = flatten(arg)[0]
    for x in leaves:
        if isinstance(x, Value):
            dtype = x.dtype
        else:
            try:
                dtype = dtype_of(as_data(x))
            except BacklitError:
                return False
        if not dtypes.is_real(dtype) or isinstance(x, bool):
            return False
    return bool(leaves)


class _Check:
    """One run of `check`: the graph at the point, and the judgements of each input."""

    def __init__(self, call: Call, seed: int, directions: int, elements: int) -> None:
        self.call, self.seed, self.directions, self.elements = call, seed, directions, elements
        self.evaluations = 0
        (self.sources, self.outputs), self.epsilon = precision_of(lambda: self.graph(call.datas, named=True))
        if not self.outputs:
            raise GraphError(f"check: {self.function} returned no real number, so it has no derivative.")
        rng = np.random.default_rng(seed)
        self.weights = [_weights(y, rng, alone=len(self.outputs) == 1) for y in self.outputs]
        self.rng = rng

    @property
    def function(self) -> str:
        return getattr(self.call.f, "__name__", type(self.call.f).__name__)

    # -- the function, its gradient, its tangents
    # ---------------------------------------------------------------

    def graph(self, datas: Sequence[Any], named: bool = False) -> tuple[list[Value], list[Value]]:
        """The nodes for the inputs and for the real outputs, at other numbers."""
        sources = [leaf(data) for data in datas]
        if named:
            for source, name in zip(sources, self.call.names, strict=True):
                source.name = name
        self.evaluations += 1
        outputs = []
        for y in flatten(self.call.of(sources))[0]:
            if isinstance(y, (Value, float, np.floating, np.ndarray)):
                node = current(y) if isinstance(y, Value) else as_constant(y)
                if dtypes.is_real(node.dtype):
                    outputs.append(node)
        return sources, outputs

    def plain(self, datas: list[Any]) -> list[Any]:
        self.evaluations += 1
        return real_outputs(self.call.at(datas))

    @cached_property
    def gradient(self) -> list[Floats]:
        return self.gradient_of(self.sources, self.outputs)

    def gradient_of(self, sources: list[Value], outputs: list[Value]) -> list[Floats]:
        seeds = [leaf(w, active=False) for w in self.weights]
        cts = pull_back(outputs, seeds, sources)
        return [
            np.zeros(x.shape) if ct is None else np.asarray(ct._data, np.float64)
            for ct, x in zip(cts, sources, strict=True)
        ]

    def pushed(self, k: int, v: Any, sources: list[Value], outputs: list[Value]) -> float:
        """The derivative by forward mode along a direction of one input."""
        found = push_forward(outputs, [sources[k]], [leaf(v, active=False)])
        return sum(_inner(w, t._data) for w, t in zip(self.weights, found, strict=True) if t is not None)

    @cached_property
    def shaken(self) -> list[tuple[list[Value], list[Value], list[Floats]]]:
        """The graph and the gradient again, with other rounding errors: by what they differ is their doubt."""

        def again() -> tuple[list[Value], list[Value], list[Floats]]:
            point = self.graph(self.call.datas)
            return (*point, self.gradient_of(*point))

        return [shaken(again, self.seed + i) for i in range(4)]

    def first_nonfinite(self) -> str:
        """Where the first NaN or infinity arises, in words."""
        with trace_nonfinite("record") as trace:
            self.gradient_of(*self.graph(self.call.datas, named=True))
        if not trace.found:
            return "no single operation gives it"
        found = trace.found[0]
        return found.message.partition("\n")[0].rstrip(".") + (f", {found.op} at {found.site}" if found.op else "")

    # -- judging
    # ------------------------------------------------------------------------------------------------

    def report(self) -> CheckReport:
        again = self.plain(self.call.datas)
        same = len(again) == len(self.outputs) and all(
            np.array_equal(np.asarray(a), np.asarray(y._data), equal_nan=True)
            for a, y in zip(again, self.outputs, strict=True)
        )
        tried = [self.input(k, same) for k in range(len(self.call.datas))]
        unsure = any(each.verdict != RIGHT and each.searches for each in tried)
        findings = search(self.outputs, self.sources) if unsure else Findings((), (), 0, 0)
        inputs = [self.with_findings(each, findings, k) for k, each in enumerate(tried)]
        verdicts = [each.verdict for each in inputs]
        verdict = WRONG if WRONG in verdicts else CANNOT_TELL if CANNOT_TELL in verdicts else RIGHT
        return CheckReport(
            self.function,
            verdict,
            tuple(inputs),
            findings.culprits,
            findings.kinks,
            self.evaluations,
            self.seed,
        )

    def input(self, k: int, same: bool) -> _Tried:
        """What nudging one input finds, before any node is looked at."""
        x, name = self.call.datas[k], self.call.names[k]
        shape, size = shape_of(x), int(np.size(x))
        tried = _Tried(name, shape, dtype_of(x).name)
        if size == 0:
            return tried.ends(CANNOT_TELL, "it has no elements")
        if (bad := _not_finite(x)) is not None:
            return tried.ends(CANNOT_TELL, f"it holds {bad} itself")
        for y in self.outputs:
            if (bad := _not_finite(y._data)) is not None:
                return tried.ends(CANNOT_TELL, f"the function gives {bad}: {self.first_nonfinite()}")
        if not same:
            return tried.ends(
                CANNOT_TELL,
                "the function gave two different results for the same arguments, so nudging measures chance",
            )
        nudged = Nudged(
            lambda moved: self.plain([*self.call.datas[:k], moved[0], *self.call.datas[k + 1 :]]),
            [x], weights=self.weights, epsilon=self.epsilon,
        )  # fmt: skip
        noise: Floats | None = None
        for _ in range(self.directions if size > 1 else 1):
            v = self.direction(x)
            if noise is None:
                noise = nudged.noise([v if size > 1 else v * scales_of(x)])
            line = nudged.direction([v]) if size > 1 else nudged.element(0, 0)
            scale = 1.0 if size > 1 else scale_of(x if not shape else x.reshape(-1)[0])
            self.along(tried, k, v, Witness(nudged, line, scale, noise))
        if size > 1:
            assert noise is not None
            count = min(size, self.elements)
            for flat in sorted(self.rng.choice(size, count, replace=False)):
                self.by_element(tried, k, int(flat), nudged, noise)
        return tried.concluded()

    def direction(self, x: Any) -> Any:
        """A direction as long as the elements of the input; 1 for a single number."""
        shape = shape_of(x)
        if np.size(x) == 1:
            return stored(np.ones(shape, dtype_of(x)))
        v = np.where(self.rng.random(shape) < 0.5, -1, 1) * self.rng.uniform(0.5, 1.5, shape) * scales_of(x)
        return stored(v.astype(dtype_of(x)))

    def along(self, tried: _Tried, k: int, v: Any, witness: Witness) -> None:
        reverse = _inner(self.gradient[k], v)
        forward = self.pushed(k, v, self.sources, self.outputs)
        judgement = witness.judge(reverse, lambda: self.doubt(reverse, lambda point, g: _inner(g[k], v)))
        other = witness.judge(forward, lambda: self.doubt(forward, lambda point, g: self.pushed(k, v, *point)))
        disagree = other.finding == WRONG and judgement.finding != WRONG
        tried.add(judgement, forward, disagree, element=None)

    def by_element(self, tried: _Tried, k: int, flat: int, nudged: Nudged, noise: Floats) -> None:
        x = self.call.datas[k]
        at = tuple(int(i) for i in np.unravel_index(flat, shape_of(x)))
        witness = Witness(nudged, nudged.element(0, flat), scale_of(x[at]), noise)
        claimed = float(self.gradient[k][at])
        judgement = witness.judge(claimed, lambda: self.doubt(claimed, lambda point, g: float(g[k][at])))
        unit = np.zeros(shape_of(x), dtype_of(x))
        unit[at] = 1
        tried.add(judgement, self.pushed(k, unit, self.sources, self.outputs), disagree=False, element=at)

    def doubt(self, here: float, there: Callable[[Any, list[Floats]], float]) -> float:
        """How much a derivative changes where operations round a little differently."""
        spread = 0.0
        for *point, gradient in self.shaken:
            off = abs(there(point, gradient) - here)
            spread = max(spread, off if math.isfinite(off) else math.inf)
        return 2 * spread

    # -- conclusions
    # --------------------------------------------------------------------------------------------

    def with_findings(self, tried: _Tried, findings: Findings, k: int) -> InputReport:
        """The verdict on one input, in the light of what was found of the nodes."""
        if tried.first is not None and not math.isfinite(tried.first.claimed):
            return tried.frozen(reason=f"{tried.reason}: {self.first_nonfinite()}")
        if not tried.searches or tried.verdict == RIGHT:
            return tried.frozen()
        source = self.sources[k]
        culprits = [c for c in findings.culprits if source in reachable([c.node])]
        kinks = [kink for kink in findings.kinks if source in reachable([kink.node])]
        if culprits:
            return tried.frozen(WRONG, f"{tried.reason}. To blame: {culprits[0].described}")
        if kinks and tried.verdict == WRONG:
            tried.reason = "the gradient rests on a convention"
        if kinks:
            return tried.frozen(CANNOT_TELL, f"{tried.reason}: {kinks[0]}")
        if tried.verdict == WRONG and not tried.disagree:
            cut = _cut(self.outputs)
            if cut is not None:
                return tried.frozen(CANNOT_TELL, f"{tried.reason}; but {cut}, which nudging cannot know of")
            nodes = "every node" if findings.examined == findings.total else f"each of {findings.examined} nodes"
            return tried.frozen(
                WRONG,
                f"{tried.reason}. The rule of {nodes} agrees with nudging that node, so a part of the "
                "function "
                "seems to have escaped the graph: .data, float() or NumPy on plain numbers cut it, and so "
                "does "
                "a variable from outside that depends on this input",
            )
        return tried.frozen()


class _Tried:
    """The judgements of one input, gathered into a verdict."""

    def __init__(self, name: str, shape: Shape, dtype: str) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self.verdict, self.reason = RIGHT, ""
        self.first: Judgement | None = None
        self.forward = math.nan
        self.disagree = self.searches = False
        self.found: list[tuple[Judgement, float, tuple[int, ...] | None]] = []

    def add(self, judgement: Judgement, forward: float, disagree: bool, element: tuple[int, ...] | None) -> None:
        if self.first is None or (disagree and not self.disagree):
            self.first, self.forward = judgement, forward
        self.disagree = self.disagree or disagree
        self.found.append((judgement, forward, element))

    def ends(self, verdict: str, reason: str) -> _Tried:
        self.verdict, self.reason = verdict, reason
        return self

    def concluded(self) -> _Tried:
        """The verdict: the worst finding of a direction, and of elements what is certain."""
        assert self.first is not None
        first = self.first
        if self.disagree:
            self.searches = True
            return self.ends(
                WRONG,
                f"along a direction, reverse mode gives {first.claimed:.10g} and forward mode "
                f"{self.forward:.10g}, "
                f"where nudging gives {first.value:.10g} ± {first.error:.1g}",
            )
        for finding in (INFINITE, EDGE, WRONG, KINK):
            for judgement, forward, element in self.found:
                if judgement.finding == finding:
                    return self._of(judgement, forward, element)
        for judgement, forward, element in self.found:
            if element is None and judgement.finding != RIGHT:
                return self._of(judgement, forward, element)
        return self.ends(RIGHT, f"an error of {self.resolution:.1g} of the derivative would have been noticed")

    def _of(self, j: Judgement, forward: float, element: tuple[int, ...] | None) -> _Tried:
        self.first, self.forward = j, forward
        self.searches = j.finding not in (INFINITE, EDGE, CONSTANT)
        if element is not None:
            what = f"its element [{', '.join(map(str, element))}]"
        else:
            what = "the derivative along a direction" if self.shape else "the gradient"
        if j.finding == WRONG:
            return self.ends(
                WRONG,
                f"{what} is {j.claimed:.10g}, and nudging gives {j.value:.10g} ± {j.error:.1g}: "
                f"{times(j.claimed, j.value, j.error)}",
            )
        if j.finding == KINK:
            if j.jump:
                return self.ends(
                    CANNOT_TELL, f"a jump: the function changes by {abs(j.jump):.6g} however little it is nudged"
                )
            behind, ahead = j.sides
            return self.ends(
                CANNOT_TELL,
                f"a kink: {what} is {behind:.6g} on one side and {ahead:.6g} on the other",
            )
        if j.finding == INFINITE:
            return self.ends(CANNOT_TELL, f"{what} is {j.claimed}")
        if j.finding == EDGE:
            return self.ends(
                CANNOT_TELL,
                "the function is not finite on both sides of this point, however little it is nudged",
            )
        if j.finding == CONSTANT:
            return self.ends(
                CANNOT_TELL, f"nudging it moves nothing that could be measured, and {what} is {j.claimed:.6g}"
            )
        if j.finding == NOISE:
            return self.ends(
                CANNOT_TELL,
                f"rounding drowns it: {what} is {j.claimed:.6g}, and nudging gives {j.value:.6g} ± {j.error:.1g}",
            )
        return self.ends(CANNOT_TELL, f"nudging is at odds with itself about {what}: {j.value:.6g} ± {j.error:.1g}")

    @property
    def resolution(self) -> float:
        """The relative error that would have been noticed along a direction."""
        assert self.first is not None
        return self.first.bar / abs(self.first.claimed) if self.first.claimed else self.first.bar

    def frozen(self, verdict: str | None = None, reason: str | None = None) -> InputReport:
        j = self.first
        nan = math.nan
        return InputReport(
            self.name, self.shape, self.dtype, verdict or self.verdict, reason or self.reason,
            *((nan, nan, nan, nan) if j is None else (j.claimed, self.forward, j.value, j.error)),
            None if j is None else j.order, nan if j is None else self.resolution,
            sum(element is not None for *_, element in self.found),
        )  # fmt: skip


def _weights(y: Value, rng: np.random.Generator, alone: bool) -> Any:
    """Fixed weights that add up an output: 1 if it is the only number."""
    if alone and y.size == 1:
        return stored(np.ones(y.shape, y.dtype))
    return stored((np.where(rng.random(y.shape) < 0.5, -1, 1) * rng.uniform(0.5, 1.5, y.shape)).astype(y.dtype))


def _inner(a: Any, b: Any) -> float:
    return float(np.sum(np.asarray(a, np.float64) * np.asarray(b, np.float64)))


def _not_finite(data: Any) -> str | None:
    """What is not finite in an array, in words; None if all is."""
    array = np.asarray(data)
    bad = np.flatnonzero(~np.isfinite(array))
    if not bad.size:
        return None
    at = np.unravel_index(bad[0], array.shape)
    return f"{array[at]}" + (f" at index ({', '.join(str(int(i)) for i in at)})" if at else "")


def _cut(outputs: Sequence[Value]) -> str | None:
    """Where the graph was cut on purpose, in words."""
    for node in toposort(outputs):
        if node._extra.cut is not None:
            return f"{named(node)} was computed inside no_grad()"
        if node._op is not None and node._op.name == "stop_gradient":
            return f"{named(node)} stops the gradient on purpose"
    return None
