"""From a product to the text of its kernel."""

from __future__ import annotations

from dataclasses import dataclass

from backlit.compiler.gemm.dots import Dots, dots_of
from backlit.compiler.gemm.epilogue import Epilogue
from backlit.compiler.gemm.plan import Plan, plan_of
from backlit.compiler.gemm.product import Product
from backlit.compiler.gemm.tiles import Tiles
from backlit.compiler.gemm.writer import defined
from backlit.compiler.target import Target

PARAMETERS = [*(f"ptr noalias %{x}" for x in ("A", "B", "C", "workspace")), "ptr %given", "i64 %row", "i64 %column"]


@dataclass(frozen=True)
class Kernel:
    """Emitted code.

    `text` defines `@name` with `PARAMETERS`; `shared` are the functions that it calls, by name, which serve other
    kernels, too: a module needs each of them once. The workspace has `workspace_bytes` bytes (possibly 0: then null
    will do), starts at a multiple of 64 and need not be cleared. `declares` are the lines that the module needs once,
    however many kernels it holds. `note` tells the choices.
    """

    text: str
    shared: tuple[tuple[str, str], ...]
    workspace_bytes: int
    declares: frozenset[str]
    flops: int
    note: str


def emit(
    product: Product, name: str, target: Target, epilogue: Epilogue | None = None, plan: Plan | None = None
) -> Kernel:
    """The kernel of a product. With an epilogue, which `columns_of` must allow, its functions take the tiles; then C is
    written only if `keeps_whole` says so, and the kernel is told where the epilogue's pointers stand, and the row and
    column of the whole product where its C begins; without, that means nothing.

    Every element of C is the sum over k from the first to the last, each term added with one rounding where the CPU can
    (`Target.fuses`), starting from 0, or from C with `accumulate`: no choice of tile or block changes the result.
    (A matrix times a vector, both stored along k, is the exception: eight sums, of every eighth term, are added in
    pairs at the end.) Nothing outside of A, B, C and the workspace is read or written. `plan` overrides `plan_of`.

    The text is as good as optimized: LLVM's passes before code generation take longer than that itself and change
    nothing of weight, so a module of kernels may go without them.

    >>> from backlit.compiler.target import named
    >>> kernel = emit(Product(32, 10, 128), "product", named("skylake-avx512"))
    >>> kernel.note
    'float 32x10x128, tile 16x1x16'
    """
    dots = dots_of(product) if plan is None else None
    body: Tiles | Dots
    if dots is None:
        body = Tiles(product, target, epilogue, plan or plan_of(product, target))
    else:
        body = Dots(product, dots, target)
    lines = [line.replace("@NAME", f"@{name}") for line in body.body()]
    note = _note(product, body)
    tables = "".join(f"{table}\n".replace("@NAME", f"@{name}") for table in body.tables)
    function = defined(name, PARAMETERS, lines)
    text = f"{tables}; {note}\n{function}"
    return Kernel(text, tuple(body.shared.items()), body.workspace_bytes, frozenset(body.declares), product.flops, note)


def _note(product: Product, body: Tiles | Dots) -> str:
    """One line: shape, and what the body says of itself."""
    operands = [name for name, flag in (("A", product.a_transposed), ("B", product.b_transposed)) if flag]
    transposed = [f"{' and '.join(operands)} transposed"] if operands else []
    return ", ".join([f"{product.dtype} {product.m}x{product.n}x{product.k}", *transposed, *body.notes()])
