"""Trajectories of 100 steps beside PyTorch's, in float64, on a small problem that is not convex."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import optim

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(16, 3)), RNG.normal(size=(16, 2))
START = [RNG.normal(size=shape) for shape in ((3, 4), (4,), (4, 2), (2,))]


@pytest.fixture(autouse=True)
def _double():
    """NAdam of PyTorch keeps its product of momenta in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def loss_of(library, params, x, y):
    w1, b1, w2, b2 = params
    miss = library.tanh(x @ w1 + b1) @ w2 + b2 - y
    return (miss * miss).sum() / 16.0


def ours(make, steps=100):
    params = [bl.Parameter(p) for p in START]
    optimizer = make(params)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(bl, params, X, Y).backward()
        optimizer.step()
        path.append(np.concatenate([np.ravel(p.data) for p in params]))
    return np.array(path)


def theirs(make, steps=100):
    params = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in START]
    made = make(params)
    optimizer, schedule = made if isinstance(made, tuple) else (made, None)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(torch, params, torch.tensor(X), torch.tensor(Y)).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        path.append(np.concatenate([p.detach().numpy().ravel() for p in params]))
    return np.array(path)


PAIRS = {
    "sgd": (lambda p: optim.SGD(p, lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd with decay": (
        lambda p: optim.SGD(p, lr=0.05, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1),
    ),
    "momentum": (
        lambda p: optim.SGD(p, lr=0.02, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    ),
    "nesterov": (
        lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    ),
    "adagrad": (
        lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1),
        lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1),
    ),
    "rmsprop": (lambda p: optim.RMSprop(p), lambda p: torch.optim.RMSprop(p)),
    "rmsprop, centered, with momentum": (
        lambda p: optim.RMSprop(p, lr=1e-3, momentum=0.9, centered=True, weight_decay=0.01),
        lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9, centered=True, weight_decay=0.01),
    ),
    "adadelta": (
        lambda p: optim.Adadelta(p, weight_decay=0.01),
        lambda p: torch.optim.Adadelta(p, weight_decay=0.01),
    ),
    "adam": (lambda p: optim.Adam(p, lr=0.02), lambda p: torch.optim.Adam(p, lr=0.02)),
    "amsgrad with decay": (
        lambda p: optim.Adam(p, lr=0.02, betas=(0.8, 0.95), weight_decay=0.05, amsgrad=True),
        lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), weight_decay=0.05, amsgrad=True),
    ),
    "adamw": (
        lambda p: optim.AdamW(p, lr=0.02, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
    ),
    "nadam": (
        lambda p: optim.NAdam(p, lr=0.02, weight_decay=0.05),
        lambda p: torch.optim.NAdam(p, lr=0.02, weight_decay=0.05),
    ),
    "adafactor": (lambda p: optim.Adafactor(p, lr=0.01), lambda p: torch.optim.Adafactor(p, lr=0.01)),
    "adafactor with decay": (
        lambda p: optim.Adafactor(p, lr=0.5, weight_decay=0.1, d=2.0, eps=(1e-6, 1e-2)),
        lambda p: torch.optim.Adafactor(p, lr=0.5, weight_decay=0.1, d=2.0, eps=(1e-6, 1e-2)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_hundred_steps_are_those_of_pytorch(name):
    make_ours, make_theirs = PAIRS[name]
    found, expected = ours(make_ours), theirs(make_theirs)
    assert np.abs(found[-1] - found[0]).max() > 0.01  # it went somewhere
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_lbfgs_without_a_line_search_takes_the_steps_of_pytorch():
    def with_closure(optimizer, params, library, x, y):
        def closure():
            optimizer.zero_grad()
            loss = loss_of(library, params, x, y)
            loss.backward()
            return loss

        path = []
        for _ in range(15):
            optimizer.step(closure)
            path.append(np.concatenate([np.ravel(p.data if library is bl else p.detach().numpy()) for p in params]))
        return np.array(path)

    mine = [bl.Parameter(p) for p in START]
    found = with_closure(optim.LBFGS(mine, lr=0.5, max_iter=4, history_size=5, line_search=False), mine, bl, X, Y)
    other = [torch.tensor(p, requires_grad=True) for p in START]
    made = torch.optim.LBFGS(other, lr=0.5, max_iter=4, history_size=5)
    expected = with_closure(made, other, torch, torch.tensor(X), torch.tensor(Y))
    assert np.abs(found[-1] - found[0]).max() > 0.01
    # The recursion divides by small differences of gradients, which magnifies rounding from step to step.
    np.testing.assert_allclose(found[:5], expected[:5], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_lbfgs_with_its_line_search_ends_where_pytorch_does():
    mine, other = [bl.Parameter(p) for p in START], [torch.tensor(p, requires_grad=True) for p in START]
    ours_ = optim.LBFGS(mine, max_iter=300, max_eval=600, tolerance_change=1e-13, history_size=20)
    ours_.step(lambda: loss_of(bl, mine, X, Y))
    theirs_ = torch.optim.LBFGS(
        other, max_iter=300, max_eval=600, tolerance_change=1e-13, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure():
        theirs_.zero_grad()
        loss = loss_of(torch, other, torch.tensor(X), torch.tensor(Y))
        loss.backward()
        return loss

    theirs_.step(closure)
    found, expected = loss_of(bl, mine, X, Y).data, loss_of(torch, other, torch.tensor(X), torch.tensor(Y)).item()
    assert found <= expected * 1.05  # there is more than one valley


SCHEDULES = {
    "step": (
        optim.step(0.1, every=7, factor=0.5),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5),
    ),
    "exponential": (optim.exponential(0.1, 0.9), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    "cosine": (
        optim.cosine(0.1, 50, least=0.01),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50, 0.01),
    ),
    "cosine with restarts": (
        optim.cosine(0.1, 5, least=0.01, restarts=True, longer=2),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2, 0.01),
    ),
    "one cycle": (
        optim.one_cycle(0.1, 50),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=50, cycle_momentum=False),
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_those_of_pytorch(name):
    ours_, make = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs_ = make(optimizer)
    for t in range(50):
        assert float(ours_(t)) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-10), t
        optimizer.step()
        if t < 49:
            theirs_.step()


def test_a_scheduled_trajectory_is_that_of_pytorch():
    found = ours(lambda p: optim.Adam(p, lr=optim.cosine(0.05, 100)))

    def make(params):
        optimizer = torch.optim.Adam(params, lr=0.05)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)

    np.testing.assert_allclose(found, theirs(make), rtol=1e-11, atol=1e-12)


def test_a_plateau_is_found_when_pytorch_finds_it():
    losses = np.abs(np.cumsum(np.random.default_rng(3).normal(size=200))) + 1.0
    mine = optim.SGD([bl.Value(1.0)], lr=1.0)
    plateau = optim.ReduceOnPlateau(mine, factor=0.7, patience=3, threshold=0.01, pause=2, least=1e-3)
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs_ = torch.optim.lr_scheduler.ReduceLROnPlateau(
        other, factor=0.7, patience=3, threshold=0.01, cooldown=2, min_lr=1e-3
    )
    for loss in losses:
        plateau.observe(loss)
        theirs_.step(loss)
        assert mine.lr == pytest.approx(other.param_groups[0]["lr"], rel=1e-12)
    assert mine.lr < 0.5
