"""What a derivation consists of, as data: every number on a screen is a field here.

`as_dict` writes them for JSON; `layout` writes them as text, and `typeset` as LaTeX.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.explain.formula import Formula

SCHEMA, VERSION = "backlit.derivation", 1


@dataclass(frozen=True, slots=True)
class ForwardStep:
    """One node computed from others.

    label: what it is called. op: the operation. formula: how it was computed. value: a float or an array.
    source, column: the text that it was read from, and where that stands (None for graphs of programs).
    """

    label: str
    op: str
    formula: Formula
    value: Any
    source: str | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one node passes back to one of its inputs.

    target: the input. position: which input it is. which: "left" or "right" where a node uses it twice.
    partial: the local partial as a formula (None where the op has no partials, such as `sum`), and its value.
    gradient: the product with the gradient that arrives. silence: why nothing flows, not even a zero, where
    that is so. shared: whether other paths lead to the target, too.
    """

    target: str
    position: int
    which: str
    partial: Formula | None
    partial_value: Any
    gradient: Any
    silence: str = ""
    shared: bool = False

    @property
    def flows(self) -> bool:
        """Whether anything is passed on, be it a zero."""
        return not self.silence


@dataclass(frozen=True, slots=True)
class Join:
    """The sum where several paths lead to one node."""

    target: str
    terms: tuple[Any, ...]
    total: Any


@dataclass(frozen=True, slots=True)
class BackwardStep:
    """One node on the way back: the gradient that arrives there and what it passes on.

    rule: the rule's name. joins: the sums that are complete now. notes: conventions at kinks, and what is
    not finite.
    """

    label: str
    op: str
    formula: Formula
    rule: str
    gradient: Any
    parts: tuple[Part, ...]
    joins: tuple[Join, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One input in the final table.

    nudging: the derivative found by moving the input a little both ways, and a bar for its error (None where
    that was not possible). below, above: the slopes of the two sides where they differ; infinite at a jump.
    verdict: "agrees", "differs", "kink" (the two sides differ), or "none" (nudging found no finite number).
    """

    label: str
    value: Any
    gradient: Any
    nudging: Any = None
    error: Any = None
    below: float | None = None
    above: float | None = None
    verdict: str = "none"


@dataclass(frozen=True, slots=True)
class Example:
    """What really happens to the output when one input is raised by a little.

    promised: the change that the gradient leads one to expect, gradient × raised_by.
    """

    label: str
    raised_by: float
    promised: float
    change: float


@dataclass(frozen=True)
class Steps:
    """A whole derivation by the chain rule, from the inputs to the output and back.

    expression: the text of the whole, and as LaTeX. output: the label of the result, and its value.
    inputs: every variable with its value, differentiated or not. forward, backward: the steps in their order.
    table: a row for each input that was asked for. notes: what holds for the whole.
    """

    expression: str
    expression_latex: str
    output: str
    value: Any
    inputs: tuple[tuple[str, Any], ...]
    forward: tuple[ForwardStep, ...]
    backward: tuple[BackwardStep, ...]
    table: tuple[Row, ...]
    example: Example | None = None
    notes: tuple[str, ...] = ()


def as_dict(steps: Steps) -> dict[str, Any]:
    """A derivation as nested dicts and lists that JSON can hold, with the name and version of their schema.

    The keys are the fields of the classes above. Numbers are floats in full precision, arrays nested lists;
    numbers that JSON does not know are the strings "nan", "inf" and "-inf".
    """
    return {"schema": SCHEMA, "version": VERSION, **_plain_fields(steps)}


def _plain_fields(record: Any) -> dict[str, Any]:
    return {name: _plain(getattr(record, name)) for name in record.__dataclass_fields__}


def _plain(x: Any) -> Any:
    if hasattr(x, "__dataclass_fields__"):
        return _plain_fields(x)
    if isinstance(x, (tuple, list)):
        return [_plain(item) for item in x]
    if isinstance(x, (np.ndarray, np.generic)):
        return _plain(x.tolist())
    if isinstance(x, float) and not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    if isinstance(x, complex):
        return [_plain(x.real), _plain(x.imag)]
    return x
