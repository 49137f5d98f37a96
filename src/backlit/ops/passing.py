"""Passing on: the value itself, under a node of its own; and the value with its gradient stopped."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.notation import call, templates
from backlit.core.op import ONE, Constant, Elementwise
from backlit.ops.functions import unary
from backlit.ops.lowering import itself


def _same(x: Any) -> Any:
    return x


IDENTITY = Elementwise(
    "identity",
    np.asarray,
    scalar=_same,
    partials=(ONE,),
    notation=templates("<0>", "<0>"),
    lower=itself,
    doc="The value itself, as a new node.",
)
STOP_GRADIENT = Constant(
    "stop_gradient",
    np.asarray,
    shape=lambda x: x.shape,
    dtype=lambda x: x.dtype,
    notation=call("stop_gradient"),
    lower=itself,
    doc="The value itself, as a constant: no gradient flows through it.",
)

stop_gradient = unary(STOP_GRADIENT)
