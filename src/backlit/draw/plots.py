"""Plots of a run, by matplotlib (the extra `plot`): the loss, and the flow of gradients through the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backlit.core.errors import DomainError
from backlit.core.value import Value
from backlit.draw.charts import COLOURS, LINES, MARKERS, Chart
from backlit.draw.theme import DAY

Floats = npt.NDArray[np.float64]
VANISHING, EXPLODING = 1e-3, 1e3  # a layer's gradient against the median of all


def numbers_of(x: Any) -> Floats:
    """A flat array of numbers from a list, an array, a value, or a list of values."""
    if isinstance(x, Value):
        x = x.data
    if isinstance(x, (list, tuple)):
        x = [each.data if isinstance(each, Value) else each for each in x]
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    return np.asarray(x, np.float64)


def plot_loss(
    losses: Any,
    *,
    smooth: int | None = None,
    log: bool | None = None,
    ax: Any = None,
    title: str = "",
) -> Chart:
    """The loss at each step of one run, or of several.

    losses: numbers, one a step, or a dict of such by name ("train", "validation"), or of (steps, losses) pairs.
    smooth: draw the running median of this many steps over the paler losses themselves; by default a fiftieth of a
    long run, and none of a short one. log: a logarithmic axis; by default if the losses are above zero and span a
    factor of 30. Steps where the loss was not finite are marked. ax: matplotlib axes to draw on.

    Raises DomainError if there are no losses.
    """
    runs = dict(losses) if isinstance(losses, Mapping) else {"": losses}
    curves = {name: _steps_and_losses(each) for name, each in runs.items()}
    if not any(len(ys) for _, ys in curves.values()):
        raise DomainError("plot_loss: there are no losses to plot. Give a list of numbers, one for each step.")
    chart = Chart(ax)
    axes = chart.axes
    finite = np.concatenate([ys[np.isfinite(ys)] for _, ys in curves.values()])
    if log is None:
        log = bool(finite.size and finite.min() > 0 and finite.max() / finite.min() >= 30)
    for i, (name, (xs, ys)) in enumerate(curves.items()):
        colour, line = COLOURS[i % len(COLOURS)], LINES[i % len(LINES)]
        window = smooth if smooth is not None else len(ys) // 50 if len(ys) > 200 else 1
        if window > 1:
            axes.plot(xs, ys, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(xs, running_median(ys, window), color=colour, linestyle=line, linewidth=1.8, label=name)
        else:
            marker = MARKERS[i % len(MARKERS)] if len(ys) <= 30 else None
            axes.plot(xs, ys, color=colour, linestyle=line, linewidth=1.6, marker=marker, markersize=4, label=name)
        bad = xs[~np.isfinite(ys)]
        if bad.size:
            axes.plot(bad, np.full(bad.size, 0.02), "x", color=DAY.bad, transform=axes.get_xaxis_transform(),
                      label=f"{name} not finite".strip())  # fmt: skip
    if log:
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss", title=title)
    if axes.get_legend_handles_labels()[1] and (len(runs) > 1 or any(axes.get_legend_handles_labels()[1])):
        axes.legend(frameon=False)
    return chart


def _steps_and_losses(each: Any) -> tuple[Floats, Floats]:
    if isinstance(each, tuple) and len(each) == 2 and np.ndim(numbers_of(each[0])) == 1:
        return numbers_of(each[0]), numbers_of(each[1])
    ys = numbers_of(each).reshape(-1)
    return np.arange(len(ys), dtype=np.float64), ys


def running_median(ys: Floats, window: int) -> Floats:
    """The median of the `window` numbers around each; of fewer at the ends.

    >>> running_median(np.array([1.0, 9.0, 2.0, 3.0]), 3).tolist()
    [5.0, 2.0, 3.0, 2.5]
    """
    half = window // 2
    padded = np.concatenate([np.full(half, np.nan), ys, np.full(half, np.nan)])
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    found = np.full(len(ys), np.nan)
    some = ~np.isnan(views).all(axis=1)
    found[some] = np.nanmedian(views[some], axis=1)
    return found


def plot_gradient_flow(flow: Any, *, ax: Any = None, title: str = "") -> Chart:
    """The size of the gradient in each layer, on a logarithmic axis: where it vanishes or explodes stands out.

    flow: a dict from name to a norm, to a gradient array, or to a value whose `.grad` is meant; a list of
    parameters; or a report of `backlit.health` (whose sizes are root mean squares). Layers whose gradient is less
    than a thousandth of the median or more than a thousand times that are marked; where it is zero, missing or not
    finite, that is said.

    Raises DomainError if there are no gradients.
    """
    sizes = _sizes(flow)
    if not sizes:
        raise DomainError(
            "plot_gradient_flow: there are no gradients to plot. Give a dict from layer to norm, or a list of "
            "parameters after backward()."
        )
    chart = Chart(ax, (6.4, max(2.4, 0.34 * len(sizes) + 1.2)))
    axes, names = chart.axes, list(sizes)
    heights = np.array([np.nan if size is None else size for size in sizes.values()])
    good = np.isfinite(heights) & (heights > 0)
    middle = float(np.median(heights[good])) if good.any() else 1.0
    floor = float(heights[good].min()) / 3 if good.any() else 0.1
    places = np.arange(len(names))[::-1]
    for place, height, ok in zip(places, heights, good, strict=True):
        if not ok:
            word = "no gradient" if np.isnan(height) else "zero" if height == 0 else "not finite"
            axes.text(floor * 1.1, place, word, va="center", color=DAY.bad, fontsize=9)
            continue
        low, high = height < middle * VANISHING, height > middle * EXPLODING
        colour, hatch = (COLOURS[1], "///") if low else (COLOURS[3], "xxx") if high else (COLOURS[0], "")
        axes.barh(place, height - floor, left=floor, height=0.65, color=colour, hatch=hatch, edgecolor="white")
        word = " vanishes" if low else " explodes" if high else ""
        axes.text(height, place, f" {height:.2g}{word}", va="center", fontsize=9, color=DAY.ink)
    axes.set_xscale("log")
    top = float(heights[good].max()) if good.any() else 1.0
    axes.set_xlim(floor, top * (top / floor) ** 0.25)
    axes.set_yticks(places, names)
    axes.grid(False, axis="y")
    axes.set(xlabel="size of the gradient", title=title)
    return chart


def _sizes(flow: Any) -> dict[str, float | None]:
    """The size of each layer's gradient; None where there is none."""
    if hasattr(flow, "to_dict") and not isinstance(flow, Mapping):
        rows = flow.to_dict()
        rows = rows.get("layers") or rows.get("nodes") or []
        pairs = [(str(row.get("name") or row.get("label")), _first(row, "gradient", "gradient_norm")) for row in rows]
    elif isinstance(flow, Mapping):
        pairs = [(str(name), each) for name, each in flow.items()]
    elif isinstance(flow, Sequence):
        pairs = [(getattr(each, "label", None) or f"parameter {i}", each) for i, each in enumerate(flow)]
    else:
        raise DomainError(f"plot_gradient_flow: expected a dict, a list or a report, got {type(flow).__name__}.")
    found: dict[str, float | None] = {}
    for name, each in pairs:
        unique, count = name, 1
        while unique in found:
            count += 1
            unique = f"{name}#{count}"
        found[unique] = _size(each)
    return found


def _first(row: Mapping[str, Any], *names: str) -> Any:
    found = next((row[name] for name in names if row.get(name) is not None), None)
    return found.get("norm") if isinstance(found, Mapping) else found


def _size(each: Any) -> float | None:
    if isinstance(each, Value) or (
        hasattr(each, "grad") and hasattr(each, "data") and not isinstance(each, np.ndarray)
    ):
        each = each.grad
    if each is None:
        return None
    array = numbers_of(each)
    return abs(float(array)) if array.ndim == 0 else float(np.linalg.norm(array.ravel()))
