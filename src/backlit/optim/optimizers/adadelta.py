"""Adadelta: steps in the units of the parameter, from the ratio of two running sizes."""

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
    as_rate,
    blend,
    each,
    like,
    not_negative,
    over,
    root,
    within,
    zeros,
)
from backlit.optim.telling import Line, Seen, Told, mean_line, named


def adadelta(learning_rate: Any = 1.0, rho: Any = 0.9, eps: Any = 1e-6) -> Rule:
    r"""Each step is as long as steps were lately, in proportion to how large the gradient is for its kind.

    v = rho * v + (1 - rho) * g**2
    d = sqrt(w + eps) / sqrt(v + eps) * g
    w = rho * w + (1 - rho) * d**2;   u = -learning_rate * d

    State: `step` () int64; `v`, and `w`, the running mean of d**2, shaped like each parameter, 0 at first. Raises
    DomainError for rho outside [0, 1) or eps not above 0. Source: Zeiler 2012, algorithm 1, arXiv:1212.5701, which has
    no learning rate (1.0, as here and in PyTorch; Keras takes 0.001, and rho 0.95). eps stands inside the roots; it is
    what the first step is made of.

    >>> rule = adadelta(rho=0.75, eps=1.0)
    >>> update, state = rule.update(4.0, rule.init(2.0), 2.0)
    >>> round(update, 6), state["v"]
    (-1.788854, 4.0)
    """
    within("adadelta", rho=rho)
    not_negative("adadelta", eps=eps)
    rate_at = as_rate(learning_rate)

    def init(params: Tree) -> Tree:
        return {"step": 0, "v": zeros(params), "w": zeros(params)}

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate, weight = rate_at(state["step"]), 1.0 - rho

        def move(p: Any, g: Any, v: Any, w: Any) -> tuple[Any, ...]:
            v = blend(v, g * g, weight, is_fresh=True)
            d = over(root(w + like(eps, p)), root(v + like(eps, p))) * g
            return like(-rate, p) * d, v, blend(w, d * d, weight, is_fresh=True)

        updates, v, w = each(move, params, grads, state["v"], state["w"])
        return updates, {"step": state["step"] + 1, "v": v, "w": w}

    def tell(seen: Seen) -> Told:
        top, below = named("√(w + eps)", root(seen.old("w") + eps)), named("√(v + eps)", root(seen.new("v") + eps))
        d = top / below * seen.incoming
        square = named(f"{seen.name}²", seen.g * seen.g)
        lines = (
            mean_line(seen, "v", 1.0 - rho, square, "mean of squares of gradients"),
            Line("√(v + eps)", below.value, None, "the usual size of the gradient"),
            Line("√(w + eps)", top.value, None, f"the usual length of a step so far, from old w {seen.old('w'):.6g}"),
            mean_line(seen, "w", 1.0 - rho, named("d²", d.value * d.value), "mean of squares of steps, for later"),
        )
        return Told(-named("lr", rate_at(seen.before["step"])) * top / below * seen.incoming, lines)

    return Rule(init, update, tell, rate_at)


class Adadelta(Optimizer):
    """Adadelta on parameters; see `adadelta`. weight_decay · w is added to the gradient, as in PyTorch.

    >>> w = Value(2.0)
    >>> optimizer = Adadelta([w], rho=0.75, eps=1.0)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 6)
    0.211146
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lambda rate: with_weight_decay(weight_decay, adadelta(rate, rho, eps)), lr)
