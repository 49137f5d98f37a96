"""Random graphs, as lines of source: functions of a few arrays that use every op which can be compiled.

A graph is data (leaves, lines, results), so that it can be shrunk line by line, and printed as a script. It is built
from a source of choices, which is a NumPy generator (the fuzzer) or hypothesis. Most are of float32 or float64; one in
six is of float16 or of complex numbers. Each line is run as it is added: what raises is left out, and what grows too
large is brought back. How graphs are compiled and compared stands in `checking`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import backlit as bl
from backlit.core.errors import BacklitError, BacklitWarning

SHAPES: list[tuple[int, ...]] = [
    (), (0,), (1,), (7,), (33,), (3, 4), (1, 5), (5, 1), (2, 3, 4), (1000,), (4, 4), (0, 3), (3, 0, 2), (16, 16),
    (1, 1), (2, 1, 3, 2), (33, 7), (1000, 1), (64, 3), (5, 33), (7, 7), (2, 9, 8), (40, 17), (97, 130), (130, 65),
    (10,), (3, 18), (11, 2), (14,), (64,), (8, 8), (4, 64),
]  # fmt: skip
LARGEST = 20_000
"""Elements of the largest array between."""
TAME = 50.0
TAMED = {"f": "bl.tanh({})", "c": "(lambda z: z / (1 + bl.abs(z)))({})"}
"""What brings back numbers that are too large; tanh has poles among complex ones."""
WILD = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e30, -1e30, 1e-30]

COMMON, RARE = ["float32", "float64"], ["float16", "float16", "complex64", "complex128"]

Integer = Callable[[int, int], int]
"""`integer(low, high)`: a choice from low to high, both included."""


@dataclass(frozen=True)
class Leaf:
    """An array that goes in; its numbers follow from the seed. wild: some are NaN, infinite, 0, -0, huge or tiny."""

    shape: tuple[int, ...]
    dtype: str
    seed: int
    wild: bool = False

    def numbers(self, rows: int | None = None) -> Any:
        """The array; or so many of them, stacked."""
        shape = self.shape if rows is None else (rows, *self.shape)
        rng = np.random.default_rng(self.seed)
        if self.dtype == "bool":
            return rng.random(shape) < 0.5
        if self.dtype.startswith("complex"):
            return np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape), self.dtype)
        if not self.dtype.startswith("float"):
            return np.asarray(rng.integers(0 if self.dtype[0] == "u" else -9, 10, shape), self.dtype)
        found = np.asarray(rng.standard_normal(shape), self.dtype)
        if self.wild:
            with np.errstate(over="ignore"):  # 1e30 is infinite in float16
                wild = np.asarray(WILD).astype(self.dtype)
            found = np.where(rng.random(shape) < 0.2, rng.choice(wild, shape), found)
        return found


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
    """Values are numbered: leaves first, then lines. assigned: leaves of floats or complex numbers, and what becomes of
    them in a step.
    """

    leaves: tuple[Leaf, ...]
    lines: tuple[Line, ...]
    outputs: tuple[int, ...]
    assigned: tuple[tuple[int, int], ...] = ()

    def source(self) -> str:
        """The graph as a Python function `graph(v0, v1, …)`."""
        text = [f"def graph({', '.join(f'v{k}' for k in range(len(self.leaves)))}):"]
        for k, line in enumerate(self.lines, len(self.leaves)):
            text.append(f"    v{k} = {line.text.format(*(f'v{a}' for a in line.args))}")
        text.append(f"    return [{', '.join(f'v{k}' for k in self.outputs)}]")
        return "\n".join(text) + "\n"

    def function(self) -> Callable[..., list[Any]]:
        names: dict[str, Any] = {"bl": bl, "np": np}
        exec(compile(self.source(), f"<graph {id(self)}>", "exec"), names)
        return names["graph"]  # type: ignore[no-any-return]

    @property
    def is_reversible(self) -> bool:
        """Whether there is reverse mode through it."""
        return not any("while_loop" in line.text for line in self.lines)

    @property
    def is_complex(self) -> bool:
        return any(leaf.dtype.startswith("complex") for leaf in self.leaves)

    @property
    def floats(self) -> tuple[int, ...]:
        """The leaves that gradients flow to."""
        return tuple(k for k, leaf in enumerate(self.leaves) if leaf.dtype.startswith("float"))


# -- building ----------------------------------------------------------------------------------------------------


class Builder:
    """A graph that grows by rules."""

    def __init__(self, integer: Integer) -> None:
        self.integer = integer
        self.dtype = self.choice(RARE if self.chance(17) else COMMON)
        self.inexact = "fc" if self.dtype.startswith("complex") else "f"
        self.wild = self.inexact == "f" and self.chance(8)  # infinite complex numbers may be lost to NaN
        self.leaves: list[Leaf] = []
        self.lines: list[Line] = []
        self.values: list[Any] = []

    # -- choosing -----------------------------------------------------------------------------------------------

    def choice(self, items: Sequence[Any]) -> Any:
        return items[self.integer(0, len(items) - 1)]

    def chance(self, percent: int) -> bool:
        return self.integer(1, 100) <= percent

    def pick(self, good: Callable[[Any], bool] = lambda v: True, exact: bool = False, kinds: str = "f") -> int:
        """The number of a value; younger ones are likelier. Where floats are asked for, complex numbers do as well."""
        kinds = kinds.replace("f", self.inexact)
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
        self.leaves.append(Leaf(shape, dtype, self.integer(0, 9999), self.wild and dtype.startswith("float")))
        self.values.append(bl.Value(self.leaves[-1].numbers()))

    def add(self, text: str, *args: int, exact: bool | None = False) -> None:
        """A line. exact: None means that it is if its arguments are."""
        if exact is None:
            exact = all(self.is_exact(k) for k in args)
        names = {f"v{a}": self.values[a] for a in args}
        try:
            value = self._run(text, args, names)
            if value.dtype.kind in "fc" and value.size:
                data = np.abs(np.asarray(value.data))
                if not self.wild and not np.all(np.isfinite(data)):
                    raise NothingFitsError
                peak = float(np.max(data, initial=0.0, where=np.isfinite(data)))
                if peak > TAME:
                    text, exact = TAMED[value.dtype.kind].format(text), False
                    value = self._run(text, args, names)
        except (BacklitError, BacklitWarning, RuntimeWarning, IndexError, ValueError) as error:
            raise NothingFitsError from error
        if value.size > LARGEST:
            raise NothingFitsError
        self.lines.append(Line(text, args, exact or value.dtype.kind not in "fc"))
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
        b.leaf(b.choice(SHAPES), b.dtype if k == 0 or b.chance(75) else b.choice(COMMON))
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
            if leaf.dtype.startswith(("float", "complex"))
            and v.shape == leaf.shape
            and v.dtype.name == leaf.dtype
            and j != k
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
    kinds = [] if b.wild else ["astype({0}, bl.int64)", "astype({0}, bl.int8)"]  # NaN is no whole number
    kinds += [
        "sign({0})", "floor({0})", "ceil({0})", "trunc({0})", "round({0})", "remainder({0}, 1.5)",
        "floor_divide({0}, 0.75)", "isnan({0})", "isfinite({0})", "isinf({0})", "signbit({0})", "logical_not({0})",
        "count_nonzero({0})", "astype({0}, bl.bool)",
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
    if b.values[k].dtype.kind in "fc":
        b.add(f"bl.astype({{0}}, bl.{b.choice([*COMMON, b.dtype])})", k)
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
        n = shape[0]
        kinds = [f"{{0}}[{{1}} % {n}]", f"{{0}}[{{1}} % {n} - {n}]", f"{{0}}[bl.clip({{1}}, {-n}, {n - 1})]"]
        if len(shape) > 1:
            kinds += [f"{{0}}[:, {{1}} % {shape[1]}]", f"{{0}}[{{1}} % {n}, -({{1}} % {shape[1]}) - 1]"]
        b.add(b.choice(kinds), k, i, exact=None)


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
        place = b.choice([f"{{1}} % {n}", f"{{1}} % {n} - {n}", f"bl.clip({{1}}, {-n}, {n - 1})"])
        what = b.choice(["add(0.25)", "set(0.25)", "add(bl.cos({1}) * 0.5)", "set({1} * 0.125)"])
        b.add(f"{{0}}.at[{place}].{what}", k, i)


@rule(1)
def labels(b: Builder) -> None:
    n = b.integer(1, 6)
    i = b.pick(lambda v: v.size <= 1000, kinds="i")
    b.add(f"bl.one_hot({{0}} % {n}, {n}, dtype=bl.{b.dtype})", i, exact=True)


@rule(10)
def reductions(b: Builder) -> None:
    k = b.pick()
    kept = b.chance(30)
    what = b.choice(
        ["sum", "sum", "mean", "prod", "max", "min", "var", "std", "softmax", "log_softmax", "norm", "logsumexp"]
    )
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
    if what in ("sum", "max", "min") and b.values[k].dtype.kind in "fcb":
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
    what = b.integer(0, 9)
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
    elif what == 7:
        a = b.pick(lambda v: v.ndim > 1)
        b.add(b.choice(["{0}.mT @ {0}", "{0} @ {0}.mT", "{0}.mT @ {0}[..., :1]", "{0}[..., :1, :] @ {0}.mT",
                        "{0}[..., ::-1] @ {0}.mT", "{0}[..., 0, :] @ {0}.mT", "{0} @ {0}[..., 0, :, None]",
                        "{0}[..., ::2, :].mT @ {0}[..., ::2, 1:]"]), a)  # fmt: skip
    elif what == 8:
        a = b.pick(lambda v: v.ndim == 3)
        b.add(b.choice(["bl.einsum('bij,bkj->bik', {0}, {0})", "bl.einsum('bij,bij->ij', {0}, {0})",
                        "bl.einsum('bij,cij->bc', {0}, {0})", "bl.einsum('bij,bil->jl', {0}, {0})"]), a)  # fmt: skip
    else:
        c = b.pick(lambda v: v.ndim > 0 and v.shape[0] == last)
        b.add("bl.tensordot({0}, {1}, axes=1)", a, c)


@rule(6)
def complexes(b: Builder) -> None:
    if b.chance(30):
        b.add(b.choice(["bl.conj({0})", "bl.real({0})", "bl.imag({0})"]), b.pick(kinds="c"), exact=None)
        return
    kinds = [
        "bl.abs({0})", "bl.sign({0})", "{0} * 1j", "{0} / (2 - 1j)", "bl.exp({0} * 1j)", "bl.conj({0}) * {0}",
        "bl.astype(bl.real({0}), {0}.dtype) + {0}", "bl.sqrt({0})", "bl.log({0} + 0.3)", "bl.pow({0} + 0.5j, 1.5)",
        "{0} ** 3", "({0} + 0.7) ** -2", "bl.prod(bl.tanh({0} * 0.3))",
    ]  # fmt: skip
    b.add(b.choice(kinds), b.pick(kinds="c"))


@rule(2)
def random(b: Builder) -> None:
    k = b.pick(lambda v: v.size <= 1000)
    shape, key = b.shape(k), f"bl.random.fold_in(bl.random.key({b.integer(0, 99)}), {b.integer(-3, 3)})"
    kind = b.choice(["uniform", "uniform", "normal"])
    b.add(f"{{0}} {b.choice('+*')} bl.random.{kind}({key}, {shape}, dtype=bl.{b.values[k].dtype.name})", k)


# -- loops and branches ------------------------------------------------------------------------------------------


def _body(b: Builder, carry: str, shape: tuple[int, ...], others: Sequence[str]) -> str:
    """What becomes of `carry` in a turn: an expression of its shape and dtype. others: what broadcasts into it."""
    text = carry
    for _ in range(b.integer(1, 3)):
        other = b.choice(others) if others else "0.3"
        kinds = [
            f"bl.sin({text})", f"{text} * 0.5 + {other}", f"{text} * {other}", f"bl.tanh({text} + {other})",
            f"bl.where({other} > 0.1, {text}, {other} - {text})", f"bl.maximum({text} * 0.7, {other})",
            f"bl.sqrt({text} * {text} + 0.1)", f"{text} - bl.mean({text} * {other})",
            f"bl.exp(-bl.abs({text}))" + (f" * {carry}" if b.inexact == "fc" else ""),
            f"bl.cond(bl.sum({text}) > 0.2, lambda u: u * 0.5, lambda u: u - {other}, {text})",
            f"bl.fori_loop(0, {b.integer(1, 3)}, lambda j, u: bl.cos(u) * 0.8 + {other}, {text})",
        ]  # fmt: skip
        if shape and 0 not in shape:
            kinds += [
                f"bl.flip({text}, axis=-1)", f"bl.roll({text}, 1, axis=0) + {text}",
                f"bl.cumulative_sum({text}, axis=-1) * 0.2", f"{text}.at[-1].add(0.5)", f"{text} * {carry}[..., :1]",
                f"bl.scan(lambda p, q: (p * 0.5 + q, p), {text}[0] * 1.0, {text})[1]",
            ]  # fmt: skip
            kinds += [f"bl.softmax({text}, axis=0)"] if b.inexact == "f" else []  # not for complex numbers
            if len(shape) > 1 and shape[-1] == shape[-2]:
                kinds += [f"{text} @ {carry} * 0.3", f"{text}.mT @ {carry}"]
        text = f"({b.choice(kinds)})"
    return text if b.chance(25) else f"bl.tanh({text})"


def _within(b: Builder, shape: tuple[int, ...], dtype: Any) -> list[int]:
    """A few values that broadcast into this shape, of this dtype."""
    found: set[int] = set()
    for _ in range(b.integer(0, 2)):
        try:
            found.add(b.pick(lambda v: v.dtype == dtype and _broadcasts(v.shape, shape)))
        except NothingFitsError:
            break
    return sorted(found)


def _broadcasts(shape: tuple[int, ...], into: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, into) == into
    except ValueError:
        return False


@rule(5)
def scans(b: Builder) -> None:
    k = b.pick(lambda v: v.ndim > 0 and 0 < v.shape[0] <= 40 and v.size <= 400)
    shape, dtype = b.shape(k)[1:], b.values[k].dtype
    wide = (b.choice([(), (2,)])) + shape
    others = _within(b, wide, dtype)
    names = [f"{{{i}}}" for i in range(1, len(others) + 1)]
    reverse, kept = b.chance(30), b.choice(["none", "none", "sqrt", "binomial"])
    options = f", reverse={reverse}, checkpoint={kept!r}"
    start = f"bl.zeros({wide}, dtype=bl.{dtype.name}) + {b.choice(['{0}[0]', '0.5', '{0}[-1] * 0.5'])}"
    y = b.choice(["c", "c * x", "bl.sum(c)", "x * 2", "(c, x)", "None"])
    if b.chance(25):
        first, second = _body(b, "c[0]", wide, ["x", "c[1]", *names]), _body(b, "c[1]", wide, ["x", "c[0]", *names])
        y = y.replace("c", "c[1]")
        text = f"bl.scan(lambda c, x: (({first}, {second}), {y}), ({start}, {start}), {{0}}{options})"
        ends = ["[0][0]", "[0][1]"]
    else:
        text = f"bl.scan(lambda c, x: ({_body(b, 'c', wide, ['x', *names])}, {y}), {start}, {{0}}{options})"
        ends = ["[0]"]
    if y != "None":
        ends += ["[1][0]", "[1][1]"] if y.startswith("(") else ["[1]", "[1]"]
    b.add(text + b.choice(ends), k, *others)


@rule(3)
def counted(b: Builder) -> None:
    k = b.pick(lambda v: v.size <= 300)
    shape, dtype = b.shape(k), b.values[k].dtype
    others = _within(b, shape, dtype)
    names = [f"{{{i}}}" for i in range(1, len(others) + 1)]
    names.append(f"bl.astype(i, bl.{dtype.name}) * 0.1")
    if shape and shape[0]:
        n = shape[0]
        names += [f"{{0}}[i % {n}]", f"{{0}}[i % {n} - {n}]"] if _broadcasts(shape[1:], shape) else []
    low = b.integer(-2, 3)
    kept = b.choice(["none", "none", "sqrt", "binomial"])
    body = _body(b, "c", shape, names)
    b.add(f"bl.fori_loop({low}, {low + b.integer(1, 11)}, lambda i, c: {body}, {{0}}, checkpoint={kept!r})", k, *others)


@rule(1)
def ended(b: Builder) -> None:
    k = b.pick(lambda v: v.size <= 300)
    others = _within(b, b.shape(k), b.values[k].dtype)
    names = [f"{{{i}}}" for i in range(1, len(others) + 1)]
    body = _body(b, "s[1]", b.shape(k), names)
    try:
        i = b.pick(lambda v: v.size <= 1000, kinds="i")
        until = f"bl.sum(bl.astype({{{len(others) + 1}}}, bl.int64)) % 7"
    except NothingFitsError:
        i, until = k, str(b.integer(0, 7))
    b.add(f"bl.while_loop(lambda s: s[0] < {until}, lambda s: (s[0] + 1, {body}), (0, {{0}}))[1]", k, *others, i)


@rule(2)
def branches(b: Builder) -> None:
    k = b.pick()
    others = _within(b, b.shape(k), b.values[k].dtype)
    names = [f"{{{i}}}" for i in range(2, len(others) + 2)]
    one, other = (_body(b, "u", b.shape(k), names) for _ in range(2))
    c = b.pick(lambda v: v.size > 0, exact=True, kinds="fib")
    b.add(f"bl.cond(bl.reshape({{1}}, (-1,))[0] > 0, lambda u: {one}, lambda u: {other}, {{0}})", k, c, *others)


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
