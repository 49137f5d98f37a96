"""A derivative of one's own for a whole function of values.

For where the one that follows from the ops' rules is not the one wanted:
a cheaper or stabler formula, a solver that should not be differentiated through, a convention of one's own.

Each such function becomes one node with a `Special` op. A rule for one mode is enough: it is linear in the
cotangent (or the tangent), so the rule for the other mode is its transpose, which reverse mode over that
linear function gives.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.reverse import pull_back
from backlit.core import dtypes
from backlit.core.errors import DtypeError, GraphError, ShapeError
from backlit.core.notation import Notation
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.op import Attrs, Special
from backlit.core.record import as_constant, operands, record
from backlit.core.state import mode
from backlit.core.value import INACTIVE, NO_ATTRS, Value, constant, current, describe, leaf
from backlit.core.walk import reachable

Function = Callable[..., Any]


class CustomFunction(Special):
    """The op of one function with its own derivative. function: what it computes, of values; can be traced."""

    def __init__(self, name: str, evaluate: Function, *, function: Function, **declared: Any) -> None:
        super().__init__(name, evaluate, **declared)
        self.function = function

    def infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        """Shape and dtype of the result, by running the function on values that have nothing else."""
        """The shape and dtype of the result, by tracing the function."""
        with mode():  # values without numbers are understood only where something special holds
            y = self.function(*(constant(Abstract(x.shape, x.dtype)) for x in inputs), **attrs)
        return Abstract(shape_of(y._data), dtype_of(y._data))


class custom_derivative:  # noqa: N801  # a decorator
    """Decorator for a function of values, to which a derivative of its own is then given.

    After it say `f.def_vjp(forward, backward)`, `f.def_jvp(rule)`, or both; one is enough for every mode
    and order, the other follows by transposition. The function takes numbers, arrays or values by position
    or name and returns one value. nondiff_argnums: positions of arguments that are passed on as they are (a
    function, an option); they must be hashable. Raises GraphError if called before it has a rule, or if it
    uses a variable that is not among its arguments.

    Nothing is kept between the passes: the backward pass calls `forward` again, so it costs one more
    evaluation. Source: the interface follows JAX's custom_vjp and custom_jvp.

    >>> from backlit.autodiff.transforms import grad
    >>> @custom_derivative
    ... def f(x):
    ...     return x * x
    >>> f.def_vjp(lambda x: (f(x), x), lambda x, ct: (3.0 * x * ct,))
    >>> f(5.0).data, grad(f)(5.0).data, grad(grad(f))(5.0).data
    (25.0, 15.0, 3.0)
    """

    def __init__(self, f: Function, nondiff_argnums: int | Sequence[int] = ()) -> None:
        self.f = f
        self.nondiff_argnums = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        self._forward: Function | None = None
        self._backward: Function | None = None
        self._rule: Function | None = None
        self._ops: dict[int, CustomFunction] = {}
        self.__name__ = self.__qualname__ = getattr(f, "__name__", type(f).__name__)
        self.__doc__ = getattr(f, "__doc__", None)
        self.__wrapped__ = f

    def __repr__(self) -> str:
        return f"<{self.__name__} with a custom derivative>"

    def def_vjp(self, forward: Function, backward: Function) -> None:
        """The rule for reverse mode: `forward(*args)` gives `(y, residuals)`, `backward(residuals, ct)` cotangents.

        ct: the cotangent of y. cotangents: a tuple with one for each differentiable argument, of its shape,
        or None for zero; for a single argument it may stand alone. With nondiff_argnums, `backward` gets
        those arguments first.
        """
        self._forward, self._backward = forward, backward

    def def_jvp(self, rule: Function) -> None:
        """The rule for forward mode: `rule(primals, tangents) -> (y, tangent)`, linear in the tangents.

        primals, tangents: tuples of values, one for each differentiable argument; a tangent of zeros stands
        for an argument that does not vary. With nondiff_argnums, the rule gets those arguments first.
        """
        self._rule = rule

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        """The function of these arguments, as one node."""
        if self._backward is None and self._rule is None:
            raise GraphError(
                f"{self.__name__} was decorated with custom_derivative and has no derivative yet. "
                f"Say {self.__name__}.def_vjp(forward, backward) or {self.__name__}.def_jvp(rule)."
            )
        args = self._positional(args, kwargs)
        fixed = {n % len(args) for n in self.nondiff_argnums if -len(args) <= n < len(args)}
        varying = [arg for n, arg in enumerate(args) if n not in fixed]
        if not varying:
            raise GraphError(
                f"{self.__name__}: all arguments are in nondiff_argnums, so nothing can be differentiated."
            )
        statics = tuple((n, args[n]) for n in sorted(fixed))
        for n, static in statics:
            _hashable(self.__name__, n, static)
        for n, arg in enumerate(varying):
            if not isinstance(arg, (Value, float, int, complex, np.ndarray, np.generic, list)):
                raise DtypeError(
                    f"{self.__name__}: {type(arg).__name__} {arg!r:.60}, argument {n} of those that are "
                    "differentiated, is "
                    "no number or array. Name its position in nondiff_argnums to have it passed on as it is."
                )
        op = self._ops.get(len(varying))
        if op is None:
            op = self._ops[len(varying)] = self._made(len(varying))
        return record(op, operands(varying), {"statics": statics} if statics else NO_ATTRS)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position, defaults included."""
        try:
            bound = inspect.signature(self.f).bind(*args, **kwargs)
        except ValueError:  # a built-in without a signature
            if kwargs:
                raise
            return args
        bound.apply_defaults()
        if bound.kwargs:
            raise GraphError(
                f"{self.__name__}: {', '.join(bound.kwargs)} can be given by name only, and a function with "
                "a custom derivative "
                "takes its arguments by position. Make it an ordinary argument."
            )
        return bound.args

    # -- the op
    # -------------------------------------------------------------------------------------------------

    def _made(self, count: int) -> CustomFunction:
        """The op for this many arguments that vary."""
        return CustomFunction(
            self.__name__,
            self._evaluate,
            function=self._run,
            vjps=tuple(self._vjp_rule(i) for i in range(count)),
            jvps=tuple(self._jvp_rule(i) for i in range(count)),
            notation=_notation(self.__name__),
            doc=(self.__doc__ or "").strip().partition("\n")[0],
        )

    def _evaluate(self, *datas: Any, statics: tuple[tuple[int, Any], ...] = ()) -> Any:
        """The function on plain numbers."""
        y = self._run(*(constant(data) for data in datas), statics=statics)
        for node in reachable([y]):
            if node._a is None and node._grad is not INACTIVE:
                raise GraphError(
                    f"{self.__name__}: it uses {describe(node)}, which is not among its arguments, so its "
                    "custom derivative "
                    "knows nothing of it and no gradient would reach it. Pass it as an argument."
                )
        return y._data

    def _run(self, *xs: Value, statics: tuple[tuple[int, Any], ...] = ()) -> Value:
        """The function on values, with the arguments that are passed on put back in their places."""
        args = list(xs)
        for n, static in statics:
            args.insert(n, static)
        y = self.f(*args)
        if isinstance(y, Value):
            return current(y)
        if isinstance(y, (float, int, np.ndarray, np.generic)):
            return as_constant(y)
        raise GraphError(
            f"{self.__name__}: it returned {type(y).__name__} {y!r:.60}; a function with a custom "
            "derivative must return one value. "
            "To return several, stack or concat them, or give each its own function."
        )

    # -- its rules
    # ----------------------------------------------------------------------------------------------

    def _vjp_rule(self, index: int) -> Function:
        def rule(ct: Any, y: Any, *xs: Any, statics: tuple[tuple[int, Any], ...] = ()) -> Any:
            found = self._cotangents(_value(ct), tuple(map(_value, xs)), statics)[index]
            return found if found is None or isinstance(ct, Value) else found._data

        return rule

    def _jvp_rule(self, index: int) -> Function:
        def rule(t: Any, y: Any, *xs: Any, statics: tuple[tuple[int, Any], ...] = ()) -> Any:
            values = tuple(map(_value, xs))
            found = self._tangent(_value(t), index, values, statics, shape_of(y), dtype_of(y))
            return found if found is None or isinstance(t, Value) else found._data

        return rule

    def _cotangents(self, ct: Value, xs: tuple[Value, ...], statics: Any) -> list[Value | None]:
        """The cotangents of all arguments: by the user's rule, or the transpose of that for forward mode."""
        if self._backward is not None:
            return self._pulled(ct, xs, statics)
        ts = [_varying(x) for x in xs]
        y_t = self._pushed(ts, xs, statics, ct.shape, ct.dtype)
        return pull_back([y_t], [ct], ts)

    def _tangent(
        self, t: Value, index: int, xs: tuple[Value, ...], statics: Any, shape: Any, dtype: Any
    ) -> Value | None:
        """The tangent of the result: by the user's rule, or by the transpose of the one for reverse mode."""
        if self._rule is not None:
            ts = [t if i == index else _zeros(x) for i, x in enumerate(xs)]
            return self._pushed(ts, xs, statics, shape, dtype)
        ct = _varying(Abstract(shape, dtype))
        pulled = self._pulled(ct, xs, statics)[index]
        return None if pulled is None else pull_back([pulled], [t], [ct])[0]

    def _pulled(self, ct: Value, xs: tuple[Value, ...], statics: Any) -> list[Value | None]:
        """The user's rule for reverse mode, its answer checked."""
        assert self._forward is not None
        assert self._backward is not None
        args: list[Any] = list(xs)
        for n, static in statics:
            args.insert(n, static)
        result = self._forward(*args)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise GraphError(
                f"{self.__name__}: the forward rule must return (y, residuals), and returned {type(result).__name__}."
            )
        answer = self._backward(*(static for _, static in statics), result[1], ct)
        if not isinstance(answer, (tuple, list)):
            answer = (answer,)
        if len(answer) != len(xs):
            raise GraphError(
                f"{self.__name__}: the backward rule returned {len(answer)} "
                f"cotangent{'s' * (len(answer) != 1)}, and there "
                f"are {len(xs)} arguments to be differentiated. Return a tuple with one for each, None for "
                "zero."
            )
        return [
            None if c is None else self._fitting(f"the cotangent of argument {i}", c, x)
            for i, (c, x) in enumerate(zip(answer, xs, strict=True))
        ]

    def _pushed(self, ts: list[Value], xs: tuple[Value, ...], statics: Any, shape: Any, dtype: Any) -> Value:
        """The user's rule for forward mode, its answer checked."""
        assert self._rule is not None
        answer = self._rule(*(static for _, static in statics), xs, tuple(ts))
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise GraphError(f"{self.__name__}: the rule for forward mode must return (y, tangent).")
        return self._fitting("the tangent", answer[1], Abstract(shape, dtype))

    def _fitting(self, what: str, found: Any, like: Any) -> Value:
        """A cotangent or tangent that a user's rule gave, as a node of the right shape."""
        node = current(found) if isinstance(found, Value) else as_constant(found, dtype_of(like))
        if node.shape != shape_of(like):
            raise ShapeError(
                f"{self.__name__}: {what} that its rule gave has shape {node.shape}; it must have "
                f"{shape_of(like)}, that of "
                f"{'the result' if what == 'the tangent' else 'the argument'}."
            )
        return node


def _value(x: Any) -> Value:
    return x if isinstance(x, Value) else constant(x)


def _zeros(like: Any) -> Value:
    return constant(_plain_zeros(like))


def _varying(like: Any) -> Value:
    """A node in the place of a tangent or cotangent, to transpose a rule by; its numbers do not matter."""
    return leaf(_plain_zeros(like))


def _plain_zeros(like: Any) -> Any:
    shape, dtype = shape_of(like), dtype_of(like)
    return np.zeros(shape, dtype) if shape else 0.0 if dtype == dtypes.float64 else dtype.type(0)


def _hashable(name: str, n: int, static: Any) -> None:
    try:
        hash(static)
    except TypeError:
        raise DtypeError(
            f"{name}: argument {n} is in nondiff_argnums and must be hashable, and {type(static).__name__} "
            "is not. Arrays "
            "belong among the ordinary arguments: whole numbers and booleans there get no gradient anyway."
        ) from None


def _notation(name: str) -> Notation:
    def put_back(written: Sequence[str], attrs: Any) -> str:
        shown = list(written)
        for n, static in attrs.get("statics", ()):
            shown.insert(n, getattr(static, "__name__", repr(static)))
        return ", ".join(shown)

    return Notation(
        text=lambda x, attrs: f"{name}({put_back(x, attrs)})",
        latex=lambda x, attrs: rf"\operatorname{{{name.replace('_', ' ')}}}\left({put_back(x, attrs)}\right)",
    )
