"""Random bits inside a compiled graph: the cipher of `core.threefry`, step by step as nodes of `g`.

`g` is the compiler's graph, as a `lower` of an op is given it; nothing of the compiler is imported here. The numbers
are those that `core.threefry` draws, bit for bit.
"""

from __future__ import annotations

from typing import Any

from backlit.core import dtypes
from backlit.core.threefry import PARITY, ROTATIONS, Purpose

U32, I64 = dtypes.uint32, dtypes.int64


def encrypt(g: Any, k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """One block of the cipher for each element; all uint32."""
    third = g.map("bitwise_xor", g.map("bitwise_xor", k0, k1), g.number(PARITY, U32))
    schedule = (k0, k1, third)
    x0, x1 = g.map("add", x0, k0), g.map("add", x1, k1)
    for group in range(5):
        for by in ROTATIONS[group % 2]:
            x0 = g.map("add", x0, x1)
            left = g.map("bitwise_left_shift", x1, g.number(by, U32))
            right = g.map("bitwise_right_shift", x1, g.number(32 - by, U32))
            x1 = g.map("bitwise_xor", g.map("bitwise_or", left, right), x0)
        x0 = g.map("add", x0, schedule[(group + 1) % 3])
        x1 = g.map("add", x1, g.map("add", schedule[(group + 2) % 3], g.number(group + 1, U32)))
    return x0, x1


def words(g: Any, key: Any) -> tuple[Any, Any]:
    """The two words of a key, (2,) uint32."""
    return g.view(key, (), [0], [[]]), g.view(key, (), [1], [[]])


def fold_in(g: Any, key: tuple[Any, Any], number: Any) -> tuple[Any, Any]:
    """The key made from a key and a whole number."""
    inner = encrypt(g, *key, g.number(0, U32), g.number(Purpose.FOLD << 30, U32))
    number = g.cast(number, I64)
    high = g.map("bitwise_right_shift", number, g.number(32, I64))
    return encrypt(g, *inner, g.cast(number, U32), g.cast(high, U32))


def bits(g: Any, key: tuple[Any, Any], n: int) -> Any:
    """The first `n` words of a key's stream, (n,) uint32."""
    blocks = -(-n // 2)
    index = g.iota((blocks, 2), 0)
    high = g.map("bitwise_or", g.cast(g.map("bitwise_right_shift", index, g.number(32, I64)), U32), g.number(0, U32))
    y0, y1 = encrypt(g, *key, g.cast(index, U32), high)
    first = g.map("equal", g.iota((blocks, 2), 1), g.number(0, I64), dtype=dtypes.bool)
    both = g.reshape(g.map("where", first, y0, y1, dtype=U32), (2 * blocks,))
    return both if 2 * blocks == n else g.view(both, (n,), [0], [[1]])
