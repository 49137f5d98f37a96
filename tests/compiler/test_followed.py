"""Loops that take over the tiles of a product: right, wherever they may, and only there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import blocks

RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand on the tiles of small products, too."""
    monkeypatch.setattr(blocks, "NEAR", 0)


def kinds(compiled: Any) -> list[str]:
    (report,) = compiled.explain().reports
    return [row.kind for row in report.rows]


def equal(f: Callable[..., Any], *args: Any, tolerance: float = 1e-12) -> Any:
    compiled = bl.compile(f)
    for got, wanted in zip(bl.core.trees.flatten(compiled(*args))[0], bl.core.trees.flatten(f(*args))[0], strict=True):
        np.testing.assert_allclose(np.asarray(got.data), np.asarray(wanted.data), rtol=tolerance, atol=tolerance)
    return compiled


def normal(*shape: int, dtype: str = "float64") -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("m", [13, 33, 100])
@pytest.mark.parametrize("n", [16, 48, 160])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_is_one_kernel(m: int, n: int, dtype: str) -> None:
    x, w, b = normal(m, 20, dtype=dtype), normal(20, n, dtype=dtype), normal(n, dtype=dtype)
    found = equal(lambda x, w, b: bl.tanh(x @ w + b), x, w, b, tolerance=1e-5 if dtype == "float32" else 1e-12)
    assert kinds(found) == ["tiles"]


def test_only_what_would_not_stay_near_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    layer = lambda x, w: bl.tanh(x @ w)  # noqa: E731
    assert kinds(equal(layer, normal(32, 64), normal(64, 128))) == ["matmul", "elementwise"]
    assert kinds(equal(layer, normal(256, 64), normal(64, 128))) == ["tiles"]


def test_columns_that_are_no_whole_vectors_are_computed_apart() -> None:
    found = equal(lambda x, w: bl.tanh(x @ w), normal(12, 20), normal(20, 13))
    assert kinds(found) == ["matmul", "elementwise"]


def test_leading_axes_are_rows() -> None:
    found = equal(lambda x, w, b: bl.relu(x.reshape(24, 10) @ w + b).reshape(4, 6, 32) * 2, normal(4, 6, 10),
                  normal(10, 32), normal(32))  # fmt: skip
    assert "tiles" in kinds(found)
    found = equal(lambda x, w, y: (x.reshape(24, 10) @ w).reshape(4, 6, 32) * y, normal(4, 6, 10), normal(10, 32),
                  normal(6, 32))  # fmt: skip
    assert kinds(found) == ["matmul", "elementwise"]  # the other factor does not go row by row


def test_turned_or_shifted_products_are_computed_apart() -> None:
    assert kinds(equal(lambda x, w: (x @ w).T + 1, normal(32, 20), normal(20, 32))) == ["matmul", "elementwise"]
    f = lambda x, w: (lambda p: p[1:] * p[:-1])(x @ w)  # noqa: E731
    assert kinds(equal(f, normal(33, 20), normal(20, 32))) == ["matmul", "elementwise"]
    assert "tiles" not in kinds(equal(lambda x, w: (lambda p: p + p.T)(x @ w), normal(32, 20), normal(20, 32)))


def test_a_product_that_others_read_is_kept() -> None:
    def f(x: Any, w: Any) -> Any:
        product = x @ w
        return bl.tanh(product), product.sum(axis=0)

    assert "tiles" not in kinds(equal(f, normal(12, 20), normal(20, 32)))
    assert kinds(equal(lambda x, w: (x @ w, bl.tanh(x @ w)), normal(12, 20), normal(20, 32)))[0] == "matmul"


def test_two_products_of_one_sum() -> None:
    found = equal(lambda a, b, c, d: bl.exp(-bl.abs(a @ b + c @ d)), normal(9, 20), normal(20, 32), normal(9, 5),
                  normal(5, 32))  # fmt: skip
    assert sorted(kinds(found)) == ["matmul", "tiles"]


def test_long_sums_wait_in_memory() -> None:
    equal(lambda x, w, b: bl.tanh((x @ w) * 0.01 + b), normal(128, 900), normal(900, 128), normal(128))
    equal(lambda x, w, b: bl.tanh((x @ w) * 0.01 + b), normal(512, 784), normal(784, 512), normal(512))


def test_a_state_is_not_overwritten_while_its_product_is_computed() -> None:
    start = normal(32, 32) * 0.1
    state, other = bl.Buffer(start), bl.Buffer(start)

    def squared(w: Any) -> None:
        w.data = (w @ w) * 0.5 + w

    bl.compile(lambda: squared(state)).repeat(5)
    for _ in range(5):
        squared(other)
    np.testing.assert_allclose(state.data, other.data, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_gradient_is_spent_on_the_update_at_once(optimizer: str) -> None:
    x = normal(24, 40)

    def learned(compiles: bool) -> tuple[Any, Any]:
        model = bl.nn.MLP(40, [64, 32], "tanh", key=0, dtype="float64")
        options = {"lr": 0.01, "momentum": 0.9} if optimizer == "SGD" else {"lr": 0.01}
        rule = getattr(bl.optim, optimizer)(model.parameters(), **options)

        def step(x: Any) -> Any:
            loss = (model(x) ** 2).mean()
            loss.backward()
            rule.step()
            rule.zero_grad()
            return loss

        run = bl.compile(step) if compiles else step
        for _ in range(4):
            run(x)
        return model, run

    model, run = learned(True)
    plain, _ = learned(False)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-9, atol=1e-12)
    assert kinds(run).count("tiles") == 4  # the first layer, two updates, and the gradient that passes tanh


def overwritten(step: Callable[[Any], None], x: Any) -> list[Any]:
    """The shapes of what the loops around a step compute, in the order in which they do."""
    run = bl.compile(step)
    run.each(np.stack([x, x]))
    return [note.nodes[0].shape for note in run.entries[0].program.notes if note.kind in ("tiles", "elementwise")]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_weights_are_overwritten_as_soon_as_all_have_read_them(optimizer: str) -> None:
    model = bl.nn.MLP(48, [80, 64, 32], "tanh", key=0, dtype="float64")
    rule = getattr(bl.optim, optimizer)(model.parameters(), lr=0.01)

    def step(x: Any) -> None:
        (model(x) ** 2).mean().backward()
        rule.step()
        rule.zero_grad()

    found = [shape for shape in overwritten(step, normal(24, 48)) if len(shape) == 2]
    # The product that passes a gradient on is the last that reads a layer's weights; the first layer has none.
    assert found[-5:] == [(24, 64), (64, 32), (24, 80), (80, 64), (48, 80)]


def test_where_all_weights_wait_for_the_last_gradient_those_read_last_are_overwritten_first() -> None:
    weights = [bl.Parameter(normal(*shape) * 0.1) for shape in ((48, 80), (80, 64), (64, 32))]

    def step(x: Any) -> None:
        for w in weights:
            x = bl.tanh(x @ w)
        (x**2).sum().backward()
        with bl.no_grad():
            norm = sum(((w.grad**2).sum() for w in weights), start=1.0)
            for w in weights:
                w.data = w - w.grad / norm
                w.grad = None

    assert overwritten(step, normal(24, 48))[-3:] == [(80, 64), (64, 32), (48, 80)]
