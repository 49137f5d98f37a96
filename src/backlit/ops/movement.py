"""Moving elements about without computing on them: reshaping, reordering axes, joining, splitting, repeating, padding."""

from __future__ import annotations

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.op import Linear, Sample

PERMUTE_DIMS = Linear(
    "permute_dims",
    lambda x, axes: np.transpose(x, axes),
    shape=lambda x, axes: tuple(x.shape[axis] for axis in axes),
    transposes=(lambda ct, x, axes: PERMUTE_DIMS(ct, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__))),),
    moves=True,
    samples=(
        Sample(((2, 3),), {"axes": (1, 0)}),
        Sample(((2, 3, 4),), {"axes": (2, 0, 1)}),
        Sample(((),), {"axes": ()}),
        Sample(((0, 3),), {"axes": (1, 0)}),
    ),
    doc="The axes in another order. Axis i of the result is axis axes[i] of x.",
)
EXPAND_DIMS = Linear(
    "expand_dims",
    lambda x, axes: np.expand_dims(x, axes),
    shape=lambda x, axes: _expanded(x.shape, axes),
    transposes=(lambda ct, x, axes: SQUEEZE(ct, axes=axes),),
    moves=True,
    samples=(
        Sample(((2, 3),), {"axes": (1,)}),
        Sample(((2, 3),), {"axes": (0, 3)}),
        Sample(((),), {"axes": (0,)}),
        Sample(((0,),), {"axes": (1,)}),
    ),
    doc="New axes of length 1. axes: where they stand in the result.",
)
SQUEEZE = Linear(
    "squeeze",
    lambda x, axes: np.squeeze(x, axes),
    shape=lambda x, axes: tuple(length for i, length in enumerate(x.shape) if i not in axes),
    transposes=(lambda ct, x, axes: EXPAND_DIMS(ct, axes=axes),),
    moves=True,
    samples=(
        Sample(((2, 1, 3),), {"axes": (1,)}),
        Sample(((1, 2, 1),), {"axes": (0, 2)}),
        Sample(((1,),), {"axes": (0,)}),
        Sample(((0, 1),), {"axes": (1,)}),
    ),
    doc="Without the axes given, each of length 1.",
)
FLIP = Linear(
    "flip",
    lambda x, axes: np.flip(x, axes),
    shape=lambda x, axes: shape_of(x),
    transposes=(lambda ct, x, axes: FLIP(ct, axes=axes),),
    moves=True,
    samples=(
        Sample(((3,),), {"axes": (0,)}),
        Sample(((2, 3),), {"axes": (0, 1)}),
        Sample(((),), {"axes": ()}),
        Sample(((0, 2),), {"axes": (1,)}),
    ),
    doc="The elements in reverse order along the axes given.",
)


def _expanded(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    rest = iter(shape)
    return tuple(1 if i in axes else next(rest) for i in range(len(shape) + len(axes)))
