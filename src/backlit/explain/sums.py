"""One element's gradient as a sum: its largest terms, the rest, and what each is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.rules import contribution
from backlit.core.numbers import dtype_of, quietly, shape_of, strong
from backlit.core.op import Elementwise, Linear
from backlit.core.value import Value, constant, inputs_of, leaf
from backlit.explain.answer import Group, Sum, Term
from backlit.explain.blocks import Hop, Index, hops
from backlit.explain.flow import Flow
from backlit.explain.formula import Formula, number_text, partial_formula
from backlit.explain.naming import Names, at, is_nameless, partial_by, spot_of
from backlit.ops.linear_algebra import MATMUL

MOST_DECODED = 20  # so many operands of listed terms are named in one evaluation
MOST_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class Walk:
    """From an element along the only way there is, to where it forks, or to the output.

    steps: hops with one element each. node, index: where the fork is; inside: the uses that were left behind.
    fork: the ways on from there, none if the output was reached. scale: the product of the steps' derivatives.
    """

    steps: tuple[Hop, ...]
    node: Value
    index: Index
    fork: tuple[Hop, ...]
    scale: float
    inside: frozenset[Value]


def walk(flow: Flow, node: Value, index: Index, opened: bool = False, without: frozenset[Value] = frozenset()) -> Walk:
    """Follow an element as long as there is one way on."""
    steps: list[Hop] = []
    scale = 1.0
    while True:
        found = hops(flow, node, index, opened, without)
        alive = [hop for hop in found if hop.products.size]
        is_end = node is flow.output
        single = sum(hop.products.size for hop in alive) == 1 and not is_end
        if not single or len(steps) >= MOST_STEPS:
            return Walk(tuple(steps), node, index, tuple(alive), scale, without)
        (hop,) = alive
        steps.append(hop)
        scale *= float(hop.local[0])
        node, index, without = hop.result, hop.index(0), hop.inside


def summed(flow: Flow, names: Names, way: Walk, top: int, output: str) -> tuple[Sum, list[tuple[Hop, int]]]:
    """The sum at a fork, and for each listed term the hop and the number of it there.

    Values are contributions to the gradient at the start of the walk.
    """
    products = np.concatenate([hop.products for hop in way.fork]) * way.scale
    owners = np.repeat(np.arange(len(way.fork)), [hop.products.size for hop in way.fork])
    within = np.concatenate([np.arange(hop.products.size) for hop in way.fork])
    if way.node is flow.output:
        raise AssertionError("the output itself is no sum")
    sizes = np.where(np.isnan(products), np.inf, np.abs(products))
    order = np.argsort(-sizes, kind="stable")[: max(top, 1)]
    total, size = float(np.sum(products)), float(np.sum(np.abs(products)))
    listed = [(way.fork[int(owners[i])], int(within[i])) for i in order]
    read = _reads(listed, names)
    terms = []
    for number, (i, (hop, k), text) in enumerate(zip(order, listed, read, strict=True), 1):
        value, where = float(products[i]), hop.index(k)
        name = names[hop.result]
        terms.append(
            Term(
                number=number,
                label=at(name, where),
                name=name,
                index=where,
                value=value,
                share=abs(value) / size if size and np.isfinite(size) else 0.0,
                cotangent=float(hop.cotangent[k]),
                local=float(hop.local[k]) * way.scale,
                reads=text if way.scale == 1.0 else "",
                spot=spot_of(hop.result),
            )
        )
    left = np.ones(products.size, bool)
    left[order] = False
    rest = float(np.sum(products[left]))
    rest_size = float(np.sum(np.abs(products[left])))
    return (
        Sum(
            of=partial_by(output, at(names[way.node], way.index)) if way.steps else "",
            over=_over(way.fork, names),
            count=products.size,
            terms=tuple(terms),
            rest=rest,
            rest_share=rest_size / size if size and np.isfinite(size) else 0.0,
            total=total,
            size=size,
            cancellation=abs(total) / size if size and np.isfinite(size) else 1.0,
            groups=tuple(_groups(way, names, products, owners, size)),
        ),
        listed,
    )


# -- what a local derivative is ------------------------------------------------------------------------------


def _reads(listed: Sequence[tuple[Hop, int]], names: Names) -> list[str]:
    """For each term what its local derivative is: `x[17, 3]`, `1 - h**2`; empty where there is nothing short to say."""
    texts = [""] * len(listed)
    by_hop: dict[int, list[int]] = {}
    for i, (hop, _) in enumerate(listed):
        by_hop.setdefault(id(hop), []).append(i)
    for which in by_hop.values():
        hop = listed[which[0]][0]
        if hop.argument is None:
            continue
        if isinstance(hop.result._op, Elementwise):
            for i in which:
                found = local_formula(hop, listed[i][1], names)
                texts[i] = "" if found is None else found.text
        else:
            decoded = quietly(_operands, hop, [listed[i][1] for i in which], names)
            for i, text in zip(which, decoded, strict=True):
                texts[i] = text
    return texts


def local_formula(hop: Hop, k: int, names: Names) -> Formula | None:
    """The partial of an elementwise op at one element, as a formula of the elements that took part in it."""
    op = hop.result._op
    if not isinstance(op, Elementwise) or hop.argument is None:
        return None
    rule = op.partials[hop.argument]
    assert rule is not None
    where, shape = hop.index(k), shape_of(hop.result._data)
    written: dict[Value, str] = {}
    stand_ins: dict[Value, Value] = {}
    for node in (*inputs_of(hop.result), hop.result):
        if node in stand_ins:
            continue
        data = np.broadcast_to(np.asarray(node._data), shape)[where]
        number = float(data) if data.dtype == np.float64 else data
        if is_nameless(node):
            stand_ins[node] = constant(number)
            continue
        stand_ins[node] = leaf(number)
        written[stand_ins[node]] = at(names[node], broadcast_index(shape_of(node._data), where))
    partial = rule(stand_ins[hop.result], *(stand_ins[x] for x in inputs_of(hop.result)), **hop.result._extra.attrs)
    return partial_formula(partial, {node: _bracketed(name) for node, name in written.items()})


def _bracketed(name: str) -> str:
    return f"({name})" if " " in name.partition("[")[0] and not name.startswith("(") else name


def broadcast_index(shape: Index, where: Index) -> Index:
    """The index in an operand of the element that takes part in an element of the result."""
    extra = len(where) - len(shape)
    return tuple(0 if length == 1 else where[extra + i] for i, length in enumerate(shape))


def _operands(hop: Hop, ks: list[int], names: Names) -> list[str]:
    """For a product, which element of the other operand a local derivative is. All of them are found at once, by giving
    each element of the result a power of two and seeing where the transpose in the other operand puts it.
    """
    op, inputs = hop.result._op, inputs_of(hop.result)
    nothing = [""] * len(ks)
    if not isinstance(op, Linear) or op.jointly or hop.argument is None or len(ks) > MOST_DECODED:
        return nothing
    factors = [i for i, x in enumerate(inputs) if i != hop.argument and dtype_of(x._data).kind == "f"]
    if len(factors) != 1 or len(op.transposes) <= factors[0] or op.transposes[factors[0]] is None:
        return ["1" if hop.local[k] == 1.0 else "" for k in ks] if not factors else nothing
    other = inputs[factors[0]]
    if is_nameless(other):
        return nothing  # a constant without a name
    if op is MATMUL and all(len(shape_of(x._data)) == 2 for x in inputs):  # a fast path of what follows
        reached = [hop.index(k) for k in ks]
        i, j = hop.element
        return [names.element(other, (j, c) if hop.argument == 0 else (r, i)) for r, c in reached]
    if dtype_of(other._data).itemsize < 4 or dtype_of(hop.result._data).itemsize < 4:
        return nothing
    xs = [strong(x._data) for x in inputs]
    weights = np.zeros(shape_of(hop.result._data), dtype_of(hop.result._data))
    for bit, k in enumerate(ks):
        weights[hop.index(k)] += 2**bit
    xs[hop.argument] = _unit_like(hop, inputs)
    found = contribution(op, factors[0], weights[()], None, strong(hop.result._data), xs, hop.result._extra.attrs)
    if found is None:
        return nothing
    places = np.asarray(found[0])
    texts = list(nothing)
    for where in zip(*np.nonzero(places), strict=True) if places.ndim else [()]:
        index = tuple(int(i) for i in where)
        bits = float(places[index])
        if bits != int(bits) or bits <= 0:
            return nothing
        for bit in range(len(ks)):
            if int(bits) >> bit & 1:
                if texts[bit]:
                    return nothing
                texts[bit] = names.element(other, index)
    return texts


def _unit_like(hop: Hop, inputs: Sequence[Value]) -> Any:
    assert hop.argument is not None
    data = inputs[hop.argument]._data
    unit = np.zeros(shape_of(data), dtype_of(data))
    unit[hop.element] = 1
    return unit[()]


# -- what the terms run over ---------------------------------------------------------------------------------


def _varying(hop: Hop) -> list[int]:
    return [axis for axis, where in enumerate(hop.at) if where.size and np.any(where != where[0])]


_AXES = {1: ("element",), 2: ("row", "column")}


def axis_word(ndim: int, axis: int) -> str:
    """What the entries along an axis are called: rows and columns of a matrix."""
    return _AXES.get(ndim, ("",) * ndim)[axis] or f"axis {axis}"


def _over(fork: Sequence[Hop], names: Names) -> str:
    """What the terms run over, in words."""
    if len({id(hop.result) for hop in fork}) > 1 or len(fork) > 1:
        users = [names[hop.result] for hop in fork]
        if all(hop.products.size == 1 for hop in fork):
            return f"{len(fork)} paths, one for each use of it"
        return f"what comes back through its {len(fork)} uses: {_listed(users, 4)}"
    (hop,) = fork
    name, ndim = names[hop.result], len(hop.at)
    varying = _varying(hop)
    if not varying:
        return f"one term, through {name}"
    if len(varying) == 1:
        axis = varying[0]
        word = axis_word(ndim, axis)
        count = hop.products.size
        if ndim == 1:
            return f"{count} terms, one for each element of {name}"
        fixed = [f"{axis_word(ndim, a)} {int(hop.at[a][0])}" for a in range(ndim) if a != axis]
        whole = count == shape_of(hop.result._data)[axis]
        which = f"one for each {word}" if ndim == 2 and whole else f"for {word}s" if ndim == 2 else f"along {word}"
        return f"{count} terms, {which} of {name} in {' and '.join(fixed)}"
    return f"{hop.products.size} terms, for elements of {name}, of shape {shape_of(hop.result._data)}"


def _listed(items: Sequence[str], most: int) -> str:
    items = list(dict.fromkeys(items))
    return ", ".join(items[:most]) + (", …" if len(items) > most else "")


def _groups(way: Walk, names: Names, products: Any, owners: Any, size: float) -> list[Group]:
    """The same terms added up by use, where there are several, or along the axes of one result."""
    found: list[Group] = []

    def add(by: str, label: str, part: Any) -> None:
        value = float(np.sum(part))
        shared = float(np.sum(np.abs(part))) / size if size and np.isfinite(size) else 0.0
        found.append(Group(by, label, value, shared, int(np.size(part))))

    if len(way.fork) > 1:
        if any(hop.products.size > 1 for hop in way.fork):
            for i, hop in enumerate(way.fork):
                turn, turns = names.turn(hop.result)
                label = names[hop.result] + (f" (time {turn} of {turns})" if turns > 1 else "")
                add("use", label, products[owners == i])
            found.sort(key=lambda group: -group.share)
        return found
    (hop,) = way.fork
    varying = _varying(hop)
    if len(varying) < 2:
        return []
    for axis in varying:
        entries: list[Group] = []
        word = axis_word(len(hop.at), axis)
        totals = np.bincount(hop.at[axis], weights=np.abs(products))
        for entry in np.argsort(-totals, kind="stable")[:3]:
            if totals[entry]:
                add(
                    word,
                    f"{word}{'' if len(hop.at) < 3 else ','} {int(entry)}",
                    products[hop.at[axis] == entry],
                )
                entries.append(found[-1])
    return found


def term_text(term: Term) -> str:
    """`0.12 · x[17, 3] = 0.12 · 0.83`, the factors of a term."""
    if not term.reads or term.reads == number_text(term.local):
        return f"{number_text(term.cotangent)} × {number_text(term.local)}"
    return f"{number_text(term.cotangent)} × {term.reads} = {number_text(term.local)}"
