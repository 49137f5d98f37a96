"""Matrix products on one thread: the emitted kernels, NumPy's OpenBLAS and PyTorch's MKL, in GFLOP/s.

`python -m benchmarks.gemm [--quick]`. Where the libraries' own functions can be reached (the usual Linux builds), each
contestant runs in a loop of machine code, so that no Python stands in the times; elsewhere `numpy.matmul` and
`torch.mm` are called from Python, which costs them up to a microsecond a call. Results are compared before the timing.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from backlit.compiler.gemm import Kernel, Product, emit
from backlit.compiler.target import host
from benchmarks.timing import machine

SHAPES = {
    "64-128-10, batch 32": [
        Product(32, 128, 64),
        Product(32, 10, 128),
        Product(64, 128, 32, a_transposed=True),
        Product(128, 10, 32, a_transposed=True),
        Product(32, 128, 10, b_transposed=True),
    ],
    "30-64-27, batch 32": [
        Product(32, 64, 30),
        Product(32, 27, 64),
        Product(30, 64, 32, a_transposed=True),
        Product(64, 27, 32, a_transposed=True),
        Product(32, 64, 27, b_transposed=True),
        Product(32, 30, 64, b_transposed=True),
    ],
    "784-512-512-10, batch 128": [
        Product(128, 512, 784),
        Product(128, 512, 512),
        Product(128, 10, 512),
        Product(784, 512, 128, a_transposed=True),
        Product(512, 512, 128, a_transposed=True),
        Product(512, 10, 128, a_transposed=True),
        Product(128, 512, 512, b_transposed=True),
        Product(128, 512, 10, b_transposed=True),
    ],
    "transformer, d 64": [
        Product(512, 192, 64),
        Product(512, 64, 64),
        Product(512, 256, 64),
        Product(512, 64, 256),
        Product(64, 192, 512, a_transposed=True),
        Product(64, 256, 512, a_transposed=True),
        Product(256, 64, 512, a_transposed=True),
        Product(512, 64, 192, b_transposed=True),
        Product(512, 64, 256, b_transposed=True),
        Product(512, 256, 64, b_transposed=True),
        Product(32, 32, 16),
        Product(32, 32, 16, b_transposed=True),
        Product(32, 16, 32),
        Product(32, 16, 32, a_transposed=True),
    ],
    "moons, float64, 100 points": [
        Product(100, 16, 2, "double"),
        Product(100, 16, 16, "double"),
        Product(100, 1, 16, "double"),
        Product(16, 16, 100, "double", a_transposed=True),
        Product(100, 16, 16, "double", b_transposed=True),
        Product(16, 1, 100, "double", a_transposed=True),
        Product(100, 16, 1, "double", b_transposed=True),
    ],
    "odd and large": [
        Product(101, 103, 97),
        Product(1000, 1000, 1000),
        Product(1000, 1, 1000),
        Product(1, 1000, 1000),
    ],
}

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

LOOP = """
define void @loop.{name}(ptr %A, ptr %B, ptr %C, ptr %W, i64 %times) {{
entry:
{prepare}
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {call}
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %times
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""

Loop = Callable[[int, int, int, int, int], None]


class Machine:
    """A module of machine code, its loops as Python functions, and the milliseconds of CPU that making it took.

    LLVM's passes before code generation are left out: the kernels' text does not need them.
    """

    def __init__(self, text: str) -> None:
        start = time.process_time()
        target = host().machine()
        module = llvm.parse_assembly(text)
        module.verify()
        module.triple, module.data_layout = llvm.get_process_triple(), str(target.target_data)
        self.engine = llvm.create_mcjit_compiler(module, target)
        self.engine.finalize_object()
        self.milliseconds = 1e3 * (time.process_time() - start)

    def loop(self, name: str) -> Loop:
        pointer = ctypes.c_void_p
        kind = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, pointer, ctypes.c_int64)
        found: Loop = kind(self.engine.get_function_address(f"loop.{name}"))
        return found


def ours(kernel: Kernel) -> Machine:
    """The emitted kernel, compiled."""
    call = "call void @ours(ptr %A, ptr %B, ptr %C, ptr %W, ptr null, i64 0, i64 0)"
    functions = [*sorted(kernel.declares), kernel.text, *(text for _, text in kernel.shared)]
    return Machine("\n".join(functions) + LOOP.format(name="ours", prepare="", call=call))


def openblas(product: Product, a: Any, b: Any, c: Any) -> Callable[[int], None]:
    """NumPy's BLAS, in a loop of machine code if its function is found by name."""
    for path in (Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64*"):
        letter, element = ("s", "float") if product.dtype == "float" else ("d", "double")
        with contextlib.suppress(AttributeError):
            address = ctypes.cast(
                getattr(ctypes.CDLL(str(path)), f"scipy_cblas_{letter}gemm64_"), ctypes.c_void_p
            ).value
            transposes = [112 if flag else 111 for flag in (product.a_transposed, product.b_transposed)]
            call = (
                f"call void inttoptr (i64 {address} to ptr)(i32 101, i32 {transposes[0]}, i32 {transposes[1]}, "
                f"i64 {product.m}, i64 {product.n}, i64 {product.k}, {element} 1.0, ptr %A, i64 {product.lda}, "
                f"ptr %B, i64 {product.ldb}, {element} 0.0, ptr %C, i64 {product.ldc})"
            )
            return looping(call, "", a, b, c)
    left, right = a.T if product.a_transposed else a, b.T if product.b_transposed else b
    return repeating(lambda: np.matmul(left, right, out=c))


def mkl(product: Product, a: Any, b: Any, c: Any) -> Callable[[int], None] | None:
    """PyTorch's BLAS, likewise; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    letter, element = ("s", "float") if product.dtype == "float" else ("d", "double")
    for path in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.so"):
        with contextlib.suppress(AttributeError):
            address = ctypes.cast(getattr(ctypes.CDLL(str(path)), f"{letter}gemm_"), ctypes.c_void_p).value
            # By columns, as Fortran reads memory: the transpose of C is the transpose of B times that of A.
            given = [
                *(
                    (kind, ord("T" if flag else "N"))
                    for kind, flag in (("i8", product.b_transposed), ("i8", product.a_transposed))
                ),
                *(("i32", size) for size in (product.n, product.m, product.k)),
                (element, "1.0"),
                ("i32", product.ldb),
                ("i32", product.lda),
                (element, "0.0"),
                ("i32", product.ldc),
            ]
            prepare = "\n".join(
                f"  %g{at} = alloca {kind}\n  store {kind} {value}, ptr %g{at}"
                for at, (kind, value) in enumerate(given)
            )
            order = ["%g0", "%g1", "%g2", "%g3", "%g4", "%g5", "%B", "%g6", "%A", "%g7", "%g8", "%C", "%g9"]
            call = f"call void inttoptr (i64 {address} to ptr)({', '.join(f'ptr {name}' for name in order)})"
            return looping(call, prepare, a, b, c)
    left, right, out = (torch.from_numpy(x) for x in (a, b, c))
    left, right = left.T if product.a_transposed else left, right.T if product.b_transposed else right
    return repeating(lambda: torch.mm(left, right, out=out))


def looping(call: str, prepare: str, a: Any, b: Any, c: Any) -> Callable[[int], None]:
    module = Machine(LOOP.format(name="theirs", prepare=prepare, call=call))
    loop = module.loop("theirs")

    def run(times: int) -> None:
        loop(a.ctypes.data, b.ctypes.data, c.ctypes.data, 0, times)
        assert module  # kept alive by this reference

    return run


def repeating(function: Callable[[], object]) -> Callable[[int], None]:
    def run(times: int) -> None:
        for _ in range(times):
            function()

    return run


def aligned(shape: tuple[int, int], dtype: type, rng: np.random.Generator) -> Any:
    """Random numbers that start at a multiple of 64 bytes."""
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + size].view(dtype).reshape(shape)
    array[...] = rng.normal(size=shape)
    return array


def measure(product: Product, rounds: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Compile time, then each contestant's GFLOP/s: the best of rounds in which all take turns."""
    rng, dtype = np.random.default_rng(0), np.float32 if product.dtype == "float" else np.float64
    a = aligned((product.k, product.m) if product.a_transposed else (product.m, product.k), dtype, rng)
    b = aligned((product.n, product.k) if product.b_transposed else (product.k, product.n), dtype, rng)
    start = time.process_time()
    kernel = emit(product, "ours", host())
    emitted = 1e3 * (time.process_time() - start)
    module = ours(kernel)
    work = aligned((1, kernel.workspace_bytes // 4 + 16), np.float32, rng)
    results = [np.zeros((product.m, product.n), dtype) for _ in range(3)]
    loop, c = module.loop("ours"), aligned((product.m, product.n), dtype, rng)
    contestants: dict[str, Callable[[int], None]] = {
        "ours": lambda times: loop(a.ctypes.data, b.ctypes.data, c.ctypes.data, work.ctypes.data, times),
        "OpenBLAS": openblas(product, a, b, results[1]),
    }
    third = mkl(product, a, b, results[2])
    if third is not None:
        contestants["MKL"] = third
    exact = (a.T if product.a_transposed else a).astype(np.float64) @ (b.T if product.b_transposed else b)
    for (name, run), result in zip(contestants.items(), [c, *results[1:]], strict=False):
        run(1)
        error = np.abs(result - exact).max(initial=0.0)
        if error > 100 * np.finfo(dtype).eps * (1 + product.k):
            raise SystemExit(f"{name} differs from NumPy in float64 by {error} at {kernel.note}")
    repeat = max(1, int(seconds * 5e10 / max(product.flops, 2000)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run(repeat)
            times[name].append((time.perf_counter() - start) / repeat)
    yield "compile", emitted + module.milliseconds
    yield "us", 1e6 * min(times["ours"])
    for name, found in times.items():
        yield name, product.flops / min(found) / 1e9


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, noisier")
    parser.add_argument("--only", default="", help="only groups whose name contains this")
    chosen = parser.parse_args(arguments)
    if any(os.environ.get(name) != "1" for name in THREADS):  # read only when the libraries are loaded: start anew
        environment = os.environ | dict.fromkeys(THREADS, "1")
        subprocess.run([sys.executable, "-m", "benchmarks.gemm", *arguments], env=environment, check=True)
        return
    print(machine())
    print(f"{'GFLOP/s, one thread':<66}{'compile':>9}{'time':>10}{'ours':>8}{'OpenBLAS':>10}{'MKL':>8}")
    for group, products in SHAPES.items():
        if chosen.only in group:
            print(group)
            for product in products:
                found = dict(measure(product, 7 if chosen.quick else 25, 0.002 if chosen.quick else 0.01))
                rates = "".join(
                    f"{found[name]:{width}.1f}" if name in found else "-".rjust(width)
                    for name, width in (("ours", 8), ("OpenBLAS", 10), ("MKL", 8))
                )
                note = emit(product, "ours", host()).note
                print(f"  {note:<64}{found['compile']:7.1f}ms{found['us']:8.2f}us{rates}")


if __name__ == "__main__":
    main(sys.argv[1:])
