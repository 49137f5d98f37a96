"""Repairs of a gradient that has another shape than its value: sums, transposes, axes of length 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.value import Value
from backlit.explain.hand_words import axes_code, axes_words


@dataclass(frozen=True, slots=True)
class Way:
    """A way to bring an array into the shape it must have, and the array that it gives."""

    kind: str
    text: str
    fix: str
    cost: float
    array: Any


def reshaped(given: Any, x: Value, right: Any, d: str) -> Iterator[Way]:
    """All small repairs of shape, the likeliest first. d: what the gradient is called.

    >>> [way.fix for way in reshaped(np.ones((4, 3)), Value(np.zeros(3)), np.zeros(3), "db")]
    ['db.sum(0)', 'db.mean(0)']
    """
    shape, have = shape_of(x._data), given.shape
    for count in range(1, len(have) + 1):
        for axes in combinations(range(len(have)), count):
            for keepdims in (False, True):
                total = given.sum(axis=axes, keepdims=keepdims)
                if total.shape != shape or all(have[a] == 1 for a in axes):
                    continue
                code = f".sum({axes_code(axes, keepdims)})"
                text = f"add `{code}`, the sum over {axes_words(axes, have)}"
                yield Way("missing sum", text, d + code, 0.3, total)
                code = code.replace(".sum", ".mean")
                text = f"take the mean over {axes_words(axes, have)}, `{code}`"
                yield Way("missing mean", text, d + code, 1.0, given.mean(axis=axes, keepdims=keepdims))
    for axes in permutations(range(len(have))):
        turned = given.transpose(axes)
        if turned.shape == shape:
            code = ".T" if axes == tuple(range(len(have)))[::-1] else f".transpose{axes}"
            yield Way("transpose", f"add `{code}`", d + code, 0.2, turned)
    if given.size == np.prod(shape, dtype=int):
        same = tuple(n for n in have if n != 1) == tuple(n for n in shape if n != 1)
        text = f"give it the shape of the value, `{d}.reshape({shape})`"
        if same:
            text += ": the axes of length 1 differ (`keepdims`)"
        kind, cost = ("keepdims", 0.2) if same else ("wrong shape", 1.0)
        yield Way(kind, text, f"{d}.reshape({shape})", cost, given.reshape(shape))
        if not same:
            filled = given.reshape(shape, order="F")
            yield Way("wrong shape", f"{text}, column by column", f"{d}.reshape({shape}, order='F')", 1.3, filled)
    try:
        wide = np.broadcast_to(given, shape)
    except ValueError:
        return
    if wide.shape == shape and given.size < wide.size:
        text = f"spread it to the shape of the value, `{d} * ones({shape})`: each element has its own gradient"
        yield Way("missing broadcast", text, f"np.broadcast_to({d}, {shape})", 0.4, wide)
