"""A graph of arrays opened into one of numbers: each element of each node a node of its own, with the elements that
it was computed from and the local partials by them.

Elementwise ops open as they are. A reduction takes many numbers. What a linear op does is found out by running it:
on the places of its elements instead of the elements, or, where it adds up, on one element at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from backlit.core.errors import GraphError
from backlit.core.numbers import dtype_of, quietly, shape_of
from backlit.core.op import ONE, Attrs, Elementwise, Linear, Special
from backlit.core.value import INACTIVE, Value, describe, inputs_of

Partials = Callable[[int], Sequence[float | None]]
_MOST_PROBES = 20_000_000  # elements computed to find out what one linear op does
_SAME = {"positive": "identity", "astype": "identity", "real": "identity", "conj": "identity"}  # of real numbers
_REDUCTIONS = {"sum", "max", "min", "prod", "logsumexp"}


class Scalars:
    """The numbers of a graph. Number `i` is element `place[i]` of `node[i]`, is `value[i]`, and was computed by `op[i]`
    from the numbers `inputs[i]`. derived: those that stand in no node, but between two.

    known: names of the ops with one rule for a number. Raises GraphError for ops that cannot be opened, and where there
    are more numbers than `limit` (of edges, more than ten times as many). Cost: linear in the numbers and their edges.
    """

    def __init__(self, order: Sequence[Value], known: frozenset[str], limit: int) -> None:
        self.op: list[str] = []
        self.inputs: list[Sequence[int]] = []
        self.value: list[float] = []
        self.node: list[Value] = []
        self.place: list[int] = []
        self.dtype: list[str] = []
        self.derived: set[int] = set()
        self.of: dict[Value, np.ndarray[Any, Any]] = {}  # the numbers of a node, in its shape
        self._blocks: list[tuple[int, Partials]] = []
        self._block_of: list[int] = []
        self._known = known
        self._limit = limit
        self._edges = 0
        computed = sum(_size(node) for node in order if node._op is not None)
        leaves = sum(_size(node) for node in order if node._op is None)
        if computed > limit or leaves > 20 * limit:
            raise self._too_large(f"{computed:,} computed numbers and {leaves:,} given ones")
        for node in order:
            self._open(node)

    def partials(self, number: int) -> Sequence[float | None]:
        """The local partials of a number by its inputs, as the op's own rule gives them; None where nothing flows."""
        start, partials = self._blocks[self._block_of[number]]
        return partials(number - start)

    # -- one node -----------------------------------------------------------------------------------------------

    def _open(self, node: Value) -> None:
        op = node._op
        if dtype_of(node._data).kind == "c":
            raise GraphError(f"{describe(node)} is complex, and a certificate is for real numbers.")
        if op is None:
            self._leaves(node, "variable" if node._grad is not INACTIVE else "constant")
            return
        name = _SAME.get(op.name, op.name)
        real = dtype_of(node._data).kind == "f"
        if isinstance(op, Elementwise) and name in self._known and real:
            self._elementwise(node, op, name)
        elif name in self._known and not isinstance(op, Linear) and not op.differentiable:
            self._add(node, name, self._broadcast(node), _always((None, None)))
        elif name == "identity" and real:
            self._add(node, name, self._broadcast(node), _always((1.0,)))
        elif op.name in _REDUCTIONS and real:
            self._reduction(node)
        elif op.name == "finite_peak":
            self._peak(node)
        elif op.name == "log_softmax":
            self._log_softmax(node)
        elif isinstance(op, Linear) and real:
            self._linear(node, op)
        elif node._grad is INACTIVE:
            self._leaves(node, "given")
        else:
            raise GraphError(
                f"{describe(node)}: a certificate has no rule for the op {op.name!r}. It can be written for graphs of "
                "elementwise functions, sums, products, matrix products, extremes, indexing and reshaping."
            )

    def _elementwise(self, node: Value, op: Elementwise, name: str) -> None:
        attrs = node._extra.attrs
        inputs = self._broadcast(node)
        if name == "gelu":
            name = "gelu_tanh" if attrs.get("approximate") else name
        elif attrs:  # a slope, say: here it is one more input, a constant
            extra = [self._constant(float(each), node) for each in attrs.values()]
            inputs = [(*row, *extra) for row in inputs]
        found: list[Sequence[float | None]] = []

        def partials(element: int) -> Sequence[float | None]:
            if not found:
                found.extend(zip(*(_flat_partial(node, op, i) for i in range(len(op.partials))), strict=True))
            return found[element]

        self._add(node, name, inputs, partials)

    def _reduction(self, node: Value) -> None:
        x, op = node._a, node._op
        assert x is not None
        assert op is not None
        attrs, groups = node._extra.attrs, self._groups(node)
        if not isinstance(op, Special):
            self._add(node, op.name, groups, lambda element: [1.0] * len(groups[element]))
            return
        first = int(self.of[x].flat[0]) if self.of[x].size else 0
        found: list[float] = []

        def partials(element: int) -> Sequence[float | None]:
            if not found:
                ones = np.ones(shape_of(node._data), dtype_of(node._data))
                rule = op.vjps[0]
                assert rule is not None
                slopes = quietly(rule, ones, _strong(node._data), _strong(x._data), **attrs)
                found.extend(np.broadcast_to(slopes, shape_of(x._data)).ravel().tolist())
            slopes = [found[i - first] for i in groups[element]]
            return slopes if op.name not in ("max", "min") else [slope or None for slope in slopes]

        self._add(node, op.name, groups, partials)

    def _peak(self, node: Value) -> None:
        """The largest along axes, as a constant."""
        numbers: list[Sequence[int]] = []
        for group, value in zip(self._groups(node), self._values(node), strict=True):
            numbers.append([self._push(node, "max", group, value, 0, _always([None] * len(group)))])
            self.derived.add(numbers[-1][0])
        self._add(node, "stop_gradient", numbers, _always((None,)))

    def _log_softmax(self, node: Value) -> None:
        """x - logsumexp(x), the latter being a number that the engine does not keep."""
        x = node._a
        assert x is not None
        shares = np.ravel(quietly(np.exp, node._data))  # as its rule has them
        row_of = np.empty(self.of[x].size, np.int64)
        first = int(self.of[x].flat[0]) if self.of[x].size else 0
        for group in self._groups(node):
            numbers = [self.value[i] for i in group]
            peak = max(numbers)
            total = peak + math.log(math.fsum(math.exp(each - peak) for each in numbers))
            of_group = np.asarray(group) - first
            row_of[of_group] = self._push(node, "logsumexp", group, total, 0, _always(shares[of_group].tolist()))
            self.derived.add(len(self.op) - 1)
        inputs = [(first + i, int(row)) for i, row in enumerate(row_of)]
        self._add(node, "subtract", inputs, _always((1.0, -1.0)))

    def _groups(self, node: Value) -> list[list[int]]:
        """For each element of a reduction the numbers that it takes."""
        x = node._a
        assert x is not None
        axes = node._extra.attrs["axis"]
        places = np.moveaxis(self.of[x], axes, range(-len(axes), 0)) if axes else self.of[x][..., None]
        kept = places.shape[: places.ndim - max(1, len(axes))]
        rows: list[list[int]] = places.reshape(math.prod(kept), -1 if places.size else 0).tolist()
        self._count(sum(map(len, rows)), node)
        return rows

    # -- linear ops ----------------------------------------------------------------------------------------------

    def _linear(self, node: Value, op: Linear) -> None:
        inputs = inputs_of(node)
        varying = [i for i in range(len(inputs)) if op.rule(i) is not None]
        run = _Run(node, op, varying)
        if len(varying) == 2 and not op.jointly:
            rows = self._pairs(node, run)
        elif op.jointly or len(varying) == 1:
            rows = self._sums(node, run)
        else:
            raise GraphError(
                f"{describe(node)}: a certificate has no rule for the op {op.name!r} of {len(inputs)} inputs."
            )
        self._count(sum(map(len, rows)), node)
        start = len(self.op)
        values = self._values(node)
        for element, (row, value) in enumerate(zip(rows, values, strict=True)):
            if not row:
                self._push(node, "constant", (), value, element, _always(()))
            elif len(row[0]) == 1:
                ids = [i for (i,) in row]
                ones = [1.0] * len(ids)
                self._push(node, "identity" if len(ids) == 1 else "sum", ids, value, element, _always(ones))
            else:
                ids = [i for pair in row for i in pair]
                others = [self.value[i] for pair in row for i in reversed(pair)]
                self._push(node, "dot", ids, value, element, _always(others))
        self.of[node] = np.arange(start, start + len(rows)).reshape(shape_of(node._data))

    def _sums(self, node: Value, run: _Run) -> list[list[tuple[int, ...]]]:
        """For each element the numbers that a linear op adds up there, as (number,) or (number, coefficient)."""
        ids = np.concatenate([self.of[x].ravel() for x in run.inputs])
        n = len(ids)
        places = run(np.arange(1, n + 1))
        if _is_gather(places, n):
            shuffled = np.random.default_rng(0).permutation(n) + 1
            if np.array_equal(run(shuffled), np.concatenate(([0], shuffled))[places.astype(np.int64)]):
                return [[(int(ids[p - 1]),)] if p else [] for p in places.astype(np.int64).tolist()]
        self._affordable(n * len(places), node)
        rows: list[list[tuple[int, ...]]] = [[] for _ in places]
        coefficients: dict[float, int] = {}
        for i in range(n):
            column = run(_unit(n, i))
            for j in np.flatnonzero(column).tolist():
                rows[j].append((int(ids[i]), column[j]))
        if all(coefficient == 1.0 for row in rows for _, coefficient in row):
            return [[(i,) for i, _ in row] for row in rows]
        for row in rows:
            for k, (i, coefficient) in enumerate(row):
                if coefficient not in coefficients:
                    coefficients[coefficient] = self._constant(float(coefficient), node)
                row[k] = (i, coefficients[coefficient])
        return rows

    def _pairs(self, node: Value, run: _Run) -> list[list[tuple[int, ...]]]:
        """For each element the pairs of numbers whose products an op linear in two arguments adds up there."""
        first, second = (self.of[x].ravel() for x in run.inputs)
        swapped = len(first) > len(second)
        small, large = (second, first) if swapped else (first, second)
        m, n = len(small), len(large)
        size = _size(node)
        self._affordable(2 * m * size, node)
        rows: list[list[tuple[int, ...]]] = [[] for _ in range(size)]
        shuffled = np.random.default_rng(0).permutation(n) + 1
        for i in range(m):
            unit = _unit(m, i)
            places = run(*_swap(unit, np.arange(1, n + 1), swapped))
            found = np.flatnonzero(places).tolist()
            check = run(*_swap(unit, shuffled, swapped))
            if not _is_gather(places, n) or not np.array_equal(
                check, np.concatenate(([0], shuffled))[places.astype(np.int64)]
            ):
                raise GraphError(f"{describe(node)}: a certificate has no rule for such a product.")
            self._edges += 2 * len(found)
            self._count(0, node)
            for j in found:
                other = int(large[int(places[j]) - 1])
                rows[j].append((other, int(small[i])) if swapped else (int(small[i]), other))
        self._edges -= 2 * sum(map(len, rows))  # they are counted again, all at once
        return rows

    # -- adding numbers ------------------------------------------------------------------------------------------

    def _leaves(self, node: Value, op: str) -> None:
        self._add(node, op, [()] * _size(node), _always(()))

    def _add(self, node: Value, op: str, inputs: Sequence[Sequence[int]], partials: Partials) -> None:
        self._count(sum(map(len, inputs)), node)
        start = len(self.op)
        size = len(inputs)
        self.op += [op] * size
        self.inputs += inputs
        self.value += self._values(node)
        self.node += [node] * size
        self.place += range(size)
        self.dtype += [_float_dtype(node)] * size
        self._block_of += [len(self._blocks)] * size
        self._blocks.append((start, partials))
        self.of[node] = np.arange(start, start + size).reshape(shape_of(node._data))

    def _push(self, node: Value, op: str, inputs: Sequence[int], value: float, place: int, partials: Partials) -> int:
        self.op.append(op)
        self.inputs.append(inputs)
        self.value.append(value)
        self.node.append(node)
        self.place.append(place)
        self.dtype.append(_float_dtype(node))
        self._block_of.append(len(self._blocks))
        self._blocks.append((len(self.op) - 1, partials))
        return len(self.op) - 1

    def _constant(self, value: float, node: Value) -> int:
        return self._push(node, "constant", (), value, 0, _always(()))

    def _values(self, node: Value) -> list[float]:
        return np.asarray(node._data, np.float64).ravel().tolist()

    def _broadcast(self, node: Value) -> list[Sequence[int]]:
        """For each element of an elementwise result the numbers of its inputs."""
        shape = shape_of(node._data)
        columns = [np.broadcast_to(self.of[x], shape).ravel().tolist() for x in inputs_of(node)]
        return list(zip(*columns, strict=True))

    def _count(self, edges: int, node: Value) -> None:
        self._edges += edges
        if self._edges > 10 * self._limit:
            raise self._too_large(f"more than {10 * self._limit:,} edges (at {describe(node)})")

    def _affordable(self, probes: int, node: Value) -> None:
        if probes > _MOST_PROBES:
            raise self._too_large(f"too many numbers in {describe(node)}")

    def _too_large(self, what: str) -> GraphError:
        return GraphError(
            f"a certificate tells every number by itself, and this graph has {what}; the limit is {self._limit:,} "
            "computed numbers. Certify a smaller batch or a smaller net, or raise `limit`."
        )


class _Run:
    """A linear op on other numbers in place of those of its varying inputs, given and got as flat arrays."""

    def __init__(self, node: Value, op: Linear, varying: Sequence[int]) -> None:
        self.inputs = [inputs_of(node)[i] for i in varying]
        self._op, self._varying = op, varying
        self._datas = [x._data for x in inputs_of(node)]
        self._attrs: Attrs = {name: value for name, value in node._extra.attrs.items() if name != "dtype"}
        ends = np.cumsum([0, *(_size(x) for x in self.inputs)]).tolist()
        self._parts = [slice(a, b) for a, b in pairwise(ends)]

    def __call__(self, *flat: Any) -> np.ndarray[Any, Any]:
        """flat: an array for each input, or one for all of them together."""
        pieces = [flat[0][part] for part in self._parts] if len(flat) == 1 else flat
        datas = list(self._datas)
        for i, x, piece in zip(self._varying, self.inputs, pieces, strict=True):
            datas[i] = np.asarray(piece, np.float64).reshape(shape_of(x._data))
        found: Any = quietly(self._op.evaluate, *datas, **self._attrs)
        return np.asarray(found, np.float64).ravel()


def _size(node: Value) -> int:
    return math.prod(shape_of(node._data))


def _strong(data: Any) -> Any:
    return np.float64(data) if type(data) is float else data


def _float_dtype(node: Value) -> str:
    dtype = dtype_of(node._data)
    return dtype.name if dtype.kind == "f" else "float64"


def _unit(n: int, i: int) -> np.ndarray[Any, Any]:
    e = np.zeros(n)
    e[i] = 1.0
    return e


def _swap(a: Any, b: Any, swapped: bool) -> tuple[Any, Any]:
    return (b, a) if swapped else (a, b)


def _is_gather(places: np.ndarray[Any, Any], n: int) -> bool:
    """Whether these may be places from 1 to n, or 0 for none."""
    return bool(np.all((places >= 0) & (places <= n) & (places == np.floor(places))))


def _flat_partial(node: Value, op: Elementwise, index: int) -> list[float | None]:
    """The partial of each element by one input, from the op's own rule."""
    rule, shape = op.partials[index], shape_of(node._data)
    size = _size(node)
    if rule is None:
        return [None] * size
    if rule is ONE:
        return [1.0] * size
    y, xs, attrs = node._data, [x._data for x in inputs_of(node)], node._extra.attrs
    try:
        found = quietly(rule, y, *xs, **attrs)
    except (ArithmeticError, ValueError):  # Python's floats raise where IEEE 754 has an answer
        found = quietly(rule, _strong(y), *map(_strong, xs), **attrs)
    flat: list[float | None] = [*np.broadcast_to(np.asarray(found, np.float64), shape).ravel().tolist()]
    return [slope or None for slope in flat] if op.selects else flat


def _always(partials: Sequence[float | None]) -> Partials:
    return lambda _: partials
