"""Every layer: steps of learning with it, compiled and repeated, give what they give eagerly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.compiler import straight
from tests.compiler.comparing import assert_near, compare, numbers

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 6))
SERIES = RNG.normal(size=(2, 3, 6))
LABELS = np.array([[0, 2, 1], [3, 3, 0]])

# What makes the layer in a dtype, and what goes in.
LAYERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "linear": (lambda t: nn.Linear(6, 3, key=1, dtype=t), X),
    "linear without bias": (lambda t: nn.Linear(6, 3, False, key=1, dtype=t), SERIES),
    "embedding": (lambda t: nn.Embedding(5, 3, key=1, dtype=t), LABELS),
    "positions": (lambda t: nn.PositionalEmbedding(4, 6, key=1, dtype=t), SERIES),
    "batch norm": (lambda t: nn.BatchNorm(6, dtype=t), X),
    "batch norm, mean of all": (lambda t: nn.BatchNorm(6, momentum=None, dtype=t), X),
    "layer norm": (lambda t: nn.LayerNorm(6, dtype=t), X),
    "RMS norm": (lambda t: nn.RMSNorm(6, dtype=t), X),
    "dropout": (lambda t: nn.Sequential(nn.Linear(6, 4, key=1, dtype=t), nn.Dropout(0.5, key=2)), X),
    "MLP": (lambda t: nn.MLP(6, [5, 4, 2], key=1, dtype=t), X),
    "flatten": (lambda t: nn.Sequential(nn.Flatten(), nn.Linear(18, 2, key=1, dtype=t)), SERIES),
    "RNN": (lambda t: nn.RNN(6, 4, key=1, dtype=t), SERIES),
    "RNN of two layers": (lambda t: nn.RNN(6, 4, "relu", 2, key=1, dtype=t), SERIES),
    "GRU": (lambda t: nn.GRU(6, 4, key=1, dtype=t), SERIES),
    "LSTM": (lambda t: nn.LSTM(6, 4, key=1, dtype=t), SERIES),
    "RNN cell": (lambda t: nn.RNNCell(6, 4, key=1, dtype=t), X),
    "GRU cell": (lambda t: nn.GRUCell(6, 4, key=1, dtype=t), X),
    "LSTM cell": (lambda t: nn.LSTMCell(6, 4, key=1, dtype=t), X),
    "attention": (lambda t: nn.MultiHeadAttention(6, 2, key=1, dtype=t), SERIES),
    "causal attention": (lambda t: nn.MultiHeadAttention(6, 3, True, key=1, dtype=t), SERIES),
    "transformer block": (lambda t: nn.TransformerBlock(6, 2, 2, 0.0, True, key=1, dtype=t), SERIES),
    "character transformer": (lambda t: nn.CharTransformer(5, 4, 8, 2, 1, key=1, dtype=t), LABELS),
}
for _name in ("ELU", "GELU", "Identity", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh"):
    LAYERS[_name] = (
        lambda t, name=_name: nn.Sequential(nn.Linear(6, 4, key=1, dtype=t), getattr(nn, name)()),  # type: ignore[misc]
        X,
    )


def first_of(result: Any) -> Any:
    return first_of(result[0]) if isinstance(result, tuple) else result


def learning(model: Any, x: Any) -> tuple[Callable[[], Any], Sequence[Any]]:
    variables = [*model.parameters(), *(b for _, b in model.named_buffers())]

    def step() -> Any:
        y = first_of(model(x))
        weights = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)
        loss = (y * weights).sum() + 0.1 * (y * y).sum()
        loss.backward()
        for p in model.parameters():
            p.data = p.data - 0.05 * p.grad
        model.zero_grad()
        return loss

    return step, variables


def fitting(x: Any, dtype: str) -> Any:
    return x if x.dtype.kind == "i" else x.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "how"), [("float32", "loops"), pytest.param("float64", "straight", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_learns_the_same_compiled(name: str, dtype: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "loops":
        monkeypatch.setattr(straight, "LIMIT", -1)
    make, x = LAYERS[name]
    compare(lambda: learning(make(dtype), fitting(x, dtype)), factor=10)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_use_gives_the_same_compiled(name: str) -> None:
    make, x = LAYERS[name]
    model, x = make("float32"), fitting(x, "float32")
    compiled = bl.compile(lambda x: model(x))
    model.train()
    compiled(x)
    model.eval()
    assert_near(numbers([first_of(model(x))]), numbers([first_of(compiled(x))]))
    assert compiled.traces == 2


def test_every_layer_is_among_them() -> None:
    made = {type(m).__name__ for make, _ in LAYERS.values() for m in make("float32").modules()}
    from backlit.nn import _PLACES

    elsewhere = {"Module", "Activation", "Neuron", "Layer"}  # of scalars: below
    classes = {name for names in _PLACES.values() for name in names.split() if isinstance(getattr(nn, name), type)}
    assert classes - elsewhere <= made


def test_a_neuron_and_its_layers_learn_the_same() -> None:
    def make() -> tuple[Callable[[], Any], Sequence[Any]]:
        model = nn.scalars.MLP(3, [4, 1], key=1)

        def step() -> Any:
            loss = (model([1.0, -2.0, 0.5]) - 1.0) ** 2
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                p.data = p.data - 0.1 * p.grad
            return loss

        return step, model.parameters()

    compare(make)
