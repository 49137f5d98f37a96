"""From LLVM text to a function that can be called."""

from __future__ import annotations

import ctypes
from typing import Any

from backlit.compiler.target import Target, host

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


class Machine:
    """Machine code in this process; it lives as long as this object."""

    def __init__(self, text: str, level: int = 2) -> None:
        import llvmlite.binding as llvm

        target: Target = host()
        machine = target.machine(level)
        module = llvm.parse_assembly(text)
        module.triple = target.triple
        module.data_layout = str(machine.target_data)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization = options.slp_vectorization = True
        options.loop_unrolling = True
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        self.module = module
        self._engine: Any = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self.entry = ENTRY(self._engine.get_function_address("main"))
        self._machine = machine

    def address(self, name: str) -> int:
        """Where a global variable lies."""
        return int(self._engine.get_global_value_address(name))

    @property
    def assembly(self) -> str:
        """The machine code as assembly text."""
        return str(self._machine.emit_assembly(self.module))

    @property
    def optimized(self) -> str:
        """The LLVM text after LLVM's own passes."""
        return str(self.module)
