"""Machine code on disk: found again, shared by processes, and never a reason to fail or to be wrong."""

import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import cache, codegen, jit
from backlit.compiler.cache import Cache, folder

X = np.linspace(-1.0, 1.0, 600).reshape(20, 30)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    place = tmp_path / "deep" / "code"
    monkeypatch.setenv("BACKLIT_CACHE_DIR", str(place))
    return Cache(place)


def function(x: Any) -> Any:
    return (bl.tanh(x) * 3.0).sum(axis=0)


def ran() -> tuple[bool, Any]:
    """Whether the code came from disk, and the numbers it gave."""
    compiled = bl.compile(function)
    y = compiled(X)
    (entry,) = compiled.entries
    return entry.program.machine.was_cached, np.array(y.data)


def test_code_is_found_again_and_gives_the_same_numbers(kept: Cache) -> None:
    was_cached, first = ran()
    assert not was_cached
    was_cached, second = ran()
    assert was_cached
    assert np.array_equal(first, second)
    assert kept.counts() == (1, 1)
    np.testing.assert_allclose(first, (np.tanh(X) * 3).sum(axis=0), rtol=0, atol=1e-13)


def test_what_decides_the_code_decides_the_name() -> None:
    assert len({Cache.key("a", "b"), Cache.key("ab"), Cache.key("b", "a"), Cache.key("a", "b", "")}) == 4
    assert Cache.key("a", "b") == Cache.key("a", "b")


def test_the_name_depends_on_cpu_versions_level_and_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from backlit.compiler.target import host

    here = codegen.circumstances(host(), 2)
    assert codegen.circumstances(host(), 1) != here
    assert codegen.circumstances(replace(host(), features="+sse2"), 2) != here
    assert codegen.circumstances(replace(host(), name="other"), 2) != here
    monkeypatch.setattr(codegen, "RECIPE", "another")
    assert codegen.circumstances(host(), 2) != here


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "swapped", "foreign"])
def test_a_damaged_entry_is_as_good_as_absent_and_written_anew(kept: Cache, damage: str) -> None:
    _, right = ran()
    (entry,) = kept.entries()
    path = kept.folder / entry.name
    data = path.read_bytes()
    if damage == "swapped":  # a whole entry, under the name of another
        key = Cache.key("other")
        kept.put(key, [b"code of something else"])
        path.write_bytes((kept.folder / f"{key}.code").read_bytes())
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"cut": data[:-5], "flipped": flipped, "emptied": b"", "foreign": b"\x7fELF" + data}[damage])
    was_cached, again = ran()
    assert not was_cached
    assert np.array_equal(right, again)
    assert path.read_bytes() == data
    assert ran()[0]


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "write_whole", full)
    for _ in range(2):
        assert not ran()[0]
    assert kept.entries() == []


@pytest.mark.skipif(os.name != "posix", reason="rights are of another kind")
def test_a_read_only_folder_is_no_reason_to_fail() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as place:
        kept = Cache(Path(place) / "code")
        kept.put(kept.key("before"), [b"code"])
        Path(place).chmod(0o755)
        is_root = os.geteuid() == 0  # whom no right stops
        if is_root:
            os.chown(kept.folder, nobody, -1)
            for entry in kept.folder.iterdir():
                os.chown(entry, nobody, -1)
            os.seteuid(nobody)
        try:
            kept.folder.chmod(0o500)
            assert kept.get(kept.key("before")) == [b"code"]
            assert not kept.put(kept.key("after"), [b"more"])
            assert kept.get(kept.key("after")) is None
            assert len(kept.entries()) == 1
        finally:
            kept.folder.chmod(0o700)
            if is_root:
                os.seteuid(0)


def test_a_file_where_the_folder_should_be_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("something else")
    monkeypatch.setenv("BACKLIT_CACHE_DIR", str(tmp_path / "taken" / "code"))
    for _ in range(2):
        assert not ran()[0]


@pytest.mark.skipif(os.name != "posix", reason="rights are of another kind")
def test_code_is_not_taken_from_where_anybody_may_write(kept: Cache) -> None:
    ran()
    kept.folder.chmod(0o777)
    assert not ran()[0]
    kept.folder.chmod(0o700)
    assert ran()[0]


def test_the_cache_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BACKLIT_CACHE_DIR", "off")
    assert folder() is None
    for _ in range(2):
        assert not ran()[0]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("BACKLIT_CACHE_DIR")
    found = folder()
    assert found is not None
    assert found.is_relative_to(tmp_path)


def test_the_entries_used_longest_ago_make_room(tmp_path: Path) -> None:
    kept = Cache(tmp_path, limit=10_000)
    for k in range(9):
        kept.put(kept.key(str(k)), [bytes(1000)])
        os.utime(tmp_path / f"{kept.key(str(k))}.code", (1000 + k, 1000 + k))
    assert kept.get(kept.key("0")) == [bytes(1000)]  # used now, so it is the youngest
    assert len(kept.entries()) == 9
    kept.put(kept.key("new"), [bytes(1000)])
    names = {entry.name.removesuffix(".code") for entry in kept.entries()}
    assert sum(entry.size for entry in kept.entries()) <= 7_500
    assert {kept.key("0"), kept.key("8"), kept.key("new")} <= names
    assert not {kept.key("1"), kept.key("2")} & names


def test_what_dying_processes_left_is_removed_after_a_while(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    old, young = tmp_path / ".a.part", tmp_path / ".b.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    kept.put(kept.key("x"), [b"y"])
    assert not old.exists()
    assert young.exists()


def test_entries_of_many_parts_come_back_as_they_were(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    objects = [b"", b"a" * 70_000, bytes(range(256))]
    assert kept.put(kept.key("k"), objects)
    assert kept.get(kept.key("k")) == objects
    assert kept.get(kept.key("other")) is None


PROGRAM = textwrap.dedent("""
    import sys
    from pathlib import Path
    import numpy as np
    from backlit.compiler.cache import Cache
    kept = Cache(Path(sys.argv[1]), limit=200_000)
    rng = np.random.default_rng(int(sys.argv[2]))
    wrong = 0
    for turn in range(150):
        k = int(rng.integers(12))
        want = [bytes([k]) * 20_000, str(k).encode()]
        found = kept.get(kept.key(str(k)))
        wrong += found is not None and found != want
        kept.put(kept.key(str(k)), want)
    print(wrong)
""")


def test_two_processes_write_and_read_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    both = [subprocess.Popen([*command, str(k)], stdout=subprocess.PIPE, text=True) for k in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["0", "0"]
    kept = Cache(tmp_path, limit=200_000)
    assert not list(tmp_path.glob(".*.part"))
    for entry in kept.entries():
        assert kept.get(entry.name.removesuffix(".code")) is not None
    hits, misses = kept.counts()
    assert hits + misses == 300 + len(kept.entries())
    assert misses >= 12


def test_wrong_text_is_an_error_and_not_kept(kept: Cache) -> None:
    with pytest.raises(RuntimeError, match="parsing"):
        jit.Machine("define void @main(ptr %t, i64 %n) {\n  nonsense\n}\n")
    assert kept.entries() == []


def product(x: Any) -> Any:
    return (x @ x.T).sum(axis=0)


def other(x: Any) -> Any:
    return (x @ x.T) * 2.0 + 1.0


def compiled_units(function: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The units that LLVM compiles for a function, whose numbers are looked at, too."""
    seen: list[Any] = []
    with monkeypatch.context() as patched:
        begin = codegen._Job.__init__

        def spy(self: Any, unit: Any, *rest: Any) -> None:
            seen.append(unit)
            begin(self, unit, *rest)

        patched.setattr(codegen._Job, "__init__", spy)
        found = bl.compile(function)(X)
    np.testing.assert_allclose(found.data, function(bl.asarray(X)).data, rtol=1e-12)
    return seen


def test_what_programs_share_is_compiled_once(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codegen, "_found", {})
    common = [unit for unit in compiled_units(product, monkeypatch) if unit.is_common]
    assert any(unit.functions[0].startswith("product.") for unit in common)
    assert not any(unit.is_common for unit in compiled_units(other, monkeypatch)), "in this process"
    assert len(kept.common.entries()) == len(common)

    kept.clear()
    assert kept.common.entries() == []


def rarely_logarithms(x: Any) -> Any:
    y = x @ x.T
    for _ in range(3):
        y = y @ y * 0.01
    return bl.log(bl.abs(y[0]) + 1.0), y


def test_functions_that_are_seldom_needed_are_compiled_once(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codegen, "_found", {})
    x = np.random.default_rng(0).normal(size=(64, 64))

    def names(function: Any) -> list[str]:
        seen: list[str] = []
        with monkeypatch.context() as patched:
            has = codegen._Common.has

            def spy(self: Any, unit: Any) -> bool:
                found = has(self, unit)
                if unit.is_common and not found:
                    seen.extend(unit.functions)
                return found

            patched.setattr(codegen._Common, "has", spy)
            found = bl.compile(function)(x)
        for ours, wanted in zip(found, function(bl.asarray(x)), strict=True):
            np.testing.assert_allclose(ours.data, wanted.data, rtol=1e-9)
        return [name for name in seen if name.startswith("math.log.")]

    assert len(names(rarely_logarithms)) == 1
    assert names(lambda x: (rarely_logarithms(x)[0] * 2.0, x + 1.0)) == []


def test_what_programs_share_is_found_on_disk(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codegen, "_found", {})
    count = sum(unit.is_common for unit in compiled_units(product, monkeypatch))
    first, *rest = kept.common.entries()
    assert count == 1 + len(rest) > 2
    (kept.common.folder / first.name).write_bytes(b"damaged")
    monkeypatch.setattr(codegen, "_found", {})  # as in another process
    assert sum(unit.is_common for unit in compiled_units(other, monkeypatch)) == 1, "the one that is damaged"
