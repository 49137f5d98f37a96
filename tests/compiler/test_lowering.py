"""What an op says of how it is compiled: its `lower`, or that it cannot be; and derivatives by plain numbers."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler.ir import Graph
from backlit.compiler.lowering import rule_of
from backlit.compiler.scalars import FUNCTIONS
from backlit.core import lowering as protocol
from backlit.core.errors import GraphError
from backlit.core.op import Elementwise
from backlit.ops.accumulation import RECURRENCE
from backlit.ops.lowering import refused
from tests.test_op_table import ALL_OPS

NAMES = [op.name for op in ALL_OPS]


def test_an_op_without_a_rule_is_a_map_of_its_name() -> None:
    for op in ALL_OPS:
        if op.lower is None:
            assert isinstance(op, Elementwise), op
            assert op.name in FUNCTIONS, op


def test_an_elementwise_op_that_the_compiler_does_not_know_is_refused() -> None:
    unknown = Elementwise("no_such_function", np.exp, partials=(None,))
    assert rule_of(unknown) is refused


def test_the_graph_has_what_rules_are_told_of_it() -> None:
    told = {name: f for name, f in vars(protocol.Graph).items() if inspect.isfunction(f) and not name.startswith("_")}
    told.pop("origin", None)
    assert len(told) > 15
    for name, f in told.items():
        promised = list(inspect.signature(f).parameters.values())
        given = list(inspect.signature(getattr(Graph, name)).parameters.values())[: len(promised)]
        assert [p.name for p in given] == [p.name for p in promised], name
        assert [p.kind for p in given] == [p.kind for p in promised], name


def test_a_users_op_is_compiled_as_it_says() -> None:
    def lower(g: Any, result: Any, x: Any) -> Any:
        return g.map("multiply", x, g.map("multiply", x, x))

    cube = bl.op("cube", lambda x: x**3, partials=[lambda y, x: 3.0 * x * x], lower=lower)
    x = np.linspace(-1, 1, 7)
    np.testing.assert_allclose(bl.compile(cube)(x).data, x**3, rtol=1e-15, atol=1e-17)
    slope = bl.compile(bl.grad(lambda x: cube(x).sum()))
    np.testing.assert_allclose(slope(x).data, 3 * x * x, rtol=1e-14)


def test_a_users_op_that_does_not_say_how_is_refused_also_under_a_known_name() -> None:
    for name in ("mine", "tanh"):  # a name that the compiler knows means something else here
        op = bl.op(name, lambda x: x + 1, partials=[lambda y, x: 1.0])
        with pytest.raises(GraphError, match=rf"compile: {name} cannot be compiled yet: .*test_lowering\.py"):
            bl.compile(lambda x, op=op: op(x))(np.ones(3))


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda a: a[a > 0], r"x\[mask\] .*test_lowering\.py.*\n.*where\(mask, x, 0\)"),
        (lambda a: bl.nonzero(a), r"nonzero\(\) .*test_lowering\.py.*\n.*count_nonzero"),
    ],
)
def test_what_numbers_alone_can_tell_the_shape_of_says_what_has_a_fixed_one(f: Any, text: str) -> None:
    with pytest.raises(bl.TracedValueError, match=text):
        bl.compile(f)(np.ones(3))


PLAIN = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    "f",
    [
        bl.grad(lambda x: x * x * bl.sin(x)),
        bl.grad(bl.grad(lambda x: x**3)),
        lambda x: bl.grad(lambda y: y * y * x)(3.0),
        lambda x: bl.grad(lambda y: (bl.sin(y) * y).sum() * x)(PLAIN),
        lambda x: bl.hessian(lambda y: (bl.sin(y) * y).sum() * x)(PLAIN),
        lambda x: bl.jvp(lambda y: (bl.sin(y) * y).sum() * x, (PLAIN,), (np.array([1.0, 0.5]),))[1],
        lambda x: bl.scan(lambda c, t: (c + bl.grad(lambda y: y * y * t)(x), None), 0.0, PLAIN)[0],
        lambda x: bl.grad(lambda p: p["a"] * p["b"] * x)({"a": 2.0, "b": 3.0})["a"],
    ],
)
@pytest.mark.parametrize("x", [0.7, np.float64(0.7)])
def test_derivatives_by_plain_numbers_are_not_lost(f: Any, x: Any) -> None:
    np.testing.assert_allclose(bl.compile(f)(x).data, f(x).data, rtol=1e-12)
    assert np.any(f(x).data)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("factors", [[np.inf, 2.0, 3.0], [np.nan, 0.5, np.inf], [-1.0]])
def test_the_first_of_a_recurrence_is_its_term_whatever_the_factor(factors: list[float], reverse: bool) -> None:
    terms = np.array([-0.0, 2.0, 5.0][: len(factors)])
    f = lambda a, b: RECURRENCE(a, b, axis=0, reverse=reverse)  # noqa: E731
    got, wanted = bl.compile(f)(np.array(factors), terms).data, f(bl.Value(factors), bl.Value(terms)).data
    assert np.array_equal(got, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(got), np.signbit(wanted))


def test_a_product_is_the_same_with_its_factors_exchanged() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 33, 7))
    compiled = bl.compile(lambda a, b: (a * b - b * a, (a + b) * 3.0 - 3.0 * (b + a)))
    for got in compiled(a, b):
        assert not got.data.any(), "and not what one of them lost when it was rounded"
