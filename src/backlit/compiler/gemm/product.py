"""A matrix product of exact shape, and its split into parts that may run side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backlit.core.errors import DomainError, DtypeError, ShapeError


@dataclass(frozen=True)
class Product:
    """C = A·B, or C += A·B with `accumulate`: A (m, k), B (k, n), C (m, n), all stored by rows.

    A transposed operand is stored as its transpose, A as (k, m) and B as (n, k), and no copy of the whole is made.
    `lda`, `ldb` and `ldc` say how many numbers lie between the starts of two stored rows (0: as many as a row has).

    >>> Product(2, 3, 5, a_transposed=True).lda
    2
    """

    m: int
    n: int
    k: int
    dtype: str = "float"
    a_transposed: bool = False
    b_transposed: bool = False
    lda: int = 0
    ldb: int = 0
    ldc: int = 0
    accumulate: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("float", "double"):
            raise DtypeError(f"a matrix product is of LLVM's float or double, not {self.dtype!r}")
        if min(self.m, self.n, self.k) < 0:
            raise ShapeError(f"a matrix product of m, n, k = {self.m}, {self.n}, {self.k}: sizes are 0 or more")
        rows = {
            "lda": self.m if self.a_transposed else self.k,
            "ldb": self.k if self.b_transposed else self.n,
            "ldc": self.n,
        }
        for name, length in rows.items():
            given = getattr(self, name)
            if given == 0:
                object.__setattr__(self, name, length)
            elif given < length:
                raise ShapeError(f"{name} = {given}: rows of {length} numbers would overlap; give {length} or more")

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.m * self.n * self.k

    @property
    def element_bytes(self) -> int:
        return 4 if self.dtype == "float" else 8


@dataclass(frozen=True)
class Part:
    """A part of a product: itself a product, and where in A, B and C it starts, counted in numbers; and the row and
    column of C.
    """

    product: Product
    a_offset: int
    b_offset: int
    c_offset: int
    row: int = 0
    column: int = 0


def parallel(product: Product, parts: int, grain: int = 32, by_rows: bool | None = None) -> list[Part]:
    """The product as at most `parts` products that write different parts of C, so that threads may run them.

    Every element of C is summed over k in the same order however the product is split, so the results are the same
    bits. Rows of C are cut, or columns (as a rule the longer side), at multiples of `grain`. Each part needs a
    workspace of its own.

    >>> [(part.product.m, part.c_offset) for part in parallel(Product(100, 10, 5), 2)]
    [(64, 0), (36, 640)]
    """
    if parts < 1 or grain < 1:
        raise DomainError(f"{parts} parts of multiples of {grain}: both must be at least 1")
    by_rows = product.m >= product.n if by_rows is None else by_rows
    length = product.m if by_rows else product.n
    step = max(2, grain, -(-length // (parts * grain)) * grain)
    found: list[Part] = []
    for start in range(0, length, step):
        size = min(step, length - start)
        if size == 1 < length:  # a single row or column could be summed in another order: the part before takes it
            found.pop()
            start, size = start - step, step + 1
        if by_rows:
            a = start if product.a_transposed else start * product.lda
            found.append(Part(replace(product, m=size), a, 0, start * product.ldc, row=start))
        else:
            b = start * product.ldb if product.b_transposed else start
            found.append(Part(replace(product, n=size), 0, b, start, column=start))
    return found or [Part(product, 0, 0, 0)]
