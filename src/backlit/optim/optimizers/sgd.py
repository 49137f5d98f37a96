"""Stochastic gradient descent, with momentum and Nesterov's variant of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.errors import DomainError
from backlit.core.value import Value
from backlit.optim.parts import with_weight_decay
from backlit.optim.rule import Optimizer, Rule, Schedule, Tree, added, as_rate, each, like, within, zeros
from backlit.optim.telling import Line, Seen, Told, named, number


def sgd(learning_rate: Any = 0.01, momentum: Any = 0.0, nesterov: bool = False) -> Rule:
    r"""A step down the slope, or, with momentum, down the decaying sum of slopes.

    b = momentum * b + g;   u = -learning_rate * b          (with nesterov: -learning_rate * (g + momentum * b))

    State: `step` () int64; with momentum `velocity`, shaped like each parameter, zero at first. Raises: DomainError for
    momentum outside [0, 1), or nesterov without momentum. PyTorch and optax (`trace`) do the same (dampening 0); in
    Sutskever's form, which TensorFlow and Keras use, the learning rate is multiplied in before the sum, so a changing
    rate acts differently. Source: Robbins and Monro 1951; Polyak 1964, eq. 9; Sutskever, Martens, Dahl and Hinton 2013,
    eq. 1-4.

    >>> rule = sgd(0.1, momentum=0.5)
    >>> state = rule.init(2.0)
    >>> update, state = rule.update(4.0, state, 2.0)
    >>> update
    -0.4
    """
    within("sgd", momentum=momentum)
    has_momentum = isinstance(momentum, Value) or momentum > 0
    if nesterov and not has_momentum:
        raise DomainError(
            "sgd: nesterov=True looks ahead along the momentum, and momentum is 0; give one, such as 0.9."
        )
    rate_at = as_rate(learning_rate)

    def init(params: Tree) -> Tree:
        return {"step": 0, "velocity": zeros(params) if has_momentum else None}

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate = rate_at(state["step"])

        def move(p: Any, g: Any, velocity: Any) -> tuple[Any, ...]:
            way = g
            if has_momentum:
                velocity = way = added(like(momentum, p) * velocity, g)
                if nesterov:
                    way = added(like(momentum, p) * velocity, g)
            return like(-rate, p) * way, velocity

        updates, velocity = each(move, params, grads, state["velocity"])
        return updates, {"step": state["step"] + 1, "velocity": velocity}

    def tell(seen: Seen) -> Told:
        down, g = -named("lr", rate_at(seen.before["step"])), seen.incoming
        if not has_momentum:
            return Told(down * g)
        velocity = named("velocity", seen.new("velocity"))
        sum_ = Line(
            "velocity", velocity.value, number(momentum) * named("old velocity", seen.old("velocity")) + g, "momentum"
        )
        return Told(down * (g + number(momentum) * velocity) if nesterov else down * velocity, (sum_,))

    return Rule(init, update, tell, rate_at)


class SGD(Optimizer):
    """Stochastic gradient descent on parameters; see `sgd`. weight_decay · w is added to the gradient, as in PyTorch.

    >>> w = Value(2.0)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> w.data
    1.6
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lambda rate: with_weight_decay(weight_decay, sgd(rate, momentum, nesterov)), lr)
