"""Compiled = eager, for every op in the table: values and gradients, in straight lines and in loops."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backlit.autodiff.reverse import pull_back
from backlit.autodiff.verify import draw, samples_of
from backlit.compiler import straight
from backlit.compiler.compile import compile
from backlit.compiler.lowering import rule_of
from backlit.compiler.scalars import MATH
from backlit.core import dtypes
from backlit.core.errors import BacklitError
from backlit.core.op import Constant, Elementwise, Op
from backlit.core.record import record
from backlit.core.value import INACTIVE, Value, constant, current, leaf
from backlit.ops.casting import ASTYPE
from backlit.ops.logic import BITWISE_LEFT_SHIFT, BITWISE_RIGHT_SHIFT
from backlit.ops.lowering import refused
from tests.test_op_table import ALL_OPS

NOT_COMPILED = {"nonzero": "its shape depends on numbers"}
COMPILED = [op for op in ALL_OPS if op.name not in NOT_COMPILED]
# In units in the last place of the largest number: a function within 2 of them, sums in another order, fused steps.
TOLERANCE = 64


def inputs_of(op: Op, seed: int) -> list[tuple[Any, list[Any]]]:
    """Attributes and arrays for each sample of an op, in both precisions."""
    rng = np.random.default_rng(seed)
    found = []
    for sample in samples_of(op):
        for name in ("float32", "float64"):
            domains = sample.domains or op.domains
            domains = (*domains, *[domains[-1]] * (len(sample.shapes) - len(domains)))
            datas = [draw(d, s, dtypes.ALL[name], rng) for d, s in zip(domains, sample.shapes, strict=False)]
            found.append((sample.attrs, datas))
    return found


def with_gradients(op: Op, cases: list[tuple[Any, list[Any]]]) -> Callable[..., Any]:
    """The function that gives, for each case, the result and the gradients of its sum with fixed weights."""

    def function(*groups: Any) -> list[Any]:
        results: list[Any] = []
        for (attrs, _), given in zip(cases, groups, strict=True):
            nodes = tuple(current(x) for x in given)
            y = record(op, nodes, attrs)
            results.append(y)
            wrt = [x for i, x in enumerate(nodes) if x._grad is not INACTIVE and op.rule(i) is not None]
            if y._grad is INACTIVE or not wrt:
                continue
            weights = np.cos(np.arange(max(y.size, 1)))[: y.size].reshape(y.shape).astype(y.dtype)
            seed = Value(weights if y.shape else weights[()], dtype=y.dtype)
            results += [ct for ct in pull_back([y], [seed], wrt) if ct is not None]
        return results

    return function


def assert_close(eager: Any, compiled: Any, what: str) -> None:
    a, b = np.asarray(eager.data), np.asarray(compiled.data)
    assert a.shape == b.shape, what
    assert eager.dtype == compiled.dtype, what
    if a.dtype.kind != "f":
        assert np.array_equal(a, b), f"{what}: {a} {b}"
        return
    scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
    unit = float(np.finfo(a.dtype).eps) * max(scale, float(np.finfo(a.dtype).tiny))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        near = np.abs(a.astype(np.float64) - b) <= TOLERANCE * unit
    assert bool(np.all(same | near)), f"{what}: {a} {b}"


@pytest.mark.parametrize("how", ["straight", "loops"])
@pytest.mark.parametrize("op", COMPILED, ids=str)
def test_a_compiled_op_gives_what_it_gives(op: Op, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "loops":
        monkeypatch.setattr(straight, "LIMIT", -1)
    cases = inputs_of(op, 0)
    function = with_gradients(op, cases)
    groups = [tuple(leaf(x) for x in datas) for _, datas in cases]
    eager, compiled = function(*groups), compile(function)(*groups)
    assert len(eager) == len(compiled)
    for k, (a, b) in enumerate(zip(eager, compiled, strict=True)):
        assert_close(a, b, f"{op.name}, result {k}")


def test_every_op_can_be_compiled_or_says_why_not() -> None:
    assert {op.name for op in ALL_OPS if rule_of(op) is refused} == set(NOT_COMPILED)
    assert math.isfinite(TOLERANCE)


# -- every pair of special numbers -----------------------------------------------------------------------------------

REAL = (
    "float64",
    "float32",
    "float16",
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
)
ELEMENTWISE = [op for op in ALL_OPS if isinstance(op, Elementwise) or (isinstance(op, Constant) and op.shape is None)]
LOOSE = {"gelu": 64, "logaddexp": 16, "silu": 16}
"""Where the eager one is further off than 4 units in the last place: it cancels, or ends among subnormal numbers."""
SIGNS_OF_ZERO_DIFFER = {"maximum", "minimum", "clip", "relu", "nextafter"}
"""0 and -0 are equal, so either may be the larger; and NumPy's float16 has its own view of what is beside 0."""


def special(dtype: Any) -> Any:
    """Numbers at which something happens: zeros, ends of ranges, widths of words, halves, infinities, NaN."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        info, width = np.iinfo(dtype), dtype.itemsize * 8
        numbers = {0, 1, 2, 3, 7, 100, width - 1, width, width + 1, info.min, info.min + 1, info.max - 1, info.max}
        return np.array(sorted(numbers | ({-1, -2, -3, -7, -100} if dtype.kind == "i" else set())), dtype)
    info = np.finfo(dtype)
    ends = [
        info.max,
        info.tiny,
        info.smallest_subnormal,
        info.eps,
        1 - float(info.epsneg),
        1 / float(info.eps),
        math.inf,
    ]
    numbers = np.array([0.0, 0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.3, 100.5, *map(float, ends)], dtype)
    return np.concatenate([numbers, -numbers, np.array([math.nan], dtype)])


def pairs_for(op: Op, first: Any, second: Any) -> tuple[Any, ...]:
    """Arguments of an op: all pairs of special numbers, but for those that it refuses."""
    if len(op.domains) == 1:
        return (special(first),)
    a, b = (x.reshape(-1) for x in np.meshgrid(special(first), special(second), indexing="ij"))
    if op.name == "where":
        return (np.arange(a.size) % 3 == 0, a, b)
    if op.name == "clip":
        return (a, b, np.roll(b, 3).astype(first))
    kept = np.ones(a.size, bool)
    if op.name in ("floor_divide", "remainder") and first.kind in "iub" and second.kind in "iub":
        kept = b != 0
    if op.name.endswith("shift") or (op.name == "pow" and first.kind in "iub" and second.kind == "i"):
        kept = b >= 0
    return (a[kept], b[kept])


def units_apart(a: Any, b: Any) -> Any:
    """How many floating-point numbers lie between two, elementwise; infinite where only one is NaN."""
    whole = np.dtype(f"int{8 * a.dtype.itemsize}")

    def place(x: Any) -> Any:
        bits = np.ascontiguousarray(x).view(whole).astype(object)
        return np.where(bits >= 0, bits, -(2 ** (8 * a.dtype.itemsize - 1)) - bits)

    apart = np.abs(place(a) - place(b)).astype(float)
    return np.where(np.isnan(a) | np.isnan(b), np.where(np.isnan(a) & np.isnan(b), 0.0, np.inf), apart)


def assert_same_on(first: Any, second: Any, ops: list[Op]) -> None:
    """All these ops, in one program, against eager ones."""
    jobs = []
    for op in ops:
        args = pairs_for(op, first, second)
        try:
            with np.errstate(all="ignore"):
                eager = np.asarray(record(op, tuple(constant(x) for x in args), {}).data)
        except (BacklitError, TypeError):
            continue  # not for this dtype
        if eager.dtype.kind != "f" or first.kind == "f" or op.name in ("divide", "reciprocal"):
            jobs.append((op, args, eager))
    assert jobs

    def program(groups: Any) -> list[Any]:
        return [
            record(op, tuple(current(x) for x in given), {}) for (op, _, _), given in zip(jobs, groups, strict=True)
        ]

    compiled = compile(program)([list(map(constant, args)) for _, args, _ in jobs])
    for (op, args, eager), result in zip(jobs, compiled, strict=True):
        found = np.asarray(result.data)
        assert found.dtype == eager.dtype, op.name
        if eager.dtype.kind == "f":
            exact = op.name not in MATH and op.name not in ("floor_divide", "elu", "leaky_relu")
            bad = units_apart(eager, found) > (0 if exact else LOOSE.get(op.name, 4))
            if op.name not in SIGNS_OF_ZERO_DIFFER:
                bad |= (eager == 0) & (found == 0) & (np.signbit(eager) != np.signbit(found))
            else:
                bad &= eager != found
        else:
            bad = eager != found
        shown = [(*(x[i].item() for x in args), eager[i].item(), found[i].item()) for i in np.flatnonzero(bad)[:4]]
        assert not bad.any(), f"{op.name} of {first}, {second}; arguments, eager, compiled: {shown}"


@pytest.mark.parametrize("name", REAL)
def test_special_numbers_give_what_they_give_eagerly(name: str) -> None:
    assert_same_on(dtypes.ALL[name], dtypes.ALL[name], ELEMENTWISE)


@pytest.mark.parametrize(
    ("first", "second"), [("int64", "uint64"), ("uint64", "int8"), ("bool", "int16"), ("int8", "uint8")]
)
def test_whole_numbers_of_two_kinds_meet_as_they_do_eagerly(first: str, second: str) -> None:
    either = [op for op in ELEMENTWISE if len(op.domains) == 2]
    assert_same_on(dtypes.ALL[first], dtypes.ALL[second], either)


def _converted(x: Any, dtype: Any) -> Any:
    """Floats beyond the whole numbers that there are become the nearest one, and NaN 0; NumPy leaves that open."""
    if dtype.kind not in "iu" or x.dtype.kind != "f":
        return x.astype(dtype)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    whole = [0 if math.isnan(v) else most if v >= most else least if v <= least else int(v) for v in x.tolist()]
    return np.array(whole, dtype)


@pytest.mark.parametrize("name", REAL)
def test_numbers_in_every_other_dtype(name: str) -> None:
    x = special(dtypes.ALL[name])
    targets = [dtypes.ALL[other] for other in REAL]
    compiled = compile(lambda y: [record(ASTYPE, (current(y),), {"dtype": d}) for d in targets])(x)
    for dtype, found in zip(targets, compiled, strict=True):
        with np.errstate(all="ignore"):
            expected = _converted(x, dtype)
        assert np.array_equal(found.data, expected, equal_nan=dtype.kind == "f"), (name, dtype)


def test_what_whole_numbers_leave_open_is_settled() -> None:
    """Where an eager call raises, a compiled one cannot: it gives what is written here."""
    x = np.array([7, -7, 0, -128], np.int8)
    zero, negative = np.zeros(4, np.int8), np.array([-1, -2, -1, -3], np.int8)
    f = compile(lambda a, b: [a // b, a % b])
    assert [list(y.data) for y in f(x, zero)] == [[0, 0, 0, 0], [0, 0, 0, 0]]
    shifts = compile(lambda a, b: [BITWISE_LEFT_SHIFT(a, b), BITWISE_RIGHT_SHIFT(a, b)])
    assert [list(y.data) for y in shifts(x, negative)] == [[0, 0, 0, 0], [0, -1, 0, -1]]
    power = compile(lambda a, b: a**b)
    base = np.array([1, -1, 2, 0], np.int8)
    assert list(power(base, np.full(4, -3, np.int8)).data) == [1, -1, 0, 0]
    assert list(power(base, np.full(4, -2, np.int8)).data) == [1, 1, 0, 0]


PRODUCTS = [((3, 4), (4, 5)), ((4,), (4,)), ((2, 3, 70), (70, 2)), ((2, 3), (5, 3, 4)), ((2, 0), (0, 3))]


@pytest.mark.parametrize("name", ["float16", "bool", "int8", "uint8", "int32", "int64", "uint64"])
def test_products_of_matrices_of_every_dtype(name: str) -> None:
    rng = np.random.default_rng(0)

    def drawn(shape: Any) -> Any:
        x = np.asarray(rng.integers(0, 256, shape) - 60 * (name[0] != "u"))
        return (x % 2 == 0 if name == "bool" else x / 64 if name == "float16" else x).astype(name)

    pairs = [(drawn(left), drawn(right)) for left, right in PRODUCTS]
    results = compile(lambda pairs: [a @ b for a, b in pairs])([(constant(a), constant(b)) for a, b in pairs])
    for (a, b), result in zip(pairs, results, strict=True):
        eager, compiled = np.asarray((constant(a) @ constant(b)).data), np.asarray(result.data)
        assert compiled.dtype == eager.dtype
        if name == "float16":  # added in float32 and rounded once, in another order
            assert (units_apart(eager, compiled) <= 1).all()
        else:
            assert np.array_equal(compiled, eager)


def test_many_numbers_of_float16_are_added_in_float32_and_rounded_once() -> None:
    x = np.random.default_rng(0).standard_normal((97, 130)).astype(np.float16)
    for f, exact in (
        (lambda x: x.sum(), x.astype(float).sum()),
        (lambda x: x.sum(axis=1), x.astype(float).sum(1)),
        (lambda x: (x * 0 + 1).sum(), 97.0 * 130),
        (lambda x: (1 + x / 64)[0].prod(), (1 + x / np.float16(64))[0].astype(float).prod()),
    ):
        found = np.asarray(compile(f)(x).data)
        assert found.dtype == np.float16
        assert (units_apart(found, np.asarray(exact, np.float16)) <= 1).all()
