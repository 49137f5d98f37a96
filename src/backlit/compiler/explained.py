"""`compiled.explain()`: what became of a function, from the lines of the user to machine code."""

from __future__ import annotations

import html
import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from backlit.compiler import jit
from backlit.compiler.ir import Node
from backlit.compiler.module import KernelNote
from backlit.compiler.program import Program
from backlit.compiler.schedule import LEAVES
from backlit.compiler.target import host
from backlit.compiler.trace import Traced, needed
from backlit.core.errors import DataError
from backlit.core.site import Site
from backlit.core.value import Value, current

WIDTH = 80
_FREE = frozenset({"view", "reshape", "input", "constant", "part"})
"""Kinds of node that compute nothing: other indices, other names."""
_PROFILE_SECONDS = 0.2


@dataclass
class Row:
    """One kernel. name: of its function; kind: see `compiler/ir.py`, or "tiles" for loops that take over those of a
    product; nodes: what it keeps in memory; fused: what it computes on the way and keeps in registers only; operations
    and bytes: for one run of it; before: the functions that hand on to it; ns: with `profile`, the time of one run.
    """

    name: str
    kind: str
    nodes: list[Node]
    fused: list[Node]
    reads: list[Node]
    note: str
    block: str
    operations: int
    bytes: int
    before: tuple[str, ...] = ()
    ns: float | None = None

    @property
    def values(self) -> list[Value]:
        """What of the user's program, and of its gradients, is computed here."""
        found: dict[Value, None] = {}
        for node in [*self.fused, *self.nodes]:
            found.update(dict.fromkeys(node.origins))
        return list(found)


@dataclass
class Report:
    """One traced signature."""

    title: str
    traced: int
    merged: int
    kept: int
    rows: list[Row]
    arena: int
    buffers: int
    program: Program
    is_loop: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    total_ns: float | None = None


class Explanation:
    """What `compiled.explain()` gives: `text`, and `reports`, one for each traced kind of arguments, to read on."""

    def __init__(self, text: str, reports: list[Report]) -> None:
        self.text, self.reports = text, reports

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<pre style="line-height:1.25">{html.escape(self.text)}</pre>'


def explain(name: str, entries: Sequence[Any], of: Any = None, profile: bool = False) -> Explanation:
    """The explanation of all that was traced. entries: `Compiled.entries`. of: a line, a value or a name, to see its
    nodes, its kernels and their code. Raises DataError if nothing was traced, or nothing is found there.
    """
    if not entries:
        raise DataError(f"explain: {name} has not run yet, and what it computes is found at the first call: call it.")
    reports = [_report(entry, k, len(entries), profile) for k, entry in enumerate(entries)]
    if of is not None:
        return Explanation(_about(name, reports, of), reports)
    head = [f"{name}: {_count(len(entries), 'kind')} of arguments traced", ""]
    return Explanation("\n".join(head + [line for r in reports for line in _shown(r, profile)]).rstrip(), reports)


# -- finding out -------------------------------------------------------------------------------------------------


def _report(entry: Any, k: int, count: int, profile: bool) -> Report:
    traced: Traced = entry.traced
    program: Program = entry.program
    timed = None
    if profile:
        program, timed = _profiled(entry)
    rows = [_row(note, program.notes) for note in program.notes if note.kind not in ("loop", "part")]
    total = None
    if timed is not None:
        total = timed.pop(None)
        for row in rows:
            row.ns = timed.get(row.name)
    nodes = {node for row in rows for node in (*row.nodes, *row.fused)}
    shapes = ", ".join(_shape(x._data.shape, x._data.dtype) for x in traced.arguments) or "none"
    title = f"{k + 1} of {count}: arguments {shapes}" + ("; as a loop" if entry.repeat else "")
    outputs = set(program.outputs)
    buffers = sum(_size(n) for row in rows for n in row.nodes if row.kind != "straight" and n not in outputs)
    return Report(
        title=title,
        traced=sum(x._op is not None for x in needed(traced.outputs, traced.defined)),
        merged=len(nodes),
        kept=sum(len(row.nodes) for row in rows if row.kind != "straight"),
        rows=rows,
        arena=program.arena_bytes,
        buffers=buffers,
        program=program,
        is_loop=entry.repeat,
        seconds={**program.seconds, **program.machine.seconds},
        total_ns=total,
    )


def _row(note: KernelNote, notes: Sequence[KernelNote]) -> Row:
    kept = {node for other in notes for node in other.nodes}
    if note.kind == "straight":
        fused: list[Node] = []
        reads = [n for n in note.nodes if n.kind in LEAVES and n.shape]
        nodes = [n for n in note.nodes if n.kind not in LEAVES]
    else:
        nodes = list(note.nodes)
        inside: dict[Node, None] = {}
        reads = []
        stack = [arg for node in nodes for arg in node.args]
        seen: set[Node] = set(nodes)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in kept or node.kind in LEAVES:
                if node.kind == "input" or node.shape:
                    reads.append(node)
                continue
            inside[node] = None
            stack.extend(node.args)
        fused = sorted(inside, key=lambda node: node.index)
    bytes_ = sum(map(_size, reads)) + (0 if note.kind == "straight" else sum(map(_size, nodes)))
    operations = sum(map(_operations, [*fused, *nodes]))
    return Row(note.name, note.kind, nodes, fused, reads, note.note, note.block, operations, bytes_, note.before)


def _operations(node: Node) -> int:
    """How many numbers it computes, counting a multiplication and an addition as two."""
    if node.kind == "matmul":
        return 2 * node.size * node.args[0].shape[-1]
    if node.kind in ("reduce", "pick", "running"):
        return math.prod(node.args[0].shape)
    if node.kind == "scatter":
        return node.args[1].size
    return 0 if node.kind in _FREE else node.size


def _size(node: Node) -> int:
    return node.size * node.dtype.itemsize


def _profiled(entry: Any) -> tuple[Program, dict[Any, float]]:
    """The same program with clocks, and the nanoseconds of each kernel and of a whole call (under None).

    It runs on the arguments of the last call and on what variables hold now, and assigns nothing.
    """
    program: Program = entry.timed()
    datas = list(entry.program.inputs_now())
    for k, captured in enumerate(entry.traced.captured, len(entry.traced.arguments)):
        datas[k] = current(captured.variable)._data
    datas = [np.zeros(n.shape, n.dtype) if d is None else d for d, n in zip(datas, program.inputs, strict=True)]
    count = entry.turns(datas)
    program.run(datas, count)  # pages and caches are warm after this
    ticks: list[Any] = []
    spent: list[float] = []
    begin = time.perf_counter()
    while len(spent) < 3 or (time.perf_counter() - begin < _PROFILE_SECONDS and len(spent) < 1000):
        before, start = program.cycles(), time.perf_counter()
        program.run(datas, count)
        spent.append(time.perf_counter() - start)
        ticks.append(program.cycles() - before)
    rate = _ns_per_tick()
    found: dict[Any, float] = {None: float(np.median(spent)) * 1e9 / count}
    for note, typical in zip(program.clocks, np.median(ticks, axis=0), strict=True):  # unmoved by interruptions
        found[note.name] = found.get(note.name, 0.0) + float(typical) * rate / count
    return program, found


@cache
def _ns_per_tick() -> float:
    """How long the clock takes for a tick, against Python's own."""
    from backlit.compiler.module import clock

    declared, call = clock(host())
    text = f"{declared}\ndefine void @main(ptr %p, i64 %n) {{\n  %t = {call}\n  store i64 %t, ptr %p\n  ret void\n}}\n"
    machine = jit.Machine(text)
    place = np.zeros(1, np.int64)
    at = int(place.ctypes.data)

    def both() -> tuple[int, float]:
        machine.entry(at, 0)
        return int(place[0]), time.perf_counter()

    both()
    ticks, then = both()
    time.sleep(0.02)
    later, now = both()
    return (now - then) * 1e9 / max(later - ticks, 1)


# -- showing -----------------------------------------------------------------------------------------------------


def _shown(report: Report, profile: bool) -> list[str]:
    lines = [report.title, ""]
    lines += _wrapped(
        f"{report.traced} values traced, gradients among them. Equal ones are merged and what is known is computed "
        f"beforehand: {report.merged} nodes are left. {report.kept} of them are kept in memory; the others live in "
        f"registers, inside the loops that use them. {_count(len(report.rows), 'kernel')}."
    )
    lines += ["", *_table(report, profile), ""]
    operations, moved = sum(r.operations for r in report.rows), sum(r.bytes for r in report.rows)
    lines += _wrapped(
        f"In all {_short(operations)} operations on {_short(moved)}B read and written. Between kernels "
        f"{_short(report.buffers)}B are kept, in one arena of {_short(report.arena)}B: what is no longer needed makes "
        "room for what comes."
    )
    if report.total_ns is not None:
        inside = sum(row.ns or 0.0 for row in report.rows)
        rest = report.total_ns - inside
        lines += _wrapped(
            f"A turn takes {_time(report.total_ns)}, {_time(inside)} of it in kernels; {_time(max(rest, 0.0))} are "
            "calls, clocks and Python. (A processor with nothing else to do is faster; the shares are what counts.)"
        )
    seconds = report.seconds
    came = "found on disk" if report.program.machine.was_cached else "compiled by LLVM"
    lines += _wrapped(f"Machine code: {came}; {1e3 * seconds['emit']:.0f} ms to write, {1e3 * seconds['llvm']:.0f} ms.")
    return [*lines, ""]


def _table(report: Report, profile: bool) -> list[str]:
    last = "time" if profile else "bytes"
    lines = [f"{'kernel':<11}{'keeps':<19}{'ops':>7}{last:>8}  what it computes"]
    for row in report.rows:
        node = row.nodes[-1] if row.nodes else None
        keeps = "" if node is None or row.kind == "straight" else _shape(node.shape, node.dtype)
        if len(row.nodes) > 1 and row.kind != "straight":
            keeps += f" +{len(row.nodes) - 1}"
        number = _time(row.ns) if profile and row.ns is not None else "" if profile else _short(row.bytes)
        mark = "*" if _is_turned(row, report) else ""
        what = _what(row)
        begin = f"{row.name + mark:<11}{keeps:<19}{_short(row.operations):>7}{number:>8}  "
        lines += [begin + what[0], *(" " * len(begin) + more for more in what[1:])]
    if any(_is_turned(row, report) for row in report.rows):
        lines.append("* at each turn of a loop")
    return lines


def _is_turned(row: Row, report: Report) -> bool:
    """Whether a kernel runs at each turn of a loop, which others of the program do not."""
    return not report.is_loop and row.block.startswith(("step", "loop"))


def _what(row: Row) -> list[str]:
    """Where it comes from: ops by line, the gradients apart."""
    places: dict[str, Counter[str]] = {}
    for value in row.values:
        if value._op is None:
            continue
        site, backward = _site_of(value)
        place = "" if site is None else f"{site.short_file}:{site.line}"
        if backward:
            place = f"gradient of {place}" if place else "gradient"
        scope = value.scope
        name = value._op.name if scope is None or backward else str(scope).split("/", 1)[0]
        places.setdefault(place, Counter())[name] += 1
    lines: list[str] = []
    for place, names in places.items():
        text = (f"{place}: " if place else "") + ", ".join(names)
        lines += textwrap.wrap(text, WIDTH - 47, subsequent_indent="  ") or [text]
    if row.note:
        lines += textwrap.wrap(f"({row.note})", WIDTH - 47, subsequent_indent="  ")
    return lines[:12] or [row.kind]


def _site_of(value: Value) -> tuple[Site | None, bool]:
    """The user's line, and whether it is a gradient of what that line computed."""
    because = value.because
    if because is None:
        return value.site, False
    seen = 0
    node = because.node
    while node.because is not None and seen < 100:
        node, seen = node.because.node, seen + 1
    return node.site or value.site, True


def _about(name: str, reports: Sequence[Report], of: Any) -> str:
    """One line of source, value, or name: its nodes, its kernels, and their code."""
    match, called = _matcher(of)
    lines: list[str] = []
    for report in reports:
        for row in report.rows:
            found = [node for node in [*row.fused, *row.nodes] if any(match(value) for value in node.origins)]
            if not found:
                continue
            lines += [f"{row.name}, kernel of kind {row.kind} ({report.title})", ""]
            lines += ["Nodes (what is fused into the kernel is computed in registers):"]
            kept = set(row.nodes)
            for node in found:
                how = "kept " if node in kept and row.kind != "straight" else "fused"
                names = ", ".join(dict.fromkeys(v._op.name for v in node.origins if v._op is not None and match(v)))
                inner = " ".join(f"%{a.index}" for a in node.args)
                what = str(node.attrs[0]) if node.kind in ("map", "reduce", "pick", "running") else node.kind
                shown = f"  {how} %{node.index} = {what} {inner}: {_shape(node.shape, node.dtype)}"
                lines.append(f"{shown:<56}  from {names}"[:WIDTH])
            for function in (*row.before, row.name):
                optimized, assembly = jit.of_function(report.program.text, function)
                text = next(iter(_definitions(report.program.text, function)), "")
                lines += ["", "LLVM IR, as written:", "", *text.splitlines()]
                lines += ["", "LLVM IR, after LLVM's passes:", "", *optimized.splitlines()]
                lines += ["", f"Assembly for {host().name}:", "", *assembly.splitlines(), ""]
    if not lines:
        places = sorted({site.line for r in reports for v in _all_values(r) if (site := _site_of(v)[0]) is not None})
        raise DataError(
            f"explain: nothing that {name} computes comes from {called}. Lines that it comes from: "
            f"{', '.join(map(str, places[:20]))}."
        )
    return "\n".join([f"{name}: what became of {called}", "", *lines]).rstrip()


def _definitions(text: str, name: str) -> Iterable[str]:
    begin = text.find(f"@{name}(")
    if begin >= 0:
        begin = text.rfind("define", 0, begin)
        yield text[begin : text.find("\n}", begin) + 2]


def _all_values(report: Report) -> Iterable[Value]:
    return (value for row in report.rows for value in row.values)


def _matcher(of: Any) -> tuple[Callable[[Value], bool], str]:
    if isinstance(of, Value):
        wanted = of.site
        if wanted is None:
            raise DataError("explain: nobody knows where that value was made; name a line instead.")
        return (lambda v: _same_place(v.site, wanted)), f"line {wanted.line} of {wanted.short_file}"
    if isinstance(of, bool) or not isinstance(of, (int, str)):
        raise DataError(f"explain: of is a line number, a value or a name, and not {of!r:.40}.")
    if isinstance(of, str):
        return (lambda v: v.label == of or (v._op is not None and v._op.name == of)), f"`{of}`"
    return (lambda v: (site := _site_of(v)[0]) is not None and site.line == of), f"line {of}"


def _same_place(site: Site | None, wanted: Site) -> bool:
    return site is not None and (site.file, site.line) == (wanted.file, wanted.line)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _shape(shape: Sequence[int], dtype: Any) -> str:
    return f"{dtype.name}[{','.join(map(str, shape))}]"


def _short(n: float) -> str:
    """
    >>> _short(999), _short(12_345), _short(7_000_000)
    ('999', '12.3k', '7.0M')
    """
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M"), (1e12, "G")):
        if n < limit * (0.99995 if unit else 0.9995):
            return f"{n:.0f}" if not unit else f"{n / (limit / 1e3):.1f}{unit}"
    return f"{n / 1e12:.1f}T"


def _time(ns: float | None) -> str:
    if ns is None:
        return ""
    for limit, unit in ((1e3, "ns"), (1e6, "us"), (1e9, "ms")):
        if ns < limit:
            return f"{ns / (limit / 1e3):.3g} {unit}"
    return f"{ns / 1e9:.3g} s"
