"""What may stand in an expression given as text: Python's own grammar, of which only arithmetic is allowed.

Python's parser makes the syntax tree; every node of it is looked at and must be one of the few kinds allowed.
Nothing is run, nothing recurses, and whatever is wrong is an `ExpressionError` with a caret under the place.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from backlit.core.errors import ExpressionError

MAX_LENGTH = 10_000
MAX_DEPTH = 100
_WINDOW = 72  # characters of a long expression that a message shows


def _each(names: str, arity: tuple[int, int | None]) -> dict[str, tuple[int, int | None]]:
    return dict.fromkeys(names.split(), arity)


FOLDED = {"max": "maximum", "min": "minimum"}  # of any number of arguments, from the op of two
ARITY: dict[str, tuple[int, int | None]] = {
    **_each("abs sign floor ceil trunc round square reciprocal negative positive sqrt exp expm1", (1, 1)),
    **_each("log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh", (1, 1)),
    **_each("sigmoid relu leaky_relu elu gelu silu softplus erf stop_gradient", (1, 1)),
    **_each("sum prod mean var std logsumexp softmax log_softmax", (1, 1)),
    **_each("add subtract multiply divide remainder floor_divide copysign nextafter pow", (2, 2)),
    **_each("hypot logaddexp atan2 maximum minimum vecdot", (2, 2)),
    **_each("where clip", (3, 3)),
    **_each("max min", (1, None)),
}
"""The functions that an expression may call: how many arguments each takes, at least and at most."""

OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder",
    ast.Pow: "pow",
    ast.USub: "negative",
    ast.UAdd: "positive",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
"""The operators that may stand in an expression, and the function that each is."""

_OTHER_NAMES = {
    "ln": "log",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "power": "pow",
    "fabs": "abs",
    "swish": "silu",
    "logistic": "sigmoid",
    "mod": "remainder",
    "sgn": "sign",
    "average": "mean",
    "dot": "vecdot",
    "root": "sqrt",
}
_SIGNS = {
    ast.MatMult: "@",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Not: "not",
    ast.Invert: "~",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_QUOTED = ("text in quotes has no place in an expression", "Names are written without quotes.")
_BRACES = ("braces have no place in an expression", "Use parentheses.")
_REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Attribute: (
        "attribute access has no place in an expression",
        "Functions are written by their bare names: tanh(x).",
    ),
    ast.Subscript: ("elements cannot be picked in an expression", "Give each number a name of its own."),
    ast.List: (
        "a list cannot stand in an expression",
        "Give it a name, and its numbers after the expression: x=[1,2,3].",
    ),
    ast.Tuple: (
        "a comma can only stand between the arguments of a function",
        "The decimal sign is a point: 2.5.",
    ),
    ast.Dict: _BRACES,
    ast.Set: _BRACES,
    ast.Lambda: ("a function cannot be defined in an expression", "Write the formula itself."),
    ast.IfExp: ("`if ... else` has no place in an expression", "Write where(condition, value, other)."),
    ast.BoolOp: ("`and` and `or` have no place in an expression", "Nest where(...) inside where(...)."),
    ast.NamedExpr: ("nothing can be assigned in an expression", "Values come after it: a=2."),
    ast.Starred: ("`*` cannot unpack arguments here", "Write the arguments one by one."),
    ast.JoinedStr: _QUOTED,
}
_FOREIGN = {
    "'": _QUOTED,
    '"': _QUOTED,
    "#": ("a comment has no place in an expression", ""),
    "\\": ("a backslash has no place in an expression", ""),
    ";": ("only one expression is read at a time", ""),
    "^": ("`^` is not a power in Python's notation", "Write ** instead: x**2."),
    "×": ("`×` is not read as an operator", "Write * instead."),
    "·": ("`·` is not read as an operator", "Write * instead."),
    "⋅": ("`⋅` is not read as an operator", "Write * instead."),
    "÷": ("`÷` is not read as an operator", "Write / instead."),
    "−": ("this is a typographic minus sign", "Write the hyphen of the keyboard instead."),
    "–": ("this is a dash", "Write the hyphen of the keyboard instead."),
    "√": ("`√` is not read as a function", "Write sqrt(x) instead."),
    "²": ("`²` is not read as a power", "Write **2 instead."),
    "³": ("`³` is not read as a power", "Write **3 instead."),
}
_OPENING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Place:
    """The part of an expression's text that something was read from; `column` counts characters from 0."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Source:
    """A text to be read, and where it stands in the text that messages show (`a=` stands before a value)."""

    text: str
    before: str = ""

    @property
    def shown(self) -> str:
        """The text that messages show."""
        return self.before + self.text

    def fail(self, column: int, width: int, what: str, hint: str = "") -> NoReturn:
        """Raise the error, with a caret under these characters of the text."""
        shown = "".join(c if c.isprintable() else " " for c in self.shown)
        length = len(shown)
        column = max(0, min(column + len(self.before), length))
        start = 0
        if length > _WINDOW:
            start = max(0, min(column - _WINDOW // 2, length - _WINDOW))
            shown = shown[start : start + _WINDOW]
        left, right = "…" if start else "", "…" if start + len(shown) < length else ""
        at = column - start
        indent = " " * (_columns(shown[:at]) + len(left))
        caret = "^" * max(_columns(shown[at : at + max(width, 1)]), 1)
        message = f"{what}.\n    {left}{shown}{right}\n    {indent}{caret}"
        raise ExpressionError(message + (f"\n  {hint}" if hint else ""))

    def fail_at(self, node: ast.expr | ast.keyword, what: str, hint: str = "") -> NoReturn:
        """The same for a node of the syntax tree."""
        self.fail(*self.position(node), what, hint)

    def position(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Where a node begins and how long it is, in characters (the parser counts bytes of UTF-8)."""
        assert node.end_col_offset is not None
        if self.text.isascii():
            return node.col_offset, node.end_col_offset - node.col_offset
        coded = self.text.encode()
        start = len(coded[: node.col_offset].decode())
        return start, len(coded[: node.end_col_offset].decode()) - start

    def place(self, node: ast.expr) -> Place:
        """The text that a node was read from."""
        column, width = self.position(node)
        return Place(self.text[column : column + width], column)


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def syntax_tree(text: str, before: str = "") -> tuple[Source, ast.expr]:
    """The tree of an expression whose characters, brackets and grammar are in order, whatever it holds."""
    source = _checked_text(Source(text, before))
    stripped = source.text.lstrip()
    indent = len(source.text) - len(stripped)  # to Python a leading space would be an indentation
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        stripped, at = stripped.rstrip(), error.offset or 0
        if not 0 < at <= len(stripped):
            what, hint, at = "something is missing after this", "", len(stripped)
        else:
            what, hint = _what_is_wrong(stripped, at - 1, error.msg)
        source.fail(at - 1 + indent, 1, what, hint)
    except (RecursionError, MemoryError):
        source.fail(0, 1, "too many operations in a row for Python's parser", "Read it in parts.")
    except (ValueError, OverflowError) as error:
        source.fail(0, 1, f"Python cannot read this: {error}")
    if indent:
        for node in ast.walk(body):
            if isinstance(node, (ast.expr, ast.keyword)):
                assert node.end_col_offset is not None
                node.col_offset += indent
                node.end_col_offset += indent
    return source, body


def _checked_text(source: Source) -> Source:
    """The text on one line, if its length, characters and brackets are in order."""
    if len(source.text) > MAX_LENGTH:
        source.fail(0, 1, f"the expression has {len(source.text):,} characters, and up to {MAX_LENGTH:,} are read")
    source = Source("".join(" " if c in "\n\r\t\f\v" else c for c in source.text), source.before)
    if not source.text.strip():
        source.fail(0, 1, "the expression is empty", 'Write one in quotes, such as "(a*b + c)*d".')
    opened: list[tuple[int, str]] = []
    for i, c in enumerate(source.text):
        if c in _FOREIGN:
            source.fail(i, 1, *_FOREIGN[c])
        if not c.isprintable():
            source.fail(i, 1, f"a character that cannot be shown (U+{ord(c):04X}) stands here")
        if c in _OPENING:
            opened.append((i, c))
            if len(opened) > MAX_DEPTH:
                source.fail(i, 1, f"brackets are nested more than {MAX_DEPTH} deep", "Simplify the expression.")
        elif c in ")]}":
            if not opened:
                source.fail(i, 1, f"`{c}` closes a bracket that was never opened")
            at, bracket = opened.pop()
            if _OPENING[bracket] != c:
                column = at + len(source.before) + 1
                source.fail(i, 1, f"`{c}` does not close the `{bracket}` in column {column}")
    if opened:
        at, bracket = opened[-1]
        source.fail(at, 1, f"`{bracket}` is never closed", f"Add `{_OPENING[bracket]}`.")
    return source


def _what_is_wrong(text: str, at: int, reason: str) -> tuple[str, str]:
    """Words for a syntax error at a character of the text, and a hint."""
    c, before = text[at], text[:at].rstrip()
    if c == "=" and text[at : at + 2] != "==":
        return "`=` has no place inside an expression", "Values come after it, each for itself: a=2."
    word = next(iter(text[at:].replace("(", " ").split()), c)
    if keyword.iskeyword(word):
        return f"`{word}` is a word of the language, not a name", ""
    if before and (before[-1].isalnum() or before[-1] in "_)]") and (c.isalnum() or c in "_(."):
        last = before.split()[-1]
        if last in ARITY:
            return f"`{last}` needs its argument in parentheses", f"Write {last}(x)."
        return "an operator is missing before this", "A product is written with *: 2*x."
    if "decimal literal" in reason and c.isdigit():
        return "a number runs into a name here", "A product is written with *: 2*x."
    if "leading zeros" in reason:
        return "a whole number cannot begin with 0", "Leave out the zeros in front."
    if "integer string" in reason:
        return "this whole number has too many digits", "Write it in the form 1e300."
    if "invalid character" in reason:
        return f"`{c}` (U+{ord(c):04X}) cannot be read", ""
    return f"`{c}` cannot stand here", ""


def check_tree(source: Source, body: ast.expr) -> dict[str, Place]:
    """The names of variables that occur, in their order, if everything in the tree is allowed."""
    names: dict[str, Place] = {}
    stack = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            names.setdefault(node.id, source.place(node))
        else:
            stack.extend(reversed(list(_checked_parts(source, node))))
    return names


def _checked_parts(source: Source, node: ast.expr) -> Iterator[ast.expr]:
    """The parts of a node, if it is allowed itself."""
    match node:
        case ast.Constant(value=value):
            _check_number(source, node, value)
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) not in OPERATORS:
                sign = _SIGNS[type(op)]
                start, length = source.position(left)
                at = source.text.find(sign, start + length)
                hint = "For the product of two vectors write vecdot(a, b)." if sign == "@" else ""
                source.fail(at, len(sign), f"`{sign}` is not an operation on real numbers", hint)
            yield left
            yield right
        case ast.UnaryOp(op=op, operand=operand):
            if type(op) not in OPERATORS:
                sign = _SIGNS[type(op)]
                source.fail(source.position(node)[0], len(sign), f"`{sign}` is not an operation on real numbers")
            yield operand
        case ast.Call():
            yield from _checked_call(source, node)
        case ast.Compare():
            source.fail_at(
                node,
                "a comparison is true or false, so it has no derivative",
                "It may be the first argument of where: where(x > 0, x, 0).",
            )
        case _:
            what, hint = _REFUSED.get(type(node), ("this has no place in an expression", ""))
            source.fail_at(node, what, hint)


def _check_number(source: Source, node: ast.Constant, value: Any) -> None:
    if isinstance(value, complex):
        source.fail_at(node, "an imaginary number cannot be differentiated here", "Write real numbers.")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        source.fail_at(node, f"`{value}` is not a number")
    try:
        float(value)
    except OverflowError:
        source.fail_at(node, "this whole number is too large for a float64, which ends at 1.8e308")


def _checked_call(source: Source, node: ast.Call) -> Iterator[ast.expr]:
    if not isinstance(node.func, ast.Name):
        product = ("only a function can be called", "A product is written with *: 2*(a + b).")
        source.fail_at(node.func, *_REFUSED.get(type(node.func), product))
    name = node.func.id
    if name not in ARITY:
        source.fail_at(node.func, f"`{name}` is not a function that Backlit knows", _suggestion(name))
    for named in node.keywords:
        source.fail_at(named, f"`{name}` takes its arguments by position, not by name", f"Write {name}(x).")
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            source.fail_at(argument, *_REFUSED[ast.Starred])
    least, most = ARITY[name]
    count = len(node.args)
    if count < least or (most is not None and count > most):
        wanted = f"{least} argument{'s' * (least != 1)}" + " or more" * (most is None)
        were = "was" if count == 1 else "were"
        source.fail_at(node, f"`{name}` takes {wanted}, and {count or 'none'} {were} given")
    if name == "where" and isinstance(node.args[0], ast.Compare):
        yield from _checked_comparison(source, node.args[0])
        yield from node.args[1:]
    else:
        yield from node.args


def _checked_comparison(source: Source, node: ast.Compare) -> Iterator[ast.expr]:
    if len(node.ops) > 1:
        source.fail_at(node, "comparisons are not chained here", "Nest where(...) inside where(...).")
    if type(node.ops[0]) not in OPERATORS:
        sign = _SIGNS[type(node.ops[0])]
        source.fail_at(node, f"`{sign}` does not compare numbers", "Use <, <=, >, >=, == or !=.")
    yield node.left
    yield node.comparators[0]


def _suggestion(name: str) -> str:
    """A close name, or the names of all functions."""
    if name in _OTHER_NAMES:
        return f"Backlit calls it {_OTHER_NAMES[name]}."
    if near := difflib.get_close_matches(name.lower(), ARITY, 3, 0.65):
        return f"Did you mean {' or '.join(near)}?"
    if len(name) <= 2:
        return f"If a product is meant, write {name}*(...)."
    return f"Known are {', '.join(sorted(ARITY))}."
