"""The general kernel: tiles of C in registers, panels of B, blocks of k and of rows."""

from __future__ import annotations

from dataclasses import dataclass

from backlit.compiler.gemm.epilogue import Epilogue
from backlit.compiler.gemm.plan import Plan, Problem, problem_of
from backlit.compiler.gemm.product import Product
from backlit.compiler.gemm.vectors import Vectors
from backlit.compiler.gemm.writer import Index, Writer
from backlit.compiler.target import Target

SQUARE = 8
"""At most so many rows are transposed at once: wider squares are faster by little, and LLVM is slow at shuffles."""

Cell = tuple[int, int]
"""Row and vector within a tile."""


@dataclass
class Panel:
    """The columns that a loop body works on: `vectors` vectors from column `j`, of the last one only `valid` lanes."""

    j: Index
    vectors: int
    valid: int


class Tiles:
    """The writing of one kernel."""

    def __init__(self, product: Product, name: str, target: Target, epilogue: Epilogue | None, plan: Plan) -> None:
        self.product, self.name, self.target, self.epilogue, self.plan = product, name, target, epilogue, plan
        self.problem: Problem = problem_of(product)
        self.element, self.lanes = product.dtype, target.lanes(product.dtype)
        self.w, self.declares = Writer(), set[str]()
        self.vectors = Vectors(self.w, self.element, self.lanes, target, self.declares)
        self.functions: list[str] = []
        self.workspace_bytes = 0
        self.A, self.B = ("%B", "%A") if self.problem.swapped else ("%A", "%B")

    def notes(self) -> list[str]:
        plan, p = self.plan, self.problem
        said = ["computed as its transpose"] if p.swapped else []
        said.append(f"tile {plan.rows}x{plan.vectors}x{self.lanes}")
        said += ["B packed"] if plan.packs and p.k else []
        said += [f"k by {plan.k_block}"] if plan.k_block < p.k else []
        said += [f"rows by {plan.m_block}"] if plan.m_block < p.m // plan.rows * plan.rows else []
        return said

    def body(self) -> list[str]:
        """The loops over blocks and panels."""
        w, p, plan = self.w, self.problem, self.plan
        if p.m and p.n:
            full = p.m // plan.rows * plan.rows
            with w.loop("kb", 0, p.k, plan.k_block) as kb:
                length: Index = plan.k_block
                if p.k % max(1, plan.k_block):
                    length = w.least(plan.k_block, w.set("left", f"sub i64 {p.k}, {kb}"))
                with w.loop("mb", 0, full, plan.m_block) as mb:
                    self._panels(kb, length, mb, full)
        w.put("ret void")
        return w.lines

    def _panels(self, kb: Index, length: Index, mb: Index, full: int) -> None:
        """All panels of columns: the full ones in a loop, then the narrower last one."""
        p, plan = self.problem, self.plan
        width = plan.vectors * self.lanes
        wide = p.n // width * width
        if wide:
            with self.w.loop("j", 0, wide, width) as j:
                self._panel(Panel(j, plan.vectors, self.lanes), kb, length, mb, full)
        rest = p.n - wide
        if rest:
            vectors = -(-rest // self.lanes)
            self._panel(Panel(wide, vectors, rest - (vectors - 1) * self.lanes), kb, length, mb, full)

    def _panel(self, panel: Panel, kb: Index, length: Index, mb: Index, full: int) -> None:
        """One panel: pack it, then all tiles of the block of rows."""
        w, p, plan = self.w, self.problem, self.plan
        end: Index = w.least(w.plus(mb, plan.m_block), full) if plan.m_block < full else full
        rest = p.m - full
        early = isinstance(end, int) and rest > 0  # the rest of the rows first, so that its tile can pack as it goes
        packing = plan.packs and early and not p.b_transposed and panel.valid == self.lanes
        if plan.packs and p.k and not packing:
            self._pack(panel, kb, length)
        if early:
            self._tile(rest, panel, full, kb, length, packing)
        with w.loop("i", mb, end, plan.rows) as i:
            self._tile(plan.rows, panel, i, kb, length)
        if not rest or early:
            return
        ends, done = w.fresh("rest"), w.fresh("rested")
        w.put(f"br i1 {w.set('last', f'icmp eq i64 {end}, {full}')}, label %{ends}, label %{done}")
        w.label(ends)
        self._tile(rest, panel, full, kb, length)
        w.go(done)

    # -------------------------------------------------------------------------------------------------------- the tile

    def _tile(self, rows: int, panel: Panel, i: Index, kb: Index, length: Index, packing: bool = False) -> None:
        """C's tile from row i: into registers, along k, and back; with `packing` B is read unpacked."""
        w, p, vectors = self.w, self.problem, self.vectors
        cells = [(r, v) for r in range(rows) for v in range(panel.vectors)]
        corner = w.offset(self.element, "%C", (i, p.ldc), (panel.j, 1))
        places = {(r, v): w.offset(self.element, corner, (r * p.ldc + v * self.lanes, 1)) for r, v in cells}
        sums = dict.fromkeys(cells, "zeroinitializer")
        if self.product.accumulate:
            sums = self._loaded(panel, places)
        elif kb != 0:  # from 0 in the first block of k, from C in the others
            zero, old, start = w.block, w.fresh("old"), w.fresh("start")
            w.put(f"br i1 {w.set('first', f'icmp eq i64 {kb}, 0')}, label %{start}, label %{old}")
            w.label(old)
            loaded = self._loaded(panel, places)
            w.go(start)
            for cell, name in loaded.items():
                sums[cell] = w.set("c", f"phi {vectors.type} [ zeroinitializer, %{zero} ], [ {name}, %{old} ]")
        if p.k:
            sums = self._along_k(rows, panel, i, kb, length, sums, packing)
        if self.epilogue is None:
            self._store(panel, places, sums)
        elif self.plan.k_block >= p.k:
            self._hand_on(rows, panel, i, self._apart(rows, panel, sums), panel.vectors * self.lanes)
        else:
            self._store(panel, places, sums)
            last, done = w.fresh("last"), w.fresh("stored")
            is_last = w.set("last", f"icmp uge i64 {w.plus(kb, self.plan.k_block)}, {p.k}")
            w.put(f"br i1 {is_last}, label %{last}, label %{done}")
            w.label(last)
            self._hand_on(rows, panel, i, corner, p.ldc)
            w.go(done)

    def _loaded(self, panel: Panel, places: dict[Cell, str]) -> dict[Cell, str]:
        """What C holds."""
        alignment = self._alignment(self.problem.ldc)
        return {cell: self.vectors.load(at, self._valid(panel, cell[1]), alignment) for cell, at in places.items()}

    def _along_k(
        self, rows: int, panel: Panel, i: Index, kb: Index, length: Index, sums: dict[Cell, str], packing: bool
    ) -> dict[Cell, str]:
        """The loop that does the work: for each k, `rows` numbers of A times the vectors of B."""
        w, p, vectors = self.w, self.problem, self.vectors
        packs = self.plan.packs and not packing
        a_start = w.offset(self.element, self.A, (i, p.a_row), (kb, p.a_column))
        b_start, b_step = "%workspace", panel.vectors * self.lanes
        if not packs:
            b_start, b_step = w.offset(self.element, self.B, (kb, p.ldb), (panel.j, 1)), p.ldb
        loop, before = w.fresh("k"), w.block
        w.go(f"{loop}.loop")
        w.put(f"%{loop} = phi i64 [ 0, %{before} ], [ %{loop}.next, %{loop}.loop ]")
        running, coming = ({cell: f"%{w.fresh(hint)}" for cell in sums} for hint in "cd")
        for cell, start in sums.items():
            w.put(f"{running[cell]} = phi {vectors.type} [ {start}, %{before} ], [ {coming[cell]}, %{loop}.loop ]")
        a = w.offset(self.element, a_start, (f"%{loop}", p.a_column))
        b = w.offset(self.element, b_start, (f"%{loop}", b_step))
        alignment = self.target.lanes_bytes if packs else self._alignment(p.ldb)
        across = [
            vectors.load(
                w.offset(self.element, b, (v * self.lanes, 1)),
                self.lanes if packs else self._valid(panel, v),
                alignment,
            )
            for v in range(panel.vectors)
        ]
        if packing:
            width = self._room(panel)
            goal = w.offset(self.element, "%workspace", (f"%{loop}", width))
            for v, vector in enumerate(across):
                place = w.offset(self.element, goal, (v * self.lanes, 1))
                vectors.store(vector, place, self.lanes, self.target.lanes_bytes)
        for r in range(rows):
            down = vectors.spread(w.offset(self.element, a, (r * p.a_row, 1)))
            for v in range(panel.vectors):
                vectors.fused(coming[r, v], down, across[v], running[r, v])
        w.put(f"%{loop}.next = add nuw nsw i64 %{loop}, 1")
        w.put(f"%{loop}.more = icmp ult i64 %{loop}.next, {length}")
        w.put(f"br i1 %{loop}.more, label %{loop}.loop, label %{loop}.done")
        w.label(f"{loop}.done")
        return coming

    def _apart(self, rows: int, panel: Panel, sums: dict[Cell, str]) -> str:
        """The sums in a tile of their own, in the workspace."""
        element, width = self.element, panel.vectors * self.lanes
        packed = self.plan.k_block * self.plan.vectors * self.lanes if self.plan.packs else 0
        tile = self.w.offset(element, "%workspace", (packed, 1))
        self.workspace_bytes = max(self.workspace_bytes, (packed + rows * width) * self.product.element_bytes)
        for (r, v), name in sums.items():
            place = self.w.offset(element, tile, (r * width + v * self.lanes, 1))
            self.vectors.store(name, place, self.lanes, self.target.lanes_bytes)
        return tile

    def _hand_on(self, rows: int, panel: Panel, i: Index, tile: str, stride: int) -> None:
        """Call the epilogue for a tile."""
        assert self.epilogue is not None
        columns = (panel.vectors - 1) * self.lanes + panel.valid
        row, column = (self.w.set("at", f"add i64 %{name}, {at}") for name, at in (("row", i), ("column", panel.j)))
        given = [*(f"ptr {pointer}" for pointer in self.epilogue.given), f"ptr {tile}"]
        given += [f"i64 {number}" for number in (stride, row, column, rows)]
        self.w.put(f"call void @{self.epilogue.name(columns)}({', '.join(given)})")

    def _store(self, panel: Panel, places: dict[Cell, str], sums: dict[Cell, str]) -> None:
        for cell, name in sums.items():
            self.vectors.store(name, places[cell], self._valid(panel, cell[1]), self._alignment(self.problem.ldc))

    def _valid(self, panel: Panel, v: int) -> int:
        return panel.valid if v == panel.vectors - 1 else self.lanes

    def _alignment(self, stride: int) -> int:
        """What is known of the addresses of vectors in a matrix of this row stride."""
        whole = self.product.aligned and stride * self.product.element_bytes % self.target.lanes_bytes == 0
        return self.target.lanes_bytes if whole else self.product.element_bytes

    # ------------------------------------------------------------------------------------------------------ the packing

    def _pack(self, panel: Panel, kb: Index, length: Index) -> None:
        """The panel's part of B, rows kb to kb + length, into the workspace, row after row without gaps."""
        w, p = self.w, self.problem
        width = self._room(panel)
        if p.b_transposed:
            start = w.offset(self.element, self.B, (panel.j, p.ldb), (kb, 1))
            columns = (panel.vectors - 1) * self.lanes + panel.valid
            if not self.functions:
                self.functions.append(self._transposer())
            given = f"ptr {start}, ptr %workspace, i64 {columns}, i64 {width}, i64 {length}"
            w.put(f"call void @{self.name}.transpose({given})")
            return
        start = w.offset(self.element, self.B, (kb, p.ldb), (panel.j, 1))
        with w.loop("copy", 0, length, 1) as k:
            source = w.offset(self.element, start, (k, p.ldb))
            goal = w.offset(self.element, "%workspace", (k, width))
            for v in range(panel.vectors):
                place = w.offset(self.element, source, (v * self.lanes, 1))
                found = self.vectors.load(place, self._valid(panel, v), self._alignment(p.ldb))
                place = w.offset(self.element, goal, (v * self.lanes, 1))
                self.vectors.store(found, place, self.lanes, self.target.lanes_bytes)

    def _room(self, panel: Panel) -> int:
        """The length of a packed row; the workspace is made large enough for the panel."""
        width = panel.vectors * self.lanes
        self.workspace_bytes = max(self.workspace_bytes, self.plan.k_block * width * self.product.element_bytes)
        return width

    def _transposer(self) -> str:
        """A function that packs `columns` stored rows of Bᵀ, `length` numbers each, by squares turned in registers.

        The last square of a row overlaps the one before it if need be; a row shorter than a square is read in part.
        Past the last row, the last row is read again: those columns of the panel are never stored to C.
        """
        p, element, w = self.problem, self.element, Writer()
        side = min(self.lanes, SQUARE)
        square = Vectors(w, element, side, self.target, self.declares)
        short = min(p.k, side)
        with w.loop("v", 0, "%columns", side) as v:
            last = w.set("last", "sub i64 %columns, 1")
            rows = [w.plus(v, r) for r in range(side)]
            starts = [w.offset(element, "%source", (w.least(row, last) if p.n % side else row, p.ldb)) for row in rows]
            limit = w.set("limit", f"sub i64 %length, {short}")
            goal = w.offset(element, "%goal", (v, 1))
            with w.loop("k", 0, "%length", side) as k:
                at = w.least(k, limit)
                turned = square.transpose(
                    [square.load(w.offset(element, start, (at, 1)), short, square.bytes) for start in starts]
                )
                across = w.set("x", f"mul i64 {at}, %width")
                for r in range(short):
                    place = w.set("p", f"getelementptr {element}, ptr {goal}, i64 {across}")
                    square.store(turned[r], place, side, side * square.bytes)
                    across = w.set("x", f"add i64 {across}, %width")
        w.put("ret void")
        head = "ptr noalias %source, ptr noalias %goal, i64 %columns, i64 %width, i64 %length"
        body = "\n".join(w.lines)
        return f"define internal void @{self.name}.transpose({head}) noinline nounwind {{\nentry:\n{body}\n}}\n"
