"""A program in units: cut, joined, compiled side by side and ahead, always the same program."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import jit, module, units
from backlit.compiler.scalars import AS_WRITTEN, CALLING


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLIT_CACHE_DIR", "off")


def test_a_module_cut_into_units_and_compiled_by_threads_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w, v = rng.normal(size=(20, 30)), rng.normal(size=(30, 40)), rng.normal(size=(40, 7))

    def net(x: Any) -> Any:
        h = bl.tanh(x @ w)
        return bl.softmax(h @ v, axis=1), bl.exp(h).sum(axis=0), bl.log_softmax(h, axis=0), bl.sin(h).sum()

    def outcome() -> list[Any]:
        compiled = bl.compile(net)
        found = [np.array(y.data) for y in compiled(x)]
        parts.append(len(units.Cut().rest(compiled.entries[0].program.text)))
        return found

    parts: list[int] = []
    monkeypatch.setattr(units, "WORTH_A_THREAD", 100)
    monkeypatch.setattr(module, "PORTION", 1000)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    ahead: list[str] = []
    real = jit.Compiler.ahead
    monkeypatch.setattr(jit.Compiler, "ahead", lambda self, text: (ahead.append(text), real(self, text)))
    cut = outcome()
    assert len(ahead) > 1
    monkeypatch.setattr(jit.Compiler, "ahead", lambda self, text: None)
    monkeypatch.setattr(units.Cut, "rest", lambda self, text: [units.Unit(text, [], AS_WRITTEN)])
    whole = outcome()
    assert parts[0] > 1
    for a, b in zip(cut, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_every_function_is_in_one_unit_and_what_it_calls_is_declared() -> None:
    compiled = bl.compile(lambda x: bl.tanh(x @ x.T).sum())
    compiled(np.ones((30, 40)))
    text = compiled.entries[0].program.text
    parts = units.units(text)
    names = [name for part in parts for name in part.functions]
    assert len(names) == len(set(names))
    assert {name for name in names if name.startswith("product")}
    assert "main" in names
    for part in parts:
        assert part.kind in (AS_WRITTEN, CALLING), "straight lines and tapes alone take LLVM's passes"
        defined = {units.name_of(body) for body in units.functions(part.text)}
        declared = {line.split("@")[1].split("(")[0] for line in part.text.splitlines() if line.startswith("declare")}
        constants = [line for line in part.text.splitlines() if line.startswith("@")]
        defined |= {units.name_of(line) for line in constants}
        called = {name for body in (*units.functions(part.text), *constants) for name in units._NAME.findall(body)}
        assert called <= defined | declared


NUMBERS = np.random.default_rng(7).normal(size=(65, 33))


def _outcome(monkeypatch: pytest.MonkeyPatch, together: bool) -> tuple[list[np.ndarray], str]:
    """What some kernels compute, and the text of the largest unit that holds loops."""
    seen: list[str] = []
    real = units.Cut._text

    def text(self: units.Cut, *given: Any) -> str:
        seen.append(real(self, *given))
        return seen[-1]

    monkeypatch.setattr(units.Cut, "_text", text)
    monkeypatch.setattr(jit, "Cut", lambda: units.Cut(together))

    @bl.compile
    def compute(x: bl.Value) -> list[bl.Value]:
        y = bl.exp(x)
        return [y.sum(axis=0), bl.softmax(y, axis=1), bl.sin(x).max(axis=1), bl.cumulative_sum(x, axis=0), y[::-1, 3:]]

    return [np.array(value.data) for value in compute(NUMBERS)], max(seen, key=len)


def test_kernels_in_one_function_give_the_same_bits_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    joined, text = _outcome(monkeypatch, together=True)
    alone, other = _outcome(monkeypatch, together=False)
    assert "switch i64 %which" in text
    assert "switch i64 %which" not in other
    for a, b in zip(joined, alone, strict=True):
        assert np.array_equal(a, b)


KERNEL = """\
define internal void @{name}(ptr %args, i64 %part, i64 %who, i64 %which) #1 {{
entry:
  %a.at = getelementptr inbounds ptr, ptr %args, i64 {begin}
  %a = load ptr, ptr %a.at, align 8
  %b.at = getelementptr inbounds ptr, ptr %args, i64 {end}
  %b = load ptr, ptr %b.at, align 8
  br label %loop1
loop1:
  %i = phi i64 [0, %entry], [%next, %loop1]
  %from = getelementptr inbounds double, ptr %a, i64 %i
  %to = getelementptr inbounds double, ptr %b, i64 %i
  %x = load double, ptr %from, align 8
  %y = f{function} double %x, 3.0
  store double %y, ptr %to, align 8
  %next = add nuw nsw i64 %i, 1
  %on = icmp ult i64 %next, {count}
  br i1 %on, label %loop1, label %done2
done2:
  ret void
}}
"""
ATTRIBUTES = "attributes #1 = { noinline nounwind }\n"
FIRST = KERNEL.format(name="k1", function="mul", begin=0, end=1, count=4)
SECOND = KERNEL.format(name="k2", function="add", begin=1, end=0, count="%part")
CALLER = """\
@calls = internal constant [2 x {T}] [{T} { ptr @k1, i64 0, i64 1 }, {T} { ptr @k2, i64 0, i64 1 }]
define void @main(ptr %table, i64 %count) {
entry:
  %args = alloca [2 x ptr], align 8
  %middle = getelementptr i8, ptr %table, i64 32
  %second = getelementptr ptr, ptr %args, i64 1
  store ptr %table, ptr %args
  store ptr %middle, ptr %second
  br label %call
call:
  %k = phi i64 [0, %entry], [%after, %call]
  %at = getelementptr {T}, ptr @calls, i64 %k
  %function = load ptr, ptr %at
  %which.at = getelementptr i8, ptr %at, i64 8
  %which = load i64, ptr %which.at
  call void %function(ptr %args, i64 3, i64 0, i64 %which)
  %after = add i64 %k, 1
  %more = icmp ult i64 %after, 2
  br i1 %more, label %call, label %end
end:
  ret void
}
""".replace("{T}", "{ ptr, i64, i64 }")


class Written:
    """A source that hands over some of its functions ahead."""

    def __init__(self, *ahead: str) -> None:
        self.ahead = ahead
        self.name = ("written", *ahead)

    text = f"{FIRST}{SECOND}{CALLER}{ATTRIBUTES}"

    def write(self, ahead: Any) -> str:
        for text in self.ahead:
            ahead(text + ATTRIBUTES)
        return self.text

    def told(self) -> list[bytes]:
        return []

    def hear(self, told: Any) -> int:
        return 0


def _computed(source: Written) -> list[float]:
    machine = jit.Machine(source)  # its code lives as long as it does
    numbers = np.array([1.0, 2, 3, 4, 0, 0, 0, 0])
    machine.entry(numbers.__array_interface__["data"][0], 1)
    return numbers.tolist()


def _compiling() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "backlit-compile"]


@pytest.mark.parametrize("ahead", [(), (FIRST,), (SECOND,), (FIRST, SECOND), (FIRST + SECOND,)])
@pytest.mark.parametrize("cpus", [1, 2, 8])
def test_what_is_compiled_ahead_is_called_as_what_is_not(
    ahead: tuple[str, ...], cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert _computed(Written(*ahead)) == [6, 9, 12, 4, 3, 6, 9, 12]


def test_where_no_thread_can_be_started_one_compiles_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert _computed(Written(FIRST)) == [6, 9, 12, 4, 3, 6, 9, 12]


def test_text_that_llvm_refuses_is_an_error_and_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(RuntimeError, match="parsing"):
        jit.Machine(Written(FIRST.replace("fmul", "fmuul"), SECOND))
    assert not _compiling()


def test_an_interrupt_while_text_is_written_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    class Interrupted(Written):
        def write(self, ahead: Any) -> str:
            super().write(ahead)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jit.Machine(Interrupted(FIRST, SECOND))
    assert not _compiling()


def test_threads_take_turns_more_often_only_while_something_is_compiled() -> None:
    before, within = sys.getswitchinterval(), []

    class Watching(Written):
        def write(self, ahead: Any) -> str:
            within.append(sys.getswitchinterval())
            return super().write(ahead)

    class Failing(Watching):
        def write(self, ahead: Any) -> str:
            super().write(ahead)
            raise KeyError

    assert _computed(Watching()) == [6, 9, 12, 4, 3, 6, 9, 12]
    with pytest.raises(KeyError):
        jit.Machine(Failing())
    assert max(within) < before == sys.getswitchinterval()
