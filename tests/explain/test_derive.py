from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.explain.derive import DeriveError, derive
from backlit.explain.simplify import cost, simplify
from backlit.explain.source import python
from backlit.explain.term_text import latex, text
from backlit.explain.terms import Term, add, apply, multiply, number, power, symbol

TEXTBOOK = [
    (lambda x: x**2 * bl.sin(x), "2 * x * sin(x) + x**2 * cos(x)"),
    (lambda x, w, b: bl.tanh(w * x + b), "w * (1 - tanh(w * x + b)**2)"),
    (lambda x: bl.log(1 + bl.exp(x)), "sigmoid(x)"),
    (lambda x: bl.log1p(bl.exp(x)), "sigmoid(x)"),
    (lambda x: bl.softplus(x), "sigmoid(x)"),
    (lambda x: 1 / (1 + bl.exp(-x)), "sigmoid(x) * (1 - sigmoid(x))"),
    (lambda x: bl.sigmoid(x), "sigmoid(x) * (1 - sigmoid(x))"),
    (lambda x: x / (1 + x**2), "(1 - x**2) / (x**2 + 1)**2"),
    (lambda x: bl.exp(-(x**2) / 2), "-x * exp(-x**2 / 2)"),
    (lambda x: x**3 - 2 * x + 1, "3 * x**2 - 2"),
    (lambda x: bl.sqrt(1 + x * x), "x / sqrt(x**2 + 1)"),
    (lambda x: bl.sqrt(x), "1 / (2 * sqrt(x))"),
    (lambda x: 1 / x, "-1 / x**2"),
    (lambda x: x * bl.log(x) - x, "log(x)"),
    (lambda x: bl.log(bl.cosh(x)), "tanh(x)"),
    (lambda x: bl.tan(x), "1 + tan(x)**2"),
    (lambda x: bl.asin(x), "1 / sqrt(1 - x**2)"),
    (lambda x: bl.erf(x), "2 * exp(-x**2) / sqrt(pi)"),
    (lambda x: bl.log2(x), "1 / (x * log(2))"),
    (lambda x: (x - 1) * (x + 1), "2 * x"),
    (lambda x: abs(x), "sign(x)"),
    (lambda x: bl.relu(x), "where(x > 0, 1, 0)"),
    (lambda x: bl.where(x > 1, x * x, 3 * x), "where(x > 1, 2 * x, 3)"),
    (lambda x: bl.clip(x, -1.0, 1.0), "where(x >= -1 and x <= 1, 1, 0)"),
    (lambda x, y: x**y, "y * x**(y - 1)"),
    (lambda p, y: -(y * bl.log(p) + (1 - y) * bl.log(1 - p)), "(p - y) / (p * (1 - p))"),
    (lambda z, y: bl.softplus(z) - y * z, "sigmoid(z) - y"),
    (lambda p, y: (p - y) ** 2, "2 * (p - y)"),
    (lambda a, b: (a - b) / (a + b), "2 * b / (a + b)**2"),
    (lambda x: np.tanh(x) * 0.1, "0.1 * (1 - tanh(x)**2)"),
    (lambda x: 5.0, "0"),
    (lambda x: x % 2, "1"),
]


@pytest.mark.parametrize(("f", "expected"), TEXTBOOK, ids=[expected for _, expected in TEXTBOOK])
def test_the_derivative_reads_as_in_a_textbook(f, expected):
    found = derive(f)
    assert found.expression == expected
    assert found.checked > 0


def test_each_argument_can_be_asked_for():
    def f(a, b, c, d):
        return (a * b + c) * d

    assert [found.expression for found in derive(f, ("a", "b", "c", "d"))] == ["b * d", "a * d", "d", "a * b + c"]
    assert str(derive(f, "d")) == "d/dd [(a * b + c) * d] = a * b + c"
    assert derive(f, -1)(2.0, -3.0, 10.0, -2.0) == 4.0


def test_higher_orders():
    assert derive(lambda x: x**4, order=2).expression == "12 * x**2"
    assert derive(lambda x: bl.sin(x), order=4).expression == "sin(x)"


@pytest.mark.parametrize(("f", "_"), TEXTBOOK, ids=[expected for _, expected in TEXTBOOK])
def test_the_source_runs_with_numpy_alone(f, _):
    found = derive(f)
    namespace: dict = {}
    exec(compile(found.source(), "derived", "exec"), namespace)
    assert "backlit" not in found.source()
    function = next(g for name, g in namespace.items() if name.startswith("d") and callable(g))
    points = np.linspace(0.2, 0.8, 5)
    others = [np.full(5, 0.3 + 0.1 * k) for k in range(len(found.arguments) - 1)]
    values = np.asarray(function(points, *others))
    expected = [
        bl.grad(lambda x, *rest: f(x, *rest) + 0.0 * x)(float(p), *(float(o[0]) for o in others)).data for p in points
    ]
    np.testing.assert_allclose(np.broadcast_to(values, 5), expected, rtol=1e-9)


def test_it_can_be_called_with_arrays():
    found = derive(lambda x: bl.log(1 + bl.exp(x)))
    np.testing.assert_allclose(found(np.array([-800.0, 0.0, 800.0])), [0.0, 0.5, 1.0])
    assert derive(lambda x: 3 * x)(np.ones(4)).shape == (4,)
    with pytest.raises(DeriveError, match="takes 1 argument"):
        found(1.0, 2.0)


def test_latex():
    assert derive(lambda x: x / (1 + x**2)).latex() == r"\frac{1 - x^{2}}{\left(x^{2} + 1\right)^{2}}"
    assert derive(lambda x: bl.sqrt(x)).latex() == r"\frac{1}{2 \, \sqrt{x}}"
    assert r"\begin{cases}" in derive(lambda x: bl.relu(x)).latex()
    assert derive(lambda x: bl.sin(x))._repr_latex_().startswith("$")


def test_a_convention_at_a_kink_is_named():
    found = derive(lambda x: bl.maximum(x, 0.0))
    assert found.expression == "where(x >= 0, 1, 0)"
    assert "0.5" in found.conventions[0]
    assert "Convention: where x == 0" in str(found)


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x: x if x > 0 else -x, "asks for the number"),
        (lambda x: math.sin(x), "asks for the number"),
        (lambda x: bl.sum(x), "not elementwise"),
        (lambda x: x * np.ones(3), "array of shape"),
        (lambda *x: x[0], "how many arguments"),
        (lambda: 1.0, "nothing varies"),
        (lambda x: bl.stop_gradient(x) * x, "stops the gradient"),
        (lambda x: "no", "returned str"),
    ],
    ids=["if", "math", "sum", "array", "star", "none", "stop", "text"],
)
def test_what_no_formula_says_is_refused_by_name(f, reason):
    with pytest.raises(DeriveError, match=reason):
        derive(f)


def test_an_unknown_argument_is_refused():
    with pytest.raises(DeriveError, match="the arguments are a, b"):
        derive(lambda a, b: a * b, "c")


def test_a_wrong_rule_cannot_slip_through():
    liar = bl_op("liar", lambda x: x * x, [lambda y, x: 2 * x])
    calls = []

    def changes(x):
        calls.append(1)
        return liar(x) if len(calls) == 1 else 3.0 * x

    with pytest.raises(DeriveError, match="differs from the engine"):
        derive(changes)


def bl_op(name, evaluate, partials):
    from backlit.ops.custom import op

    return op(name, evaluate, partials=partials)


def test_an_op_of_the_users_own_has_a_formula_and_can_be_called():
    cube = bl_op("cube", lambda x: x * x * x, [lambda y, x: 3 * x * x])
    found = derive(lambda x: cube(x) * x)
    assert found.expression == "cube(x) + 3 * x**3"
    assert found(2.0) == 32.0
    with pytest.raises(DeriveError, match="`cube`"):
        found.source()


def test_it_is_plain_data():
    data = json.loads(json.dumps(derive(lambda x: bl.tanh(x)).to_dict()))
    assert data["schema"] == "backlit.derived/1"
    assert data["expression"] == "1 - tanh(x)**2"


# -- random expressions --------------------------------------------------------------------------------------

SYMBOLS = st.sampled_from([symbol("x"), symbol("y")])
NUMBERS = st.sampled_from([number(n) for n in (-2, -1, 0, 1, 2, 3)] + [number(0.5), number(0.1)])


def grown(children):
    pairs = st.tuples(children, children)
    one = ("sin", "cos", "tanh", "sigmoid", "exp", "abs", "negative", "square", "relu", "cosh", "sinh", "softplus")
    return st.one_of(
        pairs.map(lambda p: ("add", p)),
        pairs.map(lambda p: ("subtract", p)),
        pairs.map(lambda p: ("multiply", p)),
        pairs.map(lambda p: ("divide", p)),
        st.tuples(st.sampled_from(one), st.tuples(children)),
        st.tuples(children, st.sampled_from([2, 3, -1, -2])).map(lambda p: ("pow", (p[0], number(p[1])))),
    )


EXPRESSIONS = st.recursive(st.one_of(SYMBOLS, NUMBERS), grown, max_leaves=9)
NUMPY = {
    **{name: getattr(np, name) for name in (
        "add", "subtract", "multiply", "divide", "negative", "square", "sin", "cos", "tanh",
        "exp", "abs", "cosh", "sinh",
    )},
    "pow": lambda a, b: np.power(a, b),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(0, x),
}  # fmt: skip


def built(tree):
    if isinstance(tree, Term):
        return tree
    name, args = tree
    return apply(name, [built(arg) for arg in args])


def computed(tree, env):
    if isinstance(tree, Term):
        return env[tree.value] if tree.head == "symbol" else np.float64(float(tree.value))
    name, args = tree
    return NUMPY[name](*(computed(arg, env) for arg in args))


def run(term, env):
    namespace: dict = {}
    exec(compile(python(term, ["x", "y"], "f"), "term", "exec"), namespace)
    return namespace["f"](env["x"], env["y"])


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_a_simplified_expression_has_the_numbers_of_the_original(tree):
    rng = np.random.default_rng(1)
    env = {"x": rng.uniform(0.3, 1.7, 6), "y": rng.uniform(-1.6, -0.2, 6)}
    with np.errstate(all="ignore"):
        expected = np.broadcast_to(np.asarray(computed(tree, env), float), 6)
        try:
            term = built(tree)
            simple = simplify(term)
        except ZeroDivisionError:
            assume(False)
        found = np.broadcast_to(np.asarray(run(simple, env), float), 6)
    fine = np.isfinite(expected) & (np.abs(expected) < 1e6)
    assume(fine.any())
    scale = np.maximum(np.abs(expected[fine]), 1.0)
    with np.errstate(all="ignore"):
        steep = magnitude(tree, env)
    assert np.all(np.abs(found[fine] - expected[fine]) <= 1e-9 * np.maximum(scale, steep[fine])), text(simple)
    assert cost(simple) <= cost(term) + 1e-9
    assert text(simple)
    assert latex(simple)


def magnitude(tree, env):
    """The largest number met on the way: what rounding is measured by."""
    if isinstance(tree, Term):
        return np.broadcast_to(np.abs(np.asarray(computed(tree, env), float)), 6)
    own = np.broadcast_to(np.abs(np.asarray(computed(tree, env), float)), 6)
    largest = own
    for arg in tree[1]:
        largest = np.fmax(largest, magnitude(arg, env))
    return np.where(np.isfinite(largest), largest, np.inf)


def test_like_terms_powers_and_exponentials_are_collected():
    x, y = symbol("x"), symbol("y")
    assert add(x, x, y, multiply(number(-1), y)) == multiply(number(2), x)
    assert multiply(x, power(x, number(2)), power(x, number(-3))) == number(1)
    assert multiply(apply("exp", [x]), apply("exp", [y])) == apply("exp", [add(x, y)])
    assert add(power(apply("sin", [x]), number(2)), power(apply("cos", [x]), number(2))) == number(1)
    assert apply("log", [apply("exp", [x])]) == x


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS)
def test_random_functions_are_derived_or_refused_but_never_wrong(tree):
    names = {"negative": lambda a: -a, "abs": abs, "square": lambda a: a * a, "divide": lambda a, b: a / b,
             "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
             "pow": lambda a, b: a**b}  # fmt: skip

    def value_of(tree, x, y):
        if isinstance(tree, Term):
            return {"x": x, "y": y}[tree.value] if tree.head == "symbol" else float(tree.value)
        name, args = tree
        args = [value_of(arg, x, y) for arg in args]
        if not any(isinstance(arg, bl.Value) for arg in args):
            args = [bl.asarray(arg) for arg in args]
        return (names.get(name) or getattr(bl, name))(*args)

    try:
        found = derive(lambda x, y: value_of(tree, x, y))
    except (DeriveError, ZeroDivisionError):
        return
    assert found.expression
    assert found.latex()
