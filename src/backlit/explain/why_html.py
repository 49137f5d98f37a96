"""An answer to "why?" as HTML that needs nothing else: no network, no script. Terms open to be followed further."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from backlit.explain.answer import Answer, Finding, Line, Picture, Sum
from backlit.explain.formula import number_text
from backlit.explain.naming import Spot
from backlit.explain.sums import term_text
from backlit.explain.why_text import chain_text, percent

STYLE = """
.backlit-why{--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--bar:#0969da;--neg:#bc4c00;--bg:#fff;--tint:#f6f8fa;
 color:var(--ink);background:var(--bg);font:15px/1.5 system-ui,sans-serif;max-width:62rem}
@media (prefers-color-scheme:dark){.backlit-why{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--bar:#58a6ff;--neg:#f0883e;
 --bg:#0d1117;--tint:#161b22}}
.backlit-why h1,.backlit-why h2{font-size:1.15em;margin:.2em 0 .5em;font-weight:600}
.backlit-why code,.backlit-why table,.backlit-why pre{font:.92em ui-monospace,SFMono-Regular,Menlo,monospace}
.backlit-why table{border-collapse:collapse;margin:.6em 0}
.backlit-why td,.backlit-why th{padding:.15em .8em .15em 0;text-align:left;vertical-align:baseline;font-weight:400;
 border:0;background:none}
.backlit-why thead th{color:var(--soft);border-bottom:1px solid var(--line)}
.backlit-why .n{text-align:right;white-space:nowrap}
.backlit-why .rule,.backlit-why .spot,.backlit-why small{color:var(--soft)}
.backlit-why .step th{padding-top:.7em;font-weight:600}
.backlit-why .bar{display:inline-block;height:.6em;background:var(--bar);border-radius:2px;min-width:1px}
.backlit-why .bar.neg{background:var(--neg)}
.backlit-why .finding,.backlit-why details>div{border-left:3px solid var(--line);padding:.1em 0 .1em .8em;margin:.5em 0}
.backlit-why .finding{border-color:var(--neg)}
.backlit-why pre{white-space:pre-wrap;margin:.2em 0}
.backlit-why summary{cursor:pointer;color:var(--bar)}
.backlit-why summary:focus-visible{outline:2px solid var(--bar)}
"""


def page(answer: Answer, depth: int) -> str:
    """A whole page. depth: so many times over can terms be opened."""
    return whole_page(f"why {answer.subject}", fragment(answer, depth))


def fragment(answer: Answer, depth: int) -> str:
    """What a notebook shows."""
    return framed(_answer(answer, depth, "h1"))


def whole_page(title: str, body: str) -> str:
    """A page that needs no other file, around what `framed` gives."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>body{{margin:0}}.backlit-why{{padding:1.5rem;margin:auto}}"
        "@media (prefers-color-scheme:dark){body{background:#0d1117}}</style></head><body>"
        f"{body}</body></html>\n"
    )


def framed(body: str) -> str:
    """The body with its style."""
    return f'<style>{STYLE}</style><main class="backlit-why">{body}</main>'


def _answer(answer: Answer, depth: int, heading: str) -> str:
    parts = [f"<{heading}>{escape(answer.headline)}</{heading}>"]
    where = f"<br><small>at {escape(answer.where)}</small>" if answer.where else ""
    if answer.expression:
        parts.append(f"<p><code>{escape(answer.output)} = {escape(answer.expression)}</code>{where}</p>")
    parts += [_finding(finding) for finding in answer.findings]
    if answer.lines:
        parts.append(_lines(answer.lines))
    if answer.picture is not None:
        parts.append(_picture(answer.picture))
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in answer.story]
    if answer.sum is not None:
        parts.append(_sum(answer, answer.sum, depth))
    if answer.factors:
        parts.append(_factors(answer))
    parts += [f"<p><small>Note: {escape(note)}</small></p>" for note in answer.notes]
    if answer.check is not None:
        parts.append(f"<p>Check: {escape(answer.check.text)}</p>")
    return "".join(parts)


def _spot(spot: Spot | None, again: bool = False) -> str:
    if spot is None:
        return ""
    shown = f"{spot.file}:{spot.line}" if again else str(spot)
    return f'<span class="spot">{escape(shown)}</span>'


def row(cells: Iterable[str], kinds: Sequence[str] = ()) -> str:
    """A row of a table; the cells are HTML. kinds: the classes of the cells, `n` for numbers."""
    shown = list(cells)
    marks = [*kinds, *[""] * len(shown)]
    tags = (f'<td class="{mark}">' if mark else "<td>" for mark in marks)
    return f"<tr>{''.join(f'{tag}{cell}</td>' for tag, cell in zip(tags, shown, strict=False))}</tr>"


def table(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table of rows under headings, which are text."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _lines(lines: Sequence[Line]) -> str:
    rows, before = [], None
    for line in lines:
        if line.step:
            spot, before = _spot(line.spot, line.spot == before), line.spot
            rows.append(
                f'<tr class="step"><th colspan="2" scope="colgroup">{escape(line.step)}</th><td>{spot}</td></tr>'
            )
        because = f" because {' and '.join(line.because)}" if line.because else ""
        rule = f'<span class="rule">{escape(line.rule)}</span>'
        rows.append(row([escape(line.left), escape(chain_text(line) + because), rule]))
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _bar(value: float, share: float) -> str:
    kind = "bar neg" if value < 0 else "bar"
    return f'<span class="{kind}" style="width:{6 * share:.2f}em" aria-hidden="true"></span> {percent(share)}'


def _sum(answer: Answer, total: Sum, depth: int) -> str:
    rows = [
        row([str(t.number), escape(t.label), escape(term_text(t)), number_text(t.value), _bar(t.value, t.share)],
             ["n", "", "", "n"])
        for t in total.terms
    ]  # fmt: skip
    others = total.count - len(total.terms)
    if others:
        bar = _bar(total.rest, total.rest_share)
        rows.append(row(["", f"the other {others}", "", number_text(total.rest), bar], ["", "", "", "n"]))
    rows.append(row(["", "<b>sum</b>", "", f"<b>{number_text(total.total)}</b>", ""], ["", "", "", "n"]))
    parts = [table(("#", "through", "cotangent × local derivative", "contributes", "share"), rows)]
    if total.groups:
        groups = [row([escape(g.label), number_text(g.value), _bar(g.value, g.share)], ["", "n"]) for g in total.groups]
        parts.append(table(("added up by", "contributes", "share"), groups))
    parts += [
        f"<p><small>Note: {escape(note)}</small></p>" for note in dict.fromkeys(t.note for t in total.terms if t.note)
    ]
    for term in total.terms if depth > 0 else ():
        ahead = answer.ahead(term.number)
        if ahead is not None:
            parts.append(
                f"<details><summary>follow {term.number}: {escape(term.label)}</summary>"
                f"<div>{_answer(ahead, depth - 1, 'h2')}</div></details>"
            )
    return "".join(parts)


def _finding(finding: Finding) -> str:
    lines = finding.text.split("\n")
    more = f"<pre>{escape(chr(10).join(lines[1:]))}</pre>" if lines[1:] else ""
    remedy = f"<p>{escape(finding.remedy)}</p>" if finding.remedy else ""
    return f'<div class="finding"><p>{escape(lines[0])}</p>{more}<p>{_spot(finding.spot)}</p>{remedy}</div>'


def _picture(p: Picture) -> str:
    numbers = (("norm", p.norm), ("mean", p.mean), ("smallest", p.smallest), ("largest", p.largest))
    facts = [("shape", str(p.shape)), *((name, number_text(x)) for name, x in numbers), ("zeros", str(p.zeros))]
    if p.relative is not None:
        facts.append(("norm, relative to the array's", number_text(p.relative, 3)))
    shown = "".join(row([escape(a), escape(b)], ["", "n"]) for a, b in facts)
    stands = [row([escape(s.label), number_text(s.value), escape(s.text)], ["", "n"]) for s in p.standouts]
    beside = table(("stands out", "", ""), stands) if stands else ""
    return f"<table><tbody>{shown}</tbody></table>{beside}"


def _factors(answer: Answer) -> str:
    rows = []
    for f in answer.factors:
        through = f"{f.through} → {f.label}" if f.through else f.label
        cells = (escape(through), number_text(f.factor, 4), number_text(f.product, 4), _spot(f.spot))
        rows.append(row(cells, ("", "n", "n")))
    return table(("through", "factor", "product", ""), rows)
