"""The record of an operation, in which all that is known of it stands in one place.

There are two kinds of op and a few specials. An `Elementwise` op declares its partial derivatives; a `Linear` one
its transpose in each argument; a `Special` one both of its rules; a `Constant` one has no derivative.

A rule is written once, in ordinary operators and in other ops. Run on values it makes more graph, which can be
drawn, explained and differentiated again; run on plain numbers and arrays it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backlit.core.errors import ShapeError
from backlit.core.notation import Notation, call
from backlit.core.numbers import Abstract, Shape, quietly, stored

Rule = Callable[..., Any]
Attrs = Mapping[str, Any]


class Reals(NamedTuple):
    """An interval from which tests may draw an input, away from the points in `avoid` (kinks and poles)."""

    low: float = -3.0
    high: float = 3.0
    avoid: tuple[float, ...] = ()


class Integers(NamedTuple):
    """Whole numbers from `low` to `high`, both included, for an input that is an index or a bit pattern."""

    low: int = 0
    high: int = 5


class Booleans(NamedTuple):
    """An input that is true or false."""


Domain = Reals | Integers | Booleans


class Sample(NamedTuple):
    """One way to call an op in tests: the shapes of its inputs and its attributes."""

    shapes: tuple[Shape, ...]
    attrs: Attrs = {}  # noqa: RUF012  (never written into)
    domains: tuple[Domain, ...] | None = None  # where they differ from the op's


class Op:
    """What every op declares.

    name, evaluate: the forward rule on NumPy arrays, `evaluate(*arrays, **attrs)`; it defines the op.
    doc: one line with shapes. notation: how it is written. shape: `shape(*inputs, **attrs)` gives the shape of
    the result from objects with `.shape` and `.dtype`, or raises ShapeError. dtype: likewise its dtype (by default that
    of the inputs, promoted). domains, samples: where and how tests may call it. lower: how a compiled function computes
    it, `lower(g, result, *inputs, **attrs)` (see `core/lowering.py`); an elementwise op may leave it out if the
    compiler knows a function of its name.
    """

    # Plain classes and not dataclasses: there are some hundred records, and making their classes is felt at import.
    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        doc: str = "",
        notation: Notation | None = None,
        shape: Callable[..., Shape] | None = None,
        dtype: Callable[..., Any] | None = None,
        domains: tuple[Domain, ...] = (Reals(),),
        samples: tuple[Sample, ...] = (),
        lower: Callable[..., Any] | None = None,
    ) -> None:
        self.name = name
        self.evaluate = evaluate
        self.doc = doc
        self.notation = notation or call(name)
        self.shape = shape
        self.dtype = dtype
        self.domains = domains
        self.samples = samples
        self.lower = lower
        self.differentiable = any(rule is not None for rule in self.rules)

    is_direct = False
    """Whether a rule's result is the contribution as it is: no mask arises, and nothing is written in place."""

    rules: tuple[Rule | None, ...] = ()
    """Its derivative rules, one an input, whatever its kind; none for an op without a derivative."""

    def rule(self, index: int) -> Rule | None:
        """The derivative rule of one input; the last one stands for all inputs after it."""
        rules = self.rules
        return rules[min(index, len(rules) - 1)] if rules else None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __str__(self) -> str:
        return self.name

    if TYPE_CHECKING:  # given by core/record.py

        def __call__(self, *args: Any, **attrs: Any) -> Any: ...

    def compute(self, datas: Sequence[Any], attrs: Attrs) -> Any:
        """The forward rule on stored data, giving stored data. NumPy may warn, unless it is called `quietly`."""
        return stored(self.evaluate(*datas, **attrs))

    def infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        """Shape and dtype of the result from those of the inputs, without computing it."""
        return self._infer(inputs, attrs) if attrs else _inferred(self, *inputs)

    def _infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        assert self.shape is not None, f"{self.name} has no shape rule"
        dtype = self.dtype(*inputs, **attrs) if self.dtype else _promoted(inputs)
        return Abstract(tuple(self.shape(*inputs, **attrs)), np.dtype(dtype))

    def _infer_elementwise(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        return Abstract(
            broadcast_shapes(self.name, [x.shape for x in inputs]),
            self.dtype(*inputs, **attrs) if self.dtype else _tried(self, tuple(x.dtype for x in inputs)),
        )


class Elementwise(Op):
    """Computes each element from the elements at the same place, inputs being broadcast.

    partials: one entry an input, each a function of the result and the inputs, `p(y, *xs, **attrs)`, or
    ONE for a partial that is one everywhere, or None where there is none.
    scalar: the forward rule on Python floats. selects: a partial of zero means that this input was not chosen
    (`where`, `maximum`, `relu`): then nothing flows to it, not even 0 · infinity.
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        partials: tuple[Rule | None, ...] = (),
        scalar: Callable[..., Any] | None = None,
        selects: bool = False,
        **declared: Any,
    ) -> None:
        self.partials = self.rules = partials
        self.scalar = scalar
        self.selects = selects
        self.is_direct = not selects
        super().__init__(name, evaluate, **declared)

    def compute(self, datas: Sequence[Any], attrs: Attrs) -> Any:
        if self.scalar is not None:
            for data in datas:
                if type(data) is not float:
                    break
            else:
                try:
                    return self.scalar(*datas, **attrs)
                except (ArithmeticError, ValueError):  # IEEE 754 has an answer where Python's floats raise
                    datas = [np.float64(data) for data in datas]
        return stored(self.evaluate(*datas, **attrs))

    def _infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        return self._infer_elementwise(inputs, attrs)


class Linear(Op):
    """Linear in each argument that has a transpose.

    transposes: one entry an input, each `t(ct, *xs, **attrs)`, or None where there is none; it may use the values
    of the *other* inputs, and of its own only the shape and dtype.
    jointly: linear in all inputs at once (`concat`), not in each by itself (`matmul`); a transpose is then told which
    input it serves, `t(ct, index, *xs, **attrs)`.
    moves: every element of the result is a sum of elements of the input (`reshape`, `take`, `sum`), so that a mask
    of what was never chosen can be carried back through the transpose.
    accumulate: `accumulate(buffer, ct, *xs, **attrs)` adds the transpose for the first input into an array.
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        transposes: tuple[Rule | None, ...] = (),
        jointly: bool = False,
        moves: bool = False,
        accumulate: Callable[..., None] | None = None,
        **declared: Any,
    ) -> None:
        self.transposes = self.rules = transposes
        self.jointly = jointly
        self.moves = moves
        self.accumulate = accumulate
        self.is_direct = not jointly and accumulate is None
        super().__init__(name, evaluate, **declared)


class Special(Op):
    """States both rules, one an input: vjps, `rule(ct, y, *xs, **attrs)`; and jvps, `rule(t, y, *xs, **attrs)`."""

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        vjps: tuple[Rule | None, ...] = (),
        jvps: tuple[Rule | None, ...] = (),
        **declared: Any,
    ) -> None:
        self.vjps = self.rules = vjps
        self.jvps = jvps
        self.is_direct = True
        super().__init__(name, evaluate, **declared)


class Constant(Op):
    """Has no derivative: comparisons, logic, `argmax`, creation. No gradient flows through it."""

    def _infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        return super()._infer(inputs, attrs) if self.shape is not None else self._infer_elementwise(inputs, attrs)


class Several(Op):
    """One of several results of one computation, such as a loop: its attributes name the computation and the result.

    Derivatives are taken of all results together. siblings: `siblings(node)`, all results as nodes, in order.
    pull_back: `pull_back(nodes, cts)`, cotangents of the inputs from those of the results, either None where nothing
    flows. push_forward: `push_forward(nodes, tangents)`, tangents of the results from those of the inputs.
    """

    def __init__(
        self,
        name: str,
        evaluate: Callable[..., Any],
        *,
        siblings: Callable[[Any], Sequence[Any]],
        pull_back: Callable[..., Sequence[Any]],
        push_forward: Callable[..., Sequence[Any]],
        **declared: Any,
    ) -> None:
        self.siblings = siblings
        self.pull_back = pull_back
        self.push_forward = push_forward
        self.rules = (ONE,)
        super().__init__(name, evaluate, **declared)


def ONE(y: Any, *xs: Any, **attrs: Any) -> float:  # noqa: N802  (it stands in for a record, like the ops)
    """The partial that is one everywhere; the engine knows it and multiplies by nothing."""
    return 1.0


def broadcast_shapes(name: str, shapes: Sequence[Shape]) -> Shape:
    """The common shape to which these broadcast. Raises ShapeError that says at which axis they do not.

    >>> broadcast_shapes("add", [(32, 1), (10,)])
    (32, 10)
    """
    if len(shapes) == 2:
        a, b = shapes
        if a == b or not b:
            return a
        if not a:
            return b
    result: list[int] = []
    for axis in range(1, max(map(len, shapes), default=0) + 1):
        lengths = {shape[-axis] for shape in shapes if len(shape) >= axis} - {1}
        if len(lengths) > 1:
            raise ShapeError(_does_not_broadcast(name, shapes, axis))
        result.append(lengths.pop() if lengths else 1)
    return tuple(reversed(result))


def _does_not_broadcast(name: str, shapes: Sequence[Shape], axis: int) -> str:
    place = "the last axis is" if axis == 1 else f"axis -{axis} is"
    if len(shapes) != 2:
        lengths = ", ".join(str(s[-axis]) for s in shapes if len(s) >= axis)
        return f"shapes {', '.join(map(str, shapes))} do not broadcast: {place} {lengths}."
    left, right = shapes
    text = (
        f"shapes {left} and {right} do not broadcast: {place} {left[-axis]} on the left, {right[-axis]} on the right."
    )
    for long, short, which in ((left, right, "right"), (right, left, "left")):
        if len(short) == 1 and short[0] in long[:-1]:
            at = max(i for i, length in enumerate(long[:-1]) if length == short[0])
            behind = len(long) - 1 - at
            index = ", ".join([":"] + ["None"] * behind)
            text += (
                f"\n  To line the {which} one up with axis {at} of the other, "
                f"index it [{index}], which gives it shape {short + (1,) * behind}."
            )
            break
    return text


@lru_cache(maxsize=4096)
def _inferred(op: Op, *inputs: Abstract) -> Abstract:
    """The shape and dtype of the result of an op without attributes; a graph has few that differ."""
    return op._infer(inputs, {})


def _promoted(inputs: Sequence[Any]) -> np.dtype[Any]:
    """The dtype to which these give way together."""
    dtype: np.dtype[Any] = inputs[0].dtype
    for x in inputs:
        if x.dtype is not dtype:
            return np.result_type(*[x.dtype for x in inputs])
    return dtype


@lru_cache(maxsize=4096)
def _tried(op: Op, kinds: tuple[Any, ...]) -> np.dtype[Any]:
    """The dtype of an elementwise result, by running the forward rule on empty arrays: it cannot disagree."""
    empty = [np.empty((0,), kind) for kind in kinds]
    found: np.dtype[Any] = quietly(op.evaluate, *empty).dtype
    return found
