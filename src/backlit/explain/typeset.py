"""A derivation as LaTeX: one `aligned` environment, for `amsmath`, KaTeX or MathJax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backlit.core.numbers import shape_of
from backlit.explain.formula import equals, name_latex, number_latex
from backlit.explain.steps import BackwardStep, Join, Part, Steps


def latex(steps: Steps) -> str:
    r"""Forward and backward pass, one row a step; the names of the rules stand beside."""
    rows = [*_forward(steps), *_backward(steps)]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _value(x: Any) -> str:
    sign = "=" if equals(x) == "=" else r"\approx"
    return f"{sign} {number_latex(x)}"


def _beside(x: Any) -> str:
    shown = number_latex(x)
    return rf"\left({shown}\right)" if shown.startswith("-") else shown


def _text(words: str) -> str:
    escaped = "".join({"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}"}.get(c, c) for c in words)
    for c in "#$%&_{}":
        if c not in "{}" or "\\" not in escaped:
            escaped = escaped.replace(c, f"\\{c}")
    return rf"\text{{{escaped}}}"


def _row(left: str, chain: list[str], value: Any, beside: str = "") -> str:
    """`left &= a = b = value && beside`, without saying anything twice."""
    number = number_latex(value)
    shown: list[str] = []
    for piece in chain:
        if piece not in shown and piece != number:
            shown.append(piece)
    equal = " = ".join(shown)
    right = f"= {equal} {_value(value)}" if shown else _value(value)
    return rf"{left} &{right}" + (f" && {beside}" if beside else "")


def _forward(steps: Steps) -> Iterator[str]:
    for step in steps.forward:
        yield _row(name_latex(step.label), [step.formula.latex, step.formula.numbers_latex], step.value)


def _partial(above: str, below: str, which: str = "") -> str:
    ratio = rf"\frac{{\partial {name_latex(above)}}}{{\partial {name_latex(below)}}}"
    return rf"\left.{ratio}\right|_{{{_text(which)}}}" if which else ratio


def _backward(steps: Steps) -> Iterator[str]:
    for step in steps.backward:
        for i, part in enumerate(step.parts):
            yield from _part(steps.output, step, part, _text(step.rule) if i == 0 else "")
        for join in step.joins:
            yield _join(steps.output, join)


def _part(output: str, step: BackwardStep, part: Part, rule: str) -> Iterator[str]:
    local = _partial(step.label, part.target, part.which)
    if part.partial_value is None:
        chain = [rf"{_text('transpose of ' + step.op)}\left({_partial(output, step.label)}\right)"]
        yield _row(_partial(output, part.target), chain, part.gradient, rule)
        return
    formula = part.partial
    why = r",\; ".join(formula.because_latex) if formula is not None else ""
    beside = " ".join(filter(None, (rule, rf"\quad ({why})" if why else "")))
    yield _row(local, [] if formula is None else [formula.latex, formula.numbers_latex], part.partial_value, beside)
    if step.label == output or not part.flows:
        return  # the local partial is the whole derivative already, or nothing flows
    product = rf"{_partial(output, step.label)} \cdot {local}"
    chain = [product, rf"{number_latex(step.gradient)} \cdot {_beside(part.partial_value)}"]
    if shape_of(part.gradient) != shape_of(step.gradient):
        chain = [rf"\textstyle\sum {product}"]
    if part.shared:  # one of several paths: it is not the whole derivative yet
        yield _row(chain[0], chain[1:], part.gradient)
    else:
        yield _row(_partial(output, part.target), chain, part.gradient)


def _join(output: str, join: Join) -> str:
    terms = " + ".join([number_latex(join.terms[0]), *map(_beside, join.terms[1:])])
    return _row(_partial(output, join.target), [terms], join.total, _text(f"sum of {len(join.terms)} paths"))
