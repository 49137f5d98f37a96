"""exp and what is made of it: exp2, expm1, sinh, cosh, tanh, sigmoid, silu, elu."""

from __future__ import annotations

import math

from backlit.compiler.vmath import polynomials
from backlit.compiler.vmath.writer import Body, Term, product_exactly, sum_ordered

LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)  # the nearest number, and the nearest to what is left
LOG2_E_F32 = (1.44269502162933349609375, 1.9259629911266175e-08)
LN2 = (0.6931471805599453, 2.3190468138462996e-17)
LN2_F32 = (0.693147182464599609375, -1.904654323148236017e-09)


def power_of_two(b: Body, n: Term, offset: int = 0) -> Term:
    """2^(n + offset), for a whole number n such that the result is normal."""
    return b.from_bits(b.bits(n + (b.whole + b.bias + offset)) << b.mantissa)


def scaled(b: Body, p: Term, n: Term) -> Term:
    """p · 2^n, rounded once, for p about 1 and a whole number n that may lead to 0 or infinity.

    In two steps, the first of which is exact. |n| is at most about twice the greatest exponent.
    """
    shift = b.whole + b.bias
    half = b.fma(n, 0.5, shift)  # rounds n/2, and has the exponent of its power of two in its low bits
    return p * b.from_bits(b.bits(half) << b.mantissa) * power_of_two(b, n - (half - shift))


def reduced(b: Body, x: Term) -> tuple[Term, Term, Term]:
    """n = round(x / ln2), and x - n · ln2 as a pair.

    Where n is not 0, x is a multiple of the lowest bit of ln2's nearest number, or of half of it; so the first
    difference is exact.
    """
    high, low = LN2_F32 if b.single else LN2
    n = b.fma(x, LOG2_E[0], b.whole) - b.whole
    first = b.fma(-n, high, x)
    r = b.fma(-n, low, first)
    return n, r, b.fma(-n, low, first - r)


def beyond_linear(b: Body, r: Term, r_low: Term | None = None) -> Term:
    """exp(r + r_low) - 1 - r for |r| ≤ ln2/2 and an r_low below r's last place."""
    p = b.polynomial(polynomials.EXP_F32 if b.single else polynomials.EXP_F64, r)
    return r * r * p if r_low is None else b.fma(r * r, p, r_low)


def reduced_in_base_2(
    b: Body, x: Term, bias: float, scale: float = 1.0, x_low: Term | None = None
) -> tuple[Term, Term]:
    """exp(scale · (x + x_low)) = 2^n · 2^f with |f| ≤ 1/2: n + bias as the low bits of a number, and f.

    scale: ± a power of two.
    """
    unit, unit_low = LOG2_E_F32 if b.single else LOG2_E
    shifted = b.fma(x, scale * unit, b.whole + bias)
    n = shifted - (b.whole + bias)
    f = b.fma(x, scale * unit_low, b.fma(x, scale * unit, -n))
    return shifted, f if x_low is None else b.fma(x_low, scale * unit, f)


def beyond_one(b: Body, f: Term) -> Term:
    """2^f - 1 for |f| ≤ 1/2."""
    return f * b.polynomial(polynomials.EXP2_F32 if b.single else polynomials.EXP2_F64, f)


def from_low_bits(b: Body, shifted: Term) -> Term:
    """The power of two whose biased exponent the low bits of a number are."""
    return b.from_bits(b.bits(shifted) << b.mantissa)


def times_exp(
    b: Body, x: Term, scale: float = 1.0, x_low: Term | None = None, factor: Term | None = None, low: Term | None = None
) -> Term:
    """(factor + low) · exp(scale · (x + x_low)), rounded once where it is subnormal too; the factor is 1 if not given.

    2^n is two powers of two, since one would leave the range before the product does. The second takes the greater
    part of n, such that it is 0 for the n below which the product is 0: products that are too small, which cost a
    CPU a hundred cycles each, are not formed. scale · x must be within `exp_bounds`.
    """
    shifted, f = reduced_in_base_2(b, x, 2.0 * b.bias, scale, x_low)
    beyond = beyond_one(b, f)
    part = b.fma(x, scale * LOG2_E[0] * b.choose(0.0493, 0.16), b.whole + b.bias)
    first = from_low_bits(b, part)
    second = b.from_bits((b.bits(shifted) - b.bits(part)) << b.mantissa)
    if factor is None:
        return b.fma(first, beyond, first) * second
    if low is None:
        factor = factor * first
        return b.fma(factor, beyond, factor) * second
    return (factor + b.fma(factor, beyond, b.fma(low, beyond, low))) * first * second


def exp_bounds(b: Body) -> tuple[float, float]:
    """exp is 0 at the lower bound and below, and infinite at the upper one and above."""
    return b.choose(-745.8, -104.6), b.choose(710.0, 89.0)


def exp(b: Body, x: Term) -> Term:
    lowest, highest = exp_bounds(b)
    return times_exp(b, b.at_most(b.at_least(x, lowest), highest))


def exp_of_negative(b: Body, x: Term, x_low: Term | None = None) -> Term:
    """exp(x + x_low) for x ≤ 0."""
    return times_exp(b, b.at_least(x, exp_bounds(b)[0]), x_low=x_low)


def exp_within(b: Body, x: Term) -> Term:
    """exp(x), where it is a normal number; its relative error grows by half a unit for each unit of x.

    Quick, for what is to be added to 1: the exponent in base 2 is rounded.
    """
    y = x * LOG2_E[0]
    shifted = y + (b.whole + b.bias)
    f = y - (shifted - (b.whole + b.bias))
    return (1.0 + beyond_one(b, f)) * from_low_bits(b, shifted)


def exp2_pair(b: Body, high: Term, low: Term | None = None) -> Term:
    """2^(high + low)."""
    n = b.rint(high)
    ln2, ln2_low = LN2_F32 if b.single else LN2
    fraction = high - n
    r, r_low = product_exactly(fraction, ln2)
    r_low = b.fma(fraction, ln2_low, r_low)
    if low is not None:
        r, r_low = sum_ordered(r, b.fma(low, ln2, r_low))
    most, left = sum_ordered(1.0, r)
    return scaled(b, most + (left + beyond_linear(b, r, r_low)), n)


def exp2(b: Body, x: Term) -> Term:
    return exp2_pair(b, b.at_most(b.at_least(x, b.choose(-1100.0, -160.0)), b.choose(1100.0, 160.0)))


def expm1(b: Body, x: Term) -> Term:
    """2^n · exp(r) - 1 = 2 · ((2^(n-1) - 1/2) + 2^(n-1) · r + 2^(n-1) · (exp(r) - 1 - r)); the halves for 2^1024."""
    n, r, r_low = reduced(b, b.at_most(b.at_least(x, b.choose(-40.0, -20.0)), b.choose(710.0, 89.0)))
    half_power = power_of_two(b, n, -1)
    most = b.fma(half_power, r, half_power - 0.5)
    y = 2.0 * b.fma(half_power, beyond_linear(b, r, r_low), most)
    return b.select(b.abs(x) < b.epsilon / 4, x, y)  # for the sake of -0 and of subnormal numbers


def elu(b: Body, x: Term) -> Term:
    """x above 0 and exp(x) - 1 below: with α = 1."""
    return b.select(x > 0.0, x, expm1(b, x))


def sigmoid(b: Body, x: Term) -> Term:
    """c / (c + c · exp(-x)), where c keeps exp(-x) in the range for as long as the quotient is not 0."""
    exponent = b.choose(-100.0, -30.0)
    c = math.ldexp(1.0, int(exponent))
    lowest, highest = b.choose(-778.0, -109.0), b.choose(600.0, 60.0)  # the quotient is 0 and 1 there
    shifted, f = reduced_in_base_2(b, b.at_most(b.at_least(x, lowest), highest), b.bias + exponent, -1.0)
    power = from_low_bits(b, shifted)
    under = power + b.fma(power, beyond_one(b, f), c)
    return c / under


def silu(b: Body, x: Term) -> Term:
    """x / (1 + exp(-x)); 0 at -infinity. Where exp(-x) would leave the range, part of its power of two comes last."""
    x = b.at_least(x, b.choose(-800.0, -110.0))
    late = b.choose(140.0, 40.0)
    is_late = x < b.choose(-700.0, -80.0)
    shifted, f = reduced_in_base_2(b, b.at_most(x, b.choose(600.0, 60.0)), b.bias, -1.0)
    power = from_low_bits(b, b.select(is_late, shifted - late, shifted))
    rest = b.fma(power, beyond_one(b, f), 1.0)
    under = power + rest
    under_low = rest - (under - power)
    inverse = 1.0 / under
    quotient = x * inverse
    left = b.fma(-quotient, under_low, b.fma(-quotient, under, x))
    y = b.select(x < b.highest, b.fma(left, inverse, quotient), x)
    return b.copysign(b.select(is_late, y * 2.0**-late, y), x)


def tanh(b: Body, x: Term) -> Term:
    """tanh(r + n · ln2/2) = ((p - 1) + (p + 1) t) / ((p + 1) + (p - 1) t), where p = 2^n and t = tanh r.

    Where that is close to 1, it is 1 less (2 - 2t) / ((p + 1) + (p - 1) t). r is in (-0.114, 0.234): with intervals
    around 0, numerator and denominator would now and then both be little above a power of two, and coarsely rounded.
    """
    size = b.at_most(b.abs(x), b.choose(22.0, 10.0))
    shifted = b.fma(size - 0.06, 2.0 * LOG2_E[0], b.whole + b.bias)
    n = shifted - (b.whole + b.bias)
    r = b.fma(-n, (LN2_F32 if b.single else LN2)[0] / 2.0, size)
    z = r * r
    t = b.fma(r * z, b.polynomial(polynomials.TANH_F32 if b.single else polynomials.TANH_F64, z), r)
    power = from_low_bits(b, shifted)
    less, more = power - 1.0, power + 1.0
    far = size > 0.8664
    y = b.select(far, b.fma(2.0, t, -2.0), b.fma(more, t, less)) / b.fma(less, t, more)
    return b.copysign(b.select(far, 1.0 + y, y), x)


def _hyperbolic(b: Body, x: Term) -> tuple[Term, Term, Term, Term, Term, Term]:
    """exp(±|x|) = 2^±n · (cosh r ± sinh r): (2^n ∓ 2^-n)/4, r, sinh r - r, cosh r - 1, |x|."""
    size = b.abs(x)
    n, r, r_low = reduced(b, b.at_most(size, b.choose(710.6, 89.6)))
    up, down = power_of_two(b, n, -2), power_of_two(b, -b.at_most(n, 2.0 * b.mantissa), -2)
    z = r * r
    odd = b.fma(r * z, b.polynomial(polynomials.SINH_F32 if b.single else polynomials.SINH_F64, z), r_low)
    even = b.fma(z * z, b.polynomial(polynomials.COSH_F32 if b.single else polynomials.COSH_F64, z), 0.5 * z)
    return up - down, up + down, r, odd, b.fma(r, r_low, even), size


def sinh(b: Body, x: Term) -> Term:
    difference, total, r, odd, even, size = _hyperbolic(b, x)
    most = b.fma(total, r, difference)
    y = 2.0 * (most + b.fma(total, odd, difference * even))
    return b.copysign(b.select(size < b.epsilon, size, y), x)


def cosh(b: Body, x: Term) -> Term:
    difference, total, r, odd, even, _ = _hyperbolic(b, x)
    most = b.fma(difference, r, total)
    return 2.0 * (most + b.fma(difference, odd, total * even))
