"""Random graphs for the tests of drawings."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from hypothesis import strategies as st

import backlit as bl


@st.composite
def graphs(draw: st.DrawFn, most: int = 40) -> bl.Value:
    """A scalar graph of sums, products, tanh and relu, parts of it in scopes that are entered again and again."""
    leaves = [bl.Value(draw(st.floats(-2, 2)), name=f"x{i}") for i in range(draw(st.integers(1, 4)))]
    pool: list[Any] = list(leaves)
    for _ in range(draw(st.integers(1, most))):
        a, b = (pool[-1 - draw(st.integers(0, min(len(pool) - 1, 6)))] for _ in range(2))
        scope = draw(st.sampled_from([None, None, "f", "g"]))
        with nullcontext() if scope is None else bl.scope(scope):
            kind = draw(st.integers(0, 4))
            if kind == 0:
                pool.append(a + b)
            elif kind == 1:
                pool.append(a * b)
            elif kind == 2:
                pool.append(bl.tanh(a) * b)
            elif kind == 3:
                pool.append(bl.relu(a) + 0.5)
            else:
                pool.append((a - b) * 0.25)
    return pool[-1] + sum(leaves)
