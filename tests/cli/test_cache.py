"""`backlit cache`: what it shows and clears."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from backlit.cli import cache, main
from backlit.compiler.cache import Cache

app = typer.Typer(cls=main.Commands)
app.callback()(lambda: None)
cache.register(app)


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["cache", *args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    folder = tmp_path / "code"
    monkeypatch.setenv("BACKLIT_CACHE_DIR", str(folder))
    return Cache(folder)


def test_it_shows_entries_their_size_and_how_often_they_were_found(kept: Cache) -> None:
    for k in range(3):
        kept.put(kept.key(str(k)), [b"x" * 2000])
    kept.get(kept.key("0"))
    kept.get(kept.key("0"))
    kept.get(kept.key("none such"))
    code, out, err = run()
    assert (code, err) == (0, "")
    assert str(kept.folder) in out.replace("\n", "")
    assert "3 entries, 6.2 kB of 268.4 MB" in out
    assert "2 of 3 times found (67 %)" in out
    assert kept.key("1")[:16] in out
    assert "just now" in out


def test_what_programs_have_in_common_is_told_of_and_cleared(kept: Cache) -> None:
    kept.put(kept.key("program"), [b"x" * 2000])
    kept.common.put(kept.key("tiles"), [b"x" * 900])
    assert "1 entry" in run()[1]
    assert "and 1 function that programs have in common, " in run()[1]
    kept.common.put(kept.key("copies"), [b"x" * 900])
    assert "and 2 functions that programs have in common, 1.9 kB" in run()[1]
    assert run("--clear")[1].startswith("Removed 1 entry from ")
    assert list(kept.folder.iterdir()) == []


def test_many_entries_are_shown_only_if_all_are_asked_for(kept: Cache) -> None:
    for k in range(cache.SHOWN + 4):
        kept.put(kept.key(str(k)), [b"x"])
    assert "and 4 more (--all)" in run()[1]
    assert run("--all")[1].count("just now") == cache.SHOWN + 4


def test_clearing_removes_everything_and_says_how_much(kept: Cache) -> None:
    kept.put(kept.key("a"), [b"x"])
    kept.get(kept.key("a"))
    (kept.folder / ".half.part").write_bytes(b"left by a process that died")
    assert run("--clear")[1].startswith("Removed 1 entry from ")
    assert list(kept.folder.iterdir()) == []
    assert "0 entries" in run()[1]
    assert "0 of 0 times found\n" in run()[1]


def test_a_cache_that_is_switched_off_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLIT_CACHE_DIR", "off")
    assert run()[1] == "Nothing is kept: BACKLIT_CACHE_DIR says so.\n"


def test_a_folder_into_which_anybody_may_write_is_told_of(kept: Cache) -> None:
    kept.put(kept.key("a"), [b"x"])
    kept.folder.chmod(0o777)
    assert "Not used: anybody may write into" in run()[1]
