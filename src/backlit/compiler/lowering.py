"""From the graph that a trace recorded to the compiler's own: each op by its `lower`, which stands in its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from backlit.compiler import complexes, tape
from backlit.compiler.complexes import Known, Pair, joined, parts
from backlit.compiler.ir import INT64, Body, Graph, Node
from backlit.compiler.scalars import FUNCTIONS
from backlit.compiler.schedule import topological
from backlit.compiler.trace import by_need, needed
from backlit.core.errors import GraphError
from backlit.core.numbers import Abstract, abstract, dtype_of, shape_of
from backlit.core.op import Elementwise, Op
from backlit.core.value import Value, describe, inputs_of
from backlit.ops.lowering import refused, same

if TYPE_CHECKING:
    from backlit.core.lowering import Graph as Protocol

    def _keeps_to(graph: Graph) -> Protocol[Node]:
        """Checked by mypy: the compiler's graph is what rules are told that it is."""
        return graph


def lower(
    graph: Graph, outputs: Sequence[Value], known: dict[Value, Node], defined: Mapping[Value, Value]
) -> list[Node]:
    """The nodes for these values. known: those for the leaves; defined: leaves that stand for other values."""
    graph.defined = defined
    order = needed(outputs, defined)
    numbers = tape.lowered(graph, order, outputs, known, defined, rule_of)
    if numbers is not None:
        return numbers
    found: dict[Value, Known] = {value: parts(graph, node) for value, node in known.items()}
    try:
        for value in by_need(order, defined):
            if value in found:
                continue
            if value in defined:
                found[value] = found[defined[value]]
            elif value._op is None:
                graph.origin = None
                found[value] = _constant(graph, value)
            else:
                graph.origin = value
                found[value] = _lowered(graph, value, list(map(found.__getitem__, inputs_of(value))))
    finally:
        graph.origin = None
    return [joined(graph, found[value]) for value in outputs]


def _constant(graph: Graph, value: Value) -> Known:
    data = value._data
    if type(data) is Abstract:
        raise GraphError(f"compile: {describe(value)} belongs to another trace.")
    dtype = dtype_of(data)
    return (complexes.constant if dtype.kind == "c" else Graph.constant)(graph, data, dtype)


def _lowered(graph: Graph, value: Value, args: Sequence[Known]) -> Known:
    op, data, attrs = value._op, value._data, value._extra.attrs
    assert op is not None
    rule, result = rule_of(op), data if type(data) is Abstract else abstract(data)
    if (result.dtype.kind == "c" or Pair in map(type, args)) and rule is not lower_loop:
        node = complexes.lower(graph, op, rule, result, args, attrs)
    else:
        node = rule(graph, result, *args, **attrs)
    assert node.shape == result.shape, (op.name, node.shape, result.shape)
    if isinstance(node, Pair):
        return node
    return node if node.dtype == result.dtype else graph.cast(node, result.dtype)


def rule_of(op: Op) -> Callable[..., Node]:
    """How an op is lowered: by the rule of its record; an elementwise op without one by the map of its name."""
    return op.lower or _by_name(op)


@lru_cache(maxsize=1024)
def _by_name(op: Op) -> Callable[..., Node]:
    return same(op.name) if isinstance(op, Elementwise) and op.name in FUNCTIONS else refused


# -- loops ------------------------------------------------------------------------------------------------------


def lower_loop(graph: Graph, result: Abstract, *args: Known, loop: Any, which: int) -> Known:
    """The rule of `scan`: one result of a loop, which is lowered once for all of its results."""
    found = graph.loops.get((id(loop), tuple(map(id, args))))
    if found is None:
        found = graph.loops[(id(loop), tuple(map(id, args)))] = _lowered_loop(graph, loop, args)
    return parts(graph, found[which])


def _lowered_loop(graph: Graph, loop: Any, args: Sequence[Known]) -> list[Node]:
    inner = Graph()
    inner.defined = graph.defined
    k, c = len(loop.carried), len(loop.constants)
    known: dict[Value, Node] = {}
    inputs: list[Node] = []
    outer: list[Node] = []
    leaves = [*loop.carried, *(stand_in for _, stand_in in loop.constants), *loop.slices]
    constants = 0
    for i, (node, arg) in enumerate(zip(leaves, args, strict=True)):
        if not isinstance(arg, Pair) and k <= i < k + c and (number := graph.value_of(arg)) is not None:
            known[node] = inner.broadcast(inner.number(number, arg.dtype), arg.shape)  # known here, so known there
            continue
        constants += k <= i < k + c
        known[node] = inner.input(len(inputs), shape_of(node._data), dtype_of(node._data))
        inputs.append(known[node])
        outer.append(joined(graph, arg))
    counter = inner.input(len(inputs), (), INT64)
    known[loop.counter] = counter
    origin, graph.origin = graph.origin, None
    outputs = lower(inner, loop.outputs, known, graph.defined)
    graph.origin = origin
    used = counter in topological(outputs)
    body = Body([*inputs, counter] if used else inputs, outputs, k, len(loop.slices), len(outputs) - k, used)
    body.flag = loop.flag
    return graph.loop(body, outer, loop.count, loop.reverse)
