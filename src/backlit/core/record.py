"""Making nodes: the op applied to values. The only place where graphs grow, but for the fast path of scalars."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.complaints import explained, located
from backlit.core.errors import BacklitError, DtypeError
from backlit.core.numbers import (
    Abstract,
    Shape,
    abstract,
    dtype_of,
    enter_quiet,
    is_frozen,
    leave_quiet,
    shape_of,
    stored,
    strong,
)
from backlit.core.op import Attrs, Op
from backlit.core.site import IS_LIBRARY, user_frame
from backlit.core.state import SPECIAL, Mode, current_mode
from backlit.core.value import INACTIVE, NO_ATTRS, NO_EXTRA, Extra, Value, constant, current, next_serial


def _apply(self: Op, *args: Any, **attrs: Any) -> Any:
    """The op applied: to values it records a node; to plain numbers and arrays it just computes."""
    for arg in args:
        if isinstance(arg, Value):
            return record(self, operands(args), attrs)
    result = self.compute(args, attrs)
    if type(result) is float and any(type(arg) is np.float64 for arg in args):
        return np.float64(result)  # IEEE arithmetic was asked for: 1 / it must not raise
    return result


Op.__call__ = _apply  # type: ignore[method-assign]


def operands(args: Sequence[Any]) -> tuple[Value, ...]:
    """The arguments as nodes. Plain numbers take the dtype of the values beside them; arrays become constants."""
    nodes: list[Any] = []
    plain = False
    for arg in args:
        if isinstance(arg, Value):
            nodes.append(current(arg) if SPECIAL and arg._op is None else arg if arg._now is None else arg._now)
        else:
            plain = True
            nodes.append(arg)
    if plain:
        kind: np.dtype[Any] | None = None
        for node in nodes:
            if isinstance(node, Value):
                dtype = dtype_of(node._data)
                kind = dtype if kind is None or kind is dtype else np.promote_types(kind, dtype)
        for k, node in enumerate(nodes):
            if not isinstance(node, Value):
                nodes[k] = as_constant(node, kind)
    return tuple(nodes)


def as_constant(arg: Any, beside: np.dtype[Any] | None = None) -> Value:
    """A constant node for what the user wrote beside a value: a number (which takes on the value's dtype), or an array.

    An array is copied unless nobody can write into it, because the user may do so later.
    """
    kind = type(arg)
    if (kind is float or kind is int) and beside is not None and beside.kind == "f":
        return constant(float(arg) if beside.char == "d" else beside.type(arg))
    if kind is float and beside is None:
        return constant(arg)
    if kind in (float, int, bool, complex):
        if kind is bool or beside is None:
            dtype = np.result_type(type(arg))
        else:
            try:
                dtype = np.result_type(beside, arg)
            except OverflowError:
                dtype = beside
        try:
            return constant(stored(np.asarray(arg, dtype=dtype)))
        except OverflowError as error:
            raise DtypeError(
                f"the number {arg} does not fit {dtype.name}, the dtype of the value beside it."
            ) from error
    from_user = np.asarray(arg)
    if from_user.dtype.char not in dtypes.STORED:
        raise DtypeError(
            f"cannot compute with {type(arg).__name__} {arg!r:.60} beside a value: it is not a number "
            f"(NumPy gives it dtype {from_user.dtype})."
        )
    if from_user.ndim and not is_frozen(arg if isinstance(arg, np.ndarray) else from_user):
        from_user = np.array(from_user)
    return constant(stored(from_user))


def constant_here(data: Any) -> Value:
    """A constant with the site of the user's line that runs, from stored data.

    One that a call on this line makes for itself, such as an array that a layer was given, is marked as a part of it.
    """
    node = constant(data)
    frame = user_frame(1)
    node._code, node._lasti = frame.f_code, frame.f_lasti
    scope = current_mode().scope if SPECIAL else None
    if scope is not None and scope.code is frame.f_code and scope.lasti == frame.f_lasti:
        node._own_extra().scope = scope
    return node


_new = object.__new__


def record(op: Op, inputs: tuple[Value, ...], attrs: Attrs = NO_ATTRS) -> Value:
    """A new node: the op applied to nodes. The only place where graphs grow, but for the fast path of scalars."""
    mode = current_mode() if SPECIAL else None
    if mode is not None and mode.trace is not None:
        inputs = mode.trace.lifted(inputs)
    active = mixed = False
    floats = True
    traced = 0
    datas = []
    for node in inputs:
        data = node._data
        if type(data) is float:
            mixed = True
        else:
            floats = False
            if type(data) is Abstract:
                traced += 1
        if node._grad is not INACTIVE:
            active = True
        datas.append(data)
    if mixed and not floats and not traced:
        datas = [strong(data) for data in datas]
    try:
        if traced and mode is not None:
            data = op.infer(datas if traced == len(datas) else list(map(abstract, datas)), attrs)
        else:
            token = enter_quiet()
            try:
                if floats:
                    data = op.compute(datas, attrs)
                else:
                    data = op.evaluate(*datas, **attrs) if attrs else op.evaluate(*datas)
            finally:
                leave_quiet(token)
            if type(data) is not np.ndarray or not data.ndim:
                data = stored(data)
    except BacklitError as error:
        raise located(op, inputs, attrs, error) from None
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise explained(op, inputs, attrs, error) from error
    result: Value = _new(Value)
    result._op = op
    result._data = data
    result._now = None
    result._serial = next_serial()
    count = len(inputs)
    if count == 2:
        result._a, result._b = inputs
    else:
        result._a = inputs[0] if count else None
        result._b = inputs[1] if count > 1 else None
    result._extra = NO_EXTRA if not attrs and count <= 2 else Extra(attrs, inputs[2:])
    if active and op.differentiable and (type(data) is float or data.dtype.kind == "f"):
        result._grad = None
        if count == 2 and type(data) is np.ndarray and data.ndim == 2 and len(data) == data.shape[1]:
            _suspect(result, inputs)
    else:
        result._grad = INACTIVE
    if mode is not None and mode.because is not None:
        result._code, result._lasti = None, 0
    else:
        frame = sys._getframe(1)
        while IS_LIBRARY[(code := frame.f_code).co_filename] and (outer := frame.f_back) is not None:
            frame = outer
        result._code, result._lasti = code, frame.f_lasti
    if mode is not None:
        _mark(result, inputs, mode)
    return result


def _mark(node: Value, inputs: tuple[Value, ...], mode: Mode) -> None:
    """Note on a new node what holds for the moment: its scope, what it serves, that it is not recorded."""
    if mode.scope is not None or mode.because is not None:
        extra = node._own_extra()
        extra.scope, extra.because = mode.scope, mode.because
        if mode.scope is not None:
            made = node._grad is not INACTIVE and mode.recording, node._serial
            if made > mode.scope.newest:
                mode.scope.newest = made
    if not mode.recording and mode.trace is not None:
        node._grad = INACTIVE  # but what it was computed by and from is what will be compiled
    elif not mode.recording:
        extra = node._own_extra()
        extra.cut = ("no_grad", node._op, tuple(weakref.ref(x) for x in inputs))
        extra.attrs, extra.rest = NO_ATTRS, ()
        node._op = node._a = node._b = None
        node._grad = INACTIVE
    if mode.watch is not None:
        mode.watch(node)


def _suspect(node: Value, inputs: tuple[Value, ...]) -> None:
    """Note on a node where (n,) met (n, 1), lest it end in a loss."""
    a, b = shape_of(inputs[0]._data), shape_of(inputs[1]._data)
    if len(a) != len(b) and _square_from_vectors(a, b) and not _expanded(inputs, a, b):
        node._own_extra().suspect = (a, b)


def _square_from_vectors(a: Shape, b: Shape) -> bool:
    """Whether (n,) met (n, 1) with n > 1, which seldom is what was meant."""
    return {len(a), len(b)} == {1, 2} and (a if len(a) == 2 else b) == (*(a if len(a) == 1 else b), 1) and max(a) > 1


def _expanded(inputs: tuple[Value, ...], a: Shape, b: Shape) -> bool:
    """Whether the (n, 1) was made so on purpose, by `x[:, None]`, `expand_dims` or `keepdims=True`."""
    column = inputs[0] if len(a) == 2 else inputs[1]
    op = column._op
    return op is not None and (op.name in ("expand_dims", "getitem") or bool(column._extra.attrs.get("keepdims")))
