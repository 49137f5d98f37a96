"""Files: every format, written as a whole or not at all, and the page that steps through the derivation."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import backlit as bl
from backlit.draw import draw, draw_network, plot_loss
from tests.draw.examples import classifier, expression, named, neuron


@pytest.mark.parametrize("ending", [".svg", ".html", ".dot", ".mermaid", ".mmd", ".txt", ".SVG"])
def test_the_ending_says_the_format(tmp_path: Path, ending: str) -> None:
    path = draw(expression()).save(tmp_path / f"x{ending}")
    starts = {".svg": "<svg", ".html": "<!DOCTYPE html>", ".dot": "digraph", ".txt": "out = f * d"}
    assert path.read_text("utf-8").startswith(starts.get(ending.lower(), "flowchart LR"))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["x.gif", "x"])
def test_an_ending_that_is_not_known_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(bl.DomainError, match=r"Use one of \.svg, \.png, \.html"):
        draw(expression()).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_png_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for attempt in (
        lambda: draw(expression()).save(tmp_path / "x.png"),
        lambda: draw_network([[[1.0]]]).save(tmp_path / "x.png"),
        lambda: plot_loss([1.0, 0.5]),
    ):
        with pytest.raises(ImportError, match=r'pip install "backlit\[plot\]"'):
            attempt()
    assert not list(tmp_path.iterdir())


def test_a_png_is_painted_by_matplotlib(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = draw(expression(), partials=True).save(tmp_path / "x.png").read_bytes()
    assert found.startswith(b"\x89PNG")
    width, height = (int.from_bytes(found[at : at + 4], "big") for at in (16, 20))
    scene = draw(expression(), partials=True).scene
    assert (width, height) == pytest.approx((2 * scene.width, 2 * scene.height), abs=2)


# -- odd names ------------------------------------------------------------------------------------------------

NASTY = "</script><b>&\"'\x00\x1b\n]]>$title ‮é"


def test_a_name_can_hold_anything(tmp_path: Path) -> None:
    x = bl.Value(2.0, name=NASTY)
    y = named(x * x, NASTY)
    drawing = draw(y, backward=True, partials=True)
    ElementTree.fromstring(drawing.svg)
    page = drawing.html()
    assert page.count("</script>") == 2
    assert "</script><b>" not in page
    steps = json.loads(re.search(r'<script id="steps" type="application/json">(.*?)</script>', page, re.S)[1])
    assert any(NASTY in text for step in steps for _, text in step["lines"])
    assert "</script>" not in drawing.mermaid()
    drawing.save(tmp_path / "x.dot")


# -- the page -------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a test asks of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(draw(neuron()).html())


def test_the_page_needs_no_network(page: Page) -> None:
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "image")
        assert not any(name in ("src", "href", "xlink:href", "action") for name in attrs)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    text = draw(neuron()).html()
    assert set(re.findall(r"https?://[^\"' <)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in text


def test_the_page_speaks_to_a_screen_reader(page: Page) -> None:
    live = [attrs for _, attrs in page.tags if attrs.get("aria-live") == "polite"]
    assert len(live) == 1
    nodes = [attrs for _, attrs in page.tags if "node" in (attrs.get("class") or "").split()]
    assert len(nodes) == 10
    assert all(attrs["role"] == "button" and attrs["tabindex"] == "-1" and attrs["aria-label"] for attrs in nodes)
    for tag, attrs in page.tags:
        if tag == "input":
            assert attrs.get("aria-label") or attrs["id"] == "search"  # which stands in its label
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for reference in ("aria-labelledby", "aria-describedby", "for"):
            assert set((attrs.get(reference) or "").split()) <= set(ids)


def test_every_id_that_the_script_asks_for_is_there(page: Page) -> None:
    script = (Path(sys.modules["backlit.draw"].__path__[0]) / "page" / "page.js").read_text("utf-8")
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert set(re.findall(r'(?:el|getElementById)\("([^"]+)"\)', script)) <= ids


def test_steps_go_forward_to_the_output_and_then_back() -> None:
    drawing = draw(expression())
    steps = json.loads(re.search(r'application/json">(.*?)</script>', drawing.html(), re.S)[1])
    names = {node.id: node.name for node in drawing.picture.nodes}
    told = [(step["phase"], names.get(step["node"], "")) for step in steps]
    assert told == [
        ("start", ""),
        *(("forward", name) for name in ("e", "f", "out")),
        *(("backward", name) for name in ("out", "f", "e", "d", "c", "b", "a")),
    ]
    ids = set(names)
    assert all(set(edge) <= ids for step in steps for edge in step["edges"])


def test_where_paths_join_the_sum_is_told() -> None:
    a, b = bl.values(a=3.0, b=-2.0)
    y = named(a * b + a, "y")
    steps = json.loads(re.search(r'application/json">(.*?)</script>', draw(y, backward=True).html(), re.S)[1])
    lines = [text for step in steps if step["title"].endswith("∂a") for _, text in step["lines"]]
    assert "a.grad = -2 + 1 = -1" in lines
    assert "2 paths join in a, so their contributions are added." in lines


def test_arrays_are_told_with_what_carries_them_back() -> None:
    steps = json.loads(re.search(r'application/json">(.*?)</script>', draw(classifier()).html(), re.S)[1])
    lines = [text for step in steps if step["title"].endswith("∂W") for _, text in step["lines"]]
    assert any("t1.grad" in line and "@" in line for line in lines)


def test_the_steps_also_stand_on_the_page_as_a_list(page: Page) -> None:
    assert sum(tag == "li" for tag, _ in page.tags) == 16
