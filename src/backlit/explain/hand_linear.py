"""Slips at a linear op (products, sums, movement, indexing) and at a maximum with ties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from backlit.core.numbers import dtype_of, shape_of
from backlit.core.op import Linear
from backlit.explain.hand_flow import Edge
from backlit.explain.hand_slips import Local, Slip
from backlit.explain.hand_words import axes_code, axes_words
from backlit.ops.index import ARRAY, numpy_index


def linear(at: Local) -> Iterator[Slip]:
    """The slips of a linear op in one of its inputs."""
    name = at.op.name
    if name == "matmul":
        yield from _products(at)
    elif name == "getitem":
        yield from _indexing(at)
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


def _indexing(at: Local) -> Iterator[Slip]:
    if at.index != 0:
        return
    index, arrays, shape, ct = at.attrs["index"], list(at.xs[1:]), shape_of(at.x), np.asarray(at.ct)
    code = at.speaker.name(at.node)
    if not arrays:
        return

    def placed(arrays: Sequence[Any], add: bool = True, index: Any = index, value: Any = ct) -> Any:
        out = np.zeros(shape, dtype_of(ct))
        where = numpy_index(index, arrays)
        if add:
            np.add.at(out, where, value)
        else:
            out[where] = value
        return out

    codes = at.speaker.index_codes(at.node)
    if len(codes) != len(arrays):
        codes = [f"index {k + 1}" for k in range(len(arrays))]
    where = codes[0] if len(codes) == 1 else f"({', '.join(codes)})"
    fix = f"np.add.at({at.speaker.gradient(at.inputs[0])}, {where}, {at.ct_name})"
    yield Slip(
        "overwritten",
        f"add up what belongs to one place, `{fix}`: {at.called} takes some places more than once, and your "
        f"`=` keeps the last alone where `+=` was due",
        fix,
        0.7,
        lambda: placed(arrays, add=False),
    )
    axes = _indexed_axes(index)
    for k, axis in enumerate(axes):
        n = shape[axis]
        for step in (1, -1):
            moved = [np.mod(a + step, n) if j == k else a for j, a in enumerate(arrays)]
            yield Slip(
                "shifted index",
                f"use `{codes[k]}` as it is, in {at.where}: your positions along axis {axis} are "
                f"{'one too high' if step > 0 else 'one too low'}",
                fix,
                1.1,
                lambda moved=moved: placed(moved),  # type: ignore[misc]
            )
        if len(arrays) > 1:
            wide = tuple(_widened(index, k))
            rest = [a for j, a in enumerate(arrays) if j != k]
            for add in (False, True):
                yield Slip(
                    "index too wide",
                    f"index with `{codes[k]}` along axis {axis} too, in {at.where}: you filled all of that axis",
                    code,
                    1.1,
                    lambda wide=wide, rest=rest, add=add: placed(rest, add, wide, _first_value(ct)),  # type: ignore[misc]
                )
    if len(arrays) == 2 and shape[axes[0]] == shape[axes[1]]:
        text = f"exchange the two index arrays of {at.where}: you wrote into the transposed places"
        yield Slip("transpose", text, "", 1.2, lambda: placed(arrays[::-1]))


def _first_value(ct: Any) -> Any:
    flat = ct.reshape(-1)
    return flat[0] if flat.size and np.all(flat == flat[0]) else ct


def _indexed_axes(index: Sequence[Any]) -> list[int]:
    axes, axis = [], 0
    for item in index:
        if item is None:
            continue
        if item is ARRAY:
            axes.append(axis)
        axis += 1
    return axes


def _widened(index: Sequence[Any], k: int) -> Iterator[Any]:
    from_arrays = -1
    for item in index:
        if item is ARRAY:
            from_arrays += 1
            if from_arrays == k:
                yield _EVERY
                continue
        yield item


_EVERY = slice(None)


# -- specials --------------------------------------------------------------------------------------------


def special(at: Local) -> Iterator[Slip]:
    """The slips of an op that states its own rules."""
    if at.op.name in ("max", "min"):
        yield from _ties(at)
    elif shape_of(at.ct) == shape_of(at.x):
        text = f"multiply by the derivative of {at.where}, which is forgotten"
        yield Slip("derivative forgotten", text, "", 1.0, lambda: at.ct)


def _ties(at: Local) -> Iterator[Slip]:
    axes, keepdims, shape = at.attrs["axis"], at.attrs.get("keepdims", False), shape_of(at.x)
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    ct, y = np.asarray(at.ct).reshape(kept), np.asarray(at.y).reshape(kept)
    chosen = np.asarray(at.x == y)
    ties = int(np.sum(chosen.sum(axis=axes) > 1))
    word = {"max": "largest", "min": "smallest"}[at.op.name]
    name, d = at.names[at.index], at.ct_name
    fix = f"({name} == {at.y_name}) / ({name} == {at.y_name}).sum({axes_code(axes, True)}) * {d}"
    if ties:
        where = f"{ties} time{'s' if ties > 1 else ''} in {at.where} several elements are {word}"
        yield Slip(
            "ties: all",
            f"share the gradient among elements that tie: {where}, and you give each of them all of it",
            fix,
            0.5,
            lambda: np.where(chosen, ct, 0.0),
        )
        if len(axes) == 1:
            for last, which in ((False, "first"), (True, "last")):
                yield Slip(
                    "ties: one",
                    f"{where}; you give all of the gradient to the {which} of them, Backlit shares it equally: "
                    "both are valid",
                    "",
                    0.4,
                    lambda last=last: np.where(_one(chosen, axes[0], last), ct, 0.0),  # type: ignore[misc]
                )
    text = f"give the gradient only to the {word} element of each row in {at.where}; you give it to all"
    yield Slip("mask forgotten", text, fix, 0.8, lambda: np.broadcast_to(ct, shape))
    if not keepdims or ct.shape != shape:
        text = f"put the gradient where the {word} element stands in {at.where}; you did not spread it"
        yield Slip("missing broadcast", text, fix, 0.8, lambda: ct, raw=True)


def _one(chosen: Any, axis: int, last: bool) -> Any:
    """Of the elements chosen along an axis, only the first or the last."""
    turned = np.flip(chosen, axis) if last else chosen
    only = turned & (np.cumsum(turned, axis=axis) == 1)
    return np.flip(only, axis) if last else only
