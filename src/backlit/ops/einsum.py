"""Sums of products in Einstein's notation: `einsum("ij,jk->ik", a, b)`.

A call becomes a few steps: diagonals where an operand repeats an index, sums over indices that only one
operand has, then products of two operands at a time, the cheapest first. Each product of two is one
`einsum` node, in which every index of an operand is an index of the other or of the result; so both its
transposes are products of the same kind.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import DomainError, ShapeError
from backlit.core.notation import ATOM, PRODUCT, Notation
from backlit.core.numbers import Shape, shape_of
from backlit.core.op import Attrs, Linear, Op, Reals, Sample
from backlit.core.record import operands, record
from backlit.core.state import call_scope
from backlit.core.value import Value
from backlit.ops.lowering import product
from backlit.ops.movement import PERMUTE_DIMS
from backlit.ops.selection import WHERE
from backlit.ops.summation import RESHAPE, SUM

if TYPE_CHECKING:
    from backlit.core.lowering import Graph, N
    from backlit.core.numbers import Abstract

# -- the product of two --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Product:
    """How a product of two is computed as a stack of matrix products.

    Axes of both operands are brought into the order stacked, rows, summed and stacked, summed, columns.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    stacked: int
    rows: int
    summed: int
    result: tuple[int, ...]


@lru_cache(maxsize=1024)
def _product(spec: str) -> _Product:
    (a, b), out = _split(spec)
    stacked = [i for i in out if i in a and i in b]
    rows = [i for i in out if i in a and i not in b]
    summed = [i for i in a if i in b and i not in out]
    columns = [i for i in out if i in b and i not in a]
    return _Product(
        tuple(a.index(i) for i in stacked + rows + summed),
        tuple(b.index(i) for i in stacked + summed + columns),
        len(stacked),
        len(rows),
        len(summed),
        tuple((stacked + rows + columns).index(i) for i in out),
    )


def _split(spec: str) -> tuple[list[str], str]:
    terms, _, out = spec.partition("->")
    return terms.split(","), out


def _einsum(a: Any, b: Any, spec: str) -> Any:
    plan = _product(spec)
    if not plan.summed:
        return np.einsum(spec, a, b)
    a, b = a.transpose(plan.left), b.transpose(plan.right)
    n, k = plan.stacked, plan.stacked + plan.rows
    stacked, rows, columns = a.shape[:n], a.shape[n:k], b.shape[n + plan.summed :]
    if plan.rows != 1 or plan.summed != 1:
        a = a.reshape((*stacked, math.prod(rows), math.prod(a.shape[k:])))
    if len(columns) != 1 or plan.summed != 1:
        b = b.reshape((*stacked, math.prod(b.shape[n : n + plan.summed]), math.prod(columns)))
    return np.matmul(a, b).reshape((*stacked, *rows, *columns)).transpose(plan.result)


def _einsum_shape(a: Any, b: Any, spec: str) -> Shape:
    terms, out = _split(spec)
    lengths: dict[str, int] = {}
    for term, x in zip(terms, (a, b), strict=True):
        if len(term) != len(x.shape):
            raise ShapeError(f"einsum: {term!r} names {len(term)} axes, and the shape is {x.shape}.")
        for index, length in zip(term, x.shape, strict=True):
            if lengths.setdefault(index, length) != length:
                raise ShapeError(
                    f"einsum: index {index} of {spec!r} has length {lengths[index]} on the left, {length} on the right."
                )
    return tuple(lengths[index] for index in out)


def _transpose_left(ct: Any, a: Any, b: Any, spec: str) -> Any:
    (left, right), out = _split(spec)
    return EINSUM(ct, b, spec=f"{out},{right}->{left}")


def _transpose_right(ct: Any, a: Any, b: Any, spec: str) -> Any:
    (left, right), out = _split(spec)
    return EINSUM(ct, a, spec=f"{out},{left}->{right}")


def _text(x: Sequence[str], attrs: Mapping[str, Any]) -> str:
    return f"einsum({attrs.get('spec', '')!r}, {', '.join(x)})"


def _latex(x: Sequence[str], attrs: Mapping[str, Any]) -> str:
    terms, out = _split(attrs.get("spec", ","))
    summed = "".join(i for i in dict.fromkeys("".join(terms)) if i not in out)
    factors = r"\,".join(f"{{{name}}}_{{{term}}}" if term else name for name, term in zip(x, terms, strict=False))
    return rf"\sum_{{{summed}}} {factors}" if summed else factors


def _lower_einsum(g: Graph[N], result: Abstract, a: N, b: N, spec: str) -> N:
    plan = _product(spec)
    a, b = (g.transpose(g.cast(x, result.dtype), axes) for x, axes in ((a, plan.left), (b, plan.right)))
    n, k = plan.stacked, plan.stacked + plan.rows
    stacked, rows, summed, columns = a.shape[:n], a.shape[n:k], a.shape[k:], b.shape[n + plan.summed :]
    a = g.reshape(a, (*stacked, math.prod(rows), math.prod(summed)))
    b = g.reshape(b, (*stacked, math.prod(summed), math.prod(columns)))
    return g.transpose(g.reshape(product(g, a, b), (*stacked, *rows, *columns)), plan.result)


EINSUM: Linear = Linear(
    "einsum",
    _einsum,
    transposes=(_transpose_left, _transpose_right),
    shape=_einsum_shape,
    notation=Notation(_text, _latex, ATOM, (), PRODUCT, (ATOM, ATOM)),
    domains=(Reals(), Reals()),
    samples=(
        Sample(((2, 3), (3, 4)), {"spec": "ij,jk->ik"}),
        Sample(((2, 3), (3, 4)), {"spec": "ij,jk->ki"}),
        Sample(((3,), (3,)), {"spec": "i,i->"}),
        Sample(((2,), (3,)), {"spec": "i,j->ji"}),
        Sample(((2, 3), (2, 3)), {"spec": "ij,ij->ij"}),
        Sample(((2, 3, 2), (2, 4, 2)), {"spec": "bij,bkj->bki"}),
        Sample(((2, 3, 4), (4, 3)), {"spec": "ijk,kj->i"}),
        Sample(((), (2, 3)), {"spec": ",ij->ji"}),
        Sample(((2, 0), (0, 3)), {"spec": "ij,jk->ik"}),
    ),
    lower=_lower_einsum,
    doc="Sum of products over the indices that the result does not have. spec: the indices of each axis.",
)

# -- diagonal ------------------------------------------------------------------------------------------------


def _diagonal_shape(x: Any) -> Shape:
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"diagonal: the last two axes of shape {x.shape} must be there and of equal length.")
    return x.shape[:-1]  # type: ignore[no-any-return]


def _diagonal_transpose(ct: Any, x: Any) -> Any:
    on_diagonal = np.eye(shape_of(x)[-1], dtype=np.bool_)
    return WHERE(on_diagonal, RESHAPE(ct, shape=(*shape_of(ct), 1)), 0.0)


def _lower_diagonal(g: Graph[N], result: Abstract, x: N) -> N:
    n = len(x.shape)
    rows = [[int(j == min(d, n - 2)) for j in range(n - 1)] for d in range(n)]
    return g.view(x, result.shape, [0] * n, rows)


DIAGONAL: Linear = Linear(
    "diagonal",
    lambda x: np.diagonal(x, 0, -2, -1),
    transposes=(_diagonal_transpose,),
    moves=True,
    shape=_diagonal_shape,
    samples=(Sample(((3, 3),)), Sample(((2, 3, 3),)), Sample(((1, 1),)), Sample(((2, 0, 0),))),
    lower=_lower_diagonal,
    doc="The diagonal of each matrix. x: (…, n, n) -> (…, n).",
)

# -- from the notation to steps ------------------------------------------------------------------------------

Step = tuple[Op, tuple[int, ...], Attrs]  # an op, which values it takes (operands, then earlier steps), its attributes


@dataclass(slots=True)
class _Term:
    """An operand on its way: which value it is, and the index and length of each axis."""

    slot: int
    indices: str
    shape: Shape


@lru_cache(maxsize=1024)
def _steps(subscripts: str, shapes: tuple[Shape, ...]) -> tuple[Step, ...]:
    """The ops that compute an einsum of operands with these shapes."""
    names, out = _read(subscripts, shapes)
    lengths = _lengths(subscripts, names, shapes)
    steps: list[Step] = []

    def add(op: Op, slots: tuple[int, ...], **attrs: Any) -> int:
        steps.append((op, slots, attrs))
        return len(shapes) + len(steps) - 1

    terms = [_Term(i, name, shape) for i, (name, shape) in enumerate(zip(names, shapes, strict=True))]
    for term in terms:
        _take_diagonals(term, add)
        _drop(term, [i for i, n in zip(term.indices, term.shape, strict=True) if n != lengths[i]], add, RESHAPE)
    for term in terms:
        elsewhere = out + "".join(other.indices for other in terms if other is not term)
        _drop(term, [i for i in term.indices if i not in elsewhere], add, SUM)
    while len(terms) > 1:
        a, b, kept = _cheapest(terms, out, lengths)
        terms = [term for term in terms if term is not a and term is not b]
        if not terms:
            kept = out
        slot = add(EINSUM, (a.slot, b.slot), spec=f"{a.indices},{b.indices}->{kept}")
        terms.append(_Term(slot, kept, tuple(lengths[i] for i in kept)))
    if terms[0].indices != out or not steps:
        add(PERMUTE_DIMS, (terms[0].slot,), axes=tuple(terms[0].indices.index(i) for i in out))
    return tuple(steps)


def _take_diagonals(term: _Term, add: Any) -> None:
    """Keep the diagonal where the operand has the same index twice."""
    while twice := next((i for i in term.indices if term.indices.count(i) > 1), None):
        first = term.indices.index(twice)
        second = term.indices.index(twice, first + 1)
        rest = [axis for axis in range(len(term.indices)) if axis not in (first, second)]
        order = (*rest, first, second)
        if order != tuple(range(len(order))):
            term.slot = add(PERMUTE_DIMS, (term.slot,), axes=order)
        term.slot = add(DIAGONAL, (term.slot,))
        term.indices = "".join(term.indices[axis] for axis in order[:-1])
        term.shape = tuple(term.shape[axis] for axis in order[:-1])


def _drop(term: _Term, indices: list[str], add: Any, op: Op) -> None:
    """Do without some indices, by summing over them, or by a reshape where their length is 1."""
    if not indices:
        return
    kept = [axis for axis, i in enumerate(term.indices) if i not in indices]
    axis = tuple(axis for axis, i in enumerate(term.indices) if i in indices)
    term.indices = "".join(term.indices[axis] for axis in kept)
    term.shape = tuple(term.shape[axis] for axis in kept)
    if op is SUM:
        term.slot = add(SUM, (term.slot,), axis=axis, keepdims=False)
    else:
        term.slot = add(RESHAPE, (term.slot,), shape=term.shape)


def _cheapest(terms: list[_Term], out: str, lengths: dict[str, int]) -> tuple[_Term, _Term, str]:
    """The two operands whose product takes the least work, and the indices of that product.

    Among equals, those that leave least to be kept.
    """
    best: tuple[tuple[int, int], _Term, _Term, str] | None = None
    for j, b in enumerate(terms):
        for a in terms[:j]:
            needed = out + "".join(t.indices for t in terms if t is not a and t is not b)
            both = dict.fromkeys(a.indices + b.indices)
            kept = "".join(i for i in both if i in needed)
            growth = math.prod(lengths[i] for i in kept) - math.prod(a.shape) - math.prod(b.shape)
            cost = math.prod(lengths[i] for i in both), growth
            if best is None or cost < best[0]:
                best = cost, a, b, kept
    assert best is not None
    return best[1:]


def _read(subscripts: str, shapes: tuple[Shape, ...]) -> tuple[list[str], str]:
    """One letter for every axis of every operand, and of the result, where `...` has become letters too."""
    text = "".join(subscripts.split())
    left, arrow, right = text.partition("->")
    written = left.split(",")
    for part in (*written, right):
        letters = part.replace("...", "", 1)
        if letters and not (letters.isascii() and letters.isalpha()):
            raise DomainError(
                f"einsum: cannot read {part!r} in {subscripts!r}. An operand is written as letters, one "
                "for each axis, with at most one `...` for any further axes: 'ij,jk->ik' or '...ij->...ji'."
            )
    if len(written) != len(shapes):
        raise ShapeError(
            f"einsum: {subscripts!r} has indices for {len(written)} operand{'s' * (len(written) != 1)}, "
            f"and {len(shapes)} {'was' if len(shapes) == 1 else 'were'} given."
        )
    further = 0  # axes under `...`, at most
    for i, (part, shape) in enumerate(zip(written, shapes, strict=True)):
        letters = part.replace("...", "")
        if len(letters) > len(shape) or (letters == part and len(letters) < len(shape)):
            raise ShapeError(
                f"einsum: {part!r} has indices for {len(letters)} axes{'' if letters == part else ' or more'}"
                f", and operand {i} has shape {shape}, with {len(shape)}."
            )
        if letters != part:
            further = max(further, len(shape) - len(letters))
    unused = [c for c in string.ascii_uppercase + string.ascii_lowercase if c not in text]
    if further > len(unused):
        raise ShapeError(f"einsum: {subscripts!r} leaves too few letters for {further} axes under `...`.")
    dots = "".join(unused[:further])
    names = []
    for part, shape in zip(written, shapes, strict=True):
        own = len(shape) - len(part.replace("...", ""))
        names.append(part.replace("...", dots[further - own :]))
    if not arrow:
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        return names, dots + "".join(once)
    return names, _result(subscripts, right, names, dots)


def _result(subscripts: str, right: str, names: list[str], dots: str) -> str:
    if dots and "..." not in right:
        raise ShapeError(
            f"einsum: `...` stands for {len(dots)} axes in {subscripts!r}, and the result does not have it. "
            f"Write '->...{right}', or sum over those axes afterwards."
        )
    out = right.replace("...", dots)
    for i in out:
        if not any(i in name for name in names):
            raise DomainError(f"einsum: index {i} of the result in {subscripts!r} is on none of the operands.")
        if out.count(i) > 1:
            raise DomainError(f"einsum: index {i} stands twice in the result in {subscripts!r}.")
    return out


def _lengths(subscripts: str, names: list[str], shapes: tuple[Shape, ...]) -> dict[str, int]:
    """The length of every index. Only axes under `...` broadcast."""
    lengths: dict[str, int] = {}
    origin: dict[str, int] = {}
    for operand, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        for axis, (i, length) in enumerate(zip(name, shape, strict=True)):
            under_dots = i not in subscripts
            if i not in lengths or (under_dots and lengths[i] == 1):
                lengths[i], origin[i] = length, operand
            elif lengths[i] != length and not (under_dots and length == 1):
                what = f"axis {axis}, under `...`," if under_dots else f"index {i}"
                raise ShapeError(
                    f"einsum: {what} has length {lengths[i]} in operand {origin[i]} and {length} in operand "
                    f"{operand} ({subscripts!r}, shapes {', '.join(map(str, shapes))})."
                )
    return lengths


def einsum(subscripts: str, /, *arrays: Any) -> Value:
    """The sum of products that Einstein's notation names: `"ij,jk->ik"` is the matrix product.

    subscripts: for each operand a letter for each axis, then `->` and the letters of the result. What the
    result does not have is summed over; a letter twice in one operand takes its diagonal; `...` stands for
    further axes, which broadcast. Without `->` the result has the letters that occur once, in alphabetical
    order. Raises DomainError for subscripts that cannot be read, ShapeError where shapes do not fit them.
    Cost: several operands are multiplied two at a time, the cheapest product first; where an
    index is summed over, it is a matrix product.

    >>> a, b = np.ones((2, 3)), np.ones((3, 4))
    >>> einsum("ij,jk->ik", a, b).shape, einsum("ij->j", a).data
    ((2, 4), array([2., 2., 2.]))
    """
    if not isinstance(subscripts, str):
        raise DomainError(
            f"einsum: the first argument is a text such as 'ij,jk->ik', and not {type(subscripts).__name__}."
        )
    nodes = list(operands(arrays))
    steps = _steps(subscripts, tuple(shape_of(x._data) for x in nodes))
    if len(steps) == 1:
        op, slots, attrs = steps[0]
        return record(op, tuple(nodes[i] for i in slots), attrs)
    with call_scope("einsum"):
        for op, slots, attrs in steps:
            nodes.append(record(op, tuple(nodes[i] for i in slots), attrs))
    return nodes[-1]
