"""The arena: one stretch of memory for all that lives between the kernels of a block."""

from __future__ import annotations

import math
from bisect import bisect

LINE = 64
"""Bytes of a cache line: everything in the arena starts at one."""


def in_lines(size: int) -> int:
    """So many bytes and what is left of their last line."""
    return -(-size // LINE) * LINE


class Arena:
    """First fit: what is free is taken again. With very many owners, only what is free in the very size is."""

    MANY = 200

    def __init__(self) -> None:
        self.size = 0
        self._taken: dict[int, tuple[int, int, object]] = {}  # with the owner, so that its id stays its own
        self._gaps: list[tuple[int, float]] = [(0, math.inf)]  # begins and ends of what is free, in order
        self._free: dict[int, list[int]] = {}  # what is so in its very size alone, and lies in no gap

    def take(self, owner: object, size: int) -> int:
        size = in_lines(max(size, 1))
        start = self._place(size)
        self._taken[id(owner)] = (start, start + size, owner)
        self.size = max(self.size, start + size)
        return start

    def _place(self, size: int) -> int:
        if self._free.get(size):
            return self._free[size].pop()
        if len(self._taken) > self.MANY:
            last, _ = self._gaps.pop()
            self._gaps += [*([(last, self.size)] if last < self.size else []), (self.size + size, math.inf)]
            return self.size
        k = next(k for k, (begin, end) in enumerate(self._gaps) if end - begin >= size)
        begin, end = self._gaps[k]
        self._gaps[k : k + 1] = [(begin + size, end)] if begin + size < end else []
        return begin

    def free(self, owner: object) -> None:
        found = self._taken.pop(id(owner), None)
        if found is None:
            return
        begin, end, _ = found
        if len(self._taken) > self.MANY:
            self._free.setdefault(end - begin, []).append(begin)
            return
        gaps = self._gaps
        k = bisect(gaps, (begin, end))
        behind = gaps.pop(k)[1] if gaps[k][0] == end else end
        if k and gaps[k - 1][1] == begin:
            k -= 1
            begin, _ = gaps.pop(k)
        gaps.insert(k, (begin, behind))
