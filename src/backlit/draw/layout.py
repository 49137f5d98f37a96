"""Where the nodes of a graph without circles are put: in layers, with few crossings, long edges straight.

The method of Sugiyama, Tagawa and Toda 1981, in four steps: layers by longest paths, long edges cut into pieces
by way points (shared by the edges of one source, as the value that they carry is), order within the layers
by medians, and coordinates. For the last, each layer is put where its neighbours want it: a weighted least-squares
problem under the constraint that nothing overlaps, which isotonic regression solves exactly.

It is our own because a card's size, the order of a node's inputs, and way points shared by one source must count, and
because it must run wherever Python does. (fast-sugiyama 0.5 was tried: as fast, but all nodes are points to it.)

The same graph always gets the same layout: nothing is random, and nothing depends on hashes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
SWEEPS = 12  # over the layers, to reduce crossings
PATIENCE = 4  # sweeps without a gain, after which no more are made
ROUNDS = 10  # over the layers, to find coordinates
WAY_POINT = 6.0  # how much room an edge takes that passes through a layer
BETWEEN_WAYS = 8.0


@dataclass(frozen=True)
class Layout:
    """centres: of the nodes. routes: for each edge, points s, e, s', e', …: it curves from s to e, runs straight
    from e to s', and so on. Both are (x, y), with y downward, and start at the origin."""

    width: float
    height: float
    centres: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    layers: tuple[int, ...]


def layered(
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    *,
    down: bool = False,
    gap: float = 56.0,
    spacing: float = 22.0,
    port: float = 16.0,
) -> Layout:
    """A layered layout of nodes with these (width, height), from left to right, or downward.

    edges: (source, target), by number, those of one target in the order of its inputs; there may be several between
    the same two. gap: between layers; spacing: between nodes of a layer; port: between edges that enter one node.

    Raises ValueError if the edges make a circle. Cost: near linear; 300 nodes take about 30 ms.

    >>> layered([(10, 10), (10, 10), (10, 10)], [(0, 2), (1, 2)]).layers
    (0, 0, 1)
    """
    if not sizes:
        return Layout(0.0, 0.0, (), (), ())
    if down:
        sizes = [(h, w) for w, h in sizes]
    net = _Net(sizes, edges, spacing)
    net.order()
    net.place()
    found = net.routed(gap, port)
    if down:
        return Layout(
            found.height,
            found.width,
            tuple((x, y) for y, x in found.centres),
            tuple(tuple((x, y) for y, x in route) for route in found.routes),
            found.layers,
        )
    return found


def layers_of(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each node: the longest path that leads to it; then nodes move toward where more edges pull.

    >>> layers_of(4, [(0, 1), (1, 2), (3, 2)])
    [0, 1, 2, 1]
    """
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    pending = [len(found) for found in before]
    queue = [v for v in range(count) if not pending[v]]
    layer = [0] * count
    for v in queue:
        for w in after[v]:
            layer[w] = max(layer[w], layer[v] + 1)
            pending[w] -= 1
            if not pending[w]:
                queue.append(w)
    if len(queue) < count:
        raise ValueError("layered layout: the edges make a circle.")
    for v in reversed(queue):
        if after[v] and len(set(after[v])) >= len(set(before[v])):
            layer[v] = min(layer[w] for w in after[v]) - 1
    for v in queue:  # what has more inputs than uses moves back toward them
        if before[v] and len(set(before[v])) > len(set(after[v])):
            layer[v] = max(layer[u] for u in before[v]) + 1
    return layer


class _Net:
    """Nodes and way points in layers. The numbers of way points follow those of the nodes."""

    def __init__(self, sizes: Sequence[Point], edges: Sequence[tuple[int, int]], spacing: float) -> None:
        self.count, self.edges, self.spacing = len(sizes), edges, spacing
        self.layer = layers_of(self.count, edges)
        self.breadth = [size[0] for size in sizes]  # along the layers' axis
        self.extent = [size[1] for size in sizes]  # within a layer
        self.before: list[list[int]] = [[] for _ in sizes]
        self.after: list[list[int]] = [[] for _ in sizes]
        self.weight: dict[tuple[int, int], float] = {}
        self.paths: list[list[int]] = []
        ways: dict[tuple[int, int], int] = {}
        for a, b in edges:
            path = [a]
            for layer in range(self.layer[a] + 1, self.layer[b]):
                way = ways.get((a, layer))
                if way is None:
                    way = ways[a, layer] = len(self.layer)
                    self.layer.append(layer)
                    self.breadth.append(0.0)
                    self.extent.append(WAY_POINT)
                    self.before.append([])
                    self.after.append([])
                    self._join(path[-1], way)
                path.append(way)
            self._join(path[-1], b)
            path.append(b)
            self.paths.append(path)
        self.layers: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        self.at = [0.0] * len(self.layer)

    def _join(self, a: int, b: int) -> None:
        self.after[a].append(b)
        self.before[b].append(a)
        ways = (a >= self.count) + (b >= self.count)
        self.weight[a, b] = self.weight.get((a, b), 0.0) + (1.0, 2.0, 8.0)[ways]

    # -- order ------------------------------------------------------------------------------------------------

    def order(self) -> None:
        """Put each layer in the order with the fewest crossings that some sweeps find."""
        self._first_order()
        best = [list(layer) for layer in self.layers]
        fewest, since = self._crossings(best), 0
        for sweep in range(SWEEPS):
            if not fewest or since == PATIENCE:
                break
            forth = sweep % 2 == 0
            for i in range(1, len(self.layers)) if forth else range(len(self.layers) - 2, -1, -1):
                self._sort(i, self.before if forth else self.after, i - 1 if forth else i + 1)
            if sweep >= 2:
                self._swap()
            crossings = self._crossings(self.layers)
            since += 1
            if crossings < fewest:
                fewest, best, since = crossings, [list(layer) for layer in self.layers], 0
        self.layers = best

    def _first_order(self) -> None:
        """As one meets them going back from the outputs, first inputs first: trees come out without crossings."""
        seen = [False] * len(self.layer)
        for root in (v for v in range(self.count) if not self.after[v]):
            stack = [root]
            while stack:
                v = stack.pop()
                if seen[v]:
                    continue
                seen[v] = True
                self.layers[self.layer[v]].append(v)
                stack.extend(reversed(self.before[v]))

    def _sort(self, i: int, neighbours: list[list[int]], fixed: int) -> None:
        """Sort one layer by the mean place of the neighbours in the fixed one; what has none stays where it is."""
        place = {v: at for at, v in enumerate(self.layers[fixed])}
        layer = self.layers[i]
        wanted = {}
        for v in layer:
            near = neighbours[v]
            if near:
                wanted[v] = sum(place[w] for w in near) / len(near)
        moving = iter(sorted((v for v in layer if v in wanted), key=wanted.__getitem__))
        self.layers[i] = [next(moving) if v in wanted else v for v in layer]

    def _swap(self) -> None:
        """Swap neighbours where that removes crossings."""
        for i, layer in enumerate(self.layers):
            if len(layer) < 2:
                continue
            sides = []
            for near, other in ((self.before, i - 1), (self.after, i + 1)):
                if 0 <= other < len(self.layers):
                    place = {v: at for at, v in enumerate(self.layers[other])}
                    sides.append({v: _sorted([place[w] for w in near[v]]) for v in layer})
            for at in range(len(layer) - 1):
                v, w = layer[at], layer[at + 1]
                gain = 0
                for side in sides:
                    gain += _crossed(side[v], side[w]) - _crossed(side[w], side[v])
                if gain > 0:
                    layer[at], layer[at + 1] = w, v

    def _crossings(self, layers: list[list[int]]) -> int:
        """How many pairs of edges cross, counted with a Fenwick tree (Barth, Jünger and Mutzel 2002)."""
        total = 0
        for left, right in itertools.pairwise(layers):
            place = {v: at for at, v in enumerate(right)}
            size = len(right) + 1
            tree = [0] * (size + 1)
            entered = 0
            for v in left:
                ends = _sorted([place[w] for w in self.after[v]])
                for end in ends:
                    i, below = end + 1, 0
                    while i:
                        below += tree[i]
                        i -= i & -i
                    total += entered - below
                for end in ends:
                    i = end + 1
                    while i <= size:
                        tree[i] += 1
                        i += i & -i
                entered += len(ends)
        return total

    # -- coordinates ------------------------------------------------------------------------------------------

    def place(self) -> None:
        """Coordinates within the layers: near the neighbours, in order, without overlap."""
        for layer in self.layers:
            self._settle(layer, [0.0] * len(layer), [1.0] * len(layer))
        last = len(self.layers) - 1
        for turn in range(ROUNDS):
            final = turn >= ROUNDS - 2
            for i in range(last + 1) if turn % 2 else range(last, -1, -1):
                sides = (self.before, self.after) if final else (self.before,) if turn % 2 else (self.after,)
                self._pull(self.layers[i], sides)

    def _pull(self, layer: list[int], sides: Sequence[list[list[int]]]) -> None:
        at, weight = self.at, self.weight
        wanted, weights = [], []
        for v in layer:
            total = moment = 0.0
            for near in sides:
                forth = near is self.after
                for w in near[v]:
                    pull = weight[(v, w) if forth else (w, v)]
                    total += pull
                    moment += pull * at[w]
            wanted.append(moment / total if total else at[v])
            weights.append(total or 0.1)
        self._settle(layer, wanted, weights)

    def _settle(self, layer: list[int], wanted: list[float], weights: list[float]) -> None:
        """The places nearest to those wanted at which nothing overlaps: isotonic regression by pooling neighbours."""
        offsets, offset, previous = [], 0.0, -1
        for v in layer:
            if previous >= 0:
                ways = (v >= self.count) + (previous >= self.count)
                space = (self.spacing, self.spacing * 0.75, BETWEEN_WAYS)[ways]
                offset += (self.extent[previous] + self.extent[v]) / 2 + space
            offsets.append(offset)
            previous = v
        pools: list[tuple[float, float, int]] = []  # mean, weight, how many
        for want, weight, offset in zip(wanted, weights, offsets, strict=True):
            mean, total, many = want - offset, weight, 1
            while pools and pools[-1][0] > mean:
                other, other_total, other_many = pools.pop()
                mean = (mean * total + other * other_total) / (total + other_total)
                total, many = total + other_total, many + other_many
            pools.append((mean, total, many))
        i = 0
        for mean, _, many in pools:
            for _ in range(many):
                self.at[layer[i]] = mean + offsets[i]
                i += 1

    # -- routes -----------------------------------------------------------------------------------------------

    def routed(self, gap: float, port: float) -> Layout:
        top = min(self.at[v] - self.extent[v] / 2 for v in range(len(self.layer)))
        at = [round(y - top, 2) for y in self.at]
        starts, broad = [], [max((self.breadth[v] for v in layer), default=0.0) for layer in self.layers]
        steep = [0.0] * len(self.layers)
        for a, b in self.weight:
            steep[self.layer[a]] = max(steep[self.layer[a]], abs(at[a] - at[b]))
        x = 0.0
        for i, width in enumerate(broad):
            starts.append(x)
            x += width + max(gap, min(gap + steep[i] / 6, 2.5 * gap))
        ends = [start + width for start, width in zip(starts, broad, strict=True)]
        centres = [((starts[self.layer[v]] + ends[self.layer[v]]) / 2, at[v]) for v in range(self.count)]
        ports = self._ports(at, port)
        routes = []
        for number, path in enumerate(self.paths):
            points: list[Point] = []
            for a, b in itertools.pairwise(path):
                out = centres[a][0] + self.breadth[a] / 2 if a < self.count else ends[self.layer[a]]
                if a < self.count and out < ends[self.layer[a]]:
                    points += [(out, at[a]), (out, at[a])]  # run straight to the border of the layer first
                points.append((ends[self.layer[a]], at[a]))
                points.append((starts[self.layer[b]], at[b] if b >= self.count else ports[number]))
            a, b = path[-2], path[-1]
            into = centres[b][0] - self.breadth[b] / 2
            if into > starts[self.layer[b]]:
                points += [(into, ports[number]), (into, ports[number])]
            routes.append(tuple(points))
        height = max(at[v] + self.extent[v] / 2 for v in range(len(self.layer)))
        return Layout(max(ends), height, tuple(centres), tuple(routes), tuple(self.layer[: self.count]))

    def _ports(self, at: list[float], port: float) -> list[float]:
        """Where each edge enters its target: side by side, in the order in which they arrive."""
        arriving: dict[int, list[int]] = {}
        for number, path in enumerate(self.paths):
            arriving.setdefault(path[-1], []).append(number)
        found = [0.0] * len(self.paths)
        for target, numbers in arriving.items():
            numbers.sort(key=lambda number: at[self.paths[number][-2]])
            room = self.extent[target] - 10
            step = min(port, room / len(numbers))
            for i, number in enumerate(numbers):
                found[number] = at[target] + (i - (len(numbers) - 1) / 2) * step
        return found


def _sorted(places: list[int]) -> list[int]:
    """Most nodes have one neighbour, and nothing to sort."""
    if len(places) > 1:
        places.sort()
    return places


def _crossed(first: list[int], second: list[int]) -> int:
    """How many pairs cross if the node with neighbours at `first` stands before the one with those at `second`."""
    crossings = 0
    for a in first:
        for b in second:
            if b >= a:
                break
            crossings += 1
    return crossings
