"""What a node is: its data, its name, where it was made, and that it never changes."""

import copy
import pickle

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import (
    BroadcastWarning,
    ConversionError,
    DtypeError,
    GraphError,
    ShapeError,
    StaleGradientWarning,
)


def test_a_python_number_becomes_a_float64_variable_even_if_it_is_whole():
    x = bl.Value(3)
    assert type(x.data) is float
    assert x.dtype == bl.float64
    assert x.shape == ()


def test_arrays_keep_their_dtype_and_whole_numbers_are_not_differentiated():
    assert bl.Value(np.ones(2, np.float32)).dtype == bl.float32
    labels = bl.Value([1, 2, 3])
    assert labels.dtype == bl.int64
    with pytest.raises(DtypeError, match="int64"):
        labels.sum().backward()
    with pytest.raises(DtypeError, match="argument 0 has dtype int64"):
        bl.grad(lambda x: (x * x).sum())(np.array([1, 2]))


def test_a_value_knows_the_variable_it_was_assigned_to_and_the_line():
    speed = bl.Value(2.0)
    energy = speed * speed
    assert speed.site.variable == "speed"
    assert energy.site.variable == "energy"
    assert energy.site.function == "test_a_value_knows_the_variable_it_was_assigned_to_and_the_line"
    assert energy.site.text == "energy = speed * speed"
    assert energy.site.source == "speed * speed"
    assert bl.Value(1.0, name="mass").label == "mass"


def test_assigning_to_a_variable_leaves_older_graphs_as_they_were():
    w = bl.Parameter([1.0, 2.0], name="w")
    before = (w * w).sum()
    w.data = [10.0, 20.0]
    after = (w * w).sum()
    before.backward()
    assert w.grad.tolist() == [2.0, 4.0]
    w.grad = None
    after.backward()
    assert w.grad.tolist() == [20.0, 40.0]
    assert before.inputs[0].inputs[0].data.tolist() == [1.0, 2.0]
    assert after.inputs[0].inputs[0] is w


def test_augmented_assignment_to_data_works_and_changes_no_array_in_place():
    w = bl.Parameter([1.0, 2.0])
    shown = w.data
    w.data -= 0.5
    assert w.data.tolist() == [0.5, 1.5]
    assert shown.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        w.data[0] = 3.0


def test_data_of_another_shape_are_refused_and_those_of_a_computed_value_too():
    w = bl.Parameter([1.0, 2.0])
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        w.data = 1.0
    with pytest.raises(GraphError, match="computed"):
        (w * 2).data = [1.0, 2.0]


def test_the_users_array_can_change_without_changing_the_graph():
    array = np.array([1.0, 2.0])
    x = bl.Value(3.0)
    y = (x * array).sum()
    array[:] = 100.0
    y.backward()
    assert x.grad == 3.0


def test_backward_twice_counts_once_and_two_outputs_add_up():
    x = bl.Value(3.0)
    y, z = x * x, x * 5
    y.backward()
    y.backward()
    assert x.grad == 6.0
    z.backward()
    assert x.grad == 11.0
    y.backward()
    assert x.grad == 11.0
    y.backward(2.0)
    assert x.grad == 17.0
    x.zero_grad()
    assert x.grad is None
    y.backward()
    assert x.grad == 6.0


def test_every_node_between_has_its_gradient():
    x = bl.Value(2.0)
    h = x * 3
    y = h.tanh()
    y.backward()
    assert y.grad == 1.0
    assert h.grad == pytest.approx(1 - np.tanh(6.0) ** 2)


def test_forgetting_zero_grad_after_a_step_is_told():
    w = bl.Parameter(1.0)
    (w * w).backward()
    w.data -= 0.1
    with pytest.warns(StaleGradientWarning, match="zero_grad"):
        (w * w).backward()


def test_a_row_against_a_column_in_a_loss_is_told_once():
    predicted = bl.Value(np.zeros((4, 1)))
    target = np.ones(4)

    def loss_three_times():
        return [((predicted - target) ** 2).mean() for _ in range(3)]

    with pytest.warns(BroadcastWarning, match=r"\(4, 1\) and \(4,\)") as told:
        loss_three_times()
    assert len(told) == 1


def test_a_row_against_a_column_is_told_where_no_graph_is_kept_too():
    predicted = bl.Parameter(np.zeros((4, 1)))
    with bl.no_grad(), pytest.warns(BroadcastWarning, match=r"broadcasting: shapes \(4, 1\) and \(4,\)"):
        assert (predicted - np.ones(4)).mean().data == -1.0


def test_a_column_made_on_purpose_is_no_accident():
    x = bl.Value(np.zeros(4))
    ((x[:, None] - x) ** 2).sum()


def test_writing_into_a_value_is_differentiated():
    def f(x):
        y = x * 2
        y[1] = x[0] * x[2]
        return (y * y).sum()

    assert bl.grad(f)(np.array([1.0, 2.0, 3.0])).data.tolist() == [8 + 18.0, 0.0, 24 + 6.0]


def test_deep_copies_and_pickles_are_of_variables_only():
    w = bl.Parameter([1.0, 2.0], name="w")
    for twin in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert type(twin) is bl.Parameter
        assert twin.data.tolist() == [1.0, 2.0]
        assert twin.name == "w"
    with pytest.raises(GraphError):
        copy.deepcopy(w * 2)


def test_a_new_variable_from_a_computed_one_is_refused():
    x = bl.Value(2.0)
    with pytest.raises(ConversionError, match="would not remember"):
        bl.Value(x * 3)
    assert bl.Parameter(bl.zeros(2)).data.tolist() == [0.0, 0.0]


def test_shapes_that_do_not_fit_name_both_operands_and_a_remedy():
    h = bl.Value(np.zeros((32, 10)), name="h")
    scale = bl.Value(np.zeros(32), name="scale")
    with pytest.raises(ShapeError) as caught:
        h * scale
    text = str(caught.value)
    assert "multiply: shapes (32, 10) and (32,) do not broadcast: the last axis is 10 on the left" in text
    assert "`h`, a variable at test_value.py" in text
    assert "`scale`, a variable at test_value.py" in text
    assert "[:, None]" in text


def test_backward_of_an_array_says_which_reductions_are_usual():
    with pytest.raises(ShapeError, match=r"\.sum\(\) or \.mean\(\)"):
        (bl.Value([1.0, 2.0]) * 2).backward()


def test_under_no_grad_nothing_is_recorded():
    x = bl.Value(2.0)
    with bl.no_grad():
        y = x * x
    assert y.data == 4.0
    assert y.inputs == ()
    with pytest.raises(GraphError, match="no_grad"):
        y.backward()


def test_threads_have_modes_of_their_own():
    from threading import Thread

    seen = []
    x = bl.Value(2.0)
    with bl.no_grad():
        thread = Thread(target=lambda: seen.append((x * x).op))
        thread.start()
        thread.join()
    assert seen[0] is not None


def test_a_copy_of_the_numbers_can_be_written_into():
    x = bl.Value([1.0, 2.0])
    mine = x.data.copy()
    mine[0] = 5.0
    mine += 1.0
    assert mine.tolist() == [6.0, 3.0]
    assert x.data.tolist() == [1.0, 2.0]
