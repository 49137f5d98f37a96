"""What a program's text is collected in: functions, each written once, and what is told of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backlit.compiler import vector_math
from backlit.compiler.ir import Node
from backlit.compiler.positions import Check
from backlit.compiler.scalars import APART, AS_WRITTEN, CALLING, COMMON, LATE, STRAIGHT, Code
from backlit.compiler.target import Target

PORTION, MOST, GROWTH = 8_000, 32_000, 1.5
"""So many characters of kernels are handed over at a time, to be compiled while the rest is written: few at first, so
that compiling begins soon, then more and more, for each portion costs LLVM a millisecond more than what is in it.
"""
_NAMES = re.compile(rf"@(?!bl\.|{re.escape(APART)}|llvm\.)[\w.$]+")
_MATH = re.compile(r"@bl\.[\w.]+")
_CALLED = re.compile(rf"@{re.escape(APART)}[\w.]+")


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
    """A function that is called like a kernel (see `scalars.WORK`): its pointers lead to the arena, to the status, to
    its leaves, then to its outputs; its part is the number of the turn.
    """

    name: str
    leaves: list[Node]
    arena: int


class Module:
    """Collects functions; equal kernels are one. ahead: takes the text of kernels, before all else is written."""

    def __init__(
        self,
        target: Target,
        profile: bool = False,
        cuts: bool = False,
        ahead: Callable[[str], None] | None = None,
    ) -> None:
        self.target = target
        self.profile = profile
        self.cuts = cuts  # whether large kernels are cut into parts that threads share
        self.shares = False  # whether one was
        self.plays = False  # whether there is a block that is a table of calls
        self.clocks: list[KernelNote] = []  # with `profile`, one for each place of the global array @clock
        self.functions: list[str] = []
        self.math: set[tuple[str, str]] = set()
        self.declares: set[str] = set()
        self.notes: list[KernelNote] = []
        self.checks: list[Check] = []
        self.writers: dict[Any, Any] = {}  # those of kernels, by their form
        self._kernels: dict[str, str] = {}
        self._apart: dict[str, str] = {}  # functions of `vector_math` that are called: how they are declared
        self._count = 0
        self._ahead = ahead
        self._portion: list[str] = []
        self._enough: float = PORTION

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def add(self, text: str, stem: str) -> str:
        """A function whose name is written @NAME; an equal one that is there serves for both."""
        found = self._kernels.get(text)
        if found is None:
            found = self._kernels[text] = self.name(stem)
            self._append(text.replace("@NAME", f"@{found}"))
        return found

    def share(self, name: str, text: str, math: Sequence[tuple[str, str]] = ()) -> None:
        """A function under a name of its own, by which several kernels call it, of this program or (see
        `scalars.COMMON`) of any. math: which functions of `vector_math` it calls.
        """
        if name not in self._kernels:
            self._kernels[name] = name
            self.functions.append(text)
            if self._ahead is not None and name.startswith(COMMON):
                self._ahead(self.text([text], math))

    def _append(self, text: str) -> None:
        self.functions.append(text)
        for name in sorted(set(_CALLED.findall(text))):
            self._set_apart(name)
        is_kernel = f" {AS_WRITTEN} {{\n" in text
        if self._ahead is None or not is_kernel or len(set(_NAMES.findall(text))) > 1:
            return
        if " half" in text and not self.target.converts:  # which calls functions that are not named
            return
        self._portion.append(text)
        if sum(map(len, self._portion)) >= self._enough:
            whole = "".join(self._portion)
            mentioned, apart = set(_MATH.findall(whole)), sorted(set(_CALLED.findall(whole)))
            functions = [*(self._apart[name] for name in apart), *self._portion]
            self._ahead(self.text(functions, [m for m in self.math if vector_math.symbol(*m) in mentioned]))
            self._portion = []
            self._enough = min(GROWTH * self._enough, MOST)

    def _set_apart(self, name: str) -> None:
        """See to it that a function of `vector_math` is there which is not written out where it is called."""
        if name not in self._apart:
            (function,) = [m for m in self.math if vector_math.symbol(*m) == name.replace(f"@{APART}", "@bl.")]
            self._apart[name], text = vector_math.apart(*function, name, AS_WRITTEN)
            self.share(name.removeprefix("@"), text, [function])

    def text(self, functions: Sequence[str], math: Iterable[tuple[str, str]]) -> str:
        """Functions as a module, with what they need. math: which functions of `vector_math`."""
        defined = vector_math.definitions(sorted(math))
        declares = sorted(self.declares | set(defined.declares))
        wide = ' "prefer-vector-width"="512"' if self.target.lanes_bytes == 64 else ""
        return "\n".join(
            [
                *declares,
                "declare void @llvm.memcpy.p0.p0.i64(ptr noalias, ptr noalias, i64, i1)",
                f"@clock = global [{len(self.clocks) + 1} x i64] zeroinitializer",
                defined.functions,
                *functions,
                *(
                    f"attributes {kind} = {{ noinline nounwind{wide} }}"
                    for kind in (LATE, AS_WRITTEN, STRAIGHT, CALLING)
                ),
            ]
        )

    def take(self, code: Code) -> None:
        self.math |= code.math
        self.declares |= code.declared


def array(data: Any) -> Node:
    """A node for an array that only the machine code reads."""
    return Node("constant", (), ("array",), data.shape, data.dtype, data)


def pointer_at(code: Code, slot: int) -> str:
    """A pointer out of the table that `@main` is given."""
    at = code.let(f"getelementptr inbounds ptr, ptr %table, i64 {slot}")
    return code.let(f"load ptr, ptr {at}, align 8")


def numbers(kind: str, values: Sequence[int]) -> str:
    """A constant array."""
    return f"[{len(values)} x {kind}] [{', '.join([f'{kind} {value}' for value in values])}]"


def clock(target: Target) -> tuple[str, str]:
    """A declaration, and the instruction that reads a clock of the CPU which every program may read."""
    if target.triple.startswith(("aarch64", "arm64")):
        return "", 'call i64 asm sideeffect "mrs $0, cntvct_el0", "=r"()'
    return "declare i64 @llvm.readcyclecounter()", "call i64 @llvm.readcyclecounter()"
