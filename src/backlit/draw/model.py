"""From a value to the picture of its graph: what is visible, and the numbers that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backlit.core.errors import GraphError, TracedValueError
from backlit.core.notation import ATOM, SUM, Written, write_text
from backlit.core.numbers import Abstract, dtype_of, quietly, shape_of
from backlit.core.value import INACTIVE, Value, current, describe, inputs_of
from backlit.core.walk import toposort
from backlit.draw.amounts import amount, exact, raised
from backlit.draw.choosing import Search, Wanted, paths_from
from backlit.draw.folding import CONSTANTS, EARLIER, LINE, LOOP, SCOPE, SINGLE, VARIABLES, Group, folded
from backlit.draw.ledger import Ledger, can_have_gradients, ledger, partial_symbols, partial_value, wants_gradients
from backlit.draw.naming import Names
from backlit.draw.picture import Edge, Node, Picture

LONGEST = 40  # characters of a line of source


def picture(
    value: Value,
    *,
    backward: bool | None = None,
    partials: bool = False,
    depth: float | None = None,
    only: Wanted | Sequence[Wanted] | None = None,
    search: str | None = None,
    names: Mapping[Value, str] | None = None,
    limit: int = 300,
) -> Picture:
    """What a drawing of this value shows; `backlit.draw` names the arguments."""
    output = current(value)
    whole = order = toposort([output])
    book = _ledger(output, whole, backward)
    known = Names(names or {})
    found = Search(search.strip().lower(), known) if search and search.strip() else None
    on_path = None
    if only is not None:
        order, on_path = paths_from(only, whole, known)
    opened = found.scopes_to_open(order) if found and depth is None else ()
    groups = folded(order, depth=depth or 0, opened=opened, limit=limit)
    maker = _Maker(output, groups, known, book, found, on_path)
    nodes = tuple(maker.node(i) for i in range(len(groups)))
    edges = tuple(maker.edges(partials))
    last = next(node for node in nodes if node.is_output)
    title = (
        f"{last.name} = {last.formula}" if last.formula and last.kind in ("op", SCOPE) else last.formula or last.name
    )
    return Picture(
        nodes, edges, title, bool(book.gradients), len(whole), found.text if found else "", maker.names, book
    )


def _ledger(output: Value, whole: Sequence[Value], backward: bool | None) -> Ledger:
    possible = can_have_gradients(output, whole)
    if backward is None:
        backward = possible and wants_gradients(output)
    elif backward and output._grad is INACTIVE:
        raise GraphError(
            f"draw(backward=True): {describe(output)} does not depend on any variable that can be "
            "differentiated, so there is no backward pass to draw. Make what is to vary a backlit.Value."
        )
    elif backward and not possible:
        raise TracedValueError(
            "draw(backward=True): the graph is being traced, so its gradients have no numbers yet. "
            "Draw it with backward=False."
        )
    return ledger(output, whole) if backward else Ledger()


class _Maker:
    """The nodes and edges of one picture."""

    def __init__(
        self,
        output: Value,
        groups: Sequence[Group],
        known: Names,
        book: Ledger,
        search: Search | None,
        on_path: set[Value] | None,
    ) -> None:
        self.output, self.groups, self.known, self.book = output, groups, known, book
        self.search, self.on_path = search, on_path
        self.labels = known.labels(groups)
        self.names = known.in_formulas(groups, self.labels)
        self.home = {node: i for i, group in enumerate(groups) for node in group.members}
        self.used_outside = {x for node, i in self.home.items() for x in inputs_of(node) if self.home.get(x, i) != i}

    def node(self, i: int) -> Node:
        """The card of one group."""
        group = self.groups[i]
        last, (label, named) = group.last, self.labels[i]
        first = next((node for node in group.members if node._op is not None), last) if group.kind == SCOPE else last
        site = self.known.site(first)
        because, scope = last._extra.because, last._extra.scope
        cut = last._op is not None and self.on_path is not None and last not in self.on_path
        value, gradient, op, formula, numbers = last._data, self.book.gradients.get(last), "", "", ""
        if group.kind == SINGLE:
            op = "" if last._op is None else last._op.name
            formula, numbers = ("", "") if cut or last._op is None else self._formulas(last)
        else:
            op, formula = self._about(group, "" if site is None else site.text)
            if group.kind == VARIABLES:
                value, gradient = self._of_all(group.members)
            elif len(exits := self._exits(group)) > 1:
                value, gradient = self._of_all(exits)
            if group.kind in (CONSTANTS, EARLIER):
                value = gradient = None
        return Node(
            id=f"n{i}",
            kind=group.kind if group.kind != SINGLE else "op" if op else _leaf_kind(last),
            name="earlier" if group.kind == EARLIER else label,
            named=named,
            op=op,
            formula=formula,
            numbers=numbers,
            value=value,
            gradient=gradient,
            shape=shape_of(last._data) if value is last._data else shape_of(value) if value is not None else (),
            dtype=dtype_of(last._data).name,
            site="" if site is None else str(site),
            source="" if site is None else site.text,
            scope="" if scope is None else str(scope),
            members=group.members,
            hits=sum(map(self.search.finds, group.members)) if self.search else 0,
            cut=cut,
            serves="" if because is None else (self.known.own(because.node) or ""),
            is_output=last is self.output,
        )

    def _formulas(self, node: Value) -> tuple[str, str]:
        """How a node was computed, with the names of its inputs and with their numbers."""
        op = node._op
        assert op is not None
        assert op.notation is not None
        symbols: list[Written] = []
        numbers: list[Written] = []
        for at, x in enumerate(inputs_of(node)):
            number = amount(x._data)
            written = number, 0 if (at and number.startswith("-")) or number.endswith("j") else ATOM
            name = self.names.get(x)
            numbers.append((exact(x._data), written[1]))
            symbols.append(written if name is None else (name, ATOM if _holds_together(name) else SUM))
        attrs = node._extra.attrs
        return raised(write_text(op.notation, symbols, attrs)[0]), raised(write_text(op.notation, numbers, attrs)[0])

    def _about(self, group: Group, source: str) -> tuple[str, str]:
        """What a group does: the word for it, and its formula."""
        count = f"{len(group.members):,}"
        if group.kind == SCOPE:
            assert group.scope is not None
            inside = set(group.members)
            feeding = dict.fromkeys(
                self.home[x] for node in group.members for x in inputs_of(node) if x in self.home and x not in inside
            )
            inputs = [self.labels[i][0] or self.groups[i].kind for i in feeding]
            return group.scope.name, f"{group.scope.name}({', '.join(inputs[:4])}{', …' if len(inputs) > 4 else ''})"
        return {
            LINE: ("line", source if len(source) <= LONGEST else f"{source[: LONGEST - 1]}…"),
            VARIABLES: ("", f"{count} variables"),
            CONSTANTS: ("", f"{count} constants"),
            LOOP: ("loop", self._lines(group)),
            EARLIER: ("", f"{count} nodes before these"),
        }[group.kind]

    def _lines(self, group: Group) -> str:
        found = {site.line for node in group.members if (site := self.known.site(node)) is not None}
        if not found:
            return "a loop"
        return f"a loop over lines {min(found)} to {max(found)}" if len(found) > 1 else f"a loop over line {min(found)}"

    def _exits(self, group: Group) -> list[Value]:
        """The members that others were computed from, or that are the output."""
        return [node for node in group.members if node is self.output or node in self.used_outside]

    def _of_all(self, nodes: Sequence[Value]) -> tuple[Any, Any]:
        """The numbers of many nodes as one array, and their gradients."""
        found = [self.book.gradients.get(node) for node in nodes]
        known = [np.ravel(each) for each in found if each is not None]
        datas = [np.ravel(node._data) for node in nodes if not isinstance(node._data, Abstract)]
        return (np.concatenate(datas) if datas else None), (np.concatenate(known) if known else None)

    def edges(self, partials: bool) -> list[Edge]:
        """The edges between groups; those that join the same two are one, unless both are single nodes."""
        uses: dict[tuple[int, int, int], list[tuple[Value, int]]] = {}
        for node, b in self.home.items():
            if self.on_path is not None and node not in self.on_path:
                continue
            for index, x in enumerate(inputs_of(node)):
                a = self.home.get(x)
                if a is not None and a != b:
                    single = self.groups[a].kind == SINGLE == self.groups[b].kind
                    uses.setdefault((b, index if single else -1, a), []).append((node, index))
        in_order = sorted(uses.items(), key=lambda item: (item[0][0], item[1][0][1], item[0][2]))
        return [self._edge(a, b, found, partials) for (b, _, a), found in in_order]

    def _edge(self, a: int, b: int, uses: list[tuple[Value, int]], partials: bool) -> Edge:
        passed, flows, partial, symbol = None, None, None, ""
        node, index = uses[0]
        if self.book.gradients:
            terms = [term for use in uses if (term := self.book.passed.get(use)) is not None]
            flows = bool(terms)
            if terms and all(inputs_of(each)[at] is inputs_of(node)[index] for each, at in uses):
                passed = _sum(terms)
        varies = inputs_of(node)[index]._grad is not INACTIVE and node._grad is not INACTIVE
        if partials and varies and len(uses) == 1 and self.groups[b].kind == SINGLE:
            symbols = partial_symbols(node, index, self.names)
            partial, symbol = partial_value(node, index), "" if symbols is None else raised(symbols.text)
        return Edge(f"n{a}", f"n{b}", tuple(uses), partial, symbol, passed, flows)


def _leaf_kind(node: Value) -> str:
    return "constant" if node._grad is INACTIVE else "variable"


def _holds_together(name: str) -> bool:
    return name.isidentifier() or "." in name or "#" in name


def _sum(terms: Sequence[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = quietly(np.add, total, term)
    return float(total) if shape_of(total) == () else total
