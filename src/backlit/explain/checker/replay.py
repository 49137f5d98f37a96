"""The two passes over a certificate: each step from what was recorded, and the whole from the inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import NamedTuple, TypeVar

from .document import DTYPES, Document, Entry, Node, Term  # noqa: TID252
from .ranges import DOWN, NEAR, UP, ZERO, OutsideError, Range, VagueError, between, rational  # noqa: TID252
from .rules import LEAVES, MAGNIFY, has_derivative, partials_of, total, value_of  # noqa: TID252

PRECISIONS = 40, 160, 640  # decimal digits; more are used only where fewer do not decide
LOOSE = 32  # roundings by which a value or partial may be off: the functions of common libraries keep well below
MOST_DIGITS = 17  # that a float64 can show
MAGNIFIED = 16  # … and those by which inputs may seem off, in formulas that magnify the roundings inside them

T = TypeVar("T")


class Fault(NamedTuple):
    """A wrong step. node: its index; step: which of its numbers; recorded, must: that number, as text."""

    node: int
    step: str
    recorded: str
    must: str


class StuckError(ArithmeticError):
    """A step that cannot be decided."""

    def __init__(self, node: int, reason: ArithmeticError) -> None:
        self.node = node
        self.reason = reason
        self.final = isinstance(reason, OutsideError)
        told = isinstance(reason, (VagueError, OutsideError))
        super().__init__(str(reason) if told else "its numbers are too large or too small to enclose")


def with_enough_digits(task: Callable[[], T]) -> T:
    """What a task gives, done with more and more digits until they decide. Raises StuckError if none do."""
    for precision in PRECISIONS:
        DOWN.prec = UP.prec = NEAR.prec = precision
        try:
            return task()
        except StuckError as stuck:
            if stuck.final or precision == PRECISIONS[-1]:
                raise
    raise AssertionError


# -- each step from the recorded numbers ---------------------------------------------------------------------


def first_fault(document: Document) -> Fault | None:
    """The first number that does not follow from those it was made of; None if all do. Cost: linear."""
    nodes = document.nodes
    for at, node in enumerate(nodes):
        if node.op in LEAVES:
            continue
        xs = [Range(nodes[i].value) for i in node.inputs]
        try:
            right = value_of(node.op, xs)
            if follows(node.value, right, node.dtype):
                continue
            if magnifies(node, nodes):
                xs = [blurred(x, node) for x in xs]
                if follows(node.value, value_of(node.op, xs), node.dtype, True):
                    continue
        except OutsideError as error:
            return Fault(at, "its value", shown(node.value), f"nothing, for there is no {error}")
        except ArithmeticError as error:
            raise StuckError(at, error) from None
        return Fault(at, "its value", shown(node.value), shown(right))
    return _first_fault_back(document)


def _first_fault_back(document: Document) -> Fault | None:
    nodes, active = document.nodes, active_nodes(document)
    wanted = {i for _, members in document.wrt for i in members}
    due: dict[int, dict[tuple[int, int], Range]] = {}
    for at in range(len(nodes) - 1, -1, -1):
        node, entry, terms = nodes[at], document.backward.get(at), due.pop(at, {})
        reached = active[at] and (at == document.output or bool(terms))
        if entry is None:
            if reached or at in wanted:
                return Fault(at, "the gradient by it", "nothing", "recorded, since it is needed")
            continue
        if not reached and not (at in wanted and not entry.terms and entry.gradient == 0):
            return Fault(at, "the gradient by it", shown(entry.gradient), "0 or left out, since nothing flows there")
        try:
            found = _fault_in(at, entry, terms, document)
            if found is not None or not reached:
                if found is not None:
                    return found
                continue
            xs = [Range(nodes[i].value) for i in node.inputs]
            flows = [active[x] and has_derivative(node.op, i) for i, x in enumerate(node.inputs)]
            if any(flows):
                for i, partial in enumerate(partials_of(node.op, Range(node.value), xs, flows)):
                    if flows[i] and partial is not None:
                        due.setdefault(node.inputs[i], {})[at, i] = partial
        except OutsideError as error:
            return Fault(at, "its partials", "finite numbers", f"infinite or undefined: there is {error}")
        except StuckError:
            raise
        except ArithmeticError as error:
            raise StuckError(at, error) from None
    return None


def _fault_in(at: int, entry: Entry, due: dict[tuple[int, int], Range], document: Document) -> Fault | None:
    """What is wrong with one gradient: with its terms, or with their sum."""
    nodes = document.nodes
    if at == document.output:
        wrong = entry.gradient != 1 or entry.terms
        return Fault(at, "the gradient of the output by itself", shown(entry.gradient), "1") if wrong else None
    dtype, running = nodes[at].dtype, ZERO
    in_steps = all(term.sum is not None for term in entry.terms)
    for term in entry.terms:
        through = nodes[term.through]
        name = f"the term of its gradient through {through.label}, argument {term.argument}"
        partial = due.pop((term.through, term.argument), None)
        if partial is None:
            return Fault(at, name, shown(term.product), "left out: there is no such path, or it was counted already")
        if not follows(term.partial, partial, through.dtype) and not _blurred_partial(term, document):
            return Fault(term.through, f"its partial by argument {term.argument}", shown(term.partial), shown(partial))
        dtype = max(dtype, through.dtype, key=lambda name: DTYPES[name][0])
        product = Range(document.backward[term.through].gradient) * Range(term.partial)
        if not follows(term.product, product, dtype, True):
            return Fault(at, f"{name}, the product", shown(term.product), shown(product))
        running = running + Range(term.product)
        if in_steps and term.sum is not None:
            if not follows(term.sum, running, dtype, True):
                return Fault(at, f"{name}, the sum up to there", shown(term.sum), shown(running))
            running = Range(term.sum)
    if due:
        through, argument = nodes[max(due)[0]], max(due)[1]
        name = f"the term of its gradient through {through.label}, argument {argument}"
        return Fault(at, name, "nothing", f"{shown(due[max(due)])} times the gradient by that node")
    size = total([Range(abs(term.product)) for term in entry.terms]).most
    unit, least = DTYPES[dtype]
    steps = sum(len(nodes[t.through].inputs) if nodes[t.through].derived else 1 for t in entry.terms)
    margin = Decimal(0) if in_steps else UP.add(UP.multiply(size, unit * (steps + 2)), least)
    if not near(entry.gradient, running, margin):
        return Fault(at, "the sum of the terms of its gradient", shown(entry.gradient), shown(running))
    return None


def _blurred_partial(term: Term, document: Document) -> bool:
    """Whether a partial is right to the roundings that its formula magnifies."""
    node = document.nodes[term.through]
    if not magnifies(node, document.nodes):
        return False
    xs = [blurred(Range(document.nodes[i].value), node) for i in node.inputs]
    wanted = [i == term.argument for i in range(len(xs))]
    partial = partials_of(node.op, blurred(Range(node.value), node), xs, wanted)[term.argument]
    if partial is None:
        return False
    if node.op == "gelu":  # (1 + erf(x)) / 2 in it loses all digits for x far below zero
        return near(term.partial, partial, DTYPES[node.dtype][0] * LOOSE)
    return follows(term.partial, partial, node.dtype, True)


def active_nodes(document: Document) -> list[bool]:
    """Which nodes vary with those whose gradient is asked for."""
    active = [False] * len(document.nodes)
    for _, members in document.wrt:
        for i in members:
            active[i] = True
    for at, node in enumerate(document.nodes):
        if not active[at]:
            active[at] = any(active[x] and has_derivative(node.op, i) for i, x in enumerate(node.inputs))
    return active


def magnifies(node: Node, nodes: Sequence[Node]) -> bool:
    """Whether the rounding inside a step may show magnified in its result."""
    if node.op == "pow":
        return nodes[node.inputs[0]].value > 0
    return node.op in MAGNIFY or node.derived or any(nodes[i].derived for i in node.inputs)


def blurred(x: Range, node: Node) -> Range:
    """The range in which a recorded number may lie, seen from a formula that magnifies."""
    by = UP.multiply(x.most, DTYPES[node.dtype][0] * max(MAGNIFIED, len(node.inputs)))
    return between(DOWN.subtract(x.lo, by), UP.add(x.hi, by)) if by else x


def follows(recorded: Fraction, right: Range, dtype: str, wide: bool = False) -> bool:
    """Whether a recorded number is the right one to rounding.

    Raises VagueError where the right one is not known to that many digits, unless it is `wide` on purpose.
    """
    if right.exact == recorded:
        return True
    unit, least = DTYPES[dtype]
    margin = UP.add(UP.multiply(right.most, unit * LOOSE), least)
    if not wide and UP.subtract(right.hi, right.lo) > margin:
        raise VagueError("its value is not known to enough digits")
    return near(recorded, right, margin)


def near(recorded: Fraction, right: Range, margin: Decimal) -> bool:
    """Whether a number lies in a range or not further from it than the margin."""
    number = Range(recorded)
    return DOWN.subtract(right.lo, margin) <= number.hi and number.lo <= UP.add(right.hi, margin)


def shown(x: Fraction | Range) -> str:
    """A number as text, to the digits of a float64."""
    if isinstance(x, Fraction):
        return repr(float(x))
    if x.exact is not None:
        return shown_exact(x.exact)
    middle = NEAR.divide(NEAR.add(x.lo, x.hi), Decimal(2))
    return repr(float(middle)) if middle.copy_abs() < Decimal("1e308") else f"{middle:.17g}"


def shown_exact(x: Fraction) -> str:
    try:
        return repr(float(x))
    except OverflowError:
        return f"{Range(x).lo:.17g}"


# -- all of it from the inputs alone -------------------------------------------------------------------------


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
    for at, node in enumerate(nodes):
        if node.op in LEAVES:
            values.append(Range(node.value))
            continue
        try:
            values.append(value_of(node.op, [values[i] for i in node.inputs]))
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
    found = list(_compared(document, gradients, sizes))
    if DOWN.prec < PRECISIONS[-1]:
        for each in found:
            width = UP.subtract(each.right.hi, each.right.lo)
            if UP.scaleb(width, 20) > each.right.most:
                raise StuckError(each.node, VagueError("its gradient is not known to enough digits"))
    return found


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
