"""`x[i] = v`, and `x.at[i].set(v)` and its like: the numbers against NumPy, the gradients against nudging."""

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import DtypeError, IndexingError, ShapeError, TracedValueError
from backlit.core.numbers import Abstract
from backlit.core.value import leaf
from backlit.ops.updates import At, at, scatter_add, setitem

CUBE = np.arange(2 * 3 * 4).reshape(2, 3, 4) / 8.0 + 0.25
INDICES = [
    0,
    (0, 1, 2),
    slice(None, None, -2),
    ...,
    (),
    (..., 1),
    (0, slice(1, 3)),
    (None, 0),
    [1, 0],
    [0, 1, 0],
    (0, [0, 1, 1], [1, 2, 2]),
    (slice(None), [2, 0, 2]),
    ([0, 1, 0], slice(None), [3, 3, 3]),
    (0, CUBE[0] % 0.25 == 0),
    CUBE > 1,
    CUBE > 100,
    (True, 1),
    False,
    slice(3, 1),
]


def new_for(index, rng, kind="whole"):
    shape = CUBE[index].shape
    if kind == "scalar":
        shape = ()
    elif kind == "broadcast" and shape:
        shape = (1, *shape[1:])
    return rng.normal(size=shape)


@pytest.mark.parametrize("kind", ["whole", "scalar", "broadcast"])
@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("how", ["set", "add", "multiply"])
def test_updates_give_what_numpy_gives(how, index, kind):
    new = new_for(index, np.random.default_rng(0), kind)
    expected = CUBE.copy()
    if how == "set":
        expected[index] = new
    else:
        {"add": np.add, "multiply": np.multiply}[how].at(expected, index, new)
    x = bl.Value(CUBE)
    found = getattr(x.at[index], how)(new)
    np.testing.assert_allclose(found.data, expected, rtol=1e-14)
    np.testing.assert_array_equal(x.data, CUBE)


@pytest.mark.parametrize("kind", ["whole", "scalar", "broadcast"])
@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("how", ["set", "add", "multiply"])
def test_gradients_of_updates_agree_with_nudging(how, index, kind):
    rng = np.random.default_rng(1)
    new, weights = new_for(index, rng, kind), rng.normal(size=CUBE.shape)

    def loss(x, v):
        return (getattr(x.at[index], how)(v) * weights).sum()

    x, v = bl.Value(CUBE), bl.Value(new)
    loss(x, v).backward()
    for value, other in ((x, 0), (v, 1)):
        direction = rng.normal(size=value.shape)
        points = []
        for step in (1e-3, -1e-3):
            moved = [CUBE, new]
            moved[other] = moved[other] + step * direction
            points.append(loss(*map(bl.Value, moved)).data)
        found = 0.0 if value.grad is None else float(np.sum(value.grad * direction))
        assert found == pytest.approx((points[0] - points[1]) / 2e-3, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_plain_assignment_does_what_set_does(index):
    new = new_for(index, np.random.default_rng(0))
    x, v = bl.Value(CUBE), bl.Value(new)
    x[index] = v
    expected = CUBE.copy()
    expected[index] = new
    np.testing.assert_array_equal(x.data, expected)


def test_of_what_meets_at_one_place_the_last_stays_and_alone_gets_the_gradient():
    x, v = bl.Value([0.0, 0.0]), bl.Value([1.0, 2.0, 3.0])
    x[[0, 0, 1]] = v
    (x * [10.0, 100.0]).sum().backward()
    assert v.grad.tolist() == [0, 10, 100]


def test_assignment_leaves_older_graphs_as_they_were():
    x = bl.Value([1.0, 2.0])
    before = (x * x).sum()
    x[0] = 5.0
    assert before.data == 5.0
    after = (x * x).sum()
    assert after.data == 29.0
    after.backward()
    assert x.grad.tolist() == [10.0, 4.0]
    old = before.inputs[0].inputs[0]
    assert old.data.tolist() == [1.0, 2.0]


def test_the_gradient_reaches_what_was_assigned_and_what_was_not_replaced():
    a, v = bl.Value([1.0, 2.0, 3.0]), bl.Value(7.0)
    x = a * 2.0
    x[1] = v * v
    (x * [1.0, 10.0, 100.0]).sum().backward()
    assert a.grad.tolist() == [2.0, 0.0, 200.0]
    assert v.grad == 140.0
    assert x.grad.tolist() == [1.0, 10.0, 100.0]


def test_assignments_in_a_loop_chain():
    n, v = 6, bl.Value(1.5)
    x = bl.zeros(n)
    x[0] = 1.0
    for i in range(1, n):
        x[i] = x[i - 1] * v  # x[i] = v**i
    x[n - 1].backward()
    assert v.grad == pytest.approx(5 * 1.5**4)


def test_augmented_assignment():
    x, v = bl.Value([1.0, 2.0]), bl.Value(3.0)
    x[0] += v
    x[1:] *= v
    assert x.data.tolist() == [4.0, 6.0]
    x.sum().backward()
    assert v.grad == 3.0


def test_assigning_a_part_of_an_array_to_another_part_of_it():
    x = bl.Value([1.0, 2.0, 3.0])
    x[1:] = x[:-1]
    assert x.data.tolist() == [1, 1, 2]
    a = bl.Value([1.0, 2.0, 3.0])
    y = a * 1.0
    y[::2] = y[:2]
    (y * [1.0, 10.0, 100.0]).sum().backward()
    assert a.grad.tolist() == [1.0, 110.0, 0.0]


def test_a_parameter_can_be_assigned_into():
    p = bl.Parameter([1.0, 2.0], name="p")
    p[0] = 4.0
    assert p.name == "p"
    assert p.data.tolist() == [4, 2]
    (p * p).sum().backward()
    assert p.grad.tolist() == [8, 4]


def test_without_recording_a_variable_remains_a_variable():
    p = bl.Parameter([1.0, 2.0])
    with bl.no_grad():
        p[0] = 4.0
    assert p.op is None
    (p * p).sum().backward()
    assert p.grad.tolist() == [8, 4]
    p.data = [0.0, 0.0]


def test_a_part_is_a_value_of_its_own():
    x = bl.Value(CUBE)
    row = x[0, 0]
    row[0] = 100.0
    assert row.data[0] == 100.0
    assert x.data[0, 0, 0] == CUBE[0, 0, 0]


def test_assigning_to_a_part_of_a_part_is_refused_since_it_would_be_lost():
    x = bl.Value(CUBE)
    with pytest.raises(IndexingError, match=r"Write x\[i, j\] = v"):
        x[0][1] = 3.0
    with pytest.raises(IndexingError, match=r"Write x\[i, j\] = v"):
        x[0][1] += 3.0
    rows = [x[0], x[1]]
    rows[0][1] = 3.0  # a part with a name
    assert rows[0].data[1].tolist() == [3.0] * 4
    np.testing.assert_array_equal(x.data, CUBE)


def test_lists_with_values_can_be_assigned():
    x, a = bl.Value([1.0, 2.0, 3.0]), bl.Value(5.0)
    x[:2] = [a, 2.0 * a]
    x.sum().backward()
    assert x.data.tolist() == [5, 10, 3]
    assert a.grad == 3.0


def test_the_dtype_of_the_array_is_kept():
    x = bl.Value(np.ones(2, np.float32))
    v = bl.Value(2.0)
    x[0] = v
    assert x.dtype == np.float32
    x.sum().backward()
    assert v.grad == 1.0
    i = bl.asarray([1, 2])
    i[0] = 7.9  # as in NumPy
    assert i.data.tolist() == [7, 2]
    assert i.at[0].add(1).dtype == np.int64


def test_what_would_lose_something_is_refused():
    i, v = bl.asarray([1, 2]), bl.Value(1.5, name="v")
    with pytest.raises(DtypeError, match=r"`v`, a variable .* gradient that would be lost"):
        i[0] = v
    with pytest.raises(DtypeError, match="sum would be cut to int64"):
        i.at[0].add(0.5)
    with pytest.raises(DtypeError, match="product would be cut to int64"):
        i.at[0].multiply(0.5)
    with pytest.raises(DtypeError, match="complex"):
        bl.Value([1.0])[0] = 1j


@pytest.mark.parametrize("how", ["set", "add", "multiply"])
def test_errors_name_what_does_not_fit(how):
    x = bl.Value(CUBE, name="cube")
    with pytest.raises(ShapeError, match=r"\(3,\).*\(3, 4\)|\(3, 4\) and \(3,\)"):
        getattr(x.at[0], how)(np.ones(3))
    with pytest.raises(IndexingError, match="index 2 is outside axis 0, which has length 2"):
        getattr(x.at[2], how)(1.0)
    with pytest.raises(IndexingError, match="index -5 is outside axis 2, which has length 4"):
        getattr(x.at[..., [0, -5]], how)(1.0)


def test_the_error_names_both_operands_of_an_assignment():
    x, v = bl.Value(CUBE, name="cube"), bl.Value([1.0, 2.0, 3.0], name="v")
    with pytest.raises(
        ShapeError,
        match=r"does not fit the part \[0, 1\], which has shape \(4,\)\.\n +left: +`cube`.*\n +right: +`v`",
    ):
        x[0, 1] = v


def test_an_axis_of_length_one_too_many_is_let_pass_as_in_numpy():
    x = bl.Value([1.0, 2.0, 3.0])
    x[:2] = bl.Value([[7.0, 8.0]])
    assert x.data.tolist() == [7, 8, 3]
    with pytest.raises(ShapeError):
        x[:2] = np.ones((2, 2))


def test_scatter_add_counts():
    labels = np.array([0, 2, 2, 1, 2])
    assert scatter_add(bl.zeros(3), labels, 1.0).data.tolist() == [1, 1, 3]
    table = scatter_add(bl.zeros((3, 2)), labels, np.ones((5, 2)))
    np.testing.assert_array_equal(table.data, [[1, 1], [1, 1], [3, 3]])


def test_multiply_under_tracing_says_what_is_not_known():
    x, i = bl.Value([1.0, 2.0]), leaf(Abstract((2,), np.dtype("int64")))
    with pytest.raises(TracedValueError, match="names a place"):
        x.at[i].multiply(2.0)


def test_update_of_plain_arrays_and_repr():
    assert at([1.0, 2.0])[0].set(5.0).data.tolist() == [5, 2]
    assert at([1.0, 2.0])[0].get().data == 1.0
    assert "set(v)" in repr(At([1.0]))
    assert "set(v)" in repr(At([1.0])[0])


def test_second_derivatives_through_updates():
    def f(x):
        y = x.at[0].set(x[1] * x[1] * x[2])
        y = y.at[[1, 1]].add(y[0])
        return (y.at[[2, 2]].multiply(y[1]) ** 2).sum()

    report = bl.hessian(f)(bl.Value([0.3, 0.7, -0.4]))
    numeric = np.zeros((3, 3))
    for j in range(3):
        e = np.zeros(3)
        e[j] = 1e-5
        up, down = (bl.grad(f)(bl.Value(np.array([0.3, 0.7, -0.4]) + s * e)) for s in (1, -1))
        numeric[j] = (np.asarray(up.data) - np.asarray(down.data)) / 2e-5
    np.testing.assert_allclose(np.asarray(report.data), numeric, rtol=1e-6, atol=1e-7)


def test_setitem_is_a_function_too():
    x = bl.Value([1.0, 2.0])
    setitem(x, 0, 3.0)
    assert x.data.tolist() == [3, 2]
