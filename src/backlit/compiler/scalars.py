"""How one element is computed: scalar functions as LLVM instructions, in straight lines."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from backlit.compiler.ir import Dtype
from backlit.compiler.vector_math import of_vectors, symbol

TYPES = {
    "float16": "half", "float32": "float", "float64": "double", "bool": "i1",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "i8", "uint16": "i16", "uint32": "i32", "uint64": "i64",
}  # fmt: skip
MATH = frozenset(
    [
        "exp",
        "expm1",
        "log",
        "log1p",
        "log2",
        "log10",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "tanh",
        "asin",
        "acos",
        "atan",
        "asinh",
        "acosh",
        "atanh",
        "atan2",
        "pow",
        "hypot",
        "erf",
        "sigmoid",
        "softplus",
        "silu",
        "gelu",
        "logaddexp",
    ]
)
"""The functions that `vector_math` defines."""

COST = dict.fromkeys(MATH, 20) | {"divide": 5, "sqrt": 5, "remainder": 20, "floor_divide": 10}
"""About how many simple instructions a function takes; one, where it is not listed."""


def register(dtype: Dtype) -> str:
    """The LLVM type of a number of this dtype in a register."""
    return _REGISTER.get(dtype) or TYPES[dtype.name]


def stored(dtype: Dtype) -> str:
    """The LLVM type of a number of this dtype in memory."""
    return _STORED.get(dtype) or register(dtype)


HALF = np.dtype(np.float16)
_REGISTER = {np.dtype(name): kind for name, kind in TYPES.items()}
_STORED = _REGISTER | {np.dtype(bool): "i8"}
"""The same by dtype, whose `name` takes NumPy some microseconds to find."""


def suffix(kind: str) -> str:
    """How LLVM's intrinsics name a type, of a number or of a vector.

    >>> suffix("half"), suffix("<8 x i32>")
    ('f16', 'v8i32')
    """
    lanes, _, element = kind.strip("<>").rpartition(" x ")
    return (f"v{lanes}" if lanes else "") + {"half": "f16", "float": "f32", "double": "f64"}.get(element, element)


def literal(number: Any, dtype: Dtype) -> str:
    """A constant as LLVM writes it; floating-point ones by their bits."""
    if dtype.kind == "f":
        if dtype.itemsize == 2:
            return f"0xH{np.float16(number).view(np.uint16):04X}"
        return f"0x{struct.pack('>d', float(number)).hex().upper()}"
    if dtype.kind == "b":
        return "true" if number else "false"
    return str(int(number))


LATE, AS_WRITTEN, STRAIGHT, CALLING = "#0", "#1", "#2", "#3"
"""The attributes of functions: of those that LLVM's passes are to work on; of those that are written as they shall run;
of straight lines of code, which are so nearly; and of those that only call others, in which next to no time is spent.
"""


PLAYS, APART = "bl_", "math."
COMMON = ("product.", APART, PLAYS)
"""How names of functions begin that depend on no program: each is compiled once, for all that call it."""


WORK = "ptr %args, i64 %part, i64 %who, i64 %which"
"""The parameters of all that a block calls: where its pointers stand, one behind the other; which part of the work is
to be done, by which thread; and a number that tells it more.
"""


def given(names: Iterable[str]) -> list[str]:
    """The lines that read a function's pointers, from the first on."""
    lines = []
    for k, name in enumerate(names):
        if k:
            lines.append(f"  {name}.at = getelementptr inbounds ptr, ptr %args, i64 {k}")
        lines.append(f"  {name} = load ptr, ptr {f'{name}.at' if k else '%args'}, align 8")
    return lines


def bounds(turns: int, step: int) -> list[str]:
    """The lines that say from which turn to which a part goes, if each has so many."""
    lines = [f"  %lo = mul nuw nsw i64 %part, {step}"]
    if turns % step == 0:
        return [*lines, f"  %hi = add nuw nsw i64 %lo, {step}"]
    lines.append(f"  %beyond = add nuw nsw i64 %lo, {step}")
    lines.append(f"  %is.within = icmp ult i64 %beyond, {turns}")
    return [*lines, f"  %hi = select i1 %is.within, i64 %beyond, i64 {turns}"]


def until(begin: str, end: str, itemsize: int) -> list[str]:
    """The lines that say how many elements there are from one pointer to another."""
    lines = [f"  {name}.number = ptrtoint ptr {name} to i64" for name in (begin, end)]
    lines.append(f"  %bytes = sub i64 {end}.number, {begin}.number")
    return [*lines, f"  %end = udiv exact i64 %bytes, {itemsize}"]


_CALL = re.compile(r" = call .*?(@bl\.[\w.]+)\(")
_CALLING = re.compile(_CALL.pattern + ".*")  # up to the end of the line
_APART = re.compile(r"@bl\.([\w.]+)(\(.*\)) noinline")


MANY, TWICE, ONCE = 16, 2, 1
"""A function called so often is not written out each time: among loops, in lines that are run once, and where next to
no time is spent.
"""


class Code:
    """LLVM instructions as they are written, with fresh names; what they need from outside is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.math: set[tuple[str, str]] = set()
        self.declared: set[str] = set()
        self._count = 0

    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"%{stem}{self._count}"

    def put(self, line: str) -> None:
        self.lines.append(line)

    def let(self, expression: str, stem: str = "v") -> str:
        self._count += 1
        name = f"%{stem}{self._count}"
        self.lines.append(f"  {name} = {expression}")
        return name

    def work(self, begin: Sequence[str], attributes: str = LATE, often: int = MANY) -> str:
        """The instructions as a function that a block calls. begin: the lines by which it finds what it is given."""
        return self.function(WORK, attributes, often, begin)

    def function(self, parameters: str, attributes: str = LATE, often: int = MANY, begin: Sequence[str] = ()) -> str:
        """The instructions as a function of this module alone, whose name is written @NAME. often: what it calls so
        many times is not written out each time, which would be thousands of instructions at once, and slow to compile;
        kernels then call what they have in common with those of other programs.
        """
        body = "\n".join([*begin, *self.lines])
        calls = Counter(_CALL.findall(body)) if "@bl." in body else {}
        spared = {called for called, count in calls.items() if count >= often}
        if spared:
            body = _CALLING.sub(lambda found: found[0] + " noinline" * (found[1] in spared), body)
        if spared and attributes == AS_WRITTEN:
            body = _APART.sub(rf"@{APART}\1\2", body)
        return f"define internal void @NAME({parameters}) {attributes} {{\nentry:\n{body}\n  ret void\n}}\n"

    def call(self, intrinsic: str, kind: str, *args: str) -> str:
        """An intrinsic of LLVM on arguments of one type."""
        called = f"{kind} @llvm.{intrinsic}.{suffix(kind)}"
        self.declared.add(f"declare {called}({', '.join([kind] * len(args))})")
        return self.let(f"call {called}({', '.join(f'{kind} {a}' for a in args)})")


class Blocks(Code):
    """Instructions in blocks with labels. block: the label of the one that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.block = "entry"
        self.attributes = LATE
        self._labels = 0

    def label(self, stem: str) -> str:
        self._labels += 1
        return f"{stem}{self._labels}"

    def begin(self, label: str) -> None:
        self.put(f"{label}:")
        self.block = label

    def counter(self, name: str, comes: str) -> tuple[list[str], list[str]]:
        """The lines by which a loop counts: what stands before the head's other phis, and what behind them. comes: from
        which block, which number.

        In what is written as it shall run, LLVM shall not see what this number is: to find out how places go from turn
        to turn takes it a sixth of the time of compiling, and wins nothing, as an address adds a register by itself.
        """
        if self.attributes != AS_WRITTEN:
            return [f"  {name} = phi i64 {comes}"], []
        return [f"  {name}.phi = phi i64 {comes}"], [f'  {name} = call i64 asm "", "=r,0"(i64 {name}.phi)']


_FLOAT = {"add": "fadd contract", "subtract": "fsub contract", "multiply": "fmul contract", "divide": "fdiv"}
_WHOLE = {"add": "add", "subtract": "sub", "multiply": "mul", "bitwise_and": "and", "bitwise_or": "or"}
_INTRINSIC = {"abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "rint"}
_ORDERED = {
    "equal": "oeq", "not_equal": "une", "less": "olt", "less_equal": "ole", "greater": "ogt", "greater_equal": "oge",
}  # fmt: skip
_SIGNED = {"equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge"}

_OTHERS = (
    "where", "negative", "sign", "maximum", "minimum", "copysign", "nextafter", "remainder", "floor_divide",
    "bitwise_xor", "bitwise_invert", "bitwise_left_shift", "bitwise_right_shift", "square",
)  # fmt: skip
FUNCTIONS = MATH.union(_FLOAT, _WHOLE, _INTRINSIC, _ORDERED, _OTHERS)
"""The names of all maps."""


_BY_VECTORS = frozenset(["where", "negative", "maximum", "minimum", "copysign", "fma"]).union(
    _FLOAT, _INTRINSIC, _ORDERED
)


def by_vectors(function: str, dtype: Dtype, lanes: int) -> bool:
    """Whether `apply_to_vectors` can compute this function of floating-point numbers of this dtype."""
    kind = register(dtype)
    if kind not in ("float", "double"):
        return False
    return function in _BY_VECTORS or (function in MATH and of_vectors(function, kind, lanes) is not None)


def apply_to_vectors(code: Code, function: str, args: Sequence[str], dtype: Dtype, lanes: int) -> str:
    """Instructions for a scalar function of each lane. dtype: that of the numbers; `where` chooses by truths."""
    kind = f"<{lanes} x {register(dtype)}>"
    if function == "where":
        return code.let(f"select {_truth(kind)} {args[0]}, {kind} {args[1]}, {kind} {args[2]}")
    if function in _ORDERED:
        return code.let(f"fcmp {_ORDERED[function]} {kind} {args[0]}, {args[1]}")
    return _of_floats(code, function, args, kind)


def _truth(kind: str) -> str:
    """The type of what a comparison of this type of numbers gives."""
    lanes, by, _ = kind.rpartition(" x ")
    return f"{lanes}{by}i1>" if lanes else "i1"


def apply(code: Code, function: str, args: Sequence[str], dtypes: Sequence[Dtype], dtype: Dtype) -> str:
    """Instructions for a scalar function; gives the name of the result."""
    if function == "cast":
        return _cast(code, args[0], dtypes[0], dtype)
    if function == "where":
        kind = register(dtype)
        return code.let(f"select i1 {args[0]}, {kind} {args[1]}, {kind} {args[2]}")
    if function == "nextafter":
        return _next(code, args, dtype)
    if dtypes[0] == HALF:  # computed in float32 and rounded, as NumPy does
        wide = np.dtype(np.float32)
        args = [_cast(code, a, d, wide) if d == HALF else a for a, d in zip(args, dtypes, strict=True)]
        found = apply(code, function, args, [wide] * len(args), wide if dtype == HALF else dtype)
        return _cast(code, found, wide, dtype) if dtype == HALF else found
    kind = register(dtypes[0])
    if function in _ORDERED:
        return _compared(code, function, args, dtypes[0], kind)
    if dtype.kind == "f":
        return _of_floats(code, function, args, kind)
    return _of_whole(code, function, args, dtype, kind)


def _of_floats(code: Code, function: str, args: Sequence[str], kind: str) -> str:
    if function in _FLOAT:
        return code.let(f"{_FLOAT[function]} {kind} {args[0]}, {args[1]}")
    if function in MATH:
        code.math.add((function, kind))
        return code.let(f"call {kind} {symbol(function, kind)}({', '.join(f'{kind} {a}' for a in args)})")
    if function == "fma":
        return code.call("fma", kind, *args)
    if function in _INTRINSIC:
        return code.call(_INTRINSIC[function], kind, args[0])
    if function == "negative":
        return code.let(f"fneg {kind} {args[0]}")
    if function in ("maximum", "minimum"):
        return _extreme(code, function, args, kind)
    if function == "copysign":
        return code.call("copysign", kind, *args)
    if function == "sign":
        above = code.let(f"fcmp ogt {kind} {args[0]}, 0.0")
        below = code.let(f"fcmp olt {kind} {args[0]}, 0.0")
        neither = code.let(f"fadd {kind} {args[0]}, 0.0")  # 0 of either sign becomes 0, and NaN stays
        low = code.let(f"select i1 {below}, {kind} -1.0, {kind} {neither}")
        return code.let(f"select i1 {above}, {kind} 1.0, {kind} {low}")
    if function == "remainder":
        return _remainder(code, args, kind)
    if function == "floor_divide":
        quotient = code.let(f"fdiv {kind} {args[0]}, {args[1]}")
        rest = _remainder(code, args, kind)
        exact = code.let(f"fsub {kind} {args[0]}, {rest}")
        whole = code.call("rint", kind, code.let(f"fdiv {kind} {exact}, {args[1]}"))
        size = code.call("fabs", kind, quotient)
        infinity = "0x7FF0000000000000"
        finite = code.let(f"fcmp olt {kind} {size}, {infinity}")
        usual = code.let(f"fcmp olt {kind} {code.call('fabs', kind, args[1])}, {infinity}")
        both = code.let(f"and i1 {finite}, {usual}")
        signed = code.call("copysign", kind, whole, quotient)
        nil = code.let(f"fcmp oeq {kind} {whole}, 0.0")
        whole = code.let(f"select i1 {nil}, {kind} {signed}, {kind} {whole}")
        return code.let(f"select i1 {both}, {kind} {whole}, {kind} {code.call('floor', kind, quotient)}")
    raise NotImplementedError(f"{function} of {kind}")


def _next(code: Code, args: Sequence[str], dtype: Dtype) -> str:
    """The number beside a, in the direction of b. Magnitudes are ordered as their bits are, read as whole numbers."""
    (a, b), kind, bits = args, register(dtype), f"i{8 * dtype.itemsize}"
    zero = literal(0, dtype)
    magnitude, other = (code.let(f"bitcast {kind} {x} to {bits}") for x in (a, b))
    up = code.let(f"fcmp ogt {kind} {b}, {a}")
    above = code.let(f"fcmp ogt {kind} {a}, {zero}")
    grows = code.let(f"icmp eq i1 {up}, {above}")
    beside = code.let(f"add {bits} {magnitude}, {code.let(f'select i1 {grows}, {bits} 1, {bits} -1')}")
    least = code.let(f"or {bits} {code.let(f'and {bits} {other}, {1 << (8 * dtype.itemsize - 1)}')}, 1")
    nil = code.let(f"fcmp oeq {kind} {a}, {zero}")
    found = code.let(f"bitcast {bits} {code.let(f'select i1 {nil}, {bits} {least}, {bits} {beside}')} to {kind}")
    there = code.let(f"fcmp oeq {kind} {a}, {b}")
    found = code.let(f"select i1 {there}, {kind} {b}, {kind} {found}")
    lost = code.let(f"fcmp uno {kind} {a}, {b}")
    return code.let(f"select i1 {lost}, {kind} {literal(np.nan, dtype)}, {kind} {found}")


def _extreme(code: Code, function: str, args: Sequence[str], kind: str) -> str:
    """The larger or smaller of two; NaN if either is."""
    (a, b), truth = args, _truth(kind)
    if _is_literal(a) and not _is_literal(b):
        a, b = b, a
    way = ("ole", "ogt") if function == "maximum" else ("oge", "olt")
    if _is_literal(b) and "0x7FF8" not in b:  # b is a number, so a NaN stays when it is not compared away
        beaten = code.let(f"fcmp {way[0]} {kind} {a}, {b}")
        return code.let(f"select {truth} {beaten}, {kind} {b}, {kind} {a}")
    wins = code.let(f"fcmp {way[1]} {kind} {a}, {b}")
    found = code.let(f"select {truth} {wins}, {kind} {a}, {kind} {b}")
    bad = code.let(f"fcmp uno {kind} {a}, {a}")
    return code.let(f"select {truth} {bad}, {kind} {a}, {kind} {found}")


def beats(code: Code, function: str, value: str, best: str, dtype: Dtype) -> str:
    """Whether a value is to be picked instead of the best so far: where it is the larger or smaller one, or the first
    NaN.
    """
    kind = register(dtype)
    ahead = _compared(code, "greater" if function == "maximum" else "less", [value, best], dtype, kind)
    if dtype.kind != "f":
        return ahead
    bad = code.let(f"fcmp uno {kind} {value}, {value}")
    fine = code.let(f"fcmp ord {kind} {best}, {best}")
    return code.let(f"and i1 {code.let(f'or i1 {ahead}, {bad}')}, {fine}")


def _is_literal(text: str) -> bool:
    return not text.startswith("%")


def _remainder(code: Code, args: Sequence[str], kind: str) -> str:
    """Python's: the result has the sign of the divisor."""
    rest = code.let(f"frem {kind} {args[0]}, {args[1]}")
    nil = code.let(f"fcmp oeq {kind} {rest}, 0.0")
    product = code.let(f"fcmp olt {kind} {code.call('copysign', kind, '1.0', rest)}, 0.0")
    other = code.let(f"fcmp olt {kind} {code.call('copysign', kind, '1.0', args[1])}, 0.0")
    differ = code.let(f"xor i1 {product}, {other}")
    moved = code.let(f"fadd {kind} {rest}, {args[1]}")
    fixed = code.let(f"select i1 {differ}, {kind} {moved}, {kind} {rest}")
    zero = code.call("copysign", kind, "0.0", args[1])
    return code.let(f"select i1 {nil}, {kind} {zero}, {kind} {fixed}")


def _compared(code: Code, function: str, args: Sequence[str], dtype: Dtype, kind: str) -> str:
    if dtype.kind == "f":
        return code.let(f"fcmp {_ORDERED[function]} {kind} {args[0]}, {args[1]}")
    how = _SIGNED[function]
    if function not in ("equal", "not_equal"):
        how = ("s" if dtype.kind == "i" else "u") + how
    return code.let(f"icmp {how} {kind} {args[0]}, {args[1]}")


def _of_whole(code: Code, function: str, args: Sequence[str], dtype: Dtype, kind: str) -> str:
    signed = dtype.kind == "i"
    if dtype.kind == "b" and function in ("add", "multiply", "maximum", "minimum"):
        function = {"add": "bitwise_or", "maximum": "bitwise_or"}.get(function, "bitwise_and")
    if function in _WHOLE:
        return code.let(f"{_WHOLE[function]} {kind} {args[0]}, {args[1]}")
    if function == "bitwise_xor":
        return code.let(f"xor {kind} {args[0]}, {args[1]}")
    if function == "bitwise_invert":
        return code.let(f"xor {kind} {args[0]}, -1")
    if function == "negative":
        return code.let(f"sub {kind} 0, {args[0]}")
    if function in ("floor", "ceil", "trunc", "round"):
        return args[0]
    if function == "abs":
        if not signed:
            return args[0]
        below = code.let(f"icmp slt {kind} {args[0]}, 0")
        return code.let(f"select i1 {below}, {kind} {code.let(f'sub {kind} 0, {args[0]}')}, {kind} {args[0]}")
    if function == "sign":
        above = code.let(f"zext i1 {code.let(f'icmp ne {kind} {args[0]}, 0')} to {kind}")
        if not signed:
            return above
        below = code.let(f"icmp slt {kind} {args[0]}, 0")
        return code.let(f"select i1 {below}, {kind} -1, {kind} {above}")
    if function in ("maximum", "minimum"):
        how = ("s" if signed else "u") + ("gt" if function == "maximum" else "lt")
        wins = code.let(f"icmp {how} {kind} {args[0]}, {args[1]}")
        return code.let(f"select i1 {wins}, {kind} {args[0]}, {kind} {args[1]}")
    if function in ("bitwise_left_shift", "bitwise_right_shift"):
        return _shifted(code, function, args, dtype, kind)
    if function in ("floor_divide", "remainder"):
        return _divided(code, function, args, signed, kind)
    if function == "pow":
        code.math.add((function, kind))
        return code.let(f"call {kind} @bl.pow.{kind}({kind} {args[0]}, {kind} {args[1]})")
    raise NotImplementedError(f"{function} of {dtype.name}")


def _shifted(code: Code, function: str, args: Sequence[str], dtype: Dtype, kind: str) -> str:
    """A shift; by as many bits as there are, or more, all of them leave."""
    width = dtype.itemsize * 8
    inside = code.let(f"icmp ult {kind} {args[1]}, {width}")
    if function == "bitwise_right_shift" and dtype.kind == "i":
        by = code.let(f"select i1 {inside}, {kind} {args[1]}, {kind} {width - 1}")
        return code.let(f"ashr {kind} {args[0]}, {by}")
    by = code.let(f"select i1 {inside}, {kind} {args[1]}, {kind} 0")
    found = code.let(f"{'shl' if 'left' in function else 'lshr'} {kind} {args[0]}, {by}")
    return code.let(f"select i1 {inside}, {kind} {found}, {kind} 0")


def _divided(code: Code, function: str, args: Sequence[str], signed: bool, kind: str) -> str:
    """Whole division as Python's, with 0 for a division by 0, as NumPy gives."""
    a, by = args
    if _is_literal(by) and by not in ("0", "-1"):
        return _divided_by(code, function, a, by, signed, kind)
    nil = code.let(f"icmp eq {kind} {by}, 0")
    minus = code.let(f"icmp eq {kind} {by}, -1") if signed else nil  # the least number by -1 is too large
    special = code.let(f"or i1 {nil}, {minus}")
    safe = code.let(f"select i1 {special}, {kind} 1, {kind} {by}")
    found = _divided_by(code, function, a, safe, signed, kind)
    if signed:
        turned = code.let(f"sub {kind} 0, {a}") if function == "floor_divide" else "0"
        found = code.let(f"select i1 {minus}, {kind} {turned}, {kind} {found}")
    return code.let(f"select i1 {nil}, {kind} 0, {kind} {found}")


def _divided_by(code: Code, function: str, a: str, by: str, signed: bool, kind: str) -> str:
    """Division by what is neither 0 nor -1."""
    divides = function == "floor_divide"
    if not signed:
        return code.let(f"{'udiv' if divides else 'urem'} {kind} {a}, {by}")
    quotient = code.let(f"sdiv {kind} {a}, {by}")
    rest = code.let(f"srem {kind} {a}, {by}")
    uneven = code.let(f"icmp ne {kind} {rest}, 0")
    apart = code.let(f"icmp slt {kind} {code.let(f'xor {kind} {rest}, {by}')}, 0")
    down = code.let(f"and i1 {uneven}, {apart}")
    if divides:
        other = code.let(f"sub {kind} {quotient}, 1")
        return code.let(f"select i1 {down}, {kind} {other}, {kind} {quotient}")
    other = code.let(f"add {kind} {rest}, {by}")
    return code.let(f"select i1 {down}, {kind} {other}, {kind} {rest}")


def _cast(code: Code, x: str, have: Dtype, want: Dtype) -> str:
    a, b = register(have), register(want)
    if have == want:
        return x
    if want.kind == "b":
        if have.kind == "f":
            return code.let(f"fcmp une {a} {x}, 0.0") if a != "half" else code.let(f"fcmp une half {x}, 0xH0000")
        return code.let(f"icmp ne {a} {x}, 0")
    if have.kind == "f" and want.kind == "f":
        return code.let(f"{'fpext' if want.itemsize > have.itemsize else 'fptrunc'} {a} {x} to {b}")
    if have.itemsize == 2 and have.kind == "f":  # LLVM 20 forgets the NaN where a half becomes 16 bits
        return _cast(code, _cast(code, x, have, np.dtype(np.float32)), np.dtype(np.float32), want)
    if have.kind == "f":
        how = "fptosi" if want.kind == "i" else "fptoui"
        suffix = {"float": "f32", "double": "f64"}[a]
        name = f"@llvm.{how}.sat.{b}.{suffix}"
        code.declared.add(f"declare {b} {name}({a})")
        return code.let(f"call {b} {name}({a} {x})")
    if want.kind == "f":
        return code.let(f"{'sitofp' if have.kind == 'i' else 'uitofp'} {a} {x} to {b}")
    if a == b:
        return x
    if have.kind == "b" or want.itemsize > have.itemsize:
        return code.let(f"{'sext' if have.kind == 'i' else 'zext'} {a} {x} to {b}")
    return code.let(f"trunc {a} {x} to {b}")
