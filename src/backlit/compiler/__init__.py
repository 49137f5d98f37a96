"""How a graph becomes machine code."""
