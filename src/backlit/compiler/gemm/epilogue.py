"""What takes over the tiles of a product as soon as they are computed, while they are near."""

from __future__ import annotations

from dataclasses import dataclass

from backlit.compiler.gemm.dots import dots_of
from backlit.compiler.gemm.plan import plan_of, problem_of
from backlit.compiler.gemm.product import Product
from backlit.compiler.target import Target


@dataclass(frozen=True)
class Epilogue:
    """Functions `@name(ptr …, ptr tile, i64 stride, i64 row, i64 column, i64 rows)`, by how many columns they take.

    pointers: how many pointers stand before the tile; the kernel is given them, and hands them on. Element (r, c) of
    the tile stands at `tile + r * stride + c`, and is element (row + r, column + c) of the whole product.

    ahead: which of the pointers lead to arrays that are stored as C is; the part of them that the epilogue will read is
    fetched while a tile is computed, as no cache would expect it. These are given a second time, before all others.
    """

    names: tuple[tuple[int, str], ...]
    pointers: int
    ahead: tuple[int, ...] = ()

    def name(self, columns: int) -> str:
        """The function that takes tiles of so many columns."""
        return dict(self.names)[columns]


def columns_of(product: Product, target: Target) -> list[int]:
    """How many columns the tiles of a product have; none, if they are not to be taken over: loops over parts of a
    vector cost more than what they save.
    """
    lanes = target.lanes(product.dtype)
    if dots_of(product) is not None or problem_of(product).swapped or not product.flops or product.n % lanes:
        return []
    width = plan_of(product, target).vectors * lanes
    return [columns for columns in (width if product.n >= width else 0, product.n % width) if columns]


def keeps_whole(product: Product, target: Target) -> bool:
    """Whether C is needed in memory, though its tiles are taken over: k is cut, and sums wait there."""
    return plan_of(product, target).k_block < product.k
