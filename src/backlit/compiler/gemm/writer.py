"""Writing LLVM IR: fresh names, index arithmetic folded where it is known, loops with their phi nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

Index = int | str
"""A number known now, or the name of an i64."""


def defined(name: str, parameters: Sequence[str], lines: Sequence[str]) -> str:
    """A function of its instructions, complete with its last one."""
    body = "\n".join(lines)
    return f"define internal void @{name}({', '.join(parameters)}) noinline nounwind {{\nentry:\n{body}\n}}\n"


class Function(NamedTuple):
    """A function that kernels share, written once for all of them: its definition, and the lines that declare what it
    calls.
    """

    name: str
    text: str
    declares: frozenset[str]


class Writer:
    """Lines of one function body; the declarations of the intrinsics that it calls are gathered beside them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declares: set[str] = set()
        self.block = "entry"
        self._count = 0

    def function(self, name: str, parameters: Sequence[str]) -> Function:
        """The whole function, once its last instruction is written."""
        return Function(name, defined(name, parameters, self.lines), frozenset(self.declares))

    def fresh(self, hint: str) -> str:
        """A name not used before, without its %."""
        self._count += 1
        return f"{hint}.{self._count}"

    def put(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def set(self, hint: str, text: str) -> str:
        """`%name = text`; gives the name."""
        name = f"%{self.fresh(hint)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Start a block; the one before must have ended."""
        self.lines.append(f"{name}:")
        self.block = name

    def go(self, name: str) -> None:
        """End the block by a jump to a new one, and start that."""
        self.put(f"br label %{name}")
        self.label(name)

    def times(self, a: Index, b: int) -> Index:
        if isinstance(a, int):
            return a * b
        return a if b == 1 else 0 if b == 0 else self.set("x", f"mul i64 {a}, {b}")

    def plus(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.set("x", f"add i64 {a}, {b}")

    def least(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        below = self.set("lt", f"icmp ult i64 {a}, {b}")
        return self.set("min", f"select i1 {below}, i64 {a}, i64 {b}")

    def offset(self, element: str, pointer: str, *terms: tuple[Index, int]) -> str:
        """The pointer moved by the sum of index times stride, in elements."""
        total: Index = 0
        for index, stride in terms:
            total = self.plus(total, self.times(index, stride))
        return pointer if total == 0 else self.set("p", f"getelementptr {element}, ptr {pointer}, i64 {total}")

    @contextmanager
    def when(self, hint: str, condition: str) -> Iterator[None]:
        """Run the body only if a condition holds."""
        name = self.fresh(hint)
        self.put(f"br i1 {condition}, label %{name}.then, label %{name}.end")
        self.label(f"{name}.then")
        yield
        self.go(f"{name}.end")

    @contextmanager
    def loop(self, hint: str, start: Index, stop: Index, step: Index) -> Iterator[Index]:
        """Run the body at least once, for start, start + step, ... below stop."""
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and start + step >= stop:
            yield start
            return
        name, before = self.fresh(hint), self.block
        head, latch, done = f"{name}.head", f"{name}.latch", f"{name}.done"
        self.go(head)
        self.put(f"%{name} = phi i64 [ {start}, %{before} ], [ %{name}.next, %{latch} ]")
        yield f"%{name}"
        self.go(latch)
        self.put(f"%{name}.next = add nuw nsw i64 %{name}, {step}")
        self.put(f"%{name}.more = icmp ult i64 %{name}.next, {stop}")
        self.put(f"br i1 %{name}.more, label %{head}, label %{done}")
        self.label(done)
