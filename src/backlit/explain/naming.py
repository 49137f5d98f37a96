"""What nodes, their elements and the places in the user's program are called in an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.standing import is_inner, standing
from backlit.core.state import Scope
from backlit.core.value import INACTIVE, NO_EXTRA, Value, as_user_sees, inputs_of
from backlit.explain.blocks import Index
from backlit.explain.flow import Flow
from backlit.explain.formula import number_text

LONGEST = 36  # a longer piece of source is not used as a name


@dataclass(frozen=True, slots=True)
class Spot:
    """A line of the user's program. text: the line itself, stripped."""

    file: str
    line: int
    function: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f"  {self.text}" if self.text else "")


def spot_of(node: Value) -> Spot | None:
    """Where a node was made; None for one that the engine added."""
    site = as_user_sees(node).site
    return None if site is None else Spot(site.short_file, site.line, site.function, site.text)


class Names:
    """Names for the nodes of one graph, found when asked for; no two nodes share one."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._known: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._repeats: dict[object, list[Value]] = {}
        for node in flow.order:
            if node._code is not None and node._op is not None:
                self._repeats.setdefault((node._code, node._lasti, node._op), []).append(node)
        for name, node in first_named(flow.order).items():
            self.rename(node, name)

    def __getitem__(self, node: Value) -> str:
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._distinct(self._new(node), node)
            self._taken.add(found)
        return found

    def rename(self, node: Value, name: str) -> None:
        """Call a node so, whatever else it might be called."""
        self._known[node] = name
        self._taken.add(name)

    def _new(self, node: Value) -> str:
        shown = as_user_sees(node)
        if shown.name is not None:
            return shown.name
        if is_nameless(node):
            return number_text(node._data)
        if (place := standing(node)) is not None:
            return place
        inner = _inside(self._flow, node)
        if inner is not None:
            assert node._op is not None
            return f"{node._op.name} in {inner.name}"
        if shown.label is not None:
            return shown.label
        site = shown.site
        if site is not None and site.source and len(site.source) <= LONGEST and node._op is not None:
            return site.source
        if node is self._flow.output:
            return "output"
        return "" if node._op is None else node._op.name

    def _distinct(self, name: str, node: Value) -> str:
        if name and as_user_sees(node).name is None:
            alike = self._alike(node)
            if len(alike) > 1:
                name = name if simple(name) else f"({name})"
                return self._free(f"{name}#{_position(node, alike)}")
        return self._free(name or "v1")

    def _alike(self, node: Value) -> Sequence[Value]:
        """The nodes that the same line made by the same op and at the same place of a call, in a loop for example."""
        repeats = self._repeats.get((node._code, node._lasti, node._op), ())
        if len(repeats) < 2:
            return repeats
        place = standing(node)
        return [each for each in repeats if as_user_sees(each).name is None and standing(each) == place]

    def _free(self, name: str) -> str:
        if name not in self._taken:
            return name
        stem, _, number = name.rpartition("#")
        count = 1 if not stem else int(number)
        while f"{stem or name}#{count}" in self._taken or count == 1:
            count += 1
        return f"{stem or name}#{count}"

    def turn(self, node: Value) -> tuple[int, int]:
        """Which of how many times the line of a node was run: (3, 12) in the third of twelve time steps."""
        alike = self._alike(node)
        return (_position(node, alike), len(alike)) if len(alike) > 1 and any(x is node for x in alike) else (1, 1)

    def element(self, node: Value, index: Index) -> str:
        """`W[3, 5]`, `loss`, `(x @ W)[17, 5]`."""
        return at(self[node], index)


def is_nameless(node: Value) -> bool:
    """Whether it is a number or an array that does not vary and that nothing is known to call by but its numbers."""
    if node._op is not None or node._grad is not INACTIVE or as_user_sees(node).label is not None:
        return False
    return not shape_of(node._data) or not is_inner(node)


def first_named(order: Sequence[Value]) -> dict[str, Value]:
    """The nodes that were given a name, by that name; of several the first, which keeps it as it is."""
    found: dict[str, Value] = {}
    for node in order:
        if node._extra is not NO_EXTRA and (name := as_user_sees(node).name) is not None:
            found.setdefault(name, node)
    return found


def _position(node: Value, nodes: Sequence[Value]) -> int:
    """Which of these a node is, counted from one; by identity, since `==` on values is elementwise."""
    return next(i for i, each in enumerate(nodes, 1) if each is node)


def _inside(flow: Flow, node: Value) -> Scope | None:
    """The scope that the user opened of which a node is an inner part and not the result; None if there is none."""
    scope = node._extra.scope
    if scope is None or scope.code is not None or node._op is None:
        return None
    uses = flow.uses.get(node, [])
    if not uses:
        return None
    return scope if all(_within(user, scope) for user, _ in uses) else None


def _within(node: Value, scope: Scope) -> bool:
    mine = node._extra.scope
    while mine is not None:
        if mine is scope:
            return True
        mine = mine.parent
    return False


def at(name: str, index: Index) -> str:
    """The name of an element of something.

    >>> at("W", (3, 5)), at("x @ W", (1,)), at("loss", ())
    ('W[3, 5]', '(x @ W)[1]', 'loss')
    """
    if not index:
        return name
    inner = ", ".join(map(str, index))
    return f"{name}[{inner}]" if simple(name) else f"({name})[{inner}]"


def simple(name: str) -> bool:
    """Whether a name needs no parentheses.

    >>> [simple(name) for name in ("self.W", "h#2", "(x @ W).tanh()", "x @ W", "h*2", "-x")]
    [True, True, True, False, False, False]
    """
    depth = 0
    for letter in name:
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and not (letter.isalnum() or letter in "._#)]"):
            return False
    return True


def partial_by(output: str, name: str) -> str:
    """`∂loss/∂W[3, 5]`."""
    above = output if simple(output) else f"({output})"
    below = name if simple(name) else f"({name})"
    return f"∂{above}/∂{below}"


def operands_there(node: Value, where: Index) -> list[float | None]:
    """The number of each operand that took part in one element of an elementwise result."""
    shape = np.shape(node._data)
    return [
        float(np.broadcast_to(np.asarray(x._data), shape)[where]) if np.asarray(x._data).dtype.kind in "fiub" else None
        for x in inputs_of(node)
    ]
