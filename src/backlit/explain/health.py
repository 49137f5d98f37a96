"""One look at a whole backward pass: how large activations and gradients are in each layer, and what is wrong."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from backlit.autodiff.reverse import seed_for
from backlit.core.errors import GraphError, TracedValueError
from backlit.core.numbers import Abstract, quietly, shape_of
from backlit.core.value import INACTIVE, Value, current, describe
from backlit.core.walk import toposort
from backlit.explain import health_findings as findings
from backlit.explain.cotangents import cotangents_of
from backlit.explain.formula import number_text
from backlit.explain.health_findings import Finding
from backlit.explain.health_plateau import STANDS, plateau_of, slope_left
from backlit.explain.health_rows import GATE, Row, Rows, gather, is_learned
from backlit.explain.health_units import ENOUGH, Units, units_of
from backlit.explain.naming import Spot

SCHEMA = "backlit.health/1"
_SHOWN = 24
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the table: an array node, or all scalars that one place in the program made at one depth.

    label: what it is called. op: how it was computed ("" for a variable). scope: the composite or layer it belongs to.
    shape: of the array, or (number of scalars,). depth: how many layers lie below. activation, gradient: root mean
    squares of what it computed and of the gradient by it. units: how many; dead, saturated: the numbers of those
    that pass nothing back for any example; examples: how many there were (of few it shows no more than that the unit
    is off for them); blocked: the share of all elements that pass nothing back (None where
    that is not asked). update: the size of an update beside that of the weights, for a parameter.
    """

    label: str
    op: str
    scope: str
    shape: tuple[int, ...]
    depth: int
    activation: float
    gradient: float
    units: int = 0
    dead: tuple[int, ...] = ()
    saturated: tuple[int, ...] = ()
    blocked: float | None = None
    update: float | None = None
    spot: Spot | None = None
    kind: str = ""
    examples: int = 0


@dataclass(frozen=True)
class Health:
    """One look at a backward pass.

    loss: its value. findings: what is wrong, the gravest first. learning_rate: if known.
    """

    loss: float
    findings: tuple[Finding, ...]
    learning_rate: float | None
    _layers: Callable[[], tuple[Layer, ...]] = field(repr=False, compare=False)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All rows of the table, inputs first. Their names and lines are looked up when first asked for."""
        return self._layers()

    @property
    def is_well(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        return _text(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold."""
        return {
            "schema": SCHEMA,
            "loss": _plain(self.loss),
            "learning_rate": self.learning_rate,
            "findings": [_fields(finding) for finding in self.findings],
            "layers": [_fields(layer) for layer in self.layers],
        }


def health(loss: Value, optimizer: Any = None, learning_rate: float | None = None) -> Health:
    """What a backward pass from this loss looks like in every layer, and what is wrong with it, in plain words.

    Found are NaN and infinities, dead and saturated units, plateaus, symmetric units, vanishing and exploding
    gradients, and steps too large or too small. Of a unit that is off on all rows it is said that it is dead if there
    are 100 of them or more; of fewer, that it is off for these. learning_rate: of plain gradient descent, for the
    steps; or optimizer: an object with a `learning_rate` (or `lr`). Gradients held in `.grad` stay as they are.

    Raises ShapeError if the loss is no scalar, GraphError if it depends on nothing that can be differentiated.
    Cost: less than two backward passes.

    >>> from backlit.ops.activations import relu
    >>> w = Value([[1.0, -5.0]], name="w")
    >>> h = relu(Value([[1.0], [2.0]], name="x") @ w)
    >>> [(finding.kind, finding.units) for finding in health((h * h).sum()).findings][0]
    ('dead', (1,))
    """
    root = current(loss)
    if type(root._data) is Abstract:
        raise TracedValueError("health: the loss has no number yet, its function is being traced.")
    seed = seed_for(root, None, "health")
    if root._grad is INACTIVE:
        raise GraphError(f"health: {describe(loss)} does not depend on any variable that can be differentiated.")
    order = toposort([root])
    cts = cotangents_of(root, seed, order)
    rate = _rate(optimizer) if learning_rate is None else float(learning_rate)
    return quietly(_looked_at, root, order, cts, rate)  # type: ignore[no-any-return]


def _rate(optimizer: Any) -> float | None:
    """The learning rate of an optimizer, if it is a number at the moment."""
    for name in ("learning_rate", "lr"):
        rate = getattr(optimizer, name, None)
        if isinstance(rate, Value):
            rate = rate.data
        if isinstance(rate, (int, float)):
            return float(rate)
    return None


def _looked_at(root: Value, order: list[Value], cts: dict[Value, Any], rate: float | None) -> Health:
    rows = gather(order, cts)
    leaves = [row for row in rows.rows if row.is_leaf]
    parameters = [row for row in leaves if is_learned(row.first)] or leaves
    units = {id(row): seen for row in rows.rows if (seen := units_of(row)) is not None}
    ratios = _ratios(parameters, rate)
    found = _found(root, order, cts, rows, parameters, units)
    if rate is not None:
        stands = any(finding.kind in ("plateau", "flat", "vanishing") for finding in found)
        found += [step for step in findings.steps(ratios, rate) if not (stands and step.factor and step.factor < 1)]
    found.sort(key=lambda finding: -finding.severity)
    update = {id(row): ratio for row, ratio in ratios}
    return Health(float(root._data), tuple(found), rate, partial(_layers, rows, units, update))


def _layers(rows: Rows, units: dict[int, Units], update: dict[int, float]) -> tuple[Layer, ...]:
    return tuple(_layer(row, units.get(id(row)), update) for row in rows.rows)


def _found(
    root: Value,
    order: list[Value],
    cts: dict[Value, Any],
    rows: Rows,
    parameters: Sequence[Row],
    units: dict[int, Units],
) -> list[Finding]:
    found = findings.not_finite(rows, root)
    if found:
        return found  # the rest would only be its consequences
    for row in rows.rows:
        seen = units.get(id(row))
        if seen is not None:
            found += findings.dead(row, seen)
            found += findings.saturated(row, seen, order)
            found += findings.symmetric(row)
    is_blocked = bool(found)
    if not is_blocked:
        found += findings.zero_gradients(parameters)
    loss = float(root._data)
    left = slope_left(loss, parameters)
    standing: list[Finding] = []
    if left <= STANDS:
        standing = findings.plateau(plateau_of(loss, rows, cts, order), loss, left, is_blocked)
    if not standing:  # a unit that is off for a few rows, while the net learns, is no great matter
        found = [each if each.is_certain else replace(each, severity=each.severity / 2) for each in found]
    if any(finding.kind == "plateau" for finding in standing):
        return found + standing  # pulls that cancel on their way back do not vanish
    return found + standing + findings.vanishing(findings.along(rows, cts))


def _ratios(parameters: Sequence[Row], rate: float | None) -> list[tuple[Row, float]]:
    if rate is None:
        return []
    return [(row, rate * row.gradient / row.activation) for row in parameters if row.activation]


def _layer(row: Row, units: Units | None, update: dict[int, float]) -> Layer:
    node = row.first
    many = len(row.nodes) > 1
    scope = node._extra.scope
    blocked = units.blocked if units is not None and units.examples > 1 else ()
    return Layer(
        label=row.label,
        op="" if node._op is None else node._op.name,
        scope="" if scope is None else str(scope),
        shape=(len(row.nodes),) if many else shape_of(node._data),
        depth=row.depth,
        activation=row.activation,
        gradient=row.gradient,
        units=0 if units is None else units.count,
        dead=blocked if row.kind == GATE else (),
        saturated=blocked if row.kind != GATE else (),
        blocked=None if units is None else units.share,
        update=update.get(id(row)),
        spot=row.spot,
        kind="parameter" if row.is_leaf else "layer" if row.kind else "",
        examples=0 if units is None else units.examples,
    )


# -- as data and as text -------------------------------------------------------------------------------------


def _fields(record: Any) -> dict[str, Any]:
    return {name: _plain(getattr(record, name)) for name in record.__dataclass_fields__}


def _plain(x: Any) -> Any:
    if hasattr(x, "__dataclass_fields__"):
        return _fields(x)
    if isinstance(x, tuple):
        return [_plain(item) for item in x]
    if isinstance(x, float) and not math.isfinite(x):
        return "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"
    return x


def _text(health: Health) -> str:
    lines = [f"Loss {number_text(health.loss, 4)}. " + _verdict(health)]
    for k, finding in enumerate(health.findings, 1):
        place = f"  [{finding.spot.file}:{finding.spot.line}]" if finding.spot else ""
        lines += ["", *_wrapped(f"{k}. {finding.text}{place}"), *_wrapped(f"   {finding.remedy}")]
    named = [layer for layer in health.layers if layer.kind] or list(health.layers)
    shown = named if len(named) <= _SHOWN else sorted(named, key=lambda layer: layer.kind == "parameter")
    lines += ["", *_table(shown[:_SHOWN])]
    if len(shown) > _SHOWN:
        lines.append(f"  … {len(shown) - _SHOWN} more")
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False)


def _verdict(health: Health) -> str:
    count = len(health.findings)
    if not count:
        return "Nothing wrong was found in the backward pass."
    return f"{count} thing{'s' * (count > 1)} to look at, the gravest first:"


def _table(layers: Sequence[Layer]) -> list[str]:
    titles = ["layer", "op", "shape", "activation", "gradient", "blocked"]
    has_updates = any(layer.update is not None for layer in layers)
    rows = [titles + ["update/weight"] * has_updates + ["line"]]
    for layer in layers:
        blocked = "" if layer.blocked is None else f"{100 * layer.blocked:.0f} %"
        if layer.dead or layer.saturated:
            blocked += f", {len(layer.dead or layer.saturated)} of {layer.units} " + (
                "saturated" if not layer.dead else "dead" if layer.examples >= ENOUGH else "off"
            )
        update = "" if layer.update is None else number_text(layer.update, 2)
        rows.append(
            [
                layer.label,
                layer.op or "variable",
                _shape(layer.shape),
                number_text(layer.activation, 3),
                number_text(layer.gradient, 3),
            ]
            + [blocked]
            + [update] * has_updates
            + ["" if layer.spot is None else f"{layer.spot.file}:{layer.spot.line}"]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  " + "  ".join(f"{cell:{'>' if i in (3, 4) else '<'}{widths[i]}}" for i, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    return [*lines, "  activation and gradient: root mean squares over each array"]


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
