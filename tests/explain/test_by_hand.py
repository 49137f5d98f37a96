"""What `by_hand` says of gradients that are right or follow from wrong ones, and of names and arrays of all kinds."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.core.errors import BacklitError, DtypeError, GraphError, ShapeError
from backlit.explain.by_hand import by_hand
from backlit.explain.hand_report import HandReport
from examples.by_hand import backward, forward, main

# fmt: off
INTERMEDIATES = (
    "logprobs", "probs", "counts", "counts_sum", "counts_sum_inv", "logit_maxes", "norm_logits", "logits", "h", "W2",
    "b2", "hpreact", "bngain", "bnbias", "bnraw", "bnvar_inv", "bnvar", "bndiff2", "bndiff", "bnmeani", "hprebn",
    "embcat", "W1", "b1", "emb", "C",
)
# fmt: on
NET = forward()


class Spoiled(SimpleNamespace):
    """Takes gradients as they are worked out, and spoils some, so that what follows is computed from spoiled ones."""

    def __init__(self, **spoil: Any) -> None:
        super().__init__()
        object.__setattr__(self, "spoil", spoil)

    def __setattr__(self, name: str, gradient: Any) -> None:
        super().__setattr__(name, self.spoil.get(name, lambda x: x)(gradient))

    def gradients(self) -> dict[str, Any]:
        return {name: x for name, x in vars(self).items() if name != "spoil"}


def check_spoiled(**spoil: Any) -> HandReport:
    spoiled = Spoiled(**spoil)
    return by_hand(NET.loss, **backward(NET, spoiled).gradients())


def verdicts(report: HandReport, verdict: str) -> set[str]:
    return {check.name for check in report.checks if check.verdict == verdict}


# -- the net of the example ----------------------------------------------------------------------------------------


def test_every_intermediate_of_the_net_is_right() -> None:
    report = by_hand(NET.loss, **vars(backward(NET, SimpleNamespace())))
    assert report.ok, str(report)
    assert {check.name for check in report.checks} == set(INTERMEDIATES)
    assert verdicts(report, "right") == set(INTERMEDIATES)
    assert report.first is None
    assert report["logprobs"].exact


@pytest.mark.parametrize("seed", range(1, 4))
def test_it_is_right_on_other_data(seed: int) -> None:
    net = forward(seed)
    report = by_hand(net.loss, **vars(backward(net, SimpleNamespace())))
    assert report.ok, str(report)


def test_the_example_prints_both_reports(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    out = capsys.readouterr().out
    assert "All 26 gradients are right." in out
    assert "wrong: wrong residual" in out
    assert "follows from hpreact" in out


def test_gradients_that_are_zero_but_for_rounding_are_said_to_be_so() -> None:
    report = by_hand(NET.loss, **vars(backward(NET, SimpleNamespace())))
    assert {check.name for check in report.checks if check.notes} == {"b1", "logit_maxes"}
    assert "would not show" in report["b1"].notes[0]


def test_zeros_are_right_where_the_gradient_is_zero_but_for_rounding() -> None:
    assert by_hand(NET.loss, b1=np.zeros(64), logit_maxes=np.zeros((32, 1))).ok


# -- mistakes and what follows from them -----------------------------------------------------------------------------


def test_what_follows_from_a_mistake_is_told_apart_from_it() -> None:
    report = check_spoiled(hpreact=lambda x: 2 * x)
    assert verdicts(report, "wrong") == {"hpreact"}
    above = {"logprobs", "probs", "counts", "counts_sum", "counts_sum_inv", "logit_maxes", "norm_logits", "logits"}
    # the gradient of b1 is zero whatever arrives
    assert verdicts(report, "right") == above | {"h", "W2", "b2", "b1"}
    assert report.first is report["hpreact"]
    assert report["bnraw"].because_of == ("hpreact",)
    assert report["C"].because_of == ("emb",)
    assert report["hprebn"].because_of == ("bndiff", "bnmeani")


@pytest.mark.parametrize("name", [n for n in INTERMEDIATES if n not in ("logit_maxes", "b1")])
def test_a_mistake_at_any_intermediate_is_found_where_it_was_made(name: str) -> None:
    report = check_spoiled(**{name: lambda x: -3 * x})
    assert verdicts(report, "wrong") == {name}, str(report)
    assert report[name].repair is not None
    assert report[name].repair.text.startswith(("change the sign and divide by 3", "multiply", "divide"))


def test_a_second_mistake_below_a_first_is_named_too() -> None:
    report = check_spoiled(hpreact=lambda x: -x, W1=lambda x: x * 32)
    assert verdicts(report, "wrong") == {"hpreact", "W1"}
    assert [check.name for check in report.mistakes] == ["hpreact", "W1"]
    assert report["W1"].kind == "factor"
    assert report["W1"].repair is not None
    assert report["W1"].repair.own_upstream
    assert report["bnraw"].verdict == "follows"


def test_a_mistake_beside_right_gradients_that_were_not_given_so_is_named() -> None:
    d = backward(NET, SimpleNamespace())
    report = by_hand(NET.loss, hpreact=-2.5 * d.hpreact, bnbias=d.hpreact.sum(1, keepdims=True))
    check = report["bnbias"]
    assert check.kind == "wrong axis"
    assert check.repair is not None
    assert not check.repair.own_upstream
    assert "not with those you gave" in check.explain()


def test_a_right_gradient_below_a_wrong_one_is_right() -> None:
    d = backward(NET, SimpleNamespace())
    report = by_hand(NET.loss, hpreact=-d.hpreact, bnbias=d.bnbias)
    assert report["hpreact"].verdict == "wrong"
    assert report["bnbias"].verdict == "right"


def test_without_the_gradients_between_the_mistake_is_still_found() -> None:
    d = backward(NET, SimpleNamespace())
    wrong = d.h * (1 - NET.hpreact.data**2)
    report = by_hand(NET.loss, bnbias=wrong.sum(0, keepdims=True))
    assert report["bnbias"].kind == "wrong residual"


def test_nothing_is_said_of_a_mistake_that_no_repair_explains() -> None:
    d = backward(NET, SimpleNamespace())
    wrong = np.array(d.h)
    wrong[3, 5] += 0.25
    check = by_hand(NET.loss, h=wrong)["h"]
    assert check.verdict == "wrong"
    assert check.repair is None
    assert check.wrong_elements == 1
    assert check.first is not None
    assert check.first.index == (3, 5)
    assert "cannot be said" in check.explain()


def test_random_numbers_are_not_explained_away() -> None:
    rng = np.random.default_rng(0)
    for name in ("logits", "hpreact", "W1", "bnvar", "C", "b2"):
        wrong = rng.normal(size=getattr(NET, name).shape)
        assert by_hand(NET.loss, **{name: wrong})[name].repair is None


# -- several kinds that the net has no room for ------------------------------------------------------------------------


def tied() -> tuple[Any, Any, Any]:
    x = bl.Value([[1.0, 3.0, 3.0], [5.0, 2.0, 0.0]], name="x")
    weights = np.array([2.0, 7.0])
    peak = x.max(axis=1)
    return x, (peak * weights).sum(), weights


def test_all_of_a_tie_is_a_mistake() -> None:
    x, loss, weights = tied()
    wrong = (x.data == x.data.max(1, keepdims=True)) * weights[:, None]
    check = by_hand(loss, x=wrong)["x"]
    assert check.kind == "ties: all"
    assert check.verdict == "wrong"


@pytest.mark.parametrize(("find", "which"), [(0, "first"), (1, "last")])
def test_one_of_a_tie_is_another_convention(find: int, which: str) -> None:
    _, loss, weights = tied()
    gradient = np.zeros((2, 3))
    gradient[[0, 1], [(1, 2)[find], 0]] = weights
    report = by_hand(loss, x=gradient)
    assert report.ok
    assert report["x"].verdict == "right by another convention"
    assert f"the {which} of them" in report["x"].explain()


def test_what_follows_from_another_convention_is_right_too() -> None:
    w = bl.Value([[1.0, 3.0, 3.0]], name="w")
    x = w * 2.0
    loss = (x.max(axis=1) * 5.0).sum()
    dx = np.array([[0.0, 5.0, 0.0]])
    report = by_hand(loss, {x: dx, "w": 2 * dx})
    assert report.ok
    assert {check.verdict for check in report.checks} == {"right by another convention"}


def test_three_paths_of_which_two_are_missing() -> None:
    rng = np.random.default_rng(0)
    x = bl.Value(rng.normal(size=5), name="x")
    a, b, c = bl.exp(x), bl.sin(x), x**3
    loss = (a * b * c).sum()
    check = by_hand(loss, x=a.data * b.data * c.data)["x"]
    assert check.kind == "missing path"
    assert check.repair is not None
    assert "np.exp" not in check.repair.text
    assert "`b`" in check.repair.text
    assert "`c`" in check.repair.text


def test_a_batch_of_matrices_without_the_sum_over_them() -> None:
    rng = np.random.default_rng(1)
    x, w = bl.Value(rng.normal(size=(4, 5, 3)), name="x"), bl.Value(rng.normal(size=(3, 2)), name="w")
    seed = rng.normal(size=(4, 5, 2))
    loss = ((x @ w) * seed).sum()
    check = by_hand(loss, w=x.data.swapaxes(1, 2) @ seed)["w"]
    assert check.kind == "missing sum"


def test_relu_whose_mask_is_forgotten() -> None:
    rng = np.random.default_rng(2)
    x = bl.Value(rng.normal(size=(4, 5)), name="x")
    seed = rng.normal(size=(4, 5))
    loss = (bl.relu(x) * seed).sum()
    assert by_hand(loss, x=seed)["x"].kind == "derivative forgotten"


def test_a_logsumexp_whose_derivative_is_forgotten() -> None:
    rng = np.random.default_rng(3)
    x = bl.Value(rng.normal(size=(4, 5)), name="x")
    seed = rng.normal(size=(4, 5))
    loss = (bl.log_softmax(x, axis=1) * seed).sum()
    assert by_hand(loss, x=seed)["x"].kind == "derivative forgotten"


def test_a_part_of_a_concatenation() -> None:
    rng = np.random.default_rng(4)
    a, b = bl.Value(rng.normal(size=3), name="a"), bl.Value(rng.normal(size=3), name="b")
    seed = rng.normal(size=6)
    loss = (bl.concat([a, b]) * seed).sum()
    assert by_hand(loss, b=seed[:3], a=seed[:3])["b"].kind == "wrong part"


def test_a_scalar_expression() -> None:
    a, b, c = bl.values(a=2.0, b=-3.0, c=10.0)
    e = a * b
    loss = (e + c) * e
    report = by_hand(loss, e=4.0 + -6.0, c=-6.0, a=(4.0 - 6.0) * -3.0, b=(4.0 - 6.0) * 3.0)
    assert report["a"].ok
    assert report["c"].ok
    assert report["b"].verdict == "wrong"
    assert "chance" in report["b"].explain()


def test_a_single_number_is_not_explained_by_two_mistakes() -> None:
    a = bl.Value(1.3, name="a")
    loss = bl.exp(a) * bl.sin(a)
    assert by_hand(loss, a=0.123456)["a"].repair is None


# -- names ---------------------------------------------------------------------------------------------------------


def test_names_come_from_variables_attributes_and_name() -> None:
    model = SimpleNamespace()
    model.w = bl.Value([1.0, 2.0])
    y = model.w * 3.0
    z = y.sum()
    z.name = "total"
    report = by_hand(z * 1.0, w=[3.0, 3.0], y=[1.0, 1.0], total=1.0)
    assert report.ok
    assert by_hand(z * 1.0, {"model.w": [3.0, 3.0]}).ok


def test_a_composite_function_counts_as_one_value() -> None:
    x = bl.Value([1.0, 2.0, 4.0], name="x")
    spread = bl.var(x, correction=1)
    loss = spread * 2.0
    assert by_hand(loss, spread=2.0).ok


def test_a_name_that_several_values_share_asks_for_the_value() -> None:
    h = bl.Value([0.1, 0.2], name="start")
    kept = []
    for _ in range(2):
        h = bl.tanh(h)
        kept.append(h)
    loss = h.sum()
    with pytest.raises(GraphError, match=r"2 values of this graph are called 'h'") as error:
        by_hand(loss, h=np.ones(2))
    assert "h=(h, dh)" in str(error.value)
    assert by_hand(loss, h=(kept[1], np.ones(2))).ok
    assert by_hand(loss, {kept[0]: 1 - kept[1].data ** 2}).ok


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(GraphError, match=r"no value of this graph is called 'dlogits'\. Is 'logits' meant") as error:
        by_hand(NET.loss, dlogits=np.zeros((32, 27)))
    assert all(name in str(error.value) for name in INTERMEDIATES)


def test_a_constant_has_no_gradient() -> None:
    x = bl.Value([1.0, 2.0], name="x")
    scale = bl.asarray([2.0, 3.0])
    loss = (x * scale).sum()
    with pytest.raises(GraphError, match="no gradient reaches `scale`"):
        by_hand(loss, scale=np.ones(2))


def test_a_value_from_another_graph_is_refused() -> None:
    x, y = bl.Value([1.0], name="x"), bl.Value([1.0], name="y")
    with pytest.raises(GraphError, match="is not in the graph of"):
        by_hand(x.sum(), {y: [1.0]})


def test_giving_a_gradient_twice_is_refused() -> None:
    x = bl.Value([1.0], name="x")
    with pytest.raises(GraphError, match="are the same value"):
        by_hand(x.sum(), {x: [1.0]}, x=[1.0])


def test_giving_nothing_is_refused() -> None:
    with pytest.raises(GraphError, match="no gradient was given"):
        by_hand(bl.Value(1.0) * 2.0)


def test_a_loss_that_is_no_scalar_is_refused_with_a_way_out() -> None:
    x = bl.Value([1.0, 2.0], name="x")
    with pytest.raises(ShapeError, match="random numbers"):
        by_hand(x * 2.0, x=[2.0, 2.0])
    with pytest.raises(GraphError, match="must be a Backlit value"):
        by_hand(3.0, x=1.0)  # type: ignore[arg-type]
    with pytest.raises(BacklitError):
        by_hand(bl.asarray(3.0), x=1.0)


# -- arrays of all kinds -----------------------------------------------------------------------------------------------


def test_gradients_may_be_lists_numbers_and_backlit_values() -> None:
    x = bl.Value([[1.0, 2.0]], name="x")
    loss = (x * x).sum()
    for gradient in ([[2.0, 4.0]], bl.asarray([[2.0, 4.0]]), bl.Value([[2.0, 4.0]]), np.float32([[2, 4]]), [[2, 4]]):
        assert by_hand(loss, x=gradient).ok


def test_what_is_no_array_of_numbers_is_refused() -> None:
    x = bl.Value([1.0], name="x")
    with pytest.raises(DtypeError, match="gradient of 'x' is a list"):
        by_hand(x.sum(), x=["much"])


def test_none_is_reported_as_missing() -> None:
    x = bl.Value([1.0], name="x")
    report = by_hand(x.sum(), x=None)
    assert not report.ok
    assert "You gave None" in str(report)


def test_float32_has_its_own_tolerance() -> None:
    d = backward(NET, SimpleNamespace())
    rounded = {name: x.astype(np.float32) for name, x in vars(d).items()}
    report = by_hand(NET.loss, **rounded)
    assert report.ok, str(report)
    assert not by_hand(NET.loss, bndiff2=rounded["bndiff2"] * np.float32(31 / 32)).ok


def test_a_graph_in_float32_is_checked() -> None:
    x = bl.Value(np.linspace(-1, 1, 50, dtype=np.float32), name="x")
    y = bl.tanh(x)
    loss = y.mean()
    right = (1 - y.data.astype(float) ** 2) / 50
    assert by_hand(loss, x=right).ok
    assert by_hand(loss, x=(1 - x.data**2) / 50)["x"].kind == "wrong residual"


@pytest.mark.peers
def test_gradients_of_torch_are_read() -> None:
    torch = pytest.importorskip("torch")
    x = bl.Value([[1.0, 2.0]], name="x")
    loss = (x * x).sum()
    other = torch.tensor([[1.0, 2.0]], requires_grad=True)
    (other * other).sum().backward()
    assert by_hand(loss, x=other.grad).ok
    assert by_hand(loss, x=other * 2).ok  # with a graph of its own
    assert by_hand(loss, x=other.grad.bfloat16()).ok
    assert by_hand(loss, x=other.grad.to_sparse()).ok
    assert by_hand(loss, x=-other.grad)["x"].kind == "sign"


@pytest.mark.peers
def test_gradients_of_jax_are_read() -> None:
    jax = pytest.importorskip("jax")
    x = bl.Value([[1.0, 2.0]], name="x")
    gradient = jax.grad(lambda x: (x * x).sum())(jax.numpy.array([[1.0, 2.0]]))
    assert by_hand((x * x).sum(), x=gradient).ok
    assert by_hand((x * x).sum(), x=gradient.astype(jax.numpy.bfloat16)).ok


# -- the report ------------------------------------------------------------------------------------------------------


def test_the_report_is_plain_data_text_and_html() -> None:
    with np.errstate(invalid="ignore"):
        report = check_spoiled(bnraw=lambda x: -x, h=lambda x: np.where(x > 1e-3, np.nan, x))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["schema"] == "backlit.by_hand/1"
    assert data["first"] == "h"
    assert report["h"].kind == "not finite"
    assert report["hpreact"].because_of == ("h",)
    assert [check["name"] for check in data["checks"]] == [check.name for check in report.checks]
    page = report._repr_html_()
    assert page.startswith("<table")
    assert page.count("<tr>") == page.count("</tr>")
    assert max(map(len, str(report).splitlines())) <= 110
    with pytest.raises(KeyError, match="hpreact"):
        report["unheard_of"]


def test_the_order_is_that_of_the_backward_pass() -> None:
    report = by_hand(NET.loss, **vars(backward(NET, SimpleNamespace())))
    order = [check.name for check in report.checks]
    for later, earlier in (("W2", "logits"), ("h", "logits"), ("hpreact", "h"), ("C", "emb"), ("counts", "counts_sum")):
        assert order.index(earlier) < order.index(later)
    assert order[-1] == "C"
    assert order.index("b2") < order.index("hpreact")  # a parameter comes where it is used


def test_the_graph_is_left_as_it_was() -> None:
    x = bl.Value([1.0, 2.0], name="x")
    y = x * x
    loss = y.sum()
    by_hand(loss, x=[2.0, 5.0], y=[1.0, 1.0])
    assert x.grad is None
    assert y.grad is None


# -- any graph ---------------------------------------------------------------------------------------------------------

UNARY = (bl.tanh, bl.sin, bl.exp, lambda x: x * x, lambda x: x.sum(axis=0, keepdims=True) * 0.5, lambda x: x - x.mean())
BINARY = (lambda a, b: a * b, lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a / (b * b + 1.0))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_right_gradients_of_any_graph_are_right_and_wrong_ones_wrong(data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    nodes = [bl.Value(rng.normal(size=(3, 2))), bl.Value(rng.normal(size=(1, 2)))]
    for _ in range(data.draw(st.integers(1, 6))):
        a, b = data.draw(st.sampled_from(nodes)), data.draw(st.sampled_from(nodes))
        unary, binary = data.draw(st.sampled_from(UNARY)), data.draw(st.sampled_from(BINARY))
        nodes.append(unary(a) if data.draw(st.booleans()) else binary(a, b))
    for i, node in enumerate(nodes):
        node.name = f"n{i}"
    loss = sum((node * rng.normal(size=node.shape)).sum() for node in nodes)
    loss.backward()
    gradients = {node: np.array(node.grad) for node in nodes}
    report = by_hand(loss, gradients)
    assert report.ok, str(report)
    wrong = data.draw(st.sampled_from(nodes))
    report = by_hand(loss, {**gradients, wrong: -gradients[wrong]})
    assert verdicts(report, "wrong") == {wrong.name}
    assert report[wrong.name].kind == "sign"
