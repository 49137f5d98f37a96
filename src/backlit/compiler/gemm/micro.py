"""The micro-kernel: one tile of C, in registers while k runs.

It knows how many rows and vectors the tile has, and no more: sizes and strides are given when it is called. So all
products of a program share a few of them, and there is little to compile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from backlit.compiler.gemm.vectors import Vectors
from backlit.compiler.gemm.writer import Function, Writer
from backlit.compiler.target import Target

NEAR = 8
"""So many rows of A are reached from one pointer: x86 adds a register times 1, 2, 4 or 8 to an address for nothing."""


@dataclass(frozen=True)
class Micro:
    """A tile of `rows` rows by `vectors` vectors; of the last vector only `valid` lanes, or as the caller says if 0
    (a mask takes time, so whole vectors do without).

    Its function takes pointers into A, B and C; how many bytes lie between rows of A, columns of A, rows of B, and rows
    of C; the length of k, at least 1; the last vector's lanes, as the bits of a number; whether to go on from C.
    """

    element: str
    rows: int
    vectors: int
    lanes: int
    valid: int

    @property
    def name(self) -> str:
        partial = "" if self.valid == self.lanes else f".{self.valid}" if self.valid else ".some"
        return f"product.{self.element}{self.rows}x{self.vectors}x{self.lanes}{partial}"


@cache
def written(micro: Micro, target: Target) -> Function:
    """The function of a micro-kernel."""
    w = Writer()
    vectors = Vectors(w, micro.element, micro.lanes, target)
    cells = [(r, v) for r in range(micro.rows) for v in range(micro.vectors)]
    names = ["ptr noalias %A", "ptr noalias %B", "ptr noalias %C"]
    names += [f"i64 %{x}" for x in ("ar", "ac", "br", "cr", "k", "lanes", "on")]
    mask = ""
    if not micro.valid:
        bits = w.set("bits", f"trunc i64 %lanes to i{micro.lanes}")
        mask = w.set("mask", f"bitcast i{micro.lanes} {bits} to <{micro.lanes} x i1>")

    def load(pointer: str, v: int) -> str:
        place = w.offset(micro.element, pointer, (v * micro.lanes, 1))
        if v < micro.vectors - 1:
            return vectors.load(place, micro.lanes, vectors.bytes)
        return vectors.load(place, micro.valid, vectors.bytes, mask)

    def corner(rows: list[str], r: int) -> str:
        while len(rows) <= r:
            rows.append(w.set("row", f"getelementptr i8, ptr {rows[-1]}, i64 %cr"))
        return rows[r]

    w.put(f"br i1 {w.set('fresh', 'icmp eq i64 %on, 0')}, label %start, label %old")
    w.label("old")
    rows = ["%C"]
    loaded = {(r, v): load(corner(rows, r), v) for r, v in cells}
    w.go("start")
    sums = {
        cell: w.set("c", f"phi {vectors.type} [ zeroinitializer, %entry ], [ {name}, %old ]")
        for cell, name in loaded.items()
    }
    # Multiples that no address can add by itself; the others are those of 1, 2, 4 and 8.
    far = {r: w.set("far", f"mul i64 %ar, {r}") for r in range(2, min(micro.rows, NEAR + 1))}
    before = w.block
    w.go("loop")
    w.put(f"%at = phi i64 [ 0, %{before} ], [ %at.next, %loop ]")
    w.put(f"%column = phi ptr [ %A, %{before} ], [ %column.next, %loop ]")
    w.put(f"%b = phi ptr [ %B, %{before} ], [ %b.next, %loop ]")
    running, coming = ({cell: f"%{w.fresh(hint)}" for cell in sums} for hint in "cd")
    for cell, start in sums.items():
        w.put(f"{running[cell]} = phi {vectors.type} [ {start}, %{before} ], [ {coming[cell]}, %loop ]")
    # LLVM shall not see what pointer this is: it would step from row to row, each step waiting for the one before.
    w.put('%a = call ptr asm "", "=r,0"(ptr %column)')
    across = [load("%b", v) for v in range(micro.vectors)]
    base = "%a"
    for r in range(micro.rows):
        if r and r % NEAR == 0:
            base = w.set("base", f"getelementptr i8, ptr {base}, i64 {far[NEAR]}")
        near = r % NEAR
        place = w.set("p", f"getelementptr i8, ptr {base}, i64 {far.get(near, '%ar')}") if near else base
        down = vectors.spread(place)
        for v in range(micro.vectors):
            vectors.fused(coming[r, v], down, across[v], running[r, v])
    w.put("%at.next = add nuw nsw i64 %at, 1")
    w.put("%column.next = getelementptr i8, ptr %column, i64 %ac")
    w.put("%b.next = getelementptr i8, ptr %b, i64 %br")
    w.put("%at.more = icmp ult i64 %at.next, %k")
    w.put("br i1 %at.more, label %loop, label %done")
    w.label("done")
    rows = ["%C"]
    for (r, v), name in coming.items():
        place = w.offset(micro.element, corner(rows, r), (v * micro.lanes, 1))
        whole = v < micro.vectors - 1
        vectors.store(name, place, micro.lanes if whole else micro.valid, vectors.bytes, "" if whole else mask)
    w.put("ret void")
    return w.function(micro.name, names)
