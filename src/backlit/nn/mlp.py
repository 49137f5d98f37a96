"""The multi-layer perceptron of arrays. The one of single numbers, for reading, is in `backlit.nn.scalars`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from backlit.core.errors import DomainError
from backlit.nn.activations import LeakyReLU, activation, gain_name
from backlit.nn.init import as_key, kaiming_uniform
from backlit.nn.linear import Linear
from backlit.nn.module import Module
from backlit.ops import random

_BENT = ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus")


class MLP(Module):
    """Linear layers with an activation between them.  x: (..., n_in) -> (..., sizes[-1]).

    sizes: how many units each layer has; the last is the output. activation: between the layers; out_activation:
    after the last, by default none, as losses on logits want it. Both: a name ("tanh", "relu", "gelu", ...), a
    function, or a module. init: of the weights, as for `Linear`; by default Kaiming's before the relu family and
    Xavier's elsewhere, by what comes after the layer. bias, dtype: as for `Linear`. key: a random key or a seed, from
    which every layer has its own; None takes the next of the process, see `seed`.

    A list of numbers or of values is an input like any other: `MLP(3, [4, 4, 1])([2.0, 3.0, -1.0])` has shape (1,).
    micrograd's own class, with one value for each number, is `backlit.nn.scalars.MLP`.

    >>> model = MLP(3, [4, 1], key=0)
    >>> model
    MLP(3, [4, 1]):
      layers.0: Linear(3, 4)
      layers.1: Linear(4, 1)
      activation: Tanh()
    >>> model([2.0, 3.0, -1.0]).shape, model([[2.0, 3.0, -1.0]] * 5).shape
    ((1,), (5, 1))
    """

    def __init__(
        self,
        n_in: int,
        sizes: Sequence[int] | int,
        activation: Any = "tanh",
        out_activation: Any = None,
        *,
        bias: bool = True,
        init: Any = None,
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        if not sizes:
            raise DomainError(
                "MLP: sizes is empty; name the units of each layer, the output last, such as [16, 16, 1]."
            )
        key = as_key(key)
        between, last = _activation(activation), None if out_activation is None else _activation(out_activation)
        self.layers: list[Linear] = []
        for i, (a, b) in enumerate(zip([n_in, *sizes], sizes, strict=False)):
            follows = last if i == len(sizes) - 1 else between
            chosen = _default_init(follows) if init is None else init
            self.layers.append(Linear(a, b, bias, init=chosen, key=random.fold_in(key, i), dtype=dtype))
        self.activation = between if len(sizes) > 1 else None
        self.out_activation = last

    def forward(self, x: Any) -> Any:
        """x: (..., n_in) -> (..., sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x)) if self.activation is not None else layer(x)
        x = last(x)
        return x if self.out_activation is None else self.out_activation(x)


_activation = activation


def _default_init(follows: Module | None) -> Any:
    """The initialiser for a layer, by what comes after it."""
    name = gain_name(follows)
    if name not in _BENT:
        return "xavier_uniform"
    slope = follows.options["negative_slope"] if isinstance(follows, LeakyReLU) else 0.01
    return partial(kaiming_uniform, nonlinearity=name, slope=slope)
