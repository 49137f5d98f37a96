"""Dropout: how many it drops, which, and that the sequence can be repeated, stored and gone on with."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.autodiff.verify import check_op
from backlit.core.errors import DomainError
from backlit.nn.dropout import KEPT

ONES = np.ones((200, 100))


def test_the_mask_is_an_op_whose_rules_agree() -> None:
    assert check_op(KEPT) == []


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_rest_made_larger(p: float) -> None:
    y = nn.Dropout(p, key=3)(ONES).data
    assert set(np.unique(y)) == {0.0, 1.0 / (1.0 - p)}
    share = (y == 0).mean()
    assert abs(share - p) < 4 * (p * (1 - p) / y.size) ** 0.5
    assert abs(y.mean() - 1.0) < 4 * (p / (1 - p) / y.size) ** 0.5


def test_two_calls_drop_independently_and_one_key_the_same_sequence() -> None:
    a, b, other = nn.Dropout(0.5, key=3), nn.Dropout(0.5, key=3), nn.Dropout(0.5, key=4)
    first, second = a(ONES).data, a(ONES).data
    assert 0.45 < (first == second).mean() < 0.55
    np.testing.assert_array_equal(first, b(ONES).data)
    np.testing.assert_array_equal(second, b(ONES).data)
    assert 0.45 < (first == other(ONES).data).mean() < 0.55
    assert a.count.data == 2


def test_in_use_nothing_is_dropped_and_nothing_counted() -> None:
    layer = nn.Dropout(0.5, key=3).eval()
    np.testing.assert_array_equal(layer(ONES).data, ONES)
    assert layer.count.data == 0
    nothing = nn.Dropout(0.0)
    np.testing.assert_array_equal(nothing(ONES).data, ONES)


def test_the_gradient_flows_through_what_was_kept_alone() -> None:
    layer, x = nn.Dropout(0.25, key=3), bl.Value(np.ones((4, 5)))
    y = layer(x)
    (y * 3.0).sum().backward()
    np.testing.assert_allclose(x.grad, 3.0 * y.data, rtol=1e-15)
    y = nn.Dropout(0.5, key=3)(bl.Value([np.inf, np.nan] * 50))
    assert (y.data == 0).sum() > 20  # dropped is dropped, whatever it was


def test_the_gradient_agrees_with_nudging_when_the_key_is_set_again() -> None:
    layer = nn.Dropout(0.5, key=3)

    def f(x: Any) -> Any:
        nn.reseed(layer, 5)
        return (layer(x) ** 2).sum()

    assert bl.check(f, np.linspace(-1, 1, 12).reshape(3, 4)).ok


def test_a_stored_layer_goes_on_where_it_was() -> None:
    layer = nn.Dropout(0.5, key=3)
    layer(ONES)
    state, twin = layer.state_dict(), copy.deepcopy(layer)
    assert (state["key"].dtype, state["key"].shape, state["count"]) == (np.uint32, (2,), 1)
    want = layer(ONES).data
    np.testing.assert_array_equal(twin(ONES).data, want)
    fresh = nn.Dropout(0.5, key=9)
    fresh.load_state_dict(state)
    np.testing.assert_array_equal(fresh(ONES).data, want)


def test_the_dtype_is_that_of_the_input() -> None:
    assert nn.Dropout(0.5)(ONES.astype("float32")).dtype == bl.float32


def test_reseed_gives_each_layer_its_own_key_whatever_it_had() -> None:
    def model(key: int) -> nn.Sequential:
        return nn.Sequential(nn.Dropout(0.5, key=key), nn.Linear(4, 4, key=0), nn.Sequential(nn.Dropout(0.5, key=key)))

    a, b = model(1), model(2)
    a(np.ones((2, 4)))
    for each in (a, b):
        nn.reseed(each, bl.random.key(7))
    keys = [m.key.data.tolist() for m in (*a.modules(), *b.modules()) if isinstance(m, nn.Dropout)]
    assert keys[:2] == keys[2:]
    assert keys[0] != keys[1]
    x = np.ones((8, 4))
    np.testing.assert_array_equal(a(x).data, b(x).data)
    weights = [p.data for p in a.parameters()]
    nn.reseed(a, 8)
    np.testing.assert_array_equal(weights[0], a.parameters()[0].data)
    assert a[0].count.data == 0  # type: ignore[attr-defined]


def test_layers_without_a_key_differ() -> None:
    assert not np.array_equal(nn.Dropout()(ONES).data, nn.Dropout()(ONES).data)


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0, float("nan")])
def test_a_probability_outside_is_refused(p: float) -> None:
    with pytest.raises(DomainError, match="probability of being dropped"):
        nn.Dropout(p)
