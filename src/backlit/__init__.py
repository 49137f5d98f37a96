"""Backlit: backpropagation, illuminated.

Write ordinary Python mathematics on values; Backlit records it as a graph, differentiates it, and can say of every
number in every gradient where it came from.

>>> import backlit as bl
>>> a, b, c, d = bl.values(a=2.0, b=-3.0, c=10.0, d=-2.0)
>>> out = (a * b + c) * d
>>> out.backward()
>>> out.data, a.grad, b.grad, c.grad, d.grad
(-8.0, 6.0, -4.0, -2.0, 4.0)
"""

from importlib import import_module
from typing import Any

from backlit.core import errors
from backlit.core.state import no_grad, scope
from backlit.core.value import Parameter, Value, values
from backlit.ops import methods, numpy_protocol, operators
from backlit.ops.namespace import FUNCTIONS

# autodiff gives values their backward()
from backlit.autodiff import reverse  # isort: skip

__version__ = "0.1.0"
__array_api_version__ = "2024.12"

_LAZY = {
    **FUNCTIONS,
    **{name: (f"backlit.autodiff.{module}", name) for module, names in {
        "transforms": "grad value_and_grad vjp jvp linearize jacobian hessian hvp",
        "numerical": "numerical_grad",
        "check": "check CheckReport",
        "nonfinite": "trace_nonfinite",
        "custom": "custom_derivative",
    }.items() for name in names.split()},
    **{name: ("backlit.core.dtypes", name) for name in (
        "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"
    ).split()},
    **{name: ("backlit.core.errors", name) for name in dir(errors) if name.startswith(("Backlit",)) or name.endswith(
        ("Error", "Warning")
    )},
}  # fmt: skip
_CONSTANTS = {
    "pi": 3.141592653589793,
    "e": 2.718281828459045,
    "inf": float("inf"),
    "nan": float("nan"),
    "newaxis": None,
}
_MODULES = {"random": "backlit.ops.random"}

__all__ = ["Parameter", "Value", "no_grad", "random", "scope", "values", *_LAZY, *_CONSTANTS]


def __getattr__(name: str) -> Any:
    """Names are loaded when first used, so that `import backlit` costs little more than `import numpy`."""
    if name in _LAZY:
        module, attribute = _LAZY[name]
        found = getattr(import_module(module), attribute)
    elif name in _CONSTANTS:
        found = _CONSTANTS[name]
    elif name in _MODULES:
        found = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'backlit' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
