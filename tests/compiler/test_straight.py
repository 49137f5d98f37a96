"""Straight code: every element in a register, but for long functions of many elements, which loops compute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler.straight import MANY

SHAPES = [(MANY - 1,), (MANY,), (MANY + 1,), (5, 7), (3, 4, 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["softplus", "tanh", "pow"])
def test_a_long_function_gives_the_same_by_a_loop(name: str, shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(len(shape))
    x, y = (rng.uniform(0.5, 2.0, shape).astype(dtype) for _ in range(2))

    def function(a: Any, b: Any) -> Any:
        return a**b if name == "pow" else getattr(bl, name)(a * b)

    def f(x: Any, y: Any) -> Any:
        return function(x, y) * y, function(y, x).sum()

    compiled = bl.compile(f)
    for found, want in zip(compiled(x, y), f(bl.Value(x), bl.Value(y)), strict=True):
        np.testing.assert_allclose(found.data, want.data, rtol=32 * float(np.finfo(dtype).eps))
    (note,) = compiled.entries[0].program.notes
    assert note.kind == "straight"
    calls = note.text.count("call " + ("float" if dtype == "float32" else "double"))
    assert (calls == 0) == (math.prod(shape) >= MANY), "one by one where there are few"


def test_equal_elements_are_computed_once_in_such_a_loop() -> None:
    def f(x: Any) -> Any:
        return bl.tanh(bl.broadcast_to(x, (40, 3)))

    compiled = bl.compile(f)
    x = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(compiled(x).data, np.tanh(np.broadcast_to(x, (40, 3))), rtol=1e-14)


def test_such_a_loop_may_stand_in_a_loop() -> None:
    start = np.linspace(-1, 1, 20)
    p = bl.Parameter(start)

    def step() -> Any:
        p.data = bl.tanh(p * 1.5)
        return bl.exp(p).sum()

    last = bl.repeat(step, 50)
    want = start
    for _ in range(50):
        want = np.tanh(want * 1.5)
    np.testing.assert_allclose(p.data, want, rtol=1e-12)
    np.testing.assert_allclose(last.data, np.exp(want).sum(), rtol=1e-12)


def test_the_loop_becomes_vectors() -> None:
    from backlit.compiler import jit

    compiled = bl.compile(lambda x: bl.tanh(x))
    compiled(np.linspace(-1, 1, 20))
    optimized, _ = jit.of_function(compiled.entries[0].program.text, "tanh.double.24")
    assert " x double>" in optimized
