"""The dense layers of a model, however it keeps them, and what an input makes of their units."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DomainError, ShapeError
from backlit.core.value import INACTIVE, Value, current
from backlit.core.walk import toposort
from backlit.draw.ledger import ledger
from backlit.nn.mlp import MLP

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dense:
    """One layer. weight: (in, out); bias: (out,). source: what the model keeps the two in; flipped: as (out, in)."""

    name: str
    weight: Floats
    bias: Floats | None = None
    weight_gradient: Floats | None = None
    bias_gradient: Floats | None = None
    source: tuple[Any, Any] = field(default=(None, None), repr=False)
    flipped: bool = False


@dataclass(frozen=True)
class Activity:
    """What one input makes of the units: an array for each column, inputs first; None where it is not known. of: what
    the gradients are of."""

    values: tuple[Floats | None, ...]
    gradients: tuple[Floats | None, ...]
    of: str = "the output"


# -- reading a model ------------------------------------------------------------------------------------------


def read_layers(model: Any) -> list[Dense]:
    """The dense layers of a model. Raises DomainError if it has none, ShapeError if they do not fit one another."""
    neurons = _of_neurons(model)
    if neurons:
        return neurons
    arrays = [(name, each) for name, each in _arrays(model) if each is not None]
    pairs: list[tuple[str, Any, Any]] = []
    for name, array in arrays:
        shape = np.shape(_numbers(array))
        if len(shape) == 2:
            pairs.append((name, array, None))
        elif len(shape) == 1 and pairs and pairs[-1][2] is None and shape[0] in np.shape(_numbers(pairs[-1][1])):
            pairs[-1] = (pairs[-1][0], pairs[-1][1], array)
    if not pairs:
        what = f"{len(arrays)} parameters, none of which is a matrix" if arrays else "no parameters that can be read"
        raise DomainError(
            f"draw_network: {type(model).__name__} has {what}. Give a list of (weight, bias) pairs, one a layer, "
            "or a model with `parameters()`, or one whose `layers` have `neurons` with `w` and `b`."
        )
    return _fitted(pairs)


def _of_neurons(model: Any) -> list[Dense]:
    """Layers of neurons made of single values, as in micrograd."""
    found = []
    for i, layer in enumerate(getattr(model, "layers", None) or ()):
        neurons = getattr(layer, "neurons", None)
        if not neurons or not all(hasattr(neuron, "w") for neuron in neurons):
            return []
        weights = [list(neuron.w) for neuron in neurons]
        biases = [getattr(neuron, "b", None) for neuron in neurons]
        has_bias = all(bias is not None for bias in biases)
        found.append(
            Dense(
                f"layer {i + 1}",
                np.array([[_number(w) for w in row] for row in weights]).T,
                np.array([_number(bias) for bias in biases]) if has_bias else None,
                _gradients([[_gradient(w) for w in row] for row in weights], transpose=True),
                _gradients([_gradient(bias) for bias in biases]) if has_bias else None,
                (weights, biases if has_bias else None),
            )
        )
    return found


def _arrays(model: Any) -> Iterable[tuple[str, Any]]:
    """All parameters with names, in order, however deep they lie."""
    if not isinstance(model, (Mapping, list, tuple, Value, np.ndarray)):
        for name in ("named_parameters", "parameters"):
            method = getattr(model, name, None)
            if callable(method):
                found = method()
                named = name == "named_parameters" and not isinstance(found, Mapping)
                model = dict(found) if named else found if isinstance(found, Mapping) else list(found)
                break
    stack: list[tuple[str, Any]] = [("", model)]
    while stack:
        name, each = stack.pop()
        if isinstance(each, Mapping):
            stack.extend(reversed([(f"{name}.{key}" if name else str(key), item) for key, item in each.items()]))
        elif isinstance(each, (list, tuple)) and not _is_matrix(each):
            stack.extend(reversed([(f"{name}.{i}" if name else str(i), item) for i, item in enumerate(each)]))
        elif each is not None and (hasattr(each, "shape") or isinstance(each, (list, tuple))):
            yield name, each


def _is_matrix(each: Sequence[Any]) -> bool:
    """Whether a nested list holds the numbers of one array, and not several arrays."""
    if not each or isinstance(each[0], Value) or hasattr(each[0], "shape"):
        return False
    if all(isinstance(item, (int, float)) for item in each):
        return True
    if not all(isinstance(item, (list, tuple)) and item for item in each):
        return False
    rows = all(isinstance(number, (int, float)) for row in each for number in row)
    return rows and len({len(row) for row in each}) == 1


def _numbers(array: Any) -> Floats:
    """The numbers of a value, an array, or a tensor of another library."""
    if isinstance(array, Value):
        array = current(array)._data
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    return np.asarray(array, np.float64)


def _number(x: Any) -> float:
    return float(getattr(x, "data", x))


def _gradient(x: Any) -> Any:
    found = getattr(x, "grad", None)
    return None if found is None or callable(found) else _numbers(found)


def _gradients(found: Any, transpose: bool = False) -> Floats | None:
    flat = [g for row in found for g in (row if isinstance(row, list) else [row])]
    if any(g is None for g in flat):
        return None
    array = np.array(found, np.float64)
    return array.T if transpose else array


def _fitted(pairs: Sequence[tuple[str, Any, Any]]) -> list[Dense]:
    """The layers in the orientation, (in, out) or else (out, in), in which they fit one another."""
    shapes = [np.shape(_numbers(weight)) for _, weight, _ in pairs]
    biases = [None if bias is None else np.shape(_numbers(bias))[0] for _, _, bias in pairs]
    for flipped in (False, True):
        turned = [shape[::-1] if flipped else shape for shape in shapes]
        chained = all(a[1] == b[0] for a, b in itertools.pairwise(turned))
        if chained and all(bias in (None, shape[1]) for bias, shape in zip(biases, turned, strict=True)):
            return [_dense(i, name, weight, bias, flipped) for i, (name, weight, bias) in enumerate(pairs)]
    listed = ", ".join(
        f"{shape}" + ("" if bias is None else f" with a bias of {bias}")
        for shape, bias in zip(shapes, biases, strict=True)
    )
    raise ShapeError(
        f"draw_network: weights of shapes {listed} are not the layers of one network: each must have as many inputs as "
        "the one before has outputs. Give those of dense layers only, in order, as (weight, bias) pairs."
    )


def _dense(i: int, name: str, weight: Any, bias: Any, flipped: bool) -> Dense:
    numbers, gradient = _numbers(weight), _gradient(weight)
    return Dense(
        f"layer {i + 1}" if not name or name.replace(".", "").isdigit() else name,
        numbers.T if flipped else numbers,
        None if bias is None else _numbers(bias),
        None if gradient is None else gradient.T if flipped else gradient,
        None if bias is None else _gradient(bias),
        (weight, bias),
        flipped,
    )


# -- running it -----------------------------------------------------------------------------------------------


def activity(
    model: Any,
    layers: list[Dense],
    x: Any,
    loss: Callable[[Any], Any] | None,
    activation: str | Callable[[Any], Any] | None,
) -> tuple[list[Dense], Activity]:
    """What an input makes of the units, and the layers with the gradients that follow from it."""
    if x is None:
        nothing = (None,) * (len(layers) + 1)
        return layers, Activity(nothing, nothing)
    given = np.asarray(_numbers(x), np.float64).reshape(-1)
    if given.size != layers[0].weight.shape[0]:
        raise ShapeError(
            f"draw_network: the input has {given.size} numbers and the first layer takes {layers[0].weight.shape[0]}. "
            "Give one input, not a batch."
        )
    columns, output, used = _run(model, layers, given, activation)
    values = tuple(None if column is None else _column(column, None) for column in columns)
    goal = output if loss is None else loss(output)
    if isinstance(goal, (list, tuple)) and len(goal) == 1:
        goal = goal[0]
    if not isinstance(goal, Value) or goal.size != 1 or current(goal)._grad is INACTIVE:
        if loss is not None:
            raise ShapeError(
                "draw_network: the loss must give a single backlit.Value that depends on the network, "
                f"and it gave {goal!r:.80}."
            )
        return layers, Activity(values, (None,) * len(values))
    found = _cotangents(current(goal))
    gradients = tuple(None if column is None else _column(column, found) for column in columns)
    told = [_with_gradients(layer, each, found) for layer, each in zip(layers, used, strict=True)]
    return told, Activity(values, gradients, "the loss" if loss is not None else "the output")


def _cotangents(goal: Value) -> Mapping[Value, Any]:
    if goal.shape:
        goal = goal.sum()  # of one number
    return ledger(goal, toposort([goal])).gradients


def _run(model: Any, layers: list[Dense], x: Floats, activation: Any) -> tuple[list[Any], Any, list[tuple[Any, Any]]]:
    """The values of every column, the output, and the parameters that were used."""
    modules = _steps(model)
    if modules is not None and all(callable(module) for module in modules):
        scalars = bool(_of_neurons(model))
        now: Any = [Value(float(number)) for number in x] if scalars else Value(x)
        columns = [now]
        for module in modules:
            now = module(now)
            if getattr(module, "neurons", None) or _has_parameters(module) or len(columns) == 1:
                columns.append(now)
            else:
                columns[-1] = now
        sizes = [layer.weight.shape[1] for layer in layers]
        if [_count(column) for column in columns[1:]] == sizes:
            return columns, now, [layer.source for layer in layers]
    act = _activation(activation)
    now = Value(x)
    columns, used = [now], []
    for i, layer in enumerate(layers):
        weight, bias = layer.source
        if not isinstance(weight, Value):
            weight = Value(layer.weight.T if layer.flipped else layer.weight)
        if bias is not None and not isinstance(bias, Value):
            bias = Value(layer.bias)
        now = now @ (weight.T if layer.flipped else weight)
        now = now if bias is None else now + bias
        now = now if act is None or i == len(layers) - 1 else act(now)
        columns.append(now)
        used.append((weight, bias))
    return columns, now, used


def _steps(model: Any) -> list[Any] | None:
    """What a model with `layers` puts an input through; `nn.MLP` keeps what stands between and after them apart."""
    layers = getattr(model, "layers", None)
    if not isinstance(model, MLP):
        return None if layers is None else list(layers)
    steps = [step for layer in model.layers for step in (layer, model.activation)][:-1]
    return [step for step in (*steps, model.out_activation) if step is not None]


def _has_parameters(module: Any) -> bool:
    method = getattr(module, "parameters", None)
    return callable(method) and bool(list(method()))


def _count(column: Any) -> int:
    return len(column) if isinstance(column, (list, tuple)) else int(np.size(getattr(column, "data", column)))


def _activation(activation: Any) -> Callable[[Any], Any] | None:
    if activation is None or callable(activation):
        return activation  # type: ignore[no-any-return]
    function = getattr(import_module("backlit"), str(activation), None)
    if not callable(function):
        raise DomainError(
            f"draw_network: there is no activation {activation!r}; 'tanh', 'relu' and 'sigmoid' are some."
        )
    return function  # type: ignore[no-any-return]


def _column(column: Any, found: Mapping[Value, Any] | None) -> Floats | None:
    """The numbers of one column of units, or their gradients."""
    parts = column if isinstance(column, (list, tuple)) else [column]
    numbers = []
    for part in parts:
        if found is None:
            numbers.append(_numbers(part))
        else:
            numbers.append(_gradient_in(part, found))
    flat = [np.ravel(number) for number in numbers if number is not None]
    return np.concatenate(flat) if len(flat) == len(numbers) and flat else None


def _gradient_in(part: Any, found: Mapping[Value, Any]) -> Any:
    return found.get(current(part)) if isinstance(part, Value) else None


def _with_gradients(layer: Dense, used: tuple[Any, Any], found: Mapping[Value, Any]) -> Dense:
    weight, bias = used
    if isinstance(weight, list):
        by_weight = _gradients([[_gradient_in(w, found) for w in row] for row in weight], transpose=True)
        by_bias = None if bias is None else _gradients([_gradient_in(each, found) for each in bias])
    else:
        raw = _gradient_in(weight, found)
        by_weight = None if raw is None else np.asarray(raw, np.float64)
        if by_weight is not None and layer.flipped:
            by_weight = by_weight.T
        by_bias = _gradient_in(bias, found)
    return replace(layer, weight_gradient=by_weight, bias_gradient=by_bias)
