"""CSV files: what is found in them, and what a fault says."""

from __future__ import annotations

import numpy as np
import pytest

from backlit.core.errors import BacklitError, DataError, DomainError, DtypeError
from backlit.data import load_csv, tables

FLOWERS = "width,length,colour,species\n1.5,2,red,rose\n2.5,3e0,blue,iris\n.5,+4,red,rose\n-1,5.,white,lily\n"


@pytest.fixture
def write(tmp_path):
    def written(content, name="table.csv"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return file

    return written


def test_numbers_text_and_classes_are_told_apart(write):
    data = load_csv(write(FLOWERS), target="species")
    assert data.feature_names == ("width", "length", "colour=blue", "colour=red", "colour=white")
    assert data.inputs.tolist() == [[1.5, 2, 0, 1, 0], [2.5, 3, 1, 0, 0], [0.5, 4, 0, 1, 0], [-1, 5, 0, 0, 1]]
    assert data.classes == ("iris", "lily", "rose")
    assert data.targets.tolist() == [2, 0, 2, 1]
    assert data.targets.dtype == np.int64
    assert data.target_name == "species"


def test_the_last_column_is_the_target_unless_another_is_named(write):
    file = write(FLOWERS)
    assert load_csv(file).target_name == load_csv(file, -1).target_name == "species"
    assert load_csv(file, 0).targets.tolist() == [[1.5], [2.5], [0.5], [-1]]
    several = load_csv(file, ["width", "length"], drop="species")
    assert several.targets.shape == (4, 2)
    assert several.feature_names[0] == "colour=blue"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dtype_is_that_of_the_inputs_and_of_numbers_to_predict(write, dtype):
    data = load_csv(write(FLOWERS), "width", dtype=dtype)
    assert data.inputs.dtype == data.targets.dtype == dtype


def test_codes_drop_and_types_are_kept(write):
    data = load_csv(write(FLOWERS), categorical="codes", drop=["length"])
    assert data.inputs[:, 1].tolist() == [1, 0, 1, 2]
    data = load_csv(write("x,y\n1,0\n2,1\n3,0\n"), types={"y": "category"})
    assert data.classes == ("0", "1")
    assert data.targets.tolist() == [0, 1, 0]
    data = load_csv(write("zip,y\n01234,1\n1234,2\n"), types={"zip": "category"})
    assert data.feature_names == ("zip=01234", "zip=1234")


def test_true_and_false_are_one_column_or_two_classes(write):
    file = write("a,b\ntrue,FALSE\nFalse,True\n")
    data = load_csv(file)
    assert data.inputs.tolist() == [[1], [0]]
    assert (data.classes, data.targets.tolist()) == (("false", "true"), [0, 1])


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_found(write, mark, end):
    text = FLOWERS.replace(",", mark).replace("\n", end)
    for encoding in ("utf-8", "utf-8-sig"):
        assert load_csv(write(text.encode(encoding))).inputs.shape == (4, 5)
    assert load_csv(write(text), delimiter=mark).classes == ("iris", "lily", "rose")


def test_decimal_commas_are_read_when_asked_for(write):
    file = write("a;b;c\n1,5;2;x\n2,5;3,25;y\n")
    data = load_csv(file, decimal=",")
    assert data.inputs.tolist() == [[1.5, 2], [2.5, 3.25]]
    # a point would mark thousands, which are not read
    with pytest.raises(DataError, match=r"line 2: column 'a' holds '1\.000,5' among numbers"):
        load_csv(write("a;c\n1.000,5;x\n2,5;y\n3,5;y\n"), decimal=",")


def test_quotes_hold_delimiters_quotes_and_line_ends(write):
    data = load_csv(write('"a","b, ""c""",d\n1,"x\ny",u\n2,"z, ""z""",v\n'))
    assert data.feature_names == ("a", 'b, "c"=x\ny', 'b, "c"=z, "z"')


def test_other_encodings_are_read_when_named(write):
    text = "größe,farbe\n1,weiß\n2,grün\n"
    for encoding in ("cp1252", "utf-16", "utf-16-le", "latin-1"):
        assert load_csv(write(text.encode(encoding)), encoding=encoding).classes == ("grün", "weiß")
    with pytest.raises(DataError, match=r"line 1: byte 0xf6 at place 2 is not utf-8.*encoding=\"cp1252\""):
        load_csv(write(text.encode("cp1252")))
    with pytest.raises(DataError, match='encoding="utf-16"'):
        load_csv(write(text.encode("utf-16")))
    with pytest.raises(DataError, match="UTF-16"):
        load_csv(write("a,b\n1,2\n".encode("utf-16-le")))
    assert load_csv(write("a,b\n1,2\n".encode("utf-8-sig"))).feature_names == ("a",)
    with pytest.raises(DomainError, match="unknown encoding: klingon"):
        load_csv(write("a,b\n1,2\n"), encoding="klingon")
    with pytest.raises(DomainError, match="not a text encoding"):
        load_csv(write("a,b\n1,2\n"), encoding="base64")


# Headers


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n", ("a",)),
        ("1,2\n3,4\n", ("column1",)),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", ("column1", "column2")),
        ("city,town\nu,v\nw,v\n", ("city=u", "city=w")),
        ("u,v\nw,v\nu,z\n", ("column1=u", "column1=w")),
        ("id,y\nNA,3\n4,5\n6,7\n", ("id",)),
    ],
)
def test_a_header_is_told_by_being_unlike_the_rows(write, text, names):
    assert load_csv(write(text), missing="drop").feature_names == names


def test_a_first_row_that_may_be_either_is_asked_about(write):
    file = write("id,2019,2020\n1,5,6\n2,7,8\n")
    with pytest.raises(
        DataError, match=r"1 of its cells is|1 of its cells are text .* and 2 are numbers. Say header=True"
    ):
        load_csv(file)
    assert load_csv(file, header=True).feature_names == ("id", "2019")
    with pytest.raises(DataError, match="line 1: column 'column1' holds 'id' among numbers"):
        load_csv(file, header=False)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a,b,a\n1,2,3\n", "columns 1 and 3 are both called 'a'"),
        (",b\n0,2\n1,3\n", r"column 1 of 2 has no name.*drop=\[0\]"),
        ("a,b\n", r"line 1 is a header \(2 columns\), and no rows follow"),
        ("a,b", "no rows follow"),
        ("", "is empty"),
        ("\n \n\n", "is empty"),
        ("\ufeff", "is empty"),
        ("y\n1\n2\n", "no column besides the target"),
    ],
)
def test_headers_and_files_without_rows_are_refused(write, text, part):
    with pytest.raises(DataError, match=part):
        load_csv(write(text))


def test_columns_that_are_left_out_may_have_any_name(write):
    data = load_csv(write(",b,c\n0,2,3\n1,4,5\n"), drop=0)
    assert (data.feature_names, data.target_name) == (("b",), "c")
    data = load_csv(write("a,b,b,c\n0,2,3,4\n1,4,5,6\n"), drop=[2])
    assert data.feature_names == ("a", "b")


# What is missing

GAPS = "a,b,y\n1,u,1\n,v,2\n3,?,3\nNaN,v,4\n"


def test_missing_cells_are_an_error_that_names_the_lines(write):
    with pytest.raises(DataError) as caught:
        load_csv(write(GAPS))
    assert str(caught.value) == (
        "load_csv: table.csv: 3 rows cannot be used.\n"
        "    line 3: column 'a' is missing\n"
        "    line 4: column 'b' is missing\n"
        "    line 5: column 'a' is missing\n"
        '  Say what to do: missing="drop" leaves such rows out, "mean" puts the mean of the column there.'
    )


def test_missing_cells_are_dropped_or_filled_as_asked(write):
    file = write(GAPS)
    assert load_csv(file, missing="drop").targets.tolist() == [[1]]
    mean = load_csv(file, missing="mean")
    assert mean.inputs.tolist() == [[1, 1, 0], [2, 0, 1], [3, 0, 1], [2, 0, 1]]
    told = load_csv(file, missing={"a": -1, "b": "unknown"})
    assert told.feature_names == ("a", "b=u", "b=unknown", "b=v")
    assert told.inputs[:, 0].tolist() == [1, -1, 3, -1]
    assert load_csv(file, missing=0, drop="b").inputs.tolist() == [[1], [0], [3], [0]]


@pytest.mark.parametrize(
    ("text", "missing", "part"),
    [
        (GAPS, 0, "column 'b' is text, and 0 is to be put"),
        (GAPS, {"a": "none", "b": "w"}, "column 'a' holds numbers, and 'none' cannot"),
        (GAPS, {"a": 0}, "line 4: column 'b' is missing"),
        (GAPS, {"z": 0}, "missing 'z': there is no such column"),
        ("a,y\n1,\n2,3\n", "mean", r"line 2: the target 'y' is missing.\n.*missing=\"drop\""),
        ("a,b,y\n,1,2\nNA,2,3\n", "mean", "missing in every row"),
        ("a,b,y\n,1,2\n1,,3\n", "drop", "leaves none"),
    ],
)
def test_gaps_that_cannot_be_filled_are_refused(write, text, missing, part):
    with pytest.raises(DataError, match=part):
        load_csv(write(text), missing=missing, header=True)


# Faults


def test_all_faulty_rows_are_told_at_once_with_their_number(write):
    rows = [f"{i},{i}" for i in range(100)]
    for i in range(10, 90, 10):
        rows[i] = "oops,1"
    with pytest.raises(DataError) as caught:
        load_csv(write("a,b\n" + "\n".join(rows)))
    assert str(caught.value) == (
        "load_csv: table.csv: 8 rows cannot be used.\n"
        + "".join(f"    line {i + 2}: column 'a' holds 'oops' among numbers\n" for i in range(10, 60, 10))
        + "    ... and 3 more rows\n"
        "  If the column is meant as text, say types={'a': \"category\"}."
    )


def test_lines_are_counted_through_quotes_and_blank_lines(write):
    with pytest.raises(DataError, match="line 7: 3 cells where the header has 2"):
        load_csv(write('a,b\n\n1,"u\n\nv"\n2,w\n1,2,3\n'))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a,b\n1,2\n3\n", r"line 3: 1 cell where the header has 2"),
        ("1,2,3\n4,5\n6,7,8\n", r"line 2: 2 cells where the other rows have 3"),
        ('a,b\n1,2\n"3,4\n5,6\n', r"line 3: a quote is opened here and not closed"),
        ('a,b\n1,"2"x\n', r"line 2: a closing quote is followed"),
        ("a,b\n1,2\n1e999,3\n4,5\n", r"line 3: column 'a' holds '1e999', beyond the largest float64"),
        ("a,b\n1,2\n" + "9" * 5000 + ",3\n4,5\n", "beyond the largest float64"),
        ("a,b\n1,2\n-inf,3\n4,5\n", r"line 3: column 'a' holds '-inf', and a network cannot learn from infinities"),
        ("a,b\n1,2\n1_0,3\n4,5\n", r"line 3: column 'a' holds '1_0' among numbers"),
        ("a,b\n1,2\n٣,3\n4,5\n", r"line 3: column 'a' holds '٣' among numbers"),
        ("a;b\n1;2\n1,5;3\n4;5\n", r"line 3: column 'a' holds '1,5' among numbers.\n.*decimal=','"),
        ("a,b\n1,2\n3,\0\n", r"line 3: a byte that is 0"),
        ("a,b\n1," + "x" * 200_000 + "\n", r"line 2: a cell is longer than 131,072 characters"),
        ("a,b\n" + "".join(f"{i},word{i}\n" for i in range(101)), r"101 different words in 101 rows"),
    ],
    ids=lambda value: value[:24],
)
def test_a_faulty_row_is_named_with_its_line(write, text, part):
    with pytest.raises(DataError, match=part):
        load_csv(write(text))


def test_numbers_beyond_float32_are_refused_there(write):
    file = write("a,b\n1e300,1\n2,1e300\n")
    assert load_csv(file).inputs.max() == 1e300
    with pytest.raises(DataError, match=r"column '[ab]' holds 1e\+300, more than float32 can"):
        load_csv(file, dtype="float32")


def test_a_target_that_is_not_there_is_answered_with_near_names(write):
    with pytest.raises(
        DataError, match=r"target 'Spezies'.*Did you mean 'species'\? The columns are 'width', 'length'"
    ):
        load_csv(write(FLOWERS), target="Spezies")
    with pytest.raises(DataError, match="target 4: there are 4 columns, numbered from 0"):
        load_csv(write(FLOWERS), target=4)
    with pytest.raises(DataError, match="among the columns to drop"):
        load_csv(write(FLOWERS), target="width", drop=["width"])
    with pytest.raises(DataError, match="of several targets each is a number, and 'species' is text"):
        load_csv(write(FLOWERS), target=["width", "species"])
    with pytest.raises(DtypeError, match="neither the name of a column nor its place"):
        load_csv(write(FLOWERS), target=1.5)


def test_what_is_no_text_file_is_refused_in_words(tmp_path, write):
    with pytest.raises(DataError, match="is a folder"):
        load_csv(tmp_path)
    write(FLOWERS, "flowers.csv")
    with pytest.raises(DataError, match=r"there is no file .*flower\.csv\. Did you mean flowers\.csv\?"):
        load_csv(tmp_path / "flower.csv")
    with pytest.raises(DataError, match="no folder"):
        load_csv(tmp_path / "nowhere" / "flower.csv")
    with pytest.raises(DataError, match="cannot be read"):
        load_csv(tmp_path / ("x" * 300))
    with pytest.raises(DataError, match="device"):
        load_csv("/dev/null")
    for path in ("", "a\0b"):
        with pytest.raises(DataError, match="cannot be the path"):
            load_csv(path)
    with pytest.raises(DtypeError, match="is not the path"):
        load_csv(3)
    for content, part in ((b"PK\x03\x04..", "spreadsheet"), (b"\x1f\x8b...", "gzip"), (b"\x00\x01\x02\xff", "binary")):
        with pytest.raises(DataError, match=part):
            load_csv(write(content))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"delimiter": ",,"}, "delimiter=',,'"),
        ({"delimiter": "a"}, "delimiter='a'"),
        ({"delimiter": ","} | {"decimal": ","}, "cannot both"),
        ({"decimal": "x"}, "decimal='x'"),
        ({"header": "yes"}, "header='yes'"),
        ({"missing": "ignore"}, "missing='ignore'"),
        ({"missing": float("nan")}, "missing=nan"),
        ({"missing": True}, "missing=True"),
        ({"categorical": "onehot"}, "categorical='onehot'"),
        ({"types": {"width": "float"}}, 'is neither "number" nor "category"'),
        ({"most_categories": 0}, "most_categories=0"),
        ({"target": []}, "list of targets is empty"),
        ({"target": ["width", 0]}, "stands twice among the targets"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(write, arguments, part):
    with pytest.raises(DomainError, match=part) as caught:
        load_csv(write(FLOWERS), **arguments)
    assert isinstance(caught.value, BacklitError)


def test_the_quick_way_to_numbers_takes_what_the_slow_one_takes():
    cells = ["1", " 2.5 ", "-3e-2", "+.5", "4.", "1E5"]
    quick = tables._all_numbers(cells)
    faults = tables.Faults("x", str)
    slow = tables._as_numbers("a", [cell.strip() for cell in cells], np.zeros(len(cells), bool), ".", faults)
    assert not faults
    np.testing.assert_array_equal(quick, slow)
    for cell in ("nan", "inf", "1_0", "٣", "", "x", "1e999", "0x1", "1 2"):
        assert tables._all_numbers([*cells, cell]) is None
