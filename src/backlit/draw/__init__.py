"""How graphs, networks and runs are shown: as SVG, PNG, a page that steps through a derivation, or text. Prints nothing."""

from __future__ import annotations

from backlit.draw.drawing import Drawing, draw, draw_text

__all__ = ["Drawing", "draw", "draw_text"]
