"""Which nodes of a graph are drawn one by one, and which are folded into one: by name scope, or by line of source.

Folding never makes a circle. Where a group would (a line in the body of a loop runs once a round), it is split into
rounds; where even those are too many, the whole loop is one group. All of it is linear in the graph.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice

from backlit.core.state import Scope
from backlit.core.value import INACTIVE, Value, inputs_of

Key = Hashable
SINGLE = "single"
SCOPE, LINE, VARIABLES, CONSTANTS, LOOP, EARLIER = "composite", "line", "variables", "constants", "loop", "earlier"


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that are drawn as one. kind: why. members: in topological order; scope: the one they share, if any."""

    kind: str  # one of those above
    members: tuple[Value, ...]
    scope: Scope | None = None

    @property
    def last(self) -> Value:
        """The node whose value is shown for all."""
        return self.members[-1]


def folded(
    order: Sequence[Value],
    *,
    depth: float = 0,
    opened: Collection[Scope] = (),
    limit: int = 300,
) -> list[Group]:
    """The groups of a graph given in topological order, themselves in topological order.

    depth: how many levels of scopes are opened. opened: scopes that are opened besides. limit: if more groups than
    this are left, they are folded by line, then loops as a whole, then all that comes before the last ones.
    """
    keys = [_scope_key(node, depth, opened) for node in order]
    if _count(order, keys) <= limit and len(groups := _grouped(order, keys)) <= limit:
        return groups
    lines = _Lines()
    by_line = [(SCOPE, key[1]) if key is not None and key[0] == SCOPE else lines.key(node)
               for node, key in zip(order, keys, strict=True)]  # fmt: skip
    if _count(order, by_line) <= limit and len(groups := _grouped(order, by_line)) <= limit:
        return groups
    by_line = [lines.key(node) for node in order]
    for loops in (False, True):
        groups = _grouped(order, by_line, loops)
        if len(groups) <= limit:
            return groups
    return _last(groups, order, limit)


def _count(order: Sequence[Value], keys: Sequence[Key]) -> int:
    """At least so many groups there will be: constants may yet be drawn into others, and circles be split."""
    kept = [key for node, key in zip(order, keys, strict=True) if node._op is not None or node._grad is not INACTIVE]
    return kept.count(None) + len({key for key in kept if key is not None})


def _scope_key(node: Value, depth: float, opened: Collection[Scope]) -> tuple[str, Scope] | None:
    scope = node._extra.scope
    if scope is None:
        return None
    chain = [scope]
    while scope.parent is not None:
        scope = scope.parent
        chain.append(scope)
    chain.reverse()
    for each in chain[int(min(depth, len(chain))) :]:
        if each not in opened:
            return SCOPE, each
    return None


class _Lines:
    """The line of source on which each node was made; each instruction is looked up once."""

    def __init__(self) -> None:
        self.found: dict[tuple[object, int], int] = {}

    def key(self, node: Value) -> tuple[str, str, int]:
        code, at = node._code, node._lasti
        if code is None:
            return (CONSTANTS if node._op is None else LINE), "", 0
        line = self.found.get((code, at))
        if line is None:
            position = next(islice(code.co_positions(), at // 2, None), (None,))
            line = self.found[code, at] = position[0] or code.co_firstlineno
        return (LINE if node._op is not None else VARIABLES), code.co_filename, line


def _grouped(order: Sequence[Value], keys: Sequence[Key], loops: bool = False) -> list[Group]:
    """Nodes of one key as one group, split where that would make a circle (for `loops`: the circle as one)."""
    number: dict[Value, int] = {}  # which group a node is in
    groups: list[list[Value]] = []
    kinds: list[Key] = []
    of_key: dict[Key, int] = {}
    for node, key in zip(order, keys, strict=True):
        at = None if key is None else of_key.get(key)
        if at is None:
            at = len(groups)
            groups.append([])
            kinds.append(key)
            if key is not None:
                of_key[key] = at
        groups[at].append(node)
        number[node] = at
    circles = [circle for circle in _circles(len(groups), _edges(order, number)) if len(circle) > 1]
    if circles and not loops:
        in_circle = {at for circle in circles for at in circle}
        rounds = _rounds(order, keys)
        split = [
            (key, rounds[node]) if number[node] in in_circle and key is not None else key
            for node, key in zip(order, keys, strict=True)
        ]
        return _made(order, split, keys)
    if circles:
        for circle in circles:
            whole = min(circle)
            for at in circle:
                if at != whole:
                    groups[whole] += groups[at]
                    for node in groups[at]:
                        number[node] = whole
            kinds[whole] = (LOOP, whole)
        keys = [kinds[number[node]] for node in order]
    return _made(order, keys, keys)


def _made(order: Sequence[Value], split: Sequence[Key], keys: Sequence[Key]) -> list[Group]:
    """The groups of an assignment without circles, with constants drawn into the one group that uses them."""
    members: dict[Key, list[Value]] = {}
    kind: dict[Key, Key] = {}
    home: dict[Value, Key] = {}
    for node, part, key in zip(order, split, keys, strict=True):
        part = (SINGLE, id(node)) if part is None else part
        members.setdefault(part, []).append(node)
        kind[part] = key
        home[node] = part
    users: dict[Value, set[Key]] = {}
    for node in order:
        for x in inputs_of(node):
            if x._op is None and x._grad is INACTIVE and x in home:
                users.setdefault(x, set()).add(home[node])
    shrunk: set[Key] = set()
    for constant, parts in users.items():
        (first, *others) = parts
        if not others and len(members[first]) > 1 and home[constant] != first:
            members[first].append(constant)
            shrunk.add(home[constant])
            home[constant] = first
    for part in shrunk:
        members[part] = [node for node in members[part] if home[node] == part]
    at = {node: i for i, node in enumerate(order)}
    found = []
    for part, nodes in members.items():
        if not nodes:
            continue
        nodes.sort(key=at.__getitem__)
        key = kind[part]
        ops = sum(node._op is not None for node in nodes)
        if key is None or len(nodes) == 1 or (ops == 1 and ops != len(nodes)):
            found += [Group(SINGLE, (node,), node._extra.scope) for node in nodes]
        else:
            assert isinstance(key, tuple)
            scope = key[1] if key[0] == SCOPE else None
            found.append(Group(str(key[0]), tuple(nodes), scope))
    return _sorted(found)


def _sorted(groups: list[Group]) -> list[Group]:
    """The groups, each after those it was computed from."""
    number = {node: i for i, group in enumerate(groups) for node in group.members}
    pending = [0] * len(groups)
    users: list[list[int]] = [[] for _ in groups]
    for a, b in set(_edges([node for group in groups for node in group.members], number)):
        pending[b] += 1
        users[a].append(b)
    age = [group.last._serial for group in groups]
    ready = [(age[i], i) for i in range(len(groups)) if not pending[i]]
    heapq.heapify(ready)
    found = []
    while ready:
        _, i = heapq.heappop(ready)
        found.append(groups[i])
        for b in users[i]:
            pending[b] -= 1
            if not pending[b]:
                heapq.heappush(ready, (age[b], b))
    assert len(found) == len(groups), "folding made a circle"
    return found


def _edges(order: Sequence[Value], number: dict[Value, int]) -> list[tuple[int, int]]:
    """Which group was computed from which."""
    return [
        (number[x], number[node])
        for node in order
        for x in inputs_of(node)
        if x in number and number[x] != number[node]
    ]


def _rounds(order: Sequence[Value], keys: Sequence[Key]) -> dict[Value, int]:
    """A number for each node that never falls along an edge, and rises where the key changes. So groups of one key
    and one number make no circle."""
    found: dict[Value, int] = {}
    key_of = dict(zip(order, keys, strict=True))
    for node, key in zip(order, keys, strict=True):
        found[node] = max(
            (found[x] + (key is None or key_of[x] != key) for x in inputs_of(node) if x in found), default=0
        )
    return found


def _circles(count: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Strongly connected components, by Tarjan's algorithm without recursion."""
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in set(edges):
        after[a].append(b)
    index = [-1] * count
    low = [0] * count
    on_stack = [False] * count
    stack: list[int] = []
    components: list[list[int]] = []
    clock = 0
    for root in range(count):
        if index[root] >= 0:
            continue
        work = [(root, 0)]
        while work:
            v, i = work.pop()
            if i == 0:
                index[v] = low[v] = clock
                clock += 1
                stack.append(v)
                on_stack[v] = True
            for j in range(i, len(after[v])):
                w = after[v][j]
                if index[w] < 0:
                    work += [(v, j + 1), (w, 0)]
                    break
                if on_stack[w]:
                    low[v] = min(low[v], index[w])
            else:
                if low[v] == index[v]:
                    component = []
                    while True:
                        w = stack.pop()
                        on_stack[w] = False
                        component.append(w)
                        if w == v:
                            break
                    components.append(component)
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[v])
    return components


def _last(groups: list[Group], order: Sequence[Value], limit: int) -> list[Group]:
    """The last groups, and all that comes before them as one."""
    first, rest = groups[: len(groups) - limit + 1], groups[len(groups) - limit + 1 :]
    at: Callable[[Value], int] = {node: i for i, node in enumerate(order)}.__getitem__
    members = sorted((node for group in first for node in group.members), key=at)
    return [Group(EARLIER, tuple(members)), *rest]
