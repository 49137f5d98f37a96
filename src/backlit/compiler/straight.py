"""Tiny graphs as one straight line of code: every element of every node is a value in a register."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from operator import mul
from typing import Any

import numpy as np

from backlit.compiler import vector_math
from backlit.compiler.ir import Node
from backlit.compiler.scalars import COST, Code, apply, literal, register, stored
from backlit.compiler.schedule import row_major
from backlit.core.numbers import Shape

LIMIT = 4000
"""About how many instructions may stand in one line of code."""
MANY = 16
"""From so many elements on, a long function is computed by vectors."""
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
        if node.kind not in _KINDS or node.dtype.name == "float16":
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
            if node.size > 512:
                return False
            total += node.size
        if total > LIMIT or node.size > 4 * LIMIT:
            return False
    return True


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

    def __init__(self, code: Code) -> None:
        self.code = code
        self.elements: Elements = {}
        self._done: dict[Any, str] = {}

    def load(self, node: Node, pointer: str) -> None:
        """The elements of a node that stands in memory."""
        kind = stored(node.dtype)
        names = []
        for k in range(node.size):
            at = self.code.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {k}", "a") if k else pointer
            name = self.code.let(f"load {kind}, ptr {at}, align {node.dtype.itemsize}")
            names.append(self.code.let(f"trunc i8 {name} to i1") if node.dtype.kind == "b" else name)
        self.elements[node] = names

    def store(self, node: Node, pointer: str) -> None:
        kind = stored(node.dtype)
        for k, value in enumerate(self.elements[node]):
            at = self.code.let(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {k}", "a") if k else pointer
            if node.dtype.kind == "b":
                value = self.code.let(f"zext i1 {value} to i8")
            self.code.put(f"  store {kind} {value}, ptr {at}, align {node.dtype.itemsize}")

    def compute(self, order: Iterable[Node]) -> None:
        """All elements of nodes, in topological order, but of those that are known."""
        for node in order:
            if node not in self.elements:
                self.elements[node] = _KIND[node.kind](self, node)

    def apply(self, function: str, args: Sequence[str], dtypes: Sequence[Any], dtype: Any) -> str:
        """A scalar function; the same one of the same values is computed once."""
        key = (function, tuple(args), dtypes[0], dtype)
        found = self._done.get(key)
        if found is None:
            found = self._done[key] = apply(self.code, function, args, dtypes, dtype)
        return found


def _constant(s: Straight, node: Node) -> list[str]:
    if not node.shape:
        return [literal(node.data, node.dtype)]
    return [literal(x, node.dtype) for x in node.data.reshape(-1)]


def _iota(s: Straight, node: Node) -> list[str]:
    return [literal(at[node.attrs[0]], node.dtype) for at in positions(node.shape)]


def _map(s: Straight, node: Node) -> list[str]:
    columns = [s.elements[a] for a in node.args]
    dtypes = [a.dtype for a in node.args]
    function, kind = node.attrs[0], register(node.dtype)
    wide = vector_math.of_vectors(function, kind) if node.size >= MANY else None
    if wide is not None and all(dtype == node.dtype for dtype in dtypes):
        return _map_of_vectors(s.code, function, kind, wide, columns)
    return [s.apply(function, list(args), dtypes, node.dtype) for args in zip(*columns, strict=True)]


def _map_of_vectors(code: Code, function: str, kind: str, wide: str, columns: Sequence[Sequence[str]]) -> list[str]:
    """A long function of many elements, by vectors: in single numbers LLVM would have to find out, among thousands of
    instructions, which ones are alike.
    """
    rows = list(dict.fromkeys(zip(*columns, strict=True)))
    lanes = vector_math.LANES[kind]
    code.math.add((function, wide))
    found: dict[tuple[str, ...], str] = {}
    for start in range(0, len(rows), lanes):
        group = rows[start : start + lanes]
        args = []
        for column in zip(*group, strict=True):
            vector = "poison"
            for j, value in enumerate(column):
                vector = code.let(f"insertelement {wide} {vector}, {kind} {value}, i64 {j}")
            args.append(f"{wide} {vector}")
        result = code.let(f"call {wide} {vector_math.symbol(function, wide)}({', '.join(args)})")
        found.update((row, code.let(f"extractelement {wide} {result}, i64 {j}")) for j, row in enumerate(group))
    return [found[row] for row in zip(*columns, strict=True)]


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
    groups: dict[tuple[int, ...], list[str]] = {}
    for at, value in zip(positions(x.shape), s.elements[x], strict=True):
        groups.setdefault(tuple(i for d, i in enumerate(at) if d not in axes), []).append(value)
    name = {"or": "bitwise_or", "and": "bitwise_and"}.get(function, function)
    results = []
    for at in positions(node.shape):
        terms = groups.get(at, [])
        if not terms:
            terms = [literal({"add": 0, "multiply": 1, "or": False, "and": True}[function], node.dtype)]
        while len(terms) > 1:
            pairs = [s.apply(name, terms[k : k + 2], [x.dtype] * 2, x.dtype) for k in range(0, len(terms) - 1, 2)]
            terms = pairs + terms[len(terms) - len(terms) % 2 :]
        results.append(terms[0])
    return results


def _pick(s: Straight, node: Node) -> list[str]:
    (x,) = node.args
    function, axis = node.attrs
    code, kind = s.code, register(x.dtype)
    groups: dict[tuple[int, ...], list[str]] = {}
    for at, value in zip(positions(x.shape), s.elements[x], strict=True):
        groups.setdefault((*at[:axis], *at[axis + 1 :]), []).append(value)
    results = []
    for at in positions(node.shape):
        best, where = groups[at][0], "0"
        for k, value in enumerate(groups[at][1:], 1):
            name = "greater" if function == "maximum" else "less"
            wins = apply(code, name, [value, best], [x.dtype] * 2, np.dtype(bool))
            if x.dtype.kind == "f":
                bad = code.let(f"fcmp uno {kind} {value}, {value}")
                fine = code.let(f"fcmp ord {kind} {best}, {best}")
                wins = code.let(f"and i1 {code.let(f'or i1 {wins}, {bad}')}, {fine}")
            best = code.let(f"select i1 {wins}, {kind} {value}, {kind} {best}")
            where = code.let(f"select i1 {wins}, i64 {k}, i64 {where}")
        results.append(where)
    return results


def _matmul(s: Straight, node: Node) -> list[str]:
    a, b = node.args
    m, k = a.shape[-2:]
    n = b.shape[-1]
    left, right = s.elements[a], s.elements[b]
    kind = register(node.dtype)
    results = []
    for lead in range(math.prod(node.shape[:-2])):
        for i in range(m):
            for j in range(n):
                total: str | None = None
                for p in range(k):
                    x, y = left[(lead * m + i) * k + p], right[(lead * k + p) * n + j]
                    if total is None:
                        total = s.apply("multiply", [x, y], [node.dtype] * 2, node.dtype)
                    else:
                        total = s.code.call("fma", kind, x, y, total)
                results.append(total or literal(0, node.dtype))
    return results


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
