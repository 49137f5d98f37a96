"""`compiled.compare(...)`: compiled numbers against eager ones, node by node, and both against float64."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler.ir import Graph, Node
from backlit.compiler.lowering import lower
from backlit.compiler.program import Program, of_trace
from backlit.compiler.trace import Traced, by_need, needed
from backlit.core.errors import GraphError
from backlit.core.numbers import dtype_of, shape_of, strong
from backlit.core.value import Value, current, inputs_of
from backlit.core.walk import toposort

WIDTH = 80
PLENTY = 64.0
"""Compiled code may be off by this many ulps, whatever eager code is off by."""
WORSE = 16.0
"""It may be off by this many times what eager code is off by, since sums are taken in another order."""


@dataclass(frozen=True)
class Difference:
    """One value of the trace. ulps: how far compiled and eager numbers are apart, in units in the last place of the
    largest number; compiled_error and eager_error: how far each is from float64, in the same units (NaN where float64
    is no better). is_bug: whether rounding does not explain it.
    """

    value: Value
    ulps: float
    compiled_error: float
    eager_error: float
    is_bug: bool
    is_end: bool = False  # what the whole program gives, not one op of it

    @property
    def op(self) -> str:
        if self.is_end:
            return "whole"
        return self.value._op.name if self.value._op is not None else "leaf"


class Comparison:
    """What `compiled.compare(...)` gives. verdict: "equal", "rounding" or "bug"; differences: one for each value of the
    trace, in order; worst: the one farthest off; text: the table.
    """

    def __init__(self, name: str, differences: list[Difference]) -> None:
        self.differences = differences
        bugs = [d for d in differences if d.is_bug]
        self.worst = max(bugs or differences, key=lambda d: d.ulps, default=None)
        if bugs:
            self.verdict = "bug"
            self.worst = bugs[0]  # what comes after computes with its numbers
        else:
            self.verdict = "rounding" if any(d.ulps for d in differences) else "equal"
        self.text = _text(name, self)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<pre style="line-height:1.25">{html.escape(self.text)}</pre>'


def compare(name: str, traced: Traced, arrays: Sequence[Any]) -> Comparison:
    """Compare all values of a trace. arrays: stored data of its arguments. Variables are read, and nothing is assigned.

    Each op is computed eagerly from the compiled numbers of its inputs, so what an op is off by is its own. What comes
    out of the program as it is run, with everything fused, is measured last.
    """
    leaves = [*traced.arguments, *(c.node for c in traced.captured), *(c.node for c in traced.gradients)]
    datas = [
        *arrays,
        *(current(c.variable)._data for c in traced.captured),
        *(c.variable._grad for c in traced.gradients),
    ]
    order = needed(traced.outputs, traced.defined)
    computed = [value for value in order if value._op is not None]
    numbers = dict(zip(leaves, datas, strict=True))
    compiled = _compiled(traced, leaves, datas, computed)
    found: dict[Value, Any] = {**numbers, **dict(zip(computed, compiled, strict=True))}
    for value in order:
        if value not in found:
            source = value
            while source in traced.defined:
                source = traced.defined[source]
            found[value] = found.get(source, source._data)
    differences = [_difference(value, found) for value in computed]
    return Comparison(name, differences + _whole(traced, order, numbers))


def _compiled(traced: Traced, leaves: Sequence[Value], datas: Sequence[Any], wanted: Sequence[Value]) -> list[Any]:
    """The numbers of all values, from one program of which each is a result."""
    graph = Graph()
    known: dict[Value, Node] = {
        leaf: graph.input(k, shape_of(leaf._data), dtype_of(leaf._data)) for k, leaf in enumerate(leaves)
    }
    inputs = [known[leaf] for leaf in leaves]
    nodes = lower(graph, wanted, known, traced.defined)
    distinct = list(dict.fromkeys(nodes))
    program = Program(inputs, distinct, len(distinct))
    results = dict(zip(distinct, program.run(datas), strict=True))
    return [results[node] for node in nodes]


def _difference(value: Value, found: Mapping[Value, Any]) -> Difference:
    """One op on the compiled numbers of its inputs."""
    inputs = [found[x] for x in inputs_of(value)]
    plenty = 4 * PLENTY if value._op is not None and value._op.name == "scan" else PLENTY
    return _judged(value, found[value], _eager(value, inputs), _longer(value, inputs), plenty)


def _whole(traced: Traced, order: Sequence[Value], datas: Mapping[Value, Any]) -> list[Difference]:
    """What comes out of the program itself, all fused, against the whole computed eagerly and with more digits."""
    eager, exact = dict(datas), dict(datas)
    for value in by_need(order, traced.defined):
        if value in datas:
            continue
        if value in traced.defined:
            eager[value], exact[value] = eager[traced.defined[value]], exact[traced.defined[value]]
        elif value._op is None:
            eager[value] = exact[value] = value._data
        else:
            eager[value] = _eager(value, [eager[x] for x in inputs_of(value)])
            longer = _longer(value, [exact[x] for x in inputs_of(value)])
            exact[value] = eager[value] if longer is None else longer
    program, _ = of_trace(traced)
    ends = traced.outputs
    leaves = [*traced.arguments, *(c.node for c in traced.captured), *(c.node for c in traced.gradients)]
    found = program.run([datas[leaf] for leaf in leaves])
    return [
        _judged(end, data, eager[end], exact[end], 4 * PLENTY, is_end=True)
        for end, data in zip(ends, found, strict=True)
    ]


def _eager(value: Value, inputs: Sequence[Any]) -> Any:
    op = value._op
    assert op is not None
    if op.name == "scan":
        return _looped(value, inputs, _eager)
    with np.errstate(all="ignore"):
        found = op.evaluate(*[strong(x) for x in inputs], **value._extra.attrs)
    return np.asarray(found).astype(dtype_of(value._data), copy=False)


def _longer(value: Value, inputs: Sequence[Any]) -> Any:
    """The op in float64, or in the longest format that there is for float64 itself; None where that cannot be had."""
    op, dtype = value._op, dtype_of(value._data)
    assert op is not None
    longer: Any = np.float64 if dtype.itemsize < 8 else np.longdouble
    if dtype.kind != "f" or np.finfo(longer).nmant <= np.finfo(dtype).nmant:
        return None
    wide = [np.asarray(x) for x in inputs]
    wide = [x.astype(longer) if x.dtype.kind == "f" else x for x in wide]
    if op.name == "scan":
        return np.asarray(_looped(value, wide, _as_long_as_can_be)).astype(longer)
    attrs = dict(value._extra.attrs)
    if "dtype" in attrs:
        attrs["dtype"] = np.dtype(longer)
    try:
        with np.errstate(all="ignore"):
            exact = np.asarray(op.evaluate(*wide, **attrs))
    except (TypeError, ValueError, NotImplementedError, KeyError):
        return None
    return exact if exact.dtype == longer else None


def _as_long_as_can_be(value: Value, inputs: Sequence[Any]) -> Any:
    found = _longer(value, inputs)
    return _eager(value, inputs) if found is None else found


def _looped(value: Value, inputs: Sequence[Any], compute: Callable[[Value, Sequence[Any]], Any]) -> Any:
    """One result of a loop, turn by turn."""
    loop, which = value._extra.attrs["loop"], value._extra.attrs["which"]
    if loop.flag is not None:
        raise GraphError("compare: a while_loop ends where its numbers say, so its turns cannot be compared.")
    k, c = len(loop.carried), len(loop.constants)
    carried, fixed, stacked = inputs[:k], inputs[k : k + c], [np.asarray(x) for x in inputs[k + c :]]
    order = toposort(loop.outputs)
    piles: list[list[Any]] = [[] for _ in loop.outputs[k:]]
    for turn in range(loop.count):
        at = loop.count - 1 - turn if loop.reverse else turn
        found = dict(zip(loop.carried, carried, strict=True))
        found.update(zip((leaf for _, leaf in loop.constants), fixed, strict=True))
        found.update(zip(loop.slices, (x[at] for x in stacked), strict=True))
        found[loop.counter] = np.int64(at)
        for node in order:
            if node not in found:
                made = [found[x] for x in inputs_of(node)]
                found[node] = node._data if node._op is None else compute(node, made)
        carried = [found[y] for y in loop.outputs[:k]]
        for pile, y in zip(piles, loop.outputs[k:], strict=True):
            pile.append(found[y])
    if which < k:
        return np.asarray(carried[which])
    pile = piles[which - k][::-1] if loop.reverse else piles[which - k]
    return np.stack(pile) if pile else np.zeros(shape_of(value._data), dtype_of(value._data))


def _judged(value: Value, data: Any, eager: Any, exact: Any, plenty: float, is_end: bool = False) -> Difference:
    compiled, eager = np.asarray(data), np.asarray(eager)
    if compiled.dtype.kind != "f":
        off = 0.0 if np.array_equal(compiled, eager) else float("inf")
        return Difference(value, off, float("nan"), float("nan"), bool(off), is_end)
    unit = _unit(eager if exact is None else exact, compiled.dtype)
    apart = _apart(compiled, eager, unit)
    if exact is None:
        return Difference(value, apart, float("nan"), float("nan"), apart > plenty, is_end)
    exact = np.asarray(exact)
    ours, theirs = _apart(compiled, exact, unit), _apart(eager, exact, unit)
    is_bug = apart > plenty and not ours <= max(plenty, WORSE * theirs)
    return Difference(value, apart, ours, theirs, is_bug, is_end)


def _unit(reference: Any, dtype: np.dtype[Any]) -> float:
    """The distance between neighbours at the largest number of an array."""
    numbers = np.abs(np.asarray(reference, np.float64))
    largest = float(np.max(numbers[np.isfinite(numbers)], initial=0.0))
    limits = np.finfo(dtype)
    largest = min(max(largest, float(limits.tiny)), float(limits.max))
    return float(np.spacing(dtype.type(largest)))


def _apart(a: Any, b: Any, unit: float) -> float:
    """The largest distance in units; infinite where one is NaN or infinite and the other is not the same."""
    if a.shape != b.shape:
        return float("inf")
    if not a.size:
        return 0.0
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        longer = np.longdouble if b.dtype.itemsize > 8 else np.float64
        off = np.where(same, 0.0, np.abs(a.astype(longer) - b.astype(longer)) / unit)
        off = np.where(~same & ~np.isfinite(off), np.inf, off)
    return float(np.max(off))


# -- showing -----------------------------------------------------------------------------------------------------

_VERDICTS = {
    "equal": "Verdict: equal. Compiled and eager numbers are the same, bit for bit.",
    "rounding": (
        "Verdict: rounding. Compiled code adds in another order and fuses multiplications with additions; measured "
        "against more digits it is as near as eager code, or nearer, or off by a few units only."
    ),
    "bug": (
        "Verdict: bug. The first value marked ! is farther from what it should be than rounding explains. Please "
        "report it with this table; compile=False, or calling the function uncompiled, gives the right numbers."
    ),
}


def _text(name: str, comparison: Comparison) -> str:
    worst: dict[tuple[str, str], tuple[Difference, int]] = {}
    for difference in comparison.differences:
        site = (difference.is_end and difference.value.name) or _place(difference.value)
        old, count = worst.get((site, difference.op), (difference, 0))
        farther = difference if (difference.is_bug, difference.ulps) > (old.is_bug, old.ulps) else old
        worst[site, difference.op] = (farther, count + 1)
    values = sum(not d.is_end for d in comparison.differences)
    lines = [f"{name}: compiled against eager, {values} values", ""]
    lines.append(f"  {'line':<28}{'op':<15}{'apart':>8}{'compiled':>10}{'eager':>8}")
    lines.append(f"  {'':<28}{'':<15}{'':>8}{'off by':>10}{'off by':>8}  (ulps)")
    for (site, op), (difference, count) in worst.items():
        many = f" x{count}" if count > 1 else ""
        numbers = f"{_ulps(difference.ulps):>8}{_ulps(difference.compiled_error):>10}{_ulps(difference.eager_error):>8}"
        mark = "!" if difference.is_bug else " "
        lines.append(f"{mark} {_cut(site, 27):<28}{_cut(op, 14 - len(many)) + many:<15}{numbers}".rstrip())
    lines += ["", *textwrap.wrap(_VERDICTS[comparison.verdict], WIDTH)]
    lines += textwrap.wrap(
        "A unit (ulp) is the distance between neighbouring numbers at the largest number of each array. Every op is "
        "measured on the numbers that compiled code gave it, so errors do not add up along the table; `whole` is what "
        "comes out in the end, all errors in it.",
        WIDTH,
    )
    return "\n".join(lines)


def _place(value: Value) -> str:
    because, node, hops = value.because, value, 0
    while node.because is not None and hops < 100:
        node, hops = node.because.node, hops + 1
    site = node.site or value.site
    place = "" if site is None else f"{site.short_file}:{site.line}"
    return place if because is None else f"gradient of {place}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _ulps(x: float) -> str:
    if np.isnan(x):
        return "-"
    return "0" if x == 0 else f"{x:.2g}" if x < 1e4 else f"{x:.1e}"
