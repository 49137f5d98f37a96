"""One block: a sequence of kernel calls, with one arena for all that lives between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from backlit.compiler import kernels, products, straight, tape, team, turns
from backlit.compiler.followed import TileWriter, follower
from backlit.compiler.frame import ARENA, STATUS, Frame, Place, leaf, output
from backlit.compiler.gemm import Epilogue, columns_of, keeps_whole
from backlit.compiler.inner import TOGETHER
from backlit.compiler.ir import Body, Node
from backlit.compiler.memory import LINE
from backlit.compiler.module import Block, KernelNote, Module
from backlit.compiler.positions import Check, check_now, spread_from
from backlit.compiler.scalars import COST, Code, given
from backlit.compiler.schedule import LEAVES, Kernel, Schedule, work
from backlit.compiler.straight import Straight, is_small

NEAR = 1 << 16
"""Bytes of a product from which on its tiles are handed on, and of a state from which on it is overwritten as soon as
that can be: smaller ones are still near later."""

FAR = 8
"""About how many bytes come in a cycle from memory, or from the cache of another core."""
ACROSS = 16
"""Cycles that it takes to combine the lanes of one vector."""
RARE = 200
"""Where less than such a part of the work is done, little code is worth more than little time."""


_TOLD = "one straight line of code"


def block(
    module: Module,
    order: Sequence[Node],
    outputs: Sequence[Node],
    over: dict[int, Node],
    stem: str,
    slices: Collection[Node] = (),
) -> Block:
    """A function that computes the outputs, in each of its turns from the state that the turn before left.

    order: the nodes that the outputs need, each after its arguments. over: for an output by its number, the input whose
    memory it takes over. slices: inputs that lie elsewhere in each turn, as do outputs that take nothing over.
    """
    if is_small(order):
        return _straight(module, outputs, order, stem)
    found = tape.of(order, outputs)
    if found is not None:
        return _of_tape(module, found, order, stem)
    schedule = Schedule(order, outputs, [outputs[i] for i in over], straight.stages(order))
    return _Writer(Frame(module, schedule, stem), list(outputs), over, slices).write()


def _straight(module: Module, outputs: Sequence[Node], order: Sequence[Node], stem: str) -> Block:
    code = Code()
    line = Straight(code, module.target)
    leaves = [n for n in order if n.kind == "input"]
    for k, node in enumerate(leaves):
        line.load(node, f"%in{k}")
    line.compute(order)
    for k, node in enumerate(outputs):
        line.store(node, f"%out{k}")
    module.take(code)
    text = straight.function(code, given(_pointers(len(leaves), len(outputs))))
    name = module.add(text, stem)
    module.notes.append(KernelNote(name, "straight", list(order), text, _TOLD, name))
    return Block(name, leaves, 0)


def tape_runner(module: Module, made: tape.Tape, order: Sequence[Node], stem: str) -> str:
    """The name of the function that runs a tape. order: the nodes that it computes."""
    code = tape.interpreter(made)
    module.take(code)
    text = code.function("ptr noalias %v, ptr noalias readonly %code, ptr noalias readonly %end")
    name = module.add(text, "tape")
    told = f"a tape of {made.instructions} instructions for {made.slots} numbers"
    module.notes.append(KernelNote(name, "tape", list(order), text, told, stem))
    return name


def _of_tape(module: Module, made: tape.Tape, order: Sequence[Node], stem: str) -> Block:
    name = tape_runner(module, made, order, stem)
    leaves = [n for n in order if n.kind == "input"]
    leaves += made.arrays
    around = tape.frame(made, leaves, name)
    text = around.work(given(_pointers(len(leaves), len(made.outputs))))
    return Block(module.add(text, stem), leaves, made.slots * tape.SLOT)


def _pointers(inputs: int, outputs: int) -> list[str]:
    """Names for what a block is given."""
    return ["%arena", "%status", *(f"%in{k}" for k in range(inputs)), *(f"%out{k}" for k in range(outputs))]


class _Writer:
    """Writes one block: where everything lies, and the calls."""

    def __init__(self, frame: Frame, outputs: list[Node], over: dict[int, Node], slices: Collection[Node]) -> None:
        self.frame, self.schedule, self.outputs, self.over = frame, frame.schedule, outputs, over
        self.slices = slices
        order = frame.schedule.order
        self.leaves = [n for n in order if n.kind == "input" or (n.kind == "constant" and n.shape and n.size)]
        frame.pointers.update((node, leaf(k)) for k, node in enumerate(self.leaves))
        self.aliases: dict[Node, Node] = {}
        self.followers: dict[Node, tuple[Callable[[int], TileWriter], list[int]]] = {}
        self.copies: list[tuple[Place | None, Place, Node]] = []
        self.checked: set[tuple[Node, int]] = set()
        self.work = work(frame.schedule.order)
        self.measured: set[Node] = set()  # the first nodes of kernels that are told how long they are
        self.spread: set[Node] = set()  # what several threads wrote: most of it lies in the cache of another core

    def write(self) -> Block:
        frame = self.frame
        self._follow()
        self.schedule.hasten({self.outputs[k]: x for k, x in self.over.items() if x.size * x.dtype.itemsize >= NEAR})
        kernels = self.schedule.kernels
        reads = self._last_reads(kernels)
        self._place_outputs(kernels, reads)
        self._compare_lengths(kernels)
        last = self._last_uses(kernels, reads)
        freed: dict[int, list[Node]] = {}
        for node, k in last.items():
            freed.setdefault(k, []).append(node)
        for k, kernel in enumerate(kernels):
            for node in kernel.nodes:
                self._give_place(node)
            self._check(kernel)
            self._emit(kernel)
            for node in [*freed.get(k, []), *(n for n in kernel.nodes if n not in last)]:
                frame.arena.free(node)
        for source, destination, node in self.copies:
            self._copy(source, destination, node)
        turning = [leaf(k) for k, node in enumerate(self.leaves) if node in self.slices]
        turning += [output(k) for k in range(len(self.outputs)) if k not in self.over]
        text, arena = frame.written(len(self.leaves), len(self.outputs), turning)
        return Block(frame.module.add(text, frame.stem), self.leaves, arena)

    # -- products and the loops that follow them ----------------------------------------------------------------

    def _follow(self) -> None:
        """Let loops take over the tiles of a product that nothing else reads."""
        module, joined = self.frame.module, []
        for kernel, node in self.schedule.followed():
            if node.size * node.dtype.itemsize < NEAR:
                continue
            shapes = [part.product for part in products.parts_of(self.frame, products.product_of(self.schedule, node))]
            columns = [columns_of(shape, module.target) for shape in shapes]
            if not all(columns):
                continue
            self.schedule.release(node)
            write = follower(self.schedule, kernel, node, self.aliases, module.target)
            if write is None:
                self.schedule.keep(node)
                continue
            joined.append((kernel, node))
            self.followers[kernel.nodes[0]] = write, sorted({width for widths in columns for width in widths})
        self.schedule.join(joined)

    def _with_tiles(self, kernel: Kernel, node: Node) -> None:
        """A product whose tiles the loops of a kernel take over."""
        frame = self.frame
        write, widths = self.followers[kernel.nodes[0]]
        names = {}
        for width in widths:  # the widest last: that is the one to be told of
            writer = write(width)
            frame.module.take(writer)
            text = writer.text()
            names[width] = name = frame.module.add(text, "k")
        extra = [frame.pointers[read] for read in writer.pointers]
        alike = [k for k, read in enumerate(writer.pointers) if (read.size, read.dtype) == (node.size, node.dtype)]
        is_far = node.size * node.dtype.itemsize >= frame.module.target.l2_bytes // 4
        epilogue = Epilogue(tuple(names.items()), len(extra), tuple(alike) if is_far else ())
        parts = products.parts_of(frame, products.product_of(self.schedule, node))
        if len(parts) > 1:
            self.spread.update(kernel.nodes)
        whole = any(keeps_whole(part.product, frame.module.target) for part in parts)
        goal = frame.take(node, node.size * node.dtype.itemsize) if whole else ARENA  # then nothing is written there
        product, told = products.call_with(frame, node, goal, epilogue, extra)
        frame.arena.free(node)
        frame.module.notes.append(KernelNote(name, "tiles", kernel.nodes, text, told, frame.stem, (product,)))

    # -- where everything lies ----------------------------------------------------------------------------------

    def _place_outputs(self, kernels: Sequence[Kernel], reads: dict[Node, int]) -> None:
        """Results go where they are wanted at once; a state is overwritten where nobody reads it any more."""
        home = {node: (k, kernel) for k, kernel in enumerate(kernels) for node in kernel.nodes}
        for k, node in enumerate(self.outputs):
            target = output(k)
            old = self.over.get(k)
            if node is old:
                continue  # it stays
            if node.kind == "input" and any(old is node and self.outputs[j] is not old for j, old in self.over.items()):
                safe = self.frame.take(("before", k), node.size * node.dtype.itemsize)
                self._copy(None, safe, node)  # something else is written where it stands
                self.copies.append((safe, target, node))
            elif node.kind in LEAVES or node in self.frame.pointers or not node.size:
                self.copies.append((None, target, node))
            elif old is None:
                self.frame.pointers[node] = target
            elif self._may_overwrite(node, old, home, reads):
                if old in self.frame.pointers:
                    self.aliases[node] = old
                self.frame.pointers[node] = target
            else:
                self.copies.append((None, target, node))

    def _may_overwrite(
        self, new: Node, old: Node, home: Mapping[Node, tuple[int, Kernel]], reads: dict[Node, int]
    ) -> bool:
        if old not in self.frame.pointers:
            return True  # nobody reads it
        writer = new.args[0] if new.kind == "part" else new
        at, kernel = home[writer]
        if reads.get(old, at) > at:
            return False
        if new.kind == "part":  # a loop first copies its start to where it writes
            rest = [arg for k, arg in enumerate(writer.args) if k != new.attrs[0] or arg is not old]
            return all(old not in _all_reads(self.schedule, arg) for arg in rest)
        if kernel.kind == "elementwise":
            return all(self.schedule.reads(node).get(old, True) for node in kernel.nodes)
        if kernel.kind == "scatter":
            base, *rest = new.args
            return base is old and all(old not in _all_reads(self.schedule, x) for x in rest)
        return old not in self._reads(kernel)

    def _reads(self, kernel: Kernel) -> set[Node]:
        return {read for node in kernel.nodes for read in self.schedule.reads(node)}

    def _last_reads(self, kernels: Sequence[Kernel]) -> dict[Node, int]:
        """The number of the last kernel that reads a node."""
        nodes = ((k, node) for k, kernel in enumerate(kernels) for node in kernel.nodes)
        return {read: k for k, node in nodes for read in self.schedule.reads(node)}

    def _last_uses(self, kernels: Sequence[Kernel], reads: dict[Node, int]) -> dict[Node, int]:
        last = dict(reads)
        for k, kernel in enumerate(kernels):
            for node in kernel.nodes:
                if node.kind == "part":
                    last[node.args[0]] = k
        for _, _, node in self.copies:
            last[node] = len(kernels)
        return last

    def _give_place(self, node: Node) -> None:
        if node in self.frame.pointers or node.kind in ("loop", "part"):
            return
        self.frame.pointers[node] = self.frame.take(node, node.size * node.dtype.itemsize)

    def _check(self, kernel: Kernel) -> None:
        """Before a kernel gathers or scatters: whether the positions that it was given lie inside."""
        for node in self.schedule.inlined(kernel.nodes):
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
                self.frame.module.checks.append(Check(node, length))
                if positions.kind == "constant":
                    check_now(positions, self.frame.module.checks[-1])
                    continue
                writer = kernels.check(
                    self.schedule, positions, length, len(self.frame.module.checks), self.frame.module.target
                )
                self.frame.module.take(writer)
                name = self.frame.module.add(writer.text(), "check")
                self.frame.call(name, [*(self.frame.pointers[read] for read in writer.pointers), STATUS])

    # -- calls --------------------------------------------------------------------------------------------------

    def _emit(self, kernel: Kernel) -> None:
        module = self.frame.module
        is_timed = module.profile and kernel.kind not in ("part", "loop")
        self.frame.clock = len(module.clocks) if is_timed else -1
        self._call(kernel)
        self.frame.clock = -1
        if is_timed:
            module.clocks.append(module.notes[-1])

    def _call(self, kernel: Kernel) -> None:
        if kernel.product is not None:
            self._with_tiles(kernel, kernel.product)
        elif kernel.kind == "matmul":
            if products.call(self.frame, kernel.nodes[0]):
                self.spread.update(kernel.nodes)
        elif kernel.kind == "loop":
            self._loop(kernel.nodes[0])
        elif kernel.kind == "straight":
            self._line(kernel)
        elif kernel.kind != "part":
            self._loops(kernel)

    def _line(self, kernel: Kernel) -> None:
        """A kernel without loops."""
        frame, code = self.frame, Code()
        line = Straight(code, frame.module.target)
        reads = [node for node in kernel.reads if node.kind != "constant" and node not in kernel.nodes]
        inside = {arg for node in self.schedule.inlined(kernel.nodes) for arg in (node, *node.args)}
        for k, node in enumerate(reads):
            line.load(node, f"%in{k}")
        line.compute(sorted(inside.difference(reads), key=lambda node: node.index))
        for k, node in enumerate(kernel.nodes):
            line.store(node, f"%out{k}")
        frame.module.take(code)
        names = [*(f"%in{k}" for k in range(len(reads))), *(f"%out{k}" for k in range(len(kernel.nodes)))]
        text = straight.function(code, given(names))
        name = frame.module.add(text, "line")
        frame.call(name, [frame.pointers[node] for node in [*reads, *kernel.nodes]])
        note = KernelNote(name, "straight", sorted(inside, key=lambda node: node.index), text, _TOLD, frame.stem)
        frame.module.notes.append(note)

    def _loops(self, kernel: Kernel) -> None:
        frame, target = self.frame, self.frame.module.target
        cuts = frame.module.cuts and kernel.kind in ("elementwise", "reduce") and self._cycles(kernel) >= team.LARGE
        measured = not cuts and kernel.nodes[0] in self.measured
        form, nodes = kernels.form(self.schedule, kernel, self.aliases, measured)
        known, key = frame.module.writers, (form, cuts)
        if key not in known:
            probe = kernels.probe(self.schedule, kernel, self.aliases, target)
            writer = kernels.write(probe, kernel, cuts, measured)
            writer.is_rare = bool(writer.math) and work(self.schedule.inlined(kernel.nodes)) * RARE < self.work
            frame.module.take(writer)
            known[key] = writer, writer.text(), [nodes.index(node) for node in probe.pointers]
        writer, text, places = known[key]
        name = frame.module.add(text, "k")
        if writer.turns:
            self.spread.update(kernel.nodes)
        pointers = [frame.pointers[nodes[place]] for place in places]
        if measured:
            first = self.aliases.get(kernel.nodes[0], kernel.nodes[0])
            pointers.append(frame.pointers[first].moved(first.size * first.dtype.itemsize))
        frame.call(name, pointers, writer.parts)
        frame.module.notes.append(KernelNote(name, kernel.kind, kernel.nodes, text, "", frame.stem))

    def _compare_lengths(self, found: Sequence[Kernel]) -> None:
        """Find kernels that are one but for how long they are, and can be told: what updates parameters often is."""
        alike: dict[Any, list[Node]] = {}
        for kernel in found:
            is_update = kernel.product is None and any(node in self.aliases for node in kernel.nodes)
            if is_update and not kernel.nodes[0].size % TOGETHER and kernels.is_along_one_axis(self.schedule, kernel):
                form, _ = kernels.form(self.schedule, kernel, self.aliases, measured=True)
                alike.setdefault(form, []).append(kernel.nodes[0])
        for nodes in alike.values():
            if len({node.size for node in nodes}) > 1:
                self.measured.update(nodes)

    def _cycles(self, kernel: Kernel) -> float:
        """About how long a kernel takes one thread: what it computes, and what it waits for."""
        (node, *_), size, along = kernel.nodes, math.prod(kernel.domain), False
        if kernel.kind == "reduce":
            (x,) = node.args
            size, along = x.size, len(x.shape) - 1 in node.attrs[1]  # lanes of a vector are combined
        inlined = [node for node in self.schedule.inlined(kernel.nodes) if node.size * 2 > size]
        far = [x for x in kernel.reads if x in self.spread] + [x for x in inlined if x.kind == "gather"]
        moved = sum(min(x.size, size) * x.dtype.itemsize for x in far)
        vectors = size * max(node.dtype.itemsize for node in kernel.nodes) / self.frame.module.target.lanes_bytes
        return sum(map(_cost, inlined)) * vectors + moved / FAR + along * ACROSS * node.size

    def _loop(self, node: Node) -> None:
        body: Body = node.data
        count, reverse = node.attrs[:2]
        for part in body.parts:
            if part not in self.frame.pointers:
                self.frame.pointers[part] = self.frame.take(part, part.size * part.dtype.itemsize)
        made = turns.loop(self.frame.module, body, reverse, block)
        for constant in made.own:
            if constant not in self.frame.pointers:
                self.leaves.append(constant)
                self.frame.pointers[constant] = leaf(len(self.leaves) - 1)
        arena = self.frame.take(body, made.arena)
        self.frame.arena.free(body)
        args = [arena, STATUS, ARENA.moved(-LINE)]  # where the caller tells how often
        for k, arg in enumerate(node.args):
            if k < body.carried:
                is_number = arg.kind == "constant" and not arg.shape
                self._copy(None if is_number else self._place_of(arg), self.frame.pointers[body.parts[k]], arg)
                args.append(self.frame.pointers[body.parts[k]])
            else:
                args.append(self._place_of(arg))
        args += [self.frame.pointers[part] for part in body.parts[body.carried :]]
        args += [self.frame.pointers[constant] for constant in made.own]
        self.frame.call(made.name, args, which=-1 if count is None else count)
        for part in body.parts:
            if part not in self.schedule.kept:
                self.frame.arena.free(part)

    def _place_of(self, node: Node) -> Place:
        """Where an argument of a loop begins; it is contiguous. Of an empty one, anywhere: nothing is read there."""
        return self.frame.place_of(node) if node.size else ARENA

    def _copy(self, source: Place | None, destination: Place, node: Node) -> None:
        """From where it lies, or from another place."""
        if not node.size:
            return
        if node.kind == "constant" and not node.shape:
            code = Code()
            line = Straight(code, self.frame.module.target)
            line.compute([node])
            line.store(node, "%out")
            self.frame.call(self.frame.module.add(straight.function(code, given(["%out"])), "line"), [destination])
            return
        size = node.size * node.dtype.itemsize
        self.frame.call("bl_copy", [destination, source or self.frame.pointers[node]], which=size)


def _cost(node: Node) -> float:
    """About how many cycles a vector of a node takes."""
    return COST.get(node.attrs[0], 1) if node.kind == "map" else 1


def _all_reads(schedule: Schedule, node: Node) -> set[Node]:
    if node in schedule.kept or node.kind in LEAVES:
        return {node}
    return set(schedule.reads(node))
