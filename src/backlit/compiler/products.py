"""Calls of matrix products: where operands lie, one product or many, whole or in parts for threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from backlit.compiler import team
from backlit.compiler.frame import Frame, Place
from backlit.compiler.gemm import Epilogue, Kernel, Part, Product, emit, parallel
from backlit.compiler.gemm.plan import plan_of
from backlit.compiler.ir import Node
from backlit.compiler.memory import LINE, in_lines
from backlit.compiler.module import KernelNote
from backlit.compiler.scalars import CALLING, Code, bounds, given, register, stored
from backlit.compiler.schedule import Address, Schedule, is_by_rows
from backlit.compiler.target import Target

ROWS = 96
"""A part of a product has at least about so many rows, where B is so large that each part fetches or packs it anew."""

EVEN = 4
"""Parts have a multiple of so many rows: they are the more alike, and tiles of so few rows are no slower."""


def product_of(schedule: Schedule, node: Node) -> Product:
    """The product of the last two axes of a node's operands, as they lie in memory."""
    a, b = operands(schedule, node)
    m, k = node.args[0].shape[-2:]
    n = node.shape[-1]
    ta, lda = _layout(a.strides, m, k)
    tb, ldb = _layout(b.strides, k, n)
    return Product(m, n, k, register(node.dtype), ta, tb, lda, ldb)


def operands(schedule: Schedule, node: Node) -> tuple[Address, Address]:
    a, b = (schedule.address(arg) for arg in node.args)
    assert a is not None
    assert b is not None
    return a, b


def _layout(strides: Sequence[int], rows: int, columns: int) -> tuple[bool, int]:
    """Whether an operand is stored transposed, and the distance of its stored rows."""
    r, c = strides[-2:]
    if is_by_rows(r, c, rows, columns):
        return False, max(r, columns) if rows > 1 else columns
    return True, max(c, rows) if columns > 1 else rows


def call(frame: Frame, node: Node) -> bool:
    """Compute a product into its memory; whether threads share it."""
    product, lead = product_of(frame.schedule, node), node.shape[:-2]
    if math.prod(lead) == 1:
        name, kernel, told = _one(frame, node, product, frame.pointers[node])
        frame.module.notes.append(_note(frame, node, name, kernel, told))
        return len(parts_of(frame, product)) > 1
    kernel, name = _kernel(frame, product)
    frame.module.notes.append(_note(frame, node, name, kernel, kernel.note))
    room = _room(kernel.workspace_bytes)
    cuts = _is_large(frame, product, math.prod(lead))
    workspace = frame.take(kernel, room * (team.MOST if cuts else 1))
    _many(frame, node, name, product, workspace, room if cuts else 0)
    frame.arena.free(kernel)
    return cuts


def _note(frame: Frame, node: Node, name: str, kernel: Kernel, told: str) -> KernelNote:
    called = tuple(name for name, _ in kernel.shared)
    return KernelNote(name, "matmul", [node], kernel.text, told, frame.stem, called)


def call_with(frame: Frame, node: Node, goal: Place, epilogue: Epilogue, extra: Sequence[Place]) -> tuple[str, str]:
    """Compute a product whose tiles are taken over; gives its function and what `explain` tells of it.

    goal: where C lies, if it is needed. extra: the epilogue's pointers.
    """
    name, _, told = _one(frame, node, product_of(frame.schedule, node), goal, epilogue, extra)
    return name, f"tiles of {name}: {told}"


def parts_of(frame: Frame, product: Product) -> list[Part]:
    """A product in parts that threads may take. Two, four or eight, so that threads end together.

    Rows of examples are cut where there are enough, in parts so tall that packing weighs little: so the loops are cut
    that come before and after, and each thread finds what it wrote itself. Else panels of columns, each of which is
    packed once; and so always for the gradient of weights, to which the same thread then comes back.
    """
    return _in_parts(product, frame.module.target) if _is_large(frame, product, 1) else [Part(product, 0, 0, 0)]


@lru_cache(maxsize=512)
def _in_parts(product: Product, target: Target) -> list[Part]:
    plan = plan_of(product, target)
    width = plan.vectors * target.lanes(product.dtype)
    is_deep = plan.packs or plan.k_block < product.k
    across, down = product.n // width, product.m // (ROWS if is_deep else 4 * plan.rows)
    by_rows = (down >= 4 and not product.a_transposed) or across < min(4, down)
    parts = 1 << (min(team.PARTS, max(1, down if by_rows else across)).bit_length() - 1)
    return parallel(product, parts, min(plan.rows, EVEN) if by_rows else width, by_rows)


def _is_large(frame: Frame, product: Product, times: int) -> bool:
    lanes = frame.module.target.lanes(product.dtype)
    return frame.module.cuts and product.flops * times / (4 * lanes) >= team.LARGE


def _one(
    frame: Frame,
    node: Node,
    product: Product,
    goal: Place,
    epilogue: Epilogue | None = None,
    extra: Sequence[Place] = (),
) -> tuple[str, Kernel, str]:
    """A product without leading axes. Its (first) kernel, under which name, and what is told of it."""
    parts = parts_of(frame, product)
    kernels = [_kernel(frame, part.product, epilogue) for part in parts]
    kernel, name = kernels[0]
    room = _room(max(each.workspace_bytes for each, _ in kernels))
    workspace = frame.take(kernel, room * (team.MOST if len(parts) > 1 else 1))
    a, b = operands(frame.schedule, node)
    itemsize, kind = node.dtype.itemsize, stored(node.dtype)
    places = [frame.pointers[x.base].moved(x.offset * itemsize) for x in (a, b)]
    names = ["%a", "%b", "%c", "%w", *(f"%e{k}" for k in range(len(extra)))]
    job = Code()
    own = _own_room(job, "%w", room) if len(parts) > 1 else "%w"
    cases = " ".join(f"i64 {k}, label %part{k}" for k in range(1, len(parts)))
    job.put(f"  switch i64 %part, label %part0 [ {cases} ]")
    for k, (part, (_, called)) in enumerate(zip(parts, kernels, strict=True)):
        job.put(f"part{k}:")
        args = []
        for pointer, offset in zip(names, (part.a_offset, part.b_offset, part.c_offset), strict=False):
            there = f"getelementptr inbounds {kind}, ptr {pointer}, i64 {offset}"
            args.append(f"ptr {job.let(there) if offset else pointer}")
        args += [f"ptr {pointer}" for pointer in (own, *names[4:])]
        args += [f"i64 {part.row}", f"i64 {part.column}"] if epilogue else []
        job.put(f"  call void @{called}({', '.join(args)})\n  br label %end")
    job.put("end:")
    frame.call(frame.module.add(job.work(given(names), CALLING), "job"), [*places, goal, workspace, *extra], len(parts))
    frame.arena.free(kernel)
    return name, kernel, f"{kernel.note}, in {len(parts)} parts" if len(parts) > 1 else kernel.note


def _many(frame: Frame, node: Node, name: str, product: Product, workspace: Place, room: int) -> None:
    """The product for each of the leading indices, in a function of its own. room: if they are shared by threads, the
    bytes of a workspace.
    """
    lead, kind = node.shape[:-2], stored(node.dtype)
    a, b = operands(frame.schedule, node)
    own = [product.m * product.n * math.prod(lead[d + 1 :]) for d in range(len(lead))]
    count = math.prod(lead)
    step = -(-count // team.PARTS) if room else count
    code = Code()
    own_room = _own_room(code, "%w", room) if room else "%w"
    code.put("  br label %head\nhead:\n  %i = phi i64 [%lo, %entry], [%after, %head]")
    rest = "%i"
    indices: list[str] = []
    for d in range(len(lead) - 1, -1, -1):
        if d:
            indices.insert(0, code.let(f"urem i64 {rest}, {lead[d]}"))
            rest = code.let(f"udiv i64 {rest}, {lead[d]}")
        else:
            indices.insert(0, rest)
    args = []
    for p, (offset, strides) in enumerate(((a.offset, a.strides[:-2]), (b.offset, b.strides[:-2]), (0, own))):
        total = str(offset)
        for index, stride in zip(indices, strides, strict=True):
            if stride:
                total = code.let(f"add i64 {total}, {code.let(f'mul i64 {index}, {stride}')}")
        args.append(code.let(f"getelementptr inbounds {kind}, ptr %p{p}, i64 {total}"))
    code.put(f"  call void @{name}({', '.join(f'ptr {x}' for x in args)}, ptr {own_room})")
    code.put(
        "  %after = add i64 %i, 1\n  %more = icmp ult i64 %after, %hi\n  br i1 %more, label %head, label %end\nend:"
    )
    begin = [*given(["%p0", "%p1", "%p2", "%w"]), *bounds(count, step)]
    batch = frame.module.add(code.work(begin, CALLING), "batch")
    places = [frame.pointers[a.base], frame.pointers[b.base], frame.pointers[node], workspace]
    frame.call(batch, places, -(-count // step))


def _own_room(code: Code, pointer: str, room: int) -> str:
    """Where a thread's own bytes begin."""
    return code.let(f"getelementptr inbounds i8, ptr {pointer}, i64 {code.let(f'mul nuw nsw i64 %who, {room}')}")


def _kernel(frame: Frame, product: Product, epilogue: Epilogue | None = None) -> tuple[Kernel, str]:
    """The kernel of a product, and its name in the module."""
    found = _written(product, frame.module.target, epilogue)
    frame.module.declares |= found.declares
    for name, text in found.shared:
        frame.module.share(name, text)
    return found, frame.module.add(found.text, "product")


@lru_cache(maxsize=512)
def _written(product: Product, target: Target, epilogue: Epilogue | None) -> Any:
    """The kernel of a product; nets have many that are alike, and `repeat` and `each` want the same ones again."""
    return emit(product, "NAME", target, epilogue)


def _room(size: int) -> int:
    """Bytes of a workspace, in whole lines."""
    return in_lines(max(size, LINE))
