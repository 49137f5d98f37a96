"""Parts that rules are composed of: limits on gradients, weight decay, schedules, averages of the parameters."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DomainError
from backlit.core.numbers import dtype_of, shape_of
from backlit.core.trees import flatten
from backlit.core.value import Value
from backlit.ops.casting import ASTYPE
from backlit.ops.powers import SQUARE
from backlit.ops.selection import CLIP, MAXIMUM
from backlit.ops.summation import SUM
from backlit.optim.rule import Rule, Tree, as_rate, blend, each, like, not_negative, root, within
from backlit.optim.telling import Line, Seen, Term, Told, named, number


def chain(*rules: Rule) -> Rule:
    """One rule after another: each is given as gradients what the one before gave as updates.

    State: the tuple of theirs. The learning rate is that of the last rule that has one. Raises DomainError for no
    rules. As in optax; the order matters: what limits or decays comes before the optimizer, what scales or averages its
    updates comes after.

    >>> from backlit.optim.optimizers.sgd import sgd
    >>> rule = chain(clip_by_value(1.0), sgd(0.1))
    >>> update, state = rule.update(40.0, rule.init(2.0), 2.0)
    >>> update
    -0.1
    """
    if not rules:
        raise DomainError("chain: give at least one rule, such as chain(clip_by_norm(1.0), adam(0.001)).")

    def init(params: Tree) -> Tree:
        return tuple(rule.init(params) for rule in rules)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        after = []
        for rule, own in zip(rules, state, strict=True):
            grads, new = rule.update(grads, own, params)
            after.append(new)
        return grads, tuple(after)

    def tell(seen: Seen) -> Told:
        grads, name = seen.grads, seen.name
        expression: Term | None = None
        lines: list[Line] = []
        words = ""
        for rule, own, new in zip(rules, seen.before, seen.after, strict=True):
            updates, _ = rule.update(grads, own, seen.params)  # pure, so it gives what it gave then
            stage = seen._replace(grads=grads, before=own, updates=updates, after=new, name=name)
            told = Told(named("what its rule gave", stage.u)) if rule.tell is None else rule.tell(stage)
            if told.update is not None:
                if expression is not None:  # what the rule before gave goes into this one
                    lines.append(Line(name, stage.g, expression, words))
                expression, words = told.update, told.words
            elif told.words:
                lines.append(Line(name, stage.g, None, told.words))
            lines += told.lines
            if rule.rate is not None:
                name = "u"
            grads = updates
        return Told(expression, tuple(lines), words)

    rates = [rule.rate for rule in rules if rule.rate is not None]
    return Rule(init, update, tell, rates[-1] if rates else None)


def clip_by_value(limit: Any) -> Rule:
    """Every element of the gradient held between -limit and limit.

    State: none. Raises DomainError for a limit that is not above 0. As PyTorch's `clip_grad_value_`.

    >>> rule = clip_by_value(1.0)
    >>> rule.update([0.5, -3.0], None, [1.0, 1.0])[0]
    [0.5, -1.0]
    """
    _above_zero("clip_by_value", limit)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        def move(p: Any, g: Any) -> tuple[Any, ...]:
            bound = like(limit, g)
            return (CLIP(g, -bound, bound),)

        return each(move, params, grads)[0], state

    def tell(seen: Seen) -> Told:
        size = named("limit", limit)
        if abs(seen.g) <= limit:
            return Told(None, words=f"clipping: within {size}, so it stays")
        if seen.g != seen.g:
            return Told(None, words="clipping: not a number, so it stays")
        return Told(size if seen.g > 0 else -size, words=f"clipping: it was {seen.g:.6g}")

    return Rule(lambda params: None, update, tell)


def global_norm(grads: Tree) -> Any:
    """The length of all gradients as one vector, √Σg², added up in float64 over the arrays; 0 if there are none.

    >>> global_norm([np.array([3.0], "float32"), None, 4.0])
    5.0
    """
    parts = [_sum_of_squares(g) for g in flatten(grads)[0]]
    return root(reduce(lambda a, b: a + b, parts)) if parts else 0.0


def _sum_of_squares(g: Any) -> Any:
    if type(g) is np.ndarray:
        flat = g.ravel()
        return float(np.dot(flat, flat))
    total = SQUARE(g) if not shape_of(g) else SUM(SQUARE(g), axis=tuple(range(len(shape_of(g)))))
    return total if dtype_of(total) == dtypes.float64 else ASTYPE(total, dtype=dtypes.float64)


def clip_by_norm(limit: Any) -> Rule:
    """All gradients together scaled down so that their length is at most the limit; the direction stays.

    g * limit / max(norm, limit),   norm = √Σg² over all elements of all parameters

    State: none. Raises DomainError for a limit that is not above 0. PyTorch's `clip_grad_norm_` divides by norm + 1e-6,
    so it ends that much below the limit; optax divides by the norm. A norm that is NaN or infinite makes the gradients
    NaN. Source: Pascanu, Mikolov and Bengio 2013, algorithm 1.

    >>> rule = clip_by_norm(1.25)
    >>> rule.update([3.0, -4.0], None, [1.0, 1.0])[0]
    [0.75, -1.0]
    """
    _above_zero("clip_by_norm", limit)

    def factor(grads: Tree) -> Any:
        return limit / MAXIMUM(global_norm(grads), limit)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        scale = factor(grads)
        return each(lambda p, g: (g * like(scale, g),), params, grads)[0], state

    def tell(seen: Seen) -> Told:
        norm = float(global_norm(seen.grads))
        if norm <= limit:
            return Told(None, words=f"clipping: the norm of all gradients, {norm:.6g}, is within {limit:.6g}")
        return Told(
            seen.incoming * (named("limit", limit) / named("norm", norm)),
            words="clipping, by the norm of all gradients",
        )

    return Rule(lambda params: None, update, tell)


def add_weight_decay(rate: Any) -> Rule:
    """`rate` times the parameter added to its gradient: the slope of a penalty rate/2 · Σw².

    State: none. Raises DomainError for a rate below 0. It stands *before* the optimizer, as PyTorch's `weight_decay`
    does in all but AdamW; an adaptive optimizer then divides the decay by its running size, too. `adamw` and `lion`
    keep them apart. Source: Hanson and Pratt 1988; Loshchilov and Hutter 2019, algorithm 2, tell the two apart.

    >>> add_weight_decay(0.5).update(1.0, None, 4.0)[0]
    3.0
    """
    not_negative("add_weight_decay", rate=rate)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return each(lambda p, g: (g + like(rate, p) * p,), params, grads)[0], state

    def tell(seen: Seen) -> Told:
        return Told(seen.incoming + named("decay", rate) * named("parameter", seen.p), words="weight decay")

    return Rule(lambda params: None, update, tell)


def with_weight_decay(rate: Any, rule: Rule) -> Rule:
    """The rule, with weight decay added to its gradients unless the rate is 0."""
    return rule if not isinstance(rate, Value) and rate == 0 else chain(add_weight_decay(rate), rule)


def scale_by_schedule(schedule: Any) -> Rule:
    """What came in times `schedule(step)`, or times a number.

    After an optimizer it is a second learning rate: `chain(adam(1.0), scale_by_schedule(cosine(1e-3, 1000)))`.
    State: `step` () int64.

    >>> rule = scale_by_schedule(lambda step: 0.5)
    >>> rule.update(3.0, rule.init(1.0), 1.0)[0]
    1.5
    """
    scale_at = as_rate(schedule)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        scale = scale_at(state["step"])
        return each(lambda p, g: (g * like(scale, g),), params, grads)[0], {"step": state["step"] + 1}

    def tell(seen: Seen) -> Told:
        return Told(named("scale", scale_at(seen.before["step"])) * seen.incoming, words="schedule")

    return Rule(lambda params: {"step": 0}, update, tell)


def ema(decay: Any = 0.999) -> Rule:
    """Updates as they came, and, on the side, the exponential moving average of the parameters that they lead to.

    average = decay * average + (1 - decay) * (parameter + update)

    It stands last in a chain. `with optimizer.averaged():` uses the averages. State: `average`, shaped like each
    parameter, at first the parameter itself, so no correction is needed (as PyTorch's `AveragedModel` with an EMA;
    TensorFlow's also grows the decay from 0.1 with the steps if told their number). Raises DomainError for a decay
    outside [0, 1). Source: Polyak and Juditsky 1992, with weights that fade.

    >>> rule = ema(0.75)
    >>> update, state = rule.update(-1.0, rule.init(2.0), 2.0)
    >>> update, state["average"]
    (-1.0, 1.75)
    """
    within("ema", decay=decay)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        def move(p: Any, u: Any, average: Any) -> tuple[Any, ...]:
            return u, blend(average, p + u, 1.0 - decay)

        updates, average = each(move, params, grads, state["average"])
        return updates, {"average": average}

    def tell(seen: Seen) -> Told:
        to = named("parameter", seen.p) + seen.incoming
        equals = number(decay) * named("old average", seen.old("average")) + number(1.0 - decay) * to
        return Told(None, (Line("average", seen.new("average"), equals, "of the parameter, beside the step"),))

    return Rule(lambda params: {"average": params}, update, tell)


def _above_zero(caller: str, limit: Any) -> None:
    if not isinstance(limit, Value) and not 0 < limit < float("inf"):
        raise DomainError(f"{caller}: limit={limit}; it must be a number above 0, such as 1.0.")
