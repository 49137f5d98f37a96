"""The derivation of a scalar's gradient by the chain rule, from the output back: symbols and numbers on each line.

Composites are one step each, unless they are opened. A graph with too many nodes to read is told by its heaviest path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.rules import tangent
from backlit.core.numbers import quietly, shape_of, strong
from backlit.core.op import Elementwise
from backlit.core.state import Scope
from backlit.core.value import INACTIVE, Value, as_user_sees, inputs_of, leaf
from backlit.explain.answer import Check, Line
from backlit.explain.blocks import exits, members, push, scopes_of
from backlit.explain.flow import Flow, has_rule
from backlit.explain.formula import Formula, formula, name_latex, number_latex, number_text, partial_formula
from backlit.explain.naming import Names, Spot, partial_by, spot_of
from backlit.explain.nudging import Replay, Sides, nudge
from backlit.explain.why_latex import words
from backlit.explain.wording import notes_of, rule_name

MOST_LINES = 60
MOST_NUDGED = 20_000  # nodes to be computed again in one replay


@dataclass(frozen=True, eq=False)
class Unit:
    """A step on the way: one node, or a folded composite with its result."""

    result: Value
    inside: frozenset[Value]
    scope: Scope | None


def is_scalar(flow: Flow) -> bool:
    """Whether everything between the sources and the output is a single number."""
    return all(not shape_of(node._data) for node in flow.relevant)


def short_names(flow: Flow, names: Names) -> None:
    """Names for a derivation: intermediate results without a name of their own are t1, t2, …"""
    count = 0
    for node in flow.order:
        if node in flow.relevant and as_user_sees(node).label is None:
            if node is flow.output:
                names.rename(node, "output")
            elif node._op is not None:
                count += 1
                names.rename(node, f"t{count}")


def units_of(flow: Flow, opened: bool) -> list[Unit]:
    """The steps from the output back. A composite is folded if one result leaves it and no source lies in it."""
    steps: list[Unit] = []
    done: set[Value] = set()
    within = {id(scope) for source in flow.sources for scope in scopes_of(source)}
    nodes = [n for n in flow.order if n in flow.relevant and n._op is not None and n not in flow.starts]
    for node in reversed(nodes):
        if node in done:
            continue
        unit = None if opened else _folded(flow, node, within, len(nodes))
        steps.append(unit or Unit(node, frozenset((node,)), None))
        done |= steps[-1].inside
    return steps


def _folded(flow: Flow, node: Value, within: set[int], count: int) -> Unit | None:
    for scope in scopes_of(node):
        if id(scope) in within or scope.has_steps:
            continue
        inside = members(flow, scope)
        results = exits(flow, inside)
        if len(results) == 1 and results[0] is node and 1 < len(inside) < count:
            return Unit(node, frozenset(inside), scope)
    return None


def derive(flow: Flow, names: Names, opened: bool) -> tuple[list[Line], list[str]]:
    """The lines of the derivation, and what must be said of kinks and edges on the way."""
    short_names(flow, names)
    lines: list[Line] = []
    notes: list[str] = []
    output = flow.output
    steps = units_of(flow, opened)
    left: dict[Value, int] = {}
    edges = [(unit, list(_inputs(flow, unit))) for unit in steps]
    for _, inputs in edges:
        for x, _ in inputs:
            left[x] = left.get(x, 0) + 1
    uses, terms = dict(left), dict[Value, list[float]]()
    for unit, inputs in edges:
        step, spot = _step_text(unit, names), spot_of(unit.result)
        ct = float(flow.cotangent(unit.result))
        for x, argument in inputs:
            local = quietly(_local, flow, unit, x, argument)
            written = _written(unit, x, argument, names)
            if written is not None and unit.scope is None:
                notes += [n for n in _notes(unit.result, argument, local, names) if n not in notes]
            value, flows = _value(unit, local, ct)
            shared = uses[x] > 1
            lines.append(_line(output, unit, x, argument, written, local, ct, value, flows, shared, names, step, spot))
            step = ""
            terms.setdefault(x, []).append(value)
            left[x] -= 1
            if not left[x] and shared:
                lines.append(_join(output, x, terms[x], names))
    return lines, notes


def _inputs(flow: Flow, unit: Unit) -> Iterable[tuple[Value, int | None]]:
    if unit.scope is None:
        for index, x in enumerate(inputs_of(unit.result)):
            if x in flow.relevant and x._grad is not INACTIVE and has_rule(unit.result, index):
                yield x, index
        return
    seen: set[Value] = set()
    for node in sorted(unit.inside, key=lambda n: n._serial):
        for index, x in enumerate(inputs_of(node)):
            if x in flow.relevant and x not in unit.inside and x not in seen and has_rule(node, index):
                seen.add(x)
                yield x, None


def _local(flow: Flow, unit: Unit, x: Value, argument: int | None) -> float:
    one = np.ones((), x.dtype)[()]
    if argument is None:
        found = push(sorted(unit.inside, key=lambda n: n._serial), {x: one}).get(unit.result)
        return 0.0 if found is None else float(found)
    node = unit.result
    assert node._op is not None
    inputs = inputs_of(node)
    ts: list[Any] = [None] * len(inputs)
    ts[argument] = one
    t = tangent(node._op, ts, strong(node._data), [strong(i._data) for i in inputs], node._extra.attrs)
    return 0.0 if t is None else float(t)


def _value(unit: Unit, local: float, ct: float) -> tuple[float, bool]:
    op = unit.result._op
    if unit.scope is None and isinstance(op, Elementwise) and op.selects and local == 0:
        return 0.0, False  # not chosen: nothing flows, not even 0 · inf
    return local * ct, True


def _written(unit: Unit, x: Value, argument: int | None, names: Names) -> Formula | None:
    op = unit.result._op
    if unit.scope is not None or not isinstance(op, Elementwise) or argument is None:
        return None
    rule, inputs = op.partials[argument], inputs_of(unit.result)
    assert rule is not None
    stand_ins, written = {}, {}
    for node in (*inputs, unit.result):
        if _is_plain(node):
            stand_ins[node] = node
        elif node not in stand_ins:
            stand_ins[node] = leaf(node._data)
            written[stand_ins[node]] = names[node]
    partial = rule(stand_ins[unit.result], *(stand_ins[i] for i in inputs), **unit.result._extra.attrs)
    return partial_formula(partial, written)


def _is_plain(node: Value) -> bool:
    """Whether a node is a number that the user wrote."""
    return node._op is None and node._grad is INACTIVE and as_user_sees(node).label is None


def _step_text(unit: Unit, names: Names) -> str:
    name = names[unit.result]
    if unit.scope is not None:
        site = as_user_sees(unit.result).site
        source = site.source if site is not None and site.source and len(site.source) < 60 else None
        return f"{name} = {source or unit.scope.name + '(…)'}"
    return f"{name} = {formula(unit.result, _named(unit.result, names)).text}"


def _named(node: Value, names: Names) -> dict[Value, str]:
    return {x: names[x] for x in inputs_of(node) if not _is_plain(x)}


def in_product(text: str) -> str:
    """A factor as it stands in a product: in parentheses if it is a formula or a negative number.

    >>> in_product("1 - h**2"), in_product("-2"), in_product("d"), in_product("cos(x + 1)")
    ('(1 - h**2)', '(-2)', 'd', 'cos(x + 1)')
    """
    depth = 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and letter == " ":
            return f"({text})"
    return f"({text})" if text.startswith("-") else text


def _line(
    output: Value,
    unit: Unit,
    x: Value,
    argument: int | None,
    written: Formula | None,
    local: float,
    ct: float,
    value: float,
    flows: bool,
    shared: bool,
    names: Names,
    step: str,
    spot: Spot | None,
) -> Line:
    out, name, below = names[output], names[unit.result], names[x]
    direct = unit.result is output
    which = _which(unit, x, argument)
    left = partial_by(out, below) + (f", {'directly' if direct else f'via {name}'}{which}" if shared else "")
    via = words("directly") if direct else name_latex(name)
    left_latex = _partial_latex(out, below) + (rf"\Big|_{{{via}}}" if shared else "")
    symbols = written.text if written is not None else partial_by(name, below)
    symbols_latex = written.latex if written is not None else _partial_latex(name, below)
    numbers = written.numbers if written is not None else number_text(local)
    numbers_latex = written.numbers_latex if written is not None else number_latex(local)
    if direct:
        chain = [symbols, numbers]
        chain_latex = [symbols_latex, numbers_latex]
    else:
        chain = [
            f"{partial_by(out, name)} × {in_product(symbols)}",
            f"{number_text(ct)} × {in_product(numbers)}",
        ]
        chain_latex = [
            rf"{_partial_latex(out, name)} \cdot {_latex_factor(symbols, symbols_latex)}",
            rf"{number_latex(ct)} \cdot {_latex_factor(numbers, numbers_latex)}",
        ]
        if written is not None and written.numbers != number_text(local) and flows:
            chain.append(f"{number_text(ct)} × {in_product(number_text(local))}")
    rule = _rule(unit)
    if not flows:
        chain, chain_latex, rule = [], [], f"nothing flows: {name} did not choose {below}"
        if len(inputs_of(unit.result)) == 1:
            rule = f"nothing flows: {unit.result._op} is off"
    because = written.because if written is not None else ()
    return Line(
        step, left, tuple(dict.fromkeys(chain)), value, rule, (left_latex, *dict.fromkeys(chain_latex)),
        because, spot,
    )  # fmt: skip


def _which(unit: Unit, x: Value, argument: int | None) -> str:
    """Which of the operands is meant, where a node uses one value twice."""
    inputs = inputs_of(unit.result)
    if argument is None or sum(each is x for each in inputs) == 1:
        return ""
    return (" (left)", " (right)")[argument] if len(inputs) == 2 else f" (input {argument + 1})"


def _partial_latex(above: str, below: str) -> str:
    return rf"\frac{{\partial {name_latex(above)}}}{{\partial {name_latex(below)}}}"


def _latex_factor(text: str, latex: str) -> str:
    return rf"\left({latex}\right)" if in_product(text) != text else latex


def _rule(unit: Unit) -> str:
    node = unit.result
    if unit.scope is not None:
        return f"through {unit.scope.name}, folded"
    assert node._op is not None
    name = rule_name(node._op, [x._grad is not INACTIVE for x in inputs_of(node)])
    return f"{name}: {law}" if name.startswith("chain rule") and (law := general_law(node)) else name


def general_law(node: Value) -> str:
    """The derivative of a function of one variable by its name: `1 - tanh²`, `cos(x)`."""
    op, inputs = node._op, inputs_of(node)
    if not isinstance(op, Elementwise) or len(inputs) != 1 or op.partials[0] is None:
        return ""
    data = np.asarray(node._data).reshape(-1)[:1], np.asarray(inputs[0]._data).reshape(-1)[:1]
    if not all(d.size for d in data):
        return ""
    y, x = (leaf(float(d[0]) if d.dtype == np.float64 else d[0]) for d in data)
    found = partial_formula(op.partials[0](y, x, **node._extra.attrs), {y: op.name, x: "x"})
    text = found.text.replace("**2", "²").replace("**3", "³")
    return text + (f" for {' and '.join(found.because)}" if found.because else "")


def _join(output: Value, x: Value, terms: Sequence[float], names: Names) -> Line:
    out, below = names[output], names[x]
    texts = [number_text(t) for t in terms]
    shown = " + ".join([texts[0], *map(in_product, texts[1:])])
    latex = " + ".join(
        [
            number_latex(terms[0]),
            *(_latex_factor(t, number_latex(v)) for t, v in zip(texts[1:], terms[1:], strict=True)),
        ]
    )
    total = float(sum(terms))
    rule = f"sum of paths: {len(terms)} lead to {below}"
    return Line(f"{below}, used {len(terms)} times", partial_by(out, below), (shown,), total, rule,
                (_partial_latex(out, below), latex))  # fmt: skip


def _notes(node: Value, argument: int | None, local: float, names: Names) -> list[str]:
    xs = [x._data for x in inputs_of(node)]
    assert node._op is not None
    assert argument is not None
    if any(shape_of(x) for x in (node._data, *xs)):
        return []
    text = formula(node, _named(node, names)).text
    return notes_of(node._op, node._data, xs, node._extra.attrs, argument, local, text)


# -- the check ------------------------------------------------------------------------------------------------


def check(flow: Flow, source: Value, gradient: float, label: str, output: str) -> Check | None:
    """Nudge a scalar both ways and see how far the output moves; None where that is too much work."""
    replay = Replay(flow.order, source)
    if len(replay.later) > MOST_NUDGED or not np.isfinite(float(flow.output._data)):
        return None
    (side,) = quietly(nudge, replay)
    if side.value is None and quietly(_stays, replay):
        side = Sides(0.0, 0.0)
    return _judged(side, gradient, label, output)


def _stays(replay: Replay) -> bool:
    """Whether the output stays exactly the same when the source moves by a little."""
    x = float(replay.moved._data)
    kind = type(replay.moved._data)
    return all(
        float(replay.at(kind(x + by * (abs(x) or 1.0)))) == float(replay.output._data)
        for by in (-1e-4, -1e-6, 1e-6, 1e-4)
    )


def _judged(side: Sides, gradient: float, label: str, output: str) -> Check:
    if side.below is not None and side.above is not None:
        below, above = number_text(side.below), number_text(side.above)
        text = f"nudging finds a kink: slope {below} below and {above} above; the gradient is a convention."
        return Check(side.value, side.error, "kink", text)
    if side.value is None or side.error is None or not np.isfinite(gradient):
        return Check(None, None, "none", "nudging finds no finite slope here.")
    margin = 3 * side.error + 1e-12 * max(abs(gradient), abs(side.value))
    agrees = abs(side.value - gradient) <= margin
    moved = f"when {label} moves a little either way, {output}"
    if side.value == 0 and agrees:
        least = "at all" if side.error == 0 else "beyond rounding"
        return Check(0.0, side.error, "agrees", f"{moved} does not change {least}: nudging agrees.")
    shown = number_text(side.value)
    if not agrees or side.error > 1e-6 * abs(side.value):
        shown += f" ± {number_text(side.error, 1)}"
    said = f"{moved} changes {'by as much' if shown == '1' else f'{shown} times as much'}"
    return Check(side.value, side.error, "agrees" if agrees else "differs",
                 f"{said}: nudging {'agrees' if agrees else 'DIFFERS'}.")  # fmt: skip
