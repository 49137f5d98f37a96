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


def test_what_is_computed_one_by_one_alone_is_left_to_itself() -> None:
    compiled = bl.compile(bl.sin)  # of float64: looks up numbers in a table
    x = np.linspace(-1, 1, 20)
    np.testing.assert_allclose(compiled(x).data, np.sin(x), rtol=1e-14)
    (note,) = compiled.entries[0].program.notes
    assert note.text.count("call double @bl.sin.f64") == 20


@pytest.mark.parametrize("type", ["float", "double"])
@pytest.mark.parametrize("name", vector_math.NAMES)
def test_a_function_of_vectors_is_that_of_its_numbers(name: str, type: str) -> None:
    wide = vector_math.of_vectors(name, type)
    if wide is None:
        assert name in ("sin", "cos", "tan")
        return
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
