"""Modules made of modules, one after the other, and the change of shape that often stands between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, overload

from backlit.core.errors import GraphError, ShapeError
from backlit.core.value import Value
from backlit.nn.activations import activation
from backlit.nn.module import Module
from backlit.ops.indexing import as_value
from backlit.ops.movement import reshape


class Sequential(Module):
    """Modules one after the other: each is given what the one before it computed.

    Also functions, such as `backlit.tanh`, and names of activations; a single list of all of them will do, too. It has
    a length, can be run through and indexed; a slice is a `Sequential` that shares the modules.

    >>> from backlit.nn.linear import Linear
    >>> model = Sequential(Linear(2, 3), "tanh", Linear(3, 1))
    >>> model
    Sequential:
      layers.0: Linear(2, 3)
      layers.1: Tanh()
      layers.2: Linear(3, 1)
    >>> len(model), model[0], model([[1.0, 2.0]]).shape
    (3, Linear(2, 3), (1, 1))
    """

    def __init__(self, *layers: Any) -> None:
        if len(layers) == 1 and isinstance(layers[0], Iterable) and not isinstance(layers[0], (str, Module)):
            layers = tuple(layers[0])
        self.layers: list[Module] = [_as_module(layer) for layer in layers]

    def forward(self, x: Any) -> Any:
        """What the last module makes of what the ones before it made of `x`; without modules, `x`."""
        for layer in self.layers:
            x = layer(x)
        return x

    def settings(self) -> str:
        """Nothing: its modules say all."""
        return ""

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]

    def append(self, layer: Any) -> Sequential:
        """Put one more module at the end. Returns the whole."""
        self.layers.append(_as_module(layer))
        return self


def _as_module(layer: Any) -> Module:
    if isinstance(layer, type):
        raise GraphError(f"Sequential: {layer.__name__} is a class; make one of it, {layer.__name__}(...).")
    return activation(layer)


class Flatten(Module):
    """One axis in place of all from `start` on.  x: (n, *s) -> (n, product of s), with start=1.

    >>> import numpy as np
    >>> Flatten()(np.zeros((5, 2, 3))).shape
    (5, 6)
    """

    def __init__(self, start: int = 1) -> None:
        self.start = start

    def forward(self, x: Any) -> Value:
        """Raises ShapeError if x has fewer than `start` axes."""
        x = as_value(x)
        start = self.start + x.ndim if self.start < 0 else self.start
        if not 0 <= start <= x.ndim:
            raise ShapeError(f"Flatten(start={self.start}): there is no such axis in shape {x.shape}.")
        return reshape(x, (*x.shape[:start], prod(x.shape[start:])))
