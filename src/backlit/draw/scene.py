"""Shapes on a plane: what a drawing is made of before it is written as SVG or painted as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Union

Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle with round corners. style: the class that gives it its colours."""

    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 8.0


class Disc(NamedTuple):
    """A circle. fill, width: a colour and a width of the line of its own, or those of its style."""

    x: float
    y: float
    radius: float
    style: str
    fill: str = ""
    width: float = 0.0


class Words(NamedTuple):
    """A line of text, in pieces with styles of their own. anchor: "start", "middle" or "end" of it stands at x."""

    x: float
    y: float
    pieces: tuple[tuple[str, str], ...]  # text and style
    size: float = 13.0
    anchor: str = "start"


class Curve(NamedTuple):
    """A line through points in turn curved and straight (see `layout.Layout`), with an arrow at its end or not.

    lean: how far steep parts are moved aside, so that two lines beside each other stay apart.
    """

    points: tuple[Point, ...]
    style: str
    width: float = 1.6
    arrow: bool = False
    down: bool = False
    straight: bool = False
    lean: float = 0.0


class Figure(NamedTuple):
    """Shapes that belong together. title: what it says when asked; id, data: how the page finds it."""

    shapes: tuple[Union[Box, Disc, Words, Curve, Figure], ...]  # noqa: UP007
    style: str = ""
    id: str = ""
    title: str = ""
    data: tuple[tuple[str, str], ...] = ()


Shape = Box | Disc | Words | Curve | Figure


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole drawing. title: one line; description: what a reader who cannot see it is told."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    title: str
    description: str


def control_points(a: Point, b: Point, down: bool, lean: float = 0.0) -> tuple[Point, Point]:
    """Where a curve from a to b is pulled, so that it leaves and arrives along the direction of the layers."""
    (x, y), (x2, y2) = a, b
    if down:
        bend, aside = (y2 - y) / 2, lean * _side((x2 - x) * (y2 - y))
        return (x, y + bend + aside), (x2, y2 - bend + aside)
    bend, aside = (x2 - x) / 2, lean * _side((x2 - x) * (y2 - y))
    return (x + bend + aside, y), (x2 - bend + aside, y2)


def _side(slope: float) -> float:
    return 0.0 if abs(slope) < 1e-9 else max(-1.0, min(1.0, slope / 2500))


def arrowhead(tip: Point, towards: Point, size: float = 7.0) -> Sequence[Point]:
    """The three corners of an arrowhead; `towards` is the unit vector in which it points."""
    (x, y), (dx, dy) = tip, towards
    back = (x - size * dx, y - size * dy)
    half = size * 0.45
    return (x, y), (back[0] - half * dy, back[1] + half * dx), (back[0] + half * dy, back[1] - half * dx)


def flatten(shapes: Sequence[Shape]) -> list[tuple[Shape, str]]:
    """All shapes but figures, each with the styles of the figures around it, in the order of painting."""
    found: list[tuple[Shape, str]] = []
    stack: list[tuple[Shape, str]] = [(shape, "") for shape in reversed(shapes)]
    while stack:
        shape, around = stack.pop()
        if isinstance(shape, Figure):
            inner = f"{around} {shape.style}".strip()
            stack.extend((each, inner) for each in reversed(shape.shapes))
        else:
            found.append((shape, around))
    return found
