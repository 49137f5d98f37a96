"""Stochastic gradient descent, with momentum and Nesterov's variant of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.errors import DomainError
from backlit.core.trees import mapped
from backlit.core.value import Value
from backlit.optim.rule import Optimizer, Rule, Schedule, Tree, as_rate, like


def sgd(learning_rate: Any, momentum: float = 0.0, nesterov: bool = False) -> Rule:
    r"""A step down the slope, or, with momentum, down the decaying sum of slopes.

    b = momentum * b + g;   u = -learning_rate * b          (with nesterov: -learning_rate * (g + momentum * b))

    State: `step` () int64; with momentum `velocity`, shaped like each parameter, zero at first. Raises: DomainError for
    momentum outside [0, 1), or nesterov without momentum. PyTorch does the same (dampening 0); in Sutskever's form,
    which TensorFlow uses, the learning rate is multiplied in before the sum, so a changing rate acts differently.
    Source: Robbins and Monro 1951; Polyak 1964; Sutskever, Martens, Dahl and Hinton 2013.

    >>> rule = sgd(0.1, momentum=0.5)
    >>> state = rule.init(2.0)
    >>> update, state = rule.update(4.0, state, 2.0)
    >>> update
    -0.4
    """
    if not 0 <= momentum < 1:
        raise DomainError(f"sgd: momentum={momentum}; it must be at least 0 and below 1.")
    if nesterov and not momentum:
        raise DomainError(
            "sgd: nesterov=True looks ahead along the momentum, and momentum is 0; give one, such as 0.9."
        )
    rate_at = as_rate(learning_rate)

    def init(params: Tree) -> Tree:
        velocity = mapped(lambda p: p * 0.0, params) if momentum else None
        return {"step": 0, "velocity": velocity}

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate = rate_at(state["step"])
        velocity = state["velocity"]
        way = grads
        if momentum:
            velocity = mapped(lambda v, g: v if g is None else momentum * v + g, velocity, grads)
            way = velocity
            if nesterov:
                way = mapped(lambda v, g: None if g is None else g + momentum * v, velocity, grads)
        updates = mapped(lambda p, g, w: None if g is None else -like(rate, p) * w, params, grads, way)
        return updates, {"step": state["step"] + 1, "velocity": velocity}

    return Rule(init, update)


class SGD(Optimizer):
    """Stochastic gradient descent on parameters; see `sgd`.

    >>> w = Value(2.0)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> w.data
    1.6
    """

    def __init__(
        self, parameters: Sequence[Value], lr: float | Schedule = 0.01, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(parameters, lr, lambda rate: sgd(rate, momentum, nesterov))
