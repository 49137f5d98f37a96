"""Tables that are looked up: a learned vector for each of n things, and for each position in a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.dtypes import as_dtype
from backlit.core.errors import DomainError, DtypeError, IndexingError, ShapeError
from backlit.core.numbers import Abstract
from backlit.core.value import Parameter, Value, current, describe
from backlit.nn.init import as_key, normal, started
from backlit.nn.module import Module, as_input, count_of
from backlit.ops.arithmetic import add
from backlit.ops.indexing import as_value, getitem, take


class Embedding(Module):
    """A learned vector for each of `n` things, looked up by number.  indices: (*s) whole numbers -> (*s, d).

    weight: (n, d), starting from the standard normal distribution, as PyTorch's; init, key, dtype as for `Linear`.
    A gradient reaches the rows that were taken, added up where one was taken twice.

    Raises DtypeError for indices that are not whole numbers, IndexingError for one outside 0 ... n - 1: a negative one
    would silently count from the end.

    >>> table = Embedding(10, 4, key=0)
    >>> table, table([[1, 2, 3]]).shape
    (Embedding(10, 4), (1, 3, 4))
    """

    def __init__(self, n: int, d: int, *, init: Any = "normal", key: Any = None, dtype: Any = "float32") -> None:
        self.n, self.d = count_of(n, "Embedding: n"), count_of(d, "Embedding: d")
        self.weight = Parameter(started(init, as_key(key), (self.n, self.d), dtype))

    def forward(self, indices: Any) -> Value:
        """indices: (*s) -> (*s, d)."""
        indices = as_value(indices)
        if indices.dtype.kind not in "iu":
            raise DtypeError(
                f"Embedding: indices are whole numbers, and {describe(indices)} has dtype {indices.dtype.name}. "
                'Convert them: backlit.astype(x, "int64").'
            )
        _check_range(indices, self.n)
        return take(self.weight, indices, axis=0)


def _check_range(indices: Value, n: int) -> None:
    """Raise IndexingError for an index outside; while a function is traced there are no numbers to look at."""
    numbers = current(indices)._data
    if type(numbers) is Abstract:
        return
    numbers = np.asarray(numbers)
    wrong = (numbers < 0) | (numbers >= n)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        at = f" at position {', '.join(map(str, place))}" if place else ""
        raise IndexingError(
            f"Embedding({n}, ...): there are rows 0 to {n - 1}, and the index{at} is {numbers[place]} "
            f"({int(wrong.sum())} of {numbers.size} are outside)."
        )


class PositionalEmbedding(Module):
    """Adds to each vector of a sequence what says where it stands.  x: (..., t, d) with t <= length -> the same shape.

    kind="learned": weight (length, d), starting normal with standard deviation 0.02, as GPT-2's.
    kind="sinusoidal": nothing is learned; row t holds sin(t / 10000^(2i/d)) in column 2i and cos of the same in
    column 2i + 1 (Vaswani et al. 2017, arXiv:1706.03762, section 3.5). d is even then.
    init, key, dtype: as for `Linear`; a float32 table makes the result float32.

    Raises ShapeError for a sequence longer than `length`, or of vectors that are not of length d.

    >>> positions = PositionalEmbedding(16, 4, kind="sinusoidal")
    >>> positions(np.zeros((2, 4))).data
    array([[0.        , 1.        , 0.        , 1.        ],
           [0.84147096, 0.5403023 , 0.00999983, 0.99995   ]], dtype=float32)
    """

    def __init__(
        self,
        length: int,
        d: int,
        kind: str = "learned",
        *,
        init: Any = None,
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.length, self.d = count_of(length, "PositionalEmbedding: length"), count_of(d, "PositionalEmbedding: d")
        self.kind = kind
        if kind == "learned":
            start = _small if init is None else init
            self.weight: Any = Parameter(started(start, as_key(key), (self.length, self.d), dtype))
        elif kind == "sinusoidal":
            self.weight = sinusoids(self.length, self.d, dtype)
        else:
            raise DomainError(f"PositionalEmbedding: kind={kind!r}; it is 'learned' or 'sinusoidal'.")

    def forward(self, x: Any) -> Value:
        """x: (..., t, d) -> (..., t, d)."""
        x = as_input(x, self.weight.dtype)
        if x.ndim < 2 or x.shape[-1] != self.d or x.shape[-2] > self.length:
            raise ShapeError(
                f"PositionalEmbedding({self.length}, {self.d}) takes (..., t, {self.d}) with t up to {self.length}, "
                f"and was given {describe(x)}, of shape {x.shape}."
            )
        steps = x.shape[-2]
        table = self.weight
        if isinstance(table, Value):
            table = table if steps == self.length else getitem(table, slice(0, steps))
        else:
            table = table[:steps]
        return add(x, table)


def _small(key: Any, shape: Any, fan_in: Any = None, fan_out: Any = None, dtype: Any = "float32") -> Any:
    return normal(key, shape, dtype=dtype, std=0.02)


def sinusoids(length: int, d: int, dtype: Any = "float32") -> np.ndarray[Any, Any]:
    """The table of Vaswani et al. 2017, section 3.5: (length, d), read-only. Raises DomainError for odd d.

    >>> sinusoids(2, 2, "float64")[1].round(6).tolist()      # sin(1), cos(1)
    [0.841471, 0.540302]
    """
    if d % 2:
        raise DomainError(f"sinusoids come in pairs of sin and cos, so d={d} must be even; take {d + 1}.")
    angle = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, d, 2) / d)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, d).astype(as_dtype(dtype))
    table.setflags(write=False)
    return table
