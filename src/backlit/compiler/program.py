"""A traced function made ready to run: lowered, assembled, turned into machine code, and called."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.compiler.assemble import LINE, KernelNote, Module
from backlit.compiler.ir import Body, Graph, Node
from backlit.compiler.jit import Machine
from backlit.compiler.lowering import lower
from backlit.compiler.schedule import topological
from backlit.compiler.target import host
from backlit.compiler.trace import Traced
from backlit.core.numbers import dtype_of, shape_of, stored
from backlit.core.value import Value


class Program:
    """Machine code with the shapes of what goes in and comes out.

    run: `run(datas, count)` gives new arrays for the outputs; stored data of the inputs' shapes and dtypes go in.
    """

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node], results: int, profile: bool = False) -> None:
        start = time.perf_counter()
        self.inputs, self.outputs = list(inputs), list(outputs)
        module = Module(host(), profile)
        self.text, self._constants, arena = module.finish(inputs, outputs)
        self.clocks = module.clocks
        self.notes: list[KernelNote] = module.notes
        self.arena_bytes = arena
        emitted = time.perf_counter()
        self.machine = Machine(self.text)
        self.seconds = {"emit": emitted - start, "llvm": time.perf_counter() - emitted}
        self._constant_pointers = [_address(node.data) for node in self._constants]
        self._first_output = 1 + len(self.inputs) + len(self._constants)
        self._alone = [(k, node.shape, node.dtype) for k, node in enumerate(self.outputs) if k < results]
        self._together: list[tuple[int, Any, Any, int]] = []
        size = 0
        for k, node in enumerate(self.outputs[results:], results):
            self._together.append((k, node.shape, node.dtype, size))
            size += -(-max(node.size * node.dtype.itemsize, 1) // LINE) * LINE
        self._together_bytes = size
        self._table = np.zeros(self._first_output + len(self.outputs), np.uintp)
        for k, pointer in enumerate(self._constant_pointers):
            self._table[1 + len(self.inputs) + k] = pointer
        self._table_address = _address(self._table)
        self._last: list[Any] = [None] * len(self.inputs)  # arrays whose addresses stand in the table already
        self._lock = threading.Lock()
        self._memory = np.empty(self.arena_bytes + 3 * LINE, np.uint8)

    def run(self, datas: Sequence[Any], count: int = 1) -> list[Any]:
        """New arrays for the outputs. One call at a time: threads wait for each other."""
        with self._lock:
            return self._run(datas, count)

    def _run(self, datas: Sequence[Any], count: int) -> list[Any]:
        table, last = self._table, self._last
        start = _address(self._memory) if not table[0] else 0
        if start:
            table[0] = start + LINE + (-start) % LINE
        for k, data in enumerate(datas):
            if data is last[k] and data is not None:
                continue
            if type(data) is not np.ndarray or not data.flags.c_contiguous or not data.flags.aligned:
                data = np.ascontiguousarray(data, self.inputs[k].dtype)
            last[k] = data
            table[1 + k] = _address(data)
        first = self._first_output
        results: list[Any] = []
        for k, shape, dtype in self._alone:
            array = np.empty(shape, dtype)
            table[first + k] = _address(array)
            results.append(array)
        if self._together:
            block = np.empty(self._together_bytes + LINE, np.uint8)
            base = _address(block)
            skip = -base % LINE
            pointers = []
            for _, shape, dtype, offset in self._together:
                results.append(np.ndarray(shape, dtype, block, skip + offset))
                pointers.append(base + skip + offset)
            table[first + len(self._alone) :] = pointers
        self.machine.entry(self._table_address, count)
        return results

    def cycles(self) -> Any:
        """With `profile`: the clock cycles that each kernel took so far, in all calls."""
        import ctypes

        at = self.machine.address("clock")
        return np.ctypeslib.as_array(ctypes.cast(at, ctypes.POINTER(ctypes.c_int64)), (len(self.clocks),)).copy()


def _address(array: Any) -> int:
    return int(array.ctypes.data)


def of_trace(traced: Traced) -> tuple[Program, list[Node]]:
    """The program of a traced function. Its inputs are arguments, captured variables and gradients that were read; its
    outputs the results, what is assigned, and the gradients left.
    """
    graph = Graph()
    leaves = [*traced.arguments, *(c.node for c in traced.captured), *(c.node for c in traced.gradients)]
    known: dict[Value, Node] = {
        leaf: graph.input(k, shape_of(leaf._data), dtype_of(leaf._data)) for k, leaf in enumerate(leaves)
    }
    wanted = [*traced.results, *(c.node for c in traced.assigned), *(n for _, n in traced.left if n is not None)]
    outputs = lower(graph, wanted, known, traced.defined)
    return Program([known[leaf] for leaf in leaves], outputs, len(traced.results)), outputs


def repeated(traced: Traced, profile: bool = False) -> Program:
    """The program that runs a traced function many times: what it assigns, it finds at the next turn.

    Inputs as in `of_trace`; outputs: the results of the last turn, then what is assigned.
    """
    graph = Graph()
    leaves = [*traced.arguments, *(c.node for c in traced.captured)]
    places = {leaf: graph.input(k, shape_of(leaf._data), dtype_of(leaf._data)) for k, leaf in enumerate(leaves)}
    assigned = {c.variable: c.node for c in traced.assigned}
    state = [c for c in traced.captured if c.variable in assigned]
    fixed = [c for c in traced.captured if c.variable not in assigned]
    inner = Graph()
    body_leaves = [c.node for c in state] + [None] * len(traced.results) + [*traced.arguments, *(c.node for c in fixed)]
    known: dict[Value, Node] = {}
    body_inputs: list[Node] = []
    for k, leaf in enumerate(body_leaves):
        like = leaf if leaf is not None else traced.results[k - len(state)]
        node = inner.input(k, shape_of(like._data), dtype_of(like._data))
        body_inputs.append(node)
        if leaf is not None:
            known[leaf] = node
    wanted = [*(assigned[c.variable] for c in state), *traced.results]
    body_outputs = lower(inner, wanted, known, traced.defined)
    body = Body(body_inputs, body_outputs, len(wanted), 0, 0, False)
    zeros = [graph.broadcast(graph.number(0, dtype_of(r._data)), shape_of(r._data)) for r in traced.results]
    args = [
        *(places[c.node] for c in state),
        *zeros,
        *(places[a] for a in traced.arguments),
        *(places[c.node] for c in fixed),
    ]
    parts = graph.loop(body, args, None, False)
    return Program(
        [places[leaf] for leaf in leaves], [*parts[len(state) :], *parts[: len(state)]], len(traced.results), profile
    )


Runner = Callable[..., Any]
__all__ = ["Program", "Runner", "of_trace", "repeated", "stored", "topological"]
