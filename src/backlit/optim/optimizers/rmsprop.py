"""RMSprop: the gradient divided by the root of the running mean of its square."""

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


def rmsprop(
    learning_rate: Any = 0.01, alpha: Any = 0.99, eps: Any = 1e-8, momentum: Any = 0.0, centered: bool = False
) -> Rule:
    r"""Each number's step is measured in the usual size of its own gradient.

    v = alpha * v + (1 - alpha) * g**2;         with centered also m = alpha * m + (1 - alpha) * g
    b = momentum * b + g / (sqrt(v) + eps)      (centered: sqrt(v - m**2), the deviation from the mean)
    u = -learning_rate * b

    State: `step` () int64; `v`, with centered `m`, with momentum `velocity`, shaped like each parameter, all 0 at first
    and not corrected for it, so the first steps are long: 10 * learning_rate for alpha = 0.99. Raises DomainError for
    alpha or momentum outside [0, 1), or eps below 0. Where g hardly varies, rounding may make v - m**2 negative and the
    step NaN, in PyTorch too. Source: Tieleman and Hinton 2012, Coursera lecture 6.5; centered: Graves
    2013, eq. 38-45. As PyTorch; TensorFlow 1 and optax put eps inside the root, Keras (rho 0.9, eps 1e-7) does too;
    with momentum, they multiply the rate in before the sum.

    >>> rule = rmsprop(0.1, alpha=0.75)
    >>> update, state = rule.update(4.0, rule.init(2.0), 2.0)
    >>> round(update, 6), state["v"]
    (-0.2, 4.0)
    """
    within("rmsprop", alpha=alpha, momentum=momentum)
    not_negative("rmsprop", eps=eps)
    has_momentum = isinstance(momentum, Value) or momentum > 0
    rate_at = as_rate(learning_rate)

    def init(params: Tree) -> Tree:
        return {
            "step": 0,
            "v": zeros(params),
            "m": zeros(params) if centered else None,
            "velocity": zeros(params) if has_momentum else None,
        }

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate, weight = rate_at(state["step"]), 1.0 - alpha

        def move(p: Any, g: Any, v: Any, m: Any, velocity: Any) -> tuple[Any, ...]:
            way = v = blend(v, g * g, weight, is_fresh=True)
            if centered:
                m = blend(m, g, weight)
                way = v - m * m
            way = over(g, added(root(way), like(eps, p)))
            if has_momentum:
                way = velocity = added(like(momentum, p) * velocity, way)
            return like(-rate, p) * way, v, m, velocity

        updates, v, m, velocity = each(move, params, grads, state["v"], state["m"], state["velocity"])
        return updates, {"step": state["step"] + 1, "v": v, "m": m, "velocity": velocity}

    def tell(seen: Seen) -> Told:
        v, weight = seen.new("v"), 1.0 - alpha
        size, words = named("√v", root(v)), "the usual size of the gradient"
        lines = [mean_line(seen, "v", weight, named(f"{seen.name}²", seen.g * seen.g), "mean of squares")]
        if centered:
            m = seen.new("m")
            size, words = named("√(v - m²)", root(v - m * m)), "the usual deviation of the gradient"
            lines.append(mean_line(seen, "m", weight, seen.incoming, "mean of gradients"))
        lines.append(Line(size.text.rpartition(" ")[0], size.value, None, words))
        down, size = -named("lr", rate_at(seen.before["step"])), size + named("eps", eps)
        if not has_momentum:
            return Told(down * seen.incoming / size, tuple(lines))
        velocity = named("velocity", seen.new("velocity"))
        sum_ = number(momentum) * named("old velocity", seen.old("velocity")) + seen.incoming / size
        return Told(down * velocity, (*lines, Line("velocity", velocity.value, sum_, "momentum")))

    return Rule(init, update, tell, rate_at)


class RMSprop(Optimizer):
    """RMSprop on parameters; see `rmsprop`. weight_decay · w is added to the gradient, as in PyTorch.

    >>> w = Value(2.0)
    >>> optimizer = RMSprop([w], lr=0.1, alpha=0.75)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 6)
    1.8
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lambda rate: with_weight_decay(weight_decay, rmsprop(rate, alpha, eps, momentum, centered)),
            lr,
        )
