"""`draw`: the expression graph of a value as a picture, to look at in a notebook or to save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from backlit.core.errors import ConversionError, DomainError
from backlit.core.files import write_whole
from backlit.core.value import Value
from backlit.draw.cards import compose
from backlit.draw.markup import dot, mermaid
from backlit.draw.model import picture
from backlit.draw.picture import Picture
from backlit.draw.raster import write_png
from backlit.draw.scene import Scene
from backlit.draw.stepper import page
from backlit.draw.svg import write_svg
from backlit.draw.text import tree


@dataclass(frozen=True)
class Drawing:
    """A drawing of an expression graph. It shows itself in a notebook; `print` gives it as a tree of text.

    picture: what is shown, as data (`.to_dict()`). svg: the text of an SVG file.
    """

    picture: Picture
    down: bool | None = field(default=None)

    @cached_property
    def scene(self) -> Scene:
        """The shapes, laid out."""
        return compose(self.picture, self.down)[0]

    @cached_property
    def svg(self) -> str:
        """The drawing as SVG, with styles for light and dark, that needs no other file."""
        return write_svg(self.scene)

    def html(self) -> str:
        """A page that opens without a network and steps through the derivation with the arrow keys."""
        return page(self.picture, write_svg(self.scene, interactive=True))

    def png(self, scale: float = 2.0) -> bytes:
        """The drawing as a PNG file. Needs matplotlib; raises ImportError that says how to install it."""
        return write_png(self.scene, scale)

    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        return dot(self.picture)

    def mermaid(self) -> str:
        """The graph in the language of Mermaid, which GitHub and many editors draw."""
        return mermaid(self.picture)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a file; the ending says how: .svg, .png, .html, .dot, .mermaid or .mmd, .txt.

        The file is replaced as a whole or not at all. Raises DomainError for another ending, OSError if the file
        cannot be written, ImportError if a PNG needs a package that is not there.
        """
        return save_as(path, self._writers())

    def _writers(self) -> dict[str, Callable[[], str | bytes]]:
        return {
            ".svg": lambda: self.svg,
            ".png": self.png,
            ".html": self.html,
            ".dot": self.dot,
            ".mermaid": self.mermaid,
            ".mmd": self.mermaid,
            ".txt": lambda: f"{self}\n",
        }

    def to_dict(self) -> dict[str, Any]:
        """What is shown, as dicts and lists that JSON can hold."""
        return self.picture.to_dict()

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return tree(self.picture)

    def __repr__(self) -> str:
        return f"<drawing of {self.picture.title}: {len(self.picture.nodes)} nodes>"


def save_as(path: str | PathLike[str], writers: Mapping[str, Callable[[], str | bytes]]) -> Path:
    """Write a file in the format that the ending of its name says."""
    target = Path(path)
    writer = writers.get(target.suffix.lower())
    if writer is None:
        known = ", ".join(writers)
        ending = f"the ending {target.suffix}" if target.suffix else "no ending"
        raise DomainError(f"save: {target.name} has {ending}, which says no format. Use one of {known}.")
    write_whole(target, writer())
    return target


def draw(
    value: Value,
    backward: bool | None = None,
    partials: bool = False,
    depth: float | None = None,
    only: Value | str | Sequence[Value | str] | None = None,
    search: str | None = None,
    *,
    names: Mapping[Value, str] | None = None,
    direction: str | None = None,
    limit: int = 300,
) -> Drawing:
    """A picture of the expression graph that a value was computed by.

    backward: whether to show gradients too; by default, if `backward()` has run. They are those of this value by each
    node (times the gradient that it holds itself, if it is not the last one), worked out afresh: no `.grad` changes.
    partials: write the local partials on the edges. depth: how many levels of composites (softmax, a `bl.scope`) to
    open: none by default, `math.inf` for all. only: values or names; what is not on a path from these is left out.
    search: mark what has this text in its name, op or scope ("nan" and "inf": in its numbers), and fade the rest.
    names: what to call values; by default they go by the names of the user's variables. direction: "right"
    or "down". limit: a graph with more visible nodes is folded by scope and by line of source.

    Raises GraphError for a name that does not occur or, with `backward=True`, if nothing can be differentiated;
    ConversionError for what is no value. Cost: linear in the graph; about 50 ms for 300 nodes.

    >>> from backlit.core.value import values
    >>> a, b = values(a=2.0, b=-3.0)
    >>> print(draw(a * b + a, backward=True))   # doctest: +NORMALIZE_WHITESPACE
    t2 = t1 + a    → -4   ← 1
    ├─ t1 = a * b  → -6   ← 1
    │  ├─ a        → 2    ← -2   (the sum of 2 paths)
    │  └─ b        → -3   ← 2
    └─ a           see above
    """
    if not isinstance(value, Value):
        raise ConversionError(
            f"draw: expected a backlit.Value, got {type(value).__name__}. A plain number or array has no graph; "
            "draw the Value that a computation gave. For a network use backlit.draw_network."
        )
    if direction not in (None, "right", "down"):
        raise DomainError(f"draw: direction is 'right' or 'down', got {direction!r}.")
    if limit < 1:
        raise DomainError(f"draw: limit must be at least 1, got {limit}.")
    if depth is not None and depth < 0:
        raise DomainError(f"draw: depth counts the levels that are opened, so it is 0 or more, got {depth}.")
    shown = picture(
        value, backward=backward, partials=partials, depth=depth, only=only, search=search, names=names, limit=limit
    )
    return Drawing(shown, None if direction is None else direction == "down")


def draw_text(value: Value, **how: Any) -> str:
    """The expression graph of a value as a tree of text, for a terminal. It takes the arguments of `draw`."""
    return str(draw(value, **how))
