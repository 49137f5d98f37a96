"""The choice of tile, blocks and packing for one product on one CPU, by counting cycles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from backlit.compiler.gemm.product import Product
from backlit.compiler.target import Target


@dataclass(frozen=True)
class Problem:
    """A product as the kernel computes it: n runs along vectors, and C's elements along n are neighbours in memory.

    It is the product itself, or its transpose Cᵀ = Bᵀ·Aᵀ where C is one column: then `swapped`, and A and B change
    places. A's element (i, p) stands at `i * a_row + p * a_column`; B's element (p, j) at `p * ldb + j`, or at
    `j * ldb + p` if `b_transposed`.
    """

    m: int
    n: int
    k: int
    a_row: int
    a_column: int
    b_transposed: bool
    ldb: int
    ldc: int
    swapped: bool


def problem_of(product: Product) -> Problem:
    """The product as it is computed."""
    p = product
    if p.n == 1 and p.m > 1 and p.ldc == 1:
        b_column = 1 if p.b_transposed else p.ldb
        return Problem(1, p.m, p.k, 0, b_column, not p.a_transposed, p.lda, p.m, True)
    row, column = (1, p.lda) if p.a_transposed else (p.lda, 1)
    return Problem(p.m, p.n, p.k, row, column, p.b_transposed, p.ldb, p.ldc, False)


@dataclass(frozen=True)
class Plan:
    """Tiles of `rows` rows by `vectors` vectors; blocks of `k_block` of k and `m_block` rows; whether B is packed.

    `rows` is at most m, and `m_block` a multiple of it or m; `vectors` is at most what n needs.
    """

    rows: int
    vectors: int
    k_block: int
    m_block: int
    packs: bool


HEIGHTS = (1, 2, 4, 6, 8, 16)
"""Rows of a tile: few choices, so that products share their micro-kernels. More rows would be more streams of memory
than a cache can follow. A product of fewer rows may be one tile.
"""


@cache
def plan_of(product: Product, target: Target) -> Plan:
    """The plan with the fewest estimated cycles."""
    p = problem_of(product)
    lanes = target.lanes(product.dtype)
    columns = -(-p.n // lanes)
    far = p.k * p.ldb * product.element_bytes > target.l1_bytes
    packs = p.b_transposed or (far and p.m >= 96)  # a copy pays where many rows use it
    # A vector that straddles two lines of the cache is loaded twice; packed ones never do.
    straddles = not packs and p.ldb % lanes > 0
    load = 1 + target.lanes_bytes / 64 if straddles else 1.0
    # The smallest tile, for products without elements; any real one is chosen below.
    best, rows, vectors = float("inf"), 1, 1
    for v in range(1, min(columns, target.registers // 2) + 1):
        for r in sorted({height for height in HEIGHTS if height <= p.m} | {max(1, min(p.m, HEIGHTS[-1]))}):
            if not _fits(r, v, target):
                break
            cost = sum(
                many * across * _tile_cycles(height, width, p.k, load, target)
                for many, height in ((p.m // r, r), (1, p.m % r))
                for across, width in ((columns // v, v), (1, columns % v))
                if height and width
            )
            kernels = (1 + (p.m % r > 0)) * ((p.n >= v * lanes) + (p.n % (v * lanes) > 0))
            cost *= 1 + 0.02 * kernels  # each is code to compile
            if cost < best:
                best, rows, vectors = cost, r, v
    # A packed panel stays in the first cache beside rows of A. Each block of k reads and writes all of C.
    room = target.l1_bytes * 2 // 3 * (2 if p.m * p.n * product.element_bytes > target.l2_bytes // 2 else 1)
    k_block = _blocks(p.k, max(4 * lanes, room // (vectors * target.lanes_bytes)), lanes) if packs else p.k
    while k_block < p.k and 0 < p.k % k_block < lanes:  # a transposed panel is packed by squares of `lanes`
        k_block += lanes
    m_block = _blocks(p.m, max(rows, 128, target.l2_bytes // 2 // (max(k_block, 1) * product.element_bytes)), rows)
    return Plan(rows, vectors, k_block, m_block, packs)


def _fits(rows: int, vectors: int, target: Target) -> bool:
    """Whether a tile leaves registers for its vectors of B, a broadcast number of A, and products not yet added."""
    broadcast = 0 if vectors == 1 and target.has_masks else 1 if target.fuses else 3
    return rows * vectors + vectors + broadcast <= target.registers


def _tile_cycles(rows: int, vectors: int, k: int, load: float, target: Target) -> float:
    """Estimated cycles of a tile: k steps, each bound by arithmetic, loads, latency or issue, and its start and end.

    Two multiply-adds and two loads a cycle, four cycles from one multiply-add to the next that needs it, six
    instructions a cycle: true of most cores of today. A vector of B counts as `load` loads. The share for loads that
    is added to the bound was fitted to measurements.
    """
    fused = rows * vectors
    broadcasts = 0 if vectors == 1 and target.has_masks else rows
    loads = rows + load * vectors
    step = max(fused / 2, loads / 2, 4.0, (fused + vectors + broadcasts + 2) / 6)
    return k * (step + 0.2 * loads) + 12 + fused


def _blocks(size: int, most: int, multiple: int) -> int:
    """The length of equal blocks of at most about `most`, a multiple of `multiple` where there are several."""
    count = -(-size // most)
    return size if count <= 1 else -(-size // (count * multiple)) * multiple
