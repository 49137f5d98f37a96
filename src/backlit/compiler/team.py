"""Threads that help with large kernels.

Machine code posts the parts of a kernel, and computes them itself, one after the other; a helper that is there takes
some of them meanwhile. Nothing waits for a helper that has not come: with none, or with all of them busy, the program
does everything alone. How a kernel is cut does not depend on who computes, so the results are the same bits.

Every thread has its home among the parts, and begins there: what it wrote in one kernel, and has in its cache, is as a
rule what it reads in the next.

Helpers are threads of Python that are started once, sleep between calls, and are inside of machine code during one.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from backlit.compiler.memory import LINE
from backlit.compiler.scalars import CALLING
from backlit.compiler.target import Target, is_x86
from backlit.core.errors import DomainError

MOST = 8
"""How many threads may work on one program, the caller's included: each has a workspace of its own."""
PARTS = 8
"""A kernel is cut into at most so many parts."""
LARGE = 20_000
"""Estimated cycles below which a kernel is not cut: to hand a part over takes some hundreds."""
STATE = 256
"""Bytes that the threads share while they work on a program; they start at a multiple of `LINE`."""
_DONE, _WORK, _OPEN = 64, 128, 192  # bytes from the start; the ticket is at 0
_BITS = 65535  # of the ticket: one for each part that nobody has taken yet; those above count the kernels
_PATIENCE = 4000  # pauses after which a thread that waits lets others run

_setting: list[int] = []


def threads(count: int | None = None) -> int:
    """How many threads compiled code may use, the caller's included; with `count`, so many from now on.

    As a rule, as many as there are processors to run on, and at most 8. The results do not depend on it. What was
    compiled for one thread stays so.

    Raises DomainError for a count below 1.

    >>> before = threads()
    >>> threads(1), threads(before) == before
    (1, True)
    """
    if count is not None:
        if count < 1:
            raise DomainError(f"threads({count}): at least 1, the thread that calls.")
        _setting[:] = [min(count, MOST)]
    return _setting[0] if _setting else min(_processors(), MOST)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


# -- the threads -------------------------------------------------------------------------------------------------


class _Helper:
    """A thread that helps with one program at a time."""

    def __init__(self, number: int) -> None:
        self.number = number  # from 1: the caller is 0
        self._call: tuple[Any, int, Any] | None = None
        self._wanted = threading.Semaphore(0)
        threading.Thread(target=self._live, name=f"backlit-helper-{number}", daemon=True).start()

    def ask(self, entry: Any, address: int, owner: Any) -> None:
        """Help with what is posted at an address, until it is closed; whoever asks last, is helped next. To be asked
        while on the way back from the call before is common, where calls follow each other closely.

        owner: keeps code and memory alive meanwhile.
        """
        self._call = (entry, address, owner)
        self._wanted.release()

    def _live(self) -> None:
        while True:
            self._wanted.acquire()
            call, self._call = self._call, None
            if call is not None:
                call[0](call[1], self.number)
            call = None


_helpers: list[_Helper] = []
_hiring = threading.Lock()


def _forget() -> None:
    """In the child of a fork there are no other threads."""
    global _hiring
    _helpers.clear()
    _hiring = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Place:
    """Where the threads that work on one program meet."""

    def __init__(self, memory: Any, address: int) -> None:
        self._open = memory[_OPEN // 8 : _OPEN // 8 + 1]
        self.address = address

    def open(self, entry: Any, owner: Any) -> None:
        """Ask helpers to come, as many as `threads()` allows. To be closed again. owner: of the machine code."""
        wanted = threads() - 1
        self._open[0] = wanted
        if wanted > len(_helpers):
            with _hiring, suppress(RuntimeError):  # where no thread can be started, there is no help
                while wanted > len(_helpers):
                    _helpers.append(_Helper(len(_helpers) + 1))
        for helper in _helpers[:wanted]:
            helper.ask(entry, self.address, (self, owner))

    def close(self) -> None:
        """Let them go."""
        self._open[0] = 0


def state() -> tuple[Any, Any, int]:
    """A program's status (a view of one number), and the place for its threads a line behind it."""
    memory = np.zeros((STATE + 2 * LINE) // 8, np.int64)
    address = int(memory.__array_interface__["data"][0])
    skip = -address % LINE
    status = memory[skip // 8 : skip // 8 + 1]
    return status, memory[(skip + LINE) // 8 :], address + skip


# -- the machine code --------------------------------------------------------------------------------------------


def definitions(target: Target) -> tuple[str, list[str]]:
    """The functions that every program with parts needs, and what they declare.

    `@bl_team(ptr %status, ptr %work, ptr %args, i64 %parts, i64 %which)` computes all parts by `work(args, part, who,
    which)`, and comes back when they are done. `@bl_help(ptr %team, i64 %who)` is what helpers call.

    A part is taken by clearing its bit in the ticket, which fails if anybody else changed it: so nobody takes a part of
    a kernel that is no longer the one that he saw. The next kernel is posted when all parts of this one are done.
    """
    declares = ["declare i64 @llvm.cttz.i64(i64, i1 immarg)", "declare i64 @llvm.ctlz.i64(i64, i1 immarg)"]
    declares.append("declare i64 @llvm.umax.i64(i64, i64)")
    if is_x86(target.triple):
        declares.append("declare void @llvm.x86.sse2.pause()")
        pause = "call void @llvm.x86.sse2.pause()"
    elif target.triple.startswith(("aarch64", "arm64")):
        pause = 'call void asm sideeffect "yield", ""()'
    else:
        pause = 'call void asm sideeffect "", ""()'
    if any(system in target.triple for system in ("linux", "darwin", "macos")):
        declares.append("declare i32 @sched_yield()")
        let_others = "%y = call i32 @sched_yield()"
    else:
        let_others = ""

    def waiting(name: str, back: str) -> str:
        return f"""\
{name}:
  {pause}
  %{name}.many = icmp ugt i64 %{name}.spins, {_PATIENCE}
  %{name}.more = add i64 %{name}.spins, 1
  br i1 %{name}.many, label %{name}.others, label %{back}
{name}.others:
  {let_others}
  br label %{back}
"""

    def taking(home: str) -> str:
        """Take the next part from one's home on, or else the last that is left before it."""
        return f"""\
take:
  %beyond = shl i64 -1, {home}
  %ahead = and i64 %left, %beyond
  %following = call i64 @llvm.cttz.i64(i64 %ahead, i1 false)
  %zeros = call i64 @llvm.ctlz.i64(i64 %left, i1 false)
  %last = sub i64 63, %zeros
  %passed = icmp eq i64 %ahead, 0
  %part = select i1 %passed, i64 %last, i64 %following
  %bit = shl i64 1, %part
  %less = sub i64 %seen, %bit
  %taken = cmpxchg ptr %team, i64 %seen, i64 %less acquire monotonic, align 8
  %won = extractvalue {{ i64, i1 }} %taken, 1
  br i1 %won, label %compute, label %look
"""

    text = f"""\
define internal void @bl_team(ptr %status, ptr %work, ptr %args, i64 %parts, i64 %which) {CALLING} {{
entry:
  %team = getelementptr inbounds i8, ptr %status, i64 {LINE}
  %done = getelementptr inbounds i8, ptr %team, i64 {_DONE}
  %place = getelementptr inbounds i8, ptr %team, i64 {_WORK}
  %given = getelementptr inbounds i8, ptr %team, i64 {_WORK + 8}
  store ptr %work, ptr %place, align 8
  store ptr %args, ptr %given, align 8
  %told = getelementptr inbounds i8, ptr %team, i64 {_WORK + 16}
  store i64 %which, ptr %told, align 8
  store atomic i64 0, ptr %done monotonic, align 8
  %old = load atomic i64, ptr %team monotonic, align 8
  %kernel = and i64 %old, -{_BITS + 1}
  %next = add i64 %kernel, {_BITS + 1}
  %above = shl i64 1, %parts
  %all.parts = sub i64 %above, 1
  %ticket = or i64 %next, %all.parts
  store atomic i64 %ticket, ptr %team release, align 8
  br label %look
look:
  %seen = load atomic i64, ptr %team monotonic, align 8
  %left = and i64 %seen, {_BITS}
  %none = icmp eq i64 %left, 0
  br i1 %none, label %wait, label %take
{taking("0")}compute:
  call void %work(ptr %args, i64 %part, i64 0, i64 %which)
  %before = atomicrmw add ptr %done, i64 1 release, align 8
  br label %look
wait:
  %rest.spins = phi i64 [0, %look], [%rest.more, %rest], [%rest.more, %rest.others]
  %now = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %now, %parts
  br i1 %all, label %end, label %rest
{waiting("rest", "wait")}end:
  ret void
}}

define void @bl_help(ptr %team, i64 %who) {CALLING} {{
entry:
  %done = getelementptr inbounds i8, ptr %team, i64 {_DONE}
  %place = getelementptr inbounds i8, ptr %team, i64 {_WORK}
  %given = getelementptr inbounds i8, ptr %team, i64 {_WORK + 8}
  %told = getelementptr inbounds i8, ptr %team, i64 {_WORK + 16}
  %open = getelementptr inbounds i8, ptr %team, i64 {_OPEN}
  %helpers = load atomic i64, ptr %open monotonic, align 8
  %most = call i64 @llvm.umax.i64(i64 %helpers, i64 %who)
  %threads = add i64 %most, 1
  %scaled = mul i64 %who, {PARTS}
  %home = udiv i64 %scaled, %threads
  br label %look
look:
  %idle.spins = phi i64 [0, %entry], [0, %take], [0, %compute], [%idle.more, %idle], [%idle.more, %idle.others]
  %seen = load atomic i64, ptr %team acquire, align 8
  %left = and i64 %seen, {_BITS}
  %none = icmp eq i64 %left, 0
  br i1 %none, label %ask, label %take
{taking("%home")}compute:
  %work = load ptr, ptr %place, align 8
  %args = load ptr, ptr %given, align 8
  %which = load i64, ptr %told, align 8
  call void %work(ptr %args, i64 %part, i64 %who, i64 %which)
  %before = atomicrmw add ptr %done, i64 1 release, align 8
  br label %look
ask:
  %wanted = load atomic i64, ptr %open acquire, align 8
  %stay = icmp uge i64 %wanted, %who
  br i1 %stay, label %idle, label %end
{waiting("idle", "look")}end:
  ret void
}}
"""
    return text, declares
