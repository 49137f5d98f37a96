"""Code for other CPUs, run on this one where it can be."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backlit.compiler import jit
from backlit.compiler.vmath import halves

CONVERSION = """
{declares}
{functions}
define void @main(ptr %table, i64 %count) {{
entry:
  %q = getelementptr i8, ptr %table, i64 {skip}
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %a = getelementptr {have}, ptr %table, i64 %i
  %x = load {have}, ptr %a, align 1
  %y = call {want} @{name}({have} %x)
  %b = getelementptr {want}, ptr %q, i64 %i
  store {want} %y, ptr %b, align 1
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


def _converted(x: np.ndarray, name: str, have: str, want: str, dtype: str) -> np.ndarray:
    memory = np.zeros(x.nbytes + x.size * np.dtype(dtype).itemsize, np.uint8)
    memory[: x.nbytes] = x.view(np.uint8)
    declares = "\n".join(halves.DECLARES)
    text = CONVERSION.format(
        declares=declares, functions=halves.CONVERSIONS, skip=x.nbytes, have=have, want=want, name=name
    )
    machine = jit.Machine(text)
    machine.entry(memory.ctypes.data, x.size)
    return memory[x.nbytes :].view(dtype)


def _same(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_conversions_of_float16_without_instructions_for_them() -> None:
    halfs = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    singles = halfs.astype(np.float32)
    _same(_converted(halfs, "__extendhfsf2", "half", "float", "f4"), singles)
    rng = np.random.default_rng(0)
    between = (singles[1:] + singles[:-1]) / 2
    any_bits = rng.integers(0, 1 << 32, 300_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([singles, between, np.nextafter(between, np.float32(1)), any_bits])
    _same(_converted(x, "__truncsfhf2", "float", "half", "f2"), x.astype(np.float16))
    wide = x.astype(np.float64)
    x = np.concatenate([wide, np.nextafter(wide, 1.0), rng.normal(size=100_000) * 1e-5])
    _same(_converted(x, "__truncdfhf2", "double", "half", "f2"), x.astype(np.float16))


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="runs code for x86")
@pytest.mark.parametrize("name", ["haswell", "x86-64"])
def test_what_is_compiled_for_older_cpus_runs_here(name: str) -> None:
    folder = Path(__file__).parent
    files = [
        folder / f"test_{part}.py" for part in ("abreast", "ops", "gemm", "vector_math", "followed", "layers", "team")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *map(str, files)]
    done = subprocess.run(
        command, env=os.environ | {"BACKLIT_TEST_TARGET": name}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
