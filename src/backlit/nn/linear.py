"""The layer that mixes all its inputs: a matrix product and an offset."""

from __future__ import annotations

from typing import Any

from backlit.core.value import Parameter, Value
from backlit.nn.init import as_key, started
from backlit.nn.module import Module, as_input, check_last_axis, count_of


class Linear(Module):
    """y = x @ weight + bias.  x: (..., n_in) -> (..., n_out).

    weight: (n_in, n_out), so that the formula reads as it is written; PyTorch stores the transpose, (n_out, n_in), and
    `Linear(..., init=theirs.T)` takes it over. bias: (n_out,), starting from 0; bias=False leaves it out.

    init: what the weight starts from: the name of an initialiser in `backlit.nn.init`, a function called like those, a
    number, or an array. The default, Xavier's, suits units that are nearly linear around 0; before relu,
    "kaiming_uniform" is better, and `MLP` chooses by its activation. (PyTorch draws both weight and bias evenly in
    ±1/sqrt(n_in).) key: a random key or a seed; None takes the next of the process, see `seed`.
    dtype: of the parameters, and so of the result: the input is converted to it.

    Raises ShapeError if the last axis of x is not n_in. Cost: n_in · n_out multiplications an input.

    >>> layer = Linear(2, 3, key=0)
    >>> layer, layer([[1.0, 2.0]]).shape, layer.weight.dtype
    (Linear(2, 3), (1, 3), dtype('float32'))
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = True,
        *,
        init: Any = "xavier_uniform",
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.n_in, self.n_out = count_of(n_in, "Linear: n_in"), count_of(n_out, "Linear: n_out")
        self.weight = Parameter(started(init, as_key(key), (self.n_in, self.n_out), dtype))
        self.bias = Parameter(started("zeros", None, (self.n_out,), dtype)) if bias else None

    def forward(self, x: Any) -> Value:
        """x: (..., n_in) -> (..., n_out)."""
        x = as_input(x, self.weight.dtype)
        check_last_axis(x, self.n_in, self)
        product: Value = x @ self.weight
        return product if self.bias is None else product + self.bias
