"""Terms as people write them: as text, as Python, as LaTeX. The order of terms and factors is the same in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from backlit.core.notation import ATOM, COMPARISON, POWER, PRODUCT, SIGN, SUM, Notation, write_latex
from backlit.explain.formula import name_latex, number_latex, number_text
from backlit.explain.terms import HALF, ONE, Number, Term, base_and_exponent, factors, is_number, number, split

SIGNS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "=="}
_LATEX_SIGNS = {**SIGNS, "less_equal": r"\leq", "greater_equal": r"\geq", "equal": "="}
_COMMANDS = {
    **{name: rf"\{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "log")},
    **{f"a{name}": rf"\ar{'c' if name in ('sin', 'cos', 'tan') else ''}{name}" for name in ("sin", "cos", "tan")},
    "sigmoid": r"\sigma", "log2": r"\log_{2}", "log10": r"\log_{10}", "relu": r"\operatorname{ReLU}",
    "maximum": r"\max", "minimum": r"\min",
}  # fmt: skip
Written = tuple[str, int]
Namer = Callable[[str], str]


# -- the order in which a person writes ----------------------------------------------------------------------


def _degree(term: Term) -> Number:
    total: Number = Fraction(0)
    for factor in factors(split(term)[1]):
        base, exponent = base_and_exponent(factor)
        if base.head == "symbol" and is_number(exponent):
            total += exponent.value
    return total


def _is_polynomial(term: Term) -> bool:
    for factor in factors(split(term)[1]):
        base, exponent = base_and_exponent(factor)
        if factor == ONE:
            continue
        if base.head != "symbol" or not is_number(exponent) or exponent.value < 0:
            return False
    return True


def ordered_sum(term: Term) -> list[Term]:
    """Polynomials from the highest power down, other sums with the number first; one that begins with a minus
    sign waits."""
    parts = list(term.args)
    parts.sort(key=lambda part: part.key)
    if all(map(_is_polynomial, parts)):
        parts.sort(key=lambda part: -_degree(part))
    else:
        parts.sort(key=lambda part: (not is_number(part), _degree(part)))
    if split(parts[0])[0] < 0:
        parts.sort(key=lambda part: split(part)[0] < 0)
    return parts


def _rank(factor: Term) -> tuple[int, Any]:
    base, exponent = base_and_exponent(factor)
    kinds = {"symbol": 1, "+": 5, "where": 4}
    return (0 if is_number(factor) else kinds.get(base.head, 3) if is_number(exponent) else 2, base.key)


def fraction(term: Term) -> tuple[Number, list[Term], list[Term]]:
    """A product as a number, the factors above the line and those below it."""
    coefficient, rest = split(term)
    above, below = [], []
    for factor in factors(rest):
        if factor == ONE:
            continue
        base, exponent = base_and_exponent(factor)
        if is_number(exponent) and exponent.value < 0:
            positive = number(-exponent.value)
            below.append(base if is_number(positive, 1) else Term("**", (base, positive)))
        else:
            above.append(factor)
    return coefficient, sorted(above, key=_rank), sorted(below, key=_rank)


def _over(coefficient: Number, has_below: bool) -> tuple[Number, int]:
    """What of a number stands above the line and what below: 1/3 is written as a quotient, 3/4 as 0.75."""
    if not isinstance(coefficient, Fraction) or coefficient.denominator == 1:
        return coefficient, 1
    bottom = coefficient.denominator
    while bottom % 2 == 0:
        bottom //= 2
    while bottom % 5 == 0:
        bottom //= 5
    is_decimal = bottom == 1 and coefficient.denominator <= 1000
    is_short = coefficient.denominator > 9 or (not has_below and abs(coefficient.numerator) != 1)
    if is_decimal and is_short:
        return coefficient, 1
    return Fraction(coefficient.numerator), coefficient.denominator


# -- text and Python -----------------------------------------------------------------------------------------


def text(term: Term) -> str:
    """The term as text, as the formulas of derivations are written.

    >>> from backlit.explain.terms import add, multiply, symbol
    >>> x = symbol("x")
    >>> text(add(multiply(number(3), x, x), number(1))), text(multiply(x, Term("**", (add(x, ONE), number(-1)))))
    ('3 * x**2 + 1', 'x / (x + 1)')
    """
    return Text().write(term)[0]


class _Writer:
    """What text and LaTeX write alike. brackets: what stands around a term that does not hold together enough."""

    brackets = ("(", ")")

    def write(self, term: Term) -> Written:
        """The term as it is written, and how tightly it holds together."""
        raise NotImplementedError

    def _at_least(self, term: Term, level: int) -> str:
        written, holds = self.write(term)
        left, right = self.brackets
        return written if holds >= level else f"{left}{written}{right}"

    def _sum(self, term: Term) -> str:
        out = ""
        for part in ordered_sum(term):
            coefficient, _ = split(part)
            if out and coefficient < 0:
                out += f" - {self._at_least(_negated(part), PRODUCT)}"
            else:
                out += f" + {self.write(part)[0]}" if out else self.write(part)[0]
        return out


class Text(_Writer):
    """Writes terms. name: what a function is called; known: terms that are written by a name of their own."""

    def __init__(
        self, name: Namer = lambda head: head, known: Mapping[Term, str] | None = None, exact: bool = False
    ) -> None:
        self._name, self._known, self._exact = name, known or {}, exact

    def write(self, term: Term) -> Written:
        """The text, and how tightly it holds together."""
        if term in self._known:
            return self._known[term], ATOM
        head = term.head
        if head == "number":
            shown = self._number(term.value)
            return shown, SIGN if shown.startswith("-") else PRODUCT if "/" in shown else ATOM
        if head == "symbol":
            return self._name(term.value) if term.value == "pi" else term.value, ATOM
        if head == "+":
            return self._sum(term), SUM
        if head == "*":
            return self._product(term)
        if head == "**":
            return self._power(term)
        if head in SIGNS:
            a, b = (self._at_least(arg, SUM) for arg in term.args)
            return f"{a} {SIGNS[head]} {b}", COMPARISON
        inside = [self.write(arg)[0] for arg in term.args]
        inside += [f"{key}={value!r}" for key, value in term.attrs.items() if value is not False]
        if head == "and" and not self._exact:
            return " and ".join(inside), COMPARISON - 1
        return f"{self._name(head)}({', '.join(inside)})", ATOM

    def _number(self, value: Number) -> str:
        if isinstance(value, Fraction):
            if value.denominator == 1:
                return str(value.numerator)
            short = number_text(float(value), 4)
            return short if Fraction(short) == value else f"{value.numerator} / {value.denominator}"
        return repr(value) if self._exact else number_text(value)

    def _product(self, term: Term) -> Written:
        coefficient, above, below = fraction(term)
        if coefficient < 0:
            inner, _ = self.write(_negated(term))
            return f"-{inner}", SIGN
        top, bottom = _over(coefficient, bool(below))
        shown = [self._at_least(factor, PRODUCT if not i else PRODUCT + 1) for i, factor in enumerate(above)]
        if top != 1 or not shown:
            shown.insert(0, self._number(top))
        out = " * ".join(shown)
        under = [self._at_least(factor, PRODUCT + 1) for factor in below]
        if bottom != 1:
            under.insert(0, str(bottom))
        if under:
            out += f" / {under[0]}" if len(under) == 1 else f" / ({' * '.join(under)})"
        return out, PRODUCT

    def _power(self, term: Term) -> Written:
        base, exponent = term.args
        if exponent == HALF:
            return f"{self._name('sqrt')}({self.write(base)[0]})", ATOM
        if is_number(exponent) and exponent.value < 0:
            return self._product(term)
        return f"{self._at_least(base, POWER + 1)}**{self._at_least(exponent, POWER)}", POWER


def _negated(term: Term) -> Term:
    coefficient, rest = split(term)
    if rest == ONE:
        return number(-coefficient)
    if coefficient == -1:
        return rest
    return Term("*", (number(-coefficient), *factors(rest)))


# -- LaTeX ---------------------------------------------------------------------------------------------------


def latex(term: Term, notations: Mapping[str, Notation] | None = None) -> str:
    r"""The term as LaTeX. notations: of the functions that only their user knows.

    >>> from backlit.explain.terms import multiply, symbol
    >>> latex(multiply(symbol("x"), Term("**", (symbol("y"), number(-1)))))
    '\\frac{x}{y}'
    """
    return _Latex(notations or {}).write(term)[0]


class _Latex(_Writer):
    brackets = (r"\left(", r"\right)")

    def __init__(self, notations: Mapping[str, Notation]) -> None:
        self._notations = notations

    def write(self, term: Term) -> Written:
        head = term.head
        if head == "number":
            return self._number(term.value)
        if head == "symbol":
            return r"\pi" if term.value == "pi" else name_latex(term.value), ATOM
        if head == "+":
            return self._sum(term), SUM
        if head == "*":
            return self._product(term)
        if head == "**":
            return self._power(term)
        return self._function(term)

    def _number(self, value: Number) -> Written:
        if isinstance(value, Fraction) and value.denominator != 1:
            short = number_text(float(value), 4)
            if Fraction(short) != value:
                sign = "-" if value < 0 else ""
                return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}", SIGN if sign else ATOM
        shown = number_latex(float(value))
        return shown, SIGN if shown.startswith("-") else PRODUCT if r"\times" in shown else ATOM

    def _product(self, term: Term) -> Written:
        coefficient, above, below = fraction(term)
        if coefficient < 0:
            return f"-{self.write(_negated(term))[0]}", SIGN
        top, bottom = _over(coefficient, bool(below))
        over = self._factors(above, top, is_alone=bool(below) or bottom != 1)
        if not below and bottom == 1:
            return over, PRODUCT
        under = self._factors(below, Fraction(bottom), is_alone=True)
        return rf"\frac{{{over}}}{{{under}}}", ATOM

    def _factors(self, terms: list[Term], coefficient: Number, is_alone: bool) -> str:
        if coefficient == 1 and len(terms) == 1 and is_alone:
            return self.write(terms[0])[0]
        shown = [self._at_least(term, PRODUCT + 1) for term in terms]
        if coefficient != 1 or not shown:
            shown.insert(0, self._number(coefficient)[0])
        out = shown[0]
        for before, each in pairwise(shown):
            out += (
                r" \cdot " if each[0].isdigit() or (before[-1].isdigit() and each.startswith(r"\frac")) else r" \, "
            ) + each
        return out

    def _power(self, term: Term) -> Written:
        base, exponent = term.args
        if exponent == HALF:
            return rf"\sqrt{{{self.write(base)[0]}}}", ATOM
        if is_number(exponent) and exponent.value < 0:
            return self._product(term)
        if base.head in _COMMANDS and len(base.args) == 1 and is_number(exponent) and exponent.value > 0:
            inner = self.write(base.args[0])[0]
            return rf"{_COMMANDS[base.head]}^{{{self.write(exponent)[0]}}}\left({inner}\right)", POWER
        shown = self._at_least(base, POWER + 1)
        if shown.startswith((r"\sqrt", r"\frac")):
            shown = rf"\left({shown}\right)"
        return rf"{shown}^{{{self.write(exponent)[0]}}}", POWER

    def _function(self, term: Term) -> Written:
        head, parts = term.head, [self.write(arg) for arg in term.args]
        inside = ", ".join(part for part, _ in parts)
        if head in SIGNS:
            return f"{parts[0][0]} {_LATEX_SIGNS[head]} {parts[1][0]}", COMPARISON
        if head == "exp":
            return f"e^{{{inside}}}", POWER
        if head == "abs":
            return rf"\left|{inside}\right|", ATOM
        if head == "and":
            return r" \wedge ".join(part for part, _ in parts), COMPARISON - 2
        if head == "not":
            return rf"\neg \left({inside}\right)", ATOM
        if head == "where":
            condition, yes, no = (part for part, _ in parts)
            return (
                rf"\begin{{cases}} {yes} & \text{{if }} {condition} \\ {no} & \text{{otherwise}} \end{{cases}}",
                ATOM,
            )
        if head in _COMMANDS:
            return rf"{_COMMANDS[head]}\left({inside}\right)", ATOM
        if head in self._notations:
            return write_latex(self._notations[head], parts, term.attrs)
        name = head.replace("_", r"\_")
        return rf"\operatorname{{{name}}}\left({inside}\right)", ATOM
