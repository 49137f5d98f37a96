"""A derivation as plain text, laid out for a screen of some width.

Colours are the terminal's business: it finds headings, rules and gradients by the shape of their lines.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

from backlit.core.numbers import shape_of
from backlit.explain.formula import equals, number_text
from backlit.explain.steps import BackwardStep, ForwardStep, Join, Part, Row, Steps

NARROWEST = 40
_FORWARD = "FORWARD: from the inputs to the result"
_BACKWARD = "BACKWARD: from the result to the inputs"
_TABLE = "THE GRADIENT, AND WHAT NUDGING GIVES"


def text(steps: Steps, width: int = 80) -> str:
    """The whole derivation. Lines keep within the width, unless a single formula is longer."""
    width = max(width, NARROWEST)
    blocks = [_head(steps, width)]
    if steps.forward:
        blocks += [[_FORWARD], _forward(steps, width)]
    if steps.backward:
        blocks += [[_BACKWARD], _paragraph(meaning(steps), width), *_backward(steps, width)]
    blocks += [[_TABLE], _table(steps, width), [line for said in remarks(steps) for line in _paragraph(said, width)]]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block)


# -- pieces --------------------------------------------------------------------------------------------------


def _paragraph(sentence: str, width: int, indent: str = "  ") -> list[str]:
    """A sentence broken into lines, but not at its no-break spaces."""
    lines = textwrap.wrap(
        sentence,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\u00a0", " ") for line in lines]


def _packed(items: Sequence[str], width: int, indent: str) -> list[str]:
    """Items side by side, as many to a line as fit."""
    lines: list[str] = []
    line = ""
    for item in items:
        longer = f"{line}   {item}" if line else indent + item
        if line and len(longer) > width:
            lines.append(line)
            line = " " * len(indent) + item
        else:
            line = longer
    return [*lines, line] if line else lines


def value_text(x: Any) -> str:
    """`= 2`, or `≈ 0.333` where the number shown is rounded."""
    return f"{equals(x)} {number_text(x)}"


def _beside(x: Any) -> str:
    """A number behind an operator: in parentheses if it is negative."""
    shown = number_text(x)
    return f"({shown})" if shown.startswith("-") else shown


def _chain(pieces: Sequence[str], value: Any) -> list[str]:
    """`a`, `= b`, `= c`: equal things, each once, the last of them a number."""
    shown: list[str] = []
    for piece in pieces:
        if piece not in shown and piece != number_text(value):
            shown.append(piece)
    return [*shown[:1], *(f"= {piece}" for piece in shown[1:]), value_text(value)]


def _one_line(indent: str, chain: Iterable[str], width: int, after: str = "") -> list[str]:
    """A chain of equal things on one line, or broken before its `=` signs if it is too long."""
    parts = list(chain)
    line = indent + " ".join(parts)
    if len(line) + len(after) <= width:
        return [line + after]
    hanging = indent + "    "
    lines = [line]
    if len(line) > width and len(parts) > 1:
        under = indent + " " * (len(parts[0]) + 1)
        lines = [f"{indent}{parts[0]} {parts[1]}", *(under + part for part in parts[2:])]
        if max(map(len, lines)) > width:
            lines = [indent + parts[0], *(hanging + part for part in parts[1:])]
    if after and len(lines[-1]) + len(after) <= width:
        lines[-1] += after
    elif after:
        lines += _paragraph(after.strip(), width, hanging)
    return lines


# -- head and forward ----------------------------------------------------------------------------------------


def _head(steps: Steps, width: int) -> list[str]:
    given = [f"{name} {value_text(value)}" for name, value in steps.inputs]
    lines = textwrap.wrap(steps.expression, width, subsequent_indent="  ", break_on_hyphens=False)
    return [*lines, *_packed(given, width, "  at  ")]


def _forward(steps: Steps, width: int) -> list[str]:
    rows = [forward_pieces(step) for step in steps.forward]
    columns = [max(len(row[i]) for row in rows) for i in range(3)]
    aligned = []
    for name, symbols, numbers, value in rows:
        middle = f" = {numbers}" if numbers else ""
        third = columns[2] + 3 * bool(columns[2])
        aligned.append(f"  {name:{columns[0]}} = {symbols:{columns[1]}}{middle:{third}} {value}")
    if max(map(len, aligned)) > width:
        aligned = [
            line
            for name, symbols, numbers, value in rows
            for line in _one_line("  ", [name, f"= {symbols}", *([f"= {numbers}"] if numbers else []), value], width)
        ]
    return aligned


def forward_pieces(step: ForwardStep) -> tuple[str, str, str, str]:
    """Label, symbols, numbers (if they say more) and value."""
    symbols, numbers = step.formula.text, step.formula.numbers
    return (
        step.label,
        symbols,
        "" if numbers in (symbols, number_text(step.value)) else numbers,
        value_text(step.value),
    )


# -- backward ------------------------------------------------------------------------------------------------


def meaning(steps: Steps) -> str:
    """What the backward pass is, in two sentences."""
    y = steps.output
    return (
        f"x.grad stands for ∂{y}/∂x: how fast {y} changes when x does. Each value passes its gradient on to "
        "what it was computed from, times the local partial: that is the chain rule. "
        f"It starts with {y}.grad\u00a0=\u00a01."
    )


def _backward(steps: Steps, width: int) -> list[list[str]]:
    pairs = [_aligned([_pair(step, part) for part in step.parts]) for step in steps.backward]
    column = _column([pair for step in pairs for pair in step], width)
    heads = [f"{step.label} = {step.formula.text}" for step in steps.backward]
    rules_at = max((len(head) for head in heads if len(head) <= width // 2), default=0)
    blocks = []
    for step, head, both in zip(steps.backward, heads, pairs, strict=True):
        block = _one_line("  ", [f"{head:{rules_at}}"], width, f"   {step.rule}")
        for left, right in both:
            if left and len(" ".join(left)) <= column:
                block.append(f"    {' '.join(left):{column}}   {' '.join(right)}")
            else:
                block += _one_line("    ", left, width) if left else []
                block += _one_line("    ", right, width)
        for join in step.joins:
            chain, words = joined(join)
            block += _one_line("    ", chain, width, f"   {words}")
        block += [line for note in step.notes for line in _paragraph(f"Note: {note}", width, "    ")]
        blocks.append(block)
    return blocks


Pair = tuple[list[str], list[str]]  # the local partial and the product, each a chain of equal things


def _pair(step: BackwardStep, part: Part) -> Pair:
    return local(step, part), product(step, part)


def _aligned(pairs: list[Pair]) -> list[Pair]:
    """What stands before the first `=` sign, made equally long in all parts of a step."""
    if any(not left or len(right) == 1 for left, right in pairs):
        return pairs
    lefts = max(len(left[0]) for left, _ in pairs)
    rights = max(len(right[0]) for _, right in pairs)
    return [([f"{left[0]:{lefts}}", *left[1:]], [f"{right[0]:{rights}}", *right[1:]]) for left, right in pairs]


def _column(pairs: list[Pair], width: int) -> int:
    """How wide the column of local partials may be so that most products fit beside them; 0 if few do."""
    lengths = sorted((len(" ".join(left)), len(" ".join(right))) for left, right in pairs if left)
    widest, column = 0, 0
    for count, (left, right) in enumerate(lengths, 1):
        widest = max(widest, right)
        if 4 + left + 3 + widest > width:
            break
        if 2 * count >= len(lengths):
            column = left
    return column


def local(step: BackwardStep, part: Part) -> list[str]:
    """The local partial, as formula and number."""
    if part.partial is None and part.partial_value is None:
        return []
    which = f" ({part.which})" if part.which else ""
    head = f"∂{step.label}/∂{part.target}{which}"
    if part.partial is None:
        return [head, value_text(part.partial_value)]
    chain = _chain([head, part.partial.text, part.partial.numbers], part.partial_value)
    if part.partial.because:
        chain[-1] += f" because {' and '.join(part.partial.because)}"
    return chain


def product(step: BackwardStep, part: Part) -> list[str]:
    """What the input gets: the gradient that arrives times the local partial."""
    target = f"{part.target}.grad"
    if not part.flows:
        return [f"{target} gets nothing: {part.silence}"]
    sign = "+=" if part.shared else "="
    if part.partial_value is None:
        return [target, f"{sign} {step.label}.grad, carried back through {step.op}", value_text(part.gradient)]
    factors = f"{sign} {step.label}.grad × ∂{step.label}/∂{part.target}"
    if shape_of(part.gradient) != shape_of(step.gradient):
        return [
            target,
            f"{factors}, summed over the axes along which it was broadcast",
            value_text(part.gradient),
        ]
    numbers = f"= {number_text(step.gradient)} × {_beside(part.partial_value)}"
    return [target, factors, numbers, value_text(part.gradient)]


def joined(join: Join) -> tuple[list[str], str]:
    """The sum where paths join, and what it is in words."""
    terms = " + ".join([number_text(join.terms[0]), *map(_beside, join.terms[1:])])
    words = f"the sum: {len(join.terms)} paths join in {join.target}"
    return [f"{join.target}.grad", f"= {terms}", value_text(join.total)], words


# -- the table -----------------------------------------------------------------------------------------------


def _table(steps: Steps, width: int) -> list[str]:
    rows = [("input", "value", "gradient", "nudging gives")]
    rows += [(row.label, number_text(row.value), number_text(row.gradient), nudging(row)) for row in steps.table]
    columns = [max(len(row[i]) for row in rows) for i in range(4)]
    gap = "   " if sum(columns) + 2 + 9 <= width else " "
    return [
        "  " + gap.join((f"{a:{columns[0]}}", f"{b:>{columns[1]}}", f"{c:>{columns[2]}}", d)) for a, b, c, d in rows
    ]


def nudging(row: Row) -> str:
    """What nudging gives, in the table."""
    if row.verdict == "kink" and row.below is not None and row.above is not None:
        sides = ((row.below, "below"), (row.above, "above"))
        return ", ".join(f"{number_text(x)} {side}" if isfinite(x) else f"a jump {side}" for x, side in sides)
    if row.nudging is None:
        return "—"
    return number_text(row.nudging)


def remarks(steps: Steps) -> list[str]:
    """What is to be said below the table."""
    y = steps.output
    nudged = [row for row in steps.table if row.nudging is not None or row.verdict == "kink"]
    said: list[str] = []
    if nudged:
        said.append(f"Nudging moves an input a little both ways and sees how far {y} moves. It knows no rules.")
        verdicts = {row.verdict for row in steps.table}
        if verdicts == {"agrees"}:
            said[0] += " It agrees with every gradient." if len(steps.table) > 1 else " It agrees."
    said += _about_rows(steps)
    if steps.example is not None:
        e = steps.example
        promised, change = number_text(e.promised), number_text(e.change)
        really = "and so it does" if promised == change else f"and it changes by {change}"
        said.append(
            f"For example, if {e.label} rises by {number_text(e.raised_by)}, its gradient promises that {y} "
            f"changes by about {promised}, {really}."
        )
    return [*said, *steps.notes]


def _about_rows(steps: Steps) -> list[str]:
    """What the table cannot say: where nudging does not agree, and why."""
    notes = []
    for row in steps.table:
        if row.verdict == "differs" and row.nudging is not None and not shape_of(row.nudging):
            found = f"{number_text(row.nudging)} ± {number_text(row.error, 2)}"
            notes.append(f"{row.label}: nudging gives {found}, the chain rule {number_text(row.gradient)}.")
    if bent := [row.label for row in steps.table if row.verdict == "kink"]:
        slopes = "the slopes below and above differ"
        notes.append(f"For {_listed(bent)} {slopes} here, so the gradient given is a convention.")
    if unknown := [row.label for row in steps.table if row.verdict == "none" and not shape_of(row.value)]:
        notes.append(f"For {_listed(unknown)} nudging finds no certain slope here.")
    if large := [row.label for row in steps.table if row.nudging is None and shape_of(row.value)]:
        notes.append(f"{_listed(large)}: too many numbers to nudge them one by one.")
    return notes


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
