"""`why`: derivations of scalars, simplifications, pictures of arrays, and the ways in which an answer shows itself."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.explain.why import why

# -- derivations ---------------------------------------------------------------------------------------------


def test_each_line_has_symbols_numbers_a_rule_and_the_line_of_the_program() -> None:
    a, b = bl.values(a=2.0, b=-3.0)
    loss = (a * b).tanh()
    answer = why(a, of=loss)
    first, second = answer.lines
    assert first.step == "loss = tanh(t1)"
    assert first.left == "∂loss/∂t1"
    assert first.chain == ("1 - loss**2", "1 - (-0.999988)**2")
    assert first.rule == "chain rule through tanh: 1 - tanh²"
    assert second.chain[0] == "∂loss/∂t1 × b"
    assert second.rule == "product rule"
    assert second.spot is not None
    assert second.spot.text == "loss = (a * b).tanh()"
    assert answer.check is not None
    assert answer.check.verdict == "agrees"
    assert answer.check.value == pytest.approx(answer.gradient, abs=1e-9)


def test_paths_are_summed_where_they_join() -> None:
    x = bl.Value(2.0, name="x")
    answer = why(x, of=x * x + x)
    joins = [line for line in answer.lines if line.rule.startswith("sum of paths")]
    assert [(line.left, line.value) for line in joins] == [("∂output/∂x", 5.0)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_derivations_of_random_scalar_graphs_end_in_the_gradient(data: st.DataObject) -> None:
    leaves = [bl.Value(data.draw(st.floats(-2, 2)), name=f"x{i}") for i in range(3)]
    nodes = list(leaves)
    unary = [bl.tanh, bl.relu, bl.exp, bl.sin, bl.square, bl.sigmoid]
    for _ in range(data.draw(st.integers(1, 12))):
        a, b = (nodes[data.draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        kind = data.draw(st.integers(0, 4))
        if kind == 0:
            nodes.append(data.draw(st.sampled_from(unary))(a.tanh()))
        elif kind == 1:
            with bl.scope("neuron"):
                nodes.append(bl.tanh(a * 0.7 + b))
        else:
            nodes.append(a * b if kind == 2 else a + b if kind == 3 else bl.maximum(a, b))
    loss = nodes[-1] * 1.0
    loss.backward()
    for x in leaves:
        answer = why(x, of=loss, open=data.draw(st.booleans()))
        if x.grad is None:
            assert answer.state == "none"
            continue
        assert answer.gradient == pytest.approx(x.grad, rel=1e-9, abs=1e-12)
        if answer.lines and answer.lines[-1].left.endswith("/∂" + x.name):
            assert answer.lines[-1].value == pytest.approx(x.grad, rel=1e-9, abs=1e-12)


def test_composites_of_scalars_are_one_step_until_they_are_opened() -> None:
    w, x = bl.values(w=0.5, x=2.0)
    with bl.scope("neuron"):
        y = bl.tanh(w * x)
    answer = why(w, of=y * 3.0)
    assert [line.rule for line in answer.lines] == ["constant factor rule", "through neuron, folded"]
    assert len(answer.opened().lines) == 3
    assert answer.opened().gradient == answer.gradient


def test_a_long_chain_is_told_in_part_and_quickly() -> None:
    x = h = bl.Value(1.0, name="x")
    for _ in range(20_000):
        h = h * 1.0001
    start = time.perf_counter()
    answer = why(x, of=h)
    text = str(answer)
    assert time.perf_counter() - start < 20
    assert "more steps" in text
    assert answer.gradient == pytest.approx(1.0001**20_000)


def test_a_graph_of_too_many_scalars_is_told_by_its_terms() -> None:
    w = [bl.Value(0.1 * i, name=f"w{i}") for i in range(10)]
    x = bl.Value(1.0, name="x")
    loss = sum(((x * each).tanh() * each for each in w * 10), bl.Value(0.0))
    loss.backward()
    answer = why(x, top=4)
    assert answer.sum is not None
    assert answer.sum.count == 100
    assert answer.sum.total == pytest.approx(x.grad)
    assert answer.follow(1).gradient == answer.sum.terms[0].cotangent


# -- simplifications -----------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
Z, Y = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 1])
ROWS = np.arange(4)


def losses(z: bl.Value) -> dict[str, bl.Value]:
    """Cross entropies of logits, as people write them."""
    target = np.eye(3)[Y]
    return {
        "log_softmax": -bl.log_softmax(z)[ROWS, Y].mean(),
        "one-hot": -(bl.log_softmax(z) * target).sum() / 4,
        "log of softmax": -bl.log(bl.softmax(z))[ROWS, Y].mean(),
        "softmax, picked": -bl.log(bl.softmax(z)[ROWS, Y]).mean(),
        "logsumexp": (bl.logsumexp(z, axis=1) - z[ROWS, Y]).mean(),
    }


@pytest.mark.parametrize("name", list(losses(bl.Value(Z))))
def test_softmax_and_cross_entropy_simplify_to_p_minus_y(name: str) -> None:
    z = bl.Value(Z, name="z")
    loss = losses(z)[name]
    p = bl.softmax(z).data
    for index, y in (((0, 0), 1.0), ((0, 1), 0.0)):
        answer = why(z, of=loss, index=index)
        (note,) = answer.notes
        assert note.startswith("softmax and cross entropy simplify to p - y")
        assert f"softmax(z)[{index[0]}, {index[1]}] = {p[index]:.6g}" in note
        assert "× 1/4" in note
        assert answer.gradient == pytest.approx((p[index] - y) / 4)


def test_other_losses_of_softmax_are_not_called_cross_entropy() -> None:
    z = bl.Value(Z, name="z")
    for loss in ((bl.softmax(z) ** 2).mean(), (bl.log_softmax(z) ** 2).mean(), bl.logsumexp(z, axis=1).prod()):
        assert why(z, of=loss, index=(0, 0)).notes == ()


def test_sigmoid_and_cross_entropy_simplify_to_p_minus_y() -> None:
    z, y = bl.Value([0.3, -1.0, 2.0], name="z"), np.array([1.0, 0.0, 1.0])
    p = bl.sigmoid(z)
    for loss in (
        -(y * bl.log(p) + (1 - y) * bl.log(1 - p)).mean(),
        -(y * bl.log(p) + (1 - y) * bl.log1p(-p)).mean(),
        (bl.softplus(z) - y * z).mean(),
    ):
        answer = why(z, of=loss, index=1)
        assert answer.notes[0].startswith("sigmoid and cross entropy simplify to p - y")
        assert answer.gradient == pytest.approx((p.data[1] - 0.0) / 3)


def test_a_mean_is_one_nth_each() -> None:
    x = bl.Value([1.0, 2.0, 3.0, 4.0], name="x")
    answer = why(x, of=bl.mean(bl.tanh(x)), index=2)
    assert "a mean of 4: 1/4 each" in [line.rule for line in answer.lines]


# -- whole arrays --------------------------------------------------------------------------------------------


def test_picture_of_an_array() -> None:
    w = bl.Parameter(np.ones((3, 4)), name="w")
    weights = np.ones((3, 4))
    weights[:, 2], weights[1, 3] = 0.0, 100.0
    loss = (w * weights).sum()
    loss.backward()
    p = why(w).picture
    assert p is not None
    assert (p.shape, p.zeros, p.largest, p.smallest) == ((3, 4), 3, 100.0, 0.0)
    assert p.norm == pytest.approx(np.linalg.norm(weights))
    labels = {s.label: s.text for s in p.standouts}
    assert "w[1, 3]" in labels
    assert labels["1 of 4 columns"] == "exactly zero: 2"
    assert "times the median" in labels["column 3"]
    assert "w, index=(1, 3)" in why(w).story[0]


def test_norms_do_not_overflow() -> None:
    w = bl.Parameter(np.array([1e200, 1e200]), name="w")
    assert why(w, of=(w * 1e200).sum()).picture.norm == pytest.approx(np.sqrt(2) * 1e200)


# -- how it shows itself -------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Checks that tags are balanced and that nothing is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.details = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {name for name, _ in attrs} & {"src", "href"}
        self.details += tag == "details"
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def small_net() -> tuple[bl.Parameter, bl.Value]:
    rng = np.random.default_rng(0)
    w = bl.Parameter(rng.normal(size=(3, 4)), name="w<1>")
    h = bl.tanh(rng.normal(size=(6, 3)) @ w)
    loss = (h @ rng.normal(size=(4, 2))).mean()
    loss.backward()
    return w, loss


def test_html_is_one_file_that_needs_nothing_else(tmp_path: Path) -> None:
    w, _loss = small_net()
    file = tmp_path / "why.html"
    why(w, index=(1, 2)).html(file)
    page = file.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.details >= 5
    assert "(w&lt;1&gt;)[1, 2]" in page
    assert not re.search(r"https?:", page)


def test_notebooks_show_html_and_latex() -> None:
    w, _loss = small_net()
    for answer in (why(w), why(w, index=(1, 2)), why(w, index=(1, 2)).follow(2)):
        assert "backlit-why" in answer._repr_html_()
        latex = answer._repr_latex_()
        assert latex.startswith("$\\displaystyle \\begin{aligned}")
        assert latex.count("{") == latex.count("}")


def test_json_knows_every_number() -> None:
    x = bl.Value([0.0, 1.0], name="x")
    loss = bl.sqrt(x * x).sum()
    loss.backward()
    data = json.loads(json.dumps(why(x).to_dict(), allow_nan=False))
    assert data["schema"] == "backlit.explanation/1"
    assert data["gradient"] == ["nan", 1.0]


@pytest.mark.parametrize("width", [50, 80, 140])
def test_text_keeps_within_the_width_where_it_can(width: int) -> None:
    w, _loss = small_net()
    prose = [line for line in why(w, index=(1, 2)).text(width).splitlines() if line.startswith("  ∂")]
    assert all(len(line) <= width for line in prose)


# -- cost ----------------------------------------------------------------------------------------------------


def test_one_element_of_a_net_is_explained_in_time() -> None:
    """784-512-512-10: one element of any gradient within 50 ms (measured: 2 to 15 on two shared cores)."""
    rng = np.random.default_rng(0)
    shapes = ((784, 512), (512, 512), (512, 10))
    ws = [bl.Parameter((rng.normal(size=s) * 0.05).astype(np.float32)) for s in shapes]
    bs = [bl.Parameter(np.zeros(s[1], np.float32)) for s in shapes]
    h = bl.asarray(rng.normal(size=(64, 784)).astype(np.float32))
    for w, b in zip(ws[:2], bs[:2], strict=True):
        h = (h @ w + b).relu()
    logits = h @ ws[2] + bs[2]
    loss = -bl.log_softmax(logits)[np.arange(64), rng.integers(0, 10, 64)].mean()
    loss.backward()
    for x, index in [*((w, (3, 5)) for w in ws), *((b, 5) for b in bs)]:
        took = []
        for _ in range(3):
            start = time.perf_counter()
            str(why(x, index=index))
            took.append(time.perf_counter() - start)
        assert min(took) < 0.05, (x.shape, took)
