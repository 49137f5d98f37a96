"""Which part of a graph a drawing is about: the paths that were asked for, and what was searched for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backlit.core.errors import GraphError
from backlit.core.numbers import Abstract, dtype_of
from backlit.core.state import Scope
from backlit.core.value import Value, current, describe, inputs_of
from backlit.core.walk import descendants
from backlit.draw.naming import Names

Wanted = Value | str


def paths_from(
    wanted: Wanted | Sequence[Wanted], order: Sequence[Value], names: Names
) -> tuple[list[Value], set[Value]]:
    """The nodes on paths from these to the last of `order`, with the other inputs of each; and which lie on the paths.

    Raises GraphError for a name or a value that does not occur.
    """
    known = set(order)
    sources: list[Value] = []
    for each in [wanted] if isinstance(wanted, (Value, str)) else wanted:
        if isinstance(each, str):
            found = [node for node in order if names.own(node) == each]
        else:
            found = [current(each)] if current(each) in known else []
        if not found:
            has = list(dict.fromkeys(name for node in order if (name := names.own(node))))
            what = f"`{each}`" if isinstance(each, str) else describe(each)
            raise GraphError(
                f"draw(only=...): {what} does not occur in the graph of {describe(order[-1])}. "
                f"Its names are {', '.join(has[:12]) or 'not known'}{', …' if len(has) > 12 else ''}."
            )
        sources += found
    path = descendants(sources, order)
    beside = {x for node in path for x in inputs_of(node)}
    return [node for node in order if node in path or node in beside], path


@dataclass(frozen=True)
class Search:
    """What has this text in its name, op or scope; "nan" and "inf" also find numbers that are not finite."""

    text: str
    names: Names

    def finds(self, node: Value) -> bool:
        words = [self.names.own(node) or "", node._op.name if node._op is not None else ""]
        if node._extra.scope is not None:
            words.append(str(node._extra.scope))
        if any(self.text in word.lower() for word in words):
            return True
        data = node._data
        if self.text not in ("nan", "inf") or isinstance(data, Abstract) or dtype_of(data).kind != "f":
            return False
        return bool(np.any(np.isnan(data) if self.text == "nan" else np.isinf(data)))

    def scopes_to_open(self, order: Sequence[Value]) -> set[Scope]:
        """The scopes around what was found, so that it is seen. One that was found by its own name stays folded."""
        opened: set[Scope] = set()
        for node in order:
            scope = node._extra.scope
            if scope is None or self.text in str(scope).lower() or not self.finds(node):
                continue
            while scope is not None:
                opened.add(scope)
                scope = scope.parent
        return opened
