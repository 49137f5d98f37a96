"""Tables of other libraries, and of the DataFrame interchange protocol, read without importing those libraries."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from backlit.core.errors import DataError, DomainError
from backlit.data import as_dataset, from_frame
from backlit.data.interchange import read_columns

COLUMNS = {
    "age": [31, 44, 27, 58],
    "height": [1.5, 2.5, 3.5, 4.5],
    "town": ["Ulm", "Bonn", "Ulm", "Kiel"],
    "member": [True, False, False, True],
    "won": ["yes", "no", "no", "yes"],
}


def check(data, dtype="float64"):
    assert data.feature_names == ("age", "height", "town=Bonn", "town=Kiel", "town=Ulm", "member")
    assert data.inputs.tolist() == [
        [31, 1.5, 0, 0, 1, 1],
        [44, 2.5, 1, 0, 0, 0],
        [27, 3.5, 0, 0, 1, 0],
        [58, 4.5, 0, 1, 0, 1],
    ]
    assert data.inputs.dtype == dtype
    assert data.classes == ("no", "yes")
    assert data.targets.tolist() == [1, 0, 0, 1]
    assert data.target_name == "won"


def test_a_mapping_of_columns_is_a_table():
    check(from_frame(COLUMNS, "won"))
    check(
        from_frame({name: np.array(column) for name, column in COLUMNS.items()}, target="won", dtype="float32"),
        "float32",
    )
    check(as_dataset(COLUMNS, target="won"))


def test_arrays_are_tables_with_numbered_columns():
    table = np.arange(12.0).reshape(4, 3)
    data = from_frame(table, 0)
    assert data.targets.tolist() == [[0], [3], [6], [9]]
    assert data.feature_names == ("1", "2")
    assert from_frame(table, -1, drop=[0]).feature_names == ("1",)
    records = np.array([(1, 0.5), (2, 0.25)], [("a", "i4"), ("y", "f8")])
    assert from_frame(records, "y").inputs.tolist() == [[1], [2]]


def test_what_is_missing_is_reported_or_filled():
    table = {"a": [1, None, float("nan")], "b": ["u", None, "u"], "y": [1, 2, 3]}
    with pytest.raises(DataError, match=r"2 rows cannot be used.\n    row 1: column 'a' is missing \(and 1 more"):
        from_frame(table, "y")
    data = from_frame(table, "y", missing={"a": 7, "b": "v"})
    assert data.inputs.tolist() == [[1, 1, 0], [7, 0, 1], [7, 1, 0]]
    assert len(from_frame(table, "y", missing="drop")) == 1
    texts = {"a": ["1", "nan", "2.5"], "y": [1, 2, 3]}
    assert from_frame(texts, "y", types={"a": "number"}, missing=0).inputs.tolist() == [[1], [0], [2.5]]
    assert from_frame(table, "y", missing="mean").inputs.tolist() == [[1, 1], [1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ({"a": [1, "x"], "y": [1, 2]}, "row 1: column 'a' holds 'x'"),
        ({"a": ["x", 1], "y": [1, 2]}, "row 1: column 'a' holds 1 among text"),
        ({"a": [1, float("inf")], "y": [1, 2]}, "row 1: column 'a' holds inf"),
        ({"a": [1, 10**400], "y": [1, 2]}, "row 1: column 'a' holds 1000"),
        ({"a": [[1], [2]], "y": [1, 2]}, "shape|no number"),
        ({"a": np.array(["2020-01-01"] * 2, "M8[D]"), "y": [1, 2]}, "holds times"),
        ({"a": np.array([1j, 2]), "y": [1, 2]}, "complex"),
        ({"a": [1, 2], "y": [1]}, "unequal numbers of rows: 'a' 2, 'y' 1"),
        ({"a": [], "y": []}, "no rows"),
        ({"a": 3, "y": [1]}, "has shape"),
        ({"y": [1]}, "no column besides the target"),
        ({}, "without columns"),
        ({"a": [1], "b": [1]}, "there is no such column"),
        (3, "an int is no table"),
        ("y", "a str is no table"),
        (np.ones(3), "has rows and columns"),
    ],
)
def test_what_is_no_table_is_refused_in_words(table, part):
    with pytest.raises(DataError, match=part):
        from_frame(table, "y")


def test_the_target_must_be_named():
    with pytest.raises(DomainError, match="name the target, one of age"):
        from_frame(COLUMNS, None)
    with pytest.raises(DomainError, match="stands twice"):
        from_frame(COLUMNS, ["age", "age"])


def test_a_table_that_fails_on_reading_is_a_named_error():
    class Broken:
        columns = ("a", "y")

        def __getitem__(self, name):
            raise RuntimeError("the store is closed\nmore")

    with pytest.raises(DataError, match=r"Broken cannot be read: RuntimeError: the store is closed\.$"):
        from_frame(Broken(), "y")


# The interchange protocol, spoken by the smallest table that can


class Buffer:
    def __init__(self, array):
        self.array = np.ascontiguousarray(array)
        self.bufsize = self.array.nbytes
        self.ptr = self.array.ctypes.data


class Exchanged:
    """A column: its kind, buffers with their dtypes, and how it tells what is missing."""

    def __init__(self, kind, data, size, null=(0, None), offset=0, validity=None, offsets=None, categories=None):
        self.dtype = (kind, 0, "", "=")
        self.offset = offset
        self.describe_null = null
        self._size = size
        self._buffers = {"data": data, "validity": validity, "offsets": offsets}
        if categories is not None:
            self.describe_categorical = {"is_ordered": False, "is_dictionary": True, "categories": categories}

    def size(self):
        return self._size

    def get_buffers(self):
        return self._buffers


class Table:
    def __init__(self, *chunks):
        self.chunks = chunks

    def __dataframe__(self):
        return self

    def column_names(self):
        return list(self.chunks[0])

    def get_chunks(self):
        return [Chunk(chunk) for chunk in self.chunks]


class Chunk:
    def __init__(self, columns):
        self.columns = list(columns.values())

    def get_column(self, i):
        return self.columns[i]


def buffered(array):
    array = np.asarray(array)
    kind = {"i": 0, "u": 1, "f": 2}[array.dtype.kind]
    return Buffer(array), (kind, array.dtype.itemsize * 8, "", "=")


def texts(*words):
    raw = "".join(words).encode()
    ends = np.cumsum([0, *(len(word.encode()) for word in words)])
    return Exchanged(
        21, (Buffer(np.frombuffer(raw, np.uint8)), (1, 8, "", "=")), len(words), offsets=buffered(ends.astype(np.int64))
    )


def test_buffers_of_each_kind_are_read():
    bits = (Buffer(np.array([0b01101], np.uint8)), (20, 1, "b", "="))
    names, columns = read_columns(
        Table(
            {
                "whole": Exchanged(0, buffered(np.array([9, 9, 1, -2, 3], np.int16)), 3, offset=2),
                "real": Exchanged(2, buffered(np.array([1.5, np.nan, 2.5])), 3, null=(1, None)),
                "sentinel": Exchanged(0, buffered(np.array([5, -1, 7], np.int32)), 3, null=(2, -1)),
                "bits": Exchanged(20, bits, 3),
                "valid bits": Exchanged(1, buffered(np.array([1, 2, 3], np.uint8)), 3, null=(3, 0), validity=bits),
                "valid bytes": Exchanged(
                    2, buffered(np.float32([1, 2, 3])), 3, null=(4, 1), validity=buffered(np.uint8([0, 0, 1]))
                ),
                "text": texts("a", "zwölf", ""),
                "category": Exchanged(
                    23, buffered(np.int8([1, -1, 0])), 3, null=(2, -1), categories=texts("low", "high")
                ),
            }
        )
    )
    found = dict(zip(names, (list(column) for column in columns), strict=True))
    assert found == {
        "whole": [1, -2, 3],
        "real": [1.5, None, 2.5],
        "sentinel": [5, None, 7],
        "bits": [True, False, True],
        "valid bits": [1, None, 3],
        "valid bytes": [1, 2, None],
        "text": ["a", "zwölf", ""],
        "category": ["high", None, "low"],
    }


def test_chunks_are_joined():
    parts = [
        {"a": Exchanged(0, buffered(np.array([1, 2])), 2), "y": texts("u", "v")},
        {"a": Exchanged(0, buffered(np.array([3])), 1), "y": texts("u")},
    ]
    data = from_frame(Table(*parts), "y")
    assert data.inputs.tolist() == [[1], [2], [3]]
    assert data.targets.tolist() == [0, 1, 0]


def test_times_in_an_exchanged_table_are_refused():
    with pytest.raises(DataError, match="column 'when' holds times"):
        from_frame(Table({"when": Exchanged(22, buffered(np.array([1])), 1), "y": texts("u")}), "y")


def test_no_other_library_is_imported():
    code = (
        "import sys, backlit.data as d; d.from_frame({'a': [1], 'y': [2]}, 'y'); d.as_dataset(([1], [2]));"
        "assert not {'pandas', 'polars', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Other libraries


@pytest.mark.peers
def test_frames_of_pandas_are_read():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS)
    check(from_frame(frame, "won"))
    check(as_dataset(frame, target="won"))
    check(from_frame(frame.astype({"town": "category", "won": "category"}), "won"))
    check(from_frame(frame.convert_dtypes(), "won"))
    check(from_frame(frame.set_index(pandas.Index([7, 7, 1, 0])), "won"))
    pair = as_dataset((frame[["age", "height"]], frame["won"]))
    assert (pair.feature_names, pair.classes, pair.target_name) == (("age", "height"), ("no", "yes"), "won")
    assert from_frame(pandas.DataFrame(np.ones((2, 3))), 2).feature_names == ("0", "1")
    gaps = pandas.DataFrame({"a": pandas.array([1, None], "Int64"), "b": ["u", None], "c": [True, None], "y": [1, 2]})
    assert from_frame(gaps, "y", missing="drop").inputs.tolist() == [[1, 1, 1]]
    with pytest.raises(DataError, match="row 1: column 'a' is missing"):
        from_frame(gaps, "y")
    codes = pandas.DataFrame({"a": [1.0, 2.0], "y": pandas.Categorical([3, 1])})
    assert from_frame(codes, "y").classes == ("1", "3")
    with pytest.raises(DataError, match="more than one column is called 'a'"):
        from_frame(pandas.concat([gaps, gaps], axis=1), "y")
    with pytest.raises(DataError, match="holds times"):
        from_frame(pandas.DataFrame({"a": pandas.to_datetime(["2020-01-01"]), "y": [1]}), "y")


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:The Dataframe Interchange Protocol is deprecated")
def test_pandas_is_read_by_the_interchange_protocol():
    pandas = pytest.importorskip("pandas")

    class Only:
        def __init__(self, frame):
            self.frame = frame

        def __dataframe__(self):
            return self.frame.__dataframe__()

    frame = pandas.DataFrame(COLUMNS)
    if not hasattr(frame, "__dataframe__"):
        pytest.skip("this pandas no longer speaks the protocol")
    check(from_frame(Only(frame), "won"))
    check(from_frame(Only(frame.astype({"town": "category"})), "won"))
    gaps = Only(pandas.DataFrame({"a": [1.0, None], "b": ["u", None], "y": [1, 2]}))
    assert from_frame(gaps, "y", missing="drop").inputs.tolist() == [[1, 1]]


@pytest.mark.peers
def test_frames_of_polars_are_read():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(COLUMNS)
    check(from_frame(frame, "won"))
    check(from_frame(frame.with_columns(polars.col("town").cast(polars.Categorical)), "won"))
    check(from_frame(frame.with_columns(polars.col("won").cast(polars.Enum(["no", "yes"]))), "won"))
    pair = as_dataset((frame.select("age", "height"), frame["won"]))
    assert (pair.feature_names, pair.classes, pair.target_name) == (("age", "height"), ("no", "yes"), "won")
    gaps = polars.DataFrame({"a": [1, None], "b": ["u", None], "c": [True, None], "y": [1, 2]})
    assert from_frame(gaps, "y", missing="drop").inputs.tolist() == [[1, 1, 1]]
    with pytest.raises(DataError, match=r"row 1: column 'a' is missing \(and 2 more in this row\)"):
        from_frame(gaps, "y")
    with pytest.raises(DataError, match="holds times"):
        from_frame(frame.with_columns(when=polars.lit("2020-01-01").str.to_date()), "won")
    with pytest.raises(DataError, match=r"name the target|cannot be read|is no table"):
        from_frame(frame.lazy(), "won")
