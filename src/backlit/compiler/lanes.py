"""Elements of straight code in the lanes of vectors: what is alike is computed together.

An element is a name. It may be one of a lane, such as `%v12.3` for lane 3 of the vector `%v12`: then it becomes a
number of its own only when something asks for it alone.

Elements may be fewer than the lanes. What stands in the others is left to LLVM ("poison"), and nobody reads it: no
function of vectors mixes lanes. It must not be the last element again: LLVM 22 miscompiles the shuffle
<0, 1, 1, 1, 1, 1, 1, 1> of 8 numbers of 8 bytes for AVX-512 if what comes of it is chosen by a mask, and only lanes 0
and 1 are used in the end. Then lane 1 is given element 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.compiler.scalars import Code

SHUFFLE, SPREAD, INSERT = 2, 1, 2
"""What it costs to take elements out of one or two vectors, to spread one over all lanes, and to insert one. Simple
arithmetic costs 1.
"""


def is_literal(element: str) -> bool:
    return not element.startswith("%")


class Lanes:
    """Takes elements into vectors, and out of them."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._place: dict[str, tuple[str, int]] = {}
        self._all: dict[str, tuple[str, int]] = {}  # of each vector its type, and how many lanes
        self._alone: set[str] = set()  # elements of lanes that have been taken out
        self._known: dict[tuple[tuple[str, ...], int], str] = {}  # by elements, and how many lanes

    def parted(self, vector: str, kind: str, lanes: int, count: int) -> list[str]:
        """What stands in the first lanes of a vector as elements, so many as are counted."""
        elements = [f"{vector}.{j}" for j in range(count)]
        self._place.update((element, (vector, j)) for j, element in enumerate(elements))
        self._all[vector] = (kind, lanes)
        self._known[tuple(elements), lanes] = vector
        return elements

    def beside(self, vector: str, kind: str, elements: tuple[str, ...], lanes: int) -> None:
        """Numbers that are there alone stand in the first lanes of a vector, too."""
        for j, element in enumerate(elements):
            self._place.setdefault(element, (vector, j))
        self._alone.update(elements)
        self._all[vector] = (kind, lanes)
        self._known[elements, lanes] = vector

    def alone(self, element: str) -> str:
        """An element as a number of its own."""
        place = self._place.get(element)
        if place is not None and element not in self._alone:
            vector, j = place
            kind, lanes = self._all[vector]
            self.code.put(f"  {element} = extractelement <{lanes} x {kind}> {vector}, i64 {j}")
            self._alone.add(element)
        return element

    def is_alone(self, element: str) -> bool:
        return element not in self._place or element in self._alone

    def price(self, elements: tuple[str, ...], lanes: int) -> int:
        """How many instructions it takes to have these in one vector."""
        elements = self._spread(elements, lanes)
        if (elements, lanes) in self._known or all(map(is_literal, elements)):
            return 0
        if len(set(elements)) == 1:
            return SPREAD
        if self._sources(elements):
            return SHUFFLE
        distinct = set(elements)
        again = SHUFFLE if len(distinct) < len(elements) else 0
        return INSERT * sum(not is_literal(element) for element in distinct) + again

    def _spread(self, elements: tuple[str, ...], lanes: int) -> tuple[str, ...]:
        """What is the same in the first lanes stands in all, so that one vector of it serves for any number."""
        if len(set(elements)) > 1 or (elements, lanes) in self._known:
            return elements
        return elements[:1] * lanes

    def _sources(self, elements: Sequence[str]) -> list[str]:
        """The one or two vectors that a shuffle takes these from; none if there is no such shuffle."""
        found: dict[str, None] = {}
        for element in elements:
            place = self._place.get(element)
            if place is None:
                return []
            found[place[0]] = None
        return list(found) if len(found) <= 2 and len({self._all[vector] for vector in found}) == 1 else []

    def together(self, elements: tuple[str, ...], kind: str, lanes: int) -> str:
        """Elements as a vector, in its first lanes."""
        elements = self._spread(elements, lanes)
        if all(map(is_literal, elements)):
            if len(set(elements)) == 1:
                return f"splat ({kind} {elements[0]})"
            return _constant(kind, elements, lanes)
        found = self._known.get((elements, lanes))
        if found is None:
            found = self._known[elements, lanes] = self._gathered(elements, kind, lanes)
        return found

    def _gathered(self, elements: tuple[str, ...], kind: str, lanes: int) -> str:
        code = self.code
        wide = f"<{lanes} x {kind}>"
        if len(set(elements)) == 1 and self.is_alone(elements[0]):
            first = code.let(f"insertelement {wide} poison, {kind} {elements[0]}, i64 0")
            return code.let(f"shufflevector {wide} {first}, {wide} poison, <{lanes} x i32> zeroinitializer")
        sources = self._sources(elements)
        if sources:
            count = self._all[sources[0]][1]
            places = [self._place[element] for element in elements]
            chosen = [sources.index(vector) * count + j for vector, j in places]
            return self.shuffled(sources, f"<{count} x {kind}>", chosen, lanes)
        distinct = list(dict.fromkeys(elements))
        vector = _constant(kind, [e if is_literal(e) else "poison" for e in distinct], lanes)
        for j, element in enumerate(distinct):
            if not is_literal(element):
                vector = code.let(f"insertelement {wide} {vector}, {kind} {self.alone(element)}, i64 {j}")
        if len(distinct) == len(elements):
            return vector
        return self.shuffled([vector], wide, [distinct.index(element) for element in elements], lanes)

    def shuffled(self, vectors: Sequence[str], kind: str, chosen: Sequence[int], lanes: int) -> str:
        """A vector that takes these lanes of one or two others of a type."""
        operands = ", ".join(f"{kind} {vector}" for vector in [*vectors, "poison"][:2])
        return self.code.let(f"shufflevector {operands}, <{lanes} x i32> {_constant('i32', chosen, lanes)}")


def _constant(kind: str, elements: Sequence[Any], lanes: int) -> str:
    """A constant vector; in the lanes that these elements do not fill may stand anything."""
    filled = [*elements, *["poison"] * (lanes - len(elements))]
    return f"<{', '.join(f'{kind} {element}' for element in filled)}>"
