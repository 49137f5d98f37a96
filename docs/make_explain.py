"""Write docs/explain.md: run every program of examples/gallery, and show it with what it prints and draws.

    python docs/make_explain.py

A test makes the page anew and compares, so what the page shows is what Backlit says.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from pages import drawn_in, empty_folder, printed_by, write

ROOT = Path(__file__).resolve().parents[1]
GALLERY, PAGE, PICTURES = ROOT / "examples" / "gallery", ROOT / "docs" / "explain.md", ROOT / "docs" / "pictures"

OPENING = """\
# Every gradient answers "why?"

This page is a gallery. Each entry is a whole program, to be copied and changed, followed by what it prints; the
programs are in [examples/gallery](../examples/gallery). `python docs/make_explain.py` runs them all and writes this
page, so that nothing here was typed by hand.

Words used below: the *gradient* ∂out/∂a says how fast `out` changes when `a` is moved a little. What reaches a value
on the way back is its *cotangent*. A *local derivative* is that of one operation alone.
"""

ENTRIES = {
    "expression": """\
Read from the top: one step of the computation at a time, last step first. Each step says how fast `out` changes with
one of its inputs, and by which rule. The last line is the answer. To check it, `why` also moves `a` a little and
looks.""",
    "neuron": """\
After `backward()`, `why(w1)` knows which output is meant. The same graph as a picture: numbers of the forward pass in
one colour, gradients in another.""",
    "layer": """\
Where arrays meet, a gradient is a sum: this weight serves all three rows of `X`. `why` lists the terms that carry most,
and `.follow(1)` goes on along the first of them, to the loss. Without `index=` it shows the array as a whole.""",
    "cross_entropy": """\
Famous simplifications are recognised. Here: what softmax and cross entropy send back is the predicted probability
minus what it should have been, which is 1 for the right class and 0 for the others. The mean over two rows makes it
half of that.""",
    "cut": """\
`None` means that no gradient can flow. There is always a place where it was cut.""",
    "dead": """\
Zero is something else: there is a way, and nothing comes through.""",
    "nan": """\
A NaN spreads over everything it touches, so the place where you notice it is seldom the place where it was born. This
is its birth certificate.""",
    "vanishing": """\
A gradient is a product along each path. Twelve factors below one quarter make a number that moves nothing.""",
    "ledger": """\
`paths` takes the gradient apart the other way: one entry for each way from the output to `x`, heaviest first. The
entries add up to the gradient. It is asked as `paths(output, x)` or, as `why` is, `paths(x, of=output)`.""",
    "many_paths": """\
Paths double at each fork. They are counted, not walked, so this takes a fraction of a second, and
the rest is exact, too.""",
    "xor": """\
`health` looks at a whole backward pass at once. This network of two hidden units was trained on XOR from an unlucky
start and is stuck. `health` says where, and what to do.""",
    "formula": """\
`derive` differentiates the function, not the number. Its source runs with NumPy alone.""",
    "by_hand": """\
For those who write the backward pass themselves, which everyone should do once. `by_hand` compares, and where something
is wrong it tries repairs until one fits. A longer one, a whole network with 26 gradients:
[by_hand.py](../examples/by_hand.py).""",
    "certified": """\
A certificate holds every number of the derivation. Another program, which shares no code with the engine and computes
with exact fractions and intervals, replays it. `backlit verify neuron.json` does the same in the terminal. A
wrong number does not pass.""",
    "picture": """\
`draw` shows the graph: as SVG in a notebook, as a tree in the terminal, and saved as `.svg`, `.png`, `.html` (which
steps through the derivation with the arrow keys), `.dot` or `.mermaid`. With `partials=True` the local derivatives
stand on the edges.""",
}


@dataclass(frozen=True)
class Shown:
    """A program of the gallery, what it printed, and the pictures that it saved: name and SVG."""

    name: str
    program: str
    printed: str
    pictures: dict[str, str]

    @property
    def title(self) -> str:
        """The first line of the program's docstring."""
        return (ast.get_docstring(ast.parse(self.program)) or self.name).splitlines()[0]

    def markdown(self) -> str:
        """The entry on the page."""
        parts = [
            f"## {self.title}",
            ENTRIES[self.name],
            f"```python\n{self.program.rstrip()}\n```",
            f"```text\n{self.printed.rstrip()}\n```",
            *(f"![The graph that {self.name}.py draws](pictures/{picture})" for picture in self.pictures),
        ]
        return "\n\n".join(parts) + "\n"


def run(name: str) -> Shown:
    """Run a program of the gallery. Its lines are called `name.py:3`, wherever the file is."""
    program = (GALLERY / f"{name}.py").read_text(encoding="utf-8")
    with empty_folder() as folder:
        (printed,) = printed_by([program], f"{name}.py")
        return Shown(name, program, printed, drawn_in(folder))


def made() -> dict[Path, str]:
    """Every file of the gallery's page, and its text."""
    shown = [run(name) for name in ENTRIES]
    files = {PICTURES / name: svg for each in shown for name, svg in each.pictures.items()}
    files[PAGE] = "\n".join([OPENING, *(each.markdown() for each in shown)])
    return files


def main() -> None:
    """Write the page and its pictures."""
    write(made(), PICTURES)


if __name__ == "__main__":
    main()
