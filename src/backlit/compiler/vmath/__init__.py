"""The elementary functions as straight-line LLVM IR, a file per family; `backlit.compiler.vector_math` is the entry."""
