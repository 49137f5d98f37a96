"""The compiler's own graph: a few kinds of node, merged as they are made, each knowing the values it came from.

input      a place of the arguments or captured variables
constant   a number, or an array
iota       the position along one axis
map        a scalar function, element by element; all arguments have the shape of the result
view       elements of another node, each index an affine function of the indices of the result
reshape    the same elements in row-major order
reduce     elements combined along axes
pick       the position of an extreme element along an axis
matmul     matrix products, (…, m, k) and (…, k, n), over the same leading axes
gather     elements at positions that index arrays give
scatter    updates set or added at positions that index arrays give
pad        elements surrounded by a fill value
concat     arrays one after the other along an axis
running    cumulative sums and products, recurrences
loop       a body run n times; `part` takes one of its results
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core.numbers import Shape
from backlit.core.value import Value

Dtype = np.dtype[Any]
Rows = tuple[tuple[int, ...], ...]
"""Of a view: for each axis of what is viewed, by how much each index of the view moves along it."""
BOOL, INT64, FLOAT64 = np.dtype(bool), np.dtype(np.int64), np.dtype(np.float64)
HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)


class Node:
    """One node. attrs: what its kind needs to know beside its arguments; it can be hashed. data: of a constant array,
    or the body of a loop. index: its place among all of a graph, behind its arguments. size: how many elements.

    means: the dtype of the numbers that come in or go out, where that is a complex one: these are stored in parts,
    along a last axis of length 2.
    """

    __slots__ = ("args", "attrs", "data", "dtype", "index", "kind", "means", "origins", "shape", "size")

    def __init__(
        self,
        kind: str,
        args: tuple[Node, ...],
        attrs: tuple[Any, ...],
        shape: Shape,
        dtype: Dtype,
        data: Any = None,
        index: int = 0,
    ) -> None:
        self.kind, self.args, self.attrs, self.shape, self.dtype, self.means = kind, args, attrs, shape, dtype, dtype
        self.data, self.index, self.size = data, index, math.prod(shape)
        self.origins: list[Value] = []

    def __repr__(self) -> str:
        inner = " ".join(f"%{a.index}" for a in self.args)
        what = " ".join(map(str, self.attrs))
        return f"%{self.index} = {self.kind} {what} {inner} : {self.dtype.name}{list(self.shape)}"


@dataclass
class Body:
    """What a loop repeats. inputs: carried values, then constants, then slices, then the counter if it is used.

    outputs: the carried values anew, then what is stacked.
    """

    inputs: list[Node]
    outputs: list[Node]
    carried: int
    slices: int  # how many of the inputs, behind carried and constant ones, are slices of stacked arrays
    stacked: int
    counter: bool
    parts: list[Node] = field(default_factory=list)
    flag: int | None = None  # the carried truth that says whether there is another turn, instead of a count


class Graph:
    """Makes nodes. Equal ones are one, and what can be known beforehand is; each rule stands in `_ALGEBRA`."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[Any, Node] = {}
        self._placed: dict[Node, tuple[Node, list[tuple[tuple[int, ...], Node]]]] = {}  # see `_placed_together`
        self.origin: Value | None = None
        self.defined: Mapping[Value, Value] = {}
        self.loops: dict[Any, list[Node]] = {}

    def _make(
        self, kind: str, args: tuple[Node, ...], attrs: tuple[Any, ...], shape: Shape, dtype: Dtype, data: Any = None
    ) -> Node:
        key = (kind, args, attrs, shape, dtype, id(data))
        node = self._known.get(key)
        if node is None:
            nodes = self.nodes
            node = self._known[key] = Node(kind, args, attrs, shape, dtype, data, len(nodes))
            nodes.append(node)
        origin, origins = self.origin, node.origins
        if origin is not None and (not origins or (len(origins) < 8 and all(o is not origin for o in origins))):
            origins.append(origin)
        return node

    # -- leaves -------------------------------------------------------------------------------------------------

    def input(self, place: int, shape: Shape, dtype: Dtype) -> Node:
        if dtype.kind == "c":
            return self.meaning(self._make("input", (), (place,), (*shape, 2), part_of(dtype)), dtype)
        return self._make("input", (), (place,), shape, dtype)

    def meaning(self, x: Node, dtype: Dtype) -> Node:
        """A node of its own for the same numbers, read as complex ones in parts."""
        node = Node(x.kind, x.args, x.attrs, x.shape, x.dtype, x.data, len(self.nodes))
        node.means, node.origins = dtype, x.origins
        self.nodes.append(node)
        return node

    def filled(self, number: Any, shape: Shape, dtype: Dtype) -> Node:
        """An array of one number, as it is stored."""
        if dtype.kind != "c":
            return self.broadcast(self.number(number, dtype), shape)
        assert number == 0
        return self.meaning(self.broadcast(self.number(0, part_of(dtype)), (*shape, 2)), dtype)

    def number(self, number: Any, dtype: Dtype) -> Node:
        """A constant without axes."""
        number = dtype.type(number)
        raw = number.tobytes()
        return self._make("constant", (), (raw,), (), dtype, _NUMBERS.setdefault((dtype, raw), number))

    def constant(self, data: Any, dtype: Dtype) -> Node:
        if isinstance(data, (float, np.generic)):
            return self.number(data, dtype)
        array = np.asarray(data, dtype)
        if array.size and _uniform(array):
            return self.broadcast(self.number(array.reshape(-1)[0], dtype), array.shape)
        return self._make("constant", (), ("array",), array.shape, dtype, np.ascontiguousarray(array))

    def iota(self, shape: Shape, axis: int, dtype: Dtype = INT64) -> Node:
        return self._make("iota", (), (axis,), shape, dtype)

    # -- elementwise --------------------------------------------------------------------------------------------

    def map(self, function: str, *args: Node, dtype: Dtype | None = None) -> Node:
        """A scalar function of arguments that broadcast."""
        shape = args[0].shape
        for a in args:
            if a.shape != shape:
                shape = _common([a.shape for a in args])
                break
        if dtype is None:
            dtype = args[-1].dtype
        simplified = _ALGEBRA.get(function)
        if simplified is not None and (found := simplified(self, args, shape, dtype)) is not None:
            return found
        if function == "add" and shape and dtype.kind == "f" and args[-1].kind == "scatter":
            found = self._placed_together(args[0], args[-1])
            if found is not None:
                return found
        full = args
        for a in args:
            if a.shape != shape:
                full = tuple([self.broadcast(a, shape) for a in args])
                break
        for a in full:
            if a.kind == "view" and shape:
                found = self._spread_after(function, full, shape, dtype)
                if found is not None:
                    return found
                break
        if function in ("add", "multiply") and _place(full[0]) > _place(full[1]):
            full = full[1], full[0]  # a·b and b·a are one node, and their difference is 0
        return self._make("map", full, (function,), shape, dtype)

    def _spread_after(self, function: str, full: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
        """A map of what is all spread in the same way: computed where it is small, and spread then."""
        first = full[0]  # that is no number, if there is one
        for a in full:
            if a.kind != "view":
                return None
            if not first.args[0].shape:
                first = a
        small = first.args[0]
        if small.shape and small.size >= math.prod(shape):
            return None
        for a in full:
            if a.args[0].shape and (a.attrs != first.attrs or a.args[0].shape != small.shape):
                return None
        return self._view(self.map(function, *[a.args[0] for a in full], dtype=dtype), shape, *first.attrs)

    def cast(self, x: Node, dtype: Dtype) -> Node:
        if x.dtype == dtype:
            return x
        number = self.value_of(x)
        if number is not None:
            with np.errstate(all="ignore"):
                return self.broadcast(self.number(_converted(number, dtype), dtype), x.shape)
        return self.map("cast", x, dtype=dtype)

    def scalar_of(self, x: Node) -> Node | None:
        """The node without axes that is spread here, if so."""
        if not x.shape:
            return x
        if x.kind == "view" and not x.args[0].shape:
            return x.args[0]
        return None

    def value_of(self, x: Node) -> Any:
        """The number that every element is, if it is known."""
        if x.kind == "view":
            x = x.args[0]
        return x.data if x.kind == "constant" and not x.shape else None

    # -- movement -----------------------------------------------------------------------------------------------

    def view(self, x: Node, shape: Shape, offsets: Sequence[int], rows: Sequence[Sequence[int]]) -> Node:
        """Index d of `x` is offsets[d] + the sum over j of rows[d][j] times index j of the result."""
        if 1 in shape:
            rows = [[0 if n == 1 else c for n, c in zip(shape, row, strict=True)] for row in rows]
        return self._view(x, shape, tuple(offsets), tuple(map(tuple, rows)))

    def _view(self, x: Node, shape: Shape, offsets: tuple[int, ...], rows: Rows) -> Node:
        """The same, of rows in which no index counts that is always 0."""
        if 0 in shape:
            return self._make("constant", (), ("array",), shape, x.dtype, np.zeros(shape, x.dtype))
        if x.shape == shape and not any(offsets) and rows == _rows_of_broadcast(shape, shape):
            return x
        if x.kind == "view":
            return self._view(x.args[0], shape, *_view_of_view(*x.attrs, offsets, rows, len(shape)))
        return self._make("view", (x,), (offsets, rows), shape, x.dtype)

    def broadcast(self, x: Node, shape: Shape) -> Node:
        if x.shape == shape:
            return x
        return self._view(x, shape, (0,) * len(x.shape), _rows_of_broadcast(x.shape, shape))

    def transpose(self, x: Node, axes: Sequence[int]) -> Node:
        """Axis j of the result is axis axes[j] of `x`."""
        return self.view(x, tuple([x.shape[a] for a in axes]), [0] * len(axes), _rows_of_transpose(tuple(axes)))

    def reshape(self, x: Node, shape: Shape) -> Node:
        if x.shape == shape:
            return x
        scalar = self.scalar_of(x)
        if scalar is not None or x.size == 1:
            base = scalar if scalar is not None else self.view(x, (), [0] * len(x.shape), [[] for _ in x.shape])
            return self.broadcast(base, shape)
        if 0 in shape:
            return self._make("constant", (), ("array",), shape, x.dtype, np.zeros(shape, x.dtype))
        rows = _split_rows(x.shape, shape)
        if rows is not None:
            return self.view(x, shape, [0] * len(x.shape), rows)
        if x.kind == "reshape":
            return self.reshape(x.args[0], shape)
        return self._make("reshape", (x,), (), shape, x.dtype)

    def pad(self, x: Node, fill: Node, before: Sequence[int], shape: Shape) -> Node:
        if x.shape == shape:
            return x
        return self._make("pad", (x, fill), (tuple(before),), shape, x.dtype)

    def concat(self, parts: Sequence[Node], axis: int) -> Node:
        parts = [p for p in parts if p.shape[axis]] or list(parts[:1])
        if len(parts) == 1:
            return parts[0]
        length = sum(p.shape[axis] for p in parts)
        shape = (*parts[0].shape[:axis], length, *parts[0].shape[axis + 1 :])
        return self._make("concat", tuple(parts), (axis,), shape, parts[0].dtype)

    # -- combining ----------------------------------------------------------------------------------------------

    def reduce(self, function: str, x: Node, axes: Sequence[int], keepdims: bool = False) -> Node:
        """function: add, multiply, maximum, minimum, and, or; x has the dtype in which it is combined. float16 is added
        and multiplied in float32 and rounded once, as by NumPy.
        """
        if axes and x.dtype == HALF and function in ("add", "multiply"):
            return self.cast(self.reduce(function, self.cast(x, SINGLE), axes, keepdims), HALF)
        axes = tuple(sorted(axes))
        kept = tuple(n for d, n in enumerate(x.shape) if d not in axes)
        found = x if not axes else self._reduced(function, x, axes, kept)
        if keepdims:
            found = self.reshape(found, tuple(1 if d in axes else n for d, n in enumerate(x.shape)))
        return found

    def _reduced(self, function: str, x: Node, axes: tuple[int, ...], kept: Shape) -> Node:
        if all(x.shape[d] == 1 for d in axes):
            return self.reshape(x, kept)
        if 0 in kept:
            return self._make("constant", (), ("array",), kept, x.dtype, np.zeros(kept, x.dtype))
        if not x.size:
            nothing = {"add": 0, "multiply": 1, "or": False, "and": True}[function]
            return self.broadcast(self.number(nothing, x.dtype), kept)
        if function == "add" and x.kind == "view" and x.dtype.kind == "f" and not x.args[0].shape:
            count = math.prod(x.shape[d] for d in axes)
            return self.broadcast(self.map("multiply", x.args[0], self.number(count, x.dtype)), kept)
        return self._make("reduce", (x,), (function, axes), kept, x.dtype)

    def pick(self, function: str, x: Node, axis: int) -> Node:
        kept = tuple(n for d, n in enumerate(x.shape) if d != axis)
        return self._make("pick", (x,), (function, axis), kept, INT64)

    def matmul(self, a: Node, b: Node) -> Node:
        """a: (…, m, k), b: (…, k, n) over the same leading axes."""
        shape = (*a.shape[:-1], b.shape[-1])
        if not a.shape[-1]:
            return self.broadcast(self.number(0, a.dtype), shape)
        return self._make("matmul", (a, b), (), shape, a.dtype)

    def gather(self, x: Node, arrays: Sequence[Node], plan: tuple[Any, ...], shape: Shape) -> Node:
        """plan: for each axis of x ("array", which) or ("affine", offset, coefficients); arrays: of the shape."""
        return self._make("gather", (x, *arrays), (plan,), shape, x.dtype)

    def scatter(self, base: Node, updates: Node, arrays: Sequence[Node], plan: tuple[Any, ...], function: str) -> Node:
        """function: "set" (the last counts) or "add"; updates and arrays have one shape, plan as in `gather`."""
        return self._make("scatter", (base, updates, *arrays), (plan, function), base.shape, base.dtype)

    def _placed_together(self, a: Node, b: Node) -> Node | None:
        """The sum of arrays of zeros, in which single numbers stand, as one scatter of many numbers; so come the
        gradients of an array whose elements are used one by one. They are added in the same order, to a sum that is
        nowhere -0: to leave out the other zeros of `b` changes nothing.
        """
        last = self._placed_of(b)
        if last is None or a.shape != b.shape:
            return None
        first = self._placed_of(a)
        if first is not None:
            base, numbers = a.args[0], [first]
        elif a in self._placed:
            base, numbers = self._placed[a]
            if len(numbers) == _TOGETHER:
                base, numbers = a, []
        elif a.kind == "constant" and not np.signbit(a.data[a.data == 0]).any():
            base, numbers = a, []
        else:
            return None
        numbers = [*numbers, last]
        where = [self.constant([place[d] for place, _ in numbers], INT64) for d in range(len(a.shape))]
        updates = self.concat([self.reshape(number, (1,)) for _, number in numbers], 0)
        found = self.scatter(base, updates, where, tuple(("array", d) for d in range(len(a.shape))), "add")
        self._placed[found] = base, numbers
        return found

    def _placed_of(self, x: Node) -> tuple[tuple[int, ...], Node] | None:
        """The place of the one number that an array of zeros holds, and the number."""
        if x.kind != "scatter" or x.attrs[1] != "add" or x.args[1].shape or len(x.args) > 2:
            return None
        zero = self.value_of(x.args[0])
        if zero is None or zero != 0 or np.signbit(zero):
            return None
        return tuple(entry[1] for entry in x.attrs[0]), x.args[1]

    def running(self, function: str, args: Sequence[Node], axis: int, reverse: bool, exclusive: bool) -> Node:
        """function: add or multiply (one argument), or recurrence (factor, term): y = factor · y before + term."""
        x = args[-1]
        return self._make("running", tuple(args), (function, axis, reverse, exclusive), x.shape, x.dtype)

    def loop(self, body: Body, args: Sequence[Node], count: int | None, reverse: bool) -> list[Node]:
        """The nodes of a loop's results, first what is carried. count: None if told at the call."""
        loop = self._make("loop", tuple(args), (count, reverse), (), INT64, body)
        for k, output in enumerate(body.outputs):
            shape = output.shape if k < body.carried else (count or 1, *output.shape)
            part = self._make("part", (loop,), (k,), shape, output.dtype)
            body.parts.append(part if output.means is output.dtype else self.meaning(part, output.means))
        return body.parts


def _place(node: Node) -> tuple[int, int]:
    """Where a node stands among summands and factors: what is spread comes late, and numbers last, made before or not,
    so that loops which compute the same are written the same.
    """
    if node.kind == "view":
        return (2 if node.args[0].kind == "constant" else 1), node.index
    return (2 if node.kind == "constant" else 0), node.index


# -- algebra that holds for every number, NaN and infinities among them --------------------------------------------
# Each rule gives what a map is simplified to, or None: of its arguments, its shape and its dtype.


def _sum(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    if dtype.kind == "f" and _is_negative(args[1]):
        return g.map("subtract", args[0], args[1].args[0])
    return None


def _product(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    for a, b in (args, args[::-1]):
        if b.kind == "map":
            if _is_negative(b) and g.value_of(a) == -1:
                return g.broadcast(b.args[0], shape)
        elif (factor := g.value_of(b)) is not None:
            if factor == 1 and a.dtype == dtype:
                return g.broadcast(a, shape)
            if factor == -1 and dtype.kind == "f":
                return g.broadcast(g.map("negative", a), shape)
    return None


def _quotient(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    x, by = args[0], g.value_of(args[1])
    if by is None:
        return None
    if by == 1 and x.dtype == dtype:
        return g.broadcast(x, shape)
    if dtype.kind == "f" and by != 0 and math.frexp(abs(float(by)))[0] == 0.5 and math.isfinite(1 / float(by)):
        return g.map("multiply", x, g.number(1 / by, dtype))  # exact: a power of two
    return None


def _power(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    x, power = args[0], g.value_of(args[1])
    if power is None or dtype.kind != "f" or x.dtype != dtype:
        return None
    if power == 1:
        return g.broadcast(x, shape)
    if power == 2:
        return g.broadcast(g.map("multiply", x, x), shape)
    return g.broadcast(g.map("divide", g.number(1, dtype), x), shape) if power == -1 else None


def _square(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node:
    return g.map("multiply", args[0], args[0])


def _opposite(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    return args[0].args[0] if _is_negative(args[0]) else None


def _choice(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    condition, a, b = args
    chosen = g.value_of(condition)
    if chosen is not None:
        return g.broadcast(a if chosen else b, shape)
    return g.broadcast(a, shape) if a is b else None


def _conjunction(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    return _decided(g, args, shape, False) if dtype == BOOL else None


def _disjunction(g: Graph, args: tuple[Node, ...], shape: Shape, dtype: Dtype) -> Node | None:
    return _decided(g, args, shape, True) if dtype == BOOL else None


def _decided(g: Graph, args: tuple[Node, ...], shape: Shape, by: bool) -> Node | None:
    """Of two truths, one that is known: it is the result if it decides that, and else the other one is."""
    for a, b in (args, args[::-1]):
        value = g.value_of(b)
        if value is not None and a.dtype == BOOL:
            return g.broadcast(b if value == by else a, shape)
    return None


def _is_negative(x: Node) -> bool:
    """Whether this is the negative of something."""
    return x.kind == "map" and x.attrs[0] == "negative"


_ALGEBRA: Mapping[str, Callable[[Graph, tuple[Node, ...], Shape, Dtype], Node | None]] = {
    "add": _sum,
    "bitwise_and": _conjunction,
    "bitwise_or": _disjunction,
    "divide": _quotient,
    "logical_and": _conjunction,
    "logical_or": _disjunction,
    "multiply": _product,
    "negative": _opposite,
    "pow": _power,
    "square": _square,
    "where": _choice,
}


# -- shapes and numbers --------------------------------------------------------------------------------------------


def _common(shapes: Sequence[Shape]) -> Shape:
    """The shape to which these broadcast."""
    found: Shape = ()
    for shape in shapes:
        if shape and shape != found:
            if found:
                return _broadcast(*shapes)
            found = shape
    return found


_broadcast = lru_cache(maxsize=1024)(np.broadcast_shapes)


@lru_cache(maxsize=1024)
def _rows_of_broadcast(have: Shape, want: Shape) -> Rows:
    """The rows of a view that spreads an array; axes of length 1 count nowhere."""
    extra = len(want) - len(have)
    return tuple(tuple(int(j == d + extra and n != 1) for j in range(len(want))) for d, n in enumerate(have))


@lru_cache(maxsize=1024)
def _rows_of_transpose(axes: tuple[int, ...]) -> Rows:
    """The rows of a view whose axis j is axis axes[j] of what is viewed."""
    place = {axis: j for j, axis in enumerate(axes)}
    return tuple(tuple(int(place[d] == j) for j in range(len(axes))) for d in range(len(axes)))


@lru_cache(maxsize=1024)
def _view_of_view(
    inner_offsets: tuple[int, ...], inner_rows: Rows, offsets: tuple[int, ...], rows: Rows, count: int
) -> tuple[tuple[int, ...], Rows]:
    """Offsets and rows of a view, which has `count` axes, of another view."""
    return (
        tuple(
            o + sum(c * offsets[j] for j, c in enumerate(row)) for o, row in zip(inner_offsets, inner_rows, strict=True)
        ),
        tuple(tuple(sum(c * rows[j][k] for j, c in enumerate(row)) for k in range(count)) for row in inner_rows),
    )


READ = 4096
"""Larger arrays of floating-point numbers are looked at while the graph is made (are all equal?), and not later."""


def is_unread(node: Node) -> bool:
    """Whether the code is the same whatever numbers this constant array holds: it is large and holds no positions."""
    return node.dtype.kind == "f" and node.size > READ


def numbers_in(node: Node) -> Any:
    """The numbers of a constant array, for code that they stand in."""
    assert not is_unread(node), node
    return node.data.reshape(-1)


def part_of(dtype: Dtype) -> Dtype:
    """The dtype of the real and of the imaginary part of a complex number; of others, their own.

    >>> part_of(np.dtype("complex64"))
    dtype('float32')
    """
    return np.empty((), dtype).real.dtype


def _converted(number: Any, dtype: Dtype) -> Any:
    """A known number in another dtype, as machine code converts it: beyond the whole numbers that there are to the
    nearest one, and NaN to 0.
    """
    if dtype.kind in "iu" and number.dtype.kind == "f":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        return 0 if np.isnan(number) else most if number >= most else least if number <= least else int(number)
    return np.asarray(number).astype(dtype)[()]


_TOGETHER = 64
"""How many numbers one scatter takes together."""
_NUMBERS: dict[tuple[Dtype, bytes], Any] = {}
"""One object for equal numbers of one dtype, so that nodes that hold them are found to be equal."""


def _uniform(array: Any) -> bool:
    first, last = array.flat[0], array.flat[-1]
    return (
        array.size <= 1 << 20
        and bool(first == last)
        and bool((array.flat[:: 1 + array.size // 64] == first).all())  # most that are not show it here
        and bool((array == first).all())
        and not (first == 0 and np.signbit(array).any())
    )


@lru_cache(maxsize=1024)
def _split_rows(have: Shape, want: Shape) -> Rows | None:
    """The rows of a view that reshapes by splitting axes and adding or taking away axes of length 1 only."""
    rows: list[tuple[int, ...]] = []
    j = 0
    for length in have:
        row = [0] * len(want)
        if length != 1:
            group = []
            product = 1
            while product < length:
                if j == len(want):
                    return None
                group.append(j)
                product *= want[j]
                j += 1
            if product != length:
                return None
            step = 1
            for axis in reversed(group):
                row[axis] = step
                step *= want[axis]
        rows.append(tuple(row))
    return tuple(rows) if all(n == 1 for n in want[j:]) else None
