"""Straight code: every element in a register, but for long functions of many elements, which vectors compute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import jit, vector_math
from backlit.compiler.straight import MANY

SHAPES = [(MANY - 1,), (MANY,), (MANY + 1,), (5, 7), (3, 4, 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["softplus", "tanh", "pow"])
def test_a_long_function_gives_the_same_by_vectors(name: str, shape: tuple[int, ...], dtype: str) -> None:
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


def test_equal_elements_are_computed_once() -> None:
    def f(x: Any) -> Any:
        return bl.tanh(bl.broadcast_to(x, (40, 3)))

    compiled = bl.compile(f)
    x = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(compiled(x).data, np.tanh(np.broadcast_to(x, (40, 3))), rtol=1e-14)


def test_vectors_may_stand_in_a_loop() -> None:
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


@pytest.mark.parametrize("type", ["float", "double"])
@pytest.mark.parametrize("name", vector_math.NAMES)
def test_a_function_of_vectors_is_that_of_its_numbers(name: str, type: str) -> None:
    wide = vector_math.of_vectors(name, type)
    assert wide is not None
    lanes, arity = vector_math.LANES[type], vector_math.arity(name)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(arity, 8 * lanes)).astype("f4" if type == "float" else "f8") * 3
    x[:, :6] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310]
    made = vector_math.definitions([(name, type), (name, wide)])
    x, results = np.ascontiguousarray(x), np.zeros((2, x.shape[1]), x.dtype)
    text = f"{made.text}\ndefine void @main(ptr %p, i64 %n) {{\nentry:\n"
    for row, (kind, count) in enumerate(((type, 8 * lanes), (wide, 8))):
        for k in range(count):
            args = []
            for j in range(arity):
                at = j * 8 * lanes + k * (8 * lanes // count)
                text += f"  %a{row}.{k}.{j} = getelementptr {type}, ptr %p, i64 {at}\n"
                text += f"  %x{row}.{k}.{j} = load {kind}, ptr %a{row}.{k}.{j}, align {x.itemsize}\n"
                args.append(f"{kind} %x{row}.{k}.{j}")
            goal = (arity + row) * 8 * lanes + k * (8 * lanes // count)
            text += f"  %y{row}.{k} = call {kind} {vector_math.symbol(name, kind)}({', '.join(args)})\n"
            text += f"  %g{row}.{k} = getelementptr {type}, ptr %p, i64 {goal}\n"
            text += f"  store {kind} %y{row}.{k}, ptr %g{row}.{k}, align {x.itemsize}\n"
    memory = np.concatenate([x, results])
    machine = jit.Machine(text + "  ret void\n}\n", level=0)
    machine.entry(memory.ctypes.data, 0)
    one_by_one, at_once = memory[arity:]
    np.testing.assert_array_equal(one_by_one, at_once)


@pytest.mark.parametrize("n", [1, 3, 17, 90])
@pytest.mark.parametrize("order", [1, 2])
def test_the_gradient_of_an_array_used_one_by_one(n: int, order: int) -> None:
    def along(w: Any) -> Any:
        total = 1.0
        for i in range(n):
            total = bl.tanh(total * w[i]) + w[i] * w[-i]
        return total

    def across(w: Any) -> Any:
        m = bl.stack([w, w * 2 - 1])
        total = w[0] * 0.0
        for i in range(n):
            total = total + m[i % 2, i] * m[-1, -1] - bl.sin(m[1, -i])
        return total

    w = np.linspace(-1, 1, n)
    for f in (along, across):
        slope = bl.grad(f)
        g = slope if order == 1 else bl.grad(lambda x, s=slope: (s(x) * np.cos(np.arange(n))).sum())
        compiled = bl.compile(g)
        np.testing.assert_allclose(compiled(w).data, g(bl.Value(w)).data, rtol=1e-11, atol=1e-13)
        notes = compiled.entries[0].program.notes
        assert len(notes) < 40 or order == 2, "many numbers are placed together"
        assert n > 17 or order == 2 or notes[0].kind == "straight"


def test_what_is_placed_together_keeps_its_order_and_its_zeros() -> None:
    numbers = [1e16, 1.0, -1e16, 1.0, -0.0]

    def f(x: Any) -> Any:
        total = bl.zeros(3).at[0].add(x[0])
        for k in range(1, 5):
            total = total + bl.zeros(3).at[k // 4].add(x[k])
        return total

    got, wanted = bl.compile(f)(np.array(numbers)).data, f(bl.Value(numbers)).data
    assert np.array_equal(got, wanted)
    assert np.array_equal(np.signbit(got), np.signbit(wanted))


def test_a_scatter_to_positions_that_are_known_stands_in_a_line() -> None:
    def f(x: Any, y: Any) -> Any:
        return x.at[[1, -1, 1]].add(y)

    x, y = np.arange(4.0), np.array([10.0, 20.0, 30.0])
    compiled = bl.compile(f)
    np.testing.assert_array_equal(compiled(x, y).data, [0.0, 41.0, 2.0, 23.0])
    assert [note.kind for note in compiled.entries[0].program.notes] == ["straight"]
    outside = bl.compile(lambda x, y: x.at[[1, 7, 1]].add(y))
    with pytest.raises(bl.BacklitError):
        outside(x, y)
