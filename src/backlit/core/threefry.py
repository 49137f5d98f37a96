"""Random numbers that are a pure function of a key and an index: Threefry-2x32-20 in NumPy.

There is no hidden state. Word `i` of the stream of `key` is always the same number, on every machine: a
slice of a stream is the stream drawn with an offset, and two draws with one key are equal (so `split` a key
to get fresh numbers).

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. JAX uses the
same cipher; the layout of the counter below is our own, so the streams differ from JAX's.

Counter of a block (two 32-bit words in, two out): word 0 is the low half of the block's number; the low 30
bits of word 1 are the high half, and its top 2 bits say what the block is for (the stream, `split`,
`fold_in`, a redraw of `randint`). So making a child key never encrypts a counter that the stream of its
parent uses.

The same everywhere: only integer arithmetic, + - * /, `sqrt` and `frexp` are used, which IEEE 754
makes exact or fixes to the last bit; `log` differs between maths libraries, so `normal` brings its own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DomainError, DtypeError, ShapeError

__all__ = [
    "Key",
    "fold_in",
    "key_from_seed",
    "ndtri",
    "normal",
    "permutation",
    "randint",
    "random_bits",
    "split",
    "threefry2x32",
    "uniform",
    "uniform01",
]

Words: TypeAlias = npt.NDArray[np.uint32]
Floats: TypeAlias = npt.NDArray[np.float64]
Key: TypeAlias = tuple[int, int] | Words
"""Two 32-bit words: a tuple of ints or a uint32 array of shape (2,)."""

_MASK = 0xFFFF_FFFF
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # the paper's table 2, N=2, W=32; alternating, 4 rounds each
_SHIFTS = tuple(tuple((np.uint32(r), np.uint32(32 - r)) for r in group) for group in ROTATIONS)
PARITY = 0x1BD1_1BDA  # the key schedule's third word is k0 ^ k1 ^ PARITY


class Purpose:
    """The top 2 bits of the counter: one domain for each use of a key."""

    STREAM, SPLIT, FOLD, REDRAW = range(4)


_CHUNK = 1 << 14  # blocks at a time: the three uint32 work arrays (192 KiB) stay in the L2 cache
_FEW = 10  # up to here Python ints (4 us a block) beat NumPy (55 us for any small number of blocks)


# The cipher


def threefry2x32(key: Key, x0: npt.ArrayLike, x1: npt.ArrayLike) -> tuple[Words, Words]:
    """The block cipher: counters `x0`, `x1` (*s) uint32 -> two arrays (*s) uint32, broadcast together.

    >>> y0, y1 = threefry2x32((0, 0), [0], [0])     # a published known answer
    >>> hex(y0[0]), hex(y1[0])
    ('0x6b200159', '0x99ba4efe')
    """
    k0, k1 = _key_words(key)
    a, b = np.broadcast_arrays(np.asarray(x0, np.uint32), np.asarray(x1, np.uint32))
    shape = a.shape
    y0, y1 = a.reshape(-1).copy(), b.reshape(-1).copy()
    _encrypt(k0, k1, y0, y1, np.empty_like(y0))
    return y0.reshape(shape), y1.reshape(shape)


def _encrypt(k0: int, k1: int, x0: Words, x1: Words, scratch: Words) -> None:
    """Encrypt the blocks `x0`, `x1` (n,) in place. Arrays of uint32 wrap around, as the cipher asks."""
    schedule = (k0, k1, k0 ^ k1 ^ PARITY)
    np.add(x0, np.uint32(k0), out=x0)
    np.add(x1, np.uint32(k1), out=x1)
    for group in range(5):
        for left, right in _SHIFTS[group % 2]:
            np.add(x0, x1, out=x0)
            np.left_shift(x1, left, out=scratch)
            np.right_shift(x1, right, out=x1)
            np.bitwise_or(x1, scratch, out=x1)
            np.bitwise_xor(x1, x0, out=x1)
        np.add(x0, np.uint32(schedule[(group + 1) % 3]), out=x0)
        np.add(x1, np.uint32((schedule[(group + 2) % 3] + group + 1) & _MASK), out=x1)


def _encrypt_ints(k0: int, k1: int, x0: int, x1: int) -> tuple[int, int]:
    """One block with Python ints: the fast way for a few blocks. A test holds it equal to `_encrypt`."""
    schedule = (k0, k1, k0 ^ k1 ^ PARITY)
    x0 = (x0 + k0) & _MASK
    x1 = (x1 + k1) & _MASK
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = (x0 + x1) & _MASK
            x1 = (((x1 << rotation) & _MASK) | (x1 >> (32 - rotation))) ^ x0
        x0 = (x0 + schedule[(group + 1) % 3]) & _MASK
        x1 = (x1 + schedule[(group + 2) % 3] + group + 1) & _MASK
    return x0, x1


def _blocks(key: tuple[int, int], first: int, count: int, domain: int = Purpose.STREAM) -> Words:
    """Blocks `first` to `first + count` of one domain of `key`: (count, 2) uint32."""
    k0, k1 = key
    out = np.empty((count, 2), np.uint32)
    if count <= _FEW:
        for i in range(count):
            low, high = _counter(first + i, domain)
            out[i] = _encrypt_ints(k0, k1, low, high)
        return out
    scratch = np.empty(min(count, _CHUNK), np.uint32)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        index = np.arange(first + start, first + stop, dtype=np.uint64)
        x0 = index.astype(np.uint32)  # keeps the low 32 bits
        x1 = (index >> np.uint64(32)).astype(np.uint32)
        x1 |= np.uint32(domain << 30)
        _encrypt(k0, k1, x0, x1, scratch[: stop - start])
        out[start:stop, 0] = x0
        out[start:stop, 1] = x1
    return out


def _counter(block: int, domain: int) -> tuple[int, int]:
    return block & _MASK, (block >> 32) | (domain << 30)


# Keys


def key_from_seed(seed: SupportsIndex) -> Words:
    """The key of a seed: its high and low 32 bits, as (2,) uint32.

    Any int from -2**63 to 2**64 - 1; a negative one is taken modulo 2**64 (so -1 and 2**64 - 1 are one seed).
    Raises: DtypeError for anything but an int, DomainError outside the range.

    >>> key_from_seed(7)
    array([0, 7], dtype=uint32)
    """
    value = _int64(seed, "seed")
    return np.array([value >> 32, value & _MASK], np.uint32)


def split(key: Key, num: int = 2) -> Words:
    """`num` new keys made from `key`: (num, 2) uint32.

    Independent of each other and of the numbers drawn with `key`. `split(key, 3)` begins with `split(key,
    2)`.

    >>> split(key_from_seed(0), 2).shape
    (2, 2)
    """
    count = _count(num, "num")
    if count > 1 << 32:
        raise DomainError(f"split: num = {count}, but one key has 2**32 children; split a child for more.")
    return _blocks(_key_words(key), 0, count, Purpose.SPLIT)


def fold_in(key: Key, data: SupportsIndex) -> Words:
    """A new key made from `key` and a number (a step, a layer, a worker), (2,) uint32.

    Different numbers give different keys (for one `key`, the map is one to one). Range of `data` as in
    `key_from_seed`.

    >>> key = key_from_seed(0)
    >>> fold_in(key, 1).tolist() == fold_in(key, 2).tolist()
    False
    """
    value = _int64(data, "data")
    inner = _encrypt_ints(*_key_words(key), *_counter(0, Purpose.FOLD))
    return np.array(_encrypt_ints(*inner, value & _MASK, value >> 32), np.uint32)


# Streams


def random_bits(key: Key, n: int, offset: int = 0) -> Words:
    """Words `offset` to `offset + n` of the stream of `key`: (n,) uint32, all values equally likely.

    Cost: 10 to 15 ns a word and at most 60 us a call. Memory: 4 bytes a word.

    >>> key = key_from_seed(0)
    >>> bool((random_bits(key, 10)[3:] == random_bits(key, 7, offset=3)).all())
    True
    """
    words = _key_words(key)
    count, start = _range(n, offset, words_each=1)
    first, skip = divmod(start, 2)
    blocks = _blocks(words, first, (skip + count + 1) // 2)
    return blocks.reshape(-1)[skip : skip + count]


def uniform01(bits: npt.NDArray[Any], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """Random words as numbers in [0, 1), never 1.

    Equally likely multiples of 2**-53 (float64), 2**-24 (float32) or 2**-11 (float16).
    bits: (n,) uint32 -> (n,); float64 takes two words a number, high word first: -> (n/2,).

    >>> uniform01(np.array([0x8000_0000, 0], np.uint32))
    array([0.5])
    """
    kind = _float_dtype(dtype, "uniform01")
    if bits.dtype != np.uint32 or bits.ndim != 1:
        raise DtypeError(
            f"uniform01: bits must be a vector of uint32, got {bits.dtype} of shape {bits.shape}; "
            "draw it with random_bits."
        )
    if kind == np.float64:
        if bits.size % 2:
            raise ShapeError(
                f"uniform01: float64 takes two words for one number, and {bits.size} words are odd; "
                "pass an even number of words."
            )
        return _unit_float64(bits.reshape(-1, 2))
    return _unit_small(bits, kind)


def _unit_float64(blocks: Words) -> Floats:
    top = _join(blocks) >> np.uint64(11)
    return top.astype(np.float64) * 2.0**-53


def _unit_small(bits: Words, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    precision = (
        24 if kind == np.float32 else 11
    )  # bits of the significand: every multiple is exact, and 1 is not reached
    return ((bits >> np.uint32(32 - precision)).astype(np.float32) * np.float32(2.0**-precision)).astype(
        kind, copy=False
    )


def uniform(key: Key, n: int, dtype: npt.DTypeLike = np.float64, offset: int = 0) -> npt.NDArray[Any]:
    """Numbers `offset` to `offset + n` of the uniform stream on [0, 1): (n,) of `dtype`, as by `uniform01`.

    >>> x = uniform(key_from_seed(0), 1000)
    >>> bool(x.min() >= 0), bool(x.max() < 1)
    (True, True)
    """
    words = _key_words(key)
    kind = _float_dtype(dtype, "uniform")
    if kind == np.float64:
        count, start = _range(n, offset, words_each=2)
        return _in_chunks(count, kind, lambda a, size: _unit_float64(_blocks(words, start + a, size)))
    count, start = _range(n, offset, words_each=1)
    return _in_chunks(count, kind, lambda a, size: _unit_small(random_bits(key, size, start + a), kind))


def normal(key: Key, n: int, dtype: npt.DTypeLike = np.float64, offset: int = 0) -> npt.NDArray[Any]:
    """Numbers `offset` to `offset + n` of the standard normal stream: (n,) of `dtype`, mean 0, variance 1.

    By inversion: one bit is the sign, the others say how far out in the tail: 63 bits for float64 (two
    words, |z| at most 9.2), 31 for float32 and float16 (one word, |z| at most 6.4; computed in float64,
    then rounded). Exactly symmetric. The quantile is `ndtri`'s and, as it needs no maths library, the
    stream is the same to the last bit everywhere. Cost: 60 to 70 ns a number.

    >>> z = normal(key_from_seed(0), 100_000)
    >>> bool(abs(z.mean()) < 0.01), bool(abs(z.std() - 1) < 0.01)
    (True, True)
    """
    words = _key_words(key)
    kind = _float_dtype(dtype, "normal")
    if kind == np.float64:
        count, start = _range(n, offset, words_each=2)
        return _in_chunks(count, kind, lambda a, size: _normal_of_64(_join(_blocks(words, start + a, size))))
    count, start = _range(n, offset, words_each=1)
    return _in_chunks(count, kind, lambda a, size: _normal_of_32(random_bits(key, size, start + a)))


def _normal_of_64(bits: npt.NDArray[np.uint64]) -> Floats:
    inward = (bits & np.uint64(2**63 - 1)).astype(np.int64)  # 0 is the far end of the tail
    tail = (inward.astype(np.float64) + 0.5) * 2.0**-64
    center = ((np.int64(2**63 - 1) - inward).astype(np.float64) + 0.5) * 2.0**-64  # 1/2 - tail, without cancellation
    return _signed(_upper_quantile(tail, center), bits >> np.uint64(63))


def _normal_of_32(bits: Words) -> Floats:
    tail = ((bits & np.uint32(2**31 - 1)).astype(np.float64) + 0.5) * 2.0**-32
    return _signed(_upper_quantile(tail, 0.5 - tail), bits >> np.uint32(31))


def _signed(z: Floats, minus: npt.NDArray[Any]) -> Floats:
    z *= 1.0 - 2.0 * minus.astype(np.float64)
    return z


def permutation(key: Key, n: int) -> npt.NDArray[np.int64]:
    """A random order of 0 ... n-1: (n,) int64.

    Sorts one random 64-bit number for each item; equal numbers, which occur with probability below n**2 /
    2**65, keep their order. That is the only bias.

    >>> sorted(permutation(key_from_seed(0), 5).tolist())
    [0, 1, 2, 3, 4]
    """
    words = _key_words(key)
    count, _ = _range(n, 0, words_each=2)
    return np.argsort(_join(_blocks(words, 0, count)), kind="stable").astype(np.int64, copy=False)


def randint(key: Key, n: int, low: SupportsIndex, high: SupportsIndex, offset: int = 0) -> npt.NDArray[np.int64]:
    """Integers `offset` to `offset + n` of the stream on low, ..., high - 1: (n,) int64.

    Exactly equally likely: a 64-bit number modulo (high - low), where one of the last, incomplete round is
    drawn again, at the same index from a key of its own, so that an integer never depends on its
    neighbours. Raises: DomainError unless -2**63 <= low < high <= 2**63.

    >>> dice = randint(key_from_seed(0), 1000, 1, 7)
    >>> int(dice.min()), int(dice.max())
    (1, 6)
    """
    words = _key_words(key)
    count, start = _range(n, offset, words_each=2)
    least, end = _int(low, "low"), _int(high, "high")
    if not -(2**63) <= least < end <= 2**63:
        raise DomainError(
            f"randint: low = {least}, high = {end}: needs -2**63 <= low < high <= 2**63 (high itself is never drawn)."
        )
    return _in_chunks(count, np.dtype(np.int64), lambda a, size: _integers(words, start + a, size, least, end - least))


def _integers(key: tuple[int, int], first: int, count: int, low: int, span: int) -> npt.NDArray[np.int64]:
    bits = _join(_blocks(key, first, count))
    if incomplete := 2**64 % span:
        last = np.uint64(2**64 - incomplete - 1)  # the last number of the last complete round
        attempt = 0
        while (again := np.flatnonzero(bits > last)).size:
            attempt += 1
            redraw_key = _encrypt_ints(*key, *_counter(attempt, Purpose.REDRAW))
            index = again.astype(np.uint64) + np.uint64(first)
            y0, y1 = threefry2x32(redraw_key, index & np.uint64(_MASK), index >> np.uint64(32))
            bits[again] = _join(np.stack([y0, y1], axis=1))
    if span < 2**64:
        bits %= np.uint64(span)
    bits += np.uint64(low % 2**64)  # wraps around: two's complement
    return bits.view(np.int64)


# The quantile of the normal distribution

# Wichura 1988, algorithm AS 241 (PPND16), Applied Statistics 37(3), 477-484, doi:10.2307/2347330: three
# ratios of polynomials of degree 7, highest power first, with relative error about 1e-16.
_CENTER = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852854561, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
     5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0),
)  # fmt: skip
_TAIL = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
)  # fmt: skip
_FAR_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
     0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
     0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0),
)  # fmt: skip


def ndtri(p: npt.ArrayLike) -> Floats:
    """The quantile of the standard normal distribution: the z with P(Z <= z) = p.

    p: (*s) in [0, 1] -> (*s) float64. Relative error below 1e-15. At the edges: 0 gives -inf, 1 gives inf;
    outside [0, 1], NaN. Source: Wichura 1988, algorithm AS 241, doi:10.2307/2347330.

    >>> float(ndtri(0.5)), round(float(ndtri(0.975)), 6)
    (0.0, 1.959964)
    """
    given = np.asarray(p, np.float64)
    flat = given.reshape(-1)
    inside = (flat > 0) & (flat < 1)
    x = np.where(inside, flat, 0.5)
    upper = x > 0.5
    tail = np.where(upper, 1.0 - x, x)
    z = _upper_quantile(tail, np.abs(x - 0.5))
    z = np.where(upper, z, 0.0 - z)
    edge = np.where(flat == 0, -np.inf, np.where(flat == 1, np.inf, np.nan))
    return np.where(inside, z, edge).reshape(given.shape)


def _upper_quantile(tail: Floats, center: Floats) -> Floats:
    """The z >= 0 with P(Z > z) = tail.  tail: (n,); center: (n,), 1/2 - tail without its cancellation."""
    z = center * _ratio(_CENTER, 0.180625 - center * center)
    outer = np.flatnonzero(center > 0.425)  # 15 of 100
    if outer.size:
        r = np.sqrt(-_log(tail[outer]))
        z[outer] = _ratio(_TAIL, r - 1.6)
        far = np.flatnonzero(r > 5.0)  # 3 of 10**11
        if far.size:
            z[outer[far]] = _ratio(_FAR_TAIL, r[far] - 5.0)
    return z


def _ratio(coefficients: tuple[Sequence[float], Sequence[float]], x: Floats) -> Floats:
    top, bottom = (_polynomial(c, x) for c in coefficients)
    top /= bottom
    return top


def _polynomial(coefficients: Sequence[float], x: Floats) -> Floats:
    """Horner's rule, highest power first; each step is rounded, as not every machine can fuse two of them."""
    total = coefficients[0] * x
    for c in coefficients[1:-1]:
        total += c
        total *= x
    total += coefficients[-1]
    return total


_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # the first 31 bits of ln 2: its product with an exponent is exact
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_ATANH = tuple(1.0 / (2 * k + 1) for k in range(11, 0, -1))  # s**2/3 + s**4/5 + ...; the next term is below 3e-20


def _log(x: Floats) -> Floats:
    """Natural logarithm of positive numbers, with operations that are exact or correctly rounded everywhere.

    x = m * 2**e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s) with s = (m - 1)/(m + 1), |s| < 0.172,
    by its Taylor series. Within 2 units in the last place.
    """
    m, e = np.frexp(x)
    small = m < math.sqrt(0.5)
    m = np.where(small, 2.0 * m, m)
    exponent = e.astype(np.float64) - small
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    log_m = 2.0 * s + 2.0 * s * (_polynomial((*_ATANH, 0.0), square))
    return exponent * _LN2_HIGH + (exponent * _LN2_LOW + log_m)


# Small helpers


def _join(blocks: Words) -> npt.NDArray[np.uint64]:
    """(n, 2) uint32 -> (n,) uint64, first word high (by arithmetic, so whatever the machine's byte order)."""
    joined = blocks[:, 0].astype(np.uint64)
    joined <<= np.uint64(32)
    joined |= blocks[:, 1]
    return joined


def _in_chunks(n: int, dtype: np.dtype[Any], draw: Callable[[int, int], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """(n,) filled piece by piece with draw(start, size), so that what is in between fits in the cache."""
    out = np.empty(n, dtype)
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        out[start : start + size] = draw(start, size)
    return out


def _key_words(key: Any) -> tuple[int, int]:
    remedy = "make a key with key_from_seed(seed), or take one row of split(key, num)."
    if isinstance(key, np.ndarray):
        if key.dtype.kind not in "ui":
            raise DtypeError(f"A random key is two uint32 words, got an array of {key.dtype}; {remedy}")
        if key.shape != (2,):
            raise ShapeError(f"A random key has shape (2,), got an array of shape {key.shape}; {remedy}")
        key = key.tolist()
    if not isinstance(key, (tuple, list)):
        raise DtypeError(f"A random key is two uint32 words, got {key!r} ({type(key).__name__}); {remedy}")
    if len(key) != 2:
        raise ShapeError(f"A random key is two uint32 words, got {len(key)} of them; {remedy}")
    k0, k1 = (_int(word, "a word of the key") for word in key)
    if not (0 <= k0 <= _MASK and 0 <= k1 <= _MASK):
        raise DomainError(f"The words of a random key lie in 0 ... 2**32 - 1, got ({k0}, {k1}); {remedy}")
    return k0, k1


def _int(value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise DtypeError(f"{name} must be an int, got {value!r} ({type(value).__name__}).") from None


def _int64(value: Any, name: str) -> int:
    number = _int(value, name)
    if not -(2**63) <= number < 2**64:
        raise DomainError(f"{name} must be an int from -2**63 to 2**64 - 1, got {number}; reduce it modulo 2**64.")
    return number % 2**64


def _count(value: Any, name: str) -> int:
    number = _int(value, name)
    if number < 0:
        raise DomainError(f"{name} must not be negative, got {number}.")
    return number


def _range(n: Any, offset: Any, *, words_each: int) -> tuple[int, int]:
    """`n` and `offset` as ints, checked against the length of a stream, 2**63 words."""
    count, start = _count(n, "n"), _count(offset, "offset")
    if (start + count) * words_each > 2**63:
        raise DomainError(
            f"offset {start} + n {count} passes the end of a stream (2**63 words); split the key instead."
        )
    return count, start


def _float_dtype(dtype: npt.DTypeLike, function: str) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind not in (np.float64, np.float32, np.float16):
        raise DtypeError(f"{function}: dtype must be float64, float32 or float16, got {kind}.")
    return kind
