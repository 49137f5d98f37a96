"""What a drawing costs."""

from __future__ import annotations

from collections.abc import Callable
from timeit import repeat

import pytest

import backlit as bl
from backlit.draw import draw


def net(inputs: int = 8, hidden: int = 11) -> bl.Value:
    """The scalar graph of a small net, of about 300 nodes with the default sizes."""
    hs = [bl.Value(0.1 * i) for i in range(inputs)]
    zs = []
    for j in range(hidden):
        z = bl.Value(0.01 * j)
        for i, h in enumerate(hs):
            z = z + bl.Value(0.05 * (i - j)) * h
        zs.append(bl.tanh(z))
    y = zs[0]
    for z in zs[1:]:
        y = y + z
    return y


def chain(length: int) -> bl.Value:
    x = bl.Value(1.0)
    for _ in range(length // 2):
        x = bl.tanh(x) * x
    return x


@pytest.mark.slow
@pytest.mark.parametrize("make", [net, lambda: chain(299)], ids=["net", "chain"])
def test_three_hundred_nodes_are_drawn_in_a_tenth_of_a_second(make: Callable[[], bl.Value]) -> None:
    output = make()
    output.backward()
    times = repeat(lambda: draw(output, limit=500).svg, number=1, repeat=12)  # without the garbage collector
    drawing = draw(output, limit=500)
    assert 290 <= len(drawing.picture.nodes) <= 325
    assert min(times) < 0.1


def test_a_graph_of_a_hundred_thousand_nodes_is_drawn_folded() -> None:
    drawing = draw(chain(100_000), backward=True)
    assert len(drawing.picture.nodes) <= 300
    assert drawing.svg
    assert str(drawing)
