"""Which value of a graph a name stands for, and which numbers a gradient that a person gave consists of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.errors import ConversionError, DtypeError, GraphError
from backlit.core.numbers import Abstract, shape_of
from backlit.core.site import site_of
from backlit.core.standing import is_inner
from backlit.core.state import Scope
from backlit.core.value import INACTIVE, Value, as_user_sees, current, describe
from backlit.core.walk import reachable, toposort


@dataclass(frozen=True, slots=True)
class Given:
    """A gradient that a person gave, and the node it belongs to.

    gradient: its numbers, None for None. dtype: the one that these had.
    """

    name: str
    node: Value
    gradient: Any
    dtype: str | None


def label_of(node: Value) -> str | None:
    """The name of a node of a graph: its own, or that of the variable it was assigned to."""
    owner = node._extra.owner
    name = node._extra.name or (owner._extra.name if owner is not None else None)
    if name is None and node._code is not None and not is_inner(node):
        name = site_of(node._code, node._lasti).variable
    return name


class Names:
    """The names that stand in a graph. A composite function counts as one value, its result.

    Cost of making: linear in the graph.
    """

    def __init__(self, loss: Value) -> None:
        self.loss = loss
        self.nodes = reachable([loss])
        self.by_name: dict[str, list[Value]] = {}
        last: dict[tuple[Any, ...], Value] = {}
        for node in toposort([loss]):
            if (name := label_of(node)) is None:
                continue
            scope = _outermost(node._extra.scope)
            group = (name, node._code, node._lasti, scope if scope is not None else node)
            if (before := last.get(group)) is not None:
                self.by_name[name].remove(before)
            last[group] = node
            self.by_name.setdefault(name, []).append(node)
        self.known = {node: name for name, nodes in self.by_name.items() for node in nodes}

    def find(self, name: str) -> Value:
        """The one active node of this name; `W1` also finds `self.W1`, if nothing else is called so.

        Raises GraphError for a name that is not there, that several values share, or that names a constant.
        """
        found = self.by_name.get(name) or [
            node for full, nodes in self.by_name.items() if full.rpartition(".")[2] == name for node in nodes
        ]
        active = [node for node in found if node._grad is not INACTIVE]
        if len(active) == 1:
            return active[0]
        if active:
            raise GraphError(self._ambiguous(name, active))
        if found:
            raise GraphError(
                f"by_hand: no gradient reaches `{name}`: {describe(found[0])}. Only real numbers that were "
                "made with Value(...), and what was computed from them, have one."
            )
        raise GraphError(self._unknown(name))

    def check(self, value: Value, name: str) -> Value:
        """The node of a value that was given itself. Raises GraphError if it is not in the graph."""
        for node in (current(value), value):
            if node in self.nodes:
                if node._grad is INACTIVE:
                    raise GraphError(f"by_hand: no gradient reaches {describe(value)}, given as {name!r}.")
                return node
        raise GraphError(
            f"by_hand: {describe(value)}, given as {name!r}, is not in the graph of {describe(self.loss)}: the "
            "loss was not computed from it, or from an older value of it. Compute the loss again and pass that."
        )

    def _ambiguous(self, name: str, nodes: list[Value]) -> str:
        lines = "".join(f"\n    {describe(as_user_sees(node))}, shape {shape_of(node._data)}" for node in nodes[:8])
        more = f"\n    and {len(nodes) - 8} more" if len(nodes) > 8 else ""
        return (
            f"by_hand: {len(nodes)} values of this graph are called {name!r}:{lines}{more}\n"
            f"  Say which is meant by giving the value beside its gradient, {_keyword(name)}=({name}, d{name}), "
            "or give each its own name, x.name = '...'."
        )

    def _unknown(self, name: str) -> str:
        names = [each for each, nodes in self.by_name.items() if any(n._grad is not INACTIVE for n in nodes)]
        near = [
            each for each in names if each in (name.removeprefix("d"), name.removeprefix("d_").removeprefix("grad_"))
        ]
        near = near or difflib.get_close_matches(name, names, 3)
        meant = f" Is {' or '.join(map(repr, near))} meant?" if near else ""
        listed = ", ".join(names[:60]) + (", …" if len(names) > 60 else "")
        return (
            f"by_hand: no value of this graph is called {name!r}.{meant}\n"
            f"  Named values: {listed or 'none'}.\n"
            "  A value is named by x.name = '...', by Value(..., name='...'), or by being assigned to a variable "
            "in a source file. One without a name is given beside its gradient: y=(value, gradient)."
        )


def _keyword(name: str) -> str:
    return name if name.isidentifier() else "y"


def _outermost(scope: Scope | None) -> Scope | None:
    while scope is not None and scope.parent is not None:
        scope = scope.parent
    return scope


Gradients = Mapping[Any, Any] | Iterable[tuple[Any, Any]]


def collect(names: Names, gradients: Gradients | None, named: Mapping[str, Any]) -> list[Given]:
    """All gradients that were given, each with its node. Raises GraphError where one node was given twice."""
    pairs = [] if gradients is None else list(gradients.items() if isinstance(gradients, Mapping) else gradients)
    found: dict[Value, Given] = {}
    for key, gradient in [*pairs, *named.items()]:
        if isinstance(key, Value):
            name = key.label or f"value {len(found) + 1}"
            node = names.check(key, name)
        else:
            name = str(key)
            if isinstance(gradient, tuple) and len(gradient) == 2 and isinstance(gradient[0], Value):
                node, gradient = names.check(gradient[0], name), gradient[1]
            else:
                node = names.find(name)
        if node in found:
            raise GraphError(f"by_hand: {found[node].name!r} and {name!r} are the same value; give its gradient once.")
        numbers, dtype = (None, None) if gradient is None else as_numbers(gradient, name)
        found[node] = Given(name, node, numbers, dtype)
    if not found:
        raise GraphError("by_hand: no gradient was given. Write by_hand(loss, logits=dlogits, W1=dW1), say.")
    return list(found.values())


def as_numbers(gradient: Any, name: str) -> tuple[Any, str]:
    """A gradient from NumPy, Backlit, PyTorch or JAX, or of numbers and lists: as a NumPy array, and its dtype.

    >>> as_numbers([[1, 2.5]], "w")
    (array([[1. , 2.5]]), 'float64')
    """
    dtype = None
    if isinstance(gradient, Value):
        gradient = current(gradient)._data
        if type(gradient) is Abstract:
            raise ConversionError(f"by_hand: the gradient of {name!r} is traced and has no numbers yet.")
    if hasattr(gradient, "detach"):  # PyTorch: off the graph, off the device, and dense
        gradient = gradient.detach()
        if getattr(gradient, "is_sparse", False):
            gradient = gradient.to_dense()
        gradient = gradient.cpu()
        if str(gradient.dtype) == "torch.bfloat16":
            gradient, dtype = gradient.float(), "bfloat16"
        gradient = gradient.numpy()
    try:
        found = np.asarray(gradient)
        dtype = dtype or found.dtype.name
        if found.dtype.kind not in "fiub":
            found = found.astype(np.float32) if found.dtype.name == "bfloat16" else found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DtypeError(
            f"by_hand: the gradient of {name!r} is a {type(gradient).__name__} that is no array of numbers "
            f"({error}). Give an array, a tensor, a number or a nested list."
        ) from error
    return (found.astype(np.float64) if found.dtype.kind == "b" else np.array(found)), dtype
