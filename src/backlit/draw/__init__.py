"""How graphs, networks and runs are shown: as SVG, PNG, a page that steps, or text. Prints nothing."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from backlit.draw.charts import Chart
from backlit.draw.drawing import Drawing, draw, draw_text
from backlit.draw.network import NetworkDrawing, draw_network
from backlit.draw.plots import plot_gradient_flow, plot_loss
from backlit.draw.surfaces import plot_decision_boundary, plot_loss_landscape

__all__ = [
    "Chart",
    "Drawing",
    "NetworkDrawing",
    "draw",
    "draw_network",
    "draw_text",
    "plot_decision_boundary",
    "plot_gradient_flow",
    "plot_loss",
    "plot_loss_landscape",
]


class _Draw(ModuleType):
    """The folder bears the name of its main function; `backlit.draw(x)` works whichever of the two is found first."""

    def __call__(self, *args: Any, **kwargs: Any) -> Drawing:
        return draw(*args, **kwargs)


sys.modules[__name__].__class__ = _Draw
