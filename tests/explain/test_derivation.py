"""Derivations: their numbers are those of `backward()`, their words follow from the graph."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.core.errors import DtypeError, GraphError, ShapeError
from backlit.explain import Derivation, Expression, derivation


def told(text: str, wrt: list[str] | None = None, **values: object) -> Derivation:
    return derivation(Expression.read(text).evaluate(values), wrt)


def gradients(d: Derivation) -> dict[str, object]:
    return {row.label: row.gradient for row in d.table}


NEURON = "tanh(x1*w1 + x2*w2 + b)"
AT = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}


def test_the_worked_example():
    d = told("(a*b + c)*d", a=2.0, b=-3.0, c=10.0, d=-2.0)
    assert d.value == -8.0
    assert gradients(d) == {"a": 6.0, "b": -4.0, "c": -2.0, "d": 4.0}
    assert [row.verdict for row in d.table] == ["agrees"] * 4
    assert [(step.label, step.value) for step in d.forward] == [("t1", -6.0), ("t2", 4.0), ("t3", -8.0)]
    assert [(step.label, step.rule, step.gradient) for step in d.backward] == [
        ("t3", "product rule", 1.0),
        ("t2", "sum rule", -2.0),
        ("t1", "product rule", -2.0),
    ]
    assert [step.source for step in d.forward] == ["a*b", "a*b + c", "(a*b + c)*d"]


def test_the_neuron():
    d = told(NEURON, **AT)
    assert d.value == pytest.approx(math.sqrt(0.5), abs=1e-15)
    expected = {"x1": -1.5, "x2": 0.5, "w1": 1.0, "w2": 0.0, "b": 0.5}
    assert gradients(d) == pytest.approx(expected, abs=1e-15)
    assert {row.verdict for row in d.table} == {"agrees"}
    (part,) = d.backward[0].parts
    assert d.backward[0].rule == "chain rule through tanh"
    assert part.partial is not None
    assert part.partial.text == "1 - t5**2"
    assert part.partial.latex == "1 - {t_{5}}^{2}"


def test_paths_join_in_a_sum():
    d = told("a*a + a", a=2.0)
    (join,) = d.backward[-1].joins
    assert (join.target, join.terms, join.total) == ("a", (1.0, 2.0, 2.0), 5.0)
    assert [part.which for part in d.backward[-1].parts] == ["left", "right"]
    assert all(part.shared for part in d.backward[-1].parts)


def test_a_tie_names_its_convention():
    d = told("max(a, b)", a=2.0, b=2.0)
    assert gradients(d) == {"a": 0.5, "b": 0.5}
    (note,) = d.backward[0].notes
    assert "at a tie each gets half" in note
    assert [(row.verdict, row.below, row.above) for row in d.table] == [
        ("kink", 0.0, pytest.approx(1.0)),
        ("kink", 0.0, pytest.approx(1.0)),
    ]
    assert d.forward[0].formula.text == "max(a, b)"  # as it was written


def test_relu_at_zero_names_its_convention():
    d = told("relu(x)", x=0.0)
    assert gradients(d) == {"x": 0.0}
    (note,) = d.backward[0].notes
    assert "slope 0 below and 1 above" in note
    assert "the derivative at 0 is 0" in note


def test_away_from_the_kink_nothing_is_said_of_it():
    for x in (1e-9, -1e-9, 3.0, -250.0):
        assert told("relu(x) + abs(x)", x=x).backward[-1].notes == ()


def test_a_pole_is_named():
    d = told("log(x)", x=0.0)
    assert d.value == -math.inf
    assert gradients(d) == {"x": math.inf}
    assert d.table[0].verdict == "none"
    assert "log(x) is -inf here (log: -inf at 0, NaN below)" in d.backward[0].notes[0]


def test_a_jump_is_told_from_a_kink():
    d = told("floor(x)", x=2.0)
    assert d.table[0].below == math.inf
    assert "jumps" in d.backward[0].notes[0]
    assert "a jump below, 0 above" in d.text()


def test_what_was_not_chosen_gets_nothing():
    d = told("where(x > 0, sqrt(x), 2*x)", x=-1.0)
    assert gradients(d) == {"x": 2.0}
    chosen = {part.target: part.flows for part in d.backward[0].parts}
    assert chosen == {"t2": False, "t3": True}
    assert "t2.grad gets nothing: t2 was not chosen" in d.text()
    assert all(step.label != "t2" for step in d.backward)  # nothing to pass on


def test_a_stopped_gradient_is_named_where_nudging_disagrees():
    d = told("x * stop_gradient(x)", x=3.0)
    assert gradients(d) == {"x": 3.0}
    assert d.table[0].verdict == "differs"
    assert "stopped on purpose" in d.notes[0]


def test_wrt_limits_the_way_back():
    d = told("(a*b + c)*d", wrt=["a"], a=2.0, b=-3.0, c=10.0, d=-2.0)
    assert gradients(d) == {"a": 6.0}
    assert [[part.target for part in step.parts] for step in d.backward] == [["t2"], ["t1"], ["a"]]
    assert len(d.inputs) == 4


def test_wrt_may_name_a_node_between():
    d = told("(a*b + c)*d", wrt=["t1"], a=2.0, b=-3.0, c=10.0, d=-2.0)
    assert gradients(d) == {"t1": -2.0}
    assert d.table[0].verdict == "agrees"


def test_wrt_of_something_else_says_what_there_is():
    with pytest.raises(GraphError, match="`z` does not occur in a\\*b; its variables are a, b"):
        told("a*b", wrt=["z"], a=1.0, b=2.0)


def test_constants_alone_cannot_be_derived():
    with pytest.raises(GraphError, match="no variable"):
        told("2*3")


def test_arrays_want_to_be_reduced():
    with pytest.raises(ShapeError, match=r"sum\(x\*2\)"):
        told("x*2", x=[1.0, 2.0])


def test_whole_numbers_cannot_be_derived():
    with pytest.raises(DtypeError):
        derivation(bl.Value([1, 2, 3]).sum())


def test_arrays_are_explained_in_short():
    d = told("sum(x*w) + b", x=[1.0, 2.0, 3.0], w=[4.0, -5.0, 6.0], b=1.0)
    np.testing.assert_array_equal(gradients(d)["x"], [4.0, -5.0, 6.0])
    assert [row.verdict for row in d.table] == ["agrees"] * 3
    assert "carried back through sum" in d.text()


def test_broadcasting_is_named():
    d = told("sum(x*b)", x=[1.0, 2.0, 3.0], b=2.0)
    assert gradients(d)["b"] == 6.0
    assert "summed over the axes along which it was broadcast" in d.text()


def test_large_arrays_are_not_nudged():
    x = bl.Value(np.linspace(0.0, 1.0, 1000), name="x")
    d = derivation((x * x).sum())
    assert d.table[0].nudging is None
    assert "too many numbers" in d.text()


# -- graphs of programs


def test_variables_of_a_program_go_by_their_names():
    w, x = bl.Value(0.5, name="w"), bl.Value(2.0, name="x")
    prediction = w * x
    loss = (prediction - 3.0) ** 2.0
    d = derivation(loss)
    assert d.output == "loss"
    assert d.expression == "(w * x - 3)**2"
    assert [step.label for step in d.forward] == ["prediction", "t1", "loss"]


def test_names_used_again_are_told_apart():
    x = bl.Value(0.5, name="x")
    y = x * 2.0
    y = y * 3.0
    d = derivation(y)
    assert [step.label for step in d.forward] == ["y", "y#2"]


def test_users_may_name_values():
    a, b = bl.Value(2.0), bl.Value(3.0)
    d = derivation(a * b, names={a: "left", b: "right"})
    assert gradients(d) == {"left": 3.0, "right": 2.0}


def test_a_variable_called_like_a_step_keeps_its_name():
    d = told("t1*t1 + 1", t1=3.0)
    assert [step.label for step in d.forward] == ["t2", "t3"]
    assert gradients(d) == {"t1": 6.0}


def test_a_users_own_op_is_explained_like_a_built_in_one():
    cube = bl.op("cube", lambda x: x**3, partials=[lambda y, x: 3.0 * x * x])
    x = bl.Value(2.0, name="x")
    d = derivation(cube(x))
    assert d.backward[0].rule == "chain rule through cube"
    assert d.backward[0].parts[0].partial.text == "3 * x * x"
    assert d.table[0].verdict == "agrees"


def test_a_wrong_rule_is_found_by_nudging():
    wrong = bl.op("wrong", lambda x: x**3, partials=[lambda y, x: 2.0 * x * x])
    d = derivation(wrong(bl.Value(2.0, name="x")))
    assert d.table[0].verdict == "differs"
    assert "nudging gives 12" in d.text()


def test_explaining_changes_nothing():
    x = bl.Value(2.0, name="x")
    y = x * x
    y.backward()
    before = x.grad, y.grad
    derivation(y)
    assert (x.grad, y.grad) == before


def test_an_assignment_after_the_graph_was_built_does_not_matter():
    x = bl.Value(2.0, name="x")
    y = x * x
    x.data = 50.0
    assert derivation(y).table[0].gradient == 4.0


def test_long_graphs_are_explained_without_recursion():
    x = bl.Value(0.5, name="x")
    y = x
    for _ in range(1_500):
        y = y * 0.999 + 0.001
    d = derivation(y, nudged=False)
    assert len(d.backward) == 3_000
    y.backward()
    assert d.table[0].gradient == x.grad
    d.text()


# -- what holds for all

LEAVES = st.sampled_from(["a", "b", "c", "2", "0.5", "-3"])
FORMULAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%", "//"]), inner).map(
            lambda x: f"({x[0]} {x[1]} {x[2]})"
        ),
        st.tuples(
            st.sampled_from("tanh exp sin sigmoid relu softplus gelu abs floor log sqrt".split()),  # noqa: SIM905
            inner,
        ).map(lambda x: f"{x[0]}({x[1]})"),
        st.tuples(st.sampled_from(["max", "min", "hypot"]), inner, inner).map(lambda x: f"{x[0]}({x[1]}, {x[2]})"),
        st.tuples(inner, inner).map(lambda x: f"where({x[0]} > {x[1]}, {x[0]}, {x[1]})"),
        inner.map(lambda x: f"({x})**2"),
    ),
    max_leaves=10,
)
POINTS = st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.75, 2.0, 1e-3])


@given(FORMULAS, POINTS, POINTS, POINTS)
@settings(max_examples=150, deadline=None)
def test_numbers_are_those_of_backward_and_everything_adds_up(text, a, b, c):
    read = Expression.read(f"{text} + 0*(a + b + c)").evaluate({"a": a, "b": b, "c": c})
    d = derivation(read, nudged=False)
    read.output.backward()
    for row in d.table:
        np.testing.assert_equal(row.gradient, read.inputs[row.label].grad)
    for step in d.backward:
        for join in step.joins:
            with np.errstate(invalid="ignore"):  # infinities may cancel to NaN
                np.testing.assert_equal(np.sum(join.terms, initial=0.0), join.total)
        for part in step.parts:
            if part.flows and part.partial_value is not None:
                np.testing.assert_equal(step.gradient * part.partial_value, part.gradient)
    for width in (40, 80, 120):
        for line in d.text(width).split("\n"):
            assert line == line.rstrip() or not line.strip()
    json.dumps(d.to_dict(), allow_nan=False)
    latex = d.latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")


def test_the_dictionary_says_its_schema_and_keeps_full_precision():
    d = told(NEURON, **AT)
    data = json.loads(json.dumps(d.to_dict(), allow_nan=False))
    assert (data["schema"], data["version"]) == ("backlit.derivation", 1)
    assert data["value"] == d.value
    assert data["inputs"][-1] == ["b", 6.8813735870195432]
    assert data["table"][0]["gradient"] == d.table[0].gradient
    assert data["backward"][0]["parts"][0]["partial"]["text"] == "1 - t5**2"


def test_numbers_that_json_does_not_know_become_words():
    data = told("log(x)", x=0.0).to_dict()
    assert data["value"] == "-inf"
    assert data["table"][0]["gradient"] == "inf"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_text_keeps_within_the_width(width):
    for d in (told(NEURON, **AT), told("max(a, b)", a=2.0, b=2.0), told("x**2 / y", x=3.0, y=-4.0)):
        wide = [line for line in d.text(width).split("\n") if len(line) > width]
        assert not wide
