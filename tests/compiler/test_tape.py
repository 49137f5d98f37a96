"""Huge graphs of single numbers run as a tape: the same numbers, and code that does not grow with the graph."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.autodiff.reverse import pull_back
from backlit.autodiff.verify import draw
from backlit.compiler import cache, rows, straight, tape
from backlit.compiler.ir import INT64, Graph
from backlit.core import dtypes
from backlit.core.op import Elementwise
from backlit.core.record import record
from backlit.core.value import INACTIVE, Value, current
from tests.compiler.test_ops import COMPILED, assert_close

FLOAT64 = dtypes.float64
NUMBERS = 10_000_000
NANOSECONDS = 20  # a number, at most


def chain(x, n: int):
    y = x
    for i in range(n):
        y = (y * 0.99 + x).tanh() if i % 3 == 0 else bl.where(y > 0.2, y * 1.01 - 0.1 * x, y - x * y)
    return y


def smooth(x, n: int):
    """Four numbers a turn, with a derivative that neither vanishes nor explodes."""
    y = x
    for _ in range(n):
        y = y - 1e-6 * (y * x).tanh()
    return y


@pytest.fixture(params=["from nodes", "from values"])
def taped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small graphs become tapes as well, in both ways."""
    monkeypatch.setattr(tape, "MANY", -1)
    monkeypatch.setattr(straight, "LIMIT", -1)
    monkeypatch.setattr(rows, "MANY", 0 if request.param == "from values" else 1 << 60)
    return str(request.param)


def is_tape(f: Any) -> bool:
    return [note.kind for note in f.entries[-1].program.notes] == ["tape"]


def best(f: Callable[[], Any]) -> float:
    """Seconds of a CPU that the fastest of a few calls took."""

    def once() -> float:
        start = time.process_time()
        f()
        return time.process_time() - start

    return min(once() for _ in range(9))


# -- the same numbers ---------------------------------------------------------------------------------------------


def test_a_tape_gives_what_the_graph_gives(taped: str) -> None:
    def f(x):
        return chain(x, 60)

    for g in (f, bl.grad(f), bl.grad(bl.grad(f))):
        compiled = bl.compile(g)
        assert compiled(np.float64(0.3)).data == pytest.approx(g(bl.Value(0.3)).data, rel=1e-12)
        assert is_tape(compiled)
    single = bl.compile(f)
    assert single(np.float32(0.3)).dtype == bl.float32
    assert single(np.float32(0.3)).data == pytest.approx(chain(bl.Value(np.float32(0.3)), 60).data, rel=1e-5)


def test_each_op_of_numbers_is_itself_on_a_tape(taped: str) -> None:
    ops = [op for op in COMPILED if isinstance(op, Elementwise)]
    rng = np.random.default_rng(3)
    given = []
    for op in ops:
        domains = (*op.domains, *[op.domains[-1]] * (len(op.partials) - len(op.domains)))
        numbers = [draw(domain, (), FLOAT64, rng) for domain in domains]
        given.append([Value(x) if isinstance(x, float) else x for x in numbers])

    def f(groups):
        results = []
        for op, xs in zip(ops, groups, strict=True):
            nodes = tuple(current(x) for x in xs)
            y = record(op, nodes)
            y = record(op, (y, *nodes[1:])) if y.dtype == nodes[0].dtype else y  # also of what was computed
            wrt = [x for x in nodes if x._grad is not INACTIVE]
            found = pull_back([y], [Value(0.7)], wrt) if y._grad is not INACTIVE else []
            results.append([y, *(ct for ct in found if ct is not None)])
        return results

    compiled = bl.compile(f)
    eager = f([[x if isinstance(x, Value) else bl.asarray(x) for x in xs] for xs in given])
    for op, a, b in zip(ops, eager, compiled(given), strict=True):
        for one, other in zip(a, b, strict=True):
            assert_close(one, other, op.name)
    assert is_tape(compiled)


def test_numbers_that_decide_what_an_op_becomes_decide_it_on_a_tape(taped: str) -> None:
    def f(x, y):
        a = (x * 1.0) ** 2.0 + -1.0 * y - (-x) + bl.negative(-y) ** 3 + y / 4.0 + x / 3.0 + x * 0.0 + -0.0 * y
        b = bl.where(np.True_, a, x) + bl.maximum(x, 0.0) * bl.minimum(y, 1.0) + (x > 0.0) * 2.5
        return b + bl.where(x > y, -y, x) + bl.astype(bl.astype(x, "float32"), "float64") + (1.0 / y) ** -1.0 + 123.25

    point = np.float64(0.7), np.float64(-1.3)
    compiled = bl.compile(lambda x, y: [f(x, y), *bl.grad(f, argnums=(0, 1))(x, y)])
    expected = [f(*map(bl.Value, point)), *bl.grad(f, argnums=(0, 1))(*map(bl.Value, point))]
    for a, b in zip(compiled(*point), expected, strict=True):
        assert a.data == pytest.approx(b.data, rel=1e-13)
    assert is_tape(compiled)


def test_elements_of_arrays_go_in_and_a_step_is_repeated(taped: str) -> None:
    xs = np.linspace(-1, 1, 30).reshape(6, 5)

    def learner():
        w = bl.Parameter(0.5)

        def step(x):
            terms = (((w * x[i // 5][i % 5]).tanh() - 0.1 * i) ** 2 for i in range(30))
            loss = sum(terms, start=bl.Value(0.0))
            loss.backward()
            w.data = w.data - 0.01 * w.grad
            w.zero_grad()
            return loss

        return w, step

    v, eager = learner()
    for _ in range(5):
        last = eager(bl.asarray(xs)).data
    w, step = learner()
    compiled = bl.compile(step)
    assert compiled.repeat(5, xs).data == pytest.approx(last, rel=1e-12)
    assert w.data == pytest.approx(v.data, rel=1e-12)


def test_the_body_of_a_loop_may_be_a_tape(taped: str) -> None:
    half = bl.asarray(0.5)

    def f(x):
        return bl.fori_loop(0, 4, lambda i, y: chain(y * half, 5) + i * x + bl.asarray(2.0), x)

    for g in (f, bl.grad(f)):
        compiled = bl.compile(g)
        assert compiled(np.float64(0.3)).data == pytest.approx(g(bl.Value(0.3)).data, rel=1e-12)
        assert any(note.kind == "tape" for note in compiled.entries[0].program.notes)


def test_many_results_and_inputs_go_by_a_table(taped: str) -> None:
    def f(xs):
        return [chain(x, 3) for x in xs], xs[0], 2.5

    points = [np.float64(0.01 * i) for i in range(100)]
    compiled = bl.compile(f)
    found, first, number = compiled(points)
    for x, y in zip(points, found, strict=True):
        assert y.data == pytest.approx(chain(bl.Value(x), 3).data, rel=1e-13)
    assert (first.data, number.data) == (0.0, 2.5)
    assert is_tape(compiled)


def test_what_is_no_graph_of_numbers_is_compiled_in_another_way(taped: str) -> None:
    xs = np.linspace(-1, 1, 5)
    for f in (lambda x: (x * 2.0).sum() + x[0], lambda x: x[0] + bl.cumulative_sum(x)[2], lambda x: x * x[1]):
        compiled = bl.compile(f)
        assert compiled(xs).data == pytest.approx(f(bl.asarray(xs)).data, rel=1e-13)
        assert not any(note.kind == "tape" for note in compiled.entries[0].program.notes)
    half = bl.compile(lambda x: chain(x, 5))
    assert half(np.float16(0.3)).dtype == bl.float16


def test_graphs_that_differ_in_a_number_only_are_not_mistaken_for_one_another(taped: str) -> None:
    for step in (0.25, 0.26, 0.25):
        for offset in (0, 1):
            f = bl.compile(lambda x, step=step, offset=offset: x[offset] * step + x[1 - offset])
            assert f(np.array([3.0, 5.0])).data == pytest.approx((3.0, 5.0)[offset] * step + (5.0, 3.0)[offset])


def test_a_tape_is_explained(taped: str) -> None:
    f = bl.compile(bl.grad(lambda x: chain(x, 20)))
    f(np.float64(0.3))
    assert "instructions" in f.explain().text


# -- what it takes ------------------------------------------------------------------------------------------------


def test_slots_are_used_again() -> None:
    """A long sum needs two of them, however long it is."""
    graph = Graph()
    table = rows.Rows()
    x, y = (table.load(graph.input(k, (), FLOAT64)) for k in range(2))
    add = table.number_of("add", (FLOAT64, FLOAT64), FLOAT64)
    total, dead = x, x
    for k in range(1000):
        total = table.add(add, total, y, 0)
        dead = table.add(add, dead, total, 0) if k % 2 else dead  # nobody wants this one
    made = tape.Tape(table, [total])
    assert made.slots <= 2 + 2
    assert made.instructions == 1000
    assert len(made.stream) == 1000 * 5


def test_what_is_equal_is_computed_once(taped: str) -> None:
    f = bl.compile(lambda x, y: (x * y + 1.0) * (x * y + 1.0))
    assert f(np.float64(3.0), np.float64(2.0)).data == 49.0
    assert "3 instructions" in f.entries[0].program.notes[0].note


def test_whole_numbers_and_truths_have_slots_too(taped: str) -> None:
    f = bl.compile(lambda n, m: (bl.where(n > m, n, m) * 3, n + m == 7))
    a, b = f(np.int32(3), np.int32(4))
    assert (a.data, a.dtype, b.data) == (12, bl.int32, True)
    assert INT64.itemsize <= tape.SLOT


def test_code_does_not_grow_with_the_graph(taped: str) -> None:
    texts = []
    for n in (60, 180):
        f = bl.compile(bl.grad(lambda x, n=n: chain(x, n)))
        f(np.float64(0.3))
        texts.append(len(f.entries[0].program.text))
    assert texts[1] < texts[0] * 1.01 + 500


def test_garbage_is_collected_again_after_a_trace_that_failed() -> None:
    with pytest.raises(bl.BacklitError):
        bl.compile(lambda x: x if x > 0 else -x)(np.float64(1.0))
    assert gc.isenabled()


HUGE = """
import json, resource, sys
import numpy as np
import backlit as bl
from tests.compiler.test_tape import best, smooth

n = 50_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
f = bl.compile(bl.grad(lambda x: smooth(x, n)))
found = f(np.float64(0.3)).data
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(part,) = f.entries[0].program.outputs
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({
    "found": found, "bytes": (after - before) * unit, "numbers": len(part.args[0].data.stream) // 5,
    "arena": f.entries[0].program.arena_bytes, "seconds": best(lambda: f(np.float64(0.3))),
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no module resource")
def test_a_huge_graph_takes_bounded_time_and_memory() -> None:
    """Per number: some 20 microseconds and 500 bytes to compile, and less than 20 nanoseconds to run."""
    ran = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True)
    told = json.loads(ran.stdout)
    n, numbers = 50_000, told["numbers"]
    assert numbers > 8 * n
    assert told["bytes"] < 1000 * numbers
    assert told["arena"] < 4 * tape.SLOT * n  # what goes back needs the numbers of two ops a turn
    assert told["seconds"] < NANOSECONDS * 1e-9 * numbers
    y, slope = 0.3, 1.0  # the same by hand, in forward mode
    for _ in range(n):
        t = np.tanh(y * 0.3)
        y, slope = y - 1e-6 * t, slope - 1e-6 * (1 - t * t) * (slope * 0.3 + y)
    assert told["found"] == pytest.approx(slope, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("checkpoint", "memory"), [("none", 9_000_000 * 8), ("sqrt", 100_000)])
def test_ten_million_numbers_of_a_loop_take_nanoseconds_each(checkpoint: str, memory: int) -> None:
    per_turn = 9

    def f(x):
        def body(_, y):
            return y + 1e-7 * ((y * 0.5 + 0.25).tanh() * y - 0.1 * (y / 3.0))

        return bl.fori_loop(0, NUMBERS // per_turn + 1, body, x, checkpoint=checkpoint)

    for g in (f, bl.grad(f)):
        compiled = bl.compile(g)
        assert np.isfinite(compiled(np.float64(0.3)).data)
        assert compiled.entries[0].program.arena_bytes < memory
        assert best(lambda compiled=compiled: compiled(np.float64(0.3))) < NANOSECONDS * 1e-9 * NUMBERS


def test_a_long_chain_of_cheap_ops_is_not_too_deep_for_python() -> None:
    f = bl.compile(lambda x: sum((x for _ in range(1000)), start=x))
    assert np.array_equal(f(np.arange(20.0)).data, 1001 * np.arange(20.0))


GROWING: dict[str, Callable[[int], Callable[[Any], Any]]] = {
    "a chain of numbers": lambda n: lambda x: smooth(x[0], n // 4),
    "a sum of many numbers": lambda n: lambda x: sum((x[1] * (k + 0.5) for k in range(n // 2)), start=x[0]),
    "a chain of arrays": lambda n: lambda x: smooth(x, n // 4).sum(),
    "a sum of many arrays": lambda n: lambda x: sum((x * (k + 0.5) - x for k in range(n // 3)), start=x).sum(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GROWING)
def test_compile_time_is_linear_in_the_nodes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    each = []
    for n in (2_000, 10_000):
        seconds = []
        for k in range(2):
            f = bl.compile(GROWING[name](n))
            start = time.process_time()
            f(np.linspace(0.1, 0.2 + 1e-3 * k, 16 + k))
            seconds.append(time.process_time() - start)
        each.append(min(seconds) / n)
    assert each[1] < 2 * each[0]
