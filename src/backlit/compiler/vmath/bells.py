"""erf and gelu, made of the normal distribution's tail."""

from __future__ import annotations

from backlit.compiler.vmath import polynomials
from backlit.compiler.vmath.exponentials import exp_closely, exp_within, scaled
from backlit.compiler.vmath.writer import Body, Term, product_exactly, sum_ordered

_SLOPE = (0.3989422804014327, -2.49232720227773e-17)  # 1/√(2π), and what is left of it
_SLOPE_F32 = (0.3989422917366028, -1.1335170135851058e-08)


def erf(b: Body, x: Term) -> Term:
    """x + x · p(x²) for |x| ≤ 1, and 1 - exp(q(|x| - 1)) beyond."""
    size = b.abs(x)
    square = size * size
    near = b.fma(size, b.polynomial(polynomials.ERF_F32 if b.single else polynomials.ERF_F64, square), size)
    t = b.at_most(size, b.choose(6.0, 4.0)) - 1.0
    far = 1.0 - exp_within(b, b.polynomial(polynomials.ERFC_F32 if b.single else polynomials.ERFC_F64, t))
    return b.copysign(b.select(size > 1.0, far, near), x)


def gelu(b: Body, x: Term) -> Term:
    """x · Φ(x); 0 at -infinity.

    x · (½ + x/√(2π) + x³ · p(x²)) for |x| < 1, the first sum as a pair. Beyond, with u = |x|:
    max(x, 0) - u · Φ(-u), where u · Φ(-u) is exp(-u²/2) times a polynomial of t = (u - 3)/(u + 3), scaled last so
    that it is right where it is subnormal.
    """
    slope, slope_low = _SLOPE_F32 if b.single else _SLOPE
    near_square = x * x
    linear, low = product_exactly(x, slope)
    low = b.fma(x, slope_low, low)
    low = b.fma(
        x * near_square, b.polynomial(polynomials.NORMAL_F32 if b.single else polynomials.NORMAL_F64, near_square), low
    )
    most, left = sum_ordered(0.5, linear)
    near = x * (most + (left + low))
    u = b.at_most(b.abs(x), b.choose(40.0, 15.0))
    square, square_low = product_exactly(u, u)
    p, n = exp_closely(b, -0.5 * square, -0.5 * square_low)
    t = (u - 3.0) / (u + 3.0)
    share, share_low = sum_ordered(0.375, b.polynomial(polynomials.TAIL_F32 if b.single else polynomials.TAIL_F64, t))
    tail, tail_low = product_exactly(p, share)
    tail = scaled(b, tail + b.fma(p, share_low, tail_low), n)
    return b.copysign(b.select(b.abs(x) < 1.0, near, b.at_least(x, 0.0) - tail), x)
