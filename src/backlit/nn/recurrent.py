"""Networks that read a sequence step by step and keep a state: the plain recurrent net, the GRU and the LSTM.

Each comes as a cell, one step `cell(x, state) -> state`, and as a layer that runs cells along the time axis:
`layer(x, state=None) -> (outputs, last state)`. What the inputs contribute is computed for all times at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import DomainError, ShapeError
from backlit.core.numbers import Shape
from backlit.core.value import Parameter, Value, describe
from backlit.nn.init import as_key, started
from backlit.nn.module import Module, as_input, check_last_axis, count_of
from backlit.ops import random
from backlit.ops.activations import relu, sigmoid
from backlit.ops.joining import stack
from backlit.ops.movement import split, unstack
from backlit.ops.trigonometry import tanh

_NONLINEAR: dict[str, Callable[[Any], Value]] = {"tanh": tanh, "relu": relu}


class _Cell(Module):
    """What the cells share: weights for `parts` transformations, side by side, of the input and of the state."""

    parts = 1

    def __init__(self, n_in: int, n_hidden: int, key: Any, dtype: Any) -> None:
        name = type(self).__name__
        self.n_in, self.n_hidden = count_of(n_in, f"{name}: n_in"), count_of(n_hidden, f"{name}: n_hidden")
        inward, onward = random.split(as_key(key))
        n, parts = self.n_hidden, self.parts
        self.weight = Parameter(
            started("xavier_uniform", inward, (self.n_in, parts * n), dtype, fan_in=self.n_in, fan_out=n)
        )
        squares = [started("orthogonal", random.fold_in(onward, i), (n, n), dtype) for i in range(parts)]
        self.state_weight = Parameter(np.concatenate(squares, axis=1))
        self.bias = Parameter(started("zeros", None, (parts * n,), dtype))

    def project(self, x: Value) -> Value:
        """What inputs contribute, before the state does.  x: (..., n_in) -> (..., parts · n_hidden)."""
        return x @ self.weight + self.bias

    def step(self, projected: Value, state: Any) -> Any:
        """The next state, from the contribution of the input and the state before."""
        raise NotImplementedError

    def begin(self, batch: Shape) -> Any:
        """The state before the first input: zeros."""
        return np.zeros((*batch, self.n_hidden), self.weight.dtype)

    def hidden(self, state: Any) -> Value:
        """The part of the state that is the output."""
        found: Value = state
        return found

    def taken(self, state: Any, batch: Shape) -> Any:
        """A state that the user gave, checked."""
        return _state(self, state, (*batch, self.n_hidden))

    def forward(self, x: Any, state: Any = None) -> Any:
        """x: (..., n_in), state: (..., n_hidden), zeros if None -> the next state."""
        x = as_input(x, self.weight.dtype)
        check_last_axis(x, self.n_in, self)
        batch = x.shape[:-1]
        return self.step(self.project(x), self.begin(batch) if state is None else self.taken(state, batch))


def _state(layer: Module, state: Any, shape: Shape, what: str = "state") -> Value:
    if isinstance(state, tuple):
        raise ShapeError(f"{type(layer).__name__}: its {what} is one array of shape {shape}, and was given a tuple.")
    dtype = next(iter(layer.parameters())).dtype
    value = as_input(state, dtype)
    if value.shape != shape:
        raise ShapeError(
            f"{type(layer).__name__}: the {what} has shape {shape} for this input, and was given {describe(value)}, of "
            f"shape {value.shape}."
        )
    return value


def _gates(x: Value, parts: int) -> list[Value]:
    return split(x, parts, axis=-1)


class RNNCell(_Cell):
    """One step of a plain recurrent net: h' = f(x @ weight + bias + h @ state_weight), f being tanh or relu.

    x: (..., n_in), h: (..., n_hidden), zeros if it is left out -> (..., n_hidden). weight: (n_in, n_hidden), from
    Xavier's rule; state_weight: (n_hidden, n_hidden), orthogonal at first, so that what flows through many steps
    neither grows nor fades (Saxe et al. 2014, arXiv:1312.6120); bias: (n_hidden,), zeros at first. PyTorch has the
    transposes, and two biases that are only ever added up. Raises ShapeError for other inputs, DomainError for another
    nonlinearity. Source: Elman 1990.

    >>> cell = RNNCell(2, 3, key=0)
    >>> h = cell([[1.0, 2.0]])
    >>> cell([[0.0, 1.0]], h).shape
    (1, 3)
    """

    def __init__(
        self, n_in: int, n_hidden: int, nonlinearity: str = "tanh", *, key: Any = None, dtype: Any = "float32"
    ) -> None:
        if nonlinearity not in _NONLINEAR:
            raise DomainError(f'{type(self).__name__}: nonlinearity={nonlinearity!r}; it is "tanh" or "relu".')
        super().__init__(n_in, n_hidden, key, dtype)
        self.nonlinearity = nonlinearity

    def step(self, projected: Value, state: Any) -> Value:
        """The next state."""
        return _NONLINEAR[self.nonlinearity](projected + state @ self.state_weight)


class GRUCell(_Cell):
    """One step of a gated recurrent unit.

        r = sigmoid(x W_r + b_r + h U_r)                     how much of the state the candidate sees
        z = sigmoid(x W_z + b_z + h U_z)                     how much of the state stays
        n = tanh(x W_n + b_n + r * (h U_n + c))              the candidate
        h' = (1 - z) * n + z * h

    The variant of PyTorch and cuDNN, which resets after the product: r * (h U). The paper has (r * h) U, and 1 - z in
    place of z. x: (..., n_in), h: (..., n_hidden), zeros if left out -> (..., n_hidden). weight: (n_in, 3 · n_hidden)
    holds W_r, W_z, W_n side by side, state_weight (n_hidden, 3 · n_hidden) U, bias (3 · n_hidden) b, candidate_bias
    (n_hidden) c. PyTorch's bias_hh for r and z only adds to b. They start as in `RNNCell`.
    Source: Cho et al. 2014, arXiv:1406.1078.

    >>> GRUCell(2, 3, key=0)([[1.0, 2.0]]).shape
    (1, 3)
    """

    parts = 3

    def __init__(self, n_in: int, n_hidden: int, *, key: Any = None, dtype: Any = "float32") -> None:
        super().__init__(n_in, n_hidden, key, dtype)
        self.candidate_bias = Parameter(started("zeros", None, (self.n_hidden,), dtype))

    def step(self, projected: Value, state: Any) -> Value:
        """The next state."""
        x_r, x_z, x_n = _gates(projected, 3)
        h_r, h_z, h_n = _gates(state @ self.state_weight, 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + r * (h_n + self.candidate_bias))
        new: Value = n + z * (state - n)
        return new


class LSTMCell(_Cell):
    """One step of a long short-term memory.

        i, f, o = sigmoid(x W + b + h U), for each of the gates: input, forget, output
        g = tanh(x W_g + b_g + h U_g)
        c' = f * c + i * g;   h' = o * tanh(c')

    `cell(x, (h, c)) -> (h', c')`.  x: (..., n_in); h, c: (..., n_hidden), zeros if left out. weight: (n_in,
    4 · n_hidden) holds the columns of i, f, g, o in this order, which is PyTorch's; so do state_weight (n_hidden,
    4 · n_hidden) and bias (4 · n_hidden). They start as in `RNNCell`, but for the forget gate's bias, `forget_bias`:
    with 1 a cell remembers until it learns to forget (Gers et al. 2000; Jozefowicz et al. 2015); PyTorch starts
    it around 0. Source: Hochreiter and Schmidhuber 1997.

    >>> h, c = LSTMCell(2, 3, key=0)([[1.0, 2.0]])
    >>> h.shape, c.shape
    ((1, 3), (1, 3))
    """

    parts = 4

    def __init__(
        self, n_in: int, n_hidden: int, *, forget_bias: float = 1.0, key: Any = None, dtype: Any = "float32"
    ) -> None:
        super().__init__(n_in, n_hidden, key, dtype)
        bias = np.zeros((4, self.n_hidden), self.bias.dtype)
        bias[1] = forget_bias
        self.bias.data = bias.reshape(-1)

    def step(self, projected: Value, state: Any) -> tuple[Value, Value]:
        """The next h and c."""
        h, c = state
        i, f, g, o = _gates(projected + h @ self.state_weight, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def begin(self, batch: Shape) -> Any:
        """h and c before the first input: zeros."""
        return super().begin(batch), super().begin(batch)

    def hidden(self, state: Any) -> Value:
        """The part of the state that is the output: h."""
        h: Value = state[0]
        return h

    def taken(self, state: Any, batch: Shape) -> Any:
        """A state that the user gave, checked: h and c."""
        h, c = _two(self, state)
        return super().taken(h, batch), super().taken(c, batch)


def _two(layer: Module, state: Any) -> tuple[Any, Any]:
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ShapeError(f"{type(layer).__name__}: its state is a pair (h, c), and was given {state!r:.60}.")
    return state[0], state[1]


class _Recurrent(Module):
    """Layers of cells, each run along the time axis of what the one below gave."""

    def __init__(
        self, make: Callable[..., _Cell], n_in: int, n_hidden: int, num_layers: int, key: Any, dtype: Any
    ) -> None:
        layers = count_of(num_layers, f"{type(self).__name__}: num_layers")
        key = as_key(key)
        self.cells = [
            make(n_in if i == 0 else n_hidden, n_hidden, key=random.fold_in(key, i), dtype=dtype) for i in range(layers)
        ]

    def forward(self, x: Any, state: Any = None) -> tuple[Value, Any]:
        """x: (batch, time, n_in) -> outputs (batch, time, n_hidden), last state."""
        first = self.cells[0]
        x = as_input(x, first.weight.dtype)
        check_last_axis(x, first.n_in, self)
        if x.ndim != 3:
            raise ShapeError(
                f"{type(self).__name__} reads a batch of sequences, (batch, time, {first.n_in}), and was given "
                f"{describe(x)}, of shape {x.shape}." + (" For a single sequence write x[None]." if x.ndim == 2 else "")
            )
        if not x.shape[1]:
            raise ShapeError(
                f"{type(self).__name__}: the sequences in {x.shape} have no steps; there is no last state."
            )
        last = []
        for cell, now in zip(self.cells, self._states(state, x.shape[0]), strict=True):
            outputs = []
            for projected in unstack(cell.project(x), axis=1):
                now = cell.step(projected, now)
                outputs.append(cell.hidden(now))
            x = stack(outputs, axis=1)
            last.append(now)
        return x, self._gathered(last)

    def _states(self, state: Any, batch: int) -> list[Any]:
        """The state of each layer before the first step."""
        if state is None:
            return [cell.begin((batch,)) for cell in self.cells]
        shape = (len(self.cells), batch, self.cells[0].n_hidden)
        return list(unstack(_state(self, state, shape)))

    def _gathered(self, last: list[Any]) -> Any:
        return stack(last)


class RNN(_Recurrent):
    """A plain recurrent net, h_t = f(x_t @ weight + bias + h_(t-1) @ state_weight), f being tanh or relu: `RNNCell`.

    `rnn(x, state=None) -> (outputs, last)`.  x: (batch, time, n_in); outputs: (batch, time, n_hidden), h of the top
    layer at each step; state and last: (num_layers, batch, n_hidden), state being zeros if left out. With num_layers
    above 1, each reads the outputs of the one below. The same as PyTorch's with `batch_first=True`. Raises ShapeError
    for other inputs. Cost: some nodes of the graph for each step and layer.

    >>> outputs, last = RNN(2, 3, key=0)(np.ones((4, 5, 2)))
    >>> outputs.shape, last.shape
    ((4, 5, 3), (1, 4, 3))
    """

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        nonlinearity: str = "tanh",
        num_layers: int = 1,
        *,
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        def make(n: int, h: int, **made: Any) -> RNNCell:
            return RNNCell(n, h, nonlinearity, **made)

        super().__init__(make, n_in, n_hidden, num_layers, key, dtype)


class GRU(_Recurrent):
    """Gated recurrent units, in PyTorch's variant, which resets after the product; see `GRUCell` for the formula.

    `gru(x, state=None) -> (outputs, last)`, shapes and errors as in `RNN`.

    >>> outputs, last = GRU(2, 3, num_layers=2, key=0)(np.ones((4, 5, 2)))
    >>> outputs.shape, last.shape
    ((4, 5, 3), (2, 4, 3))
    """

    def __init__(
        self, n_in: int, n_hidden: int, num_layers: int = 1, *, key: Any = None, dtype: Any = "float32"
    ) -> None:
        super().__init__(GRUCell, n_in, n_hidden, num_layers, key, dtype)


class LSTM(_Recurrent):
    """Long short-term memory; see `LSTMCell` for the formula and for `forget_bias`.

    `lstm(x, state=None) -> (outputs, (h, c))`, shapes and errors as in `RNN`; state is such a pair, too.

    >>> outputs, (h, c) = LSTM(2, 3, key=0)(np.ones((4, 5, 2)))
    >>> outputs.shape, h.shape, c.shape
    ((4, 5, 3), (1, 4, 3), (1, 4, 3))
    """

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        num_layers: int = 1,
        *,
        forget_bias: float = 1.0,
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        def make(n: int, h: int, **made: Any) -> LSTMCell:
            return LSTMCell(n, h, forget_bias=forget_bias, **made)

        super().__init__(make, n_in, n_hidden, num_layers, key, dtype)

    def _states(self, state: Any, batch: int) -> list[Any]:
        if state is None:
            return super()._states(None, batch)
        h, c = _two(self, state)
        return list(zip(super()._states(h, batch), super()._states(c, batch), strict=True))

    def _gathered(self, last: list[Any]) -> Any:
        return stack([h for h, _ in last]), stack([c for _, c in last])
