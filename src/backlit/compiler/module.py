"""What a program's text is collected in: functions, each written once, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backlit.compiler.ir import Node
from backlit.compiler.positions import Check
from backlit.compiler.scalars import Code
from backlit.compiler.target import Target


@dataclass
class KernelNote:
    """What `explain` tells of one kernel. before: functions that are a part of it, beside the one it is named after."""

    name: str
    kind: str
    nodes: list[Node]
    text: str
    note: str
    block: str
    before: tuple[str, ...] = ()


@dataclass
class Block:
    """A function `@name(ptr %arena, ptr %status, …)`: pointers to its leaves, then to its outputs."""

    name: str
    leaves: list[Node]
    arena: int


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
        self.probes: dict[tuple[str, bool], Any] = {}  # the writers of kernels, by the text of their probes
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

    def share(self, name: str, text: str) -> None:
        """A function under a name of its own, by which several kernels call it."""
        if name not in self._kernels:
            self._kernels[name] = name
            self.functions.append(text)

    def take(self, code: Code) -> None:
        self.math |= code.math
        self.declares |= code.declared


def array(data: Any) -> Node:
    """A node for an array that only the machine code reads."""
    node = Node("constant", (), ("array",), data.shape, data.dtype)
    node.data = data
    return node


def pointer_at(code: Code, slot: int) -> str:
    """A pointer out of the table that `@main` is given."""
    at = code.let(f"getelementptr inbounds ptr, ptr %table, i64 {slot}")
    return code.let(f"load ptr, ptr {at}, align 8")


def clock(target: Target) -> tuple[str, str]:
    """A declaration, and the instruction that reads a clock of the CPU which every program may read."""
    if target.triple.startswith(("aarch64", "arm64")):
        return "", 'call i64 asm sideeffect "mrs $0, cntvct_el0", "=r"()'
    return "declare i64 @llvm.readcyclecounter()", "call i64 @llvm.readcyclecounter()"
