"""What a model is made of, as a table: its modules with their shapes, sizes, and shares of the time."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backlit.core.state import no_grad
from backlit.core.trees import children_of
from backlit.core.value import Buffer, Parameter, Value
from backlit.nn.module import Module, variables_in


@dataclass(frozen=True, slots=True)
class Row:
    """One module. parameters, buffers: elements it holds itself, not those of modules in it; bytes: of both.

    output: the shape of what it gave last, as text; seconds: spent in it and not in modules in it; calls: how often
    it was called. These three are None in a summary without inputs.
    """

    path: str
    kind: str
    output: str | None
    parameters: int
    buffers: int
    bytes: int
    seconds: float | None
    calls: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What `summary` found: a row for each module. Every column adds up to its total; shared parameters count once.

    `print(...)` shows a table of plain text, a notebook one of HTML.
    """

    rows: tuple[Row, ...]
    seconds: float | None

    @property
    def parameters(self) -> int:
        """Elements that are learned."""
        return sum(row.parameters for row in self.rows)

    @property
    def buffers(self) -> int:
        """Elements that training changes and no gradient reaches."""
        return sum(row.buffers for row in self.rows)

    @property
    def bytes(self) -> int:
        """Memory of parameters and buffers."""
        return sum(row.bytes for row in self.rows)

    def cells(self) -> list[tuple[str, ...]]:
        """The table as texts: head, a line for each module, the totals."""
        timed = self.seconds is not None
        head = ("module", "class", *(("output",) if timed else ()), "parameters", "buffers", "bytes")
        lines = [
            (*head, "time") if timed else head,
            *(self._line(row) for row in self.rows),
        ]
        totals = ("total", "", *(("",) if timed else ()), *(f"{n:,}" for n in self._totals()))
        lines.append((*totals, _duration(self.seconds)) if self.seconds is not None else totals)
        return lines

    def _line(self, row: Row) -> tuple[str, ...]:
        timed = self.seconds is not None
        return (
            row.path or "(whole)",
            row.kind + (f" ×{row.calls}" if row.calls is not None and row.calls > 1 else ""),
            *((row.output or "not called",) if timed else ()),
            *(_count(n) for n in (row.parameters, row.buffers, row.bytes)),
            *((_share(row.seconds, self.seconds),) if timed else ()),
        )

    def _totals(self) -> tuple[int, int, int]:
        return self.parameters, self.buffers, self.bytes

    def __str__(self) -> str:
        lines = self.cells()
        left = len(lines[0]) - (4 if self.seconds is not None else 3)
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        texts = [
            "  ".join(
                cell.ljust(width) if i < left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1]])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        head, *body, total = ([html.escape(cell) for cell in line] for line in self.cells())
        left = len(head) - (4 if self.seconds is not None else 3)

        def row(cells: Sequence[str], tag: str = "td") -> str:
            sides = ("left" if i < left else "right" for i in range(len(cells)))
            inside = (
                f'<{tag} style="text-align: {side}">{cell}</{tag}>' for side, cell in zip(sides, cells, strict=True)
            )
            return f"<tr>{''.join(inside)}</tr>"

        return (
            f"<table><thead>{row(head, 'th')}</thead><tbody>{''.join(map(row, body))}</tbody>"
            f"<tfoot>{row(total, 'th')}</tfoot></table>"
        )


def summary(model: Module, *example_inputs: Any, repeats: int = 3) -> Summary:
    """A table of the modules in a model: path, class, output shape, parameters, buffers, bytes, share of the time.

    example_inputs: what to call the model with; without any, shapes and times are left out. It is called as in use
    (`eval()`), without recording, once to warm up and then `repeats` times, of which the quickest counts; afterwards
    the model is as it was. A module's time is that spent in it and not in the modules in it, so the shares add up to 1.

    >>> from backlit.nn.mlp import MLP
    >>> summary(MLP(3, [4, 1], key=0))
    module      class   parameters  buffers  bytes
    ----------------------------------------------
    (whole)     MLP
    layers.0    Linear          16              64
    layers.1    Linear           5              20
    activation  Tanh
    ----------------------------------------------
    total                       21        0     84
    """
    named = list(model.named_modules())
    own = _own_sizes(model, [path for path, _ in named])
    if not example_inputs:
        rows = tuple(Row(path, type(m).__name__, None, *own[path], None, None) for path, m in named)
        return Summary(rows, None)
    best: _Watch | None = None
    with _in_use(named), no_grad():
        model(*example_inputs)
        for _ in range(max(1, repeats)):
            watch = _Watch()
            with watch.over(named):
                model(*example_inputs)
            if best is None or watch.total() < best.total():
                best = watch
    assert best is not None
    rows = tuple(
        Row(path, type(m).__name__, best.shapes.get(path), *own[path], best.own.get(path, 0.0), best.calls.get(path, 0))
        for path, m in named
    )
    return Summary(rows, best.total())


class _Watch:
    """How long each module took by itself, how often it was called, and the shape of what it gave."""

    def __init__(self) -> None:
        self.own: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.shapes: dict[str, str] = {}
        self._inside = [0.0]  # time spent in modules called by the running one

    def total(self) -> float:
        return sum(self.own.values())

    @contextmanager
    def over(self, named: Sequence[tuple[str, Module]]) -> Iterator[None]:
        """Put a timed forward before that of each module, for a while."""
        before = [(module, vars(module).get("forward")) for _, module in named]
        try:
            for path, module in named:
                vars(module)["forward"] = self._timed(path, module.forward)
            yield
        finally:
            for module, forward in before:
                del vars(module)["forward"]
                if forward is not None:
                    vars(module)["forward"] = forward

    def _timed(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start = time.perf_counter()
            try:
                result = forward(*args, **kwargs)
            finally:
                spent = time.perf_counter() - start
                self.own[path] = self.own.get(path, 0.0) + spent - self._inside.pop()
                self._inside[-1] += spent
            self.calls[path] = self.calls.get(path, 0) + 1
            self.shapes[path] = _shape_text(result)
            return result

        return timed


@contextmanager
def _in_use(named: Sequence[tuple[str, Module]]) -> Iterator[None]:
    """Every module as in use, and afterwards as each was."""
    before = [(module, module.training) for _, module in named]
    try:
        for module, _ in before:
            module.training = False
        yield
    finally:
        for module, training in before:
            module.training = training


def _own_sizes(model: Module, paths: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """For each module the elements of its own parameters and buffers, and the bytes of both."""
    known = set(paths)
    sizes = dict.fromkeys(paths, (0, 0, 0))
    for path, value in variables_in(model):
        owner = path
        while owner not in known:
            owner = owner.rpartition(".")[0]
        parameters, buffers, nbytes = sizes[owner]
        sizes[owner] = (
            parameters + isinstance(value, Parameter) * value.size,
            buffers + isinstance(value, Buffer) * value.size,
            nbytes + value.size * value.dtype.itemsize,
        )
    return sizes


def _shape_text(result: Any) -> str:
    """The shape of an array; for containers, those of what they hold."""
    if isinstance(result, Value) or hasattr(result, "shape"):
        return str(tuple(result.shape))
    opened = children_of(result)
    if opened is None or isinstance(result, Module):
        return type(result).__name__
    parts = [_shape_text(child) for _, child in opened[0]]
    if len(parts) > 4:
        parts = [*parts[:3], f"... {len(parts)} in all"]
    return f"[{', '.join(parts)}]"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _share(part: float | None, whole: float | None) -> str:
    return "" if not part or not whole else f"{100.0 * part / whole:.1f} %"


def _duration(seconds: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1.0:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
