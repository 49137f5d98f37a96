"""Why a gradient is huge or tiny: the factors along its heaviest path, in order, with their product."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.value import Value
from backlit.explain.answer import Factor
from backlit.explain.blocks import Hop, Index, hops
from backlit.explain.flow import Flow
from backlit.explain.formula import number_text
from backlit.explain.naming import Names, at, spot_of

HUGE, TINY = 1e6, 1e-6
MOST = 2_000  # steps of a path
_SHOWN = 24


def size_state(gradient: float) -> str:
    """ "huge", "tiny" or "number"."""
    size = abs(gradient)
    return "huge" if size > HUGE else "tiny" if 0 < size < TINY else "number"


def heaviest(flow: Flow, node: Value, index: Index, opened: bool) -> list[Hop]:
    """The path that carries most, from an element to the output: through scalars the one with the largest product,
    through arrays that of the largest term at each step. Each hop has one element.
    """
    if all(not shape_of(n._data) for n in flow.relevant):
        return _through_scalars(flow, node)
    found: list[Hop] = []
    without: frozenset[Value] = frozenset()
    while node is not flow.output and len(found) < MOST:
        ways = [(abs(p), h, k) for h in hops(flow, node, index, opened, without) for k, p in enumerate(h.products)]
        if not ways:
            break
        _, hop, k = max(ways, key=lambda way: -1.0 if np.isnan(way[0]) else way[0])
        found.append(_only(hop, k))
        node, index, without = hop.result, hop.index(k), hop.inside
    return found


def _only(hop: Hop, k: int) -> Hop:
    one = slice(k, k + 1)
    return Hop(
        hop.source, hop.element, hop.result, hop.argument, tuple(axis[one] for axis in hop.at), hop.local[one],
        hop.cotangent[one], hop.products[one], hop.scope, hop.inside,
    )  # fmt: skip


def _through_scalars(flow: Flow, source: Value) -> list[Hop]:
    """By dynamic programming on the logarithms of the local partials, so that nothing overflows."""
    best: dict[Value, tuple[float, Hop | None]] = {flow.output: (0.0, None)}
    for node in reversed(flow.order):
        if node not in flow.relevant or node is flow.output:
            continue
        for hop in hops(flow, node, (), True):
            ahead = best.get(hop.result)
            local = abs(float(hop.local[0]))
            if ahead is None or not local or math.isnan(local):
                continue
            weight = ahead[0] + (math.log(local) if math.isfinite(local) else math.inf)
            if node not in best or weight > best[node][0]:
                best[node] = (weight, hop)
    found: list[Hop] = []
    hop_on = best.get(source, (0.0, None))[1]
    while hop_on is not None:
        found.append(hop_on)
        hop_on = best[hop_on.result][1]
    return found


def ceiling(found: Sequence[Factor]) -> tuple[str, ...]:
    """What several sigmoids along a path pass on at most, in words; nothing if there are none."""
    count = sum(factor.through == "sigmoid" for factor in found)
    if count < 2 or any(abs(factor.factor) > 0.25 for factor in found if factor.through == "sigmoid"):
        return ()
    most = number_text(0.25**count, 3)
    said = f"the slope of sigmoid is at most 1/4, so {count} of them let through at most (1/4)**{count} = {most}"
    return (f"{said} of a gradient. tanh (slope up to 1), relu, normalisation and residual connections let more pass.",)


def factors(names: Names, path: list[Hop], seed: float) -> tuple[Factor, ...]:
    """The factors along a path, from the output back, and their running product; the middle of a long one is one."""
    product, found = seed, []
    for hop in reversed(path):
        factor = float(hop.local[0])
        product *= factor
        through = hop.scope.name if hop.scope is not None else "" if hop.result._op is None else hop.result._op.name
        found.append(Factor(at(names[hop.source], hop.element), through, factor, product, spot_of(hop.result)))
    if len(found) <= _SHOWN:
        return tuple(found)
    half = _SHOWN // 2
    hidden = found[half:-half]
    together = (
        hidden[-1].product / found[half - 1].product if found[half - 1].product else math.prod(f.factor for f in hidden)
    )
    between = Factor(f"… {len(hidden)} more", "", together, hidden[-1].product)
    return (*found[:half], between, *found[-half:])
