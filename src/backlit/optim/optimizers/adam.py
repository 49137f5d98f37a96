"""Adam: the step scaled by running means of the gradient and of its square; AMSGrad is its option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.value import Value
from backlit.ops.selection import MAXIMUM
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
    giving_way,
    not_negative,
    over,
    root,
    scaled,
    within,
    zeros,
)
from backlit.optim.telling import Line, Seen, Told, mean_line, named, number


def adam(
    learning_rate: Any = 1e-3, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, amsgrad: bool = False, decay: Any = 0.0
) -> Rule:
    r"""Each number moves by about the learning rate, less where its gradient keeps changing its sign.

    m = b1 * m + (1 - b1) * g;              m̂ = m / (1 - b1**step)
    v = b2 * v + (1 - b2) * g**2;           v̂ = v / (1 - b2**step)
    u = -learning_rate * (m̂ / (sqrt(v̂) + eps) + decay * parameter)

    decay: weight decay apart from the gradient, as in AdamW. amsgrad: v̂ is made of the largest v so far.
    State: `step` () int64; `m`, `v` (with amsgrad `v_max`) shaped like each parameter: 2 (3) times their memory.
    Raises: DomainError if b1 or b2 is outside [0, 1), eps or decay below 0.

    Source: Kingma and Ba 2015, algorithm 1, arXiv:1412.6980; Reddi, Kale and Kumar 2018, algorithm 2. PyTorch and
    optax add eps outside the root, as here; TensorFlow and Keras use the form before section 2.1, whose eps is this one
    times sqrt(1 - b2**step), and 1e-7 by default. The paper of AMSGrad has no bias correction; PyTorch takes the
    largest v before it, as here, optax after it.

    >>> rule = adam(0.1)
    >>> update, state = rule.update(4.0, rule.init(2.0), 2.0)
    >>> round(update, 6), round(state["m"], 6), round(state["v"], 6)
    (-0.1, 0.4, 0.016)
    """
    within("adam", b1=b1, b2=b2)
    not_negative("adam", eps=eps, decay=decay)
    rate_at = as_rate(learning_rate)
    decays = isinstance(decay, Value) or decay > 0

    def init(params: Tree) -> Tree:
        return {"step": 0, "m": zeros(params), "v": zeros(params), "v_max": zeros(params) if amsgrad else None}

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        rate, step = rate_at(state["step"]), state["step"] + 1
        # The paper's quicker order, before its section 2.1: corrections stand outside the fraction, and eps follows.
        correction = (1.0 - b2**step) ** 0.5
        along, least = giving_way(-rate * correction / (1.0 - b1**step)), giving_way(eps * correction)
        w1, w2, shrink = 1.0 - b1, 1.0 - b2, giving_way(-rate * decay if decays else 0.0)

        def move(p: Any, g: Any, m: Any, v: Any, v_max: Any) -> tuple[Any, ...]:
            m, v = blend(m, g, w1), blend(v, g * g, w2, is_fresh=True)
            if amsgrad:
                v_max = MAXIMUM(v_max, v)
            size = added(root(v_max if amsgrad else v), least(p))
            u = scaled(over(m, size), along(p))
            if decays:
                u = added(u, shrink(p) * p)
            return u, m, v, v_max

        updates, m, v, v_max = each(move, params, grads, state["m"], state["v"], state["v_max"])
        return updates, {"step": step, "m": m, "v": v, "v_max": v_max}

    def tell(seen: Seen) -> Told:
        c1, c2 = 1.0 - b1**seen.step, 1.0 - b2**seen.step
        m, key = named("m", seen.new("m")), "v_max" if amsgrad else "v"
        v = named(key, seen.new(key))
        m_hat = named("m̂", m.value / c1)
        size = named("√v̂", root(v.value / c2))
        lines = [
            mean_line(seen, "m", 1.0 - b1, seen.incoming, "mean of gradients: momentum"),
            Line("m̂", m_hat.value, m / (number(1.0) - number(b1**seen.step)), "its bias correction, as m began at 0"),
            mean_line(seen, "v", 1.0 - b2, named(f"{seen.name}²", seen.g * seen.g), "mean of squares"),
            Line("√v̂", size.value, None, f"root of {v} / {number(c2)}: the usual size of the gradient"),
        ]
        if amsgrad:
            lines.insert(3, Line("v_max", v.value, None, "the largest v so far"))
        rate = named("lr", rate_at(seen.before["step"]))
        found = -rate * m_hat / (size + named("eps", eps))
        if decays:
            found = found - rate * named("decay", decay) * named("parameter", seen.p)
        return Told(found, tuple(lines))

    return Rule(init, update, tell, rate_at)


class Adam(Optimizer):
    """Adam on parameters; see `adam`. weight_decay · w is added to the gradient, as in PyTorch; `AdamW` keeps it apart.

    >>> w = Value(2.0, name="w")
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).backward()
    >>> optimizer.step()
    >>> round(w.data, 6)
    1.9
    >>> print(optimizer.why(w).headline)
    w moved by -0.1 = -lr 0.1 × m̂ 4 / (√v̂ 4 + eps 1e-8)
    """

    def __init__(
        self,
        parameters: Sequence[Value],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lambda rate: with_weight_decay(weight_decay, adam(rate, *betas, eps, amsgrad)), lr)
