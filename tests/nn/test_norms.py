"""The normalising layers: what they compute in training and in use, their running statistics, their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import DomainError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, size=(6, 3))
DEEP = RNG.normal(2.0, 3.0, size=(2, 4, 3))
WEIGHTS = RNG.normal(size=(3,))


def loss_of(model: Any, x: Any) -> Any:
    return (model(x) * WEIGHTS).sum() + (model(x) ** 3).sum()


def stirred(model: Any) -> Any:
    """With a weight and a bias that are not 1 and 0."""
    for i, p in enumerate(model.parameters()):
        p.data = np.random.default_rng(i).normal(1.0, 0.5, size=p.shape)
    return model


@pytest.mark.parametrize("x", [X, DEEP])
def test_a_batch_is_given_mean_zero_and_variance_one_by_the_biased_variance(x: Any) -> None:
    y = nn.BatchNorm(3, eps=0.0, dtype="float64")(x).data
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(y.mean(axes), 0.0, atol=1e-14)
    np.testing.assert_allclose(y.var(axes), 1.0, rtol=1e-13)


@pytest.mark.parametrize(("which", "correction"), [("n-1", 1), ("n", 0)])
def test_running_statistics_follow_the_batches_by_the_stated_variance(which: str, correction: int) -> None:
    layer = nn.BatchNorm(3, momentum=0.25, running_variance=which, dtype="float64")
    mean, var = np.zeros(3), np.ones(3)
    for step in range(3):
        x = X + step
        layer(x)
        mean = 0.75 * mean + 0.25 * x.mean(0)
        var = 0.75 * var + 0.25 * x.var(0, ddof=correction)
    np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-14)
    np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-14)
    assert layer.batches.data == 3
    y = layer.eval()(X).data
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-5), rtol=1e-13)
    assert layer.batches.data == 3
    assert layer(X[0]).shape == (3,)


def test_without_momentum_the_running_statistics_are_plain_averages() -> None:
    layer = nn.BatchNorm(3, momentum=None, dtype="float64")
    batches = [RNG.normal(size=(4, 3)) for _ in range(5)]
    for x in batches:
        layer(x)
    np.testing.assert_allclose(layer.running_mean.data, np.mean([x.mean(0) for x in batches], 0), atol=1e-14)
    np.testing.assert_allclose(layer.running_var.data, np.mean([x.var(0, ddof=1) for x in batches], 0), rtol=1e-13)


def test_running_statistics_keep_the_dtype_of_the_layer() -> None:
    for momentum in (0.1, None):
        layer = nn.BatchNorm(3, momentum=momentum)
        assert layer(X).dtype == bl.float32
        assert layer.running_mean.dtype == layer.running_var.dtype == bl.float32


def test_without_tracking_the_batch_counts_in_use_too() -> None:
    layer = nn.BatchNorm(3, track=False, dtype="float64")
    assert list(layer.named_buffers()) == []
    np.testing.assert_array_equal(layer(X).data, layer.eval()(X).data)


def test_no_gradient_reaches_the_running_statistics_and_graphs_stay_true() -> None:
    layer = nn.BatchNorm(3, dtype="float64").eval()
    y = (layer(X) ** 2).sum()
    layer.train()(X)
    y.backward()
    np.testing.assert_allclose(layer.bias.grad, (2 * X / np.sqrt(1 + 1e-5)).sum(0), rtol=1e-13)
    assert layer.running_mean.grad is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.BatchNorm(3, dtype="float64"),
        lambda: nn.BatchNorm(3, dtype="float64").eval(),
        lambda: nn.LayerNorm(3, dtype="float64"),
        lambda: nn.LayerNorm((4, 3), dtype="float64"),
        lambda: nn.LayerNorm(3, bias=False, dtype="float64"),
        lambda: nn.RMSNorm(3, dtype="float64"),
    ],
)
def test_the_gradients_of_a_norm_are_right(make: Any) -> None:
    report = bl.check(loss_of, stirred(make()), DEEP)
    assert report.ok, str(report)


def test_layer_norm_takes_each_vector_by_itself() -> None:
    layer = stirred(nn.LayerNorm(3, dtype="float64"))
    want = (DEEP - DEEP.mean(-1, keepdims=True)) / np.sqrt(DEEP.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(DEEP).data, want * layer.weight.data + layer.bias.data, rtol=1e-13)
    np.testing.assert_allclose(layer(DEEP[0, 0]).data, layer(DEEP).data[0, 0], rtol=1e-14)
    assert nn.LayerNorm((4, 3), affine=False, dtype="float64")(DEEP).data.mean((1, 2)).tolist() == pytest.approx(
        [0.0, 0.0], abs=1e-14
    )


def test_rms_norm_divides_by_the_root_mean_square() -> None:
    layer = stirred(nn.RMSNorm(3, dtype="float64"))
    want = DEEP / np.sqrt((DEEP**2).mean(-1, keepdims=True) + 1e-6) * layer.weight.data
    np.testing.assert_allclose(layer(DEEP).data, want, rtol=1e-13)


def test_without_weights_the_dtype_still_holds() -> None:
    for kind in (nn.BatchNorm, nn.LayerNorm, nn.RMSNorm):
        assert kind(3, affine=False)(X).dtype == bl.float32
        assert kind(3, affine=False).parameters() == []


def test_norms_refuse_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"BatchNorm\(3\) in training compares the rows.*\(1, 3\)"):
        nn.BatchNorm(3)(X[:1])
    with pytest.raises(ShapeError, match=r"has one at most"):
        nn.BatchNorm(3)(X[0])
    with pytest.raises(ShapeError, match="last axis has length 3"):
        nn.BatchNorm(3)(X.T)
    with pytest.raises(ShapeError, match=r"last axes are \(4, 3\)"):
        nn.LayerNorm((4, 3))(X)
    with pytest.raises(DomainError, match="running_variance='unbiased'; it is 'n-1' or 'n'"):
        nn.BatchNorm(3, running_variance="unbiased")
    with pytest.raises(DomainError, match=r"momentum=1\.5"):
        nn.BatchNorm(3, momentum=1.5)
    with pytest.raises(DomainError, match="eps=-1"):
        nn.LayerNorm(3, eps=-1)
    with pytest.raises(DomainError, match="n is empty"):
        nn.RMSNorm(())


# -- against PyTorch -----------------------------------------------------------------------------------------


def same(ours: Any, theirs: Any, ours_x: Any, theirs_x: Any) -> None:
    """Results and gradients by the input, the weight and the bias."""
    (ours(ours_x) ** 3).sum().backward()
    torch_y = theirs(theirs_x)
    (torch_y**3).sum().backward()
    np.testing.assert_allclose(ours_x.grad, theirs_x.grad.numpy(), rtol=1e-9, atol=1e-11)
    for name in ("weight", "bias"):
        if getattr(theirs, name, None) is not None:
            np.testing.assert_allclose(getattr(ours, name).grad, getattr(theirs, name).grad.numpy(), rtol=1e-11)


@pytest.mark.peers
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_is_that_of_pytorch_in_training_and_in_use(momentum: float | None) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = stirred(nn.BatchNorm(3, momentum=momentum, dtype="float64")), None
    theirs = torch.nn.BatchNorm1d(3, momentum=momentum, dtype=torch.float64)
    theirs.load_state_dict(
        {**theirs.state_dict(), **{k: torch.tensor(np.array(v.data)) for k, v in ours.named_parameters()}}
    )
    for step in range(4):
        x = X * (1 + step)
        np.testing.assert_allclose(ours(x).data, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-12, atol=1e-13)
    same(ours, theirs, bl.Value(X), torch.tensor(X, requires_grad=True))
    np.testing.assert_allclose(ours.running_mean.data, theirs.running_mean.numpy(), rtol=1e-13)
    np.testing.assert_allclose(ours.running_var.data, theirs.running_var.numpy(), rtol=1e-13)
    assert ours.batches.data == theirs.num_batches_tracked.item()
    ours.zero_grad()
    theirs.zero_grad()
    same(ours.eval(), theirs.eval(), bl.Value(X), torch.tensor(X, requires_grad=True))


@pytest.mark.peers
@pytest.mark.parametrize(("name", "n"), [("LayerNorm", 3), ("LayerNorm", (4, 3)), ("RMSNorm", 3)])
def test_a_norm_of_vectors_is_that_of_pytorch(name: str, n: Any) -> None:
    torch = pytest.importorskip("torch")
    ours = stirred(getattr(nn, name)(n, eps=1e-5, dtype="float64"))
    theirs = getattr(torch.nn, name)(n, eps=1e-5, dtype=torch.float64)
    theirs.load_state_dict({k: torch.tensor(np.array(v.data)) for k, v in ours.named_parameters()})
    np.testing.assert_allclose(ours(DEEP).data, theirs(torch.tensor(DEEP)).detach().numpy(), rtol=1e-12)
    same(ours, theirs, bl.Value(DEEP), torch.tensor(DEEP, requires_grad=True))
