"""The derivative of the output by one element, told: as a derivation, as a sum of terms, or by what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backlit.core.numbers import quietly, shape_of
from backlit.core.standing import module_of
from backlit.core.value import INACTIVE, Value, as_user_sees, inputs_of
from backlit.explain import chain
from backlit.explain.answer import Finding, Line, Sum
from backlit.explain.births import birth_findings
from backlit.explain.blocks import Hop, Index
from backlit.explain.explanation import Explanation
from backlit.explain.flow import Flow
from backlit.explain.formula import expression_text, number_latex, number_text
from backlit.explain.kinks import conventions
from backlit.explain.naming import Names, at, partial_by, spot_of
from backlit.explain.simplifications import mean_of, simplification
from backlit.explain.sizes import ceiling, factors, heaviest, size_state
from backlit.explain.sums import Walk, local_formula, summed, walk
from backlit.explain.why_latex import element_latex, words
from backlit.explain.wording import rule_name
from backlit.explain.zeros import zero_findings

MOST_EXPRESSION = 90  # characters of an output's expression that are shown
MOST_FOLDED = 2_000  # scalar nodes that may fold to few enough steps to be told in full
_ENDS = 8  # steps shown at each end of a long way
_FEW = 6  # steps that are shown although the factors along the heaviest path are listed as well
_CONVENTIONS = 3
_LONGEST_LINE = 60


class Teller:
    """Tells of elements of one flow. top: how many terms are listed."""

    def __init__(self, flow: Flow, top: int) -> None:
        self.flow, self.top = flow, top
        self.names = Names(flow)

    @property
    def out(self) -> str:
        return self.names[self.flow.output]

    def tell(
        self,
        nodes: Sequence[Value],
        index: Index,
        opened: bool,
        without: frozenset[Value] = frozenset(),
        ct: float | None = None,
    ) -> Explanation:
        """The derivative by an element of nodes (several, if they are values of one variable), which is `ct`.

        without: uses that another explanation told of already.
        """
        node, flow, names = nodes[-1], self.flow, self.names
        if ct is None:
            ct = float(sum(np.asarray(flow.cotangent(n), np.float64)[index] for n in nodes))
        nan, infinite = bool(np.isnan(ct)), bool(np.isinf(ct))
        state = "nan" if nan else "infinite" if infinite else "zero" if ct == 0 else size_state(ct)
        label = names.element(node, index)
        head = f"{partial_by(self.out, label)} = {number_text(ct)}"
        expression, where = self.expression()
        base = Explanation(
            label,
            self.out,
            state,
            ct,
            head,
            expression=expression,
            where=where,
            subject_latex=element_latex(names[node], index),
            output_latex=element_latex(self.out, ()),
            unfold=None if opened else partial(self.tell, nodes, index, True, without, ct),
        )
        if node is flow.output and len(nodes) == 1:
            return replace(base, story=("It is the output itself.",), expression="")
        if nan or infinite:
            return self.born(base, nodes)
        base = self._told(base, nodes, index, opened, without, ct)
        if state == "zero":
            found = zero_findings(flow, names, [(n, index) for n in nodes])
            return replace(base, headline=f"{base.headline}: {causes(found)}", findings=tuple(found))
        if state in ("huge", "tiny"):
            base = replace(base, headline=f"{base.headline}, which is {state}")
            lines = base.lines if len(base.lines) <= _FEW else ()
            found = self.factors(node, index, opened)
            return replace(base, lines=lines, factors=found, notes=(*base.notes, *ceiling(found)))
        return base

    # -- a derivation, or a sum ------------------------------------------------------------------------------

    def _told(
        self,
        base: Explanation,
        nodes: Sequence[Value],
        index: Index,
        opened: bool,
        without: frozenset[Value],
        ct: float,
    ) -> Explanation:
        flow, names = self.flow, self.names
        if len(nodes) == 1 and not without and nodes[0] in flow.starts and self._is_short(opened):
            return self._derived(base, nodes[0], opened, ct)
        way = self._walk(nodes, index, opened, without)
        lines = tuple(self._steps(way))
        notes = self._simplified(nodes[-1], index, way)
        passed = [note for hop in way.steps[: 2 * _ENDS] for note in conventions(hop, 0, names)]
        if not way.fork:
            lines += self._product(base, way, ct)
            return replace(base, lines=lines, notes=(*notes, *_distinct(passed)))
        total, listed = quietly(summed, flow, names, way, self.top, self.out)
        total = self._noted(total, listed, opened)
        passed += [note for hop, k in listed for note in conventions(hop, k, names)]
        of = total.of or base.headline.partition(" = ")[0]
        story = (
            f"{of} adds up {total.over}{_place_text(way.fork)}. Each contributes its cotangent, which is how fast "
            f"{self.out} changes with it, times the local derivative, which is how fast it changes with "
            f"{at(names[way.node], way.index)}."
        )
        if total.cancellation < 0.5 and total.size:
            percent = f"{100 * total.cancellation:.2g} %"
            story += f" Terms of both signs cancel: the sum is {percent} of what their sizes add up to."
        return replace(
            base,
            story=(story,),
            lines=lines,
            sum=total,
            notes=(*notes, *_distinct(passed)),
            ways=tuple(partial(self._followed, hop, k, opened) for hop, k in listed),
        )

    def _is_short(self, opened: bool) -> bool:
        """Whether all is scalars, and few enough to be told in full."""
        flow = self.flow
        if len(flow.relevant) > MOST_FOLDED or not chain.is_scalar(flow) or float(flow.seed) != 1.0:
            return False
        return len(chain.units_of(flow, opened)) <= chain.MOST_LINES

    def _derived(self, base: Explanation, source: Value, opened: bool, ct: float) -> Explanation:
        flow, names = self.flow, self.names
        lines, notes = chain.derive(flow, names, opened)
        said = (simplification(flow, names, n, ()) for n in flow.order if n in flow.relevant)
        notes += [each for each in said if each is not None]
        return replace(
            base,
            headline=f"{partial_by(self.out, names[source])} = {number_text(ct)}",
            output=self.out,
            output_latex=element_latex(self.out, ()),
            lines=tuple(lines),
            notes=tuple(notes),
            check=chain.check(flow, source, ct, base.subject, self.out),
        )

    def _walk(self, nodes: Sequence[Value], index: Index, opened: bool, without: frozenset[Value]) -> Walk:
        if len(nodes) == 1:
            return walk(self.flow, nodes[0], index, opened, without)
        parts = [walk(self.flow, n, index, opened, without) for n in nodes]
        fork = tuple(hop for part in parts for hop in (part.steps[:1] or part.fork))
        return Walk((), nodes[-1], index, fork, 1.0, without)

    def _followed(self, hop: Hop, k: int, opened: bool) -> Explanation:
        return self.tell([hop.result], hop.index(k), opened, hop.inside, float(hop.cotangent[k]))

    def _simplified(self, node: Value, index: Index, way: Walk) -> list[str]:
        """What is famous about an element, or about those it leads to without a fork."""
        for each, where in ((node, index), *((hop.result, hop.index(0)) for hop in way.steps)):
            said = simplification(self.flow, self.names, each, where)
            if said is not None:
                return [said]
        return []

    def _noted(self, total: Sum, listed: list[tuple[Hop, int]], opened: bool) -> Sum:
        """Of the largest term it is said if its cotangent is a famous one."""
        hop, k = listed[0]
        if hop.inside:
            return total
        onward = walk(self.flow, hop.result, hop.index(k), opened, hop.inside)
        said = self._simplified(hop.result, hop.index(k), onward)
        first, *others = total.terms
        return replace(total, terms=(replace(first, note=said[0] if said else ""), *others))

    # -- steps without a fork --------------------------------------------------------------------------------

    def _steps(self, way: Walk) -> list[Line]:
        """The steps without a fork; the middle of a long way is one line."""
        if len(way.steps) <= 2 * _ENDS:
            return [self._line(hop) for hop in way.steps]
        hidden = way.steps[_ENDS:-_ENDS]
        product = float(np.prod([hop.local[0] for hop in hidden]))
        last = at(self.names[hidden[-1].result], hidden[-1].index(0))
        left = partial_by(last, at(self.names[hidden[0].source], hidden[0].element))
        latex = (words(f"{len(hidden)} more steps"),)
        between = Line(f"… {len(hidden)} more steps …", left, (), product, "their product", latex)
        return [*map(self._line, way.steps[:_ENDS]), between, *map(self._line, way.steps[-_ENDS:])]

    def _product(self, base: Explanation, way: Walk, ct: float) -> tuple[Line, ...]:
        """The last line of a way to the output without a fork: all factors together."""
        values = [float(hop.local[0]) for hop in way.steps]
        if way.node is not self.flow.output or not 2 <= len(values) <= 2 * _ENDS:
            return ()
        texts = [chain.in_product(number_text(v)) for v in values]
        seed = float(np.asarray(self.flow.seed, np.float64)[way.index])
        if seed != 1.0:
            texts.append(number_text(seed))
        head = rf"\frac{{\partial {base.output_latex}}}{{\partial {base.subject_latex}}}"
        latex = (
            head,
            r" \cdot ".join(rf"\left({number_latex(v)}\right)" if v < 0 else number_latex(v) for v in values),
        )
        left = base.headline.partition(" = ")[0]
        return (Line("Together", left, (" × ".join(texts),), ct, "chain rule: the product", latex),)

    def _line(self, hop: Hop) -> Line:
        """A step as a line of the derivation, told forward: from the element on."""
        names, result, source = self.names, hop.result, hop.source
        local = float(hop.local[0])
        found = quietly(local_formula, hop, 0, names)
        because = () if found is None else found.because
        above, below = element_latex(names[result], hop.index(0)), element_latex(names[source], hop.element)
        latex = (rf"\frac{{\partial {above}}}{{\partial {below}}}",)
        return Line(
            step=f"{names[source]} is used in {names[result]}",
            left=partial_by(at(names[result], hop.index(0)), at(names[source], hop.element)),
            chain=() if found is None else (found.text, found.numbers),
            value=local,
            rule=self._rule(hop, bool(because)),
            latex=(*latex, number_latex(local)) if found is None else (*latex, found.latex, found.numbers_latex),
            because=because,
            spot=spot_of(result),
        )

    def _rule(self, hop: Hop, decided: bool) -> str:
        if hop.scope is not None:
            n = mean_of(hop)
            return f"a mean of {n}: 1/{n} each" if n else f"through {hop.scope.name}, folded"
        op = hop.result._op
        assert op is not None
        rule = rule_name(op, [x._grad is not INACTIVE for x in inputs_of(hop.result)])
        law = chain.general_law(hop.result) if rule.startswith("chain rule") and not decided else ""
        return f"{rule}: {law}" if law else rule

    # -- what is wrong with it -------------------------------------------------------------------------------

    def factors(self, node: Value, index: Index, opened: bool) -> Any:
        """The factors along the heaviest path from an element to the output."""
        path = quietly(heaviest, self.flow, node, index, opened)
        seed = np.asarray(self.flow.seed, np.float64)
        start = float(seed[path[-1].index(0)]) if path and seed.ndim else float(seed) if not seed.ndim else 1.0
        return factors(self.names, path, start)

    def born(self, base: Explanation, nodes: Sequence[Value]) -> Explanation:
        """Where its NaN or infinity came from."""
        found = birth_findings(self.flow.output, self.flow.seed, nodes)
        if not found:
            found = [Finding("overflow", "It arose where finite contributions were added up or multiplied.")]
        headline = f"{base.headline.rstrip('.')}: {found[0].kind}."
        return replace(base, findings=tuple(found), headline=headline)

    def expression(self) -> tuple[str, str]:
        """The expression of a small output, and the values of its variables."""
        flow = self.flow
        if len(flow.order) > 40 or shape_of(flow.output._data):
            return "", ""
        leaves = [n for n in flow.order if n._op is None and as_user_sees(n).label is not None]
        text = expression_text(flow.output, {n: self.names[n] for n in leaves})
        if len(text) > MOST_EXPRESSION or "…" in text:
            return "", ""
        if any(shape_of(n._data) for n in leaves):
            return text, ""
        return text, ", ".join(f"{self.names[n]} = {number_text(n._data)}" for n in leaves)


def causes(found: Sequence[Finding]) -> str:
    """The kinds of what was found, each once."""
    return ", ".join(dict.fromkeys(f.kind for f in found)) or "nothing flows to it"


def _distinct(notes: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(notes))[:_CONVENTIONS]


def _place_text(fork: Sequence[Hop]) -> str:
    spot = spot_of(fork[0].result)
    if spot is None or len(fork) > 1:
        return ""
    module = module_of(fork[0].result)
    place = f"{'' if module is None else f'of a {module.name}, '}{spot.file}:{spot.line}"
    return f" ({place}, {spot.text})" if 0 < len(spot.text) <= _LONGEST_LINE else f" ({place})"
