"""Lion: every number moves by the same length, and only the sign of its momentum decides the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.value import Value
from backlit.ops.arithmetic import SIGN_OP
from backlit.optim.rule import (
    Optimizer,
    Rule,
    Schedule,
    Tree,
    added,
    as_rate,
    blend,
    each,
    like,
    not_negative,
    within,
    zeros,
)
from backlit.optim.telling import Line, Seen, Told, mean_line, named, number


def lion(learning_rate: Any = 1e-4, b1: Any = 0.9, b2: Any = 0.99, decay: Any = 0.0) -> Rule:
    r"""Sign of an interpolation between momentum and gradient.

    c = b1 * m + (1 - b1) * g;   u = -learning_rate * (sign(c) + decay * parameter);   m = b2 * m + (1 - b2) * g

    State: `step` () int64; `m`, shaped like each parameter (half of Adam's). Raises: DomainError if b1 or b2 is outside
    [0, 1), or decay below 0. Source: Chen et al. 2023, Symbolic discovery of optimization algorithms, algorithm 2,
    arXiv:2302.06675: a learning rate 3-10 times smaller than Adam's and a decay as much larger. optax does the same
    (its `lion` decays by 0.001 unless told otherwise), Keras too; PyTorch has none. sign(0) = 0: it stays. The sign's
    derivative is 0, so a hypergradient sees the learning rate and the decay, but not the betas.

    >>> rule = lion(0.1)
    >>> update, state = rule.update(4.0, rule.init(2.0), 2.0)
    >>> update, round(state["m"], 6)
    (-0.1, 0.04)
    """
    within("lion", b1=b1, b2=b2)
    not_negative("lion", decay=decay)
    rate_at = as_rate(learning_rate)
    decays = isinstance(decay, Value) or decay > 0

    def init(params: Tree) -> Tree:
        return {"step": 0, "m": zeros(params)}

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate = rate_at(state["step"])

        def move(p: Any, g: Any, m: Any) -> tuple[Any, ...]:
            way = SIGN_OP(blend(m, g, 1.0 - b1))
            if decays:
                way = added(way, like(decay, p) * p)
            return like(-rate, p) * way, blend(m, g, 1.0 - b2)

        updates, m = each(move, params, grads, state["m"])
        return updates, {"step": state["step"] + 1, "m": m}

    def tell(seen: Seen) -> Told:
        c = number(b1) * named("old m", seen.old("m")) + number(1.0 - b1) * seen.incoming
        sign = named("sign(c)", SIGN_OP(blend(seen.old("m"), seen.g, 1.0 - b1)))
        lines = (
            Line("c", c.value, c, "momentum and gradient; only its sign counts"),
            mean_line(seen, "m", 1.0 - b2, seen.incoming, "mean of gradients, for the next step"),
        )
        way = sign + named("decay", decay) * named("parameter", seen.p) if decays else sign
        return Told(-named("lr", rate_at(seen.before["step"])) * way, lines)

    return Rule(init, update, tell, rate_at)


class Lion(Optimizer):
    """Lion on parameters; see `lion`. The weight decay is apart from the gradient, as in AdamW.

    >>> w = Value(2.0)
    >>> optimizer = Lion([w], lr=0.1)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 6)
    1.9
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lambda rate: lion(rate, *betas, weight_decay), lr)
