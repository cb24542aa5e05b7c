"""CSV: types, missing values, and every mistake located."""

from __future__ import annotations

import codecs
import csv
import io
import math
import time
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import DataError
from chainrule.recipe.values import read_number
from service.parsing import layout
from tests.table_files import cells, read_csv


def columns(data):
    return {column["name"]: column for column in read_csv(data)[0]["columns"]}


def message(data):
    with pytest.raises(DataError) as error:
        read_csv(data)
    return str(error.value)


def written(rows, **options):
    file = io.StringIO(newline="")
    csv.writer(file, **options).writerows(rows)
    return file.getvalue().encode()


def test_types_and_statistics_of_a_table():
    schema, tensors = read_csv(b"n,x,kind\n1,0.5,b\n2,,a\n,1.5,b\n")
    assert schema == {
        "kind": "table",
        "rows": 3,
        "columns": [
            {"name": "n", "type": "integer", "missing": 1, "unique": 2, "min": 1, "max": 2}
            | {"mean": 1.5, "std": 0.5}
            | {"histogram": {"edges": [0.5, 1.5, 2.5], "counts": [1, 1]}},
            {"name": "x", "type": "number", "missing": 1, "unique": 2, "min": 0.5, "max": 1.5}
            | {"mean": 1.0, "std": 0.5}
            | {
                "histogram": {
                    "edges": np.linspace(0.5, 1.5, 21).tolist(),
                    "counts": [1, *[0] * 18, 1],
                }
            },
            {"name": "kind", "type": "categorical", "missing": 0, "unique": 2, "min": None}
            | {"max": None, "mean": None, "std": None}
            | {"categories": ["a", "b"], "counts": [1, 2]},
        ],
        "warnings": [],
    }
    np.testing.assert_array_equal(tensors["n"], [1, 2, math.nan])
    assert tensors["n"].dtype == np.float64
    assert tensors["kind"].tolist() == [1, 0, 1]
    assert tensors["kind"].dtype == np.int32


def test_the_shipped_digits_parse_as_integers():
    data = (files("chainrule") / "data" / "digits.csv").read_bytes()
    schema, tensors = read_csv(data)
    assert schema["rows"] == 1797
    assert {column["type"] for column in schema["columns"]} == {"integer"}
    assert set(tensors) == {*(f"p{i}" for i in range(64)), "digit"}
    assert np.bincount(tensors["digit"].astype(int)).min() > 170


@pytest.mark.parametrize(
    "word",
    ["NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "?", "", "  "],
)
def test_each_marker_of_a_missing_value_is_known_in_both_types(word):
    found = columns(f"n,c\n1,x\n{word},{word}\n".encode())
    assert [found["n"]["missing"], found["c"]["missing"]] == [1, 1]
    assert [found["n"]["type"], found["c"]["type"]] == ["integer", "categorical"]


def test_quotes_hold_commas_line_ends_and_quotes():
    data = b'a,"b ""q"", c"\r\n1,"x\r\ny, ""z"""\r\n2,w\r\n'
    schema, tensors = read_csv(codecs.BOM_UTF8 + data)
    assert [c["name"] for c in schema["columns"]] == ["a", 'b "q", c']
    assert schema["columns"][1]["categories"] == ["w", 'x\r\ny, "z"']
    assert tensors["a"].tolist() == [1, 2]


def test_blank_lines_are_left_out_and_told_and_do_not_move_line_numbers():
    schema, tensors = read_csv(b"\na,b\n\n1,2\r\n\r\n3,4\n\n")
    assert tensors["a"].tolist() == [1, 3]
    assert schema["warnings"] == ["blank lines left out: 4"]
    assert message(b"\na,b\n\n1,2\n\n3\n") == "file: line 6: has 1 field, the header has 2"


def test_a_word_in_a_column_of_numbers_is_located():
    data = b"id,age\n" + b"0,30\n" * 15 + b"0,abc\n" + b"0,31\n" * 3
    assert message(data) == (
        "rows[15].age: line 17, column 'age': 'abc' is not a number (18 of 19 values are); "
        'leave it empty if it is missing, or give the type "categorical"'
    )


def test_a_column_is_categorical_below_nine_numbers_in_ten():
    numbers = b"n\n" + b"1\n" * 8
    assert columns(numbers + b"abc\n")["n"]["type"] == "categorical"
    assert "is not a number" in message(numbers + b"1\nabc\n")


def test_lines_are_counted_through_quoted_line_ends():
    data = b'a,b\n"x\ny\nz",1\n"u\nv"\n'
    assert message(data) == "file: line 5: has 1 field, the header has 2"
    data = b'a,b\n"x\ny\nz",1\nu,1e999\n'
    assert message(data) == "rows[1].b: line 5, column 'b': '1e999' is not a finite number"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "file: the file is empty"),
        (b"\n\r\n\n", "file: the file is empty"),
        (codecs.BOM_UTF8, "file: the file is empty"),
        (b"a,b\n", f"file: has a header but no rows{layout.ONE_LINE}"),
        (b"a,b\n\n\n", f"file: has a header but no rows{layout.ONE_LINE}"),
        (b"a,b\n1,2\n3\n", "file: line 3: has 1 field, the header has 2"),
        (b"a,b\n1,2,3\n", "file: line 2: has 3 fields, the header has 2"),
        (
            b"x,b,c,d,e,f,x\n1,2,3,4,5,6,7\n",
            "file: line 1: the column name 'x' appears twice (columns 1 and 7)",
        ),
        (b"a,\n1,2\n", "file: line 1: column 2 has no name"),
        (b"a,b\n1,\x002\n", "file: line 2: has a NUL byte"),
        ("a,é\n1,2\n".encode() + b"\xe9,1\n", "file: line 3: is not UTF-8"),
        (
            "a,b\n1,2\n".encode("utf-16-le"),
            "file: line 1: has a NUL byte; "
            "it looks like UTF-16 without a byte order mark: save it as UTF-8",
        ),
        (
            b"\x1f\x8b\x08\x09",
            "file: line 1: is not UTF-8; it looks like gzip: send it with Content-Encoding: gzip",
        ),
        (b'a,b\n1,"x\n2,y\n', "file: line 2: a quoted field is never closed"),
        (b'a,b\n"x"y,1\n', "file: line 2: text after the closing quote of a field"),
        (b"a\ninf\n1\n", "rows[0].a: line 2, column 'a': 'inf' is not a finite number"),
        (b"a\n__metadata__\n", None),
        (b"__metadata__\n1\n", "file: line 1, column 1: the name '__metadata__' is reserved"),
    ],
)
def test_a_broken_file_is_told_where(data, expected):
    if expected is None:
        read_csv(data)
    else:
        assert message(data) == expected


def test_a_quote_within_a_field_is_located():
    assert "line 3: a quote within a field" in message(b'size,b\n1,2\n12" pipe,3\n')


def test_the_index_that_pandas_writes_gets_a_hint():
    assert "index=False" in message(b",a\n0,1\n")


def test_mistakes_in_several_columns_are_all_told():
    data = b"a,b\n" + b"1,1\n" * 20 + b"x,1\n1,y\n"
    with pytest.raises(DataError) as error:
        read_csv(data)
    assert [p.path for p in error.value.problems] == ["rows[20].a", "rows[21].b"]


def test_too_many_columns_are_counted():
    names = b",".join(b"c%d" % i for i in range(10_001))
    told = f"file: has 10,001 columns, at most 10,000{layout.ONE_LINE}"
    assert message(names + b"\n1") == told


def test_whole_numbers_beyond_floats_are_no_integers():
    schema, _ = read_csv(b"a\n9007199254740993\n1\n")
    assert schema["columns"][0]["type"] == "number"
    assert schema["warnings"] == ["column 'a': whole numbers beyond 2^53 are rounded"]
    assert columns(b"a\n-9007199254740991\n1\n")["a"]["type"] == "integer"


def test_negative_zero_is_zero():
    assert math.copysign(1, read_csv(b"a\n-0.0\n1\n")[1]["a"][0]) == 1


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (
            b"a;b\n1;2\n3\n",
            "it has one column only: is it separated by ';', in each line?",
        ),
        (b"a\n5\n5\n", "column 'a' has the same value in every row that has one"),
        (b"a,b\n1,\n2,\n", "column 'b' has no values"),
        (
            b"a\n" + b"\n".join(b"%d" % i for i in range(30)),
            "column 'a' has a different value in every row: an id teaches nothing, "
            "data.exclude leaves it out",
        ),
    ],
)
def test_what_is_odd_about_a_table_is_said(data, warning):
    assert warning in read_csv(data)[0]["warnings"]


def test_text_with_too_many_values_has_no_tensor_but_does_not_spoil_the_file():
    data = b"t,y\n" + b"".join(b"w%d,1\n" % i for i in range(10_001))
    schema, tensors = read_csv(data)
    assert schema["columns"][0]["type"] == "text"
    assert "categories" not in schema["columns"][0]
    assert list(tensors) == ["y"]
    assert "10,001 different values" in schema["warnings"][0]


def test_so_many_categories_in_all_are_refused():
    rows = (",".join(f"w{i}" for _ in range(11)) for i in range(10_000))
    data = "\n".join([",".join(f"c{i}" for i in range(11)), *rows]).encode()
    assert "110,000 different values in all, at most 100,000" in message(data)


CELLS = st.text(st.sampled_from('a",\n\r é1'), max_size=5).filter(lambda t: "\r" not in t)


@settings(deadline=None)
@given(
    rows=st.integers(1, 3).flatmap(
        lambda width: st.lists(
            st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=20
        )
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([1, 2, 7, 1 << 22]),
)
def test_what_another_library_writes_is_read_back_cell_by_cell(rows, end, block):
    names = [f"c{i}" for i in range(len(rows[0]))]
    data = written([names, *rows], lineterminator=end, quoting=csv.QUOTE_ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK_BYTES", block)
        found, _ = cells(data)
    assert [[cell or "" for cell in row] for row in found] == rows


@settings(deadline=None)
@given(text=st.text(st.sampled_from('a",\n'), max_size=14), block=st.sampled_from([1, 3, 1 << 22]))
def test_any_text_is_read_as_the_standard_library_reads_it_or_refused(text, block):
    data = ("h,i\n" + text).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK_BYTES", block)
        try:
            found, lines = cells(data)
        except DataError:
            return
    csv.field_size_limit(1000)
    reader = csv.reader(io.StringIO("h,i\n" + text, newline=""))
    theirs, began, line = [], [], 1
    for row in reader:
        if row:
            theirs.append(row)
            began.append(f"line {line}")
        line = reader.line_num + 1
    assert [[cell or "" for cell in row] for row in found] == theirs[1:]
    assert lines == began[1:]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_number_is_the_same_bits_in_a_file_and_in_a_row(values):
    texts = [repr(value) for value in values]
    tensor = read_csv("\n".join(["a", *texts]).encode())[1]["a"]
    assert tensor.tobytes() == np.array([read_number(t) + 0.0 for t in texts]).tobytes()


@pytest.mark.parametrize(
    "text", ["1", "+1", "1.", ".5", "-.5e-3", "1e5", "1E+05", "1e-400", " 7 ", "0012"]
)
def test_spellings_of_numbers_are_the_same_in_a_file_and_in_a_row(text):
    assert read_csv(f"a,b\n{text},x\n".encode())[1]["a"][0] == read_number(text)


@pytest.mark.parametrize("text", ["1_000", "0x10", "\u0661", "1e", ".", "1d5", "--1", "1 0", "nAn"])
def test_what_is_no_number_in_a_file_is_none_in_a_row(text):
    assert columns(f"a,b\n{text},x\n".encode())["a"]["type"] == "categorical"
    with pytest.raises(DataError, match="must be a number"):
        read_number(text)


@pytest.mark.parametrize(
    "data",
    [b'"' * (1 << 22), b"\n" * (1 << 22), b"," * (1 << 22), b"a" * (1 << 22), b"a\n" + b"," * 99],
    ids=["quotes", "line feeds", "commas", "one field", "ragged"],
)
def test_a_hostile_file_is_refused_soon(data):
    start = time.process_time()
    message(data)
    assert time.process_time() - start < 2


def test_a_file_of_eight_megabytes_takes_a_second_or_so():
    rng = np.random.default_rng(0)
    block = "\n".join(",".join(map(repr, row)) for row in rng.normal(size=(1000, 10)).tolist())
    data = "\n".join([",".join(f"c{i}" for i in range(10)), *[block] * 42]).encode()
    assert len(data) > 8_000_000
    start = time.monotonic()
    read_csv(data)
    assert time.monotonic() - start < 5
