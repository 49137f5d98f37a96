"""What the nodes of a picture are called: by the user's own names, and those without one by letters and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backlit.core.numbers import shape_of
from backlit.core.site import Site, site_of
from backlit.core.standing import is_inner, module_of
from backlit.core.value import INACTIVE, Value, current
from backlit.draw.amounts import amount
from backlit.draw.folding import CONSTANTS, EARLIER, LINE, SCOPE, SINGLE, VARIABLES, Group

Label = tuple[str, bool]  # the name, and whether it is the user's


class Names:
    """Names and places of nodes, each looked up once. given: names that go before those of the program."""

    def __init__(self, given: Mapping[Value, str]) -> None:
        self._given = {current(value): name for value, name in given.items()}
        self._own: dict[Value, str | None] = {}
        self._sites: dict[tuple[int, int], Site] = {}

    def own(self, node: Value) -> str | None:
        """The user's name for it: the one it was given, or that of the variable it was assigned to.

        Of what a call of the library is made of, the results of modules are called by their paths.
        """
        if node not in self._own:
            name = self._given.get(node) or node._extra.name
            if name is None and is_inner(node):
                name = None if (module := module_of(node)) is None else module.path
            elif name is None and (node._op is not None or node._grad is not INACTIVE):
                site = self.site(node)
                name = None if site is None else site.variable
            self._own[node] = name
        return self._own[node]

    def site(self, node: Value) -> Site | None:
        """Where in the user's program it was made; None for nodes that the engine added."""
        if node._code is None:
            return None
        key = id(node._code), node._lasti
        if key not in self._sites:
            self._sites[key] = site_of(node._code, node._lasti)
        return self._sites[key]

    def labels(self, groups: Sequence[Group]) -> list[Label]:
        """What each group is called. Those without a name are t1, t2, … (computed), v1, … (variables), c1, … (arrays
        that do not vary); a number that does not vary is called by its digits."""
        taken: set[str] = set()
        given = [self._of_user(group) for group in groups]
        found = [None if name is None else (_distinct(name, taken), True) for name in given]
        counts = {"t": 0, "v": 0, "c": 0}
        labels = []
        for group, label in zip(groups, found, strict=True):
            if label is None and group.kind in (VARIABLES, CONSTANTS, EARLIER):
                label = ("", False)
            if label is None and is_number(group):
                label = (amount(group.last._data), False)
            letter = "t" if group.last._op is not None else "c" if group.last._grad is INACTIVE else "v"
            while label is None:
                counts[letter] += 1
                name = f"{letter}{counts[letter]}"
                if name not in taken:
                    taken.add(name)
                    label = (name, False)
            labels.append(label)
        return labels

    def _of_user(self, group: Group) -> str | None:
        if group.kind in (SINGLE, SCOPE, LINE):
            return self.own(group.last)
        if group.kind == VARIABLES:
            names = {self.own(node) for node in group.members}
            return names.pop() if len(names) == 1 else None
        return None

    def in_formulas(self, groups: Sequence[Group], labels: Sequence[Label]) -> dict[Value, str]:
        """The names by which formulas speak of nodes; numbers that do not vary are left out."""
        return {
            group.last: label
            for group, (label, named) in zip(groups, labels, strict=True)
            if label and (named or not is_number(group))
        }


def is_number(group: Group) -> bool:
    """Whether it is a single number that does not vary."""
    node: Any = group.last
    return group.kind == SINGLE and node._op is None and node._grad is INACTIVE and not shape_of(node._data)


def _distinct(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it if another node has it already, as in a loop."""
    label, count = name, 1
    while label in taken:
        count += 1
        label = f"{name}#{count}"
    taken.add(label)
    return label
