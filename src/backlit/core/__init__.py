"""Floor 1: what an expression *is*. The node, its shape and dtype, where it was made, walks, and errors."""
