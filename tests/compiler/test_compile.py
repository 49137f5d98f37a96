"""What a compiled function does at a call: retracing, guards, variables, gradients, threads, signals, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler.compile import CompileWarning
from backlit.core.errors import BacklitError, GraphError, ShapeError, TracedValueError

# -- numbers -----------------------------------------------------------------------------------------------------


def test_nan_and_infinity_go_through_as_they_do_eagerly() -> None:
    def f(x: Any) -> list[Any]:
        slope = bl.grad(lambda y: bl.relu(y).sum())(x)
        return [bl.relu(x), bl.maximum(x, 0.5), bl.tanh(x), bl.exp(x), x.sum(), bl.max(x), bl.clip(x, -1, 1), x > 0,
                bl.argmax(x), bl.sign(x), bl.where(x > 0, x, -x), bl.softmax(x), bl.abs(x), slope]  # fmt: skip

    compiled = bl.compile(f)
    for x in ([np.nan, 1.0, -2.0], [np.inf, 1.0, -np.inf], [-0.0, 0.0, np.nan], [1.0, np.nan, np.inf]):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for k, (a, b) in enumerate(zip(f(bl.Value(x)), compiled(bl.Value(x)), strict=True)):
                np.testing.assert_allclose(np.asarray(b.data), np.asarray(a.data), rtol=1e-14, err_msg=f"{k} of {x}")


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_arrays_without_elements_go_through(shape: tuple[int, ...]) -> None:
    def f(x: Any) -> list[Any]:
        turned = bl.matrix_transpose(x) if x.ndim > 1 else x
        return [bl.tanh(x), x.sum(), bl.prod(x), bl.sum(x, axis=0), turned, x @ x.T if x.ndim == 2 else x]

    x = np.zeros(shape)
    for a, b in zip(f(bl.Value(x)), bl.compile(f)(x), strict=True):
        assert a.shape == b.shape
        assert np.array_equal(a.data, b.data)


def test_results_stay_when_the_function_is_called_again() -> None:
    f = bl.compile(lambda x: [x * 2.0, (x * x).sum()])
    first = f(np.array([1.0, 2.0]))
    kept = [np.array(v.data) for v in first]
    for k in range(5):
        f(np.array([float(k), 3.0]))
    assert all(np.array_equal(v.data, k) for v, k in zip(first, kept, strict=True))


def test_an_array_may_be_changed_between_calls() -> None:
    f = bl.compile(lambda x: x * 2.0)
    x = np.array([1.0, 2.0])
    assert f(x).data.tolist() == [2.0, 4.0]
    x[0] = 5.0
    assert f(x).data.tolist() == [10.0, 4.0]
    strange = np.arange(8.0)[::-2]
    assert f(strange[:2]).data.tolist() == [14.0, 10.0]
    assert f(x.astype(">f8")).data.tolist() == [10.0, 4.0]


# -- kinds of arguments ------------------------------------------------------------------------------------------


def test_another_shape_or_dtype_is_traced_anew_and_an_old_one_is_not() -> None:
    f = bl.compile(lambda x: (x * 2.0).sum())
    assert f(np.ones(3)).data == 6.0
    assert f(np.ones(4)).data == 8.0
    assert f(np.ones(4, np.float32)).dtype == bl.float32
    assert f.traces == 3
    assert f(np.zeros(3)).data == 0.0
    assert f.traces == 3


def test_numbers_written_in_python_are_part_of_the_kind() -> None:
    f = bl.compile(lambda x, n, flag=False: x * n if flag else x + n)
    x = np.array([1.0, 2.0])
    assert f(x, 2).data.tolist() == [3.0, 4.0]
    assert f(x, 2, flag=True).data.tolist() == [2.0, 4.0]
    assert f(x, 3).data.tolist() == [4.0, 5.0]
    assert f(x, 2).data.tolist() == [3.0, 4.0]
    assert f(x, 0.0).data.tolist() == [1.0, 2.0]
    assert f(x, -0.0).data.tolist() == [1.0, 2.0]
    assert f(x, True, flag=True).data.tolist() == [1.0, 2.0]
    assert f(x, 1, flag=True).data.tolist() == [1.0, 2.0]


def test_trees_of_values_go_in_and_out() -> None:
    f = bl.compile(lambda t: {"sum": t["a"] + t["b"][0], "both": (t["a"], t["b"][1] * 2.0)})
    found = f({"a": np.array([1.0]), "b": [np.array([2.0]), bl.Value([3.0])]})
    assert found["sum"].data.tolist() == [3.0]
    assert [v.data.tolist() for v in found["both"]] == [[1.0], [6.0]]


def test_a_method_is_compiled_for_each_object() -> None:
    class Scale:
        def __init__(self, by: float) -> None:
            self.by = bl.Parameter(by)

        @bl.compile
        def __call__(self, x: Any) -> Any:
            return x * self.by

        @bl.compile
        def twice(self, x: Any) -> Any:
            return x * self.by * 2.0

    two, three = Scale(2.0), Scale(3.0)
    assert two.twice(np.array([1.0])).data.tolist() == [4.0]
    assert three.twice(np.array([1.0])).data.tolist() == [6.0]
    assert two(np.array([1.0])).data.tolist() == [2.0]
    assert three(np.array([1.0])).data.tolist() == [3.0]


def test_a_function_that_is_traced_again_and_again_is_told_of() -> None:
    f = bl.compile(lambda x, n: x * n)
    for n in range(7):
        f(np.ones(2), float(n))
    with pytest.warns(CompileWarning, match="was traced 8 times"):
        f(np.ones(2), 7.0)


def test_a_module_may_be_set_to_training_and_to_use_between_calls() -> None:
    model = nn.Sequential(nn.Linear(3, 4, key=1), nn.Dropout(0.5, key=2))
    f = bl.compile(lambda x: model(x))
    x = np.ones((8, 3), np.float32)
    model.eval()
    assert np.array_equal(f(x).data, f(x).data)
    model.train()
    first, second = f(x).data, f(x).data
    assert (first == 0).any()
    assert not np.array_equal(first, second)
    assert model.layers[1].count.data == 2 if hasattr(model, "layers") else True
    model.eval()
    assert not (f(x).data == 0).all()
    assert f.traces == 2


# -- variables ---------------------------------------------------------------------------------------------------


def test_a_captured_variable_is_read_at_each_call() -> None:
    w = bl.Parameter([1.0, 2.0])
    f = bl.compile(lambda x: (w * x).sum())
    assert f(np.ones(2)).data == 3.0
    w.data = [10.0, 20.0]
    assert f(np.ones(2)).data == 30.0
    assert f.traces == 1


def test_a_captured_variable_of_another_shape_is_traced_anew_or_told_of() -> None:
    w = bl.Parameter([1.0, 2.0])
    f = bl.compile(lambda x: (w * x).sum())
    f(1.0)
    try:
        w.data = [1.0, 2.0, 3.0]
    except ShapeError:
        return  # variables keep their shapes
    with pytest.raises(ShapeError):
        f(1.0)


def test_gradients_are_kept_and_added_to_across_calls() -> None:
    ends = []
    for use in (lambda f: f, bl.compile):
        w = bl.Parameter([1.0, 2.0])

        def back(x: Any, w: Any = w) -> Any:
            loss = (w * w * x).sum()
            loss.backward()
            return loss

        run = use(back)
        seen = []
        for k in range(3):
            run(np.array([1.0, float(k)]))
            seen.append(w.grad.tolist())
        w.grad = None
        run(np.array([1.0, 1.0]))
        seen.append(w.grad.tolist())
        ends.append(seen)
    assert ends[0] == ends[1]


def test_gradients_of_values_between_are_those_of_the_last_backward() -> None:
    w = bl.Parameter([1.0, 2.0, 3.0])

    def f(x: Any) -> list[Any]:
        w.grad = None
        h = x * w
        unreached = bl.relu(-1.0 - h * h)
        loss = (h * h).sum() + unreached.sum()
        loss.backward()
        found = [h.grad * 1.0, unreached.grad * 2.0]
        loss.backward()
        found.append(h.grad * 1.0)
        h.grad = None
        assert h.grad is None
        (h * 3.0).sum().backward()
        found += [h.grad * 1.0, w.grad * 1.0]
        found.append(bl.grad(lambda y: (y * h.grad).sum())(x))  # what stands in .grad is a constant
        return found

    x = np.array([0.5, -1.0, 2.0])
    for eager, compiled in zip(f(bl.Value(x)), bl.compile(f)(bl.Value(x)), strict=True):
        np.testing.assert_array_equal(np.asarray(compiled.data), np.asarray(getattr(eager, "data", eager)))


def test_a_backward_leaves_alone_what_lies_behind_a_gradient() -> None:
    x, w = bl.Parameter([1.0, 2.0]), bl.Parameter([3.0, -1.0])

    def f() -> list[Any]:
        w.grad = x.grad = None
        h = x * w
        (h * h).sum().backward()
        slope = w.grad
        w.grad = x.grad = None
        (slope * w).sum().backward()  # to `w` beside `slope`, and not through it to `x` and `h`
        assert x.grad is None
        return [h.grad * 1.0, w.grad * 1.0]

    for eager, compiled in zip(f(), bl.compile(f)(), strict=True):
        np.testing.assert_array_equal(np.asarray(compiled.data), np.asarray(eager))
    assert x.grad is None


def test_a_gradient_left_by_eager_code_is_added_to_by_compiled_code() -> None:
    w = bl.Parameter([1.0, 2.0])

    @bl.compile
    def back() -> None:
        (w * w).sum().backward()

    back()
    assert w.grad.tolist() == [2.0, 4.0]
    (3.0 * w).sum().backward()
    assert w.grad.tolist() == [5.0, 7.0]
    back()
    assert w.grad.tolist() == [7.0, 11.0]
    w.grad = None
    back()
    assert w.grad.tolist() == [2.0, 4.0]


def test_the_ordinary_step_of_learning_compiles_unchanged() -> None:
    ends = []
    for use in (lambda f: f, bl.compile):
        model = nn.MLP(2, [4, 1], key=0, dtype="float64")
        optimizer = optim.Adam(model.parameters(), lr=0.05)

        def step(x: Any, y: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            loss = nn.mse(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        run = use(step)
        rng = np.random.default_rng(0)
        losses = [run(rng.normal(size=(5, 2)), rng.normal(size=(5, 1))).data for _ in range(4)]
        ends.append((losses, [p.data for p in model.parameters()]))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-12)
    for a, b in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


def test_what_the_compiler_left_behind_can_be_differentiated_eagerly() -> None:
    w = bl.Parameter(2.0)

    @bl.compile
    def grow() -> None:
        w.data = w * 3.0

    grow()
    (w * w).backward()
    assert w.data == 6.0
    assert w.grad == 12.0
    y = w * w
    w.grad = None
    grow()
    assert y.data == 36.0
    y.backward()
    assert w.grad == 12.0


def test_repeat_with_no_turns_changes_nothing_and_refuses_nonsense() -> None:
    w = bl.Parameter(1.0)

    def step() -> None:
        w.data = w * 2.0

    assert bl.compile(step).repeat(0) is None
    assert w.data == 1.0
    for n in (-1, 1.5, True, "3"):
        with pytest.raises(GraphError):
            bl.compile(step).repeat(n)  # type: ignore[arg-type]
    bl.repeat(step, 10)
    assert w.data == 1024.0


def test_no_step_of_a_trace_leaves_variables_changed_when_it_fails() -> None:
    w = bl.Parameter([1.0, 2.0])

    @bl.compile
    def broken() -> Any:
        w.data = w * 2.0
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        broken()
    assert w.data.tolist() == [1.0, 2.0]
    assert (w * 1.0).data.tolist() == [1.0, 2.0]


# -- what cannot be compiled -------------------------------------------------------------------------------------


def _if(x: Any) -> Any:
    return x if x.sum() > 0 else -x


def _float(x: Any) -> Any:
    return x * float(x.sum())


def _numpy(x: Any) -> Any:
    return np.linalg.norm(np.asarray(x))


def _loop(x: Any) -> Any:
    while x.sum() < 10:
        x = x * 2
    return x


def _integer(x: Any) -> Any:
    return x[int(bl.argmax(x))]


@pytest.mark.parametrize("f", [_if, _float, _numpy, _loop, _integer])
def test_asking_for_a_number_that_only_a_run_knows_is_an_error_at_the_line(f: Any) -> None:
    with pytest.raises(TracedValueError) as caught:
        bl.compile(f)(np.array([1.0, 2.0]))
    assert any(entry.name == f.__name__ for entry in caught.traceback)
    text = str(caught.value)
    assert f"test_compile.py:{f.__code__.co_firstlineno + 1}" in text, text


def test_what_is_returned_has_to_be_numbers() -> None:
    with pytest.raises(BacklitError, match="str"):
        bl.compile(lambda x: {"a": x, "b": "text"})(np.ones(2))


# -- processes, threads, signals, memory -------------------------------------------------------------------------


def test_threads_may_call_the_same_function_at_once() -> None:
    w = bl.Parameter(np.arange(50.0))
    f = bl.compile(lambda x: (w * x).sum() + bl.tanh(x).sum() * 0.0)
    problems: list[Any] = []

    def work(k: int) -> None:
        try:
            problems.extend(k for _ in range(200) if f(np.full(50, float(k))).data != 1225.0 * k)
        except Exception as error:  # noqa: BLE001  whatever it is, it is told below
            problems.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_no_turn_is_lost_when_threads_step_at_once() -> None:
    count = bl.Buffer(np.zeros(4))

    @bl.compile
    def step() -> None:
        count.data = count + 1.0

    threads = [threading.Thread(target=lambda: [step() for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.data.tolist() == [400.0] * 4


def run_script(text: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True, **more)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_long_repeat_soon_with_all_variables_whole() -> None:
    script = """
        import sys, time
        import numpy as np, backlit as bl
        a, b = bl.Buffer(np.zeros(64)), bl.Buffer(np.zeros(64))
        def step():
            a.data = a + 1.0
            b.data = b + 2.0
        step = bl.compile(step)
        step.repeat(10)
        sys.stdout.write("ready\\n"); sys.stdout.flush()
        try:
            step.repeat(10**12)
        except KeyboardInterrupt:
            ended = time.time()
            whole = bool((a.data == a.data[0]).all() and (b.data == 2 * a.data).all() and a.data[0] > 10)
            step.repeat(5)
            sys.stdout.write(f"{ended} {whole} {bool((b.data == 2 * a.data).all())}\\n")
    """
    process = run_script(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    sent = time.time()
    process.send_signal(signal.SIGINT)
    ended, whole, after = process.communicate(timeout=10)[0].split()
    assert float(ended) - sent < 0.5  # 0.2 s on a machine with nothing else to do
    assert whole == after == "True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_goes_on_by_itself() -> None:
    script = """
        import os, sys
        import numpy as np, backlit as bl
        w = bl.Parameter([1.0, 2.0])
        def step():
            w.data = w * 2.0
        step = bl.compile(step)
        step()
        child = os.fork()
        if not child:
            step(); step.repeat(3)
            f = bl.compile(lambda x: x + w)
            os._exit(0 if f(np.ones(2)).data.tolist() == [33.0, 65.0] else 1)
        _, status = os.waitpid(child, 0)
        step()
        sys.stdout.write(f"{status} {w.data.tolist()}")
    """
    assert run_script(script).communicate(timeout=60)[0] == "0 [4.0, 8.0]"


@pytest.mark.parametrize("calls", [1000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_calls(calls: int) -> None:
    w = bl.Parameter(np.ones(100))

    @bl.compile
    def step(x: Any) -> Any:
        loss = (w * x).sum()
        loss.backward()
        w.data = w - 0.0 * w.grad
        w.grad = None
        return loss

    x = np.ones(100)
    for _ in range(200):
        step(x)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(calls):
            step(x)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000


def test_debug_print_shows_the_numbers_of_a_call(capsys: pytest.CaptureFixture[str]) -> None:
    total = bl.Buffer(0.0)

    @bl.compile
    def add(x):
        total.data = total + x
        bl.debug_print("{} makes {}", x, total)
        return total * 2.0

    assert add(np.float64(3.0)).data == 6.0
    assert capsys.readouterr().out == "3.0 makes 3.0\n"
    add.each(np.array([1.0, 2.0]))
    assert capsys.readouterr().out == "1.0 makes 4.0\n2.0 makes 6.0\n"
    add.repeat(3, np.float64(1.0))
    assert capsys.readouterr().out.splitlines()[-1] == "1.0 makes 9.0"
    bl.debug_print("plain {:.1f}", 2.0)
    assert capsys.readouterr().out == "plain 2.0\n"
