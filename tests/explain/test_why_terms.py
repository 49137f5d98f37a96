"""The sum of all terms is the gradient: for every op of the table, for users' own ops, and on random graphs."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
import backlit.ops
from backlit.autodiff.verify import draw, samples_of
from backlit.core import dtypes
from backlit.core.op import Op
from backlit.core.record import record
from backlit.core.value import Value, leaf
from backlit.explain.blocks import _of_matrix_product, basis_tangent, hops
from backlit.explain.flow import Flow, has_rule
from backlit.explain.why import why


def all_ops() -> list[Op]:
    found: dict[str, Op] = {}
    for info in pkgutil.iter_modules(backlit.ops.__path__):
        for attribute in vars(import_module(f"backlit.ops.{info.name}")).values():
            if isinstance(attribute, Op):
                found[attribute.name] = attribute
    return [op for _, op in sorted(found.items()) if op.differentiable]


def weighted(y: Value, rng: np.random.Generator) -> Value:
    """A scalar in which each element of `y` has a weight of its own."""
    return bl.sum(y * bl.asarray(rng.uniform(0.5, 1.5, y.shape) * np.where(rng.random(y.shape) < 0.5, -1, 1)))


def check_sum(x: Value, of: Value, index: tuple[int, ...], tolerance: float = 1e-10) -> None:
    """All terms listed and the rest give the gradient, as do a few terms and the rest."""
    of.backward()
    expected = float(np.asarray(x.grad)[index]) if x.grad is not None else 0.0
    for top in (2, 10_000):
        answer = why(x, of=of, index=index or None, top=top)
        assert answer.gradient == pytest.approx(expected, rel=tolerance, abs=tolerance)
        if answer.sum is None:
            continue
        listed = sum(term.value for term in answer.sum.terms) + answer.sum.rest
        assert listed == pytest.approx(expected, rel=tolerance, abs=tolerance * max(1.0, answer.sum.size))
        assert answer.sum.total == pytest.approx(listed, abs=tolerance * max(1.0, answer.sum.size))


@pytest.mark.parametrize("op", all_ops(), ids=str)
def test_terms_of_every_op_add_up_to_the_gradient(op: Op) -> None:
    rng = np.random.default_rng(0)
    for sample in samples_of(op):
        domains = sample.domains or op.domains
        domains = (*domains, *[domains[-1]] * (len(sample.shapes) - len(domains)))
        nodes = tuple(leaf(draw(d, s, np.dtype("float64"), rng)) for d, s in zip(domains, sample.shapes, strict=False))
        y = record(op, nodes, sample.attrs)
        if not dtypes.is_real(y.dtype) or not y.size:
            continue
        loss = weighted(y, rng)
        for i, x in enumerate(nodes):
            if not dtypes.is_real(x.dtype) or not x.size or not has_rule(y, i):
                continue
            loss.backward()
            for flat in {0, x.size // 2, x.size - 1}:
                index = tuple(int(k) for k in np.unravel_index(flat, x.shape))
                expected = float(np.asarray(x.grad)[index])
                found = hops(Flow(loss, 1.0, [x]), x, index)
                total = sum(float(hop.products.sum()) for hop in found)
                assert total == pytest.approx(expected, rel=1e-9, abs=1e-9), (sample, i, index)
                check_sum(x, loss, index, 1e-8)
            x.zero_grad()


def test_terms_of_an_op_of_ones_own_add_up() -> None:
    cubed = bl.op("cubed", lambda x: x**3, partials=[lambda y, x: 3 * x * x])
    x = Value(np.array([1.0, 2.0]), name="x")
    loss = (cubed(x) * x).sum()
    answer = why(x, of=loss, index=1)
    assert answer.gradient == pytest.approx(32.0)
    assert [term.value for term in answer.sum.terms] == pytest.approx([24.0, 8.0])
    assert answer.sum.terms[0].local == pytest.approx(12.0)


def test_terms_of_a_function_with_its_own_derivative_add_up() -> None:
    @bl.custom_derivative
    def f(x: Value) -> Value:
        return (x * x).sum()

    f.def_vjp(lambda x: (f(x), x), lambda x, ct: (2.0 * x * ct,))
    x = Value(np.array([1.0, 2.0]), name="x")
    loss = f(x) * 3.0
    assert why(x, of=loss, index=1).gradient == pytest.approx(12.0)


# -- random graphs -------------------------------------------------------------------------------------------

UNARY = {
    "tanh": bl.tanh,
    "relu": bl.relu,
    "sigmoid": bl.sigmoid,
    "square": bl.square,
    "sin": bl.sin,
    "softmax": lambda x: bl.softmax(x, axis=-1),
    "log_softmax": lambda x: bl.log_softmax(x, axis=-1),
    "transposed": lambda x: bl.matrix_transpose(x),
    "rows": lambda x: x[::-1],
    "taken": lambda x: x[[0, 0, 2]],
    "centred": lambda x: x - bl.mean(x, axis=0, keepdims=True),
    "scaled": lambda x: x / (1.0 + bl.std(x)),
    "where": lambda x: bl.where(x > 0, x * 2.0, bl.sin(x)),
    "clip": lambda x: bl.clip(x, -0.5, 0.5),
    "cumulative": lambda x: bl.cumulative_sum(x, axis=1),
    "max": lambda x: x - bl.max(x, axis=1, keepdims=True),
    "rolled": lambda x: bl.roll(x, 1, axis=0),
    "stopped": lambda x: x * bl.stop_gradient(bl.tanh(x)),
}
BINARY = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "matmul": lambda a, b: a @ b * 0.3,
    "row": lambda a, b: a * b[0],
    "column": lambda a, b: a - b[:, :1],
    "maximum": bl.maximum,
    "halves": lambda a, b: bl.concat([a[:1], b[1:]], axis=0),
}


@st.composite
def graphs(draw: Any) -> tuple[list[Value], Value]:
    """Leaves of shape (3, 3) and a scalar computed from them by up to eight random steps, some within scopes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    leaves = [Value(rng.normal(size=(3, 3)), name=f"x{i}") for i in range(draw(st.integers(1, 3)))]
    nodes: list[Value] = list(leaves)
    for _ in range(draw(st.integers(1, 8))):
        one, other = (nodes[draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        name = draw(st.sampled_from([*UNARY, *BINARY]))
        if draw(st.booleans()):
            with bl.scope("part"):
                nodes.append(_step(name, one, other))
                if draw(st.booleans()):
                    nodes.append(bl.tanh(nodes[-1]) + one)
        else:
            nodes.append(_step(name, one, other))
    loss = weighted(nodes[-1], rng) + (weighted(nodes[-2], rng) if draw(st.booleans()) else 0.0)
    return leaves, loss


def _step(name: str, one: Value, other: Value) -> Value:
    return UNARY[name](one) if name in UNARY else BINARY[name](one, other)


@settings(max_examples=120, deadline=None)
@given(graphs(), st.booleans(), st.integers(0, 8))
def test_terms_add_up_on_random_graphs(graph: tuple[list[Value], Value], opened: bool, flat: int) -> None:
    leaves, loss = graph
    loss.backward()
    index = (flat // 3, flat % 3)
    for x in leaves:
        answer = why(x, of=loss, index=index, top=3, open=opened)
        if x.grad is None:
            assert answer.state == "none"
            continue
        expected = float(x.grad[index])
        assert answer.gradient == pytest.approx(expected, rel=1e-9, abs=1e-12)
        for _ in range(20):  # follow the largest term to the end
            if answer.sum is None:
                break
            total = sum(term.value for term in answer.sum.terms) + answer.sum.rest
            assert total == pytest.approx(answer.gradient, rel=1e-8, abs=1e-9 * max(1.0, answer.sum.size))
            for term in answer.sum.terms:
                assert term.value == pytest.approx(term.cotangent * term.local, rel=1e-9, abs=1e-300)
                assert answer.follow(term.number).gradient == pytest.approx(term.cotangent, rel=1e-9, abs=1e-12)
            answer = answer.follow(1)


# -- details -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", [0, 1])
def test_fast_path_of_matrix_products_equals_the_plain_one(argument: int) -> None:
    rng = np.random.default_rng(1)
    a, b = Value(rng.normal(size=(4, 3))), Value(rng.normal(size=(3, 5)))
    a.data = np.where(rng.random((4, 3)) < 0.3, 0.0, a.data)
    product = a @ b
    for index in np.ndindex((a, b)[argument].shape):
        fast = _of_matrix_product(product, argument, index)
        assert fast is not None
        plain = basis_tangent(product, argument, index)
        dense = np.zeros(plain.shape)
        dense[fast[0]] = fast[1]
        np.testing.assert_array_equal(dense, plain)


def test_terms_name_the_operand_that_a_local_derivative_is() -> None:
    rng = np.random.default_rng(0)
    x = bl.asarray(rng.normal(size=(4, 3)))
    x.name = "x"
    w = Value(rng.normal(size=(3, 2)), name="w")
    for y in (x @ w, bl.einsum("ij,jk->ik", x, w)):
        answer = why(w, of=y.sum(), index=(2, 1))
        for term in answer.sum.terms:
            row = term.index[0]
            assert term.reads == f"x[{row}, 2]"
            assert term.local == x.data[row, 2]


def test_uses_at_several_time_steps_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    xs, w = rng.normal(size=(6, 4, 2)), Value(rng.normal(size=(2, 2)) * 0.7, name="w")
    h = bl.zeros((4, 2))
    for t in range(6):
        h = bl.tanh(xs[t] + h @ w)
    answer = why(w, of=(h * h).sum(), index=(0, 1))
    steps = [group for group in answer.sum.groups if group.by == "use"]
    assert len(steps) == 5  # h is zero in the first
    assert steps[0].label == "(h @ w)#6 (time 6 of 6)"
    assert sum(group.value for group in steps) == pytest.approx(answer.gradient)


def test_infinities_that_other_elements_meet_do_not_spoil_the_terms() -> None:
    x = Value(np.array([1.0, 2.0]), name="x")
    loss = bl.sum(bl.stack([x, x]).mT @ bl.asarray([[1.0, 2.0], [3.0, 4.0]]) * bl.asarray([[1.0, 1.0], [np.inf, 0.0]]))
    answer = why(x, of=loss, index=0)
    assert answer.gradient == pytest.approx(10.0)


def test_composites_fold_and_open() -> None:
    z = Value(np.array([[1.0, 2.0, 0.5]]), name="z")
    loss = (bl.softmax(z) * np.array([[1.0, -2.0, 3.0]])).sum()
    folded = why(z, of=loss, index=(0, 1))
    assert {term.name for term in folded.sum.terms} == {"bl.softmax(z)"}
    opened = folded.opened()
    assert any("in softmax" in line.left for line in opened.lines)
    assert opened.gradient == folded.gradient


def test_the_rest_is_what_the_others_add_up_to() -> None:
    x = Value(np.arange(1.0, 11.0), name="x")
    b = Value(2.0, name="b")
    answer = why(b, of=(x * b).sum(), top=3)
    assert [term.value for term in answer.sum.terms] == [10.0, 9.0, 8.0]
    assert answer.sum.rest == 28.0
    assert answer.sum.count == 10
    assert answer.sum.terms[0].share == pytest.approx(10 / 55)
