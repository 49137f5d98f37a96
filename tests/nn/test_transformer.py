"""Transformer blocks are what they say, and the model of text learns what comes next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.numbers import Abstract
from backlit.core.value import leaf
from backlit.nn.transformer import CharTransformer, TransformerBlock

RNG = np.random.default_rng(5)
TOKENS = RNG.integers(0, 7, size=(3, 6))


def test_a_block_adds_attention_and_a_network_each_after_a_norm() -> None:
    block = TransformerBlock(4, heads=2, causal=True, key=0, dtype="float64")
    for p in block.parameters():
        p.data = p.data + 0.2 * RNG.normal(size=p.shape)
    x = RNG.normal(size=(2, 3, 4))
    middle = x + block.attention(block.norm1(x)).data
    expected = middle + block.narrow(bl.gelu(block.widen(block.norm2(middle)))).data
    np.testing.assert_allclose(block(x).data, expected, rtol=1e-13)
    assert block.widen.weight.shape == (4, 16)


def test_gradients_of_a_block_are_what_nudging_finds() -> None:
    block = TransformerBlock(4, heads=2, causal=True, key=0, dtype="float64")
    for p in block.parameters():
        p.data = p.data + 0.2 * RNG.normal(size=p.shape)
    x = RNG.normal(size=(2, 3, 4))
    report = bl.check(lambda m, x: bl.square(m(x)).sum(), block, x, directions=1, elements=1)
    assert report.ok, str(report)


def test_a_mask_reaches_the_attention_of_a_block() -> None:
    block = TransformerBlock(4, heads=2, key=0, dtype="float64")
    x = RNG.normal(size=(2, 3, 4))
    below = np.tri(3, dtype=bool)
    causal = TransformerBlock(4, heads=2, causal=True, key=0, dtype="float64")
    np.testing.assert_array_equal(block(x, mask=below).data, causal(x).data)
    assert (block(x).data != causal(x).data).any()


def test_logits_at_a_place_depend_on_the_characters_up_to_it_only() -> None:
    model = CharTransformer(7, context=6, d=8, heads=2, key=0, dtype="float64")
    logits = model(TOKENS).data
    assert logits.shape == (3, 6, 7)
    changed = TOKENS.copy()
    changed[:, 4] = (changed[:, 4] + 1) % 7
    np.testing.assert_array_equal(model(changed).data[:, :4], logits[:, :4])
    assert (model(changed).data[:, 4:] != logits[:, 4:]).any(axis=(1, 2)).all()
    np.testing.assert_allclose(model(TOKENS[:, :3]).data, logits[:, :3], rtol=1e-12)
    np.testing.assert_allclose(model(TOKENS[0]).data, logits[0], rtol=1e-12)


def loss_on_tokens(model: Any) -> Any:
    return bl.nn.cross_entropy(model(TOKENS[:, :-1]), TOKENS[:, 1:])


def test_the_gradient_of_the_model_is_its_slope_in_a_random_direction() -> None:
    model = CharTransformer(7, context=6, d=4, heads=2, layers=2, key=0, dtype="float64")
    loss_on_tokens(model).backward()
    parameters = model.parameters()
    starts, ways = [p.data for p in parameters], [RNG.normal(size=p.shape) for p in parameters]

    def at(step: float) -> float:
        for p, start, way in zip(parameters, starts, ways, strict=True):
            p.data = start + step * way
        return loss_on_tokens(model).data

    slope = sum((p.grad * way).sum() for p, way in zip(parameters, ways, strict=True))
    h = 1e-4  # the fourth-order formula leaves some 1e-13 of the slope, and rounding 1e-12
    nudged = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    np.testing.assert_allclose(nudged, slope, rtol=1e-9)


@pytest.mark.slow
def test_each_gradient_of_the_model_is_what_nudging_finds() -> None:
    model = CharTransformer(7, context=6, d=4, heads=2, layers=2, key=0, dtype="float64")
    report = bl.check(loss_on_tokens, model, directions=1, elements=1)
    assert report.ok, str(report)


def test_the_model_learns_a_sequence_that_repeats() -> None:
    text = np.array([0, 1, 2, 0, 1, 3] * 10)
    windows = np.stack([text[i : i + 9] for i in range(6)])
    model = CharTransformer(4, context=8, d=16, heads=2, layers=1, key=0)
    optimizer = bl.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        loss = bl.nn.cross_entropy(model(windows[:, :-1]), windows[:, 1:])
        loss.backward()
        optimizer.step()
    right = model(windows[:, :-1]).data.argmax(-1) == windows[:, 1:]
    assert right[:, 4:].all(), loss.data  # by then it has seen which round it is


def test_nothing_is_random_but_by_the_key() -> None:
    a, b = (CharTransformer(7, context=6, d=8, heads=2, dropout=0.3, key=1) for _ in range(2))
    np.testing.assert_array_equal(a(TOKENS).data, b(TOKENS).data)
    other = CharTransformer(7, context=6, d=8, heads=2, dropout=0.3, key=2)
    assert (a(TOKENS).data != other(TOKENS).data).any()
    keys = [tuple(buffer.data) for name, buffer in a.named_buffers() if name.endswith("key")]
    assert len(keys) == 7
    assert len(set(keys)) == 7


def test_the_model_runs_on_shapes_alone() -> None:
    model = CharTransformer(7, context=6, d=8, heads=2, dropout=0.3, key=1)
    with bl.scope("trace"):  # any mode: shapes are looked for then
        loss = bl.nn.cross_entropy(model(leaf(Abstract((3, 5), np.dtype("int64")))), TOKENS[:, 1:])
    assert type(loss._data) is Abstract
    assert loss.shape == ()


def test_dropout_is_off_in_use() -> None:
    model = CharTransformer(7, context=6, d=8, heads=2, dropout=0.3, key=1)
    plain = CharTransformer(7, context=6, d=8, heads=2, key=1)
    assert (model(TOKENS).data != plain(TOKENS).data).any()
    np.testing.assert_array_equal(model.eval()(TOKENS).data, plain(TOKENS).data)


def test_what_does_not_fit_is_refused_with_the_cure() -> None:
    model = CharTransformer(7, context=6, d=8, heads=2, key=0)
    with pytest.raises(bl.ShapeError, match=r"up to 6.*\(1, 7\).*tokens\[\.\.\., -6:\]"):
        model(np.zeros((1, 7), int))
    with pytest.raises(bl.DtypeError, match=r"whole numbers below 7.*float64"):
        model(np.zeros((1, 4)))
    with pytest.raises(bl.IndexingError, match="7"):
        model([[0, 7]])
    with pytest.raises(bl.ShapeError, match="length 4"):
        TransformerBlock(4, heads=2)(np.ones((2, 3, 5)))
    with pytest.raises(bl.DomainError, match="heads"):
        TransformerBlock(6, heads=4)
