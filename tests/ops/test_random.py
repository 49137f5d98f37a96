"""Random numbers from keys: the same for the same key, of the right distribution, with gradients."""

import pickle

import numpy as np
import pytest

import backlit as bl
from backlit.core import threefry
from backlit.core.errors import DomainError, DtypeError, ShapeError

KEY = bl.random.key(42)


def test_keys_are_small_immutable_things():
    a, b = bl.random.split(KEY)
    assert len({KEY, a, b, bl.random.key(42)}) == 3
    assert repr(bl.random.key(7)) == "Key(0, 7)"
    assert pickle.loads(pickle.dumps(a)) == a
    with pytest.raises(AttributeError, match="split"):
        a.words = (0, 0)
    assert bl.random.split(KEY, 5)[:2] == (a, b)
    assert bl.random.fold_in(KEY, 3) == bl.random.fold_in(KEY, 3) != bl.random.fold_in(KEY, 4)
    assert KEY != (0, 42)


def test_the_numbers_are_those_of_the_cipher():
    words = threefry.key_from_seed(42)
    np.testing.assert_array_equal(bl.random.normal(KEY, (2, 3)).data.ravel(), threefry.normal(words, 6))
    np.testing.assert_array_equal(bl.random.uniform(KEY, 5).data, threefry.uniform(words, 5))
    np.testing.assert_array_equal(bl.random.permutation(KEY, 5).data, threefry.permutation(words, 5))
    np.testing.assert_array_equal(bl.random.randint(KEY, 5, -3, 9).data, threefry.randint(words, 5, -3, 9))


def test_a_key_gives_the_same_numbers_every_time():
    for draw in (
        lambda key: bl.random.normal(key, 4),
        lambda key: bl.random.uniform(key, (2, 2), -1, 1),
        lambda key: bl.random.bernoulli(key, 0.5, 40),
        lambda key: bl.random.permutation(key, 10),
        lambda key: bl.random.categorical(key, [0.0, 0.0, 0.0], shape=40),
        lambda key: bl.random.randint(key, 40, 0, 3),
    ):
        assert draw(KEY).data.tolist() == draw(KEY).data.tolist()
        assert draw(KEY).data.tolist() != draw(bl.random.key(1)).data.tolist()


def test_shapes_and_dtypes():
    assert type(bl.random.normal(KEY).data) is float
    assert bl.random.normal(KEY, (2, 0)).shape == (2, 0)
    for dtype in ("float16", "float32", "float64"):
        assert bl.random.normal(KEY, 3, dtype).dtype == dtype
        assert bl.random.uniform(KEY, 3, dtype=dtype).dtype == dtype
        assert bl.random.uniform(KEY, 3, -1, 1, dtype=dtype).dtype == dtype
    assert bl.random.randint(KEY, (2, 2), 0, 9, dtype="uint8").dtype == np.uint8
    assert bl.random.uniform(KEY, low=np.zeros(3), high=np.ones((2, 1))).shape == (2, 3)
    assert bl.random.bernoulli(KEY, np.full((2, 3), 0.5)).shape == (2, 3)
    assert bl.random.bernoulli(KEY).dtype == np.bool_


def test_moments():
    n = 100_000
    z = bl.random.normal(KEY, n).data
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    u = bl.random.uniform(KEY, n, -2.0, 4.0).data
    assert u.min() >= -2
    assert u.max() <= 4
    assert abs(u.mean() - 1) < 0.02
    assert abs(bl.random.bernoulli(KEY, 0.3, n).data.mean() - 0.3) < 0.005
    dice = np.bincount(bl.random.randint(KEY, n, 0, 6).data, minlength=6)
    np.testing.assert_allclose(dice / n, 1 / 6, atol=0.005)


def test_bernoulli_at_the_ends_is_certain():
    assert not bl.random.bernoulli(KEY, 0.0, 1000).data.any()
    assert bl.random.bernoulli(KEY, 1.0, 1000).data.all()
    p = bl.Value([0.0, 1.0])
    assert bl.random.bernoulli(KEY, p, (3, 2)).data.tolist() == [[False, True]] * 3


def test_categorical_draws_with_the_probabilities_of_softmax():
    logits = np.array([0.0, 1.0, -np.inf, -1.0])
    expected = np.exp(logits) / np.exp(logits).sum()
    drawn = bl.random.categorical(KEY, logits, shape=50_000).data
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 50_000, expected, atol=0.01)
    assert 2 not in drawn
    rows = bl.random.categorical(KEY, bl.Value(np.stack([logits, logits[::-1]])), axis=-1)
    assert rows.shape == (2,)
    columns = bl.random.categorical(KEY, np.stack([logits] * 3, axis=1), axis=0, shape=(1000, 3))
    assert columns.shape == (1000, 3)


def test_gradients_flow_to_the_ends_of_a_uniform_distribution():
    low, high = bl.values(low=-1.0, high=3.0)
    x = bl.random.uniform(KEY, 5, low, high)
    share = bl.random.uniform(KEY, 5).data
    np.testing.assert_allclose(x.data, -1 + 4 * share)
    x.sum().backward()
    assert high.grad == pytest.approx(share.sum())
    assert low.grad == pytest.approx((1 - share).sum())


def test_permuting_an_array_keeps_its_gradient():
    x = bl.Value(np.arange(12.0).reshape(4, 3))
    order = bl.random.permutation(KEY, 4).data
    y = bl.random.permutation(KEY, x)
    np.testing.assert_array_equal(y.data, x.data[order])
    (y * np.arange(4.0)[:, None]).sum().backward()
    np.testing.assert_array_equal(x.grad[order][:, 0], np.arange(4.0))
    assert sorted(bl.random.permutation(KEY, np.arange(12).reshape(4, 3), axis=1).data[0].tolist()) == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: bl.random.normal(42, 3), DtypeError, r"key\(seed\)"),
        (lambda: bl.random.normal(KEY, -1), ShapeError, "below 0"),
        (lambda: bl.random.normal(KEY, 3, "int8"), DtypeError, "float64, float32 or float16"),
        (lambda: bl.random.uniform(KEY, 2, np.zeros(3)), ShapeError, r"ends, of shape \(3,\)"),
        (lambda: bl.random.bernoulli(KEY, [0.5, 1.5]), DomainError, "unlike 1.5"),
        (lambda: bl.random.bernoulli(KEY, float("nan")), DomainError, "unlike nan"),
        (lambda: bl.random.randint(KEY, 3, 0, 300, dtype="uint8"), DomainError, "do not fit"),
        (lambda: bl.random.randint(KEY, 3, 0, 3, dtype="float32"), DtypeError, "whole numbers"),
        (lambda: bl.random.randint(KEY, 3, 3, 3), DomainError, "low"),
        (lambda: bl.random.categorical(KEY, 1.0), ShapeError, "no axis"),
        (lambda: bl.random.categorical(KEY, np.zeros((2, 0))), ShapeError, "no class"),
        (lambda: bl.random.categorical(KEY, np.zeros((2, 3)), shape=5), ShapeError, "do not broadcast"),
        (lambda: bl.random.Key(-1, 0), DomainError, "words"),
    ],
)
def test_errors_say_what_was_wrong(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
