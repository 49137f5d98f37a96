"""Whole derivations, word for word: they are to read as a good teacher would write them.

`python -m tests.explain.test_golden` writes the files anew. Read every one of them before keeping it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from backlit.explain import Derivation, Expression, derivation, read_values

GOLDEN = Path(__file__).parent / "golden"
NEURON = ("tanh(x1*w1 + x2*w2 + b)", "x1=2 x2=0 w1=-3 w2=1 b=6.8813735870195432")
CASES = {
    "worked_example": ("(a*b + c)*d", "a=2 b=-3 c=10 d=-2"),
    "neuron": NEURON,
    "paths_join": ("a*a + a", "a=2"),
    "tie": ("max(a, b)", "a=2 b=2"),
    "relu_at_zero": ("relu(x)", "x=0"),
    "log_at_zero": ("log(x)", "x=0"),
    "quotient": ("x**2 / y", "x=3 y=-4"),
    "not_chosen": ("where(x > 0, sqrt(x), x*y)", "x=-1 y=2"),
    "jump": ("x % 3 + x // 2", "x=4"),
    "long_formula": ("gelu(x) * stop_gradient(x)", "x=0.3"),
    "vectors": ("sum(x*w) + b", "x=[1,2,3] w=[4,-5,6] b=1"),
    "binary_cross_entropy": ("-log(sigmoid(w*x + b))", "w=0.5 x=1 b=-1"),
}
FILES = [
    *((f"{name}.txt", name, 80) for name in CASES),
    ("neuron.wide.txt", "neuron", 120),
    ("neuron.narrow.txt", "neuron", 48),
    *((f"{name}.tex", name, 0) for name in ("worked_example", "neuron", "paths_join", "tie", "vectors")),
]


def written(name: str, width: int) -> str:
    """The text of a case at a width, or its LaTeX for a width of 0."""
    text, values = CASES[name]
    told: Derivation = derivation(Expression.read(text).evaluate(read_values(values.split())))
    return (told.text(width) if width else told.latex()) + "\n"


@pytest.mark.parametrize(("file", "name", "width"), FILES, ids=[file for file, _, _ in FILES])
def test_the_derivation_reads_as_before(file, name, width):
    assert written(name, width) == (GOLDEN / file).read_text(encoding="utf-8")


if __name__ == "__main__":
    for file, name, width in FILES:
        (GOLDEN / file).write_text(written(name, width), encoding="utf-8")
