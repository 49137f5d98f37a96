"""Graphs of single numbers as a table: a row for each scalar function, in arrays, and no object for any.

A graph of millions of numbers is lowered into such a table straight from what a trace recorded. The rule of an op is
run once for each kind of its arguments, on a small graph; what it gives there is a template, which the other nodes of
that kind fill in. So all that is known of an op stands in its record here, too.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from backlit.compiler.ir import Dtype, Graph, Node
from backlit.compiler.schedule import row_major, topological
from backlit.core.errors import GraphError
from backlit.core.numbers import Abstract, dtype_of, shape_of
from backlit.core.op import Op
from backlit.core.value import Value, describe, inputs_of

MANY = 8000
"""A trace of more values than this is lowered to rows, if all of them are single numbers."""
ARITY = 3
"""How many arguments a row has at most."""
_NEAR = 1 << 18
"""Among how many rows an equal one is looked for."""
_TELLING = 8
"""Halves of whole numbers up to this may decide what becomes of an op: `x * 1`, `x ** 2`; others do not."""


class Load(NamedTuple):
    """A number that is read from an input: which one, and where in it."""

    node: Node
    offset: int


class Unfit(Exception):  # noqa: N818  (nothing went wrong: these nodes are lowered in another way)
    """Raised where a node is no scalar function of single numbers."""


class Rows:
    """Scalar functions of the results of rows before them. Row 0 is nothing: the argument that a function lacks.

    functions: the number of each (name, dtypes of arguments, dtype). function: that number by row; -1 for a leaf.
    args: by place, the row of the argument. constants, loads: the leaves, each with what it holds.
    """

    def __init__(self) -> None:
        self.functions: dict[tuple[str, tuple[Dtype, ...], Dtype], int] = {}
        self.function = array("i", [-1])
        self.args = tuple(array("i", [0]) for _ in range(ARITY))
        self.constants: dict[int, Any] = {}
        self.loads: dict[int, Load] = {}
        self._leaves: dict[Any, int] = {}
        self._near: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.function)

    def constant(self, number: Any) -> int:
        """The row of a number, which is a NumPy scalar."""
        key = (number.dtype, number.tobytes())
        found = self._leaves.get(key)
        if found is None:
            found = self._leaves[key] = self._append(-1, 0, 0, 0)
            self.constants[found] = number
        return found

    def load(self, node: Node) -> int:
        """The row of a number that stands in an input."""
        key = load_of(node)
        found = self._leaves.get(key)
        if found is None:
            found = self._leaves[key] = self._append(-1, 0, 0, 0)
            self.loads[found] = key
        return found

    def number_of(self, function: str, dtypes: tuple[Dtype, ...], dtype: Dtype) -> int:
        return self.functions.setdefault((function, dtypes, dtype), len(self.functions))

    def add(self, function: int, a: int, b: int, c: int) -> int:
        """A function of rows; an equal one that was added not long ago serves for both."""
        near = self._near
        key = ((c << 32 | b) << 32 | a) << 16 | function
        found = near.get(key)
        if found is None:
            if len(near) >= _NEAR:
                near.clear()
            found = near[key] = self._append(function, a, b, c)
        return found

    def _append(self, function: int, a: int, b: int, c: int) -> int:
        row = len(self.function)
        self.function.append(function)
        first, second, third = self.args
        first.append(a)
        second.append(b)
        third.append(c)
        return row


def load_of(node: Node) -> Load:
    """The input that a single number is read from, and where in it. Raises Unfit if it is none such."""
    if node.kind == "input" and not node.shape:
        return Load(node, 0)
    if node.shape or node.kind not in ("view", "reshape") or node.args[0].kind != "input":
        raise Unfit
    inner = node.args[0]
    if node.kind == "reshape":
        return Load(inner, 0)
    return Load(inner, sum(o * s for o, s in zip(node.attrs[0], row_major(inner.shape), strict=True)))


def of_nodes(order: Sequence[Node]) -> tuple[Rows, dict[Node, int]]:
    """The rows of nodes, each after its arguments, and which one is whose. Raises Unfit if they are no such graph."""
    rows = Rows()
    place: dict[Node, int] = {}
    for node in order:
        if node.dtype.name == "float16":
            raise Unfit
        if node.kind == "input" and node.shape:
            continue
        if node.kind == "map" and not node.shape:
            function = rows.number_of(node.attrs[0], tuple(a.dtype for a in node.args), node.dtype)
            args = [place[a] for a in node.args]
            place[node] = rows.add(function, *args, *[0] * (ARITY - len(args)))
        elif node.kind == "constant" and not node.shape:
            place[node] = rows.constant(node.data)
        else:
            place[node] = rows.load(node)
    return rows, place


# -- from values --------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """What the rule of an op may want to know of an argument: its dtype, its number (as bytes) where that may decide
    something, and whether it is the negative of something.
    """

    dtype: Dtype
    number: bytes | None
    negated: bool


class Template(NamedTuple):
    """What an op becomes for arguments of some kinds: rows, whose arguments are places in a list, and one place.

    The list holds 0, the arguments, what the arguments in `negated` are the negatives of, the constants, and the rows.
    rows: of each the function, three places, and the kind of its result.
    """

    negated: tuple[int, ...]
    constants: tuple[int, ...]
    rows: tuple[tuple[int, int, int, int, int], ...]
    result: int


Rule = Callable[..., Node]


def of_values(
    graph: Graph,
    order: Sequence[Value],
    outputs: Sequence[Value],
    known: Mapping[Value, Node],
    defined: Mapping[Value, Value],
    rule_of: Callable[[Op], Rule],
) -> tuple[Rows, list[int]]:
    """The rows of the values of a trace, each after its inputs, and those of its outputs.

    known: the nodes of the leaves that vary; defined: leaves that stand for other values. Raises Unfit if they are no
    graph of single numbers. Cost: some microseconds and 30 bytes a value.
    """
    lowering = _Lowering(graph, order, known, defined, rule_of)
    for value in order:
        if value._op is not None:
            lowering.lower(value)
    wanted = [lowering.row_of(x) for x in outputs]
    if not all(wanted):
        raise Unfit
    return lowering.rows, wanted


class _Lowering:
    """From values to rows, one value after the other; templates are made as they are needed."""

    def __init__(
        self,
        graph: Graph,
        order: Sequence[Value],
        known: Mapping[Value, Node],
        defined: Mapping[Value, Value],
        rule_of: Callable[[Op], Rule],
    ) -> None:
        self.rows = Rows()
        self._graph, self._defined, self._rule_of = graph, defined, rule_of
        self._nodes = dict(known)  # of inputs, and of arrays, which are parts of them
        self._kinds: list[Kind] = []
        self._numbers: dict[Kind, int] = {}  # of kinds
        self._kind = array("i", [0])  # by row
        self._floats: dict[float, int] = {}
        self._templates: dict[Any, Template] = {}
        self._first = next((x._serial for x in order if x._op is not None), order[-1]._serial)
        self._row = array("i", bytes(4 * (order[-1]._serial - self._first + 1)))  # by the serial of what was computed

    def row_of(self, x: Value) -> int:
        """Where a value stands; 0 for an array."""
        while x in self._defined:
            x = self._defined[x]
        if x._op is not None:
            return self._row[x._serial - self._first]
        data = x._data
        if type(data) is float and data:
            found = self._floats.get(data)
            if found is None:
                found = self._floats[data] = self._constant(np.float64(data))
            return found
        node = self._nodes.get(x)
        if node is not None:
            if node.shape:
                return 0
            return self._constant(node.data) if node.kind == "constant" else self._load(node)
        if type(data) is Abstract:
            raise GraphError(f"compile: {describe(x)} belongs to another trace.")
        return 0 if shape_of(data) else self._constant(dtype_of(data).type(data))

    def lower(self, value: Value) -> None:
        """Add the rows of what was computed."""
        attrs, data = value._extra.attrs, value._data
        row, first = self._row, self._first
        args = [row[x._serial - first] if x._op is not None else self.row_of(x) for x in inputs_of(value)]
        if not all(args) or (type(data) is not float and data.shape):
            self._lower_array(value)
            return
        kind = self._kind
        key: Any = (value._op, *[kind[a] for a in args])
        if attrs:
            key = (*key, *attrs.items())
        try:
            template = self._templates.get(key)
        except TypeError:  # an attribute that is an array
            raise Unfit from None
        if template is None:
            template = self._templates[key] = self._template(value, [self._kinds[kind[a]] for a in args])
        rows = self.rows
        places = [0, *args]
        if template.negated:
            places += [rows.args[0][args[k]] for k in template.negated]
        places += template.constants
        for function, a, b, c, result in template.rows:
            found = rows.add(function, places[a], places[b], places[c])
            if found == len(kind):
                kind.append(result)
            places.append(found)
        row[value._serial - first] = places[template.result]

    def _template(self, value: Value, kinds: Sequence[Kind]) -> Template:
        """What becomes of all values that are computed like this one, from arguments of these kinds."""
        graph, rows = Graph(), self.rows
        args: list[Node] = []
        places: dict[Node, int] = {}
        negated: list[int] = []
        for k, kind in enumerate(kinds):
            if kind.number is not None:
                args.append(graph.number(np.frombuffer(kind.number, kind.dtype)[0], kind.dtype))
                continue
            leaf = graph.input(k, (), kind.dtype)
            args.append(graph.map("negative", leaf) if kind.negated else leaf)
            places[args[-1]] = 1 + k
            if kind.negated:
                negated.append(k)
                places[leaf] = len(kinds) + len(negated)
        result = self._lowered(graph, value, args)
        constants: list[int] = []
        order = [node for node in topological([result]) if node not in places]
        for node in order:
            if node.kind == "constant" and not node.shape:
                places[node] = 1 + len(kinds) + len(negated) + len(constants)
                constants.append(self._constant(node.data))
        made: list[tuple[int, int, int, int, int]] = []
        for node in order:
            if node in places:
                continue
            if node.kind != "map" or node.shape or node.dtype.name == "float16":
                raise Unfit
            function = rows.number_of(node.attrs[0], tuple(a.dtype for a in node.args), node.dtype)
            a, b, c = (*(places[x] for x in node.args), *[0] * (ARITY - len(node.args)))
            made.append((function, a, b, c, self._number(Kind(node.dtype, None, node.attrs[0] == "negative"))))
            places[node] = len(kinds) + len(negated) + len(constants) + len(made)
        return Template(tuple(negated), tuple(constants), tuple(made), places[result])

    def _lowered(self, graph: Graph, value: Value, args: Sequence[Node]) -> Node:
        """What the rule of a value's op makes of these nodes."""
        assert value._op is not None
        result = Abstract(shape_of(value._data), dtype_of(value._data))
        if result.dtype.kind == "c":
            raise Unfit
        graph.origin = value
        try:
            node = self._rule_of(value._op)(graph, result, *args, **value._extra.attrs)
        finally:
            graph.origin = None
        return graph.cast(node, result.dtype)

    def _lower_array(self, value: Value) -> None:
        """A part of an input, or a number in it."""
        args = []
        for x in inputs_of(value):
            while x in self._defined:
                x = self._defined[x]
            node = self._nodes.get(x)
            if node is None:
                if x._op is not None or type(x._data) is Abstract:
                    raise Unfit
                node = self._graph.constant(x._data, dtype_of(x._data))
            args.append(node)
        node = self._lowered(self._graph, value, args)
        if node.shape:
            self._nodes[value] = node
        else:
            self._row[value._serial - self._first] = self._load(node)

    def _constant(self, number: Any) -> int:
        telling = number.dtype.kind != "f" or (abs(number) <= _TELLING and 2 * number == round(2 * number))
        return self._leaf(self.rows.constant(number), number.dtype, number.tobytes() if telling else None)

    def _load(self, node: Node) -> int:
        return self._leaf(self.rows.load(node), node.dtype, None)

    def _leaf(self, row: int, dtype: Dtype, number: bytes | None) -> int:
        if dtype.name == "float16" or dtype.kind == "c":
            raise Unfit
        if row == len(self._kind):
            self._kind.append(self._number(Kind(dtype, number, False)))
        return row

    def _number(self, kind: Kind) -> int:
        found = self._numbers.get(kind)
        if found is None:
            found = self._numbers[kind] = len(self._kinds)
            self._kinds.append(kind)
        return found
