"""Complex numbers as pairs of real ones: what each op is, in nodes for the real and for the imaginary part.

Machine code knows real numbers only. In memory the parts of a number stand beside each other, as NumPy has them, so
that a complex array is a real one with a last axis of length 2; in between a value is two nodes, which no memory joins.
What is linear needs no rule of its own here: it does to both parts what its record says of real numbers.

Formulas are those of NumPy, or, for the hyperbolic and circular functions, those of Kahan, "Branch cuts for complex
elementary functions" (1987): right at signed zeros, and along the cuts. Functions of infinite numbers may be NaN where
NumPy finds a limit. What is larger is told by the real parts, and where these are equal by the imaginary ones, as NumPy
tells it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from backlit.compiler.ir import BOOL, INT64, Body, Dtype, Graph, Node, part_of
from backlit.core.errors import GraphError
from backlit.core.numbers import Abstract, Shape
from backlit.core.op import Linear, Op
from backlit.core.value import describe


class Pair(NamedTuple):
    """A complex array while it is computed. stored: the node in which its parts stand side by side, if there is one."""

    real: Node
    imag: Node
    stored: Node | None = None

    @property
    def shape(self) -> Shape:
        return self.real.shape


Known = Node | Pair


# -- in and out of memory ------------------------------------------------------------------------------------------


def parts(g: Graph, x: Known) -> Known:
    """A node that comes from memory as what it means: a pair, if it holds complex numbers."""
    if isinstance(x, Pair) or x.means is x.dtype:
        return x
    n = len(x.shape) - 1
    rows = [[int(d == j) for j in range(n)] for d in range(n + 1)]
    real, imag = (g.view(x, x.shape[:-1], [0] * n + [k], rows) for k in (0, 1))
    return Pair(real, imag, x)


def joined(g: Graph, x: Known) -> Node:
    """The node that memory holds."""
    if not isinstance(x, Pair):
        return x
    if x.stored is not None:
        return x.stored
    both = g.concat([g.reshape(part, (*x.shape, 1)) for part in (x.real, x.imag)], len(x.shape))
    return g.meaning(both, np.result_type(x.real.dtype, np.complex64))


def constant(g: Graph, data: Any, dtype: Dtype) -> Pair:
    """A constant array, or number, in parts."""
    array = np.asarray(data, dtype)
    return Pair(g.constant(array.real, part_of(dtype)), g.constant(array.imag, part_of(dtype)))


# -- arithmetic on pairs -------------------------------------------------------------------------------------------


class Arithmetic:
    """Real arithmetic on nodes of one dtype, as formulas have it."""

    def __init__(self, g: Graph, dtype: Dtype) -> None:
        self.g, self.dtype = g, dtype

    def number(self, number: float) -> Node:
        return self.g.number(number, self.dtype)

    def pair(self, x: Known) -> Pair:
        """In the dtype of the result; a real number has the imaginary part 0."""
        if isinstance(x, Pair):
            return Pair(self.g.cast(x.real, self.dtype), self.g.cast(x.imag, self.dtype))
        return Pair(self.g.cast(x, self.dtype), self.g.broadcast(self.number(0.0), x.shape))

    def __getattr__(self, name: str) -> Callable[..., Node]:
        return lambda *xs: self.g.map(name, *(x if isinstance(x, Node) else self.number(x) for x in xs))

    def both(self, x: Node, y: Node) -> Node:
        return self.g.map("bitwise_and", x, y, dtype=BOOL)

    def either(self, x: Node, y: Node) -> Node:
        return self.g.map("bitwise_or", x, y, dtype=BOOL)

    def test(self, name: str, *xs: Any) -> Node:
        return self.g.map(name, *(x if isinstance(x, Node) else self.number(x) for x in xs), dtype=BOOL)


def _times(m: Arithmetic, x: Pair, y: Pair) -> Pair:
    return Pair(
        m.subtract(m.multiply(x.real, y.real), m.multiply(x.imag, y.imag)),
        m.add(m.multiply(x.real, y.imag), m.multiply(x.imag, y.real)),
    )


def _over(m: Arithmetic, x: Pair, y: Pair) -> Pair:
    """Smith's: divided by the larger part of y first, so that no square leaves the range."""
    first = m.test("greater_equal", m.abs(y.real), m.abs(y.imag))
    large, small = m.where(first, y.real, y.imag), m.where(first, y.imag, y.real)
    p, q = m.where(first, x.real, x.imag), m.where(first, x.imag, x.real)
    nil = m.both(first, m.test("equal", large, 0.0))
    ratio = m.where(nil, small, m.divide(small, large))
    scale = m.divide(1.0, m.add(large, m.multiply(small, ratio)))
    real = m.multiply(m.add(p, m.multiply(q, ratio)), scale)
    across = m.multiply(p, ratio)
    imag = m.multiply(m.where(first, m.subtract(q, across), m.subtract(across, q)), scale)
    by_nil = m.divide(1.0, m.abs(large))
    return Pair(
        m.where(nil, m.multiply(x.real, by_nil), real),
        m.where(nil, m.multiply(x.imag, by_nil), imag),
    )


def _exp(m: Arithmetic, x: Pair) -> Pair:
    size = m.exp(x.real)
    is_real = m.test("equal", x.imag, 0.0)  # infinity times a zero sine is zero
    away = m.subtract(x.imag, x.imag)
    lost = m.test("not_equal", away, away)  # an infinite angle has no sine
    nil = m.test("equal", x.real, -math.inf)
    whole = m.test("equal", m.abs(x.real), math.inf)
    real, imag = m.multiply(size, m.cos(x.imag)), m.multiply(size, m.sin(x.imag))
    return Pair(
        m.where(m.both(lost, whole), size, real), m.where(is_real, x.imag, m.where(m.both(lost, nil), size, imag))
    )


def _expm1(m: Arithmetic, x: Pair) -> Pair:
    half = m.sin(m.multiply(0.5, x.imag))
    bend = m.multiply(2.0, m.multiply(half, half))
    real = m.subtract(m.multiply(m.expm1(x.real), m.cos(x.imag)), bend)
    return Pair(real, m.multiply(m.exp(x.real), m.sin(x.imag)))


def _log(m: Arithmetic, x: Pair) -> Pair:
    """Near the unit circle by log1p of |x|² - 1, as the logarithm of |x| would be all rounding there."""
    a, b = m.abs(x.real), m.abs(x.imag)
    most, least = m.maximum(a, b), m.minimum(a, b)
    size, down = m.hypot(a, b), m.hypot(m.multiply(0.5, a), m.multiply(0.5, b))
    excess = m.add(m.multiply(m.subtract(most, 1.0), m.add(most, 1.0)), m.multiply(least, least))
    near = m.both(m.test("greater", size, 0.5), m.test("less", size, 2.0))
    close = m.multiply(0.5, m.log1p(m.where(near, excess, 0.0)))
    is_vast = m.test("equal", size, math.inf)
    far = m.add(m.log(m.where(is_vast, down, size)), m.where(is_vast, math.log(2.0), 0.0))
    return Pair(m.where(near, close, far), m.atan2(x.imag, x.real))


def _log1p(m: Arithmetic, x: Pair) -> Pair:
    """By log1p of |1 + x|² - 1 for small x."""
    shifted = Pair(m.add(1.0, x.real), x.imag)
    excess = m.add(m.multiply(x.real, m.add(2.0, x.real)), m.multiply(x.imag, x.imag))
    small = m.test("less", m.maximum(m.abs(x.real), m.abs(x.imag)), 0.25)
    far = _log(m, shifted)
    return Pair(m.where(small, m.multiply(0.5, m.log1p(m.where(small, excess, 0.0))), far.real), far.imag)


def _sqrt(m: Arithmetic, x: Pair) -> Pair:
    """The root with the real part that is not negative; its imaginary part has the sign of that of x."""
    a, b = m.abs(x.real), m.abs(x.imag)
    is_vast = m.test("greater", m.maximum(a, b), float(np.finfo(m.dtype).max) / 4)
    scale, back = m.where(is_vast, 1 / 16, 1.0), m.where(is_vast, 4.0, 1.0)
    size = m.hypot(m.multiply(scale, a), m.multiply(scale, b))
    root = m.multiply(back, m.sqrt(m.add(m.multiply(m.multiply(0.5, scale), a), m.multiply(0.5, size))))
    nil, endless = m.test("equal", root, 0.0), m.test("equal", b, math.inf)
    other = m.where(m.either(nil, endless), b, m.divide(m.multiply(0.5, b), m.where(nil, 1.0, root)))
    right = m.test("greater_equal", x.real, 0.0)
    return Pair(m.where(right, root, other), m.copysign(m.where(right, other, root), x.imag))


def _sin(m: Arithmetic, x: Pair) -> Pair:
    return _turned_back(m, _sinh(m, _turned(m, x)))


def _cos(m: Arithmetic, x: Pair) -> Pair:
    return _cosh(m, _turned(m, x))


def _turned(m: Arithmetic, x: Pair) -> Pair:
    """i · x."""
    return Pair(m.negative(x.imag), x.real)


def _turned_back(m: Arithmetic, x: Pair) -> Pair:
    """x / i."""
    return Pair(x.imag, m.negative(x.real))


def _sinh(m: Arithmetic, x: Pair) -> Pair:
    imag = m.multiply(m.cosh(x.real), m.sin(x.imag))
    is_real = m.test("equal", x.imag, 0.0)
    return Pair(m.multiply(m.sinh(x.real), m.cos(x.imag)), m.where(is_real, x.imag, imag))


def _cosh(m: Arithmetic, x: Pair) -> Pair:
    imag = m.multiply(m.sinh(x.real), m.sin(x.imag))
    is_real = m.test("equal", x.imag, 0.0)
    zero = m.multiply(m.copysign(1.0, x.real), x.imag)
    return Pair(m.multiply(m.cosh(x.real), m.cos(x.imag)), m.where(is_real, zero, imag))


def _tanh(m: Arithmetic, x: Pair) -> Pair:
    slope = m.tan(x.imag)
    rise = m.add(1.0, m.multiply(slope, slope))
    s = m.sinh(m.maximum(m.minimum(x.real, 20.0), -20.0))
    under = m.add(1.0, m.multiply(rise, m.multiply(s, s)))
    root = m.sqrt(m.add(1.0, m.multiply(s, s)))
    real, imag = m.divide(m.multiply(rise, m.multiply(root, s)), under), m.divide(slope, under)
    far = m.test("greater", m.abs(x.real), 20.0)
    faded = m.multiply(4.0, m.multiply(m.sin(x.imag), m.cos(x.imag)))
    faded = m.multiply(faded, m.exp(m.multiply(-2.0, m.abs(x.real))))
    endless = m.both(m.test("equal", m.abs(x.real), math.inf), m.test("not_equal", faded, faded))
    faded = m.where(endless, 0.0, faded)  # whatever the angle is
    return Pair(m.where(far, m.copysign(1.0, x.real), real), m.where(far, faded, imag))


def _tan(m: Arithmetic, x: Pair) -> Pair:
    return _turned_back(m, _tanh(m, _turned(m, x)))


def _around_one(m: Arithmetic, x: Pair) -> tuple[Pair, Pair]:
    """The roots of 1 - x and of 1 + x."""
    return _sqrt(m, Pair(m.subtract(1.0, x.real), m.negative(x.imag))), _sqrt(m, Pair(m.add(1.0, x.real), x.imag))


def _asin(m: Arithmetic, x: Pair) -> Pair:
    minus, plus = _around_one(m, x)
    across = _times(m, _conjugate(m, minus), plus)
    return Pair(m.atan2(x.real, _times(m, minus, plus).real), m.asinh(across.imag))


def _acos(m: Arithmetic, x: Pair) -> Pair:
    minus, plus = _around_one(m, x)
    across = _times(m, _conjugate(m, plus), minus)
    return Pair(m.multiply(2.0, m.atan2(minus.real, plus.real)), m.asinh(across.imag))


def _acosh(m: Arithmetic, x: Pair) -> Pair:
    minus, plus = (_sqrt(m, Pair(m.add(one, x.real), x.imag)) for one in (-1.0, 1.0))
    across = _times(m, _conjugate(m, minus), plus)
    return Pair(m.asinh(across.real), m.multiply(2.0, m.atan2(minus.imag, plus.real)))


def _atanh(m: Arithmetic, x: Pair) -> Pair:
    a, b = m.abs(x.real), x.imag
    below = m.subtract(1.0, a)
    square = m.multiply(b, b)
    size = m.log1p(m.divide(m.multiply(4.0, a), m.add(m.multiply(below, below), square)))
    angle = m.atan2(m.multiply(2.0, b), m.subtract(m.multiply(below, m.add(1.0, a)), square))
    return Pair(m.copysign(m.multiply(0.25, size), x.real), m.multiply(0.5, angle))


def _conjugate(m: Arithmetic, x: Pair) -> Pair:
    return Pair(x.real, m.negative(x.imag))


def _power(m: Arithmetic, x: Pair, y: Pair) -> Pair:
    """By squaring for a known whole exponent below 100, as NumPy does; else exp(y · log x), and 0 for x = 0."""
    known, rest = m.g.value_of(y.real), m.g.value_of(y.imag)
    if known is not None and rest is not None and rest == 0 and float(known).is_integer() and abs(known) < 100:
        return _whole_power(m, x, int(known))
    found = _exp(m, _times(m, y, _log(m, x)))
    none, nil = (m.both(m.test("equal", z.real, 0.0), m.test("equal", z.imag, 0.0)) for z in (y, x))
    lost = m.where(m.test("greater", y.real, 0.0), 0.0, math.nan)
    real, imag = m.where(nil, lost, found.real), m.where(nil, lost, found.imag)
    return Pair(m.where(none, 1.0, real), m.where(none, 0.0, imag))


def _whole_power(m: Arithmetic, x: Pair, power: int) -> Pair:
    total: Pair | None = None
    left = abs(power)
    square = x
    while left:
        if left % 2:
            total = square if total is None else _times(m, total, square)
        left //= 2
        if left:
            square = _times(m, square, square)
    one = Pair(m.g.broadcast(m.number(1.0), x.shape), m.g.broadcast(m.number(0.0), x.shape))
    if total is None:
        return one
    return total if power > 0 else _over(m, one, total)


def _sign(m: Arithmetic, x: Pair) -> Pair:
    size = m.hypot(x.real, x.imag)
    nil = m.test("equal", size, 0.0)
    return Pair(*(m.where(nil, 0.0, m.divide(part, size)) for part in (x.real, x.imag)))


def _compared(name: str) -> Callable[..., Node]:
    """By real parts, and where these are equal by imaginary ones; nothing is before or behind NaN."""
    strictly = name.removesuffix("_equal")

    def rule(m: Arithmetic, x: Pair, y: Pair) -> Node:
        known = m.both(*(m.test("equal", z.imag, z.imag) for z in (x, y)))
        apart = m.both(m.test(strictly, x.real, y.real), known)
        return m.either(apart, m.both(m.test("equal", x.real, y.real), m.test(name, x.imag, y.imag)))

    return rule


def _extreme(name: str) -> Callable[..., Pair]:
    """The first of two that is NaN or not exceeded."""
    beyond = _compared(name)

    def rule(m: Arithmetic, x: Pair, y: Pair) -> Pair:
        return _chosen(m, m.either(beyond(m, x, y), _isnan(m, x)), x, y)

    return rule


def _isnan(m: Arithmetic, x: Pair) -> Node:
    return m.either(*(m.test("not_equal", part, part) for part in (x.real, x.imag)))


def _scaled(function: Callable[[Arithmetic, Pair], Pair], factor: float) -> Callable[[Arithmetic, Pair], Pair]:
    def rule(m: Arithmetic, x: Pair) -> Pair:
        found = function(m, x)
        return Pair(m.multiply(factor, found.real), m.multiply(factor, found.imag))

    return rule


def _each(name: str) -> Callable[..., Pair]:
    """A map of real parts, and of imaginary parts."""
    return lambda m, *xs: Pair(getattr(m, name)(*(x.real for x in xs)), getattr(m, name)(*(x.imag for x in xs)))


def _either(name: str, joint: str) -> Callable[..., Node]:
    """A test of the real and of the imaginary part, and what the two say together."""

    def rule(m: Arithmetic, *xs: Pair) -> Node:
        return m.g.map(
            joint, *(m.test(name, *ys) for ys in zip(*((x.real, x.imag) for x in xs), strict=True)), dtype=BOOL
        )

    return rule


def _of_size(name: str, joint: str, against: float) -> Callable[..., Node]:
    return lambda m, x: m.g.map(
        joint, m.test(name, m.abs(x.real), against), m.test(name, m.abs(x.imag), against), dtype=BOOL
    )


RULES: Mapping[str, Callable[..., Known]] = {
    "add": _each("add"),
    "subtract": _each("subtract"),
    "negative": _each("negative"),
    "multiply": _times,
    "divide": _over,
    "reciprocal": lambda m, x: _over(m, Pair(m.number(1.0), m.number(0.0)), x),
    "square": lambda m, x: _times(m, x, x),
    "positive": lambda m, x: x,
    "identity": lambda m, x: x,
    "stop_gradient": lambda m, x: x,
    "conj": _conjugate,
    "round": _each("round"),
    "real": lambda m, x: x.real,
    "imag": lambda m, x: x.imag,
    "abs": lambda m, x: m.hypot(x.real, x.imag),
    "sign": _sign,
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "log2": _scaled(_log, 1.0 / math.log(2.0)),
    "log10": _scaled(_log, 1.0 / math.log(10.0)),
    "sqrt": _sqrt,
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _tanh,
    "asin": _asin,
    "acos": _acos,
    "atan": lambda m, x: _turned_back(m, _atanh(m, _turned(m, x))),
    "asinh": lambda m, x: _turned_back(m, _asin(m, _turned(m, x))),
    "acosh": _acosh,
    "atanh": _atanh,
    "pow": _power,
    "equal": _either("equal", "bitwise_and"),
    "not_equal": _either("not_equal", "bitwise_or"),
    **{name: _compared(name) for name in ("less", "less_equal", "greater", "greater_equal")},
    "maximum": _extreme("greater_equal"),
    "minimum": _extreme("less_equal"),
    "isnan": _isnan,
    "isinf": _of_size("equal", "bitwise_or", math.inf),
    "isfinite": _of_size("less", "bitwise_and", math.inf),
}
"""Ops element by element: in pairs of one dtype; a pair, or a node, out."""
COMBINED = {"prod": "multiply", "max": "maximum", "min": "minimum"}
START = {"multiply": 1.0, "maximum": complex(-math.inf, -math.inf), "minimum": complex(math.inf, math.inf)}
"""What changes no number that it is combined with."""
PICKED = {"argmax": "maximum", "argmin": "minimum"}
OF_TRUTHS = frozenset({"logical_and", "logical_or", "logical_xor", "logical_not", "any", "all", "count_nonzero"})


# -- along an axis -------------------------------------------------------------------------------------------------

Turn = Callable[[Arithmetic, Node, Pair, Sequence[Pair]], tuple[Pair, Pair | None]]
"""(arithmetic, whether it is the first turn, carried, an element of each array) -> (carried anew, what is kept)."""


def _through(
    m: Arithmetic, turn: Turn, start: Pair, arrays: Sequence[Pair], axis: int, reverse: bool = False
) -> tuple[Pair, Pair | None]:
    """A loop over the elements along an axis: what is carried at the end, and what was kept of each turn.

    What combines many real numbers is of no use here: neither part of a product follows from one part of each factor.
    """
    count, n = arrays[0].shape[axis], len(arrays[0].shape)
    front = (axis, *(d for d in range(n) if d != axis))
    stacked = [m.g.transpose(part, front) for x in arrays for part in (x.real, x.imag)]
    inner = Graph()
    inputs = [inner.input(k, start.shape, m.dtype) for k in range(2 + len(stacked))]
    at = inner.input(len(inputs), (), INT64)
    is_first = inner.map("equal", at, inner.number(count - 1 if reverse else 0, INT64), dtype=BOOL)
    carried, *rows = (Pair(*inputs[k : k + 2]) for k in range(0, len(inputs), 2))
    after, kept = turn(Arithmetic(inner, m.dtype), is_first, carried, rows)
    outputs = [part for x in (after, kept) if x is not None for part in (x.real, x.imag)]
    body = Body([*inputs, at], outputs, 2, len(stacked), len(outputs) - 2, True)
    real, imag, *piles = m.g.loop(body, [start.real, start.imag, *stacked], count, reverse)
    back = [front.index(d) for d in range(n)]
    return Pair(real, imag), Pair(*(m.g.transpose(pile, back) for pile in piles)) if piles else None


def _everywhere(m: Arithmetic, number: complex, shape: Shape) -> Pair:
    return Pair(*(m.g.broadcast(m.number(part), shape) for part in (number.real, number.imag)))


def _chosen(m: Arithmetic, truth: Node, x: Pair, y: Pair) -> Pair:
    return Pair(m.where(truth, x.real, y.real), m.where(truth, x.imag, y.imag))


def _along(m: Arithmetic, function: str, x: Pair, axis: Sequence[int], shape: Shape) -> Pair:
    """The elements along axes combined in their order, by one of the rules."""
    if not axis:
        return x
    rest = [d for d in range(len(x.shape)) if d not in axis]
    kept, count = tuple(x.shape[d] for d in rest), math.prod(x.shape[d] for d in axis)
    found = _everywhere(m, START[function], kept)
    if count:
        rows = Pair(*(m.g.reshape(m.g.transpose(part, (*axis, *rest)), (count, *kept)) for part in (x.real, x.imag)))

        def turn(n: Arithmetic, is_first: Node, before: Pair, xs: Sequence[Pair]) -> tuple[Pair, Pair | None]:
            after = RULES[function](n, before, *xs)
            assert isinstance(after, Pair)
            return after, None

        found, _ = _through(m, turn, found, [rows], 0)
    return Pair(*(m.g.reshape(part, shape) for part in (found.real, found.imag)))


def _position(m: Arithmetic, name: str, x: Pair, shape: Shape, axis: int | None) -> Node:
    """Where the first extreme element stands, or the first NaN."""
    flat = x if axis is not None else Pair(*(m.g.reshape(part, (part.size,)) for part in (x.real, x.imag)))
    place = axis or 0
    one = tuple(1 if d == place else n for d, n in enumerate(flat.shape))
    most = _along(m, name, flat, (place,), one)
    same = m.both(m.test("equal", flat.real, most.real), m.test("equal", flat.imag, most.imag))
    found = m.g.map("where", m.g.broadcast(_isnan(m, most), flat.shape), _isnan(m, flat), same, dtype=BOOL)
    return m.g.reshape(m.g.pick("maximum", m.g.cast(found, np.dtype(np.int8)), place), shape)


def _running_product(m: Arithmetic, x: Pair, axis: int, reverse: bool = False, exclusive: bool = False) -> Pair:
    def turn(n: Arithmetic, is_first: Node, before: Pair, xs: Sequence[Pair]) -> tuple[Pair, Pair]:
        after = _chosen(n, is_first, xs[0], _times(n, before, xs[0]))
        return after, before if exclusive else after

    return _kept(m, turn, 1.0, [x], axis, reverse)


def _recurrence(m: Arithmetic, factors: Pair, terms: Pair, axis: int, reverse: bool = False) -> Pair:
    def turn(n: Arithmetic, is_first: Node, before: Pair, xs: Sequence[Pair]) -> tuple[Pair, Pair]:
        scaled = _times(n, xs[0], before)
        after = _chosen(n, is_first, xs[1], Pair(n.add(scaled.real, xs[1].real), n.add(scaled.imag, xs[1].imag)))
        return after, after

    return _kept(m, turn, 0.0, [factors, terms], axis, reverse)


def _kept(m: Arithmetic, turn: Turn, start: complex, arrays: Sequence[Pair], axis: int, reverse: bool) -> Pair:
    shape = arrays[0].shape
    if not shape[axis]:
        return arrays[0]
    _, kept = _through(m, turn, _everywhere(m, start, (*shape[:axis], *shape[axis + 1 :])), arrays, axis, reverse)
    assert kept is not None
    return kept


# -- from an op to its nodes ---------------------------------------------------------------------------------------


def lower(
    g: Graph, op: Op, rule: Callable[..., Node], result: Abstract, args: Sequence[Known], attrs: Mapping[str, Any]
) -> Known:
    """The nodes of an op that takes or gives complex numbers. rule: how it is lowered for real ones."""
    within = result.dtype if result.dtype.kind == "c" else np.result_type(*(_dtype(x) for x in args))
    m = Arithmetic(g, part_of(within))
    if op.name in RULES:
        return RULES[op.name](m, *(m.pair(x) for x in args))
    if op.name == "where":
        chosen, a, b = (_truth(m, args[0]), m.pair(args[1]), m.pair(args[2]))
        return Pair(m.where(chosen, a.real, b.real), m.where(chosen, a.imag, b.imag))
    if op.name == "astype":
        return m.pair(args[0]) if result.dtype.kind == "c" else _truth(m, args[0])
    if op.name in OF_TRUTHS:
        return rule(g, result, *(_truth(m, x) for x in args), **attrs)
    if op.name in COMBINED:
        return _along(m, COMBINED[op.name], m.pair(args[0]), attrs["axis"], result.shape)
    if op.name in PICKED:
        return _position(m, PICKED[op.name], m.pair(args[0]), result.shape, attrs["axis"])
    if op.name == "cumulative_prod":
        return _running_product(m, m.pair(args[0]), **{k: v for k, v in attrs.items() if k != "dtype"})
    if op.name == "recurrence":
        return _recurrence(m, m.pair(args[0]), m.pair(args[1]), **attrs)
    if isinstance(op, Linear):
        found = _linear(m, op, rule, result, args, attrs)
        return found if result.dtype.kind == "c" else found.real  # a sum was asked for in real numbers
    if not any(isinstance(x, Pair) for x in args):  # real numbers, asked for in a complex dtype
        return m.pair(rule(g, Abstract(result.shape, m.dtype), *args, **{**attrs, "dtype": m.dtype}))
    assert g.origin is not None
    raise GraphError(
        f"compile: {op.name} of complex numbers cannot be compiled: {describe(g.origin)}. "
        "Compute it outside of the compiled function, or keep real and imaginary parts as two arrays."
    )


def _dtype(x: Known) -> Dtype:
    return np.result_type(x.real.dtype, np.complex64) if isinstance(x, Pair) else x.dtype


def _truth(m: Arithmetic, x: Known) -> Node:
    """Whether each element is not 0."""
    if not isinstance(x, Pair):
        return x if x.dtype == BOOL else m.g.map("not_equal", x, m.g.number(0, x.dtype), dtype=BOOL)
    real, imag = (m.g.map("not_equal", part, m.g.number(0, part.dtype), dtype=BOOL) for part in (x.real, x.imag))
    return m.g.map("bitwise_or", real, imag, dtype=BOOL)


def _linear(
    m: Arithmetic,
    op: Linear,
    rule: Callable[..., Node],
    result: Abstract,
    args: Sequence[Known],
    attrs: Mapping[str, Any],
) -> Pair:
    """What is linear in all arguments at once does the same to both parts; what is in each, to each choice of a part of
    every argument, and i · i = -1.
    """
    partly = Abstract(result.shape, m.dtype)
    attrs = {**attrs, "dtype": m.dtype} if "dtype" in attrs else attrs
    linear = [op.rule(k) is not None for k in range(len(args))]
    pairs = [m.pair(x) if varies else x for x, varies in zip(args, linear, strict=True)]
    if op.name == "vecdot":
        pairs[0] = _conjugate(m, m.pair(args[0]))
    if op.jointly:
        chosen = [[x[k] if isinstance(x, Pair) else x for x in pairs] for k in (0, 1)]
        real, imag = (rule(m.g, partly, *xs, **attrs) for xs in chosen)
        return Pair(m.g.cast(real, m.dtype), m.g.cast(imag, m.dtype))
    totals: list[Node | None] = [None, None]
    choices = [
        (0, 1) if isinstance(x, Pair) and isinstance(arg, Pair) else (0,) for x, arg in zip(pairs, args, strict=True)
    ]
    for choice in product(*choices):
        term = rule(
            m.g, partly, *(x[k] if isinstance(x, Pair) else x for x, k in zip(pairs, choice, strict=True)), **attrs
        )
        power = sum(choice) % 4
        which, minus, before = power % 2, power >= 2, totals[power % 2]
        if before is None:
            totals[which] = m.negative(term) if minus else term
        else:
            totals[which] = m.subtract(before, term) if minus else m.add(before, term)
    zero = m.g.broadcast(m.number(0.0), result.shape)
    return Pair(*(zero if total is None else total for total in totals))
