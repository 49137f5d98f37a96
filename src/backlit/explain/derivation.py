"""The derivation of a gradient by the chain rule, step by step, with its real numbers.

Every step is read off the graph: the rule of each op is applied to its inputs once as numbers and once as
named values, so that a user's own op is explained as well as a built-in one. Nothing recurses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backlit.autodiff.reverse import seed_for
from backlit.autodiff.rules import contribution
from backlit.core.errors import GraphError, ShapeError
from backlit.core.files import write_whole
from backlit.core.numbers import dtype_of, quietly, shape_of, strong
from backlit.core.op import Elementwise
from backlit.core.value import INACTIVE, as_user_sees, current, describe, inputs_of, leaf
from backlit.core.walk import descendants, toposort
from backlit.explain import layout, steps_html, typeset
from backlit.explain.expression import Evaluated
from backlit.explain.flow import has_rule
from backlit.explain.formula import (
    Formula,
    expression_latex,
    expression_text,
    formula,
    number_text,
    partial_formula,
)
from backlit.explain.grammar import FOLDED, Place
from backlit.explain.nudging import Replay, Sides, nudge
from backlit.explain.steps import BackwardStep, Example, ForwardStep, Join, Part, Row, Steps, as_dict
from backlit.explain.wording import notes_of, rule_name
from backlit.ops.face import Value

MAX_NUDGED = 16  # numbers of one input that are nudged one by one
MAX_WORK = 2_000_000  # nodes computed again, for nudging in all


@dataclass(frozen=True)
class Derivation(Steps):
    """The steps of a derivation. `print` it, `.latex()`, `.html()`, `.to_dict()`, as with an `Explanation`."""

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = 80) -> str:
        """The derivation as plain text, for a screen of this many columns."""
        return layout.text(self, width)

    def latex(self) -> str:
        """The derivation as one `aligned` environment of LaTeX."""
        return typeset.latex(self)

    def html(self, path: str | Path | None = None) -> str:
        """The derivation as a page that needs nothing else, and written to `path` if one is given."""
        page = steps_html.page(self)
        if path is not None:
            write_whole(Path(path), page)
        return page

    def _repr_html_(self) -> str:
        return steps_html.fragment(self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def to_dict(self) -> dict[str, Any]:
        """The derivation as plain data that JSON can hold; `backlit.explain.steps` names the fields."""
        return as_dict(self)


def derivation(
    output: Value | Evaluated,
    wrt: Sequence[Value | str] | None = None,
    *,
    names: Mapping[Value, str] | None = None,
    nudged: bool = True,
) -> Derivation:
    """How the gradient of a scalar comes about: forward, backward by the chain rule, held against nudging.

    output: a value, or an evaluated expression. wrt: the values, or names of variables, for which it is asked
    (by default all variables that can be differentiated). names: what to call values; by default they go by
    the names they were given, or those of the variables of the program. nudged: whether to nudge as well.

    Raises ShapeError if the output is no scalar, DtypeError if it is no real number, GraphError for an
    unknown name or if nothing can be differentiated. Cost: linear in the graph, and for nudging about 20
    replays of it an input.

    >>> a, b = Value(2.0, name="a"), Value(-3.0, name="b")
    >>> [(row.label, row.gradient) for row in derivation(a * b + a).table]
    [('a', -2.0), ('b', 2.0)]
    """
    if isinstance(output, Evaluated):
        return _Teller(output.output, wrt, output.names, nudged, output).tell()
    return _Teller(output, wrt, names, nudged, None).tell()


class _Teller:
    """One derivation being made."""

    def __init__(
        self,
        output: Value,
        wrt: Sequence[Value | str] | None,
        names: Mapping[Value, str] | None,
        nudged: bool,
        read: Evaluated | None,
    ) -> None:
        self.output = current(output)
        if read is not None and self.output.shape:
            raise ShapeError(
                f"explain: {read.source} has shape {self.output.shape}, and only a single number is "
                f"explained. Write sum({read.source}) or mean({read.source})."
            )
        self.seed = seed_for(self.output, None, "explain")
        self.order = toposort([self.output])
        self.nudged, self.read = nudged, read
        self.given = {current(value): name for value, name in (names or {}).items()}
        self.labels = self._labels(names is None)
        variables = [node for node in self.order if node._a is None and node._grad is not INACTIVE]
        if read is not None:
            self.variables = [current(value) for value in read.inputs.values()]
        else:
            self.variables = variables
        self.wrt = self._wanted(wrt)
        self.relevant = descendants(self.wrt, self.order)
        self.formulas = {node: self._formula(node) for node in self.order if node._op is not None}

    # -- names -----------------------------------------------------------------------------------------------

    def _labels(self, from_program: bool) -> dict[Value, str]:
        """What every node is called; a constant without a name is called by its number."""
        labels: dict[Value, str] = {}
        taken: dict[str, int] = {}
        for node in self.order:
            name = self.given.get(node)
            if name is None and from_program and (node._op is not None or node._grad is not INACTIVE):
                name = as_user_sees(node).label
            if name is not None:
                labels[node] = _distinct(name, taken)
        steps = unnamed = 0
        for node in self.order:
            if node in labels:
                continue
            if node._op is None and node._grad is INACTIVE:
                labels[node] = number_text(node._data)
                continue
            while node not in labels:
                if node._op is None:
                    unnamed += 1
                    label = f"v{unnamed}"
                else:
                    steps += 1
                    label = f"t{steps}"
                if label not in taken:
                    taken[label] = 1
                    labels[node] = label
        return labels

    def _names(self, nodes: Iterable[Value]) -> dict[Value, str]:
        """The names of these nodes, constants without a name left out."""
        return {
            node: self.labels[node]
            for node in nodes
            if node._op is not None or node._grad is not INACTIVE or node in self.given
        }

    def _wanted(self, wrt: Sequence[Value | str] | None) -> list[Value]:
        if wrt is None:
            found = [node for node in self.variables if node._grad is not INACTIVE]
            if not found:
                what = describe(self.output) if self.read is None else self.read.source
                raise GraphError(f"explain: {what} is made of constants; there is no variable to derive by.")
            return found
        nodes = {label: node for node, label in self._names(self.order).items()}
        found = []
        for each in wrt:
            if isinstance(each, str):
                if each not in nodes:
                    known = ", ".join(self.labels[node] for node in self.variables)
                    text = self._expression()[0]
                    raise GraphError(f"explain: `{each}` does not occur in {text}; its variables are {known}.")
                node = nodes[each]
            else:
                node = current(each)
                if node not in self.labels:
                    raise GraphError(f"explain: {describe(each)} does not occur in the graph of the output.")
            if node._grad is INACTIVE:
                raise GraphError(
                    f"explain: `{self.labels[node]}` is a constant, so there is no derivative by it. "
                    "Give it a value of its own to make it a variable."
                )
            found.append(node)
        return list(dict.fromkeys(found))

    def _expression(self) -> tuple[str, str]:
        """The whole expression as text and as LaTeX."""
        names = self._names(node for node in self.order if node._op is None)
        latex = expression_latex(self.output, names)
        return (self.read.source if self.read is not None else expression_text(self.output, names)), latex

    # -- the whole -------------------------------------------------------------------------------------------

    def tell(self) -> Derivation:
        text, latex = self._expression()
        forward = tuple(self._forward(node) for node in self.order if node._op is not None)
        gradients, backward = quietly(self._backward)
        table, example = quietly(self._table, gradients) if self.nudged else (self._plain_table(gradients), None)
        return Derivation(
            expression=text,
            expression_latex=latex,
            output=self.labels[self.output],
            value=self.output._data,
            inputs=tuple((self.labels[node], node._data) for node in self.variables),
            forward=forward,
            backward=tuple(backward),
            table=table,
            example=example,
            notes=tuple(self._stops(table)),
        )

    def _forward(self, node: Value) -> ForwardStep:
        assert node._op is not None
        place: Place | None = self.read.places.get(node) if self.read is not None else None
        return ForwardStep(
            self.labels[node],
            node._op.name,
            self.formulas[node],
            node._data,
            None if place is None else place.text,
            None if place is None else place.column,
        )

    def _formula(self, node: Value) -> Formula:
        found = formula(node, self._names(inputs_of(node)))
        spelled = self.read.places[node].text.partition("(")[0] if self.read and node in self.read.places else ""
        name = FOLDED.get(spelled.strip())
        if name is None or node._op is None or node._op.name != name:
            return found
        text, numbers = (each.replace(f"{name}(", f"{spelled}(", 1) for each in (found.text, found.numbers))
        return replace(found, text=text, numbers=numbers)  # as the user wrote it

    # -- backward --------------------------------------------------------------------------------------------

    def _backward(self) -> tuple[dict[Value, Any], list[BackwardStep]]:
        gradients: dict[Value, Any] = {self.output: self.seed}
        masks: dict[Value, Any] = {}
        terms: dict[Value, list[Any]] = {}
        completed: dict[Value, Value] = {}  # for each node the one that passed on to it last
        walked: list[tuple[Value, list[tuple[Value, Part]], list[str]]] = []
        for node in reversed(self.order):
            edges = self._edges(node)
            if not edges or node not in gradients:
                continue
            parts, notes = [], []
            for index, x in edges:
                part, present = self._part(node, index, x, gradients[node], masks.get(node))
                parts.append((x, part))
                notes += [note for note in self._notes(node, index, part) if note not in notes]
                if not part.flows:
                    continue
                terms.setdefault(x, []).append(part.gradient)
                completed[x] = node
                if x not in gradients:
                    gradients[x] = part.gradient
                    masks[x] = present
                else:
                    gradients[x] = gradients[x] + part.gradient
                    masks[x] = None if present is None or masks[x] is None else masks[x] | present
            walked.append((node, parts, notes))
        steps = []
        for node, parts, notes in walked:
            assert node._op is not None
            joined = dict.fromkeys(x for x, _ in parts if len(terms.get(x, ())) > 1 and completed[x] is node)
            step = BackwardStep(
                label=self.labels[node],
                op=node._op.name,
                formula=self.formulas[node],
                rule=rule_name(node._op, [x._grad is not INACTIVE for x in inputs_of(node)]),
                gradient=gradients[node],
                parts=tuple(replace(part, shared=len(terms.get(x, ())) > 1) for x, part in parts),
                joins=tuple(Join(self.labels[x], tuple(terms[x]), gradients[x]) for x in joined),
                notes=tuple(notes),
            )
            steps.append(step)
        return gradients, steps

    def _edges(self, node: Value) -> list[tuple[int, Value]]:
        """The inputs to which a gradient goes, of those that lead to what was asked for."""
        if node not in self.relevant or node._op is None or node._grad is INACTIVE:
            return []
        return [
            (index, x)
            for index, x in enumerate(inputs_of(node))
            if x in self.relevant and x._grad is not INACTIVE and has_rule(node, index)
        ]

    def _part(self, node: Value, index: int, x: Value, gradient: Any, mask: Any) -> tuple[Part, Any]:
        """What a node passes to one input, and the mask of where that is present."""
        op, inputs, attrs = node._op, inputs_of(node), node._extra.attrs
        assert op is not None
        y, xs = strong(node._data), [strong(each._data) for each in inputs]
        found = contribution(op, index, strong(gradient), mask, y, xs, attrs)
        written, value, present, silence = None, None, None, ""
        if isinstance(op, Elementwise):
            written, value = self._partial(op, node, index)
        elif shape_of(node._data) == shape_of(x._data) == ():
            unit = contribution(op, index, np.ones((), y.dtype)[()], None, y, xs, attrs)
            value = None if unit is None else float(unit[0])
        term = _zero(x)
        if found is not None:
            term, present = found
        if found is None or (present is not None and shape_of(present) == () and not present):
            alone = sum(has_rule(node, i) for i in range(len(inputs))) == 1
            silence = f"{op.name} lets nothing through" if alone else f"{self.labels[x]} was not chosen"
            term = _zero(x)
        if type(x._data) is float:
            term = float(term)
        which = _which(inputs, index)
        return Part(self.labels[x], index, which, written, value, term, silence=silence), present

    def _partial(self, op: Elementwise, node: Value, index: int) -> tuple[Formula, Any]:
        """The local partial, as a formula of the names and as its value."""
        rule, inputs, attrs = op.partials[index], inputs_of(node), node._extra.attrs
        assert rule is not None
        value = rule(strong(node._data), *(strong(each._data) for each in inputs), **attrs)
        if dtype_of(value).kind == "b":
            value = np.asarray(value, node.dtype)[()]
        stand_ins = {x: _stand_in(x) for x in (*inputs, node)}
        names = {stand_ins[x]: name for x, name in self._names(stand_ins).items()}
        written = rule(stand_ins[node], *(stand_ins[x] for x in inputs), **attrs)
        return partial_formula(written, names), float(value) if shape_of(value) == () else value

    def _notes(self, node: Value, index: int, part: Part) -> list[str]:
        op, xs = node._op, [x._data for x in inputs_of(node)]
        assert op is not None
        if part.partial_value is None or any(shape_of(x) for x in (node._data, *xs)):
            return []
        text = self.formulas[node].text
        return notes_of(op, node._data, xs, node._extra.attrs, index, part.partial_value, text)

    def _stops(self, table: Sequence[Row]) -> list[str]:
        """Where the gradient was stopped on purpose, if nudging does not agree."""
        if all(row.verdict != "differs" for row in table):
            return []
        return [
            f"The gradient is stopped on purpose at {self.labels[node]} = {self.formulas[node].text}; "
            "nudging does not know of that."
            for node in self.order
            if node._op is not None and node._op.name == "stop_gradient"
        ]

    # -- the table -------------------------------------------------------------------------------------------

    def _plain_table(self, gradients: dict[Value, Any]) -> tuple[Row, ...]:
        return tuple(Row(self.labels[x], x._data, self._gradient(x, gradients)) for x in self.wrt)

    def _gradient(self, x: Value, gradients: dict[Value, Any]) -> Any:
        return gradients.get(x, _zero(x))

    def _table(self, gradients: dict[Value, Any]) -> tuple[tuple[Row, ...], Example | None]:
        rows, example, work = [], None, 0
        for x in self.wrt:
            replay = Replay(self.order, x)
            gradient = self._gradient(x, gradients)
            work += 20 * (len(replay.later) + 1) * max(x.size, 1)
            if x.size > MAX_NUDGED or work > MAX_WORK:
                rows.append(Row(self.labels[x], x._data, gradient))
                continue
            rows.append(_row(self.labels[x], x, gradient, nudge(replay)))
            if example is None and rows[-1].verdict == "agrees" and x.shape == () and gradient != 0:
                example = _example(self.labels[x], x, float(gradient), replay)
        return tuple(rows), example


def _distinct(name: str, taken: dict[str, int]) -> str:
    """The name, or with a number behind it if another node has it already, as in a loop."""
    label, count = name, taken.get(name, 0)
    while label in taken:
        count += 1
        label = f"{name}#{count}"
    taken[name] = taken[label] = max(count, 1)
    return label


def _which(inputs: Sequence[Value], index: int) -> str:
    """Which of its operands a node means, where it uses one value twice."""
    if sum(x is inputs[index] for x in inputs) == 1:
        return ""
    return ("left", "right")[index] if len(inputs) == 2 else f"input {index + 1}"


def _stand_in(x: Value) -> Value:
    """A node for a formula: a leaf with the same numbers; a constant stays one, since rules look at it."""
    if x._op is None and x._grad is INACTIVE:
        return x
    return leaf(x._data)


def _zero(x: Value) -> Any:
    return np.zeros(x.shape, x.dtype) if x.shape else 0.0


def _row(label: str, x: Value, gradient: Any, sides: Sequence[Sides]) -> Row:
    values = [side.value for side in sides]
    claimed = np.asarray(gradient, np.float64).reshape(-1)
    verdicts = [_verdict(float(g), side) for g, side in zip(claimed, sides, strict=True)]
    verdict = next((v for v in ("differs", "kink", "none") if v in verdicts), "agrees")
    if x.shape:
        shown = np.array([np.nan if v is None else v for v in values]).reshape(x.shape)
        errors = np.array([np.inf if s.error is None else s.error for s in sides]).reshape(x.shape)
        return Row(label, x._data, gradient, shown, errors, verdict=verdict)
    (side,) = sides
    return Row(label, x._data, gradient, side.value, side.error, side.below, side.above, verdict)


def _verdict(gradient: float, side: Sides) -> str:
    if side.below is not None:
        return "kink"
    if side.value is None or side.error is None or not np.isfinite(gradient):
        return "none"
    margin = 3 * side.error + 1e-7 * max(abs(gradient), abs(side.value))
    return "agrees" if abs(side.value - gradient) <= margin else "differs"


def _example(label: str, x: Value, gradient: float, replay: Replay) -> Example | None:
    """The change of the output when an input is raised by about a thousandth of its size."""
    size = abs(float(x._data)) or 1.0
    by = 10.0 ** (np.floor(np.log10(size)) - 3)
    change = float(replay.at(x.dtype.type(float(x._data) + by) if type(x._data) is not float else x._data + by))
    change -= float(replay.output._data)
    return Example(label, float(by), gradient * float(by), change) if np.isfinite(change) else None
