"""Terms with cases: comparisons, logic and `where`, decided where they can be.

Rules state what holds at single points, such as the tie in `maximum` or 0 to the power 0, by a `where` on an equality.
At every other point it is not so: such a case is left out, and remembered as a convention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backlit.explain.terms import ONE, ZERO, Term, add, apply, factors, is_number, multiply

TRUE, FALSE = Term("true"), Term("false")
OPPOSITE = {"less": "greater_equal", "greater_equal": "less", "greater": "less_equal", "less_equal": "greater"}
_SWAPPED = {"less": "greater", "greater": "less", "less_equal": "greater_equal", "greater_equal": "less_equal"}
SINGLE = ("equal", "isinf", "isnan")  # hold at single points only


def choice(name: str, args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
    """A comparison, a connective or a `where`."""
    return _NAMES[name](args, conventions, told)  # type: ignore[no-any-return]


def _compare(name: str) -> Any:
    def build(args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
        a, b = args
        if a.head in ("true", "false"):
            a = ONE if a.head == "true" else ZERO
        if a.head == b.head == "number":
            held = {
                "less": a.value < b.value,
                "less_equal": a.value <= b.value,
                "greater": a.value > b.value,
                "greater_equal": a.value >= b.value,
            }
            return TRUE if held[name] else FALSE
        if a == b:
            return TRUE if name.endswith("equal") else FALSE
        if a.head == "number":
            return build_comparison(_SWAPPED[name], b, a)
        if a.head == "relu" and is_number(b, 0) and name == "greater":
            a = a.args[0]  # relu(u) > 0 where u > 0
        return build_comparison(name, a, b)

    return build


def build_comparison(name: str, a: Term, b: Term) -> Term:
    """A comparison; of the two ways to write one, that with the smaller key on the left, unless a number
    stands right."""
    if b.head != "number" and b.key < a.key:
        a, b, name = b, a, _SWAPPED[name]
    return Term(name, (a, b))


def _equal(args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
    a, b = args
    if a.head == "where" and is_number(b):
        return choice("not", (_not_equal(args, conventions, told),), conventions, told)
    if a == b:
        return TRUE
    if is_number(a) and is_number(b):
        return FALSE
    if is_truth(a) and is_number(b, 0):
        return _not((a,), conventions, told)
    return Term("equal", (a, b))


def _not_equal(args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
    a, b = args
    if a.head == "where" and is_number(b):
        condition, yes, no = a.args
        if is_number(yes) and is_number(no):
            on_yes, on_no = yes != b, no != b
            if on_yes == on_no:
                return TRUE if on_yes else FALSE
            return condition if on_yes else _not((condition,), conventions, told)
    if is_number(a) and is_number(b):
        return FALSE if a == b else TRUE
    if is_truth(a) and is_number(b, 0):
        return a
    return _not((_equal(args, conventions, told),), conventions, told)


def _not(args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
    (a,) = args
    if a.head in OPPOSITE:
        return Term(OPPOSITE[a.head], a.args)
    if a.head == "not":
        return a.args[0]
    if a.head in ("true", "false"):
        return FALSE if a.head == "true" else TRUE
    return Term("not", (a,))


def _and(args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
    parts: dict[Term, None] = {}
    for arg in args:
        for part in arg.args if arg.head == "and" else (arg,):
            if part.head == "false" or _not((part,), conventions, told) in parts:
                return FALSE
            if part.head != "true":
                parts[part] = None
    found = tuple(parts)
    return TRUE if not found else found[0] if len(found) == 1 else Term("and", found)


def _or(args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
    turned = [_not((arg,), conventions, told) for arg in args]
    return _not((_and(tuple(turned), conventions, told),), conventions, told)


def is_single(condition: Term) -> bool:
    """Whether a condition holds at single points only."""
    if condition.head == "and":
        return any(is_single(part) for part in condition.args)
    return condition.head in SINGLE


def _at_infinity(condition: Term) -> bool:
    return condition.head in ("isinf", "isnan") or any(_at_infinity(arg) for arg in condition.args)


def _where(args: tuple[Term, ...], conventions: list[str], told: Callable[[Term], str]) -> Term:
    condition, yes, no = args
    yes = number_of(yes)
    no = number_of(no)
    if condition.head == "true":
        return yes
    if condition.head == "false":
        return no
    if condition.head == "not":
        condition, yes, no = condition.args[0], no, yes
    if is_single(condition):
        if yes != no and not _at_infinity(condition):
            note = f"where {told(condition)}, the engine takes {told(yes)} in place of {told(no)}"
            if note not in conventions:
                conventions.append(note)
        return no
    yes, no = given(yes, condition, True), given(no, condition, False)
    if yes == no:
        return yes
    return Term("where", (condition, yes, no))


def number_of(term: Term) -> Term:
    """A truth value as the number it counts for in arithmetic."""
    if term.head in ("true", "false"):
        return ONE if term.head == "true" else ZERO
    if is_truth(term):
        return Term("where", (term, ONE, ZERO))
    return term


def is_truth(term: Term) -> bool:
    """Whether it is true or false, and not a number."""
    return term.head in OPPOSITE or term.head in ("true", "false", "equal", "and", "not", "isinf", "isnan", "isfinite")


def given(term: Term, condition: Term, holds: bool) -> Term:
    """A term where a condition is known to hold, or not to."""
    if term.size < condition.size:
        return term
    if term == condition:
        return TRUE if holds else FALSE
    if condition.head in OPPOSITE and term.head == OPPOSITE[condition.head] and term.args == condition.args:
        return FALSE if holds else TRUE
    if term.head == "relu" and condition == Term("greater", (term.args[0], ZERO)):
        return given(term.args[0], condition, True) if holds else ZERO
    if not term.args:
        return term
    args = tuple(given(arg, condition, holds) for arg in term.args)
    if args == term.args:
        return term
    return rebuilt(term, args)


def decided(term: Term) -> Term:
    """A product with a case in it: where the other factors depend on that case, too, they are put inside."""
    parts = factors(term)
    for factor in parts:
        if factor.head != "where":
            continue
        condition, yes, no = factor.args
        rest = multiply(*(each for each in parts if each is not factor))
        if given(rest, condition, True) != rest or given(rest, condition, False) != rest:
            return choice("where", (condition, multiply(yes, rest), multiply(no, rest)), [], repr)
    return term


def merged(term: Term) -> Term:
    """A sum of cases of one condition as the cases of the sums: where(c, a, 0) + where(c, 0, b) = where(c, a, b)."""
    groups: dict[Term, list[tuple[Term, Term]]] = {}
    others: list[Term] = []
    for part in term.args:
        found = [factor for factor in factors(part) if factor.head == "where"]
        if len(found) != 1:
            others.append(part)
            continue
        condition, yes, no = found[0].args
        rest = multiply(*(factor for factor in factors(part) if factor is not found[0]))
        opposite = _not((condition,), [], repr)
        if opposite in groups:
            condition, yes, no = opposite, no, yes
        groups.setdefault(condition, []).append((multiply(yes, rest), multiply(no, rest)))
    if all(len(cases) == 1 for cases in groups.values()):
        return term
    for condition, cases in groups.items():
        yes, no = (add(*branch) for branch in zip(*cases, strict=True))
        others.append(choice("where", (condition, yes, no), [], repr))
    return add(*others)


def rebuilt(term: Term, args: tuple[Term, ...]) -> Term:
    """The same with other parts."""
    if term.head == "+":
        return add(*args)
    if term.head == "*":
        return multiply(*args)
    if term.head == "**":
        return apply("pow", args)
    if term.head in _NAMES:
        return choice(term.head, args, [], repr)
    return apply(term.head, args, term.attrs)


_NAMES: dict[str, Any] = {
    **{name: _compare(name) for name in OPPOSITE},
    "equal": _equal,
    "not_equal": _not_equal,
    "not": _not,
    "invert": _not,
    "bitwise_invert": _not,
    "logical_not": _not,
    "and": _and,
    "bitwise_and": _and,
    "logical_and": _and,
    "or": _or,
    "bitwise_or": _or,
    "logical_or": _or,
    "where": _where,
}
CHOICES = frozenset(_NAMES)
