"""Colours and type: the colours of Okabe and Ito 2008, which the colour-blind can tell apart, by day and in the dark.

Nothing is told by colour alone: forward and backward also differ by the direction of their arrows and by a dash.
Colours of text are darkened (by day) or lightened (in the dark) versions that keep a contrast of 4.5 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace'
ADVANCE = 0.602  # the width of a character of these fonts, as a share of the size


@dataclass(frozen=True, slots=True)
class Palette:
    """One set of colours."""

    paper: str
    card: str
    ink: str
    dim: str  # text that matters less
    border: str
    forward: str  # lines
    forward_ink: str  # text
    backward: str
    backward_ink: str
    variable: str  # border of what can be learned
    variable_card: str
    folded_card: str
    found: str  # what a search found
    bad: str  # NaN and infinities
    none: str  # where nothing flows


DAY = Palette(
    paper="#ffffff",
    card="#ffffff",
    ink="#1b1f24",
    dim="#5a6270",
    border="#8a929e",
    forward="#0072b2",
    forward_ink="#00609a",
    backward="#d55e00",
    backward_ink="#ad4a00",
    variable="#009e73",
    variable_card="#eef8f4",
    folded_card="#f3f4f6",
    found="#e69f00",
    bad="#a8326f",
    none="#b6bcc6",
)
NIGHT = Palette(
    paper="#15181d",
    card="#1d2127",
    ink="#e8eaed",
    dim="#a3abb8",
    border="#6d7683",
    forward="#56b4e9",
    forward_ink="#7cc5ef",
    backward="#e8863a",
    backward_ink="#f2a15f",
    variable="#2fbf95",
    variable_card="#16261f",
    folded_card="#262b33",
    found="#f0e442",
    bad="#e08fb9",
    none="#4a525e",
)


def rules(p: Palette) -> dict[str, dict[str, str]]:
    """What each style looks like: properties of SVG, by class."""
    line = {"fill": "none"}
    return {
        "paper": {"fill": p.paper},
        "card": {"fill": p.card, "stroke": p.border},
        "behind": {"fill": p.folded_card, "stroke": p.border},
        "folded .card": {"fill": p.folded_card, "stroke": p.border},
        "variable .card": {"fill": p.variable_card, "stroke": p.variable},
        "constant .card": {"fill": p.paper, "stroke": p.none},
        "backward-pass .card": {"stroke": p.backward},
        "output .card": {"stroke": p.ink},
        "hit .card": {"stroke": p.found},
        "bad .card": {"stroke": p.bad},
        "name": {"fill": p.ink},
        "formula": {"fill": p.dim},
        "value": {"fill": p.forward_ink},
        "gradient": {"fill": p.backward_ink},
        "partial": {"fill": p.backward_ink},
        "note": {"fill": p.dim},
        "label": {"fill": p.paper},
        "rule": {"stroke": p.none},
        "forward": {**line, "stroke": p.forward},
        "backward": {**line, "stroke": p.backward},
        "nothing": {**line, "stroke": p.none},
        "plus": {**line, "stroke": p.forward},
        "minus": {**line, "stroke": p.backward},
        "unit": {"fill": p.card, "stroke": p.border},
        "inside": {"fill": DAY.ink},
        "ring": {**line, "stroke": p.backward},
    }


FIXED: dict[str, dict[str, str]] = {
    "card": {"stroke-width": "1.2"},
    "behind": {"stroke-width": "1.2"},
    "variable .card": {"stroke-width": "1.8"},
    "constant .card": {"stroke-dasharray": "3 3"},
    "output .card": {"stroke-width": "2.2"},
    "hit .card": {"stroke-width": "3.5"},
    "bad .card": {"stroke-width": "3"},
    "name": {"font-weight": "700"},
    "unnamed": {"font-weight": "400", "font-style": "italic"},
    "backward": {"stroke-dasharray": "7 2.5"},
    "nothing": {"stroke-dasharray": "1.5 4"},
    "minus": {"stroke-dasharray": "6 2"},
    "missed": {"opacity": "0.4"},
}


def text_width(text: str, size: float) -> float:
    """How wide a line of text is."""
    return len(text) * size * ADVANCE
