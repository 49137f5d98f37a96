"""Matrix products: kernels emitted as LLVM IR for one exact shape, with tiles that fill the CPU's vector registers.

`emit(Product(m, n, k), "name", host())` gives the text of a function; the caller puts it into a module. The way of
computing is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), with all sizes
known beforehand: a tile of C stays in registers while k runs; B comes in panels as wide as the tile, copied to the
workspace where that pays, one block of k at a time.
"""

from backlit.compiler.gemm.emission import Kernel, emit
from backlit.compiler.gemm.epilogue import Epilogue, columns_of, keeps_whole
from backlit.compiler.gemm.product import Part, Product, parallel

__all__ = ["Epilogue", "Kernel", "Part", "Product", "columns_of", "emit", "keeps_whole", "parallel"]
