"""What an answer to "why?" consists of, as data: every number on a screen is a field here.

`as_dict` writes them for JSON; `why_text`, `why_latex` and `why_html` write them for people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from backlit.explain.naming import Spot

SCHEMA = "backlit.explanation/1"
Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a derivation by the chain rule.

    step: the formula of the node on the way. left: the derivative that this line finds. chain: equal things, first with
    symbols, then with numbers. value: the number. rule: its name. latex: left and chain again. because: what decided
    between branches. spot: the user's line that computed the node.
    """

    step: str
    left: str
    chain: tuple[str, ...]
    value: float
    rule: str
    latex: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    spot: Spot | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the sum that a gradient is.

    number: what `follow` takes. label: of the element through which it passes, and name, index: the same apart. value:
    what it contributes; share: of the sum of the sizes of all terms. cotangent: the derivative of the output by that
    element; local: of that element by the one asked about. reads: what the local derivative is, in words.
    """

    number: int
    label: str
    name: str
    index: Index
    value: float
    share: float
    cotangent: float
    local: float
    reads: str = ""
    note: str = ""
    spot: Spot | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Terms added up by the use they come from, or by their place along one axis."""

    by: str
    label: str
    value: float
    share: float
    count: int


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of terms. of: the derivative that it is. over: what the terms run over, in words.

    count: of all terms; terms: the largest; rest: what the others sum to, and rest_share. total: of all; size: the sum
    of the sizes |term|; cancellation: |total| / size, 1 where nothing cancels.
    """

    of: str
    over: str
    count: int
    terms: tuple[Term, ...]
    rest: float
    rest_share: float
    total: float
    size: float
    cancellation: float
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. kind: a short name, such as "dead relu" or "stop_gradient". remedy: what to do."""

    kind: str
    text: str
    remedy: str = ""
    spot: Spot | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor along the heaviest path. product: of all factors from the output to here."""

    label: str
    through: str
    factor: float
    product: float
    spot: Spot | None = None


@dataclass(frozen=True, slots=True)
class Standout:
    """An element, a row or a column that stands out, and why."""

    label: str
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole array of gradients: its shape and sizes, and what stands out in it."""

    shape: Index
    norm: float
    mean: float
    largest: float
    smallest: float
    zeros: int
    not_finite: int
    relative: float | None  # its norm over that of the array itself
    standouts: tuple[Standout, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What nudging says. verdict: "agrees", "differs", "kink" or "none"."""

    value: float | None
    error: float | None
    verdict: str
    text: str


@dataclass(frozen=True)
class Answer:
    """The answer to "why is this gradient what it is?"

    subject: what was asked about; output: of what it is the gradient. state: "number", "array", "none", "zero", "nan",
    "infinite", "huge" or "tiny". gradient: a float, an array, or None. headline: the answer in one sentence; story:
    more of it. lines: the derivation by the chain rule; sum: the terms, of an element. picture: of a whole array.
    findings: what makes it None, zero, NaN, infinite. factors: along the heaviest path, of one that is huge or tiny.
    notes: simplifications, conventions at kinks, what else `.grad` holds. check: by nudging. expression: of a
    small output; where: the values of its variables.
    """

    subject: str
    output: str
    state: str
    gradient: Any
    headline: str
    story: tuple[str, ...] = ()
    expression: str = ""
    where: str = ""
    lines: tuple[Line, ...] = ()
    sum: Sum | None = None
    picture: Picture | None = None
    findings: tuple[Finding, ...] = ()
    factors: tuple[Factor, ...] = ()
    notes: tuple[str, ...] = ()
    check: Check | None = None
    subject_latex: str = ""
    output_latex: str = ""

    def ahead(self, number: int) -> Answer | None:
        """The answer for term `number` (from 1), which passes through another element; None if there is none."""
        return None


def as_dict(answer: Answer) -> dict[str, Any]:
    """An answer as nested dicts and lists that JSON can hold, under the name and version of their schema.

    The keys are the fields. Arrays are nested lists; numbers that JSON does not know are "nan", "inf" and "-inf".
    """
    return {"schema": SCHEMA, **{f.name: _plain(getattr(answer, f.name)) for f in fields(Answer)}}


def _plain(x: Any) -> Any:
    if hasattr(x, "__dataclass_fields__"):
        return {f.name: _plain(getattr(x, f.name)) for f in fields(x)}
    if isinstance(x, (tuple, list)):
        return [_plain(item) for item in x]
    if isinstance(x, (np.ndarray, np.generic)):
        return _plain(x.tolist())
    if isinstance(x, float) and not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    return x
