"""Inner loops on vectors: which turns may be taken side by side, and that the last, partial vector is right."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import abreast, kernels
from backlit.compiler.inner import Fold, Inner, NotVectors, Turns
from backlit.compiler.scalars import Blocks
from backlit.compiler.target import host

LENGTHS = (2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 1000)


def _inner(body: str, fold: Fold | None = None, count: int = 100) -> Inner:
    return Inner(Turns("%i", count), [line for line in body.splitlines() if line], fold)


def _written(body: str, fold: Fold | None = None, count: int = 100) -> str:
    w = Blocks()
    abreast.write(w, _inner(body, fold, count), 64)
    return "\n".join(w.lines)


COPY = """
  %a = getelementptr inbounds float, ptr %p, i64 {load}
  %v = load float, ptr %a, align 4
  %b = getelementptr inbounds float, ptr %q, i64 %i
  store float %v, ptr %b, align 4
"""


def test_what_is_the_same_in_every_turn_stands_before_the_loop() -> None:
    text = _written("  %n = mul nsw i64 %row, 8\n" + COPY.format(load="%n"), count=10_000)
    before, _, loop = text.partition("loop1:")
    assert "load float, ptr %a" in before
    assert "shufflevector" in before
    assert "load float" not in loop
    assert "store <16 x float>" in loop


STORED = """
  %c = icmp slt i64 %z, %row
  %v = select i1 %c, float %x, float %y
  %b = getelementptr inbounds float, ptr %q, i64 %i
  store float %v, ptr %b, align 4
"""


@pytest.mark.parametrize("zero", ["sub i64 %i, %i", "mul nsw i64 %i, 0"])
def test_what_takes_the_counter_stands_in_the_loop_though_it_is_the_same_in_every_turn(zero: str) -> None:
    found = _inner(f"  %z = {zero}\n{STORED}")
    assert found.once == []
    assert "store <16 x float>" in _written(f"  %z = {zero}\n{STORED}")
    back = "  %n = sub i64 0, %i\n  %s = getelementptr inbounds float, ptr %p, i64 %i\n"
    with pytest.raises(NotVectors):
        _inner(back + COPY.format(load="%n").replace("ptr %p", "ptr %s"))


@pytest.mark.parametrize("k", [-1, 0, 2])
@pytest.mark.parametrize("n", [14, 100])
def test_a_condition_on_the_diagonal_does_not_change_along_it(n: int, k: int) -> None:
    x = np.random.default_rng(n).normal(size=(n, n))
    found = bl.compile(lambda x: bl.einsum("ii->i", bl.exp(bl.tril(x, k=k))))(x)
    np.testing.assert_allclose(found.data, np.exp(np.diagonal(np.tril(x, k=k))))
    value, grad = bl.compile(bl.value_and_grad(lambda x: bl.einsum("ii->", bl.tril(x, k=k))))(x)
    np.testing.assert_allclose(value.data, np.trace(np.tril(x, k=k)), atol=1e-12)
    np.testing.assert_array_equal(grad.data, np.eye(n) * (k >= 0))


def test_what_another_turn_writes_is_not_read_side_by_side() -> None:
    same = COPY.replace("%q", "%p")
    assert "store <16 x float>" in _written(same.format(load="%i"))
    earlier = "  %k = add nsw i64 %i, -1\n" + same.format(load="%k")
    with pytest.raises(NotVectors):
        _inner(earlier)
    with pytest.raises(NotVectors):
        _inner(same.format(load="%row"))


def test_places_that_two_turns_may_share_are_not_written_side_by_side() -> None:
    for place in ("%row", "%twice"):
        body = "  %twice = mul nsw i64 %i, 2\n" + COPY.format(load="%i").replace(
            "ptr %q, i64 %i", f"ptr %q, i64 {place}"
        )
        with pytest.raises(NotVectors):
            _inner(body)


@pytest.mark.parametrize(("load", "found"), [("%i", "load <16 x float>"), ("%k", "masked.gather")])
def test_numbers_that_do_not_lie_side_by_side_are_gathered(load: str, found: str) -> None:
    assert found in _written("  %k = mul nsw i64 %i, -3\n" + COPY.format(load=load), count=64)


def test_a_sum_goes_to_several_vectors_and_the_last_one_is_partial() -> None:
    body = """
  %a = getelementptr inbounds double, ptr %p, i64 %i
  %v = load double, ptr %a, align 8
  %s = fadd reassoc contract double %now, %v
"""
    zero = "0x0000000000000000"
    text = _written(body, Fold("double", zero, zero, "%now", "%v", "%s", 1), 1001)
    assert len(re.findall("phi <8 x double>", text)) == 4
    assert text.count("masked.load.v8f64") == 1
    assert "select <8 x i1> <i1 1, i1 0," in text
    with pytest.raises(NotVectors):  # it takes up something else, too
        _inner(body.replace("%now, %v", "%now, %w"), Fold("double", zero, zero, "%now", "%v", "%s", 1))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("n", LENGTHS)
def test_all_lengths(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    x, y = (rng.integers(0, 2 if dtype == "bool" else 50, (6, n)).astype(dtype) for _ in range(2))

    def f(x: bl.Value, y: bl.Value) -> tuple[bl.Value, ...]:
        wide = bl.astype(x, bl.float64)
        return (
            bl.where(x == y, x, y),
            bl.flip(y, axis=1),
            bl.any(x > y, axis=1),
            bl.max(wide, axis=1),
            bl.max(y, axis=1) if dtype != "bool" else bl.all(y, axis=1),
            bl.sum(wide, axis=0),
            bl.sum(wide * wide),
            wide[:, ::2] + bl.arange(len(range(0, n, 2)), dtype=bl.float64),
        )

    eager = f(bl.asarray(x), bl.asarray(y))
    for got, want in zip(bl.compile(f)(x, y), eager, strict=True):
        np.testing.assert_array_equal(got.data, want.data)


def test_rows_that_an_index_chooses() -> None:
    rng = np.random.default_rng(0)
    table, rows = rng.normal(size=(9, 37)), rng.integers(-9, 9, 20)
    got = bl.compile(lambda t, r: bl.take(t, r, axis=0) * 2.0)(table, rows)
    np.testing.assert_array_equal(got.data, table[rows] * 2.0)
    got = bl.compile(lambda t, r: bl.take(t, r % 37, axis=1) * 2.0)(table, rows)
    np.testing.assert_array_equal(got.data, table[:, rows % 37] * 2.0)


def test_a_state_that_moves_by_one_place_is_read_before_it_is_written() -> None:
    state = bl.Buffer(np.arange(100.0))

    def step() -> None:
        state.data = bl.concat([state[-1:], state[:-1]])

    bl.repeat(step, 7)
    np.testing.assert_array_equal(state.data, np.roll(np.arange(100.0), 7))


def test_kernels_need_none_of_llvms_passes() -> None:
    compiled = bl.compile(lambda x: (bl.tanh(x * 2.0) + bl.sin(x)).sum(axis=1))
    compiled(np.ones((30, 45)))
    for note in compiled.entries[0].program.notes:
        assert "#1 {" in note.text
        assert re.search(r"<\d+ x double>", note.text)


def test_square_roots_of_all_mantissas() -> None:
    root = bl.compile(bl.sqrt)
    mantissas = np.arange(1 << 24, dtype=np.uint32)  # with two exponents: of even and of odd powers
    for exponent in (1, 31, 126, 250):
        x = ((mantissas & 0x7FFFFF) | (exponent + (mantissas >> 23) << 23)).astype(np.uint32).view(np.float32)
        off = np.abs(root(x).data.view(np.int32) - np.sqrt(x).view(np.int32))
        assert off.max() <= 1
        assert np.count_nonzero(off) < 1000
    tiny = np.arange(1 << 23, dtype=np.uint32).view(np.float32)
    assert np.abs(root(tiny).data.view(np.int32) - np.sqrt(tiny).view(np.int32)).max() <= 1
    edges = np.resize(np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, 1e-45, -1e-45]), 100)
    with np.errstate(invalid="ignore"):
        want = np.sqrt(edges)
    got = root(edges).data
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[edges == 0]), np.signbit(want[edges == 0]))


def test_kernels_of_one_form_are_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    form, probes = kernels.form, {}
    alike = 0

    def watched(schedule: Any, kernel: Any, aliases: Any, measured: bool = False) -> Any:
        nonlocal alike
        key, nodes = form(schedule, kernel, aliases, measured)
        writer = kernels.probe(schedule, kernel, aliases, host())
        if measured:
            writer = kernels.write(writer, kernel, measured=True)
        found = writer.text(), [nodes.index(node) for node in writer.pointers]
        alike += key in probes
        assert probes.setdefault(key, found) == found
        return key, nodes

    monkeypatch.setattr(kernels, "form", watched)
    rng = np.random.default_rng(0)
    model = bl.nn.CharTransformer(11, 8, 16, 2, 2, key=0)
    optimizer = bl.optim.AdamW(model.parameters(), lr=0.01)
    x = bl.asarray(rng.integers(0, 11, (4, 9)))

    def step() -> Any:
        loss = bl.nn.cross_entropy(model(x[:, :-1]), x[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    entry = bl.compile(step)
    entry()
    assert entry.entries[0].program.text
    assert alike > 20
    assert len(probes) > 20


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_updates_of_any_length_are_one_kernel(dtype: str) -> None:
    rng = np.random.default_rng(1)
    shapes = [(64,), (3, 64), (16, 8), (27,), (5, 5)]
    starts = [rng.normal(size=shape).astype(dtype) for shape in shapes]

    def trained(parameters: list[Any]) -> tuple[list[bytes], Any]:
        optimizer = bl.optim.Adam(parameters, lr=0.01)

        def step() -> Any:
            loss = sum((p * p * 0.5).sum() for p in parameters)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        entry = bl.compile(step)
        entry.repeat(3)
        return [p.data.tobytes() for p in parameters], entry.entries[0].program

    together, program = trained([bl.Parameter(x) for x in starts])
    alone = [trained([bl.Parameter(x)])[0][0] for x in starts]
    assert together == alone
    notes = [note for note in program.notes if "udiv exact" in note.text]
    assert {note.nodes[0].shape for note in notes} == set(shapes[:3])
    assert len({note.name for note in notes}) == 1


def test_states_that_become_transposes_are_no_kernels_of_any_length() -> None:
    sizes = [8, 16, 24]
    squares = [np.arange(n * n, dtype=float).reshape(n, n) for n in sizes]
    held, given = [bl.Buffer(x) for x in squares], [bl.Buffer(x + 1.0) for x in squares]

    def step() -> Any:
        total = sum(x.sum() for x in held)
        for x, y in zip(held, given, strict=True):
            x.data = y.T
        return total

    bl.compile(step).repeat(2)
    for x, square in zip(held, squares, strict=True):
        np.testing.assert_array_equal(x.data, square.T + 1.0)


@pytest.mark.parametrize("dtype", ["int64", "int8"])
def test_functions_are_called_where_next_to_no_time_is_spent(dtype: str) -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(128, 128))
    bases, powers = rng.integers(0, 4, 40).astype(dtype), rng.integers(0, 3, 40).astype(dtype)
    halves, numbers = np.linspace(0.1, 3, 40).astype("float16"), np.linspace(-3, 3, 40)

    def f(wide: Any, bases: Any, powers: Any, halves: Any, numbers: Any) -> Any:
        y = wide
        for _ in range(4):
            y = y @ wide * 0.01
        return y, bases**powers, bl.tanh(halves), bl.exp(numbers), bl.atan2(numbers, numbers + 1.0), bl.sin(numbers)

    given = wide, bases, powers, halves, numbers
    compiled = bl.compile(f)
    for found, wanted in zip(compiled(*given), f(*map(bl.asarray, given)), strict=True):
        np.testing.assert_allclose(found.data, wanted.data, rtol=1e-3 if found.dtype.itemsize == 2 else 1e-12)
    text = compiled.entries[0].program.text
    called = set(re.findall(r"call [^@]*@math\.(\w+)", text))
    assert {"pow", "tanh", "exp", "atan2", "sin"} <= called
