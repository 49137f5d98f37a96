"""Each recorded number against what follows from the recorded numbers that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from .document import DTYPES, Document, Entry, Node, Term  # noqa: TID252
from .precision import StuckError, near, shown  # noqa: TID252
from .ranges import DOWN, UP, ZERO, OutsideError, Range, VagueError, between  # noqa: TID252
from .rules import LEAVES, MAGNIFY, has_derivative, partials_of, total, value_of  # noqa: TID252

LOOSE = 32  # roundings by which a value or partial may be off: the functions of common libraries keep well below
MAGNIFIED = 8  # ... and those by which inputs may seem off, in formulas that magnify the roundings inside them


class Fault(NamedTuple):
    """A wrong step. node: its index; step: which of its numbers; recorded, must: that number, as text."""

    node: int
    step: str
    recorded: str
    must: str


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
                return Fault(at, "the gradient by it", "nothing", "a number, for the gradients asked for need it")
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
        dtype = coarser(dtype, through.dtype)
        local = coarser(nodes[at].dtype, through.dtype)
        if not follows(term.partial, partial, local) and not _blurred_partial(term, local, document):
            return Fault(term.through, f"its partial by argument {term.argument}", shown(term.partial), shown(partial))
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
    if running.exact == entry.gradient:
        return None
    size = total([Range(abs(term.product)) for term in entry.terms]).most
    unit, least = DTYPES[dtype]
    steps = sum(len(nodes[t.through].inputs) if nodes[t.through].derived else 1 for t in entry.terms)
    margin = Decimal(0) if in_steps else UP.add(UP.multiply(size, unit * (steps + 2)), least)
    if not near(entry.gradient, running, margin):
        return Fault(at, "the sum of the terms of its gradient", shown(entry.gradient), shown(running))
    return None


def _blurred_partial(term: Term, dtype: str, document: Document) -> bool:
    """Whether a partial is right to the roundings, in a dtype, that its formula magnifies."""
    node = document.nodes[term.through]
    if not magnifies(node, document.nodes):
        return False
    xs = [blurred(Range(document.nodes[i].value), node) for i in node.inputs]
    wanted = [i == term.argument for i in range(len(xs))]
    partial = partials_of(node.op, blurred(Range(node.value), node), xs, wanted)[term.argument]
    if partial is None:
        return False
    if node.op == "gelu":  # (1 + erf(x)) / 2 in it loses all digits for x far below zero
        return near(term.partial, partial, DTYPES[dtype][0] * LOOSE)
    return follows(term.partial, partial, dtype, True)


def coarser(*dtypes: str) -> str:
    """Of these dtypes the one that rounds most."""
    return max(dtypes, key=lambda name: DTYPES[name][0])


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
    if not right.most.is_finite():  # it has overflowed what decimal can hold
        if right.lo <= 0 <= right.hi:
            raise VagueError("its value is not known at all")
        return False
    unit, least = DTYPES[dtype]
    margin = UP.add(UP.multiply(right.most, unit * LOOSE), least)
    if not wide and UP.subtract(right.hi, right.lo) > margin:
        raise VagueError("its value is not known to enough digits")
    return near(recorded, right, margin)
