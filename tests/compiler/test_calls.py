"""What a call of a compiled function leaves alone: memory that others hold, older graphs, other threads' calls."""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import straight
from backlit.compiler.compile import Compiled
from backlit.core.value import current


def counting() -> tuple[Compiled, bl.Parameter, bl.Buffer]:
    w = bl.Parameter(np.zeros((3, 40)), name="w")
    n = bl.Buffer(0, dtype="int64")

    def step(x: Any) -> Any:
        w.data = w.data + x
        n.data = n.data + 1
        return (w * 2.0).sum()

    return bl.compile(step), w, n


ONE = np.ones((3, 40))


def test_what_was_taken_out_before_keeps_its_numbers() -> None:
    step, w, n = counting()
    taken = []
    for k in range(1, 12):
        step(ONE)
        taken.append((k, w.data))
        assert n.data == k
    for k, view in taken:
        assert np.array_equal(np.asarray(view), k * ONE)


@pytest.mark.parametrize(
    "take",
    [
        lambda w: w.data,
        lambda w: np.asarray(w.data)[1:, ::2],
        lambda w: memoryview(np.asarray(w.data)),
        lambda w: current(w)._data,
        lambda w: current(w)._data.base,
        lambda w: w * 1.0,
        lambda w: weakref.ref(current(w)._data),
        lambda w: np.from_dlpack(current(w)._data),
    ],
)
def test_each_way_of_holding_numbers_keeps_them(take: Callable[[Any], Any]) -> None:
    step, w, _ = counting()
    for _ in range(5):
        step(ONE)
    held = take(w)

    def numbers() -> Any:
        it = held() if isinstance(held, weakref.ref) else held
        return None if it is None else np.array(it.data if isinstance(it, bl.Value) else it)

    before = numbers()
    for _ in range(7):
        step(ONE)
    after = numbers()
    assert after is None or np.array_equal(before, after)
    assert np.array_equal(np.asarray(w.data), 12 * ONE)


def test_a_graph_built_between_calls_keeps_the_numbers_it_used() -> None:
    step, w, _ = counting()
    step(ONE)
    step(ONE)
    loss = (w * w).sum()
    for _ in range(6):
        step(ONE)
    assert loss.data == 4 * 120
    loss.backward()
    assert np.array_equal(w.grad, 4 * ONE)
    assert loss.inputs[0].inputs[0].data[0, 0] == 2.0


def test_memory_is_used_again_and_does_not_grow() -> None:
    step, w, _ = counting()
    for _ in range(20):
        step(ONE)
    (entry,) = step.entries
    places = set()
    gc.collect()
    blocks = sys.getallocatedblocks()
    for _ in range(2000):
        step(ONE)
        places.add(current(w)._data.__array_interface__["data"][0])
    assert len(places) <= 3
    assert len(entry.program._rooms) <= 3
    assert sys.getallocatedblocks() - blocks < 200


def test_numbers_assigned_between_calls_are_used() -> None:
    step, w, n = counting()
    for _ in range(3):
        step(ONE)
    w.data = 100 * ONE
    n.data = 50
    assert step(ONE).data == 2 * 101 * 120
    assert n.data == 51
    current(w)  # and again, what it had put itself
    assert step(ONE).data == 2 * 102 * 120


def test_an_argument_written_into_between_calls_is_read_anew() -> None:
    f = bl.compile(lambda x: x.sum())
    for x in (np.ones((4, 5)), np.ones((4, 10))[:, ::2], np.ones((4, 5)).T, np.ones((4, 5), ">f8")):
        assert f(x).data == 20
        x[0, 0] = 11.0
        assert f(x).data == 30


def test_two_programs_that_share_a_variable_see_each_others_numbers() -> None:
    step, w, _ = counting()
    look = bl.compile(lambda: w.sum())
    for k in range(1, 9):
        step(ONE)
        if k % 3 == 0:
            assert look().data == 120 * k
    step.repeat(4, ONE)
    assert look().data == 120 * 12
    step(ONE)
    assert look().data == 120 * 13


def test_results_of_earlier_calls_stay() -> None:
    f = bl.compile(lambda x: (x + 1.0, x.sum()))
    results = [f(k * ONE) for k in range(6)]
    for k, (y, total) in enumerate(results):
        assert np.array_equal(np.asarray(y.data), k * ONE + 1)
        assert total.data == 120 * k


def test_a_gradient_that_was_left_stays_when_it_is_held() -> None:
    w = bl.Parameter(np.ones(50))

    @bl.compile
    def back(x: Any) -> None:
        w.grad = None
        (w * x).sum().backward()

    held = []
    for k in range(5):
        back(np.full(50, float(k)))
        held.append(w.grad)
    for k, grad in enumerate(held):
        assert np.array_equal(grad, np.full(50, float(k)))


@pytest.mark.filterwarnings("ignore:compile. .* was traced 8 times")
def test_the_kind_of_plain_arguments_is_told_apart() -> None:
    seen = []

    @bl.compile
    def f(x: Any, how: Any = None) -> Any:
        seen.append(how)
        return x * (2.0 if how else 3.0)

    x = np.ones(3)
    for how, factor in ((True, 2), (1, 2), (0, 3), (None, 3), ("yes", 2), (False, 3), (True, 2)):
        assert f(x, how).data[0] == factor
    assert len(seen) == 6
    assert f(x.astype("float32"), True).dtype == np.float32
    assert f(bl.Value(x), True).data[0] == 2
    assert f(np.ones((3, 1)), True).shape == (3, 1)
    assert len(seen) == 9


def test_a_value_from_a_graph_is_refused_at_every_call() -> None:
    f = bl.compile(lambda x: x.sum())
    assert f(bl.Value(np.ones(3))).data == 3
    for _ in range(2):
        with pytest.raises(bl.BacklitError, match="is part of a graph"):
            f(bl.Value(np.ones(3)) * 2.0)


def test_threads_that_call_one_step_lose_no_turn() -> None:
    step, w, n = counting()
    step(ONE)

    def work() -> None:
        for _ in range(200):
            step(ONE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert n.data == 801
    assert np.array_equal(np.asarray(w.data), 801 * ONE)


@pytest.mark.slow
def test_a_call_costs_some_microseconds() -> None:
    variables = [bl.Parameter(np.zeros(4)) for _ in range(14)]

    @bl.compile
    def step(x: Any) -> Any:
        for v in variables:
            v.data = v.data + x
        return variables[0].sum()

    x = np.ones(4)
    step(x)
    best = 1.0
    for _ in range(50):
        start = time.perf_counter()
        for _ in range(100):
            step(x)
        best = min(best, (time.perf_counter() - start) / 100)
    assert best < 40e-6  # 12 on an idle machine


@pytest.mark.parametrize("limit", [straight.LIMIT, -1])
@pytest.mark.parametrize("kind", [bl.Parameter, bl.Buffer])
def test_a_number_of_the_state_is_read_as_it_was_before_the_call(
    kind: Any, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(straight, "LIMIT", limit)
    before, now = kind(1.0), bl.Parameter(2.0)

    def step() -> Any:
        loss = now * 3.0
        loss.backward()
        with bl.no_grad():
            before.data = now.data
            now.data = now - 0.25 * now.grad
            now.grad = None
        return loss

    compiled = bl.compile(step)
    seen = []
    for _ in range(4):
        compiled()
        seen.append((before.data, now.data))
    assert seen == [(2.0, 1.25), (1.25, 0.5), (0.5, -0.25), (-0.25, -1.0)]
