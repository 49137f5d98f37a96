"""log and what is made of it: log2, log10, log1p, asinh, acosh, atanh, softplus, logaddexp."""

from __future__ import annotations

import math

from backlit.compiler.vmath import polynomials
from backlit.compiler.vmath.exponentials import LN2, LN2_F32, exp_bounds, exp_of_negative
from backlit.compiler.vmath.writer import Body, Term, product_exactly, sum_exactly, sum_ordered

# Constants in two parts: the first has so few bits that its product with an exponent is exact.
_LN2 = (0.69314718055989033, 5.4979230187083712e-14)
_LN2_F32 = (0.69314575195312500, 1.4286068203094172e-06)
_LOG10_2 = (0.30102999566395283, 2.8363394551044964e-14)
_LOG10_2_F32 = (0.301025390625, 4.605038981195214e-06)
# ... and in two parts of which the first is the nearest number.
_LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
_LOG2_E_F32 = (1.44269502162933349609375, 1.9259629911266175e-08)
_LOG10_E = (0.4342944819032518, 1.098319650216765e-17)
_LOG10_E_F32 = (0.4342944920063018798828125, -1.0103049952192578e-08)


def split(b: Body, x: Term) -> tuple[Term, Term]:
    """k and m: x = 2^k · m, √½ ≤ m < √2, for a positive normal number x."""
    one = b.bias << b.mantissa
    root = 0x3F3504F3 if b.single else 0x3FE6A09E667F3BCD  # √½
    shifted = b.bits(x) + (one - root)
    digits = (b.bias + b.mantissa) << b.mantissa  # of 2^mantissa, in whose low bits an integer is itself
    k = b.from_bits((shifted >> b.mantissa) | digits) - (2.0**b.mantissa + b.bias)
    return k, b.from_bits((shifted & ((1 << b.mantissa) - 1)) + root)


def split_any(b: Body, x: Term) -> tuple[Term, Term]:
    """The same, for a positive subnormal number too."""
    small = x < b.lowest_normal
    lift = float(b.mantissa + 2)
    k, m = split(b, b.select(small, x * 2.0**lift, x))
    return k - b.select(small, lift, 0.0), m


def beyond_linear(b: Body, f: Term) -> Term:
    """log(1 + f) - f."""
    square = f * f
    return b.fma(f * square, b.polynomial(polynomials.LOG_F32 if b.single else polynomials.LOG_F64, f), -0.5 * square)


def _edges(b: Body, x: Term, y: Term) -> Term:
    """y, but -infinity for 0, NaN below 0 or for NaN, and infinity for infinity."""
    special = b.select(x.equals(0.0), -math.inf, b.select(x > 0.0, x, math.nan))
    return b.select(b.both(x > 0.0, x < math.inf), y, special)


def _log_sum(b: Body, k: Term, f: Term, f_low: Term | None = None) -> Term:
    """k · ln2 + log(1 + f + f_low)."""
    high, low = _LN2_F32 if b.single else _LN2
    rest = beyond_linear(b, f)
    if f_low is not None:
        rest = rest + b.fma(-f_low, f, f_low)
    most, left = sum_ordered(k * high, f)
    return most + (left + b.fma(k, low, rest))


def log(b: Body, x: Term) -> Term:
    k, m = split_any(b, x)
    return _edges(b, x, _log_sum(b, k, m - 1.0))


def _log_in_base(b: Body, x: Term, unit: tuple[float, float], factor: tuple[float, float]) -> Term:
    """log(x) · factor, where unit is log(2) · factor: k · unit + f · factor + …, each as a pair."""
    k, m = split_any(b, x)
    f = m - 1.0
    linear, low = product_exactly(f, factor[0])
    low = b.fma(f, factor[1], b.fma(beyond_linear(b, f), factor[0], low))
    most, left = sum_ordered(k * unit[0], linear)
    return _edges(b, x, most + (left + b.fma(k, unit[1], low)))


def log2(b: Body, x: Term) -> Term:
    return _log_in_base(b, x, (1.0, 0.0), _LOG2_E_F32 if b.single else _LOG2_E)


def log10(b: Body, x: Term) -> Term:
    if b.single:
        return _log_in_base(b, x, _LOG10_2_F32, _LOG10_E_F32)
    return _log_in_base(b, x, _LOG10_2, _LOG10_E)


def log1p_pair(b: Body, a: Term, a_low: Term | None = None, doublings: Term | float = 0.0) -> Term:
    """log(1 + a + a_low) + doublings · ln2, for a > -1."""
    total, error = sum_exactly(1.0, a)
    k, m = split(b, total)
    scale = b.from_bits((b.bias << b.mantissa) - (b.bits(total) - b.bits(m)))  # 2^-k
    scale = b.select(total < 2.0 ** (b.mantissa + 8), scale, 0.0)  # where it could matter
    linear = m - 1.0
    error = error * scale
    f = linear + error
    f_low = (linear - f) + error
    if a_low is not None:
        f_low = b.fma(a_low, scale, f_low)
    return _log_sum(b, k + doublings if doublings != 0.0 else k, f, f_low)


def log1p(b: Body, x: Term) -> Term:
    special = b.select(x.equals(-1.0), -math.inf, b.select(x > -1.0, x, math.nan))
    y = b.select(b.both(x > -1.0, x < math.inf), log1p_pair(b, x), special)
    return b.select(b.abs(x) < b.epsilon / 4, x, y)


def _log1p_of_share(b: Body, z: Term) -> Term:
    """log(1 + z) for 0 ≤ z ≤ 1: 1 + z or half of it is 1 + f, where f has no rounding error."""
    high, low = LN2_F32 if b.single else LN2
    great = z > 0.41421356
    f = b.select(great, b.fma(z, 0.5, -0.5), z)
    rest = beyond_linear(b, f)
    most, left = sum_ordered(b.select(great, high, 0.0), f)
    return most + (left + b.select(great, rest + low, rest))


def softplus(b: Body, x: Term) -> Term:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    return b.at_least(x, 0.0) + _log1p_of_share(b, exp_of_negative(b, -b.abs(x)))


def logaddexp(b: Body, x: Term, y: Term) -> Term:
    """max(x, y) + log1p(exp(-|x - y|)): within 2 units in the last place of the greater of these two terms.

    Where they cancel (the result is near 0), so do their digits.
    """
    greater = b.select(x < y, y, x)
    gap, gap_low = sum_exactly(b.select(x < y, x, y), -greater)
    gap = b.select(x.equals(y), 0.0, gap)
    z = exp_of_negative(b, gap, b.select(gap > exp_bounds(b)[0], gap_low, 0.0))
    total = greater + _log1p_of_share(b, z)
    total = b.select(b.abs(greater).equals(math.inf), greater, total)
    return b.select(gap.differs(gap), x + y, total)


def asinh(b: Body, x: Term) -> Term:
    """log(1 + |x| + (√(1 + x²) - 1)); of a great number, log(2|x|)."""
    size = b.abs(x)
    great = size > 2.0 ** (b.mantissa // 2 + 4)
    bounded = b.select(great, 1.0, size)
    square = bounded * bounded
    more = square / (1.0 + b.sqrt(1.0 + square))
    a, a_low = sum_ordered(bounded, more)
    a, a_low = b.select(great, size - 1.0, a), b.select(great, 0.0, a_low)
    y = log1p_pair(b, a, a_low, b.select(great, 1.0, 0.0))
    y = b.select(size < 2.0 ** -(b.mantissa // 2 + 1), size, y)
    return b.copysign(b.select(size < math.inf, y, size), x)


def acosh(b: Body, x: Term) -> Term:
    """log(1 + t + √(t (t + 2))) with t = x - 1, which is exact or x is great; then it is log(2x)."""
    great = x > 2.0 ** (b.mantissa // 2 + 4)
    t = b.select(great, 1.0, x) - 1.0
    factor, factor_low = sum_exactly(t, 2.0)
    square, square_low = product_exactly(t, factor)
    square_low = b.fma(t, factor_low, square_low)
    root = b.sqrt(square)
    root_low = (b.fma(-root, root, square) + square_low) / (root + root)
    a, a_low = sum_exactly(root, t)
    a, a_low = b.select(great, x - 1.0, a), b.select(great, 0.0, a_low + root_low)
    y = log1p_pair(b, a, a_low, b.select(great, 1.0, 0.0))
    y = b.select(x.equals(1.0), 0.0, y)
    return b.select(x >= 1.0, b.select(x < math.inf, y, x), math.nan)


def atanh(b: Body, x: Term) -> Term:
    """½ log(1 + 2|x| / (1 - |x|))."""
    size = b.abs(x)
    below, below_low = sum_ordered(1.0, -size)
    quotient = (size + size) / below
    low = b.fma(-quotient, below, size + size)
    low = b.fma(-quotient, below_low, low) / below
    y = 0.5 * log1p_pair(b, quotient, low)
    y = b.select(size < 2.0 ** -(b.mantissa // 2 + 1), size, y)
    y = b.select(size < 1.0, y, b.select(size.equals(1.0), math.inf, math.nan))
    return b.copysign(y, x)
