"""Dropout, and the keys of layers that draw random numbers."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from backlit.core import dtypes, threefry
from backlit.core.errors import DomainError
from backlit.core.numbers import Shape
from backlit.core.op import Constant, Integers, Sample
from backlit.core.state import no_grad
from backlit.core.value import Buffer, Value
from backlit.nn.init import as_key
from backlit.nn.module import Module
from backlit.ops import cipher, random
from backlit.ops.indexing import as_value
from backlit.ops.selection import where


def _kept(key: Any, count: Any, shape: Shape, p: float) -> Any:
    """The mask of one call. An even number of 24 bits is compared, so `p` holds to 6e-8."""
    words = threefry.fold_in((int(key[0]), int(key[1])), int(count))
    return (threefry.uniform(words, prod(shape), np.float32) >= np.float32(p)).reshape(shape)


def _lower(g: Any, result: Any, key: Any, count: Any, shape: Shape, p: float) -> Any:
    """The same mask inside a compiled graph."""
    n = prod(shape)
    if not n:
        return g.constant(np.zeros(shape, bool), dtypes.bool)
    drawn = cipher.bits(g, cipher.fold_in(g, cipher.words(g, key), count), n)
    top = g.cast(g.map("bitwise_right_shift", drawn, g.number(8, dtypes.uint32)), dtypes.float32)
    uniform = g.map("multiply", top, g.number(2.0**-24, dtypes.float32))
    return g.reshape(g.map("greater_equal", uniform, g.number(p, dtypes.float32), dtype=dtypes.bool), shape)


KEPT = Constant(
    "kept",
    _kept,
    lower=_lower,
    shape=lambda key, count, shape, p: shape,
    dtype=lambda key, count, shape, p: dtypes.bool,
    domains=(Integers(0, 99), Integers(0, 9)),
    samples=tuple(Sample(((2,), ()), {"shape": shape, "p": 0.25}) for shape in ((3, 4), (), (0, 2))),
    doc="Which elements are kept: each with probability 1 - p. key: (2,) uint32, count: () whole number -> shape, "
    "boolean. A pure function of both: the mask of fold_in(key, count).",
)


class Dropout(Module):
    """In training, sets each element to 0 with probability `p` and divides the others by 1 - p; in use, does nothing.

    So the expectation of every element stays what it is ("inverted" dropout). No gradient flows to what was dropped.

    Which are dropped follows from two buffers alone, `key` (2,) uint32 and `count`, the calls made in training so far:
    two calls differ, the same key gives the same sequence, and a model stored and loaded goes on where it was.
    `reseed(model, key)` gives every such layer of a model its own key. key: a random key or a seed; None takes the
    next of the process, see `seed`.

    Nudging needs a function that is the same twice: reseed inside it, or check the model in use, `model.eval()`.

    Raises DomainError unless 0 <= p < 1. Source: Srivastava et al. 2014, JMLR 15; Hinton et al. 2012.

    >>> layer = Dropout(0.5, key=0)
    >>> layer([1.0, 1.0, 1.0, 1.0, 1.0]).data
    array([2., 2., 0., 2., 0.])
    >>> layer.eval()([1.0, 1.0]).data
    array([1., 1.])
    """

    def __init__(self, p: float = 0.5, *, key: Any = None) -> None:
        if not 0 <= p < 1:
            raise DomainError(f"Dropout: p={p}; it is the probability of being dropped, at least 0 and below 1.")
        self.p = float(p)
        self.key = Buffer(np.array(as_key(key).words, np.uint32))
        self.count = Buffer(0, dtype="int64")

    def forward(self, x: Any) -> Value:
        """x: (*s) -> (*s)."""
        given = as_value(x)
        if not self.training or not self.p:
            return given
        with no_grad():
            kept = KEPT(self.key, self.count, shape=given.shape, p=self.p)
            self.count.data = self.count + 1
        result: Value = where(kept, given * (1.0 / (1.0 - self.p)), 0.0)
        return result

    def reseed(self, key: random.Key) -> None:
        """Start over with a key."""
        self.key.data = np.array(key.words, np.uint32)
        self.count.data = 0


def reseed(model: Module, key: Any) -> None:
    """Give every random layer in a model its own key, made from one, and let it start over.

    key: a random key or a seed. The layers are those with a method `reseed(key)`, such as `Dropout`; the i-th, in the
    order of `model.modules()`, is given `fold_in(key, i)`. So what a model drops in training follows from the key,
    whatever it was made with.

    >>> layer = Dropout(0.5)
    >>> reseed(layer, 7); first = layer([1.0] * 8).data
    >>> reseed(layer, 7); bool((layer([1.0] * 8).data == first).all())
    True
    """
    key = as_key(key)
    layers = [module for module in model.modules() if hasattr(module, "reseed")]
    for i, layer in enumerate(layers):
        layer.reseed(random.fold_in(key, i))
