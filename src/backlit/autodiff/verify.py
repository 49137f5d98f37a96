"""The check of one op's record against itself, for built-in ops and users' own alike.

Reverse and forward mode share one rule, so that they agree judges the engine; nudging judges the rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.forward import push_forward
from backlit.autodiff.reverse import pull_back
from backlit.core import dtypes
from backlit.core.notation import ATOM, write_latex, write_text
from backlit.core.numbers import Abstract, dtype_of, quietly, shape_of, stored
from backlit.core.op import Booleans, Domain, Elementwise, Integers, Op, Reals, Sample
from backlit.core.record import record
from backlit.core.value import Value, leaf
from backlit.ops.custom import CustomOp

TOLERANCE = {"float64": 1e-6, "float32": 2e-3}
"""Relative error allowed between a rule and nudging: about the cube root of the rounding error, squared, with a
margin. Agreement of two modes is held to far less: `_EXACT`."""
_EXACT = {"float64": 1e-9, "float32": 1e-4}
_BROADCASTS: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((), ()),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((2, 1), (1, 4)),
    ((0, 3), (3,)),
    ((2, 3), ()),
)


def samples_of(op: Op) -> list[Sample]:
    """The ways in which an op can be tried: those it names, or for an elementwise op several that broadcast."""
    if op.samples:
        return list(op.samples)
    count = len(op.domains)
    if count == 1:
        return [Sample((shape,)) for shape in ((), (4,), (2, 3), (0,), (1, 1))]
    return [Sample((pair[0], *[pair[1]] * (count - 1))) for pair in _BROADCASTS]


def draw(domain: Domain, shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    """Stored data from a domain, away from the points to avoid."""
    if isinstance(domain, Booleans):
        return stored(rng.random(shape) < 0.5)
    if isinstance(domain, Integers):
        return stored(rng.integers(domain.low, domain.high + 1, shape))
    assert isinstance(domain, Reals)
    x = np.asarray(rng.uniform(domain.low, domain.high, shape))
    for point in domain.avoid:
        near = np.abs(x - point) < 0.1
        x = np.where(near, point + np.where(x < point, -0.15, 0.15), x)
    return stored(x.astype(dtype))


def check_op(op: Op | CustomOp, seed: int = 0, names: Sequence[str] = ("float64", "float32")) -> list[str]:
    """What is wrong with an op's record, in words; an empty list if nothing is.

    For each of its samples: the shape rule against the forward rule; reverse mode against forward mode; both against
    nudging; the same for second derivatives; and the plain sweep of `backward()` against the graph.

    >>> from backlit.ops.custom import op
    >>> check_op(op("double", lambda x: 2 * x, partials=[lambda y, x: 2.0]))
    []
    >>> check_op(op("double", lambda x: 2 * x, partials=[lambda y, x: 2.02]))[0][:46]
    'double float64 (): the tangent differs from nu'
    """
    record_of = op.record if isinstance(op, CustomOp) else op
    rng = np.random.default_rng(seed)
    problems: list[str] = []
    for sample in samples_of(record_of):
        for name in names:
            problems += [
                f"{record_of.name} {name} {', '.join(map(str, sample.shapes))}{dict(sample.attrs) or ''}: {text}"
                for text in _problems(record_of, sample, name, rng)
            ]
    return problems


def _problems(op: Op, sample: Sample, name: str, rng: np.random.Generator) -> Iterator[str]:
    dtype = dtypes.ALL[name]
    domains = sample.domains or op.domains
    domains = (*domains, *[domains[-1]] * (len(sample.shapes) - len(domains)))
    datas = [draw(d, shape, dtype, rng) for d, shape in zip(domains, sample.shapes, strict=False)]
    nodes = tuple(leaf(data) for data in datas)
    y = record(op, nodes, sample.attrs)
    yield from _inference(op, y, datas, sample.attrs)
    operands = [(f"x{i}", ATOM) for i in range(len(datas))]
    assert op.notation is not None
    if (
        not write_text(op.notation, operands, sample.attrs)[0]
        or not write_latex(op.notation, operands, sample.attrs)[0]
    ):
        yield "it has no notation"
    if not op.differentiable or not dtypes.is_real(y.dtype):
        return
    varying = [i for i, x in enumerate(nodes) if dtypes.is_real(x.dtype) and op.rule(i) is not None]
    if not varying:
        return
    yield from _first_order(op, sample, name, nodes, y, varying, rng)
    if name == "float64":
        yield from _second_order(op, sample, nodes, varying, rng)


def _inference(op: Op, y: Value, datas: Sequence[Any], attrs: Any) -> Iterator[str]:
    if op.shape is None and not isinstance(op, Elementwise) and op.differentiable:
        yield "it has no shape rule"
        return
    found = op.infer([Abstract(shape_of(x), dtype_of(x)) for x in datas], attrs)
    if found.shape != y.shape or found.dtype != y.dtype:
        yield f"the shape rule says {found!r}, and the result is {Abstract(y.shape, y.dtype)!r}"


def _random(like: Value, rng: np.random.Generator) -> Any:
    return stored(rng.standard_normal(like.shape).astype(like.dtype))


def _inner(a: Sequence[Any], b: Sequence[Any]) -> float:
    return float(sum(np.sum(np.asarray(x, np.float64) * np.asarray(y, np.float64)) for x, y in zip(a, b, strict=True)))


def _far(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two numbers or arrays differ by more than a tolerance relative to the larger of them and 1."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
    return a.shape != b.shape or bool(np.any(~(np.abs(a - b) <= tolerance * scale)))


def _first_order(
    op: Op,
    sample: Sample,
    name: str,
    nodes: tuple[Value, ...],
    y: Value,
    varying: list[int],
    rng: np.random.Generator,
) -> Iterator[str]:
    sources = [nodes[i] for i in varying]
    ts = [_random(x, rng) for x in sources]
    ct = _random(y, rng)
    (t_out,) = push_forward([y], sources, [leaf(t) for t in ts])
    pulled = pull_back([y], [leaf(ct)], sources)
    if t_out is None or any(p is None for p in pulled):
        yield "no tangent or no cotangent came out"
        return
    for x, p in zip(sources, pulled, strict=True):
        assert p is not None
        if p.shape != x.shape or p.dtype != x.dtype:
            yield f"the cotangent of an input {Abstract(x.shape, x.dtype)!r} is {Abstract(p.shape, p.dtype)!r}"
            return
    if t_out.shape != y.shape or t_out.dtype != y.dtype:
        yield f"the tangent of a result {Abstract(y.shape, y.dtype)!r} is {Abstract(t_out.shape, t_out.dtype)!r}"
        return
    forward, reverse = _inner([ct], [t_out._data]), _inner([p._data for p in pulled if p is not None], ts)
    if _far(forward, reverse, _EXACT[name] * max(1.0, y.size)):
        yield f"reverse mode gives {reverse!r} along a direction, and forward mode {forward!r}"
    if name == "float64":
        nudged = _nudged(op, sample, nodes, varying, ts)
        if _far(t_out._data, nudged, TOLERANCE[name]):
            yield f"the tangent differs from nudging: {_worst(t_out._data, nudged)}"
    if y.size:
        y.backward(ct)
        for x, p in zip(sources, pulled, strict=True):
            assert p is not None
            if x.grad is None or _far(x.grad, p._data, _EXACT[name]):
                yield f"backward() gives {x.grad!r}, and the backward graph {p._data!r}"


def _nudged(op: Op, sample: Sample, nodes: Sequence[Value], varying: list[int], ts: list[Any]) -> Any:
    """The directional derivative by central differences, extrapolated once."""

    def at(h: float) -> Any:
        moved = [x._data for x in nodes]
        for i, t in zip(varying, ts, strict=True):
            moved[i] = stored(np.asarray(moved[i]) + h * np.asarray(t))
        return np.asarray(quietly(op.compute, moved, sample.attrs), np.float64)

    def central(h: float) -> Any:
        return (at(h) - at(-h)) / (2 * h)

    return (4 * central(1e-4) - central(2e-4)) / 3


def _worst(a: Any, b: Any) -> str:
    a, b = np.atleast_1d(np.asarray(a, np.float64)), np.atleast_1d(np.asarray(b, np.float64))
    i = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(a - b), nan=np.inf))), a.shape)
    return f"{a[i]:.10g} against {b[i]:.10g}"


def _second_order(
    op: Op, sample: Sample, nodes: tuple[Value, ...], varying: list[int], rng: np.random.Generator
) -> Iterator[str]:
    sources = [nodes[i] for i in varying]
    ts = [_random(x, rng) for x in sources]
    y = record(op, nodes, sample.attrs)
    ct = leaf(_random(y, rng))
    gradients = [p for p in pull_back([y], [ct], sources) if p is not None]
    pushed = push_forward(gradients, sources, [leaf(t) for t in ts])
    h = 1e-5

    def gradient_at(step: float) -> list[Any]:
        moved = list(nodes)
        for i, t in zip(varying, ts, strict=True):
            moved[i] = leaf(stored(np.asarray(nodes[i]._data) + step * np.asarray(t)))
        out = record(op, tuple(moved), sample.attrs)
        return [p._data for p in pull_back([out], [ct], [moved[i] for i in varying]) if p is not None]

    for now, plus, minus in zip(pushed, gradient_at(h), gradient_at(-h), strict=True):
        nudged = (np.asarray(plus) - np.asarray(minus)) / (2 * h)
        second = np.zeros(nudged.shape) if now is None else now._data
        if _far(second, nudged, 1e-4):
            yield f"the second derivative differs from nudging the first: {_worst(second, nudged)}"
    if any(g._grad is None for g in gradients) and all(p is not None for p in pushed):
        weights = [leaf(_random(g, rng)) for g in gradients]
        twice = pull_back(gradients, weights, sources)
        forward = _inner([w._data for w in weights], [p._data for p in pushed if p is not None])
        reverse = _inner(
            [p._data for p in twice if p is not None],
            [t for p, t in zip(twice, ts, strict=True) if p is not None],
        )
        if _far(forward, reverse, 1e-8 * max(1.0, y.size)):
            yield f"second derivatives: reverse over reverse gives {reverse!r}, forward over reverse {forward!r}"
