"""sin, cos, tan and their inverses.

The angle is first reduced to r + n · π/2 with |r| ≤ π/4. Two ways lead there:

near    Cody and Waite 1980: x - n · π/2 with π/2 in three parts, by fused multiply-add. For |x| up to `NEAR`.
far     Payne and Hanek 1983: x · 2/π modulo 4, from as many bits of 2/π as matter. For every finite x.
        float64: the bits that matter are four numbers of a table, by x's exponent.
        float32: in float64, where the products of x with all of the seven pieces of 2/π are exact.

`sin` is right for every x. `sin_near`, without the far way, is several times faster, for loops whose arguments
were checked before; up to `NEAR` both give the same bits.
"""

from __future__ import annotations

import math

from backlit.compiler.vmath import polynomials
from backlit.compiler.vmath.writer import Body, Pair, Term, product_exactly, sum_exactly, sum_ordered

NEAR = {"double": 2.0**30, "float": 2.0**15}
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
_HALF_PI_F32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
_PI = (3.141592653589793, 1.2246467991473532e-16)
_PI_F32 = (3.1415927410125732, -8.742277657347586e-08)


# -- reduction -----------------------------------------------------------------------------------------------


def _near(b: Body, x: Term) -> tuple[Term, Term, Term]:
    """The quarter turns in the low bits of an integer, and the rest as a pair."""
    first, second, third = _HALF_PI_F32 if b.single else _HALF_PI
    shifted = b.fma(x, 2.0 / math.pi, b.whole)
    n = shifted - b.whole
    product, product_low = product_exactly(-n, second)
    r, low = sum_exactly(b.fma(-n, first, x), product)  # the fused multiply-add is exact, see `reduced` of exp
    low = b.fma(-n, third, low + product_low)
    return b.bits(shifted), *sum_ordered(r, low)


def _two_over_pi_bits(first: int, count: int) -> int:
    """Bits of 2/π as an integer: those of the weights 2^-first … 2^-(first + count - 1)."""
    shift = polynomials.TWO_OVER_PI_BITS - (first + count - 1)
    value = polynomials.TWO_OVER_PI >> shift
    return value & ((1 << count) - 1)


def _table() -> list[float]:
    """64 rows of four numbers, the sum of which is 2/π · 2^(16 row) without its multiples of 2^54."""
    rows = []
    for row in range(64):
        first = 16 * row - 53  # the weight 2^53 after the multiplication
        left = _two_over_pi_bits(max(first, 1), 230 + min(first, 1) - 1)
        lowest = -(230 - 54)  # the weight of the lowest bit
        for _ in range(4):
            part = math.ldexp(float(left >> max(left.bit_length() - 53, 0)), max(left.bit_length() - 53, 0))
            rows.append(math.ldexp(part, lowest))
            left -= int(part)
    return rows


def _modulo_4(b: Body, x: Term) -> Term:
    return b.fma(b.rint(x * 0.25), -4.0, x)


def _far_double(b: Body, x: Term) -> tuple[Term, Term, Term]:
    """As `_near`, for 2^16 ≤ |x|: the exponent's upper six bits choose a row, the others stay with x."""
    x = b.frozen(x)  # a lane that nobody filled must have a row, too
    row = ((b.bits(x) >> 52) + 1 >> 4) & 63
    a = b.from_bits(b.bits(x) - (row << 56))
    parts = [b.table("bl.two_over_pi", _table(), (row << 2) + k) for k in range(4)]
    (p0, e0), (p1, e1), (p2, e2) = (product_exactly(a, part) for part in parts[:3])
    total = _modulo_4(b, p0)
    lows = []
    for piece in (_modulo_4(b, e0), _modulo_4(b, p1)):
        total, low = sum_exactly(total, piece)
        lows.append(low)
    n = b.rint(total)
    total = total - n
    last = b.fma(a, parts[3], e2)
    for piece in (*lows, e1, p2):
        total, low = sum_exactly(total, piece)
        last = last + low
    total, low = sum_ordered(total, last)
    r, r_low = product_exactly(total, _HALF_PI[0])
    return b.bits(n + b.whole), r, b.fma(low, _HALF_PI[0], b.fma(total, _HALF_PI[1], r_low))


def _far_single(b: Body, x: Term) -> tuple[Term, Term, Term]:
    """As `_near`, for every float32: n and the rest of x · 2/π, from products with 28 bits of 2/π at a time.

    Each product is exact, and what is left of it modulo 4, too. From the third piece on that is not yet a multiple of
    4, a sum may be rounded, but then its own bits are already final.
    """
    wide = b.widened(x)
    total, turns = b.term(0.0, wide.type), b.term(0.0, wide.type)
    for piece in range(7):
        digits = _two_over_pi_bits(28 * piece + 1, 28)
        total = total + _modulo_4(b, wide * math.ldexp(float(digits), -28 * (piece + 1)))
        n = b.rint(total)
        total, turns = total - n, turns + n
    wide_r = total * _HALF_PI[0]
    r = b.narrowed(wide_r)
    return b.bits(b.narrowed(turns) + b.whole), r, b.narrowed(wide_r - b.widened(r))


def _reduced(b: Body, x: Term, everywhere: bool) -> tuple[Term, Term, Term]:
    near = _near(b, x)
    if not everywhere:
        return near
    is_near = b.abs(x) < NEAR[b.type]
    far = _far_single(b, x) if b.single else _far_double(b, b.select(is_near, NEAR[b.type], x))
    quarter, r, low = (b.select(is_near, a, c) for a, c in zip(near, far, strict=True))
    return quarter, r, low


# -- sin, cos, tan -------------------------------------------------------------------------------------------


def _sine(b: Body, r: Term, low: Term) -> Pair:
    """sin(r + low), not yet added up."""
    z = r * r
    return r, b.fma(r * z, b.polynomial(polynomials.SIN_F32 if b.single else polynomials.SIN_F64, z), low)


def _cosine(b: Body, r: Term, low: Term) -> Pair:
    """cos(r + low), not yet added up."""
    z = r * r
    half = 0.5 * z
    most = 1.0 - half
    left = (1.0 - most) - half
    rest = b.fma(z * z, b.polynomial(polynomials.COS_F32 if b.single else polynomials.COS_F64, z), left)
    return most, b.fma(-r, low, rest)


def _wave(b: Body, x: Term, ahead: int, everywhere: bool) -> Term:
    quarter, r, low = _reduced(b, x, everywhere)
    if ahead:
        quarter = quarter + ahead
    (s, s_low), (c, c_low) = _sine(b, r, low), _cosine(b, r, low)
    y = b.select((quarter & 1).equals(0), s + s_low, c + c_low)
    return b.from_bits(b.bits(y) ^ ((quarter & 2) << (b.mantissa + 7 if b.single else b.mantissa + 10)))


def _keeps_tiny(b: Body, x: Term, y: Term) -> Term:
    return b.select(b.abs(x) < 2.0 ** -(b.mantissa // 2 + 2), x, y)


def sin(b: Body, x: Term, everywhere: bool = True) -> Term:
    return _keeps_tiny(b, x, _wave(b, x, 0, everywhere))


def cos(b: Body, x: Term, everywhere: bool = True) -> Term:
    return _wave(b, x, 1, everywhere)


def tan(b: Body, x: Term, everywhere: bool = True) -> Term:
    """sin / cos, or -cos / sin in odd quarters, both as pairs."""
    quarter, r, low = _reduced(b, x, everywhere)
    s, c = sum_ordered(*_sine(b, r, low)), sum_ordered(*_cosine(b, r, low))
    is_even = (quarter & 1).equals(0)
    over, over_low = (b.select(is_even, p, q) for p, q in zip(s, c, strict=True))
    under, under_low = (b.select(is_even, p, q) for p, q in zip(c, s, strict=True))
    inverse = 1.0 / under
    quotient = over * inverse
    left = b.fma(-quotient, under_low, b.fma(-quotient, under, over) + over_low)
    y = b.fma(left, inverse, quotient)
    y = b.select(is_even, y, -y)
    return _keeps_tiny(b, x, y)


def sin_near(b: Body, x: Term) -> Term:
    return sin(b, x, everywhere=False)


def cos_near(b: Body, x: Term) -> Term:
    return cos(b, x, everywhere=False)


def tan_near(b: Body, x: Term) -> Term:
    return tan(b, x, everywhere=False)


# -- inverses ------------------------------------------------------------------------------------------------


def _arctan_sum(b: Body, base: Pair, is_added: Term, z: Term, z_low: Term) -> Term:
    """base ± arctan(z + z_low) for 0 ≤ z ≤ 1; the base is 0 or greater than π/4."""
    square = z * z
    curve = b.polynomial(polynomials.ATAN_F32 if b.single else polynomials.ATAN_F64, square, first=4)
    rest = b.fma(z * square, curve, z_low * b.fma(square, -0.5, 1.0))  # 1 - z²/2 is near enough to arctan's slope
    most, left = sum_ordered(base[0], b.select(is_added, z, -z))
    return most + (left + (b.select(is_added, rest, -rest) + base[1]))


def atan(b: Body, x: Term) -> Term:
    """Of the inverse, and from π/2, where |x| > 1."""
    size = b.abs(x)
    great = size > 1.0
    half_pi = _HALF_PI_F32 if b.single else _HALF_PI
    z = b.select(great, 1.0 / size, size)
    z_low = b.select(b.both(great, size < math.inf), b.fma(-z, size, 1.0) * z, 0.0)
    base = b.select(great, half_pi[0], 0.0), b.select(great, half_pi[1], 0.0)
    return b.copysign(_arctan_sum(b, base, b.no(great), z, z_low), x)


def atan2(b: Body, y: Term, x: Term) -> Term:
    """The angle of the point (x, y): of the smaller over the greater, then by the eighth of the plane."""
    height, width = b.abs(y), b.abs(x)
    steep = height > width
    over, under = b.select(steep, width, height), b.select(steep, height, width)
    endless = under.equals(math.inf)
    over = b.select(endless, b.select(over.equals(math.inf), 1.0, 0.0), over)
    under = b.select(b.either(endless, under.equals(0.0)), 1.0, under)
    z = over / under
    z_low = b.fma(-z, under, over) / under
    behind = b.bits(x) < 0
    half_pi, pi = (_HALF_PI_F32, _PI_F32) if b.single else (_HALF_PI, _PI)
    high, low = (b.select(steep, half_pi[k], b.select(behind, pi[k], 0.0)) for k in (0, 1))
    angle = _arctan_sum(b, (high, low), b.no(b.differ(steep, behind)), z, z_low)
    angle = b.copysign(angle, y)
    return b.select(b.either(x.differs(x), y.differs(y)), x + y, angle)


def _arcsine(b: Body, x: Term) -> tuple[Term, Term, Term, Term]:
    """Whether |x| > ½; and arcsin of |x|, else of √((1 - |x|)/2), as a sum (high, low, what the curve adds)."""
    size = b.abs(x)
    great = size > 0.5
    square = b.select(great, (1.0 - size) * 0.5, size * size)
    root = b.sqrt(square)
    root_low = b.select(b.both(great, root > 0.0), b.fma(-root, root, square) / (root + root), 0.0)
    s = b.select(great, root, size)
    return (
        great,
        s,
        root_low,
        s * square * b.polynomial(polynomials.ASIN_F32 if b.single else polynomials.ASIN_F64, square),
    )


def asin(b: Body, x: Term) -> Term:
    """π/2 - 2 arcsin √((1 - |x|)/2) where |x| > ½."""
    great, s, low, curve = _arcsine(b, x)
    half_pi = _HALF_PI_F32 if b.single else _HALF_PI
    most, left = sum_ordered(half_pi[0], -2.0 * s)
    far = most + (left + b.fma(low + curve, -2.0, half_pi[1]))
    return b.copysign(b.select(great, far, s + curve), x)


def acos(b: Body, x: Term) -> Term:
    """2 arcsin √((1 - x)/2) above ½, π minus that of -x below -½, and π/2 - arcsin x between."""
    great, s, low, curve = _arcsine(b, x)
    negative = x < 0.0
    pi, half_pi = (_PI_F32, _HALF_PI_F32) if b.single else (_PI, _HALF_PI)
    scale = b.select(great, b.select(negative, -2.0, 2.0), b.select(negative, 1.0, -1.0))
    high, rest = (b.select(great, b.select(negative, pi[k], 0.0), half_pi[k]) for k in (0, 1))
    most, left = sum_ordered(high, scale * s)
    return most + (left + b.fma(low + curve, scale, rest))
