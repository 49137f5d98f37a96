"""AdamW: Adam with weight decay that the gradient's running size does not divide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.value import Value
from backlit.optim.optimizers.adam import adam
from backlit.optim.rule import Optimizer, Rule, Schedule


def adamw(
    learning_rate: Any = 1e-3, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, decay: Any = 0.01, amsgrad: bool = False
) -> Rule:
    r"""Adam, and beside it every number shrinks by learning_rate * decay of itself.

    u = -learning_rate * (m̂ / (sqrt(v̂) + eps) + decay * parameter);   m̂ and v̂ as in `adam`

    State and errors: as `adam`. Source: Loshchilov and Hutter 2019, algorithm 2, arXiv:1711.05101. There the decay is
    multiplied by the schedule but not by the base rate; PyTorch, optax and Keras multiply it by the whole learning
    rate, as here, so decay=0.01 at a rate of 0.001 shrinks by 1e-5 a step. Defaults for the decay: PyTorch 0.01,
    optax 1e-4, Keras 0.004. PyTorch shrinks the parameter before it is stepped, which differs by rounding.

    >>> rule = adamw(0.1, decay=0.5)
    >>> update, state = rule.update(4.0, rule.init(2.0), 2.0)
    >>> round(update, 6)
    -0.2
    """
    return adam(learning_rate, b1, b2, eps, amsgrad, decay)


class AdamW(Optimizer):
    """AdamW on parameters; see `adamw`.

    >>> w = Value(2.0)
    >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 6)
    1.8
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lambda rate: adamw(rate, *betas, eps, weight_decay, amsgrad), lr)
