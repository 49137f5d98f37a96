"""Which nodes are kept in memory, and which loops compute them.

A node that is not kept is computed again wherever it is used, inside the loop that uses it. Kept are results, whatever
combines many elements, operands of matrix products, and what costs more to compute twice than to load.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice, takewhile
from operator import attrgetter
from typing import NamedTuple

from backlit.compiler.ir import Node, Rows
from backlit.compiler.scalars import COST
from backlit.core.numbers import Shape

ALWAYS = frozenset({"reduce", "pick", "matmul", "scatter", "concat", "pad", "running", "loop", "part"})
"""Kinds that are computed by loops of their own."""
LEAVES = frozenset({"input", "constant"})
_FROM_MEMORY = frozenset({"matmul", "reshape", "reduce", "running", "gather", "loop", "scatter"})
"""Kinds that read some of their arguments from memory."""
_DEEP = 150  # a chain of this cost is cut, so that code stays small and the walks over it shallow
_FULL = 1500  # loops hold no more than this, so that compiling takes time in proportion to the nodes
_FEW = 8  # nodes of so few elements share loops with any other
_TRIED = 8  # so many kernels of the same shape are looked at for one that a node may join
_CHEAP = 6  # what costs no more may be computed twice
_SLOW = 5  # what costs so much is not computed many times


class Address(NamedTuple):
    """Where the elements of a node stand: in the memory of `base`, at offset + Σ index · stride."""

    base: Node
    offset: int
    strides: tuple[int, ...]


@lru_cache(maxsize=1024)
def row_major(shape: Shape) -> tuple[int, ...]:
    """The distance between neighbours along each axis.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    return tuple(strides)


@dataclass
class Kernel:
    """Loops that compute some kept nodes together. kind: "elementwise"; "straight" for a line of code without loops; or
    that of its one node. product: a matrix product whose tiles the loops take over, so that it is not kept.
    """

    kind: str
    nodes: list[Node]
    domain: Shape
    reads: list[Node] = field(default_factory=list)
    product: Node | None = None


class Schedule:
    """What is kept, and the kernels in the order in which they run.

    order: the nodes that the outputs need, each after its arguments. over: outputs that overwrite a state.

    stages: given if what stands around loops is so small that it is computed in straight lines. Then it tells of each
    node how many of the loops follow one another before it.
    """

    def __init__(
        self,
        order: Sequence[Node],
        outputs: Sequence[Node],
        over: Iterable[Node] = (),
        stages: Mapping[Node, int] | None = None,
    ) -> None:
        self.order = order
        self.users: dict[Node, list[Node]] = {node: [] for node in order}
        for node in order:
            for arg in node.args:
                self.users[arg].append(node)
        self.outputs = set(outputs)
        self.kept: set[Node] = set()
        self._costs: dict[Node, int] = {}
        self._alike: dict[Shape, list[int]] = {}  # the numbers of elementwise kernels, by shape
        self._addresses: dict[Node, Address | None] = {}  # what follows from what is kept, once that is known
        self._walked: dict[Node, tuple[dict[Node, bool], list[Node]]] = {}
        self._after = self._late(over)  # and whatever needs one of these
        for node in order:
            if not self._after.isdisjoint(node.args):
                self._after.add(node)
        if stages is not None:
            self._keep_between(stages)
            self.kernels = self._in_lines(stages)
        else:
            self._keep()
            self.kernels = self._group()

    def _late(self, over: Iterable[Node]) -> set[Node]:
        """Of these nodes, those that nothing else needs: what overwrites a state runs when all have read it."""
        late = {node for node in over if node.kind not in LEAVES}
        passes = set(late)  # nodes all of whose users are late, or are such nodes themselves
        if late:
            for node in reversed(self.order):
                if node not in passes and self.users[node] and passes.issuperset(self.users[node]):
                    passes.add(node)
        return {node for node in late if passes.issuperset(self.users[node])}

    # -- what is kept -------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        for node in self.order:
            if node.kind in _FROM_MEMORY:
                self._keep_arguments(node)
            if node.kind in LEAVES:
                self._costs[node] = 1
                continue
            cost = 1 if node.kind != "map" else COST.get(node.attrs[0], 1)
            cost += sum(0 if a in self.kept or a.kind in LEAVES else self._costs[a] for a in node.args)
            users = self.users[node]
            if (
                node in self.outputs
                or node.kind in ALWAYS
                or cost > _DEEP
                or (len(users) > 1 and cost > _CHEAP and node.kind not in ("view", "reshape"))
                or (node.kind == "gather" and len(users) > 1)
                or (node.kind == "map" and cost > _CHEAP and any(self._spreads(node, user) for user in users))
                or (node.kind == "map" and node.shape and cost >= _SLOW and any(self._repeats(node, u) for u in users))
            ):
                self.kept.add(node)
            self._costs[node] = cost

    def keep(self, node: Node) -> None:
        """Let a node be kept after all."""
        self.kept.add(node)
        self._forget(node)

    def release(self, node: Node) -> None:
        """Let a node be kept no more."""
        self.kept.discard(node)
        self._forget(node)

    def _forget(self, node: Node) -> None:
        """What followed from a node's being kept, or from its not being so."""
        stack, seen = [node], {node}
        while stack:
            x = stack.pop()
            self._addresses.pop(x, None)
            self._walked.pop(x, None)
            if x is node or x not in self.kept:
                stack += [user for user in self.users[x] if user not in seen]
                seen.update(self.users[x])

    def _keep_arguments(self, node: Node) -> None:
        """Arguments that are read from memory."""
        if node.kind == "matmul":
            for arg in node.args:
                if not self._fits_product(arg):
                    self.kept.add(arg)
        elif node.kind == "reshape" and self._address(node) is None and not self._inlines(node.args[0]):
            self.kept.add(node.args[0])
        elif node.kind == "reduce" and node.attrs[0] in ("maximum", "minimum"):
            self._keep_compared(node.args[0])
        elif node.kind == "running":
            self.kept.update(arg for arg in node.args if self._address(arg) is None)
        elif node.kind == "gather" and self._address(node.args[0]) is None:
            self.kept.add(node.args[0])
        elif node.kind == "loop":
            for arg in node.args:
                found = self._address(arg)
                if not self._inlines(arg) and (found is None or not _is_contiguous(found.strides, arg.shape)):
                    self.kept.add(arg)
        elif node.kind == "scatter":
            for arg in node.args[2:]:
                if self._address(arg) is None and self._costs.get(arg, 0) > _CHEAP:
                    self.kept.add(arg)

    def _keep_compared(self, node: Node) -> None:
        """What the extreme was chosen from is compared with it where gradients go back. Computed twice, a product and
        a sum might be rounded once here and twice there, and nothing would be equal.
        """
        is_shared = len(self.users[node]) > 1
        while node.kind in ("view", "reshape"):
            node = node.args[0]
            is_shared = is_shared or len(self.users[node]) > 1
        if node.kind != "map" or node.dtype.kind != "f" or not is_shared:
            return
        found = {x.attrs[0] for x in self._walk_anew(node)[1] if x.kind == "map"}
        if "multiply" in found and not found.isdisjoint(("add", "subtract")):
            self.kept.add(node)

    def _inlines(self, node: Node) -> bool:
        return node.kind == "constant" and not node.shape

    def _fits_product(self, node: Node) -> bool:
        found = self._address(node)
        if found is None:
            return False
        rows, columns = node.shape[-2:]
        r, c = found.strides[-2:]
        return is_by_rows(r, c, rows, columns) or is_by_rows(c, r, columns, rows)

    def _spreads(self, node: Node, user: Node) -> bool:
        """Whether the user computes this more often than it has elements."""
        if user.kind == "view":
            return user.size > node.size
        return user.kind in ("gather", "scatter")

    def _repeats(self, node: Node, user: Node) -> bool:
        """Whether the user would compute this many times over."""
        return self._spreads(node, user) and user.size >= 4 * node.size

    def address(self, node: Node) -> Address | None:
        """Where the elements of a node stand in memory; None if they are not kept, or not at regular distances."""
        if node not in self._addresses:
            self._addresses[node] = self._address(node)
        return self._addresses[node]

    def _address(self, node: Node) -> Address | None:
        if node in self.kept or (node.kind in LEAVES and (node.kind == "input" or node.shape)):
            return Address(node, 0, row_major(node.shape))
        if node.kind == "view":
            below = self._address(node.args[0])
            if below is None:
                return None
            offset, strides = _viewed(*node.attrs, below.strides, len(node.shape))
            return Address(below.base, below.offset + offset, strides)
        if node.kind == "reshape":
            below = self._address(node.args[0])
            if below is not None and _is_contiguous(below.strides, node.args[0].shape):
                return Address(below.base, below.offset, row_major(node.shape))
        return None

    def _keep_between(self, stages: Mapping[Node, int]) -> None:
        """Results, what loops read and give, and what one line needs of another."""
        self.kept.update(node for node in self.order if node in self.outputs or node.kind in ("loop", "part"))
        for node in self.order:
            for arg in node.args:
                if node.kind == "loop":
                    self.kept.add(arg)
                elif stages[arg] < stages[node]:
                    self.kept.add(_moved(arg))
        self.kept = {n for n in self.kept if n.kind in ("loop", "part") or (n.size and n.kind not in LEAVES)}

    def _in_lines(self, stages: Mapping[Node, int]) -> list[Kernel]:
        lines: dict[int, Kernel] = {}
        kernels: dict[int, list[Kernel]] = {}
        for node in self.order:
            if node not in self.kept or not node.size:
                continue
            if node.kind in ("loop", "part"):
                kernel = Kernel(node.kind, [node], node.shape, list(self.reads(node)))
                kernels.setdefault(stages[node] - (node.kind == "part"), []).append(kernel)
            else:
                kernel = lines.setdefault(stages[node], Kernel("straight", [], ()))
                kernel.nodes.append(node)
                kernel.reads = list(dict.fromkeys([*kernel.reads, *self.reads(node)]))
        found: list[Kernel] = []
        for stage in sorted({*lines, *kernels}):
            found += [*([lines[stage]] if stage in lines else []), *kernels.get(stage, [])]
        return found

    # -- which loops --------------------------------------------------------------------------------------------

    def _group(self) -> list[Kernel]:
        kernels: list[Kernel] = []
        place: dict[Node, int] = {}
        filled: dict[int, int] = {}
        kept = [node for node in self.order if node in self.kept and node.kind not in LEAVES and node.size]
        for node in sorted(kept, key=lambda node: node in self._after):
            reads = self.reads(node)
            if node.kind in ALWAYS:
                place[node] = len(kernels)
                kernels.append(Kernel(node.kind, [node], node.shape, list(reads)))
                continue
            joined = self._home(node, reads, kernels, place, filled)
            if joined is None:
                joined = len(kernels)
                kernels.append(Kernel("elementwise", [], node.shape))
                self._alike.setdefault(node.shape, []).append(joined)
                filled[joined] = 0
            filled[joined] += self._costs[node]
            place[node] = joined
            kernels[joined].nodes.append(node)
            known = set(kernels[joined].reads)
            kernels[joined].reads += [r for r in reads if r not in known]
        return kernels

    def _home(
        self,
        node: Node,
        reads: Mapping[Node, bool],
        kernels: list[Kernel],
        place: dict[Node, int],
        filled: dict[int, int],
    ) -> int | None:
        """The number of a kernel in whose loops a node can be computed: where what it reads is computed, if it can be
        there, or else a late one. It reads something that the node reads too: loops with nothing in common stay apart,
        since many of them are the same code.
        """
        products = {r for r in reads if r.kind == "matmul"}
        shared = {r for r in reads if r.size > 1}

        def is_open(k: int) -> bool:
            kernel = kernels[k]
            if filled[k] >= _FULL:
                return False
            own = {r for r in kernel.reads if r.kind == "matmul"} if products else ()
            if own and products != own:  # each takes over the tiles of its own product
                return False
            if node.size > _FEW and shared.isdisjoint(kernel.reads) and shared.isdisjoint(kernel.nodes):
                return False
            return all(r.kind in LEAVES or not r.size or place[r] < k or (place[r] == k and reads[r]) for r in reads)

        first = max((place[r] for r in reads if r in place), default=-1)
        alike = takewhile(lambda k: k >= first, reversed(self._alike.get(node.shape, ())))
        candidates = list(islice(alike, _TRIED))
        if first in filled and kernels[first].domain == node.shape:
            candidates.insert(0, first)
        return next((k for k in candidates if is_open(k)), None)

    # -- products that loops take over --------------------------------------------------------------------------

    def followed(self) -> list[tuple[Kernel, Node]]:
        """Kernels with a matrix product that only they read, each element where they compute one."""
        found: dict[int, tuple[Kernel, Node]] = {}
        home = {node: kernel for kernel in self.kernels for node in kernel.nodes}
        for node in self.order:
            if node.kind != "matmul" or node in self.outputs or math.prod(node.shape[:-2]) != 1 or not node.size:
                continue
            readers = self._readers(node)
            kernels = {id(home[x]): home[x] for x in readers if x is not None and x in home}
            kernel = next(iter(kernels.values())) if len(kernels) == 1 and None not in readers else None
            if kernel is not None and kernel.kind == "elementwise" and math.prod(kernel.domain) == node.size:
                found.setdefault(id(kernel), (kernel, node))
        return list(found.values())

    def _readers(self, node: Node) -> set[Node | None]:
        """The kept nodes that read this one by maps and views alone; None among them if one reads it otherwise."""
        found: set[Node | None] = set()
        stack = list(self.users[node])
        while stack:
            x = stack.pop()
            if x.kind not in ("map", "view"):
                found.add(None)
            elif x in self.kept:
                found.add(x)
            else:
                stack += self.users[x]
        return found

    def join(self, pairs: Sequence[tuple[Kernel, Node]]) -> None:
        """Compute products, which are kept no more, where kernels take them over."""
        joined = {product for _, product in pairs}
        self.kernels = [kernel for kernel in self.kernels if joined.isdisjoint(kernel.nodes)]
        for kernel, product in pairs:
            kernel.product = product
            kernel.reads = list(dict.fromkeys(read for node in kernel.nodes for read in self.reads(node)))

    def hasten(self, over: Mapping[Node, Node]) -> None:
        """Let kernels that overwrite a state run as soon as all that read it have run, and what they need; of those
        that could run then, first the one whose state was read last. So a state is overwritten while it is in a cache.

        over: what overwrites a state, and which.
        """
        reads = [{read for node in kernel.nodes for read in self.reads(node)} for kernel in self.kernels]
        needed = set(over)
        for k in range(len(reads) - 1, -1, -1):
            if not needed.isdisjoint(self.kernels[k].nodes):
                needed |= reads[k]
        ranks: list[tuple[float, float]] = []  # behind which kernel each runs; how long ago its state was read
        written: dict[Node, tuple[float, float]] = {}  # the rank of the kernel that computes a node
        read: dict[Node, tuple[float, float]] = {}  # the highest rank of a kernel that reads it
        for k, kernel in enumerate(self.kernels):
            rank: tuple[float, float] = (k, -math.inf)
            if self._after.issuperset(kernel.nodes) and not needed.isdisjoint(kernel.nodes):
                before = [read[over[node]] for node in kernel.nodes if node in over and over[node] in read]
                rank = max([*before, *(written[x] for x in reads[k] if x in written)], default=(-1, -math.inf))
                if before:
                    rank = max(rank, (rank[0], -max(before)[0]))
            ranks.append(rank)
            written.update(dict.fromkeys(kernel.nodes, rank))
            read.update((x, max(rank, read.get(x, rank))) for x in reads[k])
        self.kernels = [self.kernels[k] for k in sorted(range(len(ranks)), key=ranks.__getitem__)]

    def reads(self, node: Node) -> Mapping[Node, bool]:
        """The kept nodes and leaves that computing a kept node loads; of each, whether it loads of it but the element
        at the very place that it computes.
        """
        return self._walk(node)[0]

    def inlined(self, nodes: Sequence[Node]) -> list[Node]:
        """All that is computed in the loops of these nodes, themselves and what is not kept."""
        if len(nodes) == 1:
            return self._walk(nodes[0])[1]
        return list(dict.fromkeys(x for node in reversed(nodes) for x in self._walk(node)[1]))

    def _walk(self, node: Node) -> tuple[dict[Node, bool], list[Node]]:
        """What computing a node loads, as `reads` tells it, and what it computes, itself the first."""
        found = self._walked.get(node)
        if found is None:
            found = self._walked[node] = self._walk_anew(node)
        return found

    def _walk_anew(self, node: Node) -> tuple[dict[Node, bool], list[Node]]:
        kept = self.kept
        loaded: dict[Node, bool] = {}
        inside: dict[Node, None] = {node: None}
        seen: set[tuple[Node, bool]] = set()
        stack = [(arg, node.kind == "map") for arg in node.args]
        while stack:
            at = x, here = stack.pop()
            if at in seen:
                continue
            seen.add(at)
            if x in kept or x.kind in LEAVES:
                if x.kind != "constant" or x.shape:
                    loaded[x] = here and loaded.get(x, True)
            else:
                inside[x] = None
                here = here and x.kind == "map"
                stack += [(arg, here) for arg in x.args]
        return loaded, list(inside)


def _moved(node: Node) -> Node:
    """What a node only moves, if it is no more than that."""
    found = node
    while found.kind in ("view", "reshape"):
        found = found.args[0]
    return found if found.size <= node.size else node


def is_by_rows(row: int, column: int, rows: int, columns: int) -> bool:
    """Whether a matrix of these strides is stored row after row, as a product reads it."""
    return (column == 1 or columns == 1) and (row >= columns or rows == 1)


def topological(outputs: Sequence[Node]) -> list[Node]:
    """All nodes that the outputs need, each after its arguments."""
    seen: set[Node] = set(outputs)
    stack = list(seen)
    while stack:
        for arg in stack.pop().args:
            if arg not in seen:
                seen.add(arg)
                stack.append(arg)
    return sorted(seen, key=attrgetter("index"))


@lru_cache(maxsize=1024)
def _viewed(offsets: tuple[int, ...], rows: Rows, strides: tuple[int, ...], count: int) -> tuple[int, tuple[int, ...]]:
    """Where a view, which has `count` axes, begins in what has these strides, and its own strides."""
    offset = sum(o * s for o, s in zip(offsets, strides, strict=True))
    return offset, tuple(sum(row[j] * s for row, s in zip(rows, strides, strict=True)) for j in range(count))


@lru_cache(maxsize=1024)
def _is_contiguous(strides: tuple[int, ...], shape: Shape) -> bool:
    return all(n == 1 or s == want for n, s, want in zip(shape, strides, row_major(shape), strict=True))


def work(nodes: Iterable[Node]) -> int:
    """About how many simple instructions these nodes take, element by element."""
    total = 0
    for node in nodes:
        if node.kind == "map":
            total += node.size * COST.get(node.attrs[0], 1)
        elif node.kind == "matmul":
            total += 2 * node.size * node.args[0].shape[-1]
        elif node.kind in ("reduce", "pick", "scatter", "running"):
            total += math.prod(node.args[0].shape)
        elif node.kind not in LEAVES and node.kind != "view":
            total += node.size
    return total
