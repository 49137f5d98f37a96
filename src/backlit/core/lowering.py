"""What the lowering of an op speaks to: the compiler's graph, as far as a rule has to know it.

The field `lower` of an op's record is such a rule, `lower(g, result, *inputs, **attrs)`: `g` is the graph, `result`
has the shape and dtype that come out, the inputs are nodes of `g`, and so is what the rule gives. A rule looks at no
more of a node than its shape and dtype, and imports nothing of the compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from backlit.core.numbers import Shape

Dtype = np.dtype[Any]


class Shaped(Protocol):
    """What is known of a node: the shape and dtype of the array that it will be, and how many elements it has."""

    @property
    def shape(self) -> Shape: ...
    @property
    def dtype(self) -> Dtype: ...
    @property
    def size(self) -> int: ...


N = TypeVar("N", bound=Shaped)
"""The compiler's nodes."""
Plan = tuple[Any, ...]
"""How each axis of an array is reached: ("array", which index array) or ("affine", offset, coefficients)."""


class Graph(Protocol[N]):
    """Makes nodes. Equal ones are one node, and what can be known beforehand is computed as they are made."""

    @property
    def origin(self) -> Any:
        """The value whose op is being lowered."""

    # leaves

    def number(self, number: Any, dtype: Dtype) -> N:
        """A constant without axes."""

    def constant(self, data: Any, dtype: Dtype) -> N:
        """A constant array."""

    def iota(self, shape: Shape, axis: int) -> N:
        """The position of each element along an axis, int64."""

    # element by element

    def map(self, function: str, *args: N, dtype: Dtype | None = None) -> N:
        """A function of numbers, by name, of arguments that broadcast; dtype: that of the last one, unless told.

        The names are those of the elementwise ops in the compiler's `scalars.py`. Arguments have one dtype; the first
        of `where` is a truth.
        """

    def cast(self, x: N, dtype: Dtype) -> N:
        """The same numbers in another dtype."""

    # what is known

    def value_of(self, x: N) -> Any:
        """The number that every element is, or None where it is not known."""

    def scalar_of(self, x: N) -> N | None:
        """The node without axes that is spread here, if one is."""

    # movement

    def view(self, x: N, shape: Shape, offsets: Sequence[int], rows: Sequence[Sequence[int]]) -> N:
        """Elements of `x`: its index d is offsets[d] + the sum over j of rows[d][j] times index j of the result."""

    def broadcast(self, x: N, shape: Shape) -> N:
        """The array repeated along axes of length 1 and new axes in front."""

    def transpose(self, x: N, axes: Sequence[int]) -> N:
        """Axis j of the result is axis axes[j] of `x`."""

    def reshape(self, x: N, shape: Shape) -> N:
        """The same elements in row-major order."""

    def pad(self, x: N, fill: N, before: Sequence[int], shape: Shape) -> N:
        """An array of this shape, with `x` standing at `before`, and one number around it."""

    def concat(self, parts: Sequence[N], axis: int) -> N:
        """Arrays of one dtype one after the other along an axis."""

    # many elements become one

    def reduce(self, function: str, x: N, axes: Sequence[int], keepdims: bool = False) -> N:
        """Elements combined along axes. function: add, multiply, maximum, minimum, and, or."""

    def pick(self, function: str, x: N, axis: int) -> N:
        """The position of the extreme element along an axis, int64. function: maximum, minimum."""

    def matmul(self, a: N, b: N) -> N:
        """Matrix products of (…, m, k) and (…, k, n), over the same leading axes."""

    def running(self, function: str, args: Sequence[N], axis: int, reverse: bool, exclusive: bool) -> N:
        """function: add, multiply (one argument), recurrence (factor, term: y = factor · y before + term)."""

    # by position

    def gather(self, x: N, arrays: Sequence[N], plan: Plan, shape: Shape) -> N:
        """Elements of `x` at the positions that index arrays give; these have the shape of the result."""

    def scatter(self, base: N, updates: N, arrays: Sequence[N], plan: Plan, function: str) -> N:
        """`base` with updates, "set" (the last counts) or "add"; updates and index arrays have one shape."""
