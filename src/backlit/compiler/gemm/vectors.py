"""Vector instructions as text: loads and stores that may be partial, multiply-add, transposition in registers."""

from __future__ import annotations

from backlit.compiler.gemm.writer import Writer
from backlit.compiler.target import Target


class Vectors:
    """Instructions on vectors of `lanes` numbers, written to `w`."""

    def __init__(self, w: Writer, element: str, lanes: int, target: Target) -> None:
        self.w, self.element, self.lanes, self.target = w, element, lanes, target
        self.type = f"<{lanes} x {element}>"
        self.bytes = 4 if element == "float" else 8
        self.suffix = f"v{lanes}f{8 * self.bytes}"

    def mask(self, valid: int) -> str:
        """The constant whose first `valid` lanes are true."""
        return "<" + ", ".join(f"i1 {int(lane < valid)}" for lane in range(self.lanes)) + ">"

    def load(self, place: str, valid: int, alignment: int, mask: str = "") -> str:
        """The vector at `place`; lanes from `valid` on are 0 and not read. Or those that are not in a mask."""
        if not mask and valid == self.lanes:
            return self.w.set("v", f"load {self.type}, ptr {place}, align {alignment}")
        kind = f"<{self.lanes} x i1>"
        called = f"{self.type} @llvm.masked.load.{self.suffix}.p0"
        self.w.declares.add(f"declare {called}(ptr, i32 immarg, {kind}, {self.type})")
        given = f"ptr {place}, i32 {alignment}, {kind} {mask or self.mask(valid)}, {self.type} zeroinitializer"
        return self.w.set("v", f"call {called}({given})")

    def store(self, vector: str, place: str, valid: int, alignment: int, mask: str = "") -> None:
        """The first `valid` lanes to `place`, or those in a mask; the rest of the memory is not touched."""
        if not mask and valid == self.lanes:
            self.w.put(f"store {self.type} {vector}, ptr {place}, align {alignment}")
            return
        kind = f"<{self.lanes} x i1>"
        called = f"void @llvm.masked.store.{self.suffix}.p0"
        self.w.declares.add(f"declare {called}({self.type}, ptr, i32 immarg, {kind})")
        given = f"{self.type} {vector}, ptr {place}, i32 {alignment}, {kind} {mask or self.mask(valid)}"
        self.w.put(f"call {called}({given})")

    def spread(self, place: str) -> str:
        """The number at `place` in all lanes."""
        number = self.w.set("a", f"load {self.element}, ptr {place}, align {self.bytes}")
        one = self.w.set("a", f"insertelement {self.type} poison, {self.element} {number}, i64 0")
        return self.shuffle(one, "poison", [0] * self.lanes)

    def fused(self, result: str, a: str, b: str, c: str) -> None:
        """result = a * b + c."""
        verb, kind = "fma" if self.target.fuses else "fmuladd", self.type
        self.w.declares.add(f"declare {kind} @llvm.{verb}.{self.suffix}({kind}, {kind}, {kind})")
        self.w.put(f"{result} = call {kind} @llvm.{verb}.{self.suffix}({kind} {a}, {kind} {b}, {kind} {c})")

    def plus(self, a: str, b: str) -> str:
        return self.w.set("s", f"fadd {self.type} {a}, {b}")

    def shuffle(self, a: str, b: str, lanes: list[int]) -> str:
        """Lanes chosen among those of a, and then b."""
        chosen = "zeroinitializer" if not any(lanes) else f"<{', '.join(f'i32 {lane}' for lane in lanes)}>"
        return self.w.set("t", f"shufflevector {self.type} {a}, {self.type} {b}, <{self.lanes} x i32> {chosen}")

    def exchange(self, a: str, b: str, step: int) -> tuple[str, str]:
        """Swap the blocks of `step` lanes that lie off the diagonal of the rows a and b."""
        lanes = range(self.lanes)
        upper = [lane + self.lanes - step if lane & step else lane for lane in lanes]
        lower = [lane + self.lanes if lane & step else lane + step for lane in lanes]
        return self.shuffle(a, b, upper), self.shuffle(a, b, lower)

    def transpose(self, rows: list[str]) -> list[str]:
        """The columns of a square of `lanes` rows."""
        rows, step = list(rows), 1
        while step < self.lanes:
            for r in range(self.lanes):
                if not r & step:
                    rows[r], rows[r + step] = self.exchange(rows[r], rows[r + step], step)
            step *= 2
        return rows

    def totals(self, rows: list[str]) -> str:
        """The sums over the lanes of each of `lanes` rows, as one vector: neighbours first, then pairs, ..."""
        step = 1
        while len(rows) > 1:
            rows = [self.plus(*self.exchange(a, b, step)) for a, b in zip(rows[::2], rows[1::2], strict=True)]
            step *= 2
        return rows[0]
