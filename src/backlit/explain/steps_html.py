"""A derivation as HTML that needs nothing else, in the looks of an answer to "why?"."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from backlit.explain import layout
from backlit.explain.formula import number_text
from backlit.explain.steps import BackwardStep, Steps
from backlit.explain.why_html import framed, row, table, whole_page


def page(steps: Steps) -> str:
    """A whole page."""
    return whole_page(f"the gradient of {steps.expression}", fragment(steps))


def fragment(steps: Steps) -> str:
    """What a notebook shows."""
    given = ", ".join(f"{name} {layout.value_text(value)}" for name, value in steps.inputs)
    parts = [
        f"<h1><code>{escape(steps.expression)}</code></h1>",
        f"<p><small>at {escape(given)}</small></p>" if given else "",
    ]
    if steps.forward:
        parts += ["<h2>Forward: from the inputs to the result</h2>", _forward(steps)]
    if steps.backward:
        parts += ["<h2>Backward: from the result to the inputs</h2>", f"<p>{escape(layout.meaning(steps))}</p>"]
        parts.append(f"<table><tbody>{''.join(line for s in steps.backward for line in _backward(s))}</tbody></table>")
    parts += ["<h2>The gradient, and what nudging gives</h2>", _inputs(steps)]
    parts += [f"<p>{escape(said)}</p>" for said in layout.remarks(steps)]
    return framed("".join(parts))


def _forward(steps: Steps) -> str:
    rows = []
    for step in steps.forward:
        name, symbols, numbers, value = layout.forward_pieces(step)
        rows.append(row([escape(name), f"= {escape(symbols)}", f"= {escape(numbers)}" if numbers else "", value]))
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _backward(step: BackwardStep) -> Iterator[str]:
    head = f"{step.label} = {step.formula.text}"
    rule = f'<span class="rule">{escape(step.rule)}</span>'
    yield f'<tr class="step"><th scope="rowgroup">{escape(head)}</th><td>{rule}</td></tr>'
    for part in step.parts:
        chains = (layout.local(step, part), layout.product(step, part))
        yield row(escape(" ".join(chain)) for chain in chains)
    for join in step.joins:
        chain, words = layout.joined(join)
        yield row([f'<span class="rule">{escape(words)}</span>', escape(" ".join(chain))])
    for note in step.notes:
        yield f'<tr><td colspan="2"><small>Note: {escape(note)}</small></td></tr>'


def _inputs(steps: Steps) -> str:
    rows = []
    for each in steps.table:
        cells = (each.label, number_text(each.value), number_text(each.gradient), layout.nudging(each))
        rows.append(row(map(escape, cells), ("", "n", "n", "n")))
    return table(("input", "value", "gradient", "nudging gives"), rows)
