"""The eager engine: scalar graphs beside micrograd, a small network beside PyTorch and autograd, and a fresh start."""

from __future__ import annotations

import importlib.util
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import backlit as bl
from benchmarks.timing import compare, machine

OPERATIONS = 100_000
LEARNING_RATE = 0.01


def installed(*names: str) -> bool:
    """Whether the peers are here; says so if not."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        print(f"  (left out: {', '.join(missing)} not installed)")
    return not missing


def scalar_graph(value: Callable[[float], Any]) -> tuple[Any, list[Any]]:
    """A graph of 10^5 scalar operations, as nets of neurons make them: products, sums and relu.

    It is no deeper than a few hundred nodes, since micrograd walks it by recursion.
    """
    rng = random.Random(1)
    inputs = [value(rng.uniform(-1, 1)) for _ in range(100)]
    weights = [value(rng.uniform(-1, 1)) for _ in range(100)]
    total = value(0.0)
    for block in range(OPERATIONS // 400):
        part = value(0.0)
        for k in range(block, block + 100):
            part = part + (inputs[k % 100] * weights[(k * 7) % 100] + inputs[(k * 3) % 100]).relu()
        total = total + part
    return total, inputs


def scalars() -> None:
    """Building and differentiating 10^5 nodes, time and memory."""
    contestants: dict[str, Callable[[float], Any]] = {"backlit": bl.Value}
    if installed("micrograd"):
        from micrograd.engine import Value as Micrograd

        contestants["micrograd"] = Micrograd

    def run(value: Callable[[float], Any]) -> tuple[Any, list[Any]]:
        output, inputs = scalar_graph(value)
        output.backward()
        return output, inputs

    gradients = {name: [x.grad for x in run(value)[1]] for name, value in contestants.items()}
    for found in gradients.values():
        np.testing.assert_allclose(found, gradients["backlit"], rtol=1e-9)
    compare(
        "Build and differentiate a graph of 10^5 scalar operations",
        {name: (lambda value=value: run(value)) for name, value in contestants.items()},
        repeat=1,
        rounds=9,
    )
    peaks = {}
    for name, value in contestants.items():
        tracemalloc.start()
        kept = run(value)
        peaks[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del kept
    for name, peak in peaks.items():
        print(f"  {name:<28}{peak / 1e6:>9.1f} MB at the peak   {peak / peaks['backlit']:6.2f}x")


def network() -> None:
    """One step of stochastic gradient descent: 64-128-10, tanh, softmax cross entropy, batch 32, float32."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(32, 64)).astype(np.float32)
    target = np.eye(10, dtype=np.float32)[rng.integers(0, 10, 32)]
    start = [
        (rng.normal(size=(64, 128)) * 0.1).astype(np.float32), np.zeros(128, np.float32),
        (rng.normal(size=(128, 10)) * 0.1).astype(np.float32), np.zeros(10, np.float32),
    ]  # fmt: skip
    contestants = {"backlit": backlit_step(images, target, start)}
    if installed("torch"):
        contestants["PyTorch, Module and SGD"] = torch_module_step(images, target, start)
        contestants["PyTorch, bare tensors"] = torch_step(images, target, start)
    if installed("autograd"):
        contestants["HIPS/autograd"] = autograd_step(images, target, start)
    contestants["NumPy by hand"] = numpy_step(images, target, start)
    losses = {name: [float(step()) for _ in range(5)] for name, step in contestants.items()}
    for found in losses.values():
        np.testing.assert_allclose(found, losses["backlit"], rtol=1e-4)
    compare("A training step, 64-128-10 tanh, batch 32, float32, eager", contestants, repeat=300)


def backlit_step(images: Any, target: Any, start: list[Any]) -> Callable[[], Any]:
    x, t = bl.asarray(images), bl.asarray(target)
    parameters = [bl.Parameter(p) for p in start]
    w1, b1, w2, b2 = parameters

    def step() -> Any:
        logits = bl.tanh(x @ w1 + b1) @ w2 + b2
        loss = (bl.log_softmax(logits) * t).sum() * (-1 / 32)
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data -= LEARNING_RATE * p.grad
        return loss

    return step


def torch_step(images: Any, target: Any, start: list[Any]) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    x, t = torch.tensor(images), torch.tensor(target)
    parameters = [torch.tensor(p, requires_grad=True) for p in start]
    w1, b1, w2, b2 = parameters

    def step() -> Any:
        logits = torch.tanh(x @ w1 + b1) @ w2 + b2
        loss = (torch.log_softmax(logits, -1) * t).sum() * (-1 / 32)
        for p in parameters:
            p.grad = None
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                p -= LEARNING_RATE * p.grad
        return loss.detach()

    return step


def torch_module_step(images: Any, target: Any, start: list[Any]) -> Callable[[], Any]:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    x, labels = torch.tensor(images), torch.tensor(target.argmax(1))
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 10))
    with torch.no_grad():
        for parameter, values in zip(model.parameters(), start, strict=True):
            parameter.copy_(torch.tensor(values.T))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    def step() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def autograd_step(images: Any, target: Any, start: list[Any]) -> Callable[[], Any]:
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    parameters = list(start)

    def loss(ps: list[Any]) -> Any:
        w1, b1, w2, b2 = ps
        logits = anp.dot(anp.tanh(anp.dot(images, w1) + b1), w2) + b2
        return anp.sum((logits - logsumexp(logits, axis=1, keepdims=True)) * target) * (-1 / 32)

    both = value_and_grad(loss)

    def step() -> Any:
        nonlocal parameters
        found, gradients = both(parameters)
        parameters = [p - np.float32(LEARNING_RATE) * g for p, g in zip(parameters, gradients, strict=True)]
        return found

    return step


def numpy_step(images: Any, target: Any, start: list[Any]) -> Callable[[], Any]:
    parameters = list(start)

    def step() -> Any:
        nonlocal parameters
        w1, b1, w2, b2 = parameters
        h = np.tanh(images @ w1 + b1)
        logits = h @ w2 + b2
        below = logits - logits.max(1, keepdims=True)
        powers = np.exp(below)
        total = powers.sum(1, keepdims=True)
        loss = ((below - np.log(total)) * target).sum() * (-1 / 32)
        d = (powers / total - target) / 32
        dz = (d @ w2.T) * (1 - h * h)
        gradients = (images.T @ dz, dz.sum(0), h.T @ d, d.sum(0))
        parameters = [p - np.float32(LEARNING_RATE) * g for p, g in zip(parameters, gradients, strict=True)]
        return loss

    return step


def fresh_start() -> None:
    """From a fresh process: importing NumPy, importing Backlit, and the first gradient of (a*b + c)*d."""
    programs = {
        "import numpy": "import numpy",
        "import backlit": "import backlit",
        "first gradient": "import backlit as bl; a, b, c, d = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0); "
        "((a * b + c) * d).backward(); assert a.grad == 6.0",
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    bare: list[float] = []
    for _ in range(15):
        bare.append(process_seconds("pass"))
        for name, program in programs.items():
            times[name].append(process_seconds(program))
    empty = statistics.median(bare)
    reference = statistics.median(times["import numpy"]) - empty
    print("\nA fresh process (median of 15, less an empty interpreter; ratio to import numpy)")
    for name, found in times.items():
        own = statistics.median(found) - empty
        print(f"  {name:<28}{own * 1e3:>9.1f} ms   {own / reference:6.2f}x")


def process_seconds(program: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - start


def main() -> None:
    print(f"engine: {machine()}")
    scalars()
    network()
    fresh_start()


if __name__ == "__main__":
    main()
