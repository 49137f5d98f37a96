"""What is wrong with a backward pass, in plain words: each finding with its place and a remedy, the gravest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.value import Value, inputs_of
from backlit.explain.formula import number_text
from backlit.explain.health_plateau import Plateau
from backlit.explain.health_rows import GATE, MIX, SQUASH, Row, Rows, label_of, rms
from backlit.explain.health_units import ENOUGH, Units
from backlit.explain.naming import Spot, spot_of

FAR = 1e3  # the gradient vanishes or explodes if it changes by more than this factor on its way back
SMALL_STEP, LARGE_STEP, GOOD_STEP = 1e-6, 1e-1, 1e-3  # size of an update, compared with that of the weights
_MANY_SATURATED = 0.5
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    kind: "nonfinite", "dead", "saturated", "plateau", "flat", "symmetric", "zero", "vanishing", "exploding" or "step".
    severity: from 0 to 100. text, remedy: in words. label, spot: of the node it is about. units, rows: the numbers of
    the units and of the examples concerned, from 0. factor: by which a gradient shrinks or grows, where that is it.
    is_certain: False for units of which no more is known than that they are off for the few rows of a batch.
    """

    kind: str
    severity: float
    text: str
    remedy: str
    label: str = ""
    spot: Spot | None = None
    units: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    factor: float | None = None
    is_certain: bool = True


def _n(x: float) -> str:
    return number_text(float(x), 3)


def some(numbers: Sequence[int]) -> str:
    """A few numbers in words, the first eight of many.

    >>> some([0, 1, 3]), some([2]), some(range(20))
    ('0, 1 and 3', '2', '0, 1, 2, 3, 4, 5, 6, 7 and 12 more')
    """
    shown = [str(n) for n in numbers[:_LISTED]]
    if len(numbers) > _LISTED:
        return f"{', '.join(shown)} and {len(numbers) - _LISTED} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


# -- numbers that are none -----------------------------------------------------------------------------------


def not_finite(rows: Rows, output: Value) -> list[Finding]:
    """The first NaN or infinity, forward or else backward."""
    for row in rows.rows:
        if not math.isfinite(row.activation) and not np.all(np.isfinite(row.data)):
            text = f"`{row.label}` holds NaN or an infinity: the first on the way forward."
            return [_nonfinite(row, text)]
    for row in reversed(rows.rows):
        if row.ct is not None and not math.isfinite(row.gradient) and not np.all(np.isfinite(row.ct)):
            text = f"The gradient that arrives at `{row.label}` holds NaN or an infinity: the first on the way back."
            return [_nonfinite(row, text)]
    return []


def _nonfinite(row: Row, text: str) -> Finding:
    remedy = "Run the computation inside `with backlit.trace_nonfinite():`; it names the operands and a safe rewrite."
    return Finding("nonfinite", 100.0, text, remedy, row.label, row.spot)


# -- units ---------------------------------------------------------------------------------------------------


def dead(row: Row, units: Units) -> list[Finding]:
    """Units behind a gate that no example of the batch opens; of few examples it is not said that they are dead."""
    if row.kind != GATE or not units.blocked or units.examples < 2:
        return []
    assert row.first._op is not None
    op, many = row.first._op.name, len(units.blocked) > 1
    share = len(units.blocked) / units.count
    is_dead = units.are_dead
    state = "dead" if is_dead else f"off for all {units.examples} rows of this batch"
    if units.count == 1:
        which = f"`{row.label}` is {state}"
    else:
        named = f" ({', '.join(f'`{name}`' for name in units.names)})" if units.names and not many else ""
        which = (
            f"Unit{'s' * many} {some(units.blocked)}{named} of the {units.count} of `{row.label}` "
            f"{'are' if many else 'is'} {state}"
        )
    most = max(units.extremes)
    text = (
        f"{which}: {f'on all {units.examples} examples ' if is_dead else ''}what comes into {op} is never above "
        f"{_n(most) if most < 0 else '0'}, so {op} passes nothing on and no gradient comes back. "
        f"The weights before {'them' if many else 'it'} get a gradient of exactly 0, so they cannot move "
        "unless another batch opens the way."
    )
    if not is_dead:
        text += f" If these are all the rows there are, {'they are' if many else 'it is'} dead."
    remedy = (
        "Start again with another seed or smaller weights and a bias a little above 0, or a smaller "
        "learning rate; or use "
        "leaky_relu, which passes a little back."
    )
    if not is_dead:
        more = f"Ask again with more rows, {ENOUGH} or all. If none opens {'them' if many else 'it'}: "
        remedy = more + remedy[0].lower() + remedy[1:]
    severity = 30.0 + 65.0 * math.sqrt(share)
    return [Finding("dead", severity, text, remedy, row.label, row.spot, units.blocked, is_certain=is_dead)]


def saturated(row: Row, units: Units, order: Sequence[Value]) -> list[Finding]:
    """Squashing functions so far out that they are flat."""
    if row.kind != SQUASH or not (units.blocked or units.share >= _MANY_SATURATED) or _feeds_log(row, order):
        return []
    assert row.first._op is not None
    op, whole = row.first._op.name, len(units.blocked)
    text = (
        f"{100 * units.share:.0f} % of `{row.label}` is saturated: {op} is flat there, and passes less than 2 % back. "
    )
    if whole and units.examples > 1 and units.count > 1:
        text += f"Unit{'s' * (whole > 1)} {some(units.blocked)} of {units.count} on all {units.examples} examples. "
    text += f"What comes into it is too large: {_n(_incoming(row))} on average."
    remedy = (
        "Bring the inputs to mean 0 and deviation 1, start with smaller weights (deviation 1/√fan-in), or normalise "
        "before the function."
    )
    severity = 40.0 + 30.0 * max(units.share, whole / units.count)
    return [Finding("saturated", severity, text.rstrip(), remedy, row.label, row.spot, units.blocked)]


def _incoming(row: Row) -> float:
    sizes = [rms(inputs_of(node)[0]._data) for node in row.nodes]
    return math.sqrt(sum(size * size for size in sizes) / len(sizes))


def _feeds_log(row: Row, order: Sequence[Value]) -> bool:
    """Whether a logarithm follows soon, as in a cross entropy: then the two slopes cancel, and all is well."""
    near = dict.fromkeys(row.nodes, 0)
    for node in order:
        if node in near or node._op is None:
            continue
        steps = [near[x] for x in inputs_of(node) if x in near]
        if steps and min(steps) < 3:
            near[node] = min(steps) + 1
            if node._op.name.startswith("log"):
                return True
    return False


def symmetric(row: Row) -> list[Finding]:
    """Units that compute the same and receive the same gradient: they will stay the same for ever."""
    y, ct = row.data, row.ct
    if row.kind not in (GATE, SQUASH) or len(row.nodes) > 1 or ct is None or len(shape_of(y)) < 2 or y.shape[-1] < 2:
        return []
    if not (np.all(y[..., 0] == y[..., 1]) and np.all(y == y[..., :1]) and np.all(ct == ct[..., :1]) and np.any(ct)):
        return []
    text = (
        f"All {y.shape[-1]} units of `{row.label}` compute the same and receive the same gradient, so they "
        "will stay the same: together they are worth no more than one."
    )
    remedy = (
        "Draw the weights before and after this layer at random; with zeros, or any constant, all units start alike."
    )
    units = tuple(range(y.shape[-1]))
    return [Finding("symmetric", 85.0, text, remedy, row.label, row.spot, units)]


# -- plateaus ------------------------------------------------------------------------------------------------


def plateau(found: Plateau | None, loss: float, left: float, is_blocked: bool) -> list[Finding]:
    """Answers that do not tell examples apart, or a slope that is gone."""
    if found is None:
        text = (
            f"The gradient is nearly gone while the loss is {_n(loss)}: at this slope, changing every "
            f"parameter by its own size would move the loss by {100 * left:.2g} %. This is a minimum, or a plateau."
        )
        remedy = "If the loss is good enough, training is done. If not: another seed, momentum or Adam, a wider net."
        return [Finding("flat", 15.0, text, remedy)]
    label = label_of(found.node)
    stuck = found.stuck
    told = []
    for group in stuck:
        pulls = sorted(group.pulls)
        which = "all" if len(group.rows) == found.examples else f"examples {some(group.rows)}"
        up = sum(p for p in pulls if p < 0)
        told.append(f"{which} get {_n(group.answer)}, and {_n(up)} pulls against {_n(sum(pulls) - up)}")
    whole = len(stuck) == 1 and len(stuck[0].rows) == found.examples
    text = (
        f"A plateau at loss {_n(loss)}: `{label}` "
        + (
            f"is the same for all {found.examples} examples"
            if whole
            else f"gives only {len(found.groups)} different answers to {found.examples} examples"
        )
        + f" ({'; '.join(told)}). Their pulls cancel, so no parameter moves, though none of these answers is near "
        "its target."
    )
    remedy = (
        "The units that could tell them apart are blocked: see to those first."
        if is_blocked
        else "Another seed, more hidden units, or an optimizer with momentum; more steps alone will not do."
    )
    rows = tuple(row for group in stuck for row in group.rows)
    return [Finding("plateau", 70.0, text, remedy, label, spot_of(found.node), (), rows)]


# -- vanishing and exploding ---------------------------------------------------------------------------------


def along(rows: Rows, cts: dict[Value, Any]) -> list[tuple[Value, float]]:
    """The size of the gradient at each layer along the longest way back, from the output to the inputs."""
    spine = rows.spine
    if len(spine) > 1 and (spine[-1].size != spine[-2].size or rows.of(spine[-2]).kind == MIX):
        spine = spine[:-1]  # what a whole batch adds up to is no link of the chain
    layers = [node for node in spine if rows.of(node).kind and (shape_of(node._data) or rows.of(node).kind != MIX)]
    if len(layers) >= 3:
        return [(node, rows.of(node).gradient) for node in layers]
    wide = [k for k, node in enumerate(spine) if shape_of(node._data)]
    return [(node, rms(cts[node]) if node in cts else 0.0) for node in spine[(wide[0] if wide else 0) :]]


def vanishing(sizes: Sequence[tuple[Value, float]]) -> list[Finding]:
    """Where the gradient shrinks or grows by a factor of a thousand and more, at once or little by little."""
    while sizes and not sizes[-1][1]:
        sizes = sizes[:-1]  # zero is another matter: dead, not vanishing
    if len(sizes) < 2 or not sizes[0][1] or not all(math.isfinite(size) for _, size in sizes):
        return []
    factor = sizes[-1][1] / sizes[0][1]
    if 1 / FAR < factor < FAR or any(not size for _, size in sizes):
        return []
    steps = [(after / before, source) for (source, before), (_, after) in pairwise(sizes)]
    ratio, source = (min if factor < 1 else max)(steps, key=lambda step: step[0])
    first, last = label_of(sizes[0][0]), label_of(sizes[-1][0])
    verb = "shrinks" if factor < 1 else "grows"
    times = f"{_n(1 / factor if factor < 1 else factor)}"
    share = math.log(ratio) / math.log(factor)
    text = f"On the way back from `{first}` to `{last}` the gradient {verb} {times} times, over {len(steps)} steps"
    assert source._op is not None
    if share > 0.5:
        text += (
            f". Most of it happens at once, through {source._op.name}, which made `{label_of(source)}`: × {_n(ratio)}."
        )
    else:
        typical = factor ** (1 / len(steps))
        text += f", by about {_n(typical)} at each; most strongly through {source._op.name}: × {_n(ratio)}."
    if factor < 1:
        remedy = (
            "Give the signal a way around (residual connections), normalise between layers, use relu or its like "
            "with weights of deviation √(2/fan-in)."
        )
    else:
        remedy = "Start with smaller weights, normalise between layers, or clip the gradient's norm before each step."
    kind = "vanishing" if factor < 1 else "exploding"
    spot = spot_of(source) if share > 0.5 else spot_of(sizes[-1][0])
    return [Finding(kind, 65.0, text, remedy, label_of(source if share > 0.5 else sizes[-1][0]), spot, factor=factor)]


# -- parameters ----------------------------------------------------------------------------------------------


def zero_gradients(parameters: Sequence[Row]) -> list[Finding]:
    """Parameters that stand still although they took part."""
    still = [row for row in parameters if row.gradient == 0.0 and row.first.size]
    if not still:
        return []
    names = ", ".join(f"`{row.label}`" for row in still[:_LISTED])
    text = f"The gradient of {names} is exactly 0."
    if len(still) > _LISTED:
        text = f"The gradients of {names} and {len(still) - _LISTED} more are exactly 0."
    return [
        Finding(
            "zero", 60.0, text, "backlit.why(parameter) says what stands in its way.", still[0].label, still[0].spot
        )
    ]


def steps(ratios: Sequence[tuple[Row, float]], rate: float) -> list[Finding]:
    """Updates that are far too large or too small beside the weights."""
    found = []
    for row, ratio in ratios:
        if not ratio or not math.isfinite(ratio) or SMALL_STEP <= ratio <= LARGE_STEP:
            continue
        is_large = ratio > LARGE_STEP
        text = (
            f"One step of learning rate {_n(rate)} would change `{row.label}` by {_n(ratio)} times its own size: "
            + ("it is thrown about." if is_large else "it will hardly move.")
        )
        remedy = f"About a thousandth is usual: a learning rate near {_n(rate * GOOD_STEP / ratio)} would give that."
        severity = min(25.0 + 10.0 * abs(math.log10(ratio / GOOD_STEP) - (2 if is_large else -3)), 60.0)
        found.append(Finding("step", severity, text, remedy, row.label, row.spot, factor=ratio))
    found.sort(key=lambda finding: -finding.severity)
    return found[:3]
