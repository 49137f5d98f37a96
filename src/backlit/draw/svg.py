"""A scene written as SVG: one element, with its own styles, for light and dark, that needs no other file."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from backlit.draw.scene import Box, Curve, Disc, Point, Scene, Shape, Words, arrowhead, control_points
from backlit.draw.theme import DAY, FIXED, FONT, NIGHT, rules


def write_svg(scene: Scene, *, interactive: bool = False) -> str:
    """The scene as the text of an SVG file. interactive: its figures can be focused, for a page with a script."""
    out: list[str] = []
    key = f"{zlib.crc32(repr((scene.title, scene.description, scene.width)).encode()):08x}"
    role = "group" if interactive else "img"
    out.append(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="backlit-drawing" role="{role}" '
        f'aria-labelledby="t{key} d{key}" width="{_n(scene.width)}" height="{_n(scene.height)}" '
        f'viewBox="0 0 {_n(scene.width)} {_n(scene.height)}">'
    )
    out.append(f'<title id="t{key}">{_text(scene.title)}</title>')
    out.append(f'<desc id="d{key}">{_text(scene.description)}</desc>')
    out.append(f"<style>{style_sheet()}</style>")
    out.append(f'<rect class="paper" width="{_n(scene.width)}" height="{_n(scene.height)}" rx="6"/>')
    _write(scene.shapes, out, interactive)
    out.append("</svg>")
    return "\n".join(out) + "\n"


def style_sheet() -> str:
    """The styles of all drawings. Colours are written out, since not every reader of SVG knows variables."""
    base = [
        f".backlit-drawing{{font-family:{FONT};max-width:100%;height:auto}}",
        ".backlit-drawing text{white-space:pre}",
    ]
    day = _rules({name: {**look, **FIXED.get(name, {})} for name, look in rules(DAY).items()})
    rest = _rules({name: look for name, look in FIXED.items() if name not in rules(DAY)})
    heads = [f".backlit-drawing .{name}-head{{fill:{getattr(DAY, of)}}}" for name, of in _HEADS.items()]
    night = _rules(rules(NIGHT))
    dark_heads = [f".backlit-drawing .{name}-head{{fill:{getattr(NIGHT, of)}}}" for name, of in _HEADS.items()]
    dark = "\n".join(["@media (prefers-color-scheme: dark){", *night, *dark_heads, "}"])
    return "\n".join(["", *base, *day, *rest, *heads, dark, ""])


_HEADS = {"forward": "forward", "backward": "backward", "nothing": "none"}


def _rules(looks: dict[str, dict[str, str]]) -> list[str]:
    return [
        f".backlit-drawing .{name}{{{';'.join(f'{prop}:{what}' for prop, what in look.items())}}}"
        for name, look in looks.items()
        if look
    ]


def _write(shapes: Sequence[Shape], out: list[str], interactive: bool) -> None:
    stack: list[Shape | str] = list(reversed(shapes))
    while stack:
        shape = stack.pop()
        if isinstance(shape, str):
            out.append(shape)
        elif isinstance(shape, Box):
            out.append(
                f'<rect class="{shape.style}" x="{_n(shape.x)}" y="{_n(shape.y)}" width="{_n(shape.width)}" '
                f'height="{_n(shape.height)}" rx="{_n(shape.radius)}"/>'
            )
        elif isinstance(shape, Disc):
            fill = f' style="fill:{shape.fill}"' if shape.fill else ""
            fill += f' stroke-width="{_n(shape.width)}"' if shape.width else ""
            out.append(
                f'<circle class="{shape.style}" cx="{_n(shape.x)}" cy="{_n(shape.y)}" r="{_n(shape.radius)}"{fill}/>'
            )
        elif isinstance(shape, Words):
            out.append(_words(shape))
        elif isinstance(shape, Curve):
            out.append(_curve(shape))
        else:
            attributes = f' class="{shape.style}"' if shape.style else ""
            attributes += f' id="{shape.id}"' if shape.id else ""
            attributes += "".join(f" data-{name}={quoteattr(what.translate(_NOT_IN_XML))}" for name, what in shape.data)
            if interactive and shape.id:
                attributes += f' role="button" tabindex="-1" aria-label={quoteattr(_plain(shape.title))}'
            out.append(f"<g{attributes}>")
            if shape.title:
                out.append(f"<title>{_text(shape.title)}</title>")
            stack.append("</g>")
            stack.extend(reversed(shape.shapes))


def _words(words: Words) -> str:
    anchor = "" if words.anchor == "start" else f' text-anchor="{words.anchor}"'
    head = f'<text x="{_n(words.x)}" y="{_n(words.y)}" font-size="{_n(words.size)}"{anchor}'
    if len(words.pieces) == 1:
        ((text, style),) = words.pieces
        return f'{head} class="{style}">{_text(text)}</text>'
    inner = "".join(f'<tspan class="{style}">{_text(text)}</tspan>' for text, style in words.pieces)
    return f"{head}>{inner}</text>"


def _curve(curve: Curve) -> str:
    points, head = shortened(curve)
    path = [f"M{_p(points[0])}"]
    for i, (a, b) in enumerate(itertools.pairwise(points)):
        if a == b:
            continue
        if i % 2 or curve.straight or a[0] == b[0] or a[1] == b[1]:
            path.append(f"L{_p(b)}")
        else:
            c, d = control_points(a, b, curve.down, curve.lean)
            path.append(f"C{_p(c)} {_p(d)} {_p(b)}")
    line = f'<path class="{curve.style}" stroke-width="{_n(curve.width)}" d="{"".join(path)}"/>'
    if not head:
        return line
    corners = "L".join(_p(corner) for corner in head)
    return f'{line}\n<path class="{curve.style.split()[0]}-head" d="M{corners}Z"/>'


def shortened(curve: Curve) -> tuple[list[Point], Sequence[Point]]:
    """The points of a curve, with its end drawn back to the base of the arrowhead, and the arrowhead."""
    points = list(curve.points)
    if not curve.arrow or len(points) < 2:
        return points, ()
    tip = points[-1]
    before = next((p for p in reversed(points[:-1]) if p != tip), points[0])
    along = tip[1] - before[1] if curve.down else tip[0] - before[0]
    step = 1.0 if along >= 0 else -1.0
    towards = (0.0, step) if curve.down else (step, 0.0)
    size = 5.5 + curve.width
    points[-1] = (tip[0] - (size - 1) * towards[0], tip[1] - (size - 1) * towards[1])
    return points, arrowhead(tip, towards, size)


def _n(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


_NOT_IN_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535, *range(55296, 57344)))


def _plain(text: str) -> str:
    return text.replace("\n", ", ").translate(_NOT_IN_XML)


def _text(text: str) -> str:
    """Text as XML holds it; what XML does not allow is left out."""
    return escape(text if text.isprintable() else text.translate(_NOT_IN_XML))
