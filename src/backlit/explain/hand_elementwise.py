"""Slips at an elementwise op: its derivative forgotten or wrong, and the sum over broadcast axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from backlit.core.numbers import quietly, shape_of
from backlit.core.op import ONE, Elementwise
from backlit.explain.hand_slips import Local, Make, Slip
from backlit.explain.hand_words import axes_code, axes_words


def elementwise(at: Local) -> Iterator[Slip]:
    """The slips of an elementwise op in one of its inputs."""
    op, i, ct = at.op, at.index, at.ct
    assert isinstance(op, Elementwise)
    rule = op.partials[i]
    if rule is None:
        return
    plain = rule is ONE
    partial = 1.0 if plain else quietly(rule, at.y, *at.xs, **at.attrs)
    right = ct * partial
    if shape_of(at.node._data) != shape_of(at.x):
        yield from _reductions(at, lambda: np.broadcast_to(right, shape_of(at.node._data)))
    if plain:
        return
    due = at.speaker.derivative(at.node, i)
    by = f"`{due}`" if due else "its derivative"
    yield from _without_the_derivative(at, by)
    alone = np.broadcast_to(partial, shape_of(at.node._data))
    yield Slip(
        "upstream forgotten",
        f"multiply by `{at.ct_name}`, what arrives from above: you have the derivative of {at.where} alone",
        f"{at.ct_name} * ...",
        1.2,
        lambda: at.fitted(alone),
    )
    if op.selects:
        return
    yield Slip(
        "divided for multiplied",
        f"multiply by the derivative of {at.where}, {by}; you divide by it",
        at.product(by),
        1.6,
        lambda: at.fitted(ct / partial),
    )
    yield Slip(
        "derivative twice",
        f"multiply by the derivative of {at.where}, {by}, once; you have it twice",
        at.product(by),
        1.7,
        lambda: at.fitted(right * partial),
    )
    if len(at.xs) == 2:
        yield from _of_two(at, by)
    if sum(not c for c in at.is_constant) == 1:
        yield from _wrong_formulas(at, by)


def _without_the_derivative(at: Local, by: str) -> Iterator[Slip]:
    op, i, ct = at.op, at.index, at.ct
    assert isinstance(op, Elementwise)
    if op.selects:
        text = f"let through only what {at.where} chose: its mask is forgotten"
        fix = f"where(..., {at.ct_name}, 0)"
    elif op.name == "multiply":
        text = f"multiply by `{at.names[1 - i]}`, the other factor in {at.called}, which is forgotten"
        fix = f"{at.ct_name} * {at.names[1 - i]}"
    elif op.name == "divide" and i == 0:
        text = f"divide by `{at.names[1]}`, as {at.called} does, which is forgotten"
        fix = f"{at.ct_name} / {at.names[1]}"
    else:
        text = f"multiply by the derivative of {at.where}, {by}, which is forgotten"
        fix = at.product(by)
    yield Slip(
        "derivative forgotten",
        text,
        fix,
        1.0,
        lambda: at.fitted(np.broadcast_to(ct, shape_of(at.node._data))),
    )


def _of_two(at: Local, by: str) -> Iterator[Slip]:
    """The derivative by the other operand; for a quotient, the usual wrong ones."""
    op, i = at.op, at.index
    assert isinstance(op, Elementwise)
    other = op.partials[1 - i]
    if other is not None:
        mine, theirs = at.names[i], at.names[1 - i]
        text = f"take the derivative of {at.where} by `{mine}`, {by}; you have that by `{theirs}`"
        if op.name == "multiply":
            text = f"multiply by `{theirs}`, the other factor in {at.called}; you multiply by `{mine}` itself"
        yield Slip(
            "derivative by the other operand",
            text,
            at.product(by),
            1.3,
            lambda: at.fitted(at.ct * quietly(other, at.y, *at.xs, **at.attrs)),
        )
    if op.name == "divide" and i == 1:
        a, b = at.xs
        for wrong, shown, cost in (
            (lambda: -1.0 / (b * b), f"-1 / {at.names[1]}**2", 1.4),
            (lambda: -a / b, f"-{at.names[0]} / {at.names[1]}", 1.4),
            (lambda: a / b, f"{at.names[0]} / {at.names[1]}", 1.5),
            (lambda: -1.0 / b, f"-1 / {at.names[1]}", 1.6),
            (lambda: 1.0 / b, f"1 / {at.names[1]}", 1.6),
        ):
            yield _wrong_formula(at, by, wrong, shown, cost)


def _wrong_formulas(at: Local, by: str) -> Iterator[Slip]:
    """Simple things that are taken for the derivative of a function of one variable."""
    y, x = at.y, at.x
    y_name, x_name = at.y_name, at.names[at.index]
    forms: list[tuple[Callable[[], Any], str]] = [
        (lambda: y, y_name),
        (lambda: x, x_name),
        (lambda: 1.0 - y, f"1 - {y_name}"),
        (lambda: 1.0 - x, f"1 - {x_name}"),
        (lambda: y * y, f"{y_name}**2"),
        (lambda: x * x, f"{x_name}**2"),
        (lambda: 1.0 + y * y, f"1 + {y_name}**2"),
        (lambda: 1.0 - x * x, f"1 - {x_name}**2"),
        (lambda: 1.0 / x, f"1 / {x_name}"),
        (lambda: 1.0 / y, f"1 / {y_name}"),
        (lambda: 1.0 / (x * x), f"1 / {x_name}**2"),
        (lambda: y * (1.0 - y), f"{y_name} * (1 - {y_name})"),
        (lambda: np.sqrt(1.0 - y * y), f"sqrt(1 - {y_name}**2)"),
        (lambda: np.exp(x), f"exp({x_name})"),
        (lambda: np.log(x), f"log({x_name})"),
    ]
    if at.op.name == "pow" and at.index == 0:
        p = at.xs[1]
        p_name = at.names[1]
        forms += [
            (lambda: p * y, f"{p_name} * {x_name}**{p_name}"),
            (lambda: p * x ** (p + 1.0), f"{p_name} * {x_name}**({p_name} + 1)"),
            (lambda: p * x, f"{p_name} * {x_name}"),
            (lambda: y / x, f"{x_name}**({p_name} - 1)"),
        ]
    for wrong, shown in forms:
        yield _wrong_formula(at, by, wrong, shown, 1.5)


def _wrong_formula(at: Local, by: str, wrong: Make, shown: str, cost: float) -> Slip:
    def make() -> Any:
        return at.fitted(at.ct * quietly(wrong))

    text = f"multiply by {by}, the derivative of {at.where}; you have `{shown}`"
    return Slip("wrong derivative", text, at.product(by), cost, make)


# -- sums over broadcast axes ----------------------------------------------------------------------------


def _reductions(at: Local, raw: Make) -> Iterator[Slip]:
    """Where an input was broadcast: no sum, a sum over other axes, one row only, axes kept or not."""
    full, shape = shape_of(at.node._data), shape_of(at.x)
    extra = len(full) - len(shape)
    due = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and full[extra + i] != 1)
    if not due:
        return
    keep = not extra
    fix = f".sum({axes_code(due, keep)})"
    why = f"`{at.names[at.index]}` was broadcast along {axes_words(due, full)} in {at.speaker.called(at.node)}"
    text = f"add `{fix}`: {why}, so its gradient is the sum over it"
    yield Slip("missing sum", text, fix, 0.3, raw, raw=True)
    every = range(len(full))
    for count in range(1, len(full) + 1):
        for axes in combinations(every, count):
            for keepdims in (True, False):
                have = f".sum({axes_code(axes, keepdims)})"
                if axes == due:
                    if keepdims == keep:
                        continue
                    yield Slip(
                        "keepdims",
                        f"write `{fix}` for `{have}`: the numbers are right, the shape is not",
                        fix,
                        0.2,
                        lambda axes=axes, keepdims=keepdims: raw().sum(axis=axes, keepdims=keepdims),  # type: ignore[misc]
                        raw=True,
                    )
                    continue
                yield Slip(
                    "wrong axis",
                    f"write `{fix}`: {why}; you have `{have}`, a sum over {axes_words(axes, full)}",
                    fix,
                    0.6,
                    lambda axes=axes, keepdims=keepdims: raw().sum(axis=axes, keepdims=keepdims),  # type: ignore[misc]
                    raw=True,
                )
    if len(due) == 1:
        for place, which in ((0, "first"), (-1, "last")):
            yield Slip(
                "missing sum",
                f"add up all along {axes_words(due, full)} with `{fix}`: you have the {which} one alone",
                fix,
                1.3,
                lambda place=place: np.take(raw(), place, axis=due[0]).reshape(shape),  # type: ignore[misc]
            )
