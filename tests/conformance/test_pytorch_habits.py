"""The habits that people bring from PyTorch: methods, `.grad`, steps by hand, writing into arrays."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import Parameter, Value
from backlit.core.errors import DtypeError, GraphError, ShapeError, StaleGradientWarning

M = np.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_methods_by_position_and_by_name() -> None:
    x = Value(M)
    assert x.sum(0).tolist() == [5.0, 7.0, 9.0]
    assert x.sum((0, 1)).item() == 21.0
    assert x.sum(axis=1, keepdims=True).shape == (2, 1)
    assert x.sum(-1, keepdims=True).shape == (2, 1)
    assert x.mean().item() == 3.5
    assert x.mean(1).tolist() == [2.0, 5.0]
    assert x.max().item() == 6.0
    assert x.max(0).tolist() == [4.0, 5.0, 6.0]
    assert x.argmax(1).tolist() == [2, 2]
    assert x.var(0).shape == (3,)
    assert x.cumsum(1).tolist() == [[1.0, 3.0, 6.0], [4.0, 9.0, 15.0]]
    assert x.softmax(1).sum(1).tolist() == pytest.approx([1.0, 1.0])
    for shaped in (x.reshape(-1), x.reshape(6), x.reshape((6,)), x.flatten(), x.ravel(), x.reshape([6])):
        assert shaped.shape == (6,)
    assert x.reshape(3, -1).shape == (3, 2)
    assert (x.T.shape, x.mT.shape, x.transpose().shape, x.transpose(1, 0).shape) == ((3, 2),) * 4
    assert x.permute_dims((1, 0)).shape == (3, 2)
    assert x.expand_dims(0).squeeze(0).shape == (2, 3)
    assert x.astype("float32").dtype == bl.float32
    assert (x.pow(2) - x * x).abs().sum().item() == 0.0
    assert x.maximum(3.0).minimum(4.0).tolist() == [[3.0, 3.0, 3.0], [4.0, 4.0, 4.0]]
    assert x.clip(2.0, 5.0).tolist() == [[2.0, 2.0, 3.0], [4.0, 5.0, 5.0]]
    assert x.diff(axis=0).tolist() == [[3.0, 3.0, 3.0]]
    assert x.tanh().exp().log().sqrt().shape == x.shape
    assert (x.dot(x.T).shape, x.matmul(x.T).shape, (x @ x.T).shape) == ((2, 2),) * 3
    assert x.round(1).tolist() == M.tolist()
    assert round(Value(2.567), 2).item() == 2.57
    assert [v.item() for v in divmod(Value(7.0), 2)] == [3.0, 1.0]
    assert (x.size, x.ndim, len(x), x.dtype) == (6, 2, 2, np.float64)
    assert x.tolist() == M.tolist()


@pytest.mark.parametrize("name", ["detach", "numpy", "view", "unsqueeze", "permute", "clamp", "norm", "clone"])
def test_a_method_of_another_library_is_answered_with_what_to_write(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"no attribute '{name}': write"):
        getattr(Value(M), name)
    assert not hasattr(Value(M), name)


def test_a_name_that_is_nowhere_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'sofmax'$"):
        Value(M).sofmax
    assert "softmax" in dir(Value(M))


# -- gradients -----------------------------------------------------------------------------------------------


def test_backward_twice_replaces_and_two_losses_add_up() -> None:
    x = Value(3.0)
    first, second = x * x, 5.0 * x
    first.backward()
    first.backward()
    assert x.grad == 6.0
    second.backward()
    second.backward()
    assert x.grad == 11.0
    x.zero_grad()
    assert x.grad is None
    second.backward()
    assert x.grad == 5.0


def test_gradients_of_several_batches_add_up_to_that_of_all() -> None:
    w = Value([0.5, -1.0, 2.0])
    data = np.random.default_rng(0).normal(size=(8, 3))
    for batch in (data[:3], data[3:]):
        ((batch @ w) ** 2).sum().backward()
    in_parts = w.grad.copy()
    w.zero_grad()
    ((data @ w) ** 2).sum().backward()
    np.testing.assert_allclose(w.grad, in_parts, rtol=1e-14)


def test_every_node_keeps_its_gradient() -> None:
    x = Value(M)
    h = x * 2.0
    loss = (h * h).sum()
    loss.backward()
    assert loss.grad == 1.0
    np.testing.assert_array_equal(h.grad, 2.0 * h.data)
    np.testing.assert_array_equal(x.grad, 4.0 * h.data)


def test_a_gradient_can_be_assigned() -> None:
    x = Value([1.0, 2.0])
    x.grad = [3.0, 4.0]
    (x * x).sum().backward()
    assert x.grad.tolist() == [5.0, 8.0]
    x.grad = np.clip(x.grad, -1.0, 1.0)
    assert x.grad.tolist() == [1.0, 1.0]
    x.grad = None
    assert x.grad is None
    with pytest.raises(ShapeError, match="shape"):
        x.grad = [1.0, 2.0, 3.0]


def test_backward_of_an_array_needs_a_seed() -> None:
    x = Value([1.0, 2.0])
    with pytest.raises(ShapeError, match="mean"):
        (x * x).backward()
    (x * x).backward([1.0, 10.0])
    assert x.grad.tolist() == [2.0, 40.0]
    (x * x).backward(seed=np.ones(2))
    with pytest.raises(DtypeError, match="int64"):
        bl.asarray([1, 2]).sum().backward()
    with pytest.raises(GraphError, match="constants"):
        (bl.asarray(2.0) * 3.0).backward()


# -- steps ---------------------------------------------------------------------------------------------------


def test_steps_by_hand() -> None:
    rng = np.random.default_rng(1)
    X, want = rng.normal(size=(64, 3)), np.asarray([1.0, -2.0, 0.5])
    w, b = Parameter(np.zeros(3)), Parameter(0.0)
    y = X @ want + 0.25
    for _ in range(200):
        loss = ((X @ w + b - y) ** 2).mean()
        w.zero_grad()
        b.zero_grad()
        loss.backward()
        w.data -= 0.1 * w.grad
        b.data = b.data - 0.1 * b.grad
    np.testing.assert_allclose(w.data, want, atol=1e-6)
    assert b.data == pytest.approx(0.25, abs=1e-6)
    assert type(b.data) is float


def test_an_assignment_leaves_older_graphs_truthful() -> None:
    w = Value(3.0)
    y = w * w
    w.data = 100.0
    z = w * w
    assert (y.data, z.data) == (9.0, 10000.0)
    y.backward()
    assert w.grad == 6.0  # the gradient of y where y was computed
    assert y.inputs[0].data == 3.0
    w.zero_grad()
    z.backward()
    assert w.grad == 200.0


def test_a_forgotten_zero_grad_is_noticed() -> None:
    w = Value(3.0)
    (w * w).backward()
    w.data = 2.0
    with pytest.warns(StaleGradientWarning, match="zero_grad"):
        (w * w).backward()


def test_in_place_operators_make_new_values() -> None:
    w = Value([1.0, 2.0])
    held = w
    w += 1.0
    w *= held
    assert held.tolist() == [1.0, 2.0]
    assert w.tolist() == [2.0, 6.0]
    w.sum().backward()
    assert held.grad.tolist() == [3.0, 5.0]


def test_graphs_are_freed_with_their_last_name() -> None:
    x = Value(M)
    y = (x * 2.0).tanh()
    middle = weakref.ref(y.inputs[0])
    loss = y.sum()
    loss.backward()
    del y, loss
    gc.collect()
    assert middle() is None
    assert x.grad is not None


# -- writing into arrays -------------------------------------------------------------------------------------


def test_writing_into_an_array_is_differentiated() -> None:
    x, v = Value([1.0, 2.0, 3.0]), Value(10.0)
    y = x * x
    y[1] = v * 3.0
    y[2] += x[0]
    assert y.tolist() == [1.0, 30.0, 10.0]
    (y * bl.asarray([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [2.0 + 3.0, 0.0, 18.0]
    assert v.grad == 6.0


def test_a_list_of_results_can_be_written_into_zeros() -> None:
    x = Value([0.5, 1.0, 2.0])
    out = bl.zeros(3)
    for i in range(3):
        out[i] = x[i].tanh()
    out.sum().backward()
    np.testing.assert_allclose(x.grad, 1.0 - np.tanh(x.data) ** 2, rtol=1e-14)


@pytest.mark.parametrize(
    "index", [0, -1, (0, 1), slice(0, 1), (slice(None), 2), Ellipsis, [1, 0], np.asarray([True, False]), M > 2.5]
)
def test_every_kind_of_index_is_differentiated_read_and_written(index: Any) -> None:
    x = Value(M)
    (x[index] ** 2).sum().backward()
    want = np.zeros_like(M)
    want[index] = 2.0 * M[index]
    np.testing.assert_array_equal(x.grad, want)
    y, v = Value(M), Value(np.full(np.shape(M[index]), 7.0) if np.ndim(M[index]) else 7.0)
    z = y * 1.0
    z[index] = v
    (z * z).sum().backward()
    kept = 2.0 * M
    kept[index] = 0.0
    np.testing.assert_array_equal(y.grad, kept)
    np.testing.assert_array_equal(v.grad, np.full(np.shape(M[index]), 14.0))


def test_a_variable_can_be_written_into() -> None:
    w = Value([1.0, 2.0])
    before = w * 3.0
    w[0] = 5.0
    assert w.tolist() == [5.0, 2.0]
    assert before.tolist() == [3.0, 6.0]
    (w * w).sum().backward()
    assert w.grad.tolist() == [10.0, 4.0]
    with bl.no_grad():
        w[1] = 9.0
    assert w.tolist() == [5.0, 9.0]


# -- without gradients ---------------------------------------------------------------------------------------


def test_stop_gradient_and_no_grad() -> None:
    x = Value(3.0)
    (x * bl.stop_gradient(x)).backward()
    assert x.grad == 3.0
    with bl.no_grad():
        y = x * x
    assert (y.data, y.inputs) == (9.0, ())
    with pytest.raises(GraphError, match="no_grad"):
        y.backward()
    x.zero_grad()
    (x * y).backward()
    assert x.grad == 9.0


def test_whole_numbers_have_no_gradient_and_say_so() -> None:
    labels = Value([0, 2, 1])
    assert labels.dtype == bl.int64
    assert labels.grad is None
    x = Value(M)
    picked = x[:, labels[1]]
    picked.sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    with pytest.raises(DtypeError, match="int64"):
        bl.grad(lambda n: (n * n).sum())(labels)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_have_the_dtype_of_their_variable(dtype: str) -> None:
    x = Value(M, dtype=dtype)
    h = (2.0 * x + 1).tanh() / 3 - x**2
    assert h.dtype == dtype
    loss = h.mean()
    assert loss.dtype == dtype
    loss.backward()
    assert x.grad.dtype == dtype
    x.data = x.data - 0.1 * x.grad
    assert x.dtype == dtype
    y = Value(M, dtype=dtype)
    (y * Value(M)).sum().backward()  # beside float64
    assert y.grad.dtype == dtype


@pytest.mark.peers
def test_the_same_steps_as_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    X, labels = rng.normal(size=(32, 5)), rng.integers(0, 3, 32)
    W, c = rng.normal(size=(5, 3)), rng.normal(size=3)
    ours = [Parameter(W), Parameter(c)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (W, c)]
    for _ in range(10):
        scores = X @ ours[0] + ours[1]
        loss = -scores.log_softmax(1)[np.arange(32), labels].mean()
        loss.backward()
        reference = torch.nn.functional.cross_entropy(torch.tensor(X) @ theirs[0] + theirs[1], torch.tensor(labels))
        reference.backward()
        assert loss.item() == pytest.approx(reference.item(), rel=1e-12)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-9, atol=1e-12)
            p.data -= 0.5 * p.grad
            p.zero_grad()
            with torch.no_grad():
                q -= 0.5 * q.grad
                q.grad = None
