"""Plots over a plane, by matplotlib (the extra `plot`): what a classifier decides, and the loss around its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.core.errors import DomainError, ShapeError
from backlit.core.state import no_grad
from backlit.core.value import Value
from backlit.draw.charts import COLOURS, MARKERS, Chart
from backlit.draw.missing import matplotlib
from backlit.draw.plots import Floats, numbers_of


def plot_decision_boundary(
    f: Callable[[Any], Any],
    X: Any,
    y: Any,
    *,
    threshold: float | None = None,
    resolution: int = 160,
    ax: Any = None,
    title: str = "",
) -> Chart:
    """What a classifier says of every point of the plane, and the points that it learned from.

    f: takes an array of points, (n, 2), and gives a score a point, (n,) or (n, 1), or one a class, (n, k). X: points,
    (n, 2). y: their classes, two or more of any kind. threshold: where the decision between two classes turns; by
    default 0.5 if all scores are from 0 to 1, else 0. Points that are on the wrong side are circled.

    Raises ShapeError if `X` is not (n, 2), or `y` or the scores do not fit it.
    """
    points = numbers_of(X)
    labels = np.asarray(y.data if isinstance(y, Value) else y).reshape(-1)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ShapeError(f"plot_decision_boundary: X has shape {points.shape}; it must be (n, 2), points of a plane.")
    if len(labels) != len(points):
        raise ShapeError(f"plot_decision_boundary: there are {len(points)} points in X and {len(labels)} classes in y.")
    classes = np.unique(labels)
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.12 * np.where(high > low, high - low, 1.0)
    xs, ys = (np.linspace(low[i] - room[i], high[i] + room[i], resolution) for i in (0, 1))
    plane = np.stack(np.meshgrid(xs, ys), axis=-1)
    scores = _scores(f, plane.reshape(-1, 2))
    own = _scores(f, points)
    chart = Chart(ax, (5.4, 4.6))
    axes = chart.axes
    axes.grid(False)
    colors = matplotlib("a plot")("colors")
    if scores.shape[1] == 1:
        if len(classes) > 2:
            raise ShapeError(
                f"plot_decision_boundary: there are {len(classes)} classes in y, and f gives one score a point. For "
                "more than two classes it must give one score for each, (n, k)."
            )
        if threshold is None:
            every = np.concatenate([scores, own])
            threshold = 0.5 if every.min() >= 0 and every.max() <= 1 else 0.0
        surface = scores.reshape(resolution, resolution)
        reach = float(np.abs(surface - threshold).max()) or 1.0
        shades = colors.LinearSegmentedColormap.from_list("", [COLOURS[0], "#ffffff", COLOURS[1]])
        axes.pcolormesh(
            xs,
            ys,
            surface,
            cmap=shades,
            vmin=threshold - reach,
            vmax=threshold + reach,
            alpha=0.45,
            shading="auto",
            rasterized=True,
        )
        if surface.min() < threshold < surface.max():
            axes.contour(xs, ys, surface, levels=[threshold], colors="#1b1f24", linewidths=1.5)
        decided = (own[:, 0] > threshold).astype(int)
    else:
        best = scores.argmax(axis=1).reshape(resolution, resolution)
        shades = colors.ListedColormap([COLOURS[i % len(COLOURS)] for i in range(scores.shape[1])])
        axes.pcolormesh(
            xs, ys, best, cmap=shades, vmin=-0.5, vmax=scores.shape[1] - 0.5, alpha=0.3, shading="auto", rasterized=True
        )
        for i in range(scores.shape[1]):
            axes.contour(xs, ys, (best == i).astype(float), levels=[0.5], colors="#1b1f24", linewidths=0.8)
        decided = own.argmax(axis=1)
    whole = (
        scores.shape[1] > 1
        and np.issubdtype(classes.dtype, np.integer)
        and classes.min() >= 0
        and classes.max() < scores.shape[1]
    )
    places = {kind: int(kind) if whole else i for i, kind in enumerate(classes)}
    for kind, i in places.items():
        mine = labels == kind
        axes.scatter(*points[mine].T, color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], s=28,
                     edgecolors="white", linewidths=0.7, label=str(kind), zorder=3)  # fmt: skip
    wrong = decided != np.array([places[kind] for kind in labels])
    if wrong.any():
        axes.scatter(
            *points[wrong].T, facecolors="none", edgecolors="#1b1f24", s=95, linewidths=1.2, zorder=4, label="wrong"
        )
    axes.legend(frameon=True, framealpha=0.8, edgecolor="none")
    axes.set(title=title or f"{np.mean(~wrong):.0%} of {len(points)} right")
    return chart


def _scores(f: Callable[[Any], Any], points: Floats) -> Floats:
    with no_grad():
        found = f(points)
    scores = numbers_of(found)
    scores = scores[:, None] if scores.ndim == 1 else scores
    if scores.ndim != 2 or len(scores) != len(points):
        raise ShapeError(
            f"plot_decision_boundary: for {len(points)} points f gave an array of shape {numbers_of(found).shape}; "
            f"it must be ({len(points)},) or ({len(points)}, classes)."
        )
    return scores


def plot_loss_landscape(
    f: Callable[[], Any],
    params: Sequence[Value],
    directions: Sequence[Any] | int = 2,
    *,
    span: float = 1.0,
    resolution: int = 31,
    seed: int = 0,
    ax: Any = None,
    title: str = "",
) -> Chart:
    """The loss around the parameters, along one direction (a curve) or two (a map).

    f: takes nothing and gives the loss at the present values of the parameters. params: the variables that are moved;
    afterwards they hold what they held, whatever happens. directions: 1 or 2 for random ones, scaled to the size of
    the weights, column by column (Li et al. 2018, arXiv:1712.09913, section 4); or one or two lists with an array for
    each parameter. span: how far to go to each side.

    Raises ShapeError if a direction does not fit, DomainError if there are no parameters.
    Cost: `resolution` losses for a curve, and its square for a map.
    """
    parameters = list(params)
    if not parameters or not all(isinstance(p, Value) and p.op is None for p in parameters):
        raise DomainError("plot_loss_landscape: params must be a list of variables, and there must be at least one.")
    before = [np.array(p.data, np.float64) for p in parameters]
    ways = _directions(directions, before, seed)
    steps = np.linspace(-span, span, resolution)
    corners = [(a,) for a in steps] if len(ways) == 1 else [(a, b) for b in steps for a in steps]
    losses = []
    try:
        with no_grad():
            for corner in corners:
                for i, p in enumerate(parameters):
                    p.data = before[i] + sum(by * way[i] for by, way in zip(corner, ways, strict=True))
                losses.append(float(numbers_of(f())))
    finally:
        for p, data in zip(parameters, before, strict=True):
            p.data = data
    chart = Chart(ax, (5.6, 4.4))
    axes = chart.axes
    here = losses[len(losses) // 2] if resolution % 2 else None
    if len(ways) == 1:
        axes.plot(steps, losses, color=COLOURS[0], linewidth=1.8)
        if here is not None:
            axes.plot([0], [here], "o", color=COLOURS[1], label=f"now: {here:.4g}")
        axes.set(xlabel="step along the direction", ylabel="loss", title=title)
    else:
        surface = np.array(losses).reshape(resolution, resolution)
        axes.grid(False)
        filled = axes.contourf(steps, steps, _masked(surface), levels=24, cmap="cividis")
        axes.contour(steps, steps, _masked(surface), levels=12, colors="white", linewidths=0.5, alpha=0.7)
        chart.figure.colorbar(filled, ax=axes, label="loss")
        axes.plot([0], [0], "*", color=COLOURS[1], markeredgecolor="white", markersize=14,
                  label="now" if here is None else f"now: {here:.4g}")  # fmt: skip
        axes.set(xlabel="first direction", ylabel="second direction", title=title)
    axes.legend(frameon=True, framealpha=0.8, edgecolor="none")
    return chart


def _masked(surface: Floats) -> Any:
    return np.ma.masked_invalid(surface)


def _directions(wanted: Any, shapes: list[Floats], seed: int) -> list[list[Floats]]:
    if isinstance(wanted, int):
        if wanted not in (1, 2):
            raise DomainError(f"plot_loss_landscape: there can be 1 or 2 directions, got {wanted}.")
        rng = np.random.default_rng(seed)
        return [[_like(rng, data) for data in shapes] for _ in range(wanted)]
    ways = [[numbers_of(each) for each in way] for way in wanted]
    for way in ways:
        if [each.shape for each in way] != [data.shape for data in shapes]:
            raise ShapeError(
                f"plot_loss_landscape: a direction has arrays of shapes {[each.shape for each in way]}, and the "
                f"parameters have {[data.shape for data in shapes]}. Give one array for each parameter, of its shape."
            )
    if len(ways) not in (1, 2):
        raise DomainError(f"plot_loss_landscape: there can be 1 or 2 directions, got {len(ways)}.")
    return ways


def _like(rng: np.random.Generator, data: Floats) -> Floats:
    """A random direction that is as long as the parameter: column by column for a matrix, else as a whole."""
    way = rng.normal(size=data.shape)
    axes = (0,) if data.ndim == 2 else tuple(range(data.ndim))
    size, own = (np.sqrt(np.sum(each**2, axis=axes, keepdims=True)) for each in (data, way))
    return np.asarray(way * size / np.maximum(own, 1e-12)).reshape(data.shape)
