"""Learning rates that change with the steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import optim

SCHEDULES = {
    "constant": optim.constant(0.3),
    "step": optim.step(1.0, every=10, factor=0.5),
    "exponential": optim.exponential(1.0, 0.9, every=3),
    "cosine": optim.cosine(1.0, 40, least=0.1),
    "cosine with restarts": optim.cosine(1.0, 10, restarts=True),
    "cosine with longer restarts": optim.cosine(1.0, 7, least=0.1, restarts=True, longer=3),
    "one cycle": optim.one_cycle(1.0, 50),
    "warm up": optim.warm_up(10, optim.cosine(1.0, 30)),
    "piecewise": optim.piecewise([(0, 1.0), (10, optim.exponential(0.5, 0.9)), (20, 0.1)]),
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


@every_schedule
def test_numbers_numpy_integers_and_values_give_one_rate(name):
    schedule = SCHEDULES[name]
    steps = bl.Buffer(0, dtype="int64")
    for t in range(60):
        steps.data = t
        rate = float(schedule(t))
        assert float(schedule(np.int64(t))) == rate
        assert float(schedule(steps)) == pytest.approx(rate, rel=1e-15)


@every_schedule
def test_an_array_of_steps_is_a_curve(name):
    steps = np.arange(60)
    curve = SCHEDULES[name](steps)
    expected = [float(SCHEDULES[name](t)) for t in range(60)]
    np.testing.assert_allclose(np.broadcast_to(curve, 60), expected, rtol=1e-14)


def test_rates_by_hand():
    assert [SCHEDULES["step"](t) for t in (0, 9, 10, 20)] == [1.0, 1.0, 0.5, 0.25]
    assert SCHEDULES["exponential"](6) == pytest.approx(0.81)
    cosine = SCHEDULES["cosine"]
    assert [round(cosine(t), 12) for t in (0, 20, 40, 1000)] == [1.0, 0.55, 0.1, 0.1]
    assert cosine(10) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    warm = SCHEDULES["warm up"]
    assert [warm(t) for t in (0, 4, 10)] == [pytest.approx(1 / 11), pytest.approx(5 / 11), 1.0]
    assert warm(25) == pytest.approx(0.5)
    pieces = SCHEDULES["piecewise"]
    assert [float(pieces(t)) for t in (9, 10, 11, 20)] == [1.0, 0.5, 0.45, 0.1]


def test_restarts_begin_exactly_where_rounds_end():
    longer = SCHEDULES["cosine with longer restarts"]
    begins = [7 * (3**n - 1) // 2 for n in range(9)]
    for begin in begins:
        assert longer(begin) == 1.0
    for begin in begins[1:]:
        assert longer(begin - 1) < 0.2


def test_a_schedule_has_derivatives_by_its_numbers():
    def rate(peak):
        return optim.warm_up(10, optim.one_cycle(peak, 50))(23)

    assert bl.grad(rate)(0.3).data == pytest.approx(bl.numerical_grad(rate)(0.3).data, rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.step(1.0, every=0),
        lambda: optim.exponential(1.0, 0.5, every=0),
        lambda: optim.cosine(1.0, 0),
        lambda: optim.one_cycle(1.0, 3),
        lambda: optim.one_cycle(1.0, 100, rise=1.5),
        lambda: optim.warm_up(0, 1.0),
        lambda: optim.piecewise([]),
        lambda: optim.piecewise([(5, 1.0)]),
        lambda: optim.piecewise([(0, 1.0), (10, 0.5), (10, 0.1)]),
        lambda: optim.ReduceOnPlateau(optim.SGD([bl.Value(1.0)]), factor=1.0),
    ],
)
def test_what_makes_no_schedule_is_refused(make):
    with pytest.raises(bl.DomainError):
        make()


def test_a_plateau_lowers_the_rate_and_not_below_the_least():
    optimizer = optim.SGD([bl.Value(1.0)], lr=1.0)
    plateau = optim.ReduceOnPlateau(optimizer, factor=0.1, patience=2, pause=1, least=0.05)
    losses = [5.0, 4.0, 4.0, math.nan, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    rates = []
    for loss in losses:
        plateau.observe(loss)
        rates.append(optimizer.lr)
    assert rates[:5] == [1.0, 1.0, 1.0, 1.0, 0.1]
    assert rates[5:9] == [0.1, 0.1, 0.1, 0.05]
    assert rates[-1] == 0.05
    assert plateau.best == 4.0


def test_a_plateau_goes_on_from_its_state():
    one = optim.ReduceOnPlateau(optim.SGD([bl.Value(1.0)], lr=1.0), patience=2)
    for loss in (3.0, 3.0, 3.0):
        one.observe(loss)
    two = optim.ReduceOnPlateau(optim.SGD([bl.Value(1.0)], lr=1.0), patience=2)
    two.load_state_dict(one.state_dict())
    assert one.observe(3.0) is two.observe(3.0) is True
    with pytest.raises(bl.DataError, match="needs best"):
        two.load_state_dict({"best": 1.0})


def test_a_plateau_needs_a_rate_that_can_be_set():
    plateau = optim.ReduceOnPlateau(optim.SGD([bl.Value(1.0)], lr=optim.constant(1.0)), patience=0)
    plateau.observe(1.0)
    with pytest.raises(bl.GraphError, match="follows a schedule"):
        plateau.observe(1.0)
