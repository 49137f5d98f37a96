"""The node of every expression graph: what it was computed by and from, its number, and where that was written.

`Value` lives on the lowest floor, so it knows nothing of particular operations: the operators and methods
(`+`, `tanh`, `sum`, …) are given to it by `ops`, and `backward` by `autodiff`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import count
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backlit.core import dtypes
from backlit.core.errors import ConversionError, GraphError, ShapeError, TracedValueError
from backlit.core.numbers import Abstract, Shape, as_data, dtype_of, exposed, shape_of
from backlit.core.site import IS_LIBRARY, Site, site_of, user_frame
from backlit.core.standing import is_inner, standing
from backlit.core.state import SPECIAL, Because, Scope, tracing

if TYPE_CHECKING:
    from backlit.core.op import Op

NO_ATTRS: Mapping[str, Any] = {}


class _Inactive:
    """Stands in place of the gradient of a node that no gradient can reach: an integer, a constant, a comparison."""

    def __repr__(self) -> str:
        return "no gradient"


INACTIVE = _Inactive()
next_serial = count().__next__
"""Nodes are numbered as they are made, and inputs are made first: so descending serials are a backward order."""


class Deposit(NamedTuple):
    """What one output's `backward()` gave to the gradient of one variable."""

    leaf: Value
    before: Any  # what `.grad` held from other outputs
    ct: Any
    resets: int  # how often `.grad` had been reset by then


class Extra:
    """What only some nodes have. Kept apart, so that the many nodes that have none of it stay small."""

    # Defaults stand in the class, so that making one sets two attributes only.
    name: str | None = None
    scope: Scope | None = None
    because: Because | None = None
    owner: Value | None = None  # the variable whose value this leaf was for a while
    cut: tuple[str, Op | None, tuple[Any, ...]] | None = None  # why the inputs were not recorded
    deposits: list[Deposit] | None = None  # what the last backward() from here gave to variables
    resets = 0  # how often the gradient of this variable was assigned or forgotten
    stale = False  # the gradient belongs to an older value of this variable
    suspect: tuple[Shape, Shape] | None = None  # (n,) met (n, 1) here

    def __init__(self, attrs: Mapping[str, Any] = NO_ATTRS, rest: tuple[Value, ...] = ()) -> None:
        self.attrs = attrs
        self.rest = rest  # inputs from the third on


NO_EXTRA = Extra()


class Value:
    """A number or an array that remembers how it was computed, so that it can be differentiated and explained.

    data: a number, a nested list, a NumPy array, or any object that converts to one; shape and dtype are kept
    (float64 for Python numbers). name: what explanations and drawings call it. dtype: store as this dtype.

    A node never changes. Assigning to `.data` of a variable gives it a new current node, and graphs built
    before go on telling the truth about the numbers they used.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> d = a * b + 10
    >>> d.backward()
    >>> d.data, a.grad, b.grad
    (4.0, -3.0, 2.0)
    """

    # Raw slots belong to the floors of the engine; users see the properties below. `_now` is the current node of
    # a variable that was assigned to since it was made; the edges of older graphs keep the node they were built on.
    __slots__ = (
        *("_op", "_a", "_b", "_data", "_grad", "_now", "_code", "_lasti", "_serial", "_extra"),
        "__weakref__",
    )
    _op: Op | None
    _a: Value | None
    _b: Value | None
    _data: Any
    _grad: Any
    _now: Value | None
    _code: CodeType | None
    _lasti: int
    _serial: int
    _extra: Extra

    def __init__(self, data: Any, name: str | None = None, dtype: Any = None) -> None:
        if isinstance(data, Value):
            node = current(data)
            if node._op is not None and node._grad is not INACTIVE:
                raise ConversionError(
                    f"a new variable made of {describe(data)} would not remember how that was computed. "
                    "Use it as it is, or, for a variable that starts from the same numbers, write Value(x.data)."
                )
            if type(node._data) is Abstract:
                raise TracedValueError(
                    f"a new variable made of {describe(data)} needs its numbers, and while its function is traced it "
                    "has none. Use it as it is, stop_gradient(x) for its numbers alone, or make it outside."
                )
            data = exposed(node._data)
        self._op = self._a = self._b = self._now = None
        self._data = as_data(data, dtype)
        self._grad = None if dtypes.is_real(dtype_of(self._data)) else INACTIVE
        frame = sys._getframe(1)
        if IS_LIBRARY[frame.f_code.co_filename]:
            frame = user_frame(1)
        self._code, self._lasti = frame.f_code, frame.f_lasti
        self._serial = next_serial()
        if name is None:
            self._extra = NO_EXTRA
        else:
            self._extra = Extra()
            self._extra.name = name

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The number (a Python float for a float64 scalar) or a read-only view of the array.

        Assigning gives a variable new numbers of the same shape; they are converted to its dtype. Graphs built
        before keep the old ones. Raises GraphError on a value that was computed, ShapeError on another shape.
        """
        data = (self if self._now is None else self._now)._data
        kind = type(data)
        if SPECIAL and (trace := tracing()) is not None:
            return trace.read(self)
        if kind is float:
            return data
        if kind is Abstract:
            raise TracedValueError(
                f"{describe(self)} has no number yet: its function is being traced, and all that is known "
                f"of it is {data!r}."
            )
        return exposed(data)

    @data.setter
    def data(self, new: Any) -> None:
        node = self if self._now is None else self._now
        if SPECIAL and node._op is None and (trace := tracing()) is not None:
            trace.assign(self, new)
            return
        if node._op is not None:
            raise GraphError(
                f"{describe(self)} was computed, so its numbers follow from its inputs and cannot be assigned. "
                "Assign to an input and compute again, or start a new variable with Value(...)."
            )
        old = node._data
        if type(new) is type(old) is np.ndarray and new.dtype is old.dtype and new.shape == old.shape:
            self._assign(new if new.base is None and not new.flags.writeable else np.array(new))
            return
        data = as_data(new, dtype_of(node._data))
        if shape_of(data) != shape_of(node._data):
            raise ShapeError(
                f"{describe(self)} has shape {shape_of(node._data)} and was assigned an array of shape "
                f"{shape_of(data)}. Reshape it first, or make a new variable."
            )
        self._assign(data)

    def _assign(self, data: Any) -> None:
        """Give this variable new stored data, without checks."""
        now: Value = _new(Value)
        now._op = now._a = now._b = now._now = None
        now._data = data
        now._grad = INACTIVE if self._grad is INACTIVE else None
        now._code, now._lasti, now._serial = self._code, self._lasti, next_serial()
        now._extra = extra = Extra()
        extra.owner, extra.name = self, self._extra.name
        self._now = now
        if self._grad is not None and self._grad is not INACTIVE:
            self._own_extra().stale = True

    @property
    def grad(self) -> Any:
        """The gradient of the output whose `backward()` ran last, by this node; None if none reached it.

        A float or a read-only array of this node's shape. It can be assigned, to None or to numbers.
        """
        if SPECIAL and (trace := tracing()) is not None:
            return trace.gradient(self._grad_holder())
        grad = (self if self._now is None or self._now._op is None else self._now)._grad
        if grad is None or type(grad) is float:
            return grad
        return None if grad is INACTIVE else exposed(grad)

    @grad.setter
    def grad(self, new: Any) -> None:
        holder = self._grad_holder()
        if SPECIAL and (trace := tracing()) is not None:
            trace.set_gradient(holder, new)
            return
        if new is None:
            if holder._grad is None or holder._grad is INACTIVE:
                return
            holder._grad = None
        else:
            data = as_data(new, self.dtype)
            if shape_of(data) != self.shape:
                raise ShapeError(
                    f"the gradient of {describe(self)} has its shape {self.shape}, "
                    f"and was assigned an array of shape {shape_of(data)}."
                )
            holder._grad = data
        extra = holder._own_extra()
        extra.stale = False
        extra.resets += 1

    def _grad_holder(self) -> Value:
        """Where the gradient is kept: in the variable itself, whichever leaf it stands for at the moment."""
        now = current(self)
        return self if now._op is None else now

    def zero_grad(self) -> None:
        """Forget the gradient: it is None again until the next `backward()`."""
        self.grad = None

    @property
    def shape(self) -> Shape:
        """Length of each axis; () for a scalar."""
        return shape_of(current(self)._data)

    @property
    def dtype(self) -> np.dtype[Any]:
        return dtype_of(current(self)._data)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def name(self) -> str | None:
        """The name it was given; `site.variable` is the variable it was assigned to."""
        return current(self)._extra.name or self._extra.name

    @name.setter
    def name(self, new: str | None) -> None:
        current(self)._own_extra().name = new
        self._own_extra().name = new

    @property
    def op(self) -> Op | None:
        """The record of the operation that made it; None for a variable or a constant."""
        return current(self)._op

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The values it was computed from."""
        return tuple(as_user_sees(x) for x in inputs_of(current(self)))

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The attributes of the operation, such as `axis`."""
        return current(self)._extra.attrs

    @property
    def site(self) -> Site | None:
        """Where in the user's program it was made; None for nodes that the engine added."""
        node = self._now if self._now is not None and self._now._op is not None else self
        return None if node._code is None else site_of(node._code, node._lasti)

    @property
    def scope(self) -> Scope | None:
        """The composite function it is a part of, such as `softmax`."""
        return current(self)._extra.scope

    @property
    def because(self) -> Because | None:
        """For a node of a backward or forward-mode graph: which node and which argument it serves."""
        return current(self)._extra.because

    @property
    def label(self) -> str | None:
        """What to call it: its name, or the variable that it was assigned to.

        A variable that a call of the library was assigned to names what that gave back, and not what that is made of.
        """
        name = self.name
        if name is None and not is_inner(current(self)) and (site := self.site) is not None:
            name = site.variable
        return name

    # micrograd's names for the same things, which its drawings use.
    @property
    def _prev(self) -> set[Value]:
        return set(self.inputs)

    def _own_extra(self) -> Extra:
        """The `Extra` of this node alone, made when first needed."""
        if self._extra is NO_EXTRA:
            self._extra = Extra()
        return self._extra

    # -- identity and copies ------------------------------------------------------------------------------------

    __hash__ = object.__hash__  # `==` is elementwise, so sets and dicts of values go by identity

    def __copy__(self) -> Value:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Value:
        """A new variable with the same numbers, as a copy of a model needs, or a new constant; what was computed from
        variables cannot be copied.
        """
        node = current(self)
        if _is_constant(node) and type(self) is not Buffer:
            twin = _constant_again(np.asarray(exposed(node._data)), self.name)
        elif node._op is not None:
            raise GraphError(f"{describe(self)} was computed; copy the variables and compute it again.")
        else:
            twin = type(self)(exposed(node._data), name=self.name, dtype=self.dtype)
            twin._code, twin._lasti = self._code, self._lasti  # the user wrote it there, not in copy.py
        memo[id(self)] = twin
        return twin

    def __reduce__(self) -> Any:
        node = current(self)
        if _is_constant(node) and type(self) is not Buffer:
            return _constant_again, (np.asarray(exposed(node._data)), self.name)
        if node._op is not None:
            raise GraphError(f"{describe(self)} was computed, and a graph cannot be pickled; store its .data.")
        return type(self), (np.asarray(node._data)[()], self.name, self.dtype)

    if TYPE_CHECKING:  # given by the floors above: operators by ops/operators.py, backward by autodiff/reverse.py

        def backward(self, seed: Any = None) -> None: ...
        def __add__(self, other: Any) -> Value: ...
        def __radd__(self, other: Any) -> Value: ...
        def __sub__(self, other: Any) -> Value: ...
        def __rsub__(self, other: Any) -> Value: ...
        def __mul__(self, other: Any) -> Value: ...
        def __rmul__(self, other: Any) -> Value: ...
        def __truediv__(self, other: Any) -> Value: ...
        def __rtruediv__(self, other: Any) -> Value: ...
        def __floordiv__(self, other: Any) -> Value: ...
        def __rfloordiv__(self, other: Any) -> Value: ...
        def __mod__(self, other: Any) -> Value: ...
        def __rmod__(self, other: Any) -> Value: ...
        def __pow__(self, other: Any) -> Value: ...
        def __rpow__(self, other: Any) -> Value: ...
        def __matmul__(self, other: Any) -> Value: ...
        def __rmatmul__(self, other: Any) -> Value: ...
        def __neg__(self) -> Value: ...
        def __pos__(self) -> Value: ...
        def __abs__(self) -> Value: ...
        def __invert__(self) -> Value: ...
        def __and__(self, other: Any) -> Value: ...
        def __or__(self, other: Any) -> Value: ...
        def __xor__(self, other: Any) -> Value: ...
        def __eq__(self, other: object) -> Value: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Value: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Value: ...
        def __le__(self, other: Any) -> Value: ...
        def __gt__(self, other: Any) -> Value: ...
        def __ge__(self, other: Any) -> Value: ...
        def __getitem__(self, index: Any) -> Value: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __iter__(self) -> Iterator[Value]: ...
        def __len__(self) -> int: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...
        def __bool__(self) -> bool: ...
        def __index__(self) -> int: ...
        @property
        def T(self) -> Value: ...
        @property
        def mT(self) -> Value: ...
        def __getattr__(self, name: str) -> Any: ...  # the methods named like the functions: x.tanh(), x.sum()


class Parameter(Value):
    """A variable that is to be learned. Modules collect these, and optimizers step them.

    >>> w = Parameter([0.5, -1.0], name="w")
    >>> w.data = w.data - 0.1
    >>> w
    Parameter([ 0.4, -1.1], name='w')
    """

    __slots__ = ()


class Buffer(Value):
    """A variable that training changes and no gradient reaches: running statistics, an optimizer's memory, a counter.

    It is stored with a model and assigned like a parameter, `b.data = ...`; optimizers leave it alone.

    >>> count = Buffer(0, dtype="int64")
    >>> count.data = count.data + 1
    >>> count
    Buffer(1)
    """

    __slots__ = ()

    def __init__(self, data: Any, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(data, name, dtype)
        self._grad = INACTIVE


_new = object.__new__


def numbers_of(value: Value) -> Any:
    """The numbers of a variable as the engine stores them, to compute with and not to write into; while a function is
    traced, a value that stands for them.
    """
    if SPECIAL and (trace := tracing()) is not None:
        return trace.read(value)
    return (value if value._now is None else value._now)._data


def assign(variable: Value, data: Any) -> None:
    """Give a variable new numbers, of its shape and dtype, that nobody else holds: they are not copied."""
    if SPECIAL and (trace := tracing()) is not None:
        trace.assign(variable, data)
        return
    old = (variable if variable._now is None else variable._now)._data
    kind = type(data)
    if kind is type(old) and (
        (data.dtype is old.dtype and data.shape == old.shape)
        if kind is np.ndarray
        else kind is float or kind is np.int64
    ):
        variable._assign(data)
    else:
        variable.data = data


def gradient_of(variable: Value) -> Any:
    """The gradient that a variable holds, as the engine stores it, or None; while a function is traced, as a value."""
    holder = variable._grad_holder()
    if SPECIAL and (trace := tracing()) is not None:
        return trace.gradient(holder)
    return None if holder._grad is INACTIVE else holder._grad


def leaf(data: Any, active: bool = True) -> Value:
    """A node without inputs, from stored data."""
    node = constant(data)
    if active and dtypes.is_real(dtype_of(data)):
        node._grad = None
    return node


def constant(data: Any) -> Value:
    """A node for a number or array that the user wrote beside a value; no gradient is computed for it."""
    node: Value = _new(Value)
    node._op = node._a = node._b = node._now = node._code = None
    node._data = data
    node._grad = INACTIVE
    node._lasti = 0
    node._serial = next_serial()
    node._extra = NO_EXTRA
    return node


def _is_constant(node: Value) -> bool:
    """Whether a node holds numbers that no gradient reaches, though they could have one or were computed."""
    return (
        node._grad is INACTIVE
        and type(node._data) is not Abstract
        and (node._op is not None or dtypes.is_real(dtype_of(node._data)))
    )


def _constant_again(data: Any, name: str | None) -> Value:
    """A constant as it was before it was copied or pickled."""
    node = constant(as_data(data, data.dtype))
    if name is not None:
        node._own_extra().name = name
    return node


def inputs_of(node: Value) -> tuple[Value, ...]:
    """The nodes that a node was computed from, as the graph holds them."""
    if node._a is None:
        return ()
    if node._b is None:
        return (node._a,)
    return (node._a, node._b, *node._extra.rest)


def current(value: Value) -> Value:
    """The node that a variable stands for at the moment, or, while a function is traced, in the trace."""
    if SPECIAL and value._op is None and (trace := tracing()) is not None:
        return trace.current(value)
    return value if value._now is None else value._now


def rebind(value: Value, node: Value) -> None:
    """Let a value stand for another node from here on; while a function is traced, in the trace only."""
    if SPECIAL and (trace := tracing()) is not None:
        trace.rebind(value, node)
    else:
        value._now = node


def as_user_sees(node: Value) -> Value:
    """How a node of a graph is shown: as the variable whose present value it is, or, where that has been assigned
    to since, as a leaf with the numbers that the graph used.
    """
    owner = node._extra.owner
    if owner is not None and current(owner) is node:
        return owner
    if node._now is None:
        return node
    then = leaf(node._data, active=node._grad is not INACTIVE) if node._op is None else _twin(node)
    then._code, then._lasti, then._grad = node._code, node._lasti, node._grad
    if node._extra.name is not None:
        then._own_extra().name = node._extra.name
    return then


def _twin(node: Value) -> Value:
    """The node as it was before it was written into, `x[i] = v`."""
    twin: Value = object.__new__(Value)
    for slot in ("_op", "_a", "_b", "_data", "_grad", "_code", "_lasti", "_serial", "_extra"):
        setattr(twin, slot, getattr(node, slot))
    twin._now = None
    return twin


def is_active(value: Value) -> bool:
    """Whether gradients flow to this node."""
    return current(value)._grad is not INACTIVE


def describe(value: Value) -> str:
    """How messages speak of a value: "`h`, made by tanh at model.py:41 in forward".

    >>> describe(Value(1.0, name="w"))[:4]
    '`w`,'
    """
    node = current(value)
    label = value.label or standing(node)
    if node._op is not None:
        made = f"made by {node._op.name}" if label else f"a value made by {node._op.name}"
    else:
        kept = type(value) is Buffer or type(node._extra.owner) is Buffer
        made = "a buffer" if kept else "a constant" if node._grad is INACTIVE else "a variable"
    text = f"`{label}`, {made}" if label else made
    return f"{text} at {site}" if (site := value.site) is not None else text


def values(**named: Any) -> tuple[Value, ...]:
    """Variables that know their names, in the order written.

    >>> a, b = values(a=2.0, b=-3.0)
    >>> b.name, b.data
    ('b', -3.0)
    """
    return tuple(Value(data, name=name) for name, data in named.items())
