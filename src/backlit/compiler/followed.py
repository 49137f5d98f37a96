"""Loops that take over the tiles of a matrix product as soon as they are computed, while they are near.

What only the loops need of the product then never goes to memory: a layer's bias and activation are applied, or a
gradient is spent on the optimizer's update, tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable

from backlit.compiler.ir import Node
from backlit.compiler.kernels import elements
from backlit.compiler.loops import Index, Probe, Writer, affine, counters, merged
from backlit.compiler.scalars import stored
from backlit.compiler.schedule import Kernel, Schedule
from backlit.compiler.target import Target


class TileWriter(Writer):
    """Writes loops over a tile: element (r, c) of it stands at `%tile + r * %stride + c`."""

    def __init__(self, schedule: Schedule, target: Target, product: Node, aliases: dict[Node, Node]) -> None:
        super().__init__(schedule, target)
        self.product, self.aliases = product, aliases

    def text(self) -> str:
        """The kernel as a function of its pointers, of a tile, and of what that is of the product."""
        pointers = [
            f"ptr noalias {'' if node in self.written else 'readonly '}{pointer}"
            for node, pointer in self.pointers.items()
        ]
        tile = ["ptr noalias readonly %tile", "i64 %stride", "i64 %row", "i64 %column", "i64 %rows"]
        return self.function(", ".join([*pointers, *tile]), self.attributes, self.often)

    def _element(self, node: Node, index: Index, fresh: bool) -> str:
        if node is not self.product:
            return super()._element(node, index, fresh)
        at = self.let(f"add nsw i64 {self.let('mul nsw i64 %r, %stride')}, %c")
        kind = stored(node.dtype)
        place = self.let(f"getelementptr inbounds {kind}, ptr %tile, i64 {at}", "a")
        return self.let(f"load {kind}, ptr {place}, align {node.dtype.itemsize}")


class TileProbe(Probe):
    """Sees what such loops access. places: of the product."""

    def __init__(self, schedule: Schedule, target: Target, product: Node, aliases: dict[Node, Node]) -> None:
        super().__init__(schedule, target)
        self.product, self.aliases = product, aliases
        self.places: set[Index] = set()

    def _element(self, node: Node, index: Index, fresh: bool) -> str:
        if node is not self.product:
            return super()._element(node, index, fresh)
        self.places.add(tuple([self.merge(place) for place in index if place != (0, ())]))
        return self.fresh()


def follower(
    schedule: Schedule, kernel: Kernel, product: Node, aliases: dict[Node, Node], target: Target
) -> Callable[[int], TileWriter] | None:
    """What writes the kernel for tiles of so many columns; None if the kernel does not go row by row as they do."""
    loops, index = counters(kernel.domain)
    probe = TileProbe(schedule, target, product, aliases)
    elements(probe, kernel, index)

    def arranged(w: Writer) -> list[tuple[str, int]]:
        w.accesses, w.apart = probe.accesses, probe.apart
        return merged(w, loops)

    trial = Writer(schedule, target)
    order = arranged(trial)
    if [count for _, count in order] != list(product.shape[-2:]):
        return None
    (row, _), (column, _) = order
    if {tuple(map(trial.merge, place)) for place in probe.places} != {(affine(0, {row: 1}), affine(0, {column: 1}))}:
        return None

    def write(columns: int) -> TileWriter:
        w = TileWriter(schedule, target, product, aliases)
        arranged(w)

        def place_and_body() -> None:
            w.put(f"  {row} = add nuw nsw i64 %row, %r")
            w.put(f"  {column} = add nuw nsw i64 %column, %c")
            elements(w, kernel, index)

        w.loop([("%r", 2), ("%c", columns)], place_and_body, "0", "%rows")
        return w

    return write
