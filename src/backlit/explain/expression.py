"""Expressions written as text, evaluated at given values: the graph of each, and where its parts stand."""

from __future__ import annotations

import ast
import difflib
import inspect
import keyword
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from backlit.core.errors import BacklitError
from backlit.core.value import constant, current, next_serial
from backlit.core.walk import reachable
from backlit.explain.grammar import FOLDED, OPERATORS, Place, Source, check_tree, syntax_tree
from backlit.ops import namespace
from backlit.ops.face import Value

CONSTANTS = {"pi": float(np.pi), "e": float(np.e)}
"""What these names mean where the user gives them no value."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The graph of an expression at given values.

    output: its value. inputs: the variables that occur in it, in the order in which their values were given.
    names: what to call the leaves, `pi` and `e` included. places: the text that each value was read from.
    """

    source: str
    output: Value
    inputs: dict[str, Value]
    names: dict[Value, str]
    places: dict[Value, Place]


@dataclass(frozen=True)
class Expression:
    """An expression that has been read, and may be evaluated at any values.

    >>> f = Expression.read("(a*b + c)*d")
    >>> f.names
    ('a', 'b', 'c', 'd')
    >>> f.evaluate({"a": 2.0, "b": -3.0, "c": 10.0, "d": -2.0}).output.data
    -8.0
    """

    source: Source = field(repr=False)
    body: ast.expr = field(repr=False)
    mentioned: Mapping[str, Place] = field(repr=False)  # the variables, where they occur first

    @classmethod
    def read(cls, text: str) -> Expression:
        """The expression that a text holds. Raises ExpressionError, with a caret under the place.

        Cost: linear. Texts of more than 10,000 characters and brackets more than 100 deep are refused.
        """
        source, body = syntax_tree(text)
        return cls(source, body, check_tree(source, body))

    @property
    def text(self) -> str:
        """The expression as it was written."""
        return self.source.text.strip()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The variables that need a value, in the order in which they occur."""
        return tuple(name for name in self.mentioned if name not in CONSTANTS)

    def evaluate(self, values: Mapping[str, Any]) -> Evaluated:
        """The graph at these values: numbers, nested lists, arrays, or values made before.

        Raises ExpressionError for variables without a value, and where the values do not fit an operation.
        """
        missing = [name for name in self.names if name not in values]
        if missing:
            self._fail_for_missing(missing, [name for name in values if name not in self.mentioned])
        return _Evaluation(self, values).run()

    def _fail_for_missing(self, missing: Sequence[str], unused: Sequence[str]) -> None:
        place = self.mentioned[missing[0]]
        quoted = [f"`{name}`" for name in missing]
        listed = " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
        hint = f"Add {'it' if len(missing) == 1 else 'them'}: {' '.join(f'{name}=1' for name in missing)}."
        if near := difflib.get_close_matches(missing[0], unused, 1, 0.5):
            hint += f" A value was given for `{near[0]}`, which does not occur."
        self.source.fail(place.column, len(place.text), f"no value was given for {listed}", hint)

    def function(self, names: Sequence[str] | None = None) -> Callable[..., Value]:
        """The expression as a Python function of these variables (by default of all, in their order).

        >>> Expression.read("a / b").function()(Value(1.0), Value(4.0)).data
        0.25
        """
        order = self.names if names is None else tuple(names)

        def f(*args: Any) -> Value:
            return self.evaluate(dict(zip(order, args, strict=True))).output

        f.__name__ = f.__qualname__ = self.text
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in order]
        f.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return f


def read_values(texts: Iterable[str]) -> dict[str, Any]:
    """Values written as `a=2`, `b=-3.5e2`, `c=1/3` or `x=[1, 2, 3]`, in the order given.

    A value is made of numbers, `pi`, `e`, operators and functions, or of lists of these.
    Raises ExpressionError.

    >>> read_values(["a=2", "b=1/4", "x=[1, 2]"])
    {'a': 2.0, 'b': 0.25, 'x': array([1., 2.])}
    """
    found: dict[str, Any] = {}
    for text in texts:
        left, sign, right = text.partition("=")
        whole = Source(text)
        if not sign or right.startswith("="):
            hint = "For example: a=2, without spaces. The expression itself belongs in quotes."
            whole.fail(0, len(text), "this gives no value", hint)
        name = unicodedata.normalize("NFKC", left.strip())
        if not name.isidentifier() or keyword.iskeyword(name):
            why = "is a word of the language" if keyword.iskeyword(name) else "is not a name"
            whole.fail(0, len(left), f"`{name}` {why}", "A name is made of letters, digits and _.")
        if name in found:
            whole.fail(0, len(left), f"`{name}` is given a value twice")
        if not right.strip():
            whole.fail(len(left), 1, f"`{name}` is given no value", f"Write it after the sign: {name}=2.")
        found[name] = _constant(name, *syntax_tree(right, before=f"{left}="))
    return found


def _constant(name: str, source: Source, body: ast.expr) -> Any:
    """The number or array that a constant expression or a nested list of them holds."""
    results: list[Any] = []
    todo: list[tuple[ast.expr, bool]] = [(body, False)]
    while todo:
        node, ready = todo.pop()
        if not isinstance(node, ast.List):
            results.append(_number(name, source, node))
        elif not ready:
            todo.append((node, True))
            todo.extend((item, False) for item in reversed(node.elts))
        else:
            count = len(node.elts)
            items = results[len(results) - count :]
            del results[len(results) - count :]
            if len({np.shape(item) for item in items}) > 1:
                source.fail_at(node, "the rows of this list differ in length", "An array needs rows of one length.")
            results.append(np.array(items, dtype=np.float64))
    return results[0]


def _number(name: str, source: Source, node: ast.expr) -> Any:
    for used, place in check_tree(source, node).items():
        if used not in CONSTANTS:
            hint = f"A value is made of numbers, {' and '.join(CONSTANTS)}, operators and functions."
            source.fail(place.column, len(place.text), f"the value of `{name}` mentions `{used}`", hint)
    return _Evaluation(Expression(source, node, dict.fromkeys(CONSTANTS, Place("", 0))), {}).run().output.data


class _Evaluation:
    """One run through the syntax tree, with a stack of its own."""

    def __init__(self, expression: Expression, values: Mapping[str, Any]) -> None:
        self.source, self.body = expression.source, expression.body
        self.inputs: dict[str, Value] = {}
        self.leaves: dict[str, Value] = {}
        self.names: dict[Value, str] = {}
        self.places: dict[Value, Place] = {}
        for name, data in values.items():
            if name in expression.mentioned:
                leaf = data if isinstance(data, Value) else Value(data, name=name)
                self.inputs[name] = self.leaves[name] = leaf
                self.names[current(leaf)] = name

    def run(self) -> Evaluated:
        first = next_serial()
        results: list[Value] = []
        todo: list[tuple[ast.expr, bool]] = [(self.body, False)]
        while todo:
            node, ready = todo.pop()
            parts = _parts(node)
            if parts and not ready:
                todo.append((node, True))
                todo.extend((part, False) for part in reversed(parts))
                continue
            arguments = results[len(results) - len(parts) :] if parts else []
            del results[len(results) - len(arguments) :]
            try:
                results.append(self._value(node, arguments))
            except BacklitError as error:
                self.source.fail_at(node, str(error).split("\n")[0].rstrip("."))
            self.places.setdefault(current(results[-1]), self.source.place(node))
        for made in reachable([current(results[0])]):
            if made._serial > first:
                made._code = None  # no line of the user's program made it; `places` says where it stands
        return Evaluated(self.source.text.strip(), results[0], self.inputs, self.names, self.places)

    def _value(self, node: ast.expr, arguments: list[Value]) -> Value:
        """The value of one node of the tree from those of its parts."""
        match node:
            case ast.Name(id=name):
                return self._leaf(name)
            case ast.Call(func=ast.Name(id=name)):
                return self._called(node, name, arguments)
            case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.Compare(ops=[op]) if arguments:
                return namespace.find(OPERATORS[type(op)])(*arguments)  # type: ignore[no-any-return]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
                return constant(-float(value))  # type: ignore[arg-type]
            case ast.UnaryOp(operand=ast.Constant(value=value)) | ast.Constant(value=value):
                return constant(float(value))  # type: ignore[arg-type]
            case _:
                raise AssertionError(f"{type(node).__name__} was not refused")

    def _leaf(self, name: str) -> Value:
        if name not in self.leaves:
            self.leaves[name] = constant(CONSTANTS[name])
            self.names[self.leaves[name]] = name
        return self.leaves[name]

    def _called(self, node: ast.expr, name: str, arguments: list[Value]) -> Value:
        if name not in FOLDED or len(arguments) == 1:
            return namespace.find(name)(*arguments)  # type: ignore[no-any-return]
        larger = namespace.find(FOLDED[name])
        total = arguments[0]
        for argument in arguments[1:]:
            total = larger(total, argument)
            self.places.setdefault(total, self.source.place(node))
        return total


def _parts(node: ast.expr) -> list[ast.expr]:
    """The parts to evaluate first. The sign of a number belongs to it: -3 is not the negative of 3."""
    match node:
        case ast.BinOp(left=left, right=right) | ast.Compare(left=left, comparators=[right]):
            return [left, right]
        case ast.UnaryOp(operand=operand) if not isinstance(operand, ast.Constant):
            return [operand]
        case ast.Call(args=args):
            return args
        case _:
            return []
