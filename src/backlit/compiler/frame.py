"""A block while it is written: its calls, as a table that is played from top to bottom, and its memory.

What a block calls takes the place where its pointers stand, one behind the other, so all of it is called alike, and a
block needs no code of its own: to compile thousands of calls took LLVM longer than the kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from backlit.compiler.ir import Node
from backlit.compiler.memory import Arena, in_lines
from backlit.compiler.module import Module, clock, numbers
from backlit.compiler.scalars import AS_WRITTEN, CALLING, WORK
from backlit.compiler.schedule import Schedule


class Place(NamedTuple):
    """So many bytes behind one of the pointers that a block is given."""

    base: str
    offset: int = 0

    def moved(self, offset: int) -> Place:
        return Place(self.base, self.offset + offset)


ARENA, STATUS = Place("arena"), Place("status")


def leaf(k: int) -> Place:
    return Place(f"in{k}")


def output(k: int) -> Place:
    return Place(f"out{k}")


class Frame:
    """What the writing of a block's kernels has in common. pointers: where what is kept lies. clock: the place of the
    time that the kernel takes which is being written, or -1.
    """

    def __init__(self, module: Module, schedule: Schedule, stem: str) -> None:
        self.module, self.schedule, self.stem = module, schedule, stem
        self.arena = Arena()
        self.pointers: dict[Node, Place] = {}
        self.clock = -1
        self._calls: list[str] = []
        self._places: list[Place] = []

    def take(self, owner: object, size: int) -> Place:
        """So many bytes of the arena, which are the owner's until `arena.free(owner)`."""
        return ARENA.moved(self.arena.take(owner, size))

    def place_of(self, node: Node) -> Place:
        """Where the elements of a node begin, which stand in memory."""
        address = self.schedule.address(node)
        assert address is not None, node
        return self.pointers[address.base].moved(address.offset * node.dtype.itemsize)

    def call(self, name: str, places: Sequence[Place], parts: int = 1, which: int | str = 0) -> None:
        """Call a function that finds these places in the order given. parts: more than one are shared by threads."""
        if parts > 1:
            self.module.shares = True
        fields = f"ptr @{name}, i64 {which}, i64 {parts}, i64 {len(self._places)}"
        self._calls.append(f"{{ {fields}, i64 {self.clock} }}" if self.module.profile else f"{{ {fields} }}")
        self._places += places

    def written(self, inputs: int, outputs: int, turning: Collection[Place]) -> tuple[str, int]:
        """The function that plays the calls, and the bytes of its arena. It is itself called like they are: its
        pointers lead to the arena, to the status, to so many inputs and outputs; part: 0 in the first turn.

        turning: which of them lead elsewhere in each turn.
        """
        self.module.plays = True
        bases = {ARENA.base: 0, STATUS.base: 1}
        for place in [*map(leaf, range(inputs)), *map(output, range(outputs))]:
            bases[place.base] = len(bases)
        changing = {place.base for place in turning}
        order = sorted(range(len(self._places)), key=lambda k: self._places[k].base not in changing)
        again = sum(place.base in changing for place in self._places)
        places = [self._places[k] for k in order]
        table = in_lines(self.arena.size)
        call = "{ ptr, i64, i64, i64, i64 }" if self.module.profile else "{ ptr, i64, i64, i64 }"
        calls = ", ".join(f"{call} {fields}" for fields in self._calls)
        text = f"""\
@NAME.calls = internal constant [{len(self._calls)} x {call}] [{calls}]
@NAME.goals = internal constant {numbers("i32", order)}
@NAME.bases = internal constant {numbers("i32", [bases[place.base] for place in places])}
@NAME.offsets = internal constant {numbers("i64", [place.offset for place in places])}
define internal void @NAME({WORK}) {CALLING} {{
entry:
  %first = icmp eq i64 %part, 0
  %count = select i1 %first, i64 {len(places)}, i64 {again}
  %arena = load ptr, ptr %args, align 8
  %pointers = getelementptr inbounds i8, ptr %arena, i64 {table}
  call void @bl_place(ptr %args, ptr %pointers, i64 %count, ptr @NAME.goals, ptr @NAME.bases, ptr @NAME.offsets)
  call void @bl_play(ptr %args, ptr %pointers, ptr @NAME.calls, i64 {len(self._calls)})
  ret void
}}
"""
        return text, table + 8 * len(places)


GIVE = f"""\
define internal void @bl_give(ptr %bases, ptr %args, i64 %count, ptr %slots) {CALLING} {{
entry:
  br label %head
head:
  %k = phi i64 [0, %entry], [%after, %head]
  %slot.at = getelementptr inbounds i32, ptr %slots, i64 %k
  %slot = load i32, ptr %slot.at, align 4
  %from = getelementptr inbounds ptr, ptr %args, i32 %slot
  %pointer = load ptr, ptr %from, align 8
  %after = add nuw nsw i64 %k, 1
  %to = getelementptr inbounds ptr, ptr %bases, i64 %after
  store ptr %pointer, ptr %to, align 8
  %more = icmp ult i64 %after, %count
  br i1 %more, label %head, label %end
end:
  ret void
}}
"""
"""Hands pointers on: those that stand in the given slots, to bases from the second on."""


def definitions(module: Module) -> str:
    """What every program with such a block needs.

    `@bl_place` puts pointers where calls find them: each so many bytes behind one of the bases. `@bl_play` makes the
    calls. `@bl_copy` is called to copy so many bytes from its second pointer to its first.
    """
    size, began, spent = 32, "", ""
    if module.profile:
        declared, now = clock(module.target)
        module.declares.add(declared)
        size = 40
        began = f"  %began = {now}\n"
        spent = f"""\
  %ended = {now}
  %timed.at = getelementptr inbounds i8, ptr %call, i64 32
  %timed = load i64, ptr %timed.at, align 8
  %is.timed = icmp sge i64 %timed, 0
  br i1 %is.timed, label %time, label %more
time:
  %spent = sub i64 %ended, %began
  %sum.at = getelementptr inbounds i64, ptr @clock, i64 %timed
  %sum = load i64, ptr %sum.at, align 8
  %sum.now = add i64 %sum, %spent
  store i64 %sum.now, ptr %sum.at, align 8
  br label %more
more:
"""
    parameters = "ptr %bases, ptr %pointers, i64 %count, ptr %goals, ptr %numbers, ptr %offsets"
    after = "more" if module.profile else "next"
    alone, shared = "  call void %function(ptr %args, i64 0, i64 0, i64 %which)\n", ""
    if module.shares:
        alone = f"""\
  %many.at = getelementptr inbounds i8, ptr %call, i64 16
  %many = load i64, ptr %many.at, align 8
  %is.alone = icmp eq i64 %many, 1
  br i1 %is.alone, label %alone, label %share
alone:
{alone}  br label %next
"""
        shared = """\
share:
  call void @bl_team(ptr %status, ptr %function, ptr %args, i64 %many, i64 %which)
  br label %next
next:
"""
    else:
        alone += "  br label %next\nnext:\n"
    return f"""\
define internal void @bl_place({parameters}) {AS_WRITTEN} {{
entry:
  %any = icmp ne i64 %count, 0
  br i1 %any, label %head, label %end
head:
  %k = phi i64 [0, %entry], [%after, %head]
  %number.at = getelementptr inbounds i32, ptr %numbers, i64 %k
  %number = load i32, ptr %number.at, align 4
  %base.at = getelementptr inbounds ptr, ptr %bases, i32 %number
  %base = load ptr, ptr %base.at, align 8
  %offset.at = getelementptr inbounds i64, ptr %offsets, i64 %k
  %offset = load i64, ptr %offset.at, align 8
  %place = getelementptr i8, ptr %base, i64 %offset
  %goal.at = getelementptr inbounds i32, ptr %goals, i64 %k
  %goal = load i32, ptr %goal.at, align 4
  %pointer = getelementptr inbounds ptr, ptr %pointers, i32 %goal
  store ptr %place, ptr %pointer, align 8
  %after = add nuw nsw i64 %k, 1
  %more = icmp ult i64 %after, %count
  br i1 %more, label %head, label %end
end:
  ret void
}}

define internal void @bl_play(ptr %bases, ptr %pointers, ptr %calls, i64 %count) {AS_WRITTEN} {{
entry:
  %status.at = getelementptr inbounds ptr, ptr %bases, i64 1
  %status = load ptr, ptr %status.at, align 8
  %any = icmp ne i64 %count, 0
  br i1 %any, label %head, label %end
head:
  %k = phi i64 [0, %entry], [%after, %{after}]
  %skip = mul nuw nsw i64 %k, {size}
  %call = getelementptr inbounds i8, ptr %calls, i64 %skip
  %function = load ptr, ptr %call, align 8
  %which.at = getelementptr inbounds i8, ptr %call, i64 8
  %which = load i64, ptr %which.at, align 8
  %first.at = getelementptr inbounds i8, ptr %call, i64 24
  %first = load i64, ptr %first.at, align 8
  %args = getelementptr inbounds ptr, ptr %pointers, i64 %first
{began}{alone}{shared}{spent}  %after = add nuw nsw i64 %k, 1
  %again = icmp ult i64 %after, %count
  br i1 %again, label %head, label %end
end:
  ret void
}}

define internal void @bl_copy({WORK}) {CALLING} {{
entry:
  %to = load ptr, ptr %args, align 8
  %from.at = getelementptr inbounds ptr, ptr %args, i64 1
  %from = load ptr, ptr %from.at, align 8
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %which, i1 false)
  ret void
}}
"""
