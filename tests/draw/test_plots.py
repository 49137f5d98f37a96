"""Plots by matplotlib: what is on the axes, and that parameters hold afterwards what they held before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import backlit as bl
from backlit.draw import plot_decision_boundary, plot_gradient_flow, plot_loss, plot_loss_landscape

pytest.importorskip("matplotlib")


def test_a_loss_is_plotted_against_its_steps() -> None:
    (line,) = plot_loss([3.0, 2.0, 1.0]).axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 3], [1, 2], [2, 1]])


def test_several_runs_have_a_legend_and_differ_without_colour() -> None:
    axes = plot_loss({"train": np.linspace(1, 0.5, 40), "validation": ([0, 20], [1.2, 0.9])}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "validation"]
    assert len({line.get_linestyle() for line in axes.lines}) == 2


@pytest.mark.parametrize(("losses", "scale"), [([100.0, 1.0], "log"), ([2.0, 1.0], "linear"), ([9.0, -1.0], "linear")])
def test_the_axis_is_logarithmic_where_it_shows_more(losses: list[float], scale: str) -> None:
    assert plot_loss(losses).axes.get_yscale() == scale


def test_a_loss_that_is_not_finite_is_marked() -> None:
    axes = plot_loss([1.0, float("nan"), 2.0]).axes
    assert axes.lines[1].get_xdata().tolist() == [1.0]
    assert axes.get_legend().get_texts()[0].get_text() == "not finite"


def test_values_can_be_plotted() -> None:
    assert plot_loss([bl.Value(2.0), bl.Value(1.0)]).axes.lines[0].get_ydata().tolist() == [2.0, 1.0]


def test_no_losses_are_refused() -> None:
    with pytest.raises(bl.DomainError, match="no losses"):
        plot_loss([])


def test_a_layer_whose_gradient_vanishes_is_named() -> None:
    texts = [text.get_text() for text in plot_gradient_flow({"a": 1e-9, "b": 1.0, "c": 2.0, "d": None}).axes.texts]
    assert texts == [" 1e-09 vanishes", " 1", " 2", "no gradient"]


def test_gradient_flow_takes_parameters_and_arrays() -> None:
    w = bl.Value([3.0, 4.0], name="w")
    (w * w).sum().backward()
    axes = plot_gradient_flow([w]).axes
    assert axes.get_yticklabels()[0].get_text() == "w"
    assert axes.texts[0].get_text() == " 10"
    assert plot_gradient_flow({"w": np.array([3.0, 4.0])}).axes.texts[0].get_text() == " 5"


def test_gradient_flow_takes_a_report_of_health() -> None:
    w = bl.Value([[0.5, -0.25], [1.0, 2.0]], name="w")
    loss = bl.tanh(bl.asarray([[1.0, 2.0]]) @ w).sum()
    labels = [tick.get_text() for tick in plot_gradient_flow(bl.health(loss)).axes.get_yticklabels()]
    assert "w" in labels


def test_a_decision_boundary_circles_what_is_wrong() -> None:
    X = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 2.0]])
    chart = plot_decision_boundary(lambda points: points[:, 1], X, [1, 0, 0], resolution=20)
    assert chart.axes.get_title() == "67% of 3 right"
    np.testing.assert_array_equal(chart.axes.collections[-1].get_offsets(), [[1.0, 2.0]])


def test_a_decision_between_three_classes_takes_the_largest_score() -> None:
    X = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 3.0]])
    f = lambda points: bl.asarray(points) @ bl.Value([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])  # noqa: E731
    assert plot_decision_boundary(f, X, [0, 1, 2], resolution=20).axes.get_title() == "100% of 3 right"


def test_points_that_do_not_fit_are_refused() -> None:
    with pytest.raises(bl.ShapeError, match="it must be \\(n, 2\\)"):
        plot_decision_boundary(lambda x: x, np.zeros((3, 3)), [0, 0, 1])
    with pytest.raises(bl.ShapeError, match="2 points in X and 1 classes in y"):
        plot_decision_boundary(lambda x: x, np.zeros((2, 2)), [0])
    with pytest.raises(bl.ShapeError, match="f gave an array of shape"):
        plot_decision_boundary(lambda x: np.zeros(3), np.eye(2), [0, 1])


def test_a_loss_landscape_goes_through_the_present_loss_and_puts_the_parameters_back() -> None:
    w = bl.Parameter([1.0, -2.0], name="w")
    before = w.data.copy()
    chart = plot_loss_landscape(lambda: (w * w).sum(), [w], 1, resolution=11)
    np.testing.assert_array_equal(w.data, before)
    assert chart.axes.lines[0].get_ydata()[5] == pytest.approx(5.0)


def test_parameters_are_put_back_if_the_loss_raises() -> None:
    w = bl.Parameter(2.0)
    calls = []

    def loss() -> bl.Value:
        calls.append(w.data)
        if len(calls) == 3:
            raise RuntimeError("broken")
        return w * w

    with pytest.raises(RuntimeError, match="broken"):
        plot_loss_landscape(loss, [w], 1)
    assert w.data == 2.0


def test_two_directions_make_a_map(tmp_path: Path) -> None:
    w = bl.Parameter([[1.0, 2.0], [0.5, -1.0]])
    ways = [[np.eye(2)], [np.ones((2, 2))]]
    chart = plot_loss_landscape(lambda: (w * w).sum(), [w], ways, resolution=5)
    for ending in (".png", ".svg", ".pdf"):
        assert chart.save(tmp_path / f"x{ending}").stat().st_size > 1000


def test_directions_that_do_not_fit_are_refused() -> None:
    w = bl.Parameter([1.0, 2.0])
    with pytest.raises(bl.ShapeError, match="one array for each parameter"):
        plot_loss_landscape(lambda: w.sum(), [w], [[np.zeros(3)]])
    with pytest.raises(bl.DomainError, match="at least one"):
        plot_loss_landscape(lambda: 0.0, [])


def test_plots_can_be_drawn_on_axes_of_ones_own() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert plot_loss([1.0], ax=axes).axes is axes
