"""Several threads over the same variables: what one traces, another neither sees nor disturbs."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import trace
from backlit.core.value import leaf

ROUNDS = 200
X = np.linspace(-1.0, 1.0, 8).reshape(4, 2)


@pytest.fixture(autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def traced(f: Callable[..., Any], *arrays: Any) -> trace.Traced:
    leaves = [leaf(x, active=False) for x in arrays]
    return trace.run(f, lambda given: (list(given), {}), leaves)


def beside(work: Callable[[], None], other: Callable[[], None]) -> None:
    """Do the one again and again until the other is done."""
    done = threading.Event()

    def again() -> None:
        while not done.is_set():
            other()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(again)
        try:
            work()
        finally:
            done.set()
        running.result()


def learner() -> tuple[bl.nn.MLP, Callable[[Any], Any]]:
    model = bl.nn.MLP(2, [3, 1], key=0)
    optimizer = bl.optim.Adam(model.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return model, step


def test_another_thread_reads_the_parameters_that_are_traced() -> None:
    model, step = learner()
    expected = model(X).data
    numbers = [p.data for p in model.parameters()]

    def work() -> None:
        for _ in range(ROUNDS):
            assert len(traced(step, X).assigned) > 4

    def look() -> None:
        assert np.array_equal(model(X).data, expected)
        assert all(np.array_equal(p.data, before) for p, before in zip(model.parameters(), numbers, strict=True))
        assert all(p.grad is None for p in model.parameters())

    beside(work, look)
    look()


def test_what_another_thread_assigns_during_a_trace_stays() -> None:
    model, step = learner()
    p = next(iter(model.parameters()))
    shape, count = p.shape, 0

    def work() -> None:
        for _ in range(ROUNDS):
            known = traced(step, X)
            assert {c.variable for c in known.captured} >= set(model.parameters())

    def write() -> None:
        nonlocal count
        count += 1
        p.data = np.full(shape, float(count))
        assert np.array_equal(p.data, np.full(shape, float(count)))

    beside(work, write)
    assert np.array_equal(p.data, np.full(shape, float(count)))


def test_two_threads_trace_functions_of_the_same_model_at_once() -> None:
    model, step = learner()

    def work() -> None:
        for _ in range(ROUNDS):
            known = traced(step, X)
            assert {c.variable for c in known.captured} >= set(model.parameters())

    def other() -> None:
        known = traced(bl.grad(lambda x: model(x).sum()), X)
        assert {c.variable for c in known.captured} == set(model.parameters())
        assert not known.assigned

    beside(work, other)


def test_two_threads_compile_and_call_functions_of_the_same_model_at_once() -> None:
    model, _ = learner()
    functions = [lambda x: model(x), lambda x: bl.tanh(model(x) * 2.0), bl.grad(lambda x: model(x).sum())]
    expected = [f(X).data for f in functions]
    for _ in range(5):
        compiled = [bl.compile(lambda x, f=f: f(x)) for f in functions]
        with ThreadPoolExecutor(len(functions)) as pool:
            found = list(pool.map(lambda f: [f(X).data for _ in range(20)], compiled))
        for results, eager in zip(found, expected, strict=True):
            assert all(np.allclose(y, eager, rtol=1e-5) for y in results)


def test_a_trace_that_fails_leaves_nothing_behind() -> None:
    w, count = bl.Parameter(2.0), bl.Buffer(np.zeros(2))

    def f(x: Any) -> Any:
        count.data = count.data + 1.0
        count[0] = x
        (w * x).backward()
        return float(w)

    with pytest.raises(bl.TracedValueError, match="float"):
        bl.compile(f)(3.0)
    assert w.data == 2.0
    assert w.grad is None
    assert np.array_equal(count.data, [0.0, 0.0])


@pytest.mark.parametrize("take", [float, bool, np.asarray, lambda v: v.item(), bl.Value], ids=range(5))
@pytest.mark.parametrize("kind", [bl.Parameter, bl.Buffer])
def test_no_number_of_a_variable_gets_into_the_program(kind: Any, take: Callable[[Any], Any]) -> None:
    w = kind(2.0)
    with pytest.raises((bl.TracedValueError, bl.ConversionError)):
        bl.compile(lambda x: x * take(w))(np.ones(2))


def test_a_constant_is_not_written_into() -> None:
    w = bl.Value(2.0)
    for target in (w * np.ones(2), bl.asarray(np.ones(2))):

        def write(x: Any, y: bl.Value = target) -> bl.Value:
            y[0] = x
            return y * 1.0

        with pytest.raises(bl.GraphError, match="Make it a Buffer"):
            bl.compile(write)(7.0)
        assert target.data[0] in (1.0, 2.0)
