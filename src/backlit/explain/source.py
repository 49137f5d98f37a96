"""A term as the source of a Python function that needs nothing but NumPy."""

from __future__ import annotations

from collections.abc import Sequence

from backlit.explain.term_text import SIGNS, Text
from backlit.explain.terms import Term

_NAMES = {
    **{name: f"np.{name}" for name in (
        "abs", "ceil", "clip", "copysign", "cos", "cosh", "exp", "expm1", "floor", "floor_divide", "hypot", "isfinite",
        "isinf", "isnan", "log", "log10", "log1p", "log2", "logaddexp", "maximum", "minimum", "pi", "remainder", "sign",
        "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "where",
    )},
    "asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan", "atan2": "np.arctan2", "asinh": "np.arcsinh",
    "acosh": "np.arccosh", "atanh": "np.arctanh", "round": "np.round", "and": "np.logical_and", "not": "np.logical_not",
}  # fmt: skip
_HELPERS = {
    "sigmoid": ("", "def sigmoid(x):\n    return np.exp(-np.logaddexp(0.0, -x))\n"),
    "softplus": ("", "def softplus(x):\n    return np.logaddexp(0.0, x)\n"),
    "relu": ("", "def relu(x):\n    return np.maximum(x, 0.0)\n"),
    "silu": ("", "def silu(x):\n    return x * np.exp(-np.logaddexp(0.0, -x))\n"),
    "leaky_relu": (
        "",
        "def leaky_relu(x, negative_slope=0.01):\n    return np.where(x > 0, x, negative_slope * x)\n",
    ),
    "elu": (
        "",
        "def elu(x, alpha=1.0):\n    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))\n",
    ),
    "erf": ("import math\n\n", "erf = np.vectorize(math.erf, otypes=[float])\n"),
}
_WRITTEN = ("number", "symbol", "+", "*", "**", *SIGNS)
_WORTH = 3  # a part this large that occurs twice gets a name


def unwritable(term: Term) -> str | None:
    """The first function in a term that NumPy does not have; None if there is none."""
    return next((head for head in sorted(_functions(term)) if head not in (*_WRITTEN, *_NAMES, *_HELPERS)), None)


def python(term: Term, arguments: Sequence[str], name: str, doc: str = "") -> str:
    """The source of a function `name(*arguments)`. What occurs more than once in it is computed once.

    >>> from backlit.explain.terms import symbol
    >>> print(python(Term("tanh", (symbol("x"),)), ["x"], "f"))
    import numpy as np
    <BLANKLINE>
    <BLANKLINE>
    def f(x):
        return np.tanh(x)
    <BLANKLINE>
    """
    used = _functions(term)
    helpers = [_HELPERS[head] for head in _HELPERS if head in used]
    head = "".join(dict.fromkeys(first for first, _ in helpers if first)).strip()
    lines = ["import math"] * bool(head) + ["import numpy as np", "", ""]
    for _, body in helpers:
        lines += [*body.rstrip().split("\n"), "", ""]
    lines.append(f"def {name}({', '.join(arguments)}):")
    if doc:
        lines.append(f'    """{doc}"""')
    known: dict[Term, str] = {}
    for part in _shared(term):
        label = _free(len(known), {*arguments, name})
        lines.append(f"    {label} = {Text(_named, known, exact=True).write(part)[0]}")
        known[part] = label
    written = Text(_named, known, exact=True).write(term)[0]
    if not _has_symbol(term) and arguments:  # the same shape as the arguments, all the same
        written = f"{written} + 0.0 * {arguments[0]}"
    lines.append(f"    return {written}")
    return "\n".join(lines) + "\n"


def _named(head: str) -> str:
    return _NAMES.get(head, head)


def _functions(term: Term) -> set[str]:
    found: set[str] = set()
    stack, seen = [term], {term}
    while stack:
        each = stack.pop()
        found.add(each.head)
        for arg in each.args:
            if arg not in seen:
                seen.add(arg)
                stack.append(arg)
    return found


def _has_symbol(term: Term) -> bool:
    stack = [term]
    while stack:
        each = stack.pop()
        if each.head == "symbol" and each.value != "pi":
            return True
        stack.extend(each.args)
    return False


def _shared(term: Term) -> list[Term]:
    """Functions and powers of some size that occur more than once, inner ones first."""
    counts: dict[Term, int] = {}
    order: list[Term] = []
    stack = [(term, False)]
    while stack:
        each, is_done = stack.pop()
        if is_done:
            order.append(each)
            continue
        counts[each] = counts.get(each, 0) + 1
        if counts[each] == 1:
            stack.append((each, True))
            stack.extend((arg, False) for arg in reversed(each.args))
    worthy = ("number", "symbol", "*", "where", "not", "and")
    return [
        each for each in order
        if counts[each] > 1 and each is not term and each.head not in worthy
        and each.head not in SIGNS and (each.size >= _WORTH or each.head not in ("+", "**"))
    ]  # fmt: skip


def _free(count: int, taken: set[str]) -> str:
    names = [name for name in ("t", "u", "v", "s", "r", "q", "p") if name not in taken]
    return names[count] if count < len(names) else f"t{count}"
