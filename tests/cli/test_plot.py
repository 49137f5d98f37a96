"""Curves and pictures made of characters."""

from __future__ import annotations

import numpy as np
import pytest

from backlit.cli.plot import axis, curve, half_blocks, shaded, short
from backlit.core.errors import DomainError, ShapeError


def dots(text):
    """The set of (column, row) dots of a drawing without axes; row 0 is the lowest."""
    lines = [line for line in text.split("\n") if "│" in line or "┤" in line]
    found = set()
    for row, line in enumerate(reversed(lines)):
        start = max(line.find("│"), line.find("┤")) + 1
        for column, character in enumerate(line[start:]):
            bits = ord(character) - 0x2800 if "\u2800" <= character <= "\u28ff" else 0
            for dy, pair in enumerate(((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))):
                for dx, bit in enumerate(pair):
                    if bits & bit:
                        found.add((2 * column + dx, 4 * row + 3 - dy))
    return found


def test_a_straight_line_is_drawn_from_corner_to_corner_without_a_gap():
    found = dots(curve([0, 1], [0, 1], width=40, height=10))
    right = max(x for x, _ in found)
    assert (0, 0) in found
    assert (right, 39) in found
    assert {x for x, _ in found} == set(range(right + 1))
    assert {y for _, y in found} == set(range(40))


def test_a_curve_touches_its_lowest_and_highest_dots():
    x = np.linspace(0, 6.28, 500)
    found = dots(curve(x, np.sin(x), width=60, height=8))
    assert {min(y for _, y in found), max(y for _, y in found)} == {0, 31}


def test_a_spike_among_many_points_is_not_lost():
    y = np.zeros(100_000)
    y[54_321] = 1.0
    found = dots(curve(np.arange(1, 100_001), y, width=80, height=10, log_x=False))
    assert max(y for _, y in found) == 39


def test_a_falling_step_is_joined():
    found = dots(curve([0, 1, 1, 2], [1, 1, 0, 0], width=30, height=5))
    assert {y for _, y in found} == set(range(20))


@pytest.mark.parametrize(("width", "height"), [(24, 4), (40, 6), (76, 11), (100, 14)])
def test_no_line_is_longer_than_asked(width, height):
    n = np.arange(1, 5001)
    text = curve(n, np.exp(-n / 700), width=width, height=height, x_label="step", y_label="loss")
    lines = text.split("\n")
    assert max(map(len, lines)) <= width
    assert len(lines) == height + 3
    assert lines[0].strip() == "loss"
    assert lines[-2].endswith(" step")


def test_the_scale_is_logarithmic_where_it_shows_more():
    assert axis([1, 1000]).log
    assert not axis([1, 10]).log
    assert not axis([0, 1000]).log
    assert not axis([1, 1000], log=False).log
    assert axis([1, 10], log=True).log


@pytest.mark.parametrize(
    ("numbers", "ticks"),
    [
        ([0, 1], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        ([-3, 7], (-2.0, 0.0, 2.0, 4.0, 6.0)),
        ([0.477, 0.701], (0.5, 0.55, 0.6, 0.65, 0.7)),
        ([5e-4, 1.5], (0.001, 0.01, 0.1, 1.0)),
        ([1, 1e6], (1.0, 100.0, 1e4, 1e6)),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(numbers, ticks):
    assert axis(numbers, count=5).ticks == ticks


@pytest.mark.parametrize("numbers", [[3.0], [0.0, 0.0], [-1e-9], [1e300, 1e300], [1e-300]])
def test_a_range_of_nothing_is_given_room(numbers):
    found = axis(numbers)
    assert found.low < found.high
    assert 0 <= found.place(numbers[0]) <= 1
    assert curve(range(len(numbers)), numbers, width=40, height=4)


@pytest.mark.parametrize("numbers", [[1e-300, 1e300], [1e-12, 1.0], [1.0, 40.0]])
def test_extreme_ranges_still_have_ticks(numbers):
    found = axis(numbers, count=6)
    assert found.log
    assert 1 <= len(found.ticks) <= 6


def test_ticks_stand_where_their_number_is():
    text = curve([0, 10], [0, 10], width=50, height=11)
    lines = text.split("\n")
    for label in ("0", "2", "4", "6", "8", "10"):
        row = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{label} ┤"))
        value = float(label)
        assert abs((10 - row) / 10 - value / 10) < 0.06


def test_points_that_are_not_numbers_are_left_out():
    assert dots(curve([0, 1, 2], [0, np.nan, 2], width=30, height=4)) == dots(curve([0, 2], [0, 2], width=30, height=4))


def test_what_cannot_be_drawn_is_refused_with_a_reason():
    with pytest.raises(ShapeError, match=r"\(2,\) and \(3,\)"):
        curve([1, 2], [1, 2, 3])
    with pytest.raises(DomainError, match="no point"):
        curve([1], [np.inf])
    with pytest.raises(DomainError, match="no room"):
        curve([1, 2], [1, 2], width=8)
    with pytest.raises(DomainError, match="above 0"):
        axis([0, 1], log=True)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (-0.5, "-0.5"), (1234, "1,234"), (10_000, "10k"), (2e6, "2M"), (1e12, "1e12"), (2e-5, "2e-5")],
)
def test_labels_are_short(number, text):
    assert short(number) == text


def test_shades_grow_with_the_ink():
    assert shaded([[0.0, 0.25, 0.5, 0.75, 1.0]]) == ["  ░░▒▒▓▓██"]
    assert shaded([[-1.0, 2.0]]) == ["  ██"]


def test_half_blocks_hold_two_rows_each():
    image = np.arange(64).reshape(8, 8) / 63
    cells = half_blocks(image)
    assert (len(cells), len(cells[0])) == (4, 8)
    assert cells[1][3] == (image[2, 3], image[3, 3])
    with pytest.raises(ShapeError, match="3 rows"):
        half_blocks(np.zeros((3, 2)))
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        shaded(np.zeros(4))
