"""From a value to the picture of its graph: what is visible, what it is called, and the numbers that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backlit.core.errors import GraphError, TracedValueError
from backlit.core.notation import ATOM, SUM, write_text
from backlit.core.numbers import Abstract, dtype_of, quietly, shape_of
from backlit.core.site import Site, site_of
from backlit.core.state import Scope
from backlit.core.value import INACTIVE, Value, current, describe, inputs_of
from backlit.core.walk import descendants, toposort
from backlit.draw.amounts import amount, raised
from backlit.draw.folding import CONSTANTS, EARLIER, LINE, LOOP, SCOPE, VARIABLES, Group, folded
from backlit.draw.ledger import Ledger, can_have_gradients, ledger, partial_symbols, partial_value, wants_gradients
from backlit.draw.picture import Edge, Node, Picture

Wanted = Value | str
LONGEST = 40  # characters of a formula


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
    whole = toposort([output])
    return _Maker(output, whole, names or {}, search or "").make(backward, partials, depth, only, limit)


class _Maker:
    """One picture being made."""

    def __init__(self, output: Value, whole: list[Value], names: Mapping[Value, str], search: str) -> None:
        self.output, self.whole, self.search = output, whole, search.strip().lower()
        self.given = {current(each): name for each, name in names.items()}
        self.own: dict[Value, str | None] = {}
        self.sites: dict[tuple[int, int], Site] = {}
        self.book = Ledger()
        self.on_path: set[Value] | None = None  # with `only`: what lies on the paths that were asked for

    def make(
        self,
        backward: bool | None,
        partials: bool,
        depth: float | None,
        only: Wanted | Sequence[Wanted] | None,
        limit: int,
    ) -> Picture:
        book = self.book = self._ledger(backward)
        order = self.whole if only is None else self._only(only)
        opened = self._scopes_with_hits(order) if self.search and depth is None else ()
        groups = folded(order, depth=0 if depth is None else depth, opened=opened, limit=limit)
        kept = set(order)
        labels = self._labels(groups, kept)
        home = {node: i for i, group in enumerate(groups) for node in group.members}
        inner = self._inner_names(groups, labels)
        nodes = tuple(
            self._node(i, group, groups, labels, home, book, inner) for i, group in enumerate(groups)
        )
        edges = self._edges(nodes, groups, home, inner, book, partials)
        title = self._title(nodes)
        return Picture(
            nodes, tuple(edges), title, bool(book.gradients), len(self.whole), self.search, inner, book
        )

    # -- the backward pass ------------------------------------------------------------------------------------

    def _ledger(self, backward: bool | None) -> Ledger:
        if backward is None:
            backward = wants_gradients(self.output) and can_have_gradients(self.output, self.whole)
        elif backward and not can_have_gradients(self.output, self.whole):
            if self.output._grad is INACTIVE:
                raise GraphError(
                    f"draw(backward=True): {describe(self.output)} does not depend on any variable that can be "
                    "differentiated, so there is no backward pass to draw. Make what is to vary a backlit.Value."
                )
            raise TracedValueError(
                "draw(backward=True): the graph is being traced, so its gradients have no numbers yet. "
                "Draw it with backward=False."
            )
        return ledger(self.output, self.whole) if backward else Ledger()

    # -- what is looked for -----------------------------------------------------------------------------------

    def _only(self, only: Wanted | Sequence[Wanted]) -> list[Value]:
        """The paths from these to the output, and the other inputs of what lies on them."""
        wanted = [only] if isinstance(only, (Value, str)) else list(only)
        sources: list[Value] = []
        known = set(self.whole)
        for each in wanted:
            if isinstance(each, str):
                found = [node for node in self.whole if self._own_name(node) == each]
            else:
                found = [current(each)] if current(each) in known else []
            if not found:
                names = dict.fromkeys(name for node in self.whole if (name := self._own_name(node)))
                what = f"`{each}`" if isinstance(each, str) else describe(each)
                raise GraphError(
                    f"draw(only=...): {what} does not occur in the graph of {describe(self.output)}. "
                    f"Its names are {', '.join(list(names)[:12]) or 'not known'}{', …' if len(names) > 12 else ''}."
                )
            sources += found
        path = descendants(sources, self.whole)
        beside = {x for node in path for x in inputs_of(node)} if path else set()
        self.on_path = path
        return [node for node in self.whole if node in path or (node in beside)]

    def _hit(self, node: Value) -> bool:
        words = [self._own_name(node) or "", node._op.name if node._op is not None else ""]
        if node._extra.scope is not None:
            words.append(str(node._extra.scope))
        if any(self.search in word.lower() for word in words):
            return True
        if self.search in ("nan", "inf") and not isinstance(node._data, Abstract) and dtype_of(node._data).kind == "f":
            test = np.isnan if self.search == "nan" else np.isinf
            return bool(np.any(test(node._data)))
        return False

    def _scopes_with_hits(self, order: Sequence[Value]) -> set[Scope]:
        """The scopes to open, so that what was found inside them is seen. One found by its own name stays folded."""
        opened: set[Scope] = set()
        for node in order:
            scope = node._extra.scope
            if scope is None or self.search in scope.name.lower() or not self._hit(node):
                continue
            while scope is not None:
                opened.add(scope)
                scope = scope.parent
        return opened

    # -- names ------------------------------------------------------------------------------------------------

    def _own_name(self, node: Value) -> str | None:
        """The name that the user gave: the one of the variable, if there is no other."""
        if node not in self.own:
            name = self.given.get(node)
            if name is None:
                name = node._extra.name
            if name is None and (node._op is not None or node._grad is not INACTIVE):
                site = self._site(node)
                name = None if site is None else site.variable
            self.own[node] = name
        return self.own[node]

    def _site(self, node: Value) -> Site | None:
        """Where a node was made; looked up once for each place in the program."""
        if node._code is None:
            return None
        key = id(node._code), node._lasti
        if key not in self.sites:
            self.sites[key] = site_of(node._code, node._lasti)
        return self.sites[key]

    def _labels(self, groups: Sequence[Group], kept: set[Value]) -> list[tuple[str, bool]]:
        """What each group is called, and whether that is the user's name for it."""
        taken: set[str] = set()
        found: list[tuple[str, bool] | None] = []
        shared = self._shared_names(groups)
        for group in groups:
            last, name = group.members[-1], None
            if group.kind in ("single", SCOPE) and last not in shared:
                name = self._own_name(last)
            elif group.kind == LINE:
                name = self._own_name(last)
            elif group.kind == VARIABLES:
                names = {self._own_name(node) for node in group.members}
                name = names.pop() if len(names) == 1 else None
            found.append(None if name is None else (_distinct(name, taken), True))
        counts = {"t": 0, "v": 0, "c": 0}
        labels = []
        for group, label in zip(groups, found, strict=True):
            last = group.members[-1]
            plain = group.kind == "single" and last._op is None and last._grad is INACTIVE
            if label is None and plain and not shape_of(last._data):
                label = (amount(last._data), False)
            if label is None and group.kind in (VARIABLES, CONSTANTS, EARLIER):
                label = ("", False)
            while label is None:
                letter = "t" if last._op is not None else "c" if plain else "v"
                counts[letter] += 1
                name = f"{letter}{counts[letter]}"
                if name not in taken:
                    taken.add(name)
                    label = (name, False)
            labels.append(label)
        return labels

    def _shared_names(self, groups: Sequence[Group]) -> set[Value]:
        """Nodes inside a composite whose name is that of the result: one call made them all, and it belongs to the last."""
        last: dict[tuple[Any, int, Scope | None], Value] = {}
        made: list[tuple[tuple[Any, int, Scope | None], Value]] = []
        for group in groups:
            node = group.members[-1]
            scope = node._extra.scope
            if scope is None or node._code is None:
                continue
            while scope.parent is not None:
                scope = scope.parent
            key = (node._code, node._lasti, scope)
            made.append((key, node))
            if key not in last or last[key]._serial < node._serial:
                last[key] = node
        return {node for key, node in made if last[key] is not node and node._extra.name is None}

    def _inner_names(self, groups: Sequence[Group], labels: Sequence[tuple[str, bool]]) -> dict[Value, str]:
        """What nodes are called in formulas. A constant is called by its number, so it is left out."""
        names: dict[Value, str] = {}
        for group, (label, named) in zip(groups, labels, strict=True):
            last = group.members[-1]
            plain = group.kind == "single" and last._op is None and last._grad is INACTIVE
            if plain and not named and not shape_of(last._data):
                continue
            if label:
                names[last] = label
        return names

    # -- nodes ------------------------------------------------------------------------------------------------

    def _node(
        self,
        i: int,
        group: Group,
        groups: Sequence[Group],
        labels: Sequence[tuple[str, bool]],
        home: Mapping[Value, int],
        book: Ledger,
        names: Mapping[Value, str],
    ) -> Node:
        last = self.output if any(node is self.output for node in group.members) else group.members[-1]
        members = (*(node for node in group.members if node is not last), last)
        label, named = labels[i]
        site = self._site(last) if group.kind != SCOPE else self._entry_site(group)
        because = last._extra.because
        node = Node(
            id=f"n{i}",
            kind=_kind(group, last),
            name=label,
            named=named,
            op=last._op.name if last._op is not None else "",
            formula="",
            numbers="",
            value=last._data,
            gradient=book.gradients.get(last),
            shape=shape_of(last._data),
            dtype=dtype_of(last._data).name,
            site="" if site is None else str(site),
            source="" if site is None else site.text,
            scope="" if last._extra.scope is None else str(last._extra.scope),
            members=members,
            hits=sum(map(self._hit, group.members)) if self.search else 0,
            cut=last._op is not None and not any(x in home for x in inputs_of(last)),
            serves="" if because is None else (self._own_name(because.node) or ""),
            is_output=last is self.output,
        )
        if group.kind == "single":
            return self._with_formula(node, names)
        return self._as_group(node, group, groups, labels, home)

    def _entry_site(self, group: Group) -> Any:
        """Where a composite was called: the site of its first op."""
        return next((self._site(node) for node in group.members if node._op is not None), None)

    def _with_formula(self, node: Node, names: Mapping[Value, str]) -> Node:
        value = node.last
        if value._op is None or node.cut:
            return node
        assert value._op.notation is not None
        symbols, numbers = [], []
        for at, x in enumerate(inputs_of(value)):
            number = amount(x._data)
            sign = number.startswith("-") and at > 0
            numbers.append((number, 0 if sign else ATOM))
            name = names.get(x)
            symbols.append((name, ATOM if name.isidentifier() or "." in name or "#" in name else SUM) if name
                           else (number, 0 if sign else ATOM))  # fmt: skip
        attrs = value._extra.attrs
        formula, told = (write_text(value._op.notation, each, attrs)[0] for each in (symbols, numbers))
        return replace(node, formula=raised(formula), numbers=raised(told))

    def _as_group(
        self,
        node: Node,
        group: Group,
        groups: Sequence[Group],
        labels: Sequence[tuple[str, bool]],
        home: Mapping[Value, int],
    ) -> Node:
        inside = set(group.members)
        feeding = dict.fromkeys(
            home[x] for each in group.members for x in inputs_of(each) if x in home and x not in inside
        )
        inputs = [labels[i][0] or groups[i].kind for i in feeding]
        count = len(group.members)
        if group.kind == SCOPE:
            assert group.scope is not None
            shown = ", ".join(inputs[:4]) + (", …" if len(inputs) > 4 else "")
            return replace(node, op=group.scope.name, formula=f"{group.scope.name}({shown})")
        if group.kind == VARIABLES:
            datas = [np.ravel(each._data) for each in group.members]
            grads = [np.ravel(node_grad) for each in group.members if (node_grad := self.book.gradients.get(each)) is not None]
            return replace(
                node,
                op="",
                formula=f"{count} variables",
                value=np.concatenate(datas),
                gradient=np.concatenate(grads) if grads else None,
            )
        if group.kind == CONSTANTS:
            return replace(node, op="", formula=f"{count} constants", value=None, gradient=None)
        if group.kind == LOOP:
            return replace(node, op="loop", formula=f"a loop of {count} operations")
        if group.kind == EARLIER:
            return replace(node, op="", name="earlier", formula=f"{count} nodes before these", value=None, gradient=None)
        return replace(node, op="line", formula=_short(node.source) or f"{count} operations")

    # -- edges ------------------------------------------------------------------------------------------------

    def _edges(
        self,
        nodes: Sequence[Node],
        groups: Sequence[Group],
        home: Mapping[Value, int],
        names: Mapping[Value, str],
        book: Ledger,
        partials: bool,
    ) -> list[Edge]:
        uses: dict[tuple[int, int, int], list[tuple[Value, int]]] = {}
        for node in home:
            b = home[node]
            for index, x in enumerate(inputs_of(node)):
                a = home.get(x)
                if a is None or a == b or (self.on_path is not None and node not in self.on_path):
                    continue
                plain = len(groups[a].members) == 1 == len(groups[b].members)
                uses.setdefault((b, index if plain else -1, a), []).append((node, index))
        found = []
        for (b, _, a), each in sorted(uses.items(), key=lambda item: (item[0][0], item[1][0][1], item[0][2])):
            edge = Edge(nodes[a].id, nodes[b].id, tuple(each))
            if book.gradients:
                terms = [book.passed.get(use) for use in each]
                flowing = [term for term in terms if term is not None]
                one_source = len({inputs_of(node)[index] for node, index in each}) == 1
                edge = replace(edge, flows=bool(flowing), passed=_sum(flowing) if flowing and one_source else None)
            if partials and len(each) == 1 and nodes[b].kind == "op":
                (node, index), = each
                if inputs_of(node)[index]._grad is not INACTIVE and node._grad is not INACTIVE:
                    symbols = partial_symbols(node, index, names)
                    edge = replace(
                        edge,
                        partial=partial_value(node, index),
                        symbol="" if symbols is None else raised(symbols.text),
                    )
            found.append(edge)
        return found

    def _title(self, nodes: Sequence[Node]) -> str:
        node = next(node for node in nodes if node.is_output)
        return f"{node.name} = {node.formula}" if node.formula else node.name


def _kind(group: Group, last: Value) -> str:
    if group.kind != "single":
        return group.kind
    if last._op is not None:
        return "op"
    return "constant" if last._grad is INACTIVE else "variable"


def _distinct(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it if another node has it already, as in a loop."""
    label, count = name, 1
    while label in taken:
        count += 1
        label = f"{name}#{count}"
    taken.add(label)
    return label


def _short(text: str, length: int = LONGEST) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _sum(terms: Sequence[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = quietly(np.add, total, term)
    return float(total) if shape_of(total) == () else total
