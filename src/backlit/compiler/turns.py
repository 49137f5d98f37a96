"""Loops around a whole block: the function that takes a body's state from turn to turn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from backlit.compiler import straight
from backlit.compiler.ir import Body, Node
from backlit.compiler.memory import LINE, in_lines
from backlit.compiler.module import Block, KernelNote, Module, numbers
from backlit.compiler.scalars import CALLING, Code, given, stored
from backlit.compiler.schedule import topological
from backlit.compiler.straight import Straight, is_small

BlockOf = Callable[[Module, Sequence[Node], Sequence[Node], dict[int, Node], str, Collection[Node]], Block]


@dataclass
class Loop:
    """A function that a block calls. Its pointers lead to the arena, to the status, to where the count stands, to the
    carried values (read and written), to what the body reads of constants and stacked arrays, to the stacked outputs,
    and to `own`, the leaves that stand for constant arrays of the body itself; its number says how many turns, or -1:
    as many as stand there. arena: its bytes.
    """

    name: str
    arena: int
    own: list[Node]


def loop(module: Module, body: Body, reverse: bool, block_of: BlockOf) -> Loop:
    """The loop around a body. block_of: what writes a block into a module."""
    order = topological(body.outputs)
    if is_small(order) and body.carried and body.flag is None:
        return _in_registers(module, body, order, reverse)
    first = len(body.inputs) - body.slices - int(body.counter)
    slices = body.inputs[first : first + body.slices]
    block = block_of(module, order, body.outputs, {k: body.inputs[k] for k in range(body.carried)}, "step", slices)
    own = [leaf for leaf in block.leaves if leaf.kind == "constant"]
    handed, moving = _handed(body, block, own, slices)
    room = in_lines(8 * (1 + len(handed)))

    code = Code()
    bases = code.let(f"getelementptr inbounds i8, ptr %arena, i64 {LINE}")
    inner = code.let(f"getelementptr inbounds i8, ptr %arena, i64 {LINE + room}")
    code.put(f"  store ptr {inner}, ptr {bases}, align 8")
    code.put(f"  call void @bl_give(ptr {bases}, ptr %args, i64 {len(handed)}, ptr @NAME.slots)")
    _head(code, body, reverse)
    if body.counter:
        code.put("  store i64 %back, ptr %arena")
    for base, node in moving:
        at = code.let(f"getelementptr inbounds ptr, ptr %args, i64 {handed[base - 1]}")
        there = _slice(code, node, code.let(f"load ptr, ptr {at}, align 8"))
        goal = code.let(f"getelementptr inbounds ptr, ptr {bases}, i64 {base}")
        code.put(f"  store ptr {there}, ptr {goal}, align 8")
    code.put(f"  call void @{block.name}(ptr {bases}, i64 %i, i64 0, i64 0)")
    _tail(code, body)
    used = ["%arena", "%status", "%counted", *([] if body.flag is None else [f"%c{k}" for k in range(body.flag + 1)])]
    table = f"@NAME.slots = internal constant {numbers('i32', handed)}\n"
    text = table + code.work([*given(used), *_COUNT], CALLING)
    return Loop(module.add(text, "loop"), LINE + room + block.arena, own)


_COUNT = [
    "  %told = load i64, ptr %counted, align 8",
    "  %is.told = icmp slt i64 %which, 0",
    "  %count = select i1 %is.told, i64 %told, i64 %which",
]


def _handed(
    body: Body, block: Block, own: Sequence[Node], slices: Collection[Node]
) -> tuple[list[int], list[tuple[int, Node]]]:
    """Which of a loop's pointers its block is given, from the second on, which leads to the status; and which of the
    block's pointers lead elsewhere in each turn, each with what lies there.
    """
    place = {name: k for k, name in enumerate(_pointers(body, len(own)))}
    slots = {leaf: place[f"%own{k}"] for k, leaf in enumerate(own)}
    slots |= {node: place.get(f"%c{k}", 0) for k, node in enumerate(body.inputs)}  # the counter stands in the arena
    handed = [place["%status"], *(slots[leaf] for leaf in block.leaves)]
    moving = [(k, leaf) for k, leaf in enumerate(block.leaves, 2) if leaf in slices]
    handed += [slots[node] for node in body.inputs[: body.carried]]
    moving += list(enumerate(body.outputs[body.carried :], 1 + len(handed)))
    handed += [place[f"%y{k}"] for k in range(len(body.outputs) - body.carried)]
    return handed, moving


def _pointers(body: Body, own: int) -> list[str]:
    """Names for what a loop is given."""
    names = ["%arena", "%status", "%counted", *(f"%c{k}" for k in range(len(body.inputs) - int(body.counter)))]
    names += [f"%y{k}" for k in range(len(body.outputs) - body.carried)]
    return names + [f"%own{k}" for k in range(own)]


def _head(code: Code, body: Body, reverse: bool) -> None:
    if body.flag is not None:
        code.put("  br label %test\ntest:\n  %i = phi i64 [0, %entry], [%after, %head]")
        code.put(f"  %flag = load i8, ptr %c{body.flag}\n  %go = icmp ne i8 %flag, 0")
        code.put("  br i1 %go, label %head, label %end\nhead:\n  %back = add i64 %i, 0")
        return
    code.put("  %any = icmp sgt i64 %count, 0\n  br i1 %any, label %head, label %end\nhead:")
    code.put("  %i = phi i64 [0, %entry], [%after, %head]")
    _count_back(code, reverse)


def _count_back(code: Code, reverse: bool) -> None:
    """`%back`, the turn counted as the user counts."""
    code.put("  %last = sub i64 %count, 1\n  %back = sub i64 %last, %i" if reverse else "  %back = add i64 %i, 0")


def _tail(code: Code, body: Body) -> None:
    if body.flag is not None:
        code.put("  %after = add nuw nsw i64 %i, 1\n  br label %test\nend:")
        return
    code.put("  %after = add nuw nsw i64 %i, 1\n  %more = icmp slt i64 %after, %count")
    code.put("  br i1 %more, label %head, label %end\nend:")


def _slice(code: Code, node: Node, pointer: str) -> str:
    by = code.let(f"mul nsw i64 %back, {node.size}")
    return code.let(f"getelementptr inbounds {stored(node.dtype)}, ptr {pointer}, i64 {by}")


def _in_registers(module: Module, body: Body, order: Sequence[Node], reverse: bool) -> Loop:
    """The whole state in registers from one turn to the next."""
    code = Code()
    line = Straight(code, module.target)
    carried = body.inputs[: body.carried]
    first_slice = len(body.inputs) - body.slices - int(body.counter)
    used = set(order)
    code.put("  %any = icmp sgt i64 %count, 0\n  br i1 %any, label %start, label %done\nstart:")
    for k, node in enumerate(carried):
        line.load(node, f"%c{k}")
    before = [line.elements[node] for node in carried]
    for k, node in enumerate(body.inputs[body.carried : first_slice], body.carried):
        if node in used:
            line.load(node, f"%c{k}")
    changing = {*carried, *body.inputs[first_slice:]}
    for node in order:
        if not changing.isdisjoint(node.args):
            changing.add(node)
    line.compute(node for node in order if node not in changing and node.kind != "input")
    phis = [line.carry(node) for node in carried]
    starts = list(map(line.registers, carried, before))
    code.put("  br label %head\nhead:\n  %i = phi i64 [0, %start], [%after, %head]")
    at = len(code.lines)
    _count_back(code, reverse)
    for k in range(first_slice, first_slice + body.slices):
        if body.inputs[k] in used:
            line.load(body.inputs[k], _slice(code, body.inputs[k], f"%c{k}"))
    if body.counter:
        line.elements[body.inputs[-1]] = ["%back"]
    line.compute(order)
    for k in range(body.carried, len(body.outputs)):
        line.store(body.outputs[k], _slice(code, body.outputs[k], f"%y{k - body.carried}"))
    ends = list(map(line.registers, carried, map(line.elements.__getitem__, body.outputs)))
    code.lines[at:at] = [
        f"  {name} = phi {kind} [{start}, %start], [{end}, %head]"
        for each, before, after in zip(phis, starts, ends, strict=True)
        for (name, kind), start, end in zip(each, before, after, strict=True)
    ]
    _tail(code, body)
    for k, node in enumerate(body.outputs[: body.carried]):
        line.store(node, f"%c{k}")
    code.put("  br label %done\ndone:")
    module.take(code)
    text = straight.function(code, [*given(_pointers(body, 0)), *_COUNT])
    name = module.add(text, "loop")
    module.notes.append(KernelNote(name, "straight", list(order), text, "one straight line, state in registers", name))
    return Loop(name, LINE, [])
