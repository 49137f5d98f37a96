"""How a gradient is told: expressions read from text, and derivations by the chain rule. Prints nothing."""

from __future__ import annotations

from backlit.explain.derivation import Derivation, derivation
from backlit.explain.expression import Evaluated, Expression, read_values
from backlit.explain.formula import expression_latex, expression_text

__all__ = [
    "Derivation",
    "Evaluated",
    "Expression",
    "derivation",
    "expression_latex",
    "expression_text",
    "read_values",
]
