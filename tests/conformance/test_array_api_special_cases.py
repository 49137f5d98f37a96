"""The special cases that the standard lists for real numbers, by scalars and by arrays, as functions and operators.

Sources: the tables of "special cases" in the Python Array API standard 2024.12, and IEEE 754 where it refers to it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl

INF, NAN, PI = math.inf, math.nan, math.pi

UNARY: dict[str, list[tuple[float, float]]] = {
    "abs": [(NAN, NAN), (-0.0, 0.0), (-INF, INF)],
    "acos": [(NAN, NAN), (1.5, NAN), (-1.5, NAN), (1.0, 0.0)],
    "acosh": [(NAN, NAN), (0.5, NAN), (1.0, 0.0), (INF, INF)],
    "asin": [(NAN, NAN), (1.5, NAN), (-1.5, NAN), (0.0, 0.0), (-0.0, -0.0)],
    "asinh": [(NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "atan": [(NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, PI / 2), (-INF, -PI / 2)],
    "atanh": [(NAN, NAN), (-1.5, NAN), (1.5, NAN), (-1.0, -INF), (1.0, INF), (0.0, 0.0), (-0.0, -0.0)],
    "ceil": [(INF, INF), (-INF, -INF), (0.0, 0.0), (-0.0, -0.0), (NAN, NAN), (-0.5, -0.0), (2.0, 2.0)],
    "cos": [(NAN, NAN), (0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "cosh": [(NAN, NAN), (0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF)],
    "exp": [(NAN, NAN), (0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1000.0, INF)],
    "expm1": [(NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0)],
    "floor": [(INF, INF), (-INF, -INF), (0.0, 0.0), (-0.0, -0.0), (NAN, NAN), (2.0, 2.0)],
    "log": [(NAN, NAN), (-1.0, NAN), (0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF)],
    "log1p": [(NAN, NAN), (-2.0, NAN), (-1.0, -INF), (0.0, 0.0), (-0.0, -0.0), (INF, INF)],
    "log2": [(NAN, NAN), (-1.0, NAN), (0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF)],
    "log10": [(NAN, NAN), (-1.0, NAN), (0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF)],
    "reciprocal": [(NAN, NAN), (0.0, INF), (-0.0, -INF), (INF, 0.0), (-INF, -0.0)],
    "round": [
        (INF, INF), (-INF, -INF), (0.0, 0.0), (-0.0, -0.0), (NAN, NAN), (0.5, 0.0), (1.5, 2.0), (2.5, 2.0),
        (-0.5, -0.0),
    ],
    "sign": [(-2.0, -1.0), (0.0, 0.0), (-0.0, 0.0), (2.0, 1.0), (NAN, NAN), (INF, 1.0), (-INF, -1.0)],
    "sin": [(NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "sinh": [(NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "sqrt": [(NAN, NAN), (-1.0, NAN), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, INF)],
    "square": [(NAN, NAN), (-0.0, 0.0), (-INF, INF)],
    "tan": [(NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "tanh": [(NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)],
    "trunc": [(INF, INF), (-INF, -INF), (0.0, 0.0), (-0.0, -0.0), (NAN, NAN), (-0.5, -0.0)],
}  # fmt: skip
BINARY: dict[str, list[tuple[float, float, float]]] = {
    "add": [
        (NAN, 1.0, NAN), (INF, -INF, NAN), (-INF, INF, NAN), (INF, INF, INF), (-INF, -INF, -INF), (INF, 1.0, INF),
        (1.0, -INF, -INF), (-0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (0.0, -0.0, 0.0), (-0.0, 2.0, 2.0), (2.0, -2.0, 0.0),
    ],
    "subtract": [(INF, INF, NAN), (-0.0, 0.0, -0.0), (0.0, 0.0, 0.0), (1.0, INF, -INF)],
    "multiply": [
        (NAN, 1.0, NAN), (INF, 0.0, NAN), (-0.0, -INF, NAN), (INF, -INF, -INF), (INF, -2.0, -INF), (-2.0, -INF, INF),
        (-2.0, 0.0, -0.0), (-0.0, -0.0, 0.0),
    ],
    "divide": [
        (NAN, 1.0, NAN), (INF, -INF, NAN), (0.0, -0.0, NAN), (0.0, 2.0, 0.0), (-0.0, 2.0, -0.0), (0.0, -2.0, -0.0),
        (-0.0, -2.0, 0.0), (2.0, 0.0, INF), (2.0, -0.0, -INF), (-2.0, 0.0, -INF), (-2.0, -0.0, INF), (INF, 2.0, INF),
        (INF, -2.0, -INF), (2.0, INF, 0.0), (2.0, -INF, -0.0), (-2.0, INF, -0.0), (-2.0, -INF, 0.0),
    ],
    "remainder": [
        (NAN, 1.0, NAN), (INF, INF, NAN), (0.0, 0.0, NAN), (0.0, 2.0, 0.0), (-0.0, 2.0, 0.0), (0.0, -2.0, -0.0),
        (-0.0, -2.0, -0.0), (2.0, 0.0, NAN), (2.0, -0.0, NAN), (-2.0, 0.0, NAN), (INF, 2.0, NAN), (-INF, 2.0, NAN),
        (INF, -2.0, NAN), (-INF, -2.0, NAN), (2.0, INF, 2.0), (2.0, -INF, -INF), (-2.0, INF, INF), (-2.0, -INF, -2.0),
        (7.5, -2.0, -0.5), (-7.5, 2.0, 0.5), (4.0, -2.0, -0.0),
    ],
    "floor_divide": [
        (NAN, 1.0, NAN), (0.0, 0.0, NAN), (0.0, 2.0, 0.0), (-0.0, 2.0, -0.0), (0.0, -2.0, -0.0), (-0.0, -2.0, 0.0),
        (2.0, 0.0, INF), (2.0, -0.0, -INF), (-2.0, 0.0, -INF), (-2.0, -0.0, INF), (7.5, -2.0, -4.0), (-7.5, 2.0, -4.0),
    ],
    "pow": [
        (2.0, NAN, NAN), (NAN, 0.0, 1.0), (NAN, -0.0, 1.0), (NAN, 2.0, NAN), (1.0, NAN, 1.0), (2.0, INF, INF),
        (-2.0, -INF, 0.0), (1.0, INF, 1.0), (-1.0, INF, 1.0), (-1.0, -INF, 1.0), (0.5, INF, 0.0), (-0.5, -INF, INF),
        (INF, 0.5, INF), (INF, -0.5, 0.0), (-INF, 3.0, -INF), (-INF, 2.0, INF), (-INF, 0.5, INF), (-INF, -3.0, -0.0),
        (-INF, -2.0, 0.0), (0.0, 0.5, 0.0), (0.0, -1.0, INF), (-0.0, 3.0, -0.0), (-0.0, 2.0, 0.0), (-0.0, 0.5, 0.0),
        (-0.0, -3.0, -INF), (-0.0, -2.0, INF), (-0.0, -0.5, INF), (-2.0, 0.5, NAN), (-8.0, 3.0, -512.0),
        (0.0, 0.0, 1.0),
    ],
    "atan2": [
        (NAN, 1.0, NAN), (1.0, NAN, NAN), (2.0, 0.0, PI / 2), (2.0, -0.0, PI / 2), (0.0, 2.0, 0.0), (0.0, 0.0, 0.0),
        (0.0, -0.0, PI), (0.0, -2.0, PI), (-0.0, 2.0, -0.0), (-0.0, 0.0, -0.0), (-0.0, -0.0, -PI), (-0.0, -2.0, -PI),
        (-2.0, 0.0, -PI / 2), (2.0, INF, 0.0), (2.0, -INF, PI), (-2.0, INF, -0.0), (-2.0, -INF, -PI),
        (INF, 2.0, PI / 2), (-INF, 2.0, -PI / 2), (INF, INF, PI / 4), (INF, -INF, 3 * PI / 4), (-INF, INF, -PI / 4),
        (-INF, -INF, -3 * PI / 4),
    ],
    "copysign": [(2.0, -0.0, -2.0), (-2.0, 0.0, 2.0), (0.0, -1.0, -0.0), (NAN, 1.0, NAN), (-INF, 3.0, INF)],
    "hypot": [
        (INF, NAN, INF), (NAN, -INF, INF), (0.0, -3.0, 3.0), (-3.0, -0.0, 3.0), (NAN, 1.0, NAN), (1e200, 0.0, 1e200),
    ],
    "logaddexp": [
        (NAN, 1.0, NAN), (1.0, NAN, NAN), (INF, 1.0, INF), (-INF, INF, INF), (-INF, -INF, -INF), (-INF, 2.0, 2.0),
        (1000.0, -1000.0, 1000.0),
    ],
    "maximum": [(NAN, 1.0, NAN), (1.0, NAN, NAN), (INF, 1.0, INF), (-INF, 1.0, 1.0)],
    "minimum": [(NAN, 1.0, NAN), (1.0, NAN, NAN), (INF, 1.0, 1.0), (-INF, 1.0, -INF)],
    "nextafter": [(NAN, 1.0, NAN), (1.0, NAN, NAN), (-0.0, 0.0, 0.0), (0.0, -0.0, -0.0), (0.0, 1.0, 5e-324)],
}  # fmt: skip
SYMBOLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (operator.add, operator.iadd), "subtract": (operator.sub, operator.isub),
    "multiply": (operator.mul, operator.imul), "divide": (operator.truediv, operator.itruediv),
    "remainder": (operator.mod, operator.imod), "floor_divide": (operator.floordiv, operator.ifloordiv),
    "pow": (operator.pow, operator.ipow),
}  # fmt: skip


def same(got: Any, want: float) -> bool:
    """The same number or both NaN; zeros by their sign."""
    found = float(got)
    if math.isnan(want):
        return math.isnan(found)
    return math.isclose(found, want, rel_tol=1e-15) and math.copysign(1, found) == math.copysign(1, want)


@pytest.mark.parametrize("name", UNARY)
def test_special_cases_of_functions_of_one_array(name: str) -> None:
    function = getattr(bl, name)
    for x, want in UNARY[name]:
        assert same(function(bl.Value(x)), want), (name, x)
        assert same(function(bl.asarray([x, 0.25]))[0], want), (name, x)
        if abs(x) not in (1000.0,):
            with np.errstate(all="ignore"):
                expected = float(np.float32(want))
            got = function(bl.asarray(x, dtype=bl.float32))
            assert got.dtype == bl.float32
            assert same(got, expected) or math.isclose(float(got), want, rel_tol=1e-6), (name, x)


@pytest.mark.parametrize("name", BINARY)
def test_special_cases_of_functions_of_two_arrays(name: str) -> None:
    function = getattr(bl, name)
    for a, b, want in BINARY[name]:
        assert same(function(bl.Value(a), bl.Value(b)), want), (name, a, b)
        assert same(function(bl.asarray([a, 1.0]), bl.asarray([b, 1.0]))[0], want), (name, a, b)
        assert same(function(bl.asarray([a, 1.0]), b)[0], want), (name, a, b)
        assert same(function(a, bl.asarray([[b], [1.0]]))[0, 0], want), (name, a, b)


@pytest.mark.parametrize("name", SYMBOLS)
def test_special_cases_of_operators(name: str) -> None:
    plain, in_place = SYMBOLS[name]
    for a, b, want in BINARY[name]:
        assert same(plain(bl.Value(a), b), want), (name, a, b)
        assert same(plain(a, bl.Value(b)), want), (name, a, b)
        assert same(plain(bl.Value(a), bl.Value(b)), want), (name, a, b)
        assert same(plain(bl.asarray([a, 1.0]), b)[0], want), (name, a, b)
        assert same(plain(a, bl.asarray([b, 1.0]))[0], want), (name, a, b)
        assert same(in_place(bl.Value(a), bl.Value(b)), want), (name, a, b)
        assert same(in_place(bl.asarray([a, 1.0]), bl.asarray([b, 1.0]))[0], want), (name, a, b)


def test_special_cases_of_reductions() -> None:
    empty = bl.zeros((0, 3))
    assert same(bl.sum(bl.asarray([])), 0.0)
    assert same(bl.prod(bl.asarray([])), 1.0)
    assert same(bl.mean(bl.asarray([1.0, NAN])), NAN)
    assert same(bl.max(bl.asarray([1.0, NAN])), NAN)
    assert same(bl.min(bl.asarray([NAN, 1.0])), NAN)
    assert bool(bl.all(empty))
    assert not bool(bl.any(empty))
    assert bool(bl.all(bl.asarray([1.0, NAN, -INF])))  # NaN and infinities count as true
    assert not bool(bl.any(bl.asarray([0.0, -0.0])))


def test_truth_of_special_numbers() -> None:
    assert bool(bl.asarray(NAN))
    assert bool(bl.asarray(-INF))
    assert not bool(bl.asarray(-0.0))
    assert bool(bl.asarray(1j))
    assert not bool(bl.asarray(0j))
