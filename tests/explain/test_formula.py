"""Formulas: numbers, names and graphs as text and LaTeX."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit.explain.formula import (
    equals,
    expression_latex,
    expression_text,
    name_latex,
    number_latex,
    number_text,
    partial_formula,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2.0, "2"),
        (-0.0, "0"),
        (1234567.0, "1234567"),
        (1e20, "1e20"),
        (0.1, "0.1"),
        (1 / 3, "0.333333"),
        (1.5e-7, "1.5e-7"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float32(0.5), "0.5"),
        (np.bool_(True), "true"),
        (np.int64(3), "3"),
        (np.array([1.0, 0.5]), "[1, 0.5]"),
        (np.zeros(100), "array(100)"),
        (np.zeros((2, 3)), "array(2, 3)"),
        (np.zeros(0), "array(0)"),
    ],
)
def test_numbers_are_short(number, text):
    assert number_text(number) == text


def test_rounding_is_marked():
    assert equals(0.5) == equals(2.0) == equals(0.49999999999999994) == "="
    assert equals(1 / 3) == equals(6.8813735870195432) == "≈"


def test_numbers_in_latex():
    assert number_latex(1.5e-7) == r"1.5 \times 10^{-7}"
    assert number_latex(float("inf")) == r"\infty"
    assert number_latex(float("nan")) == r"\text{nan}"


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("x", "x"),
        ("x1", "x_{1}"),
        ("t12", "t_{12}"),
        ("sigma", r"\sigma"),
        ("w_out", r"w_{\mathrm{out}}"),
        ("w_1_2", "w_{1, 2}"),
        ("loss", r"\mathrm{loss}"),
        ("_", r"\_"),
        ("λ1", r"\lambda_{1}"),
        ("Δ", r"\Delta"),
        ("変数", r"\text{変数}"),
        ("x#2", "x^{(2)}"),
    ],
)
def test_names_in_latex(name, latex):
    assert name_latex(name) == latex


def test_parentheses_stand_where_they_are_needed():
    a, b, c = bl.values(a=2.0, b=3.0, c=4.0)
    assert expression_text((a + b) * c - a / (b * c)) == "(a + b) * c - a / (b * c)"
    assert expression_text((-a) ** 2.0) == "(-a)**2"
    assert expression_text(a - (b - c)) == "a - (b - c)"
    assert expression_text(a * -b) == "a * (-b)"
    assert expression_text(bl.tanh(a + b)) == "tanh(a + b)"
    assert expression_latex(a / (b + c)) == r"\frac{a}{b + c}"


def test_a_graph_that_shares_its_parts_is_cut_and_not_unfolded():
    x = bl.Value(1.0, name="x")
    y = x
    for _ in range(200):
        y = y * y + x
    text = expression_text(y)
    assert len(text) < 10_000
    assert "…" in text


def test_long_chains_do_not_recurse():
    x = bl.Value(1.0, name="x")
    y = x
    for _ in range(20_000):
        y = bl.tanh(y)
    assert "…" in expression_text(y)


def test_partials_are_simplified_and_say_why():
    x, y = bl.values(x=3.0, y=0.5)
    names = {x: "x", y: "y"}
    assert partial_formula(1.0 - y * y, names).text == "1 - y**2"
    assert partial_formula(1.0 * x, names).text == "x"
    assert partial_formula(x * -1.0, names).text == "-x"
    assert partial_formula(x + 0.0, names).text == "x"
    chosen = partial_formula(bl.where(x < y, y, x), names)
    assert (chosen.text, chosen.numbers, chosen.because) == ("x", "3", ("x >= y",))
    true = partial_formula(x > 0, names)
    assert (true.text, true.because) == ("1", ("x > 0",))
    assert partial_formula(-1.0, names).text == "-1"


def test_numbers_put_in_for_names_keep_their_signs_apart():
    x, y = bl.values(x=-3.0, y=-0.5)
    written = partial_formula(x - y * x, {x: "x", y: "y"})
    assert written.numbers == "-3 - (-0.5 * (-3))"
    assert partial_formula(-x, {x: "x"}).numbers == "-(-3)"
    assert partial_formula(x**2.0, {x: "x"}).numbers == "(-3)**2"
