"""What one edge of the graph contributes if a common mistake is made there.

Each slip is a wrong version of one local rule: the derivative forgotten, the input in place of the output, an
operand not transposed, `=` at repeated positions. The slips come from the kind of op and from its own rule,
run on other operands; so they are there for a user's own op, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.op import Op
from backlit.core.value import INACTIVE, Value, inputs_of
from backlit.explain.hand_flow import Edge, Flow, Swept
from backlit.explain.hand_words import Speaker, atom

Make = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Slip:
    """A mistake that may have been made at one edge.

    kind: its short name. text: what is wrong and what is due, a sentence without its end. fix: how to write
    it right. cost: how far-fetched it is. make: what the edge would contribute then, of the shape of its
    input, or of another one if `raw`.
    """

    kind: str
    text: str
    fix: str
    cost: float
    make: Make
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Others:
    """Other arrays that someone may have used by mistake: values by name, and gradients that were given."""

    values: Mapping[Value, str]
    gradients: Mapping[Value, Any]


class Local:
    """Everything about one edge: its op, operands, cotangent, and how they are called."""

    def __init__(self, flow: Flow, swept: Swept, speaker: Speaker, others: Others, edge: Edge) -> None:
        self.flow, self.speaker, self.others = flow, speaker, others
        self.edge, self.node, self.index = edge, edge.node, edge.index
        op = edge.node._op
        assert op is not None
        self.op: Op = op
        self.inputs = inputs_of(edge.node)
        self.ct, self.mask = swept.used[edge.node], swept.masks.get(edge.node)
        self.y, self.xs = flow.operands(edge.node)
        self.attrs = edge.node._extra.attrs
        self.x = self.xs[edge.index]
        self.right = swept.terms.get(edge)
        self.where, self.called = speaker.operation(edge.node), speaker.called(edge.node)
        self.names = [speaker.atom(x) for x in self.inputs]
        self.y_name = speaker.atom(edge.node)
        self.ct_name = speaker.gradient(edge.node)

    def fitted(self, raw: Any) -> Any:
        """Summed over the axes along which the input was broadcast."""
        raw, shape = np.asarray(raw), shape_of(self.x)
        extra = raw.ndim - len(shape)
        axes = tuple(range(extra)) + tuple(
            extra + i for i, n in enumerate(shape) if n == 1 and raw.shape[extra + i] != 1
        )
        return raw.sum(axis=axes).reshape(shape) if axes else raw.reshape(shape)

    def with_operands(self, y: Any = None, xs: Sequence[Any] | None = None) -> Any:
        """What the edge contributes with other operands."""
        return self.flow.term(self.edge, self.ct, self.mask, y, xs)

    def with_cotangent(self, ct: Any) -> Any:
        """What the edge contributes for another cotangent."""
        return self.flow.term(self.edge, ct)

    def product(self, by: str) -> str:
        """The cotangent times a derivative, in code."""
        code = by.strip("`") if by.startswith("`") else "..."
        return f"{self.ct_name} * {atom(code) if code != '...' else code}"

    @property
    def is_constant(self) -> list[bool]:
        """Which of the inputs were written beside the values, as numbers."""
        return [x._grad is INACTIVE and x._op is None for x in self.inputs]
