"""What one node contributes: its op's partials, transpose or own rule, applied to a cotangent or to tangents.

The rules of the ops run on values (the derivative is more graph) and on plain numbers (the derivative is computed)
alike, and so does everything here. What no rule needs to think of is done here once: summing back over broadcast
axes, casting to the dtype of the input, and masks.

A *mask* tells where a cotangent is present at all. Where `where`, `maximum`, `relu` and their like did not choose an
input, nothing flows to it; that is not the same as a zero, which times an infinite partial would be NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.numbers import Abstract, Shape, dtype_of, shape_of
from backlit.core.op import ONE, Attrs, Elementwise, Linear, Op, Special
from backlit.core.value import Value
from backlit.ops.casting import ASTYPE
from backlit.ops.selection import WHERE
from backlit.ops.summation import BROADCAST_TO, RESHAPE, SUM

Contribution = tuple[Any, Any]  # a cotangent, and the mask of where it is present (None: everywhere)


def contribution(
    op: Op, index: int, ct: Any, mask: Any, y: Any, xs: Sequence[Any], attrs: Attrs
) -> Contribution | None:
    """What the cotangent of a node contributes to that of its input number `index`; None if nothing flows there."""
    found: Contribution | None
    if isinstance(op, Elementwise):
        found = _by_partial(op, index, ct, mask, y, xs, attrs)
    elif isinstance(op, Linear):
        found = _by_transpose(op, index, ct, mask, xs, attrs)
    elif isinstance(op, Special):
        rule = op.rule(index)
        found = None if rule is None else (rule(ct, y, *xs, **attrs), None)
    else:
        found = None
    if found is None or found[0] is None:
        return None
    ct, mask = found
    if mask is not None:
        if shape_of(mask) != shape_of(ct):
            mask = BROADCAST_TO(mask, shape=shape_of(ct))
        mask = _fit_mask(mask, shape_of(xs[index]))
    return fit(ct, xs[index]), mask


def _by_partial(
    op: Elementwise, index: int, ct: Any, mask: Any, y: Any, xs: Sequence[Any], attrs: Attrs
) -> Contribution | None:
    rule = op.partials[index]
    if rule is None:
        return None
    if rule is ONE:
        return ct, mask
    partial = rule(y, *xs, **attrs)
    if op.selects:
        chosen = partial if dtype_of(partial) == dtypes.bool else partial != 0
        term = ct if chosen is partial else ct * partial
        mask = chosen if mask is None else chosen & mask
        return only_where(mask, term), mask
    if mask is None or _surely_finite(partial, xs):
        return ct * partial, mask
    return only_where(mask, ct * partial), mask


def _surely_finite(partial: Any, xs: Sequence[Any]) -> bool:
    """Whether a masked zero times this partial is zero in every derivative: a finite number, or an input as it is."""
    if not isinstance(partial, Value):
        return bool(np.all(np.isfinite(partial)))
    if type(partial._data) is Abstract or not any(partial is x for x in xs):
        return False
    return bool(np.all(np.isfinite(partial._data)))


def only_where(mask: Any, x: Any) -> Any:
    """`x` where the mask is true and zero elsewhere, whatever `x` holds there."""
    if isinstance(mask, Value) or isinstance(x, Value):
        return WHERE(mask, x, 0.0)
    if type(x) is float:
        return x if mask else 0.0
    return np.where(mask, x, np.zeros((), x.dtype))


def _by_transpose(op: Linear, index: int, ct: Any, mask: Any, xs: Sequence[Any], attrs: Attrs) -> Contribution | None:
    rule = op.rule(index)
    if rule is None:
        return None
    where = (index,) if op.jointly else ()
    if mask is not None and op.moves:
        if isinstance(mask, Value):
            mask = rule(ASTYPE(mask, dtype=dtypes.float32), *where, *xs, **attrs) > 0
        else:
            mask = rule(np.asarray(mask, np.float32), *where, *xs, **attrs) > 0
    else:
        mask = None
    return rule(ct, *where, *xs, **attrs), mask


def fit(ct: Any, like: Any) -> Any:
    """The cotangent in the shape and dtype of its input: summed over the axes along which that was broadcast.

    >>> fit(np.ones((32, 10)), np.zeros(10)).shape
    (10,)
    """
    if type(ct) is Value and type(like) is Value and ct._data is like._data:
        return ct
    if type(ct) is np.ndarray and type(like) is np.ndarray:  # what the rest does, sooner
        if ct.shape[1:] == like.shape:
            ct = np.add.reduce(ct, 0, ct.dtype)
        if ct.shape == like.shape and ct.dtype is like.dtype:
            return ct
    shape, dtype = shape_of(like), dtype_of(like)
    if shape_of(ct) != shape:
        ct = _sum_to(ct, shape)
    if dtype_of(ct) is not dtype and dtype_of(ct) != dtype:
        ct = ASTYPE(ct, dtype=dtype)
    return ct


def _sum_to(ct: Any, shape: Shape) -> Any:
    have = shape_of(ct)
    extra = len(have) - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, length in enumerate(shape) if length == 1 and have[extra + i] != 1
    )
    if axes:
        plain = type(ct) is np.ndarray
        ct = np.add.reduce(ct, axis=axes, dtype=ct.dtype) if plain else SUM(ct, axis=axes, keepdims=False)
    return ct if shape_of(ct) == shape else RESHAPE(ct, shape=shape)


def _fit_mask(mask: Any, shape: Shape) -> Any:
    if shape_of(mask) == shape:
        return mask
    if isinstance(mask, Value):
        return _sum_to(ASTYPE(mask, dtype=dtypes.float32), shape) > 0
    return _sum_to(np.asarray(mask, np.float32), shape) > 0


def tangent(op: Op, tangents: Sequence[Any], y: Any, xs: Sequence[Any], attrs: Attrs) -> Any:
    """The tangent of a node from those of its inputs (None where an input does not vary); None if it has none."""
    if isinstance(op, Linear) and op.jointly:
        if all(t is None for t in tangents):
            return None
        last = len(op.transposes) - 1  # an input without a transpose is an index, and stays as it is
        return op(
            *(
                t if t is not None else x if op.transposes[min(i, last)] is None else _zeros(x)
                for i, (t, x) in enumerate(zip(tangents, xs, strict=True))
            ),
            **attrs,
        )
    total = None
    for i, t in enumerate(tangents):
        if t is None:
            continue
        term = _tangent_term(op, i, t, y, xs, attrs)
        if term is not None:
            total = term if total is None else total + term
    return total


def _tangent_term(op: Op, index: int, t: Any, y: Any, xs: Sequence[Any], attrs: Attrs) -> Any:
    if isinstance(op, Elementwise):
        rule = op.partials[index]
        if rule is None:
            return None
        if rule is ONE:
            return t
        partial = rule(y, *xs, **attrs)
        if not op.selects:
            return t * partial
        if dtype_of(partial) == dtypes.bool:
            return only_where(partial, t)
        return only_where(partial != 0, t * partial)
    if isinstance(op, Linear):
        if op.rule(index) is None:
            return None
        return op(*xs[:index], t, *xs[index + 1 :], **attrs)
    if isinstance(op, Special):
        rule = op.jvps[index]
        return None if rule is None else rule(t, y, *xs, **attrs)
    return None


def _zeros(like: Any) -> Any:
    return np.zeros(shape_of(like), dtype_of(like))
