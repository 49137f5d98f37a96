"""The same nets in PyTorch: eager with its own optimizers, and the whole step, update included, by torch.compile."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from benchmarks.compiled_peers.problems import BLOCKS, CONTEXT, HEADS, HIDDEN, WIDTH, Array, Problem, Run

EAGER, ALONE, COMPILED = "PyTorch eager", "PyTorch, one thread", "PyTorch compiled"
THROUGH_STEPS = 300
"""So many turns of the 10,000 are made: eager PyTorch takes its time."""

Tree = Any


def _two_layers(p: Tree, data: Tree, activation: Callable[[Any], Any]) -> Any:
    x, signs = data
    return F.softplus(signs * (activation(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]), threshold=40.0).mean()


def _xor(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    return _two_layers(p, data, torch.relu)


def _moons(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data
    h = torch.relu(torch.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
    scores = (h @ p["W3"] + p["b3"])[:, 0]
    return torch.relu(1 - y * scores).mean() + 1e-4 * sum((v * v).sum() for v in p.values())


def _digits(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data[0][row], data[1][row]
    return F.cross_entropy(torch.tanh(torch.addmm(p["b1"], x, p["W1"])) @ p["W2"] + p["b2"], y)


def _names(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data[0][row], data[1][row]
    h = F.embedding(x, p["C"]).reshape(-1, 30) @ p["W1"]
    h = F.batch_norm(h, memory["mean"], memory["var"], p["scale"], p["shift"], training=True)
    return F.cross_entropy(torch.addmm(p["b2"], torch.tanh(h), p["W2"]), y)


def _names_apart(p: Tree, memory: Tree, data: Tree, row: Any) -> tuple[Any, Tree]:
    """The same without assigning, and what would be assigned."""
    x, y = data[0][row], data[1][row]
    h = F.embedding(x, p["C"]).reshape(-1, 30) @ p["W1"]
    mean, var = h.mean(0), h.var(0, correction=0)
    n = len(h) / (len(h) - 1)
    memory = {
        "mean": memory["mean"] + 0.1 * (mean.detach() - memory["mean"]),
        "var": memory["var"] + 0.1 * (var.detach() * n - memory["var"]),
    }
    h = (h - mean) * torch.rsqrt(var + 1e-5) * p["scale"] + p["shift"]
    return F.cross_entropy(torch.addmm(p["b2"], torch.tanh(h), p["W2"]), y), memory


def _wide(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data[0][row], data[1][row]
    h = torch.relu(torch.addmm(p["b1"], x, p["W1"]))
    h = torch.relu(torch.addmm(p["b2"], h, p["W2"]))
    return F.cross_entropy(torch.addmm(p["b3"], h, p["W3"]), y)


def _linear(p: Tree, name: str, x: Any) -> Any:
    y = x @ p[f"{name}.weight"]
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def _transformer(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    (text,) = data
    places = row[:, None] + torch.arange(CONTEXT)

    def norm(name: str, x: Any) -> Any:
        return F.layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"])

    def heads(x: Any) -> Any:
        return x.view(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)

    x = F.embedding(text[places], p["tokens.weight"]) + p["places.weight"]
    for k in range(BLOCKS):
        own = f"blocks.{k}."
        normed = norm(own + "norm1", x)
        q, key, v = (heads(_linear(p, f"{own}attention.{part}", normed)) for part in ("query", "key", "value"))
        mixed = F.scaled_dot_product_attention(q, key, v, is_causal=True)
        x = x + _linear(p, own + "attention.out", mixed.transpose(1, 2).reshape(x.shape))
        x = x + _linear(p, own + "narrow", F.gelu(_linear(p, own + "widen", norm(own + "norm2", x))))
    logits = _linear(p, "out", norm("norm", x))
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), text[places + 1].reshape(-1))


def _optimizer(problem: Problem, parameters: list[Any]) -> Any:
    if problem.name == "digits":
        return torch.optim.Adam(parameters, lr=problem.rate, fused=True)
    if problem.name == "transformer":
        return torch.optim.AdamW(parameters, lr=problem.rate, weight_decay=0.01, fused=True)
    momentum = 0.9 if problem.name == "wide" else 0.0
    return torch.optim.SGD(parameters, lr=problem.rate, momentum=momentum, fused=True)


LOSSES: dict[str, Callable[..., Any]] = {
    "xor": _xor,
    "moons": _moons,
    "digits": _digits,
    "names": _names,
    "wide": _wide,
    "transformer": _transformer,
}
LARGE = ("wide", "transformer")
"""On the others one thread is quicker than several."""


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def contestants(problem: Problem, with_compiled: bool) -> dict[str, Run]:
    """By name. with_compiled: torch.compile too, which takes its time."""
    if problem.name == "through":
        return {ALONE: _through(problem)}
    if problem.name not in LOSSES:
        return {}
    loss = LOSSES[problem.name]
    threads = torch.get_num_threads() if problem.name in LARGE else 1
    found = {ALONE: _trainer(problem, loss, 1)}
    if threads > 1:
        found[EAGER] = _trainer(problem, loss, threads)
    if with_compiled:
        warnings.filterwarnings("ignore", module="torch")
        found[COMPILED] = _compiled(problem, loss, threads)
    return found


def _trainer(problem: Problem, loss: Callable[..., Any], threads: int) -> Run:
    data = tuple(torch.tensor(x) for x in problem.data)
    rows = [None] if problem.rows is None else list(torch.tensor(problem.rows))
    p = {name: torch.tensor(x, requires_grad=True) for name, x in problem.start.items()}
    memory = {"mean": torch.zeros(HIDDEN), "var": torch.ones(HIDDEN)} if problem.name == "names" else None

    def run(n: int) -> list[Array]:
        with torch.no_grad():
            for name, x in problem.start.items():
                p[name].copy_(torch.tensor(x))
        if memory is not None:
            memory["mean"].zero_()
            memory["var"].fill_(1.0)
        optimizer = _optimizer(problem, list(p.values()))
        value: Any = None
        with _threads(threads):
            for i in range(n):
                optimizer.zero_grad()
                value = loss(p, memory, data, rows[i % len(rows)])
                value.backward()
                optimizer.step()
        return [value.detach().numpy(), *(x.detach().numpy().copy() for x in p.values())]

    return run


def _compiled(problem: Problem, loss: Callable[..., Any], threads: int) -> Run:
    """Loss, gradient and update in one compiled function of tensors: quicker than compiling only the loss."""
    data = tuple(torch.tensor(x) for x in problem.data)
    rows = [None] if problem.rows is None else list(torch.tensor(problem.rows))
    adam, momentum = problem.name in ("digits", "transformer"), problem.name == "wide"
    shrink = 1 - 0.01 * problem.rate if problem.name == "transformer" else 1.0

    def with_memory(values: list[Any], norms: Tree, row: Any) -> tuple[Any, Tree]:
        p = dict(zip(problem.start, values, strict=True))
        return _names_apart(p, norms, data, row) if norms else (loss(p, norms, data, row), norms)

    def step(values: Tree, m: Tree, v: Tree, norms: Tree, numbers: Any, row: Any) -> tuple[Tree, ...]:
        slopes, (value, norms) = torch.func.grad_and_value(with_memory, has_aux=True)(values, norms, row)
        along = slopes
        if adam:
            m = [old + 0.1 * (g - old) for old, g in zip(m, slopes, strict=True)]
            v = [old + 0.001 * (g * g - old) for old, g in zip(v, slopes, strict=True)]
            along = [numbers[0] * a / (torch.sqrt(b) + numbers[1]) for a, b in zip(m, v, strict=True)]
            return [shrink * x - u for x, u in zip(values, along, strict=True)], m, v, norms, value
        if momentum:
            along = m = [0.9 * old + g for old, g in zip(m, slopes, strict=True)]
        return [x - problem.rate * u for x, u in zip(values, along, strict=True)], m, v, norms, value

    whole = torch.compile(step)

    def run(n: int) -> list[Array]:
        values = [torch.tensor(x) for x in problem.start.values()]
        m = [torch.zeros_like(x) for x in values] if adam or momentum else []
        v = [torch.zeros_like(x) for x in values] if adam else []
        norms = {"mean": torch.zeros(HIDDEN), "var": torch.ones(HIDDEN)} if problem.name == "names" else {}
        numbers, value = torch.zeros(2), values[0]
        with _threads(threads):
            for i in range(n):
                if adam:
                    root = (1 - 0.999 ** (i + 1)) ** 0.5
                    numbers = torch.tensor([problem.rate * root / (1 - 0.9 ** (i + 1)), 1e-8 * root])
                values, m, v, norms, value = whole(values, m, v, norms, numbers, rows[i % len(rows)])
        return [value.numpy(), *(x.numpy() for x in values)]

    return run


def _through(problem: Problem) -> Run:
    """Reverse mode through `THROUGH_STEPS` turns only."""
    data = tuple(torch.tensor(x) for x in problem.data)

    def run(n: int) -> list[Array]:
        rate = torch.tensor(problem.rate, dtype=torch.float64, requires_grad=True)
        p = {name: torch.tensor(x, requires_grad=True) for name, x in problem.start.items()}
        with _threads(1):
            for _ in range(n * min(problem.steps, THROUGH_STEPS)):
                slopes = torch.autograd.grad(_two_layers(p, data, torch.tanh), list(p.values()), create_graph=True)
                p = {name: x - rate * g for (name, x), g in zip(p.items(), slopes, strict=True)}
            loss = _two_layers(p, data, torch.tanh)
            loss.backward()
        assert rate.grad is not None
        return [np.asarray(loss.item()), rate.grad.numpy()]

    return run
