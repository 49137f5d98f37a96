"""The answer to "why?": it prints as text, shows itself in notebooks, and writes LaTeX, HTML and JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backlit.core.errors import GraphError
from backlit.core.files import write_whole
from backlit.explain import why_html, why_latex, why_text
from backlit.explain.answer import Answer, as_dict


@dataclass(frozen=True)
class Explanation(Answer):
    """The answer to "why is this gradient what it is?" `print` it; in a notebook it shows itself.

    Its fields are those of `Answer`. ways: what `follow` calls, a way on for each term; unfold: what `opened` calls.
    """

    ways: tuple[Callable[[], Explanation], ...] = field(default=(), repr=False, compare=False)
    unfold: Callable[[], Explanation] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return why_text.text(self)

    def text(self, width: int = 100) -> str:
        """The explanation as plain text, for a screen of this many columns."""
        return why_text.text(self, width)

    def latex(self) -> str:
        """The explanation as LaTeX for `amsmath`, KaTeX or MathJax: the derivation, or the sum of terms."""
        return why_latex.latex(self)

    def html(self, path: str | Path | None = None, depth: int = 2) -> str:
        """The explanation as a page that needs nothing else, and written to `path` if one is given.

        depth: so many times over can terms be opened, to follow them further.
        """
        page = why_html.page(self, depth)
        if path is not None:
            write_whole(Path(path), page)
        return page

    def _repr_html_(self) -> str:
        return why_html.fragment(self, 1)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data that JSON can hold; `backlit.explain.answer` names the fields."""
        return as_dict(self)

    def follow(self, number: int = 1) -> Explanation:
        """Explain term `number` (from 1) further: the derivative of the output by the element it passes through.

        Raises GraphError if there is no such term.
        """
        if not 1 <= number <= len(self.ways):
            have = f"terms 1 to {len(self.ways)}" if self.ways else "no terms to follow"
            raise GraphError(f"follow({number}): this explanation has {have}.")
        return self.ways[number - 1]()

    def ahead(self, number: int) -> Explanation | None:
        return self.ways[number - 1]() if 1 <= number <= len(self.ways) else None

    def opened(self) -> Explanation:
        """The same with composites (softmax, mean, …) opened to the ops they are made of."""
        return self if self.unfold is None else self.unfold()
