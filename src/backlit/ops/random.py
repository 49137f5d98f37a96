"""Random numbers from explicit keys: a pure function of the key, the same on every machine.

Nothing is remembered between two calls, so a key used twice gives the same numbers twice. To get others,
split it:

>>> first, second = split(key(0))
>>> bool(normal(first).data == normal(first).data), bool(normal(first).data == normal(second).data)
(True, False)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core import dtypes, threefry
from backlit.core.dtypes import as_dtype
from backlit.core.errors import DomainError, DtypeError, ShapeError
from backlit.core.numbers import Shape, stored
from backlit.core.op import broadcast_shapes
from backlit.core.record import constant_here
from backlit.core.value import Value
from backlit.ops.axes import one_axis
from backlit.ops.indexing import take
from backlit.ops.movement import as_shape


class Key:
    """A random key: what all numbers drawn with it are made from. It never changes; equal keys draw alike.

    >>> key(7), key(7) == key(7), hash(key(7)) == hash(key(7))
    (Key(0, 7), True, True)
    """

    __slots__ = ("_words",)
    _words: tuple[int, int]

    def __init__(self, high: int, low: int) -> None:
        for word in (high, low):
            if not 0 <= word < 1 << 32:
                raise DomainError(f"Key: its words lie in 0 ... 2**32 - 1, unlike {word}; make a key with key(seed).")
        object.__setattr__(self, "_words", (int(high), int(low)))

    @property
    def words(self) -> tuple[int, int]:
        """The two 32-bit words, of which the cipher makes the numbers."""
        return self._words

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a key never changes; split(key) gives new ones.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._words == other._words

    def __hash__(self) -> int:
        return hash(("Key", self._words))

    def __reduce__(self) -> tuple[Any, ...]:
        return Key, self._words

    def __repr__(self) -> str:
        return f"Key{self._words}"


def key(seed: int) -> Key:
    """The key of a seed: any whole number from -2**63 to 2**64 - 1.

    >>> key(0)
    Key(0, 0)
    """
    return _key(threefry.key_from_seed(seed))


def _key(words: Any) -> Key:
    return Key(int(words[0]), int(words[1]))


def _words(given: Key) -> tuple[int, int]:
    if not isinstance(given, Key):
        raise DtypeError(
            f"random numbers are drawn with a key, and {given!r:.60} is none. Make one with key(seed), and "
            "others from it with split."
        )
    return given._words


def split(key: Key, num: int = 2) -> tuple[Key, ...]:
    """New keys made from one, whose numbers have nothing to do with each other nor with those of `key`.

    >>> a, b, c = split(key(0), 3)
    >>> len({a, b, c})
    3
    """
    return tuple(map(_key, threefry.split(_words(key), num).tolist()))


def fold_in(key: Key, data: int) -> Key:
    """A new key made from a key and a whole number, such as a step or the number of a layer.

    >>> fold_in(key(0), 1) == fold_in(key(0), 2)
    False
    """
    return _key(threefry.fold_in(_words(key), data))


def _made(numbers: Any, shape: Shape) -> Value:
    return constant_here(stored(numbers.reshape(shape)))


def _length(shape: int | Sequence[int], name: str) -> tuple[Shape, int]:
    lengths = as_shape(shape, name)
    if any(length < 0 for length in lengths):
        raise ShapeError(f"{name}: no array has shape {lengths}, with a length below 0.")
    return lengths, math.prod(lengths)


def normal(key: Key, shape: int | Sequence[int] = (), dtype: Any = dtypes.float64) -> Value:
    """Numbers of the standard normal distribution. For others write mean + std * normal(key, shape).

    dtype: float64, float32 or float16. The same to the last bit on every machine.

    >>> normal(key(0), (2, 3)).shape
    (2, 3)
    """
    lengths, size = _length(shape, "normal")
    return _made(threefry.normal(_words(key), size, as_dtype(dtype)), lengths)


def uniform(
    key: Key, shape: int | Sequence[int] | None = None, low: Any = 0.0, high: Any = 1.0, *, dtype: Any = None
) -> Value:
    """Numbers equally likely everywhere from `low` up to `high`.

    low, high: numbers, arrays, or values, to which gradients flow; they are broadcast to the shape, which by
    default is their own. dtype: float64 unless another is named. From 0 to 1, 1 itself never occurs; between
    other ends rounding may give `high`.

    >>> x = uniform(key(0), 1000, -1.0, 1.0).data
    >>> bool(x.min() >= -1), bool(x.max() < 1)
    (True, True)
    """
    common = broadcast_shapes("uniform", [_shape_of(low), _shape_of(high)])
    lengths, size = _length(common if shape is None else shape, "uniform")
    _check_fits("uniform", "the ends", common, lengths)
    kind = dtypes.float64 if dtype is None else as_dtype(dtype)
    share = threefry.uniform(_words(key), size, kind)
    if isinstance(low, Value) or isinstance(high, Value):
        return low + (high - low) * _made(share, lengths)  # type: ignore[no-any-return]
    if not (type(low) is float and low == 0.0 and type(high) is float and high == 1.0):
        low, high = np.asarray(low, kind), np.asarray(high, kind)
        share = low + (high - low) * share.reshape(lengths)
    return _made(share, lengths)


def _shape_of(x: Any) -> Shape:
    return x.shape if isinstance(x, Value) else np.shape(x)


def _check_fits(name: str, what: str, own: Shape, shape: Shape) -> None:
    behind = len(shape) - len(own)
    if behind < 0 or any(have not in (want, 1) for have, want in zip(own, shape[behind:], strict=True)):
        raise ShapeError(f"{name}: {what}, of shape {own}, do not broadcast to the shape asked for, {shape}.")


def randint(key: Key, shape: int | Sequence[int], low: int, high: int, *, dtype: Any = None) -> Value:
    """Whole numbers equally likely from `low` to `high` - 1, exactly; int64 unless another dtype is named.

    >>> dice = randint(key(0), 1000, 1, 7).data
    >>> int(dice.min()), int(dice.max())
    (1, 6)
    """
    lengths, size = _length(shape, "randint")
    kind = dtypes.int64 if dtype is None else as_dtype(dtype)
    if kind.kind not in "iu":
        raise DtypeError(
            f"randint: dtype {kind.name} does not hold whole numbers; choose int64 or another integer dtype."
        )
    limits = np.iinfo(kind)
    if not (limits.min <= low and high - 1 <= limits.max):
        raise DomainError(f"randint: {low} to {high - 1} do not fit dtype {kind.name}, {limits.min} to {limits.max}.")
    return _made(threefry.randint(_words(key), size, low, high).astype(kind, copy=False), lengths)


def bernoulli(key: Key, p: Any = 0.5, shape: int | Sequence[int] | None = None) -> Value:
    """Booleans that are true with probability `p`.

    p: a number, an array or a value; it is broadcast to the shape, which by default is its own. No gradient
    flows to it. Raises DomainError outside 0 to 1.

    >>> bernoulli(key(0), 0.25, (2, 2)).dtype
    dtype('bool')
    """
    numbers = np.asarray(p.data if isinstance(p, Value) else p)
    lengths, size = _length(numbers.shape if shape is None else shape, "bernoulli")
    _check_fits("bernoulli", "the probabilities", numbers.shape, lengths)
    wrong = ~((numbers >= 0) & (numbers <= 1))
    if wrong.any():
        raise DomainError(f"bernoulli: a probability lies in 0 to 1, unlike {numbers[wrong].flat[0]}.")
    return _made(threefry.uniform(_words(key), size).reshape(lengths) < numbers, lengths)


def permutation(key: Key, x: Any, *, axis: int = 0) -> Value:
    """The numbers 0 to n - 1 in random order; or for an array its parts along an axis in random order.

    x: n, or the array. If that is a value, gradients flow to it.

    >>> sorted(permutation(key(0), 4).data.tolist())
    [0, 1, 2, 3]
    """
    if isinstance(x, (int, np.integer)):
        return _made(threefry.permutation(_words(key), int(x)), (int(x),))
    shape = _shape_of(x)
    order = threefry.permutation(_words(key), shape[one_axis(axis, shape, "permutation")])
    return take(x, order, axis=axis)


def categorical(key: Key, logits: Any, *, axis: int = -1, shape: int | Sequence[int] | None = None) -> Value:
    """Random classes, each with a probability proportional to exp(logit): int64.

    logits: (*a, n, *b), with the classes along an axis -> (*a, *b), or the shape given, to which that is
    broadcast. A class with logit -inf is never drawn. No gradient flows to the logits. Method: the largest of
    logit + Gumbel noise.

    >>> categorical(key(0), [0.0, -float("inf"), 0.0], shape=5).dtype
    dtype('int64')
    """
    numbers = np.asarray(logits.data if isinstance(logits, Value) else logits)
    if numbers.dtype.kind not in "iuf":
        raise DtypeError(f"categorical: logits are real numbers, not {numbers.dtype.name}.")
    position = one_axis(axis, numbers.shape, "categorical")
    classes = numbers.shape[position]
    if not classes:
        raise ShapeError(f"categorical: axis {position} of shape {numbers.shape} is empty: there is no class to draw.")
    last = np.moveaxis(numbers.astype(np.float64), position, -1)
    lengths, size = _length(last.shape[:-1] if shape is None else shape, "categorical")
    _check_fits("categorical", "the logits without their axis of classes", last.shape[:-1], lengths)
    share = threefry.uniform(_words(key), size * classes).reshape(*lengths, classes)
    with np.errstate(all="ignore"):
        waiting = np.maximum(-np.log1p(-share), 2.0**-54)  # exponential; zero would be infinite noise
        return _made(np.argmax(last - np.log(waiting), axis=-1), lengths)
