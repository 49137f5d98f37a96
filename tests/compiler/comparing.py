"""A step of learning compiled, against the same step run eagerly: numbers of all that it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import backlit as bl

CLOSE = {"float32": 2e-5, "float64": 1e-12, "float16": 1e-2}
"""How far numbers may be apart after a few steps, relative to the largest of an array."""


def numbers(values: Sequence[Any]) -> list[Any]:
    return [np.array(v.data if isinstance(v, bl.Value) else v) for v in values]


def assert_near(eager: Sequence[Any], compiled: Sequence[Any], what: str = "", factor: float = 1.0) -> None:
    """Shapes and dtypes equal, whole numbers too, and floating-point numbers near."""
    assert len(eager) == len(compiled), what
    for k, (a, b) in enumerate(zip(eager, compiled, strict=True)):
        assert a.shape == b.shape, f"{what} {k}: {a.shape} {b.shape}"
        assert a.dtype == b.dtype, f"{what} {k}: {a.dtype} {b.dtype}"
        if a.dtype.kind != "f":
            assert np.array_equal(a, b), f"{what} {k}: {a} {b}"
            continue
        scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
        far = factor * CLOSE[a.dtype.name] * (scale + 1e-3)
        np.testing.assert_allclose(b, a, rtol=0, atol=far, err_msg=f"{what} {k}")


def compare(make: Callable[[], tuple[Callable[[], Any], Sequence[Any]]], turns: int = 3, factor: float = 1.0) -> None:
    """make: gives a step and the variables that it may change, new ones each time."""
    step, variables = make()
    eager_losses = [numbers([step()])[0] for _ in range(turns)]
    eager = numbers(variables)
    step, variables = make()
    compiled = bl.compile(step)
    losses = [numbers([compiled()])[0] for _ in range(turns)]
    assert compiled.traces == 1
    assert_near(eager_losses, losses, "loss", factor)
    assert_near(eager, numbers(variables), "after calls: variable", factor)
    step, variables = make()
    last = bl.compile(step).repeat(turns)
    assert_near(eager_losses[-1:], numbers([last]), "loss of repeat", factor)
    assert_near(eager, numbers(variables), "after repeat: variable", factor)
