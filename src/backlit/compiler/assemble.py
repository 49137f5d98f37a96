"""A whole program as LLVM text: blocks of kernel calls with one arena for what lives between them, and loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.compiler import loops, tape, team, vector_math
from backlit.compiler.gemm import Part, Product, emit, parallel
from backlit.compiler.ir import Body, Node
from backlit.compiler.memory import LINE, Arena
from backlit.compiler.scalars import COST, Code, register, stored
from backlit.compiler.schedule import LEAVES, Kernel, Schedule, topological
from backlit.compiler.straight import Straight, is_small
from backlit.compiler.target import Target
from backlit.core.errors import IndexingError
from backlit.core.value import describe

WIDE = 64  # a tape with more inputs and outputs than this copies them by a table


@dataclass
class KernelNote:
    """What `explain` tells of one kernel."""

    name: str
    kind: str
    nodes: list[Node]
    text: str
    note: str
    block: str


@dataclass
class Block:
    """A function `@name(ptr %arena, …)`: pointers to its leaves, then to its outputs."""

    name: str
    leaves: list[Node]
    arena: int


@dataclass
class Check:
    """Positions must lie inside of an axis of this length. node: the gather or scatter that they are for."""

    node: Node
    length: int


class Module:
    """Collects functions; equal kernels are one."""

    def __init__(self, target: Target, profile: bool = False, cuts: bool = False) -> None:
        self.target = target
        self.profile = profile
        self.cuts = cuts  # whether large kernels are cut into parts that threads share
        self.shares = False  # whether one was
        self.clocks: list[KernelNote] = []  # with `profile`, one for each place of the global array @clock
        self.functions: list[str] = []
        self.math: set[tuple[str, str]] = set()
        self.declares: set[str] = set()
        self.notes: list[KernelNote] = []
        self.checks: list[Check] = []
        self._kernels: dict[str, str] = {}
        self._count = 0

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def add(self, text: str, stem: str) -> str:
        """A function whose name is written @NAME; an equal one that is there serves for both."""
        found = self._kernels.get(text)
        if found is None:
            found = self._kernels[text] = self.name(stem)
            self.functions.append(text.replace("@NAME", f"@{found}"))
        return found

    def take(self, code: Code) -> None:
        self.math |= code.math
        self.declares |= code.declared

    # -- blocks -------------------------------------------------------------------------------------------------

    def block(self, outputs: Sequence[Node], over: dict[int, Node], stem: str = "block") -> Block:
        """over: for an output by its number, the input whose memory it takes over."""
        order = topological(outputs)
        if is_small(order):
            return self._straight_block(outputs, order, stem)
        if tape.fits(order, outputs):
            return self._tape_block(outputs, order, stem)
        schedule = Schedule(outputs, late=_late(order, [outputs[i] for i in over]))
        return _BlockWriter(self, schedule, list(outputs), over, stem).write()

    def _straight_block(self, outputs: Sequence[Node], order: Sequence[Node], stem: str) -> Block:
        code = Code()
        line = Straight(code)
        leaves = [n for n in order if n.kind == "input"]
        for k, leaf in enumerate(leaves):
            line.load(leaf, f"%in{k}")
        line.compute(order)
        for k, output in enumerate(outputs):
            line.store(output, f"%out{k}")
        self.take(code)
        text = code.function(_parameters(len(leaves), len(outputs), "noalias "))
        name = self.add(text, stem)
        self.notes.append(KernelNote(name, "straight", list(order), text, "one straight line of code", name))
        return Block(name, leaves, 0)

    def _tape(self, order: Sequence[Node], block: str) -> tuple[tape.Tape, str]:
        """The instructions for these nodes, and the name of the function that runs them."""
        made = tape.Tape(order)
        code = tape.interpreter(made)
        self.take(code)
        head = "ptr noalias %v, ptr noalias readonly %table, ptr noalias readonly %index, i64 %count"
        text = code.function(head)
        name = self.add(text, "tape")
        told = f"a tape of {len(made.table)} instructions for {made.slots} numbers"
        self.notes.append(KernelNote(name, "tape", list(order), text, told, block))
        return made, name

    def _tape_block(self, outputs: Sequence[Node], order: Sequence[Node], stem: str) -> Block:
        made, name = self._tape(order, stem)
        leaves = [n for n in order if n.kind == "input"]
        leaves += [_array(data) for data in (made.numbers, made.table, made.index)]
        around = tape.frame(made, leaves, outputs, name)
        text = around.function(_parameters(len(leaves), len(outputs)))
        return Block(self.add(text, stem), leaves, made.slots * tape.SLOT)

    # -- loops --------------------------------------------------------------------------------------------------

    def loop(self, body: Body, count: int | None, reverse: bool) -> tuple[str, int, list[Node]]:
        """A function `@name(ptr %arena, i64 %count, …)`: pointers to what the body reads of constants and stacked
        arrays, then to the carried values (read and written), then to the stacked outputs. Its name, the bytes of its
        arena, and the leaves that stand for constant arrays of the body itself.
        """
        order = topological(body.outputs)
        if is_small(order) and body.carried and body.flag is None:
            return self._register_loop(body, order, reverse)
        over = {k: body.inputs[k] for k in range(body.carried)}
        block = self.block(body.outputs, over, "step")
        code = Code()
        own = [leaf for leaf in block.leaves if leaf.kind == "constant"]
        pointers = _loop_pointers(body)
        self._head(code, body, reverse)
        place = {node: k for k, node in enumerate(body.inputs)}
        args = [
            f"%own{own.index(leaf)}" if leaf.kind == "constant" else self._input(code, body, place[leaf])
            for leaf in block.leaves
        ]
        args += [self._output(code, body, k) for k in range(len(body.outputs))]
        inner = self._arena_after(code, body)
        code.put(f"  call void @{block.name}({', '.join(f'ptr {a}' for a in [inner, '%status', *args])})")
        self._tail(code, body)
        parameters = ", ".join(["ptr %arena", "ptr %status", "i64 %count", *(f"ptr {p}" for p in pointers + _own(own))])
        return self.add(code.function(parameters), "loop"), LINE + block.arena, own

    def _head(self, code: Code, body: Body, reverse: bool) -> None:
        if body.flag is not None:
            code.put("  br label %test\ntest:\n  %i = phi i64 [0, %entry], [%after, %head]")
            code.put(f"  %flag = load i8, ptr %c{body.flag}\n  %go = icmp ne i8 %flag, 0")
            code.put("  br i1 %go, label %head, label %end\nhead:\n  %back = add i64 %i, 0")
            return
        code.put("  %any = icmp sgt i64 %count, 0\n  br i1 %any, label %head, label %end\nhead:")
        code.put("  %i = phi i64 [0, %entry], [%after, %head]")
        code.put("  %last = sub i64 %count, 1\n  %back = sub i64 %last, %i" if reverse else "  %back = add i64 %i, 0")

    def _tail(self, code: Code, body: Body) -> None:
        if body.flag is not None:
            code.put("  %after = add nuw nsw i64 %i, 1\n  br label %test\nend:")
            return
        code.put("  %after = add nuw nsw i64 %i, 1\n  %more = icmp slt i64 %after, %count")
        code.put("  br i1 %more, label %head, label %end\nend:")

    def _input(self, code: Code, body: Body, k: int) -> str:
        node = body.inputs[k]
        first_slice = len(body.inputs) - body.slices - int(body.counter)
        if k < first_slice:
            return f"%c{k}"
        if k < first_slice + body.slices:
            by = code.let(f"mul nsw i64 %back, {node.size}")
            return code.let(f"getelementptr inbounds {stored(node.dtype)}, ptr %c{k}, i64 {by}")
        code.put("  store i64 %back, ptr %arena")
        return "%arena"

    def _output(self, code: Code, body: Body, k: int) -> str:
        if k < body.carried:
            return f"%c{k}"
        node = body.outputs[k]
        by = code.let(f"mul nsw i64 %back, {node.size}")
        return code.let(f"getelementptr inbounds {stored(node.dtype)}, ptr %y{k - body.carried}, i64 {by}")

    def _arena_after(self, code: Code, body: Body) -> str:
        return code.let(f"getelementptr inbounds i8, ptr %arena, i64 {LINE}")

    def _register_loop(self, body: Body, order: Sequence[Node], reverse: bool) -> tuple[str, int, list[Node]]:
        """The whole state in registers from one turn to the next."""
        code = Code()
        line = Straight(code)
        before = Straight(code)
        carried = body.inputs[: body.carried]
        first_slice = len(body.inputs) - body.slices - int(body.counter)
        used = set(order)
        for k, node in enumerate(carried):
            before.load(node, f"%c{k}")
        for k, node in enumerate(body.inputs[body.carried : first_slice], body.carried):
            if node in used:
                line.load(node, f"%c{k}")
        code.put(
            "  br label %check\ncheck:\n  %any = icmp sgt i64 %count, 0\n  br i1 %any, label %head, label %end\nhead:"
        )
        code.put("  %i = phi i64 [0, %check], [%after, %head]")
        at = len(code.lines)
        phis: list[tuple[str, str, str]] = []
        for node in carried:
            names = [code.fresh("s") for _ in range(node.size)]
            line.elements[node] = names
            phis += [
                (name, register(node.dtype), start) for name, start in zip(names, before.elements[node], strict=True)
            ]
        code.put("  %last = sub i64 %count, 1\n  %back = sub i64 %last, %i" if reverse else "  %back = add i64 %i, 0")
        for k in range(first_slice, first_slice + body.slices):
            if body.inputs[k] in used:
                line.load(body.inputs[k], self._input(code, body, k))
        if body.counter:
            line.elements[body.inputs[-1]] = ["%back"]
        line.compute(order)
        for k in range(body.carried, len(body.outputs)):
            line.store(body.outputs[k], self._output(code, body, k))
        new = [name for k in range(body.carried) for name in line.elements[body.outputs[k]]]
        code.lines[at:at] = [
            f"  {name} = phi {kind} [{start}, %check], [{following}, %head]"
            for (name, kind, start), following in zip(phis, new, strict=True)
        ]
        self._tail(code, body)
        finals = Straight(code)
        n = 0
        ends = []
        for node in carried:
            names = []
            for _ in range(node.size):
                name, kind, start = phis[n]
                last = code.fresh("e")
                ends.append(f"  {last} = phi {kind} [{start}, %check], [{new[n]}, %head]")
                names.append(last)
                n += 1
            finals.elements[node] = names
        code.lines += ends
        for k, node in enumerate(carried):
            finals.store(node, f"%c{k}")
        self.take(code)
        parameters = ", ".join(["ptr %arena", "ptr %status", "i64 %count", *(f"ptr {p}" for p in _loop_pointers(body))])
        text = code.function(parameters)
        name = self.add(text, "loop")
        self.notes.append(
            KernelNote(name, "straight", list(order), text, "one straight line, state in registers", name)
        )
        return name, LINE, []

    # -- the whole ----------------------------------------------------------------------------------------------

    def finish(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> tuple[str, list[Node], int]:
        """The text of the module, the array constants that it reads, and the bytes of its arena.

        Its entry is `@main(ptr %table, i64 %count)`; the table holds the arena, pointers to inputs, to constants, and
        to outputs, and to an i64 that is 0 afterwards, or, if one of `checks` failed, its number, counted
        from 1.
        """
        order = topological(outputs) if len(inputs) + len(outputs) > WIDE else []
        if order and not is_small(order) and tape.fits(order, outputs):
            body, constants, arena = self._tape_main(inputs, outputs, order)
        else:
            body, constants, arena = self._main(inputs, outputs)
        if self.shares:
            shared, declared = team.definitions(self.target)
            self.functions.append(shared)
            self.declares.update(declared)
        main = f"define void @main(ptr %table, i64 %count) #0 {{\nentry:\n{body}\n  ret void\n}}\n"
        defined = vector_math.definitions(sorted(self.math))
        declares = sorted(self.declares | set(defined.declares))
        declares.append("declare void @llvm.memcpy.p0.p0.i64(ptr noalias, ptr noalias, i64, i1)")
        wide = ' "prefer-vector-width"="512"' if self.target.lanes_bytes == 64 else ""
        text = "\n".join(
            [
                *dict.fromkeys(declares),
                f"@clock = global [{len(self.clocks) + 1} x i64] zeroinitializer",
                defined.functions,
                *self.functions,
                main,
                *loops.metadata(),
                f"attributes #0 = {{ noinline nounwind{wide} }}",
            ]
        )
        return text, constants, max(arena, LINE)

    def _tape_main(
        self, inputs: Sequence[Node], outputs: Sequence[Node], order: Sequence[Node]
    ) -> tuple[str, list[Node], int]:
        """The body of `@main` for a tape with many inputs and outputs, which are copied by a table."""
        made, name = self._tape(order, "main")
        place = {node: 1 + k for k, node in enumerate(inputs)}
        first = 1 + len(inputs) + 4
        rows, runs = tape.copies(made, place, outputs, first)
        constants = [_array(data) for data in (made.numbers, made.table, made.index, rows)]
        code = tape.main(made, runs, name, [1 + len(inputs) + k for k in range(4)])
        return "\n".join(code.lines), constants, made.slots * tape.SLOT

    def _main(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> tuple[str, list[Node], int]:
        """The body of `@main`: a call of the one block, with the pointers from the table."""
        block = self.block(outputs, {}, "main_block")
        constants = [leaf for leaf in block.leaves if leaf.kind == "constant"]
        place = {node: 1 + k for k, node in enumerate(inputs)}
        place.update((node, 1 + len(inputs) + k) for k, node in enumerate(constants))
        last = 1 + len(inputs) + len(constants) + len(outputs)
        code = Code()

        def pointer(slot: int) -> str:
            at = code.let(f"getelementptr inbounds ptr, ptr %table, i64 {slot}")
            return code.let(f"load ptr, ptr {at}, align 8")

        args = [pointer(0), pointer(last), *(pointer(place[leaf]) for leaf in block.leaves)]
        args += [pointer(1 + len(inputs) + len(constants) + k) for k in range(len(outputs))]
        before = code.let(f"getelementptr inbounds i8, ptr {args[0]}, i64 -{LINE}")
        code.put(f"  store i64 %count, ptr {before}, align 8")
        code.put(f"  call void @{block.name}({', '.join(f'ptr {a}' for a in args)})")
        return "\n".join(code.lines), constants, block.arena


def _array(data: Any) -> Node:
    """A node for an array that only the machine code reads."""
    node = Node("constant", (), ("array",), data.shape, data.dtype)
    node.data = data
    return node


@lru_cache(maxsize=512)
def _kernel_of(product: Product, target: Target) -> Any:
    """The kernel of a product; nets have many that are alike, and `repeat` and `each` want the same ones again."""
    return emit(product, "NAME", target)


def clock(target: Target) -> tuple[str, str]:
    """A declaration, and the instruction that reads a clock of the CPU which every program may read."""
    if target.triple.startswith(("aarch64", "arm64")):
        return "", 'call i64 asm sideeffect "mrs $0, cntvct_el0", "=r"()'
    return "declare i64 @llvm.readcyclecounter()", "call i64 @llvm.readcyclecounter()"


def _parameters(inputs: int, outputs: int, promise: str = "") -> str:
    """Of a block: pointers to its leaves, then to its outputs. promise: what LLVM is told of each."""
    names = [f"%in{k}" for k in range(inputs)] + [f"%out{k}" for k in range(outputs)]
    return ", ".join(["ptr %arena", "ptr %status", *(f"ptr {promise}{name}" for name in names)])


def _loop_pointers(body: Body) -> list[str]:
    inputs = len(body.inputs) - int(body.counter)
    return [f"%c{k}" for k in range(inputs)] + [f"%y{k}" for k in range(len(body.outputs) - body.carried)]


def _own(own: Sequence[Node]) -> list[str]:
    return [f"%own{k}" for k in range(len(own))]


def _late(order: Sequence[Node], wanted: Sequence[Node]) -> set[Node]:
    """Of these nodes, those that nothing else needs: what overwrites a state runs when all have read it."""
    late = {node for node in wanted if node.kind not in LEAVES}
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for arg in node.args:
            users[arg].append(node)
    passes = set(late)  # nodes all of whose users are late, or are such nodes themselves
    for node in reversed(order):
        if node not in passes and users[node] and all(user in passes for user in users[node]):
            passes.add(node)
    return {node for node in late if all(user in passes for user in users[node])}


class _BlockWriter:
    """Writes one block: where everything lies, and the calls."""

    def __init__(
        self, module: Module, schedule: Schedule, outputs: list[Node], over: dict[int, Node], stem: str
    ) -> None:
        self.module, self.schedule, self.outputs, self.over, self.stem = module, schedule, outputs, over, stem
        self.code = Code()
        self.leaves = [n for n in schedule.order if n.kind == "input" or (n.kind == "constant" and n.shape and n.size)]
        self.pointers: dict[Node, str] = {leaf: f"%in{k}" for k, leaf in enumerate(self.leaves)}
        self.aliases: dict[Node, Node] = {}
        self.arena = Arena()
        self.copies: list[tuple[str, str, Node]] = []
        self.checked: set[tuple[Node, int]] = set()

    def write(self) -> Block:
        kernels = self.schedule.kernels
        self._place_outputs(kernels)
        last = self._last_uses(kernels)
        freed: dict[int, list[Node]] = {}
        for node, k in last.items():
            freed.setdefault(k, []).append(node)
        for k, kernel in enumerate(kernels):
            for node in kernel.nodes:
                self._give_place(node)
            self._check(kernel)
            self._emit(kernel)
            for node in [*freed.get(k, []), *(n for n in kernel.nodes if n not in last)]:
                self.arena.free(node)
        for source, destination, node in self.copies:
            self._copy(source, destination, node)
        text = self.code.function(_parameters(len(self.leaves), len(self.outputs)))
        name = self.module.add(text, self.stem)
        return Block(name, self.leaves, self.arena.size)

    def _place_outputs(self, kernels: Sequence[Kernel]) -> None:
        """Results go where they are wanted at once; a state is overwritten where nobody reads it any more."""
        for k, node in enumerate(self.outputs):
            target = f"%out{k}"
            old = self.over.get(k)
            if node is old:
                continue  # it stays
            if node.kind == "input" and any(old is node and self.outputs[j] is not old for j, old in self.over.items()):
                safe = self._address(self.arena.take(("before", k), node.size * node.dtype.itemsize))
                self._copy("", safe, node)  # something else is written where it stands
                self.copies.append((safe, target, node))
            elif node.kind in LEAVES or node in self.pointers or not node.size:
                self.copies.append(("", target, node))
            elif old is None:
                self.pointers[node] = target
            elif self._may_overwrite(node, old, kernels):
                if old in self.pointers:
                    self.aliases[node] = old
                self.pointers[node] = target
            else:
                self.copies.append(("", target, node))

    def _may_overwrite(self, new: Node, old: Node, kernels: Sequence[Kernel]) -> bool:
        if old not in self.pointers:
            return True  # nobody reads it
        at = next(k for k, kernel in enumerate(kernels) if new in kernel.nodes)
        kernel = kernels[at]
        if any(old in self._reads(later) for later in kernels[at + 1 :]):
            return False
        if kernel.kind == "elementwise":
            return all(
                old not in self.schedule.reads(node) or old in self.schedule._aligned(node) for node in kernel.nodes
            )
        if kernel.kind == "scatter":
            base, *rest = new.args
            return base is old and all(old not in _all_reads(self.schedule, x) for x in rest)
        return old not in self._reads(kernel) and kernel.kind != "loop"

    def _reads(self, kernel: Kernel) -> set[Node]:
        return {read for node in kernel.nodes for read in self.schedule.reads(node)}

    def _last_uses(self, kernels: Sequence[Kernel]) -> dict[Node, int]:
        last: dict[Node, int] = {}
        for k, kernel in enumerate(kernels):
            for node in kernel.nodes:
                for read in self.schedule.reads(node):
                    last[read] = k
                if node.kind == "part":
                    last[node.args[0]] = k
        for _, _, node in self.copies:
            last[node] = len(kernels)
        return last

    def _give_place(self, node: Node) -> None:
        if node in self.pointers or node.kind in ("loop", "part"):
            return
        self.pointers[node] = self._address(self.arena.take(node, node.size * node.dtype.itemsize))

    def _address(self, offset: int) -> str:
        return self.code.let(f"getelementptr inbounds i8, ptr %arena, i64 {offset}", "m") if offset else "%arena"

    def _check(self, kernel: Kernel) -> None:
        """Before a kernel gathers or scatters: whether the positions that it was given lie inside."""
        for node in self.schedule.inlined(kernel):
            if node.kind not in ("gather", "scatter"):
                continue
            (target, *arrays), skip = node.args, 1 if node.kind == "scatter" else 0
            for entry, length in zip(node.attrs[0], target.shape, strict=True):
                if entry[0] != "array":
                    continue
                positions = spread_from(arrays[skip + entry[1]])
                if (positions, length) in self.checked or not positions.size:
                    continue
                self.checked.add((positions, length))
                self.module.checks.append(Check(node, length))
                if positions.kind == "constant":
                    _check_now(positions, self.module.checks[-1])
                    continue
                writer = loops.check(self.schedule, positions, length, len(self.module.checks), self.module.target)
                self.module.take(writer)
                name = self.module.add(writer.text(), "check")
                args = [*(self.pointers[read] for read in writer.pointers), "%status"]
                self.code.put(f"  call void @{name}({', '.join(f'ptr {a}' for a in args)})")

    # -- calls --------------------------------------------------------------------------------------------------

    def _emit(self, kernel: Kernel) -> None:
        if not self.module.profile or kernel.kind in ("part", "loop"):
            self._emit_plain(kernel)
            return
        declared, call = clock(self.module.target)
        self.module.declares.add(declared)
        began = self.code.let(call)
        self._emit_plain(kernel)
        ended = self.code.let(call)
        place = self.code.let(f"getelementptr i64, ptr @clock, i64 {len(self.module.clocks)}")
        total = self.code.let(
            f"add i64 {self.code.let(f'load i64, ptr {place}')}, {self.code.let(f'sub i64 {ended}, {began}')}"
        )
        self.code.put(f"  store i64 {total}, ptr {place}")
        self.module.clocks.append(self.module.notes[-1])

    def _emit_plain(self, kernel: Kernel) -> None:
        if kernel.kind == "matmul":
            self._product(kernel.nodes[0])
        elif kernel.kind == "loop":
            self._loop(kernel.nodes[0])
        elif kernel.kind != "part":
            target = self.module.target
            cuts = self.module.cuts and kernel.kind in ("elementwise", "reduce") and self._cycles(kernel) >= team.LARGE
            writer = loops.write(self.schedule, kernel, "NAME", self.aliases, target, cuts)
            self.module.take(writer)
            text = writer.text()
            name = self.module.add(text, "k")
            pointers = [self.pointers[node] for node in writer.pointers]
            if writer.turns:
                self._share_turns(name, pointers, writer.turns)
            else:
                self.code.put(f"  call void @{name}({', '.join(f'ptr {x}' for x in pointers)})")
            self.module.notes.append(KernelNote(name, kernel.kind, kernel.nodes, text, "", self.stem))

    def _cycles(self, kernel: Kernel) -> float:
        """About how long a kernel takes."""
        inlined = self.schedule.inlined(kernel)
        size = max([math.prod(kernel.domain), *(arg.size for node in kernel.nodes for arg in node.args)])
        cost = sum(COST.get(n.attrs[0], 1) if n.kind == "map" else 1 for n in inlined if n.size * 2 > size)
        widest = max(node.dtype.itemsize for node in kernel.nodes)
        return cost * size * widest / self.module.target.lanes_bytes

    # -- parts that threads share -------------------------------------------------------------------------------

    def _share(self, job: str, pointers: Sequence[str], parts: int) -> None:
        """Compute all parts of a job: `@job(ptr %args, i64 %part, i64 %who)`, %args leading to the pointers."""
        self.module.shares = True
        args = self._address(self.arena.take(pointers, 8 * len(pointers)))
        for k, pointer in enumerate(pointers):
            at = self.code.let(f"getelementptr inbounds ptr, ptr {args}, i64 {k}", "g")
            self.code.put(f"  store ptr {pointer}, ptr {at}, align 8")
        self.code.put(f"  call void @bl_team(ptr %status, ptr @{job}, ptr {args}, i64 {parts})")
        self.arena.free(pointers)

    def _job(self, pointers: int, write: Callable[[Code, list[str]], None]) -> str:
        """A job that loads its pointers and goes on as `write` says."""
        code = Code()
        names = []
        for k in range(pointers):
            at = code.let(f"getelementptr inbounds ptr, ptr %args, i64 {k}")
            names.append(code.let(f"load ptr, ptr {at}, align 8"))
        write(code, names)
        return self.module.add(code.function("ptr %args, i64 %part, i64 %who"), "job")

    def _share_turns(self, name: str, pointers: Sequence[str], turns: int) -> None:
        """A kernel whose outermost loop is cut."""
        step = -(-turns // team.PARTS)
        if turns > 64 * team.PARTS:  # perhaps the only loop, of numbers side by side
            step = -(-step // 64) * 64
        parts = -(-turns // step)

        def write(code: Code, names: list[str]) -> None:
            low, high = _bounds(code, step, turns)
            given = ", ".join([*(f"ptr {x}" for x in names), f"i64 {low}", f"i64 {high}"])
            code.put(f"  call void @{name}({given})")

        self._share(self._job(len(pointers), write), pointers, parts)

    def _product(self, node: Node) -> None:
        a, b = (self.schedule.address(arg) for arg in node.args)
        assert a is not None
        assert b is not None
        m, k = node.args[0].shape[-2:]
        n = node.shape[-1]

        def layout(address: tuple[int, ...], rows: int, columns: int) -> tuple[bool, int]:
            r, c = address[-2:]
            if (c == 1 or columns == 1) and (r >= columns or rows == 1):
                return False, max(r, columns) if rows > 1 else columns
            return True, max(c, rows) if columns > 1 else rows

        ta, lda = layout(a.strides, m, k)
        tb, ldb = layout(b.strides, k, n)
        product = Product(m, n, k, register(node.dtype), ta, tb, lda, ldb)
        lead = node.shape[:-2]
        target = self.module.target
        cuts = self.module.cuts and product.flops * math.prod(lead) / (4 * target.lanes(product.dtype)) >= team.LARGE
        parts = _cut(product) if cuts and math.prod(lead) == 1 else []
        parts = parts if len(parts) > 1 else []
        kernels = [self._product_kernel(part.product) for part in parts] or [self._product_kernel(product)]
        text, name = kernels[0]
        told = f"{text.note}, in {len(parts)} parts" if parts else text.note
        self.module.notes.append(KernelNote(name, "matmul", [node], text.text, told, self.stem))
        room = -(-max(max(t.workspace_bytes for t, _ in kernels), LINE) // LINE) * LINE
        workspace = self._address(self.arena.take(text, room * (team.MOST if cuts else 1)))
        kind = stored(node.dtype)
        bases = [
            (self.pointers[a.base], a.offset, a.strides[:-2]),
            (self.pointers[b.base], b.offset, b.strides[:-2]),
            (self.pointers[node], 0, [m * n * math.prod(lead[d + 1 :]) for d in range(len(lead))]),
        ]

        def at(pointer: str, offset: int) -> str:
            return (
                self.code.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {offset}", "g") if offset else pointer
            )

        if parts:
            args = [at(pointer, offset) for pointer, offset, _ in bases]
            self._share_product(parts, [name for _, name in kernels], [*args, workspace], kind, room)
        elif math.prod(lead) == 1:
            args = [at(pointer, offset) for pointer, offset, _ in bases]
            self.code.put(f"  call void @{name}({', '.join(f'ptr {x}' for x in [*args, workspace])})")
        else:
            self._many_products(name, bases, lead, kind, workspace, room if cuts else 0)
        self.arena.free(text)

    def _product_kernel(self, product: Product) -> tuple[Any, str]:
        text = _kernel_of(product, self.module.target)
        self.module.declares |= set(text.declares)
        return text, self.module.add(text.text, "product")

    def _share_product(
        self, parts: Sequence[Part], names: Sequence[str], pointers: Sequence[str], kind: str, room: int
    ) -> None:
        """A product whose parts are products."""

        def write(code: Code, given: list[str]) -> None:
            own = code.let(f"mul nuw nsw i64 %who, {room}")
            workspace = code.let(f"getelementptr inbounds i8, ptr {given[3]}, i64 {own}")
            cases = " ".join(f"i64 {k}, label %part{k}" for k in range(1, len(parts)))
            code.put(f"  switch i64 %part, label %part0 [ {cases} ]")
            for k, (part, name) in enumerate(zip(parts, names, strict=True)):
                code.put(f"part{k}:")
                args = []
                for pointer, offset in zip(given, (part.a_offset, part.b_offset, part.c_offset), strict=False):
                    place = f"getelementptr inbounds {kind}, ptr {pointer}, i64 {offset}"
                    args.append(code.let(place) if offset else pointer)
                code.put(f"  call void @{name}({', '.join(f'ptr {x}' for x in [*args, workspace])})\n  br label %end")
            code.put("end:")

        self._share(self._job(4, write), pointers, len(parts))

    def _many_products(
        self,
        name: str,
        bases: Sequence[tuple[str, int, Sequence[int]]],
        lead: Sequence[int],
        kind: str,
        workspace: str,
        room: int,
    ) -> None:
        """The product for each of the leading indices, in a function of its own. room: if they are shared by threads,
        the bytes of a workspace.
        """
        code = Code()
        count = math.prod(lead)
        code.put("  br label %head\nhead:\n  %i = phi i64 [%lo, %entry], [%after, %head]")
        rest = "%i"
        places: list[str] = []
        for d in range(len(lead) - 1, -1, -1):
            if d:
                places.insert(0, code.let(f"urem i64 {rest}, {lead[d]}"))
                rest = code.let(f"udiv i64 {rest}, {lead[d]}")
            else:
                places.insert(0, rest)
        args = []
        for p, (_, offset, strides) in enumerate(bases):
            total = str(offset)
            for index, stride in zip(places, strides, strict=True):
                if stride:
                    total = code.let(f"add i64 {total}, {code.let(f'mul i64 {index}, {stride}')}")
            args.append(code.let(f"getelementptr inbounds {kind}, ptr %p{p}, i64 {total}"))
        code.put(f"  call void @{name}({', '.join(f'ptr {x}' for x in args)}, ptr %w)")
        code.put(
            "  %after = add i64 %i, 1\n  %more = icmp ult i64 %after, %hi\n  br i1 %more, label %head, label %end\nend:"
        )
        batch = self.module.add(code.function("ptr %p0, ptr %p1, ptr %p2, ptr %w, i64 %lo, i64 %hi"), "batch")
        pointers = [*(pointer for pointer, _, _ in bases), workspace]
        if not room:
            given = ", ".join(f"ptr {x}" for x in pointers)
            self.code.put(f"  call void @{batch}({given}, i64 0, i64 {count})")
            return
        step = -(-count // team.PARTS)
        parts = -(-count // step)

        def write(code: Code, given: list[str]) -> None:
            own = code.let(f"mul nuw nsw i64 %who, {room}")
            given[3] = code.let(f"getelementptr inbounds i8, ptr {given[3]}, i64 {own}")
            low, high = _bounds(code, step, count)
            code.put(f"  call void @{batch}({', '.join(f'ptr {x}' for x in given)}, i64 {low}, i64 {high})")

        self._share(self._job(4, write), pointers, parts)

    def _loop(self, node: Node) -> None:
        body: Body = node.data
        count, reverse = node.attrs[:2]
        for part in body.parts:
            if part not in self.pointers:
                self.pointers[part] = self._address(self.arena.take(part, part.size * part.dtype.itemsize))
        name, size, own = self.module.loop(body, count, reverse)
        for leaf in own:
            if leaf not in self.pointers:
                self.leaves.append(leaf)
                self.pointers[leaf] = f"%in{len(self.leaves) - 1}"
        arena = self._address(self.arena.take(body, size))
        self.arena.free(body)
        args = []
        for k, arg in enumerate(node.args):
            if k < body.carried:
                is_number = arg.kind == "constant" and not arg.shape
                self._copy("" if is_number else self._pointer_to(arg), self.pointers[body.parts[k]], arg)
                args.append(self.pointers[body.parts[k]])
            else:
                args.append(self._pointer_to(arg))
        args += [self.pointers[part] for part in body.parts[body.carried :]]
        args += [self.pointers[leaf] for leaf in own]
        if count is None:  # told by the caller, just before the arena
            before = self.code.let(f"getelementptr inbounds i8, ptr %arena, i64 -{LINE}")
            number: str = self.code.let(f"load i64, ptr {before}, align 8")
        else:
            number = str(count)
        self.code.put(
            f"  call void @{name}(ptr {arena}, ptr %status, i64 {number}, {', '.join(f'ptr {a}' for a in args)})"
        )
        for part in body.parts:
            if part not in self.schedule.kept:
                self.arena.free(part)

    def _pointer_to(self, node: Node) -> str:
        """Where an argument of a loop begins; it is contiguous."""
        address = self.schedule.address(node)
        assert address is not None, node
        pointer = self.pointers[address.base]
        if not address.offset:
            return pointer
        return self.code.let(f"getelementptr inbounds {stored(node.dtype)}, ptr {pointer}, i64 {address.offset}")

    def _copy(self, source: str, destination: str, node: Node) -> None:
        if not node.size:
            return
        if node.kind == "constant" and not node.shape:
            line = Straight(self.code)
            line.compute([node])
            line.store(node, destination)
            return
        source = source or self.pointers[node]
        size = node.size * node.dtype.itemsize
        self.code.put(f"  call void @llvm.memcpy.p0.p0.i64(ptr {destination}, ptr {source}, i64 {size}, i1 false)")


def _bounds(code: Code, step: int, count: int) -> tuple[str, str]:
    """From which turn to which a part goes; the last may be shorter."""
    low = code.let(f"mul nuw nsw i64 %part, {step}")
    high = code.let(f"add nuw nsw i64 {low}, {step}")
    if count % step:
        within = code.let(f"icmp ult i64 {high}, {count}")
        high = code.let(f"select i1 {within}, i64 {high}, i64 {count}")
    return low, high


def _cut(product: Product) -> list[Part]:
    """A product in parts that threads may take: wide enough that packing and the rest of a tile weigh little."""
    by_rows = product.m >= product.n
    grain = 96 if by_rows else 64
    length = product.m if by_rows else product.n
    return parallel(product, min(team.PARTS, max(1, length // grain)), grain)


def spread_from(node: Node) -> Node:
    """The node whose every element is spread here, and nothing else of it."""
    if node.kind != "view":
        return node
    inner = node.args[0]
    offsets, rows = node.attrs
    for d, (offset, row) in enumerate(zip(offsets, rows, strict=True)):
        used = [j for j, c in enumerate(row) if c]
        whole = used and len(used) == 1 and row[used[0]] == 1 and node.shape[used[0]] == inner.shape[d]
        if offset or not (whole or inner.shape[d] == 1):
            return node
    return inner


def _check_now(positions: Node, check: Check) -> None:
    """Raises IndexingError for positions that are known, and outside."""
    data = np.asarray(positions.data)
    if data.size and not (-check.length <= data.min() and data.max() < check.length):
        wrong = int(data.min() if data.min() < -check.length else data.max())
        raise outside(check, wrong)


def outside(check: Check, position: int | None = None) -> IndexingError:
    """The error for a position that is not inside of its axis."""
    origin = check.node.origins[0] if check.node.origins else None
    which = "a position" if position is None else f"position {position}"
    where = f": {describe(origin)}" if origin is not None else ""
    return IndexingError(
        f"getitem: {which} is outside of an axis of length {check.length} (positions go from {-check.length} to "
        f"{check.length - 1}){where}. Nothing was assigned."
    )


def _all_reads(schedule: Schedule, node: Node) -> set[Node]:
    if node in schedule.kept or node.kind in LEAVES:
        return {node}
    return set(schedule.reads(node))
