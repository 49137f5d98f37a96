"""An answer to "why?" as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from backlit.explain.answer import Answer, Finding, Line, Picture, Sum
from backlit.explain.formula import equals, number_text
from backlit.explain.naming import Spot
from backlit.explain.sums import term_text

NARROWEST = 50


def text(answer: Answer, width: int = 100) -> str:
    """The whole answer. Lines keep within the width, unless a formula or a line of the program is longer."""
    width = max(width, NARROWEST)
    blocks = [
        _wrapped(answer.headline, width, ""),
        *([_expression(answer, width)] if answer.expression else []),
    ]
    blocks += [_finding(f, width) for f in answer.findings]
    if answer.lines:
        blocks.append(_lines(answer.lines, width))
    if answer.picture is not None:
        blocks.append(_picture(answer.picture, width))
    blocks += [_wrapped(paragraph, width) for paragraph in answer.story]
    if answer.sum is not None:
        blocks.append(_sum(answer.sum, width))
    if answer.factors:
        blocks.append(_factors(answer, width))
    blocks += [_wrapped(f"Note: {note}", width) for note in answer.notes]
    if answer.check is not None:
        blocks.append(_wrapped(f"Check: {answer.check.text}", width))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _wrapped(sentence: str, width: int, indent: str = "  ") -> list[str]:
    return [
        line
        for part in sentence.split("\n")
        for line in textwrap.wrap(
            part, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
            break_on_hyphens=False,
        )
    ]  # fmt: skip


def _expression(answer: Answer, width: int) -> list[str]:
    lines = _wrapped(f"{answer.output} = {answer.expression}", width)
    return lines + (_wrapped(f"at {answer.where}", width, "    ") if answer.where else [])


def value_text(x: float) -> str:
    return f"{equals(x)} {number_text(x)}"


def chain_text(line: Line) -> str:
    """`= b = c ≈ 3.14`, equal things each once."""
    pieces = [piece for piece in dict.fromkeys(line.chain) if piece != number_text(line.value)]
    return " ".join([*(f"= {piece}" for piece in pieces), value_text(line.value)])


def _lines(lines: Sequence[Line], width: int) -> list[str]:
    found: list[str] = []
    before = None
    column = min(max(len(line.step) for line in lines) + 2, width // 2 - 2)
    for line in lines:
        if line.step:
            if found:
                found.append("")
            step = f"  {line.step:{column}}"
            found.append(f"{step}  {beside(line.spot, width - len(step) - 2, line.spot == before)}".rstrip())
            before = line.spot
        rule = f"   [{line.rule}]" if line.rule else ""
        because = f" because {' and '.join(line.because)}" if line.because else ""
        whole = f"    {line.left} {chain_text(line)}{because}"
        if len(whole) + len(rule) > width:
            found.append(whole)
            rule = f"        {rule.strip()}" if rule else ""
            found += [rule] if rule else []
        else:
            found.append(whole + rule)
    return found


def beside(spot: Spot | None, room: int, again: bool = False) -> str:
    """A line of the program as a comment, cut to the room there is; only its number if it was shown just before."""
    if spot is None or not spot.text:
        return ""
    text = f"# {spot.file}:{spot.line}" + ("" if again else f"  {spot.text}")
    room = max(room, 24)
    return text if len(text) <= room else text[: room - 1] + "…"


def percent(share: float) -> str:
    """A share of a sum, as a reader wants it."""
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else f"{100 * share:.1g} %"


def _sum(total: Sum, width: int) -> list[str]:
    rows = [("#", "through", "cotangent × local derivative", "contributes", "share")]
    rows += [(str(t.number), t.label, term_text(t), number_text(t.value), percent(t.share)) for t in total.terms]
    others = total.count - len(total.terms)
    if others:
        rows.append(("", f"the other {others}", "", number_text(total.rest), percent(total.rest_share)))
    rows.append(("", "sum", "", number_text(total.total), ""))
    w = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [f"  {a:>{w[0]}}  {b:{w[1]}}  {c:{w[2]}}  {d:>{w[3]}}  {e:>{w[4]}}".rstrip() for a, b, c, d, e in rows]
    notes = [t.note for t in total.terms if t.note]
    if total.groups:
        lines += ["", *_groups(total)]
    if notes:
        lines += ["", *(line for note in dict.fromkeys(notes) for line in _wrapped(f"Note: {note}", width))]
    return lines


def _groups(total: Sum) -> list[str]:
    rows = [(g.label, number_text(g.value), percent(g.share)) for g in total.groups]
    w = [max(len(row[i]) for row in rows) for i in range(3)]
    return ["  Added up by " + " and by ".join(dict.fromkeys(g.by for g in total.groups)) + ":"] + [
        f"    {a:{w[0]}}  {b:>{w[1]}}  {c:>{w[2]}}" for a, b, c in rows
    ]


def _finding(finding: Finding, width: int) -> list[str]:
    lines = [
        line
        for part in finding.text.split("\n")
        for line in (_wrapped(part, width) if not part.startswith("    ") else [f"  {part.rstrip()}"])
    ]
    if finding.spot is not None and f":{finding.spot.line} " not in finding.text:
        lines.append(f"      {beside(finding.spot, width - 6)}")
    if finding.remedy:
        lines += _wrapped(finding.remedy, width, "    ")
    return lines


def _picture(p: Picture, width: int) -> list[str]:
    between = f"from {number_text(p.smallest)} to {number_text(p.largest)}"
    lines = [f"  shape {p.shape}, norm {number_text(p.norm)}, mean {number_text(p.mean)}, {between}"]
    if p.relative is not None:
        lines.append(f"  its norm is {number_text(p.relative, 3)} times that of the array itself")
    if p.standouts:
        lines.append("")
        rows = [(s.label, number_text(s.value), s.text) for s in p.standouts]
        w = [max(len(row[i]) for row in rows) for i in range(2)]
        lines += [f"  {a:{w[0]}}  {b:>{w[1]}}  {c}".rstrip() for a, b, c in rows]
    return lines


def _factors(answer: Answer, width: int) -> list[str]:
    rows = [("through", "factor", "product", "")]
    rows += [
        (
            f"{f.through} → {f.label}" if f.through else f.label,
            number_text(f.factor, 4),
            number_text(f.product, 4),
            beside(f.spot, width // 2),
        )
        for f in answer.factors
    ]
    w = [max(len(row[i]) for row in rows) for i in range(3)]
    head = f"  The heaviest path from {answer.output} to {answer.subject}, factor by factor:"
    return [head, *(f"    {a:{w[0]}}  {b:>{w[1]}}  {c:>{w[2]}}  {d}".rstrip() for a, b, c, d in rows)]
