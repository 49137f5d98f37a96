"""Which module holds which public function. A module is loaded when one of its names is used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

_BY_MODULE = {
    "arithmetic": "add subtract multiply divide negative positive sign remainder floor_divide floor ceil trunc "
    "copysign nextafter",
    "powers": "pow square reciprocal sqrt hypot exp expm1 log log1p log2 log10 logaddexp",
    "trigonometry": "sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh",
    "activations": "sigmoid relu leaky_relu elu gelu silu softplus erf",
    "logic": "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor logical_not "
    "bitwise_and bitwise_or bitwise_xor bitwise_invert bitwise_left_shift bitwise_right_shift "
    "isfinite isinf isnan signbit",
    "complexes": "real imag conj",
    "selection": "where maximum minimum clip",
    "passing": "stop_gradient",
    "reductions": "sum prod max min any all argmax argmin count_nonzero",
    "accumulation": "cumulative_sum cumulative_prod diff",
    "statistics": "mean var std logsumexp softmax log_softmax",
    "linear_algebra": "matmul tensordot vecdot outer matrix_transpose",
    "einsum": "einsum",
    "movement": "reshape permute_dims moveaxis broadcast_to broadcast_arrays expand_dims squeeze flip roll concat "
    "stack unstack split tile repeat pad tril triu",
    "indexing": "take take_along_axis nonzero",
    "updates": "scatter_add",
    "creation": "asarray arange empty empty_like eye from_dlpack full full_like linspace meshgrid ones ones_like zeros "
    "zeros_like astype one_hot",
    "kinds": "can_cast finfo iinfo isdtype result_type __array_namespace_info__",
    "custom": "op",
}

FUNCTIONS: dict[str, tuple[str, str]] = {
    name: (f"backlit.ops.{module}", name) for module, names in _BY_MODULE.items() for name in names.split()
}
FUNCTIONS |= {"abs": ("backlit.ops.arithmetic", "abs_"), "round": ("backlit.ops.arithmetic", "round_")}


@cache
def find(name: str) -> Any:
    """The public function of this name. Raises KeyError where there is none."""
    module, attribute = FUNCTIONS[name]
    return getattr(import_module(module), attribute)
