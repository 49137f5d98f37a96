"""NAdam: Adam with Nesterov's momentum."""

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
    blend,
    each,
    like,
    not_negative,
    over,
    root,
    within,
    zeros,
)
from backlit.optim.telling import Line, Seen, Told, mean_line, named, number


def nadam(
    learning_rate: Any = 2e-3, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, momentum_decay: Any = 4e-3
) -> Rule:
    r"""Adam that looks one step ahead along its momentum, which grows from b1/2 to b1.

    mu(t) = b1 * (1 - 0.5 * 0.96**(t * momentum_decay));   P(t) = mu(1) * ... * mu(t);   m, v, v̂ as in `adam`
    m̂ = mu(t+1) * m / (1 - P(t+1)) + (1 - mu(t)) * g / (1 - P(t))
    u = -learning_rate * m̂ / (sqrt(v̂) + eps)

    State: `step` () int64; `product` () float64, the P(t); `m`, `v`, shaped like each parameter. Raises: DomainError if
    b1 or b2 is outside [0, 1), eps or momentum_decay below 0. Source: Dozat 2016, algorithm 2, with its schedule of
    momentum. As PyTorch; optax has no schedule (mu = b1 always).

    >>> rule = nadam(0.1)
    >>> update, state = rule.update(4.0, rule.init(2.0), 2.0)
    >>> round(update, 5), round(state["product"], 5)
    (-0.10565, 0.45007)
    """
    within("nadam", b1=b1, b2=b2)
    not_negative("nadam", eps=eps, momentum_decay=momentum_decay)
    rate_at = as_rate(learning_rate)

    def mu(t: Any) -> Any:
        return b1 * (1.0 - 0.5 * 0.96 ** (t * momentum_decay))

    def parts(step: Any, product: Any) -> tuple[Any, Any]:
        """What the gradient and the running mean are multiplied by in m̂; product: P(step)."""
        ahead = mu(step + 1)
        return (1.0 - mu(step)) / (1.0 - product), ahead / (1.0 - product * ahead)

    def init(params: Tree) -> Tree:
        return {"step": 0, "product": 1.0, "m": zeros(params), "v": zeros(params)}

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate, step = rate_at(state["step"]), state["step"] + 1
        product = state["product"] * mu(step)
        of_g, of_m = parts(step, product)
        correction = (1.0 - b2**step) ** 0.5  # taken out of the fraction, and eps with it
        of_g, of_m, least = -rate * correction * of_g, -rate * correction * of_m, eps * correction

        def move(p: Any, g: Any, m: Any, v: Any) -> tuple[Any, ...]:
            m, v = blend(m, g, 1.0 - b1), blend(v, g * g, 1.0 - b2, is_fresh=True)
            way = added(like(of_g, p) * g, like(of_m, p) * m)
            return over(way, added(root(v), like(least, p))), m, v

        updates, m, v = each(move, params, grads, state["m"], state["v"])
        return updates, {"step": step, "product": product, "m": m, "v": v}

    def tell(seen: Seen) -> Told:
        of_g, of_m = parts(seen.step, float(seen.after["product"]))
        m, v, c2 = named("m", seen.new("m")), named("v", seen.new("v")), 1.0 - b2**seen.step
        ahead = number(of_m) * m + number(of_g) * seen.incoming
        m_hat, size = named("m̂", ahead.value), named("√v̂", root(v.value / c2))
        lines = (
            mean_line(seen, "m", 1.0 - b1, seen.incoming, "mean of gradients: momentum"),
            Line("m̂", m_hat.value, ahead, "looking ahead along the momentum, with bias correction"),
            mean_line(seen, "v", 1.0 - b2, named(f"{seen.name}²", seen.g * seen.g), "mean of squares"),
            Line("√v̂", size.value, None, f"root of {v} / {number(c2)}: the usual size of the gradient"),
        )
        return Told(-named("lr", rate_at(seen.before["step"])) * m_hat / (size + named("eps", eps)), lines)

    return Rule(init, update, tell, rate_at)


class NAdam(Optimizer):
    """NAdam on parameters; see `nadam`. weight_decay · w is added to the gradient, as in PyTorch.

    >>> w = Value(2.0)
    >>> optimizer = NAdam([w], lr=0.1)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 5)
    1.89435
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
    ) -> None:
        super().__init__(
            parameters, lambda rate: with_weight_decay(weight_decay, nadam(rate, *betas, eps, momentum_decay)), lr
        )
