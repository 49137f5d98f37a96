"""The first NaN or infinity, in either pass: which op, which numbers, which line, and what to write instead."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.op import Elementwise
from backlit.core.state import current_mode
from backlit.ops.custom import CustomOp


def raised(f: Callable[[], Any], **options: Any) -> str:
    with pytest.raises(bl.NonFiniteError) as caught, bl.trace_nonfinite(**options):
        f()
    return str(caught.value)


def test_the_forward_pass_names_op_operand_index_and_line() -> None:
    x = bl.Value([[1.0, 2.0], [0.0, 3.0]], name="x")

    def f() -> None:
        p = x / 2.0
        h = bl.log(p)
        h.sum()

    message = raised(f)
    assert message.startswith("log gave -inf at index (1, 0).")
    assert "op: log at test_nonfinite.py:" in message
    assert "in f: h = bl.log(p)" in message
    assert "operand 0: `p`, made by divide" in message
    assert "float64[2, 2]: 0.0 there; [[0.5 1. ] [0. 1.5]]" in message
    assert "where(x > 0, log(where(x > 0, x, 1.0)), 0.0)" in message


def test_it_is_the_origin_that_is_reported_and_not_what_follows() -> None:
    with bl.trace_nonfinite("record") as trace:
        y = bl.log(bl.Value([0.0, 1.0])) * 2.0 - 1.0
        bl.exp(y).sum()
        bl.sqrt(bl.Value(-1.0))
    assert [(each.where, each.op) for each in trace.found] == [("forward", "log"), ("forward", "sqrt")]
    assert trace.found[0].index == (0,)
    assert trace.found[0].value == -math.inf
    assert math.isnan(trace.found[1].value)
    assert trace.found[0].site is not None
    assert trace.found[0].site.function == "test_it_is_the_origin_that_is_reported_and_not_what_follows"


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda: bl.log(bl.Value(0.0)), "log(0) is -inf"),
        (lambda: bl.log(bl.Value(-1.0)), "-1.0 has no real logarithm"),
        (lambda: bl.log(bl.softmax(bl.Value([0.0, 2000.0]), axis=-1)), "write log_softmax(x) in place"),
        (lambda: bl.log(bl.sigmoid(bl.Value(-800.0))), "write -softplus(-x)"),
        (lambda: bl.log(bl.exp(bl.Value([-800.0])).sum()), "logsumexp(x) is log(sum(exp(x)))"),
        (lambda: bl.exp(bl.Value(1000.0)), "exp of more than 709.8 is larger than float64 can hold"),
        (lambda: bl.exp(bl.Value(np.float32(100.0))), "exp of more than 88.72 is larger than float32"),
        (lambda: bl.Value(1.0) / bl.Value(0.0), "division by zero is infinite"),
        (lambda: bl.Value(0.0) / bl.Value(0.0), "0/0 is NaN"),
        (lambda: bl.sqrt(bl.Value(-2.0)), "-2.0 has no real square root"),
        (lambda: bl.Value(0.0) ** -1.0, "0 to a negative power"),
        (lambda: bl.Value(-1.0) ** 0.5, "-1.0 to a power that is not whole"),
        (lambda: bl.acos(bl.Value(1.5)), "acos takes -1 to 1, and got 1.5"),
        (lambda: bl.Value(np.float16(300.0)) * bl.Value(np.float16(300.0)), "larger than 65504"),
        (lambda: bl.log1p(bl.Value(-1.0)), "log1p takes numbers above -1"),
        (lambda: bl.Value([1e308, 1e308]).sum(), "larger than 1.79769e+308"),
    ],
)
def test_a_safe_way_to_write_it_is_suggested(f: Callable[[], Any], words: str) -> None:
    assert words in raised(f)


def test_an_infinite_partial_in_the_numeric_backward_pass() -> None:
    x = bl.Value([1.0, 0.0], name="x")
    y = bl.sqrt(x)
    loss = (3.0 * y).sum()
    message = raised(loss.backward)
    assert message.startswith("in the backward pass of sqrt, the cotangent of argument 0 became inf at index (1,).")
    assert "y = bl.sqrt(x)" in message
    assert "operand 0: `x`, a variable" in message
    assert "partial inf times the cotangent that came in, 3.0 at index (1,)" in message
    assert "the derivative of sqrt at 0 is infinite" in message


def test_an_infinite_partial_in_the_backward_graph() -> None:
    message = raised(lambda: bl.grad(lambda x: bl.sqrt(x) * 3.0)(0.0))
    assert message.startswith("in the backward pass of sqrt, the cotangent of argument 0 became inf.")
    assert "within the rule: divide(0.5, 0.0) gave inf" in message


def test_an_infinite_tangent() -> None:
    message = raised(lambda: bl.jvp(lambda x: bl.sqrt(x), (0.0,), (1.0,)))
    assert message.startswith("in forward mode, the tangent of sqrt became inf.")


def test_zero_times_infinity_by_a_mask_is_told_from_where() -> None:
    x = bl.Value([1.0, 0.0], name="x")
    masked = ((x > 0) * bl.sqrt(x)).sum()
    message = raised(masked.backward)
    assert "the cotangent of argument 0 became nan at index (1,)" in message
    assert "a product with a mask of zeros does not keep it out" in message
    with bl.trace_nonfinite():
        bl.where(x > 0, bl.sqrt(x), 0.0).sum().backward()
        bl.grad(lambda x: bl.where(x > 0, bl.sqrt(x), 0.0).sum())(x)


def test_a_guard_within_a_rule_is_no_alarm() -> None:
    with bl.trace_nonfinite():
        bl.grad(lambda a, b: a**b, argnums=(0, 1))(0.0, bl.Value(2.0))
        bl.jvp(lambda a, b: bl.hypot(a, b), (0.0, 0.0), (1.0, 1.0))


def test_contributions_that_overflow_only_when_added_up() -> None:
    x = bl.Value(1.0, name="x")
    loss = x * 1.5e308 + x * 1e308 * 0.9
    message = raised(loss.backward)
    assert "the cotangent of `x`, a variable at" in message
    assert "where the contributions of several uses were added up" in message
    assert "added up" in raised(lambda: bl.grad(lambda x: x * 1.5e308 + x * 1e308 * 0.9)(0.1))


def test_a_variable_that_held_nan_all_along_is_named_as_such() -> None:
    x = bl.Value([1.0, math.nan], name="x")
    message = raised(lambda: x * 2.0)
    assert message.startswith("`x`, a variable at test_nonfinite.py:")
    assert "itself holds nan at index (1,)" in message
    assert "a constant, itself holds inf" in raised(lambda: bl.Value(1.0) * math.inf)


def test_what_was_computed_before_is_named_as_such() -> None:
    y = bl.log(bl.Value(0.0))
    message = raised(lambda: y + 1.0)
    assert "`y`, made by log" in message
    assert "held -inf before the tracing began" in message


def test_a_seed_that_is_not_finite_is_named() -> None:
    y = bl.Value([1.0, 2.0]).sum()
    assert "the seed was not finite" in raised(lambda: y.backward(math.inf))


def test_infinities_can_be_meant() -> None:
    scores = bl.Value([1.0, 2.0])
    with bl.trace_nonfinite(infinities=False):
        masked = bl.where(np.array([True, False]), scores, -math.inf)
        bl.softmax(masked, axis=-1)
    message = raised(lambda: masked - masked, infinities=False)
    assert message.startswith("subtract gave nan at index (1,)")


def test_no_grad_hides_nothing() -> None:
    def f() -> None:
        with bl.no_grad():
            bl.log(bl.Value(0.0, name="z"))

    message = raised(f)
    assert message.startswith("log gave -inf")
    assert "operand 0: `z`" in message


def test_warnings_point_to_the_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with bl.trace_nonfinite("warn") as trace:
            bl.log(bl.Value(0.0))
    assert [w.category for w in caught] == [bl.NonFiniteWarning]
    assert caught[0].filename == __file__
    assert len(trace.found) == 1


def test_a_rule_of_ones_own_that_divides_by_zero_is_found() -> None:
    cusp = CustomOp(Elementwise("cusp", np.abs, partials=(lambda y, x: x / y,)))
    x = bl.Value([2.0, 0.0])
    message = raised(cusp(x).sum().backward)
    assert message.startswith("in the backward pass of cusp")
    assert "partial nan times" in message


def test_the_observed_sweep_gives_what_the_fast_one_gives() -> None:
    def gradients() -> list[Any]:
        rng = np.random.default_rng(0)
        W = bl.Parameter(rng.normal(size=(3, 4)))
        b, s = bl.Parameter(np.zeros(4)), bl.Value(0.5)
        x = rng.normal(size=(5, 3))
        h = bl.tanh(x @ W + b) * s
        loss = (bl.relu(h)[:, 1:] * s).sum() + h[0, 0] * s / 3 + bl.maximum(s, 0.2)
        loss.backward()
        return [W.grad, b.grad, s.grad, h.grad]

    plain = gradients()
    with bl.trace_nonfinite():
        observed = gradients()
    for a, b in zip(plain, observed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_after_the_block_all_is_as_before() -> None:
    with pytest.raises(bl.NonFiniteError), bl.trace_nonfinite():
        bl.log(bl.Value(0.0))
    assert current_mode().watch is None
    assert bl.log(bl.Value(0.0)).data == -math.inf


def test_blocks_nest() -> None:
    with bl.trace_nonfinite("record") as outer:
        with bl.trace_nonfinite("record") as inner:
            bl.sqrt(bl.Value(0.0)).backward()
        bl.log(bl.Value(0.0))
    assert [each.where for each in inner.found] == ["backward"]
    assert [each.where for each in outer.found] == ["backward", "forward"]


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ValueError, match="action='print' is not known; choose one of raise, warn, record"):
        bl.trace_nonfinite("print")


def test_whole_numbers_and_traced_values_are_passed_over() -> None:
    with bl.trace_nonfinite():
        bl.Value([1, 2]) + 1
        (bl.Value([1.0, 2.0]) > 1.0).any()
