"""Python's operators for values, with a fast path for scalars beside the plain one that it must equal.

On two float64 scalars, and with nothing special going on, a node is made right here; everything else goes through
`record`. `tests/ops/test_operators.py` holds the two to the same results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.op import Elementwise, Op
from backlit.core.record import operands, record
from backlit.core.state import SPECIAL
from backlit.core.value import INACTIVE, NO_EXTRA, Parameter, Value, constant, current, next_serial
from backlit.ops import arithmetic, logic, powers

_getframe = sys._getframe
_new = object.__new__
_UNDERSTOOD = (Value, float, int, complex, np.ndarray, np.generic, list, tuple)


def _beside(op: Op, left: Any, right: Any, other: Any) -> Any:
    """The op applied to a value and what the user wrote beside it; arrays of objects are left to NumPy's loops."""
    if isinstance(other, _UNDERSTOOD) and not (isinstance(other, np.ndarray) and other.dtype == object):
        return record(op, operands((left, right)))
    return NotImplemented


def fast_binary(op: Elementwise) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The operator method and its reflected twin for an op of two inputs."""
    scalar = op.scalar
    assert scalar is not None

    def method(self: Value, other: Any) -> Any:
        kind = type(other)
        x = self._data
        if type(x) is float:
            if kind is float or kind is int:
                other = constant(float(other))
            elif kind is not Value and not isinstance(other, Value):
                return _beside(op, self, other, other)
            y = other._data
            if type(y) is float and not SPECIAL and self._now is None and other._now is None:
                try:
                    data = scalar(x, y)
                except (ArithmeticError, ValueError):  # where Python's floats raise, IEEE 754 has an answer
                    return record(op, operands((self, other)))
                node: Value = _new(Value)
                node._data = data
                node._op = op
                node._a = self
                node._b = other
                node._now = None
                node._grad = INACTIVE if self._grad is INACTIVE and other._grad is INACTIVE else None
                node._extra = NO_EXTRA
                frame = _getframe(1)
                node._code = frame.f_code
                node._lasti = frame.f_lasti
                node._serial = next_serial()
                return node
        elif kind is Value or kind is Parameter:
            if SPECIAL:
                return record(op, (current(self), current(other)))
            return record(
                op,
                (self if self._now is None else self._now, other if other._now is None else other._now),
            )
        return _beside(op, self, other, other)

    def reflected(self: Value, other: Any) -> Any:
        return _beside(op, other, self, other)

    return method, reflected


def plain_binary(op: Op) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same for an op without a fast path."""

    def method(self: Value, other: Any) -> Any:
        kind = type(other)
        if (kind is Value or kind is Parameter) and not SPECIAL:
            return record(
                op,
                (self if self._now is None else self._now, other if other._now is None else other._now),
            )
        return _beside(op, self, other, other)

    def reflected(self: Value, other: Any) -> Any:
        return _beside(op, other, self, other)

    return method, reflected


def install(name: str, op: Op) -> None:
    """Give `Value` the operator `__name__` and, for arithmetic, `__rname__`."""
    fast = isinstance(op, Elementwise) and op.scalar is not None
    method, reflected = fast_binary(op) if fast else plain_binary(op)  # type: ignore[arg-type]
    for prefix, function in (("", method), ("r", reflected)):
        function.__name__ = f"__{prefix}{name}__"
        function.__qualname__ = f"Value.__{prefix}{name}__"
        setattr(Value, function.__name__, function)


_OPERATORS: dict[str, Op] = {
    "add": arithmetic.ADD,
    "sub": arithmetic.SUBTRACT,
    "mul": arithmetic.MULTIPLY,
    "truediv": arithmetic.DIVIDE,
    "floordiv": arithmetic.FLOOR_DIVIDE,
    "mod": arithmetic.REMAINDER,
    "pow": powers.POW,
    "eq": logic.EQUAL,
    "ne": logic.NOT_EQUAL,
    "lt": logic.LESS,
    "le": logic.LESS_EQUAL,
    "gt": logic.GREATER,
    "ge": logic.GREATER_EQUAL,
    "and": logic.BITWISE_AND,
    "or": logic.BITWISE_OR,
    "xor": logic.BITWISE_XOR,
    "lshift": logic.BITWISE_LEFT_SHIFT,
    "rshift": logic.BITWISE_RIGHT_SHIFT,
}
for _name, _op in _OPERATORS.items():
    install(_name, _op)


def _matmul(self: Value, other: Any) -> Any:
    return _load_matmul()[0](self, other)


def _rmatmul(self: Value, other: Any) -> Any:
    return _load_matmul()[1](self, other)


def _load_matmul() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The first matrix product loads linear algebra, whose op then takes the place of these."""
    from backlit.ops.linear_algebra import MATMUL

    install("matmul", MATMUL)
    return Value.__matmul__, Value.__rmatmul__


Value.__matmul__ = _matmul  # type: ignore[method-assign]
Value.__rmatmul__ = _rmatmul  # type: ignore[method-assign]
Value.__invert__ = logic.bitwise_invert  # type: ignore[method-assign]
Value.__neg__ = arithmetic.negative  # type: ignore[method-assign]
Value.__pos__ = arithmetic.positive  # type: ignore[method-assign]
Value.__abs__ = arithmetic.abs_  # type: ignore[method-assign]
