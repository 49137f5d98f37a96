"""Initialisers: the numbers that weights start from, each a function of a random key and a shape.

All are called alike, `initialiser(key, shape, fan_in=None, fan_out=None, dtype="float32")`, and give a NumPy array.
A weight of shape (n_in, n_out) has fan_in = n_in, the numbers that meet in one unit, and fan_out = n_out, the units
that one number goes to; axes before the last two stand for separate matrices. Name the fans where that does not hold.

Numbers are drawn in float64 and rounded to the dtype, so one key starts a float32 and a float64 model alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from backlit.core import dtypes, threefry
from backlit.core.dtypes import as_dtype
from backlit.core.errors import DomainError, DtypeError, ShapeError
from backlit.core.numbers import Shape
from backlit.core.value import Value
from backlit.ops import random

Array = np.ndarray[Any, Any]


class Initialiser(Protocol):
    """How every initialiser is called."""

    def __call__(
        self,
        key: Any,
        shape: Sequence[int],
        fan_in: int | None = None,
        fan_out: int | None = None,
        dtype: Any = "float32",
    ) -> Any:
        """The numbers to start from."""


# -- keys ----------------------------------------------------------------------------------------------------


class _Fresh:
    """Where layers made without a key get one: the seed of the process, and how many were given out."""

    def __init__(self) -> None:
        self.seed, self.given = 0, 0


_FRESH = _Fresh()


def seed(number: int) -> None:
    """Start over with the keys of layers that are made without one.

    A layer with `key=None` takes the next key of a sequence that begins at seed 0 when the process starts. So a script
    that makes its layers in one order starts from the same numbers on every run, and no two layers are alike; but a
    layer put before the others shifts theirs. Give a model a key of its own, `MLP(2, [16, 1], key=7)`, where that
    matters: then its numbers follow from the key alone. Raises DomainError for a number outside -2**63 to 2**64 - 1.

    >>> seed(3); first = fresh_key()
    >>> seed(3); first == fresh_key(), first == fresh_key()
    (True, False)
    """
    random.key(number)  # refuses what is no seed
    _FRESH.seed, _FRESH.given = number, 0


def fresh_key() -> random.Key:
    """The next key of the process, for what is made without one; see `seed`."""
    _FRESH.given += 1
    return random.fold_in(random.key(_FRESH.seed), _FRESH.given - 1)


@contextmanager
def keys_kept() -> Iterator[None]:
    """Whatever layers are made within, those made afterwards get the keys that they would have got without.

    >>> seed(3); first = fresh_key(); seed(3)
    >>> with keys_kept():
    ...     second = fresh_key()
    >>> first == second == fresh_key()
    True
    """
    before = _FRESH.seed, _FRESH.given
    try:
        yield
    finally:
        _FRESH.seed, _FRESH.given = before


def as_key(key: Any) -> random.Key:
    """A key for what layers take as `key`: a key, a whole number (its seed), or None for a fresh one.

    >>> as_key(7)
    Key(0, 7)
    """
    if key is None:
        return fresh_key()
    return key if isinstance(key, random.Key) else random.key(key)


# -- fans ----------------------------------------------------------------------------------------------------


def _fans(name: str, shape: Shape, fan_in: int | None, fan_out: int | None) -> tuple[int, int]:
    if fan_in is None or fan_out is None:
        if not shape:
            raise ShapeError(
                f"{name}: a number without axes has no fans; name fan_in and fan_out, or start it from a constant."
            )
        fan_in = shape[-2 if len(shape) > 1 else 0] if fan_in is None else fan_in
        fan_out = shape[-1] if fan_out is None else fan_out
    if fan_in < 1 or fan_out < 1:
        raise DomainError(f"{name}: fan_in={fan_in} and fan_out={fan_out}; both count units and are at least 1.")
    return fan_in, fan_out


def gain_of(nonlinearity: str, slope: float = 0.01) -> float:
    """By how much weights before a nonlinearity are larger than before none, to keep the spread of what flows.

    1 for "linear" and "sigmoid", 5/3 for "tanh", sqrt(2) for "relu" (He et al. 2015, equation 10),
    sqrt(2 / (1 + slope²)) for "leaky_relu" (equation 15); "elu", "gelu", "silu" and "softplus" are taken as relu, of
    which they are smooth forms. The same as PyTorch's where both have one. Raises DomainError for other names.

    >>> gain_of("relu") ** 2
    2.0000000000000004
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity not in _GAINS:
        raise DomainError(
            f"there is no gain known for the nonlinearity {nonlinearity!r}; choose one of {', '.join(_GAINS)}, "
            "leaky_relu, or pass gain=..., the factor itself."
        )
    return _GAINS[nonlinearity]


_ROOT_TWO = math.sqrt(2.0)
_GAINS = {
    **dict.fromkeys(("linear", "identity", "sigmoid", "softmax"), 1.0),
    "tanh": 5.0 / 3.0,
    **dict.fromkeys(("relu", "elu", "gelu", "silu", "softplus"), _ROOT_TWO),
}


def _even(key: Any, shape: Sequence[int], bound: float, dtype: Any) -> Array:
    """Evenly distributed in [-bound, bound)."""
    lengths = _lengths(shape)
    numbers = threefry.uniform(as_key(key).words, math.prod(lengths))
    return (bound * (2.0 * numbers - 1.0)).reshape(lengths).astype(_real(dtype))


def _bell(key: Any, shape: Sequence[int], std: float, dtype: Any) -> Array:
    """Normally distributed around 0."""
    lengths = _lengths(shape)
    return (std * threefry.normal(as_key(key).words, math.prod(lengths))).reshape(lengths).astype(_real(dtype))


def _lengths(shape: Any) -> Shape:
    lengths = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if not all(isinstance(n, (int, np.integer)) and n >= 0 for n in lengths):
        raise ShapeError(f"a shape holds whole numbers from 0 up, unlike {shape!r}.")
    return tuple(int(n) for n in lengths)


def _real(dtype: Any) -> np.dtype[Any]:
    kind = as_dtype(dtype)
    if not dtypes.is_real(kind):
        raise DtypeError(f"a weight is learned, so its dtype is float32, float64 or float16, not {kind.name}.")
    return kind


# -- spread from the fans ------------------------------------------------------------------------------------


def xavier_uniform(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    gain: float = 1.0,
) -> Array:
    """Even in ±gain · sqrt(6 / (fan_in + fan_out)): what flows forward and what flows back keep their spread, about.

    Meant for units that are nearly linear around 0, such as tanh. Source: Glorot and Bengio 2010, equation 16.

    >>> bool(abs(xavier_uniform(0, (4, 2))).max() < 1.0), xavier_uniform(0, (4, 2)).dtype
    (True, dtype('float32'))
    """
    n_in, n_out = _fans("xavier_uniform", _lengths(shape), fan_in, fan_out)
    return _even(key, shape, gain * math.sqrt(6.0 / (n_in + n_out)), dtype)


def xavier_normal(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    gain: float = 1.0,
) -> Array:
    """Normal with standard deviation gain · sqrt(2 / (fan_in + fan_out)).

    Source: Glorot and Bengio 2010, equation 12; the normal form of `xavier_uniform`.
    """
    n_in, n_out = _fans("xavier_normal", _lengths(shape), fan_in, fan_out)
    return _bell(key, shape, gain * math.sqrt(2.0 / (n_in + n_out)), dtype)


def _he(
    name: str, shape: Any, fan_in: int | None, fan_out: int | None, nonlinearity: str, slope: float, mode: str
) -> float:
    """The standard deviation of He et al."""
    if mode not in ("fan_in", "fan_out"):
        raise DomainError(f"{name}: mode={mode!r}; it is 'fan_in' (forward keeps its spread) or 'fan_out' (backward).")
    fans = _fans(name, _lengths(shape), fan_in, fan_out)
    return gain_of(nonlinearity, slope) / math.sqrt(fans[mode == "fan_out"])


def kaiming_uniform(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    nonlinearity: str = "relu",
    slope: float = 0.01,
    mode: str = "fan_in",
) -> Array:
    """Even in ±gain · sqrt(3 / fan_in), with the gain of the nonlinearity that follows (`gain_of`), sqrt(2) for relu.

    slope: of "leaky_relu" below 0. mode: "fan_out" keeps the spread of what flows back instead.
    Source: He, Zhang, Ren and Sun 2015, arXiv:1502.01852, section 2.2; their form is `kaiming_normal`.
    """
    std = _he("kaiming_uniform", shape, fan_in, fan_out, nonlinearity, slope, mode)
    return _even(key, shape, math.sqrt(3.0) * std, dtype)


def kaiming_normal(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    nonlinearity: str = "relu",
    slope: float = 0.01,
    mode: str = "fan_in",
) -> Array:
    """Normal with standard deviation gain / sqrt(fan_in), with the gain of the nonlinearity that follows (`gain_of`).

    slope: of "leaky_relu" below 0. mode: "fan_out" keeps the spread of what flows back instead.
    Source: He, Zhang, Ren and Sun 2015, arXiv:1502.01852, equations 10 and 15.
    """
    return _bell(key, shape, _he("kaiming_normal", shape, fan_in, fan_out, nonlinearity, slope, mode), dtype)


def lecun_uniform(
    key: Any, shape: Sequence[int], fan_in: int | None = None, fan_out: int | None = None, dtype: Any = "float32"
) -> Array:
    """Even in ±sqrt(3 / fan_in), so that a unit's sum of inputs with spread 1 has spread 1.

    Source: LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp", equation 16. PyTorch's `Linear` draws its weights
    in ±sqrt(1 / fan_in), a third of this variance.
    """
    return _even(key, shape, math.sqrt(3.0 / _fans("lecun_uniform", _lengths(shape), fan_in, fan_out)[0]), dtype)


def lecun_normal(
    key: Any, shape: Sequence[int], fan_in: int | None = None, fan_out: int | None = None, dtype: Any = "float32"
) -> Array:
    """Normal with standard deviation 1 / sqrt(fan_in).

    Source: LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp", equation 16.
    """
    return _bell(key, shape, 1.0 / math.sqrt(_fans("lecun_normal", _lengths(shape), fan_in, fan_out)[0]), dtype)


# -- the others ----------------------------------------------------------------------------------------------


def orthogonal(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    gain: float = 1.0,
) -> Array:
    """A random matrix whose rows or columns, whichever are fewer, are at right angles and of length `gain`.

    The Q of the QR decomposition of a normal matrix, with the signs of R's diagonal multiplied in: without them Q is
    not evenly distributed (Mezzadri 2007). Axes before the last two stand for separate matrices. The fans play no part.
    The last bits follow NumPy's QR, so they may differ between machines. Raises ShapeError below two axes.
    Source: Saxe, McClelland and Ganguli 2014, arXiv:1312.6120.

    >>> q = orthogonal(0, (3, 3), dtype="float64")
    >>> bool(abs(q.T @ q - np.eye(3)).max() < 1e-14)
    True
    """
    lengths = _lengths(shape)
    if len(lengths) < 2:
        raise ShapeError(f"orthogonal: shape {lengths} is not that of a matrix; a vector may start from another rule.")
    n, m = lengths[-2:]
    tall = (*lengths[:-2], max(n, m), min(n, m))
    q, r = np.linalg.qr(_bell(key, tall, 1.0, dtypes.float64))
    q = q * np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)[..., None, :]
    result = gain * (q if n >= m else np.swapaxes(q, -1, -2))
    return np.ascontiguousarray(result, _real(dtype))


def normal(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    std: float = 1.0,
) -> Array:
    """Normal around 0 with the standard deviation given, whatever the fans; tables of embeddings start so."""
    return _bell(key, shape, std, dtype)


def uniform(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    bound: float = 1.0,
) -> Array:
    """Even in ±bound, whatever the fans."""
    return _even(key, shape, bound, dtype)


def zeros(
    key: Any, shape: Sequence[int], fan_in: int | None = None, fan_out: int | None = None, dtype: Any = "float32"
) -> Array:
    """All 0, as offsets start. Weights of two layers that both start so would never learn: no gradient reaches them."""
    return np.zeros(_lengths(shape), _real(dtype))


def ones(
    key: Any, shape: Sequence[int], fan_in: int | None = None, fan_out: int | None = None, dtype: Any = "float32"
) -> Array:
    """All 1, as scales start."""
    return np.ones(_lengths(shape), _real(dtype))


def constant(number: float) -> Initialiser:
    """The initialiser that makes every element this number.

    >>> constant(0.5)(None, (2,))
    array([0.5, 0.5], dtype=float32)
    """
    return partial(_constant, number=number)


def _constant(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    number: float,
) -> Array:
    return np.full(_lengths(shape), number, _real(dtype))


def from_array(array: Any) -> Initialiser:
    """The initialiser that takes the numbers of an array. Raises ShapeError where they do not have the shape asked for.

    >>> from_array([[1.0, 2.0]])(None, (1, 2))
    array([[1., 2.]], dtype=float32)
    """
    return partial(_from_array, array=np.array(array.data if isinstance(array, Value) else array))


def _from_array(
    key: Any,
    shape: Sequence[int],
    fan_in: int | None = None,
    fan_out: int | None = None,
    dtype: Any = "float32",
    *,
    array: Array,
) -> Array:
    lengths = _lengths(shape)
    if array.shape != lengths:
        turned = " Its transpose has: PyTorch stores weights so; pass array.T." if array.shape == lengths[::-1] else ""
        raise ShapeError(f"from_array: the array has shape {array.shape}, and the layer needs {lengths}.{turned}")
    return np.array(array, _real(dtype))


# -- by name -------------------------------------------------------------------------------------------------

BY_NAME: dict[str, Callable[..., Array]] = {
    f.__name__: f
    for f in (
        *(xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal, lecun_uniform, lecun_normal),
        *(orthogonal, normal, uniform, zeros, ones),
    )
}


def started(
    init: Any, key: Any, shape: Shape, dtype: Any, fan_in: int | None = None, fan_out: int | None = None
) -> Any:
    """The numbers that a parameter starts from: `init` is an initialiser, the name of one, a number, or an array.

    Raises DomainError for an unknown name, ShapeError where an initialiser gives another shape.

    >>> started(0.5, None, (2,), "float64")
    array([0.5, 0.5])
    """
    if isinstance(init, str):
        if init not in BY_NAME:
            raise DomainError(f"there is no initialiser {init!r}; choose one of {', '.join(BY_NAME)}, or a function.")
        init = BY_NAME[init]
    elif isinstance(init, (int, float)):
        init = constant(init)
    elif not callable(init):
        init = from_array(init)
    numbers = np.asarray(init(key, shape, fan_in, fan_out, dtype))
    if numbers.shape != shape:
        raise ShapeError(f"the initialiser {init!r:.60} gave shape {numbers.shape}, and was asked for {shape}.")
    return numbers.astype(_real(dtype), copy=False)
