"""A hundred and more damaged CSV files: each loads as what it says, or is refused in words; nothing else is raised."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backlit.core.errors import BacklitError, DataError
from backlit.data import Dataset, load_csv

GENERATOR = np.random.default_rng(4)
HEADER = b"width,length,colour,species\n"
ROWS = [
    f"{GENERATOR.normal():.4f},{GENERATOR.normal() * 100:.2f},{GENERATOR.choice(['red', 'blue'])},"
    f"{GENERATOR.choice(['rose', 'lily', 'iris'])}\n".encode()
    for _ in range(40)
]
WHOLE = HEADER + b"".join(ROWS)


def with_cell(row: int, column: int, cell: bytes) -> bytes:
    cells = ROWS[row].rstrip(b"\n").split(b",")
    cells[column] = cell
    return HEADER + b"".join([*ROWS[:row], b",".join(cells) + b"\n", *ROWS[row + 1 :]])


def with_row(row: int, content: bytes) -> bytes:
    return HEADER + b"".join([*ROWS[:row], content, *ROWS[row + 1 :]])


def flipped(where: int, bit: int) -> bytes:
    content = bytearray(WHOLE)
    content[where] ^= 1 << bit
    return bytes(content)


places = GENERATOR.integers(0, len(WHOLE), 60)
FAULTY = {  # with the line that must be named, where there is one
    **{f"a number is {cell!r} in line {row + 2}": (with_cell(row, row % 2, cell), row + 2)
       for row, cell in enumerate([
           b"abc", b"1e999", b"-1e999", b"inf", b"-Infinity", b"nan", b"", b"NA", b"?", b"null", b"1.2.3", b"--1",
           b"0x1F", b"1_000", b"1e", b"e5", b"12 13", b"true", b"9" * 400, b"$5", b"5%", b"1;2", b"+", b".",
           b"\xc2\xa0x",
       ])},
    **{f"a word is {cell!r}": (with_cell(7, 2 + i % 2, cell), 9) for i, cell in enumerate([b"", b"NA", b" ", b"None"])},
    **{f"ragged {i}": (with_row(11, row), 13) for i, row in enumerate([
        b"1\n", b"1,2\n", b"1,2,red\n", b"1,2,red,rose,5\n", b"1,2,red,rose,\n", b",\n", b"1;2;red;rose\n",
        b",,,,,,,\n",
    ])},
    "an open quote": (with_row(20, b'1,2,"red,rose\n'), 22),
    "text after a quote": (with_row(20, b'1,2,"red"s,rose\n'), 22),
    "a zero byte in a number": (with_cell(3, 0, b"1\x002"), 5),
    "a zero byte in a word": (with_cell(3, 3, b"ro\x00se"), 5),
    "Latin-1 in line 6": (with_cell(4, 2, b"gr\xfcn"), 6),
    "half a character": (with_cell(4, 2, b"\xe2\x82"), 6),
    "a surrogate": (with_cell(4, 2, b"\xed\xa0\x80"), 6),
    "cut within a character": (WHOLE + b"1,2,red,ros\xc3", 42),
    "a huge cell": (with_cell(5, 2, b"x" * 140_000), 7),
    "UTF-16": (WHOLE.decode().encode("utf-16"), None),
    "UTF-16 without mark": (WHOLE.decode().encode("utf-16-le"), None),
    "UTF-32": (WHOLE.decode().encode("utf-32"), None),
    "empty": (b"", None),
    "white": (b" \n\n\t\n", None),
    "a mark alone": (b"\xef\xbb\xbf", None),
    "only a header": (HEADER, None),
    "random bytes": (GENERATOR.bytes(4096), None),
    "zeros": (bytes(1000), None),
    "compressed": (b"\x1f\x8b\x08\x00" + GENERATOR.bytes(100), None),
    "a name twice": (WHOLE.replace(b"width,", b"colour,", 1), None),
    "an empty name": (WHOLE.replace(b"width,", b",", 1), None),
    "another name": (WHOLE.replace(b"species", b"specious", 1), None),
    "lines joined": (WHOLE.replace(b"\n", b" "), None),
    "one quote": (b'"' + WHOLE, 1),
}  # fmt: skip
DAMAGED = {
    **{f"cut after {n} bytes": WHOLE[:n] for n in range(3, len(WHOLE), len(WHOLE) // 37)},
    **{f"bit {i % 8} of byte {where} flipped": flipped(where, i % 8) for i, where in enumerate(places.tolist())},
    **{f"bytes {where} to {where + 9} lost": WHOLE[:where] + WHOLE[where + 9 :] for where in places[:12].tolist()},
    **{f"a burst at {where}": WHOLE[:where] + GENERATOR.bytes(12) + WHOLE[where:] for where in places[12:24].tolist()},
}


def test_there_are_more_than_a_hundred():
    assert len(FAULTY) > 50
    assert len(DAMAGED) > 100


def test_the_file_itself_is_sound(tmp_path):
    (tmp_path / "t.csv").write_bytes(WHOLE)
    assert len(load_csv(tmp_path / "t.csv", "species")) == 40


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_refused_and_its_line_named(name, tmp_path):
    content, line = FAULTY[name]
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_csv(file, "species")
    message = str(caught.value)
    assert message.startswith("load_csv: t.csv")
    if line is not None:
        assert [int(found) for found in re.findall(r"line (\d+):", message)] == [line], message
    assert len(message) < 1200
    assert file.read_bytes() == content


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_or_loads_as_a_sound_data_set(name, tmp_path):
    file = tmp_path / "t.csv"
    file.write_bytes(DAMAGED[name])
    for missing in ("error", "drop", "mean"):
        try:
            data = load_csv(file, "species", missing=missing)
        except DataError:
            continue
        assert isinstance(data, Dataset)
        assert np.isfinite(data.inputs).all()
        assert 1 <= len(data) <= 41
        assert data.inputs.shape == (len(data), len(data.feature_names))
        assert 0 <= data.targets.min() <= data.targets.max() < len(data.classes)


@pytest.mark.parametrize("seed", range(40))
def test_bytes_of_any_kind_raise_nothing_else(seed, tmp_path):
    """Any mixture of what matters to the reader, with any arguments."""
    generator = np.random.default_rng(seed)
    alphabet = [
        b",",
        b";",
        b"\t",
        b'"',
        b"\n",
        b"\r",
        b"1",
        b"-2.5",
        b"e9",
        b"nan",
        b"x",
        b"y",
        b" ",
        b"",
        b"true",
        b"\xc3\xa9",
        b"?",
    ]
    file = tmp_path / "t.csv"
    for _ in range(25):
        file.write_bytes(b"".join(alphabet[i] for i in generator.integers(0, len(alphabet), generator.integers(1, 80))))
        try:
            data = load_csv(
                file,
                [None, 0, -1, "x"][generator.integers(4)],
                missing=["error", "drop", "mean", 0][generator.integers(4)],
                header=[None, True, False][generator.integers(3)],
                categorical=["one_hot", "codes"][generator.integers(2)],
            )
        except BacklitError:
            continue
        assert np.isfinite(data.inputs).all()
