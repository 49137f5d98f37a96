"""Derives the polynomials of `backlit.compiler.vmath.polynomials`, and prints that module.

    python docs/make_polynomials.py > src/backlit/compiler/vmath/polynomials.py

Each polynomial is the interpolant at the Chebyshev points of its interval, of a function computed by mpmath with
60 digits, rounded to the nearest float32 or float64 at the end. The interpolant is within a small factor of the best
(minimax) polynomial of its degree, and one more coefficient costs less than that factor. What the interpolated
function is, and what stands beside the polynomial where it is used, is chosen so that the polynomial's own
rounding errors meet the result divided by a power of the small argument.

The printed error is the greatest difference, after the coefficients were rounded, between polynomial and function
on 2,000 points, times the weight: the share of the whole result that the polynomial contributes, so that
1.1e-16 = 2^-53 would be half a unit in the last place of a float64 result, and 6.0e-8 = 2^-24 of a float32 one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np

mp: Any = mpmath.mp
mp.dps = 60


class Fit(NamedTuple):
    """One function on one interval, and how many coefficients each precision takes (0: none)."""

    name: str
    formula: str
    function: Callable[[Any], Any]
    low: Any
    high: Any
    doubles: int
    singles: int
    weight: Callable[[Any], Any]  # the result's error relative to the polynomial's
    singles_high: Any = None  # where the interval ends for float32, if elsewhere
    wide: bool = False  # float32's coefficients are used in float64 arithmetic


def _odd(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """(f(x) - x) / x³ of z = x²."""

    def function(z: Any) -> Any:
        x = mp.sqrt(z)
        return (f(x) - x) / x**3

    return function


def _odd_weight(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def weight(z: Any) -> Any:
        x = mp.sqrt(z)
        return x**3 / f(x)

    return weight


def _normal_tail(t: Any) -> Any:
    """x · exp(x²/2) · Φ(-x) - 1/4, of t = (x - 5/4)/(x + 5/4)."""
    x = mp.mpf(5) / 4 * (1 + t) / (1 - t)
    return x * mp.exp(x * x / 2) * mp.erfc(x / mp.sqrt(2)) / 2 - mp.mpf("0.25")


_HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.001")
_BELOW = -_HALF_LN2 * mp.mpf("1.001")  # so that no Chebyshev point is 0, where the formula is 0/0
_QUARTER = mp.pi / 4 * mp.mpf("1.02")
_ROOT = mp.sqrt(2)
_S = ((_ROOT - 1) / (_ROOT + 1)) ** 2

FITS = (
    Fit(
        "EXP", "(e^r - 1 - r)/r², |r| ≤ ln2/2", lambda r: (mp.exp(r) - 1 - r) / r**2, _BELOW, _HALF_LN2,
        10, 5, lambda r: r**2 / mp.exp(r),
    ),
    Fit(
        "EXP_WIDE", "(e^r - 1 - r)/r², |r| ≤ ln2/2, for float32 results", lambda r: (mp.exp(r) - 1 - r) / r**2,
        _BELOW, _HALF_LN2, 0, 6, lambda r: r**2 / mp.exp(r), wide=True,
    ),
    Fit(
        "EXP2", "(2^f - 1)/f, |f| ≤ 1/2", lambda f: (mp.power(2, f) - 1) / f, mp.mpf("-0.5005"), mp.mpf("0.5"),
        12, 6, lambda f: f / mp.power(2, f),
    ),
    Fit(
        "SINH", "(sinh r - r)/r³ of r², |r| ≤ ln2/2", _odd(mp.sinh), 0, _HALF_LN2**2, 5, 3, _odd_weight(mp.sinh)
    ),
    Fit(
        "COSH", "(cosh r - 1 - r²/2)/r⁴ of r², |r| ≤ ln2/2",
        lambda z: (mp.cosh(mp.sqrt(z)) - 1 - z / 2) / z**2, 0, _HALF_LN2**2, 5, 2,
        lambda z: z**2 / mp.cosh(mp.sqrt(z)),
    ),
    Fit(
        "TANH", "(tanh x - x)/x³ of x², |x| ≤ 0.234", _odd(mp.tanh), 0, mp.mpf("0.234") ** 2, 7, 3,
        _odd_weight(mp.tanh),
    ),
    Fit(
        "LOG", "(log(1 + f) - f + f²/2)/f³, √½ ≤ 1 + f ≤ √2", lambda f: (mp.log1p(f) - f + f * f / 2) / f**3,
        1 / _ROOT - 1, _ROOT - 1, 20, 9, lambda f: f**3 / mp.log1p(f),
    ),
    Fit(
        "LOG_WIDE", "(log(1 + f) - f)/f², √½ ≤ 1 + f ≤ √2, for float32 results", lambda f: (mp.log1p(f) - f) / f**2,
        1 / _ROOT - 1, _ROOT - 1, 0, 14, lambda f: f**2 / mp.log1p(f), wide=True,
    ),
    Fit(
        "LOG_RATIO", "(2 artanh s - 2s - 2s³/3)/s⁵ of s², s = f/(2 + f), √½ ≤ 1 + f ≤ √2",
        lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2 - 2 * z / 3) / z**2, 0, _S, 8, 0,
        lambda z: z**2 / (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z)),
    ),
    Fit("SIN", "(sin r - r)/r³ of r², |r| ≤ π/4 and a little", _odd(mp.sin), 0, _QUARTER**2, 6, 3, _odd_weight(mp.sin)),
    Fit(
        "COS", "(cos r - 1 + r²/2)/r⁴ of r², |r| ≤ π/4 and a little",
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, 0, _QUARTER**2, 6, 3,
        lambda z: z**2 / mp.cos(mp.sqrt(z)),
    ),
    Fit("ATAN", "(arctan x - x)/x³ of x², |x| ≤ 1", _odd(mp.atan), 0, 1, 22, 10, _odd_weight(mp.atan)),
    Fit("ASIN", "(arcsin x - x)/x³ of x², |x| ≤ 1/2", _odd(mp.asin), 0, mp.mpf("0.25"), 13, 6, _odd_weight(mp.asin)),
    Fit(
        "ERF", "erf(x)/x - 1 of x², |x| ≤ 1", lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 0, 1, 12, 0,
        lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
    ),
    Fit(
        "ERFC", "log(erfc(1 + t)), 0 ≤ t ≤ 5", lambda t: mp.log(mp.erfc(1 + t)), 0, 5, 25, 0,
        lambda t: mp.erfc(1 + t) / mp.erf(1 + t),
    ),
    Fit(
        "ERFC_WHOLE", "-log(erfc(x))/x - 1, 0 ≤ x ≤ 2.6, and the less of it matters the farther up to 4",
        lambda x: -mp.log(mp.erfc(x)) / x - 1, 0, mp.mpf("2.6"), 0, 10, lambda x: mp.erfc(x) * x / mp.erf(x),
    ),
    Fit(
        "NORMAL", "(Φ(x) - 1/2)/x of x², |x| ≤ 9/16", lambda z: mp.erf(mp.sqrt(z / 2)) / mp.sqrt(z) / 2,
        0, mp.mpf(9) ** 2 / 16**2, 9, 5, lambda z: mp.sqrt(z) / (mp.erfc(mp.sqrt(z / 2)) / 2),
    ),
    Fit(
        "TAIL", "x · exp(x²/2) · Φ(-x) - 1/4 of t = (x - 5/4)/(x + 5/4), 9/16 ≤ x ≤ 38.7 (float32: 14.5)",
        _normal_tail, mp.mpf(-11) / 29, mp.mpf("37.45") / mp.mpf("39.95"), 30, 12,
        lambda t: 1 / (_normal_tail(t) + 0.25), singles_high=mp.mpf("13.25") / mp.mpf("15.75"),
    ),
)  # fmt: skip


def interpolant(function: Callable[[Any], Any], low: Any, high: Any, count: int) -> list[Any]:
    """The coefficients, from the constant up, of the interpolant at the `count` Chebyshev points of [low, high]."""
    low, high = mp.mpf(low), mp.mpf(high)
    middle, half = (low + high) / 2, (high - low) / 2
    points = [middle + half * mp.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]
    differences = [function(point) for point in points]  # Newton's divided differences, then to powers of x
    for order in range(1, count):
        for k in range(count - 1, order - 1, -1):
            differences[k] = (differences[k] - differences[k - 1]) / (points[k] - points[k - order])
    powers = [differences[-1]]
    for k in range(count - 2, -1, -1):
        shifted = [mp.mpf(0), *powers]
        for n, coefficient in enumerate(powers):
            shifted[n] -= points[k] * coefficient
        shifted[0] += differences[k]
        powers = shifted
    return powers


def coefficients(fit: Fit, single: bool) -> tuple[float, ...]:
    """The rounded coefficients of a fit, from the constant up."""
    count, high = (fit.singles, fit.singles_high or fit.high) if single else (fit.doubles, fit.high)
    exact = interpolant(fit.function, fit.low, high, count)
    return tuple(float(np.float32(float(c))) if single and not fit.wide else float(c) for c in exact)


def error(fit: Fit, single: bool, rounded: tuple[float, ...]) -> float:
    """The greatest weighted difference on 2,000 points."""
    low, high = mp.mpf(fit.low), mp.mpf(fit.singles_high if single and fit.singles_high else fit.high)
    worst = mp.mpf(0)
    exact = [mp.mpf(c) for c in rounded]
    with mp.workdps(40):
        for k in range(2000):
            x = low + (high - low) * (2 * k + 1) / 4000
            worst = max(worst, abs((mp.polyval(exact, x, asc=True) - fit.function(x)) * fit.weight(x)))
    return float(worst)


def _literal(value: float, single: bool) -> str:
    return str(np.float32(value)) if single else repr(value)


def _lines(name: str, rounded: tuple[float, ...], single: bool) -> str:
    lines, line = [f"{name} = ("], "   "
    for value in rounded:
        piece = f" {_literal(value, single)},"
        if len(line) + len(piece) > 118:
            lines.append(line)
            line = "   "
        line += piece
    return "\n".join([*lines, line, ")  # fmt: skip"])


def module() -> str:
    """The text of the module of coefficients."""
    parts = [
        '"""The coefficients of the polynomials, from the constant term up: printed by docs/make_polynomials.py."""\n',
        "from __future__ import annotations\n",
    ]
    for fit in FITS:
        for single in (False, True):
            if not (fit.singles if single else fit.doubles):
                continue
            rounded = coefficients(fit, single)
            told = f"{error(fit, single, rounded):.1e}"
            suffix = "F32" if single else "F64"
            parts.append(
                f"# {fit.formula}:\n# degree {len(rounded) - 1}, weighted error {told}\n"
                + _lines(f"{fit.name}_{suffix}", rounded, single and not fit.wide)
                + "\n"
            )
    with mp.workdps(400):
        digits = f"{int(mp.floor(2 / mp.pi * mp.mpf(2) ** 1280)):X}"
    parts.append(
        "# floor(2/π · 2^1280)\nTWO_OVER_PI_BITS = 1280\nTWO_OVER_PI = int(\n"
        + "".join(f'    "{digits[k : k + 80]}"\n' for k in range(0, len(digits), 80))
        + "    , 16,\n)  # fmt: skip\n"
    )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(module())
