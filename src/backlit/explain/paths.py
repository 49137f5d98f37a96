"""A gradient as a ledger of paths: how many lead from the output back to a variable, and what each of them carries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from backlit.autodiff.reverse import seed_for
from backlit.core.errors import GraphError, IndexingError, TracedValueError
from backlit.core.numbers import Abstract, dtype_of, quietly, shape_of
from backlit.core.standing import standing
from backlit.core.state import Scope
from backlit.core.value import INACTIVE, NO_EXTRA, Value, as_user_sees, current, describe, inputs_of
from backlit.core.walk import toposort
from backlit.explain.cotangents import cotangents_of, node_of
from backlit.explain.formula import number_text
from backlit.explain.ledger import Path, PathLedger, PathStep, Steps
from backlit.explain.naming import Spot, at, first_named, simple, spot_of
from backlit.explain.path_blocks import Block, Blocks, blocks_of
from backlit.explain.path_graph import Place, Web, web_of
from backlit.explain.path_search import Route, heaviest, product, remainder, totals

_LONGEST = 28  # a longer piece of source is not used as a name


def paths(
    output: Value,
    x: Value | None = None,
    top: int = 10,
    index: int | tuple[int, ...] | None = None,
    by: str | None = None,
    *,
    of: Value | None = None,
) -> PathLedger:
    """The derivative of a scalar by `x` as a sum over paths: the `top` heaviest, and all others as an exact remainder.

    A path leads from the output through the nodes it was computed from to `x`; what it adds to the gradient is
    the product of the local partials on it. How many there are, what they add up to and how far they cancel is computed
    node by node and never by walking them, and the heaviest are found in order, so that 10^30 paths are as good as ten.

    It is asked as `paths(output, x)`, or as `why` is, `paths(x, of=output)`.

    index: which element of an array `x`. by: "elements" opens arrays into their elements, each a node; "arrays" takes
    every edge as a linear map between arrays, and what a path adds as an array (or its element at `index`).
    By default arrays are opened if there is an index, or `x` is a scalar, and they are small.

    Raises ShapeError if the output is no scalar, GraphError if `x` is a constant, if one of the two is missing or no
    value, or if the arrays are too large to open, IndexingError for an index outside. Cost: linear in the graph, and
    for each path listed in its length; for "arrays" a pull-back for each edge of the paths listed, and of all paths if
    they are few.

    >>> x = Value(3.0, name="x")
    >>> y = x * x
    >>> ledger = paths(y + x * 4.0, x)
    >>> ledger.count, [path.product for path in ledger], ledger.gradient
    (3, [4.0, 3.0, 3.0], 10.0)
    >>> paths(x, of=y).gradient
    6.0
    """
    output, x = _asked(output, x, of)
    root = current(output)
    if type(root._data) is Abstract:
        raise TracedValueError("paths: the output has no number yet, its function is being traced.")
    seed = seed_for(root, None, "paths")
    order = toposort([root])
    node = node_of(x, order)
    labels = _Labels(order)
    if root._grad is INACTIVE or node is None or node._grad is INACTIVE:
        if node is not None and node._grad is INACTIVE and node._op is None:
            raise GraphError(f"paths: {describe(x)} is a constant, so there is no derivative by it.")
        return _none(root, x, labels)
    element = _element(x, shape_of(node._data), index)
    web = None
    if by != "arrays" and (element is not None or not shape_of(node._data)):
        web = web_of(root, node, order, element)
    if web is not None:
        return _by_numbers(root, web, labels, top, cotangents_of(root, seed, order).get(node, 0.0))
    if by == "elements":
        raise GraphError(
            "paths: arrays can be opened into their elements only where there is an `index` and they are small "
            '(20,000 elements). Give an index, or use by="arrays".'
        )
    cts = cotangents_of(root, seed, order)
    found = quietly(blocks_of, root, seed, node, order, cts, top, element)
    return _by_arrays(root, node, labels, found, cts.get(node), element)


def _asked(first: Value, second: Value | None, of: Value | None) -> tuple[Value, Value]:
    """The output and the variable, whichever way they were given."""
    if (second is None) == (of is None):
        given = "is missing" if of is None else "was given twice, by its place and as `of`"
        raise GraphError(f"paths: the output {given}. Write paths(output, x), or paths(x, of=output).")
    output, x = (first, second) if of is None else (of, first)
    for name, thing in (("output", output), ("x", x)):
        if not isinstance(thing, Value):
            raise GraphError(f"paths: {name} is {type(thing).__name__} {thing!r:.40}, and no value of a graph.")
    assert x is not None
    return output, x


def _element(x: Value, shape: tuple[int, ...], index: int | tuple[int, ...] | None) -> int | None:
    """The number of an element in its array."""
    if index is None:
        return None
    places = (index,) if isinstance(index, (int, np.integer)) else tuple(index)
    if len(places) != len(shape) or any(not -n <= i < n for i, n in zip(places, shape, strict=True)):
        raise IndexingError(
            f"paths: index {index!r} is not the place of one element of {describe(x)}, which has shape {shape}."
        )
    return int(np.ravel_multi_index([i % n for i, n in zip(places, shape, strict=True)], shape)) if shape else None


# -- names ---------------------------------------------------------------------------------------------------


class _Labels:
    """What nodes are called: by name or variable, else by the source that made them; the same names are numbered."""

    def __init__(self, order: Sequence[Value]) -> None:
        self._order = order
        self._known: dict[Value, str] = {}
        self._spots: dict[Any, Spot | None] = {}

    def of(self, node: Value) -> str:
        if not self._known:
            self._name_all()
        return self._known.get(node) or as_user_sees(node).label or "x"

    def spot(self, node: Value) -> Spot | None:
        key = (node._code, node._lasti)
        if key not in self._spots:
            self._spots[key] = spot_of(node)
        return self._spots[key]

    def at(self, place: Place) -> str:
        node, element = place
        if element is None:
            return self.of(node)
        return at(self.of(node), tuple(int(i) for i in np.unravel_index(element, shape_of(node._data))))

    def step(self, here: Place, there: Place, factor: float, argument: int) -> PathStep:
        node, source = here[0], there[0]
        inputs = inputs_of(node)
        use = ""
        if sum(x is source for x in inputs) > 1:
            use = ("left", "right")[argument] if len(inputs) == 2 else f"input {argument + 1}"
        op = "" if node._op is None else node._op.name
        return PathStep(self.at(here), self.at(there), op, factor, self.spot(node), use)

    def _name_all(self) -> None:
        """Number those that share a name, in the order in which they were made. One look at each line of source."""
        results = {node._extra.scope: node for node in self._order if _is_users(node._extra.scope)}
        by_site: dict[Any, str] = {}
        names: dict[Value, str] = {}
        counts: dict[str, int] = {}
        for node in self._order:
            scope = node._extra.scope
            if _is_users(scope) and results[scope] is not node and node._op is not None and node._extra.name is None:
                assert scope is not None
                name = f"{node._op.name} in {scope.name}"
            elif node._extra is NO_EXTRA and node._code is not None:
                key = (node._code, node._lasti, node._op)
                if key not in by_site:
                    by_site[key] = _name(node)
                name = by_site[key]
            else:
                name = _name(node)
            names[node] = name
            counts[name] = counts.get(name, 0) + 1
        given = first_named(self._order)
        turns = dict.fromkeys(given, 1)
        for node, name in names.items():
            if given.get(name) is node:
                self._known[node] = name
                continue
            turns[name] = turn = turns.get(name, 0) + 1
            is_number = node._op is None and node._grad is INACTIVE
            if counts[name] > 1 and not is_number:
                name = f"{name if simple(name) else f'({name})'}#{turn}"
            self._known[node] = name


def _is_users(scope: Scope | None) -> bool:
    """Whether a node lies directly in a scope that the user opened, and not a call of the library."""
    return scope is not None and scope.code is None


def _name(node: Value) -> str:
    shown = as_user_sees(node)
    if (label := shown.label or standing(node)) is not None:
        return label
    if node._op is None:
        return number_text(node._data) if node._grad is INACTIVE else "x"
    site = shown.site
    if site is not None and site.source is not None and len(site.source) <= _LONGEST:
        return site.source
    return node._op.name


# -- the ledgers ---------------------------------------------------------------------------------------------


def _none(root: Value, x: Value, labels: _Labels) -> PathLedger:
    note = f"Nothing that `{labels.of(root)}` depends on leads to it; backlit.why(x) says where that is cut."
    value = float(root._data)
    return PathLedger(
        labels.of(root), labels.of(current(x)), value, None, "scalars", 0, 0, (), 0.0, 0, 0.0, None, True, (note,)
    )


def _by_numbers(root: Value, web: Web, labels: _Labels, top: int, ct: Any) -> PathLedger:
    sums = totals(web)
    x, element = web.places[0]
    gradient = float(ct) if element is None else float(np.asarray(ct).ravel()[element])
    found = heaviest(web, top)
    listed = []
    for route in found:
        steps = Steps(len(route), partial(_numbered, web, labels, route))
        carried = product(edge.weight for _, edge in route)
        listed.append(Path(carried, abs(carried) / sums.sizes if 0 < sums.sizes < np.inf else None, steps, carried))
    notes = []
    if not np.isfinite(gradient):
        notes.append("Some factor on the way is not finite; backlit.trace_nonfinite() finds where that began.")
    has_arrays = any(element is not None for _, element in web.places)
    return PathLedger(
        output=labels.of(root),
        variable=labels.at((x, element)),
        value=float(root._data),
        gradient=gradient,
        kind="elements" if has_arrays else "scalars",
        count=sums.paths,
        carrying=sums.carrying,
        top=tuple(listed),
        others=remainder(gradient, [path.product for path in listed]),
        others_count=sums.paths - len(listed),
        sizes=sums.sizes,
        cancellation=_ratio(gradient, sums.sizes),
        notes=tuple(notes),
    )


def _by_arrays(root: Value, x: Value, labels: _Labels, blocks: Blocks, ct: Any, element: int | None) -> PathLedger:
    shape = shape_of(x._data)
    total: Any = np.zeros(shape, dtype_of(x._data)) if ct is None else np.asarray(ct)
    gradient = total if element is None else float(total.ravel()[element])
    listed = []
    for block in blocks.found:
        steps = Steps(len(block.steps), partial(_mapped, labels, block, x))
        carried = block.size if element is None else float(block.contribution)
        share = block.size / blocks.sizes if blocks.sizes else None
        listed.append(Path(carried, share, steps, block.contribution))
    others = gradient - sum((np.asarray(path.contribution) for path in listed), start=np.zeros(np.shape(gradient)))
    size = float(np.linalg.norm(np.asarray(gradient, np.float64)))
    what = "norms of what flows along a path" if element is None else "what flows along a path to this element"
    notes = [f"Each edge is a linear map between arrays, so products are {what}, and factors the change of the norm."]
    if not blocks.all_seen:
        notes.append(
            f"There are too many paths to walk each ({blocks.paths:,}). These are heaviest by the "
            f"products of what each "
            "edge does to the norm of the whole cotangent; that no other is heavier is not proved."
        )
    return PathLedger(
        output=labels.of(root),
        variable=labels.at((x, element)),
        value=float(root._data),
        gradient=gradient,
        kind="arrays",
        count=blocks.paths,
        carrying=None,
        top=tuple(listed),
        others=float(others) if element is not None or not prod(shape) else others,
        others_count=blocks.paths - len(listed),
        sizes=blocks.sizes,
        cancellation=None if blocks.sizes is None else _ratio(size, blocks.sizes),
        complete=blocks.all_seen,
        notes=tuple(notes),
    )


def _numbered(web: Web, labels: _Labels, route: Route, k: int) -> PathStep:
    n, edge = route[k]
    return labels.step(web.places[n], web.places[edge.to], edge.weight, edge.argument)


def _mapped(labels: _Labels, block: Block, x: Value, k: int) -> PathStep:
    node, argument = block.steps[k]
    target = block.steps[k + 1][0] if k + 1 < len(block.steps) else x
    return labels.step((node, None), (target, None), block.gains[k], argument)


def _ratio(gradient: float, sizes: float) -> float | None:
    if not sizes or not np.isfinite(sizes) or not np.isfinite(gradient):
        return None
    return min(abs(gradient) / sizes, 1.0)
