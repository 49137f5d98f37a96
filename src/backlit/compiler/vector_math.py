"""Elementary functions as LLVM IR, of one number and of vectors.

Each function is one basic block of arithmetic, comparisons and selects: no branch and no call but of intrinsics that
are instructions. It is written for a number; for a vector, what is done to one is done to all lanes, on AVX-512, AVX2
and NEON alike. The target must have fused multiply-add (`llvm.fma` would be a call without it); no fast-math flag is
used and none may be added. A caller with the attribute "prefer-vector-width"="512" gets AVX-512's whole registers.

    @bl.<name>.f32(float …) -> float        @bl.<name>.f64(double …) -> double

Accuracy: within 2 units in the last place of the exact result, over the whole range, edges (signed zeros, infinities,
NaN, subnormal arguments and results, overflow) as in C99 and NumPy. tests/compiler/test_vector_math.py measures it
against mpmath; the most that was met is 2.0 for sigmoid (just below 0), and 1.9 elsewhere. `logaddexp` is as close in
units of the greater of its two terms, which cancel where the result is near 0.

sin, cos and tan are right for every finite angle, and pay for it. `within` names the function that is several times
faster up to a bound: a loop's emitter can find the greatest |x| first and then run one of two loops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

from backlit.compiler.vmath import bells, circular, exponentials, logarithms, powers, roots
from backlit.compiler.vmath.writer import DOUBLE, FLOAT, Body, Term

_UNARY: dict[str, Callable[[Body, Term], Term]] = {
    "exp": exponentials.exp,
    "exp2": exponentials.exp2,
    "expm1": exponentials.expm1,
    "log": logarithms.log,
    "log1p": logarithms.log1p,
    "log2": logarithms.log2,
    "log10": logarithms.log10,
    "sin": circular.sin,
    "cos": circular.cos,
    "tan": circular.tan,
    "sin_near": circular.sin_near,
    "cos_near": circular.cos_near,
    "tan_near": circular.tan_near,
    "asin": circular.asin,
    "acos": circular.acos,
    "atan": circular.atan,
    "sinh": exponentials.sinh,
    "cosh": exponentials.cosh,
    "tanh": exponentials.tanh,
    "asinh": logarithms.asinh,
    "acosh": logarithms.acosh,
    "atanh": logarithms.atanh,
    "erf": bells.erf,
    "sigmoid": exponentials.sigmoid,
    "softplus": logarithms.softplus,
    "silu": exponentials.silu,
    "gelu": bells.gelu,
    "elu": exponentials.elu,
}
_BINARY: dict[str, Callable[[Body, Term, Term], Term]] = {
    "atan2": circular.atan2,
    "pow": powers.pow,
    "hypot": powers.hypot,
    "logaddexp": logarithms.logaddexp,
}
NAMES = (*_UNARY, *_BINARY)
_SUFFIX = {FLOAT: "f32", DOUBLE: "f64"}
WIDE_ROOT = ("sqrt", "<16 x float>")
"""A function for CPUs with registers of 64 bytes alone."""
WHOLE = ("i8", "i16", "i32", "i64")
"""The types of whole numbers. Of these there is `pow`, which is a loop."""


class Definitions(NamedTuple):
    """The IR of some functions, apart from what it declares, since others may need the same declarations.

    functions: constant tables and definitions. Use one of these objects in a module: names would be defined twice.
    declares: lines such as `declare float @llvm.rint.f32(float)`.
    """

    functions: str
    declares: frozenset[str]

    @property
    def text(self) -> str:
        """Declarations and definitions: a whole module but for its callers."""
        return "\n".join(sorted(self.declares)) + "\n" + self.functions


LANES = {FLOAT: 16, DOUBLE: 8}
"""How many numbers a vector has at most: 64 bytes. LLVM parts it where registers are shorter."""


def of_vectors(name: str, type: str, lanes: int) -> str | None:
    """The type of vectors of so many numbers for which there is the function, too; None if there is no such function.

    >>> of_vectors("tanh", "double", 8)
    '<8 x double>'
    """
    return f"<{lanes} x {type}>" if name in NAMES and type in LANES else None


_WIDENED = re.compile(
    r"""
    (?<=[ (])(?:(?P<kind>float|double|i1|i32|i64)|(?P<literal>0x[0-9A-F]+|-?[0-9]+|true|false))(?=[ ,)\n]|$)
    | \.(?P<mangled>[fi](?:32|64))(?=\()
    | (?P<address>getelementptr\ inbounds\ double)  # of one number still, in a table
    | load\ double,\ ptr\ (?P<place>%\w+),\ align\ 8  # from there
    """,
    re.VERBOSE,
)
"""What is written otherwise where instructions are on vectors."""


@cache
def _widened(text: str, lanes: int) -> str:
    """Instructions on numbers, on vectors: what is done to one is done to each."""
    kind = ""  # the type named last, which is that of the literals that follow

    def widened(found: re.Match[str]) -> str:
        nonlocal kind
        match found.lastgroup:
            case "kind":
                kind = found[0]
                return f"<{lanes} x {kind}>"
            case "literal":
                return f"splat ({kind} {found[0]})"
            case "mangled":
                return f".v{lanes}{found['mangled']}"
            case "place":
                places = f"<{lanes} x ptr> {found['place']}, i32 8, <{lanes} x i1> splat (i1 true)"
                return f"call {_gather(lanes)}({places}, <{lanes} x double> poison)"
        return found[0]

    return _WIDENED.sub(widened, text)


def _gather(lanes: int) -> str:
    """The intrinsic that looks numbers up in a table."""
    return f"<{lanes} x double> @llvm.masked.gather.v{lanes}f64.v{lanes}p0"


def arity(name: str) -> int:
    """How many arguments a function takes."""
    return 1 if name in _UNARY else 2


def symbol(name: str, type: str) -> str:
    """The function's name in the IR.

    >>> symbol("tanh", "float"), symbol("tanh", "<8 x double>")
    ('@bl.tanh.f32', '@bl.tanh.v8f64')
    """
    lanes, element = _parted(type)
    return f"@bl.{name}.{f'v{lanes}' if lanes else ''}{_SUFFIX.get(element, element)}"


def apart(name: str, type: str, called: str, attributes: str) -> tuple[str, str]:
    """The declaration and the definition of a function that is `called` so, and calls this one.

    >>> apart("tanh", "float", "@math.tanh.f32", "#1")[0]
    'declare float @math.tanh.f32(float)'
    """
    types, names = [type] * arity(name), ["%x", "%y"]
    given = ", ".join(f"{each} {name}" for each, name in zip(types, names, strict=False))
    body = f"  %value = call {type} {symbol(name, type)}({given})\n  ret {type} %value"
    return (
        f"declare {type} {called}({', '.join(types)})",
        f"define internal {type} {called}({given}) {attributes} {{\nentry:\n{body}\n}}\n",
    )


def _parted(type: str) -> tuple[int, str]:
    """How many numbers a type has (0 for one that is no vector), and their type."""
    lanes, _, element = type.strip("<>").rpartition(" x ")
    return int(lanes or 0), element


def within(name: str, type: str) -> tuple[str, float] | None:
    """A faster function and the bound of |x| below which it gives the same bits, for loops that check it first.

    >>> within("sin", "double")
    ('sin_near', 1073741824.0)
    >>> within("exp", "double")
    """
    return (f"{name}_near", circular.NEAR[type]) if name in ("sin", "cos", "tan") else None


@cache
def _definition(name: str, type: str) -> tuple[str, frozenset[str], tuple[tuple[str, str], ...]]:
    """One function's text, what it declares and the constant tables it reads."""
    if name == "pow" and type in WHOLE:
        return powers.whole(type, symbol(name, type)), frozenset(), ()
    body = Body(type)
    if name in _UNARY:
        arguments, result = f"{type} %x", _UNARY[name](body, Term(body, type, "%x"))
    else:
        arguments = f"{type} %x, {type} %y"
        result = _BINARY[name](body, Term(body, type, "%x"), Term(body, type, "%y"))
    lines = "\n".join(body.lines)
    text = (
        f"define internal {type} {symbol(name, type)}({arguments}) alwaysinline nounwind memory(none) {{\n"
        f"{lines}\n  ret {type} {result.name}\n}}\n"
    )
    return text, frozenset(body.declares), tuple(body.globals.items())


def definitions(needed: Iterable[tuple[str, str]]) -> Definitions:
    """The functions asked for as (name, type), each once; the type is "float", "double", or what `of_vectors` gives.

    >>> made = definitions([("exp2", "float")])
    >>> made.functions.splitlines()[0]
    'define internal float @bl.exp2.f32(float %x) alwaysinline nounwind memory(none) {'
    >>> sorted(made.declares)
    ['declare float @llvm.fma.f32(float, float, float)', 'declare float @llvm.rint.f32(float)']
    """
    texts: list[str] = []
    declares: set[str] = set()
    tables: dict[str, str] = {}
    for name, type in dict.fromkeys(needed):
        if (name, type) == WIDE_ROOT:
            texts.append(roots.SQRT)
            declares |= roots.DECLARES
            continue
        lanes, element = _parted(type)
        known = name in NAMES and element in LANES
        if not known and not (name == "pow" and type in WHOLE):
            raise KeyError(f"There is no {name!r} of {type!r}; the functions are {', '.join(NAMES)}.")
        text, declared, used = _definition(name, element)
        if lanes:
            text, declared = _widened(text, lanes), frozenset(_widened(line, lanes) for line in declared)
            if (gather := _gather(lanes)) in text:
                given = f"<{lanes} x ptr>, i32 immarg, <{lanes} x i1>, <{lanes} x double>"
                declared |= {f"declare {gather}({given})"}
        texts.append(text)
        declares |= declared
        tables.update(used)
    return Definitions("\n".join([*tables.values(), *texts]), frozenset(declares))
