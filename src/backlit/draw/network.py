"""`draw_network`: neurons and weights of a network of dense layers, with what an input makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from backlit.draw.amounts import amount, as_json
from backlit.draw.dense import Activity, Dense, Floats, activity, read_layers
from backlit.draw.drawing import save_as
from backlit.draw.raster import write_png
from backlit.draw.scene import Box, Curve, Disc, Figure, Scene, Shape, Words
from backlit.draw.svg import write_svg
from backlit.draw.theme import text_width

RADIUS, STEP, COLUMN = 17.0, 54.0, 190.0
TOP, MARGIN = 52.0, 30.0
SMALL = 11.0
FEW_WEIGHTS = 9  # so many weights between two columns are labelled
WIDEST_LINE = 4.5
POSITIVE, NEGATIVE, ZERO = (111, 183, 230), (242, 161, 95), (247, 247, 247)


@dataclass(frozen=True)
class NetworkDrawing:
    """A drawing of a network. layers: its weights; columns: what is drawn of the units, inputs first."""

    layers: tuple[Dense, ...]
    activity: Activity
    columns: tuple[tuple[int, ...], ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @cached_property
    def scene(self) -> Scene:
        """The shapes, laid out."""
        return _compose(self)

    @cached_property
    def svg(self) -> str:
        """The drawing as SVG, with styles for light and dark, that needs no other file."""
        return write_svg(self.scene)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a .svg, .png or .html file, as a whole or not at all. A PNG needs matplotlib."""
        return save_as(path, {".svg": lambda: self.svg, ".png": lambda: write_png(self.scene), ".html": self.html})

    def html(self) -> str:
        """A page that holds the drawing."""
        title = escape(self.scene.title)
        head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{title}</title>'
        return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{self.svg}</body></html>\n'

    def to_dict(self) -> dict[str, Any]:
        """Weights, activations and gradients, as dicts and lists that JSON can hold."""
        return {
            "schema": "backlit.network/1",
            "sizes": [self.layers[0].weight.shape[0], *(layer.weight.shape[1] for layer in self.layers)],
            "layers": [
                {
                    "name": layer.name,
                    "weight": layer.weight.tolist() if layer.weight.size <= 4096 else as_json(layer.weight),
                    "bias": None if layer.bias is None else layer.bias.tolist(),
                    "weight_gradient": as_json(layer.weight_gradient),
                    "bias_gradient": as_json(layer.bias_gradient),
                }
                for layer in self.layers
            ],
            "activations": [None if each is None else each.tolist() for each in self.activity.values],
            "gradients": [None if each is None else each.tolist() for each in self.activity.gradients],
        }

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<drawing of {self.scene.title}>"


def draw_network(
    model: Any,
    x: Any = None,
    *,
    loss: Callable[[Any], Any] | None = None,
    activation: str | Callable[[Any], Any] | None = "tanh",
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    max_units: int = 12,
) -> NetworkDrawing:
    """A picture of a network of dense layers: weights by width and sign, and what an input makes of the units.

    model: a list of weight matrices or of (weight, bias) pairs, a dict of such (nested as it may be), an object with
    `parameters()`, or one whose `layers` have `neurons` with `w` and `b`. Weights may be (in, out) or (out, in): the
    one that fits is found; if both do, it is (in, out). x: one input, a vector. If the model has `layers` that can
    be called they compute the activations; else `x @ W + b` does, followed by `activation` (a name such as
    "relu", a function, or None) in all layers but the last. loss: a function of the output, whose gradient by every
    unit and weight is shown; without one, that of a single output. No `.grad` changes. inputs, outputs: names of
    units. max_units: of a larger layer the first and the last are drawn.

    Raises ShapeError if the matrices do not fit one another or the input, DomainError if there are none.

    >>> draw_network([[[0.5, -1.0], [2.0, 0.25]], [[1.0], [-1.0]]], x=[1.0, -1.0], activation="relu")
    <drawing of a network of 2, 2 and 1 units>
    """
    layers = read_layers(model)
    layers, found = activity(model, layers, x, loss, activation)
    sizes = [layers[0].weight.shape[0], *(layer.weight.shape[1] for layer in layers)]
    columns = tuple(_shown(size, max(int(max_units), 2)) for size in sizes)
    return NetworkDrawing(tuple(layers), found, columns, tuple(inputs), tuple(outputs))


def _shown(size: int, most: int) -> tuple[int, ...]:
    """The numbers of the units that are drawn; -1 stands for those left out."""
    if size <= most:
        return tuple(range(size))
    first = most // 2
    return (*range(first), -1, *range(size - (most - first), size))


def _compose(network: NetworkDrawing) -> Scene:
    sizes = [network.layers[0].weight.shape[0], *(layer.weight.shape[1] for layer in network.layers)]
    tallest = max(map(len, network.columns))
    height = TOP + tallest * STEP + 2 * MARGIN
    left = MARGIN + max([40.0, *(text_width(name, 12.0) + 12 for name in network.inputs)])
    places = []
    for i, column in enumerate(network.columns):
        first = TOP + (tallest - len(column)) * STEP / 2 + STEP / 2
        places.append([(left + i * COLUMN, first + at * STEP) for at in range(len(column))])
    shapes: list[Shape] = []
    for i, layer in enumerate(network.layers):
        shapes += _weights(layer, network.columns[i : i + 2], places[i : i + 2])
    scale = [float(np.abs(v).max()) or 1.0 if v is not None and v.size else 1.0 for v in network.activity.values]
    steepest = max(
        (float(np.abs(g).max()) for g in network.activity.gradients if g is not None and g.size), default=0.0
    )
    for i, (column, at) in enumerate(zip(network.columns, places, strict=True)):
        for unit, place in zip(column, at, strict=True):
            if unit < 0:
                more = sizes[i] - len(column) + 1
                shapes += _on_paper(place[0], place[1] + 4, ((f"⋮ {more:,} more", "note"),), SMALL)
            else:
                shapes.append(_unit(network, i, unit, place, scale[i], steepest))
        shapes.append(Words(at[0][0], TOP - 26, ((_heading(i, len(sizes)), "name"),), 12.0, "middle"))
        how_many = "1 unit" if sizes[i] == 1 else f"{sizes[i]:,} units"
        shapes.append(Words(at[0][0], TOP - 10, ((how_many, "note"),), SMALL, "middle"))
    lines = _legend(network)
    for k, pieces in enumerate(lines):
        shapes.append(Words(MARGIN, height - MARGIN + 6 + 16 * k, pieces, SMALL))
    right = max([60.0, *(text_width(name, 12.0) + 34 for name in network.outputs)])
    width = max(
        left + (len(sizes) - 1) * COLUMN + right + 10,
        MARGIN * 2 + max(sum(text_width(text, SMALL) for text, _ in pieces) for pieces in lines),
    )
    listed = f"{', '.join(f'{size:,}' for size in sizes[:-1])} and {sizes[-1]:,}"
    count = sum(layer.weight.size + (0 if layer.bias is None else layer.bias.size) for layer in network.layers)
    title = f"a network of {listed} units"
    return Scene(
        round(width, 1), round(height + 16 * len(lines), 1), tuple(shapes), title,
        f"{title[0].upper()}{title[1:]}, with {count:,} weights and biases.",
    )  # fmt: skip


def _heading(i: int, count: int) -> str:
    return "input" if i == 0 else "output" if i == count - 1 else f"layer {i}"


def _weights(
    layer: Dense, columns: Sequence[tuple[int, ...]], places: Sequence[list[tuple[float, float]]]
) -> list[Shape]:
    """The lines between two columns, the heaviest on top."""
    largest = float(np.abs(layer.weight).max()) if layer.weight.size else 0.0
    lines: list[tuple[float, Shape]] = []
    few = layer.weight.size <= FEW_WEIGHTS
    for i, (x, y) in zip(columns[0], places[0], strict=True):
        for j, (x2, y2) in zip(columns[1], places[1], strict=True):
            if i < 0 or j < 0:
                continue
            w = float(layer.weight[i, j])
            share = abs(w) / largest if largest and np.isfinite(w) else 0.0
            style = "nothing" if not share else "plus" if w > 0 else "minus"
            width = round(0.4 + share * (WIDEST_LINE - 0.4), 2)
            ends = ((x + RADIUS, y), (x2 - RADIUS, y2))
            shapes: list[Shape] = [Curve(ends, style, width, straight=True)]
            if few:
                at = 0.3
                words = ((amount(w), "value" if w > 0 else "gradient"),)
                shapes += _on_paper(round(x + RADIUS + at * (x2 - x), 1), round(y + at * (y2 - y) + 3, 1), words, SMALL)
            told = f"weight {i} → {j} of {layer.name}: {amount(w)}"
            if layer.weight_gradient is not None:
                told += f"\ngradient {amount(float(layer.weight_gradient[i, j]))}"
            lines.append((share, Figure(tuple(shapes), "edge", "", told)))
    return [shape for _, shape in sorted(lines, key=lambda each: each[0])]


def _unit(
    network: NetworkDrawing, i: int, unit: int, place: tuple[float, float], scale: float, steepest: float
) -> Figure:
    (x, y) = place
    value = _at(network.activity.values[i], unit)
    gradient = _at(network.activity.gradients[i], unit)
    names = network.inputs if i == 0 else network.outputs if i == len(network.columns) - 1 else ()
    name = names[unit] if unit < len(names) else ""
    fill = "" if value is None or not np.isfinite(value) else _colour(value / scale)
    shapes: list[Shape] = []
    if gradient is not None and steepest and np.isfinite(gradient):
        width = round(0.5 + 4.0 * abs(gradient) / steepest, 2) if gradient else 0.0
        if width:
            shapes.append(Disc(x, y, RADIUS + 1 + width / 2, "ring", "", width))
    shapes.append(Disc(x, y, RADIUS, "unit", fill))
    if value is not None:
        shapes.append(Words(x, y + 3.5, ((_brief(value), "inside" if fill else "name"),), 9.5, "middle"))
    if gradient is not None:
        shapes += _on_paper(x, y + RADIUS + 15, ((f"← {_brief(gradient)}", "gradient"),), 9.5)
    if name:
        to_left = i == 0
        shapes.append(
            Words(
                x + (-RADIUS - 9 if to_left else RADIUS + 9),
                y + 4,
                ((name, "name"),),
                12.0,
                "end" if to_left else "start",
            )
        )
    told = [name or f"{_heading(i, len(network.columns))}, unit {unit}"]
    if value is not None:
        told.append(f"activation {amount(value)}")
    if gradient is not None:
        told.append(f"gradient {amount(gradient)}")
    if i and (bias := network.layers[i - 1].bias) is not None:
        told.append(f"bias {amount(float(bias[unit]))}")
    return Figure(tuple(shapes), "node", "", "\n".join(told))


def _on_paper(x: float, y: float, words: tuple[tuple[str, str], ...], size: float) -> list[Shape]:
    """Words around x with nothing behind them."""
    width = text_width(words[0][0], size) + 4
    return [Box(x - width / 2, y - size + 1, width, size + 3, "paper", 2.0), Words(x, y, words, size, "middle")]


def _at(values: Floats | None, unit: int) -> float | None:
    return None if values is None else float(values[unit])


def _brief(x: float) -> str:
    """A number in at most six characters."""
    text = (
        f"{x:.2f}".rstrip("0").rstrip(".")
        if 0.005 <= abs(x) < 1000
        else f"{x:.0e}".replace("e-0", "e-").replace("e+0", "e")
    )
    return "0" if x == 0 else text


def _colour(share: float) -> str:
    """From white to blue for what is positive, to orange for what is negative."""
    end = POSITIVE if share > 0 else NEGATIVE
    part = min(abs(share), 1.0)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(ZERO, end, strict=True))


def _legend(network: NetworkDrawing) -> list[tuple[tuple[str, str], ...]]:
    lines: list[tuple[tuple[str, str], ...]] = [
        (("lines: weights, ", "note"), ("solid where positive, ", "value"), ("dashed where negative", "gradient"))
    ]
    if any(each is not None for each in network.activity.values):
        second = [("in a unit: its activation", "note")]
        if any(each is not None for each in network.activity.gradients):
            second.append((f";  ring and ←: the gradient of {network.activity.of} by it", "gradient"))
        lines.append(tuple(second))
    return lines
