"""The layered layout: nothing overlaps, edges run forward, trees do not cross, and it is always the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlit.draw.layout import Layout, layered, layers_of


@st.composite
def nets(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    count = draw(st.integers(1, 30))
    sizes = [(draw(st.floats(10, 200)), draw(st.floats(10, 90))) for _ in range(count)]
    edges = [(draw(st.integers(0, b - 1)), b) for b in range(1, count) for _ in range(draw(st.integers(0, 3)))]
    return sizes, edges


def crossings(layout: Layout) -> int:
    """Crossings of the routes, by brute force; edges of one source share their ways and do not count."""
    pieces = [(start, end) for route in layout.routes for start, end in zip(route[::2], route[1::2], strict=True)]
    found = 0
    for i, ((x, y), (x2, y2)) in enumerate(pieces):
        for (u, v), (u2, v2) in pieces[i + 1 :]:
            if (x, x2) == (u, u2) and (y - v) * (y2 - v2) < -1e-6:
                found += 1
    return found


@given(nets(), st.booleans())
def test_no_two_nodes_overlap(net: tuple[list[tuple[float, float]], list[tuple[int, int]]], down: bool) -> None:
    sizes, edges = net
    layout = layered(sizes, edges, down=down)
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(layout.centres, sizes, strict=True)]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= -0.1
        assert top >= -0.1
        assert right <= layout.width + 0.1
        assert bottom <= layout.height + 0.1
        for other in boxes[i + 1 :]:
            assert (
                left >= other[2] - 0.1 or right <= other[0] + 0.1 or top >= other[3] - 0.1 or bottom <= other[1] + 0.1
            )


@given(nets())
def test_every_edge_runs_forward_from_its_source_to_its_target(
    net: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    sizes, edges = net
    layout = layered(sizes, edges)
    for (a, b), route in zip(edges, layout.routes, strict=True):
        xs = [x for x, _ in route]
        assert xs == sorted(xs)
        assert xs[0] == pytest.approx(layout.centres[a][0] + sizes[a][0] / 2)
        assert xs[-1] == pytest.approx(layout.centres[b][0] - sizes[b][0] / 2)
        assert abs(route[-1][1] - layout.centres[b][1]) <= sizes[b][1] / 2
        assert layout.layers[a] < layout.layers[b]


@given(st.integers(0, 2**32), st.integers(2, 40))
def test_a_tree_has_no_crossings(seed: int, count: int) -> None:
    edges = [(b, (seed * (b + 7) // 3) % b) for b in range(1, count)]  # toward the root, 0
    assert crossings(layered([(20.0, 10.0)] * count, edges)) == 0


def test_the_first_input_stands_above_the_second() -> None:
    layout = layered([(20, 10)] * 7, [(0, 4), (1, 4), (2, 5), (3, 5), (4, 6), (5, 6)])
    heights = [layout.centres[i][1] for i in range(4)]
    assert heights == sorted(heights)


def test_a_node_stands_level_with_the_middle_of_its_inputs() -> None:
    layout = layered([(20, 10)] * 3, [(0, 2), (1, 2)])
    assert layout.centres[2][1] == pytest.approx((layout.centres[0][1] + layout.centres[1][1]) / 2)


def test_crossings_are_undone() -> None:
    edges = [(0, 7), (1, 6), (2, 5), (3, 4), *((4 + i, 8) for i in range(4))]
    assert crossings(layered([(20, 10)] * 9, edges)) == 0


def test_a_long_edge_goes_around_the_nodes_between() -> None:
    layout = layered([(20, 40)] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    points = layout.routes[3]
    for i in (1, 2):
        x, y = layout.centres[i]
        beside = [abs(b - y) for a, b in points if abs(a - x) <= 10.1]
        assert beside
        assert min(beside) > 20


@given(nets())
def test_the_same_graph_gets_the_same_layout(net: tuple[list[tuple[float, float]], list[tuple[int, int]]]) -> None:
    assert layered(*net) == layered(*net)


def test_downward_is_the_same_with_the_axes_swapped() -> None:
    edges = [(0, 2), (1, 2), (2, 3)]
    right, down = layered([(30, 10)] * 4, edges), layered([(10, 30)] * 4, edges, down=True)
    assert (right.width, right.height) == (down.height, down.width)
    assert right.centres == tuple((y, x) for x, y in down.centres)


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        layers_of(2, [(0, 1), (1, 0)])


def test_nothing_has_an_empty_layout() -> None:
    assert layered([], []) == Layout(0.0, 0.0, (), (), ())
