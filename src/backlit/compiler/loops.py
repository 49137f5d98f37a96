"""Loops around single elements: each kernel as one LLVM function, whose inner loops `abreast` writes on vectors.

An index is an affine function of loop counters, so movement costs nothing: it only changes where a load looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler import abreast
from backlit.compiler.inner import TOGETHER, Fold, Inner, NotVectors, Turns
from backlit.compiler.ir import INT64, Node
from backlit.compiler.scalars import AS_WRITTEN, COST, LATE, Blocks, apply, literal, register, stored
from backlit.compiler.schedule import LEAVES, Kernel, Schedule, row_major
from backlit.compiler.target import Target
from backlit.core.numbers import Shape

Affine = tuple[int, tuple[tuple[str, int], ...]]
"""A number plus multiples of counters."""

IDENTITY = {"add": 0, "multiply": 1, "or": False, "and": True}


def affine(offset: int, terms: dict[str, int]) -> Affine:
    return offset, tuple(sorted((name, c) for name, c in terms.items() if c))


def combined(offset: int, parts: Sequence[tuple[int, Affine]]) -> Affine:
    """offset + Σ factor · index."""
    terms: dict[str, int] = {}
    for factor, (constant, inner) in parts:
        if factor:
            offset += factor * constant
            for name, c in inner:
                terms[name] = terms.get(name, 0) + factor * c
    return affine(offset, terms)


class Writer(Blocks):
    """Writes one kernel. `memory(node)` is the pointer by which the kernel reaches a kept node."""

    def __init__(self, schedule: Schedule, name: str, target: Target) -> None:
        super().__init__()
        self.target = target
        self.schedule = schedule
        self.name = name
        self.pointers: dict[Node, str] = {}  # in the order of the parameters
        self.written: set[Node] = set()
        self.aliases: dict[Node, Node] = {}  # a result that is written over what it replaces
        self._memo: dict[Any, str] = {}
        self.merged: dict[str, tuple[str, int] | None] = {}  # a counter as part of a longer one
        self.accesses: list[dict[str, int]] = []
        self.extra: list[str] = []  # parameters behind the pointers
        self.apart: set[str] = set()  # counters used as numbers, which cannot be merged with others
        self.cuts = False  # whether the outermost loop may run from %lo to %hi only
        self.turns, self.together = 0, 1  # if so: how many turns it has in all, and of how many a part is a multiple
        self.plain = False  # whether loops stay as they are: one number in each turn
        self.attributes = AS_WRITTEN

    # -- blocks -------------------------------------------------------------------------------------------------

    def begin(self, label: str) -> None:
        super().begin(label)
        self._memo = {}

    def outer(self, counters: Sequence[tuple[str, int]], body: Callable[[], None]) -> None:
        """The loops around all that a kernel does, each turn of which may run beside the others."""
        if self.cuts and counters and counters[0][1] > 1:
            self.turns = counters[0][1]
            self.extra = ["i64 %lo", "i64 %hi"]
            self.loop(counters, body, "%lo", "%hi")
        else:
            self.loop(counters, body)

    def loop(
        self, counters: Sequence[tuple[str, int]], body: Callable[[], None], first: str = "0", end: str = ""
    ) -> None:
        """Nested loops; a counter of length 1 is the number 0 and has none. first, end: of the outermost."""
        if not counters:
            body()
            return
        (counter, count), rest = counters[0], counters[1:]
        head, after = self.label("loop"), self.label("done")
        before, mark = self.block, len(self.lines)
        step = self.fresh("next")
        self.put(f"  br label %{head}")
        self.begin(head)
        at = len(self.lines)
        self.put("")
        self.loop(rest, body)
        inside = self.lines[at + 1 :]
        if not rest and self.on_vectors(mark, before, Turns(counter, count, first, end), inside) is not None:
            return
        self.put(f"  {step} = add nuw nsw i64 {counter}, 1")
        self.lines[at] = f"  {counter} = phi i64 [{first}, %{before}], [{step}, %{self.block}]"
        more = self.let(f"icmp ult i64 {step}, {end or count}")
        self.put(f"  br i1 {more}, label %{head}, label %{after}")
        self.begin(after)

    def on_vectors(
        self, mark: int, before: str, turns: Turns, body: Sequence[str], fold: Fold | None = None
    ) -> str | None:
        """Write a loop again, on vectors, from `mark` on, in the block `before`: the name of what was folded; None, and
        nothing is changed, if its turns cannot be taken side by side.
        """
        if self.plain:
            return None
        written, now = self.lines[mark:], self.block
        try:
            inner = Inner(turns, body, fold)
            if turns.end == "%hi":
                self.together = TOGETHER
            del self.lines[mark:]
            self.block, self._memo = before, {}
            return abreast.write(self, inner, self.target.lanes_bytes)
        except NotVectors:
            self.lines[mark:], self.block = written, now
            return None

    # -- memory -------------------------------------------------------------------------------------------------

    def pointer(self, node: Node) -> str:
        node = self.aliases.get(node, node)
        if node not in self.pointers:
            self.pointers[node] = f"%p{len(self.pointers)}"
        return self.pointers[node]

    def number(self, index: Affine) -> str:
        """An index as an i64."""
        key = ("index", index)
        if key in self._memo:
            return self._memo[key]
        offset, terms = index
        total: str | None = None
        for name, factor in terms:
            term = name if factor == 1 else self.let(f"mul nsw i64 {name}, {factor}", "n")
            total = term if total is None else self.let(f"add nsw i64 {total}, {term}", "n")
        if total is None:
            return str(offset)
        if offset:
            total = self.let(f"add nsw i64 {total}, {offset}", "n")
        self._memo[key] = total
        return total

    def _merge(self, index: Affine) -> Affine:
        """An offset in terms of the counters that there are."""
        self.accesses.append(dict(index[1]))
        terms: dict[str, int] = {}
        for name, factor in index[1]:
            longer = self.merged.get(name, (name, 1))
            if longer is not None:
                terms[longer[0]] = terms.get(longer[0], 0) + factor
        return affine(index[0], terms)

    def place(self, node: Node, offset: Affine) -> str:
        """The address of an element of a kept node."""
        at = self.number(self._merge(offset))
        pointer = self.pointer(node)
        if at == "0":
            return pointer
        return self.let(f"getelementptr inbounds {stored(node.dtype)}, ptr {pointer}, i64 {at}", "a")

    def load(self, node: Node, offset: Affine) -> str:
        kind = stored(node.dtype)
        found = self.let(f"load {kind}, ptr {self.place(node, offset)}, align {node.dtype.itemsize}")
        return found if node.dtype.kind != "b" else self.let(f"trunc i8 {found} to i1")

    def store(self, node: Node, offset: Affine, value: str) -> None:
        self.written.add(self.aliases.get(node, node))
        place = self.place(node, offset)
        if node.dtype.kind == "b":
            value = self.let(f"zext i1 {value} to i8")
        self.put(f"  store {stored(node.dtype)} {value}, ptr {place}, align {node.dtype.itemsize}")

    # -- elements -----------------------------------------------------------------------------------------------

    def element(self, node: Node, index: Sequence[Affine], fresh: bool = False) -> str:
        """One element of a node. fresh: compute it, though the node is kept."""
        key = (node, tuple(index))
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._element(node, index, fresh)
        return found

    def _element(self, node: Node, index: Sequence[Affine], fresh: bool) -> str:
        if node.kind == "constant" and not node.shape:
            return literal(node.data, node.dtype)
        if not fresh:
            address = self.schedule.address(node)
            if address is not None:
                return self.load(address.base, combined(address.offset, list(zip(address.strides, index, strict=True))))
        if node.kind == "map":
            args = [self.element(a, index) for a in node.args]
            return apply(self, node.attrs[0], args, [a.dtype for a in node.args], node.dtype)
        if node.kind == "view":
            offsets, rows = node.attrs
            inner = [combined(o, list(zip(row, index, strict=True))) for o, row in zip(offsets, rows, strict=True)]
            return self.element(node.args[0], inner)
        if node.kind == "iota":
            position = index[node.attrs[0]]
            self.apart.update(name for name, _ in position[1])
            return apply(self, "cast", [self.number(position)], [INT64], node.dtype)
        if node.kind == "gather":
            return self._gathered(node, index)
        if node.kind == "reshape":
            return self._reshaped(node, index)
        raise AssertionError(f"{node!r} should have been kept")

    def _reshaped(self, node: Node, index: Sequence[Affine]) -> str:
        address = self.schedule.address(node.args[0])
        assert address is not None
        return self.load(address.base, combined(address.offset, list(zip(row_major(node.shape), index, strict=True))))

    def _gathered(self, node: Node, index: Sequence[Affine]) -> str:
        x, *arrays = node.args
        address = self.schedule.address(x)
        assert address is not None
        return self.load(address.base, self.gathered_offset(address, x.shape, arrays, node.attrs[0], index))

    def gathered_offset(
        self, address: Any, shape: Shape, arrays: Sequence[Node], plan: Sequence[Any], index: Sequence[Affine]
    ) -> Affine:
        """The offset of an element whose positions index arrays give; each is brought into its axis."""
        parts: list[tuple[int, Affine]] = []
        for entry, stride, length in zip(plan, address.strides, shape, strict=True):
            if entry[0] == "affine":
                parts.append((stride, combined(entry[1], list(zip(entry[2], index, strict=True)))))
                continue
            parts.append((stride, (0, ((self._position(arrays[entry[1]], index, length), 1),))))
        return combined(address.offset, parts)

    def _position(self, array: Node, index: Sequence[Affine], length: int) -> str:
        key = ("position", array, tuple(index), length)
        if key not in self._memo:
            raw = self.element(array, index)
            negative = self.let(f"icmp slt i64 {raw}, 0")
            turned = self.let(f"add i64 {raw}, {length}")
            at = self.let(f"select i1 {negative}, i64 {turned}, i64 {raw}")
            inside = self.let(f"icmp ult i64 {at}, {length}")
            self._memo[key] = self.let(f"select i1 {inside}, i64 {at}, i64 0")
        return self._memo[key]

    # -- the function -------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The kernel as a function of its pointers."""
        pointers = [
            f"ptr noalias {'' if node in self.written else 'readonly '}{pointer}"
            for node, pointer in self.pointers.items()
        ]
        return self.function(", ".join([*pointers, *self.extra]), self.attributes, self.name)


def counters(shape: Shape, stem: str = "%i") -> tuple[list[tuple[str, int]], list[Affine]]:
    """A counter for each axis longer than 1, and the index of each axis."""
    loops = [(f"{stem}{d}", n) for d, n in enumerate(shape) if n != 1]
    index = [affine(0, {f"{stem}{d}": 1} if n != 1 else {}) for d, n in enumerate(shape)]
    return loops, index


def merged(writer: Writer, loops: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Neighbouring loops as one long loop, where all accesses allow it; `writer` is told."""
    groups: list[list[tuple[str, int]]] = []
    for counter in loops:
        if groups:
            (last, _), (name, count) = groups[-1][-1], counter
            if (
                name not in writer.apart
                and last not in writer.apart
                and all(access.get(last, 0) == access.get(name, 0) * count for access in writer.accesses)
            ):
                groups[-1].append(counter)
                continue
        groups.append([counter])
    result = []
    for group in groups:
        name, total = group[-1][0], 1
        for here, count in group:
            total *= count
            writer.merged[here] = None if here != name else (name, 1)
        result.append((name, total))
    return result


def probe(schedule: Schedule, kernel: Kernel, aliases: dict[Node, Node], target: Target) -> Writer:
    """A kernel number by number, to see what it accesses. Of two kernels with equal probes one needs to be written."""
    writer = Writer(schedule, "NAME", target)
    writer.aliases, writer.plain = aliases, True
    _BODIES[kernel.kind](writer, kernel)(list)
    return writer


def write(seen: Writer, kernel: Kernel, cuts: bool = False) -> Writer:
    """A kernel of which the probe has been seen: with loops merged, and on vectors.

    cuts: if it can, the kernel computes a part only: of `turns` turns of its outermost loop, those from %lo to %hi.
    """
    writer = Writer(seen.schedule, seen.name, seen.target)
    writer.aliases = seen.aliases
    writer.accesses, writer.apart, writer.cuts = seen.accesses, seen.apart, cuts
    _BODIES[kernel.kind](writer, kernel)(lambda loops: merged(writer, loops))
    return writer


def check(schedule: Schedule, positions: Node, length: int, code: int, target: Target) -> Writer:
    """A function that writes `code` where its last pointer leads if one of the positions is outside of an axis."""
    w = Writer(schedule, "NAME", target)
    loops, index = counters(positions.shape)

    def outside() -> str:
        at = w.let(f"add i64 {w.element(positions, index)}, {length}")
        return w.let(f"icmp uge i64 {at}, {2 * length}")

    step = _Fold(w, outside, lambda now, bad: w.let(f"or i1 {now}, {bad}"), "false")
    found = _through(w, loops, "i1", "false", step)
    old = w.let("load i64, ptr %status")
    w.put(f"  store i64 {w.let(f'select i1 {found}, i64 {code}, i64 {old}')}, ptr %status")
    w.extra = ["ptr %status"]
    return w


Plan = Callable[[Callable[[Any], Any]], None]


def elements(w: Writer, kernel: Kernel, index: Sequence[Affine]) -> None:
    """One element of each node of an elementwise kernel."""
    values = [w.element(node, index, fresh=True) for node in kernel.nodes]
    offset = combined(0, list(zip(row_major(kernel.domain), index, strict=True)))
    for node, value in zip(kernel.nodes, values, strict=True):  # last, lest one is written over what is read
        w.store(node, offset, value)


def _elementwise(w: Writer, kernel: Kernel) -> Plan:
    def plan(arrange: Callable[[Any], Any]) -> None:
        loops, index = counters(kernel.domain)

        def body() -> None:
            elements(w, kernel, index)

        w.outer(arrange(loops), body)

    return plan


def _reduce(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    (x,) = node.args
    function, axes = node.attrs

    def plan(arrange: Callable[[Any], Any]) -> None:
        loops, index = counters(x.shape)
        names = {d: f"%i{d}" for d in range(len(x.shape))}
        kept = [(names[d], n) for d, n in enumerate(x.shape) if d not in axes and n != 1]
        taken = [(names[d], n) for d, n in enumerate(x.shape) if d in axes and n != 1]
        kept_index = [index[d] for d in range(len(x.shape)) if d not in axes]
        offset = combined(0, list(zip(row_major(node.shape), kept_index, strict=True)))
        last = loops[-1][0]
        if last in {name for name, _ in taken} or not kept:
            outer, inner = arrange(kept), arrange(taken)
            w.outer(outer, lambda: _folded(w, node, x, index, inner, offset))
            return
        # The last axis stays: rows are combined into a row of results, element by element.
        lead = [c for c in kept if int(c[0][2:]) < max(axes)]
        row = [c for c in kept if int(c[0][2:]) > max(axes)]
        lead, between, row = arrange(lead), arrange(taken), arrange(row)
        firsts = {name: 0 for name, _ in taken}

        def first(at: Any) -> Any:
            return affine(at[0], {name: c for name, c in at[1] if name not in firsts})

        def rows() -> None:
            w.loop(
                [(f"{name}a", n) for name, n in row],
                lambda: w.store(node, _renamed(offset, "a", row, w), _start(w, node, x, index)),
            )

            def add(places: Sequence[Sequence[Affine]], suffix: str = "") -> None:
                def here(at: Affine) -> Affine:
                    return _renamed(at, suffix, row, w) if suffix else at

                def body() -> None:
                    goal = here(offset)
                    total = w.load(node, goal)
                    for place in places:
                        total = _joined(w, function, total, w.element(x, [here(at) for at in place]), x)
                    w.store(node, goal, total)

                w.loop([(name + suffix, n) for name, n in row], body)

            if len(taken) != 1 or taken[0][0] not in w.merged:
                w.loop(between, lambda: add([index]))
                return
            (counter, count), axis = taken[0], next(d for d in axes if x.shape[d] != 1)
            several = _rows_together(w.schedule, x, count)

            def at(first: Affine) -> list[Affine]:
                return [first if d == axis else place for d, place in enumerate(index)]

            here = affine(0, {counter: several})
            w.loop(
                [(counter, count // several)] if count // several > 1 else [],
                lambda: add([at(combined(u, [(1, here)] if count // several > 1 else [])) for u in range(several)]),
            )
            if count % several:
                add([at(affine(u, {})) for u in range(count - count % several, count)], "b")

        w.outer(lead, rows)

    return plan


def _rows_together(schedule: Schedule, x: Node, count: int) -> int:
    """How many rows are combined into a row of results at a time, so that it is seldom loaded and stored."""
    cost, seen, stack = 0, {x}, [x]
    while stack:
        node = stack.pop()
        if node in schedule.kept or node.kind in LEAVES:
            cost += 1
            continue
        cost += COST.get(node.attrs[0], 1) if node.kind == "map" else 1
        stack += [arg for arg in node.args if arg not in seen]
        seen.update(node.args)
    most = max(1, min(8, 64 // cost, count))
    return max((n for n in range(most // 2 + 1, most + 1) if count % n == 0), default=most)


def _renamed(index: Affine, suffix: str, loops: Sequence[tuple[str, int]], w: Writer) -> Affine:
    """The same index in counters of other names, which are merged as those are."""
    names = {counter for counter, _ in loops}
    for counter, into in list(w.merged.items()):
        if into is None or into[0] in names:
            w.merged[counter + suffix] = None if into is None else (into[0] + suffix, into[1])
    own = names | {counter for counter, into in w.merged.items() if into is None}
    return index[0], tuple((n + suffix if n in own else n, c) for n, c in index[1])


def _start(w: Writer, node: Node, x: Node, index: Sequence[Affine]) -> str:
    """What a reduction begins with."""
    function = node.attrs[0]
    if function in IDENTITY:
        return literal(IDENTITY[function], x.dtype)
    if x.dtype.kind == "f":
        return literal(-np.inf if function == "maximum" else np.inf, x.dtype)
    if x.dtype.kind == "b":
        return literal(function != "maximum", x.dtype)
    limits = np.iinfo(x.dtype)
    return literal(limits.min if function == "maximum" else limits.max, x.dtype)


def _joined(w: Writer, function: str, total: str, term: str, x: Node, loose: bool = False) -> str:
    kind = register(x.dtype)
    if function == "or":
        return w.let(f"or {kind} {total}, {term}")
    if function == "and":
        return w.let(f"and {kind} {total}, {term}")
    if loose and x.dtype.kind == "f" and function in ("add", "multiply") and x.dtype.itemsize > 2:
        return w.let(f"{'fadd' if function == 'add' else 'fmul'} reassoc contract {kind} {total}, {term}")
    return apply(w, function, [total, term], [x.dtype, x.dtype], x.dtype)


def _folded(
    w: Writer, node: Node, x: Node, index: Sequence[Affine], inner: Sequence[tuple[str, int]], offset: Affine
) -> None:
    """A reduction in a register, through all loops."""
    function, nothing = node.attrs[0], _start(w, node, x, index)
    step = _Fold(
        w, lambda: w.element(x, index), lambda now, term: _joined(w, function, now, term, x, loose=True), nothing
    )
    w.store(node, offset, _through(w, inner, register(x.dtype), nothing, step))


@dataclass
class _Fold:
    """A step that may be taken in any order: what each turn computes by itself, and how it is taken up. nothing: what
    is taken up without a trace.
    """

    writer: Writer
    term: Callable[[], str]
    join: Callable[[str, str], str]
    nothing: str

    def __call__(self, now: str) -> str:
        self.name = self.term()
        self.mark = len(self.writer.lines)
        return self.join(now, self.name)

    def fold(self, kind: str, start: str, now: str, result: str) -> Fold:
        """What `inner` is told of the step that was just written."""
        return Fold(kind, start, self.nothing, now, self.name, result, len(self.writer.lines) - self.mark)


def _through(w: Writer, loops: Sequence[tuple[str, int]], kind: str, start: str, step: Callable[[str], str]) -> str:
    """A value carried through nested loops."""
    if not loops:
        return step(start)
    (counter, count), rest = loops[0], loops[1:]
    head, after = w.label("fold"), w.label("done")
    before, mark = w.block, len(w.lines)
    now, following = w.fresh("acc"), w.fresh("next")
    w.put(f"  br label %{head}")
    w.begin(head)
    at = len(w.lines)
    w.put("")
    w.put("")
    result = _through(w, rest, kind, now, step)
    if not rest and isinstance(step, _Fold):
        fold = step.fold(kind, start, now, result)
        found = w.on_vectors(mark, before, Turns(counter, count), w.lines[at + 2 :], fold)
        if found is not None:
            return found
    w.put(f"  {following} = add nuw nsw i64 {counter}, 1")
    w.lines[at] = f"  {counter} = phi i64 [0, %{before}], [{following}, %{w.block}]"
    w.lines[at + 1] = f"  {now} = phi {kind} [{start}, %{before}], [{result}, %{w.block}]"
    more = w.let(f"icmp ult i64 {following}, {count}")
    w.put(f"  br i1 {more}, label %{head}, label %{after}")
    w.begin(after)
    return result


def _pick(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    (x,) = node.args
    function, axis = node.attrs

    def plan(arrange: Callable[[Any], Any]) -> None:
        _, index = counters(x.shape)
        outer = [(f"%i{d}", n) for d, n in enumerate(x.shape) if d != axis and n != 1]
        kept = [index[d] for d in range(len(x.shape)) if d != axis]
        offset = combined(0, list(zip(row_major(node.shape), kept, strict=True)))
        kind = register(x.dtype)
        w.attributes = LATE  # each turn goes on from the one before, and several stand better in one

        def body() -> None:
            if x.shape[axis] == 1:
                w.store(node, offset, "0")
                return
            counter = f"%i{axis}"
            first = w.element(x, [affine(0, {}) if d == axis else at for d, at in enumerate(index)])
            head, after = w.label("fold"), w.label("done")
            before = w.block
            best, where, following = w.fresh("best"), w.fresh("where"), w.fresh("next")
            w.put(f"  br label %{head}")
            w.begin(head)
            at = len(w.lines)
            for _ in range(3):
                w.put("")
            value = w.element(x, index)
            if x.dtype.kind == "f":
                ahead = w.let(f"fcmp {'ogt' if function == 'maximum' else 'olt'} {kind} {value}, {best}")
                bad = w.let(f"fcmp uno {kind} {value}, {value}")
                fine = w.let(f"fcmp ord {kind} {best}, {best}")
                either = w.let(f"or i1 {ahead}, {bad}")
                wins = w.let(f"and i1 {either}, {fine}")
            else:
                sign = "s" if x.dtype.kind == "i" else "u"
                wins = w.let(f"icmp {sign}{'gt' if function == 'maximum' else 'lt'} {kind} {value}, {best}")
            new = w.let(f"select i1 {wins}, {kind} {value}, {kind} {best}")
            position = w.let(f"select i1 {wins}, i64 {counter}, i64 {where}")
            w.put(f"  {following} = add nuw nsw i64 {counter}, 1")
            w.lines[at] = f"  {counter} = phi i64 [1, %{before}], [{following}, %{head}]"
            w.lines[at + 1] = f"  {best} = phi {kind} [{first}, %{before}], [{new}, %{head}]"
            w.lines[at + 2] = f"  {where} = phi i64 [0, %{before}], [{position}, %{head}]"
            more = w.let(f"icmp ult i64 {following}, {x.shape[axis]}")
            w.put(f"  br i1 {more}, label %{head}, label %{after}")
            w.begin(after)
            w.store(node, offset, position)

        w.apart.update(f"%i{d}" for d in range(len(x.shape)))
        w.loop(outer, body)

    return plan


def _region(w: Writer, x: Node, node: Node, before: Sequence[int], stem: str, arrange: Callable[[Any], Any]) -> None:
    """Loops that write an array into a part of a larger one."""
    loops, index = counters(x.shape, stem)
    offset = combined(
        sum(b * s for b, s in zip(before, row_major(node.shape), strict=True)),
        list(zip(row_major(node.shape), index, strict=True)),
    )
    if x.size:
        w.loop(arrange(loops), lambda: w.store(node, offset, w.element(x, index)))


def _concat(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    (axis,) = node.attrs

    def plan(arrange: Callable[[Any], Any]) -> None:
        start = 0
        for k, x in enumerate(node.args):
            before = [start if d == axis else 0 for d in range(len(node.shape))]
            _region(w, x, node, before, f"%x{k}_", arrange)
            start += x.shape[axis]

    return plan


def _pad(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    x, fill = node.args

    def plan(arrange: Callable[[Any], Any]) -> None:
        loops, index = counters(node.shape, "%f")
        offset = combined(0, list(zip(row_major(node.shape), index, strict=True)))
        w.loop(arrange(loops), lambda: w.store(node, offset, w.element(fill, [])))
        _region(w, x, node, node.attrs[0], "%x", arrange)

    return plan


def _scatter(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    base, updates, *arrays = node.args
    plan_, function = node.attrs

    def plan(arrange: Callable[[Any], Any]) -> None:
        if w.aliases.get(node, node) is node:
            _region(w, base, node, [0] * len(node.shape), "%b", arrange)
        if not updates.size:
            return
        loops, index = counters(updates.shape, "%u")
        address = type("A", (), {"offset": 0, "strides": row_major(node.shape)})

        def body() -> None:
            offset = w.gathered_offset(address, node.shape, arrays, plan_, index)
            value = w.element(updates, index)
            if function == "add":
                value = _joined(w, "add", w.load(node, offset), value, node)
            w.store(node, offset, value)

        w.loop(loops if arrays else arrange(loops), body)
        if arrays:
            w.apart.update(name for name, _ in loops)

    return plan


def _running(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    function, axis, reverse, exclusive = node.attrs
    x = node.args[-1]

    def plan(arrange: Callable[[Any], Any]) -> None:
        _, index = counters(x.shape)
        outer = [(f"%i{d}", n) for d, n in enumerate(x.shape) if d != axis and n != 1]
        counter = "%step"
        length = x.shape[axis]
        w.apart.update([counter, *(name for name, _ in outer)])
        here = affine(length - 1, {counter: -1}) if reverse else affine(0, {counter: 1})
        index[axis] = here if length > 1 else affine(0, {})
        strides = row_major(node.shape)
        offset = combined(0, list(zip(strides, index, strict=True)))
        kind = register(x.dtype)
        w.attributes = LATE  # each turn goes on from the one before, and several stand better in one

        def body() -> None:
            start = literal(1 if function == "multiply" else 0, x.dtype)

            def step(now: str) -> str:
                value = w.element(x, index)
                if function == "recurrence":
                    scaled = apply(w, "multiply", [w.element(node.args[0], index), now], [x.dtype] * 2, x.dtype)
                    following = apply(w, "add", [scaled, value], [x.dtype] * 2, x.dtype)
                    if length > 1:  # the first is the term alone, whatever the factor
                        first = w.let(f"icmp eq i64 {counter}, 0")
                        following = w.let(f"select i1 {first}, {kind} {value}, {kind} {following}")
                    else:
                        following = value
                else:
                    following = apply(w, function, [now, value], [x.dtype] * 2, x.dtype)
                w.store(node, offset, now if exclusive else following)
                return following

            _through(w, [(counter, length)] if length > 1 else [], kind, start, step)

        w.loop(outer, body)

    return plan


_BODIES: dict[str, Callable[[Writer, Kernel], Plan]] = {
    "elementwise": _elementwise,
    "reduce": _reduce,
    "pick": _pick,
    "concat": _concat,
    "pad": _pad,
    "scatter": _scatter,
    "running": _running,
}
