"""Every optimizer: its steps, compiled and repeated, give what they give eagerly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler import straight
from tests.compiler.comparing import compare

RNG = np.random.default_rng(4)
X = RNG.normal(size=(3, 3))
Y = np.sin(X[:, :1] * 2)

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "Nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "AMSGrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "Adadelta": lambda p: optim.Adadelta(p, lr=1.0, eps=1e-3),
    "Lion": lambda p: optim.Lion(p, lr=0.01),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.01),
    "cosine": lambda p: optim.Adam(p, lr=optim.cosine(0.1, 10)),
    "one cycle": lambda p: optim.SGD(p, lr=optim.one_cycle(0.1, 10)),
    "stairs": lambda p: optim.SGD(p, lr=optim.step(0.1, 2)),
    "exponential": lambda p: optim.SGD(p, lr=optim.exponential(0.1, 0.9)),
    "warm-up": lambda p: optim.SGD(p, lr=optim.warm_up(2, optim.constant(0.1))),
    "piecewise": lambda p: optim.SGD(p, lr=optim.piecewise([(0, 0.1), (2, 0.05)])),
    "a chain": lambda p: optim.Optimizer(
        p,
        lambda lr: optim.chain(optim.clip_by_norm(0.5), optim.add_weight_decay(0.01), optim.adam(lr), optim.ema(0.9)),
        lr=0.01,
    ),
    "clipped": lambda p: optim.Optimizer(p, lambda lr: optim.chain(optim.clip_by_value(0.1), optim.sgd(lr)), lr=0.1),
}


def training(name: str, dtype: str) -> tuple[Callable[[], Any], Sequence[Any]]:
    model = nn.MLP(3, [2, 1], key=1, dtype=dtype)
    optimizer = OPTIMIZERS[name](model.parameters())
    x, y = X.astype(dtype), Y.astype(dtype)

    def step() -> Any:
        loss = nn.mse(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, [*model.parameters(), *optimizer.variables().values()]


@pytest.mark.parametrize(
    ("dtype", "how"), [("float32", "loops"), pytest.param("float64", "straight", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_steps_the_same_compiled(name: str, dtype: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "loops":
        monkeypatch.setattr(straight, "LIMIT", -1)
    compare(lambda: training(name, dtype), turns=4, factor=20)


def test_the_learning_rate_may_be_set_between_compiled_steps() -> None:
    ends = []
    for use in (lambda step: step, bl.compile):
        w = bl.Parameter([1.0, -2.0])
        optimizer = optim.SGD([w], lr=0.1)

        def step(w: Any = w, optimizer: Any = optimizer) -> None:
            (w * w).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        run = use(step)
        run()
        optimizer.lr = 0.01
        run()
        ends.append(w.data)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-15)


def test_every_optimizer_is_among_them() -> None:
    from backlit.optim import _PLACES

    found = {type(make([bl.Parameter([1.0])])).__name__ for make in OPTIMIZERS.values()}
    searching = {"LBFGS"}  # searches along a line, by the numbers that it finds there
    places = {name for place, names in _PLACES.items() if place.startswith("optimizers.") for name in names.split()}
    assert {name for name in places if name[0].isupper()} - searching == found - {"Optimizer"}
