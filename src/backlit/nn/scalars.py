"""micrograd's neural network, for reading: every weight is a value of its own, a single number.

The classes have micrograd's interface and compute what it computes, so a notebook written for it runs when its import
is changed. For work there is `backlit.nn.MLP`, whose weights are arrays: a few nodes for a layer, and not two for every
weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from backlit.core import threefry
from backlit.core.errors import ShapeError
from backlit.core.value import Parameter, Value
from backlit.nn.init import as_key
from backlit.nn.module import Module, count_of
from backlit.ops import random
from backlit.ops.activations import relu


class _Scalar(Module):
    """What the three share: a call is the plain computation, and forgotten gradients are 0, as in micrograd."""

    def __call__(self, x: Sequence[Any]) -> Any:  # no name scope: values of single numbers are made much faster without
        if not self._named:
            self._name_all()
        return self.forward(x)

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to 0."""
        for parameter in self.parameters():
            parameter.grad = 0.0


class Neuron(_Scalar):
    """relu(w · x + b), or w · x + b if not `nonlin`.  x: a list of nin numbers or values -> one value.

    w: nin parameters, even in -1 to 1 at first; b: one, from 0. key: a random key or a seed; None takes the next of
    the process, see `backlit.nn.seed` (micrograd draws from Python's `random`). Raises ShapeError for another number of
    inputs, of which micrograd would silently drop the last.

    >>> neuron = Neuron(2, key=0)
    >>> neuron, len(neuron.parameters())
    (ReLUNeuron(2), 3)
    """

    def __init__(self, nin: int, nonlin: bool = True, *, key: Any = None) -> None:
        numbers = threefry.uniform(as_key(key).words, count_of(nin, "Neuron: nin"))
        self.w = [Parameter(2.0 * number - 1.0) for number in numbers.tolist()]
        self.b = Parameter(0.0)
        self.nonlin = nonlin

    def forward(self, x: Sequence[Any]) -> Value:
        """The number that the neuron makes of its inputs."""
        if len(x) != len(self.w):
            raise ShapeError(f"{self!r} takes {len(self.w)} numbers, and was given {len(x)}.")
        act: Value = self.b
        for wi, xi in zip(self.w, x, strict=True):
            act = act + wi * xi
        return relu(act) if self.nonlin else act

    def __repr__(self) -> str:
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(_Scalar):
    """`nout` neurons that are given the same inputs -> a list of their values, or the value itself if there is one.

    >>> Layer(2, 3, key=0)
    Layer of [ReLUNeuron(2), ReLUNeuron(2), ReLUNeuron(2)]
    """

    def __init__(self, nin: int, nout: int, *, key: Any = None, **kwargs: Any) -> None:
        key = as_key(key)
        self.neurons = [Neuron(nin, **kwargs, key=random.fold_in(key, i)) for i in range(count_of(nout, "Layer: nout"))]

    def forward(self, x: Sequence[Any]) -> Any:
        """A list of nout values, or one value."""
        out = [neuron(x) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(_Scalar):
    """Layers one after the other, the last of them linear.  x: a list of nin numbers -> a list of values, or one value.

    nouts: the number of neurons of each layer.

    >>> model = MLP(3, [4, 4, 1], key=0)
    >>> model
    MLP of [Layer of [ReLUNeuron(3), ReLUNeuron(3), ReLUNeuron(3), ReLUNeuron(3)],
        Layer of [ReLUNeuron(4), ReLUNeuron(4), ReLUNeuron(4), ReLUNeuron(4)], Layer of [LinearNeuron(4)]]
    >>> len(model.parameters()), type(model([2.0, 3.0, -1.0])).__name__
    (41, 'Value')
    """

    def __init__(self, nin: int, nouts: Sequence[int], *, key: Any = None) -> None:
        key, sizes = as_key(key), [nin, *nouts]
        self.layers = [
            Layer(a, b, nonlin=i != len(sizes) - 2, key=random.fold_in(key, i))
            for i, (a, b) in enumerate(pairwise(sizes))
        ]

    def forward(self, x: Any) -> Any:
        """What the last layer makes of what the ones before it made of `x`."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"
