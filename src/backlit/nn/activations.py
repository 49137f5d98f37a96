"""Activations as modules, and the activation of a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backlit.core.errors import DomainError
from backlit.nn.module import Module
from backlit.ops import activations as ops
from backlit.ops.indexing import as_value
from backlit.ops.statistics import softmax
from backlit.ops.trigonometry import tanh


class Activation(Module):
    """Any function of one value as a module, so that it can stand in a `Sequential`. Settings are passed on to it.

    >>> from backlit.ops.powers import square
    >>> Activation(square), Activation(square)(3.0).data
    (Activation(square), 9.0)
    """

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        if not callable(function):
            raise DomainError(f"Activation: {function!r:.60} is not a function; for a name, write activation(name).")
        self.function = function
        self.options = settings

    def forward(self, x: Any) -> Any:
        """The function of `x`, of the same shape unless the function says otherwise."""
        return self.function(as_value(x), **self.options)


class Identity(Activation):
    """Gives back what it is given."""

    def __init__(self) -> None:
        super().__init__(as_value)


class ReLU(Activation):
    """max(x, 0). At 0 the derivative is 0. Source: Nair and Hinton 2010.

    >>> ReLU()([-1.0, 2.0]).data
    array([0., 2.])
    """

    def __init__(self) -> None:
        super().__init__(ops.relu)


class LeakyReLU(Activation):
    """x above 0 and negative_slope · x below. Source: Maas, Hannun and Ng 2013."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__(ops.leaky_relu, negative_slope=float(negative_slope))


class ELU(Activation):
    """x above 0 and alpha · (exp(x) - 1) below. Source: Clevert, Unterthiner and Hochreiter 2015, arXiv:1511.07289."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(ops.elu, alpha=float(alpha))


class GELU(Activation):
    """x · Φ(x), Φ being the normal distribution function; approximate: Φ by tanh, as GPT-2 has it.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    def __init__(self, approximate: bool = False) -> None:
        super().__init__(ops.gelu, approximate=bool(approximate))


class SiLU(Activation):
    """x · sigmoid(x), also called swish. Source: Elfwing, Uchibe and Doya 2017, arXiv:1702.03118."""

    def __init__(self) -> None:
        super().__init__(ops.silu)


class Sigmoid(Activation):
    """1 / (1 + exp(-x)), between 0 and 1. Where a loss takes logits, leave it out: that is exact where this is flat."""

    def __init__(self) -> None:
        super().__init__(ops.sigmoid)


class Softmax(Activation):
    """exp(x) / sum(exp(x)) along an axis, the last by default: numbers above 0 that add up to 1.

    Where a loss takes logits (`cross_entropy`), leave it out: that is exact where a share is nearly 0.
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__(softmax, axis=axis)


class Softplus(Activation):
    """log(1 + exp(x)), a smooth relu that stays above 0. Source: Dugas et al. 2001."""

    def __init__(self) -> None:
        super().__init__(ops.softplus)


class Tanh(Activation):
    """tanh(x), between -1 and 1.

    >>> Tanh()(0.0).data
    0.0
    """

    def __init__(self) -> None:
        super().__init__(tanh)


_BY_NAME: dict[str, Callable[[], Activation]] = {
    "identity": Identity,
    "linear": Identity,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "swish": SiLU,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "softplus": Softplus,
    "tanh": Tanh,
}


def activation(what: Any) -> Module:
    """The activation that is meant by a name, a function, a module, the class of one, or None (the identity).

    Raises DomainError for an unknown name and for what is none of these.

    >>> activation("tanh"), activation(None), activation(GELU)
    (Tanh(), Identity(), GELU())
    """
    if what is None:
        return Identity()
    if isinstance(what, str):
        if what.lower() not in _BY_NAME:
            raise DomainError(f"there is no activation {what!r}; choose one of {', '.join(_BY_NAME)}, or a function.")
        return _BY_NAME[what.lower()]()
    if isinstance(what, Module):
        return what
    if isinstance(what, type) and issubclass(what, Module):
        made: Module = what()
        return made
    return Activation(what)


def gain_name(what: Any) -> str | None:
    """What initialisers call this activation; None for one they do not know."""
    for name, kind in _BY_NAME.items():
        if type(what) is kind:
            return name
    return None
