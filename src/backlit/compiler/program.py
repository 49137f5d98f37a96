"""A traced function made ready to run: lowered, assembled, turned into machine code, and called."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.compiler import team
from backlit.compiler.ir import Body, Graph, Node
from backlit.compiler.jit import ENTRY, Machine
from backlit.compiler.lowering import lower
from backlit.compiler.memory import LINE, in_lines
from backlit.compiler.module import KernelNote
from backlit.compiler.positions import outside
from backlit.compiler.source import Source
from backlit.compiler.trace import Traced
from backlit.core.numbers import dtype_of, shape_of
from backlit.core.value import Value

FLOAT64 = np.dtype(np.float64)
ROOMS = 3
"""How many blocks of memory a program keeps for its outputs: the state before, the state after, and one to spare."""
COUNTS: bool = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether references are counted exactly, so that the count tells who can see an object."""
ALONE: int = next(sys.getrefcount(x) for x in [object()]) if COUNTS else 0
"""What `sys.getrefcount` tells, in a loop over a list, of what is held by the list only. It depends on the version."""


class Program:
    """Machine code with the shapes of what goes in and comes out.

    run: `run(datas, count)` gives the outputs; stored data of the shapes and dtypes go in and come out.
    """

    def __init__(
        self,
        inputs: Sequence[Node],
        outputs: Sequence[Node],
        results: int,
        profile: bool = False,
        stacked: bool = False,
    ) -> None:
        start = time.perf_counter()
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.source = Source(inputs, outputs, profile)
        named = time.perf_counter()
        self.machine = Machine(self.source)
        written = self.machine.seconds["write"]
        self.seconds = {"name": named - start, "emit": written, "llvm": time.perf_counter() - named - written}
        facts = self.source.facts
        self._constants = facts.constants
        self.arena_bytes = facts.arena
        self._clocks = facts.clocks
        self._first_output = 1 + len(self.inputs) + len(self._constants)
        self._stacked = stacked  # the results have a first axis as long as there are turns
        self._results = results
        self._alone: list[Any] = []  # for each result: what makes its array, or the one place of a scalar
        for node in self.outputs[:results]:
            self._alone.append((node.shape, node.dtype) if node.shape or stacked else np.empty((), node.dtype))
        self._in_parts = [(k, node.means) for k, node in enumerate(self.outputs) if node.means is not node.dtype]
        self._rooms: list[Room] = []
        self._latest: Room | None = None  # where the inputs stand that were outputs of the last call
        self._follows: list[tuple[int, int]] = []
        self._status, shared, status_at = team.state()
        self._table = np.zeros(self._first_output + len(self.outputs) + 1, np.uintp)
        self._table[-1] = status_at
        self._team = team.Place(shared, status_at + LINE) if facts.shares else None
        self._help = ENTRY(self.machine.function("bl_help")) if facts.shares else None
        for k, data in enumerate(self._constants):
            self._table[1 + len(self.inputs) + k] = _address(data)
        for k, place in enumerate(self._alone):
            if type(place) is np.ndarray:
                self._table[self._first_output + k] = _address(place)
        self._table_address = _address(self._table)
        self.last: list[Any] = [None] * len(self.inputs)  # data whose addresses stand in the table already
        self._held: list[Any] = [None] * len(self.inputs)  # what was converted for it
        self.lock = threading.RLock()
        self._memory = np.empty(self.arena_bytes + 3 * LINE, np.uint8)
        start = _address(self._memory)
        self._table[0] = start + LINE + (-start) % LINE

    @property
    def text(self) -> str:
        """LLVM text; if the code came from the disk, it is written only now."""
        return self.source.text

    @property
    def notes(self) -> list[KernelNote]:
        """What is to be told of each kernel."""
        return self.source.notes

    @property
    def clocks(self) -> list[KernelNote]:
        """With `profile`: the kernels that are timed."""
        return self.source.clocks

    def follow(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Say which output is, as a rule, the next call's input: pairs of their numbers."""
        self._follows = [(output - self._results, place) for output, place in pairs if output >= self._results]
        self._rooms = []

    def run(self, datas: Sequence[Any], count: int = 1) -> list[Any]:
        """Stored data of the outputs. One call at a time: threads wait for each other."""
        with self.lock:
            last = self.last
            for k, data in enumerate(datas):
                if data is not last[k] or data is None:
                    self.put(k, data)
            return self.go(count)

    def put(self, k: int, data: Any) -> None:
        """Let an input be this data at the next call."""
        if type(data) is np.ndarray and data.flags.c_contiguous and data.flags.aligned:
            held = data if data.dtype == self.inputs[k].means else np.ascontiguousarray(data, self.inputs[k].means)
        else:
            held = np.ascontiguousarray(data, self.inputs[k].means)
        # An array that was copied may be written into before the next call; a scalar cannot.
        self.last[k] = data if held is data or type(data) is not np.ndarray else None
        self._held[k] = held
        self._table[1 + k] = _address(held)

    def go(self, count: int) -> list[Any]:
        """Run on the inputs that were put. To be called by who holds `lock`."""
        table, first = self._table, self._first_output
        outputs: list[Any] = []
        for k, place in enumerate(self._alone):
            if type(place) is np.ndarray:
                outputs.append(place)
                continue
            shape, dtype = place
            array = np.empty((count, *shape[1:]) if self._stacked else shape, dtype)
            table[first + k] = _address(array)
            outputs.append(array)
        room = self._free_room()
        table[first + self._results : first + len(self.outputs)] = room.pointers
        if self._team is None:
            self.machine.entry(self._table_address, count)
        else:
            try:
                self._team.open(self._help, self.machine)
                self.machine.entry(self._table_address, count)
            finally:
                self._team.close()
        if self._status[0]:
            check = self.source.checks[int(self._status[0]) - 1]
            self._status[0] = 0
            raise outside(check)
        outputs += room.arrays
        for k, dtype in self._in_parts:
            outputs[k] = outputs[k].view(dtype)[..., 0]
        outputs = [x if x.ndim else x.item() if x.dtype is FLOAT64 else x[()] for x in outputs]
        if self._follows:
            table[room.places] = room.followers
            last, held, results = self.last, self._held, self._results
            self._latest = room
            for k, place in self._follows:
                last[place] = outputs[results + k]
                held[place] = room
        return outputs

    def _free_room(self) -> Room:
        """Memory for the outputs that nobody else holds any more, or new memory. Not that of the call before: a number
        in it is held by nobody, but read by this one.
        """
        for room in self._rooms:
            if room is not self._latest and room.is_free():
                return room
        room = Room(self.outputs[self._results :], self._follows)
        self._rooms.append(room)
        if len(self._rooms) > ROOMS:
            del self._rooms[0]
        return room

    def inputs_now(self) -> list[Any]:
        """What went in last, as arrays; None for what no array was put in."""
        return [held if type(held) is np.ndarray else None for held in self._held]

    def cycles(self) -> Any:
        """With `profile`: the clock cycles that each kernel took so far, in all calls."""
        import ctypes

        if not self._clocks:
            return np.zeros(0, np.int64)
        at = self.machine.address("clock")
        return np.ctypeslib.as_array(ctypes.cast(at, ctypes.POINTER(ctypes.c_int64)), (self._clocks,)).copy()


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


class Room:
    """Memory for the outputs of one call, in one block.

    It is used again when nobody but the program can reach it: no array in it, and no view of one, is held elsewhere.
    References are counted for this, so where Python does not count them exactly, a room is used once.
    """

    __slots__ = ("_at_rest", "arrays", "block", "followers", "places", "pointers")

    def __init__(self, nodes: Sequence[Node], follows: Sequence[tuple[int, int]]) -> None:
        offsets = []
        size = 0
        for node in nodes:
            offsets.append(size)
            size += in_lines(max(node.size * node.dtype.itemsize, 1))
        self.block = np.empty(size + LINE, np.uint8)
        base = _address(self.block)
        skip = -base % LINE
        self.arrays = [
            np.ndarray(node.shape, node.dtype, self.block, skip + offset)
            for node, offset in zip(nodes, offsets, strict=True)
        ]
        self.pointers = np.array([base + skip + offset for offset in offsets], np.uintp)
        self.places = np.array([1 + place for _, place in follows], np.intp)
        self.followers = self.pointers[[k for k, _ in follows]]
        self._at_rest = sys.getrefcount(self.block) if COUNTS else 0

    def is_free(self) -> bool:
        """Whether nobody else can see what is written here."""
        if not COUNTS or sys.getrefcount(self.block) != self._at_rest:
            return False
        return all(sys.getrefcount(x) == ALONE and not weakref.getweakrefcount(x) for x in self.arrays)


def graph_of(traced: Traced) -> tuple[list[Node], list[Node]]:
    """What goes into a traced function and what comes out: arguments, captured variables and gradients that were read;
    the results, what is assigned, and the gradients left.
    """
    graph = Graph()
    leaves = [*traced.arguments, *(c.node for c in traced.captured), *(c.node for c in traced.gradients)]
    known: dict[Value, Node] = {
        leaf: graph.input(k, shape_of(leaf._data), dtype_of(leaf._data)) for k, leaf in enumerate(leaves)
    }
    outputs = lower(graph, traced.outputs, known, traced.defined)
    return [known[leaf] for leaf in leaves], outputs


def of_trace(traced: Traced, profile: bool = False) -> tuple[Program, list[Node]]:
    """The program of a traced function, and its outputs; see `graph_of`."""
    inputs, outputs = graph_of(traced)
    return Program(inputs, outputs, len(traced.results), profile), outputs


def graph_of_turns(traced: Traced, each: bool = False) -> tuple[list[Node], list[Node]]:
    """A traced function many times: what it assigns, it finds at the next turn.

    Inputs as in `graph_of`; outputs: the results of the last turn, then what is assigned. each: the arguments are
    slices, turn by turn, of the arrays that go in, and the results of all turns come out stacked.
    """
    graph = Graph()
    assigned = {c.variable: c.node for c in traced.assigned}
    state = [c for c in traced.captured if c.variable in assigned]
    fixed = [c for c in traced.captured if c.variable not in assigned]
    leaves = [*traced.arguments, *(c.node for c in traced.captured)]

    def place(k: int, leaf: Value) -> Node:
        shape = shape_of(leaf._data)
        return graph.input(k, (1, *shape) if each and k < len(traced.arguments) else shape, dtype_of(leaf._data))

    places = {leaf: place(k, leaf) for k, leaf in enumerate(leaves)}
    inner = Graph()
    known: dict[Value, Node] = {}
    inputs: list[Node] = []

    def given(leaf: Value, is_known: bool = True) -> None:
        node = inner.input(len(inputs), shape_of(leaf._data), dtype_of(leaf._data))
        inputs.append(node)
        if is_known:
            known[leaf] = node

    for c in state:
        given(c.node)
    for result in [] if each else traced.results:  # carried only so that the last one comes out
        given(result, is_known=False)
    for c in fixed:
        given(c.node)
    for leaf in traced.arguments:
        given(leaf)
    outputs = lower(inner, [*(assigned[c.variable] for c in state), *traced.results], known, traced.defined)
    carried = len(state) if each else len(outputs)
    slices = len(traced.arguments) if each else 0
    body = Body(inputs, outputs, carried, slices, len(outputs) - carried, False)
    args = [places[c.node] for c in state]
    if not each:
        args += [graph.filled(0, shape_of(r._data), dtype_of(r._data)) for r in traced.results]
    args += [*(places[c.node] for c in fixed), *(places[a] for a in traced.arguments)]
    parts = graph.loop(body, args, None, False)
    wanted = [*parts[len(state) :], *parts[: len(state)]]
    return [places[leaf] for leaf in leaves], wanted


def repeated(traced: Traced, each: bool = False, profile: bool = False) -> Program:
    """The program that runs a traced function many times; see `graph_of_turns`."""
    return Program(*graph_of_turns(traced, each), len(traced.results), profile, stacked=each)
