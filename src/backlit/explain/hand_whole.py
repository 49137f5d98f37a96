"""Repairs of a gradient as a whole: a sign, a factor, a mean for a sum, a transpose."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np

from backlit.core.numbers import shape_of
from backlit.core.value import inputs_of
from backlit.explain.hand_around import Around, Candidate, gap, kind_of
from backlit.explain.hand_factors import Factor
from backlit.explain.hand_margin import Margin


def as_a_whole(around: Around, given: Any, margin: Margin) -> Iterator[Candidate]:
    right = around.right
    for c, factor in around.proportion(given, right, margin):
        left = gap(given, (c if factor is None else factor.value) * right)
        if factor is None:
            text = f"divide by {c:.7g}, by which every element is too large: a number without a name here"
            yield Candidate(("factor",), text, f"{around.d} / {c!r}", "", 6.0, left)
        elif factor.value == -1.0:
            yield Candidate(("sign",), f"change the sign: `-{around.d}`", f"-{around.d}", "", 0.1, left)
        else:
            kinds = ("sign", "factor") if factor.repair.startswith("change") else ("factor",)
            if factor.value > 0 and (summed := _summed_over(around, factor, right)) is not None:
                text = f"take the sum, not the mean: `.sum({summed})` for `.mean({summed})`; {factor.reason}"
                yield Candidate(("mean for sum",), text, f".sum({summed})", "", 0.3, left)
                continue
            if factor.value > 0:
                kinds = (kind_of(factor, "factor"),)
            because = f": {factor.reason}" if factor.reason else ": every element is twice as large" * (c == 2)
            said = _said_of(around, factor)
            yield Candidate(
                kinds,
                f"{factor.repair}{because}{said}",
                factor.code.format(around.d),
                "",
                0.5 + factor.cost,
                left,
            )
    if len(around.shape) > 1:
        for axes in _turns(around.shape):
            if margin.close(given, right.transpose(axes)) and not margin.close(right, right.transpose(axes)):
                code = ".T" if axes == tuple(range(len(around.shape)))[::-1] else f".transpose{_inverse(axes)}"
                yield Candidate(
                    ("transpose",),
                    f"add `{code}`",
                    f"{around.d}{code}",
                    "",
                    0.3,
                    gap(given, right.transpose(axes)),
                )
    if len(around.shape) == 2 and margin.close(given, right.T.reshape(around.shape)):
        code = f"{around.d}.reshape({around.shape[::-1]}).T"
        text = "transpose it with `.T`: you gave the transposed array this shape with `reshape`"
        yield Candidate(("wrong reshape",), text, code, "", 0.6, gap(given, right.T.reshape(around.shape)))
    for axis in range(len(around.shape)):
        if around.shape[axis] > 1 and margin.close(given, np.flip(right, axis)):
            text = f"turn the order along axis {axis} round"
            yield Candidate(
                ("reversed",),
                text,
                f"np.flip({around.d}, {axis})",
                "",
                1.0,
                gap(given, np.flip(right, axis)),
            )


def integers(around: Around, given: Any) -> Iterator[Candidate]:
    for cut, what in ((np.trunc, "cut off"), (np.round, "rounded away")):
        if np.array_equal(given, cut(around.right)):
            text = f"keep it in an array of floats: what stands behind the point was {what}, as integers do"
            fix = f"np.zeros({around.shape})"
            yield Candidate(("integers",), text, fix, "", 0.1, 0.0)
            return


def _summed_over(around: Around, factor: Factor, right: Any) -> str | None:
    """The axes over which a sum is due whose length is the factor by which the result is too small."""
    if not factor.lengths or not np.isclose(factor.value, 1.0 / factor.lengths[0]):
        return None
    for edge, depth in around.region.items():
        full, shape = shape_of(edge.node._data), around.shape
        if depth or full == shape or len(full) < len(shape):
            continue
        extra = len(full) - len(shape)
        axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and full[extra + i] != 1)
        if axes and int(np.prod([full[a] for a in axes])) == factor.lengths[0]:
            return ", ".join(map(str, axes)) if len(axes) == 1 else str(axes)
    return None


def _said_of(around: Around, factor: Factor) -> str:
    """Where in the program a division by the length stands, which may be what was forgotten."""
    if not factor.lengths:
        return ""
    for edge in around.region:
        node = edge.node
        if node._op is not None and node._op.name == "divide" and edge.index == 0:
            divisor = inputs_of(node)[1]
            if shape_of(divisor._data) == () and float(divisor._data) == factor.value:
                return f", by which {around.speaker.called(node)} divides"
    return ""


def _turns(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axes in permutations(range(len(shape))):
        if axes != tuple(range(len(shape))) and tuple(shape[a] for a in axes) == shape:
            yield axes


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(a) for a in np.argsort(axes))
