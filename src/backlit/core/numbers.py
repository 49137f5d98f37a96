"""What a node holds: a Python float, a NumPy scalar or an array, or, while tracing, only a shape and a dtype.

A float64 scalar is a Python float. Every other scalar is a NumPy scalar, and everything with axes an array.
Stored data never change; what the user is shown are read-only views (`Numbers`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import ConversionError, DtypeError

Shape = tuple[int, ...]
FLOAT64 = dtypes.float64


class Abstract:
    """What is known of a value while a function is traced: its shape and its dtype, but no number.

    Equal ones are one object, as a rule: a graph may have millions, of which few differ, and what follows from them is
    looked up by that object.

    >>> Abstract((2, 3), dtypes.float32)
    float32[2,3]
    """

    __slots__ = ("dtype", "shape")
    shape: Shape
    dtype: np.dtype[Any]

    def __new__(cls, shape: Shape, dtype: np.dtype[Any]) -> Abstract:
        return _known(shape, dtype)

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"


@lru_cache(maxsize=4096)
def _known(shape: Shape, dtype: np.dtype[Any]) -> Abstract:
    found = object.__new__(Abstract)
    found.shape, found.dtype = shape, dtype
    return found


NUMBER = Abstract((), FLOAT64)
"""What is known of a float64 without axes."""


def abstract(data: Any) -> Abstract:
    """What is known of stored data while a function is traced."""
    kind = type(data)
    if kind is Abstract:
        return data  # type: ignore[no-any-return]
    return _known((), _PYTHON_NUMBERS[kind]) if kind in _PYTHON_NUMBERS else _known(data.shape, data.dtype)


def shape_of(data: Any) -> Shape:
    """Shape of a plain number, an array, an `Abstract` or a `Value`."""
    return () if type(data) in _PYTHON_NUMBERS else data.shape


def dtype_of(data: Any) -> np.dtype[Any]:
    """Dtype of a plain number, an array, an `Abstract` or a `Value`."""
    kind = type(data)
    if kind is float:
        return FLOAT64
    return _PYTHON_NUMBERS[kind] if kind in _PYTHON_NUMBERS else data.dtype  # noqa: SIM401  (.dtype may not exist)


_PYTHON_NUMBERS = {float: FLOAT64, int: dtypes.int64, bool: dtypes.bool, complex: dtypes.complex128}


def stored(data: Any) -> Any:
    """The form in which a node keeps a result of NumPy: no 0-d arrays, and a Python float for a float64 scalar."""
    if type(data) is np.ndarray:
        if data.ndim:
            return data
        data = data[()]
    if type(data) is np.float64:
        return float(data)
    if isinstance(data, np.ndarray):  # a subclass, such as np.matrix or Numbers
        return stored(np.asarray(data))
    return data


def strong(data: Any) -> Any:
    """The same number with its own dtype: beside float32 arrays a Python float would give way, a float64 does not."""
    return np.float64(data) if type(data) is float else data


def as_data(source: Any, dtype: Any = None, copy: bool = True) -> Any:
    """Stored data for what a user wrote: a number, a nested list, a NumPy array, or another library's array.

    A Python integer becomes a float64, since what is written as a variable is meant to vary; arrays and lists
    of integers stay integers. Raises DtypeError for strings, objects and dtypes that Backlit does not store.
    """
    kind = type(source)
    if kind is float and (dtype is None or dtype is FLOAT64):
        return source
    if isinstance(source, np.ndarray) and source.dtype is dtype and source.ndim:
        return np.array(source) if copy and not is_frozen(source) else source.view(np.ndarray)
    if dtype is not None:
        dtype = dtypes.as_dtype(dtype)
    elif kind is int:
        dtype = FLOAT64
    try:
        found = np.asarray(source)
    except ConversionError:
        raise
    except (ValueError, TypeError) as error:
        raise DtypeError(f"cannot make an array of {_shown(source)}: {error}.") from error
    if found.dtype.char not in dtypes.STORED:
        raise DtypeError(
            f"cannot make a value of {_shown(source)}: NumPy gives it dtype {found.dtype}, which is not a number. "
            "Write numbers, or stack values with backlit.stack([...])."
        )
    if type(found) is np.ndarray and found.flags.writeable and found is not source and not _is_array(source):
        copy = False  # made just now from a list or a number
        if dtype is not None and dtype.kind in "iu":
            found = _whole_numbers(source, dtype)
    if dtype is None:
        dtype = found.dtype.newbyteorder("=") if not found.dtype.isnative else found.dtype
    elif found.dtype.kind == "c" and dtype.kind not in "cb":
        raise DtypeError(
            f"cannot keep {_shown(source)} as {dtype.name}: it is complex. Take its real part, or choose complex128."
        )
    frozen = is_frozen(source) if isinstance(source, np.ndarray) else is_frozen(found)
    return stored(found.astype(dtype, copy=copy and not frozen))


def _whole_numbers(source: Any, dtype: np.dtype[Any]) -> Any:
    """An array of numbers and lists as the user wrote them. Raises DtypeError for one that the dtype cannot hold."""
    try:
        return np.asarray(source, dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise DtypeError(f"cannot keep {_shown(source)} as {dtype.name}: {error}.") from error


def is_frozen(array: np.ndarray[Any, Any]) -> bool:
    """Whether nobody can write into the numbers of this array, through the array that it is a view of either."""
    while not array.flags.writeable:
        if isinstance(array, Numbers):
            return True
        base = array.base
        if not isinstance(base, np.ndarray):
            return base is None or isinstance(base, bytes)
        array = base
    return False


def _is_array(source: Any) -> bool:
    return hasattr(source, "__array__") or hasattr(source, "__array_interface__") or hasattr(source, "__buffer__")


def _shown(source: Any) -> str:
    text = repr(source)
    return text if len(text) <= 60 else f"a {type(source).__name__} ({text[:50]}…)"


class Numbers(np.ndarray[Any, Any]):
    """A read-only view of a node's array. NumPy computes with it as with any array and gives ordinary arrays back.

    `x.data -= step` works, because it is an assignment to `x`; writing into the view itself is refused,
    since graphs built before must go on telling the truth about the numbers they used.
    """

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else array

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.flags.writeable:  # a copy of its own
            super().__setitem__(index, value)
            return
        raise ValueError(
            "these numbers are read-only, because graphs that used them must go on telling the truth. "
            "Write x[...] = v on the value itself, assign x.data = new_array, or change a copy, x.data.copy()."
        )

    def __repr__(self) -> str:
        return repr(self.view(np.ndarray))

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).copy().__reduce__()


def _instead(name: str) -> Any:
    """The plain operator in place of one that writes: `x.data -= step` makes a new array, which is then assigned.

    It is read-only, like the view it came from, so that the assignment need not copy it.
    """
    plain, writing = getattr(np.ndarray, f"__{name}__"), getattr(np.ndarray, f"__i{name}__")

    def method(self: Any, other: Any) -> Any:
        if self.flags.writeable:  # a copy of its own
            return writing(self, other)
        result = plain(self, other)
        if type(result) is np.ndarray:
            result.setflags(write=False)
        return result

    return method


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
):
    setattr(Numbers, f"__i{_name}__", _instead(_name))


def exposed(data: Any) -> Any:
    """What `.data` and `.grad` show: a Python number for a scalar of Python's kinds, a read-only view of an array."""
    if type(data) is np.ndarray:
        view = data.view(Numbers)
        view.setflags(write=False)
        return view
    if isinstance(data, (np.bool_, np.int64)):
        return data.item()
    return data


def _find_quiet() -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """How to enter and leave NumPy's state without floating-point warnings: the quick way if this NumPy has it
    (0.15 against 1 microsecond), else `np.errstate`.
    """
    try:
        from numpy._core import umath

        variable, ignoring = umath._extobj_contextvar, umath._make_extobj(all="ignore")
        variable.reset(variable.set(ignoring))
    except (ImportError, AttributeError, TypeError):

        def enter() -> Any:
            state = np.errstate(all="ignore")
            state.__enter__()
            return state

        return enter, lambda state: state.__exit__()
    return partial(variable.set, ignoring), variable.reset


enter_quiet, leave_quiet = _find_quiet()


def quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function with IEEE 754 arithmetic as it is: NaN and infinities arise without NumPy's warnings.
    `trace_nonfinite` is how they are found.
    """
    token = enter_quiet()
    try:
        return function(*args, **kwargs)
    finally:
        leave_quiet(token)
