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
from backlit.compiler.scalars import AS_WRITTEN, WORK, given, register
from backlit.compiler.schedule import Address, Schedule, is_by_rows
from backlit.compiler.target import Target
from backlit.compiler.units import name_of

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
    itemsize = node.dtype.itemsize
    told: list[int | str] = [room if len(parts) > 1 else 0]
    for part, (_, called) in zip(parts, kernels, strict=True):
        moves = [offset * itemsize for offset in (part.a_offset, part.b_offset, part.c_offset)]
        told += [f"ptr @{called}", *moves, part.row, part.column]
    first = [extra[at] for at in epilogue.ahead] if epilogue else []
    _play(frame, JOB, told, [*map(frame.place_of, node.args), goal, workspace, *first, *extra], len(parts))
    frame.arena.free(kernel)
    return name, kernel, f"{kernel.note}, in {len(parts)} parts" if len(parts) > 1 else kernel.note


def _many(frame: Frame, node: Node, name: str, product: Product, workspace: Place, room: int) -> None:
    """The product for each of the leading indices. room: if they are shared by threads, the bytes of a workspace."""
    lead, itemsize = node.shape[:-2], node.dtype.itemsize
    a, b = operands(frame.schedule, node)
    own = [product.m * product.n * math.prod(lead[d + 1 :]) for d in range(len(lead))]
    count = math.prod(lead)
    step = -(-count // team.PARTS) if room else count
    axes: list[int] = []
    for length, *strides in zip(lead, a.strides[:-2], b.strides[:-2], own, strict=True):
        axes = [length, *(stride * itemsize for stride in strides), *axes]
    told: list[int | str] = [f"ptr @{name}", room, step, count, len(lead), *axes]
    _play(frame, BATCH, told, [*map(frame.place_of, node.args), frame.pointers[node], workspace], -(-count // step))


def _play(frame: Frame, function: str, told: Sequence[int | str], places: Sequence[Place], parts: int) -> None:
    """Call a function that a table tells what to do: numbers, and pointers as LLVM writes them."""
    fields = [field if isinstance(field, str) else f"i64 {field}" for field in told]
    kinds = ", ".join([field.split()[0] for field in fields])
    table = frame.module.add(f"@NAME = internal constant {{ {kinds} }} {{ {', '.join(fields)} }}\n", "table")
    name = name_of(function)
    frame.module.share(name, function)
    frame.call(name, places, parts, which=f"ptrtoint (ptr @{table} to i64)")


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


_BEGIN = "\n".join([*given(["%a", "%b", "%c", "%w"]), "  %table = inttoptr i64 %which to ptr"])

JOB = f"""\
define internal void @bl_job({WORK}) {AS_WRITTEN} {{
entry:
{_BEGIN}
  %given = getelementptr inbounds ptr, ptr %args, i64 4
  %room = load i64, ptr %table, align 8
  %before = mul nuw nsw i64 %who, %room
  %own = getelementptr inbounds i8, ptr %w, i64 %before
  %skip = mul nuw nsw i64 %part, 6
  %row.at = getelementptr inbounds i64, ptr %table, i64 %skip
  %product.at = getelementptr inbounds i64, ptr %row.at, i64 1
  %a.by.at = getelementptr inbounds i64, ptr %row.at, i64 2
  %b.by.at = getelementptr inbounds i64, ptr %row.at, i64 3
  %c.by.at = getelementptr inbounds i64, ptr %row.at, i64 4
  %row.number.at = getelementptr inbounds i64, ptr %row.at, i64 5
  %column.at = getelementptr inbounds i64, ptr %row.at, i64 6
  %product = load ptr, ptr %product.at, align 8
  %a.by = load i64, ptr %a.by.at, align 8
  %b.by = load i64, ptr %b.by.at, align 8
  %c.by = load i64, ptr %c.by.at, align 8
  %row = load i64, ptr %row.number.at, align 8
  %column = load i64, ptr %column.at, align 8
  %a.part = getelementptr i8, ptr %a, i64 %a.by
  %b.part = getelementptr i8, ptr %b, i64 %b.by
  %c.part = getelementptr i8, ptr %c, i64 %c.by
  call void %product(ptr %a.part, ptr %b.part, ptr %c.part, ptr %own, ptr %given, i64 %row, i64 %column)
  ret void
}}
"""
"""One part of a product: A, B, C and the workspace, then what its epilogue is given. The table: the bytes of a thread's
workspace; of each part the kernel, by how many bytes A, B and C are moved, its row and its column.
"""

BATCH = f"""\
define internal void @bl_batch({WORK}) {AS_WRITTEN} {{
entry:
{_BEGIN}
  %room.at = getelementptr inbounds i64, ptr %table, i64 1
  %step.at = getelementptr inbounds i64, ptr %table, i64 2
  %count.at = getelementptr inbounds i64, ptr %table, i64 3
  %axes.at = getelementptr inbounds i64, ptr %table, i64 4
  %rows = getelementptr inbounds i64, ptr %table, i64 5
  %product = load ptr, ptr %table, align 8
  %room = load i64, ptr %room.at, align 8
  %step = load i64, ptr %step.at, align 8
  %count = load i64, ptr %count.at, align 8
  %axes = load i64, ptr %axes.at, align 8
  %before = mul nuw nsw i64 %who, %room
  %own = getelementptr inbounds i8, ptr %w, i64 %before
  %lo = mul nuw nsw i64 %part, %step
  %beyond = add nuw nsw i64 %lo, %step
  %is.within = icmp ult i64 %beyond, %count
  %hi = select i1 %is.within, i64 %beyond, i64 %count
  br label %next
next:
  %i = phi i64 [%lo, %entry], [%after, %found]
  br label %axis
axis:
  %d = phi i64 [0, %next], [%d.after, %axis]
  %rest = phi i64 [%i, %next], [%rest.after, %axis]
  %a.now = phi ptr [%a, %next], [%a.after, %axis]
  %b.now = phi ptr [%b, %next], [%b.after, %axis]
  %c.now = phi ptr [%c, %next], [%c.after, %axis]
  %skip = mul nuw nsw i64 %d, 4
  %row = getelementptr inbounds i64, ptr %rows, i64 %skip
  %a.by.at = getelementptr inbounds i64, ptr %row, i64 1
  %b.by.at = getelementptr inbounds i64, ptr %row, i64 2
  %c.by.at = getelementptr inbounds i64, ptr %row, i64 3
  %length = load i64, ptr %row, align 8
  %a.by = load i64, ptr %a.by.at, align 8
  %b.by = load i64, ptr %b.by.at, align 8
  %c.by = load i64, ptr %c.by.at, align 8
  %index = urem i64 %rest, %length
  %rest.after = udiv i64 %rest, %length
  %a.far = mul i64 %index, %a.by
  %b.far = mul i64 %index, %b.by
  %c.far = mul i64 %index, %c.by
  %a.after = getelementptr i8, ptr %a.now, i64 %a.far
  %b.after = getelementptr i8, ptr %b.now, i64 %b.far
  %c.after = getelementptr i8, ptr %c.now, i64 %c.far
  %d.after = add nuw nsw i64 %d, 1
  %more.axes = icmp ult i64 %d.after, %axes
  br i1 %more.axes, label %axis, label %found
found:
  call void %product(ptr %a.after, ptr %b.after, ptr %c.after, ptr %own, ptr null, i64 0, i64 0)
  %after = add nuw nsw i64 %i, 1
  %more = icmp ult i64 %after, %hi
  br i1 %more, label %next, label %end
end:
  ret void
}}
"""
"""Products for indices of leading axes: A, B, C and the workspace. The table: the kernel, the bytes of a thread's
workspace, how many products a part and the whole are, how many axes; of each, from the last on, its length and the
bytes from one index to the next in A, B and C.
"""
