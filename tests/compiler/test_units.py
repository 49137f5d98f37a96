"""A program in units: cut and joined, always the same program."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import codegen, module, units
from backlit.compiler.scalars import AS_WRITTEN, CALLING
from backlit.compiler.target import host


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLIT_CACHE_DIR", "off")


def test_a_module_cut_into_units_and_compiled_by_threads_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w, v = rng.normal(size=(20, 30)), rng.normal(size=(30, 40)), rng.normal(size=(40, 7))

    def net(x: Any) -> Any:
        h = bl.tanh(x @ w)
        return bl.softmax(h @ v, axis=1), bl.exp(h).sum(axis=0), bl.log_softmax(h, axis=0), bl.sin(h).sum()

    def outcome() -> list[Any]:
        compiled = bl.compile(net)
        found = [np.array(y.data) for y in compiled(x)]
        parts.append(len(units.Cut().rest(compiled.entries[0].program.text)))
        return found

    parts: list[int] = []
    monkeypatch.setattr(units, "WORTH_A_THREAD", 100)
    monkeypatch.setattr(module, "PORTION", 1000)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    ahead: list[str] = []
    real = codegen.Compiler.ahead
    monkeypatch.setattr(codegen.Compiler, "ahead", lambda self, text: (ahead.append(text), real(self, text)))
    cut = outcome()
    assert len(ahead) > 1
    monkeypatch.setattr(codegen.Compiler, "ahead", lambda self, text: None)
    monkeypatch.setattr(units.Cut, "rest", lambda self, text: [units.Unit(text, [], AS_WRITTEN)])
    whole = outcome()
    assert parts[0] > 1
    for a, b in zip(cut, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_portions_of_kernels_grow_up_to_a_bound() -> None:
    handed: list[str] = []
    program = module.Module(host(), ahead=handed.append)
    for number in range(200):
        program.add(f"define internal void @NAME(ptr %a) {AS_WRITTEN} {{\n  ; {number} {'.' * 1000}\n}}\n", "k")
    sizes = [sum(map(len, units.functions(text))) for text in handed]
    assert module.PORTION <= sizes[0] < module.PORTION + 2000
    assert all(after > 0.9 * before for before, after in pairwise(sizes))
    assert module.MOST <= sizes[-1] < module.MOST + 2000


def test_every_function_is_in_one_unit_and_what_it_calls_is_declared() -> None:
    compiled = bl.compile(lambda x: bl.tanh(x @ x.T).sum())
    compiled(np.ones((30, 40)))
    text = compiled.entries[0].program.text
    parts = units.units(text)
    names = [name for part in parts for name in part.functions]
    assert len(names) == len(set(names))
    assert {name for name in names if name.startswith("product")}
    assert "main" in names
    for part in parts:
        assert part.kind in (AS_WRITTEN, CALLING), "straight lines and tapes alone take LLVM's passes"
        defined = {units.name_of(body) for body in units.functions(part.text)}
        declared = {line.split("@")[1].split("(")[0] for line in part.text.splitlines() if line.startswith("declare")}
        constants = [line for line in part.text.splitlines() if line.startswith("@")]
        defined |= {units.name_of(line) for line in constants}
        called = {name for body in (*units.functions(part.text), *constants) for name in units._NAME.findall(body)}
        assert called <= defined | declared


NUMBERS = np.random.default_rng(7).normal(size=(65, 33))


def _outcome(monkeypatch: pytest.MonkeyPatch, together: bool) -> tuple[list[np.ndarray], str]:
    """What some kernels compute, and the text of the largest unit that holds loops."""
    seen: list[str] = []
    real = units.Cut._text

    def text(self: units.Cut, *given: Any) -> str:
        seen.append(real(self, *given))
        return seen[-1]

    monkeypatch.setattr(units.Cut, "_text", text)
    monkeypatch.setattr(codegen, "Cut", lambda: units.Cut(together))

    @bl.compile
    def compute(x: bl.Value) -> list[bl.Value]:
        y = bl.exp(x)
        return [y.sum(axis=0), bl.softmax(y, axis=1), bl.sin(x).max(axis=1), bl.cumulative_sum(x, axis=0), y[::-1, 3:]]

    return [np.array(value.data) for value in compute(NUMBERS)], max(seen, key=len)


def test_kernels_in_one_function_give_the_same_bits_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    joined, text = _outcome(monkeypatch, together=True)
    alone, other = _outcome(monkeypatch, together=False)
    assert "switch i64 %which" in text
    assert "switch i64 %which" not in other
    for a, b in zip(joined, alone, strict=True):
        assert np.array_equal(a, b)
