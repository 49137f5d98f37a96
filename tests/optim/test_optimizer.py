"""The object face: stepping parameters, storing and restoring, and telling why."""

from __future__ import annotations

import json

import numpy as np
import pytest

import backlit as bl
from backlit import optim
from backlit.optim.rule import Optimizer, Rate, Rule

FACES = {
    "SGD": lambda p, **o: optim.SGD(p, **{"lr": 0.05, **o}),
    "SGD with momentum": lambda p, **o: optim.SGD(p, **{"lr": 0.05, **o}, momentum=0.9, weight_decay=0.1),
    "SGD, Nesterov": lambda p, **o: optim.SGD(p, **{"lr": 0.05, **o}, momentum=0.9, nesterov=True),
    "Adagrad": lambda p, **o: optim.Adagrad(p, **{"lr": 0.05, **o}, lr_decay=0.1, initial_accumulator_value=0.1),
    "RMSprop": lambda p, **o: optim.RMSprop(p, **{"lr": 0.05, **o}),
    "RMSprop, centered": lambda p, **o: optim.RMSprop(p, **{"lr": 0.01, **o}, momentum=0.9, centered=True, eps=0.1),
    "Adadelta": lambda p, **o: optim.Adadelta(p, **{"lr": 1.0, **o}),
    "Adam": lambda p, **o: optim.Adam(p, **{"lr": 0.05, **o}),
    "Adam with decay": lambda p, **o: optim.Adam(p, **{"lr": 0.05, **o}, weight_decay=0.1, amsgrad=True),
    "AdamW": lambda p, **o: optim.AdamW(p, **{"lr": 0.05, **o}),
    "NAdam": lambda p, **o: optim.NAdam(p, **{"lr": 0.05, **o}),
    "Lion": lambda p, **o: optim.Lion(p, **{"lr": 0.01, **o}, weight_decay=0.1),
    "Adafactor": lambda p, **o: optim.Adafactor(p, **{"lr": 0.05, **o}, weight_decay=0.1),
    "a clipped chain": lambda p, **o: optim.Optimizer(
        p,
        lambda rate: optim.chain(optim.clip_by_value(0.4), optim.clip_by_norm(0.5), optim.adam(rate), optim.ema(0.9)),
        **{"lr": 0.05, **o},
    ),
    "a scaled chain": lambda p, **o: optim.Optimizer(
        p,
        lambda rate: optim.chain(
            optim.add_weight_decay(0.1), optim.sgd(rate, 0.9), optim.scale_by_schedule(lambda t: 1.0 / (t + 1.0))
        ),
        **{"lr": 0.05, **o},
    ),
}
every_face = pytest.mark.parametrize("name", FACES)


def parameters(dtype="float64"):
    rng = np.random.default_rng(5)
    shapes = {"w": (3, 4), "b": (4,), "scale": ()}
    return [bl.Parameter(rng.normal(size=shape).astype(dtype), name=name) for name, shape in shapes.items()]


X = np.random.default_rng(6).normal(size=(8, 3))


def train(optimizer, steps):
    w, b, scale = optimizer.parameters
    x = bl.asarray(X, dtype=w.dtype)
    for _ in range(steps):
        optimizer.zero_grad()
        ((x @ w + b).tanh() * scale - 1.0).square().mean().backward()
        optimizer.step()


# -- stepping ---------------------------------------------------------------------------------------------------


@every_face
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_falls_and_the_dtype_stays(name, dtype):
    params = parameters(dtype)
    optimizer = FACES[name](params)

    def loss():
        w, b, scale = params
        return ((bl.asarray(X, dtype=dtype) @ w + b).tanh() * scale - 1.0).square().mean().data

    before = loss()
    train(optimizer, 60)
    assert loss() < before
    assert [p.dtype.name for p in params] == [dtype] * 3
    assert {b.dtype.name for b in optimizer.variables().values() if b.shape} <= {dtype}
    assert optimizer.steps.data == 60


@every_face
def test_asking_for_the_buffers_changes_no_step(name):
    ours, theirs = FACES[name](parameters()), FACES[name](parameters())
    train(ours, 3)
    first = theirs.variables()
    train(theirs, 3)
    assert all(b is first[key] for key, b in theirs.variables().items())
    for p, q in zip(ours.parameters, theirs.parameters, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    for key, b in ours.variables().items():
        np.testing.assert_array_equal(b.data, first[key].data)


@every_face
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_restored_optimizer_goes_on_bit_by_bit(name, dtype):
    whole = FACES[name](parameters(dtype))
    train(whole, 5)
    numbers = [np.array(p.data) for p in whole.parameters]
    arrays = whole.state_dict()
    train(whole, 5)
    again = FACES[name](parameters(dtype), lr=0.77)
    for p, data in zip(again.parameters, numbers, strict=True):
        p.data = data
    again.load_state_dict(arrays)
    assert again.lr == whole.lr
    train(again, 5)
    assert again.steps.data == 10
    for p, q in zip(whole.parameters, again.parameters, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_the_names_of_a_state_are_flat_and_its_arrays_copies():
    optimizer = optim.Adam(parameters())
    train(optimizer, 1)
    arrays = optimizer.state_dict()
    assert list(arrays) == ["lr", "steps", "state.step"] + [f"state.{k}.{i}" for k in "mv" for i in range(3)]
    assert arrays["steps"].dtype == arrays["state.step"].dtype == "int64"
    arrays["state.m.0"][:] = 0.0
    assert optimizer.state["m"][0].data.any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("state.m.0"), "lacks state.m.0"),
        (lambda a: a.update(extra=np.zeros(2)), "also has extra"),
        (lambda a: a.update({"state.m.0": np.zeros((4, 3))}), r"state.m.0 has shape \(3, 4\) here, and \(4, 3\)"),
        (lambda a: a.update({"state.v.1": np.zeros(4, "float32")}), "state.v.1 has dtype float64 here, and float32"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, said):
    optimizer = optim.Adam(parameters())
    train(optimizer, 2)
    before = optimizer.state_dict()
    wrong = optim.Adam(parameters(), lr=0.5).state_dict()
    change(wrong)
    with pytest.raises(bl.DataError, match=said):
        optimizer.load_state_dict(wrong)
    for key, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_parameters_without_a_gradient_stay():
    w, b = bl.Parameter(2.0), bl.Parameter(3.0)
    optimizer = optim.Adam([w, b], lr=0.1)
    (w * w).backward()
    optimizer.step()
    assert b.data == 3.0
    assert w.data == pytest.approx(1.9)
    assert "no gradient reached it" in optimizer.why(b).text


def test_the_learning_rate_can_be_set_at_any_time():
    w = bl.Parameter(1.0)
    optimizer = optim.SGD([w], lr=0.5)
    w.backward()
    optimizer.step()
    optimizer.lr = 0.25
    optimizer.step()
    assert (optimizer.lr, w.data) == (0.25, 0.25)
    with pytest.raises(bl.DomainError, match="the learning rate is -1"):
        optimizer.lr = -1.0


def test_a_schedule_gives_the_rate_of_each_step():
    w = bl.Parameter(1.0)
    optimizer = optim.SGD([w], lr=optim.step(0.5, every=2, factor=0.5))
    rates, path = [], []
    for _ in range(4):
        optimizer.zero_grad()
        rates.append(optimizer.lr)
        w.backward()
        optimizer.step()
        path.append(w.data)
    assert rates == [0.5, 0.5, 0.25, 0.25]
    assert path == [0.5, 0.0, -0.25, -0.5]
    with pytest.raises(bl.GraphError, match="follows a schedule"):
        optimizer.lr = 0.1


def test_a_rule_as_it_is_holds_its_rate():
    optimizer = optim.Optimizer([bl.Parameter(1.0)], optim.chain(optim.clip_by_norm(1.0), optim.adam(0.25)))
    assert optimizer.lr == 0.25
    with pytest.raises(bl.GraphError, match="its rule holds the learning rate"):
        optimizer.lr = 0.1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: optim.SGD([]), "no parameters"),
        (lambda: optim.SGD([bl.Value(1.0) * 2.0]), "only variables"),
        (lambda: optim.SGD([bl.Buffer(1.0)]), "only variables"),
        (lambda: optim.SGD([1.0]), "only variables"),
        (lambda: optim.SGD([W, W]), "given twice"),
        (lambda: optim.Optimizer([W], optim.sgd(0.1), lr=0.1), "holds its learning rate already"),
        (lambda: optim.Optimizer([W], optim.sgd), "needs a learning rate"),
        (lambda: optim.SGD([W]).step(), "no parameter has a gradient"),
        (lambda: optim.SGD([W]).why(W), "no step yet"),
        (lambda: optim.SGD([W]).why(bl.Value(1.0)), "not one of its parameters"),
        (lambda: optim.SGD([W]).averaged().__enter__(), "keeps no averages"),
    ],
)
def test_misuse_is_told(make, said):
    with pytest.raises(bl.GraphError, match=said):
        make()


W = bl.Parameter(1.0, name="W")


def test_averages_stand_in_for_the_parameters_and_go_again():
    w = bl.Parameter([1.0, 2.0])
    optimizer = optim.Optimizer([w], lambda rate: optim.chain(optim.sgd(rate), optim.ema(0.5)), lr=1.0)
    w.sum().backward()
    optimizer.step()
    with optimizer.averaged():
        np.testing.assert_array_equal(w.data, [0.5, 1.5])
    np.testing.assert_array_equal(w.data, [0.0, 1.0])


# -- why --------------------------------------------------------------------------------------------------------


def near(x, y, dtype):
    return abs(x - y) <= 32 * float(np.finfo(dtype).eps) * max(abs(x), abs(y))


@every_face
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_told_multiplies_out_to_the_update(name, dtype):
    params = parameters(dtype)
    optimizer = FACES[name](params)
    for _ in range(4):
        before = [np.array(p.data) for p in params]
        train(optimizer, 1)
        for p, old in zip(params, before, strict=True):
            for index in np.ndindex(p.shape):
                move = optimizer.why(p, index)
                assert move.before == old[index]
                assert move.after == np.asarray(p.data)[index]
                assert move.gradient == np.asarray(p.grad)[index]
                assert old.dtype.type(move.before + old.dtype.type(move.update)) == pytest.approx(move.after, rel=1e-6)
                assert near(float(move.formula.value), move.update, dtype), move
                for line in move.lines:
                    if line.equals is not None:
                        assert near(float(line.equals.value), float(line.value), dtype), (str(line), move)


def test_the_numbers_written_are_those_of_the_formula():
    w = bl.Parameter([2.0, -1.0], name="w")
    optimizer = optim.Adam([w], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
    move = optimizer.why(w, 0)
    lr, m_hat, size, eps = [float(line.split()[-1]) for line in ("lr 0.1", *_factors(move.formula.text))]
    assert -lr * m_hat / (size + eps) == pytest.approx(move.update, rel=1e-5)
    assert move.label == "w[0]"
    assert "mean of gradients: momentum" in move.text
    assert "in step 3 of Adam" in move.text


def _factors(text):
    head, _, tail = text.partition(" / (")
    return [head.split(" × ")[1], *tail.rstrip(")").split(" + ")]


def test_clipping_and_decay_are_told_in_the_order_they_were_done():
    w = bl.Parameter([3.0, 4.0], name="w")
    rule = optim.chain(optim.clip_by_norm(1.0), optim.add_weight_decay(0.5), optim.sgd(0.1))
    optimizer = optim.Optimizer([w], rule)
    (w * w).sum().backward()
    optimizer.step()
    assert str(optimizer.why(w, 1)).split("\n") == [
        "w[1] moved by -0.28 = -lr 0.1 × g 2.8",
        "  from 4 to 3.72, in step 1 of Optimizer",
        "  g 8   (the gradient)",
        "  g 0.8 = g 8 × (limit 1 / norm 10)   (clipping, by the norm of all gradients)",
        "  g 2.8 = g 0.8 + decay 0.5 × parameter 4   (weight decay)",
    ]


def test_without_an_index_the_element_that_moved_farthest_is_told():
    w = bl.Parameter(np.zeros((2, 3)), name="w")
    optimizer = optim.SGD([w], lr=1.0)
    (w * np.array([[1.0, 2.0, 0.0], [0.0, -5.0, 3.0]])).sum().backward()
    optimizer.step()
    assert optimizer.why(w).index == (1, 1)
    assert optimizer.why(w, (-1, -1)).label == "w[1,2]"
    with pytest.raises(bl.IndexingError, match=r"there is no w\[2, 0\]"):
        optimizer.why(w, (2, 0))
    with pytest.raises(bl.IndexingError, match=r"w has shape \(2, 3\)"):
        optimizer.why(w, 1)


def test_a_step_lost_to_rounding_is_said_to_be():
    w = bl.Parameter(np.array([1e8], "float32"), name="w")
    optimizer = optim.SGD([w], lr=1e-3)
    w.sum().backward()
    optimizer.step()
    assert "did not move, since it lost -0.001 to rounding" in optimizer.why(w, 0).headline


def test_a_story_can_be_written_as_json():
    w = bl.Parameter([2.0], name="w")
    optimizer = optim.NAdam([w])
    (w * w).sum().backward()
    optimizer.step()
    told = json.loads(json.dumps(optimizer.why(w, 0).as_dict()))
    assert told["parameter"] == "w"
    assert told["gradient"] == 4.0
    assert [line["name"] for line in told["lines"]] == ["g", "m", "m̂", "v", "√v̂"]


def test_an_optimizer_may_be_told_to_forget():
    w = bl.Parameter(2.0)
    optimizer = optim.SGD([w])
    optimizer.remembers = False
    (w * w).backward()
    optimizer.step()
    with pytest.raises(bl.GraphError, match="remembers is False"):
        optimizer.why(w)


def test_overflow_passes_without_warnings():
    w = bl.Parameter(np.array([1.0, 1.0], "float32"))
    optimizer = optim.Adam([w])
    w.grad = np.array([np.inf, 1e30], "float32")
    optimizer.step()
    assert np.isnan(w.data[0])


@pytest.mark.parametrize("lr", [0.25, lambda step: 0.25 / (1 + step)])
@pytest.mark.parametrize(
    "move",
    [
        lambda lr, step, g: -lr * g,
        lambda lr, step, g: -(g * lr),
        lambda lr, step, g: -lr(step) * g,
        lambda lr, step, g: -g / (1 / lr),
        lambda lr, step, g: g * (0 - lr),
        lambda lr, step, g: (1 - lr) * g - g,
    ],
)
def test_a_rule_of_the_users_may_multiply_by_the_rate_it_is_handed_or_call_it(move, lr):
    def rule(rate):
        return Rule(lambda params: 0, lambda gs, step, params: ([move(rate, step, g) for g in gs], step + 1))

    w, expected = bl.Parameter([1.0, -2.0]), np.array([1.0, -2.0])
    optimizer = Optimizer([w], rule, lr=lr)
    for step in range(3):
        (w * w).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        expected = expected - (lr(step) if callable(lr) else lr) * 2 * expected
        np.testing.assert_allclose(w.data, expected, rtol=1e-14)
    optimizer_rate = float(Rate(lambda step: 0.5 / (1 + step), optimizer.steps))
    assert optimizer_rate == 0.5 / 4


def test_a_number_assigned_as_the_rate_reaches_a_rule_that_multiplies():
    w = bl.Parameter([1.0])
    optimizer = Optimizer([w], lambda lr: Rule(lambda ps: None, lambda gs, s, ps: ([-lr * g for g in gs], s)), lr=0.5)
    optimizer.lr = 0.25
    w.sum().backward()
    optimizer.step()
    assert w.data.tolist() == [0.75]
