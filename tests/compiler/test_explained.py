"""`compiled.explain()`: what it says is what the program does."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import blocks
from backlit.compiler.compile import Compiled
from backlit.compiler.explained import WIDTH, _short, _time
from backlit.core.errors import DataError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(32, 48))


class Net:
    """A step of learning whose lines are known."""

    def __init__(self) -> None:
        self.w = bl.Parameter(RNG.normal(size=(48, 24)) * 0.1, name="w")
        self.b = bl.Parameter(np.zeros(24), name="b")
        self.lines: dict[str, int] = {}

    def step(self, x: Any) -> Any:
        hidden = bl.tanh(x @ self.w + self.b)
        loss = (hidden * hidden).sum()
        loss.backward()
        for p in (self.w, self.b):
            p.data = p.data - 0.01 * p.grad
            p.grad = None
        return loss


FIRST = Net.step.__code__.co_firstlineno
HIDDEN, LOSS, UPDATE = FIRST + 1, FIRST + 2, FIRST + 5


@pytest.fixture(scope="module", autouse=True)
def near() -> Iterator[None]:
    """Hand on the tiles of small products, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "NEAR", 0)
        yield


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    step = bl.compile(Net().step)
    step(X)
    return step


def test_every_kernel_names_the_lines_that_it_computes(compiled: Compiled) -> None:
    told = compiled.explain()
    (report,) = told.reports
    assert [row.name for row in report.rows] == [note.name for note in compiled.entries[0].program.notes]
    text = told.text
    assert f"test_explained.py:{HIDDEN}: matmul" in text
    assert f"gradient of test_explained.py:{HIDDEN}" in text
    assert f"test_explained.py:{UPDATE}" in text
    assert f"1 of 1: arguments float64[{X.shape[0]},{X.shape[1]}]" in text
    assert str(told) == repr(told) == text


def test_it_counts_operations_and_bytes(compiled: Compiled) -> None:
    (report,) = compiled.explain().reports
    joined = [row for row in report.rows if any(node.kind == "matmul" for node in row.fused)]
    assert [row.kind == "tiles" for row in report.rows] == [row in joined for row in report.rows]
    layer, update = joined  # each product with the loops that take its tiles
    (product,) = (node for node in layer.fused if node.kind == "matmul")
    assert product not in layer.nodes
    computed = [node for node in [*layer.fused, *layer.nodes] if node.kind == "map"]
    assert {node.attrs[0] for node in computed} >= {"add", "tanh"}
    assert layer.operations == 2 * 32 * 48 * 24 + 32 * 24 * len(computed)
    assert layer.bytes == 8 * (32 * 48 + 48 * 24 + 24 + 32 * 24 * len(layer.nodes))
    assert update.operations == 2 * 32 * 48 * 24 + 48 * 24 * 2
    assert update.bytes == 8 * (32 * 48 + 32 * 24 + 2 * 48 * 24)  # the gradient itself is nowhere
    assert report.arena == compiled.entries[0].program.arena_bytes
    assert report.traced > report.merged - 10 > 0
    assert 0 < report.kept < report.merged


def test_it_fits_on_a_screen(compiled: Compiled) -> None:
    for told in (compiled.explain(), compiled.explain(profile=True)):
        assert max(map(len, told.text.splitlines())) <= WIDTH


def test_profiling_times_each_kernel_and_changes_nothing() -> None:
    net = Net()
    step = bl.compile(net.step)
    step(X)
    before = np.array(net.w.data)
    told = step.explain(profile=True)
    (report,) = told.reports
    assert np.array_equal(before, net.w.data)
    assert net.w.grad is None
    assert all(row.ns is not None and 0 < row.ns < 1e7 for row in report.rows)
    assert report.total_ns is not None
    assert sum(row.ns or 0.0 for row in report.rows) < 1.5 * report.total_ns
    assert " us " in told.text or " ns " in told.text
    step(X)
    assert not np.array_equal(before, net.w.data)


def test_a_loop_is_profiled_by_the_turn() -> None:
    net = Net()
    step = bl.compile(net.step)
    step.repeat(3, X)
    before = np.array(net.w.data)
    told = step.explain(profile=True)
    assert np.array_equal(before, net.w.data)
    assert "as a loop" in told.text
    (report,) = told.reports
    timed = [row for row in report.rows if row.ns is not None]
    assert len(timed) == len(report.rows)
    assert report.total_ns is not None
    assert 0 < sum(row.ns or 0.0 for row in timed) < 1.5 * report.total_ns


def test_a_line_shows_its_nodes_its_kernel_and_its_code(compiled: Compiled) -> None:
    text = compiled.explain(line=HIDDEN).text
    assert compiled.explain(HIDDEN).text == text
    assert "= tanh" in text
    assert "define internal void @k1(" in text
    assert "define internal void @product2(" in text
    assert "LLVM IR, after LLVM's passes:" in text
    assembly = text.split("Assembly for ")[-1]
    assert "ret" in assembly
    assert "kernel of kind tiles" in text


def test_a_name_and_a_value_are_found_as_well(compiled: Compiled) -> None:
    assert "what became of `hidden`" in compiled.explain("hidden").text
    assert "= tanh" in compiled.explain("tanh").text
    value = next(v for r in compiled.explain().reports for row in r.rows for v in row.values if v.label == "hidden")
    assert f"what became of line {HIDDEN} of" in compiled.explain(value).text


def test_a_straight_line_of_code_is_explained_too() -> None:
    f = bl.compile(lambda a, b: bl.exp(a * b) + 1.0)
    f(np.float64(2.0), np.float64(3.0))
    told = f.explain(profile=True)
    assert [row.kind for row in told.reports[0].rows] == ["straight"]
    assert told.reports[0].rows[0].operations == 3
    assert "@bl.exp" in f.explain("exp").text


def test_kernels_of_a_loop_are_marked() -> None:
    f = bl.compile(lambda x, xs: bl.scan(lambda c, x: (bl.tanh(c * 0.5 + x), c.sum()), x, xs))
    f(np.ones(3), np.ones((7, 3)))
    text = f.explain().text
    assert "loop1*" in text
    assert "* at each turn of a loop" in text


def test_all_kinds_of_arguments_are_told() -> None:
    f = bl.compile(lambda x: (x * 2.0).sum())
    f(np.ones(3))
    f(np.ones((4, 5), np.float32))
    text = f.explain().text
    assert "2 kinds of arguments traced" in text
    assert "1 of 2: arguments float64[3]" in text
    assert "2 of 2: arguments float32[4,5]" in text


def test_what_cannot_be_explained_says_why(compiled: Compiled) -> None:
    with pytest.raises(DataError, match="call it"):
        bl.compile(lambda x: x + 1).explain()
    with pytest.raises(DataError, match=rf"Lines that it comes from: .*{HIDDEN}, {LOSS}"):
        compiled.explain(line=1)
    with pytest.raises(DataError, match=r"not 2\.5"):
        compiled.explain(2.5)


def test_it_is_html_where_that_is_shown(compiled: Compiled) -> None:
    page = compiled.explain("hidden")._repr_html_()
    assert page.startswith("<pre")
    assert "<16 x" not in page


def test_numbers_are_short() -> None:
    assert [_short(n) for n in (0, 999, 1000, 999_940, 999_990, 2.5e9)] == [
        "0",
        "999",
        "1.0k",
        "999.9k",
        "1.0M",
        "2.5G",
    ]
    assert [_time(n) for n in (3.0, 1234.0, 5.6e6, 2e9)] == ["3 ns", "1.23 us", "5.6 ms", "2 s"]
