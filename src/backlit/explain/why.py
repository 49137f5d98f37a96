"""`why(x)`: the answer for any gradient, whatever state it is in."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backlit.autodiff import reverse
from backlit.autodiff.reverse import seed_for
from backlit.core.errors import GraphError, IndexingError
from backlit.core.numbers import Abstract, quietly, shape_of
from backlit.core.value import INACTIVE, Value, as_user_sees, current, describe, inputs_of
from backlit.core.walk import reachable, toposort
from backlit.explain import chain
from backlit.explain.answer import Check, Finding, Line, Sum
from backlit.explain.births import birth_findings
from backlit.explain.blocks import Hop, Index
from backlit.explain.cuts import cuts, of_itself
from backlit.explain.explanation import Explanation
from backlit.explain.flow import Flow
from backlit.explain.formula import expression_text, number_latex, number_text
from backlit.explain.naming import Names, at, partial_by, spot_of
from backlit.explain.picture import largest_at, picture, zeros_in
from backlit.explain.simplifications import mean_of, simplification
from backlit.explain.sizes import factors, heaviest, size_state
from backlit.explain.terms import Walk, local_formula, summed, walk
from backlit.explain.why_latex import element_latex, words
from backlit.explain.wording import rule_name
from backlit.explain.zeros import zero_findings

MOST_FOLDED = 2_000  # scalar nodes, folded to few enough steps to be told in full
MOST_EXPRESSION = 90  # characters of an output's expression that are shown
_ENDS = 8  # steps shown at each end of a long way
_SAMPLES = 16  # elements that are looked at where a whole array is zero


def why(
    x: Value,
    of: Value | None = None,
    index: int | Sequence[int] | None = None,
    top: int = 5,
    open: bool = False,  # noqa: A002
) -> Explanation:
    """Why the gradient of x is what it is: None, zero, NaN, huge, or the number it is and where that comes from.

    of: the scalar whose gradient is explained; by default the newest one that `backward()` was called on and that x leads
    to. index: of one element of an array; without it, the whole array. top: how many terms of a sum are listed.
    open: show what composites (softmax, mean, …) are made of instead of folding them.

    Raises GraphError for what is no value, IndexingError for an index that is not there, ShapeError if `of` is an array
    that no `backward(seed)` was called on. The graph and its gradients are not changed. Cost: one backward pass over the
    nodes between, and one evaluation of each op that uses x.

    >>> a, b = Value(2.0, name="a"), Value(-3.0, name="b")
    >>> print(why(a, of=a * b + a).headline)
    ∂output/∂a = -2
    """
    if not isinstance(x, Value):
        raise GraphError(
            f"why: {type(x).__name__} {x!r:.40} is no value of a graph, so it has no gradient to explain."
        )
    if of is not None and not isinstance(of, Value):
        raise GraphError(
            f"why: of must be a value of a graph, such as the loss, and is {type(of).__name__} {of!r:.40}."
        )
    place = None if index is None else _place(x, index)
    output = current(of) if of is not None else _newest(x)
    if output is None:
        return _without_output(x)
    return _Asked(x, output, place, max(1, operator.index(top)), bool(open)).answer()


def _place(x: Value, index: int | Sequence[int]) -> Index:
    """The index of one element, normal and checked."""
    given = (index,) if isinstance(index, (int, np.integer)) else tuple(index)
    if len(given) != x.ndim:
        raise IndexingError(
            f"why: {describe(x)} has shape {x.shape}, so an element of it is named by {x.ndim} "
            f"number{'s' * (x.ndim != 1)}; index={index!r} gives {len(given)}."
        )
    found = []
    for axis, (i, length) in enumerate(zip(given, x.shape, strict=True)):
        i = operator.index(i)
        if not -length <= i < length:
            raise IndexingError(
                f"why: index {i} is not on axis {axis} of {describe(x)}, which has length {length}."
            )
        found.append(i % length)
    return tuple(found)


def _newest(x: Value) -> Value | None:
    """The newest output of a `backward()` to which x leads; else the newest of all."""
    alive = [output for output in (reference() for reference in reverse.last_outputs) if output is not None]
    for output in reversed(alive):
        if _nodes_of(x, output):
            return output
    return alive[-1] if alive else None


def _nodes_of(x: Value, output: Value) -> list[Value]:
    """The nodes of a graph that stand for a variable: more than one if it was assigned to while that was computed."""
    node = current(x)
    return sorted(
        (n for n in reachable((output,)) if n is x or n is node or n._extra.owner is x),
        key=lambda n: n._serial,
    )


def _without_output(x: Value) -> Explanation:
    node = current(x)
    label = as_user_sees(node).label or "x"
    finding = of_itself(node) or Finding(
        "no backward",
        "backward() has not run yet, or nothing holds its output any more, so that its graph is gone.",
        "Call backward() on an output that stays in a variable (loss = …; loss.backward()), or say why(x, of=loss).",
    )
    if x.grad is not None:
        headline = f"{label}.grad is set, but the graph that it came from is gone."
    else:
        headline = f"{label}.grad is None."
    return Explanation(
        label, "", "none", x.grad, headline, findings=(finding,), subject_latex=element_latex(label, ())
    )


class _Asked:
    """One question, and what is known to answer it."""

    def __init__(self, x: Value, output: Value, place: Index | None, top: int, opened: bool) -> None:
        self.x, self.output, self.place, self.top, self.opened = x, output, place, top, opened
        if type(output._data) is Abstract:
            raise GraphError(
                "why: the output is being traced and has no numbers yet; ask outside the traced function."
            )
        self.ran = output._extra.deposits is not None
        self.nodes = _nodes_of(x, output) or [current(x)]

    def answer(self) -> Explanation:
        node = self.nodes[-1]
        blocked = of_itself(node)
        if blocked is not None or self.output._grad is INACTIVE:
            return self._none(blocked)
        self.seed = (
            self.output._grad
            if self.ran and self.output._grad is not None
            else seed_for(self.output, None, "why")
        )
        newest = reverse.last_outputs[-1]() if reverse.last_outputs else None
        self.flow = Flow(
            self.output, self.seed, self.nodes, left=self.ran and newest is self.output and self.x.ndim > 0
        )
        if (
            not any(n is self.output or self.flow.uses.get(n) for n in self.nodes)
            or self.output not in self.flow.relevant
        ):
            return self._none(None)
        if not self._leads_there():
            return self._none(None)
        self.names = Names(self.flow)
        self.out = self.names[self.output]
        if len(self.nodes) > 1:
            for n in self.nodes[:-1]:
                self.names[n]
        found = self._some()
        if self.flow.was_left and not _adds_up(
            found
        ):  # someone has assigned to .grad since, or a mask matters
            self.flow = Flow(self.output, self.seed, self.nodes)
            self.names = Names(self.flow)
            found = self._some()
        return found

    def _leads_there(self) -> bool:
        """Whether a chain of derivatives, not of values alone, leads from the variable to the output."""
        alive, stack = set(self.nodes), list(self.nodes)
        while stack:
            for user, _ in self.flow.uses.get(stack.pop(), []):
                if user not in alive:
                    alive.add(user)
                    stack.append(user)
        return self.output in alive

    # -- None ------------------------------------------------------------------------------------------------

    def _none(self, blocked: Finding | None) -> Explanation:
        label = as_user_sees(self.nodes[-1]).label or "x"
        out = as_user_sees(self.output).label or "output"
        found = [blocked] if blocked is not None else cuts(self.nodes, self.output)
        if not found:
            found = cuts(
                [n for n in toposort([self.output]) if n._op is None and n._grad is not INACTIVE], self.output
            )
        because = found[0].kind if found else "no path"
        held = as_user_sees(self.nodes[-1]).grad
        story = (
            ()
            if held is None
            else (f"{label}.grad holds numbers all the same: another output's backward() left them.",)
        )
        return Explanation(
            label, out, "none", None, f"{partial_by(out, label)} is None: {_REASONS.get(because, because)}.", story=story,
            findings=tuple(found), subject_latex=element_latex(label, ()), output_latex=element_latex(out, ()),
        )  # fmt: skip

    # -- a gradient there is ---------------------------------------------------------------------------------

    def _some(self) -> Explanation:
        gradient = self._gradient()
        if self.place is None and shape_of(gradient):
            found = self._array(gradient)
        else:
            index = self.place or ()
            found = self.element(self.nodes, index, self.opened, frozenset())
        return replace(found, notes=(*found.notes, *self._about_grad(gradient)))

    def _gradient(self) -> Any:
        total = self.flow.cotangent(self.nodes[0])
        for node in self.nodes[1:]:
            total = quietly(operator.add, total, self.flow.cotangent(node))
        return total

    def _about_grad(self, gradient: Any) -> list[str]:
        """What `.grad` holds beside this output's gradient."""
        notes = []
        name = as_user_sees(self.nodes[-1]).label or "x"
        seed = np.asarray(self.seed)
        if seed.ndim or float(seed) != 1.0:
            notes.append(
                f"backward() was given a seed, {number_text(self.seed)}; all derivatives are multiplied by it."
            )
        deposits = [d for d in self.output._extra.deposits or () if d[0] in self.flow.starts]
        before = deposits[0][1] if deposits else None
        if before is not None:
            place = self.place or ()
            b, g = (np.asarray(a, np.float64) for a in (before, gradient))
            if shape_of(gradient) and self.place is None:
                what = f"of norm {number_text(float(np.linalg.norm(b)))}"
            else:
                what = (
                    f"{number_text(float(b[place]))}, which makes {number_text(float(b[place] + g[place]))}"
                )
            notes.append(
                f"{name}.grad was not empty when backward() ran: it added this to what an earlier backward() had left "
                f"there, {what}. Call zero_grad() before each backward() to start from nothing."
            )
        if len(self.nodes) > 1:
            notes.append(
                f"{name} was assigned to while the output was computed: {len(self.nodes)} values of it were used."
            )
        elif as_user_sees(self.nodes[0]) is not self.x and current(self.x) is not self.nodes[0]:
            notes.append(
                f"{name} has been assigned to since; this is about the value that the graph was computed from."
            )
        return notes

    # -- one element -----------------------------------------------------------------------------------------

    def element(
        self,
        nodes: list[Value],
        index: Index,
        opened: bool,
        without: frozenset[Value],
        ct: float | None = None,
    ) -> Explanation:
        """The derivative of the output by one element. without: uses that another explanation told of already."""
        node, flow, names = nodes[-1], self.flow, self.names
        label = names.element(node, index)
        if ct is None:
            ct = float(sum(np.asarray(flow.cotangent(n), np.float64)[index] for n in nodes))
        state = (
            "nan" if np.isnan(ct) else "infinite" if np.isinf(ct) else "zero" if ct == 0 else size_state(ct)
        )
        head = f"{partial_by(self.out, label)} = {number_text(ct)}"
        base = Explanation(
            label, self.out, state, ct, head, expression=self._expression(),
            subject_latex=element_latex(names[node], index), output_latex=element_latex(self.out, ()),
            unfold=None if opened else partial(self.element, nodes, index, True, without, ct),
        )  # fmt: skip
        if node is flow.output and len(nodes) == 1:
            return replace(base, story=("It is the output itself.",), expression="")
        if state in ("nan", "infinite"):
            return self._born(base, nodes)
        base = self._told(base, nodes, index, opened, without, ct)
        if state == "zero":
            found = zero_findings(flow, names, [(n, index) for n in nodes])
            return replace(base, headline=f"{head}: {_causes(found)}", findings=tuple(found))
        if state in ("huge", "tiny"):
            path = quietly(heaviest, flow, node, index, opened)
            return replace(
                base, headline=f"{head}, which is {state}",
                factors=factors(flow, names, path, _seed_at(self.seed, path)),
            )  # fmt: skip
        return base

    def _told(
        self,
        base: Explanation,
        nodes: list[Value],
        index: Index,
        opened: bool,
        without: frozenset[Value],
        ct: float,
    ) -> Explanation:
        """The derivation, or the sum of terms."""
        flow, names = self.flow, self.names
        if len(nodes) == 1 and not without and chain.is_scalar(flow) and nodes[0] in flow.starts:
            few = len(flow.relevant) <= MOST_FOLDED
            if few and len(chain.units_of(flow, opened)) <= chain.MOST_LINES and np.asarray(self.seed) == 1.0:
                lines, notes = chain.derive(flow, names, opened)
                said = (simplification(flow, names, n, ()) for n in flow.order if n in flow.relevant)
                notes += [each for each in said if each is not None]
                self.out = names[flow.output]
                head = f"{partial_by(self.out, names[nodes[0]])} = {number_text(ct)}"
                return replace(
                    base, headline=head, output=self.out, lines=tuple(lines), notes=tuple(notes), sum=None, where=self._where(),
                    check=chain.check(flow, nodes[0], ct, self.out), output_latex=element_latex(self.out, ()),
                )  # fmt: skip
        way = self._walk(nodes, index, opened, without)
        lines = self._steps(way)
        notes = self._simplified(nodes[-1], index, way)
        if not way.fork:
            return replace(base, lines=tuple(lines), notes=tuple(notes))
        total, listed = quietly(summed, flow, names, way, self.top, self.out)
        total = self._noted(total, listed)
        ways = tuple(partial(self._followed, hop, k, opened) for hop, k in listed)
        at_fork = at(names[way.node], way.index)
        of = total.of or base.headline.partition(" = ")[0]
        where = _place_text(way.fork)
        story = (
            f"{of} adds up {total.over}{where}. Each contributes its cotangent, which is how fast {self.out} changes with "
            f"it, times the local derivative, which is how fast it changes with {at_fork}."
        )
        if total.cancellation < 0.5 and total.size:
            story += f" Terms of both signs cancel: the sum is {100 * total.cancellation:.2g} % of what their sizes add up to."
        return replace(base, story=(story,), lines=tuple(lines), sum=total, notes=tuple(notes), ways=ways)

    def _walk(self, nodes: list[Value], index: Index, opened: bool, without: frozenset[Value]) -> Walk:
        if len(nodes) == 1:
            return walk(self.flow, nodes[0], index, opened, without)
        parts = [walk(self.flow, n, index, opened, without) for n in nodes]
        fork = tuple(hop for part in parts for hop in (part.steps[:1] or part.fork))
        return Walk((), nodes[-1], index, fork, 1.0, without)

    def _followed(self, hop: Hop, k: int, opened: bool) -> Explanation:
        return self.element([hop.result], hop.index(k), opened, hop.inside, float(hop.cotangent[k]))

    def _simplified(self, node: Value, index: Index, way: Walk) -> list[str]:
        """What is famous about an element, or about those it leads to without a fork."""
        for each, where in ((node, index), *((hop.result, hop.index(0)) for hop in way.steps)):
            said = simplification(self.flow, self.names, each, where)
            if said is not None:
                return [said]
        return []

    def _noted(self, total: Sum, listed: list[tuple[Hop, int]]) -> Sum:
        """The terms whose cotangent is a famous one say so."""
        terms = []
        for term, (hop, k) in zip(total.terms, listed, strict=True):
            said: list[str] = []
            if term.number == 1 and not hop.inside:
                onward = walk(self.flow, hop.result, hop.index(k), self.opened, hop.inside)
                said = self._simplified(hop.result, hop.index(k), onward)
            terms.append(replace(term, note=said[0] if said else ""))
        return replace(total, terms=tuple(terms))

    def _steps(self, way: Walk) -> list[Line]:
        """The steps without a fork; the middle of a long way is one line."""
        if len(way.steps) <= 2 * _ENDS:
            return [self._line(hop) for hop in way.steps]
        hidden = way.steps[_ENDS:-_ENDS]
        product = float(np.prod([hop.local[0] for hop in hidden]))
        last = at(self.names[hidden[-1].result], hidden[-1].index(0))
        left = partial_by(last, at(self.names[hidden[0].source], hidden[0].element))
        between = Line(f"… {len(hidden)} more steps …", left, (), product, "their product",
                       (words(f"{len(hidden)} more steps"),))  # fmt: skip
        return [*map(self._line, way.steps[:_ENDS]), between, *map(self._line, way.steps[-_ENDS:])]

    def _line(self, hop: Hop) -> Line:
        """A step without a fork as a line of the derivation, told forward: from the element on."""
        names = self.names
        result = at(names[hop.result], hop.index(0))
        source = at(names[hop.source], hop.element)
        local = float(hop.local[0])
        found = quietly(local_formula, hop, 0, names)
        if hop.scope is not None:
            n = mean_of(hop, self.flow)
            rule = f"a mean of {n}: 1/{n} each" if n else f"through {hop.scope.name}, folded"
        else:
            op = hop.result._op
            assert op is not None
            rule = rule_name(op, [x._grad is not INACTIVE for x in inputs_of(hop.result)])
            if (
                rule.startswith("chain rule")
                and (law := chain.general_law(hop.result))
                and not (found and found.because)
            ):
                rule = f"{rule}: {law}"
        symbols = () if found is None else (found.text, found.numbers)
        latex = () if found is None else (found.latex, found.numbers_latex)
        step = f"{names[hop.source]} is used in {names[hop.result]}"
        return Line(
            step, partial_by(result, source), symbols, local, rule,
            (rf"\frac{{\partial {element_latex(names[hop.result], hop.index(0))}}}"
             rf"{{\partial {element_latex(names[hop.source], hop.element)}}}", *latex, number_latex(local)),
            () if found is None else found.because, spot_of(hop.result),
        )  # fmt: skip

    # -- a whole array ---------------------------------------------------------------------------------------

    def _array(self, gradient: Any) -> Explanation:
        node, name = self.nodes[-1], self.names[self.nodes[-1]]
        seen = picture(gradient, node._data, name, self.top)
        head = f"{partial_by(self.out, name)}, of shape {seen.shape}"
        base = Explanation(
            name, self.out, "array", np.asarray(gradient), f"{head}: norm {number_text(seen.norm)}.", picture=seen,
            expression=self._expression(), subject_latex=element_latex(name, ()), output_latex=element_latex(self.out, ()),
            unfold=None if self.opened else partial(self._reopened, gradient),
        )  # fmt: skip
        size = int(np.size(gradient))
        if not size:
            return replace(base, state="zero", headline=f"{head}, has no elements.")
        if seen.not_finite:
            base = replace(base, picture=None if seen.not_finite == size else seen)
            state = "nan" if np.any(np.isnan(gradient)) else "infinite"
            return self._born(
                replace(base, state=state, headline=f"{head}: {seen.not_finite} of {size} are not finite."),
                self.nodes,
            )
        if seen.zeros == size:
            return self._zero(base, head, size)
        index = largest_at(gradient)
        hint = f"why({name}, index={index if len(index) > 1 else index[0]}) says where its largest element comes from."
        base = replace(base, story=(hint,))
        if (dead := zeros_in(gradient)) is not None:
            found = zero_findings(self.flow, self.names, [(n, dead) for n in self.nodes])
            found = [replace(f, text=f"{at(name, dead)} is zero: {f.text}") for f in found[:2]]
            base = replace(base, findings=tuple(found))
        state = size_state(float(np.max(np.abs(gradient))))
        if state == "number":
            return base
        path = quietly(heaviest, self.flow, node, index, self.opened)
        return replace(
            base, state=state, subject=at(name, index), headline=f"{head}: it is {state}, norm {number_text(seen.norm)}.",
            factors=factors(self.flow, self.names, path, _seed_at(self.seed, path)),
        )  # fmt: skip

    def _reopened(self, gradient: Any) -> Explanation:
        self.opened = True
        return self._array(gradient)

    def _zero(self, base: Explanation, head: str, size: int) -> Explanation:
        flat = np.unique(np.linspace(0, size - 1, _SAMPLES).astype(int))
        shape = shape_of(self.nodes[-1]._data)
        places = [tuple(int(i) for i in np.unravel_index(f, shape)) for f in flat]
        found = zero_findings(self.flow, self.names, [(n, place) for n in self.nodes for place in places])
        looked = () if len(places) == size else (f"{len(places)} of its {size} elements were looked at.",)
        headline = f"{head}: exactly zero: {_causes(found)}"
        return replace(
            base, state="zero", headline=headline, findings=tuple(found), story=looked, picture=None
        )

    # -- NaN and infinities ----------------------------------------------------------------------------------

    def _born(self, base: Explanation, nodes: list[Value]) -> Explanation:
        found = birth_findings(self.output, self.seed, nodes)
        if not found:
            found = [Finding("infinite", "It arose where finite contributions were added up or multiplied.")]
        first = found[0].kind
        return replace(base, findings=tuple(found), headline=f"{base.headline.rstrip('.')}: {first}.")

    def _where(self) -> str:
        """The values of the variables of a small graph."""
        leaves = [n for n in self.flow.order if n._op is None and as_user_sees(n).label is not None]
        return ", ".join(f"{self.names[n]} = {number_text(n._data)}" for n in leaves) if self._expression() else ""

    def _expression(self) -> str:
        if len(self.flow.order) > 40 or shape_of(self.output._data):
            return ""
        names = {
            n: self.names[n] for n in self.flow.order if n._op is None and as_user_sees(n).label is not None
        }
        text = expression_text(self.output, names)
        return text if len(text) <= MOST_EXPRESSION and "…" not in text else ""


_REASONS = {
    "stop_gradient": "stop_gradient cuts the graph on purpose",
    "no_grad": "no_grad() kept the graph from being recorded",
    "integer": "whole numbers and booleans have no gradient",
    "argmax": "a position has no gradient",
    "comparison": "a comparison has no gradient",
    "converted": "it was converted to plain numbers on the way",
    "constant": "it is a constant",
    "no derivative": "an op without a derivative cuts the graph",
    "no path": "it does not lead to the output",
}


def _adds_up(answer: Explanation) -> bool:
    """Whether the terms of a sum give the gradient."""
    total, g = answer.sum, answer.gradient
    return total is None or bool(np.isclose(total.total, g, rtol=1e-3, atol=1e-4 * total.size))


def _causes(found: Sequence[Finding]) -> str:
    return ", ".join(dict.fromkeys(f.kind for f in found)) or "nothing flows to it"


def _place_text(fork: Sequence[Hop]) -> str:
    spot = spot_of(fork[0].result)
    if spot is None or len(fork) > 1:
        return ""
    return f" ({spot.file}:{spot.line}, {spot.text})" if 0 < len(spot.text) <= 60 else f" ({spot.file}:{spot.line})"


def _seed_at(seed: Any, path: list[Hop]) -> float:
    data = np.asarray(seed, np.float64)
    return float(data[path[-1].index(0)]) if path and data.ndim else float(data) if not data.ndim else 1.0


__all__ = ["Check", "Explanation", "why"]
