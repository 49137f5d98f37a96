"""Writes the body of one function as LLVM IR text, from Python expressions on its numbers.

A `Term` is a typed name in the IR; `a + b`, `x < 0.0` and `body.fma(x, y, z)` append an instruction and give its name.
Python numbers beside a Term become constants of its type. Equal instructions are written once. There is nothing here
but one basic block: no branch, no loop, no memory but constant tables.

The numbers are float32 or float64 (`body.single` tells), and each body has one integer type of the same width.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

FLOAT, DOUBLE = "float", "double"

_SUFFIX = {FLOAT: "f32", DOUBLE: "f64", "i32": "i32", "i64": "i64"}


class Term:
    """One number, integer or truth value of the function: a name or a literal in the IR."""

    __slots__ = ("body", "name", "type")
    __hash__ = object.__hash__

    def __init__(self, body: Body, type: str, name: str) -> None:
        self.body, self.type, self.name = body, type, name

    @property
    def is_float(self) -> bool:
        return self.type in (FLOAT, DOUBLE)

    def __rlshift__(self, other: int) -> Term:
        return self._with("", "shl", other, swapped=True)

    def _with(self, floats: str, integers: str, other: Term | float, swapped: bool = False) -> Term:
        op = floats if self.is_float else integers
        a, b = self, self.body.term(other, self.type)
        if swapped:
            a, b = b, a
        return self.body.write(self.type, f"{op} {self.type} {a.name}, {b.name}")

    def __add__(self, other: Term | float) -> Term:
        return self._with("fadd", "add", other)

    def __radd__(self, other: float) -> Term:
        return self._with("fadd", "add", other, swapped=True)

    def __sub__(self, other: Term | float) -> Term:
        return self._with("fsub", "sub", other)

    def __rsub__(self, other: float) -> Term:
        return self._with("fsub", "sub", other, swapped=True)

    def __mul__(self, other: Term | float) -> Term:
        return self._with("fmul", "mul", other)

    def __rmul__(self, other: float) -> Term:
        return self._with("fmul", "mul", other, swapped=True)

    def __truediv__(self, other: Term | float) -> Term:
        return self._with("fdiv", "", other)

    def __rtruediv__(self, other: float) -> Term:
        return self._with("fdiv", "", other, swapped=True)

    def __neg__(self) -> Term:
        return self.body.write(self.type, f"fneg {self.type} {self.name}")

    def __lshift__(self, count: int) -> Term:
        return self._with("", "shl", count)

    def __rshift__(self, count: int) -> Term:
        """Logical: zeros come in from the left."""
        return self._with("", "lshr", count)

    def __and__(self, other: Term | float) -> Term:
        return self._with("", "and", other)

    def __or__(self, other: Term | float) -> Term:
        return self._with("", "or", other)

    def __xor__(self, other: Term | float) -> Term:
        return self._with("", "xor", other)

    def _compared(self, relation: str, other: Term | float) -> Term:
        b = self.body.term(other, self.type)
        signed = relation if relation in ("eq", "ne") else "s" + relation
        op = f"fcmp {'une' if relation == 'ne' else 'o' + relation}" if self.is_float else f"icmp {signed}"
        return self.body.write("i1", f"{op} {self.type} {self.name}, {b.name}")

    def __lt__(self, other: Term | float) -> Term:
        return self._compared("lt", other)

    def __le__(self, other: Term | float) -> Term:
        return self._compared("le", other)

    def __gt__(self, other: Term | float) -> Term:
        return self._compared("gt", other)

    def __ge__(self, other: Term | float) -> Term:
        return self._compared("ge", other)

    def equals(self, other: Term | float) -> Term:
        return self._compared("eq", other)

    def differs(self, other: Term | float) -> Term:
        """True of NaN, too, as in C: `x.differs(x)` asks for NaN."""
        return self._compared("ne", other)


class Body:
    """The instructions of one function, as they are written."""

    def __init__(self, type: str) -> None:
        self.type = type
        self.single = type == FLOAT
        self.integer = "i32" if self.single else "i64"
        self.lines: list[str] = []
        self.declares: set[str] = set()
        self.globals: dict[str, str] = {}  # name -> definition
        self._written: dict[str, Term] = {}
        # what a float is made of
        self.mantissa = 23 if self.single else 52  # bits of it
        self.bias = 127 if self.single else 1023
        self.epsilon = math.ldexp(1.0, -self.mantissa)
        self.lowest_normal = math.ldexp(1.0, 1 - self.bias)
        self.highest = (2.0 - self.epsilon) * 2.0**self.bias
        self.whole = 1.5 * 2.0**self.mantissa  # adding it rounds to whole numbers, which its low bits then are

    def choose(self, double: float, single: float) -> float:
        """The one that is of this body's precision."""
        return single if self.single else double

    def in_double(self) -> Body:
        """A float64 body that writes into this one."""
        wide = Body(DOUBLE)
        wide.lines, wide.declares, wide.globals, wide._written = self.lines, self.declares, self.globals, self._written
        return wide

    # -- terms --------------------------------------------------------------------------------------------------

    def term(self, value: Term | float, type: str | None = None) -> Term:
        """The term itself, or a constant."""
        if isinstance(value, Term):
            return value
        type = type or self.type
        if type == "i1":
            return Term(self, type, "true" if value else "false")
        if type not in (FLOAT, DOUBLE):
            return Term(self, type, str(int(value)))
        value = struct.unpack("<f", struct.pack("<f", value))[0] if type == FLOAT else float(value)
        return Term(self, type, f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}")

    def write(self, type: str, instruction: str) -> Term:
        """The result of an instruction, which is appended unless it stands there already."""
        known = self._written.get(instruction)
        if known is None:
            known = self._written[instruction] = Term(self, type, f"%v{len(self.lines)}")
            self.lines.append(f"  {known.name} = {instruction}")
        return known

    def _intrinsic(self, name: str, *args: Term) -> Term:
        type = args[0].type
        full = f"@llvm.{name}.{_SUFFIX[type]}"
        self.declares.add(f"declare {type} {full}({', '.join([type] * len(args))})")
        return self.write(type, f"call {type} {full}({', '.join(f'{type} {a.name}' for a in args)})")

    def _all(self, *values: Term | float) -> list[Term]:
        type = next((v.type for v in values if isinstance(v, Term)), self.type)
        return [self.term(v, type) for v in values]

    # -- arithmetic ---------------------------------------------------------------------------------------------

    def fma(self, x: Term | float, y: Term | float, z: Term | float) -> Term:
        """x · y + z, rounded once."""
        return self._intrinsic("fma", *self._all(x, y, z))

    def polynomial(self, coefficients: Sequence[float], x: Term, first: int = 0) -> Term:
        """Even and odd powers apart, and again while they are many: the chain of dependent instructions stays short.

        first: so many powers are added one by one at the end (Horner), where even and odd powers would cancel.
        """
        if first or len(coefficients) <= (12 if x.type == FLOAT else 4):
            most = len(coefficients) - 1
            start = min(first, most) if first else most
            total = self.polynomial(coefficients[start:], x) if first else self.term(coefficients[-1], x.type)
            for coefficient in coefficients[:start][::-1]:
                total = self.fma(total, x, coefficient)
            return total
        square = x * x
        return self.fma(self.polynomial(coefficients[1::2], square), x, self.polynomial(coefficients[::2], square))

    def sqrt(self, x: Term) -> Term:
        return self._intrinsic("sqrt", x)

    def rint(self, x: Term) -> Term:
        return self._intrinsic("rint", x)

    def abs(self, x: Term) -> Term:
        return self._intrinsic("fabs", x)

    def copysign(self, size: Term | float, sign: Term) -> Term:
        return self._intrinsic("copysign", *self._all(size, sign))

    def select(self, condition: Term, yes: Term | float, no: Term | float) -> Term:
        a, b = self._all(yes, no)
        return self.write(a.type, f"select i1 {condition.name}, {a.type} {a.name}, {b.type} {b.name}")

    def both(self, a: Term, b: Term) -> Term:
        return self.write("i1", f"and i1 {a.name}, {b.name}")

    def either(self, a: Term, b: Term) -> Term:
        return self.write("i1", f"or i1 {a.name}, {b.name}")

    def differ(self, a: Term, b: Term) -> Term:
        return self.write("i1", f"xor i1 {a.name}, {b.name}")

    def no(self, a: Term) -> Term:
        return self.write("i1", f"xor i1 {a.name}, true")

    def at_least(self, x: Term, bound: float) -> Term:
        """max(x, bound), and NaN for NaN."""
        return self.select(x < bound, bound, x)

    def at_most(self, x: Term, bound: float) -> Term:
        """min(x, bound), and NaN for NaN."""
        return self.select(x > bound, bound, x)

    # -- bits and conversions -----------------------------------------------------------------------------------

    def bits(self, x: Term) -> Term:
        integer = "i32" if x.type == FLOAT else "i64"
        return self.write(integer, f"bitcast {x.type} {x.name} to {integer}")

    def from_bits(self, x: Term) -> Term:
        type = FLOAT if x.type == "i32" else DOUBLE
        return self.write(type, f"bitcast {x.type} {x.name} to {type}")

    def widened(self, x: Term) -> Term:
        return self.write(DOUBLE, f"fpext float {x.name} to double")

    def narrowed(self, x: Term) -> Term:
        return self.write(FLOAT, f"fptrunc double {x.name} to float")

    def frozen(self, x: Term) -> Term:
        """The same number; where there is none ("poison"), any, but one."""
        return self.write(x.type, f"freeze {x.type} {x.name}")

    def table(self, name: str, rows: Sequence[float], index: Term) -> Term:
        """The element of a constant table of float64 numbers."""
        numbers = ", ".join(f"double {self.term(v, DOUBLE).name}" for v in rows)
        self.globals[name] = f"@{name} = internal unnamed_addr constant [{len(rows)} x double] [{numbers}], align 64"
        place = self.write("ptr", f"getelementptr inbounds double, ptr @{name}, i64 {index.name}")
        return self.write(DOUBLE, f"load double, ptr {place.name}, align 8")


# -- numbers in two parts ----------------------------------------------------------------------------------------
# A pair (high, low) stands for their exact sum; low is at most about half a unit in the last place of high.

Pair = tuple[Term, Term]


def sum_exactly(a: Term | float, b: Term | float) -> Pair:
    """a + b and its rounding error (Knuth's TwoSum)."""
    total = _plus(a, b)
    other = total - a
    return total, _plus(_minus(a, total - other), _minus(b, other))


def sum_ordered(a: Term | float, b: Term | float) -> Pair:
    """a + b and its rounding error, where |a| ≥ |b| or a = 0 (Dekker's FastTwoSum)."""
    total = _plus(a, b)
    return total, _plus(_minus(a, total), b)


def product_exactly(a: Term, b: Term | float) -> Pair:
    """a · b and its rounding error, by fused multiply-add."""
    product = a * b
    return product, a.body.fma(a, b, -product)


def _plus(a: Term | float, b: Term | float) -> Term:
    result = a + b
    assert isinstance(result, Term)
    return result


def _minus(a: Term | float, b: Term | float) -> Term:
    result = a - b
    assert isinstance(result, Term)
    return result
