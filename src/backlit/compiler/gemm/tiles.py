"""The general kernel: tiles of C in registers, panels of B, blocks of k and of rows."""

from __future__ import annotations

from backlit.compiler.gemm import driver, packing
from backlit.compiler.gemm.epilogue import Epilogue
from backlit.compiler.gemm.micro import Micro, written
from backlit.compiler.gemm.plan import Plan, Problem, problem_of
from backlit.compiler.gemm.product import Product
from backlit.compiler.gemm.vectors import Vectors
from backlit.compiler.gemm.writer import Function, Writer
from backlit.compiler.target import Target


class Tiles:
    """The writing of one kernel: a call of the driver, with what is true of this product."""

    def __init__(self, product: Product, target: Target, epilogue: Epilogue | None, plan: Plan) -> None:
        self.product, self.target, self.epilogue, self.plan = product, target, epilogue, plan
        self.problem: Problem = problem_of(product)
        self.element, self.lanes = product.dtype, target.lanes(product.dtype)
        self.w = Writer()
        self.declares = self.w.declares
        self.shared: dict[str, str] = {}
        self.tables: list[str] = []
        self.workspace_bytes = 0

    def notes(self) -> list[str]:
        plan, p = self.plan, self.problem
        said = ["computed as its transpose"] if p.swapped else []
        said.append(f"tile {plan.rows}x{plan.vectors}x{self.lanes}")
        said += ["B packed"] if plan.packs and p.k else []
        said += [f"k by {plan.k_block}"] if plan.k_block < p.k else []
        said += [f"rows by {plan.m_block}"] if plan.m_block < p.m else []
        return said

    def body(self) -> list[str]:
        if self.problem.m and self.problem.n:
            if self.problem.k:
                self._drive()
            elif not self.product.accumulate:
                self._clear()
        self.w.put("ret void")
        return self.w.lines

    def _clear(self) -> None:
        """A sum without terms."""
        vectors = Vectors(self.w, self.element, self.lanes, self.target)
        with self.w.loop("i", 0, self.problem.m, 1) as i:
            row = self.w.offset(self.element, "%C", (i, self.problem.ldc))
            for j in range(0, self.problem.n, self.lanes):
                place = self.w.offset(self.element, row, (j, 1))
                vectors.store("zeroinitializer", place, min(self.lanes, self.problem.n - j), vectors.bytes)

    def _drive(self) -> None:
        p, plan, size = self.problem, self.plan, self.product.element_bytes
        width = plan.vectors * self.lanes
        packed = plan.k_block * min(width, -(-p.n // self.lanes) * self.lanes) * size if plan.packs else 0
        bk, bj = (1, p.ldb) if p.b_transposed else (p.ldb, 1)
        numbers = {"m": p.m, "n": p.n, "k": p.k, "k block": plan.k_block, "m block": plan.m_block}
        numbers |= {"a row": p.a_row * size, "a column": p.a_column * size, "b k": bk * size, "b column": bj * size}
        numbers |= {"c row": p.ldc * size, "stride": p.ldb * size, "rows": plan.rows, "width": width, "room": packed}
        numbers |= {"on": int(self.product.accumulate), "ahead": len(self.epilogue.ahead) if self.epilogue else 0}
        functions = {"packer": self._packer()} if plan.packs else {}
        for panel, columns in (("wide", width if p.n >= width else 0), ("narrow", p.n % width)):
            functions[panel] = self._micro(plan.rows, columns)
            functions[f"{panel} low"] = self._micro(p.m % plan.rows, columns)
            functions[f"take {panel}"] = self._taker(columns)
        self.workspace_bytes = packed + (plan.rows * width * size if self.epilogue else 0)
        self.tables.append(f"@NAME.table = internal constant {driver.table(numbers, functions)}")
        drive = self._calls(driver.written(self.element, self.lanes))
        a, b = ("%B", "%A") if p.swapped else ("%A", "%B")
        pointers = ", ".join(f"ptr {x}" for x in (a, b, "%C", "%workspace", "@NAME.table", "%given"))
        self.w.put(f"call void {drive}({pointers}, i64 %row, i64 %column)")

    def _taker(self, columns: int) -> str:
        """What calls the epilogue for tiles of so many columns, its pointers given as an array."""
        if self.epilogue is None or not columns:
            return "null"
        w, goal = Writer(), self.epilogue.name(columns)
        skipped = len(self.epilogue.ahead)
        places = [w.offset("ptr", "%given", (skipped + at, 1)) for at in range(self.epilogue.pointers)]
        pointers = [f"ptr {w.set('e', f'load ptr, ptr {place}, align 8')}" for place in places]
        tile = ["ptr %tile", "i64 %stride", "i64 %row", "i64 %column", "i64 %rows"]
        w.put(f"call void @{goal}({', '.join([*pointers, *tile])})")
        w.put("ret void")
        body = "\n".join(w.lines)
        text = f"define internal void @{goal}.tiles(ptr %given, {', '.join(tile)}) nounwind {{\nentry:\n{body}\n}}\n"
        self.shared.setdefault(f"{goal}.tiles", text)
        return f"@{goal}.tiles"

    def _micro(self, rows: int, columns: int) -> str:
        """The micro-kernel for tiles of so many rows and columns, if there are any."""
        if not rows or not columns:
            return "null"
        vectors = -(-columns // self.lanes)
        valid = columns - (vectors - 1) * self.lanes
        valid = 0 if valid < self.lanes and self.target.has_masks else valid
        return self._calls(written(Micro(self.element, rows, vectors, self.lanes, valid), self.target))

    def _packer(self) -> str:
        if self.problem.b_transposed:
            return self._calls(packing.transposer(self.element, self.problem.k, self.target))
        return self._calls(packing.copier(self.element, self.target))

    def _calls(self, function: Function) -> str:
        """The name to call a shared function by, which the kernel then needs."""
        self.shared[function.name] = function.text
        self.declares.update(function.declares)
        return f"@{function.name}"
