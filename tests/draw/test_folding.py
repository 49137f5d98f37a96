"""Folding: every node is in one group, groups make no circle, and there are never more than the limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backlit as bl
from backlit.core.value import inputs_of
from backlit.core.walk import toposort
from backlit.draw.folding import Group, folded
from tests.draw.graphs import graphs


def check(groups: list[Group], order: list[bl.Value]) -> None:
    seen: dict[bl.Value, int] = {}
    for i, group in enumerate(groups):
        for node in group.members:
            assert node not in seen
            seen[node] = i
    assert set(seen) == set(order)
    for node in order:
        for x in inputs_of(node):
            assert seen[x] <= seen[node], "a group stands before one that it was computed from"


@given(graphs(), st.sampled_from([0, 1, math.inf]), st.sampled_from([3, 8, 20, 300]))
def test_groups_hold_every_node_once_and_make_no_circle(output: bl.Value, depth: float, limit: int) -> None:
    order = toposort([output])
    groups = folded(order, depth=depth, limit=limit)
    check(groups, order)
    assert len(groups) <= limit


def test_a_scope_that_is_left_and_entered_again_is_split_and_not_made_a_circle() -> None:
    x = bl.Value(1.0)
    scope = bl.scope("s")
    with scope:
        a = x * 2.0
        a = a + 1.0
    b = bl.tanh(a)
    inner = a._extra.scope
    c = b * b
    d = c + a
    for node in (c, d):
        node._own_extra().scope = inner  # as a generator does that runs under a scope with pauses
    order = toposort([d])
    check(folded(order), order)


def test_a_loop_over_two_lines_becomes_one_group_where_its_rounds_are_too_many() -> None:
    h = bl.Value(0.5)
    for _ in range(200):
        a = h * 0.9
        h = bl.tanh(a)
    order = toposort([h])
    groups = folded(order, limit=50)
    check(groups, order)
    assert [group.kind for group in groups] == ["single", "loop"]


def test_the_layers_of_a_net_stay_apart_where_one_line_computes_them_all() -> None:
    layers = [[[bl.Value(0.1 * (i + j)) for i in range(6)] for j in range(6)] for _ in range(3)]
    hs = [bl.Value(float(i)) for i in range(6)]
    for layer in layers:
        zs = [sum((w * h for w, h in zip(row, hs, strict=True)), bl.Value(0.0)) for row in layer]
        hs = [bl.tanh(z) for z in zs]
    order = toposort([sum(hs, bl.Value(0.0))])
    groups = folded(order, limit=100)
    check(groups, order)
    kinds = [group.kind for group in groups]
    assert kinds.count("line") == 7  # two lines in each of three layers, and the last sum
    assert "loop" not in kinds


def test_a_program_of_more_lines_than_the_limit_keeps_the_last_ones() -> None:
    source = "\n".join(f"x = x * 1.0{i:03}" for i in range(60))
    names = {"x": bl.Value(1.0)}
    exec(compile(source, "<program>", "exec"), names)
    order = toposort([names["x"]])
    groups = folded(order, limit=20)
    check(groups, order)
    assert len(groups) == 20
    assert [group.kind for group in groups].count("earlier") == 1
    assert groups[-1].members[-1] is order[-1]


def test_numbers_used_inside_a_fold_are_folded_with_it() -> None:
    x = bl.Value(1.0)
    with bl.scope("affine"):
        y = x * 3.0 + 2.0
    groups = folded(toposort([y]))
    assert [(group.kind, len(group.members)) for group in groups] == [("single", 1), ("composite", 4)]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_depth_opens_scopes_level_by_level(depth: int) -> None:
    x = bl.Value(1.0)
    with bl.scope("outer"):
        a = bl.tanh(x * x)
        with bl.scope("inner"):
            b = bl.exp(a + a)
    groups = folded(toposort([b]), depth=depth)
    folds = [group.scope.name for group in groups if group.scope is not None and group.kind == "composite"]
    assert folds == [["outer"], ["inner"], []][depth]


def test_a_chain_of_a_hundred_thousand_nodes_folds() -> None:
    x = bl.Value(1.0)
    for _ in range(50_000):
        x = x * 1.0
    order = toposort([x])
    assert len(folded(order, limit=300)) == 2
