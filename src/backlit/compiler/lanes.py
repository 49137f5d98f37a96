"""Elements of straight code in the lanes of vectors: what is alike is computed together.

An element is a name. It may be one of a lane, such as `%v12.3` for lane 3 of the vector `%v12`: then it becomes a
number of its own only when something asks for it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        self._known: dict[tuple[str, ...], str] = {}

    def parted(self, vector: str, kind: str, lanes: int, count: int) -> list[str]:
        """A vector's lanes as elements. count: so many differ, and the rest is the last of them again."""
        elements = [f"{vector}.{min(j, count - 1)}" for j in range(lanes)]
        self._place.update((element, (vector, j)) for j, element in enumerate(elements[:count]))
        self._all[vector] = (kind, lanes)
        self._known[tuple(elements)] = vector
        return elements

    def beside(self, vector: str, kind: str, elements: tuple[str, ...]) -> None:
        """Numbers that are there alone stand in the lanes of a vector, too."""
        for j, element in enumerate(elements):
            self._place.setdefault(element, (vector, j))
        self._alone.update(elements)
        self._all[vector] = (kind, len(elements))
        self._known[elements] = vector

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

    def price(self, elements: tuple[str, ...]) -> int:
        """How many instructions it takes to have these in one vector."""
        if elements in self._known or all(map(is_literal, elements)):
            return 0
        if len(set(elements)) == 1:
            return SPREAD
        if self._sources(elements):
            return SHUFFLE
        distinct = set(elements)
        again = SHUFFLE if len(distinct) < len(elements) else 0
        return INSERT * sum(not is_literal(element) for element in distinct) + again

    def _sources(self, elements: Sequence[str]) -> list[str]:
        """The one or two vectors that a shuffle takes these from; none if there is no such shuffle."""
        found: dict[str, None] = {}
        for element in elements:
            place = self._place.get(element)
            if place is None:
                return []
            found[place[0]] = None
        return list(found) if len(found) <= 2 and len({self._all[vector] for vector in found}) == 1 else []

    def together(self, elements: tuple[str, ...], kind: str) -> str:
        """Elements as a vector."""
        if all(map(is_literal, elements)):
            if len(set(elements)) == 1:
                return f"splat ({kind} {elements[0]})"
            return f"<{', '.join(f'{kind} {element}' for element in elements)}>"
        found = self._known.get(elements)
        if found is None:
            found = self._known[elements] = self._gathered(elements, kind)
        return found

    def _gathered(self, elements: tuple[str, ...], kind: str) -> str:
        code, lanes = self.code, len(elements)
        wide = f"<{lanes} x {kind}>"
        if len(set(elements)) == 1 and self.is_alone(elements[0]):
            first = code.let(f"insertelement {wide} poison, {kind} {elements[0]}, i64 0")
            return code.let(f"shufflevector {wide} {first}, {wide} poison, <{lanes} x i32> zeroinitializer")
        sources = self._sources(elements)
        if sources:
            count = self._all[sources[0]][1]
            operands = [f"<{count} x {kind}> {vector}" for vector in [*sources, "poison"][:2]]
            places = [self._place[element] for element in elements]
            mask = ", ".join(f"i32 {sources.index(vector) * count + j}" for vector, j in places)
            return code.let(f"shufflevector {', '.join(operands)}, <{lanes} x i32> <{mask}>")
        distinct = list(dict.fromkeys(elements))
        constants = [e if is_literal(e) else "poison" for e in distinct] + ["poison"] * (lanes - len(distinct))
        vector = f"<{', '.join(f'{kind} {e}' for e in constants)}>"
        for j, element in enumerate(distinct):
            if not is_literal(element):
                vector = code.let(f"insertelement {wide} {vector}, {kind} {self.alone(element)}, i64 {j}")
        if len(distinct) == lanes:
            return vector
        mask = ", ".join(f"i32 {distinct.index(element)}" for element in elements)
        return code.let(f"shufflevector {wide} {vector}, {wide} poison, <{lanes} x i32> <{mask}>")
