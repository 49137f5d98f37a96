"""Complex numbers in compiled functions: as eager ones, element by element and in every way they are moved."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.autodiff.verify import samples_of
from backlit.compiler import straight
from backlit.compiler.complexes import COMBINED, PICKED, RULES
from backlit.core.errors import GraphError
from backlit.core.op import Linear, Op
from backlit.core.record import record
from backlit.core.value import constant, current
from backlit.ops.accumulation import RECURRENCE
from backlit.ops.selection import CLIP
from tests.test_op_table import ALL_OPS

FAR = {"complex64": 2e-5, "complex128": 3e-14}
"""How far results may be apart, relative to the largest: products of parts contract, and sums run in another order."""
LINEAR = [op for op in ALL_OPS if isinstance(op, Linear)]
BY_ELEMENT = [op for op in ALL_OPS if op.name in RULES and not isinstance(op, Linear)]


def drawn(shape: tuple[int, ...], name: str = "complex128", seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(name)


def assert_near(compiled: Any, eager: Any, what: str = "") -> None:
    a, b = np.asarray(eager.data), np.asarray(compiled.data)
    assert a.dtype == b.dtype, what
    assert a.shape == b.shape, what
    if a.dtype.kind not in "fc":
        assert np.array_equal(a, b), what
        return
    far = FAR["complex128" if a.dtype.itemsize * (1 + (a.dtype.kind == "f")) == 16 else "complex64"]
    largest = np.max(np.abs(a[np.isfinite(a)]), initial=0.0)
    np.testing.assert_allclose(b, a, rtol=far, atol=far * largest, err_msg=what)


def assert_compiles(f: Callable[..., Any], *arrays: Any) -> None:
    given = [bl.asarray(x) for x in arrays]
    eager, compiled = f(*given), bl.compile(f)(*given)
    several = isinstance(eager, (tuple, list))
    for y, x in zip(compiled if several else [compiled], eager if several else [eager], strict=True):
        assert_near(y, x)


@pytest.mark.parametrize("how", ["straight", "loops"])
@pytest.mark.parametrize("name", ["complex64", "complex128"])
def test_functions_of_numbers_all_over_the_plane(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "loops":
        monkeypatch.setattr(straight, "LIMIT", -1)
    axis = np.array([-3.0, -1.0, -0.2, -0.0, 0.0, 0.4, 1.0, 2.5])
    z = np.array([complex(a, b) for a in axis for b in axis], name)
    w = np.roll(z, 11)
    jobs = []
    for op in BY_ELEMENT:
        args = (z, w)[: len(op.domains)]
        if op.name in ("divide", "reciprocal"):
            args = tuple(np.where(x == 0, 1, x).astype(name) for x in args)
        if op.name == "pow":
            args = tuple(x[(z != 0) | (w.real > 0)] for x in args)
        with np.errstate(all="ignore"):
            jobs.append((op, args, record(op, tuple(constant(x) for x in args), {})))
    results = bl.compile(
        lambda groups: [record(op, tuple(map(current, xs)), {}) for (op, _, _), xs in zip(jobs, groups, strict=True)]
    )([list(map(constant, args)) for _, args, _ in jobs])
    for (op, _, eager), compiled in zip(jobs, results, strict=True):
        assert_near(compiled, eager, op.name)


@pytest.mark.parametrize("op", LINEAR, ids=str)
def test_what_is_linear_works_on_both_parts(op: Op) -> None:
    jobs = []
    for sample in samples_of(op):
        if "dtype" in sample.attrs:
            continue
        for which in range(2):  # all arguments complex, or the first one only
            places = sample.domains or op.domains
            places = (*places, *[places[-1]] * (len(sample.shapes) - len(places)))
            args: list[Any] = []
            for k, (shape, domain) in enumerate(zip(sample.shapes, places, strict=False)):
                if op.rule(k) is None:
                    args.append(np.random.default_rng(k).integers(domain.low, domain.high + 1, shape))  # type: ignore[union-attr]
                else:
                    args.append(drawn(shape, seed=k) if which == 0 or k == 0 else drawn(shape, seed=k).real)
            nodes = tuple(constant(np.asarray(x) if np.ndim(x) else x) for x in args)
            jobs.append((nodes, sample.attrs, record(op, nodes, sample.attrs)))
    results = bl.compile(
        lambda groups: [
            record(op, tuple(map(current, xs)), attrs) for (_, attrs, _), xs in zip(jobs, groups, strict=True)
        ]
    )([list(nodes) for nodes, _, _ in jobs])
    for (_, _, eager), compiled in zip(jobs, results, strict=True):
        assert_near(compiled, eager)


@pytest.mark.parametrize(
    "f",
    [
        lambda z: z,
        lambda z: (z, bl.conj(z), bl.real(z), bl.imag(z)),
        lambda z: z * 1j + bl.asarray(np.array([1j, 2.0, 3 - 1j, 0.0])),
        lambda z: z.at[1].set(2.0).at[2].add(1j),
        lambda z: z[np.array([3, 0, 0])] * bl.where(bl.abs(z[:3]) > 1, z[:3], 0),
        lambda z: bl.mean(z) + bl.sum(z) / z.size,
        lambda z: z**2 + z**-3 + z**0.5 + 2**z + z**0,
        lambda z: (z == z.at[0].set(1j), bl.any(z), bl.count_nonzero(z), bl.isnan(z), bl.logical_not(z)),
        lambda z: bl.astype(bl.astype(z, "complex64"), "complex128"),
        lambda z: bl.astype(z, "bool"),
        lambda z: bl.scan(lambda c, x: (c * x + 1, c * 2), 1j * bl.ones(()), z),
        lambda z: bl.fori_loop(0, 5, lambda i, c: c * z, z),
        lambda z: bl.cond(bl.abs(z).sum() > 2, lambda x: x * 1j, lambda x: x, z),
        lambda z: bl.while_loop(lambda c: bl.abs(c).sum() < 100, lambda c: c * 2, z),
        lambda z: bl.outer(z, z) @ bl.outer(z, bl.real(z)),
    ],
)
def test_programs_of_complex_numbers(f: Callable[..., Any]) -> None:
    assert_compiles(f, drawn((4,)))


def test_scalars_and_empty_arrays() -> None:
    assert_compiles(lambda z: z * z + 1, np.complex128(2 + 1j))
    assert_compiles(lambda z: z * 1j, np.float32(2.0))
    assert_compiles(lambda z: (z * 2, bl.sum(z)), drawn((0,)))
    assert bl.compile(lambda z: z * 2)(3 + 1j).data == 6 + 2j


def test_large_products() -> None:
    assert_compiles(lambda a, b: a @ b, drawn((40, 50), "complex64"), drawn((50, 33), "complex64", 1))
    assert_compiles(lambda a, b: a @ b, drawn((2, 17, 9)), drawn((9, 33)).real)


def test_a_complex_buffer_is_updated_in_place() -> None:
    def made() -> tuple[bl.Buffer, Callable[[Any], Any]]:
        memory = bl.Buffer(np.zeros(3, complex))

        def step(x: Any) -> Any:
            memory.data = memory.data * 0.5j + x
            return memory * 2

        return memory, step

    xs = drawn((6, 3))
    eager, step = made()
    ys = [step(x).data for x in xs]
    memory, step = made()
    compiled = bl.compile(step)
    for x, y in zip(xs[:3], ys, strict=False):
        np.testing.assert_allclose(compiled(x).data, y, rtol=1e-14)
    np.testing.assert_allclose(compiled.each(xs[3:]).data, ys[3:], rtol=1e-14)
    np.testing.assert_allclose(memory.data, eager.data, rtol=1e-14)
    turned = compiled.repeat(7, xs[0]).data
    for _ in range(7):
        last = step(xs[0])
    assert turned.shape == last.shape
    assert compiled.compare(xs[0]).verdict in ("equal", "rounding")


def test_near_the_unit_circle_a_logarithm_keeps_its_digits() -> None:
    z = np.exp(1j * np.linspace(-3, 3, 13)) * (1 + 1e-9)
    np.testing.assert_allclose(bl.compile(bl.log)(z).data.real, np.log(np.abs(z.astype(np.clongdouble))), rtol=1e-6)
    z = np.array([1e-12 + 1e-7j, -3e-10 + 0j, 0.1 + 0.2j])
    exact = [math.log1p(2 * x.real + abs(x) ** 2) / 2 for x in z.tolist()]
    np.testing.assert_allclose(bl.compile(bl.log1p)(z).data.real, exact, rtol=1e-13)


def test_what_has_no_complex_form_says_so_at_the_line() -> None:
    with pytest.raises(GraphError, match=r"cannot be compiled: .*real and imaginary parts as two arrays"):
        bl.compile(lambda z: CLIP(current(z), 0.0, 1.0))(drawn((3,)))
    with pytest.raises(bl.DtypeError, match="imaginary part"):
        bl.compile(lambda z: bl.astype(z, "float64"))(drawn((3,)))


# -- along an axis -------------------------------------------------------------------------------------------------

ALONG = [op for op in ALL_OPS if op.name in ("cumulative_prod", "recurrence", *COMBINED, *PICKED)]


@pytest.mark.parametrize("how", ["straight", "loops"])
@pytest.mark.parametrize("op", ALONG, ids=str)
def test_what_goes_along_an_axis_does_so_in_its_order(op: Op, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "loops":
        monkeypatch.setattr(straight, "LIMIT", -1)
    jobs = []
    for sample in samples_of(op):
        attrs = {**sample.attrs, **({"dtype": np.dtype("complex64")} if "dtype" in sample.attrs else {})}
        for name in ("complex64", "complex128"):
            nodes = tuple(constant(drawn(shape, name, k)) for k, shape in enumerate(sample.shapes))
            jobs.append((nodes, attrs, record(op, nodes, attrs)))
    results = bl.compile(
        lambda groups: [
            record(op, tuple(map(current, xs)), attrs) for (_, attrs, _), xs in zip(jobs, groups, strict=True)
        ]
    )([list(nodes) for nodes, _, _ in jobs])
    for (_, attrs, eager), compiled in zip(jobs, results, strict=True):
        assert_near(compiled, eager, f"{op.name} {attrs}")


def test_extremes_and_comparisons_of_complex_numbers_are_those_of_their_parts_in_order() -> None:
    nan, inf = math.nan, math.inf
    parts = [-inf, -1.0, 0.0, 2.0, inf]
    z = np.array([complex(a, b) for a in parts for b in parts])
    lost = np.array([[1 + 5j, complex(nan, 1), complex(2, nan)], [complex(3, nan), 9 + 1j, 1j], [2, 2 + 1j, 2 - 1j]])
    assert_same = np.testing.assert_array_equal
    for f in (bl.max, bl.min, bl.argmax, bl.argmin):
        assert_same(bl.compile(f)(z).data, f(z).data)
        assert_same(
            bl.compile(lambda x, f=f: f(x, axis=1))(lost).data.view(np.float64 if f in (bl.max, bl.min) else np.int64),
            f(lost, axis=1).data.view(np.float64 if f in (bl.max, bl.min) else np.int64),
        )
    pairs = np.concatenate([z, lost.reshape(-1)])
    a, b = (x.reshape(-1) for x in np.meshgrid(pairs, pairs))
    for g in (bl.maximum, bl.minimum, bl.less, bl.less_equal, bl.greater, bl.greater_equal):
        with np.errstate(invalid="ignore"):
            assert_same(bl.compile(g)(a, b).data, g(a, b).data)


def test_a_recurrence_begins_with_its_first_term_whatever_the_factor() -> None:
    factors, terms = np.array([math.nan, 2j, 0.5]), np.array([1 + 1j, 1.0, 1j])
    found = bl.compile(lambda a, b: RECURRENCE(current(a), current(b), axis=0))(factors, terms)
    np.testing.assert_allclose(found.data, [1 + 1j, -1 + 2j, -0.5 + 2j], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_the_tangent_of_what_is_infinite_is_its_limit(dtype: str) -> None:
    numbers = np.array([complex(a, b) for a in (-np.inf, np.inf) for b in (0.0, 1.0, np.inf, -np.inf, np.nan)], dtype)
    with np.errstate(all="ignore"):
        expected = np.tanh(numbers)
    np.testing.assert_array_equal(bl.compile(bl.tanh)(numbers).data, expected)
