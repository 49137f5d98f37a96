"""Random graphs: compiled = eager. A few of those of `make fuzz`, what it found before, and the generator itself."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import backlit as bl
from backlit.compiler import ir, straight
from backlit.ops.powers import SQRT
from backlit.ops.trigonometry import TANH
from tests.compiler.checking import HOWS, OPTIMIZERS, check, numbers, reachable, runnable
from tests.compiler.graphs import Graph, Leaf, Line, from_seed, graphs, shrunk
from tests.compiler.rounding import FACTOR, FIRST, MORE, Rounded, difference
from tests.fuzz import Case, check_case, drawn

LIMITS = {"straight": 4000, "loops": -1}


@pytest.mark.parametrize("form", LIMITS)
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("seed", range(3))
def test_a_random_graph_gives_the_same_compiled(
    seed: int, how: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(straight, "LIMIT", LIMITS[form])
    graph = from_seed(100 * HOWS.index(how) + seed, lines=4)
    assert check(graph, reachable(graph, how)) == "", graph.source()


@given(graphs(lines=3))
@settings(max_examples=6)
def test_a_graph_that_hypothesis_draws_gives_the_same_compiled(graph: Graph) -> None:
    assert check(graph, reachable(graph, "gradients")) == "", graph.source()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50_000, 50_300))
def test_many_random_graphs_give_the_same_compiled(seed: int, quiet_settings: None) -> None:
    case = drawn(seed)
    assert check_case(case) == "", case.graph.source()


@pytest.fixture
def quiet_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check_case` sets is as it was afterwards."""
    from backlit.compiler import program

    monkeypatch.setattr(straight, "LIMIT", straight.LIMIT)
    monkeypatch.setattr(program, "Machine", program.Machine)


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
    found = [from_seed(seed, lines=6) for seed in range(250)]
    shapes = {leaf.shape for graph in found for leaf in graph.leaves}
    assert {(), (0,), (1,), (7,), (33,), (1000,)} <= shapes
    text = "\n".join(graph.source() for graph in found)
    assert {"float16", "complex64", "complex128"} <= {leaf.dtype for graph in found for leaf in graph.leaves}
    names = "matmul take_along_axis .at[ cumulative_sum softmax concat where argm pad scan fori_loop while_loop cond"
    for name in [*names.split(), "binomial", "reverse=True", ".mT @", "random"]:
        assert name in text, name
    assert re.search(r"\[v\d+ % (\d+) - \1\]", text), "positions counted from the end"
    assert any(leaf.wild for graph in found for leaf in graph.leaves)


def test_a_failing_graph_is_made_small() -> None:
    graph = from_seed(12, lines=10)

    def fails(candidate: Graph) -> bool:
        return "bl." in candidate.source()

    assert fails(graph)
    small = shrunk(graph, fails)
    assert len(small.lines) == 1
    assert len(small.leaves) <= 2


# -- what is noticed ---------------------------------------------------------------------------------------------


def _off_in_the_fifth_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    def lower(g: Any, result: Any, x: Any) -> Any:
        y = g.map("tanh", x)
        return g.map("multiply", y, g.broadcast(g.number(1.00001, y.dtype), y.shape))

    monkeypatch.setattr(TANH, "lower", lower)


def _position_before(monkeypatch: pytest.MonkeyPatch) -> None:
    gather = ir.Graph.gather

    def before(g: Any, a: Any) -> Any:
        zero, one = (g.broadcast(g.number(k, a.dtype), a.shape) for k in (0, 1))
        positive = g.map("greater", a, zero, dtype=np.dtype(bool))
        return g.map("where", positive, g.map("subtract", a, one), a, dtype=a.dtype)

    def shifted(g: Any, x: Any, arrays: Any, plan: Any, shape: Any) -> Any:
        return gather(g, x, [before(g, a) for a in arrays], plan, shape)

    monkeypatch.setattr(ir.Graph, "gather", shifted)


def _one_turn_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = ir.Graph.loop

    def shorter(g: Any, body: Any, args: Any, count: Any, reverse: Any) -> Any:
        return loop(g, body, args, count - 1 if count and count > 1 and not body.slices else count, reverse)

    monkeypatch.setattr(ir.Graph, "loop", shorter)


def _shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    matmul = ir.Graph.matmul

    def short(g: Any, a: Any, b: Any) -> Any:
        k = a.shape[-1]
        if k < 2:
            return matmul(g, a, b)
        rows = [[int(d == j) for j in range(len(a.shape))] for d in range(len(a.shape))]
        first = g.view(a, (*a.shape[:-1], k - 1), [0] * len(a.shape), rows)
        rows = [[int(d == j) for j in range(len(b.shape))] for d in range(len(b.shape))]
        shape = (*b.shape[:-2], k - 1, b.shape[-1])
        return matmul(g, first, g.view(b, shape, [0] * len(b.shape), rows))

    monkeypatch.setattr(ir.Graph, "matmul", short)


PLANTS = [(_off_in_the_fifth_digit, "tanh"), (_position_before, "% "), (_one_turn_fewer, "fori"), (_shorter, "matmul")]


@pytest.mark.parametrize(("plant", "word"), PLANTS)
def test_a_planted_mistake_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], word: str, quiet_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_graphs = (from_seed(seed, lines=3) for seed in range(500))
    tried = list(itertools.islice((graph for graph in drawn_graphs if word in graph.source()), 10))
    cases = [Case(graph, "values", LIMITS["loops"], level=0) for graph in tried]
    assert not any(map(check_case, cases))
    plant(monkeypatch)
    told = next(filter(None, map(check_case, cases)), "")
    assert told.startswith("result"), told


@pytest.mark.slow
def test_the_fuzzer_tells_its_rate_and_what_was_clean() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", "0.1", "--jobs", "1", "--seed", "70"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ graphs, [\d.]+ a second, 0 failed, done", done.stdout)
    assert "clean: values, straight lines" in done.stdout


# -- how much rounding explains ----------------------------------------------------------------------------------

SATURATED = Graph(
    leaves=(Leaf((1, 1), "float64", 5996), Leaf((16, 16), "float64", 4303)),
    lines=(
        Line("{0} - {1} * {1}", (1, 0), False),
        Line("{0} - {1} * {1}", (2, 1), False),
        Line("bl.tanh(bl.matmul({0}, {0}))", (3,), False),
    ),
    outputs=(4,),
)
"""Products up to 141 go into tanh: where it is nearly 1, its last place is all that is left of 1 - y². The second
derivative is -0.034961877888626633755 (by 60 digits). Eager evaluation is off by 1.4e-12 and compiled by 3.7e-12, in
which a last place of each tanh may take it off by 2.1e-10: neither is wrong."""


def test_a_last_place_that_is_magnified_is_no_mistake() -> None:
    assert check(SATURATED, "second") == ""
    eager = numbers(runnable(SATURATED, "second")(*(bl.Value(leaf.numbers()) for leaf in SATURATED.leaves)))
    assert abs(eager[0].item() + 0.034961877888626633755) < 2e-11


def test_the_spread_of_random_rounding_is_about_what_rounding_does() -> None:
    compiled = bl.compile(runnable(SATURATED, "second"))
    arrays = [leaf.numbers() for leaf in SATURATED.leaves]
    found = numbers(compiled(*arrays))
    runs = [Rounded(compiled.entries[0].traced, seed).call(arrays, {})[0] for seed in range(8)]
    spread = max(abs(run[0].item() - found[0].item()) for run in runs)
    assert 3e-13 < spread < 2.1e-10  # above: what a last place of every tanh can do at worst


def test_a_mistake_in_the_last_places_of_a_function_that_is_well_behaved_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = Graph((Leaf((3, 4), "float64", 1),), (Line("bl.tanh({0})", (0,), False),), (1,))
    eps = float(np.finfo(np.float64).eps)

    def lower(g: Any, result: Any, x: Any) -> Any:
        y = g.map("tanh", x)
        return g.map("multiply", y, g.broadcast(g.number(1 + 4 * FACTOR * eps, y.dtype), y.shape))

    monkeypatch.setattr(TANH, "lower", lower)
    for how in HOWS:
        assert "off by" in check(graph, how), how


ADAMS = [k for k, made in enumerate(OPTIMIZERS) if "Adam" in repr(made([bl.Parameter(1.0)]))]


@pytest.mark.parametrize("which", ADAMS)
def test_a_mistake_in_the_root_that_adam_divides_by_is_found(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (Line("bl.tanh({0})", (0,), False), Line("bl.sum(bl.softmax({0}))", (1,), False))  # of the sum: noise
    graphs = [
        Graph((Leaf((3, 4), name, which + k * len(OPTIMIZERS)),), lines, (output,))
        for k, (name, output) in enumerate([("float64", 1), ("float32", 2), ("float64", 2)])
    ]
    assert [check(graph, "learn") for graph in graphs] == ["", "", ""]

    def lower(g: Any, result: Any, x: Any) -> Any:
        y = g.map("sqrt", x)
        return g.map("multiply", y, g.broadcast(g.number(1.00001, y.dtype), y.shape))

    monkeypatch.setattr(SQRT, "lower", lower)
    assert "off by" in check(graphs[0], "learn")


def test_a_sum_that_cancels_in_one_order_and_not_in_another_is_no_mistake() -> None:
    lines = (Line("bl.tanh(bl.sum({0}, axis=-1, keepdims=False))", (0,), False),)
    assert check(Graph((Leaf((33, 7), "float64", 5397, wild=True),), lines, (1,)), "learn") == ""
    traced = bl.compile(lambda x: x @ np.ones(3))
    traced(np.ones(3))
    x = np.array([3.0, 1e30, -1e30])
    found = {round(Rounded(traced.entries[0].traced, seed).call([x], {})[0][0].item(), 6) for seed in range(20)}
    assert {0.0, 3.0} <= found, "exactly so"
    assert any(abs(y) > 1e10 for y in found), "and as large as the error may be"


def test_a_running_sum_is_as_exact_as_its_result_in_every_other_run() -> None:
    traced = bl.compile(lambda x: bl.cumulative_sum(x))
    x = np.array([1e30, -1e30, 3.0])
    traced(x)
    found = [Rounded(traced.entries[0].traced, seed).call([x], {})[0][0][2] for seed in range(20)]
    assert any(y == pytest.approx(3.0) for y in found)
    assert any(abs(y) > 1e10 for y in found)


def test_a_product_that_a_matrix_product_adds_need_not_be_rounded() -> None:
    """-inf and a product too large for float32 are NaN if that is rounded first, and -inf if it is not."""
    traced = bl.compile(lambda x, y: x @ y)
    x, y = np.array([-np.inf, 1e30], "f4"), np.array([0.9, 1e30], "f4")
    traced(x, y)
    runs = [Rounded(traced.entries[0].traced, seed).call([x, y], {})[0][0].item() for seed in range(20)]
    assert any(map(np.isnan, runs))
    assert -np.inf in runs
    assert np.inf not in runs


def test_the_sign_of_a_nan_is_open() -> None:
    traced = bl.compile(lambda x, y: (bl.signbit(x), bl.copysign(y, x), y))
    x, y = np.array([np.nan, 1.0, -1.0]), np.array([2.0, 2.0, np.nan])
    traced(x, y)
    runs = [Rounded(traced.entries[0].traced, seed).call([x, y], {})[0] for seed in range(20)]
    assert {tuple(signs.tolist()) for signs, _, _ in runs} == {(False, False, True), (True, False, True)}
    assert {copied[0].item() for _, copied, _ in runs} == {-2.0, 2.0}


def test_one_of_many_that_rounding_chooses_among_is_no_mistake() -> None:
    """The least of 200 numbers that are the same but for rounding: its gradient goes to few of them, or to all."""
    few, all = np.eye(201)[0], np.append(np.full(200, 1 / 200), 0.0)
    runs: list[int] = []

    def rounded(seed: int) -> list[Any]:
        runs.append(seed)
        chosen = np.append(np.random.default_rng(seed).random(200) < 0.05, False)
        return [chosen / max(1, chosen.sum())]

    assert difference([few], [all], rounded) == ""
    assert len(runs) > FIRST + MORE
    told = difference([few], [np.where(np.arange(201) < 200, all, 1e-9)], rounded)
    assert "at (200,)" in told
    assert "1 of 201 are wrong" in told
    runs.clear()
    assert "1 of 201 are wrong" in difference([np.zeros(201)], [1e-9 * np.eye(201)[200]], rounded)
    assert len(runs) == FIRST + MORE, "no more, where they explain nothing"


def test_nan_for_a_number_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph((Leaf((40,), "float64", 1, wild=True),), (Line("bl.tanh({0})", (0,), False),), (1,))
    assert check(graph, "values") == ""

    def lower(g: Any, result: Any, x: Any) -> Any:
        return g.map("add", g.map("tanh", x), g.map("multiply", x, g.broadcast(g.number(0, x.dtype), x.shape)))

    monkeypatch.setattr(TANH, "lower", lower)
    assert "off by inf" in check(graph, "values")


def test_what_an_extreme_was_chosen_from_is_computed_once() -> None:
    """A product and a sum, rounded once in one loop and twice in another, left nothing equal to the extreme."""
    chosen = Graph(
        leaves=(Leaf(shape=(130, 65), dtype="float64", seed=9389, wild=False),),
        lines=(
            Line(text="{0} - {1} * {1}", args=(0, 0), exact=False),
            Line(text="bl.max({0}, axis=None, keepdims=False)", args=(1,), exact=False),
        ),
        outputs=(2,),
        assigned=(),
    )
    for level in (0, 2):
        assert not check_case(Case(chosen, "second", 4000, level))
