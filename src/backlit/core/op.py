"""The record of an operation, in which all that is known of it stands in one place, and how it makes nodes.

There are two kinds of op and a few specials. An `Elementwise` op declares its partial derivatives; a `Linear` one
its transpose in each argument; a `Special` one both of its rules; a `Constant` one has no derivative.

A rule is written once, in ordinary operators and in other ops. Run on values it makes more graph, which can be
drawn, explained and differentiated again; run on plain numbers and arrays it computes.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import BacklitError, DomainError, DtypeError, IndexingError, ShapeError
from backlit.core.notation import Notation, call
from backlit.core.numbers import (
    Abstract,
    Shape,
    dtype_of,
    enter_quiet,
    leave_quiet,
    quietly,
    shape_of,
    stored,
    strong,
)
from backlit.core.site import IS_LIBRARY
from backlit.core.state import SPECIAL, Mode, current_mode
from backlit.core.value import (
    INACTIVE,
    NO_ATTRS,
    NO_EXTRA,
    Extra,
    Value,
    constant,
    describe,
    next_serial,
)

Rule = Callable[..., Any]
Attrs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reals:
    """An interval from which tests may draw an input, away from the points in `avoid` (kinks and poles)."""

    low: float = -3.0
    high: float = 3.0
    avoid: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Integers:
    """Whole numbers from `low` to `high`, both included, for an input that is an index or a bit pattern."""

    low: int = 0
    high: int = 5


@dataclass(frozen=True, slots=True)
class Booleans:
    """An input that is true or false."""


Domain = Reals | Integers | Booleans


@dataclass(frozen=True, slots=True)
class Sample:
    """One way to call an op in tests: the shapes of its inputs and its attributes."""

    shapes: tuple[Shape, ...]
    attrs: Attrs = field(default_factory=dict)
    domains: tuple[Domain, ...] | None = None  # where they differ from the op's


@dataclass(frozen=True, eq=False)
class Op:
    """What every op declares.

    name, evaluate: the forward rule on NumPy arrays, `evaluate(*arrays, **attrs)`; it defines the op.
    doc: one line with shapes. notation: how it is written. shape: `shape(*inputs, **attrs)` gives the shape of
    the result from objects with `.shape` and `.dtype`, or raises ShapeError. dtype: likewise its dtype (by default that
    of the inputs, promoted). domains, samples: where and how tests may call it. lower: how one element of it is
    computed inside a compiled loop.
    """

    name: str
    evaluate: Callable[..., Any]
    _: KW_ONLY
    doc: str = ""
    notation: Notation | None = None
    shape: Callable[..., Shape] | None = None
    dtype: Callable[..., Any] | None = None
    domains: tuple[Domain, ...] = (Reals(),)
    samples: tuple[Sample, ...] = ()
    lower: Callable[..., Any] | None = None

    differentiable: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        if self.notation is None:
            object.__setattr__(self, "notation", call(self.name))
        object.__setattr__(self, "differentiable", self._has_rule())

    def _has_rule(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __str__(self) -> str:
        return self.name

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        """The op applied: to values it records a node; to plain numbers and arrays it just computes."""
        for arg in args:
            if isinstance(arg, Value):
                return record(self, operands(args), attrs)
        result = self.compute(args, attrs)
        if type(result) is float and any(type(arg) is np.float64 for arg in args):
            return np.float64(result)  # IEEE arithmetic was asked for: 1 / it must not raise
        return result

    def compute(self, datas: Sequence[Any], attrs: Attrs) -> Any:
        """The forward rule on stored data, giving stored data. NumPy may warn, unless it is called `quietly`."""
        return stored(self.evaluate(*datas, **attrs))

    def infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        """Shape and dtype of the result from those of the inputs, without computing it."""
        assert self.shape is not None, f"{self.name} has no shape rule"
        dtype = self.dtype(*inputs, **attrs) if self.dtype else np.result_type(*(x.dtype for x in inputs))
        return Abstract(self.shape(*inputs, **attrs), np.dtype(dtype))


@dataclass(frozen=True, eq=False, repr=False)
class Elementwise(Op):
    """Computes each element from the elements at the same place, inputs being broadcast.

    partials: one entry an input, each a function of the result and the inputs, `p(y, *xs, **attrs)`, or
    ONE for a partial that is one everywhere, or None where there is none.
    scalar: the forward rule on Python floats. selects: a partial of zero means that this input was not chosen
    (`where`, `maximum`, `relu`): then nothing flows to it, not even 0 · infinity.
    """

    _: KW_ONLY
    partials: tuple[Rule | None, ...] = ()
    scalar: Callable[..., Any] | None = None
    selects: bool = False

    def compute(self, datas: Sequence[Any], attrs: Attrs) -> Any:
        if self.scalar is not None:
            for data in datas:
                if type(data) is not float:
                    break
            else:
                try:
                    return self.scalar(*datas, **attrs)
                except (ArithmeticError, ValueError):  # IEEE 754 has an answer where Python's floats raise
                    datas = [np.float64(data) for data in datas]
        return stored(self.evaluate(*datas, **attrs))

    def infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        return Abstract(
            broadcast_shapes(self.name, [x.shape for x in inputs]),
            self.dtype(*inputs, **attrs) if self.dtype else _tried(self, tuple(x.dtype for x in inputs)),
        )

    def _has_rule(self) -> bool:
        return any(partial is not None for partial in self.partials)



@dataclass(frozen=True, eq=False, repr=False)
class Linear(Op):
    """Linear in each argument that has a transpose.

    transposes: one entry an input, each `t(ct, *xs, **attrs)`, or None where there is none; it may use the values
    of the *other* inputs, and of its own only the shape and dtype.
    jointly: linear in all inputs at once (`concat`), not in each by itself (`matmul`).
    moves: every element of the result is a sum of elements of the input (`reshape`, `take`, `sum`), so that a mask
    of what was never chosen can be carried back through the transpose.
    accumulate: `accumulate(buffer, ct, *xs, **attrs)` adds the transpose for the first input into an array.
    """

    _: KW_ONLY
    transposes: tuple[Rule | None, ...] = ()
    jointly: bool = False
    moves: bool = False
    accumulate: Callable[..., None] | None = None



@dataclass(frozen=True, eq=False, repr=False)
class Special(Op):
    """States both rules. vjps: one an input, `rule(ct, y, *xs, **attrs)`; jvps: one an input, `rule(t, y, *xs, **attrs)`."""

    _: KW_ONLY
    vjps: tuple[Rule | None, ...] = ()
    jvps: tuple[Rule | None, ...] = ()



@dataclass(frozen=True, eq=False, repr=False)
class Constant(Op):
    """Has no derivative: comparisons, logic, `argmax`, creation. No gradient flows through it."""

    def _has_rule(self) -> bool:
        return False

    def infer(self, inputs: Sequence[Any], attrs: Attrs) -> Abstract:
        if self.shape is not None:
            return super().infer(inputs, attrs)
        return Abstract(
            broadcast_shapes(self.name, [x.shape for x in inputs]),
            self.dtype(*inputs, **attrs) if self.dtype else _tried(self, tuple(x.dtype for x in inputs)),
        )



def ONE(y: Any, *xs: Any, **attrs: Any) -> float:
    """The partial that is one everywhere; the engine knows it and multiplies by nothing."""
    return 1.0


def broadcast_shapes(name: str, shapes: Sequence[Shape]) -> Shape:
    """The common shape to which these broadcast. Raises ShapeError that says at which axis they do not.

    >>> broadcast_shapes("add", [(32, 1), (10,)])
    (32, 10)
    """
    if len(shapes) == 2 and shapes[0] == shapes[1]:
        return shapes[0]
    result: list[int] = []
    for axis in range(1, max(map(len, shapes), default=0) + 1):
        lengths = {shape[-axis] for shape in shapes if len(shape) >= axis} - {1}
        if len(lengths) > 1:
            raise ShapeError(_does_not_broadcast(name, shapes, axis))
        result.append(lengths.pop() if lengths else 1)
    return tuple(reversed(result))


def _does_not_broadcast(name: str, shapes: Sequence[Shape], axis: int) -> str:
    place = "the last axis is" if axis == 1 else f"axis -{axis} is"
    if len(shapes) != 2:
        lengths = ", ".join(str(s[-axis]) for s in shapes if len(s) >= axis)
        return f"shapes {', '.join(map(str, shapes))} do not broadcast: {place} {lengths}."
    left, right = shapes
    text = f"shapes {left} and {right} do not broadcast: {place} {left[-axis]} on the left, {right[-axis]} on the right."
    for long, short, which in ((left, right, "right"), (right, left, "left")):
        if len(short) == 1 and short[0] in long[:-1]:
            at = max(i for i, length in enumerate(long[:-1]) if length == short[0])
            behind = len(long) - 1 - at
            index = ", ".join([":"] + ["None"] * behind)
            text += (
                f"\n  To line the {which} one up with axis {at} of the other, "
                f"index it [{index}], which gives it shape {short + (1,) * behind}."
            )
            break
    return text


@lru_cache(maxsize=4096)
def _tried(op: Op, kinds: tuple[Any, ...]) -> np.dtype[Any]:
    """The dtype of an elementwise result, by running the forward rule on empty arrays: it cannot disagree."""
    empty = [np.empty((0,), kind) for kind in kinds]
    found: np.dtype[Any] = quietly(op.evaluate, *empty).dtype
    return found


# -- making nodes -----------------------------------------------------------------------------------------------


def operands(args: Sequence[Any]) -> tuple[Value, ...]:
    """The arguments as nodes. Plain numbers take the dtype of the values beside them; arrays become constants."""
    nodes: list[Any] = []
    plain = False
    for arg in args:
        if isinstance(arg, Value):
            nodes.append(arg if arg._now is None else arg._now)
        else:
            plain = True
            nodes.append(arg)
    if plain:
        kind: np.dtype[Any] | None = None
        for node in nodes:
            if isinstance(node, Value):
                dtype = dtype_of(node._data)
                kind = dtype if kind is None or kind is dtype else np.promote_types(kind, dtype)
        nodes = [node if isinstance(node, Value) else as_constant(node, kind) for node in nodes]
    return tuple(nodes)


def as_constant(arg: Any, beside: np.dtype[Any] | None = None) -> Value:
    """A constant node for what the user wrote beside a value: a number (which takes on the value's dtype), or an array.

    An array is copied unless it is read-only, because the user may write into it later.
    """
    kind = type(arg)
    if kind is float and (beside is None or beside is dtypes.float64 or beside == dtypes.float64):
        return constant(arg)
    if beside is not None and (kind is float or kind is int) and beside.kind == "f":
        return constant(float(arg) if beside == dtypes.float64 else beside.type(arg))
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
    if type(from_user) is not np.ndarray or (from_user.flags.writeable and from_user.ndim):
        from_user = np.array(from_user)
    return constant(stored(from_user))


_new = object.__new__


def record(op: Op, inputs: tuple[Value, ...], attrs: Attrs = NO_ATTRS) -> Value:
    """A new node: the op applied to nodes. The only place where graphs grow, but for the fast path of scalars."""
    mode = current_mode() if SPECIAL else None
    active = mixed = False
    floats = True
    datas = []
    for node in inputs:
        data = node._data
        if type(data) is float:
            mixed = True
        else:
            floats = False
        if node._grad is not INACTIVE:
            active = True
        datas.append(data)
    if mixed and not floats:
        datas = [strong(data) for data in datas]
    try:
        if mode is not None and any(type(data) is Abstract for data in datas):
            data = op.infer([Abstract(shape_of(d), dtype_of(d)) for d in datas], attrs)
        else:
            token = enter_quiet()
            try:
                data = op.compute(datas, attrs) if floats else op.evaluate(*datas, **attrs)
            finally:
                leave_quiet(token)
            if type(data) is not np.ndarray or not data.ndim:
                data = stored(data)
    except BacklitError as error:
        raise _located(op, inputs, attrs, error) from None
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise _explained(op, inputs, attrs, error) from error
    result: Value = _new(Value)
    result._op = op
    result._data = data
    result._now = None
    result._serial = next_serial()
    count = len(inputs)
    result._a = inputs[0] if count else None
    result._b = inputs[1] if count > 1 else None
    result._extra = NO_EXTRA if not attrs and count <= 2 else Extra(attrs, inputs[2:])
    if active and op.differentiable and (type(data) is float or data.dtype.kind == "f"):
        result._grad = None
        if count == 2 and type(data) is np.ndarray and data.ndim == 2 and datas[0].ndim != datas[1].ndim:
            _suspect(result, inputs)
    else:
        result._grad = INACTIVE
    if mode is not None and mode.because is not None:
        result._code, result._lasti = None, 0
    else:
        frame = sys._getframe(1)
        while IS_LIBRARY[frame.f_code] and frame.f_back is not None:
            frame = frame.f_back
        result._code, result._lasti = frame.f_code, frame.f_lasti
    if mode is not None:
        _mark(result, inputs, mode)
    return result


def _mark(node: Value, inputs: tuple[Value, ...], mode: Mode) -> None:
    """Note on a new node what holds for the moment: its scope, what it serves, that it is not recorded."""
    if mode.scope is not None or mode.because is not None:
        extra = node._own_extra()
        extra.scope, extra.because = mode.scope, mode.because
    if not mode.recording:
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
    return op is not None and (
        op.name in ("expand_dims", "getitem") or bool(column._extra.attrs.get("keepdims"))
    )


# -- errors that teach ------------------------------------------------------------------------------------------


def _operand_lines(inputs: Sequence[Value]) -> str:
    names = ("left: ", "right:") if len(inputs) == 2 else tuple(f"input {i}:" for i in range(len(inputs)))
    if len(inputs) == 1:
        names = ("input:",)
    return "".join(
        f"\n    {name} {describe(as_shown(x))}, shape {shape_of(x._data)}, {dtype_of(x._data).name}"
        for name, x in zip(names, inputs, strict=True)
    )


def as_shown(node: Value) -> Value:
    return node if node._extra.owner is None else node._extra.owner


def _attrs_text(attrs: Attrs) -> str:
    return "".join(f", {name}={value!r}" for name, value in attrs.items())


def _located(op: Op, inputs: Sequence[Value], attrs: Attrs, error: BacklitError) -> BacklitError:
    """The same error, with the operands and where each was made."""
    message = str(error)
    head = message if message.startswith(f"{op.name}:") else f"{op.name}: {message}"
    first, _, rest = head.partition("\n")
    located = type(error)(first + _operand_lines(inputs) + (f"\n{rest}" if rest else ""))
    return located


def _explained(op: Op, inputs: Sequence[Value], attrs: Attrs, error: Exception) -> BacklitError:
    """A Backlit error for one that NumPy raised."""
    try:
        op.infer([Abstract(shape_of(x._data), dtype_of(x._data)) for x in inputs], attrs)
    except BacklitError as ours:
        return _located(op, inputs, attrs, ours)
    except Exception:  # the shape rule met what the forward rule met; NumPy's own words are the better ones
        pass
    kind = (
        IndexingError if isinstance(error, IndexError)
        else DtypeError if isinstance(error, TypeError)
        else ShapeError if "shape" in str(error) or "axis" in str(error) or "axes" in str(error)
        else DomainError
    )  # fmt: skip
    reason = str(error).split("\n")[0].rstrip(".")
    if isinstance(error, TypeError) and "not supported for the input types" in reason:
        reason = f"not defined for {' and '.join(dtype_of(x._data).name for x in inputs)}"
    return kind(f"{op.name}: {reason}.{_operand_lines(inputs)}")
