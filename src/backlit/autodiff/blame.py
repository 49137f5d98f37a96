"""Which op has the wrong rule, or stands at a kink: each node's own rule against nudging that node alone.

The inputs of the node are frozen at the numbers they have in the graph, so an error elsewhere does not
confuse it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.numerical import Nudged, scales_of
from backlit.autodiff.rules import contribution, fit, tangent
from backlit.autodiff.slopes import Floats, Line, scale_of
from backlit.autodiff.witness import KINK, WRONG, Judgement, Witness
from backlit.core.numbers import Abstract, dtype_of, quietly, shape_of, stored, strong
from backlit.core.op import Attrs, Elementwise, Op
from backlit.core.site import Site
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import by_serial, descendants, toposort
from backlit.ops.summation import BROADCAST_TO


@dataclass(frozen=True, slots=True)
class Culprit:
    """A node whose own rule is wrong at the numbers it was given.

    op: its name. argument: which input. mode: "reverse" if the cotangent of that input is wrong, "forward"
    if its tangent is. element: of the input, the one looked at. expected: what nudging the node gives, ±
    error. got: what the rule gives. described: the node, and where it was made.
    """

    op: str
    argument: int
    mode: str
    element: tuple[int, ...]
    expected: float
    error: float
    got: float
    described: str
    site: Site | None
    node: Value

    @property
    def ratio(self) -> float:
        """How many times too large the derivative is."""
        return self.got / self.expected if self.expected else math.inf

    def __str__(self) -> str:
        where = f" at element {_index(self.element)}" if self.element else ""
        return (
            f"{self.described}: its "
            f"{'partial' if isinstance(self.node.op, Elementwise) else self.mode + ' rule'} by "
            f"argument {self.argument}{where} gives {self.got:.10g} where nudging gives "
            f"{self.expected:.10g} ± "
            f"{self.error:.1g}: {times(self.got, self.expected, self.error)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and texts, for JSON."""
        site = self.site
        return {
            "op": self.op,
            "argument": self.argument,
            "mode": self.mode,
            "element": list(self.element),
            "expected": self.expected,
            "error": self.error,
            "got": self.got,
            "ratio": self.ratio if math.isfinite(self.ratio) else None,
            "file": None if site is None else site.file,
            "line": None if site is None else site.line,
            "function": None if site is None else site.function,
            "variable": None if site is None else site.variable,
            "text": str(self),
        }


@dataclass(frozen=True, slots=True)
class Kink:
    """A node that stands where its op has no derivative."""

    node: Value
    argument: int
    behind: float
    ahead: float
    jump: float

    def __str__(self) -> str:
        return f"{named(self.node)} stands at a {'jump' if self.jump else 'kink'}. {convention(self.node.op)}"


@dataclass(frozen=True, slots=True)
class Findings:
    """What the search found; `examined` nodes of `total`."""

    culprits: tuple[Culprit, ...]
    kinks: tuple[Kink, ...]
    examined: int
    total: int


def named(node: Value) -> str:
    """The op of a node, the variable that holds its result, and where it was made.

    >>> from backlit.ops.powers import exp
    >>> named(exp(Value(1.0)))[:7]
    'exp at '
    """
    label = f" (`{node.label}`)" if node.label else ""
    where = f" at {node.site}" if node.site is not None else ""
    cut = node._extra.cut  # within no_grad a node keeps no op
    return f"{node.op if node.op is not None or cut is None else cut[1]}{label}{where}"


def times(got: float, expected: float, error: float) -> str:
    """How a wrong number stands to the right one, in words.

    >>> times(4.0, 2.0, 1e-12), times(-3.0, 3.0, 1e-12), times(0.5, 0.0, 1e-12), times(1.0, 3.0, 1e-9)
    ('2 times too large', 'it has the wrong sign', 'it should be 0', '3 times too small')
    """
    if abs(expected) <= error:
        return "it should be 0"
    ratio = got / expected
    if ratio == 0:
        return "it should not be 0"
    doubt = error / abs(expected)
    if abs(ratio + 1) <= 3 * doubt + 1e-9:
        return "it has the wrong sign"
    size = abs(ratio)
    factor, which = (size, "large") if size > 1 else (1 / size, "small")
    digits = max(1, math.ceil(-math.log10(max(abs(factor - 1), 1e-12)))) + 2 if factor < 2 else 4
    sign = "the wrong sign, and " if ratio < 0 else ""
    return f"{sign}{round(factor, digits):.12g} times too {which}"


def convention(op: Op | None) -> str:
    """What the doc of an op says of its derivative where there is none."""
    if op is None:
        return ""
    first = [s for s in (op.doc or "").replace("\n", " ").split(". ") if "onvention" in s]
    text = ". ".join(first).rstrip(".")
    return f"{text}." if text else f"The doc of {op.name} states no convention for it."


def search(outputs: Sequence[Value], sources: Sequence[Value], limit: int = 400, enough: int = 5) -> Findings:
    """The nodes between sources and outputs whose own rule is wrong, and those that stand at a kink.

    First one node of each kind is examined (op, attributes, shapes), then the others in the order they were
    made, until `enough` are found wrong or `limit` were examined. Cost: about 30 evaluations of its op a
    node and input.
    """
    order = toposort(outputs)
    relevant = descendants(sources, order)
    nodes = [n for n in order if n in relevant and n._op is not None and n._grad is not INACTIVE]
    nodes = [n for n in nodes if type(n._data) is not Abstract]
    kinds: dict[Any, Value] = {}
    for node in nodes:
        kinds.setdefault(_kind(node), node)
    chosen = set(kinds.values())
    culprits: list[Culprit] = []
    kinks: list[Kink] = []
    examined = 0
    for node in [*kinds.values(), *(n for n in nodes if n not in chosen)]:
        if examined >= limit or len(culprits) >= enough:
            break
        examined += 1
        for found in _examine(node, relevant):
            if isinstance(found, Kink):
                kinks.append(found)
            else:
                culprits.append(found)
    culprits.sort(key=lambda c: by_serial(c.node))
    kinks.sort(key=lambda k: by_serial(k.node))
    return Findings(tuple(culprits), tuple(kinks), examined, len(nodes))


def _kind(node: Value) -> Any:
    return (
        node._op,
        repr(dict(node._extra.attrs)),
        tuple((shape_of(x._data), dtype_of(x._data)) for x in inputs_of(node)),
    )


def _examine(node: Value, relevant: set[Value]) -> Iterator[Culprit | Kink]:
    """What nudging one node by each of its inputs finds."""
    op, attrs, inputs = node._op, node._extra.attrs, inputs_of(node)
    assert op is not None
    xs = [strong(x._data) for x in inputs]
    for index, x in enumerate(inputs):
        if x._grad is INACTIVE or x not in relevant or np.size(xs[index]) == 0 or np.size(node._data) == 0:
            continue
        local = _Local(op, attrs, xs, index, node._data)
        found = quietly(local.verdict)
        if found is None:
            continue
        mode, element, judgement = found
        if judgement.finding == KINK:
            yield Kink(node, index, judgement.sides[0], judgement.sides[1], judgement.jump)
        else:
            yield Culprit(
                op.name, index, mode, element, judgement.value, judgement.error, judgement.claimed,
                named(node), node.site, node,
            )  # fmt: skip


class _Local:
    """One op at frozen inputs, of which one is nudged."""

    def __init__(self, op: Op, attrs: Attrs, xs: list[Any], index: int, y: Any) -> None:
        self.op, self.attrs, self.xs, self.index = op, attrs, xs, index
        rng = np.random.default_rng(1)
        self.ct = _ones_about(y, rng)
        self.v = stored(np.asarray(_ones_about(xs[index], rng) * scales_of(xs[index])).astype(dtype_of(xs[index])))
        self.nudged = Nudged(lambda moved: [self.result(moved[0])], [xs[index]], weights=[self.ct])
        self.noise = self.nudged.noise([self.v])

    def result(self, x: Any) -> Any:
        return self.op.compute([*self.xs[: self.index], strong(x), *self.xs[self.index + 1 :]], self.attrs)

    def cotangent(self, x: Any) -> Any:
        """What the rule for reverse mode gives at `x`."""
        xs = [*self.xs[: self.index], strong(x), *self.xs[self.index + 1 :]]
        y = strong(self.op.compute(xs, self.attrs))
        found = contribution(self.op, self.index, strong(self.ct), None, y, xs, self.attrs)
        return np.zeros(shape_of(x)) if found is None else np.asarray(found[0], np.float64)

    def pushed(self, x: Any, v: Any) -> float:
        """What the rule for forward mode gives at `x` for a tangent of it, weighted with the cotangent."""
        xs = [*self.xs[: self.index], strong(x), *self.xs[self.index + 1 :]]
        y = strong(self.op.compute(xs, self.attrs))
        tangents: list[Any] = [None] * len(xs)
        tangents[self.index] = strong(v)
        t = tangent(self.op, tangents, y, xs, self.attrs)
        if t is None:
            return 0.0
        if shape_of(t) != shape_of(y):
            t = BROADCAST_TO(t, shape=shape_of(y))
        return _inner(self.ct, fit(t, y))

    def verdict(self) -> tuple[str, tuple[int, ...], Judgement] | None:
        """The mode that is wrong, an element that shows it, and what was found; or a kink; or nothing."""
        x = self.xs[self.index]
        if np.ndim(x) == 0:
            return self._judged(self.nudged.element(0, 0), scale_of(x), type(x)(1.0), (), self.noise)
        found = self._judged(self.nudged.direction([self.v]), 1.0, self.v, (), self.noise)
        if found is not None and found[2].finding == KINK:
            return found
        return self._worst_element() or found

    def _judged(
        self, line: Line, scale: float, v: Any, element: tuple[int, ...], noise: Floats
    ) -> tuple[str, tuple[int, ...], Judgement] | None:
        """Both rules along a direction of the input, held against nudging along the same line."""
        witness = Witness(self.nudged, line, scale, noise)
        x = self.xs[self.index]
        claims: dict[str, Callable[[Any], float]] = {
            "reverse": lambda at: _inner(self.cotangent(at), v),
            "forward": lambda at: self.pushed(at, v),
        }
        for mode, claim in claims.items():
            judgement = witness.judge(claim(x), lambda claim=claim: _doubt(claim, x))  # type: ignore[misc]
            if judgement.finding in (KINK, WRONG):
                return mode, element, judgement
        return None

    def _worst_element(self) -> tuple[str, tuple[int, ...], Judgement] | None:
        """The element of an array that shows an error most, among some."""
        x = self.xs[self.index]
        wrong = []
        for flat in np.unique(np.linspace(0, np.size(x) - 1, 6).astype(int)):
            at = tuple(int(i) for i in np.unravel_index(flat, shape_of(x)))
            unit = np.zeros(shape_of(x), dtype_of(x))
            unit[at] = 1
            noise = self.nudged.element_noise(0, int(flat))
            found = self._judged(self.nudged.element(0, int(flat)), scale_of(x[at]), unit, at, noise)
            if found is not None and found[2].finding == WRONG:
                wrong.append(found)
        return max(wrong, key=lambda w: abs(w[2].claimed - w[2].value) / (abs(w[2].value) + w[2].error), default=None)


def _ones_about(like: Any, rng: np.random.Generator) -> Any:
    """Numbers of either sign about as large as 1; exactly 1 where there is only one."""
    shape = shape_of(like)
    if math.prod(shape) == 1:
        return stored(np.ones(shape, dtype_of(like)))
    return stored((np.where(rng.random(shape) < 0.5, -1, 1) * rng.uniform(0.5, 1.5, shape)).astype(dtype_of(like)))


def _doubt(claim: Callable[[Any], float], x: Any) -> float:
    """How much a claim changes when its input does by a rounding error or two."""
    rng = np.random.default_rng(2)
    epsilon = float(np.finfo(dtype_of(x)).eps)
    here, spread = claim(x), 0.0
    for _ in range(3):
        off = stored(np.asarray(x * (1 + epsilon * rng.integers(-2, 3, shape_of(x)))).astype(dtype_of(x)))
        spread = max(spread, abs(claim(off) - here))
    return 2 * spread


def _inner(a: Any, b: Any) -> float:
    return float(np.sum(np.asarray(a, np.float64) * np.asarray(b, np.float64)))


def _index(element: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, element))}]"
