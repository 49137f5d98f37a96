"""Memory does not grow: neither over many calls, nor over many functions that are compiled and dropped."""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import IndexingError
from tests.fuzz import megabytes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")

X = np.linspace(-1.0, 1.0, 6).reshape(3, 2)


def learner() -> Callable[..., Any]:
    w = bl.Parameter([[0.5], [-0.25]])
    optimizer = bl.optim.Adam([w], lr=0.01)

    def step(x: Any) -> Any:
        loss = ((x @ w - 1.0) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


# -- ways to call, each with all that may be left over ---------------------------------------------------------------


def calls() -> Callable[[], Any]:
    f = bl.compile(lambda x: (bl.tanh(x).sum(), x * 2.0))
    return lambda: f(X)


def new_arguments() -> Callable[[], Any]:
    f = bl.compile(lambda x: bl.tanh(x).sum())
    return lambda: f(bl.Value(X + 1.0))


def steps() -> Callable[[], Any]:
    step = bl.compile(learner())
    return lambda: step(X)


def repeats() -> Callable[[], Any]:
    step = bl.compile(learner())
    return lambda: step.repeat(1, X)


def stacked() -> Callable[[], Any]:
    step = bl.compile(learner())
    xs = np.stack([X, X])
    return lambda: step.each(xs)


def results_kept_for_a_while() -> Callable[[], Any]:
    f = bl.compile(lambda x: (bl.tanh(x), x[0] * 2.0))
    kept: deque[Any] = deque(maxlen=50)
    return lambda: kept.append((f(X)[0].data, f(X)))


def state_kept_for_a_while() -> Callable[[], Any]:
    w = bl.Parameter(X)
    kept: deque[Any] = deque(maxlen=50)

    @bl.compile
    def turn() -> None:
        w.data = w * 0.5 + 1.0

    def call() -> None:
        turn()
        kept.append((w.data, w * 2.0))  # a view of the state, and a graph with it

    return call


def gradients_left() -> Callable[[], Any]:
    w = bl.Parameter(X)

    @bl.compile
    def step() -> Any:
        loss = (w * w).sum()
        loss.backward()
        return loss

    def call() -> None:
        step()
        w.grad = None

    return call


def mistakes() -> Callable[[], Any]:
    f = bl.compile(lambda x, i: x[i])
    good, bad = np.array([0, 1]), np.array([0, 3])
    turns = itertools.count()

    def call() -> None:
        if next(turns) % 20:
            f(X, good)
        else:
            with pytest.raises(IndexingError):
                f(X, bad)

    return call


WAYS = [
    calls, new_arguments, steps, repeats, stacked, results_kept_for_a_while, state_kept_for_a_while, gradients_left,
    mistakes,
]  # fmt: skip


class Allocated(ctypes.Structure):
    """What glibc's `mallinfo2` tells of its heap, in bytes."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in ("arena", "chunks", "small", "maps", "mapped", "top", "cached", "used", "free", "trimmable")
    ]


def heap() -> float:
    """Bytes that are allocated and not freed, beside Python's small objects; elsewhere, what the process has."""
    try:
        told = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return megabytes() * 1e6
    told.restype = Allocated
    found = told()
    return float(found.used + found.mapped)


def growth(call: Callable[[], Any], times: int) -> tuple[float, int]:
    """By how many bytes and by how many small objects this process grows over so many calls, in that quarter in which
    it grows least: what leaks does so in each, and what someone takes to have in reserve is taken once.
    """
    found = []
    for _ in range(1000):
        call()
    for _ in range(4):
        gc.collect()
        before, objects = heap(), sys.getallocatedblocks()
        for _ in range(times // 4):
            call()
        gc.collect()
        found.append((heap() - before, sys.getallocatedblocks() - objects))
    return min(grown for grown, _ in found), min(more for _, more in found)


@pytest.mark.parametrize("way", WAYS)
def test_memory_does_not_grow_over_calls(way: Callable[[], Callable[[], Any]]) -> None:
    grown, objects = growth(way(), 20_000)
    assert grown < 20_000  # in 5000 calls
    assert objects < 100


def test_what_leaks_is_noticed() -> None:
    kept: list[Any] = []
    assert growth(lambda: kept.append(["an object"]), 20_000)[1] >= 5000
    assert growth(lambda: kept.append(np.empty(100)), 20_000)[0] >= 5000 * 800


@pytest.mark.slow
@pytest.mark.parametrize("way", [way for way in WAYS if way is not mistakes])
def test_memory_does_not_grow_over_a_million_calls(way: Callable[[], Callable[[], Any]]) -> None:
    grown, objects = growth(way(), 1_000_000)
    assert grown < 100_000  # in 250,000 calls
    assert objects < 100


# -- functions compiled and dropped --------------------------------------------------------------------------------


def executable() -> int:
    """Bytes of this process that hold machine code."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if "x" in rights:
            low, high = (int(end, 16) for end in span.split("-"))
            total += high - low
    return total


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is compiled anew."""
    monkeypatch.setenv("BACKLIT_CACHE_DIR", "off")


def dropped(count: int) -> tuple[float, int, int]:
    """Bytes, bytes of machine code, and programs left when so many functions were compiled, called and dropped."""
    programs: list[weakref.ref[Any]] = []

    def one(k: int) -> None:
        f = bl.compile(lambda x: bl.tanh(x * float(k)).sum())
        f(np.ones(2))
        programs.append(weakref.ref(f.entries[0].program))

    for k in range(20):
        one(-k)
    gc.collect()
    before, code = heap(), executable()
    for k in range(count):
        one(k)
    gc.collect()
    return heap() - before, executable() - code, sum(program() is not None for program in programs)


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_what_is_dropped_is_freed(count: int, no_cache: None) -> None:
    """Some 2 kilobytes of each compilation stay with LLVM; a pipeline of passes that was not freed would be 80."""
    grown, code, alive = dropped(count)
    assert alive == 0
    assert code <= 64 * 1024
    assert grown < 100_000 + 8_000 * count
