"""A program before it is machine code: its graph, the name that follows from it, and its text, once somebody asks.

What was compiled before is found by the name, and then no text is written: the few things that must be known to run
the code are kept beside it. The text is wanted again by `explain`, and by who is told that a position was outside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backlit.compiler import fingerprint, team
from backlit.compiler.assemble import finish
from backlit.compiler.ir import Node
from backlit.compiler.module import KernelNote, Module
from backlit.compiler.positions import Check
from backlit.compiler.target import host


@dataclass
class Facts:
    """What must be known to run the code. arena: bytes; constants: arrays that it reads, in their order; clocks: how
    many kernels are timed; shares: whether threads may help.
    """

    arena: int
    constants: list[Any]
    clocks: int
    shares: bool


class Source:
    """A graph on its way to machine code."""

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node], profile: bool = False) -> None:
        self.inputs, self.outputs, self.profile = list(inputs), list(outputs), profile
        self._cuts = team.threads() > 1
        graph, self._arrays = fingerprint.of_graph(inputs, outputs)
        self.name: tuple[str, ...] = (graph, fingerprint.of_compiler(host(), profile, self._cuts))
        self.facts: Facts
        self._ahead: Callable[[str], None] | None = None

    # -- the text -----------------------------------------------------------------------------------------------

    @cached_property
    def _written(self) -> tuple[str, Module]:
        module = Module(host(), self.profile, self._cuts, self._ahead)
        text, constants, arena = finish(module, self.inputs, self.outputs)
        self.facts = Facts(arena, [node.data for node in constants], len(module.clocks), module.shares)
        return text, module

    def write(self, ahead: Callable[[str], None]) -> str:
        """The text. ahead: is handed kernels while the rest is written."""
        self._ahead = ahead
        text = self.text
        self._ahead = None
        return text

    @property
    def text(self) -> str:
        """The program in LLVM's language."""
        return self._written[0]

    @property
    def notes(self) -> list[KernelNote]:
        """What is to be told of each kernel."""
        return self._written[1].notes

    @property
    def clocks(self) -> list[KernelNote]:
        """The kernels that are timed."""
        return self._written[1].clocks

    @property
    def checks(self) -> list[Check]:
        """What the code checks, in the order of its numbers for that."""
        return self._written[1].checks

    # -- what is kept beside the code ---------------------------------------------------------------------------

    def told(self) -> list[bytes]:
        """The facts as they are kept: a head, and the arrays that are not of the graph."""
        place = {id(node.data): k for k, node in enumerate(self._arrays)}
        own = [data for data in self.facts.constants if id(data) not in place]
        head = {
            "arena": self.facts.arena,
            "clocks": self.facts.clocks,
            "shares": self.facts.shares,
            "constants": [place.get(id(data), -1) for data in self.facts.constants],
            "own": [(data.dtype.str, data.shape) for data in own],
        }
        return [json.dumps(head).encode(), *(data.tobytes() for data in own)]

    def hear(self, told: Sequence[bytes]) -> int:
        """Take facts that `told` gave; of how many pieces of what is kept they are."""
        head = json.loads(told[0])
        own = iter(
            [
                np.frombuffer(data, kind).reshape(shape)
                for data, (kind, shape) in zip(told[1:], head["own"], strict=False)
            ]
        )
        constants = [next(own) if place < 0 else self._arrays[place].data for place in head["constants"]]
        self.facts = Facts(head["arena"], constants, head["clocks"], head["shares"])
        return 1 + len(head["own"])
