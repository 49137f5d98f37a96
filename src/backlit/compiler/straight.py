"""Tiny graphs as one straight line of code: every element of every node is a value in a register.

Elements that are treated alike stand in the lanes of vectors (`lanes.py`), which is decided node by node, by what is
less to do. So LLVM does not have to find out, among thousands of instructions, which ones are alike.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import mul
from typing import Any, NamedTuple

import numpy as np

from backlit.compiler.ir import Dtype, Node, numbers_in
from backlit.compiler.lanes import Lanes
from backlit.compiler.scalars import (
    COST,
    HALF,
    STRAIGHT,
    Code,
    apply,
    apply_to_vectors,
    beats,
    by_vectors,
    literal,
    register,
    stored,
)
from backlit.compiler.schedule import LEAVES, row_major
from backlit.compiler.target import Target
from backlit.compiler.vector_math import LANES
from backlit.core.numbers import Shape

LIMIT = 4000
"""About how many instructions may stand in one line of code."""
READ = 512
"""More elements are not read one by one."""
LEAST = 4
"""From so many elements on, what is alike may be computed by vectors."""
ASTRAY = 3
"""How much more vectors are taken to cost that lie along an axis of a length which less of the graph has."""
ALONE = 1.5
"""How much more a number alone is taken to cost than a vector: it may have to go into one later."""
OFTEN = 4
"""A function that a line calls so often stays a function."""
_KINDS = frozenset(
    {
        "input",
        "constant",
        "iota",
        "map",
        "view",
        "reshape",
        "reduce",
        "pick",
        "matmul",
        "pad",
        "concat",
        "scatter",
    }
)

Elements = dict[Node, list[str]]


def is_small(order: Iterable[Node]) -> bool:
    """Whether these nodes are few enough, and of kinds that need no loops."""
    total = 0
    for node in order:
        if node.kind not in _KINDS or node.dtype == HALF:
            return False
        if node.kind == "map":
            total += node.size * COST.get(node.attrs[0], 1)
        elif node.kind == "matmul":
            total += 2 * node.size * node.args[0].shape[-1]
        elif node.kind in ("reduce", "pick"):
            total += 2 * node.args[0].size
        elif node.kind == "scatter":
            if targets(node) is None:
                return False
            total += node.args[1].size
        elif node.kind in ("input", "constant"):
            if node.size > READ:
                return False
            total += node.size
        if total > LIMIT or node.size > 4 * LIMIT:
            return False
    return True


def function(code: Code, begin: Sequence[str]) -> str:
    """Straight code as a function that a block calls. begin: the lines by which it finds what it is given."""
    return code.work(begin, STRAIGHT, often=OFTEN)


def stages(order: Sequence[Node]) -> dict[Node, int] | None:
    """Of a graph with loops: how many loops follow one another before a node can be computed. None if there is no
    loop, or what stands around the loops is not small.
    """
    if all(node.kind != "loop" for node in order):
        return None
    found: dict[Node, int] = {}
    for node in order:
        found[node] = max((found[arg] for arg in node.args), default=0) + (node.kind == "part")
    around = [node for node in order if node.kind not in LEAVES and node.kind not in ("loop", "part")]
    read = {arg for node in around for arg in node.args if arg.kind in LEAVES or arg.kind == "part"}
    if any(node.size > READ for node in read):
        return None
    return found if is_small(around) else None


def positions(shape: Shape) -> Iterable[tuple[int, ...]]:
    return itertools.product(*(range(n) for n in shape))


def targets(node: Node) -> list[int] | None:
    """Which element of the result each update of a scatter goes to; None where that is not known beforehand, or the
    position is outside.
    """
    base, updates, *arrays = node.args
    found = [0] * updates.size
    for entry, stride, length in zip(node.attrs[0], row_major(base.shape), base.shape, strict=True):
        if entry[0] == "affine":
            places = [entry[1] + sum(map(mul, entry[2], at)) for at in positions(updates.shape)]
        else:
            given = arrays[entry[1]]
            given = given.args[0] if given.kind == "view" and not given.args[0].shape else given
            if given.kind != "constant":
                return None
            places = np.broadcast_to(given.data, updates.shape).ravel().tolist()
            if not all(-length <= place < length for place in places):
                return None
        found = [to + place % length * stride for to, place in zip(found, places, strict=True)]
    return found


class Straight:
    """Writes nodes in order, each element once."""

    def __init__(self, code: Code, target: Target) -> None:
        self.code, self.target = code, target
        self.elements: Elements = {}
        self.lanes = Lanes(code)
        self._done: dict[Any, Any] = {}
        self._along: Counter[int] = Counter()  # by length of an axis, about how much is to do in nodes that have it

    def _most(self, kind: str) -> int:
        """How many numbers of a type stand in one vector, at most; 0 if they never do."""
        return max(LEAST, self.target.lanes(kind)) if kind in LANES else 0

    def load(self, node: Node, pointer: str) -> None:
        """The elements of a node that stands in memory."""
        kind = stored(node.dtype)
        names = []
        for k in range(node.size):
            at = self.code.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {k}", "a") if k else pointer
            name = self.code.let(f"load {kind}, ptr {at}, align {node.dtype.itemsize}")
            names.append(self.code.let(f"trunc i8 {name} to i1") if node.dtype.kind == "b" else name)
        self.elements[node] = names
        most = self._most(kind)
        if most and node.size >= LEAST:
            self._load_vectors(kind, names, most, pointer, node.dtype.itemsize)

    def _load_vectors(self, kind: str, names: Sequence[str], most: int, pointer: str, itemsize: int) -> None:
        """What lies side by side as vectors, too; what nobody asks for LLVM leaves out."""
        lanes = _lanes(len(names), most)
        for k in range(0, len(names), lanes):
            part = tuple(names[k : k + lanes])
            if len(part) < LEAST:
                break
            at = self.code.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {k}", "a") if k else pointer
            vector = self.code.let(f"load <{len(part)} x {kind}>, ptr {at}, align {itemsize}")
            if len(part) < lanes:
                vector = self.lanes.shuffled([vector], f"<{len(part)} x {kind}>", range(len(part)), lanes)
            self.lanes.beside(vector, kind, part, lanes)

    def _way(self, node: Node) -> Way:
        """How the elements of a state stand in registers from turn to turn."""
        most = self._most(register(node.dtype))
        if most and node.size >= LEAST:
            return _ways(node.shape, most)[-1]
        return Way(node.size, 1, [(k,) for k in range(node.size)])

    def carry(self, node: Node) -> list[tuple[str, str]]:
        """Names for the elements of a state that is handed on from turn to turn. Gives the registers in which they are
        handed on: a name, and a type.
        """
        kind = register(node.dtype)
        way = self._way(node)
        found: list[tuple[str, str]] = []
        elements = self.elements[node] = [""] * node.size
        for group in way.groups:
            name = self.code.fresh("s")
            names = [name] if way.lanes == 1 else self.lanes.parted(name, kind, way.lanes, len(group))
            for k, element in zip(group, names, strict=True):
                elements[k] = element
            found.append((name, kind if way.lanes == 1 else f"<{way.lanes} x {kind}>"))
        return found

    def registers(self, node: Node, elements: Sequence[str]) -> list[str]:
        """These elements of a state in registers as `carry` chose them."""
        kind = register(node.dtype)
        way = self._way(node)
        if way.lanes == 1:
            return [self.lanes.alone(element) for element in elements]
        return [self.lanes.together(tuple([elements[k] for k in group]), kind, way.lanes) for group in way.groups]

    def store(self, node: Node, pointer: str) -> None:
        kind = stored(node.dtype)
        for k, value in enumerate(map(self.lanes.alone, self.elements[node])):
            at = self.code.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {k}", "a") if k else pointer
            if node.dtype.kind == "b":
                value = self.code.let(f"zext i1 {value} to i8")
            self.code.put(f"  store {kind} {value}, ptr {at}, align {node.dtype.itemsize}")

    def compute(self, order: Iterable[Node]) -> None:
        """All elements of nodes, in topological order, but of those that are known."""
        order = list(order)
        for node in order:
            for length in {*node.shape}:
                self._along[length] += node.size * COST.get(node.attrs[0], 1) if node.kind == "map" else node.size
        for node in order:
            if node not in self.elements:
                self.elements[node] = _KIND[node.kind](self, node)

    def apply(self, function: str, args: Sequence[str], dtypes: Sequence[Dtype], dtype: Dtype) -> str:
        """A scalar function; the same one of the same values is computed once."""
        key = (function, tuple(args), dtypes[0], dtype)
        found = self._done.get(key)
        if found is None:
            found = self._done[key] = self._applied(function, args, dtypes, dtype)
        return found

    def _applied(self, function: str, args: Sequence[str], dtypes: Sequence[Dtype], dtype: Dtype) -> str:
        simpler, columns = _without_ones(function, [(x,) for x in args])
        if simpler != function:
            return self.apply(simpler, [x for (x,) in columns], dtypes, dtype) if simpler else columns[0][0]
        return apply(self.code, function, [self.lanes.alone(x) for x in args], dtypes, dtype)

    def apply_all(
        self, function: str, columns: Sequence[Sequence[str]], dtypes: Sequence[Dtype], dtype: Dtype, shape: Shape
    ) -> list[str]:
        """A scalar function of all elements: by vectors where it is less to do. columns: for each argument, one element
        for each of the result, whose shape is given.
        """
        rows = list(zip(*columns, strict=True))
        number = dtypes[-1]
        most = self._most(register(number))
        if (
            len(rows) >= LEAST
            and all(d == number for d in dtypes[function == "where" :])
            and by_vectors(function, number, most)
        ):
            cost = COST.get(function, 1)
            best, chosen = self._price_alone(rows, cost), None
            ways = _ways(shape, most)
            shared = max(self._along[way.length] for way in ways)
            for way in ways:
                registers = max(1, way.lanes * number.itemsize // self.target.lanes_bytes)
                price = self._price_together(rows, way, cost * registers)
                price *= 1 if self._along[way.length] == shared else ASTRAY
                if price <= best:
                    best, chosen = price, way
            if chosen is not None:
                return self._by_vectors(function, rows, dtypes, dtype, chosen)
        return [self.apply(function, row, dtypes, dtype) for row in rows]

    # Prices are counted in simple instructions. Which way is chosen decides how fast the code is, never what it gives.

    def _price_alone(self, rows: Sequence[tuple[str, ...]], cost: int) -> float:
        distinct = set(rows)
        return ALONE * cost * len(distinct) + sum(not self.lanes.is_alone(x) for x in set(itertools.chain(*distinct)))

    def _price_together(self, rows: Sequence[tuple[str, ...]], way: Way, cost: int) -> float:
        inside = {tuple([rows[k] for k in group]) for group in way.groups}
        columns = {column for rows in inside if rows.count(rows[0]) < len(rows) for column in zip(*rows, strict=True)}
        return cost * len(inside) + sum(self.lanes.price(column, way.lanes) for column in columns)

    def _by_vectors(
        self,
        function: str,
        rows: Sequence[tuple[str, ...]],
        dtypes: Sequence[Dtype],
        dtype: Dtype,
        way: Way,
    ) -> list[str]:
        """A function of rows of arguments, each group in one vector."""
        found = [""] * len(rows)
        for group in way.groups:
            inside = tuple(rows[k] for k in group)
            if inside.count(inside[0]) == len(inside):
                elements = [self.apply(function, inside[0], dtypes, dtype)] * len(inside)
            else:
                key = (function, inside, dtypes[0], dtype)
                if key not in self._done:
                    self._done[key] = self._vector(function, inside, dtypes, dtype, way.lanes)
                elements = self._done[key]
            for k, element in zip(group, elements, strict=True):
                found[k] = element
        return found

    def _vector(
        self, function: str, rows: Sequence[tuple[str, ...]], dtypes: Sequence[Dtype], dtype: Dtype, lanes: int
    ) -> Sequence[str]:
        """The elements of one vector."""
        function, columns = _without_ones(function, list(zip(*rows, strict=True)))
        if not function:
            return columns[0]
        args = [self.lanes.together(column, register(d), lanes) for column, d in zip(columns, dtypes, strict=False)]
        vector = apply_to_vectors(self.code, function, args, dtypes[-1], lanes)
        return self.lanes.parted(vector, register(dtype), lanes, len(rows))


_ONE = literal(1.0, np.dtype(float))


def _without_ones(function: str, columns: Sequence[tuple[str, ...]]) -> tuple[str, Sequence[tuple[str, ...]]]:
    """A simpler function, where all of a column are 1: x · 1 + y is x + y, and x · 1 is x, which is no function."""
    if function in ("multiply", "fma"):
        for x, y in (columns[:2], columns[1::-1]):
            if set(y) == {_ONE}:
                return ("add", [x, columns[2]]) if function == "fma" else ("", [x])
    return function, columns


class Way(NamedTuple):
    """A way to part the elements of an array into vectors: along axes of a length, so many lanes each.

    groups: which elements stand in the lanes of each vector; they may not fill it.
    """

    length: int
    lanes: int
    groups: list[tuple[int, ...]]


def _lanes(count: int, most: int) -> int:
    """How many lanes the vectors have in which so many elements stand."""
    return min(most, 1 << (count - 1).bit_length())


@cache
def _ways(shape: Shape, most: int) -> list[Way]:
    """Ways to part the elements of an array into vectors: along each long axis, or in their order if there is none."""
    found = []
    whole = math.prod(shape)
    long = [(n, stride) for n, stride in zip(shape, row_major(shape), strict=True) if n >= LEAST]
    for length, stride in long or [(whole, 1)]:
        lanes = _lanes(length, most)
        groups = []
        for start in range(whole):
            if start // stride % length == 0:
                line = range(start, start + length * stride, stride)
                groups += [tuple(line[k : k + lanes]) for k in range(0, length, lanes)]
        found.append(Way(length, lanes, groups))
    return found


def _constant(s: Straight, node: Node) -> list[str]:
    if not node.shape:
        return [literal(node.data, node.dtype)]
    return [literal(x, node.dtype) for x in numbers_in(node)]


def _iota(s: Straight, node: Node) -> list[str]:
    return [literal(at[node.attrs[0]], node.dtype) for at in positions(node.shape)]


def _map(s: Straight, node: Node) -> list[str]:
    columns = [s.elements[a] for a in node.args]
    return s.apply_all(node.attrs[0], columns, [a.dtype for a in node.args], node.dtype, node.shape)


def _view(s: Straight, node: Node) -> list[str]:
    offsets, rows = node.attrs
    inner = s.elements[node.args[0]]
    strides = row_major(node.args[0].shape)
    start = sum(o * t for o, t in zip(offsets, strides, strict=True))
    steps = [sum(row[j] * t for row, t in zip(rows, strides, strict=True)) for j in range(len(node.shape))]
    return [inner[start + sum(i * t for i, t in zip(at, steps, strict=True))] for at in positions(node.shape)]


def _reduce(s: Straight, node: Node) -> list[str]:
    """By pairs, so that the chain of additions is short."""
    (x,) = node.args
    function, axes = node.attrs
    if not x.size:
        return [literal({"add": 0, "multiply": 1, "or": False, "and": True}[function], node.dtype)] * node.size
    groups: dict[tuple[int, ...], list[str]] = {}
    for at, value in zip(positions(x.shape), s.elements[x], strict=True):
        groups.setdefault(tuple(i for d, i in enumerate(at) if d not in axes), []).append(value)
    name = {"or": "bitwise_or", "and": "bitwise_and"}.get(function, function)
    terms: list[Sequence[str]] = list(zip(*(groups[at] for at in positions(node.shape)), strict=True))
    while len(terms) > 1:
        pairs = [
            s.apply_all(name, terms[k : k + 2], [x.dtype] * 2, x.dtype, node.shape) for k in range(0, len(terms) - 1, 2)
        ]
        terms = pairs + terms[len(terms) - len(terms) % 2 :]
    return list(terms[0])


def _pick(s: Straight, node: Node) -> list[str]:
    (x,) = node.args
    function, axis = node.attrs
    code, kind = s.code, register(x.dtype)
    groups: dict[tuple[int, ...], list[str]] = {}
    for at, value in zip(positions(x.shape), s.elements[x], strict=True):
        groups.setdefault((*at[:axis], *at[axis + 1 :]), []).append(s.lanes.alone(value))
    results = []
    for at in positions(node.shape):
        best, where = groups[at][0], "0"
        for k, value in enumerate(groups[at][1:], 1):
            wins = beats(code, function, value, best, x.dtype)
            best = code.let(f"select i1 {wins}, {kind} {value}, {kind} {best}")
            where = code.let(f"select i1 {wins}, i64 {k}, i64 {where}")
        results.append(where)
    return results


def _matmul(s: Straight, node: Node) -> list[str]:
    a, b = node.args
    m, k = a.shape[-2:]
    n = b.shape[-1]
    left, right = s.elements[a], s.elements[b]
    leads = range(math.prod(node.shape[:-2]))
    places = [(lead * m + i, lead * k, j) for lead in leads for i in range(m) for j in range(n)]
    total = [literal(0, node.dtype)] * node.size
    for p in range(k):
        x = [left[row * k + p] for row, _, _ in places]
        y = [right[(first + p) * n + j] for _, first, j in places]
        function, columns = ("fma", [x, y, total]) if p else ("multiply", [x, y])
        total = s.apply_all(function, columns, [node.dtype] * len(columns), node.dtype, node.shape)
    return total


def _pad(s: Straight, node: Node) -> list[str]:
    x, fill = node.args
    (before,) = node.attrs
    inner = dict(zip(positions(x.shape), s.elements[x], strict=True))
    outside = s.elements[fill][0]
    return [inner.get(tuple(i - b for i, b in zip(at, before, strict=True)), outside) for at in positions(node.shape)]


def _scatter(s: Straight, node: Node) -> list[str]:
    base, updates = node.args[:2]
    places = targets(node)
    assert places is not None
    found = list(s.elements[base])
    for place, value in zip(places, s.elements[updates], strict=True):
        adds = node.attrs[1] == "add"
        found[place] = s.apply("add", [found[place], value], [node.dtype] * 2, node.dtype) if adds else value
    return found


def _concat(s: Straight, node: Node) -> list[str]:
    (axis,) = node.attrs
    found: dict[tuple[int, ...], str] = {}
    start = 0
    for x in node.args:
        for at, value in zip(positions(x.shape), s.elements[x], strict=True):
            found[(*at[:axis], at[axis] + start, *at[axis + 1 :])] = value
        start += x.shape[axis]
    return [found[at] for at in positions(node.shape)]


_KIND: dict[str, Callable[[Straight, Node], list[str]]] = {
    "constant": _constant,
    "iota": _iota,
    "map": _map,
    "view": _view,
    "reshape": lambda s, node: s.elements[node.args[0]],
    "reduce": _reduce,
    "pick": _pick,
    "matmul": _matmul,
    "pad": _pad,
    "concat": _concat,
    "scatter": _scatter,
}
