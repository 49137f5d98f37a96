"""Slips about places: positions that an index takes, and the places of a largest element where several tie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backlit.core.numbers import dtype_of, shape_of
from backlit.explain.hand_slips import Local, Slip
from backlit.explain.hand_words import axes_code
from backlit.ops.index import ARRAY, numpy_index


def indexing(at: Local) -> Iterator[Slip]:
    """The slips of `x[i]`: places overwritten, moved by one, or filled that were not indexed."""
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


def ties(at: Local) -> Iterator[Slip]:
    """The slips of a maximum or minimum: all of those that tie, only one of them, or every element."""
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
