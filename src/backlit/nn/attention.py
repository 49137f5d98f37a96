"""Attention: each position looks at others, by how well its query fits their keys, and takes a mean of their values."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from backlit.core.errors import DomainError, DtypeError, ShapeError
from backlit.core.value import Value, describe
from backlit.nn.dropout import Dropout
from backlit.nn.init import as_key
from backlit.nn.linear import Linear
from backlit.nn.module import Module, as_input, check_last_axis, count_of
from backlit.ops import random
from backlit.ops.creation import asarray
from backlit.ops.functions import composite
from backlit.ops.linear_algebra import matmul, matrix_transpose
from backlit.ops.movement import permute_dims, reshape
from backlit.ops.selection import where
from backlit.ops.statistics import softmax


@composite("scaled_dot_product_attention")
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: Callable[[Value], Value] | None = None,
) -> Value:
    """softmax(query @ key.T · scale) @ value: for each query a mean of the values, weighted by how its key fits.

    query: (..., t, d), key: (..., s, d), value: (..., s, n) -> (..., t, n); the axes before broadcast. scale: by
    default 1 / sqrt(d). mask: broadcasts to (..., t, s): booleans, true where a query may look; or numbers that are
    added to the scores, -inf where it may not. causal: query i may look at the keys 0 ... i only. dropout: a function
    of the weights.

    No infinities arise: what is masked gets a weight of exactly 0, and no gradient flows through it. A query that
    may look nowhere gets zeros. (PyTorch agrees here since 2.5; its `MultiheadAttention` gives NaN.) Raises ShapeError
    where shapes do not fit. Cost: t · s · (d + n) multiplications and t · s numbers kept, for each head.
    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.

    >>> x = np.eye(3)
    >>> scaled_dot_product_attention(x, x, x, causal=True, scale=0.0).data.round(2)
    array([[1.  , 0.  , 0.  ],
           [0.5 , 0.5 , 0.  ],
           [0.33, 0.33, 0.33]])
    """
    q, k, v = asarray(query), asarray(key), asarray(value)
    _check_fit(q, k, v)
    scores = matmul(q * (1.0 / sqrt(q.shape[-1]) if scale is None else scale), matrix_transpose(k))
    t, s = scores.shape[-2:]
    seen: Any = np.tri(t, s, dtype=bool) if causal else None
    if mask is not None:
        allowed, added = _taken(mask, scores)
        if added is not None:
            scores = scores + where(allowed, added, 0.0)
        seen = allowed if seen is None else allowed & seen
    if seen is None:
        weights = softmax(scores)
    else:
        lowest = 0.5 * float(np.finfo(scores.dtype).min)  # half: less the peak of the scores it is still finite
        weights = softmax(where(seen, scores, lowest))
        if mask is not None:  # only then can a query see nothing, and look at all alike
            weights = where(seen, weights, 0.0)
    return matmul(weights if dropout is None else dropout(weights), v)


def _taken(mask: Any, scores: Value) -> tuple[Value, Value | None]:
    """Where a mask allows to look, and what it adds to the scores (None if it holds booleans)."""
    mask = asarray(mask)
    t, s = scores.shape[-2:]
    try:
        fits = np.broadcast_shapes(mask.shape, scores.shape) == scores.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"attention: the mask has shape {mask.shape}, and does not broadcast to that of the scores, "
            f"{scores.shape}, where {t} queries look at {s} keys.\n    mask: {describe(mask)}"
        )
    if mask.dtype.kind == "b":
        return mask, None
    if mask.dtype.kind != "f":
        raise DtypeError(
            f"attention: the mask is {mask.dtype.name}; it holds booleans, true where a query may look, or floating-"
            f"point numbers that are added to the scores. For 0 and 1 write mask != 0.\n    mask: {describe(mask)}"
        )
    return mask != -np.inf, as_input(mask, scores.dtype)


def _check_fit(q: Value, k: Value, v: Value) -> None:
    shapes = f"query {q.shape}, key {k.shape}, value {v.shape}"
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ShapeError(f"attention: {shapes}; each has axes (..., positions, features).")
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"attention: {shapes}; queries and keys are multiplied, so their last axes are equally long.")
    if k.shape[-2] != v.shape[-2]:
        raise ShapeError(f"attention: {shapes}; each key has a value, so the axes before their last are equally long.")


class MultiHeadAttention(Module):
    """Attention by several heads at once, each in a part of the features of its own.

    `attention(x)`: x looks at itself; x: (..., time, d) -> (..., time, d). `attention(x, context)`: it looks at
    context, (..., other time, d). Queries, keys and values are linear maps of these, cut into `heads` parts of
    d / heads features; each part attends by itself, and `out` mixes the results. mask: as in
    `scaled_dot_product_attention`; (time, other time), or with all axes, (..., heads, time, other time), any of which
    may be 1: which of the other places are padding is a mask of shape (batch, 1, 1, other time). causal: a position
    sees itself and those before it. dropout: the part of the attention weights that is dropped in training. bias, key,
    dtype: as for `Linear`; the keys never have a bias, since it would add the same number to all scores of a query,
    which softmax takes out again (PyTorch has one, of no effect).

    Raises DomainError if `heads` does not divide d, ShapeError for other inputs. The same as PyTorch's
    `MultiheadAttention` with batch_first=True, whose boolean masks mean the opposite: true where a query may not look.
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.

    >>> attention = MultiHeadAttention(8, heads=2, causal=True, key=0)
    >>> attention(np.ones((4, 5, 8))).shape
    (4, 5, 8)
    """

    def __init__(
        self,
        d: int,
        heads: int,
        causal: bool = False,
        dropout: float = 0.0,
        *,
        bias: bool = True,
        key: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.d, self.heads = count_of(d, "MultiHeadAttention: d"), count_of(heads, "MultiHeadAttention: heads")
        if d % heads:
            raise DomainError(
                f"MultiHeadAttention: {heads} heads share the d={d} features evenly, so d has to be a multiple of it: "
                f"d={heads * max(1, round(d / heads))}, for example."
            )
        self.causal = causal
        *keys, of_dropout = random.split(as_key(key), 5)
        self.query, self.key, self.value, self.out = (
            Linear(d, d, has_bias, key=each, dtype=dtype)
            for has_bias, each in zip((bias, False, bias, bias), keys, strict=True)
        )
        self.dropout = Dropout(dropout, key=of_dropout) if dropout else None

    def forward(self, x: Any, context: Any = None, mask: Any = None) -> Value:
        """x: (..., time, d) -> (..., time, d)."""
        x = self._positions(x)
        context = x if context is None else self._positions(context)
        if mask is not None:
            mask = asarray(mask)
            if mask.ndim not in (2, x.ndim + 1):
                raise ShapeError(
                    f"MultiHeadAttention: the mask has shape {mask.shape}; it has the axes (time, other time), or all, "
                    f"{(*x.shape[:-2], self.heads, x.shape[-2], context.shape[-2])}, of which any may be 1. If it "
                    f"is the same for all heads, write mask[..., None, :, :].\n    mask: {describe(mask)}"
                )
        mixed = scaled_dot_product_attention(
            self._parts(self.query(x)),
            self._parts(self.key(context)),
            self._parts(self.value(context)),
            mask=mask,
            causal=self.causal,
            dropout=self.dropout,
        )
        turned = permute_dims(mixed, _swapped(mixed.ndim))  # (..., time, heads, d / heads)
        return self.out(reshape(turned, (*turned.shape[:-2], self.d)))  # type: ignore[no-any-return]

    def _positions(self, x: Any) -> Value:
        value = as_input(x, self.query.weight.dtype)
        check_last_axis(value, self.d, self)
        if value.ndim < 2:
            raise ShapeError(
                f"MultiHeadAttention takes (..., time, {self.d}), and was given {describe(value)}, "
                f"of shape {value.shape}."
            )
        return value

    def _parts(self, x: Value) -> Value:
        """(..., time, d) -> (..., heads, time, d / heads)."""
        cut = reshape(x, (*x.shape[:-1], self.heads, self.d // self.heads))
        return permute_dims(cut, _swapped(cut.ndim))


def _swapped(rank: int) -> tuple[int, ...]:
    """The order of axes in which the two before the last have changed places."""
    return (*range(rank - 3), rank - 2, rank - 3, rank - 1)
