"""Recurrent layers follow their formulas step by step, carry their state on, and have right gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.numbers import Abstract
from backlit.core.value import leaf
from backlit.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

RNG = np.random.default_rng(7)
X = RNG.normal(size=(2, 4, 3))
LAYERS = pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
CELLS = pytest.mark.parametrize("kind", [RNNCell, GRUCell, LSTMCell])


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def disturbed(model: Any) -> Any:
    """With offsets that are not zero, so that each counts."""
    for p in model.parameters():
        p.data = p.data + 0.3 * RNG.normal(size=p.shape)
    return model


def state_of(kind: Any, shape: tuple[int, ...]) -> Any:
    h, c = RNG.normal(size=shape), RNG.normal(size=shape)
    return (h, c) if "LSTM" in kind.__name__ else h


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_plain_cell_is_its_formula(nonlinearity: str) -> None:
    cell = disturbed(RNNCell(3, 5, nonlinearity, key=0, dtype="float64"))
    x, h = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 5))
    sums = x @ cell.weight.data + h @ cell.state_weight.data + cell.bias.data
    expected = np.tanh(sums) if nonlinearity == "tanh" else np.maximum(sums, 0)
    np.testing.assert_allclose(cell(x, h).data, expected, rtol=1e-13)


def test_a_gru_cell_is_its_formula() -> None:
    cell = disturbed(GRUCell(3, 5, key=0, dtype="float64"))
    x, h = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 5))
    x_r, x_z, x_n = np.split(x @ cell.weight.data + cell.bias.data, 3, axis=-1)
    h_r, h_z, h_n = np.split(h @ cell.state_weight.data, 3, axis=-1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * (h_n + cell.candidate_bias.data))
    np.testing.assert_allclose(cell(x, h).data, (1 - z) * n + z * h, rtol=1e-13)


def test_an_lstm_cell_is_its_formula() -> None:
    cell = disturbed(LSTMCell(3, 5, key=0, dtype="float64"))
    x, h, c = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 5)), RNG.normal(size=(2, 5))
    sums = x @ cell.weight.data + h @ cell.state_weight.data + cell.bias.data
    i, f, g, o = np.split(sums, 4, axis=-1)
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    found = cell(x, (h, c))
    np.testing.assert_allclose(found[1].data, new, rtol=1e-13)
    np.testing.assert_allclose(found[0].data, sigmoid(o) * np.tanh(new), rtol=1e-13)


def test_the_forget_gate_starts_at_its_bias_and_the_others_at_zero() -> None:
    np.testing.assert_array_equal(LSTMCell(1, 2, key=0).bias.data, [0, 0, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(LSTM(1, 1, forget_bias=2.5, key=0).cells[0].bias.data, [0, 2.5, 0, 0])


@CELLS
def test_the_state_of_a_cell_starts_at_zero(kind: Any) -> None:
    cell = kind(3, 5, key=0, dtype="float64")
    zeros = np.zeros((2, 5))
    with_zeros = cell(X[:, 0], (zeros, zeros) if kind is LSTMCell else zeros)
    without = cell(X[:, 0])
    for a, b in zip(bl.asarray(with_zeros).data, bl.asarray(without).data, strict=True):
        np.testing.assert_array_equal(a, b)


@CELLS
def test_state_weights_start_orthogonal(kind: Any) -> None:
    cell = kind(3, 5, key=0, dtype="float64")
    for part in np.split(cell.state_weight.data, cell.parts, axis=1):
        np.testing.assert_allclose(part.T @ part, np.eye(5), atol=1e-14)


@LAYERS
def test_a_layer_is_its_cells_run_by_hand(kind: Any) -> None:
    layer = disturbed(kind(3, 5, num_layers=2, key=1, dtype="float64"))
    start = state_of(kind, (2, 2, 5))
    outputs, last = layer(X, start)
    assert outputs.shape == (2, 4, 5)
    x = [X[:, t] for t in range(4)]
    for n, cell in enumerate(layer.cells):
        state = (start[0][n], start[1][n]) if kind is LSTM else start[n]
        seen = []
        for each in x:
            state = cell(each, state)
            seen.append(state[0] if kind is LSTM else state)
        x = seen
        for end, by_hand in zip(last if kind is LSTM else [last], state if kind is LSTM else [state], strict=True):
            assert end.shape == (2, 2, 5)
            np.testing.assert_allclose(end.data[n], by_hand.data, rtol=1e-12)
    for t in range(4):
        np.testing.assert_allclose(outputs.data[:, t], x[t].data, rtol=1e-12)


@LAYERS
def test_a_sequence_may_be_read_in_two_parts(kind: Any) -> None:
    layer = disturbed(kind(3, 5, num_layers=2, key=1, dtype="float64"))
    whole, last = layer(X)
    first, state = layer(X[:, :1])
    second, end = layer(X[:, 1:], state)
    np.testing.assert_allclose(np.concatenate([first.data, second.data], axis=1), whole.data, rtol=1e-12)
    np.testing.assert_allclose(bl.asarray(end).data, bl.asarray(last).data, rtol=1e-12)


@LAYERS
def test_gradients_of_a_layer_are_what_nudging_finds(kind: Any) -> None:
    layer = disturbed(kind(2, 3, num_layers=2, key=1, dtype="float64"))
    x, start = RNG.normal(size=(2, 3, 2)), state_of(kind, (2, 2, 3))
    ends = RNG.normal(size=(2, 3, 3))

    def loss(layer: Any, x: Any, start: Any) -> Any:
        outputs, last = layer(x, start)
        return (outputs * ends).sum() + bl.square(bl.asarray(last)).sum()

    report = bl.check(loss, layer, x, start, directions=1, elements=2)
    assert report.ok, str(report)


def test_relu_nets_have_right_gradients() -> None:
    layer = disturbed(RNN(2, 3, "relu", key=1, dtype="float64"))
    report = bl.check(lambda m: bl.square(m(X[..., :2])[0]).sum(), layer, directions=1, elements=2)
    assert report.ok, str(report)


@LAYERS
def test_a_layer_runs_on_shapes_alone(kind: Any) -> None:
    layer = kind(3, 5, num_layers=2, key=0, dtype="float64")
    with bl.scope("trace"):  # any mode: shapes are looked for then
        outputs, last = layer(leaf(Abstract(X.shape, X.dtype)))
    assert type(outputs._data) is Abstract
    assert outputs.shape == (2, 4, 5)
    assert bl.asarray(last[0] if kind is LSTM else last).shape == (2, 2, 5)


@LAYERS
def test_parameters_are_float32_by_default_and_so_is_what_is_computed(kind: Any) -> None:
    outputs, last = kind(3, 5, key=0)(X)
    assert outputs.dtype == bl.asarray(last).dtype == np.float32


@LAYERS
def test_equal_keys_make_equal_layers(kind: Any) -> None:
    a, b, c = (kind(3, 5, num_layers=2, key=key).state_dict() for key in (3, 3, 4))
    assert all((a[name] == b[name]).all() for name in a)
    assert not (a["cells.0.weight"] == c["cells.0.weight"]).any()
    assert not (a["cells.0.state_weight"] == a["cells.1.state_weight"]).any()


@LAYERS
def test_wrong_inputs_and_states_are_refused_with_the_cure(kind: Any) -> None:
    layer = kind(3, 5, key=0)
    with pytest.raises(bl.ShapeError, match=r"\(batch, time, 3\).*\(4, 3\).*x\[None\]"):
        layer(X[0])
    with pytest.raises(bl.ShapeError, match=r"length 3.*\(2, 4, 2\)"):
        layer(X[..., :2])
    with pytest.raises(bl.ShapeError, match="no steps"):
        layer(X[:, :0])
    with pytest.raises(bl.ShapeError, match=r"state has shape \(1, 2, 5\).*\(2, 5\)"):
        layer(X, (np.zeros((2, 5)), np.zeros((2, 5))) if kind is LSTM else np.zeros((2, 5)))
    with pytest.raises(bl.ShapeError, match="pair" if kind is LSTM else "tuple"):
        layer(X, np.zeros((1, 2, 5)) if kind is LSTM else (np.zeros((1, 2, 5)), np.zeros((1, 2, 5))))
    with pytest.raises(bl.DomainError, match="num_layers=0"):
        kind(3, 5, num_layers=0)


def test_an_unknown_nonlinearity_is_refused() -> None:
    with pytest.raises(bl.DomainError, match="'sin'"):
        RNN(2, 3, "sin")
    with pytest.raises(bl.DomainError, match="'sin'"):
        RNNCell(2, 3, "sin")
