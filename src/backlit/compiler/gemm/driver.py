"""The loops around the micro-kernel: blocks of k and of rows, panels of columns, tiles.

One function does this for all products of a program; a table of constants tells it sizes, strides, and which
micro-kernels fit. Compiled for one shape alone it would be no faster, as nearly all time is spent inside of the tiles.
"""

from __future__ import annotations

from functools import cache

from backlit.compiler.gemm.writer import Function, Index, Writer
from backlit.compiler.memory import LINE

NUMBERS = ("m", "n", "k", "a row", "a column", "b k", "b column", "c row", "k block", "m block", "rows", "width", "on",
           "stride", "room", "ahead")  # fmt: skip
"""Sizes; bytes from a row of A to the next, a column of A, one k of B, a column of B, a row of C; lengths of blocks; a
tile's rows and columns; whether C is added to; bytes from one stored row of B to the next; where in the workspace a
tile waits for an epilogue; how many of the pointers that are given lead to what the epilogue will read.
"""
FUNCTIONS = ("packer", "wide", "wide low", "narrow", "narrow low", "take wide", "take narrow")
"""What packs a panel; the tiles of a panel, its last rows; those of the last, narrower panel; the epilogue, for both.
Null where there are none.
"""

FETCHED = 256
"""Bytes of a row that are fetched ahead: what most tiles are wide."""


def table(numbers: dict[str, int], functions: dict[str, str]) -> str:
    """The constant that tells the driver of a product."""
    fields = [f"i64 {numbers.get(key, 0)}" for key in NUMBERS]
    fields += [f"ptr {functions.get(key, 'null')}" for key in FUNCTIONS]
    return f"{{ {', '.join(field.split()[0] for field in fields)} }} {{ {', '.join(fields)} }}"


@cache
def written(element: str, lanes: int) -> Function:
    """The function. It takes pointers to A, B, C, the workspace, the table, and what the epilogue is given, and the row
    and column of the whole product where C begins.
    """
    w, size = Writer(), 4 if element == "float" else 8
    w.declares.add("declare void @llvm.prefetch.p0(ptr, i32 immarg, i32 immarg, i32 immarg)")

    def field(key: str) -> str:
        """Read anew where it is needed: there are not so many registers."""
        at = (*NUMBERS, *FUNCTIONS).index(key)
        place = w.set("p", f"getelementptr i64, ptr %table, i64 {at}")
        return w.set("f", f"load {'i64' if key in NUMBERS else 'ptr'}, ptr {place}, align 8")

    def moved(pointer: str, *terms: tuple[Index, Index]) -> str:
        for index, stride in terms:
            pointer = w.set("p", f"getelementptr i8, ptr {pointer}, i64 {w.set('x', f'mul i64 {index}, {stride}')}")
        return pointer

    def chosen(is_first: str, first: str, second: str, kind: str) -> str:
        return w.set("chosen", f"select i1 {is_first}, {kind} {first}, {kind} {second}")

    with w.loop("kb", 0, field("k"), field("k block")) as kb, w.loop("mb", 0, field("m"), field("m block")) as mb:
        length = w.least(field("k block"), w.set("left", f"sub i64 {field('k')}, {kb}"))
        end = w.least(w.set("x", f"add i64 {mb}, {field('m block')}"), field("m"))
        with w.loop("j", 0, field("n"), field("width")) as j:
            left = w.set("left", f"sub i64 {field('n')}, {j}")
            columns = w.least(field("width"), left)
            padded = w.set("padded", f"and i64 {w.plus(columns, lanes - 1)}, -{lanes}")
            mask = w.set("mask", f"lshr i64 {(1 << lanes) - 1}, {w.set('gap', f'sub i64 {padded}, {columns}')}")
            is_wide = w.set("is.wide", f"icmp uge i64 {left}, {field('width')}")
            full, low, take = (
                chosen(is_wide, field(a), field(b), "ptr")
                for a, b in (("wide", "narrow"), ("wide low", "narrow low"), ("take wide", "take narrow"))
            )
            b_row = field("b k")
            b = moved("%B", (kb, b_row), (j, field("b column")))
            packer, before, pack, ready = field("packer"), w.block, w.fresh("pack"), w.fresh("ready")
            w.put(f"br i1 {w.set('plain', f'icmp eq ptr {packer}, null')}, label %{ready}, label %{pack}")
            w.label(pack)
            numbers = ", ".join(f"i64 {number}" for number in (field("stride"), columns, padded, length))
            w.put(f"call void {packer}(ptr {b}, ptr %W, {numbers})")
            width = w.times(padded, size)
            w.go(ready)
            panel = w.set("panel", f"phi ptr [ {b}, %{before} ], [ %W, %{pack} ]")
            panel_row = w.set("panel.row", f"phi i64 [ {b_row}, %{before} ], [ {width}, %{pack} ]")
            # Where an epilogue takes the tiles over and k is whole, they wait in the workspace, and C is not needed.
            taken = w.set("taken", f"icmp ne ptr {take}, null")
            whole = w.set("whole", f"icmp uge i64 {length}, {field('k')}")
            apart = w.set("apart", f"and i1 {taken}, {whole}")
            through = w.set("through", f"icmp uge i64 {w.set('x', f'add i64 {kb}, {length}')}, {field('k')}")
            hands_on = w.set("hands.on", f"and i1 {taken}, {through}")
            ahead = field("ahead")
            some = w.set("some", f"icmp ne i64 {ahead}, 0")
            fetches = w.set("fetches", f"and i1 {hands_on}, {some}")
            c_row = chosen(apart, str(w.times(padded, size)), field("c row"), "i64")
            with w.loop("i", mb, end, field("rows")) as i:
                left, rows = w.set("left", f"sub i64 {end}, {i}"), field("rows")
                tile = chosen(w.set("is.low", f"icmp ult i64 {left}, {rows}"), low, full, "ptr")
                a = moved("%A", (i, field("a row")), (kb, field("a column")))
                c = moved("%C", (i, field("c row")), (j, size))
                c = chosen(apart, w.set("p", f"getelementptr i8, ptr %W, i64 {field('room')}"), c, "ptr")
                on = w.set("on", f"or i64 {field('on')}, {kb}")
                numbers = ", ".join(
                    f"i64 {x}" for x in (field("a row"), field("a column"), panel_row, c_row, length, mask, on)
                )
                with w.when("fetch", fetches), w.loop("e", 0, ahead, 1) as e:
                    start = w.set("e", f"load ptr, ptr {w.offset('ptr', '%given', (e, 1))}, align 8")
                    row, column = (w.set("x", f"add i64 {x}, {y}") for x, y in (("%row", i), ("%column", j)))
                    start = moved(start, (row, field("c row")), (column, size))
                    with w.loop("r", 0, w.least(left, rows), 1) as r:
                        line = moved(start, (r, field("c row")))
                        for skip in range(0, FETCHED, LINE):
                            place = w.offset("i8", line, (skip, 1))
                            w.put(f"call void @llvm.prefetch.p0(ptr {place}, i32 1, i32 3, i32 1)")
                w.put(f"call void {tile}(ptr {a}, ptr {panel}, ptr {c}, {numbers})")
                with w.when("hand", hands_on):
                    row, column = (w.set("x", f"add i64 {x}, {y}") for x, y in (("%row", i), ("%column", j)))
                    step = w.set("step", f"udiv i64 {c_row}, {size}")
                    last = ", ".join(f"i64 {x}" for x in (step, row, column, w.least(left, rows)))
                    w.put(f"call void {take}(ptr %given, ptr {c}, {last})")
    w.put("ret void")
    head = [*(f"ptr noalias %{x}" for x in "ABCW"), "ptr %table", "ptr %given", "i64 %row", "i64 %column"]
    return w.function(f"product.{element}", head)
