"""exp and what is made of it: exp2, expm1, sinh, cosh, tanh, sigmoid, silu, elu."""

from __future__ import annotations

from backlit.compiler.vmath import polynomials
from backlit.compiler.vmath.writer import Body, Term, product_exactly, sum_ordered

LOG2_E = 1.4426950408889634
LN2 = (0.6931471805599453, 2.3190468138462996e-17)  # the nearest number, and the nearest to what is left
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
    n = b.fma(x, LOG2_E, b.whole) - b.whole
    first = b.fma(-n, high, x)
    r = b.fma(-n, low, first)
    return n, r, b.fma(-n, low, first - r)


def beyond_linear(b: Body, r: Term, r_low: Term | None = None) -> Term:
    """exp(r + r_low) - 1 - r for |r| ≤ ln2/2 and an r_low below r's last place."""
    p = b.polynomial(polynomials.EXP_F32 if b.single else polynomials.EXP_F64, r)
    return r * r * p if r_low is None else b.fma(r * r, p, r_low)


def exp_reduced(b: Body, x: Term) -> tuple[Term, Term]:
    """p and n: exp(x) = p · 2^n, for x within the bounds of a finite result, or little beyond."""
    n, r, _ = reduced(b, x)
    return 1.0 + (r + beyond_linear(b, r)), n


def exp_closely(b: Body, x: Term, x_low: Term | None = None) -> tuple[Term, Term]:
    """The same of x + x_low, to little more than half a unit in the last place."""
    n, r, r_low = reduced(b, x)
    if x_low is not None:
        r, r_low = sum_ordered(r, r_low + x_low)
    most, left = sum_ordered(1.0, r)
    return most + (left + beyond_linear(b, r, r_low)), n


def exp_within(b: Body, x: Term, scale: float = 1.0) -> Term:
    """exp(scale · x), where it is a normal number; its relative error grows by half a unit for each unit of x.

    Quick, for what is to be added to 1: the exponent in base 2 is rounded.
    """
    y = x * (scale * LOG2_E)
    shifted = y + (b.whole + b.bias)
    f = y - (shifted - (b.whole + b.bias))
    p = b.fma(f, b.polynomial(polynomials.EXP2_F32 if b.single else polynomials.EXP2_F64, f), 1.0)
    return p * b.from_bits(b.bits(shifted) << b.mantissa)


def lowest_exponent(b: Body) -> float:
    """exp is 0 below."""
    return b.choose(-746.0, -104.0)


def exp_of_negative(b: Body, x: Term, x_low: Term | None = None) -> Term:
    """exp(x + x_low) for x ≤ 0, closely."""
    gone = x < lowest_exponent(b)
    return b.select(gone, 0.0, scaled(b, *exp_closely(b, b.select(gone, 0.0, x), x_low)))


def exp(b: Body, x: Term) -> Term:
    """0 is selected, not multiplied out: a product that is too small costs a CPU a hundred cycles."""
    gone = x < lowest_exponent(b)
    return b.select(gone, 0.0, scaled(b, *exp_reduced(b, b.at_most(b.select(gone, 0.0, x), b.choose(710.0, 89.0)))))


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


def _share(b: Body, over: Term, over_low: Term | float, z: Term) -> Term:
    """(over + over_low) / (1 + z) for 0 ≤ z ≤ 1, rounded about once."""
    under, under_low = sum_ordered(1.0, z)
    inverse = 1.0 / under
    quotient = over * inverse
    left = b.fma(-quotient, under_low, b.fma(-quotient, under, over))
    return b.fma(left if over_low == 0.0 else left + over_low, inverse, quotient)


def sigmoid(b: Body, x: Term) -> Term:
    """z / (1 + z) with z = exp(-|x|) for x < 0, and 1 / (1 + z) above."""
    z = exp_of_negative(b, -b.abs(x))
    return _share(b, b.select(x < 0.0, z, 1.0), 0.0, z)


def silu(b: Body, x: Term) -> Term:
    """x · sigmoid(x); 0 at -infinity. Scaled last, so that x · exp(x) is right where exp(x) is subnormal."""
    lowest = b.choose(-800.0, -120.0)
    p, n = exp_closely(b, b.at_least(-b.abs(x), lowest))
    negative = x < 0.0
    over, over_low = product_exactly(b.at_least(x, lowest), b.select(negative, p, 1.0))
    y = _share(b, over, over_low, scaled(b, p, n))
    y = b.select(x < b.highest, y, x)
    return b.copysign(b.select(negative, scaled(b, y, n), y), x)


def tanh(b: Body, x: Term) -> Term:
    """1 - 2 / (1 + exp(2x)) above 0.625, where that loses nothing, and an odd polynomial below."""
    size = b.abs(x)
    z = size * size
    near = b.fma(size * z, b.polynomial(polynomials.TANH_F32 if b.single else polynomials.TANH_F64, z), size)
    e = exp_within(b, b.at_most(size, b.choose(20.0, 10.0)), 2.0)
    far = 1.0 - 2.0 / (1.0 + e)
    return b.copysign(b.select(size < 0.625, near, far), x)


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
