"""Loops around a whole block: the function that takes a body's state from turn to turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backlit.compiler import straight
from backlit.compiler.ir import Body, Node
from backlit.compiler.memory import LINE
from backlit.compiler.module import Block, KernelNote, Module
from backlit.compiler.scalars import Code, stored
from backlit.compiler.schedule import topological
from backlit.compiler.straight import Straight, is_small

BlockOf = Callable[[Module, Sequence[Node], dict[int, Node], str], Block]


@dataclass
class Loop:
    """A function `@name(ptr %arena, ptr %status, i64 %count, …)`: pointers to what the body reads of constants and
    stacked arrays, then to the carried values (read and written), then to the stacked outputs, then to `own`.

    arena: its bytes. own: the leaves that stand for constant arrays of the body itself.
    """

    name: str
    arena: int
    own: list[Node]


def loop(module: Module, body: Body, reverse: bool, block_of: BlockOf) -> Loop:
    """The loop around a body. block_of: what writes a block into a module."""
    order = topological(body.outputs)
    if is_small(order) and body.carried and body.flag is None:
        return _in_registers(module, body, order, reverse)
    block = block_of(module, body.outputs, {k: body.inputs[k] for k in range(body.carried)}, "step")
    code = Code()
    own = [leaf for leaf in block.leaves if leaf.kind == "constant"]
    _head(code, body, reverse)
    place = {node: k for k, node in enumerate(body.inputs)}
    args = [
        f"%own{own.index(leaf)}" if leaf.kind == "constant" else _input(code, body, place[leaf])
        for leaf in block.leaves
    ]
    args += [_output(code, body, k) for k in range(len(body.outputs))]
    inner = code.let(f"getelementptr inbounds i8, ptr %arena, i64 {LINE}")
    code.put(f"  call void @{block.name}({', '.join(f'ptr {a}' for a in [inner, '%status', *args])})")
    _tail(code, body)
    return Loop(module.add(code.function(_parameters(body, len(own))), "loop"), LINE + block.arena, own)


def _parameters(body: Body, own: int) -> str:
    names = [f"%c{k}" for k in range(len(body.inputs) - int(body.counter))]
    names += [f"%y{k}" for k in range(len(body.outputs) - body.carried)]
    names += [f"%own{k}" for k in range(own)]
    return ", ".join(["ptr %arena", "ptr %status", "i64 %count", *(f"ptr {name}" for name in names)])


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


def _input(code: Code, body: Body, k: int) -> str:
    """Where an input of the body lies in this turn."""
    node = body.inputs[k]
    first_slice = len(body.inputs) - body.slices - int(body.counter)
    if k < first_slice:
        return f"%c{k}"
    if k < first_slice + body.slices:
        return _slice(code, node, f"%c{k}")
    code.put("  store i64 %back, ptr %arena")
    return "%arena"


def _output(code: Code, body: Body, k: int) -> str:
    """Where an output of the body goes in this turn."""
    return f"%c{k}" if k < body.carried else _slice(code, body.outputs[k], f"%y{k - body.carried}")


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
    given = [line.elements[node] for node in carried]
    for k, node in enumerate(body.inputs[body.carried : first_slice], body.carried):
        if node in used:
            line.load(node, f"%c{k}")
    changing = {*carried, *body.inputs[first_slice:]}
    for node in order:
        if not changing.isdisjoint(node.args):
            changing.add(node)
    line.compute(node for node in order if node not in changing and node.kind != "input")
    phis = [line.carry(node) for node in carried]
    starts = list(map(line.registers, carried, given))
    code.put("  br label %head\nhead:\n  %i = phi i64 [0, %start], [%after, %head]")
    at = len(code.lines)
    _count_back(code, reverse)
    for k in range(first_slice, first_slice + body.slices):
        if body.inputs[k] in used:
            line.load(body.inputs[k], _input(code, body, k))
    if body.counter:
        line.elements[body.inputs[-1]] = ["%back"]
    line.compute(order)
    for k in range(body.carried, len(body.outputs)):
        line.store(body.outputs[k], _output(code, body, k))
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
    text = straight.function(code, _parameters(body, 0))
    name = module.add(text, "loop")
    module.notes.append(KernelNote(name, "straight", list(order), text, "one straight line, state in registers", name))
    return Loop(name, LINE, [])
