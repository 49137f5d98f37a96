"""How graphs read as formulas: with names, with numbers in place of the names, as text and as LaTeX.

A formula is made from the notation of each op, so a user's own op reads as well as a built-in one. Nothing
recurses.
"""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backlit.core.notation import ATOM, PRODUCT, SIGN, Written, write_latex, write_text
from backlit.core.numbers import dtype_of, shape_of
from backlit.core.op import Op
from backlit.core.value import INACTIVE, as_user_sees, current, inputs_of
from backlit.core.walk import by_serial
from backlit.ops.arithmetic import NEGATIVE
from backlit.ops.face import Value
from backlit.ops.powers import SQUARE

Names = Mapping[Value, str]
DIGITS = 6
LIMIT = 2_000
"""Longer formulas than this many characters are cut: what is inside them is written `…`."""


# -- numbers -------------------------------------------------------------------------------------------------


def number_text(x: Any, digits: int = DIGITS) -> str:
    """A number as people write it: whole numbers in full, others to some significant digits; arrays in short.

    >>> number_text(-8.0), number_text(0.70710678), number_text(1.5e-7), number_text(-0.0)
    ('-8', '0.707107', '1.5e-7', '0')
    >>> import numpy as np
    >>> number_text(np.array([1.0, 2.5])), number_text(np.zeros((28, 28)))
    ('[1, 2.5]', 'array(28, 28)')
    """
    shape = shape_of(x)
    if shape:
        if len(shape) == 1 and 0 < shape[0] <= 6:
            return f"[{', '.join(number_text(item, digits) for item in x)}]"
        return f"array{shape}" if len(shape) > 1 else f"array({shape[0]})"
    if dtype_of(x).kind == "b":
        return "true" if x else "false"
    if dtype_of(x).kind == "c":
        return f"{complex(x):.{digits}g}"
    x = float(x)
    if not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    if x == int(x) and abs(x) < 1e15:
        return str(int(x))
    mantissa, _, exponent = f"{x:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def number_latex(x: Any, digits: int = DIGITS) -> str:
    r"""The same for LaTeX.

    >>> number_latex(1.5e-7), number_latex(float("-inf"))
    ('1.5 \\times 10^{-7}', '-\\infty')
    """
    text = number_text(x, digits)
    if shape_of(x):
        return rf"\left{text[:-1]}\right]" if text[0] == "[" else rf"\text{{{text}}}"
    if text in ("nan", "true", "false"):
        return rf"\text{{{text}}}"
    mantissa, _, exponent = text.replace("inf", r"\infty").partition("e")
    return rf"{mantissa} \times 10^{{{exponent}}}" if exponent else mantissa


def equals(x: Any, digits: int = DIGITS) -> str:
    """The sign before a number as it is shown: `=`, or `≈` if rounding changed it."""
    if shape_of(x):
        return "="
    if dtype_of(x).kind != "f" or not math.isfinite(x):
        return "="
    return "=" if math.isclose(float(number_text(x, digits)), float(x), rel_tol=1e-12, abs_tol=0.0) else "≈"


_GREEK = (
    " alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi "
    "chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega "
)


def name_latex(name: str) -> str:
    r"""A name of a program as LaTeX: Greek letters, subscripts, and words upright.

    >>> name_latex("x1"), name_latex("alpha"), name_latex("w_out"), name_latex("loss")
    ('x_{1}', '\\alpha', 'w_{\\mathrm{out}}', '\\mathrm{loss}')
    """
    name, again, count = name.partition("#")
    if again:
        return f"{name_latex(name)}^{{({count})}}"
    stem, _, below = name.strip("_").partition("_")
    if not below:
        letters = stem.rstrip("0123456789")
        stem, below = (letters, stem[len(letters) :]) if letters else (stem, "")
    text = _word_latex(stem or name)
    return f"{text}_{{{', '.join(map(_word_latex, below.split('_')))}}}" if below else text


def _word_latex(word: str) -> str:
    if word and f" {word} " in _GREEK:
        return f"\\{word}"
    if not word.isascii():
        return _foreign_latex(word)
    if len(word) <= 1 or word.isdigit():
        return {"_": r"\_"}.get(word, word)
    escaped = "".join(f"\\{c}" if c in "_#$%&{}" else c for c in word)
    return rf"\mathrm{{{escaped}}}"


def _foreign_latex(word: str) -> str:
    r"""A word with letters that plain LaTeX lacks: `α` as \alpha, any other as text."""
    match unicodedata.name(word, "").split() if len(word) == 1 else ():
        case ["GREEK", size, "LETTER", name]:
            letter = name.replace("LAMDA", "LAMBDA").lower()
            letter = letter.capitalize() if size == "CAPITAL" else letter
            if f" {letter} " in _GREEK:
                return f"\\{letter}"
    return rf"\text{{{word}}}"


# -- formulas ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Formula:
    """One formula: with names and with numbers in their place, as text and as LaTeX.

    because: the conditions that decided which of several formulas it is (`x > 0` for relu).
    """

    text: str
    numbers: str
    latex: str
    numbers_latex: str
    because: tuple[str, ...] = ()
    because_latex: tuple[str, ...] = ()


def expression_text(value: Value, names: Names | None = None, limit: int = LIMIT) -> str:
    """The whole expression that a value was computed by, as text. Parts longer than `limit` are written `…`.

    names: what to call values; one that is named is not opened. By default variables go by their own names.

    >>> a, b = Value(2.0, name="a"), Value(-3.0, name="b")
    >>> expression_text((a * b + 10.0) * a)
    '(a * b + 10) * a'
    """
    return _Writer(names, limit=limit).write(current(value))


def expression_latex(value: Value, names: Names | None = None, limit: int = LIMIT) -> str:
    r"""The same as LaTeX.

    >>> a, b = Value(2.0, name="a1"), Value(-3.0, name="b")
    >>> expression_latex((a + b) / b)
    '\\frac{a_{1} + b}{b}'
    """
    return _Writer(names, latex=True, limit=limit).write(current(value))


def formula(value: Value, names: Names) -> Formula:
    """All four ways to write what a value was computed by, down to the values that have names."""
    return Formula(*_four_ways(current(value), names, simple=False))


def partial_formula(partial: Any, names: Names) -> Formula:
    """The same for a partial derivative, simplified; a `where` gives way to the branch that it chose."""
    because: list[Reason] = []
    while isinstance(partial, Value) and partial not in names and (branch := _branch(partial)) is not None:
        because += _reasons(inputs_of(partial)[0], branch == 1)
        partial = inputs_of(partial)[branch]
    if isinstance(partial, Value) and partial not in names and _is_truth(partial):
        because += _reasons(partial, bool(partial._data))
        partial = float(partial._data)
    texts = tuple(_Writer(names).write(condition) + said for condition, said in because)
    latex = tuple(
        _Writer(names, latex=True).write(condition) + (rf"\text{{{said}}}" if said else "")
        for condition, said in because
    )
    if not isinstance(partial, Value):
        text, tex = number_text(partial), number_latex(partial)
        return Formula(text, text, tex, tex, texts, latex)
    return Formula(*_four_ways(current(partial), names, simple=True), texts, latex)


def _four_ways(node: Value, names: Names, simple: bool) -> tuple[str, str, str, str]:
    return (
        _Writer(names, simple=simple).write(node),
        _Writer(names, numeric=True, simple=simple).write(node),
        _Writer(names, latex=True, simple=simple).write(node),
        _Writer(names, numeric=True, latex=True, simple=simple).write(node),
    )


# -- why this branch -----------------------------------------------------------------------------------------

_OPPOSITES = {"less": ">=", "less_equal": ">", "greater": "<=", "greater_equal": "<"}
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


def _branch(node: Value) -> int | None:
    """Which input a `where` with a scalar condition chose; None for anything else."""
    if node._op is None or node._op.name != "where":
        return None
    condition = inputs_of(node)[0]
    return None if condition.shape else 1 if condition._data else 2


def _is_truth(node: Value) -> bool:
    return dtype_of(node._data).kind == "b" and not shape_of(node._data)


Reason = tuple[Value, str]  # a condition, and what is said of it if it is no comparison


def _reasons(condition: Value, holds: bool) -> list[Reason]:
    """True conditions that say why this one is true or false; that two numbers differ says nothing."""
    found: list[Reason] = []
    stack = [(condition, holds)]
    while stack:
        node, holds = stack.pop()
        name = node._op.name if node._op is not None else ""
        parts = inputs_of(node)
        if name in ("equal", "not_equal") and _is_truth(parts[0]):  # a condition held against 0
            stack.append((parts[0], bool(parts[0]._data)))
        elif name in ("bitwise_and", "logical_and", "bitwise_or", "logical_or"):
            every = name.endswith("and") == holds  # all parts say why, or the first that does
            which = [part for part in parts if every or bool(part._data) == holds]
            stack.extend((part, holds) for part in reversed(which if every else which[:1]))
        elif not name:
            found.append((node, " is true" if holds else " is false"))
        elif holds and name != "not_equal":
            found.append((node, ""))
        elif not holds and name in _OPPOSITES:
            opposite = _COMPARED[_OPPOSITES[name]](*parts)
            if opposite.data:  # it is not where NaN was compared
                found.append((opposite, ""))
    return found


# -- writing -------------------------------------------------------------------------------------------------

Item = Written | Value  # an operand: written already, or a leaf


@dataclass(frozen=True, slots=True)
class _Writer:
    names: Names | None
    numeric: bool = False
    latex: bool = False
    simple: bool = False
    limit: int = LIMIT

    def write(self, root: Value) -> str:
        done: dict[Value, Item] = {}
        for node in self._opened(root):
            assert node._op is not None
            done[node] = self._item(node, [done.get(x, x) for x in inputs_of(node)])
        return self._operand(done.get(root, root), 0, 1)[0]

    def _opened(self, root: Value) -> list[Value]:
        """The nodes that are written out, inputs first."""
        stack, seen = [root], {root}
        found = []
        while stack:
            node = stack.pop()
            if node._a is None or (self.names is not None and node in self.names):
                continue
            found.append(node)
            for x in inputs_of(node):
                if x not in seen:
                    seen.add(x)
                    stack.append(x)
        return sorted(found, key=by_serial)

    def _item(self, node: Value, items: list[Item]) -> Item:
        assert node._op is not None
        if self.simple:
            branch = _branch(node)
            if branch is not None:
                return items[branch]
            simpler = self._simpler(node, items)
            if simpler is not None:
                return simpler
        return self._notation(node._op, items, node._extra.attrs)

    def _notation(self, op: Op, items: Sequence[Item], attrs: Mapping[str, Any]) -> Written:
        assert op.notation is not None
        operands = [self._operand(item, i, len(items)) for i, item in enumerate(items)]
        text, level = (write_latex if self.latex else write_text)(op.notation, operands, attrs)
        return (text, level) if len(text) <= self.limit else (r"\dots" if self.latex else "…", ATOM)

    def _operand(self, item: Item, index: int, count: int) -> Written:
        """An operand as text. One that begins with a minus sign is put in parentheses behind an operator."""
        if isinstance(item, tuple):
            text, level = item
        else:
            text, level = self._leaf(item)
        if text.startswith("-") and (index > 0 or (count == 1 and level == SIGN)):
            level = 0
        return text, level

    def _leaf(self, node: Value) -> Written:
        name = self.names.get(node) if self.names is not None else None
        if self.names is None and node._grad is not INACTIVE:
            name = as_user_sees(node).label
        if name is None or self.numeric:
            return self._number(node._data)
        return (name_latex(name) if self.latex else name), ATOM

    def _number(self, x: Any) -> Written:
        text = number_latex(x) if self.latex else number_text(x)
        return text, SIGN if text.startswith("-") else PRODUCT if r"\times" in text else ATOM

    # -- light simplification: what rules leave behind, such as 1 · x ----------------------------------------

    def _known(self, item: Item) -> float | None:
        """The number that an operand is, if it is no more than that."""
        if isinstance(item, tuple) or item._a is not None or item._grad is not INACTIVE:
            return None
        if self.names is None or item in self.names or type(item._data) is not float:
            return None
        return item._data

    def _simpler(self, node: Value, items: list[Item]) -> Item | None:
        assert node._op is not None
        match node._op.name, items, [self._known(item) for item in items]:
            case "multiply", [x, y], _ if x is y:
                return self._notation(SQUARE, [x], {})
            case ("multiply", [x, _], [_, 1.0]) | ("multiply", [_, x], [1.0, _]):
                return x
            case ("multiply", [x, _], [_, -1.0]) | ("multiply", [_, x], [-1.0, _]):
                return self._notation(NEGATIVE, [x], {})
            case ("add", [x, _], [_, 0.0]) | ("add", [_, x], [0.0, _]) | ("subtract", [x, _], [_, 0.0]):
                return x
            case ("divide", [x, _], [_, 1.0]) | ("pow", [x, _], [_, 1.0]):
                return x
        return None
