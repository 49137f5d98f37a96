"""The arena: one stretch of memory for all that lives between the kernels of a block."""

from __future__ import annotations

from bisect import bisect, insort

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
        self._spans: list[tuple[int, int]] = []  # begins and ends of what is taken, in order
        self._free: dict[int, list[int]] = {}

    def take(self, owner: object, size: int) -> int:
        size = in_lines(max(size, 1))
        start = self._place(size)
        self._taken[id(owner)] = (start, start + size, owner)
        insort(self._spans, (start, start + size))
        self.size = max(self.size, start + size)
        return start

    def _place(self, size: int) -> int:
        if self._free.get(size):
            return self._free[size].pop()
        if len(self._taken) > self.MANY:
            return self.size
        start = 0
        kept = [(begin, begin + length) for length, begins in self._free.items() for begin in begins]
        for begin, end in sorted([*self._spans, *kept]) if kept else self._spans:
            if begin - start >= size:
                break
            start = max(start, end)
        return start

    def free(self, owner: object) -> None:
        found = self._taken.pop(id(owner), None)
        if found is None:
            return
        begin, end, _ = found
        del self._spans[bisect(self._spans, (begin, end)) - 1]
        if len(self._taken) > self.MANY:
            self._free.setdefault(end - begin, []).append(begin)
