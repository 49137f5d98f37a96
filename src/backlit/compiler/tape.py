"""Huge graphs of single numbers as a tape: a table of instructions, run by one loop that does not grow with the graph.

Each instruction computes all nodes of one level that apply one function, from places that an index array gives; so
LLVM sees each function once, however many nodes there are. Levelised evaluation as in circuit simulation: a node's
level is one more than that of its last argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from backlit.compiler.ir import Node
from backlit.compiler.scalars import Code, apply, stored
from backlit.compiler.schedule import row_major

MANY = 3000
"""A graph of more scalar functions than this becomes a tape."""
SLOT = 8  # bytes for a number of any dtype


def fits(order: Sequence[Node], outputs: Sequence[Node]) -> bool:
    """Whether these nodes are many, and single numbers all, but for arrays whose elements go in."""
    if any(node.shape for node in outputs):
        return False
    count = 0
    for node in order:
        if node.kind == "map":
            count += 1
        if node.dtype.name == "float16" or not (node.kind == "input" or (_is_single(node) and not node.shape)):
            return False
    return count > MANY


def _is_single(node: Node) -> bool:
    if node.kind in ("view", "reshape"):
        return node.args[0].kind == "input"
    return node.kind == "map" or (node.kind == "constant" and not node.shape)


class Tape:
    """The instructions for some nodes. `slots`: how many numbers are kept; `table`: (n, 4) int64, the function, how
    many numbers, the first slot of the results, and where their index begins; `index`: the slots of arguments, int32.
    """

    def __init__(self, order: Sequence[Node]) -> None:
        self.slot: dict[Node, int] = {}
        self.constants: list[Node] = []
        self.loads: list[Node] = []
        self.functions: dict[Any, int] = {}
        rows: list[tuple[int, int, int, int]] = []
        index: list[int] = []
        for node in order:
            if node.kind == "constant":
                self.slot[node] = len(self.constants)
                self.constants.append(node)
        for node in order:
            if node.kind in ("view", "reshape") or (node.kind == "input" and not node.shape):
                self.slot[node] = len(self.constants) + len(self.loads)
                self.loads.append(node)
        self.slots = len(self.slot)
        for nodes in _levels(order):
            groups: dict[Any, list[Node]] = {}
            for node in nodes:
                groups.setdefault((node.attrs[0], tuple(a.dtype for a in node.args), node.dtype), []).append(node)
            for key, group in groups.items():
                function = self.functions.setdefault(key, len(self.functions))
                rows.append((function, len(group), self.slots, len(index)))
                for which in range(len(key[1])):
                    index.extend(self.slot[node.args[which]] for node in group)
                for node in group:
                    self.slot[node] = self.slots
                    self.slots += 1
        self.table = np.array(rows, np.int64).reshape(-1, 4)
        self.index = np.array(index, np.int32)
        self.numbers = np.zeros(max(len(self.constants), 1) * SLOT, np.uint8)
        for k, node in enumerate(self.constants):
            data = np.frombuffer(np.asarray(node.data).tobytes(), np.uint8)
            self.numbers[k * SLOT : k * SLOT + len(data)] = data


def _levels(order: Sequence[Node]) -> Iterable[list[Node]]:
    level: dict[Node, int] = {}
    levels: list[list[Node]] = []
    for node in order:
        if node.kind != "map":
            level[node] = -1
            continue
        own = level[node] = 1 + max(level[a] for a in node.args)
        if own == len(levels):
            levels.append([])
        levels[own].append(node)
    return levels


def offset_of(node: Node) -> tuple[Node, int]:
    """The input that a single number is read from, and where in it."""
    if node.kind == "input":
        return node, 0
    inner = node.args[0]
    if node.kind == "reshape":
        return inner, 0
    return inner, sum(o * s for o, s in zip(node.attrs[0], row_major(inner.shape), strict=True))


def interpreter(tape: Tape) -> Code:
    """The loop over the instructions: `@NAME(ptr %v, ptr %table, ptr %index, i64 %count)`, without its frame."""
    code = Code()
    put = code.put
    put("  br label %next\nnext:\n  %k = phi i64 [0, %entry], [%k1, %done]\n  %more = icmp ult i64 %k, %count")
    put("  br i1 %more, label %do, label %end\ndo:")
    put("  %row = getelementptr inbounds [4 x i64], ptr %table, i64 %k")
    for j, name in enumerate(("function", "n", "out", "at")):
        put(f"  %p{name} = getelementptr inbounds i64, ptr %row, i64 {j}\n  %{name} = load i64, ptr %p{name}, align 8")
    put("  %first = getelementptr inbounds i32, ptr %index, i64 %at")
    put(f"  %results = getelementptr inbounds [{SLOT} x i8], ptr %v, i64 %out")
    cases = " ".join(f"i64 {k}, label %f{k}" for k in range(len(tape.functions)))
    put(f"  switch i64 %function, label %done [ {cases} ]")
    for (function, dtypes, dtype), k in tape.functions.items():
        put(f"f{k}:\n  %i{k} = phi i64 [0, %do], [%j{k}, %f{k}]")
        args = []
        for which, kind in enumerate(dtypes):
            place = f"%i{k}" if not which else code.let(f"add i64 %i{k}, {_times(code, which)}")
            where = code.let(f"getelementptr inbounds i32, ptr %first, i64 {place}")
            slot = code.let(f"sext i32 {code.let(f'load i32, ptr {where}, align 4')} to i64")
            source = code.let(f"getelementptr inbounds [{SLOT} x i8], ptr %v, i64 {slot}")
            found = code.let(f"load {stored(kind)}, ptr {source}, align {kind.itemsize}")
            args.append(code.let(f"trunc i8 {found} to i1") if kind.kind == "b" else found)
        value = apply(code, function, args, list(dtypes), dtype)
        if dtype.kind == "b":
            value = code.let(f"zext i1 {value} to i8")
        target = code.let(f"getelementptr inbounds [{SLOT} x i8], ptr %results, i64 %i{k}")
        put(f"  store {stored(dtype)} {value}, ptr {target}, align {dtype.itemsize}")
        put(f"  %j{k} = add nuw nsw i64 %i{k}, 1\n  %c{k} = icmp ult i64 %j{k}, %n")
        put(f"  br i1 %c{k}, label %f{k}, label %done")
    put("done:\n  %k1 = add nuw nsw i64 %k, 1\n  br label %next\nend:")
    return code


def _times(code: Code, which: int) -> str:
    return "%n" if which == 1 else code.let(f"mul nuw nsw i64 %n, {which}")


def copies(tape: Tape, place: Mapping[Node, int], outputs: Sequence[Node], first: int) -> tuple[Any, Any]:
    """What goes in and what comes out, where the table of a program's pointers says.

    Rows of (slot of the table, element, slot of the tape), those of one size together; and for each size in bytes where
    its rows begin and end, once for what goes in and once for what comes out.
    """
    rows: list[tuple[int, int, int]] = []
    runs: list[tuple[bool, int, int, int]] = []
    for size in (8, 4, 2, 1):
        begin = len(rows)
        for node in tape.loads:
            if node.dtype.itemsize == size:
                base, offset = offset_of(node)
                rows.append((place[base], offset, tape.slot[node]))
        runs.append((True, size, begin, len(rows)))
    for size in (8, 4, 2, 1):
        begin = len(rows)
        rows += [(first + k, 0, tape.slot[node]) for k, node in enumerate(outputs) if node.dtype.itemsize == size]
        runs.append((False, size, begin, len(rows)))
    return np.array(rows, np.int64).reshape(-1, 3), [run for run in runs if run[2] < run[3]]


def main(tape: Tape, runs: Sequence[tuple[bool, int, int, int]], name: str, slots: Sequence[int]) -> Code:
    """The body of `@main` for a program that is one tape, for any number of inputs and outputs.

    slots: where the table holds the numbers, the instructions, the index and the rows of `copies`.
    """
    code = Code()

    def pointer(slot: int) -> str:
        at = code.let(f"getelementptr inbounds ptr, ptr %table, i64 {slot}")
        return code.let(f"load ptr, ptr {at}, align 8")

    arena = pointer(0)
    numbers, instructions, index, rows = (pointer(slot) for slot in slots)
    size = len(tape.constants) * SLOT
    if size:
        code.put(f"  call void @llvm.memcpy.p0.p0.i64(ptr {arena}, ptr {numbers}, i64 {size}, i1 false)")
    block = "entry"
    done = False
    for k, (inward, bytes_each, begin, end) in enumerate(runs):
        if not inward and not done:
            code.put(f"  call void @{name}(ptr {arena}, ptr {instructions}, ptr {index}, i64 {len(tape.table)})")
            done = True
        kind = f"i{8 * bytes_each}"
        code.put(f"  br label %copy{k}\ncopy{k}:\n  %r{k} = phi i64 [{begin}, %{block}], [%s{k}, %copy{k}]")
        at = code.let(f"getelementptr inbounds [3 x i64], ptr {rows}, i64 %r{k}")
        told = []
        for j in range(3):
            column = code.let(f"getelementptr inbounds i64, ptr {at}, i64 {j}")
            told.append(code.let(f"load i64, ptr {column}, align 8"))
        where = code.let(f"getelementptr inbounds ptr, ptr %table, i64 {told[0]}")
        outside = code.let(f"getelementptr inbounds {kind}, ptr {code.let(f'load ptr, ptr {where}')}, i64 {told[1]}")
        inside = code.let(f"getelementptr inbounds [{SLOT} x i8], ptr {arena}, i64 {told[2]}")
        source, target = (outside, inside) if inward else (inside, outside)
        value = code.let(f"load {kind}, ptr {source}, align {bytes_each}")
        code.put(f"  store {kind} {value}, ptr {target}, align {bytes_each}")
        code.put(f"  %s{k} = add nuw nsw i64 %r{k}, 1\n  %c{k} = icmp ult i64 %s{k}, {end}")
        code.put(f"  br i1 %c{k}, label %copy{k}, label %after{k}\nafter{k}:")
        block = f"after{k}"
    return code


def frame(tape: Tape, leaves: Sequence[Node], outputs: Sequence[Node], name: str) -> Code:
    """The body of a block around the interpreter `name`. Its leaves: inputs, then numbers, table and index."""
    code = Code()
    place = {leaf: f"%in{k}" for k, leaf in enumerate(leaves)}
    numbers, table, index = (f"%in{len(leaves) - 3 + k}" for k in range(3))
    size = len(tape.constants) * SLOT
    if size:
        code.put(f"  call void @llvm.memcpy.p0.p0.i64(ptr %arena, ptr {numbers}, i64 {size}, i1 false)")
    for node in tape.loads:
        base, offset = offset_of(node)
        kind = stored(node.dtype)
        source = code.let(f"getelementptr inbounds {kind}, ptr {place[base]}, i64 {offset}")
        value = code.let(f"load {kind}, ptr {source}, align {node.dtype.itemsize}")
        target = code.let(f"getelementptr inbounds [{SLOT} x i8], ptr %arena, i64 {tape.slot[node]}")
        code.put(f"  store {kind} {value}, ptr {target}, align {node.dtype.itemsize}")
    code.put(f"  call void @{name}(ptr %arena, ptr {table}, ptr {index}, i64 {len(tape.table)})")
    for k, node in enumerate(outputs):
        kind = stored(node.dtype)
        source = code.let(f"getelementptr inbounds [{SLOT} x i8], ptr %arena, i64 {tape.slot[node]}")
        value = code.let(f"load {kind}, ptr {source}, align {node.dtype.itemsize}")
        code.put(f"  store {kind} {value}, ptr %out{k}, align {node.dtype.itemsize}")
    return code
