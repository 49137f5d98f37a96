"""What a drawing shows: names, values, gradients, partials, and the part of the graph that was asked for."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given

import backlit as bl
from backlit.core.value import inputs_of
from backlit.core.walk import toposort
from backlit.draw import draw, draw_text
from backlit.draw.ledger import ledger
from backlit.draw.picture import Node, Picture
from tests.draw.examples import classifier, dead_relu, expression, named, neuron
from tests.draw.graphs import graphs


def node(picture: Picture, name: str) -> Node:
    return next(each for each in picture.nodes if each.name == name)


# -- names ----------------------------------------------------------------------------------------------------


def test_nodes_go_by_the_names_of_the_users_variables() -> None:
    weight = bl.Value(2.0)
    score = weight * 3.0
    picture = draw(score).picture
    assert [(each.name, each.formula) for each in picture.nodes] == [
        ("weight", ""),
        ("3", ""),
        ("score", "weight * 3"),
    ]


def test_what_has_no_name_gets_a_number_in_the_order_of_computing() -> None:
    a, b = bl.values(a=2.0, b=3.0)
    picture = draw((a * b + a) * b).picture
    assert [each.formula for each in picture.nodes] == ["", "", "a * b", "t1 + a", "t2 * b"]
    assert [each.named for each in picture.nodes] == [True, True, False, False, False]


def test_names_that_are_given_go_before_others() -> None:
    a, b = bl.values(a=2.0, b=3.0)
    y = a * b
    assert draw(y, names={a: "width", b: "height", y: "area"}).picture.title == "area = width * height"


def test_a_name_that_is_used_again_is_numbered() -> None:
    h = bl.Value(0.5)
    for _ in range(2):
        h = h * h
    assert [each.name for each in draw(h).picture.nodes] == ["h", "h#2", "h#3"]


def test_the_variable_that_a_call_is_assigned_to_names_its_result_and_not_what_is_inside() -> None:
    z = bl.Value([1.0, 2.0])
    p = bl.softmax(z)
    names = [each.name for each in draw(p, depth=math.inf).picture.nodes]
    assert names.count("p") == 1
    assert names[-1] == "p"
    assert not any(name.startswith("p#") for name in names)


def test_a_variable_that_was_assigned_to_since_is_drawn_with_the_number_that_was_used() -> None:
    w = bl.Value(2.0, name="w")
    y = w * w
    w.data = 5.0
    assert node(draw(y).picture, "w").value == 2.0


# -- gradients ------------------------------------------------------------------------------------------------


@given(graphs())
def test_gradients_equal_those_of_backward_and_edges_add_up_to_them(output: bl.Value) -> None:
    order = toposort([output])
    book = ledger(output, order)
    output.backward()
    for each in order:
        if each._op is None and each.grad is not None:
            assert book.gradients[each] == pytest.approx(each.grad, rel=1e-9, abs=1e-12)
    totals = dict.fromkeys(order, 0.0)
    for (user, index), passed in book.passed.items():
        totals[inputs_of(user)[index]] += passed or 0.0
    for each in order:
        if each is not output and each in book.gradients:
            assert totals[each] == pytest.approx(book.gradients[each], rel=1e-9, abs=1e-12)


def test_drawing_changes_no_gradient() -> None:
    a, b = bl.values(a=2.0, b=-3.0)
    y = a * b
    draw(y, backward=True)
    assert a.grad is b.grad is y.grad is None


def test_gradients_are_shown_once_backward_has_run() -> None:
    a, b = bl.values(a=2.0, b=-3.0)
    y = a * b
    assert not draw(y).picture.backward
    y.backward()
    assert draw(y).picture.backward
    assert not draw(y, backward=False).picture.backward


def test_inside_a_larger_graph_they_are_those_of_the_last_output() -> None:
    a = bl.Value(2.0, name="a")
    h = named(a * a, "h")
    (h * 5.0).backward()
    picture = draw(h).picture
    assert (node(picture, "h").gradient, node(picture, "a").gradient) == (5.0, 20.0)


def test_nothing_flows_where_nothing_was_chosen() -> None:
    picture = draw(dead_relu()).picture
    by_ends = {(edge.source, edge.target): edge for edge in picture.edges}
    z, h = node(picture, "z"), node(picture, "h")
    assert by_ends[z.id, h.id].flows is False
    assert z.gradient == 0.0


def test_a_constant_has_no_gradient() -> None:
    picture = draw(dead_relu()).picture
    assert node(picture, "3").gradient is None


def test_backward_of_what_cannot_be_differentiated_is_refused() -> None:
    with pytest.raises(bl.GraphError, match="no backward pass to draw"):
        draw(bl.asarray(2.0) * 3.0, backward=True)


def test_backward_of_an_array_needs_a_seed() -> None:
    with pytest.raises(bl.ShapeError, match="needs a scalar"):
        draw(bl.Value([1.0, 2.0]) * 2.0, backward=True)


def test_the_backward_graph_can_be_drawn_too() -> None:
    x = bl.Value(3.0, name="x")
    seen = []
    bl.grad(lambda x: seen.append(bl.grad(lambda x: x * x * x)(x)) or seen[0])(x)
    picture = draw(seen[0]).picture
    assert any(each.serves for each in picture.nodes)


def test_what_is_not_finite_is_marked() -> None:
    x = bl.Value(0.0, name="x")
    y = named(bl.log(x), "y")
    y.backward()
    assert "node op output bad" in draw(y).svg


# -- partials -------------------------------------------------------------------------------------------------


def test_edges_carry_local_partials_with_symbols_and_numbers() -> None:
    picture = draw(neuron(), partials=True).picture
    names = {each.id: each.name for each in picture.nodes}
    found = {(names[edge.source], names[edge.target]): (edge.symbol, edge.partial) for edge in picture.edges}
    assert found["x1", "x1w1"] == ("w1", -3.0)
    assert found["n", "o"][0] == "1 - o²"
    assert found["n", "o"][1] == pytest.approx(0.5)


def test_a_value_used_twice_by_one_node_has_two_edges() -> None:
    x = bl.Value(3.0, name="x")
    y = named(x * x, "y")
    picture = draw(y, backward=True, partials=True).picture
    assert [(edge.partial, edge.passed) for edge in picture.edges] == [(3.0, 3.0), (3.0, 3.0)]
    assert node(picture, "x").gradient == 6.0


# -- only, search, depth, limit -------------------------------------------------------------------------------


def test_only_keeps_the_paths_and_what_stands_beside_them() -> None:
    picture = draw(expression(), only="c").picture
    assert [each.name for each in picture.nodes] == ["c", "d", "e", "f", "out"]
    assert [each.name for each in picture.nodes if each.cut] == ["e"]


def test_only_takes_values_too() -> None:
    a, b = bl.values(a=2.0, b=3.0)
    y = bl.tanh(a) + bl.exp(b)
    assert [each.name for each in draw(y, only=a).picture.nodes if each.kind == "variable"] == ["a"]


def test_only_with_a_name_that_does_not_occur_says_which_do() -> None:
    with pytest.raises(bl.GraphError, match=r"`q` does not occur .* Its names are a, b, c, d, e, f, out"):
        draw(expression(), only="q")


def test_search_marks_what_it_finds_and_opens_the_fold_around_it() -> None:
    picture = draw(classifier(), search="exp").picture
    assert [each.name for each in picture.nodes if each.hits] == ["e"]


def test_search_for_a_composite_leaves_it_folded() -> None:
    picture = draw(classifier(), search="softmax").picture
    assert [each.formula for each in picture.nodes if each.hits] == ["softmax(z)"]


def test_search_for_nan_finds_numbers() -> None:
    x = bl.Value([1.0, -1.0], name="x")
    y = named(bl.log(x), "y").sum()
    assert next(each.name for each in draw(y, search="nan", depth=9).picture.nodes if each.hits) == "y"


def test_composites_are_folded_by_default_and_opened_by_depth() -> None:
    assert [each.op for each in draw(classifier()).picture.nodes if each.kind == "composite"] == ["softmax", "mean"]
    assert not [each for each in draw(classifier(), depth=math.inf).picture.nodes if each.kind == "composite"]


def test_a_folded_node_shows_the_gradient_by_its_result() -> None:
    loss = classifier()
    folded, opened = draw(loss).picture, draw(loss, depth=math.inf).picture
    np.testing.assert_array_equal(node(folded, "p").gradient, node(opened, "p").gradient)


def test_above_the_limit_it_folds() -> None:
    x = bl.Value(1.0, name="x")
    for _ in range(400):
        x = x * 1.01
    drawing = draw(x, backward=True)
    assert len(drawing.picture.nodes) <= 300
    assert drawing.picture.total == 801


# -- data, words ----------------------------------------------------------------------------------------------


def test_everything_shown_is_data_that_json_holds() -> None:
    x = bl.Value([0.0, 1.0], name="x")
    y = bl.log(x).sum()
    y.backward()
    record = json.loads(json.dumps(draw(y, partials=True).to_dict(), allow_nan=False))
    assert record["schema"] == "backlit.drawing/1"
    assert record["nodes"][0]["gradient"]["max"] == "inf"


def test_a_value_that_is_traced_is_drawn_without_numbers() -> None:
    seen: list[str] = []

    def f(x: bl.Value) -> bl.Value:
        y = bl.tanh(x * 2.0)
        seen.append(draw_text(y))
        return y

    from backlit.core.numbers import Abstract
    from backlit.core.state import mode
    from backlit.core.value import leaf

    with mode(watch=None):
        f(leaf(Abstract((3,), np.dtype(np.float64))))
    assert "not computed" in seen[0]


def test_text_gives_the_tree() -> None:
    assert draw_text(expression()).splitlines()[0].split() == ["out", "=", "f", "*", "d", "→", "-8", "←", "1"]


def test_drawing_something_else_is_refused() -> None:
    with pytest.raises(bl.ConversionError, match=r"expected a backlit\.Value, got float"):
        draw(3.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"direction": "up"}, {"limit": 0}, {"depth": -1}])
def test_an_option_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(bl.DomainError):
        draw(expression(), **wrong)  # type: ignore[arg-type]


@given(graphs())
def test_every_random_graph_can_be_drawn_in_every_way(output: bl.Value) -> None:
    drawing = draw(output, backward=True, partials=True)
    assert drawing.svg.endswith("</svg>\n")
    assert len(str(drawing).splitlines()) >= 2
    assert drawing.html()
    assert drawing.dot()
    assert drawing.mermaid()
