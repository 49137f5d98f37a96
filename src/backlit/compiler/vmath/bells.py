"""erf and gelu, made of the normal distribution's tail."""

from __future__ import annotations

from backlit.compiler.vmath import polynomials
from backlit.compiler.vmath.exponentials import (
    LN2_F32,
    LOG2_E,
    beyond_linear,
    exp_within,
    from_low_bits,
    times_exp,
)
from backlit.compiler.vmath.writer import Body, Term, product_exactly, sum_ordered


def erf(b: Body, x: Term) -> Term:
    return b.copysign((_erf_single if b.single else _erf_double)(b, b.abs(x)), x)


def _erf_single(b: Body, size: Term) -> Term:
    """1 - exp(-w), where w = u + u · p(u) is -log(erfc(u)): without cancellation, as expm1 is computed."""
    size = b.at_most(size, 4.0)
    w = b.fma(size, b.polynomial(polynomials.ERFC_WHOLE_F32, size), size)
    shifted = b.fma(w, -LOG2_E[0], b.whole + b.bias)
    r = b.fma((b.whole + b.bias) - shifted, LN2_F32[0], -w)
    power = from_low_bits(b, shifted)
    return b.fma(-power, r + beyond_linear(b, r), 1.0 - power)


def _erf_double(b: Body, size: Term) -> Term:
    """x + x · p(x²) for x ≤ 1, and 1 - exp(q(x - 1)) beyond."""
    square = size * size
    near = b.fma(size, b.polynomial(polynomials.ERF_F64, square), size)
    far = 1.0 - exp_within(b, b.polynomial(polynomials.ERFC_F64, b.at_most(size, 6.0) - 1.0))
    return b.select(size > 1.0, far, near)


def gelu(b: Body, x: Term) -> Term:
    """x · Φ(x); 0 at -infinity.

    x · (½ + x · p(x²)) for |x| < 9/16. Beyond, with u = |x|: max(x, 0) - u · Φ(-u), where u · Φ(-u) is exp(-u²/2) times
    a polynomial of t = (u - 5/4)/(u + 5/4).
    """
    u = b.at_most(b.abs(x), b.choose(38.622, 14.468))  # the tail is 0 there
    square, square_low = product_exactly(u, u)
    near = x * b.fma(x, b.polynomial(polynomials.NORMAL_F32 if b.single else polynomials.NORMAL_F64, square), 0.5)
    t = (u - 1.25) / (u + 1.25)
    share, low = sum_ordered(0.25, b.polynomial(polynomials.TAIL_F32 if b.single else polynomials.TAIL_F64, t))
    tail = times_exp(b, square, -0.5, square_low, share, low)
    return b.copysign(b.select(u < 0.5625, near, b.at_least(x, 0.0) - tail), x)
