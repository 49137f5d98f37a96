"""A scene painted as PNG by matplotlib, which brings its own fonts and needs no other program."""

from __future__ import annotations

import io
import itertools
from typing import Any

from backlit.draw.missing import matplotlib
from backlit.draw.scene import Box, Curve, Disc, Point, Scene, Words, control_points, flatten
from backlit.draw.svg import shortened
from backlit.draw.theme import ADVANCE, DAY, FIXED, rules

DPI = 100.0
LARGEST = 20_000  # pixels along a side


def write_png(scene: Scene, scale: float = 2.0) -> bytes:
    """The scene as a PNG file. Raises ImportError if matplotlib is not installed."""
    mpl = matplotlib("a PNG")
    scale = min(scale, LARGEST / max(scene.width, scene.height))
    figure = mpl("figure").Figure(figsize=(scene.width / DPI, scene.height / DPI), dpi=DPI * scale)
    mpl("backends.backend_agg").FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    _paint(axes, scene, mpl)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI * scale, facecolor=DAY.paper, metadata={"Title": scene.title})
    return out.getvalue()


def _looks(style: str, around: str) -> dict[str, str]:
    """The properties of a style inside figures of these styles."""
    found: dict[str, str] = {}
    parents = around.split()
    for table in (rules(DAY), FIXED):
        for name, look in table.items():
            *outer, inner = name.replace(".", "").split()
            if inner in style.split() and all(each in parents for each in outer):
                found |= look
    if "missed" in parents:
        found["opacity"] = FIXED["missed"]["opacity"]
    return found


def _paint(axes: Any, scene: Scene, mpl: Any) -> None:
    patches, paths = mpl("patches"), mpl("path")
    for order, (shape, around) in enumerate(flatten(scene.shapes)):
        if isinstance(shape, Words):
            x = shape.x
            if shape.anchor != "start":
                whole = sum(len(text) for text, _ in shape.pieces) * shape.size * ADVANCE
                x -= whole if shape.anchor == "end" else whole / 2
            for text, style in shape.pieces:
                look = _looks(style, around)
                axes.text(
                    x, shape.y, text, fontsize=shape.size * 72 / DPI, family="DejaVu Sans Mono", zorder=order,
                    color=look.get("fill", DAY.ink), weight="bold" if look.get("font-weight") == "700" else "normal",
                    style=look.get("font-style", "normal"), alpha=float(look.get("opacity", 1)), parse_math=False,
                )  # fmt: skip
                x += len(text) * shape.size * ADVANCE
            continue
        look = _looks(shape.style, around)
        width = (shape.width or 1.2) if isinstance(shape, (Curve, Disc)) else 1.2
        paint: dict[str, Any] = {
            "facecolor": look.get("fill", "none"),
            "edgecolor": look.get("stroke", "none"),
            "linewidth": float(look.get("stroke-width", width)) * 72 / DPI,
            "alpha": float(look.get("opacity", 1)),
            "zorder": order,
        }  # fmt: skip
        if look.get("stroke-dasharray"):
            paint["linestyle"] = (0, [float(n) * 0.72 for n in look["stroke-dasharray"].split()])
        if isinstance(shape, Box):
            style = f"round,pad=0,rounding_size={shape.radius}"
            axes.add_patch(
                patches.FancyBboxPatch((shape.x, shape.y), shape.width, shape.height, boxstyle=style, **paint)
            )
        elif isinstance(shape, Disc):
            if shape.fill:
                paint["facecolor"] = shape.fill
            axes.add_patch(patches.Circle((shape.x, shape.y), shape.radius, **paint))
        elif isinstance(shape, Curve):
            points, head = shortened(shape)
            axes.add_patch(patches.PathPatch(_path(points, shape, paths), **{**paint, "facecolor": "none"}))
            if head:
                axes.add_patch(
                    patches.Polygon(
                        list(head), closed=True, facecolor=look["stroke"], zorder=order, alpha=paint["alpha"]
                    )
                )


def _path(points: list[Point], curve: Curve, paths: Any) -> Any:
    kind = paths.Path
    vertices, codes = [points[0]], [kind.MOVETO]
    for i, (a, b) in enumerate(itertools.pairwise(points)):
        if a == b:
            continue
        if i % 2 or curve.straight:
            vertices.append(b)
            codes.append(kind.LINETO)
        else:
            c, d = control_points(a, b, curve.down, curve.lean)
            vertices += [c, d, b]
            codes += [kind.CURVE4] * 3
    return kind(vertices, codes)
