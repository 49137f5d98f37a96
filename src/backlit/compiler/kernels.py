"""The kinds of kernels: what each does to the elements of its nodes, and in which loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backlit.compiler.folds import AnyOrder, joined, start, through
from backlit.compiler.ir import Node
from backlit.compiler.loops import Affine, Index, Probe, Writer, affine, combined, counters, merged
from backlit.compiler.scalars import COST, LATE, apply, beats, literal, register
from backlit.compiler.schedule import LEAVES, Kernel, Schedule, row_major
from backlit.compiler.target import Target

Plan = Callable[[Callable[[Any], Any]], None]


def elements(w: Writer, kernel: Kernel, index: Index) -> None:
    """One element of each node of an elementwise kernel."""
    values = [w.element(node, index, fresh=True) for node in kernel.nodes]
    offset = combined(0, row_major(kernel.domain), index)
    for node, value in zip(kernel.nodes, values, strict=True):  # last, lest one is written over what is read
        w.store(node, offset, value)


def _elementwise(w: Writer, kernel: Kernel) -> Plan:
    def plan(arrange: Callable[[Any], Any]) -> None:
        loops, index = counters(kernel.domain)

        def body() -> None:
            elements(w, kernel, index)

        w.outer(arrange(loops), body)

    return plan


def form(
    schedule: Schedule, kernel: Kernel, aliases: dict[Node, Node], measured: bool = False
) -> tuple[Any, list[Node]]:
    """What decides the code of a kernel, and the nodes that it speaks of, by number.

    Of two kernels of one form one needs to be written. measured: of a kernel that `is_along_one_axis`, and finds out
    itself how long that is.
    """
    nodes = list(kernel.nodes)
    number = {node: k for k, node in enumerate(nodes)}
    own = len(nodes)

    def number_of(node: Node) -> int:
        if node not in number:
            number[node] = len(nodes)
            nodes.append(node)
        return number[node]

    told: list[Any] = [kernel.kind, measured or kernel.domain, own]
    for k, node in enumerate(nodes):  # more come to stand behind it
        if k < own or not (node in schedule.kept or node.kind in LEAVES):
            attrs = () if measured and node.kind == "view" else node.attrs
            told += [node.kind, attrs, *map(number_of, node.args)]
        elif node.kind == "constant" and not node.shape:
            told.append(node.attrs)
        alias = aliases.get(node)
        told += [node.size == 1 if measured else node.shape, node.dtype, alias and number_of(alias)]
    return tuple(told), nodes


def is_along_one_axis(schedule: Schedule, kernel: Kernel) -> bool:
    """Whether a kernel is one loop, which goes through all that it reads and writes from end to end, but for single
    numbers.
    """

    def fits(node: Node) -> bool:
        return node.size == 1 or node.shape == kernel.domain

    def goes_along(node: Node) -> bool:
        return node.args[0].size == 1 if node.kind == "view" else node.kind in ("map", *LEAVES) and fits(node)

    return kernel.kind == "elementwise" and all(
        [*map(goes_along, schedule.inlined(kernel.nodes)), *map(fits, kernel.reads)]
    )


def probe(schedule: Schedule, kernel: Kernel, aliases: dict[Node, Node], target: Target) -> Probe:
    """What has seen what a kernel accesses."""
    seen = Probe(schedule, target)
    seen.aliases = aliases
    _BODIES[kernel.kind](seen, kernel)(list)
    return seen


def write(seen: Probe, kernel: Kernel, cuts: bool = False, measured: bool = False) -> Writer:
    """A kernel of which the probe has been seen: with loops merged, and on vectors.

    cuts: if it can, the kernel computes a part only: of `turns` turns of its outermost loop, those from %lo to %hi.
    measured: its last pointer leads to where its first node ends, and says how long its one loop is.
    """
    writer = Writer(seen.schedule, seen.target)
    if measured:
        writer.measured, writer.extra = kernel.nodes[0], ["%last"]
    writer.aliases = seen.aliases
    writer.accesses, writer.apart, writer.cuts = seen.accesses, seen.apart, cuts
    _BODIES[kernel.kind](writer, kernel)(lambda loops: merged(writer, loops))
    return writer


def check(schedule: Schedule, positions: Node, length: int, code: int, target: Target) -> Writer:
    """A function that writes `code` where its last pointer leads if one of the positions is outside of an axis."""
    w = Writer(schedule, target)
    loops, index = counters(positions.shape)

    def outside() -> str:
        at = w.let(f"add i64 {w.element(positions, index)}, {length}")
        return w.let(f"icmp uge i64 {at}, {2 * length}")

    step = AnyOrder(w, outside, lambda now, bad: w.let(f"or i1 {now}, {bad}"), "false", brief=True)
    found = through(w, loops, "i1", "false", step)
    old = w.let("load i64, ptr %status")
    w.put(f"  store i64 {w.let(f'select i1 {found}, i64 {code}, i64 {old}')}, ptr %status")
    w.extra = ["%status"]
    return w


def _reduce(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    (x,) = node.args
    function, axes = node.attrs

    def plan(arrange: Callable[[Any], Any]) -> None:
        loops, index = counters(x.shape)
        names = {d: f"%i{d}" for d in range(len(x.shape))}
        kept = [(names[d], n) for d, n in enumerate(x.shape) if d not in axes and n != 1]
        taken = [(names[d], n) for d, n in enumerate(x.shape) if d in axes and n != 1]
        kept_index = tuple([index[d] for d in range(len(x.shape)) if d not in axes])
        offset = combined(0, row_major(node.shape), kept_index)
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
        along = w.loop if lead else w.outer  # with nothing around the row, a part of the kernel is a part of the row

        def first(at: Any) -> Any:
            return affine(at[0], {name: c for name, c in at[1] if name not in firsts})

        def rows() -> None:
            along(
                [(f"{name}a", n) for name, n in row],
                lambda: w.store(node, _renamed(offset, "a", row, w), start(node.attrs[0], x)),
            )

            def add(places: Sequence[Index], suffix: str = "") -> None:
                def here(at: Affine) -> Affine:
                    return _renamed(at, suffix, row, w) if suffix else at

                def body() -> None:
                    goal = here(offset)
                    total = w.load(node, goal)
                    for place in places:
                        total = joined(w, function, total, w.element(x, tuple(map(here, place))), x)
                    w.store(node, goal, total)

                along([(name + suffix, n) for name, n in row], body)

            if len(taken) != 1 or taken[0][0] not in w.merged:
                w.loop(between, lambda: add([index]))
                return
            (counter, count), axis = taken[0], next(d for d in axes if x.shape[d] != 1)
            several = _rows_together(w.schedule, x, count)

            def at(first: Affine) -> Index:
                return (*index[:axis], first, *index[axis + 1 :])

            here = {counter: several} if count // several > 1 else {}
            w.loop(
                [(counter, count // several)] if here else [],
                lambda: add([at(affine(u, here)) for u in range(several)]),
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


def _folded(w: Writer, node: Node, x: Node, index: Index, inner: Sequence[tuple[str, int]], offset: Affine) -> None:
    """A reduction in a register, through all loops."""
    function, nothing = node.attrs[0], start(node.attrs[0], x)
    step = AnyOrder(
        w, lambda: w.element(x, index), lambda now, term: joined(w, function, now, term, x, loose=True), nothing
    )
    w.store(node, offset, through(w, inner, register(x.dtype), nothing, step))


def _pick(w: Writer, kernel: Kernel) -> Plan:
    (node,) = kernel.nodes
    (x,) = node.args
    function, axis = node.attrs

    def plan(arrange: Callable[[Any], Any]) -> None:
        _, index = counters(x.shape)
        outer = [(f"%i{d}", n) for d, n in enumerate(x.shape) if d != axis and n != 1]
        offset = combined(0, row_major(node.shape), (*index[:axis], *index[axis + 1 :]))
        kind = register(x.dtype)
        w.attributes = LATE  # each turn goes on from the one before, and several stand better in one

        def body() -> None:
            if x.shape[axis] == 1:
                w.store(node, offset, "0")
                return
            counter = f"%i{axis}"
            first = w.element(x, (*index[:axis], affine(0, {}), *index[axis + 1 :]))
            head, after = w.label("fold"), w.label("done")
            before = w.block
            best, where, following = w.fresh("best"), w.fresh("where"), w.fresh("next")
            w.put(f"  br label %{head}")
            w.begin(head)
            at = len(w.lines)
            for _ in range(3):
                w.put("")
            value = w.element(x, index)
            wins = beats(w, function, value, best, x.dtype)
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
    strides = row_major(node.shape)
    offset = combined(sum(b * s for b, s in zip(before, strides, strict=True)), strides, index)
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
        offset = combined(0, row_major(node.shape), index)
        w.loop(arrange(loops), lambda: w.store(node, offset, w.element(fill, ())))
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
                value = joined(w, "add", w.load(node, offset), value, node)
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
        index = (*index[:axis], here if length > 1 else affine(0, {}), *index[axis + 1 :])
        offset = combined(0, row_major(node.shape), index)
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

            through(w, [(counter, length)] if length > 1 else [], kind, start, step)

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
