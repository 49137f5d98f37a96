"""Running a function on shapes: what it computes becomes a graph, and what it reads and assigns is found out.

In a trace, variables that the function reads stand for inputs of the graph, and variables that it assigns for outputs.
What they stand for is known to the trace alone: the variables themselves are not touched, and another thread may use
them meanwhile, or trace a function of its own. Constants stay what they are.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import backlit.ops.face  # noqa: F401  gives values their operators
from backlit.autodiff.reverse import active_nodes, pull_back
from backlit.core.errors import DtypeError, GraphError, ShapeError
from backlit.core.numbers import Abstract, as_data, dtype_of, exposed, shape_of
from backlit.core.record import as_constant
from backlit.core.state import mode
from backlit.core.trees import Rebuild, flatten
from backlit.core.value import INACTIVE, Buffer, Value, constant, current, describe, inputs_of, leaf, next_serial
from backlit.core.walk import by_serial, reachable
from backlit.ops.casting import ASTYPE
from backlit.ops.creation import zeros
from backlit.ops.passing import STOP_GRADIENT

Tree = Any


class Captured(NamedTuple):
    """A variable that a traced function reads or assigns. node: the leaf that stands for what it held before."""

    variable: Value
    node: Value


class Frame:
    """The body of a loop while it is traced: what comes from outside of it is known by stand-ins."""

    def __init__(self) -> None:
        self.start = next_serial()
        self.stand_ins: dict[Value, Value] = {}
        self.own: set[Value] = set()

    def inside(self, node: Value, level: int) -> Value:
        if node._serial > self.start and node._extra.attrs.get("frame", level) >= level:
            return node
        if node._op is None and type(node._data) is not Abstract:
            return node  # a constant is one everywhere
        found = self.stand_ins.get(node)
        if found is None:
            data = node._data
            found = leaf(Abstract(shape_of(data), dtype_of(data)), active=node._grad is not INACTIVE)
            extra = found._own_extra()
            extra.attrs, extra.name = {"frame": level}, node._extra.name
            self.stand_ins[node] = found
        return found


_OUTSIDE = {"frame": -1}
"""Of a leaf outside of every loop, also where a body is the first to read it."""


class Trace:
    """One run of a function on shapes: answers what the engine asks (`core.state.Tracing`)."""

    def __init__(self) -> None:
        self.captured: dict[Value, Captured] = {}
        self.defined: dict[Value, Value] = {}  # a leaf that an assignment made, and the node that was assigned
        self.gradients: dict[Value, Value | None] = {}  # what holders hold by now
        self.held: dict[Value, Value] = {}  # the leaf for a gradient that a holder held before
        self.without: dict[Value, None] = {}  # holders that were asked for a gradient and had none
        self.guards: list[tuple[Any, str, Any]] = []
        self.prints: list[tuple[str, list[Value]]] = []
        self.frames: list[Frame] = []
        self.start = next_serial()
        self.local: dict[Value, Captured] = {}  # plain values that the function itself made
        self._now: dict[Value, Value] = {}  # the node that a variable from outside stands for by now
        self._outside: dict[Value, Value] = {}
        self._deposited: set[Value] = set()
        self._between: dict[Value, Value | None] = {}  # cotangents of nodes between, should somebody ask for them

    # -- what variables stand for -------------------------------------------------------------------------------

    def lifted(self, nodes: tuple[Value, ...]) -> tuple[Value, ...]:
        """The nodes that take part in the trace, for some that may come from outside."""
        if not self.frames:
            for node in nodes:
                if type(node._data) is not Abstract and self._lifted(node) is not node:
                    break
            else:
                return nodes
        return tuple(map(self.lift, nodes))

    def lift(self, node: Value) -> Value:
        """The node that takes part in the trace, for one that may come from outside."""
        if not self.frames and type(node._data) is Abstract:
            return node
        node = self._lifted(node)
        for level, frame in enumerate(self.frames):
            node = frame.inside(node, level)
        return node

    def _lifted(self, node: Value) -> Value:
        if type(node._data) is Abstract:
            return node
        variable = node if node._extra.owner is None else node._extra.owner
        if node._op is None:
            if _is_baked(node, variable):
                return node
            if _outside_of_traces(variable) is node:
                return self.current(variable)
        if node._grad is INACTIVE and node._op is None:
            return node
        found = self._outside.get(node)  # computed before the trace, or an older value of a variable
        if found is None:
            found = self._outside[node] = constant(node._data)
        return found

    def current(self, variable: Value) -> Value:
        """The node that a variable stands for in the trace; one from outside is captured."""
        found = self._now.get(variable)
        if found is None:
            found = _outside_of_traces(variable)
            if found._op is None and type(found._data) is not Abstract and not _is_baked(found, variable):
                owner = found if found._extra.owner is None else found._extra.owner
                if _outside_of_traces(owner) is found:
                    found = self._now.get(owner) or self.capture(owner).node
        return found

    def rebind(self, variable: Value, node: Value) -> None:
        """Let a value stand for another node from here on, as it does when something is written into it."""
        if variable in self._now:
            self._now[variable] = node
        elif variable._serial > self.start or type(variable._data) is Abstract:  # nobody else has it
            variable._now = node
        else:
            raise GraphError(
                f"{describe(variable)} is a constant of the compiled function, and is written into there. Make it a "
                "Buffer, which compiled functions may change, or write into a copy: y = x.at[i].set(v)."
            )

    def capture(self, variable: Value) -> Captured:
        """Let a variable stand for an input of the graph from here on."""
        found = self.captured.get(variable) or self.local.get(variable)
        if found is None:
            node = _outside_of_traces(variable)
            data = node._data
            stand_in = leaf(Abstract(shape_of(data), dtype_of(data)), active=variable._grad is not INACTIVE)
            extra = stand_in._own_extra()
            extra.owner, extra.name = variable, node._extra.name or variable._extra.name
            extra.attrs = _OUTSIDE
            stand_in._code, stand_in._lasti = variable._code, variable._lasti
            self._now[variable] = stand_in
            found = Captured(variable, stand_in)
            if variable._serial > self.start and type(variable) is Value:
                self.local[variable] = found
                self.defined[stand_in] = constant(data)
            else:
                self.captured[variable] = found
        return found

    def read(self, variable: Value) -> Any:
        """What `.data` gives: the value as a constant, or the numbers of a true constant."""
        node = self.lift(current(variable))
        if type(node._data) is not Abstract:
            return exposed(node._data)
        return node if node._grad is INACTIVE else STOP_GRADIENT(node)

    def assign(self, variable: Value, new: Any) -> None:
        """What `variable.data = new` means: from here on it stands for a new leaf, which holds the new numbers."""
        if variable._op is not None:
            raise GraphError(f"{describe(variable)} was computed, so its numbers cannot be assigned.")
        if self.frames:
            raise GraphError(
                f"{describe(variable)} is assigned inside the body of a loop; what changes from turn to turn must be "
                "carried: take it as an argument and return it. Or repeat a step that assigns: compile(step).repeat(n)."
            )
        held = self.capture(variable).node._data
        node = self.lift(current(new)) if isinstance(new, Value) else as_constant(as_data(new, held.dtype))
        if node.shape != held.shape:
            raise ShapeError(f"{describe(variable)} has shape {held.shape} and was assigned one of shape {node.shape}.")
        if node.dtype != held.dtype:
            node = ASTYPE(node, dtype=held.dtype)
        now = leaf(held, active=variable._grad is not INACTIVE)
        extra = now._own_extra()
        extra.owner, extra.name = variable, variable._extra.name
        now._code, now._lasti = variable._code, variable._lasti
        self.defined[now] = node
        self._now[variable] = now

    def saw(self, thing: Any, name: str) -> None:
        """An attribute decided what was traced: what was found holds only while it is as it is now."""
        guard = (thing, name, getattr(thing, name))
        if not any(guard[0] is other[0] and name == other[1] for other in self.guards):
            self.guards.append(guard)

    def debug_print(self, text: str, nodes: list[Value]) -> None:
        """Let these values come out beside the results, to be printed after a call."""
        if self.frames:
            raise GraphError("debug_print: inside the body of a loop nothing can be printed; return it as its y.")
        self.prints.append((text, nodes))

    # -- gradients ----------------------------------------------------------------------------------------------

    def gradient(self, holder: Value) -> Any:
        """What `.grad` gives."""
        if holder in self.gradients:
            return self.gradients[holder]
        if holder in self._between:
            return _as_gradient(holder, self._between[holder])
        if holder._grad is None or holder._grad is INACTIVE:
            self.without[holder] = None
            return None
        data = holder._grad
        node = leaf(Abstract(shape_of(data), dtype_of(data)), active=False)
        self.held[holder] = self.gradients[holder] = node
        return node

    def set_gradient(self, holder: Value, new: Any) -> None:
        """What `.grad = new` means."""
        if new is None:
            self.gradients[holder] = None
            return
        node = self.lift(current(new)) if isinstance(new, Value) else as_constant(as_data(new, holder.dtype))
        if node.shape != holder.shape:
            raise ShapeError(f"the gradient of {describe(holder)} has its shape {holder.shape}, not {node.shape}.")
        self.gradients[holder] = node

    def backward(self, output: Value, seed: Any) -> None:
        """What `output.backward()` means: cotangents as graph, left in `.grad`."""
        nodes = list(active_nodes(output))
        seed = self.lift(current(seed)) if isinstance(seed, Value) else as_constant(seed, output.dtype)
        again = output in self._deposited
        self._deposited.add(output)
        for node, ct in zip(nodes, pull_back([output], [seed], nodes), strict=True):
            if node._a is not None or type(node._data) is not Abstract:
                self._between[node] = ct
                self.gradients.pop(node, None)  # what was assigned to it before
                continue
            found = _as_gradient(node, ct)
            holder = node if node._extra.owner is None else node._extra.owner
            before = self.gradient(holder)
            if not (again and before is not None):
                self.gradients[holder] = found if before is None else STOP_GRADIENT(before + found)


def _as_gradient(node: Value, ct: Value | None) -> Value:
    """A cotangent as `.grad` holds it: zeros where nothing came, and no way for a gradient to flow back through it."""
    return zeros(node.shape, dtype=node.dtype) if ct is None else STOP_GRADIENT(ct)


def _outside_of_traces(variable: Value) -> Value:
    return variable if variable._now is None else variable._now


def _is_baked(node: Value, variable: Value) -> bool:
    """Whether a leaf is a constant of the program: it is no variable that someone may assign to."""
    return node._grad is INACTIVE and not isinstance(variable, Buffer)


@dataclass
class Traced:
    """A function as a graph.

    arguments: a leaf for each array among the arguments. captured: the variables it reads or assigns, each with the
    leaf for what it held. gradients: holders whose gradient it reads, each with the leaf. results: the nodes it
    returns; rebuild: their tree. assigned: variables and the nodes that become their numbers. left: holders and the
    nodes that become their gradients, or None. prints: texts, each with the number of results behind the last that it
    shows. without: holders that have to have no gradient, as what was left was not
    added to any. defined: leaves that stand for other nodes.
    """

    arguments: list[Value]
    captured: list[Captured]
    gradients: list[Captured]
    results: list[Value]
    rebuild: Rebuild
    assigned: list[Captured]
    left: list[tuple[Value, Value | None]]
    defined: dict[Value, Value] = field(default_factory=dict)
    guards: list[tuple[Any, str, Any]] = field(default_factory=list)
    prints: list[tuple[str, int]] = field(default_factory=list)

    @property
    def outputs(self) -> list[Value]:
        """All that comes out: the results, what is assigned, and the gradients left."""
        return [*self.results, *(c.node for c in self.assigned), *(n for _, n in self.left if n is not None)]

    without: list[Value] = field(default_factory=list)


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python not look for garbage meanwhile: a graph in the making is none, and to go through it again and again
    would take most of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def needed(outputs: Sequence[Value], defined: Mapping[Value, Value]) -> list[Value]:
    """All values that these need, each after its inputs; what an assigned leaf stands for belongs to them as well."""
    found = reachable([*outputs, *(defined[x] for x in outputs if x in defined)])
    while more := {defined[x] for x in defined.keys() & found} - found:
        found |= reachable(more)
    return sorted(found, key=by_serial)


def by_need(order: Sequence[Value], defined: Mapping[Value, Value]) -> Sequence[Value]:
    """Each value after what it stands for, too. That may be younger: a loop that is run with its history since."""
    if all(node._serial < x._serial for x, node in defined.items()):
        return order
    done: dict[Value, None] = {}
    for value in order:
        stack = [value]
        while stack:
            node = stack[-1]
            needed = [defined[node]] if node in defined else inputs_of(node)
            missing = [x for x in needed if x not in done]
            if missing and node not in done:
                stack.extend(missing)
            else:
                done[stack.pop()] = None
    return list(done)


def run(f: Callable[..., Any], build: Callable[[Any], Any], arguments: Sequence[Value], **outer: Any) -> Traced:
    """Trace `f`. build: makes its positional and keyword arguments from the leaves of the graph."""
    trace = Trace()
    with mode(trace=trace, recording=True, because=None, **outer):
        args, kwargs = build(iter(arguments))
        result = f(*args, **kwargs)
        leaves, rebuild = flatten(result)
        results = [trace.lift(current(x)) if isinstance(x, Value) else as_constant(_checked(f, x)) for x in leaves]
        results += [trace.lift(node) for _, nodes in trace.prints for node in nodes]
        assigned = [
            Captured(c.variable, current(c.variable))
            for c in trace.captured.values()
            if current(c.variable) is not c.node
        ]
    return Traced(
        arguments=list(arguments),
        captured=list(trace.captured.values()),
        gradients=[Captured(holder, node) for holder, node in trace.held.items()],
        results=results,
        rebuild=rebuild,
        assigned=assigned,
        left=[(holder, node) for holder, node in trace.gradients.items() if _leaves(trace, holder, node)],
        defined=trace.defined,
        guards=trace.guards,
        prints=[(text, len(nodes)) for text, nodes in trace.prints],
        without=[x for x in trace.without if x._op is None and x._grad is None and x not in trace.local],
    )


def _leaves(trace: Trace, holder: Value, node: Value | None) -> bool:
    """Whether this is a gradient that somebody outside finds changed."""
    return node is not trace.held.get(holder) and holder not in trace.local


def _checked(f: Callable[..., Any], x: Any) -> Any:
    try:
        return as_data(x)
    except DtypeError as error:
        name = getattr(f, "__name__", "the function")
        raise GraphError(
            f"compile: {name} returned {type(x).__name__} {x!r:.40}; compiled code returns numbers and arrays."
        ) from error
