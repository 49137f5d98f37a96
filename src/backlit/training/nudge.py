"""The gradient without the chain rule: every parameter is moved a little up and down, and only the loss computed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import DomainError, DtypeError, ShapeError
from backlit.core.numbers import dtype_of, shape_of, stored
from backlit.core.state import no_grad
from backlit.core.trees import flatten
from backlit.core.value import Parameter, Value, assign, current, describe, numbers_of
from backlit.nn.module import Module
from backlit.ops.arithmetic import abs_
from backlit.ops.creation import asarray
from backlit.ops.reductions import sum as sum_of
from backlit.ops.selection import maximum, where

MOST = 20_000
"""More parameters than this are not nudged: the chain rule has the same gradient at the cost of three passes."""


def nudged_loss(model: Module, loss: Callable[[], Value]) -> Value:
    r"""The loss at the present parameters; their `.grad` is then set by central differences.

    Each number t is moved up and down by h = sqrt(eps) * max(1, |t|), with eps the spacing of its dtype at 1 (2**-52
    for float64), and the slope is (loss above - loss below) / (t above - t below), the divisor being what was really
    moved, after rounding. For float64 and a loss of about 1 the error is about 1e-8, for float32 about 1e-3. A larger
    h would be more exact where the loss is smooth; it would more often reach across the bend of a ReLU.

    Buffers (keys of Dropout, running statistics) are the same in each pass, and at the end as after one pass.
    Cost: 2n + 1 forward passes for n parameters. Raises DomainError beyond `MOST` parameters.

    >>> model = Module(); model.w = Parameter(3.0)
    >>> nudged_loss(model, lambda: model.w * model.w).data, round(model.w.grad, 6)
    (9.0, 6.0)
    """
    parameters = model.parameters()
    count = sum(p.size for p in parameters)
    buffers = [b for _, b in model.named_buffers()]
    before = [numbers_of(b) for b in buffers]
    start = time.perf_counter()
    with no_grad():
        value = loss()
        after = [numbers_of(b) for b in buffers]
        if count > MOST:
            raise DomainError(_too_many(count, time.perf_counter() - start))
        _checked(value)

        def loss_now() -> float:
            for buffer, numbers in zip(buffers, before, strict=True):
                if numbers_of(buffer) is not numbers:
                    assign(buffer, numbers)
            return float(np.asarray(current(loss())._data))

        for p in parameters:
            _nudge(p, loss_now)
        for buffer, numbers in zip(buffers, after, strict=True):
            assign(buffer, numbers)
    return value


def _nudge(p: Parameter, loss_now: Callable[[], float]) -> None:
    """Set the gradient of one parameter."""
    old = numbers_of(p)
    flat = np.asarray(old).reshape(-1)
    slopes = np.empty(flat.size, np.float64)
    relative = math.sqrt(float(np.finfo(flat.dtype).eps))
    try:
        for i, t in enumerate(flat):
            ends = []
            for way in (1.0, -1.0):
                moved = flat.copy()
                moved[i] = t + way * relative * max(1.0, abs(float(t)))
                assign(p, stored(moved.reshape(shape_of(old))))
                ends.append((float(moved[i]), loss_now()))
            (up, above), (down, below) = ends
            slopes[i] = (above - below) / (up - down)
    finally:
        assign(p, old)
    p.grad = slopes.astype(dtype_of(old)).reshape(shape_of(old))


def nudged_loss_in_trace(model: Module, loss: Callable[[Module], Value]) -> Value:
    """The same while a step is compiled: a loop of machine code over the numbers of each parameter.

    loss: takes the model, with some parameters moved. Raises GraphError where a pass changes buffers, as that of
    Dropout or BatchNorm does, DomainError beyond `MOST` parameters.
    """
    from backlit.compiler.control import scan

    count = sum(p.size for p in model.parameters())
    if count > MOST:
        raise DomainError(f'method="nudge" is meant for at most {MOST:,} parameters, and there are {count:,}.')
    leaves, rebuild = flatten(model)

    def slopes(place: int, p: Parameter) -> Value:
        which = asarray(np.arange(p.size).reshape(p.shape))
        size = np.asarray(math.sqrt(float(np.finfo(p.dtype).eps)), p.dtype)
        old = p.data
        moves = size * maximum(np.asarray(1.0, p.dtype), abs_(old))

        def turn(carry: tuple[()], i: Any) -> tuple[tuple[()], Value]:
            ends = []
            for way in (1, -1):
                moved = where(which == i, old + np.asarray(way, p.dtype) * moves, old)
                found = loss(rebuild(iter([*leaves[:place], moved, *leaves[place + 1 :]])))
                ends.append((sum_of(where(which == i, moved, np.asarray(0.0, p.dtype))), found))
            (up, above), (down, below) = ends
            return (), (above.astype("float64") - below) / (up.astype("float64") - down)

        found: Value = scan(turn, (), np.arange(p.size))[1].astype(p.dtype).reshape(p.shape)
        return found

    with no_grad():
        found = {p: slopes(place, p) for place, p in enumerate(leaves) if isinstance(p, Parameter)}
        value = loss(model)
        _checked(value)
    for p, slope in found.items():
        p.grad = slope
    return value


def _checked(value: Any) -> None:
    if not isinstance(value, Value):
        raise DtypeError(f'method="nudge": the loss is {type(value).__name__} {value!r:.60}; it must be a value.')
    if value.shape:
        raise ShapeError(
            f'method="nudge" needs a scalar loss, and {describe(value)} has shape {value.shape}. Reduce it: .mean().'
        )


def _too_many(count: int, seconds: float) -> str:
    passes = 2 * count + 1
    total = passes * seconds
    long = f"{total:.0f} s" if total < 600 else f"{total / 60:.0f} min" if total < 36_000 else f"{total / 3600:.0f} h"
    return (
        f'method="nudge" computes the loss twice for each of the {count:,} parameters: {passes:,} forward passes a '
        f"step, about {long} here (one took {1e3 * seconds:.2g} ms). It is meant for small nets, of at most {MOST:,} "
        'parameters; with method="chain" a step costs about three passes.'
    )
