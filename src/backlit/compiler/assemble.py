"""A whole program as LLVM text: its one block, and `@main`, which calls it."""

from __future__ import annotations

from collections.abc import Sequence

from backlit.compiler import frame, tape, team
from backlit.compiler.blocks import block, tape_runner
from backlit.compiler.ir import Node
from backlit.compiler.memory import LINE, in_lines
from backlit.compiler.module import Module, array, numbers, pointer_at
from backlit.compiler.scalars import LATE, Code
from backlit.compiler.schedule import topological
from backlit.compiler.straight import is_small
from backlit.compiler.vmath import halves

WIDE = 64  # a tape with more inputs and outputs than this copies them by a table


def finish(module: Module, inputs: Sequence[Node], outputs: Sequence[Node]) -> tuple[str, list[Node], int]:
    """The text of the module, the array constants that it reads, and the bytes of its arena.

    Its entry is `@main(ptr %table, i64 %count)`; the table holds the arena, pointers to inputs, to constants, and to
    outputs, and to an i64 that is 0 afterwards, or, if one of the module's `checks` failed, its number, counted from 1.
    """
    order = topological(outputs)
    is_wide = len(inputs) + len(outputs) > WIDE
    found = tape.of(order, outputs) if is_wide and not is_small(order) else None
    if found is not None:
        body, constants, arena = _tape_main(module, found, inputs, order)
    else:
        body, constants, arena = _main(module, order, inputs, outputs)
    if module.plays:
        module.functions.append(frame.definitions(module))
    if module.shares:
        shared, declared = team.definitions(module.target)
        module.functions.append(shared)
        module.declares.update(declared)
    if not module.target.converts and any(" half" in text for text in module.functions):
        module.functions.append(halves.CONVERSIONS)
        module.declares.update(halves.DECLARES)
    main = f"define void @main(ptr %table, i64 %count) {LATE} {{\nentry:\n{body}\n  ret void\n}}\n"
    return module.text([*module.functions, main], module.math), constants, max(arena, LINE)


def _tape_main(
    module: Module, made: tape.Tape, inputs: Sequence[Node], order: Sequence[Node]
) -> tuple[str, list[Node], int]:
    """The body of `@main` for a tape with many inputs and outputs, which are copied by a table."""
    name = tape_runner(module, made, order, "main")
    place = {node: 1 + k for k, node in enumerate(inputs)}
    rows, runs = tape.copies(made, place, 1 + len(inputs) + 3)
    constants = [*made.arrays, array(rows)]
    code = tape.main(made, runs, name, [1 + len(inputs) + k for k in range(3)])
    return "\n".join(code.lines), constants, made.slots * tape.SLOT


def _main(
    module: Module, order: Sequence[Node], inputs: Sequence[Node], outputs: Sequence[Node]
) -> tuple[str, list[Node], int]:
    """The body of `@main`: a call of the one block, with the pointers from the table."""
    whole = block(module, order, outputs, {}, "main_block")
    constants = [leaf for leaf in whole.leaves if leaf.kind == "constant"]
    place = {node: 1 + k for k, node in enumerate(inputs)}
    place.update((node, 1 + len(inputs) + k) for k, node in enumerate(constants))
    last = 1 + len(inputs) + len(constants) + len(outputs)
    slots = [last, *(place[leaf] for leaf in whole.leaves)]
    slots += [1 + len(inputs) + len(constants) + k for k in range(len(outputs))]
    room = in_lines(8 * (1 + len(slots)))
    code = Code()
    bases = pointer_at(code, 0)
    arena = code.let(f"getelementptr inbounds i8, ptr {bases}, i64 {room + LINE}")
    before = code.let(f"getelementptr inbounds i8, ptr {arena}, i64 -{LINE}")
    code.put(f"  store ptr {arena}, ptr {bases}, align 8\n  store i64 %count, ptr {before}, align 8")
    code.put(f"  call void @bl_give(ptr {bases}, ptr %table, i64 {len(slots)}, ptr @main.slots)")
    code.put(f"  call void @{whole.name}(ptr {bases}, i64 0, i64 0, i64 0)")
    module.functions += [frame.GIVE, f"@main.slots = internal constant {numbers('i32', slots)}\n"]
    return "\n".join(code.lines), constants, room + LINE + whole.arena
