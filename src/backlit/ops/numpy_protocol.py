"""How NumPy meets a value: `np.tanh(x)` and `np.sum(x)` record, and silent conversion to a plain array is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import ConversionError, TracedValueError
from backlit.core.numbers import Abstract, exposed
from backlit.core.value import INACTIVE, Value, current, describe
from backlit.ops import namespace

_UFUNCS = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
    "arctan2": "atan2", "arctanh": "atanh", "conjugate": "conj", "fabs": "abs", "float_power": "pow",
    "invert": "bitwise_invert", "left_shift": "bitwise_left_shift", "mod": "remainder", "power": "pow",
    "right_shift": "bitwise_right_shift", "rint": "round", "true_divide": "divide",
}  # fmt: skip
_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all",
               "logical_or": "any"}  # fmt: skip


def _array_ufunc(self: Value, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
    """NumPy's elementwise functions record the op of the same name."""
    if out is not None:
        raise ConversionError(
            f"np.{ufunc.__name__} would write {describe(self)} into a plain array, which cannot remember how it "
            "was computed. Write `a = a + x`, which makes a value, and not `a += x`; leave `out=` away."
        )
    if any(type(x) is np.ndarray and x.dtype == object for x in inputs):
        return _over_objects(ufunc, method, inputs, kwargs)
    name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
    if method == "reduce" and ufunc.__name__ in _REDUCTIONS:
        kwargs.pop("initial", None)
        kwargs.pop("where", None)
        axis = kwargs.pop("axis", 0)
        return namespace.find(_REDUCTIONS[ufunc.__name__])(inputs[0], axis=axis, **kwargs)
    if method == "accumulate" and ufunc.__name__ == "add":
        return namespace.find("cumulative_sum")(inputs[0], axis=kwargs.get("axis", 0))
    if method == "outer":
        a, b = (namespace.find("asarray")(x) for x in inputs)
        return namespace.find(name)(a.reshape(a.shape + (1,) * b.ndim), b)
    if method != "__call__" or name not in namespace.FUNCTIONS:
        raise ConversionError(
            _not_recorded(f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}"), self)
        )
    if kwargs:
        raise ConversionError(f"np.{ufunc.__name__} of a value takes no {', '.join(kwargs)}.")
    return namespace.find(name)(*inputs)


def _over_objects(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A value beside an array of objects: NumPy's own loop, which meets the value as one more object."""
    boxed = []
    for x in inputs:
        if isinstance(x, Value):
            box = np.empty((), dtype=object)
            box[()] = x
            boxed.append(box)
        else:
            boxed.append(x)
    return getattr(ufunc, method)(*boxed, **kwargs)


def _not_recorded(name: str, value: Value) -> str:
    return (
        f"{name} does not record, so the gradient of {describe(value)} would be cut there. Use a function of backlit, "
        f"or give it the plain numbers, {name}(x.data), if no gradient is wanted; backlit.op makes an op of your own."
    )


def _reduce(name: str) -> Callable[..., Any]:
    def adapted(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **kw: Any) -> Any:
        options = {k: v for k, v in kw.items() if v is not np._NoValue}
        if dtype is not None:
            options["dtype"] = dtype
        if "ddof" in options:
            options["correction"] = options.pop("ddof")
        if keepdims is not False and keepdims is not np._NoValue:
            options["keepdims"] = bool(keepdims)
        return namespace.find(name)(x, axis=axis, **options)

    return adapted


def _plain(name: str) -> Callable[..., Any]:
    return lambda *args, **kwargs: namespace.find(name)(*args, **kwargs)


def _dot(a: Any, b: Any) -> Any:
    a, b = (namespace.find("asarray")(x) for x in (a, b))
    return a.dot(b)


def _transpose(x: Any, axes: Any = None) -> Any:
    return x.transpose(*(axes or ()))


def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None, **_: Any) -> Any:
    return namespace.find("clip")(x, a_min if min is None else min, a_max if max is None else max)


def _joined(name: str, axis_if_vector: int, axis: int) -> Callable[..., Any]:
    def adapted(arrays: Any, **_: Any) -> Any:
        raised = [namespace.find("asarray")(x) for x in arrays]
        raised = [x.reshape((1,)) if x.ndim == 0 else x for x in raised]
        vector = raised[0].ndim == 1
        if vector and name == "vstack":
            return namespace.find("stack")(raised)
        return namespace.find("concat")(raised, axis=axis_if_vector if vector else axis)

    return adapted


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _reduce(name) for name in ("sum", "prod", "mean", "var", "std", "any", "all", "argmax", "argmin")},
    "max": _reduce("max"), "min": _reduce("min"), "amax": _reduce("max"), "amin": _reduce("min"),
    **{name: _plain(name) for name in (
        "where", "reshape", "moveaxis", "broadcast_to", "broadcast_arrays", "expand_dims", "squeeze", "flip", "roll",
        "stack", "split", "tile", "repeat", "pad", "tril", "triu", "take", "take_along_axis", "tensordot", "outer",
        "einsum", "zeros_like", "ones_like", "full_like", "empty_like", "concat", "permute_dims", "matrix_transpose",
        "unstack", "vecdot", "count_nonzero", "astype", "meshgrid", "round",
    )},
    "concatenate": lambda arrays, axis=0, **_: namespace.find("concat")(arrays, axis=axis),
    "cumsum": lambda x, axis=None, **_: namespace.find("cumulative_sum")(
        x if axis is not None or x.ndim == 1 else x.reshape((-1,)), axis=axis or 0
    ),
    "transpose": _transpose, "dot": _dot, "clip": _clip, "ravel": lambda x, **_: x.reshape((-1,)),
    "hstack": _joined("hstack", 0, 1), "vstack": _joined("vstack", 0, 0),
    "shape": lambda x: x.shape, "ndim": lambda x: x.ndim, "size": lambda x: x.size,
    "result_type": _plain("result_type"), "real": _plain("real"), "imag": _plain("imag"),
    "array_equal": lambda a, b, **_: np.array_equal(getattr(a, "data", a), getattr(b, "data", b)),
    "allclose": lambda a, b, *args, **kw: np.allclose(getattr(a, "data", a), getattr(b, "data", b), *args, **kw),
    "array_repr": lambda x, *_, **__: repr(x), "array_str": lambda x, *_, **__: repr(x),
}  # fmt: skip


def _array_function(self: Value, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy's array functions record the function of the same meaning."""
    adapted = _FUNCTIONS.get(function.__name__)
    if adapted is None or function.__module__ not in ("numpy", "numpy.matrixlib.defmatrix"):
        raise ConversionError(
            _not_recorded(f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1), self)
        )
    return adapted(*args, **kwargs)


def _array(self: Value, dtype: Any = None, copy: bool | None = None) -> Any:
    """A plain array, where that cuts no gradient; an object array that holds the value itself, where that is asked."""
    if dtype is not None and np.dtype(dtype) == object and self.ndim == 0:
        box = np.empty((), dtype=object)
        box[()] = self
        return box
    node = current(self)
    if type(node._data) is Abstract:
        raise TracedValueError(f"{describe(self)} has no numbers to convert: its function is being traced.")
    if node._grad is not INACTIVE:
        raise ConversionError(
            f"converting {describe(self)} to a plain array would silently cut its gradient. "
            "Write x.data if you want the numbers, backlit's functions (or np.tanh(x) and its like) to go on, "
            "and backlit.stack([...]) to make one array of several values."
        )
    plain = np.asarray(exposed(node._data), dtype=dtype)
    return plain.copy() if copy else plain


METHODS: dict[str, Callable[..., Any]] = {
    "__array_ufunc__": _array_ufunc,
    "__array_function__": _array_function,
    "__array__": _array,
}
for _name, _function in METHODS.items():
    setattr(Value, _name, _function)
