"""What `derive` gives: a formula as text, as LaTeX, as Python, and as a function that can be called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.core.errors import BacklitError
from backlit.core.notation import Notation
from backlit.core.numbers import quietly
from backlit.core.value import Value, current
from backlit.explain import source as python_source
from backlit.explain import term_text
from backlit.explain.terms import Term, symbol

SCHEMA = "backlit.derived/1"
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class DeriveError(BacklitError, ValueError):
    """A function whose derivative cannot be written as one formula."""


@dataclass(frozen=True)
class Derived:
    """The derivative of a function by one of its arguments, as a formula.

    It can be called like the function, with numbers or NumPy arrays (elementwise). name, arguments: of the function;
    wrt: by which argument, order: how many times. function: the function itself as text. term: the formula as a tree.
    conventions: what is taken to hold at single points. checked: at how many points it was compared with the gradient
    that the engine computes.
    """

    name: str
    arguments: tuple[str, ...]
    wrt: str
    order: int
    function: str
    term: Term
    conventions: tuple[str, ...] = ()
    checked: int = 0
    _notations: dict[str, Notation] = field(default_factory=dict, repr=False, compare=False)
    _evaluate: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def expression(self) -> str:
        """The formula as text."""
        return term_text.text(self.term)

    def latex(self) -> str:
        """The formula as LaTeX."""
        return term_text.latex(self.term, self._notations)

    def source(self) -> str:
        """The source of a Python function that computes it with NumPy alone, elementwise for arrays.

        Raises DeriveError if an op of the user's own stands in the formula.
        """
        missing = python_source.unwritable(self.term)
        if missing is not None:
            raise DeriveError(
                f"derive: `{missing}` stands in the derivative, and NumPy has no function for it. "
                "The expression, its LaTeX and calling the derivative itself do work."
            )
        return self._python(self._title())

    def _python(self, doc: str = "") -> str:
        marks = f"{self.order}" if self.order > 1 else ""
        name = f"d{marks}{self.name}_d{self.wrt}{marks}"
        return python_source.python(self.term, self.arguments, name, doc)

    def __call__(self, *args: Any) -> Any:
        """The derivative at a point: a float for numbers, an array for arrays."""
        if len(args) != len(self.arguments):
            raise DeriveError(
                f"derive: the derivative takes {len(self.arguments)} arguments ({', '.join(self.arguments)}), "
                f"and was called with {len(args)}."
            )
        values = [np.asarray(current(arg)._data if isinstance(arg, Value) else arg) for arg in args]
        found = quietly(self._compiled(), *(np.asarray(x, np.float64) if x.dtype.kind in "iub" else x for x in values))
        return float(found) if np.ndim(found) == 0 else found

    def _compiled(self) -> Callable[..., Any]:
        if "" not in self._evaluate:
            namespace = dict(self._evaluate)
            exec(compile(self._python(), "<derived>", "exec"), namespace)  # written above, from a checked tree
            self._evaluate[""] = next(x for n, x in namespace.items() if n.startswith("d") and n.endswith(_tail(self)))
        return self._evaluate[""]  # type: ignore[no-any-return]

    def _title(self) -> str:
        marks = f"{self.order}" if self.order > 1 else ""
        return f"d{marks}/d{self.wrt}{marks} of {self.function}."

    def __str__(self) -> str:
        up = str(self.order).translate(_RAISED) if self.order > 1 else ""
        lines = [f"d{up}/d{self.wrt}{up} [{self.function}] = {self.expression}"]
        return "\n".join([*lines, *(f"  Convention: {note}." for note in self.conventions)])

    def _repr_latex_(self) -> str:
        up = f"^{{{self.order}}}" if self.order > 1 else ""
        wrt = term_text.latex(symbol(self.wrt))
        return rf"$\displaystyle \frac{{\partial{up}}}{{\partial {wrt}{up}}} = {self.latex()}$"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "arguments": list(self.arguments),
            "wrt": self.wrt,
            "order": self.order,
            "function": self.function,
            "expression": self.expression,
            "latex": self.latex(),
            "source": self.source() if python_source.unwritable(self.term) is None else None,
            "conventions": list(self.conventions),
            "checked": self.checked,
        }


def _tail(derived: Derived) -> str:
    return f"_d{derived.wrt}{derived.order if derived.order > 1 else ''}"
