"""A hundred damaged files of each kind: a clear error each, and the file is as it was."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backlit.core.errors import DataError
from backlit.training import store
from backlit.training.checkpoint import load_checkpoint
from backlit.training.frames import MAGIC, framed
from backlit.training.recorded import KINDS, read
from backlit.training.replay import load_run
from tests.training.small_runs import Stop, record, train


@functools.cache
def whole_checkpoint() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        train(checkpoint=path, epochs=1)
        return path.read_bytes()


@functools.cache
def whole_run() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.backlit"
        record(path, epochs=1)
        return path.read_bytes()


def refuses(load: Callable[[Path], Any], path: Path, content: bytes) -> str:
    """The message of the error that a file with this content leads to; the file must be untouched."""
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.name in message
    assert len(message) < 600
    return message


LOADS: dict[str, tuple[Callable[[Path], Any], Callable[[], bytes]]] = {
    "checkpoint": (load_checkpoint, whole_checkpoint),
    "run": (load_run, whole_run),
}
kinds = pytest.mark.parametrize("kind", LOADS)


@kinds
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    load, whole = LOADS[kind]
    content, moments = whole(), random.Random(1)
    ends = {0, 1, 7, 8, 9, 15, 16, 17, len(content) - 1}
    ends |= {moments.randrange(len(content)) for _ in range(30)}
    for end in ends - boundaries(content):
        refuses(load, tmp_path / "damaged", content[:end])


def boundaries(content: bytes) -> set[int]:
    """Where one record of a recording ends and the next begins: cut off there, it is a shorter recording."""
    if not content.startswith(MAGIC):
        return set()
    found, at = set(), len(MAGIC)
    while at < len(content):
        at += 16 + int.from_bytes(content[at + 4 : at + 12], "little")
        found.add(at)
    return found


@kinds
def test_a_single_flipped_bit_is_found_wherever_it_is(tmp_path: Path, kind: str) -> None:
    load, whole = LOADS[kind]
    content, moments = whole(), random.Random(2)
    places = [*range(24), *(moments.randrange(len(content)) for _ in range(40)), len(content) - 1]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << moments.randrange(8)
        refuses(load, tmp_path / "damaged", bytes(damaged))


@kinds
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    load, whole = LOADS[kind]
    content, noise = whole(), random.Random(3)
    others = [
        b"",
        b"\0" * 100,
        b"\xff" * 100,
        b"petal,sepal\n1,2\n",
        "Gewicht, Größe, naïve".encode("utf-16"),
        b"\x80\x04\x95" + b"pickle" * 20,
        noise.randbytes(1000),
        content + b"and more",
        content[:8] + b"\xef\xbb\xbf" + content[8:],  # a byte order mark
        content[len(content) // 2 :] + content[: len(content) // 2],
        content.replace(b"model", b"modul"),
    ]
    for other in others:
        refuses(load, tmp_path / "damaged", other)


@kinds
def test_a_file_of_the_other_kind_is_refused(tmp_path: Path, kind: str) -> None:
    load, _ = LOADS[kind]
    other = LOADS["run" if kind == "checkpoint" else "checkpoint"][1]()
    refuses(load, tmp_path / "damaged", other)


@kinds
def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path, kind: str) -> None:
    load, _ = LOADS[kind]
    with pytest.raises(DataError, match="there is no"):
        load(tmp_path / "nothing")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path)


# -- declared sizes, which must not be believed ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_huge_or_tiny_header_is_refused(tmp_path: Path, size: int) -> None:
    refuses(load_checkpoint, tmp_path / "damaged", size.to_bytes(8, "little") + whole_checkpoint()[8:])


@pytest.mark.parametrize("size", [2**31, 2**40, 2**63, 2**64 - 1])
def test_a_huge_record_is_refused(tmp_path: Path, size: int) -> None:
    import zlib

    content = whole_run()
    head = content[16:20] + size.to_bytes(8, "little")
    refuses(
        load_run,
        tmp_path / "damaged",
        content[:16] + head + zlib.crc32(head).to_bytes(4, "little") + content[32:],
    )


def raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"3.0",
        b'"text"',
        b"{" * 5000,
        b"[" * 100_000,
        b"{}",
        {"__metadata__": 3},
        {"__metadata__": {"backlit": 3, "sha256": "x"}},
        {"__metadata__": {"backlit": "{}", "sha256": "x"}},
        {"a": {"dtype": "F64", "shape": [2**62], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 2**63]}},
        {"a": {"dtype": "F64", "shape": [1], "data_offsets": [8, 0]}},
        {"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": "one", "data_offsets": [0, 8]}},
        {"a": {"dtype": "F64", "shape": [1.5], "data_offsets": [0, 8]}},
        {"a": [1, 2, 3]},
        b'{"a": NaN}',
        b'{"__metadata__": {"backlit": "\xff\xfe", "sha256": "x"}}',
    ],
    ids=range(20),
)
def test_headers_that_lie_are_refused(tmp_path: Path, header: Any) -> None:
    refuses(load_checkpoint, tmp_path / "damaged", raw(header, b"\0" * 8))


# -- metadata that are whole, and wrong -----------------------------------------------------------------------------


def changed(content: bytes, change: Callable[[dict[str, Any], dict[str, Any]], None], kind: str) -> bytes:
    """A file with other metadata or arrays, and a right checksum: as if another program had written it."""
    stored = store.unpacked(content, "it", kind)
    about = json.loads(json.dumps(stored.about))
    arrays = dict(stored.arrays)
    change(about, arrays)
    return store.packed(kind, arrays, about)


@pytest.mark.parametrize("key", ["settings", "position", "seed", "made"])
@pytest.mark.parametrize("wrong", [None, "text", 1.5, [], [1, 2], {"a": 1}, True, -1])
def test_a_checkpoint_with_wrong_types_is_refused(tmp_path: Path, key: str, wrong: Any) -> None:
    if (key in ("settings", "made") and isinstance(wrong, dict)) or (key, wrong) == ("seed", -1):
        return  # what it should be

    def change(about: dict[str, Any], arrays: dict[str, Any]) -> None:
        about[key] = wrong

    refuses(load_checkpoint, tmp_path / "damaged", changed(whole_checkpoint(), change, "checkpoint"))


@pytest.mark.parametrize("part", ["model.layers.0.weight", "optimizer.lr", "run.position", "history.losses"])
@pytest.mark.parametrize("how", ["missing", "dtype", "shape"])
def test_a_checkpoint_with_wrong_arrays_cannot_be_resumed(tmp_path: Path, part: str, how: str) -> None:
    def change(about: dict[str, Any], arrays: dict[str, Any]) -> None:
        array = arrays.pop(part)
        if how == "dtype":
            arrays[part] = array.astype(np.complex64)
        elif how == "shape":
            arrays[part] = np.zeros((2, *array.shape, 3), array.dtype)

    content = changed(whole_checkpoint(), change, "checkpoint")
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError):
        train(checkpoint=path, epochs=2, resume=True)
    assert path.read_bytes() == content


def remade(change: Callable[[int, str, dict[str, Any], dict[str, Any]], Any]) -> bytes:
    """A recording with other records, and right checksums."""
    content, at, parts = whole_run(), len(MAGIC), [MAGIC]
    number = 0
    while at < len(content):
        size = int.from_bytes(content[at + 4 : at + 12], "little")
        stored = store.unpacked(content[at + 16 : at + 16 + size], "it", *KINDS)
        about, arrays = json.loads(json.dumps(stored.about)), dict(stored.arrays)
        if change(number, stored.kind, about, arrays) is not False:
            parts.append(framed(store.packed(stored.kind, arrays, about)))
        at += 16 + size
        number += 1
    return b"".join(parts)


OPENING: dict[str, list[Any]] = {
    "settings": [None, [], 3],
    "model": [
        3,
        [],
        {"class": "os:system", "args": ["true"], "kwargs": {}},
        {"class": 3, "args": [], "kwargs": {}},
        {},
    ],
    "optimizer": ["adam", {"class": "backlit.nn.linear:Linear", "args": [1, 1], "kwargs": {}}],
    "loss": [3, "nothing", "__import__", "Any", []],
    "seed": [None, 1.5, "0", 2**70],
    "batch_size": [0, -1, 1.5, "16"],
    "rows": [0, -5, 10**12, None],
    "method": [None, "guess", 3],
    "compiled": [3, {}, {"target": "a CPU"}, {"target": 3, "stepwise": True}, {"target": "a CPU", "stepwise": None}],
    "clip": [1.0, [], ["norm"], [-1, "norm"], [None, "norm"], [1.0, "length"]],
    "fingerprint": [None, 3, "0" * 64],
    "embedded": [None, 1, False],
    "inputs": [None, {}, {"dtype": "object", "shape": [90, 5]}, {"dtype": "float64", "shape": [90, -5]}],
    "targets": [{"dtype": "int64", "shape": [10**15]}, {"dtype": "int64", "shape": [90, 10**9]}, {"dtype": 3}],
    "first": [-1, 5, None, 1.0],
    "made": [None],
}


@pytest.mark.parametrize("key", OPENING)
def test_a_recording_with_a_wrong_opening_is_refused(tmp_path: Path, key: str) -> None:
    for wrong in OPENING[key]:

        def change(number: int, kind: str, about: dict[str, Any], arrays: dict[str, Any], wrong: Any = wrong) -> None:
            if kind == "opening":
                about[key] = wrong

        refuses(load_run, tmp_path / "damaged", remade(change))


def spoil(kind: str, key: str, wrong: Any) -> Any:
    """A change of one entry in every record of a kind."""

    def change(number: int, found: str, about: dict[str, Any], arrays: dict[str, Any]) -> None:
        if found == kind:
            (arrays if isinstance(wrong, np.ndarray) else about)[key] = wrong

    return change


def without(kind: str) -> Any:
    return lambda number, found, about, arrays: found != kind


@pytest.mark.parametrize(
    "change",
    [
        without("opening"),
        without("snapshot"),
        without("losses"),
        spoil("losses", "first", 3),
        spoil("losses", "first", None),
        spoil("losses", "losses", np.zeros(3)),
        spoil("losses", "losses", np.zeros((2, 3))),
        spoil("losses", "losses", np.zeros(6, np.float32)),
        spoil("losses", "rates", np.zeros(5)),
        spoil("snapshot", "position", [0, 0]),
        spoil("snapshot", "position", [0, 0, -1]),
        spoil("snapshot", "position", [0, 0, 10**30]),
        spoil("snapshot", "position", "start"),
        spoil("snapshot", "model.layers.0.weight", np.zeros((5, 13))),
        spoil("snapshot", "model.layers.9.weight", np.zeros(1)),
        spoil("epochs", "loss", np.zeros(())),
        spoil("epochs", "loss", np.zeros(3)),
        spoil("epochs", "loss", np.array([1j], np.complex64)),
        spoil("ending", "steps", 5),
        spoil("ending", "reason", 5),
        spoil("opening", "inputs", np.zeros(3, np.uint8)),
        spoil("opening", "inputs", np.zeros(3)),
    ],
    ids=range(22),
)
def test_a_recording_with_wrong_records_is_refused(tmp_path: Path, change: Any) -> None:
    refuses(load_run, tmp_path / "damaged", remade(change))


def test_records_out_of_order_are_refused(tmp_path: Path) -> None:
    content = whole_run()
    records = sorted({16, *boundaries(content)})
    parts = [content[a:b] for a, b in pairwise(records)]
    for order in ([parts[1], parts[0], *parts[2:]], [*parts, parts[0]], [*parts, parts[-2]], [*parts[1:], parts[0]]):
        refuses(load_run, tmp_path / "damaged", MAGIC + b"".join(order))


def test_what_stands_before_the_damage_can_be_read_if_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.backlit"
    record(path, callbacks=[Stop(6)])
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"as after a kill.*partial=True"):
        load_run(path)
    run = load_run(path, partial=True)
    assert run.ended is None
    assert run.at(run.end - 1).exact
    assert read(path, partial=True).losses.tobytes() == run.losses.tobytes()


def test_a_bomb_of_compressed_data_is_not_unpacked(tmp_path: Path) -> None:
    import zlib

    bomb = np.frombuffer(zlib.compress(b"\0" * 50_000_000), np.uint8)
    message = refuses(load_run, tmp_path / "damaged", remade(spoil("opening", "inputs", bomb)))
    assert "3,601 bytes" in message


@pytest.mark.parametrize("order", [[0], [0, 0], [1, 2], ["0", "1"], [1.0, 0.0], None, {}, [[1], 0]])
def test_an_impossible_order_of_axes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any) -> None:
    monkeypatch.setattr(store, "axis_order", lambda array: order if array.ndim == 2 else None)
    content = store.packed("checkpoint", {"a": np.ones((2, 3))}, {})
    monkeypatch.undo()
    if order is None:
        assert store.unpacked(content, "it", "checkpoint").arrays["a"].shape == (2, 3)
    else:
        refuses(load_checkpoint, tmp_path / "damaged", content)
