"""The function of a block while it is written: its instructions and its memory, and parts that threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backlit.compiler import team
from backlit.compiler.ir import Node
from backlit.compiler.memory import Arena
from backlit.compiler.module import Module
from backlit.compiler.scalars import CALLING, Code
from backlit.compiler.schedule import Schedule


class Frame:
    """What the writing of a block's kernels has in common. pointers: where what is kept lies."""

    def __init__(self, module: Module, schedule: Schedule, stem: str) -> None:
        self.module, self.schedule, self.stem = module, schedule, stem
        self.code = Code()
        self.arena = Arena()
        self.pointers: dict[Node, str] = {}

    def take(self, owner: object, size: int) -> str:
        """A pointer to so many bytes of the arena, which are the owner's until `arena.free(owner)`."""
        return self.moved("%arena", "i8", self.arena.take(owner, size))

    def moved(self, pointer: str, kind: str, offset: int) -> str:
        """A pointer some elements further."""
        return self.code.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {offset}", "g") if offset else pointer

    def call(self, name: str, pointers: Sequence[str], numbers: Sequence[int] = ()) -> None:
        _call(self.code, name, pointers, [str(number) for number in numbers])

    # -- parts that threads share -------------------------------------------------------------------------------

    def share(self, pointers: Sequence[str], parts: int, write: Callable[[Code, list[str]], None]) -> None:
        """Compute parts that threads may take: `write` writes a job that does the part `%part`, given its pointers;
        `%who` is the number of the thread.
        """
        job = Code()
        given = []
        for k in range(len(pointers)):
            at = job.let(f"getelementptr inbounds ptr, ptr %args, i64 {k}")
            given.append(job.let(f"load ptr, ptr {at}, align 8"))
        write(job, given)
        name = self.module.add(job.function("ptr %args, i64 %part, i64 %who", CALLING), "job")
        self.module.shares = True
        args = self.take(pointers, 8 * len(pointers))
        for k, pointer in enumerate(pointers):
            self.code.put(f"  store ptr {pointer}, ptr {self.moved(args, 'ptr', k)}, align 8")
        self.code.put(f"  call void @bl_team(ptr %status, ptr @{name}, ptr {args}, i64 {parts})")
        self.arena.free(pointers)

    def share_turns(self, name: str, pointers: Sequence[str], turns: int, step: int, room: int = 0) -> None:
        """A function that does turns from one number to another, in parts of `step` turns. room: the bytes that each
        thread has for itself, at the last of the pointers.
        """

        def write(job: Code, given: list[str]) -> None:
            if room:
                given[-1] = own_room(job, given[-1], room)
            low = job.let(f"mul nuw nsw i64 %part, {step}")
            high = job.let(f"add nuw nsw i64 {low}, {step}")
            if turns % step:
                within = job.let(f"icmp ult i64 {high}, {turns}")
                high = job.let(f"select i1 {within}, i64 {high}, i64 {turns}")
            _call(job, name, given, [low, high])

        self.share(pointers, -(-turns // step), write)


def own_room(job: Code, pointer: str, room: int) -> str:
    """Where a thread's own bytes begin."""
    return job.let(f"getelementptr inbounds i8, ptr {pointer}, i64 {job.let(f'mul nuw nsw i64 %who, {room}')}")


def _call(code: Code, name: str, pointers: Sequence[str], numbers: Sequence[str]) -> None:
    args = [*(f"ptr {x}" for x in pointers), *(f"i64 {x}" for x in numbers)]
    code.put(f"  call void @{name}({', '.join(args)})")


def step_of(turns: int, multiple: int) -> int:
    """How many turns of a kernel's outermost loop are one part: of these, so many at a time."""
    step = -(-turns // team.PARTS)
    return -(-step // multiple) * multiple
