"""A step can be traced on shapes: no rule asks for a number, and dtypes stay."""

from __future__ import annotations

import pytest

import backlit as bl
from backlit.compiler import trace
from tests.optim.test_optimizer import FACES, parameters, train


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FACES)
def test_a_step_is_a_graph_that_assigns_all_that_changes(name, dtype):
    optimizer = FACES[name](parameters(dtype))
    traced = trace.run(lambda: train(optimizer, 1), lambda leaves: ((), {}), [])
    assigned = {id(found.variable): found for found in traced.assigned}
    changing = {key: b for key, b in optimizer.variables().items() if key != "lr"}
    for variable in [*optimizer.parameters, *changing.values()]:
        found = assigned.pop(id(variable))
        made = traced.defined.get(found.node, found.node)
        assert made.dtype == variable.dtype
        assert made.shape == variable.shape
        assert made.op is not None
    assert not assigned
    read = {id(found.variable) for found in traced.captured}
    assert id(optimizer.variables()["lr"]) in read
    assert optimizer.steps.data == 0


def test_a_schedule_is_part_of_the_graph():
    schedule = bl.optim.warm_up(10, bl.optim.one_cycle(0.1, 100))
    optimizer = bl.optim.Adam(parameters(), lr=schedule)
    traced = trace.run(lambda: train(optimizer, 1), lambda leaves: ((), {}), [])
    steps = next(found.node for found in traced.captured if found.variable is optimizer.state["step"])
    seen, waiting = set(), [found.node for found in traced.assigned if found.variable is optimizer.parameters[0]]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            waiting += traced.defined.get(node, node).inputs
    assert id(steps) in seen
