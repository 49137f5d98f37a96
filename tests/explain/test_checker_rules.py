"""The checker's own arithmetic, against mpmath at many digits: its ranges hold the truth, and little else."""

import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlit.explain.checker.ranges import DOWN, NEAR, UP, OutsideError, Range, VagueError, between, order, rational
from backlit.explain.checker.rules import OF_MANY, RULES, partials_of, value_of

mp = mpmath.mp.clone()
mp.dps = 120

Numbers = Callable[[random.Random], float]


def anywhere(rng: random.Random) -> float:
    return rng.choice([rng.uniform(-3, 3), rng.uniform(-40, 40), rng.uniform(-1, 1) * 10 ** rng.uniform(-12, 0)])


def positive(rng: random.Random) -> float:
    return abs(anywhere(rng)) or 1.0


def inside_one(rng: random.Random) -> float:
    return rng.choice([rng.uniform(-1, 1), rng.uniform(-1e-9, 1e-9), 1 - rng.uniform(0, 1e-9)])


def above_one(rng: random.Random) -> float:
    return 1 + positive(rng)


def small(rng: random.Random) -> float:
    return rng.uniform(-6, 6)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def gelu_tanh(x: Any) -> Any:
    return x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(44715) / 1000000 * x**3))) / 2


TRUTH: dict[str, tuple[Callable[..., Any], tuple[Numbers, ...]]] = {
    "sqrt": (mp.sqrt, (positive,)),
    "hypot": (lambda a, b: mp.sqrt(a * a + b * b), (anywhere, anywhere)),
    "pow": (mp.power, (positive, small)),
    "exp": (mp.exp, (anywhere,)),
    "expm1": (mp.expm1, (anywhere,)),
    "log": (mp.log, (positive,)),
    "log1p": (mp.log1p, (positive,)),
    "log2": (lambda x: mp.log(x) / mp.log(2), (positive,)),
    "log10": (mp.log10, (positive,)),
    "logaddexp": (lambda a, b: mp.log(mp.exp(a) + mp.exp(b)), (anywhere, anywhere)),
    "sin": (mp.sin, (anywhere,)),
    "cos": (mp.cos, (anywhere,)),
    "tan": (mp.tan, (anywhere,)),
    "asin": (mp.asin, (inside_one,)),
    "acos": (mp.acos, (inside_one,)),
    "atan": (mp.atan, (anywhere,)),
    "atan2": (mp.atan2, (anywhere, anywhere)),
    "sinh": (mp.sinh, (anywhere,)),
    "cosh": (mp.cosh, (anywhere,)),
    "tanh": (mp.tanh, (anywhere,)),
    "asinh": (mp.asinh, (anywhere,)),
    "acosh": (mp.acosh, (above_one,)),
    "atanh": (mp.atanh, (inside_one,)),
    "sigmoid": (sigmoid, (anywhere,)),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), (anywhere,)),
    "silu": (lambda x: x * sigmoid(x), (anywhere,)),
    "erf": (mp.erf, (small,)),
    "gelu": (lambda x: x * mp.ncdf(x), (small,)),
    "gelu_tanh": (gelu_tanh, (small,)),
    "elu": (lambda x, a: x if x > 0 else a * mp.expm1(x), (anywhere, positive)),
    "leaky_relu": (lambda x, a: x if x > 0 else a * x, (anywhere, positive)),
    "relu": (lambda x: max(x, 0), (anywhere,)),
    "abs": (abs, (anywhere,)),
    "add": (lambda a, b: a + b, (anywhere, anywhere)),
    "subtract": (lambda a, b: a - b, (anywhere, anywhere)),
    "multiply": (lambda a, b: a * b, (anywhere, anywhere)),
    "divide": (lambda a, b: a / b, (anywhere, positive)),
    "negative": (lambda x: -x, (anywhere,)),
    "identity": (lambda x: x, (anywhere,)),
    "square": (lambda x: x * x, (anywhere,)),
    "reciprocal": (lambda x: 1 / x, (positive,)),
    "remainder": (lambda a, b: a - b * mp.floor(a / b), (anywhere, positive)),
    "maximum": (max, (anywhere, anywhere)),
    "minimum": (min, (anywhere, anywhere)),
    "clip": (lambda x, low, high: min(max(x, low), high), (anywhere, anywhere, anywhere)),
    "copysign": (lambda a, b: abs(a) * mp.sign(b), (anywhere, anywhere)),
    "sum": (lambda *xs: mp.fsum(xs), (anywhere,) * 4),
    "dot": (lambda a, b, c, d: a * b + c * d, (anywhere,) * 4),
    "prod": (lambda *xs: mp.fprod(xs), (anywhere,) * 4),
    "max": (max, (anywhere,) * 4),
    "min": (min, (anywhere,) * 4),
    "logsumexp": (lambda *xs: mp.log(mp.fsum(map(mp.exp, xs))), (anywhere,) * 4),
}
STEPS = {  # jumps, logic: checked below, one by one
    "stop_gradient", "where", "sign", "floor", "ceil", "trunc", "round", "floor_divide", "greater", "greater_equal",
    "less", "less_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_xor", "logical_not",
}  # fmt: skip


@pytest.fixture(autouse=True)
def forty_digits():
    DOWN.prec = UP.prec = NEAR.prec = 40


def point(x: float) -> Range:
    return Range(Fraction(x))


def exactly(x: Decimal) -> Any:
    sign, digits, exponent = x.as_tuple()
    number = mp.mpf(int("".join(map(str, digits)))) * mp.mpf(10) ** exponent
    return -number if sign else number


def holds(found: Range, truth: Any, share: float = 1e-25, least: float = 1e-37) -> bool:
    low, high = exactly(found.lo), exactly(found.hi)
    margin = abs(truth) * mp.mpf(10) ** -110
    return low - margin <= truth <= high + margin and high - low <= share * abs(truth) + least


def test_every_rule_is_tested():
    assert TRUTH.keys() | STEPS == RULES.keys() | OF_MANY


@pytest.mark.parametrize("op", TRUTH)
def test_the_range_of_a_value_and_of_its_partials_holds_the_truth(op: str):
    truth, domains = TRUTH[op]
    rng = random.Random(op)
    for _ in range(25):
        numbers = [domain(rng) for domain in domains]
        xs = [point(x) for x in numbers]
        y = value_of(op, xs)
        exact = [mp.mpf(x) for x in numbers]
        right = truth(*exact)
        assert holds(y, right), (op, numbers)
        steps = [mp.mpf(10) ** -40 * max(1, abs(x)) for x in exact]
        for i, partial in enumerate(partials_of(op, y, xs, [True] * len(xs))):
            ahead, behind = list(exact), list(exact)
            ahead[i], behind[i] = exact[i] + steps[i], exact[i] - steps[i]
            slope = (truth(*ahead) - truth(*behind)) / (2 * steps[i])
            found = partial or rational(0)  # nothing flows
            middle = (exactly(found.lo) + exactly(found.hi)) / 2
            assert abs(middle - slope) <= mp.mpf(10) ** -20 * (1 + abs(slope)), (op, numbers, i)


@pytest.mark.parametrize(
    ("op", "numbers", "value"),
    [
        ("floor", [-1.5], -2), ("ceil", [-1.5], -1), ("trunc", [-1.5], -1), ("round", [2.5], 2), ("round", [-0.5], 0),
        ("sign", [-3.0], -1), ("floor_divide", [-7.0, 2.0], -4), ("stop_gradient", [3.0], 3),
        ("where", [1.0, 5.0, 7.0], 5), ("where", [0.0, 5.0, 7.0], 7),
        ("greater", [1.0, 2.0], 0), ("greater_equal", [2.0, 2.0], 1), ("less", [1.0, 2.0], 1),
        ("less_equal", [2.0, 2.0], 1), ("equal", [2.0, 2.0], 1), ("not_equal", [2.0, 2.0], 0),
        ("logical_and", [1.0, 0.0], 0), ("logical_or", [1.0, 0.0], 1), ("logical_xor", [1.0, 1.0], 0),
        ("logical_not", [0.0], 1),
        ("pow", [0.0, 0.0], 1), ("pow", [-2.0, 3.0], -8), ("pow", [0.0, 2.5], 0), ("pow", [-1.0, 1e300], 1),
        ("pow", [2.0, -2.0], 0.25), ("relu", [0.0], 0), ("sum", [], 0), ("prod", [], 1), ("atan2", [0.0, 2.0], 0),
        ("sqrt", [2.25], 1.5), ("exp", [0.0], 1), ("log", [1.0], 0), ("cos", [0.0], 1), ("asin", [0.0], 0),
    ],
)  # fmt: skip
def test_rational_results_are_exact(op: str, numbers: list[float], value: float):
    assert value_of(op, [point(x) for x in numbers]).exact == Fraction(value)


@pytest.mark.parametrize(
    ("op", "numbers", "partials"),
    [
        ("relu", [0.0], [None]), ("abs", [0.0], [0]), ("leaky_relu", [0.0, 0.25], [0.25, 0]),
        ("elu", [0.0, 0.5], [0.5, 0]), ("maximum", [2.0, 2.0], [0.5, 0.5]), ("minimum", [1.0, 2.0], [1, None]),
        ("max", [2.0, 1.0, 2.0], [0.5, None, 0.5]), ("clip", [1.0, 1.0, 3.0], [1, None, None]),
        ("clip", [2.0, 3.0, 1.0], [None, None, 1]), ("where", [1.0, 5.0, 7.0], [None, 1, None]),
        ("pow", [0.0, 0.0], [0, 0]), ("hypot", [0.0, 0.0], [0, 0]), ("floor", [1.0], [0]),
        ("stop_gradient", [1.0], [None]), ("greater", [1.0, 0.0], [None, None]), ("prod", [0.0, 2.0, 0.0], [0, 0, 0]),
        ("prod", [0.0, 2.0, 3.0], [6, 0, 0]),
    ],
)  # fmt: skip
def test_conventions_at_kinks_are_the_stated_ones(op: str, numbers: list[float], partials: list[float | None]):
    xs = [point(x) for x in numbers]
    found = partials_of(op, value_of(op, xs), xs, [True] * len(xs))
    assert [None if p is None else p.exact for p in found] == partials


@pytest.mark.parametrize(
    ("op", "numbers"),
    [
        ("log", [0.0]),
        ("log", [-1.0]),
        ("sqrt", [-1.0]),
        ("divide", [1.0, 0.0]),
        ("pow", [-2.0, 0.5]),
        ("pow", [0.0, -1.0]),
    ],
)
def test_what_has_no_value_has_none(op: str, numbers: list[float]):
    with pytest.raises(OutsideError):
        value_of(op, [point(x) for x in numbers])


@pytest.mark.parametrize(
    ("op", "x"), [("sin", 1e300), ("gelu", -30.0), ("erf", 1e200), ("tanh", 1e8), ("exp", -1e6), ("sigmoid", -1e9)]
)
def test_far_out_a_range_is_wide_or_right_but_never_wrong(op: str, x: float):
    try:
        found = value_of(op, [point(x)])
    except VagueError:
        return
    if op == "erf":
        assert found.lo <= 1 <= found.hi
        return
    with mpmath.workdps(400):
        truth = TRUTH[op][0](mp.mpf(x))
    assert exactly(found.lo) <= truth <= exactly(found.hi)


ends = st.fractions(-50, 50, max_denominator=64)


@settings(max_examples=200)
@given(a=st.tuples(ends, ends), b=st.tuples(ends, ends), s=st.fractions(0, 1), t=st.fractions(0, 1))
def test_arithmetic_of_ranges_holds_that_of_their_members(a, b, s, t):
    DOWN.prec = UP.prec = NEAR.prec = 3  # so few that every result is rounded
    try:
        first, second = sorted(a), sorted(b)
        x, y = first[0] + s * (first[1] - first[0]), second[0] + t * (second[1] - second[0])
        left = between(Range(first[0]).lo, Range(first[1]).hi)
        right = between(Range(second[0]).lo, Range(second[1]).hi)
        for found, truth in ((left + right, x + y), (left - right, x - y), (left * right, x * y), (-left, -x)):
            assert Fraction(found.lo) <= truth <= Fraction(found.hi)
        try:
            quotient = left / right
        except VagueError:
            assert second[0] <= 0 <= second[1] or right.lo <= 0 <= right.hi
        else:
            assert Fraction(quotient.lo) <= x / y <= Fraction(quotient.hi)
    finally:
        DOWN.prec = UP.prec = NEAR.prec = 40


def test_numbers_that_cannot_be_told_apart_are_not_ordered():
    third = rational(1) / rational(3)
    fuzzy = between(third.lo, third.hi)
    with pytest.raises(VagueError):
        order(fuzzy, third)
    assert order(fuzzy, fuzzy) == 0  # one number, whatever it is
