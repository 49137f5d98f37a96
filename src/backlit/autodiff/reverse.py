"""Reverse mode: from one output back to everything it was computed from.

There are two sweeps over the same rules. `pull_back` makes graph: cotangents are values, which can be drawn, explained
and differentiated again. `sweep` computes: cotangents are plain numbers and arrays, as `backward()` needs them. Scalars
are treated inline there, since a net made of scalars spends its time in this loop.
"""

from __future__ import annotations

import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.rules import contribution, fit
from backlit.core import dtypes
from backlit.core.errors import DtypeError, GraphError, ShapeError, StaleGradientWarning
from backlit.core.numbers import Abstract, as_data, dtype_of, quietly, shape_of, strong
from backlit.core.op import ONE, Elementwise, Linear, Several
from backlit.core.record import as_constant
from backlit.core.site import user_frame
from backlit.core.state import SPECIAL, Because, Mode, because, current_mode, mode, tracing
from backlit.core.value import (
    INACTIVE,
    NO_EXTRA,
    Deposit,
    Value,
    current,
    describe,
    inputs_of,
)
from backlit.core.walk import by_serial, descendants, reachable, toposort

last_outputs: deque[weakref.ref[Value]] = deque(maxlen=16)
"""The outputs on which `backward()` was called last, the newest at the end: one can ask why without naming them."""


def pull_back(outputs: Sequence[Value], seeds: Sequence[Any], wrt: Sequence[Value]) -> list[Value | None]:
    """Cotangents of `wrt` as new values; None for one on which no output depends. The given graph is not changed.

    outputs, wrt: nodes; seeds: a cotangent for each output, of its shape. Cost: a small multiple of the nodes between.
    """
    order = toposort(outputs)
    relevant = descendants(wrt, order)
    targets = set(wrt)
    cts: dict[Value, Value] = {}
    masks: dict[Value, Any] = {}
    done: set[Value] = set()  # results of one computation, of which another result was met before
    with mode(scope=None, because=None) as before:
        observe = observer(before)
        for output, seed in zip(outputs, seeds, strict=True):
            if output in relevant:
                old = cts.get(output)
                seed = seed if isinstance(seed, Value) else as_constant(seed, output.dtype)
                cts[output] = seed if old is None else old + seed
        for node in reversed(order):
            ct = cts.get(node)
            if ct is None or node._a is None or node in done:
                continue
            op, inputs, mask = node._op, inputs_of(node), masks.get(node)
            assert op is not None
            if type(op) is Several:
                because(before, Because(node, None, "reverse"))
                _of_several(op, node, inputs, relevant, cts, masks, done)
                continue
            for index, x in enumerate(inputs):
                if x not in relevant or x._grad is INACTIVE:
                    continue
                because(before, Because(node, index, "reverse"))
                found = contribution(op, index, ct, mask, node, inputs, node._extra.attrs)
                if found is None:
                    continue
                term = found[0] if isinstance(found[0], Value) else as_constant(found[0], x.dtype)
                if observe is not None:
                    observe(node, index, ct, term)
                old = cts.get(x)
                if old is None:
                    cts[x] = term
                    if found[1] is not None:
                        masks[x] = found[1]
                else:
                    because(before, Because(x, None, "reverse"))
                    cts[x] = old + term
                    _join(masks, x, found[1])
                    if observe is not None:
                        observe(x, None, term, cts[x])
            if node not in targets:
                del cts[node]
    return [cts.get(node) for node in wrt]


def _of_several(
    op: Several,
    node: Value,
    inputs: Sequence[Value],
    relevant: set[Value],
    cts: dict[Value, Value],
    masks: dict[Value, Any],
    done: set[Value],
) -> None:
    """What the results of one computation contribute together. The last is met first, and all are done then."""
    nodes = op.siblings(node)
    given = [cts.get(other) for other in nodes]
    for x, term in zip(inputs, op.pull_back(nodes, given), strict=True):
        if term is None or x not in relevant or x._grad is INACTIVE:
            continue
        old = cts.get(x)
        cts[x] = term if old is None else old + term
        masks.pop(x, None)
    done.update(nodes)


def _join(masks: dict[Value, Any], x: Value, mask: Any) -> None:
    """The mask of a sum: present where either term is."""
    if x in masks:
        if mask is None:
            del masks[x]
        else:
            masks[x] = masks[x] | mask


Observe = Callable[[Value, int | None, Any, Any], None]


def observer(now: Mode) -> Observe | None:
    """Who wants to see each contribution: the `contribution` method of the one that watches, if it has one.

    It is called with a node, the index of an input, the node's cotangent and what that gives for the input; and
    with a node, None, a term and the sum, where several contributions were added up.
    """
    return getattr(now.watch, "contribution", None)


Swept = tuple[dict[Value, Any], list[Value], list[Value]]


def sweep(output: Value, seed: Any) -> Swept:
    """Cotangents of every active node that `output` was computed from, as plain numbers and arrays.

    Also the leaves among them, and the active nodes that were reached only by what was not chosen (`where`, `relu`):
    nothing flows to those, so their gradient is zero.
    """
    observe = observer(current_mode()) if SPECIAL else None
    if observe is not None:
        return quietly(_sweep_observed, output, seed, observe)  # type: ignore[no-any-return]
    return quietly(_sweep, output, seed)  # type: ignore[no-any-return]


def _sweep_observed(output: Value, seed: Any, observe: Observe) -> Swept:
    """`_sweep` without its fast path, and with someone who sees each contribution."""
    leaves: list[Value] = []
    untouched: list[Value] = []
    cts: dict[Value, Any] = {output: seed}
    masks: dict[Value, Any] = {}
    for node in sorted(reachable((output,)), key=by_serial, reverse=True):
        ct = cts.get(node)
        if ct is None:
            if node._grad is not INACTIVE:
                untouched.append(node)
        elif node._a is None:
            leaves.append(node)
        else:
            node._grad = ct
            _step(node, ct, cts, masks, set(), observe)
    return cts, leaves, untouched


def _sweep(output: Value, seed: Any) -> Swept:
    leaves: list[Value] = []
    untouched: list[Value] = []
    cts: dict[Value, Any] = {output: seed}
    masks: dict[Value, Any] = {}
    owned: set[Value] = set()
    get = cts.get
    for node in sorted(active_nodes(output), key=by_serial, reverse=True):
        ct = get(node)
        if ct is None:
            untouched.append(node)
            continue
        a = node._a
        if a is None:
            leaves.append(node)
            continue
        node._grad = ct
        y, x, op = node._data, a._data, node._op
        if type(y) is float and type(x) is float and type(op) is Elementwise and node._extra is NO_EXTRA:
            b = node._b
            try:
                if b is None:
                    if a._grad is INACTIVE:
                        continue
                    rule = op.partials[0]
                    if rule is not ONE:
                        partial = rule(y, x)  # type: ignore[misc]
                        if not partial and op.selects:
                            continue
                        ct *= partial
                    old = get(a)
                    cts[a] = ct if old is None else old + ct
                    continue
                z = b._data
                if type(z) is float and not op.selects:
                    first, second = op.partials
                    if b._grad is INACTIVE:
                        if a._grad is not INACTIVE:
                            term = ct if first is ONE else ct * first(y, x, z)  # type: ignore[misc]
                            old = get(a)
                            cts[a] = term if old is None else old + term
                        continue
                    other = ct if second is ONE else ct * second(y, x, z)  # type: ignore[misc]
                    if a._grad is not INACTIVE:
                        term = ct if first is ONE else ct * first(y, x, z)  # type: ignore[misc]
                        old = get(a)
                        cts[a] = term if old is None else old + term
                    old = get(b)
                    cts[b] = other if old is None else old + other
                    continue
            except (ArithmeticError, ValueError):
                pass  # Python's floats raise where IEEE 754 has an answer: the plain way has it
        elif type(y) is not float and not masks:
            assert op is not None
            extra, kind = node._extra, type(op)
            if op.is_direct and not extra.rest:  # both inputs in turn, without a loop: this is the hot path
                b, attrs, rules = node._b, extra.attrs, op.rules
                xs: tuple[Any, ...] = (x,) if b is None else (x, b._data)
                if type(x) is float or type(xs[-1]) is float:
                    xs = tuple(map(strong, xs))  # Python's floats raise where IEEE 754 has an answer
                if a._grad is not INACTIVE and (rule := rules[0]) is not None:
                    if rule is ONE:
                        term = ct
                    elif kind is Elementwise:
                        term = ct * rule(y, *xs, **attrs)
                    else:
                        term = rule(ct, *xs, **attrs) if kind is Linear else rule(ct, y, *xs, **attrs)
                    if type(x) is float or term.shape != x.shape or term.dtype is not x.dtype:
                        term = fit(term, x)
                    old = get(a)
                    cts[a] = term if old is None else old + term
                if b is not None and b._grad is not INACTIVE and (rule := rules[1]) is not None:
                    x = b._data
                    if rule is ONE:
                        term = ct
                    elif kind is Elementwise:
                        term = ct * rule(y, *xs, **attrs)
                    else:
                        term = rule(ct, *xs, **attrs) if kind is Linear else rule(ct, y, *xs, **attrs)
                    if type(x) is float or term.shape != x.shape or term.dtype is not x.dtype:
                        term = fit(term, x)
                    old = get(b)
                    cts[b] = term if old is None else old + term
                continue
        _step(node, ct, cts, masks, owned)
    return cts, leaves, untouched


def active_nodes(output: Value) -> set[Value]:
    """The nodes that gradients of the output flow to. Nothing below a constant is looked at."""
    stack = [output]
    seen = {output}
    add, push, pop = seen.add, stack.append, stack.pop
    while stack:
        node = pop()
        a = node._a
        if a is None:
            continue
        if a not in seen and a._grad is not INACTIVE:
            add(a)
            push(a)
        b = node._b
        if b is None:
            continue
        if b not in seen and b._grad is not INACTIVE:
            add(b)
            push(b)
        if node._extra is not NO_EXTRA:
            for x in node._extra.rest:
                if x not in seen and x._grad is not INACTIVE:
                    add(x)
                    push(x)
    return seen


def _step(
    node: Value,
    ct: Any,
    cts: dict[Value, Any],
    masks: dict[Value, Any],
    owned: set[Value],
    observe: Observe | None = None,
) -> None:
    """Add what one node contributes to the cotangents of its inputs."""
    op, attrs, y = node._op, node._extra.attrs, node._data
    inputs = inputs_of(node)
    xs = [x._data for x in inputs]
    mask = masks.get(node) if masks else None
    assert op is not None
    for index, x in enumerate(inputs):
        if x._grad is INACTIVE:
            continue
        if index == 0 and mask is None and isinstance(op, Linear) and op.accumulate is not None and observe is None:
            _accumulate(op, x, ct, xs, attrs, cts, owned)
            masks.pop(x, None)
            continue
        try:
            found = contribution(op, index, ct, mask, y, xs, attrs)
        except (ArithmeticError, ValueError):
            found = contribution(op, index, strong(ct), mask, strong(y), list(map(strong, xs)), attrs)
        if found is None:
            continue
        term, present = found
        if type(x._data) is float and type(term) is not float:
            term = float(term)
        if present is not None and shape_of(present) == () and not present:
            continue  # a scalar that was not chosen
        if observe is not None:
            observe(node, index, ct, term)
        old = cts.get(x)
        if old is None:
            cts[x] = term
            if present is not None:
                masks[x] = present
        else:
            cts[x] = old + term
            _join(masks, x, present)
            if observe is not None:
                observe(x, None, term, cts[x])


def _accumulate(
    op: Linear, x: Value, ct: Any, xs: Sequence[Any], attrs: Any, cts: dict[Value, Any], owned: set[Value]
) -> None:
    """Add the transpose into a buffer in place, so that n elements taken one by one cost n and not n²."""
    assert op.accumulate is not None
    buffer = cts.get(x)
    if buffer is None:
        buffer = np.zeros(shape_of(x._data), dtype_of(x._data))
    elif x not in owned:
        buffer = np.array(buffer)
    cts[x] = buffer
    owned.add(x)
    op.accumulate(buffer, ct, *xs, **attrs)


def seed_for(output: Value, seed: Any, caller: str) -> Any:
    """The cotangent to start from: one for a scalar, else what the user gave, checked."""
    if seed is None and not shape_of(output._data):
        if type(output._data) is float:
            return 1.0
        if dtypes.is_real(output._data.dtype):
            return output._data.dtype.type(1)
    if not dtypes.is_real(output.dtype):
        raise DtypeError(
            f"{caller}: {describe(output)} has dtype {output.dtype.name}, and only real numbers (float16, float32, "
            "float64) have a derivative. A comparison, argmax or cast to integers cuts the graph."
        )
    if seed is None:
        if output.size != 1 or output.ndim > 0:
            raise ShapeError(
                f"{caller} needs a scalar, and {describe(output)} has shape {output.shape}. "
                "Reduce it first: .sum() or .mean() are usual, mean for a loss over a batch. "
                "For the gradient of a weighted sum give the weights: a seed of that shape; "
                "for all derivatives at once use backlit.jacobian."
            )
        return 1.0 if dtype_of(output._data) == dtypes.float64 else output.dtype.type(1)
    if isinstance(seed, Value):
        seed = current(seed)._data
    data = as_data(seed, output.dtype)
    if shape_of(data) != output.shape:
        raise ShapeError(
            f"{caller}: the seed has shape {shape_of(data)}; it must have that of the output, {output.shape}."
        )
    return data


def backward(self: Value, seed: Any = None) -> None:
    """Gradients of this scalar by every node it was computed from, left in their `.grad`.

    seed: the cotangent to start from, of this value's shape; one if it is a scalar. Nodes between get the gradient of
    this output. Variables add it to what they hold from *other* outputs, until `zero_grad()`; calling `backward()`
    again on the same output replaces what it gave before, so it can never count twice.

    Raises ShapeError for an array without a seed, DtypeError for integers, GraphError if nothing can be differentiated.
    Cost: one to three times that of computing the value.

    >>> x = Value(3.0)
    >>> y = x * x
    >>> y.backward(); y.backward()
    >>> x.grad
    6.0
    """
    output = current(self)
    data = seed_for(output, seed, "backward()")
    if output._grad is INACTIVE:
        raise GraphError(
            f"backward(): {describe(self)} does not depend on any variable that can be differentiated: "
            f"{_why_inactive(output)}."
        )
    if type(output._data) is Abstract:
        trace = tracing()
        if trace is None:
            raise GraphError("backward() of a traced value, outside the function that was traced.")
        trace.backward(output, data)
        return
    cts, leaves, untouched = sweep(output, data)
    for node in untouched:
        cts[node] = _zeros_for(node)
        if node._a is None:
            leaves.append(node)
        else:
            node._grad = cts[node]
    _deposit(output, [(node, cts[node]) for node in leaves])


def _zeros_for(node: Value) -> Any:
    shape, dtype = shape_of(node._data), dtype_of(node._data)
    return np.zeros(shape, dtype) if shape else 0.0 if dtype == dtypes.float64 else dtype.type(0)


def _deposit(output: Value, leaves: list[tuple[Value, Any]]) -> None:
    """Add cotangents to the gradients that variables hold, once for each output."""
    earlier = {deposit.leaf: deposit for deposit in output._extra.deposits or ()}
    deposits = []
    for node, ct in leaves:
        variable = node if node._extra.owner is None else node._extra.owner
        before, resets = variable._grad, variable._extra.resets
        own = earlier.get(node)
        if before is None:
            variable._grad = ct
        elif own is not None and own.resets == resets:  # this output's own earlier contribution is replaced
            before = own.before
            if not np.array_equal(own.ct, ct, equal_nan=True):
                variable._grad = variable._grad - own.ct + ct
        else:
            if variable._extra.stale:
                _warn_stale(variable)
            variable._grad = before + ct
        if variable._extra.stale:
            variable._extra.stale = False
        deposits.append(Deposit(node, before, ct, resets))
    output._own_extra().deposits = deposits
    last_outputs.append(weakref.ref(output))


def _warn_stale(variable: Value) -> None:
    frame = user_frame(1)
    warnings.warn_explicit(
        f"backward() added to a gradient of {describe(variable)} that belongs to an older value of it: it was assigned "
        "after that gradient was computed. Call zero_grad() before each backward().",
        StaleGradientWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
    )


def _why_inactive(output: Value) -> str:
    for node in reversed(toposort([output])):
        if node._extra.cut is not None:
            return f"{describe(node)} was computed inside no_grad()"
        if node._op is not None and not node._op.differentiable:
            return f"no gradient passes {describe(node)}"
    return "it was computed from constants only; what is to vary must be a Value"


Value.backward = backward  # type: ignore[method-assign]
