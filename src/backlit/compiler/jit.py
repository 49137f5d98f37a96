"""From LLVM text to a function that can be called.

The text is cut into units, so that LLVM works on as little as it must: matrix products are written in vectors as they
shall run and go to the code generator at once, as does what only calls others; loops take LLVM's passes first. Units
are compiled side by side, and the object code is kept on disk (`cache`), found again by the name of what it was made
from.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backlit.compiler import cache
from backlit.compiler.scalars import AS_WRITTEN, CALLING, LATE, STRAIGHT
from backlit.compiler.target import Target, host

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
RECIPE = "5"
"""Changes whenever equal text would become other machine code: it is part of the name under which code is kept."""
_WORTH_A_THREAD = 12_000  # characters of text; less compiles sooner than a second thread would start to pay
_WORTH_A_UNIT = 4000  # characters of text; less is compiled sooner beside something else
_COMPUTES = re.compile(r" = (?:load (?:<\d+ x )?(?:half|float|double)\b|[us](?:div|rem) |call \w+ @bl\.)")
"""What a function that only calls others does not do."""
_FUNCTION = re.compile(r"^define .*?^}\n?", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"@([\w.$]+)")
_GLOBAL = re.compile(r"^@([\w.$]+) =.*$", re.MULTILINE)


class Source(Protocol):
    """What machine code is made from. name: texts that decide all of it; told, hear: facts that are kept with the code,
    as pieces of bytes, and how many of such pieces they are.
    """

    @property
    def name(self) -> tuple[str, ...]: ...

    @property
    def text(self) -> str: ...

    def told(self) -> list[bytes]: ...

    def hear(self, told: Sequence[bytes]) -> int: ...


@dataclass
class Text:
    """LLVM text, of which nothing else is to be known."""

    text: str

    @property
    def name(self) -> tuple[str, ...]:
        return (self.text,)

    def told(self) -> list[bytes]:
        return []

    def hear(self, told: Sequence[bytes]) -> int:
        return 0


class Machine:
    """Machine code in this process; it lives as long as this object.

    seconds: what finding it took: "cache" (looking on disk), "write" (LLVM text), "passes", "code" (both summed over
    threads), "link". was_cached: whether the code came from disk, in which case no text was asked for.
    """

    def __init__(self, source: Source | str, level: int = 2) -> None:
        self.source: Source = Text(source) if isinstance(source, str) else source
        self.level = level
        self.seconds = {"cache": 0.0, "write": 0.0, "passes": 0.0, "code": 0.0, "link": 0.0}
        target = host()
        kept = cache.standard()
        start = time.perf_counter()
        key = kept.key(*self.source.name, *_circumstances(target, level)) if kept is not None else ""
        found = kept.get(key) if kept is not None else None
        self.seconds["cache"] = time.perf_counter() - start
        self.was_cached = found is not None and self._link(target, found[self.source.hear(found) :])
        if not self.was_cached:
            start = time.perf_counter()
            text = self.source.text
            self.seconds["write"] = time.perf_counter() - start
            objects = _compiled(units(text), target, level, self.seconds)
            if not self._link(target, objects):
                raise RuntimeError("LLVM wrote object code that it cannot load.")
            if kept is not None:
                kept.put(key, [*self.source.told(), *objects])

    def _link(self, target: Target, objects: Sequence[bytes]) -> bool:
        """Load object code; False if there is something wrong with it."""
        import llvmlite.binding as llvm

        start = time.perf_counter()
        try:
            stub = llvm.parse_assembly(f'target triple = "{target.triple}"')
            self._engine: Any = llvm.create_mcjit_compiler(stub, target.loader())
            for data in objects:
                self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
            self._engine.finalize_object()
            address = self._engine.get_function_address("main")
        except (RuntimeError, ValueError):
            return False
        self.seconds["link"] = time.perf_counter() - start
        if not address:
            return False
        self.entry = ENTRY(address)
        return True

    def address(self, name: str) -> int:
        """Where a global variable lies."""
        return int(self._engine.get_global_value_address(name))

    def function(self, name: str) -> int:
        """Where a function lies."""
        return int(self._engine.get_function_address(name))

    @property
    def assembly(self) -> str:
        """The machine code as assembly text, written anew."""
        return "\n".join(_outcome(unit, host(), self.level)[1] for unit in units(self.source.text))

    @property
    def optimized(self) -> str:
        """The LLVM text after LLVM's own passes, which run anew."""
        return "\n".join(_outcome(unit, host(), self.level)[0] for unit in units(self.source.text))


def of_function(text: str, name: str, level: int = 2) -> tuple[str, str]:
    """What becomes of one function of a module: its LLVM text after LLVM's passes, and its assembly.

    text: the whole module.
    """
    for unit in units(text):
        if name in unit.functions:
            optimized, assembly = _outcome(unit, host(), level)
            body = next((f for f in _FUNCTION.findall(optimized) if _name_of(f) == name), optimized)
            lines = assembly.splitlines()
            begin = next((k for k, line in enumerate(lines) if re.match(rf"_?{re.escape(name)}:", line)), 0)
            end = next(
                (k for k in range(begin, len(lines)) if re.match(r"\s*\.size|\.Lfunc_end|\s*\.cfi_endproc", lines[k])),
                len(lines),
            )
            return body.rstrip(), "\n".join(lines[begin:end])
    raise KeyError(name)


# -- units -------------------------------------------------------------------------------------------------------


@dataclass
class Unit:
    """A part of a module that is compiled alone. kind: the attributes of its functions, which say what LLVM's passes
    have to do, and whether the machine code needs no care.
    """

    text: str
    functions: list[str]
    kind: str


def units(text: str) -> list[Unit]:
    """A module in parts, by what LLVM has to do, and in two where that is much."""
    bodies = _FUNCTION.findall(text)
    rest = _FUNCTION.sub("", text)
    by_name = {_name_of(body): body for body in bodies}
    heads = {name: body.split("\n", 1)[0] for name, body in by_name.items()}
    tables = {_name_of(line): _NAME.findall(line) for line in rest.splitlines() if line.startswith("@")}
    inlined = {name for name, head in heads.items() if " alwaysinline " in head}
    needs = {
        name: [other for other in dict.fromkeys(_names(body, tables)) if other in by_name and other != name]
        for name, body in by_name.items()
    }
    kinds: dict[str, list[str]] = {LATE: [], STRAIGHT: [], AS_WRITTEN: [], CALLING: []}
    for name, body in by_name.items():
        if name not in inlined:
            kinds[_kind(name, heads[name], body)].append(name)
    if sum(len(by_name[name]) for name in kinds[CALLING]) < _WORTH_A_UNIT:  # compiled sooner beside something else
        others = next((kinds[kind] for kind in (AS_WRITTEN, STRAIGHT, LATE) if kinds[kind]), None)
        if others is not None:
            others.extend(kinds.pop(CALLING))
    groups = [(part, kind) for kind, names in kinds.items() for part in _parts(names, by_name) if part]
    whole = len(groups) == 1
    return [Unit(_unit_text(rest, group, by_name, needs, inlined, whole), group, kind) for group, kind in groups]


def _kind(name: str, head: str, body: str) -> str:
    if name.startswith("product."):
        return AS_WRITTEN
    for attributes in (AS_WRITTEN, STRAIGHT, CALLING):
        if f" {attributes} " in head:
            return attributes
    if not _COMPUTES.search(body):
        return CALLING
    return AS_WRITTEN if name.startswith("product") else LATE


def _parts(names: list[str], by_name: dict[str, str]) -> list[list[str]]:
    """All in one, or in two of about the same length if they are worth a thread each."""
    if len(names) < 2 or sum(len(by_name[name]) for name in names) < _WORTH_A_THREAD:
        return [names]
    halves: list[list[str]] = [[], []]
    sizes = [0, 0]
    for name in sorted(names, key=lambda name: -len(by_name[name])):
        smaller = sizes.index(min(sizes))
        halves[smaller].append(name)
        sizes[smaller] += len(by_name[name])
    return halves if min(sizes) > _WORTH_A_UNIT else [names]


def _names(body: str, tables: dict[str, list[str]]) -> Iterator[str]:
    """What a function mentions, and what the constants mention that it mentions."""
    for name in _NAME.findall(body):
        yield name
        yield from tables.get(name, ())


def _unit_text(
    rest: str,
    group: Sequence[str],
    by_name: dict[str, str],
    needs: dict[str, list[str]],
    inlined: set[str],
    whole: bool,
) -> str:
    """The text of some functions, with all that they need: declared where it is compiled elsewhere."""
    inside = set(group)
    helpers: dict[str, None] = {}
    stack = list(group)
    outside: dict[str, None] = {}
    while stack:
        for name in needs[stack.pop()]:
            if name in inlined:
                if name not in helpers:
                    helpers[name] = None
                    stack.append(name)
            elif name not in inside:
                outside[name] = None
    bodies = [by_name[name] for name in [*(n for n in by_name if n in helpers), *group]]
    if not whole:
        bodies = [body.replace("define internal", "define", 1) if _name_of(body) in inside else body for body in bodies]
    used = set(_NAME.findall("\n".join(bodies)))
    head = [
        line
        for line in rest.splitlines()
        if not line.startswith(("@", "declare")) or (found := _NAME.search(line)) is None or found.group(1) in used
    ]
    declared = [_declaration(by_name[name]) for name in outside]
    return "\n".join([*head, *declared, *bodies]) + "\n"


def _declaration(body: str) -> str:
    """`declare` for what `define` says."""
    line = body.split("\n", 1)[0].replace("define internal", "declare").replace("define", "declare")
    begin = line.index("(")
    depth = 0
    for k in range(begin, len(line)):
        depth += (line[k] == "(") - (line[k] == ")")
        if not depth:
            return line[: k + 1]
    return line


def _name_of(body: str) -> str:
    found = _NAME.search(body)
    assert found is not None
    return found.group(1)


# -- LLVM --------------------------------------------------------------------------------------------------------


def _circumstances(target: Target, level: int) -> tuple[str, ...]:
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


def _compiled(parts: Sequence[Unit], target: Target, level: int, seconds: dict[str, float]) -> list[bytes]:
    """Object code for each unit. Units are compiled side by side where there is more than one CPU."""
    results: list[Any] = [None] * len(parts)
    order = sorted(
        range(len(parts)), key=lambda k: (parts[k].kind != LATE, -len(parts[k].text))
    )  # what takes longest first

    def work() -> None:
        while order:
            try:
                k = order.pop(0)
            except IndexError:  # another thread was faster
                return
            try:
                results[k] = _object(parts[k], target, level)
            except Exception as error:  # noqa: BLE001 -- raised again by the thread that waits
                results[k] = error

    helpers = []
    lengths = sorted(len(part.text) for part in parts)
    if len(parts) > 1 and (os.cpu_count() or 1) > 1 and lengths[-2] > _WORTH_A_THREAD // 2:
        _object_functions()  # what is set once, is set before there are several threads
        target.machine(level)
        helpers = [threading.Thread(target=work, name="backlit-compile") for _ in range(min(len(parts), 4) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    objects = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        data, passes, code = result
        seconds["passes"] += passes
        seconds["code"] += code
        objects.append(data)
    return objects


def _module(unit: Unit, target: Target, level: int) -> tuple[Any, Any, Any]:
    """A module after its passes, its context, and a machine that writes code for it. Verified before the passes."""
    import llvmlite.binding as llvm

    context = llvm.create_context()  # each thread has its own
    machine = target.machine(0 if unit.kind == CALLING else level)
    module = llvm.parse_assembly(unit.text, context)
    module.triple = target.triple
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
    return module, context, machine


def _run(manager: Any, module: Any, builder: Any) -> None:
    """Run passes, and free their manager. Its own `close` finds the `_dispose` of another base class first, which frees
    nothing.
    """
    from llvmlite.binding.newpassmanagers import NewPassManager

    _object_functions()[0](manager, module, builder)
    NewPassManager._dispose(manager)
    manager.detach()


def _object(unit: Unit, target: Target, level: int) -> tuple[bytes, float, float]:
    """Object code of a unit, and the seconds that passes and code generation took."""
    from llvmlite.binding import ffi

    start = time.perf_counter()
    module, _context, machine = _module(unit, target, level)
    optimized = time.perf_counter()
    with ffi.OutputString() as message:
        buffer = _object_functions()[1](machine, module, 1, message)
        if not buffer:
            raise RuntimeError(str(message))
    try:
        data = ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)
    return data, optimized - start, time.perf_counter() - optimized


def _object_functions() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What runs the passes and what writes object code.

    llvmlite lets one thread at a time into LLVM. LLVM itself asks only that threads share no context, and here each
    has its own, so these two, which take nearly all of the time, go without llvmlite's lock where it can be passed by.
    """
    from llvmlite.binding import ffi

    found = (ffi.lib.LLVMPY_RunNewModulePassManager, ffi.lib.LLVMPY_TargetMachineEmitToMemory)
    return getattr(found[0], "_cfn", found[0]), getattr(found[1], "_cfn", found[1])


def _outcome(unit: Unit, target: Target, level: int) -> tuple[str, str]:
    """The text of a unit after LLVM's passes, and its assembly."""
    module, _context, machine = _module(unit, target, level)
    return str(module), str(machine.emit_assembly(module))
