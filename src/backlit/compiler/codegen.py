"""From LLVM text to object code.

The text comes in units, which LLVM compiles side by side, the first of them while others are still being written.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from backlit.compiler import cache
from backlit.compiler.scalars import CALLING, LATE, STRAIGHT
from backlit.compiler.target import Target
from backlit.compiler.units import WORTH_A_THREAD, Cut, Unit

RECIPE = "6"
"""Changes whenever equal text would become other machine code: it is part of the name under which code is kept."""


def circumstances(target: Target, level: int) -> tuple[str, ...]:
    """All that decides, beside the source, which machine code it becomes."""
    import llvmlite
    import llvmlite.binding as llvm

    version = str(getattr(sys.modules.get("backlit"), "__version__", ""))
    llvm_version = ".".join(map(str, llvm.llvm_version_info))
    return (
        target.triple,
        target.name,
        target.features,
        llvmlite.__version__,
        llvm_version,
        version,
        str(level),
        RECIPE,
    )


class Compiler:
    """Turns a program into object code, in a `with` around the writing of its text: by several threads where there is
    more than one CPU, and while the text is still written. What programs have in common is compiled once. seconds:
    what passes and code generation took, summed over threads.
    """

    def __init__(self, target: Target, level: int, kept: cache.Cache | None = None) -> None:
        self.target, self.level = target, level
        self._common = _Common(kept, circumstances(target, level))
        self._cut = Cut()
        self._jobs: list[_Job] = []
        self._waiting: list[_Job] = []  # the longest last, which is begun first: so all threads end at about one time
        self._threads: list[threading.Thread] = []
        self._most = min(os.cpu_count() or 1, 4)

    def __enter__(self) -> Self:
        _hurry.begin()
        return self

    def __exit__(self, *error: object) -> None:
        """Give up what nobody has begun, and wait for what somebody has."""
        _hurry.end()
        self._waiting.clear()
        self._join()
        for job in self._jobs:
            job.drop()

    def ahead(self, text: str) -> None:
        """Begin with functions that are written as they shall run, and call none but those in this text."""
        if self._most > 1:
            unit = self._cut.ahead(text)
            if not self._common.has(unit):
                job = _Job(unit, self.target, self.level)
                job.prepare()  # not by the other thread, which has to wait for Python after each call of LLVM
                self._add(job)
                self._hire(2)

    def rest(self, text: str) -> list[bytes]:
        """The object code of all units, once the whole text is there."""
        for unit in self._cut.rest(text):
            if not self._common.has(unit):
                self._add(_Job(unit, self.target, self.level))
        self._hire(min(self._most, 1 + sum(len(job.unit.text) > WORTH_A_THREAD // 2 for job in self._waiting[:-1])))
        self._work()
        if any(thread.is_alive() for thread in self._threads):
            gc.collect(0)  # Python would do so when all is done; while others still write code, it takes no time
        self._join()
        for job in self._jobs:
            self._common.add(job.unit, job.code())
        return [*(job.code() for job in self._jobs), *self._common.used]

    @property
    def seconds(self) -> dict[str, float]:
        return {"passes": sum(job.passes for job in self._jobs), "code": sum(job.writing for job in self._jobs)}

    def _add(self, job: _Job) -> None:
        self._jobs.append(job)
        insort(self._waiting, job, key=lambda job: (job.unit.kind == LATE, len(job.unit.text)))

    def _hire(self, count: int) -> None:
        """See to it that so many threads work, this one included."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while len(self._threads) < count - 1:
            _object_functions()  # what is set once, is set before there are several threads
            thread = threading.Thread(target=self._work, name="backlit-compile")
            try:
                thread.start()
            except RuntimeError:  # where no thread can be started, this one does everything
                return
            self._threads.append(thread)

    def _work(self) -> None:
        while self._waiting:
            try:
                job = self._waiting.pop()
            except IndexError:  # another thread was faster
                return
            job.write()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()


_found: dict[str, bytes] = {}
"""Object code of what programs have in common, as far as this process knows it."""


class _Common:
    """The object code of functions that one program has in common with others: what was compiled for another one, in
    this process or before. used: what this program needs of that.
    """

    def __init__(self, kept: cache.Cache | None, circumstances: Sequence[str]) -> None:
        self.used: list[bytes] = []
        self._kept, self._circumstances = kept, circumstances

    def has(self, unit: Unit) -> bool:
        """Whether a unit need not be compiled; then its code is used."""
        if not unit.is_common:
            return False
        key = self._key(unit)
        if key not in _found:
            objects = self._kept.get(key) if self._kept is not None else None
            if objects is None:
                return False
            (_found[key],) = objects
        self.used.append(_found[key])
        return True

    def add(self, unit: Unit, code: bytes) -> None:
        """Code that was compiled just now, for programs to come."""
        if unit.is_common:
            key = self._key(unit)
            _found[key] = code
            if self._kept is not None:
                self._kept.put(key, [code])

    def _key(self, unit: Unit) -> str:
        return cache.Cache.key(unit.text, *self._circumstances)


class _Hurry:
    """While something is compiled, threads of Python take turns ten times as often: one that has its machine code, and
    only wants the next piece of text, does not wait five milliseconds for the one that is writing.
    """

    SECONDS = 0.0005

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before = 0.0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """In the child of a fork there are no other threads, and nothing is being compiled."""
        self._lock = threading.Lock()
        if self._count:
            self._count = 0
            sys.setswitchinterval(self._before)

    def begin(self) -> None:
        with self._lock:
            if not self._count:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, self.SECONDS))
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                sys.setswitchinterval(self._before)


_hurry = _Hurry()


# -- LLVM --------------------------------------------------------------------------------------------------------


class _Job:
    """A unit on its way to object code. What goes wrong is raised where the code is asked for."""

    def __init__(self, unit: Unit, target: Target, level: int) -> None:
        self.unit, self.target, self.level = unit, target, level
        self.passes = self.writing = 0.0
        self._prepared: tuple[Any, ...] | None = None
        self._buffer: Any = None
        self._error: Exception | None = None

    def prepare(self) -> None:
        """All but the machine code."""
        from llvmlite.binding import ffi

        start = time.perf_counter()
        try:
            self._prepared = (*_module(self.unit, self.target, self.level), ffi.OutputString())
        except Exception as error:  # noqa: BLE001
            self._error = error
        self.passes = time.perf_counter() - start

    def write(self) -> None:
        """The machine code: one call of LLVM, during which other threads run."""
        if self._prepared is None and self._error is None:
            self.prepare()
        if self._prepared is not None:
            start = time.perf_counter()
            module, _context, message = self._prepared
            with _machine(self.target, self.unit.kind, self.level) as machine:
                self._buffer = _object_functions()[1](machine, module, 1, message)
            self.writing = time.perf_counter() - start

    def code(self) -> bytes:
        from llvmlite.binding import ffi

        if self._error is not None:
            raise self._error
        assert self._prepared is not None
        if not self._buffer:
            raise RuntimeError(str(self._prepared[-1]))
        return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(self._buffer), ffi.lib.LLVMPY_GetBufferSize(self._buffer))

    def drop(self) -> None:
        """Free what LLVM holds."""
        from llvmlite.binding import ffi

        if self._buffer:
            ffi.lib.LLVMPY_DisposeMemoryBuffer(self._buffer)
        if self._prepared is not None:
            self._prepared[-1].close()
        self._buffer = self._prepared = None


_idle: dict[tuple[Target, int], list[Any]] = {}
"""LLVM's target machines that no thread works with."""


@contextmanager
def _machine(target: Target, kind: str, level: int) -> Iterator[Any]:
    """What writes code for a kind of function, for one thread at a time. It is made once, and lent: half of what the
    code of a small unit takes, is spent on finding out what the CPU can.
    """
    key = target, 0 if kind == CALLING else level
    idle = _idle.setdefault(key, [])
    try:
        machine = idle.pop()
    except IndexError:
        machine = target.machine(key[1])
    try:
        yield machine
    finally:
        idle.append(machine)


def _module(unit: Unit, target: Target, level: int) -> tuple[Any, Any]:
    """A module after its passes, and its context. Verified before the passes."""
    import llvmlite.binding as llvm

    context = llvm.create_context()  # each thread has its own
    module = llvm.parse_assembly(unit.text, context)
    module.triple = target.triple
    with _machine(target, unit.kind, level) as machine:
        module.data_layout = str(machine.target_data)
        module.verify()
        if unit.kind == LATE:
            # Level 1 leaves out what finds nothing in such code; what makes it fast are the vectorizers.
            options = llvm.create_pipeline_tuning_options(speed_level=1)
            options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = True
            builder = llvm.create_pass_builder(machine, options)
            _run(builder.getModulePassManager(), module, builder)
        elif " alwaysinline " in unit.text:
            builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=0))
            manager = llvm.create_new_module_pass_manager()
            manager.add_always_inliner_pass()
            if unit.kind == STRAIGHT:
                manager.add_instruction_combine_pass()
            _run(manager, module, builder)
    return module, context


def _run(manager: Any, module: Any, builder: Any) -> None:
    """Run passes, and free their manager. Its own `close` finds the `_dispose` of another base class first, which frees
    nothing.
    """
    from llvmlite.binding.newpassmanagers import NewPassManager

    _object_functions()[0](manager, module, builder)
    NewPassManager._dispose(manager)
    manager.detach()


def _object_functions() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What runs the passes and what writes object code.

    llvmlite lets one thread at a time into LLVM. LLVM itself asks only that threads share no context, and here each
    has its own, so these two, which take nearly all of the time, go without llvmlite's lock where it can be passed by.
    """
    from llvmlite.binding import ffi

    found = (ffi.lib.LLVMPY_RunNewModulePassManager, ffi.lib.LLVMPY_TargetMachineEmitToMemory)
    return getattr(found[0], "_cfn", found[0]), getattr(found[1], "_cfn", found[1])


def outcome(unit: Unit, target: Target, level: int) -> tuple[str, str]:
    """The text of a unit after LLVM's passes, and its assembly."""
    module, _context = _module(unit, target, level)
    with _machine(target, unit.kind, level) as machine:
        return str(module), str(machine.emit_assembly(module))
