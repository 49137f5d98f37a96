"""How much rounding explains: what a traced function gives when each of its ops is rounded at random.

Two correct ways to compute the same thing differ by rounding, and how much that is depends on the function: where it
cancels or saturates, a last place between becomes a fifth digit at the end. So it is not guessed but measured, by
Monte Carlo arithmetic (D. S. Parker, "Monte Carlo Arithmetic", UCLA 1997): the trace is run op by op, each result is
disturbed by up to a unit in its last place, and sums by as much as another order may change them. A complex number is
disturbed by a last place of its size, in both parts: no more is promised of a product of parts. The spread of a few
such runs is what rounding does to each number. It is the trace that is run, and not the function, as only there the ops
of the derivatives are ops like all others, and compute with numbers that were disturbed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backlit.compiler.trace import Traced
from backlit.core.numbers import dtype_of, strong
from backlit.core.op import Linear
from backlit.core.value import Value, inputs_of

FACTOR = 16.0
"""Compiled numbers may be off by so many times the spread. Elementary functions are off by some units themselves."""
PLENTY = 8.0
"""Units in the last place that need no explanation."""
FIRST, MORE, MOST = 4, 40, 404
"""How many runs are made at first, and how many more before a difference is believed. As long as these explain places,
again as many are made, up to so many in all: where a hundred numbers are the least one but for rounding, each run gives
the gradient to a few of them.
"""

EXACT = {
    "abs", "ceil", "clip", "conj", "copysign", "floor", "identity", "imag", "max", "maximum", "min", "minimum",
    "negative", "positive", "real", "relu", "round", "sign", "stop_gradient", "trunc", "where", "one_hot",
}  # fmt: skip
"""Ops whose results are numbers that went in, or whole. So are those of linear ops that only move."""
CANCELS = {"gelu", "logaddexp"}
"""Elementwise ops that lose digits inside: what they are off by is a unit in the last place of what goes in."""
PRODUCTS = {"multiply", "square", "outer"}
"""Ops of which a sum may take the result as it is before it is rounded (a fused multiply-add), where another one that
is given the same result takes it rounded.
"""
SUMS_OF_PRODUCTS = {"einsum", "matmul", "vecdot"}
"""Ops that may add products before they are rounded: -inf and a product that is too large for its dtype are then -inf,
where they would be NaN if the product had been rounded to inf.
"""
SHUFFLED = {"sum", "matmul"}
"""Ops that add, of which every other run does so in another order, instead of disturbing the result by what that may
change. Then 3, 1e30 and -1e30 are 0 or 3, as they may be, and not some number of about 1e14. The others of `SUMS` are
just rounded in every other run.
"""
SIGNS = {"copysign", "signbit"}
"""Ops that read the sign of a NaN, which IEEE 754 leaves open where the NaN was computed."""
LONGEST_WHILE = 10_000


def _einsum_terms(inputs: Sequence[Any], attrs: Mapping[str, Any]) -> int:
    left, out = attrs["spec"].split("->")
    lengths = {
        label: n
        for labels, x in zip(left.split(","), inputs, strict=True)
        for label, n in zip(labels, x.shape, strict=True)
    }
    return math.prod(n for label, n in lengths.items() if label not in out)


SUMS: dict[str, Callable[[Sequence[Any], Mapping[str, Any]], int]] = {
    "sum": lambda xs, attrs: xs[0].size,
    "matmul": lambda xs, attrs: xs[0].shape[-1],
    "vecdot": lambda xs, attrs: max(xs[0].shape),
    "einsum": _einsum_terms,
    "cumulative_sum": lambda xs, attrs: max(xs[0].shape, default=1),
    "recurrence": lambda xs, attrs: max(xs[0].shape, default=1),
    "scatter": lambda xs, attrs: xs[0].size,
    "scatter_add": lambda xs, attrs: xs[1].size,
}
"""Ops that add, each with the number of terms at most."""


class Rounded:
    """Computes values of a trace, each op rounded at random."""

    def __init__(self, traced: Traced, seed: int) -> None:
        self.traced = traced
        self.rng = np.random.default_rng(seed)

    def call(self, arguments: Sequence[Any], state: Mapping[Value, Any]) -> tuple[list[Any], dict[Value, Any]]:
        """One call: its results, and the state after it. state: the numbers of each variable that it reads."""
        traced = self.traced
        known = dict(zip(traced.arguments, arguments, strict=True))
        known.update((c.node, state[c.variable]) for c in traced.captured)
        wanted = [*traced.results, *(c.node for c in traced.assigned)]
        with np.errstate(all="ignore"):
            found = self._values(wanted, known)
        after = dict(zip((c.variable for c in traced.assigned), found[len(traced.results) :], strict=True))
        return found[: len(traced.results)], {**state, **after}

    def _values(self, wanted: Sequence[Value], known: dict[Value, Any]) -> list[Any]:
        defined = self.traced.defined
        loops: dict[Any, list[Any]] = {}
        stack = list(wanted)
        while stack:
            value = stack[-1]
            if value in known:
                stack.pop()
                continue
            needed = [defined[value]] if value in defined else inputs_of(value)
            missing = [x for x in needed if x not in known]
            if missing:
                stack += missing
                continue
            if value in defined:
                known[value] = known[needed[0]]
            elif value._op is None:
                known[value] = np.asarray(strong(value._data))
            elif value._op.name == "scan":
                loop, which = value._extra.attrs["loop"], value._extra.attrs["which"]
                if (key := (id(loop), *map(id, needed))) not in loops:
                    loops[key] = self._loop(loop, [known[x] for x in needed])
                known[value] = loops[key][which]
            else:
                known[value] = self._rounded(value, [known[x] for x in needed])
        return [known[value] for value in wanted]

    def _loop(self, loop: Any, inputs: Sequence[Any]) -> list[Any]:
        k, c = len(loop.carried), len(loop.constants)
        carried, fixed, stacked = list(inputs[:k]), inputs[k : k + c], inputs[k + c :]
        piles: list[list[Any]] = [[] for _ in loop.outputs[k:]]
        for turn in range(LONGEST_WHILE if loop.flag is not None else loop.count):
            if loop.flag is not None and not carried[loop.flag]:
                break
            at = loop.count - 1 - turn if loop.reverse else turn
            known = dict(zip(loop.carried, carried, strict=True))
            known.update(zip((leaf for _, leaf in loop.constants), fixed, strict=True))
            known.update(zip(loop.slices, (x[at] for x in stacked), strict=True))
            known[loop.counter] = np.asarray(at, np.int64)
            after = self._values(loop.outputs, known)
            carried = after[:k]
            for pile, y in zip(piles, after[k:], strict=True):
                pile.append(y)
        return [*carried, *(np.stack(pile[::-1] if loop.reverse else pile) for pile in piles)]

    def _rounded(self, value: Value, inputs: Sequence[Any]) -> Any:
        op, attrs = value._op, value._extra.attrs
        assert op is not None
        dtype = dtype_of(value._data)
        if op.name in ("add", "subtract"):
            inputs = [self._unrounded(x, node) for x, node in zip(inputs, inputs_of(value), strict=True)]
        if op.name in SIGNS:
            inputs = [self._of_either_sign(x) for x in inputs]
        calm = op.name in SUMS and self.rng.random() < 0.5
        if calm and op.name in SHUFFLED:
            inputs = self._shuffled(op.name, inputs, attrs)
        y = np.asarray(op.evaluate(*inputs, **attrs)).astype(dtype, copy=False)
        if op.name in SUMS_OF_PRODUCTS and dtype.kind == "f" and not np.isfinite(y).all():
            wide = np.asarray(op.evaluate(*(x.astype(np.longdouble) for x in inputs), **attrs)).astype(dtype)
            y = np.where(self.rng.random(y.shape) < 0.5, wide, y)
        if dtype.kind not in "fc" or (op.name in EXACT and not _is_rounded(op.name, inputs)) or not y.size:
            return y
        eps = np.finfo(dtype).eps
        size = np.abs(y)
        if op.name in SUMS and not calm:
            terms = SUMS[op.name](inputs, attrs)
            size = np.asarray(op.evaluate(*map(_magnitude, inputs), **attrs)) * math.sqrt(max(1, terms))
        elif op.name in ("prod", "cumulative_prod"):
            size = size * math.sqrt(max(inputs[0].shape, default=1))
        elif op.name in ("log_softmax", "logsumexp"):
            size = size + np.max(np.abs(inputs[0]), initial=0.0, where=np.isfinite(inputs[0]))
        elif op.name in ("add", "subtract"):
            for x, node in zip(inputs, inputs_of(value), strict=True):
                if self._is_product(node):
                    size = np.maximum(size, np.abs(x))
        elif op.name in CANCELS:
            for x in inputs:
                size = np.maximum(size, np.abs(x))
        elif op.name == "log1p" and dtype.kind == "c":
            size = size + 1.0  # NumPy's is the logarithm of 1 + x, rounded
        elif op.name == "pow" and dtype.kind == "c":
            size = size * (1.0 + np.abs(inputs[1] * np.log(np.where(inputs[0] == 0, 1, inputs[0]).astype(dtype))))
        elif isinstance(op, Linear) and op.name not in ("outer", "astype"):
            return y  # moved only
        size = np.where(size > 0, np.maximum(size, np.finfo(dtype).tiny), size)  # subnormal numbers have fewer digits
        wobble = self._wobble(y) * np.where(np.isfinite(size), size, 0.0)
        return np.asarray(y + wobble * eps).astype(dtype, copy=False)

    def _shuffled(self, name: str, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> list[Any]:
        """What is added up, in another order."""
        if name == "sum":
            (x,) = inputs
            for axis in attrs["axis"]:
                x = self.rng.permutation(x, axis=axis)
            return [x]
        a, b = inputs
        order = self.rng.permutation(a.shape[-1])
        return [a[..., order], b[..., order, :] if b.ndim > 1 else b[order]]

    def _unrounded(self, x: Any, node: Value) -> Any:
        """A product as a fused multiply-add may take it: where it is infinite, perhaps only because it is rounded."""
        if x.dtype.kind != "f" or not np.isinf(x).any() or not self._is_product(node):
            return x
        finite = np.isinf(x) & (self.rng.random(x.shape) < 0.5)
        return np.where(finite, np.copysign(np.finfo(x.dtype).max, x), x)

    def _of_either_sign(self, x: Any) -> Any:
        """With a NaN of one sign or the other where there is one."""
        if x.dtype.kind != "f" or not np.isnan(x).any():
            return x
        return np.where(np.isnan(x), np.copysign(x, self.rng.choice([-1.0, 1.0], x.shape).astype(x.dtype)), x)

    def _is_product(self, value: Value) -> bool:
        """Whether it is a product, or a part of one that was moved."""
        while True:
            value = self.traced.defined.get(value, value)
            op = value._op
            if op is None or op.name in PRODUCTS:
                return op is not None
            if not isinstance(op, Linear) or op.name in SUMS or op.name == "astype":
                return False
            value = inputs_of(value)[0]

    def _wobble(self, y: Any) -> Any:
        wobble = self.rng.uniform(-1.0, 1.0, y.shape)
        return wobble + 1j * self.rng.uniform(-1.0, 1.0, y.shape) if y.dtype.kind == "c" else wobble


def _is_rounded(name: str, inputs: Sequence[Any]) -> bool:
    """Whether an op that is exact for real numbers is not for these."""
    return name in ("abs", "sign") and inputs[0].dtype.kind == "c"


def _magnitude(x: Any) -> Any:
    return np.abs(x) if x.dtype.kind in "fc" else x


# -- judging -----------------------------------------------------------------------------------------------------

Runs = Callable[[int], list[Any]]
"""What the function gives when it is rounded at random by a seed."""


def difference(eager: Sequence[Any], compiled: Sequence[Any], rounded: Runs) -> str:
    """What differs by more than rounding explains, in words; empty if nothing does. Element by element."""
    if len(eager) != len(compiled):
        return f"{len(eager)} results and {len(compiled)}"
    off: dict[int, Any] = {}
    for k, (a, b) in enumerate(zip(eager, compiled, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"result {k}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
        distance = _distance(a, b)
        if np.any(distance > _plenty(a)):
            off[k] = distance
    if not off:
        return ""
    spread = {k: np.zeros(eager[k].shape) for k in off}
    left = math.inf
    for begin, end in itertools.pairwise([0, *range(FIRST, MOST + 1, MORE)]):
        for seed in range(begin, end):
            found = rounded(seed)
            for k in off:
                np.maximum(spread[k], _distance(eager[k], found[k]), out=spread[k])
            wrong = _unexplained(eager, off, spread)
            if not wrong:
                return ""
        before, left = left, sum(int(places.sum()) for places in wrong.values())
        if left == before:
            break
    return _told(eager, compiled, off, spread, wrong)


def _allowed(eager: Any, spread: Any) -> Any:
    return _plenty(eager) + FACTOR * spread


def _unexplained(eager: Sequence[Any], off: dict[int, Any], spread: dict[int, Any]) -> dict[int, Any]:
    """Which places are still wrong, of each result that has such."""
    wrong = {k: ~(distance <= _allowed(eager[k], spread[k])) for k, distance in off.items()}
    return {k: places for k, places in wrong.items() if places.any()}


def _told(
    eager: Sequence[Any],
    compiled: Sequence[Any],
    off: dict[int, Any],
    spread: dict[int, Any],
    wrong: dict[int, Any],
) -> str:
    k = min(wrong)
    ratio = np.where(wrong[k], off[k] / _allowed(eager[k], spread[k]), 0.0)
    at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    return (
        f"result {k}: off by {off[k][at]:.3g} at {tuple(map(int, at))}, where rounding explains "
        f"{spread[k][at]:.3g} times {FACTOR:.0f}: {eager[k][at]!r} and {compiled[k][at]!r}; "
        f"{int(wrong[k].sum())} of {wrong[k].size} are wrong"
    )


def _distance(a: Any, b: Any) -> Any:
    """How far apart; infinite where one is NaN and the other is not, where they are not the same infinity, and where
    whole numbers or truths are not the same: these differ by a jump, which rounding decides or does not.
    """
    if a.dtype.kind not in "fc":
        return np.where(a == b, 0.0, np.inf)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        apart = np.abs(a.astype(np.result_type(a, np.float64)) - b)
    return np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))


def _plenty(a: Any) -> Any:
    if a.dtype.kind not in "fc":
        return np.zeros(a.shape)
    about = np.finfo(a.dtype)
    return PLENTY * float(about.eps) * np.where(np.isfinite(a), np.abs(a), 0.0).astype(np.float64) + float(about.tiny)
