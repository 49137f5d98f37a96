"""micrograd's published interface, with `Value` imported from Backlit in its place."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backlit import Value

# -- the engine ----------------------------------------------------------------------------------------------


def test_the_doubles_are_exactly_those_of_the_lecture() -> None:
    assert Value(2.0).tanh().data == 0.9640275800758169
    assert Value(2.0).exp().data == 7.38905609893065


def test_every_operator_gives_the_number_and_both_gradients() -> None:
    cases: list[tuple[Callable[[Any, Any], Any], float, float, float]] = [
        (lambda a, b: a + b, -1.0, 1.0, 1.0),
        (lambda a, b: a - b, 5.0, 1.0, -1.0),
        (lambda a, b: a * b, -6.0, -3.0, 2.0),
        (lambda a, b: a / b, -2 / 3, -1 / 3, -2 / 9),
        (lambda a, b: b + a, -1.0, 1.0, 1.0),
        (lambda a, b: -a * -b, -6.0, -3.0, 2.0),
    ]
    for function, want, by_a, by_b in cases:
        a, b = Value(2.0), Value(-3.0)
        out = function(a, b)
        assert out.data == pytest.approx(want, rel=1e-15)
        out.backward()
        assert a.grad == pytest.approx(by_a, rel=1e-15)
        assert b.grad == pytest.approx(by_b, rel=1e-15)
        assert out.grad == 1.0


@pytest.mark.parametrize(
    ("function", "want", "slope"),
    [
        (lambda a: a + 1, 3.0, 1.0),
        (lambda a: 1 + a, 3.0, 1.0),
        (lambda a: a - 1, 1.0, 1.0),
        (lambda a: 1 - a, -1.0, -1.0),
        (lambda a: a * 3, 6.0, 3.0),
        (lambda a: 3 * a, 6.0, 3.0),
        (lambda a: a / 4, 0.5, 0.25),
        (lambda a: 4 / a, 2.0, -1.0),
        (lambda a: -a, -2.0, -1.0),
        (lambda a: a**3, 8.0, 12.0),
        (lambda a: a**-1, 0.5, -0.25),
        (lambda a: a**0.5, 2**0.5, 0.5 / 2**0.5),
        (lambda a: a.relu(), 2.0, 1.0),
        (lambda a: (-a).relu(), 0.0, 0.0),
        (lambda a: a + a, 4.0, 2.0),
        (lambda a: sum([a, a, a]), 6.0, 3.0),
        (lambda a: sum((w * a for w in (1.0, 2.0)), Value(0)), 6.0, 3.0),
    ],
)
def test_numbers_stand_on_either_side(function: Any, want: float, slope: float) -> None:
    a = Value(2.0)
    out = function(a)
    out.backward()
    assert out.data == pytest.approx(want, rel=1e-15)
    assert a.grad == pytest.approx(slope, rel=1e-15)


def test_the_neuron_of_the_lecture() -> None:
    x1, x2, w1, w2 = Value(2.0), Value(0.0), Value(-3.0), Value(1.0)
    b = Value(6.8813735870195432)
    n = x1 * w1 + x2 * w2 + b
    for o in (n.tanh(), ((2 * n).exp() - 1) / ((2 * n).exp() + 1)):
        for value in (x1, x2, w1, w2, b):
            value.grad = 0.0
        o.backward()
        assert o.data == pytest.approx(0.7071067811865476)
        assert [v.grad for v in (x1, w1, x2, w2)] == pytest.approx([-1.5, 1.0, 0.5, 0.0])


def test_a_whole_number_makes_a_variable_that_varies() -> None:
    b = Value(0)
    assert b.data == 0.0
    assert type(b.data) is float
    (b * 2 + 1).backward()
    assert b.grad == 2.0
    b.data -= 0.1 * b.grad
    assert b.data == -0.2


def test_gradients_can_be_set_to_zero_and_add_up_otherwise() -> None:
    a = Value(3.0)
    (a * a).backward()
    assert a.grad == 6.0
    a.grad = 0
    assert a.grad == 0.0
    (a * 2).backward()
    (a * 5).backward()
    assert a.grad == 7.0
    a.zero_grad()
    (a * 5).backward()
    assert a.grad == 5.0


def test_the_repr_shows_the_number_and_the_gradient() -> None:
    a = Value(2.0)
    (a * a).backward()
    assert "2.0" in repr(a)
    assert "grad=4.0" in repr(a)


def test_comparison_by_number() -> None:
    assert (Value(1.0).data > 0) is True
    assert Value(1.0) > 0
    assert max(Value(1.0), Value(3.0), Value(2.0)).data == 3.0
    assert sorted([Value(2.0), Value(1.0)], key=lambda v: v.data)[0].data == 1.0


# -- walking the graph, as its drawings do -------------------------------------------------------------------


def walk(root: Value) -> tuple[set[Value], set[tuple[Value, Value]]]:
    nodes: set[Value] = set()
    edges: set[tuple[Value, Value]] = set()

    def visit(value: Value) -> None:
        if value not in nodes:
            nodes.add(value)
            for source in value._prev:
                edges.add((source, value))
                visit(source)

    visit(root)
    return nodes, edges


def test_the_graph_can_be_walked() -> None:
    a, b = Value(2.0), Value(-3.0)
    c = a * b
    d = c + a
    d.backward()
    nodes, edges = walk(d)
    assert nodes == {a, b, c, d}
    assert edges == {(c, d), (a, d), (a, c), (b, c)}
    for node in nodes:
        assert "%.4f %.4f" % (node.data, node.grad)  # noqa: UP031 (as the drawings write it)
        assert bool(node._op) is bool(node._prev)
    assert a._prev == set()


# -- networks ------------------------------------------------------------------------------------------------


class Unit:
    """A unit, written as in the lecture: weights by `random`, a sum that begins with the bias."""

    def __init__(self, inputs: int, bends: bool) -> None:
        self.w = [Value(random.uniform(-1, 1)) for _ in range(inputs)]
        self.b = Value(0)
        self.bends = bends

    def __call__(self, x: Any) -> Value:
        act = sum((wi * xi for wi, xi in zip(self.w, x, strict=True)), self.b)
        return act.relu() if self.bends else act

    def parameters(self) -> list[Value]:
        return [*self.w, self.b]


class Net:
    def __init__(self, inputs: int, widths: list[int]) -> None:
        sizes = [inputs, *widths]
        self.layers = [
            [Unit(n, i < len(widths) - 1) for _ in range(m)]
            for i, (n, m) in enumerate(zip(sizes, widths, strict=False))
        ]

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = [unit(x) for unit in layer]
        return x[0] if len(x) == 1 else x

    def parameters(self) -> Iterator[Value]:
        return (p for layer in self.layers for unit in layer for p in unit.parameters())


def learn(model: Any, steps: int) -> list[float]:
    """The classic loop: margin loss and weight decay on two half-moons, by hand."""
    generator = random.Random(7)
    points = []
    for i in range(16):
        t, side = 3.14159 * i / 15, i % 2
        x = (1 - 2 * side) * (1 + 0.1 * generator.random()) * math.cos(t) + side
        y = (1 - 2 * side) * math.sin(t) + 0.5 * side
        points.append(([x, y], 1 - 2 * side))
    history = []
    for k in range(steps):
        scores = [model(list(map(Value, x))) for x, _ in points]
        losses = [(1 + -target * score).relu() for (_, target), score in zip(points, scores, strict=True)]
        total = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        for p in model.parameters():
            p.grad = 0
        total.backward()
        for p in model.parameters():
            p.data -= (0.2 - 0.1 * k / steps) * p.grad
        history.append(total.data)
    return history


def test_a_net_written_as_in_the_lecture_learns() -> None:
    random.seed(1337)
    history = learn(Net(2, [6, 6, 1]), 15)
    assert history[-1] < 0.8 * history[0]
    assert all(type(loss) is float for loss in history)


@pytest.mark.peers
def test_its_networks_run_on_our_values_and_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    nn = pytest.importorskip("micrograd.nn")
    engine = pytest.importorskip("micrograd.engine")
    results = []
    for kind in (engine.Value, Value):
        monkeypatch.setattr(nn, "Value", kind)
        monkeypatch.setitem(globals(), "Value", kind)
        random.seed(1337)
        model = nn.MLP(2, [8, 8, 1])
        assert len(model.parameters()) == 105
        assert all(isinstance(p, kind) for p in model.parameters())
        model.zero_grad()
        results.append(learn(model, 12))
    assert results[1] == pytest.approx(results[0], rel=1e-10)


# -- its own tests, in our words: the same graphs in another library -----------------------------------------


def first_graph(x: Any) -> tuple[Any, Any]:
    z = 2 * x + 2 + x
    q = z.relu() + z * x
    h = (z * z).relu()
    return x, h + q + q * x


def second_graph(a: Any, b: Any) -> Any:
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    return g + 10.0 / f


def test_the_first_graph() -> None:
    x, y = first_graph(Value(-4.0))
    y.backward()
    assert (y.data, x.grad) == (-20.0, 46.0)


def test_the_second_graph() -> None:
    a, b = Value(-4.0), Value(2.0)
    g = second_graph(a, b)
    g.backward()
    assert g.data == pytest.approx(24.70408163265306, rel=1e-14)
    assert a.grad == pytest.approx(138.83381924198252, rel=1e-14)
    assert b.grad == pytest.approx(645.5772594752186, rel=1e-14)


@pytest.mark.peers
def test_both_graphs_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for start in (-4.0, 0.7, 3.0):
        theirs = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        _, y = first_graph(theirs)
        y.backward()
        ours, z = first_graph(Value(start))
        z.backward()
        assert (z.data, ours.grad) == (y.item(), theirs.grad.item())
    for start in ((-4.0, 2.0), (1.5, -0.5)):
        pair = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in start]
        mine = [Value(each) for each in start]
        want, got = second_graph(*pair), second_graph(*mine)
        want.backward()
        got.backward()
        assert got.data == pytest.approx(want.item(), rel=1e-14)
        assert [m.grad for m in mine] == pytest.approx([p.grad.item() for p in pair], rel=1e-12)
