"""Linear, tables, activations and containers: numbers, gradients, dtypes, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import Value, nn
from backlit.core.errors import DomainError, DtypeError, GraphError, IndexingError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))


def loss_of(model: Any, x: Any) -> Any:
    return (model(x) ** 2).sum()


# -- linear --------------------------------------------------------------------------------------------------


def test_linear_is_x_times_weight_plus_bias() -> None:
    layer = nn.Linear(3, 2, key=1, dtype="float64")
    layer.bias.data = [0.5, -1.0]
    assert layer.weight.shape == (3, 2)
    np.testing.assert_allclose(layer(X).data, X @ layer.weight.data + [0.5, -1.0], rtol=1e-15)
    assert layer(X[0]).shape == (2,)
    assert layer(np.zeros((4, 5, 3))).shape == (4, 5, 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_the_gradients_of_linear_are_right(bias: bool, shape: tuple[int, ...]) -> None:
    layer = nn.Linear(3, 2, bias, key=1, dtype="float64")
    assert len(layer.parameters()) == 1 + bias
    assert bl.check(loss_of, layer, RNG.normal(size=shape)).ok


def test_a_layer_computes_in_the_dtype_of_its_parameters() -> None:
    single, double = nn.Linear(3, 2, key=1), nn.Linear(3, 2, key=1, dtype="float64")
    for x in (X, X.astype("float32"), bl.asarray(X), Value(X), X.tolist(), np.ones((5, 3), int), [1, 2, 3]):
        assert single(x).dtype == bl.float32
        assert double(x).dtype == bl.float64
    np.testing.assert_allclose(single(X).data, double(X).data, rtol=1e-5, atol=1e-6)
    x = Value(X)
    single(x).sum().backward()
    assert x.grad.dtype == np.float64
    np.testing.assert_allclose(x.grad[0], single.weight.data.sum(1), rtol=1e-6)
    with pytest.raises(DtypeError):
        single(X + 1j)
    with pytest.raises(DtypeError, match="real and imaginary parts"):
        single(bl.asarray(X + 1j))


def test_a_list_of_values_is_an_input_and_gradients_flow_to_them() -> None:
    layer = nn.Linear(3, 1, key=1, dtype="float64")
    a, b, c = bl.values(a=1.0, b=2.0, c=3.0)
    layer([a, b, c])[0].backward()
    assert [a.grad, b.grad, c.grad] == layer.weight.data[:, 0].tolist()


# -- tables --------------------------------------------------------------------------------------------------


def test_an_embedding_gives_rows_and_collects_their_gradients() -> None:
    table = nn.Embedding(5, 2, key=0, dtype="float64")
    indices = np.array([[0, 3], [3, 4]])
    np.testing.assert_array_equal(table(indices).data, table.weight.data[indices])
    table(indices).sum().backward()
    assert table.weight.grad.tolist() == [[1.0] * 2, [0.0] * 2, [0.0] * 2, [2.0] * 2, [1.0] * 2]
    assert bl.check(lambda model: (model(indices) ** 2).sum(), table).ok
    for one in (3, [3], bl.asarray([3]), np.uint8(3)):
        np.testing.assert_array_equal(np.ravel(table(one).data), table.weight.data[3])


def test_an_embedding_refuses_what_is_no_row() -> None:
    table = nn.Embedding(5, 2)
    with pytest.raises(IndexingError, match=r"rows 0 to 4, and the index at position 1, 0 is -1 \(2 of 4 are outside"):
        table([[0, 1], [-1, 5]])
    with pytest.raises(IndexingError, match="the index is 5"):
        table(5)
    with pytest.raises(DtypeError, match="whole numbers"):
        table([0.0, 1.0])


def test_learned_positions_are_added() -> None:
    positions = nn.PositionalEmbedding(6, 3, key=0, dtype="float64")
    x = RNG.normal(size=(2, 4, 3))
    np.testing.assert_array_equal(positions(x).data, x + positions.weight.data[:4])
    assert positions(np.zeros((6, 3))).shape == (6, 3)
    assert abs(positions.weight.data).max() < 0.1
    assert bl.check(loss_of, positions, x).ok


def test_sinusoidal_positions_follow_the_paper() -> None:
    positions = nn.PositionalEmbedding(50, 8, kind="sinusoidal", dtype="float64")
    assert positions.parameters() == []
    assert positions.state_dict() == {}
    table = positions(np.zeros((50, 8))).data
    for t in (0, 7, 49):
        for i in range(4):
            angle = t / 10000 ** (2 * i / 8)
            assert table[t, 2 * i] == pytest.approx(np.sin(angle), abs=1e-15)
            assert table[t, 2 * i + 1] == pytest.approx(np.cos(angle), abs=1e-15)


def test_positions_refuse_what_does_not_fit() -> None:
    positions = nn.PositionalEmbedding(4, 2)
    for shape in ((5, 2), (4, 3), (2,)):
        with pytest.raises(ShapeError, match="with t up to 4"):
            positions(np.zeros(shape))
    with pytest.raises(DomainError, match="d=3 must be even"):
        nn.PositionalEmbedding(4, 3, kind="sinusoidal")
    with pytest.raises(DomainError, match="'learned' or 'sinusoidal'"):
        nn.PositionalEmbedding(4, 2, kind="rotary")


# -- activations ---------------------------------------------------------------------------------------------

NAMES = ["identity", "relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softmax", "softplus", "tanh"]


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_is_the_function_of_its_name(name: str) -> None:
    module = nn.activation(name)
    function = getattr(bl, name, lambda x: x)
    np.testing.assert_array_equal(module(X).data, getattr(function(X), "data", X))
    assert bl.check(lambda x: (module(x) ** 2).sum(), X).ok
    assert module.parameters() == []
    assert repr(module) == f"{type(module).__name__}()"


def test_activations_take_their_settings() -> None:
    assert nn.LeakyReLU(0.5)(-2.0).data == -1.0
    assert nn.ELU(2.0)(-1.0).data == pytest.approx(2 * np.expm1(-1.0))
    assert nn.GELU(approximate=True)(1.0).data == bl.gelu(1.0, approximate=True).data
    assert nn.Softmax(axis=0)(X).data.sum(0).tolist() == pytest.approx([1.0] * 3)
    assert nn.Activation(bl.leaky_relu, negative_slope=0.25)(-4.0).data == -1.0


def test_an_activation_is_found_by_name_function_class_or_module() -> None:
    tanh = nn.Tanh()
    assert nn.activation(tanh) is tanh
    assert type(nn.activation(nn.GELU)) is nn.GELU
    assert type(nn.activation(None)) is nn.Identity
    assert type(nn.activation("SiLU")) is nn.SiLU
    assert nn.activation(bl.sin)(1.0).data == np.sin(1.0)
    with pytest.raises(DomainError, match="no activation 'rleu'; choose one of"):
        nn.activation("rleu")
    with pytest.raises(DomainError, match="is not a function"):
        nn.activation(3)


# -- containers ----------------------------------------------------------------------------------------------


def test_a_sequential_runs_its_modules_in_order() -> None:
    a, b = nn.Linear(3, 4, key=0), nn.Linear(4, 2, key=1)
    model = nn.Sequential(a, bl.tanh, b, nn.Softmax())
    np.testing.assert_array_equal(model(X).data, bl.softmax(b(bl.tanh(a(X)))).data)
    assert len(model) == 4
    assert model[0] is a
    assert model[-2] is b
    assert next(iter(model)) is a
    assert type(model[1:3]) is nn.Sequential
    assert model[1:3][1] is b
    assert len(nn.Sequential([a, b])) == len(nn.Sequential(nn.Sequential(a, b)).append("relu")) == 2
    assert nn.Sequential()(3.0) == 3.0


def test_a_sequential_refuses_a_class() -> None:
    with pytest.raises(GraphError, match=r"Linear is a class; make one of it, Linear\("):
        nn.Sequential(nn.Linear)


def test_flatten_makes_one_axis_of_the_last_ones() -> None:
    x = RNG.normal(size=(2, 3, 4))
    np.testing.assert_array_equal(nn.Flatten()(x).data, x.reshape(2, 12))
    assert nn.Flatten(0)(x).shape == (24,)
    assert nn.Flatten(-1)(x).shape == (2, 3, 4)
    assert nn.Flatten()(np.zeros((0, 3, 4))).shape == (0, 12)
    assert nn.Flatten()(np.zeros(5)).shape == (5, 1)
    assert bl.check(loss_of, nn.Flatten(), x).ok
    with pytest.raises(ShapeError, match="no such axis"):
        nn.Flatten(4)(x)


# -- against PyTorch -----------------------------------------------------------------------------------------


@pytest.mark.peers
def test_linear_and_its_gradients_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(3, 2, dtype=torch.float64)
    ours = nn.Linear(3, 2, init=theirs.weight.detach().numpy().T, dtype="float64")
    ours.bias.data = theirs.bias.detach().numpy()
    x, t = Value(X), torch.tensor(X, requires_grad=True)
    (ours(x) ** 2).sum().backward()
    (theirs(t) ** 2).sum().backward()
    np.testing.assert_allclose(ours(x).data, theirs(t).detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(x.grad, t.grad.numpy(), rtol=1e-13)
    np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy().T, rtol=1e-13)
    np.testing.assert_allclose(ours.bias.grad, theirs.bias.grad.numpy(), rtol=1e-13)


@pytest.mark.peers
def test_an_embedding_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Embedding(5, 2, dtype=torch.float64)
    ours = nn.Embedding(5, 2, init=theirs.weight.detach().numpy(), dtype="float64")
    indices = np.array([[0, 3, 3], [1, 4, 0]])
    (ours(indices) ** 2).sum().backward()
    (theirs(torch.tensor(indices)) ** 2).sum().backward()
    np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), rtol=1e-14)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Sigmoid", "Softplus", "Tanh"])
def test_an_activation_is_that_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    x, t = Value(X), torch.tensor(X, requires_grad=True)
    y, z = getattr(nn, name)()(x), getattr(torch.nn, name)()(t)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(x.grad, t.grad.numpy(), rtol=1e-13, atol=1e-15)
