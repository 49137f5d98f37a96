"""Initialisers: their spread, their keys, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import DomainError, DtypeError, ShapeError
from backlit.nn import init

SHAPE = (400, 100)
EVEN = [
    (init.xavier_uniform, {}, (6 / 500) ** 0.5),
    (init.xavier_uniform, {"gain": 2.0}, 2 * (6 / 500) ** 0.5),
    (init.kaiming_uniform, {}, (6 / 400) ** 0.5),
    (init.kaiming_uniform, {"mode": "fan_out"}, (6 / 100) ** 0.5),
    (init.kaiming_uniform, {"nonlinearity": "leaky_relu", "slope": 1.0}, (3 / 400) ** 0.5),
    (init.kaiming_uniform, {"nonlinearity": "tanh"}, 5 / 3 * (3 / 400) ** 0.5),
    (init.lecun_uniform, {}, (3 / 400) ** 0.5),
    (init.lecun_uniform, {"fan_in": 9}, (3 / 9) ** 0.5),
    (init.uniform, {"bound": 0.3}, 0.3),
]
BELL = [
    (init.xavier_normal, {}, (2 / 500) ** 0.5),
    (init.kaiming_normal, {}, (2 / 400) ** 0.5),
    (init.lecun_normal, {}, (1 / 400) ** 0.5),
    (init.normal, {"std": 0.02}, 0.02),
]


@pytest.mark.parametrize(("make", "options", "bound"), EVEN)
def test_an_even_initialiser_fills_its_interval(make: Any, options: Any, bound: float) -> None:
    w = make(0, SHAPE, dtype="float64", **options)
    assert w.shape == SHAPE
    assert bound * 0.999 < np.abs(w).max() <= bound
    assert abs(w.mean()) < 4 * bound / 3**0.5 / 200  # 40,000 numbers: four standard errors
    assert w.std() == pytest.approx(bound / 3**0.5, rel=0.01)


@pytest.mark.parametrize(("make", "options", "std"), BELL)
def test_a_normal_initialiser_has_its_spread(make: Any, options: Any, std: float) -> None:
    w = make(0, SHAPE, dtype="float64", **options)
    assert abs(w.mean()) < 4 * std / 200
    assert w.std() == pytest.approx(std, rel=0.015)
    assert np.abs(w).max() > 3.5 * std


@pytest.mark.parametrize("make", [row[0] for row in (*EVEN[:1], *BELL)] + [init.orthogonal])
def test_the_same_key_gives_the_same_numbers_and_another_others(make: Any) -> None:
    np.testing.assert_array_equal(make(3, (6, 4)), make(bl.random.key(3), (6, 4)))
    assert not np.array_equal(make(3, (6, 4)), make(4, (6, 4)))
    assert make(3, (6, 4)).dtype == np.float32
    np.testing.assert_array_equal(make(3, (6, 4)), make(3, (6, 4), dtype="float64").astype(np.float32))


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 4, 3), (1, 6)])
def test_orthogonal_gives_rows_or_columns_at_right_angles(shape: tuple[int, ...]) -> None:
    w = init.orthogonal(1, shape, dtype="float64", gain=2.0)
    assert w.shape == shape
    w = w if shape[-2] >= shape[-1] else np.swapaxes(w, -1, -2)
    gram = np.swapaxes(w, -1, -2) @ w
    np.testing.assert_allclose(gram, np.broadcast_to(4.0 * np.eye(w.shape[-1]), gram.shape), atol=1e-13)


def test_orthogonal_is_evenly_distributed_in_sign() -> None:
    signs = [np.linalg.det(init.orthogonal(key, (3, 3), dtype="float64")) > 0 for key in range(100)]
    assert 30 < sum(signs) < 70
    corners = [init.orthogonal(key, (3, 3), dtype="float64")[0, 0] > 0 for key in range(100)]
    assert 30 < sum(corners) < 70  # QR alone makes them nearly all of one sign


def test_fixed_initialisers() -> None:
    assert init.zeros(None, (2, 3)).tolist() == [[0.0] * 3] * 2
    assert init.ones(None, (2,), dtype="float64").dtype == np.float64
    assert init.constant(0.25)(None, (2,)).tolist() == [0.25, 0.25]
    array = np.arange(6.0).reshape(2, 3)
    taken = init.from_array(array)
    array[:] = 9.0
    assert taken(None, (2, 3)).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    with pytest.raises(ShapeError, match=r"needs \(3, 2\).*pass array\.T"):
        taken(None, (3, 2))


def test_a_layer_takes_names_functions_numbers_and_arrays() -> None:
    assert nn.Linear(2, 3, init=0.5).weight.data.tolist() == [[0.5] * 3] * 2
    assert nn.Linear(2, 1, init=[[1.0], [2.0]]).weight.data.tolist() == [[1.0], [2.0]]
    a, b = nn.Linear(2, 3, init="lecun_normal", key=1), nn.Linear(2, 3, init=nn.lecun_normal, key=1)
    np.testing.assert_array_equal(a.weight.data, b.weight.data)
    with pytest.raises(DomainError, match="no initialiser 'glorot'; choose one of xavier_uniform"):
        nn.Linear(2, 3, init="glorot")
    with pytest.raises(ShapeError, match=r"gave shape \(3,\), and was asked for \(2, 3\)"):
        nn.Linear(2, 3, init=lambda *args: np.zeros(3))


def test_what_cannot_be_started_is_refused() -> None:
    with pytest.raises(DtypeError, match="not int64"):
        init.normal(0, (2,), dtype="int64")
    with pytest.raises(ShapeError, match="has no fans"):
        init.xavier_normal(0, ())
    with pytest.raises(ShapeError, match="not that of a matrix"):
        init.orthogonal(0, (3,))
    with pytest.raises(DomainError, match="no gain known"):
        init.kaiming_normal(0, (2, 2), nonlinearity="cosine")
    with pytest.raises(DomainError, match="mode='both'"):
        init.kaiming_normal(0, (2, 2), mode="both")
    with pytest.raises(ShapeError, match="whole numbers from 0 up"):
        init.normal(0, (2, -1))


def test_layers_without_a_key_differ_and_begin_again_with_the_seed() -> None:
    nn.seed(11)
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    nn.seed(11)
    again = nn.Linear(3, 3)
    np.testing.assert_array_equal(first.weight.data, again.weight.data)
    assert not np.array_equal(first.weight.data, second.weight.data)
    nn.seed(12)
    assert not np.array_equal(nn.Linear(3, 3).weight.data, first.weight.data)
    nn.seed(0)


def test_a_layer_with_a_key_leaves_the_others_alone() -> None:
    nn.seed(5)
    first = nn.Linear(3, 3)
    nn.seed(5)
    nn.MLP(2, [3, 3], key=1)
    np.testing.assert_array_equal(nn.Linear(3, 3).weight.data, first.weight.data)
    nn.seed(0)


def test_a_new_process_starts_from_the_same_numbers() -> None:
    code = "from backlit import nn; print(repr(nn.Linear(2, 2).weight.data.tolist()))"
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1


@pytest.mark.peers
def test_gains_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for name in ("linear", "sigmoid", "tanh", "relu"):
        assert init.gain_of(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    assert init.gain_of("leaky_relu", 0.2) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.2), rel=1e-15)
