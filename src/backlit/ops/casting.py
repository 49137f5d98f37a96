"""Casting: the same numbers in another dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import DtypeError
from backlit.core.notation import Notation
from backlit.core.numbers import dtype_of
from backlit.core.op import Linear, Sample
from backlit.ops.lowering import itself


def _target(x: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype_of(x).kind == "c" and dtype.kind not in "cb":
        raise DtypeError(
            f"a {dtype_of(x).name} cannot become a {dtype.name} without losing its imaginary part; take real(x) first."
        )
    return dtype


def _astype(x: Any, dtype: np.dtype[Any]) -> Any:
    return np.asarray(x).astype(_target(x, dtype))


def _astype_transpose(ct: Any, x: Any, dtype: np.dtype[Any]) -> Any:
    to = dtype_of(x)
    return ct if dtype_of(ct) == to else ASTYPE(ct, dtype=to)


ASTYPE: Linear = Linear(
    "astype",
    _astype,
    shape=lambda x, dtype: x.shape,
    dtype=_target,
    transposes=(_astype_transpose,),
    moves=True,
    notation=Notation(
        lambda x, attrs: f"astype({x[0]}, {attrs['dtype'].name})",
        lambda x, attrs: rf"\operatorname{{{attrs['dtype'].name}}}\left({x[0]}\right)",
    ),
    samples=(
        Sample(((2, 3),), {"dtype": dtypes.float64}),
        Sample(((),), {"dtype": dtypes.float64}),
        Sample(((0,),), {"dtype": dtypes.float64}),
    ),
    lower=itself,
    doc="The same numbers in another dtype. Differentiable from one real floating-point dtype to another.",
)
