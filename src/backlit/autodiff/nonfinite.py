"""Where the first NaN or infinity arises, in either pass: the op, its operands, the line, and what to write.

Arithmetic follows IEEE 754, so a NaN travels silently to the loss. Inside `trace_nonfinite` every new node
and every contribution to a cotangent is looked at; what is reported is not where the NaN is noticed, but
where finite numbers first gave one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.advice import backward_advice, forward_advice
from backlit.core import dtypes
from backlit.core.errors import NonFiniteError, NonFiniteWarning
from backlit.core.numbers import Abstract, Shape, dtype_of, quietly, shape_of, strong
from backlit.core.op import Elementwise, Op
from backlit.core.site import Site, user_frame
from backlit.core.state import Because, current_mode, mode
from backlit.core.value import NO_ATTRS, Value, current, describe, inputs_of

ACTIONS = ("raise", "warn", "record")


@dataclass(frozen=True, slots=True)
class NonFinite:
    """A NaN or an infinity that arose from finite numbers, or that a variable or constant held already.

    where: "forward", "backward" or "tangent", the pass in which it arose, or "leaf". op: the name of the
    op, None for a leaf. argument: in a backward pass the input whose cotangent it is. value, index: the
    first such number and its place. node: of the forward graph. message: all of it in words.
    """

    where: str
    op: str | None
    argument: int | None
    value: float
    index: tuple[int, ...]
    node: Value
    message: str

    @property
    def site(self) -> Site | None:
        """The user's line that made the node."""
        return self.node.site

    def __str__(self) -> str:
        return self.message


def trace_nonfinite(action: str = "raise", infinities: bool = True) -> Tracer:
    """Within the `with` block, find the first NaN or infinity, in the forward or the backward pass.

    action: "raise" NonFiniteError, "warn" with NonFiniteWarning at the user's line, or "record" only; the
    block's target has all that were found in `found`, each an origin and not what followed from it.
    infinities: False looks for NaN alone, where infinities are meant, such as a mask of -inf. Raises
    ValueError for another action.

    Cost: operations on scalars take about five times as long, arrays are read once more.

    >>> from backlit.ops.powers import log
    >>> with trace_nonfinite("record") as trace:
    ...     y = log(Value(0.0, name="x")) * 2.0
    >>> print(trace.found[0].message.splitlines()[0])
    log gave -inf.
    """
    if action not in ACTIONS:
        raise ValueError(f"trace_nonfinite: action={action!r} is not known; choose one of {', '.join(ACTIONS)}.")
    return Tracer(action, infinities)


class Tracer:
    """Watches nodes being made and cotangents being added up. Made by `trace_nonfinite`."""

    def __init__(self, action: str, infinities: bool) -> None:
        self.found: list[NonFinite] = []
        self._action, self._infinities = action, infinities
        self._known: set[Value] = set()  # nodes that hold what has been reported
        self._outer: Callable[[Value], None] | None = None
        self._group: Because | None = None  # the nodes of one rule are made one after another
        self._suspect: Value | None = None  # the first of them that is not finite
        self._last: Value | None = None

    def __enter__(self) -> Tracer:
        self._outer = current_mode().watch
        self._mode = mode(watch=self)
        self._mode.__enter__()
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self._mode.__exit__(kind, *rest)
        if kind is None:
            self._close()

    # -- what is watched
    # ----------------------------------------------------------------------------------------

    def __call__(self, node: Value) -> None:
        """A new node."""
        if self._outer is not None:
            self._outer(node)
        reason = node._extra.because
        if reason is not self._group:
            self._close()
            self._group = reason
        self._last = node
        if not self._is_bad(node._data):
            return
        if reason is None:
            self._forward(node)
        elif self._suspect is None and not any(self._is_bad(x._data) for x in inputs_of(node)):
            self._suspect = node

    def contribution(self, node: Value, index: int | None, before: Any, after: Any) -> None:
        """What a cotangent of a node gave for its input `index`; or, if that is None, the sum of several."""
        outer = getattr(self._outer, "contribution", None)
        if outer is not None:
            outer(node, index, before, after)
        ct, term = (current(x)._data if isinstance(x, Value) else x for x in (before, after))
        if type(term) is Abstract or not self._is_bad(term):
            return
        suspect = self._suspect
        if not self._is_bad(ct):
            self._report(quietly(_in_backward, node, index, ct, term, suspect, self._bad))
        elif not self.found:
            self._report(_seeded(node, ct, self._bad))

    def _close(self) -> None:
        """The rule whose nodes were being made is done: in forward mode, the last of them is the tangent."""
        reason, suspect, last = self._group, self._suspect, self._last
        self._group = self._suspect = self._last = None
        if reason is None or reason.mode != "forward" or suspect is None or last is None:
            return
        if self._is_bad(last._data):
            self._report(quietly(_in_tangent, reason.node, suspect, last, self._bad))

    def _forward(self, node: Value) -> None:
        """A node of the forward pass that is not finite."""
        op, inputs, attrs = _made_by(node)
        sources = [x for x in inputs if self._is_bad(x._data)]
        self._known.add(node)
        fresh = [x for x in sources if x not in self._known]
        if not sources and op is not None:
            self._report(quietly(_in_forward, node, op, inputs, attrs, self._bad))
        for x in fresh:
            self._known.add(x)
            self._report(_in_leaf(x, self._bad))

    # -- what is bad, and what is done about it
    # -----------------------------------------------------------------

    def _is_bad(self, data: Any) -> bool:
        if type(data) is float:
            return data != data or (self._infinities and math.isinf(data))
        return type(data) is not Abstract and dtypes.is_real(dtype_of(data)) and bool(np.any(self._bad(data)))

    def _bad(self, data: Any) -> Any:
        return ~np.isfinite(data) if self._infinities else np.isnan(data)

    def _report(self, found: NonFinite) -> None:
        self.found.append(found)
        if self._action == "raise":
            raise NonFiniteError(found.message)
        if self._action == "warn":
            site = found.site
            frame = user_frame(2)
            file, line = (frame.f_code.co_filename, frame.f_lineno) if site is None else (site.file, site.line)
            warnings.warn_explicit(found.message, NonFiniteWarning, file, line)


Bad = Callable[[Any], Any]


def _made_by(node: Value) -> tuple[Op | None, tuple[Value, ...], Any]:
    """The op and the inputs of a node, also where `no_grad` kept it from recording them."""
    if node._op is None and node._extra.cut is not None:
        _, op, references = node._extra.cut
        return op, tuple(x for x in (reference() for reference in references) if x is not None), NO_ATTRS
    return node._op, inputs_of(node), node._extra.attrs


def _in_forward(node: Value, op: Op, inputs: Sequence[Value], attrs: Any, bad: Bad) -> NonFinite:
    value, index = _first(node._data, bad)
    there = [_there(op, x._data, index, shape_of(node._data)) for x in inputs]
    lines = [f"{op.name} gave {value}{_at(index)}.", _made(node, op)]
    lines += _operands(inputs, there)
    lines += _advised(forward_advice(op.name, there, value, dtype_of(node._data), inputs))
    return NonFinite("forward", op.name, None, value, index, node, "\n".join(lines))


def _in_leaf(x: Value, bad: Bad) -> NonFinite:
    value, index = _first(x._data, bad)
    shown = _shown(x)
    if shown._op is None and shown._extra.cut is None:
        text = f"{describe(shown)}, itself holds {value}{_at(index)}: {_short(x._data)}."
    else:
        text = f"{describe(shown)}, held {value}{_at(index)} before the tracing began: {_short(x._data)}."
    return NonFinite("leaf", None, None, value, index, x, text)


def _in_backward(node: Value, index: int | None, ct: Any, term: Any, suspect: Value | None, bad: Bad) -> NonFinite:
    value, at = _first(term, bad)
    op = node._op
    if index is None or op is None:
        text = (
            f"the cotangent of {_named(node)} became {value}{_at(at)} where the contributions of several "
            "uses were "
            f"added up, each of which was finite; one is {_short(ct)}."
        )
        return NonFinite("backward", None if op is None else op.name, None, value, at, node, text)
    inputs = inputs_of(node)
    lines = [
        f"in the backward pass of {op.name}, the cotangent of argument {index} became {value}{_at(at)}.",
        _made(node, op),
    ]
    partial, place = _partial(node, op, index, ct, bad)
    if place is None:
        there: list[float | None] = [_single(x._data) for x in inputs]
        lines += _operands(inputs, there)
        lines.append(f"    cotangent that came in: {_short(ct)}")
        coming = _single(ct)
    else:
        there = [_there(op, x._data, place, shape_of(node._data)) for x in inputs]
        coming = float(np.broadcast_to(ct, shape_of(node._data))[place])
        lines += _operands(inputs, there)
        lines.append(f"    partial {partial} times the cotangent that came in, {coming}{_at(place)}")
    if suspect is not None and suspect._op is not None:
        made, of = _first(suspect._data, bad)
        operands = ", ".join(f"{_there(suspect._op, x._data, of, shape_of(suspect._data))}" for x in inputs_of(suspect))
        lines.append(f"    within the rule: {suspect._op.name}({operands}) gave {made}")
    lines += _advised(backward_advice(op.name, index, there, partial, coming, dtype_of(term)))
    return NonFinite("backward", op.name, index, value, at, node, "\n".join(lines))


def _seeded(node: Value, ct: Any, bad: Bad) -> NonFinite:
    value, index = _first(ct, bad)
    text = f"the cotangent that came to {_named(node)} is {value}{_at(index)}: the seed was not finite."
    return NonFinite("backward", None if node._op is None else node._op.name, None, value, index, node, text)


def _in_tangent(node: Value, suspect: Value, last: Value, bad: Bad) -> NonFinite:
    op = node._op
    assert op is not None
    value, index = _first(last._data, bad)
    inputs = inputs_of(node)
    there = [_there(op, x._data, index, shape_of(node._data)) for x in inputs]
    lines = [
        f"in forward mode, the tangent of {op.name} became {value}{_at(index)}.",
        _made(node, op),
        *_operands(inputs, there),
    ]
    if suspect._op is not None:
        made, of = _first(suspect._data, bad)
        operands = ", ".join(f"{_there(suspect._op, x._data, of, shape_of(suspect._data))}" for x in inputs_of(suspect))
        lines.append(f"    within the rule: {suspect._op.name}({operands}) gave {made}")
    lines += _advised(backward_advice(op.name, 0, there, None, None, dtype_of(last._data)))
    return NonFinite("tangent", op.name, None, value, index, node, "\n".join(lines))


def _partial(node: Value, op: Op, index: int, ct: Any, bad: Bad) -> tuple[float | None, tuple[int, ...] | None]:
    """The partial of an elementwise op where it makes a cotangent bad, and the place; None where unknown."""
    if not isinstance(op, Elementwise) or (rule := op.partials[index]) is None:
        return None, None
    xs = [strong(x._data) for x in inputs_of(node)]
    partial = rule(strong(node._data), *xs, **node._extra.attrs)
    products = np.broadcast_to(np.asarray(partial) * strong(ct), shape_of(node._data))
    places = np.argwhere(bad(products))
    if not len(places):
        return None, None
    place = tuple(int(i) for i in places[0])
    return float(np.broadcast_to(partial, products.shape)[place]), place


# -- in words
# ---------------------------------------------------------------------------------------------------


def _first(data: Any, bad: Bad) -> tuple[float, tuple[int, ...]]:
    """The first bad number and its index."""
    array = np.asarray(data)
    index = tuple(int(i) for i in np.argwhere(bad(array))[0])
    return float(array[index]), index


def _there(op: Op, data: Any, index: tuple[int, ...], shape: Shape) -> float | None:
    """The number of an operand that took part in one element of the result; None where it is not one."""
    if not isinstance(op, Elementwise):
        return _single(data)
    array = np.asarray(data)
    return float(np.broadcast_to(array, shape)[index]) if array.dtype.kind != "c" else None


def _single(data: Any) -> float | None:
    return float(np.asarray(data).reshape(-1)[0]) if np.size(data) == 1 and dtype_of(data).kind != "c" else None


def _at(index: tuple[int, ...]) -> str:
    return f" at index ({', '.join(map(str, index))}{',' * (len(index) == 1)})" if index else ""


def _made(node: Value, op: Op) -> str:
    site = node.site
    if site is None:
        return f"    op: {op.name}"
    text = site.text
    return f"    op: {op.name} at {site}" + (f": {text}" if text else "")


def _named(node: Value) -> str:
    label = f"`{node.label}`, " if node.label else ""
    return f"{label}{'a variable' if node._op is None else node._op.name}" + (f" at {node.site}" if node.site else "")


def _operands(inputs: Sequence[Value], there: Sequence[float | None]) -> list[str]:
    lines = []
    for i, (x, number) in enumerate(zip(inputs, there, strict=True)):
        shown = _shown(x)
        place = f"{number} there; " if number is not None and np.size(x._data) > 1 else ""
        lines.append(f"    operand {i}: {describe(shown)}, {_kind(x._data)}: {place}{_short(x._data)}")
    return lines


def _shown(x: Value) -> Value:
    """The variable that a node stands for: of an older value, or within `grad`."""
    while x._op is not None and x._op.name == "identity":
        (x,) = inputs_of(x)
    return x if x._extra.owner is None else x._extra.owner


def _kind(data: Any) -> str:
    shape = shape_of(data)
    return f"{dtype_of(data).name}{list(shape) if shape else ''}"


def _short(data: Any) -> str:
    """An array in at most a line."""
    if not shape_of(data):
        return f"{data}"
    text = np.array2string(np.asarray(data), precision=4, threshold=8, edgeitems=2, max_line_width=10_000)
    text = " ".join(text.split())
    return text if len(text) <= 90 else f"{text[:86]} ..."


def _advised(text: str | None) -> list[str]:
    return [] if text is None else [f"  {text}"]
