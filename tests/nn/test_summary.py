"""The table of a model: what stands in it, that it adds up, and that looking changes nothing."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from backlit import nn
from backlit.core.errors import ShapeError

X = np.ones((5, 8))


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(8, 32, key=0), nn.BatchNorm(32), nn.Sequential("relu", nn.Dropout(0.2)), nn.Linear(32, 3, key=1)
    )


class Slow(nn.Module):
    """Takes its time."""

    def forward(self, x: Any) -> Any:
        time.sleep(0.02)
        return x


class Twice(nn.Module):
    """Calls a module twice and gives a dict."""

    def __init__(self) -> None:
        self.inner = nn.Linear(8, 8, key=0)
        self.tied = nn.Linear(8, 8, key=0)
        self.tied.weight = self.inner.weight
        self.idle = nn.Linear(2, 2)

    def forward(self, x: Any, y: Any) -> Any:
        return {"a": self.tied(self.inner(x)), "b": (self.inner(y), 3.0)}


def test_sizes_stand_where_the_parameters_are_and_add_up() -> None:
    table = nn.summary(small())
    rows = {row.path: row for row in table.rows}
    assert list(rows) == ["", "layers.0", "layers.1", "layers.2", "layers.2.layers.0", "layers.2.layers.1", "layers.3"]
    assert (rows["layers.0"].parameters, rows["layers.1"].parameters, rows["layers.3"].parameters) == (288, 64, 99)
    assert rows["layers.1"].buffers == 65
    assert rows[""].parameters == rows["layers.2"].parameters == 0
    assert table.parameters == sum(p.size for p in small().parameters()) == 451
    assert table.bytes == 4 * 451 + (64 * 4 + 8) + (2 * 4 + 8)
    assert table.seconds is None
    assert rows["layers.0"].output is rows["layers.0"].seconds is rows["layers.0"].calls is None
    assert "output" not in str(table)
    assert "time" not in str(table)


def test_with_an_input_it_shows_shapes_and_shares_of_the_time() -> None:
    table = nn.summary(nn.Sequential(nn.Linear(8, 4, key=0), Slow()), X)
    rows = {row.path: row for row in table.rows}
    assert [row.output for row in table.rows] == ["(5, 4)"] * 3
    assert table.seconds == pytest.approx(sum(row.seconds or 0.0 for row in table.rows))
    assert rows["layers.1"].seconds is not None
    assert rows["layers.1"].seconds >= 0.02
    assert rows[""].seconds is not None
    assert rows[""].seconds < 0.02  # its own, not that of the modules in it
    assert str(table).splitlines()[0].split() == ["module", "class", "output", "parameters", "buffers", "bytes", "time"]
    shares = [float(line.split()[-2]) for line in str(table).splitlines() if line.endswith("%")]
    assert sum(shares) == pytest.approx(100.0, abs=0.3)


def test_shared_parameters_count_once_and_calls_are_counted() -> None:
    table = nn.summary(Twice(), X, X[:2])
    rows = {row.path: row for row in table.rows}
    assert (rows["inner"].parameters, rows["tied"].parameters) == (72, 8)
    assert (rows["inner"].calls, rows["tied"].calls, rows["idle"].calls) == (2, 1, 0)
    assert rows[""].output == "[(5, 8), [(2, 8), float]]"
    assert "Linear ×2" in str(table)
    assert "not called" in str(table)


def test_the_network_of_single_values_has_a_table_too() -> None:
    table = nn.summary(nn.scalars.MLP(2, [2, 1], key=0), [1.0, 2.0])
    rows = {row.path: row for row in table.rows}
    assert table.parameters == 9
    assert (rows["layers.0"].output, rows["layers.1.neurons.0"].output) == ("[(), ()]", "()")


def test_looking_changes_nothing() -> None:
    model = small()
    model[1].eval()
    before, modes = model.state_dict(), [m.training for m in model.modules()]
    own = [set(vars(m)) for m in model.modules()]
    nn.summary(model, X)
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert [m.training for m in model.modules()] == modes
    assert [set(vars(m)) for m in model.modules()] == own
    with pytest.raises(ShapeError):
        nn.summary(model, X.T)
    assert [set(vars(m)) for m in model.modules()] == own
    assert [m.training for m in model.modules()] == modes


def test_a_notebook_gets_a_table_of_html() -> None:
    page = nn.summary(small(), X)._repr_html_()
    assert page.startswith("<table>")
    assert page.count("<tr>") == 7 + 2
    assert "<td" in page
    assert "288" in page
    assert repr(nn.summary(small())) == str(nn.summary(small()))
