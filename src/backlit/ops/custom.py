"""A user's own op: the same record as the built-in ones, so it gets every mode, check and explanation that they get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backlit.core.errors import GraphError
from backlit.core.notation import Notation, call, templates
from backlit.core.op import Constant, Domain, Elementwise, Linear, Op, Reals, Rule, Sample
from backlit.core.record import operands, record
from backlit.core.value import NO_ATTRS, Value
from backlit.ops.lowering import refused


class CustomOp:
    """The public function of a user's op. `record` is its record; calling it applies it."""

    def __init__(self, op: Op) -> None:
        self.record = op
        self.__name__ = self.__qualname__ = op.name
        self.__doc__ = op.doc

    def __call__(self, *args: Any, **attrs: Any) -> Value:
        return record(self.record, operands(args), attrs or NO_ATTRS)

    def __repr__(self) -> str:
        return f"<op {self.record.name}>"


def op(
    name: str,
    evaluate: Callable[..., Any],
    *,
    partials: Sequence[Rule | None] | None = None,
    transposes: Sequence[Rule | None] | None = None,
    differentiable: bool = True,
    shape: Callable[..., tuple[int, ...]] | None = None,
    dtype: Callable[..., Any] | None = None,
    scalar: Callable[..., Any] | None = None,
    selects: bool = False,
    text: str | None = None,
    latex: str | None = None,
    domains: Sequence[Domain] | None = None,
    samples: Sequence[Sample] = (),
    lower: Callable[..., Any] | None = None,
    doc: str = "",
) -> CustomOp:
    r"""An op of your own, from its forward rule on NumPy arrays and its derivative.

    name: what explanations call it. evaluate: `evaluate(*arrays, **attrs)`.

    Say one of: `partials`, for an elementwise op, a function `(y, *xs)` for each input that gives dy/dx, written with
    operators and Backlit's or NumPy's functions; `transposes`, for a linear op, a function `(ct, *xs)` for each
    input, with `shape`, which gives the shape of the result from the inputs; or `differentiable=False`.
    text, latex: how it is written, with `<0>`, `<1>` for the operands. domains: where `backlit.check_op` may try it.
    lower: how compiled functions compute it, `lower(g, result, *xs, **attrs)` (see `backlit.core.lowering`); without it
    they refuse the op.

    Raises GraphError if no derivative is given.

    >>> import numpy as np, backlit as bl
    >>> cube = op("cube", lambda x: x * x * x, partials=[lambda y, x: 3 * x * x], latex="{<0>}^3")
    >>> bl.grad(cube)(2.0).data, bl.grad(bl.grad(cube))(2.0).data
    (12.0, 12.0)
    """
    notation: Notation = call(name, None)
    if text is not None or latex is not None:
        count = len(partials or transposes or (None,))
        plain = f"{name}({', '.join(f'<{i}>' for i in range(count))})"
        notation = templates(text or plain, latex or plain)
    common: dict[str, Any] = {
        "doc": doc, "notation": notation, "dtype": dtype, "samples": tuple(samples), "lower": lower or refused,
    }  # fmt: skip
    if partials is not None:
        where = tuple(domains or [Reals()] * len(partials))
        return CustomOp(
            Elementwise(
                name,
                evaluate,
                partials=tuple(partials),
                scalar=scalar,
                selects=selects,
                domains=where,
                **common,
            )
        )
    if transposes is not None:
        if shape is None:
            raise GraphError(f"op {name!r}: a linear op needs `shape`, which gives the result's shape from the inputs.")
        where = tuple(domains or [Reals()] * len(transposes))
        return CustomOp(Linear(name, evaluate, transposes=tuple(transposes), shape=shape, domains=where, **common))
    if differentiable:
        raise GraphError(
            f"op {name!r} has no derivative. Give partials=[...] if it works element by element, transposes=[...] "
            "if it is linear, use backlit.custom_derivative for anything else, or say differentiable=False."
        )
    return CustomOp(Constant(name, evaluate, shape=shape, domains=tuple(domains or [Reals()]), **common))
