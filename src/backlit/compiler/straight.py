"""Tiny graphs as one straight line of code: every element of every node is a value in a register."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from backlit.compiler.ir import Node
from backlit.compiler.scalars import COST, MATH, Code, apply, literal, register, stored
from backlit.compiler.schedule import row_major
from backlit.core.numbers import Shape

LIMIT = 4000
"""About how many instructions may stand in one line of code."""
MANY = 16
"""From so many elements on, a long function is computed by a loop."""
_TURNS = 8  # which has a multiple of so many turns, so that vectors are full
_KINDS = frozenset({"input", "constant", "iota", "map", "view", "reshape", "reduce", "pick", "matmul", "pad", "concat"})

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
        elif node.kind in ("input", "constant"):
            if node.size > 512:
                return False
            total += node.size
        if total > LIMIT or node.size > 4 * LIMIT:
            return False
    return True


def positions(shape: Shape) -> Iterable[tuple[int, ...]]:
    return itertools.product(*(range(n) for n in shape))


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
    if node.attrs[0] in MATH and node.size >= MANY and all(dtype == node.dtype for dtype in dtypes):
        return _map_by_loop(s, node, columns)
    return [s.apply(node.attrs[0], list(args), dtypes, node.dtype) for args in zip(*columns, strict=True)]


def _map_by_loop(s: Straight, node: Node, columns: Sequence[Sequence[str]]) -> list[str]:
    """A long function of many elements, by a loop over memory. LLVM makes vectors of that at once; in a straight line
    it would have to find out, among thousands of instructions, which ones are alike.
    """
    rows = list(dict.fromkeys(zip(*columns, strict=True)))
    turns = -(-len(rows) // _TURNS) * _TURNS
    kind, size = stored(node.dtype), node.dtype.itemsize
    code = s.code
    rooms = [code.fresh("room") for _ in columns]
    code.rooms += [f"  {room} = alloca [{turns} x {kind}], align 64" for room in rooms]

    def place(room: str, j: int) -> str:
        return code.let(f"getelementptr inbounds {kind}, ptr {room}, i64 {j}", "a") if j else room

    for j in range(turns):
        for room, value in zip(rooms, rows[min(j, len(rows) - 1)], strict=True):
            code.put(f"  store {kind} {value}, ptr {place(room, j)}, align {size}")
    name = _loop_of(code, node.attrs[0], len(columns), turns, node.dtype)
    code.put(f"  call void @{name}({', '.join(f'ptr {room}' for room in rooms)})")
    found = {row: code.let(f"load {kind}, ptr {place(rooms[0], j)}, align {size}") for j, row in enumerate(rows)}
    return [found[row] for row in zip(*columns, strict=True)]


def _loop_of(code: Code, function: str, count: int, turns: int, dtype: Any) -> str:
    """A function beside this code: a map, so many turns, of numbers that stand in memory, over the first of them."""
    kind = stored(dtype)
    name = f"{function}.{kind}.{turns}"
    inner = Code()
    inner.put("  br label %head\nhead:\n  %i = phi i64 [0, %entry], [%after, %head]")
    places = [inner.let(f"getelementptr inbounds {kind}, ptr %p{k}, i64 %i") for k in range(count)]
    args = [inner.let(f"load {kind}, ptr {place}, align {dtype.itemsize}") for place in places]
    value = apply(inner, function, args, [dtype] * count, dtype)
    inner.put(f"  store {kind} {value}, ptr {places[0]}, align {dtype.itemsize}")
    inner.put(f"  %after = add nuw nsw i64 %i, 1\n  %more = icmp ult i64 %after, {turns}")
    inner.put("  br i1 %more, label %head, label %end\nend:")
    code.beside[name] = inner.function(", ".join(f"ptr noalias %p{k}" for k in range(count)), name)
    code.math |= inner.math
    code.declared |= inner.declared
    return name


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
}
