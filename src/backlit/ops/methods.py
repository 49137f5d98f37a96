"""The methods of a value: the functions under their own names (`x.tanh()`, `x.sum()`), shapes, and conversions.

The functions are found when first used, so that a program that only adds and multiplies loads only that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

import numpy as np

from backlit.core.complaints import without_numbers
from backlit.core.errors import ConversionError
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.state import SPECIAL
from backlit.core.value import INACTIVE, Value, current, describe, is_active
from backlit.ops import namespace

_PLAIN = (
    "abs sign floor ceil trunc square reciprocal sqrt exp expm1 log log1p log2 log10 "
    "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "sigmoid relu leaky_relu elu gelu silu softplus erf clip isfinite isinf isnan conj "
    "pow hypot atan2 logaddexp maximum minimum matmul outer "  # of two arrays
    "squeeze expand_dims moveaxis broadcast_to take tile repeat roll flip tril triu split unstack nonzero diff"
)
_OVER_AXES = (
    "sum prod max min any all argmax argmin mean var std logsumexp cumulative_sum cumulative_prod softmax log_softmax "
    "count_nonzero"
)
_ALIASES = {  # NumPy calls these on the elements of object arrays, and people know them
    "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "cumsum": "cumulative_sum",
    "arctan2": "atan2", "cumprod": "cumulative_prod", "rint": "round", "conjugate": "conj",
}  # fmt: skip
_METHODS = {**dict.fromkeys(_PLAIN.split(), False), **dict.fromkeys(_OVER_AXES.split(), True)}  # True: over axes
NAMES = (*_METHODS, *_ALIASES)
_ELSEWHERE = {  # what other libraries call otherwise
    "detach": "backlit.stop_gradient(x)", "numpy": "x.data", "clone": "+x", "view": "x.reshape(...)",
    "unsqueeze": "x.expand_dims(axis)", "permute": "x.permute_dims(...)", "t": "x.T", "mm": "x @ y", "bmm": "x @ y",
    "clamp": "x.clip(min, max)", "float": "x.astype(backlit.float32)", "long": "x.astype(backlit.int64)",
    "double": "x.astype(backlit.float64)", "half": "x.astype(backlit.float16)", "norm": "(x * x).sum().sqrt()",
    "cpu": "x, which is there already", "grad_fn": "x.op", "zero_": "x.grad = None for the gradient, or x[...] = 0",
    "copy": "backlit.asarray(x, copy=True), or Value(x.data) for a variable of its own",
}  # fmt: skip


def _over_axes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The axis may be given by position to a method, as NumPy's users do."""

    def method(self: Value, axis: Any = None, **options: Any) -> Any:
        return function(self, axis=axis, **options) if axis is not None else function(self, **options)

    method.__doc__ = function.__doc__
    return method


class _Found:
    """A method that is found when it is first asked for, and then stands in the class in place of this.

    Not by `__getattr__`: for a class that has one, Python reads every attribute several times as slowly, and nodes are
    what the engine reads most.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, value: Value | None, kind: type[Value]) -> Any:
        target = _ALIASES.get(self._name, self._name)
        function = _public(target)
        setattr(Value, self._name, _over_axes(function) if _METHODS.get(target) else function)
        return getattr(kind if value is None else value, self._name)


class _Elsewhere:
    """What other libraries have and values have not: the error says what to write instead."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, value: Value | None, kind: type[Value]) -> Any:
        hint = _ELSEWHERE[self._name]
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{self._name}': write {hint}")


def _public(name: str) -> Callable[..., Value]:
    return cast("Callable[..., Value]", namespace.find(name))


def _reshape(self: Value, *shape: Any) -> Value:
    """The same elements in another shape: `x.reshape(2, 3)` or `x.reshape((2, 3))`; one length may be -1."""
    return _public("reshape")(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


def _flatten(self: Value) -> Value:
    """The elements in one axis."""
    return _public("reshape")(self, (-1,))


def _transpose(self: Value, *axes: Any) -> Value:
    """The axes in another order; in reverse order if none is given."""
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return _public("permute_dims")(self, order or tuple(reversed(range(self.ndim))))


def _astype(self: Value, dtype: Any, copy: bool = True) -> Value:
    """The same numbers in another dtype."""
    return _public("astype")(self, dtype, copy=copy)


def _dot(self: Value, other: Any) -> Any:
    """The product of vectors or matrices; of anything with a scalar, the plain product. As `numpy.dot`."""
    rank = other.ndim if isinstance(other, Value) else np.ndim(other)
    if self.ndim == 0 or rank == 0:
        return self * other
    if rank > 2:
        return cast(Value, namespace.find("tensordot")(self, other, axes=((-1,), (-2,))))
    return self @ other


def _turned(self: Value) -> Value:
    """The axes in reverse order; for a matrix, its transpose."""
    return _transpose(self)


def _matrix_transpose(self: Value) -> Value:
    """The last two axes exchanged."""
    return _public("matrix_transpose")(self)


# -- conversions ------------------------------------------------------------------------------------------------


def _number(self: Value, what: str) -> Any:
    data = current(self)._data
    if type(data) is float:
        return data
    if type(data) is Abstract:
        raise without_numbers(what, current(self))
    if shape_of(data) != ():
        raise ConversionError(
            f"{what} needs a scalar, and {describe(self)} has shape {shape_of(data)}. "
            "Take one element, x[i], or reduce it, such as by x.sum()."
        )
    return data


def _real_number(self: Value, what: str) -> Any:
    data = _number(self, what)
    if dtype_of(data).kind == "c":
        raise ConversionError(f"{what} of {describe(self)}, which is complex: take backlit.real(x) or abs(x) first.")
    if is_active(self):
        _refuse_silent_cut(self, 3)
    return data


@cache
def _writing_instructions() -> frozenset[int]:
    """The codes of Python's instructions for `array[i] = x`."""
    from opcode import opmap  # loaded when a number is first asked for

    return frozenset(opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in opmap)


def _refuse_silent_cut(value: Value, depth: int) -> None:
    """Raise ConversionError where nobody wrote float(x), but `array[i] = x`, or NumPy's own code wants a number."""
    frame = sys._getframe(depth)
    if frame.f_code.co_code[frame.f_lasti] in _writing_instructions():
        raise ConversionError(
            f"writing {describe(value)} into a plain array would silently cut its gradient. Collect values in a list "
            "and make one array of them with backlit.stack([...]), write into an array made by backlit.zeros(...), or "
            "write x.data if you want the number."
        )
    if frame.f_globals.get("__name__", "").partition(".")[0] == "numpy":
        raise ConversionError(
            f"NumPy would make a plain number of {describe(value)} here, which would silently cut its gradient. Make "
            "one array of several values with backlit.stack([...]) and use its methods, such as x.mean()."
        )


def _float(self: Value) -> float:
    data = self._data
    if type(data) is float and not SPECIAL and self._now is None and self._grad is INACTIVE:
        return data
    return float(_real_number(self, "float()"))


def _int(self: Value) -> int:
    return int(_real_number(self, "int()"))


def _complex(self: Value) -> complex:
    data = _number(self, "complex()")
    if is_active(self):
        _refuse_silent_cut(self, 2)
    return complex(data)


def _index(self: Value) -> int:
    data = _number(self, "an index")
    if not isinstance(data, (np.integer, int)):
        raise ConversionError(f"{describe(self)} is {self.dtype.name}; only integers can be an index.")
    return int(data)


def _bool(self: Value) -> bool:
    data = current(self)._data
    if type(data) is not float and type(data) is not Abstract and shape_of(data) != ():
        raise ConversionError(
            f"the truth of {describe(self)}, of shape {shape_of(data)}, is not one answer. "
            "Write x.any() or x.all(); to choose element by element, backlit.where(x, a, b)."
        )
    return bool(_number(self, "bool()"))


def _item(self: Value) -> Any:
    """The number of a value that holds only one, as a Python number."""
    data = current(self)._data
    return (
        data
        if type(data) is float
        else np.asarray(_number(self.reshape(()) if self.size == 1 else self, "item()")).item()
    )


def _tolist(self: Value) -> Any:
    """The numbers as nested lists."""
    return np.asarray(self.data).tolist()


def _len(self: Value) -> int:
    shape = self.shape
    if not shape:
        raise ConversionError(f"len() of {describe(self)}, which is a scalar and has no length.")
    return shape[0]


def _iter(self: Value) -> Iterator[Value]:
    if not self.shape:
        raise ConversionError(f"{describe(self)} is a scalar and cannot be iterated over.")
    return (self[i] for i in range(self.shape[0]))


def _getitem(self: Value, index: Any) -> Value:
    return namespace_indexing().getitem(self, index)  # type: ignore[no-any-return]


def _setitem(self: Value, index: Any, new: Any) -> None:
    namespace_updates().setitem(self, index, new)


def _at(self: Value) -> Any:
    """`x.at[i].set(v)`, `.add(v)`, `.multiply(v)`: a new value with some elements changed; `x` stays as it is."""
    return namespace_updates().at(self)


def namespace_indexing() -> Any:
    from backlit.ops import indexing  # loaded when first indexed

    return indexing


def namespace_updates() -> Any:
    from backlit.ops import updates

    return updates


def _repr(self: Value) -> str:
    node = current(self)
    kind, data = type(self).__name__, node._data
    parts = []
    if type(data) is float or type(data) is Abstract:
        parts.append(repr(data))
    elif shape_of(data) == ():
        parts.append(f"{data.item()!r}")
    else:
        text = np.array2string(np.asarray(data), separator=", ", prefix=f"{kind}(")
        parts.append(text)
    if self.dtype.name not in ("float64", "int64", "bool") and type(data) is not Abstract:
        parts.append(f"dtype={self.dtype.name}")
    if self.name is not None:
        parts.append(f"name={self.name!r}")
    grad = self.grad
    if grad is not None and shape_of(grad) == ():
        parts.append(f"grad={float(grad)!r}" if not isinstance(grad, Value) else f"grad={grad!r}")
    if node._op is not None:
        parts.append(f"op={node._op.name}")
    return f"{kind}({', '.join(parts)})"


def _format(self: Value, spec: str) -> str:
    return format(self.item(), spec) if spec else repr(self)


def _round(self: Value, digits: int = 0) -> Value:
    """The nearest numbers with so many decimal digits, ties to even."""
    if not digits or self.dtype.kind in "iub":
        return namespace.find("round")(self)  # type: ignore[no-any-return]
    scale = 10.0**digits
    return namespace.find("round")(self * scale) / scale  # type: ignore[no-any-return]


def _divmod(self: Value, other: Any) -> tuple[Value, Value]:
    return self // other, self % other


def _rdivmod(self: Value, other: Any) -> tuple[Value, Value]:
    return other // self, other % self


def _when_numpy_asks(name: str) -> Callable[..., Any]:
    """A method that loads `numpy_protocol`, which puts the real one in its place, and calls that."""

    def method(self: Value, *args: Any, **kwargs: Any) -> Any:
        from backlit.ops import numpy_protocol

        return numpy_protocol.METHODS[name](self, *args, **kwargs)

    return method


for _name in ("__array_ufunc__", "__array_function__", "__array__"):
    setattr(Value, _name, _when_numpy_asks(_name))


# -- the Array API standard -------------------------------------------------------------------------------------


def _array_namespace(self: Value, /, *, api_version: str | None = None) -> Any:
    """The module whose functions take this array: `backlit`, as the Array API standard asks."""
    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise ValueError(f"backlit follows the Array API standard 2024.12, not {api_version!r}.")
    return sys.modules["backlit"]


def _to_device(self: Value, device: Any, /, *, stream: Any = None) -> Value:
    """The value itself: there is only one device, "cpu"."""
    if device != "cpu" or stream is not None:
        raise ValueError(f"backlit computes on the CPU; there is no device {device!r}.")
    return self


_CPU = (1, 0)


def _dlpack(
    self: Value, /, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """The numbers for another library, copied, since nobody may write into those of a graph.

    Raises ConversionError for a value that can be differentiated, BufferError for another device or copy=False.
    """
    if stream is not None or dl_device not in (None, _CPU):
        raise BufferError(
            f"backlit computes on the CPU; it cannot hand numbers to device {dl_device}, stream {stream}."
        )
    if copy is False:
        raise BufferError(
            "backlit hands out a copy, as nobody may write into the numbers of a graph; leave out copy=False."
        )
    return np.array(np.asarray(self)).__dlpack__()


def _dlpack_device(self: Value, /) -> tuple[int, int]:
    """Where the numbers are: DLPack's name for the CPU."""
    return _CPU


for _name, _function in {
    **{name: _Found(name) for name in NAMES}, **{name: _Elsewhere(name) for name in _ELSEWHERE},
    "__float__": _float, "__int__": _int, "__complex__": _complex, "__index__": _index,
    "__bool__": _bool, "__len__": _len, "__iter__": _iter, "__getitem__": _getitem, "__setitem__": _setitem,
    "__repr__": _repr, "__format__": _format, "__round__": _round, "round": _round, "__divmod__": _divmod,
    "__rdivmod__": _rdivmod, "item": _item, "tolist": _tolist, "reshape": _reshape,
    "flatten": _flatten, "ravel": _flatten, "transpose": _transpose, "permute_dims": _transpose, "astype": _astype,
    "dot": _dot, "T": property(_turned), "mT": property(_matrix_transpose), "at": property(_at),
    "device": property(lambda self: "cpu"),
    "__array_namespace__": _array_namespace, "__dlpack__": _dlpack, "__dlpack_device__": _dlpack_device,
    "to_device": _to_device,
    "__dir__": lambda self: sorted({*object.__dir__(self)} - _ELSEWHERE.keys()),
}.items():  # fmt: skip
    setattr(Value, _name, _function)
