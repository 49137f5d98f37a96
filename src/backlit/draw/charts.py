"""A matplotlib figure that shows itself in a notebook and saves itself whole, and the look that all plots share."""

from __future__ import annotations

import io
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from backlit.draw.drawing import save_as
from backlit.draw.missing import matplotlib
from backlit.draw.theme import DAY

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1b1f24")  # Okabe and Ito 2008
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Chart:
    """A plot. figure, axes: matplotlib's own, for whatever else should be done to it.

    In a notebook it shows itself; `.save("x.png")`, or .svg or .pdf, writes it as a whole or not at all.
    """

    def __init__(self, axes: Any = None, size: tuple[float, float] = (6.4, 4.0)) -> None:
        if axes is None:
            module = matplotlib("a plot")
            self.figure: Any = module("figure").Figure(figsize=size, layout="constrained")
            module("backends.backend_agg").FigureCanvasAgg(self.figure)
            self.axes: Any = self.figure.add_subplot()
        else:
            self.axes, self.figure = axes, axes.figure
        for side in ("top", "right"):
            self.axes.spines[side].set_visible(False)
        self.axes.grid(True, color=DAY.none, linewidth=0.5, alpha=0.5)
        self.axes.set_axisbelow(True)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the plot to a file: .png, .svg or .pdf, as the ending says."""
        return save_as(path, {f".{kind}": partial(self._written, kind) for kind in ("png", "svg", "pdf")})

    def _written(self, kind: str) -> bytes:
        out = io.BytesIO()
        dated = {} if kind == "png" else {"Date": None} if kind == "svg" else {"CreationDate": None}
        self.figure.savefig(out, format=kind, dpi=200, metadata=dated)
        return out.getvalue()

    def _repr_png_(self) -> bytes:
        return self._written("png")
