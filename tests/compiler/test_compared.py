"""`compiled.compare(...)`: rounding is told from bugs, and nothing is changed by asking."""

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import compared
from backlit.compiler.ir import Graph

RNG = np.random.default_rng(11)


def learner(dtype: str) -> tuple[Any, list[Any]]:
    w = bl.Parameter((RNG.normal(size=(30, 20)) * 0.2).astype(dtype), name="w")
    b = bl.Parameter(np.zeros(20, dtype), name="b")
    optimizer = bl.optim.Adam([w, b], lr=0.01)

    def step(x: Any) -> Any:
        hidden = bl.tanh(x @ w + b)
        loss = (bl.softmax(hidden, axis=1) * bl.exp(hidden)).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, [w, b]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_right_program_is_off_by_rounding_only(dtype: str) -> None:
    step, (w, b) = learner(dtype)
    compiled = bl.compile(step)
    x = RNG.normal(size=(16, 30)).astype(dtype)
    compiled(x)
    before = np.array(w.data), np.array(b.data)
    found = compiled.compare(x)
    assert found.verdict == "rounding"
    assert "Verdict: rounding." in found.text
    assert all(d.ulps < 64 for d in found.differences if not d.is_end)
    assert np.array_equal(before[0], w.data)
    assert np.array_equal(before[1], b.data)
    assert w.grad is None
    assert compiled.traces == 1
    ops = {d.op for d in found.differences}
    assert {"matmul", "tanh", "exp", "whole"} <= ops
    assert max(map(len, found.text.splitlines())) <= 80
    assert found.text.count("test_compared.py") > 5
    assert any(line.strip().startswith("w ") and "whole" in line for line in found.text.splitlines())


def test_equal_numbers_are_called_equal() -> None:
    found = bl.compile(lambda x: (x * 2.0 + 1.0).max()).compare(np.arange(12.0))
    assert found.verdict == "equal"
    assert {d.ulps for d in found.differences} == {0.0}
    assert bl.compile(lambda x: x + 1).compare(np.arange(12)).verdict == "equal"


def test_a_wrong_lowering_is_called_a_bug_and_its_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Graph.map

    def wrong(self: Any, function: str, *args: Any, dtype: Any = None) -> Any:
        return right(self, "sinh" if function == "sin" else function, *args, dtype=dtype)

    monkeypatch.setattr(Graph, "map", wrong)

    def f(x: Any) -> Any:
        y = bl.sin(x)
        return (y * y).sum()

    found = bl.compile(f).compare(np.linspace(0.1, 1.0, 50))
    assert found.verdict == "bug"
    assert found.worst.op == "sin"
    assert found.worst.ulps > 1e10
    line = next(line for line in found.text.splitlines() if line.startswith("!"))
    assert f"test_compared.py:{f.__code__.co_firstlineno + 1}" in line
    assert "sin" in line
    assert not next(d for d in found.differences if d.op == "sum").is_bug  # right on the numbers it was given


def test_a_bug_that_shows_only_where_ops_are_fused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Any) -> Any:
        return bl.exp(x) * 2.0

    right = compared.of_trace

    def wrong(traced: Any) -> Any:
        program, nodes = right(traced)
        run = program.run
        program.run = lambda datas, count=1: [y * 1.001 for y in run(datas, count)]
        return program, nodes

    monkeypatch.setattr(compared, "of_trace", wrong)
    found = bl.compile(f).compare(np.linspace(0.0, 1.0, 70))
    assert found.verdict == "bug"
    assert found.worst.op == "whole"
    assert [d.is_bug for d in found.differences if not d.is_end] == [False, False]


def test_cancellation_is_not_called_a_bug() -> None:
    def f(x: Any) -> Any:
        return (x.sum(axis=0) - 1000.0 * x[0]) * 1e6  # nearly nothing is left, times a million

    x = np.full((1000, 9), 0.1, np.float32)
    assert bl.compile(f).compare(x).verdict in ("equal", "rounding")


@pytest.mark.parametrize("reverse", [False, True])
def test_loops_inside_are_compared_turn_by_turn(reverse: bool) -> None:
    def f(start: Any, xs: Any, w: Any) -> Any:
        end, ys = bl.scan(lambda c, x: (bl.tanh(c @ w + x), (c * x).sum()), start, xs, reverse=reverse)
        return end, ys

    arguments = np.ones(3), RNG.normal(size=(7, 3)), RNG.normal(size=(3, 3))
    found = bl.compile(f).compare(*arguments)
    assert found.verdict in ("equal", "rounding")
    assert [d.op for d in found.differences] == ["scan", "scan", "whole", "whole"]
    assert all(d.compiled_error < 64 for d in found.differences)


def test_nan_and_infinity_are_the_same_in_both() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0])
    assert bl.compile(lambda x: bl.exp(x) - 1.0).compare(x).verdict in ("equal", "rounding")


def test_wrong_whole_numbers_are_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Graph.map

    def wrong(self: Any, function: str, *args: Any, dtype: Any = None) -> Any:
        swapped = "subtract" if function == "add" and args[0].dtype.kind == "i" else function
        return right(self, swapped, *args, dtype=dtype)

    monkeypatch.setattr(Graph, "map", wrong)
    found = bl.compile(lambda x: x + 3).compare(np.arange(12))
    assert found.verdict == "bug"
    assert found.worst.ulps == float("inf")


def test_units_are_those_of_the_largest_number() -> None:
    assert compared._unit(np.array([1.0, -4.0]), np.dtype("float64")) == np.spacing(4.0)
    assert compared._unit(np.array([np.inf, 1.0]), np.dtype("float32")) == np.spacing(np.float32(1))
    assert compared._apart(np.array([1.0, 2.0]), np.array([1.0, np.nan]), 1e-16) == float("inf")
    assert compared._apart(np.array([np.nan]), np.array([np.nan]), 1.0) == 0.0
    assert compared._apart(np.zeros(2), np.zeros(3), 1.0) == float("inf")
    assert compared._apart(np.zeros(0), np.zeros(0), 1.0) == 0.0
