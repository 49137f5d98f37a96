"""Reading a certificate: what is wrong with the file is said in one sentence, and nothing in it is run or trusted."""

from __future__ import annotations

import json
import math
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from .rules import LEAVES, OF_MANY, RULES, takes  # noqa: TID252

SCHEMA = "backlit.certificate/1"
MOST_BYTES, MOST_NODES, MOST_EDGES = 1 << 27, 1_000_000, 4_000_000
DTYPES = {
    "float64": (Decimal(2.0**-53), Decimal("1e-322")),
    "float32": (Decimal(2.0**-24), Decimal("2e-44")),
    "float16": (Decimal(2.0**-11), Decimal("1e-6")),
}
"""Of each dtype the largest relative error of rounding, and a bound on the absolute one of the smallest numbers."""


class MalformedError(ValueError):
    """The file is not a certificate."""


class Node(NamedTuple):
    """A number of the forward pass. derived: computed by who wrote the certificate, and not by the engine."""

    op: str
    inputs: tuple[int, ...]
    value: Fraction
    dtype: str
    derived: bool
    name: str
    label: str


class Term(NamedTuple):
    """What one node contributes to the gradient by one of its inputs. sum: of this and the terms before it."""

    through: int
    argument: int
    partial: Fraction
    product: Fraction
    sum: Fraction | None


class Entry(NamedTuple):
    """The gradient by a node, and what it is the sum of."""

    terms: tuple[Term, ...]
    gradient: Fraction


class Document(NamedTuple):
    """A certificate as read. wrt: names, and the nodes that belong to each."""

    nodes: list[Node]
    output: int
    wrt: list[tuple[str, list[int]]]
    backward: dict[int, Entry]


def load(file: str) -> Any:
    """The JSON in a file (`-`: standard input), whose meaning `document` finds. Raises MalformedError, OSError."""
    if file == "-":
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
    else:
        with Path(file).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MalformedError(f"the file is longer than {MOST_BYTES >> 20} MB")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise MalformedError("the file is not text in UTF-8") from None
    except RecursionError:
        raise MalformedError("the file nests brackets too deeply") from None
    except json.JSONDecodeError as error:
        raise MalformedError(f"the file is not JSON, or only a part of it: {error}") from None
    except ValueError as error:
        raise (
            error if isinstance(error, MalformedError) else MalformedError(f"a number in the file is too long: {error}")
        ) from None


def _no_number(text: str) -> Any:
    raise MalformedError(f"{text} is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise MalformedError(f"{next(n for n in names if names.count(n) > 1)!r:.60} is written twice in one object")
    return found


def document(source: Any) -> Document:
    """The certificate that a JSON object describes. Raises MalformedError. Cost: linear."""
    _need(isinstance(source, dict), f"it holds {_shown(source)}, not an object")
    _need(source.get("schema") == SCHEMA, f"its schema is {_shown(source.get('schema'))}, and this reads {SCHEMA!r}")
    rows = _list(source, "nodes", "the certificate")
    _need(0 < len(rows) <= MOST_NODES, f"it has {len(rows):,} nodes; from 1 to {MOST_NODES:,} can be checked")
    nodes: list[Node] = []
    edges = 0
    for row in rows:
        nodes.append(_node(row, len(nodes)))
        edges += len(nodes[-1].inputs)
        _need(edges <= MOST_EDGES, f"it has more than {MOST_EDGES:,} edges")
    output = _index(source.get("output"), len(nodes), "the output")
    wrt: list[tuple[str, list[int]]] = []
    for group in _list(source, "wrt", "the certificate"):
        _need(isinstance(group, dict) and isinstance(group.get("name"), str), "an entry of 'wrt' has no name")
        members = _list(group, "nodes", "an entry of 'wrt'")
        edges += len(members)
        _need(edges <= MOST_EDGES, "'wrt' names too many nodes")
        wrt.append((_plain(group["name"]), [_index(i, len(nodes), "an entry of 'wrt'") for i in members]))
    _need(any(members for _, members in wrt), "'wrt' names no node, so there is no gradient to certify")
    backward: dict[int, Entry] = {}
    last = len(nodes)
    for row in _list(source, "backward", "the certificate"):
        at, entry = _entry(row, len(nodes))
        _need(at < last, f"in 'backward' node {at} does not come after the nodes that were computed from it")
        backward[at] = entry
        last = at
        edges += len(entry.terms)
        _need(edges <= 3 * MOST_EDGES, "'backward' has too many terms")
    return Document(nodes, output, wrt, backward)


def _node(row: Any, at: int) -> Node:
    where = f"node {at}"
    _need(isinstance(row, dict), f"{where} is {_shown(row)}, not an object")
    _need(row.get("id", at) == at and type(row.get("id", at)) is int, f"{where} has the id {_shown(row.get('id'))}")
    op, dtype = row.get("op"), row.get("dtype", "float64")
    _need(
        isinstance(op, str) and (op in RULES or op in OF_MANY or op in LEAVES), f"{where}: no op {_shown(op)} is known"
    )
    _need(isinstance(dtype, str) and dtype in DTYPES, f"{where}: no dtype {_shown(dtype)} is known")
    inputs = row.get("inputs", [])
    _need(isinstance(inputs, list), f"{where}: its inputs are {_shown(inputs)}, not a list")
    for x in inputs:
        if type(x) is not int or not 0 <= x < at:
            raise MalformedError(f"{where}: its input {_shown(x)} is not a node before it")
    _need(takes(op, len(inputs)), f"{where}: {op} cannot have {len(inputs)} inputs")
    derived = row.get("derived", False)
    _need(isinstance(derived, bool), f"{where}: 'derived' is {_shown(derived)}, neither true nor false")
    name, line = row.get("name", ""), row.get("line", "")
    _need(isinstance(name, str) and isinstance(line, str), f"{where}: its name or line is not text")
    label = f"{where}" + (f", `{_plain(name)}`" if name else "") + f" ({op})" + (f", {_plain(line)}" if line else "")
    return Node(op, tuple(inputs), _number(row.get("value"), where, "its value"), dtype, derived, _plain(name), label)


def _entry(row: Any, count: int) -> tuple[int, Entry]:
    _need(isinstance(row, dict), f"an entry of 'backward' is {_shown(row)}, not an object")
    at = _index(row.get("node"), count, "an entry of 'backward'")
    where = f"the gradient by node {at}"
    terms = []
    for term in _list(row, "terms", where):
        if not isinstance(term, dict):
            raise MalformedError(f"{where}: a term is {_shown(term)}, not an object")
        through = _index(term.get("through"), count, where)
        argument = term.get("argument")
        if type(argument) is not int:
            raise MalformedError(f"{where}: an argument is {_shown(argument)}, not a whole number")
        partial, product = (
            _number(term.get("partial"), where, "a partial"),
            _number(term.get("product"), where, "a product"),
        )
        running = _number(term["sum"], where, "a sum") if "sum" in term else None
        terms.append(Term(through, argument, partial, product, running))
    return at, Entry(tuple(terms), _number(row.get("gradient"), where, "its sum"))


def _need(holds: bool, complaint: str) -> None:
    if not holds:
        raise MalformedError(complaint)


def _list(row: Any, key: str, where: str) -> list[Any]:
    found = row.get(key)
    if not isinstance(found, list):
        raise MalformedError(f"{where}: {key!r} is {_shown(found)}, not a list")
    return found


def _index(x: Any, count: int, where: str) -> int:
    if type(x) is not int or not 0 <= x < count:
        raise MalformedError(f"{where} names node {_shown(x)}, and the nodes are 0 to {count - 1}")
    return x


def _number(x: Any, where: str, what: str) -> Fraction:
    """An exact number, written as Python's `float.hex` writes it."""
    if isinstance(x, str) and len(x) <= 32:
        try:
            number = float.fromhex(x)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number) and number.hex() == x:
            return Fraction(number)
    raise MalformedError(f"{where}: {what} is {_shown(x)}, not a finite number such as '0x1.8000000000000p+1'")


def _shown(x: Any) -> str:
    if isinstance(x, (dict, list)):
        return f"{'an object' if isinstance(x, dict) else 'a list'} of {len(x)}"
    return (
        "missing"
        if x is None
        else _plain(repr(x)[:60])
        if not isinstance(x, int) or abs(x) < 10**30
        else "a huge number"
    )


def _plain(text: str) -> str:
    """Text that cannot disturb a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:120])
