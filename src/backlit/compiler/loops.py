"""Loops around single elements: each kernel as one LLVM function, whose inner loops `abreast` writes on vectors.

An index is an affine function of loop counters, so movement costs nothing: it only changes where a load looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from backlit.compiler import abreast, team
from backlit.compiler.inner import TOGETHER, Fold, Inner, NotVectors, Turns
from backlit.compiler.ir import INT64, Node
from backlit.compiler.scalars import AS_WRITTEN, MANY, ONCE, TWICE, Blocks, apply, bounds, given, literal, stored, until
from backlit.compiler.schedule import Schedule, row_major
from backlit.compiler.target import Target
from backlit.core.numbers import Shape

Affine = tuple[int, tuple[tuple[str, int], ...]]
"""A number plus multiples of counters."""
Index = tuple[Affine, ...]
"""A place in an array: one for each axis."""


def affine(offset: int, terms: dict[str, int]) -> Affine:
    return offset, tuple(sorted([term for term in terms.items() if term[1]]))


@lru_cache(maxsize=4096)
def combined(offset: int, factors: tuple[int, ...], index: Index) -> Affine:
    """offset + Σ factor · index."""
    terms: dict[str, int] = {}
    for factor, (constant, inner) in zip(factors, index, strict=True):
        if factor:
            offset += factor * constant
            for name, c in inner:
                terms[name] = terms.get(name, 0) + factor * c
    return affine(offset, terms)


class Writer(Blocks):
    """Writes one kernel. `memory(node)` is the pointer by which the kernel reaches a kept node."""

    def __init__(self, schedule: Schedule, target: Target) -> None:
        super().__init__()
        self.target = target
        self.schedule = schedule
        self.pointers: dict[Node, str] = {}  # in the order of the parameters
        self.written: set[Node] = set()
        self.aliases: dict[Node, Node] = {}  # a result that is written over what it replaces
        self._memo: dict[Any, str] = {}
        self.merged: dict[str, tuple[str, int] | None] = {}  # a counter as part of a longer one
        self.accesses: list[dict[str, int]] = []
        self.extra: list[str] = []  # pointers behind those
        self.apart: set[str] = set()  # counters used as numbers, which cannot be merged with others
        self.cuts = False  # whether threads may share the outermost loop, which then runs from %lo to %hi only
        self.turns, self.together = 0, 1  # if so: how many turns it has in all, and of how many a part is a multiple
        self.measured: Node | None = None  # given: the outermost loop runs up to %end, where this array ends
        self.is_rare = False  # whether next to no time is spent here
        self.attributes = AS_WRITTEN

    # -- blocks -------------------------------------------------------------------------------------------------

    def begin(self, label: str) -> None:
        super().begin(label)
        self._memo = {}

    def outer(self, counters: Sequence[tuple[str, int]], body: Callable[[], None]) -> None:
        """The loops around all that a kernel does, each turn of which may run beside the others."""
        if self.cuts and counters and counters[0][1] > 1:
            self.turns = counters[0][1]
            self.loop(counters, body, "%lo", "%hi")
        elif self.measured is not None:
            assert len(counters) == 1, counters
            self.loop(counters, body, "0", "%end")
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
        before_phis, behind = self.counter(counter, f"[{first}, %{before}], [{step}, %{self.block}]")
        self.lines[at : at + 1] = before_phis + behind
        more = self.let(f"icmp ult i64 {step}, {end or count}")
        self.put(f"  br i1 {more}, label %{head}, label %{after}")
        self.begin(after)

    def on_vectors(
        self, mark: int, before: str, turns: Turns, body: Sequence[str], fold: Fold | None = None
    ) -> str | None:
        """Write a loop again, on vectors, from `mark` on, in the block `before`: the name of what was folded; None, and
        nothing is changed, if its turns cannot be taken side by side.
        """
        written, now = self.lines[mark:], self.block
        try:
            inner = Inner(turns, body, fold)
            if turns.end:
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

    def merge(self, index: Affine) -> Affine:
        """An offset in terms of the counters that there are."""
        self.accesses.append(dict(index[1]))
        if not self.merged:
            return index
        terms: dict[str, int] = {}
        for name, factor in index[1]:
            longer = self.merged.get(name, (name, 1))
            if longer is not None:
                terms[longer[0]] = terms.get(longer[0], 0) + factor
        return affine(index[0], terms)

    def place(self, node: Node, offset: Affine) -> str:
        """The address of an element of a kept node."""
        at = self.number(self.merge(offset))
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

    def element(self, node: Node, index: Index, fresh: bool = False) -> str:
        """One element of a node. fresh: compute it, though the node is kept."""
        key = (node, index)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._element(node, index, fresh)
        return found

    def _element(self, node: Node, index: Index, fresh: bool) -> str:
        if node.kind == "constant" and not node.shape:
            return literal(node.data, node.dtype)
        if not fresh:
            address = self.schedule.address(node)
            if address is not None:
                return self.load(address.base, combined(address.offset, address.strides, index))
        if node.kind == "map":
            return self.mapped(node, [self.element(a, index) for a in node.args])
        if node.kind == "view":
            offsets, rows = node.attrs
            inner = tuple([combined(o, row, index) for o, row in zip(offsets, rows, strict=True)])
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

    def mapped(self, node: Node, args: Sequence[str]) -> str:
        return apply(self, node.attrs[0], args, [a.dtype for a in node.args], node.dtype)

    def _reshaped(self, node: Node, index: Index) -> str:
        address = self.schedule.address(node.args[0])
        assert address is not None
        return self.load(address.base, combined(address.offset, row_major(node.shape), index))

    def _gathered(self, node: Node, index: Index) -> str:
        x, *arrays = node.args
        address = self.schedule.address(x)
        assert address is not None
        return self.load(address.base, self.gathered_offset(address, x.shape, arrays, node.attrs[0], index))

    def gathered_offset(
        self, address: Any, shape: Shape, arrays: Sequence[Node], plan: Sequence[Any], index: Index
    ) -> Affine:
        """The offset of an element whose positions index arrays give; each is brought into its axis."""
        places: list[Affine] = []
        for entry, length in zip(plan, shape, strict=True):
            if entry[0] == "affine":
                places.append(combined(entry[1], entry[2], index))
            else:
                places.append((0, ((self._position(arrays[entry[1]], index, length), 1),)))
        return combined(address.offset, address.strides, tuple(places))

    def _position(self, array: Node, index: Index, length: int) -> str:
        key = ("position", array, index, length)
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
        """The kernel as a function that a block calls."""
        begin = given([*self.pointers.values(), *self.extra])
        if self.turns:
            begin += bounds(self.turns, self.step)
        if self.measured is not None:
            begin += until(self.pointer(self.measured), self.extra[0], self.measured.dtype.itemsize)
        return self.work(begin, self.attributes, self.often)

    @property
    def often(self) -> int:
        """See `Code.function`."""
        return ONCE if self.is_rare else MANY if self._labels else TWICE

    @property
    def step(self) -> int:
        """Of a kernel that threads share: how many turns of its outermost loop are a part."""
        return -(-self.turns // team.PARTS // self.together) * self.together

    @property
    def parts(self) -> int:
        return -(-self.turns // self.step) if self.turns else 1


class Probe(Writer):
    """Goes through a kernel number by number, to see what it accesses; what it writes is of no use."""

    def loop(
        self, counters: Sequence[tuple[str, int]], body: Callable[[], None], first: str = "0", end: str = ""
    ) -> None:
        body()

    def on_vectors(self, *_: object) -> None:
        return None

    def place(self, node: Node, offset: Affine) -> str:
        self.merge(offset)
        return self.pointer(node)

    def mapped(self, node: Node, args: Sequence[str]) -> str:
        return self.fresh()


def counters(shape: Shape, stem: str = "%i") -> tuple[list[tuple[str, int]], Index]:
    """A counter for each axis longer than 1, and the index of each axis."""
    loops = [(f"{stem}{d}", n) for d, n in enumerate(shape) if n != 1]
    return loops, tuple([affine(0, {f"{stem}{d}": 1} if n != 1 else {}) for d, n in enumerate(shape)])


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
