"""Whatever state a gradient is in, `why` says what made it so, and where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import backlit as bl
from backlit.explain.explanation import Explanation
from backlit.explain.why import why


def kinds(answer: Explanation) -> list[str]:
    return [finding.kind for finding in answer.findings]


def line_of(answer: Explanation) -> str:
    spot = answer.findings[0].spot
    assert spot is not None
    return spot.text


# -- None ----------------------------------------------------------------------------------------------------


def stopped(x: bl.Value, u: bl.Value) -> bl.Value:
    y = bl.stop_gradient(x * 2.0)
    return (y * u).sum()


def not_recorded(x: bl.Value, u: bl.Value) -> bl.Value:
    with bl.no_grad():
        y = x * 2.0
    return (y * u).sum()


def cast(x: bl.Value, u: bl.Value) -> bl.Value:
    y = bl.astype(x, bl.int64)
    return (y * u).sum()


def chosen(x: bl.Value, u: bl.Value) -> bl.Value:
    y = bl.argmax(x)
    return y * u


def compared(x: bl.Value, u: bl.Value) -> bl.Value:
    y = x > 1.5
    return bl.where(y, u, 2.0 * u).sum()


def converted(x: bl.Value, u: bl.Value) -> bl.Value:
    y = bl.asarray(x.data)
    return (y * u).sum()


def through_numpy(x: bl.Value, u: bl.Value) -> bl.Value:
    y = np.tanh(x.data).sum() * u
    return y * 1.0


CUTS = {
    stopped: ("stop_gradient", "y = bl.stop_gradient(x * 2.0)"),
    not_recorded: ("no_grad", "y = x * 2.0"),
    cast: ("integer", "y = bl.astype(x, bl.int64)"),
    chosen: ("argmax", "y = bl.argmax(x)"),
    compared: ("comparison", "y = x > 1.5"),
    converted: ("converted", "return (y * u).sum()"),
    through_numpy: ("converted", "y = np.tanh(x.data).sum() * u"),
}


@pytest.mark.parametrize("function", CUTS, ids=lambda f: f.__name__)
def test_none_names_the_cut_and_its_line(function: Callable[..., bl.Value]) -> None:
    x, u = bl.Value([1.0, 2.0], name="x"), bl.Value(3.0, name="u")
    loss = function(x, u)
    loss.backward()
    kind, line = CUTS[function]
    answer = why(x)
    assert (answer.state, answer.gradient) == ("none", None)
    assert (kinds(answer), line_of(answer)) == ([kind], line)
    assert answer.headline.startswith("∂output/∂x is None: ")


def test_none_without_a_path() -> None:
    x, u = bl.Value(1.0, name="x"), bl.Value(3.0, name="u")
    loss = u * u
    loss.backward()
    assert kinds(why(x)) == ["no path"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(bl.Value([1, 2]), "integer"), (bl.asarray([1.0, 2.0]), "constant"), (bl.Value([1.0]) > 0.0, "comparison")],
)
def test_none_of_what_cannot_vary(value: bl.Value, kind: str) -> None:
    loss = (bl.Value(1.0) * value).sum()
    loss.backward()
    assert kinds(why(value)) == [kind]


def test_several_cuts_are_all_named() -> None:
    x, u = bl.Value(1.0, name="x"), bl.Value(3.0, name="u")
    loss = bl.stop_gradient(x) * u + bl.where(x > 0.0, u, 0.0)
    assert kinds(why(x, of=loss)) == ["stop_gradient", "comparison"]


def test_without_backward_it_says_so() -> None:
    from backlit.autodiff import reverse

    before = list(reverse.last_outputs)
    reverse.last_outputs.clear()
    try:
        answer = why(bl.Value(1.0, name="x"))
    finally:
        reverse.last_outputs.extend(before)
    assert kinds(answer) == ["no backward"]


# -- exactly zero --------------------------------------------------------------------------------------------


def zero(x: bl.Value, loss: bl.Value, index: tuple[int, ...] | None = None) -> Explanation:
    answer = why(x, of=loss, index=index)
    assert answer.state == "zero"
    assert answer.findings[0].kind in answer.headline
    return answer


def test_zero_by_a_dead_relu() -> None:
    x = bl.Value(-1.0, name="x")
    answer = zero(x, (x * 2.0).relu() * 3.0)
    assert kinds(answer) == ["dead relu"]
    assert "-2 is not above 0" in answer.findings[0].text
    assert answer.check is not None
    assert answer.check.verdict == "agrees"


def test_zero_by_a_dead_unit_of_a_layer() -> None:
    x, w = np.ones((4, 2)), bl.Parameter([[1.0, -1.0], [1.0, -1.0]], name="w")
    loss = bl.relu(x @ w).sum()
    loss.backward()
    assert kinds(why(w, index=(0, 1))) == ["dead relu"]
    whole = why(w)
    assert whole.state == "array"
    assert any("column" in s.label and "exactly zero: 1" in s.text for s in whole.picture.standouts)
    assert kinds(whole) == ["dead relu"]


@pytest.mark.parametrize("function", [bl.tanh, bl.sigmoid])
def test_zero_by_a_saturated_unit(function: Callable[..., bl.Value]) -> None:
    x = bl.Value([400.0, 0.0], name="x")
    assert kinds(zero(x, function(x).sum(), (0,))) == ["saturated"]


def test_zero_by_a_factor_of_zero() -> None:
    x, mask = bl.Value([1.0, 2.0], name="x"), bl.asarray([0.0, 1.0])
    answer = zero(x, (x * mask).sum(), (0,))
    assert kinds(answer) == ["multiplied by zero"]
    assert "mask[0] = 0" in answer.findings[0].text


def test_zero_of_a_weight_whose_inputs_are_zero() -> None:
    x, w = bl.asarray([[0.0, 1.0], [0.0, 2.0]]), bl.Parameter([[1.0], [1.0]], name="w")
    answer = zero(w, (x @ w).sum(), (0, 0))
    assert kinds(answer) == ["multiplied by zero"]
    assert "zeros only, of x" in answer.findings[0].text


def test_zero_by_a_mask() -> None:
    x = bl.Value([1.0, 2.0], name="x")
    assert kinds(zero(x, bl.where(bl.asarray([False, True]), x, 0.0).sum(), (0,))) == ["masked"]


def test_zero_by_not_being_chosen() -> None:
    x = bl.Value([1.0, 2.0], name="x")
    assert kinds(zero(x, bl.clip(x, 1.5, 3.0).sum(), (0,))) == ["not chosen"]
    assert kinds(zero(x, x[1] * 2.0, (0,))) == ["not used"]


def test_zero_by_a_flat_op() -> None:
    x = bl.Value(1.3, name="x")
    assert kinds(zero(x, bl.floor(x) * 2.0)) == ["flat"]


def test_zero_by_cancelling() -> None:
    x, u = bl.Value(3.0, name="x"), bl.Value(2.0, name="u")
    answer = zero(x, x * u - u * x)
    assert kinds(answer) == ["cancelled"]


def test_zero_by_weights_that_start_at_zero() -> None:
    rng = np.random.default_rng(0)
    w1, w2 = bl.Parameter(rng.normal(size=(3, 4)), name="w1"), bl.Parameter(np.zeros((4, 1)), name="w2")
    loss = ((rng.normal(size=(5, 3)) @ w1).tanh() @ w2).sum()
    loss.backward()
    answer = why(w1)
    assert (answer.state, kinds(answer)) == ("zero", ["zero weights"])
    assert "small random numbers" in answer.findings[0].remedy


def test_symmetric_weights_are_told() -> None:
    w1, w2 = bl.Parameter(np.full((3, 4), 0.3), name="w1"), bl.Parameter(np.full((4, 1), 0.2), name="w2")
    loss = ((np.random.default_rng(0).normal(size=(5, 3)) @ w1).tanh() @ w2).sum()
    loss.backward()
    assert any("symmetric" in s.text for s in why(w1).picture.standouts)


# -- NaN and infinities --------------------------------------------------------------------------------------


def test_nan_born_in_the_forward_pass() -> None:
    x = bl.Value(0.0, name="x")
    y = bl.log(x)
    loss = y * x
    loss.backward()
    answer = why(x)
    assert answer.state == "nan"
    assert answer.findings[0].kind == "born in the forward pass"
    assert line_of(answer) == "y = bl.log(x)"
    assert "log gave -inf" in answer.findings[0].text
    assert "y → loss" in answer.findings[0].text
    assert "where(x > 0" in answer.findings[0].remedy


def test_nan_born_in_the_backward_pass() -> None:
    x = bl.Value([0.0, 1.0], name="x")
    y = x * x
    loss = bl.sqrt(y).sum()
    loss.backward()
    for answer in (why(x), why(x, index=0)):
        assert answer.state == "nan"
        assert answer.findings[0].kind == "born in the backward pass"
        assert line_of(answer) == "loss = bl.sqrt(y).sum()"
        assert "y → x" in answer.findings[0].text
        assert "sqrt at 0" in answer.findings[0].remedy
    assert why(x, index=1).gradient == 1.0


def test_nan_that_an_input_held() -> None:
    x, data = bl.Value([1.0, 2.0], name="x"), bl.asarray([np.nan, 1.0])
    loss = (x * data).sum()
    loss.backward()
    assert kinds(why(x, index=0))[0] == "in an input"


def test_infinite_gradient() -> None:
    x = bl.Value(0.0, name="x")
    loss = bl.sqrt(x) * 2.0
    loss.backward()
    answer = why(x)
    assert answer.state == "infinite"
    assert answer.findings[0].kind == "born in the backward pass"


# -- huge and tiny -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "state"), [(3.0, "huge"), (0.3, "tiny")])
def test_factors_of_a_huge_or_tiny_gradient(factor: float, state: str) -> None:
    x = h = bl.Value(1.0, name="x")
    for _ in range(30):
        h = h * factor
    answer = why(x, of=h)
    assert answer.state == state
    assert answer.factors[-1].product == pytest.approx(factor**30)
    assert answer.factors[-1].label == "x"
    together = np.prod([f.factor for f in answer.factors])
    assert together == pytest.approx(factor**30)


def test_factors_through_arrays() -> None:
    rng = np.random.default_rng(0)
    w = bl.Parameter(rng.normal(size=(3, 3)) * 1e-3, name="w")
    h = bl.asarray(rng.normal(size=(2, 3)))
    for _ in range(4):
        h = bl.tanh(h @ w)
    loss = h.sum()
    loss.backward()
    answer = why(w)
    assert answer.state == "tiny"
    assert any(f.through == "matmul" for f in answer.factors)


# -- conventions ---------------------------------------------------------------------------------------------


def test_convention_at_a_kink_of_a_scalar() -> None:
    x = bl.Value(0.0, name="x")
    answer = why(x, of=bl.relu(x) * 3.0)
    assert any("the derivative at 0 is 0" in note for note in answer.notes)
    assert answer.check is not None
    assert answer.check.verdict == "kink"


def test_convention_at_a_kink_in_an_array() -> None:
    x = bl.Value([0.0, 1.0], name="x")
    for loss in (bl.relu(x).sum(), bl.abs(x).sum(), bl.maximum(x, np.zeros(2)).sum()):
        assert any("onvention" in note for note in why(x, of=loss, index=0).notes)
        assert not why(x, of=loss, index=1).notes


def test_convention_at_a_tie_of_max() -> None:
    x = bl.Value([2.0, 2.0, 1.0], name="x")
    loss = bl.max(x) * 3.0
    assert any("onvention" in note for note in why(x, of=loss, index=0).notes)
    assert not why(x, of=loss, index=2).notes


# -- which output, and which value ---------------------------------------------------------------------------


def test_the_newest_output_is_the_one_that_is_explained() -> None:
    x = bl.Value(2.0, name="x")
    first = x * 3.0
    second = x * 5.0
    first.backward()
    second.backward()
    assert why(x).gradient == 5.0
    assert "zero_grad" in why(x).notes[0]
    assert why(x, of=first).gradient == 3.0


def test_a_variable_assigned_to_since_is_explained_by_the_value_that_was_used() -> None:
    x = bl.Value(2.0, name="x")
    loss = x * x
    loss.backward()
    x.data = 10.0
    answer = why(x)
    assert answer.gradient == 4.0
    assert any("assigned to since" in note for note in answer.notes)


def test_a_variable_assigned_to_within_the_computation_has_all_its_uses() -> None:
    x = bl.Value([2.0, 1.0], name="x")
    a = x * 3.0
    x.data = [5.0, 1.0]
    loss = (a * x).sum()
    loss.backward()
    answer = why(x, index=0)
    assert answer.gradient == pytest.approx(float(x.grad[0]))
    assert answer.sum.total == pytest.approx(21.0)


def test_a_seed_is_taken_into_account() -> None:
    x = bl.Value([2.0, 1.0], name="x")
    y = x * x
    y.backward([1.0, 10.0])
    assert why(x, index=1).gradient == 20.0
    z = bl.Value(3.0, name="z")
    loss = z * z
    loss.backward(2.0)
    assert why(z).gradient == 12.0


def test_nothing_is_changed_by_asking() -> None:
    x = bl.Value([2.0, 1.0], name="x")
    h = x * x
    loss, other = h.sum(), (h * 3.0).sum()
    loss.backward()
    before = [np.array(v.grad) for v in (x, h)]
    why(x, of=other)
    why(x, index=1).follow(1) if why(x, index=1).ways else None
    for v, grad in zip((x, h), before, strict=True):
        np.testing.assert_array_equal(v.grad, grad)


def test_gradients_assigned_to_by_hand_do_not_mislead() -> None:
    x = bl.Value([2.0, 1.0], name="x")
    h = x * x
    loss = (bl.stack([h, h]) * 2.0).sum()
    loss.backward()
    h.grad = [100.0, 100.0]
    answer = why(x, index=0)
    assert answer.gradient == 16.0
    assert answer.sum.total == pytest.approx(16.0)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda x: why(3.0), bl.GraphError),
        (lambda x: why(x, of=2.0), bl.GraphError),
        (lambda x: why(x, of=x * 2.0), bl.ShapeError),
        (lambda x: why(x, of=x.sum(), index=5), bl.IndexingError),
        (lambda x: why(x, of=x.sum(), index=(0, 0)), bl.IndexingError),
        (lambda x: why(x, of=x.sum(), index=0).follow(3), bl.GraphError),
    ],
)
def test_wrong_questions_are_refused(ask: Callable[[bl.Value], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(bl.Value([1.0, 2.0], name="x"))
