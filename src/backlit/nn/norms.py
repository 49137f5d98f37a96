"""Layers that bring what flows through them to a common mean and spread."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from backlit.core.errors import DomainError, ShapeError
from backlit.core.state import no_grad
from backlit.core.value import Buffer, Parameter, Value, describe
from backlit.nn.init import ones, zeros
from backlit.nn.module import Module, as_input, check_last_axis, count_of
from backlit.ops.casting import ASTYPE
from backlit.ops.functions import apply
from backlit.ops.powers import sqrt, square
from backlit.ops.statistics import mean


class BatchNorm(Module):
    """Each feature with the mean and variance of the batch taken out.  x: (batch, n) or (batch, ..., n) -> the same.

    y = (x - mean) / sqrt(var + eps) * weight + bias, with one mean, variance, weight and bias for each feature. The
    features stand in the *last* axis, and all other axes are averaged over; PyTorch has them in the second.

    In training the mean and the variance are those of the batch, and gradients flow through both; the variance here
    is the biased one, the sum of squares over n. Meanwhile running statistics follow them:
        running <- (1 - momentum) * running + momentum * of the batch,
    from 0 and 1 at first; with momentum=None they are the plain average over all batches. In use (`eval()`) these take
    the place of the batch's. running_variance: "n-1", as PyTorch and the paper (Algorithm 2, step 10) have it, keeps
    the unbiased variance, the sum of squares over n - 1; "n", as TensorFlow has it, the biased one.
    track=False: no running statistics; the batch's are used always. affine=False: no weight and bias.

    Buffers: `running_mean`, `running_var` (n,), `batches` () int64. Raises ShapeError if the last axis is not n, and
    in training for a batch of one, whose variance is 0. Source: Ioffe and Szegedy 2015, arXiv:1502.03167.

    >>> layer = BatchNorm(2, dtype="float64")
    >>> layer([[1.0, 10.0], [3.0, 30.0]]).data.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> layer.running_mean.data, layer.running_var.data
    (array([0.2, 2. ]), array([ 1.1, 20.9]))
    """

    def __init__(
        self,
        n: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        track: bool = True,
        affine: bool = True,
        running_variance: str = "n-1",
        *,
        dtype: Any = "float32",
    ) -> None:
        self.n, self.eps, self.momentum = count_of(n, "BatchNorm: n"), _eps("BatchNorm", eps), momentum
        if momentum is not None and not 0 <= momentum <= 1:
            raise DomainError(f"BatchNorm: momentum={momentum}; it is the weight of the new batch, between 0 and 1.")
        if running_variance not in ("n-1", "n"):
            raise DomainError(f"BatchNorm: running_variance={running_variance!r}; it is 'n-1' or 'n'.")
        self.running_variance = running_variance
        self.weight = Parameter(ones(None, (n,), dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(None, (n,), dtype=dtype)) if affine else None
        self.running_mean = Buffer(zeros(None, (n,), dtype=dtype)) if track else None
        self.running_var = Buffer(ones(None, (n,), dtype=dtype)) if track else None
        self.batches = Buffer(0, dtype="int64") if track else None
        self.dtype = ones(None, (), dtype=dtype).dtype

    def forward(self, x: Any) -> Value:
        """x: (batch, ..., n) -> the same shape."""
        x = as_input(x, self._dtype())
        check_last_axis(x, self.n, self)
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return _affine((x - self.running_mean) / sqrt(self.running_var + self.eps), self.weight, self.bias)
        rows = prod(x.shape[:-1])
        if x.ndim < 2 or rows < 2:
            raise ShapeError(
                f"BatchNorm({self.n}) in training compares the rows of a batch, and {describe(x)}, of shape {x.shape}, "
                "has one at most. Give it a batch of two or more, or call eval() to use the running statistics."
            )
        axes = tuple(range(x.ndim - 1))
        center = mean(x, axis=axes)
        deviation = x - center
        spread = mean(square(deviation), axis=axes)
        if self.training:
            self._follow(center, spread, rows)
        return _affine(deviation / sqrt(spread + self.eps), self.weight, self.bias)

    def _dtype(self) -> Any:
        """The parameters' dtype, which is another when they were replaced by those of another dtype."""
        return self.dtype if self.weight is None else self.weight.dtype

    def _follow(self, center: Value, spread: Value, rows: int) -> None:
        """Let the running statistics follow those of a batch."""
        if self.running_mean is None or self.running_var is None or self.batches is None:
            return
        with no_grad():
            count = self.batches + 1
            if self.running_variance == "n-1":
                spread = spread * (rows / (rows - 1))
            for running, new in ((self.running_mean, center), (self.running_var, spread)):
                share = apply(ASTYPE, 1.0 / count, dtype=running.dtype) if self.momentum is None else self.momentum
                running.data = running + share * (new - running)
            self.batches.data = count


class LayerNorm(Module):
    """Each vector with its own mean and variance taken out.  x: (..., n) -> (..., n).

    y = (x - mean) / sqrt(var + eps) * weight + bias, mean and (biased) variance over the last axis, or the last few if
    `n` is a tuple of their lengths. weight, bias: of shape n, from 1 and 0; affine=False leaves out both, bias=False
    the second. The same in training and in use. Raises ShapeError if the last axes are not n.
    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450.

    >>> LayerNorm(3, dtype="float64")([[1.0, 2.0, 3.0]]).data.round(3)
    array([[-1.225,  0.   ,  1.225]])
    """

    def __init__(
        self,
        n: int | Sequence[int],
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.n, self.eps = _lengths("LayerNorm", n), _eps("LayerNorm", eps)
        self.weight = Parameter(ones(None, self.n, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(None, self.n, dtype=dtype)) if affine and bias else None
        self.dtype = ones(None, (), dtype=dtype).dtype

    def forward(self, x: Any) -> Value:
        """x: (..., n) -> (..., n)."""
        x = as_input(x, self.dtype if self.weight is None else self.weight.dtype)
        axes = _last(x, self.n, self)
        deviation = x - mean(x, axis=axes, keepdims=True)
        spread = mean(square(deviation), axis=axes, keepdims=True)
        return _affine(deviation / sqrt(spread + self.eps), self.weight, self.bias)


class RMSNorm(Module):
    """Each vector divided by the root of its mean square.  x: (..., n) -> (..., n).

    y = x / sqrt(mean(x²) + eps) * weight: `LayerNorm` without a mean and an offset, and cheaper. weight: of shape n,
    from 1; affine=False leaves it out. `n` may be a tuple, the lengths of the last axes. PyTorch's eps is the dtype's
    own by default, 1.2e-7 for float32; the paper has none. Raises ShapeError if the last axes are not n.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467, equation 4.

    >>> RMSNorm(2, dtype="float64")([3.0, 4.0]).data.round(3)
    array([0.849, 1.131])
    """

    def __init__(
        self, n: int | Sequence[int], eps: float = 1e-6, affine: bool = True, *, dtype: Any = "float32"
    ) -> None:
        self.n, self.eps = _lengths("RMSNorm", n), _eps("RMSNorm", eps)
        self.weight = Parameter(ones(None, self.n, dtype=dtype)) if affine else None
        self.dtype = ones(None, (), dtype=dtype).dtype

    def forward(self, x: Any) -> Value:
        """x: (..., n) -> (..., n)."""
        x = as_input(x, self.dtype if self.weight is None else self.weight.dtype)
        axes = _last(x, self.n, self)
        return _affine(x / sqrt(mean(square(x), axis=axes, keepdims=True) + self.eps), self.weight, None)


def _affine(x: Value, weight: Value | None, bias: Value | None) -> Value:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _eps(name: str, eps: float) -> float:
    if not 0 <= eps < float("inf"):
        raise DomainError(f"{name}: eps={eps}; it keeps a root away from 0, and is a small number such as 1e-5.")
    return float(eps)


def _lengths(name: str, n: Any) -> tuple[int, ...]:
    lengths = tuple(n) if isinstance(n, Sequence) else (n,)
    if not lengths:
        raise DomainError(f"{name}: n is empty; name the lengths of the last axes.")
    return tuple(count_of(each, f"{name}: n") for each in lengths)


def _last(x: Value, lengths: tuple[int, ...], layer: Module) -> tuple[int, ...]:
    """The last axes, which have these lengths."""
    if len(lengths) == 1:
        check_last_axis(x, lengths[0], layer)
        return (-1,)
    if x.shape[-len(lengths) :] != lengths:
        raise ShapeError(
            f"{type(layer).__name__}({layer.settings()}) takes inputs whose last axes are {lengths}, and was given "
            f"{describe(x)}, of shape {x.shape}."
        )
    return tuple(range(-len(lengths), 0))
