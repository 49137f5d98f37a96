"""Straight code: every element in a register, or in a lane of one with others that are treated alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import codegen, jit, vector_math
from backlit.compiler.lanes import Lanes
from backlit.compiler.scalars import STRAIGHT, Code
from backlit.compiler.straight import LEAST
from backlit.compiler.target import host, named

SHAPES = [(LEAST - 1,), (LEAST,), (LEAST + 1,), (5, 7), (3, 4, 2)]


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
    assert ("call <" in note.text) == (math.prod(shape) >= LEAST), "one by one where there are few"


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
    wide = vector_math.of_vectors(name, type, vector_math.LANES[type])
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [3, 4, 5, 7, 8, 9, 16, 19])
def test_nets_of_any_number_of_rows_stand_in_vectors(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    x, w, v, b = (rng.normal(size=shape).astype(dtype) for shape in ((n, 3), (3, 2), (2, 2), (2,)))

    def f(x: Any, w: Any, v: Any, b: Any) -> Any:
        h = bl.maximum(x @ w + b, 0.25 * (x @ w))
        chosen = bl.where(h > 0.1, bl.sqrt(bl.abs(h)), -h / 3)
        both = bl.concat([chosen @ v, h[::-1] * x[:, 1:]], axis=1)
        return (
            both.mT @ x,
            both.sum(),
            bl.softplus(both).mean(axis=0),
            both.max(axis=0),
            bl.minimum(both, both.mT.mT[0]),
        )

    compiled = bl.compile(f)
    wanted = f(*(bl.Value(a) for a in (x, w, v, b)))
    for found, want in zip(compiled(x, w, v, b), wanted, strict=True):
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(found.data, want.data, rtol=100 * eps, atol=100 * eps)
    (note,) = compiled.entries[0].program.notes
    assert note.kind == "straight"
    assert "fadd contract <" in note.text or n < LEAST or host().lanes_bytes < 32


def test_vectors_keep_nan_infinity_and_signed_zeros() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, np.nan, 3.0])
    y = x[::-1].copy()

    def f(x: Any, y: Any) -> Any:
        return bl.maximum(x, y), bl.minimum(x, 0.0), bl.maximum(np.nan, x), x * 0.0, -x, bl.where(x >= y, x, y), x * 1.0

    for found, want in zip(bl.compile(f)(x, y), f(bl.Value(x), bl.Value(y)), strict=True):
        np.testing.assert_array_equal(found.data, want.data)
    found = bl.compile(f)(x, y)
    assert np.array_equal(np.signbit(found[4].data), ~np.signbit(x)), "negative"
    assert np.array_equal(np.signbit(found[6].data), np.signbit(x)), "times 1"


def test_a_constant_is_of_the_type_of_what_it_meets() -> None:
    x = np.linspace(0.1, 0.9, 6)

    def f(x: Any, y: Any) -> Any:
        return 1.0 - x, 1.0 - y, bl.astype(y, "float64") * (1.0 - x)

    y = x.astype(np.float32)
    for found, want in zip(bl.compile(f)(x, y), f(bl.Value(x), bl.Value(y)), strict=True):
        assert found.dtype == want.dtype
        np.testing.assert_allclose(found.data, want.data, rtol=1e-15)


def copies(n: int) -> Any:
    """A net in n copies, each with one of its numbers a little larger; gives the loss of each."""
    moved = np.eye(9)[np.arange(n) % 9] * np.arange(1, n + 1)[:, None]
    x, signs = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([1.0, -1, -1, 1])

    def losses(w: Any) -> Any:
        nets = w + moved * 1e-3
        hidden = bl.relu(x @ nets[:, :4].reshape(n, 2, 2) + nets[:, None, 4:6])
        z = (hidden * nets[:, None, 6:8]).sum(axis=-1) + nets[:, 8:]
        return bl.softplus(signs * z).mean(axis=-1)

    return losses


@pytest.mark.parametrize("n", [7, 16, 19])
def test_a_batch_of_copies_is_computed_copy_beside_copy(n: int) -> None:
    w = np.linspace(-1, 1, 9)
    compiled = bl.compile(copies(n))
    np.testing.assert_allclose(compiled(w).data, copies(n)(bl.Value(w)).data, rtol=1e-12)
    program = compiled.entries[0].program
    (note,) = program.notes
    units = [unit for unit in jit.units(program.machine.source.text) if not unit.is_common]
    assert all(unit.kind == STRAIGHT for unit in units), "LLVM looks for none"
    if host().lanes_bytes < 64:
        return  # where vectors are shorter, more of them are computed alone
    assert "call double @bl." not in note.text
    assert note.text.count("extractelement") == n, "none but the results"
    assert note.text.count("insertelement") < 9 * 3, "numbers that all copies share"
    calls = [line for line in note.text.splitlines() if "@bl.softplus" in line]
    assert len(calls) == 4 * -(-n // 8)
    assert all(line.endswith(" noinline") for line in calls), "written once, and called"


@pytest.mark.parametrize("name", ["skylake-avx512", "haswell", "aarch64"])
def test_every_processor_has_straight_code_with_vectors(name: str) -> None:
    compiled = bl.compile(copies(19))
    compiled(np.linspace(-1, 1, 9))
    for unit in jit.units(compiled.entries[0].program.machine.source.text):
        module, _context = codegen._module(unit, named(name), 2)
        assert len(named(name).machine().emit_object(module)) > (100 if unit.is_common else 1000)


def test_elements_go_into_vectors_and_out_of_them() -> None:
    code = Code()
    lanes = Lanes(code)
    a, b = (lanes.parted(v, "double", 4, count) for v, count in (("%a", 4), ("%b", 3)))
    assert b == ["%b.0", "%b.1", "%b.2"]
    assert [lanes.together(tuple(x), "double", 4) for x in (a, b)] == ["%a", "%b"]
    assert lanes.together(("0x1", "0x1"), "float", 2) == "splat (float 0x1)"
    assert lanes.together(("0x1", "0x2"), "float", 2) == "<float 0x1, float 0x2>"
    assert not code.lines
    mixed = (a[3], b[0])
    assert lanes.price(mixed, 2) == 2
    assert lanes.together(mixed, "double", 2) == lanes.together(mixed, "double", 2)
    (line,) = code.lines
    assert line.endswith("shufflevector <4 x double> %a, <4 x double> %b, <2 x i32> <i32 3, i32 4>")
    lanes.together((a[0], "%x", "0x3", "%x"), "double", 4)
    steps = [line.split(" = ")[1].split()[0] for line in code.lines[1:]]
    assert steps == ["extractelement", "insertelement", "insertelement", "shufflevector"]
    assert "<double poison, double poison, double 0x3, double poison>" in code.lines[2]
    assert code.lines[-1].endswith("<4 x i32> <i32 0, i32 1, i32 2, i32 1>"), "one of them is there twice"
    assert lanes.is_alone(a[0])
    assert not lanes.is_alone(a[1])
    count = len(code.lines)
    lanes.alone(a[0])
    assert len(code.lines) == count, "it is out already"


def test_in_lanes_that_elements_do_not_fill_stands_nothing() -> None:
    code = Code()
    lanes = Lanes(code)
    a, b, *_ = lanes.parted("%a", "double", 8, 8)
    assert lanes.together(("0x1", "0x2"), "double", 4) == "<double 0x1, double 0x2, double poison, double poison>"
    pair = lanes.together(("%x", "%y"), "double", 8)
    assert [line.split(" = ")[1].split()[0] for line in code.lines] == ["insertelement", "insertelement"]
    assert lanes.together(("%x", "%y"), "double", 8) == pair
    assert lanes.together(("%x", "%y"), "double", 4) != pair
    assert lanes.together(("%x", *["%y"] * 7), "double", 8) != pair, "its last lanes are not the element before"
    lanes.together((b, a), "double", 4)
    assert code.lines[-1].endswith("<4 x i32> <i32 1, i32 0, i32 poison, i32 poison>")
    spread = lanes.together((b, b), "double", 4)
    assert code.lines[-1].endswith("<4 x i32> <i32 1, i32 1, i32 1, i32 1>"), "one that is in all lanes serves for all"
    assert lanes.together((b, b, b), "double", 4) == spread


CHOICES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "where": lambda m, x, y: bl.where(m > 0, x, y),
    "where or zero": lambda m, x, y: bl.where(m > y, x, 0.0),
    "zero or where": lambda m, x, y: bl.where(m > 0, 0.0, x),
    "maximum": lambda m, x, y: bl.maximum(m * 0.7, bl.maximum(x, y)),
    "relu, back": lambda m, x, y: bl.grad(lambda m: (bl.relu(m) * x).sum())(m),
    "maximum, back": lambda m, x, y: bl.grad(lambda m: (bl.maximum(m, y) * x).sum())(m),
    "clip, back": lambda m, x, y: bl.grad(lambda m: (bl.clip(m, -0.5, 0.5) * x).sum())(m),
    "relu, forward": lambda m, x, y: bl.jvp(bl.relu, (m,), (x,))[1],
    "maximum, forward": lambda m, x, y: bl.jvp(bl.maximum, (m, y), (x, m))[1],
    "loop": lambda m, x, y: bl.fori_loop(0, 3, lambda i, v: bl.where(v > 0, y, v * 2.0), x),
    "while": lambda m, x, y: bl.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, bl.where(s[1] > 0, y, s[1])), (0, x)
    )[1],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [5, 6, 7, 9, 10, 11, 18, 34])
def test_choices_are_right_where_elements_do_not_fill_the_last_vector(n: int, dtype: str) -> None:
    """LLVM 22 repeats element n - 2 where that is not written with care (AVX-512, n = 10, 18, 34)."""
    m, x, y = np.random.default_rng(n).normal(size=(3, n)).astype(dtype)
    for name, f in CHOICES.items():
        want = f(*map(bl.Value, (m, x, y))).data
        np.testing.assert_allclose(bl.compile(f)(m, x, y).data, want, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_around_loops_stand_lines_where_little_is_to_do(turns: int) -> None:
    x, w = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0.5, 1.5, 6).reshape(3, 2)

    def loss(w: Any) -> Any:
        return bl.softplus(bl.tanh(x @ w)).mean()

    def final(rate: Any) -> Any:
        first = w * bl.exp(rate)
        last, path = bl.scan(lambda v, _: ((v - rate * bl.grad(loss)(v)), v[0]), first, np.zeros((turns, 1)))
        again = bl.fori_loop(0, 3, lambda i, v: v * 0.5 + path.sum() * rate, last[:, ::-1])
        return loss(again) + path[:1].sum() + last.sum() + first[0, 0]

    compiled = bl.compile(bl.value_and_grad(final))
    for found, want in zip(compiled(0.3), bl.value_and_grad(final)(bl.Value(0.3)), strict=True):
        np.testing.assert_allclose(found.data, want.data, rtol=1e-12)
    assert {note.kind for note in compiled.entries[0].program.notes} == {"straight"}


def test_around_loops_stand_loops_where_much_is_to_do() -> None:
    x = np.linspace(-1, 1, 3000)

    def f(x: Any) -> Any:
        return bl.tanh(x * 2.0) + bl.fori_loop(0, 4, lambda i, v: bl.sin(v + i), x[0])

    compiled = bl.compile(f)
    np.testing.assert_allclose(compiled(x).data, f(bl.Value(x)).data, rtol=1e-12)
    assert "elementwise" in {note.kind for note in compiled.entries[0].program.notes}


def test_what_does_not_change_is_computed_before_the_turns() -> None:
    p = bl.Parameter(np.linspace(0.1, 0.9, 8))
    q = bl.Parameter(np.linspace(-1.0, 1.0, 8))

    def step() -> Any:
        p.data = p * bl.tanh(q) + 0.5
        return p.sum()

    compiled = bl.compile(step)
    compiled.repeat(30)
    want = np.linspace(0.1, 0.9, 8)
    for _ in range(30):
        want = want * np.tanh(q.data) + 0.5
    np.testing.assert_allclose(p.data, want, rtol=1e-12)
    text = next(note.text for note in compiled.entries[0].program.notes if note.kind == "straight")
    assert "@bl.tanh" in text[: text.index("\nhead:")]
    assert "@bl.tanh" not in text[text.index("\nhead:") :]


def test_what_a_long_kernel_calls_again_and_again_stays_a_function() -> None:
    def f(w: Any) -> Any:  # w is used number by number, so what is computed of them is one long expression
        total: Any = 1.0
        for k in range(300):
            total = bl.sin(bl.sin(total * w[k % 16])) + w[k % 16]
        return total

    compiled = bl.compile(bl.grad(f))
    w = np.linspace(-1, 1, 16)
    np.testing.assert_allclose(compiled(w).data, bl.grad(f)(w).data, rtol=1e-9)
    text = "".join(note.text for note in compiled.entries[0].program.notes)
    assert text.count("@math.sin.f64(") >= 500
    assert "@bl.sin" not in text


def test_equal_kernels_that_call_again_and_again_are_one() -> None:
    def f(a: Any, b: Any) -> Any:
        sums = []
        for x in (a, b):
            for _ in range(20):
                x = bl.tanh(x * 1.5)
            sums.append(x.sum(axis=1))
        return sums

    compiled = bl.compile(f)
    compiled(np.ones((40, 50)), np.zeros((40, 50)))
    notes = [note for note in compiled.entries[0].program.notes if note.kind == "reduce"]
    assert len(notes) == 2
    assert notes[0].name == notes[1].name
    assert notes[0].text == notes[1].text
    assert "@math.tanh" in notes[1].text


@pytest.mark.parametrize("n", [2, 5, 10, 11, 18])
def test_sines_of_large_numbers_read_their_table_in_vectors_that_are_not_full(n: int) -> None:
    large = 1e6 * (np.arange(n) + 1.37)
    x = np.linspace(1.0, 2.0, n)
    found = bl.compile(lambda x: bl.sin(x * large) + bl.cos(bl.asarray(large)))(x).data
    np.testing.assert_allclose(found, np.sin(x * large) + np.cos(large), rtol=1e-12, atol=1e-12)
    text = vector_math.definitions([("sin", "<8 x double>")]).functions
    assert text.index("freeze") < text.index("@llvm.masked.gather"), "an index is within the table in every lane"
