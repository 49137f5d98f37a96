"""What the CPU offers: width and number of its vector registers, and its caches. Code is emitted for one `Target`."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backlit.core.errors import DomainError


def is_x86(triple: str) -> bool:
    return triple.startswith(("x86_64", "i686", "i386", "amd64"))


@dataclass(frozen=True)
class Target:
    """A CPU to emit code for.

    `name` and `features` are LLVM's (`-mcpu`, `-mattr`); an empty `features` leaves what the name implies. A vector
    register holds `lanes_bytes` bytes and there are `registers` of them. `l1_bytes` and `l2_bytes` are the data caches
    of one core: they size blocks, and a wrong value costs speed, never correctness.

    >>> named("haswell").lanes("float"), named("haswell").lanes("double")
    (8, 4)
    """

    name: str
    features: str
    triple: str
    lanes_bytes: int
    registers: int
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 512 * 1024

    def lanes(self, dtype: str) -> int:
        """How many numbers of an LLVM type ("float" or "double") fill one vector register."""
        return self.lanes_bytes // (4 if dtype == "float" else 8)

    @property
    def has_masks(self) -> bool:
        """Whether a partial vector costs one instruction (AVX-512 mask registers), and a scalar in memory can be
        broadcast by the instruction that uses it.
        """
        return self.lanes_bytes == 64

    @property
    def fuses(self) -> bool:
        """Whether the CPU multiplies and adds with one rounding; one that cannot would call a slow function."""
        return self.lanes_bytes > 16 or not is_x86(self.triple)

    @property
    def converts(self) -> bool:
        """Whether the CPU has instructions between float16 and every other floating-point dtype."""
        return not is_x86(self.triple) or "+avx512fp16" in self.features.split(",")

    def machine(self, opt: int = 2) -> Any:
        """LLVM's target machine for this CPU (an `llvmlite.binding.TargetMachine`), at optimization level `opt`."""
        return _llvm_target(self.triple).create_target_machine(cpu=self.name, features=self.features, opt=opt)

    def loader(self) -> Any:
        """A target machine to load object code with. What LLVM then compiles is an empty module: it is told nothing of
        the CPU, nor to take care, which saves a third of the time that loading takes.
        """
        return _llvm_target(self.triple).create_target_machine(opt=0)


def _llvm_target(triple: str) -> Any:
    import llvmlite.binding as llvm

    _initialize(triple == llvm.get_process_triple())
    return llvm.Target.from_triple(triple)


@cache
def _initialize(native: bool) -> None:
    """Make LLVM ready to write code: for this machine, or for all machines it knows."""
    import llvmlite.binding as llvm

    if native:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    with _lock:
        _leave_out_checksums()


_lock = threading.Lock()


@cache
def _leave_out_checksums() -> None:
    """Tell LLVM not to look for loops that compute a checksum (CRC), which it does since version 21.

    There are none here, and it walks every path from a result back to what a loop carries: two sines one after the
    other in a loop of a multiple of 8 turns took it minutes (`HashRecognize`, LLVM 22).
    """
    import llvmlite.binding as llvm

    # An option that LLVM does not know, or is told twice, ends the process.
    option = {21: "-disable-loop-idiom-all", 22: "-disable-loop-idiom-hashrecognize"}.get(llvm.llvm_version_info[0])
    if option is not None:
        llvm.set_option("", option)


_LINUX_X86 = "x86_64-unknown-linux-gnu"
_NAMED = {
    "skylake-avx512": Target("skylake-avx512", "", _LINUX_X86, 64, 32, 32 * 1024, 1024 * 1024),
    "haswell": Target("haswell", "", _LINUX_X86, 32, 16, 32 * 1024, 256 * 1024),
    "x86-64": Target("x86-64", "", _LINUX_X86, 16, 16, 32 * 1024, 256 * 1024),
    "aarch64": Target("generic", "+neon", "aarch64-unknown-linux-gnu", 16, 32, 64 * 1024, 512 * 1024),
}


def named(name: str) -> Target:
    """A CPU by name, to look at the code it would get: "skylake-avx512", "haswell", "x86-64" or "aarch64".

    >>> named("aarch64").registers
    32
    """
    if name not in _NAMED:
        raise DomainError(
            f"no target is named {name!r}; there are {', '.join(sorted(_NAMED))}, and host() for this CPU"
        )
    return _NAMED[name]


@cache
def host() -> Target:
    """The CPU that this process runs on.

    An x86 CPU without AVX, or a kind of CPU not known here, is taken to have vectors of 16 bytes, which LLVM can
    always provide.
    """
    import llvmlite.binding as llvm

    triple = llvm.get_process_triple()
    features = llvm.get_host_cpu_features()
    x86 = is_x86(triple)
    if x86 and all(features.get(name) for name in ("avx512f", "avx512vl", "avx512dq", "avx512bw")):
        width, registers = 64, 32
    elif x86 and features.get("avx2") and features.get("fma"):
        width, registers = 32, 16
    else:
        width, registers = 16, 16 if x86 else 32
    l1 = _cache_bytes(1, 32 * 1024)
    l2 = _cache_bytes(2, 512 * 1024)
    return Target(llvm.get_host_cpu_name(), features.flatten(), triple, width, registers, l1, l2)


def _cache_bytes(level: int, default: int) -> int:
    """Size of a data cache of the first core, as the system tells it; `default` where it does not."""
    for index in range(6):
        folder = Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}")
        try:
            if int((folder / "level").read_text()) != level or "Instruction" in (folder / "type").read_text():
                continue
            text = (folder / "size").read_text().strip()
            return int(text.rstrip("KMG")) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1], 1)
        except (OSError, ValueError, IndexError):
            continue
    try:
        size = os.sysconf("SC_LEVEL1_DCACHE_SIZE" if level == 1 else "SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, OSError, ValueError):
        return default
    return size if size > 0 else default
