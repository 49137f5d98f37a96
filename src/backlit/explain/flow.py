"""What reverse mode knows of one output: the cotangent of every node on the way to some sources, and who uses whom.

Nothing in the graph is changed, so that a question never disturbs the `.grad` that a program works with.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from backlit.autodiff.rules import contribution, only_where
from backlit.core.numbers import dtype_of, quietly, shape_of, strong
from backlit.core.state import Scope
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.core.walk import descendants, toposort

Use = tuple[Value, int]  # a node, and which of its inputs


class Flow:
    """One backward pass, kept: `cts[node]` is the derivative of the output by it, `uses[node]` who computed with it.

    sources: the nodes that are asked about; only what lies between them and the output is computed.
    watch: is told of each contribution, as `Tracer.contribution` is. left: take the cotangents that `backward()` left
    in the nodes, if they are all there. Cost: one backward pass over these nodes; with `left`, one look at each.
    """

    def __init__(
        self, output: Value, seed: Any, sources: Iterable[Value], watch: Any = None, left: bool = False
    ) -> None:
        self.output, self.seed = output, seed
        self.order = toposort([output])
        self.sources = list(sources)
        self.starts = frozenset(self.sources)
        self.relevant = descendants(self.sources, self.order)
        self.cts: dict[Value, Any] = {}
        self.masks: dict[Value, Any] = {}
        self.uses: dict[Value, list[Use]] = {}
        self._watch = watch
        self.was_left = left and self._collect()
        if not self.was_left:
            quietly(self._sweep)
        for uses in self.uses.values():
            uses.reverse()  # in the order in which the program used it

    def _collect(self) -> bool:
        """Take the cotangents that `backward()` left. False if some are missing."""
        deposits = {deposit.leaf: deposit.ct for deposit in self.output._extra.deposits or ()}
        cts: dict[Value, Any] = {}
        uses: dict[Value, list[Use]] = {}
        for node in reversed(self.order):
            if node not in self.relevant:
                continue
            if node._op is None:
                ct = deposits.get(node)
            else:
                ct = node._grad
            if ct is None or ct is INACTIVE:
                return False
            cts[node] = strong(ct)
            for index, x in enumerate(inputs_of(node)):
                if x in self.relevant and x._grad is not INACTIVE and has_rule(node, index):
                    uses.setdefault(x, []).append((node, index))
        self.cts, self.uses = cts, uses
        return True

    def _sweep(self) -> None:
        cts, masks, relevant = self.cts, self.masks, self.relevant
        if self.output in relevant:
            cts[self.output] = strong(self.seed)
        for node in reversed(self.order):
            if node not in relevant or node._op is None or node._grad is INACTIVE:
                continue
            ct = cts.get(node)
            inputs = inputs_of(node)
            for index, x in enumerate(inputs):
                if x not in relevant or x._grad is INACTIVE:
                    continue
                if not has_rule(node, index):
                    continue
                self.uses.setdefault(x, []).append((node, index))
                if ct is None:
                    continue
                found = contributed(node, index, ct, masks.get(node))
                if found is None:
                    continue
                term, present = found
                if present is not None and shape_of(present) == () and not present:
                    continue
                if self._watch is not None:
                    self._watch.contribution(node, index, ct, term)
                old = cts.get(x)
                if old is None:
                    cts[x] = term
                    if present is not None:
                        masks[x] = present
                    continue
                cts[x] = old + term
                if x in masks:
                    if present is None:
                        del masks[x]
                    else:
                        masks[x] = masks[x] | present
                if self._watch is not None:
                    self._watch.contribution(x, None, term, cts[x])

    @cached_property
    def in_scope(self) -> dict[Scope, list[Value]]:
        """The nodes that matter here of each composite, those of the composites within it included, in their order."""
        found: dict[Scope, list[Value]] = {}
        for node in self.order:
            if node in self.relevant and node._op is not None:
                scope = node._extra.scope
                while scope is not None:
                    found.setdefault(scope, []).append(node)
                    scope = scope.parent
        return found

    def cotangent(self, node: Value) -> Any:
        """The derivative of the output by a node; zeros where nothing flows to it."""
        ct = self.cts.get(node)
        return np.zeros(shape_of(node._data), dtype_of(node._data))[()] if ct is None else ct

    def present(self, node: Value) -> Any:
        """The cotangent of a node, and where it is present at all."""
        return self.cotangent(node), self.masks.get(node)

    def present_outside(self, node: Value, inside: set[Value]) -> Any:
        """The same from the uses outside some set of nodes alone (and from being the output)."""
        uses = self.uses.get(node, [])
        if not any(user in inside for user, _ in uses):
            return self.present(node)
        total: Any = strong(self.seed) if node is self.output else None
        for user, index in uses:
            ct = self.cts.get(user)
            if user in inside or ct is None:
                continue
            found = quietly(contributed, user, index, ct, self.masks.get(user))
            if found is not None:
                total = found[0] if total is None else total + found[0]
        return (self.cotangent(node) * 0 if total is None else total), None


def contributed(node: Value, index: int, ct: Any, mask: Any) -> tuple[Any, Any] | None:
    """What the cotangent of a node contributes to that of one of its inputs, computed."""
    assert node._op is not None
    y, xs = strong(node._data), [strong(x._data) for x in inputs_of(node)]
    return contribution(node._op, index, strong(ct), mask, y, xs, node._extra.attrs)


def has_rule(node: Value, index: int) -> bool:
    """Whether a derivative of the node by its input number `index` exists."""
    return node._op is not None and node._op.rule(index) is not None


def masked(mask: Any, x: Any) -> Any:
    """`x` where the mask is true, zero elsewhere; `x` itself without a mask."""
    return x if mask is None else only_where(mask, x)
