"""The judge, judged: it names what is wrong, and never calls wrong what is right."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.autodiff.blame import times
from backlit.autodiff.check import check
from backlit.core.op import Elementwise, Linear, Special
from backlit.ops.custom import CustomOp

RNG = np.random.default_rng(0)
W1, W2, X = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2)), RNG.normal(size=(5, 3))


def tanh_off_by(factor: float) -> Callable[..., Any]:
    return CustomOp(Elementwise("bent_tanh", np.tanh, partials=(lambda y, x: factor * (1 - y * y),)))


def network(activation: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def loss(W1: Any, W2: Any) -> Any:
        hidden = activation(X @ W1)
        scores = bl.log_softmax(hidden @ W2)
        return -scores[:, 0].mean()

    return loss


# -- what is right
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_right_network_is_right_with_a_fine_resolution(dtype: Any) -> None:
    report = check(network(bl.tanh), W1.astype(dtype), W2.astype(dtype))
    assert report.ok
    assert report.verdict == "right"
    assert [each.name for each in report.inputs] == ["W1", "W2"]
    assert all(each.resolution < (1e-8 if dtype is np.float64 else 1e-2) for each in report.inputs)
    assert report.culprits == ()


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: 3 * x, 2.0),
        (lambda x: 3 * x, np.array([2.0, -1.0])),
        (lambda x: x * x, 0.0),
        (lambda x: (x - 1) ** 2, 1.0),
        (lambda x: x**3, 0.0),
        (lambda x: bl.sin(1e6 * x), 1.0),
        (lambda x: (1e8 + x) - 1e8, 1.7),
        (lambda x: bl.relu(x - 1), 1 + 1e-6),
        (lambda x: bl.log(x), 1e-300),
        (lambda x: x / 1e10, 1e300),
        (lambda x: bl.where(x > 0, bl.sqrt(x), 0.0).sum(), np.array([1.0, 4.0])),
        (lambda x: bl.astype(bl.sin(bl.astype(x, bl.float32)), bl.float64), 1.0),
        (lambda x: {"a": x * x, "b": [bl.sin(x), 3, None]}, np.ones((2, 2))),
        (lambda x: bl.grad(lambda z: bl.tanh(z) * z)(x), 0.4),
        (lambda x: bl.sin(x), np.float16(1.0)),
    ],
)
def test_right_functions_of_many_kinds_are_right(f: Any, x: Any) -> None:
    assert check(f, x).verdict == "right"


def test_the_remainder_shrinks_as_the_square_or_is_rounding_only() -> None:
    assert check(lambda x: bl.exp(x), 1.0).inputs[0].order == pytest.approx(2, abs=0.1)
    assert check(lambda x: x * x, 1.0).inputs[0].order == pytest.approx(2, abs=0.1)
    assert check(lambda x: 3 * x, 1.0).inputs[0].order == math.inf


UNARY: dict[str, Callable[[Any], Any]] = {
    "sin": lambda x: bl.sin(x),
    "tanh": lambda x: bl.tanh(x),
    "exp of tanh": lambda x: bl.exp(bl.tanh(x)),
    "log": lambda x: bl.log(x * x + 0.1),
    "sqrt": lambda x: bl.sqrt(x * x + 0.001),
    "sigmoid": lambda x: bl.sigmoid(x),
    "cube": lambda x: x**3,
    "quotient": lambda x: 1 / (1 + x * x),
    "erf": lambda x: bl.erf(x),
    "million": lambda x: x * 1e6,
    "millionth": lambda x: x * 1e-6,
    "far": lambda x: x + 1000,
    "fast": lambda x: bl.sin(30 * x),
    "sum": lambda x: x.sum(),
    "softmax": lambda x: bl.softmax(x, axis=-1) if x.ndim else x,
    "logsumexp": lambda x: bl.logsumexp(x),
    "mean": lambda x: x - x.mean(),
    "relu": lambda x: bl.relu(x),
    "abs": lambda x: abs(x),
    "max": lambda x: bl.max(x),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (1 + b * b),
    "hypot": lambda a, b: bl.hypot(a, b),
    "maximum": lambda a, b: bl.maximum(a, b),
}
STEP = st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 9), st.integers(0, 9))


def composed(steps: list[tuple[str, int, int]]) -> Callable[[Any, Any], Any]:
    """A random function of two arrays, from a list of steps that each use what earlier ones gave."""

    def f(x: Any, y: Any) -> Any:
        found = [x, y]
        for name, i, j in steps:
            a, b = found[i % len(found)], found[j % len(found)]
            found.append(UNARY[name](a) if name in UNARY else BINARY[name](a, b))
        return (found[-1] + 0.1 * found[-2] + 0.01 * x * y).sum()

    return f


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(STEP, min_size=1, max_size=6),
    shape=st.sampled_from([(), (3,), (2, 2)]),
    dtype=st.sampled_from([np.float64, np.float32]),
    scale=st.integers(-3, 2),
    seed=st.integers(0, 2**32 - 1),
)
@example(steps=[("million", 0, 0), ("fast", 2, 0)], shape=(3,), dtype=np.float32, scale=0, seed=1)
@example(steps=[("far", 0, 0), ("cube", 2, 0)], shape=(), dtype=np.float32, scale=-3, seed=2)
@example(steps=[("mean", 0, 0), ("max", 2, 0)], shape=(3,), dtype=np.float32, scale=0, seed=3)
def test_a_right_function_is_never_called_wrong(steps: Any, shape: Any, dtype: Any, scale: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=shape) * 10.0**scale).astype(dtype), rng.normal(size=shape).astype(dtype)
    report = check(composed(steps), x, y, elements=3, seed=seed)
    assert report.verdict != "wrong", str(report)


# -- what is wrong
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("factor", [1.001, 0.999, 2.0, -1.0, 0.0])
def test_an_op_whose_partial_is_off_is_called_wrong_and_named_within_a_network(factor: float, dtype: Any) -> None:
    bent = tanh_off_by(factor)

    def layer(z: Any) -> Any:
        h = bent(z)
        return h * 1.0

    report = check(network(layer), W1.astype(dtype), W2.astype(dtype), directions=3)
    assert report.verdict == "wrong"
    assert not report.ok
    first, second = report.inputs
    assert first.verdict == "wrong"
    assert second.verdict == "right"  # it enters after the bent op
    culprit = report.culprits[0]
    assert culprit.op == "bent_tanh"
    assert culprit.argument == 0
    assert culprit.ratio == pytest.approx(factor, rel=1e-4, abs=1e-4)
    assert culprit.site is not None
    assert culprit.site.variable == "h"
    assert culprit.site.text == "h = bent(z)"
    assert "bent_tanh" in first.reason


def test_a_scalar_culprit_is_described_in_full() -> None:
    bent = tanh_off_by(2.0)
    report = check(lambda x: bent(3 * x) * 5, 0.1)
    assert report.verdict == "wrong"
    assert report.inputs[0].order == pytest.approx(1, abs=0.1)
    assert "2 times too large" in report.inputs[0].reason
    (culprit,) = report.culprits
    true = 1 - np.tanh(0.3) ** 2
    assert culprit.expected == pytest.approx(true)
    assert culprit.got == pytest.approx(2 * true)
    assert "its partial by argument 0 gives" in str(culprit)
    assert str(culprit).endswith("2 times too large.")


def test_only_the_wrong_argument_is_blamed() -> None:
    bent = CustomOp(Elementwise("bent_product", np.multiply, partials=(lambda y, a, b: b, lambda y, a, b: 1.01 * a)))
    report = check(lambda a, b: bent(a, b).sum(), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert [each.verdict for each in report.inputs] == ["right", "wrong"]
    assert [c.argument for c in report.culprits] == [1]


def test_a_wrong_transpose_is_found() -> None:
    shifted = CustomOp(
        Linear(
            "bent_flip",
            lambda x: np.flip(x),
            shape=lambda x: x.shape,
            transposes=(lambda ct, x: ct,),
        )
    )
    report = check(lambda x: (shifted(x) * np.array([1.0, 2.0, 3.0])).sum(), np.array([1.0, 2.0, 3.0]))
    assert report.verdict == "wrong"
    assert (report.culprits[0].op, report.culprits[0].mode) == ("bent_flip", "reverse")


def test_modes_that_disagree_are_wrong_and_the_wrong_one_is_named() -> None:
    bent = CustomOp(
        Special(
            "bent_square",
            np.square,
            shape=lambda x: x.shape,
            vjps=(lambda ct, y, x: ct * 2.0 * x,),
            jvps=(lambda t, y, x: t * 3.0 * x,),
        )
    )
    report = check(lambda x: bent(x), 1.5)
    assert report.verdict == "wrong"
    assert "reverse mode gives 3 and forward mode 4.5" in report.inputs[0].reason
    assert (report.culprits[0].op, report.culprits[0].mode) == ("bent_square", "forward")


def test_an_op_wrong_at_some_numbers_only_is_found_among_others_of_its_kind() -> None:
    half = CustomOp(Elementwise("half_wrong", np.square, partials=(lambda y, x: bl.where(x > 0, 2.0 * x, 3.0 * x),)))
    report = check(lambda x: half(x) + half(x - 5.0), 1.0)
    assert report.verdict == "wrong"
    assert [c.got for c in report.culprits] == pytest.approx([-12.0])


def test_what_escapes_the_graph_is_wrong_though_no_op_is() -> None:
    report = check(lambda x: x * x.data, 2.0)
    assert report.verdict == "wrong"
    assert report.culprits == ()
    assert "seems to have escaped the graph: .data" in report.inputs[0].reason


# -- what cannot be told
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "words"),
    [
        (bl.relu, 0.0, ["kink", "relu", "the derivative at 0 is 0"]),
        (abs, 0.0, ["-1 on one side and 1 on the other", "abs", "Convention at the kink"]),
        (lambda x: bl.max(x), np.array([1.0, 1.0, 0.0]), ["max at", "Convention at a tie"]),
        (lambda x: bl.maximum(x, 1.0), 1.0, ["maximum at", "at a tie"]),
        (lambda x: bl.relu(x) - bl.relu(-x), 0.0, ["rests on a convention", "relu"]),
        (lambda x: bl.floor(x), 1.0, ["a jump: the function changes by 1 however little", "floor"]),
        (bl.sqrt, 0.0, ["the gradient is inf", "sqrt at"]),
        (lambda x: x**1.5, 0.0, ["not finite on both sides"]),
        (lambda x: bl.log(x), 0.0, ["the function gives -inf", "log gave -inf"]),
        (bl.sin, math.nan, ["holds nan itself"]),
        (lambda x: x.sum(), np.array([1.0, np.inf]), ["holds inf at index (1) itself"]),
        (lambda x: 0 * x + 2, 1.0, ["moves nothing that could be measured", "is 0"]),
        (lambda x: bl.floor(x), 1.5, ["moves nothing"]),
        (lambda x: bl.stop_gradient(x) * x, 2.0, ["stop_gradient at", "stops the gradient on purpose"]),
        (lambda x: 1e4 + 1e-4 * bl.sin(x), np.float32(1.0), ["rounding drowns it"]),
    ],
)
def test_what_cannot_be_told_is_said_with_the_reason(f: Any, x: Any, words: list[str]) -> None:
    report = check(f, x)
    assert report.verdict == "cannot tell"
    for word in words:
        assert word in report.inputs[0].reason


def test_a_function_of_chance_cannot_be_judged() -> None:
    rng = np.random.default_rng(0)
    report = check(lambda x: x * rng.normal(), 1.0)
    assert report.verdict == "cannot tell"
    assert "two different results for the same arguments" in report.inputs[0].reason


def test_what_no_grad_cut_is_named() -> None:
    def f(x: Any) -> Any:
        with bl.no_grad():
            frozen = bl.exp(x)
        return x * frozen

    report = check(f, 1.0)
    assert report.verdict == "cannot tell"
    assert "exp (`frozen`) at test_check.py" in report.inputs[0].reason
    assert "no_grad" in report.inputs[0].reason


def test_a_wrong_op_is_found_though_another_node_stands_at_a_kink() -> None:
    bent = tanh_off_by(1.5)
    report = check(lambda x: bent(x) + bl.relu(x), 0.0)
    assert report.verdict == "wrong"
    assert report.culprits[0].op == "bent_tanh"


# -- the report
# -------------------------------------------------------------------------------------------------


def test_the_report_is_a_table_and_a_dictionary() -> None:
    report = check(network(tanh_off_by(1.1)), W1, W2)
    text = str(report)
    assert text.startswith("check of loss: wrong (")
    assert "W1 (3, 4) float64" in text
    assert "to blame:" in text
    assert max(map(len, text.split("\n\n")[1].splitlines())) < 110
    again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert again["verdict"] == "wrong"
    assert again["inputs"][0]["name"] == "W1"
    assert again["culprits"][0]["op"] == "bent_tanh"
    assert again["culprits"][0]["line"] > 0
    json.dumps(check(bl.sqrt, 0.0).to_dict(), allow_nan=False)


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (check(network(bl.tanh), W1, W2, seed=7).to_dict() for _ in range(2))
    assert first == second


def test_inputs_are_chosen_and_named() -> None:
    report = check(lambda p, k, n: p["w"] * p["b"] * k * n, {"w": 1.0, "b": bl.Value(2.0, name="bias")}, 3, 2.0)
    assert [each.name for each in report.inputs] == ["p['w']", "bias", "k", "n"]
    only = check(lambda a, labels: (a * labels).sum(), np.ones(3), np.arange(3))
    assert [each.name for each in only.inputs] == ["a"]
    assert [each.name for each in check(lambda a, b: a * b, 1.0, 2.0, argnums=1).inputs] == ["b"]
    with pytest.raises(bl.GraphError, match="nothing to nudge"):
        check(lambda n: n, np.arange(3))
    with pytest.raises(bl.GraphError, match="returned no real number"):
        check(lambda x: x > 0, 1.0)


def test_gradients_and_variables_are_left_alone() -> None:
    w = bl.Value(2.0, name="w")
    w.grad = 5.0
    check(lambda x: x * w, 3.0)
    assert (w.data, w.grad) == (2.0, 5.0)


def test_factors_are_put_in_words() -> None:
    assert times(1.001, 1.0, 1e-9) == "1.001 times too large"
    assert times(1.0, 1.5, 1e-9) == "1.5 times too small"
    assert times(-2.0, 1.0, 1e-9) == "the wrong sign, and 2 times too large"
    assert times(0.0, 1.0, 1e-9) == "it should not be 0"
