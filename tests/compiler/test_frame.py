"""A block as a table of calls."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

import backlit as bl

ROWS = np.random.default_rng(0).normal(size=(6, 40, 30))


def layers(count: int) -> Any:
    """A function with some kernels in each of so many layers."""

    def forward(x: Any) -> Any:
        for _ in range(count):
            x = bl.tanh(x @ x.T @ x / 900)
            x = x / bl.sqrt((x * x).sum(axis=1, keepdims=True) + 1.0)
        return x

    return forward


def body_of(text: str, stem: str) -> str:
    """The function of the block that is named so."""
    found = re.search(rf"^define internal void @{stem}\d*\(.*?^}}", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def test_calls_are_no_code() -> None:
    lengths, calls = [], []
    for count in (2, 12):
        compiled = bl.compile(layers(count))
        found = compiled(ROWS[0])
        np.testing.assert_allclose(found.data, layers(count)(bl.asarray(ROWS[0])).data, rtol=1e-12)
        text = compiled.entries[0].program.text
        lengths.append(len(re.sub(r"\d+", "0", body_of(text, "main_block"))))
        calls.append(text.count("{ ptr @"))
    assert lengths[0] == lengths[1]
    assert calls[1] >= 5 * calls[0] > 20


def test_in_a_loop_only_pointers_are_renewed_that_lead_elsewhere() -> None:
    total = bl.Buffer(np.zeros((40, 30)), name="total")

    def step(x: Any) -> Any:
        y = layers(3)(x + total)
        total.data = (total + y).data
        return (y * y).sum()

    expected, sums = np.zeros((40, 30)), []
    for x in ROWS:
        y = np.asarray(layers(3)(bl.asarray(x + expected)).data)
        expected = expected + y
        sums.append((y * y).sum())
    compiled = bl.compile(step)
    losses = compiled.each(ROWS)
    np.testing.assert_allclose(losses.data, sums, rtol=1e-10)
    np.testing.assert_allclose(total.data, expected, rtol=1e-10)
    (text,) = [text for text in (entry.program.text for entry in compiled.entries) if "@step" in text]
    first, again = map(int, re.findall(r"i64 (\d+)", body_of(text, "step").split("%count = ")[1].split("\n")[0]))
    assert 1 <= again <= 3, "a slice of what goes in, and one of what comes out"
    assert first > 20
