"""The name of a program decides its text: found from the graph, it is never shared by two that differ."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import backlit as bl
from backlit.compiler import fingerprint, straight, team, trace
from backlit.compiler.fingerprint import of_graph
from backlit.compiler.program import graph_of, graph_of_turns
from backlit.compiler.source import Source
from backlit.compiler.target import host, named
from backlit.core.errors import BacklitError, IndexingError
from backlit.core.numbers import Abstract
from backlit.core.value import leaf
from tests.compiler.checking import Step, runnable
from tests.compiler.graphs import Graph, _smaller, from_seed, graphs

X = np.linspace(-1.0, 1.0, 600).reshape(20, 30)


def source(function: Callable[..., Any], *arrays: Any, profile: bool = False) -> Source:
    """A traced and lowered function; nothing is compiled."""
    leaves = [leaf(Abstract(x.shape, x.dtype), active=False) for x in arrays]
    return Source(*graph_of(trace.run(function, lambda them: (tuple(them), {}), leaves)), profile)


def drawn(graph: Graph, how: str) -> Source:
    if how != "turns":
        return source(runnable(graph, how), *(x.numbers() for x in graph.leaves))
    return Source(*graph_of_turns(trace.run(Step(graph, "step"), lambda _: ((), {}), [])))


# -- equal names, equal texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [4000, -1], ids=["straight", "loops"])
@pytest.mark.parametrize("how", ["values", "gradients", "turns"])
@settings(max_examples=8)
@given(graph=graphs(lines=5))
def test_graphs_of_one_name_have_one_text(graph: Graph, how: str, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(straight, "LIMIT", limit)
        texts: dict[Any, str] = {}
        near = [g for g in _smaller(graph) if g.outputs][:12]  # graphs that differ in one thing only
        for one in [graph, graph, *near, *near]:
            try:
                found = drawn(one, how)
            except BacklitError:
                continue  # no graph any more, or no gradient flows
            assert texts.setdefault(found.name, found.text) == found.text
        assert len(set(texts.values())) <= len(texts)


@pytest.mark.parametrize("seed", range(20))
def test_the_same_function_has_the_same_name_and_text_each_time(seed: int) -> None:
    graph, kept = from_seed(900 + seed), []
    sources = []
    for k in range(3):
        kept.append([object() for _ in range(999 * k)])  # other addresses
        sources.append(drawn(graph, ("values", "turns")[seed % 2]))
    assert len({found.name for found in sources}) == 1
    assert len({found.text for found in sources}) == 1


def test_who_made_a_value_does_not_matter() -> None:
    def one(x: Any) -> Any:
        hidden = bl.tanh(x)
        return hidden.sum()

    assert source(one, X).name == source(lambda x: bl.sum(bl.tanh(x)), X).name


# -- what decides ------------------------------------------------------------------------------------------------

DIFFERENT: dict[str, Callable[[], Source]] = {
    "plain": lambda: source(lambda x: bl.tanh(x) * 2.0, X),
    "op": lambda: source(lambda x: bl.sin(x) * 2.0, X),
    "number": lambda: source(lambda x: bl.tanh(x) * 3.0, X),
    "sign of zero": lambda: source(lambda x: bl.tanh(x) + -0.0, X),
    "zero": lambda: source(lambda x: bl.tanh(x) + 0.0, X),
    "array": lambda: source(lambda x: bl.tanh(x) * np.arange(30.0), X),
    "another array": lambda: source(lambda x: bl.tanh(x) * np.arange(1.0, 31.0), X),
    "shape": lambda: source(lambda x: bl.tanh(x) * 2.0, X[:7]),
    "dtype": lambda: source(lambda x: bl.tanh(x) * 2.0, X.astype(np.float32)),
    "axis 0": lambda: source(lambda x: x.sum(axis=0), X[:, :20]),
    "axis 1": lambda: source(lambda x: x.sum(axis=1), X[:, :20]),
    "keepdims": lambda: source(lambda x: x.sum(axis=1, keepdims=True), X[:, :20]),
    "window": lambda: source(lambda x: x[1:5] * 1.5, X),
    "next window": lambda: source(lambda x: x[2:6] * 1.5, X),
    "backwards": lambda: source(lambda x: x[4:0:-1] * 1.5, X),
    "transposed": lambda: source(lambda x: bl.tanh(x).T * 2.0, X),
    "more outputs": lambda: source(lambda x: (bl.tanh(x) * 2.0, bl.tanh(x)), X),
    "other order": lambda: source(lambda x: (bl.tanh(x), bl.tanh(x) * 2.0), X),
    "idle input": lambda: source(lambda x, y: bl.tanh(x) * 2.0, X, X),
    "other input": lambda: source(lambda y, x: bl.tanh(x) * 2.0, X, X),
    "profile": lambda: source(lambda x: bl.tanh(x) * 2.0, X, profile=True),
    "three turns": lambda: source(lambda x: bl.fori_loop(0, 3, lambda i, y: bl.tanh(y), x), X),
    "four turns": lambda: source(lambda x: bl.fori_loop(0, 4, lambda i, y: bl.tanh(y), x), X),
    "another body": lambda: source(lambda x: bl.fori_loop(0, 3, lambda i, y: bl.sin(y), x), X),
    "array in a body": lambda: source(lambda x: bl.fori_loop(0, 3, lambda i, y: y * np.arange(30.0), x), X),
    "its numbers": lambda: source(lambda x: bl.fori_loop(0, 3, lambda i, y: y * np.arange(1.0, 31.0), x), X),
    "backward scan": lambda: source(lambda x: bl.scan(lambda c, y: (c + y, c), x[0], x, reverse=True)[1], X),
    "scan": lambda: source(lambda x: bl.scan(lambda c, y: (c + y, c), x[0], x)[1], X),
}


def test_whatever_decides_the_code_decides_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2):
        monkeypatch.setattr(team, "_setting", [count])
        names = {what: make().name for what, make in DIFFERENT.items()}
        assert len(set(names.values())) == len(names)
        assert {what: make().name for what, make in DIFFERENT.items()} == names
    alone = {make().name for make in DIFFERENT.values()}
    monkeypatch.setattr(team, "_setting", [1])
    assert not alone & {make().name for make in DIFFERENT.values()}


def test_the_compiler_itself_and_the_cpu_decide_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = fingerprint.of_compiler(host())
    assert fingerprint.of_compiler(host()) == here
    assert fingerprint.of_compiler(host(), True) != here
    assert fingerprint.of_compiler(named("x86-64")) != here
    assert fingerprint.of_compiler(replace(host(), l1_bytes=1)) != here
    with monkeypatch.context() as patch:
        patch.setattr(straight, "LIMIT", 17)
        assert fingerprint.of_compiler(host()) != here
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_SOURCES", b"edited")
        assert fingerprint.of_compiler(host()) != here
    assert fingerprint.of_compiler(host()) == here


def test_a_word_more_in_the_sources_is_another_compiler(tmp_path: Path) -> None:
    seen = {fingerprint.sources(tmp_path)}
    for name, text in [("a.py", "x"), ("a.py", "xy"), ("b.py", ""), ("deep/c.py", "x"), ("deep/c.txt", "no source")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        seen.add(fingerprint.sources(tmp_path))
    assert len(seen) == 5


ELSEWHERE = textwrap.dedent("""
    import numpy as np
    import backlit as bl
    from tests.compiler.test_fingerprint import DIFFERENT
    print([make().name for make in DIFFERENT.values()])
""")


def test_another_process_finds_the_same_names() -> None:
    command = [sys.executable, "-c", ELSEWHERE]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    assert there.strip() == str([make().name for make in DIFFERENT.values()])


def test_constants_are_told_in_one_order_those_of_loops_too() -> None:
    def f(x: Any) -> Any:
        return bl.fori_loop(0, 3, lambda i, y: y * np.arange(30.0) + np.arange(30.0) ** 2, bl.tanh(x) * np.ones(30) / 3)

    first, second = (source(f, X) for _ in range(2))
    arrays = [of_graph(found.inputs, found.outputs)[1] for found in (first, second)]
    assert len(arrays[0]) >= 2
    for a, b in zip(*arrays, strict=True):
        assert np.array_equal(a.data, b.data)


# -- text that is written late -----------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLIT_CACHE_DIR", str(tmp_path))


@pytest.mark.usefixtures("own_cache")
def test_code_from_the_disk_is_explained_as_if_it_had_just_been_written() -> None:
    def step(x: Any) -> Any:
        return (bl.tanh(x @ X.T) * np.arange(20.0)).sum(axis=0)

    told = []
    for _ in range(2):
        compiled = bl.compile(step)
        compiled(X)
        program = compiled.entries[0].program
        told.append((program.text, [note.text for note in program.notes], program.arena_bytes))
    assert program.machine.was_cached
    assert told[0] == told[1]
    assert "kernel" in compiled.explain().text


@pytest.mark.usefixtures("own_cache")
def test_code_from_the_disk_asks_for_no_text() -> None:
    for _ in range(2):
        compiled = bl.compile(lambda x: bl.tanh(x).sum())
        compiled(X)
    source = compiled.entries[0].program.source
    assert "_written" not in vars(source)
    assert compiled.entries[0].program.seconds["emit"] == 0


@pytest.mark.usefixtures("own_cache")
def test_a_position_outside_is_told_of_by_code_from_the_disk() -> None:
    for _ in range(2):
        compiled = bl.compile(lambda x, at: x[at] * 2.0)
        compiled(X, np.array([3, 4]))
        with pytest.raises(IndexingError, match="outside of an axis of length 20"):
            compiled(X, np.array([3, 20]))
    assert compiled.entries[0].program.machine.was_cached


@pytest.mark.usefixtures("own_cache")
def test_programs_that_differ_in_a_baked_array_each_have_their_own() -> None:
    for _ in range(2):
        for shift in range(3):
            baked = np.arange(30.0) + shift
            found = bl.compile(lambda x: (x * baked).sum(axis=0))(X)  # noqa: B023
            np.testing.assert_allclose(found.data, (X * baked).sum(axis=0), atol=1e-12)


LARGE = np.linspace(-1.0, 1.0, 9000).reshape(300, 30)


def test_code_for_a_large_array_serves_for_another_with_its_own_numbers(own_cache: None) -> None:
    compiled = []
    for data in (LARGE, LARGE[::-1] * 3.0, np.where(LARGE < 0.5, LARGE, 0.0)):
        compiled.append(bl.compile(lambda x: (x @ data.T).sum(axis=1) + (x[0] * data).sum()))  # noqa: B023
        found = compiled[-1](X)
        np.testing.assert_allclose(found.data, (X @ data.T).sum(axis=1) + (X[0] * data).sum(), atol=1e-10)
    programs = [one.entries[0].program for one in compiled]
    assert [program.machine.was_cached for program in programs] == [False, True, True]
    assert programs[0].text == programs[1].text == programs[2].text


def test_which_large_arrays_are_one_decides_the_name(own_cache: None) -> None:
    def of(first: Any, second: Any) -> Any:
        def turn(i: Any, y: Any) -> Any:
            return y + (second * y[:, None]).sum(axis=1)

        return bl.compile(lambda x: bl.fori_loop(0, 2, turn, (first * x).sum(axis=1)))

    a, b, c = (bl.asarray(LARGE + k) for k in range(3))
    for first, second, is_known in (a, a, False), (a, b, False), (c, a, True), (c, c, True):
        f = of(first, second)
        expected = (first.data * X[0]).sum(axis=1)
        for _ in range(2):
            expected = expected + (second.data * expected[:, None]).sum(axis=1)
        np.testing.assert_allclose(f(X[0]).data, expected, rtol=1e-12)
        assert f.entries[0].program.machine.was_cached == is_known


def test_numbers_that_code_depends_on_decide_the_name(own_cache: None) -> None:
    """Positions, however many, and large arrays whose numbers are all equal."""
    places = np.arange(9000) % 20
    for at in (places, places[::-1].copy(), places + 11):
        if at.max() < 20:
            found = bl.compile(lambda x: x[at].sum(axis=1))(X)  # noqa: B023
            np.testing.assert_allclose(found.data, X[at].sum(axis=1), atol=1e-12)
        else:
            with pytest.raises(IndexingError, match="position 30"):
                bl.compile(lambda x: x[at].sum(axis=1))(X)  # noqa: B023
    for number in (1.0, 2.0):
        found = bl.compile(lambda x: (np.full((300, 30), number) * x).sum(axis=0))(X[0])  # noqa: B023
        np.testing.assert_allclose(found.data, 300 * number * X[0], rtol=1e-12)


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("many", [False, True], ids=["in a block", "as the whole"])
def test_the_tables_of_a_tape_come_from_the_disk_too(many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from backlit.compiler import tape

    monkeypatch.setattr(tape, "MANY", 50)
    monkeypatch.setattr(straight, "LIMIT", -1)
    inputs = [bl.Value(1.0 + k / 100) for k in range(100 if many else 3)]

    def f(*xs: Any) -> Any:
        total: Any = xs[0]
        for k in range(100):
            total = bl.sin(total) + (0.5 + k) * xs[k % len(xs)]
        return total

    outcomes = []
    for _ in range(2):
        compiled = bl.compile(f)
        outcomes.append(compiled(*inputs).data)
        program = compiled.entries[0].program
    assert program.machine.was_cached
    assert "_written" not in vars(program.source)
    assert program.source.facts.constants, "the tables"
    assert outcomes[0] == outcomes[1]
    np.testing.assert_allclose(outcomes[0], f(*inputs).data, rtol=1e-12)
