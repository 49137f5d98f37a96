"""Whether a random graph gives the same compiled: values, derivatives, steps of learning, called in each way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

import backlit as bl
from backlit import optim
from backlit.core.errors import BacklitError, BroadcastWarning, GraphError
from tests.compiler.graphs import Graph
from tests.compiler.rounding import Rounded, difference

HOWS = ("values", "gradients", "second", "forward", "step", "each", "learn")
"""What is compared. Functions: values, first and second derivatives in reverse mode, values and first derivatives in
forward mode. Steps that assign variables: by plain calls and by `repeat`; by `each`; with an optimizer and its memory.
"""
TURNS = 3
FAINT = 2.0**-30
"""A gradient for what has no other: as small as eps, so that Adam divides by the root of next to nothing."""
OPTIMIZERS: list[Callable[[Any], Any]] = [
    lambda p: optim.SGD(p, lr=0.1),
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: optim.Adam(p, lr=0.01, eps=1e-3),
    lambda p: optim.AdamW(p, lr=0.01, eps=1e-3),
    lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    lambda p: optim.RMSprop(p, lr=0.01, eps=1e-3),
    lambda p: optim.Adagrad(p, lr=0.1, eps=1e-3),
    lambda p: optim.NAdam(p, lr=0.01),
    lambda p: optim.Adadelta(p, lr=0.1),
    lambda p: optim.Adafactor(p, lr=0.01),
    lambda p: optim.Lion(p, lr=0.01),
    lambda p: optim.Optimizer(
        p, lambda lr: optim.chain(optim.clip_by_norm(0.5), optim.sgd(lr), optim.ema(0.9)), lr=0.1
    ),
]


def reachable(graph: Graph, how: str) -> str:
    """What can be compared of this graph, if not that: forward mode where there is no reverse mode, and values of
    complex numbers, which have no derivatives.
    """
    if graph.is_complex and how in ("second", "forward"):
        return "values"
    return how if how == "values" or graph.is_reversible else "forward"


def check(graph: Graph, how: str) -> str:
    """Compiled against eager; what is wrong, in words, and empty if nothing is. how: one of `HOWS`."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", BroadcastWarning)
        if how in ("step", "each", "learn"):
            return _check_step(graph, how)
        return _check_function(graph, how)


def numbers(values: Sequence[Any]) -> list[Any]:
    return [np.array(v.data if isinstance(v, bl.Value) else v) for v in values]


def weighted(outputs: Sequence[Any]) -> Any:
    """A number that depends on all results that gradients can flow through."""
    total: Any = 0.0
    for y in outputs:
        if y.dtype.kind == "f":
            weights = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)
            total = total + bl.astype((y * weights).sum(), bl.float64)
    return total


def tamed(x: Any) -> Any:
    """Numbers that stay small from turn to turn."""
    return bl.tanh(x) if x.dtype.kind == "f" else x / (1 + bl.abs(x))


# -- functions ---------------------------------------------------------------------------------------------------


def runnable(graph: Graph, how: str) -> Callable[..., list[Any]]:
    """The function that is compared."""
    f = graph.function()
    wrt = graph.floats
    if how == "values" or not wrt:
        return f

    def loss(*xs: Any) -> Any:
        return weighted(f(*xs))

    def gradients(*xs: Any) -> list[Any]:
        value, grads = bl.value_and_grad(loss, wrt)(*xs)
        return [value, *grads]

    def second(*xs: Any) -> list[Any]:
        return list(bl.grad(lambda *ys: weighted(gradients(*ys)[1:]), wrt)(*xs))

    def forward(*xs: Any) -> list[Any]:
        def moving(*moved: Any) -> Any:
            every = list(xs)
            for k, x in zip(wrt, moved, strict=True):
                every[k] = x
            return [y for y in f(*every) if y.dtype.kind == "f"]

        tangents = tuple(np.cos(np.arange(x.size) + k).reshape(x.shape).astype(x.dtype) for k in wrt for x in [xs[k]])
        ys, ts = bl.jvp(moving, tuple(xs[k] for k in wrt), tangents)
        return [*ys, *ts]

    return {"gradients": gradients, "second": second, "forward": forward}[how]


def _check_function(graph: Graph, how: str) -> str:
    arrays = [leaf.numbers() for leaf in graph.leaves]

    def run(function: Callable[..., Any]) -> list[Any]:
        return numbers(function(*(bl.Value(x) for x in arrays)))

    function = runnable(graph, how)
    try:
        eager = run(function)
    except BacklitError:  # no gradient flows, for one
        if how == "values":
            raise
        return ""
    compiled = bl.compile(function)
    found = run(compiled)
    traced = compiled.entries[0].traced
    wrong = difference(eager, found, lambda seed: Rounded(traced, seed).call(arrays, {})[0])
    if not wrong:
        again = run(compiled)
        if not all(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc") for a, b in zip(found, again, strict=True)):
            wrong = "a second call gives other numbers"
    return wrong


# -- steps -------------------------------------------------------------------------------------------------------


class Step:
    """A step that assigns: a function of some of the graph's leaves, of which the others are variables or constants."""

    def __init__(self, graph: Graph, how: str) -> None:
        self.graph = graph
        self.function = graph.function()
        self.after = replace(graph, outputs=tuple(j for _, j in graph.assigned)).function()
        leaves = graph.leaves
        self.given = [k for k, leaf in enumerate(leaves) if how == "each" and (leaf.seed % 2 or k == len(leaves) - 1)]
        self.held: dict[int, Any] = {
            k: bl.Parameter(leaf.numbers()) if leaf.dtype.startswith("float") else bl.Buffer(leaf.numbers())
            for k, leaf in enumerate(leaves)
            if k not in self.given
        }
        self.assigned = {k: j for k, j in graph.assigned if k in self.held}
        self.parameters = [p for p in self.held.values() if isinstance(p, bl.Parameter)]
        self.learned = [p for k, p in self.held.items() if isinstance(p, bl.Parameter) and k not in self.assigned]
        self.optimizer: Any = None
        if how == "learn" and self.learned:
            self.optimizer = OPTIMIZERS[leaves[0].seed % len(OPTIMIZERS)](self.learned)
        self.variables = list(self.held.values())
        if self.optimizer is not None:
            self.variables = list(dict.fromkeys([*self.variables, *self.optimizer.variables().values()]))

    def __call__(self, *given: Any) -> Any:
        rows = iter(given)
        values = [self.held[k] if k in self.held else next(rows) for k in range(len(self.graph.leaves))]
        outputs = self.function(*values)
        loss = weighted(outputs)
        if self.optimizer is not None:  # each has a gradient then; zero and none are not the same to an optimizer
            loss = loss + weighted(self.learned) * FAINT
        with suppress(GraphError):  # no gradient may flow
            bl.asarray(loss).backward()
        with bl.no_grad():
            old = [v.data for v in values]
            places = [j for _, j in self.graph.assigned]
            after = dict(zip(places, self.after(*values), strict=True))
            for k, j in self.assigned.items():
                self.held[k].data = old[j] if j < len(old) else tamed(after[j])
        if self.optimizer is not None and any(p.grad is not None for p in self.learned):
            self.optimizer.step()
        with bl.no_grad():
            for p in self.learned if self.optimizer is None else []:
                if p.grad is not None:
                    p.data = p - 0.01 * bl.tanh(p.grad)
            for p in self.parameters:
                p.grad = None
        return [loss, *outputs]


def _check_step(graph: Graph, how: str) -> str:
    turns = 1 + graph.leaves[0].seed % 4 if how == "each" else TURNS
    rows: list[list[Any]] = [[] for _ in range(turns)]

    step = Step(graph, how)
    stacked = [graph.leaves[k].numbers(turns) for k in step.given]
    rows = [[bl.Value(x[k]) for x in stacked] for k in range(turns)]
    results = [numbers(step(*row)) for row in rows]
    last = [np.stack(column) for column in zip(*results, strict=True)] if how == "each" else results[-1]
    eager = [*last, *numbers(step.variables)]
    for called in ("each",) if how == "each" else ("repeat", "calls"):
        step = Step(graph, how)
        before = dict(zip(step.variables, numbers(step.variables), strict=True))
        compiled = bl.compile(step)
        if called == "each":
            outputs = compiled.each(*stacked)
        elif called == "repeat":
            outputs = compiled.repeat(turns)
        else:
            for _ in range(turns):
                outputs = compiled()
        found = numbers([*outputs, *step.variables])

        def rounded(seed: int, compiled: Any = compiled, step: Step = step, before: dict[Any, Any] = before) -> Any:
            return _rounded(Rounded(compiled.entries[0].traced, seed), step, stacked, before, turns)

        if wrong := difference(eager, found, rounded):
            return f"{called}: {wrong}"
    return ""


def _rounded(run: Rounded, step: Step, stacked: Sequence[Any], state: dict[Any, Any], turns: int) -> list[Any]:
    """All turns, each op rounded at random: the results (stacked if arguments are), and the variables at the end."""
    results = []
    for k in range(turns):
        found, state = run.call([x[k] for x in stacked], state)
        results.append(found)
    last = [np.stack(column) for column in zip(*results, strict=True)] if stacked else results[-1]
    return [*last, *(state[v] for v in step.variables)]
