"""The name of a program: a hash of all that decides its code, found before a line of it is written.

Equal names mean equal text. So everything that the compiler reads of a graph goes in: the nodes in their order, with
what each holds, but for the values of the user that it came from, which only messages tell of; the CPU and the versions
of what writes the code; and the compiler itself, by its sources, lest one who changes it meets the code of before.

The numbers of large arrays, such as a data set, are not looked at by the compiler (`ir.is_unread`). Code is the same
for others of that shape and reads them where they are, so they are not hashed; only which arrays are one array counts.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from backlit.compiler import assemble  # noqa: F401  loads all that writes code
from backlit.compiler.ir import Body, Node, is_unread
from backlit.compiler.schedule import topological
from backlit.compiler.target import Target

_AT_ONCE = 4096  # nodes; what is told of them is hashed together


def of_graph(inputs: Sequence[Node], outputs: Sequence[Node]) -> tuple[str, list[Node]]:
    """The hash of a graph, and its constant arrays, those in the bodies of loops included, in an order that equal
    graphs share.
    """
    found = _Graph([], {})
    found.add(inputs, outputs)
    return found.digest.hexdigest(), found.arrays


def of_compiler(target: Target, *told: Any) -> str:
    """The hash of what writes the code: the compiler, for this CPU, with what else it is told."""
    return hashlib.sha256(marshal.dumps((_SOURCES, _changed(), astuple(target), told), 2)).hexdigest()


class _Graph:
    """Hashes a graph column by column: kinds, arguments, and so on. They are written by `marshal`, of which no text
    begins another one, in its version 2, which does not depend on who else holds an object.

    arrays: constant arrays, in the order in which they are met. unread: numbers for those of them that are not read.
    """

    def __init__(self, arrays: list[Node], unread: dict[int, int]) -> None:
        self.digest = hashlib.sha256()
        self.arrays, self._unread = arrays, unread

    def add(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        order = topological([*inputs, *outputs])
        place = {node: k for k, node in enumerate(order)}
        for begin in range(0, len(order), _AT_ONCE):
            nodes = order[begin : begin + _AT_ONCE]
            self._tell(
                (
                    [node.kind for node in nodes],
                    [len(node.args) for node in nodes],
                    [place[arg] for node in nodes for arg in node.args],
                    [node.attrs for node in nodes],
                    [node.shape for node in nodes],
                    [node.dtype.char for node in nodes],
                    [self._held(node) for node in nodes if node.data is not None],
                )
            )
        self._tell(([place[node] for node in inputs], [place[node] for node in outputs]))

    def _tell(self, what: Any) -> None:
        self.digest.update(marshal.dumps(what, 2))

    def _held(self, node: Node) -> Any:
        """What stands in a node beside its attributes."""
        if node.kind == "loop":
            return self._body(node.data)
        if not node.shape:
            return None  # a number, by which its attributes name it
        self.arrays.append(node)
        if is_unread(node):
            return self._unread.setdefault(id(node.data), len(self._unread))
        return hashlib.sha256(node.data.reshape(-1).view(np.uint8)).digest()

    def _body(self, body: Body) -> tuple[Any, ...]:
        inner = _Graph(self.arrays, self._unread)
        inner.add(body.inputs, body.outputs)
        return inner.digest.digest(), body.carried, body.slices, body.stacked, body.counter, body.flag


# -- the compiler ------------------------------------------------------------------------------------------------


def sources(folder: Path) -> bytes:
    """The hash of all Python sources in a folder; empty where they cannot be read, and the version must do."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*.py")):
            digest.update(marshal.dumps((path.relative_to(folder).as_posix(), path.read_bytes()), 2))
    except OSError:
        return b""
    return digest.digest()


def numbers() -> dict[tuple[str, str], Any]:
    """The numbers by which the compiler decides, which stand at the top of its modules, by module and name."""
    return {
        (name, key): number
        for name, module in list(sys.modules.items())
        if name.startswith("backlit.compiler")
        for key, number in vars(module).items()
        if type(number) in (int, float)
    }


_SOURCES = sources(Path(__file__).parent)  # read when they are loaded: what is edited later does not run here
_NUMBERS = numbers()


def _changed() -> list[Any]:
    """Numbers that somebody set to something else than the sources say, as tests do."""
    return sorted(
        (place, now)
        for place, number in _NUMBERS.items()
        if (now := getattr(sys.modules[place[0]], place[1])) != number
    )
