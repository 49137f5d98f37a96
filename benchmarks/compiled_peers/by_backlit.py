"""The nets in Backlit, as its users write them: an ordinary step of learning, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import backlit as bl
from backlit import nn, optim
from benchmarks.compiled_peers.problems import BLOCKS, CONTEXT, HEADS, HIDDEN, VOCABULARY, WIDTH, Array, Problem, Run

NAME = "backlit"
Step = Callable[..., Any]


def _parameters(problem: Problem) -> dict[str, Any]:
    return {name: bl.Parameter(x, name=name) for name, x in problem.start.items()}


def _xor(problem: Problem) -> tuple[Step, dict[str, Any], Any]:
    x, signs = (bl.asarray(a) for a in problem.data)
    p = _parameters(problem)
    optimizer = optim.SGD(list(p.values()), lr=problem.rate)

    def step() -> Any:
        z = bl.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        loss = bl.softplus(signs * z).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, p, optimizer


def _nudge(problem: Problem) -> tuple[Step, dict[str, Any], Any]:
    x, signs = (bl.asarray(a) for a in problem.data)
    theta = bl.Buffer(problem.start["theta"], name="theta")
    up_and_down = bl.asarray(np.concatenate([np.eye(9), -np.eye(9), np.zeros((1, 9))]))

    def step() -> Any:
        now = theta + 0.0
        h = 2.0**-26 * bl.maximum(1.0, bl.abs(now))
        nets = now + up_and_down * h
        pre = x @ nets[:, :4].reshape(19, 2, 2) + nets[:, None, 4:6]
        z = (bl.relu(pre) * nets[:, None, 6:8]).sum(axis=-1) + nets[:, 8:]
        losses = bl.softplus(signs * z).mean(axis=-1)
        moved = (now + h) - (now - h)
        theta.data = now - problem.rate * ((losses[:9] - losses[9:18]) / moved)
        return losses[18]

    return step, {"theta": theta}, None


def _moons(problem: Problem) -> tuple[Step, dict[str, Any], Any]:
    x, y = (bl.asarray(a) for a in problem.data)
    p = _parameters(problem)
    optimizer = optim.SGD(list(p.values()), lr=problem.rate)

    def step() -> Any:
        h = bl.relu(bl.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
        scores = (h @ p["W3"] + p["b3"])[:, 0]
        squares = sum((v * v).sum() for v in p.values())
        loss = bl.relu(1 - y * scores).mean() + problem.extra["alpha"] * squares
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, p, optimizer


def _on_batches(
    problem: Problem, p: dict[str, Any], optimizer: Any, loss_of: Callable[..., Any]
) -> tuple[Step, dict[str, Any], Any]:
    data = [bl.asarray(a) for a in problem.data]

    def step(row: Any) -> Any:
        loss = loss_of(p, row, *data)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, p, optimizer


def _digits(problem: Problem) -> tuple[Step, dict[str, Any], Any]:
    def loss_of(p: Any, row: Any, x: Any, y: Any) -> Any:
        return nn.cross_entropy(bl.tanh(x[row] @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"], y[row])

    p = _parameters(problem)
    return _on_batches(problem, p, optim.Adam(list(p.values()), lr=problem.rate), loss_of)


def _names(problem: Problem) -> tuple[Step, dict[str, Any], Any]:
    embedding, first = nn.Embedding(27, 10, key=0), nn.Linear(30, HIDDEN, bias=False, key=0)
    norm, last = nn.BatchNorm(HIDDEN), nn.Linear(HIDDEN, 27, key=0)

    def loss_of(p: Any, row: Any, x: Any, y: Any) -> Any:
        h = norm(first(embedding(x[row]).reshape(-1, 30)))
        return nn.cross_entropy(last(bl.tanh(h)), y[row])

    places = [embedding.weight, first.weight, norm.weight, norm.bias, last.weight, last.bias]
    p = dict(zip(problem.start, places, strict=True))
    return _on_batches(problem, p, optim.SGD(list(p.values()), lr=problem.rate), loss_of)


def _wide(problem: Problem) -> tuple[Step, dict[str, Any], Any]:
    def loss_of(p: Any, row: Any, x: Any, y: Any) -> Any:
        h = bl.relu(bl.relu(x[row] @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
        return nn.cross_entropy(h @ p["W3"] + p["b3"], y[row])

    p = _parameters(problem)
    return _on_batches(problem, p, optim.SGD(list(p.values()), lr=problem.rate, momentum=0.9), loss_of)


def _transformer(problem: Problem) -> tuple[Step, dict[str, Any], Any]:
    model = nn.CharTransformer(VOCABULARY, CONTEXT, WIDTH, HEADS, BLOCKS, key=0)
    steps = np.arange(CONTEXT)

    def loss_of(p: Any, row: Any, text: Any) -> Any:
        places = row[:, None] + steps
        return nn.cross_entropy(model(text[places]), text[places + 1])

    p = dict(model.named_parameters())
    return _on_batches(problem, p, optim.AdamW(list(p.values()), lr=problem.rate), loss_of)


STEPS = {
    "xor": _xor,
    "nudge": _nudge,
    "moons": _moons,
    "digits": _digits,
    "names": _names,
    "wide": _wide,
    "transformer": _transformer,
}


def compiled_step(problem: Problem) -> Any:
    """The step alone, compiled when it is first called."""
    return bl.compile(STEPS[problem.name](problem)[0])


def contestants(problem: Problem) -> dict[str, Run]:
    """By name. Nothing is traced or compiled before the first run."""
    if problem.name == "through":
        return _through(problem)
    step, p, optimizer = STEPS[problem.name](problem)
    compiled = bl.compile(step)
    before = {} if optimizer is None else optimizer.state_dict()
    turns: dict[int, Any] = {}

    def run(n: int) -> list[Array]:
        for name, x in problem.start.items():
            p[name].data = x
        if optimizer is not None:
            optimizer.load_state_dict(before)
        if problem.rows is None:
            loss = compiled.repeat(n)
        else:
            if n not in turns:
                turns.clear()
                turns[n] = problem.rows[np.arange(n) % len(problem.rows)]
            loss = compiled.each(turns[n])[-1]
        return [np.asarray(loss.data), *(np.array(p[name].data) for name in problem.start)]

    return {NAME: run}


def functions(problem: Problem) -> dict[str, Any]:
    """The final loss and its derivative by the learning rate in both modes, compiled when first called."""
    x, signs = (bl.asarray(a) for a in problem.data)
    start = {name: bl.asarray(a) for name, a in problem.start.items()}

    def loss_of(p: Any) -> Any:
        return bl.softplus(signs * (bl.tanh(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])).mean()

    def final(rate: Any) -> Any:
        def turn(i: Any, p: Any) -> Any:
            slopes = bl.grad(loss_of)(p)
            return {name: p[name] - rate * slopes[name] for name in p}

        return loss_of(bl.fori_loop(0, problem.steps, turn, start))

    return {
        f"{NAME}, reverse": bl.compile(bl.value_and_grad(final)),
        f"{NAME}, forward": bl.compile(lambda rate: bl.jvp(final, (rate,), (1.0,))),
    }


def _through(problem: Problem) -> dict[str, Run]:
    def run(f: Callable[..., Any]) -> Run:
        def call(n: int) -> list[Array]:
            found: Any = None
            for _ in range(n):
                found = [np.asarray(value.data) for value in f(np.float64(problem.rate))]
            return found  # type: ignore[no-any-return]

        return call

    return {name: run(f) for name, f in functions(problem).items()}
