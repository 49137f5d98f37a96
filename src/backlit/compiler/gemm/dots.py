"""A matrix times a vector, both stored along k: the dot products of rows, vectorised along k."""

from __future__ import annotations

from dataclasses import dataclass

from backlit.compiler.gemm.product import Product
from backlit.compiler.gemm.vectors import Vectors
from backlit.compiler.gemm.writer import Index, Writer
from backlit.compiler.target import Target

ROWS = 8
"""Rows at a time, and lanes at most: as many sums as hide the latency of an addition."""


@dataclass(frozen=True)
class Shape:
    """`count` rows of `k` numbers, each `stride` after the one before, times the vector; names of the pointers."""

    count: int
    k: int
    stride: int
    rows: str
    vector: str


def dots_of(product: Product) -> Shape | None:
    """The product as dot products of rows; None where it is not, or where results would not be neighbours."""
    p = product
    if p.n == 1 and p.k > 1 and p.m > 0 and p.ldc == 1 and not p.a_transposed and (p.b_transposed or p.ldb == 1):
        return Shape(p.m, p.k, p.lda, "%A", "%B")
    if p.m == 1 and p.k > 1 and p.n > 0 and p.b_transposed and (not p.a_transposed or p.lda == 1):
        return Shape(p.n, p.k, p.ldb, "%B", "%A")
    return None


class Dots:
    """The writing of such a kernel."""

    def __init__(self, product: Product, shape: Shape, target: Target) -> None:
        self.product, self.shape = product, shape
        self.w = Writer()
        self.declares = self.w.declares
        self.shared: dict[str, str] = {}
        self.tables: list[str] = []
        self.workspace_bytes = 0
        self.lanes = min(ROWS, target.lanes(product.dtype))
        self.vectors = Vectors(self.w, product.dtype, self.lanes, target)

    def notes(self) -> list[str]:
        return [f"dot products along k, {ROWS} rows by {self.lanes} lanes"]

    def body(self) -> list[str]:
        """Blocks of `ROWS` rows, and the rest."""
        count = self.shape.count
        full = count // ROWS * ROWS
        if full:
            with self.w.loop("i", 0, full, ROWS) as i:
                self._block(i, ROWS)
        if full < count:
            self._block(full, count - full)
        self.w.put("ret void")
        return self.w.lines

    def _block(self, i: Index, rows: int) -> None:
        """`rows` dot products from row i."""
        w, vectors, shape, lanes, element = self.w, self.vectors, self.shape, self.lanes, self.product.dtype
        start = w.offset(element, shape.rows, (i, shape.stride))
        sums = ["zeroinitializer"] * rows
        whole = shape.k // lanes * lanes
        if whole:
            loop, before = w.fresh("k"), w.block
            w.go(f"{loop}.loop")
            w.put(f"%{loop} = phi i64 [ 0, %{before} ], [ %{loop}.next, %{loop}.loop ]")
            running, coming = ([f"%{w.fresh(hint)}" for _ in sums] for hint in "cd")
            for old, new in zip(running, coming, strict=True):
                w.put(f"{old} = phi {vectors.type} [ zeroinitializer, %{before} ], [ {new}, %{loop}.loop ]")
            self._step(start, f"%{loop}", lanes, running, coming)
            w.put(f"%{loop}.next = add nuw nsw i64 %{loop}, {lanes}")
            w.put(f"%{loop}.more = icmp ult i64 %{loop}.next, {whole}")
            w.put(f"br i1 %{loop}.more, label %{loop}.loop, label %{loop}.done")
            w.label(f"{loop}.done")
            sums = coming
        if whole < shape.k:
            coming = [f"%{w.fresh('d')}" for _ in sums]
            self._step(start, whole, shape.k - whole, sums, coming)
            sums = coming
        for at in range(0, rows, lanes):
            group = sums[at : at + lanes]
            group += ["zeroinitializer"] * (lanes - len(group))
            self._store(w.plus(i, at), vectors.totals(group), min(lanes, rows - at))

    def _step(self, start: str, k: Index, valid: int, sums: list[str], coming: list[str]) -> None:
        """Add the products of `valid` numbers of the vector, from k on, with those of each row."""
        w, shape, bytes_, element = self.w, self.shape, self.vectors.bytes, self.product.dtype
        factor = self.vectors.load(w.offset(element, shape.vector, (k, 1)), valid, bytes_)
        here = w.offset(element, start, (k, 1))
        for r, (old, new) in enumerate(zip(sums, coming, strict=True)):
            row = self.vectors.load(w.offset(element, here, (r * shape.stride, 1)), valid, bytes_)
            self.vectors.fused(new, row, factor, old)

    def _store(self, i: Index, vector: str, valid: int) -> None:
        place = self.w.offset(self.product.dtype, "%C", (i, 1))
        if self.product.accumulate:
            vector = self.vectors.plus(self.vectors.load(place, valid, self.vectors.bytes), vector)
        self.vectors.store(vector, place, valid, self.vectors.bytes)
