"""What the inside of a library call is called, and how nets built of modules are told."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import GraphError, ShapeError
from backlit.core.standing import is_inner, standing
from backlit.core.walk import toposort
from backlit.explain.flow import Flow
from backlit.explain.naming import Names

X = np.random.default_rng(0).normal(size=(5, 2))
Y = np.array([0, 1, 0, 1, 1])


def computed(output: bl.Value) -> list[bl.Value]:
    return [node for node in toposort([output]) if node._op is not None]


def explained(output: bl.Value) -> list[str]:
    names = Names(Flow(output, np.ones(output.shape, output.dtype), toposort([output])))
    return [names[node] for node in computed(output)]


def test_only_the_result_of_a_call_has_the_name_of_the_variable():
    model = nn.MLP(2, [3, 3, 2], key=0)
    logit = model(X)
    lost = nn.cross_entropy(logit, Y)
    labels = [node.label for node in computed(lost)]
    assert [label for label in labels if label is not None] == ["logit", "lost"]
    assert [node.label for node in computed(lost) if not is_inner(node)] == ["logit", "lost"]
    assert labels[-1] == "lost"


def test_inner_nodes_are_called_by_where_they_stand():
    logit = nn.MLP(2, [3, 3, 2], key=0)(X)
    assert explained(logit) == [
        *("matmul in layers.0", "layers.0", "tanh(layers.0)"),
        *("matmul in layers.1", "layers.1", "tanh(layers.1)"),
        *("matmul in layers.2", "logit"),
    ]


def test_an_array_that_a_layer_was_given_is_its_input():
    logit = nn.MLP(2, [3, 2], key=0)(X)
    (given,) = (node for node in toposort([logit]) if node._op is None and node._data.shape == X.shape)
    assert given.label is None
    assert standing(given) == "input of layers.0"


def test_a_value_that_the_user_made_keeps_its_name_inside_a_call():
    x = bl.asarray(X, dtype="float32")
    logit = nn.MLP(2, [3, 2], key=0)(x)
    assert next(node for node in toposort([logit]) if node is x).label == "x"


def test_a_module_called_again_is_numbered_and_its_variable_is_too():
    layer = nn.Linear(2, 2, key=0)
    h = bl.Value(X.astype(np.float32), name="x")
    for _ in range(3):
        h = layer(h)
    assert explained(h) == [name for k in (1, 2, 3) for name in (f"(matmul in Linear)#{k}", f"h#{k}")]


def test_lines_of_a_users_forward_name_what_they_compute():
    class Net(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(2, 3, key=0), nn.Linear(3, 2, key=1)

        def forward(self, x):
            hidden = self.first(x)
            active = bl.tanh(hidden)
            return self.second(active)

    net = Net()
    out = net(X)
    assert explained(out) == ["matmul in first", "hidden", "active", "matmul in second", "self.second(active)"]
    loss = (out * out).mean()
    told = str(bl.why(net.first.weight, of=loss, index=(0, 0)))
    assert "each row of hidden in column 0" in told


def test_a_scope_of_the_users_own_is_no_call():
    h = bl.Value(0.5, name="x")
    with bl.scope("rounds"):
        for _ in range(2):
            h = bl.softmax(bl.stack([h, h * 2.0])).sum()
    inner = [node for node in computed(h) if node.label is None]
    assert all(node.scope is not None for node in inner)
    assert [node.label for node in computed(h)].count("h") == 2


def test_what_fails_inside_a_call_is_not_called_by_the_variable():
    class Wrong(nn.Module):
        def forward(self, x):
            return nn.Linear(4, 1, key=0)(x)

    logit = bl.tanh(bl.Value(X))
    with pytest.raises(ShapeError) as caught:
        logit = nn.Sequential(nn.Linear(2, 3, key=0), Wrong())(logit)
    assert "`layers.0`" not in str(caught.value).replace("`layers.0`, made by add", "")
    assert "`logit`, made by add" not in str(caught.value)


def test_why_goes_through_a_net_layer_by_layer():
    model = nn.MLP(2, [3, 2], key=0)
    logit = model(X)
    lost = nn.cross_entropy(logit, Y)
    weight = model.layers[0].weight
    folded = bl.why(weight, of=lost, index=(0, 0))
    assert folded.sum is not None
    assert folded.sum.count == len(X)
    assert {term.name for term in folded.sum.terms} == {"layers.0"}
    assert "of a Linear" in " ".join(str(folded).split())
    assert folded.sum.total == pytest.approx(float(bl.grad(lambda w: _again(model, w))(weight).data[0, 0]), rel=1e-5)
    deeper = folded.follow(1)
    assert "tanh(layers.0)" in str(deeper)


def _again(model: nn.Module, w: bl.Value) -> bl.Value:
    h = bl.tanh(bl.asarray(X, dtype="float32") @ w + model.layers[0].bias)
    return nn.cross_entropy(model.layers[1](h), Y)


def test_batch_normalisation_is_one_step():
    model = nn.Sequential(nn.Linear(2, 3, key=0), nn.BatchNorm(3), "tanh", nn.Linear(3, 2, key=1))
    lost = nn.cross_entropy(model(X), Y)
    found = bl.why(model[0].bias, of=lost, index=0)
    assert found.sum is not None
    assert {term.name for term in found.sum.terms} == {"layers.0"}
    through = found.follow(1)
    assert through.sum is not None
    assert {term.name for term in through.sum.terms} == {"layers.1"}


def test_an_explicit_name_stays_as_it_is():
    loss = bl.Value(1.0)
    for _ in range(3):
        loss = loss * 2.0
    end = loss + 1.0
    end.name = "loss"
    assert explained(end) == ["loss#1", "loss#2", "loss#3", "loss"]
    x = next(node for node in toposort([end]) if node._op is None and node._grad is None)
    assert bl.paths(end, x).output == "loss"
    assert str(bl.why(x, of=end)).startswith("∂loss/∂")


def test_paths_are_asked_for_in_either_form():
    x = bl.Value(3.0, name="x")
    y = x * x + x
    assert str(bl.paths(x, of=y)) == str(bl.paths(y, x))
    assert bl.paths(x, of=y, top=1).gradient == 7.0


@pytest.mark.parametrize("ask", [lambda x, y: bl.paths(y), lambda x, y: bl.paths(y, x, of=y)])
def test_paths_without_an_output_or_with_two_say_what_to_write(ask):
    x = bl.Value(3.0)
    with pytest.raises(GraphError, match=r"paths\(output, x\), or paths\(x, of=output\)"):
        ask(x, x * x)


def test_a_rewound_step_calls_loss_and_prediction_so(tmp_path):
    model = nn.MLP(2, [3, 2], key=0)
    bl.fit(model, (X, Y), epochs=2, batch_size=2, record=tmp_path / "a.backlit", progress=False)
    view = bl.load_run(tmp_path / "a.backlit").at(3)
    assert (view.loss.label, view.prediction.label) == ("loss", "prediction")
    assert explained(view.prediction) == ["matmul in layers.0", "layers.0", "tanh(layers.0)", "matmul in layers.1",
                                          "prediction"]  # fmt: skip
    assert "view" not in explained(view.loss)
