"""From a program to a function that can be called.

Object code is found on disk (`cache`) by the name of what it is made from, or else made (`codegen`) and kept there.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backlit.compiler import cache
from backlit.compiler.codegen import Compiler, circumstances, outcome
from backlit.compiler.target import Target, host
from backlit.compiler.units import functions, name_of, units

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


class Source(Protocol):
    """What machine code is made from. name: texts that decide all of it; write: the text, parts of which are handed
    over before the whole is there; told, hear: facts that are kept with the code, as pieces of bytes, and how many of
    such pieces they are.
    """

    @property
    def name(self) -> tuple[str, ...]: ...

    @property
    def text(self) -> str: ...

    def write(self, ahead: Callable[[str], None]) -> str: ...

    def told(self) -> list[bytes]: ...

    def hear(self, told: Sequence[bytes]) -> int: ...


@dataclass
class Text:
    """LLVM text, of which nothing else is to be known."""

    text: str

    @property
    def name(self) -> tuple[str, ...]:
        return (self.text,)

    def write(self, ahead: Callable[[str], None]) -> str:
        return self.text

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
        key = kept.key(*self.source.name, *circumstances(target, level)) if kept is not None else ""
        found = kept.get(key) if kept is not None else None
        self.seconds["cache"] = time.perf_counter() - start
        self.was_cached = found is not None and self._link(target, found[self.source.hear(found) :])
        if not self.was_cached:
            objects = self._compiled(target, kept)
            if not self._link(target, objects):
                raise RuntimeError("LLVM wrote object code that it cannot load.")
            if kept is not None:
                kept.put(key, [*self.source.told(), *objects])

    def _compiled(self, target: Target, kept: cache.Cache | None) -> list[bytes]:
        """Object code for each unit of the text, which is written now."""
        with Compiler(target, self.level, kept.common if kept is not None else None) as compiler:
            start = time.perf_counter()
            text = self.source.write(compiler.ahead)
            self.seconds["write"] = time.perf_counter() - start
            objects = compiler.rest(text)
            self.seconds.update(compiler.seconds)
        return objects

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
        return "\n".join(outcome(unit, host(), self.level)[1] for unit in units(self.source.text))

    @property
    def optimized(self) -> str:
        """The LLVM text after LLVM's own passes, which run anew."""
        return "\n".join(outcome(unit, host(), self.level)[0] for unit in units(self.source.text))


def of_function(text: str, name: str, level: int = 2) -> tuple[str, str]:
    """What becomes of one function of a module: its LLVM text after LLVM's passes, and its assembly.

    text: the whole module.
    """
    for unit in units(text):
        if name in unit.functions:
            optimized, assembly = outcome(unit, host(), level)
            body = next((f for f in functions(optimized) if name_of(f) == name), optimized)
            lines = assembly.splitlines()
            begin = next((k for k, line in enumerate(lines) if re.match(rf"_?{re.escape(name)}:", line)), 0)
            end = next(
                (k for k in range(begin, len(lines)) if re.match(r"\s*\.size|\.Lfunc_end|\s*\.cfi_endproc", lines[k])),
                len(lines),
            )
            return body.rstrip(), "\n".join(lines[begin:end])
    raise KeyError(name)
