"""The same nets in JAX: each step a call of a jitted function, and all steps one loop inside XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from benchmarks.compiled_peers.problems import BLOCKS, CONTEXT, HEADS, HIDDEN, WIDTH, Array, Problem, Run

jax.config.update("jax_enable_x64", True)

Tree = Any
STEP, LOOP = "JAX per step", "JAX, loop in XLA"


def _two_layers(p: Tree, data: Tree, activation: Callable[[Any], Any]) -> Any:
    """Products of so few numbers as sums, which XLA fuses: that is quicker here than `@`."""
    x, signs = data
    h = activation((x[:, :, None] * p["W1"]).sum(1) + p["b1"])
    return nn.softplus(signs * ((h * p["W2"]).sum(-1) + p["b2"])).mean()


def _xor(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    return _two_layers(p, data, nn.relu), memory


def _moons(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data
    h = nn.relu(nn.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
    scores = (h @ p["W3"] + p["b3"])[:, 0]
    squares = sum((v * v).sum() for v in p.values())
    return nn.relu(1 - y * scores).mean() + 1e-4 * squares, memory


def _cross_entropy(logits: Any, labels: Any) -> Any:
    picked = jnp.take_along_axis(nn.log_softmax(logits), labels[..., None], -1)
    return -picked.mean()


def _digits(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data[0][row], data[1][row]
    return _cross_entropy(jnp.tanh(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"], y), memory


def _names(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data[0][row], data[1][row]
    h = p["C"][x].reshape(-1, 30) @ p["W1"]
    mean, var = h.mean(0), h.var(0)
    n = np.float32(len(h) / (len(h) - 1))
    memory = {
        "mean": memory["mean"] + np.float32(0.1) * (lax.stop_gradient(mean) - memory["mean"]),
        "var": memory["var"] + np.float32(0.1) * (lax.stop_gradient(var) * n - memory["var"]),
    }
    h = (h - mean) / jnp.sqrt(var + np.float32(1e-5)) * p["scale"] + p["shift"]
    return _cross_entropy(jnp.tanh(h) @ p["W2"] + p["b2"], y), memory


def _wide(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    x, y = data[0][row], data[1][row]
    h = nn.relu(nn.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"])
    return _cross_entropy(h @ p["W3"] + p["b3"], y), memory


def _normed(p: Tree, name: str, x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    spread = (centred * centred).mean(-1, keepdims=True)
    return centred / jnp.sqrt(spread + np.float32(1e-5)) * p[f"{name}.weight"] + p[f"{name}.bias"]


def _linear(p: Tree, name: str, x: Any) -> Any:
    y = x @ p[f"{name}.weight"]
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def _transformer(p: Tree, memory: Tree, data: Tree, row: Any) -> Any:
    (text,) = data
    places = row[:, None] + np.arange(CONTEXT)
    x = p["tokens.weight"][text[places]] + p["places.weight"]
    seen = np.tri(CONTEXT, dtype=bool)

    def heads(x: Any) -> Any:
        return x.reshape(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)

    for k in range(BLOCKS):
        own = f"blocks.{k}."
        normed = _normed(p, own + "norm1", x)
        q, key, v = (heads(_linear(p, f"{own}attention.{part}", normed)) for part in ("query", "key", "value"))
        scores = (q * np.float32((WIDTH // HEADS) ** -0.5)) @ key.swapaxes(-1, -2)
        mixed = nn.softmax(jnp.where(seen, scores, np.float32(-1e30))) @ v
        x = x + _linear(p, own + "attention.out", mixed.transpose(0, 2, 1, 3).reshape(x.shape))
        inner = nn.gelu(_linear(p, own + "widen", _normed(p, own + "norm2", x)), approximate=False)
        x = x + _linear(p, own + "narrow", inner)
    return _cross_entropy(_linear(p, "out", _normed(p, "norm", x)), text[places + 1]), memory


def _sgd(problem: Problem, p: Tree, g: Tree, memory: Tree) -> tuple[Tree, Tree]:
    return {k: p[k] - p[k].dtype.type(problem.rate) * g[k] for k in p}, memory


def _momentum(problem: Problem, p: Tree, g: Tree, memory: Tree) -> tuple[Tree, Tree]:
    v = {k: np.float32(0.9) * memory["v"][k] + g[k] for k in p}
    return {k: p[k] - np.float32(problem.rate) * v[k] for k in p}, {"v": v}


def _adam(problem: Problem, p: Tree, g: Tree, memory: Tree, decay: float = 0.0) -> tuple[Tree, Tree]:
    t, f = memory["t"] + 1, np.float32
    m = {k: memory["m"][k] + f(0.1) * (g[k] - memory["m"][k]) for k in p}
    v = {k: memory["v"][k] + f(0.001) * (g[k] * g[k] - memory["v"][k]) for k in p}
    root = jnp.sqrt(1 - 0.999**t)
    along, least = (problem.rate * root / (1 - 0.9**t)).astype(f), (1e-8 * root).astype(f)
    new = {k: p[k] - along * m[k] / (jnp.sqrt(v[k]) + least) - f(problem.rate * decay) * p[k] for k in p}
    return new, {"t": t, "m": m, "v": v}


def _adamw(problem: Problem, p: Tree, g: Tree, memory: Tree) -> tuple[Tree, Tree]:
    return _adam(problem, p, g, memory, 0.01)


LOSSES = {
    "xor": (_xor, _sgd),
    "moons": (_moons, _sgd),
    "digits": (_digits, _adam),
    "names": (_names, _sgd),
    "wide": (_wide, _momentum),
    "transformer": (_transformer, _adamw),
}


def contestants(problem: Problem) -> dict[str, Run]:
    """By name."""
    if problem.name == "through":
        return _through(problem)
    if problem.name == "nudge":
        return _nudge(problem)
    loss, update = LOSSES[problem.name]

    def step(state: Tree, data: Tree, row: Any) -> tuple[Tree, Any]:
        p, memory, norms = state
        (value, norms), g = jax.value_and_grad(loss, has_aux=True)(p, norms, data, row)
        p, memory = update(problem, p, g, memory)
        return (p, memory, norms), value

    start = {k: jnp.asarray(v) for k, v in problem.start.items()}
    memory: Tree = None
    if update is _momentum:
        memory = {"v": jax.tree.map(jnp.zeros_like, start)}
    elif update in (_adam, _adamw):
        memory = {"t": jnp.asarray(0), **{k: jax.tree.map(jnp.zeros_like, start) for k in ("m", "v")}}
    norms = {"mean": jnp.zeros(HIDDEN, "f4"), "var": jnp.ones(HIDDEN, "f4")} if problem.name == "names" else None
    return _runs(problem, step, (start, memory, norms))


def _runs(problem: Problem, step: Callable[..., tuple[Tree, Any]], start: Tree) -> dict[str, Run]:
    data = tuple(jnp.asarray(x) for x in problem.data)
    rows = jnp.zeros((1, 1), int) if problem.rows is None else jnp.asarray(problem.rows)
    alone = [jnp.asarray(row) for row in np.asarray(rows)]
    once = jax.jit(step)

    @jax.jit
    def many(n: Any, state: Tree, data: Tree, rows: Any) -> tuple[Tree, Any]:
        def turn(i: Any, carry: Tree) -> Tree:
            return step(carry[0], data, rows[i % len(rows)])

        return lax.fori_loop(0, n, turn, (state, jnp.zeros((), start[0][next(iter(problem.start))].dtype)))

    def per_step(n: int) -> list[Array]:
        state, value = start, None
        for i in range(n):
            state, value = once(state, data, alone[i % len(alone)])
        return gathered(state, value)

    def in_a_loop(n: int) -> list[Array]:
        return gathered(*many(n, start, data, rows))

    def gathered(state: Tree, value: Any) -> list[Array]:
        return [np.asarray(value), *(np.asarray(state[0][name]) for name in problem.start)]

    return {LOOP: in_a_loop, STEP: per_step}


def _nudge(problem: Problem) -> dict[str, Run]:
    up_and_down = np.concatenate([np.eye(9), -np.eye(9), np.zeros((1, 9))])

    def step(state: Tree, data: Tree, row: Any) -> tuple[Tree, Any]:
        x, signs = data
        theta = state[0]["theta"]
        nets = theta + up_and_down * (2.0**-26 * jnp.maximum(1.0, jnp.abs(theta)))
        pre = x @ nets[:, :4].reshape(19, 2, 2) + nets[:, None, 4:6]
        z = (nn.relu(pre) * nets[:, None, 6:8]).sum(-1) + nets[:, 8:]
        losses = nn.softplus(signs * z).mean(-1)
        slopes = (losses[:9] - losses[9:18]) / (jnp.diagonal(nets[:9]) - jnp.diagonal(nets[9:18]))
        return ({"theta": theta - problem.rate * slopes}, None, None), losses[18]

    start = {"theta": jnp.asarray(problem.start["theta"])}
    return _runs(problem, step, (start, None, None))


def _through(problem: Problem) -> dict[str, Run]:
    data = tuple(jnp.asarray(x) for x in problem.data)
    start = {k: jnp.asarray(v) for k, v in problem.start.items()}

    def final(rate: Any) -> Any:
        def turn(i: Any, p: Tree) -> Tree:
            g = jax.grad(_two_layers)(p, data, jnp.tanh)
            return {k: p[k] - rate * g[k] for k in p}

        return _two_layers(lax.fori_loop(0, problem.steps, turn, start), data, jnp.tanh)

    backward = jax.jit(jax.value_and_grad(final))
    forward = jax.jit(lambda rate: jax.jvp(final, (rate,), (1.0,)))

    def run(f: Callable[..., Any]) -> Run:
        def call(n: int) -> list[Array]:
            found: Any = None
            for _ in range(n):
                found = [np.asarray(x) for x in f(problem.rate)]
            return found  # type: ignore[no-any-return]

        return call

    return {"JAX, reverse": run(backward), "JAX, forward": run(forward)}
