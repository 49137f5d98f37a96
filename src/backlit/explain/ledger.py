"""The ledger of paths as data, and how it reads. `paths` makes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from backlit.explain.formula import number_text
from backlit.explain.naming import Spot
from backlit.explain.path_search import product

SCHEMA = "backlit.paths/1"
_SHOWN = 8  # factors of a path that are written out in the text; of a longer one, its ends
_DIGITS = 5
_LONGEST = 70


@dataclass(frozen=True, slots=True)
class PathStep:
    """One edge of a path. label: the node; of, its input that comes next; op: how it was computed. factor: the local
    partial of the node by that input (between arrays: by how much the norm of the cotangent changes). spot:
    the user's line. use: "left" or "right" where the node takes the same input twice.
    """

    label: str
    of: str
    op: str
    factor: float
    spot: Spot | None = None
    use: str = ""


class Steps(Sequence[PathStep]):
    """The steps of a path, each made when asked for: a path may have a million."""

    __slots__ = ("_length", "_make")

    def __init__(self, length: int, make: Callable[[int], PathStep]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, k: int) -> PathStep: ...
    @overload
    def __getitem__(self, k: slice) -> list[PathStep]: ...
    def __getitem__(self, k: int | slice) -> PathStep | list[PathStep]:
        at = range(self._length)[k]
        return self._make(at) if isinstance(at, int) else [self._make(i) for i in at]

    def __repr__(self) -> str:
        return f"<{self._length} steps>"


@dataclass(frozen=True)
class Path:
    """One path from the output to the variable.

    product: of its factors, which is what it adds to the gradient; between arrays the norm of what it adds.
    share: its size in the sum of the sizes of all paths (None where that sum is not known). steps: its edges, from the
    output to the variable. contribution: the product, or the array.
    """

    product: float
    share: float | None
    steps: Steps
    contribution: Any = None

    @property
    def nodes(self) -> tuple[str, ...]:
        """The labels of all nodes on it, from the output to the variable."""
        return (*(step.label for step in self.steps), *(step.of for step in self.steps[-1:]))

    @property
    def factors(self) -> tuple[float, ...]:
        """The local partials in order."""
        return tuple(step.factor for step in self.steps)


@dataclass(frozen=True)
class PathLedger:
    """A gradient as the sum over all paths from the output back to the variable.

    output, variable: their labels; value: the number of the output. gradient: their derivative. kind: "scalars"
    (edges are local partials), "elements" (arrays opened into their elements), or "arrays" (edges are linear maps).
    count: the number of all paths, exact. carrying: how many of them have no zero on the way (None between arrays).
    top: the heaviest, in order. others, others_count: what all other paths add, which is the gradient less the
    paths listed, and how many they are. sizes: the sum of |product| over all paths, and cancellation: |sum of the
    products| / sizes: 1 where all pull the same way, near 0 where they cancel (None where it cannot be known without
    walking every path). complete: whether `top` are surely the heaviest. notes: what else must be said.
    """

    output: str
    variable: str
    value: float
    gradient: Any
    kind: str
    count: int
    carrying: int | None
    top: tuple[Path, ...]
    others: Any
    others_count: int
    sizes: float | None
    cancellation: float | None
    complete: bool = True
    notes: tuple[str, ...] = field(default=())

    def __iter__(self) -> Any:
        return iter(self.top)

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, k: int) -> Path:
        return self.top[k]

    def __str__(self) -> str:
        return text(self)

    def to_dict(self) -> dict[str, Any]:
        """The ledger as plain data that JSON can hold. Counts are strings of digits, since JSON readers round them."""
        return {
            "schema": SCHEMA,
            "output": self.output,
            "variable": self.variable,
            "value": _plain(self.value),
            "gradient": _plain(self.gradient),
            "kind": self.kind,
            "count": str(self.count),
            "carrying": None if self.carrying is None else str(self.carrying),
            "top": [_path(path) for path in self.top],
            "others": _plain(self.others),
            "others_count": str(self.others_count),
            "sizes": _plain(self.sizes),
            "cancellation": _plain(self.cancellation),
            "complete": self.complete,
            "notes": list(self.notes),
        }


def _path(path: Path) -> dict[str, Any]:
    return {
        "product": _plain(path.product),
        "share": _plain(path.share),
        "contribution": _plain(path.contribution),
        "steps": [
            {
                "label": step.label,
                "of": step.of,
                "op": step.op,
                "use": step.use,
                "factor": _plain(step.factor),
                "file": step.spot and step.spot.file,
                "line": step.spot and step.spot.line,
                "source": step.spot and step.spot.text,
            }
            for step in path.steps
        ],
    }


def _plain(x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic)):
        x = x.tolist()
    if isinstance(x, list):
        return [_plain(item) for item in x]
    if isinstance(x, float) and not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    return x


# -- as text -------------------------------------------------------------------------------------------------


def how_many(n: int) -> str:
    """A count as people read it: in full, and beyond a million million as a power of ten.

    >>> how_many(3), how_many(12345), how_many(2**100)
    ('3', '12,345', 'about 1.27·10^30')
    """
    if n < 10**12:
        return f"{n:,}"
    digits = math.floor((n.bit_length() - 1) * math.log10(2))
    lead = n // 10 ** max(digits - 6, 0) / 10**6
    while lead >= 10:
        lead, digits = lead / 10, digits + 1
    return f"about {lead:.2f}·10^{digits}"


def text(ledger: PathLedger) -> str:
    """The ledger as a table: the paths, all others, and the sum; then each path factor by factor."""
    if len(ledger) and not ledger.top[0].steps:
        return f"{_by(ledger.output, ledger.variable)} = 1: the output is {ledger.variable} itself." + _noted(ledger)
    arrays = ledger.kind == "arrays" and np.ndim(ledger.gradient) > 0
    derivative = _by(ledger.output, ledger.variable)
    if not ledger.count:
        return f"{derivative}: no path leads from {ledger.output} back to {ledger.variable}." + _noted(ledger)
    gradient = _size(ledger.gradient) if arrays else ledger.gradient
    head = f"‖{derivative}‖" if arrays else derivative
    lines = [f"{head} = {_number(gradient)}: " + _how_it_comes(ledger), ""]
    rows = [
        (str(k), _number(path.product), _percent(path.share), _route(path, ledger.top[0]))
        for k, path in enumerate(ledger.top, 1)
    ]
    if ledger.others_count:
        others = _size(ledger.others) if arrays else ledger.others
        plural = "s" if ledger.others_count != 1 else ""
        rows.append(("", _number(others), "", f"all others together ({how_many(ledger.others_count)} path{plural})"))
    elif _shows(ledger.others, gradient):
        rows.append(("", _number(_size(ledger.others) if arrays else ledger.others), "", "rounding"))
    rows.append(
        ("=", _number(gradient), "", "the gradient" + (" (contributions add up; norms do not)" if arrays else ""))
    )
    titles = ("", "norm" if arrays else "product", "share", "path")
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(3)]
    for row in (titles, *rows):
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False))
        lines.append(f"  {cells}  {row[3]}".rstrip())
    for k, path in enumerate(ledger.top, 1):
        if k == 1 or len(path.steps) <= _SHOWN:
            lines += ["", f"Path {k}: {_number(path.product)} = {_product(path)}", *_factors(path, arrays)]
    return "\n".join(lines) + _noted(ledger)


def _how_it_comes(ledger: PathLedger) -> str:
    if ledger.count == 1:
        said = "one path leads there."
    elif not ledger.others_count:
        said = f"the sum over {how_many(ledger.count)} paths."
    else:
        which = "heaviest" if ledger.complete else "heaviest found"
        said = f"the sum over {how_many(ledger.count)} paths; here are the {len(ledger.top)} {which}."
    if ledger.carrying is not None and ledger.carrying != ledger.count:
        said += f" {'None' if not ledger.carrying else 'Only ' + how_many(ledger.carrying)} carr"
        said += (
            "ies anything: there is a zero on every way."
            if not ledger.carrying
            else (f"{'ies' if ledger.carrying == 1 else 'y'} anything; on the others there is a zero.")
        )
    if ledger.cancellation is not None and ledger.count > 1:
        index = ledger.cancellation
        said += f"\nCancellation: |sum| / sum of sizes = {index:.3g}" + (
            ": they nearly cancel." if index < 0.05
            else ": they partly cancel." if index < 0.95
            else ": they pull the same way."
        )  # fmt: skip
    return said


def _noted(ledger: PathLedger) -> str:
    return "".join(f"\n\n{note}" for note in ledger.notes)


def _number(x: Any) -> str:
    return number_text(x, _DIGITS)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %" if share >= 0.0005 else "<0.1 %"


def _size(x: Any) -> float:
    return float(np.linalg.norm(np.asarray(x, np.float64)))


def _shows(rest: Any, gradient: Any) -> bool:
    return _size(rest) > 1e-12 * abs(float(gradient))


def _ends(path: Path) -> tuple[list[PathStep], int]:
    """The steps of a path that are written out, and how many are left out in their middle."""
    hidden = len(path.steps) - _SHOWN
    if hidden <= 0:
        return list(path.steps), 0
    half = _SHOWN // 2
    return [*path.steps[:half], *path.steps[-half:]], hidden


def _route(path: Path, first: Path) -> str:
    """The nodes of a path; of a long one, where it leaves the heaviest one."""
    steps, hidden = _ends(path)
    if hidden and path is not first:
        usual = {(step.label, step.of, step.use) for step in first.steps}
        other = [step for step in path.steps if (step.label, step.of, step.use) not in usual]
        turns: list[list[PathStep]] = []
        for i, step in enumerate(other):
            if i and other[i - 1].of == step.label:
                turns[-1].append(step)
            else:
                turns.append([step])
        if 0 < len(turns) <= 3:
            ways = (f"{t[0].label} ← {_used(t[0])} (× {_number(product(s.factor for s in t))})" for t in turns)
            return f"as path 1, but {', '.join(ways)}"
    half = len(steps) // 2
    nodes = [steps[0].label, *(_used(step) for step in steps[:half])]
    if hidden:
        nodes[-1:] = [f"… {hidden} more …", steps[half].label]
    return " ← ".join([*nodes, *(_used(step) for step in steps[half:])])


def _used(step: PathStep) -> str:
    return f"{step.of} ({step.use})" if step.use else step.of


def _product(path: Path) -> str:
    steps, hidden = _ends(path)
    cells = [_signed(step.factor) for step in steps]
    if hidden:
        cells.insert(len(cells) // 2, "…")
    return " · ".join(cells)


def _signed(x: float) -> str:
    shown = _number(x)
    return f"({shown})" if shown.startswith("-") else shown


def _by(above: str, below: str) -> str:
    return f"∂{_whole(above)}/∂{_whole(below)}"


def _short(source: str) -> str:
    return source if len(source) <= _LONGEST else f"{source[: _LONGEST - 1]}…"


def _whole(label: str) -> str:
    """A label, in parentheses if it is an expression."""
    depth = 0
    for i, letter in enumerate(label):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and (letter in " +-*/%@&|^<>=" and label[max(i - 1, 0)] != "e"):
            return f"({label})"
    return label


def _factors(path: Path, arrays: bool) -> list[str]:
    steps, hidden = _ends(path)
    rows = []
    before = None
    for step in steps:
        factor = _number(step.factor)
        to = _used(step)
        said = f"from {step.label} to {to}: × {factor}" if arrays else f"{_by(step.label, step.of)} = {factor}"
        use = f" ({step.use})" if step.use and not arrays else ""
        place = "" if step.spot is None else f"{step.spot.file}:{step.spot.line}"
        rows.append(
            (said + use, place if step.spot == before or step.spot is None else f"{place}  {_short(step.spot.text)}")
        )
        before = step.spot
    width = max(len(cell) for cell, _ in rows)
    lines = [f"    {cell.ljust(width)}   {spot}".rstrip() for cell, spot in rows]
    return [*lines[: _SHOWN // 2], f"    … {hidden} more", *lines[_SHOWN // 2 :]] if hidden else lines
