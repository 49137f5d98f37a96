"""Walks do not recurse and take time in proportion to the graph."""

import gc

import pytest

import backlit as bl
from backlit.core.walk import toposort


def test_inputs_come_before_what_uses_them():
    x = bl.Value(2.0)
    y = x * x + x
    order = toposort([y * y])
    place = {node: i for i, node in enumerate(order)}
    assert all(place[i] < place[node] for node in order for i in node.inputs)


def test_a_shared_node_is_walked_once_even_where_paths_double_at_every_step():
    x = y = bl.Value(1.0)
    for _ in range(200):
        y = y + y
    y.backward()
    assert x.grad == 2.0**200


def test_a_chain_of_a_million_nodes_is_built_differentiated_and_freed():
    x = y = bl.Value(1.0)
    one = bl.Value(1.0)
    for _ in range(1_000_000):
        y = y * one
    y.backward()
    assert x.grad == 1.0
    assert one.grad == 1_000_000.0
    del y
    gc.collect()


@pytest.mark.parametrize("transform", [bl.grad, lambda f: lambda x: bl.jvp(f, (x,), (1.0,))[1]])
def test_a_long_chain_can_be_differentiated_as_graph(transform):
    def f(x):
        y = x
        for _ in range(20_000):
            y = y * 1.0001
        return y

    assert transform(f)(1.0).data == pytest.approx(1.0001**20_000)
