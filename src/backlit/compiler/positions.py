"""Positions in arrays: whether they lie inside of their axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backlit.compiler.ir import Node
from backlit.core.errors import IndexingError
from backlit.core.value import describe


@dataclass
class Check:
    """Positions must lie inside of an axis of this length. node: the gather or scatter that they are for."""

    node: Node
    length: int


def spread_from(node: Node) -> Node:
    """The node whose every element is spread here, and nothing else of it."""
    if node.kind != "view":
        return node
    inner = node.args[0]
    offsets, rows = node.attrs
    for d, (offset, row) in enumerate(zip(offsets, rows, strict=True)):
        used = [j for j, c in enumerate(row) if c]
        whole = used and len(used) == 1 and row[used[0]] == 1 and node.shape[used[0]] == inner.shape[d]
        if offset or not (whole or inner.shape[d] == 1):
            return node
    return inner


def check_now(positions: Node, check: Check) -> None:
    """Raises IndexingError for positions that are known, and outside."""
    data = np.asarray(positions.data)
    if data.size and not (-check.length <= data.min() and data.max() < check.length):
        wrong = int(data.min() if data.min() < -check.length else data.max())
        raise outside(check, wrong)


def outside(check: Check, position: int | None = None) -> IndexingError:
    """The error for a position that is not inside of its axis."""
    origin = check.node.origins[0] if check.node.origins else None
    which = "a position" if position is None else f"position {position}"
    where = f": {describe(origin)}" if origin is not None else ""
    return IndexingError(
        f"getitem: {which} is outside of an axis of length {check.length} (positions go from {-check.length} to "
        f"{check.length - 1}){where}. Nothing was assigned."
    )
