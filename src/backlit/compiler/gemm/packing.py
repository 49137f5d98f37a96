"""Packing: a panel of B is copied to the workspace, row after row without gaps, as the tiles will read it.

Both functions take the panel's first number in B; where it shall go; the bytes from one stored row of B to the next;
how many columns the panel has; how many a packed row has, in whole vectors; and the length of k.
"""

from __future__ import annotations

from functools import cache

from backlit.compiler.gemm.vectors import Vectors
from backlit.compiler.gemm.writer import Function, Index, Writer
from backlit.compiler.target import Target

SQUARE = 8
"""At most so many rows are transposed at once: wider squares are faster by little, and LLVM is slow at shuffles."""


@cache
def copier(element: str, target: Target) -> Function:
    """The function that packs from B stored by rows. What fills up the last vector is 0."""
    w, lanes = Writer(), target.lanes(element)
    vectors = Vectors(w, element, lanes, target)
    whole = w.set("whole", f"and i64 %columns, -{lanes}")
    rest = w.set("rest", f"sub i64 %columns, {whole}")
    with w.loop("k", 0, "%length", 1) as k:
        source = w.set("p", f"getelementptr i8, ptr %source, i64 {w.set('x', f'mul i64 {k}, %stride')}")
        goal = w.offset(element, "%goal", (w.set("x", f"mul i64 {k}, %width"), 1))

        def copy(at: Index, kind: Vectors, source: str = source, goal: str = goal) -> None:
            found = kind.load(w.offset(element, source, (at, 1)), kind.lanes, kind.bytes)
            kind.store(found, w.offset(element, goal, (at, 1)), kind.lanes, kind.bytes)

        with w.when("some", w.set("some", f"icmp ne i64 {whole}, 0")), w.loop("v", 0, whole, lanes) as v:
            copy(v, vectors)
        with w.when("more", w.set("more", f"icmp ne i64 {rest}, 0")):
            vectors.store("zeroinitializer", w.offset(element, goal, (whole, 1)), lanes, vectors.bytes)
            with w.loop("v", whole, "%columns", 1) as v:
                copy(v, Vectors(w, element, 1, target))
    return _function(f"product.copy.{element}", w)


def transposer(element: str, k: int, target: Target) -> Function:
    """The function that packs from Bᵀ, by squares turned in registers. k: how many numbers a stored row has."""
    side = min(target.lanes(element), SQUARE)
    return _of_squares(element, side, min(k, side), target)


@cache
def _of_squares(element: str, side: int, short: int, target: Target) -> Function:
    """It turns squares of `side` rows, of each of which `short` numbers are read at once.

    The last square of a row overlaps the one before it if need be; a row shorter than a square is read in part.
    Past the last row, the last row is read again: those columns of the panel are never stored to C.
    """
    w = Writer()
    square = Vectors(w, element, side, target)
    last = w.set("last", "sub i64 %columns, 1")
    limit = w.set("limit", f"sub i64 %length, {short}")
    with w.loop("v", 0, "%columns", side) as v:
        starts = []
        for r in range(side):
            skipped = w.set("x", f"mul i64 {w.least(w.plus(v, r), last)}, %stride")
            starts.append(w.set("p", f"getelementptr i8, ptr %source, i64 {skipped}"))
        goal = w.offset(element, "%goal", (v, 1))
        with w.loop("k", 0, "%length", side) as k_at:
            at = w.least(k_at, limit)
            turned = square.transpose(
                [square.load(w.offset(element, start, (at, 1)), short, square.bytes) for start in starts]
            )
            across = w.set("x", f"mul i64 {at}, %width")
            for r in range(short):
                square.store(turned[r], w.offset(element, goal, (across, 1)), side, side * square.bytes)
                if r + 1 < short:
                    across = w.set("x", f"add i64 {across}, %width")
    return _function(f"product.transpose.{element}{short}", w)


def _function(name: str, w: Writer) -> Function:
    w.put("ret void")
    sizes = [f"i64 %{x}" for x in ("stride", "columns", "width", "length")]
    return w.function(name, ["ptr noalias %source", "ptr noalias %goal", *sizes])
