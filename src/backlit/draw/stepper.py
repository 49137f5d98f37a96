"""The page that steps through a drawing: one file, no network, for keyboard, mouse and screen reader."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template

from backlit.draw.picture import Picture
from backlit.draw.story import Step, story


def page(picture: Picture, svg: str) -> str:
    """The text of an HTML file that shows a drawing and tells its derivation step by step."""
    steps = story(picture)
    data = json.dumps([step.to_dict() for step in steps], ensure_ascii=False, allow_nan=False)
    found = files("backlit.draw") / "page"
    parts = {name: (found / f"page.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    return Template(parts["html"]).substitute(
        title=escape(picture.title),
        css=parts["css"],
        js=parts["js"],
        svg=svg,
        steps="\n".join(_listed(step) for step in steps),
        count=len(steps) - 1,
        data=data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"),
    )


def _listed(step: Step) -> str:
    lines = "".join(f'<div class="{kind}">{escape(text)}</div>' for kind, text in step.lines)
    return f"<li><b>{escape(step.title)}</b>{lines}</li>"
