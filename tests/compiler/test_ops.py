"""Compiled = eager, for every op in the table: values and gradients, in straight lines and in loops."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backlit.autodiff.reverse import pull_back
from backlit.autodiff.verify import draw, samples_of
from backlit.compiler import straight
from backlit.compiler.compile import compile
from backlit.compiler.lowering import rule_of
from backlit.core import dtypes
from backlit.core.op import Op
from backlit.core.record import record
from backlit.core.value import INACTIVE, Value, current, leaf
from backlit.ops.lowering import refused
from tests.test_op_table import ALL_OPS

NOT_COMPILED = {"nextafter": "has no use in a graph", "nonzero": "its shape depends on numbers"}
COMPILED = [op for op in ALL_OPS if op.name not in NOT_COMPILED]
# In units in the last place of the largest number: a function within 2 of them, sums in another order, fused steps.
TOLERANCE = 64


def inputs_of(op: Op, seed: int) -> list[tuple[Any, list[Any]]]:
    """Attributes and arrays for each sample of an op, in both precisions."""
    rng = np.random.default_rng(seed)
    found = []
    for sample in samples_of(op):
        for name in ("float32", "float64"):
            domains = sample.domains or op.domains
            domains = (*domains, *[domains[-1]] * (len(sample.shapes) - len(domains)))
            datas = [draw(d, s, dtypes.ALL[name], rng) for d, s in zip(domains, sample.shapes, strict=False)]
            found.append((sample.attrs, datas))
    return found


def with_gradients(op: Op, cases: list[tuple[Any, list[Any]]]) -> Callable[..., Any]:
    """The function that gives, for each case, the result and the gradients of its sum with fixed weights."""

    def function(*groups: Any) -> list[Any]:
        results: list[Any] = []
        for (attrs, _), given in zip(cases, groups, strict=True):
            nodes = tuple(current(x) for x in given)
            y = record(op, nodes, attrs)
            results.append(y)
            wrt = [x for i, x in enumerate(nodes) if x._grad is not INACTIVE and op.rule(i) is not None]
            if y._grad is INACTIVE or not wrt:
                continue
            weights = np.cos(np.arange(max(y.size, 1)))[: y.size].reshape(y.shape).astype(y.dtype)
            seed = Value(weights if y.shape else weights[()], dtype=y.dtype)
            results += [ct for ct in pull_back([y], [seed], wrt) if ct is not None]
        return results

    return function


def assert_close(eager: Any, compiled: Any, what: str) -> None:
    a, b = np.asarray(eager.data), np.asarray(compiled.data)
    assert a.shape == b.shape, what
    assert eager.dtype == compiled.dtype, what
    if a.dtype.kind != "f":
        assert np.array_equal(a, b), f"{what}: {a} {b}"
        return
    scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
    unit = float(np.finfo(a.dtype).eps) * max(scale, float(np.finfo(a.dtype).tiny))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        near = np.abs(a.astype(np.float64) - b) <= TOLERANCE * unit
    assert bool(np.all(same | near)), f"{what}: {a} {b}"


@pytest.mark.parametrize("how", ["straight", "loops"])
@pytest.mark.parametrize("op", COMPILED, ids=str)
def test_a_compiled_op_gives_what_it_gives(op: Op, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "loops":
        monkeypatch.setattr(straight, "LIMIT", -1)
    cases = inputs_of(op, 0)
    function = with_gradients(op, cases)
    groups = [tuple(leaf(x) for x in datas) for _, datas in cases]
    eager, compiled = function(*groups), compile(function)(*groups)
    assert len(eager) == len(compiled)
    for k, (a, b) in enumerate(zip(eager, compiled, strict=True)):
        assert_close(a, b, f"{op.name}, result {k}")


def test_every_op_can_be_compiled_or_says_why_not() -> None:
    assert {op.name for op in ALL_OPS if rule_of(op) is refused} == set(NOT_COMPILED)
    assert math.isfinite(TOLERANCE)
