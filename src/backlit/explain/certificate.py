"""A certificate: every number of a derivation, written down so that others can replay it without trusting this engine.

`backlit verify FILE` does so; the checker that it runs is the folder `checker`, which imports nothing of Backlit and
says there what trust rests on. The format, `backlit.certificate/1`, is JSON with every number as an exact hexadecimal
float (`float.hex`):

nodes     the forward pass, in order; each with its op, inputs (indices of earlier nodes), value; if they are known, its
          name and line; `dtype` unless float64; `derived` if the engine itself does not keep that number.
          Leaves are "variable", "constant" or "given" (found by an op that has no derivative, such as argmax).
output    the node that was differentiated.
wrt       what it was differentiated by: names, shapes, and the nodes of their elements.
backward  the backward pass, from the output on: the gradient by a node, and its terms, one for each use of the node:
          through which node and as which argument of it, the local partial, the product of that with the gradient by
          that node, and, where they were added one after the other, the sum up to there.

Each element of an array is a node.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backlit.autodiff.reverse import seed_for
from backlit.core.errors import GraphError, NonFiniteError, TracedValueError
from backlit.core.files import write_whole
from backlit.core.numbers import Abstract, shape_of
from backlit.core.standing import standing
from backlit.core.value import INACTIVE, Value, as_user_sees, current, describe
from backlit.core.walk import toposort
from backlit.explain.checker import SCHEMA, Verdict, judge
from backlit.explain.checker.rules import RULES, has_derivative
from backlit.explain.cotangents import cotangents_of, node_of
from backlit.explain.naming import LONGEST, at
from backlit.explain.scalars import Scalars

Wrt = Value | Sequence[Value] | Mapping[str, Value] | None


@dataclass(frozen=True)
class Certificate:
    """The numbers of a derivation. `save` writes them to a file, `verify` replays them here and now."""

    document: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The certificate as JSON can hold it, schema `backlit.certificate/1`."""
        return self.document

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the certificate to a file, which holds the old content or all of the new one, never a part of it.

        Raises OSError, as `open` does.
        """
        target = Path(path)
        write_whole(target, "".join(self._lines()))
        return target

    def verify(self) -> Verdict:
        """What the checker says of it. Cost: some 0.1 milliseconds for each step."""
        return judge(self.document)

    def _lines(self) -> Iterator[str]:
        """JSON with a line for each node and each gradient."""
        rest = {key: value for key, value in self.document.items() if key not in ("nodes", "backward")}
        yield json.dumps(rest, ensure_ascii=False, allow_nan=False)[:-1]
        for key in ("nodes", "backward"):
            yield f',\n"{key}": [\n'
            rows = self.document[key]
            for i, row in enumerate(rows):
                comma = "," if i < len(rows) - 1 else ""
                yield json.dumps(row, ensure_ascii=False, allow_nan=False) + comma + "\n"
            yield "]"
        yield "}\n"

    def __str__(self) -> str:
        steps = sum(1 for node in self.document["nodes"] if "inputs" in node)
        terms = sum(len(entry["terms"]) for entry in self.document["backward"])
        by = ", ".join(group["name"] for group in self.document["wrt"])
        return (
            f"Certificate of the gradient of {self.document['of']} by {by}: "
            f"{steps:,} step{'s' * (steps != 1)} forward, {terms:,} term{'s' * (terms != 1)} backward.\n"
            "Save it with .save(FILE); then `backlit verify FILE` replays it without the engine."
        )

    def __repr__(self) -> str:
        return f"<{str(self).splitlines()[0]}>"


def certificate(loss: Value, wrt: Wrt = None, *, limit: int = 20_000) -> Certificate:
    """The numbers of the derivation of a scalar's gradient, to be saved and verified without trusting this engine.

    wrt: a value or several, or names and values; by default all variables that the scalar depends on. limit: how many
    numbers may have been computed on the way (every element of an array counts).

    Raises ShapeError if `loss` is no scalar, GraphError if it does not depend on `wrt`, there is no rule for an op or
    the graph is too large, NonFiniteError if a number in it is infinite or NaN. Cost: one backward pass, and some
    10 microseconds for every number and edge.

    >>> a, b = Value(2.0, name="a"), Value(-3.0, name="b")
    >>> print(certificate((a * b).exp()).verify())
    certified to 16 digits: 2 steps forward and 3 terms backward were replayed
      by a: -0.0074362565299990755, to 16 digits
      by b: 0.004957504353332717, to 16 digits
    """
    root = current(loss)
    if type(root._data) is Abstract:
        raise TracedValueError("certificate: the output has no number yet, its function is being traced.")
    seed = seed_for(root, None, "certificate")
    order = toposort([root])
    wanted = _wanted(root, wrt, order)
    if not any(math.prod(shape_of(node._data)) for _, node in wanted):
        raise GraphError("certificate: what to differentiate by has no elements, so there is no gradient.")
    scalars = Scalars(order, frozenset(RULES), limit)
    return Certificate(_Writer(scalars, root, wanted, cotangents_of(root, seed, order)).document())


def _wanted(root: Value, wrt: Wrt, order: Sequence[Value]) -> list[tuple[str, Value]]:
    """The nodes by which to differentiate, with names."""
    given: Sequence[tuple[str | None, Value]]
    if wrt is None:
        given = [(None, x) for x in order if x._op is None and x._grad is not INACTIVE]
        if not given:
            raise GraphError(f"certificate: {describe(root)} depends on no variable, so it has no gradient.")
    elif isinstance(wrt, Value):
        given = [(None, wrt)]
    else:
        given = [*wrt.items()] if isinstance(wrt, Mapping) else [(None, x) for x in wrt]
        if not given:
            raise GraphError("certificate: `wrt` is empty; name at least one value, or leave it out for all variables.")
    wanted: dict[str, Value] = {}
    for i, (name, x) in enumerate(given):
        node = x if wrt is None else node_of(x, order)
        if node is None or node._grad is INACTIVE:
            why = "is a constant" if node is not None else "is not what it was computed from"
            raise GraphError(f"certificate: {describe(root)} has no gradient by {describe(x)}, which {why}.")
        name = free = name or _label(node) or f"variable {i + 1}"
        while free in wanted:
            free = f"{name}#{2 if free == name else int(free.rpartition('#')[2]) + 1}"
        wanted[free] = node
    return list(wanted.items())


class _Writer:
    """Writes the numbers that matter of an opened graph."""

    def __init__(
        self, scalars: Scalars, root: Value, wanted: Sequence[tuple[str, Value]], cts: Mapping[Value, Any]
    ) -> None:
        self._scalars = scalars
        self._root = root
        self._wanted = wanted
        self._cts = {node: np.asarray(ct, np.float64).ravel() for node, ct in cts.items()}
        self._labels: dict[Value, tuple[str, str]] = {}
        self._output = int(scalars.of[root].flat[0])
        needed = {self._output}
        stack = [self._output, *(int(i) for _, node in wanted for i in scalars.of[node].flat)]
        needed.update(stack)
        while stack:
            for i in scalars.inputs[stack.pop()]:
                if i not in needed:
                    needed.add(i)
                    stack.append(i)
        self._kept = sorted(needed)
        self._new = {old: new for new, old in enumerate(self._kept)}

    def document(self) -> dict[str, Any]:
        scalars = self._scalars
        return {
            "schema": SCHEMA,
            "of": _label(self._root) or "output",
            "output": self._new[self._output],
            "wrt": [
                {
                    "name": name,
                    "shape": list(shape_of(node._data)),
                    "nodes": [self._new[int(i)] for i in scalars.of[node].flat],
                }
                for name, node in self._wanted
            ],
            "nodes": [self._row(i) for i in self._kept],
            "backward": list(self._backward()),
        }

    def _row(self, i: int) -> dict[str, Any]:
        scalars = self._scalars
        row: dict[str, Any] = {"id": self._new[i], "op": scalars.op[i]}
        if scalars.inputs[i]:
            row["inputs"] = [self._new[x] for x in scalars.inputs[i]]
        elif scalars.op[i] in ("sum", "prod"):
            row["inputs"] = []
        row["value"] = self._hex(scalars.value[i], i, "")
        if scalars.dtype[i] != "float64":
            row["dtype"] = scalars.dtype[i]
        if i in scalars.derived:
            row["derived"] = True
        name, line = self._told(i)
        if name:
            row["name"] = name
        if line:
            row["line"] = line
        return row

    def _told(self, i: int) -> tuple[str, str]:
        """What a number is called, and the line that made it."""
        scalars, node = self._scalars, self._scalars.node[i]
        if node not in self._labels:
            site = as_user_sees(node).site
            line = "" if site is None else f"{site.short_file}:{site.line}"
            self._labels[node] = _label(node), line
        name, line = self._labels[node]
        if scalars.op[i] == "given" and node._op is not None:
            name = node._op.name
        if i in scalars.derived or (scalars.op[i] == "constant" and node._op is not None):
            return "", line
        shape = shape_of(node._data)
        if name and shape:
            name = at(name, tuple(int(k) for k in np.unravel_index(scalars.place[i], shape)))
        return name, line

    def _backward(self) -> Iterator[dict[str, Any]]:
        scalars = self._scalars
        wanted = {int(i) for _, node in self._wanted for i in scalars.of[node].flat}
        active: set[int] = set()
        for i in self._kept:
            if i in wanted or any(
                x in active and has_derivative(scalars.op[i], k) for k, x in enumerate(scalars.inputs[i])
            ):
                active.add(i)
        due: dict[int, list[tuple[int, int, float, float]]] = {}
        for i in reversed(self._kept):
            terms = due.pop(i, [])
            if i not in active or not (terms or i == self._output or i in wanted):
                continue
            gradient = self._gradient(i, terms)
            yield self._entry(i, terms, gradient)
            if not (terms or i == self._output) or not any(x in active for x in scalars.inputs[i]):
                continue
            for k, (x, partial) in enumerate(zip(scalars.inputs[i], scalars.partials(i), strict=False)):
                if x in active and partial is not None and has_derivative(scalars.op[i], k):
                    product = _rounded(gradient * partial, scalars.dtype[i], scalars.dtype[x])
                    due.setdefault(x, []).append((i, k, partial, product))

    def _gradient(self, i: int, terms: Sequence[tuple[int, int, float, float]]) -> float:
        """The gradient that the engine has for a number."""
        scalars = self._scalars
        if i in scalars.derived:
            return math.fsum(product for *_, product in terms)
        found = self._cts.get(scalars.node[i])
        return 0.0 if found is None else float(found[scalars.place[i]])

    def _entry(self, i: int, terms: Sequence[tuple[int, int, float, float]], gradient: float) -> dict[str, Any]:
        rows = []
        sums: list[float] = []
        for through, argument, partial, product in terms:
            rows.append(
                {
                    "through": self._new[through],
                    "argument": argument,
                    "partial": self._hex(partial, through, f"the partial by argument {argument} of "),
                    "product": self._hex(product, i, "a term of the gradient by "),
                }
            )
            dtype = self._scalars.dtype[through]
            sums.append(_rounded(sums[-1] + product, dtype, self._scalars.dtype[i]) if sums else product)
        if len(sums) > 1 and sums[-1] == gradient:  # the engine added them in this order
            for row, total in zip(rows, sums, strict=True):
                row["sum"] = self._hex(total, i, "a sum in the gradient by ")
        return {"node": self._new[i], "terms": rows, "gradient": self._hex(gradient, i, "the gradient by ")}

    def _hex(self, number: float, i: int, what: str) -> str:
        if not math.isfinite(number):
            node = self._scalars.node[i]
            raise NonFiniteError(
                f"certificate: {what}{describe(as_user_sees(node))} is {number}, and only finite numbers can be "
                "certified. backlit.trace_nonfinite() finds where that began."
            )
        return float(number).hex()


def _label(node: Value) -> str:
    """The name of a node, or the piece of source that made it; empty for constants without a name."""
    shown = as_user_sees(node)
    if (label := shown.label or (standing(node) if node._op is not None else None)) is not None:
        return label
    site = shown.site
    if node._op is not None and site is not None and site.source and len(site.source) <= LONGEST:
        return site.source
    return ""


_ROUND: dict[str, Any] = {"float16": np.float16, "float32": np.float32, "float64": np.float64}
_COARSEST = ("float16", "float32", "float64")


def _rounded(x: float, *dtypes: str) -> float:
    """The number in the coarsest of these dtypes."""
    coarsest = min(dtypes, key=_COARSEST.index)
    return x if coarsest == "float64" else float(_ROUND[coarsest](x))
