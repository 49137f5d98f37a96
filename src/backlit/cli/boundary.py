"""What a net says of every point of the plane, painted on the terminal, with the points that it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.text import Text

from backlit.cli.display import QUIET

if TYPE_CHECKING:
    from rich.console import Console

Floats = npt.NDArray[np.float64]

COLOURS = ((66, 133, 244), (245, 150, 40), (60, 170, 90), (190, 90, 200), (220, 70, 80), (30, 170, 180))
MARKS, WRONG = "ox+*#%", "!"
_REGIONS = (" ", "░", "▒", ".", ":", "-")
_CANVAS = (24, 26, 32)


def paints(console: Console) -> bool:
    """Whether there is a terminal with enough colours to paint with."""
    return console.color_system in ("256", "truecolor", "windows") and not console.no_color


def boundary(
    scores: Callable[[Floats], Any], points: Floats, labels: Any, classes: Sequence[str], console: Console, width: int
) -> Text:
    """The plane around some points, coloured by the class that gets the highest score; each point in its own colour.

    scores: (n, 2) -> (n, classes). points: (m, 2); labels: (m,). In colour each character shows two places, one above
    the other, the paler the less sure; without, a shade stands for a class, and a mark for each point, `!` where the
    answer is wrong. At most `width` columns, and as high as the points are.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.06 * np.where(high > low, high - low, 1.0)
    low, high = low - room, high + room
    columns = max(20, min(width, 66))
    rows = int(np.clip(round(columns * (high[1] - low[1]) / (high[0] - low[0]) / 2), 8, 24))
    painted = paints(console)
    tall = 2 * rows if painted else rows
    xs = low[0] + (np.arange(columns) + 0.5) / columns * (high[0] - low[0])
    ys = high[1] - (np.arange(tall) + 0.5) / tall * (high[1] - low[1])
    plane = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    sure = _softmax(np.asarray(scores(plane), np.float64)).reshape(tall, columns, -1)
    at_x = np.clip(((points[:, 0] - low[0]) / (high[0] - low[0]) * columns).astype(int), 0, columns - 1)
    at_y = np.clip(((high[1] - points[:, 1]) / (high[1] - low[1]) * tall).astype(int), 0, tall - 1)
    wrong = np.asarray(scores(points)).argmax(axis=1) != labels
    order = np.argsort(wrong, kind="stable")  # those answered wrongly on top
    places = [(int(at_y[i]), int(at_x[i]), int(labels[i]), bool(wrong[i])) for i in order]
    draw = _painted if painted else _written
    shown = draw(sure, places)
    shown.append_text(_legend(classes, painted, bool(wrong.any())))
    return shown


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Floats = raised / raised.sum(axis=1, keepdims=True)
    return found


def _painted(sure: Floats, places: Sequence[tuple[int, int, int, bool]]) -> Text:
    classes = sure.shape[2]
    palette = np.array([COLOURS[k % len(COLOURS)] for k in range(classes)], np.float64)
    best = sure.argmax(axis=2)
    certain = (sure.max(axis=2) - 1 / classes) / (1 - 1 / classes)
    strength = (0.16 + 0.34 * certain)[..., None]
    pixels = (1 - strength) * np.array(_CANVAS) + strength * palette[best]
    for row, column, label, is_wrong in places:
        pixels[row, column] = (255, 255, 255) if is_wrong else palette[label] * 0.9 + 25
    colours = np.clip(np.rint(pixels), 0, 255).astype(int)
    shown = Text()
    for row in range(0, len(colours), 2):
        shown.append("  ")
        for upper, lower in zip(colours[row], colours[row + 1], strict=True):
            shown.append("▀", style=f"rgb({','.join(map(str, upper))}) on rgb({','.join(map(str, lower))})")
        shown.append("\n")
    return shown


def _written(sure: Floats, places: Sequence[tuple[int, int, int, bool]]) -> Text:
    best = sure.argmax(axis=2)
    lines = [[_REGIONS[k % len(_REGIONS)] for k in row] for row in best]
    for row, column, label, is_wrong in places:
        lines[row][column] = WRONG if is_wrong else MARKS[label % len(MARKS)]
    edge = "─" * len(lines[0])
    return Text("\n".join([f"  ┌{edge}┐", *(f"  │{''.join(line)}│" for line in lines), f"  └{edge}┘", ""]))


def _legend(classes: Sequence[str], painted: bool, any_wrong: bool) -> Text:
    shown = Text("  ")
    for k, name in enumerate(classes):
        if painted:
            shown.append("■ ", style="rgb({},{},{})".format(*COLOURS[k % len(COLOURS)]))
            shown.append(f"{name}   ", style=QUIET)
        else:
            shade = _REGIONS[k % len(_REGIONS)]
            shown.append(f"{MARKS[k % len(MARKS)]} {name}, said {shade * 2 if shade != ' ' else 'where blank'}   ")
    if any_wrong:
        shown.append("■ " if painted else f"{WRONG} ", style="bright_white" if painted else "")
        shown.append("answered wrongly", style=QUIET)
    shown.rstrip()
    return shown
