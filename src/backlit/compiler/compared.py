"""`compiled.compare(...)`: compiled numbers against eager ones, node by node, and both against float64."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler.ir import Graph, Node
from backlit.compiler.lowering import lower
from backlit.compiler.program import Program
from backlit.compiler.trace import Traced
from backlit.core.errors import GraphError
from backlit.core.numbers import dtype_of, shape_of, stored
from backlit.core.value import Value, current, inputs_of
from backlit.core.walk import toposort

WIDTH = 80
PLENTY = 64.0
"""Compiled code may be off by this many ulps, whatever eager code is off by."""
WORSE = 16.0
"""It may be off by this many times what eager code is off by, since sums are taken in another order."""
_BITS = frozenset({"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert", "view_bits"})


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

    @property
    def op(self) -> str:
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

    Each op is computed eagerly from the compiled numbers of its inputs, so what an op is off by is its own. Raises
    GraphError where the trace has what only compiled code can run (loops inside it).
    """
    leaves = [*traced.arguments, *(c.node for c in traced.captured), *(c.node for c in traced.gradients)]
    datas = [
        *arrays,
        *(current(c.variable)._data for c in traced.captured),
        *(c.variable._grad for c in traced.gradients),
    ]
    order = _order(traced)
    computed = [value for value in order if value._op is not None]
    numbers = dict(zip(leaves, datas, strict=True))
    compiled = _compiled(traced, leaves, datas, computed)
    found: dict[Value, Any] = {**numbers, **dict(zip(computed, compiled, strict=True))}
    for value in order:
        if value not in found:
            source = value
            while source in traced.defined:
                source = traced.defined[source]
            found[value] = found[source] if source in found else source._data
    return Comparison(name, [_difference(value, found, traced.defined) for value in computed])


def _order(traced: Traced) -> list[Value]:
    wanted = [*traced.results, *(c.node for c in traced.assigned), *(n for _, n in traced.left if n is not None)]
    while True:
        order = toposort(wanted)
        known = set(wanted)
        more = {traced.defined[x] for x in order if x in traced.defined} - known
        if not more:
            return order
        wanted += sorted(more, key=lambda value: value._serial)


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


def _difference(value: Value, found: Mapping[Value, Any], defined: Mapping[Value, Value]) -> Difference:
    op = value._op
    assert op is not None
    if op.evaluate is None:
        raise GraphError(f"compare: {op.name} has no eager form to be compared with.")
    inputs = [found[x] for x in inputs_of(value)]
    compiled = np.asarray(found[value])
    with np.errstate(all="ignore"):
        eager = np.asarray(stored(op.evaluate(*inputs, **value._extra.attrs)))
        exact = _in_float64(value, inputs, compiled.dtype)
    if compiled.dtype.kind != "f":
        off = 0.0 if np.array_equal(compiled, eager) else float("inf")
        return Difference(value, off, float("nan"), float("nan"), bool(off))
    unit = _unit(eager if exact is None else exact, compiled.dtype)
    apart = _apart(compiled, eager, unit)
    if exact is None:
        return Difference(value, apart, float("nan"), float("nan"), apart > PLENTY)
    ours, theirs = _apart(compiled, exact, unit), _apart(eager, exact, unit)
    return Difference(value, apart, ours, theirs, apart > 0 and ours > max(PLENTY, WORSE * theirs))


def _in_float64(value: Value, inputs: Sequence[Any], dtype: np.dtype[Any]) -> Any:
    """The op on the same numbers in float64, or in the longest format that there is for float64 itself; None where that
    cannot be had.
    """
    op = value._op
    assert op is not None
    longer: Any = np.float64 if dtype.itemsize < 8 else np.longdouble
    if np.finfo(longer).nmant <= np.finfo(dtype).nmant or op.name in _BITS:
        return None
    if dtype.itemsize == 8 and not op.is_elementwise and op.name != "sum":
        return None
    wide = [np.asarray(x).astype(longer) if np.asarray(x).dtype.kind == "f" else x for x in inputs]
    attrs = {k: v for k, v in value._extra.attrs.items() if k != "dtype"}
    if len(attrs) != len(value._extra.attrs):
        return None
    try:
        exact = np.asarray(op.evaluate(*wide, **attrs))
    except (TypeError, ValueError, NotImplementedError):
        return None
    return exact if exact.dtype == longer else None


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
        site = _place(difference.value)
        old, count = worst.get((site, difference.op), (difference, 0))
        farther = difference if (difference.is_bug, difference.ulps) > (old.is_bug, old.ulps) else old
        worst[site, difference.op] = (farther, count + 1)
    lines = [f"{name}: compiled against eager, {len(comparison.differences)} values", ""]
    lines.append(f"  {'line':<30}{'op':<17}{'apart':>9}{'compiled':>11}{'eager':>9}")
    lines.append(f"  {'':<30}{'':<17}{'':>9}{'off by':>11}{'off by':>9}  (ulps)")
    for (site, op), (difference, count) in worst.items():
        many = f" x{count}" if count > 1 else ""
        numbers = f"{_ulps(difference.ulps):>9}{_ulps(difference.compiled_error):>11}{_ulps(difference.eager_error):>9}"
        lines.append(f"{'!' if difference.is_bug else ' '} {site[:29]:<30}{(op + many)[:16]:<17}{numbers}".rstrip())
    lines += ["", *textwrap.wrap(_VERDICTS[comparison.verdict], WIDTH)]
    lines += textwrap.wrap(
        "A unit (ulp) is the distance between neighbouring numbers at the largest number of each array. Every op is "
        "measured on the numbers that compiled code gave it, so errors do not add up along the table.",
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


def _ulps(x: float) -> str:
    if np.isnan(x):
        return "-"
    return "0" if x == 0 else f"{x:.2g}" if x < 1e4 else f"{x:.1e}"
