"""From a term to the shortest equal one that a person would write.

What is always right is done while terms are built (`terms`). Here ways to write the same are tried against each other:
common factors taken out, denominators joined, products multiplied out; the one that is cheaper to read is kept.
"""

from __future__ import annotations

import math
from fractions import Fraction

from backlit.explain.choices import decided, merged, rebuilt
from backlit.explain.terms import (
    MINUS_ONE,
    ONE,
    Number,
    Term,
    add,
    base_and_exponent,
    factors,
    is_number,
    multiply,
    number,
    power,
    split,
)

_ROUNDS = 6
_MOST_TERMS = 60  # a product is not multiplied out into more


def simplify(term: Term) -> Term:
    """The simplest form found. Cost: some passes over the term.

    >>> from backlit.explain.terms import symbol
    >>> x = symbol("x")
    >>> simplify(add(power(x, MINUS_ONE), multiply(x, power(x, number(-2)))))
    *(2, **(x, -1))
    """
    for _ in range(_ROUNDS):
        simpler = _pass(term, {})
        if simpler == term:
            break
        term = simpler
    return term


def _pass(term: Term, known: dict[Term, Term]) -> Term:
    if not term.args:
        return term
    found = known.get(term)
    if found is not None:
        return found
    args = tuple(_pass(arg, known) for arg in term.args)
    now = term if args == term.args else rebuilt(term, args)
    if now.head == "+":
        now = merged(now)
    if now.head == "+":
        now = _cheapest(now, [_factored(now), _expanded(now)])
    elif now.head == "*":
        now = _known_products(decided(now))
        if not any(is_known_by_sight(factor) for factor in factors(now)):
            now = _cheapest(now, [_expanded(now), _joined(now)])
    known[term] = now
    return now


def _cheapest(now: Term, others: list[Term]) -> Term:
    """The cheapest; what stands there already, at a tie."""
    return min([now, *others], key=cost)


def cost(term: Term) -> float:
    """How much there is to read.

    >>> from backlit.explain.terms import symbol
    >>> x = symbol("x")
    >>> cost(multiply(number(2), x)) < cost(add(x, power(x, number(2))))
    True
    """
    if term.head == "number":
        if isinstance(term.value, Fraction) and term.value.denominator != 1 and term.value.denominator not in (2, 10):
            return 1.2
        return 0.9 if term.value > 0 else 0.2 if term.value == -1 else 1.2
    if term.head == "symbol":
        return 1.0
    if term.head == "**":
        base, exponent = term.args
        inner = cost(base) + (0.7 if base.head in ("+", "*") else 0.0)
        if is_number(exponent):
            return inner + (0.2 if exponent.value == -1 else 0.6 if base.head in ("symbol", "+") else 1.0)
        return inner + cost(exponent) + 0.5
    if term.head == "*":
        return sum(cost(arg) + _parentheses(arg) for arg in term.args)
    if term.head == "+":
        return sum(cost(arg) for arg in term.args) + 0.1 * (len(term.args) - 1)
    return 1.0 + sum(cost(arg) for arg in term.args)


def _parentheses(factor: Term) -> float:
    """What a sum in parentheses costs as a factor; those that everyone knows by sight, such as 1 - tanh², next
    to nothing."""
    return 0.0 if factor.head != "+" else 0.05 if is_known_by_sight(factor) else 0.7


def is_known_by_sight(term: Term) -> bool:
    """1 - tanh(u)², 1 - sigmoid(u), 1 + tan(u)²: the derivatives of these functions are known in this form."""
    if term.head != "+" or len(term.args) != 2:
        return False
    heads = {base_and_exponent(split(part)[1])[0].head for part in term.args}
    return any(is_number(part, 1) for part in term.args) and bool(heads & {"tanh", "sigmoid", "tan"})


# -- ways to write the same ----------------------------------------------------------------------------------


def _factored(term: Term) -> Term:
    """A sum with the factors taken out that all of its terms share; those below the line are always shared."""
    shared: dict[Term, Number] | None = None
    exact = [split(part)[0] for part in term.args]
    below: dict[Term, Number] = {}
    for part in term.args:
        powers = _powers(part)
        for base, exponent in powers.items():
            if exponent < 0:
                below[base] = min(below.get(base, exponent), exponent)
        if shared is None:
            shared = {base: e for base, e in powers.items() if e > 0}
        else:
            shared = {base: min(e, powers[base]) for base, e in shared.items() if powers.get(base, 0) > 0}
    taken = {**(shared or {}), **below}
    content = _content(exact)
    if not taken and content == 1:
        return term
    outside = multiply(number(content), *(power(base, number(e)) for base, e in taken.items()))
    back = power(outside, MINUS_ONE)
    inside = add(*(expand(multiply(part, back)) for part in term.args))
    if inside.head == "+":
        again = _factored(inside) if inside.size < term.size else inside
        if again.head == "*" and cost(again) < cost(inside):
            inside = again
    return multiply(outside, inside)


def _content(coefficients: list[Number]) -> Number:
    """The largest number that divides all coefficients, if they are fractions."""
    if not all(isinstance(c, Fraction) for c in coefficients):
        return Fraction(1)
    top = math.gcd(*(Fraction(c).numerator for c in coefficients))
    bottom = math.lcm(*(Fraction(c).denominator for c in coefficients))
    return Fraction(top, bottom) if top else Fraction(1)


def _powers(part: Term) -> dict[Term, Number]:
    found: dict[Term, Number] = {}
    for factor in factors(split(part)[1]):
        base, exponent = base_and_exponent(factor)
        if is_number(exponent):
            found[base] = exponent.value
        else:
            found[factor] = Fraction(1)
    found.pop(ONE, None)
    return found


def expand(term: Term) -> Term:
    """A product of sums multiplied out, and small powers of sums."""
    sums: list[Term] = []
    others: list[Term] = []
    for factor in factors(term):
        base, exponent = base_and_exponent(factor)
        if base.head == "+" and is_number(exponent) and exponent.value in (1, 2, 3):
            sums += [base] * int(exponent.value)
        else:
            others.append(factor)
    if not sums:
        return term
    parts = [multiply(*others)]
    for each in sums:
        if len(parts) * len(each.args) > _MOST_TERMS:
            return term
        parts = list(add(*(multiply(part, summand) for part in parts for summand in each.args)).args) or [
            add(*(multiply(part, summand) for part in parts for summand in each.args))
        ]
    return add(*parts)


def _expanded(term: Term) -> Term:
    return add(*map(expand, term.args)) if term.head == "+" else expand(term)


def _joined(term: Term) -> Term:
    """A product in which a sum is taken into parentheses with what divides it: (1/x) · (x + x²) = 1 + x."""
    for factor in factors(term):
        if factor.head != "+":
            continue
        rest = multiply(*(each for each in factors(term) if each is not factor))
        return add(*(multiply(rest, part) for part in factor.args))
    return term


_QUOTIENTS = {("sin", "cos"): "tan", ("sinh", "cosh"): "tanh"}


def _known_products(term: Term) -> Term:
    """sigmoid(u) · sigmoid(-u) = sigmoid(u) · (1 - sigmoid(u)), as it is known; sin/cos = tan, sinh/cosh = tanh."""
    return _sigmoids(_quotients(term))


def _quotients(term: Term) -> Term:
    parts = factors(term)
    powers = {base: e.value for base, e in map(base_and_exponent, parts) if is_number(e)}
    for base, exponent in powers.items():
        for (above, below), name in _QUOTIENTS.items():
            if base.head == above and powers.get(Term(below, base.args)) == -exponent:
                quotient = power(Term(name, base.args), number(exponent))
                return multiply(
                    term, power(base, number(-exponent)), power(Term(below, base.args), number(exponent)), quotient
                )
    return term


def _sigmoids(term: Term) -> Term:
    if term.head != "*":
        return term
    parts = factors(term)
    for factor in parts:
        base, exponent = base_and_exponent(factor)
        if base.head != "sigmoid" or not is_number(exponent) or exponent.value < 1:
            continue
        mirror = Term("sigmoid", (multiply(MINUS_ONE, base.args[0]),))
        for other in parts:
            if base_and_exponent(other)[0] == mirror and base_and_exponent(other)[1] == exponent:
                u = min(base, mirror, key=lambda each: (cost(each), each.key))
                rest = [each for each in parts if each is not factor and each is not other]
                return multiply(*rest, power(u, exponent), power(add(ONE, multiply(MINUS_ONE, u)), exponent))
    return term
