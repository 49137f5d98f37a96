"""Random graphs: compiled = eager. A few of those of `make fuzz`, what it found before, and the generator itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import backlit as bl
from backlit.compiler import straight
from backlit.ops.lowering import same
from backlit.ops.trigonometry import TANH
from tests.compiler.graphs import Graph, Leaf, Line, check, from_seed, graphs, shrunk

LIMITS = {"straight": 4000, "loops": -1}


@pytest.mark.parametrize("form", LIMITS)
@pytest.mark.parametrize("how", ["values", "gradients", "step"])
@pytest.mark.parametrize("seed", range(6))
def test_a_random_graph_gives_the_same_compiled(
    seed: int, how: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(straight, "LIMIT", LIMITS[form])
    graph = from_seed(1000 * len(how) + seed, lines=6)
    assert check(graph, how) == "", graph.source()


@given(graphs(lines=3))
@settings(max_examples=6)
def test_a_graph_that_hypothesis_draws_gives_the_same_compiled(graph: Graph) -> None:
    assert check(graph, "gradients") == "", graph.source()


@pytest.mark.slow
@pytest.mark.parametrize("form", LIMITS)
@pytest.mark.parametrize("seed", range(150))
def test_many_random_graphs_give_the_same_compiled(seed: int, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(straight, "LIMIT", LIMITS[form])
    how = ("values", "gradients", "step", "second")[seed % 4]
    graph = from_seed(50_000 + seed, lines=4 if how == "second" else None)
    assert check(graph, how) == "", graph.source()


# -- found before ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", LIMITS.values())
def test_parameters_that_change_places_do_so_in_a_loop(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(straight, "LIMIT", limit)
    a, b = bl.Parameter(np.arange(3.0)), bl.Parameter(np.arange(3.0) + 10)

    def swap() -> None:
        before = a.data
        a.data = b.data
        b.data = before

    bl.repeat(swap, 3)
    assert a.data.tolist() == [10.0, 11.0, 12.0]
    assert b.data.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("limit", LIMITS.values())
def test_what_is_read_after_it_was_handed_on_is_what_it_was(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(straight, "LIMIT", limit)
    a, b = bl.Parameter([1.0, 2.0]), bl.Parameter([3.0, 5.0])

    def fibonacci() -> None:
        total = a + b
        a.data = b.data
        b.data = total

    bl.repeat(fibonacci, 4)
    assert a.data.tolist() == [11.0, 19.0]
    assert b.data.tolist() == [18.0, 31.0]


def test_a_parameter_taken_twice_by_one_op_is_read_twice() -> None:
    p = bl.Parameter([1.0, 2.0])

    def step() -> object:
        loss = (p * p).sum()
        p.data = p.data * 0.5
        return loss

    compiled = bl.compile(step)
    assert [compiled().data for _ in range(3)] == [5.0, 1.25, 0.3125]


# -- the generator -----------------------------------------------------------------------------------------------


def test_a_seed_says_all_of_a_graph() -> None:
    assert from_seed(7) == from_seed(7)
    assert len({from_seed(seed).source() for seed in range(20)}) > 15


def test_the_graphs_reach_every_shape_and_most_ops() -> None:
    drawn = [from_seed(seed) for seed in range(300)]
    shapes = {leaf.shape for graph in drawn for leaf in graph.leaves}
    assert {(), (0,), (1,), (7,), (33,), (1000,)} <= shapes
    text = "\n".join(graph.source() for graph in drawn)
    for name in ("matmul", "take_along_axis", ".at[", "cumulative_sum", "softmax", "concat", "where", "argm", "pad"):
        assert name in text, name


def test_a_failing_graph_is_made_small() -> None:
    graph = from_seed(12, lines=10)

    def fails(candidate: Graph) -> bool:
        return "bl." in candidate.source()

    assert fails(graph)
    small = shrunk(graph, fails)
    assert len(small.lines) == 1
    assert len(small.leaves) <= 2


def test_a_wrong_number_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph((Leaf((3, 4), "float64", 1),), (Line("bl.tanh({0})", (0,), False),), (1,))
    monkeypatch.setattr(TANH, "lower", same("sin"))
    for how in ("values", "gradients", "step"):
        assert "off by" in check(graph, how)
