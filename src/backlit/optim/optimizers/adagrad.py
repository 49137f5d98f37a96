"""Adagrad: each number has its own rate, which falls as its squared gradients add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.value import Value
from backlit.optim.parts import with_weight_decay
from backlit.optim.rule import (
    Optimizer,
    Rule,
    Schedule,
    Tree,
    added,
    as_rate,
    each,
    filled,
    like,
    not_negative,
    over,
    root,
    scaled,
)
from backlit.optim.telling import Line, Seen, Told, named


def adagrad(learning_rate: Any = 0.01, eps: Any = 1e-10, initial: float = 0.0, rate_decay: Any = 0.0) -> Rule:
    r"""Numbers whose gradients were small so far take longer steps than those whose gradients were large.

    s = s + g**2;   u = -learning_rate / (1 + (step - 1) * rate_decay) * g / (sqrt(s) + eps)

    State: `step` () int64; `sum`, shaped like each parameter, `initial` at first. Raises DomainError for eps, initial
    or rate_decay below 0. Source: Duchi, Hazan and Singer 2011, figure 1 (diagonal form; their delta is eps).
    PyTorch does the same; optax and Keras begin the sum at 0.1 and put eps (1e-7) inside the root.

    >>> rule = adagrad(0.5)
    >>> update, state = rule.update(4.0, rule.init(2.0), 2.0)
    >>> round(update, 6), state["sum"]
    (-0.5, 16.0)
    """
    not_negative("adagrad", eps=eps, initial=initial, rate_decay=rate_decay)
    base_at = as_rate(learning_rate)

    def rate_at(step: Any) -> Any:
        return base_at(step) / (1.0 + step * rate_decay)

    def init(params: Tree) -> Tree:
        return {"step": 0, "sum": filled(params, initial)}

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate = rate_at(state["step"])

        def move(p: Any, g: Any, sum_: Any) -> tuple[Any, ...]:
            sum_ = added(g * g, sum_)
            return scaled(over(g, added(root(sum_), like(eps, p))), like(-rate, p)), sum_

        updates, sums = each(move, params, grads, state["sum"])
        return updates, {"step": state["step"] + 1, "sum": sums}

    def tell(seen: Seen) -> Told:
        sum_ = named("sum", seen.new("sum"))
        size = named("√sum", root(sum_.value))
        square = named(f"{seen.name}²", seen.g * seen.g)
        lines = (
            Line("sum", sum_.value, named("old sum", seen.old("sum")) + square, "of all squares so far"),
            Line("√sum", size.value, None, f"root of {sum_}"),
        )
        rate = named("lr", rate_at(seen.before["step"]))
        return Told(-rate * seen.incoming / (size + named("eps", eps)), lines)

    return Rule(init, update, tell, rate_at)


class Adagrad(Optimizer):
    """Adagrad on parameters; see `adagrad`. weight_decay · w is added to the gradient.

    >>> w = Value(2.0)
    >>> optimizer = Adagrad([w], lr=0.5)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 6)
    1.5
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            parameters,
            lambda rate: with_weight_decay(weight_decay, adagrad(rate, eps, initial_accumulator_value, lr_decay)),
            lr,
        )
