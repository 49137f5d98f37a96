"""Real part, imaginary part and conjugate. Of a real number they are the number, 0 and the number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.notation import templates
from backlit.core.numbers import dtype_of
from backlit.core.op import ONE, Elementwise
from backlit.ops.functions import unary
from backlit.ops.lowering import itself
from backlit.ops.selection import ZERO

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract


def _itself(x: float) -> float:
    return x


def _real(x: Any) -> Any:
    return np.real(x).copy() if dtype_of(x).kind == "c" else x  # not a view into both parts


def _imag(x: Any) -> Any:
    return np.imag(x).copy() if dtype_of(x).kind == "c" else np.zeros_like(x)


def _conj(x: Any) -> Any:
    return np.conj(x) if dtype_of(x).kind == "c" else x


def _lower_imag(g: Graph[N], result: Abstract, x: N) -> N:
    return g.broadcast(g.number(0, result.dtype), result.shape)


REAL = Elementwise(
    "real",
    _real,
    scalar=_itself,
    partials=(ONE,),
    notation=templates("real(<0>)", r"\operatorname{Re}\left(<0>\right)"),
    lower=itself,
    doc="The real part, elementwise; a real x is its own.",
)
IMAG = Elementwise(
    "imag",
    _imag,
    scalar=lambda x: 0.0,
    partials=(ZERO,),
    notation=templates("imag(<0>)", r"\operatorname{Im}\left(<0>\right)"),
    lower=_lower_imag,
    doc="The imaginary part, elementwise; of a real x it is 0.",
)
CONJ = Elementwise(
    "conj",
    _conj,
    scalar=_itself,
    partials=(ONE,),
    notation=templates("conj(<0>)", r"\overline{<0>}"),
    lower=itself,
    doc="The complex conjugate, elementwise; a real x is its own.",
)

real = unary(REAL)
imag = unary(IMAG)
conj = unary(CONJ)
