"""Random graphs, as lines of source: functions of a few arrays that use every op which can be compiled.

A graph is data (leaves, lines, results), so that it can be shrunk line by line, and printed as a script. It is built
from a source of choices, which is a NumPy generator (the fuzzer) or hypothesis. Each line is run as it is added: what
raises is left out, and what grows too large is brought back by `tanh`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import backlit as bl
from backlit.core.errors import BacklitError, BacklitWarning, BroadcastWarning, GraphError

SHAPES: list[tuple[int, ...]] = [
    (), (0,), (1,), (7,), (33,), (3, 4), (1, 5), (5, 1), (2, 3, 4), (1000,), (4, 4), (0, 3), (3, 0, 2), (16, 16),
    (1, 1), (2, 1, 3, 2), (33, 7), (1000, 1), (64, 3), (5, 33),
]  # fmt: skip
LARGEST = 6000
"""Elements of the largest array between."""
TAME = 50.0

Integer = Callable[[int, int], int]
"""`integer(low, high)`: a choice from low to high, both included."""


@dataclass(frozen=True)
class Leaf:
    """An array that goes in; its numbers follow from the seed."""

    shape: tuple[int, ...]
    dtype: str
    seed: int

    def numbers(self) -> Any:
        rng = np.random.default_rng(self.seed)
        if self.dtype == "bool":
            return rng.random(self.shape) < 0.5
        if self.dtype.startswith("float"):
            return np.asarray(rng.standard_normal(self.shape), self.dtype)
        return np.asarray(rng.integers(0 if self.dtype[0] == "u" else -9, 10, self.shape), self.dtype)


@dataclass(frozen=True)
class Line:
    """`text` in terms of `{0}`, `{1}`, …, which stand for the values with the numbers `args`.

    exact: the result is the same however it is rounded; only such values decide anything by a jump.
    """

    text: str
    args: tuple[int, ...]
    exact: bool


@dataclass(frozen=True)
class Graph:
    """Values are numbered: leaves first, then lines. assigned: float leaves, and what becomes of them in a step."""

    leaves: tuple[Leaf, ...]
    lines: tuple[Line, ...]
    outputs: tuple[int, ...]
    assigned: tuple[tuple[int, int], ...] = ()

    def source(self, noisy: bool = False) -> str:
        """The graph as a Python function `graph(v0, v1, …)`. noisy: each line's rounding is exaggerated by `noise`."""
        text = [f"def graph({', '.join(f'v{k}' for k in range(len(self.leaves)))}):"]
        for k, line in enumerate(self.lines, len(self.leaves)):
            right = line.text.format(*(f"v{a}" for a in line.args))
            if noisy and not line.exact:
                right = f"noise({right}, {', '.join(f'v{a}' for a in line.args)})"
            text.append(f"    v{k} = {right}")
        text.append(f"    return [{', '.join(f'v{k}' for k in self.outputs)}]")
        return "\n".join(text) + "\n"

    def function(self, noise: Callable[..., Any] | None = None) -> Callable[..., list[Any]]:
        names: dict[str, Any] = {"bl": bl, "np": np, "noise": noise}
        exec(compile(self.source(noise is not None), f"<graph {id(self)}>", "exec"), names)
        return names["graph"]  # type: ignore[no-any-return]

    @property
    def eps(self) -> float:
        """The unit roundoff of the coarsest dtype that takes part."""
        coarse = any(leaf.dtype == "float32" for leaf in self.leaves) or any("float32" in x.text for x in self.lines)
        return float(np.finfo(np.float32 if coarse else np.float64).eps)

    @property
    def floats(self) -> tuple[int, ...]:
        """The leaves that gradients flow to."""
        return tuple(k for k, leaf in enumerate(self.leaves) if leaf.dtype.startswith("float"))


# -- building ----------------------------------------------------------------------------------------------------


class Builder:
    """A graph that grows by rules."""

    def __init__(self, integer: Integer) -> None:
        self.integer = integer
        self.dtype = self.choice(["float32", "float64"])
        self.leaves: list[Leaf] = []
        self.lines: list[Line] = []
        self.values: list[Any] = []

    # -- choosing -----------------------------------------------------------------------------------------------

    def choice(self, items: Sequence[Any]) -> Any:
        return items[self.integer(0, len(items) - 1)]

    def chance(self, percent: int) -> bool:
        return self.integer(1, 100) <= percent

    def pick(self, good: Callable[[Any], bool] = lambda v: True, exact: bool = False, kinds: str = "f") -> int:
        """The number of a value; younger ones are likelier."""
        found = [
            k
            for k, v in enumerate(self.values)
            if v.dtype.kind in kinds and good(v) and (not exact or self.is_exact(k))
        ]
        if not found:
            raise NothingFitsError
        return max(self.choice(found) for _ in range(3))

    def is_exact(self, k: int) -> bool:
        return k < len(self.leaves) or self.lines[k - len(self.leaves)].exact

    def shape(self, k: int) -> tuple[int, ...]:
        return tuple(self.values[k].shape)

    def axis(self, k: int) -> int:
        n = len(self.shape(k))
        if not n:
            raise NothingFitsError
        return self.integer(-n, n - 1)

    def axes(self, k: int) -> Any:
        n = len(self.shape(k))
        if not n or self.chance(25):
            return None
        if n > 1 and self.chance(25):
            return tuple(d for d in range(n) if d != self.integer(0, n - 1)) or 0
        return self.axis(k)

    def partner(self, k: int, kinds: str = "f", exact: bool = False) -> int:
        """A value that broadcasts with this one."""
        shape = self.shape(k)

        def fits(v: Any) -> bool:
            try:
                return math.prod(np.broadcast_shapes(shape, v.shape)) <= LARGEST
            except ValueError:
                return False

        return self.pick(fits, exact, kinds)

    # -- adding -------------------------------------------------------------------------------------------------

    def leaf(self, shape: tuple[int, ...], dtype: str) -> None:
        self.leaves.append(Leaf(shape, dtype, self.integer(0, 9999)))
        self.values.append(bl.Value(self.leaves[-1].numbers()))

    def add(self, text: str, *args: int, exact: bool | None = False) -> None:
        """A line. exact: None means that it is if its arguments are."""
        if exact is None:
            exact = all(self.is_exact(k) for k in args)
        names = {f"v{a}": self.values[a] for a in args}
        try:
            value = self._run(text, args, names)
            if value.dtype.kind == "f" and value.size:
                peak = float(np.max(np.abs(np.asarray(value.data))))
                if not math.isfinite(peak):
                    raise NothingFitsError
                if peak > TAME:
                    text, exact = f"bl.tanh({text})", False
                    value = self._run(text, args, names)
        except (BacklitError, BacklitWarning, RuntimeWarning, IndexError, ValueError) as error:
            raise NothingFitsError from error
        if value.size > LARGEST:
            raise NothingFitsError
        self.lines.append(Line(text, args, exact or value.dtype.kind != "f"))
        self.values.append(value)

    def _run(self, text: str, args: Sequence[int], names: dict[str, Any]) -> Any:
        with bl.no_grad(), np.errstate(all="ignore"):
            return eval(text.format(*(f"v{a}" for a in args)), {"bl": bl, "np": np, **names})


class NothingFitsError(Exception):
    """A rule has nothing that it could be used on."""


def build(integer: Integer, lines: int | None = None) -> Graph:
    """A random graph."""
    b = Builder(integer)
    count = 2 + integer(0, 3)
    for k in range(count):
        b.leaf(b.choice(SHAPES), b.dtype if k == 0 or b.chance(75) else b.choice(["float32", "float64"]))
    if b.chance(50):
        b.leaf(b.choice(SHAPES), b.choice(["int64", "int32", "uint8", "int8"]))
    if b.chance(25):
        b.leaf(b.choice(SHAPES), "bool")
    wanted = lines if lines is not None else 1 + integer(0, 14)
    for _ in range(4 * wanted):
        if len(b.lines) >= wanted:
            break
        try:
            b.choice(RULES)(b)
        except NothingFitsError:
            continue
    n, total = len(b.leaves), len(b.values)
    outputs = {total - 1, *(integer(max(0, total - 8), total - 1) for _ in range(integer(0, 3)))}
    assigned = []
    for k, leaf in enumerate(b.leaves):
        same = [
            j
            for j, v in enumerate(b.values)
            if leaf.dtype.startswith("float") and v.shape == leaf.shape and v.dtype.name == leaf.dtype and j != k
        ]
        if same and b.chance(70):
            assigned.append((k, b.choice(same)))
    graph = Graph(tuple(b.leaves), tuple(b.lines), tuple(sorted(outputs)), tuple(assigned))
    assert n == len(graph.leaves)
    return without_idle_lines(graph)


def from_seed(seed: int, lines: int | None = None) -> Graph:
    rng = np.random.default_rng(seed)
    return build(lambda low, high: int(rng.integers(low, high + 1)), lines)


@st.composite
def graphs(draw: Any, lines: int | None = None) -> Graph:
    """Random graphs as a strategy of hypothesis."""
    return build(lambda low, high: draw(st.integers(low, high)), lines)


# -- rules: each adds one line -----------------------------------------------------------------------------------

RULES: list[Callable[[Builder], None]] = []


def rule(weight: int) -> Callable[[Callable[[Builder], None]], Callable[[Builder], None]]:
    def register(function: Callable[[Builder], None]) -> Callable[[Builder], None]:
        RULES.extend([function] * weight)
        return function

    return register


SMOOTH = [
    "tanh({0})", "sin({0})", "cos({0})", "sigmoid({0})", "softplus({0})", "silu({0})", "gelu({0})",
    "gelu({0}, approximate=True)", "erf({0})", "exp(bl.tanh({0}))", "expm1(bl.sin({0}))", "log1p({0} * {0})",
    "sqrt({0} * {0} + 0.1)", "asinh({0})", "atan({0})", "log({0} * {0} + 0.5)", "log2({0} * {0} + 0.5)",
    "log10({0} * {0} + 0.5)", "acos(0.9 * bl.tanh({0}))", "asin(0.9 * bl.tanh({0}))", "atanh(0.9 * bl.tanh({0}))",
    "acosh({0} * {0} + 1.1)", "sinh(bl.tanh({0}))", "cosh(bl.tanh({0}))", "tan(bl.tanh({0}))",
    "reciprocal({0} * {0} + 0.5)", "pow({0} * {0} + 0.5, 1.3)", "pow({0}, 2)", "pow({0}, 3)", "square({0})",
    "pow({0} * {0} + 0.5, -1)", "pow({0} * {0} + 0.5, -2.0)", "pow(2.5, bl.tanh({0}))",
    "elu({0})", "elu({0}, 0.5)", "stop_gradient({0}) * {0}", "multiply({0}, -1)", "multiply({0}, 0.5)",
    "divide({0}, 4)", "divide({0}, 3.0)", "divide(1, {0} * {0} + 1)", "subtract(1, {0})", "add({0}, 0)",
]  # fmt: skip


@rule(14)
def smooth(b: Builder) -> None:
    b.add("bl." + b.choice(SMOOTH), b.pick())


@rule(5)
def bent(b: Builder) -> None:
    kinds = [
        "relu({0})", "leaky_relu({0})", "leaky_relu({0}, 0.2)", "abs({0})", "negative({0})", "positive({0})",
        "clip({0}, -0.5, 0.5)", "clip({0}, min=0.25)", "clip({0}, max=0.25)", "maximum({0}, 0.1)", "minimum(0.1, {0})",
        "stop_gradient({0})", "real({0})", "conj({0})",
    ]  # fmt: skip
    b.add("bl." + b.choice(kinds), b.pick(), exact=None)


@rule(3)
def jumps(b: Builder) -> None:
    kinds = [
        "sign({0})", "floor({0})", "ceil({0})", "trunc({0})", "round({0})", "remainder({0}, 1.5)",
        "floor_divide({0}, 0.75)", "isnan({0})", "isfinite({0})", "isinf({0})", "signbit({0})", "logical_not({0})",
        "count_nonzero({0})", "astype({0}, bl.int64)", "astype({0}, bl.int8)", "astype({0}, bl.bool)",
    ]  # fmt: skip
    b.add("bl." + b.choice(kinds), b.pick(exact=True), exact=None)


@rule(14)
def two(b: Builder) -> None:
    kinds = [
        "{0} + {1}", "{0} - {1}", "{0} * {1}", "{0} / ({1} * {1} + 0.5)", "bl.maximum({0}, {1})",
        "bl.minimum({0}, {1})", "bl.atan2({0}, {1} * {1} + 0.5)", "bl.hypot({0}, {1} + 3)", "bl.logaddexp({0}, {1})",
        "bl.pow({0} * {0} + 0.5, bl.tanh({1}))", "{0} * {1} + {0}", "{0} * {1} - {1} * {0}", "{0} - {1} * {1}",
        "bl.add({1}, {0})",
    ]  # fmt: skip
    a = b.pick()
    b.add(b.choice(kinds), a, b.partner(a))


@rule(3)
def two_exact(b: Builder) -> None:
    kinds = [
        "bl.copysign({0}, {1})", "bl.remainder({0}, bl.abs({1}) + 0.5)", "bl.maximum({0}, {1})",
        "{0} > {1}", "{0} < {1}", "{0} <= {1}", "{0} >= {1}", "{0} == {1}", "{0} != {1}", "bl.logical_and({0}, {1})",
        "bl.logical_or({0}, {1})", "bl.logical_xor({0}, {1})", "bl.where({0} > {1}, {0}, {1})",
    ]  # fmt: skip
    a = b.pick(exact=True)
    b.add(b.choice(kinds), a, b.partner(a, exact=True), exact=None)


@rule(4)
def choosing(b: Builder) -> None:
    if b.chance(50):
        c = b.pick(kinds="b")
        x = b.partner(c)
        b.add("bl.where({0}, {1}, {2})", c, x, b.partner(x), exact=None)
    else:
        a = b.pick(exact=True)
        x = b.partner(a)
        b.add(f"bl.where({{0}} > {b.choice([0, 0.3, -1])}, {{1}}, {b.choice([0, 1.5])})", a, x, exact=None)


@rule(4)
def whole(b: Builder) -> None:
    kinds = [
        "{0} + {1}", "{0} - {1}", "{0} * {1}", "bl.bitwise_and({0}, {1})", "bl.bitwise_or({0}, {1})",
        "bl.bitwise_xor({0}, {1})", "bl.bitwise_invert({0}) + {1}", "{0} // (bl.abs({1}) + 1)",
        "{0} % (bl.abs({1}) + 1)", "bl.maximum({0}, {1})", "{0} < {1}", "{0} == {1}", "bl.sign({0}) * {1}",
        "bl.bitwise_left_shift({0}, bl.abs({1}) % 4)", "bl.bitwise_right_shift({0}, bl.abs({1}) % 4)", "{0} ** 2 + {1}",
        "bl.where({0} > {1}, {0}, {1})", "-{0} + {1}", "bl.minimum({0}, {1})", "bl.clip({0}, -3, 3) + {1}",
    ]  # fmt: skip
    a = b.pick(kinds="iu")
    b.add(b.choice(kinds), a, b.partner(a, "iu"), exact=True)


@rule(2)
def booleans(b: Builder) -> None:
    kinds = ["bl.logical_and({0}, {1})", "bl.logical_or({0}, {1})", "bl.logical_xor({0}, {1})", "{0} & {1}",
             "{0} | {1}", "{0} ^ {1}", "~{0} | {1}", "{0} == {1}", "bl.logical_not({0}) & {1}"]  # fmt: skip
    a = b.pick(kinds="b")
    b.add(b.choice(kinds), a, b.partner(a, "b"), exact=True)


@rule(3)
def casts(b: Builder) -> None:
    k = b.pick(kinds="fiub")
    if b.values[k].dtype.kind == "f":
        b.add(f"bl.astype({{0}}, bl.{b.choice(['float32', 'float64', b.dtype])})", k)
    else:
        want = b.choice([b.dtype, b.dtype, "float64", "int64", "int32", "uint8"])
        b.add(f"bl.astype({{0}}, bl.{want})", k, exact=None)


@rule(2)
def mixed(b: Builder) -> None:
    a = b.pick()
    b.add(b.choice(["{0} * {1}", "{0} + {1}", "bl.maximum({0}, {1})", "{0} - {1}"]), a, b.partner(a, "iub"))


def _slice(b: Builder, n: int) -> str:
    def end() -> Any:
        return "" if b.chance(40) else b.integer(-n - 1, n + 1)

    step = b.choice(["", "", 2, 3, -1, -2])
    return f"{end()}:{end()}:{step}"


@rule(8)
def views(b: Builder) -> None:
    k = b.pick(lambda v: v.ndim > 0, kinds="fffiub")
    items = []
    for n in b.shape(k)[: b.integer(1, len(b.shape(k)))]:
        what = b.integer(1, 10)
        if what == 1:
            items.append("None")
        if what <= 3 and n:
            items.append(str(b.integer(-n, n - 1)))
        else:
            items.append(_slice(b, n) if b.chance(70) else ":")
    if b.chance(10):
        items.append("...")
    b.add(f"{{0}}[{', '.join(items)}]", k, exact=None)


@rule(9)
def movement(b: Builder) -> None:
    k = b.pick(kinds="fffiub")
    shape = b.shape(k)
    n = len(shape)
    what = b.integer(0, 14)
    if what == 0:
        order = list(range(n))
        for j in range(n - 1, 0, -1):
            i = b.integer(0, j)
            order[i], order[j] = order[j], order[i]
        text = f"bl.permute_dims({{0}}, {tuple(order)})"
    elif what == 1:
        text = f"bl.flip({{0}}, axis={None if not n or b.chance(30) else b.axis(k)})"
    elif what == 2:
        text = f"bl.reshape({{0}}, {_reshaped(b, shape)})"
    elif what == 3:
        text = f"bl.expand_dims({{0}}, {b.integer(-n - 1, n)})"
    elif what == 4:
        ones = [d for d, length in enumerate(shape) if length == 1]
        if not ones:
            raise NothingFitsError
        text = f"bl.squeeze({{0}}, {b.choice(ones)})"
    elif what == 5:
        wide = tuple(b.choice([2, 5, 1, 0]) if length == 1 else length for length in shape)
        text = f"bl.broadcast_to({{0}}, {(*b.choice([(), (2,), (3, 1)]), *wide)})"
    elif what == 6:
        text = f"bl.roll({{0}}, {b.integer(-4, 4)}, axis={None if not n or b.chance(40) else b.axis(k)})"
    elif what == 7:
        text = f"bl.{b.choice(['tril', 'triu'])}({{0}}, k={b.integer(-2, 2)})"
    elif what == 8:
        text = "bl.matrix_transpose({0})"
    elif what == 9:
        widths = tuple((b.integer(0, 3), b.integer(0, 3)) for _ in shape)
        mode = b.choice(["constant", "constant", "edge", "reflect", "wrap", "symmetric"])
        fill = f", constant_values={b.integer(-1, 2)}" if mode == "constant" else ""
        text = f"bl.pad({{0}}, {widths}, mode={mode!r}{fill})"
    elif what == 10:
        text = f"bl.tile({{0}}, {b.choice([2, (2, 1), 3])})"
    elif what == 11:
        text = f"bl.repeat({{0}}, {b.integer(1, 3)}, axis={None if not n or b.chance(40) else b.axis(k)})"
    elif what == 12:
        text = f"bl.unstack({{0}}, axis={b.axis(k)})[0]"
    elif what == 13:
        text = f"bl.moveaxis({{0}}, {b.axis(k)}, {b.axis(k)})"
    else:
        text = f"bl.split({{0}}, 2, axis={b.axis(k)})[1]"
    b.add(text, k, exact=None)


def _reshaped(b: Builder, shape: tuple[int, ...]) -> tuple[int, ...]:
    size = math.prod(shape)
    if not size:
        return b.choice([(0,), (0, 2), (3, 0)])
    found: list[int] = []
    for _ in range(b.integer(0, 2)):
        divisors = [d for d in range(1, min(size, 40) + 1) if size % d == 0]
        d = b.choice(divisors)
        found.append(d)
        size //= d
    return (*found, size) if b.chance(80) else (size, *found)


@rule(5)
def joining(b: Builder) -> None:
    a = b.pick(kinds="fffiub")
    shape = b.shape(a)
    kind = b.values[a].dtype.kind
    if b.chance(50):
        c = b.pick(lambda v: v.shape == shape, kinds=kind)
        axis = b.integer(-len(shape) - 1, len(shape))
        parts = b.choice(["{0}, {1}", "{1}, {0}, {0}", "{0}"])
        b.add(f"bl.stack([{parts}], axis={axis})", a, c, exact=None)
    else:
        axis = b.axis(a) % len(shape)

        def fits(v: Any) -> bool:
            return len(v.shape) == len(shape) and all(v.shape[d] == n or d == axis for d, n in enumerate(shape))

        c = b.pick(fits, kinds=kind)
        b.add(f"bl.concat([{b.choice(['{0}, {1}', '{1}, {0}, {1}'])}], axis={axis})", a, c, exact=None)


def _positions(b: Builder, n: int, shape: tuple[int, ...]) -> str:
    numbers = np.array([b.integer(-n, n - 1) for _ in range(math.prod(shape))], np.int64).reshape(shape)
    return f"np.array({numbers.tolist()!r}, np.int64)" + (f".reshape({shape})" if 0 in shape else "")


@rule(6)
def gathers(b: Builder) -> None:
    k = b.pick(lambda v: v.ndim > 0 and v.size > 0, kinds="fffib")
    shape = b.shape(k)
    how = b.integer(0, 5)
    place = b.choice([(3,), (1,), (2, 2), (0,), (7,), ()])
    if how == 0 and len(shape) > 1:
        first, second = _positions(b, shape[0], place), _positions(b, shape[1], place)
        b.add(f"{{0}}[{first}, {second}]", k, exact=None)
    elif how == 1 and len(shape) > 1:
        b.add(f"{{0}}[:, {_positions(b, shape[1], place)}]", k, exact=None)
    elif how == 2:
        axis = b.axis(k)
        b.add(f"bl.take({{0}}, {_positions(b, shape[axis], (b.integer(0, 5),))}, axis={axis})", k, exact=None)
    elif how == 3:
        axis = b.axis(k) % len(shape)
        wanted = tuple(b.integer(1, 3) if d == axis else n for d, n in enumerate(shape))
        if math.prod(wanted) > 200:
            raise NothingFitsError
        b.add(f"bl.take_along_axis({{0}}, {_positions(b, shape[axis], wanted)}, axis={axis})", k, exact=None)
    elif how == 4 and len(shape) > 2:
        b.add(f"{{0}}[{_positions(b, shape[0], place)}, :, {b.integer(0, shape[2] - 1)}]", k, exact=None)
    else:
        i = b.pick(lambda v: v.size <= 1000, kinds="i")
        b.add(f"{{0}}[{{1}} % {shape[0]}]", k, i, exact=None)


@rule(5)
def updates(b: Builder) -> None:
    k = b.pick(lambda v: v.ndim > 0 and v.size > 0)
    n = b.shape(k)[0]
    how = b.integer(0, 6)
    if how == 0:
        b.add(f"{{0}}.at[{_positions(b, n, (4,))}].add(0.5)", k)
    elif how == 1:
        b.add(f"{{0}}.at[{_positions(b, n, (3,))}].set(1.5)", k, exact=None)
    elif how == 2:
        b.add(f"{{0}}.at[{_slice(b, n)}].set({b.choice([0, -1.0])})", k, exact=None)
    elif how == 3:
        b.add(f"{{0}}.at[{_slice(b, n)}].multiply(0.5)", k)
    elif how == 4:
        j = b.pick(lambda v: v.shape == b.shape(k))
        where = _slice(b, n)
        b.add(f"{{0}}.at[{where}].{b.choice(['set', 'add'])}({{1}}[{where}])", k, j)
    elif how == 5:
        j = b.pick(lambda v: v.shape == b.shape(k))
        b.add(f"bl.scatter_add({{0}}, {_positions(b, n, (5,))}, {{1}}[{_positions(b, n, (5,))}])", k, j)
    else:
        i = b.pick(lambda v: v.size <= 1000, kinds="i")
        b.add(f"{{0}}.at[{{1}} % {n}].{b.choice(['add', 'set'])}(0.25)", k, i)


@rule(1)
def labels(b: Builder) -> None:
    n = b.integer(1, 6)
    i = b.pick(lambda v: v.size <= 1000, kinds="i")
    b.add(f"bl.one_hot({{0}} % {n}, {n}, dtype=bl.{b.dtype})", i, exact=True)


@rule(10)
def reductions(b: Builder) -> None:
    k = b.pick()
    kept = b.chance(30)
    what = b.choice(["sum", "sum", "mean", "prod", "max", "min", "var", "std", "softmax", "log_softmax", "norm"])
    if what in ("softmax", "log_softmax"):
        b.add(f"bl.{what}({{0}}, axis={b.axis(k)})", k)
    elif what == "norm":
        b.add(f"bl.sqrt(bl.sum({{0}} * {{0}}, axis={b.axes(k)}, keepdims={kept}) + 0.1)", k)
    elif what == "std":
        b.add(f"bl.sqrt(bl.var({{0}}, axis={b.axes(k)}, keepdims={kept}) + 0.1)", k)
    else:
        inner = "bl.tanh({0}) + 0.1" if what == "prod" else "{0}"
        exact = None if what in ("max", "min") else False
        b.add(f"bl.{what}({inner}, axis={b.axes(k)}, keepdims={kept})", k, exact=exact)


@rule(3)
def counts(b: Builder) -> None:
    k = b.pick(exact=True, kinds="fiub")
    what = b.choice(["any", "all", "count_nonzero", "argmax", "argmin", "max", "min", "sum"])
    if what in ("sum", "max", "min") and b.values[k].dtype.kind in "fb":
        what = "argmax"
    if what in ("argmax", "argmin"):
        axis = None if b.chance(30) else b.axis(k)
        b.add(f"bl.{what}({{0}}, axis={axis}, keepdims={b.chance(30)})", k, exact=True)
    else:
        b.add(f"bl.{what}({{0}}, axis={b.axes(k)}, keepdims={b.chance(30)})", k, exact=True)


@rule(4)
def cumulative(b: Builder) -> None:
    k = b.pick(lambda v: v.ndim > 0)
    what = b.choice(["cumulative_sum({0}", "cumulative_prod(bl.tanh({0})", "diff({0}"])
    more = ", include_initial=True" if "cum" in what and b.chance(25) else ""
    b.add(f"bl.{what}, axis={b.axis(k)}{more})", k)


@rule(8)
def products(b: Builder) -> None:
    a = b.pick(lambda v: v.ndim > 0)
    last = b.shape(a)[-1]
    what = b.integer(0, 7)
    if what <= 2:
        c = b.pick(lambda v: v.ndim > 0 and v.shape[max(v.ndim - 2, 0)] == last)
        b.add("bl.matmul({0}, {1})", a, c)
    elif what == 3:
        c = b.pick(lambda v: v.ndim > 0 and v.shape[-1] == last)
        if b.shape(c) == b.shape(a) and len(b.shape(a)) < 2:
            b.add("bl.vecdot({0}, {1})", a, c)
        else:
            b.add("bl.matmul({0}, bl.matrix_transpose({1}))", a, c)
    elif what == 4:
        c = b.pick(lambda v: v.ndim == 1 and v.size <= 40)
        a = b.pick(lambda v: v.ndim == 1 and v.size <= 40)
        b.add("bl.outer({0}, {1})", a, c)
    elif what == 5:
        a = b.pick(lambda v: v.ndim == 2)
        b.add(b.choice(["bl.einsum('ij,ik->jk', {0}, {0})", "bl.einsum('ij,kj->ik', {0}, {0})",
                        "bl.einsum('ij->i', {0})", "bl.einsum('ij,ij->', {0}, {0})", "bl.matrix_transpose({0}) @ {0}",
                        "bl.einsum('ij,ij->j', {0}, {0})", "bl.einsum('ij,k->ijk', {0}[:3], {0}[0])"]), a)  # fmt: skip
    elif what == 6:
        a = b.pick(lambda v: v.ndim == 2 and v.shape[0] == v.shape[1])
        b.add(b.choice(["bl.einsum('ii->i', {0})", "bl.einsum('ii->', {0})", "{0} @ {0}", "{0} @ {0}.T @ {0}"]), a)
    else:
        c = b.pick(lambda v: v.ndim > 0 and v.shape[0] == last)
        b.add("bl.tensordot({0}, {1}, axes=1)", a, c)


# -- shrinking ---------------------------------------------------------------------------------------------------


def without_idle_lines(graph: Graph) -> Graph:
    """Without lines and leaves that nothing needs."""
    n = len(graph.leaves)
    needed = {*graph.outputs, *(j for pair in graph.assigned for j in pair)}
    for k in range(n + len(graph.lines) - 1, n - 1, -1):
        if k in needed:
            needed.update(graph.lines[k - n].args)
    if not needed & set(range(n)):
        needed.add(0)
    new = {k: i for i, k in enumerate(sorted(needed))}
    return Graph(
        tuple(leaf for k, leaf in enumerate(graph.leaves) if k in needed),
        tuple(
            replace(line, args=tuple(new[a] for a in line.args)) for k, line in enumerate(graph.lines, n) if k in needed
        ),
        tuple(new[k] for k in graph.outputs),
        tuple((new[k], new[j]) for k, j in graph.assigned),
    )


def shrunk(graph: Graph, fails: Callable[[Graph], bool], tries: int = 200) -> Graph:
    """A smaller graph that fails as well: fewer results and assignments, lines turned into leaves or left out."""
    best = graph
    found = True
    while found and tries > 0:
        found = False
        for candidate in _smaller(best):
            tries -= 1
            if tries < 0:
                break
            try:
                failing = fails(candidate)
            except BacklitError:
                continue  # it is no graph any more
            if failing:
                best, found = candidate, True
                break
    return best


def _smaller(graph: Graph) -> list[Graph]:
    found = [replace(graph, assigned=graph.assigned[:k] + graph.assigned[k + 1 :]) for k in range(len(graph.assigned))]
    if len(graph.outputs) > 1:
        found += [replace(graph, outputs=graph.outputs[:k] + graph.outputs[k + 1 :]) for k in range(len(graph.outputs))]
    n = len(graph.leaves)
    values = _values(graph)
    for k in range(n + len(graph.lines) - 1, n - 1, -1):
        line = graph.lines[k - n]
        if len(graph.outputs) == 1 and graph.outputs[0] == k:
            found += [replace(graph, outputs=(a,)) for a in line.args]
        for a in line.args:  # an argument in place of the result
            if values[a].shape == values[k].shape and values[a].dtype == values[k].dtype:
                found.append(_instead(graph, k, a))
        leaf = Leaf(tuple(values[k].shape), values[k].dtype.name, k)
        found.append(_as_leaf(graph, k, leaf))
    return [without_idle_lines(g) for g in found]


def _values(graph: Graph) -> list[Any]:
    everything = replace(graph, outputs=tuple(range(len(graph.leaves) + len(graph.lines))))
    with bl.no_grad():
        return everything.function()(*(bl.Value(leaf.numbers()) for leaf in graph.leaves))


def _renumbered(graph: Graph, move: Callable[[int], int]) -> Graph:
    return Graph(
        graph.leaves,
        tuple(replace(line, args=tuple(map(move, line.args))) for line in graph.lines),
        tuple(map(move, graph.outputs)),
        tuple((move(k), move(j)) for k, j in graph.assigned),
    )


def _instead(graph: Graph, k: int, a: int) -> Graph:
    return _renumbered(graph, lambda j: a if j == k else j)


def _as_leaf(graph: Graph, k: int, leaf: Leaf) -> Graph:
    """Value k as a new leaf; its line stays, idle."""
    n = len(graph.leaves)
    moved = _renumbered(graph, lambda j: n if j == k else j + (j >= n))
    return replace(moved, leaves=(*graph.leaves, leaf))


# -- comparing ---------------------------------------------------------------------------------------------------

CLOSE = 64
"""Units in the last place of the largest number of a result, that need no second look."""


@dataclass
class Finding:
    """What is wrong with a compiled graph."""

    graph: Graph
    how: str
    what: str
    script: str = field(default="")


def weighted(outputs: Sequence[Any]) -> Any:
    """A number that depends on all results that gradients can flow through."""
    total: Any = 0.0
    for y in outputs:
        if y.dtype.kind == "f":
            weights = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)
            total = total + bl.astype((y * weights).sum(), bl.float64)
    return total


def runnable(graph: Graph, how: str, noise: Callable[..., Any] | None = None) -> Callable[..., list[Any]]:
    """What is compared. how: "values", "gradients" or "second"."""
    f = graph.function(noise)
    wrt = graph.floats
    if how == "values" or not wrt:
        return f

    def loss(*xs: Any) -> Any:
        return weighted(f(*xs))

    def gradients(*xs: Any) -> list[Any]:
        value, grads = bl.value_and_grad(loss, wrt)(*xs)
        return [value, *grads]

    if how == "gradients":
        return gradients

    def second(*xs: Any) -> list[Any]:
        grads = bl.grad(lambda *ys: weighted(gradients(*ys)[1:]), wrt)(*xs)
        return list(grads)

    return second


def step_of(graph: Graph, parameters: Sequence[Any], noise: Callable[..., Any] | None = None) -> Callable[[], Any]:
    """A step of learning and of assignments."""
    f = graph.function(noise)

    def step() -> Any:
        loss = weighted(f(*parameters))
        with suppress(GraphError):  # no gradient may flow
            bl.asarray(loss).backward()
        with bl.no_grad():
            old = [p.data for p in parameters]
            values = replace(graph, outputs=tuple(j for _, j in graph.assigned)).function(noise)(*parameters)
            for (k, j), v in zip(graph.assigned, values, strict=True):
                parameters[k].data = old[j] if j < len(graph.leaves) else bl.tanh(v)
            changed = {k for k, _ in graph.assigned}
            for k, p in enumerate(parameters):
                if isinstance(p, bl.Parameter):
                    if p.grad is not None and k not in changed:
                        p.data = p - 0.01 * bl.tanh(p.grad)
                    p.grad = None
        return loss

    return step


def parameters_of(graph: Graph) -> list[Any]:
    return [
        bl.Parameter(leaf.numbers()) if leaf.dtype.startswith("float") else bl.asarray(leaf.numbers())
        for leaf in graph.leaves
    ]


def numbers(values: Sequence[Any]) -> list[Any]:
    return [np.array(v.data if isinstance(v, bl.Value) else v) for v in values]


def noise_of(graph: Graph, seed: int) -> Callable[..., Any]:
    """Rounding, exaggerated: a function that disturbs a result by some units in the last place of what went in."""
    rng = np.random.default_rng(seed)

    def noise(v: Any, *args: Any) -> Any:
        if v.dtype.kind != "f":
            return v
        size = max([abs_peak(v), *(abs_peak(a) for a in args if a.dtype.kind == "f")])
        wobble = rng.uniform(-8, 8, v.shape) * graph.eps
        other = rng.uniform(-1, 1, v.shape) * (graph.eps * size)
        return v * (1 + wobble).astype(v.dtype) + other.astype(v.dtype)

    return noise


def peak(graph: Graph) -> float:
    """The largest number between."""
    return max((abs_peak(v) for v in _values(graph) if v.dtype.kind == "f"), default=0.0)


def abs_peak(v: Any) -> float:
    data = np.abs(np.asarray(bl.stop_gradient(v).data))
    return float(np.max(data[np.isfinite(data)], initial=0.0))


def difference(graph: Graph, eager: Sequence[Any], compiled: Sequence[Any], again: Callable[[int], list[Any]]) -> str:
    """What differs by more than rounding explains; empty if nothing does.

    again: runs the eager function once more with exaggerated rounding (by a seed), for a second look.
    """
    if len(eager) != len(compiled):
        return f"{len(eager)} results and {len(compiled)}"
    spread: list[list[Any]] | None = None
    for k, (a, b) in enumerate(zip(eager, compiled, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"result {k}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return f"result {k}: {a} and {b}"
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            off = float(np.max(np.where(same, 0, np.abs(a.astype(float) - b)), initial=0.0))
        scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
        if off <= CLOSE * graph.eps * scale:
            continue
        if spread is None:
            spread = [again(seed) for seed in range(4)]
        with np.errstate(invalid="ignore", over="ignore"):
            doubt = max(float(np.max(np.abs(a.astype(float) - other[k]), initial=0.0)) for other in spread)
        doubt += graph.eps * (1 + peak(graph)) ** 2  # of products that cancel
        if not off <= 16 * doubt and not math.isnan(doubt):
            with np.printoptions(threshold=40):
                return f"result {k}: off by {off:.3g}, largest {scale:.3g}, rounding explains {doubt:.3g}\n{a}\n{b}"
    return ""


def check(graph: Graph, how: str) -> str:
    """Compiled against eager; what is wrong, in words. how: values, gradients, second, or step."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", BroadcastWarning)
        return _check_step(graph) if how == "step" else _check_function(graph, how)


def _check_function(graph: Graph, how: str) -> str:
    arrays = [leaf.numbers() for leaf in graph.leaves]

    def run(function: Callable[..., Any]) -> list[Any]:
        return numbers(function(*(bl.Value(x) for x in arrays)))

    function = runnable(graph, how)
    try:
        eager = run(function)
    except BacklitError as error:  # no gradient flows, for one
        if how == "values":
            raise
        return "" if isinstance(error, BacklitError) else "?"
    compiled = bl.compile(function)
    found = run(compiled)
    wrong = difference(graph, eager, found, lambda seed: run(runnable(graph, how, noise_of(graph, seed))))
    if not wrong:
        second = run(compiled)
        if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(found, second, strict=True)):
            wrong = "a second call gives other numbers"
    return wrong


def _check_step(graph: Graph, turns: int = 3) -> str:
    def eagerly(noise: Callable[..., Any] | None) -> list[Any]:
        parameters = parameters_of(graph)
        step = step_of(graph, parameters, noise)
        for _ in range(turns):
            loss = step()
        return numbers([loss, *parameters])

    eager = eagerly(None)
    for called in ("repeat", "calls"):
        parameters = parameters_of(graph)
        step = bl.compile(step_of(graph, parameters))
        if called == "repeat":
            loss = step.repeat(turns)
        else:
            for _ in range(turns):
                loss = step()
        found = numbers([loss, *parameters])
        wrong = difference(graph, eager, found, lambda seed: eagerly(noise_of(graph, seed)))
        if wrong:
            return f"{called}: {wrong}"
    return ""
