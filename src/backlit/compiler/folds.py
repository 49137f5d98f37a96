"""What is carried from turn to turn: sums, extremes and the like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backlit.compiler.inner import Fold, Turns
from backlit.compiler.ir import Node
from backlit.compiler.loops import Writer
from backlit.compiler.scalars import apply, literal, register

IDENTITY = {"add": 0, "multiply": 1, "or": False, "and": True}


def through(w: Writer, loops: Sequence[tuple[str, int]], kind: str, start: str, step: Callable[[str], str]) -> str:
    """A value carried through nested loops."""
    if not loops:
        return step(start)
    (counter, count), rest = loops[0], loops[1:]
    head, after = w.label("fold"), w.label("done")
    before, mark = w.block, len(w.lines)
    now, following = w.fresh("acc"), w.fresh("next")
    w.put(f"  br label %{head}")
    w.begin(head)
    at = len(w.lines)
    w.put("")
    w.put("")
    result = through(w, rest, kind, now, step)
    if not rest and isinstance(step, AnyOrder):
        fold = step.fold(kind, start, now, result)
        found = w.on_vectors(mark, before, Turns(counter, count), w.lines[at + 2 :], fold)
        if found is not None:
            return found
    w.put(f"  {following} = add nuw nsw i64 {counter}, 1")
    before_phis, behind = w.counter(counter, f"[0, %{before}], [{following}, %{w.block}]")
    carried = f"  {now} = phi {kind} [{start}, %{before}], [{result}, %{w.block}]"
    w.lines[at : at + 2] = [*before_phis, carried, *behind]
    more = w.let(f"icmp ult i64 {following}, {count}")
    w.put(f"  br i1 {more}, label %{head}, label %{after}")
    w.begin(after)
    return result


@dataclass
class AnyOrder:
    """A step that may be taken in any order: what each turn computes by itself, and how it is taken up. nothing: what
    is taken up without a trace. brief: see `inner.Fold`.
    """

    writer: Writer
    term: Callable[[], str]
    join: Callable[[str, str], str]
    nothing: str
    brief: bool = False

    def __call__(self, now: str) -> str:
        self.name = self.term()
        self.mark = len(self.writer.lines)
        return self.join(now, self.name)

    def fold(self, kind: str, start: str, now: str, result: str) -> Fold:
        """What `inner` is told of the step that was just written."""
        lines = len(self.writer.lines) - self.mark
        return Fold(kind, start, self.nothing, now, self.name, result, lines, self.brief)


def start(function: str, x: Node) -> str:
    """What a reduction begins with."""
    if function in IDENTITY:
        return literal(IDENTITY[function], x.dtype)
    if x.dtype.kind == "f":
        return literal(-np.inf if function == "maximum" else np.inf, x.dtype)
    if x.dtype.kind == "b":
        return literal(function != "maximum", x.dtype)
    limits = np.iinfo(x.dtype)
    return literal(limits.min if function == "maximum" else limits.max, x.dtype)


def joined(w: Writer, function: str, total: str, term: str, x: Node, loose: bool = False) -> str:
    kind = register(x.dtype)
    if function == "or":
        return w.let(f"or {kind} {total}, {term}")
    if function == "and":
        return w.let(f"and {kind} {total}, {term}")
    if loose and x.dtype.kind == "f" and function in ("add", "multiply") and x.dtype.itemsize > 2:
        return w.let(f"{'fadd' if function == 'add' else 'fmul'} reassoc contract {kind} {total}, {term}")
    return apply(w, function, [total, term], [x.dtype, x.dtype], x.dtype)
