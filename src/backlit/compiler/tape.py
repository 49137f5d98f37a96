"""Huge graphs of single numbers as a tape: a stream of instructions, run by one loop that does not grow with the graph.

Each instruction computes all rows of one level that apply one function, from places that the stream names; so LLVM sees
each function once, however many rows there are. Levelised evaluation as in circuit simulation: a row's level is one
more than that of its last argument. A place is used again when nobody needs its number any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backlit.compiler import rows as table
from backlit.compiler.ir import INT64, Dtype, Graph, Node
from backlit.compiler.module import array, pointer_at
from backlit.compiler.rows import Rows, Rule, Unfit
from backlit.compiler.scalars import Code, apply, stored
from backlit.core.op import Op
from backlit.core.value import Value

MANY = 3000
"""A graph of more scalar functions than this becomes a tape."""
SLOT = 8  # bytes for a number of any dtype


class Tape:
    """The instructions that compute some of the rows of a table.

    stream: int32; of each instruction the function, how many numbers n, n slots of each argument, n slots of results.
    slots: how many numbers are kept at a time. numbers: bytes of the constants, which stand in the first slots; loads:
    what is read from inputs, each with its slot; outputs: the slots of the rows wanted, and their dtypes. arrays: the
    nodes of `numbers` and `stream`.
    """

    def __init__(self, rows: Rows, outputs: Sequence[int]) -> None:
        alive = _needed(rows, outputs)
        leaves = [row for row in (*rows.constants, *rows.loads) if alive[row]]
        constants = [row for row in leaves if row in rows.constants]
        self.loads = [(rows.loads[row], slot) for slot, row in enumerate(leaves) if row in rows.loads]
        self.functions = list(rows.functions)
        order, begins = _grouped(rows, alive)
        slot, self.slots = _placed(rows, leaves, outputs, order, begins)
        self.instructions = len(begins) - 1
        self.stream = _stream(rows, slot, order, begins)
        dtypes = [dtype for _, _, dtype in self.functions]
        self.outputs = self._every = [(int(slot[row]), _dtype_of(rows, row, dtypes)) for row in outputs]
        self.numbers = np.zeros(max(len(constants), 1) * SLOT, np.uint8)
        self.constants = len(constants)
        for k, row in enumerate(constants):
            data = np.frombuffer(rows.constants[row].tobytes(), np.uint8)
            self.numbers[k * SLOT : k * SLOT + len(data)] = data
        self.arrays = [array(self.numbers), array(self.stream)]

    @property
    def inputs(self) -> list[Node]:
        """The inputs that are read, each once."""
        return list(dict.fromkeys(load.node for load, _ in self.loads))

    def told(self) -> tuple[Any, ...]:
        """All that decides the code that runs it, and can be hashed."""
        place = {node: k for k, node in enumerate(self.inputs)}
        return (
            tuple((name, tuple(d.str for d in dtypes), dtype.str) for name, dtypes, dtype in self.functions),
            tuple((place[load.node], load.offset, slot) for load, slot in self.loads),
            tuple((slot, dtype.str) for slot, dtype in self.outputs),
            (self.slots, self.constants),
        )

    def choose(self, which: Sequence[int]) -> None:
        """Let only these of the outputs come out."""
        self.outputs = [self._every[k] for k in which]


def _dtype_of(rows: Rows, row: int, dtypes: Sequence[Dtype]) -> Dtype:
    if row in rows.constants:
        return rows.constants[row].dtype  # type: ignore[no-any-return]
    return rows.loads[row].node.dtype if row in rows.loads else dtypes[rows.function[row]]


def _needed(rows: Rows, outputs: Sequence[int]) -> bytearray:
    """Which rows the outputs are computed from."""
    alive = bytearray(len(rows))
    for row in outputs:
        alive[row] = 1
    first, second, third = rows.args
    for row in range(len(rows) - 1, 0, -1):
        if alive[row]:
            alive[first[row]] = alive[second[row]] = alive[third[row]] = 1
    return alive


def _grouped(rows: Rows, alive: bytearray) -> tuple[Any, Any]:
    """The rows to be computed, those of one level and one function together, and where each group begins."""
    level = [-1] * len(rows)
    first, second, third = rows.args
    function = rows.function
    for row in range(1, len(rows)):
        if alive[row] and function[row] >= 0:
            level[row] = 1 + max(level[first[row]], level[second[row]], level[third[row]])
    key = np.array(level, np.int64)
    del level
    functions = np.frombuffer(function, np.int32)
    key = key * len(rows.functions) + functions
    computed = np.flatnonzero((np.frombuffer(alive, np.uint8) != 0) & (functions >= 0))
    order = computed[np.argsort(key[computed], kind="stable")]
    key = key[order]
    begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1], [True]]))
    return order, begins if len(order) else np.zeros(1, np.int64)


def _placed(rows: Rows, leaves: Sequence[int], outputs: Sequence[int], order: Any, begins: Any) -> tuple[Any, int]:
    """The slot of each row, and how many there are. Leaves and outputs keep theirs to the end."""
    count = len(begins) - 1
    group = np.repeat(np.arange(count, dtype=np.int32), np.diff(begins))
    last = np.full(len(rows), -1, np.int32)  # the group that needs a row last
    for column in rows.args:
        needed = np.frombuffer(column, np.int32)[order]
        last[needed] = np.maximum(last[needed], group)
    last[list(outputs)] = count
    slot = np.zeros(len(rows), np.int32)
    slot[list(leaves)] = np.arange(len(leaves), dtype=np.int32)
    dying = order[np.argsort(last[order], kind="stable")]
    deaths = np.searchsorted(last[dying], np.arange(count + 1)).tolist()
    places: Any = slot
    slots, births, dying = (memoryview(x) for x in (places, order, dying))
    free: list[int] = []
    top = len(leaves)
    begins = begins.tolist()
    for k in range(count):
        for j in range(begins[k], begins[k + 1]):
            if free:
                slots[births[j]] = free.pop()
            else:
                slots[births[j]] = top
                top += 1
        free.extend(slots[dying[j]] for j in range(deaths[k], deaths[k + 1]))
    return slot, top


def _stream(rows: Rows, slot: Any, order: Any, begins: Any) -> Any:
    """The instructions as numbers."""
    function = np.frombuffer(rows.function, np.int32)[order[begins[:-1]]]
    arities = np.array([len(dtypes) for _, dtypes, _ in rows.functions] or [0])
    count = np.diff(begins)
    arity = arities[function]
    ends = np.cumsum(2 + count * (arity + 1))
    starts = ends - (2 + count * (arity + 1))
    stream = np.zeros(ends[-1] if len(ends) else 0, np.int32)
    stream[starts] = function
    stream[starts + 1] = count
    stride = np.repeat(count, count)
    place = np.repeat(starts + 2 - begins[:-1], count) + np.arange(len(order))
    arity = np.repeat(arity, count)
    for which, column in enumerate(rows.args):
        has = arity > which
        stream[place[has]] = slot[np.frombuffer(column, np.int32)[order[has]]]
        place += np.where(has, stride, 0)
    stream[place] = slot[order]
    return stream


# -- which graphs -------------------------------------------------------------------------------------------------


def of(order: Sequence[Node], outputs: Sequence[Node]) -> Tape | None:
    """The tape for these nodes if they are single numbers and many, but for arrays whose elements go in; or None."""
    if outputs and outputs[0].kind == "part" and outputs[0].args[0].kind == "tape":
        made: Tape = outputs[0].args[0].data
        made.choose([node.attrs[0] for node in outputs])
        return made
    if any(node.shape for node in outputs) or sum(node.kind == "map" for node in order) <= MANY:
        return None
    try:
        rows, place = table.of_nodes(order)
    except Unfit:
        return None
    return Tape(rows, [place[node] for node in outputs])


def lowered(
    graph: Graph,
    order: Sequence[Value],
    outputs: Sequence[Value],
    known: Mapping[Value, Node],
    defined: Mapping[Value, Value],
    rule_of: Callable[[Op], Rule],
) -> list[Node] | None:
    """Nodes for the outputs of a trace that is a graph of single numbers and huge: the parts of one tape; or None.

    See `rows.of_values` for the arguments.
    """
    if len(order) <= table.MANY or any(x.shape for x in outputs):
        return None
    try:
        rows, wanted = table.of_values(graph, order, outputs, known, defined, rule_of)
    except Unfit:
        return None
    if len(rows) <= MANY:
        return None
    made = Tape(rows, wanted)
    arrays = [graph._make("constant", (), ("array",), x.shape, x.dtype, x.data) for x in made.arrays]
    made.arrays = arrays
    whole = graph._make("tape", (*made.inputs, *arrays), made.told(), (), INT64, made)
    return [graph._make("part", (whole,), (k,), (), dtype) for k, (_, dtype) in enumerate(made.outputs)]


# -- as code ------------------------------------------------------------------------------------------------------


def interpreter(tape: Tape) -> Code:
    """The loop over the instructions: `@NAME(ptr %v, ptr %code, ptr %end)`, without its frame."""
    code = Code()
    put = code.put
    dones = " ".join(f", [%p{k}, %done{k}]" for k in range(len(tape.functions)))
    put(f"  br label %next\nnext:\n  %p = phi ptr [%code, %entry]{dones}")
    put("  %more = icmp ult ptr %p, %end\n  br i1 %more, label %do, label %stop\ndo:")
    put("  %function = load i32, ptr %p, align 4\n  %at = getelementptr inbounds i32, ptr %p, i64 1")
    put("  %n32 = load i32, ptr %at, align 4\n  %n = zext i32 %n32 to i64")
    put("  %first = getelementptr inbounds i32, ptr %p, i64 2")
    cases = " ".join(f"i32 {k}, label %f{k}" for k in range(len(tape.functions)))
    put(f"  switch i32 %function, label %stop [ {cases} ]")
    for k, (function, dtypes, dtype) in enumerate(tape.functions):
        put(f"f{k}:\n  %i{k} = phi i64 [0, %do], [%j{k}, %f{k}]")
        args = []
        place = f"%i{k}"
        for kind in dtypes:
            source = _place(code, place)
            found = code.let(f"load {stored(kind)}, ptr {source}, align {kind.itemsize}")
            args.append(code.let(f"trunc i8 {found} to i1") if kind.kind == "b" else found)
            place = code.let(f"add nuw nsw i64 {place}, %n")
        value = apply(code, function, args, list(dtypes), dtype)
        if dtype.kind == "b":
            value = code.let(f"zext i1 {value} to i8")
        target = _place(code, place)
        put(f"  store {stored(dtype)} {value}, ptr {target}, align {dtype.itemsize}")
        put(f"  %j{k} = add nuw nsw i64 %i{k}, 1\n  %c{k} = icmp ult i64 %j{k}, %n")
        put(f"  br i1 %c{k}, label %f{k}, label %done{k}\ndone{k}:")
        size = code.let(f"mul nuw nsw i64 %n, {len(dtypes) + 1}")
        put(f"  %p{k} = getelementptr inbounds i32, ptr %first, i64 {size}\n  br label %next")
    put("stop:")
    return code


def _place(code: Code, at: str) -> str:
    """The slot that the stream names at a place."""
    where = code.let(f"getelementptr inbounds i32, ptr %first, i64 {at}")
    slot = code.let(f"sext i32 {code.let(f'load i32, ptr {where}, align 4')} to i64")
    return code.let(f"getelementptr inbounds [{SLOT} x i8], ptr %v, i64 {slot}")


def _constants(code: Code, tape: Tape, arena: str, numbers: str) -> None:
    size = tape.constants * SLOT
    if size:
        code.put(f"  call void @llvm.memcpy.p0.p0.i64(ptr {arena}, ptr {numbers}, i64 {size}, i1 false)")


def _call(code: Code, tape: Tape, name: str, arena: str, stream: str) -> None:
    end = code.let(f"getelementptr inbounds i32, ptr {stream}, i64 {len(tape.stream)}")
    code.put(f"  call void @{name}(ptr {arena}, ptr {stream}, ptr {end})")


def copies(tape: Tape, place: Mapping[Node, int], first: int) -> tuple[Any, Any]:
    """What goes in and what comes out, where the table of a program's pointers says.

    Rows of (slot of the table, element, slot of the tape), those of one size together; and for each size in bytes where
    its rows begin and end, once for what goes in and once for what comes out.
    """
    rows: list[tuple[int, int, int]] = []
    runs: list[tuple[bool, int, int, int]] = []
    for size in (8, 4, 2, 1):
        begin = len(rows)
        rows += [(place[x.node], x.offset, slot) for x, slot in tape.loads if x.node.dtype.itemsize == size]
        runs.append((True, size, begin, len(rows)))
    for size in (8, 4, 2, 1):
        begin = len(rows)
        rows += [(first + k, 0, slot) for k, (slot, dtype) in enumerate(tape.outputs) if dtype.itemsize == size]
        runs.append((False, size, begin, len(rows)))
    return np.array(rows, np.int64).reshape(-1, 3), [run for run in runs if run[2] < run[3]]


def main(tape: Tape, runs: Sequence[tuple[bool, int, int, int]], name: str, slots: Sequence[int]) -> Code:
    """The body of `@main` for a program that is one tape, for any number of inputs and outputs.

    slots: where the table holds the numbers, the stream and the rows of `copies`.
    """
    code = Code()
    arena = pointer_at(code, 0)
    numbers, stream, rows = (pointer_at(code, slot) for slot in slots)
    _constants(code, tape, arena, numbers)
    block = "entry"
    done = False
    for k, (inward, bytes_each, begin, end) in enumerate(runs):
        if not inward and not done:
            _call(code, tape, name, arena, stream)
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


def frame(tape: Tape, leaves: Sequence[Node], name: str) -> Code:
    """The body of a block around the interpreter `name`. Its leaves: inputs, then numbers and stream."""
    code = Code()
    place = {leaf: f"%in{k}" for k, leaf in enumerate(leaves)}
    numbers, stream = (f"%in{len(leaves) - 2 + k}" for k in range(2))
    _constants(code, tape, "%arena", numbers)
    for (node, offset), slot in tape.loads:
        kind = stored(node.dtype)
        source = code.let(f"getelementptr inbounds {kind}, ptr {place[node]}, i64 {offset}")
        value = code.let(f"load {kind}, ptr {source}, align {node.dtype.itemsize}")
        target = code.let(f"getelementptr inbounds [{SLOT} x i8], ptr %arena, i64 {slot}")
        code.put(f"  store {kind} {value}, ptr {target}, align {node.dtype.itemsize}")
    _call(code, tape, name, "%arena", stream)
    for k, (slot, dtype) in enumerate(tape.outputs):
        kind = stored(dtype)
        source = code.let(f"getelementptr inbounds [{SLOT} x i8], ptr %arena, i64 {slot}")
        value = code.let(f"load {kind}, ptr {source}, align {dtype.itemsize}")
        code.put(f"  store {kind} {value}, ptr %out{k}, align {dtype.itemsize}")
    return code
