"""The derivative of a Python function as a formula: simplified, checked, as text, LaTeX and Python.

The function is run once on variables that have no number. What it records is differentiated as any graph is,
and the graph of the derivative is read as a term and simplified.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.reverse import pull_back
from backlit.core import dtypes
from backlit.core.errors import ConversionError, TracedValueError
from backlit.core.numbers import Abstract, shape_of
from backlit.core.op import Constant, Elementwise, Op
from backlit.core.state import mode
from backlit.core.value import INACTIVE, Value, constant, current, describe, inputs_of, leaf
from backlit.core.walk import toposort
from backlit.explain import term_text
from backlit.explain.choices import CHOICES, TRUE, choice, number_of
from backlit.explain.derived import Derived, DeriveError
from backlit.explain.formula import expression_text
from backlit.explain.simplify import simplify
from backlit.explain.terms import HALF, MINUS_ONE, TWO, ZERO, Term, apply, multiply, number, power, symbol

_MOST_NODES = 2_000
_MOST_SIZE = 20_000
_POINTS = 12
_TOLERANCE = 1e-6
_LONGEST = 200
_PI = symbol("pi")
_CONSTANTS = {
    math.pi: _PI,
    math.log(2.0): Term("log", (TWO,)),
    math.log(10.0): Term("log", (number(10),)),
    math.sqrt(2.0): power(TWO, HALF),
    math.sqrt(0.5): power(TWO, multiply(MINUS_ONE, HALF)),
    2.0 / math.sqrt(math.pi): multiply(TWO, power(_PI, multiply(MINUS_ONE, HALF))),
    1.0 / math.sqrt(2.0 * math.pi): power(multiply(TWO, _PI), multiply(MINUS_ONE, HALF)),
}


def derive(f: Callable[..., Any], wrt: int | str | Sequence[int | str] = 0, order: int = 1) -> Any:
    """The derivative of `f` by one of its arguments, as the simplest formula that was found.

    f: a function of numbers, made of elementwise operations; its derivative then holds element by element for arrays,
    too. wrt: the argument, by name or position; several give a tuple. order: how many times.

    Raises DeriveError if the function branches on numbers, reduces arrays, or does what no formula says. The result is
    compared with the engine's own gradient at random points before it is returned. Cost: milliseconds.

    >>> from backlit.ops.trigonometry import sin, tanh
    >>> print(derive(lambda x: x**2 * sin(x)).expression)
    2 * x * sin(x) + x**2 * cos(x)
    >>> print(derive(lambda w, x, b: tanh(w * x + b)).expression)
    x * (1 - tanh(w * x + b)**2)
    """
    if not isinstance(wrt, (int, str)):
        return tuple(derive(f, each, order) for each in wrt)
    if order < 1:
        raise DeriveError(f"derive: order={order}; it is a number of times, 1 or more.")
    try:
        return _derived(f, wrt, order)
    except ZeroDivisionError as error:
        raise DeriveError(
            f"derive: {_name(f)} divides by something that is always 0, so there is no derivative."
        ) from error


def _derived(f: Callable[..., Any], wrt: int | str, order: int) -> Derived:
    names, fixed = _arguments(f)
    which = _position(wrt, names)
    leaves, output = _traced(f, names, fixed)
    reader = _Reader(dict(zip(leaves, names, strict=True)))
    title = expression_text(output)
    title = title if len(title) <= _LONGEST else _name(f)
    reader.read(output)
    ct: Value | None = output
    with mode():
        for _ in range(order):
            seed = constant(1.0)
            ct = None if ct is None or ct._grad is INACTIVE else pull_back([ct], [seed], [leaves[which]])[0]
    raw = ZERO if ct is None else reader.read(ct)
    return _checked(f, raw, reader, names, fixed, which, order, title)


# -- running the function on variables without numbers -------------------------------------------------------


def _arguments(f: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    """The names of the arguments that vary, and of the others their defaults."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError) as error:
        raise DeriveError(f"derive: the arguments of {_name(f)} cannot be found out; wrap it in a lambda.") from error
    varies, fixed = [], {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DeriveError(
                f"derive: {_name(f)} takes {parameter}, so how many arguments it has is open. "
                "Wrap it: derive(lambda x, y: f(x, y))."
            )
        if parameter.default is parameter.empty:
            varies.append(parameter.name)
        else:
            fixed[parameter.name] = parameter.default
    if not varies:
        raise DeriveError(f"derive: {_name(f)} has no argument without a default, so nothing varies.")
    return varies, fixed


def _position(wrt: int | str, names: list[str]) -> int:
    if isinstance(wrt, str):
        if wrt not in names:
            raise DeriveError(f"derive: there is no argument `{wrt}`; the arguments are {', '.join(names)}.")
        return names.index(wrt)
    if not -len(names) <= wrt < len(names):
        raise DeriveError(f"derive: wrt={wrt}, and there are {len(names)} arguments: {', '.join(names)}.")
    return wrt % len(names)


def _traced(f: Callable[..., Any], names: list[str], fixed: dict[str, Any]) -> tuple[list[Value], Value]:
    leaves = []
    for name in names:
        node = leaf(Abstract((), dtypes.float64))
        node.name = name
        leaves.append(node)
    with mode():
        try:
            y = _call(f, leaves, names, fixed)
        except (TracedValueError, ConversionError) as error:
            raise DeriveError(
                f"derive: {_name(f)} asks for the number of a variable (in an `if`, a loop, float() or "
                f"the math module), "
                "and a formula holds for all numbers. Use backlit.where(condition, a, b) in place of `if`, "
                f"and Backlit's or NumPy's functions.\n  {error}"
            ) from error
    if isinstance(y, Value):
        return leaves, current(y)
    if isinstance(y, (int, float, np.floating, np.integer)):
        return leaves, constant(float(y))
    raise DeriveError(f"derive: {_name(f)} returned {type(y).__name__}; it must return one number or value.")


def _call(f: Callable[..., Any], values: Sequence[Any], names: list[str], fixed: dict[str, Any]) -> Any:
    """The function with these values for the arguments that vary."""
    positional, keywords = [], {}
    by_name = dict(zip(names, values, strict=True))
    for parameter in inspect.signature(f).parameters.values():
        value = by_name[parameter.name] if parameter.name in by_name else fixed[parameter.name]
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = value
        else:
            positional.append(value)
    return f(*positional, **keywords)


def _name(f: Callable[..., Any]) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return name if name.isidentifier() else "f"


# -- reading graphs as terms ---------------------------------------------------------------------------------


class _Reader:
    """Reads graphs as terms; remembers conventions, and the ops that only the user knows."""

    def __init__(self, names: dict[Value, str]) -> None:
        self.known: dict[Value, Term] = {node: symbol(name) for node, name in names.items()}
        self.conventions: list[str] = []
        self.ops: dict[str, Op] = {}

    def read(self, output: Value) -> Term:
        order = toposort([output])
        if len(order) > _MOST_NODES:
            raise DeriveError(
                f"derive: {len(order):,} operations make a formula that nobody can read (the limit is "
                f"{_MOST_NODES:,}). "
                "backlit.paths and backlit.why explain large graphs."
            )
        for node in order:
            if node not in self.known:
                term = self.known[node] = self._term(node)
                if term.size > _MOST_SIZE:
                    raise DeriveError(f"derive: the formula of {describe(node)} grows beyond all reading.")
        return number_of(self.known[output])

    def _term(self, node: Value) -> Term:
        op = node._op
        if op is None:
            return self._leaf(node)
        args = [self.known[x] for x in inputs_of(node)]
        if op.name == "astype":
            return number_of(args[0])
        if not isinstance(op, (Elementwise, Constant)) or shape_of(node._data):
            raise DeriveError(
                f"derive: {describe(node)} is not elementwise, and only formulas of single numbers can "
                f"be written: {op.name} "
                "combines the elements of an array. Derive the function of one element, or use backlit.grad."
            )
        if op.name in CHOICES:
            return choice(op.name, tuple(args), self.conventions, term_text.text)
        if isinstance(op, Constant) and op.name not in ("stop_gradient", "isinf", "isnan", "isfinite", "sign"):
            raise DeriveError(f"derive: {describe(node)} has no formula here.")
        if op.name == "stop_gradient":
            raise DeriveError(
                f"derive: {describe(node)} stops the gradient, so what comes out would not be the "
                f"derivative of the formula."
            )
        self.ops.setdefault(op.name, op)
        return apply(op.name, [number_of(arg) for arg in args], node._extra.attrs)

    def _leaf(self, node: Value) -> Term:
        if shape_of(node._data):
            raise DeriveError(
                f"derive: an array of shape {shape_of(node._data)} takes part; a formula is written for "
                f"single numbers. "
                "Make it an argument: then the formula holds for each of its elements."
            )
        if type(node._data) is Abstract:
            raise DeriveError("derive: a variable of another traced function takes part.")
        if isinstance(node._data, (bool, np.bool_)):
            return TRUE if node._data else choice("not", (TRUE,), [], term_text.text)
        x = float(node._data)
        for known, term in _CONSTANTS.items():
            if abs(x) == known:
                return term if x > 0 else multiply(MINUS_ONE, term)
        return number(x)


# -- the check -----------------------------------------------------------------------------------------------


def _checked(
    f: Callable[..., Any],
    raw: Term,
    reader: _Reader,
    names: list[str],
    fixed: dict[str, Any],
    which: int,
    order: int,
    title: str,
) -> Derived:
    """The simplified derivative, if it agrees with the engine at random points; else the one that was not
    simplified."""
    points = _reference(f, names, fixed, which, order)
    worst = 0.0
    for term in (simplify(raw), raw):
        found = Derived(
            _name(f),
            tuple(names),
            names[which],
            order,
            title,
            term,
            tuple(reader.conventions),
            len(points),
            {name: op.notation for name, op in reader.ops.items() if op.notation is not None},
            {name: op.evaluate for name, op in reader.ops.items()},
        )
        worst = max((_error(found, point, slope) for point, slope in points), default=0.0)
        if worst <= _TOLERANCE:
            return found
    raise DeriveError(
        f"derive: the formula found for {title} differs from the engine's gradient by {worst:.1e} of its size, "
        f"so it is not given out: {term_text.text(raw)[:200]}"
    )


def _reference(
    f: Callable[..., Any], names: list[str], fixed: dict[str, Any], which: int, order: int
) -> list[tuple[list[float], float]]:
    """Random points where the engine's own derivative is finite, and its value there."""
    rng = np.random.default_rng(20)
    found: list[tuple[list[float], float]] = []
    for k in range(2 * _POINTS):
        low = 0.15 if k % 2 else -2.4
        point = [float(x) for x in rng.uniform(low, 2.4, len(names))]
        leaves = [Value(x) for x in point]
        y = _call(f, leaves, names, fixed)
        ct = current(y) if isinstance(y, Value) else None
        for _ in range(order):
            ct = None if ct is None or ct._grad is INACTIVE else pull_back([ct], [constant(1.0)], [leaves[which]])[0]
        slope = 0.0 if ct is None else float(current(ct)._data)
        if math.isfinite(slope):
            found.append((point, slope))
        if len(found) == _POINTS:
            break
    return found


def _error(found: Derived, point: list[float], slope: float) -> float:
    value = float(np.asarray(found(*point)))
    error = abs(value - slope) / max(abs(slope), 1e-3)
    return error if error == error else math.inf
