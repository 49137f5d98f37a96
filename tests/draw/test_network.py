"""Drawings of networks: however a model keeps its weights, and what an input makes of the units."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import backlit as bl
from backlit.draw import NetworkDrawing, draw_network

rng = np.random.default_rng(0)
W1, B1, W2, B2 = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(4, 2)), rng.normal(size=2)


class Model:
    def __init__(self, *parameters: Any) -> None:
        self._parameters = parameters

    def parameters(self) -> list[Any]:
        return list(self._parameters)


class Neuron:
    def __init__(self, weights: list[float], bias: float) -> None:
        self.w, self.b = [bl.Value(w) for w in weights], bl.Value(bias)

    def __call__(self, x: list[Any]) -> bl.Value:
        return sum((w * each for w, each in zip(self.w, x, strict=True)), self.b).tanh()


class Layer:
    def __init__(self, weight: Any, bias: Any) -> None:
        self.neurons = [Neuron(list(w), b) for w, b in zip(np.transpose(weight), bias, strict=True)]

    def __call__(self, x: list[Any]) -> list[bl.Value]:
        return [neuron(x) for neuron in self.neurons]


class Scalars:
    def __init__(self) -> None:
        self.layers = [Layer(W1, B1), Layer(W2, B2)]


MODELS: dict[str, Any] = {
    "pairs": [(W1, B1), (W2, B2)],
    "values": [(bl.Value(W1), bl.Value(B1)), (bl.Value(W2), bl.Value(B2))],
    "lists": [(W1.tolist(), B1.tolist()), (W2.tolist(), B2.tolist())],
    "dict": {"l1": {"W": W1, "b": B1}, "l2": {"W": W2, "b": B2}},
    "out_in": {"0.weight": W1.T, "0.bias": B1, "2.weight": W2.T, "2.bias": B2},
    "parameters": Model(bl.Parameter(W1), bl.Parameter(B1), bl.Parameter(W2), bl.Parameter(B2)),
    "neurons": Scalars(),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_found_however_they_are_kept(name: str) -> None:
    record = draw_network(MODELS[name]).to_dict()
    assert record["sizes"] == [3, 4, 2]
    np.testing.assert_allclose(record["layers"][0]["weight"], W1)
    np.testing.assert_allclose(record["layers"][1]["bias"], B2)


@pytest.mark.parametrize("name", MODELS)
def test_an_input_gives_activations_and_gradients(name: str) -> None:
    x = np.array([0.5, -1.0, 2.0])
    scalars = name == "neurons"
    loss = (lambda out: out[0] * out[1]) if scalars else (lambda out: (out * out).sum())
    record = draw_network(MODELS[name], x, loss=loss).to_dict()
    h = np.tanh(x @ W1 + B1)
    out = np.tanh(h @ W2 + B2) if scalars else h @ W2 + B2
    np.testing.assert_allclose(record["activations"][1], h)
    np.testing.assert_allclose(record["activations"][2], out)
    by_out = out[::-1] if scalars else 2 * out
    np.testing.assert_allclose(record["gradients"][2], by_out)
    by_z = by_out * (1 - out**2) if scalars else by_out
    np.testing.assert_allclose(record["gradients"][1], W2 @ by_z)
    np.testing.assert_allclose(record["gradients"][0], W1 @ ((W2 @ by_z) * (1 - h**2)))
    drawing = draw_network(MODELS[name], x, loss=loss)
    np.testing.assert_allclose(drawing.layers[1].weight_gradient, np.outer(h, by_z))
    np.testing.assert_allclose(drawing.layers[0].bias_gradient, (W2 @ by_z) * (1 - h**2))


@pytest.mark.parametrize("out_activation", [None, "sigmoid"])
def test_units_of_an_mlp_show_what_its_activations_make_of_them(out_activation: str | None) -> None:
    model = bl.nn.MLP(2, [3, 4, 1], "relu", out_activation, key=0, dtype="float64")
    x = np.array([1.0, -0.5])
    *hidden, output = draw_network(model, x).activity.values[1:]
    first = bl.relu(model.layers[0](x)).data
    np.testing.assert_array_equal(hidden[0], first)
    np.testing.assert_array_equal(hidden[1], bl.relu(model.layers[1](first)).data)
    np.testing.assert_array_equal(output, model(x).data)


def test_no_gradient_of_the_model_changes() -> None:
    w = bl.Value([[1.0], [2.0]])
    draw_network([w], [1.0, 1.0])
    assert w.grad is None


def test_a_single_output_needs_no_loss() -> None:
    drawing = draw_network([[[2.0], [-1.0]]], [1.0, 3.0])
    assert drawing.to_dict()["gradients"] == [[2.0, -1.0], [1.0]]


def test_gradients_held_by_the_parameters_are_kept_without_an_input() -> None:
    w = bl.Value([[1.0], [2.0]])
    (bl.asarray([[3.0, 4.0]]) @ w).sum().backward()
    np.testing.assert_array_equal(draw_network([w]).layers[0].weight_gradient, [[3.0], [4.0]])


def test_a_large_layer_shows_its_first_and_last_units() -> None:
    drawing = draw_network([rng.normal(size=(100, 5))], max_units=6)
    assert drawing.columns == ((0, 1, 2, -1, 97, 98, 99), (0, 1, 2, 3, 4))
    assert "94 more" in drawing.svg


def test_sign_and_size_of_a_weight_show_without_colour() -> None:
    svg = draw_network([[[2.0, -1.0]]]).svg
    lines = [each for each in ElementTree.fromstring(svg).iter() if each.get("class") in ("plus", "minus")]
    assert [(each.get("class"), each.get("stroke-width")) for each in lines] == [("minus", "2.5"), ("plus", "4.5")]
    assert ".minus{fill:none;stroke:#d55e00;stroke-dasharray:6 2}" in svg


def test_it_is_data_that_json_holds() -> None:
    json.dumps(draw_network(MODELS["pairs"], [1.0, 2.0, 3.0]).to_dict(), allow_nan=False)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(bl.ShapeError, match=r"weights of shapes \(3, 4\), \(5, 2\) are not the layers of one network"):
        draw_network([W1, np.zeros((5, 2))])


def test_an_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(bl.ShapeError, match="the input has 2 numbers and the first layer takes 3"):
        draw_network(MODELS["pairs"], [1.0, 2.0])


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(bl.DomainError, match="no parameters that can be read"):
        draw_network([])


def test_an_activation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(bl.DomainError, match="there is no activation 'tahn'"):
        draw_network(MODELS["pairs"], [1.0, 2.0, 3.0], activation="tahn")


def test_a_loss_that_is_no_value_is_refused() -> None:
    with pytest.raises(bl.ShapeError, match="the loss must give a single"):
        draw_network(MODELS["pairs"], [1.0, 2.0, 3.0], loss=lambda out: 3.0)


def test_weights_that_are_not_finite_are_drawn() -> None:
    assert isinstance(draw_network([[[np.nan, np.inf]]], [1.0]), NetworkDrawing)
    assert draw_network([[[np.nan, np.inf]]], [1.0]).svg
