"""Slips at a linear op (products, sums, movement), and at an op that states its own rules."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.op import Linear
from backlit.explain.hand_flow import Edge
from backlit.explain.hand_places import indexing, ties
from backlit.explain.hand_slips import Local, Slip
from backlit.explain.hand_words import axes_words


def linear(at: Local) -> Iterator[Slip]:
    """The slips of a linear op in one of its inputs."""
    name = at.op.name
    if name == "matmul":
        yield from _products(at)
    elif name == "getitem":
        yield from indexing(at)
    elif name == "sum":
        yield from _spreading(at)
    elif name == "reshape":
        yield from _reshaping(at)
    elif name == "permute_dims":
        yield from _permuting(at)
    assert isinstance(at.op, Linear)
    if at.op.jointly:
        for j, other in enumerate(at.inputs):
            if j != at.index and shape_of(other._data) == shape_of(at.x):
                yield Slip(
                    "wrong part",
                    f"take the part of `{at.ct_name}` that belongs to `{at.names[at.index]}`; you have that "
                    f"of `{at.names[j]}`",
                    "",
                    1.4,
                    lambda j=j: at.flow.term(Edge(at.node, j), at.ct),  # type: ignore[misc]
                )
    elif len(at.inputs) == 1 and shape_of(at.ct) == shape_of(at.x):
        yield Slip(
            "transpose of an operation",
            f"go back through {at.where}: you applied it once more, or left it out",
            "",
            1.6,
            lambda: at.op.evaluate(at.ct, **at.attrs),
        )


def _products(at: Local) -> Iterator[Slip]:
    a, b = at.xs
    if min(np.ndim(a), np.ndim(b)) < 2:
        return
    i = at.index
    ct, other, other_name = at.ct, at.xs[1 - i], at.names[1 - i]
    d = at.ct_name
    due = f"{d} @ {other_name}.T" if i == 0 else f"{other_name}.T @ {d}"
    for other_first in (False, True):
        for turn_ct in (False, True):
            for turn_other in (False, True):
                p = _turned(ct) if turn_ct else ct
                q = _turned(other) if turn_other else other
                left, right = (q, p) if other_first else (p, q)
                if left.shape[-1] != right.shape[-2]:
                    continue
                names = (f"{d}.T" if turn_ct else d, f"{other_name}.T" if turn_other else other_name)
                have = f"{names[1]} @ {names[0]}" if other_first else f"{names[0]} @ {names[1]}"
                if have == due:
                    continue
                kind = "transpose" if other_first == (i == 1) else "order of the product"
                if other_first != (i == 1) and turn_ct and not turn_other:
                    kind = "transpose"  # (A @ B).T = B.T @ A.T
                yield Slip(
                    kind,
                    f"write `{due}` for the product in {at.speaker.called(at.node)}; you have `{have}`",
                    due,
                    0.8,
                    lambda left=left, right=right: _folded(left @ right, at),  # type: ignore[misc]
                    raw=True,
                )
    turned = np.shape(other)[::-1]
    if len(turned) == 2 and np.ndim(ct) == 2:
        p = other.reshape(turned)
        have = f"{other_name}.reshape({turned})"
        have = f"{d} @ {have}" if i == 0 else f"{have} @ {d}"
        text = f"write `{due}`; you have `{have}`, and `reshape` does not transpose"
        yield Slip("wrong reshape", text, due, 0.9, lambda: ct @ p if i == 0 else p @ ct, raw=True)
    if shape_of(ct) == shape_of(other):
        text = f"write the matrix product `{due}`; you multiplied element by element, `{d} * {other_name}`"
        yield Slip("elementwise product", text, due, 0.9, lambda: ct * other, raw=True)
        summed = f"({d} * {other_name}).sum(0)"
        text = f"write the matrix product `{due}`; you have `{summed}`"
        yield Slip("elementwise product", text, due, 1.2, lambda: (ct * other).sum(0), raw=True)


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _folded(term: Any, at: Local) -> Any:
    """Summed over stacked axes, along which a matrix met many."""
    extra = term.ndim - np.ndim(at.x)
    return term.sum(axis=tuple(range(extra))) if extra > 0 else term


def _spreading(at: Local) -> Iterator[Slip]:
    """The transpose of a sum spreads; without that, the shape is that of the sum."""
    shape, axes = shape_of(at.x), at.attrs["axis"]
    if not axes:
        return
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    text = (
        f"spread it along {axes_words(axes, shape)}, `* ones_like({at.names[at.index]})`: every element of the "
        f"sum in {at.called} gets it"
    )
    yield Slip(
        "missing broadcast",
        text,
        f"* ones_like({at.names[at.index]})",
        0.4,
        lambda: at.ct.reshape(kept),
        raw=True,
    )
    if not at.attrs.get("keepdims") and shape_of(at.ct) != kept:
        yield Slip("missing broadcast", text, f"* ones_like({at.names[at.index]})", 0.4, lambda: at.ct, raw=True)
    others = [i for i in range(len(shape)) if i not in axes]
    if len(axes) == 1 and len(others) == 1 and shape[axes[0]] == shape[others[0]]:
        text = f"spread it along {axes_words(axes, shape)}; you spread it along axis {others[0]}"
        wrong = tuple(1 if i in others else n for i, n in enumerate(shape))
        yield Slip("wrong axis", text, "", 0.6, lambda: np.broadcast_to(at.ct.reshape(wrong), shape))


def _reshaping(at: Local) -> Iterator[Slip]:
    shape = shape_of(at.x)
    if at.ct.ndim > 1 or len(shape) > 1:
        fix = f"{at.ct_name}.reshape({at.names[at.index]}.shape)"
        text = f"write `{fix}`; you filled it column by column (order 'F')"
        yield Slip("wrong reshape", text, fix, 1.35, lambda: at.ct.reshape(shape, order="F"))
        if at.ct.ndim == 2:
            text = f"write `{fix}`; you transposed `{at.ct_name}` first"
            yield Slip("wrong reshape", text, fix, 1.2, lambda: at.ct.T.reshape(shape))
    if 2 <= len(shape) <= 4:
        for axes in permutations(range(len(shape))):
            if axes == tuple(range(len(shape))):
                continue
            back = tuple(int(k) for k in np.argsort(axes))
            have = f"{at.ct_name}.reshape({tuple(shape[k] for k in axes)}).transpose{back}"
            yield Slip(
                "wrong reshape",
                f"write `{fix}`; you have `{have}`, which puts the numbers in other places",
                fix,
                1.3,
                lambda axes=axes, back=back: at.ct.reshape([shape[k] for k in axes]).transpose(back),  # type: ignore[misc]
            )


def _permuting(at: Local) -> Iterator[Slip]:
    shape = shape_of(at.x)
    for axes in permutations(range(len(shape))):
        yield Slip(
            "transpose",
            f"go back through {at.where} with the inverse permutation; you have `{at.ct_name}.transpose{axes}`",
            "",
            0.9,
            lambda axes=axes: np.transpose(at.ct, axes),  # type: ignore[misc]
            raw=True,
        )


def special(at: Local) -> Iterator[Slip]:
    """The slips of an op that states its own rules."""
    if at.op.name in ("max", "min"):
        yield from ties(at)
    elif shape_of(at.ct) == shape_of(at.x):
        text = f"multiply by the derivative of {at.where}, which is forgotten"
        yield Slip("derivative forgotten", text, "", 1.0, lambda: at.ct)
