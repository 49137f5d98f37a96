"""Files are written as a whole or not at all, by everything that writes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backlit as bl
from backlit.core.files import write_whole


def test_a_file_is_replaced_as_a_whole_or_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.svg"
    path.write_text("old")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["x.svg"]


def explanation() -> Any:
    x = bl.Value(2.0, name="x")
    return bl.why(x, of=x * x)


def certificate() -> Any:
    x = bl.Value(2.0, name="x")
    return bl.certificate(x * x)


@pytest.mark.parametrize(
    "save", [lambda path: explanation().html(path), lambda path: certificate().save(path)], ids=["page", "certificate"]
)
def test_a_page_or_a_certificate_that_cannot_be_finished_leaves_the_old_one(
    save: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.html"
    path.write_text("old")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        save(path)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["x.html"]
