"""How an expression is written: as text and as LaTeX, with parentheses only where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

COMPARISON, SUM, PRODUCT, SIGN, POWER, ATOM = 5, 10, 20, 25, 30, 100
Writer = Callable[[Sequence[str], Mapping[str, Any]], str]


class Notation(NamedTuple):
    """How one op is written around its operands.

    `level` is how tightly the result holds together; `needs` is how tightly each operand must, or else it is put
    in parentheses. LaTeX has levels of its own, because a fraction bar or a big radical needs no parentheses.
    """

    text: Writer
    latex: Writer
    level: int = ATOM
    needs: tuple[int, ...] = ()
    latex_level: int | None = None
    latex_needs: tuple[int, ...] | None = None


Written = tuple[str, int]  # the text and how tightly it holds together


def write_text(notation: Notation, operands: Sequence[Written], attrs: Mapping[str, Any]) -> Written:
    return notation.text(_wrapped(operands, notation.needs, "({})"), attrs), notation.level


def write_latex(notation: Notation, operands: Sequence[Written], attrs: Mapping[str, Any]) -> Written:
    needs = notation.needs if notation.latex_needs is None else notation.latex_needs
    level = notation.level if notation.latex_level is None else notation.latex_level
    return notation.latex(_wrapped(operands, needs, r"\left({}\right)"), attrs), level


def _wrapped(operands: Sequence[Written], needs: tuple[int, ...], brackets: str) -> list[str]:
    return [
        text if i >= len(needs) or level >= needs[i] else brackets.replace("{}", text)
        for i, (text, level) in enumerate(operands)
    ]


def infix(symbol: str, level: int, latex: str | None = None, right_associative: bool = False) -> Notation:
    """`a + b` and its like.

    >>> write_text(infix("*", PRODUCT), [("a + b", SUM), ("c", ATOM)], {})[0]
    '(a + b) * c'
    """
    sign = latex or symbol
    needs = (level + 1, level) if right_associative else (level, level + 1)
    return Notation(
        text=lambda x, _: f"{x[0]} {symbol} {x[1]}",
        latex=lambda x, _: f"{x[0]} {sign} {x[1]}",
        level=level,
        needs=needs,
    )


def prefix(symbol: str, level: int = SIGN, latex: str | None = None) -> Notation:
    """`-a` and its like."""
    sign = latex or symbol
    return Notation(
        text=lambda x, _: f"{symbol}{x[0]}", latex=lambda x, _: f"{sign}{x[0]}", level=level, needs=(level,)
    )


def call(name: str, latex: str | None = None) -> Notation:
    r"""`tanh(a)` and its like; attributes are written as keyword arguments.

    >>> write_text(call("sum"), [("a", ATOM)], {"axis": 0})[0]
    'sum(a, axis=0)'
    """
    command = latex or rf"\operatorname{{{name.replace('_', ' ')}}}"

    def text(operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
        return f"{name}({', '.join([*operands, *_keywords(attrs)])})"

    def tex(operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
        return rf"{command}\left({', '.join(operands)}\right)"

    return Notation(text=text, latex=tex)


def _keywords(attrs: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in attrs.items() if value is not None and value is not False]


def templates(
    text: str,
    latex: str,
    level: int = ATOM,
    needs: tuple[int, ...] = (),
    latex_level: int | None = None,
    latex_needs: tuple[int, ...] | None = None,
) -> Notation:
    r"""A notation from two templates in which `<0>`, `<1>`, … stand for the operands.

    >>> frac = templates("<0> / <1>", r"\frac{<0>}{<1>}", PRODUCT, (PRODUCT, PRODUCT + 1), ATOM, ())
    >>> write_latex(frac, [("a + b", SUM), ("c", ATOM)], {})[0]
    '\\frac{a + b}{c}'
    """

    def fill(template: str) -> Writer:
        def write(operands: Sequence[str], attrs: Mapping[str, Any]) -> str:
            out = template
            for i, operand in enumerate(operands):
                out = out.replace(f"<{i}>", operand)
            return out

        return write

    return Notation(fill(text), fill(latex), level, needs, latex_level, latex_needs)
