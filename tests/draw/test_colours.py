"""Colours: enough contrast by day and in the dark, and apart from one another for people who are colour-blind."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backlit.draw.network import NEGATIVE, POSITIVE, ZERO
from backlit.draw.svg import style_sheet
from backlit.draw.theme import DAY, NIGHT, Palette, rules

# Machado, Oliveira and Fernandes 2009, table 1, severity 1.0; on linear RGB.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}


def linear(colour: str) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2.2, contrast ratio."""
    light, dark = sorted((float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, white point D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("palette", [DAY, NIGHT], ids=["day", "night"])
@pytest.mark.parametrize("ink", ["ink", "dim", "forward_ink", "backward_ink"])
@pytest.mark.parametrize("ground", ["paper", "card", "variable_card", "folded_card"])
def test_text_has_a_contrast_of_four_and_a_half(palette: Palette, ink: str, ground: str) -> None:
    assert contrast(getattr(palette, ink), getattr(palette, ground)) >= 4.5


@pytest.mark.parametrize("palette", [DAY, NIGHT], ids=["day", "night"])
@pytest.mark.parametrize("line", ["forward", "backward", "variable", "border"])
def test_lines_have_a_contrast_of_three(palette: Palette, line: str) -> None:
    assert contrast(getattr(palette, line), palette.paper) >= 3


@pytest.mark.parametrize("share", [ZERO, POSITIVE, NEGATIVE])
def test_a_number_can_be_read_in_every_unit(share: tuple[int, int, int]) -> None:
    assert contrast(DAY.ink, "#" + "".join(f"{part:02x}" for part in share)) >= 4.5


@pytest.mark.parametrize("palette", [DAY, NIGHT], ids=["day", "night"])
@pytest.mark.parametrize("kind", BLIND)
def test_forward_and_backward_differ_for_everyone(palette: Palette, kind: str) -> None:
    for a, b in ((palette.forward, palette.backward), (palette.forward_ink, palette.backward_ink)):
        seen = [lab(np.array(BLIND[kind]) @ linear(each)) for each in (a, b)]
        assert np.linalg.norm(seen[0] - seen[1]) > 30  # 2.3 can just be told apart


def test_the_dark_has_a_colour_for_every_class_that_the_day_has() -> None:
    light, dark = style_sheet().split("@media (prefers-color-scheme: dark){")
    for name, look in rules(DAY).items():
        assert f".{name}{{" in light
        assert f".{name}{{" in dark
        for each in look:
            assert re.search(rf"\.{re.escape(name)}{{[^}}]*{each}:", dark)
