"""An answer to "why?" as LaTeX, for `amsmath`, KaTeX or MathJax."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backlit.core.numbers import shape_of
from backlit.explain.answer import Answer, Line, Sum
from backlit.explain.formula import equals, name_latex, number_latex
from backlit.explain.naming import simple


def latex(answer: Answer) -> str:
    r"""One `aligned` environment: the derivation, the sum of terms, or what the gradient is."""
    rows = [_line(line) for line in answer.lines]
    if answer.sum is not None:
        rows += _sum(answer, answer.sum)
    if not rows:
        rows = [_whole(answer)]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def words(sentence: str) -> str:
    """Plain words within mathematics."""
    table = {
        "\\": r"\textbackslash ",
        "~": r"\sim ",
        "^": r"\hat{}",
        "²": r"$^2$",
        "³": r"$^3$",
        "·": r"$\cdot$",
    }
    table |= {"×": r"$\times$", "∂": r"$\partial$", "…": r"\dots ", "≥": r"$\ge$", "±": r"$\pm$", "−": "-"}
    table |= {c: f"\\{c}" for c in "#$%&_{}"}
    return rf"\text{{{''.join(table.get(c, c) for c in sentence)}}}"


def element_latex(name: str, index: tuple[int, ...]) -> str:
    r"""`W_{3,5}`.

    >>> element_latex("W1", (3, 5)), element_latex("loss", ())
    ('\\left(W_{1}\\right)_{3,5}', '\\mathrm{loss}')
    """
    base = name_latex(name) if name.replace("_", "").isalnum() else words(name)
    if not index:
        return base
    if "_" in base or not simple(name):
        base = rf"\left({base}\right)"
    return rf"{base}_{{{','.join(map(str, index))}}}"


def _value(x: float) -> str:
    sign = "=" if equals(x) == "=" else r"\approx"
    return f"{sign} {number_latex(x)}"


def _line(line: Line) -> str:
    left, *chain = line.latex
    pieces = [piece for piece in chain if piece != number_latex(line.value)]
    right = " = ".join(pieces)
    beside = f" && {words(line.rule)}" if line.rule else ""
    return rf"{left} &{f'= {right} ' if right else ''}{_value(line.value)}{beside}"


def _sum(answer: Answer, total: Sum) -> Iterator[str]:
    out = answer.output_latex
    head = rf"\frac{{\partial {out}}}{{\partial {answer.subject_latex}}}"
    for i, term in enumerate(total.terms):
        by = element_latex(term.name, term.index)
        cotangent = number_latex(term.cotangent)
        local = number_latex(term.local)
        local = rf"\left({local}\right)" if local.startswith("-") else local
        sign = "&= " if i == 0 else r"&\quad + "
        brace = rf"\underbrace{{{cotangent}}}_{{\partial {out} / \partial {by}}} \cdot {local}"
        yield f"{head if i == 0 else ''} {sign}{brace}".strip()
    others = total.count - len(total.terms)
    if others:
        yield rf"&\quad + \underbrace{{{number_latex(total.rest)}}}_{{{words(f'the other {others}')}}}"
    yield rf"&{_value(total.total)}"


def _whole(answer: Answer) -> str:
    head = rf"\frac{{\partial {answer.output_latex}}}{{\partial {answer.subject_latex}}}"
    if answer.gradient is None:
        return rf"{head} &= {words('none')}"
    if shape_of(answer.gradient):
        norm = float(np.linalg.norm(np.asarray(answer.gradient, np.float64)))
        return rf"\left\lVert {head} \right\rVert &{_value(norm)}"
    return rf"{head} &{_value(float(answer.gradient))}"
