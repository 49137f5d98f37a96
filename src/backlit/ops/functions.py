"""From the record of an op to the public function: it takes values, numbers and arrays, and gives a value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from backlit.core.op import Elementwise, Op
from backlit.core.record import operands, record
from backlit.core.state import SPECIAL, call_scope
from backlit.core.value import INACTIVE, NO_ATTRS, NO_EXTRA, Value, next_serial

_getframe = sys._getframe
_new = object.__new__
F = TypeVar("F", bound=Callable[..., Any])


def apply(op: Op, *args: Any, **attrs: Any) -> Value:
    """A node for the op applied to values, numbers and arrays, whether or not a value is among them."""
    return record(op, operands(args), attrs or NO_ATTRS)


def unary(op: Op) -> Callable[[Any], Value]:
    """The public function of an op with one input, with a fast path for a float64 scalar."""
    scalar = op.scalar if isinstance(op, Elementwise) else None
    if scalar is None:

        def function(x: Any, /) -> Value:
            return record(op, operands((x,)))

        return _named(function, op)

    def function_of_scalar(x: Any, /) -> Value:
        if isinstance(x, Value):
            data = x._data
            if type(data) is float and not SPECIAL and x._now is None:
                try:
                    data = scalar(data)
                except (ArithmeticError, ValueError):  # where Python's floats raise, IEEE 754 has an answer
                    return record(op, operands((x,)))
                node: Value = _new(Value)
                node._data = data
                node._op = op
                node._a = x
                node._b = node._now = None
                node._grad = INACTIVE if x._grad is INACTIVE else None
                node._extra = NO_EXTRA
                frame = _getframe(1)
                node._code = frame.f_code
                node._lasti = frame.f_lasti
                node._serial = next_serial()
                return node
        return record(op, operands((x,)))

    return _named(function_of_scalar, op)


def binary(op: Op) -> Callable[[Any, Any], Value]:
    """The public function of an op with two inputs."""

    def function(x1: Any, x2: Any, /) -> Value:
        return record(op, operands((x1, x2)))

    return _named(function, op)


def _named(function: F, op: Op) -> F:
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc
    return function


def composite(name: str) -> Callable[[F], F]:
    """Decorator for a function built from ops: its nodes carry `name` as their scope, so they can be shown folded."""

    def decorate(function: F) -> F:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with call_scope(name):
                return function(*args, **kwargs)

        return cast(F, wrapper)

    return decorate
