from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.core.value import Value
from backlit.explain.ledger import how_many
from backlit.explain.path_search import product
from backlit.explain.paths import paths


def every_path(output, x):
    """The products of all paths, by walking each of them: the judge, for small graphs."""
    found, stack = [], [(output, 1.0)]
    while stack:
        node, carried = stack.pop()
        if node is x:
            found.append(carried)
            continue
        for index, source in enumerate(node.inputs):
            if source.op is None and source is not x:
                continue
            xs = [each.data for each in node.inputs]
            rule = node.op.partials[index]
            stack.append((source, carried * float(rule(node.data, *xs))))
    return found


STEPS = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: (a * 0.7).tanh(),
    lambda a, b: (b * -0.4).sin(),
    lambda a, b: a * 0.5 + b * 0.25,
)


@st.composite
def scalar_graphs(draw):
    x = Value(round(draw(st.floats(-2, 2)), 3), name="x")  # so small that products underflow is another matter
    nodes = [x, x * 1.5]
    for _ in range(draw(st.integers(1, 7))):
        a, b = (nodes[draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        nodes.append(draw(st.sampled_from(STEPS))(a, b))
    total = nodes[-1]
    for node in nodes[2:-1]:
        total = total + node
    return x, total


@settings(max_examples=150, deadline=None)
@given(scalar_graphs())
def test_the_ledger_holds_what_walking_every_path_finds(graph):
    x, y = graph
    walked = every_path(y, x)
    if len(walked) > 4000:
        return
    ledger = paths(y, x, top=5)
    y.backward()
    scale = math.fsum(map(abs, walked)) + 1e-300
    assert ledger.count == len(walked)
    assert ledger.gradient == x.grad
    assert math.isclose(ledger.sizes, scale, rel_tol=1e-9, abs_tol=1e-12)
    listed = [path.product for path in ledger]
    carrying = sorted((abs(p) for p in walked if p), reverse=True)
    np.testing.assert_allclose([abs(p) for p in listed], carrying[: len(listed)], rtol=1e-9, atol=1e-300)
    assert len(listed) == min(5, len(carrying))
    assert abs(math.fsum(listed) + ledger.others - x.grad) <= 1e-14 * scale
    for path in ledger:
        assert math.isclose(path.product, math.prod(path.factors), rel_tol=1e-12, abs_tol=1e-300)


@settings(max_examples=60, deadline=None)
@given(scalar_graphs())
def test_all_paths_listed_add_up_to_the_gradient(graph):
    x, y = graph
    ledger = paths(y, x, top=3000)
    if ledger.count > 3000:
        return
    scale = ledger.sizes + 1e-300
    assert abs(math.fsum(path.product for path in ledger) - ledger.gradient) <= 1e-12 * scale


def test_ten_to_the_thirty_paths_take_no_second():
    x = Value(1.0, name="x")
    y = x
    for _ in range(100):
        y = y * 0.5 + y * 0.5001
    start = time.perf_counter()
    ledger = paths(y, x)
    text = str(ledger)
    assert time.perf_counter() - start < 1.0
    assert ledger.count == 2**100
    assert ledger.others_count == 2**100 - 10
    assert math.isclose(ledger[0].product, 0.5001**100, rel_tol=1e-12)
    assert math.isclose(ledger[1].product, 0.5001**99 * 0.5, rel_tol=1e-12)
    assert math.isclose(ledger.gradient, 1.0001**100, rel_tol=1e-12)
    assert "about 1.27·10^30 paths" in text


def test_equal_paths_without_number_are_no_trap_for_the_search():
    x = Value(1.0)
    y = x
    for _ in range(200):
        y = y * 0.9 + y * 0.9
    assert [round(math.log(path.product, 0.9)) for path in paths(y, x)] == [200] * 10


def test_a_long_chain_is_walked_and_not_recursed():
    x = Value(1.0)
    y = x
    for _ in range(50_000):
        y = y * 1.0
    ledger = paths(y, x)
    assert ledger.count == 1
    assert len(ledger[0].steps) == 50_000
    assert "more" in str(ledger)


def test_cancellation_is_told():
    x = Value(2.0, name="x")
    y = x * 1000.0 - x * 999.0
    ledger = paths(y, x)
    assert ledger.gradient == 1.0
    assert math.isclose(ledger.cancellation, 1 / 1999)
    assert "they nearly cancel" in str(ledger)


def test_a_gate_that_is_shut_carries_nothing_and_is_counted_all_the_same():
    x = Value(-1.0, name="x")
    y = x.relu() * 2.0 + x * 3.0
    ledger = paths(y, x)
    assert (ledger.count, ledger.carrying) == (2, 1)
    assert [path.product for path in ledger] == [3.0]
    assert ledger.others == 0.0


def test_without_a_path_the_ledger_says_so():
    x, z = bl.values(x=1.0, z=2.0)
    ledger = paths(z * 2.0, x)
    assert ledger.count == 0
    assert "no path leads" in str(ledger)


def test_the_variable_itself_is_one_path_of_no_length():
    x = Value(2.0, name="x")
    ledger = paths(x, x)
    assert (ledger.count, ledger.gradient) == (1, 1.0)
    assert str(ledger) == "∂x/∂x = 1: the output is x itself."


def test_a_constant_is_refused():
    y = Value(2.0) * bl.asarray(3.0)
    with pytest.raises(bl.GraphError, match="constant"):
        paths(y, y.inputs[1])


def test_an_index_outside_is_refused():
    w = Value([1.0, 2.0])
    with pytest.raises(bl.IndexingError, match="shape \\(2,\\)"):
        paths((w * w).sum(), w, index=2)


def test_the_gradients_a_program_holds_stay_as_they_are():
    x = Value(3.0)
    h = x * x
    (h * 2.0).backward()
    paths(h.exp(), x)
    assert (x.grad, h.grad) == (12.0, 2.0)


def test_a_variable_assigned_since_is_found_by_the_numbers_the_graph_used():
    x = Value(3.0)
    y = x * x
    x.data = 5.0
    assert paths(y, x).gradient == 6.0


def small_net():
    rng = np.random.default_rng(0)
    w1 = bl.Parameter(rng.normal(size=(2, 3)), name="w1")
    w2 = bl.Parameter(rng.normal(size=(3, 2)), name="w2")
    h = (bl.asarray(rng.normal(size=(4, 2))) @ w1).tanh()
    p = bl.softmax(h @ w2, axis=1)
    return w1, (p * p).sum() + h.mean() * 0.1


@pytest.mark.parametrize("index", [(0, 1), (1, 2), (-1, 0)])
def test_elements_of_arrays_are_nodes_of_their_own(index):
    w1, loss = small_net()
    ledger = paths(loss, w1, top=10_000, index=index)
    loss.backward()
    assert ledger.kind == "elements"
    assert ledger.gradient == w1.grad[index]
    total = math.fsum(path.product for path in ledger) + ledger.others
    assert math.isclose(total, w1.grad[index], rel_tol=1e-12)
    assert abs(ledger.others) < 1e-12


def test_between_arrays_every_path_adds_an_array_and_they_add_up():
    w1, loss = small_net()
    ledger = paths(loss, w1)
    loss.backward()
    assert ledger.kind == "arrays"
    assert ledger.complete
    assert len(ledger) == ledger.count == 5
    np.testing.assert_allclose(sum(path.contribution for path in ledger), w1.grad, atol=1e-14)
    assert all(a.product >= b.product for a, b in zip(ledger, list(ledger)[1:], strict=False))


def test_between_arrays_one_element_can_be_asked_for():
    w1, loss = small_net()
    ledger = paths(loss, w1, index=(0, 1), by="arrays")
    loss.backward()
    assert math.isclose(sum(path.product for path in ledger), w1.grad[0, 1], rel_tol=1e-12)


def test_where_there_are_too_many_paths_between_arrays_the_search_is_not_called_complete():
    w = Value(np.ones(3), name="w")
    y = w
    for _ in range(40):
        y = y * 0.5 + y * 0.4
    ledger = paths(y.sum(), w, top=3)
    assert ledger.count == 2**40
    assert not ledger.complete
    assert len(ledger) == 3
    assert math.isclose(ledger[0].product, 0.5**40 * math.sqrt(3), rel_tol=1e-9)
    np.testing.assert_allclose(ledger.others + sum(p.contribution for p in ledger), 0.9**40, rtol=1e-12)


def test_the_ledger_is_plain_data():
    w1, loss = small_net()
    for ledger in (paths(loss, w1), paths(loss, w1, index=(0, 0), top=2)):
        data = json.loads(json.dumps(ledger.to_dict()))
        assert data["schema"] == "backlit.paths/1"
        assert data["count"] == str(ledger.count)
        assert len(data["top"]) == len(ledger)


def test_the_table_shows_nodes_factors_and_lines():
    a, b = bl.values(a=2.0, b=-3.0)
    u = a * b
    loss = u * a
    lines = str(paths(loss, a)).splitlines()
    assert lines[0] == "∂loss/∂a = -12: the sum over 2 paths."
    assert "  1       -6  50.0 %  loss ← u ← a" in lines
    assert any("∂loss/∂u = 2 " in line and "test_paths.py:" in line and "loss = u * a" in line for line in lines)


def test_counts_read_as_people_write_them():
    assert how_many(999_999_999_999) == "999,999,999,999"
    assert how_many(10**30) == "about 1.00·10^30"
    assert how_many(10**31 - 1) == "about 10.00·10^30" or how_many(10**31 - 1) == "about 1.00·10^31"


@given(st.lists(st.floats(-1e300, 1e300, allow_subnormal=False).filter(lambda x: abs(x) > 1e-300), max_size=8))
def test_products_do_not_overflow_on_the_way(numbers):
    exact = math.prod(map(bl_fraction, numbers))
    found = product(numbers)
    if abs(exact) < bl_fraction(1e305) and abs(exact) > bl_fraction(1e-300):
        assert abs(bl_fraction(found) - exact) <= abs(exact) * bl_fraction(1e-14)


def bl_fraction(x):
    from fractions import Fraction

    return Fraction(x)
