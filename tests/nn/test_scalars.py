"""micrograd's network of single values: its interface and its numbers."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import Parameter, Value
from backlit.core.errors import DomainError, ShapeError
from backlit.nn.scalars import MLP, Layer, Neuron


def test_a_neuron_is_relu_of_a_weighted_sum() -> None:
    neuron = Neuron(3, key=0)
    neuron.b.data = 0.25
    x = [1.0, -2.0, 3.0]
    want = 0.25 + sum(w.data * xi for w, xi in zip(neuron.w, x, strict=True))
    assert neuron(x).data == pytest.approx(max(want, 0.0), rel=1e-15)
    neuron.nonlin = False
    assert neuron(x).data == pytest.approx(want, rel=1e-15)
    assert neuron([-xi for xi in x]).data == pytest.approx(0.5 - want, rel=1e-15)


def test_weights_start_between_minus_one_and_one_and_biases_at_zero() -> None:
    neurons = Layer(50, 20, key=0).neurons
    w = np.array([[p.data for p in n.w] for n in neurons])
    assert (w.min(), w.max()) == (pytest.approx(-1.0, abs=0.02), pytest.approx(1.0, abs=0.02))
    assert all(n.b.data == 0.0 for n in neurons)
    assert len(np.unique(w)) == w.size


def test_the_interface_is_micrograds() -> None:
    model = MLP(3, [4, 4, 1], key=0)
    assert len(model.parameters()) == 41
    assert all(isinstance(p, Parameter) and isinstance(p.data, float) for p in model.parameters())
    assert isinstance(model([2.0, 3.0, -1.0]), Value)
    assert [type(v) for v in MLP(2, [3, 2], key=0)([1.0, 2.0])] == [Value, Value]
    assert isinstance(Layer(2, 1)([1.0, 2.0]), Value)
    assert repr(MLP(2, [2, 1])) == "MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2)], Layer of [LinearNeuron(2)]]"
    assert [n.nonlin for layer in model.layers for n in layer.neurons] == [True] * 8 + [False]


def test_forgotten_gradients_are_zero_as_in_micrograd() -> None:
    model = MLP(2, [3, 1], key=0)
    model([1.0, 2.0]).backward()
    assert any(p.grad for p in model.parameters())
    model.zero_grad()
    assert all(p.grad == 0.0 for p in model.parameters())
    for p in model.parameters():  # the step of the notebooks
        p.data += -0.1 * p.grad


def test_it_computes_what_the_network_of_arrays_computes() -> None:
    scalars = MLP(3, [4, 2], key=0)
    arrays = bl.nn.MLP(3, [4, 2], activation="relu", dtype="float64")
    for layer, own in zip(arrays.layers, scalars.layers, strict=True):
        layer.weight.data = np.array([[w.data for w in n.w] for n in own.neurons]).T
    x = [0.3, -0.7, 1.1]
    out, same = scalars(x), arrays(x)
    assert [v.data for v in out] == pytest.approx(same.data.tolist(), rel=1e-14)
    (out[0] * out[1]).backward()
    (same[0] * same[1]).backward()
    for layer, own in zip(arrays.layers, scalars.layers, strict=True):
        grads = np.array([[w.grad for w in n.w] for n in own.neurons], float).T
        np.testing.assert_allclose(layer.weight.grad, grads, rtol=1e-13, atol=1e-16)


def test_its_gradients_are_right() -> None:
    model = MLP(2, [3, 1], key=1)
    for neuron in model.layers[0].neurons:
        neuron.b.data = 2.0  # all of them on
    assert bl.check(lambda model: model([0.3, -0.7]) ** 2, model).ok


def test_values_are_inputs_too() -> None:
    a, b = bl.values(a=1.0, b=2.0)
    neuron = Neuron(2, nonlin=False, key=0)
    neuron([a, b]).backward()
    assert [a.grad, b.grad] == [w.data for w in neuron.w]


def test_it_learns_the_four_examples_of_the_lecture() -> None:
    xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
    ys = [1.0, -1.0, -1.0, 1.0]
    model = MLP(3, [4, 4, 1], key=0)
    for _ in range(80):
        loss = sum((model(x) - y) ** 2 for x, y in zip(xs, ys, strict=True))
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data += -0.02 * p.grad
    assert loss.data < 0.05


def test_parameters_are_called_by_where_they_stand() -> None:
    model = MLP(2, [2, 1], key=0)
    model([1.0, 2.0])
    assert model.layers[0].neurons[1].w[0].name == "layers.0.neurons.1.w.0"


def test_a_wrong_number_of_inputs_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"ReLUNeuron\(3\) takes 3 numbers, and was given 2"):
        MLP(3, [2, 1])([1.0, 2.0])
    with pytest.raises(DomainError, match="nout=0"):
        Layer(3, 0)


@pytest.mark.peers
def test_it_is_micrograds_network() -> None:
    micrograd = pytest.importorskip("micrograd.nn")
    ours, theirs = MLP(3, [4, 4, 1], key=0), micrograd.MLP(3, [4, 4, 1])
    assert repr(ours) == repr(theirs)
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    for p, q in pairs:
        q.data = p.data
    x = [2.0, 3.0, -1.0]
    y, z = ours(x), theirs(x)
    assert y.data == pytest.approx(z.data, rel=1e-15)
    ours.zero_grad()
    y.backward()
    z.backward()
    for p, q in pairs:
        assert p.grad == pytest.approx(q.grad, rel=1e-14, abs=1e-300)
