"""Units compiled side by side and ahead of the rest: always the same program, and nothing is left behind."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import codegen, jit
from backlit.compiler.scalars import AS_WRITTEN, CALLING
from backlit.compiler.target import host


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLIT_CACHE_DIR", "off")


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


def test_a_target_machine_is_lent_to_one_thread_at_a_time_and_then_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codegen, "_idle", {})
    lent: list[Any] = []

    def borrow() -> None:
        with codegen._machine(host(), AS_WRITTEN, 2) as machine:
            lent.append(machine)

    with codegen._machine(host(), AS_WRITTEN, 2) as first, codegen._machine(host(), AS_WRITTEN, 2) as second:
        assert first is not second
    for _ in range(3):
        thread = threading.Thread(target=borrow)
        thread.start()
        thread.join()
    assert all(machine in (first, second) for machine in lent)
    with codegen._machine(host(), CALLING, 2) as careless:
        assert careless not in (first, second), "it writes code without care"


@pytest.mark.parametrize("cpus", [1, 2])
def test_products_in_parts_and_in_batches_are_called_however_they_were_compiled(
    cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    monkeypatch.setattr(codegen, "_found", {})
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(160, 170)), rng.normal(size=(6, 9, 5))

    def f(x: Any, y: Any) -> Any:
        return bl.tanh(x @ x.T), y @ bl.permute_dims(y, (0, 2, 1))

    compiled = bl.compile(f)
    for found, wanted in zip(compiled(x, y), f(bl.asarray(x), bl.asarray(y)), strict=True):
        np.testing.assert_allclose(found.data, wanted.data, rtol=1e-12, atol=1e-12)
    text = compiled.entries[0].program.text
    assert "@bl_job" in text
    assert "@bl_batch" in text


def test_the_longest_unit_is_begun_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    begun: list[int] = []
    write = codegen._Job.write

    def spy(self: Any) -> None:
        begun.append(len(self.unit.text))
        write(self)

    monkeypatch.setattr(codegen._Job, "write", spy)
    x = np.ones((40, 30))
    bl.compile(lambda x: bl.softmax(bl.tanh(x @ x.T), axis=1).sum(axis=0))(x)
    assert len(begun) > 2
    assert begun == sorted(begun, reverse=True)


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
