"""What the check of a hand-written backward pass found: as data, as text, and as a table for notebooks."""

from __future__ import annotations

import html
import math
import re
import textwrap
from dataclasses import dataclass, field
from typing import Any

from backlit.core.numbers import Shape
from backlit.explain.hand_words import as_code, listed

SCHEMA = "backlit.by_hand/1"
RIGHT, WRONG, FOLLOWS, CONVENTION = "right", "wrong", "follows", "right by another convention"
_HEAD = ("", "gradient of", "shape", "off by", "verdict")
_SIGNS = {RIGHT: "✓", WRONG: "✗", FOLLOWS: "↳", CONVENTION: "✓"}


@dataclass(frozen=True, slots=True)
class Repair:
    """A mistake that was named, by a repair after which everything agrees.

    kinds: the mistakes, one or two. text: what to do. fix: how to write it, where that can be said in code.
    where: the operation at whose derivative it was made. agree, of: how many elements agree after the repair.
    told_by: how many of them differed before, and distinct: how many different numbers these are.
    exact: whether they agree to the last bit. difference: the largest that is left. own_upstream: whether it
    is right given the other gradients as they were given, not as they should be.
    """

    kinds: tuple[str, ...]
    text: str
    fix: str
    where: str
    agree: int
    of: int
    told_by: int
    distinct: int
    exact: bool
    difference: float
    own_upstream: bool = True

    @property
    def kind(self) -> str:
        """The first mistake."""
        return self.kinds[0]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "kinds": list(self.kinds),
            "text": self.text,
            "fix": self.fix,
            "where": self.where,
            "agree": self.agree,
            "of": self.of,
            "told_by": self.told_by,
            "distinct": self.distinct,
            "exact": self.exact,
            "difference": _jsonable(self.difference),
            "own_upstream": self.own_upstream,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """One element that differs: where it stands, what was given, and what is right."""

    index: tuple[int, ...]
    yours: float
    right: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {"index": list(self.index), "yours": _jsonable(self.yours), "right": _jsonable(self.right)}


@dataclass(frozen=True, slots=True)
class HandCheck:
    """What was found for one gradient.

    verdict: "right", "wrong" (a mistake was made here), "follows" (right, given the wrong ones in
    `because_of`), or "right by another convention". difference: the largest to the right gradient, None if
    shapes differ; wrong elements: how many differ by more than `tolerance` allows. repair: the mistake, if it
    could be named; others: what fits as well. beside: which gradients above it are wrong too. made: where the
    value was computed.
    """

    name: str
    shape: Shape
    dtype: str
    given_shape: Shape | None
    given_dtype: str | None
    made: str
    verdict: str
    exact: bool
    difference: float | None
    tolerance: float
    elements: int
    wrong_elements: int
    first: Place | None
    because_of: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    repair: Repair | None = None
    others: tuple[Repair, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it is right, by whatever convention."""
        return self.verdict in (RIGHT, CONVENTION)

    @property
    def kind(self) -> str | None:
        """The kind of mistake, if it could be named."""
        return None if self.repair is None else self.repair.kind

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "given_shape": None if self.given_shape is None else list(self.given_shape),
            "given_dtype": self.given_dtype,
            "made": self.made,
            "verdict": self.verdict,
            "ok": self.ok,
            "exact": self.exact,
            "difference": _jsonable(self.difference),
            "tolerance": _jsonable(self.tolerance),
            "elements": self.elements,
            "wrong_elements": self.wrong_elements,
            "first": None if self.first is None else self.first.to_dict(),
            "because_of": list(self.because_of),
            "beside": list(self.beside),
            "repair": None if self.repair is None else self.repair.to_dict(),
            "others": [each.to_dict() for each in self.others],
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The verdict in a few words."""
        if self.verdict == RIGHT:
            return "right, to the last bit" if self.exact else "right"
        if self.verdict == FOLLOWS:
            return f"follows from {listed(self.because_of)}"
        if self.verdict == CONVENTION:
            return self.verdict
        if self.repair is None:
            return "wrong"
        return f"wrong: {' + '.join(self.repair.kinds)}"

    def sureness(self) -> str:
        """How far the diagnosis can be relied on, in words; empty where there is none."""
        repair = self.repair
        if repair is None:
            return ""
        agree = "the only element agrees" if repair.of == 1 else f"all {repair.of} elements agree"
        how = "to the last bit" if repair.exact else f"to {repair.difference:.1g}"
        text = f"after that {agree} {how}"
        if repair.told_by < repair.of:
            text += f", {repair.told_by} of which did not before"
        if repair.distinct <= 2:
            told = "one number tells" if repair.distinct == 1 else "two numbers tell"
            text += f"; but only {told} of it, which can agree by chance"
        elif repair.kind == "zeros":
            text = "that shows, but not how it came about"
        elif not self.others:
            text += "; nothing else that was tried fits"
        return text

    def explain(self) -> str:
        """All that was found, as text of a few lines."""
        first, *rest = self.sentences()
        return "\n".join([first, *(_wrapped(line) for line in rest)])

    def sentences(self) -> list[str]:
        """All that was found: a heading, and sentences."""
        lines = [f"{self.name} {_shape_text(self.shape)}" + (f", {self.made}" if self.made else "")]
        if self.given_shape is None:
            lines.append("You gave None, so there is nothing to compare.")
        elif self.given_shape != self.shape:
            lines.append(f"Yours has shape {_shape_text(self.given_shape)}; it must have {_shape_text(self.shape)}.")
        elif self.first is not None and not self.ok:
            first = self.first
            lines.append(
                f"{_count_text(self.wrong_elements, self.elements)}; the first is {_index_text(first.index)}"
                f"yours {as_code(first.yours)}, right {as_code(first.right)}."
            )
        if self.verdict == FOLLOWS:
            one = len(self.because_of) == 1
            lines.append(
                f"Right for what it was computed from: it differs only because {listed(self.because_of)} "
                f"{'does' if one else 'do'}. Correct {'that' if one else 'those'} first."
            )
        lines += [*self._diagnosis(), *self.notes]
        return lines

    def _diagnosis(self) -> list[str]:
        if self.repair is None:
            if self.verdict == WRONG and self.given_shape is not None:
                return ["None of the repairs that were tried makes it right, so what the mistake is cannot be said."]
            return []
        if self.verdict == CONVENTION:
            return [f"{self.repair.text[0].upper()}{self.repair.text[1:]}."]
        lines = [f"Right if you {self.repair.text}."]
        if not self.repair.own_upstream:
            lines.append("That holds with the right gradients above it, not with those you gave.")
        elif self.beside:
            wrong = listed([f"`{name}`" for name in self.beside])
            them = "it" if len(self.beside) == 1 else "them"
            lines.append(f"That holds for the gradient of {wrong} as you have {them}, which is wrong as well.")
        lines.append(f"How sure: {self.sureness()}.")
        return lines + [f"It would also be right if you {other.text}." for other in self.others]


_CODE = re.compile(r"`[^`]*`")


def _wrapped(text: str) -> str:
    """A sentence in lines that do not break inside code."""
    held = _CODE.sub(lambda match: match[0].replace(" ", "\0") if len(match[0]) < 60 else match[0], text)
    lines = textwrap.fill(held, 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return lines.replace("\0", " ")


def _count_text(wrong: int, elements: int) -> str:
    if elements == 1:
        return "It differs"
    return f"All {elements} elements differ" if wrong == elements else f"{wrong} of {elements} elements differ"


def _index_text(index: tuple[int, ...]) -> str:
    return f"at [{', '.join(map(str, index))}]: " if index else "this: "


def _shape_text(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _jsonable(x: float | None) -> float | str | None:
    return x if x is None or math.isfinite(x) else str(x)


@dataclass(frozen=True)
class HandReport:
    """What `by_hand` found, in the order of the backward pass: from the loss to the parameters.

    `print(report)` shows it; `report["logits"]` is what was found for one gradient. ok: whether all are
    right.
    """

    loss: str
    checks: tuple[HandCheck, ...] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether all gradients are right."""
        return all(check.ok for check in self.checks)

    @property
    def first(self) -> HandCheck | None:
        """The first mistake in the order of the backward pass, the one to correct first; None without any."""
        wrong = [check for check in self.checks if check.verdict == WRONG]
        return wrong[0] if wrong else None

    @property
    def mistakes(self) -> tuple[HandCheck, ...]:
        """Where mistakes were made, without those gradients that only follow from them."""
        return tuple(check for check in self.checks if check.verdict == WRONG)

    def __getitem__(self, name: str) -> HandCheck:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"{name!r}; there are {', '.join(check.name for check in self.checks)}")

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "schema": SCHEMA,
            "loss": self.loss,
            "ok": self.ok,
            "first": None if self.first is None else self.first.name,
            "checks": [check.to_dict() for check in self.checks],
        }

    def headline(self) -> str:
        """One sentence for all."""
        count = len(self.checks)
        right = sum(check.ok for check in self.checks)
        if right == count:
            return "The gradient is right." if count == 1 else f"All {count} gradients are right."
        wrong, follow = len(self.mistakes), count - right - len(self.mistakes)
        text = f"{right} of {count} gradients {'is' if right == 1 else 'are'} right; "
        text += f"{wrong} mistake{'' if wrong == 1 else 's'}"
        if follow:
            source = "it" if wrong == 1 else "them"
            text += f", and {follow} that only follow{'s' if follow == 1 else ''} from {source}"
        return text + "."

    def _rows(self) -> list[tuple[str, str, str, str, str]]:
        return [
            (
                _SIGNS[check.verdict],
                check.name,
                _shape_text(check.shape),
                "-" if check.difference is None else f"{check.difference:.1e}" if check.difference else "0",
                check.summary(),
            )
            for check in self.checks
        ]

    def __str__(self) -> str:
        rows = [_HEAD, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
        lines = [f"by_hand, backward from {self.loss}: {self.headline()}", ""]
        for row in rows:
            cells = [
                cell.rjust(w) if i == 3 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        told = [
            check for check in self.checks if check.verdict in (WRONG, CONVENTION) or (check.notes and not check.ok)
        ]
        if self.first is not None:
            lines += ["", "In the order of the backward pass; correct the first one first."]
        for check in told:
            lines += ["", check.explain()]
        noted = [check for check in self.checks if check.notes and check not in told]
        if noted:
            lines.append("")
            lines += [f"{check.name}: {note}" for check in noted for note in check.notes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = []
        for check, (sign, name, shape, off, verdict) in zip(self.checks, self._rows(), strict=True):
            colour = {WRONG: "#d9480f", FOLLOWS: "#9a6700"}.get(check.verdict, "#0a7ea4")
            rows.append(
                f'<tr><td style="color:{colour};font-weight:bold" aria-hidden="true">{sign}</td>'
                f'<th scope="row" style="text-align:left"><code>{html.escape(name)}</code></th>'
                f'<td style="text-align:left">{shape}</td><td style="text-align:right;padding-right:1em">{off}</td>'
                f'<td style="text-align:left;color:{colour}">{html.escape(verdict)}</td></tr>'
            )
            if check.repair is not None or check.verdict == WRONG or check.notes:
                text = "<br>".join(_html_of(each) for each in check.sentences()[1:])
                rows.append(f'<tr><td></td><td colspan="4" style="text-align:left">{text}</td></tr>')
        head = "".join(f'<th scope="col" style="text-align:left">{each}</th>' for each in _HEAD)
        return (
            f'<table class="backlit-by-hand"><caption style="text-align:left">Backward from '
            f"<code>{html.escape(self.loss)}</code>: {html.escape(self.headline())}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        )


def _html_of(sentence: str) -> str:
    return _CODE.sub(lambda match: f"<code>{match[0].strip('`')}</code>", html.escape(sentence, quote=False))
