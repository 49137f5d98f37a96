from __future__ import annotations

import ctypes
import random
import re
import subprocess
import sys
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest

from backlit.compiler.gemm import Epilogue, Kernel, Product, columns_of, emit, keeps_whole, parallel
from backlit.compiler.gemm.driver import NUMBERS
from backlit.compiler.gemm.plan import Plan, plan_of
from backlit.compiler.target import Target, host, named
from backlit.core.errors import DomainError, DtypeError, ShapeError

WIDTHS = {
    "host": host(),
    "32 bytes": replace(host(), lanes_bytes=min(32, host().lanes_bytes), registers=16),
    "16 bytes": replace(host(), lanes_bytes=16, registers=16),
}


def machine_code(kernels: list[Kernel], times: int = 0, row: int = 0, passes: bool = False) -> tuple[object, list]:
    """The kernels in one module, as functions of A, B, C, the workspace and a pointer that epilogues are given so many
    times; keep the first result alive while they are used.
    """
    pointers = ["%A", "%B", "%C", "%W", *(["%out"] if times else [])]
    given = ", ".join(f"ptr {name}" for name in pointers)
    stores = "  %given = alloca [9 x ptr]\n" + "".join(
        f"  %p{k} = getelementptr ptr, ptr %given, i64 {k}\n  store ptr %out, ptr %p{k}\n" for k in range(times)
    )
    text = "\n".join(sorted(frozenset().union(*(kernel.declares for kernel in kernels))))
    text += "".join({name: body for kernel in kernels for name, body in kernel.shared}.values())
    for at, kernel in enumerate(kernels):
        call = f"call void @kernel.{at}(ptr %A, ptr %B, ptr %C, ptr %W, ptr %given, i64 {row}, i64 0)"
        text += f"\n{kernel.text}\ndefine void @call.{at}({given}) {{\n{stores}  {call}\n  ret void\n}}\n"
    target = host().machine()
    module = llvm.parse_assembly(text)
    module.verify()
    module.triple, module.data_layout = host().triple, str(target.target_data)
    if passes:
        builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=2))
        builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))
    return engine, [kind(engine.get_function_address(f"call.{at}")) for at in range(len(kernels))]


def stored(rng: np.random.Generator, rows: int, columns: int, stride: int, dtype: type) -> np.ndarray:
    """Random numbers in a matrix of the given row stride, with 7 in the gaps, at an address of no great alignment."""
    whole = np.full(rows * stride + 3, 7, dtype)[1:]
    found = np.lib.stride_tricks.as_strided(whole, (rows, columns), (stride * whole.itemsize, whole.itemsize))
    found[...] = rng.normal(size=(rows, columns))
    return found


def operands(product: Product, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, dtype = product, np.float32 if product.dtype == "float" else np.float64
    a = stored(rng, *((p.k, p.m) if p.a_transposed else (p.m, p.k)), p.lda, dtype)
    b = stored(rng, *((p.n, p.k) if p.b_transposed else (p.k, p.n)), p.ldb, dtype)
    return a, b, stored(rng, p.m, p.n, p.ldc, dtype)


def workspace(kernel: Kernel) -> tuple[np.ndarray, int]:
    """Memory of the size asked for, filled with NaN, and its address, a multiple of 64."""
    raw = np.full(kernel.workspace_bytes // 8 + 9, np.nan)
    return raw, raw.ctypes.data + -raw.ctypes.data % 64


def exact(product: Product, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    left, right = a.astype(np.float64), b.astype(np.float64)
    return (left.T if product.a_transposed else left) @ (right.T if product.b_transposed else right)


def check(products: list[Product], target: Target, passes: bool = False, plan: Plan | None = None) -> None:
    """Run each product and compare with NumPy in float64; the gaps between rows of C must stay."""
    kernels = [emit(product, f"kernel.{at}", target, plan=plan) for at, product in enumerate(products)]
    _engine, functions = machine_code(kernels, passes=passes)
    for product, kernel, function in zip(products, kernels, functions, strict=True):
        rng = np.random.default_rng(product.m + product.n + product.k)
        a, b, c = operands(product, rng)
        start = exact(product, a, b) + (c if product.accumulate else 0)
        gaps = c.base.base if c.base is not None else c
        memory, address = workspace(kernel)
        function(a.ctypes.data, b.ctypes.data, c.ctypes.data, address)
        scale = np.abs(exact(product, np.abs(a), np.abs(b))) + 3
        error = np.abs(c - start) / scale
        assert error.max(initial=0) < (product.k + 4) * np.finfo(a.dtype).eps, kernel.note
        del memory, gaps


def variants(m: int, n: int, k: int, seed: int, many: int) -> list[Product]:
    """Products of this shape with random choices of everything else."""
    draw = random.Random(seed)
    found = []
    for _ in range(many):
        at, bt = draw.random() < 0.5, draw.random() < 0.5
        gap = [draw.choice([0, 0, 1, 5]) for _ in range(3)]
        found.append(
            Product(
                m, n, k, draw.choice(["float", "double"]), at, bt,
                (m if at else k) + gap[0], (k if bt else n) + gap[1], n + gap[2], draw.random() < 0.3,
            )
        )  # fmt: skip
    return found


SIZES = [1, 2, 3, 5, 7, 8, 10, 13, 15, 16, 17, 27, 30, 31, 32, 33, 47, 64, 65, 100]


@pytest.mark.parametrize("width", WIDTHS)
def test_products_agree_with_numpy_in_every_storage(width: str) -> None:
    draw = random.Random(width)
    shapes = [tuple(draw.choice(SIZES) for _ in "mnk") for _ in range(24)]
    check([product for at, shape in enumerate(shapes) for product in variants(*shape, at, 1)], WIDTHS[width])


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("seed", range(20))
def test_many_products_agree_with_numpy_in_every_storage(width: str, seed: int) -> None:
    draw = random.Random(f"{width}{seed}")
    shapes = [tuple(draw.choice([*SIZES, 128, 251, 300]) for _ in "mnk") for _ in range(30)]
    check(
        [product for at, shape in enumerate(shapes) for product in variants(*shape, at, 1)], WIDTHS[width], seed % 2 > 0
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_a_side_of_length_one_or_zero_is_no_special_case(transposed: bool) -> None:
    sizes = [0, 1, 9]
    products = [
        Product(m, n, k, "double", a, transposed, accumulate=(m + n + k) % 2 > 0)
        for m in sizes
        for n in sizes
        for k in sizes
        for a in (False, True)
    ]
    check(products, host())


def test_without_terms_c_is_zero_or_stays() -> None:
    for accumulate, expected in ((False, 0.0), (True, 3.0)):
        kernel = emit(Product(5, 7, 0, accumulate=accumulate), "kernel.0", host())
        _engine, (function,) = machine_code([kernel])
        c = np.full((5, 7), 3.0, np.float32)
        function(0, 0, c.ctypes.data, 0)
        np.testing.assert_array_equal(c, np.full((5, 7), expected, np.float32))


def test_matrices_times_vectors_agree_with_numpy() -> None:
    shapes = [(100, 1, 16), (101, 1, 33), (5, 1, 7), (1, 100, 16), (1, 27, 100), (1, 1, 100), (16, 1, 100), (1, 300, 3)]
    check([product for shape in shapes for product in variants(*shape, sum(shape), 3)], host())


def test_blocks_of_k_and_of_rows_agree_with_numpy() -> None:
    for plan in (Plan(3, 2, 16, 6, True), Plan(4, 1, 32, 40, False), Plan(2, 3, 48, 2, True)):
        products = [
            Product(41, 77, 120, "float", a, b and plan.packs, accumulate=a, ldc=80)
            for a in (False, True)
            for b in (False, True)
        ]
        check(products, host(), plan=plan)


def test_a_thousand_cubed_agrees_with_numpy() -> None:
    check([Product(1000, 1000, 500), Product(1000, 251, 1000, b_transposed=True)], host())


def test_llvms_passes_change_nothing() -> None:
    check([Product(32, 27, 40), Product(30, 50, 70, b_transposed=True), Product(20, 1, 30)], host(), passes=True)


def test_gaps_between_rows_of_c_are_not_written() -> None:
    product = Product(9, 37, 20, ldc=45)
    _engine, (function,) = machine_code([emit(product, "kernel.0", host())])
    a, b = np.ones((9, 20), np.float32), np.ones((20, 37), np.float32)
    c = np.full((9, 45), 7, np.float32)
    function(a.ctypes.data, b.ctypes.data, c.ctypes.data, 0)
    np.testing.assert_array_equal(c[:, :37], 20)
    np.testing.assert_array_equal(c[:, 37:], 7)


def results(product: Product, plan: Plan | None = None) -> np.ndarray:
    kernel = emit(product, "kernel.0", host(), plan=plan)
    _engine, (function,) = machine_code([kernel])
    a, b, c = operands(product, np.random.default_rng(0))
    memory, address = workspace(kernel)
    function(a.ctypes.data, b.ctypes.data, c.ctypes.data, address)
    del memory
    return c


def test_terms_are_added_from_first_to_last_whatever_the_plan() -> None:
    product = Product(20, 50, 100)
    a, b, _ = operands(product, np.random.default_rng(0))
    by_hand = np.zeros((20, 50), np.float32)
    for p in range(100):
        term = np.outer(a[:, p].astype(np.float64), b[p])
        by_hand = (by_hand + (term if host().fuses else term.astype(np.float32))).astype(np.float32)
    np.testing.assert_array_equal(results(product), by_hand)
    for plan in (Plan(7, 2, 32, 7, True), Plan(1, 3, 100, 20, False), Plan(20, 1, 64, 20, True)):
        np.testing.assert_array_equal(results(product, plan), by_hand)


@pytest.mark.parametrize(
    "product",
    [
        Product(97, 20, 30),
        Product(20, 97, 30, b_transposed=True),
        Product(65, 1, 40),
        Product(1, 65, 40, b_transposed=True),
        Product(2, 65, 40, b_transposed=True, a_transposed=True),
    ],
)
def test_parts_give_the_same_bits_as_the_whole(product: Product) -> None:
    a, b, c = operands(product, np.random.default_rng(0))
    parts = parallel(product, 3, grain=8)
    assert len(parts) > 1
    kernels = [emit(part.product, f"kernel.{at}", host()) for at, part in enumerate(parts)]
    _engine, functions = machine_code(kernels)
    for part, kernel, function in zip(parts, kernels, functions, strict=True):
        memory, address = workspace(kernel)
        starts = (x.ctypes.data + 4 * at for x, at in ((a, part.a_offset), (b, part.b_offset), (c, part.c_offset)))
        function(*starts, address)
        del memory
    np.testing.assert_array_equal(c, results(product))


def test_parts_cover_c_once() -> None:
    for length in (1, 2, 31, 32, 33, 65, 1000):
        for count in (1, 2, 3, 7):
            parts = parallel(Product(length, 1, 4), count)
            assert len(parts) <= count
            assert sum(part.product.m for part in parts) == length
            assert [part.c_offset for part in parts] == [
                sum(before.product.m for before in parts[:at]) for at in range(len(parts))
            ]
    assert len(parallel(Product(0, 0, 4), 2)) == 1


TAKES = """
define internal void @{name}(ptr %out, ptr %tile, i64 %stride, i64 %row, i64 %column, i64 %rows) noinline {{
entry:
  br label %rows.loop
rows.loop:
  %r = phi i64 [0, %entry], [%r.next, %rows.latch]
  %y = add i64 %row, %r
  br label %columns.loop
columns.loop:
  %c = phi i64 [0, %rows.loop], [%c.next, %columns.loop]
  %from = add i64 %c, 0
  %skipped = mul i64 %r, %stride
  %at = add i64 %from, %skipped
  %place = getelementptr double, ptr %tile, i64 %at
  %found = load double, ptr %place
  %x = add i64 %column, %c
  %above = mul i64 %y, {n}
  %to = add i64 %above, %x
  %goal = getelementptr double, ptr %out, i64 %to
  %old = load double, ptr %goal
  %new = fadd double %old, %found
  store double %new, ptr %goal
  %c.next = add i64 %c, 1
  %c.more = icmp ult i64 %c.next, {columns}
  br i1 %c.more, label %columns.loop, label %rows.latch
rows.latch:
  %r.next = add i64 %r, 1
  %r.more = icmp ult i64 %r.next, %rows
  br i1 %r.more, label %rows.loop, label %end
end:
  ret void
}}
"""


@pytest.mark.parametrize("plan", [None, Plan(3, 2, 16, 6, True), Plan(4, 1, 50, 8, True)])
@pytest.mark.parametrize("shape", [(10, 48, 50), (37, 32, 40), (1, 16, 50), (12, 96, 7)])
@pytest.mark.parametrize("transposed", [False, True])
def test_an_epilogue_takes_each_element_once_at_its_place(
    shape: tuple[int, ...], transposed: bool, plan: Plan | None
) -> None:
    m, n, k = shape
    product = Product(m, n, k, "double", a_transposed=transposed, b_transposed=not transposed)
    lanes = host().lanes("double")
    if plan is not None and plan.rows > m:
        return
    if m == 1 and not transposed:
        assert columns_of(product, host()) == []  # dot products have no tiles
        return
    if plan is None:
        widths = columns_of(product, host())
        assert all(width % lanes == 0 for width in widths)
        whole = keeps_whole(product, host())
    else:
        widths = [width for width in {plan.vectors * lanes, n % (plan.vectors * lanes)} if width]
        whole = plan.k_block < k
    names = {width: f"takes.{width}" for width in widths}
    kernel = emit(product, "kernel.0", host(), Epilogue(tuple(names.items()), 1, (0,) if transposed else ()), plan)
    takes = "".join(TAKES.format(name=name, n=n, columns=width) for width, name in names.items())
    _engine, (function,) = machine_code([replace(kernel, text=kernel.text + takes)], times=1 + transposed, row=2)
    a, b, c = operands(product, np.random.default_rng(0))
    before = c.copy()
    out = np.random.default_rng(1).normal(size=(m + 2, n))  # C is its part from row 2 on
    wanted = out.copy()
    wanted[2:] += exact(product, a, b)
    memory, address = workspace(kernel)
    function(a.ctypes.data, b.ctypes.data, c.ctypes.data, address, out.ctypes.data)
    del memory
    np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-12)
    assert whole or np.array_equal(c, before)


def test_products_of_different_shapes_share_what_computes_them() -> None:
    target = named("skylake-avx512")
    shapes = [(66, 64, 64), (132, 256, 64), (128, 64, 512), (64, 128, 32)]
    kernels = [
        emit(Product(*shape, a_transposed=at), f"kernel.{k}", target)
        for k, shape in enumerate(shapes)
        for at in (False, True)
    ]
    texts: dict[str, list[str]] = {}
    for kernel in kernels:
        assert "fma" not in kernel.text
        for name, text in kernel.shared:
            texts.setdefault(name, []).append(text)
    assert all(text is found[0] for found in texts.values() for text in found)  # each is written once
    assert len(texts) <= 5  # the driver, a packer, and tiles of 6, 4 and 2 rows


def test_only_a_vector_that_is_not_whole_has_a_mask() -> None:
    for columns, masks in ((64, False), (60, True)):
        kernel = emit(Product(64, columns, 64), "kernel", named("skylake-avx512"))
        assert any("llvm.masked" in text for _, text in kernel.shared) == masks


def test_what_an_epilogue_reads_is_fetched_where_it_says_so() -> None:
    product = Product(64, 64, 64)
    names = tuple((width, "takes") for width in columns_of(product, host()))
    at = NUMBERS.index("ahead")
    for ahead in ((), (0,)):
        kernel = emit(product, "kernel", host(), Epilogue(names, 1, ahead))
        table = kernel.text.split("} {")[1].split(", ")
        assert table[at].split()[-1] == str(len(ahead))


GUARDED = """
import ctypes, mmap, sys
import numpy as np
from backlit.compiler.gemm import Product, emit
from backlit.compiler.target import host
from dataclasses import replace
from tests.compiler.test_gemm import SIZES, machine_code, variants, WIDTHS

libc, PAGE = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

def fenced(size, at_end):
    "Address of `size` bytes with forbidden pages around, which they touch at the end or at the start."
    pages = -(-size // PAGE)
    area = mmap.mmap(-1, (pages + 2) * PAGE)
    keep.append(area)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    for fence in (start, start + (pages + 1) * PAGE):
        assert libc.mprotect(fence, PAGE, 0) == 0
    return start + PAGE + (pages * PAGE - size if at_end else 0)

keep, shift = [], int(sys.argv[2])
shapes = [(33, 17, 10), (5, 1, 7), (13, 27, 31), (1, 50, 9), (100, 47, 65), (16, 16, 16), (9, 3, 1), (64, 100, 33)]
products = [p for at, shape in enumerate(shapes) for p in variants(*shape, at, 3)]
target = WIDTHS[sys.argv[1]]
kernels = [emit(p, f"kernel.{at}", target) for at, p in enumerate(products)]
engine, functions = machine_code(kernels)
for p, kernel, function in zip(products, kernels, functions):
    size = p.element_bytes
    def extent(rows, columns, stride):
        return ((rows - 1) * stride + columns) * size if rows and columns else 0
    a = extent(*((p.k, p.m) if p.a_transposed else (p.m, p.k)), p.lda)
    b = extent(*((p.n, p.k) if p.b_transposed else (p.k, p.n)), p.ldb)
    c = extent(p.m, p.n, p.ldc) - shift * size
    for at_end in (True, False):
        places = [fenced(bytes_, at_end) for bytes_ in (a, b, c, -(-kernel.workspace_bytes // 64) * 64)]
        function(*places)
    for area in keep:
        pass
print("unharmed")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forbids pages with Linux's mprotect")
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_outside_of_the_operands_is_touched(width: str) -> None:
    run = subprocess.run([sys.executable, "-c", GUARDED, width, "0"], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "unharmed", run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="forbids pages with Linux's mprotect")
def test_the_fence_notices_one_number_too_many() -> None:
    run = subprocess.run([sys.executable, "-c", GUARDED, "host", "1"], capture_output=True, text=True, check=False)
    assert run.returncode < 0
    assert "unharmed" not in run.stdout


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        ("skylake-avx512", r"vfmadd\d+ps.*zmm"),
        ("haswell", r"vfmadd\d+ps.*ymm"),
        ("x86-64", r"mulps"),
        ("aarch64", r"fmla\s+v\d+\.4s"),
    ],
)
def test_every_target_gets_vector_code_without_spills(target: str, instruction: str) -> None:
    chosen = named(target)
    for product in (Product(32, 128, 64), Product(50, 60, 70, a_transposed=True)):
        kernel = emit(product, "kernel", chosen)
        text = "\n".join([*kernel.declares, *(body for _, body in kernel.shared)])  # all that computes
        text = text.replace("define internal", "define")
        module = llvm.parse_assembly(text)
        machine = chosen.machine()
        module.triple, module.data_layout = chosen.triple, str(machine.target_data)
        assembly = machine.emit_assembly(module)
        assert len(re.findall(instruction, assembly)) >= 8
        spilled = [
            line
            for line in assembly.splitlines()
            if re.search(r"mm\d+.*\(%[re]sp\)|\(%[re]sp\).*mm\d+|q\d+.*\[sp", line)
        ]
        assert not spilled


def test_the_plan_of_every_shape_fits_the_registers() -> None:
    draw = random.Random(0)
    for name in ("skylake-avx512", "haswell", "x86-64", "aarch64"):
        target = named(name)
        for _ in range(30):
            product = variants(draw.randint(1, 300), draw.randint(1, 300), draw.randint(1, 900), draw.random(), 1)[0]
            plan = plan_of(product, target)
            assert plan.rows * plan.vectors + plan.vectors <= target.registers
            assert 0 < plan.k_block <= product.k
            assert emit(product, "kernel", target).text.count("\n") < 1000


def test_kernels_of_one_module_share_their_declarations() -> None:
    kernels = [emit(product, f"kernel.{at}", host()) for at, product in enumerate(variants(5, 6, 7, 0, 4))]
    machine_code(kernels)
    assert all(line.startswith("declare ") for kernel in kernels for line in kernel.declares)


def test_what_cannot_be_multiplied_is_refused() -> None:
    with pytest.raises(ShapeError, match="sizes are 0 or more"):
        Product(-1, 2, 3)
    with pytest.raises(DtypeError, match="not 'half'"):
        Product(1, 2, 3, "half")
    with pytest.raises(ShapeError, match="lda = 2: rows of 3 numbers would overlap"):
        Product(1, 2, 3, lda=2)
    with pytest.raises(DomainError, match="0 parts"):
        parallel(Product(1, 2, 3), 0)
    with pytest.raises(DomainError, match="no target is named 'z80'"):
        named("z80")


def test_the_host_is_known() -> None:
    target = host()
    assert target.lanes("float") == 2 * target.lanes("double") >= 4
    assert target.l1_bytes >= 8 * 1024
    assert target.l2_bytes >= target.l1_bytes
