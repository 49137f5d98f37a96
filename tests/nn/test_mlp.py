"""The multi-layer perceptron of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import DomainError

X = np.random.default_rng(0).normal(size=(6, 3))


def test_it_is_linear_layers_with_the_activation_between() -> None:
    model = nn.MLP(3, [5, 4, 2], activation="relu", out_activation="sigmoid", key=0, dtype="float64")
    h: Any = X
    for layer in model.layers[:-1]:
        h = np.maximum(h @ layer.weight.data + layer.bias.data, 0)
    last = model.layers[-1]
    want = 1 / (1 + np.exp(-(h @ last.weight.data + last.bias.data)))
    np.testing.assert_allclose(model(X).data, want, rtol=1e-13)
    assert sum(p.size for p in model.parameters()) == 3 * 5 + 5 + 5 * 4 + 4 + 4 * 2 + 2


@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu", nn.Softplus(), bl.sin])
def test_its_gradients_are_right(activation: Any) -> None:
    model = nn.MLP(3, [4, 2], activation, key=0, dtype="float64")
    assert bl.check(lambda model, x: (model(x) ** 2).sum(), model, X).ok


def test_the_numbers_follow_from_the_key_alone() -> None:
    nn.seed(1)
    a = nn.MLP(3, [4, 2], key=7)
    nn.seed(2)
    b, c = nn.MLP(3, [4, 2], key=bl.random.key(7)), nn.MLP(3, [4, 2])
    assert all(np.array_equal(p.data, q.data) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not np.array_equal(a.layers[0].weight.data, c.layers[0].weight.data)
    square = nn.MLP(4, [4, 4], key=0)
    assert not np.array_equal(square.layers[0].weight.data, square.layers[1].weight.data)
    nn.seed(0)


@pytest.mark.parametrize(
    ("activation", "bound"),
    [
        ("tanh", (6 / 250) ** 0.5),
        ("relu", (6 / 200) ** 0.5),
        (nn.LeakyReLU(1.0), (3 / 200) ** 0.5),
        (bl.sin, (6 / 250) ** 0.5),
    ],
)
def test_the_initialiser_follows_the_activation(activation: Any, bound: float) -> None:
    model = nn.MLP(200, [50, 10], activation, key=0)
    assert 0.99 * bound < np.abs(model.layers[0].weight.data).max() <= bound * (1 + 1e-6)
    last = (6 / 60) ** 0.5  # nothing comes after it
    assert 0.95 * last < np.abs(model.layers[1].weight.data).max() <= last * (1 + 1e-6)
    assert model.layers[0].bias.data.any() == False  # noqa: E712


def test_options_reach_every_layer() -> None:
    model = nn.MLP(3, [4, 2], bias=False, init="zeros", dtype="float64")
    assert [p.dtype.name for p in model.parameters()] == ["float64"] * 2
    assert not model(X).data.any()


def test_lists_of_numbers_and_of_values_are_inputs() -> None:
    model = nn.MLP(3, [4, 4, 1], key=0, dtype="float64")
    out = model([2.0, 3.0, -1.0])
    assert out.shape == (1,)
    np.testing.assert_allclose(out.data, model(np.array([[2.0, 3.0, -1.0]])).data[0], rtol=1e-14)
    a, b, c = bl.values(a=2.0, b=3.0, c=-1.0)
    model([a, b, c]).sum().backward()
    assert all(v.grad is not None for v in (a, b, c, *model.parameters()))


def test_one_size_may_stand_alone_and_none_is_refused() -> None:
    assert nn.MLP(3, 2)(X).shape == (6, 2)
    with pytest.raises(DomainError, match="sizes is empty"):
        nn.MLP(3, [])
    with pytest.raises(DomainError, match="no activation"):
        nn.MLP(3, [2], activation="tan")


def test_it_says_what_it_is() -> None:
    assert repr(nn.MLP(3, [4, 1], activation="relu")) == (
        "MLP(3, [4, 1], activation='relu'):\n  layers.0: Linear(3, 4)\n  layers.1: Linear(4, 1)\n  activation: ReLU()"
    )


def test_it_learns_xor() -> None:
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    model = nn.MLP(2, [8, 1], key=0, dtype="float64")
    optimizer = bl.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _ in range(150):
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.data < 1e-3


@pytest.mark.peers
def test_it_is_pytorchs_stack_of_layers() -> None:
    torch = pytest.importorskip("torch")
    model = nn.MLP(3, [4, 5, 2], "gelu", key=0, dtype="float64")
    theirs = torch.nn.Sequential(
        *(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 5), torch.nn.GELU(), torch.nn.Linear(5, 2))
    ).double()
    for ours, other in zip(model.layers, (theirs[0], theirs[2], theirs[4]), strict=True):
        other.weight.data = torch.tensor(ours.weight.data.T.copy())
        other.bias.data = torch.tensor(np.array(ours.bias.data))
    (model(X) ** 2).sum().backward()
    (theirs(torch.tensor(X)) ** 2).sum().backward()
    np.testing.assert_allclose(model.layers[0].weight.grad, theirs[0].weight.grad.numpy().T, rtol=1e-11)
    np.testing.assert_allclose(model.layers[1].bias.grad, theirs[2].bias.grad.numpy(), rtol=1e-11)
