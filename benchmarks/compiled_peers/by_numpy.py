"""The same nets in NumPy, derivatives by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.compiled_peers.problems import Array, Problem, Run

NAME = "NumPy by hand"


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))  # type: ignore[no-any-return]


def _xor(problem: Problem) -> Run:
    x, signs = problem.data

    def run(n: int) -> list[Array]:
        w1, b1, w2, b2 = problem.start.values()
        loss = b2
        for _ in range(n):
            pre = x @ w1 + b1
            h = np.maximum(pre, 0.0)
            s = signs * (h @ w2 + b2)
            loss = _softplus(s).mean()
            dz = 0.25 * signs / (1.0 + np.exp(-s))
            dpre = np.where(pre > 0.0, dz[:, None] * w2, 0.0)
            w2, b2 = w2 - problem.rate * (dz @ h), b2 - problem.rate * dz.sum()
            w1, b1 = w1 - problem.rate * (x.T @ dpre), b1 - problem.rate * dpre.sum(0)
        return [np.asarray(loss), w1, b1, w2, np.asarray(b2)]

    return run


def _nudge(problem: Problem) -> Run:
    x, signs = problem.data
    up_and_down = np.concatenate([np.eye(9), -np.eye(9), np.zeros((1, 9))])

    def run(n: int) -> list[Array]:
        (theta,) = problem.start.values()
        losses = theta
        for _ in range(n):
            nets = theta + up_and_down * (2.0**-26 * np.maximum(1.0, np.abs(theta)))
            pre = x @ nets[:, :4].reshape(19, 2, 2) + nets[:, None, 4:6]
            z = (np.maximum(pre, 0.0) @ nets[:, 6:8, None])[:, :, 0] + nets[:, 8:]
            losses = _softplus(signs * z).mean(-1)
            moved = nets[:9].diagonal() - nets[9:18].diagonal()
            theta = theta - problem.rate * (losses[:9] - losses[9:18]) / moved
        return [losses[-1], theta]

    return run


def _moons(problem: Problem) -> Run:
    x, y = problem.data
    shrink = 2 * problem.extra["alpha"]

    def run(n: int) -> list[Array]:
        w1, b1, w2, b2, w3, b3 = ps = list(problem.start.values())
        loss: Array = b3
        for _ in range(n):
            h1 = np.maximum(x @ w1 + b1, 0.0)
            h2 = np.maximum(h1 @ w2 + b2, 0.0)
            short = 1.0 - y * (h2 @ w3 + b3)[:, 0]
            loss = np.maximum(short, 0.0).mean() + problem.extra["alpha"] * sum((p * p).sum() for p in ps)
            ds = np.where(short > 0.0, -y / len(y), 0.0)[:, None]
            d2 = np.where(h2 > 0.0, ds @ w3.T, 0.0)
            d1 = np.where(h1 > 0.0, d2 @ w2.T, 0.0)
            slopes = [x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ ds, ds.sum(0)]
            ps = [p - problem.rate * (g + shrink * p) for p, g in zip(ps, slopes, strict=True)]
            w1, b1, w2, b2, w3, b3 = ps
        return [np.asarray(loss), *ps]

    return run


def contestants(problem: Problem) -> dict[str, Run]:
    """By name."""
    made = {"xor": _xor, "nudge": _nudge, "moons": _moons}.get(problem.name)
    return {} if made is None else {NAME: made(problem)}
