"""How the check of a hand-written backward pass speaks of values, lines, derivatives and axes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from backlit.core.errors import BacklitError
from backlit.core.numbers import shape_of
from backlit.core.op import ONE, Elementwise
from backlit.core.site import Site, site_of
from backlit.core.value import INACTIVE, Value, inputs_of, leaf
from backlit.explain.formula import number_text, partial_formula
from backlit.explain.hand_flow import Edge

_LONGEST = 48
_PLAIN = {
    "add": "the sum",
    "subtract": "the difference",
    "multiply": "the product",
    "divide": "the quotient",
    "matmul": "the matrix product",
    "getitem": "the indexing",
    "pow": "the power",
    "max": "the maximum",
    "min": "the minimum",
    "negative": "the minus sign",
}


def site_in(node: Value) -> Site | None:
    """Where a node of a graph was made."""
    return None if node._code is None else site_of(node._code, node._lasti)


def axes_code(axes: Sequence[int], keepdims: bool = False) -> str:
    """The arguments of a sum over axes.

    >>> axes_code((0,)), axes_code((0, 2), keepdims=True)
    ('0', '(0, 2), keepdims=True')
    """
    axis = str(axes[0]) if len(axes) == 1 else str(tuple(axes))
    return f"{axis}, keepdims=True" if keepdims else axis


def axes_words(axes: Sequence[int], shape: Sequence[int]) -> str:
    """Axes with their lengths, in words.

    >>> axes_words((0,), (32, 27)), axes_words((0, 1), (32, 27))
    ('axis 0 (of length 32)', 'axes 0 and 1 (of lengths 32 and 27)')
    """
    if len(axes) == 1:
        return f"axis {axes[0]} (of length {shape[axes[0]]})"
    return f"axes {listed([str(a) for a in axes])} (of lengths {listed([str(shape[a]) for a in axes])})"


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def atom(code: str) -> str:
    """An expression in parentheses, unless it holds together without them.

    >>> atom("h"), atom("a + b"), atom("x.sum(0)"), atom("(a + b)")
    ('h', '(a + b)', 'x.sum(0)', '(a + b)')
    """
    try:
        body = ast.parse(code, mode="eval").body
    except SyntaxError:
        return f"({code})"
    whole = isinstance(body, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant)
    wrapped = body.col_offset > 0 and (body.end_col_offset or 0) < len(code)
    return code if whole or wrapped else f"({code})"


class Speaker:
    """Names for the nodes of one graph. uses: the edges that lead from each node."""

    def __init__(self, known: dict[Value, str], uses: Mapping[Value, Sequence[Edge]]) -> None:
        self.known, self.uses = known, uses

    def name(self, node: Value) -> str:
        """A node in code: its name, the source of its expression, or a number."""
        if node in self.known:
            return self.known[node]
        if node._op is None and shape_of(node._data) == ():
            return number_text(node._data)
        site = site_in(node)
        if node._op is not None and site is not None and site.source and len(site.source) <= _LONGEST:
            return site.source
        return node._op.name if node._op is not None else self._as_written(node) or "a constant array"

    def _as_written(self, constant: Value) -> str | None:
        """What a plain array is called where an operator takes it: X in `X @ W`."""
        for user in self.uses:
            inputs, site = inputs_of(user), site_in(user)
            if len(inputs) != 2 or site is None or not any(x is constant for x in inputs):
                continue
            try:
                body = ast.parse(site.source or "", mode="eval").body
            except SyntaxError:
                continue
            if isinstance(body, ast.BinOp):
                operand = body.left if inputs[0] is constant else body.right
                if isinstance(operand, ast.Name | ast.Attribute):
                    return ast.unparse(operand)
        return None

    def atom(self, node: Value) -> str:
        """A node in code, in parentheses where it would fall apart inside a formula."""
        return atom(self.name(node))

    def called(self, node: Value) -> str:
        """A node in a sentence, with its line: "`h` (net.py:31)"."""
        site = site_in(node)
        where = f" ({site.short_file}:{site.line})" if site is not None else ""
        name = self.name(node)
        if node._op is not None and name == node._op.name:
            return f"the {name}{where}"
        return f"`{name}`{where}"

    def operation(self, node: Value) -> str:
        """An operation in a sentence: "tanh in `h` (net.py:31)"."""
        assert node._op is not None
        called = self.called(node)
        return f"{_PLAIN.get(node._op.name, node._op.name)} in {called}" if called.startswith("`") else called

    def index_codes(self, node: Value) -> list[str]:
        """The index arrays between the brackets by which a node was made; none if that is not known."""
        site = site_in(node)
        try:
            body = ast.parse(site.source if site is not None and site.source else "", mode="eval").body
        except SyntaxError:
            return []
        while isinstance(body, ast.Call | ast.Attribute):  # x[i].mean()
            body = body.func if isinstance(body, ast.Call) else body.value
        if not isinstance(body, ast.Subscript):
            return []
        parts = body.slice.elts if isinstance(body.slice, ast.Tuple) else [body.slice]
        return [ast.unparse(part) for part in parts if not isinstance(part, ast.Slice | ast.Constant)]

    def gradient(self, node: Value) -> str:
        """What the gradient of a node is called in code: `dh`. That of `h @ W` is that of `h @ W + b`."""
        while node not in self.known and len(self.uses.get(node, ())) == 1:
            edge = self.uses[node][0]
            above, op = edge.node, edge.node._op
            if not isinstance(op, Elementwise) or op.partials[edge.index] is not ONE:
                break
            if shape_of(above._data) != shape_of(node._data):
                break
            node = above
        name = self.name(node)
        if name.replace(".", "_").isidentifier():
            stem, _, last = name.rpartition(".")
            return f"{stem}.d{last}" if stem else f"d{last}"
        return f"d({name})"

    def derivative(self, node: Value, index: int, y: str | None = None, xs: Sequence[str] | None = None) -> str | None:
        """The partial of an elementwise op as a formula, with these names in place of its own, if it has one."""
        op = node._op
        if not isinstance(op, Elementwise) or (rule := op.partials[index]) is None:
            return None
        if rule is ONE:
            return "1"
        names: dict[Value, str] = {}
        stand_ins = [self._stand_in(x, names, None if xs is None else xs[i]) for i, x in enumerate(inputs_of(node))]
        result = self._stand_in(node, names, y)
        try:
            return partial_formula(rule(result, *stand_ins, **node._extra.attrs), names).text
        except (BacklitError, TypeError, ValueError, AttributeError):
            return None

    def _stand_in(self, node: Value, names: dict[Value, str], name: str | None) -> Value:
        constant = node._op is None and node._grad is INACTIVE and shape_of(node._data) == ()
        twin = leaf(node._data, active=not constant)
        if not constant or name is not None:
            names[twin] = atom(name or self.name(node))
        return twin


def as_code(x: Any) -> str:
    """A number for a table: short, and never a lie about being zero."""
    return number_text(x, 4)
