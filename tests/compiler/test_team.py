"""Threads that help with large kernels: the same bits, however many there are, and nobody waits for them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler import team


@pytest.fixture(autouse=True)
def everything_is_cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Even small kernels are computed in parts, so that small tests meet them."""
    monkeypatch.setattr(team, "LARGE", 100)
    before = list(team._setting)
    yield
    team._setting[:] = before


def _learned(count: int, steps: int = 5) -> list[np.ndarray]:
    """The parameters of a net after some compiled steps, computed by so many threads."""
    team.threads(count)
    model = nn.MLP(30, [133, 64, 10], activation="gelu", key=0)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 30)).astype("f4"), rng.integers(0, 10, 150)

    def step(x: object, y: object) -> bl.Value:
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    compiled = bl.compile(step)
    for _ in range(steps):
        compiled(x, y)
    return [np.array(p.data) for p in model.parameters()]


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    alone = _learned(1)
    for count in (2, 3, 8):
        for a, b in zip(alone, _learned(count), strict=True):
            assert np.array_equal(a, b)


def test_sums_down_columns_have_the_same_bits_for_any_number_of_threads() -> None:
    x = np.random.default_rng(2).normal(size=(5, 37, 133)).astype("f4")
    for axis in (0, 1, (0, 1)):
        found = []
        for count in (1, 2, 8):
            team.threads(count)
            found.append(bl.compile(lambda x, w, axis=axis: bl.exp(x * w).sum(axis=axis))(x, x[0]).data)
        np.testing.assert_allclose(found[0], np.exp(x * x[0]).sum(axis=axis), rtol=1e-5)
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])


def _cut(f: Callable[..., object], *args: np.ndarray) -> list[str]:
    """The kinds of the loops of a function that are cut into parts."""
    team.threads(2)
    compiled = bl.compile(f)
    compiled(*args)
    return [note.kind for note in compiled.entries[0].program.notes if "%hi" in note.text and note.kind != "matmul"]


def test_what_comes_from_memory_or_from_other_cores_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    x, w = np.ones((128, 64), "f4"), np.ones((64, 512), "f4")
    rows = np.arange(128) * 7 % 1000
    data = np.ones((1000, 784), "f4")
    assert _cut(lambda data, rows: data[rows], data, rows) == ["elementwise"]
    assert _cut(lambda data, rows: data[rows], data, rows[:8]) == []  # a large array, but little of it
    assert _cut(lambda x, w: bl.tanh(x @ w).sum(axis=0), x, w) == ["reduce"]  # tiles of a product, on both cores
    assert _cut(lambda y: y.sum(axis=0), x @ w) == []  # as much, but nobody knows of other cores


def test_a_batch_of_products_is_shared_and_has_the_same_bits() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(7, 33, 40)), rng.normal(size=(7, 40, 17))
    found = []
    for count in (1, 4):
        team.threads(count)
        found.append(bl.compile(lambda a, b: bl.exp(a @ b).sum(axis=-1))(a, b).data)
    assert np.array_equal(found[0], found[1])


def test_two_programs_at_once_have_right_results() -> None:
    team.threads(2)
    rng = np.random.default_rng(2)
    a = rng.normal(size=(120, 120))
    programs = [bl.compile(lambda x, k=k: bl.tanh(x @ x) * (k + 1.0)) for k in range(3)]
    wanted = [p(a).data for p in programs]
    wrong: list[int] = []

    def call(k: int) -> None:
        wrong.extend(k for _ in range(100) if not np.array_equal(programs[k](a).data, wanted[k]))

    callers = [threading.Thread(target=call, args=(k,)) for k in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_a_program_may_go_while_a_helper_is_still_about_to_come() -> None:
    team.threads(3)
    a = np.ones((64, 64))
    for k in range(30):
        assert bl.compile(lambda x, k=k: x @ x + float(k))(a).data[0, 0] == 64 + k


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_computes_with_helpers_of_its_own() -> None:
    team.threads(2)
    a = np.random.default_rng(3).normal(size=(130, 130))
    compiled = bl.compile(lambda x: bl.tanh(x @ x))
    wanted = compiled(a).data
    child = os.fork()
    if child == 0:
        code = 1
        try:
            same = all(np.array_equal(compiled(a).data, wanted) for _ in range(20))
            code = 0 if same and len(team._helpers) == 1 else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child did not finish")


def test_an_interrupted_call_lets_the_helpers_go() -> None:
    team.threads(2)
    a = np.random.default_rng(4).normal(size=(130, 130))
    compiled = bl.compile(lambda x: bl.tanh(x @ x))
    wanted = compiled(a).data
    timer = threading.Timer(0.05, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()

    def call_for_ever() -> None:
        while True:
            compiled(a)

    with pytest.raises(KeyboardInterrupt):
        call_for_ever()
    assert np.array_equal(compiled(a).data, wanted)


def test_no_helpers_are_hired_for_small_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "LARGE", 20_000)
    team.threads(2)
    hired: list[int] = []
    monkeypatch.setattr(team.Place, "open", lambda self, entry, owner: hired.append(1))
    bl.compile(lambda x: bl.tanh(x @ x))(np.ones((20, 20)))
    assert not hired


def test_a_program_that_nobody_helps_does_all_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    team.threads(2)
    monkeypatch.setattr(team._Helper, "ask", lambda self, entry, address, owner: None)
    a = np.random.default_rng(5).normal(size=(200, 100)).astype("f4")
    assert np.allclose(bl.compile(lambda x: x @ x.T)(a).data, a @ a.T, rtol=1e-4, atol=1e-4)


def test_a_helper_that_is_still_on_its_way_back_comes_to_the_next_call() -> None:
    arrived, go_on, seen = threading.Semaphore(0), threading.Semaphore(0), []

    def entry(address: int, who: int) -> None:
        seen.append((address, who))
        arrived.release()
        assert go_on.acquire(timeout=30)

    helper = team._Helper(3)
    helper.ask(entry, 1, None)
    assert arrived.acquire(timeout=30)
    helper.ask(entry, 2, None)  # one that is over before it is back
    helper.ask(entry, 4, None)
    for _ in range(2):
        go_on.release()
    assert arrived.acquire(timeout=30)
    assert seen == [(1, 3), (4, 3)]


def test_the_number_of_threads_is_at_least_one_and_at_most_eight() -> None:
    with pytest.raises(bl.BacklitError, match="at least 1"):
        team.threads(0)
    assert team.threads(100) == team.MOST
