"""Loops and branches inside compiled functions, their derivatives, and calls for many turns at once."""

import time

import numpy as np
import pytest

import backlit as bl
from backlit.compiler.control import CHECKPOINTS, checkpoint_memory
from backlit.compiler.schedule import topological
from backlit.core.errors import DomainError, GraphError, IndexingError, ShapeError

X = np.linspace(-1.0, 1.5, 23)


def powers(a, x, **options):
    carry, ys = bl.scan(lambda c, x: (c * bl.sin(x) * a + x, c + a), a * 1.0, x, **options)
    return carry * 2 + (ys**2).sum()


def by_hand(a, x, reverse=False):
    c, ys = a, []
    for value in x[::-1] if reverse else x:
        ys.append(c + a)
        c = c * np.sin(value) * a + value
    return c * 2 + (np.array(ys) ** 2).sum()


@pytest.mark.parametrize("checkpoint", ["none", "sqrt", "binomial"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_and_its_derivatives_are_those_of_the_unrolled_loop(checkpoint, reverse) -> None:
    def f(a, x):
        return powers(a, x, checkpoint=checkpoint, reverse=reverse)

    assert bl.compile(f)(np.float64(0.7), X).data == pytest.approx(by_hand(0.7, X, reverse), rel=1e-13)
    for derivative in (bl.grad(f), bl.grad(f, argnums=1), bl.grad(bl.grad(f))):
        np.testing.assert_allclose(bl.compile(derivative)(np.float64(0.7), X).data, derivative(0.7, X).data, rtol=1e-11)


def test_forward_mode_through_a_scan_agrees_with_reverse_mode() -> None:
    def slope(a, x):
        return bl.jvp(lambda a: powers(a, x), (a,), (1.0,))[1]

    assert bl.compile(slope)(np.float64(0.7), X).data == pytest.approx(bl.grad(powers)(0.7, X).data, rel=1e-12)


@pytest.mark.parametrize("checkpoint", ["sqrt", "binomial"])
def test_forward_mode_through_loops_in_loops_agrees_with_reverse_mode(checkpoint) -> None:
    def f(a, x):  # the inner loop's result must not overwrite the state that its tangents still need
        return powers(a, x, checkpoint=checkpoint)

    def slopes(a, x):
        return bl.jvp(f, (a, x), (1.0, np.ones(23)))

    want = bl.grad(f)(0.7, X).data + bl.grad(f, argnums=1)(0.7, X).data.sum()
    assert bl.compile(slopes)(np.float64(0.7), X)[1].data == pytest.approx(want, rel=1e-11)


def test_a_state_is_overwritten_by_a_loop_only_when_nobody_reads_it_any_more() -> None:
    def turn(i, state):
        a, b, c = state
        first = bl.fori_loop(0, 2, lambda j, s: (s[1] * 0.5, s[0] + 1.0), (a, b))
        second = bl.fori_loop(0, 2, lambda j, s: bl.sin(s) + a, b)
        return second, first[0] + c, first[1]

    start = tuple(np.linspace(k, k + 1.0, 40) for k in range(3))
    for n in (1, 2, 3):
        eager = bl.fori_loop(0, n, turn, start)
        for y, z in zip(eager, bl.compile(lambda *s, n=n: bl.fori_loop(0, n, turn, s))(*start), strict=True):
            np.testing.assert_allclose(z.data, y.data, rtol=1e-13)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_arrays_go_through_loops(shape) -> None:
    x = np.ones(shape)

    def f(x, y):
        both = bl.fori_loop(0, 3, lambda i, c: (c[0] * 2.0 + x[:1].sum(), bl.sin(c[1] + x.sum())), (x + 1.0, y))
        rows, sums = bl.scan(lambda c, row: (c + row.sum(), c), y, bl.stack([x, x]))
        return *both, rows, sums

    for compiled, eager in zip(bl.compile(f)(x, np.arange(4.0)), f(bl.Value(x), bl.Value(np.arange(4.0))), strict=True):
        np.testing.assert_allclose(compiled.data, eager.data, rtol=1e-14)
    w = bl.Parameter(x)
    bl.repeat(lambda: setattr(w, "data", w * 2.0), 3)
    assert w.data.shape == shape


def test_a_scan_of_matrices_runs_in_loops() -> None:
    w = np.random.default_rng(0).normal(size=(20, 20)) / 5

    def f(w, h):
        return bl.scan(lambda h, _: (bl.tanh(h @ w), h.sum()), h, None, length=6)[1].sum()

    h = np.ones((30, 20))
    np.testing.assert_allclose(bl.compile(bl.grad(f))(w, h).data, bl.grad(f)(w, h).data, rtol=1e-11)


def test_scans_nest() -> None:
    def f(x):
        def outer(total, row):
            inner, _ = bl.scan(lambda c, v: (c + v * total, v), 0.0, row)
            return total + inner, inner

        return bl.scan(outer, 1.0, x)[0]

    x = np.arange(6.0).reshape(2, 3) / 10
    np.testing.assert_allclose(bl.compile(bl.grad(f))(x).data, bl.grad(f)(x).data, rtol=1e-13)


def test_fori_loop_tells_the_turn() -> None:
    def f(x):
        return bl.fori_loop(2, 7, lambda i, c: c * 0.5 + i * x, x * 0.0)

    assert bl.compile(f)(np.float64(3.0)).data == f(bl.Value(3.0)).data
    assert bl.compile(bl.grad(f))(np.float64(3.0)).data == pytest.approx(bl.grad(f)(3.0).data)


def test_a_while_loop_ends_when_its_condition_does_and_has_forward_mode_only() -> None:
    def root(a):
        return bl.while_loop(lambda s: abs(s * s - a) > 1e-12, lambda s: (s + a / s) * 0.5, a * 1.0)

    two = np.float64(2.0)
    assert bl.compile(root)(two).data == root(bl.Value(2.0)).data == pytest.approx(2**0.5)
    slope = bl.compile(lambda a: bl.jvp(root, (a,), (1.0,))[1])(two).data
    assert slope == pytest.approx(0.5 / 2**0.5)
    with pytest.raises(GraphError, match="no reverse mode"):
        bl.compile(bl.grad(root))(two)


def test_a_while_loop_in_straight_lines_reads_its_state_before_it_overwrites_it() -> None:
    x, t = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)

    def slope(x):  # the tangent reads the state in the order of columns, when the first rows are written already
        return bl.jvp(
            lambda x: bl.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, bl.tanh(s[1] @ s[1])), (0, x)), (x,), (t,)
        )

    np.testing.assert_allclose(bl.compile(slope)(x)[1][1].data, slope(bl.Value(x))[1][1].data, rtol=1e-4, atol=1e-6)


def test_a_branch_sends_no_gradient_to_what_was_not_chosen() -> None:
    def f(x):
        return bl.cond(x > 0, lambda x: bl.sqrt(x), lambda x: x * 0.0 + 5.0, x)

    compiled = bl.compile(bl.grad(f))
    assert compiled(np.float64(4.0)).data == 0.25
    assert compiled(np.float64(-1.0)).data == 0.0
    assert bl.compile(f)(np.float64(-1.0)).data == 5.0


def test_a_carry_that_changes_is_refused() -> None:
    with pytest.raises(ShapeError, match="keep it alike"):
        bl.scan(lambda c, x: (bl.concat([c, c]), x), bl.Value([1.0]), X)
    with pytest.raises(GraphError, match="pair"):
        bl.scan(lambda c, x: c, 0.0, X)
    with pytest.raises(DomainError, match="checkpoint"):
        bl.scan(lambda c, x: (c, x), 0.0, X, checkpoint="all")
    with pytest.raises(GraphError, match="how many"):
        bl.scan(lambda c, x: (c, x), 0.0)


def test_assigning_a_variable_inside_a_body_is_refused() -> None:
    w = bl.Parameter(1.0)

    def body(c, x):
        w.data = w.data * 2
        return c + x, x

    with pytest.raises(GraphError, match="carried"):
        bl.compile(lambda x: bl.scan(body, 0.0, x)[0])(X)


# -- many turns in one call ---------------------------------------------------------------------------------------


def learner():
    w = bl.Parameter(np.array([1.0, -2.0]), name="w")
    optimizer = bl.optim.SGD([w], lr=0.1, momentum=0.5)

    def step(x):
        loss = ((w * x - 1) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return w, step


def test_each_is_a_call_for_each_slice() -> None:
    xs = np.random.default_rng(0).normal(size=(50, 2))
    w, step = learner()
    losses = [step(x).data for x in xs]
    v, other = learner()
    found = bl.compile(other).each(xs)
    np.testing.assert_allclose(found.data, losses, rtol=1e-12)
    np.testing.assert_allclose(v.data, w.data, rtol=1e-12)


def test_a_repeated_step_that_adds_to_old_gradients_is_refused() -> None:
    w = bl.Parameter(1.0)

    def step():
        (w * w).backward()
        w.data = w.data - 0.1 * w.grad

    with pytest.raises(GraphError, match="zero_grad"):
        bl.repeat(step, 3)


def test_a_position_outside_is_an_error_that_assigns_nothing() -> None:
    table = bl.Parameter(np.arange(12.0).reshape(4, 3))

    @bl.compile
    def step(i):
        loss = (table[i] ** 2).sum()
        loss.backward()
        table.data = table.data - 0.1 * table.grad
        table.zero_grad()
        return loss

    step(np.array([0, -4]))
    before = np.array(table.data)
    with pytest.raises(IndexingError, match="axis of length 4"):
        step(np.array([0, 4]))
    assert np.array_equal(table.data, before)
    with pytest.raises(IndexingError, match="position 7"):
        bl.compile(lambda x: x[np.array([1, 7])])(np.ones(5))


def test_functions_of_what_is_carried_compile_in_time_whatever_the_number_of_turns() -> None:
    def f(x):  # LLVM walked every path through them, looking for a checksum, where turns are a multiple of 8
        return bl.fori_loop(0, 16, lambda i, c: bl.sin(bl.sin(bl.sin(c))), x)

    start = time.process_time()
    assert bl.compile(f)(np.float64(0.3)).data == pytest.approx(f(bl.Value(0.3)).data, rel=1e-13)
    assert time.process_time() - start < 10


# -- checkpoints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", ["sqrt", "binomial"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 5, 9, 17, 61, 131])
def test_any_number_of_turns_is_cut_into_stretches(turns, reverse, checkpoint) -> None:
    x = np.linspace(-1.0, 1.5, turns)

    def slopes(kept):
        return bl.compile(bl.grad(lambda a, x: powers(a, x, checkpoint=kept, reverse=reverse), argnums=(0, 1)))(
            np.float64(0.7), x
        )

    for found, whole in zip(slopes(checkpoint), slopes("none"), strict=True):
        np.testing.assert_allclose(found.data, whole.data, rtol=1e-11)


def arena_of(turns, checkpoint) -> int:
    def f(a):
        return bl.fori_loop(0, turns, lambda i, c: (bl.sin(c[0]) + c[1], c[0] * 0.5), (a, a), checkpoint=checkpoint)[0]

    compiled = bl.compile(bl.grad(f))
    compiled(np.float64(0.7))
    return compiled.entries[0].program.arena_bytes


def test_memory_of_checkpoints_is_told_beforehand() -> None:
    carry = np.zeros(9)
    assert checkpoint_memory(carry, 10_000) == 720_000
    assert checkpoint_memory(carry, 10_000, "sqrt") == 72 * 2 * 100
    for turns in (10**3, 10**6, 10**6 + 3, 10**7):
        assert checkpoint_memory(carry, turns, "sqrt") < 72 * 2.1 * turns ** (1 / 2)
        assert checkpoint_memory(carry, turns, "binomial") < 72 * 3.2 * turns ** (1 / 3)
    for turns in range(1, 200):
        every, some, few = (checkpoint_memory(carry, turns, kept) for kept in CHECKPOINTS)
        assert every >= some >= few


@pytest.mark.parametrize("checkpoint", ["none", "sqrt", "binomial"])
def test_memory_of_checkpoints_is_what_was_told(checkpoint) -> None:
    told = checkpoint_memory((0.0, 0.0), 100_003, checkpoint)
    assert told <= arena_of(100_003, checkpoint) < told + 4_000  # and pointers, and a line for each number beside


def test_a_loop_and_its_gradient_are_two_loops() -> None:
    def decay(rate, x):
        end = bl.fori_loop(0, 50, lambda i, y: y - bl.tanh(rate) * y, x)
        return (end * end).sum()

    slope = bl.compile(bl.grad(decay))
    slope(0.7, np.linspace(-1.0, 1.0, 30))
    outputs = slope.entries[0].program.outputs
    assert [node.attrs[1] for node in topological(outputs) if node.kind == "loop"] == [False, True], "not a third one"


def test_backward_of_a_compiled_step_goes_through_a_scan_to_what_its_body_reads_from_outside() -> None:
    def gradient_of(decorate):
        w = bl.Parameter(np.array([0.5, -1.5, 2.0]))

        def step(xs):
            _, ys = bl.scan(lambda h, x: (bl.tanh(h * w + x), h * h), bl.zeros(3), xs)
            loss = ys.sum()
            loss.backward()
            return loss

        decorate(step)(np.linspace(-1.0, 1.0, 12).reshape(4, 3))
        return w.grad.data

    eager = gradient_of(lambda step: step)
    assert np.all(eager != 0)
    np.testing.assert_allclose(gradient_of(bl.compile), eager, rtol=1e-12)
