"""Formulas as small trees of terms, put into a normal form while they are built.

A sum knows no two like terms, a product no base twice: `x*x` is `x**2`, `x + x` is `2*x`, `exp(a)*exp(b)` is
`exp(a + b)`. Numbers are exact fractions as long as they were written as such. Equal terms have equal keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

Number = Fraction | float


class Term:
    """A number, a symbol, a sum, a product, a power, or a function applied to terms.

    head: "number", "symbol", "+", "*", "**", or the name of a function. args: the parts. value: of a number;
    the name of a symbol. attrs: of a function. key: equal for equal terms, and it orders them.
    """

    _hash: int
    __slots__ = ("_hash", "args", "attrs", "head", "key", "size", "value")

    def __init__(
        self, head: str, args: tuple[Term, ...] = (), value: Any = None, attrs: Mapping[str, Any] | None = None
    ) -> None:
        self.head, self.args, self.value, self.attrs = head, args, value, dict(attrs or {})
        self.key: tuple[Any, ...] = (
            head,
            str(value) if value is not None else "",
            tuple(sorted((name, repr(x)) for name, x in self.attrs.items())),
            tuple(arg.key for arg in args),
        )
        self._hash = hash((self.key[:3], tuple(arg._hash for arg in args)))
        self.size: int = 1 + sum(arg.size for arg in args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Term) and (self is other or (self.size == other.size and self.key == other.key))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        if self.head in ("number", "symbol"):
            return str(self.value)
        return f"{self.head}({', '.join(map(repr, self.args))})"


def number(x: Number | int) -> Term:
    """A number. A float that is short when written in decimals becomes that fraction: 0.1 is 1/10.

    >>> number(0.1).value, number(3).value, number(0.7310585786300049).value
    (Fraction(1, 10), Fraction(3, 1), 0.7310585786300049)
    """
    if isinstance(x, float) and math.isfinite(x):
        text = repr(x)
        if x == int(x) and abs(x) < 1e15:
            x = Fraction(int(x))
        elif len(text.lstrip("-").replace(".", "").lstrip("0")) <= 6 and "e" not in text:
            x = Fraction(text)
    elif not isinstance(x, float):
        x = Fraction(x)
    return Term("number", value=x)


ZERO, ONE, MINUS_ONE, TWO, HALF = number(0), number(1), number(-1), number(2), number(Fraction(1, 2))


def symbol(name: str) -> Term:
    """A variable."""
    return Term("symbol", value=name)


def is_number(term: Term, value: Number | int | None = None) -> bool:
    """Whether it is a number (and this one)."""
    return term.head == "number" and (value is None or term.value == value)


def split(term: Term) -> tuple[Number, Term]:
    """A term as a number times the rest."""
    if term.head == "number":
        return term.value, ONE
    if term.head == "*" and term.args[0].head == "number":
        rest = term.args[1:]
        return term.args[0].value, rest[0] if len(rest) == 1 else Term("*", rest)
    return Fraction(1), term


def factors(term: Term) -> list[Term]:
    """The factors of a product; of anything else, itself."""
    return list(term.args) if term.head == "*" else [term]


def base_and_exponent(term: Term) -> tuple[Term, Term]:
    """A power as its base and exponent; anything else has exponent 1."""
    return (term.args[0], term.args[1]) if term.head == "**" else (term, ONE)


# -- sums ----------------------------------------------------------------------------------------------------


def add(*terms: Term) -> Term:
    """The sum, like terms collected.

    >>> x = symbol("x")
    >>> add(x, number(3), x), add(x, multiply(MINUS_ONE, x))
    (+(*(2, x), 3), 0)
    """
    collected: dict[Term, Number] = {}
    for term in terms:
        for part in term.args if term.head == "+" else (term,):
            coefficient, rest = split(part)
            collected[rest] = collected.get(rest, Fraction(0)) + coefficient
    _circles(collected)
    parts = [scaled(coefficient, rest) for rest, coefficient in collected.items() if coefficient != 0]
    if not parts:
        return ZERO
    if len(parts) == 1:
        return parts[0]
    return Term("+", tuple(sorted(parts, key=lambda part: part.key)))


def scaled(coefficient: Number, rest: Term) -> Term:
    """A number times a term that holds no number of its own."""
    if rest.head == "number":
        return number(coefficient * rest.value)
    if coefficient == 1:
        return rest
    if coefficient == 0:
        return ZERO
    if rest.head == "*":
        return Term("*", (number(coefficient), *rest.args))
    return Term("*", (number(coefficient), rest))


def _circles(collected: dict[Term, Number]) -> None:
    """cos² + sin² = 1, and cosh² - sinh² = 1, whatever they are multiplied by."""
    for rest, coefficient in list(collected.items()):
        for factor in factors(rest):
            base, exponent = base_and_exponent(factor)
            if base.head not in ("sin", "sinh") or not is_number(exponent, 2) or collected.get(rest) != coefficient:
                continue
            partner = Term("cos" if base.head == "sin" else "cosh", base.args)
            others = [each for each in factors(rest) if each is not factor]
            twin = multiply(*others, power(partner, TWO))
            sign = 1 if base.head == "sin" else -1
            if collected.get(twin) != sign * coefficient:
                continue
            del collected[rest], collected[twin]
            left_coefficient, left = split(multiply(*others))
            collected[left] = collected.get(left, Fraction(0)) + sign * coefficient * left_coefficient
            break


# -- products and powers -------------------------------------------------------------------------------------


def multiply(*terms: Term) -> Term:
    """The product, powers of one base collected.

    >>> x = symbol("x")
    >>> multiply(x, number(2), x), multiply(x, power(x, MINUS_ONE))
    (*(2, **(x, 2)), 1)
    """
    coefficient: Number = Fraction(1)
    exponents: dict[Term, Term] = {}
    exponential: list[Term] = []
    stack = list(reversed(terms))
    while stack:
        term = stack.pop()
        if term.head == "number":
            coefficient = coefficient * term.value
        elif term.head == "*":
            stack.extend(reversed(term.args))
        elif term.head == "exp":
            exponential.append(term.args[0])
        else:
            base, exponent = base_and_exponent(term)
            known = exponents.get(base)
            exponents[base] = exponent if known is None else add(known, exponent)
    if coefficient == 0:
        return ZERO
    if exponential:
        together = exp(add(*exponential))
        if together.head == "exp":
            together = _logistic(together, exponents)
        if together.head != "exp":
            return multiply(number(coefficient), together, *(power(b, e) for b, e in exponents.items()))
    parts: list[Term] = [together] if exponential else []
    again = False
    for base, exponent in exponents.items():
        part = power(base, exponent)
        again = again or part.head in ("*", "number") or base_and_exponent(part)[0] != base
        parts.append(part)
    if again:
        return multiply(number(coefficient), *parts)
    if not parts:
        return number(coefficient)
    if len(parts) == 1 and parts[0].head == "+" and coefficient == -1:
        return add(*(multiply(MINUS_ONE, part) for part in parts[0].args))
    parts.sort(key=lambda part: part.key)
    if coefficient != 1:
        parts.insert(0, number(coefficient))
    return parts[0] if len(parts) == 1 else Term("*", tuple(parts))


def _logistic(exponential: Term, exponents: dict[Term, Term]) -> Term:
    """exp(u) · sigmoid(-u) = sigmoid(u), where such factors meet; `exponents` loses the one that was used."""
    inner = exponential.args[0]
    mirrored = Term("sigmoid", (multiply(MINUS_ONE, inner),))
    exponent = exponents.get(mirrored)
    if exponent is None or not is_number(exponent) or not exponent.value >= 1:
        return exponential
    exponents[mirrored] = number(exponent.value - 1)
    if is_number(exponents[mirrored], 0):
        del exponents[mirrored]
    return Term("sigmoid", (inner,))


def power(base: Term, exponent: Term) -> Term:
    """base**exponent.

    >>> x = symbol("x")
    >>> power(power(x, TWO), number(3)), power(multiply(number(2), x), TWO)
    (**(x, 6), *(4, **(x, 2)))
    """
    if is_number(exponent, 0) or is_number(base, 1):
        return ONE
    if is_number(exponent, 1):
        return base
    whole = exponent.head == "number" and exponent.value == int(exponent.value)
    if is_number(base, 0) and exponent.head == "number" and exponent.value < 0:
        raise ZeroDivisionError("a formula divides by something that is always 0")
    if base.head == "number" and exponent.head == "number":
        known = _power_of_numbers(base.value, exponent.value)
        if known is not None:
            return number(known)
    if base.head == "exp" and (whole or exponent.head != "number"):
        return exp(multiply(base.args[0], exponent))
    if whole:
        if base.head == "**":
            return power(base.args[0], multiply(base.args[1], exponent))
        if base.head == "*":
            return multiply(*(power(factor, exponent) for factor in base.args))
        if base.head == "abs" and int(exponent.value) % 2 == 0:
            return power(base.args[0], exponent)
        if base.head == "hypot" and int(exponent.value) % 2 == 0:
            a, b = base.args
            return power(add(power(a, TWO), power(b, TWO)), multiply(exponent, HALF))
        if base.head == "+":
            return _power_of_sum(base, exponent)
    return Term("**", (base, exponent))


def _power_of_numbers(base: Number, exponent: Number) -> Number | None:
    if isinstance(base, Fraction) and exponent == int(exponent) and abs(float(exponent)) <= 64:
        return Fraction(base ** int(exponent))
    if isinstance(base, Fraction) and exponent == Fraction(1, 2) and base.numerator >= 0:
        roots = math.isqrt(base.numerator), math.isqrt(base.denominator)
        if roots[0] ** 2 == base.numerator and roots[1] ** 2 == base.denominator:
            return Fraction(*roots)
    if isinstance(base, float) or isinstance(exponent, float):
        try:
            found = float(base) ** float(exponent)
        except (ArithmeticError, ValueError):
            return None
        return found if isinstance(found, float) and math.isfinite(found) else None
    return None


def _power_of_sum(base: Term, exponent: Term) -> Term:
    """1/(1 + exp(u)) = sigmoid(-u); and a sum that begins with a minus sign gives it away."""
    if exponent.value < 0 and len(base.args) == 2:
        rest = [part for part in base.args if not is_number(part, 1)]
        if len(rest) == 1 and rest[0].head == "exp":
            return power(Term("sigmoid", (multiply(MINUS_ONE, rest[0].args[0]),)), number(-exponent.value))
    if all(split(part)[0] < 0 for part in base.args):
        sign = number(-1 if int(exponent.value) % 2 else 1)
        return multiply(sign, Term("**", (multiply(MINUS_ONE, base), exponent)))
    return Term("**", (base, exponent))


# -- functions -----------------------------------------------------------------------------------------------

_AT_ZERO: dict[str, Number | int] = {
    **dict.fromkeys(("sin", "tan", "tanh", "sinh", "asin", "atan", "asinh", "atanh", "sqrt", "abs", "sign"), 0),
    **dict.fromkeys(("expm1", "log1p", "relu", "erf", "floor", "ceil", "round", "trunc"), 0),
    **dict.fromkeys(("cos", "cosh"), 1),
    "sigmoid": Fraction(1, 2),
}
_ODD = ("sin", "tan", "tanh", "sinh", "asin", "atan", "asinh", "atanh", "sign", "erf")
_EVEN = ("cos", "cosh", "abs")


def exp(x: Term) -> Term:
    """e to the power x."""
    if is_number(x, 0):
        return ONE
    if x.head == "log":
        return x.args[0]
    coefficient, rest = split(x)
    if rest.head == "log":
        return power(rest.args[0], number(coefficient))
    return Term("exp", (x,))


def apply(name: str, args: Iterable[Term], attrs: Mapping[str, Any] | None = None) -> Term:
    """A function of terms. What is a sum, product or power in disguise becomes one.

    >>> x = symbol("x")
    >>> apply("log", [apply("exp", [x])]), apply("sin", [multiply(MINUS_ONE, x)])
    (x, *(-1, sin(x)))
    """
    args = tuple(args)
    if name in _ARITHMETIC:
        return _ARITHMETIC[name](*args)  # type: ignore[no-any-return]
    (first, *others) = args or (ZERO,)
    if not others and not attrs:
        if is_number(first, 0) and name in _AT_ZERO:
            return number(_AT_ZERO[name])
        if name == "log":
            if first.head == "exp":
                return first.args[0]
            if is_number(first, 1):
                return ZERO
        if name in _ODD + _EVEN and _is_negative(first):
            mirrored = Term(name, (multiply(MINUS_ONE, first),))
            return multiply(MINUS_ONE, mirrored) if name in _ODD else mirrored
        if name == "abs" and first.head in ("exp", "sqrt", "sigmoid", "cosh", "abs"):
            return first
    return Term(name, args, attrs=attrs)


def _is_negative(term: Term) -> bool:
    parts = term.args if term.head == "+" else (term,)
    return all(split(part)[0] < 0 for part in parts)


_ARITHMETIC: dict[str, Any] = {
    "add": add,
    "subtract": lambda a, b: add(a, multiply(MINUS_ONE, b)),
    "multiply": multiply,
    "divide": lambda a, b: multiply(a, power(b, MINUS_ONE)),
    "negative": lambda x: multiply(MINUS_ONE, x),
    "positive": lambda x: x,
    "identity": lambda x: x,
    "stop_gradient": lambda x: x,
    "pow": power,
    "square": lambda x: power(x, TWO),
    "reciprocal": lambda x: power(x, MINUS_ONE),
    "sqrt": lambda x: power(x, HALF),
    "exp": exp,
}
