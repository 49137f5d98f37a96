"""Gradients kept within a limit before they are used."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from backlit.core.errors import DomainError
from backlit.core.state import tracing
from backlit.core.value import Value, gradient_of
from backlit.ops.selection import CLIP, MAXIMUM
from backlit.optim.parts import global_norm
from backlit.optim.rule import like


class Clip(NamedTuple):
    """A limit on gradients: of the length of all of them together ("norm"), or of each number ("value")."""

    limit: float
    by: str = "norm"

    @classmethod
    def of(cls, given: Any) -> Clip | None:
        """What `fit` takes as clip: None, a number (a norm), `("value", 0.5)`, or a Clip.

        >>> Clip.of(1.0), Clip.of(("value", 0.5))
        (Clip(limit=1.0, by='norm'), Clip(limit=0.5, by='value'))
        """
        if given is None:
            return None
        if isinstance(given, Clip):
            found = given
        elif isinstance(given, (tuple, list)) and len(given) == 2 and given[0] in ("norm", "value"):
            found = cls(given[1], given[0])
        else:
            found = cls(given)
        number = isinstance(found.limit, (int, float)) and not isinstance(found.limit, bool)
        if not number or found.by not in ("norm", "value") or not 0 < found.limit < math.inf:
            raise DomainError(
                f"clip={given!r}: give the longest gradient allowed, a number above 0 such as 1.0, or "
                '("value", 0.5) to limit each number of it.'
            )
        return cls(float(found.limit), found.by)


def clip_gradients(parameters: Iterable[Value], clip: Clip) -> None:
    """Change `.grad` of the parameters where it goes beyond the limit; a parameter without one is left alone.

    By norm: with L the length of all gradients together, each is multiplied by limit / max(L, limit), which is exactly
    1 within the limit; the same as the rule `backlit.optim.clip_by_norm`, but seen by all who look at `.grad`.
    (PyTorch's clip_grad_norm_ divides by L + 1e-6, so it shortens a little more.) By value: each number is brought
    into [-limit, limit].
    Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.

    >>> from backlit.core.value import Parameter
    >>> w = Parameter([1.0, 1.0])
    >>> w.grad = [3.0, 4.0]
    >>> clip_gradients([w], Clip(1.0))
    >>> w.grad
    array([0.6, 0.8])
    """
    found = [(p, grad) for p in parameters if (grad := gradient_of(p)) is not None]
    if clip.by == "value":
        for p, grad in found:
            _keep(p, CLIP(grad, like(-clip.limit, grad), like(clip.limit, grad)))
        return
    if not found:
        return
    norm = global_norm([grad for _, grad in found])
    share = clip.limit / MAXIMUM(norm, clip.limit)
    for p, grad in found:
        _keep(p, grad * like(share, grad))


def _keep(p: Value, grad: Any) -> None:
    """Let a parameter hold another gradient, computed just now."""
    if tracing() is None:
        p._grad_holder()._grad = grad
    else:
        p.grad = grad
