"""How NumPy meets a value: `np.tanh(x)` and `np.sum(x)` record, and silent conversion to a plain array is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from backlit.core.complaints import without_numbers
from backlit.core.errors import ConversionError
from backlit.core.numbers import Abstract, exposed
from backlit.core.value import INACTIVE, Value, current, describe, is_active
from backlit.ops import namespace

_find = namespace.find

# -- elementwise functions -----------------------------------------------------------------------------------

_UFUNCS = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
    "arctan2": "atan2", "arctanh": "atanh", "conjugate": "conj", "fabs": "abs", "float_power": "pow",
    "invert": "bitwise_invert", "left_shift": "bitwise_left_shift", "mod": "remainder", "power": "pow",
    "right_shift": "bitwise_right_shift", "rint": "round", "true_divide": "divide",
}  # fmt: skip
_MADE_OF_OPS: dict[str, Callable[..., Any]] = {
    "cbrt": lambda x: _find("copysign")(_find("pow")(abs(x), 1 / 3), x),
    "deg2rad": lambda x: x * (math.pi / 180.0), "radians": lambda x: x * (math.pi / 180.0),
    "rad2deg": lambda x: x * (180.0 / math.pi), "degrees": lambda x: x * (180.0 / math.pi),
    "divmod": lambda x1, x2: (_find("floor_divide")(x1, x2), _find("remainder")(x1, x2)),
    "exp2": lambda x: _find("pow")(2.0, x),
}  # fmt: skip
_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all",
               "logical_or": "any"}  # fmt: skip


def _array_ufunc(self: Value, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
    """NumPy's elementwise functions record the op of the same name."""
    if out is not None and not all(_holds_objects(each) for each in out):
        raise ConversionError(
            f"np.{ufunc.__name__} would write {describe(self)} into a plain array, which cannot remember how it "
            "was computed. Write `a = a + x`, which makes a value, and not `a += x`; leave `out=` away."
        )
    if any(map(_holds_objects, inputs)):
        if all(x.ndim == 0 for x in inputs if isinstance(x, Value)):
            return _over_objects(ufunc, method, inputs, {**kwargs, **({} if out is None else {"out": out})})
        inputs = tuple(_find("asarray")(x) if _holds_objects(x) else x for x in inputs)
    shown = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    given = {key: value for key, value in kwargs.items() if not _says_nothing(value)}
    if method == "reduce" and ufunc.__name__ in _REDUCTIONS:
        axis = kwargs.pop("axis", 0)
        options = {key: given.pop(key) for key in ("keepdims", "dtype") if key in given}
        given.pop("axis", None)
        _refuse(shown, given)
        return _find(_REDUCTIONS[ufunc.__name__])(inputs[0], axis=axis, **options)
    if method == "accumulate" and ufunc.__name__ in ("add", "multiply"):
        options = {key: given.pop(key) for key in ("dtype",) if key in given}
        axis = given.pop("axis", 0)
        _refuse(shown, given)
        name = "cumulative_sum" if ufunc.__name__ == "add" else "cumulative_prod"
        return _find(name)(inputs[0], axis=axis, **options)
    name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
    known = name in namespace.FUNCTIONS or name in _MADE_OF_OPS
    if method not in ("__call__", "outer") or not known:
        return _on_plain_numbers(getattr(ufunc, method), shown, inputs, kwargs)
    _refuse(shown, given)
    if method == "outer":
        a, b = (_find("asarray")(x) for x in inputs)
        inputs = (a.reshape(a.shape + (1,) * b.ndim), b)
    return (_MADE_OF_OPS.get(name) or _find(name))(*inputs)


def _holds_objects(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == object


def _over_objects(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A value beside an array of objects: NumPy's own loop, which meets the value as one more object."""
    return getattr(ufunc, method)(*(_boxed(x) if isinstance(x, Value) else x for x in inputs), **kwargs)


def _boxed(value: Value) -> Any:
    """An array of objects that holds the value, or, if it has axes, its elements."""
    box = np.empty(value.shape, dtype=object)
    for place in np.ndindex(value.shape):
        box[place] = value[place] if place else value
    return box


# -- what does not record ------------------------------------------------------------------------------------


def _on_plain_numbers(function: Callable[..., Any], shown: str, args: Any, kwargs: Any) -> Any:
    """A function of NumPy that Backlit does not have: of constants it gives what it gives; else it is refused."""
    for value in _values_in((args, kwargs)):
        if is_active(value):
            raise ConversionError(
                f"{shown} does not record, so the gradient of {describe(value)} would be cut there. Use a function of "
                f"backlit, or give it the plain numbers, {shown}(x.data), if no gradient is wanted; backlit.op makes "
                "an op of your own."
            )
    return function(*_plain(args), **_plain(kwargs))


def _values_in(thing: Any) -> Iterator[Value]:
    if isinstance(thing, Value):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for each in thing:
            yield from _values_in(each)
    elif isinstance(thing, dict):
        yield from _values_in(list(thing.values()))


def _plain(thing: Any) -> Any:
    """The same with the numbers of values in their place."""
    if isinstance(thing, Value):
        return np.asarray(thing.data, thing.dtype)
    if type(thing) in (list, tuple):
        return type(thing)(map(_plain, thing))
    if type(thing) is dict:
        return {key: _plain(value) for key, value in thing.items()}
    return thing


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value is np._NoValue


def _refuse(shown: str, options: dict[str, Any]) -> None:
    for key, value in options.items():
        if not _says_nothing(value) and not (isinstance(value, str) and value in ("C", "K", "same_kind")):
            raise ConversionError(
                f"{shown} of a value takes no {key}. Compute without it; backlit.where(mask, x, other) chooses "
                "elements, and x.astype(dtype) converts them."
            )


# -- functions of arrays -------------------------------------------------------------------------------------


def _as(ours: str, spec: str) -> Callable[..., Any]:
    """NumPy's function by ours. spec: NumPy's parameters in order; those behind `/` are given to ours by name, as
    `theirs:ours` where the names differ, and those with `!` must be left out.
    """
    before, _, after = spec.partition("/")
    first = before.split()
    named = dict((pair.split(":") * 2)[:2] for pair in after.split() if pair[0] != "!")
    order = [*first, *(pair.lstrip("!").split(":")[0] for pair in after.split())]

    def adapted(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(order, args, strict=False)) | kwargs
        positional = [given.pop(name) for name in first if name in given]
        options = {named[name]: given.pop(name) for name in list(given) if name in named}
        _refuse(f"np.{ours}", given)
        return _find(ours)(*positional, **{key: v for key, v in options.items() if v is not np._NoValue})

    return adapted


def _in_floats(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's mean of whole numbers and booleans is a float64."""

    def adapted(a: Any, *args: Any, **kwargs: Any) -> Any:
        x = _find("asarray")(a)
        return function(x.astype(np.float64) if x.dtype.kind in "iub" else x, *args, **kwargs)

    return adapted


def _flat_unless(axis: Any, x: Any) -> tuple[Any, Any]:
    """NumPy runs along the flattened array where no axis is given."""
    return (x.reshape((-1,)), 0) if axis is None else (x, axis)


def _running(ours: str) -> Callable[..., Any]:
    def adapted(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        _refuse(f"np.{ours}", {"out": out})
        x, along = _flat_unless(axis, a)
        return _find(ours)(x, axis=along, dtype=dtype)

    return adapted


def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    _refuse("np.take", {"out": out, "mode": None if mode == "raise" else mode})
    x, along = _flat_unless(axis, _find("asarray")(a))
    return _find("take")(x, indices, axis=along)


def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    return _find("concat")([_find("asarray")(x) for x in (arr, values)], axis=axis)


def _where(condition: Any, *choices: Any) -> Any:
    return _find("where")(condition, *choices) if choices else _find("nonzero")(condition)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None, **options: Any) -> Any:
    _refuse("np.clip", options)
    return _find("clip")(a, a_min if min is None else min, a_max if max is None else max)


def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    _refuse("np.round", {"out": out})
    scale = 10.0**decimals
    return _find("round")(a * scale) / scale if decimals else _find("round")(a)


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    _refuse("np.dot", {"out": out})
    return _find("asarray")(a).dot(_find("asarray")(b))


def _inner(a: Any, b: Any) -> Any:
    a, b = _find("asarray")(a), _find("asarray")(b)
    return a * b if 0 in (a.ndim, b.ndim) else _find("tensordot")(a, b, axes=((-1,), (-1,)))


def _of_vectors(ours: str) -> Callable[..., Any]:
    def adapted(a: Any, b: Any, out: Any = None) -> Any:
        _refuse(f"np.{ours}", {"out": out})
        return _find(ours)(*(_find("asarray")(x).reshape((-1,)) for x in (a, b)))

    return adapted


def _joined(vector: str, along: int, rank: int) -> Callable[..., Any]:
    """np.hstack and its like. vector: "rows" or "columns" if vectors become that, else they follow each other."""

    def adapted(tup: Any, **options: Any) -> Any:
        _refuse("np.hstack and its like", options)
        raised = [_find("asarray")(x) for x in tup]
        raised = [x.reshape((1,)) if x.ndim == 0 else x for x in raised]
        if rank == 2:
            raised = [(x[None, :] if vector == "rows" else x[:, None]) if x.ndim == 1 else x for x in raised]
        return _find("concat")(raised, axis=0 if raised[0].ndim == 1 else along)

    return adapted


def _at_least(rank: int) -> Callable[..., Any]:
    def adapted(*arrays: Any) -> Any:
        raised = [_find("asarray")(x) for x in arrays]
        raised = [x.reshape((1,) * (rank - x.ndim) + x.shape) if x.ndim < rank else x for x in raised]
        return raised[0] if len(raised) == 1 else tuple(raised)

    return adapted


def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return _find("permute_dims")(a, tuple(order))


def _einsum(*operands: Any, optimize: Any = None, **options: Any) -> Any:
    _refuse("np.einsum", options)
    return _find("einsum")(*operands)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _as("sum", "a / axis dtype !out keepdims !initial !where"),
    "prod": _as("prod", "a / axis dtype !out keepdims !initial !where"),
    "mean": _in_floats(_as("mean", "a / axis !dtype !out keepdims !where")),
    "var": _in_floats(_as("var", "a / axis !dtype !out ddof:correction keepdims !where !mean correction")),
    "std": _in_floats(_as("std", "a / axis !dtype !out ddof:correction keepdims !where !mean correction")),
    **{name: _as(name[-3:], "a / axis !out keepdims !initial !where") for name in ("max", "min", "amax", "amin")},
    **{name: _as(name, "a / axis !out keepdims !where") for name in ("any", "all")},
    **{name: _as(name, "a / axis !out keepdims") for name in ("argmax", "argmin")},
    "count_nonzero": _as("count_nonzero", "a / axis keepdims"),
    "cumsum": _running("cumulative_sum"), "cumprod": _running("cumulative_prod"),
    "cumulative_sum": _as("cumulative_sum", "x / axis dtype !out include_initial"),
    "cumulative_prod": _as("cumulative_prod", "x / axis dtype !out include_initial"),
    "diff": _as("diff", "a / n axis prepend append"),
    "where": _where, "nonzero": _where, "clip": _clip, "round": _round, "around": _round,
    "real": _as("real", "val"), "imag": _as("imag", "val"),
    "reshape": _as("reshape", "a shape / !order copy"), "ravel": lambda a, order="C": a.reshape((-1,)),
    **{name: lambda a, axes=None: a.transpose(*(axes or ())) for name in ("transpose", "permute_dims")},
    "matrix_transpose": _as("matrix_transpose", "x"), "swapaxes": _swapaxes,
    "moveaxis": _as("moveaxis", "a source destination"),
    "broadcast_to": _as("broadcast_to", "array shape / !subok"),
    "broadcast_arrays": lambda *args, subok=False: _find("broadcast_arrays")(*args),
    "expand_dims": _as("expand_dims", "a axis"), "squeeze": _as("squeeze", "a / axis"),
    "flip": _as("flip", "m / axis"), "roll": _as("roll", "a shift / axis"),
    "concatenate": _as("concat", "arrays / axis !out !dtype !casting"), "append": _append,
    "concat": _as("concat", "arrays / axis !out !dtype !casting"),
    "stack": _as("stack", "arrays / axis !out !dtype !casting"),
    "hstack": _joined("", 1, 1), "vstack": _joined("rows", 0, 2), "column_stack": _joined("columns", 1, 2),
    "atleast_1d": _at_least(1), "atleast_2d": _at_least(2),
    "unstack": _as("unstack", "x / axis"), "split": _as("split", "ary indices_or_sections / axis"),
    "repeat": _as("repeat", "a repeats / axis"), "tile": _as("tile", "A reps"),
    "pad": _as("pad", "array pad_width / mode constant_values"),
    "tril": _as("tril", "m / k"), "triu": _as("triu", "m / k"),
    "take": _take, "take_along_axis": _as("take_along_axis", "arr indices / axis"),
    "dot": _dot, "inner": _inner, "vdot": _of_vectors("vecdot"), "outer": _of_vectors("outer"),
    "tensordot": _as("tensordot", "a b / axes"), "einsum": _einsum,
    "zeros_like": _as("zeros_like", "a / dtype !order !subok !shape device"),
    "ones_like": _as("ones_like", "a / dtype !order !subok !shape device"),
    "empty_like": _as("empty_like", "prototype / dtype !order !subok !shape device"),
    "full_like": _as("full_like", "a fill_value / dtype !order !subok !shape device"),
    "linspace": _as("linspace", "start stop num / endpoint !retstep dtype !axis device"),
    "meshgrid": lambda *xi, indexing="xy", copy=True, sparse=False: _find("meshgrid")(*xi, indexing=indexing),
    "astype": _as("astype", "x dtype / copy device"),
    "copy": lambda a, order="K", subok=False: _find("asarray")(a, copy=True),
    "shape": lambda a: a.shape, "ndim": lambda a: a.ndim,
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
    "result_type": lambda *args: _find("result_type")(*args), "can_cast": lambda from_, to, casting="safe": np.can_cast(
        from_.dtype if isinstance(from_, Value) else from_, to, casting),
    "array_repr": lambda arr, *_, **__: repr(arr), "array_str": lambda a, *_, **__: repr(a),
}  # fmt: skip
_ANSWERS = {  # what they give has no gradient, so they may see the plain numbers
    *("allclose", "array_equal", "array_equiv", "isclose", "isrealobj", "iscomplexobj", "isreal", "iscomplex"),
    *("argsort", "argwhere", "flatnonzero", "searchsorted", "digitize"),
}


def _array_function(self: Value, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy's array functions record the function of the same meaning."""
    if function.__module__ in ("numpy", "numpy.matrixlib.defmatrix"):
        adapted = _FUNCTIONS.get(function.__name__)
        if adapted is not None:
            return adapted(*args, **kwargs)
        if function.__name__ in _ANSWERS:
            return function(*_plain(args), **_plain(kwargs))
    shown = f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1)
    return _on_plain_numbers(function, shown, args, kwargs)


# -- conversion ----------------------------------------------------------------------------------------------


def _array(self: Value, dtype: Any = None, copy: bool | None = None) -> Any:
    """A plain array, where that cuts no gradient; where that is asked, an array of objects, which are values."""
    if dtype is not None and np.dtype(dtype) == object:
        return _boxed(self)
    node = current(self)
    if type(node._data) is Abstract:
        raise without_numbers("np.asarray()", node)
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
