"""One question of "why?": in which state the gradient is, and who tells of it."""

from __future__ import annotations

import operator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backlit.autodiff import reverse
from backlit.autodiff.reverse import seed_for
from backlit.core.errors import GraphError
from backlit.core.numbers import Abstract, quietly, shape_of
from backlit.core.value import INACTIVE, Value, as_user_sees, current
from backlit.core.walk import reachable, toposort
from backlit.explain.answer import Finding
from backlit.explain.blocks import Index
from backlit.explain.cuts import cuts, of_itself
from backlit.explain.element import Teller, causes
from backlit.explain.explanation import Explanation
from backlit.explain.flow import Flow
from backlit.explain.formula import number_text
from backlit.explain.naming import at, partial_by
from backlit.explain.picture import largest_at, picture, zeros_in
from backlit.explain.sizes import size_state
from backlit.explain.why_latex import element_latex
from backlit.explain.zeros import zero_findings

_LISTED = 8  # elements that are named
_SAMPLES = 16  # elements that are looked at where a whole array is zero


class Asked:
    """One question, and what is known to answer it.

    x: the variable asked about; output: of whose gradient; place: one element of it, or None for all; top: how many
    terms are listed; opened: whether composites are.
    """

    def __init__(self, x: Value, output: Value, place: Index | None, top: int, opened: bool) -> None:
        self.x, self.output, self.place, self.top, self.opened = x, output, place, top, opened
        if type(output._data) is Abstract:
            raise GraphError("why: the output is being traced and has no numbers yet; ask outside the traced function.")
        self.nodes = nodes_of(x, output) or [current(x)]

    def answer(self) -> Explanation:
        """The explanation, whatever state the gradient is in."""
        blocked = of_itself(self.nodes[-1])
        if blocked is not None or self.output._grad is INACTIVE:
            return self._none(blocked)
        ran = self.output._extra.deposits is not None and self.output._grad is not None
        seed = self.output._grad if ran else seed_for(self.output, None, "why")
        newest = reverse.last_outputs[-1]() if reverse.last_outputs else None
        flow = Flow(self.output, seed, self.nodes, left=ran and newest is self.output and self.x.ndim > 0)
        if not self._leads_there(flow):
            return self._none(None)
        found = self._some(Teller(flow, self.top))
        if flow.was_left and not _adds_up(found):  # someone has assigned to .grad since, or a mask matters
            found = self._some(Teller(Flow(self.output, seed, self.nodes), self.top))
        return found

    def _leads_there(self, flow: Flow) -> bool:
        """Whether a chain of derivatives, not of values alone, leads from the variable to the output."""
        alive, stack = set(self.nodes), list(self.nodes)
        while stack:
            for user, _ in flow.uses.get(stack.pop(), []):
                if user not in alive:
                    alive.add(user)
                    stack.append(user)
        return self.output in alive

    # -- None ------------------------------------------------------------------------------------------------

    def _none(self, blocked: Finding | None) -> Explanation:
        x = as_user_sees(self.nodes[-1])
        label, out = x.label or "x", as_user_sees(self.output).label or "output"
        found = [blocked] if blocked is not None else cuts(self.nodes, self.output)
        if not found:  # it leads to the output, which is cut off from all variables further on
            variables = [n for n in toposort([self.output]) if n._op is None and n._grad is not INACTIVE]
            found = cuts(variables, self.output)
        kind = found[0].kind if found else "no path"
        story: tuple[str, ...] = ()
        if x.grad is not None:
            story = (f"{label}.grad holds numbers all the same: another output's backward() left them.",)
        return Explanation(
            label,
            out,
            "none",
            None,
            f"{partial_by(out, label)} is None: {_REASONS.get(kind, kind)}.",
            story=story,
            findings=tuple(found),
            subject_latex=element_latex(label, ()),
            output_latex=element_latex(out, ()),
        )

    # -- a gradient there is ---------------------------------------------------------------------------------

    def _some(self, teller: Teller) -> Explanation:
        flow = teller.flow
        if len(self.nodes) > 1:
            for node in self.nodes:
                teller.names[node]
        gradient = flow.cotangent(self.nodes[0])
        for node in self.nodes[1:]:
            gradient = quietly(operator.add, gradient, flow.cotangent(node))
        if self.place is None and shape_of(gradient):
            found = self._array(teller, gradient, self.opened)
        else:
            found = teller.tell(self.nodes, self.place or (), self.opened)
        return replace(found, notes=(*found.notes, *self._about_grad(flow, gradient)))

    def _about_grad(self, flow: Flow, gradient: Any) -> list[str]:
        """What `.grad` holds beside this output's gradient, and of which value of the variable this is."""
        notes = []
        name = as_user_sees(self.nodes[-1]).label or "x"
        seed = np.asarray(flow.seed)
        if seed.ndim or float(seed) != 1.0:
            notes.append(
                f"backward() was given a seed, {number_text(flow.seed)}; all derivatives are multiplied by it."
            )
        before = next((d.before for d in self.output._extra.deposits or () if d.leaf in flow.starts), None)
        if before is not None:
            b, g = (np.asarray(a, np.float64) for a in (before, gradient))
            if b.ndim and self.place is None:
                what = f"of norm {number_text(float(np.linalg.norm(b)))}"
            else:
                left = float(b[self.place or ()])
                what = f"{number_text(left)}, which makes {number_text(left + float(g[self.place or ()]))}"
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

    # -- a whole array ---------------------------------------------------------------------------------------

    def _array(self, teller: Teller, gradient: Any, opened: bool) -> Explanation:
        node, out = self.nodes[-1], teller.out
        name = teller.names[node]
        seen = picture(gradient, node._data, name, self.top)
        head = f"{partial_by(out, name)}, of shape {seen.shape}"
        expression, _ = teller.expression()
        base = Explanation(
            name,
            out,
            "array",
            np.asarray(gradient),
            f"{head}: norm {number_text(seen.norm)}.",
            picture=seen,
            expression=expression,
            subject_latex=element_latex(name, ()),
            output_latex=element_latex(out, ()),
            unfold=None if opened else partial(self._array, teller, gradient, True),
        )
        size = int(np.size(gradient))
        if not size:
            return replace(base, state="zero", headline=f"{head}, has no elements.")
        if seen.not_finite:
            state = "nan" if np.any(np.isnan(gradient)) else "infinite"
            headline = f"{head}: {seen.not_finite} of {size} are not finite."
            bad = [at(name, tuple(int(k) for k in place)) for place in np.argwhere(~np.isfinite(gradient))[:_LISTED]]
            which = f"Not finite: {', '.join(bad)}{', …' if seen.not_finite > _LISTED else ''}."
            base = replace(base, state=state, headline=headline, picture=None, story=(which,))
            return teller.born(base, self.nodes)
        if seen.zeros == size:
            return self._zero(teller, base, head, size)
        index = largest_at(gradient)
        place = index if len(index) > 1 else index[0]
        base = replace(base, story=(f"why({name}, index={place}) says where its largest element comes from.",))
        if (dead := zeros_in(gradient)) is not None:
            found = zero_findings(teller.flow, teller.names, [(n, dead) for n in self.nodes])
            base = replace(
                base, findings=tuple(replace(f, text=f"{at(name, dead)} is zero: {f.text}") for f in found[:2])
            )
        state = size_state(float(np.max(np.abs(gradient))))
        if state == "number":
            return base
        headline = f"{head}: it is {state}, norm {number_text(seen.norm)}."
        factors = teller.factors(node, index, opened)
        return replace(base, state=state, subject=at(name, index), headline=headline, factors=factors)

    def _zero(self, teller: Teller, base: Explanation, head: str, size: int) -> Explanation:
        flat = np.unique(np.linspace(0, size - 1, _SAMPLES).astype(int))
        shape = shape_of(self.nodes[-1]._data)
        places = [tuple(int(i) for i in np.unravel_index(f, shape)) for f in flat]
        found = zero_findings(teller.flow, teller.names, [(n, place) for n in self.nodes for place in places])
        looked = () if len(places) == size else (f"{len(places)} of its {size} elements were looked at.",)
        return replace(
            base,
            state="zero",
            headline=f"{head}: exactly zero: {causes(found)}",
            findings=tuple(found),
            story=looked,
            picture=None,
        )


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


def nodes_of(x: Value, output: Value) -> list[Value]:
    """The nodes of a graph that stand for a variable: more than one if it was assigned to while that was computed."""
    node = current(x)
    found = (n for n in reachable((output,)) if n is x or n is node or n._extra.owner is x)
    return sorted(found, key=lambda n: n._serial)
