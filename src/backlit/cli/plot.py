"""Curves and small pictures made of characters, for the terminal. Functions here return text; none prints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DomainError, ShapeError

Floats = npt.NDArray[np.float64]

_BRAILLE = 0x2800
# A braille character is 2 dots wide and 4 high; these are the bits of its dots, by [row][column].
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_SHADES = " ░▒▓█"


# -- axes ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """The range shown along one axis, and the ticks written beside it. log: equal steps are equal factors."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def place(self, numbers: npt.ArrayLike) -> Floats:
        """Where numbers lie on the axis: 0 at its low end, 1 at its high one."""
        given = np.asarray(numbers, np.float64)
        low, high = self.low, self.high
        if self.log:
            given, low, high = np.log10(given), math.log10(low), math.log10(high)
        return np.asarray((given - low) / (high - low), np.float64)


def axis(numbers: npt.ArrayLike, count: int = 6, log: bool | None = None) -> Axis:
    """An axis that holds all the numbers, with about `count` round ticks.

    log: True or False, or None for a logarithmic axis where it shows more: numbers above zero that span a
    factor of 30 or more. Raises DomainError for no numbers, for one that is not finite, and for a
    logarithmic axis at 0 or below.

    >>> axis([1, 100_000]).ticks
    (1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0)
    >>> axis([0.0, 1.0], count=5).ticks
    (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """
    given = np.asarray(numbers, np.float64)
    if not given.size or not np.isfinite(given).all():
        raise DomainError(f"axis: needs at least one number, all finite, got {given.reshape(-1)[:5]}.")
    low, high = float(given.min()), float(given.max())
    if log is None:
        log = low > 0 and high / low >= 30
    if log and low <= 0:
        raise DomainError(f"axis: a logarithmic axis shows numbers above 0 only, and the least is {low:g}.")
    if log:
        return _log_axis(low, high, count)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):  # one number only: give it some room
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    step = _round_step((high - low) / max(count, 1))
    ticks = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    return Axis(low, high, False, tuple(float(f"{tick:.12g}") + 0.0 for tick in ticks))


def _log_axis(low: float, high: float, count: int) -> Axis:
    if high / low < 1.1:
        low, high = low / 1.05, high * 1.05
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, stride in (
        ((1, 2, 3, 4, 5, 6, 7, 8, 9), 1),
        ((1, 2, 5), 1),
        ((1, 3), 1),
        *(((1,), n) for n in range(1, 400)),
    ):
        ticks = [
            float(f"{factor}e{power}") for power in range(first, last + 1) if power % stride == 0 for factor in factors
        ]
        shown = tuple(tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9))
        if len(shown) <= count:
            break
    return Axis(low, high, True, shown)


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 5.0, 10.0):
        if rough <= factor * power * (1 + 1e-9):
            break
    return factor * power


def short(number: float) -> str:
    """A number as a tick is labelled.

    >>> [short(x) for x in (0, 0.2, 5000, 20000, 1.5e6, 0.001, 1e-7)]
    ['0', '0.2', '5,000', '20k', '1.5M', '0.001', '1e-7']
    """
    size = abs(number)
    if number and (size < 1e-4 or size >= 1e9):
        mantissa, _, exponent = f"{number:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    if size >= 1e6:
        return f"{number / 1e6:g}M"
    if size >= 1e4:
        return f"{number / 1e3:g}k"
    return f"{number:,g}" if size < 1e3 else f"{number:,.0f}"


# -- curves ----------------------------------------------------------------------------------------


def curve(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    width: int = 72,
    height: int = 12,
    log_x: bool | None = None,
    log_y: bool | None = None,
    x_label: str = "",
    y_label: str = "",
) -> str:
    """A line through the points in braille dots, with axes and labels; no line is longer than `width`.

    x, y: (n,), x ascending. Where many points share a column, their whole range is drawn. Points that are
    not finite, or not above 0 on a logarithmic axis that was asked for, are left out. log_x, log_y: as
    `log` in `axis`. height: rows of the drawing itself. Raises ShapeError if x and y do not fit,
    DomainError if no point is left or there is no room.

    >>> print(curve([0, 1, 2, 3], [0, 1, 4, 9], width=24, height=4, x_label="t"))
      │                ⣠⠴⠋
    5 ┤             ⣠⠴⠋⠁
      │        ⣀⣤⠴⠒⠋⠁
    0 ┤⣀⣠⠤⠤⠴⠒⠚⠉⠁
      └┬───────────┬────── t
       0           2
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise ShapeError(f"curve: x and y must be vectors of one length, got shapes {xs.shape} and {ys.shape}.")
    shown = np.isfinite(xs) & np.isfinite(ys)
    if log_x:
        shown &= xs > 0
    if log_y:
        shown &= ys > 0
    xs, ys = xs[shown], ys[shown]
    if not xs.size:
        raise DomainError("curve: no point to draw: none is finite (and above 0 on a logarithmic axis).")
    across, up = axis(xs, max(2, width // 12), log_x), axis(ys, max(2, height // 2), log_y)
    labels = [short(tick) for tick in up.ticks]
    margin = max((len(label) for label in labels), default=0)
    columns = width - margin - 2 - (len(x_label) + 1 if x_label else 0)
    if columns < 8 or height < 2:
        raise DomainError(f"curve: no room to draw in {width} columns and {height} rows; give it 24 and 4.")

    canvas = _traced(across.place(xs), up.place(ys), columns, height)
    at_row: dict[int, str] = {}
    for tick, label in zip(up.ticks, labels, strict=True):
        at_row.setdefault(height - 1 - _cell(float(up.place(tick)), height, 4), label)
    lines = [f"{y_label:>{margin}}".rstrip()] if y_label else []
    for row in range(height):
        label = at_row.get(row, "")
        dots = "".join(chr(_BRAILLE + bits) if bits else " " for bits in canvas[row])
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{dots}".rstrip())
    return "\n".join(lines + _foot(across, columns, margin, x_label))


def _dots(place: Any, count: int) -> npt.NDArray[np.int64]:
    """The nearest of `count` dots, for places in [0, 1]."""
    nearest: npt.NDArray[np.int64] = np.rint(np.asarray(place) * (count - 1)).astype(np.int64)
    return np.clip(nearest, 0, count - 1)


def _cell(place: float, cells: int, dots: int) -> int:
    """The character that holds the dot of a place, each holding so many."""
    return int(_dots(place, cells * dots)) // dots


def _traced(x: Floats, y: Floats, columns: int, rows: int) -> npt.NDArray[np.int64]:
    """Braille bits (rows, columns) of the line through points that lie in [0, 1] both ways."""
    wide, high = 2 * columns, 4 * rows
    px, py = _dots(x, wide), _dots(y, high)
    lowest, highest = np.full(wide, high), np.full(wide, -1)  # the range of dots that each column shows
    np.minimum.at(lowest, px, py)
    np.maximum.at(highest, px, py)
    for start in range(len(px) - 1):  # join neighbours, but for those that share a column
        x0, x1 = px[start], px[start + 1]
        if x1 == x0:
            continue
        between = np.arange(x0, x1 + 1)
        line = py[start] + (py[start + 1] - py[start]) * (between - x0) / (x1 - x0)
        half = abs(py[start + 1] - py[start]) / (x1 - x0) / 2  # steep lines fill the dots up to the next column
        bottom, top = min(py[start], py[start + 1]), max(py[start], py[start + 1])
        low = np.clip(np.ceil(line - half - 0.5), bottom, top).astype(np.int64)
        up = np.clip(np.floor(line + half + 0.5), bottom, top).astype(np.int64)
        np.minimum.at(lowest, between, low)
        np.maximum.at(highest, between, up)
    canvas = np.zeros((rows, columns), np.int64)
    for column in range(wide):
        for dot in range(lowest[column], highest[column] + 1):
            row, part = divmod(high - 1 - dot, 4)
            canvas[row, column // 2] |= _DOTS[part][column % 2]
    return canvas


def _foot(across: Axis, columns: int, margin: int, name: str) -> list[str]:
    """The line below the drawing with its ticks and its name, and the row of their labels."""
    rule = ["─"] * columns
    below = [" "] * (margin + 2 + columns + (len(name) + 1 if name else 0))
    free = 0
    for tick in across.ticks:
        column = _cell(float(across.place(tick)), columns, 2)
        label = short(tick)
        start = min(max(margin + 2 + column - len(label) // 2, 0), len(below) - len(label))
        rule[column] = "┬"
        if start >= free:
            below[start : start + len(label)] = label
            free = start + len(label) + 1
    return [f"{' ' * margin} └{''.join(rule)} {name}".rstrip(), "".join(below).rstrip()]


# -- pictures --------------------------------------------------------------------------------------


def shaded(image: npt.ArrayLike) -> list[str]:
    """A picture in five shades of block characters, two for each pixel so that pixels look square.

    image: (rows, columns) from 0 (paper) to 1 (ink) -> `rows` strings of 2·columns characters.

    >>> shaded([[0.0, 0.5], [0.75, 1.0]])
    ['  ▒▒', '▓▓██']
    """
    pixels = _picture("shaded", image)
    levels = np.clip(np.rint(pixels * (len(_SHADES) - 1)), 0, len(_SHADES) - 1).astype(int)
    return ["".join(_SHADES[level] * 2 for level in row) for row in levels]


def half_blocks(image: npt.ArrayLike) -> list[list[tuple[float, float]]]:
    """A picture as cells of one `▀` each, which shows two pixels, one above the other, in two colours.

    image: (rows, columns), with an even number of rows -> rows/2 lists of `columns` pairs (upper, lower).

    >>> half_blocks([[0.0, 0.5], [0.75, 1.0]])
    [[(0.0, 0.75), (0.5, 1.0)]]
    """
    pixels = _picture("half_blocks", image)
    if len(pixels) % 2:
        raise ShapeError(f"half_blocks: the image has {len(pixels)} rows, and two make a line of text.")
    return [
        [(float(upper), float(lower)) for upper, lower in zip(*pair, strict=True)]
        for pair in zip(pixels[::2], pixels[1::2], strict=True)
    ]


def _picture(caller: str, image: Any) -> Floats:
    pixels = np.asarray(image, np.float64)
    if pixels.ndim != 2:
        raise ShapeError(f"{caller}: an image has shape (rows, columns), got {pixels.shape}.")
    return pixels
