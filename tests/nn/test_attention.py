"""Attention is its formula, sees only what it may, and never makes a NaN of what is masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.core.numbers import Abstract
from backlit.core.value import leaf
from backlit.nn.attention import MultiHeadAttention, scaled_dot_product_attention

RNG = np.random.default_rng(11)
Q, K, V = RNG.normal(size=(2, 4, 3)), RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 5, 6))
MASK = RNG.random(size=(4, 5)) < 0.6
MASK[:, 0] = True


def by_hand(q: Any, k: Any, v: Any, allowed: Any = True, scale: float | None = None) -> Any:
    scores = np.einsum("...td,...sd->...ts", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    powers = np.exp(scores) * allowed
    total = powers.sum(-1, keepdims=True)
    return (powers / np.where(total == 0, 1, total)) @ v


def test_attention_is_its_formula() -> None:
    attend = scaled_dot_product_attention
    np.testing.assert_allclose(attend(Q, K, V).data, by_hand(Q, K, V), rtol=1e-12)
    np.testing.assert_allclose(attend(Q, K, V, scale=0.3).data, by_hand(Q, K, V, scale=0.3), rtol=1e-12)
    np.testing.assert_allclose(attend(Q, K, V, mask=MASK).data, by_hand(Q, K, V, MASK), rtol=1e-12)
    below = np.tri(4, 5, dtype=bool)
    np.testing.assert_allclose(attend(Q, K, V, causal=True).data, by_hand(Q, K, V, below), rtol=1e-12)
    both = attend(Q, K, V, causal=True, mask=MASK).data
    np.testing.assert_allclose(both, by_hand(Q, K, V, below & MASK), rtol=1e-12)


def test_a_mask_of_numbers_is_added_and_minus_infinity_excludes() -> None:
    added = RNG.normal(size=(4, 5))
    expected = by_hand(Q, K, V, np.where(MASK, np.exp(added), 0.0))
    mask = bl.Value(np.where(MASK, added, -np.inf))
    result = scaled_dot_product_attention(Q, K, V, mask=mask)
    np.testing.assert_allclose(result.data, expected, rtol=1e-12)
    bl.square(result).sum().backward()
    assert np.isfinite(mask.grad).all()
    assert not mask.grad[~MASK].any()
    assert mask.grad[MASK].all()


@pytest.mark.parametrize("options", [{}, {"mask": MASK}, {"causal": True}], ids=["all", "mask", "causal"])
def test_gradients_of_attention_are_what_nudging_finds(options: dict[str, Any]) -> None:
    report = bl.check(
        lambda q, k, v: bl.square(scaled_dot_product_attention(q, k, v, **options)).sum(), Q, K, V, elements=3
    )
    assert report.ok, str(report)


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_query_that_sees_nothing_gets_zeros_and_sends_no_gradient(dtype: Any, numbers: bool) -> None:
    mask = MASK.copy()
    mask[1] = False
    given = np.where(mask, 0.0, -np.inf) if numbers else mask
    q, k, v = (bl.Value(x.astype(dtype)) for x in (Q, K, V))
    result = scaled_dot_product_attention(q, k, v, mask=given)
    bl.square(result).sum().backward()
    assert result.dtype == dtype
    assert not result.data[:, 1].any()
    assert not q.grad[:, 1].any()
    assert q.grad[:, [0, 2, 3]].any()
    for x in (q, k, v):
        assert np.isfinite(x.grad).all()


def test_masking_makes_no_infinity_on_the_way() -> None:
    with bl.trace_nonfinite():
        result = scaled_dot_product_attention(bl.Value(Q), K, V, causal=True, mask=MASK)
        bl.square(result).sum().backward()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_scores_stay_finite(dtype: Any) -> None:
    q = bl.Value((1e4 * Q).astype(dtype))
    result = scaled_dot_product_attention(q, (1e4 * K).astype(dtype), V.astype(dtype), causal=True)
    bl.square(result).sum().backward()
    assert np.isfinite(result.data).all()
    assert np.isfinite(q.grad).all()
    np.testing.assert_allclose(result.data[:, 0], V[:, 0], rtol=1e-6)


def test_what_comes_later_does_not_change_what_a_causal_head_sees() -> None:
    attention = MultiHeadAttention(6, heads=2, causal=True, key=0, dtype="float64")
    x = RNG.normal(size=(2, 5, 6))
    changed = x.copy()
    changed[:, 3:] += 10.0
    a, b = attention(x).data, attention(changed).data
    np.testing.assert_array_equal(a[:, :3], b[:, :3])
    assert (a[:, 3:] != b[:, 3:]).any()


def test_heads_attend_each_in_features_of_its_own() -> None:
    attention = MultiHeadAttention(6, heads=2, key=0, dtype="float64")
    for p in attention.parameters():
        p.data = RNG.normal(size=p.shape)
    x, context = RNG.normal(size=(2, 4, 6)), RNG.normal(size=(2, 5, 6))

    def linear(layer: Any, x: Any) -> Any:
        return x @ layer.weight.data + (0.0 if layer.bias is None else layer.bias.data)

    q, k, v = linear(attention.query, x), linear(attention.key, context), linear(attention.value, context)
    parts = [by_hand(q[..., part], k[..., part], v[..., part]) for part in (slice(0, 3), slice(3, 6))]
    expected = linear(attention.out, np.concatenate(parts, axis=-1))
    np.testing.assert_allclose(attention(x, context).data, expected, rtol=1e-12)
    np.testing.assert_allclose(attention(x[0], context[0]).data, expected[0], rtol=1e-12)
    assert attention(x[None], context[None]).shape == (1, 2, 4, 6)


def test_a_bias_of_the_keys_would_change_nothing() -> None:
    offset = RNG.normal(size=3)
    np.testing.assert_allclose(
        scaled_dot_product_attention(Q, K + offset, V).data, scaled_dot_product_attention(Q, K, V).data, rtol=1e-12
    )
    assert MultiHeadAttention(6, heads=2).key.bias is None


def test_a_mask_may_be_shared_by_heads_or_differ() -> None:
    attention = MultiHeadAttention(6, heads=2, key=0, dtype="float64")
    x = RNG.normal(size=(2, 4, 6))
    square = MASK[:, :4]
    shared = attention(x, mask=square).data
    np.testing.assert_array_equal(attention(x, mask=np.broadcast_to(square, (2, 2, 4, 4))).data, shared)
    np.testing.assert_array_equal(attention(x, mask=square[None, None]).data, shared)
    padding = np.array([[True, True, True, False], [True, True, True, True]])[:, None, None, :]
    padded = attention(x, mask=padding).data
    np.testing.assert_allclose(padded[0], attention(x[:1], x[:1, :3]).data[0], rtol=1e-12)
    with pytest.raises(bl.ShapeError, match=r"\(2, 4, 4\).*\(2, 2, 4, 4\).*mask\[\.\.\., None, :, :\]"):
        attention(x, mask=np.ones((2, 4, 4), bool))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_heads_are_what_nudging_finds(causal: bool) -> None:
    attention = MultiHeadAttention(4, heads=2, causal=causal, key=0, dtype="float64")
    x, context = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 4, 4))
    report = bl.check(lambda m, x, c: bl.square(m(x, c)).sum(), attention, x, context, directions=1, elements=2)
    assert report.ok, str(report)


def test_attention_runs_on_shapes_alone() -> None:
    with bl.scope("trace"):
        q, k, v = (leaf(Abstract(x.shape, x.dtype)) for x in (Q, K, V))
        result = scaled_dot_product_attention(q, k, v, causal=True, mask=MASK)
        heads = MultiHeadAttention(6, heads=2, causal=True, dropout=0.1, key=0)
        mixed = heads(leaf(Abstract((2, 5, 6), np.dtype("float32"))))
    assert type(result._data) is type(mixed._data) is Abstract
    assert result.shape == (2, 4, 6)
    assert mixed.shape == (2, 5, 6)


def test_dropout_acts_in_training_only_and_follows_the_key() -> None:
    a, b = (MultiHeadAttention(6, heads=2, dropout=0.5, key=3) for _ in range(2))
    x = RNG.normal(size=(2, 5, 6))
    np.testing.assert_array_equal(a(x).data, b(x).data)
    assert (a(x).data != a(x).data).any()
    a.eval()
    np.testing.assert_array_equal(a(x).data, a(x).data)
    plain = MultiHeadAttention(6, heads=2, key=3)
    np.testing.assert_array_equal(a(x).data, plain(x).data)


def test_what_does_not_fit_is_refused_with_the_cure() -> None:
    attend = scaled_dot_product_attention
    with pytest.raises(bl.DomainError, match=r"4 heads.*d=6"):
        MultiHeadAttention(6, heads=4)
    with pytest.raises(bl.ShapeError, match=r"\(2, 4, 3\).*\(2, 5, 2\).*last axes"):
        attend(Q, K[..., :2], V)
    with pytest.raises(bl.ShapeError, match="each key has a value"):
        attend(Q, K, V[:, :4])
    with pytest.raises(bl.ShapeError, match="positions, features"):
        attend(Q[0, 0], K, V)
    with pytest.raises(bl.ShapeError, match=r"mask has shape \(5, 4\).*4 queries look at 5 keys"):
        attend(Q, K, V, mask=MASK.T)
    with pytest.raises(bl.DtypeError, match=r"int64.*mask != 0"):
        attend(Q, K, V, mask=MASK.astype(int))
    with pytest.raises(bl.ShapeError, match="length 6"):
        MultiHeadAttention(6, heads=2)(np.ones((2, 4, 5)))
    with pytest.raises(bl.ShapeError, match="time, 6"):
        MultiHeadAttention(6, heads=2)(np.ones(6))
