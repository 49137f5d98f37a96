"""What to write instead, where a NaN or an infinity arose in a known way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.value import Value

_LOGARITHMS = ("log", "log2", "log10")
_INSIDE_ONE = ("arcsin", "arccos", "arctanh", "asin", "acos", "atanh")


def forward_advice(
    name: str, there: Sequence[float | None], value: float, dtype: np.dtype[Any], inputs: Sequence[Value]
) -> str | None:
    """How to avoid that an op gives this value for the numbers `there`; None where nothing is known."""
    a = there[0] if there else None
    b = there[1] if len(there) > 1 else None
    if name in _LOGARITHMS and a is not None:
        return _of_logarithm(name, a, inputs)
    if name == "log1p" and a is not None:
        return f"log1p takes numbers above -1, and got {a}."
    if name == "sqrt" and a is not None and a < 0:
        return f"{a} has no real square root. If it should be 0 but for rounding, write sqrt(maximum(x, 0.0))."
    if name == "divide" and b == 0:
        kind = "0/0 is NaN" if a == 0 else "division by zero is infinite"
        return (
            f"{kind}. Where the divisor b may be 0, divide by a safe one and choose: "
            "where(b != 0, a / where(b != 0, b, 1.0), 0.0)."
        )
    if name in ("remainder", "floor_divide") and b == 0:
        return "there is no remainder by 0; divide by where(b != 0, b, 1.0)."
    if name == "reciprocal" and a == 0:
        return "1/0 is infinite. Where x may be 0: where(x != 0, 1 / where(x != 0, x, 1.0), 0.0)."
    if name in ("exp", "exp2", "expm1", "sinh", "cosh") and math.isinf(value):
        return _of_exponential(name, dtype)
    if name == "pow" and a is not None and b is not None:
        if a < 0 and math.isnan(value):
            return f"{a} to a power that is not whole is not real; abs(x) ** p, or a whole power, is."
        if a == 0 and b < 0:
            return (
                "0 to a negative power is infinite. Where x may be 0: where(x != 0, where(x != 0, x, 1.0) ** p, 0.0)."
            )
    if name in _INSIDE_ONE and a is not None:
        return f"{name} takes -1 to 1, and got {a}. If rounding pushed it out: clip(x, -1.0, 1.0)."
    if name in ("acosh", "arccosh") and a is not None:
        return f"{name} takes numbers from 1 upward, and got {a}."
    if math.isinf(value) and not any(number is not None and math.isinf(number) for number in there):
        return _of_overflow(dtype)
    return None


def _of_logarithm(name: str, a: float, inputs: Sequence[Value]) -> str:
    if a < 0:
        return f"{a} has no real logarithm."
    source = inputs[0]
    scope = source.scope
    if scope is not None and "softmax" in str(scope):
        return "a probability of softmax was rounded to 0: write log_softmax(x) in place of log(softmax(x))."
    if source.op is not None and source.op.name == "sigmoid":
        return "sigmoid was rounded to 0: write -softplus(-x) in place of log(sigmoid(x))."
    if source.op is not None and source.op.name in ("sum", "exp"):
        return "exponentials were rounded to 0: logsumexp(x) is log(sum(exp(x))) without that."
    return (
        f"{name}(0) is -inf. Where x may be 0, take the logarithm of a safe number and choose: "
        f"where(x > 0, {name}(where(x > 0, x, 1.0)), 0.0); or add a small number to x."
    )


def _of_exponential(name: str, dtype: np.dtype[Any]) -> str:
    largest = float(np.finfo(dtype).max)
    limit = {"exp2": math.log2(largest), "sinh": math.asinh(largest), "cosh": math.asinh(largest)}.get(
        name, math.log(largest)
    )
    text = f"{name} of more than {limit:.4g} is larger than {dtype.name} can hold."
    if name == "exp":
        text += (
            " In a softmax write softmax(x) or log_softmax(x); for log(sum(exp(x))) write logsumexp(x); "
            "for log(1 + exp(x)) write softplus(x): they subtract the largest first."
        )
    return text


def _of_overflow(dtype: np.dtype[Any]) -> str:
    wider = {"float16": " float32 holds more.", "float32": " float64 holds more."}.get(dtype.name, "")
    return f"the result is larger than {np.finfo(dtype).max:.6g}, the largest number in {dtype.name}.{wider}"


def backward_advice(
    name: str,
    index: int,
    there: Sequence[float | None],
    partial: float | None,
    ct: float | None,
    dtype: np.dtype[Any],
) -> str | None:
    """How to avoid that the derivative of an op by argument `index` is not finite at the numbers `there`."""
    a = there[0] if there else None
    if name == "sqrt" and a == 0:
        text = (
            "the derivative of sqrt at 0 is infinite. For a distance that may be 0: "
            "where(x > 0, sqrt(where(x > 0, x, 1.0)), 0.0), or sqrt(x + epsilon) with a small epsilon."
        )
    elif name == "pow" and a == 0:
        text = (
            "the derivative of x ** p at x = 0 is infinite for 0 < p < 1. Where x may be 0: "
            "where(x > 0, where(x > 0, x, 1.0) ** p, 0.0)."
        )
    elif name in _INSIDE_ONE and a is not None and abs(a) == 1:
        text = f"the derivative of {name} at {a:g} is infinite. Keep x inside: clip(x, -1 + eps, 1 - eps)."
    elif name in _LOGARITHMS and a == 0:
        text = f"the derivative of {name} at 0 is infinite: where(x > 0, {name}(where(x > 0, x, 1.0)), 0.0)."
    elif partial is not None and ct is not None and math.isfinite(partial) and math.isfinite(ct):
        return _of_overflow(dtype)
    else:
        text = ""
    if ct == 0 and partial is not None and not math.isfinite(partial):
        text = (
            f"{text} Here the result was not needed (its cotangent is 0), but 0 times infinity is NaN: a "
            "product with a "
            "mask of zeros does not keep it out, where(mask, x, 0.0) does."
        ).strip()
    return text or None
