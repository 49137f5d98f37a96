"""pow, of whole numbers too, and hypot."""

from __future__ import annotations

import math

from backlit.compiler.vmath import polynomials
from backlit.compiler.vmath.exponentials import exp2_pair, power_of_two
from backlit.compiler.vmath.logarithms import split, split_any
from backlit.compiler.vmath.writer import Body, Pair, Term, product_exactly, sum_ordered

_LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
_LN2 = 0.6931471805599453
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def _log2_pair(b: Body, x: Term) -> Pair:
    """log2(x) to about 68 bits, for x > 0: k + log2(e) · 2 artanh(s), s = f/(2 + f), in pairs."""
    k, m = split_any(b, x)
    f = m - 1.0
    under, under_low = sum_ordered(2.0, f)
    inverse = 1.0 / under
    s = f * inverse
    s_low = b.fma(-s, under_low, b.fma(-s, under, f)) * inverse
    z, z_low = product_exactly(s, s)
    z_low = b.fma(s + s, s_low, z_low)
    curve, curve_low = sum_ordered(_TWO_THIRDS[0], z * b.polynomial(polynomials.LOG_RATIO_F64, z))
    curve_low = curve_low + _TWO_THIRDS[1]
    bend, bend_low = product_exactly(z, curve)
    bend_low = b.fma(z, curve_low, b.fma(z_low, curve, bend_low))
    cubic, cubic_low = product_exactly(s, bend)
    cubic_low = b.fma(s, bend_low, b.fma(s_low, bend, cubic_low))
    natural, natural_low = sum_ordered(s + s, cubic)
    natural_low = natural_low + b.fma(s_low, 2.0, cubic_low)
    high, low = product_exactly(natural, _LOG2_E[0])
    low = b.fma(natural, _LOG2_E[1], b.fma(natural_low, _LOG2_E[0], low))
    total, left = sum_ordered(k, high)
    return sum_ordered(total, left + low)


def _power_double(b: Body, size: Term, y: Term) -> Term:
    """size^y for a positive size."""
    high, low = _log2_pair(b, size)
    product, product_low = product_exactly(high, y)
    product_low = b.fma(low, y, product_low)
    bounded = b.at_most(b.at_least(product, -1100.0), 1100.0)
    return exp2_pair(b, bounded, b.select(bounded.equals(product), product_low, 0.0))


def _power_single(b: Body, size: Term, y: Term) -> Term:
    """The same in float64, where log2(size) · y needs no second part."""
    wide = b.in_double()
    k, m = split(wide, wide.widened(size))
    f = m - 1.0
    natural = wide.fma(f * f, wide.polynomial(polynomials.LOG_WIDE_F32, f), f)
    product = wide.fma(natural, _LOG2_E[0], k) * wide.widened(y)
    product = wide.at_most(wide.at_least(product, -300.0), 300.0)
    n = wide.rint(product)
    r = (product - n) * _LN2
    p = 1.0 + wide.fma(r * r, wide.polynomial(polynomials.EXP_WIDE_F32, r), r)
    return b.narrowed(p * power_of_two(wide, n))


def pow(b: Body, x: Term, y: Term) -> Term:
    """x^y with the edges of C99 (Annex F): 1 for y = 0 or x = 1; NaN for x < 0 and y that is not whole."""
    size, weight = b.abs(x), b.abs(y)
    usual = b.both(b.both(size > 0.0, size < math.inf), weight < math.inf)
    base = b.select(usual, size, 1.0)
    magnitude = (_power_single if b.single else _power_double)(b, base, b.select(usual, y, 1.0))
    # 0, infinity or NaN among x and y: 0 or infinity by whether |x| is above 1 and y above 0
    grows = b.differ(size < 1.0, y > 0.0)
    extreme = b.select(b.both(size.equals(1.0), weight.equals(math.inf)), 1.0, b.select(grows, math.inf, 0.0))
    magnitude = b.select(usual, magnitude, extreme)
    # the sign, for x < 0 and whole y: odd where y/2 is not whole, which great numbers always are
    whole = b.rint(y).equals(y)
    half = y * 0.5
    odd = b.both(whole, b.rint(half).differs(half))
    signed = b.select(odd, b.copysign(magnitude, x), magnitude)
    wrong = b.both(b.both(x < 0.0, size < math.inf), b.no(whole))
    signed = b.select(wrong, math.nan, signed)
    signed = b.select(b.either(x.differs(x), y.differs(y)), x + y, signed)
    return b.select(b.either(y.equals(0.0), x.equals(1.0)), 1.0, signed)


def whole(type: str, name: str) -> str:
    """The definition of x to the power y for whole numbers, by squaring; y counts as unsigned, and results wrap."""
    return f"""define internal {type} {name}({type} %x, {type} %y) nounwind memory(none) {{
entry:
  br label %turn
turn:
  %power = phi {type} [1, %entry], [%multiplied, %turn]
  %base = phi {type} [%x, %entry], [%squared, %turn]
  %left = phi {type} [%y, %entry], [%halved, %turn]
  %odd = trunc {type} %left to i1
  %more = mul {type} %power, %base
  %multiplied = select i1 %odd, {type} %more, {type} %power
  %squared = mul {type} %base, %base
  %halved = lshr {type} %left, 1
  %again = icmp ne {type} %halved, 0
  br i1 %again, label %turn, label %done
done:
  ret {type} %multiplied
}}
"""


def hypot(b: Body, x: Term, y: Term) -> Term:
    """√(x² + y²), scaled by a power of two where squares would leave the range."""
    a, c = b.abs(x), b.abs(y)
    most, least = b.select(a < c, c, a), b.select(a < c, a, c)
    high, low = b.choose(2.0**500, 2.0**60), b.choose(2.0**-500, 2.0**-50)
    down, up = b.choose(2.0**-600, 2.0**-70), b.choose(2.0**600, 2.0**90)
    is_high, is_low = most > high, most < low
    scale = b.select(is_high, down, b.select(is_low, up, 1.0))
    back = b.select(is_high, 1.0 / down, b.select(is_low, 1.0 / up, 1.0))
    p, q = most * scale, least * scale
    length = b.sqrt(b.fma(p, p, q * q)) * back
    endless = b.either(a.equals(math.inf), c.equals(math.inf))
    return b.select(endless, math.inf, b.select(b.either(x.differs(x), y.differs(y)), x + y, length))
