"""The pure half of the optimizers: their formulas, on numbers, arrays and values."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import optim
from backlit.core.trees import flatten

RULES = {
    "sgd": lambda rate: optim.sgd(rate),
    "momentum": lambda rate: optim.sgd(rate, 0.9),
    "nesterov": lambda rate: optim.sgd(rate, 0.9, nesterov=True),
    "adagrad": lambda rate: optim.adagrad(rate, initial=0.1, rate_decay=0.1),
    "rmsprop": lambda rate: optim.rmsprop(rate),
    "rmsprop, centered": lambda rate: optim.rmsprop(rate, momentum=0.5, centered=True, eps=0.1),
    "adadelta": lambda rate: optim.adadelta(rate, eps=1e-3),
    "adam": lambda rate: optim.adam(rate),
    "amsgrad": lambda rate: optim.adam(rate, amsgrad=True),
    "adamw": lambda rate: optim.adamw(rate, decay=0.1),
    "nadam": lambda rate: optim.nadam(rate),
    "lion": lambda rate: optim.lion(rate, decay=0.1),
    "adafactor": lambda rate: optim.adafactor(rate, decay=0.1),
    "lbfgs": lambda rate: optim.lbfgs(rate, history=3),
    "a chain": lambda rate: optim.chain(
        optim.clip_by_norm(0.5), optim.add_weight_decay(0.01), optim.adam(rate), optim.ema(0.9)
    ),
    "scaled": lambda rate: optim.chain(
        optim.clip_by_value(0.3), optim.sgd(rate), optim.scale_by_schedule(optim.exponential(1.0, 0.9))
    ),
}
every_rule = pytest.mark.parametrize("name", RULES)


def walk(rule, params, slope, steps):
    """The parameters after some steps, and the state."""
    state = rule.init(params)
    for _ in range(steps):
        updates, state = rule.update(slope(params), state, params)
        params = [p if u is None else p + u for p, u in zip(params, updates, strict=True)]
    return params, state


def slope(params):
    return [0.3 * p * p * p - 0.5 * p + 0.1 for p in params]


def starts(dtype):
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (4,))]


# -- one kind of number and another -----------------------------------------------------------------------------


@every_rule
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_a_parameter_of_no_numbers_stays_one(name, shape):
    (x, p), _ = walk(RULES[name](0.1), [np.ones(shape), np.ones(2)], slope, 2)
    assert x.shape == shape
    assert np.all(np.isfinite(p))


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_and_memory_keep_their_dtype(name, dtype):
    rule = RULES[name](0.01)
    before = rule.init(starts(dtype))
    params, state = walk(rule, starts(dtype), slope, 3)
    assert [p.dtype.name for p in params] == [dtype, dtype]
    for old, new in zip(flatten(before)[0], flatten(state)[0], strict=True):
        assert np.shape(old) == np.shape(new)
        if np.shape(new):
            assert new.dtype == dtype
        elif isinstance(old, int):
            assert isinstance(new, int)


@every_rule
def test_a_float64_rate_and_step_do_not_widen_float32(name):
    rule = RULES[name](lambda step: np.float64(0.01))
    params = starts("float32")
    state = rule.init(params)
    state = flatten(state)[1](iter([np.int64(x) if isinstance(x, int) else x for x in flatten(state)[0]]))
    updates, _ = rule.update(slope(params), state, params)
    assert [u.dtype.name for u in updates] == ["float32", "float32"]


@every_rule
def test_single_numbers_move_as_arrays_of_one_do(name):
    rule = RULES[name](0.01)
    (as_float,), _ = walk(rule, [0.7], slope, 4)
    (as_array,), _ = walk(rule, [np.array([0.7])], slope, 4)
    assert isinstance(as_float, float)
    assert as_float == pytest.approx(as_array[0], rel=1e-15)


@every_rule
def test_values_move_as_arrays_do(name):
    rule = RULES[name](0.01)
    arrays, _ = walk(rule, starts("float64"), slope, 4)
    values, state = walk(rule, [bl.Value(p) for p in starts("float64")], slope, 4)
    for array, value in zip(arrays, values, strict=True):
        np.testing.assert_allclose(value.data, array, rtol=1e-13, atol=1e-15)
    assert all(np.shape(leaf) is not None for leaf in flatten(state)[0])


@every_rule
def test_an_update_leaves_what_it_was_given(name):
    rule, params = RULES[name](0.01), starts("float64")
    _, state = walk(rule, params, slope, 2)
    grads = slope(params)
    kept = [np.array(x) for x in (*params, *grads, *flatten(state)[0])]
    rule.update(grads, state, params)
    for x, copy in zip((*params, *grads, *flatten(state)[0]), kept, strict=True):
        np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize("name", sorted(RULES.keys() - {"lbfgs"}))  # its memory is one vector of all parameters
def test_no_gradient_no_update_and_no_change_of_memory(name):
    rule, params = RULES[name](0.01), starts("float64")
    _, state = walk(rule, params, slope, 2)
    updates, after = rule.update([None, slope(params)[1]], state, params)
    assert updates[0] is None
    assert updates[1] is not None

    def of_first(tree):
        if isinstance(tree, dict):
            return [x for child in tree.values() for x in of_first(child)]
        if isinstance(tree, tuple):
            return [x for child in tree for x in of_first(child)]
        return flatten(tree[0])[0] if isinstance(tree, list) else []

    for old, new in zip(of_first(state), of_first(after), strict=True):
        assert new is old


@every_rule
def test_trees_are_kept(name):
    rule = RULES[name](0.01)
    params = {"layer": ({"w": np.ones((2, 2))}, np.ones(2)), "scale": 1.5}
    grads = {"layer": ({"w": np.full((2, 2), 0.3)}, np.full(2, -0.2)), "scale": 0.1}
    state = rule.init(params)
    updates, state = rule.update(grads, state, params)
    flat, _ = rule.update(flatten(grads)[0], rule.init(flatten(params)[0]), flatten(params)[0])
    assert updates["layer"][0]["w"].shape == (2, 2)
    for x, y in zip(flatten(updates)[0], flat, strict=True):
        np.testing.assert_array_equal(x, y)
    rule.update(grads, state, params)


@every_rule
def test_the_loss_after_some_steps_has_a_derivative_by_the_learning_rate(name):
    start = starts("float64")

    def loss(rate):
        (w, b), _ = walk(RULES[name](rate), list(start), slope, 5)
        return ((w - 0.3) ** 2).sum() + (b * b).sum()

    found = bl.grad(loss)(0.02)
    expected, error = bl.numerical_grad(loss, return_error=True)(0.02)
    assert abs(found.data - expected.data) <= 10 * error.data + 1e-8 * abs(expected.data)
    assert found.data != 0


def test_betas_momentum_and_decay_have_derivatives_too():
    start = starts("float64")

    def loss(h):
        rule = optim.adam(h["rate"], h["b1"], h["b2"], h["eps"], decay=h["decay"])
        (w, b), _ = walk(rule, list(start), slope, 5)
        (w, b), _ = walk(optim.sgd(h["rate"], h["momentum"]), [w, b], slope, 3)
        return ((w - 0.3) ** 2).sum() + (b * b).sum()

    at = {"rate": 0.02, "b1": 0.8, "b2": 0.95, "eps": 1e-2, "decay": 0.1, "momentum": 0.7}
    found, expected = bl.grad(loss)(at), bl.numerical_grad(loss)(at)
    for key in at:
        assert found[key].data == pytest.approx(expected[key].data, rel=1e-6), key


# -- formulas by hand -------------------------------------------------------------------------------------------


def test_two_steps_of_adam_by_hand():
    params, state = walk(optim.adam(0.1, 0.9, 0.99, 1e-3), [2.0], lambda p: [4.0 * p[0]], 2)
    m, v, w = 0.0, 0.0, 2.0
    for t in (1, 2):
        g = 4.0 * w
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.99**t)) + 1e-3)
    assert params[0] == pytest.approx(w, rel=1e-14)
    assert state["step"] == 2
    assert (state["m"][0], state["v"][0]) == (pytest.approx(m), pytest.approx(v))


def test_lion_is_its_formula():
    rng = np.random.default_rng(1)
    p, m = rng.normal(size=5), np.zeros(5)
    rule = optim.lion(0.01, 0.8, 0.95, decay=0.3)
    q, state = [p], rule.init([p])
    for _ in range(20):
        g = rng.normal(size=5)
        updates, state = rule.update([g], state, q)
        q = [q[0] + updates[0]]
        p = p - 0.01 * (np.sign(0.8 * m + 0.2 * g) + 0.3 * p)
        m = 0.95 * m + 0.05 * g
    np.testing.assert_allclose(q[0], p, rtol=1e-13)
    np.testing.assert_allclose(state["m"][0], m, rtol=1e-13, atol=1e-16)


def test_adafactor_keeps_one_number_a_row_and_one_a_column():
    g = np.arange(1.0, 7.0).reshape(2, 3)
    rule = optim.adafactor()
    updates, state = rule.update([g], rule.init([g]), [g])
    rows, columns = state["memory"][0]["rows"], state["memory"][0]["columns"]
    np.testing.assert_allclose(rows[:, 0], (g * g).mean(1))
    np.testing.assert_allclose(columns[0], (g * g).mean(0))
    raw = g / np.sqrt(rows * columns / rows.mean())
    expected = -0.01 * np.sqrt((g * g).mean()) * raw / max(1.0, np.sqrt((raw * raw).mean()))
    np.testing.assert_allclose(updates[0], expected, rtol=1e-14)


# -- chains -----------------------------------------------------------------------------------------------------


def test_clipping_by_norm_counts_all_parameters_and_dtypes():
    rule = optim.clip_by_norm(1.0)
    grads = [np.array([3.0], "float32"), None, np.array([[4.0]])]
    params = [np.zeros(1, "float32"), np.zeros(2), np.zeros((1, 1))]
    updates, _ = rule.update(grads, rule.init(params), params)
    assert updates[0].dtype == "float32"
    assert updates[1] is None
    np.testing.assert_allclose([updates[0][0], updates[2][0, 0]], [0.6, 0.8], rtol=1e-7)


def test_clipping_within_the_limit_changes_no_bit():
    g = np.random.default_rng(0).normal(size=100)
    (u,), _ = optim.clip_by_norm(1e3).update([g], None, [g])
    np.testing.assert_array_equal(u, g)


def test_a_norm_that_is_not_finite_shows_in_the_gradients():
    with np.errstate(invalid="ignore"):
        (u, v), _ = optim.clip_by_norm(1.0).update([np.array([np.nan]), np.array([1.0])], None, [np.ones(1)] * 2)
    assert np.isnan([u[0], v[0]]).all()


def test_no_gradients_have_no_norm():
    assert optim.global_norm([None, None]) == 0.0
    assert optim.clip_by_norm(1.0).update([np.zeros(2)], None, [np.ones(2)])[0][0].tolist() == [0.0, 0.0]


def test_a_chain_is_one_rule_after_the_other():
    g, p = np.array([3.0, -4.0]), np.array([1.0, 2.0])
    rule = optim.chain(optim.clip_by_norm(1.0), optim.add_weight_decay(0.5), optim.sgd(0.1))
    (u,), state = rule.update([g], rule.init([p]), [p])
    np.testing.assert_allclose(u, -0.1 * (g / 5.0 + 0.5 * p), rtol=1e-15)
    assert len(state) == 3


def test_weight_decay_before_and_after_the_scaling_are_two_things():
    p, g = [np.array([2.0])], [np.array([4.0])]
    before = optim.chain(optim.add_weight_decay(0.5), optim.adam(0.1))
    (u,), _ = before.update(g, before.init(p), p)
    (w,), _ = optim.adamw(0.1, decay=0.5).update(g, optim.adamw(0.1).init(p), p)
    assert u[0] == pytest.approx(-0.1)  # Adam's first step is the learning rate, whatever the gradient
    assert w[0] == pytest.approx(-0.2)


def test_an_average_follows_the_parameters():
    rule = optim.chain(optim.sgd(0.5), optim.ema(0.5))
    params, state = walk(rule, [1.0], lambda p: [1.0], 2)
    assert params == [0.0]
    assert state[1]["average"] == [0.5 * (0.5 * 1.0 + 0.5 * 0.5) + 0.5 * 0.0]


def test_a_chain_of_nothing_is_refused():
    with pytest.raises(bl.DomainError, match="at least one rule"):
        optim.chain()


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.sgd(0.1, momentum=1.0),
        lambda: optim.sgd(0.1, nesterov=True),
        lambda: optim.adam(b1=-0.1),
        lambda: optim.adam(b2=1.0),
        lambda: optim.adam(eps=-1e-8),
        lambda: optim.rmsprop(alpha=1.5),
        lambda: optim.adadelta(rho=math.nan),
        lambda: optim.adagrad(initial=-1.0),
        lambda: optim.nadam(momentum_decay=-1.0),
        lambda: optim.lion(b1=2.0),
        lambda: optim.adafactor(clip=-1.0),
        lambda: optim.lbfgs(history=0),
        lambda: optim.clip_by_value(0.0),
        lambda: optim.clip_by_norm(math.inf),
        lambda: optim.add_weight_decay(-0.1),
        lambda: optim.ema(1.0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make):
    with pytest.raises(bl.DomainError):
        make()


def test_gradients_of_another_structure_are_refused():
    rule = optim.sgd(0.1)
    with pytest.raises(bl.GraphError, match="beside them"):
        rule.update({"a": 1.0}, rule.init({"a": 1.0, "b": 2.0}), {"a": 1.0, "b": 2.0})


def test_every_public_name_is_there_whichever_was_asked_for_first():
    for name in optim.__all__:
        assert callable(getattr(optim, name)), name
    assert optim.adam is not optim.Adam
    assert optim.schedules.cosine is optim.cosine
    with pytest.raises(AttributeError, match="no attribute 'adamm'"):
        optim.adamm
