"""Huge graphs of single numbers run as a tape: the same numbers, and code that does not grow with the graph."""

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import tape


def chain(x, n: int):
    y = x
    for i in range(n):
        y = (y * 0.99 + x).tanh() if i % 3 == 0 else bl.where(y > 0.2, y * 1.01 - 0.1 * x, y - x * y)
    return y


def test_a_tape_gives_what_the_graph_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape, "MANY", 50)
    monkeypatch.setattr("backlit.compiler.straight.LIMIT", -1)
    f = bl.compile(bl.grad(lambda x: chain(x, 60)))
    assert f(np.float64(0.3)).data == pytest.approx(bl.grad(lambda x: chain(x, 60))(0.3).data, rel=1e-12)
    assert "tape" in f.entries[0].program.notes[0].note
    single = bl.compile(lambda x: chain(x, 60))
    assert single(np.float32(0.3)).dtype == bl.float32
    assert single(np.float32(0.3)).data == pytest.approx(chain(bl.Value(np.float32(0.3)), 60).data, rel=1e-5)


def test_elements_of_arrays_go_in_and_a_step_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape, "MANY", 50)
    monkeypatch.setattr("backlit.compiler.straight.LIMIT", -1)
    xs = np.linspace(-1, 1, 30)

    def learner():
        w = bl.Parameter(0.5)

        def step(x):
            loss = sum((((w * x[i]).tanh() - 0.1 * i) ** 2 for i in range(30)), start=bl.Value(0.0))
            loss.backward()
            w.data = w.data - 0.01 * w.grad
            w.zero_grad()
            return loss

        return w, step

    v, eager = learner()
    for _ in range(5):
        last = eager(bl.asarray(xs)).data
    w, step = learner()
    compiled = bl.compile(step)
    assert compiled.repeat(5, xs).data == pytest.approx(last, rel=1e-12)
    assert w.data == pytest.approx(v.data, rel=1e-12)


def test_code_does_not_grow_with_the_graph() -> None:
    texts = []
    for n in (700, 1400):
        f = bl.compile(bl.grad(lambda x, n=n: chain(x, n)))
        f(np.float64(0.3))
        texts.append(len(f.entries[0].program.text))
    assert texts[1] < texts[0] * 1.01 + 500
