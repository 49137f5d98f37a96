"""The gradient from the inputs alone, as the range in which it lies, beside the recorded one."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import NamedTuple

from .document import DTYPES, Document  # noqa: TID252
from .precision import PRECISIONS, StuckError  # noqa: TID252
from .ranges import DOWN, UP, ZERO, Range, VagueError, rational  # noqa: TID252
from .rules import LEAVES, has_derivative, partials_of, value_of  # noqa: TID252
from .steps import active_nodes  # noqa: TID252

MOST_DIGITS = 17  # that a float64 can show


class Gradient(NamedTuple):
    """The gradient by one node: as recorded, and the range in which the true one lies.

    group: the value it is an element of. digits: to how many the two agree, None if the recorded one is exact.
    cancelled: the true one cannot be told from zero, so these are digits of the terms that add up to it.
    """

    group: str
    name: str
    node: int
    recorded: Fraction
    right: Range
    digits: int | None
    cancelled: bool


def enclosed(document: Document) -> list[Gradient]:
    """Each recorded gradient beside the range in which the true one lies. Raises StuckError."""
    nodes, active = document.nodes, active_nodes(document)
    values: list[Range] = []
    known: dict[tuple[str, tuple[int, ...]], Range] = {}  # what is computed alike is one number, and ties with itself
    for at, node in enumerate(nodes):
        if node.op in LEAVES:
            values.append(Range(node.value))
            continue
        try:
            key = node.op, node.inputs
            if key not in known:
                known[key] = value_of(node.op, [values[i] for i in node.inputs])
            values.append(known[key])
        except ArithmeticError as error:
            raise StuckError(at, error) from None
    gradients: dict[int, Range] = {document.output: rational(1)}
    sizes: dict[int, Decimal] = {}
    for at in range(document.output, -1, -1):
        node = nodes[at]
        flows = [active[x] and has_derivative(node.op, i) for i, x in enumerate(node.inputs)]
        if at not in gradients or not any(flows):
            continue
        try:
            partials = partials_of(node.op, values[at], [values[i] for i in node.inputs], flows)
            for x, flow, partial in zip(node.inputs, flows, partials, strict=True):
                if flow and partial is not None:
                    term = gradients[at] * partial
                    gradients[x] = gradients[x] + term if x in gradients else term
                    sizes[x] = UP.add(sizes.get(x, Decimal(0)), term.most)
        except ArithmeticError as error:
            raise StuckError(at, error) from None
    try:
        if DOWN.prec < PRECISIONS[-1]:
            _demand_digits(document, gradients, sizes)
        return list(_compared(document, gradients, sizes))
    except ArithmeticError as error:
        raise StuckError(document.output, error) from None


def _demand_digits(document: Document, gradients: dict[int, Range], sizes: dict[int, Decimal]) -> None:
    """Raise VagueError if a range is wider than a float64 can tell, beside its number or, at zero, its terms."""
    for _, members in document.wrt:
        for at in members:
            right = gradients.get(at, ZERO)
            size = sizes.get(at, right.most) if right.lo <= 0 <= right.hi else right.most
            if UP.scaleb(UP.subtract(right.hi, right.lo), 20) > size:
                label = document.nodes[at].label
                raise VagueError(f"the gradient by {label} is not known to enough digits")


def _compared(document: Document, gradients: dict[int, Range], sizes: dict[int, Decimal]) -> Iterator[Gradient]:
    for name, members in document.wrt:
        for at in members:
            right = gradients.get(at, ZERO)
            entry = document.backward.get(at)
            recorded = entry.gradient if entry else Fraction(0)
            least = DTYPES[document.nodes[at].dtype][1]
            cancelled = right.lo <= 0 <= right.hi  # a zero has no digits of its own: count those of its terms
            size = sizes.get(at, Decimal(0)) if cancelled else min(right.lo.copy_abs(), right.hi.copy_abs())
            digits = agreement(recorded, right, size, least)
            yield Gradient(
                name,
                name if len(members) == 1 else document.nodes[at].name or f"node {at}",
                at,
                recorded,
                right,
                digits,
                cancelled and digits is not None,
            )


def agreement(recorded: Fraction, right: Range, size: Decimal, least: Decimal) -> int | None:
    """To how many digits of a number of this size the recorded one agrees with all of the range; None: it is exact."""
    if right.exact == recorded:
        return None
    number = Range(recorded)
    error = max(UP.subtract(number.hi, right.lo), UP.subtract(right.hi, number.lo))
    if error <= least:
        return MOST_DIGITS  # as near as such a number can be written at all
    share = UP.divide(error, size) if size else Decimal(1)
    return 0 if share >= 1 else min(MOST_DIGITS, -int(UP.log10(share).to_integral_value(ROUND_CEILING)))
